"""What a pass of a small photo tells of a network."""

from imgret.networks.backbones.base import SIDES
from imgret.networks.hooks import listening

REFUSALS = (RuntimeError, ValueError, AssertionError, IndexError)  # what a network raises over a photo it cannot take


def maps(model, names):
    """Those of a model's modules, by `names`, that give a map of more than one place, in the order they answer."""
    import torch

    found = []

    def note(name, output):
        if isinstance(output, torch.Tensor) and output.ndim == 4 and min(output.shape[2:]) > 1:
            found.append(name)

    modules = dict(model.named_modules())
    _pass(model, [(modules[name], lambda _, __, output, name=name: note(name, output)) for name in names])
    return found


def uses(model, modules):
    """How often each of `modules` (name to module) is used in one pass."""
    counts = dict.fromkeys(modules, 0)

    def count(name):
        counts[name] += 1

    _pass(model, [(module, lambda *_, name=name: count(name)) for name, module in modules.items()])
    return counts


def _pass(model, listeners):
    import torch

    with torch.inference_mode(), listening(listeners):
        model(torch.zeros(1, 3, SIDES[-1], SIDES[-1]))


def told(error):
    """An error of torch's in one line, not too long a one."""
    return " ".join(str(error).split())[:120]
