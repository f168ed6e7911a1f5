"""What need not be described again: a finished file that still holds, and photos in it, or in parts, that are still the same."""

import contextlib
import heapq
import itertools
import operator
import threading

import numpy as np

from imgret import images
from imgret.errors import ImgretError
from imgret.names import shown, to_text
from imgret.store.photos import misfit, verify_row
from imgret.store.reader import Store


def what_changed(path, listing):
    """Whether a finished store has just these photos, the same sizes and times, and none whose reading should be tried again.

    Not where what it has cannot be told, as it is damaged.

    Parameters
    ----------
    path : str
    listing : imgret.found.Listing

    Returns
    -------
    str
        The first thing that is otherwise, in words; '' where nothing is.
    """
    try:
        return _first_change(path, listing)
    except ImgretError as error:
        return str(error)


def _first_change(path, listing):
    with Store(path) as store:
        photo_names = itertools.repeat(None) if listing.photo_names is None else listing.photo_names
        listed = zip(listing.names, listing.paths, listing.sizes, listing.mtimes, photo_names, strict=False)
        recorded = _recorded(store, listing.photo_names is not None)
        found = next(filter(None, map(_change, recorded, listed)), "")
        there = len(store) + store.sizes["F"]
        return found or ("" if there == len(listing) else f"{len(listing)} are given, {there} are there")


def _recorded(store, boxed):
    """Yield what a store has of its photos, in byte order: name, size, time; of a box its photo; of what failed its code and digest."""

    def rows(prefix, *more):
        names, sizes, mtimes = store.texts(prefix + "names"), store.read(prefix + "file_size"), store.read(prefix + "file_mtime_ns")
        return zip(names, sizes, mtimes, *more, strict=False)

    unknown = itertools.repeat(None)
    described = rows("", store.photo_names() if boxed else unknown, unknown, unknown)
    codes = map(_code, store.texts("failed/code"), store.texts("failed/reason"))
    failed = rows("failed/", unknown, codes, store.read("failed/digest"))
    return heapq.merge(described, failed, key=operator.itemgetter(0))


def _code(code, reason):
    """Why a photo failed, as bytes: as one that could not be read counts what lacked a decoder that is there now."""
    return b"unreadable" if images.readable_now(to_text(code), to_text(reason)) else code


def _change(recorded, listed):
    """What is otherwise with a photo that is listed than what is recorded of it; '' where nothing is."""
    name, size, mtime, of_photo, code, digest = recorded
    listed_name, path, listed_size, listed_mtime, photo_name = listed
    if name != listed_name:
        return f"{shown(listed_name)} is new" if listed_name < name else f"{shown(name)} is no longer given"
    if of_photo is not None and of_photo != photo_name:
        return f"{shown(name)} is of another photo"
    if code == b"unreadable":
        return f"{shown(name)} can be read now" if _read(path) else ""
    if (size, mtime) != (listed_size, listed_mtime):
        return f"{shown(name)} has another size or time"
    if code is not None and photo_name is not None and _read(path) != digest.tobytes():
        return f"{shown(name)}, which failed, may be of another photo now"
    return ""


def _read(path):
    """The digest of a photo, None where it cannot be read."""
    try:
        return images.read_file(path).digest
    except images.BadPhoto:
        return None


class Sources:
    """Where a photo that is still the same may be taken over from: the finished file, and the parts of older plans.

    Only rows of the same recipe count, so what they hold is what would be computed again; and only where they are of the size and type
    that `data` says (see `imgret.store.photos.PhotoWriter`).
    """

    def __init__(self, out, kind, recipe, older_plans, data):
        self._kind, self._data, self._stores, self._plans, self._open = kind, data, [], list(older_plans), {}
        self._lock = threading.Lock()
        if out is None:
            return
        with contextlib.suppress(ImgretError):
            store = Store(out, (kind,))
            if store.recipe == recipe and not misfit(store, data):
                self._stores.append((store, store.texts("names"), store.texts("failed/names")))
            else:
                store.close()

    def find(self, name, size, photo_name=None):
        """A `Source` of this name and file size (of the name of a box: of the photo of that name), or None, to be used until `release`."""
        with self._lock:
            return self._find(name, size, photo_name)

    def _find(self, name, size, photo_name):
        for store, names, failed in self._candidates(name):
            with contextlib.suppress(ImgretError):  # a part has been looked through, but of the finished file nothing has been read yet
                row = names.find(name)
                if row >= 0 and int(store.read("file_size", row, row + 1)[0]) == size:
                    if photo_name in (None, store.photo_names(row, row + 1)[0]):
                        return Source(store, row, "")
                row = failed.find(name)
                if row >= 0 and int(store.read("failed/file_size", row, row + 1)[0]) == size:
                    source = Source(store, row, "failed/")
                    if source.code != b"unreadable":
                        return source
        return None

    def _candidates(self, name):
        yield from self._stores
        for plan in self._plans:
            row = plan.names.find(name)
            if row < 0:
                continue
            part = row // plan.part_size
            for path in (plan.path(part), plan.path(part, retry=True)):
                with contextlib.suppress(ImgretError):
                    yield self._opened(path)

    def _opened(self, path):
        """A part, kept open until `release`."""
        if path not in self._open:
            store = Store(path, (self._kind,))
            for problem in filter(None, (misfit(store, self._data), *store.problems())):
                store.close()
                raise ImgretError(problem)
            self._open[path] = (store, store.texts("names"), store.texts("failed/names"))
        return self._open[path]

    def release(self):
        """Close the parts that were opened."""
        for store, *_ in self._open.values():
            store.close()
        self._open = {}


class Source:
    """One photo of a store, described or failed.

    Raises
    ------
    ImgretError
        If anything of it is damaged: not when it has been written in part.
    """

    def __init__(self, store, row, prefix):
        self.store, self.row, self.prefix = store, row, prefix
        if not prefix:
            verify_row(store, row)
        self.digest = store.read(prefix + "digest", row, row + 1)[0].tobytes()
        self.mtime = int(store.read(prefix + "file_mtime_ns", row, row + 1)[0])
        self.code = _code(*(store.texts(f"failed/{what}", row, row + 1)[0] for what in ("code", "reason"))) if prefix else b""

    def copy_to(self, photos, mtime):
        """Append it to a part, with the file's present time."""
        copy = photos.copy_failed if self.prefix else photos.copy
        copy(self.store, self.row, self.row + 1, np.array([mtime]))
