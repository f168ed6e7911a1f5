"""encode: each photo's descriptors, its vector, or several vectors of it, to one vector."""

import contextlib
import os

from imgret.codebooks import CODEBOOKS
from imgret.encoders import ENCODERS
from imgret.errors import ImgretError, UsageError
from imgret.inputs.features import FeatureReader, vectors_of
from imgret.inputs.photos import JoinedPhotos, Photos
from imgret.parallel import one_thread
from imgret.pipeline import Pipeline, differences, same_space
from imgret.registry import load
from imgret.runs import stopping
from imgret.runs.output import Output, input_of
from imgret.runs.parts import PartWorker, Step, run_to_end
from imgret.store.parts import publish_part
from imgret.store.photos import PhotoWriter, boxed
from imgret.store.reader import Store
from imgret.store.writer import Writer, temporary_name

WORKER = "imgret.stages.encode:EncodeWorker"
COLUMNS = {"features": "descriptors", "vectors": "vectors"}  # where the width of an input is seen


def encode(inputs, codebooks, out, *, method=None, settings=(), jobs=1, shard=None, overwrite=False, report):
    """Turn each photo's descriptors, its vector, or several vectors of it, into one vector.

    Parameters
    ----------
    inputs : sequence of str
        Features stores (for vlad, fisher) or vectors stores (for a projection), whose photos are put together; or vectors stores of the
        same photos (concat).
    codebooks : sequence of str
        The codebooks that the method needs, in any order.
    out : str
        The vectors store to make.
    method : str, optional
        A name of `ENCODERS`; a single codebook decides without it.
    settings : sequence of str
        NAME=VALUE.
    jobs, shard, overwrite, report : see `imgret.stages.extract.extract`

    Raises
    ------
    ImgretError
    """
    if not inputs:
        raise UsageError("give at least one features or vectors store")
    _check_method(method, settings, codebooks)
    with contextlib.ExitStack() as stack:
        words = [stack.enter_context(Store(path, ("codebook",), "--codebook")) for path in codebooks]
        learned = [Pipeline.load(store) for store in words]
        method = method or load(CODEBOOKS, learned[0].node["component"], "codebook").default_encoder
        kind = load(ENCODERS, method, "encoder")
        words, learned, fitted = _assigned(kind, words, learned)
        kinds = ("features", "vectors") if kind.needs else (kind.takes,)
        stores = [stack.enter_context(Store(path, kinds, "encode")) for path in inputs]
        joins = not kind.takes_branches(1)
        if joins and not kind.takes_branches(len(stores)):
            raise UsageError(f"-m {method} joins {kind.takes} of the same photos: give at least two {kind.takes} stores")
        _check_fit(kind, stores, zip(words, learned, fitted, strict=True), joins)
        encoder = kind(kind.Params.parse(settings), *fitted).over(_widths(stores if joins else stores[:1]))
        inputs_made = [*map(input_of, stores), *map(input_of, words)]
        params = {"step": "encode", "method": method, "version": kind.version, "params": encoder.params.to_json()}
        output = Output(out, encoder.gives, params, inputs_made, overwrite)
        if output.up_to_date(report):
            return
        photos = JoinedPhotos(stores) if joins else Photos(stores)
        made_of = [Pipeline.load(store) for store in (stores if joins else stores[:1])]
        pipeline = Pipeline.of("encoder", encoder, [*made_of, *(each.without_inputs() for each in learned)])

        def body():
            output.parts.prepare()
            plan = output.parts.plan(photos.names, *photos.identities(), follow=shard is not None)
            setup = {"inputs": list(map(os.fspath, inputs)), "codebooks": [os.fspath(store.path) for store in words], "method": method}
            setup["encoder"] = encoder.params.to_json()
            setup["contents"] = [entry["content"] for entry in inputs_made]
            data = encoder.columns() | boxed(stores)
            step = Step(output, plan, worker=WORKER, setup=setup, task=lambda *_: {}, data=data, report=report, jobs=jobs, shard=shard)
            missing = step.make_parts(lambda *_: None)
            if shard is not None:
                report.note(step.shard_done(missing))
                return
            count, _ = step.join(pipeline, failed_from=photos.failed_from())
            report.note(f"{output.shown}: {count} vectors of {encoder.dim} dimensions ({method})")

        with stopping.guard():
            run_to_end(output, report, body)


