"""extract: photos to local features, or to one vector each."""

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
from imgret.runs.failures import BOX, PHOTO, Limit
from imgret.runs.looking import looked_for
from imgret.runs.output import Output
from imgret.runs.parts import Step, Work
from imgret.runs.run import Run
from imgret.runs.takeover import what_changed
from imgret.store.photos import BOXED
from imgret.store.reader import Store

WORKER = "imgret.runs.describing:DescribeWorker"
DEFAULT_MAX_FAILED = "5%"


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
    truncated : str
        What to do with photos that lack their last bytes: "refuse", or "accept" what there is of them.
    run : imgret.runs.run.Run

    Raises
    ------
    ImgretError
    """
    out, codebook, boxes = plain(out), ready.path_of(plain(codebook)), plain(boxes)
    limit = Limit(max_failed or DEFAULT_MAX_FAILED, PHOTO if boxes is None else BOX)
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
    there = _is_there(output)
    listing, places = looked_for(output, photos, there) if asked is None else (photos.listed(), None)
    output.spare([], listing)
    tell_unread(listing, run.report)
    if asked is not None:
        listing = asked.of(listing, run.report)
    if not _up_to_date(output, listing, limit.noun, there):
        _make(output, means, listing, places, limit, there)


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
    """

    extractor: object
    codebook: str | None
    learned: Pipeline | None
    inputs: list

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
        return cls(extractor, codebook, learned, inputs)

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
        report.note(f"{output.shown} is up to date ({len(listing)} {noun.many})")
        return True
    if there:
        report.note(f"{output.shown}: the photos have changed; what is still the same is taken over")
        report.detail(f"{output.shown}: the first change: {change}")
    elif listing.boxes is not None and os.path.exists(output.path):
        report.note(f"{output.shown}: its inputs have changed, making it again")
    return False


def _make(output, means, listing, places, limit, there):
    """Describe the photos; what the finished file that is `there` has of them is taken over."""
    output.names = listing.names if output.run.shard is None else None

    def work(parts):
        plan = parts.plan(listing.names, listing.sizes, listing.mtimes, follow=output.run.shard is not None, places=places)
        older = [older.number for older in parts.older_plans(plan)]
        setup = means.setup() | {"out": parts.out, "older": older, "take_over": there and _sound(output)}
        return _step(output, plan, setup, means, listing).complete(means.pipeline(), info=info, limit=limit)

    info = {"device": means.extractor.device} if means.extractor.device else None
    done = output.made(work)
    if done is not None:
        described, failed = done
        failures = f", {failed} could not be used (imgret info --failed)" if failed else ""
        output.run.report.note(f"{output.shown}: {described} {limit.noun.of(described)} described{failures}")


def _step(output, plan, setup, means, listing):
    """The step that makes and joins the parts."""
    extractor, boxed = means.extractor, listing.boxes is not None
    work = Work(
        WORKER,
        setup | {"threads": output.run.jobs if extractor.one_process else 1},
        extractor.columns() | (BOXED if boxed else {}),
        _task_of(listing),
        one_process=extractor.one_process,
        photo_names=dict(zip(listing.names, listing.photo_names, strict=True)) if boxed else None,
    )
    return Step(output, plan, work)


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


def _sound(output):
    """Whether the finished file may be taken over from; what is damaged must not get a fresh checksum."""
    with Store(output.path) as store:
        problem = next(store.problems(), None)
    if problem is not None:
        output.run.report.warn(f"{output.shown} is damaged ({problem}): every photo is described again")
    return problem is None
