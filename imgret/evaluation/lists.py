"""Ranked lists: the one form that every ranking takes before it is evaluated, and the readers of other people's forms."""

import collections
import dataclasses
import itertools
import operator
import os
import pathlib

import numpy as np

from imgret.errors import ImgretError
from imgret.evaluation import files
from imgret.evaluation.names import Resolver, shown, to_bytes, trec_escape, trec_unescape, tsv_escape

__all__ = ["RankedLists", "read_folder", "read_trec", "trec_lines", "tsv_escape"]

LIST_LIMIT = 1 << 30  # bytes in one list of names
_SPARE_CELLS = 1 << 28  # a matrix of lists may be this large, or else four times as large as what it holds


@dataclasses.dataclass(frozen=True, eq=False)
class RankedLists:
    """Q ranked lists over N gallery photos.

    Parameters
    ----------
    label : str
        What the ranking is called in tables and messages.
    query_names : sequence of bytes, length Q
        The query photos' names (`os.fsencode`).
    query_ids : sequence of bytes, length Q
        The queries' own names; they differ from the photos' where one photo asks several times.
    names : sequence of bytes, length N
        The gallery photos' names.
    ids : ndarray, shape (Q, k), integer
        Positions in `names`, best first; -1 where the list is shorter.
    scores : ndarray, shape (Q, k), float32, or None
        Higher is better, descending along a list; NaN where there is no id.
    whole_gallery : bool
        Whether `names` is all that was searched; otherwise it is what the lists happen to hold.
    warnings : sequence of str
        What a reader should know of how they were read, one sentence each.
    boxed : ndarray, shape (Q,), bool, or None
        Whether each query asked with a box of its photo; None where nothing is known of it.

    Raises
    ------
    ImgretError
        If there is no query, or lengths, ids or scores cannot be right: the arrays may come from a stranger's file. That an id occurs
        twice in a list is found when the list is evaluated.
    """

    label: str
    query_names: list
    query_ids: list
    names: list
    ids: np.ndarray
    scores: np.ndarray | None = None
    whole_gallery: bool = True
    warnings: tuple = ()
    boxed: np.ndarray | None = None

    def __post_init__(self):
        for field in ("query_names", "query_ids", "names"):
            object.__setattr__(self, field, list(getattr(self, field)))
        ids = np.asarray(self.ids)
        object.__setattr__(self, "ids", ids)
        count = len(self.query_names)
        if count == 0:
            raise ImgretError(f"{self.label} holds no query: there is nothing to evaluate")
        if ids.ndim != 2 or ids.shape[0] != count or len(self.query_ids) != count or not np.issubdtype(ids.dtype, np.integer):
            raise self._damaged(f"{count} queries, {len(self.query_ids)} query ids, and ids of shape {ids.shape} and type {ids.dtype}")
        if self.scores is not None:
            object.__setattr__(self, "scores", np.asarray(self.scores))
            if self.scores.shape != ids.shape or not np.issubdtype(self.scores.dtype, np.floating):
                raise self._damaged(f"ids of shape {ids.shape}, and scores of shape {self.scores.shape} and type {self.scores.dtype}")
        lengths = np.full(count, ids.shape[1], dtype=np.int64)
        low, high = (int(ids.min()), int(ids.max())) if ids.size else (0, -1)
        if low < -1 or high >= len(self.names):
            raise self._damaged(f"ids from {low} to {high}, while there are {len(self.names)} names")
        for query, row in enumerate(ids):
            if low < 0:
                valid = row >= 0
                length = lengths[query] = np.count_nonzero(valid)
                if not valid[:length].all():
                    raise self._damaged(f"a gap in the list of query {shown(self.query_ids[query])}")
            if self.scores is not None:
                scores = self.scores[query, : lengths[query]]
                if len(scores) and not ((scores[1:] <= scores[:-1]).all() and scores[0] == scores[0]):
                    query = shown(self.query_ids[query])
                    nan = np.isnan(scores).any()
                    raise self._damaged(f"NaN among the scores of query {query}" if nan else f"scores of query {query} that do not descend")
        object.__setattr__(self, "lengths", lengths)

    def _damaged(self, what):
        return ImgretError(f"{self.label} is damaged ({what}): make the ranking again")

    def positions(self):
        """name -> id of the gallery photos.

        Raises
        ------
        ImgretError
            If two gallery photos have one name.
        """
        self.check_names()
        return dict(zip(self.names, range(len(self.names)), strict=True))

    def check_names(self):
        """Refuse a gallery in which two photos have one name.

        Raises
        ------
        ImgretError
        """
        if all(map(operator.lt, self.names, self.names[1:])):  # as stores have them
            return
        if len(set(self.names)) < len(self.names):
            name, _ = collections.Counter(self.names).most_common(1)[0]
            raise self._damaged(f"two gallery photos named {shown(name)}")


