"""Query expansion with weights that fall with the similarity."""

import dataclasses

import numpy as np

from imgret.registry import param
from imgret.rerankers.expansion import Expansion, ExpansionParams, cosines


class AlphaQe(Expansion):
    """α-weighted query expansion: a photo counts as the α-th power of its cosine with the query (Radenović et al. 2019, section 3.4).

    A photo that hardly resembles the query hardly counts, so that a query whose list holds little is asked again as it was. A cosine below
    0 counts nothing.

    Parameters
    ----------
    params : Params

    References
    ----------
    F. Radenović, G. Tolias & O. Chum, "Fine-tuning CNN image retrieval with no human annotation", PAMI 2019.
    """

    name = "alpha-qe"

    @dataclasses.dataclass(frozen=True)
    class Params(ExpansionParams):
        alpha: float = param(3.0, "power of a photo's cosine with the query", minimum=0.0)

    def weights(self, given, others, scores):
        """See `Expansion.weights`."""
        return np.maximum(cosines(given, others), 0) ** self.params.alpha
