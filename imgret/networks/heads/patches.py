"""Squares of a photo, each through the network by itself, as local features."""

import dataclasses

import numpy as np

from imgret import images
from imgret.errors import UsageError
from imgret.networks import pooling, regions
from imgret.networks.heads.local import LocalHead, Located
from imgret.networks.heads.params import LocalParams, RegionPool
from imgret.registry import SAMPLING, param


class Patches(LocalHead):
    """Squares of several sizes, cut out of a photo on a grid."""

    one_layer = True

    @dataclasses.dataclass(frozen=True)
    class Params(RegionPool, LocalParams):
        """Parameters of patches."""

        patches: tuple[int, ...] = param((128,), "patches: sides in pixels, half a side apart", role=SAMPLING, minimum=32, maximum=1024)
        patch_size: int = param(224, "patches: side in pixels that each is resized to", minimum=32, maximum=1024)

        def __post_init__(self):
            super().__post_init__()
            if not self.patches:
                raise UsageError("`patches` must hold at least one size")

    def attach(self, backbone):
        """Refuse a network that takes photos of another size."""
        if backbone.size not in (None, (self.params.patch_size,) * 2):
            height, width = backbone.size
            remedy = f"set patch_size={width}" if height == width else "choose another pool"
            raise UsageError(f"{backbone.name} takes photos of {width} × {height} pixels and no others: {remedy}")

    def describe(self, photos, forward):
        """Describe photos; see `LocalHead`."""
        return [self._described(photo, forward) for photo in photos]

    def _described(self, photo, forward):
        grids = []
        for scale in self.params.scales:
            for side in self.params.patches:
                grids.append(regions.patch_grid(*photo.pixels.shape[:2], max(1, round(side / scale))))
        grid = np.unique(np.concatenate(grids), axis=0)
        side, batch = max(self.params.patch_size, forward.backbone.least), forward.params.batch
        descriptors, scores = [], []
        for start in range(0, len(grid), batch):
            cut = [photo.pixels[top : top + size, left : left + size] for top, left, size in grid[start : start + batch]]
            output = forward.outputs([images.Photo(images.resize(pixels, side, side), photo.size) for pixels in cut])[0]
            whole = [(0, 0, max(output.shape[2:]))]
            pooled, strength = pooling.joined([pooling.regions(output, whole, self.params.region_pool, self.params.p)])
            descriptors.append(pooled[:, 0].cpu().numpy())
            scores.append(strength[:, 0].cpu().numpy())
        places = np.stack([grid[:, 1] + (grid[:, 2] - 1) / 2, grid[:, 0] + (grid[:, 2] - 1) / 2, grid[:, 2]], axis=1).astype(np.float64)
        return Located(np.concatenate(descriptors), np.concatenate(scores), places)
