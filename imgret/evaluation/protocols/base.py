"""What the protocols share: from questions (a list, its positives, what is taken out of it) to a `Result`."""

import dataclasses

import numpy as np

from imgret.errors import ImgretError, UsageError
from imgret.evaluation import measures
from imgret.evaluation.names import shown, to_text
from imgret.evaluation.result import Result

PRECISION_AT = (1, 5, 10)
RECALL_AT = (1, 10, 100)
REVISITED_AT = (1, 5, 10)

FINITE_SUM = "finite sum: mean over the positives of the precision at their ranks; not interpolated"
TRAPEZOID = "area under the precision-recall curve by trapezoids, as the official program computes it"
MEASURES = (
    "P@k divides by k, also where the list is shorter; R@k is the part of the positives in the first k;"
    " mP@k is precision at min(k, rank of the last positive)"
)
TRUNCATION = "a positive that is not in the list counts as never found"
SELF_REMOVED = "the query photo itself is taken out of its list, the ranks behind it close up, and it is no positive"


@dataclasses.dataclass(frozen=True)
class Question:
    """One list, and what the ground truth says about it.

    Attributes
    ----------
    row : int
        Which list.
    name : bytes
        What the query is called in the answer.
    positives : int
        How many the ground truth gives, whether the gallery has them or not.
    ids : ndarray of int
        Gallery ids of the positives that the gallery has; distinct.
    removed : ndarray of int
        Gallery ids that are taken out of this list; distinct. They win over `ids`.
    """

    row: int
    name: bytes
    positives: int
    ids: np.ndarray
    removed: np.ndarray


class Protocol:
    """Fixes every convention of an evaluation.

    Attributes
    ----------
    name : str
    needs_truth, takes_truth : bool
        Whether a ground truth must, and whether it may, be given.
    truth_is : str
        What the ground truth is, for messages and help.
    conventions : dict of str to str
        `ap`, `positives`, `query`, `junk`, `truncation`, `names`, `measures`.
    """

    needs_truth = False
    takes_truth = False
    truth_is = ""

    def evaluate(self, lists, truth=None):
        """Evaluate ranked lists.

        Parameters
        ----------
        lists : RankedLists
        truth : str or path-like, optional
            The ground truth.

        Returns
        -------
        Result

        Raises
        ------
        UsageError
            If the protocol needs a ground truth and none is given, or the other way round.
        ImgretError
            If the ground truth is malformed, if it shares no name with the lists, or if a list names a photo twice.
        """
        self.check_truth(truth)
        return self._evaluate(lists, truth)

    def read_folder(self, path, truth=None):
        """Read a folder of one list per query (`lists.read_folder`) with this protocol's queries and names.

        Returns
        -------
        RankedLists
        """
        self.check_truth(truth)
        return self._read_folder(path, truth)

    def check_truth(self, truth):
        """Refuse a ground truth that is missing or that nobody reads, before any file is looked at.

        Raises
        ------
        UsageError
        """
        if self.needs_truth and truth is None:
            raise UsageError(f"protocol {self.name} needs --truth PATH: {self.truth_is}")
        if truth is not None and not self.takes_truth:
            raise UsageError(f"protocol {self.name} takes no --truth: {self.conventions['positives']}")

    def _result(self, lists, questions, ap, warnings, *, globally_removed=None, excluded=0, skipped=0, ns=False):
        """Measures over `questions`, a list of `Question`; `ap` is one of the two average precisions of `measures`."""
        if not questions:
            raise ImgretError(
                f"no query of {lists.label} can be evaluated by protocol {self.name}: {skipped} may not ask, {excluded} have no positive"
            )
        ranks, offsets = _ranks(lists, questions, globally_removed)
        positives = np.array([question.positives for question in questions], dtype=np.int64)
        found = np.diff(offsets)
        aps = ap(ranks, offsets, positives)
        columns = {"map": aps}
        columns |= {f"p@{k}": measures.precision_at(ranks, offsets, k) for k in PRECISION_AT}
        columns |= {f"r@{k}": measures.recall_at(ranks, offsets, positives, k) for k in RECALL_AT}
        columns |= {f"mp@{k}": measures.revisited_precision_at(ranks, offsets, positives, k) for k in REVISITED_AT}
        if ns:
            columns["ns"] = measures.ns_score(ranks, offsets)
        first = np.full(len(questions), -1, dtype=np.int64)
        first[found > 0] = ranks[offsets[:-1][found > 0]]
        per_query = []
        for place, question in enumerate(questions):
            record = {"query": to_text(question.name)}
            query_id = lists.query_ids[question.row]
            if query_id != lists.query_names[question.row]:
                record["id"] = to_text(query_id)
            record |= {
                "ap": float(aps[place]),
                "positives": question.positives,
                "found": int(found[place]),
                "first_hit": int(first[place]) if first[place] > 0 else None,
            }
            if ns:
                record["ns"] = int(columns["ns"][place])
            per_query.append(record)
        rows = np.array([question.row for question in questions])
        return Result(
            protocol=self.name,
            label=lists.label,
            conventions=dict(self.conventions),
            queries=len(questions),
            measures={name: float(column.mean()) for name, column in columns.items()},
            truncation=int(lists.lengths[rows].max()),
            excluded=excluded,
            skipped=skipped,
            warnings=warnings + _shortages(lists, rows, positives, found),
            per_query=per_query,
        )


