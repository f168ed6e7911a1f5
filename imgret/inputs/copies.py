"""What duplicates are looked for in: a build, an index, vectors or features, and what is known of the photos besides."""

import contextlib
import dataclasses
import functools
import os

import numpy as np

from imgret import builds
from imgret.arrays import unit_rows, zero_rows
from imgret.duplicates import geometry
from imgret.errors import ImgretError, quoted
from imgret.features import LocalFeatures
from imgret.inputs.features import FeatureReader
from imgret.inputs.nextstep import remedied, unbuilt
from imgret.inputs.owned import strange
from imgret.inputs.photos import Photos
from imgret.inputs.stores import Stores
from imgret.pipeline import Pipeline
from imgret.runs.kept import positions
from imgret.store.photos import boxed
from imgret.store.reader import Store

KINDS = ("features", "vectors", "index")
FACTS = ("image_size", "file_size", "file_mtime_ns")
ROWS = 1 << 16  # photos whose facts are read at once
VECTORS = 1 << 10  # vectors that are read at once
STRONGEST = 1000  # local features of a photo that are looked at
KEPT = 512  # photos whose features are held


@dataclasses.dataclass(frozen=True)
class Where:
    """What a path means.

    Attributes
    ----------
    given : str
        The store whose photos they are.
    vectors : tuple of str
        Their vectors; none where there are none.
    features : str or None
        Their local features.
    index : str or None
    roots : tuple of str
        Folders that names are relative to.
    """

    given: str
    vectors: tuple = ()
    features: str | None = None
    index: str | None = None
    roots: tuple = ()

    def path_of(self, name):
        """Where a photo is now, bytes; None where it is not to be found."""
        return builds.below(self.roots, name)


def where(path, features=None, roots=(), exact=False, report=None):
    """Find out what a path means.

    Parameters
    ----------
    path : str
        A build's folder, an index, vectors or features.
    features : str, optional
        The photos' features, where they are elsewhere.
    roots : sequence of str
    exact : bool
        Whether digests are all that is needed.
    report : imgret.runs.report.Report, optional
        Is told where a build's folder holds what it did not make.

    Returns
    -------
    Where

    Raises
    ------
    ImgretError
    """
    if os.path.isdir(path) and builds.is_build(path):
        build = builds.read(path)
        text = strange(build)
        if text and report is not None:
            report.warn(text)
        roots = tuple(roots) or (() if text else build.roots)
        if not exact and _kind_of(build.vectors) == "words":
            raise _of_words(os.fsdecode(path))
        return Where(build.index, (build.vectors,), features or build.features, build.index, roots)
    if os.path.isdir(path):
        raise unbuilt(path, "imgret duplicates {}")
    with Store(path, KINDS, "duplicates") as store:
        if store.kind == "vectors":
            return Where(path, (path,), features, None, tuple(roots))
        if store.kind == "index":
            return Where(path, () if exact else _made_of(store), features, path, tuple(roots) or builds.roots_of(path))
        if exact:
            return Where(path, roots=tuple(roots))
        raise ImgretError(f"{store.shown} holds features, which say nothing of copies but exact ones: encode it first, or give --exact")


def _kind_of(path):
    """The kind of a store; None where there is no sound one, which is told when it is read."""
    with contextlib.suppress(ImgretError), Store(path) as store:
        return store.kind
    return None


def _of_words(shown):
    return ImgretError(
        f"{shown} was made of visual words, by which copies are not looked for: name vectors of the photos in its place, or give --exact"
    )


def _made_of(index):
    """The vectors that an index was made of, where they are still what they were."""
    found = []
    for entry in index.inputs:
        if isinstance(entry, dict) and entry.get("kind") == "words":
            raise _of_words(index.shown)
        if not isinstance(entry, dict) or entry.get("kind") != "vectors":
            continue
        path = str(entry.get("path"))
        beside = os.path.join(os.path.dirname(index.shown), os.path.basename(path))
        there = next((each for each in (path, beside) if _is(each, entry.get("content"))), None)
        if there is None:
            raise ImgretError(
                f"{index.shown} was made of {quoted(path)}, which is no longer there or is another one by now: name the vectors in its "
                "place, or give --exact"
            )
        found.append(there)
    if not found:
        raise ImgretError(f"{index.shown} does not say what vectors it was made of: name them in its place, or give --exact")
    return tuple(found)


def _is(path, content):
    with contextlib.suppress(ImgretError, ValueError), Store(path, ("vectors",)) as store:
        return store.content == content
    return False


