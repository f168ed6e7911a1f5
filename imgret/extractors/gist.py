"""GIST-like descriptor: energies of Gabor filters on a grid, in NumPy."""

import dataclasses

import numpy as np

from imgret import registry
from imgret.errors import UsageError
from imgret.extractors.base import Extractor
from imgret.extractors.cells import refuse_flat, split, square, unit
from imgret.registry import param

PREFILTER = 4.0  # cycles per photo at which the low-pass of the contrast normalisation is at one half
FINEST, RATIO = 0.3, 1.85  # centre of the finest scale in cycles per pixel, and between one scale and the next
RADIAL, ANGULAR = 3.5, 2 * np.pi / 64  # sharpness of the filters in frequency and in angle


class Gist(Extractor):
    """GIST-like descriptor (spatial envelope).

    Written from the published description: it is like GIST, not the authors' code, and its vectors are not theirs. The photo is resized
    to a square, whatever its proportions, and its contrast is normalised locally. For each scale, finest first, and orientation the
    magnitude of a Gabor filter's answer is averaged over the cells of a grid (left to right, then top to bottom). The filter at frequency
    f0 = 0.3 / 1.85^scale cycles per pixel has the transfer function exp(-3.5 (f / f0 - 1)^2 - 2 pi (n t / 8)^2), t being the angle between
    the two and n the scale's number of orientations. The vector has unit L2 norm; a photo that is all the same has none.

    References
    ----------
    Oliva & Torralba, Modeling the shape of the scene: a holistic representation of the spatial envelope, IJCV 2001; as a descriptor of
    4 x 4 cells: Torralba, Murphy, Freeman & Rubin, Context-based vision system for place and object recognition, ICCV 2003.
    """

    name = "gist"
    reduces = False
    gives = "vectors"
    _filters = None  # made when it is first needed

    @dataclasses.dataclass(frozen=True)
    class Params(registry.Params):
        """Parameters of the GIST-like descriptor."""

        side: int = param(128, "side of the square in pixels", minimum=32, maximum=256)
        orientations: tuple[int, ...] = param((8, 8, 8, 8), "of each scale, finest first; at most six scales", minimum=1, maximum=16)
        grid: int = param(4, "cells along each side", minimum=1, maximum=16)

        def __post_init__(self):
            super().__post_init__()
            if not 1 <= len(self.orientations) <= 6:
                raise UsageError(f"`orientations` must hold one to six values, got {len(self.orientations)}")

    @property
    def dim(self):
        """Length of the vector: filters times cells."""
        return sum(self.params.orientations) * self.params.grid**2

    def extract(self, photo):
        """Vector of one photo, not negative; see `Extractor.extract`.

        Raises
        ------
        BadPhoto
            `no-descriptors`: all pixels are the same.
        """
        pixels = square(photo.pixels, self.params.side)
        refuse_flat(pixels)
        margin = self.params.side // 4  # mirrored, so that filters do not answer to the edge of the photo
        if self._filters is None:
            self._filters = gabor_filters(self.params.side + 2 * margin, self.params.orientations)
        spectrum = np.fft.fft2(np.pad(normalised(pixels), margin, mode="symmetric"))
        energies = []
        for transfer in self._filters:
            answer = np.abs(np.fft.ifft2(spectrum * transfer))[margin:-margin, margin:-margin]
            energies += [cell.mean() for cell in split(answer, self.params.grid)]
        return unit(energies, "it has no gradients")


def normalised(pixels):
    """Contrast normalised locally: log, minus its low-pass, divided by 0.2 + the local standard deviation.

    Parameters
    ----------
    pixels : ndarray, shape (N, N), uint8

    Returns
    -------
    ndarray, shape (N, N), float32
    """
    margin = 5
    x = np.pad(np.log1p(pixels.astype(np.float32)), margin, mode="symmetric")
    radius, _ = _polar(x.shape[0])
    low_pass = np.exp2(-np.square(radius * x.shape[0] / PREFILTER))
    x = x - np.fft.ifft2(np.fft.fft2(x) * low_pass).real
    deviation = np.sqrt(np.abs(np.fft.ifft2(np.fft.fft2(x * x) * low_pass)))
    return (x / (0.2 + deviation))[margin:-margin, margin:-margin]


def gabor_filters(size, orientations):
    """Transfer functions of Gabor filters, at the frequencies of `numpy.fft.fft2`.

    Parameters
    ----------
    size : int
        Side of the square they are for, in pixels.
    orientations : sequence of int
        Of each scale, finest first. The first answers to vertical edges, the next ones turn counterclockwise by 180 degrees / their number.

    Returns
    -------
    ndarray, shape (sum of orientations, size, size), float32
    """
    radius, angle = _polar(size)
    filters = []
    for scale, count in enumerate(orientations):
        radial = -RADIAL * np.square(radius / (FINEST / RATIO**scale) - 1)
        for turn in range(count):
            difference = (angle + np.pi * turn / count + np.pi) % (2 * np.pi) - np.pi
            filters.append(np.exp(radial - ANGULAR * np.square(count * difference)))
    return np.stack(filters)


def _polar(size):
    """Radius in cycles per pixel and angle in radians of the frequencies of `numpy.fft.fft2`, both float32."""
    frequency = np.fft.fftfreq(size).astype(np.float32)
    return np.hypot(frequency, frequency[:, None]), np.arctan2(frequency[:, None], frequency)
