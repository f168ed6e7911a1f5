"""List photos: walk folders, read lists, give every photo a name; nothing is opened."""

import dataclasses
import errno
import os
import stat
import sys

from imgret import endings
from imgret.errors import ImgretError, why
from imgret.folders import Excluded
from imgret.formats import files
from imgret.found import Found

GONE = (errno.ENOENT, errno.ENOTDIR, errno.ELOOP)  # what is no folder, or has vanished since it was listed


@dataclasses.dataclass(frozen=True)
class Given:
    """Photos as they were asked for; see `list_photos`.

    Attributes
    ----------
    arguments, lists : tuple of str
    root : str, optional
    nul : bool
    exclude : tuple of str
    """

    arguments: tuple = ()
    lists: tuple = ()
    root: str | None = None
    nul: bool = False
    exclude: tuple = ()

    @classmethod
    def of(cls, photos):
        """Folders and files, or a single one, as `Given`; what is one already stays."""
        if isinstance(photos, cls):
            return photos
        return cls((os.fspath(photos),) if isinstance(photos, str | bytes | os.PathLike) else tuple(photos))

    def __bool__(self):
        return bool(self.arguments or self.lists)

    def identity(self):
        """What tells them from others that may be asked for, as JSON, without looking for them; None where only reading a list tells."""
        if "-" in self.arguments or not all(os.path.isfile(path) for path in self.lists):
            return None
        given = [[os.fsdecode(path), os.fsdecode(os.path.abspath(path))] for path in (*self.arguments, *self.lists)]
        lists = [[status.st_size, status.st_mtime_ns] for status in map(os.stat, self.lists)]
        root = None if self.root is None else os.fsdecode(os.path.abspath(self.root))
        return [given, lists, root, self.nul, list(map(os.fsdecode, self.exclude)), endings.read_here()]

    def listed(self):
        """The `Listing` of them.

        Raises
        ------
        ImgretError
        """
        return list_photos(self.arguments, self.lists, root=self.root, nul=self.nul, exclude=self.exclude)


def list_photos(arguments, lists=(), *, root=None, nul=False, exclude=(), stdin=None):
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
    exclude : sequence of str or bytes
        What is left out of folders; see `imgret.folders.Excluded`.
    stdin : binary file, optional

    Returns
    -------
    Listing
        A folder that cannot be listed is in it, by its name, for what it may hold.

    Raises
    ------
    ImgretError
        If an argument does not exist, two photos get the same name, one lies outside `root`, or there is none at all.
    UsageError
        For a pattern that says nothing.
    """
    found, faults, excluded = Found(), [], Excluded(exclude)
    root = None if root is None else os.path.abspath(os.fsencode(root))
    if root is not None and not os.path.isdir(root):
        raise ImgretError(f"--root {os.fsdecode(root)}: there is no such folder")
    for argument in map(os.fsencode, arguments):
        if argument == b"-":
            _listed(found, files.Stream(stdin or sys.stdin.buffer, "standard input"), nul, root)
        elif os.path.isdir(argument):
            _walk(found, argument, root, excluded, faults)
        else:
            try:
                status = os.stat(argument)
            except OSError as error:
                raise ImgretError(f"{os.fsdecode(argument)}: {_reason(error)}") from None
            if not stat.S_ISREG(status.st_mode):
                raise ImgretError(f"{os.fsdecode(argument)} is neither a folder nor a regular file")
            found.add(_name(argument, argument, root), argument, status)
    for path in lists:
        _listed(found, os.fsdecode(path), nul, root)
    if not found.photos:
        raise _nothing(faults, excluded, found.unread)
    return found.listing()


def tell_unread(listing, report):
    """Say which pictures were found in folders that are of types that are not read, if there are any: once, however many steps ask."""
    if listing.unread:
        report.note(endings.told(listing.unread))
        listing.unread.clear()


def _nothing(faults, excluded, unread):
    """What to say where no photo was found, by the folders that could not be listed and why, and what was found instead."""
    for folder, error in faults:
        return ImgretError(f"the folder {os.fsdecode(folder)} cannot be listed: {_reason(error)}")
    known = " ".join(endings.read_here())
    left_out = "; what --exclude names is left out" if excluded else ""
    instead = f", but {endings.told(unread)}" if unread else ""
    return ImgretError(f"there is no photo in what was given (folders are searched for {known}{left_out}){instead}")


def _walk(found, top, root, excluded, faults):
    """Find every photo below `top`, and every folder that cannot be listed; each real folder once, so loops of links end."""
    visited, stack = set(), [(top, b"")]
    while stack:
        folder, relative = stack.pop()
        entries, fault = _entries(folder, visited)
        if fault is not None and (folder == top or fault.errno not in GONE):
            faults.append((folder, fault))
            found.add(_name(relative or top, folder, root), folder.rstrip(b"/") + b"/", None)
        folders = []
        while entries:
            entry = entries.pop()  # let go of at once: it keeps what it finds out, a kilobyte in all
            below = relative + b"/" + entry.name if relative else entry.name
            if entry.name.startswith(b".") or (excluded and excluded(below)):
                continue
            ending, status = endings.picture(entry.name), None
            photo = ending != b"" and endings.readable(ending)
            try:
                if entry.is_dir():
                    folders.append((entry.path, below))
                    continue
                status = entry.stat() if photo else None
            except OSError as error:  # of a photo, a dangling link, say, reading it will tell
                if not photo and error.errno not in GONE:  # a link to what cannot be looked at: it may be a folder
                    folders.append((entry.path, below))
            if photo:
                found.add(_name(below, entry.path, root), entry.path, status)
            elif ending:
                found.unread[ending] += 1
        stack.extend(reversed(folders))


def _entries(folder, visited):
    """What is in a folder that was not visited before, the last one first, and the error that ended its listing, or None."""
    entries, fault = [], None
    try:
        status = os.stat(folder)
        if (status.st_dev, status.st_ino) not in visited:
            visited.add((status.st_dev, status.st_ino))
            with os.scandir(folder) as listed:
                for entry in listed:
                    entries.append(entry)  # noqa: PERF402 - what comes before an error stays
    except OSError as error:
        fault = error
    return sorted(entries, key=lambda entry: entry.name, reverse=True), fault


def _listed(found, path, nul, root):
    """Find the photos that a list names; a `files.Stream` is one too."""
    option = "" if isinstance(path, files.Stream) else "--list "
    for number, line in files.lines(path, nul=nul, regular=False, refusal=lambda error: ImgretError(f"{option}{path}: {_reason(error)}")):
        if not line:
            continue
        if b"\0" in line:
            raise ImgretError(f"{path}, line {number}: a name cannot hold a NUL; is the list NUL-terminated? Then say -0")
        try:
            status = os.stat(line)
        except OSError:
            status = None  # one missing photo in a long list is recorded, not fatal
        line = line.rstrip(b"/") or b"/."
        found.add(_name(line, line, root), line, status)


def _name(relative, path, root):
    if root is None:
        return os.path.normpath(relative)
    name = os.path.relpath(os.path.abspath(path), root)
    if name == b".." or name.startswith(b"../"):
        raise ImgretError(f"{os.fsdecode(path)} is not below --root {os.fsdecode(root)}")
    return name


def _reason(error):
    return why(error, "there is no such file or folder").lower()
