"""What can be set of any training, and the parameters of a way to train: flat, as `--set` names them."""

import dataclasses

from imgret import registry
from imgret.errors import UsageError
from imgret.networks.composed import composed
from imgret.networks.heads import HEADS
from imgret.networks.params import OF_NETWORK, BackboneParams, ViewParams
from imgret.networks.trained import FromWeights
from imgret.registry import SAMPLING, load, param
from imgret.training.augment import Augment

# heads that vectors are trained through: those of maps that have no other classifier's weights in them
TRAINED = ("gem", "avg", "max", "rmac", "crow", "netvlad", "attention", "se")
POOLS = {name: load(HEADS, name, "head") for name in TRAINED}


@dataclasses.dataclass(frozen=True)
class Recipe(registry.Params):
    """How long, how fast, and on what."""

    epochs: int = param(5, "times that all photos are gone through", minimum=1, maximum=100_000)
    rate: float = param(5e-5, "learning rate of the network's weights", above=0, maximum=1e3)
    head_rate: float = param(10.0, "factor of the learning rate for what is learned beside them", minimum=0, maximum=1e6)
    schedule: str = param("cosine", "how the rate falls to the end", choices=("constant", "cosine", "exponential"))
    final_rate: float = param(0.1, "share of the rate that is left at the end", above=0, maximum=1)
    warmup: int = param(0, "steps in which the rate rises to its full height", minimum=0, maximum=1_000_000)
    optimiser: str = param("adamw", "how weights follow their gradients", choices=("adamw", "adam", "sgd"))
    decay: float = param(1e-4, "weight decay", minimum=0, maximum=10)
    batch_norm: str = param(
        "frozen",
        "frozen: as it was trained; affine: its factors learn, its statistics stay; full: both",
        choices=("frozen", "affine", "full"),
    )
    learn_head: bool = param(True, "whether what the head can learn is learned: GeM's exponent, a last layer ...")
    freeze: str = param("", "module up to which the network stays as it is: its maps are kept, and computed once")
    views: int = param(
        0, "different looks at each photo; 0: new ones in each epoch (with `freeze` as many as are kept)", minimum=0, maximum=1000
    )
    micro: int = param(
        64, "photos that go through the network together, at most: a batch may be larger", role=SAMPLING, minimum=1, maximum=4096
    )
    threads: int = param(1, "processor threads of the network: another number, other last digits", role=SAMPLING, minimum=1, maximum=256)
    near: float = param(10.0, "places: metres within which photos match", above=0, maximum=1e6)
    far: float = param(25.0, "places: metres beyond which photos do not match", above=0, maximum=1e6)
    holdout: float = param(0.15, "share of the groups, or photos, that is kept for validation where none is given", minimum=0, maximum=0.9)


@dataclasses.dataclass(frozen=True)
class HeadChoice(registry.Params):
    """Which head makes the vector."""

    pool: str = param("gem", f"how a map becomes a vector: {', '.join(POOLS)}", choices=tuple(POOLS))


@dataclasses.dataclass(frozen=True)
class NetVladChoice(HeadChoice):
    """The same, NetVLAD by default."""

    pool: str = param("netvlad", HeadChoice.__dataclass_fields__["pool"].metadata["help"], choices=tuple(POOLS))


def params_of(*own, choice=HeadChoice):
    """The parameters of a way to train: its own, and those of every training.

    Parameters
    ----------
    *own : type
        Dataclasses of `imgret.registry.Params`.
    choice : type
        `HeadChoice`, or one with another default.

    Returns
    -------
    type
    """
    base = composed(
        (BackboneParams, ViewParams, Augment.Params, choice, Recipe, *own), "pool", {name: head.Params for name, head in POOLS.items()}
    )

    class Params(FromWeights, base):
        """Parameters of a training."""

        OF_NETWORK = OF_NETWORK
        OWN = tuple(each.name for kind in own for each in dataclasses.fields(kind))

        def __post_init__(self):
            super().__post_init__()
            if self.near > self.far:
                raise UsageError(
                    f"`near` is {self.near:g} m and `far` {self.far:g} m: photos between them would both match and not; set `far` to "
                    "at least `near`"
                )
            for name in self.idle():
                raise UsageError(f"`{name}` has no effect with pool={self.pool}: leave it out")
            if self.scales != (1.0,) or self.flip:
                raise UsageError("training looks at photos at one scale: set `scales` and `flip` where photos are described")
            if self.precision == "float16":
                raise UsageError("training in float16 loses small gradients: set precision=bfloat16 or float32")
            if self.batch_norm == "full" and self.freeze:
                raise UsageError("batch_norm=full changes the layers below `freeze`: leave one of them out")

        def described(self):
            """What `extract -m cnn` has to be told to describe photos as this training does: dict, ready for JSON."""
            chosen = self.part(self.CHOICES[self.pool]).to_json()
            found = {}
            for kind in (BackboneParams, ViewParams):
                found |= self.part(kind).to_json()
            for name in ("digest", "seed", "precision"):
                del found[name]
            return found | {"pool": self.pool} | chosen

    return Params
