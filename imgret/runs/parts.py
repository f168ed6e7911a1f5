"""Steps whose output has a row per photo: plan, parts, workers, join."""

import contextlib
import os

from imgret.errors import ImgretError
from imgret.runs import workers
from imgret.store.parts import FolderVanished, Plan, sweep_of
from imgret.store.photos import PhotoWriter, totals_of
from imgret.store.reader import Store
from imgret.store.writer import Writer

JOIN_TRIES = 3


def parse_shard(text):
    """ "I/N" to (I, N)."""
    from imgret.errors import UsageError

    try:
        index, count = map(int, text.split("/"))
    except ValueError:
        raise UsageError(f"`--shard` must be I/N with I from 0 to N - 1, got '{text}'") from None
    if not 0 <= index < count:
        raise UsageError(f"`--shard` must be I/N with I from 0 to N - 1, got '{text}'")
    return index, count


class Step:
    """One run of a per-photo step.

    Parameters
    ----------
    output : imgret.runs.output.Output
    plan : imgret.store.parts.Plan
    worker, setup : see `imgret.runs.workers.run`
    task : callable
        `task(plan, part)`: what a worker needs to know to make a part, or None for nothing more than its number.
    data : dict
        The data columns, as `PhotoWriter` takes them.
    report : imgret.runs.report.Report
    photo_names : dict of bytes to bytes, optional
        Where there is a row per box: the photo that each name of the plan stands for.
    """

    def __init__(self, output, plan, *, worker, setup, task, data, report, jobs, shard=None, photo_names=None):
        self.output, self.plan, self.worker, self.task, self.data = output, plan, worker, task, data
        self.report, self.jobs, self.shard, self.photo_names = report, jobs, shard, photo_names
        self.setup = setup | {"plan_folder": plan.folder, "kind": output.kind, "recipe": output.recipe, "params": output.params}

    def make_parts(self, failures):
        """Make the parts that are missing (of this shard).

        Parameters
        ----------
        failures : callable
            `failures(count, photos, total)`: told of failed photos as parts end; raises where there are too many.

        Returns
        -------
        int
            Parts that are still missing (other shards').
        """
        whole, _ = self.plan.finished()
        index, count = self.shard or (0, 1)
        mine = [part for part in range(len(self.plan)) if part % count == index]
        todo = [part for part in mine if part not in whole]
        if len(mine) > len(todo):
            self.report.note(f"{len(mine) - len(todo)} of {len(mine)} parts are there already")
        photos = sum(_length(self.plan, part) for part in mine)
        done = photos - sum(_length(self.plan, part) for part in todo)
        # several processes that fill the same parts begin at different places, so that they meet only at the end
        first = os.getpid() % len(todo) if todo and count == 1 and self.jobs < len(todo) else 0
        order = todo[first:] + todo[:first]
        failed = 0

        def tasks():
            for part in order:
                if not os.path.exists(self.plan.path(part)):
                    yield {"part": part, **self.task(self.plan, part)}
                else:
                    progress.update(_length(self.plan, part))

        def finished(task, result):
            nonlocal failed
            if result.get("vanished"):
                raise FolderVanished
            failed += result["failed"]
            progress.update(_length(self.plan, task["part"]))
            failures(failed, photos)

        with self.report.progress(photos, "photo" if self.photo_names is None else "row", done) as progress:
            workers.run(
                self.worker,
                self.setup,
                tasks(),
                min(self.jobs, max(1, len(order))),
                finished,
                lambda pids: sweep_of(self.plan.folder, pids),
            )
        whole, retry = self.plan.finished()
        return len(self.plan) - len(whole | retry)

    def shard_done(self, missing):
        """What to say at the end of a shard."""
        index, count = self.shard
        return (
            f"shard {index}/{count} is done; {missing} of {len(self.plan)} parts are missing; the same command without --shard joins them"
        )

    def join(self, pipeline, *, info=None, check=lambda described, failed: None, failed_from=None):
        """Put the parts together under the output's name.

        Parameters
        ----------
        pipeline : imgret.pipeline.Pipeline
        info : dict
        check : callable
            `check(described, failed)` raises where too many photos failed.
        failed_from : list of Store, optional
            Inputs whose failed photos are taken along.

        Returns
        -------
        tuple of int
            Photos described and failed.
        """
        for attempt in range(JOIN_TRIES):
            bad = {}
            totals = totals_of(self._sound_parts(bad), failed_from)
            if not bad:
                break
            for part, problem in bad.items():
                if attempt == JOIN_TRIES - 1:
                    raise ImgretError(f"part {part} stays damaged after making it again ({problem}): is the disk sound?")
                self.report.warn(f"part {part} is damaged; making it again")
                with contextlib.suppress(FileNotFoundError):
                    os.unlink(self._path(part))
            self.make_parts(lambda failed, photos: None)
        check(totals["N"], totals["F"])
        with Writer(self.output.parts.temporary()) as writer:
            photos = PhotoWriter(writer, self.output.kind, self.data, totals)
            for store in self._open_parts():
                photos.copy(store)
                if failed_from is None:
                    photos.copy_failed(store)
            if failed_from is not None:
                photos.copy_all_failed(failed_from)
            writer.fingerprint = photos.fingerprint(self.output.recipe)
            self.output.finish(writer, pipeline, info)
        self.output.parts.remove(self.plan)
        return totals["N"], totals["F"]

    def _path(self, part):
        path = self.plan.path(part)
        return path if os.path.exists(path) else self.plan.path(part, retry=True)

    def _open_parts(self):
        for part in range(len(self.plan)):
            path = self._path(part)
            if not os.path.isdir(self.plan.folder):
                raise FolderVanished
            with Store(path, (self.output.kind,)) as store:
                yield store

    def _sound_parts(self, bad):
        """Yield the parts, open, that are what the plan asks for; put what is wrong with the others into `bad`. A part is small:
        everything in it is checked."""
        for part in range(len(self.plan)):
            if not os.path.isdir(self.plan.folder):
                raise FolderVanished
            try:
                with Store(self._path(part), (self.output.kind,)) as store:
                    problem = self._problem(store, part)
                    if not problem:
                        yield store
            except ImgretError as error:
                problem = str(error)
            if problem:
                bad[part] = problem

    def _problem(self, store, part):
        first, last = self.plan.range(part)
        there = sorted([*store.texts("names"), *store.texts("failed/names")])
        if there != list(self.plan.names[first:last]):
            return "it holds other photos"
        if self.photo_names is not None:
            rows = zip(store.texts("names"), store.photo_names(), strict=True)
            if any(self.photo_names.get(name) != photo for name, photo in rows):
                return "it holds boxes of other photos"
        return next(store.problems(), "")


