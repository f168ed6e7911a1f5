"""Projection of vectors by a fitted PCA or learned whitening."""

import dataclasses

import numpy as np

from imgret import arrays
from imgret.components import Need
from imgret.encoders.base import Encoder
from imgret.errors import ImgretError
from imgret.registry import SAMPLING, Params, param


class Project(Encoder):
    """Projection by a `pca` codebook (whitened if the codebook is) or an `lw` codebook, then L2.

    Parameters
    ----------
    params : Params
    codebook : fitted PCA or LW
        `components_` (d, V), `dim_` = V, and `project`, (N, V) -> (N, d).

    References
    ----------
    H. Jégou & O. Chum, "Negative evidences and co-occurrences in image retrieval: the benefit of PCA and whitening", ECCV 2012.
    F. Radenović, G. Tolias & O. Chum, "Fine-tuning CNN image retrieval with no human annotation", PAMI 2018 (learned whitening).
    """

    name = "project"
    needs = (Need("projection", ("pca", "lw")),)
    takes = "vectors"

    @dataclasses.dataclass(frozen=True)
    class Params(Params):
        dtype: str = param("float32", "type of the stored vectors", role=SAMPLING, choices=("float32", "float16"))

    @property
    def dim(self):
        """Length d of the vectors."""
        return len(self.codebook.components_)

    def encode_block(self, vectors):
        """Vectors (N, V), projected: (N, d); a row that is projected to zero stays zero. See `Encoder.encode_block`."""
        x = arrays.rows(vectors, self.codebook.dim_, "the matrix of vectors")
        with np.errstate(all="ignore"):  # what is not finite in the end is refused
            projected = np.array(self.codebook.project(x), dtype=np.float32, order="C")
            if not np.isfinite(projected).all():
                raise ImgretError("the vectors are too large to be projected in float32: scale them, and train the codebook on them again")
            return arrays.unit_rows(projected, out=projected).astype(self.params.dtype)
