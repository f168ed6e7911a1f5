"""The page of groups of copies: what `duplicates.js` shows, as data.

It is written as the report is (`page.assembled`): a static shell, JSON beside it, a script that shows it as text.
"""

import dataclasses

from imgret.evaluation.result import dumps
from imgret.html import page
from imgret.html.report import thumbnail_texts

MOST = 500  # groups on a page


@dataclasses.dataclass(frozen=True)
class Shown:
    """One photo of a group; the names of the fields are those that the script reads.

    Attributes
    ----------
    photo : int
        Position among the page's names.
    size : sequence of int
        Width and height.
    bytes : int
    modified : str
    kind : str
        What it is to the photo that is kept; "keep" of that one itself.
    score : float
    map : sequence of sequence of float, or None
        From its places to places of the one that is kept: two rows of three.
    """

    photo: int
    size: tuple
    bytes: int
    modified: str
    kind: str
    score: float
    map: list | None


def blocks(path, title, note, names, groups, thumbnails):
    """Yield the page's bytes.

    Parameters
    ----------
    path : str
        Where it goes, for messages.
    title, note : str
    names : list of str
    groups : list of list of Shown
        The photo that is kept first.
    thumbnails : dict of str to (str, bytes, (int, int)) or None
        What `imgret.html.thumbnails.Thumbnails.make` gives.

    Raises
    ------
    ImgretError
        If the page would be too large for browsers.
    """
    data = dumps({"note": note, "names": names, "groups": groups}, default=vars, separators=(",", ":"))
    texts = thumbnail_texts(names, thumbnails)
    yield from page.assembled(path, "duplicates", ("page", "duplicates"), title, data, texts, "show fewer groups (--most)")
