"""Training by classes: each photo nearer the direction of its own class than those of all others."""

import dataclasses

import numpy as np

from imgret import registry
from imgret.errors import ImgretError, counted
from imgret.losses.margins import ArcFace, CosFace, Margin, Softmax
from imgret.names import shown
from imgret.registry import param
from imgret.relations import NO_CLASS, Grouped
from imgret.seeds import seed_of
from imgret.trainers.base import Trainer
from imgret.trainers.coclusters import BLOCK, coclusters
from imgret.trainers.recipe import params_of
from imgret.training.batches import Batch
from imgret.training.sides import held_photos

LOSSES = {kind.name: kind for kind in (Softmax, ArcFace, CosFace)}
AUTO = "auto"
LEAST = 2  # classes
TIGHT = 0.5  # share of the photos that are nearest their own class, from which on classes count as tight


@dataclasses.dataclass(frozen=True)
class ClassParams(registry.Params):
    """How classes are learned."""

    loss: str = param("arcface", f"of the classes: {', '.join(LOSSES)}; {AUTO}: by how they spread", choices=(*LOSSES, AUTO))
    batch: int = param(32, "photos in a batch", minimum=1, maximum=100_000)
    least: int = param(2, "photos of a class, at least: those of smaller ones are left out", minimum=1, maximum=1_000_000)
    coclusters: int = param(50, "classes that photos are divided into where no truth does", minimum=2, maximum=1_000_000)
    seen: float = param(
        0.1, "share of each class's photos that is kept, to score classes that were seen beside others", minimum=0, maximum=0.5
    )


