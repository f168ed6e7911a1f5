"""What stays when an output is made again: photos that are the same in all that their rows are made of.

Their rows go from the finished file into the new one when that is put together (see `imgret.runs.joining`), and nobody makes them. What may
be the same, and has to be read for it to be known, goes through parts (see `imgret.runs.takeover`).
"""

import contextlib
import dataclasses
import functools
import itertools
import operator

import numpy as np

from imgret.errors import ImgretError
from imgret.runs.differences import differences_of
from imgret.runs.failures import UNREADABLE, failures_in
from imgret.store.hashing import of_json, without_places
from imgret.store.photos import BOXED, COPY_PHOTOS, add_rows, misfit
from imgret.store.reader import Store
from imgret.store.verifying import REMEDY


class Unsound(ImgretError):
    """A finished file from which photos are taken over is damaged: nothing of it is used, and nothing is lost but time."""


def _or_unsound(method):
    @functools.wraps(method)
    def read(self, *arguments, **named):
        try:
            return method(self, *arguments, **named)
        except Unsound:
            raise
        except ImgretError as error:
            raise Unsound(str(error).removeprefix(f"{self.shown} is damaged: ").removesuffix(f": {REMEDY}")) from None

    return read


class Former(Store):
    """The finished file that an output is to take the place of: it stays open, whatever happens to its name meanwhile.

    Raises
    ------
    Unsound
        Where what is read of it is damaged.
    """

    texts, descriptor_range = map(_or_unsound, (Store.texts, Store.descriptor_range))

    @_or_unsound
    def read(self, path, start=0, stop=None, verified=True):
        """See `Store.read`; what is not finite, and should be, is damage too: it must not get a fresh checksum."""
        rows = super().read(path, start, stop, verified)
        if rows.dtype.kind == "f" and self.column(path).finite and not np.isfinite(rows).all():
            raise Unsound(f"'{path}' holds NaN or infinite values")
        return rows

    def gone(self, names, known_by, failed=()):
        """Names of the photos it describes that are not among others, or cannot be read; what has another name now is not gone.

        Parameters
        ----------
        names : Texts
            In byte order.
        known_by : dict of str to ndarray, shape (N, ...)
            Columns of these photos by which one is known that has another name.
        failed : iterable of imgret.runs.failures.Failure
            Photos that could not be used, among them or beside them: those that could be read are not gone.

        Returns
        -------
        list of bytes
        """
        known = {failure.name: failure.code for failure in failed}
        mine = self.texts("names")
        codes = (known.get(name, None if row >= 0 else UNREADABLE) for name, row in zip(mine, positions(mine, names), strict=True))
        rows = [row for row, code in enumerate(codes) if code == UNREADABLE]
        if not rows:
            return []
        (new,) = np.nonzero(positions(names, mine) < 0)
        moved = set(_keys(column[new] for column in known_by.values()))
        keys = _keys(self.read(path)[rows] for path in known_by)
        return [mine[row] for row, key in zip(rows, keys, strict=True) if key not in moved]


def _keys(columns):
    """What some columns have of each row, as something that can be looked up."""
    return zip(*(map(np.ndarray.tobytes, column) if column.ndim > 1 else column.tolist() for column in columns), strict=True)


def positions(names, among):
    """Where each of some names is among others, both in byte order: (n,), int64; -1 where it is not."""
    found, others = np.full(len(names), -1, np.int64), enumerate(among)
    row, other = next(others, (-1, None))
    for place, name in enumerate(names):
        while other is not None and other < name:
            row, other = next(others, (-1, None))
        if name == other:
            found[place] = row
    return found


def neighbours(*numbers):
    """Yield (start, stop): where those that follow each other in all of some arrays, (n,) each, are one apart; `COPY_PHOTOS` at most."""
    count = len(numbers[0])
    ends = np.flatnonzero(np.any([np.diff(each) != 1 for each in numbers], axis=0)) + 1
    for start, stop in itertools.pairwise([0, *ends.tolist(), count] if count else []):
        for first in range(start, stop, COPY_PHOTOS):
            yield first, min(first + COPY_PHOTOS, stop)


class Before:
    """What was there before an output is made again.

    Parameters
    ----------
    output : imgret.runs.output.Output
    verb : str
        What is done to photos.

    Attributes
    ----------
    store : Former or None
        The finished file of the same kind and parameters, whatever it was made from; None where there is none, or it is damaged.
    """

    def __init__(self, output, verb="described"):
        self.store, self._output, self._verb = None, output, verb
        with contextlib.suppress(ImgretError):
            store = Former(output.path)
            self.store = store if not differences_of(store, output.kind, output.params) else store.close()

    def close(self):
        """Close the file."""
        if self.store is not None:
            self.store.close()

    def _of(self, found, otherwise):
        """What `found(store)` gives; where there is no store, or it turns out to be damaged, `otherwise`."""
        try:
            return otherwise if self.store is None else found(self.store)
        except Unsound as error:
            self.store.close()
            self.store = None
            self._output.run.report.warn(damaged(self._output.shown, error, self._verb))
            return otherwise

    def refuse_gone(self, limit, names, known_by, failed=()):
        """Refuse to make it again where too many photos are gone; see `Former.gone` and `imgret.runs.failures.MaxGone`.

        Raises
        ------
        ImgretError
        """
        limit.check(self._output.shown, *self._of(lambda store: (len(store), store.gone(names, known_by, failed)), (0, ())))

    def kept(self, compare):
        """The `Kept` that `compare(store)` finds."""
        return self._of(compare, Kept())


