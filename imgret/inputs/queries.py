"""Queries: photos, or what has been described already, as vectors to search with."""

import dataclasses
import os
import threading

import numpy as np

from imgret import images
from imgret.describer import Describer
from imgret.errors import ImgretError
from imgret.inputs.features import FeatureReader
from imgret.parallel import ordered_map
from imgret.pipeline import Pipeline, differences
from imgret.store.hashing import of_json


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
    vectors : ndarray, shape (Q, V)
    """

    names: list
    photo_names: list
    boxes: np.ndarray
    paths: list | None
    vectors: np.ndarray


class Failures:
    """Query photos that could not be used.

    Attributes
    ----------
    rows : list of (bytes, str, str, imgret.images.File or None)
        Name, code, reason, and what could be read.
    """

    def __init__(self, report):
        self._report, self.rows = report, []

    def add(self, name, path, bad, file=None):
        """One more."""
        self._report.warn(f"{os.fsdecode(path)}: {bad.reason}")
        self.rows.append((name, bad.code, bad.reason, file))


class StoreQueries:
    """Queries that have been described already.

    Parameters
    ----------
    stores : list of Store
        Features or vectors.
    gallery : imgret.inputs.gallery.Gallery

    Attributes
    ----------
    boxed : bool
        Whether any of them asks with a box.

    Raises
    ------
    ImgretError
        If a store was not made as the index's photos were.
    """

    def __init__(self, stores, gallery):
        self.stores, self._describer, self._positions = stores, Describer(gallery.pipeline), []
        self.boxed = any(store.has("box") for store in stores)
        for store in stores:
            node = Pipeline.load(store).node
            position = self._describer.position_of(node)
            if position < 0:
                nearest = self._describer.nodes[0 if store.kind == "features" else -1]
                raise ImgretError(
                    f"{store.shown} was not made as the photos in {gallery.store.shown} were ({differences(node, nearest)}): "
                    "give photos, or a store made in the same way"
                )
            self._positions.append(position)
        self._readers = {store: FeatureReader(store) for store in stores if store.kind == "features"}

    def inputs(self):
        """How they are recorded."""
        return [store.as_input() for store in self.stores]

    def blocks(self, size):
        """Yield `Queries` of at most `size`."""
        for store, position in zip(self.stores, self._positions, strict=True):
            for start in range(0, len(store), size):
                stop = min(start + size, len(store))
                names, photo_names = store.texts("names", start, stop), store.photo_names(start, stop)
                boxes = store.read("box", start, stop) if store.has("box") else _no_boxes(stop - start)
                yield Queries(list(names), list(photo_names), boxes, None, self._vectors(store, position, start, stop))

    def _vectors(self, store, position, start, stop):
        if store.kind == "vectors":
            return self._describer.vectors(store.read("vectors", start, stop).astype(np.float32), position)
        return np.stack([self._describer.features(features) for features in self._readers[store].photos(range(start, stop))])


class _Own(threading.local):
    """A describer for each thread: OpenCV's detectors are not made for several."""

    def __init__(self, *how):
        self.describer = Describer(*how)


class PhotoQueries:
    """Queries that are photos: described as the index's own photos were, by threads of this process.

    What a photo may take is bounded (`imgret.images.decode`), but one that crashes its decoder ends the process.

    Parameters
    ----------
    listing : imgret.listing.Listing
    pipeline : imgret.pipeline.Pipeline
        The index's.
    failures : Failures
    run : imgret.runs.run.Run
    weights : tuple of str
        Files to look for networks' weights in, before the recorded places.

    Raises
    ------
    ImgretError
        If the index's photos cannot be described here.
    """

    boxed = False

    def __init__(self, listing, pipeline, failures, run, weights=()):
        self._listing, self._failures, self._jobs = listing, failures, run.jobs
        self._own = _Own(pipeline, run.device, weights)
        self._own.describer.settle()  # refused here rather than photo by photo

    def inputs(self):
        """How they are recorded: by name, size and time."""
        listing = self._listing
        rows = [[os.fsdecode(name), *map(int, row)] for name, *row in zip(listing.names, listing.sizes, listing.mtimes, strict=True)]
        return [{"path": "photos", "kind": "photos", "content": of_json(rows)}]

    def blocks(self, size):
        """Yield `Queries` of at most `size`; photos that cannot be used are left out."""
        pairs = list(zip(self._listing.names, self._listing.paths, strict=True))
        jobs = min(self._jobs, len(pairs))
        if jobs > 1:
            import cv2

            cv2.setNumThreads(1)  # parallel over photos
        for start in range(0, len(pairs), size):
            block = pairs[start : start + size]
            described = []
            for (name, path), (vector, bad, file) in zip(block, ordered_map(self._describe, block, jobs), strict=True):
                if bad is not None:
                    self._failures.add(name, path, bad, file)
                else:
                    described.append((name, path, vector))
            if described:
                names, paths, vectors = map(list, zip(*described, strict=True))
                yield Queries(names, names, _no_boxes(len(names)), paths, np.stack(vectors))

    def _describe(self, pair):
        file = None
        try:
            file = images.read_file(pair[1])
            return self._own.describer.photo(file), None, file
        except images.BadPhoto as bad:
            return None, bad, file


def _no_boxes(count):
    return np.full((count, 4), np.nan, np.float32)
