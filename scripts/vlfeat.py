"""A small ctypes binding to VLFeat's `libvl`: the peer that the encoders are checked and timed against.

Only what that takes: `quantize` (k-means assignment), a forest of kd-trees, hierarchical k-means, `vlad`, `fisher` and `set_threads`.
Debian and Ubuntu: `apt install libvlfeat-dev`.
"""

import ctypes
import ctypes.util

import numpy as np

FLOAT = 1  # VL_TYPE_FLOAT
L2 = 1  # VlDistanceL2, the squared Euclidean distance
LLOYD = 0  # VlKMeansLloyd: assignment is exhaustive

VLAD_INTRA = 1 << 0  # VL_VLAD_FLAG_NORMALIZE_COMPONENTS
VLAD_SSR = 1 << 1  # VL_VLAD_FLAG_SQUARE_ROOT
VLAD_UNNORMALIZED = 1 << 2  # VL_VLAD_FLAG_UNNORMALIZED
FISHER_SSR = 1 << 0  # VL_FISHER_FLAG_SQUARE_ROOT
FISHER_L2 = 1 << 1  # VL_FISHER_FLAG_NORMALIZED
FISHER_IMPROVED = FISHER_SSR | FISHER_L2
FISHER_FAST = 1 << 2  # VL_FISHER_FLAG_FAST

_pointer, _int, _size = ctypes.c_void_p, ctypes.c_int, ctypes.c_uint64
_SIGNATURES = {
    "vl_kmeans_new": (_pointer, [_int, _int]),
    "vl_kmeans_delete": (None, [_pointer]),
    "vl_kmeans_set_centers": (None, [_pointer, _pointer, _size, _size]),
    "vl_kmeans_quantize": (None, [_pointer, _pointer, _pointer, _pointer, _size]),
    "vl_kdforest_new": (_pointer, [_int, _size, _size, _int]),
    "vl_kdforest_delete": (None, [_pointer]),
    "vl_kdforest_build": (None, [_pointer, _size, _pointer]),
    "vl_kdforest_set_max_num_comparisons": (None, [_pointer, _size]),
    "vl_kdforest_query_with_array": (_size, [_pointer, _pointer, _size, _size, _pointer, _pointer]),
    "vl_hikm_new": (_pointer, [_int]),
    "vl_hikm_delete": (None, [_pointer]),
    "vl_hikm_init": (None, [_pointer, _size, _size, _size]),
    "vl_hikm_train": (None, [_pointer, _pointer, _size]),
    "vl_hikm_push": (None, [_pointer, _pointer, _pointer, _size]),
    "vl_vlad_encode": (None, [_pointer, _int, _pointer, _size, _size, _pointer, _size, _pointer, _int]),
    "vl_fisher_encode": (_size, [_pointer, _int, _pointer, _size, _size, _pointer, _pointer, _pointer, _size, _int]),
    "vl_set_num_threads": (None, [_size]),
    "vl_get_version_string": (ctypes.c_char_p, []),
}


def _load():
    for name in (ctypes.util.find_library("vl"), "libvl.so.1", "libvl.so", "libvl.dylib"):
        if name:
            try:
                library = ctypes.CDLL(name)
            except OSError:
                continue
            for function, (result, arguments) in _SIGNATURES.items():
                getattr(library, function).restype, getattr(library, function).argtypes = result, arguments
            return library
    return None


_vl = _load()


def available():
    """Whether `libvl` is installed."""
    return _vl is not None


def version():
    return _vl.vl_get_version_string().decode()


def set_threads(count):
    _vl.vl_set_num_threads(count)


def _floats(x):
    return np.ascontiguousarray(x, dtype=np.float32)


class Quantizer:
    """`vl_kmeans` over given centroids (K, D); `quantize` gives the nearest word of each row, uint32 (T,)."""

    def __init__(self, centroids):
        centroids = _floats(centroids)
        self._kmeans = _vl.vl_kmeans_new(FLOAT, L2)
        _vl.vl_kmeans_set_centers(self._kmeans, centroids.ctypes.data, centroids.shape[1], len(centroids))  # copies

    def __del__(self):
        _vl.vl_kmeans_delete(self._kmeans)

    def quantize(self, x):
        x = _floats(x)
        words = np.empty(len(x), np.uint32)
        distances = np.empty(len(x), np.float32)
        _vl.vl_kmeans_quantize(self._kmeans, words.ctypes.data, distances.ctypes.data, x.ctypes.data, len(x))
        return words


class Forest:
    """`vl_kdforest` over given centroids (K, D); `quantize` gives the nearest words of each row that it finds, uint32 (T, count)."""

    def __init__(self, centroids, trees, comparisons):
        self._centroids = _floats(centroids)  # which it does not copy
        self._forest = _vl.vl_kdforest_new(FLOAT, self._centroids.shape[1], trees, L2)
        _vl.vl_kdforest_build(self._forest, len(self._centroids), self._centroids.ctypes.data)
        _vl.vl_kdforest_set_max_num_comparisons(self._forest, comparisons)

    def __del__(self):
        _vl.vl_kdforest_delete(self._forest)

    def quantize(self, x, count=1):
        x = _floats(x)
        words, distances = np.empty((len(x), count), np.uint32), np.empty((len(x), count), np.float32)
        _vl.vl_kdforest_query_with_array(self._forest, words.ctypes.data, count, len(x), distances.ctypes.data, x.ctypes.data)
        return words


class Tree:
    """`vl_hikm`, learned of bytes (N, D); `push` gives the way of each row down it, uint32 (T, depth)."""

    def __init__(self, x, branch, depth):
        x = np.ascontiguousarray(x, np.uint8)
        self._depth, self._tree = depth, _vl.vl_hikm_new(LLOYD)
        _vl.vl_hikm_init(self._tree, x.shape[1], branch, depth)
        _vl.vl_hikm_train(self._tree, x.ctypes.data, len(x))

    def __del__(self):
        _vl.vl_hikm_delete(self._tree)

    def push(self, x):
        x = np.ascontiguousarray(x, np.uint8)
        way = np.empty((len(x), self._depth), np.uint32)
        _vl.vl_hikm_push(self._tree, way.ctypes.data, x.ctypes.data, len(x))
        return way


def vlad(x, words, centroids, flags=0):
    """`vl_vlad_encode` with hard assignments `words` (T,). Returns float32 (K * D,)."""
    x, centroids = _floats(x), _floats(centroids)
    (count, dims), size = x.shape, len(centroids)
    assignments = np.zeros((count, size), np.float32)
    assignments[np.arange(count), words] = 1
    out = np.empty(size * dims, np.float32)
    _vl.vl_vlad_encode(out.ctypes.data, FLOAT, centroids.ctypes.data, dims, size, x.ctypes.data, count, assignments.ctypes.data, flags)
    return out


def fisher(x, weights, means, variances, flags=FISHER_IMPROVED):
    """`vl_fisher_encode`: gradients by mean, then by standard deviation. Returns float32 (2 * K * D,)."""
    x, weights, means, variances = map(_floats, (x, weights, means, variances))
    (count, dims), size = x.shape, len(means)
    out = np.empty(2 * size * dims, np.float32)
    given = [array.ctypes.data for array in (means, variances, weights, x)]
    _vl.vl_fisher_encode(out.ctypes.data, FLOAT, given[0], dims, size, given[1], given[2], given[3], count, flags)
    return out
