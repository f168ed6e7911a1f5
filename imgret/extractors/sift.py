"""SIFT at difference-of-Gaussian extrema, computed by OpenCV; RootSIFT."""

import dataclasses

import numpy as np

from imgret import registry
from imgret.arrays import rootsift
from imgret.extractors.base import KEYPOINT_COLUMNS, Extractor, in_box, longest_side, to_full_size
from imgret.registry import SAMPLING, param


class SiftDescriptors(Extractor):
    """Base of what describes places of a photo by OpenCV's SIFT: (T, 128), uint8 as stored."""

    dim = 128
    dtype = "uint8"
    descriptor_type = "uint8"
    keypoint_columns = KEYPOINT_COLUMNS
    _sift = None  # made when it is first needed

    @property
    def upright(self):
        """Whether descriptors are turned to no orientation of their keypoint."""
        return True

    def mirrored(self, stored):
        """Descriptors of the mirror image: those of the photo with their bins in another order.

        A mirror turns gradients at angle t to 180° - t. Relative to the keypoint's own orientation, which is turned as well, they are
        negated, and what lies on one side of it lies on the other; an upright keypoint's frame stays, and its left and right change places.
        """
        grid, bins = np.arange(128).reshape(4, 4, 8), np.arange(8)  # across the orientation, along it, eight angles from 0° on
        order = grid[:, ::-1, (4 - bins) % 8] if self.upright else grid[::-1, :, -bins % 8]
        return stored[:, order.ravel()]


class Sift(SiftDescriptors):
    """SIFT keypoints and descriptors.

    All keypoints are detected and described at once, sorted by response (descending), then y, x, scale and angle, and the first
    `max_keypoints` (in the photo's box, where it has one) are kept: OpenCV's own `nfeatures` leaves ties and order open.

    References
    ----------
    Lowe, Distinctive image features from scale-invariant keypoints, IJCV 2004.
    """

    name = "sift"
    repeats = True

    @dataclasses.dataclass(frozen=True)
    class Params(registry.Params):
        """Parameters of SIFT."""

        max_size: int = longest_side(1024)
        max_keypoints: int = param(2000, "strongest keypoints kept per photo, 0 for all", role=SAMPLING, minimum=0)
        contrast_threshold: float = param(0.03, "weakest contrast of a keypoint (OpenCV's contrastThreshold)", role=SAMPLING, minimum=0)
        edge_threshold: float = param(10.0, "largest ratio of principal curvatures (OpenCV's edgeThreshold)", role=SAMPLING, above=0)
        sigma: float = param(1.6, "blur of the first octave in pixels", minimum=0.1, maximum=32.0)
        octave_layers: int = param(3, "layers per octave", minimum=1, maximum=16)
        upright: bool = param(False, "descriptors not turned to the dominant orientation")

    @property
    def upright(self):
        """Whether descriptors are turned to no orientation of their keypoint."""
        return self.params.upright

    def extract(self, photo):
        """Local features of one photo, the strongest first; see `Extractor.extract`."""
        if min(photo.pixels.shape) < 2:  # OpenCV's pyramid needs two pixels each way
            return self.nothing(photo)
        sift = self._detector()
        if self.params.upright:
            keypoints = _without_orientation(sift.detect(photo.pixels, None))
            keypoints, descriptors = sift.compute(photo.pixels, keypoints) if keypoints else ((), None)
        else:
            keypoints, descriptors = sift.detectAndCompute(photo.pixels, None)
        if not len(keypoints):
            return self.nothing(photo)
        table = np.array([(*point.pt, point.size / 2, point.angle, point.response) for point in keypoints], dtype=np.float64)
        order = np.lexsort((table[:, 3], table[:, 2], table[:, 0], table[:, 1], -table[:, 4]))
        table[:, :2], factor = to_full_size(table[:, :2], photo)
        order = order[in_box(table[order, :2], photo)][: self.params.max_keypoints or None]
        table = table[order]
        table[:, 2] *= factor
        if self.params.upright:
            table[:, 3] = np.nan
        return self.local(table, descriptors[order], photo)

    def _detector(self):
        if self._sift is None:
            import cv2

            self._sift = cv2.SIFT_create(
                nfeatures=0,
                nOctaveLayers=self.params.octave_layers,
                contrastThreshold=self.params.contrast_threshold,
                edgeThreshold=self.params.edge_threshold,
                sigma=self.params.sigma,
                enable_precise_upscale=True,  # without it keypoints are a quarter of a pixel off
            )
        return self._sift


class RootSift(Sift):
    """SIFT, stored as such and read as RootSIFT: L1-normalised, then the square root.

    References
    ----------
    Arandjelović & Zisserman, Three things everyone should know to improve object retrieval, CVPR 2012, section 2.
    """

    name = "rootsift"

    def decode(self, stored):
        """Stored descriptors (T, 128) as RootSIFT, float32."""
        return rootsift(stored)


def _without_orientation(keypoints):
    """One upright keypoint for each place and scale: a keypoint with several orientations is there several times."""
    unique = {}
    for point in keypoints:
        point.angle = 0.0
        unique.setdefault((point.pt, point.size), point)
    return list(unique.values())
