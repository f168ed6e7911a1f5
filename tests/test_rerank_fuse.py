"""Rankings put together: by hand, by slow loops, and where lists are short, silent or odd."""

import math

import numpy as np
import pytest

from imgret.errors import ImgretError, UsageError
from imgret.rerankers.base import Known, Listed, Query
from imgret.rerankers.fuse import HOW, Fuse
from imgret.rerankers.fuse_adaptive import FuseAdaptive
from imgret.rerankers.fuse_graph import FuseGraph
from imgret.rerankers.joining import joined


class Gallery(Known):
    def __init__(self, size, references=(), graphs=()):
        self.size, self.given, self._references = size, frozenset(["reference"] if references else []), list(references)
        self.graphs, self._graphs = len(graphs), graphs

    def graph(self, start, stop, number=0):
        ids, scores = self._graphs[number]
        return ids[start:stop], scores[start:stop]

    def references(self):
        return self._references


def listed(ids, scores):
    return Listed(np.array(ids, np.int64), np.array(scores, np.float32))


def silent():
    return listed([], [])


def fused(kind, lists, size=10, itself=-1, references=(), graphs=(), **settings):
    query, known = Query(lists), Gallery(size, references, graphs)
    query.itself = itself
    reranker = kind(kind.Params(**settings))
    reranker.begin(known)
    (found,) = reranker.rerank([query], known)
    assert np.isfinite(found.scores).all()
    assert (np.diff(found.scores) <= 0).all()
    assert found.ids.dtype == np.int64
    assert found.scores.dtype == np.float32
    assert len(set(found.ids)) == len(found.ids)
    assert found.evidence is None
    assert found.maps is None
    return found


def spread(scores):
    low, high = min(scores), max(scores)
    return [1.0 if low == high else (score - low) / (high - low) for score in scores]


def standard(scores):
    mean = sum(scores) / len(scores)
    deviation = math.sqrt(sum((score - mean) ** 2 for score in scores) / len(scores))
    return [(score - mean) / deviation if deviation else 0.0 for score in scores]


def softmax(scores, temperature=5.0):
    powers = [math.exp(score / temperature) for score in standard(scores)]
    return [power / sum(powers) for power in powers]


def by_hand(how, lists, weights):
    """Scores of all photos by the formulas, one by one."""
    photos = {photo for ids, _ in lists for photo in ids}
    longest = max(len(ids) for ids, _ in lists)
    found = {}
    for photo in photos:
        total = 1.0 if how == "product" else 0.0
        for (ids, scores), weight in zip(lists, weights, strict=True):
            weight /= sum(weights)
            place = ids.index(photo) if photo in ids else len(ids) - 1
            if how == "product":
                total *= (0.01 + 0.99 * spread(scores)[place]) ** weight
            elif how == "minmax-sum":
                total += weight * spread(scores)[place]
            elif how == "z-sum":
                total += weight * standard(scores)[place]
            elif how == "softmax":
                total += weight * softmax(scores)[place]
            elif photo in ids:
                total += weight * (1 / (61 + place) if how == "rrf" else 1 - place / longest)
        found[photo] = total
    return found


LISTS = [([3, 1, 2, 7], [9.0, 5.0, 4.5, 1.0]), ([1, 4, 3, 0, 5], [0.9, 0.8, 0.3, 0.15, 0.1]), ([6, 3, 1], [-1.0, -4.0, -9.0])]


@pytest.mark.parametrize("weights", [(1.0, 1.0, 1.0), (3.0, 1.0, 0.5)])
@pytest.mark.parametrize("how", HOW)
def test_scores_are_those_of_the_formulas(how, weights):
    found = fused(Fuse, [listed(*each) for each in LISTS], how=how, weights=weights)
    wanted = by_hand(how, LISTS, weights)
    assert len(found.ids) == 5  # as the longest has, of eight photos
    assert found.scores == pytest.approx([wanted[photo] for photo in found.ids], rel=1e-5, abs=1e-6)
    left = set(wanted) - set(found.ids.tolist())
    assert max(wanted[photo] for photo in left) <= found.scores[-1] + 1e-6


