"""How fast is a search beside faiss' own, and does opening an index take longer the larger it is?

    python scripts/bench_index.py [--rows 200000] [--largest 1000]

Searches: the same structure asked by `imgret` (whose ties break by row, whatever else is asked) and by faiss, on one thread, in turn.
Opening: an HDF5 dataset of 10, 100 and 1000 MB, mapped and opened as `imgret search` does, beside reading it for faiss.
"""

import argparse
import pathlib
import struct
import tempfile
import time

import bench
import h5py
import numpy as np

from imgret.indexes import INDEXES
from imgret.parallel import one_thread
from imgret.registry import load

DIM, K, ROUNDS = 128, 100, 3
QUERIES = (1, 256)
FEW = 4099  # rows of the structure that larger ones are made from


def main():
    """Run both parts."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=200_000, help="vectors that are searched")
    parser.add_argument("--largest", type=int, default=1000, help="MB of the largest index that is opened")
    arguments = parser.parse_args()
    import faiss  # noqa: F401  (one_thread reaches what is loaded)

    print(bench.machine("numpy", "faiss-cpu", "h5py"), "\n")
    with one_thread():
        searches(arguments.rows)
    with tempfile.TemporaryDirectory() as folder:
        openings(pathlib.Path(folder), arguments.largest)


def vectors(count, seed):
    """Unit vectors around a thousand centres."""
    centres = np.random.default_rng(0).standard_normal((1000, DIM), np.float32)
    rng = np.random.default_rng(seed)
    x = centres[rng.integers(0, 1000, count)] + rng.standard_normal((count, DIM), np.float32)
    return x / np.linalg.norm(x, axis=1, keepdims=True)


def built(method, x, train=20_000):
    """An index of `x` with the method's defaults."""
    kind = load(INDEXES, method, "index")
    index = kind(kind.Params())
    index.plan(DIM, train, len(x))
    index.train(x[:train])
    index.add(x)
    return index


def opened(kind, structure, count):
    """An index of so many rows from the bytes of its structure."""
    return kind.opened(kind.Params(), "cosine", {"faiss": structure}, {"dim": DIM}, count)


def searches(count):
    """Milliseconds per query."""
    import faiss

    x, xq = vectors(count, 1), vectors(max(QUERIES), 2)
    rows = []
    for method in ("flat", "pq", "ivfpq"):
        structure = built(method, x).arrays()["faiss"]
        kind = load(INDEXES, method, "index")
        ours, raw = opened(kind, structure, count), faiss.deserialize_index(structure)
        if method == "ivfpq":
            faiss.extract_index_ivf(raw).nprobe = kind.SearchParams().nprobe
        for queries in QUERIES:
            asked, repeat = xq[:queries], 20 if queries == 1 else 1
            programs = {
                "imgret": lambda ours=ours, asked=asked, repeat=repeat: bench.call(lambda: [ours.search(asked, K) for _ in range(repeat)]),
                "faiss": lambda raw=raw, asked=asked, repeat=repeat: bench.call(lambda: [raw.search(asked, K) for _ in range(repeat)]),
            }
            costs = bench.in_turn(programs, ROUNDS)
            ms = {name: cost.cpu / repeat / queries * 1000 for name, cost in costs.items()}
            speed = ms["faiss"] / ms["imgret"]
            rows.append([method, str(queries), f"{ms['imgret']:.3f}", f"{ms['faiss']:.3f}", f"{speed:.2f}"])
    print(f"{count} x {DIM}, k = {K}, one thread, processor time")
    bench.table(["index", "queries", "imgret ms/query", "faiss ms/query", "speed, times faiss'"], rows)


def openings(folder, largest):
    """Milliseconds to open."""
    import faiss

    rows = []
    for method in ("flat", "pq"):
        kind = load(INDEXES, method, "index")
        small = built(method, vectors(FEW, 3), FEW)
        times = {}
        for megabytes in sorted({10, 100, largest}):
            path = folder / "index.h5"
            count = write(path, small, megabytes * 10**6)
            took = [_seconds(lambda path=path, kind=kind, count=count: opened(kind, mapped(path), count)) for _ in range(5)]
            times[megabytes] = sorted(took)[2]
            read = _seconds(lambda path=path: faiss.deserialize_index(whole(path)))
            rows.append([method, str(megabytes), f"{times[megabytes] * 1000:.1f}", f"{read * 1000:.0f}"])
            path.unlink()
        print(f"{method}: {largest} MB open in {times[largest] * 1000:.1f} ms (bar 50 ms: {'met' if times[largest] <= 0.05 else 'MISSED'})")
    bench.table(["index", "MB", "mapped ms", "read ms"], rows)


def _seconds(function):
    start = time.perf_counter()
    function()
    return time.perf_counter() - start


def write(path, index, size):
    """One contiguous HDF5 dataset of about `size` bytes: the structure of `index`, its rows repeated as it takes; gives their number.

    Written in blocks, as no more than a small index has to be in memory: faiss puts the rows' codes in one stretch, after their number of
    bytes; the number of rows stands in the headers before.
    """
    import faiss

    structure = index.arrays()["faiss"].tobytes()
    outer = faiss.deserialize_index(np.frombuffer(structure, np.uint8))
    core = faiss.downcast_index(outer.index) if isinstance(outer, faiss.IndexPreTransform) else outer
    codes = faiss.rev_swig_ptr(core.codes.data(), core.ntotal * core.code_size).tobytes()
    at = structure.index(codes)
    times = max(1, size // len(codes))
    head, tail = structure[:at], structure[at + len(codes) :]
    unit = len(codes) if head.endswith(struct.pack("<q", len(codes))) else len(codes) // 4  # bytes or floats
    head = head[:-8].replace(struct.pack("<q", FEW), struct.pack("<q", FEW * times)) + struct.pack("<q", unit * times)
    with h5py.File(path, "w") as file:
        data = file.create_dataset("index", (len(head) + times * len(codes) + len(tail),), np.uint8)
        data[: len(head)] = np.frombuffer(head, np.uint8)
        for turn in range(times):
            start = len(head) + turn * len(codes)
            data[start : start + len(codes)] = np.frombuffer(codes, np.uint8)
        data[len(data) - len(tail) :] = np.frombuffer(tail, np.uint8)
    return FEW * times


def mapped(path):
    """The dataset as a memory map."""
    with h5py.File(path, "r") as file:
        data = file["index"]
        return np.memmap(path, np.uint8, "r", data.id.get_offset(), data.shape)


def whole(path):
    """The dataset, read."""
    with h5py.File(path, "r") as file:
        return file["index"][:]


if __name__ == "__main__":
    main()
