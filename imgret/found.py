"""Photos that were found: their names, where they are, sizes and times; packed, as there may be millions."""

import array
import collections
import dataclasses
import itertools
import os

import numpy as np

from imgret.errors import ImgretError
from imgret.store.plans import Places
from imgret.store.text import Packing, Texts


class Paths:
    """Where photos are: a sequence of bytes, most of them a photo's name after something that many have in common.

    Parameters
    ----------
    names : Texts
    heads : list of bytes
        What comes before names.
    which : ndarray, shape (N,), int32
        The number of a photo's head; below zero, -1 less the number of its path among `whole`.
    whole : Texts
        Paths that do not end with the name.
    """

    def __init__(self, names, heads, which, whole):
        self._names, self._heads, self._which, self._whole = names, heads, which, whole

    def __len__(self):
        return len(self._which)

    def __getitem__(self, item):
        number = int(self._which[item])
        return self._heads[number] + self._names[item] if number >= 0 else self._whole[-1 - number]

    def __iter__(self):
        for number, name in zip(self._which, self._names, strict=True):
            yield self._heads[number] + name if number >= 0 else self._whole[-1 - int(number)]

    def __eq__(self, other):
        return list(self) == list(other)

    __hash__ = None

    def kept(self, asked):
        """They as a plan keeps them, for whoever asks for the same."""
        return Places(asked, self._heads, self._which, self._whole)


@dataclasses.dataclass(frozen=True)
class Listing:
    """Photos in byte order of their names.

    Attributes
    ----------
    names : imgret.store.text.Texts
    paths : Paths
        Where each one is. One that ends with a slash is no photo, but a folder that could not be listed (see `imgret.images.read_file`).
    sizes, mtimes : ndarray, shape (N,), int64
        File size in bytes and modification time in nanoseconds; -1 where the file could not be looked at.
    photo_names : imgret.store.text.Texts, optional
        Where there is a row per box: the names of the photos that the boxes are of, while `names` are those of the queries.
    boxes : ndarray, shape (N, 4), float64, optional
        Their corners, as given: x1, y1, x2, y2.
    fractions : bool
        Whether these are fractions of the photo's width and height.
    unread : dict of bytes to int
        How many pictures of types that are not read were found beside them, by their endings.
    """

    names: Texts
    paths: Paths
    sizes: np.ndarray
    mtimes: np.ndarray
    photo_names: Texts | None = None
    boxes: np.ndarray | None = None
    fractions: bool = False
    unread: dict = dataclasses.field(default_factory=dict)

    @classmethod
    def planned(cls, plan):
        """The photos of an `imgret.store.plans.Plan`, where it says where they are; None otherwise."""
        places = plan.places()
        if places is None:
            return None
        names, sizes, mtimes = plan.listed
        return cls(names, Paths(names, places.heads, places.which, places.whole), sizes, mtimes)

    def __len__(self):
        return len(self.names)


class Found:
    """Photos as they are found, and folders that cannot be listed: millions, so they are packed.

    Attributes
    ----------
    photos : int
        How many are no folders.
    unread : collections.Counter
        How many pictures of types that are not read were passed over, by their endings.
    """

    def __init__(self):
        self.photos, self.unread = 0, collections.Counter()
        self._names, self._facts = Packing(), array.array("q")
        self._heads, self._which, self._whole = {}, array.array("i"), Packing()

    def add(self, name, path, status):
        """One more; `status` as `os.stat` gives it, or None."""
        self._names.append(name)
        if path.endswith(name):
            self._which.append(self._heads.setdefault(path.removesuffix(name), len(self._heads)))
        else:
            self._whole.append(path)
            self._which.append(-len(self._whole))
        self._facts.extend((-1, -1) if status is None else (status.st_size, status.st_mtime_ns))
        self.photos += not path.endswith(b"/")

    def listing(self):
        """The `Listing` of them, each once.

        Raises
        ------
        ImgretError
            If two get the same name.
        """
        names, self._names = self._names.texts(), None
        order = names.order()
        names = names.taken(order)
        heads, whole, which = list(self._heads), self._whole.texts(), np.frombuffer(self._which, np.int32)[order]
        facts = np.frombuffer(self._facts, np.int64).reshape(-1, 2)
        sizes, mtimes = facts[order, 0], facts[order, 1]
        paths = Paths(names, heads, which, whole)
        again = _again(names, paths)
        if again:
            kept = np.delete(np.arange(len(names)), again)
            names, sizes, mtimes = names.taken(kept), sizes[kept], mtimes[kept]
            paths = Paths(names, heads, which[kept], whole)
        return Listing(names, paths, sizes, mtimes, unread=dict(self.unread))


def _again(names, paths):
    """Positions of photos that are there before, under the same name.

    Raises
    ------
    ImgretError
        If two photos have the same name.
    """
    alike = {}
    for place, (name, other) in enumerate(itertools.pairwise(names)):
        if name == other:
            alike.setdefault(name, [place]).append(place + 1)
    again = []
    for name, places in alike.items():
        (kept, _), *others = sorted((paths[place], place) for place in places)
        for path, place in others:
            if os.path.realpath(kept) != os.path.realpath(path):
                raise ImgretError(
                    f"two photos would be called '{os.fsdecode(name)}': {os.fsdecode(kept)} and {os.fsdecode(path)}; "
                    "give --root with a folder above both, so that their names tell them apart"
                )
            again.append(place)
    return again
