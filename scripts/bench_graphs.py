"""How fast are expansion, k-reciprocal encoding and diffusion on 100,000 vectors, and what memory do they take?

    python scripts/bench_graphs.py [--photos 100000] [--peer-photos 10000]

Vectors of 256 dimensions in groups of 5 to 40; the graph has the 50 nearest of each, exact, and the queries are photos of the gallery with
lists of 1000. Each method runs in a process of its own, whose peak memory is told, and by how much it exceeds that of a process that only
holds the graph; processor time, one thread.

The peer is what is usually run for k-reciprocal encoding (Zhong et al. 2017): dense N × N matrices in numpy, a loop over photos; written
here from the paper. All photos ask, with the published parameters; its result and ours are compared.
"""

import argparse
import multiprocessing
import pathlib
import tempfile
import time

import bench
import numpy as np

from imgret.parallel import one_thread
from imgret.registry import load
from imgret.rerankers import RERANKERS
from imgret.rerankers.base import Known, Listed, Query

DIM, NEIGHBOURS, RANKS, QUERIES = 256, 50, 1000, 100
K1, K2, LAM = 20, 6, 0.3


def main():
    """Methods on many photos, then beside the peer on fewer."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--photos", type=int, default=100_000)
    parser.add_argument("--peer-photos", type=int, default=10_000)
    given = parser.parse_args()
    print(bench.machine("numpy", "numba", "faiss-cpu"), "\n")
    if given.photos:
        many(given.photos)
    if given.peer_photos:
        beside(given.peer_photos)


class Memory(Known):
    """A gallery in memory: vectors, an index, and the graph."""

    graphs, metric = 1, "cosine"

    def __init__(self, x, ids, scores, index=None):
        self._x, self._ids, self._scores, self._index, self.size = x, ids, scores, index, len(x)

    def vectors(self, photos):
        """See `Known`."""
        return self._x[photos]

    def graph(self, start, stop, number=0):
        """See `Known`."""
        return self._ids[start:stop, :NEIGHBOURS], self._scores[start:stop, :NEIGHBOURS]

    def search(self, asking, k):
        """See `Known`."""
        scores, rows = self._index.search(asking, k)
        return [Listed(row, of) for row, of in zip(rows, scores, strict=True)]


class Asked(Query):
    """A photo of the gallery that asks, which is the first of its list."""

    def __init__(self, ids, scores, photo, vector=None):
        super().__init__([Listed(np.append(photo, ids), np.append(np.float32(1), scores))])
        self.itself, self.asking = photo, vector

    vector = property(lambda self: self.asking)


def vectors(count):
    """Unit vectors in groups of 5 to 40, (count, 256), float32."""
    rng = np.random.default_rng(0)
    sizes = rng.integers(5, 41, count)
    group = np.repeat(np.arange(count), sizes)[:count]
    x = rng.standard_normal((group[-1] + 1, DIM), dtype=np.float32)[group] + rng.standard_normal((count, DIM), dtype=np.float32)
    return x / np.linalg.norm(x, axis=1, keepdims=True)


def nearest(x, photos, k):
    """The k nearest of some photos but for themselves: ids (n, k) int64, scores float32; exact."""
    ids, found = np.empty((len(photos), k), np.int64), np.empty((len(photos), k), np.float32)
    for start in range(0, len(photos), 256):
        some = photos[start : start + 256]
        scores = x[some] @ x.T
        scores[np.arange(len(some)), some] = -np.inf
        best = np.argpartition(-scores, k, axis=1)[:, :k]
        order = np.take_along_axis(best, np.argsort(-np.take_along_axis(scores, best, 1), axis=1, kind="stable"), 1)
        ids[start : start + 256], found[start : start + 256] = order, np.take_along_axis(scores, order, 1)
    return ids, found


def apart(function, *arguments):
    """What a function returns in a process of its own, and that one's peak memory in MB."""
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        return pool.apply(_told, (function, arguments))


def _told(function, arguments):
    with one_thread():
        result = function(*arguments)
    status = pathlib.Path("/proc/self/status").read_text(encoding="ascii")  # getrusage's peak is that of who started it, too
    return result, int(status.partition("VmHWM:")[2].split()[0]) / 1024


def many(count):
    """Times and memory of each method."""
    x = vectors(count)
    started = time.process_time()
    with one_thread():
        ids, scores = nearest(x, np.arange(count), NEIGHBOURS)
    seconds = time.process_time() - started
    print(f"{count:,} photos: {x.nbytes / 2**20:.0f} MB of vectors; their graph {seconds:.0f} s, {ids.size * 8 / 2**20:.0f} MB\n")
    photos = np.random.default_rng(1).choice(count, QUERIES, replace=False)
    lists = nearest(x, photos, RANKS)
    with tempfile.TemporaryDirectory() as folder:
        np.savez(
            f"{folder}/gallery.npz", x=x, ids=ids.astype(np.int32), scores=scores, photos=photos, list_ids=lists[0], list_scores=lists[1]
        )
        each_method(f"{folder}/gallery.npz")


