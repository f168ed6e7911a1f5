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
# in a picture: the colours of Okabe & Ito, without the yellow that no white page shows, and dashes, so that either tells two curves apart
COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#000000", "#e69f00", "#56b4e9", "#666666")
DASHES = ("solid", (0, (6, 2)), (0, (2, 1.5)), (0, (7, 2, 1.5, 2)), (0, (12, 3)), (0, (7, 2, 1.5, 2, 1.5, 2)), (0, (1, 3)), (0, (4, 5)))
MOST = len(COLOURS)
ACROSS = 3  # panels beside each other


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
    if form in PICTURES:
        return _picture(recall, _panels(evaluation.judged), evaluation.protocol.name, form)
    curves = list(_curves(evaluation))
    if form == ".json":
        named = [dict(zip(("run", "setting", "precision"), curve, strict=True)) for curve in curves]
        return dumps({"recall": recall, "curves": named}).encode() + b"\n"
    labelled = [(f"{run} {setting}".strip(), precisions) for run, setting, precisions in curves]
    return to_bytes("".join(line + "\n" for line in _table(recall, labelled)))


def _curves(evaluation):
    """(run, setting, precisions) of every curve."""
    for judged in evaluation.judged:
        for setting, precisions in judged.curves(LEVELS).items():
            yield judged.lists.label, setting, precisions.tolist()


def _table(recall, labelled):
    yield "\t".join(["recall", *(tsv_escape(to_bytes(label)) for label, _ in labelled)])
    for row in zip(recall, *(precisions for _, precisions in labelled), strict=True):
        yield "\t".join(f"{value:.6g}" for value in row)


def left_out(judged):
    """A sentence about what a picture does not show, or none: iterator of str.

    Parameters
    ----------
    judged : sequence of imgret.evaluation.judged.Judged
    """
    for count, what in ((len(judged), "rankings"), (len(_settings(judged)), "settings")):
        if count > MOST:
            yield f"the picture of the curves shows the first {MOST} of {count} {what}: a .tsv or .json file has all"


def _settings(judged):
    return list(dict.fromkeys(setting for each in judged for setting in each.values))


def _panels(judged):
    """What a picture shows, a list of (title, [(label, curve)]): of one ranking all settings in a panel, of several a panel for each."""
    curves = [(each.lists.label, each.curves(LEVELS)) for each in judged[:MOST]]
    settings = _settings(judged)[:MOST]
    if len(curves) == 1:
        ((label, found),) = curves
        return [("", [(f"{label} {setting}".strip(), found.get(setting)) for setting in settings])]
    return [(setting, [(label, found.get(setting)) for label, found in curves]) for setting in settings]


def _picture(recall, panels, title, form):
    pyplot, picture = _pyplot(), io.BytesIO()
    across, down = min(len(panels), ACROSS), -(-len(panels) // ACROSS)
    with warnings.catch_warnings(), pyplot.rc_context({"svg.hashsalt": "imgret"}):  # the same picture each time
        warnings.simplefilter("ignore")  # about signs that the font lacks
        figure, grid = pyplot.subplots(down, across, figsize=(6 * across, 5 * down), layout="constrained", squeeze=False)
        for axes, (setting, curves) in zip(grid.flat, panels, strict=False):
            for (label, precisions), colour, dashes in zip(curves, COLOURS, DASHES, strict=False):
                if precisions is not None:
                    axes.plot(recall, precisions, label=_plain(label), color=colour, linestyle=dashes)
            axes.set(xlabel="recall", ylabel="precision (mean, interpolated)", xlim=(0, 1), ylim=(0, 1.02))
            axes.set_title(f"{title} {_plain(setting)}".strip())
            axes.grid(alpha=0.3)
            axes.legend(handlelength=4)
        for axes in grid.flat[len(panels) :]:
            axes.set_visible(False)
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
