"""Does peak memory stay flat when there are ten times as many photos? Bar: within 10 %. And how much does an index take?

Each step runs as a command, with two workers; the peak (VmHWM) of the command's own process and of its largest worker are watched from
outside. extract: 60 real photos of $IMGRET_TEST_DATA, then the same ten times over under other names. codebook and encode: made-up
features of 300 and of 3000 photos; the codebook's sample is the same in both. index: made-up vectors of 128 dimensions, 200,000 (of a
graph 50,000) and 3000; what the larger takes beyond the smaller, over what its file is larger. Bar: 1.3 (lists that grow as they are
filled: 1.7), where little is learned from (`--max-memory 16M`).
"""

import contextlib
import os
import pathlib
import shutil
import subprocess
import sys
import tempfile
import time

import bench
import numpy as np

from imgret.extractors.sift import RootSift
from imgret.pipeline import Pipeline
from imgret.runs.output import Output
from imgret.stages.import_ import import_file
from imgret.store.photos import ORIGIN, PhotoWriter

BAR = 1.10
POLL_SECONDS = 0.005
INDEXES = {"flat": (200_000, 1.3), "pq": (200_000, None), "hnsw": (50_000, 1.3), "ivf-flat": (200_000, 1.7), "ivfpq": (200_000, None)}


def peaks(command):
    """Peak memory in MB of a command's process and of its largest child."""
    highest = {}
    process = subprocess.Popen(list(map(str, command)), stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
    while process.poll() is None:
        for pid in (process.pid, *_children(process.pid)):
            highest[pid] = max(highest.get(pid, 0), _peak(pid))
        time.sleep(POLL_SECONDS)
    if process.returncode:
        sys.exit(f"{' '.join(map(str, command))}\nended with {process.returncode}:\n{process.stderr.read().decode(errors='replace')}")
    return highest.pop(process.pid), max(highest.values(), default=0)


def _children(pid):
    with contextlib.suppress(OSError):
        return list(map(int, pathlib.Path(f"/proc/{pid}/task/{pid}/children").read_text().split()))
    return []


def _peak(pid):
    with contextlib.suppress(OSError, StopIteration):
        lines = pathlib.Path(f"/proc/{pid}/status").read_text().splitlines()
        return next(int(line.split()[1]) / 1024 for line in lines if line.startswith("VmHWM"))
    return 0


def made_up_features(path, numbers, size=500):
    """A features store of photos of these numbers, rising, with `size` descriptors each: the number decides what a photo is."""
    extractor = RootSift(RootSift.Params())
    output = Output(path, "features", {"step": "made up"})
    data = {"keypoints": ((5,), np.float32, {}), "descriptors": ((128,), np.uint8, {"descriptor_type": "uint8"})}
    data["keypoints"][2]["columns"] = "x y scale angle score"
    with output.create(Pipeline.of("extractor", extractor)) as writer:
        appended = PhotoWriter(writer, "features", data | ORIGIN)
        for number in numbers:
            rng = np.random.default_rng(number)
            columns = {"keypoints": rng.random((size, 5), dtype=np.float32)}
            columns["descriptors"] = rng.integers(0, 256, (size, 128), dtype=np.uint8)
            meta = {
                "image_size": np.array([[640, 480]]),
                "digest": rng.integers(0, 256, (1, 32), dtype=np.uint8),
                "file_size": np.array([100_000]),
                "file_mtime_ns": np.array([0]),
                "origin": np.array([appended.origin(columns)], np.uint64),
            }
            appended.photos([b"%08d.jpg" % number], meta)
            appended.ragged([size], **columns)
        writer.fingerprint = appended.fingerprint(output.recipe)
    return path


def made_up_vectors(folder, photos, dim=128):
    """A vectors store of so many photos."""
    path = os.path.join(folder, f"vectors{photos}")
    np.save(f"{path}.npy", np.random.default_rng(0).standard_normal((photos, dim), dtype=np.float32))
    with open(f"{path}.txt", "w") as file:
        file.writelines(f"{number:08d}.jpg\n" for number in range(photos))
    import_file(f"{path}.npy", f"{path}.h5", names=f"{path}.txt")
    return f"{path}.h5"


def index_rows(imgret, folder):
    """Peak memory of `index`, by method, over the size of the file."""
    rows, few = [], made_up_vectors(folder, 3000)
    for method, (photos, bar) in INDEXES.items():
        many, taken, sizes = made_up_vectors(folder, photos), [], []
        for which in (few, many):
            out = f"{which}.{method}"
            taken.append(peaks([imgret, "index", which, "-o", out, "-m", method, "--max-memory", "16M", "-j", 1])[0])
            sizes.append(os.path.getsize(out) / (1 << 20))
        ratio = (taken[1] - taken[0]) / (sizes[1] - sizes[0])
        judged = f"{ratio:.2f}" + (f" (bar {bar:.2f}: {'met' if ratio <= bar else 'MISSED'})" if bar else "")
        rows.append([method, str(photos), f"{taken[0]:.0f}", f"{taken[1]:.0f}", f"{sizes[1]:.0f}", judged])
    return rows


def main():
    imgret = shutil.which("imgret") or sys.exit("the command `imgret` is not on the path: run `make install`, or activate its environment")
    rows = []

    def compare(step, counts, commands):
        few, many = map(peaks, commands)
        for which, small, large in zip(("the command", "largest worker"), few, many, strict=True):
            if small or large:
                flat = "met" if large <= BAR * small else "MISSED"
                rows.append(
                    [step, which, *map(str, counts), f"{small:.0f}", f"{large:.0f}", f"{large / small:.2f} (bar {BAR:.2f}: {flat})"]
                )

    with tempfile.TemporaryDirectory() as folder:
        scratch = pathlib.Path(folder)
        counts = (60, 600)
        photos = [bench.link_photos(scratch / str(count), count, distinct=counts[0]) for count in counts]
        compare("extract", counts, [[imgret, "extract", one, "-o", f"{one}.h5", "-j", 2] for one in photos])
        counts = (300, 3000)
        features = [made_up_features(os.path.join(scratch, f"features{count}.h5"), range(count)) for count in counts]
        learn = [imgret, "codebook", "-m", "kmeans", "--size", 64, "--sample", 100_000, "--set", "iterations=5", "-j", 2]
        compare("codebook", counts, [[*learn, one, "-o", f"{one}.words"] for one in features])
        encode = [imgret, "encode", "-c", f"{features[0]}.words", "-m", "vlad", "-j", 2]
        compare("encode", counts, [[*encode, one, "-o", f"{one}.vlad"] for one in features])
        indexes = index_rows(imgret, scratch)
    print(bench.machine("numpy", "h5py", "opencv-contrib-python", "opencv-contrib-python-headless", "faiss-cpu") + "\n")
    bench.table(["step", "process", "photos", "photos", "peak MB", "peak MB", "ratio"], rows)
    bench.table(["index", "photos", "peak MB of 3000", "peak MB", "file MB", "more memory / larger file"], indexes)


if __name__ == "__main__":
    main()
