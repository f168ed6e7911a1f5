"""What a way to train is: which photos go through the network together, and what is made small."""

import dataclasses

import numpy as np

from imgret.components import Component
from imgret.errors import ImgretError

LEAST = 2  # clusters that photos must fall into, so that there are negatives


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
        Of each generation.
    """

    relations: object
    names: list
    labelled: bool
    seed: int
    epochs: int


class Trainer(Component):
    """Base of all ways to train.

    Everything random is drawn from `imgret.seeds.seed_of(task.seed, purpose, epoch, photo's name)`. What it keeps from step to step beside
    tensors that are learned is in `state`, so that a run that was killed goes on with the same bytes.

    Attributes
    ----------
    labels : str
        "needed", "welcome" or "none": whether it learns from a truth.
    Params : type
        Its own parameters, those of its loss and miner among them, beside those of `imgret.trainers.recipe.Recipe`.
    generations : int
        How often training begins again with the network as it was at first, taught by what it has become: each time with all epochs.
    generation : int
        Which of them it is in, from 0; the loop says so.
    notes : list of str
        What is to be told once `begin` and `start` have come back, a sentence each.
    """

    family = "trainer"
    labels = "welcome"
    generations = 1
    generation = 0

    def aside(self, task):
        """Photos that it keeps from training to be scored on what it sees: ascending, ndarray of int64.

        Parameters
        ----------
        task : Task
            Of photos none of which are held out otherwise; `begin` is told of those that are left.
        """
        return np.empty(0, dtype=np.int64)

    def begin(self, task):
        """Take what there is to train on; at the start, and where a run goes on.

        Parameters
        ----------
        task : Task

        Raises
        ------
        ImgretError
            If the photos are not enough for it.
        """
        self.task, self.notes = task, []

    def matched(self):
        """Photos that another one matches, ascending, for ways that compare photos: ndarray of int64.

        Raises
        ------
        ImgretError
            If there is none, or nothing that does not match.
        """
        anchors = self.task.relations.anchors()
        if not len(anchors):
            raise ImgretError(self.task.relations.lonely)
        relations = self.task.relations
        if len(np.unique(relations.clusters)) < LEAST or not (relations.certain or self._apart(anchors)):
            raise ImgretError(relations.alike)
        return anchors

    def _apart(self, anchors):
        """Whether one has a negative: mostly the first, where photos that were taken near each other may be of several clusters."""
        relations = self.task.relations
        answers = relations.answers()
        return any(len(np.setdiff1d(answers, relations.never(photo), assume_unique=True)) for photo in anchors.tolist())

    def start(self, embed):
        """What is learned beside the network, as it is at the start: dict of str to torch.Tensor, by name.

        Parameters
        ----------
        embed : callable
            `embed(photos, view=0)`: the vectors of photos (an ascending ndarray) by the network as it is now, as a callable:
            `vectors(some)` gives those of some of them, ascending, as ndarray (n, D), float32. They are in a file.
        """
        return {}

    def parts(self, epoch):
        """In how many parts an epoch is planned: each by the network as it is then."""
        return 1

    def plan(self, epoch, part, embed):
        """The batches of a part of an epoch, in order: a list of `imgret.training.batches.Batch`; epochs are counted from 1."""
        raise NotImplementedError

    def loss(self, vectors, batch, learned):
        """The loss of a batch.

        Parameters
        ----------
        vectors : torch.Tensor, shape (B, D), float32
            Of unit L2 norm, in the order of the batch.
        batch : Batch
        learned : dict of str to torch.Tensor

        Of generations after the first `vectors` are those of all regions, (B, R, D), see `imgret.networks.heads.base.VectorHead.regional`,
        and a fourth argument has the same by the generation before, without gradient.

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
