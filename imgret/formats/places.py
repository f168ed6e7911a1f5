"""Where photos were taken, as files and names say it: positions in metres, and what a photo does in a set."""

import dataclasses
import math
import typing

from imgret.errors import ImgretError
from imgret.formats.groundtruth import GALLERY, QUERY
from imgret.names import last_part, shown

BOTH = QUERY | GALLERY
FOLDERS = {b"query": QUERY, b"queries": QUERY, b"database": GALLERY}  # of visual geo-localisation benchmarks, and MSLS
SAME = 1.0  # metres within which a photo that is listed twice is at one place


class Place(typing.NamedTuple):
    """Where a photo was taken.

    Attributes
    ----------
    east, north : float
        Metres.
    zone : bytes
        Photos of different zones are never near each other.
    role : int
        `QUERY`, `GALLERY`, both (by `|`), or 0 for a distractor.
    traversal : bytes
        The drive or walk on which it was taken: near photos of one are trivially alike. b"" where it is not said.
    """

    east: float
    north: float
    zone: bytes = b""
    role: int = BOTH
    traversal: bytes = b""


@dataclasses.dataclass(frozen=True, eq=False)
class Table:
    """Places of photos that are named relative to a folder.

    Attributes
    ----------
    places : dict of bytes to Place
    forms : tuple of (bytes, bytes)
        What may stand before the names where photos are named, and the ending that they may have instead of their own (b"" for their own);
        the first that names most photos counts.
    """

    places: dict
    forms: tuple = ((b"", b""),)

    def of(self, names):
        """The places by name as photos are named.

        Parameters
        ----------
        names : set of bytes

        Returns
        -------
        dict of bytes to Place
        """
        if len(self.forms) == 1:
            return self.named(self.forms[0])
        return max((self.named(form) for form in self.forms), key=lambda named: len(named.keys() & names))

    def named(self, form):
        """The same, in one of the forms."""
        folder, ending = form
        if form == (b"", b""):
            return self.places
        return {folder + (name[: name.rfind(b".")] + ending if ending and b"." in name else name): at for name, at in self.places.items()}


@dataclasses.dataclass(frozen=True, eq=False)
class Places:
    """Where photos were taken, and what they do.

    Attributes
    ----------
    label : str
        What says so, for messages.
    tables : tuple of Table
    roles : bool
        Whether it is said which photos ask, and which answer.
    notes : tuple of str
        What is to be told, a sentence each.
    """

    label: str
    tables: tuple
    roles: bool = False
    notes: tuple = ()

    def of(self, names):
        """The places of all photos, by name as some photos are named.

        Parameters
        ----------
        names : iterable of bytes

        Returns
        -------
        dict of bytes to Place

        Raises
        ------
        ImgretError
            If a photo is at two places.
        """
        if len(self.tables) == 1:
            return self.tables[0].of(set(names))
        found, names = {}, set(names)
        for table in self.tables:
            for name, place in table.of(names).items():
                found[name] = self._joined(name, found[name], place) if name in found else place
        return found

    def _joined(self, name, one, other):
        if one.zone != other.zone or math.dist(one[:2], other[:2]) > SAME or one.traversal != other.traversal:
            raise ImgretError(
                f"{self.label}: {shown(name)} is in the database and a query, and at two places: keep the photos of both in folders of "
                "their own, and give --root the folder above"
            )
        return one._replace(role=one.role | other.role)


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


def in_names(names):
    """Where photos were taken, as their names say it.

    Their folders say what they do, where there are both some that ask and some that answer: the last folder of a name that is called
    `query`, `queries` or `database` counts.

    Parameters
    ----------
    names : iterable of bytes

    Returns
    -------
    Places
    """
    found = {name: place for name in names if (place := position_of(name)) is not None}
    roles = {name: _role_of(name) for name in found}
    said = {QUERY, GALLERY} <= set(roles.values())
    return Places("the names", (Table({name: Place(*place, roles[name] if said else BOTH) for name, place in found.items()}),), said)


def _role_of(name):
    return next((FOLDERS[part] for part in reversed(name.split(b"/")[:-1]) if part in FOLDERS), BOTH)
