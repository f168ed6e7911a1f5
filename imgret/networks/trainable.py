"""A network that learns: photos to vectors, with gradients."""

import contextlib
import copy
import dataclasses
import functools

import numpy as np

from imgret import images
from imgret.errors import ImgretError, UsageError
from imgret.networks import backbones, views
from imgret.networks.backbones import folding, probing
from imgret.networks.backbones.base import SIDES
from imgret.networks.hooks import listening, passed
from imgret.networks.lightened import lightened
from imgret.networks.params import BackboneParams
from imgret.networks.trained import BACKBONE, HEAD

PROBED = 64  # pixels of the side of a photo that is tried, where the network does not need a larger one
CLOSE = 1e-4  # relative: what a network that is run from the frozen layer on may differ from the whole


class Trainable:
    """A backbone with a head, whose weights take gradients.

    Below a frozen layer nothing learns: `maps` gives its output, and `__call__` takes that instead of photos.

    Parameters
    ----------
    params : Params
        Those of `imgret.trainers.recipe.params_of`; settled: see `params`.
    head : imgret.networks.heads.base.VectorHead
    device : str
    given : sequence of str
        Weights files to look at first.

    Attributes
    ----------
    params : Params
        With layer, digest, mean and std as they were found.
    learning : dict of str to torch.Tensor
        Weights that take a gradient, by name.

    Raises
    ------
    ImgretError
    """

    def __init__(self, params, head, device, given=()):
        import torch

        self.device = torch.device(device)
        backbone = backbones.trainable(params.part(BackboneParams), head.wants, device, given)
        self.backbone, self.model, self.head = backbone, backbone.model, head
        self.params = dataclasses.replace(params, **dataclasses.asdict(backbone.params))
        self.least = backbone.least
        self._precision = getattr(torch, params.precision)
        for parameter in self.model.parameters():
            parameter.requires_grad_(True)
        spliced = None
        if params.freeze:
            spliced = self._freeze(params.freeze)
            self._lower = self._folded(params.freeze)
        self._norms = [module for module in self.model.modules() if isinstance(module, torch.nn.modules.batchnorm._BatchNorm)]
        if params.batch_norm == "frozen":
            for module in self._norms:
                for parameter in module.parameters(recurse=False):
                    parameter.requires_grad_(False)
        self._only_used(spliced)
        lightened(self.model, self.backbone.kept, functools.partial(self.backbone, self._probe()))

    def begin(self, sample):
        """Give the head what it begins to learn with; see `Head.start`."""
        self.adopt(self.head.start(self.backbone.dims, sample, self.backbone.learned))

    def adopt(self, learned):
        """Take what the head learns."""
        self.head.training = False
        self.head.learned = {
            name: tensor.detach().clone().to(self.device).requires_grad_(self.params.learn_head) for name, tensor in learned.items()
        }

    def arrays(self):
        """Everything that a file of it keeps, as it is now: dict of str to ndarray."""
        said = set(self.head.trained())
        found = {BACKBONE + name: tensor for name, tensor in self.model.state_dict().items()}
        found |= {HEAD + name: tensor for name, tensor in self.head.learned.items() if name not in said}
        return {name: np.array(tensor.detach().cpu().numpy(), order="C") for name, tensor in found.items()}

    @property
    def fixed(self):
        """What the head has and does not learn (learn_head=false), by name."""
        return {HEAD + name: tensor for name, tensor in self.head.learned.items() if not tensor.requires_grad}

    @property
    def learning(self):
        """What takes a gradient, by name."""
        found = {BACKBONE + name: tensor for name, tensor in self.model.named_parameters() if tensor.requires_grad}
        return found | {HEAD + name: tensor for name, tensor in self.head.learned.items() if tensor.requires_grad}

    @property
    def buffers(self):
        """Statistics that change without a gradient (batch_norm=full), by name."""
        if self.params.batch_norm != "full":
            return {}
        return {BACKBONE + name: tensor for name, tensor in self.model.named_buffers()}

    def __call__(self, inputs, learn=False, training=None, regional=False):
        """Vectors of photos, or of their frozen maps.

        Parameters
        ----------
        inputs : list of ndarray
            Photos of one shape (H, W, 3) uint8, or where a layer is frozen its maps (C, h, w) float32.
        learn : bool
            Whether gradients are wanted.
        training : bool, optional
            Whether vectors are those that losses take, which have a gradient where a head's own have none (signs); by default as `learn`.
        regional : bool
            Whether vectors of regions are wanted; see `VectorHead.regional`.

        Returns
        -------
        torch.Tensor, shape (B, D), or (B, R, D), float32
            Of unit L2 norm.
        """
        import torch

        with torch.set_grad_enabled(learn), self._mode(learn):
            outputs = self._outputs(inputs)
            with torch.autocast(self.device.type, enabled=False):
                self.head.training = learn if training is None else training
                vectors = (self.head.regional if regional else self.head)([output.float() for output in outputs])
                self.head.training = False
                return vectors

    def tried(self):
        """Vectors of a photo of noise: an error where what was adopted does not fit."""
        side = max(self.least, PROBED)
        photos = np.random.default_rng(0).integers(0, 256, (1, side, side, 3), dtype=np.uint8)
        return self(list(self.maps(photos)) if self.params.freeze else list(photos))

    def outputs(self, inputs):
        """The layers' outputs for inputs as `__call__` takes them: list of torch.Tensor, without gradients."""
        import torch

        with torch.no_grad(), self._mode(False):
            return [output.float() for output in self._outputs(inputs)]

    def _outputs(self, inputs):
        return self._upper(inputs) if self.params.freeze else self.backbone(self._photos(inputs))

    def maps(self, photos):
        """The frozen layer's output for photos of one shape: ndarray (B, C, h, w), float32."""
        import torch

        found = []

        def keep(_, __, output):
            found.append(output.float())
            raise _Reached

        with torch.inference_mode(), contextlib.suppress(_Reached), listening([(self._lower.get_submodule(self.params.freeze), keep)]):
            self._lower(self._photos(photos))
        return found[0].contiguous().cpu().numpy()

    def _photos(self, pixels):
        photos = [images.Photo(each, each.shape[1::-1]) for each in pixels]
        return views.tensor(photos, self.params, self.device)

    @contextlib.contextmanager
    def _mode(self, learn):
        import torch

        full = learn and self.params.batch_norm == "full"
        for module in self._norms if full else ():
            module.train()
        lower = self._precision != torch.float32
        try:
            with torch.autocast(self.device.type, dtype=self._precision if lower else torch.bfloat16, enabled=lower):
                yield
        finally:
            for module in self._norms if full else ():
                module.eval()

    def _upper(self, maps):
        """The layers' outputs from the frozen layer's on."""
        import torch

        spliced = torch.from_numpy(np.stack(maps)).to(self.device).contiguous(memory_format=torch.channels_last)
        return self._from(spliced)

    def _from(self, spliced):
        """Run the network with something in place of the frozen layer's output, and nothing in place of what comes before it."""
        import torch

        with _instead({module: passed for module in self._below} | {self._frozen: lambda *_, **__: spliced}):
            return self.backbone(torch.zeros(1, 3, self.least, self.least, device=self.device))

    def _freeze(self, layer):
        """Let a layer be the last that stays as it is; what it gives for the `_probe`."""
        import torch

        modules = dict(self.model.named_modules())
        if layer not in modules or not layer:
            raise UsageError(f"{self.backbone.name} has no layer '{layer}' to freeze: {self.backbone.valid()}")
        self._frozen, photo, found = modules[layer], self._probe(), {}
        before = _Before(self._frozen)
        with torch.no_grad():
            keep = (self._frozen, lambda _, __, output: found.setdefault("map", output))
            with listening([keep, *before.listeners(self.model)], first=True):
                whole = self.backbone(photo)
            spliced = found.get("map")
            if not isinstance(spliced, torch.Tensor) or spliced.ndim != 4:
                raise ImgretError(f"the layer '{layer}' of {self.backbone.name} gives no map: freeze another one")
            for below in (before.outermost(), []):  # where the network does something of its own with what is left out, all of it runs
                self._below = below
                with contextlib.suppress(*probing.REFUSALS, TypeError):
                    if _alike(whole, self._from(spliced)):
                        return spliced
        raise ImgretError(f"what comes after the layer '{layer}' of {self.backbone.name} looks at what is below it too: freeze another one")

    def _folded(self, layer):
        """A copy of the network to the frozen layer, which never changes: as fast as it is to describe photos."""
        import torch

        lower = copy.deepcopy(self.model).cpu()
        for module in lower.modules():
            module._forward_hooks.clear()
            module._forward_pre_hooks.clear()
        lower = folding.folded(lower.requires_grad_(False), [lower.get_submodule(layer)], SIDES[-1])
        return lower.to(device=self.device, memory_format=torch.channels_last)

    def _probe(self):
        """A small photo of noise."""
        import torch

        side = max(self.least, PROBED)
        return torch.rand(1, 3, side, side, generator=torch.Generator().manual_seed(0)).to(self.device)

    def _only_used(self, spliced):
        """Let only those weights take a gradient that the vectors depend on: none below a frozen layer, whose map `spliced` is, nor of a
        classifier.
        """
        import torch

        learning = [parameter for parameter in self.model.parameters() if parameter.requires_grad]
        outputs = self.backbone(self._probe()) if spliced is None else self._from(spliced)
        gradients = (
            torch.autograd.grad(sum(output.sum() for output in outputs), learning, allow_unused=True) if outputs[0].requires_grad else []
        )
        gradients = gradients or [None] * len(learning)
        for parameter, gradient in zip(learning, gradients, strict=True):
            parameter.requires_grad_(gradient is not None)


class _Before:
    """Which modules have answered before another one begins to."""

    def __init__(self, last):
        self._last, self._answered, self._ended = last, [], False

    def listeners(self, model):
        """For `imgret.networks.hooks.listening`."""
        inner = set(self._last.modules())
        return [(module, self._note) for module in model.modules() if module is self._last or module not in inner]

    def _note(self, module, *_):
        self._ended = self._ended or module is self._last
        if not self._ended:
            self._answered.append(module)

    def outermost(self):
        """Those of them that are in no other of them."""
        inside = {inner for module in self._answered for inner in module.modules() if inner is not module}
        return [module for module in dict.fromkeys(self._answered) if module not in inside]


@contextlib.contextmanager
def _instead(answers):
    """Within the block modules answer otherwise: a dict of module to callable."""
    for module, answer in answers.items():
        module.forward = answer
    try:
        yield
    finally:
        for module in answers:
            del module.forward


def _alike(whole, parts):
    pairs = list(zip(whole, parts, strict=True))
    if any(one.shape != other.shape for one, other in pairs):
        return False
    return all(folding.alike(other, one, CLOSE) for one, other in pairs)


class _Reached(Exception):  # noqa: N818 - ends a forward pass at the frozen layer
    pass
