"""Texts of older files, which are in libhdf5's global heap.

A few bytes can make that heap endless, and libhdf5 then walks it for ever, with the interpreter's lock in its hand, so that no signal is
heard. So it is read in a process of its own: one for all files, started when it is first needed, that may take some seconds of a CPU for
a file, and ends with this one. Time on the clock does not count, as a disk may be slow.
"""

import atexit
import contextlib
import fcntl
import json
import os
import resource
import signal
import subprocess
import sys
import threading
import time

import h5py

from imgret import importing
from imgret.errors import ImgretError
from imgret.store.opening import FAULTS, Datasets, open_file

SECONDS = 3  # of a CPU, for a file; a millisecond is usual
MEMORY = 1 << 30  # beside what a bare process has
TRIES = 2  # it may also be killed by others
CODE = importing.IMPORT + "from imgret.store.older import serve; serve()"


def texts(path, member, names, shown):
    """Some text attributes of a file, or of one of its datasets.

    Parameters
    ----------
    path : str or bytes
    member : str
        The dataset; '' for the file itself.
    names : list of str
        Those that are not there are left out.
    shown : str
        What the file is called in messages.

    Returns
    -------
    dict of str to str

    Raises
    ------
    ImgretError
        If they cannot be read, or not within bounds.
    """
    answer = _reader.ask({"path": os.path.abspath(os.fsdecode(path)), "shown": shown, "member": member, "names": names})
    if "texts" in answer:
        return answer["texts"]
    raise ImgretError(answer.get("error") or f"{shown} is damaged: HDF5 {answer['ended']} reading its attributes")


class _Reader:
    """The process, as this one sees it."""

    def __init__(self):
        self._lock, self._process = threading.Lock(), None

    def ask(self, request):
        """Its answer; where it ended every time, how it did: `ended`."""
        with self._lock:
            for _ in range(TRIES):
                process = self._process = self._process or _start()
                with contextlib.suppress(BrokenPipeError):
                    process.stdin.write(json.dumps(request | {"seconds": SECONDS, "parent": os.getpid()}).encode() + b"\n")
                    process.stdin.flush()
                line = process.stdout.readline()
                if line.endswith(b"\n"):
                    return json.loads(line)
                code = self.end()
                if code == -signal.SIGXCPU:
                    return {"ended": f"did not come to an end within {SECONDS} s of"}
            return {"ended": "ended the process that was"}

    def end(self):
        """Let it end; how it did."""
        process, self._process = self._process, None
        if process is None:
            return 0
        with contextlib.suppress(OSError):
            process.stdin.close()
        process.stdout.close()
        return process.wait()

    def forget(self):
        """In a copy of this process: the one that was started is the original's."""
        self._lock, self._process = threading.Lock(), None


_reader = _Reader()
atexit.register(_reader.end)
os.register_at_fork(after_in_child=_reader.forget)


def _start():
    return subprocess.Popen(
        [sys.executable, "-c", CODE],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        env=importing.environment(),
        start_new_session=True,  # Ctrl-C reaches the parent only
    )


def serve():
    """The process's side: ends with its input."""
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # what a library prints must not get into the answers
    signal.signal(signal.SIGIO, signal.SIG_DFL)
    _bound(resource.RLIMIT_CORE, 0)
    with contextlib.suppress(OSError), open("/proc/self/statm") as file:
        _bound(resource.RLIMIT_AS, int(file.read().split()[0]) * resource.getpagesize() + MEMORY)
    for line in sys.stdin.buffer:
        request = json.loads(line)
        _bound(resource.RLIMIT_CPU, int(time.process_time()) + 1 + request["seconds"])
        with _ending_with(request["parent"]):
            answer = _answer(request)
        answers.write(json.dumps(answer).encode() + b"\n")
        answers.flush()
    os._exit(0)


@contextlib.contextmanager
def _ending_with(parent):
    """Have the kernel end this process where its input ends meanwhile, which Python would not notice inside a library."""
    fcntl.fcntl(0, fcntl.F_SETOWN, os.getpid())
    flags = fcntl.fcntl(0, fcntl.F_GETFL)
    fcntl.fcntl(0, fcntl.F_SETFL, flags | fcntl.FASYNC)
    if os.getppid() != parent:
        os._exit(0)
    yield
    fcntl.fcntl(0, fcntl.F_SETFL, flags)


def _bound(what, limit):
    _, hard = resource.getrlimit(what)
    resource.setrlimit(what, (limit if hard == resource.RLIM_INFINITY else min(limit, hard), hard))


def _answer(request):
    shown = request["shown"]
    try:
        with open_file(os.fsencode(request["path"]), shown) as file:
            attributes = (Datasets(file, request["path"], shown).open(request["member"]) if request["member"] else file).attrs
            values = {name: _text(attributes, name) for name in request["names"]}
            return {"texts": {name: value for name, value in values.items() if value is not None}}
    except ImgretError as error:
        return {"error": str(error)}
    except FAULTS as error:
        return {"error": f"{shown} is damaged: {type(error).__name__}"}


def _text(attributes, name):
    if name not in attributes:
        return None
    attribute = attributes.get_id(name)
    text = isinstance(attribute.get_type(), h5py.h5t.TypeStringID) and attribute.shape == ()
    value = attributes[name] if text else None
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else value if isinstance(value, str) else None
