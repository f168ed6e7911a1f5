"""Images of every pixel type as greyscale or RGB of 8 bits."""

import itertools

import numpy as np

STRIP = 1 << 20  # pixels converted at once


def to_bytes(image, grey):
    """Decode and convert an image, a strip at a time: beside the image and the result there is never more than a strip.

    16-bit greyscale is scaled to 8 bits; transparency is laid over white; CMYK, YCbCr, palette and bilevel pixels are converted.

    Parameters
    ----------
    image : PIL.Image.Image
        As opened.
    grey : bool
        Greyscale (ITU-R 601 luma) or RGB.

    Returns
    -------
    ndarray, shape (H, W) or (H, W, 3), uint8
    """
    image.load()
    width, height = image.size
    columns = min(width, STRIP)
    rows = max(1, STRIP // columns)
    corners = itertools.product(range(0, width, columns), range(0, height, rows))
    places = [(left, top, min(left + columns, width), min(top + rows, height)) for left, top in corners]
    mode, peak = "L" if grey else "RGB", max(_peak(_part(image, place)) for place in places)
    if len(places) == 1:
        return _converted(image, mode, peak)
    pixels = np.empty((height, width) if grey else (height, width, 3), np.uint8)
    for left, top, right, bottom in places:
        pixels[top:bottom, left:right] = _converted(_part(image, (left, top, right, bottom)), mode, peak)
    return pixels


def _part(image, place):
    return image if place == (0, 0, *image.size) else image.crop(place)


def _peak(image):
    """The largest value of pixels whose range their type does not tell; 0 of others."""
    return np.nan_to_num(np.asarray(image)).max(initial=0) if image.mode in ("I", "F") else 0


def _converted(image, mode, peak):
    from PIL import Image

    if image.mode in ("I;16", "I;16B", "I;16L", "I;16N"):
        deep = np.asarray(image, dtype=np.uint16)
        image = Image.fromarray((deep >> 8).astype(np.uint8))
    elif image.mode == "I":  # 16 bits too, as some formats are opened
        deep = np.asarray(image)
        image = Image.fromarray((np.clip(deep, 0, 65535) >> 8 if peak > 255 else np.clip(deep, 0, 255)).astype(np.uint8))
    elif image.mode == "F":
        deep = np.nan_to_num(np.asarray(image))
        image = Image.fromarray(np.clip(deep * (255.0 if peak <= 1 else 1.0), 0, 255).astype(np.uint8))
    if image.mode in ("RGBA", "LA", "PA", "La", "RGBa") or "transparency" in image.info:
        image = image.convert("RGBA")
        white = image.copy()
        white.paste((255, 255, 255, 255), (0, 0, *image.size))
        white.alpha_composite(image)
        image = white.convert("RGB")
    if image.mode != mode:
        image = image.convert(mode)
    return np.asarray(image)
