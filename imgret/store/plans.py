"""Plans: what a long step works from, frozen, and where the parts that it makes are. See `imgret.store.parts`."""

import contextlib
import os
import re

import numpy as np

from imgret.errors import ImgretError
from imgret.store.reader import Store

PART = re.compile(r"(\d{6,})(\.retry)?\.h5")


class FolderVanished(Exception):  # noqa: N818 - not an error: somebody else has finished
    """The folder of parts is gone: another process has published the output, or somebody has deleted it."""


def part_size(photos):
    """Photos per part: few enough that every core has work in a small set, many enough that a large one is thousands of files.

    A function of the plan alone, so every process agrees; the joined datasets do not depend on it.
    """
    size = 8
    while size < 256 and photos > 128 * size:
        size *= 2
    return size


class Plan:
    """The frozen list of photos of one output.

    Attributes
    ----------
    number : int
    folder : str
        Where the parts are.
    names : Texts
    sizes, mtimes : ndarray, shape (N,), int64
    """

    def __init__(self, folder, number, check=False):
        self.number = number
        path = os.path.join(folder, "plan.h5")
        if not os.path.exists(path):
            raise FolderVanished
        with Store(path, ("plan",)) as store:
            for problem in store.problems() if check else ():
                raise ImgretError(f"{store.shown}: {problem}")
            self.names = store.texts("names")
            self.sizes, self.mtimes = store.read("file_size"), store.read("file_mtime_ns")
            self.folder = os.path.join(folder, store.content[:16])
        self.part_size = part_size(len(self.names))

    def __len__(self):
        """Number of parts."""
        return -(-len(self.names) // self.part_size)

    def range(self, part):
        """First and last + 1 photo of a part."""
        return part * self.part_size, min((part + 1) * self.part_size, len(self.names))

    def path(self, part, retry=False):
        """Where a part is, or will be."""
        return os.path.join(self.folder, f"{part:06d}{'.retry' if retry else ''}.h5")

    def finished(self):
        """The parts that are there: (set of whole ones, set of those with I/O errors)."""
        try:
            names = os.listdir(self.folder)
        except FileNotFoundError:
            raise FolderVanished from None
        found = [PART.fullmatch(name) for name in names]
        whole = {int(match[1]) for match in found if match and not match[2]}
        return whole, {int(match[1]) for match in found if match and match[2]} - whole

    def matches(self, names, sizes, mtimes):
        """Whether this is the plan of these photos."""
        return self.names == names and np.array_equal(self.sizes, sizes) and np.array_equal(self.mtimes, mtimes)


def whole_plan(folder, number):
    """A plan that can be worked by; None where another has to take its place, because something of it is damaged or missing."""
    with contextlib.suppress(FolderVanished, ImgretError, OSError):
        plan = Plan(folder, number, check=True)
        os.makedirs(plan.folder, exist_ok=True)
        with os.scandir(plan.folder) as entries:
            if all(entry.is_file() for entry in entries if PART.fullmatch(entry.name)):
                return plan
    return None
