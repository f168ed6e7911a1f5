"""Thumbnails of photos by name: small JPEGs, made once; an older report gives back those that it has."""

import base64
import hashlib
import io
import os

from imgret import endings
from imgret.errors import ImgretError, UsageError, counted
from imgret.html.report import old_thumbnails
from imgret.images import BadPhoto, decode, read_file
from imgret.names import bare, to_bytes
from imgret.parallel import ordered_map

QUALITY = 75
EDGE, LARGE_EDGE, MAX_EDGE = 160, 640, 1024


class Thumbnails:
    """Makes thumbnails of the photos below some folders.

    Parameters
    ----------
    roots : sequence of str or bytes
        Folders that names are relative to, tried in order.
    edge : int
        Longest side in pixels; a smaller photo is not enlarged.
    jobs : int
        How many photos are decoded at once.
    cache : str, optional
        An older report: its thumbnails are used where the photo's name, size and modification time and `edge` are the same.

    Attributes
    ----------
    made, reused : int
        Thumbnails made anew, and taken from `cache`.
    missing, outside, bad : int
        Photos that are in none of the folders; whose names lead out of them (absolute, or by `..`); that cannot be decoded.
    paths : dict of str to bytes
        Where the photos lie of which there are thumbnails.

    Raises
    ------
    UsageError
        If `edge` is out of range.
    ImgretError
        If a root is no folder.
    """

    def __init__(self, roots, *, edge=EDGE, jobs=1, cache=None):
        if not 16 <= edge <= MAX_EDGE:
            raise UsageError(f"the longest side of a thumbnail must be from 16 to {MAX_EDGE} pixels, got {edge}")
        self._roots = [os.fsencode(root) for root in roots]
        for root in self._roots:
            if not os.path.isdir(root):
                raise ImgretError(f"--photos {os.fsdecode(root)}: there is no such folder")
        self._edge, self._jobs, self._cache = edge, jobs, cache
        self.made = self.reused = self.missing = self.outside = self.bad = 0
        self.paths = {}

    def make(self, names, progress=None):
        """The thumbnails of photos. Only the small JPEGs are kept in memory.

        Parameters
        ----------
        names : iterable of str
            As `imgret.names.to_text` spells them.
        progress : callable, optional
            Called with 1 after each photo.

        Returns
        -------
        dict of str to (str, bytes, (int, int)) or None
            Key (identity of photo and edge), JPEG, and width and height of the upright photo at full size; None where there is no
            such photo or it cannot be used.
        """
        old = {} if self._cache is None else old_thumbnails(self._cache)
        names = list(dict.fromkeys(names))
        thumbnails = {}
        for name, found in zip(names, ordered_map(lambda name: self._one(name, old), names, self._jobs), strict=True):
            outcome, thumbnails[name], path = found
            if path is not None:
                self.paths[name] = path
            setattr(self, outcome, getattr(self, outcome) + 1)
            if progress is not None:
                progress(1)
        return thumbnails

    def shortfall(self):
        """A sentence about the photos that have no thumbnail; "" where none is without."""
        reasons = {"not found below --photos": self.missing, "named outside --photos": self.outside, "cannot be decoded": self.bad}
        counts = ", ".join(f"{count} {reason}" for reason, count in reasons.items() if count)
        without = counted(self.missing + self.outside + self.bad, "photo is", "photos are")
        return counts and f"{without} shown without a thumbnail: {counts}"

    def _one(self, name, old):
        """What became of a photo (the name of an attribute that counts), its thumbnail, and where it lies; or None and None."""
        relative = inside(to_bytes(name))
        if relative is None:
            return "outside", None, None
        outcome = "missing"
        for root in self._roots:
            path = os.path.join(root, relative)
            try:
                status = os.stat(path)
            except OSError:
                continue
            key = _key(name, status.st_size, status.st_mtime_ns, self._edge)
            thumbnail = _validated(key, old.get(key), self._edge)
            if thumbnail is not None:
                return "reused", thumbnail, path
            try:
                return "made", self._made(name, path), path
            except BadPhoto:
                outcome = "bad"  # another root may hold a better one
        return outcome, None, None

    def _made(self, name, path):
        from PIL import Image

        file = read_file(path)
        photo = decode(file.data, max_size=self._edge, grey=False)
        jpeg = io.BytesIO()
        Image.fromarray(photo.pixels).save(jpeg, "JPEG", quality=QUALITY)
        return _key(name, file.size, file.mtime_ns, self._edge), jpeg.getvalue(), photo.size


def inside(name):
    """`name` (bytes) normalised; None where it would lead out of the folder that it is relative to, or names no file at all."""
    path = os.path.normpath(name)
    if not name or b"\0" in name or os.path.isabs(path) or path in (b".", b"..") or path.startswith(b"../"):
        return None
    return path


def as_file(name, roots):
    """A photo's name (bytes) as its file has it below the roots: lists by others leave the extension out, and it may be a whole path."""
    for root in map(os.fsencode, roots):
        folder = os.path.abspath(root)
        if os.path.isabs(name) and os.path.commonpath([folder, os.path.normpath(name)]) == folder:
            return os.path.relpath(name, folder)
        if bare(name) == name:
            for extension in (b"", *endings.ALL, *(each.upper() for each in endings.ALL)):
                if os.path.isfile(os.path.join(root, name + extension)):
                    return name + extension
    return name


def _key(name, size, mtime_ns, edge):
    """Identity of a thumbnail, hex."""
    identity = b"\0".join([to_bytes(name), *(b"%d" % number for number in (size, mtime_ns, edge, QUALITY))])
    return hashlib.sha256(identity).hexdigest()[:32]


def _validated(key, entry, edge):
    """A thumbnail of an older report, `(base64, width, height)`; None where it is not one. The file may be a stranger's."""
    if entry is None:
        return None
    from PIL import Image

    text, width, height = entry
    try:
        jpeg = base64.b64decode(text, validate=True)
        image = Image.open(io.BytesIO(jpeg), formats=("JPEG",))
        if max(image.size) > edge or image.size != _reduced(width, height, edge):
            return None
        image.load()
    except Exception:  # noqa: BLE001 - decoders raise anything over a damaged file
        return None
    return key, jpeg, (width, height)


def _reduced(width, height, edge):
    """The size of a thumbnail, as `imgret.images.reduce` makes it."""
    factor = min(1.0, edge / max(width, height, 1))
    return max(1, round(width * factor)), max(1, round(height * factor))
