"""A network of torchvision, cut open at its layers."""

from imgret.errors import UsageError
from imgret.networks.backbones import filling, models, tokens
from imgret.networks.backbones.architectures import architecture_of
from imgret.networks.backbones.cut import Cut


class Network(Cut):
    """A network of torchvision; see `imgret.networks.backbones.cut.Cut`."""

    def build(self, params, given):
        """The model with its weights, which takes photos of any size."""
        built = filling.built(params, given, models.Torchvision(params.model))
        self.architecture = architecture_of(params.model)
        self.attends = self.architecture.attends
        if self.architecture.tokens:
            self.changes = not self.trainable
            tokens.any_size(built.model, self.trainable)
        return built

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

    def ends(self):
        """The linear layers that classify."""
        import torch

        return [module for module in self._classifying() if isinstance(module, torch.nn.Linear)]

    def _classifying(self):
        """The modules that classify."""
        name = self.architecture.classifier
        return list(self.model.get_submodule(name).modules()) if name else []

    def linear(self):
        """Names of the classifier's linear layers, as papers have them."""
        return self.architecture.linear

    def arranged(self, layer, output, x):
        """Tokens and channels that come last as a map, what has no ReLU of its own behind it."""
        if self.architecture.tokens and output.ndim == 3:
            return output[:, 0] if self.wants == "vector" else tokens.as_map(output, x.shape[2:], self.model.patch_size)
        if output.ndim == 4 and self.architecture.has_channels_last(layer):
            output = output.permute(0, 3, 1, 2)
        return output.relu() if layer == self.architecture.rectified else output

    def default_layer(self):
        """The last convolutional map, or what the classifier takes."""
        if self.wants == "vector":
            return self.architecture.vector
        if not self.architecture.last_map:
            return self._last_map()
        sequence, _, number = self.architecture.last_map.rpartition(".")
        if number.startswith("-"):
            return f"{sequence}.{len(self.model.get_submodule(sequence)) + int(number)}"
        return self.architecture.last_map
