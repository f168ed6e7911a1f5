"""Chance: what scores photos that do not match reach, learned when an index is made, and what a score is worth beside that.

A score means nothing by itself: it depends on the method, on the metric, and on both photos. So it is held against those that the query
reaches with some photos of the gallery, the *references*, and against those that the photo it found reaches with them; nearly all of
these pairs do not match. From the scores of a photo with the references comes the tail of its chance scores, as two numbers: where it
starts (a fifth of the scores are above), and its scale, that of an exponential distribution. The best twentieth of the scores, where
what matches is, does not count for more than that it is there (type II censoring). Before that, what stands out from a rough tail,
fitted to the scores between the median and the upper quarter, is left out, so that a quarter of the photos may match. A tail so far
out is predicted by a Pareto distribution, which knows from how few scores the scale comes: of few photos nothing is ever sure.

A gallery may be *crowded*: so many of its photos match one another that the tails of most hold matches, and no tail is one of chance.
That shows where all references are looked at together, in units of the distance between the first and the third tenth of a photo's
scores, which matches hardly reach: the common tail is longer than that of any distribution whose middle looks like that. There no
photo's tail counts for longer than that, and the common one counts beside its own, as that of a quarter as many more photos.

What a score is worth is told as in sequence alignment: by how many photos of the gallery would reach it by chance, the geometric mean of
what either photo's tail says.

References
----------
- R. Auckenthaler, M. Carey & H. Lloyd-Thomas, "Score normalization for text-independent speaker verification systems", Digital Signal
  Processing 2000; P. Matejka et al., "Analysis of score normalization in multilingual speaker recognition", Interspeech 2017: the two
  sides of a score (S-norm).
- W. J. Scheirer, A. Rocha, R. J. Micheals & T. E. Boult, "Meta-recognition: the theory and practice of recognition score analysis",
  PAMI 2011: tails of the scores that do not match.
- B. Epstein & M. Sobel, "Life testing", JASA 1953: the censored scale.
- P. J. Rousseeuw & A. M. Leroy, "Robust regression and outlier detection", 1987: a rough robust fit, then one without what stands out.
- J. F. Lawless, "Prediction intervals for the two parameter exponential distribution", Technometrics 1977: the predicted tail.
- S. Karlin & S. F. Altschul, "Methods for assessing the statistical significance of molecular sequence features", PNAS 1990: E.
"""

import hashlib

import numpy as np

from imgret.arrays import row_norms, unit_rows
from imgret.parallel import one_thread

REFERENCES = 256
START, CENSORED = 0.2, 0.05  # parts of the scores: those of the tail, and those of it that may match
HALF, UPPER, STANDS_OUT = 0.5, 0.25, 0.1  # the same of a first, rough tail; scores that it expects of fewer photos are left out
LOW, MIDDLE = 0.1, 0.3  # parts of the scores that lie below: what of them hardly any match is among
# of a normal and of an exponential distribution, in units of the distance of these quantiles: how far the median is from MIDDLE, how far
# the upper fifth is, and what the mean excess over that is
NORMAL, EXPONENTIAL = (0.6925, 1.8045, 0.737), (1.339, 4.985, 3.979)
MARGIN = 1.7  # so many times the tail of a distribution between these two is still none that holds matches
LEVELS = ("no match", "likely", "sure")
LIKELY, SURE = 0.1, 0.005  # photos that reach such a score by chance, at most
GRID = 3000  # a unit vector's length in whole numbers: products of two are exact in float32
BLOCK_BYTES, BLOCK_ROWS = 4 << 20, 512  # scored at once: their scores stay in a cache


class Directions:
    """Vectors as whole numbers and lengths: their products are exact, so that no bit depends on how BLAS adds them up, or in which block.

    A part of a product of rows of the length `GRID` is at most (GRID + sqrt(C) / 2)², below 2^24 for less than four million columns;
    rounding changes the cosine of two vectors by 1.4e-4 (standard deviation).

    Parameters
    ----------
    whole : ndarray, shape (n, C), float32
        Whole numbers.
    lengths : ndarray, shape (n,), float32
    """

    def __init__(self, whole, lengths):
        self.whole, self.lengths = whole, lengths

    @classmethod
    def of(cls, x):
        """Those of vectors (n, C), float32."""
        whole = unit_rows(x)
        whole *= GRID
        return cls(np.rint(whole, out=whole), row_norms(x).astype(np.float32))

    def products(self, other):
        """Inner products with other vectors: ndarray, shape (n, m), float64."""
        with one_thread():
            products = (self.whole @ other.whole.T).astype(np.float64)
        products *= self.lengths[:, None].astype(np.float64) / GRID**2
        products *= other.lengths
        return products


