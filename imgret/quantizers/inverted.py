"""The lists of inverted files, and the product quantiser of what is left in each."""

import dataclasses
import math

import numpy as np

from imgret.errors import ImgretError
from imgret.parallel import blocks
from imgret.quantizers import learning
from imgret.quantizers.base import Quantizer
from imgret.quantizers.product import PQParams
from imgret.registry import SAMPLING, Params, param

POINTS_PER_LIST = 64  # training vectors: more are sampled from
LEAST_PER_LIST = 39  # fewer make k-means learn single vectors (faiss warns below the same number)
ITERATIONS = 10


class Lists(Quantizer):
    """Centroids of the lists of an inverted file of rows as they are."""

    name = "ivf-flat"
    learned = ("lists",)

    @dataclasses.dataclass(frozen=True)
    class Params(Params):
        lists: int = param(0, "inverted lists; 0 takes 4 sqrt(N), as far as the training vectors go", minimum=0, maximum=1 << 24)
        seed: int = param(0, "seed of the k-means", role=SAMPLING, minimum=0)

    def __str__(self):
        return f"{self.count} lists, vectors of {self.dim} dimensions as they are, {4 * self.dim} bytes per photo"

    @property
    def fewest(self):
        """As many rows as lists; see `Quantizer.fewest`."""
        return max(1, self.params.lists)

    def check_training(self, n_train):
        """Refuse fewer rows than lists."""
        if n_train < self.count:
            raise ImgretError(
                f"'{self.name}' with {self.count} lists needs at least {self.count} training vectors, got {n_train}: "
                f"{self.remedy} or take --set lists={max(1, n_train // LEAST_PER_LIST)}"
            )

    def hold(self, names, take):
        """See `Quantizer.hold`."""
        lists = take("lists", (self.params.lists or None, None))
        self.count, self.dim = lists.shape
        self.arrays = {"lists": lists}

    def decoded(self, y):
        """The centroids of their lists; see `Quantizer.decoded`."""
        return self.arrays["lists"][learning.nearest(y, self.arrays["lists"], self.similarity)]

    def _plan(self, n_train, n):
        wanted = min(round(4 * math.sqrt(n)), n_train // LEAST_PER_LIST)
        self.count = self.params.lists or max(1, wanted)

    def _learn(self, x, jobs, course):
        lists = np.zeros((self.count, self.dim), np.float32)
        self._learn_lists(x, jobs, course(ITERATIONS, {"lists": lists}), lists)
        self.arrays = {"lists": lists}

    def _learn_lists(self, x, jobs, course, lists):
        seed = self.params.seed
        x = learning.subsample(x, POINTS_PER_LIST * self.count, seed)
        how = {"iterations": ITERATIONS, "spherical": self.similarity, "jobs": jobs}
        learning.kmeans(x, self.count, [seed, 4], course=course, into=lists, **how)


class ListsOfCodes(Lists):
    """Centroids of lists, and of the sub-quantisers of the residuals in them, behind a random rotation."""

    name = "ivfpq"
    by_distance = True
    learned = ("rotation", "lists", "centroids")

    @dataclasses.dataclass(frozen=True)
    class Params(PQParams):
        lists: int = param(0, "inverted lists; 0 takes 4 sqrt(N), as far as the training vectors go", minimum=0, maximum=1 << 24)

    def __str__(self):
        return f"{self.count} lists, {self.layout} ({self.layout.how('randomly rotated')}), {self.layout.size} bytes per photo"

    @property
    def fewest(self):
        """As many rows as centroids, and as lists; see `Quantizer.fewest`."""
        return max(1 << self.params.nbits, self.params.lists)

    def check_training(self, n_train):
        """Refuse fewer rows than centroids or lists."""
        self.layout.check_training(n_train, self.name, self.remedy)
        super().check_training(n_train)

    def hold(self, names, take):
        """See `Quantizer.hold`."""
        self.dim = take("rotation", (None, None)).shape[1]
        self.layout = self.params.layout(self.dim)
        self.count = len(take("lists", (self.params.lists or None, None)))
        self.arrays = {name: take(name, shape) for name, shape in self._shapes().items()}

    def decoded(self, y):
        """See `Quantizer.decoded`."""
        coarse = super().decoded(y)
        return coarse + learning.decoded(y - coarse, self.arrays["centroids"])

    def _shapes(self):
        width, parts = self.layout.width, self.layout.parts
        centroids = parts, 1 << self.layout.bits, width // parts
        return {"rotation": (width, self.dim), "lists": (self.count, width), "centroids": centroids}

    def _plan(self, n_train, n):
        self.layout = self.params.layout(self.dim)
        super()._plan(n_train, n)

    def _learn(self, x, jobs, course):
        seed, most = self.params.seed, learning.POINTS_PER_CENTROID << self.layout.bits
        shapes = self._shapes()
        lists, centroids = (np.zeros(shapes[name], np.float32) for name in ("lists", "centroids"))
        course = course(ITERATIONS + self.layout.parts, {"lists": lists, "centroids": centroids})
        self.arrays = {"rotation": self.layout.rotation(seed)}
        x = self.rotated(learning.subsample(x, max(POINTS_PER_LIST * self.count, most), [seed, 5]))
        self._learn_lists(x, jobs, course, lists)
        x = learning.subsample(x, most, seed)
        residuals = [x[block] - lists[learning.nearest(x[block], lists, self.similarity)] for block in blocks(len(x))]
        learning.codebooks(np.concatenate(residuals), self.layout, seed, jobs, course, centroids)
        self.arrays |= {"lists": lists, "centroids": centroids}
