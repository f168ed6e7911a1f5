"""What can be set about a network's features."""

import dataclasses

from imgret import registry
from imgret.errors import UsageError
from imgret.registry import PLACE, SAMPLING, param

VECTORS = ("avg", "max", "gem", "rmac", "crow", "cam", "fc")  # one vector per photo
LOCAL = ("none", "regions", "patches")  # local features
# parameters that mean something only with some kinds of pooling
ONLY = {
    "p": ("gem",),
    "centre": ("avg",),
    "levels": ("rmac", "regions"),
    "classes": ("cam",),
    "flip": VECTORS,
    "combine": VECTORS,
    "region_pool": ("regions", "patches"),
}
MAX_SCALE = 4.0
LARGEST = 8192  # pixels of the longest side of a view
MOST = 16  # values of a list


@dataclasses.dataclass(frozen=True)
class Params(registry.Params):
    """Parameters of a network's features."""

    model: str = param("resnet50", "a classification network of torchvision, by its name")
    layer: tuple[str, ...] = param((), "module whose output is taken (fc6, fc7, fc8, avgpool too); none: the last convolutional map")
    weights: str = param(
        "imagenet", "a state_dict (.pth, .safetensors), imagenet (torchvision's own, from its cache) or random", role=PLACE
    )
    digest: str = param("", "SHA-256 that the weights must have; found out where it is not given")
    seed: int = param(0, "seed of random weights", role=SAMPLING, minimum=0, maximum=2**63 - 1)
    pool: str = param(
        "gem",
        "one vector: avg (SPoC), max (MAC), gem, rmac, crow, cam, fc; local features: none (columns), regions, patches",
        choices=(*VECTORS, *LOCAL),
    )
    p: float = param(3.0, "exponent of gem", minimum=1.0, maximum=100.0)
    centre: bool = param(False, "avg: SPoC's centre prior")
    levels: int = param(3, "rmac, regions: sizes of regions", minimum=1, maximum=10)
    classes: int = param(64, "cam: most probable classes that are summed over", minimum=1, maximum=1000)
    region_pool: str = param("max", "regions, patches: how each is pooled", choices=("max", "avg", "gem"))
    patches: tuple[int, ...] = param((128,), "patches: sides in pixels, half a side apart", role=SAMPLING, minimum=32, maximum=1024)
    patch_size: int = param(224, "patches: side in pixels that each is resized to", minimum=32, maximum=1024)
    max_keypoints: int = param(0, "local features: strongest kept per photo, 0 for all", role=SAMPLING, minimum=0)
    scales: tuple[float, ...] = param((1.0,), "sizes at which the photo is looked at, as factors of its own", above=0, maximum=MAX_SCALE)
    flip: bool = param(False, "look at the mirrored photo too")
    combine: str = param(
        "sum", "vectors of scales and flips: their sum, or gem, their generalised mean (exponent p)", choices=("sum", "gem")
    )
    max_size: int = param(512, "longest side in pixels; larger photos are reduced", role=SAMPLING, minimum=32, maximum=LARGEST)
    resize: str = param("keep", "keep: the photo's aspect stays; square: to max_size × max_size", choices=("keep", "square"))
    mean: tuple[float, ...] | None = param(None, "subtracted from each channel; none: what the weights were trained with")
    std: tuple[float, ...] | None = param(None, "each channel is divided by; none: what the weights were trained with", above=0)
    channels: str = param("rgb", "order of the channels", choices=("rgb", "bgr"))
    range: float = param(1.0, "value of white before mean and std: 1 or 255", above=0)
    precision: str = param("float32", "arithmetic of the network", role=SAMPLING, choices=("float32", "bfloat16", "float16"))
    batch: int = param(8, "photos of one shape that go through the network together, at most", role=SAMPLING, minimum=1, maximum=1024)
    dtype: str = param("float32", "type of stored vectors (local features: float16)", role=SAMPLING, choices=("float32", "float16"))

    def __post_init__(self):
        super().__post_init__()
        if not self.scales:
            raise UsageError("`scales` must hold at least one value")
        if not self.weights:
            raise UsageError("`weights` must name a file, or be imagenet or random")
        for name in ("scales", "patches", "layer"):
            if len(getattr(self, name)) > MOST:
                raise UsageError(f"`{name}` takes at most {MOST} values, got {len(getattr(self, name))}")
        if self.max_size * max(self.scales) > LARGEST:
            raise UsageError(
                f"`max_size` times the largest of `scales` must be at most {LARGEST}, got {self.max_size * max(self.scales):g}"
            )
        for name in ("mean", "std"):
            value = getattr(self, name)
            if value is not None and len(value) != 3:
                raise UsageError(f"`{name}` must be three numbers, one per channel, got {len(value)}")
        if len(set(self.layer)) < len(self.layer):
            raise UsageError("`layer` has one name twice")
        if self.flip and self.pool in LOCAL:
            raise UsageError(f"`flip` has no effect on local features (pool={self.pool}): leave it out")
        if self.pool == "patches" and not self.patches:
            raise UsageError("`patches` must hold at least one size")
        if self.pool in ("cam", "patches") and len(self.layer) > 1:
            raise UsageError(f"pool={self.pool} takes one `layer`, got {len(self.layer)}")
        if self.digest and (len(self.digest) != 64 or set(self.digest) - set("0123456789abcdef")):
            raise UsageError("`digest` must be a SHA-256 in hexadecimal")

    def space(self):
        """What changes the meaning: without what has no effect with this pooling."""
        found = super().space()
        pooled_by = self.region_pool if self.pool in ("regions", "patches") else self.combine if self.pool in VECTORS else ""
        p_counts = "gem" in (self.pool, pooled_by)
        for name, pools in ONLY.items():
            if self.pool not in pools and not (name == "p" and p_counts):
                del found[name]
        if self.pool != "patches":
            del found["patch_size"]
        if self.pool in LOCAL:
            del found["scales"]  # a descriptor means the same at any
        return found

    def map_space(self):
        """The part of `space` that is about the map before it is pooled."""
        names = ("model", "layer", "digest", "mean", "std", "channels", "range")
        return {name: value for name, value in self.space().items() if name in names}
