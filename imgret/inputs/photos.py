"""The photos of several stores: put together, or joined where each store describes all of them."""

import array
import heapq
import itertools
import operator
import os

import numpy as np

from imgret.errors import ImgretError, counted, quoted
from imgret.runs.failures import failures_in
from imgret.runs.kept import neighbours
from imgret.store.hashing import origin_of
from imgret.store.photos import boxed, origins
from imgret.store.text import Texts

DESCRIBED, FAILED = 1, 2


def rising(store, path):
    """Yield a store's names, refused where they do not rise."""
    previous = None
    for name in store.texts(path):
        if previous is not None and name <= previous:
            raise ImgretError(f"{store.shown} is damaged: '{path}' are not in byte order, each once")
        previous = name
        yield name


class OfStores:
    """Base of the photos of several `stores`."""

    def failures(self):
        """Yield what failed in them, as `imgret.runs.failures.Failure`."""
        return itertools.chain.from_iterable(map(failures_in, self.stores))


class Photos(OfStores):
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
        which = array.array("i")
        self.names = Texts.of(self._merged(which))
        which = np.frombuffer(which, np.int32)
        # neighbours that one store has are a run: where it begins, whose it is, and its first row there
        self._starts = np.flatnonzero(np.diff(which, prepend=-1))
        self._which = which[self._starts]
        self._rows, seen = array.array("q"), [0] * len(stores)
        for number, length in zip(self._which.tolist(), np.diff(self._starts, append=len(which)).tolist(), strict=True):
            self._rows.append(seen[number])
            seen[number] += length

    def _merged(self, which):
        """Yield the names in order, and append to `which` the number of the store that has each."""
        streams = [zip(rising(store, "names"), itertools.repeat(number)) for number, store in enumerate(self.stores)]
        previous = None
        for name, number in heapq.merge(*streams):
            if name == previous:
                first, second = self.stores[which[-1]].shown, self.stores[number].shown
                raise ImgretError(f"the photo '{quoted(os.fsdecode(name))}' is in {first} and in {second}: give it once")
            previous = name
            which.append(number)
            yield name

    def failed_from(self):
        """The stores whose failed photos are taken along."""
        return self.stores

    @property
    def described(self):
        """Which photos are described, (N,) bool: all."""
        return np.ones(len(self.names), bool)

    def values(self, path):
        """A column of photos, as all the stores have it, in the order of the names: (N, ...)."""
        if path == "box":
            return self._in_order([_whole_boxes(store) for store in self.stores])
        return self._in_order([store.read(path) for store in self.stores])

    def _in_order(self, columns):
        lengths = np.diff(self._starts, append=len(self.names))
        values = np.empty((len(self.names), *columns[0].shape[1:]), columns[0].dtype)
        values[np.argsort(np.repeat(self._which, lengths), kind="stable")] = np.concatenate(columns)
        return values

    def identities(self):
        """File sizes and times of all photos: two arrays of shape (N,), int64."""
        return self.values("file_size"), self.values("file_mtime_ns")

    def photo_names(self):
        """The names of the photos that the rows stand for, as `Texts`."""
        return Texts.of(name for store, first, last in self.runs(0, len(self.names)) for name in store.photo_names(first, last))

    def copy_meta(self, photos, start, stop):
        """Write names, sizes and digests of the photos `start` to `stop` to a `PhotoWriter`."""
        for _ in self.append_to(photos, start, stop):
            pass

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
        number = int(np.searchsorted(self._starts, start, side="right")) - 1
        while start < stop:
            begin, end = int(self._starts[number]), stop
            if number + 1 < len(self._starts):
                end = min(stop, int(self._starts[number + 1]))
            row = self._rows[number] + start - begin
            yield self.stores[self._which[number]], row, row + end - start
            start, number = end, number + 1

    def column(self, path, start, stop):
        """A column of the photos `start` to `stop`, as all the stores have it, in order."""
        return self.gathered(lambda store, first, last: store.read(path, first, last), start, stop)

    def gathered(self, read, start, stop):
        """Values of the photos `start` to `stop`, in order.

        Parameters
        ----------
        read : callable
            `read(store, first, last)`: those of the rows `first` to `last` of a store, which is asked once.
        start, stop : int

        Returns
        -------
        ndarray
        """
        runs = list(self.runs(start, stop))
        spans = {}
        for store, first, last in runs:
            spans[store] = (spans.get(store, (first,))[0], last)
        blocks = {store: read(store, *span) for store, span in spans.items()}
        if len(runs) == 1:
            return blocks[runs[0][0]]
        return np.concatenate([blocks[store][first - spans[store][0] : last - spans[store][0]] for store, first, last in runs])


