"""Heads that give one vector per photo: the poolings of `imgret.networks.pooling`."""

import dataclasses

from imgret.networks import pooling, regions
from imgret.networks.heads.base import VectorHead
from imgret.networks.heads.params import Levels, VectorParams
from imgret.registry import param


class Avg(VectorHead):
    """SPoC: the mean of each channel."""

    known_as = "SPoC"

    @dataclasses.dataclass(frozen=True)
    class Params(VectorParams):
        """Parameters of SPoC."""

        centre: bool = param(False, "avg: SPoC's centre prior")

    def pool(self, output):
        """(B, C, H, W) to (B, C)."""
        return pooling.avg(output, self.params.centre)


class Max(VectorHead):
    """MAC: the maximum of each channel."""

    known_as = "MAC"

    def pool(self, output):
        """(B, C, H, W) to (B, C)."""
        return pooling.largest(output)


class Gem(VectorHead):
    """The generalised mean of each channel, whose exponent can be trained."""

    @dataclasses.dataclass(frozen=True)
    class Params(VectorParams):
        """Parameters of GeM: its exponent is that of `combine`."""

        @property
        def raised(self):
            """Whether anything is raised to the exponent."""
            return True

    def said(self):
        """Its exponent."""
        import torch

        return {"p": torch.tensor(self.params.p)}

    def trained(self):
        """Its exponent, which a parameter can say."""
        return {"p": self.exponent}

    @property
    def exponent(self):
        """That of the mean, and of `combine=gem`."""
        low, high = pooling.POWERS
        p = self.learned["p"].item() if "p" in self.learned else self.params.p
        return min(max(p, low), high)

    def pool(self, output):
        """(B, C, H, W) to (B, C)."""
        return pooling.gem(output, self.learned.get("p", self.params.p))


class Rmac(VectorHead):
    """R-MAC: the sum of the maxima of regions, whitened where there is a projection."""

    learned_on = "regions"

    @dataclasses.dataclass(frozen=True)
    class Params(Levels, VectorParams):
        """Parameters of R-MAC."""

    def width(self, dims):
        """Length of its vectors below the last linear layer."""
        return super().width(dims) if self.projection is None else len(self.projection.components_)

    def pool(self, output):
        """(B, C, H, W) to (B, D)."""
        grid = regions.rmac_regions(*output.shape[2:], self.params.levels)
        return pooling.rmac(output, grid, None if self.projection is None else self.projection.project)


class Crow(VectorHead):
    """CroW: the sum of each channel, weighted by place and by channel."""

    def pool(self, output):
        """(B, C, H, W) to (B, C)."""
        return pooling.crow(output)


class Cam(VectorHead):
    """Class activation weighting."""

    one_layer = True

    @dataclasses.dataclass(frozen=True)
    class Params(VectorParams):
        """Parameters of class activation weighting."""

        classes: int = param(64, "cam: most probable classes that are summed over", minimum=1, maximum=1000)

    def attach(self, backbone):
        """Take the network's classifier."""
        self._classifier = backbone.classifier()

    def pool(self, output):
        """(B, C, H, W) to (B, C)."""
        return pooling.cam(output, *self._classifier, self.params.classes)


class FullyConnected(VectorHead):
    """A layer's own vector."""

    wants = "vector"

    def pool(self, output):
        """(B, C), as it is."""
        return output
