"""The encoder that made an index's entries, as far as a search by such entries asks for it: its codebooks stay where they are."""

import functools
import types

from imgret.components import VOCABULARIES
from imgret.encoders import ENCODERS
from imgret.errors import ImgretError
from imgret.pipeline import codebooks, component_class

MOST_WORDS, MOST_BITS = 1 << 32, 1 << 16
KNOWN = ("idf", "lp_idf")  # what searches want of statistics, by word


class Maker:
    """An encoder of visual words by what its pipeline says.

    Parameters
    ----------
    pipeline : imgret.pipeline.Pipeline
    facts : dict
        What the index says of itself: `words` and `bits`.
    shown : str
        What the index is called in messages.

    Attributes
    ----------
    name : str
    params : Params
    words, bits : int
        As the encoder has them.

    Raises
    ------
    ImgretError
        If the index does not say them.
    """

    def __init__(self, pipeline, facts, shown):
        node = pipeline.node
        self.words, self.bits = (facts.get(name) for name in ("words", "bits"))
        counts = type(self.words) is int and 0 < self.words <= MOST_WORDS and type(self.bits) is int and 0 <= self.bits <= MOST_BITS
        if not counts or node["component"] not in ENCODERS:
            raise ImgretError(f"{shown} is damaged: it does not say what its words are")
        self.name, self._pipeline = node["component"], pipeline
        self.params = component_class(node).Params.from_json(node["params"])

    @functools.cached_property
    def statistics(self):
        """What its words are like, where a codebook says that: `idf_` and `lp_idf_`, (K,) float32; None elsewhere.

        Raises
        ------
        ImgretError
            If it says that of other words.
        """
        node = next((each for each in codebooks(self._pipeline.node) if each["component"] not in VOCABULARIES), None)
        if node is None:
            return None
        found = {f"{name}_": self._pipeline.arrays[node["arrays"][name]] for name in KNOWN if name in node["arrays"]}
        if len(found) < len(KNOWN) or any(array.shape != (self.words,) or array.dtype.kind != "f" for array in found.values()):
            raise ImgretError(f"the index is damaged (its statistics are not of {self.words} words): make it again")
        return types.SimpleNamespace(**found)
