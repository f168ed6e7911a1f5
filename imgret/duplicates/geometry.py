"""Whether two photos hold the same pixels: local features that match, and one map that takes them from one photo to the other."""

import dataclasses

import numpy as np

ALIKE = 0.8  # cosine of two descriptors that may match
LOOSE, WIDE, TIGHT = 0.03, 8.0, 1.0  # how far off a match may be: of the longer side, by one match's own map; else in pixels
FEWEST = 8  # matches that agree
ROUNDS = 4  # of fitting the map to the matches that agree, and taking those that do

PRECISE = 0.6  # of those within WIDE pixels, how many are within TIGHT of a copy's places
STEADY = 0.4  # pixels by which a smooth warp may differ from the map of a copy: what is photographed again has more
SHARED = 0.15  # of the features in what both show, how many agree
FIELDS, FIELD_PLACES, SPREAD = 4, 4, 0.6  # each way; features of a field that counts; of these fields, in how many some agree

VIEW_SHARED, VIEW_INLIERS, VIEW_COVER, VIEW_SCALE, VIEW_TURN = 0.3, 30, 0.85, 1.1, 5.0  # of the same view, taken again

TURNED, SCALED, CUT, CUT_TURNED = 1.0, 1.02, 0.97, 0.7  # degrees, ratio, parts: less is the rounding of a fit, or a corner lost by turning


@dataclasses.dataclass(frozen=True)
class Places:
    """The strongest local features of a photo.

    Attributes
    ----------
    xy : ndarray, shape (T, 2), float64
    scale, angle : ndarray, shape (T,), float64
        Degrees from the x axis towards y.
    descriptors : ndarray, shape (T, D), float32
        Of unit length.
    size : tuple of int
        Width and height.
    pixel : float
        How many pixels of the photo one of those is that its features were found in.
    """

    xy: np.ndarray
    scale: np.ndarray
    angle: np.ndarray
    descriptors: np.ndarray
    size: tuple
    pixel: float = 1.0


@dataclasses.dataclass(frozen=True)
class Fit:
    """How a photo lies in another one.

    Attributes
    ----------
    matrix : ndarray, shape (2, 3), float64
        The similarity from places of the first to places of the second.
    inliers : int
        Matches that agree with it, to `WIDE` pixels.
    shared : float
        Of the features of either photo that lie in the other, whichever are less, how many are among them.
    precise : float
        How many of them agree to `TIGHT` pixels.
    warp : float
        Root mean square, in pixels, of a smooth warp (of second order) that explains what the similarity does not.
    spread : float
        Of the fields of what both photos show, those that have features, in how many some agree.
    """

    matrix: np.ndarray
    inliers: int
    shared: float
    precise: float
    warp: float
    spread: float

    @property
    def copy(self):
        """Whether one photo was made of the other's pixels: resized, cropped, rotated, compressed again.

        A scene that is photographed again, even a flat one, is bent by another perspective and another lens. Photos with the same text,
        logo or frame on them agree in a part of what they show.
        """
        return self.shared >= SHARED and self.precise >= PRECISE and self.warp <= STEADY and self.spread >= SPREAD

    def again(self, first, second):
        """Whether the photos, of these sizes, may be the same view, taken again by a camera that was hardly moved."""
        scale, turn = scale_and_turn(self.matrix)
        return (
            first == second
            and self.shared >= VIEW_SHARED
            and self.inliers >= VIEW_INLIERS
            and 1 / VIEW_SCALE < scale < VIEW_SCALE
            and abs(turn) < VIEW_TURN
            and cover(self.matrix, first, second) > VIEW_COVER
        )


def mutual(first, second):
    """Pairs (M, 2) of rows of two descriptor matrices that are each other's nearest, and alike."""
    if not len(first) or not len(second):
        return np.zeros((0, 2), np.int64)
    cosines = first @ second.T
    there, back = cosines.argmax(axis=1), cosines.argmax(axis=0)
    rows = np.arange(len(first))
    kept = (back[there] == rows) & (cosines[rows, there] >= ALIKE)
    return np.stack([rows[kept], there[kept]], axis=1)


def fitted(first, second):
    """The similarity that most matches of two photos agree with.

    Each match alone gives one, by the scales and angles of its features. All of them are tried, so nothing is left to chance; the best is
    fitted anew to the matches that it takes along.

    Parameters
    ----------
    first, second : Places

    Returns
    -------
    Fit or None
        None where too few agree.

    References
    ----------
    Philbin, Chum, Isard, Sivic & Zisserman, Object retrieval with large vocabularies and fast spatial matching, CVPR 2007, section 5: one
    match makes a hypothesis; here of four degrees of freedom, and refitted by least squares.
    """
    pairs = mutual(first.descriptors, second.descriptors)
    if len(pairs) < FEWEST:
        return None
    a, b = _numbers(first.xy[pairs[:, 0]]), _numbers(second.xy[pairs[:, 1]])
    near = np.abs(_hypotheses(first, second, pairs, a, b) - b) < LOOSE * max(second.size)
    agree = near[near.sum(axis=1).argmax()]
    for _ in range(ROUNDS):
        if _distinct(a[agree], b[agree]) < FEWEST:
            return None
        factor, shift = _similarity(a[agree], b[agree])
        off = (factor * a + shift - b) / max(second.pixel, np.abs(factor) * first.pixel)
        agree = np.abs(off) < WIDE
    count = _distinct(a[agree], b[agree])
    if count < FEWEST or not np.abs(factor):
        return None
    matrix = np.array([[factor.real, -factor.imag, shift.real], [factor.imag, factor.real, shift.imag]])
    there = _inside(matrix, first.xy, second.size), _inside(inverse(matrix), second.xy, first.size)
    fewer = int(there[1].sum() < there[0].sum())
    most = int(there[fewer].sum())
    spread = _spread((first, second)[fewer].xy[there[fewer]], (first, second)[fewer].xy[pairs[agree, fewer]])
    precise = float((np.abs(off[agree]) < TIGHT).mean())
    return Fit(matrix, count, count / max(count, most), precise, _warp(a[agree], off[agree]), spread)


