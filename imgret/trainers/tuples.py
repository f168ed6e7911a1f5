"""Training by tuples: a query, a photo that matches it, and hard negatives, found anew as the network changes."""

import dataclasses

import numpy as np

from imgret import registry
from imgret.errors import ImgretError
from imgret.losses.contrastive import Contrastive as ContrastiveLoss
from imgret.losses.triplet import Triplet as TripletLoss
from imgret.miners import MINERS
from imgret.miners.nearest import likeness
from imgret.miners.sampled import Sampled
from imgret.registry import load, param
from imgret.seeds import seed_of
from imgret.trainers.base import Trainer
from imgret.trainers.recipe import params_of
from imgret.training.batches import Batch


@dataclasses.dataclass(frozen=True)
class TupleParams(registry.Params):
    """How tuples are made."""

    negatives: int = param(5, "photos in a tuple that do not match", minimum=1, maximum=1000)
    tuples: int = param(5, "tuples in a batch", minimum=1, maximum=100_000)
    queries: int = param(2000, "photos that ask, in each part of an epoch, before negatives are found anew", minimum=1, maximum=10_000_000)
    pool_size: int = param(20_000, "photos among which negatives are looked for", minimum=2, maximum=100_000_000)
    alone: bool = param(True, "photos that match no other ask too: for another view of themselves")
    miner: str = param("hard", f"how negatives are found: {', '.join(MINERS)}", choices=tuple(MINERS))


class Tuples(Trainer):
    """Base of losses of tuples.

    In each part of an epoch as many photos ask as `queries` says, each once in an epoch. Each is given a photo that matches it; where none
    does, and without a truth, that is another view of itself. Its negatives are found among `pool_size` photos by the network as it is.

    The photo that matches is drawn by the seed. Where it is not certain what photos show (positions), and a way to train is `weak`, it is
    the one that the network as it is finds nearest: the best potential positive.

    Attributes
    ----------
    weak : bool
    several : bool
        Whether more than one of those that match are looked at: the nearest.

    References
    ----------
    F. Radenović, G. Tolias & O. Chum, Fine-tuning CNN image retrieval with no human annotation, PAMI 2019, sections 4 and 5.
    """

    Loss = None
    weak = False
    several = False

    def begin(self, task):
        """See `Trainer.begin`."""
        super().begin(task)
        anchors, certain = self.matched(), task.relations.certain
        alone = certain if self.params.alone is None else self.params.alone
        self._anchors = task.relations.askers() if alone else anchors
        self._ranked = self.several or (self.weak and not certain)
        self._loss = self.Loss(self.params.part(self.Loss.Params))
        kind = load(MINERS, self.params.miner, "miner")
        self._miner = kind(self.params.part(kind.Params))

    def parts(self, epoch):
        """See `Trainer.parts`."""
        return -(-len(self._anchors) // self.params.queries)

    def plan(self, epoch, part, embed):
        """See `Trainer.plan`."""
        params, task = self.params, self.task
        draw = np.random.default_rng(seed_of(task.seed, "queries", epoch))
        queries = draw.permutation(self._anchors)[part * params.queries : (part + 1) * params.queries]
        pool = task.relations.answers()
        if len(pool) > params.pool_size:
            pool = np.sort(np.random.default_rng(seed_of(task.seed, "pool", epoch, part)).permutation(pool)[: params.pool_size])
        positives = [self._matching(photo, epoch) for photo in queries.tolist()]
        looks = self._ranked or self._miner.looks
        vectors = embed(np.unique(np.concatenate([queries, *positives, pool]))) if looks else None
        if self._ranked:
            positives = [self._nearest(photo, found, vectors, epoch) for photo, found in zip(queries.tolist(), positives, strict=True)]
        seed = seed_of(task.seed, "miner", epoch, part)
        first = np.array([found[0] for found in positives], dtype=np.int64)
        negatives = self._miner.mine(queries, first, vectors, pool, task.relations, params.negatives, seed)
        whole = (negatives >= 0).all(axis=1)
        if not whole.any():
            raise ImgretError(
                f"no photo to train on has {params.negatives} others that may be its negatives, no two of them of one group or place: set "
                "fewer `negatives`, or give more photos"
            )
        tuples = zip(queries.tolist(), positives, negatives, whole, strict=True)
        return self._batches([(query, found, others) for query, found, others, kept in tuples if kept], epoch)

    def _matching(self, photo, epoch):
        """Photos that match one: itself where none does; one that is drawn where they are not looked at."""
        found = self.task.relations.positives(photo)
        if not len(found):
            return np.array([photo])
        return found if self._ranked else found[[self._drawn(photo, found, epoch)]]

    def _drawn(self, photo, found, epoch):
        draw = np.random.default_rng(seed_of(self.task.seed, "positive", epoch, self.task.names[photo]))
        return draw.integers(len(found))

    def _nearest(self, photo, found, vectors, epoch):
        """Photos that match one, the nearest first (of some that are as near, the one of the smallest number), but before them the one that
        is drawn where all show the same.
        """
        ranked = found[np.argsort(-likeness(vectors, photo, found), kind="stable")]
        if not self.task.relations.certain:
            return ranked
        first = found[self._drawn(photo, found, epoch)]
        return np.concatenate([[first], ranked[ranked != first]])

    @property
    def few(self):
        """How many photos that match are in a tuple, at most: the first ones."""
        return 1

    def _batches(self, tuples, epoch):
        """Batches of tuples: a photo, those that match it, and its negatives."""
        made, size = [self._tuple(number, *each, epoch) for number, each in enumerate(tuples)], self.params.tuples
        return [Batch(*map(np.concatenate, zip(*made[start : start + size], strict=True))) for start in range(0, len(made), size)]

    def _tuple(self, number, query, found, others, epoch):
        """Photos, views and labels of a tuple: those that match have a look of their own, so that a photo and itself differ."""
        photos = np.concatenate([[query], found[: self.few], others]).astype(np.int64)
        views = np.full(len(photos), 2 * epoch - 1)
        views[1 : len(photos) - len(others)] += 1
        return photos, views, np.full(len(photos), number)

    def loss(self, vectors, batch, learned):
        """See `Trainer.loss`."""
        return self._loss(vectors.unflatten(0, (-1, 2 + self.params.negatives)))

    def state(self):
        """See `Trainer.state`."""
        return self._miner.state()

    def restore(self, state):
        """See `Trainer.restore`."""
        self._miner.restore(state)

    def examples(self, batches, count):
        """See `Trainer.examples`."""
        tuples = [batch.photos[batch.labels == label].tolist() for batch in batches[:count] for label in np.unique(batch.labels)]
        negatives = self.params.negatives
        return [(photos[0], photos[1:-negatives], photos[-negatives:]) for photos in tuples[:count]]


class Contrastive(Tuples):
    """Matching photos near each other, others farther apart than a margin."""

    name = "contrastive"
    Loss = ContrastiveLoss
    Params = params_of(TupleParams, Sampled.Params, ContrastiveLoss.Params)


class Triplet(Tuples):
    """Matching photos nearer than others, by a margin."""

    name = "triplet"
    Loss = TripletLoss
    Params = params_of(TupleParams, Sampled.Params, TripletLoss.Params)
