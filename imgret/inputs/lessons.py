"""What a training works with: photos that were looked at, which of them match, and what it is validated by."""

import dataclasses

import numpy as np

from imgret.errors import UsageError
from imgret.evaluation import PROTOCOLS
from imgret.inputs.truths import Truth, check_apart, check_use, truth_of
from imgret.registry import load
from imgret.training.heldout import HeldOut, held_out
from imgret.training.looking import Looked, look
from imgret.training.sides import Sides


@dataclasses.dataclass(frozen=True)
class Judging:
    """What validation photos are judged by: a protocol, and the truth that it reads."""

    judge: object
    truth: Truth


def judging_of(validate, truth, given, protocol):
    """The `Judging` that the command line means; None where there are no photos to validate by.

    Parameters
    ----------
    validate : imgret.listing.Given
    truth : Truth
        Of the photos to train on, which the others have too where nothing else is said.
    given, protocol : str or None
        As `--validate-truth` and `--validate-protocol` have them.

    Raises
    ------
    UsageError, ImgretError
    """
    if not validate:
        for option, value in (("--validate-truth", given), ("--validate-protocol", protocol)):
            if value is not None:
                raise UsageError(f"{option} is about the photos of --validate: give those too")
        return None
    judged_by = truth_of(given, "--validate-truth") if given is not None else Truth() if protocol is not None else truth
    if protocol is None:
        check_use(judged_by)
    kind = load(PROTOCOLS, protocol or judged_by.protocol, "protocol")
    judge = kind()
    judge.check_truth(judged_by.path)
    return Judging(judge, judged_by)


@dataclasses.dataclass(frozen=True)
class Lesson:
    """What a training works with.

    Attributes
    ----------
    looked : Looked
        All photos that are looked at while it goes on.
    numbers : ndarray of int64
        Those of them to train on.
    relations : imgret.relations.Relations
        Of those, numbered from 0.
    validation : object or None
        See `imgret.training.heldout.HeldOut`.
    failed : list
        Photos to train on that could not be used.
    """

    looked: Looked
    numbers: np.ndarray
    relations: object
    validation: object
    failed: list

    @property
    def names(self):
        """Of the photos to train on."""
        return [self.looked.names[number] for number in self.numbers.tolist()]


class Lessons:
    """Makes a `Lesson`.

    Parameters
    ----------
    params : Params
        `near`, `far`, `holdout`, `seed`.
    reading : imgret.training.reading.Reading
    limit : imgret.runs.failures.MaxFailed
    run : imgret.runs.run.Run
    """

    def __init__(self, params, reading, limit, run):
        self._params, self._reading, self._limit, self._run = params, reading, limit, run

    def of(self, listing, truth, folder):
        """With a share of the photos held out.

        Parameters
        ----------
        listing : imgret.found.Listing
        truth : Truth
        folder : str
            Where what is found about photos is kept.
        """
        params, looked = self._params, self._looked(listing, folder)
        relations, _ = self._relations(truth, looked.names)
        kept = held_out(relations, looked.names, params.holdout, params.seed)
        numbers = np.setdiff1d(np.arange(len(looked)), kept)
        validation = HeldOut(relations, kept, bool(truth.form)) if len(kept) else None
        mine = truth.relations([looked.names[number] for number in numbers.tolist()], params.near, params.far)[0]
        return Lesson(looked, numbers, mine, validation, looked.failed)

    def validated(self, listing, truth, others, judging, folder):
        """With other photos, `others`, to be validated by."""
        from imgret.training.validation import Validation

        looked, seen = (self._looked(found, folder) for found in (listing, others))
        relations, groups = self._relations(truth, looked.names)
        theirs = judging.truth.relations(seen.names)[1] if judging.truth.form else [()] * len(seen)
        check_apart((looked.digests, looked.names, groups), (seen.digests, seen.names, theirs))
        validation = Validation(judging.judge, seen.names, judging.truth.path, self._run.jobs)
        for note in validation.notes:
            self._run.report.note(note)
        validation.pairs = [(len(looked) + number, view) for number, view in validation.pairs]
        return Lesson(looked.joined(seen), np.arange(len(looked)), relations, validation, looked.failed)

    def less(self, lesson, photos, truth):
        """The same, with some photos (numbers among those to train on, ascending) kept from training, to be scored beside the others."""
        if not len(photos):
            return lesson
        left = np.setdiff1d(np.arange(len(lesson.numbers)), photos)
        seen = HeldOut(lesson.relations, photos, True)
        seen.pairs = [(int(lesson.numbers[photo]), view) for photo, view in seen.pairs]
        mine = truth.relations([lesson.names[number] for number in left.tolist()], self._params.near, self._params.far)[0]
        validation = seen if lesson.validation is None else Sides(lesson.validation, seen)
        return dataclasses.replace(lesson, numbers=lesson.numbers[left], relations=mine, validation=validation)

    def _looked(self, listing, folder):
        return look(listing, folder, self._reading, self._run, self._limit)

    def _relations(self, truth, names):
        relations, groups, notes = truth.relations(names, self._params.near, self._params.far)
        for note in notes:
            self._run.report.note(note)
        return relations, groups
