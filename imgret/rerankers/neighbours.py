"""The photos' own lists, read once: who is whose neighbour, and how near."""

import numpy as np

from imgret.errors import ImgretError

BLOCK = 4096  # photos whose lists are read at once


class Neighbours:
    """The nearest neighbours of each photo of the gallery, in memory: 8 bytes for each.

    Scores become affinities, 1 for a photo and itself: those of the cosine are their own; where some are above 1, all are divided by the
    highest; where none is above 0, as they are squared distances −s, they are exp(s / σ²), σ² being the median of those.

    Parameters
    ----------
    known : imgret.rerankers.base.Known
    k : int
        How many of each are read; those of a list that is shorter, otherwise.

    Attributes
    ----------
    ids : ndarray, shape (N, k), int32
        Nearest first; -1 behind them where there are fewer.
    affinities : ndarray, shape (N, k), float32
        At most 1; 0 where there is no neighbour.

    Raises
    ------
    ImgretError
        If the graph has no neighbours.
    """

    def __init__(self, known, k):
        if known.graphs > 1:
            raise ImgretError(f"{known.graphs} graphs are given, and the photos have one set of neighbours here: give one --graph")
        self.ids, scores = _read(known, k)
        there = self.ids >= 0
        if not there.any():
            raise ImgretError("the graph lists no neighbours of any photo: make it again, with -k 50")
        self._distances = scores.max(initial=-np.inf, where=there) <= 0
        self._scale = float(np.median(-scores[there])) if self._distances else max(1.0, float(scores.max(where=there, initial=1)))
        self.affinities = np.where(there, self.affinities_of(scores), np.float32(0))

    def affinities_of(self, scores):
        """Scores, any shape, as affinities, float32."""
        if self._distances:
            return np.exp(np.minimum(np.nan_to_num(scores, nan=-np.inf), 0) / np.float32(self._scale or 1))
        return np.minimum(np.asarray(scores, np.float32) / np.float32(self._scale), np.float32(1))


def _read(known, k):
    """The first `k` neighbours of all photos: ids (N, k) int32, and scores float32; fewer columns where no list is as long."""
    blocks = [known.graph(start, min(start + BLOCK, known.size)) for start in range(0, known.size, BLOCK)]
    k = min(k, max((ids.shape[1] for ids, _ in blocks), default=0))
    kept, kept_scores = np.full((known.size, k), -1, np.int32), np.zeros((known.size, k), np.float32)
    for number, (ids, scores) in enumerate(blocks):
        rows, width = slice(number * BLOCK, number * BLOCK + len(ids)), min(k, ids.shape[1])
        kept[rows, :width], kept_scores[rows, :width] = ids[:, :width], scores[:, :width]
    return kept, kept_scores