class _Numbering(collections.defaultdict):
    """key -> 0, 1, 2 ... in order of first appearance; counting happens in C."""

    def __init__(self):
        super().__init__(itertools.count().__next__)

    def of(self, keys, count):
        return np.fromiter(map(self.__getitem__, keys), dtype=np.int32, count=count)


def _merged(names):
    """(distinct names, for each of `names` its position among them): two spellings may have become one name."""
    numbering = _Numbering()
    where = numbering.of(names, len(names))
    return list(numbering), where


def _matrix(path, rows):
    """Lists of different lengths as one matrix with -1 (ids) or NaN (scores) behind the shorter ones."""
    longest = max(map(len, rows))
    if len(rows) * longest > max(_SPARE_CELLS, 4 * sum(map(len, rows))):
        raise ImgretError(f"{path} has {len(rows)} lists of very different lengths (the longest: {longest}): cut or split it")
    dtype = rows[0].dtype
    matrix = np.full((len(rows), longest), -1 if np.issubdtype(dtype, np.integer) else np.nan, dtype=dtype)
    for place, row in zip(matrix, rows, strict=True):
        place[: len(row)] = row
    return matrix


def read_trec(path):
    """Read a TREC run: lines of `query Q0 name rank score tag`.

    The score alone decides the order, as in trec_eval; ranks that say otherwise are warned of. Equal scores break by name order, as
    everywhere in imgret (trec_eval takes the reverse order there). Names and queries are percent-decoded (`trec_lines` encodes them); a
    query is taken for the photo of that name. Lines of one query need not be together. Queries keep the order of their first lines.

    Parameters
    ----------
    path : str or path-like

    Returns
    -------
    RankedLists
        `whole_gallery` is False.

    Raises
    ------
    ImgretError
        With file and line, for a line that has not six fields, a score that is no number, or a name that a query lists twice.
    """
    queries, photos = _Numbering(), _Numbering()
    parts = []
    for first, block in files.line_blocks(path, regular=False):
        lines = block.split(b"\n")
        fields = np.fromiter(map(len, map(bytes.split, lines)), dtype=np.int64, count=len(lines))
        bad = (fields != 6) & (fields != 0)
        if bad.any():
            where = int(np.argmax(bad))
            raise ImgretError(
                f"{path}:{first + where}: a line of a TREC run has six fields (query Q0 name rank score tag), this one has {fields[where]}"
            )
        tokens = block.split()
        count = len(tokens) // 6
        numbers = np.flatnonzero(fields) + first
        scores = _scores(path, tokens[4::6], numbers)
        parts.append(
            (queries.of(tokens[0::6], count), photos.of(tokens[2::6], count), scores, numbers, _ranks(path, tokens[3::6], numbers))
        )
    if not queries:
        raise ImgretError(f"{path} is empty: it holds no ranked list")
    query, photo, score, line, rank = (np.concatenate(column) for column in zip(*parts, strict=True))
    del parts

    query_names, merged = _merged([trec_unescape(token) for token in queries])
    query = merged[query]
    names, merged = _merged([trec_unescape(token) for token in photos])
    photo = merged[photo]

    if (np.diff(query) < 0).any():
        order = np.argsort(query, kind="stable")
        query, photo, score, line, rank = query[order], photo[order], score[order], line[order], rank[order]
    bounds = np.searchsorted(query, np.arange(len(query_names) + 1))
    place = np.zeros(len(names), dtype=np.int64)
    by_name = None
    id_rows, score_rows, contrary = [], [], 0
    for start, stop in itertools.pairwise(bounds):
        ids, values = photo[start:stop], score[start:stop]
        contrary += bool((np.diff(rank[start:stop][np.argsort(-values, kind="stable")]) < 0).any())
        _once(path, ids, line[start:stop], place, names)
        falls = np.diff(values) < 0
        if not falls.all():
            if by_name is None:
                by_name = np.empty(len(names), dtype=np.int64)
                by_name[sorted(range(len(names)), key=names.__getitem__)] = np.arange(len(names))
            order = np.lexsort((by_name[ids], -values))
            ids, values = ids[order], values[order]
        id_rows.append(ids)
        with np.errstate(over="ignore"):  # a score beyond float32 is an infinity there: the order is already made
            score_rows.append(values.astype(np.float32))
    ids, scores = _matrix(path, id_rows), _matrix(path, score_rows)
    warnings = []
    if contrary:
        lists = "1 list whose ranks contradict its" if contrary == 1 else f"{contrary} lists whose ranks contradict their"
        warnings.append(f"{lists} scores: the scores decide, as in trec_eval")
    return RankedLists(_label(path), query_names, list(query_names), names, ids, scores, whole_gallery=False, warnings=tuple(warnings))


