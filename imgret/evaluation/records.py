"""A record per query of all rankings, as lines of text."""

from imgret.evaluation.result import dumps
from imgret.names import to_bytes, tsv_escape


def records(evaluation):
    """The records of all runs; of several, with the run, and what the primary measure gained against the first.

    Parameters
    ----------
    evaluation : imgret.evaluation.comparison.Evaluation

    Yields
    ------
    dict
        See `imgret.evaluation.result.Result.per_query`; `run` and `difference` where there are several runs.
    """
    several = len(evaluation.results) > 1
    if not several:
        yield from evaluation.results[0].per_query
        return
    measure = evaluation.protocol.value
    first = {_key(record): record[measure] for record in evaluation.results[0].per_query}
    for number, result in enumerate(evaluation.results):
        for record in result.per_query:
            whole = {"run": result.label} | record
            if number:
                old, new = first.get(_key(record)), record[measure]
                whole["difference"] = None if old is None or new is None else new - old
            yield whole


def _key(record):
    return record["query"], record.get("id"), record.get("setting")


def json_lines(evaluation):
    """An object per record: iterator of str."""
    return map(dumps, records(evaluation))


def tsv_lines(evaluation):
    """A header of all names that any record has, and a line per record: iterator of str."""
    rows = list(records(evaluation))
    columns = list(dict.fromkeys(name for record in rows for name in record))
    yield "\t".join(columns)
    for record in rows:
        yield "\t".join(_cell(record.get(name)) for name in columns)


def _cell(value):
    if value is None:
        return ""
    return tsv_escape(to_bytes(value)) if isinstance(value, str) else repr(value)