@pytest.mark.parametrize("how", HOW)
def test_a_silent_ranking_leaves_the_others_to_decide(how):
    one, other = (listed(*each) for each in LISTS[:2])
    with_it = fused(Fuse, [one, silent(), other], how=how, weights=(2.0, 5.0, 1.0))
    without = fused(Fuse, [one, other], how=how, weights=(2.0, 1.0))
    assert with_it.ids.tolist() == without.ids.tolist()
    assert with_it.scores.tolist() == without.scores.tolist()
    alone = fused(Fuse, [silent(), one], how=how)
    assert alone.ids.tolist() == one.ids.tolist()
    assert len(fused(Fuse, [silent(), silent()], how=how).ids) == 0


@pytest.mark.parametrize("how", HOW)
def test_equal_scores_go_by_the_first_list_then_by_the_second(how):
    first, second = listed([5, 2, 8], [1, 1, 1]), listed([8, 2, 0, 5], [3, 3, 3, 3])
    found = fused(Fuse, [first, second], how=how)
    if how not in ("rrf", "borda"):
        assert found.ids.tolist() == [5, 2, 8, 0]
    # the same photos the other way round: every sum is equal
    both = fused(Fuse, [listed([4, 1], [2, 1]), listed([1, 4], [2, 1])], how=how)
    assert both.ids.tolist() == [4, 1]
    assert both.scores[0] == pytest.approx(both.scores[1])


@pytest.mark.parametrize("how", HOW)
@pytest.mark.parametrize("scores", [[7.0], [3e38, 0.0, -3e38], [1e-40, 0.0], [2.0, 2.0], [0.0, -0.0]])
def test_odd_scores_give_finite_ones(how, scores):
    fused(Fuse, [listed(range(len(scores)), scores), listed([2, 1], [0.5, 0.25])], how=how)
    fused(FuseAdaptive, [listed(range(len(scores)), scores), listed([2, 1], [0.5, 0.25])])


def test_the_photo_that_asks_does_not_stretch_the_scores():
    """It counts as the best of the others, wherever it is."""
    lists = [listed([3, 1, 2, 7], [90, 5, 4, 1]), listed([1, 4, 3, 0], [0.9, 0.8, 0.3, 0.1])]
    alike = [listed([3, 1, 2, 7], [5, 5, 4, 1]), listed([1, 3, 4, 0], [0.9, 0.9, 0.8, 0.1])]
    found, wanted = fused(Fuse, lists, itself=3), fused(Fuse, alike)
    assert found.ids.tolist() == wanted.ids.tolist() == [3, 1, 4, 2, 0][:4]
    assert found.scores.tolist() == wanted.scores.tolist()
    # nor does it make a curve steep
    there, elsewhere = (
        fused(FuseAdaptive, [listed(range(6), curve), listed(range(6)[::-1], FLAT)], itself=0) for curve in (STEEP, STEEP / [9, *[1] * 5])
    )
    assert there.ids.tolist() == elsewhere.ids.tolist()
    assert there.scores.tolist() == elsewhere.scores.tolist()


def test_weights_are_one_for_each_ranking():
    with pytest.raises(UsageError, match=r"^`weights` has 2 values for 3 rankings: give one for each$"):
        fused(Fuse, [listed(*each) for each in LISTS], weights=(1.0, 2.0))
    with pytest.raises(UsageError, match=r"^`weights` must be a number of at most 1000000.0 above 0.0, got 0.0$"):
        Fuse.Params.parse("weights=1,0")


