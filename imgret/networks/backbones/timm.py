"""A network of timm, cut open at its layers."""

import difflib
import inspect

from imgret.errors import ImgretError, UsageError
from imgret.networks import state_dicts
from imgret.networks.backbones import filling, folding
from imgret.networks.backbones.cut import CLASSIFIED, Cut
from imgret.networks.hooks import listening

ORIGIN = "timm"
CLOSE, CUTOFF = 5, 0.5  # names that are offered, and how alike they are at least
# options of timm's classes by which a transformer takes photos of any size; the first that a class has is set
ANY_SIZE = ({"dynamic_img_size": True}, {"strict_img_size": False})
ALIKE = 1e-3  # relative to the largest score


class Model(filling.Maker):
    """A model of timm, by its name, with the name of its weights behind a dot or without.

    Raises
    ------
    UsageError
        If there is none of that name.
    ImgretError
        Without timm.
    """

    def __init__(self, model):
        try:
            import timm
        except ImportError:
            raise ImgretError("model=timm:NAME needs timm: pip install 'imgret[timm]'") from None
        self.name, self.own = model, model.partition(":")[2]
        architecture, _, tag = self.own.partition(".")
        known = timm.list_models()
        if architecture not in known or (tag and self.own not in timm.list_pretrained()):
            among = [name for name in timm.list_pretrained() if name.startswith(f"{architecture}.")] if architecture in known else known
            raise UsageError(
                f"there is no network '{self.own}' in timm {timm.__version__}{_close(self.own, among)}; "
                f"timm.list_models() and timm.list_pretrained() have all"
            )
        cfg = timm.get_pretrained_cfg(self.own)
        self.mean, self.std = tuple(map(float, cfg.mean)), tuple(map(float, cfg.std))
        self._cfg = cfg
        bare = self._bare()
        self._names = set(bare.state_dict())
        takes = {name for kind in type(bare).__mro__ for name in inspect.signature(kind.__init__).parameters}
        self._options = next((options for options in ANY_SIZE if takes >= options.keys()), {})

    @property
    def fixed(self):
        """(height, width) of the only photos it takes; None where it takes others."""
        return self._cfg.input_size[1:] if self._cfg.fixed_input_size and not self._options else None

    def built(self, **options):
        """A model with weights that timm drew."""
        return self._made(self._options | options)

    def _bare(self):
        """A model whose weights take no memory, where that can be; nothing is drawn for it."""
        import torch

        with torch.random.fork_rng(devices=[]):
            try:
                with torch.device("meta"):
                    return self._made({})
            except (NotImplementedError, RuntimeError):  # some compute with tensors while they are built
                return self._made({})

    def _made(self, options):
        import timm

        return timm.create_model(self.own, pretrained=False, **options)

    def random(self):
        """A model with weights as timm draws them."""
        return self.built()

    def fitting(self, state):
        """How many of a state_dict's names the model has."""
        return len(self._names & state.keys())

    def filled(self, state, path):
        """A model with the weights of a state_dict, of as many classes as that has; none, if it has no classifier."""
        classifier = self._cfg.classifier or ()
        first = f"{classifier if isinstance(classifier, str) else classifier[0]}.weight" if classifier else ""
        options = {}
        if first and first in self._names:
            options = {"num_classes": len(state[first]) if first in state and state[first].ndim else 0}
        model = self.built(**options)
        state_dicts.fit(state, model, self.name, path)
        return model

    def imagenet(self):
        """Nothing is downloaded, and nothing is looked for elsewhere.

        Raises
        ------
        UsageError
        """
        cfg = self._cfg
        place = f"https://huggingface.co/{cfg.hf_hub_id}" if cfg.hf_hub_id else cfg.url
        file = f"model.safetensors from {place}" if cfg.hf_hub_id else f"{place}"
        remedy = f"fetch {file} and give it" if place else "timm knows of none: give your own"
        raise UsageError(f"{self.name} needs a file of weights, and a step downloads nothing: {remedy} with --set weights=FILE")


def _close(name, among):
    found = difflib.get_close_matches(name, among, CLOSE, CUTOFF)
    return f"; did you mean {' or '.join(found)}?" if found else ""


