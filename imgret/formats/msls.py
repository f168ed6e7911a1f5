"""Mapillary Street-Level Sequences as they are distributed: for each city a folder of queries and one of the database, with tables."""

import os

from imgret.errors import ImgretError, counted, why
from imgret.formats.groundtruth import GALLERY, QUERY, rows
from imgret.formats.places import Place, Places, Table
from imgret.formats.tables import metres
from imgret.names import shown, to_bytes

SIDES = {"database": GALLERY, "query": QUERY}
POSITIONS, SEQUENCES, RAW = "postprocessed.csv", "seq_info.csv", "raw.csv"
MOST = 1000  # folders looked at for cities


def cities_of(folder):
    """The cities below a folder, which may be one itself: list of (name below it, path), by name.

    Parameters
    ----------
    folder : str or path-like
        Of a city, of cities (`train_val`), or that of the whole set.
    """
    folder = os.path.abspath(os.fspath(folder))
    if _is_city(folder):
        return [("", folder)]
    for below in ("", "train_val"):
        where = os.path.join(folder, below)
        found = [(os.path.join(below, name), os.path.join(where, name)) for name in _entries(where)]
        found = [(name, path) for name, path in found if _is_city(path)]
        if found:
            return found
    return []


def _is_city(folder):
    return any(os.path.isfile(os.path.join(folder, side, POSITIONS)) for side in SIDES)


def _entries(folder):
    try:
        return sorted(os.listdir(folder))[:MOST]
    except OSError as error:
        if not os.path.isdir(folder):
            return []
        raise ImgretError(f"{folder} cannot be read: {why(error)}") from None


def files_of(folder):
    """The tables that `read_msls` reads, relative to the folder, in order."""
    found = []
    for name, path in cities_of(folder):
        parts = [os.path.join(side, file) for side in SIDES for file in (POSITIONS, SEQUENCES, RAW)]
        found += [os.path.join(name, part) for part in parts if os.path.isfile(os.path.join(path, part))]
    return found


def read_msls(folder):
    """Read where photos were taken and on which sequence.

    A city is a zone of its own: photos of two never match. Panoramas, and photos that show the car (`control_panel`), are left out.

    Parameters
    ----------
    folder : str or path-like
        See `cities_of`.

    Returns
    -------
    imgret.formats.places.Places
        Names are relative to the folder, to that above it, or to that above both.

    Raises
    ------
    ImgretError
        With file and line; for a city that lacks a side.
    """
    folder, places, left, zones = os.path.abspath(os.fspath(folder)), {}, 0, {}
    for name, path in cities_of(folder):
        zone = to_bytes(os.path.basename(path))
        zones[zone] = None
        for side, role in SIDES.items():
            where = os.path.join(path, side)
            if not os.path.isfile(os.path.join(where, POSITIONS)):
                raise ImgretError(
                    f"{path} has no {side}/{POSITIONS}: a city of MSLS has a folder query and a folder database, each with one"
                )
            prefix = to_bytes(f"{name}/{side}/images/".lstrip("/"))
            left += _read_side(where, prefix, zone, role, places)
    notes = (f"{counted(left, 'photo')} of {folder} are panoramas or show the car: left out",) if left else ()
    last, above = os.path.basename(folder), os.path.basename(os.path.dirname(folder))
    forms = tuple((to_bytes(start), b"") for start in ("", f"{last}/", f"{above}/{last}/"))
    if not places:
        raise ImgretError(f"{folder} lists no photo in its {POSITIONS}: unpack the tables of the set again")
    return Places(folder, (Table(places, forms),), True, notes)


def _read_side(where, prefix, zone, role, places):
    """Add the photos of a side; how many are left out."""
    sequences, left = _column(where, SEQUENCES, "sequence_key"), 0
    panoramas = _column(where, RAW, "pano")
    path = os.path.join(where, POSITIONS)
    other = ("", "unique_cluster", "night", "control_panel", "view_direction")
    for number, row in rows(path, ("key", "easting", "northing"), other, form=f"a table of MSLS, {HEADER}", headers=HEADER):
        name = prefix + to_bytes(row["key"]) + b".jpg"
        if name in places:
            raise ImgretError(f"{path}:{number}: {shown(to_bytes(row['key']))} is listed again: one line per photo")
        if _true(row.get("control_panel", "")) or _true(panoramas.get(row["key"], "")):
            left += 1
            continue
        east, north = (metres(path, number, axis, row[axis]) for axis in ("easting", "northing"))
        places[name] = Place(east, north, zone, role, to_bytes(sequences.get(row["key"], "")))
    return left


HEADER = "key,easting,northing (unique_cluster, night, control_panel, view_direction)"


def _column(where, file, column):
    """A column of a table that may be there, by key: dict of str to str."""
    path = os.path.join(where, file)
    if not os.path.isfile(path):
        return {}
    other = ("", "sequence_key", "frame_number", "pano", "lon", "lat", "ca", "captured_at")
    optional = tuple(name for name in other if name != column)
    headers = f"key,{column}"
    return {
        row["key"]: row[column] for _, row in rows(path, ("key", column), optional, form=f"a table of MSLS, {headers}", headers=headers)
    }


def _true(word):
    return word.strip().lower() in ("true", "1", "1.0")
