"""train: photos and what is known of them to a network."""

import concurrent.futures
import contextlib
import hashlib
import os

import numpy as np

from imgret import images
from imgret.errors import ImgretError, UsageError, counted
from imgret.evaluation import PROTOCOLS
from imgret.inputs.truths import check_apart, check_use, truth_of
from imgret.listing import Given, tell_unread
from imgret.networks.trained import ENDING
from imgret.paths import plain
from imgret.registry import load
from imgret.runs.networkfiles import NetworkFile, NetworkOutput
from imgret.runs.run import Run
from imgret.stages.trainfiles import SideFiles
from imgret.store.hashing import of_json
from imgret.trainers import TRAINERS
from imgret.training.reading import Reading

BLOCK = 1 << 20


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
    files = SideFiles(outputs or {}, {"-o": out, "--last": last}, reads, run)
    return _Step(out, method, settings, given or {}, files, run).run(photos, truths[0], validate, truths[1], protocol)


class _Step:
    def __init__(self, out, method, settings, given, files, run):
        self.out, self.files, self.run_, self.report, self.logs = out, files, run, run.report, []
        self.kind = load(TRAINERS, method, "way to train")
        self.params = self.kind.Params.parse(settings, **given)

    def run(self, photos, truth, validate, validate_truth, protocol):
        truth = truth_of(truth)
        self._check_truth(truth)
        judge, judged_by = self._judge(validate, truth, validate_truth, protocol)
        listing = photos.listed()
        tell_unread(listing, self.report)
        others = validate.listed() if validate else None
        network = self._network()
        inputs = [_entry(listing, "photos", self.run_.jobs), *truth.entry()]
        if others is not None:
            inputs += [_entry(others, "validation photos", self.run_.jobs), *judged_by.entry()]
        self.params = network.params
        recorded = {name: value for name, value in self.params.to_json().items()}
        params = {"step": "train", "method": self.kind.name, "version": self.kind.version, "params": recorded, "truth": truth.form}
        if others is not None:
            params["validation"] = {"protocol": judge.name, "truth": judged_by.form}
        output = NetworkOutput(self.out, "network", params, inputs, self.run_)
        for found in filter(None, (listing, others)):
            output.spare([], found)
            self.files.spare(found)
        self.logs = self.files.begin(output.recipe)
        if not output.up_to_date():
            with output.being_made() as parts:
                self._train(output, parts, network, listing, others, truth, judge, judged_by)
        self.files.finish(NetworkFile(output.path), [listing] if others is None else [listing, others])

    def _check_truth(self, truth):
        if self.kind.labels == "needed" and not truth.form:
            raise UsageError(f"-m {self.kind.name} learns from a truth: give --truth a CSV, folders or names")
        if self.kind.labels == "none" and truth.form:
            raise UsageError(f"-m {self.kind.name} learns from photos alone: leave --truth out")

    def _judge(self, validate, truth, given, protocol):
        """The protocol that validates and its truth; None, None where there are no photos to validate by."""
        if not validate:
            for option, value in (("--validate-truth", given), ("--validate-protocol", protocol)):
                if value is not None:
                    raise UsageError(f"{option} is about the photos of --validate: give those too")
            return None, None
        judged_by = truth if given is None else truth_of(given)
        if protocol is None:
            check_use(judged_by)
        kind = load(PROTOCOLS, protocol or judged_by.protocol, "protocol")
        judge = kind()
        judge.check_truth(judged_by.path)
        return judge, judged_by

    def _network(self):
        from imgret.networks import backbones
        from imgret.networks.heads import HEADS
        from imgret.networks.trainable import Trainable

        try:
            import safetensors  # noqa: F401 - told of together
            import torch
            import torchvision  # noqa: F401
        except ImportError:
            raise ImgretError("train needs PyTorch, torchvision and safetensors: pip install 'imgret[cnn]'") from None
        device = backbones.device_of(self.run_.device)
        torch.set_num_threads(self.params.threads)
        torch.use_deterministic_algorithms(True, warn_only=True)
        torch.backends.cudnn.allow_tf32 = False
        head = load(HEADS, self.params.pool, "head")(self.params.chosen)
        return Trainable(self.params, head, device)

    def _train(self, output, parts, network, listing, others, truth, judge, judged_by):
        from imgret.trainers.base import Task
        from imgret.training.augment import Augment
        from imgret.training.heldout import HeldOut, held_out
        from imgret.training.keeping import Keeping
        from imgret.training.loader import Loader
        from imgret.training.looking import look
        from imgret.training.loop import Training
        from imgret.training.maps import Maps
        from imgret.training.source import Source
        from imgret.training.telling import Telling

        params, keeping = self.params, Keeping(parts)
        looked = look(listing, keeping.folder, self._reading(network), self.run_)
        relations, groups, notes = truth.relations(looked.names, params.near, params.far)
        for note in notes:
            self.report.note(note)
        count = len(looked.names)
        if others is None:
            kept = held_out(relations, looked.names, params.holdout, params.seed)
            numbers = np.setdiff1d(np.arange(count), kept)
            validation = HeldOut(relations, kept, bool(truth.form)) if len(kept) else None
            whole = looked
        else:
            seen = look(others, keeping.folder, self._reading(network), self.run_)
            validation = self._validation(judge, judged_by, seen, count)
            check_apart((looked.digests, looked.names, groups), (seen.digests, seen.names, judged_by.relations(seen.names)[1]))
            numbers, whole = np.arange(count), looked.joined(seen)
        if validation is None:
            self.report.warn("nothing is scored: too few groups to hold some out, and no --validate; the last weights are kept")
        mine, _, _ = truth.relations([looked.names[number] for number in numbers.tolist()], params.near, params.far)
        task = Task(mine, [looked.names[number] for number in numbers.tolist()], bool(truth.form), params.seed, params.epochs)
        trainer = self.kind(params)
        tell = Telling(self.report, self.logs)
        with contextlib.ExitStack() as stack:
            loader = stack.enter_context(contextlib.closing(Loader(whole, params, Augment(params), params.seed, self.run_.jobs)))
            maps = Maps(keeping.folder, "maps", parts.recipe) if params.freeze else None
            source = Source(network, loader, maps)
            done = Training(network, trainer, task, source, validation, keeping, tell, numbers).run()
        self._tell_best(done.course, validation)
        extract = params.described() | done.described
        failed = [{"name": os.fsdecode(name), "code": code, "reason": reason} for name, code, reason in looked.failed]
        output.put(done.best, extract, self._history(done.course, validation, whole.names), failed)
        self.report.note(f"{output.shown}: {self.kind.name} on {counted(len(numbers), 'photo')}")

    def _validation(self, judge, judged_by, seen, first):
        from imgret.training.validation import Validation

        found = Validation(judge, seen.names, judged_by.path, self.run_.jobs)
        for note in found.notes:
            self.report.note(note)
        found.pairs = [(first + number, view) for number, view in found.pairs]
        return found

    def _tell_best(self, course, validation):
        if validation is None:
            return
        start, best = course.epochs[0]["score"], course.epochs[course.best]["score"]
        if course.best == 0:
            self.report.warn(
                f"no epoch is better than the start ({validation.measure} {start:.4f}): the weights are those that training began with; try a "
                "smaller `rate`, or other photos"
            )
        else:
            self.report.note(f"the best is epoch {course.best}: {validation.measure} {best:.4f}, {start:.4f} at the start")

    @staticmethod
    def _history(course, validation, names):
        shown = [os.fsdecode(name) for name in names]
        history = {"measure": None, "protocol": None, "validation": None, "best": course.best}
        if validation is not None:
            history |= {"measure": validation.measure, "protocol": validation.protocol, "validation": validation.told}
        history |= {"epochs": course.epochs, "steps": course.steps}
        history["examples"] = [
            {
                "epoch": each["epoch"],
                "query": shown[each["query"]],
                "positives": [shown[number] for number in each["positives"]],
                "negatives": [shown[number] for number in each["negatives"]],
            }
            for each in course.examples
        ]
        return history

    def _reading(self, network):
        return Reading(self.params.max_size, self.params.resize, network.least)


def _entry(listing, kind, jobs):
    """How photos are recorded: by name and SHA-256."""
    with concurrent.futures.ThreadPoolExecutor(jobs) as pool:
        digests = list(pool.map(_digest, listing.paths))
    rows = [[os.fsdecode(name), digest] for name, digest in zip(listing.names, digests, strict=True)]
    return {"path": kind, "kind": "photos", "content": of_json(rows)}


def _digest(path):
    """SHA-256 of a file, hex; "" where it cannot be read."""
    try:
        return hashlib.sha256(images.read_file(path).data).hexdigest()
    except images.BadPhoto:
        return ""
