"""Regions of a network's map: all of them tried, one planted, and what is no map."""

import itertools

import numpy as np
import pytest

from imgret.errors import ImgretError
from imgret.features import LocalFeatures
from imgret.networks.regions import rmac_regions
from imgret.rerankers.base import Known, Listed, Query
from imgret.rerankers.max_regions import MaxRegions, coarse, moved
from imgret.rerankers.maxima import Map

STEP, START = (16.0, 20.0), (7.5, 3.0)
COLUMNS = ("x", "y", "size", "score")


def places(values, keep=None, start=START, step=STEP):
    """The local features that a map (H, W, C) is stored as: zero columns are left out."""
    height, width, channels = values.shape
    y, x = (axis.reshape(-1) for axis in np.mgrid[:height, :width])
    flat = values.reshape(-1, channels)
    norms = np.linalg.norm(flat, axis=1)
    kept = norms > 0 if keep is None else keep
    table = np.stack([start[0] + x * step[0], start[1] + y * step[1], np.full(len(x), 40.0), norms], axis=1).astype(np.float32)
    units = (flat / np.maximum(norms, 1e-9)[:, None]).astype(np.float16)
    return LocalFeatures(table[kept], units[kept], COLUMNS, (round(width * step[0]), round(height * step[1])))


def random_map(seed, height=5, width=6, channels=7):
    rng = np.random.default_rng(seed)
    return np.maximum(rng.standard_normal((height, width, channels)), 0) * rng.uniform(0.5, 9, channels)


class Asked(Query):
    def __init__(self, lists, features, box=None):
        super().__init__(lists, box)
        self._features = features

    @property
    def features(self):
        return self._features


class Gallery(Known):
    best = 1.0

    def __init__(self, maps):
        self._maps, self.size = maps, len(maps)

    def features(self, photo):
        return self._maps[photo]


def listed(count):
    return Listed(np.arange(count), np.linspace(1, 0.5, count).astype(np.float32))


def reranked(asked, maps, **settings):
    (found,) = MaxRegions(MaxRegions.Params(**settings)).rerank([asked], Gallery(maps))
    assert np.isfinite(found.scores).all()
    assert (np.diff(found.scores) <= 0).all()
    return found


def unit(vector):
    return vector / np.linalg.norm(vector)


def regions_of(height, width):
    return [
        (top, left, bottom, right)
        for top, bottom in itertools.combinations(range(height + 1), 2)
        for left, right in itertools.combinations(range(width + 1), 2)
    ]


def by_hand(values, vector, alpha):
    """The region of a map whose channels, about their largest values, are most alike: every rectangle is tried."""

    def cosine(region):
        top, left, bottom, right = region
        inside = values[top:bottom, left:right].reshape(-1, values.shape[2])
        return unit((inside**alpha).sum(axis=0) ** (1 / alpha)) @ vector

    return max(regions_of(*values.shape[:2]), key=cosine), cosine


def test_a_map_is_put_together_from_its_places():
    values = random_map(0)
    values[2, 3] = 0
    found = Map(places(values))
    assert found.values == pytest.approx(values, rel=2e-3, abs=1e-4)
    assert found.step.tolist() == list(STEP)
    assert found.box((1, 2, 3, 4)).tolist() == [7.5 + 1.5 * 16, 3 + 0.5 * 20, 7.5 + 3.5 * 16, 3 + 2.5 * 20]
    assert found.box((0, 0, 5, 6)).tolist() == [-0.5, -0.5, 95.5, 93]  # no further than the photo
    row = Map(places(values[:1]))  # steps of the other axis
    assert row.step.tolist() == [16, 16]
    assert Map(places(values[:1, :1])).step.tolist() == [40, 40]  # what the place sees


@pytest.mark.parametrize("seed", range(4))
def test_every_rectangle_is_tried(seed):
    values, vector, alpha = random_map(seed), unit(random_map(seed + 9)[0, 0] + 0.1).astype(np.float32), 4.0
    wanted, cosine = by_hand(values, vector, alpha)
    photo = Map(places(values))
    regions = coarse(5, 6, 1)
    assert sorted(map(tuple, regions.tolist())) == sorted(regions_of(5, 6))
    likeness = photo.likeness(vector, regions, photo.integral(alpha), alpha)
    assert likeness == pytest.approx([cosine(region) for region in regions], rel=5e-3)
    region = MaxRegions(MaxRegions.Params(step=1, aspect=1e6, alpha=alpha)).found(photo, vector, 1.0)
    assert cosine(region) == pytest.approx(cosine(wanted), rel=5e-3)


def test_photos_are_ranked_by_the_vectors_of_their_regions():
    values = random_map(0, 7, 5)
    parts = [unit(values[top : top + side, left : left + side].max(axis=(0, 1))) for top, left, side in rmac_regions(4, 3, 2)]
    found = Map(places(np.pad(values[:4, :3], ((1, 2), (2, 0), (0, 0))) + 1e-3)).regional((1, 2, 5, 5), 2)
    assert found == pytest.approx(unit(sum(parts)), abs=2e-3)
    (query, *others), whole = [random_map(seed) for seed in range(4)], (0, 0, 5, 6)
    found = reranked(Asked([listed(3)], places(query)), [places(each) for each in others], aspect=1.0, step=9)
    vectors = [Map(places(each)).regional(whole, 3) for each in (query, *others)]
    cosines = [float(vector @ vectors[0]) for vector in vectors[1:]]
    assert found.ids.tolist() == np.argsort(-np.array(cosines)).tolist()
    assert found.evidence == pytest.approx(sorted(cosines, reverse=True), rel=1e-4)


