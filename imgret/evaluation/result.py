"""What an evaluation says: measures, what they rest on, and one record per query."""

import dataclasses
import json

SCHEMA = "imgret-evaluation"
SCHEMA_VERSION = 1

# The object that `evaluate --json` prints, as data: docs/json.md is made of it, and a test compares it with what is printed.
# [] stands for each element of a list, {} for each value of an object whose names are not fixed.
JSON = {
    "schema": 'always "imgret-evaluation"',
    "schema_version": "1; it rises when a field goes or changes its meaning, not when one is added",
    "protocol": "name of the protocol",
    "parameters{}": "the protocol's parameters",
    "conventions{}": "what the protocol fixes: ap, positives, query, crop, junk, truncation, names, measures",
    "runs[].label": "the ranking, as it was given, or its --label",
    "runs[].queries": "queries that the means are over; where there are several settings, over those of any",
    "runs[].measures{}": "mean of each measure, or of those that --measures names, by its name; with several settings, the setting's name"
    " and a dot before it: medium.map",
    "runs[].settings{}.queries": "where there are several settings: queries of the setting",
    "runs[].settings{}.excluded": "where there are several settings: queries without a positive in it",
    "runs[].truncation": "length of the longest list",
    "runs[].excluded": "queries without a positive (in any setting)",
    "runs[].skipped": "queries of the ranking that may not ask or that the ground truth does not know",
    "runs[].absent[]": "positives of the ground truth that the gallery has not",
    "runs[].warnings[]": "what a reader of the numbers must know, one sentence each",
    "runs[].intervals{}[]": "two numbers: the ends of the 95 % bootstrap interval of that measure",
    "runs[].compared[].setting": "with --conventions: the setting, empty where there is only one",
    "runs[].compared[].ap": "how average precision is computed",
    "runs[].compared[].list": "how the list is taken",
    "runs[].compared[].queries": "queries that have a positive this way",
    "runs[].compared[].map": "the mean; null where no query has a positive",
    "runs[].compared[].own": "whether this is what the protocol does",
    "comparisons[].first": "label of the first ranking; with --all-pairs, of each but the last",
    "comparisons[].second": "label of one after it, which is compared with it",
    "comparisons[].setting": "empty where there is only one",
    "comparisons[].measure": "what is compared: map, or recall@1 for places",
    "comparisons[].queries": "queries that both answer; the rest is about them",
    "comparisons[].only_first": "queries that only the first answers",
    "comparisons[].only_second": "queries that only the second answers",
    "comparisons[].difference": "mean of the second less mean of the first",
    "comparisons[].interval[]": "two numbers: the ends of its 95 % bootstrap interval",
    "comparisons[].p_value": "two-sided, of the paired randomisation test",
    "comparisons[].p_adjusted": "with --all-pairs: the same adjusted by Holm's method, over all pairs and settings together",
    "comparisons[].better": "queries on which the second is better",
    "comparisons[].worse": "queries on which it is worse",
    "comparisons[].same": "queries on which both are the same",
    "comparisons[].gained[].query": "the queries that gained most, at most five: the query's own name",
    "comparisons[].gained[].first": "its value in the first ranking",
    "comparisons[].gained[].second": "its value in the second",
    "comparisons[].lost[].query": "the queries that lost most, at most five",
    "comparisons[].lost[].first": "as above",
    "comparisons[].lost[].second": "as above",
}


def qualified(setting, name):
    """A measure's name, with its setting before it where there are several: `medium.map`."""
    return f"{setting}.{name}" if setting else name


@dataclasses.dataclass(frozen=True)
class Result:
    """Outcome of one ranking under one protocol.

    Attributes
    ----------
    protocol, label : str
        The protocol's name, and the ranking's.
    conventions : dict of str to str
        What the protocol fixes: `ap`, `positives`, `query`, `crop`, `junk`, `truncation`, `names`, `measures`.
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


def dumps(value, **options):
    r"""`value` as JSON in ASCII, without NaN.

    A name is text in UTF-8; each byte of it that is not UTF-8 is the lone surrogate of PEP 383, written as the escape `\udcNN`, so that
    the output is valid whatever the name, and Python's `json.loads(...)` with `os.fsencode` gives the file's name back.
    """
    return json.dumps(value, ensure_ascii=True, allow_nan=False, **options)
