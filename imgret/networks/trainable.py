"""A network that learns: photos to vectors, with gradients."""

import contextlib
import dataclasses

import numpy as np

from imgret import images
from imgret.errors import ImgretError, UsageError
from imgret.networks import backbones, views
from imgret.networks.hooks import listening
from imgret.networks.params import BackboneParams
from imgret.networks.trained import BACKBONE, HEAD

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
        head.learned = dict(backbone.learned)
        self._precision = getattr(torch, params.precision)
        for parameter in self.model.parameters():
            parameter.requires_grad_(True)
        if params.freeze:
            self._freeze(params.freeze)
        self._norms = [module for module in self.model.modules() if isinstance(module, torch.nn.modules.batchnorm._BatchNorm)]
        if params.batch_norm == "frozen":
            for module in self._norms:
                for parameter in module.parameters(recurse=False):
                    parameter.requires_grad_(False)
        self._only_used()

    def begin(self, sample):
        """Give the head what it begins to learn with; see `Head.start`."""
        if self.params.learn_head and not self.head.learned:
            started = self.head.start(self.backbone.dims, sample)
        else:
            started = dict(self.head.learned)
        self.adopt(started)

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

    def check_finite(self):
        """Refuse weights that are no longer finite.

        Raises
        ------
        ImgretError
        """
        for name, tensor in self.learning.items():
            if not tensor.isfinite().all():
                raise ImgretError(f"{name} holds values that are not finite: set a smaller `rate`; the last checkpoint is kept")

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

    def __call__(self, inputs, learn=False):
        """Vectors of photos, or of their frozen maps.

        Parameters
        ----------
        inputs : list of ndarray
            Photos of one shape (H, W, 3) uint8, or where a layer is frozen its maps (C, h, w) float32.
        learn : bool
            Whether gradients are wanted.

        Returns
        -------
        torch.Tensor, shape (B, D), float32
            Of unit L2 norm.
        """
        import torch

        with torch.set_grad_enabled(learn), self._mode(learn):
            outputs = self._outputs(inputs)
            with torch.autocast(self.device.type, enabled=False):
                self.head.training = learn
                vectors = self.head([output.float() for output in outputs])
                self.head.training = False
                return vectors

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

        def keep(output):
            found.append(output.float())
            raise _Reached

        with torch.no_grad(), contextlib.suppress(_Reached), listening([(self._frozen, lambda _, __, output: keep(output))]):
            self.model(self._photos(photos))
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
        """Run the network with something in place of the frozen layer's output: what is below runs on one small photo, for nothing."""
        import torch

        with listening([(self._frozen, lambda *_: spliced)]):
            return self.backbone(torch.zeros(1, 3, self.least, self.least, device=self.device))

    def _freeze(self, layer):
        import torch

        modules = dict(self.model.named_modules())
        if layer not in modules or not layer:
            raise UsageError(f"{self.backbone.name} has no layer '{layer}' to freeze: {self.backbone.valid()}")
        self._frozen = modules[layer]
        side = max(self.least, 64)
        photo = torch.rand(1, 3, side, side, generator=torch.Generator().manual_seed(0)).to(self.device)
        found = {}
        with torch.no_grad():
            with listening([(self._frozen, lambda _, __, output: found.setdefault("map", output))]):
                whole = self.backbone(photo)
            spliced = found.get("map")
            if not isinstance(spliced, torch.Tensor) or spliced.ndim != 4:
                raise ImgretError(f"the layer '{layer}' of {self.backbone.name} gives no map: freeze another one")
            parts = self._from(spliced)
        for one, other in zip(whole, parts, strict=True):
            if one.shape != other.shape or (one - other).abs().max() > CLOSE * one.abs().max().clamp_min(1e-30):
                raise ImgretError(f"what comes after the layer '{layer}' of {self.backbone.name} looks at what is below it too: freeze another one")

    def _only_used(self):
        """Let only those weights take a gradient that the vectors depend on: none below a frozen layer, nor of a classifier."""
        import torch

        side = max(self.least, 64)
        photo = torch.rand(1, 3, side, side, generator=torch.Generator().manual_seed(0)).to(self.device)
        learning = [parameter for parameter in self.model.parameters() if parameter.requires_grad]
        if self.params.freeze:
            found = []
            with torch.no_grad(), listening([(self._frozen, lambda _, __, output: found.append(output))]):
                self.backbone(photo)
            outputs = self._from(found[0])
        else:
            outputs = self.backbone(photo)
        gradients = torch.autograd.grad(sum(output.sum() for output in outputs), learning, allow_unused=True) if outputs[0].requires_grad else []
        gradients = gradients or [None] * len(learning)
        for parameter, gradient in zip(learning, gradients, strict=True):
            parameter.requires_grad_(gradient is not None)


class _Reached(Exception):  # noqa: N818 - ends a forward pass at the frozen layer
    pass
