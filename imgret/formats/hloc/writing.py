"""Global descriptors as hloc's extraction writes them: a group for each image, with `global_descriptor` and `image_size`."""

import contextlib
import tempfile

import h5py
import numpy as np

from imgret.errors import ImgretError
from imgret.names import shown
from imgret.store.disk import DiskFile

BLOCK = 1 << 20  # bytes given at once
RESERVED = (b"global_descriptor", b"image_size")


def global_descriptors(rows, folder):
    """Yield the bytes of a file, the same for the same rows and versions of HDF5.

    Parameters
    ----------
    rows : iterable of (bytes, ndarray of shape (V,), sequence of int)
        Name, vector, width and height (0 where they are not known) of each image.
    folder : str
        Where the file is made before it is given, without a name: its bytes are known when it is whole.

    Yields
    ------
    bytes

    Raises
    ------
    ImgretError
        For a name that no group can have.
    OSError
        If the disk does not take it.
    """
    with tempfile.TemporaryFile(dir=folder) as made:
        disk = DiskFile(made.fileno())
        with contextlib.closing(disk), h5py.File(disk, "w", track_order=False) as file:
            for name, vector, size in rows:
                _check(name)
                group = file.create_group(name)
                group.create_dataset("global_descriptor", data=vector)
                if min(size) > 0:
                    group.create_dataset("image_size", data=np.asarray(size, np.int64))
        if disk.error is not None:
            raise disk.error
        while block := made.read(BLOCK):
            yield block


def _check(name):
    parts = name.split(b"/")
    if b"" in parts or b"." in parts or b"\0" in name or any(part in RESERVED for part in parts):
        raise ImgretError(
            f"the name {shown(name)} cannot be that of a group in a file of hloc: name photos relative to a folder (extract --root)"
        )
