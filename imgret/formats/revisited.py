"""The ground truths of Oxford and Paris by positions, revisited or not, as their authors distribute them (a pickle) or as JSON."""

import dataclasses
import json
import os

import numpy as np

from imgret.errors import ImgretError
from imgret.formats import files, unpickle
from imgret.names import shown, to_bytes

QUERIES = 100_000
LABELS = 1 << 22  # photos that all queries name, in all; or else four times the file's bytes: queries may share a list
_CONTAINERS = 1 << 21  # of JSON
_FARTHEST = 1e9  # pixels
LEVELS = ("easy", "hard", "junk")
OLD_LEVELS = ("ok", "junk")


@dataclasses.dataclass(frozen=True, eq=False)
class PositionsQuery:
    """One query.

    Attributes
    ----------
    name : bytes
        The query photo, as the ground truth writes it: without folder and extension.
    box : tuple of float, or None
        x1, y1, x2, y2 of the region asked for, in pixels of the photo.
    levels : dict of str to ndarray of int
        Positions in the gallery; distinct.
    """

    name: bytes
    box: tuple | None
    levels: dict


@dataclasses.dataclass(frozen=True, eq=False)
class RevisitedQuery:
    """One query of the revisited ground truth.

    Attributes
    ----------
    name, box : see `PositionsQuery`
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
    truth = read_positions(path, LEVELS)
    return RevisitedTruth(truth.gallery, [RevisitedQuery(query.name, query.box, **query.levels) for query in truth.queries])


def read_positions(path, levels=None):
    """Read a ground truth by positions.

    Parameters
    ----------
    path : str or path-like
    levels : tuple of str, optional
        `LEVELS`, of which no photo is in two; `OLD_LEVELS`, of which `ok` has what the text files call good and ok; or either, as the file
        has them.

    Returns
    -------
    RevisitedTruth
        Its queries are `PositionsQuery`.

    Raises
    ------
    ImgretError
    """
    data = _json(path) if is_json(path) else unpickle.load(path)
    if not isinstance(data, dict) or not all(key in data for key in ("imlist", "qimlist", "gnd")):
        raise ImgretError(f"{path} is not a {_words(levels)}ground truth: `imlist`, `qimlist` and `gnd` are expected")
    gallery, asking = (_names(path, key, data[key]) for key in ("imlist", "qimlist"))
    entries = unpickle.plain(data["gnd"])
    if not isinstance(entries, list | tuple) or len(entries) != len(asking):
        raise ImgretError(f"{path}: `gnd` must have one entry for each of the {len(asking)} queries in `qimlist`")
    if len(asking) > QUERIES:
        raise ImgretError(f"{path} has {len(asking)} queries: no more than {QUERIES} can be right")
    if levels is None:
        levels = OLD_LEVELS if isinstance(entries[0], dict) and "ok" in entries[0] else LEVELS
    queries, labels, most = [], 0, max(LABELS, 4 * os.path.getsize(path))
    for number, (name, entry) in enumerate(zip(asking, entries, strict=True)):
        queries.append(_query(f"{path}: `gnd`, entry {number} (query {shown(name)})", name, entry, levels, len(gallery)))
        labels += sum(map(len, queries[-1].levels.values()))
        if labels > most:
            raise ImgretError(f"{path} names more than {most} photos in `gnd`: this cannot be right")
    return RevisitedTruth(gallery, queries)


def is_json(path):
    """Whether a file is read as JSON: its name says so."""
    return str(path).lower().endswith(".json")


def _words(levels):
    return "revisited " if levels == LEVELS else ""


def _json(path):
    data = files.read_bytes(path, unpickle.LIMIT)
    if data.count(b"[") + data.count(b"{") > _CONTAINERS:
        raise ImgretError(f"{path} holds more than {_CONTAINERS} lists and objects: this cannot be right")
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


def _query(where, name, entry, levels, count):
    if levels == OLD_LEVELS and isinstance(entry, dict) and "ok" in entry:
        entry = {"junk": []} | entry  # a query may have none
    if not isinstance(entry, dict) or not all(level in entry for level in levels):
        raise ImgretError(f"{where}: {_expected(levels)} are expected{_other(levels, entry)}")
    found = {level: _positions(f"{where}: `{level}`", entry[level], count) for level in levels}
    for some in [np.concatenate(list(found.values()))] if levels == LEVELS else found.values():
        if len(np.unique(some)) < len(some):
            raise ImgretError(f"{where}: a photo is listed twice in {_expected(levels)}")
    return PositionsQuery(name, _box(f"{where}: `bbx`", entry.get("bbx")), found)


def _expected(levels):
    *first, last = (f"`{level}`" for level in levels)
    return f"{', '.join(first)} and {last}"


def _other(levels, entry):
    """What else the ground truth may be."""
    if isinstance(entry, dict) and levels == LEVELS and "ok" in entry:
        return "; with `ok` this is the ground truth of Oxford5k or Paris6k before it was revisited: --protocol oxford5k or paris6k"
    if isinstance(entry, dict) and levels == OLD_LEVELS and "easy" in entry:
        return "; with `easy` and `hard` this is the revisited ground truth: --protocol roxford5k or rparis6k"
    return ""


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
