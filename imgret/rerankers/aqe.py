"""Average query expansion: the mean of the query and of what was found."""

import numpy as np

from imgret.rerankers.expansion import Expansion


class Aqe(Expansion):
    """Average query expansion, of vectors: the mean of the query's and those of photos that were found (Chum et al. 2007, section 4).

    Chum et al. average verified photos only (`verified=true`). Without that it finds more where queries have many positives, and loses
    where they have few.

    Parameters
    ----------
    params : Params

    References
    ----------
    O. Chum, J. Philbin, J. Sivic, M. Isard & A. Zisserman, "Total recall: automatic query expansion with a generative feature model for
    object retrieval", ICCV 2007.
    """

    name = "aqe"

    def weights(self, given, others, scores):
        """All alike; see `Expansion.weights`."""
        return np.ones(len(others))