class CopyPhotos:
    """The photos that are looked at: a context manager.

    Parameters
    ----------
    where : Where
    exact : bool

    Attributes
    ----------
    stores : list of imgret.inputs.stores.InputStore
    names : Texts
    without_digest : int
        Photos that have none, once `heads` has been called.
    """

    def __init__(self, where, exact=False):
        self._opened = Stores()
        self.stores = []
        for path in (where.given,) if exact else where.vectors:
            with remedied(path):
                self.stores.append(self._opened.add(path, KINDS, "duplicates"))
        if boxed(self.stores):
            raise ImgretError(f"{self.stores[0].shown} has a row per box, not per photo: extract the photos without --boxes")
        self._photos = Photos(self.stores)
        self.names, self.without_digest = self._photos.names, 0

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self._opened.close()

    def __len__(self):
        return len(self.names)

    def heads(self):
        """The first eight bytes of every digest, (N,) uint64."""
        heads = np.empty(len(self), np.uint64)
        for start, stop in _steps(len(self)):
            digests = self._column("digest", start, stop)
            heads[start:stop] = digests.view(np.uint64)[:, 0]
            self.without_digest += zero_rows(digests)
        return heads

    def _column(self, path, start, stop):
        return np.ascontiguousarray(self._photos.column(path, start, stop))

    def of(self, path, rows, step=ROWS):
        """A column of some rows, ascending, of which as many as `step` are read at once."""
        found = []
        for start, stop in _steps(len(self), step):
            some = rows[np.searchsorted(rows, start) : np.searchsorted(rows, stop)]
            if len(some):
                found.append(self._column(path, start, stop)[some - start])
        return np.concatenate(found) if found else self._column(path, 0, 0)

    def some_vectors(self, rows):
        """The same as `vectors`, of some rows, ascending."""
        return unit_rows(self.of("vectors", rows, VECTORS).astype(np.float32))

    def vectors(self, start, stop):
        """Vectors of unit length, (n, V) float32; a zero vector stays zero."""
        return unit_rows(self._column("vectors", start, stop).astype(np.float32))


def _steps(count, step=ROWS):
    return [(start, min(start + step, count)) for start in range(0, count, step)]


class LocalPhotos:
    """The local features of some photos: a context manager.

    Parameters
    ----------
    path : str
    photos : CopyPhotos

    Attributes
    ----------
    store : imgret.inputs.stores.InputStore
    extractor : imgret.extractors.base.Extractor
    rows : ndarray, shape (N,), int64
        Row in the store of each photo; -1 where it is not there, or is another one by now.
    """

    def __init__(self, path, photos):
        self._opened = Stores()
        with remedied(path):
            self.store = self._opened.add(path, ("features",), "--features")
        self._reader, self.extractor = FeatureReader(self.store), Pipeline.load(self.store).component()
        self._offsets, self._sizes = self.store.descriptor_range(0, len(self.store)), self.store.read("image_size")
        self.rows = self._found(photos)
        self._raw = functools.lru_cache(KEPT)(self._read)

    @property
    def verifies(self):
        """Whether copies can be verified by them."""
        return self.extractor.repeats and "scale" in self.store.attribute("keypoints", "columns").split()

    @property
    def mirrors(self):
        """Whether they say what they are in the mirror image."""
        width = self.store.shape("descriptors")[1]
        return self.extractor.mirrored(np.zeros((1, width), self.store.dtype("descriptors"))) is not None

    def _found(self, photos):
        rows = positions(photos.names, self.store.texts("names"))
        there = np.flatnonzero(rows >= 0)
        for start, stop in _steps(len(there)):
            some = there[start:stop]
            low, high = int(rows[some].min()), int(rows[some].max()) + 1
            own = self.store.read("digest", low, high)[rows[some] - low]
            rows[some[(own != photos.of("digest", some)).any(axis=1)]] = -1
        return rows

    def places(self, photo, count, mirrored=False):
        """The strongest `count` features of a photo, or of its mirror image: an `imgret.duplicates.geometry.Places`."""
        keypoints, stored, size = self._raw(photo)
        keypoints, stored = keypoints[:count], stored[:count]
        xy, angle = keypoints[:, :2].astype(np.float64), np.nan_to_num(keypoints[:, 3].astype(np.float64))
        if mirrored:
            stored, angle = self.extractor.mirrored(stored), (0 if self.extractor.upright else 180) - angle
            xy[:, 0] = size[0] - 1 - xy[:, 0]
        longest = self.extractor.max_size
        pixel = max(1.0, max(size) / longest) if longest else 1.0
        return geometry.Places(xy, keypoints[:, 2].astype(np.float64), angle, self.extractor.decode(stored), size, pixel)

    def size(self, photo):
        """Width and height of a photo."""
        return tuple(self._sizes[self.rows[photo]].tolist())

    def _read(self, photo):
        row = int(self.rows[photo])
        start, stop = self._offsets[row : row + 2].tolist()
        found = self._reader.sample(start, min(stop, start + STRONGEST), slice(None))
        keypoints = np.stack([found.column(name) for name in ("x", "y", "scale", "angle")], axis=1)
        return keypoints, found.stored, self.size(photo)

    def mirrored(self, start, stop):
        """Yield the features of the photos `start` to `stop` as those of their mirror images; None where there are none."""
        for row in self.rows[start:stop].tolist():
            if row < 0:
                yield None
                continue
            found = next(self._reader.photos([row]))
            stored = self.extractor.mirrored(found.stored)
            yield LocalFeatures(found.keypoints, stored, found.columns, found.image_size, self.extractor.decode)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self._opened.close()
