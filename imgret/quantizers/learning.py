"""What quantisers learn: k-means in fixed blocks, the centroids of sub-quantisers, a rotation that suits them.

References
----------
H. Jégou, M. Douze & C. Schmid, "Product quantization for nearest neighbor search", PAMI 2011.
T. Ge, K. He, Q. Ke & J. Sun, "Optimized product quantization for approximate nearest neighbor search", CVPR 2013.
"""

import numpy as np

from imgret import words
from imgret.arrays import unit_rows
from imgret.parallel import in_order

POINTS_PER_CENTROID = 128  # more training vectors than that are sampled from
ITERATIONS = 20
ROTATIONS = 20  # alternations of codebooks and rotation


def subsample(x, most, seed):
    """At most `most` rows of `x`, drawn without replacement, in their order."""
    if len(x) <= most:
        return x
    return x[np.sort(np.random.default_rng([seed, 2]).choice(len(x), most, replace=False))]


def kmeans(x, k, seed, *, iterations=ITERATIONS, spherical=False, jobs=1, course=None, into=None):
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
    course : imgret.checkpoints.Course, optional
        Of which each iteration is a step; it holds `into`.
    into : ndarray, shape (k, D), float32, optional
        Where the centroids go.

    Returns
    -------
    ndarray, shape (k, D), float32
    """
    done = 0 if course is None else course.begin(iterations)
    centroids = np.empty((k, x.shape[1]), np.float32) if into is None else into

    def look(centroids):
        return words.total(lambda block: _sums(x[block], centroids, spherical), len(x), centroids.shape, jobs)

    def settle(_=0):
        if spherical:
            unit_rows(centroids, pairwise=True, out=centroids)
        return False

    def after(moved):
        settle(moved)
        if course is not None:
            course.step("lists")
        return False

    if not done:
        centroids[:] = x[np.random.default_rng(seed).choice(len(x), k, replace=False)]
        settle()
    words.lloyd(centroids, iterations - done, look, _beside_the_largest, after)
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


def decoded(x, books):
    """Rows (T, width) as the nearest centroids of every sub-quantiser, (parts, k, width / parts), leave them."""
    pieces = x.reshape(len(x), len(books), -1)
    return np.concatenate([book[nearest(np.ascontiguousarray(pieces[:, part]), book)] for part, book in enumerate(books)], axis=1)


def _sums(x, centroids, spherical=False):
    groups = words.group(nearest(x, centroids, spherical))
    return groups, words.sums(x, groups, "exact")


def _parts(x, layout):
    width = layout.width // layout.parts
    return [np.ascontiguousarray(x[:, part * width : (part + 1) * width]) for part in range(layout.parts)]


def codebooks(x, layout, seed, jobs, course, into, *, shared=False):
    """Centroids of every sub-quantiser.

    Parameters
    ----------
    x : ndarray, shape (T, width), float32
    layout : Layout
    seed : int
    jobs : int
    course : imgret.checkpoints.Course
        Of which each sub-quantiser is a step; it holds `into`.
    into : ndarray, shape (parts, 2^bits, width / parts), float32
        Where the centroids go.
    shared : bool
        Learn one codebook from the pieces of all sub-quantisers together, for each of them.
    """
    done = course.begin(1 if shared else layout.parts)
    if shared and not done:
        pieces = subsample(x.reshape(len(x) * layout.parts, -1), POINTS_PER_CENTROID << layout.bits, seed)
        into[:] = kmeans(pieces, 1 << layout.bits, [seed, 3], jobs=jobs)
        course.step("sub-quantisers")
    if not shared:
        parts = list(enumerate(_parts(x, layout)))[done:]
        learned = in_order(lambda part: kmeans(part[1], 1 << layout.bits, [seed, 3, part[0]]), parts, jobs)
        for (number, _), centroids in zip(parts, learned, strict=True):
            into[number] = centroids
            course.step("sub-quantisers")


def optimized_rotation(x, layout, seed, jobs, course, matrix, books):
    """Rotation that suits a product quantiser: codebooks and rotation in turn, from a random one (Ge et al., section 3.2).

    Parameters
    ----------
    x : ndarray, shape (T, dim), float32
    layout : Layout
        Whose `width` is not less than `dim`.
    seed : int
    jobs : int
    course : imgret.checkpoints.Course
        Of which each sub-quantiser and each alternation is a step; it holds `matrix` and `books`.
    matrix : ndarray, shape (width, dim), float32
        Where the rotation goes: orthonormal columns.
    books : ndarray, shape (parts, 2^bits, width / parts), float32
        Where the centroids are kept meanwhile.
    """
    random = layout.rotation(seed)
    codebooks(x @ random.T, layout, seed, jobs, course, books)
    done = course.begin(ROTATIONS)
    if not done:
        matrix[:] = random

    def improve(part):
        number, rows = part
        book = books[number]
        groups, sums = _sums(rows, book)
        book[groups.words] = sums / groups.counts[:, None]
        return book[nearest(rows, book)]

    for _ in range(done, ROTATIONS):
        decoded = np.concatenate(list(in_order(improve, enumerate(_parts(x @ matrix.T, layout)), jobs)), axis=1)
        left, _, right = np.linalg.svd(decoded.T @ x, full_matrices=False)  # orthogonal Procrustes
        matrix[:] = left @ right
        course.step("rotation")
