"""Miners: against a slow look at all photos, whatever the relations, blocks and equal vectors."""

import importlib

import numpy as np
import pytest

from imgret.errors import UsageError
from imgret.miners import MINERS, nearest
from imgret.registry import load
from imgret.relations import Grouped, Linked, Placed, Relations

SOME = (3, 17, 40)


def miner(name):
    return load(MINERS, name, "miner")()


def relations_of(kind, count, rng):
    """Random relations of photos."""
    if kind == "none":
        return Relations(count)
    if kind == "grouped":
        return Grouped([tuple(rng.choice(count // 5, size=rng.integers(0, 3), replace=False).tolist()) for _ in range(count)])
    if kind == "linked":
        return Linked(count, rng.integers(0, count, (count // 3, 2)).tolist())
    places = rng.random(count) * count / 4
    apart = np.abs(places[:, None] - places)
    return Placed([np.flatnonzero(row < 0.5) for row in apart], [np.flatnonzero(row < 2) for row in apart], places.astype(int))


def made(kind, count, dim, seed, whole=False):
    """Vectors (few different ones of whole numbers, where many pairs are as near), and relations."""
    rng = np.random.default_rng(seed)
    vectors = rng.integers(-1, 2, (count, dim)).astype(np.float32) if whole else rng.standard_normal((count, dim), dtype=np.float32)
    vectors[~vectors.any(axis=1)] = 1
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    return vectors, relations_of(kind, count, rng), rng


def slow(queries, positives, vectors, pool, relations, count, semi):
    """All photos in order, one query at a time."""
    answer = np.full((len(queries), count), -1)
    for row, (query, positive) in enumerate(zip(queries, positives, strict=True)):
        products = [(vectors[query].astype(np.float64) * vectors[photo]).sum() for photo in range(len(vectors))]
        allowed = [photo for photo in pool if photo not in relations.never(query)]
        order = sorted(allowed, key=lambda photo: (semi and products[photo] >= products[positive], -products[photo], photo))
        taken = []
        for photo in order:
            if relations.clusters[photo] not in taken and len(taken) < count:
                answer[row, len(taken)] = photo
                taken.append(relations.clusters[photo])
    return answer


def reading(vectors):
    """As a miner reads vectors: in float16 or float32, by ascending numbers."""

    def read(photos):
        assert (np.diff(photos) > 0).all()
        return vectors[photos]

    return read


@pytest.mark.parametrize("name", MINERS)
@pytest.mark.parametrize("kind", ["none", "grouped", "linked", "placed"])
def test_contract(name, kind):
    """Shape, type, nothing that may not be, no two of a cluster, as many as there are, and the same again; other rows change nothing."""
    vectors, relations, rng = made(kind, 60, 8, 1)
    pool = np.sort(rng.choice(60, 45, replace=False))
    queries, positives = rng.integers(0, 60, 20), rng.integers(0, 60, 20)
    arguments = queries, positives, reading(vectors), pool, relations
    found = miner(name).mine(*arguments, 6, 5)
    assert (found.shape, found.dtype) == ((20, 6), np.int64)
    for query, row in zip(queries, found, strict=True):
        there = row[row >= 0]
        possible = set(relations.clusters[np.setdiff1d(pool, relations.never(query))])
        assert len(there) == min(6, len(possible))
        assert (row[len(there) :] == -1).all()
        assert set(there) <= set(pool) - set(relations.never(query))
        assert len(set(relations.clusters[there])) == len(there)
    assert (miner(name).mine(*arguments, 6, 5) == found).all()
    assert (miner(name).mine(queries[::-2], positives[::-2], *arguments[2:], 6, 5) == found[::-2]).all()
    assert miner(name).mine(queries[:0], positives[:0], *arguments[2:], 6, 5).shape == (0, 6)
    assert (miner(name).mine(queries, positives, reading(vectors), pool[:0], relations, 2, 5) == -1).all()


@pytest.mark.parametrize("kind", ["none", "grouped", "linked", "placed"])
@pytest.mark.parametrize("name", ["hard", "semi-hard"])
@pytest.mark.parametrize("dim", [3, 24])
@pytest.mark.parametrize("whole", [False, True])
def test_nearest_are_found_whatever_the_blocks(name, kind, dim, whole, monkeypatch):
    """The slow answer, with blocks of any size, with many vectors that are equal, and where the first candidates are not enough."""
    vectors, relations, rng = made(kind, 240, dim, 2, whole)
    pool = np.sort(rng.choice(240, 220, replace=False))
    queries, positives = rng.integers(0, 240, 12), rng.integers(0, 240, 12)
    wanted = slow(queries, positives, vectors, pool, relations, 5, name == "semi-hard")
    for queries_at_once, pool_at_once, entries, held in ((1024, 2048, 1 << 22, 1 << 26), (5, 7, 1 << 22, 1 << 26), (7, 64, 90, 999)):
        monkeypatch.setattr(nearest, "BYTES", held)
        monkeypatch.setattr(nearest, "QUERIES", queries_at_once)
        monkeypatch.setattr(nearest, "POOL", pool_at_once)
        monkeypatch.setattr(nearest, "ENTRIES", entries)
        assert (miner(name).mine(queries, positives, reading(vectors), pool, relations, 5, 0) == wanted).all()


@pytest.mark.parametrize("name", ["hard", "semi-hard"])
def test_one_cluster_around_the_query(name, monkeypatch):
    """A hundred near photos are alike: all but one are passed over, and the search goes on until the other clusters are found."""
    vectors, _, _ = made("none", 240, 6, 3)
    vectors[:150] = vectors[0] + vectors[:150] / 100
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    relations = Grouped([(0,)] + [(1,)] * 149 + [(2 + number // 10,) for number in range(90)])
    calls = []
    monkeypatch.setattr(nearest, "PAIRS", 9)
    found = miner(name).mine(
        np.array([0]), np.array([200]), lambda photos: (calls.append(1), vectors[photos])[1], np.arange(240), relations, 4, 0
    )
    assert (found == slow([0], [200], vectors, np.arange(240), relations, 4, name == "semi-hard")).all()
    assert len(calls) > 3


def test_all_clusters_found_is_enough(monkeypatch):
    """Two groups: a query has one negative, however many are asked for, and the pool is read once."""
    vectors, _, _ = made("none", 400, 6, 4)
    relations = Grouped([(number % 2,) for number in range(400)])
    reads = []
    found = miner("hard").mine(
        np.arange(400), None, lambda photos: (reads.append(len(photos)), vectors[photos])[1], np.arange(400), relations, 3, 0
    )
    assert (found[:, 0] >= 0).all()
    assert (found[:, 1:] == -1).all()
    assert reads.count(400) == 2


def test_half_precision_is_read_as_it_is():
    """What a file holds in float16 is compared as these numbers."""
    vectors, relations, rng = made("grouped", 200, 16, 5)
    half = vectors.astype(np.float16)
    queries, pool = rng.integers(0, 200, 10), np.arange(200)
    found = miner("hard").mine(queries, queries, reading(half), pool, relations, 5, 0)
    assert (found == slow(queries, queries, half.astype(np.float32), pool, relations, 5, False)).all()


def test_memory_does_not_grow_with_the_pool():
    """No read is larger than a block, or than what is compared again."""
    vectors, relations, _ = made("none", 6000, 4, 6)
    sizes = []
    miner("hard").mine(
        np.arange(3000), None, lambda photos: (sizes.append(len(photos)), vectors[photos])[1], np.arange(6000), relations, 2, 0
    )
    assert max(sizes) <= max(nearest.POOL, nearest.QUERIES, nearest.PAIRS)


def test_random_takes_all_alike():
    """Every photo that may be drawn is, about as often as any other; the seed and the photo decide."""
    relations = Grouped([(0,)] * 4 + [(number,) for number in range(1, 17)])
    seen = np.zeros(20, dtype=int)
    for seed in range(400):
        row = miner("random").mine(np.array([0]), None, None, np.arange(20), relations, 4, seed)[0]
        seen[row] += 1
    assert not seen[:4].any()
    assert 70 < seen[4:].min() <= seen[4:].max() < 130  # 100 ± 9
    queries = np.array([0, 5, 0])
    rows = miner("random").mine(queries, None, None, np.arange(20), relations, 4, 1)
    assert (rows[0] == rows[2]).all()
    assert (rows[0] != rows[1]).any()
    assert (rows != miner("random").mine(queries, None, None, np.arange(20), relations, 4, 2)).any()


@pytest.mark.parametrize("kind", ["none", "grouped", "linked", "placed"])
def test_the_hardest_of_a_sample_and_of_the_last_time(kind):
    """Of those drawn for a query and its hardest before, the nearest, one of a cluster; and what is kept goes on elsewhere."""
    vectors, relations, _ = made(kind, 300, 8, 6)
    pool, queries = np.arange(20, 290), np.arange(0, 300, 25)
    sampled = load(MINERS, "sampled", "miner")
    one = sampled(sampled.Params(sampled=40))
    first = one.mine(queries, queries, reading(vectors), pool, relations, 4, 1)
    alone = sampled(sampled.Params(sampled=40))
    for query, row in zip(queries.tolist(), first, strict=True):
        assert (alone.mine(np.array([query]), None, reading(vectors), pool, relations, 4, 1) == row).all()
        nearest = slow([query], [query], vectors, pool, relations, 4, False)[0]
        assert vectors[nearest[0]] @ vectors[query] >= vectors[row[0]] @ vectors[query]
    other = sampled(sampled.Params(sampled=40))
    other.restore(one.state())
    fresh = sampled(sampled.Params(sampled=40)).mine(queries, queries, reading(vectors), pool, relations, 4, 2)
    second = one.mine(queries, queries, reading(vectors), pool, relations, 4, 2)
    for query, before, drawn, row in zip(queries, first, fresh, second, strict=True):
        both = np.union1d(before, drawn)
        assert (row == slow([query], [query], vectors, both, relations, 4, False)[0]).all()
    assert (second != fresh).any()
    assert (other.mine(queries, queries, reading(vectors), pool, relations, 4, 2) == second).all()
    fewer = other.mine(queries, queries, reading(vectors), pool[:100], relations, 4, 3)
    assert np.isin(fewer, pool[:100]).all()  # what was kept of photos that are not looked at this time is passed over


@pytest.mark.parametrize("name", MINERS)
def test_said_of_itself(name):
    """Names, docstrings, and the refusal of another name."""
    kind = load(MINERS, name, "miner")
    assert (kind.name, kind.Params()) == (name, miner(name).params)
    assert all((kind.__doc__, importlib.import_module(kind.__module__).__doc__))
    with pytest.raises(UsageError, match="there is no miner 'easy'; choose one of: hard, semi-hard, sampled, random"):
        load(MINERS, "easy", "miner")
