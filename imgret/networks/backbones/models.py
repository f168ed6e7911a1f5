"""Networks of torchvision: built by name, given their weights."""

import functools
import os

from imgret.errors import ImgretError, UsageError
from imgret.networks import state_dicts
from imgret.networks import weights as weights_of
from imgret.networks.backbones import tokens
from imgret.networks.backbones.architectures import architecture_of

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)  # of ImageNet's photos


def names():
    """Every classification network of torchvision."""
    import torchvision

    return torchvision.models.list_models(module=torchvision.models)


def built(params, given):
    """A model with its weights, and what was found out about them.

    Parameters
    ----------
    params : imgret.networks.params.BackboneParams
    given : sequence of str
        Weights files to look at first.

    Returns
    -------
    model : torch.nn.Module
    found : dict
        The parameters `weights`, `digest`, `mean` and `std`.

    Raises
    ------
    UsageError
        For an unknown network.
    ImgretError
        For weights that cannot be used.
    """
    import torchvision

    if params.model not in names():
        raise UsageError(f"there is no network '{params.model}' in torchvision {torchvision.__version__}; it has: {', '.join(names())}")
    mean, std = MEAN, STD
    if params.weights == "random":
        path, model = "random", _random(params)
        digest = state_dicts.digest_of(model.state_dict())
        if params.digest and digest != params.digest:
            raise ImgretError(
                f"random weights with this seed are others here (SHA-256 {digest[:12]}) than those that were used ({params.digest[:12]}): "
                "another version of torch? Describe the photos again"
            )
    else:
        path, missing = params.weights, ""
        if path == "imagenet":
            path, mean, std, missing = weights_of.imagenet(params.model)
        path, data, digest = weights_of.find(path, params.digest, given, missing)
        state = state_dicts.load(path, data, _fitting(params.model))
        del data
        model = _filled(params.model, state, path)
        path = "imagenet" if params.weights == "imagenet" else os.path.abspath(path)
    mean = tuple(value * params.range for value in mean) if params.mean is None else params.mean
    std = tuple(value * params.range for value in std) if params.std is None else params.std
    return model, {"weights": path, "digest": digest, "mean": mean, "std": std}


def _random(params):
    import torch
    import torchvision

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(params.seed)
        return torchvision.models.get_model(params.model, weights=None, **architecture_of(params.model).options)


def _fitting(name):
    """Counts how many of a state_dict's names a network has."""
    own = functools.cache(lambda: bare(name).state_dict().keys())
    return lambda state: len(own() & architecture_of(name).respelt(state).keys())


def _filled(name, state, path):
    state = architecture_of(name).respelt(state)
    model = empty(name, state)
    state_dicts.fit(state, model, name, path)
    return model


def empty(name, state):
    """A model without weights, with room for those of a `state`: of as many classes, for photos of the same size."""
    architecture = architecture_of(name)
    options = dict(architecture.options)
    if architecture.transforms_input:
        options |= {"aux_logits": any(key.lower().startswith("aux") for key in state), "transform_input": True}
    if architecture.tokens:
        options |= tokens.size_of(name, state)
    model = bare(name, options)
    ends = [
        (key, value.shape) for key, value in model.state_dict().items() if key.endswith("weight") and value.ndim > 1 and len(value) == 1000
    ]
    key, shape = ends[-1]
    found = state[key].shape if key in state else shape
    if found != shape and found[1:] == shape[1:] and len(state[key]) > 0:
        model = bare(name, options | {"num_classes": len(state[key])})
    return model


def bare(name, options=None):
    """A model whose weights take no memory yet, where that can be."""
    import torch
    import torchvision

    options = architecture_of(name).options if options is None else options
    try:
        with torch.device("meta"):
            return torchvision.models.get_model(name, weights=None, **options)
    except NotImplementedError:  # some compute with tensors while they are built
        return torchvision.models.get_model(name, weights=None, **options)