def damaged(shown, error, verb):
    """What is said of a finished file that is `Unsound`."""
    return f"{shown} is damaged ({error}): every photo is {verb} again"


def _none():
    return dataclasses.field(default_factory=lambda: np.zeros(0, np.int64))


@dataclasses.dataclass(frozen=True)
class Kept:
    """Photos of an output that stay as they are in the finished file; none by default.

    Attributes
    ----------
    store : Former or None
    at, rows : ndarray, shape (K,), int64
        Places of those that are described there among all photos of the output, and their rows there, both rising.
    failed_at, failed : ndarray, shape (J,), int64
        The same of those that failed.
    meta : callable, optional
        `meta(photos, start, stop)` appends what is known of the photos `start` to `stop` themselves; without it that is taken over too.
    """

    store: Former | None = None
    at: np.ndarray = _none()
    rows: np.ndarray = _none()
    failed_at: np.ndarray = _none()
    failed: np.ndarray = _none()
    meta: object = None

    def made(self, count):
        """Places of the photos that have to be made, of so many; None where all have."""
        if not len(self.at) and not len(self.failed_at):
            return None
        made = np.ones(count, bool)
        made[self.at] = made[self.failed_at] = False
        return np.flatnonzero(made)

    def count(self, totals):
        """Add it to the axis lengths of what is new, see `imgret.store.photos.totals_of`."""
        if self.store is not None:
            add_rows(totals, self.store, self.rows, self.failed)

    def copy(self, photos, start, stop):
        """Append those `start` to `stop` of the described."""
        at, rows = self.at[start:stop], self.rows[start:stop]
        for first, last in neighbours(at, rows):
            row, count = int(rows[first]), last - first
            if self.meta is None:
                photos.copy(self.store, row, row + count)
            else:
                self.meta(photos, int(at[first]), int(at[first]) + count)
                photos.copy_data(self.store, row, row + count)

    def copy_failed(self, photos, start, stop):
        """Append those `start` to `stop` of the failed."""
        rows = self.failed[start:stop]
        for first, last in neighbours(rows):
            photos.copy_failed(self.store, int(rows[first]), int(rows[last - 1]) + 1)


def same_files(store, listing):
    """What of a `Former` stays as it is: photos whose files are the same by size and time, none that may be used this time.

    Of a box that failed it is not known which photo it was of: that is read.

    Returns
    -------
    Kept
    """

    def same(prefix):
        rows = positions(listing.names, store.texts(prefix + "names"))
        (at,) = np.nonzero(rows >= 0)
        for path, listed in (("file_size", listing.sizes), ("file_mtime_ns", listing.mtimes)):
            at = at[store.read(prefix + path)[rows[at]] == listed[at]]
        return at, rows[at]

    at, rows = same("")
    if listing.photo_names is not None:
        alike = _alike(listing.photo_names.taken(at), store.photo_names().taken(rows))
        return Kept(store, at[alike], rows[alike])
    failed_at, failed = same("failed/")
    stays = ~np.array([failure.passing for failure in failures_in(store)], bool)[failed]
    return Kept(store, at, rows, failed_at[stays], failed[stays])


def _alike(names, others):
    return np.fromiter(map(operator.eq, names, others), bool, len(names))


def same_inputs(store, photos, pipeline, data):
    """What of a `Former` stays as it is: photos of which the same pipeline makes the same of the same.

    Parameters
    ----------
    store : Former
    photos : imgret.inputs.photos.Photos or JoinedPhotos
        Of the inputs.
    pipeline : imgret.pipeline.Pipeline
        Of what is made of them.
    data : dict
        The data columns, as `imgret.store.photos.PhotoWriter` takes them.

    Returns
    -------
    Kept
        None, where it is not known what the photos were described by.
    """
    alike = store.pipeline is not None and of_json(without_places(store.pipeline)) == of_json(without_places(pipeline.node))
    boxed = BOXED.keys() <= data.keys()
    if not alike or not store.has("origin") or "origin" not in data or store.has("box") != boxed or misfit(store, data):
        return Kept()
    rows = positions(photos.names, store.texts("names"))
    rows[~photos.described] = -1
    (at,) = np.nonzero(rows >= 0)
    for path in ("digest", "image_size", "origin", *(["box"] if boxed else [])):
        equal = photos.values(path)[at] == store.read(path)[rows[at]]
        at = at[equal.all(axis=tuple(range(1, equal.ndim)))]
    if boxed:
        at = at[_alike(photos.photo_names().taken(at), store.photo_names().taken(rows[at]))]
    return Kept(store, at, rows[at], meta=photos.copy_meta)
