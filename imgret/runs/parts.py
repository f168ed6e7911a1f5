"""Steps whose output has a row per photo: plan, parts, workers, join."""

import dataclasses
import os

import numpy as np

from imgret.errors import counted
from imgret.runs import workers
from imgret.runs.failures import failures_in
from imgret.runs.inparts import InParts
from imgret.runs.joining import FinishedParts, Merging
from imgret.runs.kept import Former, Kept, Unsound, damaged
from imgret.store.photos import PhotoWriter
from imgret.store.plans import FolderVanished
from imgret.store.temporaries import sweep_of
from imgret.store.writer import Writer


@dataclasses.dataclass(frozen=True)
class Work:
    """What makes the parts of an output.

    Attributes
    ----------
    worker, setup : see `imgret.runs.workers.run`
    data : dict
        The data columns, as `PhotoWriter` takes them.
    task : callable, optional
        `task(plan, part)`: a dict of what a worker needs to know of a part, beside its number.
    one_process : bool
        Whether a single process has to make all parts.
    photo_names : dict of bytes to bytes, optional
        Where there is a row per box: the photo that each name of the plan stands for.
    verb : str
        What is done to photos.
    """

    worker: str
    setup: dict
    data: dict
    task: object = lambda plan, part: {}
    one_process: bool = False
    photo_names: dict | None = None
    verb: str = "described"


@dataclasses.dataclass(frozen=True)
class Whole:
    """All photos that an output is to hold, described or failed, in byte order of their names.

    Attributes
    ----------
    names : Texts
    sizes, mtimes : ndarray, shape (N,), int64
        Of their files.
    failed_from : list of Store, optional
        Inputs whose failed photos are taken along: they are none of these.
    before : imgret.runs.kept.Former, optional
        The finished file that the output takes the place of.
    kept : imgret.runs.kept.Kept
        What of these photos stays as it is there.
    places : imgret.store.plans.Places, optional
        Where they are, for other shards.
    """

    names: object
    sizes: np.ndarray
    mtimes: np.ndarray
    failed_from: list | None = None
    before: Former | None = None
    kept: Kept = Kept()
    places: object = None


def make(output, parts, photos, work, pipeline, **how):
    """Make an output that has a row per photo: only those photos that do not stay as they are in the finished file.

    Parameters
    ----------
    output : imgret.runs.output.Output
    parts : imgret.store.parts.Parts
        Its own.
    photos : Whole
    work : callable
        `work(plan, take_over)` gives the `Work`; whether anything may be taken over from the finished file.
    pipeline, how : see `Step.complete`

    Returns
    -------
    Step
        Done.

    Raises
    ------
    ImgretError
    """
    sound = photos.before is not None
    while True:
        if parts.is_planned(photos.names, photos.sizes, photos.mtimes):  # as where the finished file was found to be damaged
            photos = dataclasses.replace(photos, kept=Kept())
        how_planned = {"follow": output.run.shard is not None, "places": photos.places, "made": photos.kept.made(len(photos.names))}
        plan = parts.plan(photos.names, photos.sizes, photos.mtimes, **how_planned)
        step = Step(output, plan, work(plan, sound), photos)
        try:
            step.complete(pipeline, **how)
            return step
        except Unsound as error:
            output.run.report.warn(damaged(output.shown, error, step.work.verb))
            photos, sound = dataclasses.replace(photos, before=None, kept=Kept()), False


