"""How many views of photos a second come to a training, beside PIL, torchvision's v2 transforms and a DataLoader?

As these are usually put together: the same cuts and colours of real photos of $IMGRET_TEST_DATA, of each photo as many views as asked
for, in batches of 32 views, by the training process itself, then by one and two processes beside it. The usual script opens a photo once
for all of its views too. The first pass, in which processes start, is not counted; passes are in turn. What one view costs, less its
decoding, is told below.
"""

import argparse
import contextlib
import dataclasses
import pathlib
import statistics
import tempfile
import time

import bench
import numpy as np
import torch
from PIL import Image
from torchvision.transforms import v2

from imgret.listing import Given
from imgret.runs.run import Run
from imgret.training.augment import PLAIN, PRESETS, Augment, Params
from imgret.training.loader import Loader
from imgret.training.looking import look
from imgret.training.reading import Reading

BATCH = 32


class Usual(torch.utils.data.Dataset):
    """Photos as a script of one's own loads them."""

    def __init__(self, paths, augment, size, views):
        self.paths, self.views = paths, views
        chosen = PLAIN | PRESETS[augment]
        steps = [v2.RandomResizedCrop(size, chosen["crop_scale"], chosen["crop_ratio"], antialias=True)]
        steps += [v2.RandomRotation(chosen["turn"], v2.InterpolationMode.BILINEAR)] if chosen["turn"] else []
        steps += [v2.RandomPerspective(chosen["slant"], p=1.0)] if chosen["slant"] else []
        steps += [v2.RandomHorizontalFlip(chosen["mirror"])] if chosen["mirror"] else []
        steps += [v2.ColorJitter(*chosen["jitter"], chosen["hue"])]
        steps += [v2.RandomGrayscale(chosen["grey"])] if chosen["grey"] else []
        self.transform = v2.Compose([*steps, v2.PILToTensor()])

    def __len__(self):
        return len(self.paths)

    def __getitem__(self, number):
        photo = Image.open(self.paths[number]).convert("RGB")
        return torch.stack([self.transform(photo) for _ in range(self.views)])


def usual(paths, arguments, processes):
    """A pass over all photos, as a function; seconds."""
    data = Usual(paths, arguments.augment, arguments.max_size, arguments.views)
    how = {"num_workers": processes, "persistent_workers": processes > 0}
    loader = torch.utils.data.DataLoader(data, batch_size=BATCH // arguments.views, shuffle=True, **how)

    def once():
        began = time.perf_counter()
        count = sum(batch.shape[0] * batch.shape[1] for batch in loader)
        assert count == len(paths) * arguments.views
        return time.perf_counter() - began

    return once


def ours(looked, reading, arguments, processes, stack):
    """The same by imgret."""
    loader = stack.enter_context(contextlib.closing(Loader(looked, reading, Params(augment=arguments.augment), 0, 1 + processes)))
    epochs = iter(range(1000))

    def once():
        began, epoch = time.perf_counter(), next(epochs)
        order = np.random.default_rng(epoch).permutation(len(looked)).tolist()
        pairs = [(number, 1 + epoch * arguments.views + view) for number in order for view in range(arguments.views)]
        count = sum(map(len, loader.load([pairs[start : start + BATCH] for start in range(0, len(pairs), BATCH)])))
        assert count == len(pairs)
        return time.perf_counter() - began

    return once


def cost_of_a_view(looked, reading, arguments):
    """Milliseconds to read a photo, and to draw a view of it."""
    augment, costs = Augment(Params(augment=arguments.augment), arguments.max_size), []
    for number in range(min(100, len(looked))):
        with open(looked.paths[number], "rb") as file:
            data = file.read()
        began = time.perf_counter()
        pixels = reading.read_for(data, augment.longest)
        between = time.perf_counter()
        augment.view(pixels, 1, (0, looked.names[number]))
        costs.append((between - began, time.perf_counter() - between))
    return [1e3 * statistics.median(column) for column in zip(*costs, strict=True)]


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--photos", type=int, default=300, help="how many (default: %(default)s)")
    parser.add_argument("--rounds", type=int, default=3, help="passes of each (default: %(default)s)")
    parser.add_argument("--max-size", type=int, default=320, help="sides of a view (default: %(default)s)")
    parser.add_argument("--augment", default="strong", choices=("light", "strong"), help="(default: %(default)s)")
    parser.add_argument("--views", type=int, default=2, help="of each photo, in one batch (default: %(default)s)")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    with contextlib.ExitStack() as stack:
        scratch = pathlib.Path(stack.enter_context(tempfile.TemporaryDirectory()))
        folder, reading = bench.link_photos(scratch / "photos", arguments.photos), Reading(arguments.max_size)
        looked = look(Given((str(folder),)).listed(), str(scratch), dataclasses.asdict(reading), Run())
        paths = [path.decode() for path in looked.paths]
        passes = {}
        for processes in (0, 1, 2):
            passes["PIL, v2, DataLoader", processes] = usual(paths, arguments, processes)
            passes["imgret", processes] = ours(looked, reading, arguments, processes, stack)
        times = {key: [] for key in passes}
        for number in range(1 + arguments.rounds):
            for key, once in passes.items():
                taken = once()
                if number:
                    times[key].append(taken)
        rates = {key: len(paths) * arguments.views / statistics.median(taken) for key, taken in times.items()}
        reads, draws = cost_of_a_view(looked, reading, arguments)
    print(
        f"{len(paths)} photos, {arguments.views} views each, {arguments.max_size} pixels, {arguments.augment}; "
        f"median of {arguments.rounds} passes in turn; {bench.machine('torch', 'torchvision', 'pillow')}\n"
    )
    rows = [
        [name, str(processes), f"{rate:.0f}", f"{rate / rates['PIL, v2, DataLoader', processes]:.2f}"]
        for (name, processes), rate in rates.items()
    ]
    bench.table(["", "processes beside", "views a second", "ratio"], rows)
    print(f"\nreading a photo takes {reads:.1f} ms, drawing a view {draws:.1f} ms (medians, one thread)")


if __name__ == "__main__":
    main()
