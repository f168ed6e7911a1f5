"""index: vectors to a searchable index."""

import contextlib
import os

import numpy as np

from imgret.arrays import zero_rows
from imgret.errors import ImgretError, UsageError, counted, quoted
from imgret.indexes import DEFAULT, INDEXES
from imgret.inputs.chances import TAILS, learn
from imgret.inputs.entries import Entries
from imgret.inputs.fitting import codebook_of, misfit
from imgret.inputs.photos import Photos
from imgret.inputs.quantizers import HASHES, Learned, Learning, kept
from imgret.inputs.samples import DEFAULT_MEMORY, check_one_space, in_order, parse_bytes
from imgret.inputs.stores import Stores
from imgret.metrics import check_metric
from imgret.paths import plain, several
from imgret.pipeline import Pipeline
from imgret.registry import load
from imgret.runs.details import tell_inputs
from imgret.runs.failures import MaxGone
from imgret.runs.kept import Before
from imgret.runs.output import Output
from imgret.runs.run import Run
from imgret.store.erasing import remove
from imgret.store.photos import PhotoWriter, boxed, totals_of
from imgret.store.reader import Store

WORDS = "inverted"  # the index of words stores where no method is named
READ_BYTES = 4 << 20  # of vectors, read at once
META_ROWS = 4096  # photos whose columns are written at once


def index(
    inputs,
    out,
    *,
    method=None,
    settings=(),
    metric=None,
    codebook=None,
    train=(),
    seed=None,
    max_memory=None,
    max_gone=None,
    run=Run(),
):
    """Make vectors, or visual words, searchable.

    The index is built in memory, see `imgret.indexes.held.Held`. What it learns before it is filled is kept where it takes the place of an
    index of mostly the same photos (`imgret.inputs.quantizers.kept`).

    Parameters
    ----------
    inputs : str or sequence of str
        Vectors stores, or words stores; their photos are put together.
    out : str
        The index to make.
    method : str, optional
        A name of `INDEXES`; what the codebook is for, "inverted" for words stores, or `DEFAULT`, if not given.
    settings : sequence of str
        NAME=VALUE.
    metric : str, optional
        "cosine", "l2" or "ip"; the codebook's, or "cosine", if not given.
    codebook : str, optional
        The quantiser that it is filled by, learned before.
    train : str or sequence of str
        Vectors stores to learn from instead of the inputs.
    seed : int, optional
        The method's parameter, where it has one.
    max_memory : str, optional
        What the vectors to learn from may take ("2G").
    max_gone : str, optional
        "N" or "N%": the step fails where more of the photos in the finished index are no longer in the inputs.
    run : imgret.runs.run.Run

    Raises
    ------
    ImgretError
    """
    run.in_one_piece("index")
    memory, limit = parse_bytes(max_memory or DEFAULT_MEMORY), MaxGone(max_gone)
    inputs, train = several(inputs), several(train)
    if method is None and codebook is None and inputs and _holds_words(inputs[0]):
        method = WORDS
    if codebook is None:
        asked = _asked(method, settings, metric, seed, train)
    else:
        _check_alone(method, metric, {"--set": settings, "--train": train, "--seed": seed})
    if not inputs:
        raise UsageError("give at least one vectors or words store")
    with Stores() as opened:
        words = None if codebook is None else codebook_of(opened, plain(codebook))
        kind, params, metric, given = asked if words is None else _given(words, method, metric)
        stores = [opened.add(path, (kind.takes,), "index") for path in inputs]
        teachers = [opened.add(path, (kind.takes,), "--train") for path in train]
        check_one_space(stores + teachers)
        recorded = {"step": "index", "method": kind.name, "version": kind.version}
        recorded |= {"params": params.to_json()} | ({"metric": metric} if kind.takes == "vectors" else {})
        as_given, stores, teachers = _made_of(stores, teachers, words), in_order(stores), in_order(teachers)
        output = Output(out, "index", recorded, _made_of(stores, teachers, words), run, as_given)
        tell_inputs(run.report, stores)
        tell_inputs(run.report, teachers, "learns from")
        if words is not None:
            tell_inputs(run.report, [words], "is filled by")
            _check_fit(words, given, stores[0])
        if not output.up_to_date(whole=lambda store: not (run.overwrite and kind.judged) or store.has(TAILS)):
            pipeline, photos = Pipeline.load(stores[0]).whole(), Photos(stores)
            built = kind(params, metric or "cosine", *(pipeline.codebooks_for(kind) if metric else (pipeline.component(),)))
            with contextlib.closing(Before(output, "indexed")) as before:
                before.refuse_gone(limit, photos.names, {"digest": photos.values("digest")}, photos.failures())
            if kind.takes == "words":
                _make_of_words(output, built, photos, memory, pipeline)
                return
            source = kept(output, kind, pipeline.node, photos) if words is None else Learned(given.quantizer_, {"train": None})
            _make(output, built, photos, source or Learning(teachers or stores, memory), pipeline)


def _asked(method, settings, metric, seed, train):
    """The index that is asked for without a codebook: its class, parameters and metric, and None."""
    kind = load(INDEXES, DEFAULT if method is None else method, "index")
    if kind.takes == "words":
        if metric is not None or train:
            raise UsageError(f"-m {kind.name} sums what visual words are worth: leave {'--metric' if metric else '--train'} out")
        return kind, kind.Params.parse(settings), None, None
    metric = "cosine" if metric is None else metric
    params = kind.Params.parse(settings, **({"seed": seed} if kind.seeded else {}))
    check_metric(metric)
    return kind, params, metric, None


