"""Spatially constrained similarity: where in the photo, how large and how turned the query is, by votes of matches for its middle."""

import dataclasses

import numpy as np

from imgret.registry import param
from imgret.rerankers.matching import Matching, MatchParams

LARGEST = 2.0  # scale: from 1 / LARGEST on


class Scsm(Matching):
    """Spatially constrained similarity measure.

    For each of some scales and angles every match says where the middle of the query would be in the photo; the votes of neighbouring cells
    count by exp(-d²), d in cells. The best cell gives the similarity, and its votes are the evidence. Scales and angles of features are not
    asked: it serves features that have none.

    References
    ----------
    X. Shen, Z. Lin, J. Brandt, S. Avidan & Y. Wu, "Object retrieval and localization with spatially-constrained similarity measure and k-NN
    re-ranking", CVPR 2012, sections 3.1 and 3.2; a vote counts one, words being as rare as their matches.
    """

    name = "scsm"
    counts = "votes"

    @dataclasses.dataclass(frozen=True)
    class Params(MatchParams):
        angles: int = param(16, "of a turn; 1 for photos that are upright", minimum=1, maximum=360)
        scales: int = param(9, "from half to double", minimum=1, maximum=64)
        cells: int = param(24, "of the photo, each way", minimum=1, maximum=256)
        enough: float = param(8.0, "votes with which a photo goes first", above=0.0)

    def judged(self, query, photo, pairs):
        """See `Matching.judged`."""
        a, b = query.xy[pairs[:, 0]].astype(np.float64), photo.xy[pairs[:, 1]].astype(np.float64)
        middle = (query.xy.min(axis=0) + query.xy.max(axis=0)) / 2.0
        turns = np.exp(2j * np.pi * np.arange(self.params.angles) / self.params.angles)
        steps = np.linspace(-1, 1, self.params.scales) if self.params.scales > 1 else np.zeros(1)
        factors = np.outer(photo.side / query.side * LARGEST**steps, turns).ravel()
        landing = (b[:, 0] + 1j * b[:, 1]) - factors[:, None] * (a - middle).view(np.complex128)[:, 0]
        each = photo.side / self.params.cells
        column, row = (np.floor(part / each).astype(np.int64) + 1 for part in (landing.real, landing.imag))
        votes = self._votes(column, row)
        map_, y, x = np.unravel_index(votes.argmax(), votes.shape)
        factor, near = factors[map_], (np.abs(column[map_] - x - 1) <= 1) & (np.abs(row[map_] - y - 1) <= 1)
        shift = landing[map_][near].mean() - factor * (middle[0] + 1j * middle[1])
        matrix = np.array([[factor.real, -factor.imag, shift.real], [factor.imag, factor.real, shift.imag], [0, 0, 1]])
        return float(votes[map_, y, x]), matrix, near

    def _votes(self, column, row):
        """Smoothed votes, (maps, cells, cells), of cells (maps, M) counted from 1; what is outside of the photo has none."""
        wide = self.params.cells + 2
        inside = (column >= 0) & (column < wide) & (row >= 0) & (row < wide)
        maps = np.broadcast_to(np.arange(len(column))[:, None], column.shape)
        flat = ((maps * wide + row) * wide + column)[inside]
        votes = np.bincount(flat, minlength=len(column) * wide * wide).reshape(len(column), wide, wide).astype(np.float64)
        side = np.exp(-1)
        votes = side * (votes[:, :-2] + votes[:, 2:]) + votes[:, 1:-1]
        return side * (votes[:, :, :-2] + votes[:, :, 2:]) + votes[:, :, 1:-1]
