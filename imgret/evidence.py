"""What was counted of photos that were found ("23 inliers"), as numbers and in words."""

import dataclasses
import math

_WHOLE = 1e15  # up to here a float is the number that was counted
_LONGEST = 60  # characters that say what is counted


@dataclasses.dataclass(frozen=True)
class Counted:
    """What an evidence is.

    Attributes
    ----------
    counts : str
        What is counted ("inliers"); "" where nothing is.
    enough : float
        From how many on a photo counts as verified.
    """

    counts: str = ""
    enough: float = math.inf

    @classmethod
    def of(cls, facts):
        """From the facts of a store, which may be a stranger's."""
        counts, enough = facts.get("counts"), facts.get("enough")
        named = isinstance(counts, str) and len(counts) <= _LONGEST
        known = isinstance(enough, int | float) and abs(enough) < _WHOLE
        return cls(counts if named else "", float(enough) if known else math.inf)

    def to_json(self):
        """The facts of a store."""
        return {"counts": self.counts} | ({"enough": self.enough} if math.isfinite(self.enough) else {})


def counted(value):
    """What was counted, as JSON has it.

    Parameters
    ----------
    value : float
        May be anything: it comes from files.

    Returns
    -------
    int, float or None
        None where nobody looked, and of what is no finite number.
    """
    if not math.isfinite(value):
        return None
    return int(value) if value == round(value) and abs(value) < _WHOLE else float(f"{value:.6g}")


def cell(value):
    """What was counted, as tables in text have it: nine digits give the same float32 back; "" where nobody looked."""
    return f"{value:.9g}" if math.isfinite(value) else ""


def said(value, counts):
    """What was counted, in words: "23 inliers".

    Parameters
    ----------
    value : float
    counts : str
        What is counted; "" where that is not known.

    Returns
    -------
    str
        "" where nobody looked.
    """
    number, what = counted(value), counts or "evidence"
    if number is None:
        return ""
    return f"{number:g} {what}" if isinstance(number, float) else f"{number} {what[:-1] if number == 1 and what.endswith('s') else what}"
