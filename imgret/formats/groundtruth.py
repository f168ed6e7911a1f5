"""Ground truths as people have them: a CSV of groups, the Oxford and Paris text files, a list of names."""

import csv
import dataclasses
import io
import math
import os
import pathlib

from imgret.errors import ImgretError, why
from imgret.formats import files, revisited
from imgret.names import shown, to_bytes, to_text

CSV_LIMIT = 1 << 30  # bytes: room for ten million photos
OXFORD_LIMIT = 16 << 20  # bytes in one file; the largest official one has 10 KB
OXFORD_QUERIES = 100_000

QUERY, GALLERY = 1, 2
ROLES = {"query": QUERY, "gallery": GALLERY, "query+gallery": QUERY | GALLERY, "gallery+query": QUERY | GALLERY, "distractor": 0}


@dataclasses.dataclass(frozen=True, eq=False)
class GroupTruth:
    """Photos, the groups they belong to, and what they do.

    Attributes
    ----------
    names : list of bytes
        Distinct.
    groups : list of tuple of bytes
        Per photo; empty where it belongs to none.
    roles : list of int
        Per photo: `QUERY`, `GALLERY`, both (by `|`), or 0 for a distractor.
    """

    names: list
    groups: list
    roles: list


def read_groups(path):
    """Read a ground truth of groups: a CSV (RFC 4180) with the header `image,group` or `image,group,role`, columns in any order.

    `group` may list several, separated by `;`, or be empty. `role` is `query`, `gallery`, `query+gallery` or `distractor`; without
    the column every photo is `query+gallery`. UTF-8, with or without a byte order mark; bytes that are not UTF-8 are kept as they are. Any
    line ends; blank lines are passed over.

    Parameters
    ----------
    path : str or path-like

    Returns
    -------
    GroupTruth

    Raises
    ------
    ImgretError
        With file and line, for whatever is malformed, for an unknown role, and for a photo that has two lines.
    """
    lines, groups, roles = {}, [], []
    form, headers = "the ground truth must be a CSV with the header image,group,role", "image,group or image,group,role"
    for number, row in rows(path, ("image", "group"), ("role",), form=form, headers=headers):
        name = to_bytes(row["image"])
        if not name:
            raise ImgretError(f"{path}:{number}: the image has no name")
        if name in lines:
            raise ImgretError(
                f"{path}:{number}: {shown(name)} is listed again, first in line {lines[name]}: one line per image, several groups as a;b"
            )
        lines[name] = number
        groups.append(tuple(dict.fromkeys(to_bytes(part.strip()) for part in row["group"].split(";") if part.strip())))
        roles.append(role_of(path, number, row))
    if not lines:
        raise ImgretError(f"{path} lists no image: one line per image is expected below the header")
    return GroupTruth(list(lines), groups, roles)


def role_of(path, number, row):
    """The role that a line of a CSV gives a photo: by default it both asks and answers.

    Raises
    ------
    ImgretError
    """
    word = row.get("role", "query+gallery").strip()
    if word not in ROLES:
        raise ImgretError(
            f"{path}:{number}: there is no role {shown(to_bytes(word))}; a role is query, gallery, query+gallery or distractor"
        )
    return ROLES[word]


def rows(path, needed, optional=(), *, form, headers, aliases=None):
    """Yield (line, fields by column) of a CSV with a header, columns in any order; the fields are str (see `names.to_bytes`).

    Parameters
    ----------
    path : str or path-like
    needed, optional : sequence of str
        Columns.
    form, headers : str
        For messages: what the file must be, and which headers it may have.
    aliases : dict of str to str, optional
        Other names of columns.

    Raises
    ------
    ImgretError
        With file and line.
    """
    listed = _records(path)
    number, header = next(listed, (1, None))
    if header is None:
        raise ImgretError(f"{path} is empty: {form}")
    columns = [(aliases or {}).get(column.strip().lower(), column.strip().lower()) for column in header]
    if len(set(columns)) < len(columns) or not set(needed) <= set(columns) <= {*needed, *optional}:
        got = shown(to_bytes(",".join(header)))
        raise ImgretError(f"{path}:{number}: the first line must be the header {headers}, got {got}")
    for number, record in listed:
        if len(record) != len(columns):
            raise ImgretError(f"{path}:{number}: {len(columns)} fields are expected ({','.join(columns)}), this line has {len(record)}")
        yield number, dict(zip(columns, record, strict=True))


def _records(path):
    """Yield (line where it begins, fields) of each record of a CSV that is not blank."""
    data = files.read_text(path, CSV_LIMIT, regular=False)
    if b"\0" in data:
        line = data[: data.index(b"\0")].count(b"\n") + 1
        raise ImgretError(f"{path}:{line}: a NUL byte: a CSV in UTF-8 is needed")
    text = io.StringIO(to_text(data), newline="")
    reader = csv.reader(text, strict=True)
    number = 1
    while True:
        try:
            record = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            raise ImgretError(f"{path}:{number}: malformed CSV ({error})") from None
        if record:
            yield number, record
        number = reader.line_num + 1