def _label(path):
    return pathlib.PurePath(os.fsdecode(path)).name or os.fsdecode(path)


def _scores(path, tokens, numbers):
    try:
        scores = np.fromiter(map(float, tokens), dtype=np.float64, count=len(tokens))
    except ValueError:
        number, token = next((number, token) for number, token in zip(numbers, tokens, strict=True) if not _is_number(token))
        raise ImgretError(f"{path}:{number}: the score (fifth field) must be a number, got {shown(token)}") from None
    nan = np.isnan(scores)
    if nan.any():
        raise ImgretError(f"{path}:{numbers[np.argmax(nan)]}: the score (fifth field) is NaN: a list cannot be ordered by it")
    return scores


def _ranks(path, tokens, numbers):
    try:
        return np.fromiter(map(int, tokens), dtype=np.int64, count=len(tokens))
    except (ValueError, OverflowError):
        number, token = next((number, token) for number, token in zip(numbers, tokens, strict=True) if not _is_rank(token))
        raise ImgretError(f"{path}:{number}: the rank (fourth field) must be a whole number, got {shown(token)}") from None


def _is_rank(token):
    try:
        return abs(int(token)) < 1 << 63
    except ValueError:
        return False


def _is_number(token):
    try:
        float(token)
    except ValueError:
        return False
    return True


def _once(path, ids, lines, place, names):
    """Refuse an id that occurs twice, naming both lines."""
    order = np.arange(len(ids))
    place[ids[::-1]] = order[::-1]  # the first occurrence stays
    twice = place[ids] != order
    if twice.any():
        second = int(np.argmax(twice))
        name, first = names[ids[second]], lines[place[ids[second]]]
        raise ImgretError(f"{path}:{lines[second]}: {shown(name)} is listed twice for one query, first in line {first}")


