"""Small-world graph: logarithmic search over vectors as they are."""

import dataclasses

import numpy as np

from imgret.errors import ImgretError
from imgret.indexes.base import damage, must
from imgret.indexes.buffers import reserve
from imgret.indexes.flat import Exact
from imgret.indexes.graphs import Graph
from imgret.registry import SAMPLING, Params, param


class HNSW(Graph):
    """Hierarchical navigable small-world graph over vectors as they are.

    The graph depends on the order in which threads reach it, so it is built by one: some thousand rows a second. Equal rows are in it
    once. Where more than an eighth of the rows are asked for, all of them are looked at.

    References
    ----------
    Yu. A. Malkov & D. A. Yashunin, "Efficient and robust approximate nearest neighbor search using hierarchical navigable small world
    graphs", PAMI 2020.
    """

    name = "hnsw"
    seeded = True
    trains = False
    fourcc = (b"IHNf",)
    _exact = None  # made by the first search

    @dataclasses.dataclass(frozen=True)
    class Params(Params):
        m: int = param(32, "links of a row in each layer, twice as many in the lowest", minimum=2, maximum=1024)
        ef_construction: int = param(64, "candidates while the graph is built", minimum=1, maximum=1 << 16)
        seed: int = param(0, "seed of the layers", role=SAMPLING, minimum=0)

    @dataclasses.dataclass(frozen=True)
    class SearchParams(Params):
        ef: int = param(64, "candidates while the graph is searched; more find more", minimum=1)

    def _plan(self, n_train, n):
        links = 8 * self.params.m
        return f"a graph of {2 * self.params.m} links over {self.dim} dimensions, {4 * self.dim + links} bytes per photo"

    def _build(self):
        import faiss

        self._outer = self._core = faiss.IndexHNSWFlat(self.dim, self.params.m, self._faiss_metric)
        self._core.hnsw.efConstruction = self.params.ef_construction
        self._core.hnsw.rng = faiss.RandomGenerator(self.params.seed)
        self._storage = faiss.downcast_index(self._core.storage)
        super()._build()

    def _graph(self):
        return True

    def _append(self, x):
        x = self._different(x)
        if len(x):
            super()._append(x)

    def _reserve(self, count):
        reserve(self._storage.codes, 4 * self.dim * count)
        reserve(self._core.hnsw.neighbors, (2 * self.params.m + 3) * count)  # of a row in m there are links in higher layers, m in each

    def _adopt(self):
        import faiss

        self._split(faiss.IndexHNSWFlat)
        core, graph = self._core, self._core.hnsw
        self._storage = faiss.downcast_index(core.storage)
        must(self._matrix is None and type(self._storage) in (faiss.IndexFlatIP, faiss.IndexFlatL2, faiss.IndexFlat))
        must(self._storage.d == core.d and self._storage.ntotal == core.ntotal and self._storage.metric_type == core.metric_type)
        must(self._storage.codes.size() == 4 * core.d * core.ntotal)
        must(graph.levels.size() == core.ntotal and graph.offsets.size() == core.ntotal + 1)
        must(-1 <= graph.entry_point < core.ntotal and (graph.entry_point >= 0 or core.ntotal == 0))
        must(-1 <= graph.max_level < graph.cum_nneighbor_per_level.size() <= 64 and graph.neighbors.size() >= 0)
        must(graph.offsets.at(core.ntotal) == graph.neighbors.size())

    def _begin(self, count, settings):
        self._exact = Exact.of(self._storage, self, self._exact)

    def _scans(self, fetch):
        return 8 * fetch >= self._nodes

    def _scan(self, query):
        return self._exact.scores(query)

    def _fetch(self, xq, fetch, settings):
        import faiss

        rough, rows = self._core.search(xq, fetch, params=faiss.SearchParametersHNSW(efSearch=max(settings.ef, fetch)))
        if rows.max() >= self._nodes:
            raise ImgretError(damage("row numbers that it does not have"))
        of_query = np.repeat(np.arange(len(xq)), fetch)
        exact = self._exact.pairs(xq, of_query, rows.ravel()).reshape(rows.shape)
        return exact, rows, self._edge(xq, rough, self._exact.reach)
