"""Boxes that queries ask with: regions of photos, as ground truths and CSV files give them."""

import collections
import dataclasses
import math
import os

from imgret.errors import ImgretError
from imgret.formats import groundtruth, revisited
from imgret.names import Resolver, last_part, short, shown, to_bytes

CORNERS = ("x1", "y1", "x2", "y2")
COLUMNS = ("image", *CORNERS)


@dataclasses.dataclass(frozen=True)
class Box:
    """A region that one query asks with.

    Attributes
    ----------
    query_id : bytes
        The query's own name.
    photo : bytes
        The photo's name, as the boxes' file writes it.
    corners : tuple of float
        x1, y1, x2, y2, mostly in pixels of the upright photo at full size (centre of the top-left pixel at 0, 0); x1 <= x2 and y1 <= y2.
    """

    query_id: bytes
    photo: bytes
    corners: tuple


def read_boxes(path):
    """Read boxes: from the ground truth of Oxford or Paris, the revisited one, or a CSV.

    A CSV (RFC 4180, UTF-8) has the header `image,x1,y1,x2,y2`, and `id` if queries are to have names of their own, in any order. Without
    `id` a query is called as its photo, or `photo#1`, `photo#2` ... where the photo has several boxes.

    Parameters
    ----------
    path : str or path-like
        A folder of Oxford's or Paris's text files (`*_query.txt` ...), a `.pkl` or `.json` of their ground truth, revisited or not, or else
        a CSV.

    Returns
    -------
    list of Box
        At least one, in the order of the file; no two have one id.

    Raises
    ------
    ImgretError
        With file and line, for whatever is malformed, and for an id that is there twice.
    """
    if os.path.isdir(path):
        return [Box(query.label, query.photo, query.box) for query in groundtruth.read_oxford(path)]
    if str(path).lower().endswith((".pkl", ".json")):
        queries = revisited.read_positions(path).queries
        for query in queries:
            if query.box is None:
                raise ImgretError(f"{path}: the query {shown(query.name)} has no box: --boxes needs one of each")
        if not queries:
            raise ImgretError(f"{path} holds no query: there is no box to ask with")
        return [Box(query.name, query.name, query.box) for query in queries]
    return _read_csv(path)


def _read_csv(path):
    form, headers = "boxes must be a CSV with the header image,x1,y1,x2,y2", "image,x1,y1,x2,y2 or image,x1,y1,x2,y2,id"
    found = []
    for number, fields in groundtruth.rows(path, COLUMNS, ("id",), form=form, headers=headers):
        photo = to_bytes(fields["image"])
        if not photo:
            raise ImgretError(f"{path}:{number}: the image has no name")
        if not fields.get("id", "id"):
            raise ImgretError(f"{path}:{number}: the id is empty: give every box one, or leave the column out")
        found.append((number, photo, _corners(path, number, fields), fields.get("id")))
    if not found:
        raise ImgretError(f"{path} lists no box: one line per box is expected below the header")
    return _named(path, found)


def _corners(path, number, fields):
    corners = []
    for name in CORNERS:
        try:
            corners.append(float(fields[name]))
        except ValueError:
            corners.append(math.nan)
        if not math.isfinite(corners[-1]):
            raise ImgretError(f"{path}:{number}: {name} must be a number, got {shown(to_bytes(fields[name]))}")
    for low, high in ((0, 2), (1, 3)):
        if corners[low] > corners[high]:
            names = f"{CORNERS[low]} must not be larger than {CORNERS[high]}"
            raise ImgretError(f"{path}:{number}: {names}, got {corners[low]:.7g} and {corners[high]:.7g}")
    return tuple(corners)


def _named(path, found):
    """`Box`es of what lines hold: (line, photo, corners, id or None)."""
    boxes_of, seen = collections.Counter(photo for _, photo, _, _ in found), collections.Counter()
    lines, boxes = {}, []
    for number, photo, corners, query_id in found:
        if query_id is not None:
            query_id = to_bytes(query_id)
        elif boxes_of[photo] == 1:
            query_id = photo
        else:
            seen[photo] += 1
            query_id = b"%b#%d" % (photo, seen[photo])
        if query_id in lines:
            raise ImgretError(f"{path}:{number}: the id {shown(query_id)} is there again, first in line {lines[query_id]}: one box per id")
        lines[query_id] = number
        boxes.append(Box(query_id, photo, corners))
    return boxes


class PhotoFinder:
    """Finds the photo that another spelling means: with or without folders, extension and the prefix `oxc1_`.

    Parameters
    ----------
    known : iterable of bytes
        The photos' names, each once.
    """

    def __init__(self, known):
        self._known = set(known)
        self._whole = Resolver(self._known)
        self._by_last = {}
        for name in self._known:
            self._by_last.setdefault(short(name), []).append(name)

    def __call__(self, name):
        """The known name that `name` means, or None.

        The same name comes first, then the same folders, then folders of which one is the end of the other.

        Raises
        ------
        ImgretError
            If several known names fit.
        """
        found = self._whole(name)
        if found in self._known:
            return found
        folders = name.split(b"/")[:-1]
        near = [known for known in self._by_last.get(short(name), ()) if _one_ends(folders, known.split(b"/")[:-1])]
        last = Resolver(map(last_part, near))(last_part(name))
        fits = [known for known in near if last_part(known) == last]
        if len(fits) > 1:
            several = ", ".join(shown(known) for known in sorted(fits)[:2])
            raise ImgretError(f"the name {shown(name)} fits several photos ({several}): write it with its folder")
        return fits[0] if fits else None


def _one_ends(first, second):
    """Whether the shorter list is the end of the longer one."""
    shorter, longer = sorted((first, second), key=len)
    return not shorter or longer[-len(shorter) :] == shorter
