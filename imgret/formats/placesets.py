"""Where photos were taken, in whatever form a set is distributed: a CSV, a `.mat` file, a folder of MSLS."""

import hashlib
import os

from imgret.formats import files, matlab, msls, tables
from imgret.formats.dbstruct import is_matlab, read_dbstruct
from imgret.formats.groundtruth import CSV_LIMIT, GALLERY, QUERY
from imgret.formats.places import Place, Places, Table

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
    return "mat" if os.path.isfile(path) and (str(path).lower().endswith(".mat") or is_matlab(path)) else None


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
    sides = ({}, {})
    stamps = [b""] * len(found.names) if found.stamps is None else [b"%.17g" % stamp for stamp in found.stamps]
    for name, at, asks, stamp in zip(found.names, found.positions.tolist(), found.asks.tolist(), stamps, strict=True):
        sides[asks][name] = Place(*at, role=QUERY if asks else GALLERY, traversal=stamp)
    return Places(str(path), (Table(sides[0], GALLERIES), Table(sides[1], QUERIES)), True)


def content_of(path):
    """What a set says, as it is recorded: the digest of its file, or of its tables' names and bytes.

    Parameters
    ----------
    path : str or path-like

    Returns
    -------
    str

    Raises
    ------
    ImgretError
    """
    if not os.path.isdir(path):
        return hashlib.sha256(files.read_bytes(path, matlab.LIMIT)).hexdigest()
    digest = hashlib.sha256()
    for name in msls.files_of(path):
        data = files.read_bytes(os.path.join(path, name), CSV_LIMIT)
        digest.update(hashlib.sha256(os.fsencode(name)).digest() + hashlib.sha256(data).digest())
    return digest.hexdigest()
