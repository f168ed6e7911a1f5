"""Product quantisation: a few bytes for each photo, all of them looked at."""

import numpy as np

from imgret.indexes.base import must
from imgret.indexes.quantized import Quantized
from imgret.quantizers.product import OptimizedProductQuantizer, ProductQuantizer

SCAN_ROWS = 1 << 16
WIDE = 16  # columns of a sub-quantiser from which on faiss has BLAS encode, which rounds by a row's place in its block


class PQ(Quantized):
    """Product quantiser, searched exhaustively by asymmetric distances.

    Any dimension does for any number of bytes: vectors are rotated at random into a multiple of the number of sub-quantisers, which also
    gives every sub-quantiser its share of the variance; those of more than 2048 dimensions are projected at random to about 1024.
    By "cosine" what is ranked is the distance between a unit query and the decoded vector, as 1 − d²/2: its ranking was two points of
    mAP better than the inner product's, which decoded vectors of larger norm win.

    Whitened vectors, once rotated, look alike to all sub-quantisers, so with `shared` these learn from one another's pieces: 7 % less
    error and half a point of mAP more with 500 to 2500 training vectors, measured on VLAD. Other vectors lose by it, up to twice the error.

    References
    ----------
    H. Jégou, M. Douze & C. Schmid, "Product quantization for nearest neighbor search", PAMI 2011, section 3.
    """

    name = "pq"
    seeded = True
    fourcc = (b"IxPT", b"IxPq")
    quantizer = ProductQuantizer
    Params = ProductQuantizer.Params

    def _build(self):
        import faiss

        layout, arrays = self._learned.layout, self._learned.arrays
        self._matrix = arrays.get("rotation")
        self._core = faiss.IndexPQ(layout.width, layout.parts, layout.bits, self._faiss_metric)
        set_codebooks(self._core.pq, arrays["centroids"])
        self._core.is_trained = True
        self._outer = transformed(self._matrix, self._core)

    @property
    def _row_by_row(self):
        return self._core.pq.dsub < WIDE

    def codes(self):
        """See `Index.codes`."""
        return self._all_codes() if self._row_by_row else None

    def _all_codes(self):
        import faiss

        return faiss.rev_swig_ptr(self._core.codes.data(), self.size * self._core.code_size).reshape(self.size, -1)

    def _arrays(self):
        return with_rotation(self._matrix, {"centroids": codebooks_of(self._core.pq)})

    def _adopt(self):
        import faiss

        self._split(faiss.IndexPQ)
        check_codebooks(self._core.pq, self.params, self._core.d)
        must(self._core.search_type == faiss.IndexPQ.ST_PQ)
        must(self._core.codes.size() == self._core.ntotal * self.params.bytes == self._core.ntotal * self._core.code_size)

    def _begin(self, count, settings):

        self._reach = float(np.sqrt(np.square(codebooks_of(self._core.pq), dtype=np.float64).sum(axis=2).max(axis=1).sum()))
        self._codes = self._all_codes()

    def _scans(self, fetch):
        return 4 * fetch >= self.size

    def _scan(self, query):
        tables = self._tables(query[None])
        parts = (self._sums(tables, self._codes[start : start + SCAN_ROWS][None])[0] for start in range(0, self.size, SCAN_ROWS))
        return self._final(np.concatenate(list(parts)))

    def _fetch(self, xq, fetch, settings):
        rough, rows = self._core.search(xq, fetch)
        # Whatever faiss' kernel for this CPU adds up in whatever order for whichever row, these sums go from the first part to the last.
        exact = self._sums(self._tables(xq), self._codes[np.maximum(rows, 0)])
        return self._final(exact), rows, self._edge(xq, rough, self._reach)

    def _tables(self, xq):
        """Score of each centroid for each query and part: (Q, parts, 2^bits)."""
        import faiss

        pq = self._core.pq
        tables = np.empty((len(xq), pq.M, pq.ksub), np.float32)
        compute = pq.compute_inner_prod_table if self._similarity else pq.compute_distance_table
        for query, table in zip(np.ascontiguousarray(xq), tables, strict=True):
            compute(faiss.swig_ptr(query), faiss.swig_ptr(table))
        return tables if self._similarity else -tables

    def _sums(self, tables, codes):
        """Scores (Q, n) by table of `codes` (Q, n, bytes)."""
        total = np.zeros(codes.shape[:2], np.float32)
        for part in range(tables.shape[1]):
            if self._core.pq.nbits == 8:
                code = codes[:, :, part]
            else:
                code = codes[:, :, part // 2] >> 4 if part % 2 else codes[:, :, part // 2] & 15
            total += np.take_along_axis(tables[:, part], code.astype(np.intp), axis=1)
        return total


class OPQ(PQ):
    """Product quantiser behind a rotation that is learned for it.

    Worth its time for vectors whose columns are unevenly spread or dependent, given some thousands of training vectors.

    References
    ----------
    T. Ge, K. He, Q. Ke & J. Sun, "Optimized product quantization for approximate nearest neighbor search", CVPR 2013, section 3.2.
    """

    name = "opq"

    quantizer = OptimizedProductQuantizer
    Params = OptimizedProductQuantizer.Params


def set_codebooks(pq, books):
    """Give a faiss ProductQuantizer its centroids (parts, 2^bits, width / parts)."""
    import faiss

    faiss.copy_array_to_vector(np.ascontiguousarray(books, dtype=np.float32).ravel(), pq.centroids)


def codebooks_of(pq):
    """The centroids of a faiss ProductQuantizer: (parts, 2^bits, width / parts)."""
    import faiss

    return faiss.vector_to_array(pq.centroids).reshape(pq.M, pq.ksub, pq.dsub)


def with_rotation(matrix, arrays):
    """What was learned, and the rotation before it, if there is one."""
    return arrays if matrix is None else {"rotation": matrix} | arrays


def check_codebooks(pq, params, width):
    """Whether a faiss ProductQuantizer that was read is the one that `params` make."""
    import faiss

    must(pq.nbits == params.nbits and pq.code_size == params.bytes and pq.M * pq.nbits == 8 * params.bytes)
    must(pq.M * pq.dsub == pq.d == width and pq.ksub == 1 << pq.nbits and pq.centroids.size() == pq.ksub * width)
    must(np.isfinite(faiss.vector_to_array(pq.centroids)).all())


def transformed(matrix, core):
    """`core` behind the linear transform `matrix` (width, dim), None for none."""
    import faiss

    if matrix is None:
        return core
    transform = faiss.LinearTransform(matrix.shape[1], matrix.shape[0], False)
    faiss.copy_array_to_vector(matrix.ravel(), transform.A)
    transform.is_trained = True
    transform.set_is_orthonormal()
    return faiss.IndexPreTransform(transform, core)
