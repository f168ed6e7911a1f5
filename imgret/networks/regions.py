"""Grids of regions on a map, and of patches on a photo."""

import numpy as np

OVERLAP = 0.4  # of neighbouring regions, by area, that R-MAC aims at
PARTS = (
    *((0, 0, 2, 2), (0, 0, 1, 2), (1, 0, 2, 2), (0, 0, 2, 1), (0, 1, 2, 2)),
    *((0, 0, 1, 1), (0, 1, 1, 2), (1, 0, 2, 1), (1, 1, 2, 2)),
)  # top, left, bottom, right in halves of a map: all of it, its halves, its quarters (Ge et al., ECCV 2020, section 3.3)
MOST = 6  # regions more on the longer side than on the shorter, at most


def rmac_regions(height, width, levels):
    """R-MAC's regions of a map.

    At level l the regions are squares of side 2 min(W, H) / (l + 1), l of them along the shorter side and l + m - 1 along the longer,
    spread evenly; m is such that neighbours at level 1 (side min(W, H)) overlap by as near 40 % as can be.

    Parameters
    ----------
    height, width : int
    levels : int

    Returns
    -------
    ndarray, shape (R, 3), int64
        Top, left and side of each; at least 1, within the map. Levels whose regions would be smaller than one cell are left out.

    References
    ----------
    G. Tolias, R. Sicre & H. Jégou, Particular object retrieval with integral max-pooling of CNN activations, ICLR 2016, section 3.2.
    """
    short, long = min(height, width), max(height, width)
    more = _more(short, long)
    found = []
    for level in range(1, levels + 1):
        side = 2 * short // (level + 1)
        if side < 1:
            break
        across = [_starts(short, side, level), _starts(long, side, level + more)]
        tops, lefts = across if height <= width else across[::-1]
        found += [(top, left, side) for top in tops for left in lefts]
    return np.array(found, dtype=np.int64)


def part(maps, number):
    """One of `PARTS` of maps (B, C, H, W). The middle belongs to the second half; a side of one place is not divided."""
    top, left, bottom, right = PARTS[number]
    rows, columns = (
        slice(None) if side < 2 else slice((0, side // 2)[first], (side // 2, side)[last - 1])
        for first, last, side in ((top, bottom, maps.shape[2]), (left, right, maps.shape[3]))
    )
    return maps[:, :, rows, columns]


def frame(size, box=None):
    """The rectangle that all of a photo is, or its box: x1, y1, x2, y2, (4,), float64, in pixels of the photo.

    Parameters
    ----------
    size : tuple of int
        Width and height.
    box : sequence of float, optional
    """
    return np.array(box if box is not None else (-0.5, -0.5, size[0] - 0.5, size[1] - 0.5), np.float64)


def corners(rectangle):
    """Where `PARTS` of a rectangle x1, y1, x2, y2 are: the same of each, (R, 4), float64. A map is cut there to the nearest place."""
    parts = np.array(PARTS)[:, [1, 0, 3, 2]] / 2
    (x1, y1), (x2, y2) = rectangle[:2], rectangle[2:]
    return np.array([x1, y1, x1, y1]) + parts * np.array([x2 - x1, y2 - y1] * 2)


def quarters(maps):
    """What all of `PARTS` of maps (B, C, H, W) are made of.

    Returns
    -------
    quarters : list of torch.Tensor, shape (B, C, h, w)
        Four; two or one where a side is not divided.
    made : list of list of int
        Of each part, which of these.
    """
    rows, columns = ((0, 1) if side > 1 else (0,) for side in maps.shape[2:])
    cells = [(row, column) for row in rows for column in columns]

    def within(cell, ends):
        top, left, bottom, right = ends
        return (len(rows) < 2 or top <= cell[0] < bottom) and (len(columns) < 2 or left <= cell[1] < right)

    made = [[number for number, cell in enumerate(cells) if within(cell, ends)] for ends in PARTS]
    return [part(maps, PARTS.index((row, column, row + 1, column + 1))) for row, column in cells], made


def _more(short, long):
    """m - 1: regions of level 1 along the longer side, less one."""
    if long == short:
        return 0
    counts = np.arange(2, MOST + 2)
    step = (long - short) / (counts - 1)
    # neighbours that are `step` apart share (short - step) of their side, or nothing
    overlap = (short - step) / short
    return int(counts[np.abs(overlap - OVERLAP).argmin()]) - 1


def _starts(length, side, count):
    """`count` positions of a segment of `side` in `length`, evenly spread, first and last at the ends; the middle for one."""
    if count == 1:
        return [(length - side) // 2]
    return np.floor(np.arange(count) * (length - side) / (count - 1)).astype(np.int64).tolist()


def patch_grid(height, width, side):
    """Squares of `side` pixels, half a side apart or less, spread evenly over a photo; a side is at most the photo's shorter one.

    Returns
    -------
    ndarray, shape (R, 3), int64
        Top, left and side.
    """
    side = min(side, height, width)
    step = max(1, side // 2)
    tops, lefts = (_starts(length, side, 1 + -(-(length - side) // step)) for length in (height, width))
    return np.array([(top, left, side) for top in tops for left in lefts], dtype=np.int64)