class PartWorker:
    """Base of what makes parts in a worker process: a subclass has `make(task, starting)`, which makes one and gives its failed photos."""

    def __init__(self, setup):
        self.setup, self.plan = setup, None

    def work(self, task, starting):
        """Make one part; see `imgret.runs.workers.run`. A folder of parts that has gone is told, not raised."""
        try:
            if self.plan is None:
                self.plan = Plan(os.path.dirname(self.setup["plan_folder"]), 0)
            return {"failed": self.make(task, starting)}
        except FolderVanished:
            return {"vanished": True}
        except ImgretError:
            if not os.path.isdir(self.setup["plan_folder"]):
                return {"vanished": True}
            raise


def run_to_end(output, report, body):
    """Run `body()`, which makes an output; where another process finishes it first, and takes the folder of parts away, that is success.

    Raises
    ------
    ImgretError
        What `body` raised, or that the folder of parts has gone, and nobody has finished the output.
    """
    try:
        body()
        return
    except FolderVanished:
        failure = ImgretError(f"the folder of parts of {output.shown} has gone while it was being worked on: run the same command again")
    except ImgretError as error:
        failure = error
    if not output.finished_by_another():
        raise failure
    report.note(f"{output.shown} was finished by another process")


def _length(plan, part):
    first, last = plan.range(part)
    return last - first
