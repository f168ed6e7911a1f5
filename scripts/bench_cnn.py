"""How fast is `imgret extract -m cnn` beside the network alone, and beside the usual script? How much memory does it take?

The whole command, from its start to the finished file, on real photos of $IMGRET_TEST_DATA with random weights, against bare_cnn.py: the
bare forward pass over tensors in memory (bar: 0.9 of its rate), once with all cores on each batch and once as one process a core, whichever
is faster; and PIL, a DataLoader of batch 1 and `.numpy()` per photo (bar: 1.5 times its rate). The peers' own times are those of their
loops: imports and the making of the network count for imgret alone. In turn, so that all meet the same weather.
"""

import argparse
import concurrent.futures
import pathlib
import shutil
import subprocess
import sys
import tempfile

import bench
from bench_memory import peaks

from imgret.parallel import available_cpus

LIMIT, USUAL, MEMORY = 0.9, 1.5, 1.1


def seconds(how, folder, arguments, threads):
    """What a peer took, by its own account."""
    script = pathlib.Path(__file__).with_name("bare_cnn.py")
    command = [sys.executable, script, how, folder, arguments.model, arguments.max_size, threads]
    return float(subprocess.run(list(map(str, command)), check=True, capture_output=True, text=True).stdout.split()[-1])


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--photos", type=int, default=400, help="how many (default: %(default)s)")
    parser.add_argument("--rounds", type=int, default=3, help="runs of each (default: %(default)s)")
    parser.add_argument("--model", default="resnet50", help="whose last two children are pooling and classifier (default: %(default)s)")
    parser.add_argument("--max-size", type=int, default=512, help="longest side in pixels (default: %(default)s)")
    parser.add_argument("--precision", default="float32", help="of imgret (default: %(default)s)")
    arguments = parser.parse_args()
    imgret = shutil.which("imgret") or sys.exit("the command `imgret` is not on the path: run `make install`, or activate its environment")
    cores = available_cpus()
    with tempfile.TemporaryDirectory() as scratch:
        scratch = pathlib.Path(scratch)
        folder = bench.link_photos(scratch / "photos", arguments.photos)
        halves = [scratch / f"share-{core}" for core in range(cores)]
        for core, share in enumerate(halves):
            share.mkdir()
            for photo in sorted(folder.iterdir())[core::cores]:
                (share / photo.name).symlink_to(photo.resolve())

        def ours(photos=folder, run=bench.run):
            out = scratch / "vectors.h5"
            settings = {"model": arguments.model, "max_size": arguments.max_size, "weights": "random", "precision": arguments.precision}
            words = [f"--set={name}={value}" for name, value in settings.items()]
            cost = run([imgret, "extract", photos, "-q", "-m", "cnn", *words, "-o", out, "-j", cores, "--device", "cpu"])
            out.unlink()
            return cost

        def one_process_a_core():
            with concurrent.futures.ThreadPoolExecutor(cores) as pool:
                return max(pool.map(lambda share: seconds("forward", share, arguments, 1), halves))

        programs = {
            f"forward pass, {cores} threads": lambda: bench.Cost(seconds("forward", folder, arguments, cores), 0),
            f"forward pass, {cores} processes": lambda: bench.Cost(one_process_a_core(), 0),
            "usual script": lambda: bench.Cost(seconds("usual", folder, arguments, cores), 0),
            "imgret extract": ours,
        }
        print(f"{arguments.photos} photos, {arguments.model} at {arguments.max_size} pixels, median of {arguments.rounds} runs in turn")
        print(bench.machine("torch", "torchvision", "numpy", "pillow") + "\n")
        costs = bench.in_turn(programs, arguments.rounds)
        rows = [[name, f"{cost.seconds:.1f}", f"{arguments.photos / cost.seconds:.2f}"] for name, cost in costs.items()]
        bench.table(["", "seconds", "photos/s"], rows)
        threads, processes, usual, extract = (cost.seconds for cost in costs.values())
        print(f"imgret / forward pass: {bench.verdict(min(threads, processes) / extract, LIMIT)}")
        print(f"imgret / usual script: {bench.verdict(usual / extract, USUAL)}\n")
        # a set of fewer photos has smaller parts, which do not fill the batches
        few = ours(bench.link_photos(scratch / "few", 300, 60), peaks)
        many = ours(bench.link_photos(scratch / "many", 900, 60), peaks)
        bench.table(["peak memory in MB", "command", "worker"], [["300 photos", *map(_whole, few)], ["900 photos", *map(_whole, many)]])
        ratio = many[1] / few[1]
        print(f"900 / 300: {ratio:.2f} (bar {MEMORY}: {'met' if ratio <= MEMORY else 'MISSED'})")


def _whole(number):
    return f"{number:.0f}"


if __name__ == "__main__":
    main()
