"""Codebooks of local descriptors, and the projection that they may learn first."""

import numpy as np

from imgret.arrays import rows
from imgret.codebooks.base import Codebook
from imgret.codebooks.common import take
from imgret.codebooks.pca import PCA
from imgret.codebooks.projection import project
from imgret.parallel import blocks, ordered_map

FULL = -1  # `pca`: the descriptors' own dimensions, turned to their principal axes


class LocalCodebook(Codebook):
    """A codebook of local descriptors that may learn a PCA of them first (`params.pca`; 0 = none, `FULL` = of all their dimensions).

    Attributes
    ----------
    dim_ : int
        Columns of the descriptors before any projection.
    pca_mean_ : ndarray, shape (dim_,), float32, or None
    pca_components_ : ndarray, shape (d, dim_), float32, or None
    """

    pca_mean_ = None
    pca_components_ = None

    def transform(self, x):
        """Descriptors after the local projection, or as they are; see `Codebook.transform`."""
        x = rows(x, self.dim_, "the matrix of descriptors")
        return x if self.pca_mean_ is None else project(x, self.pca_mean_, self.pca_components_)

    @property
    def fewest(self):
        """As many rows as words, and as dimensions; see `Codebook.fewest`."""
        return max(self.params.size, self.params.pca)

    def _learn_projection(self, x, jobs):
        """The sample in the codebook's space: `x` itself, or its projection, the only copy that is made."""
        self.dim_ = x.shape[1]
        if not self.params.pca:
            return x
        size = min(x.shape) if self.params.pca == FULL else self.params.pca
        pca = PCA(PCA.Params(size=size, seed=self.params.seed)).fit(x, jobs=jobs)
        self.pca_mean_, self.pca_components_ = pca.mean_, pca.components_
        projected = np.empty((len(x), size), np.float32)

        def fill(block):
            project(x[block], pca.mean_, pca.components_, out=projected[block])

        for _ in ordered_map(fill, blocks(len(x)), jobs):
            pass
        return projected

    @property
    def columns(self):
        """The width d that the parameters give its own arrays; None where the descriptors decide."""
        return self.params.pca if self.params.pca > 0 else None

    def _names(self):
        return self.learned + (("pca_mean", "pca_components") if self.params.pca else ())

    def _take_projection(self, arrays, columns):
        """Set the local projection, if there is one; `columns` is the width of the codebook's own arrays."""
        self.dim_ = columns
        if self.params.pca:
            self.pca_components_ = take(arrays, "pca_components", (columns, None))
            self.dim_ = self.pca_components_.shape[1]
            self.pca_mean_ = take(arrays, "pca_mean", (self.dim_,))
