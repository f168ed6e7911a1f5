"""Precision over recall, of all rankings and settings: as a table, as JSON, and as a picture."""

import contextlib
import io
import os
import sys
import warnings

from imgret.errors import ImgretError
from imgret.evaluation.result import dumps
from imgret.names import to_bytes, tsv_escape

PICTURES = (".png", ".svg", ".pdf")
FORMS = (".tsv", ".json", *PICTURES)
LEVELS = 101


def check(form):
    """Refuse a picture that could not be drawn, before there is any work to lose.

    Raises
    ------
    ImgretError
    """
    if form in PICTURES:
        _pyplot()


def content(evaluation, form):
    """The curves of all rankings.

    Parameters
    ----------
    evaluation : imgret.evaluation.comparison.Evaluation
    form : str
        One of `FORMS`.

    Returns
    -------
    bytes

    Raises
    ------
    ImgretError
        If matplotlib is needed and missing.
    """
    recall = [step / (LEVELS - 1) for step in range(LEVELS)]
    curves = list(_curves(evaluation))
    if form == ".json":
        named = [dict(zip(("run", "setting", "precision"), curve, strict=True)) for curve in curves]
        return dumps({"recall": recall, "curves": named}).encode() + b"\n"
    labelled = [(f"{run} {setting}".strip(), precisions) for run, setting, precisions in curves]
    if form == ".tsv":
        return to_bytes("".join(line + "\n" for line in _table(recall, labelled)))
    return _picture(recall, labelled, evaluation.protocol.name, form)


def _curves(evaluation):
    """(run, setting, precisions) of every curve."""
    for judged in evaluation.judged:
        for setting, precisions in judged.curves(LEVELS).items():
            yield judged.lists.label, setting, precisions.tolist()


def _table(recall, labelled):
    yield "\t".join(["recall", *(tsv_escape(to_bytes(label)) for label, _ in labelled)])
    for row in zip(recall, *(precisions for _, precisions in labelled), strict=True):
        yield "\t".join(f"{value:.6g}" for value in row)


def _picture(recall, labelled, title, form):
    pyplot, picture = _pyplot(), io.BytesIO()
    with warnings.catch_warnings(), pyplot.rc_context({"svg.hashsalt": "imgret"}):  # the same picture each time
        warnings.simplefilter("ignore")  # about signs that the font lacks
        figure, axes = pyplot.subplots(figsize=(6, 5), layout="constrained")
        for label, precisions in labelled:
            axes.plot(recall, precisions, label=_plain(label))
        axes.set(xlabel="recall", ylabel="precision (mean, interpolated)", xlim=(0, 1), ylim=(0, 1.02), title=title)
        axes.grid(alpha=0.3)
        axes.legend()
        undated = {".png": {"Software": "imgret"}, ".svg": {"Creator": "imgret", "Date": None}, ".pdf": {"CreationDate": None}}
        figure.savefig(picture, format=form[1:], dpi=150, metadata=undated[form])
        pyplot.close(figure)
    return picture.getvalue()


def _plain(label):
    """A label without what matplotlib takes for formulas, and without undecodable bytes."""
    return label.encode("utf-8", "replace").decode().replace("$", r"\$")


def _pyplot():
    try:
        with _elsewhere():
            import matplotlib

            matplotlib.use("Agg")
            from matplotlib import pyplot
    except ImportError:
        raise ImgretError("a picture of the curve needs matplotlib: pip install 'imgret[report]', or give a .tsv or .json file") from None
    return pyplot


@contextlib.contextmanager
def _elsewhere():
    """Matplotlib takes its settings from the current folder first, and they can start programs: a stranger's are not looked at."""
    if "matplotlib" in sys.modules:
        yield
        return
    here = os.open(os.curdir, os.O_RDONLY)
    os.chdir(os.path.dirname(os.path.abspath(__file__)))
    try:
        yield
    finally:
        os.fchdir(here)
        os.close(here)
