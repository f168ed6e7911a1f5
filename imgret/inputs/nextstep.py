"""What to type next, where what is given as an index is none."""

import contextlib
import os

from imgret import builds, endings
from imgret.errors import ImgretError, sentence
from imgret.paths import word
from imgret.store.reader import Store, is_hdf5

# how to come to an index from each kind of store
STEPS = {
    "features": "imgret encode {path} -c WORDS -o vectors.h5 && imgret index vectors.h5 -o index.h5",
    "vectors": "imgret index {path} -o index.h5",
    "words": "imgret index {path} -o index.h5",
}


def index_in(path, queries=()):
    """The index that a path means: itself, or that of a build.

    Parameters
    ----------
    path : str or bytes
    queries : sequence of str or bytes
        What is to be asked, for the message.

    Returns
    -------
    str or bytes

    Raises
    ------
    ImgretError
        For a folder that is no build, and where there is nothing; it names the command to type next.
    """
    shown = os.fsdecode(path)
    if builds.is_build(path):
        index = builds.index_of(path)
        if not os.path.isfile(index):
            raise ImgretError(f"{shown} has lost its index: {builds.again(path)}")
        return index
    if os.path.isdir(path):
        ask = " ".join(map(word, queries[:1])) or "photo.jpg"
        raise unbuilt(shown, f"imgret search {{}} {ask}")
    if not os.path.exists(path):
        raise ImgretError(f"{shown}: there is no such file or folder: `imgret build PHOTOS -o {word(shown)}` makes an index of photos")
    return path


def unbuilt(folder, then):
    """The error for a folder that is no build: what it is, and what to type next.

    Parameters
    ----------
    folder : str
    then : str
        The command for which a build is wanted, with {} in the place of its folder.

    Returns
    -------
    ImgretError
    """
    manifest = os.path.join(folder, builds.MANIFEST)
    try:
        names = list(map(os.fsencode, os.listdir(folder)))
        if os.path.islink(manifest) or builds.MANIFEST.encode() in names and os.stat(manifest):
            return ImgretError(f"{manifest} is no regular file: {builds.removed(manifest, folder)}")
    except OSError as error:
        return ImgretError(sentence(error))
    if not names:
        return ImgretError(f"there is nothing in {folder}: `imgret build PHOTOS -o {word(folder)}` makes an index of photos")
    if any(name.endswith((b".h5", b".h5.parts")) for name in names) and not any(map(endings.picture, names)):
        return ImgretError(f"the build in {folder} is not finished: {builds.again(folder)}")
    made = folder.rstrip("/") + ".imgret" if folder.strip("./") else "photos.imgret"
    command = f"imgret build {word(folder)} -o {word(made)} && {then.replace('{}', word(made), 1)}"
    return ImgretError(f"{folder} is a folder, and no index yet: `{command}`")


@contextlib.contextmanager
def remedied(path, queries=()):
    """Around the opening of an index: what is refused names the command to type next."""
    try:
        yield
    except ImgretError as error:
        if type(error) is not ImgretError or not (remedy := _in_build(path, error) or _remedy(path, queries)):
            raise
        raise ImgretError(f"{error}: {remedy}") from None


def _in_build(path, error):
    """What to do where a file of a build is gone or damaged; "" of other files, and for other faults."""
    folder, shown = os.path.dirname(path), os.fsdecode(path)
    if not shown.endswith(".h5") or not builds.is_build(folder):
        return ""
    if not os.path.lexists(path):
        return builds.again(folder)
    damaged = f"{shown} is damaged" in str(error) or os.access(path, os.R_OK) and not is_hdf5(path)
    return builds.removed(path, folder) if damaged else ""


def _remedy(path, queries):
    if not is_hdf5(path):
        if endings.picture(os.path.basename(os.fsencode(path))):
            index = next((word(query) for query in queries if builds.is_build(query) or is_hdf5(query)), "INDEX")
            return f"the index comes first, then the photos: `imgret search {index} {word(path)}`"
        return ""
    with contextlib.suppress(ImgretError), Store(path) as store:
        if store.kind in STEPS:
            return f"`{STEPS[store.kind].format(path=word(store.shown))}`"
        if store.kind == "ranking":
            return f"`imgret info {word(store.shown)}` tells what it was asked of"
        if store.kind == "codebook":
            return f"`imgret encode FEATURES -c {word(store.shown)} -o vectors.h5 && imgret index vectors.h5 -o index.h5`"
    return ""
