"""Hamming embedding: descriptors of a word match where their signatures are near, and vote."""

import dataclasses

import numpy as np

from imgret.errors import ImgretError
from imgret.indexes.base import damage
from imgret.indexes.inverted.geometry import quantised
from imgret.indexes.inverted.lists import starts_of
from imgret.indexes.inverted.scorer import Scorer, sound
from imgret.indexes.inverted.weighting import Weighted
from imgret.registry import param

PER_BITS = 64  # bits that threshold and sigma are given for


class Hamming(Scorer):
    """Votes of matches, by a photo's norm.

    Two descriptors of one word match where their signatures differ in h bits, at most `threshold`; their vote is idf² g(h), g being
    exp(−h²/σ²), exp(−h/σ) or 1. The matches of one query descriptor in one photo are a burst: their votes are averaged, or each is
    multiplied by sqrt(vote / sum of the burst's votes) ("root"), or they all count. With `inter` what is left is multiplied by
    sqrt(vote / sum of the descriptor's votes in all photos). With `wgc` a vote goes to the bin of a difference of angles and to that of a
    difference of log scales; of each histogram the largest sum of three neighbouring bins counts, and of these two the smaller one.

    The words of one query descriptor are told from those of another by `descriptor` (n,) of the query; without it each entry is one.

    References
    ----------
    H. Jégou, M. Douze & C. Schmid, "Improving bag-of-features for large scale image search", IJCV 2010, sections 4 and 5.
    H. Jégou, M. Douze & C. Schmid, "On the burstiness of visual elements", CVPR 2009, equations 6 (intra) and 7 (inter), the second here
    over photos' votes rather than single matches'.
    """

    carries, optional = ("signature",), ("geometry",)

    @dataclasses.dataclass(frozen=True)
    class SearchParams(Weighted):
        threshold: float = param(24.0, "bits of 64 in which signatures may differ; of other lengths in proportion", minimum=0.0)
        weight: str = param("gaussian", "what a match counts by its distance", choices=("gaussian", "exponential", "none"))
        sigma: float = param(12.0, "bits of 64 at which that has fallen to 1/e", above=0.0)
        burst: str = param("average", "what the matches of a query descriptor in a photo count", choices=("average", "root", "none"))
        inter: bool = param(False, "count less what matches many photos")
        power: float = param(2.0, "power of the idf", minimum=0.0)
        norm: str = param("tfidf", "what scores are divided by: the L2 norm of a photo's tf idf, or nothing", choices=("tfidf", "none"))
        wgc: bool = param(False, "weak geometric consistency: count only what agrees in angle and scale")
        ma: int = param(3, "words that a query descriptor gets", minimum=1)

    def norm(self, settings):
        """See `Scorer.norm`."""
        return None if settings.norm == "none" else {"power": settings.power}

    def add_self(self, lists, idf, settings, sums):
        """The squared norm of tf idf, not of votes; see `Scorer.add_self`."""
        from imgret.indexes.inverted import kernels
        from imgret.indexes.inverted.selfsimilarity import of_frequencies

        asked = lists.asked(np.arange(len(lists.words)), idf ** (settings.power / 2))
        sound(of_frequencies(lists.columns, asked, kernels.how(kernels.WEIGHTS), sums))

    def score(self, lists, query, settings, scores, lengths):
        """See `Scorer.score`."""
        from imgret.indexes.inverted import matching

        order, groups, geometry = self._by_descriptor(lists, query, settings)
        factors = query.weight * query.idf**settings.power
        asked = lists.asked(query.at[order], factors[order], self.signature(query, True)[order])
        burst = {"none": matching.ALL, "average": matching.AVERAGE, "root": matching.ROOT}[settings.burst]
        how = matching.Votes(self._table(lists, settings), burst, settings.inter, geometry)
        memory = matching.Memory(np.zeros((len(scores), 2), np.float32), np.empty(len(scores), np.int32))
        histograms = np.zeros((len(scores) if settings.wgc else 0, matching.TURNS + matching.OCTAVES), np.float32)
        sound(matching.votes(lists.columns, asked, groups, how, memory, scores, histograms))
        if settings.wgc:
            matching.consistent(histograms, scores)

    def _by_descriptor(self, lists, query, settings):
        """The entries that ask, by descriptor; where each one's begin, and the last one's end; and their geometry, where it counts."""
        geometry = np.zeros((0, 2), np.uint8)
        order = np.flatnonzero(query.at >= 0)
        descriptor = query.columns.get("descriptor", np.arange(len(query.words)))[order]
        sequence = np.argsort(descriptor, kind="stable")
        order, descriptor = order[sequence], descriptor[sequence]
        if settings.wgc:
            for where, there in (("index", lists.geometry is not None), ("query", "geometry" in query.columns)):
                if not there:
                    raise ImgretError(f"wgc=true needs angles and scales, and the {where} has none: encode with geometry, or leave it out")
            geometry = quantised(query.columns["geometry"][order])
        return order, np.append(starts_of(descriptor), len(order)), geometry

    def _table(self, lists, settings):
        if lists.floats:
            raise ImgretError(damage("its signatures are no bits"))
        share = self.encoder.bits / PER_BITS
        distance = np.arange(8 * lists.columns.size + 1)
        sigma = settings.sigma * share
        worth = {"gaussian": np.exp(-((distance / sigma) ** 2)), "exponential": np.exp(-distance / sigma), "none": np.ones(len(distance))}
        return np.where(distance <= settings.threshold * share, worth[settings.weight], 0).astype(np.float32)
