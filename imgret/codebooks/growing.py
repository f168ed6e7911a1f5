"""How a vocabulary tree is learned: node after node of a level is divided, and its rows go to its children."""

import numpy as np

from imgret.checkpoints import resume
from imgret.codebooks.frames import frame_of
from imgret.parallel import blocks, in_order
from imgret.quantizers import learning

PER_CHILD = 4096  # rows of which a node's children are learned, at most
FEWEST = 4  # rows that a child has on average, at least
NODES = 64  # divided between two checkpoints


class Growing:
    """A tree that grows over a sample; to be used under `parallel.one_thread`.

    Attributes
    ----------
    frame : imgret.codebooks.frames.Frame
        In which its points are.
    points : ndarray, shape (at most, d), float32
        Nodes but the root, of which there are `made`.
    children : ndarray, shape (at most, ), int64
        Where the children of the root and of each node begin, of which `divided` are.
    of : ndarray, shape (N,), int32
        The lowest node of each row; 0 is the root, and the others are one more than their places in `points`.
    """

    def __init__(self, x, params, jobs, checkpoint, progress):
        self.frame = frame_of(x, jobs)
        self._x, self._params, self._jobs, self._checkpoint, self._progress = x, params, jobs, checkpoint, progress
        wide = [min(params.branch**level, max(1, len(x) // FEWEST)) for level in range(params.depth + 1)]
        self.points = np.zeros((sum(wide[1:]), x.shape[1]), np.float32)
        self.children, self.of = np.zeros(sum(wide[:-1]) + 1, np.int64), np.zeros(len(x), np.int32)
        self.divided = 0
        shapes = {"divided": (), "points": self.points.shape, "children": self.children.shape, "of": self.of.shape}
        state = resume(checkpoint.load() if checkpoint else None, **shapes)
        if state is not None:
            self.divided, self.of[:], self.children[:] = int(state["divided"]), state["of"], state["children"]
            self.points[:] = state["points"]

    @property
    def made(self):
        """Nodes so far, without the root."""
        return int(self.children[self.divided])

    def grow(self):
        """Divide level after level, from where the checkpoint stands."""
        start, stop = 0, 1  # of the level, as `of` counts nodes
        for level in range(self._params.depth):
            rows = np.argsort(self.of, kind="stable")
            edges = np.searchsorted(self.of[rows], np.arange(start, stop + 1))
            for first in range(max(start, self.divided), stop, NODES):
                self._tell(level + (first - start) / (stop - start) if first > start else level)
                last = min(first + NODES, stop)
                self._divide(first, [rows[edges[node - start] : edges[node - start + 1]] for node in range(first, last)])
            start, stop = stop, int(self.children[stop]) + 1
        self._tell(self._params.depth)

    def _tell(self, done):
        if self._progress:
            self._progress(done, self._params.depth, f"{self.made} nodes")

    def _divide(self, first, rows_of):
        """Divide a run of nodes of a level, of each of which the rows are given."""
        for centroids, found, rows in in_order(self._divided, enumerate(rows_of, first), self._jobs):
            made = self.made
            self.points[made : made + len(centroids)] = centroids
            self.of[rows] = made + 1 + found
            self.divided += 1
            self.children[self.divided] = made + len(centroids)
        if self._checkpoint:
            now = {"divided": np.asarray(self.divided), "points": self.points, "children": self.children, "of": self.of}
            self._checkpoint.save(lambda: {name: array.copy() for name, array in now.items()})

    def _divided(self, node):
        """The children of a node, which of them each of its rows goes to, and the rows."""
        number, rows = node
        p = self._params
        count = min(p.branch, len(rows) // FEWEST)
        if count < 2:
            return self._mean(rows), np.zeros(len(rows), np.int32), rows
        some = self.frame.apply(self._x[learning.subsample(rows, PER_CHILD * count, [p.seed, number])])
        centroids = learning.kmeans(some, count, [p.seed, number], iterations=p.iterations)
        found = np.concatenate([learning.nearest(self.frame.apply(self._x[rows[block]]), centroids) for block in blocks(len(rows))])
        used, found = np.unique(found, return_inverse=True)
        return centroids[used], found.astype(np.int32), rows

    def _mean(self, rows):
        z = self.frame.apply(self._x[rows])
        return z.mean(axis=0, dtype=np.float64, keepdims=True).astype(np.float32)
