"""From questions to ranks: what a ground truth asks of ranked lists, and where in the lists the answers are."""

import dataclasses

import numpy as np

from imgret.errors import ImgretError
from imgret.evaluation.measures import kept
from imgret.names import shown

HIT, JUNK, QUERY = 1, 2, 3  # what a photo in a list can be, besides a miss
_BLOCK = 1 << 15  # ids at once: their positions stay in the processor's cache
_NONE = np.empty(0, dtype=np.int64)


@dataclasses.dataclass(frozen=True)
class Question:
    """One list, and what the ground truth says about it.

    Attributes
    ----------
    row : int
        Which list.
    name : bytes
        What the query is called in the answer: by the ground truth, or else as its photo.
    positives : int
        How many the ground truth gives, whether the gallery has them or not.
    ids : ndarray of int
        Gallery ids of the positives that the gallery has; distinct. `own` may be among them where the protocol takes the query photo out:
        the photos of a group can then share one array.
    junk : ndarray of int
        Gallery ids that are taken out of this list; they win over `ids`.
    own : int
        Gallery id of the query photo itself, -1 where the gallery has it not.
    absent : tuple of bytes
        Names of the positives that the gallery has not, where the ground truth gives names; `name` among them is none.
    itself : bool
        Whether `positives` counts the query photo itself, in the gallery or not.
    box : tuple of float, or None
        x1, y1, x2, y2 of the region asked for, in pixels of the query photo, where the ground truth gives one.
    """

    row: int
    name: bytes
    positives: int
    ids: np.ndarray
    junk: np.ndarray = dataclasses.field(default_factory=lambda: _NONE)
    own: int = -1
    absent: tuple = ()
    itself: bool = False
    box: tuple | None = None


@dataclasses.dataclass(frozen=True)
class Asked:
    """What a ground truth asks of a ranking.

    Attributes
    ----------
    settings : dict of str to list of Question
        By setting: "" where there is only one, `easy`, `medium` and `hard` for the revisited protocols.
    excluded : dict of str to int
        Per setting: queries without a positive, left out of the means.
    left_out : int
        Queries without a positive in any setting.
    skipped : int
        Queries of the ranking that may not ask, or that the ground truth does not know.
    absent : list of bytes
        Positives of the ground truth that no list can hold, since the gallery has them not.
    junk : ndarray of int
        Gallery ids that are taken out of every list.
    warnings : list of str
        One sentence each.
    pairs : int
        Positives of all queries, also of those without a list (`pairs`).
    """

    settings: dict
    excluded: dict
    left_out: int
    skipped: int = 0
    absent: list = dataclasses.field(default_factory=list)
    junk: np.ndarray = dataclasses.field(default_factory=lambda: _NONE)
    warnings: list = dataclasses.field(default_factory=list)
    pairs: int = 0

    def questions(self):
        """Yield all questions, setting by setting."""
        for questions in self.settings.values():
            yield from questions


class Group:
    """The gallery's photos of a group, which its questions share.

    Parameters
    ----------
    photos : ndarray of int
        Places in the ground truth.
    ids : ndarray, shape (N,), int
        Gallery id of each place, -1 where the gallery has it not.
    names : sequence of bytes
        Name of each place.
    """

    def __init__(self, photos, ids, names):
        known = ids[photos]
        self.photos, self.ids = photos, known[known >= 0]
        self.absent = tuple(names[photo] for photo in photos[known < 0])

    def asked_by(self, row, name, own, member):
        """The `Question` of a photo, which is no positive of its own; `member` says whether it is in the group."""
        return Question(row, name, len(self.photos) - member, self.ids, own=own, absent=self.absent)


def ids_of(positions, names):
    """Gallery id of each name, -1 where the gallery has none."""
    return np.fromiter((positions.get(name, -1) for name in names), dtype=np.int64)


@dataclasses.dataclass(frozen=True)
class Found:
    """Where the photos that matter are in the lists of Q questions, packed.

    Attributes
    ----------
    positives : ndarray, shape (Q,), int64
        How many the ground truth gives each question.
    offsets : ndarray, shape (Q + 1,), int64
        Question q owns `places[offsets[q]:offsets[q + 1]]`.
    places : ndarray, shape (M,), int64
        From 0, ascending within a question, before anything is taken out.
    kinds : ndarray, shape (M,), int8
        `HIT`, `JUNK` or `QUERY` (the query photo itself where it is taken out).
    """

    positives: np.ndarray
    offsets: np.ndarray
    places: np.ndarray
    kinds: np.ndarray

    def ranks(self, hits=(HIT,), removed=(JUNK, QUERY)):
        """Ranks of the hits, from 1, once what is removed has been taken out: (ranks, offsets), packed for `measures`.

        Parameters
        ----------
        hits, removed : tuple of int
            The kinds that count, and those that are taken out; others stay and count for nothing.
        """
        gone = np.isin(self.kinds, removed)
        before = np.concatenate([[0], np.cumsum(gone)])
        counts = np.diff(self.offsets)
        closed = self.places + 1 - (before[:-1] - np.repeat(before[self.offsets[:-1]], counts))
        counting = np.isin(self.kinds, hits)
        return closed[counting], kept(counting, self.offsets)


