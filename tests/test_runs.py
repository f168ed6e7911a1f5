"""Steps called from Python: how they are run, and what happens where others work on the same output."""

import os

import pytest
from helpers import folder

from imgret.errors import ImgretError, UsageError
from imgret.runs.output import Output
from imgret.runs.report import Report
from imgret.runs.run import Run
from imgret.stages.codebook import codebook
from imgret.stages.encode import encode
from imgret.stages.export import export
from imgret.stages.extract import extract
from imgret.stages.import_ import import_file
from imgret.stages.index import index
from imgret.stages.search import search
from imgret.store.parts import FolderVanished, Parts
from imgret.store.reader import Store

SHARD = Run(shard=(0, 2))
WHOLE = {
    "codebook": lambda: codebook(["f.h5"], "c.h5", method="kmeans", run=SHARD),
    "index": lambda: index(["v.h5"], "i.h5", method="flat", run=SHARD),
    "search": lambda: search("i.h5", ["p"], out="r.h5", run=SHARD),
    "import": lambda: import_file("v.npy", "v.h5", names="n.txt", run=SHARD),
    "export": lambda: export("v.h5", "v.npy", run=SHARD),
}


@pytest.fixture
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_steps_are_quiet_functions(here, capfd):
    folder("p", 4)
    extract(["p"], "f.h5", method="rootsift")
    codebook(["f.h5"], "c.h5", method="kmeans", size=4)
    encode(["f.h5"], ["c.h5"], "v.h5")
    index(["v.h5"], "i.h5", method="flat")
    assert search("i.h5", ["p"], out="r.h5") == 0
    export("r.h5", "r.tsv")
    with Store("r.h5") as ranking:
        assert ranking.read("ids")[:, 0].tolist() == [0, 1, 2, 3]
    assert sorted(os.listdir()) == ["c.h5", "f.h5", "i.h5", "p", "r.h5", "r.tsv", "v.h5"]
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("step", WHOLE)
def test_no_shard_is_passed_over(here, step):
    with pytest.raises(UsageError) as caught:
        WHOLE[step]()
    assert str(caught.value) == f"{step} makes its output in one piece: leave the shard out"
    assert not os.listdir()


def made():
    """An output that is to be made, and what makes it elsewhere."""
    output = Output("made.h5", "codebook", {"step": "test"}, run=Run(report=Report()))
    return output, lambda: _publish(Output("made.h5", "codebook", {"step": "test"}))


def _publish(output):
    with output.create(None):
        pass


@pytest.mark.parametrize("what", [FolderVanished(), ImgretError("a file of mine has gone")])
def test_whoever_is_overtaken_is_content(here, capfd, what):
    output, by_another = made()
    with output.being_made():
        by_another()
        raise what
    assert os.listdir() == ["made.h5"]
    assert capfd.readouterr().err == "imgret: made.h5 was finished by another process\n"


def test_whoever_is_not_overtaken_is_not(here):
    output, _ = made()
    with pytest.raises(ImgretError, match="^my own fault$"), output.being_made():
        raise ImgretError("my own fault")
    text = "^the folder of parts of made.h5 has gone while it was being worked on: run the same command again$"
    with pytest.raises(ImgretError, match=text), output.being_made():
        raise FolderVanished
    with pytest.raises(ValueError, match="^a bug$"), output.being_made():
        raise ValueError("a bug")


def test_overtaken_while_the_folder_is_made(here, monkeypatch):
    """The other process takes its folder away while this one tries to write to it: there is room for another."""
    output, by_another = made()
    real, calls = Parts.prepare, []

    def overtaken(parts):
        if not calls:
            calls.append(1)
            by_another()
            raise ImgretError("made.h5 cannot be written: No such file or directory")
        real(parts)

    monkeypatch.setattr(Parts, "prepare", overtaken)
    with output.being_made() as parts:
        assert os.path.isdir(parts.folder)
