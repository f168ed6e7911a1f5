"""Plain files that a command writes: made whole beside their places, and never over what somebody wants to keep.

A file that is there is left alone where it holds the same, and replaced only where the user asked for it (`--overwrite`).
"""

import itertools
import os

from imgret import endings, paths
from imgret.errors import ImgretError, why
from imgret.store.plain import PlainPlace, published

COMPARED = 1 << 20  # bytes
PICTURE = "a picture"
LINES = 4096  # written at once


class PlainFile:
    """One file to be written.

    Parameters
    ----------
    path : str
    option : str
        What names it on the command line.
    form : str
        What it holds: a key of `imgret.paths.ENDINGS`.
    inputs : sequence of str
        What the command reads: files, and folders with all that is in them. None of it is ever written to.
    replaced : callable, optional
        `replaced(path)`: whether a file is replaced unasked, whatever it holds.

    Raises
    ------
    ImgretError
        If it is a folder, a device or an input, or its folder is missing: before there is any work to lose.
    """

    def __init__(self, path, option, form, inputs=(), replaced=lambda path: False):
        self.path, self.option, self.form, self.shown, self._replaced = path, option, form, os.fsdecode(path), replaced
        self.place, self._content, self.same = PlainPlace(path, option), None, False
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
            If there is a file that holds something else, and `overwrite` is not set, or it is a photo by its name.
        """
        self._content = content
        if os.path.exists(self.path):
            self.same = self._compare()
            if not self.same and not overwrite and not self._replaced(self.path):
                raise ImgretError(
                    f"{self.shown} is there and holds something else: choose another {self.option}, or give --overwrite to replace it"
                )
            if not self.same and self.form != PICTURE and os.path.splitext(os.fsencode(self.path))[1].lower() in endings.ALL:
                raise ImgretError(f"{self.shown} is there and named as a photo is, which nothing replaces: choose another {self.option}")

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

    def write(self, temporary):
        """Write it under another name."""
        with self.place.explained(), open(temporary, "xb") as file:
            for block in self._content():
                file.write(block)


def encoded(lines):
    """Lines of text (str, without newlines) as blocks of bytes: a run with a million photos a list does not fit into memory."""
    lines = iter(lines)
    while block := list(itertools.islice(lines, LINES)):
        yield "".join(line + "\n" for line in block).encode("utf-8", "surrogateescape")


def write_together(files, run):
    """Write several files, all or none; the first one gets its name last.

    Parameters
    ----------
    files : sequence of (PlainFile, callable)
        Each with its content; see `PlainFile.settle`.
    run : imgret.runs.run.Run
        Its `overwrite` replaces files that hold something else; a name that promises another format is told.

    Returns
    -------
    bool
        Whether any had to be written.

    Raises
    ------
    ImgretError
    """
    for file, content in files:
        file.settle(content, run.overwrite)
    changed = [file for file, _ in files if not file.same]
    for file, _ in files:
        if file.same and os.path.isdir(file.place.parts.root):
            file.place.parts.clear()  # of a process that was killed when it had just made this file
    for text in filter(None, (paths.misnamed(file.path, file.form) for file in changed)):
        run.report.warn(text)
    changed.reverse()
    with published([file.place for file in changed], run.overwrite) as temporaries:
        for file, temporary in zip(changed, temporaries, strict=True):
            file.write(temporary)
    return bool(changed)
