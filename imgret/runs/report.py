"""What a step tells a person while it runs: notes and progress, on stderr."""

import contextlib
import sys
import time

from imgret.errors import bounded, counted, one_line

LINE_SECONDS = 30.0  # between progress lines where stderr is no terminal
SLOW = 0.1  # done in a second: of less than that, one is told to take so many seconds


class Report:
    """Notes and progress bars.

    Parameters
    ----------
    verbosity : int
        -1 errors only, 0 notes and progress, 1 details too.
    prefix : str
        What every line and bar begins with: which of several steps it is about.
    """

    def __init__(self, verbosity=0, prefix=""):
        self.verbosity, self.prefix, self._shown, self._told = verbosity, prefix, None, set()

    def step(self, name, number, count):
        """The same for step `number`, from 1, of `count`: its lines and bars begin with "2/4 encode".

        Parameters
        ----------
        name : str
        number, count : int

        Returns
        -------
        Report
        """
        report = Report(self.verbosity, f"{number}/{count} {name}")
        report._told = self._told
        return report

    def first(self, what):
        """Whether `what` has not been asked for yet, of any of the steps: for what is told once."""
        new = what not in self._told
        self._told.add(what)
        return new

    def note(self, text):
        """One line about what is going on."""
        if self.verbosity >= 0:
            self._line(text)

    def detail(self, text):
        """One line for those who asked for more."""
        if self.verbosity >= 1:
            self._line(text)

    def warn(self, text):
        """One line that matters even when quiet."""
        self._line(text, "warning: ")

    def zero(self, count, of, noun, metric="cosine"):
        """Warn of `count` vectors that are all zero among those `of` so many photos or queries, if there are any.

        Parameters
        ----------
        count, of : int
        noun : str
            What they are, in the plural: "vectors".
        metric : str
            What they are compared by.
        """
        if count:
            verb, they = ("is", "it matches") if count == 1 else ("are", "they match")
            follows = f"{they} nothing" if metric != "l2" else f"{they} whatever is short"
            self.warn(f"{count} of {of} {noun} {verb} zero: {follows}")

    def _line(self, text, kind=""):
        if self._shown is not None:
            self._shown.hide()
        step = f"{self.prefix}: " if self.prefix else ""
        with contextlib.suppress(OSError):  # a full disk, a reader that is gone: nothing of the work is lost
            sys.stderr.write(f"imgret: {one_line(bounded(f'{kind}{step}{text}'))}\n".encode("utf-8", "backslashreplace").decode())
            sys.stderr.flush()

    def progress(self, total, unit, start=0):
        """A progress bar (on a terminal) or a line now and then: a context manager with `update(n)` and `reach(done, total)`."""
        self._shown = Progress(total, unit, start, self)
        return self._shown


class Progress:
    """Counts up to `total`.

    Parameters
    ----------
    total, unit, start : see `Report.progress`; a total of 0 is not known yet, and given by `reach`
    report : Report
        Where it is told.
    """

    def __init__(self, total, unit, start, report):
        self.total, self.unit, self.count, self.start = total, unit, start, start
        self._report, self._bar, self._began = report, None, time.monotonic()
        self._said = self._began

    def __enter__(self):
        if self.total:
            self._open()
        return self

    def _open(self):
        """Show a bar, where there is a terminal."""
        if self._report.verbosity >= 0 and sys.stderr.isatty():
            from tqdm import tqdm

            self._bar = tqdm(
                desc=self._report.prefix or None,
                total=self.total,
                initial=self.start,
                unit=" " + self.unit,
                miniters=0,
                dynamic_ncols=True,
                leave=False,
            )

    def __exit__(self, *_):
        if self._bar is not None:
            self._bar.close()

    def update(self, n=1, message=""):
        """`n` more are done."""
        self.reach(self.count + n, message=message)

    def reach(self, done, total=None, message=""):
        """So many are `done`, perhaps a part of the last of them, of `total`, where that has become known."""
        if total and not self.total:  # only now it is known, and what was done before this began
            self.start, self.total = done, total
            self._open()
        self.count, self.total = done, self.total if total is None else total
        if self._bar is not None:
            self._bar.n, self._bar.total = round(done, 1) if isinstance(done, float) else done, self.total
            if message:
                self._bar.set_postfix_str(message, refresh=False)
            self._bar.update(0)  # where the last time is some while ago
            return
        now = time.monotonic()
        if now - self._said >= LINE_SECONDS:
            self._said = now
            self._report.note(self._words(now - self._began, message))

    def hide(self):
        """Make room for a line."""
        if self._bar is not None:
            self._bar.clear()

    def _words(self, seconds, message):
        rate = (self.count - self.start) / seconds
        done = f"{self.count:.1f}" if isinstance(self.count, float) else self.count
        words = [f"{done} of {counted(self.total, self.unit)}"]
        if rate > 0:
            words.append(f"{rate:.3g} a second" if rate >= SLOW else f"{_duration(1 / rate)} each")
            words.append(f"{_duration((self.total - self.count) / rate)} left")
        return ", ".join([*words, message] if message else words)


def _duration(seconds):
    seconds = int(seconds)
    if seconds < 60:
        return f"{seconds} s"
    if seconds < 3600:
        return f"{seconds // 60} min {seconds % 60} s"
    return f"{seconds // 3600} h {seconds % 3600 // 60} min"
