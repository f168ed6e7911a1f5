"""The files that `evaluate` writes beside its answer: records per query, curves, judgements."""

import os
import re

from imgret.errors import ImgretError, UsageError
from imgret.evaluation.names import to_bytes, tsv_escape
from imgret.evaluation.result import dumps
from imgret.evaluation.trec import qrels_lines
from imgret.store.writer import published

PICTURES = {".png": rb"\x89PNG.*imgret", ".svg": rb"<\?xml.*imgret", ".pdf": rb"%PDF.*imgret"}
CURVES = (".tsv", ".json", *PICTURES)
LEVELS = 101
_HEAD = 4 << 20  # bytes of an existing file that are looked at


def writers(*, per_query=None, curve=None, qrels=None, overwrite=False):
    """Check what is to be written, before any work; returns functions that each write one file, given an `Evaluation`.

    Raises
    ------
    UsageError
        If a curve's extension names no format.
    ImgretError
        If a file exists and imgret did not write it.
    """
    found = []
    if per_query is not None:
        tsv = per_query.endswith(".tsv")
        check_replaceable(per_query, rb"(run\t)?query\t" if tsv else rb'\{"(run|query)": |\Z', overwrite)
        found.append(lambda evaluation: write(per_query, _tsv_records(evaluation) if tsv else map(dumps, _records(evaluation))))
    if curve is not None:
        form = os.path.splitext(curve)[1].lower()
        if form not in CURVES:
            raise UsageError(f"`--curve` must end in one of {', '.join(CURVES)}, got '{curve}'")
        check_replaceable(curve, PICTURES.get(form, rb'recall\t|\{"recall": '), overwrite)
        if form in PICTURES:
            _matplotlib()
        found.append(lambda evaluation: _curve(curve, form, evaluation))
    if qrels is not None:
        check_replaceable(qrels, rb"\S+ 0 \S+ -?1\n|\Z", overwrite)
        found.append(lambda evaluation: _qrels(qrels, evaluation))
    return found


def check_replaceable(path, ours, overwrite=False):
    """Refuse to replace what imgret did not write.

    Parameters
    ----------
    path : str
    ours : bytes
        A regular expression that the beginning of such a file of imgret's matches.
    overwrite : bool
        Whether the user asked for it all the same.

    Raises
    ------
    ImgretError
    """
    if not os.path.lexists(path):
        if not os.path.isdir(os.path.dirname(os.path.abspath(path))):
            raise ImgretError(f"{path} cannot be written: there is no such folder")
        return
    if not os.path.isfile(path):
        raise ImgretError(f"{path} is not a regular file: it is not replaced")
    if overwrite:
        return
    try:
        with open(path, "rb") as file:
            head = file.read(_HEAD)
    except OSError as error:
        raise ImgretError(f"{path} cannot be read: {os.strerror(error.errno)}") from None
    if not re.match(ours, head, re.DOTALL):
        raise ImgretError(f"{path} exists and is no such file of imgret's: choose another name, or give --overwrite to replace it")


def write(path, lines):
    """Write lines of text (str, without newlines); the file appears, whole, only if nothing fails.

    Raises
    ------
    ImgretError
    """
    with published(path) as temporary, open(temporary, "w", encoding="utf-8", errors="surrogateescape", newline="\n") as file:
        file.writelines(line + "\n" for line in lines)


def _records(evaluation):
    """The records of all runs; of several, with the run, and what the primary measure gained against the first."""
    several = len(evaluation.results) > 1
    if not several:
        yield from evaluation.results[0].per_query
        return
    measure = "ap" if evaluation.protocol.primary in ("map", None) else evaluation.protocol.primary
    first = {_key(record): record[measure] for record in evaluation.results[0].per_query}
    for number, result in enumerate(evaluation.results):
        for record in result.per_query:
            whole = {"run": result.label} | record
            if number:
                old, new = first.get(_key(record)), record[measure]
                whole["difference"] = None if old is None or new is None else new - old
            yield whole


def _key(record):
    return record["query"], record.get("id"), record.get("setting")


def _tsv_records(evaluation):
    records = list(_records(evaluation))
    columns = list(dict.fromkeys(name for record in records for name in record))
    yield "\t".join(columns)
    for record in records:
        yield "\t".join(_cell(record.get(name)) for name in columns)


def _cell(value):
    if value is None:
        return ""
    return tsv_escape(to_bytes(value)) if isinstance(value, str) else repr(value)


def _curves(evaluation):
    """(run, setting, precisions) of every curve."""
    for judged in evaluation.judged:
        for setting, precisions in judged.curves(LEVELS).items():
            yield judged.lists.label, setting, precisions.tolist()


def _curve(path, form, evaluation):
    recall = [step / (LEVELS - 1) for step in range(LEVELS)]
    curves = list(_curves(evaluation))
    if form == ".json":
        write(
            path,
            [dumps({"recall": recall, "curves": [dict(zip(("run", "setting", "precision"), curve, strict=True)) for curve in curves]})],
        )
        return
    labels = [f"{run} {setting}".strip() for run, setting, _ in curves]
    if form == ".tsv":
        rows = zip(recall, *(precisions for *_, precisions in curves), strict=True)
        head = "\t".join(["recall", *(tsv_escape(to_bytes(label)) for label in labels)])
        write(path, [head, *("\t".join(f"{value:.6g}" for value in row) for row in rows)])
        return
    pyplot = _matplotlib()
    figure, axes = pyplot.subplots(figsize=(6, 5), layout="constrained")
    for label, (*_, precisions) in zip(labels, curves, strict=True):
        axes.plot(recall, precisions, label=_plain(label))
    axes.set(xlabel="recall", ylabel="precision (mean, interpolated)", xlim=(0, 1), ylim=(0, 1.02), title=evaluation.protocol.name)
    axes.grid(alpha=0.3)
    axes.legend()
    software = {
        ".png": {"Software": "imgret"},
        ".svg": {"Creator": "imgret", "Date": None},
        ".pdf": {"Creator": "imgret", "CreationDate": None},
    }
    with published(path) as temporary:
        figure.savefig(temporary, format=form[1:], dpi=150, metadata=software[form])
    pyplot.close(figure)


def _plain(label):
    """A label without what matplotlib takes for formulas or glyphs no font has."""
    return label.encode("utf-8", "replace").decode().replace("$", r"\$")


def _matplotlib():
    try:
        import matplotlib

        matplotlib.use("Agg")
        from matplotlib import pyplot
    except ImportError:
        raise ImgretError("a picture of the curve needs matplotlib: pip install 'imgret[report]', or give a .tsv or .json file") from None
    return pyplot


def _qrels(path, evaluation):
    judged = evaluation.judged[0]
    root, extension = os.path.splitext(path)
    several = len(judged.asked.settings) > 1
    for setting in judged.asked.settings:
        target = f"{root}.{setting.replace('/', '-')}{extension}" if several else path
        write(target, qrels_lines(judged, setting))
