"""Queries: photos, or what has been described already, as vectors to search with."""

import contextlib
import dataclasses
import itertools
import os

import numpy as np

from imgret.arrays import zero_rows
from imgret.describer import Describer, Describers
from imgret.errors import ImgretError
from imgret.inputs.entries import entries_of
from imgret.inputs.features import FeatureReader, vectors_of
from imgret.pipeline import Pipeline, differences
from imgret.store.versions import together as versions_together


@dataclasses.dataclass(frozen=True)
class Queries:
    """Some queries, described.

    Attributes
    ----------
    names : list of bytes
        The queries' own: a photo's, or the id of a box.
    photo_names : list of bytes
        The names of the photos that ask.
    boxes : ndarray, shape (Q, 4), float32
        x1, y1, x2, y2 of the box that each asks with, in pixels of its photo; NaN where it asks with all of it.
    paths : list of bytes, or None
        Where the photos that ask are, where they were given as photos.
    vectors : ndarray, shape (Q, V), or list of dict of str to ndarray
        What describes them: vectors, or the columns of each one's visual words.
    digests : ndarray, shape (Q, 32), uint8
        SHA-256 of the photos that ask; zeros where it is not known.
    """

    names: list
    photo_names: list
    boxes: np.ndarray
    paths: list | None
    vectors: np.ndarray | list
    digests: np.ndarray

    @property
    def empty(self):
        """How many of them can match nothing: those without a word, or whose vectors are all zero."""
        if isinstance(self.vectors, list):
            return sum(not len(each["word"]) for each in self.vectors)
        return zero_rows(self.vectors)


def together(described):
    """What describes several queries, from a list of what describes each."""
    return described if described and isinstance(described[0], dict) else np.stack(described)


class Failures:
    """Query photos that could not be used.

    Attributes
    ----------
    rows : list of tuple
        See `imgret.store.photos.write_failed`.
    """

    def __init__(self, report):
        self._report, self.rows = report, []

    def add(self, name, path, bad, file=None):
        """One more, and what could be read of it: an `imgret.images.File`."""
        self._report.warn(f"{os.fsdecode(path)}: {bad.reason}")
        read = (bytes(32), -1, -1) if file is None else (file.digest, file.size, file.mtime_ns)
        self.rows.append((name, bad.code, bad.reason, *read))


class StoreQueries:
    """Queries that have been described already: what is left to do is done by threads of this process.

    Parameters
    ----------
    stores : list of Store
        Features, vectors or words.
    gallery : imgret.inputs.gallery.Gallery
    jobs : int
        Threads; the vectors do not depend on it.

    Attributes
    ----------
    boxed : bool
        Whether any of them asks with a box.

    Raises
    ------
    ImgretError
        If a store was not made as the index's photos were.
    """

    def __init__(self, stores, gallery, jobs=1):
        self.stores, self._jobs, self._positions = stores, jobs, []
        self._describers, stored = Describers(gallery.asking), Describer(gallery.pipeline)
        self.boxed = any(store.has("box") for store in stores)
        for store in stores:
            node = Pipeline.load(store).node
            position = stored.position_of(node)
            if position < 0:
                nearest = stored.nodes[0 if store.kind == "features" else -1]
                raise ImgretError(
                    f"{store.shown} was not made as the photos in {gallery.store.shown} were ({differences(node, nearest)}): "
                    "give photos, or a store made in the same way"
                )
            if store.kind == "words":
                gallery.check_encoded(store.shown)
            self._positions.append(position)

    def __len__(self):
        return sum(map(len, self.stores))

    def inputs(self):
        """How they are recorded."""
        return [store.as_input() for store in self.stores]

    def made_by(self):
        """The `generated_by` of whatever has described them."""
        return versions_together(store.generated_by for store in self.stores)

    def blocks(self, size):
        """Yield `Queries` of at most `size`."""
        for store, position in zip(self.stores, self._positions, strict=True):
            starts = range(0, len(store), size)
            with contextlib.closing(self._vectors(store, position, size)) as vectors:
                for start, block in zip(starts, vectors, strict=True):
                    stop = min(start + size, len(store))
                    names, photo_names = store.texts("names", start, stop), store.photo_names(start, stop)
                    boxes = store.read("box", start, stop) if store.has("box") else no_boxes(stop - start)
                    yield Queries(list(names), list(photo_names), boxes, None, block, store.read("digest", start, stop))

    def _vectors(self, store, position, size):
        """Yield the vectors of a store's rows, `size` at a time."""
        ranges = [range(start, min(start + size, len(store))) for start in range(0, len(store), size)]
        if store.kind == "words":
            encoder = Pipeline.load(store).component()
            yield from (entries_of(store, rows, encoder) for rows in ranges)
            return
        if store.kind == "features":
            reader = FeatureReader(store)
            described = self._described((features for rows in ranges for features in reader.photos(rows)), Describer.features)
        elif position == len(self._describers.first.nodes) - 1:  # as the index's own
            yield from (vectors_of(store, rows) for rows in ranges)
            return
        else:
            described = self._described(
                (vector for rows in ranges for vector in vectors_of(store, rows)),
                lambda describer, vector: describer.vectors(vector[None], position)[0],
            )
        with contextlib.closing(described):
            for rows in ranges:
                yield together(list(itertools.islice(described, len(rows))))

    def _described(self, items, function):
        return self._describers.map(function, items, self._jobs)


@contextlib.contextmanager
def describing(jobs):
    """Around the work of several threads that describe photos: OpenCV is left to one thread each."""
    if jobs == 1:
        yield
        return
    import cv2

    before = cv2.getNumThreads()
    cv2.setNumThreads(1)
    try:
        yield
    finally:
        cv2.setNumThreads(before)


def no_boxes(count):
    """The boxes of queries that ask with all of their photos."""
    return np.full((count, 4), np.nan, np.float32)
