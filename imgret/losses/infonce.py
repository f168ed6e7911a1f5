"""InfoNCE: which of many photos matches."""

import dataclasses

from imgret import registry
from imgret.losses.base import BatchLoss
from imgret.registry import param


class InfoNCE(BatchLoss):
    """How surprised a softmax over all other photos is by those that match.

    Of a query: the mean of -log(exp(s_p / temperature) / Σ exp(s_a / temperature)) over the photos p that match it, a being all others of
    the batch and the queue; the mean of queries. With one photo that matches this is InfoNCE (van den Oord et al., eq. 4), with several the
    supervised form (Khosla et al., eq. 2, "out"); with a queue (He et al.) photos are compared with more than one batch holds.

    References
    ----------
    A. van den Oord, Y. Li & O. Vinyals, "Representation learning with contrastive predictive coding", arXiv:1807.03748, 2018.
    K. He, H. Fan, Y. Wu, S. Xie & R. Girshick, "Momentum contrast for unsupervised visual representation learning", CVPR 2020.
    P. Khosla et al., "Supervised contrastive learning", NeurIPS 2020.
    """

    name = "infonce"

    @dataclasses.dataclass(frozen=True)
    class Params(registry.Params):
        """Its temperature."""

        temperature: float = param(0.07, "of the softmax: smaller looks at the nearest photos only", minimum=1e-3, maximum=10.0)

    def __call__(self, vectors, labels, queue=None, queue_labels=None):
        """The loss of a batch; see `BatchLoss`."""
        queries, others, same, asked = self.compared(vectors, labels, queue, queue_labels)
        if not len(queries):
            return vectors.sum() * 0
        logits = queries @ others.T / self.params.temperature
        total = logits.masked_fill(~asked, -float("inf")).logsumexp(dim=1)
        return (total - (logits * same).sum(dim=1) / same.sum(dim=1)).mean()
