"""Contrastive loss."""

import dataclasses

from imgret import registry
from imgret.losses.base import TupleLoss, precise
from imgret.registry import param


class Contrastive(TupleLoss):
    """What matches is drawn near, what does not is pushed away until it is `margin` off.

    Of a tuple with the distance d to each photo: d² / 2 for the one that matches, max(0, margin - d)² / 2 for each that does not, added up;
    the mean of tuples. At a distance of 0 a negative has no direction to go, and no gradient. (Hadsell et al., eq. 4; as a sum over tuples
    with mined negatives Radenović et al., eq. 3, who take margins of .7 to .85, for deeper networks larger ones.)

    References
    ----------
    R. Hadsell, S. Chopra & Y. LeCun, "Dimensionality reduction by learning an invariant mapping", CVPR 2006.
    F. Radenović, G. Tolias & O. Chum, "CNN image retrieval learns from BoW: unsupervised fine-tuning with hard examples", ECCV 2016, and
    "Fine-tuning CNN image retrieval with no human annotation", PAMI 2019.
    """

    name = "contrastive"

    @dataclasses.dataclass(frozen=True)
    class Params(registry.Params):
        """Its margin."""

        margin: float = param(0.7, "distance that photos which do not match should have, of at most 2", above=0.0, maximum=2.0)

    def __call__(self, vectors):
        """The mean loss of tuples; see `TupleLoss`."""
        import torch

        vectors = precise(vectors)
        distances = torch.linalg.vector_norm(vectors[:, :1] - vectors[:, 1:], dim=2)  # whose gradient at 0 is 0
        matches, negatives = distances[:, 0], distances[:, 1:]
        return (matches.square() + (self.params.margin - negatives).clamp_min(0).square().sum(dim=1)).mean() / 2
