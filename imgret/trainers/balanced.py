"""Training by batches of some groups and some photos of each, in which every photo is compared with every other."""

import dataclasses

import numpy as np

from imgret import registry
from imgret.errors import ImgretError
from imgret.losses.infonce import InfoNCE as InfoNCELoss
from imgret.losses.pml import Library
from imgret.losses.smooth_ap import SmoothAP as SmoothAPLoss
from imgret.registry import param
from imgret.seeds import seed_of
from imgret.trainers.base import Trainer
from imgret.trainers.recipe import params_of
from imgret.training.batches import Batch

LEAST = 2  # groups of a batch: one alone has no negatives
AHEAD = 4  # batches' worth of groups among which those are looked for that do not touch each other


@dataclasses.dataclass(frozen=True)
class BalancedParams(registry.Params):
    """How batches are made."""

    groups_per_batch: int = param(16, "groups in a batch; without a truth, photos", minimum=2, maximum=100_000)
    per_group: int = param(4, "photos of each, at most; without a truth, views of each", minimum=2, maximum=10_000)


class Balanced(Trainer):
    """Base of losses of batches.

    An epoch goes through all photos that have a match, about once: each in turn, in an order drawn by the seed, takes matches of its own
    with it that had no turn yet, or others where there are none. What they make counts as one group of a batch, in which no photo of one
    group is a match, or a doubtful one, of a photo of another. Without a truth a group is a photo in several seeded views.
    """

    Loss = None

    def __init__(self, params, *codebooks):
        super().__init__(params, *codebooks)
        self._loss = self.Loss(params.part(self.Loss.Params))

    def begin(self, task):
        """See `Trainer.begin`."""
        super().begin(task)
        self._anchors = self.matched()

    def plan(self, epoch, part, embed):
        """See `Trainer.plan`."""
        order = np.random.default_rng(seed_of(self.task.seed, "batches", epoch)).permutation(self._anchors)
        waiting, batches = list(self._groups(order, epoch)), []
        while waiting:
            chosen, waiting = self._apart(waiting)
            if len(chosen) >= LEAST:  # what is left at the end may be all of one kind
                batches.append(self._batch(chosen, epoch))
        if not batches:
            raise ImgretError("no two groups of photos to train on are apart from each other: there are no negatives; give more photos")
        return batches

    def _groups(self, order, epoch):
        """Groups, the one whose turn it is first: lists of photos."""
        size = self.params.per_group
        done = np.zeros(self.task.relations.count, dtype=bool)
        for photo in order.tolist():
            if done[photo]:
                continue
            if not self.task.labelled:
                yield [photo] * size
                continue
            draw = np.random.default_rng(seed_of(self.task.seed, "group", epoch, self.task.names[photo]))
            group, matches = [photo], self.task.relations.positives(photo)
            for some in (matches[~done[matches]], matches[done[matches]]):
                group += draw.choice(some, min(size - len(group), len(some)), replace=False).tolist()
            done[group] = True
            yield group

    def _apart(self, waiting):
        """Groups for a batch, as they come, none of which touches another; and those that are left."""
        size, chosen, left, taken = self.params.groups_per_batch, [], [], []
        for number, group in enumerate(waiting):
            if len(chosen) == size or number == AHEAD * size:
                return chosen, left + waiting[number:]
            if self._touches(group, taken):
                left.append(group)
            else:
                chosen.append(group)
                taken.extend(set(group))
        return chosen, left

    def _touches(self, group, taken):
        """Whether a photo of a group is no negative of one of those that are taken."""
        for photo in set(group):
            never = self.task.relations.never(photo)
            places = np.minimum(np.searchsorted(never, taken), len(never) - 1)
            if (never[places] == taken).any():
                return True
        return False

    def _batch(self, groups, epoch):
        lengths = [len(group) for group in groups]
        photos = np.concatenate(groups).astype(np.int64)
        views = np.full(len(photos), epoch)
        if not self.task.labelled:
            size = self.params.per_group
            views = (epoch - 1) * size + 1 + np.tile(np.arange(size), len(groups))
        return Batch(photos, views.astype(np.int64), np.repeat([group[0] for group in groups], lengths).astype(np.int64))

    def loss(self, vectors, batch, learned):
        """See `Trainer.loss`."""
        import torch

        return self._loss(vectors, torch.from_numpy(batch.labels).to(vectors.device))

    def examples(self, batches, count):
        """See `Trainer.examples`."""
        found = []
        for label in np.unique(batches[0].labels)[:count].tolist():
            own = batches[0].labels == label
            others = np.unique(batches[0].labels[~own])
            found.append((label, batches[0].photos[own][1:].tolist(), others[:5].tolist()))
        return found


class SmoothAP(Balanced):
    """The average precision of every photo of a batch, smoothed: what is ranked first is what is trained."""

    name = "smooth-ap"
    Loss = SmoothAPLoss
    Params = params_of(BalancedParams, SmoothAPLoss.Params)


class InfoNCE(Balanced):
    """Which of a batch's photos match, told by a softmax over all of them."""

    name = "infonce"
    Loss = InfoNCELoss
    Params = params_of(BalancedParams, InfoNCELoss.Params)


class Metric(Balanced):
    """A loss of pytorch-metric-learning by name, and perhaps one of its miners."""

    name = "metric"
    Loss = Library
    Params = params_of(BalancedParams, Library.Params)
