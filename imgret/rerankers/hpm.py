"""Hough pyramid matching: how closely matches agree in place, scale and angle, from the finest bins to the widest."""

import dataclasses

import numpy as np

from imgret.registry import param
from imgret.rerankers.matching import Matching, MatchParams
from imgret.rerankers.tentative import numbered, relative

OCTAVES = 6.0  # of scales, from 1/8 to 8


class Hpm(Matching):
    """Hough pyramid matching.

    Each match is a similarity, a point of four dimensions: translation, scale, angle. Bins that halve each of them from level to level hold
    matches that agree, and a match counts for each other one of its bin, half as much at each wider level: Σ_l 2^-l (others in its bin at l
    that are not with it at l - 1). Of a bin only so many count as there are places of them in either photo.

    It is linear in the matches, needs no threshold of distance, and adds up what several planes of a scene say. The evidence is the root of
    the sum, which is about a number of matches.

    References
    ----------
    Y. Avrithis & G. Tolias, "Hough pyramid matching: speeded-up geometry re-ranking for large scale image retrieval", IJCV 2014, section 4;
    there conflicting matches are erased bin by bin.
    """

    name = "hpm"
    counts = "strength"

    @dataclasses.dataclass(frozen=True)
    class Params(MatchParams):
        levels: int = param(5, "of the pyramid: 2^(levels - 1) bins each way at the finest", minimum=1, maximum=12)
        upright: bool = param(False, "photos are upright: no match turns them")
        enough: float = param(4.0, "strength with which a photo goes first", above=0.0)

    def judged(self, query, photo, pairs):
        """See `Matching.judged`."""
        cells = self._cells(query, photo, pairs)
        strength, before = 0.0, np.zeros(len(pairs))
        for level in range(self.params.levels):
            others = _others(cells >> level, query.numbers[pairs[:, 0]], numbered(photo.xy[pairs[:, 1]]))
            strength += np.sum(np.maximum(others - before, 0)) / 2**level
            before = others
        return float(np.sqrt(strength)), None, before > 0

    def _cells(self, query, photo, pairs):
        """The finest bins of matches, (4, M), int64."""
        size, factor = relative(query, photo, pairs, self.params.upright)
        a, b = (places.xy[rows].astype(np.float64) / places.side for places, rows in ((query, pairs[:, 0]), (photo, pairs[:, 1])))
        scale = photo.side / query.side
        c, s = factor / scale
        x, y = a.T - 0.5  # from the middle, so that an error of scale or angle moves little
        parts = [
            (b[:, 0] - (c * x - s * y) + 1) / 3,
            (b[:, 1] - (s * x + c * y) + 1) / 3,
            (size - np.log2(scale)) / OCTAVES + 0.5,
            np.arctan2(s, c) / (2 * np.pi) % 1.0,
        ]
        bins = 1 << (self.params.levels - 1)
        return np.clip(np.floor(np.stack(parts) * bins), 0, bins - 1).astype(np.int64)


def _others(cells, first, second):
    """How many others each match's bin holds, at distinct places: (M,), int64.

    Parameters
    ----------
    cells : ndarray, shape (4, M), int64
    first, second : ndarray, shape (M,), int32
        The numbers of the matches' places.
    """
    code = cells[0]
    for part in cells[1:]:
        code = code << 13 | part
    bins = np.unique(code, return_inverse=True)[1].reshape(-1)
    counted = [np.bincount(np.unique(bins << 32 | numbers) >> 32, minlength=bins.max() + 1) for numbers in (first, second)]
    return np.minimum(*counted)[bins] - 1
