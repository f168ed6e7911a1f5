"""How fast are stores written and read, beside plain h5py; and what do parts, fsync and joining cost?

1. A features store, streamed photo by photo with all that belongs to it (names, offsets, sizes, digests, checksums) and read back block by
   block, against h5py with one flat dataset of the same bytes. Bar: 0.8 of its rate, the better of its two ways.
2. The same against a group per image holding four small datasets, as many feature files are laid out. Bar: 10 times its rate.
3. Parts, each published by fsync and rename, and the join, for the same photos: per photo, and beside the time that describing one takes.

Nothing but the third part calls fsync, so the first two are about the system's cache, in turn, medians.
"""

import argparse
import os
import pathlib
import tempfile

import bench
import h5py
import numpy as np

from imgret import images
from imgret.extractors.sift import RootSift
from imgret.stages.output import Output
from imgret.stages.perphoto import Step
from imgret.stages.report import Report
from imgret.store.parts import publish_part
from imgret.store.photos import PhotoWriter
from imgret.store.reader import BLOCK_BYTES, Store
from imgret.store.text import Texts
from imgret.store.writer import Writer

FLAT_BAR, GROUPS_BAR = 0.8, 10
EXTRACTED = 32  # photos described to know what extraction takes
DATA = {
    "keypoints": ((5,), np.float32, {"columns": "x y scale angle score"}),
    "descriptors": ((128,), np.uint8, {"descriptor_type": "uint8"}),
}


class Photos:
    """Made-up features of `count` photos, `size` descriptors each."""

    def __init__(self, count, size):
        rng = np.random.default_rng(0)
        self.count, self.size = count, size
        self.keypoints = [rng.random((size, 5), dtype=np.float32) for _ in range(8)]
        self.descriptors = [rng.integers(0, 256, (size, 128), dtype=np.uint8) for _ in range(8)]
        self.names = [b"photos/%08d.jpg" % number for number in range(count)]
        self.bytes = count * size * (5 * 4 + 128)
        self.meta = {
            "image_size": np.array([[640, 480]], np.int32),
            "digest": np.zeros((1, 32), np.uint8),
            "file_size": np.array([100_000]),
            "file_mtime_ns": np.array([0]),
        }

    def __iter__(self):
        for number in range(self.count):
            yield self.names[number], self.keypoints[number % 8], self.descriptors[number % 8]

    def totals(self):
        texts = {
            "bytes of names": sum(map(len, self.names)),
            "bytes of failed/names": 0,
            "bytes of failed/code": 0,
            "bytes of failed/reason": 0,
        }
        return texts | {"N": self.count, "T": self.count * self.size, "F": 0}

    def append(self, photos, first=0, last=None):
        """Append photos `first` to `last` to a `PhotoWriter`."""
        for number in range(first, self.count if last is None else last):
            photos.photos([self.names[number]], self.meta)
            photos.descriptors([self.size], keypoints=self.keypoints[number % 8], descriptors=self.descriptors[number % 8])


def write_store(path, made):
    with Writer(path + ".tmp") as writer:
        photos = PhotoWriter(writer, "features", DATA, made.totals())
        made.append(photos)
        writer.finish("features", recipe="0" * 64, params={})
        os.rename(path + ".tmp", path)


def read_store(path):
    with Store(path) as store:
        for column in store.column_names():
            for _ in store.blocks(column):
                pass


