"""A torch module cut open at its layers: all that does not depend on who built it."""

import contextlib
import dataclasses
import threading

from imgret.errors import ImgretError, UsageError
from imgret.networks.backbones import folding, probing
from imgret.networks.backbones.base import SIDES, Backbone

LISTED_DEPTH = 2  # of module names in a message
CLASSIFIED = "avgpool"  # the layer that is what the classifier takes, where no module has that name


class _Enough(Exception):  # noqa: N818 - ends a forward pass where all layers have answered
    pass


class Cut(Backbone):
    """Base of networks that are torch modules. A subclass has `build`, `default_layer` and `ends`.

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
    trainable : bool
        Whether gradients are wanted: the module is then as it was built (float32, nothing folded, parameters by their own names, all of
        which take a gradient), in evaluation mode, and a call is a differentiable function of its parameters.

    Attributes
    ----------
    model : torch.nn.Module
    side : int
        Of a square photo that it takes for sure.
    square : dict of str to tuple of int
        Shapes of layers' own outputs for one such photo; of those that give a tensor.

    Raises
    ------
    UsageError
        For an unknown network or layer.
    ImgretError
        For weights that cannot be used, and networks that cannot be cut there.
    """

    side = SIDES[-1]
    changes = False  # whether a pass changes the module: then one at a time

    def __init__(self, params, wants="map", device="cpu", given=(), trainable=False):
        import torch

        self.device = torch.device(device)
        self.name, self.wants, self.trainable = params.model, wants, trainable
        built = self.build(params, given)
        self.model = built.model
        self.model.eval().requires_grad_(trainable)
        self.layers = params.layer or (self.default_layer(),)
        self.params = dataclasses.replace(params, layer=self.layers, **built.found)
        self.learned = {name: value.to(self.device) for name, value in built.learned.items()}
        self._refuse_repeated()
        if not trainable:
            self.model = folding.folded(self.model, self.kept, self.side, self.left)
        self.dtype = torch.float32 if trainable else getattr(torch, params.precision)
        self.model.to(device=self.device, dtype=self.dtype, memory_format=torch.channels_last)
        # threads share a network; its hooks write to the calling thread's own place
        self._local = threading.local()
        self._lock = threading.Lock() if self.changes else contextlib.nullcontext()
        for layer, place in zip(self.layers, self._places(), strict=True):
            self._listen(layer, *place)
        with torch.no_grad():
            self.least, outputs = self._smallest()
            if wants == "vector":  # the smallest photo's map may have but one place
                side = max(self.least, self.side)
                outputs = self(torch.zeros(1, 3, side, side, device=self.device))
        self.dims = [output.shape[1] for output in outputs]
        self.maps = [output.ndim == 4 for output in outputs]

    def build(self, params, given):
        """The module with its weights: `imgret.networks.backbones.filling.Built`. Sets `side`, `size` and `attends` if not as usual."""
        raise NotImplementedError

    def default_layer(self):
        """The layer that is taken where none is named."""
        raise NotImplementedError

    def ends(self):
        """The layers that classify, in order: the first takes what "avgpool" stands for; none where they are not known."""
        raise NotImplementedError

    def left(self, norm):
        """What is left of a batch normalisation whose numbers went into a convolution; None where that cannot be told."""
        return folding.nothing(norm)

    def arranged(self, layer, output, x):
        """A layer's output (float32), given photos x, as (B, C, H, W) or (B, C), where it is something else."""
        return output

    def linear(self):
        """Names of layers beside those of modules."""
        return ()

    def __call__(self, x):
        """The layers' outputs; see `imgret.networks.backbones.base.Backbone`."""
        import torch

        found = self._local.found = {}
        without = contextlib.nullcontext() if self.trainable else torch.inference_mode()
        with without, contextlib.suppress(_Enough), self._lock:
            self.model(x.to(self.dtype))
        return [self._shaped(layer, found[layer], x) for layer in self.layers]

    @property
    def kept(self):
        """The modules whose outputs the layers are."""
        return [module for module, _ in self._places()]

    def whole(self, x):
        """What the module itself gives, to its end."""
        # taken for answers of the layers: none of theirs is the last then
        self._local.found = dict.fromkeys(range(len(self.layers)))
        return self.model(x.to(self.dtype))

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
            raise UsageError(f"the layer '{layer}' of {self.name} gives no single tensor: {self.valid()}")
        output = self.arranged(layer, output.float(), x)
        if output.ndim == 4 and output.shape[2:] == (1, 1) and self.wants == "vector":
            output = output.flatten(1)
        if output.ndim not in (2, 4):
            raise UsageError(f"the layer '{layer}' of {self.name} gives neither a map nor a vector: {self.valid()}")
        return output

    def _last_map(self):
        found = probing.maps(self.model, self._listed(), self.side)
        if not found:
            raise UsageError(f"{self.name} has no convolutional map that is known: name a layer; {self.valid()}")
        return found[-1]

    def _refuse_repeated(self):
        """Refuse a layer that is used several times: which of its outputs is meant is not said."""
        modules = {layer: module for layer, (module, before) in zip(self.layers, self._places(), strict=True) if not before}
        try:
            shapes = probing.shapes(self.model, modules, self.side)
        except probing.REFUSALS as error:
            text = probing.told(error)
            raise ImgretError(f"{self.name} cannot be run with the weights {self.params.weights}: {text}") from None
        for layer, found in shapes.items():
            if len(found) > 1:
                raise UsageError(f"the layer '{layer}' of {self.name} is used {len(found)} times: name the module around it")
        self.square = {layer: found[0] for layer, found in shapes.items() if found}

    def _places(self):
        """(module, whether its input is meant) of each layer."""
        modules = dict(self.model.named_modules())
        return [self._place(layer, modules) for layer in self.layers]

    def _place(self, layer, modules):
        if layer in modules and layer:
            return modules[layer], False
        ends = self.ends()
        if layer in self.linear():
            return ends[self.linear().index(layer)], False
        if layer == CLASSIFIED and ends:
            return ends[0], True
        raise UsageError(f"{self.name} has no layer '{layer}': {self.valid()}")

    def _listed(self):
        """Names of the outer modules, in order."""
        return [name for name, _ in self.model.named_modules() if name and name.count(".") < LISTED_DEPTH]

    def valid(self):
        """Which layers there are, for messages."""
        return f"choose one of {', '.join([*self._listed(), *self.linear()])}, or a module below"

    def _smallest(self):
        import torch

        problem = None
        for side in SIDES if self.size is None else (self.side,):
            try:
                return side, self(torch.zeros(1, 3, side, side, device=self.device))
            except UsageError:
                raise
            except probing.REFUSALS as error:  # too small for its strides
                problem = error
            except KeyError:
                raise UsageError(f"a layer of {','.join(self.layers)} takes no part in what {self.name} computes: {self.valid()}") from None
        raise ImgretError(f"{self.name} cannot be run: {probing.told(problem)}")
