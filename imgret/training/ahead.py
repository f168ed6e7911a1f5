"""Arrays made by worker processes ahead of who works with them, which come through memory that all of them share.

The processes are those of `imgret.runs.workers`: what `torch.utils.data.DataLoader` starts imports the caller's own script again, may
import from the current folder, and sends arrays through pipes or a file system that is small where containers run.
"""

import collections
import contextlib
import dataclasses
import fcntl
import mmap
import os
import selectors
import sys
import tempfile

import numpy as np

from imgret.errors import ImgretError
from imgret.runs import stopping, workers

AHEAD = 2  # lists that are begun beside the one that is asked for
CHUNK = 8  # items that a process is given at once
MOST_ITEMS = 512  # that one process has before it: their answers fit into a pipe
MOST_BYTES = 1 << 29  # of arrays that nobody has taken yet
PIPE_BYTES = 1 << 20


class SharedMemory:
    """Bytes that several processes see, by a descriptor."""

    def __init__(self, descriptor):
        self._map = mmap.mmap(descriptor, 0)

    def put(self, place, array):
        """Write an array of uint8 from byte `place` on; its shape."""
        np.frombuffer(self._map, np.uint8, array.size, place)[:] = array.reshape(-1)
        return array.shape

    def taken(self, place, shape):
        """A copy of the array that is there."""
        return np.frombuffer(self._map, np.uint8, int(np.prod(shape)), place).reshape(shape).copy()

    @staticmethod
    def file(size):
        """An open file for so many bytes, which take memory when they are first written to."""
        if sys.platform == "linux":  # /dev/shm may be small
            file = os.fdopen(os.memfd_create("imgret"), "r+b", buffering=0)
        else:
            file = tempfile.TemporaryFile(buffering=0)  # noqa: SIM115 - whoever asks closes it
        os.ftruncate(file.fileno(), size)
        return file


def alike_together(items):
    """Positions of items in an order in which those that are alike follow each other: what is read for one will do for the next."""
    return sorted(range(len(items)), key=items.__getitem__)


@dataclasses.dataclass
class _List:
    """What is asked for, what of it nobody has been given yet (by position), what has been made, how many are missing."""

    items: list
    todo: collections.deque
    made: list
    missing: int

    @classmethod
    def of(cls, items):
        order = alike_together(items)
        todo = collections.deque(order[start : start + CHUNK] for start in range(0, len(order), CHUNK))
        return cls(items, todo, [None] * len(items), len(items))


class Pool:
    """Worker processes that make lists of arrays, until `close`.

    Parameters
    ----------
    worker, setup : see `imgret.runs.workers.run`
        `work(task, starting)` makes an array of uint8 of each of `task["items"]`, writes it to its place, one of `task["places"]`, in the
        `SharedMemory` of the descriptor `setup["memory"]`, and returns their shapes.
    count : int
        Processes.
    most_bytes : int
        That an array can have.
    """

    def __init__(self, worker, setup, count, most_bytes):
        places = max(2 * CHUNK * count, min(MOST_ITEMS * count, MOST_BYTES // most_bytes))
        self._free = [number * most_bytes for number in reversed(range(places))]
        self._stack, self._given, self._ended = contextlib.ExitStack(), {}, False
        try:
            file = self._stack.enter_context(SharedMemory.file(places * most_bytes))
            self._memory, self._selector = SharedMemory(file.fileno()), self._stack.enter_context(selectors.DefaultSelector())
            self._stack.enter_context(stopping.at_stop(self._end))
            for _ in range(count):
                self._start(worker, setup | {"memory": file.fileno()}, file.fileno())
        except OSError as error:
            self.close()
            raise ImgretError(f"no processes could be started that load photos: {error.strerror}: give fewer --jobs") from None

    def _start(self, worker, setup, descriptor):
        process = workers.Process(worker, setup, (descriptor,))
        self._given[process] = collections.deque()
        self._selector.register(process.process.stdout, selectors.EVENT_READ, process)
        if sys.platform == "linux":
            with contextlib.suppress(OSError):  # who trains does not wait until a worker has read what it is to do
                fcntl.fcntl(process.process.stdin.fileno(), fcntl.F_SETPIPE_SZ, PIPE_BYTES)

    def load(self, lists):
        """Yield for each list of items the list of their arrays, in order; a few lists are begun before they are asked for.

        Parameters
        ----------
        lists : iterable of list
            JSON values that can be compared.

        Raises
        ------
        ImgretError
            What a worker raised, or that it ended.
        """
        begun, lists = collections.deque(), iter(lists)
        while self._give(begun, lists):
            while begun[0].missing:
                self._hear()
                self._give(begun, lists)
            first = begun.popleft()
            self._give(begun, lists)
            yield first.made

    def _give(self, begun, lists):
        """Give out what there is room for; whether anything is begun."""
        while True:
            each = next((each for each in begun if each.todo), None)
            if each is None:
                items = next(lists, None) if len(begun) <= AHEAD else None
                if items is None:
                    return bool(begun)
                begun.append(_List.of(items))
                continue
            process = min(self._given, key=lambda process: len(self._given[process]))
            if CHUNK * len(self._given[process]) >= MOST_ITEMS or len(self._free) < len(each.todo[0]):
                return True
            some = each.todo.popleft()
            places = [self._free.pop() for _ in some]
            self._given[process].append((each, some, places))
            process.send({"task": {"items": [each.items[number] for number in some], "places": places}})

    def _hear(self):
        """Take what has been made, once there is something."""
        for key, _ in self._selector.select():
            process = key.data
            messages = process.lines()
            if messages is None:
                code = process.process.wait()
                raise workers.ended(code, process.cause(code))
            for message in messages:
                if "error" in message:
                    raise ImgretError(message["error"])
                if "short" in message:
                    process.short = True
                else:
                    self._take(*self._given[process].popleft(), message["result"])

    def _take(self, each, some, places, shapes):
        for number, place, shape in zip(some, places, shapes, strict=True):
            each.made[number] = self._memory.taken(place, shape)
        each.missing -= len(some)
        self._free += reversed(places)

    def _end(self):
        for process in self._given:
            if process.process.poll() is None:
                process.process.kill()

    def close(self):
        """End the processes."""
        self._end()
        for process in self._given:
            process.close()
        self._given = {}
        self._stack.close()
