"""Smooth-AP: average precision, made differentiable."""

import dataclasses

from imgret import registry
from imgret.losses.base import BatchLoss
from imgret.registry import param

BLOCK = 1 << 22  # differences of similarities held at once


class SmoothAP(BatchLoss):
    """One minus the mean average precision of a batch, ranks being counted by a sigmoid instead of a step.

    Of a query and a photo i that matches it: (1 + Σ G(s_j - s_i) over the others j that match) / (1 + Σ G(s_j - s_i) over all others), s
    being similarities to the query and G(x) = 1 / (1 + exp(-x / temperature)); the mean over i is its AP (Brown et al., eq. 5 to 8). A
    query is not among what it finds, as in retrieval; in the authors' code it is, and first. Memory is bounded: queries are taken in
    blocks, and their gradients too.

    References
    ----------
    A. Brown, W. Xie, V. Kalogeiton & A. Zisserman, "Smooth-AP: smoothing the path towards large-scale image retrieval", ECCV 2020.
    """

    name = "smooth-ap"

    @dataclasses.dataclass(frozen=True)
    class Params(registry.Params):
        """Its temperature."""

        temperature: float = param(
            0.01, "of the sigmoid that counts ranks: smaller is nearer to average precision", minimum=1e-4, maximum=10.0
        )

    def __call__(self, vectors, labels, queue=None, queue_labels=None):
        """The loss of a batch; see `BatchLoss`."""
        queries, others, same, asked = self.compared(vectors, labels, queue, queue_labels)
        if not len(queries):
            return vectors.sum() * 0
        step = max(1, BLOCK // (same.shape[1] * int(same.sum(dim=1).max())))
        if step >= len(queries):
            return 1 - self._precisions(queries, others, same, asked) / len(queries)
        return 1 - self._in_blocks(queries, others, same, asked, step) / len(queries)

    def _in_blocks(self, queries, others, same, asked, step):
        """The sum of the APs: a number and its gradients, each block's differences being gone before the next one's are made."""
        import torch

        with torch.enable_grad():
            asking, asked_of = queries.detach().requires_grad_(), others.detach().requires_grad_()
            found = 0
            for start in range(0, len(queries), step):
                block = slice(start, start + step)
                part = self._precisions(asking[block], asked_of, same[block], asked[block])
                part.backward()
                found = found + part.detach()
        # a function of both that has this value and these gradients
        line = (queries * asking.grad).sum() + (others * asked_of.grad).sum()
        return found + (line - line.detach())

    def _precisions(self, queries, others, same, asked):
        """The sum of the APs of some queries."""
        similarities = queries @ others.T
        of, match = same.nonzero(as_tuple=True)
        # every pair of a query and a photo that matches it, against all others
        differences = similarities[of] - similarities[of, match][:, None]
        before = (differences / self.params.temperature).sigmoid()
        counted = asked[of].scatter(1, match[:, None], False)
        before = before * counted
        precisions = (1 + (before * same[of]).sum(dim=1)) / (1 + before.sum(dim=1))
        return (precisions / same.sum(dim=1)[of]).sum()
