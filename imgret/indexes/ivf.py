"""Inverted files: only the lists nearest to a query are looked at."""

import dataclasses

import numpy as np

from imgret.indexes.base import must
from imgret.indexes.pairs import rotate
from imgret.indexes.pq import check_codebooks, codebooks_of, set_codebooks, transformed, with_rotation
from imgret.indexes.quantized import Quantized
from imgret.quantizers.inverted import Lists, ListsOfCodes
from imgret.registry import Params, param

TABLE_BYTES = 1 << 28  # of precomputed terms, at most


class InvertedFile(Quantized):
    """What inverted files share: k-means lists, `nprobe` of them looked at.

    References
    ----------
    H. Jégou, M. Douze & C. Schmid, "Product quantization for nearest neighbor search", PAMI 2011, section 4.
    """

    seeded = True

    @dataclasses.dataclass(frozen=True)
    class SearchParams(Params):
        nprobe: int = param(16, "lists looked at", minimum=1)

    def _coarse(self):
        """faiss' coarse quantiser, of the lists that were learned."""
        import faiss

        lists = self._learned.arrays["lists"]
        flat = (faiss.IndexFlatIP if self._similarity else faiss.IndexFlatL2)(lists.shape[1])
        flat.add(lists)
        return flat

    def _lists(self):
        """The centroids of the lists: (lists, D)."""
        import faiss

        flat = faiss.downcast_index(self._core.quantizer)
        return faiss.rev_swig_ptr(flat.codes.data(), 4 * flat.ntotal * flat.d).copy().view(np.float32).reshape(flat.ntotal, flat.d)

    def _check_lists(self):
        """Whether what was read is an inverted file as `train` makes it."""
        import faiss

        core = self._core
        coarse = faiss.downcast_index(core.quantizer)
        must(type(coarse) in (faiss.IndexFlatIP, faiss.IndexFlatL2) and coarse.d == core.d and coarse.ntotal == core.nlist > 0)
        must(coarse.metric_type == core.metric_type and coarse.codes.size() == 4 * coarse.ntotal * coarse.d)
        must(core.invlists is not None and core.invlists.nlist == core.nlist and core.invlists.code_size == core.code_size)
        must(self.params.lists in (0, core.nlist) and core.invlists.compute_ntotal() == core.ntotal)

    def visited(self, xq, settings=None):
        """All but the lists, and those lists that the queries probe; see `Index.visited`."""
        if self._buffer is None:
            return None  # it lies in no file
        (starts,), settings = self._lists_at, settings or self.SearchParams()
        xq = self._prepared(xq, "the matrix of queries")
        if self._matrix is not None:
            xq = rotate(xq, self._matrix)
        probed = self._probed(xq, min(settings.nprobe, self._core.nlist))
        around = [[0, starts[0]], [starts[-1], len(self._buffer[0])]]
        return {"faiss": np.concatenate([around, np.stack([starts[probed], starts[probed + 1]], axis=1)])}

    def _probed(self, xq, count):
        """The `count` lists nearest to each query, found by faiss' own search for them, each once: ascending."""
        import faiss

        coarse, step = faiss.downcast_index(self._core.quantizer), self._queries_at_once(len(xq), 1, 1)
        found = [coarse.search(xq[start : start + step], count)[1].ravel() for start in range(0, len(xq), step)]
        found = np.unique(np.concatenate([np.empty(0, np.int64), *found]))
        return found[found >= 0]  # of what was damaged anything may come: then it is found around the lists

    def kept(self, start, stop):
        """See `Index.kept`: where each row is is known as long as they are all asked for, in order."""
        self._complete()
        if self._core.direct_map.type == 0:
            self._core.make_direct_map()
        try:
            return self._core.reconstruct_n(start, stop - start)
        finally:
            if stop == self.size:
                self._core.make_direct_map(False)  # it is no part of the file

    def _begin(self, count, settings):
        if self._counted != self.size:
            lists = self._core.invlists
            self._sizes = np.sort([lists.list_size(i) for i in range(self._core.nlist)])[::-1]
            self._counted = self.size

    _counted = None  # rows when the lists were last counted

    def _limit(self, settings):
        return int(self._sizes[: settings.nprobe].sum())

    def _faiss_settings(self, settings, fetch):
        import faiss

        return faiss.SearchParametersIVF(nprobe=min(settings.nprobe, self._core.nlist))


class IVFFlat(InvertedFile):
    """Inverted file of vectors as they are: exact scores, some neighbours missed."""

    name = "ivf-flat"
    fourcc = (b"IwFl",)

    quantizer = Lists
    Params = Lists.Params

    def _build(self):
        import faiss

        coarse = self._coarse()
        self._outer = self._core = faiss.IndexIVFFlat(coarse, self.dim, self._learned.count, self._faiss_metric)
        self._core.is_trained = True

    def _arrays(self):
        return {"lists": self._lists()}

    def _adopt(self):
        import faiss

        self._split(faiss.IndexIVFFlat)
        must(self._matrix is None and self._core.code_size == 4 * self._core.d)
        self._check_lists()


class IVFPQ(InvertedFile):
    """Inverted file of product-quantised residuals: the index for millions of photos.

    Vectors are rotated at random into a multiple of the number of sub-quantisers. "cosine" is ranked by distance, as in `PQ`.
    """

    name = "ivfpq"
    fourcc = (b"IxPT",)
    quantizer = ListsOfCodes
    Params = ListsOfCodes.Params

    def _build(self):
        import faiss

        layout, arrays = self._learned.layout, self._learned.arrays
        self._matrix = arrays["rotation"]
        self._core = faiss.IndexIVFPQ(self._coarse(), layout.width, self._learned.count, layout.parts, layout.bits, self._faiss_metric)
        self._core.use_precomputed_table = -1  # they may be larger than the index
        set_codebooks(self._core.pq, arrays["centroids"])
        self._core.is_trained = True
        self._outer = transformed(self._matrix, self._core)

    def _arrays(self):
        return with_rotation(self._matrix, {"lists": self._lists(), "centroids": codebooks_of(self._core.pq)})

    def _begin(self, count, settings):
        super()._begin(count, settings)
        self._asked += count
        core = self._core
        small = 4 * core.nlist * core.pq.M * core.pq.ksub <= TABLE_BYTES
        # Terms of the distances that no query changes: worth their time when every list has been looked at about once.
        if not self._tabled and not self._similarity and small and self._asked * settings.nprobe >= core.nlist:
            core.use_precomputed_table = 0
            core.precompute_table()
            self._tabled = True

    _asked, _tabled = 0, False  # queries so far; whether they are there

    def _adopt(self):
        import faiss

        self._split(faiss.IndexIVFPQ)
        must(self._matrix is not None and self._core.code_size == self.params.bytes and self._core.by_residual)
        check_codebooks(self._core.pq, self.params, self._core.d)
        self._check_lists()
