"""Several rankings under one protocol: each scored, with how sure that is, and compared with the first."""

import dataclasses

import numpy as np

from imgret.evaluation.result import qualified
from imgret.evaluation.statistics import bootstrap_interval, compare
from imgret.names import to_text

EXTREMES = 5  # queries named on each side of a comparison


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
        Each ranking after the first against the first, per setting; see `comparison_of`.
    notes : list of str
        What else a reader should know.
    """

    protocol: object
    judged: list
    results: list
    comparisons: list
    notes: list


def evaluated(judged, *, resamples, seed, conventions=False):
    """Score rankings, and compare each after the first with the first.

    Parameters
    ----------
    judged : list of imgret.evaluation.judged.Judged
        Of one protocol.
    resamples, seed : int
        Of the bootstrap and the randomisation test; 0 resamples for neither.
    conventions : bool
        Also compute the means under other conventions.

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
        for other in judged[1:]:
            comparisons += [row for setting in judged[0].values for row in comparison_of(judged[0], other, setting, resamples, seed)]
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
