"""Training for place recognition: where photos were taken is known, but not which of those near each other show the same."""

import dataclasses

from imgret.losses.sare import SARE
from imgret.losses.triplet import Triplet
from imgret.miners import MINERS
from imgret.miners.sampled import Sampled
from imgret.registry import param
from imgret.trainers.recipe import NetVladChoice, params_of
from imgret.trainers.tuples import TupleParams, Tuples


@dataclasses.dataclass(frozen=True)
class PlaceParams(TupleParams):
    """How tuples are made, as published for NetVLAD."""

    negatives: int = param(10, "photos in a tuple that do not match", minimum=1, maximum=1000)
    tuples: int = param(4, "tuples in a batch", minimum=1, maximum=100_000)
    queries: int = param(
        1000, "photos that ask, in each part of an epoch, before all vectors are computed anew", minimum=1, maximum=10_000_000
    )
    pool_size: int = param(100_000, "photos among which negatives are looked for", minimum=2, maximum=100_000_000)
    alone: bool | None = param(
        None, "photos that match no other ask too: for another view of themselves; none: unless the truth is of places"
    )
    miner: str = param("sampled", f"how negatives are found: {', '.join(MINERS)}", choices=tuple(MINERS))


class Weak(Tuples):
    """Base of weakly supervised ways: of the photos that were taken near a query, the one counts that the network finds nearest, the best
    potential positive, as others may look another way. Where the truth is of groups or pairs, all that match are certain, and one is drawn.

    Vectors are computed anew after every `queries` queries. The published settings are the defaults: the nearest within 10 metres, 10
    negatives farther than 25, found among 1000 that are drawn and the 10 of the last time, 4 tuples a step, 1000 queries.

    References
    ----------
    R. Arandjelović, P. Gronat, A. Torii, T. Pajdla & J. Sivic, "NetVLAD: CNN architecture for weakly supervised place recognition", CVPR
    2016, section 4 and appendix A.
    """

    weak = True


class NetVlad(Weak):
    """The weakly supervised ranking loss of NetVLAD: the best potential positive nearer than all that is far away, by a margin (eq. 7)."""

    name = "netvlad"
    Loss = Triplet
    Params = params_of(PlaceParams, Sampled.Params, Triplet.Params, choice=NetVladChoice)


class Sare(Weak):
    """Stochastic attraction and repulsion: how probable the match is by a kernel, among all negatives or against each.

    References
    ----------
    L. Liu, H. Li & Y. Dai, "Stochastic attraction-repulsion embedding for large scale image localization", ICCV 2019.
    """

    name = "sare"
    Loss = SARE
    Params = params_of(PlaceParams, Sampled.Params, SARE.Params, choice=NetVladChoice)