def test_joined_lists_are_sums_in_a_stable_order():
    rng = np.random.default_rng(0)
    for size, lengths in ((50, (50, 50, 50)), (400, (30, 80, 10)), (5, (1, 0, 5)), (3000, (3000, 10, 2000))):
        lists = [(rng.permutation(size)[:k], np.round(rng.standard_normal(k), 1).astype(np.float32), -0.5) for k in lengths]
        order = list(dict.fromkeys(np.concatenate([ids for ids, _, _ in lists]).tolist()))
        sums = np.full(size, np.float32(-1.5))
        for ids, values, missing in lists:
            sums[ids] += values - np.float32(missing)
        wanted = sorted(order, key=lambda photo: -sums[photo])[: max(lengths)]  # noqa: B023 - called here
        found = joined(lists, size, max(lengths))
        assert found.ids.tolist() == wanted
        assert found.scores.tolist() == sums[wanted].tolist()


def test_a_photo_outside_the_gallery_is_refused():
    for photo in (10, -2):
        with pytest.raises(ImgretError, match=f"^a ranking has a photo at {photo}, the gallery has 10: rank its photos again$"):
            fused(Fuse, [listed([3, photo], [1, 0.5]), listed([1], [1])])


STEEP, FLAT = np.array([10, 1, 0.5, 0.2, 0.1, 0.0]), np.array([1.0, 0.9, 0.8, 0.6, 0.3, 0.0])


def adaptive_by_hand(curves, areas, floor=0.01):
    weights = [1 / area for area in areas]
    return {
        photo: math.prod(
            (floor + (1 - floor) * spread(curve)[photo]) ** (w / sum(weights)) for curve, w in zip(curves, weights, strict=True)
        )
        for photo in range(len(curves[0]))
    }


def test_weights_are_those_of_the_curves():
    """The steep curve counts more: its photos go first, though the other ranking has them the other way round."""
    lists = [listed(range(6), STEEP), listed(range(6)[::-1], FLAT)]
    curves = [STEEP.tolist(), FLAT[::-1].tolist()]
    wanted = adaptive_by_hand(curves, [np.mean(spread(STEEP)), np.mean(spread(FLAT))])
    found = fused(FuseAdaptive, lists)
    assert found.scores == pytest.approx([wanted[photo] for photo in found.ids], rel=1e-5)
    shorter = fused(FuseAdaptive, lists, k=4, tail=1)
    wanted = adaptive_by_hand(curves, [np.mean(spread(STEEP[:4])), np.mean(spread(FLAT[:4]))])
    assert shorter.scores == pytest.approx([wanted[photo] for photo in shorter.ids], rel=1e-5)


def test_the_nearest_reference_is_subtracted():
    """A ranking whose curve is that of queries that match nothing counts little, however steep it is."""
    lists = [listed(range(6), STEEP), listed(range(6)[::-1], FLAT)]
    far, near = STEEP + 5, STEEP * np.array([0.5, 1, 1, 1, 1, 1])
    references = [np.array([far, near], np.float32), np.array([np.zeros(6), FLAT * 0.9 + 0.1], np.float32)]
    found = fused(FuseAdaptive, lists, references=references, k=6, tail=2, nearest=1)
    left = [STEEP - near, FLAT - np.zeros(6)]  # in the tail 0 is nearer to FLAT than .64, .37, .1
    distances = [np.square(FLAT[2:] - reference[2:]).sum() for reference in references[1]]
    left[1] = FLAT - references[1][int(np.argmin(distances))]
    curves = [STEEP.tolist(), FLAT[::-1].tolist()]
    areas = [(each.mean() - each.min()) / (each.max() - each.min()) for each in left]
    wanted = adaptive_by_hand(curves, areas)
    assert found.scores == pytest.approx([wanted[photo] for photo in found.ids], rel=1e-5)


