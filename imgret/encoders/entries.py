"""What encoders that give visual words share: descriptors to words, and which of them are kept."""

import dataclasses

import numpy as np

from imgret import arrays, geometry
from imgret.components import VOCABULARIES, Need
from imgret.encoders.base import Encoder
from imgret.errors import ImgretError
from imgret.registry import SAMPLING, Params, param

STATISTICS = ("words", "hamming")  # codebooks that know how often words occur


@dataclasses.dataclass(frozen=True)
class EntryParams(Params):
    """What the encoders of visual words have in common."""

    ma: int = param(1, "words of each descriptor, the nearest", role=SAMPLING, minimum=1, maximum=64)
    far: float = param(
        0.0,
        "leave out descriptors farther from a word than so many times the root mean square of those it was learned from; 0: none",
        role=SAMPLING,
        minimum=0.0,
    )
    stop: float = param(
        0.0, "leave out this share of all words, in thousandths: those that most photos have", role=SAMPLING, minimum=0.0, maximum=1000.0
    )


@dataclasses.dataclass(frozen=True)
class Assigned:
    """Descriptors and their words, sorted by word: what is left of them.

    Attributes
    ----------
    words : ndarray, shape (E,), int64
    descriptors : ndarray, shape (E,), int64
        The row of each among the photo's.
    squared : ndarray, shape (E,), float32
        Squared distance to the word.
    """

    words: np.ndarray
    descriptors: np.ndarray
    squared: np.ndarray


class EntryEncoder(Encoder):
    """Base of the encoders that give a photo's visual words: an entry for each, sorted by word, with what the method keeps beside it.

    Parameters
    ----------
    params : EntryParams
    codebook : fitted codebook
        It has `words`, `nearest_words`, `dim_`, `transform`, and `centroids_of` where `residuals` says that it has to.
    statistics : fitted codebook, optional
        It has `photos_`, `spread_` and `idf_`, each (K,).

    Attributes
    ----------
    words : int
        Number of words: K.
    bits : int
        Bits, or numbers, of a signature; 0 where there is none.
    residuals : bool
        Whether the method needs words that are points in the space of descriptors.
    """

    gives = "words"
    bits = 0
    residuals = False
    needs = (Need("words", VOCABULARIES), Need("statistics", STATISTICS, optional=True))

    def __init__(self, params, codebook, statistics=None):
        super().__init__(params, codebook, statistics)
        self.statistics = statistics
        if self.residuals and not codebook.has_centroids:
            raise ImgretError(
                f"{self.name} needs words that are points, and those of a {codebook.name} codebook are none: take bow or hamming"
            )
        for name in ("far", "stop"):
            if getattr(params, name) and statistics is None:
                raise ImgretError(
                    f"`{name}` needs to know how words are spread: learn that with imgret codebook -m words, and give it with another -c"
                )
        if statistics is not None and len(statistics.photos_) != self.words:
            raise ImgretError(
                f"the statistics are of {len(statistics.photos_)} words, and {self.name} has {self.words}: learn them with the same levels"
            )
        self._stopped = None if not params.stop else stopped(statistics.photos_, params.stop)

    @property
    def words(self):
        return self.codebook.words

    def _entries(self, z):
        """The `Assigned` of descriptors in the codebook's space, (T, d)."""
        found, squared = self.codebook.nearest_words(z, self.params.ma)
        count = found.shape[1]
        found, squared = found.ravel(), squared.ravel()
        rows = np.repeat(np.arange(len(z)), count)
        keep = np.ones(len(found), bool)
        if self.params.far:
            keep &= squared <= np.float32(self.params.far**2) * self.statistics.spread_[found]
        if self._stopped is not None:
            keep &= ~self._stopped[found]
        if not keep.all():
            found, rows, squared = found[keep], rows[keep], squared[keep]
        order = np.argsort(found, kind="stable")
        return Assigned(found[order], rows[order], squared[order])

    def _projected(self, features):
        """A photo's descriptors in the codebook's space: (T, d), float32."""
        x = arrays.rows(features.descriptors, self.codebook.dim_, "the descriptor matrix")
        if len(x) == 0:
            raise ImgretError("a photo without descriptors has no words: leave it out")
        return np.ascontiguousarray(self.codebook.transform(x), dtype=np.float32)

    def _geometry(self, features, assigned):
        """The columns of geometry, where it is kept."""
        return {"geometry": geometry.quantised(features)[assigned.descriptors]} if self.params.geometry else {}

    def _geometry_column(self):
        return {"geometry": ((len(geometry.COLUMNS),), "uint16", {})} if self.params.geometry else {}

    def _word(self, found):
        return {"word": found.astype(np.uint32)}


def stopped(photos, share):
    """Which words are stop words: (K,), bool.

    Parameters
    ----------
    photos : ndarray, shape (K,)
        Photos that have each word; of words that equally many have, the first are stopped first.
    share : float
        In thousandths.
    """
    count = int(len(photos) * share / 1000)
    found = np.zeros(len(photos), bool)
    found[np.argsort(-photos, kind="stable")[:count]] = True
    return found
