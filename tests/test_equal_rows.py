"""Equal rows are in a graph once: whatever else is there is found, and so are all of them."""

import numpy as np
import pytest
from helpers import call
from test_norms import built, imported

from imgret.errors import ImgretError
from imgret.indexes import INDEXES, copies
from imgret.indexes.graphs import Graph
from imgret.registry import load
from imgret.store.reader import Store

GRAPHS = [("hnsw", {}), ("factory", {"factory": "HNSW32,Flat"}), ("factory", {"factory": "HNSW32,SQ8"})]
EVERY = pytest.mark.parametrize(("method", "params"), GRAPHS, ids=lambda value: value if isinstance(value, str) else "")


def reopened(index):
    return type(index).opened(index.params, index.metric, index.arrays(), index.facts(), index.size)


@pytest.fixture(scope="module")
def rows():
    """2000 rows that differ, among them groups that are equal: of 1000, of 40 and of two; and 30 zeros."""
    rng = np.random.default_rng(0)
    x = rng.standard_normal((2000, 16)).astype(np.float32)
    groups = np.repeat(rng.standard_normal((3, 16)).astype(np.float32), [1000, 40, 2], axis=0)
    return np.concatenate([x, groups, np.zeros((30, 16), np.float32)])[rng.permutation(3072)]


@pytest.fixture(scope="module")
def graph(rows):
    """`graph(method, params, metric)`: an index of the rows, made once."""
    made = {}

    def make(method, params, metric="l2"):
        key = method, *params.values(), metric
        if key not in made:
            made[key] = built(method, params, metric, rows)
        return made[key]

    return make


@EVERY
@pytest.mark.parametrize("metric", ["cosine", "l2"])
def test_every_row_finds_itself(rows, graph, method, params, metric):
    index = graph(method, params, metric)
    assert index.size == len(rows)
    opened = reopened(index)
    scores, found = opened.search(rows, 5)
    # by cosine zeros are as near to everything; the first of equal rows comes first
    lowest = np.unique(rows, axis=0, return_index=True, return_inverse=True)
    expected = lowest[1][lowest[2].ravel()]
    directed = rows.any(axis=1) | (metric == "l2")
    assert (found[directed, 0] == expected[directed]).mean() > 0.998
    assert (found >= 0).all()
    for asked in (index.search(rows, 5), opened.search(rows, 5, jobs=2)):
        assert np.array_equal(asked[0], scores)
        assert np.array_equal(asked[1], found)


@EVERY
@pytest.mark.parametrize("k", [1, 7, 50, 1200, 3072])
def test_k_counts_photos_and_equal_ones_come_in_their_order(rows, graph, method, params, k):
    numbers, counts = np.unique(rows, axis=0, return_counts=True)
    index = graph(method, params)
    for copied in numbers[np.argsort(-counts)[:3]]:
        same = np.flatnonzero((rows == copied).all(axis=1))
        scores, found = index.search(copied[None], k)
        there = min(k, len(same))
        assert np.array_equal(found[0, :there], same[:there])
        assert len(set(scores[0, :there].tolist())) == 1
        assert len(set(found[0].tolist())) == k
        pairs = list(zip(-scores[0], found[0], strict=True))
        assert pairs == sorted(pairs)


def test_near_equal_rows_stay_apart():
    rng = np.random.default_rng(1)
    x = np.tile(rng.standard_normal(16).astype(np.float32), (200, 1))
    x[np.arange(200), rng.integers(16, size=200)] *= 1 + np.arange(1, 201, dtype=np.float32) * 2e-4
    index = built("hnsw", {}, "l2", x)
    assert sorted(index.arrays()) == ["faiss"]
    assert np.array_equal(index.search(x, 1)[1][:, 0], np.arange(200))


def test_equal_after_they_are_normalised_and_whatever_the_sign_of_zero():
    x = np.random.default_rng(2).standard_normal((50, 8)).astype(np.float32)
    x[10] = x[3] * 4
    x[20] = x[21] = 0
    x[21, 2] = -0.0
    index = built("hnsw", {}, "cosine", x)
    assert len(index.arrays()["starts"]) == 49
    assert index.search(x[3:4], 2)[1].tolist() == [[3, 10]]
    assert len(built("hnsw", {}, "l2", x).arrays()["starts"]) == 50


