"""Read photos: every format, orientation and pixel type to upright 8-bit pixels, and every way a photo can be bad.

A photo may come from a stranger: its header is read before its pixels, and what it claims is bounded (`imgret.bounds`).
"""

import dataclasses
import errno
import hashlib
import io
import os
import stat
import warnings

import numpy as np

from imgret import bounds, folders
from imgret.errors import why
from imgret.pixels import to_bytes

EXTENSIONS = (b".jpg", b".jpeg", b".jpe", b".jfif", b".png", b".webp", b".tif", b".tiff", b".bmp")
FORMATS = ("JPEG", "PNG", "WEBP", "TIFF", "BMP")  # as Pillow's readers are called; that of JPEG reads MPO too
MAX_PIXELS = 1 << 28  # 16384 x 16384; a larger one is a bomb more often than a photo
MAX_FILE_BYTES = 1 << 30
ORIENTATION = 0x0112  # the EXIF tag
TURNED = (5, 6, 7, 8)  # orientations that exchange width and height
REMEDY = "save it with fewer pixels"


class BadPhoto(Exception):  # noqa: N818 - it is a finding about a photo, recorded, not an error of the program
    """A photo that cannot be used.

    Attributes
    ----------
    code : str
        One of `unreadable`, `not-a-file`, `not-an-image`, `truncated`, `too-large`, `box-outside`, `no-descriptors`, `not-finite`,
        `crashed`.
    reason : str
        One sentence.
    """

    def __init__(self, code, reason):
        super().__init__(code, reason)
        self.code, self.reason = code, reason


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
    """

    pixels: np.ndarray
    size: tuple
    box: tuple | None = None


def file_of(data):
    """The `File` of a photo's bytes that came from no file."""
    return File(data, hashlib.sha256(data).digest(), len(data), -1)


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
        raise BadPhoto("unreadable", f"it cannot be read: {why(error)}") from None
    if len(data) > MAX_FILE_BYTES:
        raise BadPhoto("too-large", f"the file has more than {MAX_FILE_BYTES} bytes")
    return File(data, hashlib.sha256(data).digest(), len(data), status.st_mtime_ns)


def decode(data, *, max_size=0, grey=True, box=None, crop=False):
    """Decode a photo: upright, 8 bits, reduced to `max_size`.

    EXIF orientation is applied. 16-bit greyscale is scaled to 8 bits; transparency is laid over white; CMYK, YCbCr, palette and
    bilevel pixels are converted. Of a file with several pages the first is taken.

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

    Returns
    -------
    Photo

    Raises
    ------
    BadPhoto
        `not-an-image`, `truncated`, `too-large`, `box-outside`.

    Notes
    -----
    At most `imgret.bounds.MAX_MEMORY` bytes are held at once beside the file's own. A JPEG that would take more is decoded at 1/2, 1/4 or
    1/8 of its size where `max_size` allows it and nothing is cut out; any other such photo is `too-large`.
    """
    if not data:
        raise BadPhoto("not-an-image", "the file is empty")
    try:
        return _decode(data, max_size, grey, box, crop)
    except MemoryError:
        raise BadPhoto("too-large", f"it does not fit into memory: {REMEDY}") from None


def _decode(data, max_size, grey, box, crop):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # about metadata that does not matter here
        image = _opened(data)
        full = image.size
        _fit(image, data, max_size=0 if crop else max_size, grey=grey)
        reduced = image.size != full
        try:
            pixels = to_bytes(image, grey)
        except MemoryError:
            raise
        except Exception as error:  # noqa: BLE001 - decoders raise anything over a damaged file
            raise BadPhoto("truncated", f"its pixels cannot be decoded ({_short(error)})") from None
        try:  # after the pixels: a PNG may hold it behind them, and Pillow applies a TIFF's own while it decodes
            orientation = image.getexif().get(ORIENTATION, 1)
        except Exception:  # noqa: BLE001 - broken metadata does not make a photo bad
            orientation = 1
    del image  # its memory is wanted for what follows
    pixels = np.ascontiguousarray(upright(pixels, orientation))
    size = (pixels.shape[1], pixels.shape[0])
    if reduced:
        size = full[::-1] if orientation in TURNED else full
    if box is not None:
        box = clip_box(box, size)
        if crop:
            pixels = np.ascontiguousarray(cropped(pixels, box))
    # of a photo reduced already, a halved side may have been rounded up
    return Photo(resize(pixels, *reduced_size(size, max_size)) if reduced else reduce(pixels, max_size), size, box)


def _opened(data):
    """A photo as Pillow opens it, its pixels not yet decoded; what its header claims may be decoded."""
    from PIL import Image

    Image.MAX_IMAGE_PIXELS = None  # the limits here hold instead: Pillow's own is under what the largest cameras give
    size = bounds.webp_size(data)
    if size is not None:
        _check_claim("WEBP", size, data, bounds.WEBP * size[0] * size[1])
    try:
        image = Image.open(io.BytesIO(data), formats=FORMATS)
    except MemoryError:
        raise
    except Exception:  # noqa: BLE001 - parsers of headers raise anything over a damaged file
        raise BadPhoto("not-an-image", "it is not a JPEG, PNG, WebP, TIFF or BMP image") from None
    _check_claim(image.format, image.size, data)
    return image


def _check_claim(form, size, data, memory=0):
    width, height = size
    if width * height > MAX_PIXELS:
        raise BadPhoto("too-large", f"its header claims {width} × {height} pixels, the limit is {MAX_PIXELS} in all: {REMEDY}")
    if memory > bounds.MAX_MEMORY:
        limit = f"{memory / 2**30:.1f} GiB, the limit is {bounds.MAX_MEMORY / 2**30:.1f} GiB"
        raise BadPhoto("too-large", f"to decode its {width} × {height} pixels takes {limit}: {REMEDY}")
    if not bounds.plausible(form, size, len(data)):
        claim = f"{len(data)} bytes are too few for the {width} × {height} that its header claims"
        raise BadPhoto("truncated", f"its pixels cannot be decoded ({claim})")


def _fit(image, data, *, max_size, grey):
    """Set a photo up to be decoded: a JPEG that takes too much memory at a part of its size, no smaller than `max_size`; refuse others."""
    if image.format in ("JPEG", "MPO"):
        less = max_size and bounds.memory(image, data, grey) > bounds.MAX_MEMORY
        # luma is what a JPEG stores: colour is not even decoded
        image.draft("L" if grey else "RGB", reduced_size(image.size, max_size) if less else None)
    _check_claim(image.format, image.size, data, bounds.memory(image, data, grey))


def clip_box(box, size):
    """The part of a box that lies in a photo.

    Parameters
    ----------
    box : sequence of float
        x1, y1, x2, y2 in pixels of the upright photo at full size (centre of the top-left pixel at 0, 0), x1 <= x2 and y1 <= y2.
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
    x1, y1, x2, y2 = box
    width, height = size
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


def reduced_size(size, max_size):
    """Width and height reduced so that the longer of them is `max_size`; never enlarged. 0 means no limit."""
    width, height = size
    if not max_size or max(height, width) <= max_size:
        return size
    factor = max_size / max(height, width)
    return max(1, round(width * factor)), max(1, round(height * factor))


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


def _short(error):
    return " ".join(str(error).split())[:120] or type(error).__name__
