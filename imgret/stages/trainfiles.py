"""What `train` writes beside a network: a page and logs."""

import contextlib
import os

from imgret.errors import ImgretError
from imgret.names import to_bytes
from imgret.paths import check_apart, check_file, check_folder, is_photo, plain, same
from imgret.runs.history import history_of
from imgret.runs.networkfiles import NetworkOutput
from imgret.runs.plainfiles import PlainFile, write_together
from imgret.runs.trainingpage import TrainingPage
from imgret.training.logs import Logs

NETWORK = NetworkOutput.form
READ = 1 << 20  # bytes at once


class SideFiles:
    """The files that one `train` is asked for beside its network.

    Parameters
    ----------
    paths : dict of str to str or None
        By option: `--html`, `--log`, `--tensorboard`.
    others : dict of str to str
        What else is written, by option.
    reads : sequence of str
        What is read: no file of it is written to. Photos may lie in folders among it; see `spare`.
    run : imgret.runs.run.Run

    Raises
    ------
    UsageError
        If two options name one file.
    ImgretError
        If one of them cannot be a file of its own: before there is any work to lose.
    """

    def __init__(self, paths, others, reads, run):
        self._paths = {option: plain(path) for option, path in paths.items() if path is not None}
        check_apart({option: path for option, path in others.items() if path is not None} | self._paths)
        folders = [path for path in reads if os.path.isdir(path)]
        self._reads, self._run, self._logs, self._page = [path for path in reads if os.path.isfile(path)], run, None, None
        last = others.get("--last")
        self._last = None if last is None else PlainFile(last, "--last", NETWORK, reads)
        if "--html" in self._paths:
            self._page = TrainingPage(self._paths["--html"], folders, self._reads, run)
        if "--log" in self._paths:
            check_file(self._paths["--log"], "--log")
            check_folder(self._paths["--log"])

    def check_apart_from(self, weights, out):
        """Refuse to write over the weights that training starts from.

        Raises
        ------
        ImgretError
        """
        for option, path in (("-o", out), ("--last", None if self._last is None else self._last.path)):
            if path is not None and same(path, weights):
                raise ImgretError(f"{os.fsdecode(path)} is both the weights to start from and the output: choose another {option}")

    def spare(self, listing):
        """Refuse to write over the photos of an `imgret.found.Listing`.

        Raises
        ------
        ImgretError
        """
        for option, path in self._paths.items():
            if os.path.isfile(path) and is_photo(path, listing):
                raise ImgretError(f"{option} {os.fsdecode(path)} is one of the photos, which are read: choose another {option}")

    def begin(self, recipe):
        """Get ready for a training; a list of `imgret.training.logs.Logs`, as `imgret.training.telling.Telling` takes them.

        Parameters
        ----------
        recipe : str
            That of the network, hex.

        Raises
        ------
        ImgretError
            If a log is another training's.
        """
        csv, folder = self._paths.get("--log"), self._paths.get("--tensorboard")
        if csv is not None or folder is not None:
            self._logs = Logs(csv, folder, recipe=recipe, inputs=self._reads, overwrite=self._run.overwrite)
        return [] if self._logs is None else [self._logs]

    def keep_last(self, output, *network):
        """Write the network as it was at the end, where that is asked for.

        Parameters
        ----------
        output : imgret.runs.networkfiles.NetworkOutput
            Which is still to be put.
        *network
            As its `put` takes it.

        Raises
        ------
        ImgretError
            If another file is there.
        """
        if self._last is None:
            return
        temporary = output.parts.temporary()
        try:
            output.write(temporary, *network)
            write_together([(self._last, lambda: _blocks(temporary))], self._run)
        finally:
            with contextlib.suppress(OSError):
                os.unlink(temporary)

    def finish(self, file, listings):
        """The network is there: write the page, and what logs lack.

        Parameters
        ----------
        file : imgret.runs.networkfiles.NetworkFile
            Made now or before.
        listings : sequence of imgret.found.Listing
            Its photos, for the page.

        Raises
        ------
        ImgretError
        """
        history = history_of(file)
        if self._last is not None and not os.path.exists(self._last.path):
            self._run.report.warn(
                f"{self._last.shown} is not written: {file.shown} was there already, and the last weights are known only when training ends"
            )
        if self._logs is not None:
            self._logs.complete(file.history)
        if self._page is not None:
            wanted = {to_bytes(name) for entry in history.examples for name in (entry.query, *entry.positives, *entry.negatives)}
            found = (pair for listing in listings for pair in zip(listing.names, listing.paths, strict=True))
            self._page.write(file, {name: path for name, path in found if name in wanted})


def _blocks(path):
    with open(path, "rb") as file:
        while block := file.read(READ):
            yield block
