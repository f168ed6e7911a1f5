"""One step of an optimiser, whatever the size of its batch."""

import math

import numpy as np

from imgret.errors import ImgretError
from imgret.training.course import rate_at
from imgret.training.source import alike, vectors_of


class Steps:
    """Makes steps.

    A batch that goes through the network at once is a plain step. Of a larger one the vectors are computed first, without anything kept;
    the loss is taken of all of them, with its gradient by each; then the network is run again, part by part, each with the gradient of
    its vectors. That is the gradient of the whole batch, in the memory of a part (multistage backpropagation).

    Parameters
    ----------
    network : imgret.networks.trainable.Trainable
    trainer : imgret.trainers.base.Trainer
    learned : dict of str to torch.Tensor
        What the trainer learns beside the network; they come to take gradients.
    taught : callable, optional
        `taught(inputs)`: a tuple of what a trainer's `loss` is told by a teacher; see `imgret.training.generations.Generations.taught`.

    References
    ----------
    J. Revaud, J. Almazán, R. S. Rezende & C. R. de Souza, Learning with average precision: training image retrieval with a listwise loss,
    ICCV 2019, section 3.3.
    """

    def __init__(self, network, trainer, learned, taught=lambda inputs: ()):
        import torch

        self.network, self.trainer, self.params, self._taught = network, trainer, network.params, taught
        self.learned = {name: tensor.to(network.device).requires_grad_(True) for name, tensor in learned.items()}
        beside = {f"learned.{name}": tensor for name, tensor in self.learned.items()}
        self.named = network.learning | beside
        if not self.named:
            raise ImgretError("nothing is left to learn: freeze a lower layer, or a head that learns (`pool`, `embed`)")
        heads = [name for name in self.named if not name.startswith("backbone.")]
        plain = [name for name in self.named if name not in heads]
        groups = [(plain, 1.0, self.params.decay), (heads, self.params.head_rate, 0.0)]
        groups = [(names, factor, decay) for names, factor, decay in groups if names]
        self._factors = [factor for _, factor, _ in groups]
        options = [{"params": [self.named[name] for name in names], "weight_decay": decay} for names, _, decay in groups]
        kinds = {"adamw": torch.optim.AdamW, "adam": torch.optim.Adam, "sgd": torch.optim.SGD}
        extra = {"momentum": 0.9} if self.params.optimiser == "sgd" else {}
        self._optimiser = kinds[self.params.optimiser](options, lr=self.params.rate, **extra)

    def make(self, inputs, batch, step, share):
        """One step.

        Parameters
        ----------
        inputs : list of ndarray
            Of the batch's photos.
        batch : imgret.training.batches.Batch
        step : int
            Which of all steps it is, from 0.
        share : float
            Of all steps, made before.

        Returns
        -------
        float, float
            The loss, and the learning rate.

        Raises
        ------
        ImgretError
            If the loss is not finite.
        """
        rate = rate_at(self.params, step, share)
        for group, factor in zip(self._optimiser.param_groups, self._factors, strict=True):
            group["lr"] = rate * factor
        self._optimiser.zero_grad(set_to_none=True)
        parts = alike(inputs, self.params.micro)
        loss, vectors = self._whole(inputs, parts[0], batch) if len(parts) == 1 else self._in_parts(inputs, parts, batch)
        if not math.isfinite(loss):
            raise ImgretError(
                f"the loss of step {step + 1} is {loss}: set a smaller `rate`, or precision=float32; the last checkpoint is kept"
            )
        self._optimiser.step()
        self.trainer.stepped(vectors.detach(), batch)
        return loss, rate

    def _whole(self, inputs, places, batch):
        taught = self._taught(inputs)
        vectors = self.network([inputs[place] for place in places], learn=True, regional=bool(taught))
        loss = self.trainer.loss(vectors, batch, self.learned, *taught)
        self._backward(loss)
        return float(loss.detach()), vectors

    def _in_parts(self, inputs, parts, batch):
        if self.params.batch_norm == "full":
            raise ImgretError(
                f"batch_norm=full needs a batch that goes through the network at once, and this one has {len(parts)} parts (of one "
                f"shape, of at most micro={self.params.micro} photos): set a larger `micro`, or batch_norm=affine"
            )
        taught = self._taught(inputs)
        regional = bool(taught)
        vectors = vectors_of(self.network, inputs, training=True, regional=regional).requires_grad_(True)
        loss = self.trainer.loss(vectors, batch, self.learned, *taught)
        self._backward(loss)
        if vectors.grad is not None and self.network.learning:
            for places in parts:
                self.network([inputs[place] for place in places], learn=True, regional=regional).backward(vectors.grad[places])
        return float(loss.detach()), vectors

    @staticmethod
    def _backward(loss):
        if loss.requires_grad:
            loss.backward()

    def check_finite(self, step):
        """Refuse weights that are no longer finite after so many steps: no checkpoint is made of them.

        Raises
        ------
        ImgretError
        """
        for name, tensor in (self.named | self.network.buffers).items():
            if not tensor.isfinite().all():
                raise ImgretError(f"{name} is not finite after {step} steps: set a smaller `rate`; the last checkpoint is kept")

    def state(self):
        """All that a checkpoint keeps of weights and optimiser, by name: dict of str to ndarray."""
        found = {f"weights.{name}": tensor for name, tensor in (self.named | self.network.buffers).items()}
        for name, tensor in self.named.items():
            for key, value in self._optimiser.state.get(tensor, {}).items():
                if value is not None:
                    found[f"optimiser.{key}.{name}"] = value
        return {name: np.array(tensor.detach().cpu().numpy(), order="C") for name, tensor in found.items()}

    def restore(self, arrays):
        """Go on from a `state`."""
        import torch

        with torch.no_grad():
            for name, tensor in (self.named | self.network.buffers).items():
                tensor.copy_(saved(arrays, f"weights.{name}", tensor))
        for key, array in arrays.items():
            what, _, rest = key.partition(".")
            kind, _, name = rest.partition(".")
            if what == "optimiser" and name in self.named:
                tensor, value = self.named[name], torch.from_numpy(np.array(array))
                # in the layout of its weights: the same order of arithmetic
                self._optimiser.state[tensor][kind] = value if kind == "step" else torch.empty_like(tensor.detach()).copy_(value)


def saved(arrays, name, tensor):
    """What a checkpoint has of a tensor: torch.Tensor.

    Raises
    ------
    LookupError, ValueError
        If it has none, or one of another shape.
    """
    import torch

    found = torch.from_numpy(np.array(arrays[name]))
    if found.shape != tensor.shape:
        raise ValueError(name)
    return found
