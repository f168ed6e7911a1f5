"""How fast is an inverted file of a million photos, how large, and what does it take to build?

    python scripts/bench_inverted.py [STORE.h5...] [--photos 50000] [--entries 1000] [--folder .] [--peer asmk]

The photos are made by resampling: each has `--entries` entries, drawn at random, of those of the words stores given (asmk or hamming; where
a photo has one entry a word, repeated words are dropped). Building runs in a process of its own, whose peak memory is told; its columns
are written to files, which are mapped as those of an index are. Beside each search a compiled loop does nothing but read the same entries'
signatures, xor, popcount and add up; one thread each, in turn, the pages in memory, processor time. `--peer asmk` times the package of that
name (0.1.1; install cython first, then with --no-build-isolation) on 2,000 photos made alike, with the same entries asked. (faiss'
binary inverted files rank descriptors, not photos: they would do less, and are no peer.)
"""

import argparse
import functools
import json
import multiprocessing
import os
import pathlib
import resource
import tempfile
import time

import bench
import numpy as np

from imgret.indexes.inverted.index import Inverted
from imgret.pipeline import Pipeline
from imgret.store.reader import Store

BLOCK, QUERIES, RANKS, ROUNDS, PEER_PHOTOS = 500, 20, 100, 3, 2000


def main():
    """Build, open, search."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("stores", nargs="*", help="words stores of one encoder; without any, entries of asmk are made of IMGRET_TEST_DATA")
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
    with tempfile.TemporaryDirectory() as folder:
        pool = Pool(given.stores or made_of_photos(pathlib.Path(folder)))
    with tempfile.TemporaryDirectory(dir=given.folder) as folder:
        build(pool, given, pathlib.Path(folder))
        index = opening(pool, pathlib.Path(folder))
        searches(index, pool, given)
    if given.peer:
        asmk_package(pool, given)


def made_of_photos(folder):
    """A words store of real photos, with 8,192 words of their own."""
    import imgret

    photos = os.path.join(os.environ.get("IMGRET_TEST_DATA", ""), "photos", "scenes", "images")
    if not os.path.isdir(photos):
        print("nothing is measured: name words stores, or set IMGRET_TEST_DATA")
        raise SystemExit(0)
    imgret.extract(photos, str(folder / "features.h5"))
    imgret.codebook(str(folder / "features.h5"), str(folder / "words.h5"), method="akm", size=8192)
    imgret.encode(str(folder / "features.h5"), str(folder / "words.h5"), str(folder / "entries.h5"), method="asmk")
    return [str(folder / "entries.h5")]


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
    """Open it, none of it in memory; tell how long that takes."""
    opened(pool, folder)  # what is imported
    times = []
    for _ in range(5):
        for path in folder.iterdir():
            with open(path, "rb") as file:
                os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
        start = time.perf_counter()
        index = opened(pool, folder)
        times.append(time.perf_counter() - start)
    took = 1000 * sorted(times)[2]
    print(f"opened cold in {took:.1f} ms (bar 50 ms: {'met' if took <= 50 else 'MISSED'})")
    return index


def searches(index, pool, given):
    """Milliseconds a query, beside a loop that only counts bits."""
    rows = []
    for ma in given.ma:
        drawn = [pool.draw(1, given.entries * ma, [2, ma, number])[1] for number in range(QUERIES)]
        lists = [peer_lists(index, query) for query in drawn]
        count_bits(index, lists)
        visited = np.mean([(ends - starts).sum() for starts, ends, _ in lists])
        asked = np.mean([len(query["word"]) for query in drawn])
        kinds = {"bits": (drawn, None)}
        if pool.encoder.name == "hamming":
            kinds["bits, burst=none"] = drawn, type(index).search_params("hamming")(burst="none")
        else:
            kinds["numbers"] = [numbers(query, pool) for query in drawn], None
        for kind, (queries, settings) in kinds.items():
            ms = milliseconds(
                {
                    "imgret": lambda queries=queries, settings=settings: index.search(queries, RANKS, settings),
                    "loop": lambda lists=lists: count_bits(index, lists),
                }
            )
            row = [f"{asked:.0f} {kind}", f"{visited / 1e6:.2f}", f"{ms['imgret']:.1f}", f"{ms['loop']:.1f}"]
            rows.append([*row, f"{ms['imgret'] / ms['loop']:.2f}", f"{1e6 * ms['imgret'] / visited:.2f}"])
    print(f"{QUERIES} queries, {RANKS} ranks, one thread (bars: 60 ms for bits; 2 times the loop)")
    bench.table(["a query's entries", "million visited", "ms a query", "loop ms", "times the loop", "ns an entry"], rows)


def milliseconds(programs):
    """Processor time of a query, by program."""
    for program in programs.values():
        program()  # pages, and what is compiled
    costs = bench.in_turn({name: functools.partial(bench.call, program) for name, program in programs.items()}, ROUNDS)
    return {name: 1000 * cost.cpu / QUERIES for name, cost in costs.items()}


def numbers(query, pool):
    """A query of numbers that have the signs of its bits."""
    signs = 2.0 * np.unpackbits(query["signature"], axis=1, bitorder="little", count=pool.encoder.bits) - 1
    rows = signs * np.abs(np.random.default_rng(3).standard_normal(signs.shape))
    return query | {"signature": (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float16)}


def peer_lists(index, query):
    """What the bare loop takes: where each list begins and ends, and what it is asked."""
    lists = index._lists
    at = lists.find(query["word"])
    entries, _ = lists.ranges(at[at >= 0])
    return entries[:, 0].copy(), entries[:, 1].copy(), np.ascontiguousarray(query["signature"][at >= 0]).view(np.uint64)


def count_bits(index, lists):
    """Run the bare loop over the entries of some queries."""
    from bare_inverted import loop

    signatures = np.asarray(index._lists.signature).reshape(-1).view(np.uint64).reshape(index._lists.entries, -1)
    return [loop(starts, ends, asked, signatures) for starts, ends, asked in lists]


def asmk_package(pool, given):
    """The `asmk` package's own inverted file and kernel, on the same entries."""
    from asmk import inverted_file, kernel

    source = Source(pool, PEER_PHOTOS, given.entries)
    index = Inverted(Inverted.Params(), encoder=pool.encoder)
    index.fill(source, given.folder or ".")
    ours = Inverted.opened(index.params, "cosine", index.arrays(), index.facts(), PEER_PHOTOS, pool.encoder)
    theirs = inverted_file.IVF.initialize_empty(codebook_size=pool.encoder.words, use_idf=False)
    first = 0
    for counts, columns in source.blocks(("word", "signature")):
        photos = np.repeat(np.arange(first, first + len(counts)), counts)
        theirs.add(columns["signature"].view(np.uint32), columns["word"], photos)
        first += len(counts)
    similarity = functools.partial(kernel.ASMKKernel(None, binary=True).similarity, alpha=3.0, similarity_threshold=0.0)
    settings = ours.search_params("asmk")(idf="none")
    drawn = [pool.draw(1, given.entries, [2, 1, number])[1] for number in range(QUERIES)]

    def ask():
        return [theirs.search(query["signature"].view(np.uint32), query["word"], similarity_func=similarity, topk=RANKS) for query in drawn]

    ms = milliseconds({"imgret": lambda: ours.search(drawn, RANKS, settings), "asmk": ask})
    same = np.mean([len(np.intersect1d(a[0], b)) / RANKS for a, b in zip(ask(), ours.search(drawn, RANKS, settings)[1], strict=True)])
    print(f"{PEER_PHOTOS} photos, {given.entries} bits asked, idf=none: {same:.3f} of the first {RANKS} in common")
    print(f"imgret {ms['imgret']:.2f} ms, asmk {ms['asmk']:.1f} ms a query: {bench.verdict(ms['asmk'] / ms['imgret'], 10)} times")


if __name__ == "__main__":
    main()
