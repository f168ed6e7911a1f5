"""What a loss is."""

import dataclasses

import numpy as np

from imgret import registry
from imgret.arrays import unit_rows


def precise(vectors):
    """Vectors as losses count with them: in float32 where they are of half precision."""
    return vectors.float() if vectors.dtype.itemsize < 4 else vectors


class Loss:
    """Base of all losses: a subclass of `TupleLoss`, `BatchLoss` or `ClassLoss`, or called as it says itself.

    A loss is a function of vectors, differentiable, that knows nothing of photos, files or networks. It is a pure function: what it
    learns itself (vectors of classes) is handed to it.

    Parameters
    ----------
    params : Params

    Attributes
    ----------
    name : str
        As the family's table has it.
    Params : type
        Its parameters; names do not clash with those of another loss unless they mean the same.
    """

    name = None

    @dataclasses.dataclass(frozen=True)
    class Params(registry.Params):
        """None."""

    def __init__(self, params=None):
        self.params = self.Params() if params is None else params


class TupleLoss(Loss):
    """Of tuples: a query, one photo that matches it, and photos that do not."""

    def __call__(self, vectors):
        """The mean loss of tuples.

        Parameters
        ----------
        vectors : torch.Tensor, shape (B, 2 + n, D), float32
            Of unit L2 norm: [:, 0] the queries, [:, 1] what matches, [:, 2:] the negatives, n ≥ 1.

        Returns
        -------
        torch.Tensor, shape ()
        """
        raise NotImplementedError


class BatchLoss(Loss):
    """Of a batch in which every photo is compared with every other."""

    def __call__(self, vectors, labels, queue=None, queue_labels=None):
        """The loss of a batch.

        Parameters
        ----------
        vectors : torch.Tensor, shape (B, D), float32
            Of unit L2 norm.
        labels : torch.Tensor, shape (B,), int64
            Photos match where these are equal. A photo without a match in the batch and the queue does not count as a query; where none
            has one, the loss is 0 (with a gradient of zeros).
        queue, queue_labels : torch.Tensor, shapes (M, D), (M,), optional
            More photos to compare with, which take no gradient and do not ask.

        Returns
        -------
        torch.Tensor, shape ()
        """
        raise NotImplementedError

    @staticmethod
    def compared(vectors, labels, queue=None, queue_labels=None):
        """Who asks, and whom: a photo without a match does not ask, and none is compared with itself.

        Returns
        -------
        queries, others : torch.Tensor, shapes (Q, D), (B + M, D), float32
        same, asked : torch.Tensor, shapes (Q, B + M), bool
            Which of the others match, and which there are for a query at all.
        """
        import torch

        others = precise(vectors)
        theirs = labels
        if queue is not None:
            others, theirs = torch.cat([others, queue.to(others.dtype)]), torch.cat([labels, queue_labels])
        itself = torch.arange(len(labels), device=labels.device)[:, None] == torch.arange(len(theirs), device=labels.device)
        same = (labels[:, None] == theirs) & ~itself
        asks = same.any(dim=1)
        return others[: len(labels)][asks], others, same[asks], ~itself[asks]


class ClassLoss(Loss):
    """Of photos and the classes they belong to."""

    def start(self, vectors, labels, classes):
        """What is learned beside the network, at the start: the mean vector of each class, L2-normalised.

        Parameters
        ----------
        vectors : ndarray, shape (N, D), float32
            Of all photos, by the network as it is.
        labels : ndarray, shape (N,), int64
            From 0 to `classes` - 1, each there at least once.
        classes : int

        Returns
        -------
        dict of str to torch.Tensor
            `classes`, shape (classes, D), float32.
        """
        import torch

        sums = np.zeros((classes, vectors.shape[1]))
        np.add.at(sums, labels, vectors)
        return {"classes": torch.from_numpy(unit_rows(sums.astype(np.float32)))}

    def __call__(self, vectors, labels, learned):
        """The mean loss of a batch: vectors (B, D) of unit L2 norm, labels (B,) int64, and what `start` began, by name."""
        raise NotImplementedError
