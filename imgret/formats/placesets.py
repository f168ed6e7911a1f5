"""Where photos were taken, in whatever form a set is distributed: a CSV, a `.mat` file, a folder of MSLS."""

import os

import numpy as np

from imgret.errors import ImgretError
from imgret.formats import msls, tables
from imgret.formats.dbstruct import read_dbstruct
from imgret.formats.groundtruth import GALLERY, QUERY
from imgret.formats.places import Place, Places, Table
from imgret.names import shown

# where the photos of such sets are below the folder of a set, and what the files are called; names in the file are relative to these
ENDINGS = (b"", b".png", b".jpg")  # Tokyo 24/7 names files .jpg that are .png
GALLERIES = tuple((folder, ending) for ending in ENDINGS for folder in (b"", b"images/", b"database/"))
QUERIES = tuple(
    (folder, ending) for ending in ENDINGS for folder in (b"queries_real/", b"queries/", b"query/", b"247query_v3/", b"", b"images/")
)


def form_of(path):
    """What holds the places of a set as it is distributed: "mat" (a file), "msls" (a folder), or None where `path` is neither."""
    if os.path.isdir(path):
        return "msls" if msls.cities_of(path) else None
    return "mat" if str(path).lower().endswith(".mat") else None


def read_places(path):
    """Read where photos were taken: a CSV, a `.mat` file with `dbStruct`, or a folder of MSLS.

    Parameters
    ----------
    path : str or path-like

    Returns
    -------
    imgret.formats.places.Places

    Raises
    ------
    ImgretError
    """
    form = form_of(path)
    if form == "msls":
        return msls.read_msls(path)
    return _of_dbstruct(path) if form == "mat" else tables.read_places(path)


def _of_dbstruct(path):
    found = read_dbstruct(path)
    if not np.isfinite(found.positions).all() or np.abs(found.positions).max(initial=0) > 1e9:
        wrong = int(np.flatnonzero(~(np.abs(found.positions) <= 1e9).all(axis=1))[0])
        raise ImgretError(f"{path}: the position of {shown(found.names[wrong])} is no number of metres: correct it, or leave the photo out")
    sides = ({}, {})
    stamps = [b""] * len(found.names) if found.stamps is None else found.stamps
    for name, at, asks, stamp in zip(found.names, found.positions.tolist(), found.asks.tolist(), stamps, strict=True):
        if name in sides[asks]:
            raise ImgretError(f"{path} lists {shown(name)} twice {'as a query' if asks else 'in the database'}: keep one")
        sides[asks][name] = Place(*at, role=QUERY if asks else GALLERY, traversal=stamp)
    return Places(str(path), (Table(sides[0], GALLERIES), Table(sides[1], QUERIES)), True)
