"""Parameters that several heads have: declared once, as `imgret.networks.composed` wants it."""

import dataclasses

from imgret import registry
from imgret.errors import UsageError
from imgret.networks.params import scales
from imgret.registry import SAMPLING, SPACE, param


@dataclasses.dataclass(frozen=True)
class Exponent(registry.Params):
    """The exponent of a generalised mean."""

    p: float = param(3.0, "exponent of gem", minimum=1.0, maximum=100.0)

    @property
    def raised(self):
        """Whether anything is raised to it."""
        return True

    def space(self):
        """What changes the meaning."""
        found = super().space()
        if not self.raised:
            del found["p"]
        return found


@dataclasses.dataclass(frozen=True)
class RegionPool(Exponent):
    """How a part of a map becomes one descriptor."""

    region_pool: str = param("max", "regions, patches: how each is pooled", choices=("max", "avg", "gem"))

    @property
    def raised(self):
        """Whether anything is raised to the exponent."""
        return self.region_pool == "gem"


@dataclasses.dataclass(frozen=True)
class Levels(registry.Params):
    """R-MAC's grid of regions."""

    levels: int = param(3, "rmac, regions: sizes of regions", minimum=1, maximum=10)


@dataclasses.dataclass(frozen=True)
class VectorParams(Exponent):
    """Of every head that gives one vector per photo."""

    scales: tuple[float, ...] = scales(SPACE)
    flip: bool = param(False, "look at the mirrored photo too")
    combine: str = param(
        "sum", "vectors of scales and flips: their sum, or gem, their generalised mean (exponent p)", choices=("sum", "gem")
    )
    embed: int = param(
        0, "dimensions of a last linear layer, which is trained with the network; 0 for none", minimum=0, maximum=65536, newer=True
    )
    embed_as: str = param(
        "linear", "embed: linear, L2-normalised, or hash, a sign for each dimension", choices=("linear", "hash"), newer=True
    )
    shrink: float | None = param(
        None,
        "embed, where its training starts: from 0, all dimensions whitened, to 1, only turned; none: by Ledoit and Wolf's estimate",
        role=SAMPLING,
        minimum=0.0,
        maximum=1.0,
        newer=True,
    )

    def __post_init__(self):
        super().__post_init__()
        if not self.embed and self.below() != self:
            raise UsageError("`embed_as` and `shrink` are about a last linear layer, and there is none: set `embed` to its dimensions")

    def below(self):
        """Those of the head without its last linear layer."""
        fields = {field.name: field for field in dataclasses.fields(VectorParams)}
        wanted = {name: fields[name].default for name in ("embed", "embed_as", "shrink")}
        return self if all(getattr(self, name) == value for name, value in wanted.items()) else dataclasses.replace(self, **wanted)

    @property
    def raised(self):
        """Whether anything is raised to the exponent."""
        return self.combine == "gem"


@dataclasses.dataclass(frozen=True)
class LocalParams(registry.Params):
    """Of every head that gives local features: one means the same at any scale."""

    scales: tuple[float, ...] = scales(SAMPLING)
    max_keypoints: int = param(0, "local features: strongest kept per photo, 0 for all", role=SAMPLING, minimum=0)
