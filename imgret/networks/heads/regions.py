"""R-MAC's regions of a map as local features."""

import dataclasses

from imgret.networks import pooling, regions
from imgret.networks.heads.local import MapHead
from imgret.networks.heads.params import Levels, LocalParams, RegionPool


class Regions(MapHead):
    """The regions of R-MAC's grid, each pooled."""

    @dataclasses.dataclass(frozen=True)
    class Params(Levels, RegionPool, LocalParams):
        """Parameters of regions."""

    def look(self, outputs, finest, forward):
        """The local features of one view; see `MapHead`."""
        stride, first, size = forward.field(finest)
        grid = regions.rmac_regions(*outputs[finest].shape[2:], self.params.levels)
        descriptors, strength = pooling.joined([self._pooled(output, grid, outputs[finest].shape[2:]) for output in outputs])
        top, left, cells = grid.T
        y, x = (first + (start + (cells - 1) / 2) * stride for start in (top, left))
        return descriptors, strength, x, y, (cells - 1) * stride + size

    def _pooled(self, output, grid, size):
        """The regions of a grid on a map of `size`, pooled: (B, R, C). A coarser map is resized."""
        import torch

        if tuple(output.shape[2:]) != tuple(size):
            output = torch.nn.functional.interpolate(output, size=tuple(size), mode="bilinear", align_corners=False)
        return pooling.regions(output, grid, self.params.region_pool, self.params.p)
