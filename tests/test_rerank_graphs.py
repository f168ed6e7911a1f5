"""Diffusion and reciprocal neighbours, against what the papers say, the slow way."""

import numpy as np
import pytest
from reference_reranking import Asked, Vectors, diffused, reciprocal, some_vectors

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


def affinity(known, k, gamma, background=True):
    """Affinities (N, N) of those that have each other among their k nearest."""
    scores = known.scores(known.vectors(np.arange(known.size)))
    np.fill_diagonal(scores, -np.inf)
    order = np.argsort(-scores, axis=1, kind="stable")[:, :k]
    near = np.zeros(scores.shape, bool)
    np.put_along_axis(near, order, True, axis=1)
    floor = np.take_along_axis(scores, order[:, -1:], axis=1) if background else 0
    found = np.where(near, np.maximum((scores - floor) / (1 - floor), 0), 0)
    return np.minimum(found, found.T) ** gamma


@pytest.mark.parametrize(("loop", "alpha", "background"), [(1.0, 0.9, True), (0.0, 0.99, False)])
def test_diffusion_in_closed_form(loop, alpha, background):
    known, query = Vectors(some_vectors()), some_vectors(1)[0]
    one = asked(known, query)
    params = {"depth": 4, "k": 3, "alpha": alpha, "gamma": 2.0, "loop": loop, "background": background}
    (found,) = made("diffusion", known, **params).rerank([one], known)
    y, scores = np.zeros(known.size), one.list.scores.astype(np.float64)
    floor = scores[4] if background else 0
    y[one.list.ids[:4]] = (np.maximum(scores[:4] - floor, 0) / (1 - floor)) ** 2
    if not background:
        y[one.list.ids[4]] = max(scores[4], 0) ** 2
    f = diffused(affinity(known, 3, 2.0, background), y, alpha, loop)
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
        y[each.ids[:5]] += (each.scores[:5] - each.scores[5]) / (1 - each.scores[5])
    (found,) = reranker.rerank([Asked([*lists, empty])], known)
    f = diffused(affinity(known, 10, 1.0), y, 0.9, 1.0)
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


@pytest.mark.parametrize(("k1", "k2", "lam"), [(6, 1, 0.5), (6, 3, 0.3), (4, 2, 0.0), (9, 6, 0.3)])
def test_reciprocal_as_published(k1, k2, lam):
    """The queries are photos of the gallery, as the published program has queries and gallery together."""
    x = some_vectors(2)
    known = Vectors(x)
    distances = np.clip(2 - 2 * known.scores(x), 0, None)
    np.fill_diagonal(distances, 0)
    final = reciprocal(distances, k1, k2, lam)
    reranker = made("k-reciprocal", known, k1=k1, k2=k2, lam=lam, background=False)
    for photo in range(0, known.size, 3):
        (found,) = reranker.rerank([asked(known, x[photo], photo)], known)
        np.testing.assert_allclose(found.scores, 1 - final[photo, found.ids], atol=2e-6)
        assert found.ids[0] == photo
        assert (np.diff(found.scores) <= 0).all()


def test_reciprocal_by_what_exceeds_the_background():
    x = some_vectors(2)
    known = Vectors(x)
    encodings = affinity(known, 4, 1.0) + np.eye(known.size)
    encodings /= encodings.sum(axis=1, keepdims=True)
    (found,) = made("k-reciprocal", known, k1=4, lam=0.3).rerank([asked(known, x[7], 7)], known)
    common = np.minimum(encodings, encodings[7]).sum(axis=1)
    scores = known.scores(x[7:8])[0]
    floor = np.sort(scores)[-5]
    wanted = 0.7 * common / (2 - common) + 0.3 * (scores - floor) / (1 - floor)
    np.testing.assert_allclose(found.scores, wanted[found.ids], atol=1e-5)


