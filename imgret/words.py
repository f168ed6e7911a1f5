"""Visual words: the nearest word of each row, the sums of each word's rows, and Lloyd's iterations made of the two.

BLAS rounds a score as the shape of the product has it, and a sum as its terms are taken; both end in stored files. So whoever calls says
in what tiles scores are made and how sums are added, and keeps to it: another way is another last digit, and now and then another word.
"""

import dataclasses
import math

import numpy as np

from imgret.arrays import LARGEST, SMALLEST, TOO_LARGE
from imgret.errors import ImgretError
from imgret.parallel import blocks, in_order

# Relative to a word's length and its number of descriptors; what float32 leaves of a sum that should be zero is ten times less.
NOISE = 1e-6


def half_squares(centroids):
    """|c|²/2 of each word, (K,): the `bias` with which the largest score is the nearest word."""
    return 0.5 * np.einsum("ij,ij->i", centroids, centroids)


def nearest(x, centroids, bias=None, tile=None):
    """The word of the largest score x·c − bias for each row.

    Parameters
    ----------
    x : ndarray, shape (T, d), float32
    centroids : ndarray, shape (K, d), float32
    bias : ndarray, shape (K,), float32, optional
        Without it the largest inner product wins; a word of an infinite one never does.
    tile : (int, int), optional
        Rows and words of one product, whose scores should stay near a core until they have been looked at; all in one if not given.

    Returns
    -------
    words : ndarray, shape (T,), int64
        The lowest number wins a tie.
    scores : ndarray, shape (T,), float32
    """
    words, best = np.empty(len(x), np.int64), np.empty(len(x), np.float32)
    rows, columns = tile or (len(x), len(centroids))
    memory = np.empty(min(rows, len(x)) * min(columns, len(centroids)), np.float32)
    for block in blocks(len(x), max(1, rows)):
        index = np.arange(block.stop - block.start)
        for panel in blocks(len(centroids), columns):
            shape = len(index), panel.stop - panel.start
            scores = np.matmul(x[block], centroids[panel].T, out=memory[: shape[0] * shape[1]].reshape(shape))
            if bias is not None:
                scores -= bias[panel]
            word = scores.argmax(axis=1)
            score = scores[index, word]
            if panel.start == 0:
                words[block], best[block] = word, score
            else:
                better = score > best[block]
                words[block][better] = word[better] + panel.start
                best[block][better] = score[better]
    return words, best


class Vocabulary:
    """Words to which single photos' descriptors are assigned.

    The nearest word has the largest x·c′ − (|c′|²/2 + m·c′), where c′ = c − m and m is the words' mean: smaller products, and so a
    smaller rounding error, than x·c − |c|²/2.

    Parameters
    ----------
    centroids : array_like, shape (K, d)

    Attributes
    ----------
    centroids : ndarray, shape (K, d), float32
    lengths : ndarray, shape (K,), float64
        L2 norms of the words.
    """

    # At most so many scores in one product (2 MB), of at most so many words.
    SCORES, WORDS = 1 << 19, 1024

    def __init__(self, centroids):
        self.centroids = np.ascontiguousarray(centroids, dtype=np.float32)
        wide = self.centroids.astype(np.float64)
        self.lengths = np.sqrt((wide * wide).sum(axis=1))
        # By a power of two, which rounds nothing, where float32 would not hold the squares: each row's nearest word stays its nearest.
        longest = float(self.lengths.max(initial=0))
        self._scale = 1.0 if SMALLEST < longest < LARGEST or not longest else 2.0 ** -math.frexp(longest)[1]
        wide = wide * self._scale
        mean = wide.mean(axis=0)
        centred = wide - mean
        self._centred = centred.astype(np.float32)
        self._bias = ((centred * centred).sum(axis=1) / 2 + centred @ mean).astype(np.float32)
        # Of equal words only the first can win: a product rounds the same column differently at different places.
        repeated = np.ones(len(wide), bool)
        repeated[np.unique(self.centroids, axis=0, return_index=True)[1]] = False
        self._bias[repeated] = np.inf
        self._tile = self.SCORES // min(len(wide), self.WORDS), self.WORDS

    def nearest(self, x):
        """The nearest word (Euclidean; the first of equals) of each row of `x`, shape (T, d), float32: (T,), int64.

        Raises
        ------
        ImgretError
            If a row is so much longer than the words that float32 cannot tell.
        """
        if self._scale != 1:
            x = (x.astype(np.float64) * self._scale).astype(np.float32)
        with np.errstate(over="ignore", invalid="ignore"):
            found, scores = nearest(x, self._centred, self._bias, self._tile)
        if not np.isfinite(scores).all():
            raise ImgretError(TOO_LARGE)
        return found