def read_folder(path, queries, known=None):
    """Read a folder of one list per query: `Q.txt` or `Q_top.txt`, a photo name per line, best first.

    Parameters
    ----------
    path : str or path-like
    queries : iterable of bytes, or callable
        Names of the queries: only their files are read, whatever else the folder holds. A query is matched by the file's name under
        `path`, with or without extension and `oxc1_`. A callable is asked with each such name whether it is a query.
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
    stems = _lists_in(path)
    if callable(queries):
        found = {stem: file for stem, file in stems.items() if queries(stem)}
    else:
        queries, found = set(queries), {}
        resolve = Resolver(queries)
        for stem, file in stems.items():
            name = resolve(stem)
            if name in found and name in queries:
                raise ImgretError(f"{path} has two lists for query {shown(name)}: {_base(found[name])} and {_base(file)}; keep one")
            if name in queries:
                found[name] = file
    if not found:
        raise ImgretError(f"{path} holds no list of a query (files named QUERY.txt or QUERY_top.txt): name them after the queries")
    photos, id_rows, line_rows = _Numbering(), [], []
    found = dict(sorted(found.items()))
    for file in found.values():
        lines = files.read_bytes(file, LIST_LIMIT).replace(b"\r\n", b"\n").rstrip(b"\r\n").split(b"\n")
        lines = lines if lines != [b""] else []
        if b"" in lines:
            raise ImgretError(f"{file}:{lines.index(b'') + 1}: the line is empty, a photo name is expected")
        id_rows.append(photos.of(lines, len(lines)))
        line_rows.append(range(1, len(lines) + 1))
    names = list(photos)
    if known is not None:
        resolve = Resolver(known)
        names = [resolve(name) for name in names]
    names, merged = _merged(names)
    place = np.zeros(len(names), dtype=np.int64)
    id_rows = [merged[row] for row in id_rows]
    for file, row, lines in zip(found.values(), id_rows, line_rows, strict=True):
        _once(file, row, lines, place, names)
    queries = list(found)
    return RankedLists(_label(path), queries, list(queries), names, _matrix(path, id_rows), whole_gallery=False)


def _base(path):
    return pathlib.PurePath(path).name


def _lists_in(folder):
    """name (bytes, relative, without `_top` and `.txt`) -> path of every text file under `folder`."""
    if not os.path.isdir(folder):
        raise ImgretError(f"{folder} is not a folder of ranked lists")
    stems = {}
    for here, _, entries in os.walk(folder):
        for entry in sorted(entries):
            if not entry.endswith(".txt"):
                continue
            file = os.path.join(here, entry)
            stem = os.fsencode(os.path.relpath(file, folder).removesuffix(".txt").removesuffix("_top"))
            if stem in stems:
                raise ImgretError(f"{folder} has two lists for query {shown(stem)}: {_base(stems[stem])} and {entry}; keep one")
            stems[stem] = file
    return stems


def trec_lines(lists, run_tag):
    """Yield the lines of a TREC run, each without its newline: `query Q0 name rank score tag`.

    Names are percent-encoded where they hold whitespace, control or non-ASCII bytes or `%`. The query field is the query photo's name,
    or the query's own name where one photo asks several times. Scores have nine digits, enough to give the same float32 back; lists
    without scores get `length - rank + 1`. A query whose list is empty has no line: the format cannot say so.

    Parameters
    ----------
    lists : RankedLists
    run_tag : str

    Yields
    ------
    str
    """
    tag = trec_escape(to_bytes(run_tag)) or "imgret"
    queries = lists.query_names if len(set(lists.query_names)) == len(lists.query_names) else lists.query_ids
    fields = {}
    for query, name in enumerate(queries):
        name, length = trec_escape(name), int(lists.lengths[query])
        ids = lists.ids[query, :length].tolist()
        scores = range(length, 0, -1) if lists.scores is None else lists.scores[query, :length].tolist()
        for rank, (photo, score) in enumerate(zip(ids, scores, strict=True), 1):
            field = fields.get(photo)
            if field is None:
                field = fields[photo] = trec_escape(lists.names[photo])
            yield f"{name} Q0 {field} {rank} {score:.9g} {tag}"
