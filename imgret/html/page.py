"""Writing the report: a static shell, the data as JSON beside it, and a script that shows them as text.

Nothing of the data is ever markup: the JSON holds no `<`, the script builds elements and sets their text, and the page's own policy
(by hash) runs and styles by nothing but what is in this package, and asks no network for anything.
"""

import base64
import hashlib
import html
import os
import re

from imgret.errors import ImgretError, one_line
from imgret.evaluation.result import dumps
from imgret.html.report import MAX_BYTES, is_report, thumbnail_texts
from imgret.names import to_bytes

_UNSAFE = str.maketrans({"<": "\\u003c", ">": "\\u003e", "&": "\\u0026"})  # the rest that could matter is not ASCII, and escaped already


def check(path, *, overwrite=False):
    """Refuse a path that no report can be written to: to be called before the work is done, too.

    Parameters
    ----------
    path : str
    overwrite : bool
        Replace a file that is not a report.

    Raises
    ------
    ImgretError
    """
    if not os.path.basename(path) or os.path.isdir(path):
        raise ImgretError(f"--html '{path}' names a folder, a file is needed")
    folder = os.path.dirname(path) or "."
    if not os.path.isdir(folder):
        raise ImgretError(f"--html {path}: there is no folder {folder}")
    if not os.path.exists(path):
        return
    if not os.path.isfile(path):
        raise ImgretError(f"--html {path} is not a regular file: choose another --html")
    if not overwrite and not is_report(path):
        raise ImgretError(f"--html {path} is not an imgret report and would be replaced: choose another --html, or give --overwrite")


def write(path, data, thumbnails, *, overwrite=False):
    """Write the report; it appears whole, or not at all.

    Parameters
    ----------
    path : str
    data : dict
        What the page shows, plain JSON values; names as `imgret.names.to_text` spells them::

            {"title": str, "protocol": str | None, "conventions": {name: text} | None, "note": str | None,
             "measure": str,             # what "ap" is, as it is to be called
             "settings": [str, ...],     # the protocol's settings, [""] where it has one; "medium" is shown first, else the first
             "runs": [{"label": str, "summary": [[name, value | None], ...], "warnings": [str, ...],
                       "curves": {setting: [101 precisions at recall 0, .01, ..., 1]} | None}, ...],
             "comparison": [str, ...],
             "photos": [name, ...],      # each once; what follows refers to positions here
             "queries": [{"name": str, "photo": position | None, "box": [x1, y1, x2, y2] | None,
                          "runs": [None | {"top": [[photo, score | None], ...],
                                           "settings": {setting: {"ap": float | None, "positives": int, "found": int,
                                                                  "first_hit": int | None, "marks": str}}}, ...]}, ...]}

        `marks` has a letter per result of `top`: h hit, m miss, j junk, q the query photo itself, - nothing known.
    thumbnails : dict of str to (str, bytes, (int, int)) or None
        What `imgret.html.thumbnails.Thumbnails.make` gives; a photo that is not in it is shown as a tile with its name. Where a name
        stands for two photos, one of them may go by its position in `photos` instead.
    overwrite : bool
        Replace a file that is not a report.

    Raises
    ------
    ImgretError
        If the path is refused (see `check`), cannot be written to, or the page would be too large for browsers.
    """
    from imgret.store.parts import published

    check(path, overwrite=overwrite)
    with published(path) as temporary, open(temporary, "xb") as file:
        for part in _parts(data, thumbnails):
            file.write(part.encode("utf-8"))
            if file.tell() > MAX_BYTES:
                raise ImgretError(
                    f"--html {path}: the page would have more than {MAX_BYTES >> 20} MB, too much for a browser: "
                    "show fewer queries or results (--most, --top)"
                )


def _parts(data, thumbnails):
    """Yield the page piece by piece."""
    style, script = _asset("page.css"), _asset("page.js")
    title = html.escape(one_line(to_bytes(data["title"]).decode("utf-8", "replace")))
    # JavaScript does not tell 0.0 from 0: which values are counts is said here
    runs = [run | {"summary": [[name, value, isinstance(value, int)] for name, value in run["summary"]]} for run in data["runs"]]
    values = {
        "title": [title],
        "style_hash": [_hash(style)],
        "script_hash": [_hash(script)],
        "style": [style],
        "script": [script],
        "data": [dumps(data | {"runs": runs}, separators=(",", ":")).translate(_UNSAFE)],
        "thumbnails": thumbnail_texts(data["photos"], thumbnails),
    }
    for number, piece in enumerate(re.split(r"\{\{(\w+)\}\}", _asset("page.html"))):
        yield from values[piece] if number % 2 else (piece,)


def _asset(name):
    import importlib.resources

    return importlib.resources.files("imgret.html").joinpath(name).read_text(encoding="utf-8")


def _hash(text):
    """How a policy names what it allows."""
    return "sha256-" + base64.b64encode(hashlib.sha256(text.encode("utf-8")).digest()).decode("ascii")
