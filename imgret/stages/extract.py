"""extract: photos to local features, or to one vector each."""

import collections
import concurrent.futures
import contextlib
import dataclasses
import os
import threading

import numpy as np

from imgret import images
from imgret.errors import ImgretError, UsageError
from imgret.extractors import EXTRACTORS
from imgret.listing import list_photos
from imgret.pipeline import NO_DESCRIPTORS, Pipeline
from imgret.registry import load
from imgret.stages import stopping
from imgret.stages.output import Output, input_of
from imgret.stages.perphoto import Step, run_to_end
from imgret.store.parts import FolderVanished, Parts, Plan, publish_part
from imgret.store.photos import PhotoWriter
from imgret.store.reader import Store
from imgret.store.text import Texts
from imgret.store.writer import Writer, temporary_name

WORKER = "imgret.stages.extract:ExtractWorker"
DEFAULT_MAX_FAILED = "5%"
SHOWN_FAILURES = 5


def extract(
    photos,
    out,
    *,
    method,
    settings=(),
    codebook=None,
    device="auto",
    lists=(),
    root=None,
    nul=False,
    jobs=1,
    shard=None,
    max_failed=None,
    overwrite=False,
    report,
):
    """Describe photos by local features, or by one vector each.

    Parameters
    ----------
    photos : sequence of str
        Folders, files, or "-".
    out : str
        The features or vectors store to make.
    method : str
        A name of `EXTRACTORS`.
    settings : sequence of str
        NAME=VALUE.
    codebook : str, optional
        A projection, for a method that takes one.
    device : str
        Where a network runs: "auto", "cpu", "cuda", "cuda:N" or "mps".
    lists, root, nul : see `imgret.listing.list_photos`
    jobs : int
    shard : tuple of int, optional
        (I, N): make the parts of one share and do not join.
    max_failed : str, optional
        "N" or "N%": the step fails where more photos cannot be used.
    overwrite : bool
    report : imgret.stages.report.Report

    Raises
    ------
    ImgretError
    """
    limit = parse_max_failed(max_failed or DEFAULT_MAX_FAILED)
    kind = load(EXTRACTORS, method, "extractor")
    wanted = kind.Params.parse(settings)
    if not photos and not lists:
        raise UsageError("give at least one photo, a folder, '-' or --list")
    learned, made_of = _projection(codebook, kind)
    extractor = kind(wanted, None if learned is None else learned.component())
    extractor.settle(device)
    _check_projection(extractor, learned, codebook)
    params = {"step": "extract", "method": kind.name, "version": kind.version, "params": extractor.params.to_json()}
    output = Output(out, extractor.gives, params, made_of, overwrite)
    data = extractor.columns()
    existing = output.existing()
    if existing is not None:
        existing.close()
    listing = list_photos(photos, lists, root=root, nul=nul)
    _spare_photos(output, listing)
    if existing is not None and _unchanged(output.path, listing):
        if shard is None:
            output.parts.remove()
        report.note(f"{output.shown} is up to date ({len(listing)} photos)")
        return
    if existing is not None:
        report.note(f"{output.shown}: the photos have changed; what is still the same is taken over")

    def check(described, failed):
        total = described + failed
        allowed = limit(total)
        if failed > allowed:
            raise ImgretError(
                f"{failed} of {total} photos could not be used, more than --max-failed allows ({allowed}): "
                f"{_first_failures(step)}; the finished parts are kept"
            )
        if not described:
            raise ImgretError(f"no photo could be used: {_first_failures(step)}")

    def check_early(failed, total):
        if failed > limit(total) and shard is None:
            raise ImgretError(
                f"{failed} photos could not be used so far, more than --max-failed allows of {total} ({limit(total)}): "
                f"{_first_failures(step)}; the finished parts are kept"
            )

    def body():
        nonlocal step
        output.parts.prepare()
        plan = output.parts.plan(Texts.of(listing.names), listing.sizes, listing.mtimes, follow=shard is not None)
        setup = {
            "method": method,
            "extractor": extractor.params.to_json() | extractor.params.places(),
            "codebook": codebook,
            "device": extractor.device,
            "threads": jobs if extractor.one_process else 1,
            "out": output.path,
            "older": [p.number for p in output.parts.older_plans(plan)],
            "take_over": existing is not None and _sound(output, report),
        }
        step = Step(output, plan, worker=WORKER, setup=setup, task=_task_of(listing), data=data, report=report, jobs=1 if extractor.one_process else jobs, shard=shard)
        missing = step.make_parts(check_early)
        if shard is not None:
            report.note(step.shard_done(missing))
            return
        pipeline = Pipeline.of("extractor", extractor, [] if learned is None else [learned.without_inputs()])
        described, failed = step.join(pipeline, info={"device": extractor.device} if extractor.device else None, check=check)
        report.note(
            f"{output.shown}: {described} photos described" + (f", {failed} could not be used (imgret info --failed)" if failed else "")
        )

    step = None
    with stopping.guard():
        run_to_end(output, report, body)