def _check_method(method, settings, codebooks):
    """Refuse what is wrong before any file is looked at."""
    if method is None:
        if not codebooks:
            raise UsageError("give a codebook (-c), or a method that needs none (-m concat)")
        if len(codebooks) > 1:
            raise UsageError(f"{len(codebooks)} codebooks leave open what is to be made of them: name a method (-m)")
        return
    kind = load(ENCODERS, method, "encoder")
    kind.Params.parse(settings)
    if kind.needs and not codebooks:
        raise UsageError(f"-m {method} needs a codebook: give -c")
    if not kind.needs and codebooks:
        raise UsageError(f"-m {method} takes no codebook: leave -c out")


def _assigned(kind, words, learned):
    """The codebooks' stores, pipelines and components, in the order in which the encoder needs them."""
    places, missing, left = kind.assigned([each.node["component"] for each in learned])
    if left is not None:
        methods = " or ".join(method for need in kind.needs for method in need.methods)
        raise ImgretError(
            f"{words[left].shown} is a {learned[left].node['component']} codebook; {kind.name} needs {methods}: "
            "leave -m out, and the codebook decides"
        )
    if missing is not None:
        raise ImgretError(f"{kind.name} needs a {missing} codebook ({missing.role}) too: give it with another -c")
    places = [place for place in places if place is not None]
    return [words[place] for place in places], [learned[place] for place in places], [learned[place].component() for place in places]


def _widths(stores):
    return [store.shape(COLUMNS[store.kind])[1] for store in stores]


def _check_fit(kind, stores, codebooks, joins):
    """Refuse codebooks that were learned in another space than the stores': than any of them, where they are joined."""
    codebooks = list(codebooks)
    for store in stores:
        if store.kind != kind.takes:
            with_what = f" with {codebooks[0][0].shown}" if codebooks else ""
            raise ImgretError(f"{store.shown} holds {store.kind}; {kind.name}{with_what} needs {kind.takes}")
    nodes = [Pipeline.load(store).node for store in stores]
    for words, learned, fitted in codebooks:
        problems = [_misfit(words, learned, fitted, store, node) for store, node in zip(stores, nodes, strict=True)]
        found = [problem for problem in problems if problem]
        if found and (not joins or len(found) == len(stores)):
            raise ImgretError(found[0])


def _misfit(words, learned, fitted, store, node):
    """Why a codebook does not fit a store's rows; None where it does."""
    width = store.shape(COLUMNS[store.kind])[1]
    if width != fitted.dim_:
        return (
            f"{words.shown} was fitted on {fitted.dim_} columns, {store.shown} has {width}: learn it on {store.kind} made in the same way"
        )
    for trained in learned.node["inputs"]:
        if not same_space(trained, node):
            return (
                f"{words.shown} was learned in another space than {store.shown} is in ({differences(trained, node)}): "
                f"learn it on {store.kind} made in the same way"
            )
    return None


class EncodeWorker(PartWorker):
    """Makes parts of what an encoder gives; lives in a worker process."""

    def __init__(self, setup):
        super().__init__(setup)
        self.stores = [Store(path) for path in setup["inputs"]]
        contents, fitted = [store.content for store in self.stores], []
        for path in setup["codebooks"]:
            with Store(path) as words:
                fitted.append(Pipeline.load(words).component())
                contents.append(words.content)
        for path, content, expected in zip([*setup["inputs"], *setup["codebooks"]], contents, setup["contents"], strict=True):
            if content != expected:
                raise ImgretError(f"{path} has changed while it was being encoded: run the same command again")
        kind = load(ENCODERS, setup["method"], "encoder")
        joins = not kind.takes_branches(1)
        self.encoder = kind(kind.Params.from_json(setup["encoder"]), *fitted).over(_widths(self.stores if joins else self.stores[:1]))
        self.photos = JoinedPhotos(self.stores) if joins else Photos(self.stores)
        self._readers = {}

    def make(self, task, starting):
        """Make one part; none of its photos fails but those that had failed before."""
        with one_thread():
            return self._part(task["part"])

    def _part(self, part):
        kind = self.encoder.gives
        with Writer(temporary_name(self.plan.folder)) as writer:
            photos = PhotoWriter(writer, kind, self.encoder.columns() | boxed(self.stores))
            for inputs in self.photos.append_to(photos, *self.plan.range(part)):
                for block in self._encoded(inputs):
                    photos.rows(vectors=block)
            publish_part(writer, self.plan, part, kind, recipe=self.setup["recipe"], params=self.setup["params"], retry=False)
            return photos.failed

    def _encoded(self, inputs):
        if self.encoder.takes == "vectors":
            yield self.encoder.encode_block(*(vectors_of(store, rows) for store, rows in inputs))
            return
        for features in zip(*(self._reader(store).photos(rows) for store, rows in inputs), strict=True):
            yield self.encoder.encode(*features)[None]

    def _reader(self, store):
        if store not in self._readers:
            self._readers[store] = FeatureReader(store)
        return self._readers[store]
