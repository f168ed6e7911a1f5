"""What the codebooks share: checks of a sample, arrays from files."""

import numpy as np

from imgret.errors import ImgretError, listed


def check_rows(x, size, noun):
    """Refuse a sample that is no float32 matrix or has fewer rows than `size`, before any work.

    Raises
    ------
    ImgretError
    """
    if not isinstance(x, np.ndarray) or x.dtype != np.float32 or x.ndim != 2 or x.shape[1] == 0 or not x.flags.c_contiguous:
        raise ImgretError("the sample must be a C-contiguous float32 matrix with at least one column")
    if size > len(x):
        raise ImgretError(f"{size} {noun} were asked for (`size`), but only {_sampled(x)}: ask for fewer, or give more photos")


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


def check_names(arrays, names):
    """Refuse arrays that are not exactly those named.

    Raises
    ------
    ImgretError
    """
    if set(arrays) != set(names):
        found = listed(sorted(arrays)) or "nothing"
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


def offsets_of(arrays, name, count, total):
    """Where the rows of each of `count` groups begin, as it came from a file: (count + 1,) int64, ascending from 0 to `total`.

    Raises
    ------
    ImgretError
    """
    offsets = take(arrays, name, (count + 1,), np.int64)
    if offsets[0] != 0 or offsets[-1] != total or (np.diff(offsets) < 0).any():
        raise ImgretError(f"the codebook's `{name}` must rise from 0 to {total}: train it again")
    return offsets
