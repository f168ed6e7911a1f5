"""Features of a network."""

import dataclasses

import numpy as np

from imgret import images, registry
from imgret.components import Need
from imgret.errors import ImgretError, UsageError
from imgret.extractors.base import Extractor, in_box, to_full_size
from imgret.networks import backbones, views
from imgret.networks.composed import composed
from imgret.networks.forward import Forward
from imgret.networks.heads import HEADS
from imgret.networks.params import LARGEST, OF_NETWORK, BackboneParams, ViewParams
from imgret.networks.regions import corners, frame
from imgret.networks.trained import FromWeights
from imgret.registry import SAMPLING, load, param

WINDOW = 4  # batches of photos that are sorted by shape together
MOST = 16  # values of a list
POOLS = {name: load(HEADS, name, "head") for name in HEADS}
# What version 1 of this extractor records with the pools it began with: all of these, in this order, with an effect or without. Recipes
# rest on it, and so does what is up to date. Any other pool takes and records its own parameters, and no more.
FIRST_POOLS = ("avg", "max", "gem", "rmac", "crow", "cam", "fc", "none", "regions", "patches")
FIRST_FIELDS = (
    *("model", "layer", "weights", "digest", "seed"),
    *("pool", "p", "centre", "levels", "classes", "region_pool", "patches", "patch_size", "max_keypoints"),
    *("scales", "flip", "combine", "max_size", "resize"),
    *("mean", "std", "channels", "range", "precision", "batch", "dtype"),
)


def _pools(gives):
    """The pools that give vectors, or features, for a parameter's help."""
    heads = {name: head for name, head in POOLS.items() if head.gives == gives}
    return ", ".join(f"{name} ({head.known_as})" if head.known_as else name for name, head in heads.items())


@dataclasses.dataclass(frozen=True)
class OutputParams(registry.Params):
    """What comes out, and how it is stored."""

    pool: str = param("gem", f"one vector: {_pools('vectors')}; local features: {_pools('features')}", choices=tuple(POOLS))
    batch: int = param(8, "photos of one shape that go through the network together, at most", role=SAMPLING, minimum=1, maximum=1024)
    dtype: str = param("float32", "type of stored vectors (local features: float16)", role=SAMPLING, choices=("float32", "float16"))
    regional: bool = param(False, "nine vectors as local features: of the photo, its halves and its quarters", newer=True)


PARTS = (BackboneParams, ViewParams, OutputParams)


class Params(FromWeights, composed(PARTS, "pool", {name: head.Params for name, head in POOLS.items()}, order=FIRST_FIELDS)):
    """Parameters of a network's features: those of the network, of the photos it is shown, and of the head that `pool` names.

    Those that are not set are what the weights were trained for, where imgret has trained them.
    """

    OF_NETWORK = OF_NETWORK

    def __post_init__(self):
        super().__post_init__()
        if not self.scales:
            raise UsageError("`scales` must hold at least one value")
        for name, value in vars(self).items():
            if isinstance(value, tuple) and len(value) > MOST:
                raise UsageError(f"`{name}` takes at most {MOST} values, got {len(value)}")
        longest = self.max_size * max(self.scales)
        if longest > LARGEST:
            raise UsageError(f"`max_size` times the largest of `scales` must be at most {LARGEST}, got {longest:g}")
        head = POOLS[self.pool]
        if self.regional and (head.gives, head.wants) != ("vectors", "map"):
            raise UsageError(f"`regional` is for pools that make one vector of a map, and pool={self.pool} does not: leave it out")
        for name in self.idle():
            if name in head.refuses or name not in self.recorded():
                noun = "local features" if head.gives == "features" else "vectors"
                raise UsageError(f"`{name}` has no effect on {noun} (pool={self.pool}): leave it out")
        if head.one_layer and len(self.layer) > 1:
            raise UsageError(f"pool={self.pool} takes one `layer`, got {len(self.layer)}")

    def recorded(self):
        """Names of the fields that are recorded; see `imgret.networks.composed.Composed`."""
        return super().recorded() | set(FIRST_FIELDS if self.pool in FIRST_POOLS else ())


