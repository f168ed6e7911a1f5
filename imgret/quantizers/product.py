"""Product quantisers: a few bytes for each row."""

import dataclasses

import numpy as np

from imgret.errors import UsageError
from imgret.quantizers import layout, learning
from imgret.quantizers.base import Quantizer
from imgret.registry import SAMPLING, Params, param


@dataclasses.dataclass(frozen=True)
class PQParams(Params):
    """What product quantisers share."""

    bytes: int = param(20, "bytes per photo", minimum=1, maximum=4096)
    nbits: int = param(8, "bits of a sub-quantiser; 4 need fewer training vectors", choices=(4, 8))
    seed: int = param(0, "seed of the k-means", role=SAMPLING, minimum=0)

    def layout(self, dim, whole=False):
        """The `Layout` over so many dimensions."""
        return layout.Layout(dim, 8 * self.bytes // self.nbits, self.nbits, whole)


class ProductQuantizer(Quantizer):
    """Centroids of sub-quantisers, behind a rotation or not."""

    name = "pq"
    by_distance = True
    learned = ("rotation", "centroids")

    @dataclasses.dataclass(frozen=True)
    class Params(PQParams):
        rotation: str = param("random", "what is done before the quantiser", choices=("random", "none"))
        shared: bool = param(False, "one codebook for all sub-quantisers: for whitened vectors of which few can be learned from")

    @property
    def _shared(self):
        return self.params.shared

    @property
    def _whole(self):
        return self.params.rotation == "none"

    @property
    def _how(self):
        return "randomly rotated" if self.params.rotation == "random" else "not rotated"

    def __str__(self):
        return f"{self.layout} ({self.layout.how(self._how)}), {self.layout.size} bytes per photo"

    @property
    def fewest(self):
        """As many rows as centroids; see `Quantizer.fewest`."""
        return 1 << self.params.nbits

    def check_training(self, n_train):
        """Refuse fewer rows than centroids."""
        self.layout.check_training(n_train, self.name, self.remedy)

    def names(self, there):
        """See `Quantizer.names`: a rotation may be missing where there was nothing to do."""
        return self.learned[1:] if self._whole and "rotation" not in there else self.learned

    def hold(self, names, take):
        """See `Quantizer.hold`."""
        if self._whole and "rotation" not in names:
            centroids = take("centroids", (8 * self.params.bytes // self.params.nbits, 1 << self.params.nbits, None))
            self.dim = len(centroids) * centroids.shape[2]
        else:
            self.dim = take("rotation", (None, None)).shape[1]
        self.layout = self.params.layout(self.dim, self._whole)
        self.arrays = {name: take(name, self._shapes()[name]) for name in self.learned if name in names}

    def decoded(self, y):
        """See `Quantizer.decoded`."""
        return learning.decoded(y, self.arrays["centroids"])

    def _shapes(self):
        width, parts = self.layout.width, self.layout.parts
        return {"rotation": (width, self.dim), "centroids": (parts, 1 << self.layout.bits, width // parts)}

    def _plan(self, n_train, n):
        self.layout = chosen = self.params.layout(self.dim, self._whole)
        if self._whole and chosen.width > self.dim > layout.MOST_ROTATED:
            raise UsageError(
                f"`rotation` may be none for {self.dim} dimensions only where the {chosen.parts} sub-quantisers share them out evenly: "
                "take other bytes, or --set rotation=random"
            )

    def _learn(self, x, jobs, course):
        x = learning.subsample(x, learning.POINTS_PER_CENTROID << self.layout.bits, self.params.seed)
        centroids = np.zeros(self._shapes()["centroids"], np.float32)
        rotation, course = self._rotation(x, jobs, course, centroids)
        self.arrays = {} if rotation is None else {"rotation": rotation}
        learning.codebooks(self.rotated(x), self.layout, self.params.seed, jobs, course, centroids, shared=self._shared)
        self.arrays["centroids"] = centroids

    def _rotation(self, x, jobs, course, centroids):
        """The matrix (width, dim) before the quantiser, None for no such; and the course, begun."""
        course = course(1 if self._shared else self.layout.parts, {"centroids": centroids})
        if self.params.rotation == "random":
            return self.layout.rotation(self.params.seed), course
        return self.layout.spread() if self.layout.width > self.dim else None, course


class OptimizedProductQuantizer(ProductQuantizer):
    """The same behind a rotation that is learned for it."""

    name = "opq"

    @dataclasses.dataclass(frozen=True)
    class Params(PQParams):
        pass

    _how, _shared, _whole = "rotation learned", False, False

    def _rotation(self, x, jobs, course, centroids):
        seed, first, within = self.params.seed, None, self.layout
        if within.width < within.dim:
            first = within.rotation(seed)
            x, within = x @ first.T, dataclasses.replace(within, dim=within.width, whole=True)
        rotation = np.zeros((within.width, within.dim), np.float32)
        course = course(2 * within.parts + learning.ROTATIONS, {"centroids": centroids, "rotation": rotation})
        learning.optimized_rotation(x, within, seed, jobs, course, rotation, centroids)
        return rotation if first is None else rotation @ first, course