def _projection(codebook, kind):
    """The pipeline of a projection, and how it is recorded as an input."""
    if codebook is None:
        return None, []
    with Store(codebook, ("codebook",), "--codebook") as words:
        learned = Pipeline.load(words)
        if learned.node["component"] not in kind.codebooks:
            raise ImgretError(
                f"{words.shown} is a {learned.node['component']} codebook; extract -m {kind.name} "
                + (f"takes {' or '.join(kind.codebooks)}" if kind.codebooks else "takes none: it is for encode")
            )
        return learned, [input_of(words)]


def _check_projection(extractor, learned, codebook):
    """Refuse a projection that was learned in another space."""
    for trained in learned.node["inputs"] if learned else ():
        if not extractor.takes_projection_of(trained):
            raise ImgretError(
                f"{codebook} was learned in another space than the regions of this network: learn it on features made with pool=regions "
                "and otherwise the same parameters"
            )


def parse_max_failed(text):
    """ "N" or "N%" to a function from the number of photos to the number that may fail."""
    number = text.removesuffix("%")
    if not number.isdecimal() or len(number) > 18:
        raise UsageError(f"`--max-failed` must be a whole number or a percentage, got '{text}'")
    if text.endswith("%"):
        if int(number) > 100:
            raise UsageError(f"`--max-failed` must be at most 100%, got '{text}'")
        return lambda photos: photos * int(number) // 100
    return lambda photos: int(number)


def _task_of(listing):
    """What a worker needs to know of a part: where its photos are."""
    names = Texts.of(listing.names)

    def task(plan, part):
        first, last = plan.range(part)
        paths = []
        for name in plan.names[first:last]:
            row = names.find(name)
            paths.append(None if row < 0 else os.fsdecode(listing.paths[row]))
        return {"paths": paths}

    return task


def _spare_photos(output, listing):
    """Refuse an output that is one of the photos."""
    if os.path.isfile(output.path):
        size = os.stat(output.path).st_size
        for row in np.flatnonzero(listing.sizes == size):
            if os.path.exists(listing.paths[row]) and os.path.samefile(output.path, listing.paths[row]):
                raise ImgretError(f"{output.shown} is both an input and the output: choose another -o")


def _unchanged(path, listing):
    """Whether a finished store has just these photos, the same sizes and times, and none whose reading should be tried again."""
    with Store(path) as store:
        if len(store) + store.sizes["F"] != len(listing):
            return False
        described = dict(zip(store.texts("names"), zip(store.read("file_size"), store.read("file_mtime_ns"), strict=True), strict=True))
        failed_rows = zip(
            store.texts("failed/names"),
            store.read("failed/file_size"),
            store.read("failed/file_mtime_ns"),
            store.texts("failed/code"),
            strict=True,
        )
        for name, size, mtime, code in failed_rows:
            described[name] = (size, mtime, code)
    for name, path, size, mtime in zip(listing.names, listing.paths, listing.sizes, listing.mtimes, strict=True):
        there = described.get(name)
        if there is None:
            return False
        if there[2:] == (b"unreadable",):
            with contextlib.suppress(images.BadPhoto):
                images.read_file(path)
                return False  # it can be read now
        elif there[:2] != (size, mtime):
            return False
    return True


def _sound(output, report):
    """Whether the finished file may be taken over from; what is damaged must not get a fresh checksum."""
    with Store(output.path) as store:
        problem = next(store.problems(), None)
    if problem is not None:
        report.warn(f"{output.shown} is damaged ({problem}): every photo is described again")
    return problem is None


def _first_failures(step):
    """The first few failures among the finished parts, for a message."""
    found = []
    for part in range(len(step.plan)):
        for path in (step.plan.path(part), step.plan.path(part, retry=True)):
            if len(found) < SHOWN_FAILURES and os.path.exists(path):
                with contextlib.suppress(ImgretError), Store(path) as store:
                    rows = zip(store.texts("failed/names"), store.text_list("failed/code"), strict=True)
                    found += [f"{os.fsdecode(name)} ({code})" for name, code in rows]
    return ", ".join(found[:SHOWN_FAILURES]) + (", ..." if len(found) > SHOWN_FAILURES else "")


