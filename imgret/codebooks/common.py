"""What the codebooks share: fixed blocks, the check of a sample, safe coordinates, local projection, arrays from files, checkpoints."""

import dataclasses
import math

import numpy as np

from imgret.arrays import rows
from imgret.codebooks.base import Codebook
from imgret.errors import ImgretError
from imgret.parallel import ordered_map

BLOCK = 8192  # rows of a block: fixed, so that sums do not depend on `jobs`
LARGEST = 1e18  # squares of larger values leave float32, here and in every index


def blocks(count, length=BLOCK):
    """Slices of `length` that cover `range(count)`."""
    return [slice(start, min(start + length, count)) for start in range(0, count, length)]


@dataclasses.dataclass(frozen=True)
class Frame:
    """Coordinates in which float32 keeps its digits: the sample's mean at the origin, values at most 2 in size.

    `scale` is a power of two, so that scaling rounds nothing; `constant` marks the columns that hold one value.
    """

    mean: np.ndarray
    scale: float
    constant: np.ndarray

    def apply(self, x, columns=slice(None)):
        """(x - mean) * scale as a new float32 array; `columns` are those of the sample that `x` holds."""
        z = x - self.mean[columns]
        z *= np.float32(self.scale)
        return z

    def restore(self, z):
        """`z` in the sample's own coordinates, float32."""
        return (np.asarray(z, np.float64) / self.scale + self.mean).astype(np.float32)


def check_rows(x, size, noun):
    """Refuse a sample that is no float32 matrix or has fewer rows than `size`, before any work.

    Raises
    ------
    ImgretError
    """
    if not isinstance(x, np.ndarray) or x.dtype != np.float32 or x.ndim != 2 or x.shape[1] == 0 or not x.flags.c_contiguous:
        raise ImgretError("the sample must be a C-contiguous float32 matrix with at least one column")
    if size > len(x):
        raise ImgretError(f"{size} {noun} were asked for (--size), but only {_sampled(x)}: ask for fewer, or give more photos")


def check_pca(pca, x):
    """Refuse a local projection to more dimensions than the sample has columns or rows.

    Raises
    ------
    ImgretError
    """
    if pca > x.shape[1]:
        raise ImgretError(f"a projection to {pca} dimensions was asked for (`pca`), but the rows have {x.shape[1]} columns: ask for fewer")
    if pca > len(x):
        raise ImgretError(
            f"a projection to {pca} dimensions was asked for (`pca`), but only {_sampled(x)}: ask for fewer, or give more photos"
        )


def _sampled(x):
    return "1 row was sampled" if len(x) == 1 else f"{len(x)} rows were sampled"


def frame_of(x, jobs=1):
    """The `Frame` of a sample, which is checked on the way (in blocks: nothing of the sample's size is made).

    Raises
    ------
    ImgretError
        For NaN, infinities, and values beyond 1e18.
    """
    total = np.zeros(x.shape[1])
    low, high = np.full(x.shape[1], np.inf, np.float32), np.full(x.shape[1], -np.inf, np.float32)

    def look(block):
        part = x[block]
        return part.min(axis=0), part.max(axis=0), np.full(len(part), 1 / len(part), np.float32) @ part, len(part)

    for least, most, mean, count in ordered_map(look, blocks(len(x)), jobs):
        if not (np.isfinite(least).all() and np.isfinite(most).all()):
            raise ImgretError("the sample holds NaN or infinite values")
        np.minimum(low, least, out=low)
        np.maximum(high, most, out=high)
        total += mean.astype(np.float64) * count
    largest = max(abs(float(low.min())), abs(float(high.max())))
    if largest > LARGEST:
        raise ImgretError(f"the sample holds values as large as {largest:.3g}: scale them below {LARGEST:g}")
    # At most 2^60: values too small for that are as good as zero.
    scale = 2.0 ** min(-math.frexp(largest)[1], 60) if largest else 1.0
    # Clipped, so that a constant column is exactly 0 in the frame.
    return Frame(np.clip((total / len(x)).astype(np.float32), low, high), scale, low == high)


def word_sums(z, words):
    """Sums of the rows of each word that occurs: sorted by word, then short one-hot products.

    (For 256 words of 8192 x 128 values this takes an eighth of the time of one full one-hot product, half that of `np.add.reduceat`.)

    Parameters
    ----------
    z : ndarray, shape (T, D), float32
    words : ndarray, shape (T,), integer

    Returns
    -------
    present : ndarray, shape (P,), integer
        The words that occur, ascending.
    sums : ndarray, shape (P, D), float32
    counts : ndarray, shape (P,), int64
    """
    chunk = 128
    if words.max() < 2**16:
        words = words.astype(np.uint16)  # numpy sorts these by radix
    order = np.argsort(words, kind="stable")
    words = words[order]
    new = np.empty(len(words), bool)
    new[0] = True
    np.not_equal(words[1:], words[:-1], out=new[1:])
    starts = np.flatnonzero(new)
    slot = np.cumsum(new) - 1
    sums = np.zeros((len(starts), z.shape[1]), np.float32)
    sorted_rows = np.empty((chunk, z.shape[1]), np.float32)
    columns = np.arange(chunk)
    for block in blocks(len(z), chunk):
        here = slot[block]
        first, count = here[0], here[-1] - here[0] + 1
        hot = np.zeros((count, len(here)), np.float32)
        hot[here - first, columns[: len(here)]] = 1
        # (Any mode but "raise" takes without a temporary copy.)
        near = z.take(order[block], axis=0, out=sorted_rows[: len(here)], mode="clip")
        sums[first : first + count] += hot @ near
    return words[starts], sums, np.diff(np.append(starts, len(words)))


