"""Inverted files: only the lists nearest to a query are looked at."""

import dataclasses
import math

import numpy as np

from imgret.errors import ImgretError
from imgret.indexes import quantizer
from imgret.indexes.base import must
from imgret.indexes.faissed import Faissed
from imgret.indexes.pairs import rotate
from imgret.indexes.pq import PQParams, check_codebooks, set_codebooks, transformed
from imgret.parallel import blocks
from imgret.registry import SAMPLING, Params, param

POINTS_PER_LIST = 64  # training vectors: more are sampled from
LEAST_PER_LIST = 39  # fewer make k-means learn single vectors (faiss warns below the same number)
ITERATIONS = 10
TABLE_BYTES = 1 << 28  # of precomputed terms, at most


class InvertedFile(Faissed):
    """What inverted files share: k-means lists, `nprobe` of them looked at.

    References
    ----------
    H. Jégou, M. Douze & C. Schmid, "Product quantization for nearest neighbor search", PAMI 2011, section 4.
    """

    seeded = True

    @dataclasses.dataclass(frozen=True)
    class SearchParams(Params):
        nprobe: int = param(16, "lists looked at", minimum=1)

    def _plan(self, n_train, n):
        wanted = min(round(4 * math.sqrt(n)), n_train // LEAST_PER_LIST)
        self._lists = self.params.lists or max(1, wanted)
        self._check_training(n_train)
        return f"{self._lists} lists, {self._plan_codes()}"

    def _check_training(self, n_train):
        if n_train < self._lists:
            raise ImgretError(
                f"'{self.name}' with {self._lists} lists needs at least {self._lists} training vectors, got {n_train}: "
                f"give more of them with --train or take --set lists={max(1, n_train // LEAST_PER_LIST)}"
            )

    def _plan_codes(self):
        """What is stored, for the line that `plan` returns."""
        raise NotImplementedError(type(self).__name__)  # every one has its own

    def _coarse(self, x, jobs):
        """Trained coarse quantiser, and the centroids (lists, D)."""
        import faiss

        x = quantizer.subsample(x, POINTS_PER_LIST * self._lists, self.params.seed)
        spherical = self._similarity
        centroids = quantizer.kmeans(x, self._lists, [self.params.seed, 4], iterations=ITERATIONS, spherical=spherical, jobs=jobs)
        flat = faiss.IndexFlatIP(x.shape[1]) if spherical else faiss.IndexFlatL2(x.shape[1])
        flat.add(np.ascontiguousarray(centroids, dtype=np.float32))
        return flat, centroids

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

    @dataclasses.dataclass(frozen=True)
    class Params(Params):
        lists: int = param(0, "inverted lists; 0 takes 4 sqrt(N), as far as the training vectors go", minimum=0, maximum=1 << 24)
        seed: int = param(0, "seed of the k-means", role=SAMPLING, minimum=0)

    def _plan_codes(self):
        return f"vectors of {self.dim} dimensions as they are, {4 * self.dim} bytes per photo"

    def _train(self, x, jobs):
        import faiss

        coarse, _ = self._coarse(x, jobs)
        self._outer = self._core = faiss.IndexIVFFlat(coarse, self.dim, self._lists, self._faiss_metric)
        self._core.is_trained = True

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
    by_distance = True

    @dataclasses.dataclass(frozen=True)
    class Params(PQParams):
        lists: int = param(0, "inverted lists; 0 takes 4 sqrt(N), as far as the training vectors go", minimum=0, maximum=1 << 24)

    def _plan(self, n_train, n):
        self._layout = quantizer.Layout(self.dim, 8 * self.params.bytes // self.params.nbits, self.params.nbits)
        return super()._plan(n_train, n)

    def _check_training(self, n_train):
        self._layout.check_training(n_train, self.name)
        super()._check_training(n_train)

    def _plan_codes(self):
        return f"{self._layout} ({self._layout.how('randomly rotated')}), {self._layout.size} bytes per photo"

    def _train(self, x, jobs):
        import faiss

        layout, seed = self._layout, self.params.seed
        self._matrix = layout.rotation(seed)
        most = max(POINTS_PER_LIST * self._lists, quantizer.POINTS_PER_CENTROID << layout.bits)
        x = quantizer.subsample(x, most, [seed, 5]) @ self._matrix.T
        coarse, centroids = self._coarse(x, jobs)
        x = quantizer.subsample(x, quantizer.POINTS_PER_CENTROID << layout.bits, seed)
        residuals = [x[block] - centroids[quantizer.nearest(x[block], centroids, self._similarity)] for block in blocks(len(x))]
        books = quantizer.codebooks(np.concatenate(residuals), layout, seed, jobs)
        self._core = faiss.IndexIVFPQ(coarse, layout.width, self._lists, layout.parts, layout.bits, self._faiss_metric)
        self._core.use_precomputed_table = -1  # they may be larger than the index
        set_codebooks(self._core.pq, books)
        self._core.is_trained = True
        self._outer = transformed(self._matrix, self._core)

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
