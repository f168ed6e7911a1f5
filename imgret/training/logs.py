"""What a training is doing, for those who look on: a CSV, and events for TensorBoard."""

import contextlib
import os

from imgret.errors import ImgretError, why
from imgret.paths import check_spared
from imgret.runs.plainfiles import PlainFile

COLUMNS = ("kind", "epoch", "step", "loss", "rate", "score", "recipe")
HEADER = ",".join(COLUMNS) + "\n"
MOST = 1 << 30  # bytes of a log
SHORT = 12  # signs of a recipe, which tell one training from another
START, END = (-1, 0, False), (1 << 60, 0, False)  # positions before and behind all rows: epoch, step, whether it is the epoch's


class Logs:
    """The logs that `imgret train` is asked for.

    They are written as training goes, and are no results: nobody reads them back. After a kill they go on where the checkpoint is: what was
    written behind it is taken back, and what it knows and a log lacks is written from it. A row has the kind `step` or `epoch`; steps are
    counted from 1 through the whole training, and an epoch's row has the step it ended with.

    Parameters
    ----------
    csv_path : str or None
        The CSV, of which another training's is never touched unasked.
    folder : str or None
        Where TensorBoard looks: each training has a folder of its own in it, so that none disturbs another.
    recipe : str
        Hex, by which one training is told from another.
    inputs : sequence of str
        What is read, and never written to.
    overwrite : bool
        Replace a file that is no log of this training.

    Raises
    ------
    ImgretError
        If a file or folder is refused, or TensorBoard is not installed: before there is any work to lose.
    """

    def __init__(self, csv_path, folder, *, recipe="", inputs=(), overwrite=False):
        recipe, self._last, self._begun = recipe[:SHORT], 0, False
        self._logs = [] if csv_path is None else [CsvLog(csv_path, recipe, inputs, overwrite)]
        if folder is not None:
            self._logs.append(Events(folder, recipe, inputs))

    def resumed(self, course):
        """A checkpoint was gone on with: an `imgret.training.course.Course`."""
        self._last = course.total
        self._begin(_rows_of(course.epochs, course.steps), (course.epoch, course.total, False))

    def complete(self, history):
        """The training is complete, now or before: what is not there is written, of steps those that the network's history kept.

        Parameters
        ----------
        history : dict
            What an `imgret.runs.history.History` was made of.
        """
        if not self._begun:
            self._begin(_rows_of(history["epochs"], history["steps"]), END)
        self.close()

    def step(self, epoch, step, loss, rate):
        """A step was made."""
        self._last = step
        self._add(("step", epoch, step, loss, rate, None))

    def epoch(self, entry):
        """An epoch was made and scored: `epoch`, `score`, `loss`, `rate` of a history's entry."""
        self._add(_row_of(entry, self._last))

    def _begin(self, rows, last):
        self._begun = True
        for log in self._logs:
            log.begin(rows, last)

    def _add(self, row):
        if not self._begun:
            self._begin([], START)
        for log in self._logs:
            log.add(row)

    def close(self):
        """No more is to come."""
        for log in self._logs:
            log.close()


def _row_of(entry, step):
    return "epoch", entry["epoch"], step, entry["loss"], entry["rate"], entry["score"]


def _rows_of(epochs, steps):
    """What a history knows as rows, in the order in which they were logged."""
    ends = {epoch: step for epoch, step, _, _ in steps}
    rows = [("step", epoch, step, loss, rate, None) for epoch, step, loss, rate in steps]
    return sorted(rows + [_row_of(entry, entry.get("step", ends.get(entry["epoch"], 0))) for entry in epochs], key=_position)


def _position(row):
    return row[1], row[2], row[0] == "epoch"


