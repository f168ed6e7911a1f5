"""What an index is: what it takes, how it is filled, what is kept of it in a file, and how it is asked."""

import dataclasses

import numpy as np

from imgret import registry
from imgret.components import Component
from imgret.errors import ImgretError, UsageError, listed, quoted

METRICS = ("cosine", "l2", "ip")
SHOWN = 3  # names in a message
SHORTEST, LONGEST = 2.0**-60, 2.0**62  # L2 norms between which products and squared distances are float32's


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
    trains : bool
        Whether `train` needs rows.
    size : int
        Rows added.
    judged : bool
        Whether it has `kept`, `as_asked`, `scores_of` and `columns`, by which `imgret.chance` learns what scores are worth.
    columns : int
        Of what it keeps: C.
    """

    takes = "vectors"
    trains = True
    size = 0
    judged = False

    @dataclasses.dataclass(frozen=True)
    class SearchParams(registry.Params):
        """None."""

    def __init__(self, params, metric="cosine", *codebooks):
        check_metric(metric)
        super().__init__(params, *codebooks)
        self.metric = metric

    def plan(self, dim, n_train, n):
        """Choose the layout for `n` rows of `dim` columns, `n_train` to learn from, before any work; return what was chosen, in a line.

        Raises
        ------
        ImgretError, UsageError
            If that many rows cannot train this index; if a parameter does not fit the dimension.
        """
        raise NotImplementedError(type(self).__name__)

    def train(self, x, jobs=1):
        """Learn from rows (T, dim), on `jobs` threads; return itself. `ImgretError` for rows that are too few, or not finite."""
        raise NotImplementedError(type(self).__name__)

    def add(self, x):
        """Append rows (N, dim), in order. `ImgretError` for rows that are not finite."""
        raise NotImplementedError(type(self).__name__)

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


def check_metric(metric):
    """Refuse what is no metric.

    Raises
    ------
    UsageError
    """
    if metric not in METRICS:
        raise UsageError(f"`metric` must be one of {', '.join(METRICS)}, got {quoted(repr(metric))}")


def check_lengths(norms, metric, what, small="all"):
    """Refuse vectors whose products or squared distances float32 does not hold; "cosine" takes any.

    Parameters
    ----------
    norms : ndarray, shape (N,)
        L2 norms.
    metric : str
    what : str
        What they are of, for the message.
    small : str
        Whether vectors that are too short, but not zero, are refused where "any" is, where "all" are, or "never".

    Raises
    ------
    ImgretError
    """
    norms = norms[norms > 0]
    if metric == "cosine" or not len(norms):
        return
    longest, shortest = float(norms.max()), float(norms.min())
    judged = {"any": shortest, "all": longest, "never": SHORTEST}[small]
    if longest > LONGEST:
        said = f"a vector of the length {longest:.3g}"
    elif judged < SHORTEST:
        said = f"a vector of the length {shortest:.3g}" if small == "any" else f"no vector longer than {longest:.3g}"
    else:
        return
    raise ImgretError(
        f"{what} holds {said}, and by '{metric}' only scores of vectors from {SHORTEST:.1g} to {LONGEST:.1g} in length keep to float32: "
        "scale the vectors, or take --metric cosine"
    )


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
