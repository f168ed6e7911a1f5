"""Late fusion: what the rerankers that put several rankings together have in common."""

import dataclasses

import numpy as np

from imgret import registry
from imgret.errors import UsageError
from imgret.registry import param
from imgret.rerankers.base import Listed, Reranker
from imgret.rerankers.joining import joined

WIDEST = 1e38  # difference of scores that float32 holds


@dataclasses.dataclass(frozen=True)
class LateParams(registry.Params):
    """Of every fusion."""

    weights: tuple[float, ...] = param((), "weight of each ranking, in their order; none: 1 each", above=0.0, maximum=1e6)


class LateFusion(Reranker):
    """Base of late fusions: a subclass has `values`.

    A query's list has the photos of all its lists, as many as the longest has; equal scores go by the first list that has the photos. A
    ranking that has not been asked a query is silent: the weights of the others are divided by their sum.

    The photo that asks, where it is in the gallery, counts as if its score were the highest of the others in the list: how alike a photo is
    to itself says nothing of how scores are spread.
    """

    rankings = (2, None)
    Params = LateParams

    def rerank(self, queries, known):
        """Fused lists; see `Reranker.rerank`.

        Raises
        ------
        UsageError
            If `weights` are not as many as the rankings.
        """
        return [self._fused(query, known) for query in queries]

    def _fused(self, query, known):
        weights = self._weights(len(query.lists))
        speaking = [number for number, listed in enumerate(query.lists) if len(listed)]
        if not speaking:
            return Listed(np.zeros(0, np.int64), np.zeros(0, np.float32))
        lists = [query.lists[number] for number in speaking]
        parts = self.values(lists, query.itself, weights[speaking] / weights[speaking].sum(), speaking)
        given = [(listed.ids, *part) for listed, part in zip(lists, parts, strict=True)]
        found = joined(given, known.size, max(map(len, lists)))
        return Listed(found.ids, self.score(found.scores))

    def _weights(self, count):
        weights = self.params.weights or (1.0,) * count
        if len(weights) != count:
            raise UsageError(f"`weights` has {len(weights)} values for {count} rankings: give one for each")
        return np.array(weights)

    def values(self, lists, itself, weights, numbers):
        """What each list of one query adds to its photos' scores.

        Parameters
        ----------
        lists : list of Listed
            Those that are not empty.
        itself : int
            See `imgret.rerankers.base.Query`.
        weights : ndarray, shape (n,), float64
            Theirs; their sum is 1.
        numbers : list of int
            Which rankings they are of.

        Returns
        -------
        list of (ndarray of shape (k,), float32; float)
            For each list what it adds to its photos, and to those that it does not have.
        """
        raise NotImplementedError(type(self).__name__)

    def score(self, sums):
        """What is given for sums of `values`, (k,): a rising function of them."""
        return sums


def spread(listed, itself):
    """Scores of a list from 0, of its last photo, to 1, of its first; 1 where all are equal.

    Parameters
    ----------
    listed : Listed
        Not empty.
    itself : int
        The photo that asks, or -1: it gets 1, and the others are spread as if it were not there.

    Returns
    -------
    ndarray, shape (k,), float32
    """
    scores = listed.scores
    if itself >= 0 and len(listed) > 1:
        best = scores[1] if listed.ids[0] == itself else scores[0]
        scores = np.where(listed.ids == itself, best, scores)
    low, high = float(scores[-1]), float(scores[0])
    if high - low > WIDEST:
        scores, low, high = scores / 4, low / 4, high / 4
    if high == low:
        return np.ones(len(listed), np.float32)
    scores = scores - np.float32(low)
    scores /= np.float32(high - low)
    return scores