def planted(seed, top, left, shape=(12, 14), channels=24):
    """A map with an object of 4 × 5 places in it, which has channels of its own, and the object alone."""
    rng = np.random.default_rng(5)
    thing = rng.uniform(0, 1, (4, 5, channels)) * (np.arange(channels) < 8) * 5
    values = np.random.default_rng(seed).uniform(0, 3, (*shape, channels)) * (np.arange(channels) >= 8)
    values[top : top + 4, left : left + 5] = thing
    return values, thing


@pytest.mark.parametrize("place", [(0, 0), (3, 6), (8, 9), (5, 1)])
def test_what_was_planted_is_found(place):
    values, thing = planted(1, *place)
    other = np.random.default_rng(2).uniform(0, 3, values.shape)
    found = reranked(Asked([listed(2)], places(thing)), [places(other), places(values)])
    assert found.ids.tolist() == [1, 0]
    assert found.evidence[0] == pytest.approx(1, abs=1e-3)
    assert found.evidence[0] > found.evidence[1] + 0.1
    assert found.scores == pytest.approx(1 + found.evidence)
    assert found.enough == np.inf
    corners = found.maps[0] @ np.array(
        [[-0.5, 79.5, -0.5], [-0.5, 79.5, 73], [1, 1, 1]]
    )  # of the query: 80 × 80 pixels, the last row ends at 73
    top, left = place
    assert corners[:2, 0] == pytest.approx(Map(places(values)).box((top, left, top + 4, left + 5))[:2], abs=1e-3)
    assert corners[0, 1] == pytest.approx(min(7.5 + (left + 4.5) * 16, 14 * 16 - 0.5), abs=1e-3)
    assert corners[1, 2] == pytest.approx(min(3 + (top + 3.5) * 20, 12 * 20 - 0.5), abs=1e-3)


def test_a_box_asks_with_what_is_in_it():
    values, _ = planted(1, 3, 6)
    box = np.array([7.5 + 5.5 * 16, 3 + 2.5 * 20, 7.5 + 10.5 * 16, 3 + 6.5 * 20], np.float32)
    inside = np.zeros((12, 14), bool)
    inside[3:7, 6:11] = True
    there, _ = planted(4, 6, 2)
    found = reranked(Asked([listed(1)], places(values, inside.reshape(-1)), box), [places(there)])
    assert found.evidence[0] == pytest.approx(1, abs=1e-3)
    (x1, y1), (x2, y2) = (found.maps[0][:2] @ [*corner, 1] for corner in box.reshape(2, 2))
    assert [x1, y1, x2, y2] == pytest.approx([7.5 + 1.5 * 16, 3 + 5.5 * 20, 7.5 + 6.5 * 16, 3 + 9.5 * 20], abs=1e-2)


def test_the_rest_stays_below_in_its_order():
    maps = [places(random_map(seed)) for seed in range(6)]
    empty = places(np.zeros((5, 6, 7)))
    found = reranked(Asked([listed(7)], maps[2]), [*maps[:1], empty, *maps[1:]], depth=4)
    assert found.ids[0] == 3  # itself
    assert found.ids[3] == 1  # of which there is no map
    assert found.ids[4:].tolist() == [4, 5, 6]
    assert np.isnan(found.evidence[3:]).all()
    assert np.isnan(found.maps[3:]).all()
    nothing = reranked(Asked([listed(3)], empty, np.zeros(4, np.float32)), maps)
    assert nothing.ids.tolist() == [0, 1, 2]
    assert np.isnan(nothing.evidence).all()
    assert len(reranked(Asked([listed(0)], maps[0]), maps)) == 0


def test_the_aspect_is_kept_near_the_querys():
    photo, vector = Map(places(random_map(3, 9, 9))), np.full(7, 7**-0.5, np.float32)
    for aspect in (1.0, 0.25, 4.0):
        for allowed in (1.0, 1.5):
            region = MaxRegions(MaxRegions.Params(aspect=allowed, step=1)).found(photo, vector, aspect)
            top, left, bottom, right = region
            theirs = (right - left) * 16 / ((bottom - top) * 20)
            assert 1 / allowed - 1e-6 <= theirs / aspect <= allowed + 1e-6 or region.tolist() == [0, 0, 9, 9]


def test_moved_regions_are_regions():
    for region in regions_of(3, 4):
        for step in (1, 2, 3):
            found = moved(np.array(region), step, 3, 4)
            assert {tuple(each) for each in found.tolist()} <= set(regions_of(3, 4))


NO_GRID = (
    "^max-regions takes all places of a network's map, and these features are no such grid: extract them with -m cnn --set pool=none, at "
    "one scale, without max_keypoints$"
)


@pytest.mark.parametrize("what", ["keypoints", "two scales", "the strongest only", "no score"])
def test_features_that_are_no_map_are_refused(what):
    features = places(random_map(0) + 0.1)
    keypoints, stored, columns = features.keypoints, features.stored, COLUMNS
    if what == "keypoints":
        keypoints = np.random.default_rng(0).uniform(0, 90, keypoints.shape).astype(np.float32)
    elif what == "two scales":
        keypoints, stored = np.concatenate([keypoints, keypoints[:4]]), np.concatenate([stored, stored[:4]])
    elif what == "the strongest only":
        keypoints, stored = keypoints[[0, 1, 5, 6, 12, 25, 29]], stored[[0, 1, 5, 6, 12, 25, 29]]
    else:
        columns = ("x", "y", "size", "angle")
    odd = LocalFeatures(keypoints, stored, columns, features.image_size)
    with pytest.raises(ImgretError, match=NO_GRID):
        reranked(Asked([listed(1)], features), [odd])
    with pytest.raises(ImgretError, match=NO_GRID):
        reranked(Asked([listed(1)], odd), [features])
