"""Matches of two photos that may be right: descriptors that are each other's nearest, or words that both photos have."""

import dataclasses
import functools

import numpy as np

from imgret import arrays, geometry
from imgret.errors import ImgretError
from imgret.rerankers import merging, products

MOST = (1 << 7) - 1  # of a number of a descriptor, in the units that it is rounded to
LONGEST = {False: 181.0, True: 127.9}  # L2 norm, in the same units, up to which -|a - b|²/2 is above -2^15: of numbers >= 0, of any
NO_GEOMETRY = "the words do not say where in the photo they are: encode them again with -m hamming, which keeps it"

NO_BITS = "the words have numbers beside them and no bits to match by: encode them again with -m hamming"


@dataclasses.dataclass(frozen=True)
class Places:
    """Where the local features of a photo are.

    Attributes
    ----------
    xy : ndarray, shape (n, 2), float32
        Pixels of the upright photo at full size.
    size : ndarray, shape (n,), float32
        log2 of the scale.
    angle : ndarray, shape (n,), float32
        Degrees; NaN where there is none.
    side : float
        The longer side of the photo, in pixels.
    """

    xy: np.ndarray
    size: np.ndarray
    angle: np.ndarray
    side: float

    @classmethod
    def of_features(cls, features):
        """Of `imgret.features.LocalFeatures`. Where they have no scale, the side of what they describe is one; and else they are of one."""
        xy = np.ascontiguousarray(features.keypoints[:, :2], dtype=np.float32)
        scale = features.column("scale")
        if not np.isfinite(scale).all():
            scale = features.column("size")
        known = np.isfinite(scale) & (scale > 0)
        size = np.log2(np.where(known, scale, 1), dtype=np.float32)
        side = max(features.image_size) if features.image_size else _side(xy)
        return cls(xy, size, features.column("angle"), float(side))

    @classmethod
    def of_entries(cls, entries):
        """Of a photo's visual words."""
        kept = entries["geometry"]
        xy = kept[:, :2].astype(np.float32)
        return cls(xy, geometry.octaves(kept), geometry.angles(kept), _side(xy))

    @functools.cached_property
    def numbers(self):
        """The `numbered` places of all features."""
        return numbered(self.xy)


def numbered(xy):
    """The number of each place (n, 2), float32, equal ones having one: (n,), int32."""
    code = (xy + np.float32(0)).view(np.int64)[:, 0]  # 0 is added, so that -0 is 0
    return np.unique(code, return_inverse=True)[1].reshape(-1).astype(np.int32)


def relative(query, photo, pairs, upright=False):
    """How much larger and how far turned the photo's features are: log2 (M,), and as complex numbers (2, M), float32.

    Features without an angle are not turned.
    """
    one, other = pairs.T
    size = photo.size[other] - query.size[one]
    turn = np.zeros(len(pairs)) if upright else np.deg2rad(np.nan_to_num(photo.angle[other] - query.angle[one]).astype(np.float64))
    return size, (np.exp2(size.astype(np.float64)) * np.stack([np.cos(turn), np.sin(turn)])).astype(np.float32)


def distinct(query, photo, pairs):
    """At how many places of either photo, whichever are less, matches are."""
    return min(len(np.unique(numbered(places.xy[rows]))) for places, rows in ((query, pairs[:, 0]), (photo, pairs[:, 1])))


def _side(xy):
    return float(xy.max(initial=0)) + 1


def _kept(method):
    """What a method gives of each argument, kept with its object."""

    @functools.wraps(method)
    def once(self, argument):
        key = method.__name__, argument
        if key not in self._made:
            self._made[key] = method(self, argument)
        return self._made[key]

    return once


