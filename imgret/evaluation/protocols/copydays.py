"""INRIA Copydays (Douze, Jégou, Sandhawalia, Amsaleg & Schmid, CIVR 2009)."""

import numpy as np

from imgret.errors import ImgretError, one_line
from imgret.evaluation.asking import Asking
from imgret.evaluation.measures import average_precision_trapezoid
from imgret.evaluation.protocols.base import Protocol
from imgret.evaluation.questions import Question
from imgret.evaluation.wording import TRAPEZOID, TRUNCATION, WHOLE
from imgret.formats.listfolder import read_folder
from imgret.names import short, shown

NO_COPY = "not a copy of Copydays"


class Copydays(Protocol):
    """Manipulated photos ask for their original: the one positive, so that average precision is a function of its rank.

    Photos are numbered; all but the last two digits name the original, whose own number ends in 00. Crops and JPEG copies keep their
    original's number and are told apart by their folder (original/200000.jpg, crops/50/200000.jpg, jpegqual/15/200000.jpg,
    strong/200001.jpg): an original is a photo whose number ends in 00 and that lies below a folder `original`, or in none. Copies ask, each
    folder of copies is a setting of its own, and `all` has all of them. Originals that ask are skipped. Where the gallery has copies too,
    they are taken out of every list; other photos stay and match nothing.
    """

    name = "copydays"
    average_precision = staticmethod(average_precision_trapezoid)
    reported = ("p@1", "recall@10", "recall@100")
    conventions = {
        "ap": TRAPEZOID,
        "positives": "the original of the copy that asks, which is the only one; a query whose original the gallery has not is excluded",
        "query": "copies ask; where the gallery has them they are taken out of every list",
        "crop": WHOLE,
        "junk": "copies in the gallery are taken out of every list; photos that are not numbered like this stay and match nothing",
        "truncation": TRUNCATION,
        "names": "the number (six digits) counts, without extension; the folder tells originals from copies and names the manipulation",
        "measures": "recall@k is the part of the queries whose original is in the first k; settings: all, and each folder of copies",
    }

    def _read_folder(self, path, truth):
        return read_folder(path, lambda name: _number(name) is not None)

    def keys(self, name):
        """Nothing: the digits in it are the same in all forms; see `Protocol.keys`."""
        return ()

    def ask(self, lists, truth):
        """What the numbers ask of the lists; see `Protocol.ask`."""
        lists.check_names()
        originals, copies = {}, []
        for photo, name in enumerate(lists.names):
            number = _number(name)
            if number is None:
                continue
            if not _is_original(name, number):
                copies.append(photo)
            elif number in originals:
                first, second = shown(lists.names[originals[number]]), shown(name)
                raise ImgretError(f"{lists.label} has two originals of one number ({first} and {second}): Copydays' numbers are distinct")
            else:
                originals[number] = photo
        if not originals:
            raise ImgretError(
                f"{lists.label} has no original of Copydays in its gallery (a number of six digits that ends in 00, in a folder"
                " `original` or in none): index the originals"
            )
        positions = {lists.names[photo]: photo for photo in copies}
        asking = Asking(lists, skips=(NO_COPY,), excludes="whose original is not in the gallery", settings=("all",))
        for row, name in enumerate(lists.query_names):
            number = _number(name)
            if number is None or _is_original(name, number):
                asking.skip(NO_COPY)
                continue
            setting = _folder(name) or "copies"
            original = originals.get(number[:-2] + b"00")
            if original is None:
                asking.exclude("all", setting)
                continue
            asking.add(Question(row, name, 1, np.array([original]), own=positions.get(name, -1)), "all", setting)
        asking.take_out(copies, "gallery photo", "not an original but a copy: taken out of every list")
        return asking.done()


def _number(name):
    """The six digits of a name without folders and extension; None where it has not six."""
    stem = short(name)
    return stem if len(stem) == 6 and stem.isdigit() else None


def _folder(name):
    """The folder of a copy, from that of the manipulation on, as text: `crops/50`. One that is called `all` is `all/`."""
    parts = name.split(b"/")[:-1]
    for start, part in enumerate(parts):
        if part in (b"crops", b"crop", b"jpegqual", b"jpeg", b"strong"):
            parts = parts[start:]
            break
    folder = one_line(b"/".join(parts).decode("utf-8", "backslashreplace"))
    return "all/" if folder == "all" else folder


def _is_original(name, number):
    folders = name.split(b"/")[:-1]
    return number.endswith(b"00") and (not folders or b"original" in folders or b"originals" in folders)
