"""UKBench (Nistér & Stewénius, CVPR 2006)."""

import re

from imgret.errors import ImgretError
from imgret.evaluation.asking import Asking
from imgret.evaluation.protocols.base import CLASSIC, Protocol
from imgret.evaluation.questions import Question, ids_of
from imgret.evaluation.wording import FINITE_SUM, MEASURES, TRUNCATION, WHOLE
from imgret.formats.listfolder import read_folder
from imgret.names import short, shown

NO_NUMBER = "without a number at the end of the name"
_NUMBER = re.compile(rb"[0-9]{1,18}\Z")


class UKBench(Protocol):
    """Four photos of each object, numbered one after the other: number // 4 is the object.

    The N-S score is the mean number of the object's photos among the first four of the list, the query itself among them: 4 is
    perfect. All photos usually ask. Average precision here counts the query itself as one of four positives too. A gallery photo
    whose name does not end in a number matches nothing; such a query is skipped.
    """

    name = "ukbench"
    removes_query = False
    reported = (*CLASSIC, "ns")
    recorded = ("ns",)
    conventions = {
        "ap": FINITE_SUM,
        "positives": "the four photos whose numbers give the same number // 4, the query itself among them",
        "query": "the query photo stays in its list and counts as a positive",
        "crop": WHOLE,
        "junk": "none",
        "truncation": TRUNCATION,
        "names": "the number at the end of the name counts, without folders and extension (ukbench00000.jpg)",
        "measures": f"ns: positives among the first four, 0 to 4; {MEASURES}",
    }

    def _read_folder(self, path, truth):
        return read_folder(path, lambda name: number_of(name) is not None)

    def keys(self, name):
        """Nothing: the digits in it are the same in all forms; see `Protocol.keys`."""
        return ()

    def ask(self, lists, truth):
        """What the ground truth asks of the lists; see `Protocol.ask`."""
        lists.check_names()
        by_number, twice = {}, {}
        for photo, name in enumerate(lists.names):
            number = number_of(name)
            if number is None:
                continue
            if number in by_number:
                twice.setdefault(number, (by_number[number], photo))
            by_number[number] = photo
        asking = Asking(lists, skips=(NO_NUMBER,))
        alone = incomplete = 0
        for row, name in enumerate(lists.query_names):
            number = number_of(name)
            if number is None:
                asking.skip(NO_NUMBER)
                continue
            four = range(number // 4 * 4, number // 4 * 4 + 4)
            for view in four:
                if view in twice:
                    first, second = (shown(lists.names[photo]) for photo in twice[view])
                    raise self._ambiguous(lists, first, second)
            known = ids_of(by_number, four)
            known = known[known >= 0]
            alone += number not in by_number
            incomplete += len(known) < 4
            asking.add(Question(row, name, 4, known, own=by_number.get(number, -1), itself=True))
        asking.note(alone, "query", "not in the gallery: N-S counts the query itself, so these reach 3 at most")
        asking.note(incomplete, "query", "with fewer than four photos in the gallery: the others count as never found")
        return asking.done()

    @staticmethod
    def _ambiguous(lists, first, second):
        return ImgretError(f"{lists.label} has two gallery photos of one number ({first} and {second}): UKBench's numbers are distinct")


def number_of(name):
    """The number at the end of a name without folders and extension; None where there is none, or where it cannot be one of UKBench."""
    stem = short(name)
    match = _NUMBER.search(stem)
    return int(match[0]) if match else None
