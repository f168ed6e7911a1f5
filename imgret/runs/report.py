"""What a step tells a person while it runs: notes and progress, on stderr."""

import sys
import time

from imgret.errors import bounded, one_line

LINE_SECONDS = 30.0  # between progress lines where stderr is no terminal


class Report:
    """Notes and progress bars.

    Parameters
    ----------
    verbosity : int
        -1 errors only, 0 notes and progress, 1 details too.
    step : str
        What progress is of, where a command has several steps.
    """

    def __init__(self, verbosity=0, step=""):
        self.verbosity, self.step = verbosity, step

    def of(self, step):
        """The same for one of several steps."""
        return Report(self.verbosity, step)

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
        self._line("warning: " + text)

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

    def _line(self, text):
        sys.stderr.write(f"imgret: {one_line(bounded(text))}\n".encode("utf-8", "backslashreplace").decode())
        sys.stderr.flush()

    def progress(self, total, unit, start=0):
        """A progress bar (on a terminal) or a line now and then: a context manager with `update(n)`."""
        return Progress(total, unit, start, self.verbosity >= 0, self.step)


class Progress:
    """Counts up to `total`."""

    def __init__(self, total, unit, start, shown, step=""):
        self.total, self.unit, self.count, self.start, self.shown, self._step = total, unit, start, start, shown, step
        self._bar, self._began = None, time.monotonic()
        self._said = self._began

    def __enter__(self):
        if self.shown and sys.stderr.isatty():
            from tqdm import tqdm

            self._bar = tqdm(
                desc=self._step or None, total=self.total, initial=self.start, unit=" " + self.unit, dynamic_ncols=True, leave=False
            )
        return self

    def __exit__(self, *_):
        if self._bar is not None:
            self._bar.close()

    def update(self, n=1, message=""):
        """`n` more are done."""
        self.count += n
        if self._bar is not None:
            if message:
                self._bar.set_postfix_str(message, refresh=False)
            self._bar.update(n)
            return
        now = time.monotonic()
        if self.shown and now - self._said >= LINE_SECONDS:
            self._said = now
            rate = (self.count - self.start) / (now - self._began)
            left = f", {_duration((self.total - self.count) / rate)} left" if rate > 0 else ""
            of = f"{self._step}: " if self._step else ""
            sys.stderr.write(f"imgret: {of}{self.count} of {self.total} {self.unit}s, {rate:.3g} a second{left} {message}\n")
            sys.stderr.flush()


def _duration(seconds):
    seconds = int(seconds)
    if seconds < 60:
        return f"{seconds} s"
    if seconds < 3600:
        return f"{seconds // 60} min {seconds % 60} s"
    return f"{seconds // 3600} h {seconds % 3600 // 60} min"
