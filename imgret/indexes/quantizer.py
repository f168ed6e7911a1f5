"""Product quantisers: how many bits where, and k-means in fixed blocks.

References
----------
H. Jégou, M. Douze & C. Schmid, "Product quantization for nearest neighbor search", PAMI 2011.
T. Ge, K. He, Q. Ke & J. Sun, "Optimized product quantization for approximate nearest neighbor search", CVPR 2013.
"""

import dataclasses

import numpy as np

from imgret import words
from imgret.arrays import unit_rows
from imgret.errors import ImgretError
from imgret.parallel import in_order

POINTS_PER_CENTROID = 128  # more training vectors than that are sampled from
ITERATIONS = 20
ROTATIONS = 20  # alternations of codebooks and rotation
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

    def check_training(self, count, method):
        """Refuse fewer training vectors than centroids.

        Raises
        ------
        ImgretError
        """
        if count < 1 << self.bits:
            fewer = " or take --set nbits=4" if self.bits > 4 and count >= 16 else ""
            raise ImgretError(
                f"'{method}' with {self.bits}-bit codes needs at least {1 << self.bits} training vectors, got {count}: "
                f"give more of them with --train{fewer}"
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


def subsample(x, most, seed):
    """At most `most` rows of `x`, drawn without replacement, in their order."""
    if len(x) <= most:
        return x
    return x[np.sort(np.random.default_rng([seed, 2]).choice(len(x), most, replace=False))]


def kmeans(x, k, seed, *, iterations=ITERATIONS, spherical=False, jobs=1):
    """Lloyd's iterations from k rows drawn at random, over fixed blocks.

    Parameters
    ----------
    x : ndarray, shape (T, D), float32
    k : int
    seed : int or list of int
    iterations : int
    spherical : bool
        Assign by inner product, to centroids of unit length.
    jobs : int

    Returns
    -------
    ndarray, shape (k, D), float32
    """
    centroids = x[np.random.default_rng(seed).choice(len(x), k, replace=False)]

    def look(centroids):
        return words.total(lambda block: _sums(x[block], centroids, spherical), len(x), centroids.shape, jobs)

    def settle(_=0):
        if spherical:
            unit_rows(centroids, pairwise=True, out=centroids)
        return False

    settle()
    words.lloyd(centroids, iterations, look, _beside_the_largest, settle)
    return centroids


def _beside_the_largest(centroids, empty, counts):
    """Put an empty cluster beside one of the largest, which stays where it is.

    Were both moved apart, a vector that fills a cluster by its copies would be as near to the one as to the other, and rounding would
    choose its code.
    """
    largest = np.argsort(-counts, kind="stable")[: len(empty)]
    nudge = 1 + np.where(np.arange(centroids.shape[1]) % 2, 1, -1).astype(np.float32) / 1024
    centroids[empty] = centroids[largest] * nudge
    return len(empty)


def nearest(x, centroids, spherical=False):
    """Index (T,) of each row's centroid, by one product for all: tiles would round otherwise, and learn other codes."""
    return words.nearest(x, centroids, None if spherical else words.half_squares(centroids))[0]


def _sums(x, centroids, spherical=False):
    groups = words.group(nearest(x, centroids, spherical))
    return groups, words.sums(x, groups, "exact")


def _parts(x, layout):
    width = layout.width // layout.parts
    return [np.ascontiguousarray(x[:, part * width : (part + 1) * width]) for part in range(layout.parts)]


def codebooks(x, layout, seed, jobs=1, *, shared=False):
    """Centroids of every sub-quantiser.

    Parameters
    ----------
    x : ndarray, shape (T, width), float32
    layout : Layout
    seed : int
    shared : bool
        Learn one codebook from the pieces of all sub-quantisers together, for each of them.

    Returns
    -------
    ndarray, shape (parts, 2^bits, width / parts), float32
    """
    if shared:
        pieces = subsample(x.reshape(len(x) * layout.parts, -1), POINTS_PER_CENTROID << layout.bits, seed)
        return np.stack([kmeans(pieces, 1 << layout.bits, [seed, 3], jobs=jobs)] * layout.parts)
    parts = list(enumerate(_parts(x, layout)))
    return np.stack(list(in_order(lambda part: kmeans(part[1], 1 << layout.bits, [seed, 3, part[0]]), parts, jobs)))


def optimized_rotation(x, layout, seed, jobs=1):
    """Rotation that suits a product quantiser: codebooks and rotation in turn, from a random one (Ge et al., section 3.2).

    Parameters
    ----------
    x : ndarray, shape (T, dim), float32
    layout : Layout
    seed : int

    Returns
    -------
    ndarray, shape (width, dim), float32
        Orthonormal columns; after a random projection, where `width` is less than `dim`.
    """
    if layout.width < layout.dim:
        first = layout.rotation(seed)
        return optimized_rotation(x @ first.T, dataclasses.replace(layout, dim=layout.width, whole=True), seed, jobs) @ first
    matrix = layout.rotation(seed)
    books = codebooks(x @ matrix.T, layout, seed, jobs)

    def improve(part):
        number, rows = part
        book = books[number]
        groups, sums = _sums(rows, book)
        book[groups.words] = sums / groups.counts[:, None]
        return book[nearest(rows, book)]

    for _ in range(ROTATIONS):
        decoded = np.concatenate(list(in_order(improve, enumerate(_parts(x @ matrix.T, layout)), jobs)), axis=1)
        left, _, right = np.linalg.svd(decoded.T @ x, full_matrices=False)  # orthogonal Procrustes
        matrix = np.ascontiguousarray(left @ right, dtype=np.float32)
    return matrix