class Step(InParts):
    """One run of a per-photo step; see `make`.

    Parameters
    ----------
    output : imgret.runs.output.Output
    plan : imgret.store.parts.Plan
    work : Work
    photos : Whole

    Attributes
    ----------
    described, failed : int
        Photos, once they have been put together; None of a shard.
    zero : int
        Photos whose vectors are all zero, in what has been put together.
    new_failures : list of imgret.runs.failures.Failure
        Of the photos made, those that the finished file before did not know to have failed so.
    """

    zero, described, failed, new_failures = 0, None, None, ()

    def __init__(self, output, plan, work, photos):
        super().__init__(output, plan)
        self.work, self.photos, self.jobs = work, photos, 1 if work.one_process else self.run.jobs
        self.setup = work.setup | {"plan_folder": plan.folder, "shown": output.shown, "kind": output.kind}
        self.setup |= {"recipe": output.recipe, "params": output.params}
        self._parts = FinishedParts(plan, output.kind, work)

    def complete(self, pipeline, *, info=None, limit=None, max_gone=None):
        """Make the parts that are missing, and put all together under the output's name; of a shard, only make its own parts, and say so.

        Parameters
        ----------
        pipeline : imgret.pipeline.Pipeline
        info : dict, optional
        limit : imgret.runs.failures.MaxFailed, optional
        max_gone : imgret.runs.failures.MaxGone, optional
            Of the photos in the finished file, how many may be found unreadable.

        Raises
        ------
        Unsound
            If the finished file is, from which photos are taken over.
        ImgretError
            Also where more photos failed than `limit` allows.
        """
        if self.run.shard is not None:
            self.make_parts()
            self.report.note(self.shard_done())
            return
        self.make_parts(limit)
        self.join(pipeline, info=info, limit=limit, max_gone=max_gone)

    def make_parts(self, limit=None):
        """Make the parts that are missing (of this shard); `limit` ends it early where too many photos fail."""
        mine, todo = self.shares()
        photos = sum(map(self.length, mine))
        self.report.detail(
            f"{photos} of {len(self.plan.names)} photos or rows are this run's: {len(mine)} parts of {self.plan.part_size} at most, "
            f"{len(todo)} to be made, {min(self.jobs, max(1, len(todo)))} at once, in {os.fsdecode(self.plan.folder)}"
        )
        # several processes that fill the same parts begin at different places, so that they meet only at the end
        first = os.getpid() % len(todo) if todo and self.run.shard in (None, (0, 1)) and self.jobs < len(todo) else 0
        failed, copied, several = len(self.photos.kept.failed), len(self.photos.kept.at), 0

        def finished(task, result):
            nonlocal failed, copied, several
            if result.get("vanished"):
                raise FolderVanished
            self.output.give_way()
            failed, copied = failed + result["failed"], copied + result["copied"]
            several += result["several"]
            progress.update(self.length(task["part"]))
            if limit is not None:
                limit.check_so_far(self._failures(), failed, len(self.photos.names))

        done = photos - sum(map(self.length, todo))
        with self.report.progress(photos, "photo" if self.work.photo_names is None else "row", done) as progress:
            workers.run(
                self.work.worker,
                self.setup,
                self._tasks(todo[first:] + todo[:first], progress),
                min(self.jobs, max(1, len(todo))),
                finished,
                lambda pids: sweep_of(self.plan.folder, pids),
            )
        if copied:
            they = "they were" if copied > 1 else "it was"
            self.report.detail(f"{counted(copied, 'photo is', 'photos are')} taken over as {they} {self.work.verb} before")
        if several:
            files, each = ("file holds", "it") if several == 1 else ("files hold", "each")
            self.report.note(f"{several} {files} several pictures: the first of {each} is described")

    def _tasks(self, parts, progress):
        """Yield what is to be made, less what others have made meanwhile."""
        for part in parts:
            if not os.path.exists(self.plan.path(part)):
                yield {"part": part, **self.work.task(self.plan, part)}
            else:
                progress.update(self.length(part))

    def _failures(self):
        """Yield what is known to have failed: in the finished parts, and of what stays."""
        yield from self._parts.failures()
        kept = self.photos.kept
        if len(kept.failed):
            yield from np.array([*failures_in(kept.store)], object)[kept.failed]

    def join(self, pipeline, *, info=None, limit=None, max_gone=None):
        """Put the parts, and what stays, together under the output's name; see `complete`."""
        self.output.give_way()
        totals, failures = self._counted()
        self.photos.kept.count(totals)
        if limit is not None:
            limit.check(self._failures(), totals["N"], totals["F"])
        if self.photos.before is not None:
            self._look_back(failures, max_gone)
        else:
            self.new_failures = failures
        with Writer(self.output.parts.temporary(), self.output.shown) as writer:
            photos = PhotoWriter(writer, self.output.kind, self.work.data, totals)
            merging = Merging(photos, self.photos.kept, self.plan)
            for part, store in enumerate(self._parts):
                merging.add(store, part)
            merging.end()
            if self.photos.failed_from is not None:
                photos.copy_all_failed(self.photos.failed_from)
            writer.fingerprint = photos.fingerprint(self.output.recipe)
            self.output.finish(writer, pipeline, info)
            self.output.tell_mixed(writer, pipeline)
        self.output.parts.remove()
        self.zero, self.described, self.failed = photos.zero, totals["N"], totals["F"]

    def _counted(self):
        """What is in the parts, each sound or made again: axis lengths, and what failed."""

        def looked():
            totals, failures, bad = self._parts.counted(self.photos.failed_from)
            return (totals, failures), bad

        return self.sound(looked, self._parts.path, self.make_parts)

    def _look_back(self, failures, max_gone):
        """Compare what failed with the finished file: too many photos of it may be unreadable now; what is not known is new."""
        before = self.photos.before
        known = {failure.name: failure for failure in failures_in(before)}
        self.new_failures = [failure for failure in failures if not failure.like(known.get(failure.name))]
        if max_gone is not None:
            known_by = {"file_size": self.photos.sizes, "file_mtime_ns": self.photos.mtimes}
            max_gone.check(self.output.shown, len(before), before.gone(self.photos.names, known_by, failures))
