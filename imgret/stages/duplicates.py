"""duplicates: which photos are copies of one another, and which of them to keep."""

import dataclasses
import datetime

import numpy as np

from imgret.duplicates import exact as digests
from imgret.duplicates import grouping
from imgret.duplicates.geometry import changes, cover, followed, inverse
from imgret.errors import UsageError, counted
from imgret.inputs.copies import CopyPhotos, where
from imgret.inputs.copypairs import Matches, matches
from imgret.paths import check_spared, plain, several
from imgret.runs.details import tell_inputs, tell_versions
from imgret.runs.run import Run

OVERLAP = 0.5  # of either photo, in a copy of a copy
KEEP, EXACT, EDITED = "keep", "exact", "edited"


@dataclasses.dataclass(frozen=True)
class Photo:
    """One photo of a group.

    Attributes
    ----------
    name : bytes
    size : tuple of int
        Width and height.
    file_size, mtime_ns : int
    kind : str
        What it is to the one that is kept: "exact", "edited" (the same pixels at the same places, or nearly), what was done to it
        ("mirrored", "rotated", "resized", "cropped", joined by "+"), "burst" (the same view, taken again), "similar" (by its vector
        alone); "keep" of the one that is kept.
    score : float
        Cosine of its vector and that of the one that is kept, or the least along the way where others lie between; 1 where the bytes are
        the same.
    matrix : ndarray, shape (2, 3), or None
        The map from places of the photo to places of the one that is kept, where it is known.
    path : bytes or None
        Where it is now; None where that is not known.
    """

    name: bytes
    size: tuple
    file_size: int
    mtime_ns: int
    kind: str
    score: float
    matrix: np.ndarray | None = None
    path: bytes | None = None

    def modified(self, length=19):
        """When its file was modified last, UTC, as ISO 8601 has it: so many signs; "" where it is not known, or no time that there is."""
        if self.mtime_ns < 0:
            return ""
        try:
            return datetime.datetime.fromtimestamp(self.mtime_ns // 10**9, datetime.UTC).isoformat(" ", "seconds")[:length]
        except (OverflowError, ValueError, OSError):
            return ""


@dataclasses.dataclass(frozen=True)
class Found:
    """What was found.

    Attributes
    ----------
    count : int
        Photos that were looked at.
    groups : list of list of Photo
        The one to keep first, then its copies: the same bytes first, then by score.
    roots : tuple of str
        Folders that names are relative to, where they are known.
    """

    count: int
    groups: list
    roots: tuple


def duplicates(path, *, exact=False, min_score=None, features=None, burst=False, by=None, roots=(), run=Run(), spared_by=()):
    """Find photos that are copies of one another.

    Parameters
    ----------
    path : str
        A build's folder, an index, vectors, or (with `exact`) features.
    exact : bool
        Only those whose files hold the same bytes.
    min_score : float, optional
        The least cosine of copies, in place of what chance says.
    features : str, optional
        The photos' features, which verify what vectors propose; a build has its own.
    burst : bool
        Also the same view, taken again.
    by : str, optional
        "vectors": all against all; "index": candidates by the index.
    roots : sequence of str
        Folders that names are relative to; a build has its own.
    run : imgret.runs.run.Run
    spared_by : sequence of (str, str)
        Option and path of what the caller writes: refused where it is something that is read.

    Returns
    -------
    Found

    Raises
    ------
    ImgretError
    """
    run.in_one_piece("duplicates")
    tell_versions(run.report)
    if exact and (min_score is not None or features is not None or burst or by is not None):
        raise UsageError("--exact needs nothing but digests: leave --min-score, --features, --burst and --by out")
    there = where(plain(path), plain(features), several(roots), exact, run.report)
    for option, written in spared_by:
        for read in filter(None, (there.given, *there.vectors, there.features)):
            check_spared(written, option, read)
    with CopyPhotos(there, exact) as photos:
        tell_versions(run.report)
        tell_inputs(run.report, photos.stores)
        first = digests.copies(photos.heads(), lambda rows: photos.of("digest", rows))
        run.report.detail(f"{counted(len(photos), 'photo')}, {counted(len(np.unique(first)), 'different file')}")
        _tell_digests(photos, run.report)
        matched = Matches.of_rows([]) if exact else matches(photos, there, first, min_score, burst, by, run)
        return Found(len(photos), _groups(photos, first, matched, there), there.roots)


def _tell_digests(photos, report):
    """Say what was imported without photos: it has no digests."""
    missing = photos.without_digest
    if missing:
        report.note(f"{missing} of {len(photos)} vectors came without their photos' digests: which of these are exact copies is not known")


class _Chains:
    """How copies lie in the photos that are kept, directly or by way of other copies.

    A copy of a copy belongs to a group where the maps say that most of one photo lies in the other: pixels that are the same twice over are
    the same. What matches by its vector alone, or was taken again, belongs where it matches the photo that is kept.
    """

    def __init__(self, rows, sizes, matched):
        self._rows, self._sizes, self._matched, self.known = rows, [tuple(size) for size in sizes.tolist()], matched, {}

    def joins(self, keep, member, other, pair):
        """See `imgret.duplicates.grouping.kept_ones`."""
        score, matrix, kind = self._matched.of(pair, int(self._rows[other]))
        if member != keep:
            before, way, link = self.known[member]
            if kind is not None or link is not None:
                return False
            score, matrix = min(score, before), followed(matrix, way)
            size, kept = self._sizes[other], self._sizes[keep]
            if max(cover(matrix, size, kept), cover(inverse(matrix), kept, size)) < OVERLAP:
                return False
        self.known[other] = score, matrix, kind
        return True


def _groups(photos, first, matched, there):
    """Groups of `Photo`, in the order of the names of those that are kept."""
    copies = np.flatnonzero(first != np.arange(len(first)))
    rows = np.unique(np.concatenate([copies, first[copies], matched.first, matched.second]))
    if not len(rows):
        return []
    image_size, file_size, mtime_ns = (photos.of(name, rows) for name in ("image_size", "file_size", "file_mtime_ns"))
    same = np.searchsorted(rows, first[rows])  # of each, the first one with its bytes
    oldest = mtime_ns.copy()
    np.minimum.at(oldest, same, mtime_ns)
    alone = np.flatnonzero(same == np.arange(len(rows)))
    order = alone[grouping.preference(image_size[alone], file_size[alone], oldest[alone])]
    chains = _Chains(rows, image_size, matched)
    keep = grouping.kept_ones(order, len(rows), *(np.searchsorted(rows, end) for end in (matched.first, matched.second)), chains.joins)[
        same
    ]

    def photo(row, kind=None):
        score, matrix, known = chains.known.get(same[row], (1.0, np.eye(2, 3), kind))
        size = tuple(image_size[row].tolist())
        if matrix is not None and known is None:
            known = "+".join(changes(matrix, size, tuple(image_size[keep[row]].tolist()))) or EDITED
        name = photos.names[int(rows[row])]
        return Photo(name, size, int(file_size[row]), int(mtime_ns[row]), known, score, matrix, there.path_of(name))

    groups, members = [], np.argsort(keep, kind="stable")
    starts = np.flatnonzero(np.diff(keep[members], prepend=-1))
    for group in np.split(members, starts[1:]):
        if len(group) > 1:
            equal = sorted((row for row in group.tolist() if same[row] == keep[row]), key=lambda row: (mtime_ns[row], row))
            others = sorted((photo(row) for row in group.tolist() if same[row] != keep[row]), key=lambda one: (-one.score, one.name))
            groups.append([photo(row, EXACT if number else KEEP) for number, row in enumerate(equal)] + others)
    return sorted(groups, key=lambda group: group[0].name)