def project(x, mean, components, out=None):
    """(x - mean) componentsᵀ, float32, block by block."""
    out = np.empty((len(x), len(components)), np.float32) if out is None else out
    for block in blocks(len(x), max(1, min(BLOCK, 2**23 // x.shape[1]))):
        np.matmul(x[block] - mean, components.T, out=out[block])
    return out


class LocalCodebook(Codebook):
    """A codebook of local descriptors that may learn a PCA of them first (`params.pca`; 0 = none).

    Attributes
    ----------
    dim_ : int
        Columns of the descriptors before any projection.
    pca_mean_ : ndarray, shape (dim_,), float32, or None
    pca_components_ : ndarray, shape (d, dim_), float32, or None
    """

    pca_mean_ = None
    pca_components_ = None

    def transform(self, x):
        """Descriptors in the codebook's space: the local projection, or the descriptors as they are.

        Parameters
        ----------
        x : array_like, shape (T, dim_)

        Returns
        -------
        ndarray, shape (T, d), float32

        Raises
        ------
        ImgretError
            For another number of columns, NaN or infinities.
        """
        x = rows(x, self.dim_, "the matrix of descriptors")
        return x if self.pca_mean_ is None else project(x, self.pca_mean_, self.pca_components_)

    def _learn_projection(self, x, jobs):
        """The sample in the codebook's space: `x` itself, or its projection, the only copy that is made."""
        self.dim_ = x.shape[1]
        if not self.params.pca:
            return x
        from imgret.codebooks.pca import PCA

        pca = PCA(PCA.Params(size=self.params.pca, seed=self.params.seed)).fit(x, jobs=jobs)
        self.pca_mean_, self.pca_components_ = pca.mean_, pca.components_
        projected = np.empty((len(x), self.params.pca), np.float32)

        def fill(block):
            project(x[block], pca.mean_, pca.components_, out=projected[block])

        for _ in ordered_map(fill, blocks(len(x)), jobs):
            pass
        return projected

    def _projection_arrays(self):
        return {} if self.pca_mean_ is None else {"pca_mean": self.pca_mean_, "pca_components": self.pca_components_}

    def _projection_names(self):
        return ("pca_mean", "pca_components") if self.params.pca else ()

    def _take_projection(self, arrays, columns):
        """Set what `_projection_arrays` gave; `columns` is the width of the codebook's own arrays."""
        self.dim_ = columns
        if self.params.pca:
            self.pca_components_ = take(arrays, "pca_components", (self.params.pca, None))
            self.dim_ = self.pca_components_.shape[1]
            self.pca_mean_ = take(arrays, "pca_mean", (self.dim_,))


def check_names(arrays, names):
    """Refuse arrays that are not exactly those named.

    Raises
    ------
    ImgretError
    """
    if set(arrays) != set(names):
        found = ", ".join(sorted(arrays)) or "nothing"
        raise ImgretError(f"a codebook of this method holds {', '.join(names)}, not {found}: train it again")


def take(arrays, name, shape, dtype=np.float32):
    """One array as it came from a file, checked: dtype, shape (None fits any length above 0), finite.

    Raises
    ------
    ImgretError
    """
    array = np.asarray(arrays[name])
    fits = array.ndim == len(shape) and all(
        have == want or (want is None and have > 0) for have, want in zip(array.shape, shape, strict=True)
    )
    if array.dtype != dtype or not fits:
        wanted = ", ".join("any" if want is None else str(want) for want in shape)
        raise ImgretError(
            f"the codebook's `{name}` must be {np.dtype(dtype)} of shape ({wanted}), got {array.dtype} of shape "
            f"({', '.join(map(str, array.shape))}): train it again"
        )
    if not np.isfinite(array).all():
        raise ImgretError(f"the codebook's `{name}` holds NaN or infinite values: train it again")
    return np.ascontiguousarray(array)


def resume(state, **shapes):
    """`state` of a checkpoint with its arrays in the shapes given; None where there is none.

    Also None if names or sizes are not those of this fit: it then begins again, which is never wrong. (A checkpoint may keep a scalar as an
    array of one value.)
    """
    if state is None or set(state) != set(shapes):
        return None
    arrays = {name: np.asarray(state[name]) for name in shapes}
    if any(array.size != math.prod(shapes[name]) for name, array in arrays.items()):
        return None
    return {name: array.reshape(shapes[name]) for name, array in arrays.items()}
