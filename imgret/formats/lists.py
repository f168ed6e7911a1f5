"""Ranked lists: the one form that every ranking takes before it is evaluated, and what its readers share."""

import collections
import copy
import dataclasses
import itertools
import operator
import os

import numpy as np

from imgret.errors import ImgretError
from imgret.names import shown

_SPARE_CELLS = 1 << 28  # a matrix of lists may be this large, or else four times as large as what it holds


@dataclasses.dataclass(frozen=True, eq=False)
class RankedLists:
    """Q ranked lists over N gallery photos.

    Parameters
    ----------
    label : str
        What the ranking is called in tables and messages.
    query_names : sequence of bytes, length Q
        The query photos' names (`os.fsencode`).
    query_ids : sequence of bytes, length Q
        The queries' own names; they differ from the photos' where one photo asks several times.
    names : sequence of bytes, length N
        The gallery photos' names.
    ids : ndarray, shape (Q, k), integer
        Positions in `names`, best first; -1 where the list is shorter.
    scores : ndarray, shape (Q, k), float32, or None
        Higher is better, descending along a list; NaN where there is no id.
    whole_gallery : bool
        Whether `names` is all that was searched; otherwise it is what the lists happen to hold.
    warnings : sequence of str
        What a reader should know of how they were read, one sentence each.
    boxes : ndarray, shape (Q, 4), or None
        x1, y1, x2, y2 of the box that each query asked with, in pixels of its photo; NaN where it asked with all of it. None where nothing
        is known of it.
    evidence : ndarray, shape (Q, L), float32, or None
        What was counted of the photos in the first L ranks; NaN where nobody looked. Any other value may be there: it decides nothing.
    counts : str
        What is counted ("inliers"); "" where that is not known.
    enough : float
        From how many on a photo counts as verified; infinite where that is not known.
    maps : ndarray, shape (Q, L, 3, 3), float32, or None
        Homographies from places of the query photo to places of each of these photos, in pixels of the upright photos at full size; NaN
        where none is known. Any other value may be there.

    Raises
    ------
    ImgretError
        If there is no query, or lengths, ids or scores cannot be right: the arrays may come from a stranger's file. That an id occurs
        twice in a list is found when the list is evaluated.
    """

    label: str
    query_names: list
    query_ids: list
    names: list
    ids: np.ndarray
    scores: np.ndarray | None = None
    whole_gallery: bool = True
    warnings: tuple = ()
    boxes: np.ndarray | None = None
    evidence: np.ndarray | None = None
    counts: str = ""
    enough: float = np.inf
    maps: np.ndarray | None = None

    def __post_init__(self):
        for field in ("query_names", "query_ids", "names"):
            object.__setattr__(self, field, list(getattr(self, field)))
        if len(set(self.query_ids)) < len(self.query_ids):
            name, _ = collections.Counter(self.query_ids).most_common(1)[0]
            raise self._damaged(f"two lists of query {shown(name)}")
        ids = np.asarray(self.ids)
        object.__setattr__(self, "ids", ids)
        count = len(self.query_names)
        if count == 0:
            raise ImgretError(f"{self.label} holds no query: there is nothing to evaluate")
        if ids.ndim != 2 or ids.shape[0] != count or len(self.query_ids) != count or not np.issubdtype(ids.dtype, np.integer):
            raise self._damaged(f"{count} queries, {len(self.query_ids)} query ids, and ids of shape {ids.shape} and type {ids.dtype}")
        if self.scores is not None:
            object.__setattr__(self, "scores", np.asarray(self.scores))
            if self.scores.shape != ids.shape or not np.issubdtype(self.scores.dtype, np.floating):
                raise self._damaged(f"ids of shape {ids.shape}, and scores of shape {self.scores.shape} and type {self.scores.dtype}")
        lengths = np.full(count, ids.shape[1], dtype=np.int64)
        low, high = (int(ids.min()), int(ids.max())) if ids.size else (0, -1)
        if low < -1 or high >= len(self.names):
            raise self._damaged(f"ids from {low} to {high}, while there are {len(self.names)} names")
        for query, row in enumerate(ids):
            if low < 0:
                valid = row >= 0
                length = lengths[query] = np.count_nonzero(valid)
                if not valid[:length].all():
                    raise self._damaged(f"a gap in the list of query {shown(self.query_ids[query])}")
            if self.scores is not None:
                scores = self.scores[query, : lengths[query]]
                if len(scores) and not ((scores[1:] <= scores[:-1]).all() and scores[0] == scores[0]):
                    query = shown(self.query_ids[query])
                    nan = np.isnan(scores).any()
                    raise self._damaged(f"NaN among the scores of query {query}" if nan else f"scores of query {query} that do not descend")
        object.__setattr__(self, "lengths", lengths)
        for field, beyond in (("evidence", ()), ("maps", (3, 3))):
            self._check_looked_at(field, beyond)

    def _check_looked_at(self, field, beyond):
        """Refuse what is not of the first ranks of each query, a number or a matrix each."""
        values = getattr(self, field)
        if values is None:
            return
        values = np.asarray(values)
        object.__setattr__(self, field, values)
        ranks = values.shape[1] if values.ndim > 1 else -1
        if values.shape != (len(self.ids), ranks, *beyond) or ranks > self.ids.shape[1] or not np.issubdtype(values.dtype, np.floating):
            raise self._damaged(f"ids of shape {self.ids.shape}, and {field} of shape {values.shape} and type {values.dtype}")

    def called(self, label):
        """The same lists under another label."""
        other = copy.copy(self)
        object.__setattr__(other, "label", label)
        return other

    def _damaged(self, what):
        return ImgretError(f"{self.label} is damaged ({what}): make the ranking again")

    def positions(self):
        """name -> id of the gallery photos.

        Raises
        ------
        ImgretError
            If two gallery photos have one name.
        """
        self.check_names()
        return dict(zip(self.names, range(len(self.names)), strict=True))

    def check_names(self):
        """Refuse a gallery in which two photos have one name.

        Raises
        ------
        ImgretError
        """
        if all(map(operator.lt, self.names, self.names[1:])):  # as stores have them
            return
        if len(set(self.names)) < len(self.names):
            name, _ = collections.Counter(self.names).most_common(1)[0]
            raise self._damaged(f"two gallery photos named {shown(name)}")


