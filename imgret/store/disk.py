"""A file as libhdf5 sees it while a store is written: nothing that the disk does is a failure to libhdf5.

libhdf5 does not survive a flush or a close that fails: what it could not write it writes again, until the process ends by a signal. So
the file is ours. It notes the first error, takes what is written afterwards for written, and leaves it to `Writer` to ask.
"""

import errno
import os

KEPT_BYTES = 1 << 20  # of a write that was not done: libhdf5 reads its own metadata again, and no rows


class DiskFile:
    """A new file, for `h5py.File`.

    Parameters
    ----------
    path : str or bytes or int
        A new file's, or the descriptor of an empty one, which stays open.

    Attributes
    ----------
    error : BaseException or None
        What went wrong first. Nothing has reached the disk since.

    Raises
    ------
    OSError
        If it cannot be made.
    """

    def __init__(self, path):
        self.error = None
        self._descriptor = os.dup(path) if isinstance(path, int) else os.open(path, os.O_RDWR | os.O_CREAT | os.O_TRUNC, 0o666)
        self._at = self._end = 0
        self._dropped = []

    def seek(self, offset, whence=os.SEEK_SET):
        """Go to a place in the file."""
        self._at = offset + (0, self._at, self._end)[whence]
        return self._at

    def tell(self):
        """The place in the file."""
        return self._at

    def write(self, data):
        """Write all of `data`, or note why not."""
        if not self._try(self._write, data) and len(data) <= KEPT_BYTES:
            self._dropped.append((self._at, bytes(data)))
        self._at += len(data)
        self._end = max(self._end, self._at)
        return len(data)

    def _write(self, data):
        view, at = memoryview(data), self._at
        while view:
            done = os.pwrite(self._descriptor, view, at)
            if not done:
                raise OSError(errno.EIO, os.strerror(errno.EIO))
            view, at = view[done:], at + done

    def readinto(self, buffer):
        """Read what was written, also what did not reach the disk; zeros where nothing was."""
        view = memoryview(buffer)
        view[:] = bytes(len(view))
        self._try(self._readinto, view, always=True)
        for at, data in self._dropped:
            first, last = max(at, self._at), min(at + len(data), self._at + len(view))
            if first < last:
                view[first - self._at : last - self._at] = data[first - at : last - at]
        self._at += len(view)
        return len(view)

    def read(self, size=-1):
        """Read `size` bytes; h5py knows by this that it is a file."""
        data = bytearray(self._end - self._at if size < 0 else size)
        self.readinto(data)
        return bytes(data)

    def _readinto(self, view):
        at = self._at
        while view and (done := os.preadv(self._descriptor, [view], at)):
            view, at = view[done:], at + done

    def truncate(self, size):
        """Let it end at `size`."""
        if size != self._end:
            self._try(os.ftruncate, self._descriptor, size)
            self._end = size

    def flush(self):
        """Nothing is held back."""

    def give_up(self):
        """Nothing reaches the disk any more."""
        self.error = self.error or OSError(errno.ECANCELED, os.strerror(errno.ECANCELED))

    def close(self, durable=False):
        """Close it; with `durable`, when all of it is on the disk. A second time does nothing."""
        descriptor, self._descriptor = self._descriptor, None
        if descriptor is not None:
            if durable:
                self._try(os.fsync, descriptor)
            self._try(os.close, descriptor, always=True)  # NFS tells here that there is no room

    def _try(self, call, *arguments, always=False):
        """Call it, unless something went wrong before; whether that was done."""
        if self.error is not None and not always:
            return False
        try:
            call(*arguments)
            return True
        except BaseException as error:  # noqa: BLE001 - Ctrl-C too: libhdf5 must not see it
            self.error = self.error or error
            return False