class Cnn(Extractor):
    """A network: pooled to one vector, or its columns, regions or patches as local features.

    It is one of torchvision, or of the origins in `imgret.networks.backbones.BACKBONES`.

    Photos keep their aspect and go through the network in batches of one shape; `max_size` bounds their longer side. `pool` decides what
    comes out (formulas and sources in `imgret.networks.pooling`): one vector of unit L2 norm, or local features of unit L2 norm,
    stored as float16, with the centre and side of what they look at in pixels, for `codebook` and `encode`. Several layers are pooled each
    by itself, L2-normalised and put one after another. At several scales, or mirrored too, the vectors of all views are combined; local
    features of all scales are kept.

    With `regional` a photo has nine vectors in place of one, as local features: its own, then those of its top, bottom, left and right
    halves and of its quarters (`imgret.networks.regions.PARTS`), each cut from the map and then pooled as the whole is.

    The weights are known by their SHA-256, not by their path. A photo smaller than the network's smallest is enlarged, then padded by its
    border.

    Parameters
    ----------
    params : Params
    codebook : fitted projection, optional
        rmac: what each region is whitened by, learned on the regions of other photos (`pool=regions`).
    """

    name = "cnn"
    libraries = (*Extractor.libraries, "torch", "torchvision")
    grey = False
    descriptor_type = "float"
    keypoint_columns = ("x", "y", "size", "score")
    needs = (Need("projection", ("pca", "lw"), optional=True),)
    Params = Params

    def __init__(self, params, codebook=None):
        super().__init__(params, codebook)
        kind = POOLS[params.pool]
        if codebook is not None and not kind.learned_on:
            taking = " or ".join(name for name, head in POOLS.items() if head.learned_on)
            raise ImgretError(f"a projection is for the regions of pool={taking}, not for pool={params.pool}: leave -c out")
        self._head = kind(params.chosen, codebook)
        self._network = self._forward = None

    @classmethod
    def libraries_of(cls, params):
        """Those by which photos are decoded and described: the network's origin among them."""
        origin = backbones.origin_of(params.get("model", ""))
        return cls.libraries if origin == backbones.TORCHVISION else (*cls.libraries, backbones.LIBRARIES[origin])

    @property
    def one_process(self):
        """Whether the network has a device of its own; on the CPU each process has the network on one core."""
        return self.device != "cpu"

    @property
    def gives(self):
        """ "features" or "vectors"."""
        return "features" if self.params.regional else self._head.gives

    @property
    def dtype(self):
        """Of what is stored."""
        return "float16" if self._head.gives == "features" else self.params.dtype

    @property
    def window(self):
        """Photos that are sorted by shape together."""
        return WINDOW * self.params.batch

    @property
    def dim(self):
        """Length of a descriptor or vector."""
        return self._head.dim(self._network.dims)

    def settle(self, device="auto", weights=()):
        """Load the network, and note in `params` what it found: layer, digest, mean, std."""
        try:
            import torch
            import torchvision  # noqa: F401 - told of together
        except ImportError:
            raise ImgretError("-m cnn needs PyTorch and torchvision: pip install 'imgret[cnn]'") from None
        device = backbones.device_of(device, self.params.model)
        if self.params.precision == "float16" and device == "cpu":
            raise ImgretError("precision=float16 is for GPUs; on a CPU choose bfloat16 or float32")
        torch.backends.cudnn.allow_tf32 = False  # float32 means float32
        self._network = backbones.shared(self.params.part(BackboneParams), self._head.wants, device, tuple(weights))
        self.params = dataclasses.replace(self.params, **dataclasses.asdict(self._network.params))
        self.device = device
        self.params = views.sized(self.params, self._network)
        self._forward = Forward(self._network, self.params)
        if self.params.weights == "random":
            self.warnings = (f"the weights of {self.params.model} are random (seed {self.params.seed}): the vectors mean little",)
        self._check()

    def _check(self):
        network, pool = self._network, self.params.pool
        for layer, is_map in zip(network.layers, network.maps, strict=True):
            if self._head.wants == "map" and not is_map:
                taking = " or ".join(name for name, head in POOLS.items() if head.wants == "vector")
                raise ImgretError(
                    f"the layer '{layer}' of {network.name} gives a vector, not a map: choose pool={taking}, or another layer"
                )
            if self._head.wants == "vector" and is_map:
                raise ImgretError(
                    f"the layer '{layer}' of {network.name} gives a map, not a vector: choose another pool than {pool}, or another layer"
                )
        self._head.settle(network)
        if self.codebook is not None and self.codebook.dim_ != sum(network.dims):
            raise ImgretError(
                f"the projection was learned on {self.codebook.dim_} columns, {network.name} at {','.join(network.layers)} gives "
                f"{sum(network.dims)}: learn it on pool={self._head.learned_on} of the same network and layer"
            )
        if self.codebook is not None and len(network.layers) > 1:
            raise ImgretError("a projection of regions is for one layer: give one `layer`")

    def takes_projection_of(self, node):
        """Whether a projection that was learned on the output of a pipeline's node fits this network's regions."""
        if node["component"] != self.name:
            return False
        other = Params.from_json(node["params"] | node.get("places", {}))
        return other.pool == self._head.learned_on and other.part(BackboneParams).space() == self.params.part(BackboneParams).space()

    def read(self, data, box=None):
        """A photo's bytes as RGB pixels of the size it takes; see `Extractor.read`."""
        return views.read(
            data, self.params, self._network.least, self._network.size, box=box, crop=self._head.gives == "vectors", **self.reading
        )

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
                if self.params.regional:
                    return self._parts(photos)
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
        return [_vector(row) for row in self._head.describe(photos, self._forward).cpu().numpy()]

    def _parts(self, photos):
        found = self._head.describe_parts(photos, self._forward).cpu().numpy()
        return [self._regional(photo, vectors) for photo, vectors in zip(photos, found, strict=True)]

    def _regional(self, photo, vectors):
        """The vectors of a photo's regions (R, D), in their order; score 0 where nothing fires."""
        if not np.isfinite(vectors).all():
            return _not_finite()
        whole = _vector(vectors[0])
        if isinstance(whole, images.BadPhoto):
            return whole
        left, top, right, bottom = corners(frame(photo.size, photo.box)).T
        table = [(left + right) / 2, (top + bottom) / 2, np.sqrt((right - left) * (bottom - top)), vectors.any(axis=1)]
        return self.local(np.column_stack(table), vectors, photo)

    def _locals(self, photos):
        found = self._head.describe(photos, self._forward)
        return [self._kept(photo, located) for photo, located in zip(photos, found, strict=True)]

    def _kept(self, photo, located):
        """The local features of one photo: in its box, not zero, the strongest where fewer are asked for, in the grid's order."""
        descriptors, scores = located.descriptors, located.scores
        if not (np.isfinite(scores).all() and np.isfinite(descriptors).all()):
            return _not_finite()
        xy, factor = to_full_size(located.places[:, :2], photo)
        kept = np.flatnonzero((scores > 0) & in_box(xy, photo))
        if self.params.max_keypoints and len(kept) > self.params.max_keypoints:
            kept = np.sort(kept[np.argsort(-scores[kept], kind="stable")[: self.params.max_keypoints]])
        table = np.column_stack([xy[kept], located.places[kept, 2] * factor, scores[kept]])
        return self.local(table, descriptors[kept], photo)


def _vector(row):
    if not np.isfinite(row).all():
        return _not_finite()
    if not row.any():
        return images.BadPhoto("no-descriptors", "nothing in it moves the network: its vector is zero")
    return row


def _not_finite():
    return images.BadPhoto("not-finite", "the network's output is not finite: try precision=float32")
