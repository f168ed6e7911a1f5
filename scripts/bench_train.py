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
import contextlib
import dataclasses
import multiprocessing
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
from imgret.training.memory import kept
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


class Apart:
    """A program in a process of its own, so that settings of one do not touch another.

    Parameters
    ----------
    make : callable
        `make(stack, *arguments)`: the program; what is to be left at its end is on the stack.
    """

    def __init__(self, make, *arguments):
        context = multiprocessing.get_context("spawn")
        self._pipe, theirs = context.Pipe()
        self._process = context.Process(target=_serve, args=(theirs, make, arguments))
        self._process.start()
        theirs.close()
        self()  # caches are filled, processes begin

    def __call__(self):
        """The `bench.Cost` of a run."""
        self._pipe.send(True)
        return self._pipe.recv()

    def close(self):
        """End the process."""
        self._pipe.send(False)
        self._process.join()


def _serve(pipe, make, arguments):
    torch.set_num_threads(1)
    with contextlib.ExitStack() as stack:
        program = make(stack, *arguments)
        while pipe.recv():
            pipe.send(bench.call(program))


def costs_of(made, rounds):
    """Medians of programs that run apart, in turn, by name."""
    with contextlib.ExitStack() as stack:
        programs = {}
        for name, how in made.items():
            programs[name] = Apart(*how)
            stack.callback(programs[name].close)
        return bench.in_turn(programs, rounds)


def our_step(stack, device, frozen, precision):
    """A step as the training makes it."""
    stack.enter_context(pinned(1))
    stack.enter_context(kept())
    ours, photos = Ours(device, freeze=frozen, precision=precision), noise()
    inputs = list(ours.network.maps(photos)) if frozen else photos
    return lambda: ours.step(inputs)


def bare_step(stack, device, frozen, precision):
    """A step of the bare loop."""
    bare = usual_train.Bare(WEIGHTS, device, frozen, precision)
    tensors = bare.tensors(noise())
    return lambda: bare.step(tensors)


def steps(rounds, device="cpu"):
    """Print what a step takes, ours and bare: processor time, or on a GPU time by the clock."""
    rows = []
    for frozen in ("", FROZEN):
        made = {"ours": (our_step, device, frozen, "float32"), "bare": (bare_step, device, frozen, "float32")}
        if frozen:  # of the whole network it would take minutes where the processor does not have it
            made["half"] = (our_step, device, frozen, "bfloat16")
        rates = {name: BATCH / (cost.cpu if device == "cpu" else cost.seconds) for name, cost in costs_of(made, rounds).items()}
        rows.append(
            [f"above {frozen}" if frozen else "whole network", *(f"{rates[name]:.1f}" for name in ("ours", "bare"))]
            + [f"{1e3 / rates['ours']:.1f}", bench.verdict(rates["ours"] / rates["bare"], BARE)]
            + [f"{rates['half'] / rates['ours']:.2f}" if frozen else ""]
        )
    header = [f"a step on {device}", "photos/s", "bare loop", "ms a photo", "ours / bare", "bfloat16 / float32"]
    bench.table(header, rows)


def lists_of(photos, batches):
    """The (photo, view) of each batch of an epoch."""
    draw = np.random.default_rng(0)
    return [[(int(photo), 1) for photo in draw.permutation(photos)[:BATCH]] for _ in range(batches)]


def our_epoch(stack, folder, batches, frozen, threads):
    """An epoch as the training makes it, with a process that loads."""
    stack.enter_context(pinned(threads))
    stack.enter_context(kept())
    scratch = stack.enter_context(tempfile.TemporaryDirectory())
    ours, run, listing = Ours(freeze=frozen), Run(jobs=2), Given.of([folder]).listed()
    reading = Reading(SIDE, "keep", ours.network.least)
    looked = look(listing, scratch, dataclasses.asdict(reading), run)
    loader = Loader(looked, reading, ours.network.params.part(Augment.Params), 0, 2)
    stack.callback(loader.close)
    source, tell = Source(ours.network, loader, Maps(scratch, "bench") if frozen else None), Telling(run.report)

    def epoch():
        for inputs in source.batches(lists_of(len(listing), batches), tell):
            ours.step(inputs)

    return epoch


def usual_epoch(stack, folder, batches, frozen, threads):
    """The same of the usual script."""
    torch.set_num_threads(threads)
    paths = [os.fsdecode(path) for path in Given.of([folder]).listed().paths]
    lists = [[photo for photo, _ in pairs] for pairs in lists_of(len(paths), batches)]
    return usual_train.Usual(WEIGHTS, paths, lists, SIDE, frozen).epoch


def epochs(scratch, photos, batches, rounds):
    """Print how many photos a second an epoch from files trains on."""
    folder, cores = str(bench.link_photos(scratch / "photos", photos)), available_cpus()
    for frozen in ("", FROZEN):
        made = {
            f"{name}, {threads} thread{'s' * (threads > 1)}": (make, folder, batches, frozen, threads)
            for threads in ((1,) if frozen else dict.fromkeys((1, cores)))
            for name, make in (("imgret", our_epoch), ("usual script", usual_epoch))
        }
        rates = {name: batches * BATCH / cost.seconds for name, cost in costs_of(made, rounds).items()}
        title = f"an epoch, above {frozen}, its maps kept" if frozen else "an epoch, whole network"
        bench.table([f"{title}; two processes", "photos/s"], [[name, f"{rate:.1f}"] for name, rate in rates.items()])
        ours, usual = (max(rate for name, rate in rates.items() if name.startswith(who)) for who in ("imgret", "usual"))
        print(f"imgret / usual script: {bench.verdict(ours / usual, USUAL)}")
        if not frozen:
            print(f"one thread each: {rates['imgret, 1 thread'] / rates['usual script, 1 thread']:.2f}")
        print()


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
    with pinned(1):
        photos, both = noise(side=64), [Ours(device) for device in ("cpu", "cuda")]
        apart = max(abs(one - other) for one, other in ([each.step(photos) for each in both] for _ in range(100)))
    print(f"largest difference of 100 losses on GPU and processor: {apart:.1e} (bar {NEAR:g}: {'met' if apart <= NEAR else 'MISSED'})\n")


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=3, help="steps of each that are timed (default: %(default)s)")
    parser.add_argument("--batches", type=int, default=3, help="in an epoch (default: %(default)s)")
    parser.add_argument("--epochs", type=int, default=2, help="of each that are timed (default: %(default)s)")
    parser.add_argument("--photos", type=int, default=40, help="whose memory is measured; and four times as many (default: %(default)s)")
    arguments = parser.parse_args()
    if not WEIGHTS.exists():
        sys.exit("there are no weights: set IMGRET_TEST_DATA to the folder that holds weights/mobilenet_v2_imagenet.pth")
    packages = ("torch", "torchvision", "pytorch-metric-learning", "pillow", "opencv-contrib-python-headless")
    print(f"MobileNetV2 at {SIDE} pixels, batches of {BATCH}; {bench.machine(*packages)}\n")
    with tempfile.TemporaryDirectory() as scratch:
        scratch = pathlib.Path(scratch)
        steps(arguments.rounds)
        epochs(scratch, 200, arguments.batches, arguments.epochs)
        memory(scratch, arguments.photos)
        if torch.cuda.is_available():
            gpu(arguments.rounds)


if __name__ == "__main__":
    main()