@pytest.mark.parametrize("background", [True, False])
def test_a_query_that_is_no_photo_of_the_gallery(background):
    """As if it were one: its own place in the encodings of those that would have it."""
    x = some_vectors(2)
    known, without = Vectors(x), Vectors(np.delete(x, 7, axis=0))
    params = {"k1": 4, "lam": 0.0, "background": background}
    (wanted,) = made("k-reciprocal", known, **params).rerank([asked(known, x[7], 7)], known)
    (found,) = made("k-reciprocal", without, **params).rerank([asked(without, x[7])], without)
    kept = wanted.ids != 7
    others = wanted.ids[kept] - (wanted.ids[kept] > 7)
    # those of whom it is the k-th neighbour have another one without it
    assert found.ids[:3].tolist() == others[:3].tolist()
    np.testing.assert_allclose(found.scores[:3], wanted.scores[kept][:3], atol=0.12)


def test_hello_neighbour_by_hand():
    x = some_vectors(3, spread=1.2)
    known = Vectors(x)
    scores = known.scores(x)
    np.fill_diagonal(scores, -np.inf)
    near = np.argsort(-scores, axis=1, kind="stable")[:, :4]
    moved = 0
    for photo in range(known.size):
        one = asked(known, x[photo], photo)
        (found,) = made("hello-neighbour", known, k=4).rerank([one], known)
        close = [photo, *(other for other in near[photo] if photo in near[other])]
        assert found.ids.tolist() == [*close, *(other for other in one.list.ids if other not in close)]
        assert (np.diff(found.scores) <= 0).all()
        moved += found is not one.list and found.ids.tolist() != one.list.ids.tolist()
    assert moved > 5


@pytest.mark.parametrize("method", ["k-reciprocal", "hello-neighbour", "diffusion"])
def test_short_lists(method):
    x = some_vectors()
    known = Vectors(x)
    empty = Asked([Listed(np.zeros(0, np.int64), np.zeros(0, np.float32))], x[0])
    reranker = made(method, known)
    for query, count in ((empty, 0), (asked(known, x[4], 4, k=1), 1), (asked(known, x[4], 4, k=2), 2), (asked(known, x[4], k=3), 3)):
        (found,) = reranker.rerank([query], known)
        assert len(found) == count
        assert np.isfinite(found.scores).all()
        assert (np.diff(found.scores) <= 0).all()


@pytest.mark.parametrize("method", ["k-reciprocal", "hello-neighbour", "diffusion"])
@pytest.mark.parametrize("metric", ["cosine", "l2", "ip"])
def test_equal_photos(method, metric):
    """More than k of them: each resembles the query fully."""
    x = np.concatenate([np.repeat(some_vectors()[:1], 15, axis=0), some_vectors()])
    known = Vectors(x, metric)
    (found,) = made(method, known).rerank([asked(known, x[0], 0, k=40)], known)
    if metric != "ip":  # by which a longer one resembles it more
        assert set(found.ids[:16].tolist()) == set(range(16))
    assert np.isfinite(found.scores).all()
    assert (np.diff(found.scores) <= 0).all()


def test_squared_distances():
    """Affinities fall with the distance, from 1 on; the order of the neighbours is the same."""
    x = some_vectors()
    known = Vectors(x, "l2")
    near = Neighbours(known, 6, background=False)
    assert near.ids.shape == (30, 6)
    assert near.affinities.max() < 1
    assert near.affinities.min() > 0
    assert (np.diff(near.affinities, axis=1) <= 0).all()
    assert near.similarities(np.zeros(1, np.float32)).tolist() == [1]
    (found,) = made("diffusion", known).rerank([asked(known, x[6] + 0.01, k=8)], known)
    assert found.ids[0] == 6
    assert set(found.ids[:3] // 5) == {1}


def test_products_are_divided_by_the_highest():
    near = Neighbours(Vectors(some_vectors() * 9, "ip"), 6, background=False)
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
    for method in ("diffusion", "k-reciprocal", "hello-neighbour"):
        (found,) = made(method, known).rerank([asked(known, some_vectors(1)[3])], known)
        assert sorted(found.ids) == list(range(30))
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
    for method in ("diffusion", "k-reciprocal", "hello-neighbour"):
        reranker = made(method, known)
        for query, found in zip(queries, reranker.rerank(queries, known), strict=True):
            (alone,) = reranker.rerank([query], known)
            np.testing.assert_array_equal(alone.scores, found.scores)
            np.testing.assert_array_equal(alone.ids, found.ids)
