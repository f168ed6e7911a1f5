"""encode: each photo's descriptors, its vector, or several vectors of it, to one vector."""

import contextlib
import dataclasses

import numpy as np

from imgret import ready
from imgret.codebooks import CODEBOOKS
from imgret.encoders import ENCODERS
from imgret.errors import ImgretError, UsageError, changed, counted, quoted
from imgret.indexes import INDEXES
from imgret.inputs.features import FeatureReader, vectors_of
from imgret.inputs.fitting import arranged_codebooks, codebook_of, misfit
from imgret.inputs.photos import JoinedPhotos, Photos
from imgret.inputs.samples import in_order
from imgret.inputs.stores import Stores
from imgret.parallel import blocks, one_thread
from imgret.paths import several
from imgret.pipeline import Pipeline, component_class
from imgret.registry import load
from imgret.runs.details import tell_inputs
from imgret.runs.failures import MaxGone
from imgret.runs.kept import Before, neighbours, positions, same_inputs
from imgret.runs.output import Output
from imgret.runs.parts import Whole, Work, make
from imgret.runs.partworker import PartWorker, append, columns_of
from imgret.runs.run import Run
from imgret.store.photos import boxed, origins

WORKER = "imgret.stages.encode:EncodeWorker"
BLOCK_PHOTOS = 4096  # whose vectors are compared at once, where each is with all


@dataclasses.dataclass(frozen=True)
class Codebooks:
    """The codebooks that an encoder is made with: the store and the pipeline of each, and a component, or None, for each need; `files` are
    the stores that were given."""

    stores: list
    pipelines: list
    fitted: list
    files: list

    def __iter__(self):
        return zip(self.stores, self.pipelines, (each for each in self.fitted if each is not None), strict=True)


def encode(inputs, codebooks, out, *, method=None, settings=(), max_gone=None, run=Run()):
    """Turn each photo's descriptors, its vector, or several vectors of it, into one vector, or into what else the method gives.

    Parameters
    ----------
    inputs : str or sequence of str
        Features stores (for vlad, fisher) or vectors stores (for a projection), whose photos are put together; or vectors stores of the
        same photos (concat).
    codebooks : str or sequence of str
        The codebooks that the method needs, in any order; `ready:NAME` for one of the package. Without any, and without a method, the words
        of `imgret.ready.WORDS`.
    out : str
        The vectors store to make.
    method : str, optional
        A name of `ENCODERS`; a single codebook decides without it.
    settings : sequence of str
        NAME=VALUE.
    max_gone : str, optional
        "N" or "N%": the step fails where more of the photos in the finished store are no longer in the inputs.
    run : imgret.runs.run.Run

    Raises
    ------
    ImgretError
    """
    inputs, codebooks, limit = several(inputs), several(codebooks), MaxGone(max_gone)
    if not inputs:
        raise UsageError("give at least one features or vectors store")
    _check_method(method, settings, codebooks)
    bare = method is None and not codebooks
    with Stores() as opened:
        kind, learned = _learned(method, [codebook_of(opened, path) for path in ([ready.WORDS] if bare else codebooks)])
        kinds = ("features", "vectors") if kind.needs else (kind.takes,)  # what fits no codebook is told below, with its name
        stores = [opened.add(path, kinds, "encode") for path in inputs]
        if bare:
            _check_bare(stores)
        _check_fit(kind, stores, learned)
        encoder = kind(kind.Params.parse(settings), *learned.fitted).over(_widths(_branches(kind, stores)))
        given, stores = stores, in_order(stores) if kind.takes_branches(1) else stores
        made_of, as_given = ([store.as_input() for store in (*each, *learned.files)] for each in (stores, given))
        params = {"step": "encode", "method": kind.name, "version": kind.version, "params": encoder.params.to_json()}
        output = Output(out, encoder.gives, params, made_of, run, as_given)
        tell_inputs(run.report, stores)
        tell_inputs(run.report, learned.files, "takes")
        if output.up_to_date():
            return
        setup = {"inputs": [store.path for store in stores], "codebooks": [store.path for store in learned.files]}
        setup |= {"method": kind.name, "encoder": encoder.params.to_json(), "contents": [entry["content"] for entry in made_of]}
        work = Work(WORKER, setup, _columns(encoder, stores), verb="encoded")
        done = _made(output, _photos(kind, stores), work, _pipeline(encoder, _branches(kind, stores), learned), limit)
        if done is not None and done.described is not None:
            run.report.zero(done.zero, done.described, "vectors")
            vectors = encoder.gives == "vectors"
            made = f"of {encoder.dim} dimensions" if vectors else f"as {encoder.gives}"
            run.report.note(f"{output.shown}: {counted(done.described, 'vector' if vectors else 'photo')} {made} ({kind.name})")


