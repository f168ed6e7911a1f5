"""Losses of pytorch-metric-learning, by name."""

import contextlib
import dataclasses
import hashlib
import inspect
import math
import warnings

from imgret import registry
from imgret.errors import ImgretError, UsageError, quoted
from imgret.losses.base import BatchLoss, precise
from imgret.registry import param

# what cannot be a function of one batch and its labels
UNFIT = {
    "BaseMetricLossFunction": "is the base of others",
    "GenericPairLoss": "is the base of others",
    "DynamicSoftMarginLoss": "remembers earlier batches",
    "SmoothAPLoss": "goes wrong unless a batch has as many groups as photos of each, and is -m smooth-ap here",
    "VICRegLoss": "takes no labels",
    "BaseMiner": "is the base of others",
    "EmbeddingsAlreadyPackagedAsTriplets": "takes no labels",
    "HDCMiner": "is one half of two",
}
LEARN = ("num_classes", "embedding_size", "descriptors_dim", "l")  # parameters that say how large what it learns is
REFUSALS = (AssertionError, TypeError, ValueError, IndexError, NotImplementedError, RuntimeError)


class Library(BatchLoss):
    """A loss of pytorch-metric-learning, and perhaps one of its miners, which chooses pairs or triplets of a batch.

    Both are made anew for each batch, so nothing of an earlier one is left, and what they draw depends on the labels alone.

    Parameters
    ----------
    params : Params

    Raises
    ------
    UsageError
        If the library has no such loss or miner, or not with these options.
    ImgretError
        If it is not installed.

    References
    ----------
    K. Musgrave, S. Belongie & S.-N. Lim, "PyTorch Metric Learning", arXiv:2008.09164, 2020.
    """

    name = "pml"

    @dataclasses.dataclass(frozen=True)
    class Params(registry.Params):
        """What is taken of the library."""

        loss: str = param("MultiSimilarityLoss", "class of pytorch_metric_learning.losses")
        loss_options: tuple[str, ...] = param((), "its own parameters: alpha=2,beta=50")
        miner: str | None = param(None, "class of pytorch_metric_learning.miners that chooses from each batch, or none")
        miner_options: tuple[str, ...] = param((), "its own parameters: epsilon=0.1")

        def __post_init__(self):
            super().__post_init__()
            if self.miner_options and self.miner is None:
                raise UsageError("`miner_options` without a `miner`: name one, or leave them out")

    def __init__(self, params=None):
        super().__init__(params)
        losses, miners = _library()
        self._loss = _Made("loss", fitting(losses), losses, self.params.loss, self.params.loss_options)
        self._miner = None
        if self.params.miner is not None:
            self._miner = _Made("miner", fitting(miners), miners, self.params.miner, self.params.miner_options)

    def __call__(self, vectors, labels, queue=None, queue_labels=None):
        """The loss of a batch; see `BatchLoss`.

        Raises
        ------
        ImgretError
            If the loss or the miner refuses the batch.
        """
        import torch

        vectors = precise(vectors)
        if not self.compared(vectors, labels, queue, queue_labels)[0].shape[0]:
            return vectors.sum() * 0
        try:
            with _drawing(vectors, labels):
                return self._of(vectors, labels, queue, queue_labels)
        except torch.OutOfMemoryError:
            raise
        except REFUSALS as error:
            with_miner = f" with {self.params.miner}" if self._miner else ""
            raise ImgretError(f"{self.params.loss}{with_miner} cannot take this batch ({_said(error)}): choose another loss") from None

    def _of(self, vectors, labels, queue, queue_labels):
        import torch

        loss = self._loss()
        if queue is None:
            return loss(vectors, labels, self._miner()(vectors, labels) if self._miner else None)
        others, theirs = torch.cat([vectors, queue.to(vectors.dtype)]), torch.cat([labels, queue_labels])
        if self._miner:
            chosen = self._miner()(vectors, labels, others, theirs)
        else:
            same = labels[:, None] == theirs
            chosen = (*same.nonzero(as_tuple=True), *(~same).nonzero(as_tuple=True))
        of, match = chosen[:2]
        kept = of != match  # the library does not know that the first of the others are the batch itself
        chosen = (of[kept], match[kept], *(chosen[2:] if len(chosen) == 4 else (chosen[2][kept],)))
        return loss(vectors, labels, chosen, others, theirs)


