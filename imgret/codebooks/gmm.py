"""A Gaussian mixture with diagonal covariances: the codebook of Fisher vectors."""

import dataclasses
import math

import numpy as np

from imgret import words
from imgret.checkpoints import resume
from imgret.codebooks.common import check_pca, check_rows, take
from imgret.codebooks.kmeans import KMeans
from imgret.codebooks.local import LocalCodebook
from imgret.codebooks.mixture import FEWEST, Mixture, Scaler
from imgret.codebooks.passes import assign
from imgret.errors import ImgretError
from imgret.parallel import one_thread
from imgret.registry import SAMPLING, SPACE, Params, param

TINY = np.finfo(np.float32).tiny


class GMM(LocalCodebook):
    """A mixture of Gaussians with diagonal covariances, by expectation and maximisation.

    Every column is centred and divided by its standard deviation, so that float32 carries one iteration's products; sums over
    blocks of 8192 rows are added in float64 in block order. One product of [z², z] with the components' coefficients gives the log
    densities, one with the posteriors gives the sums. The start is k-means: its words' shares, means and variances.

    A variance is at least `variance_floor` times that of the whole sample in the same column (in a column that is constant: of the mean
    variance of the other columns), so no value is NaN for any finite sample. A component left with less than one row keeps
    its mean and variance, and a weight of 0.001 rows; `summary()["starved_components"]` counts them. Its `log_likelihood` is the mean over
    the sample's rows, in nats.

    Memory beyond the sample: that of `KMeans` for the start, then about 15 MB a job and 16 · 2 · K · d bytes; with `pca` also the
    projected sample.

    Attributes
    ----------
    weights_ : ndarray, shape (K,), float32
        Positive; they add up to 1.
    means_, variances_ : ndarray, shape (K, d), float32

    References
    ----------
    A. P. Dempster, N. M. Laird and D. B. Rubin, Maximum likelihood from incomplete data via the EM algorithm, JRSS B 1977.
    J. Sánchez, F. Perronnin, T. Mensink and J. Verbeek, Image classification with the Fisher vector, IJCV 2013, section 2.3 and
    appendix B.
    """

    name = "gmm"
    default_encoder = "fisher"
    learned = ("weights", "means", "variances")

    @dataclasses.dataclass(frozen=True)
    class Params(Params):
        size: int = param(64, "Gaussians", minimum=1)
        pca: int = param(0, "project the descriptors to this many dimensions first (0: no projection)", role=SPACE, minimum=0)
        variance_floor: float = param(1e-3, "smallest variance, as a share of the sample's in that column", above=0.0, maximum=1.0)
        iterations: int = param(50, "EM iterations at most", role=SAMPLING, minimum=0)
        tolerance: float = param(1e-3, "stop when the mean log-likelihood of a row gains less than this", role=SAMPLING, minimum=0.0)
        start_iterations: int = param(10, "k-means iterations of the start", role=SAMPLING, minimum=0)
        seed: int = param(0, "seed of the start", role=SAMPLING, minimum=0)

    def fit(self, x, *, jobs=1, checkpoint=None, progress=None):
        """Learn the mixture, with a checkpoint after each iteration, those of the start included; see `Codebook.fit`.

        Raises
        ------
        ImgretError
            For fewer rows than Gaussians, a `pca` above the number of columns or rows, or values that are not finite or beyond 1e18.
        """
        p = self.params
        check_rows(x, p.size, "Gaussians")
        check_pca(p.pca, x)
        x = self._learn_projection(x, jobs)
        scaler = Scaler(x, jobs)

        def tell(done, message):
            if progress:
                progress(done, p.start_iterations + p.iterations, message)

        saved = checkpoint.load() if checkpoint else None
        state = _State.of(saved, (p.size, x.shape[1]))
        if state is None:
            state = _State(self._from_kmeans(x, scaler, jobs, _Start(checkpoint, saved) if checkpoint else None, tell))
        while state.iteration < p.iterations and not state.finished:
            done = p.start_iterations + state.iteration
            likelihood, *sums = state.mixture.expect(x, scaler, jobs, lambda part, done=done: tell(done + part, ""))
            state.advance(likelihood, sums, p)
            state.save(checkpoint)
            tell(done + 1, f"log-likelihood {likelihood - scaler.log_volume:.6g}")
        self._learn(x, scaler, jobs, state)
        return self

    def _from_kmeans(self, x, scaler, jobs, checkpoint, tell):
        """The mixture that k-means gives."""
        p = self.params
        start = KMeans(KMeans.Params(size=p.size, pca=0, iterations=p.start_iterations, seed=p.seed))
        start.fit(x, jobs=jobs, checkpoint=checkpoint, progress=lambda done, _, message: tell(done, f"k-means start: {message}"))
        # No responsibilities yet: an empty word gets the sample's own variance.
        means = scaler.apply(start.centroids_).astype(np.float64)
        mixture = Mixture(np.full(p.size, 1 / p.size), means, np.ones(means.shape))
        return mixture.maximize(*_hard(x, scaler, start.centroids_, jobs), p.variance_floor)

    def _learn(self, x, scaler, jobs, state):
        """Take over the mixture of the last iteration, in the sample's own coordinates."""
        mixture = state.mixture
        likelihood, counts, *_ = mixture.expect(x, scaler, jobs)
        weights = mixture.weights.astype(np.float32)
        self.weights_ = weights / weights.sum()
        self.means_ = (mixture.means * scaler.spread + scaler.mean).astype(np.float32)
        self.variances_ = np.maximum((mixture.variances * scaler.spread**2).astype(np.float32), TINY)
        self._summary = {
            "rows": len(x),
            "iterations": state.iteration,
            "converged": state.finished,
            "log_likelihood": likelihood - scaler.log_volume,
            "starved_components": int(np.count_nonzero(counts < FEWEST)),
            "floored_variances": int(np.count_nonzero(mixture.variances <= self.params.variance_floor)),
            "smallest_weight": float(self.weights_.min()),
            "largest_weight": float(self.weights_.max()),
        }

    def _take(self, arrays):
        size = self.params.size
        self.means_ = take(arrays, "means", (size, self.columns))
        self.variances_ = take(arrays, "variances", self.means_.shape)
        self.weights_ = take(arrays, "weights", (size,))
        if (self.variances_ <= 0).any():
            raise ImgretError("the codebook's `variances` must be positive: train it again")
        if (self.weights_ <= 0).any() or abs(float(self.weights_.sum(dtype=np.float64)) - 1) > 1e-3:
            raise ImgretError("the codebook's `weights` must be positive and add up to 1: train it again")
        self._take_projection(arrays, self.means_.shape[1])


