"""Measures of ranked lists, from the ranks of the positives alone.

Every function takes all queries at once in packed form:

* `ranks` : ndarray, shape (F,), int: ranks of the positives that were found, counted from 1 after whatever the protocol removes
  (the query itself, junk) has been taken out; ascending within a query.
* `offsets` : ndarray, shape (Q + 1,), int: query q owns `ranks[offsets[q]:offsets[q + 1]]`.
* `positives` : ndarray, shape (Q,), int: how many positives the ground truth gives, found or not; at least 1.

and returns float64, shape (Q,). A positive that was not found counts as never found.
"""

import numpy as np


def _query_of(offsets):
    return np.repeat(np.arange(len(offsets) - 1), np.diff(offsets))


def _hits(offsets):
    """1, 2, 3 ... within each query: how many positives have been found when this one is."""
    return np.arange(1, offsets[-1] + 1) - np.repeat(offsets[:-1], np.diff(offsets))


def _sum(values, offsets):
    return np.bincount(_query_of(offsets), weights=values, minlength=len(offsets) - 1)


def kept(mask, offsets):
    """Offsets of the ranks that a mask keeps."""
    return np.concatenate([[0], np.cumsum(mask)])[offsets]


def average_precision(ranks, offsets, positives):
    """Average precision as a finite sum: the mean over the positives of the precision at their ranks.

    AP = 1/P sum_j j / r_j, r_j the rank of the j-th positive found. It does not interpolate.

    References
    ----------
    Manning, Raghavan & Schütze, Introduction to Information Retrieval, 2008, section 8.4 (equation 8.8).
    """
    return _sum(_hits(offsets) / ranks, offsets) / positives


def average_precision_trapezoid(ranks, offsets, positives):
    """Average precision as the area under the precision-recall curve by trapezoids.

    AP = 1/P sum_j (p_j + j / r_j) / 2, where p_j = (j - 1) / (r_j - 1) is the precision just before the j-th positive, and 1 at
    rank 1. Between positives recall does not change, so that only the ranks of positives contribute.

    References
    ----------
    Philbin, Chum, Isard, Sivic & Zisserman, CVPR 2007, section 3.1, and the program `compute_ap` that comes with the Oxford Buildings
    (which sums in single precision: equal to about 1e-6); Jégou, Douze & Schmid, ECCV 2008, for INRIA Holidays.
    """
    hits = _hits(offsets)
    before = np.where(ranks > 1, (hits - 1) / np.maximum(ranks - 1, 1), 1.0)
    return _sum((before + hits / ranks) / 2, offsets) / positives


def found_at(ranks, offsets, k):
    """How many positives are among the first `k`."""
    return _sum(ranks <= k, offsets)


def precision_at(ranks, offsets, k):
    """P@k: positives among the first `k`, divided by `k`, also where the list or the number of positives is shorter than `k`."""
    return found_at(ranks, offsets, k) / k


def recall_at(ranks, offsets, positives, k):
    """R@k: the part of the positives that is among the first `k`."""
    return found_at(ranks, offsets, k) / positives


def recalled_at(ranks, offsets, k):
    """1 where any positive is among the first `k`, 0 elsewhere: recall@k of metric learning, place recognition and nearest neighbours.

    References
    ----------
    Jégou, Douze & Schmid, Product quantization for nearest neighbor search, PAMI 2011, section 5 (recall@R); Song et al., Deep metric
    learning via lifted structured feature embedding, CVPR 2016, section 6; Arandjelović et al., NetVLAD, CVPR 2016, section 5.
    """
    return (found_at(ranks, offsets, k) > 0).astype(np.float64)


def reciprocal_rank(ranks, offsets):
    """1 / rank of the first positive, 0 where none was found.

    References
    ----------
    Voorhees, The TREC-8 question answering track report, 1999.
    """
    some = np.diff(offsets) > 0
    values = np.zeros(len(some))
    values[some] = 1 / ranks[offsets[:-1][some]]
    return values


def r_precision(ranks, offsets, positives):
    """R-precision: the precision among the first R, where R is the number of positives.

    References
    ----------
    Musgrave, Belongie & Lim, A metric learning reality check, ECCV 2020, section 3.2.
    """
    return _sum(ranks <= positives[_query_of(offsets)], offsets) / positives


def map_at_r(ranks, offsets, positives):
    """MAP@R before its mean: 1/R times the sum of the precisions at those of the first R ranks that hold a positive.

    References
    ----------
    Musgrave, Belongie & Lim, A metric learning reality check, ECCV 2020, equations 1 and 2.
    """
    within = ranks <= positives[_query_of(offsets)]
    return _sum(np.where(within, _hits(offsets) / ranks, 0.0), offsets) / positives


