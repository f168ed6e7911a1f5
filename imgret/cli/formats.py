"""How rankings are printed."""

import json
import math
import os
import sys

from imgret.chance import LEVELS, worth
from imgret.errors import one_line
from imgret.evidence import cell, counted, said
from imgret.names import to_text, tsv_escape

ITSELF = "itself"  # in the place of a judgement, of the photo that asks
PATHS = {"paths": b"\n", "paths0": b"\0"}  # forms of nothing but results, and what each ends with


class Lost:
    """Results whose photos are not to be found, where paths are asked for."""

    def __init__(self):
        self._count, self._first = 0, None

    def add(self, name):
        """One more: its name."""
        self._count, self._first = self._count + 1, self._first or name

    def tell(self, report):
        """Warn of them, if there are any."""
        if self._count:
            first = tsv_escape(self._first)
            report.warn(f"{self._count} results are not where the build's photos were: their names are printed alone, for example {first}")


def printer(form, build=None, lost=None):
    """A function that prints a block of answers.

    Parameters
    ----------
    form : str or None
        "table", "tsv", "jsonl", "trec", "paths" or "paths0"; None: table on a terminal, tsv elsewhere.
    build : imgret.builds.Build, optional
        Where the photos are: tables and paths then have paths that can be opened from here.
    lost : Lost, optional
        Is told which photos are not there, where paths are all that is printed.
    """
    form = form or ("table" if sys.stdout.isatty() else "tsv")
    headers = {"tsv": "query\trank\tname\tscore\tjudgement"}
    writers = {"table": _table, "tsv": _tsv, "jsonl": _jsonl, "trec": _trec}

    def emit(gallery, block):
        if header := headers.pop(form, ""):  # with the first answer, not before an error
            sys.stdout.write(header + ("\tevidence" if block.counts else "") + "\n")
        sys.stdout.writelines(line + "\n" for line in writers[form](gallery, block, build))
        sys.stdout.flush()

    def emit_paths(gallery, block):
        sys.stdout.buffer.writelines(path + PATHS[form] for path in _paths(gallery, block, build, lost))
        sys.stdout.buffer.flush()

    return emit_paths if form in PATHS else emit


def _rows(gallery, block, number):
    """Yield (rank, name, score, judgement, evidence) of a query's results: rank 0 for the photo that asks, a judgement '' where there is
    none, an evidence NaN."""
    rank = 0
    for column, (position, score) in enumerate(zip(block.ids[number].tolist(), block.scores[number].tolist(), strict=True)):
        if position < 0:
            return
        itself = block.itself is not None and bool(block.itself[number, column])
        rank += not itself
        judgement = ITSELF if itself else worth(block.levels, number, column)
        evidence = math.nan if block.evidence is None else float(block.evidence[number, column])
        yield 0 if itself else rank, gallery[position], score, judgement, evidence


def _table(gallery, block, build):
    width = 0 if block.levels is None else max(map(len, LEVELS)) + 2
    for number, query in enumerate(block.names):
        yield one_line(tsv_escape(query))
        rows = [(*row, said(evidence, block.counts)) for *row, evidence in _rows(gallery, block, number)]
        wide = max((len(row[-1]) for row in rows), default=0)
        for rank, name, score, judgement, evidence in rows:
            first, judged = (rank, judgement) if rank else (ITSELF, "")
            looked_at = evidence.rjust(wide) + "  " if wide else ""
            yield f"{first:>6}  {score:9.5f}  {judged:{width}}{looked_at}{one_line(tsv_escape(_place(name, build)))}"


def _tsv(gallery, block, build):
    for number, query in enumerate(block.names):
        for rank, name, score, judgement, evidence in _rows(gallery, block, number):
            more = "\t" + cell(evidence) if block.counts else ""
            yield f"{tsv_escape(query)}\t{rank}\t{tsv_escape(name)}\t{score:.7g}\t{judgement}{more}"


def _jsonl(gallery, block, build):
    for number, query in enumerate(block.names):
        results = []
        for rank, name, score, judgement, evidence in _rows(gallery, block, number):
            result = {"rank": rank, "name": to_text(name), "score": score, "judgement": judgement or None}
            if block.counts:
                value = counted(evidence)
                result["evidence"] = None if value is None else {block.counts: value}
            results.append(result | ({} if build is None else {"path": to_text(_place(name, build))}))
        yield json.dumps({"query": to_text(query), "results": results})


def _paths(gallery, block, build, lost):
    for number in range(len(block.names)):
        for rank, name, *_ in _rows(gallery, block, number):
            if rank:
                yield _place(name, build, lost)


def _place(name, build, lost=None):
    """Where a photo is, as one may open it from here: bytes; its name where that is not known."""
    path = None if build is None else build.path_of(name)
    if path is None:
        if build is not None and lost is not None:
            lost.add(name)
        return name
    path = os.path.abspath(path)
    here = os.path.relpath(path)
    return here if len(here) < len(path) else path


def _trec(gallery, block, build):
    from imgret.formats.lists import RankedLists
    from imgret.formats.trec import trec_lines

    return trec_lines(RankedLists("imgret", block.names, block.names, gallery, block.ids, block.scores), "imgret")
