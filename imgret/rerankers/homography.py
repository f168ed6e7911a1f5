"""The homography that matches agree with, from the affine map that most of them do."""

import numpy as np

FEWEST = 8  # matches at distinct places: twice as many as would fit every one


def refined(affine, a, b, inside, alike, limit, refits):
    """A homography fitted to matches, and again to those that agree with it, as long as they become no fewer.

    Parameters
    ----------
    affine : ndarray, shape (3, 3), float64
        What it is refined from.
    a, b : ndarray, shape (2, M), float32
        Places in the query, and in the photo.
    inside : ndarray, shape (M,), bool
        The matches that agree with `affine`.
    alike : ndarray, shape (M,), bool
        Those that may.
    limit : float
        To how many pixels of the photo they have to.
    refits : int

    Yields
    ------
    matrix : ndarray, shape (3, 3), float64
        One that mirrors nothing, and takes no match to beyond the horizon.
    inside : ndarray, shape (M,), bool
    """
    a, b = a.astype(np.float64), b.astype(np.float64)
    ours = np.vstack([a, np.ones(a.shape[1])])
    for _ in range(refits):
        matrix = fit(a[:, inside], b[:, inside])
        if matrix is None:
            return
        x, y, w = matrix @ ours
        if not (np.linalg.det(matrix) > 0 and (w[inside] > 0).all()):
            return
        with np.errstate(divide="ignore", invalid="ignore"):
            off = np.hypot(x / w - b[0], y / w - b[1])
        inside = alike & (w > 0) & (off <= limit)
        yield matrix, inside


def fit(a, b):
    """The homography from places `a` to `b`, both (2, n), float64, by the direct linear transformation; None where they do not fix one.

    References
    ----------
    R. Hartley & A. Zisserman, "Multiple view geometry in computer vision", 2nd edition 2004, algorithm 4.2.
    """
    if a.shape[1] < 4:
        return None
    (x, y), ours = _normal(a)
    (u, v), theirs = _normal(b)
    zero, one = np.zeros_like(x), np.ones_like(x)
    rows = np.concatenate(
        [np.stack([x, y, one, zero, zero, zero, -u * x, -u * y, -u], 1), np.stack([zero, zero, zero, x, y, one, -v * x, -v * y, -v], 1)]
    )
    _, strengths, axes = np.linalg.svd(rows.T @ rows)
    if strengths[7] <= 1e-9 * strengths[0]:
        return None
    matrix = np.linalg.inv(theirs) @ axes[8].reshape(3, 3) @ ours
    return matrix / matrix[2, 2] if abs(matrix[2, 2]) > 1e-12 else None


def _normal(xy):
    """Places around 0, at a distance of √2 in the mean, and the map (3, 3) that takes them there."""
    middle = xy.mean(axis=1)
    scale = np.sqrt(2) / max(np.hypot(*(xy - middle[:, None])).mean(), 1e-9)
    return (xy - middle[:, None]) * scale, np.array([[scale, 0, -scale * middle[0]], [0, scale, -scale * middle[1]], [0, 0, 1]])
