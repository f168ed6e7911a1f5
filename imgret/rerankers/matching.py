"""What rerankers share that match a query with the first photos of its list: what is matched, and where photos go that match."""

import dataclasses

import numpy as np

from imgret.registry import SAMPLING, Params, param
from imgret.rerankers import tentative
from imgret.rerankers.base import Listed, Reranker, Taken, below


@dataclasses.dataclass(frozen=True)
class MatchParams(Params):
    """What the rerankers that match have in common."""

    depth: int = param(100, "photos of each list that are looked at, the first", role=SAMPLING, minimum=1)
    ratio: float = param(
        0.9, "distance to the nearest descriptor by that to the second nearest, below which they match; 1 for all", above=0.0, maximum=1.0
    )
    mutual: bool = param(True, "only descriptors that are each other's nearest match")
    distance: int = param(24, "bits in which the signatures of two words that match may differ", minimum=0)


class Matching(Reranker):
    """Base of the rerankers that match a query with the first photos of its list.

    Of descriptors those match that are each other's nearest, by their directions, and much nearer than the second nearest; of words those
    that both photos have: where they have signatures, those that are each other's nearest of their word, and else all pairs of a word that
    neither has more than a few times.

    Photos with `enough` evidence go first, by what they have of it, and of equals the first in the list that was; the rest, and all beyond
    `depth`, keep their order.
    """

    takes = (Taken(("features", "words"), "to match"),)
    Params = MatchParams

    def prepared(self, described, known):
        """What describes a photo (a `Query`, or a position in `known`), ready to be matched: `tentative.Features` or `tentative.Words`."""
        by_words = "words" in known.given
        if isinstance(described, int):
            described = known.entries(described) if by_words else known.features(described)
        else:
            described = described.entries if by_words else described.features
        return (tentative.Words if by_words else tentative.Features)(described)

    def pairs(self, query, photo):
        """Tentative matches of two photos that are `prepared`: rows of both, (M, 2), int64."""
        if isinstance(query, tentative.Words):
            return tentative.by_words(query, photo, self.params.distance)
        return tentative.by_descriptors(query, photo, self.params.ratio, self.params.mutual)

    def judged(self, query, photo, pairs):
        """What a photo's matches amount to.

        Parameters
        ----------
        query, photo : tentative.Places
        pairs : ndarray, shape (M, 2), int64
            M >= 1.

        Returns
        -------
        evidence : float
        matrix : ndarray, shape (3, 3), or None
            Where the query's places are in the photo.
        """
        raise NotImplementedError(type(self).__name__)

    def rerank(self, queries, known):
        """See `Reranker.rerank`. Each photo is read once for all queries that are asked together."""
        asking = [self.prepared(query, known) if len(query.list) else None for query in queries]
        evidence = [np.zeros(min(len(query.list), self.params.depth), np.float32) for query in queries]
        maps = [np.full((len(query.list), 3, 3), np.nan, np.float32) for query in queries]
        wanted = {}
        for number, counted in enumerate(evidence):
            for rank, photo in enumerate(queries[number].list.ids[: len(counted)].tolist()):
                wanted.setdefault(photo, []).append((number, rank))
        for photo in sorted(wanted):
            asked = self.prepared(photo, known)
            for number, rank in wanted[photo]:
                pairs = self.pairs(asking[number], asked)
                if len(pairs):
                    evidence[number][rank], matrix = self.judged(asking[number].places, asked.places, pairs)
                    if matrix is not None:
                        maps[number][rank] = matrix
        return [
            ordered(query.list, counted, matrices, self.enough, known.best)
            for query, counted, matrices in zip(queries, evidence, maps, strict=True)
        ]


def ordered(given, counted, maps, enough, best):
    """A list whose first photos have been looked at, in its new order.

    Parameters
    ----------
    given : Listed
    counted : ndarray, shape (n,), float32
        The evidence of the first n.
    maps : ndarray, shape (k, 3, 3), float32
    enough : float
        Evidence with which a photo goes first.
    best : float
        The highest score in the ranking.

    Returns
    -------
    Listed
        What goes first has its evidence for a score, and a part of one for its place before, which tells equals apart.
    """
    evidence = np.full(len(given), np.nan, np.float32)
    evidence[: len(counted)] = counted
    first = np.flatnonzero(counted >= enough)
    first = first[np.argsort(-counted[first], kind="stable")]
    rest = np.setdiff1d(np.arange(len(given)), first)
    order = np.concatenate([first, rest])
    above = counted[first] + (1 - first / len(given)) / 2
    scores = np.concatenate([above, below(given.scores[rest], enough, best)]).astype(np.float32)
    return Listed(given.ids[order], scores, evidence[order], maps[order], enough)
