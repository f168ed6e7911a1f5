"""Steps whose output has a row per photo: plan, parts, workers, join."""

import contextlib
import dataclasses
import os

from imgret.errors import ImgretError
from imgret.features import LocalFeatures
from imgret.runs import workers
from imgret.store.photos import PhotoWriter, misfit, totals_of
from imgret.store.plans import FolderVanished, Plan, publish_part
from imgret.store.reader import Store
from imgret.store.temporaries import sweep_of, temporary_name
from imgret.store.writer import Writer

JOIN_TRIES = 3


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
    """

    worker: str
    setup: dict
    data: dict
    task: object = lambda plan, part: {}
    one_process: bool = False
    photo_names: dict | None = None


class Step:
    """One run of a per-photo step.

    Parameters
    ----------
    output : imgret.runs.output.Output
    plan : imgret.store.parts.Plan
    work : Work

    Attributes
    ----------
    zero : int
        Photos whose vectors are all zero, in what has been put together.
    """

    zero = 0

    def __init__(self, output, plan, work):
        self.output, self.plan, self.work, self.run = output, plan, work, output.run
        self.report, self.jobs = self.run.report, 1 if work.one_process else self.run.jobs
        self.setup = work.setup | {"plan_folder": plan.folder, "shown": output.shown, "kind": output.kind}
        self.setup |= {"recipe": output.recipe, "params": output.params}

    def complete(self, pipeline, *, info=None, limit=None, failed_from=None):
        """Make the parts that are missing, and put all together under the output's name; of a shard, only make its own parts, and say so.

        Parameters
        ----------
        pipeline : imgret.pipeline.Pipeline
        info : dict, optional
        limit : imgret.runs.failures.Limit, optional
        failed_from : list of Store, optional
            Inputs whose failed photos are taken along.

        Returns
        -------
        tuple of int, or None
            Photos described and failed; None of a shard.

        Raises
        ------
        ImgretError
            Also where more photos failed than `limit` allows.
        """
        if self.run.shard is not None:
            self.make_parts()
            self.report.note(self._shard_done())
            return None
        self.make_parts(limit)
        return self.join(pipeline, info=info, limit=limit, failed_from=failed_from)

    def make_parts(self, limit=None):
        """Make the parts that are missing (of this shard); `limit` ends it early where too many photos fail."""
        whole, _ = self.plan.finished()
        index, count = self.run.shard or (0, 1)
        mine = [part for part in range(len(self.plan)) if part % count == index]
        todo = [part for part in mine if part not in whole]
        if len(mine) > len(todo):
            self.report.note(f"{len(mine) - len(todo)} of {len(mine)} parts are there already")
        photos = sum(map(self._length, mine))
        self.report.detail(
            f"{photos} of {len(self.plan.names)} photos or rows are this run's: {len(mine)} parts of {self.plan.part_size} at most, "
            f"{len(todo)} to be made, {min(self.jobs, max(1, len(todo)))} at once, in {os.fsdecode(self.plan.folder)}"
        )
        # several processes that fill the same parts begin at different places, so that they meet only at the end
        first = os.getpid() % len(todo) if todo and count == 1 and self.jobs < len(todo) else 0
        failed = copied = several = 0

        def finished(task, result):
            nonlocal failed, copied, several
            if result.get("vanished"):
                raise FolderVanished
            self.output.give_way()
            failed, copied = failed + result["failed"], copied + result["copied"]
            several += result["several"]
            progress.update(self._length(task["part"]))
            if limit is not None:
                limit.check_so_far(self.plan, failed, photos)

        done = photos - sum(map(self._length, todo))
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
            self.report.detail(f"{copied} photos are taken over as they were described before")
        if several:
            files, each = ("file holds", "it") if several == 1 else ("files hold", "each")
            self.report.note(f"{several} {files} several pictures: the first of {each} is described")

    def _tasks(self, parts, progress):
        """Yield what is to be made, less what others have made meanwhile."""
        for part in parts:
            if not os.path.exists(self.plan.path(part)):
                yield {"part": part, **self.work.task(self.plan, part)}
            else:
                progress.update(self._length(part))

    def _length(self, part):
        first, last = self.plan.range(part)
        return last - first

    def _shard_done(self):
        whole, retry = self.plan.finished()
        index, count = self.run.shard
        missing = len(self.plan) - len(whole | retry)
        return (
            f"shard {index}/{count} is done; {missing} of {len(self.plan)} parts are missing; the same command without --shard joins them"
        )

    def join(self, pipeline, *, info=None, limit=None, failed_from=None):
        """Put the parts together under the output's name; see `complete`."""
        self.output.give_way()
        for attempt in range(JOIN_TRIES):
            bad = {}
            totals = totals_of(self._sound_parts(bad), failed_from)
            if not bad:
                break
            for part, problem in bad.items():
                if attempt == JOIN_TRIES - 1:
                    raise ImgretError(f"part {part} stays damaged after making it again ({problem}): is the disk sound?")
                self.report.warn(f"part {part} is damaged; making it again")
                self.report.detail(f"part {part}: {problem}")
                with contextlib.suppress(FileNotFoundError):
                    os.unlink(self._path(part))
            self.make_parts()
        if limit is not None:
            limit.check(self.plan, totals["N"], totals["F"])
        with Writer(self.output.parts.temporary(), self.output.shown) as writer:
            photos = PhotoWriter(writer, self.output.kind, self.work.data, totals)
            for store in self._open_parts():
                photos.copy(store)
                if failed_from is None:
                    photos.copy_failed(store)
            if failed_from is not None:
                photos.copy_all_failed(failed_from)
            writer.fingerprint = photos.fingerprint(self.output.recipe)
            self.output.finish(writer, pipeline, info)
            self.output.tell_mixed(writer, pipeline)
        self.output.parts.remove()
        self.zero = photos.zero
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
        problem = misfit(store, self.work.data)
        if problem:
            return problem
        first, last = self.plan.range(part)
        there = sorted([*store.texts("names"), *store.texts("failed/names")])
        if there != list(self.plan.names[first:last]):
            return "it holds other photos"
        if self.work.photo_names is not None:
            rows = zip(store.texts("names"), store.photo_names(), strict=True)
            if any(self.work.photo_names.get(name) != photo for name, photo in rows):
                return "it holds boxes of other photos"
        return next(store.problems(), "")