def test_references_that_do_not_fit_are_refused():
    lists = [listed(range(6), STEEP), listed(range(6), FLAT)]
    with pytest.raises(UsageError, match=r"^1 reference for more rankings than that: give one for each, in their order, or none$"):
        fused(FuseAdaptive, lists, references=[np.ones((2, 6), np.float32)], k=6, tail=2)
    with pytest.raises(
        ImgretError, match=r"^the lists of a reference have 2 photos, and its curve is compared from rank 2 on: ask for more, "
    ):
        fused(FuseAdaptive, lists, references=[np.ones((2, 2), np.float32)] * 2, k=6, tail=2)
    with pytest.raises(UsageError, match=r"^`tail` must be below `k`, 5, got 5$"):
        FuseAdaptive.Params(k=5, tail=5)


def test_what_is_given_for_a_query_does_not_depend_on_others():
    rng = np.random.default_rng(1)
    queries = [Query([listed(rng.permutation(40)[:k], np.sort(rng.random(k))[::-1]) for k in (20, 30)]) for _ in range(3)]
    for kind in (Fuse, FuseAdaptive):
        reranker = kind(kind.Params())
        reranker.begin(Gallery(40))
        together = reranker.rerank(queries, Gallery(40))
        for query, found in zip(queries, together, strict=True):
            (alone,) = reranker.rerank([query], Gallery(40))
            assert alone.ids.tobytes() == found.ids.tobytes()
            assert alone.scores.tobytes() == found.scores.tobytes()


def graph_of(similarity, k):
    """Own lists of photos, without themselves."""
    similarity = similarity - 9 * np.eye(len(similarity), dtype=similarity.dtype)
    ids = np.argsort(-similarity, axis=1, kind="stable")[:, :k]
    return ids, np.take_along_axis(similarity, ids, axis=1)


def edges_by_hand(near, layers, decay):
    """Weights of the edges around node 0, from the sets of those that are near each: everything is compared with everything."""
    count = len(near)
    both = np.array([[one != other and one in near[other] and other in near[one] for other in range(count)] for one in range(count)])
    steps = {0: 0}
    for layer in range(layers):
        for photo in [photo for photo, step in steps.items() if step == layer]:
            steps |= {int(other): layer + 1 for other in np.flatnonzero(both[photo]) if other not in steps}
    weights = np.zeros((count, count))
    for one in range(count):
        for other in np.flatnonzero(both[one]):
            step = min(steps.get(one, layers), steps.get(other, layers))
            if step < layers:
                weights[one, other] = decay**step * len(near[one] & near[other]) / len(near[one] | near[other])
    return weights


def similarities(seed, count=30):
    vectors = np.random.default_rng(seed).standard_normal((count, 3)).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    return vectors @ vectors.T


def near_by_hand(similarity, k, stranger):
    """Those near each photo, and it itself; photo 0 asks, and takes nobody's place where it is a stranger."""
    ids, _ = graph_of(similarity, k)
    near = [{photo, *ids[photo].tolist()} for photo in range(len(similarity))]
    if stranger:
        ids, scores = graph_of(similarity[1:, 1:], k)
        for photo in range(1, len(near)):
            near[photo] = {photo, *(ids[photo - 1] + 1).tolist(), *([0] if similarity[photo, 0] >= scores[photo - 1][-1] else [])}
    return near


@pytest.mark.parametrize("stranger", [False, True])
@pytest.mark.parametrize("how", ["pagerank", "density"])
def test_graphs_are_added_and_walked(how, stranger):
    k, weights, matrices = 6, (1.0, 0.5), [similarities(0), similarities(1)]
    near = [near_by_hand(each, k, stranger) for each in matrices]
    total = sum(weight * edges_by_hand(each, 2, 0.8) for weight, each in zip(weights, near, strict=True))
    first = 1 if stranger else 0  # the first photo of the gallery
    lists = [listed(order, row[order]) for row in (each[0, first:] for each in matrices) for order in [np.argsort(-row, kind="stable")]]
    graphs = [graph_of(each[first:, first:], k) for each in matrices]
    found = fused(FuseGraph, lists, 30 - first, -1 if stranger else 0, graphs=graphs, weights=weights, how=how, k=k)
    assert len(found.ids) == 30 - first
    order = [photo for photo in (found.ids[found.scores > 1] + first).tolist() if photo]
    assert set(order) == set(np.flatnonzero(total.any(axis=0)).tolist()) - {0}
    if how == "pagerank":
        scores, steps = np.eye(30)[0], total / np.maximum(total.sum(axis=1, keepdims=True), 1e-30)
        for _ in range(500):
            scores = 0.15 * np.eye(30)[0] + 0.85 * scores @ steps
        assert scores[order] == pytest.approx(np.sort(scores[order])[::-1])
    else:
        for number, photo in enumerate(order):
            assert total[[0, *order[:number]], photo].sum() == pytest.approx(
                total[[0, *order[:number]]][:, order[number:]].sum(axis=0).max()
            )


