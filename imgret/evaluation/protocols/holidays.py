"""INRIA Holidays (Jégou, Douze & Schmid, ECCV 2008)."""

from imgret.errors import ImgretError
from imgret.evaluation.asking import Asking
from imgret.evaluation.measures import average_precision_trapezoid
from imgret.evaluation.protocols.base import Protocol
from imgret.evaluation.questions import Question, ids_of
from imgret.evaluation.wording import MEASURES, SELF_REMOVED, TRAPEZOID, TRUNCATION, WHOLE, partial_gallery_warning
from imgret.formats.groundtruth import read_names
from imgret.formats.listfolder import read_folder
from imgret.names import short, shown

NO_QUERY = "whose number does not end in 00, or is not listed"


class Holidays(Protocol):
    """Photos are numbered; all but the last two digits name the group, and the photo that ends in 00 asks.

    Positives of a query are the other photos of its group; the query itself is taken out of its list. Other photos stay in the list
    and match nothing, and as queries they are skipped. The groups come from the gallery that was searched, or from --truth, the official
    holidays_images.dat; a query without positives is excluded from the means.
    """

    name = "holidays"
    takes_truth = True
    average_precision = staticmethod(average_precision_trapezoid)
    truth_is = "optional: the official list of image names (holidays_images.dat)"
    conventions = {
        "ap": TRAPEZOID,
        "positives": "photos of the same number but for the last two digits; queries without any are excluded",
        "query": SELF_REMOVED,
        "crop": WHOLE,
        "junk": "none",
        "truncation": TRUNCATION,
        "names": "the number counts, without folders and extension; only names that are all digits (100000.jpg) belong to a group",
        "measures": MEASURES,
    }

    def _read_folder(self, path, truth):
        return read_folder(path, lambda name: (number_of(name) or b"").endswith(b"00"))

    def keys(self, name):
        """Nothing: the digits in it are the same in all forms; see `Protocol.keys`."""
        return ()

    def ask(self, lists, truth):
        """What the ground truth asks of the lists; see `Protocol.ask`."""
        lists.check_names()
        numbers = _numbers(lists.label, lists.names)
        listed = numbers if truth is None else dict.fromkeys(_numbers(truth, read_names(truth)))
        if truth is not None and not listed.keys() & numbers.keys():
            raise ImgretError(f"{lists.label} and {truth} share no photo number: the official list of Holidays images is needed")
        members = {}
        for number in listed:
            members.setdefault(number[:-2], []).append(number)
        asking = Asking(lists, skips=(NO_QUERY,), excludes="without another photo of the group")
        asked = set()
        for row, name in enumerate(lists.query_names):
            number = number_of(name)
            if number is None or not number.endswith(b"00") or (truth is not None and number not in listed):
                asking.skip(NO_QUERY)
                continue
            asked.add(number)
            matching = [other for other in members.get(number[:-2], ()) if other != number]
            if not matching:
                asking.exclude()
                continue
            known = ids_of(numbers, matching)
            lacking = tuple(other for other in matching if other not in numbers)
            asking.absent.update(lacking)
            asking.add(Question(row, name, len(matching), known[known >= 0], own=numbers.get(number, -1), absent=lacking))
        asking.unasked(sum(number.endswith(b"00") and number not in asked for number in listed))
        if truth is None:
            asking.remark(*partial_gallery_warning(lists, "give holidays_images.dat with --truth"))
        return asking.done()


def number_of(name):
    """The digits of a name without folders and extension; None where it is not three digits or more."""
    stem = short(name)
    return stem if len(stem) >= 3 and stem.isdigit() else None


def _numbers(label, names):
    """number -> id of the photos that have one."""
    numbers = {}
    for photo, name in enumerate(names):
        number = number_of(name)
        if number is None:
            continue
        if number in numbers:
            first, second = shown(names[numbers[number]]), shown(name)
            raise ImgretError(f"{label} has two photos of one number ({first} and {second}): Holidays' numbers are distinct")
        numbers[number] = photo
    return numbers
