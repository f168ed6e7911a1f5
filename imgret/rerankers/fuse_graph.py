"""Several rankings to one by the graphs of who is near whom: query-specific fusion."""

import collections
import dataclasses

import numpy as np

from imgret.errors import UsageError
from imgret.registry import param
from imgret.rerankers.base import Listed, Taken
from imgret.rerankers.late import LateFusion, LateParams, product

STRANGER = -1  # the query, where it is no photo of the gallery


class FuseGraph(LateFusion):
    """Late fusion by graphs of reciprocal neighbours.

    By each ranking, photos i and j are joined where each is among the other's `k` nearest; the edge weighs a^l J(i, j), with the Jaccard
    index J of their neighbourhoods (they themselves among them) and l steps, of `layers` at most, from the query to the nearer of the two.
    The graphs are grown from the query, their edges added up, those of ranking m times its weight. Photos in the graph go first: by the
    probability of a walk along the edges that starts again at the query (pagerank), or in the order in which they join it, the one next
    that has most weight to those before (density). All others go below, by `fuse`'s product.

    It is for galleries where a query has several matches, which confirm each other: of one or two there is no graph to speak of. The
    gallery's own lists are rankings of the gallery against itself, one for each ranking, in their order, or one for all.

    References
    ----------
    S. Zhang, M. Yang, T. Cour, K. Yu & D. N. Metaxas, Query specific fusion for image retrieval, ECCV 2012, sections 3.1 to 3.3. (A query
    that is no photo of the gallery is near i where its score with i is no lower than that of i's k-th. Walks start again at the query.)
    """

    name = "fuse-graph"
    takes = (Taken(("graph",), "to know who is near whom"),)

    @dataclasses.dataclass(frozen=True)
    class Params(LateParams):
        k: int = param(10, "nearest photos of each", minimum=1, maximum=10_000)
        layers: int = param(2, "steps from the query, at most", minimum=1, maximum=100)
        photos: int = param(500, "photos from which on a graph grows no more", minimum=1, maximum=5000)
        decay: float = param(0.8, "factor of an edge's weight for each step from the query", above=0.0, maximum=1.0)
        how: str = param("pagerank", "how photos of the graph are ranked", choices=("pagerank", "density"))
        again: float = param(0.15, "pagerank: chance to start again at each step", above=0.0, maximum=1.0)
        floor: float = param(0.01, "what the last photo of a list counts, the first being 1, below the graph", above=0.0, maximum=0.99)

    def begin(self, known):
        """Look at how many graphs there are; see `Reranker.begin`."""
        self._graphs = known.graphs

    def values(self, lists, itself, weights, numbers):
        """See `LateFusion.values`."""
        return product(lists, itself, weights, self.params.floor)

    def score(self, sums):
        """See `LateFusion.score`."""
        return np.exp(sums)

    def fused(self, query, known):
        """See `LateFusion.fused`."""
        count = len(query.lists)
        if self._graphs not in (1, count):
            raise UsageError(f"there are {self._graphs} graphs for {count} rankings: give one for each, in their order, or one for all")
        below, weights, edges = super().fused(query, known), self._weights(count), collections.Counter()
        for number, listed in enumerate(query.lists):
            if len(listed):
                near = Nearby(listed, query.itself, self.params.k, lambda photo, number=number: self._own(known, photo, number))
                for pair, weight in near.edges(self.params).items():
                    edges[pair] += weight * weights[number]
        photos, scores = ranked(edges, query.itself, below.ids, self.params)
        rest = ~np.isin(below.ids, photos)
        ids = np.concatenate([photos, below.ids[rest]])[: len(below)]
        return Listed(ids, np.concatenate([1 + scores, below.scores[rest]])[: len(below)])

    def _own(self, known, photo, number):
        """The list of a photo of the gallery: ids and scores."""
        ids, scores = known.graph(photo, photo + 1, number if self._graphs > 1 else 0)
        there = ids[0] >= 0
        return ids[0][there][: self.params.k].tolist(), scores[0][there][: self.params.k].tolist()


