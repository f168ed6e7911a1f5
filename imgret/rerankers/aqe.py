"""Average query expansion: the mean of the query and of what was found."""

import numpy as np

from imgret.rerankers.expansion import Expansion


class Aqe(Expansion):
    """Average query expansion, of vectors: the mean of the query's and those of photos that were found (Chum et al. 2007, section 4).

    As Chum et al. have it only verified photos are averaged. With `verified=false` the first of the list are, whatever they are: a gain for
    queries with dozens of matches, and a loss of up to twenty points for those with one or two.

    Parameters
    ----------
    params : Params

    References
    ----------
    O. Chum, J. Philbin, J. Sivic, M. Isard & A. Zisserman, "Total recall: automatic query expansion with a generative feature model for
    object retrieval", ICCV 2007.
    """

    name = "aqe"

    def weights(self, query, ranks, vectors, known):
        """All alike; see `Expansion.weights`."""
        return np.ones(len(ranks))