class ExtractWorker:
    """Makes parts of a features or vectors store; lives in a worker process."""

    def __init__(self, setup):
        import cv2

        cv2.setNumThreads(1)  # parallel over photos
        kind = load(EXTRACTORS, setup["method"], "extractor")
        learned, _ = _projection(setup["codebook"], kind)
        self.extractor = kind(kind.Params.from_json(setup["extractor"]), None if learned is None else learned.component())
        self.extractor.settle(setup["device"] or "auto")
        self.setup = setup
        self.plan = None
        self.parts = Parts(setup["out"], setup["recipe"])
        self.sources = None

    def work(self, task, starting):
        """Make one part; see `imgret.stages.workers.run`."""
        try:
            if self.plan is None:
                self.plan = Plan(os.path.dirname(self.setup["plan_folder"]), 0)
                out = self.setup["out"] if self.setup["take_over"] else None
                self.sources = Sources(out, self.setup["kind"], self.setup["recipe"], self._older())
            return {"failed": self._part(task, starting)}
        except FolderVanished:
            return {"vanished": True}
        except ImgretError:
            if not os.path.isdir(self.setup["plan_folder"]):
                return {"vanished": True}
            raise

    def _older(self):
        for number in self.setup["older"]:
            with contextlib.suppress(FolderVanished, ImgretError):
                yield Plan(os.path.join(self.parts.folder, f"{number:04d}"), number)

    def _part(self, task, starting):
        first, _ = self.plan.range(task["part"])
        with Writer(temporary_name(self.plan.folder)) as writer:
            photos = PhotoWriter(writer, self.setup["kind"], self.extractor.columns())
            retry = False
            for entries in self._windows(task, first, starting):
                self._describe(entries)
                for entry in entries:
                    entry.append_to(photos)
                    retry |= entry.to_be_read_again
            publish_part(
                writer, self.plan, task["part"], self.setup["kind"], recipe=self.setup["recipe"], params=self.setup["params"], retry=retry
            )
            self.sources.release()
            return photos.failed

    def _windows(self, task, first, starting):
        """Yield the part's photos, read and decoded, as many at once as the extractor takes."""
        size, paths, crashed = self.extractor.window, task["paths"], set(task.get("crashed", ()))

        def read(item):
            return self._read(first + item, paths[item], item in crashed)

        windows = [range(start, min(start + size, len(paths))) for start in range(0, len(paths), size)]
        if self.setup["threads"] == 1 or task.get("careful"):
            for window in windows:
                entries = []
                for item in window:
                    starting(item)
                    entries.append(read(item))
                if size > 1:
                    starting(None)  # from here on no single photo is to blame
                yield entries
            return
        # a device is fed by threads, which decode the next photos while it describes these; what crashes then is looked for one by one
        with concurrent.futures.ThreadPoolExecutor(self.setup["threads"]) as pool:
            waiting = collections.deque()
            for window in windows:
                waiting.append([pool.submit(read, item) for item in window])
                if len(waiting) > 1:
                    yield [future.result() for future in waiting.popleft()]
            while waiting:
                yield [future.result() for future in waiting.popleft()]

    def _read(self, row, path, crashed):
        """One photo, decoded, or failed, or found where it may be taken over from."""
        entry = Entry(self.plan.names[row], int(self.plan.sizes[row]), int(self.plan.mtimes[row]))
        try:
            if path is None:
                raise images.BadPhoto("unreadable", "it was listed, but has gone since")
            source = self.sources.find(entry.name, entry.size)
            if source is not None and source.mtime == entry.mtime:
                entry.source = source
                return entry
            if crashed:  # it is not touched again
                raise images.BadPhoto("crashed", "the library that decodes or describes it crashed over it")
            file = images.read_file(os.fsencode(path))
            entry.digest, entry.size, entry.mtime = file.digest, file.size, file.mtime_ns
            if source is not None and source.digest == file.digest:
                entry.source = source
                return entry
            entry.photo = self.extractor.read(file.data)
        except images.BadPhoto as bad:
            entry.bad = bad
        return entry

    def _describe(self, entries):
        new = [entry for entry in entries if entry.photo is not None]
        for entry, described in zip(new, self.extractor.describe([entry.photo for entry in new]) if new else (), strict=True):
            if isinstance(described, images.BadPhoto):
                entry.bad = described
            elif self.extractor.gives == "features" and not len(described.descriptors):
                entry.bad = images.BadPhoto("no-descriptors", NO_DESCRIPTORS)
            else:
                entry.described = described


