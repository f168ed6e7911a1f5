"""The revisited ground truth of Oxford and Paris, as its authors distribute it (a pickle) or as JSON."""

import dataclasses
import json

import numpy as np

from imgret.errors import ImgretError
from imgret.formats import files, unpickle
from imgret.names import shown, to_bytes

QUERIES = 100_000
LABELS = 1 << 27  # photos that all queries name, in all
_FARTHEST = 1e9  # pixels
LEVELS = ("easy", "hard", "junk")


@dataclasses.dataclass(frozen=True, eq=False)
class RevisitedQuery:
    """One query.

    Attributes
    ----------
    name : bytes
        The query photo, as the ground truth writes it: without folder and extension.
    box : tuple of float, or None
        x1, y1, x2, y2 of the region asked for, in pixels of the photo.
    easy, hard, junk : ndarray of int
        Positions in the gallery; distinct, and no photo is in two of them.
    """

    name: bytes
    box: tuple | None
    easy: np.ndarray
    hard: np.ndarray
    junk: np.ndarray


@dataclasses.dataclass(frozen=True, eq=False)
class RevisitedTruth:
    """The gallery's names (bytes) and the queries."""

    gallery: list
    queries: list


def read_revisited(path):
    """Read `gnd_roxford5k.pkl`, `gnd_rparis6k.pkl`, or the same as JSON.

    An object with `imlist` (names of the gallery), `qimlist` (names of the query photos) and `gnd`, which has for each query `easy`,
    `hard` and `junk` (positions in `imlist`) and, where it asks with a region, `bbx` (x1, y1, x2, y2).

    Parameters
    ----------
    path : str or path-like
        `.json`, or else a pickle: it is read as data, nothing in it is run.

    Returns
    -------
    RevisitedTruth

    Raises
    ------
    ImgretError
        Naming query and field, for whatever is not so.
    """
    data = _json(path) if str(path).lower().endswith(".json") else unpickle.load(path)
    if not isinstance(data, dict) or not all(key in data for key in ("imlist", "qimlist", "gnd")):
        raise ImgretError(f"{path} is not a revisited ground truth: `imlist`, `qimlist` and `gnd` are expected")
    gallery, asking = (_names(path, key, data[key]) for key in ("imlist", "qimlist"))
    entries = unpickle.plain(data["gnd"])
    if not isinstance(entries, list | tuple) or len(entries) != len(asking):
        raise ImgretError(f"{path}: `gnd` must have one entry for each of the {len(asking)} queries in `qimlist`")
    if len(asking) > QUERIES:
        raise ImgretError(f"{path} has {len(asking)} queries: no more than {QUERIES} can be right")
    queries, labels = [], 0
    for number, (name, entry) in enumerate(zip(asking, entries, strict=True)):
        queries.append(_query(path, number, name, entry, len(gallery)))
        labels += sum(len(getattr(queries[-1], level)) for level in LEVELS)
        if labels > LABELS:
            raise ImgretError(f"{path} names more than {LABELS} photos in `gnd`: this cannot be right")
    return RevisitedTruth(gallery, queries)


def _json(path):
    data = files.read_bytes(path, unpickle.LIMIT)
    try:
        return json.loads(data)  # which knows byte order marks
    except json.JSONDecodeError as error:
        raise ImgretError(f"{path}:{error.lineno}: malformed JSON ({error.msg})") from None
    except (UnicodeDecodeError, RecursionError, ValueError) as error:
        raise ImgretError(f"{path} is not JSON that can be read ({' '.join(str(error).split())[:100]})") from None


def _names(path, key, values):
    values = unpickle.plain(values)
    if not isinstance(values, list | tuple) or not values:
        raise ImgretError(f"{path}: `{key}` must be a list of photo names")
    names = {}
    for number, value in enumerate(values):
        if not isinstance(value, str | bytes) or not value:
            raise ImgretError(f"{path}: `{key}` must be a list of photo names, entry {number} (from 0) is none")
        try:
            name = value if isinstance(value, bytes) else to_bytes(value)
        except UnicodeEncodeError:
            raise ImgretError(f"{path}: `{key}`, entry {number} (from 0), is no text") from None
        if name in names:
            raise ImgretError(f"{path}: `{key}` lists {shown(name)} twice, as entries {names[name]} and {number} (from 0)")
        names[name] = number
    return list(names)


def _query(path, number, name, entry, count):
    where = f"{path}: `gnd`, entry {number} (query {shown(name)})"
    if not isinstance(entry, dict) or not all(level in entry for level in LEVELS):
        raise ImgretError(f"{where}: `easy`, `hard` and `junk` are expected")
    sets = [_positions(f"{where}: `{level}`", entry[level], count) for level in LEVELS]
    both = np.concatenate(sets)
    if len(np.unique(both)) < len(both):
        raise ImgretError(f"{where}: a photo is listed twice in `easy`, `hard` and `junk`")
    return RevisitedQuery(name, _box(f"{where}: `bbx`", entry.get("bbx")), *sets)


def _positions(where, values, count):
    values = unpickle.plain(values)
    good = isinstance(values, list | tuple) and all(type(value) is int and 0 <= value < count for value in values)
    if not good:
        raise ImgretError(f"{where} must be a list of positions in `imlist`, from 0 to {count - 1}")
    return np.array(values, dtype=np.int64)


def _box(where, values):
    if values is None:
        return None
    values = unpickle.plain(values)
    good = isinstance(values, list | tuple) and len(values) == 4
    box = tuple(map(unpickle.plain, values)) if good else ()
    good = good and all(type(value) in (int, float) and abs(value) < _FARTHEST for value in box)  # False for NaN
    if not good or box[0] > box[2] or box[1] > box[3]:
        raise ImgretError(f"{where} must be x1, y1, x2, y2 with x1 <= x2 and y1 <= y2")
    return tuple(map(float, box))
