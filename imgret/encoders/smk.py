"""Selective match kernel: what lies between each descriptor and its word."""

import dataclasses

from imgret.encoders.matchkernels import ResidualEncoder, ResidualParams
from imgret.registry import SAMPLING, param


class Smk(ResidualEncoder):
    """Selective match kernel: an entry for each descriptor and each of its `ma` words.

    What is kept is the residual x - c of descriptor and word to unit length (Tolias, Avrithis & Jégou 2013, section 3.2), as numbers or as
    their signs (SMK*).

    Parameters
    ----------
    params : Params
    codebook, statistics : see `imgret.encoders.entries.EntryEncoder`

    References
    ----------
    G. Tolias, Y. Avrithis & H. Jégou, "To aggregate or not to aggregate: selective match kernels for image search", ICCV 2013.
    """

    name = "smk"

    @dataclasses.dataclass(frozen=True)
    class Params(ResidualParams):
        geometry: bool = param(False, "keep the place, scale and angle of each descriptor", role=SAMPLING)

    def encode(self, features):
        """One photo's descriptors to their words and signatures; see `Encoder.encode`."""
        z = self._projected(features)
        found = self._entries(z)
        return self._word(found.words) | {"signature": self._kept(self._residuals(z, found))} | self._geometry(features, found)

    def columns(self):
        """The data columns; see `Encoder.columns`."""
        return super().columns() | self._geometry_column()
