"""A model's weights: drawn, or out of a file."""

import dataclasses
import os

from imgret.errors import ImgretError
from imgret.networks import state_dicts, trained
from imgret.networks import weights as weights_of

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)  # of ImageNet's photos


class Maker:
    """Base of what builds a library's model of one name.

    Attributes
    ----------
    name : str
        For messages.
    mean, std : tuple of float
        By which photos are normalised, where a file does not say otherwise.
    """

    name = ""
    mean, std = MEAN, STD

    def random(self):
        """A model with weights drawn from torch's generator."""
        raise NotImplementedError

    def fitting(self, state):
        """How many of a state_dict's names the model has."""
        raise NotImplementedError

    def filled(self, state, path):
        """A model with the weights of a state_dict."""
        raise NotImplementedError

    def imagenet(self):
        """Where ImageNet weights are, their mean and std, and what to say where they are not; see `imgret.networks.weights.imagenet`.

        Raises
        ------
        ImgretError
            If there are none without a file's name.
        """
        raise NotImplementedError


@dataclasses.dataclass(frozen=True)
class Built:
    """A model with its weights.

    Attributes
    ----------
    model : torch.nn.Module
    found : dict
        The parameters `weights`, `digest`, `mean` and `std`.
    learned : dict of str to torch.Tensor
        What a head learned, of a network that imgret trained.
    """

    model: object
    found: dict
    learned: dict


def built(params, given, maker):
    """A model with its weights, and what was found out about them.

    Parameters
    ----------
    params : imgret.networks.params.BackboneParams
    given : sequence of str
        Weights files to look at first.
    maker : Maker

    Returns
    -------
    Built

    Raises
    ------
    ImgretError
        For weights that cannot be used.
    """
    mean, std, learned = maker.mean, maker.std, {}
    if params.weights == "random":
        path, model = "random", _random(params, maker)
        digest = state_dicts.digest_of(model.state_dict())
        if params.digest and digest != params.digest:
            raise ImgretError(
                f"random weights with this seed are others here (SHA-256 {digest[:12]}) than those that were used ({params.digest[:12]}): "
                "another version of torch? Describe the photos again"
            )
    else:
        path, missing = params.weights, ""
        if path == "imagenet":
            path, mean, std, missing = maker.imagenet()
        path, data, digest = weights_of.find(path, params.digest, given, missing)
        state, learned = _read(path, data, maker)
        del data
        model = maker.filled(state, path)
        path = "imagenet" if params.weights == "imagenet" else os.path.abspath(path)
    mean = tuple(value * params.range for value in mean) if params.mean is None else params.mean
    std = tuple(value * params.range for value in std) if params.std is None else params.std
    return Built(model, {"weights": path, "digest": digest, "mean": mean, "std": std}, learned)


def _random(params, maker):
    import torch

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(params.seed)
        return maker.random()


def _read(path, data, maker):
    """A file's state_dict; and what a head learned, where imgret trained the network."""
    if not path.endswith(trained.ENDING):
        return state_dicts.load(path, data, maker.fitting), {}
    state = state_dicts.tensors(path, data)
    if trained.metadata_of(path) is None:
        return state_dicts.chosen(path, state, maker.fitting), {}
    model, head = (
        {name.removeprefix(prefix): value for name, value in state.items() if name.startswith(prefix)}
        for prefix in (trained.BACKBONE, trained.HEAD)
    )
    odd = [name for name, value in head.items() if not value.is_floating_point() or not value.isfinite().all()]
    if odd:
        raise ImgretError(f"the weights {path}: {trained.HEAD}{odd[0]} holds NaN, infinite values or no floating point")
    return model, {name: value.float() for name, value in head.items()}
