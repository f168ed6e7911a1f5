"""Stopping on a signal: at once, wherever the program is, with every finished part kept.

A Python signal handler has to wait until a long call into a library returns. A thread that waits for the signal does not: it ends the
workers, removes temporary files and leaves. Nothing needs more than that, because outputs and parts only ever appear whole.

It stands from the first line of the program's that runs to the moment when the process is gone. What comes while Python itself starts
is the system's: exit by the signal, with nothing begun.
"""

import contextlib
import fcntl
import os
import select
import signal
import sys
import threading

EXIT_CODES = {signal.SIGTERM: 75, signal.SIGUSR1: 75, signal.SIGINT: 130}
_at_stop = []
_guarded = False
_leaving = threading.Event()


def at_stop(cleanup=lambda: None, kept=lambda: False):
    """Context manager: `cleanup()` is called if the process is stopped inside it (not at its normal end).

    Parameters
    ----------
    cleanup : callable
    kept : callable
        `kept()`, asked before: whether something of the work is there that the same command finds.
    """
    return _AtStop(cleanup, kept)


class _AtStop(contextlib.AbstractContextManager):
    def __init__(self, cleanup, kept):
        self.cleanup, self.kept = cleanup, kept

    def __enter__(self):
        _at_stop.append(self)
        return self

    def __exit__(self, *_):
        _at_stop.remove(self)


def stand():
    """From now on SIGTERM, SIGUSR1 and Ctrl-C end the process with 75 or 130, after the cleanups.

    Only the main thread can set it up, once; elsewhere, and a second time, it does nothing.

    Returns
    -------
    callable or None
        `undo()`; None if nothing was done.
    """
    global _guarded
    if _guarded or threading.current_thread() is not threading.main_thread():
        return None
    reading, writing = map(_beyond_the_streams, os.pipe())
    os.set_blocking(writing, False)
    old_descriptor = signal.set_wakeup_fd(writing, warn_on_full_buffer=False)
    old_handlers = {number: signal.signal(number, lambda *_: None) for number in EXIT_CODES}
    threading.Thread(target=_watch, args=(reading,), daemon=True).start()  # what has come by then waits in the pipe
    _guarded = True

    def undo():
        global _guarded
        _guarded = False
        for number, handler in old_handlers.items():
            signal.signal(number, handler)
        signal.set_wakeup_fd(old_descriptor)
        os.close(writing)  # ends the thread

    return undo


def _beyond_the_streams(descriptor):
    """The same under a number that is no standard stream's: where those were closed, they are given to what leads nowhere, later."""
    moved = fcntl.fcntl(descriptor, fcntl.F_DUPFD_CLOEXEC, 3)
    os.close(descriptor)
    return moved


@contextlib.contextmanager
def guard():
    """Context manager: `stand` inside it, where nothing stands yet. Being stopped, a process does not get out of it."""
    undo = stand()
    try:
        yield
    finally:
        _give_way()
        if undo is not None:
            undo()


def end(code):
    """End the process, at once: what Python does at its end takes a while, and a signal would then end it in another way."""
    _give_way()
    with contextlib.suppress(OSError, ValueError):
        sys.stderr.flush()
    os._exit(code)


def _give_way():
    """Stay here for ever if the process is being stopped, whatever came of ending its workers: the other thread says how it ends."""
    if _leaving.is_set():
        threading.Event().wait()


def _watch(reading):
    while data := os.read(reading, 64):
        for number in data:
            if number in EXIT_CODES:
                _leave(number)
    os.close(reading)


def _leave(number):
    _leaving.set()
    kept = False
    for each in tuple(reversed(_at_stop)):  # the main thread leaves its blocks meanwhile, as its workers have ended
        with contextlib.suppress(Exception):
            kept = each.kept() or kept
        with contextlib.suppress(Exception):
            each.cleanup()
    name = "Ctrl-C" if number == signal.SIGINT else signal.Signals(number).name
    text = f"\nimgret: stopped by {name}" + ("; what is finished is kept: run the same command again\n" if kept else "\n")
    with contextlib.suppress(OSError, ValueError):
        if select.select([], [2], [], 0)[1]:  # a reader that has stopped must not hold this up, nor what the main thread is writing
            os.write(2, text.encode())
    os._exit(EXIT_CODES[number])
