"""Generations: a training that begins again where it began, taught by what it had become."""

import contextlib

from imgret.training.source import vectors_of
from imgret.training.steps import saved


class Generations:
    """Which generation a training is in, and what the ones before it leave to it: weights, of which none takes a gradient.

    Parameters
    ----------
    network : imgret.networks.trainable.Trainable
    count : int
        Generations in all; with one there is nothing to keep.
    epochs : int
        Of each.

    Attributes
    ----------
    epochs : int
    """

    def __init__(self, network, count, epochs):
        self._network, self._count, self.epochs = network, count, epochs
        self._start, self._teacher = {}, {}

    @property
    def total(self):
        """Epochs of all generations."""
        return self._count * self.epochs

    def of(self, epoch):
        """The generation of an epoch, from 0."""
        return max(epoch - 1, 0) // self.epochs

    def begins(self, epoch):
        """Whether another one begins with an epoch."""
        return epoch > 1 and (epoch - 1) % self.epochs == 0

    def begin(self):
        """The first one begins."""
        if self._count > 1:
            self._start = self._now()

    def next(self):
        """What the network has become is the teacher, and the network is what it was when training began."""
        import torch

        self._teacher = self._now()
        with torch.no_grad():
            for name, tensor in self._own.items():
                tensor.copy_(self._start[name])

    def taught(self, inputs):
        """What the teacher makes of inputs: a tuple of the vectors of their regions (N, R, D), without gradient; () where there is none."""
        if not self._teacher:
            return ()
        with lent(self._own, self._teacher):
            return (vectors_of(self._network, inputs, training=True, regional=True),)

    @property
    def _own(self):
        return self._network.learning | self._network.buffers

    def _now(self):
        return {name: tensor.detach().clone() for name, tensor in self._own.items()}

    def state(self):
        """All that a checkpoint keeps of it, by name: dict of str to ndarray."""
        both = {"start": self._start, "teacher": self._teacher}
        return {f"{kind}.{name}": tensor.cpu().numpy() for kind, tensors in both.items() for name, tensor in tensors.items()}

    def restore(self, arrays):
        """Go on from a `state`."""
        self._start, self._teacher = (self._restored(arrays, kind) for kind in ("start", "teacher"))

    def _restored(self, arrays, kind):
        import torch

        if not any(name.startswith(f"{kind}.") for name in arrays):
            return {}
        return {
            name: torch.empty_like(tensor.detach()).copy_(saved(arrays, f"{kind}.{name}", tensor)) for name, tensor in self._own.items()
        }


@contextlib.contextmanager
def lent(own, others):
    """Within the block, in which nothing may take a gradient, tensors hold the values of others.

    Parameters
    ----------
    own, others : dict of str to torch.Tensor
        By the same names.
    """
    kept = {name: tensor.data for name, tensor in own.items()}
    try:
        for name, tensor in own.items():
            tensor.data = others[name]
        yield
    finally:
        for name, tensor in own.items():
            tensor.data = kept[name]