class _Made:
    """Makes an object of a class of the library, as often as it is called; makes one at once, to know that it can."""

    def __init__(self, family, names, module, name, options):
        if name not in names:
            found = vars(module).get(name)
            reason = _unfit(found) if isinstance(found, type) else ""
            begin = (
                f"{quoted(name)} of pytorch-metric-learning {reason}"
                if reason
                else f"pytorch-metric-learning has no {family} '{quoted(name)}'"
            )
            raise UsageError(f"{begin}; choose one of: {', '.join(names)}")
        self._kind = getattr(module, name)
        self._options = _options(self._kind, options)
        try:
            with warnings.catch_warnings(action="ignore"):
                made = self()
        except REFUSALS as error:
            raise UsageError(f"{name} cannot be made with these options ({_said(error)})") from None
        if any(True for _ in made.parameters()):
            raise UsageError(f"{name} with these options learns something of its own, which is not kept: leave them out")

    def __call__(self):
        return self._kind(**self._options)


def _library():
    """The library's modules of losses and miners."""
    try:
        from pytorch_metric_learning import losses, miners
    except ImportError:
        raise ImgretError("losses by name need pytorch-metric-learning: pip install 'imgret[train]'") from None
    return losses, miners


def fitting(module):
    """Names of a module of the library that are functions of one batch and its labels, in order."""
    return sorted(name for name, found in vars(module).items() if isinstance(found, type) and not _unfit(found))


def _unfit(kind):
    """Why a class cannot be used: "" if it can."""
    from pytorch_metric_learning.losses import BaseMetricLossFunction
    from pytorch_metric_learning.miners import BaseMiner

    if not issubclass(kind, BaseMetricLossFunction | BaseMiner):
        return "is neither a loss of one batch nor a miner"
    needed = [each.name for each in _signature(kind).values() if each.default is each.empty]
    if set(needed) & set(LEARN):
        return "learns vectors of its own, as classification does"
    return UNFIT.get(kind.__name__, "")


def _signature(kind):
    """The parameters of a class by name, those of bases in which it hands on what it does not know among them."""
    found = {}
    for base in kind.__mro__:
        own = inspect.signature(base.__init__).parameters.values() if "__init__" in vars(base) else ()
        named = [each for each in own if each.kind is each.POSITIONAL_OR_KEYWORD or each.kind is each.KEYWORD_ONLY]
        found = {each.name: each for each in named if each.name != "self"} | found
        if own and not any(each.kind is each.VAR_POSITIONAL for each in own):
            return found
    return found


def _options(kind, texts):
    """Values by name from `NAME=VALUE`."""
    known, values = _signature(kind), {}
    for text in texts:
        name, equals, value = (part.strip() for part in text.partition("="))
        if not equals:
            raise UsageError(f"options of {kind.__name__} are NAME=VALUE, got '{quoted(text)}'")
        if name not in known:
            has = f"it has: {', '.join(known)}" if known else "it has none"
            raise UsageError(f"{kind.__name__} has no option `{quoted(name)}`; {has}")
        if name in values:
            raise UsageError(f"`{name}` is given twice")
        values[name] = _value(kind, known[name], value)
    needed = [f"`{name}`" for name, each in known.items() if each.default is each.empty and name not in values]
    if needed:
        raise UsageError(f"{kind.__name__} needs {' and '.join(needed)} among its options")
    return values


def _value(kind, known, text):
    words = {"true": True, "false": False, "none": None}
    if text.lower() in words:
        return words[text.lower()]
    for number in (int, float):
        try:
            value = number(text)
        except ValueError:
            continue
        if math.isfinite(value):
            return value
    if not isinstance(known.default, str):
        raise UsageError(f"`{known.name}` of {kind.__name__} must be a number, true, false or none, got '{quoted(text)}'")
    return text


def _said(error):
    """What the library says, in short."""
    return quoted(" ".join(str(error).split()) or type(error).__name__)


@contextlib.contextmanager
def _drawing(vectors, labels):
    """Whatever the library draws, from torch's generator or numpy's, depends on the labels alone."""
    import numpy as np
    import torch
    from pytorch_metric_learning.utils import common_functions

    seed = int.from_bytes(hashlib.sha256(labels.cpu().numpy().tobytes()).digest()[:4], "little")
    before = common_functions.NUMPY_RANDOM
    with torch.random.fork_rng([vectors.device] if vectors.is_cuda else []):
        torch.manual_seed(seed)
        common_functions.NUMPY_RANDOM = np.random.default_rng(seed)
        try:
            with warnings.catch_warnings(action="ignore"):
                yield
        finally:
            common_functions.NUMPY_RANDOM = before
