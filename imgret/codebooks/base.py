"""What a codebook is, and what it is learned from."""

from imgret.codebooks.common import check_names
from imgret.components import Component


class Codebook(Component):
    """Base of all codebooks: a sample of rows in, the arrays of one fitted component out.

    A subclass has `fit`, which learns and returns itself, and `transform`; it names the arrays that it learns, and checks those of a file
    (`_take`). What is learned ends in `_`.

    Parameters
    ----------
    params : Params

    Attributes
    ----------
    takes : tuple of str
        The kinds of store whose rows it is learned from.
    needs_groups : bool
        Whether it is learned from photos that match one another: `fit(x, groups, ...)` instead of `fit(x, ...)`.
    default_encoder : str
        The encoder that it is for where none is named.
    step : str
        What is counted while it learns.
    learned : tuple of str
        Names of its arrays, without the `_`.
    dim_ : int
        Columns of the rows it was learned from.
    """

    takes = ("features", "vectors")
    needs_groups = False
    default_encoder = None
    step = "iteration"
    learned = ()
    seeded = True
    dim_ = None

    def __init__(self, params):
        super().__init__(params)
        self._summary = {}

    @property
    def fewest(self):
        """Rows to learn from that it cannot do without, as far as parameters tell."""
        return 1

    def plan(self, dim, n_train, n):
        """Choose the layout for `n` rows of `dim` columns, `n_train` of them to learn from, before any work.

        Returns what was chosen, in a line; '' where nothing is to be chosen.

        Raises
        ------
        ImgretError, UsageError
            If that many rows are too few; if a parameter does not fit the dimension.
        """
        return ""

    def fit(self, x, *, jobs=1, checkpoint=None, progress=None):
        """Learn from rows.

        Parameters
        ----------
        x : ndarray, shape (N, D), float32, C-contiguous
        jobs : int
            Blocks computed at once; the result does not depend on it.
        checkpoint : object, optional
            `load() -> dict of str to ndarray, or None` and `save(make_state)`, called after each step of the method.
        progress : callable, optional
            `progress(done, total, message)` before the first step, at the same moments, and in between, where a step takes a while: with
            a part of it in `done`, a float then.

        Returns
        -------
        Codebook
            Itself.

        Raises
        ------
        ImgretError
            For a sample too small for what is asked, and values that are not finite or beyond 1e18.
        """
        raise NotImplementedError(type(self).__name__)

    def transform(self, x):
        """Rows in the codebook's own space.

        Parameters
        ----------
        x : array_like, shape (T, dim_)

        Returns
        -------
        ndarray, shape (T, d), float32

        Raises
        ------
        ImgretError
            For another number of columns, NaN or infinities.
        """
        raise NotImplementedError(type(self).__name__)

    def summary(self):
        """Plain numbers of the fit. Empty after `from_arrays`."""
        return dict(self._summary)

    def to_arrays(self):
        """What was learned, by name: dict of str to ndarray."""
        return {name: getattr(self, f"{name}_") for name in self._names()}

    @classmethod
    def from_arrays(cls, params, arrays):
        """The codebook whose `to_arrays` gave `arrays`.

        Raises
        ------
        ImgretError
            For arrays that this cannot have given.
        """
        self = cls(params)
        check_names(arrays, self._names())
        self._take(arrays)
        return self

    def _names(self):
        """Names of what these parameters have it learn."""
        return self.learned

    def _take(self, arrays):
        """Set what was learned from the arrays of a file, which are those named; refuse what a fit cannot have given."""
        raise NotImplementedError(type(self).__name__)
