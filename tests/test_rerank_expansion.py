"""Query expansion: against means by hand, with verified photos only, and where a query is a photo of the gallery."""

import numpy as np
import pytest
from reference_reranking import Asked, Vectors, some_vectors

from imgret.errors import ImgretError
from imgret.registry import load
from imgret.rerankers import RERANKERS
from imgret.rerankers.base import Listed
from imgret.rerankers.dqe import normal

METHODS = ("aqe", "alpha-qe", "rank-weighted", "dqe")
AVERAGED = METHODS[:3]


def made(method, **params):
    kind = load(RERANKERS, method, "reranker")
    return kind(kind.Params(**params))


def asked(known, vector, itself=-1, k=12, **of):
    """A query and the list that the index gives it."""
    (found,) = known.search(vector[None], k)
    evidence = of.get("evidence")
    if evidence is not None:
        evidence = evidence(found.ids)
    return Asked([Listed(found.ids, found.scores, evidence, None, of.get("enough", np.inf))], vector, itself)


def unit(x):
    return x / np.linalg.norm(x, axis=-1, keepdims=True)


@pytest.mark.parametrize("metric", ["cosine", "l2", "ip"])
def test_average_by_hand(metric):
    x = some_vectors()
    known, query = Vectors(x, metric), some_vectors(1)[0]
    (found,) = made("aqe", depth=3, verified=False).rerank([asked(known, query)], known)
    best = known.search(query[None], 3)[0].ids
    mean = (query + x[best].sum(axis=0)) / 4 if metric != "cosine" else (unit(query) + unit(x[best]).sum(axis=0)) / 4
    (wanted,) = known.search(mean[None], 12)
    assert found.ids.tolist() == wanted.ids.tolist()
    assert len(found) == 12
    np.testing.assert_allclose(found.scores, wanted.scores, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("background", [True, False])
def test_alpha_by_hand(background):
    x = some_vectors()
    known, query = Vectors(x), some_vectors(1)[7]
    (found,) = made("alpha-qe", depth=4, alpha=2.0, background=background).rerank([asked(known, query)], known)
    best = known.search(query[None], 5)[0].ids
    cosines = unit(x[best]) @ unit(query)
    floor = cosines[4] if background else 0
    mean = unit(query) + ((np.maximum(cosines[:4] - floor, 0) / (1 - floor)) ** 2) @ unit(x[best[:4]])
    (wanted,) = known.search(mean[None], 12)
    assert found.ids.tolist() == wanted.ids.tolist()
    np.testing.assert_allclose(found.scores, wanted.scores, atol=1e-6)


def test_rank_weighted_by_hand():
    x = some_vectors()
    known, query = Vectors(x), some_vectors(1)[7]
    (found,) = made("rank-weighted", depth=3, verified=False).rerank([asked(known, query)], known)
    best = known.search(query[None], 3)[0].ids
    (wanted,) = known.search((unit(query) + np.array([0.75, 0.5, 0.25]) @ unit(x[best]))[None], 12)
    np.testing.assert_allclose(found.scores, wanted.scores, atol=1e-6)


@pytest.mark.parametrize("c", [0.1, 1.0, 30.0, 1000.0])
@pytest.mark.parametrize("spread", [0.3, 1.5])
def test_a_linear_svm(c, spread):
    """The gradient of what is least is 0 there, and nowhere else; with the offset as one more dimension."""
    x = unit(some_vectors(each=9, spread=spread))
    signs = np.where(np.arange(len(x)) < 12, 1.0, -1.0)
    w = normal(x, signs, c)
    wide, offset = x.astype(np.float64), 0.0

    def missing(b):
        return np.maximum(1 - signs * (wide @ w + b), 0)

    low, high = -1e3, 1e3
    for _ in range(200):
        offset = (low + high) / 2
        low, high = (offset, high) if offset - 2 * c * (signs * missing(offset)).sum() < 0 else (low, offset)
    np.testing.assert_allclose(w, 2 * c * (signs * missing(offset)) @ wide, atol=1e-5 * np.abs(w).max())


def test_dqe_by_hand():
    x = some_vectors()
    known, query = Vectors(x), some_vectors(1)[0]
    one = asked(known, query, k=30)
    (found,) = made("dqe", depth=3, negatives=6, verified=False).rerank([one], known)
    w = normal(
        np.concatenate([unit(query)[None], unit(x[one.list.ids[:3]]), unit(x[one.list.ids[-6:]])]), np.repeat([1.0, -1.0], [4, 6]), 1.0
    )
    assert found.ids.tolist() == known.search(w[None], 30)[0].ids.tolist()


@pytest.mark.parametrize("method", AVERAGED)
def test_its_own_photo_counts_once(method):
    x = some_vectors()
    known, query = Vectors(x), x[3]
    (found,) = made(method, depth=2, verified=False).rerank([asked(known, query, itself=3)], known)
    apart = Vectors(np.delete(x, 3, axis=0))
    (wanted,) = made(method, depth=2, verified=False).rerank([asked(apart, query)], apart)
    assert found.ids[0] == 3
    np.testing.assert_allclose(found.scores[1:], wanted.scores[: len(found) - 1], atol=1e-6)


@pytest.mark.parametrize("method", METHODS)
def test_verified_only(method):
    """The best unverified photos are not averaged, and stay below."""
    x = some_vectors()
    known, query = Vectors(x), some_vectors(1)[0]
    (before,) = known.search(query[None], 12)
    chosen = before.ids[[4, 6]]
    one = asked(known, query, evidence=lambda ids: np.where(np.isin(ids, chosen), 9, np.nan).astype(np.float32), enough=6)
    (found,) = made(method, verified=True).rerank([one], known)
    assert found.ids[:2].tolist() == chosen.tolist()
    assert len(found) == 12
    np.testing.assert_array_equal(found.scores[:2], before.scores[[4, 6]])
    assert (np.diff(found.scores) <= 0).all()
    assert len(np.unique(found.ids)) == 12
    cosines = unit(x[chosen]) @ unit(query)
    weights = {"aqe": np.ones(2), "alpha-qe": np.maximum(cosines, 0) ** 3, "rank-weighted": np.array([10, 9]) / 11}.get(method)
    if weights is None:
        asking = normal(
            unit(np.concatenate([query[None], x[chosen], x[np.setdiff1d(before.ids[6:], chosen)]])), np.array([1.0] * 3 + [-1.0] * 5), 1
        )
    else:
        asking = unit(query) + weights @ unit(x[chosen])
    wanted = known.search(asking[None], 12)[0].ids
    assert found.ids[2:].tolist() == wanted[~np.isin(wanted, chosen)][:10].tolist()


@pytest.mark.parametrize("method", METHODS)
def test_nothing_is_verified(method):
    known, query = Vectors(some_vectors()), some_vectors(1)[0]
    one = asked(known, query, evidence=lambda ids: np.full(len(ids), 2, np.float32), enough=6)
    (found,) = made(method, verified=True).rerank([one], known)
    assert found is one.list
    with pytest.raises(ImgretError, match="^a ranking has no evidence, and only verified photos are to be averaged: rerank it before"):
        made(method, verified=True).rerank([asked(known, query)], known)


@pytest.mark.parametrize("method", METHODS)
def test_short_lists_and_company(method):
    """Empty lists stay; what a query gets does not depend on which others are asked."""
    x = some_vectors()
    known = Vectors(x)
    empty = Asked([Listed(np.zeros(0, np.int64), np.zeros(0, np.float32))], x[0])
    queries = [asked(known, x[1], 1, k=1), empty, asked(known, some_vectors(1)[2], k=2), asked(known, some_vectors(1)[4])]
    together = made(method, verified=False).rerank(queries, known)
    assert list(map(len, together)) == [1, 0, 2, 12]
    for query, found in zip(queries, together, strict=True):
        (alone,) = made(method, verified=False).rerank([query], known)
        np.testing.assert_array_equal(alone.ids, found.ids)
        np.testing.assert_array_equal(alone.scores, found.scores)
