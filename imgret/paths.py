"""Where a command may write: refused before there is any work to lose."""

import itertools
import os
import shlex

from imgret.errors import ImgretError, UsageError

# what a name says that a file is, by its ending
ENDINGS = {
    "a store (HDF5)": (".h5", ".hdf5", ".hdf"),
    "a NumPy array": (".npy",),
    "fvecs": (".fvecs",),
    "bvecs": (".bvecs",),
    "ivecs": (".ivecs",),
    "a TREC run": (".trec", ".run"),
    "TREC judgements": (".qrels",),
    "plain text": (".txt", ".lst", ".list", ".log", ".md"),
    "TSV": (".tsv",),
    "CSV": (".csv",),
    "JSON": (".json",),
    "JSON lines": (".jsonl", ".ndjson"),
    "HTML": (".html", ".htm"),
    "a picture": (".png", ".svg", ".pdf", ".jpg", ".jpeg", ".gif", ".webp", ".tif", ".tiff", ".bmp"),
    "NumPy arrays": (".npz",),
    "an archive": (".zip", ".tar", ".gz", ".tgz", ".bz2", ".xz", ".zst", ".7z"),
    "a pickle": (".pkl", ".pickle"),
    "a network": (".pt", ".pth", ".onnx", ".safetensors"),
    "a faiss index": (".faiss",),
    "a table or matrix of another program": (".mat", ".parquet", ".arrow", ".feather", ".sqlite", ".db", ".xls", ".xlsx"),
    "a config": (".toml", ".yaml", ".yml", ".ini", ".xml"),
}
ALSO = {"JSON lines": ("JSON", "plain text"), "a TREC run": ("plain text",), "TREC judgements": ("plain text",)}


def plain(path):
    """A path as str or bytes, whatever kind of path it is; None stays."""
    return None if path is None else os.fspath(path)


def word(path):
    """A path as a shell takes it, and as no option."""
    path = os.fsdecode(path)
    return shlex.quote(f"./{path}" if path.startswith("-") and path != "-" else path)


def several(paths):
    """One path, or several, as a list of str."""
    single = isinstance(paths, str | bytes | os.PathLike)
    return [os.fspath(path) for path in ([paths] if single else paths)]


def target(path):
    """Where what is written to `path` goes: to what a symbolic link points at, whether that is there or not."""
    return os.path.realpath(path) if os.path.islink(path) else path


def _is_stream(path):
    """Whether it is a name for what is open: written to by its name, it would be replaced, whatever it leads to."""
    return os.path.abspath(os.fsdecode(path)).startswith(("/dev/stdin", "/dev/stdout", "/dev/stderr", "/dev/fd/", "/proc/"))


def check_file(path, option):
    """Refuse what is no place for a file.

    Parameters
    ----------
    path : str or bytes
    option : str
        What names it on the command line.

    Raises
    ------
    ImgretError
        If it is a folder, a device or the like, or a link to where no file can be.
    """
    shown, place = os.fsdecode(path), target(path)
    if not os.path.basename(path) or os.path.isdir(path):
        raise ImgretError(f"{option} '{shown}' names a folder, a file is needed")
    nowhere = place != path and (os.path.islink(place) or not os.path.isdir(os.path.dirname(place)))  # a link is left where they go round
    if nowhere or _is_stream(path) or (os.path.exists(path) and not os.path.isfile(path)):
        raise ImgretError(f"{option} {shown} is not a regular file: choose another {option}")


def misnamed(path, form):
    """A sentence on a name whose ending belongs to another format; "" where it is this one's, or none's.

    Parameters
    ----------
    path : str or bytes
    form : str
        What the file holds: a key of `ENDINGS`.
    """
    shown = os.fsdecode(path)
    ending = os.path.splitext(shown)[1].lower()
    said = next((said for said, endings in ENDINGS.items() if ending in endings), form)
    if said in (form, *ALSO.get(form, ())):
        return ""
    return f"{shown} holds {form}, not {said} as its ending says"


def check_folder(path):
    """The folder that `path` is to be in.

    Raises
    ------
    ImgretError
        If there is none.
    """
    folder = os.path.dirname(os.path.abspath(path))
    if not os.path.isdir(folder):
        raise ImgretError(f"{os.fsdecode(path)}: the folder {os.fsdecode(folder)} does not exist: create it first")
    return folder


def same(first, second):
    """Whether two paths lead to one file that is there."""
    return os.path.exists(first) and os.path.exists(second) and os.path.samefile(first, second)


def is_photo(path, listing):
    """Whether a path leads to one of the photos of an `imgret.found.Listing`."""
    try:
        size = os.stat(path).st_size
    except OSError:
        return False
    return any(same(path, photo) for photo, there in zip(listing.paths, listing.sizes, strict=True) if there == size)


def check_spared(path, option, kept):
    """Refuse to write to `path` where it is `kept`, which is read, or lies within it.

    Raises
    ------
    ImgretError
    """
    shown, real, own = os.fsdecode(path), os.path.realpath(path), os.path.realpath(kept)
    if same(path, kept):
        raise ImgretError(f"{shown} is both read and written: choose another {option}")
    if os.path.isdir(own) and os.path.commonpath([os.fsencode(own), os.fsencode(real)]) == os.fsencode(own):
        raise ImgretError(f"{option} {shown} would lie in the folder {os.fsdecode(kept)}, which is read: choose another {option}")


def check_apart(paths):
    """Refuse two options that name one file.

    Parameters
    ----------
    paths : dict of str to str
        By option.

    Raises
    ------
    UsageError
    """
    for (first, path), (second, other) in itertools.combinations(paths.items(), 2):
        if os.path.realpath(path) == os.path.realpath(other) or same(path, other):
            raise UsageError(f"{first} and {second} are both {path}: give each a file of its own")
