"""Early fusion: several vectors of each photo, one after another."""

import dataclasses

import numpy as np

from imgret import arrays
from imgret.encoders.base import Encoder
from imgret.errors import ImgretError, UsageError
from imgret.registry import SAMPLING, Params, param


class Concat(Encoder):
    """Vectors of the same photos side by side: each L2-normalised and weighted, then L2 over all.

    The cosine of two such vectors is the mean of the parts' cosines, weighted by the squares of `weights`.

    References
    ----------
    L. Zheng, Y. Yang & Q. Tian, SIFT meets CNN: a decade survey of instance retrieval, PAMI 2018, section 5.3 (early fusion).
    """

    name = "concat"
    takes = "vectors"
    branches = (2, None)

    @dataclasses.dataclass(frozen=True)
    class Params(Params):
        weights: tuple[float, ...] = param((), "factor of each input, in their order; none: 1 each", minimum=0.0, maximum=1e6)
        dtype: str = param("float32", "type of the stored vectors", role=SAMPLING, choices=("float32", "float16"))

        def __post_init__(self):
            super().__post_init__()
            if self.weights and not any(self.weights):
                raise UsageError("`weights` must not all be 0")

    def over(self, widths):
        """The encoder, over inputs of these columns; see `Encoder.over`. `weights` become one for each."""
        count, weights = len(widths), self.params.weights
        if weights and len(weights) != count:
            raise ImgretError(f"`weights` has {len(weights)} values for {count} inputs: give one for each")
        self.params = dataclasses.replace(self.params, weights=weights or (1.0,) * count)
        return super().over(widths)

    @property
    def dim(self):
        """Length of the vectors."""
        return sum(self.widths)

    def encode_block(self, *parts):
        """Several vectors (N, V_i) of each photo as one, (N, Σ V_i); zero where every part is. See `Encoder.encode_block`."""
        if len(parts) != len(self.params.weights):
            raise ImgretError(f"{len(self.params.weights)} vectors of each photo are needed, got {len(parts)}")
        rows = [arrays.unit_rows(arrays.rows(part, what="the matrix of vectors")) for part in parts]
        joined = np.concatenate([part * np.float32(weight) for part, weight in zip(rows, self.params.weights, strict=True)], axis=1)
        return arrays.unit_rows(joined, out=joined).astype(self.params.dtype)
