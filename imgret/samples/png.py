"""What a PNG holds beyond 8 bits, and what is transparent in it."""

import io

import numpy as np

from imgret.samples.deep import GREY, RGB, Deep
from imgret.samples.loading import load

DEPTH, COLOUR_TYPE = 24, 25  # where the header has them
GREY_TYPE, RGB_TYPE, GREY_OPACITY_TYPE, RGB_OPACITY_TYPE = 0, 2, 4, 6
# how Pillow is to unpack 16 bits so that it keeps the low ones; of grey and opacity all four bytes become one pixel
LOW = {RGB_TYPE: "RGB;16L", RGB_OPACITY_TYPE: "RGBA;16L", GREY_OPACITY_TYPE: "RGBA"}
DARK = 64  # high bytes below this are those of 14 bits or fewer


def deep(image, data, lenient):
    """A PNG that Pillow has decoded as a picture of its 16 bits, where the high ones are not all there is to it; None otherwise.

    Parameters
    ----------
    image : PIL.PngImagePlugin.PngImageFile
    data : bytes
    lenient : bool
        See `imgret.samples.loading.load`.
    """
    depth, kind, transparent = data[DEPTH], data[COLOUR_TYPE], image.info.get("transparency")
    if kind == GREY_TYPE and depth in (2, 4) and isinstance(transparent, int):
        image.info["transparency"] = transparent * (255 // (2**depth - 1))  # as its pixels have been
    if depth != 16:
        return None
    if kind == GREY_TYPE:
        return None if transparent is None else Deep(image.size, lambda place: _array(image, place)[..., None], transparent=(transparent,))
    bright = max(high for _, high in image.getextrema()[:3])
    if bright >= DARK and transparent is None:
        return None
    low = _low(data, LOW[kind], lenient)
    if kind == GREY_OPACITY_TYPE:
        return Deep(image.size, lambda place: _array(low, place)[..., ::2] << np.uint16(8) | _array(low, place)[..., 1::2], GREY, 2)
    return Deep(
        image.size,
        lambda place: _array(image, place) << np.uint16(8) | _array(low, place),
        RGB,
        2 if kind == RGB_OPACITY_TYPE else None,
        transparent=transparent,
    )


def _array(image, place):
    return np.asarray(image.crop(place)).astype(np.uint16)


def _low(data, unpacking, lenient):
    from PIL import PngImagePlugin

    image = PngImagePlugin.PngImageFile(io.BytesIO(data))
    image.tile = [tile._replace(args=unpacking) for tile in image.tile]
    load(image, lenient)
    return image
