"""What the linear projections of vectors share: their size, how they are applied, their arrays."""

import numpy as np

from imgret.arrays import rows
from imgret.codebooks.base import Codebook
from imgret.codebooks.common import check_rows, take
from imgret.errors import ImgretError
from imgret.parallel import BLOCK, blocks


def project(x, mean, components, out=None):
    """(x - mean) componentsᵀ, float32, block by block."""
    out = np.empty((len(x), len(components)), np.float32) if out is None else out
    for block in blocks(len(x), max(1, min(BLOCK, 2**23 // x.shape[1]))):
        np.matmul(x[block] - mean, components.T, out=out[block])
    return out


class Projection(Codebook):
    """Base of `pca` and `lw`: y = components_ (x − mean_).

    Attributes
    ----------
    dim_ : int
        Columns D of the input.
    mean_ : ndarray, shape (D,), float32
    components_ : ndarray, shape (size, D), float32
    eigenvalues_ : ndarray, shape (size,), float64
        Descending.
    """

    default_encoder = "project"
    step = "part"
    learned = ("mean", "components", "eigenvalues")

    @property
    def fewest(self):
        """As many rows as dimensions; see `Codebook.fewest`."""
        return self.params.size

    def _check_sample(self, x):
        """Refuse a sample with fewer rows or columns than dimensions are asked for."""
        size = self.params.size
        check_rows(x, size, "dimensions")
        if size > x.shape[1]:
            raise ImgretError(f"{size} dimensions were asked for (`size`), but the rows have {x.shape[1]} columns: ask for fewer")

    def project(self, x):
        """Rows in the learned space, d = `size`, not L2-normalised; see `Codebook.transform`."""
        return project(rows(x, self.dim_, "the matrix to project"), self.mean_, self.components_)

    def transform(self, x):
        """`project`, under the name that every codebook has."""
        return self.project(x)

    def _take(self, arrays):
        size = self.params.size
        self.components_ = take(arrays, "components", (size, None))
        self.dim_ = self.components_.shape[1]
        self._check_components()
        self.mean_ = take(arrays, "mean", (self.dim_,))
        self.eigenvalues_ = take(arrays, "eigenvalues", (size,), np.float64)
        if (self.eigenvalues_ < 0).any() or (np.diff(self.eigenvalues_) > 0).any():
            raise ImgretError("the codebook's `eigenvalues` must be descending and not negative: train it again")

    def _check_components(self):
        """Refuse components from a file that a fit cannot have given."""
