"""extract: photos to local features, or to one vector each."""

import contextlib
import dataclasses
import os

import numpy as np

from imgret import ready
from imgret.errors import ImgretError, UsageError
from imgret.extractors import DEFAULT, EXTRACTORS
from imgret.images import REFUSE
from imgret.inputs.boxes import PIXELS, Boxes
from imgret.listing import Given, tell_unread
from imgret.paths import plain
from imgret.pipeline import Pipeline
from imgret.registry import load
from imgret.runs.describing import projection_of
from imgret.runs.details import amount
from imgret.runs.failures import BOX, PHOTO, MaxFailed, MaxGone, first_failures
from imgret.runs.kept import Before, Kept, same_files
from imgret.runs.looking import looked_for
from imgret.runs.output import Output
from imgret.runs.parts import Whole, Work, make
from imgret.runs.run import Run
from imgret.runs.takeover import what_changed
from imgret.store.photos import BOXED, ORIGIN

WORKER = "imgret.runs.describing:DescribeWorker"


def extract(
    photos,
    out,
    *,
    method=DEFAULT,
    settings=(),
    codebook=None,
    boxes=None,
    box_units=PIXELS,
    max_failed=None,
    max_gone=None,
    truncated=REFUSE,
    run=Run(),
):
    """Describe photos by local features, or by one vector each.

    Parameters
    ----------
    photos : imgret.listing.Given or sequence of str
        Folders, files, or "-".
    out : str
        The features or vectors store to make.
    method : str
        A name of `EXTRACTORS`.
    settings : sequence of str
        NAME=VALUE.
    codebook : str, optional
        A projection, for a method that takes one; perhaps `ready:NAME`.
    boxes : str, optional
        Boxes to describe instead of whole photos, see `imgret.formats.boxes.read_boxes`: a row each, named by the query's id.
    box_units : str
        What their corners are: "pixels", or "fraction" of the photo's width and height.
    max_failed : str, optional
        "N" or "N%": the step fails where more photos cannot be used.
    max_gone : str, optional
        The same, where more of the photos that the finished store describes are no longer there.
    truncated : str
        What to do with photos that lack their last bytes: "refuse", or "accept" what there is of them.
    run : imgret.runs.run.Run

    Raises
    ------
    ImgretError
    """
    out, codebook, boxes = plain(out), ready.path_of(plain(codebook)), plain(boxes)
    noun = PHOTO if boxes is None else BOX
    limits = {"limit": MaxFailed(max_failed, noun), "max_gone": MaxGone(max_gone, noun)}
    kind = load(EXTRACTORS, method, "extractor")
    wanted = kind.Params.parse(settings)
    photos = Given.of(photos)
    if not photos:
        raise UsageError("give at least one photo, a folder, '-' or --list")
    if boxes is None and box_units != PIXELS:
        raise UsageError("--box-units is for --boxes")
    asked = None if boxes is None else Boxes(boxes, box_units)
    means = Means.of(kind, wanted, codebook, run, {} if truncated == REFUSE else {"truncated": truncated})
    output = _output(out, means, asked, run)
    output.spare([*means.extractor.params.places().values(), *photos.lists])
    with contextlib.closing(Before(output)) as before:
        _describe(output, means, photos, asked, noun, before, limits)


def _describe(output, means, photos, asked, noun, before, limits):
    """Look for the photos and describe them, where the finished file is not of just these."""
    report, there = output.run.report, _is_there(output)

    def compare(listing):
        before.refuse_gone(limits["max_gone"], listing.names, {"file_size": listing.sizes, "file_mtime_ns": listing.mtimes})
        return before.kept(lambda store: same_files(store, listing) if store.recipe == output.recipe else Kept())

    listing, places = looked_for(output, photos, there, compare) if asked is None else (photos.listed(), None)
    output.spare([], listing)
    tell_unread(listing, report)
    if asked is not None:
        listing = asked.of(listing, report)
    if not _up_to_date(output, listing, noun, there):
        kept = compare(listing)
        done = _make(output, means, listing, Whole(listing.names, listing.sizes, listing.mtimes, None, before.store, kept, places), limits)
        if done is not None and done.described is not None:
            _tell(output, done, noun)


