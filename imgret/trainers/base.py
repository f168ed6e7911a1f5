"""What a way to train is: which photos go through the network together, and what is made small."""

import dataclasses
import hashlib

import numpy as np

from imgret.components import Component


def seed_of(seed, *purpose):
    """A seed of 63 bits for one purpose: a function of what it is for, and of nothing that ran before.

    Parameters
    ----------
    seed : int
    *purpose : int, str or bytes
        ("augment", epoch, photo's name).
    """
    text = b"\0".join(each if isinstance(each, bytes) else str(each).encode() for each in (seed, *purpose))
    return int.from_bytes(hashlib.sha256(text).digest()[:8], "little") >> 1


@dataclasses.dataclass(frozen=True)
class Batch:
    """Photos that make one step of the optimiser.

    Attributes
    ----------
    photos : ndarray, shape (B,), int64
        By number.
    views : ndarray, shape (B,), int64
        Which look at each: 0 is the photo as it is; others are seeded augmentations, the same for the same number.
    labels : ndarray, shape (B,), int64
        What they belong to, as the loss wants it.
    """

    photos: np.ndarray
    views: np.ndarray
    labels: np.ndarray

    def __len__(self):
        return len(self.photos)


@dataclasses.dataclass(frozen=True)
class Task:
    """What a trainer is told when training begins.

    Attributes
    ----------
    relations : imgret.relations.Relations
        Of the photos to train on.
    names : sequence of bytes
        Their names: what seeds are made of.
    labelled : bool
        Whether a truth was given; without one a photo matches its own views only.
    seed : int
    epochs : int
    dim : int
        Length of a vector.
    """

    relations: object
    names: list
    labelled: bool
    seed: int
    epochs: int
    dim: int


class Trainer(Component):
    """Base of all ways to train.

    Everything random is drawn from `seed_of(task.seed, purpose, epoch, photo's name)`. What it keeps from step to step beside tensors that
    are learned is in `state`, so that a run that was killed goes on with the same bytes.

    Attributes
    ----------
    labels : str
        "needed", "welcome" or "none": whether it learns from a truth.
    classes : bool
        Whether that must divide photos into classes, each photo in one.
    Params : type
        Its own parameters, those of its loss and miner among them, beside those of `imgret.trainers.recipe.Recipe`.
    """

    family = "trainer"
    labels = "welcome"
    classes = False

    def begin(self, task, embed):
        """Take what there is to train on.

        Parameters
        ----------
        task : Task
        embed : callable
            `embed(photos, view=0)`: vectors of photos (an ascending ndarray) by the network as it is now, ndarray (n, D), float32 or
            float16, perhaps in a file.

        Returns
        -------
        dict of str to torch.Tensor
            What is learned beside the network.

        Raises
        ------
        ImgretError
            If the photos are not enough for it.
        """
        self.task = task
        return {}

    def parts(self, epoch):
        """In how many parts an epoch is planned: each by the network as it is then."""
        return 1

    def plan(self, epoch, part, embed):
        """The batches of a part of an epoch, in order: a list of `Batch`; epochs are counted from 1."""
        raise NotImplementedError

    def loss(self, vectors, batch, learned):
        """The loss of a batch.

        Parameters
        ----------
        vectors : torch.Tensor, shape (B, D), float32
            Of unit L2 norm, in the order of the batch.
        batch : Batch
        learned : dict of str to torch.Tensor

        Returns
        -------
        torch.Tensor, shape ()
        """
        raise NotImplementedError

    def stepped(self, vectors, batch):
        """A step was made: the vectors, without gradient, for what keeps them (a queue)."""

    def state(self):
        """What it keeps from step to step, by name: dict of str to ndarray. `restore` takes it."""
        return {}

    def restore(self, state):
        """Go on from a `state`."""

    def examples(self, batches, count):
        """Some of a plan to be shown: up to `count` lists of photos, the one that asks, what matches, and what does not.

        Returns
        -------
        list of (int, list of int, list of int)
        """
        return []
