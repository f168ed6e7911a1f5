"""Worker processes: parts go out as a line of JSON, a line comes back; descriptors never pass through a pipe.

Workers are started as fresh interpreters (not forked) that import nothing from the current folder, end when their parent dies, and keep
OpenCV and BLAS to one thread each. Decoders are native code, and memory may be short: a worker that crashes, is killed or runs out of
memory is replaced, and its task comes again with nothing else at work. What was the end of several workers is to blame, and left out.
"""

import collections
import contextlib
import json
import os
import selectors
import signal
import subprocess
import sys
import threading

from imgret import importing
from imgret.errors import ImgretError, sentence
from imgret.runs import stopping

DEADLY = (signal.SIGSEGV, signal.SIGABRT, signal.SIGBUS, signal.SIGILL, signal.SIGFPE, signal.SIGKILL)
OUT_OF_MEMORY = "out of memory"
TRIES = 3  # of an item; all but the first with nothing else at work
# glibc keeps freed memory for the next photo instead of giving it back and asking for it again: page faults cost 5 % of an extraction
MEMORY = {"MALLOC_MMAP_THRESHOLD_": str(1 << 26), "MALLOC_TRIM_THRESHOLD_": str(1 << 28)}
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
        JSON values; taken one at a time. A task that was the end of a worker comes again with `careful`: it should then tell of every
        item, and no other task is at work meanwhile. `crashed` is a list of the items to be left out, each `[i, reason]`: they were
        the end of `TRIES` workers.
    jobs : int
    done : callable
        `done(task, result)` in this process, in the order in which tasks end.
    on_end : callable
        `on_end(pids)` after workers were ended, however it came about: a place to sweep up what they were writing.

    Raises
    ------
    ImgretError
        What a worker raised, or that a task was the end of two and no item is to blame.
    """
    with contextlib.closing(results(worker, setup, tasks, jobs, on_end)) as ended:  # at once, whatever `done` raises
        for task, result in ended:
            done(task, result)


def results(worker, setup, tasks, jobs, on_end=lambda pids: None):
    """Yield (task, result) as tasks end; see `run`. What is not asked for is not begun, but for one task of each process."""
    pool = _Pool(worker, setup, on_end)
    with stopping.at_stop(pool.end):
        try:
            yield from pool.run(iter(tasks), jobs)
        finally:
            pool.end()


def in_order(worker, setup, tasks, jobs):
    """Yield the result of each task, in the order of the tasks; see `run`."""
    waiting, following = {}, 0
    numbered = ({**task, "number": number} for number, task in enumerate(tasks))
    with contextlib.closing(results(worker, setup, numbered, jobs)) as ended:
        for task, result in ended:
            waiting[task["number"]] = result
            while following in waiting:
                yield waiting.pop(following)
                following += 1


class Process:
    """One worker: its process and the task it has; it has descriptors `shared` open too."""

    def __init__(self, worker, setup, shared=()):
        environment = MEMORY | importing.environment()
        # a worker inherits the mask: a signal sent to every process of a job is the parent's, which ends its workers
        mask = signal.pthread_sigmask(signal.SIG_BLOCK, stopping.EXIT_CODES)
        try:
            self.process = subprocess.Popen(
                [sys.executable, "-c", CODE],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                env=environment,
                start_new_session=True,  # Ctrl-C reaches the parent only
                pass_fds=shared,
            )
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, mask)
        self.task, self.item, self.buffer, self.short = None, None, b"", False
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

    def cause(self, code):
        """What ended it, by its exit code, if it was no exit of its own; else None."""
        return OUT_OF_MEMORY if self.short else signal.Signals(-code).name if -code in DEADLY else None

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
        self.processes, self.suspects = [], collections.deque()
        self.lock, self.ended = threading.Lock(), False

    def run(self, tasks, jobs):
        """Yield (task, result) as tasks end."""
        with selectors.DefaultSelector() as selector:
            while self._assign(selector, tasks, jobs):
                for key, _ in selector.select():
                    yield from self._hear(selector, key.data)

    def _assign(self, selector, tasks, jobs):
        """Give out what may be begun now, and close the workers that are not needed; whether anything is being done."""
        while True:
            busy = [process for process in self.processes if process.task is not None]
            if len(busy) >= jobs or (busy and (self.suspects or busy[0].task.get("careful"))):
                break
            task = self.suspects.popleft() if self.suspects else next(tasks, None)
            if task is None:
                break
            process = next((process for process in self.processes if process.task is None), None) or self._start(selector)
            process.task = task
            process.send({"task": task})
        for process in [process for process in self.processes if process.task is None]:  # not kept waiting: they hold memory
            self._forget(selector, process)
            process.close()  # it ends at the end of its input
        return bool(busy)

    def _start(self, selector):
        with self.lock:
            if self.ended:
                raise ImgretError("stopped")  # by a signal: it has ended the workers, and says so
            process = Process(self.worker, self.setup)
            self.processes.append(process)
        selector.register(process.process.stdout, selectors.EVENT_READ, process)
        return process

    def _forget(self, selector, process):
        selector.unregister(process.process.stdout)
        self.processes.remove(process)

    def _hear(self, selector, process):
        messages = process.lines()
        if messages is None:
            self._forget(selector, process)
            self._suspect(process)
            return
        for message in messages:
            if "item" in message:
                process.item = message["item"]
            elif "error" in message:
                raise ImgretError(message["error"])
            elif "short" in message:
                process.short = True
            else:
                finished, process.task, process.item = process.task, None, None
                yield finished, message["result"]

    def _suspect(self, process):
        """Have the task of a worker that has ended done again, less the item that was the end of too many."""
        code = process.process.wait()
        self.on_end({process.process.pid})
        task, item = process.task, process.item
        cause = process.cause(code)
        crashed, deaths = task.get("crashed", []), [*task.get("deaths", ()), [item, cause]]
        causes = [cause for which, cause in deaths if which == item]
        if cause is None or item in dict(crashed) or (item is None and len(causes) > 1):
            raise ended(code, cause)
        if len(causes) == TRIES:
            crashed = [*crashed, [item, _blame(causes)]]
        self.suspects.append(task | {"careful": True, "crashed": crashed, "deaths": deaths})

    def end(self):
        """End every worker now; none is started any more."""
        with self.lock:
            self.ended = True
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


def ended(code, cause):
    """The error for a worker that ended by itself, where none is to take its place."""
    if cause == OUT_OF_MEMORY:
        return ImgretError("a worker ran out of memory: run the same command again, with fewer --jobs")
    if code == -signal.SIGKILL:
        return ImgretError("a worker process was killed (out of memory?): run the same command again, with fewer --jobs")
    return ImgretError(f"a worker process ended unexpectedly (exit {code}): run the same command again")


def _blame(causes):
    named = ("SIGKILL (out of memory?)" if cause == "SIGKILL" else cause for cause in dict.fromkeys(causes))
    return (
        f"each of {TRIES} tries, the last {TRIES - 1} with nothing else at work, ended the process that decodes and describes it: "
        + ", ".join(named)
    )


def serve():
    """The worker's side: read tasks, do them, answer; ends with its input or with its parent, and at once: see `stopping.end`."""
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
    except OSError as error:
        answer({"error": sentence(error)})
    except MemoryError:
        answer({"short": True})
    except ImportError as error:
        text = importing.unloadable(error)
        if not text:
            raise
        answer({"error": f"a worker: {text}"})
    stopping.end(0)


def _end_with_parent(parent):
    if sys.platform == "linux":
        import ctypes

        ctypes.CDLL(None, use_errno=True).prctl(1, signal.SIGKILL)  # PR_SET_PDEATHSIG
    if os.getppid() != parent:
        os._exit(1)
