"""How groups of copies are printed."""

import json
import os
import sys

from imgret.cli.formats import PATHS
from imgret.errors import counted, one_line
from imgret.names import to_text, tsv_escape

COLUMNS = ("group", "role", "width", "height", "bytes", "modified", "kind", "score", "path")


def print_groups(found, form, report):
    """Print an `imgret.stages.duplicates.Found` in a form; None for a table on a terminal, TSV elsewhere."""
    form = form or ("table" if sys.stdout.isatty() else "tsv")
    if form in PATHS:
        _paths(found, PATHS[form], report)
        return
    for line in FORMS[form](found):
        sys.stdout.write(line + "\n")
    sys.stdout.flush()
    copies = sum(len(group) - 1 for group in found.groups)
    size = sum(photo.file_size for group in found.groups for photo in group[1:])
    report.note(f"{counted(copies, 'copy')} of {counted(len(found.groups), 'photo')} among {found.count}: {max(0, size) / 1e6:.1f} MB")


def _path(photo):
    """Where a photo is; its name where that is not known."""
    return photo.path or photo.name


def _rows(found):
    for number, group in enumerate(found.groups, 1):
        for place, photo in enumerate(group):
            yield number, "copy" if place else "keep", photo


def _table(found):
    rows = []
    for number, role, photo in _rows(found):
        kind = photo.kind if role == "copy" else ""
        size = "x".join(map(str, photo.size))
        rows.append((str(number), role, size, str(photo.file_size), photo.modified(10), kind, f"{photo.score:.4f}"))
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row, (number, role, photo) in zip(rows, _rows(found), strict=True):
        if role == "keep" and number > 1:
            yield ""
        cells = [
            cell.ljust(width) if place in (1, 5) else cell.rjust(width) for place, (cell, width) in enumerate(zip(row, widths, strict=True))
        ]
        yield "  ".join([*cells, one_line(tsv_escape(_path(photo)))])


def _tsv(found):
    yield "\t".join(COLUMNS)
    for number, role, photo in _rows(found):
        facts = (number, role, *photo.size, photo.file_size, photo.modified(), photo.kind, f"{photo.score:.7g}")
        yield "\t".join([*map(str, facts), tsv_escape(_path(photo))])


def _entry(photo):
    said = {"name": to_text(photo.name), "path": None if photo.path is None else to_text(photo.path), "width": photo.size[0]}
    said |= {"height": photo.size[1], "bytes": photo.file_size, "mtime_ns": photo.mtime_ns}
    if photo.kind != "keep":
        said |= {"kind": photo.kind, "score": photo.score}
        said["map"] = None if photo.matrix is None else [[float(number) for number in row] for row in photo.matrix]
    return said


def _groups(found):
    return ({"keep": _entry(group[0]), "copies": [_entry(photo) for photo in group[1:]]} for group in found.groups)


def _json(found):
    yield json.dumps({"photos": found.count, "groups": list(_groups(found))})


def _jsonl(found):
    yield from map(json.dumps, _groups(found))


FORMS = {"table": _table, "tsv": _tsv, "json": _json, "jsonl": _jsonl}


def _paths(found, end, report):
    """Print the copies, for programs that may delete them: none that is in doubt."""
    left = {}
    for group in found.groups:
        for photo in group[1:]:
            path, reason = _sure(found, group[0], photo, end)
            if reason:
                left[reason] = left.get(reason, 0) + 1
            else:
                sys.stdout.buffer.write(path + end)
    sys.stdout.buffer.flush()
    for reason, count in left.items():
        report.warn(f"{counted(count, 'copy is', 'copies are')} left out: {reason}")


def _sure(found, kept, copy, end):
    """A copy's path, and why it is not told, "" where it is."""
    if end == b"\n" and b"\n" in (copy.path or copy.name):
        return None, "a newline is in the name; take --format paths0"
    if not found.roots:
        return copy.name, ""
    for photo, what in ((kept, "the photo to keep"), (copy, "the copy")):
        if photo.path is None:
            return None, f"{what} is no longer there"
        status = os.stat(photo.path)
        if (status.st_size, status.st_mtime_ns) != (photo.file_size, photo.mtime_ns):
            return None, f"{what} has changed since"
    if os.path.realpath(kept.path) == os.path.realpath(copy.path):
        return None, "they lead to the very file that is to be kept"
    return copy.path, ""
