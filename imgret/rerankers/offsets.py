"""Offsets: how many matches are moved alike, which is what geometry-preserving visual phrases count."""

import dataclasses

import numpy as np

from imgret.registry import param
from imgret.rerankers.matching import Matching, MatchParams
from imgret.rerankers.tentative import numbered


class Offsets(Matching):
    """Geometry-preserving visual phrases: matches that are moved alike.

    The offsets of matches, each photo at the size of `cells`, fall into cells of which each counts its n matches as C(n, length) phrases.
    Where something is larger or turned it tells little: for photos taken alike. The evidence is the number of matches that as many phrases
    of one cell have.

    References
    ----------
    Y. Zhang, Z. Jia & T. Chen, "Image retrieval with geometry-preserving visual phrases", CVPR 2011, section 3.
    """

    name = "offsets"
    counts = "votes"

    @dataclasses.dataclass(frozen=True)
    class Params(MatchParams):
        cells: int = param(10, "of the longer side of a photo", minimum=1, maximum=1024)
        length: int = param(2, "matches of a phrase", minimum=1, maximum=8)
        enough: float = param(12.0, "votes with which a photo goes first", above=0.0)

    def judged(self, query, photo, pairs):
        """See `Matching.judged`."""
        a, b = (places.xy[rows].astype(np.float64) / places.side for places, rows in ((query, pairs[:, 0]), (photo, pairs[:, 1])))
        cell = np.floor((b - a) * self.params.cells).astype(np.int64)
        code = cell[:, 0] * (4 * self.params.cells + 1) + cell[:, 1]
        bins = np.unique(code, return_inverse=True)[1].reshape(-1)
        numbers = query.numbers[pairs[:, 0]], numbered(photo.xy[pairs[:, 1]])
        counted = np.minimum(*(np.bincount(np.unique(bins << 32 | each) >> 32) for each in numbers))
        phrases = sum(_choose(counted, self.params.length))
        return _matches(float(phrases), self.params.length), None, counted[bins] >= self.params.length


def _choose(n, k):
    """Ways to choose k of each n: float64."""
    ways = np.ones(len(n))
    for part in range(k):
        ways *= np.maximum(n - part, 0) / (part + 1)
    return ways


def _matches(phrases, length):
    """The n whose C(n, length) is about so many."""
    from math import factorial

    return (phrases * factorial(length)) ** (1 / length) + (length - 1) / 2 if phrases else 0.0
