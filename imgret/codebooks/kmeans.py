"""k-means: the visual words of VLAD."""

import dataclasses

import numpy as np

from imgret.codebooks.common import (
    BLOCK,
    LocalCodebook,
    blocks,
    check_names,
    check_pca,
    check_rows,
    frame_of,
    resume,
    take,
    word_sums,
)
from imgret.parallel import ordered_map
from imgret.registry import SAMPLING, SPACE, Params, param

WORDS = 2048  # words of one product: the scores of a tile stay in the cache
ROWS = 1024
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
    words = np.zeros(len(x), np.int64)
    best = np.empty(len(x), np.float32)
    panels = blocks(len(half), WORDS)
    scores = np.empty((min(ROWS, len(x)), min(WORDS, len(half))), np.float32)
    for tile in blocks(len(x), ROWS):
        index = np.arange(tile.stop - tile.start)
        for panel in panels:
            s = scores[: len(index), : panel.stop - panel.start]
            if len(panels) > 1 and s.shape[1] < scores.shape[1]:
                s = np.empty(s.shape, np.float32)
            np.matmul(x[tile], centroids[panel].T, out=s)
            s -= half[panel]
            word = s.argmax(axis=1)
            score = s[index, word]
            if panel.start == 0:
                words[tile], best[tile] = word, score
            else:
                better = score > best[tile]
                words[tile][better] = word[better] + panel.start
                best[tile][better] = score[better]
    norms = np.einsum("ij,ij->i", x, x)
    best *= -2
    best += norms
    best[best <= ROUNDING * norms] = 0
    return words, best


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
    words, squared = np.empty(len(x), np.int64), np.empty(len(x), np.float32)
    frame = frame_of(centroids)
    c = frame.apply(centroids)
    half = 0.5 * np.einsum("ij,ij->i", c, c)
    for block in blocks(len(x)):
        words[block], squared[block] = nearest(frame.apply(x[block]), c, half)
    squared /= np.float32(frame.scale)
    squared /= np.float32(frame.scale)
    return words, squared


class KMeans(LocalCodebook):
    """Visual words by Lloyd's k-means.

    Each iteration goes through the sample in blocks of 8192 rows: nearest words by a BLAS product, sums of each block, added up in
    float64 in block order. The start is k-means++ or random rows. A word that nothing is assigned to moves to the row that is
    farthest from its own word (so it splits that word); where the sample has fewer different rows than words there is nothing to split:
    the words left over repeat others, no row is assigned to them, and `summary()["empty_words"]` counts them.

    Memory beyond the sample: 4 bytes a row, 24 bytes a centroid value, and about 30 MB a job; with `pca` also the projected
    sample (4 · pca bytes a row).

    Attributes
    ----------
    centroids_ : ndarray, shape (K, d), float32
        d is the descriptors' dimension, or `pca`.
    dim_ : int
        Columns of the descriptors.
    pca_mean_, pca_components_ : ndarray or None
        The local projection, applied by `transform`.

    References
    ----------
    S. P. Lloyd, Least squares quantization in PCM, IEEE Trans. Inf. Theory 1982.
    D. Arthur and S. Vassilvitskii, k-means++: the advantages of careful seeding, SODA 2007, section 2.2. The draws are theirs; they are
    made in batches from older distances and accepted with the ratio of the distances, which has the same distribution.
    """

    name = "kmeans"
    default_encoder = "vlad"

    @dataclasses.dataclass(frozen=True)
    class Params(Params):
        size: int = param(64, "visual words", minimum=1)
        pca: int = param(0, "project the descriptors to this many dimensions first (0: no projection)", role=SPACE, minimum=0)
        init: str = param("k-means++", "start from k-means++ or from random rows", role=SAMPLING, choices=("k-means++", "random"))
        iterations: int = param(25, "Lloyd iterations at most", role=SAMPLING, minimum=0)
        tolerance: float = param(1e-4, "stop when the objective falls by less than this share of it", role=SAMPLING, minimum=0.0)
        seed: int = param(0, "seed of the start", role=SAMPLING, minimum=0)

    def fit(self, x, *, jobs=1, checkpoint=None, progress=None):
        """Learn the words.

        Parameters
        ----------
        x : ndarray, shape (N, D), float32, C-contiguous
        jobs : int
            Blocks computed at once; the result does not depend on it.
        checkpoint : object, optional
            `load() -> dict of str to ndarray, or None` and `save(make_state)`, called after each iteration.
        progress : callable, optional
            `progress(done, total, message)` after each iteration.

        Returns
        -------
        KMeans

        Raises
        ------
        ImgretError
            For fewer rows than words, a `pca` above the number of columns or rows, or values that are not finite or beyond 1e18.
        """
        p = self.params
        check_rows(x, p.size, "visual words")
        check_pca(p.pca, x)
        x = self._learn_projection(x, jobs)
        frame = frame_of(x, jobs)
        squared = np.empty(len(x), np.float32)

        shapes = {"iteration": (), "relocated": (), "objective": (), "finished": (), "centroids": (p.size, x.shape[1])}
        state = resume(checkpoint.load() if checkpoint else None, **shapes)
        if state is None:
            iteration, relocated, objective, finished = 0, 0, np.inf, False
            centroids = _start(x, frame, p, squared, jobs)
        else:
            iteration, relocated = int(state["iteration"]), int(state["relocated"])
            objective, finished = float(state["objective"]), bool(state["finished"])
            centroids = np.array(state["centroids"], np.float32)

        def save():
            if checkpoint:
                now = {"iteration": iteration, "relocated": relocated, "objective": objective, "finished": int(finished)}
                checkpoint.save(lambda: {**{name: np.asarray(value) for name, value in now.items()}, "centroids": centroids.copy()})

        save()
        while iteration < p.iterations and not finished:
            before = objective
            objective, sums, counts = _accumulate(x, frame, centroids, squared, jobs)
            used = counts > 0
            centroids[used] = (sums[used] / counts[used, None]).astype(np.float32)
            moved = _split(x, frame, centroids, np.flatnonzero(~used), squared)
            relocated += moved
            iteration += 1
            finished = not moved and before - objective <= p.tolerance * objective
            save()
            if progress:
                progress(iteration, p.iterations, f"objective {objective / frame.scale**2:.6g}")

        objective, counts = _objective(x, frame, centroids, squared, jobs)
        self.centroids_ = frame.restore(centroids)
        self._summary = {
            "rows": len(x),
            "iterations": iteration,
            "converged": finished,
            "objective": objective / frame.scale**2,
            "mean_squared_distance": objective / frame.scale**2 / len(x),
            "relocated_words": relocated,
            "empty_words": int(np.count_nonzero(counts == 0)),
            "smallest_word": int(counts.min()),
            "largest_word": int(counts.max()),
        }
        return self

    def summary(self):
        """Plain numbers of the fit: `objective` is the sum of squared distances to the final words. Empty after `from_arrays`."""
        return dict(self._summary)

    def to_arrays(self):
        """What was learned, by name."""
        return {"centroids": self.centroids_, **self._projection_arrays()}

    @classmethod
    def from_arrays(cls, params, arrays):
        """The codebook whose `to_arrays` gave `arrays`.

        Raises
        ------
        ImgretError
            For arrays that this cannot have given.
        """
        self = cls(params)
        check_names(arrays, ("centroids", *self._projection_names()))
        self.centroids_ = take(arrays, "centroids", (params.size, params.pca or None))
        self._take_projection(arrays, self.centroids_.shape[1])
        return self


