"""Copies of photos as people make them: resized, compressed again, cropped, rotated, with text laid over them, mirrored. Seeded."""

import numpy as np
from PIL import Image, ImageDraw, ImageFont

QUALITY = 90  # of the JPEG that a changed photo is saved as


def _resized(image, rng):
    factor = rng.uniform(0.25, 0.75)
    return image.resize([max(1, round(side * factor)) for side in image.size], Image.Resampling.LANCZOS)


def _cropped(image, rng):
    """50 to 90 % of the area, of any place and of nearly the same shape."""
    area, shape = rng.uniform(0.5, 0.9), rng.uniform(0.9, 1.1)
    width, height = (min(side, round(side * np.sqrt(area) * by)) for side, by in zip(image.size, (shape, 1 / shape), strict=True))
    left, top = rng.integers(0, image.width - width + 1), rng.integers(0, image.height - height + 1)
    return image.crop((left, top, left + width, top + height))


def _rotated(image, rng):
    """3 to 30 degrees either way, the corners black, cut to the old size."""
    return image.rotate(rng.uniform(3, 30) * rng.choice([-1, 1]), Image.Resampling.BICUBIC)


def _turned(image, rng):
    return image.transpose(rng.choice([Image.Transpose.ROTATE_90, Image.Transpose.ROTATE_180, Image.Transpose.ROTATE_270]))


def _texted(image, rng):
    """Three lines of large letters, white on black or black on white."""
    image = image.copy()
    draw, size = ImageDraw.Draw(image), max(image.size) // 12
    font = ImageFont.load_default(size)
    for _ in range(3):
        words = "".join(rng.choice(list("abcdefghij klmnop ")) for _ in range(14))
        ink, edge = rng.permutation(["white", "black"])
        place = rng.uniform(0, 0.4) * image.width, rng.uniform(0, 0.9) * image.height
        draw.text(place, words, fill=str(ink), stroke_fill=str(edge), stroke_width=2, font=font)
    return image


KINDS = {
    "resized": _resized,
    "compressed": lambda image, rng: image,
    "cropped": _cropped,
    "rotated": _rotated,
    "turned": _turned,
    "text": _texted,
    "mirrored": lambda image, rng: image.transpose(Image.Transpose.FLIP_LEFT_RIGHT),
}


def make(photos, folder, seed=0):
    """Write a copy of each kind of each photo.

    Parameters
    ----------
    photos : sequence of pathlib.Path
    folder : pathlib.Path
    seed : int

    Returns
    -------
    dict of str to dict of pathlib.Path to pathlib.Path
        By kind: copy -> original.
    """
    made = {kind: {} for kind in KINDS}
    for number, path in enumerate(photos):
        with Image.open(path) as opened:
            image = opened.convert("RGB")
        for which, (kind, change) in enumerate(KINDS.items()):
            rng = np.random.default_rng([seed, number, which])
            quality = int(rng.integers(10, 61)) if kind == "compressed" else QUALITY
            copy = folder / f"{path.stem}-{kind}.jpg"
            change(image, rng).save(copy, quality=quality)
            made[kind][copy] = path
    return made
