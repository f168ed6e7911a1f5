"""What `-v` tells of every command that takes it, and of why something is made again."""

import re
import shutil

import click
import numpy as np
import pytest
from helpers import call, photo

import imgret.cli.main
from imgret.cli import COMMANDS
from imgret.store.versions import own

PARTS = "28 of 28 photos or rows are this run's: 4 parts of 8 at most, 4 to be made, 1 at once"
TELLING = ("build", "train", "extract", "import", "codebook", "encode", "index", "search", "rerank", "duplicates", "evaluate", "export")
TINY = [word for setting in ("model=shufflenet_v2_x0_5", "weights=random", "max_size=32", "epochs=1") for word in ("--set", setting)]
COST = r"^imgret: took [0-9.e+-]+ s, at most [0-9.]+ [MG]B of memory"
WITH = f"imgret: with imgret {own()['imgret']}, "


def details(*arguments):
    """The lines that a command says with `-v` only, and all that it says without."""
    result = call(*arguments, "-v")
    assert result.code == 0, result.err
    return result.err.splitlines()


def commands(made, folder):
    """What to run, and what it tells: patterns of lines, in order."""
    return {
        "extract": (
            (made.photos, "-o", folder / "f.h5", "-j", 1),
            [
                WITH,
                "28 photos are listed, .* of files",
                "28 of 28 photos or rows are this run's: 4 parts of 8 at most, 4 to be made, 1 at once",
            ],
        ),
        "import": (
            (folder / "x.npy", "--names", folder / "x.txt", "-o", folder / "x.h5"),
            ["reads .*x.npy as npy, .*, with 1 lists", WITH],
        ),
        "codebook": (
            (made.features, "--size", 4, "-o", folder / "c.h5"),
            [WITH, "reads .*features.h5, a features store: 28 photos, .* descriptors", "kmeans learns from .* rows, .* MB, on"],
        ),
        "encode": (
            (made.features, "-c", made.kmeans, "-o", folder / "e.h5", "-j", 1),
            [WITH, "reads .*features.h5", "takes .*kmeans.h5, a codebook", PARTS],
        ),
        "index": (
            (made.vlad, "-m", "pq", "--set", "nbits=4", "-o", folder / "i.h5"),
            [WITH, "reads .*vlad.h5, a vectors store: 28 photos, 0 failed, 768 columns of float32", "pq learns from 28 vectors, .* MB, on"],
        ),
        "search": (
            (made.index, made.vlad, "-o", folder / "r.h5"),
            [WITH, "searches .*index.h5, an index: 28 photos", "flat, cosine, 28 rows; 28 ranks for each", "asks with .*vlad.h5"],
        ),
        "rerank": (
            (made.ranking, "-m", "spatial", "--set", "depth=2", "--features", made.features, "-o", folder / "b.h5"),
            [WITH, "reads .*ranking.h5: 28 queries, 28 photos", "reads .*features.h5, a features store: 28 photos"],
        ),
        "train": (
            (made.photos, "-m", "instance", *TINY, "-o", folder / "n.safetensors", "-j", 1),
            [WITH, "28 photos are listed", "shufflenet_v2_x0_5 at conv5: .* values learn, on cpu"],
        ),
        "export": ((made.vlad, "-o", folder / "v.npy"), [WITH, "reads .*vlad.h5, a vectors store: 28 photos"]),
        "duplicates": ((made.vlad, "--exact"), [WITH, "reads .*vlad.h5, a vectors store: 28 photos", "28 photos, 28 different files"]),
        "evaluate": (
            (made.ranking, "--protocol", "folders"),
            [WITH, "reads .*ranking.h5: 28 queries, 5 ranks each of 28 photos", "ranking.h5: [0-9]+ queries are judged by folders"],
        ),
        "build": (
            (made.photos, "-o", folder / "b"),
            [
                WITH.replace("imgret: with", "imgret: 1/3 extract: with"),
                "1/3 extract: 28 photos are listed",
                f"2/3 encode: {PARTS.rsplit(',', 1)[0]}",
                "3/3 index: reads .*vlad.h5, a vectors store: 28 photos",
            ],
        ),
    }


def names_of(command):
    step = imgret.cli.main.cli.get_command(None, command)
    return {option for param in step.params for option in param.opts}


def test_every_command_that_has_the_option_is_tried():
    told = {name for name in COMMANDS if "-v" in names_of(name)}
    assert told == set(TELLING)
    assert isinstance(imgret.cli.main.cli, click.Group)


@pytest.mark.parametrize("name", TELLING)
def test_every_command_tells_more_where_it_is_asked(photos, stores, tmp_path, name):
    np.save(tmp_path / "x.npy", np.ones((2, 3), np.float32))
    (tmp_path / "x.txt").write_text("a\nb\n")
    stores.photos = photos
    arguments, patterns = commands(stores, tmp_path)[name]
    silent = call(name, *arguments)
    assert silent.code == 0, silent.err
    assert "with imgret" not in silent.err
    for path in tmp_path.glob("*.[hns]*"):
        if path.name not in ("x.npy", "x.txt"):
            path.unlink()
    shutil.rmtree(tmp_path / "b", ignore_errors=True)
    told = details(name, *arguments)
    assert re.search(COST, told[-1])
    assert sum("with imgret " in line for line in told) == 1
    lines = iter(told)
    for pattern in patterns:
        assert any(re.search(pattern, line) for line in lines), pattern


def test_why_something_is_made_again(stores, tmp_path):
    first, second, out = tmp_path / "a.h5", tmp_path / "b.h5", tmp_path / "o.h5"
    shutil.copy(stores.vlad, first)
    assert call("index", first, "-o", out).code == 0
    shutil.copy(stores.projected, first)
    lines = details("index", first, "-o", out)
    assert f"imgret: {out}: {first} (vectors) has changed" in lines
    assert f"imgret: {out}: its inputs have changed, making it again" in lines
    shutil.copy(stores.vlad, second)
    assert f"imgret: {out}: {second} (vectors) is new" in (lines := details("index", second, "-o", out))
    assert f"imgret: {out}: {first} (vectors) is no longer read" in lines
    lines = details("index", second, "-o", out, "--metric", "l2", "--overwrite")
    assert f"imgret: {out}: metric: cosine there, l2 here" in lines
    assert not [line for line in details("index", second, "-o", out, "--metric", "l2") if f"{out}:" in line]


def test_which_photo_changed_and_how_many_stay(tmp_path):
    folder, out = tmp_path / "photos", tmp_path / "f.h5"
    folder.mkdir()
    for number in range(4):
        photo(folder / f"{number}.png", number)
    extract = ("extract", folder, "-o", out, "-j", 1)
    assert call(*extract).code == 0
    for change, text, stay in (
        (lambda: photo(folder / "9.png", 9), "5 are given, 4 are there", 4),
        (lambda: photo(folder / "00.png", 8), "'00.png' is new", 5),
        (lambda: (folder / "2.png").unlink(), "'2.png' is no longer given", 5),
        (lambda: photo(folder / "1.png", 7), "'1.png' has another size or time", 4),
    ):
        change()
        lines = details(*extract)
        assert f"imgret: {out}: the first change: {text}" in lines
        assert f"imgret: {stay} photos are taken over as they were described before" in lines
