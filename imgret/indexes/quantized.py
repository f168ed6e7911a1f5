"""Indexes that a quantiser is learned for, apart from filling them: given the quantiser, they are functions of their rows."""

import numpy as np

from imgret.errors import ImgretError
from imgret.indexes.base import damage, must
from imgret.indexes.copies import Known, hashes_of
from imgret.indexes.faissed import Faissed
from imgret.indexes.held import BLOCK
from imgret.indexes.pairs import rotate
from imgret.parallel import ordered_map

FILL_BYTES = 1 << 27  # of rows that wait to be encoded, about


class Quantized(Faissed):
    """Base of indexes of codes or lists that `imgret.quantizers` learn: by `train`, or before (`fill_by`)."""

    _row_by_row = False  # whether the code of a row is the same whatever rows are encoded with it

    def __init__(self, params, metric="cosine", *codebooks):
        super().__init__(params, metric, *codebooks)
        self._learned = self.quantizer(params, metric)
        self._known, self._hashes = None, []  # rows that need not be encoded; blocks of hashes
        self.by_distance = self.quantizer.by_distance

    def train(self, x, jobs=1, progress=None):
        """Have the quantiser learn from rows; see `Index.train`."""
        import faiss  # noqa: F401  (one_thread reaches what is loaded)

        if self.dim is None:
            self.plan(np.shape(x)[1], len(x), len(x))
        self._learned.learn(x, jobs=jobs, progress=progress)
        self._build()
        return self

    def fill_by(self, quantizer, n):
        """Take what a quantiser of the same parameters and metric has learned, for `n` rows; see `Index.fill_by`."""
        self._expect(quantizer.dim, n)
        self._learned = quantizer
        self._build()
        return str(quantizer)

    def learned(self):
        """What it was filled by; see `Index.learned`."""
        arrays = self._arrays()

        def take(name, shape):
            array = arrays[name]
            must(array.ndim == len(shape) and all(want in (None, have) for have, want in zip(array.shape, shape, strict=True)))
            return array

        quantizer = self.quantizer(self.params, self.metric)
        try:
            must(all(np.isfinite(array).all() for array in arrays.values()))
            quantizer.hold(arrays, take)
        except (ValueError, KeyError):
            raise ImgretError(damage("its structure is not what its parameters make")) from None
        return quantizer

    def copy_from(self, hashes, index):
        """See `Index.copy_from`; for rows that come by `extend`."""
        self._known = Known(hashes), index.codes(), index  # in which the codes lie

    @property
    def hashes(self):
        """See `Index.hashes`; of rows that came by `extend`."""
        hashes = np.concatenate([np.empty(0, np.uint64), *self._hashes])
        return hashes if self._row_by_row and len(hashes) == self.size else None

    def extend(self, blocks, jobs=1):
        """Append blocks of rows, of which `jobs` are encoded at once; see `Index.extend`."""
        at_once = max(1, FILL_BYTES // (8 * BLOCK * self.dim))
        for hashes, codes in ordered_map(self._encoded, self._filled(blocks), min(jobs, at_once)):
            self._hashes.append(hashes)
            self._core.add_sa_codes(codes)
            self._outer.ntotal = self._core.ntotal

    def _filled(self, blocks):
        """Yield blocks of rows that are full, and the last one, copied: several of them wait."""
        for x in blocks:
            for _ in self._gathered(self._ready(x)):
                yield self._rows.copy()
                self._pending = 0
        if self._pending:
            rows, self._pending = self._rows[: self._pending].copy(), 0
            yield rows

    def _encoded(self, x):
        """Hashes of a block of rows, where they tell anything, and what the index keeps of it; `add` makes the same."""
        if not self._row_by_row:
            return np.empty(0, np.uint64), self._fresh(x)
        hashes = hashes_of(x)
        if self._known is None:
            return hashes, self._fresh(x)
        known, codes, _ = self._known
        rows = known.find(hashes)
        copied = codes[np.maximum(rows, 0)]
        new = np.flatnonzero(rows < 0)
        copied[new] = self._fresh(x[new])
        return hashes, copied

    def _fresh(self, x):
        return self._core.sa_encode(x if self._matrix is None else rotate(x, self._matrix))

    def _plan(self, n_train, n):
        return self._learned.plan(self.dim, n_train, n)

    def _arrays(self):
        """The arrays of `imgret.quantizers` as they are in the structure."""
        raise NotImplementedError(type(self).__name__)
