"""Classes that training sees beside those that it does not: both are scored, and the second decide."""

import numpy as np

from imgret.relations import NO_CLASS
from imgret.seeds import seed_of

LEAST = 2  # photos of a class that are worth asking for each other


def held_photos(classes, names, share, least, seed):
    """Some photos of each class, drawn by the seed.

    Parameters
    ----------
    classes : ndarray, shape (N,), int64
        `NO_CLASS` where a photo has none.
    names : sequence of bytes
    share : float
        Of the photos of each class; of one that has any taken, two at least.
    least : int
        Photos that must be left of a class.
    seed : int

    Returns
    -------
    ndarray of int64
        Ascending.
    """
    found = []
    for number in np.unique(classes[classes != NO_CLASS]):
        members = sorted(np.flatnonzero(classes == number).tolist(), key=lambda photo: seed_of(seed, "seen", names[photo]))
        count = max(LEAST, round(share * len(members))) if share else 0
        if len(members) - count >= least:
            found += members[:count]
    return np.array(sorted(found), dtype=np.int64)


class Sides:
    """Two validations at once: the score is that of classes that training does not see.

    Parameters
    ----------
    unseen, seen : object
        Each with `pairs`, `score`, `measure`, `protocol` and `told`; see `imgret.training.heldout.HeldOut`.
    """

    def __init__(self, unseen, seen):
        self._unseen, self._seen = unseen, seen
        self.pairs = [*unseen.pairs, *seen.pairs]
        self.measure, self.protocol = unseen.measure, unseen.protocol
        self.told = unseen.told | {f"seen.{name}": value for name, value in seen.told.items()}

    def score(self, vectors):
        """The measure on the unseen, and all figures: those of the seen behind `seen.`."""
        first = len(self._unseen.pairs)
        value, figures = self._unseen.score(vectors[:first])
        return value, figures | {f"seen.{name}": each for name, each in self._seen.score(vectors[first:])[1].items()}
