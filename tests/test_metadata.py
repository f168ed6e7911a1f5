"""What files say of themselves: none of it in libhdf5's global heap, and that of older files read where it can do no harm."""

import os
import signal
import subprocess
import sys
import threading
import time

import h5py
import numpy as np
import pytest
from helpers import ROOT, call, refused

from imgret.errors import ImgretError
from imgret.store import older
from imgret.store.reader import Store

KINDS = ("features", "kmeans", "vlad", "index", "ranking")
GOLDEN = os.path.join(ROOT, "tests", "data", "schema-1")
HEAP = b"GCOL"


def endless(path, kind="features"):
    """A store of version 1 whose heap libhdf5 walks for ever: zeros in the middle of it."""
    with open(os.path.join(GOLDEN, f"{kind}.h5"), "rb") as file:
        data = bytearray(file.read())
    start = data.index(HEAP) + 512
    data[start : start + 512] = bytes(512)
    path.write_bytes(data)
    return path


@pytest.mark.parametrize("kind", KINDS)
def test_nothing_is_in_the_global_heap(stores, kind):
    assert HEAP not in getattr(stores, kind).read_bytes()


def test_nor_are_plans_and_parts(photos, tmp_path):
    out = tmp_path / "f.h5"
    assert call("extract", photos, "-o", out, "--shard", "0/2", "-j", 1).code == 0
    found = [os.path.join(here, name) for here, _, names in os.walk(f"{out}.parts") for name in names]
    assert len(found) > 2
    assert not any(HEAP in open(path, "rb").read() for path in found)


def test_an_endless_heap_is_one_sentence(tmp_path, monkeypatch):
    monkeypatch.setattr(older, "SECONDS", 1)
    path = endless(tmp_path / "f.h5")
    refused(call("info", path), 1, f"{path} is damaged: HDF5 did not come to an end within 1 s of reading its attributes")
    with Store(os.path.join(GOLDEN, "vectors.h5")) as store:  # the next is read by a new process
        assert store.attribute("vectors", "columns") == ""
        assert store.params["method"] == "vlad"


def test_an_endless_heap_can_be_stopped(tmp_path):
    command = [sys.executable, "-m", "imgret", "info", endless(tmp_path / "f.h5")]
    process = subprocess.Popen(command, env=os.environ | {"PYTHONPATH": ROOT}, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    children = f"/proc/{process.pid}/task/{process.pid}/children"
    if not os.path.exists(children):
        process.kill()
        process.communicate()
        pytest.skip("the kernel does not list children")
    while not open(children).read() and process.poll() is None:
        time.sleep(0.01)
    process.send_signal(signal.SIGTERM)
    _, err = process.communicate(timeout=60)
    assert (process.returncode, b"stopped by SIGTERM" in err) == (75, True), err


def test_one_process_reads_all_older_files(monkeypatch):
    started = []
    monkeypatch.setattr(older, "_start", lambda start=older._start: started.append(start()) or started[-1])
    monkeypatch.setattr(older, "_reader", older._Reader())
    files = [os.path.join(GOLDEN, f"{kind}.h5") for kind in ("features", "vectors", "codebook", "index", "ranking")]
    found = []

    def read():
        for path in files:
            with Store(path) as store:
                found.append(store.kind)

    threads = [threading.Thread(target=read) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(found) == sorted(4 * ["features", "vectors", "codebook", "index", "ranking"])
    assert len(started) == 1
    started[0].kill()  # by whom ever: it is started again
    read()
    assert len(started) == 2
    older._reader.end()
    assert [process.returncode for process in started] == [-signal.SIGKILL, 0]


def test_files_of_today_start_no_process(stores, monkeypatch):
    monkeypatch.setattr(older, "_reader", None)
    for kind in KINDS:
        with Store(getattr(stores, kind)) as store:
            assert list(store.problems()) == []


def test_the_process_imports_nothing_from_the_current_folder(tmp_path, run):
    (tmp_path / "json.py").write_text("raise SystemExit('planted')")
    (tmp_path / "h5py.py").write_text("raise SystemExit('planted')")
    result = run("info", os.path.join(GOLDEN, "features.h5"), cwd=tmp_path)
    assert (result.code, result.err) == (0, "")


def test_texts_of_another_type_are_none(tmp_path, stores):
    """Attributes that are no text, or larger than HDF5's own bound, are not read."""
    with h5py.File(tmp_path / "a.h5", "w", libver="latest") as file:
        file.attrs.create("format", [b"imgret"] * 2)
        file.attrs["kind"] = 7
        file.attrs.create("recipe", b"x" * 100_000)
    with h5py.File(tmp_path / "b.h5", "w") as file:
        file.attrs["format"] = h5py.Empty("S6")
        file.attrs["kind"] = np.zeros((), [("a", "i4")])
    for name in ("a.h5", "b.h5"):
        with pytest.raises(ImgretError, match="is not an imgret file"):
            Store(tmp_path / name)
