"""index: vectors to a searchable index."""

import contextlib
import os

import numpy as np

from imgret.errors import ImgretError, UsageError
from imgret.indexes import INDEXES
from imgret.inputs.photos import Photos
from imgret.inputs.samples import DEFAULT_MEMORY, check_one_space, draw, parse_bytes
from imgret.pipeline import Pipeline
from imgret.registry import load
from imgret.runs import stopping
from imgret.runs.output import Output, input_of
from imgret.runs.parts import run_to_end
from imgret.store.photos import PhotoWriter, boxed, totals_of
from imgret.store.reader import Store

ADD_ROWS = 8192  # vectors added at once
METRICS = ("cosine", "l2", "ip")


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
    jobs=1,
    overwrite=False,
    report,
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
    jobs, overwrite, report : see `imgret.stages.extract.extract`

    Raises
    ------
    ImgretError
    """
    kind = load(INDEXES, method, "index")
    given = {"seed": seed} if factory is None else {"seed": seed, "factory": factory}
    if seed is None or not hasattr(kind.Params, "seed"):
        given.pop("seed")
    built = kind(kind.Params.parse(settings, **given), metric)
    memory = parse_bytes(max_memory or DEFAULT_MEMORY)
    if not inputs:
        raise UsageError("give at least one vectors store")
    with contextlib.ExitStack() as stack:
        stores = [stack.enter_context(Store(path, ("vectors",), "index")) for path in inputs]
        teachers = [stack.enter_context(Store(path, ("vectors",), "--train")) for path in train]
        check_one_space(stores + teachers)
        params = {"step": "index", "method": method, "version": kind.version, "metric": metric, "params": built.params.to_json()}
        made_of = [input_of(store) for store in stores] + [input_of(store) | {"role": "train"} for store in teachers]
        output = Output(out, "index", params, made_of, overwrite)
        if output.up_to_date(report):
            return
        pipeline = Pipeline.load(stores[0])
        photos, dim = Photos(stores), stores[0].sizes["V"]
        n_train = sum(store.sizes["N"] for store in teachers or stores)
        layout = built.plan(dim, min(n_train, memory // (4 * max(1, dim))), len(photos.names))
        report.note(f"{method}: {layout}")

        def body():
            output.parts.prepare()
            sample, drawn = (
                (None, None) if not built.trains else draw(teachers or stores, n_train, getattr(built.params, "seed", 0), memory)
            )
            if built.trains:
                built.train(sample, jobs=jobs)
            del sample
            with report.progress(len(photos.names), "photo") as progress:
                for block in _blocks(photos):
                    built.add(block)
                    progress.update(len(block))
            _write(output, stores, photos, built.to_bytes(), pipeline, {"layout": layout, "train": drawn, "dim": dim}, {"dim": dim})
            size = os.stat(output.path).st_size
            report.note(f"{output.shown}: {len(photos.names)} photos, {size / 1e6:.3g} MB")

        with stopping.guard():
            run_to_end(output, report, body)


def _blocks(photos):
    for store, start, stop in photos.runs(0, len(photos.names)):
        for first in range(start, stop, ADD_ROWS):
            block = store.read("vectors", first, min(first + ADD_ROWS, stop)).astype(np.float32)
            if not np.isfinite(block).all():
                raise ImgretError(f"the rows of {store.shown} hold NaN or infinite values")
            yield block


def _write(output, stores, photos, structure, pipeline, info, facts):
    count = len(photos.names)
    with output.create(pipeline, info, facts) as writer:
        totals = totals_of(stores) | {"R": count}
        columns = PhotoWriter(writer, "index", boxed(stores), totals)
        for store, start, stop in photos.runs(0, count):
            columns.copy_meta(store, start, stop)
        columns.rows(rows=np.arange(count))
        writer.array("structure/faiss", structure)
        columns.copy_all_failed(stores)
        writer.fingerprint = columns.fingerprint(output.recipe)
