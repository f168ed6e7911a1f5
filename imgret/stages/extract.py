"""extract: photos to local features, or to one vector each."""

import contextlib
import os

import numpy as np

from imgret import images
from imgret.errors import ImgretError, UsageError
from imgret.extractors import EXTRACTORS
from imgret.inputs.boxes import Boxes
from imgret.listing import list_photos
from imgret.pipeline import Pipeline
from imgret.registry import load
from imgret.runs import stopping
from imgret.runs.describing import projection_of
from imgret.runs.output import Output
from imgret.runs.parts import Step, run_to_end
from imgret.store.photos import BOXED
from imgret.store.reader import Store
from imgret.store.text import Texts

WORKER = "imgret.runs.describing:DescribeWorker"
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
    boxes=None,
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
    boxes : str, optional
        Boxes to describe instead of whole photos, see `imgret.formats.boxes.read_boxes`: a row each, named by the query's id.
    lists, root, nul : see `imgret.listing.list_photos`
    jobs : int
    shard : tuple of int, optional
        (I, N): make the parts of one share and do not join.
    max_failed : str, optional
        "N" or "N%": the step fails where more photos cannot be used.
    overwrite : bool
    report : imgret.runs.report.Report

    Raises
    ------
    ImgretError
    """
    limit = parse_max_failed(max_failed or DEFAULT_MAX_FAILED)
    kind = load(EXTRACTORS, method, "extractor")
    wanted = kind.Params.parse(settings)
    if not photos and not lists:
        raise UsageError("give at least one photo, a folder, '-' or --list")
    asked = None if boxes is None else Boxes(boxes)
    learned, made_of = projection_of(codebook, kind)
    extractor = kind(wanted, None if learned is None else learned.component())
    extractor.settle(device)
    for text in extractor.warnings:
        report.warn(text)
    _check_projection(extractor, learned, codebook)
    params = {"step": "extract", "method": kind.name, "version": kind.version, "params": extractor.params.to_json()}
    if asked is not None:
        params["rows"] = "boxes"
        made_of.append(asked.as_input())
    output = Output(out, extractor.gives, params, made_of, overwrite)
    for path in extractor.params.places().values():
        output.spare(path)
    data = extractor.columns() | (BOXED if asked else {})
    existing = output.existing()
    if existing is not None:
        existing.close()
    listing = list_photos(photos, lists, root=root, nul=nul)
    _spare_photos(output, listing)
    thing, things = "photo", "photos"
    if asked is not None:
        listing, thing, things = asked.of(listing, report), "box", "boxes"
    if existing is not None and _unchanged(output.path, listing):
        if shard is None:
            output.parts.remove()
        report.note(f"{output.shown} is up to date ({len(listing)} {things})")
        return
    if asked is not None and existing is None and os.path.exists(output.path):
        report.note(f"{output.shown}: its inputs have changed, making it again")
    if existing is not None:
        report.note(f"{output.shown}: the photos have changed; what is still the same is taken over")

    def check(described, failed):
        total = described + failed
        allowed = limit(total)
        if failed > allowed:
            raise ImgretError(
                f"{failed} of {total} {things} could not be used, more than --max-failed allows ({allowed}): "
                f"{_first_failures(step)}; the finished parts are kept"
            )
        if not described:
            raise ImgretError(f"no {thing} could be used: {_first_failures(step)}")

    def check_early(failed, total):
        if failed > limit(total) and shard is None:
            raise ImgretError(
                f"{failed} {things} could not be used so far, more than --max-failed allows of {total} ({limit(total)}): "
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
        processes = 1 if extractor.one_process else jobs
        task = _task_of(listing)
        step = Step(
            output,
            plan,
            worker=WORKER,
            setup=setup,
            task=task,
            data=data,
            report=report,
            jobs=processes,
            shard=shard,
            photo_names=None if asked is None else dict(zip(listing.names, listing.photo_names, strict=True)),
        )
        missing = step.make_parts(check_early)
        if shard is not None:
            report.note(step.shard_done(missing))
            return
        pipeline = Pipeline.of("extractor", extractor, [] if learned is None else [learned.without_inputs()])
        described, failed = step.join(pipeline, info={"device": extractor.device} if extractor.device else None, check=check)
        report.note(
            f"{output.shown}: {described} {thing if described == 1 else things} described"
            + (f", {failed} could not be used (imgret info --failed)" if failed else "")
        )

    step = None
    with stopping.guard():
        run_to_end(output, report, body)


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
    """What a worker needs to know of a part: where its photos are; with boxes, those and the names of their photos."""
    names = Texts.of(listing.names)

    def task(plan, part):
        first, last = plan.range(part)
        rows = [names.find(name) for name in plan.names[first:last]]
        known = {"paths": [None if row < 0 else os.fsdecode(listing.paths[row]) for row in rows]}
        if listing.boxes is not None:
            known["photos"] = [None if row < 0 else os.fsdecode(listing.photo_names[row]) for row in rows]
            known["boxes"] = [None if row < 0 else listing.boxes[row].tolist() for row in rows]
        return known

    return task


def _spare_photos(output, listing):
    """Refuse an output that is one of the photos."""
    if os.path.isfile(output.path):
        size = os.stat(output.path).st_size
        for row in np.flatnonzero(listing.sizes == size):
            output.spare(listing.paths[row])


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
        if listing.photo_names is not None:
            photo_of = dict(zip(store.texts("names"), store.photo_names(), strict=True))
            if any(photo_of.get(name, photo) != photo for name, photo in zip(listing.names, listing.photo_names, strict=True)):
                return False
            digests = dict(zip(store.texts("failed/names"), store.read("failed/digest"), strict=True))
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
        elif len(there) > 2 and listing.photo_names is not None and not _is(path, digests[name].tobytes()):
            return False  # a box that failed may now be of another photo
    return True


def _is(path, digest):
    """Whether a photo can be read and has this digest."""
    try:
        return images.read_file(path).digest == digest
    except images.BadPhoto:
        return False


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
