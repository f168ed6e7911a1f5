"""How fast are stores written and read, beside plain h5py; and what do parts, fsync and joining cost?

1. A features store, streamed with all that belongs to it (names, offsets, sizes, digests, checksums) and read back, against h5py with one
   flat dataset of the same bytes, written and read in pieces of the same size. Bar: 0.8 of its rate.
2. The same against a group per image that holds four small datasets, as many feature files are laid out; photos of 15 KB, since beyond
   100 KB each it is the bytes that count, whatever the layout. Bar: 10 times its rate.
3. Parts, each published by fsync and rename, and the join, for the same photos: per photo, and beside the time that describing one takes.

Nothing but the third part calls fsync, so the first two are about the system's cache, in turn, medians.
"""

import argparse
import os
import pathlib
import tempfile
import unittest.mock

import bench
import h5py
import numpy as np

from imgret import images
from imgret.extractors.sift import RootSift
from imgret.runs.output import Output
from imgret.runs.parts import Step, Work
from imgret.store.photos import PhotoWriter
from imgret.store.plans import publish_part
from imgret.store.reader import Store
from imgret.store.rows import BLOCK_BYTES
from imgret.store.text import Texts
from imgret.store.writer import Writer

FLAT_BAR, GROUPS_BAR = 0.8, 10
EXTRACTED = 32  # photos described to know what extraction takes
DATA = {
    "keypoints": ((5,), np.float32, {"columns": "x y scale angle score"}),
    "descriptors": ((128,), np.uint8, {"descriptor_type": "uint8"}),
}


class Photos:
    """Made-up features of `count` photos, `size` descriptors each; eight different ones, over and over."""

    def __init__(self, count, size):
        rng = np.random.default_rng(0)
        self.count, self.size = count, size
        self.keypoints = rng.random((8 * size, 5), dtype=np.float32)
        self.descriptors = rng.integers(0, 256, (8 * size, 128), dtype=np.uint8)
        self.names = [b"photos/%08d.jpg" % number for number in range(count)]
        self.bytes = count * size * (5 * 4 + 128)

    def rows(self, number, block):
        """Keypoints and descriptors of `block` (a divisor of 8) photos from a number on."""
        rows = slice(number % 8 * self.size, (number % 8 + block) * self.size)
        return self.keypoints[rows], self.descriptors[rows]

    def totals(self):
        """For `PhotoWriter`."""
        texts = {"names": sum(map(len, self.names)), "failed/names": 0, "failed/code": 0, "failed/reason": 0}
        return {f"bytes of {path}": size for path, size in texts.items()} | {"N": self.count, "T": self.count * self.size, "F": 0}

    def append(self, photos, first, last, block=1):
        """Append photos `first` to `last` to a `PhotoWriter`, so many at a time."""
        meta = {
            "image_size": np.full((block, 2), 640, np.int32),
            "digest": np.zeros((block, 32), np.uint8),
            "file_size": np.full(block, 100_000),
            "file_mtime_ns": np.zeros(block, np.int64),
        }
        for number in range(first, last, block):
            keypoints, descriptors = self.rows(number, block)
            photos.photos(self.names[number : number + block], meta)
            photos.ragged([self.size] * block, keypoints=keypoints, descriptors=descriptors)


def write_store(path, made, block=1):
    with Writer(path + ".tmp") as writer:
        photos = PhotoWriter(writer, "features", DATA, made.totals())
        made.append(photos, 0, made.count, block)
        writer.finish("features", recipe="0" * 64, params={})
        with unittest.mock.patch("os.fsync"):  # h5py does not either
            writer.publish(path)


def read_store(path):
    with Store(path) as store:
        for column in store.column_names():
            for block in store.blocks(column):  # noqa: B007 - kept while the next one is read, as whoever uses it would
                pass


