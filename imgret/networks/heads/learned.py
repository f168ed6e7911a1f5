"""What was trained beside a network, as its head takes it."""

from imgret.errors import ImgretError
from imgret.networks.heads import embedding


def taken(head, backbone):
    """The tensors that a head needs to have learned.

    Parameters
    ----------
    head : imgret.networks.heads.base.Head
    backbone : imgret.networks.backbones.base.Backbone
        What is in `learned` beyond what the head asks for is let be: a network may be used with another head than it was trained with.

    Returns
    -------
    dict of str to torch.Tensor
        float32, on the network's device.

    Raises
    ------
    ImgretError
    """
    import torch

    found, weights = {}, f"the weights {backbone.params.weights}"
    for name, shape in head.shapes(backbone.dims).items():
        tensor = backbone.learned.get(name)
        if tensor is None:
            raise ImgretError(f"{weights} have no trained {_remedy(head, name)}")
        if tuple(tensor.shape) != shape or not tensor.dtype.is_floating_point:
            raise ImgretError(
                f"{weights}: head.{name} is {_shown(tensor.shape)} ({str(tensor.dtype).removeprefix('torch.')}), {_shown(shape)} floats "
                "are needed: give the parameters that it was trained with"
            )
        if not torch.isfinite(tensor).all():
            raise ImgretError(f"{weights}: head.{name} holds NaN or infinite values")
        found[name] = tensor.to(backbone.device, torch.float32)
    return found


def fitting(shapes, known):
    """Of `known` what has the names and shapes, float32: nothing if not all of it is there."""
    import torch

    found = {name: known[name].to(torch.float32) for name, shape in shapes.items() if name in known and tuple(known[name].shape) == shape}
    return found if len(found) == len(shapes) else {}


def _remedy(head, name):
    if name in embedding.NAMES:
        size = head.params.embed
        return f"layer of {size} dimensions: train one by `imgret train --set embed={size}`, or leave `embed` out"
    return f"{head.known_as} head: train one by `imgret train --set pool={head.trained_as}`, or choose another pool"


def _shown(shape):
    return "×".join(map(str, shape)) or "a number"
