"""Opening files and their datasets. A file may come from a stranger: nothing is believed before it is checked.

A column must be stored contiguously (or in unfiltered chunks) inside the file itself, all of it, so its size is bounded by the
file's; external storage, virtual datasets, soft and external links are refused.
"""

import contextlib
import math
import os

import h5py

from imgret.errors import ImgretError, quoted

# what h5py raises about a damaged file
FAULTS = (OSError, KeyError, ValueError, TypeError, RuntimeError, RecursionError, MemoryError)
LAYOUTS = (h5py.h5d.CONTIGUOUS, h5py.h5d.CHUNKED, h5py.h5d.COMPACT)


def open_file(path, shown):
    """An `h5py.File`, for reading; `shown` is what it is called in messages.

    Raises
    ------
    ImgretError
        If it cannot be opened.
    """
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
        raise ImgretError(f"{shown} cannot be read: {reason(error)}") from None


def close_file(file):
    """Close a file that was read: that the system calls that a failure, as NFS may, is of no consequence."""
    with contextlib.suppress(OSError, RuntimeError):
        file.close()


class Datasets:
    """The datasets of an open file.

    Parameters
    ----------
    file : h5py.File
    path : str or bytes
        Where it is.
    shown : str
        What it is called in messages.
    """

    # h5py's low-level calls: a store is opened for every part of a step, and the others take several times as long

    def __init__(self, file, path, shown):
        self.shown = shown
        self._file_size, self._groups = os.stat(path).st_size, {"": file.id}

    def __contains__(self, path):
        """Whether there is something of this name, whatever it is."""
        folder, _, name = path.rpartition("/")
        if folder and folder not in self:
            return False
        group = self._group(folder)
        return isinstance(group, h5py.h5g.GroupID) and group.links.exists(name.encode())

    def names(self, group):
        """What there is in a group, in byte order.

        Raises
        ------
        ImgretError
            If there is no such group.
        """
        opened = self._group(group)
        if not isinstance(opened, h5py.h5g.GroupID):
            raise ImgretError(f"{self.shown} is damaged: '{quoted(group)}' is no group")
        return sorted(name.decode("utf-8", "surrogateescape") for name in opened)

    def open(self, path):
        """A dataset.

        Raises
        ------
        ImgretError
            If there is none, or one that imgret does not write.
        """
        folder, _, name = path.rpartition("/")
        opened = self._member(self._group(folder), name, path)
        if not isinstance(opened, h5py.h5d.DatasetID):
            raise ImgretError(f"{self.shown} is damaged: '{quoted(path)}' is no dataset")
        plist, size = opened.get_create_plist(), opened.get_storage_size()
        if plist.get_external_count() or plist.get_nfilters() or plist.get_layout() not in LAYOUTS:
            raise ImgretError(
                f"{self.shown}: '{quoted(path)}' is compressed, virtual or outside the file; imgret does not write such columns"
            )
        dtype = opened.dtype
        if dtype.kind not in "uif" or dtype.itemsize * math.prod(opened.shape) > size or size > self._file_size:
            raise ImgretError(f"{self.shown} is damaged: '{quoted(path)}' is not all there")
        return h5py.Dataset(opened)

    def _group(self, path):
        if path not in self._groups:
            folder, _, name = path.rpartition("/")
            self._groups[path] = self._member(self._group(folder), name, path)
        return self._groups[path]

    def _member(self, group, name, path):
        """What a hard link leads to, open; no other link is followed."""
        name = name.encode("utf-8", "surrogateescape")
        try:
            hard = isinstance(group, h5py.h5g.GroupID) and group.links.get_info(name).type == h5py.h5l.TYPE_HARD
        except (KeyError, RuntimeError):  # there is none, or it is damaged
            hard = False
        if not hard:
            raise ImgretError(f"{self.shown} is damaged: it has no column '{quoted(path)}'")
        return h5py.h5o.open(group, name)


def reason(error):
    """What an exception of a library says, in a message."""
    return quoted(" ".join(str(error).split()), 200)
