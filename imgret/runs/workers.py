"""Worker processes: parts go out as a line of JSON, a line comes back; descriptors never pass through a pipe.

Workers are started as fresh interpreters (not forked) that import nothing from the current folder, end when their parent dies, and
keep OpenCV and BLAS to one thread each. A worker that a photo crashes (decoders are native code) is replaced, and the photo is
recorded as `crashed`.
"""

import collections
import contextlib
import json
import os
import selectors
import signal
import subprocess
import sys

from imgret.errors import ImgretError
from imgret.runs import importing, stopping

CRASHES = (signal.SIGSEGV, signal.SIGABRT, signal.SIGBUS, signal.SIGILL, signal.SIGFPE)
# glibc keeps freed memory for the next photo instead of giving it back and asking for it again: page faults cost 5 % of an extraction
MEMORY = {"MALLOC_MMAP_THRESHOLD_": str(1 << 26), "MALLOC_TRIM_THRESHOLD_": str(1 << 28)}
ONE_THREAD = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")
CODE = importing.IMPORT + "from imgret.runs.workers import serve; serve()"


def run(worker, setup, tasks, jobs, done, on_end=lambda pids: None):
    """Give every task to one of `jobs` processes.

    Parameters
    ----------
    worker : str
        "module:Class"; made once in each process as `Class(setup)`, then `work(task, starting)` is called for each task and returns
        JSON. It calls `starting(i)` before it touches the task's item i, and `starting(None)` when it does something else.
    setup : JSON value
    tasks : iterable of dict
        JSON values; taken one at a time. A task whose item crashed a worker comes again with that item in its list `crashed`;
        one that crashed a worker otherwise comes once more, with `careful`: it should then tell of every item.
    jobs : int
    done : callable
        `done(task, result)` in this process, in the order in which tasks end.
    on_end : callable
        `on_end(pids)` after workers were ended, however it came about: a place to sweep up what they were writing.

    Raises
    ------
    ImgretError
        What a worker raised, or that one was killed.
    """
    pool = _Pool(worker, setup, on_end)
    with stopping.at_stop(pool.end):
        try:
            pool.run(iter(tasks), jobs, done)
        finally:
            pool.end()


class _Process:
    """One worker: its process and the task it has."""

    def __init__(self, worker, setup):
        environment = MEMORY | importing.environment() | dict.fromkeys(ONE_THREAD, "1")
        # a worker inherits the mask: a signal sent to every process of a job is the parent's, which ends its workers
        mask = signal.pthread_sigmask(signal.SIG_BLOCK, stopping.EXIT_CODES)
        try:
            self.process = subprocess.Popen(
                [sys.executable, "-c", CODE],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                env=environment,
                start_new_session=True,  # Ctrl-C reaches the parent only
            )
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, mask)
        self.task, self.item, self.buffer = None, None, b""
        self.send({"worker": worker, "setup": setup, "parent": os.getpid()})

    def send(self, message):
        try:
            self.process.stdin.write(json.dumps(message).encode() + b"\n")
            self.process.stdin.flush()
        except BrokenPipeError:
            pass  # its death is noticed where its output ends

    def close(self):
        """Close its input, and wait until it has ended."""
        with contextlib.suppress(OSError):  # a dead worker takes no more
            self.process.stdin.close()
        self.process.wait()
        self.process.stdout.close()

    def lines(self):
        """Messages that have come; None once it has ended."""
        data = os.read(self.process.stdout.fileno(), 1 << 16)
        if not data:
            return None
        *lines, self.buffer = (self.buffer + data).split(b"\n")
        return [json.loads(line) for line in lines]


class _Pool:
    def __init__(self, worker, setup, on_end):
        self.worker, self.setup, self.on_end = worker, setup, on_end
        self.processes, self.again, self.all_pids = [], collections.deque(), set()

    def run(self, tasks, jobs, done):
        with selectors.DefaultSelector() as selector:
            task = next(tasks, None)
            while task is not None and len(self.processes) < jobs:
                self._start(selector, task)
                task = next(tasks, None)
            if task is not None:
                self.again.append(task)
            while self.processes:
                for key, _ in selector.select():
                    process = key.data
                    messages = process.lines()
                    if messages is None:
                        selector.unregister(process.process.stdout)
                        self.processes.remove(process)
                        self._start(selector, self._after_death(process))
                        continue
                    for message in messages:
                        if "item" in message:
                            process.item = message["item"]
                        elif "error" in message:
                            raise ImgretError(message["error"])
                        else:
                            finished, process.task, process.item = process.task, None, None
                            done(finished, message["result"])
                            self._next(selector, process, tasks)

    def _start(self, selector, task):
        process = _Process(self.worker, self.setup)
        self.processes.append(process)
        self.all_pids.add(process.process.pid)
        selector.register(process.process.stdout, selectors.EVENT_READ, process)
        process.task = task
        process.send({"task": task})

    def _next(self, selector, process, tasks):
        task = self.again.popleft() if self.again else next(tasks, None)
        if task is None:
            selector.unregister(process.process.stdout)
            self.processes.remove(process)
            process.close()  # it ends at the end of its input
            return
        process.task = task
        process.send({"task": task})

    def _after_death(self, process):
        """The task to give to a replacement: the same, less the item that killed the worker."""
        code = process.process.wait()
        self.on_end({process.process.pid})
        if -code in CRASHES and process.item is not None and process.item not in process.task.get("crashed", ()):
            return process.task | {"crashed": [*process.task.get("crashed", ()), process.item]}
        if -code in CRASHES and process.item is None and not process.task.get("careful"):
            return process.task | {"careful": True}
        if code == -signal.SIGKILL:
            raise ImgretError("a worker process was killed (out of memory?): run the same command again, with fewer --jobs")
        raise ImgretError(f"a worker process ended unexpectedly (exit {code}): run the same command again")

    def end(self):
        """End every worker now."""
        pids = set()
        for process in self.processes:
            if process.process.poll() is None:
                process.process.kill()
            pids.add(process.process.pid)
        for process in self.processes:
            process.close()
        self.processes.clear()
        if pids:
            self.on_end(pids)


def serve():
    """The worker's side: read tasks, do them, answer; ends with its input or with its parent."""
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # what a library prints must not get into the answers
    line = sys.stdin.buffer.readline()
    if not line:
        return  # the parent died before it had said what to do
    first = json.loads(line)
    _end_with_parent(first["parent"])

    def answer(message):
        try:
            answers.write(json.dumps(message).encode() + b"\n")
            answers.flush()
        except BrokenPipeError:
            os._exit(1)  # the parent is gone, and nobody is left to tell

    try:
        from imgret.registry import load

        component = load({"worker": first["worker"]}, "worker", "worker")(first["setup"])
        for line in sys.stdin.buffer:
            task = json.loads(line)["task"]
            answer({"result": component.work(task, lambda item: answer({"item": item}))})
    except ImgretError as error:
        answer({"error": str(error)})
    except MemoryError:
        answer({"error": "a worker ran out of memory: run the same command again, with fewer --jobs"})


def _end_with_parent(parent):
    if sys.platform == "linux":
        import ctypes

        ctypes.CDLL(None, use_errno=True).prctl(1, signal.SIGKILL)  # PR_SET_PDEATHSIG
    if os.getppid() != parent:
        os._exit(1)
