"""What describes photos of a gallery, and those that ask: rows of stores, by the photos' names."""

import os

import numpy as np

from imgret import images
from imgret.describer import Describer
from imgret.errors import ImgretError
from imgret.features import LocalFeatures
from imgret.inputs.entries import entries_of
from imgret.inputs.features import FeatureReader, vectors_of
from imgret.inputs.photos import Photos
from imgret.names import shown
from imgret.parallel import one_thread
from imgret.pipeline import Pipeline, differences
from imgret.runs.kept import positions
from imgret.store.photos import sameness_of
from imgret.store.sameness import Sameness


class Reader:
    """Reads what describes photos, row by row; each store's pipeline is opened once."""

    def __init__(self):
        self._opened = {}

    def read(self, store, row):
        """What a row holds: `LocalFeatures`, the columns of visual words, or a vector, (V,), float32."""
        if store.kind == "vectors":
            return vectors_of(store, [row])[0]
        if store not in self._opened:
            self._opened[store] = FeatureReader(store) if store.kind == "features" else self.encoder(store)
        if store.kind == "features":
            return next(self._opened[store].photos(range(row, row + 1)))
        return entries_of(store, range(row, row + 1), self._opened[store])[0]

    @staticmethod
    def encoder(store):
        """The encoder that made a store's visual words."""
        return Pipeline.load(store).component()


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
        self.stores, self.kind, self._reader = stores, stores[0].kind, Reader()
        self._photos, self._places = Photos(stores), None
        there = sum(map(sameness_of, stores), Sameness())
        if len(self._photos.names) == len(names) and sameness is not None and there.is_of(sameness):
            return
        self._places = positions(names, self._photos.names)
        shown_stores = ", ".join(store.shown for store in stores)
        missing = np.flatnonzero(self._places < 0)
        if len(missing):
            raise ImgretError(
                f"{shown_stores}: {len(missing)} of the {len(names)} photos that {ranking} ranks are not there, for example "
                f"{shown(names[int(missing[0])])}: give stores of the photos that were searched"
            )
        if sameness is not None and not self._of_these().is_of(sameness):
            raise ImgretError(
                f"{shown_stores}: the photos are called as those that {ranking} ranks, and are others: they have changed since, so make "
                "the ranking again, or give stores of the photos that were searched"
            )

    def _of_these(self):
        """Which photos of the stores the ranking's names stand for."""
        found, digests = Sameness(), self._photos.values("digest")
        for name, place in zip(self._photos.names.taken(self._places), self._places, strict=True):
            found.add(name, digests[place].tobytes())
        return found

    def row(self, photo):
        """(store, row) of a photo, by its position in the ranking's names."""
        place = int(photo if self._places is None else self._places[photo])
        store, row, _ = next(self._photos.runs(place, place + 1))
        return store, row

    def of(self, photo):
        """What describes a photo."""
        return self._reader.read(*self.row(photo))

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
    names : Texts
        Of the gallery's photos.
    pipeline : Pipeline
        As what queries are described.
    stores : list of InputStore
        What is given of the queries.
    paths : dict of bytes to str
        The photos that are given of the queries, by their names.
    device : str
    """

    def __init__(self, gallery, names, pipeline, stores, paths, device="auto"):
        self._gallery, self._names, self._paths, self._reader = gallery, names, paths, Reader()
        self._describer, self._settled = Describer(pipeline, device), False
        self._stores, self._rows = [], {}
        for store in stores:
            node = Pipeline.load(store).node
            position = self._describer.position_of(node)
            if position >= 0:
                self._stores.append((store, position))
        self._misfit = stores[0] if stores and not self._stores else None

    def find(self, query, photo):
        """Where a query is described: ("given" or "gallery", store, row, position), or ("photo", path).

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
        if photo in self._paths:
            return "photo", self._paths[photo]
        if not self._stores and not self._paths:
            place = self._names.find(photo)
            if place >= 0:
                return "gallery", *self._gallery.row(place), -1
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
            return described.within(box) if isinstance(described, LocalFeatures) else described
        store, row, position = found
        described = self._reader.read(store, row)
        if store.kind == "features" and not store.has("box"):
            described = described.within(box)
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
