"""Passes of approximate k-means: words in lists, of which each row looks into the nearest."""

import dataclasses
import math

import numpy as np

from imgret import words
from imgret.codebooks.nearness import TILE, NearestOfLists
from imgret.codebooks.passes import Passes
from imgret.parallel import blocks, one_thread, ordered_map
from imgret.quantizers import learning

WORDS_PER_LIST = 64  # of which the lists of the start are learned
START = 5  # iterations of them
TOWARDS = np.float32(0.1)  # how far the halves of a split word move apart: only the direction counts
FEWEST = 4  # rows of a word that is split


def list_count(size):
    """Lists that so many words are kept in."""
    return max(1, min(round(2 * math.sqrt(size)), size // 8))


@dataclasses.dataclass(frozen=True)
class Arranged:
    """Words in lists.

    Attributes
    ----------
    order : ndarray, shape (K,), int64
        The words' old numbers, list after list.
    centroids : ndarray, shape (K, d), float32
        In this order.
    lists : ndarray, shape (L, d), float32
        The means of the words of each.
    offsets : ndarray, shape (L + 1,), int64
    """

    order: np.ndarray
    centroids: np.ndarray
    lists: np.ndarray
    offsets: np.ndarray


def arrange(centroids, lists, jobs):
    """Put words into the nearest of some lists; each list moves to the mean of what it holds."""
    half, of = words.half_squares(lists), np.empty(len(centroids), np.int64)

    def work(block):
        of[block] = words.nearest(centroids[block], lists, half, TILE)[0]
        groups = words.group(of[block])
        return groups, words.sums(centroids[block], groups, "exact")

    with one_thread():
        sums, counts = words.total(work, len(centroids), lists.shape, jobs)
    used, moved, order = counts > 0, lists.copy(), np.argsort(of, kind="stable")
    moved[used] = sums[used] / counts[used, None]
    return Arranged(order, centroids[order], moved, np.concatenate([[0], np.cumsum(counts)]))


class ListedPasses(Passes):
    """Those of one fit over its sample.

    Attributes
    ----------
    arranged : Arranged
        The words of the last pass.
    found : ndarray, shape (N,), int32
        Each row's word at the last pass.
    """

    def __init__(self, x, jobs, params, part=None):
        super().__init__(x, jobs, part)
        self._params, self.arranged, self.found = params, None, np.empty(len(x), np.int32)

    def start(self):
        """The arrays of the first iteration."""
        p = self._params
        rng = np.random.default_rng(p.seed)
        centroids = self.frame.apply(self.x[np.sort(rng.choice(len(self.x), p.size, replace=False))])
        count = list_count(p.size)
        some = learning.subsample(centroids, WORDS_PER_LIST * count, p.seed)
        with one_thread():
            return {"centroids": centroids, "lists": learning.kmeans(some, count, [p.seed, 1], iterations=START, jobs=self.jobs)}

    def look(self, centroids):
        """See `Passes.look`."""
        assign = self._assigned(centroids)

        def work(block):
            z = assign(block)
            groups = words.group(self.found[block])
            return groups, words.sums(z, groups, "tiles")

        return words.total(work, len(self.x), centroids.shape, self.jobs, self._part)

    def counts(self, centroids):
        """See `Passes.counts`."""
        for _ in ordered_map(self._assigned(centroids), blocks(len(self.x)), self.jobs):
            pass
        return np.bincount(self.found, minlength=len(centroids))

    def _assigned(self, centroids):
        """What finds the words of a block of rows, which it gives in the frame; the lists are those of these words."""
        self.arranged = at = arrange(centroids, self.state.arrays["lists"], self.jobs)
        self.state.arrays["lists"] = at.lists
        near = NearestOfLists(at.centroids, at.lists, at.offsets, self._params.probes)

        def assign(block):
            z = self.frame.apply(self.x[block])
            found, squared = near.find(z)
            self.found[block], self.squared[block] = at.order[found[:, 0]], squared[:, 0]
            return z

        return assign

    def split(self, centroids, empty, counts):
        """Move words that describe nothing, or one row only, beside words that describe much; returns how many moved."""
        alone = np.flatnonzero(counts <= (self.state.iteration < self._params.iterations // 2))
        if not len(alone):
            return 0
        spread = np.bincount(self.found, weights=self.squared, minlength=len(centroids))
        spread[counts < FEWEST] = 0
        donors = np.argsort(-spread, kind="stable")[: len(alone)]
        donors = donors[spread[donors] > 0]
        alone = alone[: len(donors)]
        away = self._farthest(len(centroids))[donors]
        step = TOWARDS * (self.frame.apply(self.x[away]) - centroids[donors])
        centroids[alone] = centroids[donors] + step
        centroids[donors] -= step
        return len(alone)

    def _farthest(self, count):
        """For each word the farthest of its rows, the first of equals; -1 where it has none."""
        most = np.full(count, -1, np.float32)
        np.maximum.at(most, self.found, self.squared)
        rows = np.flatnonzero(self.squared == most[self.found])[::-1]
        farthest = np.full(count, -1)
        farthest[self.found[rows]] = rows
        return farthest
