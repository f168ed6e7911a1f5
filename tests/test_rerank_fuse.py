"""Rankings put together: by hand, by slow loops, and where lists are short, silent or odd."""

import math

import numpy as np
import pytest

from imgret.errors import ImgretError, UsageError
from imgret.rerankers.base import Known, Listed, Query
from imgret.rerankers.fuse import HOW, Fuse
from imgret.rerankers.fuse_adaptive import FuseAdaptive
from imgret.rerankers.joining import joined


class Gallery(Known):
    def __init__(self, size, references=()):
        self.size, self.given, self._references = size, frozenset(["reference"] if references else []), list(references)

    def references(self):
        return self._references


def listed(ids, scores):
    return Listed(np.array(ids, np.int64), np.array(scores, np.float32))


def silent():
    return listed([], [])


def fused(kind, lists, size=10, itself=-1, references=(), **settings):
    query, known = Query(lists), Gallery(size, references)
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


def softmax(scores, temperature=1.0):
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
    with pytest.raises(UsageError, match=r"^there are 1 references and more rankings: give one for each, in their order, or none at all$"):
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
