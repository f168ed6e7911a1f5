"""List photos: walk folders, read lists, give every photo a name; nothing is opened."""

import dataclasses
import os
import stat
import sys

import numpy as np

from imgret.errors import ImgretError, why
from imgret.images import EXTENSIONS


@dataclasses.dataclass(frozen=True)
class Listing:
    """Photos in byte order of their names.

    Attributes
    ----------
    names : list of bytes
    paths : list of bytes
        Where each one is.
    sizes, mtimes : ndarray, shape (N,), int64
        File size in bytes and modification time in nanoseconds; -1 where the file could not be looked at.
    photo_names : list of bytes, optional
        Where there is a row per box: the names of the photos that the boxes are of, while `names` are those of the queries.
    boxes : ndarray, shape (N, 4), float64, optional
        Their corners, as given: x1, y1, x2, y2.
    """

    names: list
    paths: list
    sizes: np.ndarray
    mtimes: np.ndarray
    photo_names: list | None = None
    boxes: np.ndarray | None = None

    def __len__(self):
        return len(self.names)


@dataclasses.dataclass(frozen=True)
class Given:
    """Photos as they were asked for; see `list_photos`.

    Attributes
    ----------
    arguments, lists : tuple of str
    root : str, optional
    nul : bool
    """

    arguments: tuple = ()
    lists: tuple = ()
    root: str | None = None
    nul: bool = False

    @classmethod
    def of(cls, photos):
        """Folders and files, or a single one, as `Given`; what is one already stays."""
        if isinstance(photos, cls):
            return photos
        return cls((os.fspath(photos),) if isinstance(photos, str | bytes | os.PathLike) else tuple(photos))

    def __bool__(self):
        return bool(self.arguments or self.lists)

    def listed(self):
        """The `Listing` of them.

        Raises
        ------
        ImgretError
        """
        return list_photos(self.arguments, self.lists, root=self.root, nul=self.nul)


def list_photos(arguments, lists=(), *, root=None, nul=False, stdin=None):
    """List the photos that the command line names.

    Parameters
    ----------
    arguments : sequence of str or bytes
        Folders (walked; known extensions, hidden files skipped), files, or `-` for a list on standard input.
    lists : sequence of str or bytes
        Files that list photos, one per line (or NUL-terminated).
    root : str or bytes, optional
        Names are made relative to this folder. Without it a photo in a folder is named relative to that folder, and any other as
        it is written, normalised.
    nul : bool
        Lists are NUL-terminated.
    stdin : binary file, optional

    Returns
    -------
    Listing

    Raises
    ------
    ImgretError
        If an argument does not exist, two photos get the same name, one lies outside `root`, or there is none at all.
    """
    found = []
    root = None if root is None else os.path.abspath(os.fsencode(root))
    if root is not None and not os.path.isdir(root):
        raise ImgretError(f"--root {os.fsdecode(root)}: there is no such folder")
    for argument in map(os.fsencode, arguments):
        if argument == b"-":
            found += _listed((stdin or sys.stdin.buffer).read(), nul, root, "standard input")
        elif os.path.isdir(argument):
            found += _walk(argument, root)
        else:
            try:
                status = os.stat(argument)
            except OSError as error:
                raise ImgretError(f"{os.fsdecode(argument)}: {_reason(error)}") from None
            if not stat.S_ISREG(status.st_mode):
                raise ImgretError(f"{os.fsdecode(argument)} is neither a folder nor a regular file")
            found.append(_entry(_name(argument, argument, root), argument, status))
    for path in lists:
        try:
            with open(path, "rb") as file:
                data = file.read()
        except OSError as error:
            raise ImgretError(f"--list {os.fsdecode(path)}: {_reason(error)}") from None
        found += _listed(data, nul, root, os.fsdecode(path))
    if not found:
        endings = " ".join(os.fsdecode(ending) for ending in EXTENSIONS)
        raise ImgretError(f"there is no photo in what was given (folders are searched for {endings})")
    found.sort()
    return _unique(found)


def _walk(top, root):
    """Every photo below `top`; each real folder once, so loops of links end."""
    visited, stack, found = set(), [top], []
    while stack:
        folder = stack.pop()
        try:
            status = os.stat(folder)
            if (status.st_dev, status.st_ino) in visited:
                continue
            visited.add((status.st_dev, status.st_ino))
            with os.scandir(folder) as entries:
                entries = sorted(entries, key=lambda entry: entry.name, reverse=True)
        except OSError as error:
            raise ImgretError(f"the folder {os.fsdecode(folder)} cannot be listed: {_reason(error)}") from None
        folders = []
        while entries:
            entry = entries.pop()  # let go of at once: it keeps what it finds out, a kilobyte in all
            if entry.name.startswith(b"."):
                continue
            try:
                if entry.is_dir():
                    folders.append(entry.path)
                    continue
                if not entry.name.lower().endswith(EXTENSIONS):
                    continue
                status = entry.stat()
            except OSError:
                status = None  # a dangling link, say: reading it will tell
            if entry.name.lower().endswith(EXTENSIONS):
                found.append(_entry(_name(os.path.relpath(entry.path, top), entry.path, root), entry.path, status))
        stack.extend(reversed(folders))
    return found


def _listed(data, nul, root, shown):
    """Photos that a list names."""
    found = []
    lines = data.split(b"\0") if nul else data.split(b"\n")
    for number, line in enumerate(lines, 1):
        line = line if nul else line.removesuffix(b"\r")
        if not line:
            continue
        if b"\0" in line:
            raise ImgretError(f"{shown}, line {number}: a name cannot hold a NUL; is the list NUL-terminated? Then say -0")
        try:
            status = os.stat(line)
        except OSError:
            status = None  # one missing photo in a long list is recorded, not fatal
        found.append(_entry(_name(line, line, root), line, status))
    return found


def _name(relative, path, root):
    if root is None:
        return os.path.normpath(relative)
    name = os.path.relpath(os.path.abspath(path), root)
    if name == b".." or name.startswith(b"../"):
        raise ImgretError(f"{os.fsdecode(path)} is not below --root {os.fsdecode(root)}")
    return name


def _entry(name, path, status):
    return (name, path, -1, -1) if status is None else (name, path, status.st_size, status.st_mtime_ns)


def _unique(found):
    kept = []
    for entry in found:
        if kept and kept[-1][0] == entry[0]:
            if os.path.realpath(kept[-1][1]) == os.path.realpath(entry[1]):
                continue
            raise ImgretError(
                f"two photos would be called '{os.fsdecode(entry[0])}': {os.fsdecode(kept[-1][1])} and {os.fsdecode(entry[1])}; "
                "give --root with a folder above both, so that their names tell them apart"
            )
        kept.append(entry)
    names, paths, sizes, mtimes = zip(*kept, strict=True)
    return Listing(list(names), list(paths), np.array(sizes, dtype=np.int64), np.array(mtimes, dtype=np.int64))


def _reason(error):
    return why(error, "there is no such file or folder").lower()
