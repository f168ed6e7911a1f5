"""Folders of photos: what is left out of them, and why one cannot be listed."""

import fnmatch
import os
import re

from imgret.errors import UsageError, why
from imgret.names import to_text

ANY_FOLDERS = b"**"


def fault_of(path):
    """Why a folder that could not be listed cannot be used, in a sentence."""
    try:
        with os.scandir(path) as entries:
            any(False for _ in entries)  # to its end
    except OSError as error:
        return f"the folder cannot be listed: {why(error)}"
    return "the folder could not be listed when photos were looked for, and can be now: run the same command again"


class Excluded:
    """Tells whether a path is left out, by patterns in which `*`, `?` and `[...]` stand for what they do in a shell.

    A pattern without a slash fits a file or folder of that name, wherever it is. One with a slash fits the path relative to the folder that
    was given; `*` then ends at a slash, and `**` between slashes stands for any folders, or none. One that ends with a slash means the same
    without it. Case counts. A folder that is left out is not looked into.

    Parameters
    ----------
    patterns : sequence of str or bytes

    Raises
    ------
    UsageError
        For a pattern that says nothing.
    """

    def __init__(self, patterns):
        self._names, self._paths = [], []
        for pattern in map(os.fsencode, patterns):
            parts = [part for part in pattern.split(b"/") if part not in (b"", b".")]
            if not parts:
                raise UsageError(f"`--exclude` must be a pattern of a name or a path, got '{os.fsdecode(pattern)}'")
            parts = [part for part, before in zip(parts, [b"", *parts], strict=False) if part != ANY_FOLDERS or part != before]
            tests = [part if part == ANY_FOLDERS else _test(part) for part in parts]
            if b"/" in pattern.rstrip(b"/") or parts == [ANY_FOLDERS]:
                self._paths.append(tests)
            else:
                self._names += tests

    def __bool__(self):
        return bool(self._names or self._paths)

    def __call__(self, path):
        """Whether a path (bytes, relative to the folder given) is left out; the folders above it are not."""
        parts = path.split(b"/")
        return any(test(parts[-1]) for test in self._names) or any(_fits(tests, parts) for tests in self._paths)


def _test(pattern):
    fits = re.compile(fnmatch.translate(to_text(pattern))).match
    return lambda name: fits(to_text(name)) is not None


def _fits(tests, parts):
    if not tests:
        return not parts
    if tests[0] == ANY_FOLDERS:
        return any(_fits(tests[1:], parts[start:]) for start in range(len(parts) + 1))
    return bool(parts) and tests[0](parts[0]) and _fits(tests[1:], parts[1:])
