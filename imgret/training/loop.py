"""The loop: epochs of planned batches, scored, kept, and gone on with where they were left."""

import contextlib

import numpy as np

from imgret.errors import ImgretError
from imgret.networks import pooling
from imgret.seeds import seed_of
from imgret.training.batches import packed, unpacked
from imgret.training.course import EXAMPLES, Course
from imgret.training.generations import Generations
from imgret.training.source import alike, vectors_of
from imgret.training.steps import Steps

EMBEDDED = 32  # photos whose vectors are computed between two looks at the progress
SAMPLED = 2000  # photos that a head begins to learn from
KEPT = 4  # views of each photo whose maps are kept, where nothing else is said
COLUMNS = 100  # local features of each of them


class Training:
    """A training from its start, or a checkpoint, to its end.

    Parameters
    ----------
    network : imgret.networks.trainable.Trainable
        As it starts.
    trainer : imgret.trainers.base.Trainer
    task : imgret.trainers.base.Task
    source : imgret.training.source.Source
    validation : object or None
        With `pairs` and `score`; see `imgret.training.heldout.HeldOut`.
    keeping : imgret.training.keeping.Keeping
        Where checkpoints and vectors are.
    tell : imgret.training.telling.Telling
    numbers : ndarray of int64
        Of the photos to train on among those of the source: the trainer's photo i is `numbers[i]`.

    Attributes
    ----------
    course : imgret.training.course.Course
    best, last : dict of str to ndarray
        The tensors of a network file, as they were at the best score, and at the end.
    described : dict
        What heads learned that parameters say, at the best score.
    """

    def __init__(self, network, trainer, task, source, validation, keeping, tell, numbers):
        self.network, self.trainer, self.task, self.source = network, trainer, task, source
        self.validation, self._keeping, self._tell, self._numbers = validation, keeping, tell, numbers
        self.params = network.params
        self.course, self.best, self.described, self._plan = Course(), {}, {}, None
        self._generations = Generations(network, trainer.generations, self.params.epochs)

    def run(self):
        """Train to the end.

        Raises
        ------
        ImgretError
            If the loss or a weight is no longer finite.
        """
        self.trainer.begin(self.task)
        arrays, state = self._keeping.load()
        if state is None:
            self.network.begin(self._sample)
            self._generations.begin()
            self._steps = Steps(self.network, self.trainer, self.trainer.start(self.embed), self._generations.taught)
        else:
            try:
                self._resume(arrays, state)
            except (ArithmeticError, AttributeError, LookupError, RuntimeError, TypeError, ValueError):
                raise ImgretError(
                    f"{self._keeping.shown} is no checkpoint of this training: remove it, and run the same command again"
                ) from None
            self._tell.resumed(self.course)
        self._tell.notes(self.trainer.notes)
        while self.course.epoch <= self._generations.total:
            if self.course.epoch > 0:
                self._epoch()
            self._score()
        self.last = self.network.arrays()
        return self

    def embed(self, photos, view=0):
        """Vectors of photos by the network as it is, for a trainer; see `imgret.trainers.base.Trainer.start`."""
        photos = np.asarray(photos, dtype=np.int64)
        pairs = [(photo, view) for photo in self._numbers[photos].tolist()]
        store = self._filled("mined", pairs, "photo looked through", np.float16)
        return lambda asked: store.read(np.searchsorted(photos, asked))

    def _filled(self, name, pairs, unit, dtype):
        """The vectors of (photo, view), in a file."""
        store, done = None, 0
        with contextlib.closing(self._shown(pairs, unit)) as shown:
            for inputs in shown:
                vectors = vectors_of(self.network, inputs).cpu().numpy()
                if not np.isfinite(vectors).all():
                    raise ImgretError(
                        f"the network gives vectors that are not finite after {self.course.total} steps: set a smaller `rate`; "
                        "the last checkpoint is kept"
                    )
                store = self._keeping.vectors(name, len(pairs), vectors.shape[1], dtype) if store is None else store
                store.write(done, vectors)
                done += len(inputs)
        return store

    def _shown(self, pairs, unit):
        """Yield the inputs of (photo, view), a few at a time; how far it has come is told."""
        chunks = [pairs[start : start + EMBEDDED] for start in range(0, len(pairs), EMBEDDED)]
        with contextlib.closing(self.source.batches(chunks, self._tell)) as loaded, self._tell.progress(len(pairs), unit) as progress:
            for inputs in loaded:
                yield inputs
                progress.update(len(inputs))

    def _sample(self, head):
        """What another head gives for some of the photos; see `imgret.networks.heads.base.Head.start`."""
        photos = np.random.default_rng(seed_of(self.params.seed, "sample")).permutation(len(self._numbers))[:SAMPLED]
        pairs = [(photo, 0) for photo in self._numbers[np.sort(photos)].tolist()]
        found = []
        with contextlib.closing(self._shown(pairs, "photo sampled")) as shown:
            for inputs in shown:
                for places in alike(inputs, self.params.micro):
                    found += [*self._sampled(head, self.network.outputs([inputs[place] for place in places]))]
        return np.concatenate(found).astype(np.float32)

    def _sampled(self, head, outputs):
        if head.gives == "vectors":
            yield head(outputs).detach().cpu().numpy()
            return
        for columns in pooling.columns(outputs)[0].detach().cpu().numpy():
            draw = np.random.default_rng(seed_of(self.params.seed, "columns", len(columns)))
            yield columns[np.sort(draw.permutation(len(columns))[:COLUMNS])]

    def _epoch(self):
        """What is left of an epoch."""
        course = self.course
        if self._generations.begins(course.epoch) and not self._plan and not course.part:
            self._generations.next()
            self._tell.notes([f"generation {self._generations.of(course.epoch) + 1}, taught by the one before, begins at the start"])
            self._steps = Steps(self.network, self.trainer, self.trainer.start(self.embed), self._generations.taught)
        self.trainer.generation = self._generations.of(course.epoch)
        parts = self.trainer.parts(course.epoch)
        while course.part < parts:
            if self._plan is None:
                self._plan = self.trainer.plan(course.epoch, course.part, self.embed)
                if course.part == 0:
                    self._note_examples()
                self._save()
            self._part(parts)
            course.part, course.step, self._plan = course.part + 1, 0, None

    def _part(self, parts):
        course, plan, epochs = self.course, self._plan, self._generations.epochs
        before = course.epochs[self._generations.of(course.epoch) * epochs]["step"]
        rest = plan[course.step :]
        lists = [list(zip(self._numbers[batch.photos].tolist(), map(self.view, batch.views.tolist()), strict=True)) for batch in rest]
        title = f"step of epoch {course.epoch}"
        with (
            contextlib.closing(self.source.batches(lists, self._tell)) as loaded,
            self._tell.progress(len(plan), title, course.step) as progress,
        ):
            for batch, inputs in zip(rest, loaded, strict=True):
                share = ((course.epoch - 1) % epochs + (course.part + course.step / len(plan)) / parts) / epochs
                loss, rate = self._steps.make(inputs, batch, course.total - before, share)
                course.stepped(loss, rate)
                self._tell.step(course, loss, rate)
                progress.reach(course.step, message=f"loss {loss:.4g}, rate {rate:.3g}")
                if self._keeping.due():
                    self._save()

    def view(self, number):
        """Which of the views that there are a number means: 0 is the photo as it is."""
        if number == 0 or self.params.augment == "none":
            return 0
        count = self.params.views or (KEPT if self.params.freeze else 0)
        return (number - 1) % count + 1 if count else number

    def _score(self):
        """End an epoch: score it, and keep what is best."""
        score, figures = None, {}
        if self.validation is not None:
            store = self._filled("validation", self.validation.pairs, "photo to validate", np.float32)
            score, figures = self.validation.score(store.read(np.arange(len(self.validation.pairs))))
        rate = self.course.steps[-1][3] if self.course.steps else None
        self._steps.check_finite(self.course.total)
        if self.course.scored(score, figures, rate):
            self.best, self.described = self.network.arrays(), self.network.head.trained()
        self._tell.scored(self.course, self.validation)
        self._save()

    def _note_examples(self):
        numbers = self._numbers.tolist()
        for query, positives, negatives in self.trainer.examples(self._plan, EXAMPLES):
            entry = {"query": numbers[query], "positives": [numbers[photo] for photo in positives]}
            self.course.examples.append({"epoch": self.course.epoch} | entry | {"negatives": [numbers[photo] for photo in negatives]})

    def _save(self):
        self._steps.check_finite(self.course.total)
        arrays = self._steps.state() | {f"trainer.{name}": array for name, array in self.trainer.state().items()}
        arrays |= {f"best.{name}": array for name, array in self.best.items()}
        arrays |= {f"fixed.{name}": tensor.detach().cpu().numpy() for name, tensor in self.network.fixed.items()}
        arrays |= packed(self._plan) | self._generations.state()
        self._keeping.save(arrays, {"course": self.course.to_json(), "described": self.described})

    def _resume(self, arrays, state):
        """Go on from a checkpoint."""
        import torch

        def saved(prefix):
            return {name.removeprefix(prefix): array for name, array in arrays.items() if name.startswith(prefix)}

        def tensors(prefix):
            return {name: torch.from_numpy(np.array(array)) for name, array in saved(prefix).items()}

        self.network.adopt(tensors("weights.head.") | tensors("fixed.head."))
        self._steps = Steps(self.network, self.trainer, tensors("weights.learned."), self._generations.taught)
        self._steps.restore(arrays)
        self._generations.restore(arrays)
        self.trainer.restore(saved("trainer."))
        self.best, self.described = saved("best."), state["described"]
        self.course, self._plan = Course.from_json(state["course"]), unpacked(arrays)
        photos = np.concatenate([batch.photos for batch in self._plan or ()] or [[0]])
        if photos.min() < 0 or photos.max() >= self.task.relations.count or self.course.step > len(self._plan or ()):
            raise ValueError("photos of another training")
        self.network.tried()
