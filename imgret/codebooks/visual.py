"""Visual words, whichever way they were learned: what an inverted file asks of them."""

import numpy as np

from imgret.codebooks.nearness import Nearest


class VisualWords:
    """What codebooks have in common whose words are points, `centroids_` (K, d).

    Attributes
    ----------
    has_centroids : bool
        Whether words are points in the descriptors' space: residuals can be taken.
    nodes : int or None
        Number of nodes of a vocabulary tree, leaves included; None where there is no tree.
    """

    has_centroids = True
    nodes = None
    centroids_ = None
    _nearest = None  # made when it is first asked for

    @property
    def words(self):
        """Number of words K, int."""
        return len(self.centroids_)

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
        if self._nearest is None or self._nearest.centroids is not self.centroids_:
            self._nearest = self._searched()
        return self._nearest.find(x, ma)

    def centroids_of(self, words):
        """The points of some words, (n, d) float32."""
        return self.centroids_[np.asarray(words)]

    def _searched(self):
        """What finds nearest words."""
        return Nearest(self.centroids_)
