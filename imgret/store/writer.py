"""Writing stores: to a temporary file, streamed; attributes last; fsync; then one atomic rename."""

import contextlib
import datetime
import functools
import os
import secrets
import socket

import h5py
import numpy as np

from imgret import __version__
from imgret.errors import ImgretError
from imgret.store import layout
from imgret.store.hashing import ColumnHash, canonical, of_array, of_columns, of_json, without_places
from imgret.store.text import Texts

WRITE_BYTES, WRITE_BLOCKS = 2 << 20, 512  # appends are gathered up to this size and number
ONE_BY_ONE_BYTES = 1 << 19  # gathered blocks of this size are not worth putting together
CHUNK_BYTES = 1 << 18  # of a column that grows; what its last chunk does not fill is wasted
CORE = ("numpy", "h5py", "opencv-contrib-python", "opencv-contrib-python-headless", "faiss-cpu", "pillow")
LIBRARIES = (*CORE, "torch", "torchvision", "scikit-image")


class ColumnWriter:
    """Appends rows to one dataset, hashing them on the way.

    Parameters
    ----------
    file : h5py.File
    path : str
    row_shape : tuple of int
    dtype : dtype
    total : int or None
        Number of rows, where it is known: the column is then contiguous. Otherwise (parts) it is contiguous if it is small, and else
        chunked, so that it can grow.
    attributes : dict of str to str, optional
    """

    def __init__(self, file, path, row_shape, dtype, total=None, attributes=None):
        self.path, self.row_shape, self.dtype = path, tuple(row_shape), np.dtype(dtype).newbyteorder("<")
        self._file, self._dataset, self._total, self._attributes = file, None, total, attributes or {}
        self._hash, self._pending, self._pending_bytes, self._rows = ColumnHash(), [], 0, 0

    def append(self, block):
        """Add rows.

        Parameters
        ----------
        block : ndarray, shape (n, *row_shape)
            It may be kept for a while: it must not change afterwards.
        """
        block = np.asarray(block, dtype=self.dtype)
        if block.shape[1:] != self.row_shape:
            raise ValueError(f"rows of shape {block.shape[1:]} do not fit '{self.path}' {self.row_shape}")
        if not len(block):
            return
        self._pending.append(block)
        self._pending_bytes += block.nbytes
        if self._pending_bytes >= WRITE_BYTES or len(self._pending) >= WRITE_BLOCKS:
            self._flush()

    def _flush(self, last=False):
        blocks = self._pending
        if len(blocks) * ONE_BY_ONE_BYTES > self._pending_bytes:
            blocks = [np.concatenate(blocks)]
        self._pending, self._pending_bytes = [], 0
        if self._dataset is None:
            self._create(sum(map(len, blocks)) if last and self._total is None else self._total)
        for block in blocks:
            self._hash.update(block)
            end = self._rows + len(block)
            if self._dataset.shape[0] < end:
                self._dataset.resize(end, axis=0)
            self._dataset[self._rows : end] = block
            self._rows = end

    def _create(self, total):
        options = {"fill_time": "never"}
        if total is None:
            width = max(1, self.dtype.itemsize * int(np.prod(self.row_shape, dtype=np.int64)))
            options |= {"maxshape": (None, *self.row_shape), "chunks": (max(1, CHUNK_BYTES // width), *self.row_shape)}
        self._dataset = self._file.create_dataset(self.path, (total or 0, *self.row_shape), self.dtype, **options)
        for name, value in self._attributes.items():
            self._dataset.attrs.create(name, value, dtype=h5py.string_dtype())

    def finish(self):
        """Write what is pending; returns the column's checksum."""
        self._flush(last=True)
        if self._total is not None and self._rows != self._total:
            raise ValueError(f"'{self.path}' got {self._rows} rows of {self._total}")
        return self._hash.hexdigest(self.dtype, self._dataset.shape)


class TextWriter:
    """Appends byte strings to a text column (its bytes and its offsets).

    `count` and `size` are the number of values and of bytes in all, where they are known.
    """

    def __init__(self, writer, path, count=None, size=None):
        self._bytes = writer.column(path, (), np.uint8, size)
        self._offsets = writer.column(path + "_offsets", (), np.int64, None if count is None else count + 1)
        self._offsets.append(np.zeros(1, np.int64))
        self._end = 0

    def append(self, values):
        """Add values: `Texts` or an iterable of bytes."""
        texts = values if isinstance(values, Texts) else Texts.of(values)
        self._bytes.append(texts.flat)
        self._offsets.append(texts.offsets[1:] - texts.offsets[0] + self._end)
        self._end += int(texts.offsets[-1] - texts.offsets[0])


class Writer:
    """A store in the making, in a temporary file; `publish` gives it its name.

    Used through `imgret.store.create` or as a context manager: leaving it without `publish` removes the temporary file.
    """

    def __init__(self, temporary):
        self.temporary = temporary
        self.shown = os.fsdecode(temporary)
        self.fingerprint = ""  # of a kind that holds photos: to be set before `finish`
        self._columns, self._kept, self._published = [], [], False
        with _explained(self.shown):
            self._file = h5py.File(temporary, "w", locking=False)

    def __enter__(self):
        return self

    def __exit__(self, kind, error, trace):
        self.discard()
        if _is_of_the_disk(error):
            raise _write_error(self.shown, error) from None

    def discard(self):
        """Close and remove the temporary file, if it is still there."""
        if self._file:
            with contextlib.suppress(OSError, RuntimeError, ValueError):
                _redirect(self._file)
                self._file.close()
        if not self._published:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(self.temporary)

    def column(self, path, row_shape, dtype, total=None, attributes=None):
        """A new column to append to; see `ColumnWriter`."""
        writer = ColumnWriter(self._file, path, row_shape, dtype, total, attributes)
        self._columns.append(writer)
        return writer

    def text(self, path, count=None, size=None):
        """A new text column to append to."""
        return TextWriter(self, path, count, size)

    def array(self, path, array):
        """A whole column at once."""
        column = self.column(path, array.shape[1:], array.dtype, len(array))
        column.append(array)

    def texts(self, path, values):
        """A whole text column at once."""
        texts = values if isinstance(values, Texts) else Texts.of(values)
        self.text(path, len(texts), len(texts.flat)).append(texts)

    def finish(self, kind, *, recipe, params, inputs=(), pipeline=None, arrays=None, info=None):
        """Write what is pending, then the pipeline and the root attributes.

        Parameters
        ----------
        kind : str
        recipe : str
        params, inputs, pipeline, info : JSON values
        arrays : dict of str to ndarray, optional
            The pipeline's arrays by hash.

        Returns
        -------
        str
            `content`.
        """
        checksums = {column.path: column.finish() for column in self._columns}
        group = self._file.create_group(layout.PIPELINE_GROUP)
        for digest, array in sorted((arrays or {}).items()):
            if of_array(array) != digest:
                raise ValueError("a pipeline array is not named by its hash")
            # kept open: a dataset that is closed writes its buffer, and could not say that it failed
            self._kept.append(group.create_dataset(digest, data=array, fill_time="never"))
        values = {"params": params, "inputs": list(inputs), "pipeline": pipeline, "info": info or {}}
        checksums |= _checksums(values)
        content = content_of(kind, checksums, list(arrays or {}))
        texts = {
            "kind": kind,
            "created": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
            "generated_by": canonical(_versions()),
            "recipe": recipe,
            "content": content,
            "fingerprint": self.fingerprint,
            **{name: canonical(value) for name, value in values.items()},
            "checksums": canonical(checksums),
            "format": layout.FORMAT,
        }
        attributes = self._file.attrs
        attributes["schema_version"] = layout.SCHEMA_VERSIONS[kind]
        for name, value in texts.items():
            # a variable-length string lives in the heap, so it may pass HDF5's 64 KB for attributes
            attributes.create(name, value, dtype=h5py.string_dtype())
        return content

    def publish(self, final):
        """Make it durable and give it its name, in one atomic step."""
        with _explained(os.fsdecode(final)):
            self._file.flush()  # what fails does so here, where the file can still be discarded
            self._file.close()
            publish(self.temporary, final)
            self._published = True


def content_of(kind, checksums, array_hashes):
    """`content`: one hash over the columns that count and the pipeline with its arrays."""
    unhashed = {column.path for column in layout.COLUMNS[kind] if not column.hashed}
    counted = {path: digest for path, digest in checksums.items() if path not in unhashed and path not in ("@inputs", "@info")}
    return of_columns({"kind": kind, "columns": counted, "arrays": sorted(set(array_hashes))})


def attribute_checksums(store):
    """Checksums of the JSON attributes of an open store, as `Writer.finish` records them."""
    values = {"params": store.params, "inputs": store.inputs, "pipeline": store.pipeline, "info": store.info}
    return _checksums(values)


def _checksums(values):
    return {f"@{name}": of_json(without_places(value) if name == "pipeline" else value) for name, value in values.items()}


def publish(temporary, final):
    """fsync `temporary`, rename it to `final`, fsync the folder."""
    fsync(temporary)
    os.replace(temporary, final)
    fsync(os.path.dirname(final) or ".")


def fsync(path):
    """Flush a file or a folder to the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def temporary_name(folder):
    """A name for a temporary file in `folder` that no other process takes and that tells whose it is."""
    return os.path.join(folder, f"tmp-{socket.gethostname()[:32]}-{os.getpid()}-{secrets.token_hex(4)}.h5")


@contextlib.contextmanager
def _explained(shown):
    try:
        yield
    except (OSError, RuntimeError, ValueError) as error:
        if not _is_of_the_disk(error):
            raise
        raise _write_error(shown, error) from None


def _is_of_the_disk(error):
    """Whether it came from the file system; HDF5 raises what it likes, with errno in the text."""
    return isinstance(error, OSError) or (isinstance(error, (RuntimeError, ValueError)) and "errno = " in str(error))


def _redirect(file):
    """Let HDF5 write the rest of a file that is given up somewhere else.

    It writes when it closes a file; on a full disk that fails, again and again until the process ends, with a traceback each time.
    """
    descriptor = os.memfd_create("discarded") if hasattr(os, "memfd_create") else os.open(os.devnull, os.O_RDWR)
    try:
        os.dup2(descriptor, file.id.get_vfd_handle())
    finally:
        os.close(descriptor)


def _write_error(shown, error):
    number = getattr(error, "errno", None)
    reason = " ".join(str(os.strerror(number) if number else error).split())[:200]
    for number in (28, 30, 122):  # HDF5 wraps errno in its own message: ENOSPC, EROFS, EDQUOT
        if f"errno = {number}" in str(error):
            reason = os.strerror(number)
    return ImgretError(f"{shown} cannot be written: {reason}; what was there before is untouched")


@functools.cache
def _versions():
    import importlib.metadata  # slow to import, and not needed by whoever only reads

    found = {"imgret": __version__, "hdf5": h5py.version.hdf5_version}
    for name in LIBRARIES:
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            found[name] = importlib.metadata.version(name)
    return found
