"""Feature files of the hloc toolbox: HDF5 with a group for each image, read as carefully as a store.

    db/1.jpg/keypoints (N, 2)  db/1.jpg/descriptors (D, N)  db/1.jpg/scores (N,)  db/1.jpg/image_size (2,)     local features
    db/1.jpg/global_descriptor (D,)                                                                           or one vector

In the file, as in imgret, the centre of the top-left pixel is at (0, 0), and x and y are those of the photo at full size: hloc adds its 0.5
only when it hands keypoints to COLMAP. So they are taken as they are.

References
----------
https://github.com/cvg/Hierarchical-Localization, `hloc/extract_features.py` and, for the 0.5, `hloc/triangulation.py`.
"""

import os

import h5py
import numpy as np

from imgret.errors import ImgretError
from imgret.formats.hloc.datasets import Unfit, check_chunks
from imgret.formats.hloc.structure import GLOBAL, LOCAL, PROPERTIES, UNREADABLE, Scan, sentence, short
from imgret.store.opening import close_file
from imgret.store.reader import is_hdf5
from imgret.store.text import Texts

BLOCK_BYTES = 4 << 20  # of descriptors read at once
CACHE_BYTES = 1 << 20


class BadImage(ImgretError):
    """An image whose values cannot be used; see `HlocFile.examine`."""


class HlocFile:
    """An open feature file of the hloc toolbox; its structure is checked whole, its values as they are read.

    An image that cannot be used is left out. Of images of two sorts, or of several dimensions, the most common are taken.

    Parameters
    ----------
    path : str

    Attributes
    ----------
    gives : str
        "features" or "vectors".
    names : Texts
        The images, in byte order.
    failed : dict of bytes to Unfit
        Those that cannot be used.
    counts : ndarray, shape (N,), int64
        Descriptors of each image; 1 for vectors.
    sizes : ndarray, shape (N, 2), int32
        Width and height; 0 where the file does not say.
    dim : int
    dtype : dtype
        Of descriptors: uint8, float16 or float32, the narrowest that holds those of every image (float64 becomes float32).
    keypoint_columns : tuple of str
        x, y, and what any image has of scale, angle and score.

    Raises
    ------
    ImgretError
        If it is no such file, or no image in it can be used.
    """

    def __init__(self, path):
        self.shown = os.fsdecode(path)
        self._file = self._open(path)
        try:
            self._scan = Scan(self._file, self.shown, os.stat(path).st_size)
            self._describe(self._scan.images)
        except ImgretError:
            self.close()
            raise
        except UNREADABLE as error:
            self.close()
            raise self._damaged(error) from None

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def __len__(self):
        return len(self.names)

    def close(self):
        """Close the file."""
        close_file(self._file)

    def _open(self, path):
        if not os.path.isfile(path):
            raise ImgretError(f"{self.shown}: there is no such file")
        try:
            if os.access(path, os.R_OK) and not is_hdf5(path):
                raise ImgretError(f"{self.shown} is not a feature file of hloc (not HDF5)")
            file = h5py.File(path, "r", locking=False)
            config = file.id.get_mdc_config()
            # what HDF5 remembers of objects, as they are in the file: ten times that in memory, up to 32 MB unless told otherwise
            config.max_size = config.min_size = config.initial_size = CACHE_BYTES
            file.id.set_mdc_config(config)
            return file
        except (OSError, RuntimeError) as error:
            raise self._damaged(error) from None

    def _damaged(self, error):
        return ImgretError(f"{self.shown} cannot be read: {short(error)}")

    def _describe(self, images):
        self.failed, self.gives, self.dim = self._scan.failed, images[0].gives, images[0].dim
        dtype = np.result_type(*{image.dtype for image in images})
        self.dtype = np.dtype(np.float32) if dtype.itemsize > 4 else dtype
        properties = frozenset().union(*(image.properties for image in images))
        self.keypoint_columns = ("x", "y", *(column for name, column in PROPERTIES.items() if name in properties))
        self._set([(image.name, image.count, image.size) for image in images])

    def _set(self, found):
        self.names = Texts.of(name for name, *_ in found)
        self.counts = np.array([count for _, count, _ in found], dtype=np.int64)
        self.sizes = np.array([size for *_, size in found], dtype=np.int32)

    def columns(self):
        """The data columns of a store of what is in the file: `{path: (row_shape, dtype, {attribute: text})}`."""
        if self.gives == "vectors":
            return {"vectors": ((self.dim,), np.float32, {})}
        kind = "uint8" if self.dtype == np.uint8 else "float"
        return {
            "keypoints": ((len(self.keypoint_columns),), np.float32, {"columns": " ".join(self.keypoint_columns)}),
            "descriptors": ((self.dim,), self.dtype, {"descriptor_type": kind}),
        }

    def rows(self, number):
        """Yield the data columns of one image, a bounded block at a time.

        Parameters
        ----------
        number : int
            Position in `names`.

        Yields
        ------
        dict
            `vectors` (1, D), float32; or `keypoints` (n, P), float32, NaN where this image lacks a property, and `descriptors` (n, D).

        Raises
        ------
        BadImage
            For values that are not there, NaN or infinite.
        """
        name = self.names[number]
        try:
            yield from self._rows(name, int(self.counts[number]))
        except Unfit as bad:
            raise BadImage(sentence(self.shown, name, bad.reason)) from None

    def examine(self):
        """Read all values, and leave out the images whose values cannot be used.

        Raises
        ------
        ImgretError
            If none is left.
        """
        kept = []
        for number, name in enumerate(self.names):
            try:
                for _ in self._rows(name, int(self.counts[number])):
                    pass
                kept.append((name, int(self.counts[number]), tuple(self.sizes[number].tolist())))
            except Unfit as bad:
                self.failed[name] = bad
        if not kept:
            raise self._scan.nothing()
        self._set(kept)

    def _rows(self, name, count):
        try:
            group = h5py.h5o.open(self._file.id, name)
            if self.gives == "vectors":
                check_chunks(GLOBAL, h5py.h5o.open(group, GLOBAL.encode()))
                yield {"vectors": self._read(group, GLOBAL, np.float32)[None]}
                return
            for dataset in (*LOCAL, *PROPERTIES):
                if group.links.exists(dataset.encode()):
                    check_chunks(dataset, h5py.h5o.open(group, dataset.encode()))
            step = max(1, BLOCK_BYTES // (self.dim * self.dtype.itemsize))
            for start in range(0, count, step):
                rows = slice(start, start + step)
                descriptors = self._read(group, "descriptors", self.dtype, (slice(None), rows)).T
                yield {"keypoints": self._keypoints(group, rows), "descriptors": np.ascontiguousarray(descriptors)}
        except UNREADABLE as error:
            raise Unfit("truncated", f"it cannot be read ({short(error)})") from None

    def _keypoints(self, group, rows):
        xy = self._read(group, "keypoints", np.float32, rows)
        keypoints = np.full((len(xy), len(self.keypoint_columns)), np.nan, np.float32)
        keypoints[:, :2] = xy
        for dataset, column in PROPERTIES.items():
            if column in self.keypoint_columns and group.links.exists(dataset.encode()):
                keypoints[:, self.keypoint_columns.index(column)] = self._read(group, dataset, np.float32, rows)
        return keypoints

    def _read(self, group, dataset, dtype, rows=()):
        with np.errstate(over="ignore"):  # what the type cannot hold is refused below
            values = h5py.Dataset(h5py.h5o.open(group, dataset.encode()))[rows].astype(dtype, copy=False)
        if not np.isfinite(values).all():
            raise Unfit("not-finite", f"{dataset} holds NaN or infinite values")
        return values
