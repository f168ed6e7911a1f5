"""What the protocols share: a ground truth's questions to a `Result`."""

import dataclasses

import numpy as np

from imgret import registry
from imgret.errors import ImgretError, UsageError
from imgret.evaluation import conventions, measures
from imgret.evaluation.questions import JUNK, QUERY, Question, find
from imgret.evaluation.result import Result, qualified
from imgret.names import shown, to_text

FINITE_SUM = "finite sum: mean over the positives of the precision at their ranks; not interpolated"
TRAPEZOID = "area under the precision-recall curve by trapezoids, as the official program computes it"
MEASURES = (
    "P@k divides by k, also where the list is shorter; R@k is the part of the positives in the first k;"
    " mP@k is precision at min(k, rank of the last positive)"
)
TRUNCATION = "a positive that is not in the list counts as never found"
WHOLE = "whole photos ask, unless the ranking says otherwise"
CROP = "the ground truth has a box for each query, and figures are usually of queries that are described within it (extract --boxes)"
SELF_REMOVED = "the query photo itself is taken out of its list, the ranks behind it close up, and it is no positive"

CLASSIC = ("p@1", "p@5", "p@10", "r@1", "r@10", "r@100", "mp@1", "mp@5", "mp@10")
_MEASURES = {  # of ranks, offsets, positives and k
    "p": lambda ranks, offsets, _, k: measures.precision_at(ranks, offsets, k),
    "r": measures.recall_at,
    "mp": measures.revisited_precision_at,
    "recall": lambda ranks, offsets, _, k: measures.recalled_at(ranks, offsets, k),
    "mrr": lambda ranks, offsets, *_: measures.reciprocal_rank(ranks, offsets),
    "r-precision": lambda ranks, offsets, positives, _: measures.r_precision(ranks, offsets, positives),
    "map@r": lambda ranks, offsets, positives, _: measures.map_at_r(ranks, offsets, positives),
    "ns": lambda ranks, offsets, *_: measures.ns_score(ranks, offsets),
}


class Protocol:
    """Fixes every convention of an evaluation.

    A subclass has `ask(lists, truth)`, which gives an `imgret.evaluation.questions.Asked`, and `_read_folder(path, truth)`.

    Parameters
    ----------
    params : Params, optional

    Attributes
    ----------
    name : str
    needs_truth, takes_truth : bool
        Whether a ground truth must, and whether it may, be given.
    truth_is : str
        What the ground truth is, for messages and help.
    conventions : dict of str to str
        `ap`, `positives`, `query`, `crop`, `junk`, `truncation`, `names`, `measures`.
    average_precision : callable
        One of those in `imgret.evaluation.measures`.
    removes_query : bool
        Whether the query photo itself is taken out of its list.
    primary : str or None
        The measure that statistics are about, `map` or one of `reported`; None where it is no mean over queries.
    reported : tuple of str
        The measures beside `map`.
    """

    needs_truth = False
    takes_truth = False
    truth_is = ""
    average_precision = staticmethod(measures.average_precision)
    removes_query = True
    primary = "map"
    reported = CLASSIC

    @dataclasses.dataclass(frozen=True)
    class Params(registry.Params):
        """No parameters."""

    def __init__(self, params=None):
        self.params = self.Params() if params is None else params

    @property
    def value(self):
        """What the records call a query's own value: `ap`, or the primary measure."""
        return "ap" if self.primary in ("map", None) else self.primary

    def evaluate(self, lists, truth=None):
        """Evaluate ranked lists: `judge(lists, truth).result()`.

        Returns
        -------
        imgret.evaluation.result.Result
        """
        return self.judge(lists, truth).result()

    def judge(self, lists, truth=None):
        """Ask ranked lists what the ground truth asks.

        Parameters
        ----------
        lists : RankedLists
        truth : str or path-like, optional
            The ground truth.

        Returns
        -------
        Judged

        Raises
        ------
        UsageError
            If the protocol needs a ground truth and none is given, or the other way round.
        ImgretError
            If the ground truth is malformed, if it shares no name with the lists, if no query can be evaluated, or if a list names a photo
            twice.
        """
        self.check_truth(truth)
        return self.judged(lists, self.ask(lists, truth))

    def judged(self, lists, asked):
        """The `Judged` of questions."""
        return Judged(self, lists, asked)

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


