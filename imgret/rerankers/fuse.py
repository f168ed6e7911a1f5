"""Several rankings to one, by what each gives a photo: a score or a rank."""

import dataclasses

import numpy as np

from imgret.registry import param
from imgret.rerankers.late import LateFusion, LateParams, product, spread

HOW = ("product", "minmax-sum", "z-sum", "softmax", "rrf", "borda")


class Fuse(LateFusion):
    """Late fusion by a fixed rule.

    Of list i of a query, u_i are its scores spread from 0 (its last photo) to 1 (its first), z_i its standard scores (less their mean, by
    their standard deviation), r_i its ranks from 1; L is the length of the longest list, and w_i are the weights divided by their sum. A
    photo's score is

    - product: Π (f + (1 - f) u_i)^w_i, with the `floor` f: what a list says nothing of, it may not forbid;
    - minmax-sum: Σ w_i u_i (CombSUM);
    - z-sum: Σ w_i z_i;
    - softmax: Σ w_i exp(z_i / t) / Σ exp(z_i / t), the sum over the list, with the `temperature` t: a list counts by how far its first
      stand out;
    - rrf: Σ w_i / (c + r_i), with the `constant` c (reciprocal rank fusion);
    - borda: Σ w_i (1 - (r_i - 1) / L).

    A photo that is not in a list has there what the last photo has, by scores, and 0, by ranks. See `LateFusion` for lists that are empty,
    or have the photo that asks.

    References
    ----------
    J. A. Shaw & E. A. Fox, Combination of multiple searches, TREC-2, 1994 (sum of scores between 0 and 1).
    G. V. Cormack, C. L. A. Clarke & S. Büttcher, Reciprocal rank fusion outperforms Condorcet and individual rank learning methods, SIGIR
    2009 (c = 60).
    J. A. Aslam & M. Montague, Models for metasearch, SIGIR 2001 (Borda count; photos that are not listed share what is left there).
    """

    name = "fuse"

    @dataclasses.dataclass(frozen=True)
    class Params(LateParams):
        how: str = param("product", "by scores: product, minmax-sum, z-sum, softmax; by ranks: rrf, borda", choices=HOW)
        floor: float = param(0.01, "product: what the last photo of a list counts, the first being 1", above=0.0, maximum=0.99)
        temperature: float = param(5.0, "softmax: standard deviations by which a photo is e times as likely", minimum=0.01, maximum=1e6)
        constant: float = param(60.0, "rrf: what is added to ranks", minimum=0.0, maximum=1e9)

    def values(self, lists, itself, weights, numbers):
        """See `LateFusion.values`."""
        if self.params.how == "product":
            return product(lists, itself, weights, self.params.floor)
        longest = max(map(len, lists))
        return [self._of(listed, itself, weight, longest) for listed, weight in zip(lists, weights, strict=True)]

    def _of(self, listed, itself, weight, longest):
        """What one list gives its photos, and all others."""
        how, params = self.params.how, self.params
        if how in ("rrf", "borda"):
            ranks = np.arange(1, len(listed) + 1)
            given = 1 / (params.constant + ranks) if how == "rrf" else 1 - (ranks - 1) / longest
            return (weight * given).astype(np.float32), 0.0
        given = spread(listed, itself)
        if how in ("z-sum", "softmax"):
            given = standard(given)
        if how == "softmax":
            given = np.exp((given - given.max()) / np.float32(params.temperature))
            given /= given.sum()
        given = given * np.float32(weight)
        return given, float(given[-1])

    def score(self, sums):
        """See `LateFusion.score`."""
        return np.exp(sums) if self.params.how == "product" else sums


def standard(scores):
    """Standard scores, (k,) float32; 0 where all are equal."""
    deviation = scores.std()
    return (scores - scores.mean()) / deviation if deviation > 0 else np.zeros_like(scores)
