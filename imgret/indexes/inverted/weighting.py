"""How much a word tells: inverse document frequencies, of what was learned from or of what is indexed."""

import dataclasses
import math

import numpy as np

from imgret.errors import ImgretError
from imgret.indexes.base import damage
from imgret.registry import Params, param


@dataclasses.dataclass(frozen=True)
class Weighted(Params):
    """What all scorers are asked with."""

    idf: str = param(
        "auto",
        "of the training sample, of the gallery, or none; auto takes training's where there are statistics",
        choices=("auto", "training", "gallery", "none"),
    )
    lp: bool = param(False, "idf from the frequencies themselves, not from the number of photos (Zheng et al.)")
    stop: float = param(0.0, "per mille of the words that are not asked: those of the longest lists", minimum=0.0, maximum=1000.0)


def inverse(photos, having):
    """ln(N / n) of words that `having` (P,) of N photos have, not below 0, float32; by sums of powers it is the lp-norm idf."""
    return np.maximum(np.log(max(1, photos) / np.where(having > 0, having, 1)), 0).astype(np.float32)


class Idf:
    """Inverse document frequencies of words.

    Parameters
    ----------
    statistics : object or None
        With `idf_` and `lp_idf_` (K,).
    words : ndarray, shape (P,), uint32
        Those that the gallery has.
    photos : int
    of_gallery : dict of bool to ndarray (P,)
        Of these words: idf by False, lp-norm idf by True.
    """

    def __init__(self, statistics, words, photos, of_gallery):
        self._statistics, self._words, self._photos, self._of_gallery = statistics, words, photos, of_gallery

    def source(self, settings):
        """What "auto" stands for, otherwise the setting.

        Raises
        ------
        ImgretError
            If there are no statistics, and they are asked for.
        """
        if settings.idf == "training" and self._statistics is None:
            raise ImgretError("idf=training needs a codebook of statistics to have been given to encode (-m words): take idf=gallery")
        if settings.idf == "auto":
            return "gallery" if self._statistics is None else "training"
        return settings.idf

    def of(self, settings, words, at):
        """The idf of words (n,), whose lists are at `at` (−1 for none): (n,), float64, none below 0.

        A word that no photo has counts as if one had it.
        """
        source = self.source(settings)
        if source == "none":
            return np.ones(len(words))
        if source == "training":
            known = self._statistics.lp_idf_ if settings.lp else self._statistics.idf_
            if len(words) and int(words.max()) >= len(known):
                raise ImgretError(damage("words that the codebook does not have"))
            found = known[words]
        else:
            known = np.append(self._of_gallery[settings.lp], math.log(max(1, self._photos)))
            found = known[at]
        return np.maximum(np.asarray(found, np.float64), 0)

    def of_lists(self, settings):
        """The idf of all words that there are: (P,), float64."""
        return self.of(settings, self._words, np.arange(len(self._words)))
