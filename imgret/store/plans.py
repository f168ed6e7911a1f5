"""Plans: what a long step works from, frozen, and where the parts that it makes are. See `imgret.store.parts`."""

import contextlib
import dataclasses
import os
import re

import numpy as np

from imgret.errors import ImgretError
from imgret.store.reader import Store
from imgret.store.text import Texts
from imgret.store.writer import Writer

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


@dataclasses.dataclass(frozen=True)
class Places:
    """Where a plan's photos are, for whoever asks for the same.

    Attributes
    ----------
    asked : str
        Identity of what was asked for, and from where.
    heads, which, whole
        As `imgret.found.Paths` takes them.
    """

    asked: str
    heads: list
    which: np.ndarray
    whole: Texts


class Plan:
    """The frozen list of photos of one output.

    Attributes
    ----------
    number : int
    folder : str
        Where the parts are.
    listed : tuple
        All photos: their names, sizes and times.
    made : ndarray, shape (P,), int64, or None
        Which of them have to be made; None where all have.
    names : Texts
    sizes, mtimes : ndarray, shape (P,), int64
        Of those that have to be made, in parts.
    asked : str or None
        Identity of what was asked for where the photos were looked for; see `Places`.
    """

    def __init__(self, folder, number, check=False):
        self.number = number
        path = os.path.join(folder, "plan.h5")
        if not os.path.exists(path):
            raise FolderVanished
        with Store(path, ("plan",)) as store:
            for problem in store.problems() if check else ():
                raise ImgretError(f"{store.shown}: {problem}")
            self.listed = store.texts("names"), store.read("file_size"), store.read("file_mtime_ns")
            self.made = store.read("made") if store.has("made") else None
            self.asked = store.params.get("asked")
            self.folder = os.path.join(folder, store.content[:16])
        self.names, self.sizes, self.mtimes = self.listed if self.made is None else _picked(self.listed, self.made)
        self.part_size = part_size(len(self.names))

    def asked_by(self, asked):
        """Whether who asks so has to follow it; of what is not known nothing is held to be different."""
        return None in (asked, self.asked) or asked == self.asked

    def places(self):
        """The `Places` of its photos; None where it does not say."""
        with Store(os.path.join(os.path.dirname(self.folder), "plan.h5"), ("plan",)) as store:
            if not store.has("which"):
                return None
            heads, which, whole = store.texts("heads"), store.read("which"), store.texts("whole")
        if len(which) and (which.max() >= len(heads) or which.min() < -len(whole)):
            return None
        return Places(self.asked, list(heads), which, whole)

    @property
    def identity(self):
        """What tells it from other plans of the same output: part of its `content`."""
        return os.path.basename(os.fsdecode(self.folder))

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

    def lists(self, names, sizes, mtimes):
        """Whether this is a plan of these photos."""
        return self.listed[0] == names and np.array_equal(self.listed[1], sizes) and np.array_equal(self.listed[2], mtimes)

    def matches(self, names, sizes, mtimes, made=None):
        """Whether this is the plan of these photos, of which those `made` have to be."""
        same = self.made is None if made is None else self.made is not None and np.array_equal(made, self.made)
        return same and self.lists(names, sizes, mtimes)


def _picked(listed, made):
    names, sizes, mtimes = listed
    if len(made) and (made.min() < 0 or made.max() >= len(names) or (np.diff(made) <= 0).any()):
        raise ImgretError("the photos to be made are none of the plan's")
    return names.taken(made), sizes[made], mtimes[made]


def whole_plan(folder, number):
    """A plan that can be worked by; None where another has to take its place, because something of it is damaged or missing."""
    with contextlib.suppress(FolderVanished, ImgretError, OSError):
        plan = Plan(folder, number, check=True)
        os.makedirs(plan.folder, exist_ok=True)
        with os.scandir(plan.folder) as entries:
            if all(entry.is_file() for entry in entries if PART.fullmatch(entry.name)):
                return plan
    return None


def write_plan(folder, shown, recipe, photos, places=None, made=None):
    """Write a plan into a folder that is to be one.

    Parameters
    ----------
    folder : str
    shown : str
        What the output is called in messages.
    recipe : str
    photos : tuple
        Names, sizes, times.
    places : Places, optional
    made : ndarray, optional
        See `Plan`.

    Raises
    ------
    OSError, ImgretError
    """
    with Writer(os.path.join(folder, "plan.h5"), shown) as writer:
        names, sizes, mtimes = photos
        writer.texts("names", names)
        writer.array("file_size", sizes)
        writer.array("file_mtime_ns", mtimes)
        if made is not None:
            writer.array("made", made)
        if places is not None:
            writer.texts("heads", places.heads)
            writer.array("which", places.which)
            writer.texts("whole", places.whole)
        content = writer.finish("plan", recipe=recipe, params={} if places is None else {"asked": places.asked})
        writer.keep()
    os.mkdir(os.path.join(folder, content[:16]))


def publish_part(writer, plan, part, kind, *, recipe, params, retry):
    """Finish a part and give it its name.

    Raises
    ------
    FolderVanished
        If the plan's folder is gone.
    """
    writer.finish(kind, recipe=recipe, params=params, info={"plan": plan.identity})
    try:
        writer.publish(plan.path(part, retry))
        if not retry:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(plan.path(part, True))
    except ImgretError:
        if not os.path.isdir(plan.folder):
            raise FolderVanished from None
        raise
