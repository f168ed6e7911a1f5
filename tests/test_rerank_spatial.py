"""Verification by geometry, and voting: each against a slow, obvious loop, and against transformations that are known."""

import os

import numpy as np
import pytest

from imgret.errors import ImgretError, UsageError
from imgret.features import LocalFeatures
from imgret.rerankers import agreeing, merging, products, tentative
from imgret.rerankers.base import Known, Listed, Query
from imgret.rerankers.hpm import Hpm
from imgret.rerankers.matching import Found, MatchParams, deviations
from imgret.rerankers.offsets import Offsets
from imgret.rerankers.scsm import Scsm
from imgret.rerankers.spatial import Spatial
from imgret.rerankers.tentative import Places
from imgret.rerankers.weak_geometry import WeakGeometry

COLUMNS = ("x", "y", "scale", "angle", "score")
DATA = os.environ.get("IMGRET_TEST_DATA")
SIDE = 640


def unit_descriptors(rng, count, columns=128, signed=False):
    """Descriptors as RootSIFT has them, or of either sign."""
    rows = rng.standard_normal((count, columns)) if signed else np.sqrt(rng.gamma(0.5, size=(count, columns)))
    return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)


def photo(xy, scale, angle, descriptors, side=SIDE):
    """Local features."""
    keypoints = np.column_stack([xy, scale, angle, np.zeros(len(xy))]).astype(np.float32)
    return LocalFeatures(keypoints, descriptors, COLUMNS, (side, side * 3 // 4))


def places(xy, scale=1.0, angle=0.0, side=SIDE):
    """`Places` of features at given places."""
    whole = np.ones(len(xy), np.float32)
    return Places(np.asarray(xy, np.float32), np.log2(whole * scale, dtype=np.float32), whole * np.float32(angle), float(side))


def warped(rng, matrix, count=60, wrong=0):
    """Features of a photo, those of it under an affine map, and `wrong` more matches that are of nothing: `Places` and pairs."""
    xy = rng.uniform(100, 500, (count, 2))
    linear, scale = matrix[:, :2], rng.uniform(1.5, 6, count)
    there = xy @ linear.T + matrix[:, 2]
    there[count - wrong :] = rng.uniform(0, SIDE, (wrong, 2))
    size, turn = np.sqrt(abs(np.linalg.det(linear))), np.rad2deg(np.arctan2(linear[1, 0] - linear[0, 1], linear[0, 0] + linear[1, 1]))
    angle = rng.uniform(0, 360, count)
    query = Places(xy.astype(np.float32), np.log2(scale).astype(np.float32), angle.astype(np.float32), SIDE)
    other = Places(there.astype(np.float32), np.log2(scale * size).astype(np.float32), ((angle + turn) % 360).astype(np.float32), SIDE)
    return query, other, np.stack([np.arange(count)] * 2, axis=1)


def turned(scale, degrees, shift):
    c, s = scale * np.cos(np.deg2rad(degrees)), scale * np.sin(np.deg2rad(degrees))
    return np.array([[c, -s, shift[0]], [s, c, shift[1]]])


MAPS = {
    "moved": turned(1, 0, (30, -20)),
    "turned": turned(1, 140, (500, 300)),
    "smaller": turned(0.4, -30, (100, 200)),
    "larger": turned(2.2, 10, (-200, -100)),
    "sheared": np.array([[1.1, 0.25, 10], [-0.1, 0.8, 40]]),
}


# matches


@pytest.mark.parametrize(("first", "second", "columns", "signed"), [(70, 45, 128, False), (5, 33, 31, True), (9, 1, 7, False)])
def test_nearest_descriptors(first, second, columns, signed):
    """Of those that are rounded, exactly: both ways, and how far the second nearest is."""
    rng = np.random.default_rng(0)
    one, two = unit_descriptors(rng, first, columns, signed), unit_descriptors(rng, second, columns, signed)
    two[: min(3, second)] = one[: min(3, second)]
    xy = rng.uniform(0, SIDE, (first + second, 2))
    query = tentative.Features(photo(xy[:first], np.ones(first), np.zeros(first), one))
    other = tentative.Features(photo(xy[first:], np.ones(second), np.zeros(second), two))
    a, b = (each.rounded(signed)[0].astype(np.int64) for each in (query, other))
    assert a.min() < 0 if signed else a.min() >= 0
    away = -(a @ b.T - (a * a).sum(axis=1)[:, None] // 2 - (b * b).sum(axis=1) // 2)
    best, scores, highest = np.empty(first, np.int32), np.empty((first, 2), np.int16), np.empty(second, np.int16)
    products.nearest(*query.asking(signed), *other.asked(signed), best, scores, highest)
    np.testing.assert_array_equal(best, away.argmin(axis=1))
    np.testing.assert_array_equal(highest, -away.min(axis=0))
    two_nearest = np.sort(away, axis=1)[:, :2]
    np.testing.assert_array_equal(-scores[:, : two_nearest.shape[1]].astype(int), two_nearest)


def test_matches_are_mutual_and_near():
    rng = np.random.default_rng(1)
    one, two = unit_descriptors(rng, 200), unit_descriptors(rng, 150)
    two[:40] = one[:40] + 0.02 * rng.standard_normal((40, 128)).astype(np.float32)
    xy = rng.uniform(0, SIDE, (350, 2))
    query = tentative.Features(photo(xy[:200], np.ones(200), np.zeros(200), one))
    other = tentative.Features(photo(xy[200:], np.ones(150), np.zeros(150), np.abs(two)))
    unit = np.abs(two) / np.linalg.norm(two, axis=1, keepdims=True)
    away = np.sqrt(np.maximum(0, 2 - 2 * one.astype(np.float64) @ unit.T))
    for ratio in (0.7, 0.9):
        expected = [
            (row, column)
            for row in range(200)
            for column in [away[row].argmin()]
            if away[:, column].argmin() == row and away[row, column] < ratio * np.sort(away[row])[1]
        ]
        found = list(map(tuple, tentative.by_descriptors(query, other, ratio, True).tolist()))
        assert len(set(found) ^ set(expected)) <= 2  # what rounding to 7 bits decides otherwise
        assert found[:20] == [(row, row) for row in range(20)]
    assert len(tentative.by_descriptors(query, other, 1.0, False)) == 200


def test_equal_descriptors_match_once():
    """Of descriptors that are all the same the first two match, and one alone has no second nearest."""
    same = np.full((6, 128), 0.1, np.float32)
    query, single = (tentative.Features(photo(np.zeros((n, 2)), np.ones(n), np.zeros(n), same[:n])) for n in (6, 1))
    assert tentative.by_descriptors(query, query, 1.0, True).tolist() == [[0, 0]]
    assert tentative.by_descriptors(query, query, 0.9, True).tolist() == []
    assert tentative.by_descriptors(query, single, 0.9, True).tolist() == [[0, 0]]
    nothing = tentative.Features(photo(np.zeros((0, 2)), np.zeros(0), np.zeros(0), np.zeros((0, 128), np.float32)))
    assert len(tentative.by_descriptors(query, nothing, 0.9, True)) == len(tentative.by_descriptors(nothing, query, 0.9, True)) == 0


def entries(rng, count, words=12, bits=8):
    """A photo's visual words."""
    kept = rng.integers(0, SIDE, (count, 4)).astype(np.uint16)
    found = {"word": np.sort(rng.integers(0, words, count)).astype(np.uint32), "geometry": kept}
    return found | ({"signature": rng.integers(0, 256, (count, bits)).astype(np.uint8)} if bits else {})


@pytest.mark.parametrize("bits", [0, 8, 11])
def test_shared_words(bits):
    rng = np.random.default_rng(2)
    one, two = entries(rng, 60, bits=bits), entries(rng, 50, bits=bits)
    found = tentative.by_words(tentative.Words(one), tentative.Words(two), 4 * max(bits, 1))
    same = one["word"][:, None] == two["word"]
    if not bits:
        often = [np.isin(each["word"], np.flatnonzero(np.bincount(each["word"]) > merging.BURST)) for each in (one, two)]
        assert sorted(map(tuple, found.tolist())) == list(zip(*np.nonzero(same & ~often[0][:, None] & ~often[1]), strict=True))
        return
    away = np.unpackbits(one["signature"][:, None] ^ two["signature"], axis=-1).sum(axis=-1, dtype=int)
    away = np.where(same, away, 10_000)
    expected = [
        [row, away[row].argmin()] for row in range(60) if away[row].min() <= 4 * bits and away[:, away[row].argmin()].argmin() == row
    ]
    assert found.tolist() == expected
    assert len(expected) > 3


def test_words_without_geometry():
    with pytest.raises(ImgretError) as error:
        tentative.Words({"word": np.zeros(1, np.uint32)})
    assert str(error.value) == "the words do not say where in the photo they are: encode them again with -m hamming, which keeps it"


# the map


def test_hypotheses_are_counted_as_a_slow_loop_counts():
    rng = np.random.default_rng(3)
    query, other, pairs = warped(rng, MAPS["turned"], 80, wrong=50)
    size, factor = tentative.relative(query, other, pairs)
    near = rng.uniform(100, 900, 80).astype(np.float32)
    found = np.empty(80, np.int32)
    a, b = query.xy.T.copy(), other.xy.T.copy()
    agreeing.counts(a, b, size, factor, near, np.log2(3), found)
    z, w, f = a[0] + 1j * a[1], b[0] + 1j * b[1], factor[0] + 1j * factor[1]
    for one in range(80):
        off = f[one] * z + (w[one] - f[one] * z[one]) - w
        assert found[one] == np.sum((np.abs(off) ** 2 <= near[one]) & (np.abs(size - size[one]) <= np.log2(3)))


@pytest.mark.parametrize("name", MAPS)
@pytest.mark.parametrize("model", ["affine", "homography"])
def test_a_known_map_is_found(name, model):
    query, other, pairs = warped(np.random.default_rng(4), MAPS[name], 80, wrong=40)
    count, matrix, inside = Spatial(Spatial.Params(model=model)).fitted(query, other, pairs)
    assert inside[:40].all()
    assert 40 <= count <= 44
    corners = np.array([[150, 150, 1], [450, 150, 1], [450, 450, 1], [150, 450, 1.0]])
    there = corners @ matrix.T
    np.testing.assert_allclose(there[:, :2] / there[:, 2:], corners @ MAPS[name].T, atol=4)


def test_a_homography_is_found():
    """What an affine map does not fit to a few pixels."""
    rng = np.random.default_rng(5)
    true = np.array([[0.9, 0.05, 30], [-0.04, 1.0, 10], [4e-4, 1e-4, 1]])
    xy = rng.uniform(50, 590, (80, 2))
    there = np.column_stack([xy, np.ones(80)]) @ true.T
    query, other = places(xy, 3.0), places(there[:, :2] / there[:, 2:], 2.4)
    pairs = np.stack([np.arange(80)] * 2, axis=1)
    counts = {}
    for model in ("similarity", "affine", "homography"):
        counts[model], matrix, _ = Spatial(Spatial.Params(model=model, pixels=6)).fitted(query, other, pairs)
    assert counts["similarity"] < counts["affine"] < counts["homography"] == 80
    np.testing.assert_allclose(matrix / matrix[2, 2], true, rtol=2e-2, atol=2e-5)


def test_a_mirrored_photo_is_not_the_same():
    query, other, pairs = warped(np.random.default_rng(6), np.array([[-1.0, 0, 600], [0, 1, 0]]), 60)
    for model in ("similarity", "affine", "homography"):
        count, matrix, _ = Spatial(Spatial.Params(model=model)).fitted(query, other, pairs)
        assert count < 12
        assert np.linalg.det(matrix) > 0


LINE = np.linspace(0, 600, 40)[:, None] * [1, 0.5]
DEGENERATE = {
    "one match": (LINE[:1], LINE[:1], 1),
    "two matches": (LINE[:2], LINE[:2], 2),
    "all at one place": (np.zeros((40, 2)) + 7, np.zeros((40, 2)) + 9, 1),
    "all of one place": (np.zeros((40, 2)) + 7, LINE, 1),
    "to one place": (LINE, np.zeros((40, 2)) + 7, 1),
    "on a line": (LINE, LINE + 5, 40),
    "to a line": (np.random.default_rng(7).uniform(0, 600, (40, 2)), LINE, 8),
}


@pytest.mark.parametrize("name", DEGENERATE)
@pytest.mark.parametrize("model", ["similarity", "affine", "homography"])
def test_degenerate_matches(name, model):
    a, b, most = DEGENERATE[name]
    pairs = np.stack([np.arange(len(a))] * 2, axis=1)
    count, matrix, inside = Spatial(Spatial.Params(model=model)).fitted(places(a), places(b), pairs)
    assert 1 <= count <= most
    assert np.isfinite(matrix).all()
    across = np.linalg.svd(matrix[:2, :2], compute_uv=False)
    assert np.linalg.det(matrix[:2, :2]) > 0
    assert across[0] <= 4.001 * across[1]
    assert inside.sum() >= count


def test_upright_photos_are_not_turned():
    query, other, pairs = warped(np.random.default_rng(8), MAPS["turned"], 60)
    size, factor = tentative.relative(query, other, pairs, upright=True)
    np.testing.assert_array_equal(factor, [np.exp2(size), np.zeros(60)])
    without = Places(other.xy, other.size, np.full(60, np.nan, np.float32), SIDE)  # features without an angle are upright
    np.testing.assert_array_equal(tentative.relative(query, without, pairs)[1], factor)
    query, other, pairs = warped(np.random.default_rng(8), MAPS["moved"], 60)
    without = Places(other.xy, other.size, np.full(60, np.nan, np.float32), SIDE)
    assert Spatial(Spatial.Params()).fitted(query, without, pairs)[0] == 60


# lists


class Asked(Query):
    """A query that is described."""

    def __init__(self, ids, scores, described, **more):
        super().__init__([Listed(np.asarray(ids), np.asarray(scores, np.float32), **more)])
        self._described = described

    @property
    def features(self):
        return self._described


class Described(Known):
    """Photos that are described; says which were looked at."""

    def __init__(self, photos, best=1.0):
        self.photos, self.size, self.given, self.best, self.asked = photos, len(photos), frozenset({"features"}), best, []

    def features(self, photo):
        self.asked.append(photo)
        return self.photos[photo]


def gallery(rng, good=12):
    """A query, and photos of nothing, one of which, number 3, shows `good` of its features."""
    xy, scale, angle = rng.uniform(50, 550, (40, 2)), rng.uniform(2, 5, 40), rng.uniform(0, 360, 40)
    query = photo(xy, scale, angle, unit_descriptors(rng, 40))
    photos = [photo(rng.uniform(0, SIDE, (40, 2)), scale, angle, unit_descriptors(rng, 40)) for _ in range(6)]
    found = photos[3].keypoints, photos[3].stored
    found[0][:good], found[1][:good] = query.keypoints[:good], query.stored[:good]
    found[0][:good, :2] += 20
    return query, photos


@pytest.mark.parametrize("kind", [Spatial, WeakGeometry, Hpm, Scsm, Offsets])
def test_what_is_verified_goes_first(kind):
    query, photos = gallery(np.random.default_rng(9), good=30)
    known = Described(photos)
    asked = Asked([5, 1, 0, 3, 2, 4], [0.9, 0.8, 0.7, 0.6, 0.5, 0.4], query)
    reranker = kind(kind.Params(depth=4, weight=0.0, order="verified"))
    found = reranker.rerank([asked, asked], known)[1]
    assert found.ids.tolist() == [3, 5, 1, 0, 2, 4]
    assert known.asked == [0, 1, 3, 5]
    assert found.enough == reranker.enough
    assert found.evidence[0] >= reranker.enough > found.evidence[1]
    assert np.isnan(found.evidence[4:]).all()
    assert (np.diff(found.scores) < 0).all()
    np.testing.assert_array_equal(found.scores[4:], np.float32([0.5, 0.4]))
    alone = reranker.rerank([asked], Described(photos))[0]
    np.testing.assert_array_equal(found.scores, alone.scores)
    if found.maps is not None and np.isfinite(found.maps[0]).all():
        np.testing.assert_allclose(found.maps[0], [[1, 0, 20], [0, 1, 20], [0, 0, 1]], atol=20)


def found_of(scores, evidence, places):
    """What is found of the first photos of a list."""
    found = Found(Listed(np.arange(len(scores))[::-1], np.float32(scores)), len(evidence))
    for rank, (count, numbers) in enumerate(zip(evidence, places, strict=True)):
        found.add(rank, count, np.eye(3), np.ones(len(numbers), bool), np.array(numbers, np.int32))
    return found


def test_order_by_hand():
    """A place of the query votes once: what two photos have counts half in each."""
    logo = list(range(6))
    places = [logo, [7], [], [*logo, 10, 11, 12], [20, 21, 22, 23, 24, 25]]
    found = found_of([30, 20, 10, 5, 1, -3], [6, 1, 0, 9, 6], places)
    np.testing.assert_allclose(found.votes(6.0), [3, 1, 0, 6, 6])
    given = found.ordered(6.0, 30.0, MatchParams())
    assert given.ids.tolist() == [2, 1, 5, 4, 3, 0]
    key = (np.array([30, 20, 10, 5, 1]) - 10) / 9 + 6 * np.log1p([3, 1, 0, 6, 6])  # 9 is the median of 20, 10, 0, 5, 9
    key = key[1:3] - key.min()
    np.testing.assert_allclose(given.scores[:3], [12, 12, 9], rtol=1e-6)
    np.testing.assert_allclose(given.scores[3:5], 6 * (1 + key) / (2 + key), rtol=1e-6)
    assert given.scores[5] == np.float32(-3 / 4 * 3)
    assert given.evidence[:5].tolist() == [9, 6, 6, 1, 0]
    alone = found.ordered(6.0, 30.0, MatchParams(shared=False))
    assert alone.ids.tolist() == [2, 5, 1, 4, 3, 0]
    together = found.ordered(6.0, 30.0, MatchParams(weight=1.0), together=True)
    key = (np.array([30, 20, 10, 5, 1]) - 10) / 9 + np.log1p([3, 1, 0, 6, 6])
    assert together.ids.tolist() == [*(5 - np.argsort(-key)), 0]


def test_scores_without_deviations():
    """Lists whose scores are all the same, or nearly: what is found alone decides."""
    assert deviations(np.full(4, 0.5, np.float32)).tolist() == [0, 0, 0, 0]
    given = found_of([0.5] * 4, [0, 2, 1, 2], [[], [1, 2], [3], [4, 5]]).ordered(6.0, 0.5, MatchParams())
    assert given.ids.tolist() == [2, 0, 1, 3]
    assert (np.diff(given.scores) < 0).all()


def test_queries_without_anything():
    query, photos = gallery(np.random.default_rng(10))
    nothing = photo(np.zeros((0, 2)), np.zeros(0), np.zeros(0), np.zeros((0, 128), np.float32))
    known = Described([*photos, nothing])
    found = Spatial(Spatial.Params()).rerank([Asked([], [], query), Asked([6, 0], [2, 1], query), Asked([0, 6], [2, 1], nothing)], known)
    assert [each.ids.tolist() for each in found] == [[], [6, 0], [0, 6]]
    assert found[2].evidence.tolist() == [0, 0]


@pytest.mark.parametrize(
    ("settings", "error"),
    [
        (["pixels=0"], "`pixels` must be a number above 0.0, got 0.0"),
        (["enough=0"], "`enough` must be a positive integer, got 0"),
        (["model=thin-plate"], "`model` must be one of similarity, affine, homography, got 'thin-plate'"),
        (["ratio=1.5"], "`ratio` must be a number of at most 1.0 above 0.0, got 1.5"),
    ],
)
def test_settings(settings, error):
    with pytest.raises(UsageError) as raised:
        Spatial.Params.parse(settings)
    assert str(raised.value) == error


# votes, each by a slow loop


def few_matches(rng, count=25, wrong=10):
    query, other, pairs = warped(rng, MAPS["turned"], count, wrong)
    doubled = query.xy.copy()
    doubled[1] = doubled[0]  # two features at one place
    return Places(doubled, query.size, query.angle, SIDE), other, pairs


def at_places(query, other, rows):
    """At how many places of either photo matches are."""
    return min(len({tuple(places.xy[row]) for row in rows}) for places in (query, other)) if len(rows) else 0


def test_weak_geometry_by_a_loop():
    query, other, pairs = few_matches(np.random.default_rng(11))
    size, factor = tentative.relative(query, other, pairs)
    turn = np.rad2deg(np.arctan2(factor[1], factor[0])) % 360
    cells = [(int(t // 22.5), int(s // 0.5)) for t, s in zip(turn, size, strict=True)]
    best = 0
    for angle in range(16):
        for octave in range(-20, 20):
            rows = [row for row, (t, s) in enumerate(cells) if (t - angle + 1) % 16 < 3 and abs(s - octave) <= 1]
            best = max(best, at_places(query, other, rows))
    count, _, agreeing = WeakGeometry(WeakGeometry.Params()).judged(query, other, pairs)
    assert count == best == at_places(query, other, np.flatnonzero(agreeing)) > 10


def test_hough_pyramids_by_a_loop():
    query, other, pairs = few_matches(np.random.default_rng(12))
    params = Hpm.Params(levels=4)
    size, factor = tentative.relative(query, other, pairs)
    points = []
    for row, (a, b) in enumerate(zip(query.xy / SIDE - 0.5, other.xy / SIDE, strict=True)):
        f = complex(*factor[:, row])
        middle = complex(*b) - f * complex(*a)
        turn = np.angle(f) / (2 * np.pi) % 1
        points.append([(middle.real + 1) / 3, (middle.imag + 1) / 3, size[row] / 6 + 0.5, turn])
    strength, before = 0.0, np.zeros(len(points))
    for level in range(4):
        bins = [tuple(int(np.clip(part * 8, 0, 7)) >> level for part in point) for point in points]
        others = np.array([at_places(query, other, [r for r, one in enumerate(bins) if one == mine]) - 1 for mine in bins])
        strength += np.sum(others - before) / 2**level
        before = others
    found, _, _ = Hpm(params).judged(query, other, pairs)
    assert found == pytest.approx(np.sqrt(strength))


def test_offsets_by_a_loop():
    rng = np.random.default_rng(13)
    query, other, pairs = warped(rng, MAPS["moved"], 30, wrong=15)
    cells = [tuple(np.floor((b.astype(float) - a) / SIDE * 10).astype(int)) for a, b in zip(query.xy, other.xy, strict=True)]
    phrases = sum(cells[one] == cells[two] for one in range(30) for two in range(one))
    found, _, _ = Offsets(Offsets.Params()).judged(query, other, pairs)
    assert found == pytest.approx(np.sqrt(2 * phrases) + 0.5)
    assert found > 12


def test_spatially_constrained_similarity_by_a_loop():
    query, other, pairs = warped(np.random.default_rng(14), turned(1.0, 90, (600, 0)), 30, wrong=10)
    params = Scsm.Params(angles=4, scales=3, cells=12)
    low, high = query.xy.min(axis=0).astype(float), query.xy.max(axis=0).astype(float)
    middle, best = complex(*((low + high) / 2)), 0.0
    for scale in (0.5, 1.0, 2.0):
        for turn in (1, 1j, -1, -1j):
            cells = []
            for a, b in zip(query.xy.astype(float), other.xy.astype(float), strict=True):
                landing = complex(*b) - scale * turn * (complex(*a) - middle)
                cells.append((int(landing.real // (SIDE / 12)), int(landing.imag // (SIDE / 12))))
            for x in range(12):
                for y in range(12):
                    away = [(abs(x - u), abs(y - v)) for u, v in cells if max(abs(x - u), abs(y - v)) <= 1 and min(u, v) >= -1]
                    best = max(best, sum(np.exp(-(u + v)) for u, v in away))
    found, matrix, _ = Scsm(params).judged(query, other, pairs)
    assert found == pytest.approx(best)
    np.testing.assert_allclose(matrix[:2, :2], [[0, -1], [1, 0]], atol=1e-6)


@pytest.mark.skipif(DATA is None, reason="needs IMGRET_TEST_DATA")
@pytest.mark.parametrize("number", ["001", "003", "009"])
def test_beside_magsac(number):
    """Of real photos of one cover: as many agree as with the homography that OpenCV finds in the same matches."""
    import cv2

    from imgret.extractors.sift import RootSift
    from imgret.images import decode, read_file

    extractor, sides = RootSift(RootSift.Params(max_keypoints=600)), []
    for name in ("reference", "canon"):
        path = os.path.join(DATA, "photos", "smvs_dvd", "images", f"dvd{number}_{name}.jpg")
        if not os.path.exists(path):
            pytest.skip("another data folder")
        sides.append(tentative.Features(extractor.extract(decode(read_file(os.fsencode(path)).data, max_size=1024))))
    query, other = sides
    pairs = tentative.by_descriptors(query, other, 0.9, True)
    a, b = query.places.xy[pairs[:, 0]], other.places.xy[pairs[:, 1]]
    _, inside = cv2.findHomography(a, b, cv2.USAC_MAGSAC, 15 / 640 * other.places.side, maxIters=5000, confidence=0.9999)
    count, matrix, agreeing = Spatial(Spatial.Params(model="homography")).fitted(query.places, other.places, pairs)
    theirs = inside[:, 0] > 0
    assert count >= 0.8 * theirs.sum()
    if theirs.sum() >= 20:
        assert (agreeing & theirs).sum() >= 0.8 * theirs.sum()


def test_the_photo_that_asks_takes_no_share_of_votes():
    """It has all places of the query: what others have of them is theirs alone."""
    listed = Listed(np.array([4, 7]), np.float32([1, 0.5]))
    found = Found(listed, 10, itself=4)
    for rank in range(2):
        found.add(rank, 8.0, None, np.ones(8, bool), np.arange(8))
    assert found.votes(6).tolist() == [8, 8]
    found = Found(listed, 10)
    for rank in range(2):
        found.add(rank, 8.0, None, np.ones(8, bool), np.arange(8))
    assert found.votes(6).tolist() == [4, 4]
