"""NetVLAD: VLAD whose words are trained with the network."""

import dataclasses

import numpy as np

from imgret.arrays import TINIEST
from imgret.errors import ImgretError, counted
from imgret.networks import pooling, regions
from imgret.networks.heads.base import VectorHead
from imgret.networks.heads.columns import Columns
from imgret.networks.heads.params import VectorParams
from imgret.parallel import one_thread
from imgret.quantizers.learning import kmeans, subsample
from imgret.registry import param

WEIGHT, BIAS, CENTROIDS = "netvlad.weight", "netvlad.bias", "netvlad.centroids"
RATIO = 100.0  # of the assignments to the nearest and the second word, when training starts
ROWS = 1000  # columns for each word that k-means is given, at most
SEED = 0  # of k-means
NOISE = 1e-4  # of a residual, as a share of the columns it is made of


class NetVlad(VectorHead):
    """The residuals of a map's columns to words, each word's L2-normalised: assignment and words are trained."""

    known_as = "NetVLAD"
    trained_as = "netvlad"
    one_layer = True

    @dataclasses.dataclass(frozen=True)
    class Params(VectorParams):
        """Parameters of NetVLAD."""

        clusters: int = param(64, "netvlad: visual words", minimum=1, maximum=4096)

    def width(self, dims):
        """Length of its vectors below the last linear layer."""
        return self.params.clusters * sum(dims)

    def own_shapes(self, dims):
        """Weights and biases of the assignment, and the words; see `VectorHead.own_shapes`."""
        size, columns = self.params.clusters, sum(dims)
        return {WEIGHT: (size, columns), BIAS: (size,), CENTROIDS: (size, columns)}

    def begin(self, dims, sample):
        """k-means of columns, and an assignment that is a soft form of the nearest word; see `VectorHead.begin`."""
        import torch

        columns = sample(Columns(Columns.Params()))
        weight, bias, centroids = beginning(columns[columns.any(axis=1)], self.params.clusters)
        return {WEIGHT: torch.from_numpy(weight), BIAS: torch.from_numpy(bias), CENTROIDS: torch.from_numpy(centroids)}

    def pool(self, output):
        """(B, C, H, W) to (B, K C)."""
        return vlad(output, *self._learned())

    def regional(self, outputs):
        """Vectors of regions; see `VectorHead.regional`. Each column belongs to words by itself: the residuals of what regions are made of
        are taken once, and added up for each.
        """
        import torch

        from imgret.networks.heads.residuals import residuals

        (maps,) = outputs
        quarters, made = regions.quarters(maps)
        found = [residuals(quarter, *self._learned()) for quarter in quarters]
        summed = [[sum(found[number][which] for number in numbers) for which in (0, 1)] for numbers in made]
        vectors = torch.stack([normalised(*each) for each in summed], dim=1)
        return self._last(pooling.l2(pooling.l2(vectors)).flatten(0, 1)).unflatten(0, vectors.shape[:2])

    def _learned(self):
        return (self.learned[name] for name in (WEIGHT, BIAS, CENTROIDS))


def vlad(maps, weight, bias, centroids):
    """NetVLAD of maps.

    With x the L2-normalised columns and a_k = softmax_k(w_k·x + b_k), word k has Σ a_k (x - c_k), here Σ a_k x - c_k Σ a_k: two matrix
    products, and nothing of K C H W values. Each word's is L2-normalised (intra-normalisation). A column where nothing fires belongs to
    no word.

    Parameters
    ----------
    maps : torch.Tensor, shape (B, C, H, W)
    weight, bias, centroids : torch.Tensor, shapes (K, C), (K,), (K, C)

    Returns
    -------
    torch.Tensor, shape (B, K C)
        Word after word, not normalised as a whole.

    References
    ----------
    R. Arandjelović, P. Gronat, A. Torii, T. Pajdla & J. Sivic, NetVLAD: CNN architecture for weakly supervised place recognition, CVPR
    2016, equations 3 and 4 and figure 2.
    """
    from imgret.networks.heads.residuals import residuals

    return normalised(*residuals(maps, weight, bias, centroids))


def normalised(residuals, masses):
    """Residuals (B, K, C) of words with masses Σ a_k (B, K), each word's L2-normalised: (B, K C).

    Where all columns of a word are where the word is, what is left of their difference is rounding: a residual shorter than `NOISE` of
    its mass is divided by that, stays near 0, and passes no gradient back. However little belongs to a word, it counts as others do: that
    is what intra-normalisation is; one to which nothing at all belongs is 0.
    """
    noise = NOISE * masses[:, :, None]
    tiny = pooling.lengths(residuals.detach())[:, :, None] <= noise
    found = pooling.l2(residuals)
    if tiny.any():
        found = found.where(~tiny, (residuals / noise.clamp_min(TINIEST)).detach())
    return found.flatten(1)


def beginning(columns, size):
    """What training begins with: words c of k-means, w = 2α c and b = -α |c|², with which a_k is exp(-α |x - c_k|²) over its sum (equation
    2), and α such that a column's nearest word has about 100 times the share of its second.

    As in the authors' code, α = log(100) / mean(d₂ - d₁) with the squared distances of the nearest and the second word.

    Parameters
    ----------
    columns : ndarray, shape (N, C), float32
        Of unit L2 norm.
    size : int

    Returns
    -------
    weight, bias, centroids : ndarray, shapes (K, C), (K,), (K, C), float32

    Raises
    ------
    ImgretError
        For fewer columns than words.
    """
    x = np.ascontiguousarray(subsample(columns, ROWS * size, SEED))
    if len(x) < size:
        raise ImgretError(
            f"netvlad starts from {counted(size, 'word')}, and the photos give {counted(len(x), 'column')}: set fewer `clusters`"
        )
    with one_thread():
        centroids = kmeans(x, size, SEED)
        wide = centroids.astype(np.float64)
        squares = np.einsum("ij,ij->i", wide, wide)
        scores = 2 * (x @ centroids.T) - squares
    gap = 1.0
    if size > 1:
        scores.partition(size - 2, axis=1)
        gap = float((scores[:, -1] - scores[:, -2]).mean())
    alpha = np.log(RATIO) / max(gap, np.finfo(np.float32).eps)
    return (2 * alpha * wide).astype(np.float32), (-alpha * squares).astype(np.float32), centroids
