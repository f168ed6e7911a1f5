"""Tails of chance scores: what photos that do not match reach, from the scores of a photo with many that nearly all do not match it.

The tail is told by two numbers: where it starts (a fifth of the scores are above), and its scale, that of an exponential distribution.
The best twentieth of the scores, where what matches is, does not count for more than that it is there (type II censoring). Before that,
what stands out from a rough tail, fitted to the scores between the median and the upper quarter, is left out, so that a quarter of the
photos may match. A tail so far out is predicted by a Pareto distribution, which knows from how few scores the scale comes: of few photos
nothing is ever sure.

A gallery may be *crowded*: so many of its photos match one another that the tails of most hold matches, and no tail is one of chance.
That shows where all references are looked at together, in units of the distance between the first and the third tenth of a photo's
scores, which matches hardly reach: the common tail is longer than that of any distribution whose middle looks like that. There no
photo's tail counts for longer than that, and the common one counts beside its own, as that of a quarter as many more photos.

References
----------
- W. J. Scheirer, A. Rocha, R. J. Micheals & T. E. Boult, "Meta-recognition: the theory and practice of recognition score analysis",
  PAMI 2011: tails of the scores that do not match.
- B. Epstein & M. Sobel, "Life testing", JASA 1953: the censored scale.
- P. J. Rousseeuw & A. M. Leroy, "Robust regression and outlier detection", 1987: a rough robust fit, then one without what stands out.
- J. F. Lawless, "Prediction intervals for the two parameter exponential distribution", Technometrics 1977: the predicted tail.
"""

import numpy as np

START, CENSORED = 0.2, 0.05  # parts of the scores: those of the tail, and those of it that may match
HALF, UPPER, STANDS_OUT = 0.5, 0.25, 0.1  # the same of a first, rough tail; scores that it expects of fewer photos are left out
LOW, MIDDLE = 0.1, 0.3  # parts of the scores that lie below: what of them hardly any match is among
# of a normal and of an exponential distribution, in units of the distance of these quantiles: how far the median is from MIDDLE, how far
# the upper fifth is, and what the mean excess over that is
NORMAL, EXPONENTIAL = (0.6925, 1.8045, 0.737), (1.339, 4.985, 3.979)
MARGIN = 1.7  # so many times the tail of a distribution between these two is still none that holds matches


def counts(references):
    """Of the scores with so many references (int, or an array): how many are of the tail, and how many of these are censored."""
    return np.floor(START * references).astype(int), np.floor(CENSORED * references).astype(int)


def quantiles(scores, own, *parts):
    """Of each row of scores (n, m) less its `own`, the quantiles of some `parts`: ndarray, shape (parts, n), float64."""
    ordered = scores.astype(np.float64)
    rows = np.flatnonzero(own >= 0)
    ordered[rows, own[rows]] = -np.inf
    ordered.sort(axis=1)
    without = (own >= 0).astype(int)
    last = scores.shape[1] - without - 1
    return np.stack([ordered[np.arange(len(scores)), without + np.rint(part * last).astype(int)] for part in parts])


def crowding(scores):
    """Whether a gallery is crowded, and where the tails of its photos' chance scores start then, and their scales.

    Parameters
    ----------
    scores : ndarray, shape (m, m)
        Of the references with one another.

    Returns
    -------
    tuple of float, or None
        Start and scale, in units of the distance between a photo's quantiles `LOW` and `MIDDLE`, the start from the latter; None for a
        gallery that is not crowded.
    """
    m = len(scores)
    tail, censored = counts(m)
    if tail == censored:
        return None
    low, middle, half = quantiles(scores, np.arange(m), LOW, MIDDLE, 0.5)
    known = middle - low > 1e-9 * np.abs(middle)
    if 2 * known.sum() <= m:
        return None
    unit = np.where(known, middle - low, 1.0)
    others = known[:, None] & ~np.eye(m, dtype=bool)
    together = np.sort(((scores - middle[:, None]) / unit[:, None])[others])
    start, limit = together[int((1 - START) * len(together))], together[int((1 - CENSORED) * len(together))]
    above = together[together > start]
    scale = float((np.minimum(above, limit) - start).sum() / max(1, np.count_nonzero(above <= limit)))
    skew = max(0.0, (float(np.median((half - middle)[known] / unit[known])) - NORMAL[0]) / (EXPONENTIAL[0] - NORMAL[0]))
    longest = MARGIN * (NORMAL[2] + skew * (EXPONENTIAL[2] - NORMAL[2]))
    if scale <= longest:
        return None
    found = min(float(start), MARGIN * (NORMAL[1] + skew * (EXPONENTIAL[1] - NORMAL[1]))), longest
    return tuple(np.array(found, np.float32).tolist())  # as a file keeps them


