"""Links from a page to the photos' own files, where it lies near them."""

import os
import urllib.parse

from imgret import endings

NEAR = 3  # folders that a link may go up: of what lies farther off, the way is nobody's business who is given the page


def link(page, photo):
    """The relative URL of a photo's file, as a page has it.

    It names nothing but a file of this name: every byte that could mean more is percent-encoded, and it begins with a dot, so that it is
    no scheme and no host. What is not called like a photo gets none: a browser goes by the name, and might find a script in it.

    Parameters
    ----------
    page, photo : str or bytes
        Paths.

    Returns
    -------
    str or None
        None where the page lies far from the photo, or the two have nothing but the file system's root in common.
    """
    folder, photo = os.path.dirname(os.path.abspath(os.fsencode(page))), os.path.abspath(os.fsencode(photo))
    shared = os.path.commonpath([folder, photo])
    way = os.path.relpath(photo, folder)
    if os.path.splitext(photo)[1].lower() not in endings.ALL or way.startswith(b"../" * (NEAR + 1)):
        return None
    if shared == b"/" != folder:
        return None
    return urllib.parse.quote(way if way.startswith(b"../") else b"./" + way, safe="/.")
