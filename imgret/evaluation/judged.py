"""A ranking as a protocol sees it: from questions to values, records and marks."""

import numpy as np

from imgret.errors import ImgretError
from imgret.evaluation import conventions, measures
from imgret.evaluation.caveats import caveats
from imgret.evaluation.questions import JUNK, QUERY, find
from imgret.evaluation.result import Result, qualified
from imgret.names import to_text


class Judged:
    """A ranking, and what a protocol asks of it.

    Parameters
    ----------
    protocol : imgret.evaluation.protocols.base.Protocol
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
            if name == "map":
                columns[name] = self.protocol.average_precision(ranks, offsets, found.positives)
            else:
                columns[name] = measures.named(name, ranks, offsets, found.positives)
        return columns

    def identity(self, question):
        """What tells a question from all others, bytes: its name, or the list's where a photo asks several times."""
        return question.name if self._by_name else self.lists.query_ids[question.row]

    def identities(self):
        """All of them, in the order of the questions: list of bytes."""
        return list(dict.fromkeys(map(self.identity, self.asked.questions())))

    def means(self, setting):
        """The measures: dict of name to float."""
        return {name: float(column.mean()) for name, column in self._columns(setting, self.protocol.figures).items()}

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
            truncation=int(self.lists.lengths[self.rows()].max()),
            excluded=self.asked.left_out,
            skipped=self.asked.skipped,
            absent=[to_text(name) for name in self.asked.absent],
            warnings=[*self.lists.warnings, *self.asked.warnings, *caveats(self)],
            per_query=per_query,
        )

    def rows(self):
        """Rows of the lists that are asked, each once, ascending: list of int."""
        return sorted({question.row for question in self.asked.questions()})

    def records(self, setting):
        """One record per query; see `Result.per_query`."""
        found = self.found[setting]
        ranks, offsets = found.ranks()
        counts = self._columns(setting, self.protocol.recorded)
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
            records.append(record | {name: int(column[place]) for name, column in counts.items()})
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