class CsvLog:
    """A log of comma-separated values; see `Logs`."""

    def __init__(self, path, recipe, inputs, overwrite):
        self._path, self._recipe, self._file = path, recipe, None
        file = PlainFile(path, "--log", "CSV", inputs, replaced=self._own)
        file.settle(lambda: iter(()), overwrite)
        self._shown = file.shown

    def begin(self, rows, last):
        """Go on behind a position, with rows that may not be there yet."""
        with explained(self._shown):
            size, position = self._kept(last)
            self._file = open(self._path, "r+b" if size else "wb")  # noqa: SIM115 - written to until training ends
            self._file.seek(size)
            self._file.truncate()
            lacking = "".join(self._line(row) for row in rows if _position(row) > position)
            self._file.write((lacking if size else HEADER + lacking).encode())
            self._file.flush()

    def _own(self, path):
        """Whether a file is a log of this training: nothing else is in it, but for a line that was cut off."""
        if os.path.getsize(path) > MOST:
            return False
        with open(path, "rb") as file:
            return file.readline(len(HEADER)) == HEADER.encode() and not any(
                line.endswith(b"\n") and self._parsed(line) is None for line in file
            )

    def _kept(self, last):
        """How much of what is there stays: bytes, and the position of the last row of it."""
        size, position = 0, START
        if os.path.exists(self._path) and self._own(self._path):
            size = len(HEADER)
            with open(self._path, "rb") as file:
                for line in list(file)[1:]:
                    found = self._parsed(line)
                    if found is None or not position < found <= last:
                        break
                    size, position = size + len(line), found
        return size, position

    def _parsed(self, line):
        """The position of a row of this training; None of anything else."""
        cells = line.decode("ascii", "replace").split(",")
        if len(cells) != len(COLUMNS) or cells[0] not in ("step", "epoch") or cells[-1] != f"{self._recipe}\n":
            return None
        if not all(cell.isdecimal() and len(cell) < 12 for cell in cells[1:3]):
            return None
        return _position((cells[0], int(cells[1]), int(cells[2])))

    def _line(self, row):
        return ",".join("" if cell is None else str(cell) for cell in (*row, self._recipe)) + "\n"

    def add(self, row):
        """One more row, which is in the file when this returns."""
        with explained(self._shown):
            self._file.write(self._line(row).encode())
            self._file.flush()

    def close(self):
        """No more is to come."""
        if self._file is not None:
            with explained(self._shown):
                self._file.close()


class Events:
    """Events for TensorBoard; see `Logs`."""

    def __init__(self, folder, recipe, inputs):
        try:
            from torch.utils.tensorboard import SummaryWriter
        except ImportError:
            raise ImgretError("--tensorboard needs TensorBoard: pip install 'imgret[train]'") from None
        shown = os.fsdecode(folder)
        if os.path.exists(folder) and not os.path.isdir(folder):
            raise ImgretError(f"--tensorboard {shown} is a file, a folder is needed")
        self._folder, self._kind, self._writer = os.path.join(shown, f"imgret-{recipe}"), SummaryWriter, None
        for each in inputs:
            check_spared(self._folder, "--tensorboard", each)

    def begin(self, rows, last):
        """Go on behind a position: a file of events is never written to again, but the next one says which earlier ones count."""
        there = os.path.isdir(self._folder) and any("tfevents" in name for name in os.listdir(self._folder))
        if there and last == END:
            return
        with explained(self._folder):
            self._writer = self._kind(self._folder, purge_step=last[1] + 1 if there and last != START else 0)
        for row in () if there else rows:
            self.add(row)

    def add(self, row):
        """One more row."""
        kind, _, step, loss, rate, score = row
        tags = {"step": {"loss": loss, "rate": rate}, "epoch": {"epoch/loss": loss, "epoch/score": score}}
        with explained(self._folder):
            for tag, value in tags[kind].items():
                if value is not None:
                    self._writer.add_scalar(tag, value, step)
            self._writer.flush()  # a checkpoint may be made at any step

    def close(self):
        """No more is to come."""
        if self._writer is not None:
            with explained(self._folder):
                self._writer.close()


@contextlib.contextmanager
def explained(shown):
    """Context manager: what the file system says of a log is told in a sentence."""
    try:
        yield
    except OSError as error:
        raise ImgretError(f"{shown} cannot be written: {why(error)}; run the same command again, and training goes on") from None
