"""A network of torchvision: built by name, given its weights, cut open at its layers."""

import contextlib
import dataclasses
import functools
import math
import os
import re
import threading

from imgret.errors import ImgretError, UsageError
from imgret.networks import folding
from imgret.networks import weights as weights_of
from imgret.networks.hooks import listening

# where the last convolutional map is, by the beginning of the network's name; elsewhere it is looked for
LAST_MAPS = {
    "alexnet": "features.11",
    "vgg": "features",  # less its last max-pooling, see `_default_layer`
    "resnet": "layer4",
    "resnext": "layer4",
    "wide_resnet": "layer4",
    "regnet": "trunk_output",
    "densenet": "features",
    "mobilenet": "features",
    "efficientnet": "features",
    "convnext": "features",
    "squeezenet": "features",
    "mnasnet": "layers",
    "shufflenet": "conv5",
    "googlenet": "inception5b",
    "inception": "Mixed_7c",
    "swin": "permute",
    "vit": "encoder.ln",
}
# network and layer whose output is (B, H, W, C)
CHANNELS_LAST = (r"swin\S* (?!features\.0\.0$)(features.*|norm)", r"convnext\S* .*\.block\.[1-5]")
RECTIFIED = {"densenet": "features"}  # the ReLU behind it is no module
WITH_INPUT_TRANSFORM = ("googlenet", "inception")  # their ImageNet weights expect another normalisation, which they do themselves
SMALLEST = (32, 64, 96, 128, 160, 224)  # sides that are tried for the smallest photo a network takes
LISTED_DEPTH = 2  # of module names in a message


def names():
    """Every classification network of torchvision."""
    import torchvision

    return torchvision.models.list_models(module=torchvision.models)


class _Enough(Exception):  # noqa: N818 - ends a forward pass where all layers have answered
    pass