def test_photos_outside_the_graph_go_below_as_fuse_has_them():
    similarity = similarities(2)
    order = np.argsort(-similarity[0], kind="stable")
    lists = [listed(order, similarity[0][order]), listed(order[::-1], similarity[0][order])]
    found = fused(FuseGraph, lists, 30, 0, graphs=[graph_of(similarity, 3)], k=3, layers=1)
    rest = [photo for photo in fused(Fuse, lists, 30, 0).ids.tolist() if photo not in found.ids[found.scores > 1]]
    assert found.ids[found.scores <= 1].tolist() == rest
    assert len(found.ids) == 30
    alone = fused(FuseGraph, [listed([4, 2], [2, 1]), silent()], 30, graphs=[graph_of(similarity, 3)], k=3)
    assert sorted(alone.ids.tolist()) == [2, 4]
    assert len(fused(FuseGraph, [silent(), silent()], 30, graphs=[graph_of(similarity, 3)]).ids) == 0


def test_as_many_graphs_as_rankings_or_one():
    graph = graph_of(similarities(2), 3)
    with pytest.raises(UsageError, match=r"^there are 2 graphs for 3 rankings: give one for each, in their order, or one for all$"):
        fused(FuseGraph, [listed(*each) for each in LISTS], 30, graphs=[graph, graph])


@pytest.mark.parametrize("kind", [Fuse, FuseAdaptive])
@pytest.mark.parametrize("scores", [[50, 40, 0.9, 0.5, 0.3, 0.1], [1, 0.95, 0.9, 0.5, 0.3, 0.1], [-1, -2, -3, -4, -5, -6]])
def test_what_is_verified_stays_above_what_is_fused(kind, scores):
    counted = np.array([9, np.nan, 8, 2, 0, np.nan], np.float32)
    ids = np.array([4, 1, 7, 0, 2, 5])
    first = Listed(ids, np.array(scores, np.float32), counted, None, 6.0)
    second = listed([2, 7, 5, 1, 0, 3], [9, 8, 4, 3, 2, 1])
    found = fused(kind, [first, second], verified=True)
    assert found.ids[:2].tolist() == [4, 7]
    unsure = [1, 3, 4, 5]
    rest = fused(kind, [listed(ids[unsure], first.scores[unsure]), listed([2, 5, 1, 0, 3], [9, 4, 3, 2, 1])])
    assert found.ids[2:].tolist() == rest.ids[:4].tolist()
    assert found.scores[2:].tolist() == rest.scores[:4].tolist()
    # without evidence it is as if it had not been asked for
    plain = Listed(ids, first.scores)
    assert fused(kind, [plain, second], verified=True).scores.tolist() == fused(kind, [plain, second]).scores.tolist()
    only = Listed(ids[:2], first.scores[:2], np.full(2, 9, np.float32), None, 6.0)
    assert fused(kind, [only, listed([4], [1])], verified=True).ids.tolist() == [4, 1]
    assert fused(kind, [only, listed([2, 3], [2, 1])], verified=True).ids.tolist() == [4, 1]  # no more than the longest list has