def _holds_words(path):
    """Whether a file is a store of visual words."""
    with Store(path) as store:
        return store.kind == "words"


def _make_of_words(output, built, photos, memory, pipeline):
    """Fill an inverted file and write it."""
    run, source = output.run, Entries(photos, built.encoder)
    with output.being_made() as parts, _sorting(parts) as folder:
        with run.report.progress(2 * source.photos, "photo") as progress:  # each is read twice
            built.fill(source, folder, memory, progress.update)
        _write(output, photos, built, pipeline, {"entries": source.entries}, None)
        size = os.stat(output.path).st_size
        run.report.note(
            f"{output.shown}: {counted(source.photos, 'photo')}, {counted(source.entries, 'entry', 'entries')}, {size / 1e6:.3g} MB"
        )


@contextlib.contextmanager
def _sorting(parts):
    """A folder for what is sorted on the disk, which the next run sweeps up if this one is killed."""
    folder = parts.temporary()
    os.mkdir(folder)
    try:
        yield folder
    finally:
        remove(folder)


def _check_alone(method, metric, options):
    """Refuse what a codebook has decided, before any file is looked at."""
    if metric is not None:
        check_metric(metric)
    if method is not None and load(INDEXES, method, "index").quantizer is None:
        raise UsageError(f"-m {method} takes no codebook: leave -c out")
    for option, given in options.items():
        if given not in (None, (), []):
            raise UsageError(f"the codebook (-c) has been learned: leave {option} out")


def _given(words, method, metric):
    """The index that a codebook is for: its class, parameters and metric, and the fitted codebook."""
    pipeline = Pipeline.load(words)
    name = pipeline.node["component"]
    kinds = [other for other in INDEXES if load(INDEXES, other, "index").quantizer is not None]
    if name not in kinds:
        raise ImgretError(
            f"{words.shown} is a {quoted(name)} codebook, by which no index is filled: learn one with imgret codebook -m {kinds[0]} "
            f"({', '.join(kinds[1:])})"
        )
    if method not in (None, name):
        raise ImgretError(f"{words.shown} is a {name} codebook; {method} needs {method}: leave -m out, and the codebook decides")
    fitted = pipeline.component()
    learned_for = fitted.params.metric
    if metric not in (None, learned_for):
        raise ImgretError(
            f"{words.shown} was learned for --metric {learned_for}: leave --metric out, or learn another with --set metric={metric}"
        )
    return load(INDEXES, name, "index"), fitted.quantizer_.params, learned_for, fitted


def _check_fit(words, fitted, store):
    """Refuse a codebook that was learned in another space than the vectors'."""
    problem = misfit(words, Pipeline.load(words), fitted, store, Pipeline.load(store).node)
    if problem:
        raise ImgretError(problem)


def _made_of(stores, teachers, words):
    """How the inputs are recorded."""
    made_of = [store.as_input() for store in stores] + [store.as_input() | {"role": "train"} for store in teachers]
    return made_of if words is None else [*made_of, words.as_input()]


def _make(output, built, photos, source, pipeline):
    """Plan, train, fill and write."""
    run, dim, count = output.run, photos.stores[0].sizes["V"], len(photos.names)
    layout = source.prepare(built, dim, count)
    run.report.note(f"{built.name}: {layout}")
    with output.being_made():
        info = {"layout": layout} | source.teach(built, run) | {"dim": dim}
        zero = _fill(built, photos, run)
        run.report.zero(zero, count, "vectors", built.metric)
        chance = learn(built, photos, run.jobs, source.before)
        info |= {"zero": zero} if zero else {}
        _write(output, photos, built, pipeline, info, chance)
        size = os.stat(output.path).st_size
        run.report.note(f"{output.shown}: {counted(count, 'photo')}, {size / 1e6:.3g} MB")


def _fill(built, photos, run):
    """Add the photos' vectors; how many of them are zero."""
    zero = 0
    with run.report.progress(len(photos.names), "photo") as progress:

        def read():
            nonlocal zero
            for block in _blocks(photos):
                yield block
                progress.update(len(block))
                zero += zero_rows(block)

        built.extend(read(), jobs=run.jobs)
    return zero


def _blocks(photos):
    """Yield the photos' vectors in order, float32."""
    count, dim = len(photos.names), photos.stores[0].sizes["V"]
    step = max(1, READ_BYTES // (4 * max(1, dim)))

    def read(store, first, last):
        rows = store.read("vectors", first, last).astype(np.float32, copy=False)
        if not np.isfinite(rows).all():
            raise ImgretError(f"the rows of {store.shown} hold NaN or infinite values")
        return rows

    for start in range(0, count, step):
        yield photos.gathered(read, start, min(start + step, count))


def _write(output, photos, built, pipeline, info, chance):
    stores, count = photos.stores, len(photos.names)
    with output.create(pipeline, info, built.facts()) as writer:
        totals = totals_of(stores) | {"R": count}
        columns = PhotoWriter(writer, "index", boxed(stores), totals)
        for start in range(0, count, META_ROWS):
            for store, first, last in photos.runs(start, min(start + META_ROWS, count)):
                columns.copy_meta(store, first, last)
        columns.rows(rows=np.arange(count))
        if chance is not None:
            chance.write(writer)
        if built.hashes is not None:
            writer.array(HASHES, built.hashes)
        built.save(lambda name, *shape: writer.column(f"structure/{name}", *shape))
        columns.copy_all_failed(stores)
        writer.fingerprint = columns.fingerprint(output.recipe)
        output.tell_mixed(writer, pipeline)
