"""Workers of steps that run in the tests' own process, forked where what they import is loaded already.

A fresh interpreter that imports NumPy, OpenCV and HDF5, let alone PyTorch, costs many times what a worker does to a few small photos. So
one such interpreter is kept, in which nothing has been done but importing, and a worker is a copy of it: a process of its own, a child of
the tests' process, with the environment, the folder and the streams it would have been started with. Steps that are run as commands
start their workers themselves, as for a user; so do those here whose environment says something to the interpreter.
"""

import contextlib
import ctypes
import gc
import importlib
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
import types

from imgret import importing
from imgret.codebooks import CODEBOOKS
from imgret.encoders import ENCODERS
from imgret.extractors import EXTRACTORS
from imgret.indexes import INDEXES
from imgret.rerankers import RERANKERS
from imgret.runs import workers

FAMILIES = (EXTRACTORS, CODEBOOKS, ENCODERS, INDEXES, RERANKERS)
STEPS = ("imgret.runs.describing", "imgret.stages.encode", "imgret.inputs.photoqueries", "imgret.stages.rerank")
LATE = ("cv2", "csv", "email.parser", "importlib.metadata", "PIL.ImageSequence", "PIL.JpegImagePlugin", "PIL.PngImagePlugin")  # by them
TO_THE_INTERPRETER = ("PYTHON", "LD_", "MALLOC")
SUBREAPER = 36  # PR_SET_CHILD_SUBREAPER: whose child a process becomes that has lost its parent


class Kept:
    """The interpreter that workers are copies of, begun when the first is asked for."""

    def __init__(self):
        self.lock, self.process, self.socket, self.torch, self.environment = threading.Lock(), None, None, False, None

    def begin(self, torch):
        """Begin it anew, with PyTorch."""
        self.end()
        self.socket, its = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with its:
            here = os.path.dirname(os.path.abspath(__file__))
            code = f"{importing.IMPORT}sys.path.append({here!r}); import forking; sys.path.pop(); forking.serve({its.fileno()}, {torch})"
            self.environment, self.torch = workers.MEMORY | importing.environment(), torch
            self.process = subprocess.Popen(
                [sys.executable, "-c", code], env=self.environment, pass_fds=[its.fileno()], start_new_session=True
            )

    def end(self):
        """Let it end."""
        if self.process is not None:
            self.socket.close()
            self.process.wait()
            self.process = None

    def fork(self, environment, torch):
        """A worker with this environment; `Forked`, or None where it has to be started."""
        with self.lock:
            if self.process is None or (torch and not self.torch):
                self.begin(torch)
            if to_the_interpreter(environment) != to_the_interpreter(self.environment):
                return None
            (stdin, ours), (theirs, stdout) = os.pipe(), os.pipe()
            folder = os.open(".", os.O_RDONLY | os.O_DIRECTORY)
            mask = [int(number) for number in signal.pthread_sigmask(signal.SIG_BLOCK, ())]
            asked = {"environment": environment, "mask": mask, "parent": os.getpid()}
            with adopting():
                socket.send_fds(self.socket, [json.dumps(asked).encode()], [stdin, stdout, 2, folder])
                pid = int(self.socket.recv(64))
            for given in (stdin, stdout, folder):
                os.close(given)
            return Forked(pid, open(ours, "wb"), open(theirs, "rb"))


def to_the_interpreter(environment):
    """What an environment says to it; that the package itself is on its path makes no difference, as it is loaded."""
    places = [place for place in environment["PYTHONPATH"].split(os.pathsep) if place != importing.PACKAGE]
    return {name: value for name, value in environment.items() if name.startswith(TO_THE_INTERPRETER)} | {"PYTHONPATH": places}


@contextlib.contextmanager
def adopting():
    """What loses its parent meanwhile becomes a child of this process."""
    prctl = ctypes.CDLL(None).prctl
    prctl(SUBREAPER, 1)
    try:
        yield
    finally:
        prctl(SUBREAPER, 0)


class Forked:
    """What `imgret.runs.workers` asks of a `subprocess.Popen`."""

    def __init__(self, pid, stdin, stdout):
        self.pid, self.stdin, self.stdout, self.returncode, self.lock = pid, stdin, stdout, None, threading.Lock()

    def wait(self, how=0):
        """Its exit code, once it has ended."""
        with self.lock:
            if self.returncode is None:
                pid, status = os.waitpid(self.pid, how)
                self.returncode = os.waitstatus_to_exitcode(status) if pid else None
            return self.returncode

    def poll(self):
        """Its exit code; None while it lives."""
        return self.wait(os.WNOHANG)

    def kill(self):
        """End it."""
        os.kill(self.pid, signal.SIGKILL)


@contextlib.contextmanager
def forked():
    """Context manager: workers of this process are forked inside it, on Linux."""
    if sys.platform != "linux":
        yield
        return
    kept, started = Kept(), workers._Process

    class Process(started):
        def __init__(self, worker, setup):
            def start(*command, env, **options):
                return kept.fork(env, '"cnn"' in json.dumps(setup)) or subprocess.Popen(*command, env=env, **options)

            workers.subprocess = types.SimpleNamespace(Popen=start, PIPE=subprocess.PIPE)
            super().__init__(worker, setup)

    workers._Process = Process
    try:
        yield
    finally:
        workers._Process, workers.subprocess = started, subprocess
        kept.end()


def serve(descriptor, torch):
    """The kept interpreter's side: a copy for each request, until nobody asks any more."""
    asking = socket.socket(fileno=descriptor)
    places = {place.partition(":")[0] for table in FAMILIES for place in table.values()}
    for module in (*(["torchvision"] if torch else []), *sorted(places), *STEPS, *LATE):
        importlib.import_module(module)
    gc.freeze()
    while True:
        data, descriptors, *_ = socket.recv_fds(asking, 1 << 20, 4)
        if not data:
            os._exit(0)
        between = os.fork()
        if not between:
            if os.fork():
                os._exit(0)
            _become(json.loads(data), descriptors, asking)
        os.waitpid(between, 0)
        for given in descriptors:
            os.close(given)


def _become(asked, descriptors, asking):
    """Be a worker, in this copy."""
    code = 1
    try:
        while os.getppid() != asked["parent"]:  # the process between ends
            time.sleep(1e-4)
        os.setsid()
        *streams, folder = descriptors
        os.fchdir(folder)
        os.close(folder)
        os.environ.clear()
        os.environ.update(asked["environment"])
        signal.pthread_sigmask(signal.SIG_SETMASK, asked["mask"])
        for stream, given in enumerate(streams):
            os.dup2(given, stream)
            os.close(given)
        sys.stdin = open(0, closefd=False)
        asking.send(str(os.getpid()).encode())
        asking.close()
        workers.serve()
        code = 0
    finally:
        sys.excepthook(*sys.exc_info()) if code else None
        os._exit(code)
