"""Fisher vector: how a photo's descriptors would change a Gaussian mixture's parameters."""

import dataclasses

import numpy as np

from imgret import arrays
from imgret.components import Need
from imgret.encoders.base import Encoder
from imgret.errors import ImgretError, UsageError
from imgret.registry import SAMPLING, Params, param

GRADIENTS = ("weight", "mean", "sigma")

# A block of descriptors, their squares and their posteriors has about this many elements (1 MB): it stays in a core's cache from the
# first product to the last.
BLOCK = 1 << 18
# A descriptor whose scaled densities sum to less or more is done again with a scale of its own: float32's exponent would not do.
SMALLEST, LARGEST = 1e-25, 1e30


class Fisher(Encoder):
    """Improved Fisher vector over a mixture of Gaussians with diagonal covariances.

    With the posteriors gamma_t(k) of descriptor x_t, and element by element of the d dimensions:

    ========  =====================================================================================  ======================
    `weight`  sum_t (gamma_t(k) - w_k) / sqrt(w_k)                                                    K values, eq. 16
    `mean`    sum_t gamma_t(k) (x_t - mu_k) / sigma_k / sqrt(w_k)                                     K * d values, eq. 17
    `sigma`   sum_t gamma_t(k) ((x_t - mu_k)^2 / sigma_k^2 - 1) / sqrt(2 w_k)                         K * d values, eq. 18
    ========  =====================================================================================  ======================

    (equations of Sánchez et al. 2013, computed from the sums of gamma, gamma x and gamma x^2 as in its Algorithm 1). Then
    sign(z) abs(z)**power (Perronnin, Sánchez & Mensink 2010, section 3.2; `power=1` leaves it out) and L2. The paper divides by T
    as well, which the L2 normalisation takes back. The vector has the gradients in the order weight, mean, sigma, each component
    after component.

    *Signs.* All three are gradients of the log-likelihood, as in the papers and in VLFeat: the sigma part is positive where the
    descriptors spread wider than the component. scikit-image's `fisher_vector` has the sigma part with the opposite sign (and the
    weight part always). The signs do not matter to a product of two vectors of the same make.

    With `intra`, each component's part of the mean and of the sigma gradient then gets unit L2 norm, as Arandjelović & Zisserman
    (CVPR 2013, section 3.1) do with VLAD: no component can drown the others, however often its pattern repeats in the photo.

    VLFeat leaves out posteriors below 1e-6 and components of a weight below 1e-6; here nothing is left out.

    Parameters
    ----------
    params : Params
    codebook : fitted Gaussian mixture
        `weights_` (K,), `means_` (K, d), `variances_` (K, d) above zero; `dim_`, the columns D of a descriptor; `transform`, its
        local projection (T, D) -> (T, d).

    References
    ----------
    J. Sánchez, F. Perronnin, T. Mensink & J. Verbeek, "Image classification with the Fisher vector: theory and practice", IJCV 2013,
    eq. 16 to 18 and Algorithm 1.
    F. Perronnin, J. Sánchez & T. Mensink, "Improving the Fisher kernel for large-scale image classification", ECCV 2010, section 3.
    """

    name = "fisher"
    needs = (Need("mixture", ("gmm",)),)

    @dataclasses.dataclass(frozen=True)
    class Params(Params):
        gradients: tuple[str, ...] = param(("mean", "sigma"), "gradients that make up the vector", choices=GRADIENTS)
        power: float = param(0.5, "exponent of the power normalisation; 1 leaves it out", above=0.0, maximum=1.0)
        intra: bool = param(False, "after the power, each component's part of each gradient to unit L2 norm")
        dtype: str = param("float32", "type of the stored vectors", role=SAMPLING, choices=("float32", "float16"))

        def __post_init__(self):
            super().__post_init__()
            if not self.gradients:
                raise UsageError(f"`gradients` must name one or more of {', '.join(GRADIENTS)}")
            if len(set(self.gradients)) < len(self.gradients):
                raise UsageError("`gradients` names one twice")
            # One order in the vector, and so one way to record it.
            object.__setattr__(self, "gradients", tuple(name for name in GRADIENTS if name in self.gradients))

    def __init__(self, params, codebook):
        super().__init__(params, codebook)
        weights, means, variances = (
            np.asarray(array, dtype=np.float64) for array in (codebook.weights_, codebook.means_, codebook.variances_)
        )
        self._size, self._columns = means.shape
        # Everything is relative to the mixture's mean: x^2 and mu^2 then cancel with the least loss in float32. After a projection by
        # PCA the mean is zero already, or as good as zero.
        origin = (weights @ means / weights.sum()).astype(np.float32)
        self._origin = origin if (np.abs(origin) > 0.5 * np.sqrt(variances.min(axis=0))).any() else None
        if self._origin is not None:
            means = means - origin
        self._log_factors = _log_factors(weights, means, variances)
        self._ones = np.ones(self._size, np.float32)
        # What the sums of gamma, gamma x and gamma x^2 are multiplied by.
        root = np.sqrt(np.divide(1, weights, out=np.zeros_like(weights), where=weights > 0))  # a component of no weight has no gradient
        self._weights, self._root = weights.astype(np.float32), root.astype(np.float32)
        mean = root[:, None] / np.sqrt(variances)
        sigma = root[:, None] / (np.sqrt(2) * variances)
        scales = {"mean": (mean, -mean * means), "sigma": (sigma, -2 * sigma * means, sigma * (means * means - variances))}
        self._scales = {name: [scale.astype(np.float32) for scale in given] for name, given in scales.items()}
        self._rows = max(64, BLOCK // (self._size + 2 * self._columns))

    @property
    def dim(self):
        """Length V of the vectors: K for the weights, K * d each for the means and the standard deviations."""
        return sum(self._size if name == "weight" else self._size * self._columns for name in self.params.gradients)

    def encode(self, features):
        """One photo's descriptors (T, D), T >= 1, to its vector (V,); see `Encoder.encode`."""
        x = arrays.rows(features.descriptors, self.codebook.dim_, "the descriptor matrix")
        if len(x) == 0:
            raise ImgretError("a photo without descriptors has no Fisher vector: leave it out")
        with np.errstate(all="ignore"):  # what is not finite in the end is refused by `unit`
            sums = self._statistics(np.ascontiguousarray(self.codebook.transform(x), dtype=np.float32))
            vector = self._gradients(len(x), sums)
            if self.params.power != 1:
                vector = arrays.power_normalize(vector, self.params.power)
            if self.params.intra:
                self._intra_normalize(vector, sums[:, -1])
            return arrays.unit(vector, self.params.dtype)

    def _statistics(self, x):
        """Sums over the descriptors of gamma x, gamma x^2 and gamma, side by side: (K, 2d + 1)."""
        columns = self._columns
        sums = np.zeros((self._size, 2 * columns + 1), np.float32)
        blocks = -(-len(x) // self._rows)
        rows = -(-len(x) // blocks)
        # Memory is taken once for all blocks: fresh pages cost as much as a product.
        all_terms = np.empty((rows, 2 * columns + 1), np.float32)
        all_terms[:, -1] = 1
        all_density = np.empty((rows, self._size), np.float32)
        for start in range(0, len(x), rows):
            block = x[start : start + rows]
            if self._origin is not None:
                block = block - self._origin
            terms, density = all_terms[: len(block)], all_density[: len(block)]
            np.concatenate([block, block * block], axis=1, out=terms[:, :-1])
            np.matmul(terms, self._log_factors, out=density)
            np.exp(density, out=density)
            total = density @ self._ones
            if not (total.min() > SMALLEST and total.max() < LARGEST):
                far = np.flatnonzero(~((total > SMALLEST) & (total < LARGEST)))
                logs = terms[far] @ self._log_factors
                logs -= logs.max(axis=1, keepdims=True)
                density[far] = np.exp(logs)
                total[far] = density[far].sum(axis=1)
            density *= (1 / total)[:, None]
            sums += density.T @ terms
        return sums

    def _intra_normalize(self, vector, occupancy):
        """Each component's d values of a gradient to unit L2 norm, in place; those of components that no descriptor is near, to zero."""
        start = self._size if "weight" in self.params.gradients else 0
        parts = vector[start:].reshape(-1, self._size, self._columns)
        flat = parts.reshape(-1, self._columns)
        norms = arrays.row_norms(flat)
        # of less than a hundredth of a descriptor there is only rounding to be seen
        kept = np.tile(occupancy > 0.01, len(parts)) & (norms > 0)
        odd = np.flatnonzero(kept & ~((norms > arrays.TINIEST) & (norms < 1 / arrays.TINIEST)))  # float32 has no such factor
        beyond = arrays.unit_rows(flat[odd])
        norms = norms.astype(np.float32)
        flat *= np.divide(1, norms, out=np.zeros_like(norms), where=kept)[:, None]
        flat[odd] = beyond

    def _gradients(self, count, sums):
        size, columns = self._size, self._columns
        first, second, zeroth = sums[:, :columns], sums[:, columns:-1], sums[:, -1:]
        vector = np.empty(self.dim, np.float32)
        filled = 0
        for name in self.params.gradients:
            if name == "weight":
                vector[:size] = (zeroth[:, 0] - count * self._weights) * self._root
                filled = size
                continue
            terms = (first, zeroth) if name == "mean" else (second, first, zeroth)
            part = vector[filled : filled + size * columns].reshape(size, columns)
            np.multiply(terms[0], self._scales[name][0], out=part)
            for term, scale in zip(terms[1:], self._scales[name][1:], strict=True):
                part += term * scale
            filled += size * columns
        return vector


def _log_factors(weights, means, variances):
    """log(w_k N(x; k)) = [x, x^2, 1] @ factors, up to a constant. (2d + 1, K), float32.

    The constant makes the logarithm of a typical descriptor's density zero: the rounding error of a float32 sum goes with its size, and
    the exponential needs no search for a row's maximum. The part without x is added last, for the same reason.
    """
    height = np.log(np.maximum(weights, np.finfo(np.float32).tiny)) - 0.5 * np.log(variances).sum(axis=1)
    typical = weights @ height / weights.sum() - means.shape[1] / 2
    bias = height - typical - 0.5 * (means * means / variances).sum(axis=1)
    return np.concatenate([means / variances, -0.5 / variances, bias[:, None]], axis=1).T.astype(np.float32, order="C")
