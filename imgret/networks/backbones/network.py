"""A network of torchvision, cut open at its layers."""

import contextlib
import dataclasses
import threading

from imgret.errors import ImgretError, UsageError
from imgret.networks.backbones import folding, models, probing, tokens
from imgret.networks.backbones.architectures import architecture_of
from imgret.networks.backbones.base import SIDES, Backbone

LISTED_DEPTH = 2  # of module names in a message


class _Enough(Exception):  # noqa: N818 - ends a forward pass where all layers have answered
    pass


class Network(Backbone):
    """A network of torchvision.

    Parameters
    ----------
    params : imgret.networks.params.BackboneParams
    wants : str
        What its layers should give: "map" or "vector". It decides which layer is taken where none is named, and what is taken of a
        transformer's tokens: the patches, or the class token.
    device : str
        "cpu", "cuda", "cuda:1", "mps".
    given : sequence of str
        Weights files to look at first.

    Raises
    ------
    UsageError
        For an unknown network or layer.
    ImgretError
        For weights that cannot be used, and networks that cannot be cut there.
    """

    def __init__(self, params, wants="map", device="cpu", given=()):
        import torch

        self.device = torch.device(device)
        self.name, self.wants = params.model, wants
        self.architecture = architecture_of(params.model)
        self.attends = self.architecture.attends
        self.model, found = models.built(params, given)
        self.model.eval().requires_grad_(False)
        if self.architecture.tokens:
            tokens.any_size(self.model)
        self.layers = params.layer or (self._default_layer(),)
        self.params = dataclasses.replace(params, layer=self.layers, **found)
        self._refuse_repeated()
        self.model = folding.folded(self.model, [module for module, _ in self._places()], SIDES[-1])
        self.dtype = getattr(torch, params.precision)
        self.model.to(device=self.device, dtype=self.dtype, memory_format=torch.channels_last)
        # threads share a network; its hooks write to the calling thread's own place
        self._local = threading.local()
        self._lock = threading.Lock() if self.architecture.tokens else contextlib.nullcontext()  # `tokens.any_size` changes the model
        for layer, place in zip(self.layers, self._places(), strict=True):
            self._listen(layer, *place)
        self.least, outputs = self._smallest()
        if wants == "vector":  # the smallest photo's map may have but one place
            outputs = self(torch.zeros(1, 3, *2 * [max(self.least, SIDES[-1])], device=self.device))
        self.dims = [output.shape[1] for output in outputs]
        self.maps = [output.ndim == 4 for output in outputs]

    def __call__(self, x):
        """The layers' outputs; see `imgret.networks.backbones.base.Backbone`."""
        import torch

        found = self._local.found = {}
        with torch.inference_mode(), contextlib.suppress(_Enough), self._lock:
            self.model(x.to(self.dtype))
        return [self._shaped(layer, found[layer], x) for layer in self.layers]

    def blank(self):
        """A copy on the CPU whose weights mean nothing."""
        return models.bare(self.name).to_empty(device="cpu").eval()

    def classifier(self):
        """Weights (K, C) and biases (K,) of the classifier; see `imgret.networks.backbones.base.Backbone`."""
        import torch

        modules = [module for module in self._classifying() if not isinstance(module, torch.nn.Sequential)]
        plain = (torch.nn.Linear, torch.nn.Dropout, torch.nn.Flatten, torch.nn.Conv2d, torch.nn.ReLU, torch.nn.AdaptiveAvgPool2d)
        linear = [module for module in modules if isinstance(module, (torch.nn.Linear, torch.nn.Conv2d))]
        if not self.architecture.over_mean or len(linear) != 1 or not all(isinstance(module, plain) for module in modules):
            return super().classifier()
        weight = linear[0].weight.float().flatten(1)
        if weight.shape[1] != self.dims[0]:
            raise UsageError(f"cam needs the map that is classified, {self.layers[0]} is another: leave `layer` out")
        bias = linear[0].bias
        return weight, torch.zeros(len(weight), device=weight.device) if bias is None else bias.float()

    def _classifying(self):
        """The modules that classify."""
        name = self.architecture.classifier
        return list(self.model.get_submodule(name).modules()) if name else []

    def _listen(self, layer, module, before):
        import torch

        def keep(output):
            found = self._local.found
            last = len(found) == len(self.layers) - 1
            # a later layer may work in place
            found[layer] = output if last or not isinstance(output, torch.Tensor) else output.clone()
            if last:
                raise _Enough

        if before:
            module.register_forward_pre_hook(lambda _, inputs: keep(inputs[0]))
        else:
            module.register_forward_hook(lambda _, __, output: keep(output))

    def _shaped(self, layer, output, x):
        """What a module gave, as (B, C, H, W) or (B, C)."""
        import torch

        if not isinstance(output, torch.Tensor):
            raise UsageError(f"the layer '{layer}' of {self.name} gives no single tensor: {self._valid()}")
        output = output.float()
        if self.architecture.tokens and output.ndim == 3:
            return output[:, 0] if self.wants == "vector" else tokens.as_map(output, x.shape[2:], self.model.patch_size)
        if output.ndim == 4 and self.architecture.has_channels_last(layer):
            output = output.permute(0, 3, 1, 2)
        if layer == self.architecture.rectified:
            output = output.relu()
        if output.ndim == 4 and output.shape[2:] == (1, 1) and self.wants == "vector":
            output = output.flatten(1)
        if output.ndim not in (2, 4):
            raise UsageError(f"the layer '{layer}' of {self.name} gives neither a map nor a vector: {self._valid()}")
        return output

    def _default_layer(self):
        if self.wants == "vector":
            return self.architecture.vector
        if not self.architecture.last_map:
            return self._last_map()
        sequence, _, number = self.architecture.last_map.rpartition(".")
        if number.startswith("-"):
            return f"{sequence}.{len(self.model.get_submodule(sequence)) + int(number)}"
        return self.architecture.last_map

    def _last_map(self):
        found = probing.maps(self.model, self._listed())
        if not found:
            raise UsageError(f"{self.name} has no convolutional map that is known: name a layer; {self._valid()}")
        return found[-1]

    def _refuse_repeated(self):
        """Refuse a layer that is used several times: which of its outputs is meant is not said."""
        modules = {layer: module for layer, (module, before) in zip(self.layers, self._places(), strict=True) if not before}
        try:
            counts = probing.uses(self.model, modules)
        except probing.REFUSALS as error:
            text = probing.told(error)
            raise ImgretError(f"{self.name} cannot be run with the weights {self.params.weights}: {text}") from None
        for layer, times in counts.items():
            if times > 1:
                raise UsageError(f"the layer '{layer}' of {self.name} is used {times} times: name the module around it")

    def _places(self):
        """(module, whether its input is meant) of each layer."""
        modules = dict(self.model.named_modules())
        return [self._place(layer, modules) for layer in self.layers]

    def _place(self, layer, modules):
        import torch

        if layer in modules and layer:
            return modules[layer], False
        linear = [module for module in self._classifying() if isinstance(module, torch.nn.Linear)]
        if layer in self.architecture.linear:
            return linear[self.architecture.linear.index(layer)], False
        if layer == "avgpool" and linear:
            return linear[0], True
        raise UsageError(f"{self.name} has no layer '{layer}': {self._valid()}")

    def _listed(self):
        """Names of the outer modules, in order."""
        return [name for name, _ in self.model.named_modules() if name and name.count(".") < LISTED_DEPTH]

    def _valid(self):
        return f"choose one of {', '.join([*self._listed(), *self.architecture.linear])}, or a module below"

    def _smallest(self):
        import torch

        problem = None
        for side in SIDES:
            try:
                return side, self(torch.zeros(1, 3, side, side, device=self.device))
            except UsageError:
                raise
            except probing.REFUSALS as error:  # too small for its strides
                problem = error
            except KeyError:
                raise UsageError(
                    f"a layer of {','.join(self.layers)} takes no part in what {self.name} computes: {self._valid()}"
                ) from None
        raise ImgretError(f"{self.name} cannot be run: {probing.told(problem)}")
