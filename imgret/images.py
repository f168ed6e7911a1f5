"""Read photos: every format, orientation and pixel type to upright 8-bit pixels, and every way a photo can be bad.

A photo may come from a stranger: its header is read before its pixels, and what it claims is bounded (`imgret.bounds`).
"""

import dataclasses
import errno
import hashlib
import os
import stat
import unicodedata
import warnings

import numpy as np

from imgret import folders
from imgret.errors import why
from imgret.pixels import to_bytes
from imgret.samples import heif, opening
from imgret.samples.bad import BadPhoto, undecodable
from imgret.samples.opening import REMEDY, reduced_size
from imgret.samples.others import unsupported

MAX_FILE_BYTES = 1 << 30
ORIENTATION = 0x0112  # the EXIF tag
TURNED = (5, 6, 7, 8)  # orientations that exchange width and height
ACCEPT, REFUSE = "accept", "refuse"  # what to do with a photo that lacks its last bytes

# Pillow's warnings are about metadata that do not matter here; one filter, once: to set it while photos are decoded would reach all threads
warnings.filterwarnings("ignore", module=r"PIL\.")


@dataclasses.dataclass(frozen=True)
class File:
    """A photo's bytes and identity."""

    data: bytes
    digest: bytes  # SHA-256
    size: int
    mtime_ns: int


@dataclasses.dataclass(frozen=True)
class Photo:
    """An upright photo, decoded.

    Attributes
    ----------
    pixels : ndarray, shape (H, W) or (H, W, 3), uint8
        Grey, or RGB.
    size : tuple of int
        Width and height of the upright photo at full size, before any reduction.
    box : tuple of float, optional
        x1, y1, x2, y2 of the region asked for, in pixels of the upright photo at full size, clipped to the photo; float32 holds them.
    several : bool
        Whether its file holds other pictures too: this is the first.
    """

    pixels: np.ndarray
    size: tuple
    box: tuple | None = None
    several: bool = False


def file_of(data):
    """The `File` of a photo's bytes that came from no file."""
    return File(data, hashlib.sha256(data).digest(), len(data), -1)


def other_form(path, error):
    """Where there is no file, but one whose name is the same text in another Unicode form: that, in words to add; or nothing."""
    for form in ("NFC", "NFD") if isinstance(error, FileNotFoundError) else ():
        other = unicodedata.normalize(form, os.fsdecode(path))
        if other != os.fsdecode(path) and os.path.exists(other):
            return f" (there is one whose name differs only in its Unicode form, which is {form} there)"
    return ""


def read_file(path):
    """A photo's bytes, without ever waiting on a pipe or a device.

    Raises
    ------
    BadPhoto
        `unreadable` (tried again by the next run; of a path that ends with a slash: a folder not listed), `not-a-file`, `too-large`.
    """
    if os.fsencode(path).endswith(b"/"):
        raise BadPhoto("unreadable", folders.fault_of(path))
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | getattr(os, "O_CLOEXEC", 0))
        try:
            status = os.fstat(descriptor)
            if not stat.S_ISREG(status.st_mode):
                raise BadPhoto("not-a-file", "it is not a regular file")
            if status.st_size > MAX_FILE_BYTES:
                raise BadPhoto("too-large", f"the file has {status.st_size} bytes, the limit is {MAX_FILE_BYTES}")
            with open(descriptor, "rb", closefd=False) as file:
                data = file.read(status.st_size + 1)  # not the limit: as much would be set aside
                if len(data) > status.st_size:  # it has grown
                    data += file.read(MAX_FILE_BYTES + 1 - len(data))
        finally:
            os.close(descriptor)
    except OSError as error:
        if error.errno in (errno.EISDIR, errno.ENXIO):
            raise BadPhoto("not-a-file", "it is not a regular file") from None
        raise BadPhoto("unreadable", f"it cannot be read: {why(error)}{other_form(path, error)}") from None
    if len(data) > MAX_FILE_BYTES:
        raise BadPhoto("too-large", f"the file has more than {MAX_FILE_BYTES} bytes")
    return File(data, hashlib.sha256(data).digest(), len(data), status.st_mtime_ns)


def to_be_tried_again(code, reason):
    """Whether what a photo was found to be may be otherwise without a change of the file: an I/O error, a decoder that was not there."""
    return code == "unreadable" or (code == "unsupported" and heif.lacking(reason))


def readable_now(code, reason):
    """Whether a photo lacked a decoder that is there now."""
    return code == "unsupported" and heif.lacking(reason) and not heif.lacking(reason, still=True)


def decode(data, *, max_size=0, grey=True, box=None, crop=False, truncated=REFUSE):
    """Decode a photo: upright, 8 bits, reduced to `max_size`.

    EXIF orientation is applied. Deep samples are scaled by their range (`imgret.samples.ranges`); transparency is laid over white; CMYK,
    YCbCr, L*a*b*, palette and bilevel pixels are converted. Of a file with several pages the first is taken that is not a reduced copy.

    Parameters
    ----------
    data : bytes
    max_size : int
        Longest side of the result in pixels, 0 for no limit; a smaller photo is never enlarged. Reduction averages areas.
    grey : bool
        Greyscale (ITU-R 601 luma) or RGB.
    box : tuple of float, optional
        A region of the photo; see `clip_box`.
    crop : bool
        Cut the box out, at full size, before anything is reduced; otherwise the pixels are those of the whole photo.
    truncated : str
        `ACCEPT`: of a photo that lacks its last bytes, or is damaged, what can be decoded will do; `REFUSE`: it is bad.

    Returns
    -------
    Photo

    Raises
    ------
    BadPhoto
        `not-an-image`, `unsupported`, `truncated`, `too-large`, `box-outside`.

    Notes
    -----
    At most `imgret.bounds.MAX_MEMORY` bytes are held at once beside the file's own. A JPEG that would take more is decoded at 1/2, 1/4 or
    1/8 of its size where `max_size` allows it and nothing is cut out; any other such photo is `too-large`.
    """
    if not data:
        raise BadPhoto("not-an-image", "the file is empty")
    try:
        return _decode(data, max_size, grey, box, crop, truncated)
    except MemoryError:
        raise BadPhoto("too-large", f"it does not fit into memory: {REMEDY}") from None


