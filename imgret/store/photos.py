"""Appending photos to a store of a per-photo kind, whether a part or the whole."""

import itertools

import numpy as np

from imgret.arrays import zero_rows
from imgret.store import layout
from imgret.store.hashing import PhotosHash, origin_of
from imgret.store.sameness import Sameness
from imgret.store.text import Texts

COPY_PHOTOS = 1024  # photos whose columns are copied at once
COPY_BYTES = 4 << 20
META = tuple(column.path for column in layout.PHOTO if not column.text and not column.optional)


def sameness_of(store):
    """The `imgret.store.sameness.Sameness` of an open store's photos; computed of one that an older imgret made."""
    known = Sameness.parse(store.photos)
    if known is None:
        known = Sameness()
        for name, digest in zip(store.texts("names"), store.read("digest"), strict=True):
            known.add(name, digest.tobytes())
        for name, digest in zip(store.texts("failed/names"), store.read("failed/digest"), strict=True):
            known.fail(name, digest.tobytes())
    return known


def _optional(word):
    """The columns of photos that there are together, as `PhotoWriter` takes them."""
    columns = (column for column in layout.PHOTO if column.optional == word)
    return {column.path: (column.shape[1:], column.datasets[0].dtypes[0], {}) for column in columns}


BOXED = _optional("boxes")  # what a row per box has besides
ORIGIN = _optional("origin")


