"""Product quantisers: how many bits where.

References
----------
H. Jégou, M. Douze & C. Schmid, "Product quantization for nearest neighbor search", PAMI 2011.
T. Ge, K. He, Q. Ke & J. Sun, "Optimized product quantization for approximate nearest neighbor search", CVPR 2013.
"""

import dataclasses

import numpy as np

from imgret.errors import ImgretError

MOST_ROTATED = 2048  # dimensions: a rotation of more takes seconds for a hundred vectors, and hundreds of megabytes
PROJECTED = 1024  # dimensions that more are projected to: it changes distances by a thirtieth, much less than a code of some bytes does


@dataclasses.dataclass(frozen=True)
class Layout:
    """`parts` sub-quantisers of `bits` bits over `dim` dimensions, brought to `width`, a multiple of `parts`.

    Up to 2048 dimensions are padded. More are projected, unless `whole`.
    """

    dim: int
    parts: int
    bits: int
    whole: bool = False

    @property
    def width(self):
        """Dimensions that are quantised."""
        padded, projected = -(-self.dim // self.parts) * self.parts, max(PROJECTED // self.parts, 4) * self.parts
        return padded if self.whole or self.dim <= MOST_ROTATED else min(padded, projected)

    def how(self, rotated):
        """What is done to bring them there, `rotated` being what is done where nothing is lost."""
        if self.width < self.dim:
            return rotated.replace("randomly rotated", "randomly projected")
        return f"{rotated}, padded with zeros" if self.width > self.dim else rotated

    @property
    def size(self):
        """Bytes of a code."""
        return self.parts * self.bits // 8

    def __str__(self):
        grown = f"{self.dim} → {self.width} dimensions" if self.width != self.dim else f"{self.dim} dimensions"
        return f"{self.parts} sub-quantisers of {self.bits} bits over {grown}"

    def check_training(self, count, method, remedy):
        """Refuse fewer training vectors than centroids.

        Raises
        ------
        ImgretError
        """
        if count < 1 << self.bits:
            fewer = " or take --set nbits=4" if self.bits > 4 and count >= 16 else ""
            raise ImgretError(
                f"'{method}' with {self.bits}-bit codes needs at least {1 << self.bits} training vectors, got {count}: {remedy}{fewer}"
            )

    def spread(self):
        """Matrix (width, dim) that deals the dimensions out to the sub-quantisers in order, with zeros where one has fewer."""
        each, more = divmod(self.dim, self.parts)
        matrix, taken = np.zeros((self.width, self.dim), np.float32), 0
        for part in range(self.parts):
            for i in range(each + (part < more)):
                matrix[part * self.width // self.parts + i, taken] = 1
                taken += 1
        return matrix

    def rotation(self, seed):
        """Random matrix (width, dim) with orthonormal columns: distances stay, the variance is shared out evenly.

        Where `width` is less than `dim` it has orthogonal rows, scaled so that squared distances stay on average.

        Sub-quantisers of PCA's columns in order would spend as many bits on the last as on the first (Jégou, Douze, Schmid & Pérez,
        CVPR 2010, section 4.2).
        """
        shape = max(self.width, self.dim), min(self.width, self.dim)
        q, r = np.linalg.qr(np.random.default_rng([seed, 1]).standard_normal(shape))
        q *= np.where(np.diagonal(r) < 0, -1, 1)
        return np.ascontiguousarray(q if self.width >= self.dim else q.T * np.sqrt(self.dim / self.width), dtype=np.float32)