class Classification(Trainer):
    """Classes of a truth, or found by co-clustering the vectors that the network gives at the start.

    Each class is a direction beside the network, at the start the mean of its photos. In an epoch each photo is looked at once, in an order
    drawn by the seed.

    References
    ----------
    A. Zhai & H.-Y. Wu, Classification is a strong baseline for deep metric learning, BMVC 2019.
    """

    name = "classification"
    Params = params_of(ClassParams, Margin)

    def aside(self, task):
        """See `Trainer.aside`."""
        if not task.labelled:
            return super().aside(task)
        return held_photos(self._said(task), task.names, self.params.seen, self.params.least, task.seed)

    def begin(self, task):
        """See `Trainer.begin`."""
        super().begin(task)
        self._loss = None if self.params.loss == AUTO else self._made(self.params.loss)
        self.labels_ = self._numbered(self._said(task)) if task.labelled else None

    def start(self, embed):
        """See `Trainer.start`."""
        everything = np.arange(self.task.relations.count)
        if self.labels_ is None:
            params = self.params
            self.labels_ = coclusters(embed(everything), len(everything), params.coclusters, params.least, self.task.seed)
            self.notes.append(f"{counted(len(everything), 'photo')} in {self.labels_.max() + 1} clusters, which serve as classes")
        photos = np.flatnonzero(self.labels_ >= 0)
        vectors = embed(photos)
        sums, sizes = self._sums(vectors, photos)
        if self._loss is None:
            self._loss = self._chosen(vectors, photos, sums, sizes)
        return self._loss.start(sums.astype(np.float32), np.arange(len(sums)), len(sums))

    def plan(self, epoch, part, embed):
        """See `Trainer.plan`."""
        draw = np.random.default_rng(seed_of(self.task.seed, "order", epoch))
        order = draw.permutation(np.flatnonzero(self.labels_ >= 0))
        parts = np.array_split(order, -(-len(order) // self.params.batch))  # of nearly one size, so that no step is of a few photos
        return [Batch(photos, np.full(len(photos), epoch), self.labels_[photos]) for photos in parts]

    def loss(self, vectors, batch, learned):
        """See `Trainer.loss`."""
        import torch

        return self._loss(vectors, torch.from_numpy(batch.labels).to(vectors.device), learned)

    def state(self):
        """See `Trainer.state`."""
        if self.labels_ is None or self._loss is None:
            return {}
        return {"labels": self.labels_, "loss": np.array([list(LOSSES).index(self._loss.name)], dtype=np.int64)}

    def restore(self, state):
        """See `Trainer.restore`."""
        self.labels_, self._loss = state["labels"], self._made(list(LOSSES)[int(state["loss"][0])])

    def examples(self, batches, count):
        """See `Trainer.examples`."""
        found = []
        for batch in batches[:count]:
            same = batch.labels == batch.labels[0]
            found.append((int(batch.photos[0]), batch.photos[same][1:].tolist(), batch.photos[~same].tolist()))
        return found

    def _made(self, name):
        kind = LOSSES[name]
        return kind(self.params.part(kind.Params))

    def _said(self, task):
        """The class of each photo, `NO_CLASS` where it has none."""
        classes = task.relations.classes
        if classes is not None:
            return classes
        if not isinstance(task.relations, Grouped):
            raise ImgretError(
                "classification learns from classes, and this truth has none: give --truth a CSV with image,group, or folders"
            )
        several = [photo for photo, groups in enumerate(task.relations.groups) if len(groups) > 1]
        raise ImgretError(
            f"classification needs each photo in one class, and {counted(len(several), 'photo')} {'is' if len(several) == 1 else 'are'} in "
            f"several groups, for example {shown(task.names[several[0]])}: name one of each, or use -m smooth-ap"
        )

    def _numbered(self, classes):
        """Classes by number without gaps, those that are too small left out."""
        numbers, sizes = np.unique(classes[classes != NO_CLASS], return_counts=True)
        large = numbers[sizes >= self.params.least]
        if len(large) < LEAST:
            raise ImgretError(
                f"the photos to train on are of {counted(len(large), 'class', 'classes')} with {self.params.least} photos or more: "
                "there is nothing to tell apart; give photos of at least two"
            )
        found = np.where(np.isin(classes, large), np.searchsorted(large, classes), NO_CLASS)
        for what, left in (("without a class", classes == NO_CLASS), ("of smaller classes", (classes != NO_CLASS) & (found == NO_CLASS))):
            if left.any():
                self.notes.append(f"{counted(int(left.sum()), 'photo')} {what} {'is' if left.sum() == 1 else 'are'} left out")
        return found

    def _sums(self, vectors, photos):
        """Of each class the sum of its photos' vectors, float64, and their number."""
        sums = None
        for start in range(0, len(photos), BLOCK):
            some = photos[start : start + BLOCK]
            block = vectors(some)
            sums = np.zeros((self.labels_.max() + 1, block.shape[1])) if sums is None else sums
            np.add.at(sums, self.labels_[some], block)
        return sums, np.bincount(self.labels_[photos])

    def _chosen(self, vectors, photos, sums, sizes):
        """The loss for classes that spread like these."""
        right = 0
        for start in range(0, len(photos), BLOCK):
            some = photos[start : start + BLOCK]
            right += int(nearest_own(vectors(some), self.labels_[some], sums).sum())
        share = right / len(photos)
        name = "arcface" if share > TIGHT else "softmax"
        self.notes.append(f"loss={name}: {share:.1%} of the photos are nearest the mean of their own class, which they are not part of")
        return self._made(name)


def nearest_own(vectors, labels, sums):
    """Whether the mean of a photo's own class, without the photo, is nearer to it by angle than those of all other classes.

    Parameters
    ----------
    vectors : ndarray, shape (N, D), float32
    labels : ndarray, shape (N,), int64
    sums : ndarray, shape (C, D), float64
        Of each class the sum of all its vectors, these among them.

    Returns
    -------
    ndarray, shape (N,), bool
    """
    rows, lengths = np.arange(len(labels)), np.linalg.norm(sums, axis=1)
    scores = vectors @ (sums / np.where(lengths > 0, lengths, 1)[:, None]).T
    rest = sums[labels] - vectors
    lengths = np.linalg.norm(rest, axis=1)
    own = (vectors * rest).sum(axis=1) / np.where(lengths > 0, lengths, 1)
    scores[rows, labels] = -np.inf
    return own > scores.max(axis=1)
