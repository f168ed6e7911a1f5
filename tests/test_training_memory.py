"""Memory that is freed and taken again."""

import ctypes
import resource
import sys

import numpy as np
import pytest

from imgret.training.memory import kept


def faults(rounds):
    """Pages that the system had to give, as a large array is made and freed so often."""
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(rounds):
        np.full(16 << 20, 1, np.float32)
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="glibc only")
def test_freed_memory_is_taken_again():
    with kept():
        first, inside = faults(1), faults(5)
    outside = faults(5)
    print(first, inside, outside)
    assert inside < outside / 5


def test_without_glibc_nothing_happens(monkeypatch):
    monkeypatch.setattr(ctypes, "CDLL", lambda _: object())
    with kept():
        pass
