"""train: photos and what is known of them to a network."""

import concurrent.futures
import contextlib
import dataclasses
import hashlib
import os

from imgret import images
from imgret.errors import ImgretError, UsageError, counted
from imgret.inputs.lessons import Lessons, judging_of
from imgret.inputs.truths import truth_of
from imgret.listing import Given, tell_unread
from imgret.networks.heads import HEADS
from imgret.networks.trained import ENDING
from imgret.paths import plain
from imgret.registry import load
from imgret.runs.details import tell_versions
from imgret.runs.failures import MaxFailed
from imgret.runs.networkfiles import NetworkFile, NetworkOutput
from imgret.runs.run import Run
from imgret.stages.trainfiles import SideFiles
from imgret.store.hashing import of_json
from imgret.trainers import TRAINERS
from imgret.trainers.base import Task
from imgret.training.augment import Augment
from imgret.training.keeping import Keeping
from imgret.training.memory import kept
from imgret.training.reading import Reading
from imgret.training.source import Source
from imgret.training.telling import Telling


def train(
    photos,
    out,
    *,
    method,
    settings=(),
    given=None,
    truth=None,
    validate=(),
    validate_truth=None,
    protocol=None,
    last=None,
    outputs=None,
    max_failed=None,
    run=Run(),
):
    """Train a network so that photos which match come near each other.

    Parameters
    ----------
    photos : imgret.listing.Given or sequence of str
        To train on: folders, files, or "-".
    out : str
        The network to make, a .safetensors file.
    method : str
        A name of `TRAINERS`.
    settings : sequence of str
        NAME=VALUE: parameters of the network, its head, the method and its recipe.
    given : dict, optional
        Such parameters by name that have an option of their own, None where it is not given.
    truth : str, optional
        Which photos match; see `imgret.inputs.truths.truth_of`. Without it a photo matches other views of itself.
    validate : imgret.listing.Given or sequence of str
        Photos to score by, none of which are trained on. Without any, a share of the groups is held out (`holdout`).
    validate_truth : str, optional
        Which of those match; by default `truth`.
    protocol : str, optional
        What evaluates them, a name of `imgret.evaluation.PROTOCOLS`; by default what reads such a truth.
    last : str, optional
        Where the network as it was at the end is written too.
    outputs : dict of str to str, optional
        Other files to write, by option: `--html`, `--log`, `--tensorboard`.
    max_failed : str, optional
        "N" or "N%": the step fails where more photos cannot be used.
    run : imgret.runs.run.Run

    Raises
    ------
    ImgretError
    """
    run.in_one_piece("train")
    out, last = plain(out), plain(last)
    photos, validate, truths = Given.of(photos), Given.of(validate), (plain(truth), plain(validate_truth))
    reads = [*photos.arguments, *photos.lists, *validate.arguments, *validate.lists, *filter(None, truths), *run.reads]
    for option, path in (("-o", out), ("--last", last)):
        if path is not None and not os.fsdecode(path).endswith(ENDING):
            raise UsageError(f"{option} {os.fsdecode(path)} must end in {ENDING}: by that it is known as a network")
    files = SideFiles(outputs or {}, {"-o": out, "--last": last}, reads, run)
    limit = MaxFailed(max_failed)
    step = _Step(out, method, (settings, given or {}), files, run)
    truth = truth_of(truths[0])
    step.check_truth(truth)
    judging = judging_of(validate, truth, truths[1], protocol)
    _check_libraries()
    from imgret.networks.pinned import pinned

    with pinned(step.params.threads), kept():
        step.run(photos, truth, validate, judging, limit)