@dataclasses.dataclass
class _State:
    """Where a fit stands after the start: what a checkpoint keeps."""

    mixture: Mixture
    iteration: int = 0
    before: float = -math.inf
    finished: bool = False

    @classmethod
    def of(cls, state, shape):
        """The state in what a checkpoint of a mixture with means of that shape has; None where there is none, or one of the start."""
        shapes = {"iteration": (), "before": (), "finished": (), "weights": shape[:1], "means": shape, "variances": shape}
        state = resume(state, **shapes)
        if state is None:
            return None
        mixture = Mixture(*(np.array(state[name], np.float64) for name in ("weights", "means", "variances")))
        return cls(mixture, int(state["iteration"]), float(state["before"]), bool(state["finished"]))

    def save(self, checkpoint):
        if checkpoint:
            now = {"iteration": self.iteration, "before": self.before, "finished": int(self.finished), **dataclasses.asdict(self.mixture)}
            checkpoint.save(lambda: {name: np.array(value) for name, value in now.items()})

    def advance(self, likelihood, sums, params):
        """An iteration more: the mixture that its sums ask for, unless it was the last."""
        # What is returned is the mixture whose likelihood was measured.
        self.finished = likelihood - self.before < params.tolerance
        if not self.finished:
            self.mixture = self.mixture.maximize(*sums, params.variance_floor)
            self.before = likelihood
        self.iteration += 1


class _Start:
    """The checkpoint of the k-means start, its names told apart by a prefix."""

    prefix = "start_"

    def __init__(self, checkpoint, state):
        self.checkpoint, self.state = checkpoint, state

    def load(self):
        return self.state and {name.removeprefix(self.prefix): value for name, value in self.state.items()}

    def save(self, make_state):
        self.checkpoint.save(lambda: {self.prefix + name: value for name, value in make_state().items()})


def _hard(x, scaler, centroids, jobs):
    """The sums of an M step where each row belongs to its nearest centroid alone."""
    size, width = centroids.shape

    def work(block):
        z = scaler.apply(x[block])
        groups = words.group(assign(x[block], centroids)[0])
        return groups, words.sums(np.concatenate([z, z * z], axis=1), groups, "tiles")

    with one_thread():
        sums, counts = words.total(work, len(x), (size, 2 * width), jobs)
    return counts, sums[:, :width], sums[:, width:]
