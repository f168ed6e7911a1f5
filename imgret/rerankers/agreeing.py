"""The compiled loops over matches of two photos: which map most of them agree with."""

import numpy as np

from imgret.compiled import compiled

MOST_STRETCHED = 4.0  # an affine map's longer axis by its shorter one
FEW = 3  # matches at distinct places, of which an affine map would fit every one
FLAT = 1e-3  # of the variance of places: less across than along, squared, and they lie on a line


@compiled
def counts(a, b, size, factor, near, most, found):
    """How many matches agree with the similarity that each of them alone gives.

    Parameters
    ----------
    a, b : ndarray, shape (2, M), float32
        x and y of the matches' places in the query, and in the photo.
    size : ndarray, shape (M,), float32
        log2 of how much larger the feature of the photo is.
    factor : ndarray, shape (2, M), float32
        How much larger and how far turned it is, as a complex number.
    near : ndarray, shape (M,), float32
        The square of the distance to which a match has to agree with each map.
    most : float
        The same for `size`.
    found : ndarray, shape (M,), int32
        Written.
    """
    count = len(size)
    for one in range(count):
        c, s, close, scale = factor[0, one], factor[1, one], near[one], size[one]
        x = b[0, one] - (c * a[0, one] - s * a[1, one])
        y = b[1, one] - (s * a[0, one] + c * a[1, one])
        total = 0
        for other in range(count):
            across = c * a[0, other] - s * a[1, other] + x - b[0, other]
            down = s * a[0, other] + c * a[1, other] + y - b[1, other]
            total += (across * across + down * down <= close) & (abs(size[other] - scale) <= most)
        found[one] = total


@compiled
def agree(matrix, a, b, size, limits, most, inside):
    """Which matches agree with an affine map, written to `inside`, (M,), bool.

    `limits`: the distances to which they have to, in the photo and in the query.
    """
    scale = np.sqrt(matrix[0, 0] * matrix[1, 1] - matrix[0, 1] * matrix[1, 0])
    close, larger = min(limits[0], scale * limits[1]) ** 2, np.log2(scale)
    for one in range(len(size)):
        across = matrix[0, 0] * a[0, one] + matrix[0, 1] * a[1, one] + matrix[0, 2] - b[0, one]
        down = matrix[1, 0] * a[0, one] + matrix[1, 1] * a[1, one] + matrix[1, 2] - b[1, one]
        inside[one] = (across * across + down * down <= close) & (abs(size[one] - larger) <= most)


@compiled
def distinct(inside, places, seen, mark):
    """At how many places of either photo, whichever are less, matches agree.

    Parameters
    ----------
    inside : ndarray, shape (M,), bool
    places : ndarray, shape (2, M), int32
        The number of each match's place in the query, and in the photo.
    seen : ndarray, shape (2, S), int32
        For each place the last `mark` with which it was seen.
    mark : int
        Another one each time.
    """
    first = second = 0
    for one in range(len(inside)):
        if inside[one]:
            first += seen[0, places[0, one]] != mark
            second += seen[1, places[1, one]] != mark
            seen[0, places[0, one]] = seen[1, places[1, one]] = mark
    return min(first, second)


