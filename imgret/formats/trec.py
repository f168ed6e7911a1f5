"""TREC's two text files: runs, lines of `query Q0 name rank score tag`, and judgements, lines of `topic iteration name relevance`."""

import functools
import itertools

import numpy as np

from imgret.errors import ImgretError
from imgret.formats import files
from imgret.formats.lists import Numbering, RankedLists, label_of, matrix, merge_names, refuse_twice
from imgret.names import shown, to_bytes, trec_escape, trec_unescape


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
    query_names, names, (query, photo, score, line, rank) = _entries(path)
    place = np.zeros(len(names), dtype=np.int64)
    by_name = functools.cache(lambda: _places(names))  # mostly not needed
    id_rows, score_rows, contrary = [], [], 0
    for start, stop in itertools.pairwise(np.searchsorted(query, np.arange(len(query_names) + 1))):
        ids, values = photo[start:stop], score[start:stop]
        contrary += bool((np.diff(rank[start:stop][np.argsort(-values, kind="stable")]) < 0).any())
        refuse_twice(path, ids, line[start:stop], place, names)
        falls = np.diff(values) < 0
        if not falls.all():
            order = np.lexsort((by_name()[ids], -values))
            ids, values = ids[order], values[order]
        id_rows.append(ids)
        with np.errstate(over="ignore"):  # a score beyond float32 is an infinity there: the order is already made
            score_rows.append(values.astype(np.float32))
    ids, scores = matrix(path, id_rows), matrix(path, score_rows)
    warnings = []
    if contrary:
        lists = "1 list whose ranks contradict its" if contrary == 1 else f"{contrary} lists whose ranks contradict their"
        warnings.append(f"{lists} scores: the scores decide, as in trec_eval")
    return RankedLists(label_of(path), query_names, list(query_names), names, ids, scores, whole_gallery=False, warnings=tuple(warnings))


def _entries(path):
    """All lines of a run: the queries' names, the photos', and columns query, photo, score, line and rank, those of a query together."""
    queries, photos = Numbering(), Numbering()
    parts = [_block(path, first, block, queries, photos) for first, block in files.line_blocks(path, regular=False)]
    if not queries:
        raise ImgretError(f"{path} is empty: it holds no ranked list")
    columns = [np.concatenate(column) for column in zip(*parts, strict=True)]
    del parts
    named = []
    for column, numbering in enumerate((queries, photos)):
        names, merged = merge_names([trec_unescape(token) for token in numbering])
        columns[column] = merged[columns[column]]
        named.append(names)
    if (np.diff(columns[0]) < 0).any():
        order = np.argsort(columns[0], kind="stable")
        columns = [column[order] for column in columns]
    return *named, columns


def _block(path, first, block, queries, photos):
    """The columns of some lines, the first of which has the number `first`; queries and photos by their numbers so far."""
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
    return queries.of(tokens[0::6], count), photos.of(tokens[2::6], count), scores, numbers, _ranks(path, tokens[3::6], numbers)


def _places(names):
    """The place of each name in their order."""
    places = np.empty(len(names), dtype=np.int64)
    places[sorted(range(len(names)), key=names.__getitem__)] = np.arange(len(names))
    return places


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


def read_qrels(path):
    """Read judgements.

    Names are percent-decoded, as `qrels_lines` encodes them.

    Parameters
    ----------
    path : str or path-like

    Returns
    -------
    dict of bytes to dict of bytes to int
        topic -> name -> relevance.

    Raises
    ------
    ImgretError
        With file and line, for a line that has not four fields, a relevance that is no whole number, or a name judged twice for a topic.
    """
    judged = {}
    for first, block in files.line_blocks(path, regular=False):
        for number, line in enumerate(block.split(b"\n"), first):
            fields = line.split()
            if not fields:
                continue
            if len(fields) != 4:
                what = "a line of judgements has four fields (topic iteration name relevance)"
                raise ImgretError(f"{path}:{number}: {what}, this one has {len(fields)}")
            topic, _, name, grade = fields
            try:
                relevance = int(grade) if len(grade) < 10 else None
            except ValueError:
                relevance = None
            if relevance is None:
                raise ImgretError(f"{path}:{number}: the relevance (fourth field) must be a whole number, got {shown(grade)}")
            names, name = judged.setdefault(trec_unescape(topic), {}), trec_unescape(name)
            if name in names:
                raise ImgretError(f"{path}:{number}: {shown(name)} is judged twice for topic {shown(trec_unescape(topic))}")
            names[name] = relevance
    if not judged:
        raise ImgretError(f"{path} is empty: it holds no judgement")
    return judged