def append(photos, described):
    """Append to a part what was made of the photo whose name it was given last.

    Parameters
    ----------
    photos : imgret.store.photos.PhotoWriter
    described : ndarray, shape (V,), or LocalFeatures, or dict of str to ndarray, shape (n, ...)
        A vector; local features; or columns with a row for each of the photo's entries.
    """
    if isinstance(described, LocalFeatures):
        described = {"keypoints": described.keypoints, "descriptors": described.stored}
    if isinstance(described, dict):
        photos.ragged([len(next(iter(described.values())))], **described)
    else:
        photos.rows(vectors=described[None])


class PartWorker:
    """Base of what makes parts in a worker process: a subclass has `make(task, starting)`, which makes one and gives its failed photos.

    Attributes
    ----------
    copied : int
        Photos of a part that were taken over: for `make` to count.
    several : int
        Photos of a part that were described, and are not the only pictures in their files: likewise.
    """

    copied = several = 0

    def __init__(self, setup):
        self.setup, self.plan = setup, None

    def work(self, task, starting):
        """Make one part; see `imgret.runs.workers.run`. A folder of parts that has gone is told, not raised."""
        try:
            if self.plan is None:
                self.plan = Plan(os.path.dirname(self.setup["plan_folder"]), 0)
            self.copied = self.several = 0
            return {"failed": self.make(task, starting), "copied": self.copied, "several": self.several}
        except FolderVanished:
            return {"vanished": True}
        except ImgretError:
            if not os.path.isdir(self.setup["plan_folder"]):
                return {"vanished": True}
            raise

    def write(self, part, data, fill):
        """Write a part and publish it.

        Parameters
        ----------
        part : int
        data : dict
            Its data columns, as `PhotoWriter` takes them.
        fill : callable
            `fill(photos)` appends to a `PhotoWriter`; returns whether the next run should read something again.

        Returns
        -------
        int
            How many of its photos failed.
        """
        kind, labels = self.setup["kind"], {name: self.setup[name] for name in ("recipe", "params")}
        with Writer(temporary_name(self.plan.folder), self.setup["shown"]) as writer:
            photos = PhotoWriter(writer, kind, data)
            publish_part(writer, self.plan, part, kind, retry=fill(photos), **labels)
            return photos.failed
