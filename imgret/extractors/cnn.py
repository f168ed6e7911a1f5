"""Features of a network."""

import numpy as np

from imgret import images
from imgret.components import Need
from imgret.errors import ImgretError
from imgret.extractors.base import Extractor, in_box, to_full_size
from imgret.networks import backbones as networks
from imgret.networks import fields, pooling, regions, views
from imgret.networks import params as parameters

WINDOW = 4  # batches of photos that are sorted by shape together


class Cnn(Extractor):
    """A torchvision network: pooled to one vector, or its columns, regions or patches as local features.

    Photos keep their aspect and go through the network in batches of one shape; `max_size` bounds their longer side. `pool` decides what
    comes out (formulas and sources in `imgret.networks.pooling`): one vector of unit L2 norm, or local features of unit L2 norm,
    stored as float16, with the centre and side of what they look at in pixels, for `codebook` and `encode`. Several layers are pooled each
    by itself, L2-normalised and put one after another. At several scales, or mirrored too, the vectors of all views are combined; local
    features of all scales are kept.

    The weights are known by their SHA-256, not by their path. A photo smaller than the network's smallest is enlarged, then padded by its
    border.

    Parameters
    ----------
    params : imgret.networks.params.Params
    codebook : fitted projection, optional
        rmac: what each region is whitened by, learned on the regions of other photos (`pool=regions`).
    """

    name = "cnn"
    grey = False
    descriptor_type = "float"
    keypoint_columns = ("x", "y", "size", "score")
    needs = (Need("projection", ("pca", "lw"), optional=True),)
    Params = parameters.Params

    def __init__(self, params, codebook=None):
        super().__init__(params, codebook)
        if codebook is not None and params.pool != "rmac":
            raise ImgretError(f"a projection is for the regions of pool=rmac, not for pool={params.pool}: leave -c out")
        self._network = None
        self._fields = {}

    @property
    def one_process(self):
        """Whether the network has a device of its own; on the CPU each process has the network on one core."""
        return self.device != "cpu"

    @property
    def gives(self):
        """ "features" or "vectors"."""
        return "features" if self.params.pool in parameters.LOCAL else "vectors"

    @property
    def dtype(self):
        """Of what is stored."""
        return "float16" if self.gives == "features" else self.params.dtype

    @property
    def window(self):
        """Photos that are sorted by shape together."""
        return WINDOW * self.params.batch

    @property
    def dim(self):
        """Length of a descriptor or vector."""
        return len(self.codebook.components_) if self.codebook is not None else sum(self._network.dims)

    def settle(self, device="auto", weights=()):
        """Load the network, and note in `params` what it found: layer, digest, mean, std."""
        try:
            import torch
            import torchvision  # noqa: F401 - told of together
        except ImportError:
            raise ImgretError("-m cnn needs PyTorch and torchvision: pip install 'imgret[cnn]'") from None
        device = networks.device_of(device)
        if self.params.precision == "float16" and device == "cpu":
            raise ImgretError("precision=float16 is for GPUs; on a CPU choose bfloat16 or float32")
        torch.backends.cudnn.allow_tf32 = False  # float32 means float32
        self._network = networks.shared(self.params, device, tuple(weights))
        self.params, self.device = self._network.params, device
        if self.params.weights == "random":
            self.warnings = (f"the weights of {self.params.model} are random (seed {self.params.seed}): the vectors mean little",)
        self._check()

    def _check(self):
        network = self._network
        local_or_map = self.params.pool != "fc"
        for layer, is_map in zip(network.layers, network.maps, strict=True):
            if local_or_map and not is_map:
                raise ImgretError(f"the layer '{layer}' of {network.name} gives a vector, not a map: choose pool=fc, or another layer")
            if not local_or_map and is_map:
                raise ImgretError(
                    f"the layer '{layer}' of {network.name} gives a map, not a vector: choose another pool than fc, or another layer"
                )
        if self.params.pool == "cam":
            self._classifier = network.classifier()
        if self.codebook is not None and self.codebook.dim_ != sum(network.dims):
            raise ImgretError(
                f"the projection was learned on {self.codebook.dim_} columns, {network.name} at {','.join(network.layers)} gives "
                f"{sum(network.dims)}: learn it on pool=regions of the same network and layer"
            )
        if self.codebook is not None and len(network.layers) > 1:
            raise ImgretError("a projection of regions is for one layer: give one `layer`")

    def takes_projection_of(self, node):
        """Whether a projection that was learned on the output of a pipeline's node fits this network's regions."""
        if node["component"] != self.name:
            return False
        other = parameters.Params.from_json(node["params"] | node.get("places", {}))
        return other.pool == "regions" and other.map_space() == self.params.map_space()

    def read(self, data, box=None):
        """A photo's bytes as RGB pixels of the size it takes; see `Extractor.read`."""
        return views.read(data, self.params, self._network.least, box=box, crop=self.gives == "vectors")

    def describe(self, photos):
        """Describe photos; see `imgret.extractors.base.Extractor.describe`."""
        described = [None] * len(photos)
        for positions in views.batches(photos, self.params.batch):
            batch = [photos[position] for position in positions]
            for position, answer in zip(positions, self._batch(batch), strict=True):
                described[position] = answer
        return described

    def _batch(self, photos):
        import torch

        try:
            with torch.inference_mode():
                return self._locals(photos) if self.gives == "features" else self._vectors(photos)
        except (torch.OutOfMemoryError, MemoryError):
            pass  # dealt with outside, where what failed has been let go
        except RuntimeError as error:
            if "memory" not in str(error).lower():
                raise self._refusal(photos[0], error) from None
        except (AssertionError, ValueError) as error:
            raise self._refusal(photos[0], error) from None
        if self.device.startswith("cuda"):
            torch.cuda.empty_cache()
        if len(photos) == 1:
            height, width = photos[0].pixels.shape[:2]
            raise ImgretError(
                f"a photo of {width} × {height} pixels does not fit into the memory of {self.device}: set a smaller `max_size`"
            )
        half = len(photos) // 2
        return self._batch(photos[:half]) + self._batch(photos[half:])

    def _refusal(self, photo, error):
        height, width = photo.pixels.shape[:2]
        return ImgretError(
            f"{self.params.model} cannot take a photo of {width} × {height} pixels ({' '.join(str(error).split())[:120]}): "
            "try resize=square and max_size=224"
        )

    def _vectors(self, photos):
        x = views.tensor(photos, self.params, self._network.device)
        found = [pooling.l2(self._concatenated(self._network(view))) for view, _ in views.looks(x, self.params, self._network.least)]
        if len(found) == 1:
            vectors = found[0]
        elif self.params.combine == "sum":
            vectors = pooling.l2(sum(found))
        else:
            mean = sum(each.sign() * each.abs() ** self.params.p for each in found) / len(found)
            vectors = pooling.l2(mean.sign() * mean.abs() ** (1 / self.params.p))
        return [_vector(row) for row in vectors.cpu().numpy()]

    def _concatenated(self, outputs):
        """All layers, each pooled and L2-normalised, side by side."""
        import torch

        return torch.cat([pooling.l2(self._pooled(output)) for output in outputs], dim=1)

    def _pooled(self, output):
        params = self.params
        if params.pool == "fc":
            return output
        if params.pool == "rmac":
            grid = regions.rmac_regions(*output.shape[2:], params.levels)
            return pooling.rmac(output, grid, None if self.codebook is None else self.codebook.project)
        if params.pool == "cam":
            return pooling.cam(output, *self._classifier, params.classes)
        return {
            "avg": lambda: pooling.avg(output, params.centre),
            "max": lambda: pooling.largest(output),
            "gem": lambda: pooling.gem(output, params.p),
            "crow": lambda: pooling.crow(output),
        }[params.pool]()

    def _locals(self, photos):
        if self.params.pool == "patches":
            return [self._patches(photo) for photo in photos]
        x = views.tensor(photos, self.params, self._network.device)
        parts = [self._view(view, factor) for view, factor in views.looks(x, self.params, self._network.least)]
        answers = []
        for number, photo in enumerate(photos):
            descriptors = np.concatenate([each[number] for each, _, _ in parts])
            scores = np.concatenate([each[number] for _, each, _ in parts])
            answers.append(self._kept(photo, descriptors, scores, np.concatenate([places for _, _, places in parts])))
        return answers

    def _view(self, view, factor):
        """Descriptors (B, T, D), scores (B, T) and places (T, 3: x, y, side in pixels of the photo) of one view."""
        outputs = self._network(view)
        finest = max(range(len(outputs)), key=lambda number: outputs[number].shape[2] * outputs[number].shape[3])
        stride, first, size = self._field(finest)
        if self.params.pool == "none":
            descriptors, strength = pooling.columns(outputs)
            rows, columns = outputs[finest].shape[2:]
            y, x = (axis.reshape(-1) * stride + first for axis in np.mgrid[:rows, :columns])
            # of several maps, a column sees what the map with the widest field sees
            side = np.full(len(x), max(self._field(number)[2] for number in range(len(outputs))))
        else:
            grid = regions.rmac_regions(*outputs[finest].shape[2:], self.params.levels)
            pooled = [self._regions(output, grid, outputs[finest].shape[2:]) for output in outputs]
            descriptors, strength = _joined(pooled)
            top, left, cells = grid.T
            y, x = (first + (start + (cells - 1) / 2) * stride for start in (top, left))
            side = (cells - 1) * stride + size
        places = np.stack([(x + 0.5) / factor[0] - 0.5, (y + 0.5) / factor[1] - 0.5, side / np.sqrt(factor[0] * factor[1])], axis=1)
        return descriptors.cpu().numpy(), strength.cpu().numpy(), places

    def _regions(self, output, grid, size):
        """The regions of a grid on a map of `size`, pooled: (B, R, C). A coarser map is resized."""
        import torch

        if tuple(output.shape[2:]) != tuple(size):
            output = torch.nn.functional.interpolate(output, size=tuple(size), mode="bilinear", align_corners=False)
        return pooling.regions(output, grid, self.params.region_pool, self.params.p)

    def _field(self, number):
        if number not in self._fields:
            self._fields[number] = fields.receptive_field(self._network, self._network.layers[number])
        return self._fields[number]

    def _patches(self, photo):
        """Squares cut out of a photo, each through the network by itself."""
        grids = []
        for scale in self.params.scales:
            for side in self.params.patches:
                grids.append(regions.patch_grid(*photo.pixels.shape[:2], max(1, round(side / scale))))
        grid = np.unique(np.concatenate(grids), axis=0)
        side = max(self.params.patch_size, self._network.least)
        descriptors, scores = [], []
        for start in range(0, len(grid), self.params.batch):
            cut = [photo.pixels[top : top + size, left : left + size] for top, left, size in grid[start : start + self.params.batch]]
            batch = [images.Photo(images.resize(pixels, side, side), photo.size) for pixels in cut]
            output = self._network(views.tensor(batch, self.params, self._network.device))[0]
            whole = [(0, 0, max(output.shape[2:]))]
            pooled, strength = _joined([pooling.regions(output, whole, self.params.region_pool, self.params.p)])
            descriptors.append(pooled[:, 0].cpu().numpy())
            scores.append(strength[:, 0].cpu().numpy())
        places = np.stack([grid[:, 1] + (grid[:, 2] - 1) / 2, grid[:, 0] + (grid[:, 2] - 1) / 2, grid[:, 2]], axis=1).astype(np.float64)
        return self._kept(photo, np.concatenate(descriptors), np.concatenate(scores), places)

    def _kept(self, photo, descriptors, scores, places):
        """The local features of one photo: in its box, not zero, the strongest where fewer are asked for, in the grid's order."""
        if not (np.isfinite(scores).all() and np.isfinite(descriptors).all()):
            return _not_finite()
        xy, factor = to_full_size(places[:, :2], photo)
        kept = np.flatnonzero((scores > 0) & in_box(xy, photo))
        if self.params.max_keypoints and len(kept) > self.params.max_keypoints:
            kept = np.sort(kept[np.argsort(-scores[kept], kind="stable")[: self.params.max_keypoints]])
        table = np.column_stack([xy[kept], places[kept, 2] * factor, scores[kept]])
        return self.local(table, descriptors[kept], photo)


def _joined(parts):
    """Descriptors of several layers, each L2-normalised, side by side and normalised; and their mean norm."""
    import torch

    norms = torch.stack([part.norm(dim=-1) for part in parts]).mean(dim=0)
    return pooling.l2(torch.cat([pooling.l2(part) for part in parts], dim=-1)), norms


def _vector(row):
    if not np.isfinite(row).all():
        return _not_finite()
    if not row.any():
        return images.BadPhoto("no-descriptors", "nothing in it moves the network: its vector is zero")
    return row


def _not_finite():
    return images.BadPhoto("not-finite", "the network's output is not finite: try precision=float32")
