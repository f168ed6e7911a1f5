"""Exact search: every vector as it is."""

import numpy as np

from imgret.indexes import keys
from imgret.indexes.base import must
from imgret.indexes.faissed import Faissed
from imgret.indexes.pairs import pair_scores

BLOCK_BYTES = 1 << 22  # rows scored at once: about what a cache holds
GEMM_QUERIES = 12  # from so many on, a matrix product beats one pass for each query
MOST_QUERIES = 64
MOST_KEYS = 1 << 24  # answers held at once by a thread


class Exact:
    """Scans of a faiss flat index.

    A fast pass (BLAS over blocks of rows, whose rounding depends on a row's position) finds what can be among the best; each of these is
    scored again by itself.

    Parameters
    ----------
    flat : faiss.IndexFlat
    similarity : bool
        Inner products; otherwise negated squared distances.
    unit : bool
        Whether its rows have unit length.
    """

    def __init__(self, flat, similarity, unit):
        import faiss

        self.flat, self.similarity = flat, similarity
        self.size, self.dim = flat.ntotal, flat.d
        self.pointer = flat.get_xb()
        # Bytes, as an opened index starts at any of them, and numpy would copy a misaligned array of floats as a whole.
        self._bytes = faiss.rev_swig_ptr(flat.codes.data(), self.size * self.dim * 4).view(np.uint8)
        self._unit, self._norms = unit, None

    @classmethod
    def of(cls, flat, index, before):
        """The scans of an index's faiss structure; `before`, if that is what they still are."""
        if before is not None and before.size == flat.ntotal and before.flat is flat:
            return before
        return cls(flat, index.metric != "l2", index.metric == "cosine")

    def rows(self, start, stop):
        """Rows as they lie there: a view, perhaps misaligned."""
        return self._bytes[start * self.dim * 4 : stop * self.dim * 4].view(np.float32).reshape(-1, self.dim)

    @property
    def norms(self):
        """Squared norms (N,) of the rows."""
        if self._norms is None:
            import faiss

            norms = np.empty(self.size, np.float32)
            faiss.fvec_norms_L2sqr(faiss.swig_ptr(norms), self.pointer, self.dim, self.size)
            self._norms = norms
        return self._norms

    @property
    def reach(self):
        """A bound on the rows' norms."""
        return 1.001 if self._unit else float(np.sqrt(self.norms.max(initial=0))) * 1.001

    def scores(self, query):
        """Scores (N,) of all rows for one query (D,)."""
        return self.pairs(query[None], np.zeros(self.size, np.int64), np.arange(self.size))

    def pairs(self, xq, of_query, of_row):
        """Scores (P,) of pairs of queries (Q, D) and rows, as they are reported."""
        scores = pair_scores(self.similarity, xq, of_query, self.pointer, of_row)
        return np.clip(scores, -1, 1, out=scores) if self._unit else scores

    def best(self, xq, k, slack):
        """Keys (Q, k) of the best rows; k is at most a quarter of them. `slack` (Q,) is what rounding may change in a score."""
        count = len(xq)
        step = max(256, BLOCK_BYTES // (4 * self.dim))
        best = _Best(self, xq, k, slack)
        buffer = np.empty((min(step, self.size), self.dim), np.float32) if count >= GEMM_QUERIES else None
        norms = None if buffer is None or self.similarity else (np.einsum("qd,qd->q", xq, xq)[:, None], self.norms)
        for start in range(0, self.size, step):
            stop = min(start + step, self.size)
            if buffer is None:
                scores = self._one_by_one(xq, start, stop)
            else:
                block = buffer[: stop - start]
                block.view(np.uint8).ravel()[:] = self._bytes[start * self.dim * 4 : stop * self.dim * 4]
                scores = xq @ block.T
                if norms is not None:
                    scores = 2 * scores - norms[0] - norms[1][start:stop]
            best.offer(scores, start)
        return best.keys()

    def _one_by_one(self, xq, start, stop):
        import faiss

        scores = np.empty((len(xq), stop - start), np.float32)
        compute = faiss.fvec_inner_products_ny if self.similarity else faiss.fvec_L2sqr_ny
        pointer = faiss.swig_ptr(self.rows(start, stop))
        for query, row in zip(np.ascontiguousarray(xq), scores, strict=True):
            compute(faiss.swig_ptr(row), faiss.swig_ptr(query), pointer, self.dim, stop - start)
        return scores if self.similarity else -scores


class _Best:
    """The k best rows for each query so far, and what may still become one.

    A row is passed over if its rough score is under that of k others by more than rounding can explain, so ties at the k-th place all
    stay until they are scored exactly. Memory: some multiples of k for each query, and one block.
    """

    def __init__(self, exact, xq, k, slack):
        self._exact, self._xq, self._k, self._slack = exact, xq, k, slack
        self._least = np.full(len(xq), -np.inf)
        self._kept = np.empty(0, np.int64), np.empty(0, np.uint64)  # query, key
        self._queries, self._rows, self._count = [], [], 0

    def offer(self, scores, start):
        """Rough scores (Q, n) of the rows from `start` on."""
        width = scores.shape[1]
        if not self._count and not len(self._kept[0]) and width > 2 * self._k:
            self._least = np.partition(scores, width - self._k, axis=1)[:, width - self._k] - 2 * self._slack
        found = np.flatnonzero(scores >= self._least.astype(np.float32)[:, None])
        queries, rows = np.divmod(found, width)
        self._queries.append(queries)
        self._rows.append(rows + start)
        self._count += len(found)
        if self._count > len(self._xq) * (2 * self._k + 256):
            self._settle()

    def _settle(self):
        queries, rows = np.concatenate(self._queries), np.concatenate(self._rows)
        scores = self._exact.pairs(self._xq, queries, rows)
        queries, packed = np.concatenate([self._kept[0], queries]), np.concatenate([self._kept[1], keys.pack(scores, rows)])
        order = np.lexsort((packed, queries))
        queries, packed = queries[order], packed[order]
        rank = np.arange(len(queries)) - np.searchsorted(queries, np.arange(len(self._xq)))[queries]
        last = rank == self._k - 1
        self._least[queries[last]] = keys.scores_of(packed[last]) - 2 * self._slack[queries[last]]
        self._kept = queries[rank < self._k], packed[rank < self._k]
        self._queries, self._rows, self._count = [], [], 0

    def keys(self):
        """Keys (Q, k)."""
        if self._count:
            self._settle()
        answer = np.full((len(self._xq), self._k), keys.MISSING)
        queries, packed = self._kept
        answer[queries, np.arange(len(queries)) - np.searchsorted(queries, np.arange(len(self._xq)))[queries]] = packed
        return answer


class Flat(Faissed):
    """Every vector as it is: exact, four bytes a column."""

    name = "flat"
    trains = False
    fourcc = (b"IxFI", b"IxF2", b"IxFl")
    _exact = None  # made by the first search

    def _plan(self, n_train, n):
        return f"{n} vectors of {self.dim} dimensions as they are, {4 * self.dim} bytes per photo"

    def _build(self):
        import faiss

        self._outer = self._core = faiss.IndexFlatIP(self.dim) if self._similarity else faiss.IndexFlatL2(self.dim)

    def _adopt(self):
        import faiss

        self._split(faiss.IndexFlatIP, faiss.IndexFlatL2, faiss.IndexFlat)
        must(self._matrix is None and self._core.codes.size() == 4 * self._core.d * self._core.ntotal)

    def _begin(self, count, settings):
        self._exact = Exact.of(self._core, self, self._exact)

    def _queries_at_once(self, count, k, jobs):
        return max(1, min(MOST_QUERIES, max(GEMM_QUERIES, -(-count // jobs)), MOST_KEYS // k))

    def _answer(self, xq, k, settings):
        exact = self._exact
        if 4 * k >= exact.size:
            return np.stack([np.sort(keys.pack(exact.scores(query), np.arange(exact.size)))[:k] for query in xq])
        return exact.best(xq, k, self._slack(xq, exact.reach))
