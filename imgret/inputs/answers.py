"""What an index answers a person: the photo that asks is marked, what is found is judged, and less is given where that is asked for."""

import dataclasses

import numpy as np

from imgret.chance import LEVELS
from imgret.evidence import Counted
from imgret.inputs.chances import rows_of
from imgret.rerankers.base import Listed
from imgret.runs.ranks import matrices, widened


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
        What scores are worth: positions in `imgret.chance.LEVELS`, -1 of what was only found by asking again. None where nothing is
        judged.
    itself : ndarray, shape (Q, n), bool
        Which of them are the photo that asks, and take no rank.
    evidence, maps : ndarray, shape (Q, n) and (Q, n, 3, 3), float32, or None
        Of better answers, as `imgret.rerankers.base.Listed` has them.
    matches : list of list of (ndarray, shape (n, 4), float32, or None), or None
        Of each query, of the first results: see `imgret.rerankers.base.Reranker.matches`.
    """

    scores: np.ndarray
    ids: np.ndarray
    levels: np.ndarray | None
    itself: np.ndarray
    evidence: np.ndarray | None = None
    maps: np.ndarray | None = None
    matches: list | None = None


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
    reranking : imgret.inputs.reranked.Reranking, optional
        What makes the answers better.
    pictured : int
        Of how many results `matches` are wanted.
    """

    def __init__(self, gallery, k, wanted, jobs=1, reranking=None, pictured=0):
        self._gallery, self._k, self._wanted, self._jobs = gallery, k, wanted, jobs
        self._reranking, self._pictured = reranking, pictured

    def of(self, vectors, digests=None, asked=None):
        """The answers to some queries.

        Parameters
        ----------
        vectors : ndarray, shape (Q, V)
        digests : ndarray, shape (Q, 32), uint8, optional
            SHA-256 of the photos that ask; zeros where it is not known.
        asked : imgret.inputs.queries.Queries, optional
            The queries, where answers are made better.

        Returns
        -------
        Found
        """
        digests = np.zeros((len(vectors), 32), np.uint8) if digests is None else digests
        scores, ids, same = self._searched(vectors, digests)
        levels = None if self._gallery.unjudged() else self._judged(vectors, scores, ids, same)
        found = Found(scores, ids, levels, same & (not self._wanted.keep_self))
        if self._reranking is None:
            return self._chosen(found)
        ranked = (ids >= 0) & ~found.itself
        lists = [Listed(row[kept], of[kept]) for row, of, kept in zip(ids, scores, ranked, strict=True)]
        queries = self._reranking.queries(asked, lists)
        better = self._reranking.lists(queries)
        if not self._wanted.keep_self:  # where the index is asked again, that photo is found again
            better = [self._without(each, digest) for each, digest in zip(better, digests, strict=True)]
        found = self._chosen(self._judged_anew(_better(found, better)))
        return dataclasses.replace(found, matches=[self._matches(*each) for each in zip(queries, found.ids, found.itself, strict=True)])

    def _judged_anew(self, found):
        """What was found, with what its evidence is worth where that is more than its score was."""
        if found.evidence is None:
            return found
        worth = (found.evidence[..., None] >= np.array(self._reranking.worth)).sum(axis=-1)
        levels = np.full(found.ids.shape, -1, np.int8) if found.levels is None else found.levels
        if not self._reranking.judges:  # what its evidence is worth is not known, and its score no longer decides
            levels = np.where((found.evidence >= self._reranking.counted.enough) & ~found.itself, -1, levels).astype(np.int8)
        return dataclasses.replace(found, levels=np.where((worth > 0) & ~found.itself, np.maximum(levels, worth), levels).astype(np.int8))

    def _without(self, listed, digest):
        """A list without the photo that asks."""
        kept = ~self._same(listed.ids[None], digest[None])[0]
        return listed if kept.all() else listed.taken(kept)

    def _matches(self, query, ids, itself):
        """What of a query lies where in the first results."""
        shown = (ids >= 0) & ~itself & (np.cumsum(~itself) <= self._pictured)
        return [self._reranking.matches(query, photo) if one else None for photo, one in zip(ids.tolist(), shown, strict=True)]

    @property
    def counted(self):
        """What `Found.evidence` is: an `imgret.evidence.Counted`."""
        return Counted() if self._reranking is None else self._reranking.counted

    def all(self, asked):
        """The answers to some queries, of which nothing is left out or judged: a `Found` of `k` ranks less `levels` and `itself`.

        Parameters
        ----------
        asked : imgret.inputs.queries.Queries
        """
        if self._reranking is None:
            return Found(*self._gallery.search(asked.vectors, self._k, self._jobs), None, None)
        k = min(len(self._gallery.names), max(self._k, self._reranking.depth))
        scores, ids = self._gallery.search(asked.vectors, k, self._jobs)
        lists = [Listed(row[row >= 0], of[row >= 0]) for row, of in zip(ids, scores, strict=True)]
        better = self._reranking.lists(self._reranking.queries(asked, lists))
        columns = {path: widened(column, k)[:, : self._k] for path, column in matrices(better).items()}
        if self.counted.counts:
            nothing = np.full((len(ids), self._k), np.nan, np.float32)
            columns = {"evidence": nothing, "maps": np.broadcast_to(nothing[..., None, None], (*nothing.shape, 3, 3))} | columns
        return Found(levels=None, itself=None, **columns)

    def _chosen(self, found):
        """What is wanted of what was found."""
        scores, ids, levels, itself = found.scores, found.ids, found.levels, found.itself
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
        evidence = None if found.evidence is None else np.take_along_axis(found.evidence, order, axis=1)
        maps = None if found.maps is None else np.take_along_axis(found.maps, order[..., None, None], axis=1)
        return Found(np.where(keep, scores, np.float32(np.nan)), np.where(keep, ids, -1), levels, itself, evidence, maps)

    def _searched(self, vectors, digests):
        """Scores, positions, and which are the photo that asks: of each query `k` besides, as far as there are so many."""
        size = len(self._gallery.names)
        k = self._k if self._reranking is None else min(size, max(self._k, self._reranking.depth))
        fetch = k if self._wanted.keep_self else min(size, k + 1)
        while True:
            scores, ids = self._gallery.search(vectors, fetch, self._jobs)
            same = self._same(ids, digests)
            short = (ids[:, -1] >= 0) & ((~same).sum(axis=1) < k)  # a photo may be in the gallery several times
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


