"""codebook: rows to k-means, GMM, PCA or a whitening learned from pairs."""

import os
import time

import numpy as np

from imgret.codebooks import CODEBOOKS, DEFAULT
from imgret.errors import ImgretError, UsageError, quoted
from imgret.formats import files
from imgret.formats.groundtruth import CSV_LIMIT, read_groups
from imgret.inputs.fitting import arranged_codebooks, codebook_of, misfit
from imgret.inputs.samples import DEFAULT_MEMORY, check_one_space, draw, draw_photos, in_order, matching, parse_bytes
from imgret.inputs.stores import Stores
from imgret.paths import plain, several
from imgret.pipeline import Pipeline
from imgret.registry import load
from imgret.runs.details import amount, tell_inputs
from imgret.runs.output import Output
from imgret.runs.run import Run
from imgret.store.hashing import of_array
from imgret.store.reader import Store
from imgret.store.writer import Writer

CHECKPOINT_SECONDS = 30.0
DEFAULT_SAMPLE = 1_000_000


def codebook(
    inputs,
    out,
    *,
    method=DEFAULT,
    settings=(),
    size=None,
    seed=None,
    sample=None,
    pairs=None,
    codebook=None,
    max_memory=None,
    run=Run(),
):
    """Learn a codebook or a projection.

    Parameters
    ----------
    inputs : str or sequence of str
        Features or vectors stores.
    out : str
        The codebook to make.
    method : str
        A name of `CODEBOOKS`.
    settings : sequence of str
        NAME=VALUE.
    size, seed : int, optional
        The method's parameters of these names.
    sample : int, optional
        Rows to draw.
    pairs : str, optional
        A CSV of groups (`imgret.formats.groundtruth.read_groups`): photos of one group match. For methods that learn from pairs.
    codebook : str, optional
        The visual words that it is about, for methods that learn what words are like; `ready:NAME` for those of the package.
    max_memory : str, optional
        What the sample may take ("2G").
    run : imgret.runs.run.Run

    Raises
    ------
    ImgretError
    """
    run.in_one_piece("codebook")
    out, pairs = plain(out), plain(pairs)
    kind = load(CODEBOOKS, method, "codebook")
    fitted = kind(kind.Params.parse(settings, size=size, seed=seed))
    memory = parse_bytes(max_memory or DEFAULT_MEMORY)
    inputs = several(inputs)
    if not inputs:
        raise UsageError("give at least one features or vectors store")
    _check_teachers(kind, pairs, sample, codebook)
    with Stores() as opened:
        stores = [opened.add(path, kind.takes, "codebook") for path in inputs]
        check_one_space(stores)
        words = [] if codebook is None else [codebook_of(opened, plain(codebook))]
        about = _words_of(kind, words, stores)
        params = {"step": "codebook", "method": kind.name, "version": kind.version, "params": fitted.params.to_json()}
        params |= {"sample": 0 if kind.needs_groups else sample or DEFAULT_SAMPLE, "max_memory": memory}
        pairs = None if pairs is None else files.Text.read(pairs, CSV_LIMIT)
        teachers = [] if pairs is None else [pairs.as_input("pairs")]
        given, stores = stores, in_order(stores)
        made_of, as_given = ([*(store.as_input() for store in (*each, *words)), *teachers] for each in (stores, given))
        output = Output(out, "codebook", params, made_of, run, as_given)
        tell_inputs(run.report, stores)
        if not output.up_to_date():
            _make(output, fitted, stores, pairs, about)


def _words_of(kind, words, stores):
    """The pipeline of the words that a codebook is about, from a list of their store; None where it is about none."""
    if not words:
        return None
    pipelines = [pipeline for _, pipeline in arranged_codebooks(words)]
    places, missing, _ = kind.assigned([pipeline.node["component"] for pipeline in pipelines])
    if missing is not None:
        name = quoted(pipelines[0].node["component"])
        raise ImgretError(f"{words[0].shown} is a {name} codebook; {kind.name} is learned with words ({missing}): give those with -c")
    pipeline = pipelines[places[0]]
    fitted = pipeline.component()
    for store in stores:
        problem = misfit(words[0], pipeline, fitted, store, Pipeline.load(store).node)
        if problem:
            raise ImgretError(problem)
    return pipeline


def _check_teachers(kind, pairs, sample, codebook):
    """Refuse what a method has no use for, and its absence where it has."""
    if kind.needs and codebook is None:
        raise UsageError(f"-m {kind.name} learns what words are like: give them with -c")
    if codebook is not None and not kind.needs:
        raise UsageError(f"-m {kind.name} takes no codebook: leave -c out")
    if kind.needs_groups and pairs is None:
        raise UsageError(f"-m {kind.name} learns from photos that match: give --pairs, a CSV with the header image,group")
    if pairs is not None and not kind.needs_groups:
        raise UsageError(f"-m {kind.name} does not learn from pairs: leave --pairs out")
    if kind.needs_groups and sample is not None:
        raise UsageError(f"-m {kind.name} learns from all photos in --pairs: leave --sample out")


