"""Triplet loss."""

import dataclasses

from imgret import registry
from imgret.losses.base import TupleLoss, precise
from imgret.registry import param


class Triplet(TupleLoss):
    """What does not match should be farther than what does, by `margin`.

    Of a tuple: max(0, margin + d(q, p)² - d(q, n)²) for each negative, added up; the mean of tuples. (Schroff et al., eq. 3, with a margin
    of .2; with mined negatives and .1 Arandjelović et al., eq. 7.)

    References
    ----------
    F. Schroff, D. Kalenichenko & J. Philbin, "FaceNet: a unified embedding for face recognition and clustering", CVPR 2015.
    R. Arandjelović, P. Gronat, A. Torii, T. Pajdla & J. Sivic, "NetVLAD: CNN architecture for weakly supervised place recognition",
    CVPR 2016.
    """

    name = "triplet"

    @dataclasses.dataclass(frozen=True)
    class Params(registry.Params):
        """Its margin."""

        margin: float = param(
            0.1,
            "by how much what does not match should be farther than what does, in squared distances, of at most 4",
            above=0.0,
            maximum=4.0,
        )

    def __call__(self, vectors):
        """The mean loss of tuples; see `TupleLoss`."""
        vectors = precise(vectors)
        squared = (vectors[:, :1] - vectors[:, 1:]).square().sum(dim=2)
        return (self.params.margin + squared[:, :1] - squared[:, 1:]).clamp_min(0).sum(dim=1).mean()
