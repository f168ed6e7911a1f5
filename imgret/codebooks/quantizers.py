"""The quantisers of indexes, as codebooks: what a trained index learns, apart from its rows."""

import dataclasses

import numpy as np

from imgret.codebooks.base import Codebook
from imgret.codebooks.common import check_names, check_rows, take
from imgret.codebooks.frames import frame_of
from imgret.metrics import METRICS, prepared
from imgret.parallel import blocks, ordered_map
from imgret.quantizers.inverted import Lists, ListsOfCodes
from imgret.quantizers.product import OptimizedProductQuantizer, ProductQuantizer
from imgret.registry import param

JUDGED = 1 << 15  # rows by which the error is judged, at most
METRIC = param("cosine", "what the index compares vectors by", choices=METRICS)


class Quantizing(Codebook):
    """Base of the codebooks that indexes are filled by: a wrapper of an `imgret.quantizers.base.Quantizer`.

    Attributes
    ----------
    quantizer : type
        Its class.
    quantizer_ : Quantizer
        What was learned.
    """

    takes = ("vectors",)
    quantizer = None

    def __init__(self, params):
        super().__init__(params)
        given = {field.name: getattr(params, field.name) for field in dataclasses.fields(self.quantizer.Params)}
        self.quantizer_ = self.quantizer(self.quantizer.Params(**given), params.metric)
        self.quantizer_.remedy = "give more of them"

    @property
    def fewest(self):
        """See `Codebook.fewest`."""
        return self.quantizer_.fewest

    def plan(self, dim, n_train, n):
        """Choose the layout; see `Codebook.plan`."""
        return self.quantizer_.plan(dim, n_train, n)

    def fit(self, x, *, jobs=1, checkpoint=None, progress=None):
        """Learn, with a checkpoint after each iteration of lists, sub-quantiser and turn of a rotation; see `Codebook.fit`.

        Raises
        ------
        ImgretError
            For fewer rows than lists or centroids, or values that are not finite or beyond 1e18.
        """
        check_rows(x, 1, "vectors")
        frame_of(x, jobs)
        learner = self.quantizer_
        if learner.dim is None:
            learner.plan(x.shape[1], len(x), len(x))
        learner.learn(x, jobs=jobs, checkpoint=checkpoint, progress=progress)
        self.dim_ = learner.dim
        self._summary = {"rows": len(x)}
        if "centroids" in learner.arrays:
            self._summary["error"] = self._error(x[:: -(-len(x) // JUDGED)], jobs)
        return self

    def _error(self, x, jobs):
        """The share of the rows' squared length that codes lose."""

        def work(block):
            y = self.transform(x[block])
            return np.square(y, dtype=np.float64).sum(), np.square(y - self.quantizer_.decoded(y), dtype=np.float64).sum()

        whole, lost = np.sum(list(ordered_map(work, blocks(len(x)), jobs)), axis=0)
        return float(lost / whole) if whole else 0.0

    def transform(self, x):
        """Rows where the centroids lie: by "cosine" of unit length, and rotated; see `Codebook.transform`."""
        return self.quantizer_.rotated(prepared(x, self.params.metric, self.dim_, "the matrix to quantise"))

    def to_arrays(self):
        """What was learned, by name: dict of str to ndarray."""
        return dict(self.quantizer_.arrays)

    @classmethod
    def from_arrays(cls, params, arrays):
        """See `Codebook.from_arrays`."""
        self = cls(params)
        check_names(arrays, self.quantizer_.names(arrays))
        self.quantizer_.hold(arrays, lambda name, shape: take(arrays, name, shape))
        self.dim_ = self.quantizer_.dim
        return self


class PQ(Quantizing):
    """The product quantiser of the index `pq`: a rotation, and centroids for each part of a vector.

    Attributes
    ----------
    quantizer_.arrays : dict
        `rotation` (width, D), where there is one, and `centroids` (parts, 2^nbits, width / parts).

    References
    ----------
    H. Jégou, M. Douze & C. Schmid, "Product quantization for nearest neighbor search", PAMI 2011, section 3.
    """

    name = "pq"
    quantizer = ProductQuantizer

    @dataclasses.dataclass(frozen=True)
    class Params(ProductQuantizer.Params):
        metric: str = METRIC


class OPQ(Quantizing):
    """The product quantiser of the index `opq`, behind a rotation that is learned for it.

    Attributes
    ----------
    quantizer_.arrays : dict
        `rotation` (width, D) and `centroids` (parts, 2^nbits, width / parts).

    References
    ----------
    T. Ge, K. He, Q. Ke & J. Sun, "Optimized product quantization for approximate nearest neighbor search", CVPR 2013, section 3.2.
    """

    name = "opq"
    quantizer = OptimizedProductQuantizer

    @dataclasses.dataclass(frozen=True)
    class Params(OptimizedProductQuantizer.Params):
        metric: str = METRIC


class IVFPQ(Quantizing):
    """The lists of the index `ivfpq`, and the product quantiser of the residuals in them. Lists are as many as suit the inputs' photos.

    Attributes
    ----------
    quantizer_.arrays : dict
        `rotation` (width, D), `lists` (lists, width) and `centroids` (parts, 2^nbits, width / parts).

    References
    ----------
    H. Jégou, M. Douze & C. Schmid, "Product quantization for nearest neighbor search", PAMI 2011, section 4.
    """

    name = "ivfpq"
    quantizer = ListsOfCodes

    @dataclasses.dataclass(frozen=True)
    class Params(ListsOfCodes.Params):
        metric: str = METRIC


class IVFFlat(Quantizing):
    """The lists of the index `ivf-flat`. They are as many as suit the inputs' photos.

    Attributes
    ----------
    quantizer_.arrays : dict
        `lists` (lists, D).

    References
    ----------
    H. Jégou, M. Douze & C. Schmid, "Product quantization for nearest neighbor search", PAMI 2011, section 4.
    """

    name = "ivf-flat"
    quantizer = Lists

    @dataclasses.dataclass(frozen=True)
    class Params(Lists.Params):
        metric: str = METRIC
