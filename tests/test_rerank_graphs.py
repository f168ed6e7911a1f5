"""Diffusion and reciprocal neighbours, against what the papers say, the slow way."""

import numpy as np
import pytest
from reference_reranking import Asked, Vectors, diffused, some_vectors

from imgret.errors import ImgretError
from imgret.registry import load
from imgret.rerankers import RERANKERS
from imgret.rerankers.base import Listed
from imgret.rerankers.neighbours import Neighbours


def made(method, known, **params):
    kind = load(RERANKERS, method, "reranker")
    reranker = kind(kind.Params(**params))
    reranker.begin(known)
    return reranker


def asked(known, vector, itself=-1, k=30):
    return Asked(known.search(vector[None], k), vector, itself)


def affinity(known, k, gamma):
    """Affinities (N, N) of those that have each other among their k nearest."""
    scores = known.scores(known.vectors(np.arange(known.size)))
    np.fill_diagonal(scores, -np.inf)
    near = np.zeros(scores.shape, bool)
    np.put_along_axis(near, np.argsort(-scores, axis=1, kind="stable")[:, :k], True, axis=1)
    return np.where(near & near.T, np.maximum(scores, 0), 0) ** gamma


@pytest.mark.parametrize(("loop", "alpha"), [(1.0, 0.9), (0.0, 0.99)])
def test_diffusion_in_closed_form(loop, alpha):
    known, query = Vectors(some_vectors()), some_vectors(1)[0]
    one = asked(known, query)
    (found,) = made("diffusion", known, depth=4, k=3, alpha=alpha, gamma=2.0, loop=loop).rerank([one], known)
    y = np.zeros(known.size)
    y[one.list.ids[:4]] = np.maximum(one.list.scores[:4], 0).astype(np.float64) ** 2
    f = diffused(affinity(known, 3, 2.0), y, alpha, loop)
    reached = f > 1e-6 * f.max()
    count = int(reached.sum())
    assert 4 < count < known.size
    assert found.ids[:count].tolist() == np.argsort(-f, kind="stable")[:count].tolist()
    np.testing.assert_allclose(found.scores[:count], np.sort(f)[::-1][:count], atol=1e-5 * f.max())
    others = [photo for photo in one.list.ids if not reached[photo]]
    assert found.ids[count:].tolist() == others
    assert (np.diff(found.scores) <= 0).all()


def test_diffusion_of_several_rankings():
    """As of one whose scores are the sums of powers; a ranking that is silent adds nothing."""
    known = Vectors(some_vectors())
    lists = [known.search(some_vectors(1)[row][None], 30)[0] for row in (0, 7)]
    empty = Listed(np.zeros(0, np.int64), np.zeros(0, np.float32))
    reranker = made("diffusion", known, gamma=1.0, depth=5)
    y = np.zeros(known.size)
    for each in lists:
        y[each.ids[:5]] += np.maximum(each.scores[:5], 0)
    (found,) = reranker.rerank([Asked([*lists, empty])], known)
    f = diffused(affinity(known, 50, 1.0), y, 0.9, 1.0)
    np.testing.assert_allclose(found.scores[:10], np.sort(f)[::-1][:10], rtol=1e-4)
    (nothing,) = reranker.rerank([Asked([empty])], known)
    assert len(nothing) == 0


def test_diffusion_of_a_photo_of_the_gallery():
    """It comes first, and what it finds does not come from itself."""
    x = some_vectors()
    known = Vectors(x)
    (found,) = made("diffusion", known).rerank([asked(known, x[6], 6)], known)
    assert found.ids[0] == 6
    assert found.scores[0] == pytest.approx(1)
    one = asked(known, x[6])
    kept = one.list.ids != 6
    (wanted,) = made("diffusion", known).rerank([Asked([Listed(one.list.ids[kept], one.list.scores[kept])], x[6])], known)
    assert [photo for photo in wanted.ids if photo != 6][:20] == found.ids[1:21].tolist()


def test_squared_distances():
    """Affinities fall with the distance, from 1 on; the order of the neighbours is the same."""
    x = some_vectors()
    known = Vectors(x, "l2")
    near = Neighbours(known, 6)
    assert near.ids.shape == (30, 6)
    assert near.affinities.max() < 1
    assert near.affinities.min() > 0
    assert (np.diff(near.affinities, axis=1) <= 0).all()
    assert near.affinities_of(np.zeros(1, np.float32)).tolist() == [1]
    (found,) = made("diffusion", known).rerank([asked(known, x[6] + 0.01, k=8)], known)
    assert found.ids[0] == 6
    assert set(found.ids[:3] // 5) == {1}


def test_products_are_divided_by_the_highest():
    near = Neighbours(Vectors(some_vectors() * 9, "ip"), 6)
    assert near.affinities.max() == 1
    assert near.affinities[near.affinities > 0].min() < 1


class Some(Vectors):
    """With graphs that lack something."""

    def graph(self, start, stop, number=0):
        ids, scores = super().graph(start, stop)
        ids[ids % 7 == 0] = -1
        order = np.argsort(ids < 0, axis=1, kind="stable")
        ids, scores = np.take_along_axis(ids, order, 1), np.take_along_axis(scores, order, 1)
        return ids, np.where(ids < 0, np.float32(np.nan), scores)


def test_shorter_lists_in_the_graph():
    known = Some(some_vectors())
    near = Neighbours(known, 50)
    assert (near.ids == -1).any()
    assert np.isfinite(near.affinities).all()
    assert (near.affinities[near.ids < 0] == 0).all()
    (found,) = made("diffusion", known, alpha=0.99).rerank([asked(known, some_vectors(1)[3])], known)
    assert len(found) == 30
    assert np.isfinite(found.scores).all()


def test_graphs_that_will_not_do():
    none = Vectors(some_vectors()[:1])
    with pytest.raises(ImgretError, match="^the graph lists no neighbours of any photo: make it again, with -k 50$"):
        made("diffusion", none)
    two = Vectors(some_vectors())
    two.graphs = 2
    with pytest.raises(ImgretError, match="^2 graphs are given, and the photos have one set of neighbours here: give one --graph$"):
        made("diffusion", two)


def test_company_changes_nothing():
    known = Vectors(some_vectors())
    queries = [asked(known, some_vectors(1)[row]) for row in range(4)]
    for method in ("diffusion",):
        reranker = made(method, known)
        for query, found in zip(queries, reranker.rerank(queries, known), strict=True):
            (alone,) = reranker.rerank([query], known)
            np.testing.assert_array_equal(alone.scores, found.scores)
            np.testing.assert_array_equal(alone.ids, found.ids)
