"""Read photos: every format, orientation and pixel type to upright 8-bit pixels, and every way a photo can be bad.

A photo may come from a stranger: its header is read before its pixels, and what it claims is bounded.
"""

import dataclasses
import errno
import hashlib
import io
import os
import stat
import warnings

import numpy as np

from imgret.errors import why

EXTENSIONS = (b".jpg", b".jpeg", b".jpe", b".jfif", b".png", b".webp", b".tif", b".tiff", b".bmp")
FORMATS = ("JPEG", "PNG", "WEBP", "TIFF", "BMP")  # as Pillow's readers are called; that of JPEG reads MPO too
MAX_PIXELS = 1 << 28  # 16384 x 16384; a larger one is a bomb more often than a photo
MAX_FILE_BYTES = 1 << 30
ORIENTATION = 0x0112  # the EXIF tag


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
        `unreadable` (an error of the file system, tried again by the next run), `not-a-file`, `too-large`.
    """
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
    """
    from PIL import Image

    if not data:
        raise BadPhoto("not-an-image", "the file is empty")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # about metadata that does not matter here
        Image.MAX_IMAGE_PIXELS = None  # the limit below holds instead: Pillow's own is under what the largest cameras give
        try:
            image = Image.open(io.BytesIO(data), formats=FORMATS)
        except Exception:  # noqa: BLE001 - parsers of headers raise anything over a damaged file
            raise BadPhoto("not-an-image", "it is not a JPEG, PNG, WebP, TIFF or BMP image") from None
        width, height = image.size
        if width * height > MAX_PIXELS:
            raise BadPhoto("too-large", f"its header claims {width} × {height} pixels, the limit is {MAX_PIXELS} in all")
        try:
            pixels = _pixels(image, grey)
        except MemoryError:
            raise BadPhoto("too-large", f"its {width} × {height} pixels do not fit into memory") from None
        except Exception as error:  # noqa: BLE001 - decoders raise anything over a damaged file
            raise BadPhoto("truncated", f"its pixels cannot be decoded ({_short(error)})") from None
        try:  # after the pixels: a PNG may hold it behind them, and Pillow applies a TIFF's own while it decodes
            orientation = image.getexif().get(ORIENTATION, 1)
        except Exception:  # noqa: BLE001 - broken metadata does not make a photo bad
            orientation = 1
    pixels = upright(pixels, orientation)
    size = (pixels.shape[1], pixels.shape[0])
    if box is not None:
        box = clip_box(box, size)
        if crop:
            pixels = cropped(pixels, box)
    return Photo(np.ascontiguousarray(reduce(pixels, max_size)), size, box)


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


def _pixels(image, grey):
    mode = "L" if grey else "RGB"
    if image.format in ("JPEG", "MPO") and image.mode in ("RGB", "YCbCr", "L"):
        image.draft(mode, None)  # luma is what a JPEG stores: colour is not even decoded
    image.load()
    if image.mode in ("I;16", "I;16B", "I;16L", "I;16N"):
        deep = np.asarray(image, dtype=np.uint16)
        image = _image_of((deep >> 8).astype(np.uint8))
    elif image.mode == "I":  # 16 bits too, as some formats are opened
        deep = np.asarray(image)
        image = _image_of((np.clip(deep, 0, 65535) >> 8 if deep.max(initial=0) > 255 else np.clip(deep, 0, 255)).astype(np.uint8))
    elif image.mode == "F":
        deep = np.nan_to_num(np.asarray(image))
        image = _image_of(np.clip(deep * (255.0 if deep.max(initial=0) <= 1 else 1.0), 0, 255).astype(np.uint8))
    if image.mode in ("RGBA", "LA", "PA", "La", "RGBa") or "transparency" in image.info:
        image = image.convert("RGBA")
        white = image.copy()
        white.paste((255, 255, 255, 255), (0, 0, *image.size))
        white.alpha_composite(image)
        image = white.convert("RGB")
    if image.mode != mode:
        image = image.convert(mode)
    return np.asarray(image)


def _image_of(array):
    from PIL import Image

    return Image.fromarray(array)


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
    height, width = pixels.shape[:2]
    if not max_size or max(height, width) <= max_size:
        return pixels
    factor = max_size / max(height, width)
    return resize(pixels, max(1, round(width * factor)), max(1, round(height * factor)))


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
