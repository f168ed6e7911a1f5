"""Visual place recognition: a photo taken within so many metres is a match."""

import dataclasses
import itertools
import math

import numpy as np

from imgret import registry
from imgret.errors import ImgretError
from imgret.evaluation.asking import Asking
from imgret.evaluation.protocols.base import Protocol
from imgret.evaluation.questions import Question
from imgret.evaluation.wording import SELF_REMOVED, TRUNCATION, WHOLE
from imgret.formats.listfolder import read_folder
from imgret.formats.tables import read_places
from imgret.names import last_part, shown
from imgret.registry import param

NO_POSITION = "without a position"


class Places(Protocol):
    """Recall@N by distance: a query counts at N where one of the first N photos was taken within the radius.

    Positions are UTM metres: in the names, `@east@north@zone@...` as the visual geo-localisation benchmarks write them, or in a CSV. Photos
    of different zones never match. A query without any gallery photo within the radius stays in the mean as not recalled; a query without a
    position is skipped, a gallery photo without one matches nothing, and both are counted. The query photo itself is taken out of its
    list. Compass, height and time are not looked at.
    """

    name = "places"
    takes_truth = True
    truth_is = "optional: a CSV with the header image,east,north in metres (and zone), where the names do not say @east@north@"
    primary = "recall@1"
    conventions = {
        "ap": "none: recall@N is what is reported",
        "positives": "gallery photos at most `radius` metres (25 by default) from the query, in the plane of UTM, in the same zone",
        "query": f"{SELF_REMOVED}; queries without a positive count as not recalled",
        "crop": WHOLE,
        "junk": "none",
        "truncation": TRUNCATION,
        "names": "exactly as in the CSV; without a CSV the last part of the name tells the position",
        "measures": "recall@N is the part of the queries with any positive in the first N",
    }

    @dataclasses.dataclass(frozen=True)
    class Params(registry.Params):
        """Parameters of `places`."""

        radius: float = param(25.0, "metres within which a photo shows the same place", minimum=0.001, maximum=1e6)
        at: tuple[int] = param((1, 5, 10, 20, 100), "the N of recall@N", minimum=1, maximum=1_000_000)

    @property
    def reported(self):
        """The measures: recall@1, which is the first of all, and those asked for."""
        return tuple(f"recall@{k}" for k in dict.fromkeys((1, *self.params.at)))

    def _read_folder(self, path, truth):
        known = None if truth is None else read_places(truth)
        return read_folder(path, known or (lambda name: position_of(name) is not None), known=known)

    def names_in(self, lists, truth):
        """The names of the ground truth; see `Protocol.names_in`."""
        return lists.names if truth is None else read_places(truth)

    def ask(self, lists, truth):
        """What the positions ask of the lists; see `Protocol.ask`."""
        positions = lists.positions()
        places = None if truth is None else read_places(truth)
        where = position_of if places is None else places.get
        gallery = {photo: place for photo, name in enumerate(lists.names) if (place := where(name)) is not None}
        placed = [(row, place) for row, name in enumerate(lists.query_names) if (place := where(name)) is not None]
        source = "in the names (@east@north@)" if truth is None else f"in {truth}"
        for what, some, names in (("gallery photo", gallery, lists.names), ("query", placed, lists.query_names)):
            if not some:
                raise ImgretError(
                    f"no {what} of {lists.label} has a position {source}"
                    + (f", for example {shown(names[0])}" if names else "")
                    + ("; give a CSV with --truth" if truth is None else "; write the names as the ranking has them")
                )
        zones = {}
        photos = np.array(list(gallery), dtype=np.int64)
        coordinates, zone = _columns(gallery.values(), zones)
        asked_at, asked_zone = _columns((place for _, place in placed), zones)
        near = within(coordinates, zone, asked_at, asked_zone, self.params.radius)
        asking, lonely = Asking(lists, skips=(NO_POSITION,)), 0
        asking.skip(NO_POSITION, len(lists.query_names) - len(placed))
        for (row, _), found in zip(placed, near, strict=True):
            own = positions.get(lists.query_names[row], -1)
            ids = photos[found]
            ids = ids[ids != own]
            lonely += len(ids) == 0
            asking.add(Question(row, lists.query_names[row], len(ids), ids, own=own))
        asking.note(len(lists.names) - len(gallery), "gallery photo", "without a position: they match nothing")
        asking.note(lonely, "query", f"without a gallery photo within {self.params.radius:g} m: these count as not recalled")
        if max(np.abs(coordinates).max(), np.abs(asked_at).max()) <= 180:
            asking.remark("all positions are within 180: are they degrees? Metres are needed")
        if len(zones) > 1 and b"" in zones:
            asking.remark("some positions have a zone and others have none: these never match each other")
        if not lists.whole_gallery:
            asking.remark("only photos that occur in the lists are known, so a query may have positives that are not seen here")
        if places is not None:
            known = {*lists.names, *lists.query_names}
            missing = sum(name not in known for name in places)
            asking.note(missing, "photo", "of the CSV nowhere in the ranking: they count for nothing")
        return asking.done()


def position_of(name):
    """East, north and zone of a name `...@east@north@zone@...`; None where it has none."""
    fields = last_part(name).split(b"@")
    if len(fields) < 4:
        return None
    try:
        east, north = float(fields[1]), float(fields[2])
    except ValueError:
        return None
    if not (math.isfinite(east) and math.isfinite(north) and max(abs(east), abs(north)) < 1e9):
        return None
    zone = fields[3].lstrip(b"0") if fields[3].isdigit() and len(fields) > 4 else b""
    return east, north, zone


def _columns(places, zones):
    """Coordinates (n, 2) and numbers of zones (n,)."""
    places = list(places)
    coordinates = np.array([place[:2] for place in places], dtype=np.float64).reshape(-1, 2)
    return coordinates, np.array([zones.setdefault(place[2], len(zones)) for place in places], dtype=np.int64)


def within(gallery, gallery_zone, queries, query_zone, radius):
    """Which gallery points are at most `radius` from each query, by a grid of cells of that size.

    Parameters
    ----------
    gallery, queries : ndarray, shape (N, 2) and (Q, 2), float64
        Metres.
    gallery_zone, query_zone : ndarray of int
    radius : float

    Returns
    -------
    list of ndarray
        Per query, positions in `gallery`, ascending.
    """
    cells = np.floor(gallery / radius).astype(np.int64)
    keys = np.column_stack([gallery_zone, cells])
    order = np.lexsort(keys.T[::-1])
    table = {}  # cell -> where its photos are in `order`
    sorted_keys = keys[order]
    bounds = np.flatnonzero(np.r_[True, (sorted_keys[1:] != sorted_keys[:-1]).any(axis=1), True]) if len(order) else np.empty(0, np.int64)
    for start, stop in itertools.pairwise(bounds.tolist()):
        table[tuple(sorted_keys[start].tolist())] = (start, stop)
    found = []
    for point, zone, cell in zip(queries, query_zone.tolist(), np.floor(queries / radius).astype(np.int64).tolist(), strict=True):
        around = [table.get((zone, cell[0] + x, cell[1] + y)) for x in (-1, 0, 1) for y in (-1, 0, 1)]
        near = [order[start:stop] for start, stop in filter(None, around)]
        near = np.concatenate(near) if near else np.empty(0, dtype=np.int64)
        distance = np.hypot(*(gallery[near] - point).T)
        found.append(np.sort(near[distance <= radius]))
    return found
