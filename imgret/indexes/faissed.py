"""What the indexes that faiss holds share: blocks of rows, opening a buffer, and searches whose ties break by row."""

import contextlib
import threading

import numpy as np

from imgret import arrays
from imgret.errors import ImgretError, UsageError
from imgret.indexes import keys
from imgret.indexes.base import Index, damage, taken
from imgret.parallel import one_thread, ordered_map

BLOCK = 8192  # rows handed to faiss at once: fixed, so that codes do not depend on how the rows came
FETCH_BYTES = 1 << 26  # decoded candidates held at once by a thread
FAISS_ERRORS = (RuntimeError, AssertionError, ValueError, TypeError, MemoryError, OverflowError, IndexError, AttributeError)
ROTATED_AT_ONCE = 1 << 18
_LIMITS = threading.Lock()


class Faissed(Index):
    """Base of the indexes that faiss holds: `Index`, built in memory, where it takes about what its file will.

    Where vectors are stored as codes, a score is that of the decoded vector, and identical codes have identical scores.

    Attributes
    ----------
    dim : int
        Columns of the vectors; None before `plan`.
    fourcc : tuple of bytes
        How the serialised structure may begin.
    by_distance : bool
        Whether "cosine" is had from distances between unit vectors, as 1 - d²/2.
    """

    fourcc = ()
    by_distance = False

    def __init__(self, params, metric="cosine", *codebooks):
        super().__init__(params, metric, *codebooks)
        self.dim = None
        self._outer = None  # the faiss index
        self._core = None  # the same without its transform
        self._matrix = None  # that transform, (columns of the core, dim)
        self._pending, self._pending_rows = [], 0
        self._buffer = None

    @property
    def size(self):
        """Rows added."""
        return (0 if self._outer is None else self._outer.ntotal) + self._pending_rows

    # Building

    def plan(self, dim, n_train, n):
        """Choose the layout; see `Index.plan`."""
        if dim < 1:
            raise ImgretError("the vectors have no columns")
        if n > keys.MOST_ROWS:
            raise ImgretError(f"an index holds at most {keys.MOST_ROWS} vectors, got {n}")
        self.dim = int(dim)
        return self._plan(int(n_train), int(n))

    def train(self, x, jobs=1):
        """Learn from vectors; where `trains` is false, they are not looked at. See `Index.train`."""
        import faiss  # noqa: F401  (one_thread reaches what is loaded)

        if self.dim is None:
            self.plan(np.shape(x)[1], len(x), len(x))
        if self.trains:
            x = self._prepared(x, "the matrix of training vectors")
            self._check_training(len(x))
            with one_thread():
                self._train(x, jobs)
        else:
            self._build()
        return self

    def add(self, x):
        """Append rows; see `Index.add`."""
        if self._buffer is not None:
            raise ImgretError("an index opened from a file takes no more vectors: make it again with all of them")
        if self._outer is None:
            if self.trains:
                raise ImgretError(f"the index '{self.name}' must be trained before vectors are added")
            if self.dim is None:
                self.plan(np.shape(x)[1], 0, len(x))
            self._build()
        self._pending.append(self._prepared(x, "the matrix of vectors"))
        self._pending_rows += len(self._pending[-1])
        if self._pending_rows >= BLOCK:
            self._flush(self._pending_rows - self._pending_rows % BLOCK)

    def arrays(self):
        """The structure as faiss serialises it: `faiss`, shape (bytes,), uint8. Takes the index's size in memory once more."""
        import faiss

        if self._outer is None:
            raise ImgretError(f"the index '{self.name}' is empty: add vectors first")
        self._flush(self._pending_rows)
        return {"faiss": faiss.serialize_index(self._outer)}

    def facts(self):
        """Its dimension."""
        return {"dim": self.dim}

    def _flush(self, count):
        if not count:
            return
        x = self._pending[0] if len(self._pending) == 1 else np.concatenate(self._pending)
        self._pending, self._pending_rows = [x[count:].copy()], len(x) - count
        with one_thread():
            for start in range(0, count, BLOCK):
                self._append(x[start : min(start + BLOCK, count)])

    def _append(self, x):
        if self._matrix is None:
            self._outer.add(x)
            return
        self._core.add(rotate(x, self._matrix))  # faiss would have BLAS do it, so that copies of a vector might get different codes
        self._outer.ntotal = self._core.ntotal

    def _prepared(self, x, what):
        x = arrays.rows(x, self.dim, what)
        return arrays.unit_rows(x, pairwise=True) if self.metric == "cosine" else x

    def _plan(self, n_train, n):
        raise AttributeError(type(self).__name__)  # every index has its own

    def _check_training(self, n_train):
        """Refuse too few training vectors."""

    def _build(self):
        """Make the empty faiss index, where nothing has to be learnt."""

    def _train(self, x, jobs):
        """Make the trained, empty faiss index."""

    # Opening

    @classmethod
    def opened(cls, params, metric, arrays, facts, size, codebooks=()):
        """Open what `arrays` gave, without copying it; see `Index.opened`.

        A buffer that was cut off, or whose header was changed, is refused. The bulk of a structure is not read here (that would
        take as long as reading the file), and faiss trusts it: a graph or an inverted list damaged on purpose may crash a later
        search. The content hash of the file it lies in tells.
        """
        (buffer,) = taken(arrays, ("faiss",))
        try:
            index = cls(params, metric, *codebooks)
        except UsageError as error:
            raise ImgretError(f"the index is damaged ({error}): make it again") from None
        if buffer.ndim != 1 or buffer.dtype != np.uint8 or not buffer.flags.c_contiguous:
            raise ImgretError(damage("its structure is not a row of bytes"))
        if cls.fourcc and bytes(buffer[:4]) not in cls.fourcc:
            raise ImgretError(damage(f"its structure is not that of '{cls.name}'"))
        index._outer, reader = _read(buffer)
        index._buffer = buffer, reader  # faiss looks into them
        index.dim = index._outer.d
        if index.dim != facts.get("dim", index.dim):
            raise ImgretError(damage(f"{index.dim} columns where there should be {facts['dim']}"))
        if index._outer.ntotal != size:
            raise ImgretError(damage(f"{index._outer.ntotal} rows where there should be {size}"))
        if not 0 <= index._outer.ntotal <= min(len(buffer), keys.MOST_ROWS) or not index._outer.is_trained:
            raise ImgretError(damage("a count that cannot be right"))
        try:
            index._adopt()
        except FAISS_ERRORS:
            raise ImgretError(damage(f"its structure is not that of '{cls.name}'")) from None
        return index

    def _adopt(self):
        """Take `_outer` apart after opening; whatever is not as `train` made it raises ValueError."""
        self._core = self._outer

    def _split(self, *kinds):
        """Set `_core` and `_matrix` from `_outer`, whose core must be one of `kinds`."""
        import faiss

        core = self._outer
        if isinstance(core, faiss.IndexPreTransform):
            transform = faiss.downcast_VectorTransform(core.chain.at(0))
            must(core.chain.size() == 1 and isinstance(transform, faiss.LinearTransform) and not transform.have_bias)
            must(transform.d_in == core.d and transform.A.size() == transform.d_in * transform.d_out)
            self._matrix = faiss.vector_to_array(transform.A).reshape(transform.d_out, transform.d_in)
            must(np.isfinite(self._matrix).all())
            core = faiss.downcast_index(core.index)
            must(core.d == transform.d_out)
        must(type(core) in kinds and core.ntotal == self._outer.ntotal and core.is_trained)
        must(core.metric_type == self._faiss_metric)
        self._core = core

    # Searching

    @property
    def _similarity(self):
        """Whether faiss computes inner products; otherwise squared distances."""
        return self.metric == "ip" or (self.metric == "cosine" and not self.by_distance)

    @property
    def _faiss_metric(self):
        import faiss

        return faiss.METRIC_INNER_PRODUCT if self._similarity else faiss.METRIC_L2

    def search(self, xq, k, settings=None, jobs=1):
        """The best rows for each query; see `Index.search`."""
        if k < 1:
            raise UsageError(f"`k` must be a positive integer, got {k}")
        settings = settings or self.SearchParams()
        if self._outer is None:
            raise ImgretError(f"the index '{self.name}' is empty: add vectors first")
        xq = self._prepared(xq, "the matrix of queries")
        self._flush(self._pending_rows)
        found = min(k, self.size)
        scores, rows = np.full((len(xq), k), np.nan, np.float32), np.full((len(xq), k), -1, np.int64)
        if not found or not len(xq):
            return scores, rows
        self._begin(len(xq), settings)
        step = self._queries_at_once(len(xq), found, jobs)
        starts = range(0, len(xq), step)

        def answer(start):
            with np.errstate(all="ignore"):  # a damaged structure may hold any number
                return self._answer(xq[start : start + step], found, settings)

        try:
            for start, block in zip(starts, ordered_map(answer, starts, min(jobs, len(starts))), strict=True):
                scores[start : start + step, :found], rows[start : start + step, :found] = keys.unpack(block)
        except RuntimeError:  # what faiss raises
            raise ImgretError(damage("faiss cannot search its structure")) from None
        if rows.max() >= self.size:
            raise ImgretError(damage("row numbers that it does not have"))
        return scores, rows

    def _begin(self, count, settings):
        """Whatever the threads of a search share."""

    def _queries_at_once(self, count, k, jobs):
        # So few that faiss does not use BLAS, whose rounding would let other queries of the block decide which list is probed.
        return max(1, min(16, 120_000 // self._core.d))

    def _answer(self, xq, k, settings):
        """Keys (Q, k) of a block of queries.

        faiss cuts ties at k as they come, and its scores may differ in the last bit for equal rows. So more than k are fetched and
        scored again, one by one, until what was left out is worse than the k-th by more than rounding can explain.
        """
        if self._matrix is not None:
            xq = rotate(xq, self._matrix)
        limit = self._limit(settings)
        answer = np.full((len(xq), k), keys.MISSING)
        if not limit:
            return answer
        fetch = min(limit, k + max(16, k // 8))
        asking = np.arange(len(xq))
        while len(asking):
            if self._scans(fetch):
                for one in asking:
                    answer[one] = np.sort(keys.pack(self._scan(xq[one]), np.arange(self.size)))[:k]
                break
            cut = max(1, FETCH_BYTES // (4 * fetch * xq.shape[1]))
            left = []
            for start in range(0, len(asking), cut):
                some = asking[start : start + cut]
                scores, rows, edge = self._fetch(xq[some], fetch, settings)
                best = np.sort(keys.pack(scores, rows), axis=1)[:, :k]
                answer[some, : best.shape[1]] = best
                whole = (rows < 0).any(axis=1) | (fetch == limit)
                left.append(some[~(whole | (keys.scores_of(best[:, -1]) > edge))])
            asking = np.concatenate(left)
            fetch = min(limit, 4 * fetch)
        return answer

    def _limit(self, settings):
        """The most rows that a search can return."""
        return self.size

    def _scans(self, fetch):
        """Whether so many rows are better had by `_scan`."""
        return False

    def _scan(self, query):
        """Scores (N,) of all rows for one query."""
        raise AttributeError(type(self).__name__)  # only where `_scans` may be true

    def _fetch(self, xq, fetch, settings):
        """Candidates of some queries: scores (Q, fetch), rows (Q, fetch; -1 is missing), and a bound (Q,) on what was left out."""
        rough, rows, vectors = self._core.search_and_reconstruct(xq, fetch, params=self._faiss_settings(settings, fetch))
        count = rows.size
        vectors = vectors.reshape(count, -1)
        exact = pair_scores(self._similarity, xq, np.repeat(np.arange(len(xq)), fetch), vectors, np.arange(count)).reshape(rows.shape)
        if self.metric == "cosine" and self._similarity:
            reach = 1.001
        elif self._similarity:
            reach = np.sqrt(np.nanmax(np.einsum("cd,cd->c", vectors, vectors), initial=0))
        else:  # |x| <= |q| + |x - q|
            reach = np.linalg.norm(xq, axis=1) + np.sqrt(np.where(rows >= 0, rough, 0).max(axis=1))
        return self._final(exact), rows, self._edge(xq, rough, reach)

    def _faiss_settings(self, settings, fetch):
        """Search-time parameters as faiss takes them."""
        return None

    def _final(self, scores):
        """Scores to report, from those that faiss' metric gives."""
        return 1 + scores / 2 if self.metric == "cosine" and not self._similarity else scores

    def _edge(self, xq, rough, reach):
        """A bound (Q,) on the scores of what is not among faiss' answers `rough` (Q, n).

        Two ways to sum D products in float32 differ by at most 2 D u |q||x|, u = 2^-24 (Higham, "Accuracy and Stability of Numerical
        Algorithms", section 3.1); `reach` bounds |x|. For distances, 2 (|q|² + |x|²) takes the place of |q||x|.
        """
        last = rough[:, -1] if self._similarity else -rough[:, -1]
        edge = self._final(last.astype(np.float64) + self._slack(xq, reach))
        return edge + 2.0**-22 if self.metric == "cosine" and not self._similarity else edge  # the rounding of 1 - d²/2

    def _slack(self, xq, reach):
        norm = np.sqrt(np.einsum("qd,qd->q", xq, xq, dtype=np.float64))
        size = norm * reach if self._similarity else 2 * (norm**2 + np.square(reach))
        return xq.shape[1] * 2.0**-22 * size


def must(condition):
    """For `_adopt`: what was read is not as it should be."""
    if not condition:
        raise ValueError


def pair_scores(similarity, xq, of_query, x, of_row):
    """Scores of pairs, each a function of its two vectors alone: neither position nor company changes a bit.

    Parameters
    ----------
    similarity : bool
        Inner products; otherwise negated squared distances.
    xq : ndarray, shape (Q, D), float32
    of_query : ndarray, shape (P,), int64
    x : ndarray, shape (N, D), float32, or a pointer to such
    of_row : ndarray, shape (P,), int64

    Returns
    -------
    ndarray, shape (P,), float32
    """
    import faiss

    scores = np.empty(len(of_query), np.float32)
    if not len(scores):
        return scores
    compute = faiss.pairwise_indexed_inner_product if similarity else faiss.pairwise_indexed_L2sqr
    pointer = faiss.swig_ptr(x) if isinstance(x, np.ndarray) else x
    xq, of_query, of_row = np.ascontiguousarray(xq), np.ascontiguousarray(of_query), np.ascontiguousarray(of_row)
    indices = faiss.swig_ptr(of_query), faiss.swig_ptr(of_row)
    compute(xq.shape[1], len(scores), faiss.swig_ptr(xq), indices[0], pointer, indices[1], faiss.swig_ptr(scores))
    return scores if similarity else -scores


def rotate(x, matrix):
    """`x` (N, D) by `matrix` (C, D), each row by itself: where BLAS has it, identical rows come out with different last bits."""
    step = max(1, ROTATED_AT_ONCE // len(matrix))
    y = np.empty((len(x), len(matrix)), np.float32)
    for start in range(0, len(x), step):
        of_x, of_matrix = np.divmod(np.arange(min(step, len(x) - start) * len(matrix)), len(matrix))
        y[start : start + step] = pair_scores(True, x[start : start + step], of_x, matrix, of_matrix).reshape(-1, len(matrix))
    return y


def _read(buffer):
    """The faiss index in `buffer`, as a view of it, and the reader that the view needs."""
    import faiss

    with _limited(faiss, max(1, buffer.size)):
        try:
            reader = faiss.ZeroCopyIOReader(faiss.swig_ptr(buffer), buffer.size)
            index = faiss.read_index(reader, faiss.IO_FLAG_MMAP_IFC | faiss.IO_FLAG_SKIP_PRECOMPUTE_TABLE)
        except FAISS_ERRORS:
            raise ImgretError(damage("faiss cannot read its structure")) from None
    if reader.rp_ != buffer.size:  # a view whose last item is cut off is given out nevertheless
        raise ImgretError(damage("its structure ends elsewhere than its bytes"))
    return index, reader


@contextlib.contextmanager
def _limited(faiss, size):
    """No part of a structure is larger than all of it: so a length that cannot be right is refused, not allocated."""
    limits = [limit for limit in ("vector_byte_limit", "loop_limit") if hasattr(faiss, f"set_deserialization_{limit}")]
    with _LIMITS:  # they belong to the whole process
        before = [getattr(faiss, f"get_deserialization_{limit}")() for limit in limits]
        try:
            for limit in limits:
                getattr(faiss, f"set_deserialization_{limit}")(size)
            yield
        finally:
            for limit, value in zip(limits, before, strict=True):
                getattr(faiss, f"set_deserialization_{limit}")(value)