def _ranks(lists, questions, globally_removed):
    """Ranks of the positives found, from 1 and after removals, packed: (ranks, offsets)."""
    place = np.zeros(len(lists.names), dtype=np.int32)  # the walk is bound by memory: half the bytes of int64
    common = np.empty(0, dtype=np.int64) if globally_removed is None else globally_removed
    mask = None
    found = []
    for question in questions:
        row = lists.ranks(question.row, place)
        removed = question.removed
        if 0 < len(common) <= len(row):
            removed = np.concatenate([removed, common])
        gone = _places(row, place, removed)
        if len(common) > len(row):  # a look along the list is the shorter one
            if mask is None:
                mask = np.zeros(len(lists.names), dtype=bool)
                mask[common] = True
            gone = np.concatenate([gone, np.flatnonzero(mask[row])])
        gone = np.unique(gone)
        here = np.sort(_places(row, place, question.ids))
        if len(gone):
            before = np.searchsorted(gone, here)
            kept = gone[np.minimum(before, len(gone) - 1)] != here
            here = (here - before)[kept]
        found.append(here + 1)
    offsets = np.zeros(len(found) + 1, dtype=np.int64)
    np.cumsum([len(ranks) for ranks in found], out=offsets[1:])
    return np.concatenate(found), offsets


def _places(row, place, ids):
    """Where those of `ids` are that are in the list. `place` keeps other lists' places too, so each one is looked up again."""
    if len(row) == 0:
        return np.empty(0, dtype=np.int64)
    where = place[ids]
    inside = where < len(row)
    where, ids = where[inside], ids[inside]
    return where[row[where] == ids]


def _shortages(lists, rows, positives, found):
    """Warnings about positives that no list can show."""
    lengths = lists.lengths[rows]
    cut = lengths < len(lists.names) if lists.whole_gallery else np.ones(len(rows), dtype=bool)
    short = cut & (found < positives)
    warnings = []
    if short.any():
        missing = int((positives - found)[short].sum())
        warnings.append(
            f"{counted(missing, 'positive')} of {counted(int(short.sum()), 'query')} not in the list, which ends at rank"
            f" {_span(lengths[short])}: counted as never found; a longer list (search -k) may score higher"
        )
    few = cut & (lengths < positives)
    if few.any():
        warnings.append(
            f"{counted(int(few.sum()), 'list')} shorter than the number of positives of the query: average precision 1 cannot be reached"
        )
    return warnings


def _span(lengths):
    low, high = int(lengths.min()), int(lengths.max())
    return str(low) if low == high else f"{low} to {high}"


def counted(count, noun):
    """`3 lists`, `1 query`."""
    plural = noun[:-1] + "ies" if noun.endswith("y") else noun + "s"
    return f"{count} {noun if count == 1 else plural}"


def ids_of(positions, names):
    """Gallery id of each name, -1 where the gallery has none."""
    return np.fromiter((positions.get(name, -1) for name in names), dtype=np.int64)


def absent_warning(absent):
    """One sentence about ground-truth names that the ranking never names, or none."""
    if not absent:
        return []
    return [
        f"{counted(len(absent), 'positive photo')} of the ground truth nowhere in the ranking (for example {shown(min(absent))}):"
        " counted as never found"
    ]


def unasked_warning(count):
    """One sentence about ground-truth queries without a list, or none."""
    if not count:
        return []
    return [f"{counted(count, 'query')} of the ground truth without a list in the ranking: left out of the means"]


def partial_gallery_warning(lists, remedy):
    """One sentence where the positives are counted from lists that do not tell the whole gallery, or none."""
    if lists.whole_gallery:
        return []
    return [f"the positives are counted from the names that occur in the lists, and some photos may occur in none: {remedy}"]
