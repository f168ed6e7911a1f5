"""What does it cost to verify what is read?

Each step as it is, and with nothing verified and no checksums of blocks made (those of columns are: they were always), in this process
and on one thread; in turn, medians, by processor time, which other programs disturb less. Features and vectors are made up; the files are
in the system's cache, where reading costs least and verifying shows most. Bar: 3 % for `codebook`, `encode` and `index`.

A search reads what it looks at in any case; the first one of an open index also verifies it. So the last rows are what a single query
pays, and what further ones do.
"""

import argparse
import contextlib
import os
import tempfile
import unittest.mock

import bench
from bench_store import DATA, Photos

from imgret.extractors.sift import RootSift
from imgret.inputs.gallery import Gallery
from imgret.pipeline import Pipeline
from imgret.registry import load
from imgret.runs.run import Run
from imgret.stages.codebook import codebook
from imgret.stages.encode import encode
from imgret.stages.index import index
from imgret.store.blocks import BlockHashes
from imgret.store.photos import PhotoWriter
from imgret.store.reader import Store
from imgret.store.rows import Rows
from imgret.store.writer import Writer

BAR = 3  # per cent
RUN = Run(jobs=1)


@contextlib.contextmanager
def unverified():
    """Nothing that is read is verified, and no block that is written gets a checksum."""
    with contextlib.ExitStack() as stack:
        for kind, name, instead in (
            (Rows, "read", lambda store, path, start=0, stop=None, verified=True: store._rows(path, start, stop)),
            (Rows, "verify", lambda store, path, ranges=None: True),
            (Store, "_check_metadata", lambda store: None),
            (BlockHashes, "update", lambda hashes, rows: None),
        ):
            stack.enter_context(unittest.mock.patch.object(kind, name, instead))
        yield


def here(worker, setup, tasks, jobs, done, on_end=None):
    """What `imgret.runs.workers.run` does, in this process."""
    module, _, name = worker.partition(":")
    made = load({name: worker}, name, "worker")(setup)
    for task in tasks:
        done(task, made.work(task, lambda item: None))


def features(path, photos, size):
    """Make a features store."""
    made, extractor = Photos(photos, size), RootSift(RootSift.Params())
    with Writer(f"{path}.tmp") as writer:
        store = PhotoWriter(writer, "features", DATA, made.totals())
        made.append(store, 0, photos, 8)
        pipeline = Pipeline.of("extractor", extractor)
        writer.fingerprint = store.fingerprint("00" * 32)
        writer.finish("features", recipe="00" * 32, params={"step": "bench"}, pipeline=pipeline.node)
        writer.publish(path)


def steps(folder, sample):
    """The steps, by name, and whether there is a bar: each makes its output anew."""
    paths = {name: os.path.join(folder, f"{name}.h5") for name in ("features", "words", "vlad", "flat", "pq", "ivfpq")}

    def making(step, inputs, name, **settings):
        def make():
            with contextlib.suppress(FileNotFoundError):
                os.unlink(paths[name])
            step(*[paths[each] for each in inputs], paths[name], run=RUN, **settings)

        return make

    few = {"settings": ("nbits=4", "bytes=16")}
    return {
        f"codebook, k-means of 64 words, {sample} rows": making(codebook, ["features"], "words", size=64, sample=sample),
        "encode, vlad": making(encode, ["features", "words"], "vlad"),
        "index, flat": making(index, ["vlad"], "flat", method="flat"),
        "index, pq": making(index, ["vlad"], "pq", method="pq", **few),
        "index, ivfpq": making(index, ["vlad"], "ivfpq", method="ivfpq", **few),
    }


def searches(folder, method):
    """Searches of an index for 1 query, the first of an open one; and for 64 more of one that is open."""
    path = os.path.join(folder, f"{method}.h5")
    with Store(os.path.join(folder, "vlad.h5")) as store:
        queries = store.read("vectors", 0, 65)

    def first():
        with contextlib.closing(Gallery(path)) as gallery:
            gallery.search(queries[:1], 10)

    galleries = {}

    def more():
        mode = Rows.verify.__name__  # the one that verifies is another index than the one that does not
        if mode not in galleries:
            galleries[mode] = Gallery(path)
            galleries[mode].search(queries, 10)
        galleries[mode].search(queries[1:], 10)

    return {f"search, {method}: opened, 1 query": first, f"search, {method}: 64 more": more}


def compare(programs, rounds, bar=None):
    """Rows of the table: what each program takes without and with verification."""
    rows = []
    for name, program in programs.items():

        def without(program=program):
            with unverified():
                return bench.call(program)

        costs = bench.in_turn({"without": without, "with": lambda program=program: bench.call(program)}, rounds)
        extra = 100 * (costs["with"].cpu / costs["without"].cpu - 1)
        said = "" if bar is None else f" (bar {bar}: {'met' if extra < bar else 'MISSED'})"
        rows.append([name, *(f"{1e3 * costs[which].cpu:.1f}" for which in costs), f"{extra:+.1f} %{said}"])
    return rows


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--photos", type=int, default=1600, help="of 2000 descriptors each (default: %(default)s)")
    parser.add_argument("--sample", type=int, default=200_000, help="rows that the codebook is learned from (default: %(default)s)")
    parser.add_argument("--rounds", type=int, default=5, help="runs of each (default: %(default)s)")
    arguments = parser.parse_args()
    print(f"one thread, median CPU time of {arguments.rounds} runs in turn; {bench.machine('numpy', 'h5py', 'faiss-cpu', 'xxhash')}")
    with tempfile.TemporaryDirectory() as folder, unittest.mock.patch("imgret.runs.workers.run", here):
        features(os.path.join(folder, "features.h5"), arguments.photos, 2000)
        size = os.path.getsize(os.path.join(folder, "features.h5")) / 1e6
        print(f"{arguments.photos} photos of 2000 descriptors, {size:.0f} MB; their vectors of 8192 dimensions\n")
        rows = compare(steps(folder, arguments.sample), arguments.rounds, BAR)
        for method in ("flat", "pq", "ivfpq"):
            rows += compare(searches(folder, method), 3 * arguments.rounds)
        bench.table(["", "without, ms", "with, ms", "more"], rows)


if __name__ == "__main__":
    main()
