"""Relations of photos, against what their definitions say, pair by pair."""

import numpy as np
import pytest

from imgret.relations import NO_CLASS, Grouped, Linked, Placed, Relations

COUNT = 40


def grouped(rng):
    groups = [tuple(rng.integers(0, 9, rng.integers(0, 3)).tolist()) for _ in range(COUNT)]
    share = [[bool(set(one) & set(other)) for other in groups] for one in groups]
    return Grouped(groups), share, share


def linked(rng):
    pairs = rng.integers(0, COUNT, (18, 2)).tolist()
    match = np.zeros((COUNT, COUNT), dtype=bool)
    for one, other in pairs:
        match[one, other] = match[other, one] = True
    hang = match.copy()
    for _ in range(COUNT):
        hang = hang | (hang.astype(int) @ hang.astype(int) > 0)
    return Linked(COUNT, pairs), match, hang


def placed(rng):
    apart = np.abs(np.subtract.outer(*[rng.random(COUNT) * 30] * 2))
    itself = np.eye(COUNT, dtype=bool)
    rows = [[np.flatnonzero(row & ~(itself[photo] & bool(photo % 2))) for photo, row in enumerate(apart < far)] for far in (1, 3)]
    return Placed(*rows, np.arange(COUNT)), apart < 1, apart < 3


@pytest.mark.parametrize("make", [grouped, linked, placed])
@pytest.mark.parametrize("seed", range(5))
def test_contract(make, seed):
    """Who matches, who is no negative, who asks: ascending int64, as defined; a match is never a negative."""
    relations, match, never = make(np.random.default_rng(seed))
    assert len(relations) == relations.count == COUNT
    assert (relations.clusters.shape, relations.clusters.dtype) == ((COUNT,), np.int64)
    for photo in range(COUNT):
        positives, banned = relations.positives(photo), relations.never(photo)
        assert positives.dtype == banned.dtype == np.int64
        assert positives.tolist() == [other for other in range(COUNT) if match[photo][other] and other != photo]
        assert banned.tolist() == [other for other in range(COUNT) if never[photo][other] or other == photo]
    assert relations.anchors().tolist() == [photo for photo in range(COUNT) if len(relations.positives(photo))]


@pytest.mark.parametrize("make", [grouped, linked])
def test_clusters(make):
    """One of a group that it is in; of pairs what hangs together, and nothing else."""
    relations, _, never = make(np.random.default_rng(1))
    for one in range(COUNT):
        for other in range(one):
            if relations.clusters[one] == relations.clusters[other]:
                assert never[one][other]
            elif make is linked:
                assert not never[one][other]


def test_classes():
    """Where each photo is in one group at most; one in none has none."""
    assert Grouped([(3,), (), (0, 0)]).classes.tolist() == [3, NO_CLASS, 0]
    assert Grouped([(3,), (0, 1)]).classes is None
    assert Linked(2, [(0, 1)]).classes is None


def test_nothing_known():
    """A photo matches its own views; all ask."""
    relations = Relations(3)
    assert relations.positives(1).tolist() == []
    assert relations.never(1).tolist() == [1]
    assert relations.anchors().tolist() == [0, 1, 2]
    assert relations.clusters.tolist() == [0, 1, 2]


@pytest.mark.parametrize("empty", [Relations(0), Grouped([]), Linked(0, []), Placed([], [], [])])
def test_no_photos(empty):
    """Nobody asks."""
    assert empty.anchors().tolist() == []
    assert empty.clusters.shape == (0,)
