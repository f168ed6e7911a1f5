"""Several rankings under one protocol: each scored, with how sure that is, and compared with the first, or each with each."""

import dataclasses
import itertools
import re

import numpy as np

from imgret.errors import counted
from imgret.evaluation.result import qualified
from imgret.evaluation.statistics import bootstrap_interval, compare, holm
from imgret.names import to_text

EXTREMES = 5  # queries named on each side of a comparison
NAMED = 3  # rankings named by one warning


@dataclasses.dataclass(frozen=True)
class Evaluation:
    """Rankings under one protocol.

    Attributes
    ----------
    protocol : imgret.evaluation.protocols.base.Protocol
    judged : list of imgret.evaluation.judged.Judged
        One per ranking.
    results : list of imgret.evaluation.result.Result
        The same as numbers.
    comparisons : list of dict
        Each ranking after the first against the first, or every pair of them, per setting; see `comparison_of`. Of all pairs, with
        `p_adjusted`.
    notes : list of str
        What else a reader should know.
    shown : list of str, optional
        Names of the figures to print, in this order; all where it is None.
    """

    protocol: object
    judged: list
    results: list
    comparisons: list
    notes: list
    shown: list | None = None

    def warnings(self):
        """What a reader of the figures must know, each sentence once, with the rankings that it is about: list of str.

        Of sentences that differ in their numbers and examples only, the first stands for all.
        """
        alike = {}
        for result in self.results:
            for text in dict.fromkeys(result.warnings):
                alike.setdefault(_pattern(text), {}).setdefault(text, []).append(result.label)
        return [self._warning(texts) for texts in alike.values()] + self.notes

    def _warning(self, texts):
        (text, labels), total = next(iter(texts.items())), len(self.results)
        if len(labels) == total > 1:
            return f"{'both' if total == 2 else f'all {total}'} rankings: {text}"
        others = sum(map(len, texts.values())) - len(labels)
        likewise = f" (so it is, with other numbers, of {counted(others, 'other ranking')})" if others else ""
        more = f" and {len(labels) - NAMED} more" if len(labels) > NAMED else ""
        return f"{', '.join(labels[:NAMED])}{more}: {text}{likewise}"


def _pattern(text):
    """A sentence without its numbers, the names that it quotes, and what tells one from many."""
    return re.sub(r"ies\b", "y", re.sub(r"(?<!ie)s\b", "", re.sub(r"'.*?'|\d+", "#", text)))


def evaluated(judged, *, resamples, seed, conventions=False, all_pairs=False):
    """Score rankings, and compare each after the first with the first, or each with each.

    Parameters
    ----------
    judged : list of imgret.evaluation.judged.Judged
        Of one protocol.
    resamples, seed : int
        Of the bootstrap and the randomisation test; 0 resamples for neither.
    conventions : bool
        Also compute the means under other conventions.
    all_pairs : bool
        Compare every pair, and adjust the p-values by Holm's method: over all pairs and settings together.

    Returns
    -------
    Evaluation
    """
    protocol, results, comparisons, notes = judged[0].protocol, [], [], []
    for each in judged:
        intervals = _intervals(each, resamples, seed)
        compared = each.side_by_side() if conventions else []
        results.append(dataclasses.replace(each.result(), intervals=intervals, compared=compared))
    if protocol.primary is not None and resamples:
        for first, second in itertools.combinations(judged, 2) if all_pairs else ((judged[0], other) for other in judged[1:]):
            rows = [row for setting in first.values for row in comparison_of(first, second, setting, resamples, seed)]
            comparisons += rows
            if not rows:
                notes.append(f"{first.lists.label} and {second.lists.label} answer no query in common: they are not compared")
    if all_pairs:
        adjusted = holm([row["p_value"] for row in comparisons])
        comparisons = [row | {"p_adjusted": value} for row, value in zip(comparisons, adjusted, strict=True)]
    if len(judged) > 1 and protocol.primary is None:
        what = "is no mean over queries: the rankings are not compared, and have no intervals"
        notes.append(f"what protocol {protocol.name} reports {what}")
    return Evaluation(protocol, judged, results, comparisons, notes)


def _intervals(judged, resamples, seed):
    if judged.protocol.primary is None or not resamples:
        return {}
    return {
        qualified(setting, judged.protocol.primary): bootstrap_interval(values, resamples, seed)
        for setting, values in judged.values.items()
        if len(values)
    }


def comparison_of(first, second, setting, resamples, seed):
    """Two rankings on the queries that both answer: a list of one dict, or none where they share no query.

    Parameters
    ----------
    first, second : imgret.evaluation.judged.Judged
    setting : str
    resamples, seed : int

    Returns
    -------
    list of dict
        `first`, `second` (labels), `setting`, `measure`, `queries`, `only_first`, `only_second` (queries that the other does not answer),
        `difference`, `interval`, `p_value`, `better`, `worse`, `same`; `gained` and `lost`: the queries that differ most, each `query`,
        `first`, `second`.
    """
    before, after = (values_by_query(judged, setting) for judged in (first, second))
    names = [name for name in before if name in after]
    if not names:
        return []
    old, new = (np.array([values[name] for name in names]) for values in (before, after))
    found = compare(old, new, resamples, seed)
    order = np.lexsort((np.arange(len(names)), old - new))
    extremes = {}
    for side, sign, places in (("gained", 1, order), ("lost", -1, order[::-1])):
        chosen = [place for place in places[:EXTREMES] if sign * (new[place] - old[place]) > 1e-12]
        extremes[side] = [{"query": to_text(names[place]), "first": float(old[place]), "second": float(new[place])} for place in chosen]
    head = {"first": first.lists.label, "second": second.lists.label, "setting": setting, "measure": first.protocol.primary}
    alone = {"only_first": len(before) - len(names), "only_second": len(after) - len(names)}
    return [head | dataclasses.asdict(found) | alone | extremes]


def values_by_query(judged, setting):
    """The primary measure by the query's own name: dict of bytes to float."""
    questions = judged.asked.settings.get(setting, ())
    return dict(zip(map(judged.identity, questions), judged.values.get(setting, ()), strict=True))
