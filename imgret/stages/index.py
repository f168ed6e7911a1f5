"""index: vectors to a searchable index."""

import contextlib
import os

import numpy as np

from imgret.errors import ImgretError, UsageError
from imgret.indexes import INDEXES
from imgret.indexes.base import check_metric
from imgret.inputs.photos import Photos
from imgret.inputs.samples import DEFAULT_MEMORY, check_one_space, draw, parse_bytes
from imgret.pipeline import Pipeline
from imgret.registry import load
from imgret.runs.output import Output, input_of
from imgret.runs.run import Run
from imgret.store.photos import PhotoWriter, boxed, totals_of
from imgret.store.reader import Store

ADD_ROWS = 8192  # vectors added at once


def index(
    inputs,
    out,
    *,
    method,
    settings=(),
    factory=None,
    metric="cosine",
    train=(),
    seed=None,
    max_memory=None,
    run=Run(),
):
    """Make vectors searchable.

    The index is built in memory: it takes about as much as its file will.

    Parameters
    ----------
    inputs : sequence of str
        Vectors stores; their photos are put together.
    out : str
        The index to make.
    method : str
        A name of `INDEXES`.
    settings : sequence of str
        NAME=VALUE.
    factory : str, optional
        A faiss index factory string, for the method "factory".
    metric : str
        "cosine", "l2" or "ip".
    train : sequence of str
        Vectors stores to learn from instead of the inputs.
    seed : int, optional
    max_memory : str, optional
        What the vectors to learn from may take ("2G").
    run : imgret.runs.run.Run

    Raises
    ------
    ImgretError
    """
    run.in_one_piece("index")
    kind = load(INDEXES, method, "index")
    chosen = kind.Params.parse(settings, **({} if factory is None else {"factory": factory}), **({"seed": seed} if kind.seeded else {}))
    check_metric(metric)
    memory = parse_bytes(max_memory or DEFAULT_MEMORY)
    if not inputs:
        raise UsageError("give at least one vectors store")
    with contextlib.ExitStack() as stack:
        stores = [stack.enter_context(Store(path, (kind.takes,), "index")) for path in inputs]
        teachers = [stack.enter_context(Store(path, (kind.takes,), "--train")) for path in train]
        check_one_space(stores + teachers)
        params = {"step": "index", "method": method, "version": kind.version, "metric": metric, "params": chosen.to_json()}
        made_of = [input_of(store) for store in stores] + [input_of(store) | {"role": "train"} for store in teachers]
        output = Output(out, "index", params, made_of, run)
        if output.up_to_date():
            return
        pipeline = Pipeline.load(stores[0])
        built = kind(chosen, metric, *pipeline.codebooks_for(kind))
        photos, dim = Photos(stores), stores[0].sizes["V"]
        n_train = sum(store.sizes["N"] for store in teachers or stores)
        layout = built.plan(dim, min(n_train, memory // (4 * max(1, dim))), len(photos.names))
        run.report.note(f"{method}: {layout}")

        with output.being_made():
            drawn = _train(built, teachers or stores, n_train, memory, run.jobs)
            with run.report.progress(len(photos.names), "photo") as progress:
                for block in _blocks(photos):
                    built.add(block)
                    progress.update(len(block))
            _write(output, stores, photos, built, pipeline, {"layout": layout, "train": drawn, "dim": dim})
            size = os.stat(output.path).st_size
            run.report.note(f"{output.shown}: {len(photos.names)} photos, {size / 1e6:.3g} MB")


def _train(built, stores, count, memory, jobs):
    """Let an index learn from a sample, where it does; what was drawn."""
    if not built.trains:
        return None
    sample, drawn = draw(stores, count, built.params.seed if built.seeded else 0, memory)
    built.train(sample, jobs=jobs)
    return drawn


def _blocks(photos):
    for store, start, stop in photos.runs(0, len(photos.names)):
        for first in range(start, stop, ADD_ROWS):
            block = store.read("vectors", first, min(first + ADD_ROWS, stop)).astype(np.float32)
            if not np.isfinite(block).all():
                raise ImgretError(f"the rows of {store.shown} hold NaN or infinite values")
            yield block


def _write(output, stores, photos, built, pipeline, info):
    count, structure = len(photos.names), built.arrays()["faiss"]
    with output.create(pipeline, info) as writer:
        totals = totals_of(stores) | {"R": count, "B": len(structure)}
        columns = PhotoWriter(writer, "index", boxed(stores), totals)
        for store, start, stop in photos.runs(0, count):
            columns.copy_meta(store, start, stop)
        columns.rows(rows=np.arange(count), index=structure)
        columns.copy_all_failed(stores)
        writer.fingerprint = columns.fingerprint(output.recipe)
