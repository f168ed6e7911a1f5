"""Places of outputs: what comes to be there while a command runs stays, and the work is not lost."""

import os
import pathlib
import shutil
import subprocess
import sys

import pytest
from commands import MADE, paths, words, workplace
from helpers import ROOT, call, stores
from killing import same

import imgret.store.placing
from imgret.store.parts import Parts

TEXT = "{} was put there, or changed, while this command ran, and is left as it is: "
KEPT = "move it away and run the same command again, which finds what is done in {}.parts"
WANTED = "choose another {}, or give --overwrite to replace it"
EVERY = [(command, option) for command in MADE for option in MADE[command][1]]


@pytest.fixture
def here(tmp_path, monkeypatch):
    return workplace(tmp_path, monkeypatch, "out", "plain")


@pytest.fixture
def meanwhile(monkeypatch):
    """`meanwhile(action)`: it is done once, when a command has begun to work on its output."""
    real, actions = Parts.prepare, []

    def prepare(parts):
        real(parts)
        while actions:
            actions.pop()()

    monkeypatch.setattr(Parts, "prepare", prepare)
    return actions.append


def read(path):
    return pathlib.Path(path).read_bytes()


def refused(result, path, option):
    text = TEXT.format(path) + (KEPT.format(path) if path.endswith(".h5") else WANTED.format(option))
    assert (result.code, result.err.splitlines()[-1]) == (1, f"imgret: error: {text}")


def made(command, *more):
    result = call(*words(command, "out"), *more)
    assert result.code == 0, result.err
    assert sorted(os.listdir("out")) == sorted(MADE[command][1].values())
    return result


@pytest.mark.parametrize(("command", "option"), EVERY)
def test_what_appears_meanwhile_stays(here, meanwhile, command, option):
    path = paths(command, "out")[option]
    for overwrite in ((), ("--overwrite",)) if path.endswith(".h5") else ((),):
        meanwhile(lambda: pathlib.Path(path).write_bytes(b"precious"))
        refused(call(*words(command, "out"), *overwrite), path, option)
        assert read(path) == b"precious"
        assert [name for name in os.listdir("out") if not name.endswith(".parts")] == [os.path.basename(path)]  # all or none
        os.unlink(path)
    made(command)
    assert call(*words(command, "plain")).code == 0
    if path.endswith(".h5"):
        same(path, paths(command, "plain")[option])


@pytest.mark.parametrize("command", [command for command in MADE if "-o" in MADE[command][1]])
def test_a_store_that_appears_meanwhile(here, meanwhile, command):
    path, other = paths(command, "out")["-o"], stores().projection
    meanwhile(lambda: shutil.copy(other, path))
    refused(call(*words(command, "out")), path, "-o")
    assert read(path) == read(other)
    os.unlink(path)
    meanwhile(lambda: shutil.copy(other, path))
    made(command, "--overwrite")
    assert read(path) != read(other)


@pytest.mark.parametrize("way", ["no rename", "no links"])
def test_on_file_systems_that_cannot_do_as_much(here, meanwhile, monkeypatch, way):
    def cannot(*_, **__):
        raise OSError(22, "Invalid argument")

    monkeypatch.setattr(imgret.store.placing, "_rename_no_replace", cannot)
    if way == "no links":
        monkeypatch.setattr(os, "link", cannot)
    for command, option in (("index", "-o"), ("export", "-o")):
        path = paths(command, "out")[option]
        meanwhile(lambda path=path: pathlib.Path(path).write_bytes(b"precious"))
        refused(call(*words(command, "out")), path, option)
        assert read(path) == b"precious"
        os.unlink(path)
        assert call(*words(command, "out")).code == 0


