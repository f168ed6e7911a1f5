"""How fast is `imgret extract` beside a bare loop that decodes and calls OpenCV's SIFT?

The whole command, from its start to the finished file, against bare_extract.py, which does nothing but `cv2.imread` (grey), the same
reduction and `SIFT.detectAndCompute` with the same parameters in as many (forked) processes, and throws the results away; in turn,
start-up included on both sides. Photos: all sets of $IMGRET_TEST_DATA/photos, linked again under other names where that is too few.
Bar: 0.95 of the loop's rate. Processor time is printed beside the clock's: it is what can be trusted where other programs run.
"""

import argparse
import json
import os
import pathlib
import shutil
import sys
import tempfile

import bench

from imgret.extractors.sift import RootSift
from imgret.parallel import available_cpus

BAR = 0.95


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--photos", type=int, default=1200, help="how many (default: %(default)s)")
    parser.add_argument("--rounds", type=int, default=3, help="runs of each (default: %(default)s)")
    parser.add_argument("--jobs", type=int, default=available_cpus(), help="processes (default: %(default)s)")
    arguments = parser.parse_args()
    imgret = shutil.which("imgret") or sys.exit("the command `imgret` is not on the path: run `make install`, or activate its environment")
    with tempfile.TemporaryDirectory() as scratch:
        folder = bench.link_photos(pathlib.Path(scratch, "photos"), arguments.photos)
        params = json.dumps(RootSift.Params().to_json())

        def ours():
            out = os.path.join(scratch, "features.h5")
            cost = bench.run([imgret, "extract", folder, "-o", out, "-j", arguments.jobs])
            os.unlink(out)
            return cost

        def theirs():
            return bench.run([sys.executable, pathlib.Path(__file__).with_name("bare_extract.py"), folder, arguments.jobs, params])

        print(f"{arguments.photos} photos, {arguments.jobs} processes, median of {arguments.rounds} runs in turn")
        print(bench.machine("opencv-contrib-python", "opencv-contrib-python-headless", "pillow", "h5py", "numpy") + "\n")
        costs = bench.in_turn({"bare loop": theirs, "imgret extract": ours}, arguments.rounds)
    loop, extract = costs.values()
    rows = [
        [
            name,
            f"{cost.seconds:.2f}",
            f"{arguments.photos / cost.seconds:.1f}",
            f"{cost.cpu:.2f}",
            f"{1e3 * cost.cpu / arguments.photos:.1f}",
        ]
        for name, cost in costs.items()
    ]
    bench.table(["", "seconds", "photos/s", "CPU seconds", "CPU ms a photo"], rows)
    print(f"imgret / loop: rate {bench.verdict(loop.seconds / extract.seconds, BAR)}; rate by CPU time {loop.cpu / extract.cpu:.2f}")


if __name__ == "__main__":
    main()