def write_flat(path, made, block=1):
    pieces = [np.concatenate([array.view(np.uint8).ravel() for array in made.rows(number, block)]) for number in range(0, 8, block)]
    with h5py.File(path, "w", locking=False) as file:
        dataset, end = file.create_dataset("bytes", (made.bytes,), np.uint8, fill_time="never"), 0
        for number in range(made.count // block):
            piece = pieces[number % len(pieces)]
            dataset[end : end + len(piece)] = piece
            end += len(piece)


def read_flat(path):
    with h5py.File(path, "r", locking=False) as file:
        dataset = file["bytes"]
        for start in range(0, len(dataset), BLOCK_BYTES):
            block = dataset[start : start + BLOCK_BYTES]  # noqa: F841 - likewise


def write_groups(path, made):
    with h5py.File(path, "w", locking=False) as file:
        for number, name in enumerate(made.names):
            keypoints, descriptors = made.rows(number, 1)
            group = file.create_group(name)
            group.create_dataset("keypoints", data=keypoints[:, :2])
            group.create_dataset("scores", data=keypoints[:, 2:])
            group.create_dataset("descriptors", data=descriptors)
            group.create_dataset("image_size", data=(640, 480))


def read_groups(path):
    with h5py.File(path, "r", locking=False) as file:
        for group in file["photos"].values():
            for dataset in group.values():
                dataset[()]


def compare(title, made, scratch, rounds, pairs):
    """Print what our programs and their peers take, writing or reading a file.

    `pairs` holds (what, ours, peer, bar): programs that take a path, the same one for all of ours and another for all peers.
    """
    programs = {}
    for what, ours, peer, _ in pairs:
        programs[f"imgret, {what}"] = _program(ours, os.path.join(scratch, "imgret.h5"), what.startswith("write"))
        programs[f"h5py, {what}"] = _program(peer, os.path.join(scratch, "h5py.h5"), what.startswith("write"))
    costs = bench.in_turn(programs, rounds)
    print(f"{title}: {made.count} photos of {made.size} descriptors, {made.bytes / 1e6:.0f} MB")
    rows = []
    for what, _, _, bar in pairs:
        ours, peer = costs[f"imgret, {what}"], costs[f"h5py, {what}"]
        rows.append(
            [what, *(f"{1e3 * value:.0f}" for value in (ours.seconds, peer.seconds)), bench.verdict(peer.seconds / ours.seconds, bar)]
            + [f"{1e3 * value:.0f}" for value in (ours.cpu, peer.cpu)]
            + [f"{peer.cpu / ours.cpu:.2f}"]
        )
    bench.table(["", "imgret ms", "h5py ms", "ratio of rates", "imgret CPU ms", "h5py CPU ms", "ratio by CPU"], rows)


def _program(program, path, anew):
    def run():
        if anew and os.path.exists(path):
            os.unlink(path)
        return bench.call(lambda: program(path))

    return run


def cost_of_parts(made, scratch):
    """Print what parts and the join take beside extraction."""
    output = Output(os.path.join(scratch, "joined.h5"), "features", {"step": "bench"})
    output.parts.prepare()
    plan = output.parts.plan(Texts.of(made.names), np.zeros(made.count, np.int64), np.zeros(made.count, np.int64))
    step = Step(output, plan, Work("", {}, DATA))

    def parts():
        for part in range(len(plan)):
            with Writer(output.parts.temporary()) as writer:
                photos = PhotoWriter(writer, "features", DATA)
                made.append(photos, *plan.range(part))
                publish_part(writer, plan, part, "features", recipe=output.recipe, params=output.params, retry=False)

    made_parts, joined = bench.call(parts), bench.call(lambda: step.join(None))
    output.parts.leave()
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
        "--photos", type=int, default=1600, help="of the large kind; eight times as many of the small (default: %(default)s)"
    )
    parser.add_argument("--rounds", type=int, default=5, help="runs of each (default: %(default)s)")
    arguments = parser.parse_args()
    print(f"one process, median of {arguments.rounds} runs in turn; {bench.machine('h5py', 'numpy', 'xxhash')}\n")
    with tempfile.TemporaryDirectory() as scratch:
        large, small = Photos(arguments.photos, 2000), Photos(8 * arguments.photos, 100)
        flat = [
            ("write, photo by photo", lambda path: write_store(path, large), lambda path: write_flat(path, large), FLAT_BAR),
            ("write, eight photos at a time", lambda path: write_store(path, large, 8), lambda path: write_flat(path, large, 8), FLAT_BAR),
            ("read, block by block", read_store, read_flat, FLAT_BAR),
        ]
        compare("One flat dataset", large, scratch, arguments.rounds, flat)
        groups = [
            ("write, photo by photo", lambda path: write_store(path, small), lambda path: write_groups(path, small), GROUPS_BAR),
            ("read everything", read_store, read_groups, GROUPS_BAR),
        ]
        compare("A group per image", small, scratch, min(3, arguments.rounds), groups)
        cost_of_parts(large, scratch)


if __name__ == "__main__":
    main()
