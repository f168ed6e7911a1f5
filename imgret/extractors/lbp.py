"""Histograms of local binary patterns, computed by scikit-image."""

import dataclasses

import numpy as np

from imgret import registry
from imgret.errors import ImgretError
from imgret.extractors.base import Extractor, longest_side
from imgret.extractors.cells import refuse_flat, split, unit
from imgret.images import BadPhoto
from imgret.registry import param

METHODS = {"u2": "nri_uniform", "riu2": "uniform"}  # as scikit-image calls them


class Lbp(Extractor):
    """Local binary patterns on a grid.

    Each pixel gets a pattern: which of `points` places on a circle around it, bilinearly interpolated, are at least as bright. Patterns
    with at most two changes between dark and bright along the circle are uniform and have a bin each (`u2`), or one for each number of
    bright places, which a turn of the photo does not change (`riu2`); all others share one bin. Pixels whose circle reaches beyond the
    photo are left out. Each cell's histogram (left to right, then top to bottom) is L1-normalised and its square root taken (Hellinger);
    the vector has unit L2 norm. A photo that is all the same, or smaller than a circle, has none.

    References
    ----------
    Ojala, Pietikäinen & Mäenpää, Multiresolution gray-scale and rotation invariant texture classification with local binary patterns,
    PAMI 2002: uniform patterns, section 2.3 (riu2: equations 9 and 10); Ahonen, Hadid & Pietikäinen, Face description with local binary
    patterns, PAMI 2006 (u2, on a grid).
    """

    name = "lbp"
    gives = "vectors"

    @dataclasses.dataclass(frozen=True)
    class Params(registry.Params):
        """Parameters of local binary patterns."""

        max_size: int = longest_side(512, maximum=16384)
        points: int = param(8, "places on the circle", minimum=4, maximum=24)
        radius: float = param(1.0, "of the circle in pixels", minimum=1, maximum=32)
        mapping: str = param("u2", "bins: one per uniform pattern, or the same for all its rotations (riu2)", choices=tuple(METHODS))
        grid: int = param(4, "cells along each side", minimum=1, maximum=16)

    @property
    def bins(self):
        """Bins of one cell: P(P - 1) + 3 for u2, P + 2 for riu2."""
        points = self.params.points
        return points * (points - 1) + 3 if self.params.mapping == "u2" else points + 2

    @property
    def dim(self):
        """Length of the vector: bins times cells."""
        return self.bins * self.params.grid**2

    def settle(self, device="auto", weights=()):
        """See `Extractor.settle`: scikit-image must be there."""
        _operator()

    def extract(self, photo):
        """Vector of one photo, not negative, of each cell with the norm 1 / grid; see `Extractor.extract`.

        Raises
        ------
        BadPhoto
            `no-descriptors`: all pixels are the same, or the circle fits nowhere.
        ImgretError
            If scikit-image is missing.
        """
        operator, margin = _operator(), int(np.ceil(self.params.radius))
        refuse_flat(photo.pixels)
        if min(photo.pixels.shape) <= 2 * margin:
            raise BadPhoto("no-descriptors", f"it is under {2 * margin + 1} pixels wide or high, too small for the circle of its patterns")
        patterns = operator(photo.pixels, self.params.points, self.params.radius, METHODS[self.params.mapping])
        patterns = patterns[margin:-margin, margin:-margin].astype(np.uint16)
        counts = [np.bincount(cell.ravel(), minlength=self.bins) / cell.size for cell in split(patterns, self.params.grid)]
        return unit(np.sqrt(np.concatenate(counts)), "it has no patterns")


def _operator():
    try:
        from skimage.feature import local_binary_pattern
    except ImportError:
        raise ImgretError("lbp needs scikit-image: pip install 'imgret[classic]'") from None
    return local_binary_pattern
