"""Visual words, whichever way they were learned: what an inverted file asks of them."""

import numpy as np

from imgret.arrays import rows
from imgret.codebooks.base import Codebook
from imgret.codebooks.nearness import Nearest

PROBED = 4096  # rows by which the share of other words is told


class Words(Codebook):
    """A codebook that tells descriptors' words.

    Attributes
    ----------
    words : int
        Their number K.
    has_centroids : bool
        Whether words are points in the descriptors' space, so that residuals can be taken (`centroids_of`).
    nodes : int or None
        Number of nodes of a vocabulary tree, leaves included; None where there is no tree.
    """

    default_encoder = "bow"
    has_centroids = False
    nodes = None

    def transform(self, x):
        """Descriptors as they are; see `Codebook.transform`."""
        return rows(x, self.dim_, "the matrix of descriptors")

    @property
    def words(self):
        """Number of words K, int."""
        raise NotImplementedError(type(self).__name__)

    def nearest_words(self, x, ma=1):
        """The nearest words of descriptors.

        Parameters
        ----------
        x : ndarray, shape (T, d), float32
            As `transform` gives them.
        ma : int
            Words for each (multiple assignment); fewer where there are not so many different ones.

        Returns
        -------
        words : ndarray, shape (T, ma), int64
            Nearest first; the lowest number wins a tie.
        squared : ndarray, shape (T, ma), float32
            Squared Euclidean distances to them.

        Raises
        ------
        ImgretError
            If a row is so much longer than the words that float32 cannot tell.
        """
        raise NotImplementedError(type(self).__name__)


class Points(Words):
    """Words that are points, `centroids_` (K, d) float32."""

    has_centroids = True
    centroids_ = None
    _nearest = None  # made when it is first asked for

    @property
    def words(self):
        """See `Words.words`."""
        return len(self.centroids_)

    def nearest_words(self, x, ma=1):
        """See `Words.nearest_words`."""
        if self._nearest is None or self._nearest.centroids is not self.centroids_:
            self._nearest = self._searched()
        return self._nearest.find(x, ma)

    def centroids_of(self, words):
        """The points of some words, (n, d) float32."""
        return self.centroids_[np.asarray(words)]

    def _searched(self):
        """What finds nearest words."""
        return Nearest(self.centroids_)

    def _differs(self, x):
        """The share of some rows of a sample whose nearest word of all is another than that found."""
        x = self.transform(x[:: -(-len(x) // PROBED)])
        return float(np.mean(self.nearest_words(x)[0] != Nearest(self.centroids_).find(x)[0]))