class _Step:
    def __init__(self, out, method, settings, files, run):
        self.out, self.files, self.run_, self.report = out, files, run, run.report
        self.kind = load(TRAINERS, method, "way to train")
        self.params = self.kind.Params.parse(settings[0], **settings[1])
        files.check_apart_from(self.params.weights, out)

    def run(self, photos, truth, validate, judging, limit):
        """Make the network, where it is not up to date, and the files beside it."""
        tell_versions(self.report)
        listing = photos.listed()
        tell_unread(listing, self.report)
        self.report.detail(f"{counted(len(listing), 'photo is', 'photos are')} listed")
        others = validate.listed() if validate else None
        network = self._network()
        self.params = network.params
        inputs = [_entry(listing, "photos", self.run_.jobs), *truth.entry()]
        params = {"step": "train", "method": self.kind.name, "version": self.kind.version, "params": self.params.to_json()}
        params |= {"truth": truth.form or "none"}
        if others is not None:
            inputs += [_entry(others, "validation photos", self.run_.jobs), *judging.truth.entry()]
            params["validation"] = {"protocol": judging.judge.name, "truth": judging.truth.form}
        output = NetworkOutput(self.out, "network", params, inputs, self.run_)
        listings = [listing] if others is None else [listing, others]
        for found in listings:
            output.spare([], found)
            self.files.spare(found)
        logs = self.files.begin(output.recipe)
        if not output.up_to_date():
            with output.being_made() as parts:
                keeping = Keeping(parts)
                with keeping.alone(self.report):
                    output.give_way()
                    self._make(output, network, keeping, (listing, truth, others, judging, limit), logs)
        self.files.finish(NetworkFile(output.path), listings)

    def _make(self, output, network, keeping, given, logs):
        listing, truth, others, judging, limit = given
        reading = Reading(self.params.max_size, self.params.resize, network.least)
        lessons = Lessons(self.params, dataclasses.asdict(reading), limit, self.run_)
        if others is None:
            lesson = lessons.of(listing, truth, keeping.folder)
        else:
            lesson = lessons.validated(listing, truth, others, judging, keeping.folder)
        lesson = lessons.less(lesson, self.kind(self.params).aside(self._task(lesson, truth)), truth)
        if lesson.validation is None and self.params.holdout:
            self.report.warn("nothing is scored: too few groups or places to hold some out, and no --validate; the last weights are kept")
        done = self._trained(network, lesson, (self._task(lesson, truth), reading), keeping, logs)
        self._put(output, done, lesson)

    def check_truth(self, truth):
        """Refuse a truth that nothing is learned from, and its absence where it is needed.

        Raises
        ------
        UsageError
        """
        if self.kind.labels == "needed" and not truth.form:
            raise UsageError(f"-m {self.kind.name} learns from a truth: give --truth a CSV, folders or names")
        if self.kind.labels == "none" and truth.form:
            raise UsageError(f"-m {self.kind.name} learns from photos alone: leave --truth out")

    def _network(self):
        from imgret.networks import backbones
        from imgret.networks.pinned import lower_is_faster
        from imgret.networks.trainable import Trainable

        device = backbones.device_of(self.run_.device)
        if device == "cpu" and self.params.precision == "bfloat16" and not lower_is_faster():
            self.report.warn("this processor has no arithmetic in bfloat16, which is slower here than float32: leave `precision` out")
        head = load(HEADS, self.params.pool, "head")(self.params.chosen)
        return Trainable(self.params, head, device)

    def _task(self, lesson, truth):
        return Task(lesson.relations, lesson.names, bool(truth.form), self.params.seed, self.params.epochs)

    def _trained(self, network, lesson, how, keeping, logs):
        from imgret.training.loader import Loader
        from imgret.training.loop import Training

        params, (task, reading) = self.params, how
        many = counted(sum(tensor.numel() for tensor in network.learning.values()), "value learns", "values learn")
        self.report.detail(f"{params.model} at {','.join(params.layer)}: {many}, on {network.device}")
        with contextlib.ExitStack() as stack:
            loader = stack.enter_context(
                contextlib.closing(Loader(lesson.looked, reading, params.part(Augment.Params), params.seed, self.run_.jobs))
            )
            maps = stack.enter_context(contextlib.closing(self._maps(lesson, keeping))) if params.freeze else None
            source, tell = Source(network, loader, maps), Telling(self.report, logs)
            return Training(network, self.kind(params), task, source, lesson.validation, keeping, tell, lesson.numbers).run()

    def _maps(self, lesson, keeping):
        from imgret.training.maps import Maps

        names = hashlib.sha256(b"\0".join(lesson.looked.names)).hexdigest()  # by whose order photos are numbered
        return Maps(keeping.folder, f"{keeping.recipe[:16]}-{names[:16]}")

    def _put(self, output, done, lesson):
        """Tell which epoch is the best, and write the files."""
        course, validation = done.course, lesson.validation
        history = course.history(validation, [os.fsdecode(name) for name in lesson.looked.names])
        failed = [{"name": os.fsdecode(name), "code": code, "reason": reason} for name, code, reason in lesson.failed]
        self.files.keep_last(output, done.last, self.params.described() | done.network.head.trained(), history, failed)
        output.put(done.best, self.params.described() | done.described, history, failed)
        self.report.note(f"{output.shown}: {self.kind.name} on {counted(len(lesson.numbers), 'photo')}")
        if validation is None:
            return
        start, best = course.epochs[0]["score"], course.epochs[course.best]["score"]
        if course.best == 0:
            self.report.warn(
                f"no epoch is better than the start ({validation.measure} {start:.4f}): the weights are those that training began "
                "with; try a smaller `rate`, or other photos"
            )
        else:
            self.report.note(f"the best is epoch {course.best}: {validation.measure} {best:.4f}, {start:.4f} at the start")


def _check_libraries():
    try:
        import safetensors  # noqa: F401 - told of together
        import torch  # noqa: F401
        import torchvision  # noqa: F401
    except ImportError:
        raise ImgretError("train needs PyTorch, torchvision and safetensors: pip install 'imgret[cnn]'") from None


def _entry(listing, kind, jobs):
    """How photos are recorded: by name and SHA-256."""
    with concurrent.futures.ThreadPoolExecutor(jobs) as pool:
        digests = list(pool.map(_digest, listing.paths))
    rows = [[os.fsdecode(name), digest] for name, digest in zip(listing.names, digests, strict=True)]
    return {"path": kind, "kind": "photos", "content": of_json(rows)}


def _digest(path):
    """SHA-256 of a file, hex; "" where it cannot be read."""
    try:
        return images.read_file(path).digest.hex()
    except images.BadPhoto:
        return ""
