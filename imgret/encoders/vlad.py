"""VLAD: for each visual word, the sum of the differences between the descriptors assigned to it and the word."""

import dataclasses

import numpy as np

from imgret import arrays, words
from imgret.components import Need
from imgret.encoders.base import Encoder
from imgret.errors import ImgretError, UsageError
from imgret.registry import SAMPLING, Params, param


class Vlad(Encoder):
    """Vector of locally aggregated descriptors.

    Each descriptor goes to its nearest word (Euclidean; the first of equals) and v_k = sum of (x - c_k) over the descriptors x of word
    k (Jégou et al. 2010, eq. 1). The vector is v_1 ... v_K, word after word.

    `norm` is carried out in the order written, and always ends in `l2`:

    ===========  ====================================================================================================
    `residual`   each x - c_k to unit L2 norm before it is summed (Delhumeau et al. 2013); can only come first
    `intra`      each v_k to unit L2 norm (Arandjelović & Zisserman 2013)
    `power`      sign(z) abs(z)**power for each element; 0.5 is the signed square root (Jégou et al. 2012). `ssr` is
                 another name for it at 0.5 and is recorded as `power`
    `l2`         the whole vector to unit L2 norm; only as the last step, where it is added if it is not written
    ===========  ====================================================================================================

    What is zero stays zero: a word without descriptors, a descriptor that equals its word, residuals that cancel, all to float32's
    precision (a length of 1e-6 |c_k| per descriptor), so that no normalisation blows a rounding error up. A photo whose every
    descriptor equals its word has the zero vector.

    VLFeat's `vl_vlad_encode` gives the same numbers; with both of its flags it takes the square root first: `norm=power,intra,l2`.
    A descriptor as far from one word as from another, to float32 precision, may go to either.

    Parameters
    ----------
    params : Params
    codebook : fitted k-means codebook
        `centroids_` (K, d) float32; `dim_`, the columns D of a descriptor; `transform`, its local projection (T, D) -> (T, d).

    References
    ----------
    H. Jégou, M. Douze, C. Schmid & P. Pérez, "Aggregating local descriptors into a compact image representation", CVPR 2010, eq. 1.
    H. Jégou et al., "Aggregating local image descriptors into compact codes", PAMI 2012 (power normalisation).
    R. Arandjelović & A. Zisserman, "All about VLAD", CVPR 2013 (intra-normalisation).
    J. Delhumeau, P.-H. Gosselin, H. Jégou & P. Pérez, "Revisiting the VLAD image representation", ACM MM 2013 (residual normalisation).
    """

    name = "vlad"
    needs = (Need("words", ("kmeans",)),)

    @dataclasses.dataclass(frozen=True)
    class Params(Params):
        norm: tuple[str, ...] = param(
            ("residual", "intra", "power", "l2"),
            "normalisation steps, in order",
            choices=("residual", "intra", "power", "ssr", "l2"),
        )
        power: float = param(0.5, "exponent of the step `power`; 0.5 is the signed square root", above=0.0, maximum=1.0)
        dtype: str = param("float32", "type of the stored vectors", role=SAMPLING, choices=("float32", "float16"))

        def __post_init__(self):
            super().__post_init__()
            object.__setattr__(self, "norm", _chain(self.norm, self.power))

    def __init__(self, params, codebook):
        super().__init__(params, codebook)
        self._vocabulary = words.Vocabulary(codebook.centroids_)

    @property
    def dim(self):
        """Length V = K * d of the vectors."""
        return self._vocabulary.centroids.size

    def encode(self, features):
        """One photo's descriptors (T, D), T >= 1, to its vector (V,); see `Encoder.encode`."""
        x = arrays.rows(features.descriptors, self.codebook.dim_, "the descriptor matrix")
        if len(x) == 0:
            raise ImgretError("a photo without descriptors has no VLAD: leave it out")
        with np.errstate(over="ignore", under="ignore", invalid="ignore"):  # what is not finite in the end is refused by `unit`
            present, sums = self._sums(np.ascontiguousarray(self.codebook.transform(x), dtype=np.float32))
            for step in self.params.norm:
                if step == "intra":
                    arrays.unit_rows(sums, out=sums)
                elif step == "power":
                    sums = arrays.power_normalize(sums, self.params.power)
            sums = arrays.unit(sums, self.params.dtype)
        vector = np.zeros(self._vocabulary.centroids.shape, self.params.dtype)
        vector[present] = sums
        return vector.reshape(-1)

    def _sums(self, x):
        """The words that have descriptors, in order, and the residual sum of each."""
        centroids, lengths = self._vocabulary.centroids, self._vocabulary.lengths
        groups = words.group(self._vocabulary.nearest(x))
        # The residuals are summed, not the descriptors less n times the word: what equals its word then gives exactly zero, rather than
        # rounding errors that intra-normalisation would blow up to unit length.
        residuals = x[groups.order]
        residuals -= centroids[groups.sorted]
        limits = words.NOISE * groups.counts
        if "residual" in self.params.norm:
            residuals[arrays.row_norms(residuals) < words.NOISE * lengths[groups.sorted]] = 0
            arrays.unit_rows(residuals, out=residuals)
        else:
            limits = limits * lengths[groups.words]
        sums = words.sums(residuals, groups, "runs")
        sums[arrays.row_norms(sums) < limits] = 0
        return groups.words, sums


def _chain(norm, power):
    """`norm` as it is recorded: `ssr` as `power`, `l2` at the end."""
    if "ssr" in norm and power != 0.5:
        raise UsageError(f"`norm` says ssr, which is power with the exponent 0.5, but `power` is {power:g}: write power instead of ssr")
    chain = ["power" if step == "ssr" else step for step in norm]
    if "l2" in chain[:-1]:
        raise UsageError("`norm` takes l2 as its last step only")
    if chain[-1:] != ["l2"]:
        chain.append("l2")
    if "residual" in chain[1:]:
        raise UsageError("`norm` takes residual as its first step only: it acts on residuals before they are summed")
    for step in chain:
        if chain.count(step) > 1:
            raise UsageError(f"`norm` has the step {step} twice")
    if power != 0.5 and "power" not in chain:
        raise UsageError("`power` has no effect: `norm` has no step power")
    return tuple(chain)
