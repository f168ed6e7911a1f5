"""The files that `evaluate` writes beside its answer: records per query, curves, and the same for TREC's programs."""

import functools
import io
import os
import urllib.parse
import warnings

from imgret.errors import ImgretError, UsageError
from imgret.evaluation.judgements import closed_up_lines, qrels_lines
from imgret.evaluation.result import dumps
from imgret.names import to_bytes, tsv_escape
from imgret.paths import check_apart
from imgret.runs.plainfiles import PlainFile, encoded, write_together

PICTURES = (".png", ".svg", ".pdf")
CURVES = (".tsv", ".json", *PICTURES)
LEVELS = 101
PER_SETTING = {"--qrels": qrels_lines, "--trec-run": closed_up_lines}


class ScoreFiles:
    """The files that one `evaluate` is asked for.

    Parameters
    ----------
    paths : dict of str to str or None
        By option: `--per-query`, `--curve`, `--qrels`, `--trec-run`, and `--html`, which is not written here, but is a file of its own too.
    inputs : sequence of str
        What is read, and never written to.
    overwrite : bool
        Replace files that hold something else.

    Raises
    ------
    UsageError
        If a curve's extension names no format, or two options name one file.
    ImgretError
        If one of them cannot be a file of its own: before there is any work to lose.
    """

    def __init__(self, paths, inputs, overwrite=False):
        self._paths = {option: path for option, path in paths.items() if path is not None}
        self._inputs, self._overwrite = inputs, overwrite
        form = self._form()
        if form is not None and form not in CURVES:
            raise UsageError(f"`--curve` must end in one of {', '.join(CURVES)}, got '{self._paths['--curve']}'")
        check_apart(self._paths)
        for option, path in self._paths.items():
            PlainFile(path, option, inputs)
        if form in PICTURES:
            _matplotlib()

    def _form(self):
        return os.path.splitext(self._paths["--curve"])[1].lower() if "--curve" in self._paths else None

    def write(self, evaluation):
        """Write them, none before all are whole.

        Raises
        ------
        UsageError
            If a setting's file is one of the others.
        ImgretError
        """
        files = {}  # by what names each
        if "--per-query" in self._paths:
            path = self._paths["--per-query"]
            lines = _tsv_records if path.endswith(".tsv") else _json_records
            files["--per-query"] = path, lambda: encoded(lines(evaluation))
        if "--curve" in self._paths:
            data = _curve(self._form(), evaluation)
            files["--curve"] = self._paths["--curve"], lambda: iter([data])
        judged = evaluation.judged[0]
        for option, lines_of in PER_SETTING.items():
            for setting in judged.asked.settings if option in self._paths else ():
                content = functools.partial(_encoded_setting, lines_of, judged, setting)
                files[f"{option} ({setting})"] = _path_of(self._paths[option], setting), content
        named = {name: path for name, (path, _) in files.items()}
        check_apart(named | ({"--html": self._paths["--html"]} if "--html" in self._paths else {}))
        write_together(
            [(PlainFile(path, name.partition(" ")[0], self._inputs), content) for name, (path, content) in files.items()], self._overwrite
        )


def _encoded_setting(lines_of, judged, setting):
    return encoded(lines_of(judged, setting))


def _path_of(path, setting):
    """`FILE`, or `FILE.SETTING.EXTENSION` where there are several settings."""
    root, extension = os.path.splitext(path)
    return f"{root}.{urllib.parse.quote(setting, safe='')}{extension}" if setting else path


def unnamed(judged):
    """How many positives have no line in `--qrels`: the ground truth counts them without a name."""
    count, removes = 0, judged.protocol.removes_query
    for question in judged.asked.questions():
        own = (question.own in question.ids) + (question.name in question.absent) if removes else 0
        count += question.positives - len(question.ids) - len(question.absent) + own
    return count


def _records(evaluation):
    """The records of all runs; of several, with the run, and what the primary measure gained against the first."""
    several = len(evaluation.results) > 1
    if not several:
        yield from evaluation.results[0].per_query
        return
    measure = evaluation.protocol.value
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


def _json_records(evaluation):
    return map(dumps, _records(evaluation))


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


def _curve(form, evaluation):
    """The bytes of the file."""
    recall = [step / (LEVELS - 1) for step in range(LEVELS)]
    curves = list(_curves(evaluation))
    if form == ".json":
        named = [dict(zip(("run", "setting", "precision"), curve, strict=True)) for curve in curves]
        return dumps({"recall": recall, "curves": named}).encode() + b"\n"
    labels = [f"{run} {setting}".strip() for run, setting, _ in curves]
    if form == ".tsv":
        rows = zip(recall, *(precisions for *_, precisions in curves), strict=True)
        head = "\t".join(["recall", *(tsv_escape(to_bytes(label)) for label in labels)])
        lines = [head, *("\t".join(f"{value:.6g}" for value in row) for row in rows)]
        return b"".join(encoded(lines))
    pyplot, picture = _matplotlib(), io.BytesIO()
    with warnings.catch_warnings(), pyplot.rc_context({"svg.hashsalt": "imgret"}):  # the same picture each time
        warnings.simplefilter("ignore")  # about signs that the font lacks
        figure, axes = pyplot.subplots(figsize=(6, 5), layout="constrained")
        for label, (*_, precisions) in zip(labels, curves, strict=True):
            axes.plot(recall, precisions, label=_plain(label))
        axes.set(xlabel="recall", ylabel="precision (mean, interpolated)", xlim=(0, 1), ylim=(0, 1.02), title=evaluation.protocol.name)
        axes.grid(alpha=0.3)
        axes.legend()
        undated = {".png": {"Software": "imgret"}, ".svg": {"Creator": "imgret", "Date": None}, ".pdf": {"CreationDate": None}}
        figure.savefig(picture, format=form[1:], dpi=150, metadata=undated[form])
        pyplot.close(figure)
    return picture.getvalue()


def _plain(label):
    """A label without what matplotlib takes for formulas, and without undecodable bytes."""
    return label.encode("utf-8", "replace").decode().replace("$", r"\$")


def _matplotlib():
    try:
        import matplotlib

        matplotlib.use("Agg")
        from matplotlib import pyplot
    except ImportError:
        raise ImgretError("a picture of the curve needs matplotlib: pip install 'imgret[report]', or give a .tsv or .json file") from None
    return pyplot