def _decode(data, max_size, grey, box, crop, truncated):
    pixels, size, orientation, several = _read(data, 0 if crop else max_size, grey, truncated)
    whole = pixels.shape[1::-1]
    pixels = np.ascontiguousarray(upright(pixels, orientation))
    reduced = size != whole
    if orientation in TURNED:
        size = size[::-1]
    if box is not None:
        box = clip_box(box, size)
        if crop:
            pixels = np.ascontiguousarray(cropped(pixels, box))
    # of a photo reduced already, a halved side may have been rounded up
    return Photo(resize(pixels, *reduced_size(size, max_size)) if reduced else reduce(pixels, max_size), size, box, several)


def _read(data, max_size, grey, truncated):
    """Pixels as they are stored, or a draft of them; the size that they have in full, their orientation, whether there are others."""
    bad = []
    leniencies = (False, True) if truncated == ACCEPT else (False,)
    for lenient, way in ((lenient, way) for lenient in leniencies for way in opening.ways(data)):
        try:
            photo = way(lenient)
            size = photo.size
            photo.fit(max_size, grey)
            return _pixels(photo, grey), size, photo.orientation(), photo.several()
        except BadPhoto as found:
            if found.code == "too-large":
                raise
            bad.append(found)
    raise _worst(bad, data)


def _pixels(photo, grey):
    try:
        return to_bytes(photo.decoded(), grey)
    except (MemoryError, BadPhoto):
        raise
    except Exception as error:  # noqa: BLE001 - decoders raise anything over a damaged file
        raise undecodable(error) from None


def _worst(bad, data):
    """What to say of a photo that could be read in no way: of what is not read at all, that, rather than what went wrong."""
    why = unsupported(data)
    if why is not None:
        return BadPhoto("unsupported", why)
    if bad[0].code == "not-an-image":
        return next((each for each in bad if each.code != "not-an-image"), bad[0])
    return bad[0]


class Fractions(tuple):
    """A box whose corners are fractions of the photo's width and height."""


def clip_box(box, size):
    """The part of a box that lies in a photo.

    Parameters
    ----------
    box : sequence of float
        x1, y1, x2, y2 in pixels of the upright photo at full size (centre of the top-left pixel at 0, 0), x1 <= x2 and y1 <= y2; or
        `Fractions` of it.
    size : tuple of int
        Width and height of the upright photo.

    Returns
    -------
    tuple of float
        The corners, from 0 to width and height, as float32 has them.

    Raises
    ------
    BadPhoto
        `box-outside`: the two have nothing in common.
    """
    width, height = size
    if isinstance(box, Fractions):
        box = [corner * side for corner, side in zip(box, (width, height, width, height), strict=True)]
    x1, y1, x2, y2 = box
    if x2 < 0 or y2 < 0 or x1 >= width or y1 >= height:
        raise BadPhoto("box-outside", f"the box {x1:.7g} {y1:.7g} {x2:.7g} {y2:.7g} lies outside its {width} × {height} pixels")
    return tuple(np.clip(box, 0, [width, height, width, height]).astype(np.float32).tolist())


def cropped(pixels, box):
    """The pixels of a box, as a view of an array of shape (H, W, ...): at least one each way.

    The corners are rounded to whole numbers, a half to the even one, and the right and lower end is left out: `PIL.Image.crop`, which
    the revisited Oxford and Paris protocols cut their queries out with, does so too.
    """
    height, width = pixels.shape[:2]
    left, top = min(round(box[0]), width - 1), min(round(box[1]), height - 1)
    return pixels[top : max(round(box[3]), top + 1), left : max(round(box[2]), left + 1)]


def upright(pixels, orientation):
    """Apply an EXIF orientation (1 to 8; anything else is taken for 1) to an array of shape (H, W, ...)."""
    turns = {
        2: lambda a: a[:, ::-1],
        3: lambda a: a[::-1, ::-1],
        4: lambda a: a[::-1],
        5: lambda a: a.swapaxes(0, 1),
        6: lambda a: a.swapaxes(0, 1)[:, ::-1],
        7: lambda a: a[::-1, ::-1].swapaxes(0, 1),
        8: lambda a: a.swapaxes(0, 1)[::-1],
    }
    return turns[orientation](pixels) if orientation in turns else pixels


def reduce(pixels, max_size):
    """Reduce so that the longest side is `max_size` pixels, by averaging areas; never enlarge. 0 means no limit."""
    return resize(pixels, *reduced_size(pixels.shape[1::-1], max_size))


def resize(pixels, width, height):
    """Resize to `width` × `height` pixels: by averaging areas, or by cubic interpolation where neither side gets smaller."""
    if pixels.shape[:2] == (height, width):
        return pixels
    import cv2

    larger = height >= pixels.shape[0] and width >= pixels.shape[1]
    method = cv2.INTER_CUBIC if larger else cv2.INTER_AREA
    return cv2.resize(np.ascontiguousarray(pixels), (width, height), interpolation=method)