class Judged:
    """A ranking, and what a protocol asks of it.

    Parameters
    ----------
    protocol : Protocol
    lists : imgret.formats.lists.RankedLists
    asked : imgret.evaluation.questions.Asked

    Attributes
    ----------
    found : dict of str to imgret.evaluation.questions.Found
        By setting.
    values : dict of str to ndarray
        The primary measure of each query, by setting, in the order of `asked.settings`; NaN where it is no mean over queries.

    Raises
    ------
    ImgretError
        If no query can be evaluated, or a list names a photo twice.
    """

    def __init__(self, protocol, lists, asked):
        self.protocol, self.lists, self.asked = protocol, lists, asked
        if not any(asked.settings.values()):
            raise ImgretError(
                f"no query of {lists.label} can be evaluated by protocol {protocol.name}: {asked.skipped} may not ask,"
                f" {asked.left_out} have no positive"
            )
        self._by_name = all(len({question.name for question in each}) == len(each) for each in asked.settings.values())
        self.found = find(lists, asked, protocol.removes_query)
        self.values = {setting: self._values(setting) for setting in self.found}

    def _values(self, setting):
        return self._columns(setting, (self.protocol.primary,))[self.protocol.primary]

    def _columns(self, setting, names):
        """Measures of each query: dict of name to ndarray, shape (Q,)."""
        found = self.found[setting]
        ranks, offsets = found.ranks()
        columns = {}
        for name in names:
            kind, _, k = name.partition("@")
            kind, k = (kind, int(k)) if k.isdecimal() else (name, None)
            if name == "map":
                columns[name] = self.protocol.average_precision(ranks, offsets, found.positives)
            else:
                columns[name] = _MEASURES[kind](ranks, offsets, found.positives, k)
        return columns

    def identity(self, question):
        """What tells a question from all others, bytes: its name, or the list's where a photo asks several times."""
        return question.name if self._by_name else self.lists.query_ids[question.row]

    def identities(self):
        """All of them, in the order of the questions: list of bytes."""
        return list(dict.fromkeys(map(self.identity, self.asked.questions())))

    def means(self, setting):
        """The measures: dict of name to float."""
        names = dict.fromkeys((self.protocol.primary, *self.protocol.reported))
        return {name: float(column.mean()) for name, column in self._columns(setting, names).items()}

    def result(self):
        """The `imgret.evaluation.result.Result`."""
        values, settings, per_query = {}, {}, []
        for setting, questions in self.asked.settings.items():
            if setting:
                settings[setting] = {"queries": len(questions), "excluded": self.asked.excluded[setting]}
            if questions:
                values |= {qualified(setting, name): value for name, value in self.means(setting).items()}
                per_query += self.records(setting)
        return Result(
            protocol=self.protocol.name,
            label=self.lists.label,
            conventions=dict(self.protocol.conventions),
            queries=len(self.identities()),
            measures=values,
            settings=settings,
            truncation=int(self.lists.lengths[self._rows()].max()),
            excluded=self.asked.left_out,
            skipped=self.asked.skipped,
            absent=[to_text(name) for name in self.asked.absent],
            warnings=[*self.lists.warnings, *self.asked.warnings, *self._uncropped(), *self._shortages()],
            per_query=per_query,
        )

    def _rows(self):
        """Rows of the lists that are asked, each once."""
        return sorted({question.row for question in self.asked.questions()})

    def records(self, setting):
        """One record per query; see `Result.per_query`."""
        found = self.found[setting]
        ranks, offsets = found.ranks()
        ns = self._columns(setting, ("ns",))["ns"] if "ns" in self.protocol.reported else None
        records = []
        for place, question in enumerate(self.asked.settings[setting]):
            record = {"query": to_text(question.name)}
            query_id = self.lists.query_ids[question.row]
            if query_id != self.lists.query_names[question.row]:
                record["id"] = to_text(query_id)
            if setting:
                record["setting"] = setting
            first, last = offsets[place], offsets[place + 1]
            value = float(self.values[setting][place])
            record |= {
                self.protocol.value: None if np.isnan(value) else value,
                "positives": question.positives,
                "found": int(last - first),
                "first_hit": int(ranks[first]) if last > first else None,
            }
            if ns is not None:
                record["ns"] = int(ns[place])
            records.append(record)
        return records

    def marks(self, setting, length):
        """What the first `length` results of each list are, as letters.

        h a hit, m a miss, j junk, q the query photo itself; j and q are taken out before ranks are counted, but for a query photo that the
        protocol leaves in.

        Returns
        -------
        list of str
            In the order of the setting's questions.
        """
        found, letters = self.found[setting], []
        for place, question in enumerate(self.asked.settings[setting]):
            marks = ["m"] * min(length, int(self.lists.lengths[question.row]))
            part = slice(found.offsets[place], found.offsets[place + 1])
            for where, kind in zip(found.places[part].tolist(), found.kinds[part].tolist(), strict=True):
                if where < len(marks):
                    marks[where] = {JUNK: "j", QUERY: "q"}.get(kind, "h")
            if not self.protocol.removes_query and question.own >= 0:
                top = self.lists.ids[question.row, : len(marks)]
                marks = ["q" if photo == question.own else mark for photo, mark in zip(top.tolist(), marks, strict=True)]
            letters.append("".join(marks))
        return letters

    def curves(self, levels=101):
        """Mean interpolated precision at recalls from 0 to 1, evenly spread: dict of setting to ndarray, shape (levels,)."""
        return {
            setting: measures.interpolated_precision(*found.ranks(), found.positives, levels).mean(axis=0)
            for setting, found in self.found.items()
            if len(found.positives)
        }

    def side_by_side(self):
        """The means under other conventions; see `imgret.evaluation.conventions.side_by_side`."""
        return conventions.side_by_side(self.lists, self.asked, self.protocol.removes_query, self.protocol.average_precision)

    def _uncropped(self):
        """A warning about queries that asked with more than their box."""
        boxes = self.lists.boxes
        if self.protocol.conventions["crop"] != CROP or boxes is None:
            return []
        whole = int(np.isnan(boxes[self._rows()]).any(axis=1).sum())
        return noted(whole, "query", "described as a whole photo, not within the ground truth's box (extract --boxes)")

    def _shortages(self):
        """Warnings about positives that no list can show."""
        if self.protocol.primary not in ("map", None):
            return self._ended()
        worst = {}  # by list, of the setting that lacks most
        for setting, found in self.found.items():
            there = np.diff(found.ranks()[1])
            for question, positives, count in zip(self.asked.settings[setting], found.positives, there, strict=True):
                if question.row not in worst or positives - count > worst[question.row][0] - worst[question.row][1]:
                    worst[question.row] = (positives, count)
        rows = np.array(list(worst))
        positives, there = np.array(list(worst.values())).T
        lengths = self.lists.lengths[rows]
        cut = lengths < len(self.lists.names) if self.lists.whole_gallery else np.ones(len(rows), dtype=bool)
        short = cut & (there < positives)
        warnings = []
        if short.any():
            missing = int((positives - there)[short].sum())
            warnings.append(
                f"{counted(missing, 'positive')} of {counted(int(short.sum()), 'query')} not in the list, which ends at rank"
                f" {_span(lengths[short])}: counted as never found; a longer list (search -k) may score higher"
            )
        few = cut & (lengths < positives)
        if few.any():
            warnings.append(
                f"{counted(int(few.sum()), 'list')} shorter than the query has positives: average precision 1 cannot be reached"
            )
        return warnings

    def _ended(self):
        """A warning about lists that end before the k of a recall@k."""
        lengths = self.lists.lengths[self._rows()]
        k = max(int(name.rpartition("@")[2]) for name in self.protocol.reported)
        short = (lengths < k) & (lengths < len(self.lists.names) if self.lists.whole_gallery else True)
        if not short.any():
            return []
        return [f"{counted(int(short.sum()), 'list')} ending at rank {_span(lengths[short])}: recall beyond it is that at the end"]


def _span(lengths):
    low, high = int(lengths.min()), int(lengths.max())
    return str(low) if low == high else f"{low} to {high}"


def counted(count, noun):
    """`3 lists`, `1 query`."""
    plural = noun[:-1] + "ies" if noun.endswith("y") else noun + "s"
    return f"{count} {noun if count == 1 else plural}"


def noted(count, noun, what):
    """A list of one sentence about so many, or of none where there are none."""
    return [f"{counted(count, noun)} {what}"] if count else []


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
    return noted(count, "query", "of the ground truth without a list in the ranking: left out of the means")


def partial_gallery_warning(lists, remedy):
    """One sentence where the positives are counted from lists that do not tell the whole gallery, or none."""
    if lists.whole_gallery:
        return []
    return [f"the positives are counted from the names that occur in the lists, and some photos may occur in none: {remedy}"]
