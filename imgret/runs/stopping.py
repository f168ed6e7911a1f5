"""Stopping on a signal: at once, wherever the program is, with every finished part kept.

A Python signal handler has to wait until a long call into a library returns. A thread that waits for the signal does not: it ends the
workers, removes temporary files and leaves. Nothing needs more than that, because outputs and parts only ever appear whole.
"""

import contextlib
import os
import signal
import sys
import threading

EXIT_CODES = {signal.SIGTERM: 75, signal.SIGUSR1: 75, signal.SIGINT: 130}
_cleanups = []
_guarded = False
_leaving = threading.Event()


def at_stop(cleanup):
    """Context manager: `cleanup()` is called if the process is stopped inside it (not at its normal end)."""
    return _Cleanup(cleanup)


class _Cleanup(contextlib.AbstractContextManager):
    def __init__(self, cleanup):
        self._cleanup = cleanup

    def __enter__(self):
        _cleanups.append(self._cleanup)
        return self

    def __exit__(self, *_):
        _cleanups.remove(self._cleanup)


@contextlib.contextmanager
def guard():
    """Context manager: SIGTERM, SIGUSR1 and Ctrl-C end the process with 75 or 130, after the cleanups.

    Only the main thread can set it up, once; elsewhere, and within another one, it does nothing.
    """
    global _guarded
    if _guarded or threading.current_thread() is not threading.main_thread():
        yield
        return
    reading, writing = os.pipe()
    os.set_blocking(writing, False)
    old_handlers = {number: signal.signal(number, lambda *_: None) for number in EXIT_CODES}
    old_descriptor = signal.set_wakeup_fd(writing, warn_on_full_buffer=False)
    threading.Thread(target=_watch, args=(reading,), daemon=True).start()
    _guarded = True
    try:
        yield
    finally:
        if _leaving.is_set():
            threading.Event().wait()  # whatever came of ending the workers: the other thread says how the process ends
        _guarded = False
        signal.set_wakeup_fd(old_descriptor)
        for number, handler in old_handlers.items():
            signal.signal(number, handler)
        os.close(writing)  # ends the thread


def _watch(reading):
    while data := os.read(reading, 64):
        for number in data:
            if number in EXIT_CODES:
                _leave(number)
    os.close(reading)


def _leave(number):
    _leaving.set()
    for cleanup in reversed(_cleanups):
        with contextlib.suppress(Exception):
            cleanup()
    name = "Ctrl-C" if number == signal.SIGINT else signal.Signals(number).name
    with contextlib.suppress(OSError, ValueError):
        sys.stderr.write(f"\nimgret: stopped by {name}; what is finished is kept: run the same command again\n")
        sys.stderr.flush()
    os._exit(EXIT_CODES[number])
