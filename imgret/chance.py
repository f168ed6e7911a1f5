"""Chance: what scores photos that do not match reach, learned when an index is made, and what a score is worth beside that.

A score means nothing by itself: it depends on the method, on the metric, and on both photos. So it is held against those that the query
reaches with some photos of the gallery, the *references*, and against those that the photo it found reaches with them; nearly all of
these pairs do not match. From the scores of a photo with the references comes the tail of its chance scores, see `imgret.tails`.

What a score is worth is told as in sequence alignment: by how many photos of the gallery would reach it by chance, the geometric mean of
what either photo's tail says.

References
----------
- R. Auckenthaler, M. Carey & H. Lloyd-Thomas, "Score normalization for text-independent speaker verification systems", Digital Signal
  Processing 2000; P. Matejka et al., "Analysis of score normalization in multilingual speaker recognition", Interspeech 2017: the two
  sides of a score (S-norm).
- S. Karlin & S. F. Altschul, "Methods for assessing the statistical significance of molecular sequence features", PNAS 1990: E.
"""

import hashlib

import numpy as np

from imgret.arrays import row_norms, unit_rows
from imgret.parallel import one_thread
from imgret.tails import by_chance, common, counts, tails

REFERENCES = 256
LEVELS = ("no match", "likely", "sure")
LIKELY, SURE = 0.1, 0.005  # photos that reach such a score by chance, at most
GRID = 3000  # a unit vector's length in whole numbers: products of two are exact in float32
BLOCK_BYTES, BLOCK_ROWS = 4 << 20, 512  # scored at once: their scores stay in a cache


def worth(levels, row, column):
    """What one of many scores is worth, in a word.

    Parameters
    ----------
    levels : ndarray, shape (Q, n), int8, or None
        Positions in `LEVELS`; below zero where it is not known. None where nothing is judged.
    row, column : int

    Returns
    -------
    str
        "" where it is not known.
    """
    return "" if levels is None or levels[row, column] < 0 else LEVELS[levels[row, column]]


class Directions:
    """Vectors as whole numbers and lengths: their products are exact, so that no bit depends on how BLAS adds them up, or in which block.

    A part of a product of rows of the length `GRID` is at most (GRID + sqrt(C) / 2)², below 2^24 for less than four million columns;
    rounding changes the cosine of two vectors by 1.4e-4 (standard deviation).

    Parameters
    ----------
    whole : ndarray, shape (n, C), float32
        Whole numbers.
    lengths : ndarray, shape (n,), float32
    """

    def __init__(self, whole, lengths):
        self.whole, self.lengths = whole, lengths

    @classmethod
    def of(cls, x):
        """Those of vectors (n, C), float32."""
        whole = unit_rows(x)
        whole *= GRID
        return cls(np.rint(whole, out=whole), row_norms(x).astype(np.float32))

    def products(self, other):
        """Inner products with other vectors: ndarray, shape (n, m), float64."""
        with one_thread():
            products = (self.whole @ other.whole.T).astype(np.float64)
        products *= self.lengths[:, None].astype(np.float64) / GRID**2
        products *= other.lengths
        return products


def chosen(blocks, most=REFERENCES):
    """Which photos are the references: those with the smallest digests, so that few change when photos come and go.

    Parameters
    ----------
    blocks : iterable of (names, ndarray of shape (n, 32), uint8)
        Names, and SHA-256 of the photos, in order; of a photo whose digest is zero, the name's takes its place. Of several with one digest
        the first is taken.

    Returns
    -------
    ndarray, shape (m,), int64
        Their positions, ascending.
    """
    known, start = {}, 0
    for names, digests in blocks:
        limit = max(known)[0] if len(known) == most else 255  # most digests are seen to be too large by their first byte
        for row in np.flatnonzero((digests[:, 0] <= limit) | ~digests.any(axis=1)).tolist():
            digest = digests[row].tobytes()
            known.setdefault(digest if any(digest) else hashlib.sha256(names[row]).digest(), start + row)
            if len(known) > 2 * most:
                known = _least(known, most)
        known, start = _least(known, most), start + len(digests)
    return np.array(sorted(known.values()), np.int64)


def _least(known, most):
    return {digest: known[digest] for digest in sorted(known)[:most]}


class Chance:
    """What was learned of an index's chance scores: judges what is found in it.

    Parameters
    ----------
    index : imgret.indexes.base.Index
    references : Directions
        The references, as the index keeps them.
    tails : ndarray, shape (N, 2), float32
        Of the photos' chance scores.
    crowded : tuple of float, optional
        What `crowding` gave.

    Attributes
    ----------
    photos : int
        In the gallery.
    """

    def __init__(self, index, references, tails, crowded=None):
        self._index, self._references, self.tails, self.photos = index, references, tails, len(tails)
        self._crowded, self._more = crowded, 0 if crowded is None else common(len(references.lengths))

    @property
    def knows(self):
        """Whether there are photos enough to tell chance from anything else."""
        tail, censored = counts(len(self._references.lengths))
        return tail > censored

    def of_queries(self, vectors):
        """The tails of queries' chance scores.

        Parameters
        ----------
        vectors : array_like, shape (Q, V)

        Returns
        -------
        ndarray, shape (Q, 2), float32
        """
        found = tails(scores_with(self._index, self._index.as_asked(vectors), self._references), crowded=self._crowded)
        found[~np.asarray(vectors).any(axis=1)] = np.nan  # what has no direction matches nothing
        return found

    def expected(self, query_tails, scores, ids, trials=None):
        """How many photos would reach scores by chance.

        Parameters
        ----------
        query_tails : ndarray, shape (Q, 2)
            From `of_queries`, or `tails[photos]` where photos of the gallery ask.
        scores, ids : ndarray, shape (Q, k)
            As the index gives them.
        trials : int, optional
            Pairs that were compared in all: each query with every photo by default.

        Returns
        -------
        ndarray, shape (Q, k), float64
            NaN where there is no photo.
        """
        m = len(self._references.lengths)
        photo_tails = self.tails[np.maximum(ids, 0)]
        photo_tails = np.where(photo_tails[..., 1:] > 0, photo_tails, np.nan)  # the file may be anybody's
        either = by_chance(scores, query_tails[:, None], m, self._more) + by_chance(scores, photo_tails, m, self._more)
        either[np.isnan(query_tails).any(axis=1)[:, None] | np.isnan(photo_tails).any(axis=2)] = 0
        return np.where(ids >= 0, (self.photos if trials is None else trials) * np.exp(either / 2), np.nan)

    def judge(self, query_tails, scores, ids, trials=None):
        """What scores are worth; see `expected`.

        Returns
        -------
        levels : ndarray, shape (Q, k), int8
            Positions in `LEVELS`; -1 where there is no photo.
        expected : ndarray, shape (Q, k), float64
        """
        expected = self.expected(query_tails, scores, ids, trials)
        levels = (expected <= LIKELY).astype(np.int8) + (expected <= SURE)
        return np.where(ids >= 0, levels, np.int8(-1)), expected


def scores_with(index, asked, references):
    """Scores (Q, m) of what asks with the references, as the index would give them.

    Parameters
    ----------
    index : imgret.indexes.base.Index
    asked : ndarray, shape (Q, C), float32
        From `index.as_asked`.
    references : Directions
    """
    asked = Directions.of(asked)
    return index.scores_of(asked.products(references), asked.lengths, references.lengths)
