"""In what order stores are given whose photos are put together, and how the photos are spread over them, makes no difference."""

import numpy as np
import pytest
from helpers import call

from imgret.formats.groundtruth import GroupTruth
from imgret.inputs.samples import draw, in_order, matching
from imgret.stages import index as stages_index
from imgret.store.reader import Store


@pytest.fixture(scope="module")
def halves(photos, tmp_path_factory):
    """Features and vectors of every other photo, a store each: `halves(kind)` gives two paths; the first photo by name is in the second."""
    folder = tmp_path_factory.mktemp("halves")
    names = sorted(str(path) for path in photos.rglob("*.*"))
    for which in (0, 1):
        (folder / f"{which}.txt").write_text("\n".join(names[1 - which :: 2]) + "\n")
        made = call("extract", "--list", folder / f"{which}.txt", "--root", photos, "-o", folder / f"features-{which}.h5", "-j1")
        assert made.code == 0, made.err
    assert call("extract", "--root", photos, photos, "-o", folder / "features.h5", "-j2").code == 0
    assert call("codebook", folder / "features.h5", "-o", folder / "words.h5", "--size", 4, "-j1").code == 0
    for which in ("-0", "-1", ""):
        made = call("encode", folder / f"features{which}.h5", "-c", folder / "words.h5", "-o", folder / f"vectors{which}.h5", "-j1")
        assert made.code == 0, made.err
    return lambda kind: [folder / f"{kind}-{which}.h5" for which in (0, 1)]


def identity(path):
    with Store(path) as store:
        assert not list(store.problems())
        return store.recipe, store.content, store.fingerprint


EVERY = pytest.mark.parametrize(
    ("kind", "command"),
    [
        ("features", ("codebook", "--size", 4)),
        ("features", ("codebook", "--size", 4, "--sample", 150)),
        ("features", ("codebook", "-m", "gmm", "--size", 2, "--set", "iterations=3")),
        ("vectors", ("codebook", "-m", "pca", "--size", 4)),
        ("vectors", ("index", "-m", "ivf-flat", "--set", "lists=3")),
        ("vectors", ("index", "--metric", "l2")),
    ],
    ids=lambda value: "-".join(map(str, value)) if isinstance(value, tuple) else value,
)


@EVERY
def test_either_order_makes_the_same(halves, tmp_path, kind, command):
    first, second = halves(kind)
    for name, inputs in (("ab", (first, second)), ("ba", (second, first))):
        result = call(command[0], *inputs, *command[1:], "-o", tmp_path / f"{name}.h5", "-j1")
        assert result.code == 0, result.err
    assert identity(tmp_path / "ab.h5") == identity(tmp_path / "ba.h5")
    again = call(command[0], second, first, *command[1:], "-o", tmp_path / "ab.h5", "-j1")
    assert again.err == f"imgret: {tmp_path / 'ab.h5'} is up to date\n"


def test_encode_and_training_vectors_too(halves, tmp_path):
    (first, second), words = halves("features"), halves("features")[0].parent / "words.h5"
    teachers = halves("vectors")
    for name, step in (("ab", 1), ("ba", -1)):
        assert call("encode", *(first, second)[::step], "-c", words, "-o", tmp_path / f"{name}.h5", "-j1").code == 0
        train = [word for path in teachers[::step] for word in ("--train", path)]
        trained = ("-m", "pq", "--set", "nbits=4", "--set", "bytes=4")
        assert call("index", tmp_path / f"{name}.h5", *trained, *train, "-o", tmp_path / f"{name}-index.h5", "-j1").code == 0
    for name in ("", "-index"):
        assert identity(tmp_path / f"ab{name}.h5") == identity(tmp_path / f"ba{name}.h5")


@EVERY
def test_as_if_all_were_in_one_store(halves, tmp_path, kind, command):
    first, second = halves(kind)
    for name, inputs in (("two", (first, second)), ("one", (first.parent / f"{kind}.h5",))):
        assert call(command[0], *inputs, *command[1:], "-o", tmp_path / f"{name}.h5", "-j1").code == 0
    with Store(tmp_path / "two.h5") as two, Store(tmp_path / "one.h5") as one:
        if command[0] == "codebook":
            assert two.pipeline == one.pipeline  # with the hashes of what was learned
        else:
            structure = {path: two.checksums[path] for path in two.checksums if path.startswith("structure/")}
            assert structure == {path: one.checksums[path] for path in one.checksums if path.startswith("structure/")}


@pytest.mark.parametrize("count", [37, 10**6])
@pytest.mark.parametrize("kind", ["features", "vectors"])
def test_a_sample_is_of_all_photos_by_name(halves, kind, count):
    paths = halves(kind)
    with Store(paths[0]) as first, Store(paths[1]) as second, Store(paths[0].parent / f"{kind}.h5") as whole:
        assert [store.path for store in in_order([first, second])] == [second.path, first.path]
        expected, told = draw([whole], count, 3, 10**9)
        for stores in ([first, second], [second, first]):
            rows, info = draw(in_order(stores), count, 3, 10**9)
            assert np.array_equal(rows, expected)
            assert (info["drawn"], info["rows"]) == (told["drawn"], told["rows"])
            assert sum(each["drawn"] for each in info["stores"]) == info["drawn"]


def test_matching_photos_too(halves):
    paths = halves("vectors")
    with Store(paths[0]) as first, Store(paths[1]) as second:
        names = sorted([*first.texts("names"), *second.texts("names")])
        truth = GroupTruth(names, [[number // 3] for number in range(len(names))], [""] * len(names))
        found = [matching(stores, truth, "t.csv", 10**9) for stores in ([first, second], [second, first])]
    assert np.array_equal(found[0][0], found[1][0])
    assert all(np.array_equal(a, b) for a, b in zip(found[0][1], found[1][1], strict=True))


def test_one_name_in_two_stores_is_two_photos_to_learn_from(halves, tmp_path):
    first, second = halves("features")
    whole = first.parent / "features.h5"
    for name, inputs in (("ab", (first, whole)), ("ba", (whole, first))):
        assert call("codebook", *inputs, "-o", tmp_path / f"{name}.h5", "--size", 4, "-j1").code == 0
    assert identity(tmp_path / "ab.h5") == identity(tmp_path / "ba.h5")


def test_what_was_made_when_the_order_made_a_difference_is_up_to_date(halves, tmp_path, monkeypatch):
    first, second = halves("vectors")
    out = tmp_path / "i.h5"
    with monkeypatch.context() as before:
        before.setattr(stages_index, "in_order", list)
        assert call("index", first, second, "-o", out).code == 0
    made = out.read_bytes()
    assert call("index", first, second, "-o", out).err == f"imgret: {out} is up to date\n"
    assert out.read_bytes() == made
    assert "making it again" in call("index", second, first, "-o", out).err
