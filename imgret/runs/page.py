"""The page that a command writes: refused before there is any work to lose, written once there is something to show."""

import dataclasses
import os

from imgret.errors import ImgretError
from imgret.html import page
from imgret.html.contract import MOST, TOP
from imgret.html.evaluation import evaluation_page
from imgret.html.report import is_report
from imgret.html.search import Gathering
from imgret.html.thumbnails import Thumbnails, as_file
from imgret.names import to_bytes, to_text
from imgret.paths import same
from imgret.runs.plainfiles import PlainFile
from imgret.runs.run import Run


class _PageFile:
    """What both pages have: a path that is refused early, and thumbnails that are made late."""

    def __init__(self, path, roots, run):
        page.check(path, overwrite=run.overwrite)
        _spare_photos(path, roots)
        self._path, self._roots, self._run, self._report = path, roots, run, run.report

    def _thumbnails(self, roots):
        return Thumbnails(roots, jobs=self._run.jobs, cache=self._path)

    def _made(self, thumbnails, names):
        with self._report.progress(len(names), "thumbnail") as progress:
            return thumbnails.make(names, progress.update)

    def _write(self, contents, made, *thumbnails):
        page.write(self._path, contents, made, overwrite=self._run.overwrite)
        for each in thumbnails:
            if each.shortfall():
                self._report.warn(each.shortfall())
        self._report.note(f"{self._path}: {len(contents.queries)} queries, {len(contents.photos)} photos")


class EvaluationPage(_PageFile):
    """The page of an evaluation.

    Parameters
    ----------
    path : str
    roots : sequence of str
        Folders that photos are named relative to.
    top : int, optional
        Results per query: `TOP` by default.
    most : int, optional
        Queries on the page: `MOST` by default; of more, as many are shown, evenly spread from the worst to the best.
    run : imgret.runs.run.Run
        Its `overwrite` replaces a file that is not a report.

    Raises
    ------
    ImgretError
        If the page cannot be written there, before there is any work to lose.
    """

    def __init__(self, path, roots, top=None, most=None, *, run=Run()):
        super().__init__(path, roots, run)
        self._top, self._most = top or TOP, most or MOST
        self._below = self._thumbnails(roots)

    def write(self, evaluation):
        """Write the page of an `imgret.evaluation.comparison.Evaluation`."""
        contents = evaluation_page(evaluation, self._top, self._most)
        files = [to_text(as_file(to_bytes(name), self._roots)) for name in contents.photos]
        self._write(dataclasses.replace(contents, photos=files), self._made(self._below, files), self._below)


class SearchPage(_PageFile):
    """The page of a search, whose answers come block by block.

    Parameters
    ----------
    path, roots, top, most, run : see `EvaluationPage`
    label : str
        What was searched.
    inputs : sequence of str
        What is read, and never written to.
    """

    def __init__(self, path, roots, top=None, most=None, *, label, inputs=(), run=Run()):
        super().__init__(path, roots, run)
        PlainFile(path, "--html", inputs)
        self._gathering = Gathering(label, top or TOP, most or MOST)
        self._below, self._anywhere = self._thumbnails(roots), self._thumbnails(["/"])

    def add(self, gallery, block):
        """One more `imgret.stages.search.Block`."""
        for path in block.paths or ():
            if same(path, self._path):
                raise ImgretError(f"--html {self._path} is a query photo: choose another --html")
        self._gathering.add(gallery, block)

    def write(self):
        """Write the page."""
        shown, asking = self._gathering.gallery, self._gathering.asking
        made = self._made(self._below, [*shown, *(name for name, path in asking if path is None)])
        paths = {len(shown) + number: to_text(path.lstrip(b"/")) for number, (_, path) in enumerate(asking) if path is not None}
        given = self._made(self._anywhere, list(paths.values()))
        # by position: a query photo may have the name of another photo in the gallery
        self._write(self._gathering.page(), made | {position: given[path] for position, path in paths.items()}, self._below, self._anywhere)


def _spare_photos(path, roots):
    """Refuse to write a page over what may be one of the photos, whatever the user asked for."""
    if os.path.exists(path) and not is_report(path):
        for root in roots:
            folder = os.path.realpath(root)
            if os.path.commonpath([folder, os.path.realpath(path)]) == folder:
                raise ImgretError(f"--html {path} is no report and lies in {root}, whose photos are read: choose another --html")
