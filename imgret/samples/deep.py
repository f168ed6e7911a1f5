"""Pictures of samples that are not 8-bit colours yet: their range is found first, then they are converted, a part at a time."""

import dataclasses

import numpy as np

from imgret.samples import lab
from imgret.samples.ranges import Extent, Scale, scale_of

GREY, RGB, CMYK, YCBCR, CIELAB, ICCLAB = "L", "RGB", "CMYK", "YCbCr", "LAB", "ICCLAB"
COLOURS = {GREY: 1, RGB: 3, CMYK: 4, YCBCR: 3, CIELAB: 3, ICCLAB: 3}
WITH_OPACITY = {(GREY, 1): "La", (GREY, 2): "LA", (RGB, 1): "RGBa", (RGB, 2): "RGBA"}


@dataclasses.dataclass(frozen=True)
class Deep:
    """A picture of samples of any type.

    Attributes
    ----------
    size : tuple of int
        Width and height.
    read : callable
        Gives the samples of a part (left, top, right, bottom), shape (H, W, C): those of the colour, then of opacity.
    kind : str
        Of `COLOURS`.
    opacity : int or None
        1: the colours are multiplied by it already; 2: they are not; None: there is none.
    bits, declared, inverted
        Of a sample, see `imgret.samples.ranges.scale_of`.
    transparent : tuple of int, optional
        The samples of a colour that is transparent.
    """

    size: tuple
    read: object
    kind: str = GREY
    opacity: int | None = None
    bits: int | None = None
    declared: float | None = None
    inverted: bool = False
    transparent: tuple | None = None

    def bytes_of(self, places):
        """What gives a part as a picture of 8 bits, the range being that of all `places`."""
        colours = COLOURS[self.kind]
        if self.kind in (CIELAB, ICCLAB):
            return lambda place: _lab(self.read(place)[..., :colours], self.kind)
        dtype = self.read(places[0]).dtype
        colour = Extent.of(self.read(place)[..., :colours] for place in places)
        opaque = Extent.of(self.read(place)[..., colours:] for place in places)
        if self.kind == YCBCR:
            scale = Scale(0, 255)
        else:
            scale = scale_of(colour, dtype, bits=self.bits, declared=self.declared, inverted=self.inverted)
        # opacity is as deep as the colours are, unless it is seen to be deeper
        opacity = Scale(0, scale.white) if opaque.high <= scale.white else scale_of(opaque, dtype, bits=self.bits)
        return lambda place: self._part(self.read(place), scale, opacity)

    def _part(self, samples, scale, opacity):
        colours = COLOURS[self.kind]
        found, mode = scale.to_bytes(samples[..., :colours]), self.kind
        if self.transparent is not None:
            alpha = np.where((samples[..., :colours] == self.transparent).all(axis=-1), 0, 255).astype(np.uint8)
        elif self.opacity is not None:
            alpha = opacity.to_bytes(samples[..., colours])
        else:
            return _image(found, mode)
        mode = WITH_OPACITY.get((self.kind, self.opacity or 2))
        return _image(found, self.kind) if mode is None else _image(np.dstack([found, alpha]), mode)


def _lab(samples, kind):
    deep = samples.dtype.itemsize == 2
    values = samples.astype(np.float64)
    lightness = values[..., 0] * (100 / ((65280 if kind == ICCLAB else 65535) if deep else 255))
    step = 256 if deep else 1
    if kind == ICCLAB:
        a, b = (values[..., at] / step - 128 for at in (1, 2))
    else:
        a, b = ((values[..., at] + 128 * step) % (256 * step) / step - 128 for at in (1, 2))  # signed
    return _image(lab.to_rgb(lightness, a, b), RGB)


def _image(samples, mode):
    from PIL import Image

    samples = np.ascontiguousarray(samples[..., 0] if samples.ndim == 3 and samples.shape[2] == 1 else samples)
    return Image.frombuffer(mode, samples.shape[1::-1], samples, "raw", mode, 0, 1)
