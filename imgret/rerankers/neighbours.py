"""The photos' own lists, read once: who is whose neighbour, and how near."""

import numpy as np

from imgret.errors import ImgretError

BLOCK = 4096  # photos whose lists are read at once
HIGHEST = 1 - 1e-6  # of a background: what resembles a photo fully stands out from any


class Neighbours:
    """The nearest neighbours of each photo of the gallery, in memory: 8 bytes for each.

    Scores become similarities, 1 for a photo and itself: those of the cosine are their own; where some are above 1, all are divided by the
    highest; where none is above 0, as they are squared distances −s, they are exp(s / σ²), σ² being the median of those.

    How much of a similarity is chance depends on what describes the photos, and on the photo: so what counts, its affinity, is how far
    it exceeds the background b of the photo, (s − b) / (1 − b), b being its similarity to its k-th neighbour.

    Parameters
    ----------
    known : imgret.rerankers.base.Known
    k : int
        Which neighbour makes the background.
    background : bool
        Whether affinities are what exceeds the background; else they are the similarities, at least 0.
    whole : bool
        Whether all neighbours are read, and not only `k`.

    Attributes
    ----------
    ids : ndarray, shape (N, w), int32
        Nearest first; -1 behind them where there are fewer.
    affinities : ndarray, shape (N, w), float32
        From 0 to 1; 0 where there is no neighbour.

    Raises
    ------
    ImgretError
        If the graph has no neighbours.
    """

    def __init__(self, known, k, background=True, whole=False):
        if known.graphs > 1:
            raise ImgretError(f"{known.graphs} graphs are given, and the photos have one set of neighbours here: give one --graph")
        self._background = background
        self.ids, scores = _read(known, None if whole else k)
        there = self.ids >= 0
        if not there.any():
            raise ImgretError("the graph lists no neighbours of any photo: make it again, with -k 50")
        self._distances = scores.max(initial=-np.inf, where=there) <= 0
        self._scale = (float(np.median(-scores[there])) or 1.0) if self._distances else max(1.0, float(scores.max(where=there, initial=1)))
        affinities = self.similarities(scores)
        last = np.maximum(there[:, :k].sum(axis=1) - 1, 0)
        self._edges = affinities[np.arange(known.size), last]
        if background:
            affinities = exceeding(affinities, self._edges[:, None])
        self.affinities = np.where(there, np.maximum(affinities, 0), np.float32(0)).astype(np.float32)

    def similarities(self, scores):
        """Scores, any shape, as similarities, float32: at most 1."""
        if self._distances:
            return np.exp(np.minimum(scores, 0, dtype=np.float32) / np.float32(self._scale))
        return np.minimum(np.asarray(scores, np.float32) / np.float32(self._scale), np.float32(1))

    def of_photos(self, photos, scores):
        """What scores are to some photos, (n,): what exceeds their backgrounds, below 0 where they have k that are nearer."""
        return exceeding(self.similarities(scores), self._edges[photos])

    def of_query(self, query, k, number=0):
        """What a query is to the photos of its list.

        Parameters
        ----------
        query : imgret.rerankers.base.Query
        k : int
            Which of the photos, but for its own, makes the background.
        number : int
            Of the list.

        Returns
        -------
        ndarray, shape (len(list),), float32
            Affinities; below 0 for what does not reach the background.
        """
        listed = query.lists[number]
        found = self.similarities(listed.scores)
        others = np.flatnonzero(listed.ids != query.itself)
        if not self._background or not len(others):
            return found
        return exceeding(found, found[others[min(k, len(others)) - 1]])


def exceeding(similarities, background):
    """How far similarities exceed a background, 1 where they are 1, float32."""
    background = np.minimum(background, np.float32(HIGHEST))
    return ((similarities - background) / (1 - background)).astype(np.float32)


def _read(known, k):
    """The first `k` neighbours of all photos: ids (N, k) int32, and scores float32; fewer columns where no list is as long."""
    blocks = [known.graph(start, min(start + BLOCK, known.size)) for start in range(0, known.size, BLOCK)]
    most = max((ids.shape[1] for ids, _ in blocks), default=0)
    k = most if k is None else min(k, most)
    kept, kept_scores = np.full((known.size, k), -1, np.int32), np.zeros((known.size, k), np.float32)
    for number, (ids, scores) in enumerate(blocks):
        rows, width = slice(number * BLOCK, number * BLOCK + len(ids)), min(k, ids.shape[1])
        kept[rows, :width] = ids[:, :width]
        kept_scores[rows, :width] = np.where(ids[:, :width] >= 0, scores[:, :width], 0)
    return kept, kept_scores
