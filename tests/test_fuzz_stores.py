"""Stores spoiled at random end in a sentence, or in the answers of the sound ones; never in a traceback, a crash or a hang."""

import collections
import os
import shutil
import sys

import h5py
import numpy as np
import pytest
from helpers import ROOT

from imgret.store.reader import Store

SCRIPTS = os.path.join(ROOT, "scripts")


@pytest.fixture(scope="module")
def scripts():
    """`scripts/fuzz_stores.py`, `fuzz_reading.py` and `fuzz_mutants.py`."""
    sys.path.insert(0, SCRIPTS)
    try:
        import fuzz_mutants
        import fuzz_reading
        import fuzz_stores
    finally:
        sys.path.remove(SCRIPTS)
    return fuzz_stores, fuzz_reading, fuzz_mutants


@pytest.mark.skipif(sys.platform != "linux", reason="workers of the script are copies of a process that has its libraries loaded")
def test_a_hundred_stores(scripts, tmp_path):
    fuzz_stores, fuzz_reading, _ = scripts
    fuzz_reading.make_apart(str(tmp_path))
    told = []
    found = fuzz_stores.fuzz(str(tmp_path), 6, seed=7, readers=1, tell=lambda *what: told.append(what))
    counts = sum(found.values(), collections.Counter())
    assert counts.total() == len(told) == 6 * len(fuzz_reading.SUBJECTS)
    assert counts["refused"] > 0 < counts["the same"]
    assert [what for what in told if what[2] in ("wrong", *fuzz_stores.NEVER)] == []
    lines = list(fuzz_stores.table(found))
    assert len(lines) == 2 + 2 * (len(fuzz_reading.SUBJECTS) + 1)


@pytest.mark.parametrize("kind", ["features", "kmeans", "vlad", "index", "ranking"])
def test_mutants_are_many_and_always_the_same(scripts, stores, tmp_path, kind):
    """The same number is the same mutant; signed again, a sound file is what it was."""
    *_, fuzz_mutants = scripts
    paths = [tmp_path / "a.h5", tmp_path / "b.h5"]
    contents, source = set(), getattr(stores, kind)
    for number in range(20):
        for path in paths:
            shutil.copy(source, path)
            path.write_bytes(fuzz_mutants.spoil_bytes(source.read_bytes(), np.random.default_rng([0, number])))
        assert paths[0].read_bytes() == paths[1].read_bytes()
        contents.add(paths[0].read_bytes())
    assert len(contents) > 15
    shutil.copy(source, paths[0])
    with h5py.File(paths[0], "r+", locking=False) as file:
        fuzz_mutants.resign(file)
    with Store(paths[0]) as store, Store(source) as sound:
        assert list(store.problems()) == []
        assert store.content == sound.content
        # those of blocks and of what it says of itself may be missing: what is looked at after them is to be reached
        assert store.checksums == {name: checksum for name, checksum in sound.checksums.items() if not name.startswith("#")}
