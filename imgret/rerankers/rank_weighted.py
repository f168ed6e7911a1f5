"""Query expansion with weights that fall with the rank."""

import numpy as np

from imgret.rerankers.expansion import Expansion


class RankWeighted(Expansion):
    """Average query expansion with decay: of n photos at most the r-th counts (n + 1 − r) / (n + 1) (Gordo et al. 2017, section 5.2).

    The first of the list decide: less depends on how many are averaged than with `aqe`. As there, only verified photos are averaged,
    but with `verified=false`.

    Parameters
    ----------
    params : Params

    References
    ----------
    A. Gordo, J. Almazán, J. Revaud & D. Larlus, "End-to-end learning of deep visual representations for image retrieval", IJCV 2017.
    """

    name = "rank-weighted"

    def weights(self, query, ranks, vectors, known):
        """See `Expansion.weights`."""
        most = self.params.depth + 1
        return (most - np.arange(1, len(ranks) + 1)) / most
