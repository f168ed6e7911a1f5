"""What is asked of a network, whoever built it."""

import dataclasses
import types

import numpy as np

from imgret.errors import UsageError

SIDES = (32, 64, 96, 128, 160, 224)  # that are tried for the smallest photo a network takes; the last one suits every network


@dataclasses.dataclass(frozen=True)
class Keypoints:
    """What a network finds in one photo.

    Attributes
    ----------
    places : ndarray, shape (T, 2), float32
        x and y in pixels of the photo as the network takes it, the centre of the first at 0.
    descriptors : ndarray, shape (T, D), float32
    scores : ndarray, shape (T,), float32
    """

    places: np.ndarray
    descriptors: np.ndarray
    scores: np.ndarray


class Backbone:
    """A network with weights, ready to give what its layers give.

    Extractors, heads and `imgret.networks.fields` use of a network what stands here, and nothing else.

    Attributes
    ----------
    name : str
        For messages.
    params : imgret.networks.params.BackboneParams
        With layer, weights, digest, mean and std as they were found: made from these again, it is the same network.
    device : torch.device
        Where it takes its photos.
    layers : tuple of str
        Whose outputs it gives.
    dims : list of int
        Channels of each layer's output.
    maps : list of bool
        Whether each layer's output is a map, or a vector.
    least : int
        Side of the smallest square photo it takes, in pixels.
    size : (int, int) or None
        Height and width of the only photos it takes; None where it takes others too.
    attends : bool
        Whether a column sees the whole photo, by attention.
    locates : bool
        Whether it finds keypoints: `located`.
    learned : dict of str to torch.Tensor
        What was trained beside the network and is in the same file, by the names that heads give it; mostly empty.
    """

    attends = False
    size = None
    locates = False
    learned = types.MappingProxyType({})

    def __call__(self, x):
        """The layers' outputs.

        Parameters
        ----------
        x : torch.Tensor, shape (B, 3, H, W)
            Normalised, on the network's device.

        Returns
        -------
        list of torch.Tensor
            Maps (B, C, H', W') or vectors (B, C), float32, one per layer.
        """
        raise NotImplementedError

    def located(self, x):
        """The keypoints of photos, of a network that `locates`: a list of `Keypoints`, one for each; x as in a call."""
        raise NotImplementedError

    def stride(self, layer):
        """Pixels of the photo for one place of a layer's map."""
        import torch

        size = self.size or (SIDES[-1], SIDES[-1])
        output = self(torch.zeros(1, 3, *size, device=self.device))[self.layers.index(layer)]
        return size[0] / output.shape[2]

    def blank(self):
        """A copy on the CPU as a torch.nn.Module with the layers' names, whose weights mean nothing; None where there is none to be had."""
        return None

    def classifier(self):
        """Weights (K, C) and biases (K,) of the linear classifier over the mean of the last map, for class activation maps.

        Raises
        ------
        UsageError
            If the network ends otherwise.
        """
        raise UsageError(f"cam needs a linear classifier over the mean of the last map, {self.name} has another: choose another pool")
