"""What the expansions of vectors share: whom they take, how they ask again, and what stays in front."""

import dataclasses

import numpy as np

from imgret.arrays import unit_rows
from imgret.errors import ImgretError
from imgret.registry import Params, param
from imgret.rerankers.base import Listed, Reranker, Taken

UNVERIFIED = (
    "a ranking has no evidence, and only verified photos are to be averaged: rerank it before (-m spatial), or --set verified=false"
)


@dataclasses.dataclass(frozen=True)
class ExpansionParams(Params):
    """What the expansions have in common."""

    depth: int = param(10, "photos that are averaged at most, the best of the list", minimum=1)
    verified: bool = param(True, "average only photos whose evidence says that they match; they stay in front")


class Expansion(Reranker):
    """Base of the expansions: a vector made of the query's and of those of photos that were found asks the whole index again.

    The query counts once: its own photo is left out of those that were found. A query for which there is nothing to average keeps its
    list. Of verified photos the order and the scores stay, in front of what is found with them, whose scores are lowered by as much as
    that takes.
    """

    takes = (Taken(("vectors",), "to average"), Taken(("index",), "to ask again"))
    Params = ExpansionParams

    def rerank(self, queries, known):
        """See `Reranker.rerank`."""
        chosen = [self.chosen(query) for query in queries]
        lists = [query.list for query in queries]
        asking = [number for number, ranks in enumerate(chosen) if len(ranks)]
        if not asking:
            return lists
        vectors = np.stack([self.expanded(queries[number], chosen[number], known) for number in asking])
        found = known.search(vectors.astype(np.float32), max(len(lists[number]) for number in asking))
        for number, after in zip(asking, found, strict=True):
            lists[number] = self.answer(lists[number], after)
        return lists

    def chosen(self, query):
        """Ranks of the photos that are averaged, (n,), int64.

        Raises
        ------
        ImgretError
            If only verified ones are, and the ranking does not say which are.
        """
        return chosen(query, self.params.depth, self.params.verified)

    def expanded(self, query, ranks, known):
        """The vector that asks again, (V,)."""
        vectors = np.concatenate([query.vector[None], known.vectors(query.list.ids[ranks])])
        return self.combined(query, ranks, self.prepared(vectors, known), known)

    @staticmethod
    def prepared(vectors, known):
        """Vectors as they are compared: by the cosine of unit length."""
        return unit_rows(vectors) if known.metric == "cosine" else vectors

    def combined(self, query, ranks, vectors, known):
        """What asks again: the weighted mean.

        Parameters
        ----------
        query : Query
        ranks : ndarray, shape (n,), int64
            Of the photos that are averaged.
        vectors : ndarray, shape (1 + n, V), float32
            The query's, and theirs, prepared.
        known : Known

        Returns
        -------
        ndarray, shape (V,), float64
        """
        weights = np.concatenate([[1.0], self.weights(query, ranks, vectors, known)])
        return weights @ vectors.astype(np.float64) / weights.sum()

    def weights(self, query, ranks, vectors, known):
        """What each photo counts where the query counts 1: (n,), float64; see `combined`."""
        raise NotImplementedError(type(self).__name__)

    def answer(self, before, after):
        """The list of an expanded query, as long as it was before."""
        return in_front(before, after) if self.params.verified else Listed(after.ids[: len(before)], after.scores[: len(before)])


def chosen(query, depth, verified):
    """Ranks in a query's list of the best photos, or the best verified ones, but for its own: (n,), int64."""
    listed = query.list
    if verified and listed.evidence is None and len(listed):
        raise ImgretError(UNVERIFIED)
    ranks = np.flatnonzero(listed.ids != query.itself)
    return (ranks[listed.verified[ranks]] if verified else ranks)[:depth]


def in_front(before, after):
    """What was verified before, as it was, and what has been found since below it.

    Parameters
    ----------
    before, after : Listed

    Returns
    -------
    Listed
    """
    verified = before.verified
    rest = ~np.isin(after.ids, before.ids[verified])
    ids, scores = after.ids[rest], after.scores[rest].astype(np.float64)
    least = before.scores[verified].min()
    if len(scores) and scores[0] >= least:
        scores = scores - (scores[0] - least)
    ids, scores = np.concatenate([before.ids[verified], ids]), np.concatenate([before.scores[verified], scores.astype(np.float32)])
    return Listed(ids[: len(before)], scores[: len(before)])
