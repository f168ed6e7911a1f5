"""Bags of words: frequencies, weighted, compared as vectors or by BM25."""

import dataclasses

import numpy as np

from imgret.indexes.inverted.lists import starts_of
from imgret.indexes.inverted.scorer import Scorer, sound
from imgret.indexes.inverted.weighting import Weighted
from imgret.registry import param


class Bow(Scorer):
    """The inner product of two photos' weighted frequencies, by their norms: f(tf) idf of each word.

    "bm25": Σ tf' idf tf (k1 + 1) / (tf + k1 (1 − b + b L / L̄)), tf' being the query's frequency, L the sum of a photo's and L̄ the mean of
    those; idf as everywhere here, not that of the model. No norms: it has its own.

    References
    ----------
    J. Sivic & A. Zisserman, "Video Google: a text retrieval approach to object matching in videos", ICCV 2003, section 4.
    H. Jégou, M. Douze & C. Schmid, "On the burstiness of visual elements", CVPR 2009: the root.
    S. Robertson & H. Zaragoza, "The probabilistic relevance framework: BM25 and beyond", 2009.
    L. Zheng, S. Wang, Z. Liu & Q. Tian, "Lp-norm IDF for large scale image search", CVPR 2013.
    """

    together = lengths = True

    @dataclasses.dataclass(frozen=True)
    class SearchParams(Weighted):
        tf: str = param("sqrt", "what a frequency counts", choices=("tf", "sqrt", "binary", "bm25"))
        power: float = param(1.0, "power of the idf, in each of the two vectors", minimum=0.0, maximum=16.0)
        norm: str = param("l2", "what scores are divided by", choices=("l2", "none"))
        k1: float = param(1.2, "how soon a frequency counts no more, of bm25", minimum=0.0, maximum=1e6)
        b: float = param(0.75, "how much a photo's length counts, of bm25", minimum=0.0, maximum=1.0)
        ma: int = param(1, "words that a query descriptor gets", minimum=1, maximum=64)

    def norm(self, settings):
        """See `Scorer.norm`."""
        if settings.norm == "none" or settings.tf == "bm25":
            return None
        return {"tf": settings.tf, "power": settings.power}

    def add_self(self, lists, idf, settings, sums):
        """See `Scorer.add_self`."""
        from imgret.indexes.inverted.selfsimilarity import of_frequencies

        asked = lists.asked(np.arange(len(lists.words)), idf**settings.power)
        sound(of_frequencies(lists.columns, asked, self._how(settings), sums))

    def score(self, lists, query, settings, scores, lengths):
        """See `Scorer.score`."""
        from imgret.indexes.inverted.kernels import scan

        starts = starts_of(query.words)
        tf = np.add.reduceat(query.weight, starts) if len(starts) else np.zeros(0)
        softness, power = None, 2 * settings.power
        if settings.tf == "bm25":
            mean, power = lengths.mean(dtype=np.float64), settings.power
            softness = (settings.k1 * (1 - settings.b + settings.b * lengths / (mean or 1))).astype(np.float32)
        counts = {"sqrt": np.sqrt, "binary": np.ones_like}.get(settings.tf, np.asarray)(tf)
        factors = counts * query.idf[starts] ** power
        asked = query.at[starts] >= 0
        asked = lists.asked(query.at[starts][asked], factors[asked])
        sound(scan(lists.columns, asked, self._how(settings, softness), scores))

    def _how(self, settings, softness=None):
        from imgret.indexes.inverted import kernels

        form = {"tf": kernels.PLAIN, "sqrt": kernels.ROOT, "binary": kernels.BINARY, "bm25": kernels.SATURATED}[settings.tf]
        return kernels.how(kernels.WEIGHTS, form=form, k1=settings.k1, softness=kernels.NONE if softness is None else softness)
