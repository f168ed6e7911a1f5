"""Hamming embedding: each descriptor's visual word, and a few bits that say where in the word's cell it lies."""

import dataclasses

import numpy as np

from imgret.components import VOCABULARIES, Need
from imgret.encoders.entries import EntryEncoder, EntryParams
from imgret.errors import ImgretError
from imgret.registry import SAMPLING, param


class Hamming(EntryEncoder):
    """Hamming embedding.

    An entry for each descriptor and each of its `ma` words. Bit j of its signature says whether the j-th projection of the descriptor is
    above the median of those in the word's cell (Jégou, Douze & Schmid 2008, section 3.2): of two descriptors of one word those are near
    whose signatures differ in few bits.

    With `geometry` an entry has its place, scale and angle besides, for weak geometric consistency (`imgret search --set wgc=true`) and
    for whoever verifies what is found.

    Parameters
    ----------
    params : Params
    codebook : see `imgret.encoders.entries.EntryEncoder`
    thresholds : fitted `hamming` codebook
        `projection_` (bits, d) and `thresholds_` (K, bits), learned with these words.

    References
    ----------
    H. Jégou, M. Douze & C. Schmid, "Hamming embedding and weak geometric consistency for large scale image search", ECCV 2008.
    """

    name = "hamming"
    needs = (Need("words", VOCABULARIES), Need("thresholds", ("hamming",)))

    @dataclasses.dataclass(frozen=True)
    class Params(EntryParams):
        geometry: bool = param(True, "keep the place, scale and angle of each descriptor", role=SAMPLING)

    def __init__(self, params, codebook, thresholds):
        super().__init__(params, codebook, thresholds)
        columns = thresholds.projection_.shape[1]
        if codebook.has_centroids and codebook.centroids_of(np.zeros(1, np.int64)).shape[1] != columns:
            raise ImgretError(f"the thresholds were learned on {columns} columns, and the words have others: learn them with these words")

    @property
    def bits(self):
        """Bits of a signature."""
        return len(self.statistics.projection_)

    def encode(self, features):
        """One photo's descriptors to their words and signatures; see `Encoder.encode`."""
        z = self._projected(features)
        found = self._entries(z)
        projected = z @ self.statistics.projection_.T
        above = projected[found.descriptors] > self.statistics.thresholds_[found.words]
        several = {"descriptor": found.descriptors.astype(np.uint32)} if self.params.ma > 1 else {}
        signature = np.packbits(above, axis=1, bitorder="little")
        return self._word(found.words) | {"signature": signature} | self._geometry(features, found) | several

    def columns(self):
        """The data columns; see `Encoder.columns`."""
        several = {"descriptor": ((), "uint32", {})} if self.params.ma > 1 else {}
        return {"word": ((), "uint32", {}), "signature": ((-(-self.bits // 8),), "uint8", {})} | self._geometry_column() | several
