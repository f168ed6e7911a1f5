"""What a miner is."""

import dataclasses

from imgret import registry


class Miner:
    """Base of all miners: finds the negatives of queries by the vectors that the network gives now.

    Parameters
    ----------
    params : Params

    Attributes
    ----------
    name : str
        As the family's table has it.
    looks : bool
        Whether it looks at vectors at all.
    """

    name = None
    looks = True

    @dataclasses.dataclass(frozen=True)
    class Params(registry.Params):
        """None."""

    def __init__(self, params=None):
        self.params = self.Params() if params is None else params

    def mine(self, queries, positives, vectors, pool, relations, count, seed):
        """Negatives of queries.

        Parameters
        ----------
        queries, positives : ndarray, shape (Q,), int64
            Photos that ask, and one that matches each.
        vectors : callable
            `vectors(photos)`: rows of unit L2 norm, ndarray (n, D) float32, for an ascending ndarray of photos; read from a file, so that
            memory stays flat. Not called where `looks` is False.
        pool : ndarray, shape (P,), int64
            Photos that may be negatives, ascending.
        relations : imgret.relations.Relations
            `never(photo)` are no negatives of a photo; two negatives of a query are never of one of its `clusters`.
        count : int
            Negatives per query.
        seed : int
            For whatever is drawn: the same seed, the same negatives.

        Returns
        -------
        ndarray, shape (Q, count), int64
            Hardest first; -1 where the pool has no more.
        """
        raise NotImplementedError

    def state(self):
        """What it keeps from one time to the next, by name: dict of str to ndarray. `restore` takes it."""
        return {}

    def restore(self, state):
        """Go on from a `state`."""
