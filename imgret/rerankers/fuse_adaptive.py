"""Several rankings to one, each by how far its first photos stand out: query-adaptive late fusion."""

import dataclasses

import numpy as np

from imgret.errors import ImgretError, UsageError, counted
from imgret.registry import param
from imgret.rerankers.base import Taken
from imgret.rerankers.late import LateFusion, LateParams, product


class FuseAdaptive(LateFusion):
    """Late fusion whose weights are the query's own.

    A ranking that has found something starts high and falls at once; one that has not falls slowly. Of each list the curve of the first
    `k` scores is taken, without the photo that asks; the reference curve that is nearest to it in its tail (the mean of the `nearest`), of
    queries that match nothing, is subtracted; what is left is spread from 0 to 1, and the ranking's weight is its `weights` over the area
    beneath (the mean of the curve). A photo's score is Π (f + (1 - f) u_i)^w_i as in `fuse`, with the weights divided by their sum.

    Without references the curve is spread from its own last score: what the tail of a list says of its head. References are scores of other
    queries in the same galleries, by the same features: rankings of photos that match nothing there.

    References
    ----------
    L. Zheng, S. Wang, L. Tian, F. He, Z. Liu & Q. Tian, Query-adaptive late fusion for image search and person re-identification, CVPR
    2015, section 3 (there are no weights of rankings there, and a score of 0 is no floor).
    """

    name = "fuse-adaptive"
    takes = (Taken(("reference",), "to compare the curves of scores with", optional=True),)

    @dataclasses.dataclass(frozen=True)
    class Params(LateParams):
        k: int = param(50, "scores of a list that are its curve", minimum=2)
        tail: int = param(10, "rank from which on references are compared", minimum=1)
        nearest: int = param(5, "reference curves whose mean is subtracted", minimum=1)
        floor: float = param(0.01, "what the last photo of a list counts, the first being 1", above=0.0, maximum=0.99)

        def __post_init__(self):
            super().__post_init__()
            if self.tail >= self.k:
                raise UsageError(f"`tail` must be below `k`, {self.k}, got {self.tail}")

    def begin(self, known):
        """Take the references; see `Reranker.begin`.

        Raises
        ------
        ImgretError
            If one of them has no list that reaches beyond `tail`.
        """
        self._references = [self._curves(scores) for scores in known.references()] if "reference" in known.given else []

    def _curves(self, scores):
        scores = scores[:, : self.params.k]
        lengths = np.isfinite(scores).sum(axis=1)
        length = int(lengths.max(initial=0))
        if length <= self.params.tail:
            raise ImgretError(
                f"the lists of a reference have {length} photos, and its curve is compared from rank {self.params.tail} on: "
                "ask for more, or set a smaller `tail`"
            )
        return scores[lengths == length, :length].astype(np.float64)

    def values(self, lists, itself, weights, numbers):
        """See `LateFusion.values`."""
        if self._references and len(self._references) <= max(numbers):
            raise UsageError(
                f"{counted(len(self._references), 'reference')} for more rankings than that: give one for each, in their order, or none"
            )
        areas = [self._area(listed, itself, number) for listed, number in zip(lists, numbers, strict=True)]
        weights = weights / areas
        return product(lists, itself, weights / weights.sum(), self.params.floor)

    def _area(self, listed, itself, number):
        """The area beneath the curve of a list: 1 / k at the least, 1 for one that does not fall."""
        k, tail = self.params.k, self.params.tail
        curve = listed.scores[: k + 1][listed.ids[: k + 1] != itself][:k].astype(np.float64)
        references = self._references[number] if self._references else np.zeros((0, 0))
        length = min(len(curve), references.shape[1])
        if length > tail:
            curve, references = curve[:length], references[:, :length]
            distances = np.square(references[:, tail:] - curve[tail:]).sum(axis=1)
            nearest = np.argsort(distances, kind="stable")[: self.params.nearest]
            curve = curve - references[nearest].mean(axis=0)
        if not len(curve) or curve.max() == curve.min():
            return 1.0
        return float((curve.mean() - curve.min()) / (curve.max() - curve.min()))

    def score(self, sums):
        """See `LateFusion.score`."""
        return np.exp(sums)
