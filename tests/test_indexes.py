"""Every index against slow references: metrics, ties, batches, buffers, refusals."""


import numpy as np
import pytest

from imgret.indexes import INDEXES
from imgret.registry import load

DIM, ROWS = 24, 900
METRICS = ("cosine", "l2", "ip")
SETTINGS = {
    "pq": {"bytes": 5, "nbits": 4},
    "opq": {"bytes": 5, "nbits": 4},
    "ivfpq": {"bytes": 5, "nbits": 4, "lists": 8},
    "ivf-flat": {"lists": 8},
    "factory": {"factory": "IVF8,SQ8"},
}
CASES = [(name, SETTINGS.get(name, {})) for name in INDEXES]
CASES += [("factory", {"factory": text}) for text in ("Flat", "PCA16,Flat", "PQ6x4", "IVF8,PQ6x4fs", "HNSW8", "RR24,SQ6")]


def case_id(case):
    return "-".join([case[0], *map(str, case[1].values())]) if isinstance(case, tuple) else str(case)


def make(name, metric="cosine", **params):
    kind = load(INDEXES, name, "index")
    return kind(kind.Params(**params), metric)


def built(name, x, metric="cosine", **params):
    index = make(name, metric, **params)
    index.plan(x.shape[1], len(x), len(x))
    index.train(x)
    index.add(x)
    return index


def reopened(index):
    return type(index).from_buffer(index.params, index.metric, index.to_bytes(), index.dim, index.size)


def reference(xb, xq, metric):
    """Scores (Q, N), pair by pair in double precision."""
    out = np.zeros((len(xq), len(xb)))
    for i, q in enumerate(xq.astype(np.float64)):
        for j, x in enumerate(xb.astype(np.float64)):
            if metric == "l2":
                out[i, j] = -sum((a - b) ** 2 for a, b in zip(q, x, strict=True))
            else:
                out[i, j] = sum(a * b for a, b in zip(q, x, strict=True))
                if metric == "cosine":
                    out[i, j] /= (np.linalg.norm(q) or 1) * (np.linalg.norm(x) or 1)
    return out


@pytest.fixture(scope="module")
def vectors():
    """Rows of uneven variance, a fifth of them copies of seven; queries, some of them rows."""
    rng = np.random.default_rng(3)
    spread = np.linspace(2, 0.3, DIM)
    xb = (rng.standard_normal((ROWS, DIM)) * spread + 0.2).astype(np.float32)
    copies = rng.permutation(ROWS)[: ROWS // 5]
    xb[copies] = xb[copies[np.arange(len(copies)) % 7]]
    xq = np.concatenate([xb[copies[:10]], (rng.standard_normal((90, DIM)) * spread).astype(np.float32)])
    return xb, xq, copies


def assert_ordered(scores, rows):
    """Best first; equal scores by ascending row; missing ones last."""
    for line, numbers in zip(scores, rows, strict=True):
        there = int((numbers >= 0).sum())
        assert (numbers[there:] == -1).all()
        assert np.isnan(line[there:]).all()
        pairs = list(zip(-line[:there], numbers[:there], strict=True))
        assert pairs == sorted(pairs)
        assert len(set(numbers[:there].tolist())) == there


@pytest.mark.parametrize("metric", METRICS)
def test_flat_equals_the_reference(vectors, metric):
    xb, xq, _ = vectors
    xq = xq[:6]
    scores, rows = reopened(built("flat", xb, metric)).search(xq, ROWS)
    expected = reference(xb, xq, metric)
    np.testing.assert_allclose(scores, np.take_along_axis(expected, rows, 1), rtol=2e-5, atol=2e-5)
    assert_ordered(scores, rows)
    assert (rows >= 0).all()


@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize(("name", "params"), [("ivf-flat", {"lists": 8}), ("hnsw", {}), ("factory", {"factory": "Flat"})])
def test_uncompressed_indexes_agree_with_flat(vectors, metric, name, params):
    xb, xq, _ = vectors
    expected = built("flat", xb, metric).search(xq, 60)
    index = built(name, xb, metric, **params)
    settings = index.SearchParams(**({"ef": ROWS} if name == "hnsw" else {"nprobe": 8}))
    scores, rows = index.search(xq, 60, settings)
    np.testing.assert_allclose(scores, expected[0], rtol=1e-5, atol=1e-5)
    agree = (rows == expected[1]).mean()
    assert agree == 1 if name != "hnsw" else agree > 0.98


@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize("bits", [4, 8])
def test_pq_scores_are_those_of_the_decoded_vectors(vectors, metric, bits):
    import faiss

    xb, xq, _ = vectors
    index = built("pq", xb, metric, bytes=5, nbits=bits)
    structure = faiss.deserialize_index(index.to_bytes())
    decoded = structure.index.reconstruct_n(0, ROWS)  # where the rotation has taken them: five or ten parts of equal width
    scores, rows = index.search(xq[:4], ROWS)
    asked = xq[:4] / np.linalg.norm(xq[:4], axis=1, keepdims=True) if metric == "cosine" else xq[:4]
    asked = structure.chain.at(0).apply(np.ascontiguousarray(asked))
    expected = reference(decoded, asked, "ip" if metric == "ip" else "l2")
    expected = 1 + expected / 2 if metric == "cosine" else expected
    np.testing.assert_allclose(scores, np.take_along_axis(expected, rows, 1), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize("case", CASES, ids=case_id)
def test_rankings_depend_on_nothing_but_the_query(vectors, case, metric):
    xb, xq, copies = vectors
    name, params = case
    index = built(name, xb, metric, **params)
    scores, rows = index.search(xq, 30)
    assert scores.shape == rows.shape == (100, 30)
    assert (scores.dtype, rows.dtype) == (np.float32, np.int64)
    assert_ordered(scores, rows)
    for asked in (xq[:1], xq[:19], xq[:20]):
        alone = index.search(asked, 30, jobs=2)
        np.testing.assert_array_equal(alone[0], scores[: len(asked)])
        np.testing.assert_array_equal(alone[1], rows[: len(asked)])
    from_file = reopened(index).search(xq, 30, jobs=2)
    np.testing.assert_array_equal(from_file[0], scores)
    np.testing.assert_array_equal(from_file[1], rows)
    everything, order = index.search(xq[:3], ROWS)
    for line, numbers in zip(everything, order, strict=True):
        found = dict(zip(numbers.tolist(), line.tolist(), strict=True))
        for first in range(7):
            assert len({found[row] for row in copies[first::7].tolist() if row in found}) <= 1


@pytest.mark.parametrize("name", ["flat", "pq", "ivf-flat", "ivfpq"])
def test_ties_longer_than_the_list_keep_the_first_rows(vectors, name):
    xb = np.repeat(vectors[0][:20], 60, axis=0)[np.random.default_rng(0).permutation(1200)]
    index = built(name, xb, "cosine", **SETTINGS.get(name, {}))
    settings = index.SearchParams(**({"nprobe": 8} if name.startswith("ivf") else {}))
    scores, rows = index.search(vectors[0][:20], 50, settings)
    everything = index.search(vectors[0][:20], 1200, settings)
    np.testing.assert_array_equal(scores, everything[0][:, :50])
    np.testing.assert_array_equal(rows, everything[1][:, :50])
    for query in range(20):
        assert len(set(scores[query].tolist())) == 1
        same = np.flatnonzero((xb == xb[rows[query, 0]]).all(axis=1))
        if name in ("flat", "ivf-flat"):
            np.testing.assert_array_equal(rows[query], same[:50])
