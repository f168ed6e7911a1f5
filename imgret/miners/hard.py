"""Negatives that are near."""

import numpy as np

from imgret.miners.base import Miner
from imgret.miners.nearest import Nearest


class Hard(Miner):
    """The nearest photos that do not match, at most one of a cluster.

    All of the pool is looked at; where two are as near, the one of the smaller number comes first.

    References
    ----------
    F. Radenović, G. Tolias & O. Chum, "CNN image retrieval learns from BoW: unsupervised fine-tuning with hard examples", ECCV 2016,
    section 3.2.
    """

    name = "hard"

    def mine(self, queries, positives, vectors, pool, relations, count, seed):
        """Negatives of queries; see `Miner`. Nothing is drawn."""
        asked, places = np.unique(queries, return_inverse=True)
        return Nearest(vectors, pool, relations, count).of(asked)[places]


class SemiHard(Miner):
    """The nearest photos that do not match of those farther than the one that does, at most one of a cluster.

    Where these are too few, the nearest of all others follow. (A loss with a margin passes over those that are far enough.)

    References
    ----------
    F. Schroff, D. Kalenichenko & J. Philbin, "FaceNet: a unified embedding for face recognition and clustering", CVPR 2015, section 3.2.
    """

    name = "semi-hard"

    def mine(self, queries, positives, vectors, pool, relations, count, seed):
        """Negatives of queries; see `Miner`. Nothing is drawn."""
        return Nearest(vectors, pool, relations, count).of(queries, positives)
