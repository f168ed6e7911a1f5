"""The nearest words of a photo's descriptors: among all words, or among those of the nearest lists."""

import numpy as np

from imgret import words
from imgret.arrays import LARGEST, SMALLEST, TOO_LARGE
from imgret.codebooks.frames import frame_of
from imgret.errors import ImgretError
from imgret.parallel import blocks, one_thread

TILE = 1024, 2048  # rows and words of one product: the scores stay in the cache
FAR = 16.0  # squares of a mean length and of the spread about it: beyond this ratio products of uncentred rows lose digits


def repeated(centroids):
    """Which words equal one of a lower number: (K,) bool.

    Words are told apart by a sum of their bits, which is exact, and compared where two have the same.
    """
    odd = np.random.default_rng(0).integers(0, 2**63, centroids.shape[1], dtype=np.uint64) * 2 + 1
    keys = np.empty(len(centroids), np.uint64)
    for block in blocks(len(centroids)):
        bits = (centroids[block] + np.float32(0)).view(np.uint32)  # -0 is 0
        keys[block] = bits @ odd
    _, first, which = np.unique(keys, return_index=True, return_inverse=True)
    earlier = first[which]
    same = np.zeros(len(centroids), bool)
    later = np.flatnonzero(earlier != np.arange(len(centroids)))
    same[later] = (centroids[later] == centroids[earlier[later]]).all(axis=1)
    return same


def framed(points):
    """Points of which float32 products keep their digits: those given, or a centred and scaled copy where they are far from the origin for
    their spread, or so long or short that float32 does not hold squares.

    Parameters
    ----------
    points : ndarray, shape (K, d), float32

    Returns
    -------
    frame : imgret.codebooks.frames.Frame or None
        What rows have to go through; None where nothing is needed.
    points : ndarray, shape (K, d), float32
    """
    frame = frame_of(points)
    with np.errstate(over="ignore"):
        squares = 2 * words.half_squares(points)
        mean = float(frame.mean.astype(np.float64) @ frame.mean)
    square = float(squares.mean(dtype=np.float64))
    if SMALLEST**2 < squares.max() < LARGEST**2 and mean <= FAR * (square - mean):
        return None, points
    return frame, frame.apply(points)


class Nearest:
    """The nearest words of rows.

    Candidates have the largest x·c − |c|²/2; their distances are then taken anew, from differences, and order them. Of equal words only the
    first is ever found.

    Parameters
    ----------
    centroids : ndarray, shape (K, d), float32

    Attributes
    ----------
    distinct : int
        How many words differ from one another: more cannot be found.
    """

    def __init__(self, centroids):
        self.centroids = centroids
        self._frame, self._c = framed(centroids)
        self._half = words.half_squares(self._c)
        again = repeated(centroids)
        self.distinct = len(centroids) - int(np.count_nonzero(again))
        self._half[again] = np.inf

    def find(self, x, ma=1):
        """The `ma` nearest words of each row, and their squared distances; see `imgret.codebooks.visual.Words.nearest_words`."""
        ma = min(ma, self.distinct)
        found, squared = np.empty((len(x), ma), np.int64), np.empty((len(x), ma), np.float32)
        with one_thread(), np.errstate(over="ignore", invalid="ignore"):
            for block in blocks(len(x)):
                self._find(x[block], found[block], squared[block])
        if not np.isfinite(squared).all():
            raise ImgretError(TOO_LARGE)
        return found, squared

    def _find(self, x, found, squared):
        from imgret.codebooks.kernels import settle

        self._candidates(x if self._frame is None else self._frame.apply(x), found)
        settle(x, self.centroids, found, squared)

    def _candidates(self, z, found):
        """Words of the largest scores of the rows of a block, into `found` (T, ma); -1 where there are none."""
        if found.shape[1] == 1:
            found[:, 0] = words.nearest(z, self._c, self._half, TILE)[0]
            return
        from imgret.codebooks.kernels import offer

        found[:] = -1
        best = np.full(found.shape, -np.inf, np.float32)
        memory = np.empty(min(TILE[0], len(z)) * min(TILE[1], len(self._c)), np.float32)
        for block in blocks(len(z), TILE[0]):
            rows = np.arange(block.start, block.stop)
            for panel in blocks(len(self._c), TILE[1]):
                offer(_product(z[block], self._c[panel], memory), self._half[panel], rows, panel.start, best, found)


class NearestOfLists(Nearest):
    """The nearest words of rows among those of the nearest lists.

    The words of a list lie together, so that all of a photo's descriptors that look into it do so by one product. Rows for which so few
    words do not suffice look at all.

    Parameters
    ----------
    centroids : ndarray, shape (K, d), float32
        Words, list after list.
    lists : ndarray, shape (L, d), float32
        Where the lists lie.
    offsets : ndarray, shape (L + 1,), int64
        Where their words begin.
    probes : int
        Lists that a row looks into.
    """

    def __init__(self, centroids, lists, offsets, probes):
        super().__init__(centroids)
        self._lists = lists if self._frame is None else self._frame.apply(lists)
        self._list_half = words.half_squares(self._lists)
        self._list_half[np.diff(offsets) == 0] = np.inf  # nothing to be looked at
        self._edges, self._longest, self._probes = offsets.tolist(), int(np.diff(offsets).max()), min(probes, len(lists))

    def _candidates(self, z, found):
        from imgret.codebooks.kernels import offer

        found[:] = -1
        best = np.full(found.shape, -np.inf, np.float32)
        rows, edges = self._probed(z)
        memory = np.empty(TILE[0] * min(TILE[1], self._longest), np.float32)
        for number in np.flatnonzero(np.diff(edges)).tolist():
            for block in blocks(edges[number + 1] - edges[number], TILE[0]):
                mine = rows[edges[number] + block.start : edges[number] + block.stop]
                near = z[mine]
                for first in range(self._edges[number], self._edges[number + 1], TILE[1]):
                    words_here = slice(first, min(first + TILE[1], self._edges[number + 1]))
                    offer(_product(near, self._c[words_here], memory), self._half[words_here], mine, first, best, found)
        lacking = np.flatnonzero(found[:, -1] < 0)
        if len(lacking):
            whole = np.empty((len(lacking), found.shape[1]), np.int64)
            super()._candidates(z[lacking], whole)
            found[lacking] = whole

    def _probed(self, z):
        """The rows that look into each list, list after list, and where each begins."""
        looked = np.empty((len(self._lists), len(z)), bool)
        for block in blocks(len(z), TILE[0]):
            scores = z[block] @ self._lists.T
            scores -= self._list_half
            least = np.partition(scores, -self._probes, axis=1)[:, -self._probes, None]
            looked[:, block] = (scores >= least).T
        rows = np.flatnonzero(looked)
        edges = np.searchsorted(rows, np.arange(len(looked) + 1) * len(z)).tolist()
        rows %= max(len(z), 1)
        return rows, edges


def _product(z, c, memory):
    shape = len(z), len(c)
    return np.matmul(z, c.T, out=memory[: shape[0] * shape[1]].reshape(shape))