class Network:
    """A network with weights, ready to give the maps of its layers.

    Parameters
    ----------
    params : imgret.networks.params.Params
    device : str
        "cpu", "cuda", "cuda:1", "mps".
    given : sequence of str
        Weights files to look at first.

    Attributes
    ----------
    params : Params
        With layer, weights, digest, mean and std as they were found.
    least : int
        Side of the smallest square photo it takes, in pixels.
    dims : list of int
        Channels of each layer's output.

    Raises
    ------
    UsageError
        For an unknown network or layer.
    ImgretError
        For weights that cannot be used, and networks that cannot be cut there.
    """

    def __init__(self, params, device="cpu", given=()):
        import torch

        self.device = torch.device(device)
        self.name = params.model
        self.model, found = _build(params, given)
        self.model.eval().requires_grad_(False)
        if self.name.startswith("vit"):
            _any_size(self.model)
        self.layers = params.layer or (self._default_layer(params.pool),)
        self.params = dataclasses.replace(params, layer=self.layers, **found)
        self._refuse_repeated()
        self.model = folding.folded(self.model, [module for module, _ in self._places()], SMALLEST[-1])
        self.dtype = getattr(torch, params.precision)
        self.model.to(device=self.device, dtype=self.dtype, memory_format=torch.channels_last)
        # threads share a network; its hooks write to the calling thread's own place
        self._local = threading.local()
        self._lock = threading.Lock() if self.name.startswith("vit") else contextlib.nullcontext()  # `_any_size` changes the model
        for layer, place in zip(self.layers, self._places(), strict=True):
            self._listen(layer, *place)
        self.least, outputs = self._smallest()
        if params.pool == "fc":  # the smallest photo's map may have but one place
            outputs = self(torch.zeros(1, 3, *2 * [max(self.least, SMALLEST[-1])], device=self.device))
        self.dims = [output.shape[1] for output in outputs]
        self.maps = [output.ndim == 4 for output in outputs]

    def __call__(self, x):
        """The layers' outputs.

        Parameters
        ----------
        x : torch.Tensor, shape (B, 3, H, W)
            Normalised, on the network's device.

        Returns
        -------
        list of torch.Tensor
            Maps (B, C, H', W') or vectors (B, C), float32, one per layer.
        """
        import torch

        found = self._local.found = {}
        with torch.inference_mode(), contextlib.suppress(_Enough), self._lock:
            self.model(x.to(self.dtype))
        return [self._shaped(layer, found[layer], x) for layer in self.layers]

    def _listen(self, layer, module, before):
        def keep(output):
            found = self._local.found
            last = len(found) == len(self.layers) - 1
            # a later layer may work in place
            found[layer] = output if last or not isinstance(output, torch.Tensor) else output.clone()
            if last:
                raise _Enough

        import torch

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
        if self.name.startswith("vit") and output.ndim == 3:
            if self.params.pool == "fc":
                return output[:, 0]  # the class token
            rows, columns = (side // self.model.patch_size for side in x.shape[2:])
            return output[:, 1:].transpose(1, 2).reshape(len(output), -1, rows, columns)
        if output.ndim == 4 and any(re.fullmatch(pattern, f"{self.name} {layer}") for pattern in CHANNELS_LAST):
            output = output.permute(0, 3, 1, 2)
        if layer == RECTIFIED.get(self.name.rstrip("0123456789")):
            output = output.relu()
        if output.ndim == 4 and output.shape[2:] == (1, 1) and self.params.pool == "fc":
            output = output.flatten(1)
        if output.ndim not in (2, 4):
            raise UsageError(f"the layer '{layer}' of {self.name} gives neither a map nor a vector: {self._valid()}")
        return output

    def _default_layer(self, pool):
        if pool == "fc":
            if self.name.startswith("vit"):
                return "encoder.ln"
            return {"alexnet": "fc7", "vgg": "fc7", "squeezenet": "classifier.3"}.get(self.name.rstrip("_bn0123456789"), "avgpool")
        if self.name.startswith("vgg"):
            return f"features.{len(self.model.features) - 2}"
        for prefix, layer in LAST_MAPS.items():
            if self.name.startswith(prefix):
                return layer
        return self._last_map()

    def _last_map(self):
        """The last module that gives a map of more than one place, by a pass of a small photo."""
        import torch

        found = []

        def note(name, output):
            if isinstance(output, torch.Tensor) and output.ndim == 4 and min(output.shape[2:]) > 1:
                found.append(name)

        modules = dict(self.model.named_modules())
        listeners = [(modules[name], lambda _, __, output, name=name: note(name, output)) for name in self._listed()]
        with torch.inference_mode(), listening(listeners):
            self.model(torch.zeros(1, 3, SMALLEST[-1], SMALLEST[-1]))
        if not found:
            raise UsageError(f"{self.name} has no convolutional map that is known: name a layer; {self._valid()}")
        return found[-1]

    def _refuse_repeated(self):
        """Refuse a layer that is used several times: which of its outputs is meant is not said."""
        import torch

        counts = dict.fromkeys(self.layers, 0)

        def count(layer):
            counts[layer] += 1

        listeners = [
            (module, lambda *_, layer=layer: count(layer))
            for layer, (module, before) in zip(self.layers, self._places(), strict=True)
            if not before
        ]
        try:
            with torch.inference_mode(), listening(listeners):
                self.model(torch.zeros(1, 3, SMALLEST[-1], SMALLEST[-1]))
        except (RuntimeError, ValueError, AssertionError, IndexError) as error:
            text = " ".join(str(error).split())[:120]
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
        linear = [module for module in modules.values() if isinstance(module, torch.nn.Linear)]
        classifier = [
            module for module in getattr(self.model, "classifier", torch.nn.Sequential()).modules() if isinstance(module, torch.nn.Linear)
        ]
        if layer in ("fc6", "fc7", "fc8") and len(classifier) == 3:
            return classifier[int(layer[2]) - 6], False
        if layer == "avgpool" and linear:
            head = classifier or linear[-1:]
            return head[0], True
        raise UsageError(f"{self.name} has no layer '{layer}': {self._valid()}")

    def _listed(self):
        """Names of the outer modules, in order."""
        return [name for name, _ in self.model.named_modules() if name and name.count(".") < LISTED_DEPTH]

    def _valid(self):
        found = self._listed()
        extra = ["fc6", "fc7", "fc8"] if self.name.startswith(("alexnet", "vgg")) else []
        return f"choose one of {', '.join([*found, *extra])}, or a module below"

    def _smallest(self):
        import torch

        problem = None
        for side in SMALLEST:
            try:
                return side, self(torch.zeros(1, 3, side, side, device=self.device))
            except UsageError:
                raise
            except (RuntimeError, ValueError, AssertionError, IndexError) as error:  # too small for its strides
                problem = error
            except KeyError:
                raise UsageError(
                    f"a layer of {','.join(self.layers)} takes no part in what {self.name} computes: {self._valid()}"
                ) from None
        raise ImgretError(f"{self.name} cannot be run: {' '.join(str(problem).split())[:120]}")

    @property
    def attends(self):
        """Whether a column sees the whole photo, by attention."""
        return self.name.startswith(("vit", "swin", "maxvit"))

    def stride(self, layer):
        """Pixels of the photo for one place of a layer's map."""
        import torch

        side = SMALLEST[-1]
        output = self(torch.zeros(1, 3, side, side, device=self.device))[self.layers.index(layer)]
        return side / output.shape[2]

    def blank(self):
        """A copy on the CPU whose weights mean nothing."""
        return _bare(self.name, _options(self.name)).to_empty(device="cpu").eval()

    def classifier(self):
        """Weights (K, C) and biases (K,) of the linear classifier over the mean of the last map, for class activation maps.

        Raises
        ------
        UsageError
            If the network ends otherwise.
        """
        import torch

        head = getattr(self.model, "fc", None) or getattr(self.model, "classifier", None) or getattr(self.model, "head", None)
        modules = [] if head is None else [module for module in head.modules() if not isinstance(module, torch.nn.Sequential)]
        plain = (torch.nn.Linear, torch.nn.Dropout, torch.nn.Flatten, torch.nn.Conv2d, torch.nn.ReLU, torch.nn.AdaptiveAvgPool2d)
        linear = [module for module in modules if isinstance(module, (torch.nn.Linear, torch.nn.Conv2d))]
        if len(linear) != 1 or not all(isinstance(module, plain) for module in modules):
            raise UsageError(f"cam needs a linear classifier over the mean of the last map, {self.name} has another: choose another pool")
        weight = linear[0].weight.float().flatten(1)
        if weight.shape[1] != self.dims[0]:
            raise UsageError(f"cam needs the map that is classified, {self.layers[0]} is another: leave `layer` out")
        bias = linear[0].bias
        return weight, torch.zeros(len(weight), device=weight.device) if bias is None else bias.float()


def _build(params, given):
    """The model with its weights, and what was found out about them."""
    import torchvision

    if params.model not in names():
        raise UsageError(f"there is no network '{params.model}' in torchvision {torchvision.__version__}; it has: {', '.join(names())}")
    mean, std = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
    path, options = params.weights, _options(params.model)
    if params.weights == "random":
        model = _random(params, options)
        digest = weights_of.digest_of(model.state_dict())
        if params.digest and digest != params.digest:
            raise ImgretError(
                f"random weights with this seed are others here (SHA-256 {digest[:12]}) than those that were used ({params.digest[:12]}): "
                "another version of torch? Describe the photos again"
            )
    else:
        missing = ""
        if path == "imagenet":
            path, mean, std, missing = weights_of.imagenet(params.model)
        path, data, digest = weights_of.find(path, params.digest, given, missing)
        state = weights_of.load(path, data)
        del data
        if params.model.startswith(WITH_INPUT_TRANSFORM):
            options |= {"aux_logits": any(name.lower().startswith("aux") for name in state), "transform_input": True}
        model = _empty(params.model, options, state)
        weights_of.fit(state, model, params.model, path)
        path = "imagenet" if params.weights == "imagenet" else os.path.abspath(path)
    mean = tuple(value * params.range for value in mean) if params.mean is None else params.mean
    std = tuple(value * params.range for value in std) if params.std is None else params.std
    return model, {"weights": path, "digest": digest, "mean": mean, "std": std}


def _options(name):
    return {"aux_logits": False, "init_weights": False} if name.startswith(WITH_INPUT_TRANSFORM) else {}


def _random(params, options):
    import torch
    import torchvision

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(params.seed)
        return torchvision.models.get_model(params.model, weights=None, **options)


def _empty(name, options, state):
    """A model without weights, with as many classes as the weights have."""
    if name.startswith("vit") and "encoder.pos_embedding" in state and state["encoder.pos_embedding"].ndim == 3:
        patch = int(name.rpartition("_")[2])  # vit_b_16
        side = math.isqrt(max(0, state["encoder.pos_embedding"].shape[1] - 1)) * patch
        options = options | ({"image_size": side} if patch <= side <= 4096 else {})
    model = _bare(name, options)
    ends = [
        (key, value.shape) for key, value in model.state_dict().items() if key.endswith("weight") and value.ndim > 1 and len(value) == 1000
    ]
    key, shape = ends[-1]
    found = state[key].shape if key in state else shape
    if found != shape and found[1:] == shape[1:] and len(state[key]) > 0:
        model = _bare(name, options | {"num_classes": len(state[key])})
    return model


def _bare(name, options):
    """A model whose weights take no memory yet, where that can be."""
    import torch
    import torchvision

    try:
        with torch.device("meta"):
            return torchvision.models.get_model(name, weights=None, **options)
    except NotImplementedError:  # some compute with tensors while they are built
        return torchvision.models.get_model(name, weights=None, **options)


def _any_size(model):
    """Let a vision transformer take photos of any size: its position embedding is resized to the photo's grid of patches."""
    import torch

    grid = model.image_size // model.patch_size
    learned = model.encoder.pos_embedding.detach()

    def process(x):
        rows, columns = (side // model.patch_size for side in x.shape[2:])
        if not rows or not columns:
            raise ValueError("the photo is smaller than a patch")
        place = learned.to(x.device, torch.float32)[:, 1:].reshape(1, grid, grid, -1).permute(0, 3, 1, 2)
        if (rows, columns) != (grid, grid):
            place = torch.nn.functional.interpolate(place, size=(rows, columns), mode="bicubic", align_corners=False)
        place = torch.cat([learned.to(x.device, torch.float32)[:, :1], place.flatten(2).transpose(1, 2)], dim=1).to(x.dtype)
        model.encoder.pos_embedding = torch.nn.Parameter(place, requires_grad=False)
        return model.conv_proj(x).flatten(2).transpose(1, 2)

    model._process_input = process


@functools.lru_cache(maxsize=4)
def shared(params, device, given):
    """A `Network`, one for all that ask for the same: threads share it."""
    return Network(params, device, given)


def device_of(text):
    """A device's name, checked: "auto" is cuda or mps where there is one, else cpu.

    Raises
    ------
    ImgretError
    """
    import torch

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