@pytest.mark.parametrize("how", ["in place", "anew", "gone"])
def test_what_changes_meanwhile(here, meanwhile, how):
    """An index whose vectors are others now, and that somebody else is at, too."""
    shutil.copy(stores().vectors, "v.h5")
    words = ("index", "v.h5", "-o", "out/i.h5", "-j1")
    assert call(*words).code == 0
    assert call("encode", stores().features, "-c", stores().words, "-o", "v.h5", "--set", "norm=l2", "--overwrite").code == 0

    def change():
        if how == "in place":
            with open("out/i.h5", "r+b") as file:
                file.write(b"X")
        else:
            os.unlink("out/i.h5")
            if how == "anew":
                pathlib.Path("out/i.h5").write_bytes(b"precious")

    meanwhile(change)
    if how == "gone":
        assert call(*words).code == 0
        return
    refused(call(*words), "out/i.h5", "-o")
    assert read("out/i.h5")[:1] in (b"X", b"p")
    os.unlink("out/i.h5")
    assert call(*words).err == "imgret: out/i.h5: it had been finished before, and is in its place now\n"
    assert call("info", "out/i.h5", "--check").code == 0
    assert os.listdir("out") == ["i.h5"]


def test_a_link_that_leads_elsewhere_meanwhile(here, meanwhile):
    for link in ("out/i.h5", "out/n.txt"):
        os.symlink("there", link)
        command = (
            ("index", stores().vectors, "-o", link)
            if link.endswith(".h5")
            else ("export", stores().vectors, "-o", "x.npy", "--names", link)
        )

        def change(link=link):
            os.unlink(link)
            os.symlink("elsewhere", link)

        meanwhile(change)
        result = call(*command)
        assert (result.code, TEXT.format(link) in result.err) == (1, True)
        assert not os.path.exists("out/elsewhere")
        assert not os.path.exists("out/there")
        os.unlink(link)


@pytest.mark.parametrize("command", MADE)
def test_the_same_command_meanwhile(here, meanwhile, command):
    meanwhile(lambda: made_by_another.append(call(*words(command, "out"))))
    made_by_another = []
    result = made(command)
    assert made_by_another[0].code == 0
    assert not path_of_store(command) or "was finished by another process" in result.err


def path_of_store(command):
    return any(path.endswith(".h5") for path in paths(command, "out").values())


@pytest.mark.parametrize(
    ("command", "other"),
    [("extract", ("--set", "max_keypoints=9")), ("encode", ("--set", "norm=l2")), ("search", ("-k", 2)), ("import", ("--space", "x"))],
)
def test_another_command_meanwhile(here, meanwhile, command, other):
    """The first to finish has the place; the other one says so, and goes on later."""
    path = paths(command, "out")["-o"]
    meanwhile(lambda: done.append(call(*words(command, "out"), *other)))
    done = []
    refused(call(*words(command, "out")), path, "-o")
    assert done[0].code == 0, done[0].err
    before = read(path)
    assert "was made with other parameters" in call(*words(command, "out")).err
    assert read(path) == before
    os.rename(path, "elsewhere.h5")
    made(command)


def test_an_extraction_of_other_photos_meanwhile(here, meanwhile):
    """Of one recipe, and yet another command."""
    shutil.copytree(stores().photos, "few")
    os.unlink("few/0.png")
    few = ("extract", "few", "-o", "out/f.h5", "-j1")
    meanwhile(lambda: done.append(call(*few)))
    done = []
    refused(call(*words("extract", "out")), "out/f.h5", "-o")
    assert done[0].code == 0
    assert call(*few).err == "imgret: out/f.h5 is up to date (5 photos)\n"
    assert "the photos have changed" in made("extract").err  # asked later, that is what it means


@pytest.mark.parametrize("command", ["search", "export", "import", "evaluate"])
def test_the_same_command_several_times_at_once(here, command):
    arguments = [sys.executable, "-m", "imgret", *words(command, "out")]
    pipes = {"stdout": subprocess.DEVNULL, "stderr": subprocess.PIPE, "env": dict(os.environ, PYTHONPATH=ROOT)}
    for process in [subprocess.Popen(arguments, **pipes) for _ in range(4)]:
        err = process.communicate(timeout=120)[1]
        assert process.returncode == 0, err
    assert sorted(os.listdir("out")) == sorted(MADE[command][1].values())


# files that belong together


