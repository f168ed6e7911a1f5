"""What a codebook is, and what it is learned from."""

from imgret.components import Component


class Codebook(Component):
    """Base of all codebooks: a sample of rows in, the arrays of one fitted component out.

    A subclass has `fit`, which learns and returns itself, `to_arrays` and `from_arrays`; what is learned ends in `_`.

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
    dim_ : int
        Columns of the rows it was learned from.
    """

    takes = ("features", "vectors")
    needs_groups = False
    default_encoder = None
    seeded = True
    dim_ = None

    def __init__(self, params):
        super().__init__(params)
        self._summary = {}

    def fit(self, x, *, jobs=1, checkpoint=None, progress=None):
        """Learn from rows.

        Parameters
        ----------
        x : ndarray, shape (N, D), float32, C-contiguous
        jobs : int
            Blocks computed at once; the result does not depend on it.
        checkpoint : object, optional
            `load() -> dict of str to ndarray, or None` and `save(make_state)`, called now and then.
        progress : callable, optional
            `progress(done, total, message)` at the same moments.

        Returns
        -------
        Codebook
            Itself.

        Raises
        ------
        ImgretError
        """
        raise NotImplementedError(type(self).__name__)

    def transform(self, x):
        """Rows (T, dim_) in the codebook's own space, (T, d) float32."""
        raise NotImplementedError(type(self).__name__)

    def summary(self):
        """Plain numbers of the fit. Empty after `from_arrays`."""
        return dict(self._summary)

    def to_arrays(self):
        """What was learned, by name: dict of str to ndarray."""
        raise NotImplementedError(type(self).__name__)

    @classmethod
    def from_arrays(cls, params, arrays):
        """The codebook whose `to_arrays` gave `arrays`.

        Raises
        ------
        ImgretError
            For arrays that this cannot have given.
        """
        raise NotImplementedError(cls.__name__)