def _half(centroids):
    return 0.5 * np.einsum("ij,ij->i", centroids, centroids)


def _accumulate(x, frame, centroids, squared, jobs):
    """One pass of Lloyd: (objective, sums (K, d) float64, counts (K,)); `squared` is filled with each row's squared distance."""
    half = _half(centroids)
    sums, counts, objective = np.zeros(centroids.shape), np.zeros(len(centroids), np.int64), 0.0

    def work(block):
        z = frame.apply(x[block])
        words, squared[block] = nearest(z, centroids, half)
        return squared[block].sum(dtype=np.float64), *word_sums(z, words)

    for cost, present, part, number in ordered_map(work, blocks(len(x)), jobs):
        objective += float(cost)
        sums[present] += part
        counts[present] += number
    return objective, sums, counts


def _objective(x, frame, centroids, squared, jobs):
    """(Sum of squared distances, rows of each word)."""
    half = _half(centroids)
    counts, objective = np.zeros(len(centroids), np.int64), 0.0

    def work(block):
        words, squared[block] = nearest(frame.apply(x[block]), centroids, half)
        return squared[block].sum(dtype=np.float64), np.bincount(words, minlength=len(centroids))

    for cost, number in ordered_map(work, blocks(len(x)), jobs):
        objective += float(cost)
        counts += number
    return objective, counts


def _split(x, frame, centroids, empty, squared):
    """Move empty words to the farthest rows, no two to equal rows; returns how many moved."""
    if not len(empty):
        return 0
    moved, seen = 0, set()
    for row in np.argsort(-squared, kind="stable")[: 16 * len(empty)]:
        if moved == len(empty) or squared[row] == 0:
            break
        value = x[row].tobytes()
        if value not in seen:
            seen.add(value)
            centroids[empty[moved]] = frame.apply(x[row])
            moved += 1
    return moved


def _start(x, frame, p, squared, jobs):
    rng = np.random.default_rng(p.seed)
    if p.init == "random":
        return frame.apply(x[np.sort(rng.choice(len(x), p.size, replace=False))])
    return _plus_plus(x, frame, p.size, rng, squared, jobs)


def _plus_plus(x, frame, size, rng, squared, jobs):
    """k-means++ in about log(size) passes: as many candidates as there are words so far (1024 at most) are drawn by the squared
    distances of the last pass; each is accepted with the share of that distance which earlier ones of its batch have left."""
    centroids = np.empty((size, x.shape[1]), np.float32)
    centroids[0] = frame.apply(x[rng.integers(len(x))])
    squared[:] = np.inf
    done, seen = 1, 0
    while done < size:
        fresh = centroids[seen:done]
        half = _half(fresh)

        def work(block, fresh=fresh, half=half):
            found = nearest(frame.apply(x[block]), fresh, half)[1]
            np.minimum(squared[block], found, out=squared[block])
            return squared[block].sum(dtype=np.float64)

        cumulative = np.cumsum(list(ordered_map(work, blocks(len(x)), jobs)))
        seen = done
        if cumulative[-1] <= 0:  # fewer different rows than words
            centroids[done:] = frame.apply(x[rng.integers(len(x), size=size - done)])
            break
        draw, accept = rng.random((2, min(done, 1024)))
        candidates = _draw(squared, cumulative, draw)
        z = frame.apply(x[candidates]).astype(np.float64)
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
