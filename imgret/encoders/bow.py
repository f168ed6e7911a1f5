"""Bag of words: how often each visual word occurs in a photo."""

import dataclasses

import numpy as np

from imgret import arrays
from imgret.encoders.entries import EntryEncoder, EntryParams
from imgret.errors import ImgretError, UsageError
from imgret.registry import SAMPLING, param

MOST_DENSE = 1 << 17  # words of a vector that has a number for each
TF = ("sqrt", "tf", "binary")


class Bow(EntryEncoder):
    """Bag of visual words.

    Each descriptor goes to its `ma` nearest words and weighs exp(-d²/2σ²) in each, d being the distance and σ `soft`, all of one descriptor
    adding up to 1 (Philbin et al. 2008, section 3); with `soft=0` it weighs 1 in each. An entry is a word of the photo and the sum of what
    weighs in it; the index makes scores of these, see `imgret search --set`. With `geometry` there is an entry for each descriptor, with
    where it is.

    Of a vocabulary tree, `levels=all` counts the nodes that a descriptor passes, not only the leaf where it ends: an inverted index
    then weighs each by its own idf, as Nistér & Stewénius 2006 do (section 4, "entropy weighting").

    `dense` gives an ordinary vector (K,), with a number for each word: `tf` of it, times the word's idf where a codebook says that, to
    unit length. PCA and product quantisers take it as any other.

    Parameters
    ----------
    params : Params
    codebook, statistics : see `imgret.encoders.entries.EntryEncoder`

    References
    ----------
    J. Sivic & A. Zisserman, "Video Google: a text retrieval approach to object matching in videos", ICCV 2003.
    D. Nistér & H. Stewénius, "Scalable recognition with a vocabulary tree", CVPR 2006.
    J. Philbin, O. Chum, M. Isard, J. Sivic & A. Zisserman, "Lost in quantization", CVPR 2008.
    """

    name = "bow"

    @dataclasses.dataclass(frozen=True)
    class Params(EntryParams):
        soft: float = param(0.0, "with several words, weigh each by exp(-d²/2σ²), σ being this; 0: all alike", role=SAMPLING, minimum=0.0)
        levels: str = param("leaves", "of a vocabulary tree, count leaves or the nodes of all levels", choices=("leaves", "all"))
        geometry: bool = param(False, "an entry for each descriptor, with its place, scale and angle", role=SAMPLING)
        dense: bool = param(False, "a vector with a number for each word, instead of entries")
        tf: str = param(
            "sqrt", "of a dense vector: the square root of how often a word occurs, that itself, or whether it does", choices=TF
        )
        dtype: str = param("float32", "type of dense vectors", role=SAMPLING, choices=("float32", "float16"))

        def __post_init__(self):
            super().__post_init__()
            if self.dense and self.geometry:
                raise UsageError("a dense vector has no geometry: leave one of `dense` and `geometry` out")
            if not self.dense and (self.tf != "sqrt" or self.dtype != "float32"):
                raise UsageError("`tf` and `dtype` are of dense vectors: give dense=true, or give tf to imgret search")

    def __init__(self, params, codebook, statistics=None):
        super().__init__(params, codebook, statistics)
        if params.dense:
            self.gives = "vectors"
        if params.levels == "all" and codebook.nodes is None:
            raise ImgretError(
                f"`levels` is for a vocabulary tree (hkm), and these are the words of a {codebook.name} codebook: leave it out"
            )
        if params.dense and self.words > MOST_DENSE:
            raise ImgretError(
                f"a dense vector of {self.words} words is too long ({MOST_DENSE} at most): leave dense out, or take fewer words"
            )

    @property
    def words(self):
        """Number of words: K."""
        return self.codebook.nodes if self.params.levels == "all" else self.codebook.words

    @property
    def dim(self):
        """Length of a dense vector."""
        return self.words if self.params.dense else None

    def encode(self, features):
        """One photo's descriptors to its words, or their vector; see `Encoder.encode`."""
        found = self._entries(self._projected(features))
        weights = self._weights(found, len(features))
        each, words = np.arange(len(found.words)), found.words
        if self.params.levels == "all":
            nodes = self.codebook.ancestors_of(words)
            each = np.repeat(each, nodes.shape[1])
            order = np.argsort(nodes.ravel(), kind="stable")
            each, words = each[order], nodes.ravel()[order]
        if self.params.geometry:
            found = dataclasses.replace(found, descriptors=found.descriptors[each])
            return self._word(words) | {"weight": weights[each]} | self._geometry(features, found)
        words, each = words[weights[each] > 0], each[weights[each] > 0]  # of words so far off that nothing is left of their share
        present, starts = np.unique(words, return_index=True)
        sums = np.add.reduceat(weights[each].astype(np.float64), starts) if len(words) else np.zeros(0)
        return self._vector(present, sums) if self.params.dense else self._word(present) | {"weight": sums.astype(np.float32)}

    def columns(self):
        """The data columns; see `Encoder.columns`."""
        if self.params.dense:
            return super().columns()
        return {"word": ((), "uint32", {}), "weight": ((), "float32", {})} | self._geometry_column()

    def _weights(self, found, count):
        """What each entry weighs in its word: (E,), float32."""
        if not self.params.soft:
            return np.ones(len(found.words), np.float32)
        # less the nearest word's, so that one that is far from all has its share too
        nearest = np.full(count, np.inf)
        np.minimum.at(nearest, found.descriptors, found.squared)
        weights = np.exp((nearest[found.descriptors] - found.squared) / (2 * self.params.soft**2))
        return (weights / np.bincount(found.descriptors, weights, minlength=count)[found.descriptors]).astype(np.float32)

    def _vector(self, present, sums):
        values = {"sqrt": np.sqrt, "tf": np.asarray, "binary": np.ones_like}[self.params.tf](sums)
        if self.statistics is not None:
            values = values * self.statistics.idf_[present]
        vector = np.zeros(self.words, self.params.dtype)
        vector[present] = arrays.unit(values, self.params.dtype)
        return vector
