"""Reading stores. A file may come from a stranger: everything is checked before it is believed, and nothing is allocated on its word.

A column must be stored contiguously (or in unfiltered chunks) inside the file itself, all of it, so its size is bounded by the
file's; external storage, virtual datasets, soft and external links are refused.
"""

import contextlib
import json
import math
import os

import h5py
import numpy as np

from imgret.errors import ImgretError
from imgret.store import layout
from imgret.store.hashing import ColumnHash, of_array
from imgret.store.text import Texts

SIGNATURE = b"\x89HDF\r\n\x1a\n"
BLOCK_BYTES = 4 << 20  # how much is read at once
MAX_DEPTH = 200  # of the JSON in attributes
# What there is at the root of a store, or of one that is being written: attributes come last
BEGINNINGS = {
    layout.PIPELINE_GROUP,
    *(column.path.partition("/")[0] + end for columns in layout.COLUMNS.values() for column in columns for end in ("", "_offsets")),
}


class Store:
    """An open store, read-only.

    Parameters
    ----------
    path : str or bytes or PathLike
    kinds : tuple of str, optional
        The kinds that will do.
    wanted_by : str
        The step that asks, for the message ("encode").

    Attributes
    ----------
    kind : str
    recipe, content, fingerprint : str
        The identities, hex; `fingerprint` is empty for kinds that hold no photos.
    params, inputs, info, pipeline : JSON values
    sizes : dict of str to int
        The length of each axis of the layout (N, T, D, ...).

    Raises
    ------
    ImgretError
        If there is no such file, or it is not a complete imgret file of one of these kinds that this imgret can read.
    """

    def __init__(self, path, kinds=None, wanted_by="this step"):
        self.path = os.fspath(path)
        self.shown = os.fsdecode(self.path)
        self._file = _open(self.path, self.shown)
        self._file_size, self._groups = os.stat(self.path).st_size, {"": self._file.id}
        try:
            self._read_attributes(kinds, wanted_by)
            self._bind_columns()
        except ImgretError:
            self.close()
            raise
        except (OSError, KeyError, ValueError, TypeError, RuntimeError, RecursionError, MemoryError) as error:
            self.close()
            raise ImgretError(f"{self.shown} is damaged: {_one_line(error)}") from None

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def close(self):
        """Close the file."""
        self._file.close()

    def _read_attributes(self, kinds, wanted_by):
        attributes = self._file.attrs
        if _text_attribute(attributes, "format") != layout.FORMAT:
            if not len(attributes) and set(self._file) <= BEGINNINGS:
                raise ImgretError(f"{self.shown} is not complete: it is being written, or its writer was stopped; run its command again")
            raise ImgretError(f"{self.shown} is not an imgret file")
        self.kind = _text_attribute(attributes, "kind")
        if self.kind not in layout.COLUMNS:
            raise ImgretError(f"{self.shown} is of the kind '{self.kind}', which this imgret does not know: upgrade imgret")
        if kinds is not None and self.kind not in kinds:
            raise ImgretError(f"{self.shown} is {_article(self.kind)}; {wanted_by} needs {_alternatives(kinds)}")
        self.schema_version = self._integer(_scalar_attribute(attributes, "schema_version", h5py.h5t.TypeIntegerID))
        if self.schema_version > layout.SCHEMA_VERSIONS[self.kind]:
            raise ImgretError(
                f"{self.shown} has version {self.schema_version} of the {self.kind} layout, this imgret reads up to "
                f"{layout.SCHEMA_VERSIONS[self.kind]}: upgrade imgret"
            )
        self.created = _text_attribute(attributes, "created")
        self.recipe = _text_attribute(attributes, "recipe")
        self.content = _text_attribute(attributes, "content")
        self.fingerprint = _text_attribute(attributes, "fingerprint")
        self.params = self._json("params", dict)
        self.inputs = self._json("inputs", list)
        self.info = self._json("info", dict)
        self.generated_by = self._json("generated_by", dict)
        self.checksums = self._json("checksums", dict)
        self.pipeline = self._json("pipeline", dict, optional=True)

    def _integer(self, value):
        if not isinstance(value, (int, np.integer)) or value < 1:
            raise ImgretError(f"{self.shown} is damaged: it has no 'schema_version'")
        return int(value)

    def _json(self, name, wanted, optional=False):
        text = _text_attribute(self._file.attrs, name)
        try:
            value = json.loads(text or "null", parse_constant=_refuse_constant, parse_float=_finite)
            _check_depth(value)
        except (ValueError, RecursionError):
            raise ImgretError(f"{self.shown} is damaged: its attribute '{name}' is not JSON") from None
        if value is None and optional:
            return None
        if not isinstance(value, wanted):
            raise ImgretError(f"{self.shown} is damaged: its attribute '{name}' holds another type than it should")
        return value

    def _bind_columns(self):
        self.sizes, self._columns = {}, {}
        columns = layout.COLUMNS[self.kind]
        optional = any(self._file.id.links.exists(column.path.encode()) for column in columns if column.optional)
        for column in columns:
            if column.optional and not optional:
                continue
            if column.dtypes == ("text",):
                self._bind(column.path, ("bytes of " + column.path,), ("uint8",))
                self._bind(column.path + "_offsets", (column.shape[0] + "+1",), ("int64",))
            else:
                self._bind(column.path, column.shape, column.dtypes)

    def _bind(self, path, shape, dtypes):
        dataset = self._dataset(path)
        dtype, lengths = dataset.dtype, dataset.shape
        if dtype.name not in dtypes or dtype.byteorder == ">":
            raise ImgretError(f"{self.shown} is damaged: '{path}' is of type {dtype}, not {' or '.join(dtypes)}")
        if len(lengths) != len(shape):
            raise ImgretError(f"{self.shown} is damaged: '{path}' has {len(lengths)} axes, not {len(shape)}")
        for axis, length in zip(shape, lengths, strict=True):
            if isinstance(axis, int):
                expected = axis
            elif axis.endswith("+1"):
                expected = self.sizes.setdefault(axis[:-2], length - 1) + 1
            else:
                expected = self.sizes.setdefault(axis, length)
            if length != expected or (not isinstance(axis, int) and axis.endswith("+1") and length < 1):
                raise ImgretError(f"{self.shown} is damaged: '{path}' has {length} rows or columns, {expected} are expected")
        self._columns[path] = dataset

    def _dataset(self, path):
        # h5py's low-level calls: a store is opened for every part of a step, and the others take several times as long
        folder, _, name = path.rpartition("/")
        opened = self._member(self._group(folder), name, path)
        if not isinstance(opened, h5py.h5d.DatasetID):
            raise ImgretError(f"{self.shown} is damaged: '{path}' is no dataset")
        plist, size = opened.get_create_plist(), opened.get_storage_size()
        layouts = (h5py.h5d.CONTIGUOUS, h5py.h5d.CHUNKED, h5py.h5d.COMPACT)
        if plist.get_external_count() or plist.get_nfilters() or plist.get_layout() not in layouts:
            raise ImgretError(f"{self.shown}: '{path}' is compressed, virtual or outside the file; imgret does not write such columns")
        dtype = opened.dtype
        if dtype.kind not in "uif" or dtype.itemsize * math.prod(opened.shape) > size or size > self._file_size:
            raise ImgretError(f"{self.shown} is damaged: '{path}' is not all there")
        return h5py.Dataset(opened)

    def _group(self, path):
        if path not in self._groups:
            self._groups[path] = self._member(self._file.id, path, path)
        return self._groups[path]

    def _member(self, group, name, path):
        """What a hard link leads to, open; no other link is followed."""
        name = name.encode("utf-8", "surrogateescape")
        try:
            hard = isinstance(group, h5py.h5g.GroupID) and group.links.get_info(name).type == h5py.h5l.TYPE_HARD
        except (KeyError, RuntimeError):  # there is none, or it is damaged
            hard = False
        if not hard:
            raise ImgretError(f"{self.shown} is damaged: it has no column '{path}'")
        return h5py.h5o.open(group, name)

    def __len__(self):
        """Number of photos."""
        return self.sizes.get("N", 0)

    def column_names(self):
        """Paths of the columns, in the layout's order."""
        return list(self._columns)

    def has(self, path):
        """Whether the store has this column."""
        return path in self._columns

    def attribute(self, path, name):
        """A text attribute of a column, '' where it is missing."""
        return _text_attribute(self._columns[path].attrs, name)

    def shape(self, path):
        """Shape of a column."""
        return self._columns[path].shape

    def dtype(self, path):
        """dtype of a column."""
        return self._columns[path].dtype

    def read(self, path, start=0, stop=None):
        """Rows `start` to `stop` of a column, as a new array."""
        dataset = self._columns[path]
        try:
            return dataset[start:stop]
        except (OSError, RuntimeError, ValueError) as error:
            raise ImgretError(f"{self.shown} is damaged: '{path}' cannot be read ({_one_line(error)})") from None

    def blocks(self, path, block_bytes=BLOCK_BYTES):
        """Yield a column block by block, about `block_bytes` at a time."""
        dataset = self._columns[path]
        width = max(1, dataset.dtype.itemsize * int(np.prod(dataset.shape[1:], dtype=np.int64)))
        step = max(1, block_bytes // width)
        for start in range(0, dataset.shape[0], step):
            yield self.read(path, start, min(start + step, dataset.shape[0]))

    def texts(self, path, start=0, stop=None):
        """Values `start` to `stop` of a text column, as `Texts`."""
        count = self._columns[path + "_offsets"].shape[0] - 1
        start, stop, _ = slice(start, stop).indices(count)
        stop = max(start, stop)
        offsets = self.read(path + "_offsets", start, stop + 1)
        first, last = int(offsets[0]), int(offsets[-1])
        if first < 0 or last > self._columns[path].shape[0] or np.any(offsets[1:] < offsets[:-1]):
            raise ImgretError(f"{self.shown} is damaged: the offsets of '{path}' do not rise")
        return Texts(self.read(path, first, last), offsets - first)

    def photo_names(self, start=0, stop=None):
        """The names of the photos that the rows `start` to `stop` stand for, as `Texts`: of a row per box, of the photo it is of."""
        return self.texts("photo_names" if self.has("photo_names") else "names", start, stop)

    def text_list(self, path):
        """A short text column as a list of str."""
        return [value.decode("utf-8", "replace") for value in self.texts(path)]

    def descriptor_range(self, start, stop):
        """Offsets of the photos `start` to `stop`: shape (stop - start + 1,), checked to rise within the descriptors."""
        offsets = self.read("offsets", start, stop + 1)
        if offsets[0] < 0 or offsets[-1] > self.sizes["T"] or np.any(offsets[1:] < offsets[:-1]):
            raise ImgretError(f"{self.shown} is damaged: 'offsets' do not rise")
        return offsets

    def map(self, path):
        """A contiguous column as a read-only memory map: nothing is read until it is touched.

        Raises
        ------
        ImgretError
            If the column is not contiguous.
        """
        dataset = self._columns[path]
        offset = dataset.id.get_offset()
        if offset is None or not dataset.size:
            raise ImgretError(f"{self.shown} is damaged: '{path}' is not contiguous")
        return np.memmap(self.path, mode="r", dtype=dataset.dtype, shape=dataset.shape, offset=offset)

    def pipeline_array(self, digest):
        """An array of the pipeline by its hash, verified against it."""
        if not isinstance(digest, str) or not digest.isalnum():
            raise ImgretError(f"{self.shown} is damaged: its pipeline names an array '{digest}'")
        try:
            array = np.asarray(self._dataset(f"{layout.PIPELINE_GROUP}/{digest}")[()])
        except (OSError, KeyError, ValueError, TypeError, RuntimeError, MemoryError) as error:
            raise ImgretError(f"{self.shown} is damaged: an array of its pipeline cannot be read ({_one_line(error)})") from None
        if of_array(array) != digest:
            raise ImgretError(f"{self.shown} is damaged: an array of its pipeline does not match its hash")
        return array

    def problems(self):
        """Everything that `info --check` finds wrong: structure, offsets, finiteness, hashes. Yields one sentence each."""
        for path, dataset in self._columns.items():
            digest, finite, last, rising, ordered = ColumnHash(), True, None, True, True
            try:
                for block in self.blocks(path):
                    digest.update(block)
                    if block.dtype.kind == "f" and path not in ("scores", "keypoints"):
                        finite = finite and bool(np.isfinite(block).all())
                    if path == "box":
                        ordered = ordered and not np.any(block[:, :2] > block[:, 2:])
                    if path.endswith("offsets"):
                        rising = rising and bool(np.all(block[1:] >= block[:-1])) and (last is None or block[0] >= last)
                        last = block[-1]
            except ImgretError as error:
                yield str(error)
                continue
            if not finite:
                yield f"'{path}' holds NaN or infinite values"
            if not ordered:
                yield f"'{path}' holds boxes whose corners are not in order: x1, y1, x2, y2"
            if path.endswith("offsets"):
                total = self._columns["descriptors" if path == "offsets" else path.removesuffix("_offsets")].shape[0]
                if not rising or last != total or self.read(path, 0, 1)[0] != 0:
                    yield f"'{path}' does not rise from 0 to {total}"
            if self.checksums.get(path) != digest.hexdigest(dataset.dtype, dataset.shape):
                yield f"'{path}' does not match its checksum"
        yield from self._identity_problems()
        if "names" in self._columns and self.kind != "ranking":
            yield from self._order_problems()

    def _identity_problems(self):
        from imgret.store.writer import attribute_checksums, content_of

        for name, digest in attribute_checksums(self).items():
            if self.checksums.get(name) != digest:
                yield f"the attribute '{name.removeprefix('@')}' does not match its checksum"
        arrays = list(pipeline_hashes(self.pipeline))
        for digest in arrays:
            try:
                self.pipeline_array(digest)
            except ImgretError as error:
                yield str(error)
        if content_of(self.kind, self.checksums, arrays) != self.content:
            yield "`content` does not match the columns' checksums"

    def _order_problems(self):
        previous = None
        step = 4096
        for start in range(0, len(self), step):
            for name in self.texts("names", start, start + step):
                if previous is not None and name <= previous:
                    yield "'names' are not in byte order, each once"
                    return
                previous = name


def pipeline_hashes(node):
    """Yield the hash of every array that a pipeline's tree names.

    Raises
    ------
    ImgretError
        If the tree is not one.
    """
    if node is None:
        return
    if not isinstance(node, dict) or not isinstance(node.get("arrays", {}), dict) or not isinstance(node.get("inputs", []), list):
        raise ImgretError("the pipeline is not a tree of components: the file is damaged")
    for digest in node.get("arrays", {}).values():
        if not isinstance(digest, str):
            raise ImgretError("the pipeline names an array by something else than its hash: the file is damaged")
        yield digest
    for child in node.get("inputs", []):
        yield from pipeline_hashes(child)


def is_hdf5(path):
    """Whether a path is a regular file that begins as HDF5 files do."""
    if not os.path.isfile(path):
        return False
    with contextlib.suppress(OSError), open(path, "rb") as file:
        return file.read(len(SIGNATURE)) == SIGNATURE
    return False


def _open(path, shown):
    if not os.path.exists(path):
        raise ImgretError(f"{shown}: there is no such file")
    if not os.path.isfile(path):
        raise ImgretError(f"{shown} is not a regular file")
    try:
        return h5py.File(path, "r", locking=False)
    except PermissionError:
        raise ImgretError(f"{shown} cannot be read: permission denied") from None
    except (OSError, RuntimeError) as error:
        text = str(error)
        if "truncated" in text:
            raise ImgretError(f"{shown} is damaged: it is shorter than it should be (truncated)") from None
        if "signature not found" in text:
            raise ImgretError(f"{shown} is not an imgret file (not HDF5)") from None
        raise ImgretError(f"{shown} cannot be read: {_one_line(error)}") from None


def _scalar_attribute(attributes, name, wanted):
    """One value, or None where there is none of this HDF5 type: reading another one may crash the library."""
    if name not in attributes:
        return None
    attribute = attributes.get_id(name)
    return attributes[name] if isinstance(attribute.get_type(), wanted) and attribute.shape == () else None


def _text_attribute(attributes, name):
    value = _scalar_attribute(attributes, name, h5py.h5t.TypeStringID)
    if isinstance(value, bytes):
        value = value.decode("utf-8", "replace")
    return value if isinstance(value, str) else ""


def _refuse_constant(text):
    raise ValueError(text)


def _finite(text):
    value = float(text)
    if not np.isfinite(value):
        raise ValueError(text)
    return value


def _check_depth(value):
    """Refuse JSON that is nested so deep that walking it would end in a RecursionError."""
    level, depth = [value], 0
    while level:
        depth += 1
        if depth > MAX_DEPTH:
            raise ValueError("nested too deep")
        children = (list(item.values()) if isinstance(item, dict) else item for item in level if isinstance(item, (dict, list)))
        level = [child for group in children for child in group]


def _one_line(error):
    return " ".join(str(error).split())[:200]


def _article(kind):
    return {"index": "an index", "features": "a features store", "vectors": "a vectors store"}.get(kind, f"a {kind}")


def _alternatives(kinds):
    names = [{"features": "features", "vectors": "vectors"}.get(kind, _article(kind)) for kind in kinds]
    return " or ".join(names)
