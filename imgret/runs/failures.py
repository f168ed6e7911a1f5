"""Photos that could not be used: how many a step puts up with."""

import dataclasses
import itertools
import os

from imgret import images
from imgret.errors import ImgretError, UsageError, quoted
from imgret.names import shown

SHOWN = 5
UNREADABLE = "unreadable"
FEW = 2  # photos that a percentage lets go in any case


@dataclasses.dataclass(frozen=True)
class Noun:
    """What a row is called: one, and several."""

    one: str
    many: str

    def of(self, count):
        """The word after a number."""
        return self.one if count == 1 else self.many


PHOTO, BOX = Noun("photo", "photos"), Noun("box", "boxes")


class Limit:
    """How many photos something may happen to: a number, or a share of all.

    A percentage above 0 lets it happen to `FEW` in any case: of four photos one may be gone, of ten one may be no photo.

    Parameters
    ----------
    text : str, optional
        "N" or "N%"; `default` without it.
    noun : Noun
        What there is a row for.

    Attributes
    ----------
    option, default : str
        What it is given by, and what it is otherwise.

    Raises
    ------
    UsageError
    """

    option = default = ""

    def __init__(self, text=None, noun=PHOTO):
        text, self.noun = text or self.default, noun
        number = text.removesuffix("%")
        if not number.isdecimal() or len(number) > 18:
            raise UsageError(f"`{self.option}` must be a whole number or a percentage, got '{text}'")
        self._number, self._percent = int(number), text.endswith("%")
        if self._percent and self._number > 100:
            raise UsageError(f"`{self.option}` must be at most 100%, got '{text}'")

    def allowed(self, photos):
        """How many of so many it may be."""
        return max(photos * self._number // 100, FEW if self._number else 0) if self._percent else self._number


class MaxGone(Limit):
    """How many photos of a finished output may be gone when it is made again: a disk may not be mounted. See `Limit`."""

    option, default = "--max-gone", "20%"

    def check(self, shown, before, gone):
        """Refuse to make an output again that would lose too many.

        Parameters
        ----------
        shown : str
            The output.
        before : int
            Photos that it describes.
        gone : sequence of bytes
            The names of those of them that are no longer there, or cannot be read.

        Raises
        ------
        ImgretError
        """
        allowed = self.allowed(before)
        if len(gone) > allowed:
            raise ImgretError(
                f"{len(gone)} of {before} {self.noun.many} in {shown} are gone or cannot be read ({first_names(gone)}), more than "
                f"--max-gone allows ({allowed}), and it is left as it is: is a disk not mounted? If they are meant to go, give "
                "--max-gone 100%"
            )


class MaxFailed(Limit):
    """How many photos may fail before the step does. See `Limit`."""

    option, default = "--max-failed", "5%"
    REMEDY = ": give --max-failed N or N%, a larger one, to go on without them"

    def check_so_far(self, found, failed, total):
        """Refuse to go on where too many have failed already.

        Parameters
        ----------
        found : iterable of Failure
            Those that failed.
        failed, total : int

        Raises
        ------
        ImgretError
        """
        if failed > self.allowed(total):
            raise ImgretError(
                f"{failed} {self.noun.of(failed)} could not be used so far, more than --max-failed allows of {total} "
                f"({self.allowed(total)}): {first_failures(found)}; the finished parts are kept{self.REMEDY}"
            )

    def check(self, found, described, failed):
        """Refuse a result that lacks too many, or has none.

        Raises
        ------
        ImgretError
        """
        total = described + failed
        if failed > self.allowed(total):
            raise ImgretError(
                f"{failed} of {total} {self.noun.of(total)} could not be used, more than --max-failed allows ({self.allowed(total)}): "
                f"{first_failures(found)}; the finished parts are kept{self.REMEDY}"
            )
        if not described:
            raise ImgretError(f"no {self.noun.one} could be used: {first_failures(found)}")


@dataclasses.dataclass(frozen=True)
class Failure:
    """A photo that could not be used, as a store has it."""

    name: bytes
    code: str
    reason: str
    size: int
    mtime: int
    digest: bytes

    @property
    def passing(self):
        """Whether it may be used now, although its file is the same."""
        return self.code == UNREADABLE or images.readable_now(self.code, self.reason)

    @property
    def why(self):
        """Why it failed: in a word, but where something has to be installed for it."""
        return self.reason if self.code == "unsupported" and images.to_be_tried_again(self.code, self.reason) else self.code

    def like(self, other):
        """Whether it is known, if `other` is what is known of its name, or None: the same file failed in the same way."""
        same = other is not None and self.code == other.code
        return same and (self.digest == other.digest or (self.size, self.mtime) == (other.size, other.mtime))


def failures_in(store):
    """Yield the `Failure`s that a store has, in byte order of their names."""
    numbers = (store.read(f"failed/{path}").tolist() for path in ("file_size", "file_mtime_ns"))
    texts = (store.texts(f"failed/{path}") for path in ("names", "code", "reason"))
    for name, code, reason, size, mtime, digest in zip(*texts, *numbers, store.read("failed/digest"), strict=True):
        said = (text.decode("utf-8", "replace") for text in (code, reason))
        yield Failure(name, *said, size, mtime, digest.tobytes())


def first_names(names):
    """The first few of some names, for a message."""
    return ", ".join([*map(shown, names[:SHOWN]), *["..."] * (len(names) > SHOWN)])


def first_failures(found):
    """The first few of some `Failure`s, for a message."""
    first = [f"{quoted(os.fsdecode(each.name))} ({quoted(each.why)})" for each in itertools.islice(found, SHOWN + 1)]
    return ", ".join(first[:SHOWN]) + (", ..." if len(first) > SHOWN else "")