class Numbering(collections.defaultdict):
    """key -> 0, 1, 2 ... in order of first appearance; counting happens in C."""

    def __init__(self):
        super().__init__(itertools.count().__next__)

    def of(self, keys, count):
        return np.fromiter(map(self.__getitem__, keys), dtype=np.int32, count=count)


def merge_names(names):
    """(distinct names, for each of `names` its position among them): two spellings may have become one name."""
    numbering = Numbering()
    where = numbering.of(names, len(names))
    return list(numbering), where


def matrix(path, rows):
    """Lists of different lengths as one matrix with -1 (ids) or NaN (scores) behind the shorter ones."""
    longest = max(map(len, rows))
    if len(rows) * longest > max(_SPARE_CELLS, 4 * sum(map(len, rows))):
        raise ImgretError(f"{path} has {len(rows)} lists of very different lengths (the longest: {longest}): cut or split it")
    dtype = rows[0].dtype
    matrix = np.full((len(rows), longest), -1 if np.issubdtype(dtype, np.integer) else np.nan, dtype=dtype)
    for place, row in zip(matrix, rows, strict=True):
        place[: len(row)] = row
    return matrix


def refuse_twice(path, ids, lines, place, names):
    """Refuse an id that occurs twice, naming both lines."""
    order = np.arange(len(ids))
    place[ids[::-1]] = order[::-1]  # the first occurrence stays
    twice = place[ids] != order
    if twice.any():
        second = int(np.argmax(twice))
        name, first = names[ids[second]], lines[place[ids[second]]]
        raise ImgretError(f"{path}:{lines[second]}: {shown(name)} is listed twice for one query, first in line {first}")


def label_of(path):
    """What a ranking is called: its path, as it was given."""
    return os.fsdecode(path).rstrip("/") or "/"
