"""The passes of k-means over a sample: nearest words and how far they are, sums for each word, the start."""

import numpy as np

from imgret import words
from imgret.codebooks.frames import frame_of
from imgret.codebooks.nearness import TILE
from imgret.parallel import BLOCK, blocks, ordered_map

# A squared distance is a difference of squares; below this share of |x|² it is rounding.
ROUNDING = np.float32(1e-6)


def nearest(x, centroids, half):
    """Nearest centroid of each row, by the largest x·c − |c|²/2.

    Parameters
    ----------
    x : ndarray, shape (T, d), float32
    centroids : ndarray, shape (K, d), float32
    half : ndarray, shape (K,), float32
        |c|²/2.

    Returns
    -------
    words : ndarray, shape (T,), int64
        The lowest number wins a tie.
    squared : ndarray, shape (T,), float32
        Squared distance; rounding is cut off at 0.
    """
    found, best = words.nearest(x, centroids, half, TILE)
    norms = np.einsum("ij,ij->i", x, x)
    best *= -2
    best += norms
    best[best <= ROUNDING * norms] = 0
    return found, best


def assign(x, centroids):
    """Nearest centroid of each row of a whole sample.

    Parameters
    ----------
    x : ndarray, shape (N, d), float32
    centroids : ndarray, shape (K, d), float32

    Returns
    -------
    words : ndarray, shape (N,), int64
        The lowest number wins a tie.
    squared : ndarray, shape (N,), float32
        Squared distance to it.
    """
    found, squared = np.empty(len(x), np.int64), np.empty(len(x), np.float32)
    frame = frame_of(centroids)
    c = frame.apply(centroids)
    half = words.half_squares(c)
    for block in blocks(len(x)):
        found[block], squared[block] = nearest(frame.apply(x[block]), c, half)
    squared /= np.float32(frame.scale)
    squared /= np.float32(frame.scale)
    return found, squared


class Passes:
    """Those of one fit over its sample.

    Attributes
    ----------
    frame : Frame
        Words are given and moved in it.
    squared : ndarray, shape (N,), float32
        Each row's squared distance to its word at the last pass.
    state : imgret.codebooks.lloyd.State
        Where the fit stands.
    """

    state = None

    def __init__(self, x, jobs, part=None):
        self.x, self.jobs, self.frame, self._part = x, jobs, frame_of(x, jobs), part
        self.squared = np.empty(len(x), np.float32)

    def begin(self, state):
        """Go on from where a fit stands."""
        self.state = state

    def look(self, centroids):
        """Sums and counts of the rows nearest to each word."""
        half = words.half_squares(centroids)

        def work(block):
            z = self.frame.apply(self.x[block])
            found, self.squared[block] = nearest(z, centroids, half)
            groups = words.group(found)
            return groups, words.sums(z, groups, "tiles")

        return words.total(work, len(self.x), centroids.shape, self.jobs, self._part)

    def counts(self, centroids):
        """Rows nearest to each word."""
        half = words.half_squares(centroids)

        def work(block):
            found, self.squared[block] = nearest(self.frame.apply(self.x[block]), centroids, half)
            return np.bincount(found, minlength=len(centroids))

        return sum(ordered_map(work, blocks(len(self.x)), self.jobs))

    def cumulative(self):
        """`squared` up to the end of each block."""
        return np.cumsum([self.squared[block].sum(dtype=np.float64) for block in blocks(len(self.x))])

    def objective(self):
        return float(self.cumulative()[-1])

    def split(self, centroids, empty, counts):
        """Move empty words to the farthest rows, no two to equal rows; returns how many moved."""
        if not len(empty):
            return 0
        moved, seen = 0, set()
        for row in np.argsort(-self.squared, kind="stable")[: 16 * len(empty)]:
            if moved == len(empty) or self.squared[row] == 0:
                break
            value = self.x[row].tobytes()
            if value not in seen:
                seen.add(value)
                centroids[empty[moved]] = self.frame.apply(self.x[row])
                moved += 1
        return moved

    def start(self, p):
        """The words of the first iteration."""
        rng = np.random.default_rng(p.seed)
        if p.init == "random":
            return self.frame.apply(self.x[np.sort(rng.choice(len(self.x), p.size, replace=False))])
        return self.plus_plus(p.size, rng)

    def plus_plus(self, size, rng):
        """k-means++ in about log(size) passes: as many candidates as there are words so far (1024 at most) are drawn by the squared
        distances of the last pass; each is accepted with the share of that distance which earlier ones of its batch have left."""
        x, squared = self.x, self.squared
        centroids = np.empty((size, x.shape[1]), np.float32)
        centroids[0] = self.frame.apply(x[rng.integers(len(x))])
        squared[:] = np.inf
        done, seen = 1, 0
        while done < size:
            fresh = centroids[seen:done]
            half = words.half_squares(fresh)

            def work(block, fresh=fresh, half=half):
                found = nearest(self.frame.apply(x[block]), fresh, half)[1]
                np.minimum(squared[block], found, out=squared[block])

            for _ in ordered_map(work, blocks(len(x)), self.jobs):
                pass
            cumulative = self.cumulative()
            seen = done
            if cumulative[-1] <= 0:  # fewer different rows than words
                centroids[done:] = self.frame.apply(x[rng.integers(len(x), size=size - done)])
                break
            draw, accept = rng.random((2, min(done, 1024)))
            candidates = _draw(squared, cumulative, draw)
            z = self.frame.apply(x[candidates]).astype(np.float64)
            norms = np.einsum("ij,ij->i", z, z)
            between = np.maximum(norms[:, None] - 2 * (z @ z.T) + norms, 0)
            between[between <= ROUNDING * norms] = 0
            old = squared[candidates].astype(np.float64)
            left = old.copy()
            for i in range(len(candidates)):
                if done < size and accept[i] * old[i] < left[i]:
                    centroids[done] = z[i]
                    done += 1
                    np.minimum(left, between[i], out=left)
        return centroids


def _draw(squared, cumulative, draw):
    """Rows drawn with probability proportional to `squared`, whose block sums `cumulative` adds up."""
    drawn = np.empty(len(draw), np.int64)
    target = draw * cumulative[-1]
    block_of = np.minimum(np.searchsorted(cumulative, target, side="right"), len(cumulative) - 1)
    for number in np.unique(block_of):
        mine = block_of == number
        inside = np.cumsum(squared[number * BLOCK : (number + 1) * BLOCK], dtype=np.float64)
        offset = target[mine] - (cumulative[number - 1] if number else 0.0)
        # The two sums differ in the last digits: the last row that has any weight stands for what lies beyond the end.
        last = np.searchsorted(inside, inside[-1], side="left")
        drawn[mine] = number * BLOCK + np.minimum(np.searchsorted(inside, offset, side="right"), last)
    return drawn