def _made(output, photos, work, pipeline, limit):
    """The `Step`, done: photos that are the same in the finished file stay as they are there."""
    with contextlib.closing(Before(output, work.verb)) as before:
        before.refuse_gone(limit, photos.names, {"digest": photos.values("digest")}, photos.failures())
        kept = before.kept(lambda store: same_inputs(store, photos, pipeline, work.data))
        whole = Whole(photos.names, *photos.identities(), photos.failed_from(), before.store, kept)
        return output.made(lambda parts: make(output, parts, whole, lambda plan, take_over: work, pipeline))


def _branches(kind, stores):
    """The stores that are inputs of their own; where an encoder joins none, all hold one input's rows, and the first speaks for them."""
    return stores[:1] if kind.takes_branches(1) else stores


def _photos(kind, stores):
    return Photos(stores) if kind.takes_branches(1) else JoinedPhotos(stores)


def _columns(encoder, stores):
    """The data columns of what is made. Where a row follows from all photos, nothing says that it is still the same."""
    return encoder.columns() | boxed(stores) | ({} if encoder.whole else origins(stores))


def _pipeline(encoder, branches, learned):
    made_of = [Pipeline.load(store) for store in branches]
    return Pipeline.of("encoder", encoder, [*made_of, *(each.without_inputs() for each in learned.pipelines)])


def _check_method(method, settings, codebooks):
    """Refuse what is wrong before any file is looked at."""
    if method is None:
        if len(codebooks) > 1:
            raise UsageError(f"{len(codebooks)} codebooks leave open what is to be made of them: name a method (-m)")
        return
    kind = load(ENCODERS, method, "encoder")
    kind.Params.parse(settings)
    if not codebooks and kind.assigned([])[1] is not None:
        raise UsageError(f"-m {method} needs a codebook: give -c")
    if not kind.needs and codebooks:
        raise UsageError(f"-m {method} takes no codebook: leave -c out")


def _meant(pipeline):
    """The encoder that a codebook is for, by name; None where it is for several."""
    return component_class(pipeline.node | {"family": "codebook"}).default_encoder


def default_method(codebook):
    """The encoder that is taken for a codebook where none is named: a name of `ENCODERS`; None where one has to be.

    Raises
    ------
    ImgretError
        If it is no codebook.
    """
    with Stores() as opened:
        return _meant(Pipeline.load(codebook_of(opened, codebook)))


def _learned(method, words):
    """The encoder's class, and its `Codebooks` of the open stores `words`."""
    files, found = words, arranged_codebooks(words)
    words, pipelines = [store for store, _ in found], [pipeline for _, pipeline in found]
    names = [pipeline.node["component"] for pipeline in pipelines]
    method = method or _meant(pipelines[0])
    if method is None and names[0] in INDEXES:
        raise ImgretError(f"{words[0].shown} is a {names[0]} codebook, by which indexes are filled: give it to imgret index VECTORS -c")
    if method is None:
        raise UsageError(f"{words[0].shown} is a {quoted(names[0])} codebook, of which several things can be made: name a method (-m)")
    kind = load(ENCODERS, method, "encoder")
    places, missing, left = kind.assigned(names)
    if missing is not None and len(words) > 1:
        raise _lacking(kind, missing)
    if left is not None:
        methods = " or ".join(dict.fromkeys(name for need in kind.needs for name in need.methods))
        if len(words) > 1:
            raise ImgretError(
                f"{words[left].shown} is a {quoted(names[left])} codebook more than {kind.name} needs ({methods}): leave it out"
            )
        raise ImgretError(
            f"{words[left].shown} is a {quoted(names[left])} codebook; {kind.name} needs {methods}: leave -m out, and the codebook decides"
        )
    if missing is not None:
        raise _lacking(kind, missing)
    kept = [place for place in places if place is not None]
    fitted = kind.arranged([pipelines[place].component() for place in kept])
    return kind, Codebooks([words[place] for place in kept], [pipelines[place] for place in kept], fitted, files)


def _lacking(kind, need):
    """The error for a codebook that is not there, with how to come by it where that is not `imgret codebook FEATURES`."""
    about = load(CODEBOOKS, need.methods[0], "codebook").needs
    how = f" (imgret codebook FEATURES -m {need.methods[0]} -c WORDS)" if about else ""
    return ImgretError(f"{kind.name} needs a {need} codebook ({need.role}) too: give it with another -c{how}")


