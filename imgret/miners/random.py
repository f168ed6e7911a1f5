"""Negatives that are drawn."""

import numpy as np

from imgret.miners.base import Miner


class Random(Miner):
    """Any photos that do not match, at most one of a cluster: each draw takes all that are left alike.

    What is drawn for a photo depends on the seed and its number, not on what else is asked.
    """

    name = "random"
    looks = False

    def mine(self, queries, positives, vectors, pool, relations, count, seed):
        """Negatives of queries; see `Miner`."""
        answer = np.full((len(queries), count), -1, dtype=np.int64)
        for row, query in zip(answer, queries.tolist(), strict=True):
            generator = np.random.default_rng((seed, query))
            never = set(relations.never(query).tolist())
            taken, found = set(), 0
            for photo in _drawn(generator, pool, 4 * count):
                cluster = relations.clusters[photo]
                if photo in never or cluster in taken:
                    continue
                taken.add(cluster)
                row[found] = photo
                found += 1
                if found == count:
                    break
        return answer


def _drawn(generator, pool, few):
    """Photos of a pool in a random order, some of them twice: a few draws, and only then all of them."""
    if len(pool):
        yield from pool[generator.integers(len(pool), size=few)].tolist()
    yield from pool[generator.permutation(len(pool))].tolist()
