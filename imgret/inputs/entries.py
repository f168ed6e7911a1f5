"""The entries of words stores: all of them for an index, or those of some photos for queries."""

import numpy as np

from imgret.errors import ImgretError

BLOCK = 1 << 20  # entries read at once
BESIDE = ("weight", "signature", "geometry")  # what an entry may have beside its word, and an index keeps
ALONE = ("descriptor",)  # what only queries have a use for


class Entries:
    """The entries of all photos of several words stores, in byte order of the photos' names.

    Parameters
    ----------
    photos : imgret.inputs.photos.Photos
    encoder : imgret.encoders.entries.EntryEncoder
        It made them.

    Attributes
    ----------
    photos, entries : int
        How many there are: N, E.
    columns : dict of str to (tuple, dtype)
        What each entry has: shape of a row, and type, by path.

    Raises
    ------
    ImgretError
        If the stores do not keep the same.
    """

    def __init__(self, photos, encoder):
        self._photos, self._words = photos, encoder.words
        self.photos = len(photos.names)
        self.entries = sum(store.sizes["E"] for store in photos.stores)
        first, *others = photos.stores
        self.columns = columns_of(first)
        for store in others:
            if columns_of(store) != self.columns:
                raise ImgretError(
                    f"{first.shown} keeps {_shown(columns_of(first))} of an entry, {store.shown} {_shown(columns_of(store))}: "
                    "encode both with the same settings"
                )
        check_columns(first, encoder)

    def blocks(self, paths):
        """Yield (counts, columns) of the next photos: how many entries each has (n,), int64, and of all these entries the columns `paths`.

        It may be iterated again. A block has about a million entries, or one photo's.

        Raises
        ------
        ImgretError
            If what is read is damaged.
        """
        for store, start, stop in self._photos.runs(0, self.photos):
            offsets = store.descriptor_range(start, stop)
            first = 0
            while first < stop - start:
                last = max(first + 1, int(np.searchsorted(offsets, offsets[first] + BLOCK, side="right")) - 1)
                rows = int(offsets[first]), int(offsets[last])
                yield np.diff(offsets[first : last + 1]), {path: self._read(store, path, *rows) for path in paths}
                first = last

    def _read(self, store, path, start, stop):
        rows = store.read(path, start, stop)
        check_rows(store, path, rows, self._words)
        return rows


def check_rows(store, path, rows, words):
    """Refuse values of a column that no encoder can have given.

    Raises
    ------
    ImgretError
    """
    if path == "word" and len(rows) and int(rows.max()) >= words:
        raise ImgretError(f"{store.shown} is damaged: it has the word {int(rows.max())}, and its codebook has {words}")
    if rows.dtype.kind == "f" and not np.isfinite(rows).all():
        raise ImgretError(f"{store.shown} is damaged: '{path}' holds NaN or infinite values")


def check_columns(store, encoder):
    """Refuse a store whose entries are not what its encoder gives.

    Raises
    ------
    ImgretError
    """
    given, found = encoder.columns(), columns_of(store)
    for path, (shape, dtype, _) in given.items():
        if path not in ALONE and found.get(path) != (shape, np.dtype(dtype)):
            raise ImgretError(f"{store.shown} is damaged: '{path}' is not what {encoder.name} makes: make it again")


def columns_of(store):
    """What each entry of a store has, as an index keeps it."""
    paths = ("word", *(path for path in BESIDE if store.has(path)))
    return {path: (store.shape(path)[1:], store.dtype(path)) for path in paths}


def entries_of(store, rows, encoder):
    """The entries of some photos of a store, which follow each other: a list of dict of str to ndarray, shape (e, ...).

    Parameters
    ----------
    store : Store
    rows : range
    encoder : imgret.encoders.entries.EntryEncoder
        It made them.
    """
    if not len(rows):
        return []
    check_columns(store, encoder)
    offsets = store.descriptor_range(rows[0], rows[-1] + 1)
    paths = ("word", *(path for path in (*BESIDE, *ALONE) if store.has(path)))
    columns = {path: store.read(path, int(offsets[0]), int(offsets[-1])) for path in paths}
    for path, column in columns.items():
        check_rows(store, path, column, encoder.words)
    ends = (offsets - offsets[0]).tolist()
    return [{path: column[start:stop] for path, column in columns.items()} for start, stop in zip(ends[:-1], ends[1:], strict=True)]


def _shown(columns):
    return ", ".join(f"{path} ({dtype}{f' × {shape[0]}' if shape else ''})" for path, (shape, dtype) in columns.items())
