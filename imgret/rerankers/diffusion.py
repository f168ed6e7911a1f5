"""Diffusion: what a query finds passes on to the neighbours of what it finds."""

import dataclasses

import numpy as np

from imgret.registry import Params, param
from imgret.rerankers.base import Listed, Reranker, Taken, below
from imgret.rerankers.neighbours import Neighbours

TOLERANCE, MOST_STEPS = 1e-6, 200
REACHED = 1e-6  # of the highest: less is what conjugate gradients leave


class Diffusion(Reranker):
    """Diffusion on the graph of neighbours.

    (I − α S) f = (1 − α) y is solved by conjugate gradients (Iscen et al. 2017, equations 4 and 8). y has the affinities to the `depth`
    best photos of the list, to the power of `gamma`; those of several rankings, of several vectors or regions of a query, are added up. S =
    D^-1/2 A D^-1/2, where A has the affinities of neighbours that have each other among their `k` nearest, to the same power. Photos are
    ranked by f, also such as were not in the list; those that nothing reaches stay below.

    Deviations: affinities are what exceeds the background (see `imgret.rerankers.neighbours.Neighbours`), and a photo is its own
    neighbour, with `loop` as affinity. As it was published (`background=false loop=0 alpha=0.99 k=50 depth=10`) D makes the weak links
    of a photo without close neighbours as strong as any, so that a query that has one or two matches loses them to the neighbours of what
    they resemble. The published form is for queries with dozens of matches.

    The query's own photo gives nothing: it keeps its affinity, where that is more than it gets. Memory: `k` neighbours a photo, and four
    vectors of a number each; time: some dozen passes over the graph for each query.

    Parameters
    ----------
    params : Params

    References
    ----------
    A. Iscen, G. Tolias, Y. Avrithis, T. Furon & O. Chum, "Efficient diffusion on region manifolds: recovering small objects with compact
    CNN representations", CVPR 2017.
    D. Zhou, J. Weston, A. Gretton, O. Bousquet & B. Schölkopf, "Ranking on data manifolds", NIPS 2003.
    """

    name = "diffusion"
    takes = (Taken(("graph",), "to diffuse on"),)
    rankings = (1, None)

    @dataclasses.dataclass(frozen=True)
    class Params(Params):
        depth: int = param(200, "photos of the list that it starts from, the best", minimum=1)
        k: int = param(10, "neighbours of a photo, of those in the graph", minimum=1)
        alpha: float = param(0.9, "how much is passed on, of each photo to its neighbours", minimum=0.0, maximum=0.999)
        gamma: float = param(3.0, "power of affinities", above=0.0)
        loop: float = param(1.0, "a photo's affinity to itself; 0 as published", minimum=0.0)
        background: bool = param(True, "affinities are what a similarity exceeds that to the k-th neighbour; false: similarities")

    def begin(self, known):
        """Read the graph, and keep what is mutual in it."""
        from imgret.rerankers.walks import mutual

        self._near = near = Neighbours(known, self.params.k, self.params.background)
        weights = near.affinities ** np.float32(self.params.gamma)
        starts, columns = np.empty(len(weights) + 1, np.int64), np.empty(weights.size, np.int32)
        values = np.empty(weights.size, np.float32)
        mutual(near.ids, weights, starts, columns, values)
        columns, values = columns[: starts[-1]].copy(), values[: starts[-1]].copy()
        rows = np.repeat(np.arange(len(weights), dtype=np.int32), np.diff(starts))
        degrees = np.bincount(rows, values, len(weights)) + self.params.loop
        root = np.where(degrees > 0, 1 / np.sqrt(np.where(degrees > 0, degrees, 1)), 0)
        self._graph = starts, columns, (values * root[rows] * root[columns]).astype(np.float32)
        self._own = (self.params.loop * root * root).astype(np.float32)

    def rerank(self, queries, known):
        """See `Reranker.rerank`."""
        return [_by(self._diffused(query, known.size), query.lists) for query in queries]

    def _diffused(self, query, size):
        """f, (N,)."""
        from imgret.rerankers.walks import solve

        y, f, params = np.zeros(size), np.zeros(size), self.params
        for number, listed in enumerate(query.lists):
            found = self._near.of_query(query, params.depth + 1, number)[: params.depth + 1]
            y[listed.ids[: len(found)]] += np.maximum(found, 0).astype(np.float64) ** params.gamma
        own = 0.0
        if query.itself >= 0:
            own, y[query.itself] = y[query.itself], 0
        solve(*self._graph, self._own, params.alpha, (1 - params.alpha) * y, f, TOLERANCE, MOST_STEPS)
        if own:
            f[query.itself] = max(f[query.itself], own)
        return f


def _by(f, lists):
    """A list of the photos that f reaches, and of those of the longest list that it does not below, as long as that is."""
    first = max(lists, key=len)
    reached = np.flatnonzero(f > REACHED * f.max(initial=0))
    order = reached[np.argsort(-f[reached], kind="stable")][: len(first)]
    if not len(order):
        return first
    scores, rest = f[order].astype(np.float32), ~np.isin(first.ids, order)
    scores = np.concatenate([scores, below(first.scores[rest], float(scores[-1]), np.inf)])
    return Listed(np.concatenate([order, first.ids[rest]])[: len(first)], scores[: len(first)])
