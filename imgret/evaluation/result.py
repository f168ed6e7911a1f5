"""What an evaluation says: measures, what they rest on, and one record per query."""

import dataclasses
import json


@dataclasses.dataclass(frozen=True)
class Result:
    """Outcome of one ranking under one protocol.

    Attributes
    ----------
    protocol, label : str
        The protocol's name, and the ranking's.
    conventions : dict of str to str
        What the protocol fixes: `ap`, `positives`, `query`, `junk`, `truncation`, `names`.
    queries : int
        Queries that the means are over.
    measures : dict of str to float
        `map`, `p@1`, `p@5`, `p@10`, `r@1`, `r@10`, `r@100`, `mp@1`, `mp@5`, `mp@10`, and `ns` for ukbench: means over the queries.
    truncation : int
        Length of the longest list: nothing beyond it can be found.
    excluded : int
        Queries without a positive, left out of the means.
    skipped : int
        Queries of the ranking that may not ask or that the ground truth does not know, left out of the means.
    warnings : list of str
        Whatever a reader of the numbers must know, one sentence each.
    per_query : list of dict
        One record per query, in the order of the ranking (oxford5k and paris6k: of the ground truth): `query`, `ap`, `positives`,
        `found` (positives in the list), `first_hit` (rank of the first, from 1, after removals; None where there is none); `id` where
        the query has a name of its own, `ns` for ukbench.
    """

    protocol: str
    label: str
    conventions: dict
    queries: int
    measures: dict
    truncation: int
    excluded: int
    skipped: int
    warnings: list
    per_query: list

    def to_json(self):
        """One object, ready for `dumps`: all attributes but `per_query`."""
        return {field.name: getattr(self, field.name) for field in dataclasses.fields(self) if field.name != "per_query"}

    def per_query_lines(self):
        """Yield each query's record as one line of JSON, without its newline."""
        return map(dumps, self.per_query)


def dumps(value, **options):
    r"""`value` as JSON in ASCII, without NaN.

    A name is text in UTF-8; each byte of it that is not UTF-8 is the lone surrogate of PEP 383, written as the escape `\udcNN`, so that
    the output is valid whatever the name, and Python's `json.loads(...)` with `os.fsencode` gives the file's name back.
    """
    return json.dumps(value, ensure_ascii=True, allow_nan=False, **options)
