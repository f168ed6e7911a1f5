"""What does an index cost when one photo has come?

    python scripts/bench_index_again.py [--photos 100000] [--methods opq pq]

Made-up vectors of 128 dimensions. `imgret index` from scratch, then with one photo more over the finished index, whose quantiser is
kept. By processor time, which other programs disturb less; bar: 10 %. Then whether the second one is, column for column, what the
quantiser, given as a codebook, makes from scratch.
"""

import argparse
import os
import pathlib
import sys
import tempfile

import bench
import numpy as np
from bench_index import DIM, vectors

from imgret.extractors.hsv_hist import HsvHist
from imgret.pipeline import Pipeline
from imgret.store.photos import META, PhotoWriter
from imgret.store.reader import Store
from imgret.store.writer import Writer

BAR = 10  # per cent
RECIPE = "00" * 32


def store(path, x):
    """A vectors store of some rows."""
    rng, count = np.random.default_rng(1), len(x)
    digests = rng.integers(0, 256, (count, 32), dtype=np.uint8)
    meta = {"digest": digests, "image_size": np.full((count, 2), 640), "file_size": np.arange(count), "file_mtime_ns": np.arange(count)}
    assert set(META) <= set(meta)
    with Writer(f"{path}.tmp") as writer:
        photos = PhotoWriter(writer, "vectors", {"vectors": ((DIM,), np.float32, {})})
        photos.photos([f"{row:08d}.jpg".encode() for row in range(count)], meta)
        photos.rows(vectors=x)
        writer.fingerprint = photos.fingerprint(RECIPE)
        extractor = HsvHist(HsvHist.Params())
        writer.finish("vectors", recipe=RECIPE, params={"step": "bench"}, pipeline=Pipeline.of("extractor", extractor).node)
        writer.publish(str(path))


def main():
    """Time each method."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--photos", type=int, default=100_000)
    parser.add_argument("--methods", nargs="+", default=["opq", "pq", "ivfpq", "ivf-flat"])
    parser.add_argument("--jobs", default="1")
    arguments = parser.parse_args()
    x, rows = vectors(arguments.photos + 1, 0), []
    print(bench.machine("numpy", "faiss-cpu", "h5py"), "\n")
    with tempfile.TemporaryDirectory() as folder:
        folder = pathlib.Path(folder)
        for name, count in (("before", arguments.photos), ("after", arguments.photos + 1)):
            store(folder / f"{name}.h5", x[:count])
        for method in arguments.methods:
            rows.append(again(folder, method, arguments.jobs))
    bench.table(["method", "from scratch", "one more", "of it", "start alone", "codebook", "the same"], rows)


def again(folder, method, jobs):
    """A row of the table."""
    before, after, out, words, filled = (folder / name for name in ("before.h5", "after.h5", "i.h5", "q.h5", "f.h5"))
    imgret = [sys.executable, "-m", "imgret"]
    for path in (out, words, filled):
        if path.exists():
            os.unlink(path)
    scratch = bench.run([*imgret, "index", before, "-m", method, "-o", out, "-j", jobs])
    more = bench.run([*imgret, "index", after, "-m", method, "-o", out, "-j", jobs])
    start = bench.run([*imgret, "index", after, "-m", method, "-o", out, "-j", jobs])
    learned = bench.run([*imgret, "codebook", before, "-m", method, "-o", words, "-j", jobs])
    bench.run([*imgret, "index", after, "-c", words, "-o", filled, "-j", jobs])
    with Store(out) as one, Store(filled) as other:
        same = one.content == other.content
    share, same = 100 * more.cpu / scratch.cpu, "yes" if same else "NO"
    seconds = [f"{cost.cpu:.1f} s" for cost in (scratch, more, start, learned)]
    return [
        method,
        *seconds[:2],
        f"{share:.0f} % (bar {BAR}: {'met' if share <= BAR else 'MISSED'})",
        *seconds[2:],
        "yes" if same else "NO",
    ]


if __name__ == "__main__":
    main()
