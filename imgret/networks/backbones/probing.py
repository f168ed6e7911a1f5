"""What a pass of a small photo tells of a network."""

from imgret.networks.hooks import listening

REFUSALS = (RuntimeError, ValueError, AssertionError, IndexError)  # what a network raises over a photo it cannot take


def maps(model, names, side):
    """Those of a model's modules, by `names`, that give a map of more than one place of a photo of `side`, in the order they answer."""
    import torch

    found = []

    def note(name, output):
        if isinstance(output, torch.Tensor) and output.ndim == 4 and min(output.shape[2:]) > 1:
            found.append(name)

    modules = dict(model.named_modules())
    _pass(model, [(modules[name], lambda _, __, output, name=name: note(name, output)) for name in names], side)
    return found


def shapes(model, modules, side):
    """What each of `modules` (name to module) gives in one pass of a photo of `side`: lists of shapes, () for what is no tensor."""
    import torch

    found = {name: [] for name in modules}

    def note(name, output):
        found[name].append(tuple(output.shape) if isinstance(output, torch.Tensor) else ())

    _pass(model, [(module, lambda _, __, output, name=name: note(name, output)) for name, module in modules.items()], side)
    return found


def _pass(model, listeners, side):
    import torch

    with torch.no_grad(), listening(listeners):
        model(torch.zeros(1, 3, side, side))


def told(error):
    """An error of torch's in one line, not too long a one."""
    return " ".join(str(error).split())[:120]