def find(lists, asked, removes_query):
    """Look through the lists once, whatever the number of settings.

    Parameters
    ----------
    lists : imgret.formats.lists.RankedLists
    asked : Asked
    removes_query : bool
        Whether the query photo itself is taken out of its list.

    Returns
    -------
    dict of str to Found

    Raises
    ------
    ImgretError
        If a list names a photo twice.
    """
    rows = {}
    for setting, questions in asked.settings.items():
        for place, question in enumerate(questions):
            rows.setdefault(question.row, []).append((setting, place, question))
    found = {setting: [None] * len(questions) for setting, questions in asked.settings.items()}
    base = np.zeros(len(lists.names), dtype=np.int8)  # what a photo is in every list
    base[asked.junk] = JUNK
    kind, marked, look = base.copy(), base > 0, _Look(lists)
    for row in sorted(rows):
        ids = lists.ids[row, : lists.lengths[row]]
        relevant = np.concatenate([part for _, _, question in rows[row] for part in (question.ids, question.junk, _own(question))])
        marked[relevant] = True
        places = look.through(row, ids, marked)
        marked[relevant] = base[relevant] > 0
        there = ids[places]
        for setting, number, question in rows[row]:
            kind[question.ids] = np.maximum(base[question.ids], HIT)
            kind[question.junk] = JUNK
            if removes_query:
                kind[_own(question)] = QUERY
            kinds = kind[there]
            for part in (question.ids, question.junk, _own(question)):
                kind[part] = base[part]
            some = kinds > 0
            found[setting][number] = (places[some], kinds[some])
    return {setting: _packed(asked.settings[setting], parts) for setting, parts in found.items()}


def _own(question):
    return np.array([question.own] if question.own >= 0 else [], dtype=np.int64)


def _packed(questions, parts):
    offsets = np.zeros(len(parts) + 1, dtype=np.int64)
    np.cumsum([len(places) for places, _ in parts], out=offsets[1:])
    places = np.concatenate([places for places, _ in parts]) if parts else _NONE
    kinds = np.concatenate([kinds for _, kinds in parts]) if parts else _NONE.astype(np.int8)
    return Found(np.array([question.positives for question in questions], dtype=np.int64), offsets, places, kinds)


class _Look:
    """Looks through lists, one after the other, in memory that is set aside once."""

    def __init__(self, lists):
        self._lists = lists
        self._seen = np.zeros(len(lists.names), dtype=bool)  # all False before and after
        self._block = np.empty(_BLOCK, dtype=np.intp)

    def through(self, row, ids, marked):
        """Where the marked photos are in a list; refuses one that names a photo twice."""
        if len(ids) * 16 < len(self._seen):  # sorting a short list is less than clearing the whole of `seen`
            distinct = len(np.unique(ids))
        else:
            for start in range(0, len(ids), _BLOCK):
                part = ids[start : start + _BLOCK]
                block = self._block[: len(part)]
                block[:] = part
                self._seen[block] = True
            distinct = np.count_nonzero(self._seen)
            self._seen[:] = False
        if distinct < len(ids):
            _, first = np.unique(ids, return_index=True)
            again = np.setdiff1d(np.arange(len(ids)), first)[0]
            name, query = shown(self._lists.names[ids[again]]), shown(self._lists.query_ids[row])
            raise ImgretError(f"{self._lists.label} lists {name} twice for query {query}: make the ranking again")
        return self._places(ids, marked)

    @staticmethod
    def _places(ids, marked):
        low, end = int(marked.argmax()), len(marked) - int(marked[::-1].argmax())
        if end - low > len(marked) // 8 or not len(ids):
            return np.flatnonzero(marked.take(ids))
        # the photos that matter often lie together, beside a million distractors: two comparisons leave few to look up
        near = np.flatnonzero((ids >= low) & (ids < end))
        return near[marked[ids[near]]]
