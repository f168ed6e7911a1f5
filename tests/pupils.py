"""A folder of photos that a small network is trained on in a second or two."""

import os

import numpy as np
from helpers import call, encoded, texture

from imgret.networks import safetensors_files

GROUPS, EACH = 8, 3
NET = ("model=shufflenet_v2_x0_5", "weights=random", "max_size=64", "crop_size=64")
TUPLES = (*NET, "tuples=2", "negatives=2", "holdout=0.3")
SHORT = (*TUPLES, "epochs=2", "rate=1e-3")


def sets(settings):
    """As options."""
    return [part for setting in settings for part in ("--set", setting)]


def fill(folder):
    """Photos of eight things, three of each, and their truth beside them; the last one is of nothing."""
    os.makedirs(folder / "photos")
    lines = ["image,group"]
    for group in range(GROUPS):
        picture = texture(group, 80, 64, channels=3).astype(np.int16)
        for number in range(EACH):
            changed = np.clip(np.roll(picture, 4 * number, axis=1) + 12 * number, 0, 255).astype(np.uint8)
            (folder / "photos" / f"{group}-{number}.png").write_bytes(encoded(changed))
            lines.append(f"{group}-{number}.png,g{group}")
    (folder / "photos" / "zz.png").write_bytes(encoded(texture(99, 64, 80, channels=3)))
    (folder / "groups.csv").write_text("\n".join(lines) + "\n")


def trained(folder, out, *options, method="contrastive", settings=SHORT, jobs=1, photos="photos"):
    """What `imgret train` answers."""
    return call("train", folder / photos, "-o", out, "-m", method, "--truth", folder / "groups.csv", *sets(settings), "-j", jobs, *options)


def checkpoint(out):
    """Where the checkpoint of an unfinished training is."""
    (path,) = (os.path.join(top, file) for top, _, files in os.walk(f"{out}.parts") for file in files if file == "checkpoint.safetensors")
    return path


def kept(out):
    """The arrays of it."""

    return safetensors_files.read(checkpoint(out))


class Killed(BaseException):
    """What takes a signal's place."""


def dying(patch, counts, command, out, often=True):
    """Run a training again and again, each time until it dies after so many steps.

    `patch` is pytest's; `often`: a checkpoint is written after each step. What the last run answers, and which steps were made in all.
    """
    from imgret.training.keeping import Keeping
    from imgret.training.steps import Steps

    made, real, left = [], Steps.make, [0]

    def make(self, inputs, batch, step, share):
        if not left[0]:
            raise Killed
        left[0] -= 1
        made.append(step)
        return real(self, inputs, batch, step, share)

    with patch.context() as within:
        within.setattr(Steps, "make", make)
        within.setattr(Keeping, "due", lambda _: often)
        for count in counts:
            left[0] = count
            try:
                done = call(*command, "-o", out)
            except Killed:
                assert not out.exists()
    return done, made
