"""A folder of ranked lists: a text file for each query, a photo name per line, best first."""

import os
import pathlib

import numpy as np

from imgret.errors import ImgretError, why
from imgret.formats import files
from imgret.formats.lists import Numbering, RankedLists, label_of, matrix, merge_names, refuse_twice
from imgret.names import Resolver, Speller, shown


def read_folder(path, queries, known=None):
    """Read a folder of one list per query: `Q.txt` or `Q_top.txt`, a photo name per line, best first.

    Parameters
    ----------
    path : str or path-like
    queries : iterable of bytes, or callable
        Names of the queries: only their files are read, whatever else the folder holds. A query is matched by the file's name under
        `path`, with or without extension and `oxc1_`, in any Unicode form, since file systems choose one. A callable is asked with each
        such name whether it is a query.
    known : iterable of bytes, optional
        Names that the lists are expected to use: a name in a list that differs from one of these only by its extension or by `oxc1_`
        being there or not is taken for it. Without it names stay as they are.

    Returns
    -------
    RankedLists
        Queries in name order, without scores; `whole_gallery` is False. A query that has no file is not among them.

    Raises
    ------
    ImgretError
        If no query has a list, if one has two, or, with file and line, for an empty line or a name listed twice.
    """
    stems, respelt = _lists_in(path), 0
    if callable(queries):
        found = {stem: file for stem, file in stems.items() if queries(stem)}
    else:
        queries, found = set(queries), {}
        resolve, spell = Resolver(queries), Speller(queries)
        for stem, file in stems.items():
            name = resolve(spell(stem))
            if name in found and name in queries:
                raise ImgretError(f"{path} has two lists for query {shown(name)}: {_base(found[name])} and {_base(file)}; keep one")
            if name in queries:
                found[name] = file
                respelt += name != resolve(stem)
    if not found:
        wanted = "" if callable(queries) else f", for example {shown(min(queries) + b'.txt')}"
        there = f"; there is {shown(os.fsencode(_base(min(stems.values()))))}" if stems else ""
        raise ImgretError(f"{path} holds no list of a query: files named QUERY.txt or QUERY_top.txt are needed{wanted}{there}")
    photos, id_rows, line_rows = Numbering(), [], []
    found = dict(sorted(found.items()))
    for file in found.values():
        lines = [line for _, line in files.lines(file)]
        while lines and not lines[-1]:
            lines.pop()
        if b"" in lines:
            raise ImgretError(f"{file}:{lines.index(b'') + 1}: the line is empty, a photo name is expected")
        id_rows.append(photos.of(lines, len(lines)))
        line_rows.append(range(1, len(lines) + 1))
    names = list(photos)
    if known is not None:
        resolve = Resolver(known)
        names = [resolve(name) for name in names]
    names, merged = merge_names(names)
    place = np.zeros(len(names), dtype=np.int64)
    id_rows = [merged[row] for row in id_rows]
    for file, row, lines in zip(found.values(), id_rows, line_rows, strict=True):
        refuse_twice(file, row, lines, place, names)
    queries = list(found)
    said = (f"{respelt} files of lists are called as their queries only in another Unicode form (NFC, NFD)",) if respelt else ()
    return RankedLists(label_of(path), queries, list(queries), names, matrix(path, id_rows), whole_gallery=False, warnings=said)


def _base(path):
    return pathlib.PurePath(path).name


def _refuse(error):
    raise ImgretError(f"{os.fsdecode(error.filename)} cannot be read: {why(error)}") from None


def _lists_in(folder):
    """name (bytes, relative, without `_top` and `.txt`) -> path of every text file under `folder`."""
    if not os.path.isdir(folder):
        raise ImgretError(f"{folder} is not a folder of ranked lists")
    stems = {}
    for here, _, entries in os.walk(folder, onerror=_refuse):
        for entry in sorted(entries):
            if not entry.endswith(".txt"):
                continue
            file = os.path.join(here, entry)
            stem = os.fsencode(os.path.relpath(file, folder).removesuffix(".txt").removesuffix("_top"))
            if stem in stems:
                raise ImgretError(f"{folder} has two lists for query {shown(stem)}: {_base(stems[stem])} and {entry}; keep one")
            stems[stem] = file
    return stems