@dataclasses.dataclass
class Entry:
    """A photo on its way into a part."""

    name: bytes
    size: int
    mtime: int
    digest: bytes = bytes(32)
    photo: images.Photo | None = None
    source: object = None
    bad: images.BadPhoto | None = None
    described: object = None

    @property
    def to_be_read_again(self):
        """Whether the next run should try it again."""
        return self.bad is not None and self.bad.code == "unreadable"

    def append_to(self, photos):
        """Write it to a part, by a `PhotoWriter`."""
        if self.source is not None:
            self.source.copy_to(photos, self.mtime)
        elif self.bad is not None:
            photos.fail(self.name, self.bad.code, self.bad.reason, self.digest, self.size, self.mtime)
        else:
            meta = {
                "image_size": np.array([self.photo.size]),
                "digest": np.frombuffer(self.digest, np.uint8)[None],
                "file_size": np.array([self.size]),
                "file_mtime_ns": np.array([self.mtime]),
            }
            photos.photos([self.name], meta)
            if photos.kind == "vectors":
                photos.rows(vectors=self.described[None])
            else:
                features = self.described
                photos.descriptors([len(features.descriptors)], keypoints=features.keypoints, descriptors=features.descriptors)


class Sources:
    """Where a photo that is still the same may be taken over from: the finished file, and the parts of older plans.

    Only rows of the same recipe count, so what they hold is what would be computed again.
    """

    def __init__(self, out, kind, recipe, older_plans):
        self._kind, self._stores, self._plans, self._open = kind, [], list(older_plans), {}
        self._lock = threading.Lock()
        if out is None:
            return
        with contextlib.suppress(ImgretError):
            store = Store(out, (kind,))
            if store.recipe == recipe:
                self._stores.append((store, store.texts("names"), store.texts("failed/names")))
            else:
                store.close()

    def find(self, name, size):
        """A `Source` of this name and file size, or None. It can be used until `release`."""
        with self._lock:
            return self._find(name, size)

    def _find(self, name, size):
        for store, names, failed in self._candidates(name):
            row = names.find(name)
            if row >= 0 and int(store.read("file_size", row, row + 1)[0]) == size:
                return Source(store, row, "")
            row = failed.find(name)
            if row >= 0 and int(store.read("failed/file_size", row, row + 1)[0]) == size:
                source = Source(store, row, "failed/")
                if source.code != b"unreadable":
                    return source
        return None

    def _candidates(self, name):
        yield from self._stores
        for plan in self._plans:
            row = plan.names.find(name)
            if row < 0:
                continue
            part = row // plan.part_size
            for path in (plan.path(part), plan.path(part, retry=True)):
                with contextlib.suppress(ImgretError):
                    yield self._opened(path)

    def _opened(self, path):
        """A part, kept open until `release`."""
        if path not in self._open:
            store = Store(path, (self._kind,))
            for problem in store.problems():
                store.close()
                raise ImgretError(problem)
            self._open[path] = (store, store.texts("names"), store.texts("failed/names"))
        return self._open[path]

    def release(self):
        """Close the parts that were opened."""
        for store, *_ in self._open.values():
            store.close()
        self._open = {}


class Source:
    """One photo of a store, described or failed."""

    def __init__(self, store, row, prefix):
        self.store, self.row, self.prefix = store, row, prefix
        self.digest = store.read(prefix + "digest", row, row + 1)[0].tobytes()
        self.mtime = int(store.read(prefix + "file_mtime_ns", row, row + 1)[0])
        self.code = store.texts("failed/code", row, row + 1)[0] if prefix else b""

    def copy_to(self, photos, mtime):
        """Append it to a part, with the file's present time."""
        if not self.prefix:
            photos.copy(self.store, self.row, self.row + 1, np.array([mtime]))
            return
        name = self.store.texts("failed/names", self.row, self.row + 1)[0]
        reason = self.store.texts("failed/reason", self.row, self.row + 1)[0].decode("utf-8", "replace")
        size = int(self.store.read("failed/file_size", self.row, self.row + 1)[0])
        photos.fail(name, self.code.decode("utf-8", "replace"), reason, self.digest, size, mtime)
