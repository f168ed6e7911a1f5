"""What a quantiser is: planned, learned from rows, kept as arrays."""

from imgret.checkpoints import Course
from imgret.metrics import check_lengths, check_metric, norms_of, prepared
from imgret.parallel import one_thread


class Quantizer:
    """Base of what trained indexes learn.

    Parameters
    ----------
    params : Params
    metric : str
        "cosine", "l2" or "ip".

    Attributes
    ----------
    name : str
        As the tables of codebooks and indexes have it.
    learned : tuple of str
        Names of its arrays.
    by_distance : bool
        Whether "cosine" is had from distances between unit vectors, as 1 - d²/2.
    remedy : str
        What to do about too few rows to learn from.
    dim : int
        Columns of the rows; None before `plan` and `hold`.
    arrays : dict of str to ndarray
        What was learned, float32.
    """

    name = None
    learned = ()
    by_distance = False
    remedy = "give more of them with --train"

    def __init__(self, params, metric):
        check_metric(metric)
        self.params, self.metric = params, metric
        self.dim, self.arrays = None, {}

    def __str__(self):
        """The layout, in a line."""
        raise NotImplementedError(type(self).__name__)

    @property
    def similarity(self):
        """Whether rows are compared by inner products; otherwise by squared distances."""
        return self.metric == "ip" or (self.metric == "cosine" and not self.by_distance)

    @property
    def fewest(self):
        """Rows to learn from that it cannot do without, as far as parameters tell."""
        return 1

    def plan(self, dim, n_train, n):
        """Choose the layout; see `imgret.indexes.base.Index.plan`."""
        self.dim = int(dim)
        self._plan(int(n_train), int(n))
        self.check_training(int(n_train))
        return str(self)

    def learn(self, x, *, jobs=1, checkpoint=None, progress=None):
        """Learn from rows (T, dim) as planned; see `imgret.codebooks.base.Codebook.fit`. Returns itself.

        Raises
        ------
        ImgretError
            For rows that are too few, not finite, or beyond what float32 compares.
        """
        x = prepared(x, self.metric, self.dim, "the matrix of training vectors")
        check_lengths(norms_of(x, self.metric), self.metric, "the matrix of training vectors")
        self.check_training(len(x))
        with one_thread():
            self._learn(x, jobs, lambda steps, arrays: Course(steps, arrays, checkpoint, progress))
        return self

    def hold(self, names, take):
        """Take what was learned before.

        Parameters
        ----------
        names : collection of str
            The arrays that there are.
        take : callable
            `take(name, shape)`: one of them, of this shape; None fits any length.
        """
        raise NotImplementedError(type(self).__name__)

    def names(self, there):
        """The arrays that it should have, given which there are."""
        return self.learned

    def rotated(self, x):
        """Prepared rows where the centroids lie: (T, width), float32."""
        rotation = self.arrays.get("rotation")
        return x if rotation is None else x @ rotation.T

    def decoded(self, y):
        """What is left of `rotated` rows, (T, width), in their codes or lists, in the same place."""
        raise NotImplementedError(type(self).__name__)

    def check_training(self, n_train):
        """Refuse too few rows to learn from."""
        raise NotImplementedError(type(self).__name__)

    def _plan(self, n_train, n):
        raise NotImplementedError(type(self).__name__)

    def _learn(self, x, jobs, course):
        """Learn from prepared rows, in a `Course` that `course(steps, arrays)` begins."""
        raise NotImplementedError(type(self).__name__)
