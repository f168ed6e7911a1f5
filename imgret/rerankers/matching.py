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
    order: str = param(
        "auto",
        "verified: photos with enough evidence go first; together: the score before and the evidence decide; auto: verified by features, "
        "together by words, which err more",
        choices=("auto", "verified", "together"),
    )
    weight: float = param(6.0, "of log(1 + evidence), where the score before counts in its deviations from the median", minimum=0.0)
    shared: bool = param(
        True, "a place of the query has one vote, for all photos together that have enough evidence and in which it agrees"
    )


class Matching(Reranker):
    """Base of the rerankers that match a query with the first photos of its list.

    Of descriptors those match that are each other's nearest, by their directions, and much nearer than the second nearest; of words those
    that both photos have: where they have signatures, those that are each other's nearest of their word, and else all pairs of a word that
    neither has more than a few times.

    Of the photos that are looked at, those with `enough` evidence go first, by their votes: each place of the query has one, which such
    photos share. So what is printed on many of them, a logo, says little of each. The rest are ordered by what a photo's score was,
    in deviations from the median of those that are looked at, and `weight` times the logarithm of its evidence; `together`, all are. What
    is beyond `depth` keeps its order.

    Attributes
    ----------
    decides : bool
        Whether evidence from descriptors may put a photo first, whatever its score was, where `order` is not given.
    """

    decides = False
    takes = (Taken(("features", "words"), "to match"),)
    Params = MatchParams

    @property
    def enough(self):
        """See `Reranker.enough`: a parameter of each method, which counts in its own way."""
        return float(self.params.enough)

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
        agreeing : ndarray, shape (M,), bool
            The matches that the evidence is made of.
        """
        raise NotImplementedError(type(self).__name__)

    def rerank(self, queries, known):
        """See `Reranker.rerank`. Each photo is read once for all queries that are asked together."""
        asking = [self.prepared(query, known) if len(query.list) else None for query in queries]
        found = [Found(query.list, self.params.depth, query.itself) for query in queries]
        wanted = {}
        for number, each in enumerate(found):
            for rank, photo in enumerate(each.looked.tolist()):
                wanted.setdefault(photo, []).append((number, rank))
        for photo in sorted(wanted):
            asked = self.prepared(photo, known)
            for number, rank in wanted[photo]:
                pairs = self.pairs(asking[number], asked)
                if len(pairs):
                    ours = asking[number].places
                    found[number].add(rank, *self.judged(ours, asked.places, pairs), ours.numbers[pairs[:, 0]])
        together = {"auto": "words" in known.given or not self.decides, "verified": False, "together": True}[self.params.order]
        return [each.ordered(self.enough, known.best, self.params, together) for each in found]


class Found:
    """What is found of the first photos of a list.

    Parameters
    ----------
    given : Listed
    depth : int
        How many are looked at.
    itself : int
        The photo that asks, which has all places and takes no share of them; -1 where it is not there.
    """

    def __init__(self, given, depth, itself=-1):
        self.given, self.looked, self._itself = given, given.ids[:depth], itself
        self.evidence = np.zeros(len(self.looked), np.float32)
        self.maps = np.full((len(given), 3, 3), np.nan, np.float32)
        self._places = [np.zeros(0, np.int32)] * len(self.looked)

    def add(self, rank, evidence, matrix, agreeing, numbers):
        """What a photo's matches amount to, as `Matching.judged` gives it, and the numbers of their places in the query, (M,)."""
        self.evidence[rank] = evidence
        self._places[rank] = np.unique(numbers[agreeing])
        if matrix is not None:
            self.maps[rank] = matrix

    def votes(self, enough):
        """What photos have of the query's places: those with enough evidence share them; others have their evidence. (n,), float64."""
        votes, verified = self.evidence.astype(np.float64), np.flatnonzero((self.evidence >= enough) & (self.looked != self._itself))
        if len(verified):
            having = np.bincount(np.concatenate([self._places[rank] for rank in verified]))
            for rank in verified:
                votes[rank] *= np.mean(1 / having[self._places[rank]])
        return votes

    def ordered(self, enough, best, params, together=False):
        """The list in its new order.

        Parameters
        ----------
        enough : float
            Evidence with which a photo is verified.
        best : float
            The highest score in the ranking.
        params : MatchParams
        together : bool
            Whether the score before decides of all.

        Returns
        -------
        Listed
            The score of what is verified is `enough` and its votes, that of the rest between half of `enough` and all of it, rising with
            how it is ordered; `together` the latter has no bound. Equals are told apart by the last digit.
        """
        count, verified = len(self.looked), self.evidence >= enough
        votes = self.votes(enough) if params.shared else self.evidence.astype(np.float64)
        key = deviations(self.given.scores[:count]) + params.weight * np.log1p(votes)
        key -= key.min(initial=0)
        if together:
            limit, scores = enough / 2, enough / 2 + key
        else:
            limit, scores = enough / 2, np.where(verified, enough + votes, enough * (1 + key) / (2 + key))
        order = np.argsort(-scores, kind="stable")
        scores = np.concatenate([scores[order], below(self.given.scores[count:], limit, best)])
        order = np.concatenate([order, np.arange(count, len(self.given))])
        evidence = np.full(len(self.given), np.nan, np.float32)
        evidence[:count] = self.evidence
        return Listed(self.given.ids[order], falling(scores), evidence[order], self.maps[order], enough)


def deviations(scores):
    """Scores less their median, by the median of how far they are from it: (n,), float64; 0 where that is 0.

    What stands out in a list, however its scores are made, stands out by as many deviations.
    """
    off = scores.astype(np.float64) - np.median(scores) if len(scores) else np.zeros(0)
    usual = np.median(np.abs(off)) if len(off) else 0.0
    return off / usual if usual > 0 else np.zeros(len(off))


def falling(scores):
    """Scores that do not rise, each below the one before by a last digit at the least: (n,), float32."""
    scores = scores.astype(np.float32)
    for rank in range(1, len(scores)):
        if scores[rank] >= scores[rank - 1]:
            scores[rank] = np.nextafter(scores[rank - 1], np.float32(-np.inf))
    return scores
