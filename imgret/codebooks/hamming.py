"""Hamming embedding: a projection, and the medians of what it makes of each word's descriptors."""

import dataclasses

import numpy as np

from imgret import words as grouping
from imgret.arrays import random_rotation
from imgret.codebooks.common import take
from imgret.codebooks.statistics import Statistics
from imgret.errors import ImgretError
from imgret.registry import SAMPLING, param

MOST = 1 << 28  # thresholds: a gigabyte
LEAST = 8  # descriptors of a word whose median is trusted


class HammingThresholds(Statistics):
    """Random orthogonal projections of descriptors, and their median in the cell of each word.

    The projection is the first rows of the Q of a Gaussian matrix (Jégou, Douze & Schmid 2008, section 3.2, offline steps 1 to 3). A word
    with fewer than 8 descriptors in the sample takes the projection of the word itself, which is where the middle of its cell lies (where
    words are no points: the median of all descriptors).

    It holds what a `words` codebook does besides.

    Attributes
    ----------
    projection_ : ndarray, shape (bits, d), float32
    thresholds_ : ndarray, shape (K, bits), float32

    References
    ----------
    H. Jégou, M. Douze & C. Schmid, "Hamming embedding and weak geometric consistency for large scale image search", ECCV 2008.
    """

    name = "hamming"
    default_encoder = "hamming"
    learned = (*Statistics.learned, "projection", "thresholds")

    @dataclasses.dataclass(frozen=True)
    class Params(Statistics.Params):
        bits: int = param(64, "bits of a signature", minimum=1, maximum=1024)
        levels: str = param("leaves", "leaves: signatures are within the cells of leaves", choices=("leaves",))
        seed: int = param(0, "seed of the projection, and of the photos that are drawn", role=SAMPLING, minimum=0)

    def _learn(self, z, found, words):
        columns = z[0].shape[1]
        if self.params.bits > columns:
            raise ImgretError(f"`bits` of {columns} dimensions must be at most as many, got {self.params.bits}: ask for fewer")
        if words.words * self.params.bits > MOST:
            raise ImgretError(
                f"thresholds of {self.params.bits} bits for {words.words} words would take {words.words * self.params.bits >> 18} MB: "
                "take fewer words, or bits"
            )
        self.projection_ = random_rotation(self.params.bits, columns, self.params.seed)
        projected = np.concatenate([rows @ self.projection_.T for rows in z])
        if words.has_centroids:
            self.thresholds_ = words.centroids_of(np.arange(words.words)) @ self.projection_.T
        else:
            self.thresholds_ = np.tile(np.median(projected, axis=0), (words.words, 1))
        groups = grouping.group(found)
        trusted = 0
        for word, start, count in zip(groups.words.tolist(), groups.starts.tolist(), groups.counts.tolist(), strict=True):
            if count >= LEAST:
                self.thresholds_[word] = np.median(projected[groups.order[start : start + count]], axis=0)
                trusted += 1
        self._summary |= {"bits": self.params.bits, "words_with_medians": trusted}

    def _take(self, arrays):
        super()._take(arrays)
        self.projection_ = take(arrays, "projection", (self.params.bits, None))
        self.thresholds_ = take(arrays, "thresholds", (len(self.counts_), self.params.bits))
