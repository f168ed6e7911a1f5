"""What words are like in photos that are learned from: how many photos have each, and how far descriptors are from them."""

import dataclasses

import numpy as np

from imgret.codebooks.base import Codebook
from imgret.codebooks.common import check_rows, take
from imgret.components import VOCABULARIES, Need
from imgret.errors import ImgretError
from imgret.parallel import blocks, ordered_map
from imgret.registry import SAMPLING, Params, param

LP = 2  # exponent of the L_p-norm idf


class Statistics(Codebook):
    """How often words occur in photos, and how far their descriptors are from them.

    Learned apart from what is indexed, on whole photos. With n_w of N photos having the word w, tf_iw times in photo i:

    ========  ============================================================================================
    `idf`     ln(N / n_w) (Sivic & Zisserman 2003); ln N of a word that none has
    `lp_idf`  ln(N / sum_i tf_iw²), and no less than 0: a word that comes in bursts counts for less (the L_p-norm idf of Zheng et al. 2013
              with p = 2, all photos alike)
    `spread`  mean squared distance of a word's descriptors to it; of a word that none has, the mean over all
    ========  ============================================================================================

    Attributes
    ----------
    counts_, photos_ : ndarray, shape (K,), int64
        Descriptors of each word, and photos that have it.
    idf_, lp_idf_, spread_ : ndarray, shape (K,), float32

    References
    ----------
    J. Sivic & A. Zisserman, "Video Google: a text retrieval approach to object matching in videos", ICCV 2003, section 4.
    L. Zheng, S. Wang, Z. Liu & Q. Tian, "Lp-norm IDF for large scale image search", CVPR 2013.
    """

    name = "words"
    takes = ("features",)
    needs = (Need("words", VOCABULARIES),)
    default_encoder = "bow"
    step = "block"
    learned = ("counts", "photos", "idf", "lp_idf", "spread")

    @dataclasses.dataclass(frozen=True)
    class Params(Params):
        levels: str = param("leaves", "of a vocabulary tree, of its leaves or of the nodes of all levels", choices=("leaves", "all"))
        seed: int = param(0, "seed of the photos that are drawn", role=SAMPLING, minimum=0)

    def fit_photos(self, x, counts, words, *, jobs=1, progress=None):
        """Learn from photos.

        Parameters
        ----------
        x : ndarray, shape (T, D), float32, C-contiguous
            The descriptors of all photos.
        counts : ndarray, shape (N,), int64
            How many of them each photo has.
        words : fitted codebook
        jobs, progress : see `Codebook.fit`

        Returns
        -------
        Codebook
            Itself.
        """
        check_rows(x, 1, "descriptors")
        found, squared, z = self._nearest_of(x, words, jobs, progress)
        self._count(found, squared, np.repeat(np.arange(len(counts)), counts), words)
        self._learn(z, found, words)
        return self

    def _learn(self, z, found, words):
        """Learn what else there is of rows in the words' space, and their words."""

    def _nearest_of(self, x, words, jobs, progress):
        """Words and squared distances of all rows, and the rows in the words' space."""
        pieces = blocks(len(x))
        found, squared, z = np.empty(len(x), np.int64), np.empty(len(x), np.float32), [None] * len(pieces)

        def work(block):
            rows = np.ascontiguousarray(words.transform(x[block]), dtype=np.float32)
            each, far = words.nearest_words(rows, 1)
            return block, each[:, 0], far[:, 0], rows

        if progress:
            progress(0, len(pieces), "nearest words")
        for number, (block, each, far, rows) in enumerate(ordered_map(work, pieces, jobs)):
            found[block], squared[block], z[number] = each, far, rows
            if progress:
                progress(number + 1, len(pieces), "nearest words")
        return found, squared, z

    def _count(self, found, squared, photo, words):
        size = words.words
        if self.params.levels == "all":
            if words.nodes is None:
                raise ImgretError(
                    f"`levels` is for a vocabulary tree (hkm), and these are the words of a {words.name} codebook: leave it out"
                )
            nodes = words.ancestors_of(found)
            found, squared, photo = nodes.ravel(), np.repeat(squared, nodes.shape[1]), np.repeat(photo, nodes.shape[1])
            size = words.nodes
        self.counts_ = np.bincount(found, minlength=size)
        pairs, tf = np.unique(photo * np.int64(size) + found, return_counts=True)
        of_word = pairs % size
        self.photos_ = np.bincount(of_word, minlength=size)
        total = int(photo[-1]) + 1
        self.idf_ = np.log(total / np.maximum(self.photos_, 1)).astype(np.float32)
        norms = np.bincount(of_word, tf.astype(np.float64) ** LP, minlength=size)
        self.lp_idf_ = np.maximum(np.log(total / np.where(norms > 0, norms, 1)), 0).astype(np.float32)
        sums = np.bincount(found, squared, minlength=size)
        mean = sums.sum() / len(found)
        self.spread_ = np.where(self.counts_ > 0, sums / np.maximum(self.counts_, 1), mean).astype(np.float32)
        self._summary = {
            "photos": total,
            "descriptors": len(found),
            "words": size,
            "empty_words": int(np.count_nonzero(self.counts_ == 0)),
            "single_words": int(np.count_nonzero(self.counts_ == 1)),
            "mean_squared_distance": float(mean),
        }

    def _take(self, arrays):
        self.counts_ = _not_negative(arrays, "counts", None, np.int64)
        size = len(self.counts_)
        self.photos_ = _not_negative(arrays, "photos", size, np.int64)
        self.idf_, self.lp_idf_, self.spread_ = (_not_negative(arrays, name, size, np.float32) for name in ("idf", "lp_idf", "spread"))

    def transform(self, x):
        """Nothing: it is no space of its own."""
        raise ImgretError(f"a {self.name} codebook says what words are like: nothing is transformed by it")


def _not_negative(arrays, name, size, dtype):
    array = take(arrays, name, (size,), dtype)
    if array.min(initial=0) < 0:
        raise ImgretError(f"the codebook's `{name}` holds values below zero: train it again")
    return array
