"""The page that `train` writes: refused before there is any work to lose, written when the network is there."""

import functools
import os

from imgret.errors import counted
from imgret.html import training
from imgret.html.thumbnails import Thumbnails
from imgret.names import to_text
from imgret.runs.history import failed_of, history_of
from imgret.runs.page import PageFile
from imgret.runs.plainfiles import write_together


class TrainingPage(PageFile):
    """The page of a training.

    Parameters
    ----------
    path : str
    roots : sequence of str
        Folders that photos are read from.
    inputs : sequence of str
        What is read, and never written to.
    run : imgret.runs.run.Run
        Its `overwrite` replaces a file that is not a report.

    Raises
    ------
    ImgretError
        If the page cannot be written there, before there is any work to lose.
    """

    def __init__(self, path, roots, inputs, run):
        super().__init__(path, roots, run, inputs)
        self._anywhere = Thumbnails(["/"], edge=self._edge, jobs=run.jobs, cache=path)

    def write(self, file, places):
        """Write the page.

        Parameters
        ----------
        file : imgret.runs.networkfiles.NetworkFile
            The network, made now or before.
        places : dict of bytes to (str or bytes)
            Where the photos are, by name; of others a page shows the name only.

        Raises
        ------
        ImgretError
        """
        history = history_of(file)
        contents = training.training_page(file, history, failed_of(file))
        known = {to_text(name): to_text(os.path.abspath(os.fsencode(path)).lstrip(b"/")) for name, path in places.items()}
        wanted = {name: known[name] for name in contents.photos if name in known}
        made = self._made(self._anywhere, list(wanted.values()))
        content = functools.partial(training.blocks, self._path, contents, {name: made[path] for name, path in wanted.items()})
        write_together([(self._file, content)], self._run)
        self._shortfalls = [self._anywhere.shortfall()] if self._anywhere.shortfall() else []
        epochs = sum(entry.epoch > 0 for entry in history.epochs)
        self._held = f"{counted(epochs, 'epoch')}, {counted(len(contents.photos), 'photo')}"
        self.tell()
