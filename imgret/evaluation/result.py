"""What an evaluation says: measures, what they rest on, and one record per query."""

import dataclasses
import json

SCHEMA = "imgret-evaluation"
SCHEMA_VERSION = 1


@dataclasses.dataclass(frozen=True)
class Result:
    """Outcome of one ranking under one protocol.

    Attributes
    ----------
    protocol, label : str
        The protocol's name, and the ranking's.
    conventions : dict of str to str
        What the protocol fixes: `ap`, `positives`, `query`, `junk`, `truncation`, `names`, `measures`.
    queries : int
        Queries that the means are over; where there are several settings, of any of them.
    measures : dict of str to float
        Means over the queries by name (`map`, `p@1`, ...); where a protocol has several settings, each name begins with the setting's
        and a dot (`medium.map`).
    settings : dict of str to dict
        By setting: `queries` and `excluded`. Empty where there is only one.
    truncation : int
        Length of the longest list: nothing beyond it can be found.
    excluded : int
        Queries without a positive (in any setting), left out of the means.
    skipped : int
        Queries of the ranking that may not ask or that the ground truth does not know, left out of the means.
    absent : list of str
        Positives of the ground truth that the gallery has not.
    warnings : list of str
        Whatever a reader of the numbers must know, one sentence each.
    per_query : list of dict
        One record per query (and setting), in the order of the ranking or of the ground truth: `query`, `setting` where there are
        several, `ap` (None where it is not defined), `positives`, `found` (positives in the list), `first_hit` (rank of the first, from
        1, after removals; None where there is none); `id` where the query has a name of its own, `ns` for ukbench.
    intervals : dict of str to tuple of float
        95 % interval by name of measure.
    compared : list of dict
        The means under other conventions, where asked for; see `imgret.evaluation.conventions.side_by_side`.
    """

    protocol: str
    label: str
    conventions: dict
    queries: int
    measures: dict
    settings: dict
    truncation: int
    excluded: int
    skipped: int
    absent: list
    warnings: list
    per_query: list
    intervals: dict = dataclasses.field(default_factory=dict)
    compared: list = dataclasses.field(default_factory=list)

    def to_json(self):
        """One object, ready for `dumps`: all attributes but `per_query`, and what all runs share."""
        left_out = ("protocol", "conventions", "per_query")
        return {field.name: getattr(self, field.name) for field in dataclasses.fields(self) if field.name not in left_out}

    def per_query_lines(self):
        """Yield each query's record as one line of JSON, without its newline."""
        return map(dumps, self.per_query)


def dumps(value, **options):
    r"""`value` as JSON in ASCII, without NaN.

    A name is text in UTF-8; each byte of it that is not UTF-8 is the lone surrogate of PEP 383, written as the escape `\udcNN`, so that
    the output is valid whatever the name, and Python's `json.loads(...)` with `os.fsencode` gives the file's name back.
    """
    return json.dumps(value, ensure_ascii=True, allow_nan=False, **options)