def tails(scores, own=None, crowded=None):
    """Where the tails of photos' chance scores start, and their scales.

    Parameters
    ----------
    scores : ndarray, shape (n, m)
        Of each photo with the references.
    own : ndarray, shape (n,), int64, optional
        Which of the references a photo is itself, -1 for none: its own score does not count.
    crowded : tuple of float, optional
        What `crowding` gave for the gallery.

    Returns
    -------
    ndarray, shape (n, 2), float32
        NaN where it cannot be known: there are too few references, or nothing tells their scores apart.
    """
    found = np.full((len(scores), 2), np.nan, np.float32)
    own = np.full(len(scores), -1) if own is None else own
    for without in (False, True):
        rows = np.flatnonzero((own >= 0) == without)
        some = scores[rows]
        if without:
            some[np.arange(len(rows)), own[rows]] = -np.inf
        if len(rows) and scores.shape[1] > without:
            found[rows] = _tails(some, scores.shape[1] - without)
    return found if crowded is None else _beside(found, scores, own, crowded)


def _beside(found, scores, own, crowded):
    """A crowded gallery's tails: each photo's own, as far as it is none of matches, and the common one."""
    low, middle = quantiles(scores, own, LOW, MIDDLE)
    unit, (tail, censored) = middle - low, counts(scores.shape[1])
    start, scale = np.fmin(found[:, 0], middle + crowded[0] * unit), crowded[1] * unit
    r, more = tail - censored, common(scores.shape[1])
    scale = (r * np.fmin(found[:, 1], 1.5 * scale) + more * scale) / (r + more)
    known = unit > 1e-9 * np.abs(middle)
    return np.where(known[:, None], np.stack([start, scale], axis=1), found).astype(np.float32)


def common(references):
    """As how many scores of a photo the common tail of a crowded gallery counts."""
    return references // 4


def _tails(scores, count):
    """The same of the best `count` scores of each row: what stands out from the better half of them is left out first."""
    half, upper = int(HALF * count), int(UPPER * count)
    first = scores.shape[1] - half - 1
    best = np.sort(np.partition(scores, first, axis=1)[:, first:], axis=1)[:, ::-1].astype(np.float64)
    sums = np.concatenate([np.zeros((len(best), 1)), np.cumsum(best, axis=1)], axis=1)
    everything = np.zeros(len(best), np.int64)
    rough = _fitted(best, sums, everything, everything + half, everything + upper)
    odd = count * np.exp(_beyond(best[:, :upper], rough[:, None], half / count, half - upper)) <= STANDS_OUT
    out = np.cumprod(odd, axis=1).sum(axis=1)
    tail, censored = counts(count - out)
    return _fitted(best, sums, out, tail, censored)


def _fitted(best, sums, out, tail, censored):
    """Start and scale (n, 2), float32, from descending scores (n, h), and the sums of how many of them, less those that are left `out`."""
    rows, known = np.arange(len(best)), tail > censored
    start, limit = best[rows, out + tail], best[rows, out + censored]
    total = sums[rows, out + tail] - sums[rows, out + censored] - (tail - censored) * start + censored * (limit - start)
    scale = np.where(known, total, np.nan) / np.maximum(1, tail - censored)
    known &= scale > 1e-9 * np.abs(start)  # less is rounding
    return np.where(known[:, None], np.stack([start, scale], axis=1), np.nan).astype(np.float32)


def by_chance(scores, found, references, more=0):
    """Logarithm of the part of photos that reach scores by chance, as a photo's tail says; 0 where nothing is known.

    Parameters
    ----------
    scores : ndarray, shape (...)
    found : ndarray, shape (..., 2)
        What `tails` gave for each, or for each row.
    references : int
        How many there are.
    more : int
        As how many scores more the scale is known: `common`, in a crowded gallery.
    """
    tail, censored = counts(references)
    return _beyond(scores, found, tail / references, 0 if tail == censored else tail - censored + more)


def _beyond(scores, found, part, r):
    """The same by tails that are this `part` of a photo's scores, and whose scales come of `r` of them; 0 where of none."""
    if not r:
        return np.zeros(np.shape(scores))
    with np.errstate(invalid="ignore"):
        above = np.maximum(0, (scores - found[..., 0]) / (r * found[..., 1].astype(np.float64)))
    return np.where(above > 0, np.log(part) - r * np.log1p(above), 0)
