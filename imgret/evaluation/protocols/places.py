"""Visual place recognition: a photo taken within so many metres is a match."""

import dataclasses
import itertools

import numpy as np

from imgret import registry
from imgret.errors import ImgretError
from imgret.evaluation.asking import Asking
from imgret.evaluation.protocols.base import Protocol
from imgret.evaluation.questions import Question
from imgret.evaluation.wording import SELF_REMOVED, TRUNCATION, WHOLE
from imgret.formats.groundtruth import GALLERY, QUERY
from imgret.formats.listfolder import read_folder
from imgret.formats.places import in_names, position_of
from imgret.formats.placesets import read_places
from imgret.names import shown
from imgret.registry import param

JUNK = "photos whose role is only query; for each query photos of its own traversal within the radius"  # where there are such
NO_POSITION, SILENT = "without a position", "whose role in the ground truth is not query"
DEGREES = "all positions are within 180: are they degrees? Metres are needed"
ZONES = "some positions have a zone and others have none: these never match each other"


class Places(Protocol):
    """Recall@N by distance: a query counts at N where one of the first N photos was taken within the radius.

    Positions are UTM metres: in the names, `@east@north@zone@...` as the visual geo-localisation benchmarks write them, or in a CSV. Photos
    of different zones never match. A query without any gallery photo within the radius stays in the mean as not recalled; a query without a
    position is skipped, a gallery photo without one matches nothing, and both are counted. The query photo itself is taken out of its
    list. Compass, height and time are not looked at. Where the ground truth gives roles, or folders of the names do (`queries`, `query` and
    `database`, both of them), photos that do not ask are skipped as queries, and those that only ask are taken out of every list. Where it
    gives traversals, photos within the radius that are of the query's own are taken out of its list.
    """

    name = "places"
    takes_truth = True
    truth_is = (
        "optional: a CSV with the header image,east,north in metres (and zone, role, traversal), a .mat file with dbStruct, or a folder of "
        "MSLS, where the names do not say @east@north@"
    )
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
        if truth is None:
            return read_folder(path, lambda name: position_of(name) is not None)
        known = {name for table in read_places(truth).tables for form in table.forms for name in table.named(form)}
        return read_folder(path, known, known=known)

    def names_in(self, lists, truth):
        """The names of the ground truth; see `Protocol.names_in`."""
        return lists.names if truth is None else read_places(truth).of((*lists.names, *lists.query_names))

    def searched(self, names, truth):
        """Those that ask, and those that answer; see `Protocol.searched`."""
        found = in_names(names) if truth is None else read_places(truth)
        if not found.roles:
            return names, names
        known = found.of(names)
        roles = [known[name].role if name in known else 0 for name in names]
        asking = [name for name, role in zip(names, roles, strict=True) if role & QUERY]
        return asking, [name for name, role in zip(names, roles, strict=True) if role != QUERY]

    def ask(self, lists, truth):
        """What the positions ask of the lists; see `Protocol.ask`."""
        known = {*lists.names, *lists.query_names}
        found = in_names(known) if truth is None else read_places(truth)
        places = found.of(known)
        gallery, placed, others, silent = _sides(lists, places, found.roles)
        self._check_known(lists, gallery, placed, truth)
        zones, tours = {}, {b"": -1}
        photos = np.array(list(gallery), dtype=np.int64)
        coordinates, zone = _columns(gallery.values(), zones)
        asked_at, asked_zone = _columns((place for _, place in placed), zones)
        tour = np.array([tours.setdefault(place.traversal, len(tours)) for place in gallery.values()], dtype=np.int64)
        counts = np.array([place.role != 0 for place in gallery.values()], dtype=bool)
        near = within(coordinates, zone, asked_at, asked_zone, self.params.radius)
        asking, lonely = Asking(lists, skips=(NO_POSITION, SILENT)), 0
        asking.skip(NO_POSITION, len(lists.query_names) - len(placed) - silent)
        asking.skip(SILENT, silent)
        positions = lists.positions()
        for (row, place), around in zip(placed, near, strict=True):
            own = positions.get(lists.query_names[row], -1)
            around = around[photos[around] != own]
            alike = tour[around] == tours.get(place.traversal, -2)
            alike &= place.traversal != b""
            ids = photos[around[~alike & counts[around]]]
            lonely += len(ids) == 0
            asking.add(Question(row, lists.query_names[row], len(ids), ids, junk=photos[around[alike]], own=own))
        asking.take_out(others)
        if found.roles or len(tours) > 1:
            self.conventions = self.conventions | {"junk": JUNK}
        asking.note(len(lists.names) - len(gallery) - len(others), "gallery photo", "without a position: they match nothing")
        asking.note(lonely, "query", f"without a gallery photo within {self.params.radius:g} m: these count as not recalled")
        if max(np.abs(coordinates).max(), np.abs(asked_at).max()) <= 180:
            asking.remark(DEGREES)
        if len(zones) > 1 and b"" in zones:
            asking.remark(ZONES)
        if not lists.whole_gallery:
            asking.remark("only photos that occur in the lists are known, so a query may have positives that are not seen here")
        if truth is not None:
            missing = sum(name not in known for name in places)
            what = "CSV" if len(found.tables[0].forms) == 1 else "ground truth"
            asking.note(missing, "photo", f"of the {what} nowhere in the ranking: they count for nothing")
        asking.remark(*found.notes)
        return asking.done()

    @staticmethod
    def _check_known(lists, gallery, placed, truth):
        source = "in the names (@east@north@)" if truth is None else f"in {truth}"
        for what, some, names in (("gallery photo", gallery, lists.names), ("query", placed, lists.query_names)):
            if not some:
                raise ImgretError(
                    f"no {what} of {lists.label} has a position {source}"
                    + (f", for example {shown(names[0])}" if names else "")
                    + ("; give a CSV with --truth" if truth is None else "; write the names as the ranking has them")
                )


def _sides(lists, places, roles):
    """Gallery photos with a place, (list, place) of those that ask, gallery photos that only ask, and how many queries may not ask."""
    gallery = {photo: place for photo, name in enumerate(lists.names) if (place := places.get(name)) is not None}
    placed = [(row, place) for row, name in enumerate(lists.query_names) if (place := places.get(name)) is not None]
    if not roles:
        return gallery, placed, [], 0
    others = [photo for photo, place in gallery.items() if place.role == QUERY]
    asking = [(row, place) for row, place in placed if place.role & QUERY]
    if placed and not asking:
        raise ImgretError(
            f"no query of {lists.label} has the role query in its ground truth: nothing can be asked; ask with those that have"
        )
    if gallery and not any(place.role & GALLERY for place in gallery.values()):
        raise ImgretError(
            f"no gallery photo of {lists.label} has the role gallery in its ground truth: nothing can match; search among those"
        )
    return {photo: place for photo, place in gallery.items() if place.role != QUERY}, asking, others, len(placed) - len(asking)


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
