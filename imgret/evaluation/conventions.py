"""One ranking under all common conventions of average precision, side by side: how far apart numbers of the same name can be."""

import numpy as np

from imgret.evaluation import measures
from imgret.evaluation.questions import HIT, JUNK, QUERY, find


def _cut(k):
    def formula(ranks, offsets, positives):
        inside = ranks <= k
        return measures.average_precision(ranks[inside], measures.kept(inside, offsets), np.minimum(positives, k))

    return formula


def _of_found(ranks, offsets, positives):
    return measures.average_precision(ranks, offsets, np.maximum(np.diff(offsets), 1))


FORMULAS = {  # what is computed -> (who computes it so, function)
    "finite sum": ("trec_eval, and most papers' text: the mean precision at the positives; not interpolated", measures.average_precision),
    "trapezoids": ("the official programs of Oxford5k, Paris6k, Holidays and the revisited sets", measures.average_precision_trapezoid),
    "interpolated": ("Pascal VOC from 2010: area under the interpolated curve", measures.average_precision_interpolated),
    "11 points": (
        "Pascal VOC 2007: interpolated precision at recall 0, .1, ..., 1",
        lambda *of: measures.average_precision_interpolated(*of, 11),
    ),
    "of those found": ("scikit-learn given the list alone: positives that it lacks are not counted", _of_found),
    "AP@100": ("Google Landmarks: the first 100, divided by min(positives, 100)", _cut(100)),
    "MAP@R": ("metric learning: the first R, R the number of positives; divided by R", measures.map_at_r),
}
LISTS = {  # how the list is taken
    "query out": "the query photo is taken out and is no positive; junk is taken out",
    "query in": "the query photo stays and counts as a positive; junk is taken out",
    "junk wrong": "as the protocol treats the query; junk stays and counts as wrong",
}


def side_by_side(lists, asked, removes_query, formula):
    """Mean average precision by every formula and every way to take the list.

    Parameters
    ----------
    lists : imgret.formats.lists.RankedLists
    asked : imgret.evaluation.questions.Asked
    removes_query : bool
        What the protocol does.
    formula : callable
        The protocol's own average precision.

    Returns
    -------
    list of dict
        `setting`, `ap` (a key of `FORMULAS`), `list` (of `LISTS`), `queries`, `map`, `own` (whether it is the
        protocol's own). A query that has no positive one way is left out.
    """
    rows = []
    for setting, found in find(lists, asked, removes_query=True).items():
        questions = asked.settings[setting]
        own = np.array([question.own >= 0 for question in questions], dtype=bool)
        counted = np.array([question.itself for question in questions], dtype=bool)
        ways = {
            "query out": ((HIT,), (JUNK, QUERY), found.positives - counted),
            "query in": ((HIT, QUERY), (JUNK,), found.positives + (own & ~counted)),
        }
        hits, _, positives = ways["query out" if removes_query else "query in"]
        ways["junk wrong"] = (hits, (QUERY,) if removes_query else (), positives)
        for way, (hits, removed, positives) in ways.items():
            ranks, offsets = found.ranks(hits, removed)
            asking = positives > 0
            kept = np.repeat(asking, np.diff(offsets))
            lengths = np.diff(offsets)[asking]
            packed = (ranks[kept], np.concatenate([[0], np.cumsum(lengths)]), positives[asking])
            for name, (_, compute) in FORMULAS.items():
                value = float(compute(*packed).mean()) if asking.any() else None
                own_way = compute is formula and way == ("query out" if removes_query else "query in")
                rows.append({"setting": setting, "ap": name, "list": way, "queries": int(asking.sum()), "map": value, "own": own_way})
    return rows
