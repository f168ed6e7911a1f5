"""Self-supervised fine-grained region similarities: generations of training for place recognition, each taught by the one before."""

import dataclasses

import numpy as np

from imgret import registry
from imgret.losses.sfrs import SFRS
from imgret.miners.sampled import Sampled
from imgret.registry import param
from imgret.trainers.places import PlaceParams, Weak
from imgret.trainers.recipe import NetVladChoice, params_of


@dataclasses.dataclass(frozen=True)
class SfrsParams(registry.Params):
    """What is taught."""

    positives: int = param(10, "photos that may match a query whose regions are taught, the nearest", minimum=1, maximum=1000)


class Sfrs(Weak):
    """SFRS: in each generation the network begins with the weights that it had at first, and learns beside the match that it finds best
    what the generation before says of the regions of the `positives` nearest.

    The first generation is trained by SARE on whole photos. The teacher is the last state of the generation before, and never changes.

    References
    ----------
    Y. Ge, H. Wang, F. Zhu, R. Zhao & H. Li, "Self-supervising fine-grained region similarities for large-scale image localization", ECCV
    2020 (4 generations, 10 photos that may match).
    """

    name = "sfrs"
    several = True
    Loss = SFRS
    Params = params_of(PlaceParams, SfrsParams, Sampled.Params, SFRS.Params, choice=NetVladChoice)

    def __init__(self, params, *codebooks):
        super().__init__(params, *codebooks)
        self.generations = params.generations

    @property
    def few(self):
        """See `Tuples.few`: more once there is a teacher."""
        return self.params.positives if self.generation else 1

    def loss(self, vectors, batch, learned, taught=None):
        """See `Trainer.loss`."""
        ends = np.flatnonzero(np.diff(batch.labels)) + 1
        found = []
        for start, end in zip(np.r_[0, ends].tolist(), np.r_[ends, len(batch)].tolist(), strict=True):
            own = None if taught is None else taught[start:end]
            found.append(self._loss(vectors[start:end], self.params.negatives, own, self.generation))
        return sum(found) / len(found)
