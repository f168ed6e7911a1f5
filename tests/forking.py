"""Processes forked where what they import is loaded already: workers of the tests' own process, and commands that are killed.

A fresh interpreter that imports NumPy, OpenCV and HDF5, let alone PyTorch, costs many times what it does to a few small photos. So one such
interpreter is kept, in which nothing has been done but importing, and a process is a copy of it: a child of the one that asks for it, with
the environment, the folder and the streams it would have been started with. What `helpers.run` runs starts as for a user, and so do its
workers; so does a worker here whose environment says something to the interpreter.
"""

import contextlib
import ctypes
import gc
import hashlib
import importlib
import inspect
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
import traceback
import types

from imgret import importing
from imgret.codebooks import CODEBOOKS
from imgret.encoders import ENCODERS
from imgret.extractors import EXTRACTORS
from imgret.indexes import INDEXES
from imgret.rerankers import RERANKERS
from imgret.runs import workers

FAMILIES = (EXTRACTORS, CODEBOOKS, ENCODERS, INDEXES, RERANKERS)
STEPS = ("extract", "codebook", "encode", "index", "search", "rerank")
COMMANDS = ("imgret.__main__", "imgret.cli.main", *(f"imgret.{part}.{step}" for step in STEPS for part in ("cli", "stages")))
WORKERS = ("imgret.runs.describing", "imgret.inputs.photoqueries")
TORCH = ("torchvision", *(f"imgret.networks.{module}" for module in ("backbones.network", "state_dicts", "weights")))
PHOTOS = tuple(f"PIL.{form}ImagePlugin" for form in ("Bmp", "Gif", "Jpeg", "Png", "Ppm"))
LATE = ("faiss", "cv2", "csv", "email.parser", "importlib.metadata", "PIL.ImageSequence", *PHOTOS)
SERVE = "from imgret.runs import workers; workers.serve()"
NAME, SUBREAPER = 15, 36  # of prctl: what a process is called; whose child one becomes that has lost its parent


class Kept:
    """The interpreter that processes are copies of, begun when the first is asked for.

    Parameters
    ----------
    socket : socket.socket, optional
        Where one is asked that has been begun.
    """

    def __init__(self, socket=None):
        self.lock, self.process, self.socket, self.torch = threading.Lock(), None, socket, False
        self.environment = workers.MEMORY | importing.environment()

    def begin(self, torch):
        """Begin it anew, with PyTorch."""
        self.end()
        self.socket, its = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with its:
            here = os.path.dirname(os.path.abspath(__file__))
            code = f"{importing.IMPORT}sys.path.append({here!r}); import forking; sys.path.pop(); forking.serve({its.fileno()}, {torch})"
            self.torch = torch
            self.process = subprocess.Popen(
                [sys.executable, "-c", code], env=self.environment, pass_fds=[its.fileno()], start_new_session=True
            )

    def end(self):
        """End it; what it was copied to goes on."""
        if self.process is not None:
            self.socket.close()
            self.process.kill()
            self.process.wait()
            self.process = None

    def takes(self, environment):
        """Whether a worker with this environment would find the interpreter as it is."""
        return _to_the_interpreter(environment) == _to_the_interpreter(self.environment)

    def fork(self, asked, streams, torch=False):
        """A copy that does what is asked; its process id."""
        with self.lock:
            if self.socket is None or (torch and self.process is not None and not self.torch):
                self.begin(torch)
            answer, told = os.pipe()
            folder = os.open(".", os.O_RDONLY | os.O_DIRECTORY)
            mask = [int(number) for number in signal.pthread_sigmask(signal.SIG_BLOCK, ())]
            request = json.dumps(asked | {"mask": mask, "parent": os.getpid()}).encode()
            with _adopting(), open(answer, "rb") as answers:
                socket.send_fds(self.socket, [request], [*streams, folder, told])
                os.close(folder)
                os.close(told)
                return int(answers.readline())


def _to_the_interpreter(environment):
    """Not LD_LIBRARY_PATH, which OpenCV sets where it is imported; nor that the package is on its path, as it is loaded."""
    places = [place for place in environment["PYTHONPATH"].split(os.pathsep) if place != importing.PACKAGE]
    return {name: value for name, value in environment.items() if name.startswith(("PYTHON", "LD_PRELOAD", "MALLOC"))} | {
        "PYTHONPATH": places
    }


@contextlib.contextmanager
def _adopting():
    """What loses its parent meanwhile becomes a child of this process."""
    prctl = ctypes.CDLL(None).prctl
    prctl(SUBREAPER, 1)
    try:
        yield
    finally:
        prctl(SUBREAPER, 0)