def _check_bare(stores):
    """Refuse what the words of the package do not fit where the user named none, with what to do instead."""
    for store in stores:
        if store.kind != "features":
            raise ImgretError(f"{store.shown} holds {store.kind}: give a codebook (-c), or a method that needs none (-m concat)")


def _widths(stores):
    return [store.shape(store.layout.matrix)[1] for store in stores]


def _check_fit(kind, stores, learned):
    """Refuse codebooks that were learned in another space than the stores': than any of them, where they are joined."""
    joins = not kind.takes_branches(1)
    if joins and not kind.takes_branches(len(stores)):
        raise UsageError(f"-m {kind.name} joins {kind.takes} of the same photos: give at least two {kind.takes} stores")
    for store in stores:
        if store.kind != kind.takes:
            with_what = f" with {learned.stores[0].shown}" if learned.stores else ""
            raise ImgretError(f"{store.shown} holds {store.kind}; {kind.name}{with_what} needs {kind.takes}")
    nodes = [Pipeline.load(store).node for store in stores]
    for words, pipeline, fitted in learned:
        found = [misfit(words, pipeline, fitted, store, node) for store, node in zip(stores, nodes, strict=True)]
        problems = [problem for problem in found if problem]
        if problems and (not joins or len(problems) == len(stores)):
            raise ImgretError(problems[0])


class Vectors:
    """The vectors of all photos of the inputs: see `imgret.encoders.base.Encoder.encode_among`.

    Parameters
    ----------
    photos : imgret.inputs.photos.Photos
    """

    def __init__(self, photos):
        self._photos = photos

    def blocks(self):
        """Yield them, a few at a time."""
        for block in blocks(len(self._photos.names), BLOCK_PHOTOS):
            yield block.start, self._photos.gathered(_rows, block.start, block.stop)

    def rows(self, places):
        """Those of some photos, (n, V), float32."""
        return np.concatenate([_rows(*next(self._photos.runs(place, place + 1))) for place in map(int, places)])


def _rows(store, first, last):
    return vectors_of(store, range(first, last))


class EncodeWorker(PartWorker):
    """Makes parts of what an encoder gives; lives in a worker process."""

    def __init__(self, setup):
        super().__init__(setup)
        opened = Stores()  # until the process ends
        given = [opened.add(path) for path in (*setup["inputs"], *setup["codebooks"])]
        for store, content in zip(given, setup["contents"], strict=True):
            if store.content != content:
                raise changed(store.shown)
        self.stores, words = given[: len(setup["inputs"])], given[len(setup["inputs"]) :]
        fitted = [pipeline.component() for _, pipeline in arranged_codebooks(words)]
        kind = load(ENCODERS, setup["method"], "encoder")
        self.encoder = kind(kind.Params.from_json(setup["encoder"]), *kind.arranged(fitted)).over(_widths(_branches(kind, self.stores)))
        self.photos = _photos(kind, self.stores)
        self._gallery = Vectors(self.photos)
        self._readers, self._places = {}, None

    def make(self, task, starting):
        """Make one part; none of its photos fails but those that had failed before."""
        with one_thread():
            return self._part(task["part"])

    def _part(self, part):
        if self._places is None:
            self._places = positions(self.plan.names, self.photos.names)
        first, last = self.plan.range(part)
        return self.write(part, _columns(self.encoder, self.stores), self._filled(self._places[first:last]))

    def _filled(self, places):
        """What fills a part: with the photos at these places among all of the inputs."""

        def fill(photos):
            vectors, whole = [], self.encoder.whole
            for first, last in neighbours(places):
                for inputs in self.photos.append_to(photos, int(places[first]), int(places[last - 1]) + 1):
                    if whole:
                        continue
                    if self.encoder.takes == "vectors":
                        vectors.append([vectors_of(store, rows) for store, rows in inputs])
                    else:
                        self._encode(photos, inputs)
            if vectors:
                photos.rows(vectors=self.encoder.encode_rows(*map(np.concatenate, zip(*vectors, strict=True))))
            if whole:
                photos.rows(vectors=self.encoder.encode_among(places, self._gallery))
            return False

        return fill

    def _encode(self, photos, inputs):
        for features in zip(*(self._reader(store).photos(rows) for store, rows in inputs), strict=True):
            append(photos, columns_of(self.encoder.encode(*features)))

    def _reader(self, store):
        if store not in self._readers:
            self._readers[store] = FeatureReader(store)
        return self._readers[store]
