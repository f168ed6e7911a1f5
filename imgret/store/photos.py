"""Appending photos to a store of a per-photo kind, whether a part or the whole."""

import numpy as np

from imgret.store import layout
from imgret.store.hashing import PhotosHash
from imgret.store.text import Texts

META = ("image_size", "digest", "file_size", "file_mtime_ns")
BOXED = {"photo_names": ((), np.uint8, {}), "box": ((4,), np.float32, {})}  # what a row per box has besides, as `PhotoWriter` takes it
COPY_PHOTOS = 1024  # photos whose columns are copied at once
COPY_BYTES = 4 << 20


class PhotoWriter:
    """Appends photos, in byte order of their names, to a `Writer`.

    Parameters
    ----------
    writer : imgret.store.writer.Writer
    kind : str
        "features", "vectors" or "index".
    data : dict
        What the data columns look like: `{path: (row_shape, dtype, {attribute: text})}`. An optional column is
        there if it is named here.
    totals : dict, optional
        Length of each axis, and of the bytes of each text column, where they are known (see `totals_of`): columns are then contiguous.
    """

    def __init__(self, writer, kind, data, totals=None):
        self.kind = kind
        self.count = self.failed = 0
        self._columns, self._end, self._identity = {}, 0, PhotosHash()
        for column in layout.COLUMNS[kind]:
            path = column.path
            if column.optional and path not in data:
                continue
            if column.dtypes == ("text",):
                known = () if totals is None else (totals[column.shape[0]], totals["bytes of " + path])
                self._columns[path] = writer.text(path, *known)
            elif path == "offsets":
                self._columns[path] = writer.column(path, (), np.int64, None if totals is None else totals["N"] + 1)
                self._columns[path].append(np.zeros(1, np.int64))
            elif path in data or all(isinstance(axis, int) for axis in column.shape[1:]):
                row_shape, dtype, attributes = data.get(path, (column.shape[1:], column.dtypes[0], {}))
                total = None if totals is None else totals[column.shape[0]]
                self._columns[path] = writer.column(path, row_shape, dtype, total, attributes)

    def photos(self, names, meta):
        """Append photos: `names` (`Texts` or bytes), `meta` the columns of `META`, and `BOXED` where they are there, one row each."""
        texts = names if isinstance(names, Texts) else Texts.of(names)
        self._columns["names"].append(texts)
        for path in META:
            self._columns[path].append(np.asarray(meta[path]))
        if "box" in self._columns:
            self._columns["photo_names"].append(meta["photo_names"])
            self._columns["box"].append(np.asarray(meta["box"]))
        self._identity.update(texts, np.asarray(meta["digest"]))
        self.count += len(texts)

    def fingerprint(self, recipe):
        """The `fingerprint` of the photos appended so far, under a recipe."""
        return self._identity.hexdigest(recipe)

    def descriptors(self, counts, **blocks):
        """Append the descriptors of photos: how many each has (n,), and `keypoints` and `descriptors` of all of them."""
        ends = self._end + np.asarray(counts, dtype=np.int64).cumsum()
        self._columns["offsets"].append(ends)
        self._end = int(ends[-1]) if len(ends) else self._end
        self.rows(**blocks)

    def rows(self, **blocks):
        """Append rows to data columns."""
        for path, block in blocks.items():
            self._columns[path].append(block)

    def fail(self, name, code, reason, digest, size, mtime_ns):
        """Append one photo that could not be used."""
        for path, value in (("names", name), ("code", code.encode()), ("reason", reason.encode("utf-8", "replace"))):
            self._columns["failed/" + path].append([value])
        self._columns["failed/digest"].append(np.frombuffer(digest, np.uint8)[None])
        self._columns["failed/file_size"].append(np.array([size]))
        self._columns["failed/file_mtime_ns"].append(np.array([mtime_ns]))
        self.failed += 1

    def copy_meta(self, store, start, stop, mtimes=None):
        """Append names, sizes, digests and boxes of the photos `start` to `stop` of another store; a photo's own box is all of it."""
        meta = {path: store.read(path, start, stop) for path in META}
        if "box" in self._columns:
            meta["photo_names"] = store.photo_names(start, stop)
            meta["box"] = store.read("box", start, stop) if store.has("box") else np.pad(meta["image_size"], [(0, 0), (2, 0)])
        if mtimes is not None:
            meta["file_mtime_ns"] = mtimes
        self.photos(store.texts("names", start, stop), meta)

    def copy(self, store, start=0, stop=None, mtimes=None):
        """Append photos `start` to `stop` of another store of the same kind, a bounded piece at a time."""
        stop = len(store) if stop is None else stop
        for first in range(start, stop, COPY_PHOTOS):
            last = min(first + COPY_PHOTOS, stop)
            self.copy_meta(store, first, last, None if mtimes is None else mtimes[first - start : last - start])
            if self.kind == "features":
                offsets = store.descriptor_range(first, last)
                self.descriptors(np.diff(offsets))
                for path in ("keypoints", "descriptors"):
                    self._copy_rows(store, path, int(offsets[0]), int(offsets[-1]))
            else:
                self._copy_rows(store, "vectors", first, last)

    def _copy_rows(self, store, path, start, stop):
        step = max(1, COPY_BYTES // max(1, store.dtype(path).itemsize * int(np.prod(store.shape(path)[1:]))))
        for first in range(start, stop, step):
            self.rows(**{path: store.read(path, first, min(first + step, stop))})

    def copy_failed(self, store, start=0, stop=None):
        """Append failed photos `start` to `stop` of another store."""
        stop = store.sizes["F"] if stop is None else stop
        if start == stop:
            return  # nearly every part: eight columns need not be read
        for column in layout.FAILED:
            if column.dtypes == ("text",):
                self._columns[column.path].append(store.texts(column.path, start, stop))
            else:
                self._columns[column.path].append(store.read(column.path, start, stop))
        self.failed += stop - start

    def copy_all_failed(self, stores):
        """Append the failed photos of several stores, in byte order of their names."""
        if len(stores) == 1:
            self.copy_failed(stores[0])
            return
        found = ((name, which, row) for which, store in enumerate(stores) for row, name in enumerate(store.texts("failed/names")))
        for _, which, row in sorted(found):
            self.copy_failed(stores[which], row, row + 1)


def boxed(stores):
    """`BOXED` if one of the stores has a row per box, else nothing: what their rows put together have."""
    return BOXED if any(store.has("box") for store in stores) else {}


def totals_of(stores, failed_stores=None):
    """Axis lengths and text bytes of a store made of all of `stores`, for `PhotoWriter`.

    Parameters
    ----------
    stores : iterable of Store
        Consumed once; one is open at a time if it is a generator.
    failed_stores : iterable of Store, optional
        Where the failed photos come from, if not from `stores`.
    """
    totals = {}
    for store in stores:
        for column in layout.COLUMNS[store.kind]:
            if failed_stores is None or not column.path.startswith("failed/"):
                _count(store, column, totals)
        for axis in ("N", "T", "F") if failed_stores is None else ("N", "T"):
            totals[axis] = totals.get(axis, 0) + store.sizes.get(axis, 0)
    for store in failed_stores or ():
        for column in layout.FAILED:
            _count(store, column, totals)
        totals["F"] = totals.get("F", 0) + store.sizes["F"]
    return totals


def _count(store, column, totals):
    if column.dtypes == ("text",):
        axis = "bytes of " + column.path
        known = axis if store.has(column.path) else "bytes of names"  # see `Store.photo_names`
        totals[axis] = totals.get(axis, 0) + store.sizes[known]
