"""The local features in a store, given back as extractors gave them."""

import numpy as np

from imgret.errors import ImgretError
from imgret.features import LocalFeatures
from imgret.pipeline import Pipeline


class FeatureReader:
    """Reads the local features of an open store.

    Parameters
    ----------
    store : imgret.store.reader.Store
        Features.

    Raises
    ------
    ImgretError
        If the store does not say how it was made, or what its keypoints are.
    """

    def __init__(self, store):
        self._store = store
        self._decode = Pipeline.load(store).component().decode
        self._columns = tuple(store.attribute("keypoints", "columns").split())
        if len(self._columns) != store.shape("keypoints")[1] or self._columns[:2] != ("x", "y"):
            raise ImgretError(f"{store.shown} is damaged: it does not say what each column of its keypoints is")

    def photos(self, rows):
        """Yield the features of some photos, one at a time.

        Parameters
        ----------
        rows : sequence of int
            Ascending, and not far apart: the offsets between the first and the last are read.

        Yields
        ------
        LocalFeatures
        """
        if not len(rows):
            return
        first, last = int(rows[0]), int(rows[-1]) + 1
        offsets, sizes = self._store.descriptor_range(first, last), self._store.read("image_size", first, last)
        for row in rows:
            place = int(row) - first
            yield self._features(int(offsets[place]), int(offsets[place + 1]), tuple(sizes[place].tolist()))

    def none(self):
        """The features of a photo that has none."""
        return self._features(0, 0, None)

    def sample(self, start, stop, picked):
        """Some of the descriptors `start` to `stop`, whichever photos they are of, as `LocalFeatures`; `picked` counts from `start`."""
        return self._features(start, stop, None, picked)

    def _features(self, start, stop, size, picked=slice(None)):
        return LocalFeatures(
            lambda: self._store.read("keypoints", start, stop)[picked],
            self._store.read("descriptors", start, stop)[picked],
            self._columns,
            size,
            self._decode,
        )


def vectors_of(store, rows):
    """The vectors of some rows that are not far apart: (n, V), float32."""
    rows = np.asarray(rows)
    first = int(rows.min())
    return store.read("vectors", first, int(rows.max()) + 1)[rows - first].astype(np.float32)
