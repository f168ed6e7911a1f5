"""Query expansion with weights that fall with the similarity."""

import dataclasses

import numpy as np

from imgret.arrays import unit_rows
from imgret.registry import param
from imgret.rerankers.expansion import Expansion, ExpansionParams


class AlphaQe(Expansion):
    """α-weighted query expansion: a photo counts as the α-th power of its cosine with the query (Radenović et al. 2019, section 3.4).

    A photo that hardly resembles the query hardly counts, so that a query whose list holds little is asked again as it was.

    Deviation: how much of a cosine is chance depends on what describes the photos. So with `background` a photo counts as the α-th power of
    (s − b) / (1 − b), how far its cosine s exceeds b, that of the first photo behind those that are averaged. Without, or where only
    verified photos are averaged, it counts as published: then nothing is lost only where photos that do not match have cosines near 0,
    as VLAD has, and not those of a network. What is below 0 counts nothing.

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
        verified: bool = param(False, "average only photos whose evidence says that they match; they stay in front")
        alpha: float = param(3.0, "power of what a photo's cosine with the query exceeds the background", minimum=0.0)
        background: bool = param(True, "what counts is by how much a cosine exceeds that of the first photo that is not averaged")

    def weights(self, query, ranks, vectors, known):
        """See `Expansion.weights`."""
        cosines = _cosines(vectors[0], vectors[1:])
        if self.params.background and not self.params.verified:
            others = np.flatnonzero(query.list.ids != query.itself)
            beyond = others[min(self.params.depth, len(others) - 1)]
            background = min(_cosines(vectors[0], known.vectors(query.list.ids[[beyond]]))[0], 1 - 1e-6)
            cosines = (cosines - background) / (1 - background)
        return np.maximum(cosines, 0) ** self.params.alpha


def _cosines(given, others):
    """Cosines of a vector (V,) and others (n, V): (n,), float64; 0 of a vector of zeros."""
    return unit_rows(others).astype(np.float64) @ unit_rows(given[None])[0].astype(np.float64)
