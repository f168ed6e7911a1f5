"""The photos of several stores: put together, or joined where each store describes all of them."""

import os

import numpy as np

from imgret.errors import ImgretError
from imgret.store.photos import boxed
from imgret.store.text import Texts


class Photos:
    """The photos of several stores, in byte order of their names.

    Raises
    ------
    ImgretError
        If there is no photo at all, a name is in two stores, or a store's names are not in order.
    """

    def __init__(self, stores):
        self.stores = stores
        if not any(map(len, stores)):
            raise ImgretError(f"there is no photo in {', '.join(store.shown for store in stores)}")
        if len(stores) == 1:
            self.names = stores[0].texts("names")
            self._where = None
            previous = None
            for name in self.names:
                if previous is not None and name <= previous:
                    raise ImgretError(f"{stores[0].shown} is damaged: 'names' are not in byte order, each once")
                previous = name
            return
        found = sorted((name, which, row) for which, store in enumerate(stores) for row, name in enumerate(store.texts("names")))
        for (name, which, _), (other, another, _) in zip(found, found[1:], strict=False):
            if name == other:
                raise ImgretError(
                    f"the photo '{os.fsdecode(name)}' is in {stores[which].shown} and in {stores[another].shown}: give it once"
                )
        self.names = Texts.of(name for name, _, _ in found)
        self._where = [(which, row) for _, which, row in found]

    def failed_from(self):
        """The stores whose failed photos are taken along."""
        return self.stores

    def identities(self):
        """File sizes and times of all photos: two arrays of shape (N,), int64."""
        columns = [[store.read(path) for store in self.stores] for path in ("file_size", "file_mtime_ns")]
        if self._where is None:
            return columns[0][0], columns[1][0]
        return tuple(np.array([column[which][row] for which, row in self._where], dtype=np.int64) for column in columns)

    def append_to(self, photos, start, stop):
        """Write names, sizes and digests of the photos `start` to `stop` to a part, neighbours together.

        Parameters
        ----------
        photos : imgret.store.photos.PhotoWriter
        start, stop : int

        Yields
        ------
        list of (Store, sequence of int)
            For each input, here the only one, the rows that hold what is known of the photos just written: what is made of them is to be
            appended before the next are asked for.
        """
        for store, first, last in self.runs(start, stop):
            photos.copy_meta(store, first, last)
            yield [(store, range(first, last))]

    def runs(self, start, stop):
        """Yield (store, first, last + 1): the rows of the photos `start` to `stop`, neighbours together."""
        if self._where is None:
            yield self.stores[0], start, stop
            return
        while start < stop:
            which, row = self._where[start]
            end = start + 1
            while end < stop and self._where[end] == (which, row + end - start):
                end += 1
            yield self.stores[which], row, row + end - start
            start = end


class JoinedPhotos:
    """The photos that several stores describe, each its own way, in byte order of their names.

    A photo that failed in one of them is failed in the result too.

    Raises
    ------
    ImgretError
        If there is no photo, the sets differ, or a name stands for different photos.
    """

    def __init__(self, stores):
        self.stores = stores
        described = [{name: row for row, name in enumerate(store.texts("names"))} for store in stores]
        failed = [{name: row for row, name in enumerate(store.texts("failed/names"))} for store in stores]
        everyone = sorted(set().union(*described, *failed))
        self._check_sets(everyone, described, failed)
        self.names = Texts.of(everyone)
        self._failed, rows = {}, np.full((len(stores), len(everyone)), -1, np.int64)
        for position, name in enumerate(everyone):
            which = next((which for which, names in enumerate(failed) if name in names), None)
            if which is not None:
                self._failed[position] = (stores[which], failed[which][name])
            else:
                rows[:, position] = [names[name] for names in described]
        self._rows = rows
        if len(self._failed) == len(everyone):
            raise ImgretError(f"there is no photo that all of {', '.join(store.shown for store in stores)} describe")
        self._check_digests()
        self._check_boxes()

    def _check_sets(self, everyone, described, failed):
        for store, *known in zip(self.stores, described, failed, strict=True):
            missing = [name for name in everyone if not any(name in names for names in known)]
            if missing:
                raise ImgretError(
                    f"the stores hold different photos: {len(missing)} of {len(everyone)} are not in {store.shown} "
                    f"(the first is '{os.fsdecode(missing[0])}'): join stores of the same photos"
                )

    def _check_digests(self):
        for store, count, name in self._differing(lambda store, rows: store.read("digest")[rows]):
            raise ImgretError(
                f"{count} photos have changed between {self.stores[0].shown} and {store.shown} (the first is '{name}'): extract them again"
            )

    def _check_boxes(self):
        if not boxed(self.stores):
            return
        for store, count, name in self._differing(_boxes):
            raise ImgretError(
                f"{count} boxes differ between {self.stores[0].shown} and {store.shown} (the first is that of '{name}'): "
                "extract both with the same --boxes"
            )

    def _differing(self, read):
        """Yield (store, count, name): of how many photos a store reads other values than the first store does, and the first of them."""
        there = np.flatnonzero(self._rows[0] >= 0)
        first = read(self.stores[0], self._rows[0, there])
        for store, rows in zip(self.stores[1:], self._rows[1:], strict=True):
            differ = np.flatnonzero((read(store, rows[there]) != first).any(axis=1))
            if len(differ):
                yield store, len(differ), os.fsdecode(self.names[int(there[differ[0]])])

    def failed_from(self):
        """None: the parts hold the failed photos."""

    def identities(self):
        """File sizes and times of all photos: two arrays of shape (N,), int64."""
        columns = [self.stores[0].read(path)[self._rows[0]] for path in ("file_size", "file_mtime_ns")]
        for position, (store, row) in self._failed.items():
            for column, path in zip(columns, ("file_size", "file_mtime_ns"), strict=True):
                column[position] = store.read("failed/" + path, row, row + 1)[0]
        return columns

    def append_to(self, photos, start, stop):
        """Write names, sizes and digests of the photos `start` to `stop` to a part, and those that failed; see `Photos.append_to`."""
        for position in range(start, stop):
            if position in self._failed:
                store, row = self._failed[position]
                photos.copy_failed(store, row, row + 1)
        kept = [position for position in range(start, stop) if position not in self._failed]
        if kept:
            rows = self._rows[0, kept]
            for run in np.split(rows, np.flatnonzero(np.diff(rows) != 1) + 1):  # neighbours together
                photos.copy_meta(self.stores[0], int(run[0]), int(run[-1]) + 1)
            yield [(store, rows[kept]) for store, rows in zip(self.stores, self._rows, strict=True)]


def _boxes(store, rows):
    """The boxes of some rows; zeros where a row is a whole photo."""
    return store.read("box")[rows] if store.has("box") else np.zeros((len(rows), 4), np.float32)
