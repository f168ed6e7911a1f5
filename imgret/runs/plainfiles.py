"""Plain files that a command writes: made whole beside their places, and never over what somebody wants to keep.

A file that is there is left alone where it holds the same, and replaced only where the user asked for it (`--overwrite`).
"""

import contextlib
import itertools
import os

from imgret import paths
from imgret.errors import ImgretError, why
from imgret.store.parts import published

COMPARED = 1 << 20  # bytes
LINES = 4096  # written at once


class PlainFile:
    """One file to be written.

    Parameters
    ----------
    path : str
    option : str
        What names it on the command line.
    inputs : sequence of str
        What the command reads: files, and folders with all that is in them. None of it is ever written to.

    Raises
    ------
    ImgretError
        If it is a folder, a device or an input, or its folder is missing: before there is any work to lose.
    """

    def __init__(self, path, option, inputs=()):
        self.path, self.option, self.shown = path, option, os.fsdecode(path)
        self._content, self._same = None, False
        paths.check_file(path, option)
        paths.check_folder(path)
        for each in inputs:
            paths.check_spared(path, option, each)

    def settle(self, content, overwrite):
        """Take the content, and find out whether it has to be written.

        Parameters
        ----------
        content : callable
            Gives an iterator of bytes, as often as it is called.
        overwrite : bool

        Raises
        ------
        ImgretError
            If there is a file that holds something else, and `overwrite` is not set.
        """
        self._content = content
        if os.path.exists(self.path):
            self._same = self._compare()
            if not self._same and not overwrite:
                raise ImgretError(
                    f"{self.shown} is there and holds something else: choose another {self.option}, or give --overwrite to replace it"
                )

    def _compare(self):
        try:
            with open(self.path, "rb") as file:
                for block in self._content():
                    for start in range(0, len(block), COMPARED):
                        piece = block[start : start + COMPARED]
                        if file.read(len(piece)) != piece:
                            return False
                return not file.read(1)
        except OSError as error:
            raise ImgretError(f"{self.shown} cannot be read: {why(error)}; what was there before is untouched") from None

    def write(self, stack):
        """Write it beside its place, if it has to be written; the `ExitStack` gives it its name. Returns whether it had to be."""
        if not self._same:
            with open(stack.enter_context(published(self.path)), "xb") as file:
                for block in self._content():
                    file.write(block)
        return not self._same


def encoded(lines):
    """Lines of text (str, without newlines) as blocks of bytes: a run with a million photos a list does not fit into memory."""
    lines = iter(lines)
    while block := list(itertools.islice(lines, LINES)):
        yield "".join(line + "\n" for line in block).encode("utf-8", "surrogateescape")


def write_together(files, overwrite):
    """Write several files: none gets its name before all are whole; the first one comes last.

    Parameters
    ----------
    files : sequence of (PlainFile, callable)
        Each with its content; see `PlainFile.settle`.
    overwrite : bool

    Returns
    -------
    bool
        Whether any had to be written.

    Raises
    ------
    ImgretError
    """
    for file, content in files:
        file.settle(content, overwrite)
    with contextlib.ExitStack() as stack:  # it ends what it began in reverse order
        return any([file.write(stack) for file, _ in files])