class PhotoWriter:
    """Appends photos, in byte order of their names, to a `Writer`.

    Parameters
    ----------
    writer : imgret.store.writer.Writer
    kind : str
        One that holds photos. Columns under a group are left to the caller: they have no rows that are photos'.
    data : dict
        What the data columns look like: `{path: (row_shape, dtype, {attribute: text})}`. An optional column is
        there if it is named here.
    totals : dict, optional
        Length of each axis, and of the bytes of each text column, where they are known (see `totals_of`): columns are then contiguous.

    Attributes
    ----------
    count, failed, zero : int
        Photos appended so far, those that could not be used, and those whose vectors are all zero.
    """

    def __init__(self, writer, kind, data, totals=None):
        self.kind = kind
        self.count = self.failed = self.zero = 0
        self._layout = layout.ALL_KINDS[kind]
        self._columns, self._end, self._identity, self._made_by = {}, 0, PhotosHash(), writer.made_by
        writer.photos = self._identity.photos
        for column in self._layout.columns:
            if not column.group and (not column.optional or column.path in data):
                self._add(writer, column, data, totals)

    def _add(self, writer, column, data, totals):
        path = column.path
        if column.text:
            known = () if totals is None else (totals[column.shape[0]], totals["bytes of " + path])
            self._columns[path] = writer.text(path, *known)
        elif column is self._layout.offsets:
            self._columns[path] = writer.column(path, (), np.int64, None if totals is None else totals["N"] + 1)
            self._columns[path].append(np.zeros(1, np.int64))
        elif path in data or all(isinstance(axis, int) for axis in column.shape[1:]):
            row_shape, dtype, attributes = data.get(path, (column.shape[1:], column.dtypes[0], {}))
            total = None if totals is None else totals[column.shape[0]]
            self._columns[path] = writer.column(path, row_shape, dtype, total, attributes)

    def photos(self, names, meta):
        """Append photos: `names` (`Texts` or bytes), `meta` the columns of `META`, `BOXED` and `ORIGIN` where they are there, one row
        each."""
        self._made_by.here()
        self._append(names, meta)

    def origin(self, columns):
        """The `origin` of a photo by its rows of the data columns, path -> array."""
        there = (column.path for column in self._layout.columns if column.path in columns)
        return origin_of(np.asarray(columns[path], self._columns[path].dtype) for path in there)

    def _origins(self, store, start, stop):
        """The origins of photos of a store that does not tell: what it holds was extracted, and is read for it."""
        if store.has("origin"):
            return store.read("origin", start, stop)
        paths = [column.path for column in self._data("N" if self._layout.offsets is None else self._layout.offsets.counts)]
        ends = range(start, stop + 1) if self._layout.offsets is None else store.descriptor_range(start, stop).tolist()
        origins = (origin_of(store.read(path, *rows) for path in paths) for rows in itertools.pairwise(ends))
        return np.fromiter(origins, np.uint64, stop - start)

    def _append(self, names, meta):
        texts = names if isinstance(names, Texts) else Texts.of(names)
        self._columns["names"].append(texts)
        for path in (*META, *(path for path in BOXED | ORIGIN if path in self._columns)):
            self._columns[path].append(meta[path])
        self._identity.update(texts, np.asarray(meta["digest"]))
        self.count += len(texts)

    def fingerprint(self, recipe):
        """The `fingerprint` of the photos appended so far, under a recipe."""
        return self._identity.hexdigest(recipe)

    def ragged(self, counts, **blocks):
        """Append the rows of photos that have several: how many each has (n,), and what all of them have in the data columns."""
        ends = self._end + np.asarray(counts, dtype=np.int64).cumsum()
        self._columns[self._layout.offsets.path].append(ends)
        self._end = int(ends[-1]) if len(ends) else self._end
        self.rows(**blocks)

    def rows(self, **blocks):
        """Append rows to data columns."""
        for path, block in blocks.items():
            self._columns[path].append(block)
            if path == "vectors":
                self.zero += zero_rows(block)

    def fail(self, name, code, reason, digest, size, mtime_ns):
        """Append one photo that could not be used, as is found now."""
        self._made_by.here()
        for path, value in (("names", name), ("code", code.encode()), ("reason", reason.encode("utf-8", "replace"))):
            self._columns["failed/" + path].append([value])
        self._columns["failed/digest"].append(np.frombuffer(digest, np.uint8)[None])
        self._columns["failed/file_size"].append(np.array([size]))
        self._columns["failed/file_mtime_ns"].append(np.array([mtime_ns]))
        self._identity.photos.fail(name, bytes(digest))
        self.failed += 1

    def copy_meta(self, store, start, stop, mtimes=None, origins=None):
        """Append names, sizes, digests and boxes of the photos `start` to `stop` of another store; a photo's own box is all of it.
        `mtimes` and `origins` stand for the store's own."""
        meta = {path: store.read(path, start, stop) for path in META}
        if ORIGIN.keys() <= self._columns.keys():
            meta["origin"] = self._origins(store, start, stop) if origins is None else origins
        if BOXED.keys() <= self._columns.keys():
            meta["photo_names"] = store.photo_names(start, stop)
            meta["box"] = store.read("box", start, stop) if store.has("box") else np.pad(meta["image_size"], [(0, 0), (2, 0)])
        if mtimes is not None:
            meta["file_mtime_ns"] = mtimes
        self._made_by.copied(store.generated_by)
        self._append(store.texts("names", start, stop), meta)

    def copy(self, store, start=0, stop=None, mtimes=None):
        """Append photos `start` to `stop` of another store of the same kind, a bounded piece at a time: not of an index, whose data
        columns have no rows that are photos'."""
        stop = len(store) if stop is None else stop
        for first in range(start, stop, COPY_PHOTOS):
            last = min(first + COPY_PHOTOS, stop)
            self.copy_meta(store, first, last, None if mtimes is None else mtimes[first - start : last - start])
            self.copy_data(store, first, last)

    def copy_data(self, store, start, stop):
        """Append what the data columns have of the photos `start` to `stop` of another store, which are not many."""
        self._made_by.copied(store.generated_by)
        for column in self._data("N"):
            self._copy_rows(store, column, start, stop)
        if self._layout.offsets is not None:
            offsets = store.descriptor_range(start, stop)
            self.ragged(np.diff(offsets))
            for column in self._data(self._layout.offsets.counts):
                self._copy_rows(store, column, int(offsets[0]), int(offsets[-1]))

    def _data(self, axis):
        """The data columns that have a row for each of an axis."""
        columns = (column for column in self._layout.columns if column.path in self._columns and column not in layout.PHOTO)
        return [column for column in columns if column.shape[0] == axis]

    def _copy_rows(self, store, column, start, stop):
        path = column.path
        if column.text:
            self.rows(**{path: store.texts(path, start, stop)})
            return
        step = max(1, COPY_BYTES // max(1, store.dtype(path).itemsize * int(np.prod(store.shape(path)[1:]))))
        for first in range(start, stop, step):
            self.rows(**{path: store.read(path, first, min(first + step, stop))})

    def copy_failed(self, store, start=0, stop=None, mtimes=None):
        """Append failed photos `start` to `stop` of another store."""
        stop = store.sizes["F"] if stop is None else stop
        if start == stop:
            return  # nearly every part: eight columns need not be read
        self._made_by.copied(store.generated_by)
        found = {}
        for column in layout.FAILED:
            read = store.texts if column.text else store.read
            given = mtimes is not None and column.path == "failed/file_mtime_ns"
            found[column.path] = mtimes if given else read(column.path, start, stop)
            self._columns[column.path].append(found[column.path])
        for name, digest in zip(found["failed/names"], found["failed/digest"], strict=True):
            self._identity.photos.fail(name, digest.tobytes())
        self.failed += stop - start

    def copy_all_failed(self, stores):
        """Append the failed photos of several stores, in byte order of their names."""
        if len(stores) == 1:
            self.copy_failed(stores[0])
            return
        found = ((name, which, row) for which, store in enumerate(stores) for row, name in enumerate(store.texts("failed/names")))
        for _, which, row in sorted(found):
            self.copy_failed(stores[which], row, row + 1)


def write_failed(writer, rows):
    """Write the columns of what failed to a store whose rows are no photos.

    Parameters
    ----------
    writer : imgret.store.writer.Writer
    rows : list of (bytes, str, str, bytes, int, int)
        Name, code, reason, digest, size and time of each; zeros and -1 where the file could not be read.
    """
    writer.texts("failed/names", [name for name, *_ in rows])
    writer.texts("failed/code", [code.encode() for _, code, *_ in rows])
    writer.texts("failed/reason", [reason.encode("utf-8", "replace") for _, _, reason, *_ in rows])
    writer.array("failed/digest", np.frombuffer(b"".join(digest for *_, digest, _, _ in rows), np.uint8).reshape(-1, 32))
    writer.array("failed/file_size", np.array([size for *_, size, _ in rows], np.int64))
    writer.array("failed/file_mtime_ns", np.array([mtime_ns for *_, mtime_ns in rows], np.int64))


def misfit(store, data):
    """What is wrong with a store's data columns, to be put together with others; '' where they are as `data` says (see `PhotoWriter`)."""
    for path, (row_shape, dtype, attributes) in data.items():
        if not store.has(path) and path in BOXED | ORIGIN:
            continue  # of a photo without a box it is all of it; for an origin see `PhotoWriter.copy_meta`
        found = (store.shape(path)[1:], store.dtype(path)) if store.has(path) else None
        if found != (tuple(row_shape), np.dtype(dtype)):
            return f"'{path}' has rows of another size or type than these photos have"
        if any(store.attribute(path, name) != text for name, text in attributes.items()):
            return f"'{path}' holds something else than these photos have"
    return ""


def verify_row(store, row):
    """Refuse a photo of which anything is damaged in a store.

    Raises
    ------
    ImgretError
    """
    offsets, ragged = store.layout.offsets, None
    if offsets is not None:
        ragged, rows = offsets.counts, store.descriptor_range(row, row + 1).tolist()
    for column in store.layout.columns:
        if column in layout.FAILED or not store.has(column.path):
            continue
        read = store.texts if column.text else store.read
        read(column.path, *(rows if column.shape[0] == ragged else (row, row + 1)))


def boxed(stores):
    """`BOXED` if one of the stores has a row per box, else nothing: what their rows put together have."""
    return BOXED if any(store.has("box") for store in stores) else {}


def origins(stores):
    """`ORIGIN` if all of the stores tell, else nothing: what their rows put together have."""
    return ORIGIN if all(store.has("origin") for store in stores) else {}


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
        _count(store, [column for column in store.layout.columns if failed_stores is None or column not in layout.FAILED], totals)
    for store in failed_stores or ():
        _count(store, layout.FAILED, totals)
    return totals


def _count(store, columns, totals):
    """Add the lengths of the columns' first axes, and how many bytes their texts have."""
    lengths = {axis: store.sizes[axis] for axis in (column.shape[0] for column in columns if not column.group) if axis in store.sizes}
    for column in columns:
        if column.text:
            axis = "bytes of " + column.path
            lengths[axis] = store.sizes[axis if store.has(column.path) else "bytes of names"]  # see `Store.photo_names`
    for axis, length in lengths.items():
        totals[axis] = totals.get(axis, 0) + length


def add_rows(totals, store, rows, failed):
    """Add to `totals` what some photos of a store have, by their rows, (n,) each: described ones and failed ones."""
    lengths = {"N": len(rows), "F": len(failed)}
    for column in store.layout.columns:
        picked = failed if column in layout.FAILED else rows
        if column.text:
            there = column.path if store.has(column.path) else "names"  # see `Store.photo_names`
            lengths["bytes of " + column.path] = int(np.diff(store.texts(there).offsets)[picked].sum())
        elif column is store.layout.offsets:
            lengths[column.counts] = int(np.diff(store.descriptor_range(0, len(store)))[picked].sum())
    for axis, length in lengths.items():
        totals[axis] = totals.get(axis, 0) + length
