"""Database-side augmentation: each photo's vector, and some of its nearest neighbours'."""

import dataclasses

import numpy as np

from imgret import arrays
from imgret.encoders.base import Encoder
from imgret.registry import SAMPLING, Params, param

GRID = 1 << 11  # steps of 1: products of vectors that keep to them are exact in float32, however they are added up
BYTES = 1 << 26  # of neighbours' vectors that are held at once
HELD = 1 << 28  # bytes of a gallery that is kept in memory; a larger one is read again for each part
HIGHEST = 1 - 1e-6


class Dba(Encoder):
    """Database-side augmentation: each photo's vector becomes the sum of its own and those of its `k` nearest in the gallery, then L2.

    A neighbour of cosine s counts ((s − b) / (1 − b))^α, b being the cosine of the first one that is left out; with
    `background=false` it counts max(s, 0)^α. The gallery is what the inputs hold together: give all of it at once. Where photos come or
    go everything is made again, as any photo may have other neighbours.

    A query is described as before, but for the length of its vector: photos, and vectors that this was made from, ask an index of
    such vectors.

    Deviations: Arandjelović & Zisserman average visual words, of verified photos; Gordo et al. weigh by rank; the power of the similarity
    is that of query expansion (Radenović et al. 2019). Neighbours are those by vectors rounded to 2^-11, whose products are exact, so that
    they do not depend on how the work is split. Each photo is compared with each, block by block.

    References
    ----------
    R. Arandjelović & A. Zisserman, "Three things everyone should know to improve object retrieval", CVPR 2012, section 5.
    A. Gordo, J. Almazán, J. Revaud & D. Larlus, "End-to-end learning of deep visual representations for image retrieval", IJCV 2017,
    section 5.2.
    """

    name = "dba"
    takes = "vectors"
    whole = True

    @dataclasses.dataclass(frozen=True)
    class Params(Params):
        k: int = param(5, "nearest photos that are added", minimum=1)
        alpha: float = param(1.5, "power of what a neighbour's cosine exceeds the background", minimum=0.0)
        background: bool = param(True, "what counts is by how much a cosine exceeds that of the first photo that is left out")
        dtype: str = param("float32", "type of the stored vectors", role=SAMPLING, choices=("float32", "float16"))

    def __init__(self, params):
        super().__init__(params)
        self._held = None

    @property
    def dim(self):
        """Length of the vectors."""
        return self.widths[0]

    def encode_block(self, vectors):
        """Vectors (N, V) of photos that are none of the gallery: of unit length, and no more. See `Encoder.encode_block`."""
        return arrays.unit_rows(arrays.rows(vectors, what="the matrix of vectors")).astype(self.params.dtype)

    def encode_among(self, places, gallery):
        """See `Encoder.encode_among`."""
        own = arrays.unit_rows(gallery.rows(places))
        ids, cosines = nearest(own, places, self._rounded(gallery), self.params.k + 1)
        weights = self._weights(cosines)
        summed = own.astype(np.float64)
        step = max(1, BYTES // (8 * own.shape[1]))
        for start in range(0, len(own), step):
            rows = slice(start, start + step)
            for rank in range(weights.shape[1]):
                neighbours = arrays.unit_rows(gallery.rows(np.maximum(ids[rows, rank], 0)))
                summed[rows] += weights[rows, rank, None] * neighbours
        return arrays.unit_rows(summed.astype(np.float32)).astype(self.params.dtype)

    def _rounded(self, gallery):
        """Yield (first, vectors) of blocks of the gallery, of unit length and rounded."""
        if self._held is not None:
            yield from self._held
            return
        held, size = [], 0
        for start, block in gallery.blocks():
            block = rounded(arrays.unit_rows(block))
            size += block.nbytes
            held = [*held, (start, block)] if size <= HELD else []
            yield start, block
        self._held = held if size <= HELD else None

    def _weights(self, cosines):
        """What each neighbour counts, (n, k); `cosines` (n, k + 1), NaN where there are fewer."""
        params, found = self.params, cosines[:, : self.params.k]
        if params.background:
            last = np.maximum(np.isfinite(cosines).sum(axis=1, keepdims=True) - 1, 0)
            least = np.minimum(np.nan_to_num(np.take_along_axis(cosines, last, axis=1)), HIGHEST)
            found = (found - least) / (1 - least)
        return np.where(np.isnan(found), 0, np.maximum(np.nan_to_num(found), 0) ** params.alpha)


def nearest(own, places, blocks, k):
    """The photos of the gallery that are nearest to some of its own, by vectors rounded to `1 / GRID`.

    Parameters
    ----------
    own : ndarray, shape (n, V), float32
        Of unit length.
    places : ndarray, shape (n,), int64
        Where these are in the gallery: they are no neighbours of themselves.
    blocks : iterable of (int, ndarray)
        The gallery: the first of some, and their vectors (m, V), of unit length and rounded.
    k : int

    Returns
    -------
    ids : ndarray, shape (n, k), int64
        Of equally near ones the first; -1 where there are no more.
    cosines : ndarray, shape (n, k), float64
        NaN where there are no more.
    """
    asked, row = rounded(own), np.arange(len(own))
    ids, cosines = np.full((len(own), k), -1, np.int64), np.full((len(own), k), -np.inf, np.float32)
    for start, block in blocks:
        scores = asked @ block.T
        inside = (places >= start) & (places < start + len(block))
        scores[row[inside], places[inside] - start] = -np.inf
        least = cosines[:, -1:]
        if scores.shape[1] > k:
            least = np.maximum(least, np.nextafter(np.partition(scores, -k, axis=1)[:, -k, None], np.float32(-np.inf)))
        which, column = np.nonzero(scores > least)
        # in the order of the gallery, so that a stable sort puts the first of equal ones first
        which = np.concatenate([np.repeat(row, k), which])
        found = np.concatenate([ids.ravel(), column + start])
        score = np.concatenate([cosines.ravel(), scores[which[len(row) * k :], column]])
        order = np.lexsort((-score, which))
        which, found, score = which[order], found[order], score[order]
        rank = np.arange(len(which)) - np.searchsorted(which, which)
        kept = rank < k
        ids[which[kept], rank[kept]], cosines[which[kept], rank[kept]] = found[kept], score[kept]
    missing = ~np.isfinite(cosines)
    return np.where(missing, -1, ids), np.where(missing, np.nan, cosines.astype(np.float64))


def rounded(unit):
    """Vectors of unit length, on a grid on which products of them are exact."""
    return np.rint(unit * np.float32(GRID)) / np.float32(GRID)
