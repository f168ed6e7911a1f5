"""How fast are hard negatives found among 100,000 vectors, and in how much memory?

    python scripts/bench_mining.py [--pool 100000] [--queries 2000 100000] [--naive 20000] [--dim 512] [--kept 5]

Vectors are made up (directions around centres, ten photos of each), held in a file as float16. The miner runs beside the usual script:
the matrix of all distances, and an argsort of each of its rows. That holds N² numbers, so it is run on `--naive` photos, all against all,
and its time and memory are scaled to the larger pool by what it does. Each runs in a process of its own, of one thread; times are
processor time, memory is the process's peak.
Bar: faster than the script, and a peak that is the same for any number of queries.
"""

import argparse
import multiprocessing
import os
import resource
import tempfile
import time

import bench
import numpy as np

from imgret.miners.hard import Hard
from imgret.parallel import one_thread
from imgret.relations import Grouped

OF_ONE = 10  # photos of a centre


def main():
    """Mine, and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pool", type=int, default=100_000)
    parser.add_argument("--queries", type=int, nargs="+", default=[2000, 100_000])
    parser.add_argument("--naive", type=int, default=20_000)
    parser.add_argument("--dim", type=int, default=512)
    parser.add_argument("--kept", type=int, default=5, help="negatives of each query")
    given = parser.parse_args()
    print(bench.machine("numpy"), "\n")
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, "vectors")
        made_up(path, given.pool, given.dim)
        shape = given.pool, given.dim
        naive, naive_peak = alone(script, path, shape, given.naive, given.kept)
        rows.append(["script", given.naive, given.naive, f"{naive:.1f}", f"{naive_peak:.0f}", ""])
        small, small_peak = alone(mined, path, shape, given.naive, given.naive, given.kept)
        rows.append(["hard", given.naive, given.naive, f"{small:.1f}", f"{small_peak:.0f}", f"{naive / small:.1f}"])
        for queries in given.queries:
            taken, peak = alone(mined, path, shape, given.pool, queries, given.kept)
            scaled = naive * queries * given.pool / given.naive**2
            rows.append(["script, scaled", given.pool, queries, f"{scaled:.0f}", f"{queries * given.pool * 12 / 1e6:.0f}", ""])
            rows.append(["hard", given.pool, queries, f"{taken:.1f}", f"{peak:.0f}", f"{scaled / taken:.1f}"])
    bench.table(["miner", "pool", "queries", "seconds", "peak MB", "times as fast"], [[str(cell) for cell in row] for row in rows])


def made_up(path, count, dim):
    """A file of vectors, unit length, float16."""
    file = np.memmap(path, np.float16, "w+", shape=(count, dim))
    for start in range(0, count, 10_000):
        draw = np.random.default_rng(start)
        size = min(10_000, count - start)
        block = np.repeat(draw.standard_normal((-(-size // OF_ONE), dim)), OF_ONE, axis=0)[:size] + draw.standard_normal((size, dim))
        file[start : start + size] = block / np.linalg.norm(block, axis=1, keepdims=True)
    file.flush()


def alone(function, *arguments):
    """Seconds, and peak memory in MB, of a function in a process of its own."""
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        return pool.apply(_watched, (function, arguments))


def _watched(function, arguments):
    with one_thread():
        seconds = function(*arguments)
    return seconds, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e3


def mined(path, shape, pool, queries, kept):
    """The miner's seconds."""
    file = np.memmap(path, np.float16, "r", shape=shape)
    relations = Grouped([(photo // OF_ONE,) for photo in range(pool)])
    asked = np.sort(np.random.default_rng(0).permutation(pool)[:queries])
    start = time.process_time()
    found = Hard().mine(asked, asked, file.__getitem__, np.arange(pool), relations, kept, 0)
    seconds = time.process_time() - start
    assert (found >= 0).all()
    return seconds


def script(path, shape, count, kept):
    """The usual script's seconds: all distances, all sorted, and a walk down each row."""
    file = np.memmap(path, np.float16, "r", shape=shape)
    start = time.process_time()
    vectors = file[:count].astype(np.float32)
    order = np.argsort(-(vectors @ vectors.T), axis=1)
    groups = np.arange(count) // OF_ONE
    for photo, row in enumerate(order):
        found = []
        for other in row:
            group = groups[other]
            if group != groups[photo] and group not in found:
                found.append(group)
                if len(found) == kept:
                    break
    return time.process_time() - start


if __name__ == "__main__":
    main()
