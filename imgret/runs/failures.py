"""Photos that could not be used: how many a step puts up with."""

import contextlib
import dataclasses
import os

from imgret import images
from imgret.errors import ImgretError, UsageError, quoted
from imgret.store.reader import Store

SHOWN = 5


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
    """How many photos may fail before the step does.

    Parameters
    ----------
    text : str
        "N" or "N%".
    noun : Noun
        What there is a row for.

    Raises
    ------
    UsageError
    """

    def __init__(self, text, noun=PHOTO):
        number = text.removesuffix("%")
        if not number.isdecimal() or len(number) > 18:
            raise UsageError(f"`--max-failed` must be a whole number or a percentage, got '{text}'")
        self.noun, self._number, self._percent = noun, int(number), text.endswith("%")
        if self._percent and self._number > 100:
            raise UsageError(f"`--max-failed` must be at most 100%, got '{text}'")

    def allowed(self, photos):
        """How many of so many may fail."""
        return photos * self._number // 100 if self._percent else self._number

    def check_so_far(self, plan, failed, total):
        """Refuse to go on where too many have failed already.

        Raises
        ------
        ImgretError
        """
        if failed > self.allowed(total):
            raise ImgretError(
                f"{failed} {self.noun.many} could not be used so far, more than --max-failed allows of {total} ({self.allowed(total)}): "
                f"{first_failures(plan)}; the finished parts are kept"
            )

    def check(self, plan, described, failed):
        """Refuse a result that lacks too many, or has none.

        Raises
        ------
        ImgretError
        """
        total = described + failed
        if failed > self.allowed(total):
            raise ImgretError(
                f"{failed} of {total} {self.noun.many} could not be used, more than --max-failed allows ({self.allowed(total)}): "
                f"{first_failures(plan)}; the finished parts are kept"
            )
        if not described:
            raise ImgretError(f"no {self.noun.one} could be used: {first_failures(plan)}")


def _why(code, reason):
    """Why a photo failed: in a word, but where something has to be installed for it."""
    return reason if code == "unsupported" and images.to_be_tried_again(code, reason) else code


def first_failures(plan):
    """The first few failures among the finished parts, for a message."""
    found = []
    for part in range(len(plan)):
        for path in (plan.path(part), plan.path(part, retry=True)):
            if len(found) < SHOWN and os.path.exists(path):
                with contextlib.suppress(ImgretError), Store(path) as store:
                    rows = zip(store.texts("failed/names"), store.text_list("failed/code"), store.text_list("failed/reason"), strict=True)
                    found += [f"{quoted(os.fsdecode(name))} ({quoted(_why(code, reason))})" for name, code, reason in rows]
    return ", ".join(found[:SHOWN]) + (", ..." if len(found) > SHOWN else "")
