"""What an index is: what it takes, how it is filled, what is kept of it in a file, and how it is asked."""

import dataclasses

import numpy as np

from imgret import registry
from imgret.components import Component
from imgret.errors import ImgretError, listed
from imgret.metrics import check_metric

SHOWN = 3  # names in a message


class Index(Component):
    """Base of all indexes: planned, trained if `trains`, filled by `add`; a file keeps its `arrays` and `facts`, `opened` gives it back.

    Scores: higher is better. "cosine" is the inner product of L2-normalised vectors (a zero vector stays zero), cut to [-1, 1] before
    anything is ranked by it; "ip" the inner product, "l2" the negated squared distance. Of two rows with equal scores the lower one comes
    first; rows and scores do not depend on what other queries are asked at the same time, nor on `jobs`.

    Parameters
    ----------
    params : Params
    metric : str
        "cosine", "l2" or "ip"; a `UsageError` for another.
    *codebooks : fitted codebooks
        One for each of `needs`: those that what it takes was encoded with.

    Attributes
    ----------
    takes : str
        The kind of store that its rows come from: a row is a photo's vector. The step `index` reads no other kind.
    encoding : tuple of str
        Search-time parameters that say how queries are encoded; see `asked`.
    trains : bool
        Whether `train` needs rows.
    quantizer : type or None
        The class in `imgret.quantizers` of what is learned apart from filling it; None where that cannot be told apart.
    size : int
        Rows added.
    judged : bool
        Whether it has `kept`, `as_asked`, `scores_of` and `columns`, by which `imgret.chance` learns what scores are worth.
    columns : int
        Of what it keeps: C.
    """

    takes = "vectors"
    encoding = ()
    trains = True
    quantizer = None
    hashes = None
    size = 0
    judged = False

    @dataclasses.dataclass(frozen=True)
    class SearchParams(registry.Params):
        """None."""

    def __init__(self, params, metric="cosine", *codebooks):
        check_metric(metric)
        super().__init__(params, *codebooks)
        self.metric = metric

    @classmethod
    def search_params(cls, encoder):
        """The class of its search-time parameters, over what an encoder of that name gives."""
        return cls.SearchParams

    @classmethod
    def searches(cls):
        """The classes of all search-time parameters that it may have: by the name of the encoder, "" where that makes no difference."""
        return {"": cls.SearchParams}

    def plan(self, dim, n_train, n):
        """Choose the layout for `n` rows of `dim` columns, `n_train` to learn from, before any work; return what was chosen, in a line.

        Raises
        ------
        ImgretError, UsageError
            If that many rows cannot train this index; if a parameter does not fit the dimension.
        """
        raise NotImplementedError(type(self).__name__)

    def train(self, x, jobs=1, progress=None):
        """Learn from rows (T, dim), on `jobs` threads; return itself. `ImgretError` for rows that are too few, or not finite.

        `progress` is told as `imgret.codebooks.base.Codebook.fit` tells it.
        """
        raise NotImplementedError(type(self).__name__)

    def fill_by(self, quantizer, n):
        """Take what an `imgret.quantizers.base.Quantizer` has learned, of the same parameters and metric, instead of `plan` and `train`.

        Returns what `plan` does, for `n` rows to come.
        """
        raise NotImplementedError(type(self).__name__)

    def copy_from(self, hashes, index):
        """Copy the codes of rows whose hashes are among these, (N,), those of an opened index, instead of making them anew."""
        raise NotImplementedError(type(self).__name__)

    def codes(self):
        """What is kept of each row, to be copied: (N, bytes), uint8. None where `hashes` are."""
        return None

    def learned(self):
        """What it was filled by, taken out of its arrays, where it has a `quantizer`. `ImgretError` if they are damaged."""
        raise NotImplementedError(type(self).__name__)

    def add(self, x):
        """Append rows (N, dim), in order. `ImgretError` for rows that are not finite."""
        raise NotImplementedError(type(self).__name__)

    def extend(self, blocks, jobs=1):
        """Append blocks of rows as they come, on `jobs` threads; see `add`."""
        for x in blocks:
            self.add(x)

    def arrays(self):
        """The searchable structure, by name: dict of str to ndarray, the columns `structure/NAME` of a file."""
        raise NotImplementedError(type(self).__name__)

    def save(self, column):
        """Write the same, an array at a time, or in blocks where that takes less memory.

        Parameters
        ----------
        column : callable
            `column(name, row_shape, dtype, length)`: an array to be written; its `append(block)` takes the rows.
        """
        for name, array in self.arrays().items():
            column(name, array.shape[1:], array.dtype, len(array)).append(array)

    def facts(self):
        """What must be known to open the arrays, as JSON; part of the file's `content`."""
        raise NotImplementedError(type(self).__name__)

    def kept(self, start, stop):
        """Rows `start` to `stop` as a full index has them: (n, C), float32, decoded where they are codes."""
        raise NotImplementedError(type(self).__name__)

    def as_asked(self, xq):
        """Queries (Q, dim) as they are compared with what is kept: (Q, C), float32."""
        raise NotImplementedError(type(self).__name__)

    def scores_of(self, products, asked, kept):
        """Scores as a search gives them, but for rounding.

        Parameters
        ----------
        products : ndarray, shape (Q, n), float64
            Inner products of what asks with what is kept.
        asked, kept : ndarray, shape (Q,) and (n,)
            Their L2 norms.

        Returns
        -------
        ndarray, shape (Q, n), float64
        """
        raise NotImplementedError(type(self).__name__)

    @classmethod
    def opened(cls, params, metric, arrays, facts, size, codebooks=()):
        """Open what `arrays` and `facts` gave of an index of `size` rows.

        The arrays may be a stranger's: memory maps, kept as long as the index is, of which nothing is read until it is needed.
        `ImgretError` if they are not what this index writes.
        """
        raise NotImplementedError(cls.__name__)

    def asked(self, settings):
        """What the encoder is told of queries that it is not told of photos: its parameters by name, as JSON."""
        return {}

    def visited(self, xq, settings=None):
        """Which rows of its arrays a search for some queries looks at: these are verified first where the arrays lie in a file.

        Parameters
        ----------
        xq, settings : see `search`

        Returns
        -------
        dict of str to array_like, shape (n, 2), or None
            By name of the array, first and last + 1 row of each range; None for all rows of all arrays.

        Raises
        ------
        ImgretError
            As `search` does, for queries that cannot be asked.
        """
        return None

    def search(self, xq, k, settings=None, jobs=1):
        """The best rows for each query.

        Parameters
        ----------
        xq : array_like, shape (Q, dim)
        k : int
            Rows wanted; `size` for all.
        settings : SearchParams, optional
        jobs : int
            Threads.

        Returns
        -------
        scores : ndarray, shape (Q, k), float32
            Best first; NaN where there are no more.
        rows : ndarray, shape (Q, k), int64
            -1 where there are no more.

        Raises
        ------
        ImgretError, UsageError
            If the queries are not finite numbers of `dim` columns; if `k` is not a positive integer.
        """
        raise NotImplementedError(type(self).__name__)


def damage(what):
    """The sentence for a structure that cannot be right."""
    return f"the index is damaged ({what}): make it again"


def must(condition):
    """For whoever takes a structure apart: what was read is not as it should be.

    Raises
    ------
    ValueError
    """
    if not condition:
        raise ValueError


def taken(arrays, names):
    """The arrays of a file, in the order of their names.

    Raises
    ------
    ImgretError
        If others are there.
    """
    if set(arrays) != set(names):
        there = listed(sorted(arrays), SHOWN)
        raise ImgretError(damage(f"its structure is {there or 'empty'}, not {', '.join(names)}"))
    return [np.asarray(arrays[name]) for name in names]
