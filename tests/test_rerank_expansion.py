"""Query expansion: against means by hand, with verified photos only, and where a query is a photo of the gallery."""

import numpy as np
import pytest
from reference_reranking import Asked, Vectors, some_vectors

from imgret.errors import ImgretError
from imgret.registry import load
from imgret.rerankers import RERANKERS
from imgret.rerankers.base import Listed

METHODS = ("aqe", "alpha-qe")


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
    (found,) = made("aqe", depth=3).rerank([asked(known, query)], known)
    best = known.search(query[None], 3)[0].ids
    mean = (query + x[best].sum(axis=0)) / 4 if metric != "cosine" else (unit(query) + unit(x[best]).sum(axis=0)) / 4
    (wanted,) = known.search(mean[None], 12)
    assert found.ids.tolist() == wanted.ids.tolist()
    assert len(found) == 12
    np.testing.assert_allclose(found.scores, wanted.scores, rtol=1e-5, atol=1e-5)


def test_alpha_by_hand():
    x = some_vectors()
    known, query = Vectors(x), some_vectors(1)[7]
    (found,) = made("alpha-qe", depth=4, alpha=2.0).rerank([asked(known, query)], known)
    best = known.search(query[None], 4)[0].ids
    mean = unit(query) + sum(max(float(unit(query) @ unit(x[row])), 0) ** 2 * unit(x[row]) for row in best)
    (wanted,) = known.search(mean[None], 12)
    assert found.ids.tolist() == wanted.ids.tolist()
    np.testing.assert_allclose(found.scores, wanted.scores, atol=1e-6)


@pytest.mark.parametrize("method", METHODS)
def test_its_own_photo_counts_once(method):
    """As it asks with its own vector: nothing changes if it is averaged, but how much the others count."""
    x = some_vectors()
    known, query = Vectors(x), x[3]
    (found,) = made(method, depth=2).rerank([asked(known, query, itself=3)], known)
    others = np.delete(x, 3, axis=0)
    apart = Vectors(others)
    (wanted,) = made(method, depth=2).rerank([asked(apart, query)], apart)
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
    weights = np.ones(2) if method == "aqe" else np.maximum(unit(x[chosen]) @ unit(query), 0) ** 3
    wanted = known.search((unit(query) + weights @ unit(x[chosen]))[None], 12)[0].ids
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
    together = made(method).rerank(queries, known)
    assert list(map(len, together)) == [1, 0, 2, 12]
    for query, found in zip(queries, together, strict=True):
        (alone,) = made(method).rerank([query], known)
        np.testing.assert_array_equal(alone.ids, found.ids)
        np.testing.assert_array_equal(alone.scores, found.scores)