def chosen(blocks, most=REFERENCES):
    """Which photos are the references: those with the smallest digests, so that few change when photos come and go.

    Parameters
    ----------
    blocks : iterable of (names, ndarray of shape (n, 32), uint8)
        Names, and SHA-256 of the photos, in order; of a photo whose digest is zero, the name's takes its place. Of several with one digest
        the first is taken.

    Returns
    -------
    ndarray, shape (m,), int64
        Their positions, ascending.
    """
    known, start = {}, 0
    for names, digests in blocks:
        limit = max(known)[0] if len(known) == most else 255  # most digests are seen to be too large by their first byte
        for row in np.flatnonzero((digests[:, 0] <= limit) | ~digests.any(axis=1)).tolist():
            digest = digests[row].tobytes()
            known.setdefault(digest if any(digest) else hashlib.sha256(names[row]).digest(), start + row)
            if len(known) > 2 * most:
                known = _least(known, most)
        known, start = _least(known, most), start + len(digests)
    return np.array(sorted(known.values()), np.int64)


def _least(known, most):
    return {digest: known[digest] for digest in sorted(known)[:most]}


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
    return min(float(start), MARGIN * (NORMAL[1] + skew * (EXPONENTIAL[1] - NORMAL[1]))), longest


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
    odd = count * np.exp(by_chance(best[:, :upper], rough[:, None], (count, half, upper))) <= STANDS_OUT
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
    references : int, or (int, int, int)
        How many there are, and how many of them are of the tail and censored, if not as `counts` says.
    more : int
        As how many scores more the scale is known: `common`, in a crowded gallery.
    """
    references, tail, censored = references if isinstance(references, tuple) else (references, *counts(references))
    if tail == censored:
        return np.zeros(np.shape(scores))
    r = tail - censored + more
    with np.errstate(invalid="ignore"):
        above = np.maximum(0, (scores - found[..., 0]) / (r * found[..., 1].astype(np.float64)))
    return np.where(above > 0, np.log(tail / references) - r * np.log1p(above), 0)


class Chance:
    """What was learned of an index's chance scores: judges what is found in it.

    Parameters
    ----------
    index : imgret.indexes.base.Index
    references : Directions
        The references, as the index keeps them.
    tails : ndarray, shape (N, 2), float32
        Of the photos' chance scores.
    crowded : tuple of float, optional
        What `crowding` gave.

    Attributes
    ----------
    photos : int
        In the gallery.
    """

    def __init__(self, index, references, tails, crowded=None):
        self._index, self._references, self.tails, self.photos = index, references, tails, len(tails)
        self._crowded, self._more = crowded, 0 if crowded is None else common(len(references.lengths))

    @property
    def knows(self):
        """Whether there are photos enough to tell chance from anything else."""
        tail, censored = counts(len(self._references.lengths))
        return tail > censored

    def of_queries(self, vectors):
        """The tails of queries' chance scores.

        Parameters
        ----------
        vectors : array_like, shape (Q, V)

        Returns
        -------
        ndarray, shape (Q, 2), float32
        """
        found = tails(scores_with(self._index, self._index.as_asked(vectors), self._references), crowded=self._crowded)
        found[~np.asarray(vectors).any(axis=1)] = np.nan  # what has no direction matches nothing
        return found

    def expected(self, query_tails, scores, ids, trials=None):
        """How many photos would reach scores by chance.

        Parameters
        ----------
        query_tails : ndarray, shape (Q, 2)
            From `of_queries`, or `tails[photos]` where photos of the gallery ask.
        scores, ids : ndarray, shape (Q, k)
            As the index gives them.
        trials : int, optional
            Pairs that were compared in all: each query with every photo by default.

        Returns
        -------
        ndarray, shape (Q, k), float64
            NaN where there is no photo.
        """
        m = len(self._references.lengths)
        photo_tails = self.tails[np.maximum(ids, 0)]
        either = by_chance(scores, query_tails[:, None], m, self._more) + by_chance(scores, photo_tails, m, self._more)
        either[np.isnan(query_tails).any(axis=1)[:, None] | np.isnan(photo_tails).any(axis=2)] = 0
        return np.where(ids >= 0, (self.photos if trials is None else trials) * np.exp(either / 2), np.nan)

    def judge(self, query_tails, scores, ids, trials=None):
        """What scores are worth; see `expected`.

        Returns
        -------
        levels : ndarray, shape (Q, k), int8
            Positions in `LEVELS`; -1 where there is no photo.
        expected : ndarray, shape (Q, k), float64
        """
        expected = self.expected(query_tails, scores, ids, trials)
        levels = (expected <= LIKELY).astype(np.int8) + (expected <= SURE)
        return np.where(ids >= 0, levels, np.int8(-1)), expected


def scores_with(index, asked, references):
    """Scores (Q, m) of what asks with the references, as the index would give them.

    Parameters
    ----------
    index : imgret.indexes.base.Index
    asked : ndarray, shape (Q, C), float32
        From `index.as_asked`.
    references : Directions
    """
    asked = Directions.of(asked)
    return index.scores_of(asked.products(references), asked.lengths, references.lengths)
