"""What can be set about a network, and about the photos it is shown."""

import dataclasses

from imgret import registry
from imgret.errors import UsageError
from imgret.registry import PLACE, SAMPLING, param

MAX_SCALE = 4.0
LARGEST = 8192  # pixels of the longest side of a view


@dataclasses.dataclass(frozen=True)
class BackboneParams(registry.Params):
    """Which network with which weights, cut where, and what it expects of a photo: what its maps mean."""

    model: str = param("resnet50", "a classification network of torchvision, by its name; timm:NAME, one of timm; onnx, a file")
    layer: tuple[str, ...] = param((), "module whose output is taken (fc6, fc7, fc8, avgpool too); none: the last convolutional map")
    weights: str = param(
        "imagenet", "a state_dict (.pth, .safetensors) or ONNX model, imagenet (torchvision's own, from its cache) or random", role=PLACE
    )
    digest: str = param("", "SHA-256 that the weights must have; found out where it is not given")
    seed: int = param(0, "seed of random weights", role=SAMPLING, minimum=0, maximum=2**63 - 1)
    mean: tuple[float, ...] | None = param(None, "subtracted from each channel; none: what the weights were trained with")
    std: tuple[float, ...] | None = param(None, "each channel is divided by; none: what the weights were trained with", above=0)
    channels: str = param("rgb", "order of the channels", choices=("rgb", "bgr"))
    range: float = param(1.0, "value of white before mean and std: 1 or 255", above=0)
    precision: str = param("float32", "arithmetic of the network", role=SAMPLING, choices=("float32", "bfloat16", "float16"))

    def __post_init__(self):
        super().__post_init__()
        if not self.weights:
            raise UsageError("`weights` must name a file, or be imagenet or random")
        for name in ("mean", "std"):
            value = getattr(self, name)
            if value is not None and len(value) != 3:
                raise UsageError(f"`{name}` must be three numbers, one per channel, got {len(value)}")
        if len(set(self.layer)) < len(self.layer):
            raise UsageError("`layer` has one name twice")
        if self.digest and (len(self.digest) != 64 or set(self.digest) - set("0123456789abcdef")):
            raise UsageError("`digest` must be a SHA-256 in hexadecimal")


@dataclasses.dataclass(frozen=True)
class ViewParams(registry.Params):
    """How large a photo is shown."""

    max_size: int = param(512, "longest side in pixels; larger photos are reduced", role=SAMPLING, minimum=32, maximum=LARGEST)
    resize: str = param("keep", "keep: the photo's aspect stays; square: to max_size × max_size", choices=("keep", "square"))


# parameters of a network and its photos, whatever head is on it
OF_NETWORK = frozenset(each.name for kind in (BackboneParams, ViewParams) for each in dataclasses.fields(kind)) - {"precision"}


def scales(role):
    """The field `scales`, which changes what a vector means, but not what a local feature does."""
    help = "sizes at which the photo is looked at, as factors of its own"
    return param((1.0,), help, role=role, above=0, maximum=MAX_SCALE)
