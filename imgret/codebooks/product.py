"""Words that are pairs: the inverted multi-index."""

import dataclasses

import numpy as np

from imgret.checkpoints import resume
from imgret.codebooks.common import check_rows, take
from imgret.codebooks.lloyd import Lloyd
from imgret.codebooks.nearness import Nearest
from imgret.codebooks.passes import Passes
from imgret.codebooks.visual import Words
from imgret.errors import ImgretError
from imgret.registry import SAMPLING, Params, param


class Product(Words):
    """Two codebooks, one of each half of a descriptor's columns; a word is a pair of their words, so that `size` words each make size².

    Word i · size + j is the i-th of the first half and the j-th of the second. The nearest pairs of a descriptor come out of the two
    lists of nearest halves exactly: a pair of the r-th and the s-th nearest is behind (r + 1)(s + 1) − 1 others (the multi-sequence
    algorithm without its queue, for lists that short). Each half is learned by k-means, as `kmeans` learns it.

    Memory beyond the sample: 4 bytes a row, and about 30 MB a job.

    Attributes
    ----------
    first_ : ndarray, shape (size, a), float32
        a is half the columns, rounded up.
    second_ : ndarray, shape (size, d - a), float32

    References
    ----------
    A. Babenko & V. Lempitsky, "The inverted multi-index", CVPR 2012, section 3.
    """

    name = "product"
    has_centroids = True
    learned = ("first", "second")

    @dataclasses.dataclass(frozen=True)
    class Params(Params):
        size: int = param(256, "words of each half: there are size² words", minimum=1, maximum=4096)
        init: str = param("k-means++", "start from k-means++ or from random rows", role=SAMPLING, choices=("k-means++", "random"))
        iterations: int = param(25, "Lloyd iterations of each half at most", role=SAMPLING, minimum=0)
        tolerance: float = param(1e-4, "stop when the objective falls by less than this share of it", role=SAMPLING, minimum=0.0)
        seed: int = param(0, "seed of the start", role=SAMPLING, minimum=0)

    _nearest = None  # of each half, made when they are first asked for

    @property
    def fewest(self):
        """As many rows as words of a half; see `Codebook.fewest`."""
        return self.params.size

    @property
    def words(self):
        """See `Words.words`."""
        return self.params.size**2

    def fit(self, x, *, jobs=1, checkpoint=None, progress=None):
        """Learn the two halves, with a checkpoint after each iteration; see `Codebook.fit`.

        Raises
        ------
        ImgretError
            For fewer rows than words of a half, a single column, or values that are not finite or beyond 1e18.
        """
        check_rows(x, self.params.size, "visual words")
        if x.shape[1] < 2:
            raise ImgretError("a descriptor of one column has no halves: take another codebook")
        self.dim_, self._nearest = x.shape[1], None
        middle = -(-self.dim_ // 2)
        halves = _Halves(self.params, (self.params.size, middle), checkpoint, progress)
        if not halves.second:
            halves.keep(*self._learn(x[:, :middle], jobs, halves))
        self.first_, (self.second_, error) = halves.first, self._learn(x[:, middle:], jobs, halves)
        self._summary = {"rows": len(x), "words": self.words, "mean_squared_distance": (halves.error + error) / len(x)}
        return self

    def _learn(self, x, jobs, halves):
        """The words of a half, and the sum of its squared distances."""
        course = Lloyd(self.params, {"centroids": (self.params.size, x.shape[1])}, halves, halves.tell)
        passes = Passes(x, jobs, course.tell)
        state = course.run(passes, lambda: {"centroids": passes.start(self.params)})
        passes.counts(state.arrays["centroids"])
        return passes.frame.restore(state.arrays["centroids"]), passes.objective() / passes.frame.scale**2

    def nearest_words(self, x, ma=1):
        """See `Words.nearest_words`; a squared distance is the sum of those of the halves."""
        if self._nearest is None:
            self._nearest = Nearest(self.first_), Nearest(self.second_)
        middle = self.first_.shape[1]
        first, apart = self._nearest[0].find(np.ascontiguousarray(x[:, :middle]), ma)
        second, aside = self._nearest[1].find(np.ascontiguousarray(x[:, middle:]), ma)
        r, s = np.indices((first.shape[1], second.shape[1])).reshape(2, -1)
        near = (r + 1) * (s + 1) <= ma
        words, squared = first[:, r[near]] * self.params.size + second[:, s[near]], apart[:, r[near]] + aside[:, s[near]]
        order = np.lexsort((words, squared))[:, :ma]
        return np.take_along_axis(words, order, axis=1), np.take_along_axis(squared, order, axis=1)

    def centroids_of(self, words):
        """The points of some words, (n, d) float32."""
        words = np.asarray(words)
        return np.concatenate([self.first_[words // self.params.size], self.second_[words % self.params.size]], axis=-1)

    def _take(self, arrays):
        self.first_, self.second_ = (take(arrays, name, (self.params.size, None)) for name in self.learned)
        self.dim_ = self.first_.shape[1] + self.second_.shape[1]
        if self.first_.shape[1] != -(-self.dim_ // 2):
            raise ImgretError("the codebook's `first` and `second` must be halves of a descriptor: train it again")


class _Halves:
    """A checkpoint and a report of two fits, one after the other, as each of them takes its own.

    Attributes
    ----------
    second : bool
        Whether the second is under way.
    first : ndarray or None
        The words of the first, once they are learned.
    error : float
        The sum of its squared distances.
    """

    def __init__(self, params, shape, checkpoint, progress):
        self._iterations, self._checkpoint, self._progress = params.iterations, checkpoint, progress
        self.second, self.first, self.error = False, None, 0.0
        state = checkpoint.load() if checkpoint else None
        if (
            state
            and {"first", "error"} <= set(state)
            and (saved := resume({name: state[name] for name in ("first", "error")}, first=shape, error=()))
        ):
            self.keep(np.array(saved["first"], np.float32), float(saved["error"]))

    def keep(self, first, error):
        """Go on to the second."""
        self.second, self.first, self.error = True, first, error

    def load(self):
        """The state of the fit that is under way, or None."""
        state = self._checkpoint.load() if self._checkpoint else None
        if state is None or ("first" in state) != self.second:
            return None
        return {name: array for name, array in state.items() if name not in ("first", "error")}

    def save(self, make_state):
        """Save the state of the fit that is under way."""
        kept = {"first": self.first, "error": np.asarray(self.error)} if self.second else {}
        if self._checkpoint:
            self._checkpoint.save(lambda: {**make_state(), **kept})

    def tell(self, done, total, message):
        """Report where both stand."""
        if self._progress:
            self._progress(done + self.second * self._iterations, 2 * total, message)
