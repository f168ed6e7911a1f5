"""Any other faiss index, by its factory string."""

import dataclasses
import re

import numpy as np

from imgret.errors import ImgretError, UsageError
from imgret.indexes import structures
from imgret.indexes.base import must
from imgret.indexes.buffers import FAISS_ERRORS
from imgret.indexes.graphs import Graph
from imgret.indexes.pairs import rotate
from imgret.indexes.walks import UnknownStructure
from imgret.registry import SAMPLING, Params, param

LONGEST = 200
LARGEST = 1 << 24  # a larger number in a factory string is a slip, and would be allocated


class Factory(Graph):
    """What `faiss.index_factory` makes of a string, such as "OPQ16_64,IVF256,PQ16x4fs" or "SQ8".

    Ties break by row where faiss gives identical rows identical scores, or where its codes can be decoded and scored again (flat, scalar
    and product quantisers, in inverted files and graphs or not). faiss trains it with its own settings, on one thread. A graph has rows
    that are equal, or whose codes are, once.

    Not every structure of faiss is opened from a file, which might be a stranger's: Flat, SQ4, SQ6, SQ8, SQfp16, SQbf16, PQ, PQ with "fs"
    and LSH are, IVF and HNSW of these, refined ("RFlat") or not, after PCA, OPQ, RR, HR, ITQ, Pad and L2norm. A string that makes
    another is refused before anything is built.

    References
    ----------
    "The index factory", faiss' documentation.
    """

    name = "factory"
    seeded = True

    judged = False  # what its structure keeps of a row is not known

    @dataclasses.dataclass(frozen=True)
    class Params(Params):
        factory: str = param("", "a faiss index factory string")
        seed: int = param(0, "seed of faiss' k-means, where it can be set", role=SAMPLING, minimum=0)

    @dataclasses.dataclass(frozen=True)
    class SearchParams(Params):
        nprobe: int = param(16, "lists looked at, in an inverted file", minimum=1)
        ef: int = param(64, "candidates, in a graph", minimum=1)

    def _plan(self, n_train, n):
        import faiss

        text = self.params.factory
        if not text:
            raise UsageError("the method 'factory' needs a faiss factory string, such as IVF256,PQ16: give it with --factory")
        if len(text) > LONGEST or any(int(number) > LARGEST for number in re.findall(r"\d+", text)):
            raise UsageError(f"the factory string '{text[:LONGEST]}' asks for more than can be meant")
        lists, bits = re.search(r"IVF(\d+)", text), [int(bits or 8) for _, bits in re.findall(r"PQ(\d+)(?:_\d+)?(?:x(\d+))?", text)]
        self._least = max([int(lists[1]) if lists else 0, *(1 << min(bit, 24) for bit in bits)])
        self._check_training(n_train)
        try:
            index = faiss.index_factory(self.dim, text, faiss.METRIC_L2 if self.metric == "l2" else faiss.METRIC_INNER_PRODUCT)
        except FAISS_ERRORS as error:
            raise UsageError(f"faiss makes no index for {self.dim} dimensions of '{text}': {_reason(error)}") from None
        if isinstance(index, faiss.IndexIDMap | faiss.IndexIDMap2):
            raise UsageError(f"'{text}' keeps row numbers of its own: leave IDMap out")
        _check_opens(index, text)
        self._empty = index
        self.trains = not index.is_trained
        return f"faiss' {text} over {self.dim} dimensions"

    def _check_training(self, n_train):
        if n_train < self._least:
            raise ImgretError(
                f"'{self.params.factory}' needs at least {self._least} training vectors, got {n_train}: "
                "give more of them with --train or take fewer lists or bits"
            )

    def _build(self):
        self._outer, self._empty = self._empty, None
        self._take_apart()
        super()._build()

    def _train(self, x):
        index = self._empty
        self._seed(index)
        try:
            index.train(x)
        except FAISS_ERRORS as error:
            raise ImgretError(f"faiss cannot train '{self.params.factory}' on {len(x)} vectors: {_reason(error)}") from None
        self._build()

    def _seed(self, index):
        import faiss

        seen = [index]
        if isinstance(index, faiss.IndexPreTransform):
            seen.append(faiss.downcast_index(index.index))
        for part in [*seen, *(part.pq for part in seen if hasattr(part, "pq"))]:
            if hasattr(part, "cp"):
                part.cp.seed = self.params.seed + 1234  # faiss' default
                part.cp.min_points_per_centroid = 1  # or it warns on stderr
            if hasattr(part, "do_polysemous_training"):
                part.do_polysemous_training = False  # a minute's work for a Hamming search that is not made here

    def _append(self, x):
        try:
            x = self._transformed(x)
            x = self._different(x, self._codes(x))
            if len(x):
                self._core.add(x)
            self._outer.ntotal = self._core.ntotal
        except FAISS_ERRORS as error:
            raise ImgretError(f"faiss cannot add to '{self.params.factory}': {_reason(error)}") from None

    def _graph(self):
        import faiss

        core = self._core
        while isinstance(core, faiss.IndexRefine | faiss.IndexPreTransform):
            core = faiss.downcast_index(core.base_index if isinstance(core, faiss.IndexRefine) else core.index)
        return isinstance(core, faiss.IndexHNSW)

    def _codes(self, x):
        """What a graph keeps of rows, where that is not all of them."""
        import faiss

        if not isinstance(self._core, faiss.IndexHNSW) or isinstance(self._core, faiss.IndexHNSWFlat):
            return None
        return faiss.downcast_index(self._core.storage).sa_encode(x)

    def _adopt(self):
        import faiss

        self._take_apart()
        must(self._core.ntotal == self._outer.ntotal and (self._transforms or self._core.d == self._outer.d))
        if isinstance(self._core, faiss.IndexIVF):
            must(self._core.invlists is not None and self._core.invlists.compute_ntotal() == self._core.ntotal)
        elif isinstance(self._core, faiss.IndexFlatCodes):
            must(self._core.codes.size() == self._core.ntotal * self._core.code_size)

    def _take_apart(self):
        import faiss

        self._transforms, core = [], self._outer
        if isinstance(core, faiss.IndexPreTransform):
            self._transforms = [faiss.downcast_VectorTransform(core.chain.at(i)) for i in range(core.chain.size())]
            core = faiss.downcast_index(core.index)
        self._core = core
        scalar = faiss.IndexScalarQuantizer, faiss.IndexIVFScalarQuantizer
        product = faiss.IndexPQ, faiss.IndexIVFPQ, faiss.IndexPQFastScan
        # faiss compares four links of a graph at a time, and on some processors that rounds otherwise than one by one
        graph = faiss.IndexHNSWFlat, faiss.IndexHNSWSQ, faiss.IndexHNSWPQ
        self._decodes = isinstance(core, (faiss.IndexFlat, faiss.IndexIVFFlat, *scalar, *product, *graph))

    @property
    def _similarity(self):
        import faiss

        if self._core is None:
            return self.metric != "l2"
        return faiss.is_similarity_metric(self._core.metric_type)

    def _answer(self, xq, k, settings):
        return super()._answer(self._transformed(xq), k, settings)

    def _transformed(self, x):
        """Rows as faiss' transforms before the index leave them, but each by itself: BLAS rounds by a row's place in its block."""
        import faiss

        for transform in self._transforms:
            if isinstance(transform, faiss.LinearTransform):
                matrix = faiss.vector_to_array(transform.A).reshape(transform.d_out, transform.d_in)
                x = rotate(np.ascontiguousarray(x), matrix)
                if transform.have_bias:
                    x = x + faiss.vector_to_array(transform.b)
            else:
                x = np.concatenate([transform.apply(row[None]) for row in x]) if len(x) else x
        return np.ascontiguousarray(x, dtype=np.float32)

    def _fetch(self, xq, fetch, settings):
        if self._decodes:
            return super()._fetch(xq, fetch, settings)
        rough, rows = self._core.search(xq, fetch, params=self._faiss_settings(settings, fetch))
        scores = self._final(rough if self._similarity else -rough)
        return scores, rows, scores[:, -1]

    def _faiss_settings(self, settings, fetch):
        import faiss

        if isinstance(self._core, faiss.IndexIVF):
            return faiss.SearchParametersIVF(nprobe=min(settings.nprobe, self._core.nlist))
        if isinstance(self._core, faiss.IndexHNSW):
            return faiss.SearchParametersHNSW(efSearch=max(settings.ef, fetch))
        return None

    def _final(self, scores):
        return np.clip(scores, -1, 1) if self.metric == "cosine" and self._similarity else scores


def _check_opens(index, text):
    """Refuse what would take an hour to build and could not be opened then.

    Raises
    ------
    UsageError
    """
    import faiss

    try:
        structures.check(faiss.serialize_index(index), empty=True)
    except UnknownStructure as error:
        what = f" ({error.what})"
    except (ImgretError, *FAISS_ERRORS):  # what faiss cannot even write
        what = ""
    else:
        return
    raise UsageError(
        f"'{text}' makes a structure that is not opened from a file{what}: "
        "take one of Flat, SQ8, PQ16 and PQ16x4fs, or IVF256 or HNSW32 with one, such as OPQ16,IVF256,PQ16,RFlat"
    )


def _reason(error):
    """What faiss says, without where in its sources it says so."""
    text = str(error).strip().splitlines()[0] if str(error).strip() else "no reason given"
    return re.sub(r"^Error in .*? at \S+:\d+: ", "", text)[:LONGEST]
