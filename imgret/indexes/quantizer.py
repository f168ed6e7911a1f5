"""Product quantisers: how many bits where, and k-means in fixed blocks.

References
----------
H. Jégou, M. Douze & C. Schmid, "Product quantization for nearest neighbor search", PAMI 2011.
T. Ge, K. He, Q. Ke & J. Sun, "Optimized product quantization for approximate nearest neighbor search", CVPR 2013.
"""

import dataclasses

import numpy as np

from imgret.errors import ImgretError
from imgret.parallel import ordered_map

BLOCK = 8192
POINTS_PER_CENTROID = 128  # more training vectors than that are sampled from
ITERATIONS = 20
SCARCE = 39  # fewer training vectors per centroid make k-means learn single vectors (faiss warns below the same number)
HELD_OUT = 16  # fewer decide nothing
ROTATIONS = 20  # alternations of codebooks and rotation


@dataclasses.dataclass(frozen=True)
class Layout:
    """`parts` sub-quantisers of `bits` bits over `dim` dimensions, brought to `width`, a multiple of `parts`."""

    dim: int
    parts: int
    bits: int

    @property
    def width(self):
        """Dimensions that are quantised."""
        return -(-self.dim // self.parts) * self.parts

    @property
    def size(self):
        """Bytes of a code."""
        return self.parts * self.bits // 8

    def __str__(self):
        grown = f"{self.dim} → {self.width} dimensions" if self.width > self.dim else f"{self.dim} dimensions"
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

        Sub-quantisers of PCA's columns in order would spend as many bits on the last as on the first (Jégou, Douze, Schmid & Pérez,
        CVPR 2010, section 4.2).
        """
        q, r = np.linalg.qr(np.random.default_rng([seed, 1]).standard_normal((self.width, self.dim)))
        return np.ascontiguousarray(q * np.where(np.diagonal(r) < 0, -1, 1), dtype=np.float32)


def subsample(x, most, seed):
    """At most `most` rows of `x`, drawn without replacement, in their order."""
    if len(x) <= most:
        return x
    return x[np.sort(np.random.default_rng([seed, 2]).choice(len(x), most, replace=False))]


def in_order(function, items, jobs):
    """`ordered_map`, less its set-up where one thread does it all (the caller has limited BLAS already)."""
    return map(function, items) if jobs == 1 else ordered_map(function, items, jobs)


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
    rng = np.random.default_rng(seed)
    centroids = x[rng.choice(len(x), k, replace=False)]
    for _ in range(iterations):
        if spherical:
            centroids = unit(centroids)
        sums, counts = np.zeros(centroids.shape), np.zeros(k, np.int64)
        blocks = (x[start : start + BLOCK] for start in range(0, len(x), BLOCK))
        for words, found, total in in_order(lambda block, c=centroids: _sums(block, c, spherical), blocks, jobs):
            sums[words] += total
            counts[words] += found
        full = counts > 0
        centroids = centroids.copy()
        centroids[full] = sums[full] / counts[full, None]
        # An empty cluster is put beside one of the largest, which stays where it is: were both moved apart, a vector that fills a cluster
        # by its copies would be as near to the one as to the other, and rounding would choose its code.
        empty = np.flatnonzero(~full)
        largest = np.argsort(-counts, kind="stable")[: len(empty)]
        nudge = 1 + np.where(np.arange(x.shape[1]) % 2, 1, -1).astype(np.float32) / 1024
        centroids[empty] = centroids[largest] * nudge
    return unit(centroids) if spherical else centroids


def unit(x):
    """Rows divided by their norms; zero rows stay."""
    norm = np.linalg.norm(x, axis=1, keepdims=True)
    return x / np.where(norm > 0, norm, 1)


def nearest(x, centroids, spherical=False):
    """Index (T,) of each row's centroid."""
    products = x @ centroids.T
    if not spherical:
        products -= np.einsum("kd,kd->k", centroids, centroids) / 2
    return products.argmax(axis=1)


def _sums(x, centroids, spherical):
    words = nearest(x, centroids, spherical)
    order = np.argsort(words, kind="stable")
    used, starts, counts = np.unique(words[order], return_index=True, return_counts=True)
    return used, counts, np.add.reduceat(x[order], starts, axis=0, dtype=np.float64)


def _parts(x, layout):
    width = layout.width // layout.parts
    return [np.ascontiguousarray(x[:, part * width : (part + 1) * width]) for part in range(layout.parts)]


def codebooks(x, layout, seed, jobs=1, *, alike=False):
    """Centroids of every sub-quantiser.

    Vectors that were whitened and rotated look alike to all sub-quantisers: one codebook can be learned from all their pieces together,
    from many times as many points as each has for itself. Where training vectors are scarce that may be the better choice, which
    a fifth of them, held out, decides. (Whitened VLAD, 500 and 2500 training vectors, 20 bytes: one point of mAP better; vectors with
    unequal variances: up to twice the error, and never chosen.)

    Parameters
    ----------
    x : ndarray, shape (T, width), float32
    layout : Layout
    seed : int
    alike : bool
        Whether the sub-quantisers may share a codebook.

    Returns
    -------
    ndarray, shape (parts, 2^bits, width / parts), float32
    """
    least = 1 << layout.bits
    held = min(len(x) // 5, len(x) - least)
    if alike and layout.parts > 1 and HELD_OUT <= held and len(x) < SCARCE * least:
        out = np.arange(len(x)) * held // len(x) != (np.arange(len(x)) + 1) * held // len(x)  # spread evenly
        errors = [_error(x[out], learn(x[~out], layout, seed, jobs), layout) for learn in (_each_its_own, _one_for_all)]
        if errors[1] < errors[0]:
            return _one_for_all(x, layout, seed, jobs)
    return _each_its_own(x, layout, seed, jobs)


def _each_its_own(x, layout, seed, jobs):
    parts = list(enumerate(_parts(x, layout)))
    return np.stack(list(in_order(lambda part: kmeans(part[1], 1 << layout.bits, [seed, 3, part[0]]), parts, jobs)))


def _one_for_all(x, layout, seed, jobs):
    pieces = subsample(x.reshape(len(x) * layout.parts, -1), POINTS_PER_CENTROID << layout.bits, seed)
    return np.stack([kmeans(pieces, 1 << layout.bits, [seed, 6], jobs=jobs)] * layout.parts)


def _error(x, books, layout):
    """Squared distance of rows from what their codes decode to, summed."""
    pairs = zip(_parts(x, layout), books, strict=True)
    return sum(float(np.square(part - book[nearest(part, book)], dtype=np.float64).sum()) for part, book in pairs)


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
        Orthonormal columns.
    """
    matrix = layout.rotation(seed)
    books = codebooks(x @ matrix.T, layout, seed, jobs)

    def improve(part):
        number, rows = part
        book = books[number]
        used, counts, total = _sums(rows, book, False)
        book[used] = total / counts[:, None]
        return book[nearest(rows, book)]

    for _ in range(ROTATIONS):
        decoded = np.concatenate(list(in_order(improve, enumerate(_parts(x @ matrix.T, layout)), jobs)), axis=1)
        left, _, right = np.linalg.svd(decoded.T @ x, full_matrices=False)  # orthogonal Procrustes
        matrix = np.ascontiguousarray(left @ right, dtype=np.float32)
    return matrix
