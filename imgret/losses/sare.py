"""SARE: stochastic attraction and repulsion."""

import dataclasses

from imgret import registry
from imgret.losses.base import TupleLoss, precise
from imgret.registry import param


class SARE(TupleLoss):
    """How surprised a query is by the photo that matches it, when photos are drawn by a kernel of their distance.

    With k the kernel of the distance d of a photo to the query, exp(-d²), 1 / (1 + d²) or exp(-d): jointly, -log(k_p / (k_p + Σ k_n)), one
    photo being drawn of the match p and all negatives n; independently, the mean over n of -log(k_p / (k_p + k_n)). The mean of tuples. The
    paper adds the independent terms up; their mean, as Ge et al. have it in their program, pulls about as strongly as the joint form, so
    that a learning rate means the same with both and with any number of negatives.

    The `temperature` τ divides: d² / (2τ) stands for d², and d / √(2τ) for d. Of unit vectors the Gaussian kernel is then the softmax of
    cosine / τ, as in that program (τ = .07); the paper, which has no temperature, is τ = .5. Where two photos are the same there is no
    direction to go, and no gradient.

    References
    ----------
    L. Liu, H. Li & Y. Dai, "Stochastic attraction-repulsion embedding for large scale image localization", ICCV 2019.
    Y. Ge, H. Wang, F. Zhu, R. Zhao & H. Li, "Self-supervising fine-grained region similarities for large-scale image localization", ECCV
    2020.
    """

    name = "sare"

    @dataclasses.dataclass(frozen=True)
    class Params(registry.Params):
        """Its kernel, what it does with several negatives, and its temperature."""

        kernel: str = param("gaussian", "what distances are to the chance of a match", choices=("gaussian", "cauchy", "exponential"))
        treatment: str = param("joint", "several negatives: all in one softmax, or each by itself", choices=("joint", "independent"))
        temperature: float = param(0.07, "of the softmax: smaller looks at the nearest photos only", minimum=1e-3, maximum=10.0)

    def __call__(self, vectors):
        """The mean loss of tuples; see `TupleLoss`."""
        from torch.nn import functional

        vectors = precise(vectors)
        logs = self._logs(vectors[:, 1:] - vectors[:, :1])
        if self.params.treatment == "independent":
            return -functional.logsigmoid(logs[:, :1] - logs[:, 1:]).mean()
        return (logs.logsumexp(dim=1) - logs[:, 0]).mean()

    def _logs(self, differences):
        """Logarithms of the kernel, (B, 1 + n), of differences (B, 1 + n, D)."""
        import torch

        double = 2 * self.params.temperature
        if self.params.kernel == "exponential":
            return -torch.linalg.vector_norm(differences, dim=2) / double**0.5  # whose gradient at 0 is 0
        squared = differences.square().sum(dim=2) / double
        return -squared if self.params.kernel == "gaussian" else -squared.log1p()
