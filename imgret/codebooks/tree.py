"""A tree of points, each level of which divides the one above: what is above a leaf, and the leaves near rows."""

import numpy as np

from imgret.codebooks.nearness import Nearest, framed
from imgret.errors import ImgretError


def edges_of(children):
    """Where each level of a tree begins among its points, and where the last one ends: a list of depth + 1 numbers.

    Parameters
    ----------
    children : ndarray, shape (B + 1,), int64
        Where among the points, which are all nodes but the root, level after level, the children of the root and of each node above the
        leaves begin.

    Raises
    ------
    ImgretError
        If that is no tree whose leaves all are on its last level.
    """
    edges = [0]
    if children[0] == 0 and (np.diff(children) > 0).all():
        while edges[-1] < len(children) - 1:
            edges.append(int(children[edges[-1] + 1]))
    if len(edges) < 2 or edges[-2] != len(children) - 2:
        raise ImgretError("the codebook's `children` must be those of a tree whose leaves are on one level: train it again")
    return edges


def above(children, edges, leaves):
    """The points on the way from the root to each leaf, (n, depth) int64; leaves by their number from 0."""
    way = np.empty((len(leaves), len(edges) - 1), np.int64)
    way[:, -1] = np.asarray(leaves, np.int64) + edges[-2]
    for level in range(way.shape[1] - 1, 0, -1):
        way[:, level - 1] = np.searchsorted(children, way[:, level], side="right") - 2
    return way


class NearestOfTree(Nearest):
    """The leaves that rows come to on the way down a tree, the nearest nodes of each level being kept.

    Parameters
    ----------
    points : ndarray, shape (P, d), float32
    children : ndarray, shape (B + 1,), int64
    edges : list of int
        As `edges_of` gives them.
    centroids : ndarray, shape (K, d), float32
        The leaves.
    beam : int
        Nodes of a level that are kept, if not more words are asked for.
    """

    def __init__(self, points, children, edges, centroids, beam):
        self._frame, self._points = framed(points)
        self._children, self._edges, self._beam = children, edges, beam
        self.centroids, self.distinct = centroids, len(centroids)

    def _candidates(self, z, found):
        from imgret.codebooks.kernels import descend

        beam = min(max(self._beam, found.shape[1]), self.distinct)
        descend(z, self._points, self._children, len(self._edges) - 1, beam, self._edges[-2], found)
