"""Threads for numeric work in fixed blocks: one BLAS/OpenMP thread a block, results in block order.

So `jobs` decides how many blocks run at once and nothing else: the numbers are the same for any value of it.
"""

import collections
import concurrent.futures
import contextlib
import os
import sys

from threadpoolctl import ThreadpoolController

BLOCK = 8192  # rows of a block: fixed, so that sums do not depend on `jobs`


def blocks(count, length=BLOCK):
    """Slices of `length` that cover `range(count)`."""
    return [slice(start, min(start + length, count)) for start in range(0, count, length)]


def available_cpus():
    """CPUs this process may use: its affinity (Slurm sets it) and its cgroup's quota are respected."""
    try:
        count = len(os.sched_getaffinity(0))
    except AttributeError:  # not on this system
        count = os.cpu_count() or 1
    with contextlib.suppress(OSError, ValueError):
        with open("/sys/fs/cgroup/cpu.max", encoding="ascii") as file:
            quota, period = file.read().split()
        if quota != "max":
            count = min(count, max(1, round(int(quota) / int(period))))
    return max(1, count)


_controllers = {}


def one_thread():
    """Context manager: BLAS and OpenMP calls made by this thread use one thread each.

    It reaches the libraries that are loaded when it is called: import faiss or OpenCV before.
    """
    # looking for the libraries takes a millisecond, as much as a search: it is done again only when one of these has come in
    loaded = tuple(name for name in ("numpy", "faiss", "cv2", "torch", "scipy.linalg") if name in sys.modules)
    if loaded not in _controllers:
        _controllers[loaded] = ThreadpoolController()
    return _controllers[loaded].limit(limits=1)


def ordered_map(function, items, jobs=1):
    """Yield `function(item)` for each item, in order, with at most `jobs` calls running and twice as many results waiting.

    Each call has one BLAS/OpenMP thread (OpenMP's setting belongs to a thread, so every worker makes it for itself).
    """
    if jobs == 1:
        with one_thread():
            for item in items:
                yield function(item)
        return
    # BLAS has one setting for the whole process: it is lowered here and put back when the last result is out.
    with one_thread(), concurrent.futures.ThreadPoolExecutor(jobs, initializer=one_thread) as pool:
        waiting = collections.deque()
        try:
            for item in items:
                waiting.append(pool.submit(function, item))
                if len(waiting) >= 2 * jobs:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:
            for future in waiting:
                future.cancel()


def in_order(function, items, jobs=1):
    """`ordered_map`, less its set-up where one thread does it all: the caller is under `one_thread` already."""
    return map(function, items) if jobs == 1 else ordered_map(function, items, jobs)