def test_without_equal_rows_nothing_is_kept_of_it(rows):
    different = np.unique(rows, axis=0)
    for method, params in GRAPHS[:2]:
        index = built(method, params, "l2", different)
        assert sorted(index.arrays()) == ["faiss"]
    plain = built("flat", {}, "l2", rows)
    assert not isinstance(plain, Graph)
    assert sorted(built("factory", {"factory": "IVF8,Flat"}, "l2", rows).arrays()) == ["faiss"]


def test_the_structure_does_not_depend_on_how_rows_come(rows, graph):
    whole = graph("hnsw", {}).arrays()
    kind = load(INDEXES, "hnsw", "index")
    pieces = kind(kind.Params(), "l2")
    pieces.plan(16, 0, len(rows))
    pieces.train(rows[:0])
    for block in np.split(rows, [1, 900, 2500]):
        pieces.add(block)
    for name, array in pieces.arrays().items():
        assert np.array_equal(array, whole[name]), name


@pytest.mark.parametrize("limit", [2**64 - 1, 7])
def test_copies_are_told_apart_by_all_of_a_hash(monkeypatch, limit):
    """Also where half of it is the same for many."""
    hashes = copies._hashes
    monkeypatch.setattr(copies, "_hashes", lambda values: (hashes(values)[0] % np.uint64(limit), hashes(values)[1]))
    x = np.random.default_rng(0).integers(0, 40, (500, 1)).astype(np.float32)
    seen = copies.Copies()
    new = np.concatenate([np.array(seen.added(x[start : start + 100])) + start for start in range(0, 500, 100)])
    if limit > 7:
        assert new.tolist() == sorted(np.unique(x, return_index=True)[1].tolist())
    shared = seen.shared()
    assert np.array_equal(np.sort(shared.members), np.arange(500))
    for start, stop in zip(shared.starts, shared.starts[1:], strict=False):
        assert len(np.unique(x[shared.members[start:stop]])) == 1


@pytest.mark.parametrize(
    ("name", "change", "text"),
    [
        ("members", lambda a: a[:-1], "its rows are not shared out among the nodes of its graph"),
        ("members", lambda a: a.astype(np.int64), "its rows are not shared out among the nodes of its graph"),
        ("members", lambda a: a + np.uint32(1), "row numbers that it does not have"),
        ("starts", lambda a: a[:-1], "its rows are not shared out among the nodes of its graph"),
        ("starts", lambda a: np.r_[a[:1], a[:-1][::-1], a[-1:]], "rows where there should be"),
        ("starts", lambda a: np.r_[a[:1], a[1:-1][::-1], a[-1:]], "its rows are not shared out among the nodes of its graph"),
    ],
)
def test_damaged_columns(rows, graph, name, change, text):
    index = graph("hnsw", {})
    arrays = index.arrays()
    arrays[name] = change(arrays[name])
    with pytest.raises(ImgretError, match=f"the index is damaged .*{text}"):
        type(index).opened(index.params, "l2", arrays, index.facts(), 3072).search(rows[:50], 3072)


def test_only_a_graph_has_shared_nodes(rows, graph):
    shared = {name: array for name, array in graph("hnsw", {}).arrays().items() if name != "faiss"}
    flat = built("factory", {"factory": "Flat"}, "l2", rows[: len(shared["starts"]) - 1])
    with pytest.raises(ImgretError, match="its rows share nodes of a graph that it has not"):
        type(flat).opened(flat.params, "l2", flat.arrays() | shared, flat.facts(), 3072)


def test_from_file_to_answer(rows, tmp_path):
    vectors = imported(tmp_path, rows)
    assert call("index", vectors, "-m", "hnsw", "-o", tmp_path / "i.h5", "--metric", "l2", "-q").code == 0
    assert call("info", tmp_path / "i.h5", "--check").lines[-1] == "check           sound"
    assert call("search", tmp_path / "i.h5", vectors, "-k", 1, "-o", tmp_path / "r.h5", "-q").code == 0
    with Store(tmp_path / "r.h5") as store:
        ids = store.read("ids")[:, 0]
    assert (rows[ids] == rows).all(axis=1).mean() > 0.998