class JoinedPhotos(OfStores):
    """The photos that several stores describe, each its own way, in byte order of their names.

    A photo that failed in one of them is failed in the result too.

    Raises
    ------
    ImgretError
        If there is no photo, the sets differ, or a name stands for different photos.
    """

    def __init__(self, stores):
        self.stores = stores
        rows, kinds = array.array("q"), array.array("b")
        self.names = Texts.of(self._merged(rows, kinds))
        rows, kinds = (np.frombuffer(column, column.typecode).reshape(-1, len(stores)).T for column in (rows, kinds))
        self._check_sets(kinds)
        failed = (kinds == FAILED).any(axis=0)
        # of a photo that failed somewhere: the first store where it did, and its row among the failed there
        self._failed = {
            position: (stores[which], int(rows[which, position]))
            for position, which in zip(np.flatnonzero(failed).tolist(), (kinds[:, failed] == FAILED).argmax(axis=0).tolist(), strict=True)
        }
        self._rows = np.where(failed, -1, rows)
        if failed.all():
            raise ImgretError(f"there is no photo that all of {', '.join(store.shown for store in stores)} describe")
        self._check_digests()
        self._check_boxes()
        self._origins = self._joined_origins() if origins(stores) else None

    def _merged(self, rows, kinds):
        """Yield the names in order, and append for each and every store its row there, and among what: `DESCRIBED`, `FAILED` or neither."""
        streams = []
        for number, store in enumerate(self.stores):
            for path, kind in (("names", DESCRIBED), ("failed/names", FAILED)):
                streams.append(zip(rising(store, path), itertools.count(), itertools.repeat(number), itertools.repeat(kind)))
        for name, group in itertools.groupby(heapq.merge(*streams), key=operator.itemgetter(0)):
            where, what = [-1] * len(self.stores), [0] * len(self.stores)
            for _, row, number, kind in group:
                if kind > what[number]:
                    where[number], what[number] = row, kind
            rows.extend(where)
            kinds.extend(what)
            yield name

    def _check_sets(self, kinds):
        for store, known in zip(self.stores, kinds, strict=True):
            missing = np.flatnonzero(known == 0)
            if len(missing):
                raise ImgretError(
                    f"the stores hold different photos: {len(missing)} of {len(self.names)} are not in {store.shown} "
                    f"(the first is '{os.fsdecode(self.names[int(missing[0])])}'): join stores of the same photos"
                )

    def _check_digests(self):
        for store, count, name in self._differing(lambda store, rows: store.read("digest")[rows]):
            raise ImgretError(
                f"{counted(count, 'photo has', 'photos have')} changed between {self.stores[0].shown} and {store.shown} "
                f"(the first is '{name}'): extract them again"
            )

    def _check_boxes(self):
        if not boxed(self.stores):
            return
        for store, count, name in self._differing(_boxes):
            raise ImgretError(
                f"{counted(count, 'box differs', 'boxes differ')} between {self.stores[0].shown} and {store.shown} "
                f"(the first is that of '{name}'): extract both with the same --boxes"
            )

    def _differing(self, read):
        """Yield (store, count, name): of how many photos a store reads other values than the first store does, and the first of them."""
        there = np.flatnonzero(self._rows[0] >= 0)
        first = read(self.stores[0], self._rows[0, there])
        for store, rows in zip(self.stores[1:], self._rows[1:], strict=True):
            differ = np.flatnonzero((read(store, rows[there]) != first).any(axis=1))
            if len(differ):
                yield store, len(differ), os.fsdecode(self.names[int(there[differ[0]])])

    def _joined_origins(self):
        """What the photos were described by, in all stores: (N,), uint64; of a failed one it says nothing."""
        several = np.stack([store.read("origin")[rows] for store, rows in zip(self.stores, self._rows, strict=True)], axis=1)
        return np.fromiter((origin_of([row]) for row in several), np.uint64, len(several))

    def failed_from(self):
        """None: the parts hold the failed photos."""

    @property
    def described(self):
        """Which photos are described, (N,) bool."""
        return self._rows[0] >= 0

    def values(self, path):
        """A column of photos, as the first store has it, but for the origins, which are of all: (N, ...); any, where a photo failed."""
        if path == "origin":
            return self._origins
        return (_whole_boxes(self.stores[0]) if path == "box" else self.stores[0].read(path))[self._rows[0]]

    def photo_names(self):
        """The names of the photos that the rows stand for, as `Texts`; any, where a photo failed."""
        return self.stores[0].photo_names().taken(self._rows[0])

    def copy_meta(self, photos, start, stop):
        """Write names, sizes and digests of the described photos `start` to `stop` to a `PhotoWriter`."""
        rows = self._rows[0, start:stop]
        for first, last in neighbours(rows):
            some = None if self._origins is None else self._origins[start + first : start + last]
            photos.copy_meta(self.stores[0], int(rows[first]), int(rows[last - 1]) + 1, origins=some)

    def identities(self):
        """File sizes and times of all photos: two arrays of shape (N,), int64."""
        columns = [self.values(path) for path in ("file_size", "file_mtime_ns")]
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
        kept = start + np.flatnonzero(self.described[start:stop])
        for first, last in neighbours(kept):
            self.copy_meta(photos, int(kept[first]), int(kept[last - 1]) + 1)
        if len(kept):
            yield [(store, rows[kept]) for store, rows in zip(self.stores, self._rows, strict=True)]


def _boxes(store, rows):
    """The boxes of some rows; zeros where a row is a whole photo."""
    return store.read("box")[rows] if store.has("box") else np.zeros((len(rows), 4), np.float32)


def _whole_boxes(store):
    """The boxes of all rows, as a row per box has them: of a whole photo all of it."""
    return store.read("box") if store.has("box") else np.pad(store.read("image_size"), [(0, 0), (2, 0)]).astype(np.float32)
