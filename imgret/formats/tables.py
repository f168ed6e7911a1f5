"""Ground truths as tables: places (positions in metres) and pairs (queries and what they are copies of)."""

import math

from imgret.errors import ImgretError
from imgret.formats.groundtruth import role_of, rows
from imgret.formats.places import Place, Places, Table
from imgret.names import shown, to_bytes

FORM = "the ground truth must be a CSV with the header"


def read_places(path):
    """Read positions: a CSV with the header `image,east,north` (or `utm_east`, `utm_north`) and optionally `zone`, `role` and `traversal`.

    Columns are in any order; positions are in metres. A role is `query`, `gallery`, `query+gallery` or `distractor`.

    Parameters
    ----------
    path : str or path-like

    Returns
    -------
    imgret.formats.places.Places

    Raises
    ------
    ImgretError
        With file and line.
    """
    places, roles = {}, False
    headers = "image,east,north (and, if need be, zone, role, traversal)"
    aliases = {"utm_east": "east", "utm_north": "north"}
    optional = ("zone", "role", "traversal")
    for number, row in rows(path, ("image", "east", "north"), optional, form=f"{FORM} {headers}", headers=headers, aliases=aliases):
        name = to_bytes(row["image"])
        if name in places:
            raise ImgretError(f"{path}:{number}: {shown(name)} is listed again: one line per image")
        at = (metres(path, number, axis, row[axis]) for axis in ("east", "north"))
        zone, traversal = (to_bytes(row.get(column, "").strip()) for column in ("zone", "traversal"))
        places[name] = Place(*at, zone, role_of(path, number, row), traversal)
        roles = "role" in row
    if not places:
        raise ImgretError(f"{path} lists no image: one line per image is expected below the header")
    return Places(str(path), (Table(places),), roles)


def metres(path, number, axis, text):
    """A coordinate of a line.

    Raises
    ------
    ImgretError
    """
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not math.isfinite(value) or abs(value) > 1e9:
        raise ImgretError(f"{path}:{number}: {axis} must be a number of metres, got {shown(to_bytes(text))}")
    return value


def read_pairs(path):
    """Read true pairs: a CSV with the header `query,reference` (or `query_id,reference_id`); an empty reference says that there is none.

    Parameters
    ----------
    path : str or path-like

    Returns
    -------
    dict of bytes to list of bytes
        query -> references.

    Raises
    ------
    ImgretError
        With file and line, also for a pair that is listed twice.
    """
    pairs = {}
    aliases = {"query_id": "query", "reference_id": "reference"}
    for number, row in rows(path, ("query", "reference"), form=f"{FORM} query,reference", headers="query,reference", aliases=aliases):
        query, reference = to_bytes(row["query"].strip()), to_bytes(row["reference"].strip())
        if not query:
            raise ImgretError(f"{path}:{number}: the query has no name")
        references = pairs.setdefault(query, {})
        if references and b"" in {reference, *references} and reference not in references:
            raise ImgretError(f"{path}:{number}: {shown(query)} is listed with a reference and without one: keep one")
        if reference in references:
            raise ImgretError(f"{path}:{number}: the pair {shown(query)}, {shown(reference)} is listed twice")
        references[reference] = number
    pairs = {query: [name for name in references if name] for query, references in pairs.items()}
    if not any(pairs.values()):
        raise ImgretError(f"{path} lists no pair: one line per pair is expected below the header")
    return pairs
