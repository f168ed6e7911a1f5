"""How far a training has come, in a form that a checkpoint keeps."""

import dataclasses
import math

import numpy as np

MOST_STEPS = 2000  # that the history keeps
EXAMPLES = 4  # tuples of an epoch that the history keeps
EXAMPLE = {"epoch", "query", "positives", "negatives"}


@dataclasses.dataclass
class Course:
    """Where a training is, and what has been so far.

    Attributes
    ----------
    epoch, part, step : int
        The next step's: epochs from 1, parts and steps from 0. Epoch 0 is the start, which is only scored.
    total : int
        Steps made.
    best : int
        The epoch with the best score; -1 while there is none.
    epochs : list of dict
        `epoch`, `step` (of all, the last one of it), `score`, `figures`, `loss`, `rate`.
    steps : list of list
        [epoch, step of all from 1, loss, rate], thinned.
    every : int
        Of how many steps one is kept.
    examples : list of dict
        `epoch`, `query`, `positives`, `negatives`: numbers of photos.
    losses : list of float
        Of the steps of this epoch.
    """

    epoch: int = 0
    part: int = 0
    step: int = 0
    total: int = 0
    best: int = -1
    epochs: list = dataclasses.field(default_factory=list)
    steps: list = dataclasses.field(default_factory=list)
    every: int = 1
    examples: list = dataclasses.field(default_factory=list)
    losses: list = dataclasses.field(default_factory=list)

    def stepped(self, loss, rate):
        """One step more was made."""
        self.total += 1
        if (self.total - 1) % self.every == 0:
            self.steps.append([self.epoch, self.total, loss, rate])
        if len(self.steps) > MOST_STEPS:
            self.every *= 2
            self.steps = [step for step in self.steps if (step[1] - 1) % self.every == 0]
        self.losses.append(loss)
        self.step += 1

    def scored(self, score, figures, rate):
        """An epoch has ended with a score, or none; whether it is the best so far."""
        loss = float(np.mean(self.losses)) if self.losses else None
        self.epochs.append({"epoch": self.epoch, "step": self.total, "score": score, "figures": figures, "loss": loss, "rate": rate})
        self.losses = []
        before = [each["score"] for each in self.epochs[:-1]]
        better = score is None or not before or score > max(each for each in before if each is not None)
        if better:
            self.best = self.epoch
        self.epoch, self.part, self.step = self.epoch + 1, 0, 0
        return better

    def history(self, validation, names):
        """What a network file says of it: dict, ready for JSON.

        Parameters
        ----------
        validation : object or None
            See `imgret.training.heldout.HeldOut`.
        names : list of str
            Of all photos.
        """
        found = {"measure": None, "protocol": None, "validation": None, "best": self.best, "epochs": self.epochs, "steps": self.steps}
        if validation is not None:
            found |= {"measure": validation.measure, "protocol": validation.protocol, "validation": validation.told}
        lists = ("positives", "negatives")
        found["examples"] = [
            {"epoch": each["epoch"], "query": names[each["query"]]} | {key: [names[photo] for photo in each[key]] for key in lists}
            for each in self.examples
        ]
        return found

    def to_json(self):
        """Plain values."""
        return dataclasses.asdict(self)

    @classmethod
    def from_json(cls, data):
        """What `to_json` gave.

        Raises
        ------
        TypeError, ValueError
            Where it is something else.
        """
        found = cls(**data)
        for field in dataclasses.fields(cls):
            value = getattr(found, field.name)
            kind = type(field.default) if field.default is not dataclasses.MISSING else list
            if type(value) is not kind:
                raise TypeError(field.name)
        numbers = [found.epoch, found.part, found.step, found.total, found.every - 1, found.best + 1]
        scored = [each["epoch"] for each in found.epochs]
        if min(numbers) < 0 or scored != list(range(found.epoch)) or found.best >= max(found.epoch, 1):
            raise ValueError("a course that cannot be")
        if not all(len(step) == 4 for step in found.steps) or not all(EXAMPLE <= set(each) for each in found.examples):
            raise ValueError("a course that cannot be")
        return found


def rate_at(recipe, step, share):
    """The learning rate of a step, from 0, when a `share` of all steps has been made.

    It rises in a straight line in `warmup` steps, and falls from `rate` to `rate` · `final_rate`: along half a cosine (Loshchilov & Hutter,
    ICLR 2017, equation 5, without restarts), or by the same factor with every step.
    """
    if step < recipe.warmup:
        return recipe.rate * (step + 1) / (recipe.warmup + 1)
    if recipe.schedule == "cosine":
        return recipe.rate * (recipe.final_rate + (1 - recipe.final_rate) * (1 + math.cos(math.pi * share)) / 2)
    if recipe.schedule == "exponential":
        return recipe.rate * recipe.final_rate**share
    return recipe.rate