def each_method(path):
    """A line for each method, of what a file holds."""
    _, least = apart(of_method, None, {}, path)
    print("| | once, s | a query, ms | memory beyond vectors and graph, MB |\n| --- | --- | --- | --- |")
    for method, params in (
        ("alpha-qe", {}),
        ("hello-neighbour", {}),
        ("k-reciprocal", {}),
        ("k-reciprocal", {"background": False, "k1": K1, "k2": K2, "lam": LAM}),
        ("diffusion", {}),
        ("diffusion", {"background": False, "k": 50, "alpha": 0.99, "loop": 0.0, "depth": 10}),
    ):
        (once, each), peak = apart(of_method, method, params, path)
        said = ", ".join(f"{name}={value}" for name, value in params.items())
        print(f"| {method} {said} | {once:.2f} | {1000 * each:.2f} | {peak - least:.0f} |", flush=True)


def made(method, params, known):
    """A reranker that has begun, and what that took; its loops have been compiled before."""
    kind = load(RERANKERS, method, "reranker")
    reranker = kind(kind.Params(**params))
    started = time.process_time()
    reranker.begin(known)
    return reranker, time.process_time() - started


def of_method(method, params, path):
    """Seconds to begin, and for each query."""
    with np.load(path) as file:
        x, ids, scores, photos, *lists = (file[name] for name in ("x", "ids", "scores", "photos", "list_ids", "list_scores"))
    if method is None:
        return None
    index = None
    if method == "alpha-qe":
        kind = load({"flat": "imgret.indexes.flat:Flat"}, "flat", "index")
        index = kind(kind.Params())
        index.plan(DIM, 0, len(x))
        index.add(x)
    known = Memory(x, ids, scores, index)
    queries = [Asked(*of, photo, x[photo]) for *of, photo in zip(*lists, photos, strict=True)]
    small = Memory(x[:200], np.minimum(ids[:200], 199), scores[:200], index)
    made(method, params, small)[0].rerank([Asked(np.arange(1, 100), np.linspace(0.9, 0, 99, dtype=np.float32), 0, x[0])], small)
    reranker, once = made(method, params, known)
    started = time.process_time()
    reranker.rerank(queries, known)
    return once, (time.process_time() - started) / len(queries)


def usual(distances):
    """The usual script: of squared distances (N, N), order of all photos for each, by dense matrices. (N, N) final distances."""
    distances = distances / distances.max(axis=0)
    distances = distances.T.copy()
    order = np.argsort(distances, axis=1).astype(np.int32)
    encodings = np.zeros_like(distances)
    for photo in range(len(distances)):
        first = mutual(order, photo, K1)
        members = first
        for other in first:
            more = mutual(order, other, round(K1 / 2))
            if len(np.intersect1d(more, first)) > 2 / 3 * len(more):
                members = np.append(members, more)
        members = np.unique(members)
        weights = np.exp(-distances[photo, members])
        encodings[photo, members] = weights / weights.sum()
    encodings = np.stack([encodings[order[photo, :K2]].mean(axis=0) for photo in range(len(distances))])
    inverted = [np.flatnonzero(encodings[:, column]) for column in range(len(distances))]
    jaccard = np.zeros_like(distances)
    for photo in range(len(distances)):
        common = np.zeros(len(distances), np.float32)
        for column in np.flatnonzero(encodings[photo]):
            common[inverted[column]] += np.minimum(encodings[photo, column], encodings[inverted[column], column])
        jaccard[photo] = 1 - common / (2 - common)
    return (1 - LAM) * jaccard + LAM * distances


def mutual(order, photo, k):
    """k-reciprocal neighbours of a photo, itself among them."""
    near = order[photo, : k + 1]
    return near[np.flatnonzero((order[near, : k + 1] == photo).any(axis=1))]


def ours(known, queries):
    """The lists of all photos, better; these and the graph are what there is."""
    reranker, _ = made("k-reciprocal", {"background": False, "k1": K1, "k2": K2, "lam": LAM}, known)
    return reranker.rerank(queries, known)


def asking(x, ids, scores):
    """A gallery whose photos all ask."""
    return Memory(x, ids, scores), [Asked(ids[photo], scores[photo], photo) for photo in range(len(x))]


def timed(function, *arguments):
    """What a function returns, and its processor time."""
    started = time.process_time()
    return function(*arguments), time.process_time() - started


def squared(x):
    """Squared distances, (N, N)."""
    distances = np.clip(2 - 2 * (x @ x.T), 0, None)
    np.fill_diagonal(distances, 0)
    return distances


def beside(count):
    """Ours and the usual script."""
    x = vectors(count)
    with one_thread():
        ours(*asking(x[:1500], *nearest(x[:1500], np.arange(1500), RANKS)))  # compiled
        found, searched = timed(nearest, x, np.arange(count), RANKS)
        lists, own = timed(ours, *asking(x, *found))
        distances, before = timed(squared, x)
        final, peer = timed(usual, distances)
    some = range(0, count, 97)
    same = np.mean([len(np.intersect1d(lists[photo].ids[:20], np.argsort(final[photo], kind="stable")[:20])) / 20 for photo in some])
    print(f"\nk-reciprocal, {count:,} photos that all ask, lists of {RANKS}: {own:.1f} s; the usual script, of distances: {peer:.1f} s;")
    print(f"ratio {peer / own:.1f}. Lists and graph take {searched:.1f} s, distances {before:.1f} s:", end=" ")
    print(f"with them it is {(peer + before) / (own + searched):.1f}.")
    print(f"Of the first 20 of each list {100 * same:.2f} % are the same.")


if __name__ == "__main__":
    main()
