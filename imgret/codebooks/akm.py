"""Approximate k-means: visual words by the ten thousand and the million."""

import dataclasses

import numpy as np

from imgret.codebooks.common import check_rows, offsets_of, take
from imgret.codebooks.listed import ListedPasses, list_count
from imgret.codebooks.lloyd import Lloyd
from imgret.codebooks.nearness import Nearest, NearestOfLists
from imgret.codebooks.visual import Points
from imgret.registry import SAMPLING, Params, param

EXACT = 4096  # words among which all are looked at as fast


class AKM(Points):
    """Visual words by Lloyd's k-means with approximate assignment, to a million of them.

    Words are kept in about 2 sqrt(K) lists, which lie at the means of their words; a descriptor looks into the `probes` nearest lists, in
    the iterations of the fit and whenever words are assigned later. All of a photo's descriptors that look into a list do so by one matrix
    product, which is faster than trees and graphs at the same share of right answers. The start is random rows (k-means++ would take as
    long as the iterations, and gain little with so many words).

    A word of one descriptor is that descriptor and describes nothing else; k-means makes one of every row that lies apart. In the first
    half of the iterations each such word, and in all iterations each word without descriptors, moves to one of those of the largest
    summed squared distances, which is split: one to either side of its mean, towards the farthest of its descriptors and away from it,
    so that about half of them go with each (Linde, Buzo & Gray). `summary()` counts what is left as `single_words` and `empty_words`,
    and tells as `differs_from_exact` the share of sampled descriptors whose nearest word among all is another. (Words lie nearer to
    the descriptors that they were learned from than to others, of which more differ.)

    Memory beyond the sample: 8 bytes a row, 30 bytes a centroid value, and about 40 MB a job.

    Attributes
    ----------
    centroids_ : ndarray, shape (K, d), float32
        Numbered list after list.
    lists_ : ndarray, shape (L, d), float32
    list_offsets_ : ndarray, shape (L + 1,), int64
        Where the words of each list begin.

    References
    ----------
    J. Philbin, O. Chum, M. Isard, J. Sivic & A. Zisserman, "Object retrieval with large vocabularies and fast spatial matching", CVPR
    2007, section 3.1 (theirs searches randomised kd-trees).
    Y. Linde, A. Buzo & R. M. Gray, "An algorithm for vector quantizer design", IEEE Trans. Communications 1980 (splitting).
    """

    name = "akm"
    learned = ("centroids", "lists", "list_offsets")

    @dataclasses.dataclass(frozen=True)
    class Params(Params):
        size: int = param(65536, "visual words", minimum=1)
        iterations: int = param(20, "Lloyd iterations at most", role=SAMPLING, minimum=0)
        tolerance: float = param(1e-3, "stop when the objective falls by less than this share of it", role=SAMPLING, minimum=0.0)
        seed: int = param(0, "seed of the start", role=SAMPLING, minimum=0)
        assign: str = param(
            "auto",
            f"how descriptors are assigned later: among all words, or those of the nearest lists; auto: all up to {EXACT} words",
            role=SAMPLING,
            choices=("auto", "exact", "ivf"),
        )
        probes: int = param(32, "lists that a descriptor looks into", role=SAMPLING, minimum=1)

    @property
    def fewest(self):
        """As many rows as words; see `Codebook.fewest`."""
        return self.params.size

    def fit(self, x, *, jobs=1, checkpoint=None, progress=None):
        """Learn the words, with a checkpoint after each iteration; see `Codebook.fit`.

        Raises
        ------
        ImgretError
            For fewer rows than words, or values that are not finite or beyond 1e18.
        """
        p = self.params
        check_rows(x, p.size, "visual words")
        self.dim_ = x.shape[1]
        shapes = {"centroids": (p.size, self.dim_), "lists": (list_count(p.size), self.dim_)}
        course = Lloyd(p, shapes, checkpoint, progress)
        passes = ListedPasses(x, jobs, p, course.tell)
        state = course.run(passes, passes.start)
        counts = passes.counts(state.arrays["centroids"])
        objective = passes.objective() / passes.frame.scale**2
        arranged = passes.arranged
        self.centroids_ = passes.frame.restore(arranged.centroids)
        self.lists_, self.list_offsets_ = passes.frame.restore(arranged.lists), arranged.offsets
        self._summary = {
            "rows": len(x),
            "iterations": state.iteration,
            "converged": state.finished,
            "mean_squared_distance": objective / len(x),
            "relocated_words": state.relocated,
            "empty_words": int(np.count_nonzero(counts == 0)),
            "single_words": int(np.count_nonzero(counts == 1)),
            "largest_word": int(counts.max()),
            "differs_from_exact": self._differs(x),
        }
        return self

    def _searched(self):
        exact = self.words <= EXACT if self.params.assign == "auto" else self.params.assign == "exact"
        return Nearest(self.centroids_) if exact else NearestOfLists(self.centroids_, self.lists_, self.list_offsets_, self.params.probes)

    def _take(self, arrays):
        self.centroids_ = take(arrays, "centroids", (self.params.size, None))
        self.dim_ = self.centroids_.shape[1]
        self.lists_ = take(arrays, "lists", (list_count(self.params.size), self.dim_))
        self.list_offsets_ = offsets_of(arrays, "list_offsets", len(self.lists_), self.params.size)
