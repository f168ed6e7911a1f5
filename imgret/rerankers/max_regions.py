"""Regions of photos that have at most, of each channel of a network's map, what the query has."""

import dataclasses

import numpy as np

from imgret import arrays
from imgret.registry import SAMPLING, Params, param
from imgret.rerankers.base import Listed, Reranker, Taken, below
from imgret.rerankers.maxima import Map

ROUNDS = 100  # moves of a region, at most


class MaxRegions(Reranker):
    """Re-ranking by the region that looks most like the query: approximate max-pooling localisation (AML).

    The query is the largest value of each channel of its map, in its box or all of it (MAC). Of each of the first photos the rectangle
    is looked for whose largest values have the highest cosine with that: first among those whose corners are `step` places apart, then by
    moving its sides as long as that helps. The largest value of a channel is taken to be (Σ x^alpha)^(1 / alpha), which integral images
    give at once for any rectangle; the cosine of the one that is found is exact. It is what photos are ranked by, and kept as `evidence`;
    the map is that of the query's region to the one found, without a turn.

    Takes all places of one map: features of `-m cnn` with pool=none, at one scale.

    References
    ----------
    G. Tolias, R. Sicre & H. Jégou, Particular object retrieval with integral max-pooling of CNN activations, ICLR 2016, sections 4 and 5
    (alpha = 10, steps of 3; aspects there within 1.1 of the query's; no R-MAC vector of the region is ranked by, nor are queries expanded).
    """

    name = "max-regions"
    takes = (Taken(("features",), "to look for regions in"),)
    counts = "similarity"

    @dataclasses.dataclass(frozen=True)
    class Params(Params):
        depth: int = param(100, "photos of each list that are looked at, the first", role=SAMPLING, minimum=1)
        alpha: float = param(10.0, "exponent of the mean that stands for the maximum", minimum=1.0, maximum=100.0)
        step: int = param(3, "places between the corners of regions that are looked at first", minimum=1)
        aspect: float = param(2.0, "factor to which a region's aspect may differ from the query's", minimum=1.0)

    def rerank(self, queries, known):
        """See `Reranker.rerank`."""
        return [self._reranked(query, known) if len(query.list) else query.list for query in queries]

    def _reranked(self, query, known):
        given, looked = query.list, min(len(query.list), self.params.depth)
        evidence = np.full(len(given), np.nan, np.float32)
        maps = np.full((len(given), 3, 3), np.nan, np.float32)
        if not len(query.features):  # in so small a box there is no place
            return Listed(given.ids, given.scores, evidence, maps)
        vector, box = described(query)
        for rank, photo in enumerate(given.ids[:looked].tolist()):
            features = known.features(photo)
            if len(features):
                photo_map = Map(features)
                region, evidence[rank] = self.found(photo_map, vector, box)
                maps[rank] = taken(box, photo_map.box(region))
        cosines = np.nan_to_num(evidence[:looked])
        order = np.concatenate([np.argsort(-cosines, kind="stable"), np.arange(looked, len(given))])
        scores = np.concatenate([1 + cosines[order[:looked]], below(given.scores[looked:], 1.0, known.best)])
        return Listed(given.ids[order], scores.astype(np.float32), evidence[order], maps[order])

    def found(self, photo, vector, box):
        """The region of a photo that looks most like the query.

        Parameters
        ----------
        photo : Map
        vector : ndarray, shape (C,), float32
            The query's.
        box : ndarray, shape (4,)
            Its region, in pixels.

        Returns
        -------
        region : ndarray, shape (4,), int64
            top, left, bottom, right in places; the last two are beyond it.
        cosine : float
        """
        sums, aspect = photo.integral(self.params.alpha), (box[2] - box[0]) / (box[3] - box[1])

        def best(regions):
            kept = regions[self._allowed(regions, photo, aspect)]
            if not len(kept):
                return None, -1.0
            likeness = photo.likeness(vector, kept, sums, self.params.alpha)
            return kept[np.argmax(likeness)], likeness.max()

        height, width, _ = photo.values.shape
        whole = np.array([0, 0, height, width])
        region, score = best(coarse(height, width, self.params.step))
        if region is None:
            region, score = whole, photo.likeness(vector, whole[None], sums, self.params.alpha)[0]
        step = self.params.step
        for _ in range(ROUNDS):
            other, better = best(moved(region, step, height, width))
            if better > score:
                region, score = other, better
            elif step > 1:
                step = (step + 1) // 2
            else:
                break
        exact = photo.largest(region)
        return region, float(arrays.unit_rows(exact[None])[0] @ vector)

    def _allowed(self, regions, photo, aspect):
        """Which regions have about the aspect, width by height."""
        top, left, bottom, right = regions.T
        theirs = (right - left) * photo.step[0] / ((bottom - top) * photo.step[1])
        return np.abs(np.log(theirs / aspect)) <= np.log(self.params.aspect) + 1e-9


def described(query):
    """What is looked for, (C,), float32, of unit norm, and the region that it is of in the query photo, in pixels."""
    features = query.features
    if np.isfinite(query.box).all():
        values = np.maximum(features.descriptors, 0) * features.column("score")[:, None]
        vector, box = values.max(axis=0, initial=0), query.box.astype(np.float64)
    else:
        asking = Map(features)
        whole = (0, 0, *asking.values.shape[:2])
        vector, box = asking.largest(whole), asking.box(whole)
    return arrays.unit_rows(np.ascontiguousarray(vector, np.float32)[None])[0], box


def coarse(height, width, step):
    """Regions whose sides are `step` places apart, and those at the end: (R, 4), int64."""
    down, across = (np.unique(np.append(np.arange(0, side, step), side)) for side in (height, width))
    (top, bottom), (left, right) = (np.stack(np.triu_indices(len(edges), 1)) for edges in (down, across))
    rows, columns = np.indices((len(top), len(left))).reshape(2, -1)
    return np.stack([down[top[rows]], across[left[columns]], down[bottom[rows]], across[right[columns]]], axis=1)


MOVES = np.array(
    [[1, 0, 0, 0], [0, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1], [1, 0, 1, 0], [0, 1, 0, 1], [1, 0, -1, 0], [0, 1, 0, -1]]
)  # of sides; both of two


def moved(region, step, height, width):
    """A region with one side, or two that face each other, `step` places further or back: (R, 4), int64."""
    regions = region + np.concatenate([MOVES, -MOVES]) * step
    regions = np.clip(regions, 0, [height, width, height, width])
    return regions[(regions[:, 0] < regions[:, 2]) & (regions[:, 1] < regions[:, 3])]


def taken(box, found):
    """The map that takes a box to another, (3, 3): sides stay upright."""
    (x1, y1, x2, y2), (left, top, right, bottom) = box, found
    across, down = (right - left) / (x2 - x1), (bottom - top) / (y2 - y1)
    return np.array([[across, 0, left - across * x1], [0, down, top - down * y1], [0, 0, 1]])