@compiled
def fit(a, b, inside, affine, matrix):
    """The map with the least squares of those matches that agree; of four degrees of freedom where they do not fix six.

    Parameters
    ----------
    a, b : ndarray, shape (2, M), float32
    inside : ndarray, shape (M,), bool
    affine : bool
        Whether it may have six.
    matrix : ndarray, shape (2, 3), float64
        Written, where the map neither flips nor collapses.

    Returns
    -------
    bool
        Whether it does neither.
    """
    count = 0
    mean = np.zeros(4)
    for one in range(len(inside)):
        if inside[one]:
            count += 1
            mean[0] += a[0, one]
            mean[1] += a[1, one]
            mean[2] += b[0, one]
            mean[3] += b[1, one]
    mean /= max(1, count)
    xx = xy = yy = xu = xv = yu = yv = 0.0
    for one in range(len(inside)):
        if inside[one]:
            x, y, u, v = a[0, one] - mean[0], a[1, one] - mean[1], b[0, one] - mean[2], b[1, one] - mean[3]
            xx += x * x
            xy += x * y
            yy += y * y
            xu += x * u
            xv += x * v
            yu += y * u
            yv += y * v
    wide = xx * yy - xy * xy
    if affine and wide > FLAT * (xx + yy) ** 2:
        p, q = (xu * yy - yu * xy) / wide, (yu * xx - xu * xy) / wide
        r, s = (xv * yy - yv * xy) / wide, (yv * xx - xv * xy) / wide
    elif xx + yy > 0:
        p, r = (xu + yv) / (xx + yy), (xv - yu) / (xx + yy)
        q, s = -r, p
    else:
        return False
    area, squares = p * s - q * r, p * p + q * q + r * r + s * s
    # the singular values l and m have l m = area and l^2 + m^2 = squares
    if not (area > 0 and squares <= (MOST_STRETCHED + 1 / MOST_STRETCHED) * area):
        return False
    matrix[0, 0], matrix[0, 1], matrix[0, 2] = p, q, mean[2] - p * mean[0] - q * mean[1]
    matrix[1, 0], matrix[1, 1], matrix[1, 2] = r, s, mean[3] - r * mean[0] - s * mean[1]
    return True


@compiled
def best(a, b, size, factor, places, limits, most, tries, refits, affine, matrix, inside):
    """The map that most matches agree with, at distinct places of both photos.

    Every match gives a hypothesis. The `tries` best of those that do not belong to one before are fitted anew, up to `refits` times, to the
    matches that agree with them.

    Parameters
    ----------
    a, b, size, factor, most
        As `counts` takes them.
    places : see `distinct`
    limits : (float, float)
        As `agree` takes them.
    tries, refits : int
    affine : bool
    matrix : ndarray, shape (2, 3), float64
        Written.
    inside : ndarray, shape (M,), bool
        Written: which matches agree with it.

    Returns
    -------
    int
        How many do, at distinct places; 0 and nothing written where there are no matches.
    """
    count = len(size)
    near, found = np.empty(count, np.float32), np.empty(count, np.int32)
    for one in range(count):
        scale = np.hypot(factor[0, one], factor[1, one])
        near[one] = min(limits[0], scale * limits[1]) ** 2
    counts(a, b, size, factor, near, most, found)
    used, now, seen = np.zeros(count, np.bool_), np.zeros(count, np.bool_), np.zeros((2, places.max() + 1), np.int32)
    trial, highest, mark = np.zeros((2, 3)), 0, 0
    for _ in range(tries):
        top, one = 0, -1
        for other in range(count):
            if not used[other] and found[other] > top:
                top, one = found[other], other
        if one < 0:
            break
        trial[0, 0], trial[0, 1] = factor[0, one], -factor[1, one]
        trial[1, 0], trial[1, 1] = factor[1, one], factor[0, one]
        trial[0, 2] = b[0, one] - (trial[0, 0] * a[0, one] + trial[0, 1] * a[1, one])
        trial[1, 2] = b[1, one] - (trial[1, 0] * a[0, one] + trial[1, 1] * a[1, one])
        last, held = 0, False
        for turn in range(refits + 1):
            agree(trial, a, b, size, limits, most, now)
            mark += 1
            reached = distinct(now, places, seen, mark)
            for other in range(count):
                used[other] |= now[other]
            used[one] = True
            if reached > highest or (held and reached == highest):  # what was fitted to them all is nearer than what one match gave
                highest, held = reached, True
                matrix[:], inside[:] = trial, now
            if turn == refits or (turn and reached <= last) or not fit(a, b, now, affine and reached > FEW, trial):
                break
            last = max(last, reached)
    return highest
