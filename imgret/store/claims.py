"""Claims: who is at work in a folder of parts, known by a file there that its owner holds a lock on as long as it lives.

    own-<machine>-<pid>-<start>-<random>.h5

A lock goes with its process, however that ends, and shows from any container of the machine. Where the file system has no locks, or
keeps those of other machines to itself, the process is looked for as that of a temporary file is, and what cannot be judged counts for
a day. A folder goes when the last claim on it does: removing one that is not empty fails.
"""

import contextlib
import fcntl
import os

from imgret.store.erasing import remove
from imgret.store.temporaries import boot, judged, own_name, recent

PREFIX = "own"
READ = 100  # bytes


class Claim:
    """This process's claim on a folder, until `release`.

    Raises
    ------
    OSError
        If the folder is not there, or cannot be written to.
    """

    def __init__(self, folder):
        self.path = own_name(folder, PREFIX)
        self._file = open(self.path, "x+b", buffering=0)  # noqa: SIM115 - its lock is held as long as it is open
        with contextlib.suppress(OSError):
            fcntl.flock(self._file, fcntl.LOCK_EX)
        self.plan(0)

    def plan(self, number):
        """Say which plan is worked by."""
        with contextlib.suppress(OSError):
            self._file.truncate(0)
            os.pwrite(self._file.fileno(), f"{boot()} {number}\n".encode(), 0)

    def release(self):
        """Give it up."""
        with contextlib.suppress(OSError):
            os.unlink(self.path)
        with contextlib.suppress(OSError):
            self._file.close()


def claimed(folder, plan=None, but=None):
    """Whether a process that lives has a claim on a folder.

    Parameters
    ----------
    folder : str or bytes
    plan : int, optional
        Or on one of its plans: as far as it says so, any otherwise.
    but : Claim, optional
        One that does not count.
    """
    own = None if but is None else but.path
    return any(alive and path != own and (plan is None or number in (0, plan)) for path, alive, number in _claims(folder))


def sweep_claims(folder):
    """Remove the claims of processes that are gone."""
    for path, alive, _ in _claims(folder):
        if not alive:
            remove(path)


def abandoned(folder):
    """Whether there is nothing in a folder but claims of processes that are gone."""
    gone = [os.path.basename(path) for path, alive, _ in _claims(folder) if not alive]
    try:
        return bool(gone) and sorted(gone) == sorted(os.listdir(folder))
    except OSError:
        return False


def _claims(folder):
    """Yield (path, whether it counts, the plan's number) of each claim; 0 where no plan is named."""
    for path, alive, _ in judged(folder, PREFIX):
        number = ""
        with contextlib.suppress(OSError), open(path, "rb", buffering=0) as file:
            where, _, number = file.read(READ).decode("ascii", "replace").strip().partition(" ")
            locked = _locked(file)
            if locked or (locked is False and boot() and where == boot()):
                alive = locked
        yield path, recent(path) if alive is None else alive, int(number) if number.isdecimal() else 0


def _locked(file):
    """Whether a file is locked; None where that cannot be told."""
    try:
        fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:
        return None
    return False
