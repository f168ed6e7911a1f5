"""Steps that take more stores than a process may have open, in any order of their names; stores that change meanwhile."""

import os
import resource
import shutil

import numpy as np
import pytest
from helpers import call, names_in, refused

from imgret.errors import ImgretError
from imgret.inputs.photos import JoinedPhotos, Photos
from imgret.inputs.stores import Stores
from imgret.stages.import_ import import_file
from imgret.store.reader import Store

MORE_FILES = 32
STORES = 34


@pytest.fixture(scope="module")
def many(tmp_path_factory):
    """Small vectors stores, whose photos lie between one another's; `many.one`: all of them in one store."""
    folder = tmp_path_factory.mktemp("many")
    x = np.random.default_rng(0).standard_normal((2 * STORES, 8)).astype(np.float32)
    names = np.array([f"{number:04d}.jpg" for number in range(len(x))])
    for number in range(STORES):
        _imported(folder, f"{number:02d}", names[number::STORES], x[number::STORES])
    _imported(folder, "all", names, x)
    return folder


def _imported(folder, name, names, x):
    np.save(folder / f"{name}.npy", x)
    (folder / f"{name}.txt").write_text("".join(f"{each}\n" for each in names))
    import_file(folder / f"{name}.npy", folder / f"{name}.h5", names=folder / f"{name}.txt")


def few_files(*arguments):
    """Run a command that may hold few files open, in this process."""
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (len(os.listdir("/proc/self/fd")) + MORE_FILES, before[1]))
    try:
        result = call(*arguments)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, before)
    assert result.code == 0, result.err


def test_every_step_takes_more_stores_than_files_may_be_open(many, tmp_path):
    given = sorted(many.glob("[0-9]*.h5"))
    few_files("codebook", *given, "-m", "pca", "--size", 4, "-o", tmp_path / "pca.h5")
    few_files("encode", *given, "-c", tmp_path / "pca.h5", "-j", 2, "-o", tmp_path / "small.h5")
    few_files("encode", many / "all.h5", "-c", tmp_path / "pca.h5", "-o", tmp_path / "small1.h5")
    few_files("encode", *[tmp_path / "small.h5"] * STORES, "-m", "concat", "-j", 1, "-o", tmp_path / "joined.h5")
    few_files("index", *given, "--train", many / "all.h5", *(word for path in given for word in ("--train", path)), "-o", tmp_path / "i.h5")
    few_files("index", many / "all.h5", "-o", tmp_path / "i1.h5")
    few_files("search", tmp_path / "i.h5", *given, "-k", 3, "-o", tmp_path / "run.h5")
    with Store(tmp_path / "small.h5") as store, Store(tmp_path / "small1.h5") as one:
        assert np.allclose(store.read("vectors"), one.read("vectors"), atol=1e-6)  # a projection rounds by the batch
        assert store.texts("names") == one.texts("names")
    with Store(tmp_path / "i.h5") as store, Store(tmp_path / "i1.h5") as one:
        assert {path: store.checksums[path] for path in one.column_names()} == {path: one.checksums[path] for path in one.column_names()}
    runs = [shutil.copy(tmp_path / "run.h5", tmp_path / f"run{number}.h5") for number in range(STORES)]
    rows = (f"{name},{name[:3]}\n" for name in map(os.fsdecode, names_in(many / "all.h5")))
    (tmp_path / "groups.csv").write_text("image,group\n" + "".join(rows))
    few_files("evaluate", *runs, "--protocol", "groups", "--truth", tmp_path / "groups.csv", "--resamples", 0)


def test_a_store_that_changes_between_two_readings(many, tmp_path):
    path = shutil.copy(many / "00.h5", tmp_path / "a.h5")
    with Stores(most=1) as opened:
        store, other = opened.add(path), opened.add(many / "01.h5")
        assert np.array_equal(store.read("vectors"), Store(path).read("vectors"))
        shutil.copy(many / "02.h5", tmp_path / "new.h5")
        os.replace(tmp_path / "new.h5", path)
        assert len(store.read("vectors")) == 2  # it is open still
        other.read("vectors")
        with pytest.raises(ImgretError, match="a.h5 has changed while it was being read: run the same command again"):
            store.read("vectors")
        os.unlink(path)
        with pytest.raises(ImgretError, match="there is no such file"):
            store.read("vectors")


def test_as_many_are_open_as_may_be(many):
    def count():
        return sum(os.path.realpath(f"/proc/self/fd/{name}").endswith(".h5") for name in os.listdir("/proc/self/fd"))

    before = count()
    with Stores(most=3) as opened:
        given = [opened.add(path) for path in sorted(many.glob("[0-9]*.h5"))]
        for _ in range(2):
            assert sum(len(store.texts("names")) for store in given) == 2 * STORES
            assert count() == before + 3
    assert count() == before


def test_photos_of_many_stores_as_one(many):
    with Stores(most=2) as opened, Store(many / "all.h5") as one:
        photos = Photos([opened.add(path) for path in sorted(many.glob("[0-9]*.h5"), reverse=True)])
        assert photos.names == one.texts("names")
        for column, path in zip(photos.identities(), ("file_size", "file_mtime_ns"), strict=True):
            assert np.array_equal(column, one.read(path))
        for start, stop in ((0, 2 * STORES), (7, 40), (60, 61)):
            found = photos.gathered(lambda store, first, last: store.read("vectors", first, last), start, stop)
            assert np.array_equal(found, one.read("vectors", start, stop))
            rows = [row for _, first, last in photos.runs(start, stop) for row in range(first, last)]
            assert len(rows) == stop - start


def test_names_that_do_not_rise_are_refused(many, tmp_path, monkeypatch):
    with Stores() as opened:
        first, second = (opened.add(many / f"0{number}.h5") for number in range(2))
        texts = second.texts("names")
        monkeypatch.setattr(second, "texts", lambda path: type(texts).of(reversed(list(texts))) if path == "names" else texts[:0])
        for kind in (Photos, JoinedPhotos):
            with pytest.raises(ImgretError, match="01.h5 is damaged: 'names' are not in byte order, each once"):
                kind([first, second])


def test_a_photo_that_two_stores_have(many, tmp_path):
    given = [*sorted(many.glob("[0-9]*.h5"))[:5], many / "03.h5"]
    result = call("index", *given, "-o", tmp_path / "i.h5")
    refused(result, 1, f"the photo '0003.jpg' is in {given[3]} and in {given[3]}: give it once")
