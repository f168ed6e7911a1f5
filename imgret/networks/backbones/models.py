"""Networks of torchvision: built by name, given their weights."""

import functools

from imgret.errors import UsageError
from imgret.networks import state_dicts
from imgret.networks import weights as weights_of
from imgret.networks.backbones import filling, tokens
from imgret.networks.backbones.architectures import architecture_of


def names():
    """Every classification network of torchvision."""
    import torchvision

    return torchvision.models.list_models(module=torchvision.models)


class Torchvision(filling.Maker):
    """A network of torchvision.

    Raises
    ------
    UsageError
        If there is none of that name.
    """

    def __init__(self, name):
        import torchvision

        if name not in names():
            raise UsageError(f"there is no network '{name}' in torchvision {torchvision.__version__}; it has: {', '.join(names())}")
        self.name, self.architecture = name, architecture_of(name)
        self._own = functools.cache(lambda: bare(name).state_dict().keys())

    def random(self):
        """A model with weights as torchvision draws them."""
        import torchvision

        return torchvision.models.get_model(self.name, weights=None, **self.architecture.options)

    def fitting(self, state):
        """How many of a state_dict's names the network has."""
        return len(self._own() & self.architecture.respelt(state).keys())

    def filled(self, state, path):
        """A model with the weights of a state_dict."""
        state = self.architecture.respelt(state)
        model = empty(self.name, state)
        state_dicts.fit(state, model, self.name, path)
        return model

    def imagenet(self):
        """torchvision's own weights; see `imgret.networks.weights.imagenet`."""
        return weights_of.imagenet(self.name)


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
