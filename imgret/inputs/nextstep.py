"""What to type next, where what is given as an index is none."""

import contextlib
import os
import shlex

from imgret import builds, endings
from imgret.errors import ImgretError
from imgret.store.reader import Store, is_hdf5

# how to come to an index from each kind of store
STEPS = {
    "features": "imgret encode {path} -c WORDS -o vectors.h5 && imgret index vectors.h5 -o index.h5",
    "vectors": "imgret index {path} -o index.h5",
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
            raise ImgretError(f"{shown} has lost its index: run `imgret build` with the same photos and -o {_word(shown)} again")
        return index
    if os.path.isdir(path):
        made = shown.rstrip("/") + ".imgret" if shown.strip("./") else "photos.imgret"
        ask = " ".join(_word(os.fsdecode(query)) for query in queries[:1]) or "photo.jpg"
        raise ImgretError(
            f"{shown} is a folder, and no index yet: `imgret build {_word(shown)} -o {_word(made)} && imgret search {_word(made)} {ask}`"
        )
    if not os.path.exists(path):
        raise ImgretError(f"{shown}: there is no such file or folder: `imgret build PHOTOS -o {_word(shown)}` makes an index of photos")
    return path


@contextlib.contextmanager
def remedied(path):
    """Around the opening of an index: what is refused names the command to type next."""
    try:
        yield
    except ImgretError as error:
        if type(error) is not ImgretError or not (remedy := _remedy(path)):
            raise
        raise ImgretError(f"{error}: {remedy}") from None


def _remedy(path):
    if not is_hdf5(path):
        if endings.picture(os.path.basename(os.fsencode(path))):
            return f"the index comes first, then the photos: `imgret search INDEX {_word(os.fsdecode(path))}`"
        return ""
    with contextlib.suppress(ImgretError), Store(path) as store:
        if store.kind in STEPS:
            return f"`{STEPS[store.kind].format(path=_word(store.shown))}`"
        if store.kind == "ranking":
            return f"`imgret info {_word(store.shown)}` tells what it was asked of"
        if store.kind == "codebook":
            return f"`imgret encode FEATURES -c {_word(store.shown)} -o vectors.h5 && imgret index vectors.h5 -o index.h5`"
    return ""


def _word(path):
    """A path as a shell takes it, and as no option."""
    return shlex.quote(f"./{path}" if path.startswith("-") and path != "-" else path)