@pytest.mark.parametrize("old", [False, True])
@pytest.mark.parametrize("number", range(5))
def test_all_files_of_an_evaluation_or_none(here, monkeypatch, number, old):
    """The disk fails at one of the renames."""
    files = paths("evaluate", "out")
    for path in files.values() if old else ():
        pathlib.Path(path).write_text("old")
    real, count = imgret.store.placing.Place.put, []

    def put(place, *given, **more):
        count.append(place)
        if len(count) == number + 1:
            raise OSError(28, "No space left on device")
        return real(place, *given, **more)

    monkeypatch.setattr(imgret.store.placing.Place, "put", put)
    result = call(*words("evaluate", "out"), "--overwrite")
    text = (
        f"imgret: error: {list(files.values())[4 - number]} cannot be written: No space left on device; what was there before is untouched"
    )
    assert (result.code, result.out, result.err.splitlines()[-1]) == (1, b"", text)
    assert {name: read(f"out/{name}") for name in os.listdir("out")} == (
        {os.path.basename(path): b"old" for path in files.values()} if old else {}
    )


def test_where_there_is_no_way_back_it_is_told(here, monkeypatch):
    """On a file system where no file may have two names."""
    for path in ("out/v.npy", "out/n.txt"):
        pathlib.Path(path).write_text("old")
    monkeypatch.setattr(os, "link", lambda *_, **__: (_ for _ in ()).throw(OSError(1, "Operation not permitted")))
    real = os.replace

    def replace(source, to):
        if str(to).endswith("v.npy"):
            raise OSError(5, "Input/output error")
        real(source, to)

    monkeypatch.setattr(os, "replace", replace)
    result = call(*words("export", "out"), "--overwrite")
    text = "imgret: error: out/v.npy cannot be written: Input/output error; what was there before is untouched; new already: out/n.txt\n"
    assert (result.code, result.err) == (1, text)
    assert (read("out/v.npy"), read("out/n.txt")[:6]) == (b"old", b"0.png\n")
    assert sorted(os.listdir("out")) == ["n.txt", "v.npy"]


# names that say something else


@pytest.mark.parametrize(
    ("command", "name", "text"),
    [
        (("index", "{vectors}", "-o"), "result.csv", "a store (HDF5), not CSV"),
        (("extract", "{photos}", "-j1", "-o"), "f.JPG", "a store (HDF5), not a picture"),
        (("search", "{index}", "{vectors}", "-o"), "r.h5.gz", "a store (HDF5), not an archive"),
        (("import", "here.npy", "--names", "here.txt", "-o"), "v.npy", "a store (HDF5), not a NumPy array"),
        (("export", "{ranking}", "--format", "trec", "-o"), "x.tsv", "a TREC run, not TSV"),
        (("export", "{vectors}", "-o", "x.npy", "--names"), "n.npy", "plain text, not a NumPy array"),
        (("export", "{features}", "-o", "x.npy", "--offsets"), "n.txt", "a NumPy array, not plain text"),
        (("evaluate", "{ranking}", "--protocol", "groups", "--truth", "truth.csv", "--per-query"), "q.csv", "JSON lines, not CSV"),
        (("evaluate", "{ranking}", "--protocol", "groups", "--truth", "truth.csv", "--qrels"), "q.tsv", "TREC judgements, not TSV"),
        (("search", "{index}", "{vectors}", "--photos", "{photos}", "--html"), "p.txt", "HTML, not plain text"),
    ],
)
def test_an_ending_of_another_format_gets_a_word(here, command, name, text):
    read = [str(word).format(**vars(stores())) for word in command]
    warning = f"imgret: warning: out/{name} holds {text} as its ending says\n"
    result = call(*read, f"out/{name}")
    assert (result.code, result.err.count(warning)) == (0, 1)
    assert "as its ending says" not in call(*read, f"out/{name}").err  # it is there now
    for free in ("plain", "plain.7", "plain.store"):
        if command[0] != "export" or command[2] == "--format":
            assert "ending says" not in call(*read, f"out/{free}").err


# what is read


def config(table):
    pathlib.Path("c.toml").write_text(f'[t]\nrun = "{table}"\n')
    return ("--config", "c.toml:t")


