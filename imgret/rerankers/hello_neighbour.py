"""Hello neighbour: photos whose neighbour the query is, as they are the query's, go first."""

import dataclasses

import numpy as np

from imgret.registry import Params, param
from imgret.rerankers.base import Listed, Reranker, Taken, below
from imgret.rerankers.neighbours import Neighbours


class HelloNeighbour(Reranker):
    """k-reciprocal nearest neighbours: of the `k` best photos of the list, those first that have the query among their `k` nearest too.

    The close set of Qin et al. 2011 (section 3), in the order of the list; the rest stays in its order below. Deviations: the close set
    does not grow by what is close to it, and distances are not local: `k-reciprocal` goes on from here. The query's list and the graph
    have to be of the same index.

    Parameters
    ----------
    params : Params

    References
    ----------
    D. Qin, S. Gammeter, L. Bossard, T. Quack & L. Van Gool, "Hello neighbor: accurate object retrieval with k-reciprocal nearest
    neighbors", CVPR 2011.
    """

    name = "hello-neighbour"
    takes = (Taken(("graph",), "to know each photo's neighbours"),)

    @dataclasses.dataclass(frozen=True)
    class Params(Params):
        k: int = param(5, "nearest photos among which each has to have the other", minimum=1)

    def begin(self, known):
        """Read the graph."""
        self._near = Neighbours(known, self.params.k)

    def rerank(self, queries, known):
        """See `Reranker.rerank`."""
        return [self._ranked(query.list, query.itself) for query in queries]

    def _ranked(self, listed, itself):
        place = np.flatnonzero(listed.ids != itself)[: self.params.k]
        close = listed.ids == itself
        close[place] = self._near.of_photos(listed.ids[place], listed.scores[place]) >= 0
        if close.all() or not close.any():
            return listed
        rest = listed.scores[~close]
        least = listed.scores[close].min()
        if rest[0] >= least:
            rest = below(rest, least, np.inf) if least > 0 else rest - (rest[0] - least)
        return Listed(np.concatenate([listed.ids[close], listed.ids[~close]]), np.concatenate([listed.scores[close], rest]))
