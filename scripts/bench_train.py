"""How fast does `imgret train` train, beside a bare loop and the usual script? How much memory does it take?

MobileNetV2 at 160 pixels from $IMGRET_TEST_DATA, batches of 35 (five tuples of contrastive loss), batch norm frozen, one thread:

A step of the training, beside a bare PyTorch loop over tensors in memory with the same model, batch, loss and precision, in processor time
(bar: .9 of its rate); of the whole network, of what lies above features.13, and of that in bfloat16, which is slow where the processor does
not have it.
An epoch from JPEG files, beside the usual script: PIL, torchvision's transforms, a DataLoader with one worker, GeM, and the contrastive
loss of pytorch-metric-learning, on the same batches, with one thread or all, whichever is faster (bar: 1.3 times its rate).
Peak memory of the whole command for some photos and for four times as many (bar: within 10 %). Where there is a GPU, the step on it, and
how far its losses are from the processor's. How fast hard negatives are found: bench_mining.py.
"""

import argparse
import functools
import os
import pathlib
import sys
import tempfile

import bench
import numpy as np
import torch
import usual_train
from bench_memory import peaks

from imgret.listing import Given
from imgret.networks.heads import HEADS
from imgret.networks.pinned import pinned
from imgret.networks.trainable import Trainable
from imgret.parallel import available_cpus
from imgret.registry import load
from imgret.relations import Relations
from imgret.runs.run import Run
from imgret.trainers.base import Task
from imgret.trainers.tuples import Contrastive
from imgret.training.augment import Augment
from imgret.training.batches import Batch
from imgret.training.loader import Loader
from imgret.training.looking import look
from imgret.training.maps import Maps
from imgret.training.reading import Reading
from imgret.training.source import Source
from imgret.training.steps import Steps
from imgret.training.telling import Telling

BARE, USUAL, MEMORY, NEAR = 0.9, 1.3, 1.1, 1e-3
SIDE, TUPLES, WIDE = 160, 5, 7
BATCH = TUPLES * WIDE
FROZEN = "features.13"
WEIGHTS = pathlib.Path(os.environ.get("IMGRET_TEST_DATA", "nowhere"), "weights", "mobilenet_v2_imagenet.pth")


class Ours:
    """What the step trains with: `network`, and `step`, which takes a list of inputs."""

    def __init__(self, device="cpu", **settings):
        settings = {"model": "mobilenet_v2", "weights": WEIGHTS, "max_size": SIDE, "tuples": TUPLES, "negatives": WIDE - 2} | settings
        params = Contrastive.Params.parse([f"{name}={value}" for name, value in settings.items()])
        self.network = Trainable(params, load(HEADS, params.pool, "head")(params.chosen), device)
        self.network.begin(None)
        trainer = Contrastive(self.network.params)
        photos = [b"%d" % number for number in range(BATCH)]
        trainer.begin(Task(Relations(BATCH), photos, False, 0, 1))
        self._steps, self._made = Steps(self.network, trainer, {}), 0
        self._batch = Batch(np.arange(BATCH), np.ones(BATCH, np.int64), np.repeat(np.arange(TUPLES), WIDE))

    def step(self, inputs):
        """The loss of one step."""
        self._made += 1
        return self._steps.make(inputs, self._batch, self._made - 1, 0.0)[0]


def noise(count=BATCH, side=SIDE):
    """Photos of noise."""
    return list(np.random.default_rng(0).integers(0, 256, (count, side, side, 3), dtype=np.uint8))


def steps(rounds, device="cpu"):
    """Print what a step takes, ours and bare."""
    rows = []
    for frozen, precision in (("", "float32"), (FROZEN, "float32"), (FROZEN, "bfloat16")):
        ours, photos = Ours(device, freeze=frozen, precision=precision), noise()
        inputs = list(ours.network.maps(photos)) if frozen else photos
        bare = usual_train.Bare(WEIGHTS, device, frozen, precision)
        tensors = bare.tensors(photos)
        programs = {"ours": lambda ours=ours, inputs=inputs: ours.step(inputs)}
        programs["bare"] = lambda bare=bare, tensors=tensors: bare.step(tensors)
        for program in programs.values():
            program()
        costs = bench.in_turn(
            {name: functools.partial(timed, program, device) for name, program in programs.items()}, rounds if precision == "float32" else 1
        )
        rates = {name: BATCH / cost.cpu for name, cost in costs.items()}
        rows.append(
            [f"above {frozen}" if frozen else "whole network", precision, *(f"{rate:.1f}" for rate in rates.values())]
            + [f"{1e3 / rates['ours']:.1f}", bench.verdict(rates["ours"] / rates["bare"], BARE)]
        )
    bench.table([f"a step on {device}", "precision", "photos/s", "bare loop", "ms a photo", "ours / bare"], rows)


def timed(program, device):
    """The `bench.Cost` of a call; where it runs on a GPU, its time by the clock."""
    cost = bench.call(program)
    return cost if device == "cpu" else bench.Cost(cost.seconds, cost.seconds)