def test_nothing_that_is_read_is_written(here):
    good = stores()
    shutil.copytree(good.photos, "photos")
    pathlib.Path("photos/empty.jpg").touch()  # no photo, but read
    pathlib.Path("list.txt").touch()
    pathlib.Path("asked.txt").write_text("photos/1.png\n")
    os.symlink("photos/2.png", "link.html")
    os.link("photos/2.png", "hard.html")
    shutil.copy(good.index, "i.h5")
    evaluate = ("evaluate", good.ranking, "--protocol", "groups", "--truth", "truth.csv")
    page, plain = ("--photos", "photos"), ("--photos", "plain")
    shown = (*evaluate, "--html", "p.html", *page)
    read_too, is_input = "{1} is both read and written", "{1} is both an input and the output"
    is_photo, named = "{0} {1} is a photo in photos, which is read", "{1} is there and named as a photo is, which nothing replaces"
    cases = [
        ((*evaluate, *config("evaluate")), "--per-query", "c.toml", read_too),
        ((*evaluate, *config("evaluate"), *page), "--html", "c.toml", read_too),
        (shown, "--curve", "photos/1.png", is_photo),
        (shown, "--qrels", "link.html", is_photo),
        (shown, "--qrels", "hard.html", is_photo),
        (evaluate, "--per-query", "photos/3.png", named),
        (("export", good.vectors, "-o", "x.npy"), "--names", "photos/3.png", named),
        (("extract", "photos", "--list", "list.txt"), "-o", "list.txt", is_input),
        (("extract", "photos"), "-o", "photos/empty.jpg", is_input),
        (("search", "i.h5", "photos"), "-o", "photos/empty.jpg", is_input),
        (("search", "i.h5", "--list", "asked.txt", *plain), "--html", "asked.txt", read_too),
        (("search", "i.h5", "photos", *plain), "--html", "photos/empty.jpg", "{0} {1} is a query photo"),
        (("search", "i.h5", "photos", *config("search"), *page), "--html", "c.toml", read_too),
    ]
    before = {path: read(path) for path in pathlib.Path().rglob("*") if path.is_file() and path.name != "c.toml"}
    for arguments, option, path, text in cases:
        config(arguments[0])
        result = call(*arguments, option, path, "--overwrite")
        assert (result.code, result.err.splitlines()[-1]) == (1, f"imgret: error: {text.format(option, path)}: choose another {option}")
        assert "[t]" in pathlib.Path("c.toml").read_text()
    assert before == {path: read(path) for path in pathlib.Path().rglob("*") if path.is_file() and path.name != "c.toml"}


def test_a_ranking_may_be_called_photos(here):
    """Photos that ask are no file of that name."""
    command = ("search", stores().index, stores().photos, "-o", "photos")
    assert call(*command).code == 0
    assert call(*command).err == "imgret: photos is up to date\n"


@pytest.mark.parametrize("overwrite", [(), ("--overwrite",)])
def test_one_file_by_two_names(here, monkeypatch, overwrite):
    """As a file system has it that does not tell great letters from small ones."""
    real = imgret.store.placing.Place.put

    def put(place, temporary, backup=None):
        if place.path.endswith("Q.tsv"):
            place.path = place._named = place.path.replace("Q.tsv", "q.tsv")
        return real(place, temporary, backup)

    monkeypatch.setattr(imgret.store.placing.Place, "put", put)
    command = ("evaluate", stores().ranking, "--protocol", "groups", "--truth", "truth.csv")
    result = call(*command, "--per-query", "out/Q.tsv", "--curve", "out/q.tsv", *overwrite)
    assert (result.code, result.err.splitlines()[-1][:14]) == (1, "imgret: error:")
    assert os.listdir("out") == []
    os.link("truth.csv", "out/a.tsv")
    os.link("truth.csv", "out/b.tsv")
    result = call(*command, "--per-query", "out/a.tsv", "--curve", "out/b.tsv", *overwrite)
    assert result.err == "imgret: error: --per-query and --curve are both out/a.tsv: give each a file of its own\n"
