"""Weak geometry: how many matches say the same of scale and angle."""

import dataclasses

import numpy as np

from imgret.registry import param
from imgret.rerankers.matching import Matching, MatchParams
from imgret.rerankers.tentative import distinct, relative


class WeakGeometry(Matching):
    """Votes of matches for a change of scale and angle: the best of a histogram, with its neighbours, counted at distinct places.

    Nothing is asked of where features are: the cheapest of all, and the weakest.

    References
    ----------
    H. Jégou, M. Douze & C. Schmid, "Hamming embedding and weak geometric consistency for large scale image search", ECCV 2008, section
    4: there the lesser of the best of two histograms, of either alone; here one of both.
    """

    name = "weak-geometry"
    counts = "votes"

    @dataclasses.dataclass(frozen=True)
    class Params(MatchParams):
        angles: int = param(16, "bins of a turn", minimum=1, maximum=360)
        octaves: float = param(0.5, "width of a bin of scales", above=0.0)
        enough: int = param(20, "votes with which a photo goes first", minimum=1)

    def judged(self, query, photo, pairs):
        """See `Matching.judged`."""
        size, factor = relative(query, photo, pairs)
        turn = np.floor(np.arctan2(factor[1], factor[0]) / (2 * np.pi) * self.params.angles).astype(np.int64) % self.params.angles
        scale = np.floor(size / self.params.octaves).astype(np.int64)
        scale -= scale.min() - 1
        votes = np.zeros((self.params.angles, scale.max() + 2), np.int64)
        np.add.at(votes, (turn, scale), 1)
        around = min(3, self.params.angles)
        wide = sum(np.roll(votes, step, axis=0) for step in range(-1, around - 1))
        wide = wide[:, :-2] + wide[:, 1:-1] + wide[:, 2:]
        best_turn, best_scale = np.unravel_index(wide.argmax(), wide.shape)
        near = (turn - best_turn + 1) % self.params.angles < 3
        near &= np.abs(scale - 1 - best_scale) <= 1
        return distinct(query, photo, pairs[near]), None, near
