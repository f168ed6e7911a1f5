"""What heads that give local features share."""

import dataclasses

import numpy as np

from imgret.networks.heads.base import Head
from imgret.networks.heads.params import LocalParams


@dataclasses.dataclass(frozen=True)
class Located:
    """All that a head finds in one photo.

    Attributes
    ----------
    descriptors : ndarray, shape (T, D), float32
        Unit L2 norm; zero where nothing fires.
    scores : ndarray, shape (T,), float32
    places : ndarray, shape (T, 3), float64
        x, y and side of what each looks at, in pixels of the photo as it was shown.
    """

    descriptors: np.ndarray
    scores: np.ndarray
    places: np.ndarray


class LocalHead(Head):
    """Base of heads that give local features: a subclass has `describe`, or is a `MapHead`."""

    gives = "features"
    refuses = ("flip",)
    Params = LocalParams


class MapHead(LocalHead):
    """Base of heads that find local features on the maps of the whole photo: a subclass has `look`."""

    def look(self, outputs, finest, forward):
        """The local features of one view.

        Parameters
        ----------
        outputs : list of torch.Tensor, shape (B, C_i, H_i, W_i)
        finest : int
            Number of the layer whose map has most places.
        forward : imgret.networks.forward.Forward
            For `field`.

        Returns
        -------
        descriptors, scores : torch.Tensor, shapes (B, T, D), (B, T)
        x, y, side : ndarray, shape (T,)
            Pixels of the view.
        """
        raise NotImplementedError

    def describe(self, photos, forward):
        """Local features of photos of one shape; see `Head.describe`."""
        parts = [self._view(outputs, factor, forward) for outputs, factor in forward.views(photos)]
        places = np.concatenate([places for _, _, places in parts])
        return [
            Located(
                np.concatenate([descriptors[number] for descriptors, _, _ in parts]),
                np.concatenate([scores[number] for _, scores, _ in parts]),
                places,
            )
            for number in range(len(photos))
        ]

    def _view(self, outputs, factor, forward):
        finest = max(range(len(outputs)), key=lambda number: outputs[number].shape[2] * outputs[number].shape[3])
        descriptors, scores, x, y, side = self.look(outputs, finest, forward)
        places = np.stack([(x + 0.5) / factor[0] - 0.5, (y + 0.5) / factor[1] - 0.5, side / np.sqrt(factor[0] * factor[1])], axis=1)
        return descriptors.cpu().numpy(), scores.cpu().numpy(), places
