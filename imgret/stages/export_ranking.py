"""What is in a ranking, to files of other programs."""

import functools
import itertools

from imgret.errors import ImgretError, counted
from imgret.evidence import cell
from imgret.formats.lists import RankedLists
from imgret.formats.matrices import encode_rows
from imgret.formats.pairs import pair_lines
from imgret.formats.trec import trec_lines
from imgret.names import tsv_escape
from imgret.runs.plainfiles import encoded

BLOCK_RANKS = 1 << 20  # ranks turned into text at once


def contents(store, form, given):
    """What a ranking is as a file of another program.

    Parameters
    ----------
    store : imgret.store.reader.Store
    form : str
        "trec", "tsv", "ivecs" or "pairs".
    given : dict
        `k`: so many ranks of each list, or None.

    Returns
    -------
    callable
        Gives the bytes, block by block, each time anew.
    str
        What they are.

    Raises
    ------
    ImgretError
        If no photo is ranked.
    """
    count, k = store.shape("ids")
    if not k or not count:
        raise ImgretError(f"{store.shown} holds no ranked photo: there is nothing to export")
    k = min(k, given["k"] or k)
    asked = counted(count, "query")
    writer = {"trec": _trec, "tsv": _tsv, "ivecs": _ivecs, "pairs": _pairs}[form]
    what = f"pairs of {asked}, at most {k} each" if form == "pairs" else f"{asked}, {counted(k, 'rank')} each"
    return functools.partial(writer, store, k), what


def query_column(store):
    """The queries' photos, or their own names where a photo asks several times: in either form each is there once."""
    names = list(store.texts("query_names"))
    return "query_names" if len(set(names)) == len(names) else "query_ids"


def _ranked_blocks(store, k, column=None):
    """The first k ranks, some queries at a time, checked."""
    column, gallery = column or query_column(store), list(store.texts("names"))
    count, ranks = store.shape("ids")
    step = max(1, BLOCK_RANKS // ranks)
    for start in range(0, count, step):
        stop = min(start + step, count)
        ids, scores = (store.read(name, start, stop)[:, :k] for name in ("ids", "scores"))
        evidence = store.read("evidence", start, stop)[:, :k] if store.has("evidence") else None
        names, queries = store.texts(column, start, stop), store.texts("query_ids", start, stop)
        yield RankedLists(store.shown, names, queries if column == "query_names" else names, gallery, ids, scores, evidence=evidence)


def _trec(store, k):
    for lists in _ranked_blocks(store, k):
        yield from encoded(trec_lines(lists, "imgret"))


def _tsv(store, k):
    yield b"query\trank\tname\tscore" + (b"\tevidence\n" if store.has("evidence") else b"\n")
    for lists in _ranked_blocks(store, k):
        yield from encoded(_tsv_lines(lists))


def _tsv_lines(lists):
    for query, name in enumerate(lists.query_ids):
        name, length = tsv_escape(name), int(lists.lengths[query])
        ranked = zip(lists.ids[query, :length].tolist(), lists.scores[query, :length].tolist(), _evidence(lists, query), strict=False)
        for rank, (photo, score, evidence) in enumerate(ranked, 1):
            yield f"{name}\t{rank}\t{tsv_escape(lists.names[photo])}\t{score:.9g}{evidence}"  # nine digits give the same float32 back


def _evidence(lists, query):
    """The last cells of a list's lines, without end: empty ones beyond the ranks that were looked at, none where there is no evidence."""
    if lists.evidence is None:
        return itertools.repeat("")
    return itertools.chain(("\t" + cell(value) for value in lists.evidence[query].tolist()), itertools.repeat("\t"))


def _ivecs(store, k):
    for lists in _ranked_blocks(store, k):
        yield encode_rows(lists.ids, "ivecs")


def _pairs(store, k):
    names = list(store.texts("query_names"))
    seen = set() if len(set(names)) < len(names) else None  # a photo that asks several times, with several boxes
    for lists in _ranked_blocks(store, k + 1, "query_names"):
        yield from encoded(pair_lines(lists, k, seen))
