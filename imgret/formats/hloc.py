"""Feature files of the hloc toolbox: HDF5 with a group for each image, read as carefully as a store.

    db/1.jpg/keypoints (N, 2)  db/1.jpg/descriptors (D, N)  db/1.jpg/scores (N,)  db/1.jpg/image_size (2,)     local features
    db/1.jpg/global_descriptor (D,)                                                                           or one vector

In the file, as in imgret, the centre of the top-left pixel is at (0, 0), and x and y are those of the photo at full size: hloc adds its 0.5
only when it hands keypoints to COLMAP. So they are taken as they are.

References
----------
https://github.com/cvg/Hierarchical-Localization, `hloc/extract_features.py` and, for the 0.5, `hloc/triangulation.py`.
"""

import math
import os

import h5py
import numpy as np

from imgret.errors import ImgretError, listed, quoted
from imgret.store.reader import is_hdf5
from imgret.store.text import Texts

MAX_DEPTH = 64  # folders in an image's path
MAX_NAME = 4096  # bytes of an image's path
MAX_DIM = 1 << 20
BLOCK_BYTES = 4 << 20  # of descriptors read at once
CACHE_BYTES = 1 << 20
PROPERTIES = {"scales": "scale", "oris": "angle", "scores": "score"}  # datasets of N values, and the keypoint columns they become
LOCAL = ("keypoints", "descriptors")
GLOBAL = "global_descriptor"
KNOWN = {*LOCAL, *PROPERTIES, GLOBAL, "image_size"}
FLOATS = ("float16", "float32", "float64")
INTEGERS = tuple(f"{sign}int{bits}" for sign in ("", "u") for bits in (8, 16, 32, 64))
TYPES = {"": (FLOATS, "floats"), "descriptors": (("uint8", *FLOATS), "uint8 or floats"), "image_size": (INTEGERS + FLOATS, "numbers")}
UNREADABLE = (OSError, KeyError, ValueError, TypeError, RuntimeError, MemoryError)  # what h5py raises of a damaged file
AGAIN = "if hloc was stopped while it wrote, let it extract this image again"


