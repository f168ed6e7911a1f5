"""Negatives that are near, of some that are drawn for each query and those that were near the last time."""

import dataclasses

import numpy as np

from imgret import registry
from imgret.miners.base import Miner
from imgret.miners.nearest import Nearest, likeness
from imgret.registry import SAMPLING, param


class Sampled(Miner):
    """The hardest of a fresh sample for each query, and of those that were its hardest the last time; at most one of a cluster.

    In a large city the nearest of all photos are often of the same place, whose position is wrong: a sample has few of these, and the
    hardest of the last time, which stay among the candidates, keep what was learned of before in sight. Where the pool is no larger than
    the sample, all of it is looked at. Where two are as near, the one of the smaller number comes first.

    References
    ----------
    R. Arandjelović, P. Gronat, A. Torii, T. Pajdla & J. Sivic, "NetVLAD: CNN architecture for weakly supervised place recognition", CVPR
    2016, appendix A (1000 are drawn, and the 10 hardest of the epoch before are kept).
    """

    name = "sampled"

    @dataclasses.dataclass(frozen=True)
    class Params(registry.Params):
        """How many are drawn."""

        sampled: int = param(
            1000,
            "miner=sampled: photos drawn for each query to find negatives among",
            role=SAMPLING,
            minimum=1,
            maximum=10_000_000,
            newer=True,
        )

    def __init__(self, params=None):
        super().__init__(params)
        self._before = {}

    def mine(self, queries, positives, vectors, pool, relations, count, seed):
        """Negatives of queries; see `Miner`. What is drawn for a photo depends on the seed and its number."""
        asked, places = np.unique(queries, return_inverse=True)
        if len(pool) <= self.params.sampled:
            answer = Nearest(vectors, pool, relations, count).of(asked)
        else:
            answer = np.stack([self._of(query, vectors, pool, relations, count, seed) for query in asked.tolist()])
        self._before |= dict(zip(asked.tolist(), answer, strict=True))
        return answer[places]

    def _of(self, query, vectors, pool, relations, count, seed):
        never, draw = relations.never(query), np.random.default_rng((seed, query))
        drawn = pool[draw.choice(len(pool), min(len(pool), self.params.sampled + len(never)), replace=False)]
        drawn = drawn[~np.isin(drawn, never)][: self.params.sampled]
        before = self._before.get(query, drawn[:0])
        some = np.union1d(drawn, before[np.isin(before, pool)])
        some = some[np.lexsort((some, -likeness(vectors, query, some)))]
        _, first = np.unique(relations.clusters[some], return_index=True)
        found = some[np.sort(first)[:count]]
        return np.pad(found, (0, count - len(found)), constant_values=-1)

    def state(self):
        """The hardest of each query that was asked; see `Miner.state`."""
        if not self._before:
            return {}
        queries = sorted(self._before)
        return {"mined.queries": np.array(queries, dtype=np.int64), "mined.hardest": np.stack([self._before[query] for query in queries])}

    def restore(self, state):
        """See `Miner.restore`."""
        if state:
            self._before = dict(zip(state["mined.queries"].tolist(), state["mined.hardest"], strict=True))
