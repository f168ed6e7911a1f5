"""encode: each photo's descriptors, its vector, or several vectors of it, to one vector."""

import contextlib
import os

import numpy as np

from imgret.codebooks import CODEBOOKS
from imgret.encoders import ENCODERS
from imgret.errors import ImgretError, UsageError
from imgret.inputs.photos import JoinedPhotos, Photos
from imgret.parallel import one_thread
from imgret.pipeline import Pipeline, differences, same_space
from imgret.registry import load
from imgret.runs.output import Output, input_of
from imgret.runs.parts import PartWorker, Step, Work
from imgret.runs.run import Run
from imgret.store.photos import boxed
from imgret.store.reader import Store

WORKER = "imgret.stages.encode:EncodeWorker"


def encode(inputs, codebook, out, *, method=None, settings=(), run=Run()):
    """Turn each photo's descriptors, its vector, or several vectors of it, into one vector.

    Parameters
    ----------
    inputs : sequence of str
        Features stores (for vlad, fisher) or vectors stores (for a projection), whose photos are put together; or vectors stores of the
        same photos (concat).
    codebook : str or None
        The codebook; None where the method takes none.
    out : str
        The vectors store to make.
    method : str, optional
        A name of `ENCODERS`; the codebook decides without it.
    settings : sequence of str
        NAME=VALUE.
    run : imgret.runs.run.Run

    Raises
    ------
    ImgretError
    """
    if not inputs:
        raise UsageError("give at least one features or vectors store")
    if method is not None:
        kind = load(ENCODERS, method, "encoder")
        kind.Params.parse(settings)  # wrong before any file is looked at
        if kind.codebooks and codebook is None:
            raise UsageError(f"-m {method} needs a codebook: give -c")
        if not kind.codebooks and codebook is not None:
            raise UsageError(f"-m {method} takes no codebook: leave -c out")
    elif codebook is None:
        raise UsageError("give a codebook (-c), or a method that needs none (-m concat)")
    with contextlib.ExitStack() as stack:
        words, learned = None, None
        if codebook is not None:
            words = stack.enter_context(Store(codebook, ("codebook",), "--codebook"))
            learned = Pipeline.load(words)
            learned.component()  # refused here if it is not sound
            method = method or load(CODEBOOKS, learned.node["component"], "codebook").default_encoder
            kind = load(ENCODERS, method, "encoder")
            if learned.node["component"] not in kind.codebooks:
                raise ImgretError(
                    f"{words.shown} is a {learned.node['component']} codebook; {method} needs {' or '.join(kind.codebooks)}: "
                    "leave -m out, and the codebook decides"
                )
        kinds = ("features", "vectors") if kind.codebooks else ("vectors",)
        stores = [stack.enter_context(Store(path, kinds, "encode")) for path in inputs]
        if learned is None:
            if len(stores) < 2:
                raise UsageError(f"-m {method} joins vectors of the same photos: give at least two vectors stores")
        encoder = _encoder(kind, kind.Params.parse(settings), stores, learned)
        if learned is not None:
            _check_fit(stores, words, learned, kind)
        inputs_made = [*map(input_of, stores), *([] if words is None else [input_of(words)])]
        params = {"step": "encode", "method": method, "version": kind.version, "params": encoder.params.to_json()}
        output = Output(out, "vectors", params, inputs_made, run)
        if output.up_to_date():
            return
        photos = Photos(stores) if learned else JoinedPhotos(stores)
        made_of = [Pipeline.load(store) for store in (stores[:1] if learned else stores)]
        pipeline = Pipeline.of("encoder", encoder, [*made_of, *([learned.without_inputs()] if learned else [])])

        with output.being_made() as parts:
            plan = parts.plan(photos.names, *photos.identities(), follow=run.shard is not None)
            setup = {"inputs": list(map(os.fspath, inputs)), "codebook": codebook and os.fspath(codebook), "method": method}
            setup["encoder"] = encoder.params.to_json()
            setup["contents"] = [entry["content"] for entry in inputs_made]
            step = Step(output, plan, Work(WORKER, setup, _columns(encoder, stores)))
            done = step.complete(pipeline, failed_from=photos.failed_from())
            if done is not None:
                run.report.note(f"{output.shown}: {done[0]} vectors of {encoder.dim} dimensions ({method})")


def _encoder(kind, params, stores, learned):
    """The encoder, with its codebook or over the stores that it joins."""
    if learned is None:
        return kind(params, len(stores), [store.shape("vectors")[1] for store in stores])
    return kind(params, learned.component())


def _columns(encoder, stores):
    """The data columns of the output."""
    return {"vectors": ((encoder.dim,), encoder.params.dtype, {})} | boxed(stores)


def _check_fit(stores, words, learned, kind):
    """Refuse a codebook that was learned in another space than the stores'."""
    for store in stores:
        if store.kind != kind.takes:
            raise ImgretError(f"{store.shown} holds {store.kind}; {kind.name} with {words.shown} needs {kind.takes}")
        node = Pipeline.load(store).node
        column = "descriptors" if store.kind == "features" else "vectors"
        width, needed = store.shape(column)[1], learned.component().dim_
        if width != needed:
            raise ImgretError(
                f"{words.shown} was fitted on {needed} columns, {store.shown} has {width}: learn it on {store.kind} made in the same way"
            )
        for trained in learned.node["inputs"]:
            if not same_space(trained, node):
                raise ImgretError(
                    f"{words.shown} was learned in another space than {store.shown} is in ({differences(trained, node)}): "
                    f"learn it on {store.kind} made in the same way"
                )


class EncodeWorker(PartWorker):
    """Makes parts of a vectors store; lives in a worker process."""

    def __init__(self, setup):
        super().__init__(setup)
        self.stores = [Store(path) for path in setup["inputs"]]
        paths, contents, learned = [*setup["inputs"]], [store.content for store in self.stores], None
        if setup["codebook"] is not None:
            with Store(setup["codebook"]) as words:
                learned = Pipeline.load(words)
                paths.append(setup["codebook"])
                contents.append(words.content)
        for path, content, expected in zip(paths, contents, setup["contents"], strict=True):
            if content != expected:
                raise ImgretError(f"{path} has changed while it was being encoded: run the same command again")
        kind = load(ENCODERS, setup["method"], "encoder")
        params = kind.Params.from_json(setup["encoder"])
        self.joined = learned is None
        self.encoder = _encoder(kind, params, self.stores, learned)
        self.photos = JoinedPhotos(self.stores) if self.joined else Photos(self.stores)
        self.extractor = Pipeline.load(self.stores[0]).component() if kind.takes == "features" else None

    def make(self, task, starting):
        """Make one part; none of its photos fails but those that had failed before."""
        with one_thread():
            return self._part(task["part"])

    def _part(self, part):
        def fill(photos):
            if self.joined:
                self.photos.append_to(photos, *self.plan.range(part), self.encoder.join)
            else:
                self._encode(photos, part)
            return False

        return self.write(part, _columns(self.encoder, self.stores), fill)

    def _encode(self, photos, part):
        for store, start, stop in self.photos.runs(*self.plan.range(part)):
            photos.copy_meta(store, start, stop)
            for block in self._encoded(store, start, stop):
                photos.rows(vectors=block)

    def _encoded(self, store, start, stop):
        if self.extractor is None:
            yield self.encoder.encode_block(store.read("vectors", start, stop).astype(np.float32))
            return
        offsets = store.descriptor_range(start, stop)
        for first, last in zip(offsets, offsets[1:], strict=False):
            yield self.encoder.encode(self.extractor.decode(store.read("descriptors", int(first), int(last))))[None]
