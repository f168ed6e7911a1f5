"""Whether the stores of a build are those that it made: another build's, in their places, speak of other photos under the same names."""

import contextlib

import numpy as np

from imgret import builds
from imgret.errors import ImgretError
from imgret.store.reader import Store

LOOKED_AT = 200  # photos that two stores are compared by


def strange(build):
    """A sentence on what is in the place of a store that a build made; "" where all is its own.

    Only what decides on where photos are is looked at: the index and its vectors. What the manifest does not know yet, because a build is
    just going on or was stopped, is its own where it was made of what the manifest knows, or speaks of the same photos as the rest.

    Parameters
    ----------
    build : imgret.builds.Build

    Returns
    -------
    str
    """
    for path, other in ((build.index, build.vectors), (build.vectors, build.index)):
        if not _is_own(build, path, other):
            return f"{path} is not the one that its build made, so that where its photos are is not known: {builds.again(build.folder)}"
    return ""


def _is_own(build, path, other):
    known = build.content_of(path)
    if known is None:
        return True
    with contextlib.suppress(ImgretError), Store(path) as store:  # what cannot be read is told by who reads it
        sources = {str(entry.get("content")) for entry in store.inputs if isinstance(entry, dict)}
        if store.content == known or (sources and sources <= set(build.contents.values())):
            return True
        with Store(other) as beside:
            return beside.content == build.content_of(other) and _same_photos(store, beside)
    return True


def _same_photos(store, other):
    """Whether most photos of the smaller of two stores are in the other."""
    few, many = sorted((store, other), key=len)
    rows = np.unique(np.linspace(0, len(few) - 1, min(len(few), LOOKED_AT)).astype(np.int64)).tolist()
    names, among, found = few.texts("names"), many.texts("names"), 0
    for row in rows:
        at = among.find(names[row])
        found += at >= 0 and np.array_equal(few.read("digest", row, row + 1), many.read("digest", at, at + 1))
    return 2 * found >= len(rows)


def photo_roots(index):
    """Where the photos of an index are, as `imgret.builds.roots_there` has it.

    Raises
    ------
    ImgretError
        If they are not there, or it is not known where they are, although there is a build.
    """
    folder = builds.folder_of(index)
    if builds.is_build(folder) and (text := strange(builds.read(folder))):
        raise ImgretError(text)
    return builds.roots_there(index)