@dataclasses.dataclass(frozen=True)
class OxfordQuery:
    """One query of the Oxford or Paris ground truth.

    Attributes
    ----------
    label : bytes
        As its files are named: `all_souls_1`; in a file of all queries, as its photo.
    photo : bytes
        The query photo without the prefix `oxc1_`.
    box : tuple of float, or None
        x1, y1, x2, y2 of the region asked for, in pixels of the photo.
    positives, junk : frozenset of bytes
        Good and ok; junk. A photo in both is junk, as in the official program, and still counts among the positives.
    """

    label: bytes
    photo: bytes
    box: tuple | None
    positives: frozenset
    junk: frozenset


def read_oxford(folder):
    """Read the ground truth of Oxford5k or Paris6k: `Q_query.txt`, `Q_good.txt`, `Q_ok.txt` and `Q_junk.txt` of each query Q, or one file.

    Parameters
    ----------
    folder : str or path-like
        The folder of the text files; or `gnd_oxford5k.pkl`, `gnd_paris6k.pkl` (read as data, nothing in it is run) or the same as JSON:
        `imlist`, `qimlist` and `gnd`, which has for each query `ok` (good and ok), perhaps `junk` (positions in `imlist`), and `bbx`.

    Returns
    -------
    list of OxfordQuery
        In label order.

    Raises
    ------
    ImgretError
        With file and line, for whatever is missing, malformed or too large to be such a file.
    """
    if str(folder).lower().endswith((".pkl", ".json")) and not os.path.isdir(folder):
        return _oxford_positions(folder)
    if not os.path.isdir(folder):
        raise ImgretError(f"{folder} is not a folder: the folder of the ground truth's text files (*_query.txt ...) is needed")
    try:
        entries = sorted(os.listdir(folder))
    except OSError as error:
        raise ImgretError(f"{folder} cannot be read: {why(error)}") from None
    labels = [entry.removesuffix("_query.txt") for entry in entries if entry.endswith("_query.txt")]
    if not labels:
        raise ImgretError(f"{folder} holds no *_query.txt: the folder of the Oxford or Paris text ground truth is needed")
    if len(labels) > OXFORD_QUERIES:
        raise ImgretError(f"{folder} holds {len(labels)} queries: no more than {OXFORD_QUERIES} can be right")
    return [_oxford_query(pathlib.Path(folder), label) for label in labels]


def _oxford_positions(path):
    truth = revisited.read_positions(path, revisited.OLD_LEVELS)
    queries = []
    for query in sorted(truth.queries, key=lambda query: query.name):
        positives, junk = (frozenset(truth.gallery[photo] for photo in query.levels[level]) for level in revisited.OLD_LEVELS)
        queries.append(OxfordQuery(query.name, query.name.removeprefix(b"oxc1_"), query.box, positives, junk))
    return queries


def _oxford_query(folder, label):
    path = folder / f"{label}_query.txt"
    lines = _oxford_lines(path)
    if len(lines) != 1 or len(lines[0][1]) != 5:
        number = lines[0][0] if len(lines) == 1 else 1
        raise ImgretError(f"{path}:{number}: one line of five fields is expected: photo x1 y1 x2 y2")
    number, (photo, *corners) = lines[0]
    try:
        box = tuple(float(corner) for corner in corners)
    except ValueError:
        box = (math.nan,)
    if not all(math.isfinite(corner) for corner in box) or box[0] > box[2] or box[1] > box[3]:
        raise ImgretError(f"{path}:{number}: the box x1 y1 x2 y2 must be four numbers with x1 <= x2 and y1 <= y2")
    sets = {kind: _oxford_names(folder / f"{label}_{kind}.txt") for kind in ("good", "ok", "junk")}
    photo = photo.removeprefix(b"oxc1_")
    return OxfordQuery(os.fsencode(label), photo, box, sets["good"] | sets["ok"], sets["junk"])


def _oxford_names(path):
    names = set()
    for number, fields in _oxford_lines(path):
        if len(fields) != 1:
            raise ImgretError(f"{path}:{number}: one photo name is expected, this line has {len(fields)} fields")
        names.add(fields[0])
    return frozenset(names)


def _oxford_lines(path):
    """(line number, fields) of the lines that are not blank."""
    return [(number, fields) for number, line in files.lines(path, OXFORD_LIMIT) if (fields := line.split())]


def read_names(path):
    """Read a list of photo names, one per line: the official `holidays_images.dat`, or the names of a whole gallery.

    Raises
    ------
    ImgretError
        With file and line, for a name that is listed twice; if there is no name.
    """
    names = {}
    for number, line in files.lines(path, regular=False):
        if not line:
            continue
        if line in names:
            raise ImgretError(f"{path}:{number}: {shown(line)} is listed again, first in line {names[line]}")
        names[line] = number
    if not names:
        raise ImgretError(f"{path} lists no photo: one name per line is expected")
    return list(names)
