"""What describes photos of a gallery, and those that ask: rows of stores, by the photos' names."""

import os

import numpy as np

from imgret import images
from imgret.describer import Describer
from imgret.errors import ImgretError
from imgret.features import LocalFeatures
from imgret.inputs.entries import columns_of, entries_of
from imgret.inputs.features import FeatureReader, vectors_of
from imgret.inputs.photos import Photos
from imgret.names import shown
from imgret.parallel import one_thread
from imgret.pipeline import Pipeline, differences
from imgret.runs.kept import positions
from imgret.store.photos import sameness_of
from imgret.store.sameness import Sameness, Sum


class Reader:
    """Reads what describes photos, row by row; each store's pipeline is opened once."""

    def __init__(self):
        self._opened, self._unused = {}, {}

    def failed(self, store, name):
        """The row of a photo among those that could not be described; -1 where it is none of them."""
        if store not in self._unused:
            self._unused[store] = store.texts("failed/names")
        return self._unused[store].find(name)

    def read(self, store, row):
        """What a row holds: `LocalFeatures`, the columns of visual words, or a vector, (V,), float32; of row -1, nothing of these."""
        if store.kind == "vectors":
            return np.zeros(store.sizes["V"], np.float32) if row < 0 else vectors_of(store, [row])[0]
        if store not in self._opened:
            self._opened[store] = FeatureReader(store) if store.kind == "features" else Pipeline.load(store).component()
        if store.kind == "features":
            return self._opened[store].none() if row < 0 else next(self._opened[store].photos(range(row, row + 1)))
        if row < 0:
            return {path: store.read(path, 0, 0) for path in columns_of(store)}
        return entries_of(store, range(row, row + 1), self._opened[store])[0]


class Gallery:
    """What describes the photos of a ranking, of one kind: several stores, which hold them together.

    Parameters
    ----------
    stores : list of InputStore
        Of one kind.
    names : Texts
        Of the ranking's photos.
    sameness : imgret.store.sameness.Sameness or None
        Which photos these are, as far as it is known.
    ranking : str
        What the ranking is called.

    Raises
    ------
    ImgretError
        If they do not hold the photos.
    """

    def __init__(self, stores, names, sameness, ranking):
        self.stores, self._reader = stores, Reader()
        self._photos, self._places, self._shown = Photos(stores), None, ", ".join(store.shown for store in stores)
        there = sum(map(sameness_of, stores), Sameness())
        if sameness is not None and there.described.is_of(sameness.described) and len(self._photos.names) == len(names):
            return
        self._places = positions(names, self._photos.names)
        failed = self._failed(names, np.flatnonzero(self._places < 0), ranking)
        if sameness is not None and not there.is_of(sameness) and not self._of_these(failed).is_of(sameness.described):
            raise ImgretError(
                f"{self._shown}: the photos are called as those that {ranking} ranks, and are others: they have changed since, so make "
                "the ranking again, or give stores of the photos that were searched"
            )

    def find(self, name):
        """(store, row) of a photo by its name, whether it is ranked or not; None where it is not there."""
        place = self._photos.names.find(name)
        return None if place < 0 else next(self._photos.runs(place, place + 1))[:2]

    def failed(self, name):
        """The digest of a photo that could not be described; None of one that is not there."""
        for store in self.stores:
            row = self._reader.failed(store, name)
            if row >= 0:
                return store.read("failed/digest", row, row + 1)[0].tobytes()
        return None

    def _failed(self, names, missing, ranking):
        """The digests of photos that are ranked and could not be described here, by their names; refused where others are missing."""
        found = {name: self.failed(name) for name in map(names.__getitem__, missing.tolist())}
        absent = [name for name, digest in found.items() if digest is None]
        if absent:
            raise ImgretError(
                f"{self._shown}: {len(absent)} of the {len(names)} photos that {ranking} ranks are not there, for example "
                f"{shown(absent[0])}: give stores of the photos that were searched"
            )
        return found

    def _of_these(self, failed):
        """Which photos of the stores the ranking's names stand for."""
        found, digests, places = Sum(), self._photos.values("digest"), self._places[self._places >= 0]
        for name, place in zip(self._photos.names.taken(places), places, strict=True):
            found.add(name, digests[place].tobytes())
        for name, digest in failed.items():
            found.add(name, digest)
        return found

    def row(self, photo):
        """(store, row) of a photo, by its position in the ranking's names; row -1 of one that could not be described."""
        place = int(photo if self._places is None else self._places[photo])
        if place < 0:
            return self.nowhere
        store, row, _ = next(self._photos.runs(place, place + 1))
        return store, row

    def of(self, photo):
        """What describes a photo; of one that could not be described, no features, no words, or a zero vector."""
        return self._reader.read(*self.row(photo))

    @property
    def nowhere(self):
        """(store, row) of what could not be described."""
        return self.stores[0], -1

    def matrix(self, photos):
        """The vectors of some photos, (n, V), float32."""
        if not len(photos):
            return np.zeros((0, self.stores[0].sizes["V"]), np.float32)
        return np.stack([self.of(photo) for photo in photos])


