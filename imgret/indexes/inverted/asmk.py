"""Match kernels: residuals compared word by word, aggregated (ASMK) or each with each (SMK)."""

import dataclasses

import numpy as np

from imgret.indexes.inverted.planes import planes
from imgret.indexes.inverted.scorer import Scorer, sound
from imgret.indexes.inverted.weighting import Weighted
from imgret.registry import param


class Asmk(Scorer):
    """Aggregated selective match kernel: γ(X) γ(Y) Σ_w idf_w σ(u_w), one entry a photo and word.

    u is the inner product of two aggregated residuals of unit length (float16), or 1 − 2h/d of two binary ones of d bits that differ in h
    (ASMK*), or Σ q s / √d of the numbers q of a query, of unit length, and the signs s of a photo (asymmetric; `planes` says how exactly);
    σ(u) = sign(u)|u|^α where u > τ, else 0. γ makes a photo's similarity to itself 1. Below τ = 0 a score may be negative: then that photo
    comes after those that share no word and score 0. With `inter` each σ is multiplied by sqrt(|σ| / Σ|σ|), the sum being over all that one
    entry of the query meets, in all photos (Jégou et al. 2009), and γ stays as it is.

    References
    ----------
    H. Jégou, M. Douze & C. Schmid, "On the burstiness of visual elements", CVPR 2009: `inter`.
    G. Tolias, Y. Avrithis & H. Jégou, "To aggregate or not to aggregate: selective match kernels for image search", ICCV 2013, sections 3
    (σ, γ) and 4 (aggregated, and binary); "Image search with selective match kernels: aggregation across single and multiple images", IJCV
    2016.
    """

    carries, numbers = ("signature",), True

    @dataclasses.dataclass(frozen=True)
    class SearchParams(Weighted):
        alpha: float = param(3.0, "power of a similarity", above=0.0, maximum=64.0)
        tau: float = param(0.0, "similarity that counts nothing, and all below it", minimum=-1.0, maximum=1.0)
        inter: bool = param(False, "count less what matches many photos")
        power: float = param(1.0, "power of the idf", minimum=0.0, maximum=16.0)
        norm: str = param(
            "self", "what scores are divided by: the root of a photo's similarity to itself, or nothing", choices=("self", "none")
        )
        asymmetric: bool = param(True, "where photos have bits, ask with the numbers that a query's would be made of")
        ma: int = param(5, "words that a query descriptor gets", minimum=1, maximum=64)

    def asked(self, settings):
        """See `Scorer.asked`."""
        return super().asked(settings) | ({"dtype": "float16"} if settings.asymmetric else {})

    def norm(self, settings):
        """See `Scorer.norm`."""
        if settings.norm == "none":
            return None
        return {"alpha": settings.alpha, "tau": settings.tau, "power": settings.power}

    def add_self(self, lists, idf, settings, sums):
        """See `Scorer.add_self`."""
        from imgret.indexes.inverted.selfsimilarity import of_pairs

        asked = lists.asked(np.arange(len(lists.words)), idf**settings.power)
        sound(of_pairs(lists.columns, asked, self._how(lists, settings), sums))

    def score(self, lists, query, settings, scores, lengths):
        """See `Scorer.score`."""
        from imgret.indexes.inverted.kernels import MAGNITUDES, scan, totals

        at, factors, signature = query.asking(query.weight * query.idf**settings.power, self.signature(query, True))
        planar, line = not lists.floats and signature.dtype != np.uint8, None
        if planar:
            signature, line = planes(signature, MAGNITUDES)
        asked, inter = lists.asked(at, factors, signature, line), settings.inter
        if inter:
            everywhere = np.zeros(len(at))
            totals(lists.columns, asked, self._how(lists, settings, planar), everywhere)
            asked = lists.asked(at, factors / np.sqrt(np.where(everywhere > 0, everywhere, 1)), signature, line)
        sound(scan(lists.columns, asked, self._how(lists, settings, planar, inter), scores))

    def _how(self, lists, settings, planar=False, inter=False):
        from imgret.indexes.inverted import kernels

        if lists.floats or planar:
            return kernels.how(kernels.PLANES if planar else kernels.FLOATS, alpha=settings.alpha, tau=settings.tau, inter=inter)
        similarity = 1 - 2 * np.arange(8 * lists.columns.size + 1) / self.encoder.bits
        table = np.where(similarity > settings.tau, np.sign(similarity) * np.abs(similarity) ** settings.alpha, 0)
        return kernels.how(kernels.BITS, table=table, inter=inter)


class Smk(Asmk):
    """Selective match kernel: γ(X) γ(Y) Σ_w idf_w Σ σ(u) over all pairs of descriptors of a word; see `Asmk`.

    References
    ----------
    G. Tolias, Y. Avrithis & H. Jégou, "To aggregate or not to aggregate: selective match kernels for image search", ICCV 2013.
    """
