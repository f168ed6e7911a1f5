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
