"""Late fusion: what the rerankers that put several rankings together have in common."""

import copy
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
    verified: bool = param(False, "photos that the first ranking verified stay first, in its order: only the rest is fused")


class LateFusion(Reranker):
    """Base of late fusions: a subclass has `values`.

    A query's list has the photos of all its lists, as many as the longest has; equal scores go by the first list that has the photos. A
    ranking that has not been asked a query is silent: the weights of the others are divided by their sum.

    The photo that asks, where it is in the gallery, counts as if its score were the highest of the others in the list: how alike a photo is
    to itself says nothing of how scores are spread.

    With `verified` the photos that are verified in the first list are taken out of all lists, and go above all others as they were.
    """

    rankings = (2, None)
    Params = LateParams

    def check(self, rankings):
        """See `Reranker.check`: a weight for each."""
        self._weights(rankings)

    def rerank(self, queries, known):
        """Fused lists; see `Reranker.rerank`.

        Raises
        ------
        UsageError
            If `weights` are not as many as the rankings.
        """
        return [self._above(query, known) if self.params.verified else self.fused(query, known) for query in queries]

    def _above(self, query, known):
        """The fused list, with what is verified above it."""
        first, longest = query.list, max(map(len, query.lists))
        sure, scores = first.ids[first.verified], first.scores[first.verified]
        query = copy.copy(query)
        query.lists = [without(listed, sure, known.size) for listed in query.lists]
        rest = self.fused(query, known)
        if len(rest) and len(sure) and scores[-1] <= rest.scores[0]:
            scores = scores + (rest.scores[0] - scores[-1] + 1)
        return Listed(np.concatenate([sure, rest.ids])[:longest], np.concatenate([scores, rest.scores])[:longest])

    def fused(self, query, known):
        """The fused list of one query."""
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


def without(listed, photos, size):
    """A list without some photos of a gallery of a size, as a ranking that has not looked at them would have it."""
    if not len(photos):
        return listed
    out = np.zeros(size, bool)
    out[photos] = True
    kept = ~out[listed.ids]
    return Listed(listed.ids[kept], listed.scores[kept])


def spread(listed, itself, floor=0.0):
    """Scores of a list from 0, or `floor`, of its last photo, to 1, of its first; 1 where all are equal.

    Parameters
    ----------
    listed : Listed
        Not empty.
    itself : int
        The photo that asks, or -1: it gets 1, and the others are spread as if it were not there.
    floor : float
        Less than 1.

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
    scores /= np.float32((high - low) / (1 - floor))
    scores += np.float32(floor)
    return scores


def product(lists, itself, weights, floor):
    """What lists add to the logarithm of a product: w_i log(f + (1 - f) u_i), of scores u_i as `spread` gives them.

    Parameters
    ----------
    lists : list of Listed
    itself : int
    weights : sequence of float
    floor : float
        f: what the last photo of a list counts, the first being 1.

    Returns
    -------
    list of (ndarray of shape (k,), float32; float)
        See `LateFusion.values`.
    """
    parts = []
    for listed, weight in zip(lists, weights, strict=True):
        logs = spread(listed, itself, floor)
        np.log(logs, out=logs)
        logs *= np.float32(weight)
        parts.append((logs, float(logs[-1])))
    return parts
