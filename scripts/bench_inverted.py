"""How fast is an inverted file of a million photos, how large, and what does it take to build?

    python scripts/bench_inverted.py STORE.h5... [--photos 50000] [--entries 1000] [--folder .] [--peer asmk]

The photos are made by resampling: each has `--entries` entries of those of the words stores given (asmk or hamming; where a photo has one
entry a word, repeated words are dropped), drawn at random. Building runs in a process of its own, whose peak memory is told; its columns
are written to files, which are mapped as an index maps them. Beside each search a compiled loop does nothing but read the same entries'
signatures, xor, popcount and add up; one thread each, in turn, the pages in memory. `--peer asmk` times the package of that name
(PyPI; CPython extension) on the first 2,000 of the same photos, entries as they are.
"""

import argparse
import json
import multiprocessing
import pathlib
import resource
import tempfile
import time

import bench
import numpy as np

from imgret.indexes.inverted.index import Inverted
from imgret.pipeline import Pipeline
from imgret.store.reader import Store

BLOCK, QUERIES, ROUNDS, PEER_PHOTOS = 500, 20, 3, 2000


def main():
    """Build, open, search."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("stores", nargs="+", help="words stores of one encoder")
    parser.add_argument("--photos", type=int, default=50_000)
    parser.add_argument("--entries", type=int, default=1000, help="of each photo, and of each query")
    parser.add_argument("--max-memory", type=float, default=2, help="GiB that building may take for entries")
    parser.add_argument("--folder", help="where the index goes, and what building needs besides: about 45 bytes an entry for a while")
    parser.add_argument(
        "--ma", type=int, nargs="*", default=[1, 5], help="words of a query descriptor: a query has so many times the entries"
    )
    parser.add_argument("--peer", choices=("asmk",))
    given = parser.parse_args()
    print(bench.machine("numpy", "numba", "faiss-cpu"), "\n")
    pool = Pool(given.stores)
    with tempfile.TemporaryDirectory(dir=given.folder) as folder:
        build(pool, given, pathlib.Path(folder))
        index = opening(pool, pathlib.Path(folder))
        searches(index, pool, given)
    if given.peer:
        asmk_package(pool, given)


class Pool:
    """The entries of all stores, sorted by word."""

    def __init__(self, paths):
        stores = [Store(path, ("words",), "bench") for path in paths]
        self.paths, self.encoder = paths, Pipeline.load(stores[0]).component()
        columns = {name: np.concatenate([store.read(name) for store in stores]) for name in ("word", "signature")}
        order = np.argsort(columns["word"], kind="stable")
        self.columns = {name: column[order] for name, column in columns.items()}
        self.once = self.encoder.name == "asmk"

    def draw(self, count, entries, seed, names=("word", "signature")):
        """Entries of some photos: how many of each, and {name: column}."""
        rows = np.sort(np.random.default_rng(seed).integers(0, len(self.columns["word"]), (count, entries), dtype=np.int32), axis=1)
        counts = np.full(count, entries)
        if self.once:
            words = self.columns["word"][rows]
            kept = np.concatenate([np.ones((count, 1), bool), words[:, 1:] != words[:, :-1]], axis=1)
            counts, rows = kept.sum(axis=1), rows[kept]
        else:
            rows = rows.ravel()
        return counts, {name: self.columns[name][rows] for name in names}


class Source:
    """So many photos drawn from a pool, in blocks."""

    def __init__(self, pool, photos, entries):
        self.photos, self._pool, self._entries = photos, pool, entries
        self.columns = {name: (column.shape[1:], column.dtype) for name, column in pool.columns.items()}

    def blocks(self, names):
        for start in range(0, self.photos, BLOCK):
            yield self._pool.draw(min(BLOCK, self.photos - start), self._entries, [1, start], names)


class _Column:
    """A column that is a file."""

    def __init__(self, folder, name, shape, dtype, length):
        self._file = open(folder / name, "wb")
        (folder / f"{name}.json").write_text(json.dumps([np.dtype(dtype).str, [length, *shape]]))

    def append(self, block):
        np.ascontiguousarray(block).tofile(self._file)
        self._file.flush()


def _build(paths, photos, entries, memory, folder, told):
    pool = Pool(paths)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    start = time.perf_counter()
    index = Inverted(Inverted.Params(), encoder=pool.encoder)
    index.fill(Source(pool, photos, entries), str(folder), memory)
    filled = time.perf_counter()
    index.save(lambda *column: _Column(folder, *column))
    facts = {"facts": index.facts(), "photos": photos}
    (folder / "facts").write_text(json.dumps(facts))
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    told.put((filled - start, time.perf_counter() - filled, before / 2**20, peak / 2**20))


def build(pool, given, folder):
    """Build in a process of its own and tell what it took."""
    context = multiprocessing.get_context("spawn")
    told = context.Queue()
    arguments = (given.stores, given.photos, given.entries, int(given.max_memory * 2**30), folder, told)
    process = context.Process(target=_build, args=arguments)
    process.start()
    filled, saved, before, peak = told.get()
    process.join()
    sizes = {path.name: path.stat().st_size for path in folder.iterdir() if "." not in path.name}
    total = json.loads((folder / "signature.json").read_text())[1][0]
    print(f"{pool.encoder.name}: {given.photos} photos, {total} entries of {len(pool.columns['word'])} real ones")
    print(f"build: {filled:.0f} s to read twice and distribute, {saved:.0f} s to sort and write; peak {peak:.2f} GiB ({before:.2f} before)")
    print(f"size: {sum(sizes.values()) / total:.2f} bytes an entry, {sum(sizes.values()) / given.photos / 1000:.1f} kB a photo")
    bench.table(["column", "MB", "bytes an entry"], [[name, f"{size / 1e6:.1f}", f"{size / total:.2f}"] for name, size in sizes.items()])


def mapped(folder):
    """The columns as memory maps, and the facts."""
    arrays = {}
    for path in folder.glob("*.json"):
        dtype, shape = json.loads(path.read_text())
        arrays[path.stem] = np.memmap(folder / path.stem, dtype, "r", shape=tuple(shape)) if shape[0] else np.empty(shape, dtype)
    return arrays, json.loads((folder / "facts").read_text())


def opened(pool, folder):
    """The index that was built."""
    arrays, facts = mapped(folder)
    return Inverted.opened(Inverted.Params(), "cosine", arrays, facts["facts"], facts["photos"], pool.encoder)


def opening(pool, folder):
    """Open it; tell how long that takes."""
    opened(pool, folder)  # what is imported
    times = []
    for _ in range(5):
        start = time.perf_counter()
        index = opened(pool, folder)
        times.append(time.perf_counter() - start)
    took = 1000 * sorted(times)[2]
    print(f"opened in {took:.1f} ms (bar 50 ms: {'met' if took <= 50 else 'MISSED'})")
    return index


def searches(index, pool, given):
    """Milliseconds a query, beside a loop that only counts bits."""
    rows = []
    for ma in given.ma:
        queries = [pool.draw(1, given.entries * ma, [2, ma, number])[1] for number in range(QUERIES)]
        lists = [peer_lists(index, query) for query in queries]
        index.search(queries, 100)  # pages, and what is compiled
        count_bits(index, lists)
        programs = {
            "imgret": lambda queries=queries: bench.call(lambda: index.search(queries, 100)),
            "loop": lambda lists=lists: bench.call(lambda: count_bits(index, lists)),
        }
        costs = bench.in_turn(programs, ROUNDS)
        ms = {name: 1000 * cost.seconds / QUERIES for name, cost in costs.items()}
        visited = np.mean([sum(end - start for start, end in zip(one[0], one[1], strict=True)) for one in lists])
        asked = np.mean([len(query["word"]) for query in queries])
        rows.append(
            [f"{asked:.0f}", f"{visited / 1e6:.2f}", f"{ms['imgret']:.1f}", f"{ms['loop']:.1f}", f"{ms['imgret'] / ms['loop']:.2f}"]
        )
    print(f"{QUERIES} queries, k = 100, one thread")
    bench.table(["entries of a query", "million entries visited", "ms a query", "bare loop ms", "ratio (bar 2)"], rows)


def peer_lists(index, query):
    """What the bare loop takes: where each list begins and ends, and what it is asked."""
    lists = index._lists
    at = lists.find(query["word"])
    asked = at >= 0
    entries, _ = lists.ranges(at[asked])
    return entries[:, 0].copy(), entries[:, 1].copy(), np.ascontiguousarray(query["signature"][asked]).view(np.uint64)


def count_bits(index, lists):
    """Run the bare loop over the entries of some queries."""
    from bench_inverted_loop import loop

    signatures = np.asarray(index._lists.signature).reshape(-1).view(np.uint64).reshape(-1, index._lists.columns.size // 8)
    return [loop(starts, ends, asked, signatures) for starts, ends, asked in lists]


def asmk_package(pool, given):
    """The `asmk` package's own inverted file and kernel on the same entries."""
    import asmk.inverted_file


if __name__ == "__main__":
    main()
