"""Training without labels: two looks at a photo belong together, and apart from all others."""

import dataclasses

import numpy as np

from imgret import registry
from imgret.errors import ImgretError
from imgret.losses.infonce import InfoNCE
from imgret.registry import param
from imgret.seeds import seed_of
from imgret.trainers.base import Trainer
from imgret.trainers.recipe import params_of
from imgret.training.batches import Batch


@dataclasses.dataclass(frozen=True)
class InstanceParams(registry.Params):
    """How photos are told apart."""

    photos: int = param(32, "photos in a batch, two views of each", minimum=2, maximum=100_000)
    queue: int = param(1024, "vectors of photos before that are told apart too; 0: none", minimum=0, maximum=10_000_000)


class Instance(Trainer):
    """Instance discrimination: of two seeded views of each photo either asks for the other, among the batch and a queue of those before.

    The queue holds vectors as they were when their photos went through; no second, slower network makes them, as the rates of fine-tuning
    change the network little in a queue's length. Photos of the batch that are in the queue from an earlier epoch are left out of it.

    References
    ----------
    Z. Wu, Y. Xiong, S. X. Yu & D. Lin, Unsupervised feature learning via non-parametric instance discrimination, CVPR 2018.
    K. He, H. Fan, Y. Wu, S. Xie & R. Girshick, Momentum contrast for unsupervised visual representation learning, CVPR 2020, section 3.2
    (the queue).
    T. Chen, S. Kornblith, M. Norouzi & G. Hinton, A simple framework for contrastive learning of visual representations, ICML 2020,
    equation 1 (the loss).
    """

    name = "instance"
    labels = "none"
    Params = params_of(InstanceParams, InfoNCE.Params)

    def begin(self, task):
        """See `Trainer.begin`."""
        super().begin(task)
        if task.relations.count < 2:
            raise ImgretError("one photo cannot be told from others: give at least two")
        self._loss = InfoNCE(self.params.part(InfoNCE.Params))
        self._queue, self._of = None, np.empty(0, dtype=np.int64)

    def plan(self, epoch, part, embed):
        """See `Trainer.plan`."""
        order = np.random.default_rng(seed_of(self.task.seed, "batches", epoch)).permutation(self.task.relations.count)
        size = self.params.photos
        starts = range(0, len(order) - len(order) % size or len(order), size)  # the last ones wait for the next epoch, if there are too few
        return [self._batch(order[start : start + size], epoch) for start in starts]

    @staticmethod
    def _batch(photos, epoch):
        views = np.repeat([2 * epoch - 1, 2 * epoch], len(photos))
        return Batch(np.tile(photos, 2), views, np.tile(photos, 2))

    def loss(self, vectors, batch, learned):
        """See `Trainer.loss`."""
        import torch

        labels = torch.from_numpy(batch.labels).to(vectors.device)
        if self._queue is None:
            return self._loss(vectors, labels)
        others = np.flatnonzero(~np.isin(self._of, batch.labels))
        queue = torch.from_numpy(self._queue[others]).to(vectors.device)
        return self._loss(vectors, labels, queue, torch.from_numpy(self._of[others]).to(vectors.device))

    def stepped(self, vectors, batch):
        """See `Trainer.stepped`."""
        if self.params.queue:
            new = vectors.float().cpu().numpy()
            both = new if self._queue is None else np.concatenate([self._queue, new])
            self._queue, self._of = both[-self.params.queue :].copy(), np.concatenate([self._of, batch.labels])[-self.params.queue :]

    def state(self):
        """See `Trainer.state`."""
        return {} if self._queue is None else {"queue": self._queue, "of": self._of}

    def restore(self, state):
        """See `Trainer.restore`."""
        if "queue" in state:
            self._queue, self._of = np.array(state["queue"]), np.array(state["of"])

    def examples(self, batches, count):
        """See `Trainer.examples`."""
        photos = batches[0].photos[: len(batches[0].photos) // 2].tolist()
        return [(photo, [photo], [other for other in photos if other != photo][:5]) for photo in photos[:count]]