class HlocFile:
    """An open feature file of the hloc toolbox; its structure is checked whole, its values as they are read.

    Parameters
    ----------
    path : str

    Attributes
    ----------
    gives : str
        "features" or "vectors".
    names : Texts
        The images, in byte order.
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
        If it is no such file, or anything in it cannot be right: the image is named.
    """

    def __init__(self, path):
        self.shown = os.fsdecode(path)
        self._file = self._open(path)
        self._size_left = os.stat(path).st_size
        try:
            self._scan()
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
        self._file.close()

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
        return ImgretError(f"{self.shown} cannot be read: {quoted(' '.join(str(error).split()), 200)}")

    def _bad(self, name, what):
        return ImgretError(f"{self.shown}, image '{quoted(os.fsdecode(name))}': {what}")

    # structure

    def _scan(self):
        """Walk the groups and check every dataset's shape and type; no value but the images' sizes is read."""
        if "format" in self._file.attrs and "kind" in self._file.attrs:
            raise ImgretError(f"{self.shown} is a store of imgret's own: the other steps take it as it is")
        found, self._dim, self._first, self._dtypes, properties = [], None, None, set(), set()
        for name, members in self._images():
            found.append((name, *self._image(name, members)))
            properties |= members.keys() & PROPERTIES.keys()
        if not found:
            raise ImgretError(f"{self.shown} is not a feature file of hloc: it holds no image")
        found.sort()
        self.names = Texts.of(name for name, *_ in found)
        self.counts = np.array([count for _, count, _ in found], dtype=np.int64)
        self.sizes = np.array([size for *_, size in found], dtype=np.int32)
        self.dim, dtype = self._dim, np.result_type(*self._dtypes)
        self.dtype = np.dtype(np.float32) if dtype.itemsize > 4 else dtype
        self.keypoint_columns = ("x", "y", *(column for name, column in PROPERTIES.items() if name in properties))

    def _images(self):
        """Yield (name, {dataset's name: dataset}) of every group that has datasets; no link but hard ones is followed."""
        root = self._file.id
        pending, visited = [(b"", 0)], {h5py.h5o.get_info(root).addr}
        while pending:
            name, depth = pending.pop()
            group = h5py.h5o.open(root, name) if name else root
            links, members = [], {}
            group.links.iterate(lambda link, info, into=links: into.append((link, info.type)), info=True)
            for link, kind in links:
                path = name + b"/" + link if name else link
                if kind != h5py.h5l.TYPE_HARD:
                    raise self._bad(path, "it is a link to elsewhere, and links are not followed: copy the file with its links resolved")
                if depth == MAX_DEPTH or len(path) > MAX_NAME or link in (b"", b".") or b"/" in link:
                    raise self._bad(path[:80], "this is no path of an image, or a very long one")
                member = h5py.h5o.open(group, link)
                if isinstance(member, h5py.h5g.GroupID):
                    address = h5py.h5o.get_info(member).addr
                    if address in visited:
                        raise self._bad(path, "it is in the file under another name too: hloc writes no such file")
                    visited.add(address)
                    pending.append((path, depth + 1))
                elif isinstance(member, h5py.h5d.DatasetID):
                    members[link.decode("utf-8", "replace")] = member
            if name and not links:
                raise self._bad(name, f"it holds nothing; {AGAIN}")
            if members and not (members.keys() & KNOWN and name):
                other = listed(sorted(members), 3)
                where = f"'{quoted(os.fsdecode(name))}' holds" if name else "it begins with"
                raise ImgretError(f"{self.shown} is not a feature file of hloc: {where} {other}, not keypoints or {GLOBAL}")
            if members:
                yield name, members

    def _image(self, name, members):
        """Check one image; (number of descriptors, (width, height))."""
        gives = "vectors" if GLOBAL in members else "features"
        if GLOBAL in members and members.keys() & set(LOCAL):
            raise self._bad(name, f"it has local features and a {GLOBAL}: keep them in two files, as hloc does")
        self._first = self._first or (name, gives)
        self.gives = self._first[1]
        if gives != self.gives:
            raise self._bad(name, f"it has {_words(gives)}, while '{os.fsdecode(self._first[0])}' has {_words(self.gives)}: give one sort")
        wanted = (GLOBAL,) if gives == "vectors" else LOCAL
        for missing in (each for each in wanted if each not in members):
            raise self._bad(name, f"it has no {missing}; {AGAIN}")
        if gives == "vectors":
            count, dim = 1, self._checked(name, GLOBAL, members, "(D)", 1)[0]
        else:
            count, two = self._checked(name, "keypoints", members, "(N, 2)", 2)
            dim, columns = self._checked(name, "descriptors", members, "(D, N)", 2)
            if two != 2:
                raise self._bad(name, f"keypoints has the shape ({count}, {two}), not (N, 2)")
            if columns != count:
                raise self._bad(name, f"it has {count} keypoints, and descriptors of the shape ({dim}, {columns}), not (D, {count})")
            for each in members.keys() & PROPERTIES.keys():
                (length,) = self._checked(name, each, members, "(N)", 1)
                if length != count:
                    raise self._bad(name, f"it has {count} keypoints and {length} {each}")
        self._dim = self._dim or dim
        if not 0 < dim <= MAX_DIM or dim != self._dim:
            other = f", those of '{os.fsdecode(self._first[0])}' {self._dim}" if dim != self._dim else ""
            raise self._bad(name, f"its descriptors have {dim} dimensions{other}; all need the same number, from 1 to {MAX_DIM}")
        self._dtypes.add(members[wanted[-1]].dtype.newbyteorder("="))
        return count, self._image_size(name, members)

    def _checked(self, name, dataset, members, wanted, axes):
        """The shape of a dataset that is plain, all in the file and of numbers."""
        opened = members[dataset]
        shape, dtype = opened.shape, _dtype(opened)
        if shape is None or len(shape) != axes:
            raise self._bad(name, f"{dataset} has the shape {shape}, not {wanted}")
        names, words = TYPES.get(dataset, TYPES[""])
        if dtype.name not in names:
            raise self._bad(name, f"{dataset} is of the type {dtype}, {words} are needed")
        plist, size = opened.get_create_plist(), opened.get_storage_size()
        plain = plist.get_layout() in (h5py.h5d.CONTIGUOUS, h5py.h5d.CHUNKED, h5py.h5d.COMPACT)
        if plist.get_external_count() or plist.get_nfilters() or not plain:
            raise self._bad(name, f"{dataset} is compressed, virtual or outside the file: run h5repack -f NONE on it first")
        self._size_left -= size  # two datasets may not claim the same bytes: small files cannot stand for huge ones
        if math.prod(shape) * dtype.itemsize > size or self._size_left < 0:
            raise self._bad(name, f"{dataset} is not all there: the file is damaged")
        return shape

    def _image_size(self, name, members):
        if "image_size" not in members:
            return (0, 0)
        if self._checked(name, "image_size", members, "(2)", 1) != (2,):
            raise self._bad(name, "image_size does not hold a width and a height")
        size = h5py.Dataset(members["image_size"])[()]
        if not np.isfinite(size).all() or size.min() < 1 or size.max() >= 1 << 31:
            raise self._bad(name, f"image_size is {size.tolist()}, which is no width and height")
        return tuple(size.astype(np.int32).tolist())

    # values

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
        ImgretError
            For NaN and infinite values.
        """
        name = self.names[number]
        try:
            group = h5py.h5o.open(self._file.id, name)
            if self.gives == "vectors":
                yield {"vectors": self._read(group, name, GLOBAL, np.float32)[None]}
                return
            step = max(1, BLOCK_BYTES // (self.dim * self.dtype.itemsize))
            for start in range(0, int(self.counts[number]), step):
                rows = slice(start, start + step)
                descriptors = self._read(group, name, "descriptors", self.dtype, (slice(None), rows)).T
                yield {"keypoints": self._keypoints(group, name, rows), "descriptors": np.ascontiguousarray(descriptors)}
        except UNREADABLE as error:
            raise self._bad(name, f"it cannot be read ({quoted(' '.join(str(error).split()), 200)})") from None

    def _keypoints(self, group, name, rows):
        xy = self._read(group, name, "keypoints", np.float32, rows)
        keypoints = np.full((len(xy), len(self.keypoint_columns)), np.nan, np.float32)
        keypoints[:, :2] = xy
        for dataset, column in PROPERTIES.items():
            if column in self.keypoint_columns and group.links.exists(dataset.encode()):
                keypoints[:, self.keypoint_columns.index(column)] = self._read(group, name, dataset, np.float32, rows)
        return keypoints

    def _read(self, group, name, dataset, dtype, rows=()):
        with np.errstate(over="ignore"):  # what the type cannot hold is refused below
            values = h5py.Dataset(h5py.h5o.open(group, dataset.encode()))[rows].astype(dtype, copy=False)
        if not np.isfinite(values).all():
            raise self._bad(name, f"{dataset} holds NaN or infinite values")
        return values


def _dtype(dataset):
    try:
        return dataset.dtype
    except (TypeError, ValueError):  # HDF5 has types that numpy has not
        return np.dtype(object)


def _words(gives):
    return f"a {GLOBAL}" if gives == "vectors" else "local features"