class Forked(subprocess.Popen):
    """A process that is forked, where `subprocess.Popen` starts one.

    Parameters
    ----------
    kept : Kept
    code : str
        What it does.
    arguments : sequence of str
        Its `sys.argv`, but for the first.
    torch : bool
        Whether it should have PyTorch loaded.
    name : str
        What it is called: at most 15 characters.
    **streams
        As `subprocess.Popen` takes them, and `env`.
    """

    def __init__(self, kept, code, arguments=(), torch=False, name="", **streams):
        self.kept, self.code, self.torch, self.name = kept, code, torch, name
        super().__init__(["imgret", *arguments], **streams)

    def _execute_child(self, *given):
        given = inspect.signature(subprocess.Popen._execute_child).bind(self, *given).arguments
        asked = {"code": self.code, "arguments": given["args"], "environment": given["env"], "name": self.name}
        ends = [given[name] for name in ("p2cread", "c2pwrite", "errwrite")]
        streams = [stream if end == -1 else end for stream, end in enumerate(ends)]
        self.pid = self.kept.fork(asked | {"session": given["start_new_session"]}, streams, self.torch)
        self._child_created = True
        self._close_pipe_fds(*(given[name] for name in ("p2cread", "p2cwrite", "c2pread", "c2pwrite", "errread", "errwrite")))


kept = Kept()


def begin():
    """From now on, workers of this process are forked, on Linux."""
    if sys.platform == "linux":
        fork_workers(kept)


def end():
    """Leave no process."""
    kept.end()


def fork_workers(kept, any_environment=False):
    """From now on, this process's workers are forked."""

    class Process(workers.Process):
        def __init__(self, worker, setup, shared=()):
            def start(command, env, **options):
                if not shared and (any_environment or kept.takes(env)):
                    return Forked(kept, SERVE, torch='"cnn"' in json.dumps(setup), name=_name(), env=env, **options)
                return subprocess.Popen(command, env=env, **options)

            workers.subprocess = types.SimpleNamespace(Popen=start, PIPE=subprocess.PIPE)
            super().__init__(worker, setup, shared)

    workers.Process = Process


def named(folder):
    """What processes are called that belong to a folder."""
    return hashlib.sha256(os.fsencode(folder)).hexdigest()[:15]


def _name():
    with open("/proc/self/comm") as file:
        return file.read().rstrip("\n")


def serve(descriptor, torch):
    """The kept interpreter's side."""
    asking = socket.socket(fileno=descriptor)
    places = {place.partition(":")[0] for table in FAMILIES for place in table.values()}
    for module in (*(TORCH if torch else ()), *sorted(places), *WORKERS, *COMMANDS, *LATE):
        importlib.import_module(module)
    gc.freeze()
    _copy(asking)


def _copy(asking):
    """Answer each request with a copy, until nobody asks any more."""
    while True:
        data, descriptors, *_ = socket.recv_fds(asking, 1 << 20, 5)
        if not data:
            os._exit(0)
        between = os.fork()
        if not between:
            between = os.getpid()
            if os.fork():
                os._exit(0)
            asking.close()
            _become(json.loads(data), between, *descriptors)
        os.waitpid(between, 0)
        for given in descriptors:
            os.close(given)


def _become(asked, between, *descriptors):
    """Be what is asked for, in this copy; never returns."""
    code = 1
    try:
        *streams, folder, told = descriptors
        while os.getppid() == between:
            time.sleep(1e-4)
        if os.getppid() != asked["parent"]:
            os._exit(1)  # it has been killed
        if asked["session"]:
            os.setsid()
        else:
            fork_workers(Kept(_own()), True)
        ctypes.CDLL(None).prctl(NAME, asked["name"].encode())
        os.fchdir(folder)
        os.environ.clear()
        os.environ.update(asked["environment"])
        for stream, given in enumerate(streams):
            os.dup2(given, stream)
        for given in (*streams, folder):
            os.close(given)
        sys.stdin, sys.stdout, sys.stderr = (open(stream, mode, closefd=False) for stream, mode in enumerate("rww"))
        sys.argv = asked["arguments"]
        os.write(told, f"{os.getpid()}\n".encode())
        os.close(told)
        _customize()
        signal.pthread_sigmask(signal.SIG_SETMASK, asked["mask"])
        exec(asked["code"], {"__name__": "__main__"})
        code = 0
    except SystemExit as end:
        code = end.code or 0
    except BaseException:  # noqa: BLE001 - as at the end of any interpreter
        traceback.print_exc()
    finally:
        with contextlib.suppress(OSError, ValueError):
            sys.stdout.flush()
            sys.stderr.flush()
        os._exit(code)


def _own():
    """A process of which a command's workers are copies, which has done as little as this one by now; where to ask it."""
    ours, its = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    if not os.fork():
        ours.close()
        _copy(its)
    its.close()
    return ours


def _customize():
    """Have the first `sitecustomize` that PYTHONPATH names, as an interpreter has when it starts."""
    for place in os.environ.get("PYTHONPATH", "").split(os.pathsep):
        with contextlib.suppress(FileNotFoundError), open(os.path.join(place, "sitecustomize.py")) as file:
            exec(compile(file.read(), "sitecustomize", "exec"), {"__name__": "sitecustomize"})
            return