def _better(found, lists):
    """The answers as better lists have them; the photo that asks stays before all others."""
    width = max(int(own.sum()) + len(each) for own, each in zip(found.itself, lists, strict=True))
    shape = len(lists), width
    ids, scores, itself = np.full(shape, -1, np.int64), np.full(shape, np.nan, np.float32), np.zeros(shape, bool)
    levels = None if found.levels is None else np.full(shape, -1, found.levels.dtype)
    evidence = np.full(shape, np.nan, np.float32) if any(each.evidence is not None for each in lists) else None
    maps = np.full((*shape, 3, 3), np.nan, np.float32) if any(each.maps is not None for each in lists) else None
    for row, each in enumerate(lists):
        own = found.itself[row]
        first = int(own.sum())
        last = first + len(each)
        itself[row, :first] = True
        ids[row, :first], scores[row, :first] = found.ids[row, own], found.scores[row, own]
        ids[row, first:last], scores[row, first:last] = each.ids, each.scores
        if levels is not None:
            known = dict(zip(found.ids[row].tolist(), found.levels[row].tolist(), strict=True))
            levels[row, :last] = [known.get(photo, -1) for photo in ids[row, :last].tolist()]
        if each.evidence is not None:
            evidence[row, first:last] = each.evidence
        if each.maps is not None:
            maps[row, first:last] = each.maps
    return Found(scores, ids, levels, itself, evidence, maps)
