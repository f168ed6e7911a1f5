"""Which figures of an evaluation are printed: all of them, or those asked for by name."""

import dataclasses

from imgret.errors import UsageError, quoted
from imgret.evaluation.result import qualified

COUNTS = ("queries", "excluded", "skipped", "truncation")
OF_SETTING = ("queries", "excluded")  # counts that each of several settings has of its own


@dataclasses.dataclass(frozen=True)
class Column:
    """One figure of all runs.

    Attributes
    ----------
    name : str
    values : list of float, int or None
        One per run; None where it has none.
    intervals : list of tuple of float, or None
        One per run: the ends of its 95 % interval; of a figure that has none in any run, an empty list.
    """

    name: str
    values: list
    intervals: list

    @property
    def counted(self):
        """Whether it is a count, and not a measure."""
        return self.name.rpartition(".")[2] in COUNTS


def columns(evaluation):
    """The figures to print, in the order asked for, or measures first: list of Column.

    Parameters
    ----------
    evaluation : imgret.evaluation.comparison.Evaluation
    """
    results = evaluation.results
    found = {name: [result.measures.get(name) for result in results] for name in _measured(results)}
    for setting in _settings(results):
        for what in OF_SETTING:
            found[f"{setting}.{what}"] = [result.settings.get(setting, {}).get(what) for result in results]
    found |= {name: [getattr(result, name) for result in results] for name in COUNTS}
    names = list(found) if evaluation.shown is None else evaluation.shown
    return [Column(name, found.get(name, [None] * len(results)), _intervals(results, name)) for name in names]


def _intervals(results, name):
    found = [result.intervals.get(name) for result in results]
    return [] if all(ends is None for ends in found) else found


def _measured(results):
    return list(dict.fromkeys(name for result in results for name in result.measures))


def _settings(results):
    return list(dict.fromkeys(setting for result in results for setting in result.settings))


def asked(names, protocol):
    """Names of figures as a list; one that a protocol has not is refused, before any file is looked at.

    Parameters
    ----------
    names : str or sequence of str, or None
        "map,r@1", or the same in parts; None for all.
    protocol : imgret.evaluation.protocols.base.Protocol

    Returns
    -------
    list of str

    Raises
    ------
    UsageError
    """
    if names is None:
        return []
    names = [part.strip() for part in names.split(",")] if isinstance(names, str) else list(names)
    valid = (*protocol.figures, *COUNTS)
    for name in names:
        if name.rpartition(".")[2] not in valid:
            raise UsageError(f"--measures: protocol {protocol.name} has no '{quoted(name)}'; it has: {', '.join(valid)}")
    return names


def chosen(names, protocol, results):
    """The figures asked for, by their full names, each once: of several settings, a measure without one stands for all of them.

    Parameters
    ----------
    names : sequence of str
        As `asked` lets them pass; none for all.
    protocol : imgret.evaluation.protocols.base.Protocol
    results : sequence of imgret.evaluation.result.Result

    Returns
    -------
    list of str, or None
        None where no names are given: all of them.

    Raises
    ------
    UsageError
        For a setting that there is none of.
    """
    settings, full = _settings(results), []
    for name in names:
        setting, _, figure = name.rpartition(".")
        if setting and (setting not in settings or (figure in COUNTS and figure not in OF_SETTING)):
            there = f"its settings are: {', '.join(settings)}" if settings else "it has no settings"
            raise UsageError(f"--measures: protocol {protocol.name} has no '{quoted(name)}'; {there}")
        of = settings if not setting and settings and figure not in COUNTS else [setting]
        full += [qualified(each, figure) for each in of]
    return list(dict.fromkeys(full)) or None
