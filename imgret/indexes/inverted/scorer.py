"""What a scorer is: how a query's entries and those of its words' lists become photos' scores."""

import dataclasses
import typing

import numpy as np

from imgret.errors import ImgretError
from imgret.indexes.base import damage
from imgret.indexes.inverted.lists import Lists
from imgret.indexes.inverted.weighting import Weighted


class Query(typing.NamedTuple):
    """A query's entries, in the order of their words.

    Attributes
    ----------
    words : ndarray, shape (n,), int64
    at : ndarray, shape (n,), int64
        Where the list of each is; −1 where there is none, or it is not asked.
    idf : ndarray, shape (n,), float64
    columns : dict of str to ndarray
        What the query gave.
    """

    words: np.ndarray
    at: np.ndarray
    idf: np.ndarray
    columns: dict

    def asking(self, *others):
        """Of entries whose list is asked: where it is, and these columns (n, ...) of them."""
        asked = self.at >= 0
        return self.at[asked], *(None if other is None else other[asked] for other in others)

    @property
    def weight(self):
        """Of each entry, float64; 1 where the query gave none."""
        given = self.columns.get("weight")
        return np.ones(len(self.words)) if given is None else given.astype(np.float64)


class Scorer:
    """Base of the scorers, one for each encoder.

    Parameters
    ----------
    encoder : imgret.encoders.base.Encoder
        It made the entries.

    Attributes
    ----------
    carries : tuple of str
        What an entry needs besides its word.
    optional : tuple of str
        What it may have besides, and is kept.
    together : bool
        Whether the entries of a photo that are of one word are one.
    numbers : bool
        Whether numbers may ask where photos have bits.
    lengths : bool
        Whether it needs photos' lengths, the sums of their weights.
    """

    carries = optional = ()
    together = lengths = numbers = False

    @dataclasses.dataclass(frozen=True)
    class SearchParams(Weighted):
        """None of its own."""

    def __init__(self, encoder):
        self.encoder = encoder

    def check(self, lists):
        """Refuse lists that lack what it needs; `ImgretError`."""
        for name in self.carries:
            if getattr(lists, name) is None:
                raise ImgretError(damage(f"its entries have no {name}"))
        if lists.signature is not None:
            bits = self.encoder.bits
            if lists.signature.shape[1] != (bits if lists.floats else -(-bits // 8)):
                raise ImgretError(damage(f"its signatures are not of {bits} bits"))

    def asked(self, settings):
        """What the encoder is told of queries: its parameters by name, as JSON."""
        return {"ma": settings.ma}

    def norm(self, settings):
        """What photos' norms depend on, as JSON; None where nothing is divided by them."""
        raise NotImplementedError(type(self).__name__)

    def add_self(self, lists, idf, settings, sums):
        """Add to `sums` (N,), float64, how similar each photo of the lists is to itself: the square of its norm.

        Parameters
        ----------
        lists : Lists
        idf : ndarray, shape (P,), float64
            Of their words.
        settings : SearchParams
        sums : ndarray, shape (N,), float64
        """
        raise NotImplementedError(type(self).__name__)

    def score(self, lists, query, settings, scores, lengths):
        """Add up `scores` (N,), float32, of zeros.

        Parameters
        ----------
        lists : Lists
        query : Query
        settings : SearchParams
        scores : ndarray
        lengths : ndarray, shape (N,), float32, or None
            Where the scorer has `lengths`.
        """
        raise NotImplementedError(type(self).__name__)

    def asked_as_one(self, query, settings):
        """How similar a query is to itself."""
        lists = Lists.of_one(query.words, self.signature(query, False), self.self_weight(query))
        starts = lists.word_offsets[:-1]
        sums = np.zeros(1)
        self.add_self(lists, query.idf[starts], settings, sums)
        return float(sums[0])

    def self_weight(self, query):
        """The weights that a query's similarity to itself takes, (n,) float32, or None."""
        given = query.columns.get("weight")
        return None if given is None else np.ascontiguousarray(given, np.float32)

    def signature(self, query, asking):
        """A query's signatures, where there are such: to ask with (float32 or packed bits), or as a photo has them."""
        given = query.columns.get("signature") if "signature" in self.carries else None
        if given is None or given.dtype == np.uint8:
            return given
        return given.astype(np.float32 if asking else np.float16)


def sound(status):
    """Refuse lists that a compiled loop has found damaged; `ImgretError`."""
    if status:
        raise ImgretError(damage("a list names photos that are not there, or does not end where it should"))
