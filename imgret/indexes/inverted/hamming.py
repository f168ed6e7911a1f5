"""Hamming embedding: descriptors of a word match where their signatures are near, and vote."""

import dataclasses

import numpy as np

from imgret.errors import ImgretError
from imgret.indexes.base import damage
from imgret.indexes.inverted.geometry import quantised
from imgret.indexes.inverted.lists import as_bytes, starts_of
from imgret.indexes.inverted.scorer import Scorer, sound
from imgret.indexes.inverted.weighting import Weighted
from imgret.registry import param

PER_BITS = 64  # bits that threshold and sigma are given for


class Hamming(Scorer):
    """Votes of matches, by a photo's norm.

    Two descriptors of one word match where their signatures differ in h bits, at most `threshold`; their vote is idf² g(h), g being
    exp(−h²/σ²), exp(−h/σ) or 1. Of a match of the query's descriptor x with y in a photo, x matches n(x) descriptors of that photo and y
    n(y) of the query: the vote is divided by n(x) n(y) (`burst=both`), by n(x) (`query`), multiplied by
    sqrt(vote / sum of x's votes in that photo) (`root`), or counts as it is (`none`). With `inter` it is multiplied by
    sqrt(V / W) besides, V being x's votes in that photo and W those in all photos. With `wgc` a vote goes to the bin of a difference of
    angles and to that of a difference of log scales; of each histogram the largest sum of three neighbouring bins counts, and of these two
    the smaller one; and of all votes, wherever they are, the share `loose`.

    The words of one query descriptor are told from those of another by `descriptor` (n,) of the query; without it each entry is one.

    References
    ----------
    H. Jégou, M. Douze & C. Schmid, "Improving bag-of-features for large scale image search", IJCV 2010.
    H. Jégou, M. Douze & C. Schmid, "On the burstiness of visual elements", CVPR 2009: the root, and `inter`.
    """

    carries, optional = ("signature",), ("geometry",)

    @dataclasses.dataclass(frozen=True)
    class SearchParams(Weighted):
        threshold: float = param(
            24.0, "bits of 64 in which signatures may differ; of other lengths in proportion", minimum=0.0, maximum=64.0
        )
        weight: str = param("gaussian", "what a match counts by its distance", choices=("gaussian", "exponential", "none"))
        sigma: float = param(12.0, "bits of 64 at which that has fallen to 1/e", above=0.0)
        burst: str = param("both", "what is one of several matches is divided by: see above", choices=("both", "query", "root", "none"))
        inter: bool = param(False, "count less what matches many photos")
        power: float = param(2.0, "power of the idf", minimum=0.0, maximum=16.0)
        norm: str = param("tfidf", "what scores are divided by: the L2 norm of a photo's tf idf, or nothing", choices=("tfidf", "none"))
        wgc: bool = param(False, "weak geometric consistency: count only what agrees in angle and scale")
        loose: float = param(0.4, "share of the votes that count all the same, of wgc", minimum=0.0, maximum=1.0)
        ma: int = param(3, "words that a query descriptor gets", minimum=1, maximum=64)

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
        if settings.burst == "none" and not settings.inter and not settings.wgc:
            self._add_up(lists, query, settings, scores)
        else:
            self._vote(lists, query, settings, scores)

    def _add_up(self, lists, query, settings, scores):
        """Votes that know nothing of one another, as they come."""
        from imgret.indexes.inverted import kernels

        table = self._table(lists, settings)
        table[self._threshold(settings) + 1 :] = 0
        asked = lists.asked(*query.asking(query.weight * query.idf**settings.power, self.signature(query, True)))
        sound(kernels.scan(lists.columns, asked, kernels.how(kernels.BITS, table=table), scores))

    def _vote(self, lists, query, settings, scores):
        """Votes that count by what else there is."""
        from imgret.indexes.inverted import matching

        order = np.flatnonzero(query.at >= 0)
        if len(order) > matching.MOST_ENTRIES or self.encoder.bits > matching.MOST_BITS:
            raise ImgretError(f"a query has at most {matching.MOST_ENTRIES} words, of {matching.MOST_BITS} bits: take fewer with ma")
        first = starts_of(query.at[order])
        descriptor = np.unique(query.columns.get("descriptor", np.arange(len(query.at)))[order], return_inverse=True)[1]
        how = matching.Votes(
            first=np.append(first, len(order)),
            signatures=as_bytes(query.columns["signature"][order]),
            factor=(query.weight * query.idf**settings.power)[order].astype(np.float32),
            descriptor=descriptor,
            geometry=self._geometry(lists, query, settings)[order] if settings.wgc else np.zeros((0, 2), np.uint8),
            table=self._table(lists, settings),
            threshold=self._threshold(settings),
            burst={"none": matching.ALL, "query": matching.QUERY, "both": matching.BOTH, "root": matching.ROOT}[settings.burst],
            inter=settings.inter,
            loose=settings.loose,
            wgc=settings.wgc,
            stretch=self._stretch(lists, query.at[order], len(scores)),
            entries=(0,) * (settings.wgc or lists.weight is not None),
        )
        count = int(descriptor.max(initial=-1)) + 1
        noted = matching.Noted(np.zeros(count, np.float32), np.zeros(count, np.float32), np.zeros(count))
        sound(matching.votes(lists.columns, lists.asked(query.at[order][first], np.ones(len(first))), how, noted, scores))

    def _stretch(self, lists, at, photos):
        """Photos whose matches are held at once: the fewer, the more each may have, all that share a word being matches."""
        from imgret.indexes.inverted import matching

        each = float((lists.word_offsets[at + 1] - lists.word_offsets[at]).sum()) / max(1, photos)
        return int(np.clip(matching.HELD / max(1, each), matching.LEAST_STRETCH, matching.STRETCH))

    def _geometry(self, lists, query, settings):
        """Angle and scale of a query's entries, in two bytes."""
        for where, there in (("index", lists.geometry is not None), ("query", "geometry" in query.columns)):
            if not there:
                raise ImgretError(f"wgc=true needs angles and scales, and the {where} has none: encode with geometry, or leave it out")
        return quantised(query.columns["geometry"])

    def _threshold(self, settings):
        """Bits in which the signatures of a match differ at most."""
        return int(settings.threshold * self.encoder.bits / PER_BITS)

    def _table(self, lists, settings):
        if lists.floats:
            raise ImgretError(damage("its signatures are no bits"))
        share = self.encoder.bits / PER_BITS
        distance = np.arange(8 * lists.columns.size + 1)
        sigma = settings.sigma * share
        worth = {"gaussian": np.exp(-((distance / sigma) ** 2)), "exponential": np.exp(-distance / sigma), "none": np.ones(len(distance))}
        return worth[settings.weight].astype(np.float32)