def _numbers(xy):
    """Places as complex numbers."""
    return xy[:, 0] + 1j * xy[:, 1]


def _hypotheses(first, second, pairs, a, b):
    """Where the similarity of each match takes each place: (M, M)."""
    one, other = pairs.T
    factor = second.scale[other] / first.scale[one] * np.exp(1j * np.deg2rad(second.angle[other] - first.angle[one]))
    return factor[:, None] * a + (b - factor * a)[:, None]


def _distinct(a, b):
    """How many matches there are, those of one place counted once: a place may have several orientations."""
    return min(len(np.unique(np.round(a, 1))), len(np.unique(np.round(b, 1))))


def _similarity(a, b):
    """The similarity z -> factor z + shift that takes `a` to `b` with the least squares."""
    spread = a - a.mean()
    factor = np.vdot(spread, b - b.mean()) / max(np.vdot(spread, spread).real, 1e-12)
    return factor, b.mean() - factor * a.mean()


def _warp(a, off):
    """Root mean square of the polynomial of second order that explains offsets `off` at places `a`, less what noise alone would give."""
    x, y = ((part - part.mean()) / max(part.std(), 1e-9) for part in (a.real, a.imag))
    terms = np.stack([np.ones_like(x), x, y, x * x, x * y, y * y], axis=1)
    smooth = terms @ np.linalg.lstsq(terms, off, rcond=None)[0]
    free = len(off) - terms.shape[1]
    noise = np.sum(np.abs(off - smooth) ** 2) / free if free > 0 else 0.0
    return float(np.sqrt(max(0.0, np.mean(np.abs(smooth) ** 2) - noise * terms.shape[1] / len(off))))


def moved(matrix, xy):
    """Places (M, 2) by a map (2, 3)."""
    return xy @ matrix[:, :2].T + matrix[:, 2]


def inverse(matrix):
    """The map back."""
    back = np.linalg.inv(matrix[:, :2])
    return np.column_stack([back, -back @ matrix[:, 2]])


def scale_and_turn(matrix):
    """How much longer a similarity makes things, and by how many degrees it turns them, from x towards y."""
    return float(np.hypot(*matrix[:, 0])), float(np.rad2deg(np.arctan2(matrix[1, 0], matrix[0, 0])))


def _inside(matrix, xy, size):
    """Which places lie in a photo of a size, by a map: (T,), bool."""
    there = moved(matrix, xy)
    return ((there >= -0.5) & (there <= np.array(size) - 0.5)).all(axis=1)


def _spread(places, agreeing):
    """Of the fields around places (T, 2), those that have `FIELD_PLACES` at least, the part in which some agree."""
    low, high = places.min(axis=0), places.max(axis=0)

    def counted(xy):
        field = np.clip(((xy - low) / np.maximum(high - low, 1e-9) * FIELDS).astype(np.int64), 0, FIELDS - 1)
        return np.bincount(field[:, 0] * FIELDS + field[:, 1], minlength=FIELDS**2)

    there, agree = counted(places), counted(agreeing)
    used = there >= min(FIELD_PLACES, there.max())
    return float((agree[used] > 0).mean())


def cover(matrix, first, second, steps=32):
    """How much of a photo of the size `first` lies, by a map, in one of the size `second`: from 0 to 1."""
    x, y = ((np.arange(steps) + 0.5) / steps * side - 0.5 for side in first)
    return float(_inside(matrix, np.stack(np.meshgrid(x, y), axis=-1).reshape(-1, 2), second).mean())


def changes(matrix, size, kept):
    """What was done to make one photo of another, by the map (2, 3) from places of the copy to places of the one that is kept.

    Parameters
    ----------
    matrix : ndarray, shape (2, 3)
        A similarity, or one of the mirror image.
    size, kept : tuple of int
        Width and height of the copy and of the one that is kept.

    Returns
    -------
    list of str
        Of "mirrored", "rotated", "resized", "cropped", in this order; nothing where the pixels have stayed where they were.
    """
    found = []
    straight = matrix
    if np.linalg.det(matrix[:, :2]) < 0:
        found.append("mirrored")
        straight = followed(mirror(size), matrix)
    scale, turn = scale_and_turn(straight)
    if abs(turn) > TURNED:
        found.append("rotated")
    if not 1 / SCALED < scale < SCALED:
        found.append("resized")
    # what is turned and cut to its old size has lost corners already
    if cover(inverse(matrix), kept, size) < (CUT if "rotated" not in found or abs(abs(turn) % 90 - 45) > 45 - TURNED else CUT_TURNED):
        found.append("cropped")
    return found


def mirror(size):
    """The map that takes places of a photo of a size to those of its mirror image, and back."""
    return np.array([[-1.0, 0.0, size[0] - 1.0], [0.0, 1.0, 0.0]])


def followed(first, second):
    """The map that is one, then another."""
    return np.column_stack([second[:, :2] @ first[:, :2], second[:, :2] @ first[:, 2] + second[:, 2]])
