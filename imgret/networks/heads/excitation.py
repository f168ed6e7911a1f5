"""GeM of a map whose channels are weighted by what a small network makes of all of them."""

import dataclasses

import numpy as np

from imgret.networks import pooling
from imgret.networks.heads.vectors import Gem
from imgret.registry import param

NAMES = "se.0.weight", "se.1.weight"
SEED = 0  # of the start
SPREAD = 0.01  # of what the second layer starts with: weights within about a hundredth of 1


class SqueezeExcitation(Gem):
    """The generalised mean of each channel, the channels weighted by a small network that is trained with it."""

    known_as = "squeeze-and-excitation"
    trained_as = "se"
    one_layer = True

    @dataclasses.dataclass(frozen=True)
    class Params(Gem.Params):
        """Parameters of a mean of weighted channels."""

        reduction: int = param(16, "se: the layer's channels for each that is between its two layers", minimum=1, maximum=4096)

    def own_shapes(self, dims):
        """Of its two layers; see `VectorHead.own_shapes`."""
        columns = sum(dims)
        hidden = max(1, columns // self.params.reduction)
        return dict(zip(NAMES, ((hidden, columns), (columns, hidden)), strict=True))

    def begin(self, dims, sample):
        """Two layers: the first as He et al. draw it, the second such that all channels weigh nearly 1; see `VectorHead.begin`."""
        import torch

        rng = np.random.default_rng(SEED)
        (hidden, columns), second = self.own_shapes(dims).values()
        layers = rng.normal(0, np.sqrt(2 / columns), (hidden, columns)), rng.normal(0, SPREAD / np.sqrt(hidden), second)
        return {name: torch.from_numpy(each.astype(np.float32)) for name, each in zip(NAMES, layers, strict=True)}

    def pool(self, output):
        """(B, C, H, W) to (B, C): the mean of a channel times its weight is that of the weighted channel."""
        return super().pool(output) * weights(output, *(self.learned[name] for name in NAMES))


def weights(maps, first, second):
    """How much each channel of maps counts: 2 σ(W₂ δ(W₁ z)), z being the channels' means, δ ReLU and σ the sigmoid.

    The means are taken over their root mean square, so that a photo's contrast, or a network's scale, changes nothing. The 2, which no
    L2-normalised vector knows of, makes a weight 1 where the layers say nothing.

    Parameters
    ----------
    maps : torch.Tensor, shape (B, C, H, W)
    first, second : torch.Tensor, shapes (M, C), (C, M)

    Returns
    -------
    torch.Tensor, shape (B, C)
        From 0 to 2.

    References
    ----------
    J. Hu, L. Shen & G. Sun, Squeeze-and-excitation networks, CVPR 2018, equations 2 to 4; a reduction of 16.
    """
    from torch.nn import functional

    means = pooling.l2(maps.mean(dim=(2, 3))) * maps.shape[1] ** 0.5
    return 2 * functional.linear(functional.linear(means, first).relu(), second).sigmoid()
