"""Which photos may be copies of one another, by their vectors: the nearest of each, all against all in blocks, and what chance gives."""

import statistics

import numpy as np

from imgret.parallel import blocks, ordered_map

OUTER, INNER = 128 << 20, 16 << 20  # bytes of vectors in a block
MOST = 32  # nearest photos of each that are looked at

REFERENCES = 1024  # photos that every other one is compared with to learn what chance gives
FEWEST = 50  # photos to learn from
TAIL = (0.9, 0.975)  # quantiles between which the tail of a photo's scores is measured
ALL_TAIL = (0.95, 0.99)  # the same of all pairs


class Chance:
    """What photos score that are no copies of one another.

    A pair's standing is how far its score lies above the 90 % quantile of what a photo scores with others, by the pace at which that
    falls off from there to 97.5 %: (score - quantile) / pace, the lesser of its two photos'. How far standings reach by chance is read
    off two quantiles of all pairs of some photos, as if they fell off like a normal distribution's tail. Some copies of each photo do no
    harm to a quantile. It says nothing of two photos of one thing.

    Attributes
    ----------
    location, pace : ndarray, shape (N,), float32
    start, slope : float
        A standing, by the quantile of the standard normal distribution that as many pairs reach: start + slope * quantile.
    """

    def __init__(self, location, pace, start, slope):
        self.location, self.pace, self.start, self.slope = location, pace, start, slope

    @classmethod
    def learned(cls, read, count, jobs=1):
        """Learn from `REFERENCES` photos, evenly spread.

        Parameters
        ----------
        read : callable
            `read(start, stop)`: vectors of unit length.
        count : int
            N, at least `FEWEST`.
        jobs : int

        Returns
        -------
        Chance
        """
        rows = np.unique(np.linspace(0, count - 1, min(count, REFERENCES)).astype(np.int64))
        reference = np.concatenate([read(row, row + 1) for row in rows.tolist()])
        ranks = [1 + int(part * (len(rows) - 2)) for part in TAIL]  # the photo itself comes first

        def scored(block):
            scores = read(block.start, block.stop) @ reference.T
            here = slice(*np.searchsorted(rows, (block.start, block.stop)).tolist())
            scores[rows[here] - block.start, np.arange(here.start, here.stop)] = -2
            return np.partition(scores, ranks, axis=1)[:, ranks], scores[rows[here] - block.start]

        found = list(ordered_map(scored, blocks(count, _length(INNER, reference.shape[1])), jobs))
        low, high = np.concatenate([quantiles for quantiles, _ in found]).T
        chance = cls(low, (high - low) / np.log((1 - TAIL[0]) / (1 - TAIL[1])) + np.float32(1e-4), 0.0, 1.0)
        first, second = np.triu_indices(len(rows), 1)
        among = np.concatenate([scores for _, scores in found])[first, second]
        low, high = np.quantile(chance.standing(rows[first], rows[second], among), ALL_TAIL)
        near, far = (_normal(1 - part) for part in ALL_TAIL)
        chance.slope = float((high - low) / (far - near))
        chance.start = float(low) - chance.slope * near
        return chance

    def standing(self, first, second, score):
        """How far the scores of pairs of photos stand out from those of either photo with others: (P,)."""
        above = [(score - self.location[rows]) / self.pace[rows] for rows in (first, second)]
        return np.minimum(*above)

    def reached(self, expected):
        """The standing that `expected` pairs among all reach by chance."""
        pairs = len(self.location) * (len(self.location) - 1) / 2
        return self.start + self.slope * _normal(min(expected / pairs, 1 - ALL_TAIL[0]))


def _normal(part):
    """What so large a part of a standard normal distribution is above."""
    return -statistics.NormalDist().inv_cdf(part)