@dataclasses.dataclass(frozen=True)
class Groups:
    """Rows sorted by their words.

    Attributes
    ----------
    order : ndarray, shape (T,), int64
        The rows, word after word, in their own order within a word.
    sorted : ndarray, shape (T,), integer
        Their words.
    words : ndarray, shape (P,), integer
        The words that occur, ascending.
    starts, counts : ndarray, shape (P,), int64
        Where the rows of each begin in `order`, and how many they are.
    """

    order: np.ndarray
    sorted: np.ndarray
    words: np.ndarray
    starts: np.ndarray
    counts: np.ndarray


def group(words):
    """The `Groups` of the words of T >= 1 rows, shape (T,), integer."""
    if words.max() < 2**16:
        words = words.astype(np.uint16)  # numpy sorts these by radix
    order = np.argsort(words, kind="stable")
    words = words[order]
    new = np.empty(len(words), bool)
    new[0] = True
    np.not_equal(words[1:], words[:-1], out=new[1:])
    starts = np.flatnonzero(new)
    return Groups(order, words, words[starts], starts, np.diff(np.append(starts, len(words))))


def _tiles(x, groups):
    """Sums by short one-hot products of rows that are gathered for each."""
    chunk = 128
    slot = np.repeat(np.arange(len(groups.words)), groups.counts)
    sums = np.zeros((len(groups.words), x.shape[1]), np.float32)
    gathered = np.empty((chunk, x.shape[1]), np.float32)
    columns = np.arange(chunk)
    for block in blocks(len(x), chunk):
        here = slot[block]
        first, count = here[0], here[-1] - here[0] + 1
        hot = np.zeros((count, len(here)), np.float32)
        hot[here - first, columns[: len(here)]] = 1
        # (Any mode but "raise" takes without a temporary copy.)
        near = x.take(groups.order[block], axis=0, out=gathered[: len(here)], mode="clip")
        sums[first : first + count] += hot @ near
    return sums


def _runs(x, groups):
    """Sums of rows that lie in the order of the groups, by a product with ones for each word."""
    sums = np.empty((len(groups.words), x.shape[1]), np.float32)
    ones = np.ones(len(x), np.float32)
    edges = [*groups.starts.tolist(), len(x)]
    for row, (start, stop) in enumerate(zip(edges, edges[1:], strict=False)):
        np.dot(ones[start:stop], x[start:stop], out=sums[row])
    return sums


def _exact(x, groups):
    """Sums in float64."""
    return np.add.reduceat(x[groups.order], groups.starts, axis=0, dtype=np.float64)


HOW = {"tiles": _tiles, "runs": _runs, "exact": _exact}


def sums(x, groups, how):
    """The sum of each word's rows.

    Parameters
    ----------
    x : ndarray, shape (T, d), float32
    groups : Groups
    how : str
        "tiles": in float32, in about the same time for few words and thousands (for 256 words of 8192 x 128 values an eighth of that of
        one full one-hot product, half that of "exact"). "runs": in float32, for the rows of one photo, which must lie in the order of the
        groups; faster there than either. "exact": in float64; the fastest for pieces of a few columns.

    Returns
    -------
    ndarray, shape (P, d), float32 or float64
    """
    return HOW[how](x, groups)


def total(work, count, shape, jobs=1, part=None):
    """Sums and counts of a whole sample, added in float64, block by block in order; to be called under `parallel.one_thread`.

    Parameters
    ----------
    work : callable
        `work(block) -> (Groups, sums)` of a block of rows, a slice.
    count : int
        Rows.
    shape : (int, int)
        Words, and columns of the sums.
    jobs : int
        Blocks computed at once; the result does not depend on it.
    part : callable, optional
        `part(share)`: which share of the rows is done, called after each block but the last.

    Returns
    -------
    sums : ndarray, shape (K, d), float64
    counts : ndarray, shape (K,), int64
    """
    whole, counts = np.zeros(shape), np.zeros(shape[0], np.int64)
    pieces = blocks(count)
    for number, (groups, sums_of) in enumerate(in_order(work, pieces, jobs), 1):
        whole[groups.words] += sums_of
        counts[groups.words] += groups.counts
        if part and number < len(pieces):
            part(number / len(pieces))
    return whole, counts


def lloyd(centroids, iterations, look, fill, after):
    """Lloyd's iterations: each word moves to the mean of the rows that it is nearest to.

    Parameters
    ----------
    centroids : ndarray, shape (K, d), float32
        The start; what is learned is written over it.
    iterations : int
        At most.
    look : callable
        `look(centroids) -> (sums (K, d) float64, counts (K,))`: each word's rows, as `total` gives them.
    fill : callable
        `fill(centroids, empty, counts) -> int`: gives words without rows another place, once the others have moved; how many it moved.
    after : callable
        `after(moved) -> bool`: called at the end of an iteration; whether to stop.

    References
    ----------
    S. P. Lloyd, Least squares quantization in PCM, IEEE Trans. Inf. Theory 1982.
    """
    for _ in range(iterations):
        whole, counts = look(centroids)
        used = counts > 0
        centroids[used] = whole[used] / counts[used, None]
        moved = fill(centroids, np.flatnonzero(~used), counts)
        if after(moved):
            break