@dataclasses.dataclass(frozen=True)
class Means:
    """What photos are described with.

    Attributes
    ----------
    extractor : imgret.extractors.base.Extractor
        Settled.
    codebook : str or None
        Where its projection is.
    learned : imgret.pipeline.Pipeline or None
        The projection.
    inputs : list of dict
        How the projection is recorded.
    jobs : int
        How much is done at once.
    """

    extractor: object
    codebook: str | None
    learned: Pipeline | None
    inputs: list
    jobs: int

    @classmethod
    def of(cls, kind, params, codebook, run, reading):
        """The means by an extractor's class; what a user should know of them is told.

        Raises
        ------
        ImgretError
            Also for a projection that was learned in another space.
        """
        learned, inputs = projection_of(codebook, kind)
        extractor = kind(params, None if learned is None else learned.component())
        extractor.read_as(reading)
        extractor.settle(run.device)
        for text in extractor.warnings:
            run.report.warn(text)
        for trained in () if learned is None else learned.node["inputs"]:
            if not extractor.takes_projection_of(trained):
                raise ImgretError(
                    f"{codebook} was learned in another space than the regions of this network: learn it on features made with "
                    "pool=regions and otherwise the same parameters"
                )
        return cls(extractor, codebook, learned, inputs, run.jobs)

    def params(self):
        """What is recorded of them, and decides what may be built upon."""
        made_by = self.extractor
        made_of = {"step": "extract", "method": made_by.name, "version": made_by.version, "params": made_by.params.to_json()}
        return made_of | made_by.reading

    def setup(self):
        """What a worker makes the same of."""
        params = self.extractor.params
        params = params.to_json() | params.places()
        made_by = {"method": self.extractor.name, "extractor": params, "reading": self.extractor.reading}
        return made_by | {"codebook": self.codebook, "device": self.extractor.device}

    def pipeline(self):
        """The tree that new photos are described by."""
        return Pipeline.of("extractor", self.extractor, [] if self.learned is None else [self.learned.without_inputs()])


def _output(out, means, asked, run):
    """The output, refused where it is one of the files that are read."""
    params, inputs = means.params(), means.inputs
    if asked is not None:
        params, inputs = params | asked.params(), [*inputs, asked.as_input()]
    return Output(out, means.extractor.gives, params, inputs, run)


def _is_there(output):
    """Whether there is a finished file of this recipe: of these photos or of others."""
    existing = output.existing()
    if existing is not None:
        existing.close()
    return existing is not None


def _up_to_date(output, listing, noun, there):
    """Whether the finished file that is `there` is of just these photos; says so, or why it has to be made again."""
    report = output.run.report
    report.detail(f"{len(listing)} {noun.many} are listed, {amount(np.maximum(listing.sizes, 0).sum())} of files")
    change = what_changed(output.path, listing) if there else ""
    if there and not change:
        if output.run.shard is None:
            output.parts.clear_plans_of(listing.names, listing.sizes, listing.mtimes)
        report.note(f"{output.shown} is up to date ({len(listing)} {noun.of(len(listing))})")
        return True
    if there:
        report.note(f"{output.shown}: the photos have changed; what is still the same is taken over")
        report.detail(f"{output.shown}: the first change: {change}")
    elif listing.boxes is not None and os.path.exists(output.path):
        report.note(f"{output.shown}: its inputs have changed, making it again")
    return False


def _make(output, means, listing, photos, limits):
    """Describe the photos, but those that are the same in the finished file: the `Step`, done."""
    output.names = listing.names if output.run.shard is None else None

    def work(parts):
        def of(plan, take_over):
            older = [older.number for older in parts.older_plans(plan)]
            return _work(means, listing, {"out": parts.out, "older": older, "take_over": take_over})

        return make(output, parts, photos, of, means.pipeline(), info=info, **limits)

    info = {"device": means.extractor.device} if means.extractor.device else None
    return output.made(work)


def _tell(output, done, noun):
    """Say what has become of the photos; of those that failed, and had not failed before, also to those who want to hear of nothing."""
    report, failed = output.run.report, done.new_failures
    failures = f", {done.failed} could not be used (imgret info --failed)" if done.failed else ""
    report.note(f"{output.shown}: {done.described} {noun.of(done.described)} described{failures}")
    if failed and report.verbosity < 0:
        report.warn(
            f"{output.shown}: {len(failed)} {noun.of(len(failed))} could not be used, and had not failed before: {first_failures(failed)}; "
            "imgret info --failed tells why"
        )


def _work(means, listing, setup):
    """What makes the parts."""
    extractor, boxed = means.extractor, listing.boxes is not None
    return Work(
        WORKER,
        means.setup() | setup | {"threads": means.jobs if extractor.one_process else 1},
        extractor.columns() | ORIGIN | (BOXED if boxed else {}),
        _task_of(listing),
        one_process=extractor.one_process,
        photo_names=dict(zip(listing.names, listing.photo_names, strict=True)) if boxed else None,
    )


def _task_of(listing):
    """What a worker needs to know of a part: where its photos are; with boxes, those and the names of their photos."""

    def task(plan, part):
        first, last = plan.range(part)
        rows = [listing.names.find(name) for name in plan.names[first:last]]
        known = {"paths": [None if row < 0 else os.fsdecode(listing.paths[row]) for row in rows]}
        if listing.boxes is not None:
            known["photos"] = [None if row < 0 else os.fsdecode(listing.photo_names[row]) for row in rows]
            known["fractions"] = listing.fractions
            known["boxes"] = [None if row < 0 else listing.boxes[row].tolist() for row in rows]
        return known

    return task
