"""Discriminative query expansion: a linear classifier between what was found and what surely does not match."""

import dataclasses

import numpy as np

from imgret.registry import param
from imgret.rerankers.expansion import Expansion, ExpansionParams

TOLERANCE, MOST_STEPS = 1e-10, 100


class Dqe(Expansion):
    """Discriminative query expansion (Arandjelović & Zisserman 2012, section 4).

    A linear SVM is learned of the query and the photos that were found, against the last `negatives` of the list, none of them in its
    first half: squared hinge loss, its offset one more dimension, by Newton's method (Chapelle 2007). Photos are ranked by its normal
    vector, which asks the index: by "l2" that is the same order only where all vectors are of one length. As published only verified
    photos are positive; with `verified=false` the first `depth` of the list are, whatever they are. A query whose list is too short for
    negatives keeps it.

    Parameters
    ----------
    params : Params

    References
    ----------
    R. Arandjelović & A. Zisserman, "Three things everyone should know to improve object retrieval", CVPR 2012.
    O. Chapelle, "Training a support vector machine in the primal", Neural Computation 2007.
    """

    name = "dqe"

    @dataclasses.dataclass(frozen=True)
    class Params(ExpansionParams):
        negatives: int = param(200, "photos that do not match: the last of the list", minimum=1)
        c: float = param(1.0, "what an error costs, of the SVM", above=0.0)

    def chosen(self, query):
        """See `Expansion.chosen`; none where there are no negatives."""
        found = super().chosen(query)
        return found if len(self._negative(query, found)) else found[:0]

    def combined(self, query, ranks, vectors, known):
        """See `Expansion.combined`."""
        negative = known.vectors(query.list.ids[self._negative(query, ranks)])
        x = np.concatenate([vectors, self.prepared(negative, known)])
        return normal(x, np.repeat([1.0, -1.0], [len(vectors), len(negative)]), self.params.c)

    def _negative(self, query, ranks):
        """Ranks of the photos that do not match."""
        last = np.arange(len(query.list))[(len(query.list) + 1) // 2 :][-self.params.negatives :]
        return last[~np.isin(last, ranks) & (query.list.ids[last] != query.itself)]


def normal(x, signs, c):
    """The normal vector of a linear SVM.

    ½ |w|² + ½ b² + C Σ max(0, 1 − y (w·x + b))² is least: C = `c`.

    Parameters
    ----------
    x : ndarray, shape (n, V), float32
    signs : ndarray, shape (n,), float64
        y: 1 or -1.
    c : float

    Returns
    -------
    ndarray, shape (V,), float64
    """
    wide = x.astype(np.float64)
    gram = wide @ wide.T + 1

    def cost(betas):
        decided = gram @ betas
        return betas @ decided / 2 + c * np.square(np.maximum(1 - signs * decided, 0)).sum(), decided

    betas = np.zeros(len(x))  # w = Σ β x
    least, decided = cost(betas)
    for _ in range(MOST_STEPS):
        wrong = np.flatnonzero(signs * decided < 1)
        aim = np.zeros(len(x))
        aim[wrong] = np.linalg.solve(gram[np.ix_(wrong, wrong)] + np.eye(len(wrong)) / (2 * c), signs[wrong])
        step = 1.0
        while (found := cost(betas + step * (aim - betas)))[0] > least and step > TOLERANCE:
            step /= 2
        betas, before, (least, decided) = betas + step * (aim - betas), least, found
        if before - least <= TOLERANCE * before:
            break
    return betas @ wide
