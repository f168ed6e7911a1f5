"""The page that `duplicates` writes: refused before there is any work to lose, written when the groups are known."""

import functools

from imgret.errors import UsageError, counted
from imgret.html import duplicates
from imgret.html.thumbnails import Thumbnails
from imgret.names import to_text
from imgret.runs.page import PageFile
from imgret.runs.plainfiles import write_together

EDGE = 256  # longest side of a thumbnail: differences are to be seen


class DuplicatesPage(PageFile):
    """The page of groups of copies.

    Parameters
    ----------
    path : str
    most : int, optional
        Groups on the page: `imgret.html.duplicates.MOST` by default; of more, the first are shown.
    where : str
        What was looked at.
    roots : sequence of str
        Folders that photos are named relative to.
    inputs : sequence of str
        What is read, and never written to.
    run : imgret.runs.run.Run

    Raises
    ------
    UsageError
        If it is not known where the photos are.
    ImgretError
        If the page cannot be written there.
    """

    def __init__(self, path, most, where, roots, inputs, run):
        if not roots:
            raise UsageError("--html needs --photos ROOT: the folder that the photos were extracted from")
        super().__init__(path, roots, run, inputs)
        self._where, self._most = where, most or duplicates.MOST
        self._below = Thumbnails(roots, edge=EDGE, jobs=run.jobs, cache=path)

    def write(self, found):
        """Write the page of an `imgret.stages.duplicates.Found`."""
        names, groups = [], []
        for group in found.groups[: self._most]:
            groups.append([self._shown(photo, len(names) + place) for place, photo in enumerate(group)])
            names += [to_text(photo.name) for photo in group]
        copies = sum(len(group) - 1 for group in found.groups)
        note = f"{counted(copies, 'copy')} of {counted(len(found.groups), 'photo')} among {found.count}"
        if len(groups) < len(found.groups):
            note += f"; the first {counted(len(groups), 'group is', 'groups are')} shown"
        made = self._made(self._below, names)
        content = functools.partial(duplicates.blocks, self._path, f"copies in {self._where}", note, names, groups, made)
        write_together([(self._file, content)], self._run)
        self._shortfalls = [self._below.shortfall()] if self._below.shortfall() else []
        self._held = f"{counted(len(groups), 'group')}, {counted(len(names), 'photo')}"
        self.tell()

    @staticmethod
    def _shown(photo, position):
        matrix = None if photo.matrix is None else [[float(number) for number in row] for row in photo.matrix]
        return duplicates.Shown(position, photo.size, photo.file_size, photo.modified(10), photo.kind, photo.score, matrix)
