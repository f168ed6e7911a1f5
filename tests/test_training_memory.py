"""Memory that is freed and taken again."""

import ctypes
import resource
import sys

import numpy as np
import pytest

from imgret.training import memory
from imgret.training.memory import kept


@pytest.fixture(autouse=True)
def no_choice(monkeypatch):
    """The environment says nothing."""
    for name in memory.CHOSEN:
        monkeypatch.delenv(name, raising=False)


def faults(rounds):
    """Pages that the system had to give, as a large array is made and freed so often."""
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(rounds):
        np.full(16 << 20, 1, np.float32)
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="glibc only")
def test_freed_memory_is_taken_again():
    with kept():
        faults(1)
        inside = faults(5)
    assert inside < faults(5) / 5


def test_without_glibc_nothing_happens(monkeypatch):
    monkeypatch.setattr(ctypes, "CDLL", lambda _: object())
    with kept():
        pass


class Library:
    """Notes what it is told."""

    def __init__(self):
        self.told = []

    def mallopt(self, name, value):
        self.told.append((name, value))

    def malloc_trim(self, pad):
        self.told.append(pad)


def test_it_is_as_usual_afterwards_whatever_happened(monkeypatch):
    library = Library()
    monkeypatch.setattr(ctypes, "CDLL", lambda _: library)

    def ended():
        with kept():
            assert library.told == [*memory.KEPT.items()]
            raise KeyError

    with pytest.raises(KeyError):
        ended()
    assert library.told == [*memory.KEPT.items(), *memory.USUAL.items(), 0]


@pytest.mark.parametrize("name", memory.CHOSEN)
def test_what_the_environment_says_is_left_alone(monkeypatch, name):
    library = Library()
    monkeypatch.setattr(ctypes, "CDLL", lambda _: library)
    monkeypatch.setenv(name, "1")
    with kept():
        pass
    assert library.told == []
