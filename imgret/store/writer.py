"""Writing stores: to a temporary file, streamed; attributes last; fsync; then one atomic rename."""

import contextlib
import datetime
import errno
import os

import h5py
import numpy as np

from imgret.errors import ImgretError, why
from imgret.store import layout
from imgret.store.columns import ColumnWriter, TextWriter, fixed
from imgret.store.disk import DiskFile
from imgret.store.hashing import canonical, checksums_of_json, content_of, of_array, of_json
from imgret.store.text import Texts
from imgret.store.versions import MadeBy

NO_FSYNC = (errno.EINVAL, errno.ENOSYS, errno.ENOTSUP)  # of a folder, in some network file systems


class NotDurable(ImgretError):
    """What was written has its name, and the disk does not say that it will keep it."""


class Writer:
    """A store in the making, in a temporary file; `publish` gives it its name.

    A context manager: leaving it without `publish` or `keep` removes the file.

    Parameters
    ----------
    temporary : str or bytes
    shown : str, optional
        What it is called in messages: the output that it is to be, where that is known.

    Raises
    ------
    ImgretError
        Whenever the disk does not take what is written.
    """

    def __init__(self, temporary, shown=None):
        self.temporary = temporary
        self.shown = shown or os.fsdecode(temporary)
        self.fingerprint = ""  # of a kind that holds photos: to be set before `finish`
        self.photos = None  # the `Sameness` of the photos that it is about, where it is about any
        self.made_by = MadeBy()
        self._columns, self._kept = [], False
        try:
            self._disk = DiskFile(temporary)
        except OSError as error:
            raise write_error(self.shown, error) from None
        self._file = h5py.File(self._disk, "w", locking=False)

    def __enter__(self):
        return self

    def __exit__(self, kind, error, trace):
        failed = self._disk.error
        self.discard()
        if isinstance(error, (OSError, RuntimeError, ValueError)) and isinstance(failed, OSError):  # what came of it in libhdf5
            raise write_error(self.shown, failed) from None

    def discard(self):
        """Close and remove the temporary file, if it is still there."""
        self._disk.give_up()
        with contextlib.suppress(OSError, RuntimeError, ValueError):
            self._file.close()
        self._disk.close(durable=False)
        if not self._kept:
            with contextlib.suppress(OSError):
                os.unlink(self.temporary)

    def check(self):
        """Raise what the disk said, if it could not be written to.

        Raises
        ------
        ImgretError
        """
        self._check(self.shown)

    def _check(self, shown):
        error = self._disk.error
        if error is not None:
            raise write_error(shown, error) if isinstance(error, OSError) else error

    def column(self, path, row_shape, dtype, total=None, attributes=None):
        """A new column to append to; see `ColumnWriter`."""
        writer = ColumnWriter(self._file, self.check, path, row_shape, dtype, total, attributes)
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
        checksums |= {f"#{column.path}": column.blocks for column in self._columns if column.blocks}
        checksums |= {f"#{column.path}.{name}": of_json(value) for column in self._columns for name, value in column.attributes.items()}
        group = self._file.create_group(layout.PIPELINE_GROUP)
        for digest, array in sorted((arrays or {}).items()):
            if of_array(array) != digest:
                raise ValueError("a pipeline array is not named by its hash")
            group.create_dataset(digest, data=array, fill_time="never")
            self.check()
        values = {"params": params, "inputs": list(inputs), "pipeline": pipeline, "info": info or {}}
        if facts:
            values["facts"] = facts
        checksums |= checksums_of_json(values)
        content, version = content_of(layout.ALL_KINDS[kind], checksums, list(arrays or {})), layout.ALL_KINDS[kind].version
        texts = {
            "kind": kind,
            "created": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
            "recipe": recipe,
            "fingerprint": self.fingerprint,
        }
        made_by = {"generated_by": self.made_by.generated_by}
        photos = {} if self.photos is None else {"photos": str(self.photos)}  # older files have none, and a checksum without
        checksums["#"] = of_json(texts | photos | made_by | {"schema_version": version})
        self._write_documents(values | made_by | {"checksums": checksums})
        attributes = self._file.attrs
        attributes["schema_version"] = version
        for name, value in (texts | {"photos": ""} | photos | {"content": content, "format": layout.FORMAT}).items():
            attributes.create(name, **fixed(value))
        return content

    def _write_documents(self, values):
        group = self._file.create_group(layout.META_GROUP)
        for name, value in values.items():
            group.create_dataset(name, data=np.frombuffer(canonical(value).encode(), np.uint8), fill_time="never")

    def publish(self, final, put=None):
        """Make it durable and give it its name, in one atomic step.

        Parameters
        ----------
        final : str or bytes
        put : callable, optional
            See `rename`.

        Raises
        ------
        ImgretError
        """
        self._close(os.fsdecode(final))
        try:
            rename(self.temporary, final, put)
        except OSError as error:
            raise write_error(os.fsdecode(final), error) from None

    def keep(self):
        """Make it durable under the name that it has: that of its folder is temporary.

        Raises
        ------
        ImgretError
        """
        self._close(self.shown)
        self._kept = True

    def _close(self, shown):
        self._file.close()
        self._disk.close(durable=True)
        self._check(shown)


def publish(temporary, final, put=None):
    """fsync `temporary`, rename it to `final`, fsync the folder; see `rename`."""
    fsync(temporary)
    rename(temporary, final, put)


def rename(temporary, final, put=None):
    """Give a file or folder that is on the disk its name, and have that on the disk as well.

    Parameters
    ----------
    temporary, final : str or bytes
    put : callable, optional
        `put(temporary, final)` gives the name; `os.replace` without it.

    Raises
    ------
    OSError
        If it does not get its name.
    NotDurable
        If it has its name, and that is not on the disk.
    """
    (put or os.replace)(temporary, final)
    try:
        fsync(os.path.dirname(final) or ".")
    except FileNotFoundError:
        raise  # the folder has gone meanwhile, and the file with it
    except OSError as error:
        raise NotDurable(f"{os.fsdecode(final)} is in its place, whole, but may not survive a power failure: {why(error)}") from None


def fsync(path):
    """Flush a file or a folder to the disk; a folder only where its file system knows how."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno not in NO_FSYNC or not os.path.isdir(path):
            raise
    finally:
        os.close(descriptor)


def write_error(shown, error):
    """What is said of a file that could not be written, as an `ImgretError`; `error` is an OSError."""
    return ImgretError(f"{shown} cannot be written: {why(error)}; what was there before is untouched")
