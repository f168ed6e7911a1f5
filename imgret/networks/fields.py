"""Where the columns of a map look: stride, centre and size of their receptive fields, measured rather than derived."""

import contextlib

from imgret.networks.hooks import listening

SHORTEST, LONGEST = 1024, 8192  # pixels of the strip that is looked through
# by their names, since libraries have their own: normalisations, and gates that see the whole photo
PASSED = ("FrozenBatchNorm2d", "LayerNorm2d", "StochasticDepth", "DropPath")
PASSED += ("SqueezeExcite", "SEModule", "EffectiveSEModule", "EcaModule", "GlobalResponseNorm")


def receptive_field(network, layer):
    """Receptive field of a layer's columns, along one axis (networks look alike along both).

    A copy of the network is made linear and positive (positive weights, no normalisation or activations, no gates that see the
    whole photo), and the gradient of a column in the middle shows which pixels reach it. Attention sees the whole photo: for a
    transformer, and for a network of which there is no such copy, the field is the patch that a column stands for.

    Parameters
    ----------
    network : imgret.networks.backbones.base.Backbone
    layer : str

    Returns
    -------
    stride : float
        Pixels between neighbouring columns.
    first : float
        Centre of the first column's field, in pixels (centre of the first pixel at 0); it may lie outside the photo.
    size : float
        Side of the field in pixels.

    References
    ----------
    W. Luo et al., Understanding the effective receptive field in deep convolutional neural networks, NIPS 2016 (the theoretical field).
    """
    import torch

    field = None
    if not network.attends:
        with torch.inference_mode(False), torch.enable_grad():
            field = _measured(network, layer)
    if field is None:
        stride = network.stride(layer)
        field = stride, (stride - 1) / 2, stride
    return field


def _measured(network, layer):
    """Stride, first centre and size; None where the gradient does not tell."""
    model = network.blank()
    if model is None:
        return None
    _linear(model.double())  # what reaches a column from its field's edge is tiny
    length = SHORTEST
    while length <= LONGEST:
        spans, count = _spans(model, layer, length, max(64, network.least))
        if spans is None:
            return None
        if all(first > 0 and last < length - 1 for first, last in spans):
            (first, last), (after, _) = spans
            stride = float(after - first)
            return stride, (first + last) / 2 - count // 2 * stride, float(last - first + 1)
        length *= 2
    return None


def _spans(model, layer, length, width):
    """First and last pixel that reach the middle column and the next, and how many columns there are."""
    import torch

    found = {}
    module = dict(model.named_modules())[layer]
    photo = torch.full((1, 3, length, width), 1e-3, dtype=torch.float64, requires_grad=True)
    listener = (module, lambda _, __, output: found.update(output=output))
    # a classifier may take another size: the layer has answered before
    with listening([listener]), contextlib.suppress(RuntimeError, ValueError):
        model(photo)
    output = found.get("output")
    if output is None or output.ndim != 4:
        return None, 0
    along = output.sum(dim=(0, 1, 3))
    spans = []
    for place in (len(along) // 2, len(along) // 2 + 1):
        (gradient,) = torch.autograd.grad(along[min(place, len(along) - 1)], photo, retain_graph=True)
        reached = gradient.abs().sum(dim=(0, 1, 3)).nonzero().flatten()
        if not len(reached):
            return None, 0
        spans.append((int(reached[0]), int(reached[-1])))
    return spans, len(along)


def _linear(model):
    """Positive weights; normalisations and activations out of the way; maxima to means; no gradient through what sees the whole photo."""
    import torch

    nn = torch.nn
    with torch.no_grad():
        for parameter in model.parameters():
            # few hundred inputs a sum: values stay in range through a hundred layers
            fan = max(1, parameter[0].numel()) if parameter.ndim > 1 else 1
            parameter.fill_(1 / fan)
    passed = (nn.BatchNorm2d, nn.LayerNorm, nn.ReLU, nn.ReLU6, nn.SiLU, nn.GELU, nn.Hardswish, nn.Dropout)
    for module in model.modules():
        if isinstance(module, passed) or type(module).__name__ in PASSED:
            module.register_forward_hook(lambda _, inputs, __: inputs[0])
        elif isinstance(module, nn.MaxPool2d):
            module.register_forward_hook(_mean_instead)
        elif isinstance(module, nn.AdaptiveAvgPool2d):
            module.register_forward_hook(lambda _, __, output: output.detach())


def _mean_instead(module, inputs, _):
    import torch

    return torch.nn.functional.avg_pool2d(inputs[0], module.kernel_size, module.stride, module.padding, module.ceil_mode, True)
