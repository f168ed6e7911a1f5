"""index: vectors to a searchable index."""

import contextlib
import os

import numpy as np

from imgret.arrays import zero_rows
from imgret.errors import ImgretError, UsageError
from imgret.indexes import DEFAULT, INDEXES
from imgret.indexes.base import check_metric
from imgret.inputs.chances import TAILS, learn
from imgret.inputs.photos import Photos
from imgret.inputs.samples import DEFAULT_MEMORY, check_one_space, draw, in_order, parse_bytes
from imgret.inputs.stores import Stores
from imgret.paths import several
from imgret.pipeline import Pipeline
from imgret.registry import load
from imgret.runs.details import amount, tell_inputs
from imgret.runs.failures import MaxGone
from imgret.runs.kept import Before
from imgret.runs.output import Output
from imgret.runs.run import Run
from imgret.store.photos import PhotoWriter, boxed, totals_of

READ_BYTES = 4 << 20  # of vectors, read at once
META_ROWS = 4096  # photos whose columns are written at once


def index(inputs, out, *, method=DEFAULT, settings=(), metric="cosine", train=(), seed=None, max_memory=None, max_gone=None, run=Run()):
    """Make vectors searchable.

    The index is built in memory, see `imgret.indexes.held.Held`.

    Parameters
    ----------
    inputs : str or sequence of str
        Vectors stores; their photos are put together.
    out : str
        The index to make.
    method : str
        A name of `INDEXES`.
    settings : sequence of str
        NAME=VALUE.
    metric : str
        "cosine", "l2" or "ip".
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
    kind = load(INDEXES, method, "index")
    params = kind.Params.parse(settings, **({"seed": seed} if kind.seeded else {}))
    check_metric(metric)
    memory, limit = parse_bytes(max_memory or DEFAULT_MEMORY), MaxGone(max_gone)
    inputs = several(inputs)
    if not inputs:
        raise UsageError("give at least one vectors store")
    with Stores() as opened:
        if kind.takes != "vectors":
            raise ImgretError(f"the index '{method}' takes {kind.takes}, and this step fills indexes of vectors alone: choose another -m")
        stores = [opened.add(path, (kind.takes,), "index") for path in inputs]
        teachers = [opened.add(path, (kind.takes,), "--train") for path in several(train)]
        check_one_space(stores + teachers)
        recorded = {"step": "index", "method": method, "version": kind.version, "metric": metric, "params": params.to_json()}
        as_given, stores, teachers = _made_of(stores, teachers), in_order(stores), in_order(teachers)
        output = Output(out, "index", recorded, _made_of(stores, teachers), run, as_given)
        tell_inputs(run.report, stores)
        tell_inputs(run.report, teachers, "learns from")
        if not output.up_to_date(whole=lambda store: not (run.overwrite and kind.judged) or store.has(TAILS)):
            pipeline = Pipeline.load(stores[0]).whole()
            built = kind(params, metric, *pipeline.codebooks_for(kind))
            photos = Photos(stores)
            with contextlib.closing(Before(output, "indexed")) as before:
                before.refuse_gone(limit, photos.names, photos.failures())
            _make(output, built, photos, teachers or stores, pipeline, memory)


def _made_of(stores, teachers):
    """How the inputs are recorded."""
    return [store.as_input() for store in stores] + [store.as_input() | {"role": "train"} for store in teachers]


def _make(output, built, photos, teachers, pipeline, memory):
    """Plan, train, fill and write."""
    run, dim, count = output.run, photos.stores[0].sizes["V"], len(photos.names)
    n_train = sum(store.sizes["N"] for store in teachers)
    layout = built.plan(dim, min(n_train, memory // (4 * max(1, dim))), count)
    run.report.note(f"{built.name}: {layout}")
    with output.being_made():
        zero, drawn = 0, _train(built, teachers, n_train, memory, run.jobs, run.report)
        with run.report.progress(count, "photo") as progress:
            for block in _blocks(photos):
                built.add(block)
                progress.update(len(block))
                zero += zero_rows(block)
        run.report.zero(zero, count, "vectors", built.metric)
        info = {"layout": layout, "train": drawn, "dim": dim} | ({"zero": zero} if zero else {})
        _write(output, photos, built, pipeline, info, learn(built, photos, run.jobs))
        size = os.stat(output.path).st_size
        run.report.note(f"{output.shown}: {count} photos, {size / 1e6:.3g} MB")


def _train(built, stores, count, memory, jobs, report):
    """Let an index learn from a sample, where it does; what was drawn."""
    if not built.trains:
        return None
    sample, drawn = draw(stores, count, built.params.seed if built.seeded else 0, memory)
    report.detail(f"{built.name} learns from {len(sample)} vectors, {amount(sample.nbytes)}, on {jobs} threads")
    built.train(sample, jobs=jobs)
    return drawn


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
        built.save(lambda name, *shape: writer.column(f"structure/{name}", *shape))
        columns.copy_all_failed(stores)
        writer.fingerprint = columns.fingerprint(output.recipe)
        output.tell_mixed(writer, pipeline)
