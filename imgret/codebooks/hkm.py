"""Hierarchical k-means: a vocabulary tree."""

import dataclasses

import numpy as np

from imgret.codebooks.common import check_rows, take
from imgret.codebooks.growing import FEWEST, Growing
from imgret.codebooks.nearness import Nearest
from imgret.codebooks.tree import NearestOfTree, above, edges_of
from imgret.codebooks.visual import Points
from imgret.errors import ImgretError, UsageError
from imgret.parallel import one_thread
from imgret.registry import SAMPLING, Params, param

LARGEST = 1 << 24  # leaves


class HKM(Points):
    """A vocabulary tree: descriptors are divided by k-means into `branch` parts, and each of these again, `depth` times.

    The leaves are the words. A node of few rows is divided into fewer, so that a leaf has 4 of the sample on average at least, and a part
    that no row comes to is left out: there may be fewer words than branch^depth. A node that is not divided has one child, its equal, so
    that every leaf has `depth` nodes above it and itself.

    A descriptor goes down the tree, the `beam` nearest nodes of each level being kept (1 is Nistér & Stewénius; more find the nearest leaf
    more often), or is compared with all leaves. For several words at once at least as many nodes are kept. `summary()` tells as
    `differs_from_exact` the share of sampled descriptors whose nearest word among all is another.

    For scores by all levels nodes have numbers of their own: leaves those of their words, the others follow, level after level from the
    top.

    Memory beyond the sample: 16 bytes a row, 4 bytes a value of a node, and the rows of a node at its division.

    Attributes
    ----------
    points_ : ndarray, shape (P, d), float32
        All nodes but the root, level after level; the means of their rows.
    children_ : ndarray, shape (B + 1,), int64
        Where in it the children of the root, and of each node above the leaves, begin.
    centroids_ : ndarray, shape (K, d), float32
        The leaves.

    References
    ----------
    D. Nistér & H. Stewénius, "Scalable recognition with a vocabulary tree", CVPR 2006, section 3.
    G. Schindler, M. Brown & R. Szeliski, "City-scale location recognition", CVPR 2007, section 3.1 (greedy N-best paths: the beam).
    """

    name = "hkm"
    step = "level"
    learned = ("points", "children")

    @dataclasses.dataclass(frozen=True)
    class Params(Params):
        branch: int = param(16, "parts that a node is divided into", minimum=2, maximum=4096)
        depth: int = param(4, "how many times", minimum=1, maximum=24)
        iterations: int = param(15, "Lloyd iterations of each division", role=SAMPLING, minimum=0)
        seed: int = param(0, "seed of the starts", role=SAMPLING, minimum=0)
        assign: str = param(
            "tree", "how descriptors are assigned: down the tree, or among all words", role=SAMPLING, choices=("tree", "exact")
        )
        beam: int = param(8, "nodes of a level that are kept on the way down", role=SAMPLING, minimum=1, maximum=4096)

        def __post_init__(self):
            super().__post_init__()
            if self.branch**self.depth > LARGEST:
                raise UsageError(f"`branch` {self.branch} and `depth` {self.depth} make more than {LARGEST} words: take less of either")

    @property
    def nodes(self):
        """Number of nodes but the root, int."""
        return len(self.points_)

    def ancestors_of(self, words):
        """The nodes on the way to some words, from the top; the last is the word itself: (n, depth) int64."""
        way = above(self.children_, self._edges, words)
        inner = self._edges[-2]
        return np.where(way < inner, way + self.words, way - inner)

    def fit(self, x, *, jobs=1, checkpoint=None, progress=None):
        """Learn the tree, with a checkpoint after each few nodes; see `Codebook.fit`.

        Raises
        ------
        ImgretError
            For values that are not finite or beyond 1e18.
        """
        p = self.params
        check_rows(x, min(p.branch, FEWEST), "visual words")
        growing = Growing(x, p, jobs, checkpoint, progress)
        with one_thread():
            growing.grow()
        self._hold(growing.frame.restore(growing.points[: growing.made]), growing.children[: growing.divided + 1].copy())
        counts = np.bincount(growing.of - self._edges[-2] - 1, minlength=self.words)
        self._summary = {
            "rows": len(x),
            "words": self.words,
            "single_words": int(np.count_nonzero(counts == 1)),
            "largest_word": int(counts.max()),
            "differs_from_exact": self._differs(x),
        }
        return self

    def _hold(self, points, children):
        self.points_, self.children_, self._edges = points, children, edges_of(children)
        self.centroids_, self.dim_ = points[self._edges[-2] :], points.shape[1]

    def _searched(self):
        if self.params.assign == "exact":
            return Nearest(self.centroids_)
        return NearestOfTree(self.points_, self.children_, self._edges, self.centroids_, self.params.beam)

    def _take(self, arrays):
        points, children = take(arrays, "points", (None, None)), take(arrays, "children", (None,), np.int64)
        edges = edges_of(children)
        if children[-1] != len(points) or len(edges) - 1 != self.params.depth or np.diff(children).max() > self.params.branch:
            raise ImgretError("the codebook's `children` do not fit its `points`, `branch` and `depth`: train it again")
        self._hold(points, children)
