"""Disks that fail: at every call, on every kind of file, the command says so in a sentence and ends; what was there before is there."""

import errno
import filecmp
import itertools
import os

import h5py
import numpy as np
import pytest
from helpers import ROOT, call, run
from killing import same, tidy

from imgret.errors import ImgretError
from imgret.store.disk import DiskFile
from imgret.store.hashing import of_array
from imgret.store.writer import Writer

CALLS = ("pwrite", "fsync", "close", "replace")
FULL = "cannot be written: No space left on device; what was there before is untouched"
SHAKY = "is in its place, whole, but may not survive a power failure: No space left on device"


class Failing:
    """Lets the `at`-th call of a function of `os` fail, or all from it on; counts them. `close` is done all the same.

    Only calls count whose first argument is, or whose descriptor is open on, a path that begins with `below` and ends with `path`.
    """

    def __init__(self, monkeypatch, name, at, lasting=False, below="", path="", number=errno.ENOSPC):
        self.calls, call = 0, getattr(os, name)

        def failing(*arguments, **options):
            where = arguments[0] if arguments else "."
            shown = os.fsdecode(os.readlink(f"/proc/self/fd/{where}") if isinstance(where, int) else where)
            if not (shown.startswith(below) and shown.endswith(path)):
                return call(*arguments, **options)
            self.calls += 1
            if self.calls == at or (lasting and self.calls > at):
                if name == "close":
                    call(*arguments)
                raise OSError(number, os.strerror(number))
            return call(*arguments, **options)

        monkeypatch.setattr(os, name, failing)


def write(folder, times=1):
    """A store with contiguous and growing columns, small and large ones, an array and long attributes."""
    array = np.arange(30_000)
    with Writer(folder / "tmp-1", str(folder / "out.h5")) as writer:
        writer.array("small", np.arange(5))
        growing = writer.column("vectors", (64,), np.float32)
        for number in range(9):
            growing.append(np.full((1000, 64), number * times, np.float32))
        writer.texts("names", [b"name"] * 1000)
        writer.finish("plan", recipe="0" * 64, params={}, info={"long": "x" * 100_000}, arrays={of_array(array): array})
        writer.publish(folder / "out.h5")


@pytest.mark.parametrize("lasting", [False, True])
@pytest.mark.parametrize("name", CALLS)
def test_every_call_that_writes_a_store(tmp_path, monkeypatch, name, lasting):
    write(tmp_path)
    before = (tmp_path / "out.h5").read_bytes()
    said = set()
    for at in itertools.count(1):
        with monkeypatch.context() as patch:
            failing = Failing(patch, name, at, lasting)
            try:
                write(tmp_path, 2)
            except ImgretError as error:
                said.add(str(error))
                shaky = str(error).endswith(SHAKY)
                assert ((tmp_path / "out.h5").read_bytes() == before) is not shaky
            if failing.calls < at:
                break
            assert os.listdir(tmp_path) == ["out.h5"]
    assert at > 1
    assert said == {f"{tmp_path}/out.h5 {text}" for text in ((FULL, SHAKY) if name in ("fsync", "close") else (FULL,))}
    with h5py.File(tmp_path / "out.h5") as file:
        assert np.array_equal(file["vectors"][:, 0], np.repeat(np.arange(9) * 2, 1000))


def test_a_folder_that_is_not_flushed(stores, tmp_path, monkeypatch):
    """After the rename: the new file is there. A store, a plain file; a plan and a part are on the way to a store."""
    for out, arguments in (
        ("vlad.h5", ("encode", stores.features, "-c", stores.kmeans)),
        ("index.h5", ("index", stores.vlad, "-m", "flat")),
        ("scores.csv", ("export", stores.vlad)),
        ("pca.h5", ("codebook", stores.vlad, "-m", "pca", "--size", 12)),
    ):
        folder = tmp_path / out.partition(".")[0]
        folder.mkdir()
        out = folder / out
        out = out.with_suffix(".npy") if out.suffix == ".csv" else out
        with monkeypatch.context() as patch:
            Failing(patch, "fsync", 1, path=f"/{folder.name}", number=errno.EIO)
            text = f"{out} is in its place, whole, but may not survive a power failure: Input/output error"
            result = call(*arguments, "-o", out)
        assert (result.code, result.err.splitlines()[-1]) == (1, f"imgret: error: {text}")
        assert out.stat().st_size
        assert call(*arguments, "-o", out).code == 0
        assert out.suffix != ".h5" or call("info", out, "--check").code == 0
        assert sorted(path.name for path in folder.iterdir() if "parts" in path.name) == []


STEPS = {
    "index": lambda stores: ("index", stores.vlad, "-m", "flat"),
    "search": lambda stores: ("search", stores.index, stores.vlad, "-k", 5),
    "pca": lambda stores: ("codebook", stores.vlad, "-m", "pca", "--size", 12),
    "export": lambda stores: ("export", stores.vlad),
}


