"""What an extractor is, and what it gives."""

import numpy as np

from imgret import images
from imgret.components import Component
from imgret.errors import UsageError
from imgret.features import LocalFeatures
from imgret.images import BadPhoto
from imgret.registry import SAMPLING, param

KEYPOINT_COLUMNS = ("x", "y", "scale", "angle", "score")


def longest_side(default, **bounds):
    """The field `max_size` of the parameters of an extractor that `reduces`."""
    help = "longest side in pixels; larger photos are reduced, 0 for never"
    return param(default, help, role=SAMPLING, minimum=0, **bounds)


class Extractor(Component):
    """Base of all extractors.

    A subclass that takes one photo at a time has `extract`; one that gains by taking several overrides `describe`.

    Attributes
    ----------
    gives : str
        "features" or "vectors".
    grey : bool
        Whether it takes grey photos, or RGB.
    reduces : bool
        Whether `params` has a `max_size`, to which larger photos are reduced.
    window : int
        Photos given to `describe` at once.
    dim, dtype
        Length and type of a descriptor, or of a vector, as stored.
    keypoint_columns : tuple of str
        Of what gives local features: see `imgret.features.LocalFeatures.columns`.
    descriptor_type : str
        Of what gives local features: "float", "uint8" or "binary".
    device : str or None
        Where its network runs, once `settle` has found out.
    warnings : tuple of str
        What a user should be told, once `settle` has found out.
    one_process : bool
        Whether one process has to describe all photos: a device is not shared.
    libraries : tuple of str
        Those by which photos are decoded and described: another version may describe a photo otherwise.
    repeats : bool
        Of what gives local features: whether they are where the photo has something to hold on to, the strongest first, so that a copy of
        the photo has most of them again, at the places and scales that it has them at.
    """

    libraries = ("opencv", "pillow")

    gives = "features"
    grey = True
    reduces = True
    window = 1
    dim = None
    dtype = "float32"
    keypoint_columns = ()
    descriptor_type = "float"
    device = None
    one_process = False
    warnings = ()
    repeats = False

    @classmethod
    def libraries_of(cls, params):
        """`libraries` with these parameters, as a store has them."""
        return cls.libraries

    @property
    def max_size(self):
        """Longest side of the photo it wants, in pixels; 0 for any."""
        return self.params.max_size if self.reduces else 0

    def settle(self, device="auto", weights=()):
        """Find out what the parameters leave open, and get ready to describe photos: what a network's weights file is, for one.

        Parameters
        ----------
        device : str
            Where a network runs.
        weights : sequence of str
            Weights files to look at before the recorded place.

        Raises
        ------
        ImgretError
        """

    def read_as(self, reading):
        """Take on how photos are read.

        Parameters
        ----------
        reading : dict
            `truncated`: see `imgret.images.decode`. Nothing of what is as usual.

        Raises
        ------
        UsageError
            For anything else.
        """
        if reading not in ({}, {"truncated": images.ACCEPT}):
            raise UsageError(f"`truncated` must be {images.ACCEPT} or {images.REFUSE}, got {reading.get('truncated')!r}")
        self.reading = dict(reading)

    def takes_projection_of(self, node):
        """Whether a projection that was learned on the output of a pipeline's node fits. Asked of what is made with one."""
        return True

    def extract(self, photo):
        """Describe one photo.

        Parameters
        ----------
        photo : imgret.images.Photo
            Grey or RGB, as `grey` says.

        Returns
        -------
        imgret.features.LocalFeatures, or ndarray of shape (dim,), float32
            As `gives` says. Local features may be none; a vector has unit L2 norm.

        Raises
        ------
        BadPhoto
            If there is nothing to make a vector of.
        """
        raise NotImplementedError(type(self).__name__)

    def describe(self, photos):
        """Describe photos.

        Parameters
        ----------
        photos : list of imgret.images.Photo

        Returns
        -------
        list
            Per photo `LocalFeatures`, a vector of shape (dim,), or an `imgret.images.BadPhoto`.
        """
        return [self._described(photo) for photo in photos]

    def _described(self, photo):
        try:
            return self.extract(photo)
        except BadPhoto as bad:
            return bad

    def decode(self, stored):
        """Stored descriptors (T, D) as encoders take them, float32."""
        return stored.astype(np.float32)

    def mirrored(self, stored):
        """Stored descriptors (T, D) as those of the mirror image, left for right, of the photo; None where they do not tell."""
        return None

    def local(self, keypoints, stored, photo):
        """The `LocalFeatures` of one photo: its keypoints (T, P) and descriptors (T, D), of whatever type; they become that of a store."""
        keypoints, stored = keypoints.astype(np.float32, copy=False), stored.astype(self.dtype, copy=False)
        return LocalFeatures(keypoints, stored, self.keypoint_columns, photo.size, self.decode)

    def nothing(self, photo):
        """The `LocalFeatures` of a photo that has none."""
        return self.local(np.zeros((0, len(self.keypoint_columns))), np.zeros((0, self.dim)), photo)

    def columns(self):
        """The data columns of a store of what it gives: `{path: (row_shape, dtype, {attribute: text})}`."""
        if self.gives == "vectors":
            return {"vectors": ((self.dim,), self.dtype, {})}
        return {
            "keypoints": ((len(self.keypoint_columns),), np.float32, {"columns": " ".join(self.keypoint_columns)}),
            "descriptors": ((self.dim,), self.dtype, {"descriptor_type": self.descriptor_type}),
        }

    def read(self, data, box=None):
        """A photo's bytes as it wants them; see `imgret.images.decode`.

        Of a `box`, what gives vectors sees nothing but the pixels inside. What gives local features sees the whole photo, so that those
        near the border are what they are without a box, and keeps those in it (`in_box`).
        """
        return images.decode(data, max_size=self.max_size, grey=self.grey, box=box, crop=self.gives == "vectors", **self.reading)


def to_full_size(xy, photo):
    """Pixel coordinates of the reduced photo to those at full size (pixel centres at whole numbers in both)."""
    height, width = photo.pixels.shape[:2]
    factor = np.array([photo.size[0] / width, photo.size[1] / height], dtype=np.float64)
    return (xy + 0.5) * factor - 0.5, float(np.sqrt(factor.prod()))


def in_box(xy, photo):
    """Which of the places (T, 2), in pixels at full size, lie in the photo's box, borders included: bool (T,); all where it has none."""
    if photo.box is None:
        return np.ones(len(xy), dtype=bool)
    low, high = np.array(photo.box, dtype=np.float32).reshape(2, 2)
    xy = xy.astype(np.float32)  # as they are stored
    return ((xy >= low) & (xy <= high)).all(axis=1)