def nearest(read, count, *, k=MOST, asking=None, skipped=None, jobs=1, progress=lambda photos: None):
    """The most similar photos of each.

    Parameters
    ----------
    read : callable
        `read(start, stop)`: vectors (n, V) of unit length.
    count : int
        N.
    k : int
    asking : callable, optional
        The same of what is compared with them: of mirror images, say. The photos themselves by default.
    skipped : ndarray, shape (N,), bool, optional
        Photos that are left out.
    jobs : int
    progress : callable
        Called with the number of photos that have been compared with all others.

    Returns
    -------
    scores : ndarray, shape (N, k), float32
        Best first.
    rows : ndarray, shape (N, k), int64
        Never the photo itself; -1 where there are no more. Of equal scores the first photo comes first.
    """
    scores, rows = np.full((count, k), -np.inf, np.float32), np.full((count, k), -1, np.int64)
    width = read(0, 1).shape[1] if count else 1
    skipped = np.zeros(count, bool) if skipped is None else skipped
    for outer in blocks(count, min(4096, _length(OUTER, width))):
        best = _Best((asking or read)(outer.start, outer.stop), outer.start, skipped, k)
        inner = blocks(count, min(2048, _length(INNER, width)))
        for found in ordered_map(lambda block, best=best: best.among(read(block.start, block.stop), block.start), inner, jobs):
            best.take(*found)
        best.settle()
        scores[outer], rows[outer] = best.scores, best.rows
        progress(outer.stop - outer.start)
    scores[skipped], rows[skipped] = -np.inf, -1
    return scores, rows


def _length(size, width):
    return max(1, size // (4 * width))


class _Best:
    """The best rows for some photos so far, (n, k); a block's are passed over where as many that are better are known."""

    def __init__(self, asking, start, skipped, k):
        self._asking, self._own, self._skipped, self._k = asking, np.arange(start, start + len(asking)), skipped, k
        self.scores, self.rows = np.full((len(asking), k), -np.inf, np.float32), np.full((len(asking), k), -1, np.int64)
        self._found, self._pending = [], 0

    def among(self, given, start):
        """What of a block of vectors may be among the best: photo, row, score. Other threads may ask at the same time."""
        scores = self._asking @ given.T
        scores[:, self._skipped[start : start + len(given)]] = -np.inf
        own = np.flatnonzero((self._own >= start) & (self._own < start + len(given)))
        scores[own, self._own[own] - start] = -np.inf
        least = self.scores[:, -1]
        if scores.shape[1] > self._k:
            least = np.maximum(least, np.partition(scores, -self._k, axis=1)[:, -self._k]) if np.isneginf(least).any() else least
        photo, row = np.nonzero(scores >= least[:, None])
        score = scores[photo, row]
        kept = score > -np.inf
        return photo[kept], row[kept] + start, score[kept]

    def take(self, photo, row, score):
        """Take what `among` gave."""
        self._found.append((photo, row, score))
        self._pending += len(photo)
        if self._pending > 2 * self.rows.size:
            self.settle()

    def settle(self):
        """Keep the best."""
        known = np.nonzero(self.rows >= 0)
        known = (known[0], self.rows[known], self.scores[known])
        photo, row, score = (np.concatenate(column) for column in zip(known, *self._found, strict=True))
        self._found, self._pending = [], 0
        order = np.lexsort((row, -score, photo))
        photo, row, score = photo[order], row[order], score[order]
        rank = np.arange(len(photo)) - np.searchsorted(photo, np.arange(len(self.rows)))[photo]
        kept = rank < self._k
        rows, scores = np.full_like(self.rows, -1), np.full_like(self.scores, -np.inf)
        rows[photo[kept], rank[kept]], scores[photo[kept], rank[kept]] = row[kept], score[kept]
        self.rows, self.scores = rows, scores


def pairs(scores, rows, start=0, stop=None, active=None):
    """Pairs of photos of which one is among the other's nearest.

    Parameters
    ----------
    scores, rows : see `nearest`
    start, stop : int
        Ranks.
    active : ndarray, shape (N,), bool, optional
        Photos whose nearest are taken.

    Returns
    -------
    first, second : ndarray, shape (P,), int64
        In order, each pair once; the photo that has the other one among its nearest first: which matters where mirror images ask.
    score : ndarray, shape (P,), float32
    """
    rows, scores = rows[:, start:stop], scores[:, start:stop]
    there = rows >= 0 if active is None else (rows >= 0) & active[:, None]
    photo, rank = np.nonzero(there)
    other, score = rows[photo, rank], scores[photo, rank]
    low, high = np.minimum(photo, other), np.maximum(photo, other)
    order = np.lexsort((photo, -score, high, low))
    low, high, photo, other, score = (column[order] for column in (low, high, photo, other, score))
    new = np.ones(len(low), bool)
    new[1:] = (low[1:] != low[:-1]) | (high[1:] != high[:-1])
    return photo[new], other[new], score[new]