def write_flat(path, made, at_once):
    """One dataset of bytes: photo by photo, or, `at_once`, in pieces of several photos that are in memory already."""
    pieces = [
        np.concatenate([array.view(np.uint8).ravel() for array in pair]) for pair in zip(made.keypoints, made.descriptors, strict=True)
    ]
    pieces = [np.concatenate(pieces)] if at_once else pieces
    with h5py.File(path, "w", locking=False) as file:
        dataset, end = file.create_dataset("bytes", (made.bytes,), np.uint8, fill_time="never"), 0
        for number in range(made.count // 8 if at_once else made.count):
            piece = pieces[number % len(pieces)]
            dataset[end : end + len(piece)] = piece
            end += len(piece)


def read_flat(path, step):
    with h5py.File(path, "r", locking=False) as file:
        dataset = file["bytes"]
        for start in range(0, len(dataset), step):
            dataset[start : start + step]


def write_groups(path, made):
    with h5py.File(path, "w", locking=False) as file:
        for name, keypoints, descriptors in made:
            group = file.create_group(name.replace(b"/", b"-"))
            group.create_dataset("keypoints", data=keypoints[:, :2])
            group.create_dataset("descriptors", data=descriptors)
            group.create_dataset("scores", data=keypoints[:, 2:])
            group.create_dataset("image_size", data=made.meta["image_size"][0])


def read_groups(path):
    with h5py.File(path, "r", locking=False) as file:
        for name in file:
            for dataset in file[name].values():
                dataset[()]


def compare(title, made, scratch, rounds, peers, bar):
    """Print the rates of writing and of reading, ours first."""
    path = os.path.join(scratch, "file.h5")

    def fresh(write):
        def program():
            if os.path.exists(path):
                os.unlink(path)
            return bench.call(lambda: write(path, made))

        return program

    written, read = {}, {}
    programs = {"imgret": (write_store, read_store), **peers}
    for _ in range(rounds):
        for name, (write, read_back) in programs.items():
            written.setdefault(name, []).append(fresh(write)().seconds)
            read.setdefault(name, []).append(bench.call(lambda read_back=read_back: read_back(path)).seconds)
    os.unlink(path)
    print(f"{title}: {made.count} photos of {made.size} descriptors, {made.bytes / 1e6:.0f} MB")
    for verb, times in (("write", written), ("read", read)):
        seconds = {name: float(np.median(taken)) for name, taken in times.items()}
        rows = [
            [
                name,
                f"{1e3 * taken:.0f}",
                f"{made.bytes / taken / 1e6:.0f}",
                f"{1e6 * taken / made.count:.0f}",
                f"{taken / seconds['imgret']:.2f}",
            ]
            for name, taken in seconds.items()
        ]
        bench.table([verb, "ms", "MB/s", "us a photo", "imgret's rate / its"], rows)
        best = min(taken for name, taken in seconds.items() if name != "imgret")
        print(f"{verb}: {bench.verdict(best / seconds['imgret'], bar)}\n")


def cost_of_parts(made, scratch):
    """Print what parts and the join take beside extraction."""
    output = Output(os.path.join(scratch, "joined.h5"), "features", {"step": "bench"})
    output.parts.prepare()
    plan = output.parts.plan(Texts.of(made.names), np.zeros(made.count, np.int64), np.zeros(made.count, np.int64))
    step = Step(output, plan, worker="", setup={}, task=None, data=DATA, report=Report(-1), jobs=1)

    def parts():
        for part in range(len(plan)):
            with Writer(output.parts.temporary()) as writer:
                photos = PhotoWriter(writer, "features", DATA)
                made.append(photos, *plan.range(part))
                publish_part(writer, plan, part, "features", recipe=output.recipe, params=output.params, retry=False)

    made_parts, joined = bench.call(parts), bench.call(lambda: step.join(None))
    extraction = extraction_seconds()
    print(f"Parts: {len(plan)} of {plan.part_size} photos, {made.size} descriptors each, {made.bytes / 1e6:.0f} MB")
    rows = [["parts, published", made_parts], ["joined, published", joined]]
    if extraction is not None:
        rows.append(["extraction (one process)", extraction])
    shares = [
        [name, f"{1e3 * cost.seconds / count:.2f}", f"{1e3 * cost.cpu / count:.2f}"]
        + ([f"{100 * cost.cpu / count / (extraction.cpu / EXTRACTED):.1f} %"] if extraction else [])
        for name, cost in rows
        for count in [made.count if cost is not extraction else EXTRACTED]
    ]
    bench.table(["", "ms a photo", "CPU ms a photo", *(["CPU, share of extraction"] if extraction else [])], shares)


def extraction_seconds():
    """What describing `EXTRACTED` real photos takes, decoding included; None without IMGRET_TEST_DATA."""
    if "IMGRET_TEST_DATA" not in os.environ:
        return None
    import cv2

    cv2.setNumThreads(1)
    with tempfile.TemporaryDirectory() as scratch:
        paths = sorted(bench.link_photos(pathlib.Path(scratch, "photos"), EXTRACTED).iterdir())
        extractor = RootSift(RootSift.Params())

        def describe():
            for path in paths:
                extractor.extract(images.decode(images.read_file(path).data, max_size=extractor.max_size))

        return bench.call(describe)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "--photos", type=int, default=800, help="of the large kind; eight times as many of the small (default: %(default)s)"
    )
    parser.add_argument("--rounds", type=int, default=5, help="runs of each (default: %(default)s)")
    arguments = parser.parse_args()
    print(f"one process, median of {arguments.rounds} runs in turn; {bench.machine('h5py', 'numpy', 'xxhash')}\n")
    with tempfile.TemporaryDirectory() as scratch:
        large, small = Photos(arguments.photos, 2000), Photos(8 * arguments.photos, 100)
        flat = {
            "h5py, flat, photo by photo": (lambda path, made: write_flat(path, made, False), lambda path: read_flat(path, BLOCK_BYTES)),
            "h5py, flat, in large pieces": (lambda path, made: write_flat(path, made, True), lambda path: read_flat(path, 1 << 40)),
        }
        compare("Flat", large, scratch, arguments.rounds, flat, FLAT_BAR)
        compare("Groups", small, scratch, min(3, arguments.rounds), {"h5py, group per image": (write_groups, read_groups)}, GROUPS_BAR)
        cost_of_parts(large, scratch)


if __name__ == "__main__":
    main()
