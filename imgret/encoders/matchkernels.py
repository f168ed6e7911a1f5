"""Match kernels: what lies between descriptors and their words, for each descriptor (SMK) or added up for each word (ASMK)."""

import dataclasses

import numpy as np

from imgret import arrays, words
from imgret.encoders.entries import EntryEncoder, EntryParams
from imgret.errors import ImgretError
from imgret.registry import param

TYPES = ("binary", "float16")


@dataclasses.dataclass(frozen=True)
class ResidualParams(EntryParams):
    """What both kernels have in common."""

    dtype: str = param("binary", "keep the signs of the residual, a bit each, or its numbers", choices=TYPES)
    bits: int = param(0, "turn the residual by a random rotation first, and keep so many of its dimensions; 0: all, as they are", minimum=0)
    seed: int = param(0, "seed of that rotation", minimum=0)


class ResidualEncoder(EntryEncoder):
    """Base of the kernels: how a residual is kept."""

    residuals = True

    def __init__(self, params, codebook, statistics=None):
        super().__init__(params, codebook, statistics)
        self._columns = codebook.centroids_of(np.zeros(1, np.int64)).shape[1]
        if params.bits > self._columns:
            raise ImgretError(
                f"`bits` of a residual of {self._columns} dimensions must be at most as many, got {params.bits}: ask for fewer"
            )
        self._turn = arrays.random_rotation(params.bits, self._columns, params.seed) if params.bits else None

    @property
    def bits(self):
        """Dimensions that are kept."""
        return self.params.bits or self._columns

    def _kept(self, rows):
        """What is kept of residuals (E, d): signatures (E, S)."""
        if self._turn is not None:
            rows = rows @ self._turn.T
        if self.params.dtype == "binary":
            return np.packbits(rows > 0, axis=1, bitorder="little")
        return arrays.unit_rows(rows).astype(np.float16)

    def columns(self):
        """The data columns; see `Encoder.columns`."""
        kept = (-(-self.bits // 8),) if self.params.dtype == "binary" else (self.bits,)
        return {"word": ((), "uint32", {}), "signature": (kept, "uint8" if self.params.dtype == "binary" else "float16", {})}

    def _residuals(self, z, found):
        """x - c of each entry: (E, d), float32; zero where that is rounding."""
        centroids = self.codebook.centroids_of(found.words)
        rows = z[found.descriptors] - centroids
        rows[arrays.row_norms(rows) < words.NOISE * arrays.row_norms(centroids)] = 0
        return rows
