"""Images of every pixel type as greyscale or RGB of 8 bits."""

import itertools

import numpy as np

from imgret.samples.deep import Deep

STRIP = 1 << 20  # pixels converted at once
DEEP = ("I;16", "I;16B", "I;16L", "I;16N", "I", "F")  # modes of Pillow


def to_bytes(image, grey):
    """Decode and convert an image, a strip at a time: beside the image and the result there is never more than a strip.

    Deep samples are scaled by their range (`imgret.samples.ranges`); transparency is laid over white; CMYK, YCbCr, L*a*b*, palette and
    bilevel pixels are converted.

    Parameters
    ----------
    image : PIL.Image.Image or imgret.samples.deep.Deep
        As opened.
    grey : bool
        Greyscale (ITU-R 601 luma) or RGB.

    Returns
    -------
    ndarray, shape (H, W) or (H, W, 3), uint8
    """
    if not isinstance(image, Deep):
        image.load()
        image = Deep(image.size, _samples_of(image)) if image.mode in DEEP else image
    width, height = image.size
    places = _places(width, height, STRIP // 4 if isinstance(image, Deep) else STRIP)
    part = image.bytes_of(places) if isinstance(image, Deep) else lambda place: _part(image, place)
    mode = "L" if grey else "RGB"
    if len(places) == 1:
        return _converted(part(places[0]), mode)
    pixels = np.empty((height, width) if grey else (height, width, 3), np.uint8)
    for left, top, right, bottom in places:
        pixels[top:bottom, left:right] = _converted(part((left, top, right, bottom)), mode)
    return pixels


def _places(width, height, most):
    """The parts of a picture, of so many pixels at most: left, top, right, bottom."""
    columns = min(width, most)
    rows = max(1, most // columns)
    corners = itertools.product(range(0, width, columns), range(0, height, rows))
    return [(left, top, min(left + columns, width), min(top + rows, height)) for left, top in corners]


def _part(image, place):
    return image if place == (0, 0, *image.size) else image.crop(place)


def _samples_of(image):
    """What gives the samples of a part of a deep image of Pillow's."""
    return lambda place: np.asarray(_part(image, place))[..., None]


def _converted(image, mode):
    if image.mode in ("RGBA", "LA", "PA", "La", "RGBa") or "transparency" in image.info:
        image = image.convert("RGBA")
        white = image.copy()
        white.paste((255, 255, 255, 255), (0, 0, *image.size))
        white.alpha_composite(image)
        image = white.convert("RGB")
    if image.mode != mode:
        image = image.convert(mode)
    return np.asarray(image)