class Asking:
    """What describes the photos that ask, as those of a gallery are described.

    Parameters
    ----------
    gallery : Gallery
    pipeline : Pipeline
        As what queries are described.
    stores : list of InputStore
        What is given of the queries.
    paths : dict of str to str
        The photos that are given of the queries, by their names, as `os.fsdecode` gives them.
    device : str
    """

    def __init__(self, gallery, pipeline, stores, paths, device="auto"):
        self._gallery, self._paths, self._reader = gallery, paths, Reader()
        self._describer, self._settled = Describer(pipeline, device), False
        self._stores, self._rows = [], {}
        for store in stores:
            node = Pipeline.load(store).node
            position = self._describer.position_of(node)
            if position >= 0:
                self._stores.append((store, position))
        self._misfit = stores[0] if stores and not self._stores else None

    def fits(self, store):
        """Whether a store that is given describes queries as they are asked."""
        return any(store is each for each, _ in self._stores)

    def find(self, query, photo):
        """Where a query is described: ("given" or "gallery", store, row, position), or ("photo", path); row -1 where it could not be.

        Parameters
        ----------
        query, photo : bytes
            Its own name, and that of its photo.

        Raises
        ------
        ImgretError
            If it is nowhere.
        """
        for name in dict.fromkeys((query, photo)):
            for store, position in self._stores:
                if store not in self._rows:
                    self._rows[store] = store.texts("names")
                row = self._rows[store].find(name)
                if row >= 0:
                    return "given", store, row, position
                if self._reader.failed(store, name) >= 0:
                    return "gallery", *self._gallery.nowhere, -1
        if os.fsdecode(photo) in self._paths:
            return "photo", self._paths[os.fsdecode(photo)]
        if not self._stores and not self._paths:
            found = self._gallery.find(photo)
            if found is not None:
                return "gallery", *found, -1
            if self._gallery.failed(photo) is not None:
                return "gallery", *self._gallery.nowhere, -1
            if self._misfit is not None:
                node, nearest = Pipeline.load(self._misfit).node, self._describer.nodes[-1]
                raise ImgretError(
                    f"{self._misfit.shown} was not made as {self._gallery.stores[0].shown} was ({differences(node, nearest)}), and query "
                    f"{shown(query)} is no photo of the gallery: give photos, or a store made in the same way, as --queries"
                )
            raise ImgretError(f"query {shown(query)} is no photo of the gallery: give --queries, photos or a store that describe it")
        raise ImgretError(f"query {shown(query)} is not in --queries: give all photos, or stores, that the ranking was asked with")

    def of(self, query, photo, box):
        """What describes a query, as the gallery's photos are described; of local features those in a box, where there is one."""
        where, *found = self.find(query, photo)
        if where == "photo":
            described = self._photo(found[0])
            return described if not np.isfinite(box).all() else _cut(described, box, query, self._gallery.stores[0])
        store, row, position = found
        described = self._reader.read(store, row)
        if np.isfinite(box).all() and not store.has("box"):
            described = _cut(described, box, query, store)
        if position in (-1, len(self._describer.nodes) - 1):
            return described
        with one_thread():
            if store.kind == "features":
                return self._describer.features(described)
            return self._describer.vectors(described[None], position)[0]

    def _photo(self, path):
        if not self._settled:
            self._describer.settle()
            self._settled = True
        try:
            with one_thread():
                return self._describer.photo(images.read_file(os.fsencode(path)))
        except images.BadPhoto as bad:
            raise ImgretError(f"{path} cannot be used: {bad.reason}") from None


def _cut(described, box, query, store):
    """What of a photo's description lies in a box."""
    if isinstance(described, LocalFeatures):
        return described.within(box)
    if isinstance(described, dict) and "geometry" in described:
        x, y = described["geometry"][:, 0].astype(np.float32), described["geometry"][:, 1].astype(np.float32)
        kept = (x >= box[0]) & (x <= box[2]) & (y >= box[1]) & (y <= box[3])
        return {path: column[kept] for path, column in described.items()}
    raise ImgretError(
        f"query {shown(query)} asks with a box, and {store.shown} describes all of its photo: give --queries that were extracted with "
        "--boxes"
    )
