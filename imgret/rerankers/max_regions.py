"""Regions of photos that have at most, of each channel of a network's map, what the query has."""

import dataclasses

import numpy as np

from imgret import arrays
from imgret.registry import SAMPLING, Params, param
from imgret.rerankers.base import Listed, Reranker, Taken, reordered
from imgret.rerankers.maxima import Map

ROUNDS = 100  # moves of a region, at most


class MaxRegions(Reranker):
    """Re-ranking by the region that looks most like the query: approximate max-pooling localisation (AML).

    Of each of the first photos the rectangle of its map is looked for whose largest values of all channels (MAC) have the highest cosine
    with those of the query's, in its box or all of it: first among those whose corners are `step` places apart, then by moving sides as
    long as that helps. The largest value of a channel is taken to be (Σ x^alpha)^(1 / alpha), which integral images give at once for any
    rectangle. Photos are ranked by the cosine of the R-MAC vectors of the region that is found and of the query's, which is kept as
    `evidence`; the map is that of the query's region to the one found, without a turn.

    Takes all places of one map: features of `-m cnn` with pool=none, at one scale. It is for rankings by such vectors (pool=rmac), where
    what is asked for is a part of photos; it adds nothing to what was verified.

    References
    ----------
    G. Tolias, R. Sicre & H. Jégou, Particular object retrieval with integral max-pooling of CNN activations, ICLR 2016, sections 3.2, 4 and
    5 (alpha = 10, steps of 3; aspects there within 1.1 of the query's). By the cosine of the MAC vectors alone, photos that were found by
    R-MAC lose more places than they gain.
    """

    name = "max-regions"
    takes = (Taken(("features",), "to look for regions in"),)
    counts = "similarity"

    @dataclasses.dataclass(frozen=True)
    class Params(Params):
        depth: int = param(100, "photos of each list that are looked at, the first", role=SAMPLING, minimum=1)
        alpha: float = param(10.0, "exponent of the mean that stands for the maximum", minimum=1.0, maximum=100.0)
        levels: int = param(3, "sizes of regions of R-MAC", minimum=1, maximum=10)
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
        asking = Map(query.features)
        box = query.box.astype(np.float64) if np.isfinite(query.box).all() else asking.box(asking.whole)
        wanted = arrays.unit_rows(asking.largest(asking.whole)[None])[0]
        vector = asking.regional(asking.whole, self.params.levels)
        for rank, photo in enumerate(given.ids[:looked].tolist()):
            features = known.features(photo)
            if len(features):
                there = Map(features)
                region = self.found(there, wanted, (box[2] - box[0]) / (box[3] - box[1]))
                evidence[rank] = there.regional(region, self.params.levels) @ vector
                maps[rank] = taken(box, there.box(region))
        cosines = np.nan_to_num(evidence[:looked])
        return reordered(given, cosines, 1, evidence, maps, known.best)

    def found(self, photo, vector, aspect):
        """The region of a photo that looks most like the query.

        Parameters
        ----------
        photo : Map
        vector : ndarray, shape (C,), float32
            The query's largest values, of unit norm.
        aspect : float
            Width by height of its region.

        Returns
        -------
        ndarray, shape (4,), int64
            top, left, bottom, right in places; the last two are beyond it.
        """
        sums = photo.integral(self.params.alpha)

        def best(regions):
            kept = regions[self._allowed(regions, photo, aspect)]
            if not len(kept):
                return None, -1.0
            likeness = photo.likeness(vector, kept, sums, self.params.alpha)
            return kept[np.argmax(likeness)], likeness.max()

        height, width, _ = photo.values.shape
        region, score = best(coarse(height, width, self.params.step))
        if region is None:
            region, score = photo.whole, photo.likeness(vector, photo.whole[None], sums, self.params.alpha)[0]
        step = self.params.step
        for _ in range(ROUNDS):
            other, better = best(moved(region, step, height, width))
            if better > score:
                region, score = other, better
            elif step > 1:
                step = (step + 1) // 2
            else:
                break
        return region

    def _allowed(self, regions, photo, aspect):
        """Which regions have about the aspect, width by height."""
        top, left, bottom, right = regions.T
        theirs = (right - left) * photo.step[0] / ((bottom - top) * photo.step[1])
        return np.abs(np.log(theirs / aspect)) <= np.log(self.params.aspect) + 1e-9


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
