"""What does a nightly job cost where one photo is new? Bar: 10 % of making everything, encode and index together.

    python scripts/bench_nightly.py [--photos 100000] [--descriptors 300] [--jobs 2]

Made-up features of so many photos with so many descriptors each go through the config `vlad-pca128-pq20`: vlad, projected to 128
dimensions, 20 bytes in an index; its codebooks are learned beforehand, on others, and count for nothing. Then there is one photo more, in
the middle, and the same commands run again. Disk: what the folder holds at most while a command runs, beyond what it holds before.
"""

import argparse
import os
import pathlib
import shutil
import sys
import tempfile
import threading

import bench
from bench_memory import made_up_features

BAR = 0.10
POLL_SECONDS = 0.02
LEARN = 2000  # photos


class Disk:
    """How much a folder holds, at most, while something is done: a context manager."""

    def __init__(self, folder):
        self._folder, self._ended = folder, threading.Event()

    def __enter__(self):
        self.before = self.peak = used(self._folder)
        self._watching = threading.Thread(target=self._watch)
        self._watching.start()
        return self

    def __exit__(self, *_):
        self._ended.set()
        self._watching.join()

    def _watch(self):
        while not self._ended.wait(POLL_SECONDS):
            self.peak = max(self.peak, used(self._folder))


def used(folder):
    """Bytes of all files below a folder, as the disk has them: `du`."""
    total = 0
    for top, _, names in os.walk(folder):
        for name in names:
            try:
                total += os.stat(os.path.join(top, name)).st_blocks * 512
            except FileNotFoundError:
                pass  # renamed meanwhile
    return total


def run(commands, folder):
    """The `bench.Cost` of each command, and MB that the folder holds at most beyond what it did before."""
    taken = []
    for command in commands:
        os.sync()
        with Disk(folder) as disk:
            cost = bench.run(command)
        taken.append((cost, (disk.peak - disk.before) / 1e6))
    return taken


def row(step, size, first, again, *disk):
    """A row of the table, of two costs."""
    seconds = [f"{each:.1f}" for cost in (first, again) for each in (cost.seconds, cost.cpu)]
    return [step, size, *seconds, f"{again.seconds / first.seconds:.3f}", f"{again.cpu / first.cpu:.3f}", *disk]


def total(costs):
    """Several costs as one."""
    return bench.Cost(sum(cost.seconds for cost in costs), sum(cost.cpu for cost in costs))


def main():
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--photos", type=int, default=100_000)
    parser.add_argument("--descriptors", type=int, default=300, help="per photo")
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--folder", help="where; a temporary folder by default")
    given = parser.parse_args()
    imgret = shutil.which("imgret") or sys.exit("the command `imgret` is not on the path: run `make install`, or activate its environment")
    with tempfile.TemporaryDirectory(dir=given.folder) as name:
        folder = pathlib.Path(name)
        features, vlad, small, index = (folder / f"{each}.h5" for each in ("features", "vlad", "small", "index"))
        numbers, few = range(0, 2 * given.photos, 2), folder / "few.h5"
        made_up_features(few, range(1, 2 * LEARN, 2), given.descriptors)
        words, projection = folder / "words.h5", folder / "projection.h5"
        jobs = ("-j", given.jobs)
        encode = (
            (imgret, "encode", features, "-c", words, "-o", vlad, *jobs),
            (imgret, "encode", vlad, "-c", projection, "-o", small, *jobs),
        )
        commands = [*encode, (imgret, "index", small, "-m", "opq", "--set", "bytes=20", "-o", index, *jobs)]
        learn = [
            (imgret, "codebook", few, "-m", "kmeans", "--size", 64, "--sample", 20_000, "-o", words, *jobs),
            (imgret, "encode", few, "-c", words, "-o", folder / "few-vlad.h5", *jobs),
            (imgret, "codebook", folder / "few-vlad.h5", "-m", "pca", "--size", 128, "--set", "whiten=true", "-o", projection, *jobs),
        ]
        run(learn, folder)
        made_up_features(features, numbers, given.descriptors)
        scratch, sizes = run(commands, folder), [path.stat().st_size / 1e6 for path in (vlad, small, index)]
        features.unlink()
        made_up_features(features, sorted([*numbers, given.photos + 1 - given.photos % 2]), given.descriptors)
        nightly = run(commands, folder)
    steps = zip(("vlad", "projected", "index"), sizes, scratch, nightly, strict=True)
    rows = [row(step, f"{size:.0f}", first, again, f"{most:.0f}", f"{extra:.0f}") for step, size, (first, most), (again, extra) in steps]
    first, again = (total([cost for cost, _ in taken]) for taken in (scratch, nightly))
    judged = "met" if again.seconds <= BAR * first.seconds else "MISSED"
    rows.append(row("together", "", first, again, "", ""))
    print(bench.machine("numpy", "h5py", "faiss-cpu") + "\n")
    print(f"{given.photos} photos of {given.descriptors} descriptors, and one more\n")
    bench.table(["step", "file MB", "from scratch, s", "CPU s", "one more, s", "CPU s", "ratio", "by CPU", "disk MB", "one more"], rows)
    print(f"bar {BAR:.2f}: {judged}")


if __name__ == "__main__":
    main()
