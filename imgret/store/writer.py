"""Writing stores: to a temporary file, streamed; attributes last; fsync; then one atomic rename."""

import contextlib
import datetime
import functools
import os

import h5py
import numpy as np

from imgret import __version__
from imgret.errors import ImgretError
from imgret.store import layout
from imgret.store.columns import ColumnWriter, TextWriter, fixed
from imgret.store.hashing import canonical, checksums_of_json, content_of, of_array
from imgret.store.text import Texts

CORE = ("numpy", "h5py", "opencv-contrib-python", "opencv-contrib-python-headless", "faiss-cpu", "pillow")
LIBRARIES = (*CORE, "torch", "torchvision", "scikit-image")


class Writer:
    """A store in the making, in a temporary file; `publish` gives it its name.

    A context manager: leaving it without `publish` removes the temporary file.
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

    def finish(self, kind, *, recipe, params, inputs=(), pipeline=None, arrays=None, info=None, facts=None):
        """Write what is pending, then the pipeline, the JSON and the root attributes, of which the last makes it a store.

        Parameters
        ----------
        kind : str
        recipe : str
        params, inputs, pipeline, info : JSON values
        arrays : dict of str to ndarray, optional
            The pipeline's arrays by hash.
        facts : dict, optional
            What reading the columns takes besides, as JSON: unlike `info`, part of `content`.

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
        if facts:
            values["facts"] = facts
        checksums |= checksums_of_json(values)
        content = content_of(layout.ALL_KINDS[kind], checksums, list(arrays or {}))
        self._write_documents(values | {"generated_by": _versions(), "checksums": checksums})
        texts = {
            "kind": kind,
            "created": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
            "recipe": recipe,
            "content": content,
            "fingerprint": self.fingerprint,
            "format": layout.FORMAT,
        }
        attributes = self._file.attrs
        attributes["schema_version"] = layout.ALL_KINDS[kind].version
        for name, value in texts.items():
            attributes.create(name, **fixed(value))
        return content

    def _write_documents(self, values):
        group = self._file.create_group(layout.META_GROUP)
        for name, value in values.items():
            text = np.frombuffer(canonical(value).encode(), np.uint8)
            self._kept.append(group.create_dataset(name, data=text, fill_time="never"))

    def publish(self, final):
        """Make it durable and give it its name, in one atomic step."""
        with _explained(os.fsdecode(final)):
            self._file.flush()  # what fails does so here, where the file can still be discarded
            self._file.close()
            publish(self.temporary, final)
            self._published = True


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
