"""A last linear layer over any head's vectors: what training starts it from, and what it makes of them.

References
----------
F. Radenović, G. Tolias & O. Chum, Fine-tuning CNN image retrieval with no human annotation, PAMI 2019, section 3.3 (a layer that whitens,
over vectors that are L2-normalised, and normalised again). Y. Gong & S. Lazebnik, Iterative quantization: a Procrustean approach to
learning binary codes, CVPR 2011, section 3.2. Z. Cao, M. Long, J. Wang & P. S. Yu, HashNet: deep learning to hash by continuation, ICCV
2017, section 3 (tanh, which grows to a sign). O. Ledoit & M. Wolf, A well-conditioned estimator for large-dimensional covariance matrices,
Journal of Multivariate Analysis 2004.
"""

import numpy as np

from imgret.arrays import random_rotation
from imgret.errors import ImgretError, counted
from imgret.networks import pooling
from imgret.parallel import blocks, one_thread

NAMES = WEIGHT, BIAS = "embed.weight", "embed.bias"
PANEL = 1024  # columns that are float64 at a time
ZERO = 1e-7  # an eigenvalue below this share of the largest is rounding of float32
TURNS = 50  # of the rotation that suits signs
SEED = 0  # of its start


def shapes(size, width):
    """What is learned, by name: shapes, for vectors of `width` columns."""
    return {WEIGHT: (size, width), BIAS: (size,)} if size else {}


def applied(vectors, learned, how, training):
    """Vectors through the layer.

    Parameters
    ----------
    vectors : torch.Tensor, shape (B, D)
        Of unit L2 norm; where nothing fired, zero, and then so is the result.
    learned : dict of str to torch.Tensor
        `embed.weight` (E, D) and `embed.bias` (E,).
    how : str
        "linear", or "hash": signs, and while `training` in their place tanh of outputs at unit mean square, which has a gradient.
    training : bool

    Returns
    -------
    torch.Tensor, shape (B, E)
        Of unit L2 norm.
    """
    import torch

    found = torch.nn.functional.linear(vectors, learned[WEIGHT], learned[BIAS])
    if how == "hash" and training:
        found = (pooling.l2(found) * found.shape[1] ** 0.5).tanh()
    elif how == "hash":
        found = torch.ones_like(found).where(found >= 0, -1).where(found.isfinite(), torch.nan)
    return pooling.l2(found).where(vectors.any(dim=1, keepdim=True), 0)


def start(vectors, params):
    """The layer that training starts from: PCA of vectors, whitened as far as `shrink` leaves it.

    With λ the eigenvalues of the covariance and m their mean over all D dimensions, a direction is divided by the root of
    (1 - shrink) λ + shrink m: eigenvalues of a sample are too far apart, the more so the fewer its rows. All are then multiplied by one
    number, which changes no vector, such that the weights have the mean square of a rotation's: steps of an optimiser are as large as its
    rate for them. For signs they are turned so that they lose least by them (iterative quantisation).

    Parameters
    ----------
    vectors : ndarray, shape (N, D), float32
    params : imgret.networks.heads.params.VectorParams
        `embed`, `embed_as` and `shrink`: 0 whitens, 1 only turns; none: as much as is best for the covariance itself (Ledoit & Wolf).

    Returns
    -------
    dict of str to torch.Tensor
        `embed.weight` (size, D), `embed.bias` (size,), float32.

    Raises
    ------
    ImgretError
        If the vectors span fewer dimensions.
    """
    import torch

    size, shrink = params.embed, params.shrink
    with one_thread():
        mean, values, components, squares = _principal(vectors, size)
        rank = int(np.count_nonzero(values > ZERO * values[0]))
        if rank < size:
            raise ImgretError(
                f"`embed` is {size}, but the vectors of the {counted(len(vectors), 'photo')} that the layer starts from span "
                f"{counted(rank, 'dimension')}: set it to at most {rank}, or train on more photos"
            )
        average = values.sum() / vectors.shape[1]
        shrink = _shrinkage(values, squares, vectors.shape) if shrink is None else shrink
        spread, values = (1 - shrink) * values[:size] + shrink * average, values[:size]
        weight = components / np.sqrt(spread * (1 / spread).mean())[:, None]
        bias = -(weight @ mean)
        if params.embed_as == "hash":
            turn = _turned(_products(vectors, weight) + bias)
            weight, bias = turn @ weight, turn @ bias
    return {name: torch.from_numpy(each.astype(np.float32)) for name, each in ((WEIGHT, weight), (BIAS, bias))}


def _principal(vectors, size):
    """PCA in float64: mean, eigenvalues of the covariance (divisor N), the directions (rows) of the `size` largest, of each of which the
    entry of largest magnitude is positive, and the squared lengths of the centred rows.
    """
    panels = blocks(vectors.shape[1], PANEL)
    mean = np.concatenate([vectors[:, panel].mean(axis=0, dtype=np.float64) for panel in panels])

    def centred(panel):
        return vectors[:, panel] - mean[panel]

    few = len(vectors) < vectors.shape[1]
    if few:
        matrix = sum(part @ part.T for part in map(centred, panels))
        squares = matrix.diagonal().copy()
    else:
        whole = centred(slice(None))
        matrix, squares = whole.T @ whole, np.einsum("ij,ij->i", whole, whole)
    values, turns = np.linalg.eigh(matrix)
    values, turns = np.maximum(values[::-1], 0) / len(vectors), turns[:, ::-1][:, :size]
    if few:
        turns = np.concatenate([centred(panel).T @ turns for panel in panels])
        turns /= np.maximum(np.linalg.norm(turns, axis=0), np.finfo(float).tiny)
    signs = np.sign(turns[np.abs(turns).argmax(axis=0), np.arange(turns.shape[1])])
    return mean, values, (turns * np.where(signs == 0, 1, signs)).T, squares


def _shrinkage(values, squares, shape):
    """Ledoit & Wolf's estimate of how far a covariance is best moved to its mean eigenvalue (section 3.2, lemmas 3.2 to 3.4).

    The squared distance of a row's own outer product from S is |x|⁴ - 2 xᵀSx + |S|²; its mean is Σ|x|⁴ / N - |S|².
    """
    count, columns = shape
    norm = values @ values  # |S|² and others, each times D of the paper's
    distance = norm - values.sum() ** 2 / columns
    error = ((squares @ squares) / count - norm) / count
    return 1.0 if distance <= 0 else min(max(error, 0.0) / distance, 1.0)


def _products(vectors, weight):
    """Rows (N, E), float64."""
    return np.concatenate([vectors[block].astype(np.float64) @ weight.T for block in blocks(len(vectors), PANEL)])


def _turned(outputs):
    """The rotation (E, E) of rows for which they are nearest to their signs, from a random one; section 3.2 of Gong & Lazebnik."""
    turn = random_rotation(*2 * [outputs.shape[1]], SEED).astype(np.float64)
    for _ in range(TURNS):
        signs = np.where(outputs @ turn.T >= 0, 1.0, -1.0)
        left, _, right = np.linalg.svd(signs.T @ outputs)  # orthogonal Procrustes
        turn = left @ right
    return turn
