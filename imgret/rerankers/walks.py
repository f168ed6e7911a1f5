"""The compiled loops of diffusion: neighbours that have each other, and a linear system over them.

Places in the arrays come from `neighbours`, which has checked them.
"""

import numpy as np

from imgret.compiled import compiled


@compiled
def mutual(ids, weights, starts, columns, values):
    """The neighbours that have each other, row after row, and the smaller weight of the two.

    Parameters
    ----------
    ids : ndarray, shape (N, k), int32
        Neighbours, nearest first; -1 behind them where there are fewer.
    weights : ndarray, shape (N, k), float32
    starts : ndarray, shape (N + 1,), int64
        Written: where each row begins in `columns` and `values`.
    columns : ndarray, shape (N k,), int32
    values : ndarray, shape (N k,), float32
        Written, as far as there are any.
    """
    count = 0
    for row in range(len(ids)):
        starts[row] = count
        for place in range(ids.shape[1]):
            other = ids[row, place]
            if other < 0:
                break
            for back in range(ids.shape[1]):
                if ids[other, back] == row:
                    columns[count] = other
                    values[count] = min(weights[row, place], weights[other, back])
                    count += 1
                    break
    starts[len(ids)] = count


@compiled
def times(starts, columns, values, own, alpha, x, out):
    """(I − α S) x, S being symmetric, its diagonal `own`."""
    for row in range(len(x)):
        total = own[row] * x[row]
        for place in range(starts[row], starts[row + 1]):
            total += values[place] * x[columns[place]]
        out[row] = x[row] - alpha * total


@compiled
def solve(starts, columns, values, own, alpha, y, x, tolerance, most):
    """Conjugate gradients from 0: (I − α S) x = y, until the residual is `tolerance` times as long as y, or `most` steps are done.

    Parameters
    ----------
    starts, columns, values : see `mutual`
        Of S, but for its diagonal.
    own : ndarray, shape (N,), float32
        The diagonal.
    alpha : float
        Below 1, where no eigenvalue of S is above.
    y, x : ndarray, shape (N,), float64
        `x` is zeros, and written.
    tolerance : float
    most : int

    Returns
    -------
    int
        Steps.
    """
    residual, direction, turned = y.copy(), y.copy(), np.empty_like(y)
    length = np.float64(0)
    for row in range(len(y)):
        length += y[row] * y[row]
    enough = length * tolerance * tolerance
    for step in range(most):
        if length <= enough:
            return step
        times(starts, columns, values, own, alpha, direction, turned)
        across = np.float64(0)
        for row in range(len(y)):
            across += direction[row] * turned[row]
        stride = length / across
        after = np.float64(0)
        for row in range(len(y)):
            x[row] += stride * direction[row]
            residual[row] -= stride * turned[row]
            after += residual[row] * residual[row]
        share = after / length
        for row in range(len(y)):
            direction[row] = residual[row] + share * direction[row]
        length = after
    return most
