"""Keypoints that a network finds and describes itself, as local features."""

import numpy as np

from imgret.arrays import TINIEST
from imgret.errors import UsageError
from imgret.networks.heads.local import LocalHead, Located

SIDE = 8.0  # pixels of the view that a keypoint is said to look at: such networks say nothing of it


class Detected(LocalHead):
    """Keypoints with descriptors, the strongest first; those without a positive score or outside of the photo are left out."""

    wants = "keypoints"
    known_as = "those of an ONNX model"

    def attach(self, backbone):
        """Refuse a network that finds none."""
        if not backbone.locates:
            raise UsageError(f"pool=keypoints is for an ONNX model that gives keypoints, {backbone.name} gives maps: choose another pool")

    def dim(self, dims):
        """Length of a descriptor."""
        return dims[1]

    def describe(self, photos, forward):
        """Describe photos; see `LocalHead`."""
        parts = list(forward.located(photos))
        return [self._joined([(found[number], factor, size) for found, factor, size in parts]) for number in range(len(photos))]

    def _joined(self, views):
        """The keypoints of all views of a photo as one."""
        found = [_of_view(keypoints, factor, size) for keypoints, factor, size in views]
        descriptors, scores, places = (np.concatenate(each) for each in zip(*found, strict=True))
        order = np.argsort(-scores, kind="stable")
        return Located(descriptors[order], scores[order], places[order])


def _of_view(keypoints, factor, size):
    x, y = keypoints.places.T.astype(np.float64)
    inside = (x >= -0.5) & (x < size[1]) & (y >= -0.5) & (y < size[0])
    inside |= ~np.isfinite(keypoints.places).all(axis=1)  # told of, not left out
    norms = np.linalg.norm(keypoints.descriptors.astype(np.float64), axis=1)
    unit = (keypoints.descriptors / np.maximum(norms, TINIEST)[:, None]).astype(np.float32)
    scores = np.where(norms == 0, np.float32(0), keypoints.scores)
    places = np.stack(
        [(x + 0.5) / factor[0] - 0.5, (y + 0.5) / factor[1] - 0.5, np.full(len(x), SIDE / np.sqrt(factor[0] * factor[1]))], axis=1
    )
    return unit[inside], scores[inside], places[inside]
