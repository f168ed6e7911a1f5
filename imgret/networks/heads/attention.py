"""GeM of a map whose places are weighted by what a small network finds of use in them."""

import dataclasses

import numpy as np

from imgret.networks import pooling
from imgret.networks.heads.vectors import Gem
from imgret.registry import param

NAMES = "attention.0.weight", "attention.0.bias", "attention.1.weight", "attention.1.bias"
SEED = 0  # of the start
SPREAD = 0.005  # of what the second layer starts with: weights within about a hundredth of 1
ONE = float(np.log(np.e - 1))  # whose softplus is 1


class Attention(Gem):
    """The generalised mean of each channel, the places weighted by a small network that is trained with it."""

    known_as = "attention"
    trained_as = "attention"
    one_layer = True

    @dataclasses.dataclass(frozen=True)
    class Params(Gem.Params):
        """Parameters of an attention-weighted mean."""

        hidden: int = param(512, "attention: channels between its two layers", minimum=1, maximum=4096)

    def own_shapes(self, dims):
        """Of its two layers; see `VectorHead.own_shapes`."""
        hidden = self.params.hidden
        return dict(zip(NAMES, ((hidden, sum(dims)), (hidden,), (1, hidden), (1,)), strict=True))

    def begin(self, dims, sample):
        """Two layers: the first as He et al. draw it, the second such that all places weigh nearly 1; see `VectorHead.begin`."""
        import torch

        rng = np.random.default_rng(SEED)
        columns, hidden = sum(dims), self.params.hidden
        first = rng.normal(0, np.sqrt(2 / columns), (hidden, columns))
        second = rng.normal(0, SPREAD / np.sqrt(hidden), (1, hidden))
        layers = first, np.zeros(hidden), second, np.full(1, ONE)
        return {name: torch.from_numpy(each.astype(np.float32)) for name, each in zip(NAMES, layers, strict=True)}

    def pool(self, output):
        """(B, C, H, W) to (B, C)."""
        return super().pool(output * weights(output, *(self.learned[name] for name in NAMES)))


def weights(maps, first, first_bias, second, second_bias):
    """How much each place of maps counts: softplus of two 1 × 1 convolutions with a ReLU between.

    They see the maps over their root mean square, so that a photo's contrast, or a network's scale, changes nothing.

    Parameters
    ----------
    maps : torch.Tensor, shape (B, C, H, W)
    first, first_bias : torch.Tensor, shapes (M, C), (M,)
    second, second_bias : torch.Tensor, shapes (1, M), (1,)

    Returns
    -------
    torch.Tensor, shape (B, 1, H, W)
        Positive.

    References
    ----------
    H. Noh, A. Araujo, J. Sim, T. Weyand & B. Han, Large-scale image retrieval with attentive deep local features, ICCV 2017, section 3.2.
    There the weighted columns are summed, and the network alone is trained by classification.
    """
    from torch.nn import functional

    x = pooling.l2(maps.flatten(1)).reshape(maps.shape) * maps[0].numel() ** 0.5
    x = functional.conv2d(x, first[:, :, None, None], first_bias).relu()
    return functional.softplus(functional.conv2d(x, second[:, :, None, None], second_bias))