class Timm(Cut):
    """A network of timm; see `imgret.networks.backbones.cut.Cut`.

    Tokens of a transformer are a map where they are as many as its patches, with or without others before them (class, registers); what
    has its channels last is seen by a square photo, whose map has two sides alike.
    """

    def build(self, params, given):
        """The model with its weights; it takes photos of any size where timm's class has an option for it."""
        self._maker = Model(params.model)
        import timm  # there, then

        built = filling.built(params, given, self._maker)
        self.size = self._maker.fixed
        if self.size is not None:
            self.side = self.size[0]
        patches = [module.patch_size for module in built.model.modules() if isinstance(module, timm.layers.PatchEmbed)]
        self._patch = patches[0] if patches else None
        self.attends = self.size is not None or any("Attention" in type(module).__name__ for module in built.model.modules())
        return built

    def __call__(self, x):
        """The layers' outputs; pixels that fill no patch are left out at the right and bottom."""
        return super().__call__(self._cropped(x))

    def _cropped(self, x):
        if self._patch is None:
            return x
        rows, columns = (side // patch for side, patch in zip(x.shape[2:], self._patch, strict=True))
        return x[:, :, : rows * self._patch[0], : columns * self._patch[1]]

    def arranged(self, layer, output, x):
        """Tokens, and channels that come last, as a map."""
        if output.ndim == 3 and self._patch is not None:
            return self._of_tokens(output, x)
        shape = self.square.get(layer, ())
        if output.ndim == 4 and len(shape) == 4 and shape[1] == shape[2] != shape[3]:
            output = output.permute(0, 3, 1, 2)
        return output

    def _of_tokens(self, tokens, x):
        """Tokens (B, N, C) as the map of patches, or the first one where a vector is wanted; their mean, if none is before the patches."""
        rows, columns = (side // patch for side, patch in zip(x.shape[2:], self._patch, strict=True))
        before = tokens.shape[1] - rows * columns
        if before < 0:
            return tokens
        if self.wants == "vector":
            return tokens[:, 0] if before else tokens.mean(dim=1)
        return tokens[:, before:].transpose(1, 2).reshape(len(tokens), -1, rows, columns)

    def default_layer(self):
        """What the classifier takes; or the outermost module that gives what timm calls the features, else the last map."""
        import torch

        if self.wants == "vector":
            return CLASSIFIED
        answered = []
        listeners = [
            (module, lambda _, __, output, name=name: answered.append((name, output)))
            for name, module in self.model.named_modules()
            if name
        ]
        with torch.no_grad(), listening(listeners):
            features = self.model.forward_features(torch.zeros(1, 3, self.side, self.side))
        names = [name for name, output in answered if output is features]
        return names[-1] if names else self._last_map()

    def ends(self):
        """The layers that classify, which may do nothing."""
        found = self.model.get_classifier()
        return list(found) if isinstance(found, tuple) else [found]

    def blank(self):
        """A model whose weights mean nothing."""
        return self._maker.random().eval()

    def left(self, norm):
        """timm's normalisations may have an activation in them, which stays."""
        import timm
        import torch

        if isinstance(norm, timm.layers.BatchNormAct2d):
            return torch.nn.Sequential(norm.drop, norm.act)
        return folding.nothing(norm) if type(norm) is torch.nn.BatchNorm2d else None

    def classifier(self):
        """Weights (K, C) and biases (K,), where they give the model's own scores from the mean of the map."""
        import torch

        linear = self.ends()[0]
        if not isinstance(linear, torch.nn.Linear):
            return super().classifier()
        weight = linear.weight.float()
        bias = torch.zeros(len(weight), device=weight.device) if linear.bias is None else linear.bias.float()
        photo = torch.rand(1, 3, self.side, self.side, generator=torch.Generator().manual_seed(0)).to(self.device)
        with torch.no_grad():
            mean, wanted = self(photo)[0].mean(dim=(2, 3)), self.whole(photo).float()
        if mean.shape[1] != weight.shape[1]:
            return super().classifier()
        scores = torch.nn.functional.linear(mean, weight, bias)
        tolerance = ALIKE if self.dtype == torch.float32 else 50 * ALIKE
        return (weight, bias) if (scores - wanted).abs().max() <= tolerance * wanted.abs().max() else super().classifier()
