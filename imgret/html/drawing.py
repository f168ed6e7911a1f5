"""What is drawn into photos: where the query lies in a photo that was found, and keypoints that match."""

import numpy as np

SMALLEST = 1e-4  # of a photo's area: what is smaller is no box, but what a map that is none leaves of one
MATCHES = 200  # of a pair of photos


def outline(homography, box, size):
    """Where a box of one photo lies in another.

    Parameters
    ----------
    homography : ndarray, shape (3, 3)
        From places of the one to places of the other, in pixels. May be anything: it comes from files.
    box : sequence of float
        x1, y1, x2, y2.
    size : (int, int)
        Width and height of the other photo.

    Returns
    -------
    list of float, or None
        x, y of the corners one after the other: of a convex polygon, clipped to the photo. None where there is none to be seen: a matrix
        that is not finite or singular, a box that reaches beyond the horizon, one that lies outside the photo or is next to nothing in it.
    """
    x1, y1, x2, y2 = box
    with np.errstate(all="ignore"):
        x, y, w = np.asarray(homography, np.float64) @ np.array([[x1, x2, x2, x1], [y1, y1, y2, y2], [1, 1, 1, 1]], np.float64)
        corners = np.stack([x / w, y / w], axis=1)
    if not np.isfinite(corners).all() or not ((w > 0).all() or (w < 0).all()):
        return None
    corners = clipped(corners.tolist(), size)
    if area(corners) < SMALLEST * size[0] * size[1]:
        return None
    return [round(number, 1) for corner in corners for number in corner]


def clipped(corners, size):
    """A convex polygon without what lies outside a photo, by Sutherland and Hodgman: one side of the photo after the other.

    Parameters
    ----------
    corners : list of (float, float)
    size : (int, int)

    Returns
    -------
    list of (float, float)
        In the same order; empty where nothing is left.
    """
    for axis, limit, sign in ((0, 0, -1), (0, size[0], 1), (1, 0, -1), (1, size[1], 1)):
        kept = []
        for here, there in zip(corners, [*corners[1:], *corners[:1]], strict=True):
            beyond, next_beyond = sign * (here[axis] - limit), sign * (there[axis] - limit)
            if beyond <= 0:
                kept.append(here)
            if beyond * next_beyond < 0:
                part = beyond / (beyond - next_beyond)
                across = here[1 - axis] + part * (there[1 - axis] - here[1 - axis])
                kept.append((limit, across) if axis == 0 else (across, limit))
        corners = kept
    return corners


def area(corners):
    """The area of a polygon, whichever way round it goes."""
    turned = [*corners[1:], *corners[:1]]
    return abs(sum(x1 * y2 - x2 * y1 for (x1, y1), (x2, y2) in zip(corners, turned, strict=True))) / 2


def points(matches):
    """Places that match, as a page has them.

    Parameters
    ----------
    matches : ndarray, shape (n, 4), or None
        x, y in the photo that asks and x, y in the one that was found, in pixels.

    Returns
    -------
    list of float, or None
        The same one after the other; of more than `MATCHES` as many, evenly spread over the rows. None where there are none.
    """
    if matches is None:
        return None
    matches = np.asarray(matches, np.float64)
    matches = matches[np.isfinite(matches).all(axis=1)]
    if len(matches) > MATCHES:
        matches = matches[np.linspace(0, len(matches) - 1, MATCHES).round().astype(int)]
    return matches.round(1).ravel().tolist() or None
