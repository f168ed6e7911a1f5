"""What the indexes that faiss holds share until they are asked: blocks of rows, and opening a buffer."""

import numpy as np

from imgret.errors import ImgretError, UsageError
from imgret.indexes import keys
from imgret.indexes.base import Index, damage, must, taken
from imgret.indexes.buffers import FAISS_ERRORS, read, reserve, size_of, write
from imgret.indexes.pairs import rotate
from imgret.metrics import check_lengths, norms_of, prepared
from imgret.parallel import one_thread

BLOCK = 8192  # rows handed to faiss at once: fixed, so that codes do not depend on how the rows came


class Held(Index):
    """An index that faiss holds, as it is filled and opened; `imgret.indexes.faissed.Faissed` is one that can be asked.

    It is built in memory, where it takes about what its file will, and written from there in blocks.

    Attributes
    ----------
    dim : int
        Columns of the vectors; None before `plan`.
    fourcc : tuple of bytes
        How the serialised structure may begin.
    by_distance : bool
        Whether "cosine" is had from distances between unit vectors, as 1 - d²/2.
    """

    judged = True
    fourcc = ()
    by_distance = False

    def __init__(self, params, metric="cosine", *codebooks):
        super().__init__(params, metric, *codebooks)
        self.dim = None
        self._outer = None  # the faiss index
        self._core = None  # the same without its transform
        self._matrix = None  # that transform, (columns of the core, dim)
        self._expected = 0  # rows in all
        self._rows, self._pending = None, 0  # a block that is being gathered, and how many rows of it are there
        self._longest = 0.0  # L2 norm of what was added
        self._buffer = None

    @property
    def size(self):
        """Rows added."""
        return (0 if self._outer is None else self._outer.ntotal) + self._pending

    @property
    def _similarity(self):
        """Whether faiss computes inner products; otherwise squared distances."""
        return self.metric == "ip" or (self.metric == "cosine" and not self.by_distance)

    @property
    def _faiss_metric(self):
        import faiss

        return faiss.METRIC_INNER_PRODUCT if self._similarity else faiss.METRIC_L2

    # Building

    def plan(self, dim, n_train, n):
        """Choose the layout; see `Index.plan`."""
        self._expect(dim, n)
        return self._plan(int(n_train), int(n))

    def train(self, x, jobs=1, progress=None):
        """Learn from vectors; where `trains` is false, they are not looked at. See `Index.train`."""
        import faiss  # noqa: F401  (one_thread reaches what is loaded)

        if self.dim is None:
            self.plan(np.shape(x)[1], len(x), len(x))
        if self.trains:
            x = self._prepared(x, "the matrix of training vectors")
            check_lengths(norms_of(x, self.metric), self.metric, "the matrix of training vectors")
            self._check_training(len(x))
            with one_thread():
                self._train(x)
        else:
            self._build()
        return self

    def _expect(self, dim, n):
        """Note how many rows of how many columns there will be."""
        if dim < 1:
            raise ImgretError("the vectors have no columns")
        if n > keys.MOST_ROWS:
            raise ImgretError(f"an index holds at most {keys.MOST_ROWS} vectors, got {n}")
        self.dim, self._expected = int(dim), int(n)

    def add(self, x):
        """Append rows; see `Index.add`."""
        for _ in self._gathered(self._ready(x)):
            self._flush()

    def _ready(self, x):
        """Rows that are to be appended, prepared; the index is made ready for them."""
        if self._buffer is not None:
            raise ImgretError("an index opened from a file takes no more vectors: make it again with all of them")
        if self._outer is None:
            if self.trains:
                raise ImgretError(f"the index '{self.name}' must be trained before vectors are added")
            if self.dim is None:
                self.plan(np.shape(x)[1], 0, len(x))
            self._build()
        x = self._prepared(x, "the matrix of vectors")
        norms = norms_of(x, self.metric)
        check_lengths(norms, self.metric, "the matrix of vectors", small="never")
        self._longest = max(self._longest, float(norms.max(initial=0)))
        if not self.size:
            self._reserve(max(self._expected, len(x)))
        return x

    def _gathered(self, x):
        """Yield whenever prepared rows have filled the block that is being gathered."""
        if self._rows is None:
            self._rows = np.empty((BLOCK, self.dim), np.float32)
        while len(x):
            taken = x[: BLOCK - self._pending]
            self._rows[self._pending : self._pending + len(taken)] = taken
            self._pending, x = self._pending + len(taken), x[len(taken) :]
            if self._pending == BLOCK:
                yield

    def arrays(self):
        """The structure as faiss serialises it: `faiss`, shape (bytes,), uint8. Takes the index's size in memory once more."""
        saved = {}
        self.save(lambda name, row_shape, dtype, length: saved.setdefault(name, _Array(length, dtype)))
        return {name: array.rows for name, array in saved.items()}

    def save(self, column):
        """Write the structure as faiss serialises it, in blocks; see `Index.save`."""
        if self._outer is None:
            raise ImgretError(f"the index '{self.name}' is empty: add vectors first")
        self._complete()
        self._rows = None
        write(self._outer, column("faiss", (), np.uint8, size_of(self._outer)).append)

    def facts(self):
        """Its dimension."""
        return {"dim": self.dim}

    def kept(self, start, stop):
        """Rows as faiss has them, decoded and rotated; see `Index.kept`."""
        self._complete()
        return self._core.reconstruct_n(start, stop - start)

    @property
    def columns(self):
        """Columns of what is kept."""
        return self._core.d

    def as_asked(self, xq):
        """Queries, of unit length for "cosine", rotated; see `Index.as_asked`."""
        xq = self._prepared(xq, "the matrix of queries")
        return xq if self._matrix is None else rotate(xq, self._matrix)

    def _complete(self):
        """Take in what is pending."""
        if self._buffer is None:
            check_lengths(np.array([self._longest]), self.metric, "the index")
        self._flush()

    def _flush(self):
        """Hand faiss the rows of the block."""
        if self._pending:
            with one_thread():
                self._append(self._rows[: self._pending])
            self._pending = 0

    def _reserve(self, count):
        """Make room for so many rows, where that is known to help."""
        import faiss

        if type(self._core) in (faiss.IndexFlat, faiss.IndexFlatIP, faiss.IndexFlatL2, faiss.IndexPQ, faiss.IndexScalarQuantizer):
            reserve(self._core.codes, count * self._core.code_size)

    def _append(self, x):
        if self._matrix is None:
            self._outer.add(x)
            return
        self._core.add(rotate(x, self._matrix))  # faiss would have BLAS do it, so that copies of a vector might get different codes
        self._outer.ntotal = self._core.ntotal

    def _prepared(self, x, what):
        return prepared(x, self.metric, self.dim, what)

    def _plan(self, n_train, n):
        raise NotImplementedError(type(self).__name__)  # every index has its own

    def _check_training(self, n_train):
        """Refuse too few training vectors."""

    def _build(self):
        """Make the empty faiss index, where nothing has to be learnt."""

    def _train(self, x):
        """Make the trained, empty faiss index."""

    # Opening

    @classmethod
    def opened(cls, params, metric, arrays, facts, size, codebooks=()):
        """Open what `arrays` gave, without copying it; see `Index.opened`.

        A buffer that was cut off, or whose header was changed, is refused, and so is a structure that is not listed in
        `imgret.indexes.structures`: nothing outside the buffer is opened. The bulk of a structure is not read here (that would
        take as long as reading the file), and faiss trusts it: a graph or an inverted list damaged on purpose may crash a later
        search. One that has rotted is found before: what `visited` gives is verified first.
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
        index._outer, reader, index._lists_at = read(buffer)
        index._buffer = buffer, reader  # faiss looks into them
        index.dim = index._outer.d
        if index.dim != facts.get("dim", index.dim):
            raise ImgretError(damage(f"{index.dim} columns where there should be {str(facts['dim'])[:20]}"))
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


class _Array:
    """An array of bytes that is written in blocks."""

    def __init__(self, length, dtype):
        self.rows, self._end = np.empty(length, dtype), 0

    def append(self, block):
        self._end, start = self._end + len(block), self._end
        self.rows[start : self._end] = block
