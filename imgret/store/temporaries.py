"""Temporary files and folders: named after the process that writes them, and swept when it is gone.

    tmp-<machine>-<pid>-<start>-<random>.h5

A process number means something within one PID namespace of one boot of one machine, which <machine> stands for, and until another
process is given it, which <start> tells apart. Whatever is of elsewhere, or cannot be judged, is left for a day: a folder of parts may
be shared by machines and containers that know nothing of each other's processes, and may even have one name.
"""

import contextlib
import functools
import hashlib
import os
import re
import secrets
import socket
import time

from imgret.store.erasing import remove

UNJUDGED_SECONDS = 24 * 3600  # what nothing is known of is swept after this
PREFIX = "tmp"
NAME = re.compile(r"(?:([0-9a-f]{16})-(\d+)-(\d+)|.*-\d+)-[0-9a-f]{8}\.h5")  # or an older imgret's: host and process number


def temporary_name(folder):
    """A name for a temporary file in `folder` that no other process takes and that tells whose it is."""
    return own_name(folder, PREFIX)


def own_name(folder, prefix):
    """The same with another beginning."""
    machine, start = _myself()
    return os.path.join(folder, f"{prefix}-{machine}-{os.getpid()}-{start}-{secrets.token_hex(4)}.h5")


def sweep(folder):
    """Remove temporary files of processes that are gone, and those that cannot be judged when they are a day old."""
    for path, alive, _ in judged(folder):
        if alive is False or (alive is None and not recent(path)):
            remove(path)


def sweep_of(folder, pids):
    """Remove the temporary files of processes that this one started and has just ended."""
    for path, alive, pid in judged(folder):
        if pid in pids and not alive:
            remove(path)


def quiet(folder):
    """Whether nothing in a folder, at any depth, is newer than a day or of a live process."""
    try:
        for top, folders, files in os.walk(folder, onerror=_raise):
            if any(alive for _, alive, _ in judged(top)) or any(recent(os.path.join(top, name)) for name in ("", *folders, *files)):
                return False
    except OSError:
        return False
    return True


def judged(folder, prefix=PREFIX):
    """Yield (path, whether its process is alive, the process's number) of each file that is named so; None for what cannot be told."""
    machine, _ = _myself()
    names = []
    with contextlib.suppress(OSError):
        names = os.listdir(folder)
    for name in names:
        beginning, _, rest = name.partition("-")
        if beginning == prefix and (match := NAME.fullmatch(rest)):
            here = match[1] == machine
            alive = _alive(int(match[2]), int(match[3])) if here else None
            yield os.path.join(folder, name), alive, int(match[2]) if here else None


def recent(path):
    """Whether a file is newer than a day; also of one that has just gone."""
    try:
        return time.time() - os.lstat(path).st_mtime < UNJUDGED_SECONDS
    except OSError:
        return True


@functools.cache
def boot():
    """What stands for this machine since it was started last; "" where that is not to be known."""
    with contextlib.suppress(OSError), open("/proc/sys/kernel/random/boot_id") as file:
        return file.read().strip()
    return ""


def _myself():
    """What this process's number belongs to, hashed, and when the process began; that is 0 where neither is to be known."""
    facts, start = [socket.gethostname()], 0
    with contextlib.suppress(OSError):
        if boot():
            facts += [boot(), os.readlink("/proc/self/ns/pid")]
            start = _start("self")
    with contextlib.suppress(OSError):
        facts.append(os.readlink("/proc/self/ns/time"))  # starts are told by its clock
    return hashlib.sha256("\n".join(facts).encode("utf-8", "surrogateescape")).hexdigest()[:16], start


def _alive(pid, start):
    """Whether the process of this number that began then still runs; None where that cannot be told."""
    if not start:
        return None
    try:
        os.kill(pid, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except OSError:
        pass  # it is another user's
    try:
        if os.readlink("/proc/self") != str(os.getpid()):
            return None  # /proc shows the processes of another namespace
        return _start(pid) == start
    except OSError:
        return None  # other users' processes may be hidden


def _start(process):
    """When a process began, in ticks since the machine did; -1 of one that has ended, and nobody has asked how."""
    with open(f"/proc/{process}/stat", "rb") as file:
        state, *fields = file.read().rpartition(b")")[2].split()
    return -1 if state in (b"Z", b"X") else int(fields[18])


def _raise(error):
    raise error
