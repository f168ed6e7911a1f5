"""Giving a finished file its name: never over what was not there, or was another file, when the command began."""

import contextlib
import errno
import os
import shutil

from imgret.paths import target
from imgret.store.erasing import remove
from imgret.store.temporaries import sweep, temporary_name

NO_REPLACE = 1  # of renameat2, see rename(2)
HERE = -100  # AT_FDCWD
UNKNOWN = (errno.EINVAL, errno.ENOSYS, errno.ENOTSUP, errno.EOPNOTSUPP)  # a file system or a kernel that does not know it
NO_LINKS = (*UNKNOWN, errno.EPERM, errno.EMLINK)


class Taken(Exception):  # noqa: N818 - what comes of it is for others to say
    """Another file is at the place now than when it was looked at."""


class Place:
    """Where a finished file goes.

    Parameters
    ----------
    path : str or bytes
        What a link points at is the place.

    Attributes
    ----------
    path : str or bytes
        The place, no link.
    """

    def __init__(self, path):
        self._named, self.path = path, target(path)
        self._backup, self._new, self._replaced = None, False, False
        self.look()

    def look(self):
        """Take what is there now for what may be replaced."""
        self._there = _identity(self.path)

    @property
    def changed(self):
        """Whether another file is there than when it was looked at, or none."""
        return _identity(self.path) != self._there

    def put(self, temporary, backup=None):
        """Rename a file that is whole to the place.

        Parameters
        ----------
        temporary : str or bytes
        backup : str or bytes, optional
            A name for what is replaced, for `undo`.

        Raises
        ------
        Taken
        OSError
        """
        if target(self._named) != self.path:
            raise Taken
        with _near(temporary, self.path) as whole:
            if _identity(self.path) is None:
                _rename(whole, self.path)
                self._new = True
            elif self.changed:
                raise Taken
            else:
                self._keep(backup)
                os.replace(whole, self.path)
                self._replaced = True

    def _keep(self, backup):
        if backup is not None:
            with contextlib.suppress(OSError):  # where no file may have two names there is no way back
                os.link(self.path, backup)
                self._backup = backup

    def undo(self):
        """Bring back what was there before `put`; whether that could be done."""
        try:
            if self._new:
                os.unlink(self.path)
            elif self._replaced and self._backup is not None:
                os.replace(self._backup, self.path)
            else:
                return not self._replaced
        except OSError:
            return False
        return True

    def settle(self):
        """Let go of what was replaced."""
        if self._backup is not None:
            remove(self._backup)


@contextlib.contextmanager
def _near(temporary, path):
    """The file on the file system of its place: a copy beside that, where parts are kept elsewhere."""
    folder = os.path.dirname(path) or os.curdir
    if os.stat(temporary).st_dev == os.stat(folder).st_dev:
        yield temporary
        return
    sweep(folder)
    copy = temporary_name(folder)
    try:
        shutil.copyfile(temporary, copy)
        with open(copy, "rb") as file:
            os.fsync(file.fileno())
        yield copy
        remove(temporary)
    finally:
        remove(copy)


def _identity(path):
    """What tells a file from another, and from itself after a change; None where there is none."""
    try:
        status = os.lstat(path)
    except OSError:
        return None
    return status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns


def _rename(temporary, final):
    """Rename where nothing is: in one step, as far as the file system lets that be.

    Raises
    ------
    Taken
    OSError
    """
    try:
        try:
            _rename_no_replace(temporary, final)
        except OSError as error:
            if error.errno not in UNKNOWN:
                raise
            _link(temporary, final)
    except FileExistsError:
        raise Taken from None


def _rename_no_replace(temporary, final):
    import ctypes

    try:
        renameat2 = ctypes.CDLL(None, use_errno=True).renameat2
    except (OSError, AttributeError):
        raise OSError(errno.ENOSYS, os.strerror(errno.ENOSYS)) from None
    if renameat2(HERE, os.fsencode(temporary), HERE, os.fsencode(final), NO_REPLACE):
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number), final)


def _link(temporary, final):
    """The same by a second name, which is refused where there is a file; by a look and a rename where no file may have two."""
    try:
        os.link(temporary, final, follow_symlinks=False)
        os.unlink(temporary)
    except OSError as error:
        if error.errno not in NO_LINKS:
            raise
        if os.path.lexists(final):
            raise Taken from None
        os.rename(temporary, final)