@pytest.mark.parametrize("step", STEPS)
def test_calls_of_a_step(stores, tmp_path, monkeypatch, step):
    """Each fails once: the command ends with 0 or a sentence, what is there is whole, and the next run mends the rest."""
    name = "out.npy" if step == "export" else "out.h5"
    arguments, wanted, number = STEPS[step](stores), tmp_path / f"wanted-{name}", itertools.count()
    assert call(*arguments, "-o", wanted).code == 0
    for function in (*CALLS, "mkdir", "unlink", "rmdir", "listdir", "open"):
        for at in (1, 2, 3, 5, 8, 13, 21, 34):
            folder = tmp_path / str(next(number))
            folder.mkdir()
            out = folder / name
            with monkeypatch.context() as patch:
                failing = Failing(patch, function, at, below=str(folder))
                result = call(*arguments, "-o", out)
            if failing.calls < at:
                break
            last = result.err.splitlines()[-1]
            assert result.code == 0 or (result.code == 1 and last.startswith("imgret: error: ")), (function, at, result)
            assert result.code == 0 or not out.exists() or last.endswith(SHAKY), (function, at, result)
            assert call(*arguments, "-o", out).code == 0, (function, at)
            same(out, wanted) if out.suffix == ".h5" else filecmp.cmp(out, wanted, shallow=False)
            tidy(out)


WORKER = """
import errno, os, sys
if sys.argv == ["-c"]:
    calls, call = 0, os.{name}
    def failing(descriptor, *rest):
        global calls
        found = isinstance(descriptor, int) and "/tmp-" in os.readlink("/proc/self/fd/%d" % descriptor)
        calls += found
        done = call(descriptor, *rest)
        if found and calls == {at}:
            raise OSError(errno.EDQUOT, os.strerror(errno.EDQUOT))
        return done
    os.{name} = failing
"""


@pytest.mark.parametrize(("name", "at"), [("close", 1), ("pwrite", 7)])
def test_a_disk_that_fails_a_worker_blames_no_photo(photos, stores, tmp_path, name, at):
    (tmp_path / "sitecustomize.py").write_text(WORKER.format(name=name, at=at))
    out = tmp_path / "f.h5"
    result = run("extract", photos, "-o", out, "-j1", env={"PYTHONPATH": f"{tmp_path}{os.pathsep}{ROOT}"})
    assert result.code == 1
    assert result.err.splitlines()[-1].endswith(" cannot be written: Disk quota exceeded; what was there before is untouched")
    assert call("extract", photos, "-o", out, "-j1").code == 0
    same(out, stores.features)
    tidy(out)


def test_a_plan_that_cannot_be_written(stores, tmp_path, monkeypatch):
    for name, at in (("fsync", 1), ("fsync", 2), ("replace", 1), ("mkdir", 3), ("mkdir", 4)):
        out = tmp_path / f"{name}{at}.h5"
        with monkeypatch.context() as patch:
            Failing(patch, name, at, number=errno.EIO)
            result = call("encode", stores.features, "-c", stores.kmeans, "-o", out)
        assert result.code == 1
        text = f"imgret: error: {out} cannot be written: Input/output error; what was there before is untouched"
        assert result.err.splitlines()[-1] == text, (name, at)
        assert not out.exists()


def test_file_systems_that_flush_no_folder(tmp_path, monkeypatch):
    for number in (errno.EINVAL, errno.ENOTSUP):
        with monkeypatch.context() as patch:
            Failing(patch, "fsync", 1, path=f"/{tmp_path.name}", number=number)
            write(tmp_path)
    with monkeypatch.context() as patch:
        Failing(patch, "fsync", 1, path="/tmp-1", number=errno.EINVAL)  # of a file it is an error
        with pytest.raises(ImgretError, match="Invalid argument"):
            write(tmp_path)


def test_writes_are_done_in_pieces(tmp_path, monkeypatch):
    """As by a call that a signal interrupts, or one of more than 2 GB."""
    pwrite, preadv = os.pwrite, os.preadv
    monkeypatch.setattr(os, "pwrite", lambda descriptor, data, at: pwrite(descriptor, data[:1000], at))
    monkeypatch.setattr(os, "preadv", lambda descriptor, buffers, at: preadv(descriptor, [buffers[0][:1000]], at))
    file, data = DiskFile(tmp_path / "file"), os.urandom(10_001)
    file.seek(5)
    assert (file.write(data), file.tell(), file.seek(0, os.SEEK_END)) == (10_001, 10_006, 10_006)
    file.seek(0)
    assert file.read() == bytes(5) + data
    file.close(durable=True)
    assert file.error is None
    assert (tmp_path / "file").read_bytes() == bytes(5) + data


def test_what_did_not_reach_the_disk_is_read_back(tmp_path, monkeypatch):
    """libhdf5 reads its own metadata again."""
    file = DiskFile(tmp_path / "file")
    file.write(b"01234567")
    monkeypatch.setattr(os, "pwrite", lambda *_: 0)  # nothing is an error as well: not tried for ever
    for at, data in ((2, b"abcd"), (5, b"xy"), (20, b"z")):
        file.seek(at)
        file.write(data)
    file.truncate(22)
    file.seek(0)
    assert file.read() == b"01abcxy7" + bytes(12) + b"z\0"
    file.close(durable=True)
    assert file.error.errno == errno.EIO
    assert (tmp_path / "file").read_bytes() == b"01234567"


def test_ctrl_c_in_the_middle_of_a_write(tmp_path, monkeypatch):
    def interrupted(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "pwrite", interrupted)
    with pytest.raises(KeyboardInterrupt):
        write(tmp_path)
    assert os.listdir(tmp_path) == []
