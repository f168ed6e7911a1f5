"""The history of a training as its network's file tells it: checked, as the file may be a stranger's."""

import dataclasses
import math

from imgret.errors import ImgretError

MOST_EPOCHS, MOST_STEPS, MOST_EXAMPLES, MOST_NAMES = 100_000, 100_000, 10_000, 1000
FAILED = ("name", "code", "reason")


@dataclasses.dataclass(frozen=True)
class Epoch:
    """One epoch.

    Attributes
    ----------
    epoch : int
        From 1; 0 is the start.
    step : int or None
        Steps made when it ended.
    score : float or None
        Of the validation; None without any.
    figures : dict of str to float or None
        Its other measures.
    loss, rate : float or None
        Mean loss, and the last learning rate; None of the start.
    """

    epoch: int
    step: int | None
    score: float | None
    figures: dict
    loss: float | None
    rate: float | None


@dataclasses.dataclass(frozen=True)
class Example:
    """Photos that a loss compared, by name, in an epoch."""

    epoch: int
    query: str
    positives: list
    negatives: list


@dataclasses.dataclass(frozen=True)
class History:
    """How a training went.

    Attributes
    ----------
    measure, protocol : str or None
        What was scored, by which protocol; None where nothing was.
    validation : dict
        What it was scored on: `photos`, `queries`, `held_out`. Empty where nothing was.
    best : int
        The epoch whose weights the file has.
    epochs : list of Epoch
    steps : list of (int, int, float, float)
        Epoch, step (from 1, through all epochs), loss, rate; perhaps not of all steps.
    examples : list of Example
    """

    measure: str | None
    protocol: str | None
    validation: dict
    best: int
    epochs: list
    steps: list
    examples: list

    @classmethod
    def of(cls, value):
        """Take a history as JSON has it.

        Raises
        ------
        ValueError
            If it is none.
        """
        try:
            measure, protocol = (value[name] if value[name] is None else _text(value[name]) for name in ("measure", "protocol"))
            validation = {_text(name): _number(item) for name, item in (value["validation"] or {}).items()}
            epochs = [_epoch(entry) for entry in _list(value["epochs"], MOST_EPOCHS)]
            steps = [_step(*entry) for entry in _list(value["steps"], MOST_STEPS)]
            examples = [_example(entry) for entry in _list(value["examples"], MOST_EXAMPLES)]
            numbers, places = [entry.epoch for entry in epochs], [step[:2] for step in steps]
            if numbers != sorted(set(numbers)) or places != sorted(set(places)):
                raise ValueError
            return cls(measure, protocol, validation, _count(value["best"]), epochs, steps, examples)
        except (AttributeError, KeyError, OverflowError, TypeError):
            raise ValueError from None

    @property
    def best_entry(self):
        """The `Epoch` whose weights the file has; None where it is not among the epochs."""
        return next((entry for entry in self.epochs if entry.epoch == self.best), None)

    def sentence(self):
        """What was scored, in words."""
        if self.measure is None:
            return "nothing was scored"
        photos, queries = (self.validation.get(name) for name in ("photos", "queries"))
        held = ", held out of the training" if self.validation.get("held_out") else ""
        return f"{self.measure} by protocol {self.protocol} on {photos} photos, {queries} of which ask{held}"

    def first_answers(self):
        """What first answers are worth by the weights that were kept, in words; "" where that was not found out."""
        figures = {} if self.best_entry is None else self.best_entry.figures
        right, threshold, answered, precision = (figures.get(f"first.{name}") for name in ("right", "threshold", "answered", "precision"))
        if None in (right, threshold, answered, precision):
            return ""
        return (
            f"{right:.1%} of the first answers are right; {precision:.1%} of those with a similarity of at least {threshold:.4f}, "
            f"which {answered:.1%} of the queries have"
        )


def history_of(file):
    """The checked history of an `imgret.runs.networkfiles.NetworkFile`: a `History`.

    Raises
    ------
    ImgretError
    """
    try:
        return History.of(file.history)
    except ValueError:
        raise _unreadable(file, "history") from None


def failed_of(file):
    """The photos that an `imgret.runs.networkfiles.NetworkFile` says could not be used: list of dicts with name, code and reason.

    Raises
    ------
    ImgretError
    """
    for entry in file.failed:
        if not isinstance(entry, dict) or not all(isinstance(entry.get(name), str) for name in FAILED):
            raise _unreadable(file, "failed")
    return [{name: entry[name] for name in FAILED} for entry in file.failed]


def _unreadable(file, name):
    return ImgretError(f"{file.shown} is damaged: its {name} cannot be read; train it again, or copy the file again")


def _epoch(entry):
    step = entry.get("step")
    figures = {_text(name): _number(value) for name, value in entry.get("figures", {}).items()}
    numbers = [_number(entry[name]) for name in ("score", "loss", "rate")]
    return Epoch(_count(entry["epoch"]), step if step is None else _count(step), numbers[0], figures, *numbers[1:])


def _step(epoch, step, loss, rate):
    if None in (loss, rate):
        raise ValueError
    return _count(epoch), _count(step), _number(loss), _number(rate)


def _example(entry):
    names = [[_text(name) for name in _list(entry[part], MOST_NAMES)] for part in ("positives", "negatives")]
    return Example(_count(entry["epoch"]), _text(entry["query"]), *names)


def _list(value, most):
    if not isinstance(value, list) or len(value) > most:
        raise ValueError
    return value


def _text(value):
    if not isinstance(value, str):
        raise ValueError
    return value


def _count(value):
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value < 1 << 53:
        raise ValueError
    return value


def _number(value):
    """A finite number, a truth value, or None."""
    if value is not None and not (isinstance(value, int | float) and math.isfinite(value)):
        raise ValueError
    return value