class Epoch:
    """An epoch from files: the same lists of photos for all."""

    def __init__(self, folder, scratch, batches):
        self.listing = Given.of([str(folder)]).listed()
        draw = np.random.default_rng(0)
        self.lists = [[(int(photo), 1) for photo in draw.permutation(len(self.listing))[:BATCH]] for _ in range(batches)]
        self.photos = batches * BATCH
        self._scratch = scratch

    def ours(self, frozen="", threads=1):
        """A program that trains an epoch, and one that ends its processes."""
        ours, run = Ours(freeze=frozen), Run(jobs=2)
        reading = Reading(SIDE, "keep", ours.network.least)
        looked = look(self.listing, str(self._scratch), {"max_size": SIDE, "least": ours.network.least}, run)
        loader = Loader(looked, reading, ours.network.params.part(Augment.Params), 0, 2)
        maps = Maps(str(self._scratch), f"bench{threads}") if frozen else None
        source, tell = Source(ours.network, loader, maps), Telling(run.report)

        def epoch():
            torch.set_num_threads(threads)
            for inputs in source.batches(self.lists, tell):
                ours.step(inputs)

        return epoch, loader.close

    def usual(self, frozen="", threads=1):
        """The same of the usual script."""
        paths = [os.fsdecode(path) for path in self.listing.paths]
        script = usual_train.Usual(WEIGHTS, paths, [[photo for photo, _ in pairs] for pairs in self.lists], SIDE, frozen)

        def epoch():
            torch.set_num_threads(threads)
            script.epoch()

        return epoch, script.close


def epochs(scratch, photos, batches, rounds):
    """Print how many photos a second an epoch from files trains on."""
    epoch = Epoch(bench.link_photos(scratch / "photos", photos), scratch, batches)
    cores = available_cpus()
    for frozen in ("", FROZEN):
        made = {"imgret, 1 thread": epoch.ours(frozen), "usual script, 1 thread": epoch.usual(frozen)}
        if cores > 1:
            made[f"imgret, {cores} threads"] = epoch.ours(frozen, cores)
            made[f"usual script, {cores} threads"] = epoch.usual(frozen, cores)
        for program, _ in made.values():
            program()  # processes begin, maps are made
        costs = bench.in_turn({name: lambda program=program: bench.call(program) for name, (program, _) in made.items()}, rounds)
        for _, close in made.values():
            close()
        rates = {name: epoch.photos / cost.seconds for name, cost in costs.items()}
        title = f"an epoch, above {frozen}, its maps kept" if frozen else "an epoch, whole network"
        bench.table([f"{title}; two processes", "photos/s"], [[name, f"{rate:.1f}"] for name, rate in rates.items()])
        ours, usual = (max(rate for name, rate in rates.items() if name.startswith(who)) for who in ("imgret", "usual"))
        print(
            f"imgret / usual script: {bench.verdict(ours / usual, USUAL)}; one thread each: "
            f"{rates['imgret, 1 thread'] / rates['usual script, 1 thread']:.2f}\n"
        )


def memory(scratch, photos):
    """Print the peak memory of the whole command."""
    rows, found = [], []
    for count in (photos, 4 * photos):
        folder = bench.link_photos(scratch / f"of{count}", count, photos)
        settings = {"max_size": 64, "weights": WEIGHTS, "model": "mobilenet_v2", "epochs": 1}
        words = [f"--set={name}={value}" for name, value in settings.items()]
        command = [sys.executable, "-m", "imgret", "train", folder, "-q", "-m", "contrastive", *words, "-j", 2]
        found.append(peaks([*command, "-o", scratch / f"{count}.safetensors"]))
        rows.append([f"{count} photos", *(f"{value:.0f}" for value in found[-1])])
    bench.table(["peak memory in MB of `imgret train`", "command", "worker"], rows)
    ratio = max(many / few for few, many in zip(*found, strict=True))
    print(f"{4 * photos} / {photos} photos: {ratio:.2f} (bar {MEMORY}: {'met' if ratio <= MEMORY else 'MISSED'})\n")


def gpu(rounds):
    """Print what a step takes on a GPU, and how far its first hundred losses are from the processor's."""
    steps(rounds, "cuda")
    photos, both = noise(side=64), [Ours(device) for device in ("cpu", "cuda")]
    apart = max(abs(one - other) for one, other in ([each.step(photos) for each in both] for _ in range(100)))
    print(f"largest difference of 100 losses on GPU and processor: {apart:.1e} (bar {NEAR:g}: {'met' if apart <= NEAR else 'MISSED'})\n")


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=5, help="steps of each that are timed (default: %(default)s)")
    parser.add_argument("--batches", type=int, default=3, help="in an epoch (default: %(default)s)")
    parser.add_argument("--epochs", type=int, default=2, help="of each that are timed (default: %(default)s)")
    parser.add_argument("--photos", type=int, default=60, help="whose memory is measured; and four times as many (default: %(default)s)")
    arguments = parser.parse_args()
    if not WEIGHTS.exists():
        sys.exit("there are no weights: set IMGRET_TEST_DATA to the folder that holds weights/mobilenet_v2_imagenet.pth")
    packages = ("torch", "torchvision", "pytorch-metric-learning", "pillow", "opencv-contrib-python-headless")
    print(f"MobileNetV2 at {SIDE} pixels, batches of {BATCH}; {bench.machine(*packages)}\n")
    with tempfile.TemporaryDirectory() as scratch, pinned(1):
        scratch = pathlib.Path(scratch)
        steps(arguments.rounds)
        epochs(scratch, 200, arguments.batches, arguments.epochs)
        memory(scratch, arguments.photos)
        if torch.cuda.is_available():
            gpu(arguments.rounds)


if __name__ == "__main__":
    main()