def average_precision_interpolated(ranks, offsets, positives, levels=None):
    """Average precision with interpolated precision: at each recall the largest precision at that recall or a higher one.

    Parameters
    ----------
    levels : int, optional
        The mean over as many recall levels from 0 to 1 (11: Pascal VOC 2007 and TREC). Without it the area under the whole curve
        (Pascal VOC from 2010).

    References
    ----------
    Everingham et al., The Pascal visual object classes challenge, IJCV 2010, section 4.2; Manning, Raghavan & Schütze, section 8.4.
    """
    if levels is not None:
        return interpolated_precision(ranks, offsets, positives, levels).mean(axis=1)
    return _sum(_best_from_here(_hits(offsets) / ranks, offsets), offsets) / positives


def interpolated_precision(ranks, offsets, positives, levels):
    """Interpolated precision at `levels` recall levels from 0 to 1, evenly spread: shape (Q, levels); 0 at recalls that are not reached."""
    best = _best_from_here(_hits(offsets) / ranks, offsets)
    steps = np.arange(levels, dtype=np.int64)
    # the hit at which a recall of step / (levels - 1) is reached, in whole numbers: rounding would miss it by one
    needed = np.maximum(1, -(-steps * positives[:, None] // (levels - 1)))
    reached = needed <= np.diff(offsets)[:, None]
    return np.where(reached, np.append(best, 0.0)[np.where(reached, offsets[:-1, None] + needed - 1, -1)], 0.0)


def _best_from_here(precisions, offsets):
    """Within each query, the largest of a value and all behind it."""
    query = _query_of(offsets)
    # one running maximum from the end over all queries: a later query has the smaller base, so it never reaches into an earlier one
    base = 2.0 * (len(offsets) - 1 - query)
    return np.maximum.accumulate((precisions + base)[::-1])[::-1] - base


def revisited_precision_at(ranks, offsets, positives, k):
    """mP@k before its mean: precision at min(k, rank of the last positive), so that few positives can reach 1.

    Where a positive was not found its rank is unknown but beyond the list; the precision is then taken at `k`.

    References
    ----------
    Radenović, Iscen, Tolias, Avrithis & Chum, Revisiting Oxford and Paris, CVPR 2018 (mP@10 of its evaluation protocol; the cut at
    the last positive is that of the authors' evaluation program).
    """
    count = np.diff(offsets)
    last = np.full(len(count), k, dtype=np.int64)
    complete = (count == positives) & (count > 0)
    last[complete] = np.minimum(k, ranks[offsets[1:][complete] - 1])
    return _sum(ranks <= last[_query_of(offsets)], offsets) / last


def ns_score(ranks, offsets):
    """N-S score before its mean: how many of the four views of the object, the query itself among them, are in the first four; 0 to 4.

    References
    ----------
    Nistér & Stewénius, Scalable Recognition with a Vocabulary Tree, CVPR 2006, section 6.
    """
    return found_at(ranks, offsets, 4)


def micro_average_precision(hits, scores, positives):
    """µAP: average precision over the pairs of all queries together, ranked by score; pairs of one score are taken at once.

    Parameters
    ----------
    hits : ndarray, shape (M,), bool
        Which pairs of query and photo are true.
    scores : ndarray, shape (M,), float
        Higher is better.
    positives : int
        True pairs in the ground truth, found or not; at least 1.

    Returns
    -------
    average_precision : float
    recall : ndarray, shape (n,)
    precision : ndarray, shape (n,)
        At each score that a true pair has, from the best on.

    References
    ----------
    Douze et al., The 2021 image similarity dataset and challenge, arXiv:2106.09672, section 4.2.
    """
    every, true = np.sort(scores), np.sort(scores[hits])
    thresholds = np.unique(true)[::-1]
    found = len(true) - np.searchsorted(true, thresholds)
    precision = found / (len(every) - np.searchsorted(every, thresholds))
    recall = found / positives
    return float((np.diff(recall, prepend=0.0) * precision).sum()), recall, precision


_NAMED = {  # of ranks, offsets, positives and k
    "p": lambda ranks, offsets, _, k: precision_at(ranks, offsets, k),
    "r": recall_at,
    "mp": revisited_precision_at,
    "recall": lambda ranks, offsets, _, k: recalled_at(ranks, offsets, k),
    "mrr": lambda ranks, offsets, *_: reciprocal_rank(ranks, offsets),
    "r-precision": lambda ranks, offsets, positives, _: r_precision(ranks, offsets, positives),
    "map@r": lambda ranks, offsets, positives, _: map_at_r(ranks, offsets, positives),
    "ns": lambda ranks, offsets, *_: ns_score(ranks, offsets),
}


def named(name, ranks, offsets, positives):
    """A measure by the name that protocols and results have for it: `p@5`, `mrr`; all but `map`, which each protocol computes its own way.

    Returns
    -------
    ndarray, shape (Q,), float64
    """
    kind, _, k = name.partition("@")
    kind, k = (kind, int(k)) if k.isdecimal() else (name, None)
    return _NAMED[kind](ranks, offsets, positives, k)
