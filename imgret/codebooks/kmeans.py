"""k-means: the visual words of VLAD."""

import dataclasses

import numpy as np

from imgret.codebooks.common import check_pca, check_rows, take
from imgret.codebooks.lloyd import Lloyd
from imgret.codebooks.local import FULL, LocalCodebook
from imgret.codebooks.passes import Passes
from imgret.codebooks.visual import Points
from imgret.registry import SAMPLING, SPACE, Params, param


class KMeans(LocalCodebook, Points):
    """Visual words by Lloyd's k-means.

    Each iteration goes through the sample in blocks of 8192 rows: nearest words by a BLAS product, sums of each block, added up in
    float64 in block order. The start is k-means++ or random rows. A word that nothing is assigned to moves to the row that is
    farthest from its own word (so it splits that word); where the sample has fewer different rows than words there is nothing to split:
    the words left over repeat others, no row is assigned to them, and `summary()["empty_words"]` counts them. Its `objective` is the sum of
    squared distances to the final words.

    Memory beyond the sample: 4 bytes a row, 24 bytes a centroid value, and about 30 MB a job; with `pca` also the projected
    sample (4 · d bytes a row).

    Attributes
    ----------
    centroids_ : ndarray, shape (K, d), float32
        d is the descriptors' dimension, or `pca` (-1: that of the descriptors, or of the sample's rows where those are fewer).

    References
    ----------
    S. P. Lloyd, Least squares quantization in PCM, IEEE Trans. Inf. Theory 1982.
    D. Arthur and S. Vassilvitskii, k-means++: the advantages of careful seeding, SODA 2007, section 2.2. The draws are theirs; they are
    made in batches from older distances and accepted with the ratio of the distances, which has the same distribution.
    """

    name = "kmeans"
    default_encoder = "vlad"
    learned = ("centroids",)

    @dataclasses.dataclass(frozen=True)
    class Params(Params):
        size: int = param(64, "visual words", minimum=1)
        pca: int = param(
            FULL, "project the descriptors to this many dimensions first (-1: all they have; 0: no projection)", role=SPACE, minimum=FULL
        )
        init: str = param("k-means++", "start from k-means++ or from random rows", role=SAMPLING, choices=("k-means++", "random"))
        iterations: int = param(25, "Lloyd iterations at most", role=SAMPLING, minimum=0)
        tolerance: float = param(1e-4, "stop when the objective falls by less than this share of it", role=SAMPLING, minimum=0.0)
        seed: int = param(0, "seed of the start", role=SAMPLING, minimum=0)

    def fit(self, x, *, jobs=1, checkpoint=None, progress=None):
        """Learn the words, with a checkpoint after each iteration; see `Codebook.fit`.

        Raises
        ------
        ImgretError
            For fewer rows than words, a `pca` above the number of columns or rows, or values that are not finite or beyond 1e18.
        """
        p = self.params
        check_rows(x, p.size, "visual words")
        check_pca(p.pca, x)
        x = self._learn_projection(x, jobs)
        course = Lloyd(p, {"centroids": (p.size, x.shape[1])}, checkpoint, progress)
        passes = Passes(x, jobs, course.tell)
        state = course.run(passes, lambda: {"centroids": passes.start(p)})
        counts = passes.counts(state.arrays["centroids"])
        objective = passes.objective() / passes.frame.scale**2
        self.centroids_ = passes.frame.restore(state.arrays["centroids"])
        self._summary = {
            "rows": len(x),
            "iterations": state.iteration,
            "converged": state.finished,
            "objective": objective,
            "mean_squared_distance": objective / len(x),
            "relocated_words": state.relocated,
            "empty_words": int(np.count_nonzero(counts == 0)),
            "smallest_word": int(counts.min()),
            "largest_word": int(counts.max()),
        }
        return self

    def _take(self, arrays):
        self.centroids_ = take(arrays, "centroids", (self.params.size, self.columns))
        self._take_projection(arrays, self.centroids_.shape[1])
