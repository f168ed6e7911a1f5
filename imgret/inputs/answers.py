"""What an index answers a person: the photo that asks is marked, what is found is judged, and less is given where that is asked for."""

import dataclasses

import numpy as np

from imgret.chance import LEVELS
from imgret.inputs.chances import rows_of


@dataclasses.dataclass(frozen=True)
class Wanted:
    """Which results a person wants.

    Attributes
    ----------
    keep_self : bool
        Whether the photo that asks takes a rank where it is in the gallery.
    min_score : float, optional
        No results below it.
    matches_only : bool
        None that are no better than chance.
    told : bool
        Whether somebody looks, who wants to know why nothing is judged.
    """

    keep_self: bool = False
    min_score: float | None = None
    matches_only: bool = False
    told: bool = False


@dataclasses.dataclass(frozen=True)
class Found:
    """The answers to some queries.

    Attributes
    ----------
    scores : ndarray, shape (Q, n), float32
        Best first; NaN where there are no more.
    ids : ndarray, shape (Q, n), int64
        Positions in the gallery's names; -1 where there are no more.
    levels : ndarray, shape (Q, n), int8, or None
        What scores are worth: positions in `imgret.chance.LEVELS`. None where nothing is judged.
    itself : ndarray, shape (Q, n), bool
        Which of them are the photo that asks, and take no rank.
    """

    scores: np.ndarray
    ids: np.ndarray
    levels: np.ndarray | None
    itself: np.ndarray


class Answers:
    """Asks an index for what a person wants.

    Parameters
    ----------
    gallery : imgret.inputs.gallery.Gallery
    k : int
        Ranks.
    wanted : Wanted
    jobs : int
        Threads.
    """

    def __init__(self, gallery, k, wanted, jobs=1):
        self._gallery, self._k, self._wanted, self._jobs = gallery, k, wanted, jobs

    def of(self, vectors, digests=None):
        """The answers to some queries.

        Parameters
        ----------
        vectors : ndarray, shape (Q, V)
        digests : ndarray, shape (Q, 32), uint8, optional
            SHA-256 of the photos that ask; zeros where it is not known.

        Returns
        -------
        Found
        """
        digests = np.zeros((len(vectors), 32), np.uint8) if digests is None else digests
        scores, ids, same = self._searched(vectors, digests)
        levels = None if self._gallery.unjudged() else self._judged(vectors, scores, ids, same)
        itself = same & (not self._wanted.keep_self)
        keep = (ids >= 0) & ~itself
        if self._wanted.min_score is not None:
            reached = scores >= self._wanted.min_score
            keep, itself = keep & reached, itself & reached
        if self._wanted.matches_only:
            keep &= False if levels is None else levels > 0
        keep = itself | (keep & (np.cumsum(keep, axis=1) <= self._k))
        order = np.argsort(~keep, axis=1, kind="stable")[:, : max(1, int(keep.sum(axis=1).max(initial=0)))]
        keep, scores, ids, itself = (np.take_along_axis(each, order, axis=1) for each in (keep, scores, ids, itself))
        levels = None if levels is None else np.take_along_axis(levels, order, axis=1)
        return Found(np.where(keep, scores, np.float32(np.nan)), np.where(keep, ids, -1), levels, itself)

    def _searched(self, vectors, digests):
        """Scores, positions, and which are the photo that asks: of each query `k` besides, as far as there are so many."""
        size = len(self._gallery.names)
        fetch = self._k if self._wanted.keep_self else min(size, self._k + 1)
        while True:
            scores, ids = self._gallery.search(vectors, fetch, self._jobs)
            same = self._same(ids, digests)
            short = (ids[:, -1] >= 0) & ((~same).sum(axis=1) < self._k)  # a photo may be in the gallery several times
            if self._wanted.keep_self or fetch == size or not short.any():
                return scores, ids, same
            fetch = min(size, 2 * fetch)

    def _same(self, ids, digests):
        same = np.zeros(ids.shape, bool)
        for row in np.flatnonzero(digests.any(axis=1)):  # one by one: there may be millions of ranks
            found = rows_of(self._gallery.store, "digest", np.maximum(ids[row], 0))
            same[row] = (ids[row] >= 0) & (found == digests[row]).all(axis=1)
        return same

    def _judged(self, vectors, scores, ids, same):
        chance = self._gallery.chance
        asking = chance.of_queries(vectors)
        levels = np.empty(ids.shape, np.int8)
        for row in range(len(ids)):
            levels[row] = chance.judge(asking[row : row + 1], scores[row : row + 1], ids[row : row + 1])[0][0]
        levels[same] = len(LEVELS) - 1
        return levels
