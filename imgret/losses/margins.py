"""Classification by directions: softmax over the cosines to a vector of each class, as it is or with a margin."""

import dataclasses
import math

from imgret import registry
from imgret.losses.base import ClassLoss, precise
from imgret.registry import param


@dataclasses.dataclass(frozen=True)
class Scale(registry.Params):
    """Of all of them."""

    scale: float = param(16.0, "what cosines are multiplied by, before the softmax", above=0.0, maximum=1000.0)


@dataclasses.dataclass(frozen=True)
class Margin(Scale):
    """Of those that make it harder."""

    margin: float = param(
        0.3,
        "arcface: what the angle to the right class is made larger by, in radians; cosface: its cosine smaller",
        minimum=0.0,
        maximum=1.5,
    )


class Softmax(ClassLoss):
    """Cross-entropy of the classes, vectors and classes being directions: logits are cosines times `scale`.

    References
    ----------
    F. Wang, X. Xiang, J. Cheng & A. L. Yuille, "NormFace: L2 hypersphere embedding for face verification", ACM MM 2017.
    A. Zhai & H.-Y. Wu, "Classification is a strong baseline for deep metric learning", BMVC 2019.
    """

    name = "softmax"
    Params = Scale

    def __call__(self, vectors, labels, learned):
        """The mean loss of a batch; see `ClassLoss`."""
        from torch.nn import functional

        cosines = precise(vectors) @ functional.normalize(precise(learned["classes"]), dim=1).T
        right = cosines.gather(1, labels[:, None])
        return functional.cross_entropy(self.params.scale * cosines.scatter(1, labels[:, None], self._harder(right)), labels)

    def _harder(self, cosines):
        """What counts as the cosines (B, 1) to the right classes."""
        return cosines


class ArcFace(Softmax):
    """Softmax with an additive angular margin: cos(θ + margin) for the right class, θ being the angle to it (Deng et al., eq. 3).

    Where θ + margin is beyond π it is cos θ - margin · sin(margin), as in the authors' code: it falls with θ everywhere.

    References
    ----------
    J. Deng, J. Guo, N. Xue & S. Zafeiriou, "ArcFace: additive angular margin loss for deep face recognition", CVPR 2019.
    """

    name = "arcface"
    Params = Margin

    def _harder(self, cosines):
        margin = self.params.margin
        sines = (1 - cosines.square()).clamp_min(1e-12).sqrt()  # a root has no slope at 0
        turned = cosines * math.cos(margin) - sines * math.sin(margin)
        return turned.where(cosines > math.cos(math.pi - margin), cosines - margin * math.sin(margin))


class CosFace(Softmax):
    """Softmax with an additive cosine margin: cos θ - margin for the right class (Wang et al., eq. 4).

    References
    ----------
    H. Wang et al., "CosFace: large margin cosine loss for deep face recognition", CVPR 2018.
    """

    name = "cosface"
    Params = Margin

    def _harder(self, cosines):
        return cosines - self.params.margin
