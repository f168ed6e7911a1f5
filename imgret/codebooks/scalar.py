"""Scalar quantisation: words that nothing is learned for."""

import dataclasses

import numpy as np

from imgret.codebooks.common import check_rows, take
from imgret.codebooks.frames import frame_of
from imgret.codebooks.visual import Words
from imgret.errors import ImgretError
from imgret.parallel import blocks
from imgret.registry import Params, param


class Scalar(Words):
    """Each value of a descriptor is one bit, whether it is above the median of the descriptor's own values; some of the bits make the word.

    Nothing is learned but how many columns there are: the sample may be small. Which columns make the word is drawn by `seed` (neighbours
    in a SIFT descriptor say much the same). For several words at once those bits are turned over whose values are nearest the median. A
    squared distance is that to the nearest point that has the word's bits, seen from the same median: the sum of (value − median)² of
    the bits turned over, so 0 for the descriptor's own word, which comes first whatever ties with it. (Zhou et al. have a second
    threshold for a second bit of each value; one is enough for the word.)

    Attributes
    ----------
    order_ : ndarray, shape (D,), int64
        The columns; the first `bits` are those of the word, from its lowest bit on.

    References
    ----------
    W. Zhou, Y. Lu, H. Li & Q. Tian, "Scalar quantization for large scale image search", ACM Multimedia 2012, section 3.
    """

    name = "scalar"
    learned = ("order",)

    @dataclasses.dataclass(frozen=True)
    class Params(Params):
        bits: int = param(20, "bits of a word: there are 2^bits words", minimum=1, maximum=24)
        seed: int = param(0, "seed by which the word's columns are drawn", minimum=0)

    @property
    def words(self):
        """See `Words.words`."""
        return 1 << self.params.bits

    def fit(self, x, *, jobs=1, checkpoint=None, progress=None):
        """Note the columns; see `Codebook.fit`.

        Raises
        ------
        ImgretError
            For fewer columns than bits, and values that are not finite or beyond 1e18.
        """
        check_rows(x, 1, "visual words")
        frame_of(x, jobs)
        bits = self.params.bits
        if x.shape[1] < bits:
            raise ImgretError(f"words of {bits} bits were asked for (`bits`), but the rows have {x.shape[1]} columns: ask for fewer")
        if progress:
            progress(0, 1, "columns")
        self.dim_, self.order_ = x.shape[1], np.random.default_rng(self.params.seed).permutation(x.shape[1])
        if checkpoint:
            checkpoint.save(lambda: {"order": self.order_})
        used = np.zeros(self.words, bool)
        for block in blocks(len(x)):
            used[self.nearest_words(x[block])[0]] = True
        self._summary = {"rows": len(x), "words": self.words, "used_words": int(np.count_nonzero(used))}
        return self

    def nearest_words(self, x, ma=1):
        """See `Words.nearest_words`, and for what a squared distance is here, the class."""
        above = self._above(x)[:, : self.params.bits]
        own = (above > 0) @ (1 << np.arange(self.params.bits))
        ma = min(ma, self.words)
        flips, squared = np.zeros((len(x), ma), np.int64), np.zeros((len(x), ma), np.float32)
        if ma > 1:
            from imgret.codebooks.kernels import flip

            costs = np.square(above)
            flip(costs, np.argsort(costs, axis=1, kind="stable"), flips, squared)
        words = own[:, None] ^ flips
        order = np.lexsort((words, squared, words != own[:, None]))
        return np.take_along_axis(words, order, axis=1), np.take_along_axis(squared, order, axis=1)

    def signature_of(self, x):
        """The bits that are not the word's, (T, S) uint8: bit j of them is bit j % 8 of byte j // 8.

        Parameters
        ----------
        x : ndarray, shape (T, D), float32
        """
        return np.packbits(self._above(x)[:, self.params.bits :] > 0, axis=1, bitorder="little")

    def _above(self, x):
        """How far each value is above its row's median, columns in their order."""
        return (x - np.median(x, axis=1, keepdims=True)).astype(np.float32)[:, self.order_]

    def _take(self, arrays):
        self.order_ = take(arrays, "order", (None,), np.int64)
        self.dim_ = len(self.order_)
        if self.dim_ < self.params.bits or not np.array_equal(np.sort(self.order_), np.arange(self.dim_)):
            raise ImgretError(f"the codebook's `order` must name each of {self.params.bits} columns or more once: train it again")
