"""What has to be known of torchvision's architectures to cut them open: a record each."""

import dataclasses
import re


@dataclasses.dataclass(frozen=True)
class Architecture:
    """Networks of one build.

    Attributes
    ----------
    prefix : str
        Their names begin so.
    last_map : str
        The module that gives the last convolutional map; a number below 0 counts from the end of a sequence. It is looked for if empty.
    vector : str
        The layer that is taken where a vector is wanted; "avgpool" is what the classifier takes, where no module has that name.
    classifier : str
        The module that classifies.
    linear : tuple of str
        Names of the classifier's linear layers, as papers have them.
    over_mean : bool
        Whether the classifier takes the mean of the last map.
    attends : bool
        Whether a column sees the whole photo, by attention.
    tokens : bool
        Whether layers give a class token and a row of patches, for photos of one size; see `imgret.networks.backbones.tokens`.
    channels_last : str
        Pattern of layers whose output is (B, H, W, C).
    rectified : str
        The layer whose ReLU is no module.
    options : dict
        What torchvision's builder is told.
    transforms_input : bool
        Whether files of weights expect another normalisation, which the network does itself; they may have auxiliary classifiers.
    renamed : tuple of str
        Pattern and replacement: names of weights as old files spell them.
    """

    prefix: str
    last_map: str = ""
    vector: str = "avgpool"
    classifier: str = "classifier"
    linear: tuple[str, ...] = ()
    over_mean: bool = True
    attends: bool = False
    tokens: bool = False
    channels_last: str = ""
    rectified: str = ""
    options: dict = dataclasses.field(default_factory=dict)
    transforms_input: bool = False
    renamed: tuple[str, str] = ("", "")

    def has_channels_last(self, layer):
        """Whether a layer's output is (B, H, W, C)."""
        return re.fullmatch(self.channels_last, layer) is not None if self.channels_last else False

    def respelt(self, state):
        """Weights by the names that torchvision has for them now."""
        old, new = self.renamed
        return {re.sub(old, new, name): value for name, value in state.items()} if old else state


BARE = {"aux_logits": False, "init_weights": False}
ARCHITECTURES = (
    Architecture("alexnet", "features.11", vector="fc7", linear=("fc6", "fc7", "fc8")),
    Architecture("vgg", "features.-2", vector="fc7", linear=("fc6", "fc7", "fc8")),  # before the last max-pooling
    Architecture("resnet", "layer4", classifier="fc"),
    Architecture("resnext", "layer4", classifier="fc"),
    Architecture("wide_resnet", "layer4", classifier="fc"),
    Architecture("regnet", "trunk_output", classifier="fc"),
    Architecture(
        "densenet", "features", rectified="features", renamed=(r"^(.*denselayer\d+\.(?:norm|relu|conv))\.([12]\.)", r"\1\2")
    ),  # norm.1 for norm1
    Architecture("mobilenet", "features"),
    Architecture("efficientnet", "features"),
    Architecture("convnext", "features", channels_last=r".*\.block\.[1-5]"),
    Architecture("squeezenet", "features", vector="classifier.3"),
    Architecture("mnasnet", "layers"),
    Architecture("shufflenet", "conv5", classifier="fc"),
    Architecture("googlenet", "inception5b", classifier="fc", options=BARE, transforms_input=True),
    Architecture("inception", "Mixed_7c", classifier="fc", options=BARE, transforms_input=True),
    Architecture("swin", "permute", classifier="head", attends=True, channels_last=r"(?!features\.0\.0$)(features.*|norm)"),
    Architecture("maxvit", attends=True),
    Architecture("vit", "encoder.ln", vector="encoder.ln", classifier="heads", over_mean=False, attends=True, tokens=True),
)
UNKNOWN = Architecture("", classifier="", over_mean=False)


def architecture_of(name):
    """The record of a network, by its name; of one that is not known, what holds for most."""
    return next((each for each in ARCHITECTURES if name.startswith(each.prefix)), UNKNOWN)