class Features:
    """One photo's descriptors, to be matched with those of another.

    Parameters
    ----------
    features : imgret.features.LocalFeatures
    """

    def __init__(self, features):
        self.places = Places.of_features(features)
        self._made = {}
        self.unit = arrays.unit_rows(np.ascontiguousarray(features.descriptors, dtype=np.float32))
        self.signed = bool(len(self.unit)) and bool(self.unit.min() < 0)

    def __len__(self):
        return len(self.unit)

    @_kept
    def rounded(self, signed):
        """Whole numbers of 7 bits, (n, d), int8, and |x|²/2, (n,), int32."""
        units = LONGEST[signed] - np.sqrt(self.unit.shape[1]) / 2
        most = MOST // 2 if signed else MOST
        whole = np.rint(self.unit * np.float32(units))
        np.clip(whole, -most, most, out=whole)
        half = np.einsum("ij,ij->i", whole, whole).astype(np.int32) // 2  # of whole numbers, whose sums float32 holds
        return whole.astype(np.int8), half

    @_kept
    def asking(self, signed):
        """As `products.nearest` takes a query's: (n', pairs), uint32, and (n',), int16."""
        whole, half = self.rounded(signed)
        rows = -(-len(whole) // products.ROWS) * products.ROWS
        padded = np.zeros((rows, 2 * -(-whole.shape[1] // 2)), np.uint8)
        padded[: len(whole), : whole.shape[1]] = whole + (products.SHIFT if signed else 0)
        return padded.view(np.uint16).astype(np.uint32) * np.uint32(0x10001), np.pad(half, (0, rows - len(whole))).astype(np.int16)

    @_kept
    def asked(self, signed):
        """As `products.nearest` takes a photo's: (panels, pairs, PANEL, 2), uint8, and (panels · PANEL,), int16."""
        whole, half = self.rounded(signed)
        panels, pairs = -(-len(whole) // products.PANEL), -(-whole.shape[1] // 2)
        padded = np.zeros((panels * products.PANEL, 2 * pairs), np.int8)
        padded[: len(whole), : whole.shape[1]] = whole
        turned = np.ascontiguousarray(padded.view(np.uint16).reshape(panels, products.PANEL, pairs).transpose(0, 2, 1))
        start = -half - (products.SHIFT * whole.sum(axis=1, dtype=np.int32) if signed else 0)
        start = np.pad(start, (0, len(padded) - len(whole))).astype(np.int16)  # of the lowest 16 bits, as all sums here
        return turned.view(np.uint8).reshape(panels, pairs, products.PANEL, 2), start


def by_descriptors(query, photo, ratio, mutual):
    """Matches of the `Features` of two photos: rows of both, (M, 2), int64."""
    if not len(query) or not len(photo):
        return np.zeros((0, 2), np.int64)
    signed = query.signed or photo.signed
    (asking, ours), (asked, theirs) = query.asking(signed), photo.asked(signed)
    best, scores = np.empty(len(query), np.int32), np.empty((len(query), 2), np.int16)
    highest = np.empty(len(photo), np.int16)
    products.nearest(asking, ours, asked, theirs, best, scores, highest)
    squared = -scores.astype(np.float64)
    keep = squared[:, 0] < ratio**2 * squared[:, 1] if ratio < 1 else np.ones(len(best), bool)
    if len(photo) == 1:
        keep[:] = True
    rows = np.flatnonzero(keep & (scores[:, 0] == highest[best])) if mutual else np.flatnonzero(keep)
    if mutual:  # of equals the first
        rows = rows[np.sort(np.unique(best[rows], return_index=True)[1])]
    return np.stack([rows, best[rows]], axis=1)


class Words:
    """One photo's visual words, to be matched with those of another.

    Parameters
    ----------
    entries : dict of str to ndarray
        `word`, sorted, `geometry`, and `signature` where there are any.
    """

    def __init__(self, entries):
        if "geometry" not in entries:
            raise ImgretError(NO_GEOMETRY)
        self.places = Places.of_entries(entries)
        self.words = np.ascontiguousarray(entries["word"], dtype=np.int64)
        bits = entries.get("signature")
        if bits is not None and bits.dtype != np.uint8:
            raise ImgretError(NO_BITS)
        wide = np.zeros((len(self.words), 0 if bits is None else -(-bits.shape[1] // 8) * 8), np.uint8)
        if bits is not None:
            wide[:, : bits.shape[1]] = bits
        self.bits = wide.view(np.uint64).reshape(len(self.words), -1)

    def __len__(self):
        return len(self.words)


def by_words(query, photo, distance):
    """Matches of the `Words` of two photos: rows of both, (M, 2), int64."""
    if query.bits.shape[1]:
        pairs = np.empty((min(len(query), len(photo)), 2), np.int64)
        return pairs[: merging.nearest(query.words, photo.words, query.bits, photo.bits, distance, pairs)]
    pairs = np.empty((merging.BURST * min(len(query), len(photo)), 2), np.int64)
    return pairs[: merging.all_of(query.words, photo.words, pairs)]
