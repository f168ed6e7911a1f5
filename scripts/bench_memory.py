"""Does peak memory stay flat when there are ten times as many photos? Bar: within 10 %.

Each step runs as a command, with two workers; the peak (VmHWM) of the command's own process and of its largest worker are watched from
outside. extract: 60 real photos of $IMGRET_TEST_DATA, then the same ten times over under other names. codebook and encode: made-up
features of 300 and of 3000 photos; the codebook's sample is the same in both.
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
from imgret.store.photos import PhotoWriter

BAR = 1.10
POLL_SECONDS = 0.005


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


def made_up_features(path, photos, size=500):
    """A features store of so many photos with `size` descriptors each."""
    rng = np.random.default_rng(0)
    extractor = RootSift(RootSift.Params())
    output = Output(path, "features", {"step": "made up"})
    data = {"keypoints": ((5,), np.float32, {}), "descriptors": ((128,), np.uint8, {"descriptor_type": "uint8"})}
    with output.create(Pipeline.of("extractor", extractor)) as writer:
        appended = PhotoWriter(writer, "features", data)
        for number in range(photos):
            meta = {
                "image_size": np.array([[640, 480]]),
                "digest": rng.integers(0, 256, (1, 32), dtype=np.uint8),
                "file_size": np.array([100_000]),
                "file_mtime_ns": np.array([0]),
            }
            appended.photos([b"%08d.jpg" % number], meta)
            descriptors = rng.integers(0, 256, (size, 128), dtype=np.uint8)
            appended.ragged([size], keypoints=rng.random((size, 5), dtype=np.float32), descriptors=descriptors)
    return path


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
        features = [made_up_features(os.path.join(scratch, f"features{count}.h5"), count) for count in counts]
        learn = [imgret, "codebook", "-m", "kmeans", "--size", 64, "--sample", 100_000, "--set", "iterations=5", "-j", 2]
        compare("codebook", counts, [[*learn, one, "-o", f"{one}.words"] for one in features])
        encode = [imgret, "encode", "-c", f"{features[0]}.words", "-m", "vlad", "-j", 2]
        compare("encode", counts, [[*encode, one, "-o", f"{one}.vlad"] for one in features])
    print(bench.machine("numpy", "h5py", "opencv-contrib-python", "opencv-contrib-python-headless", "faiss-cpu") + "\n")
    bench.table(["step", "process", "photos", "photos", "peak MB", "peak MB", "ratio"], rows)


if __name__ == "__main__":
    main()
