"""Aggregated selective match kernel: for each visual word, what lies between it and all its descriptors."""

import numpy as np

from imgret import words
from imgret.encoders.matchkernels import ResidualEncoder, ResidualParams


class Asmk(ResidualEncoder):
    """Aggregated selective match kernel: an entry for each word of the photo.

    What is kept is the sum of the residuals x - c of the word's descriptors to unit length (Tolias, Avrithis & Jégou 2013, section 4), as
    numbers (ASMK) or as their signs (ASMK*). A descriptor takes part in each of its `ma` words.

    Parameters
    ----------
    params : Params
    codebook, statistics : see `imgret.encoders.entries.EntryEncoder`

    References
    ----------
    G. Tolias, Y. Avrithis & H. Jégou, "To aggregate or not to aggregate: selective match kernels for image search", ICCV 2013.
    G. Tolias, Y. Avrithis & H. Jégou, "Image search with selective match kernels: aggregation across single and multiple images", IJCV
    2016.
    """

    name = "asmk"
    Params = ResidualParams

    def encode(self, features):
        """One photo's descriptors to its words and their signatures; see `Encoder.encode`."""
        z = self._projected(features)
        found = self._entries(z)
        if not len(found.words):
            return self._word(found.words) | {"signature": self._kept(np.zeros((0, self._columns), np.float32))}
        groups = words.group(found.words)
        sums = words.sums(self._residuals(z, found), groups, "exact")
        return self._word(groups.words) | {"signature": self._kept(sums.astype(np.float32))}
