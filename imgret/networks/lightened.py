"""A network that learns, made cheaper: it computes the same, to rounding, with fewer passes over its maps."""

from imgret.networks.backbones import folding
from imgret.networks.hooks import passed

CLOSE = 1e-4  # relative to the largest output; what folding leaves is a hundred times less


def lightened(model, keep, run):
    """Let a model work with less, in place; its modules, their names and parameters stay.

    Activations no longer overwrite what autograd would have to copy first. A batch normalisation that does not learn is a factor and a
    term for each channel: of the filters of the convolution that feeds it, which learn as before.

    Parameters
    ----------
    model : torch.nn.Module
        In evaluation mode. Convolutions whose weights take no gradient stay as they are.
    keep : sequence of torch.nn.Module
        Modules whose own output is wanted: not changed.
    run : callable
        `run()`: the outputs of a small photo, list of torch.Tensor. Should they differ then (a convolution that something else reads
        too), all convolutions stay as they were.
    """
    import torch

    # their gradient takes what they were given, of which autograd keeps a copy where they overwrite it
    copied = torch.nn.Hardtanh, torch.nn.Hardswish, torch.nn.SiLU, torch.nn.Mish
    for module in model.modules():
        if isinstance(module, copied):
            module.inplace = False
    with torch.no_grad():
        pairs, before = folding.pairs(model, keep, run)
        pairs = [(convolution, norm) for convolution, norm in pairs if _suits(convolution, norm)]
        for convolution, norm in pairs:
            convolution.forward, norm.forward = _scaled(convolution, norm), passed
        if not all(folding.alike(*each, CLOSE) for each in zip(run(), before, strict=True)):
            for module in (module for pair in pairs for module in pair):
                del module.forward


def _suits(convolution, norm):
    import torch

    plain = type(convolution) is torch.nn.Conv2d and type(norm) is torch.nn.BatchNorm2d and convolution.padding_mode == "zeros"
    fixed = norm.running_var is not None and not any(parameter.requires_grad for parameter in norm.parameters())
    return plain and fixed and convolution.weight.requires_grad and "forward" not in vars(convolution) | vars(norm)


def _scaled(convolution, norm):
    """What a convolution gives with the normalisation behind it, as a function of its photo and its own weights."""
    from torch.nn import functional

    factor = (norm.running_var + norm.eps).rsqrt() * (1 if norm.weight is None else norm.weight)
    term = (0 if norm.bias is None else norm.bias) - norm.running_mean * factor
    factor, term = factor.detach(), term.detach()

    def forward(x):
        bias = term if convolution.bias is None else term + convolution.bias * factor
        weight = convolution.weight * factor[:, None, None, None]
        return functional.conv2d(x, weight, bias, convolution.stride, convolution.padding, convolution.dilation, convolution.groups)

    return forward
