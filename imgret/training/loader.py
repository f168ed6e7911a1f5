"""Photos and views of them for a network in training: decoded and augmented in worker processes, some batches ahead."""

import dataclasses
import os

from imgret import images
from imgret.errors import ImgretError
from imgret.names import shown
from imgret.training.ahead import Pool, SharedMemory, alike_together
from imgret.training.augment import Augment, Params
from imgret.training.reading import Reading

WORKER = "imgret.training.loader:Viewer"


class Loader:
    """Gives batches of views.

    Parameters
    ----------
    looked : imgret.training.looking.Looked
    reading : imgret.training.reading.Reading
    params : imgret.training.augment.Params
    seed : int
    jobs : int
        Processes: this one, which trains, and others that load. With 1 all is done here, with the same result.
    """

    def __init__(self, looked, reading, params, seed, jobs):
        self._looked, self._jobs, self._pool = looked, jobs, None
        self._pictures = Pictures(reading, params, seed)
        self._setup = {"reading": dataclasses.asdict(reading), "augment": params.to_json(), "seed": seed}

    def load(self, lists):
        """Yield for each list of (photo, view) the list of its views, ndarray (H, W, 3) of uint8 each, in order.

        Parameters
        ----------
        lists : iterable of list of (int, int)
            They are taken as far ahead as views are made.

        Raises
        ------
        ImgretError
            If a photo can no longer be used, or a process ends.
        """
        if self._jobs > 1:
            if self._pool is None:  # not before it is needed: maps may be there
                self._pool = Pool(WORKER, self._setup, self._jobs - 1, self._pictures.most_bytes)
            yield from self._pool.load([*map(self._asked, pairs)] for pairs in lists)
            return
        for pairs in lists:
            asked = [*map(self._asked, pairs)]
            made = [None] * len(asked)
            for number in alike_together(asked):
                made[number] = self._pictures.view(*asked[number])
            yield made

    def _asked(self, pair):
        number, view = map(int, pair)
        name, path = (os.fsdecode(values[number]) for values in (self._looked.names, self._looked.paths))
        return name, path, self._looked.digests[number].tobytes().hex(), view

    def close(self):
        """End the processes."""
        if self._pool is not None:
            self._pool.close()
            self._pool = None


class Pictures:
    """Makes views of photos.

    Parameters
    ----------
    reading, params, seed : see `Loader`

    Attributes
    ----------
    most_bytes : int
        That a view can have.
    """

    def __init__(self, reading, params, seed):
        self._reading, self._seed, self._augment = reading, seed, Augment(params, reading.max_size)
        self._last = None, None
        self.most_bytes = max(reading.most_bytes, 3 * self._augment.size**2)

    def view(self, name, path, digest, number):
        """A view of a photo.

        Parameters
        ----------
        name, path : str
        digest : str
            SHA-256 that its file had, hex.
        number : int
            See `imgret.training.augment.Augment.view`.

        Returns
        -------
        ndarray, shape (H, W, 3), uint8

        Raises
        ------
        ImgretError
            If it cannot be used any more.
        """
        drawn = number > 0 and self._augment.active
        key = path, digest, drawn
        if self._last[0] != key:  # views of one photo follow each other: it is read once
            self._last = key, self._read(name, path, digest, drawn)
        pixels = self._last[1]
        return self._augment.view(pixels, number, (self._seed, os.fsencode(name))) if drawn else pixels

    def _read(self, name, path, digest, drawn):
        try:
            file = images.read_file(os.fsencode(path))
            if file.digest.hex() != digest:
                raise images.BadPhoto("unreadable", "its file has changed")
            return self._reading.read_for(file.data, self._augment.longest) if drawn else self._reading.read(file.data)
        except images.BadPhoto as bad:
            what = f"{shown(os.fsencode(name))} could be used when training began, and no longer can ({bad.reason})"
            raise ImgretError(f"{what}: run the same command again") from None


class Viewer:
    """Makes views of photos; lives in a worker process."""

    def __init__(self, setup):
        import cv2

        cv2.setNumThreads(1)  # parallel over photos
        self._pictures = Pictures(Reading(**setup["reading"]), Params.from_json(setup["augment"]), setup["seed"])
        self._memory = SharedMemory(setup["memory"])

    def work(self, task, starting):
        """Put views where the task says; the shape of each."""
        found = []
        for asked, place in zip(task["items"], task["places"], strict=True):
            found.append(self._memory.put(place, self._pictures.view(*asked)))
        return found