class Nearby:
    """Who is near whom by one ranking, as seen from a query.

    Parameters
    ----------
    listed : Listed
    itself : int
        The query's photo, or -1.
    k : int
    own : callable
        (ids, scores) of a photo's own list, without itself.
    """

    def __init__(self, listed, itself, k, own):
        self.query, self._listed, self._k, self._own = itself, listed, k, own
        near = [int(photo) for photo in listed.ids[: k + 1] if photo != itself][:k]
        self._near = {itself: frozenset([itself, *near])}

    def near(self, photo):
        """A photo, and those near it."""
        if photo not in self._near:
            ids, scores = self._own(photo)
            stranger = [STRANGER] if self.query == STRANGER and (len(ids) < self._k or self._score(photo) >= scores[-1]) else []
            self._near[photo] = frozenset([photo, *ids, *stranger])
        return self._near[photo]

    def _score(self, photo):
        """The query's score with a photo; less than any where it is not in its list."""
        return self._listed.scores[self._listed.ids == photo].max(initial=-np.inf)

    def edges(self, params):
        """Weights of the edges that are reached from the query, by their ends, the smaller first."""
        found, reached, frontier = {}, {self.query}, [self.query]
        for layer in range(params.layers):
            nearer = []
            for photo in frontier:
                for other in sorted(self.near(photo) - {photo}):
                    pair = (min(photo, other), max(photo, other))
                    if pair in found or photo not in self.near(other):
                        continue
                    both = len(self.near(photo) & self.near(other))
                    found[pair] = params.decay**layer * both / len(self.near(photo) | self.near(other))
                    if other not in reached:
                        reached.add(other)
                        nearer.append(other)
            frontier = nearer
            if len(reached) >= params.photos:
                break
        return found


def ranked(edges, query, order, params):
    """Photos of a graph, the best first.

    Parameters
    ----------
    edges : dict of (int, int) to float
    query : int
    order : ndarray, shape (k,), int64
        Photos as they go where they are equal; those that are not there behind them, by number.
    params : FuseGraph.Params

    Returns
    -------
    photos : ndarray, shape (n,), int64
        The query among them where it is in `order`.
    scores : ndarray, shape (n,), float32
        From 0 to 1, falling.
    """
    place = {photo: number for number, photo in enumerate(order.tolist())}
    nodes = sorted({photo for pair in edges for photo in pair} - {query}, key=lambda photo: (place.get(photo, len(place)), photo))
    nodes = [query, *nodes]
    number = {photo: row for row, photo in enumerate(nodes)}
    weights = np.zeros((len(nodes), len(nodes)))
    for (one, other), weight in edges.items():
        weights[number[one], number[other]] = weights[number[other], number[one]] = weight
    scores = walked(weights, params.again) if params.how == "pagerank" else gathered(weights)
    scores[0] = scores.max()
    rows = np.argsort(-scores, kind="stable")
    rows = rows if query in place else rows[1:]
    return np.array(nodes, np.int64)[rows], scores[rows].astype(np.float32)


def walked(weights, again):
    """Of each node, the probability of a walk from the first one to be there: (n,), in (0, 1]."""
    sums = weights.sum(axis=1, keepdims=True)
    steps = np.divide(weights, sums, out=np.zeros_like(weights), where=sums > 0)
    start = np.zeros(len(weights))
    start[0] = again
    return np.clip(np.linalg.solve(np.eye(len(weights)) - (1 - again) * steps.T, start), 0, 1)


def gathered(weights):
    """Of each node, from 1 to 1 / n, when it joins the first one: the next is that with most weight to those that are there."""
    count = len(weights)
    scores, joined, sums = np.zeros(count), np.zeros(count, bool), weights[0].copy()
    scores[0], joined[0] = 1, True
    for number in range(1, count):
        best = int(np.argmax(np.where(joined, -1, sums)))
        scores[best], joined[best] = 1 - number / count, True
        sums += weights[best]
    return scores
