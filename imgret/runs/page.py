"""The page that a command writes: refused before there is any work to lose, written once there is something to show."""

import dataclasses
import functools
import os

from imgret.errors import ImgretError, counted
from imgret.html import page
from imgret.html.contract import MOST, TOP
from imgret.html.evaluation import evaluation_page
from imgret.html.links import link
from imgret.html.report import is_report
from imgret.html.search import Gathering
from imgret.html.thumbnails import EDGE, LARGE_EDGE, Thumbnails, as_file
from imgret.names import bare, to_bytes, to_text
from imgret.paths import same
from imgret.runs.details import amount
from imgret.runs.plainfiles import PlainFile, write_together
from imgret.runs.run import Run


class PageFile:
    """What all pages have: a path that is refused early, and thumbnails that are made late."""

    def __init__(self, path, roots, run, inputs=(), large=False):
        page.check(path, overwrite=run.overwrite)
        _spare_photos(path, roots)
        self._file = PlainFile(path, "--html", "HTML", inputs, replaced=is_report)
        self._path, self._roots, self._run, self._report = path, roots, run, run.report
        self._edge = LARGE_EDGE if large else EDGE

    def _thumbnails(self, roots):
        return Thumbnails(roots, edge=self._edge, jobs=self._run.jobs, cache=self._path)

    def _made(self, thumbnails, names):
        with self._report.progress(len(names), "thumbnail") as progress:
            return thumbnails.make(names, progress.update)

    def _content(self, contents, made, paths, *thumbnails):
        """The file, and its content, as `write_together` takes them; `paths` are those of the photos, None of one without a thumbnail."""
        self._shortfalls = [each.shortfall() for each in thumbnails if each.shortfall()]
        self._held = f"{counted(len(contents.queries), 'query')}, {counted(len(contents.photos), 'photo')}"
        contents = dataclasses.replace(contents, links=[None if path is None else link(self._path, path) for path in paths])
        return self._file, functools.partial(page.blocks, self._path, contents, made)

    def tell(self):
        """Say what has been written."""
        for text in self._shortfalls:
            self._report.warn(text)
        self._report.note(f"{self._path}: {self._held}, {amount(os.path.getsize(self._path))}")


class EvaluationPage(PageFile):
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
    large : bool
        Hold larger thumbnails, for pages that are to be looked at far from the photos.
    run : imgret.runs.run.Run
        Its `overwrite` replaces a file that is not a report.

    Raises
    ------
    ImgretError
        If the page cannot be written there, before there is any work to lose.
    """

    def __init__(self, path, roots, top=None, most=None, *, large=False, run=Run()):
        super().__init__(path, roots, run, large=large)
        self._top, self._most = top or TOP, most or MOST
        self._below = self._thumbnails(roots)

    def spare(self, path, option, evaluation):
        """Refuse to write to a photo of a ranking, whatever the user asked for.

        Raises
        ------
        ImgretError
        """
        for root in self._roots if os.path.exists(path) else ():
            folder, real = (os.path.realpath(os.fsencode(each)) for each in (root, path))
            name = os.path.relpath(real, folder)
            for judged in evaluation.judged:
                photos = {*judged.lists.names, *judged.lists.query_names}
                if name in photos or bare(name) in photos or any(same(os.path.join(folder, each), real) for each in photos):
                    raise ImgretError(f"{option} {os.fsdecode(path)} is a photo in {root}, which is read: choose another {option}")

    def content(self, evaluation):
        """The page of an `imgret.evaluation.comparison.Evaluation`, to be written by `write_together`."""
        contents = evaluation_page(evaluation, self._top, self._most)
        files = [to_text(as_file(to_bytes(name), self._roots)) for name in contents.photos]
        made = self._made(self._below, files)
        return self._content(dataclasses.replace(contents, photos=files), made, map(self._below.paths.get, files), self._below)


class SearchPage(PageFile):
    """The page of a search, whose answers come block by block.

    Parameters
    ----------
    path, roots, top, most, large, run : see `EvaluationPage`
    label : str
        What was searched.
    inputs : sequence of str
        What is read, and never written to.
    """

    def __init__(self, path, roots, top=None, most=None, *, label, inputs=(), large=False, run=Run()):
        super().__init__(path, roots, run, inputs, large)
        self._gathering = Gathering(label, top or TOP, most or MOST)
        self._below, self._anywhere = self._thumbnails(roots), self._thumbnails(["/"])

    def add(self, gallery, block):
        """One more `imgret.stages.search.Block`."""
        self._gathering.add(gallery, block)

    def write(self):
        """Write the page."""
        shown, asking = self._gathering.gallery, self._gathering.asking
        made = self._made(self._below, [*shown, *(name for name, path in asking if path is None)])
        paths = {len(shown) + number: to_text(path.lstrip(b"/")) for number, (_, path) in enumerate(asking) if path is not None}
        given = self._made(self._anywhere, list(paths.values()))
        # by position: a query photo may have the name of another photo in the gallery
        made |= {position: given[path] for position, path in paths.items()}
        lie = [self._below.paths.get(name) for name in [*shown, *(name for name, _ in asking)]]
        for position, path in paths.items():
            lie[position] = self._anywhere.paths.get(path)
        write_together([self._content(self._gathering.page(), made, lie, self._below, self._anywhere)], self._run)
        self.tell()


def _spare_photos(path, roots):
    """Refuse to write a page over what may be one of the photos, whatever the user asked for."""
    if os.path.exists(path) and not is_report(path):
        for root in roots:
            folder = os.path.realpath(root)
            if os.path.commonpath([folder, os.path.realpath(path)]) == folder:
                raise ImgretError(f"--html {path} is no report and lies in {root}, whose photos are read: choose another --html")
