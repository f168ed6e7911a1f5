"""How rankings and scores are printed."""

import json
import sys

from imgret.errors import one_line
from imgret.names import to_text, tsv_escape


def printer(form):
    """A function that prints a block of answers as `table`, `tsv`, `jsonl` or `trec` (None: table on a terminal, tsv elsewhere)."""
    form = form or ("table" if sys.stdout.isatty() else "tsv")
    headers = {"tsv": "query\trank\tname\tscore\n"}
    writers = {"table": _table, "tsv": _tsv, "jsonl": _jsonl, "trec": _trec}

    def emit(gallery, block):
        sys.stdout.write(headers.pop(form, ""))  # with the first answer, not before an error
        sys.stdout.writelines(line + "\n" for line in writers[form](gallery, block))
        sys.stdout.flush()

    return emit


def _rows(gallery, block, number):
    for rank, (position, score) in enumerate(zip(block.ids[number].tolist(), block.scores[number].tolist(), strict=True), 1):
        if position < 0:
            return
        yield rank, gallery[position], score


def _table(gallery, block):
    for number, query in enumerate(block.names):
        yield one_line(tsv_escape(query))
        for rank, name, score in _rows(gallery, block, number):
            yield f"{rank:6d}  {score:9.5f}  {one_line(tsv_escape(name))}"


def _tsv(gallery, block):
    for number, query in enumerate(block.names):
        for rank, name, score in _rows(gallery, block, number):
            yield f"{tsv_escape(query)}\t{rank}\t{tsv_escape(name)}\t{score:.7g}"


def _jsonl(gallery, block):
    for number, query in enumerate(block.names):
        results = [{"rank": rank, "name": to_text(name), "score": score} for rank, name, score in _rows(gallery, block, number)]
        yield json.dumps({"query": to_text(query), "results": results})


def _trec(gallery, block):
    from imgret.formats.lists import RankedLists
    from imgret.formats.trec import trec_lines

    return trec_lines(RankedLists("imgret", block.names, block.names, gallery, block.ids, block.scores), "imgret")
