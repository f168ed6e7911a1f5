"""Writing the report: a static shell, a `Page` as JSON beside it, and a script that shows it as text.

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
from imgret.html.drawing import outline
from imgret.html.report import MAX_BYTES, is_report, thumbnail_of, thumbnail_texts
from imgret.names import to_bytes
from imgret.paths import check_file

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
    check_file(path, "--html")
    folder = os.path.dirname(path) or "."
    if not os.path.isdir(folder):
        raise ImgretError(f"--html {path}: there is no folder {folder}")
    if os.path.exists(path) and not overwrite and not is_report(path):
        raise ImgretError(f"--html {path} is not an imgret report and would be replaced: choose another --html, or give --overwrite")


def write(path, page, thumbnails, *, overwrite=False):
    """Write the report; it appears whole, or not at all.

    Parameters
    ----------
    path : str
    page, thumbnails : see `blocks`
    overwrite : bool
        Replace a file that is not a report.

    Raises
    ------
    ImgretError
        If the path is refused (see `check`), cannot be written to, or the page would be too large for browsers.
    """
    from imgret.store.plain import PlainPlace, published

    check(path, overwrite=overwrite)
    with published([PlainPlace(path, "--html")], overwrite) as (temporary,), open(temporary, "xb") as file:
        for block in blocks(path, page, thumbnails):
            file.write(block)


def blocks(path, page, thumbnails):
    """Yield the report's bytes.

    Parameters
    ----------
    path : str
        Where it goes, for messages.
    page : imgret.html.contract.Page
    thumbnails : dict of str to (str, bytes, (int, int)) or None
        What `imgret.html.thumbnails.Thumbnails.make` gives; a photo that is not in it is shown as a tile with its name. Where a name
        stands for two photos, one of them may go by its position in `photos` instead.

    Raises
    ------
    ImgretError
        If the page would be too large for browsers.
    """
    data = dumps(_plain(page, thumbnails), default=vars, separators=(",", ":"))
    remedy = "show fewer queries or results (--most, --top)"
    texts = thumbnail_texts(page.photos, thumbnails)
    yield from assembled(path, "page", ("page",), page.title, data, texts, remedy, photos=True)


def assembled(path, name, styles, title, data, thumbnails, remedy, *, photos=False):
    """Yield the bytes of a page of this package: `shell.html`, with what is the page's own in it.

    Parameters
    ----------
    path : str
        Where it goes, for messages.
    name : str
        What its body and its script are called.
    styles : sequence of str
        What its style sheets are called, in their order.
    title : str
    data : str
        JSON.
    thumbnails : iterable of str
        What `thumbnail_texts` gives.
    remedy : str
        What to do where it is too large.
    photos : bool
        Whether it may show photos that lie beside it, and not only what it holds.

    Raises
    ------
    ImgretError
        If the page would be too large for browsers.
    """
    size = 0
    for part in _parts(name, styles, title, data, thumbnails, photos):
        block = part.encode("utf-8")
        size += len(block)
        if size > MAX_BYTES:
            raise ImgretError(f"--html {path}: the page would have more than {MAX_BYTES >> 20} MB, too much for a browser: {remedy}")
        yield block


def _parts(name, styles, title, data, thumbnails, photos):
    """Yield the page piece by piece."""
    style, script = "".join(_asset(f"{each}.css") for each in styles), _asset("elements.js") + _asset(f"{name}.js")
    title = html.escape(one_line(to_bytes(title).decode("utf-8", "replace")))
    values = {
        "images": ["data: 'self' file:" if photos else "data:"],
        "others": ["other place" if photos else "network"],
        "title": [title],
        "style_hash": [_hash(style)],
        "script_hash": [_hash(script)],
        "style": [style],
        "script": [script],
        "data": [data.translate(_UNSAFE)],
        "thumbnails": thumbnails,
    }
    shell = _asset("shell.html").replace("{{body}}", _asset(f"{name}.html"))
    for number, piece in enumerate(re.split(r"\{\{(\w+)\}\}", shell)):
        yield from values[piece] if number % 2 else (piece,)


def _plain(page, thumbnails):
    """The page as the script reads it."""
    # JavaScript does not tell 0.0 from 0: which values are counts is said here
    runs = [vars(run) | {"summary": [(name, value, isinstance(value, int)) for name, value in run.summary]} for run in page.runs]
    sizes = [thumbnail and thumbnail[2] for thumbnail in (thumbnail_of(*photo, thumbnails) for photo in enumerate(page.photos))]
    queries = [vars(query) | {"runs": [answer and _drawn(answer, query, sizes) for answer in query.runs]} for query in page.queries]
    return vars(page) | {"runs": runs, "queries": queries}


def _drawn(answer, query, sizes):
    """An answer as the script reads it: outlines in place of maps, of those photos that are shown."""
    size = None if query.photo is None else sizes[query.photo]
    box = query.box or (size and (0, 0, *size))
    outlines = [
        outline(homography, box, sizes[photo]) if homography is not None and box and sizes[photo] else None
        for homography, (photo, _) in zip(answer.maps, answer.top, strict=False)
    ]
    return {name: value for name, value in vars(answer).items() if name != "maps"} | {"outlines": outlines if any(outlines) else []}


def _asset(name):
    import importlib.resources

    return importlib.resources.files("imgret.html").joinpath(name).read_text(encoding="utf-8")


def _hash(text):
    """How a policy names what it allows."""
    return "sha256-" + base64.b64encode(hashlib.sha256(text.encode("utf-8")).digest()).decode("ascii")