def _make(output, fitted, stores, pairs, about):
    """Draw the sample, fit and write."""
    if about is not None:
        _make_about(output, fitted, stores, about)
        return
    run, learned_on = output.run, Pipeline.load(stores[0]).whole()
    with output.being_made() as parts:
        *learned_from, info = _sample(output, fitted, stores, pairs)
        if layout := fitted.plan(learned_from[0].shape[1], info["drawn"], info.get("rows", info["drawn"])):
            run.report.note(f"{fitted.name}: {layout}")
        run.report.detail(f"{fitted.name} learns from {info['drawn']} rows, {amount(learned_from[0].nbytes)}, on {run.jobs} threads")
        with run.report.progress(0, fitted.step) as progress:
            fitted.fit(*learned_from, jobs=run.jobs, checkpoint=Checkpoint(parts), progress=progress.reach)
        _check_finite(fitted)
        with output.create(_pipeline(fitted, learned_on), {"sample": info, "summary": fitted.summary()}):
            pass
        run.report.note(f"{output.shown}: {fitted.name} of {info['drawn']} rows ({_words(fitted.summary())})")


def _make_about(output, fitted, stores, about):
    """Draw photos, learn what their words are like, and write."""
    run, learned_on = output.run, Pipeline.load(stores[0]).whole()
    with output.being_made():
        rows, counts, info = draw_photos(stores, output.params["sample"], fitted.params.seed, output.params["max_memory"])
        _tell_limit(output, info)
        run.report.detail(f"{fitted.name} learns from {info['photos']} photos, {amount(rows.nbytes)}, on {run.jobs} threads")
        with run.report.progress(0, fitted.step) as progress:
            fitted.fit_photos(rows, counts, about.component(), jobs=run.jobs, progress=progress.reach)
        _check_finite(fitted)
        pipeline = Pipeline.of("codebook", fitted, [learned_on, about.without_inputs()], fitted.to_arrays())
        with output.create(pipeline, {"sample": info, "summary": fitted.summary()}):
            pass
        run.report.note(f"{output.shown}: {fitted.name} of {info['drawn']} descriptors ({_words(fitted.summary())})")


def _tell_limit(output, info):
    if info["limited_by_memory"]:
        output.run.report.note(f"{info['drawn']} rows are drawn, as many as --max-memory allows")


def _sample(output, fitted, stores, pairs):
    """What `fit` takes, and what is recorded of it."""
    memory = output.params["max_memory"]
    if fitted.needs_groups:
        return matching(stores, read_groups(pairs.stream()), pairs.path, memory)
    rows, info = draw(stores, output.params["sample"], fitted.params.seed if fitted.seeded else 0, memory)
    _tell_limit(output, info)
    return rows, info


def _pipeline(fitted, learned_on):
    return Pipeline.of("codebook", fitted, [learned_on], fitted.to_arrays())


def _check_finite(fitted):
    for name, array in fitted.to_arrays().items():
        if not np.isfinite(array).all():
            raise ImgretError(f"{fitted.name} learned values that are not finite ({name}): are the inputs sound?")


def _words(summary):
    shown = ((name.replace("_", " "), value) for name, value in summary.items())
    return ", ".join(f"{name} {value:.6g}" if isinstance(value, float) else f"{name} {value}" for name, value in shown)


class Checkpoint:
    """Where a fit keeps its state: in the folder of parts, which goes when the codebook is there."""

    def __init__(self, parts):
        self._parts, self._path, self._saved = parts, os.path.join(parts.folder, "checkpoint.h5"), time.monotonic()

    def load(self):
        """The last state saved, or None."""
        if not os.path.exists(self._path):
            return None
        try:
            with Store(self._path, ("codebook",)) as store:
                return {name: store.pipeline_array(digest) for name, digest in store.pipeline["arrays"].items()}
        except (ImgretError, TypeError, KeyError, AttributeError):
            return None  # damaged: the fit begins again

    def save(self, make_state):
        """Save a state, if the last one was saved long enough ago."""
        if time.monotonic() - self._saved < CHECKPOINT_SECONDS:
            return
        self._saved = time.monotonic()
        state = {name: np.atleast_1d(array) for name, array in make_state().items()}
        hashes = {name: of_array(array) for name, array in state.items()}
        with Writer(self._parts.temporary()) as writer:
            arrays = {hashes[name]: array for name, array in state.items()}
            writer.finish("codebook", recipe=self._parts.recipe, params={}, pipeline={"arrays": hashes, "inputs": []}, arrays=arrays)
            writer.publish(self._path)
