"""Networks cut open at their layers; `base` says what is asked of one, `network` cuts those of torchvision."""

import functools

from imgret.errors import ImgretError, UsageError
from imgret.registry import load

TORCHVISION = "torchvision"
# where networks come from -> what builds and cuts them. A `model` is a network of torchvision, or ORIGIN:NAME
BACKBONES = {
    TORCHVISION: "imgret.networks.backbones.network:Network",
    "timm": "imgret.networks.backbones.timm:Timm",
    "onnx": "imgret.networks.backbones.onnx:Onnx",
}

LIBRARIES = {"timm": "timm", "onnx": "onnxruntime"}  # what they need beside PyTorch


def origin_of(model):
    """Where the network of a `model` comes from: a key of `BACKBONES`."""
    origin = model.partition(":")[0]
    return origin if origin in BACKBONES else TORCHVISION


@functools.lru_cache(maxsize=4)
def shared(params, wants, device, given):
    """A backbone, one for all that ask for the same: threads share it.

    Parameters
    ----------
    params : imgret.networks.params.BackboneParams
    wants : str
        What its layers should give: "map", "vector" or "keypoints".
    device : str
    given : tuple of str
        Weights files to look at first.

    Returns
    -------
    imgret.networks.backbones.base.Backbone

    Raises
    ------
    ImgretError
    """
    return _kind(params)(params, wants, device, given)


def trainable(params, wants, device="cpu", given=()):
    """A backbone of one's own whose calls are differentiable functions of its parameters; see `shared` for the arguments.

    Returns
    -------
    imgret.networks.backbones.cut.Cut
        `model` is the torch module with its own names, unfolded, float32, in evaluation mode.

    Raises
    ------
    UsageError
        If it takes photos of one size only, or is none that learns.
    ImgretError
    """
    backbone = _kind(params)(params, wants, device, given, trainable=True)
    if backbone.size is not None:
        height, width = backbone.size
        raise UsageError(
            f"{backbone.name} takes photos of {width} × {height} pixels and no others, and training shows it many shapes: "
            "choose another network"
        )
    return backbone


def _kind(params):
    return load(BACKBONES, origin_of(params.model), "backbone")


def device_of(text, model=""):
    """A device's name, checked: "auto" is cuda or mps where there is one, and the origin of `model` can use it, else cpu.

    Raises
    ------
    ImgretError
    """
    import torch

    if text == "auto" and origin_of(model) == "onnx":  # onnxruntime for CUDA is a package of its own
        return "cpu"
    if text == "auto":
        return "cuda" if torch.cuda.is_available() else "mps" if torch.backends.mps.is_available() else "cpu"
    kind, _, number = text.partition(":")
    if kind == "cuda" and not torch.cuda.is_available():
        raise ImgretError("--device cuda: there is no CUDA device that torch can use here; give --device cpu or auto")
    if kind == "cuda" and number and int(number) >= torch.cuda.device_count():
        raise ImgretError(f"--device {text}: there are {torch.cuda.device_count()} CUDA devices, counted from 0")
    if kind == "mps" and not torch.backends.mps.is_available():
        raise ImgretError("--device mps: there is no MPS device here; give --device cpu or auto")
    return text
