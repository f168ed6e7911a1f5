"""Classes where no truth says them: photos and features divided together."""

import numpy as np

from imgret.arrays import unit_rows
from imgret.errors import ImgretError, counted
from imgret.parallel import one_thread
from imgret.relations import NO_CLASS
from imgret.seeds import seed_of

SAMPLE = 20_000  # photos that are clustered; more go to the nearest cluster
BLOCK = 4096  # photos whose vectors are in memory at once, beside those


def coclusters(vectors, count, clusters, least, seed):
    """Divide photos into clusters, by the spectral co-clustering of photos and features.

    The matrix of photos and features, shifted so that nothing in it is negative, is a bipartite graph whose cut is made small. The clusters
    of features are not used. Of more photos than `SAMPLE` so many are drawn by the seed, and the others go to the cluster whose mean is
    nearest by angle; so do photos of clusters smaller than `least`, which are given up.

    Parameters
    ----------
    vectors : callable
        `vectors(photos)`: those of some photos, ascending, ndarray (n, D), float32.
    count : int
        Photos.
    clusters : int
    least : int
        Photos that a cluster needs.
    seed : int

    Returns
    -------
    ndarray, shape (count,), int64
        Of each photo the number of its cluster, without gaps from 0; `NO_CLASS` of one that has no feature at all.

    Raises
    ------
    ImgretError
        If scikit-learn is missing, there are too few photos for so many clusters, or fewer than two clusters are large enough.

    References
    ----------
    I. S. Dhillon, Co-clustering documents and words using bipartite spectral graph partitioning, KDD 2001, algorithm "multipartition".
    """
    if count < clusters * least:
        raise ImgretError(
            f"{counted(count, 'photo')} cannot be divided into {clusters} clusters of {least} or more: set fewer `coclusters`"
        )
    sample = np.arange(count)
    if count > SAMPLE:
        sample = np.sort(np.random.default_rng(seed_of(seed, "clusters", "sample")).permutation(count)[:SAMPLE])
    matrix = vectors(sample)
    labels = np.full(count, NO_CLASS, dtype=np.int64)
    labels[sample] = _divided(matrix, clusters, seed)
    sizes = np.bincount(labels[labels >= 0], minlength=clusters)
    large = np.flatnonzero(sizes >= least)
    if len(large) < 2:
        raise ImgretError(f"of {clusters} clusters {len(large)} has {least} photos or more: set fewer `coclusters`, or give more photos")
    number = np.full(clusters, NO_CLASS, dtype=np.int64)
    number[large] = np.arange(len(large))
    labels = np.where(labels >= 0, number[labels], NO_CLASS)
    there = labels[sample]
    means = unit_rows(np.stack([matrix[there == each].mean(axis=0) for each in range(len(large))]).astype(np.float32))
    for start in range(0, count, BLOCK):
        rows = start + np.flatnonzero(labels[start : start + BLOCK] == NO_CLASS)
        if len(rows):
            some = vectors(rows)
            labels[rows] = np.where(some.any(axis=1), np.argmax(some @ means.T, axis=1), NO_CLASS)
    return labels


def _divided(matrix, clusters, seed):
    """The cluster of each row; `NO_CLASS` where a row has nothing in it."""
    try:
        from sklearn.cluster import SpectralCoclustering
        from sklearn.exceptions import ConvergenceWarning  # noqa: F401 - loaded before the threads are counted
    except ImportError:
        raise ImgretError("classes are found by scikit-learn: pip install 'imgret[train]'; or give --truth") from None
    shifted = matrix.astype(np.float64) - min(0.0, float(matrix.min()))
    rows, columns = np.flatnonzero(shifted.any(axis=1)), np.flatnonzero(shifted.any(axis=0))
    found = np.full(len(matrix), NO_CLASS, dtype=np.int64)
    model = SpectralCoclustering(clusters, svd_method="randomized", n_init=10, random_state=seed_of(seed, "clusters") % (1 << 32))
    with one_thread():
        found[rows] = model.fit(shifted[np.ix_(rows, columns)]).row_labels_
    return found
