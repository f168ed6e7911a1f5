"""search: queries against an index, ranked."""

import contextlib
import dataclasses
import sys

import numpy as np

from imgret.errors import ImgretError, UsageError, counted
from imgret.inputs.answers import Answers, Wanted
from imgret.inputs.gallery import Gallery
from imgret.inputs.nextstep import index_in, remedied
from imgret.inputs.photoqueries import PhotoQueries
from imgret.inputs.queries import Failures, StoreQueries
from imgret.inputs.reranked import Reranking
from imgret.inputs.stores import Stores
from imgret.listing import Given, tell_unread
from imgret.paths import check_spared, is_photo, plain, several
from imgret.pipeline import places
from imgret.runs.details import tell_inputs, tell_versions
from imgret.runs.output import Output
from imgret.runs.ranks import LOOKED
from imgret.runs.report import Report
from imgret.runs.run import Run
from imgret.store.photos import sameness_of, write_failed
from imgret.store.reader import is_hdf5

BLOCK_QUERIES = 64
BLOCK_RANKS = 1 << 24  # ranks held in memory at once
PRINTED, STORED = 10, 1000  # default k


@dataclasses.dataclass(frozen=True)
class Block:
    """Answers to a few queries.

    Attributes
    ----------
    names, photo_names, boxes, paths : see `imgret.inputs.queries.Queries`
    scores : ndarray, shape (Q, k), float32
    ids : ndarray, shape (Q, k), int64
        Positions in the gallery's names; -1 where there are no more.
    levels, itself : see `imgret.inputs.answers.Found`
        None where the ranking is stored.
    evidence : ndarray, shape (Q, k), float32, or None
        What a reranker counted of each result, NaN where it did not look; None where none counted.
    counts : str
        What it counts ("inliers").
    enough : float
        From how many on a photo counts as verified; infinite where none does.
    maps : ndarray, shape (Q, k, 3, 3), float32, or None
        Homographies that take places of the query photo to places of each result, in pixels of the upright photos at full size; NaN where
        none is known.
    matches : list of (list of (ndarray, shape (n, 4), float32, or None)), or None
        Of each query, of each of the first results: x, y in the query photo and x, y in the result of what matches, in the same pixels.
    """

    names: list
    photo_names: list
    boxes: np.ndarray
    paths: list | None
    scores: np.ndarray
    ids: np.ndarray
    levels: np.ndarray | None = None
    itself: np.ndarray | None = None
    evidence: np.ndarray | None = None
    counts: str = ""
    enough: float = np.inf
    maps: np.ndarray | None = None
    matches: list | None = None


def search(
    index, queries, *, out=None, k=None, settings=(), better=None, pictured=0, weights=(), run=Run(), emit=None, wanted=None, spared_by=()
):
    """Rank an index's photos for each query.

    Parameters
    ----------
    index : str
        The index, or the folder of a build.
    queries : imgret.listing.Given or sequence of str
        Photos and folders ("-" for a list on standard input), or features, vectors or words stores.
    out : str, optional
        The ranking store to make.
    k : int or "all", optional
        Ranks per query: 10 printed and 1000 stored by default.
    settings : sequence of str
        Search-time parameters, NAME=VALUE.
    better : imgret.inputs.reranked.Better, optional
        How the answers are made better.
    pictured : int
        Of how many results it is wanted what matches in them.
    weights : sequence of str
        Files to look for networks' weights in, before the recorded places.
    run : imgret.runs.run.Run
    emit : callable, optional
        `emit(gallery_names, Block)` for each block of queries, where nothing is stored.
    wanted : imgret.inputs.answers.Wanted, optional
        Which results are emitted.
    spared_by : sequence of (str, str)
        Option and path of what the caller writes: refused where it is something that is read.

    Returns
    -------
    int
        Number of query photos that could not be used.

    Raises
    ------
    ImgretError
    """
    run.in_one_piece("search")
    given, out, queries, wanted = plain(index), plain(out), Given.of(queries), wanted or Wanted()
    if out is None and emit is None:
        raise UsageError("name a ranking store to make (out), or what takes the answers (emit)")
    if not queries:
        raise UsageError("give at least one query: a photo, a folder, '-', --list, or a features, vectors or words store")
    failures = Failures(run.report)
    with contextlib.ExitStack() as stack:
        index = index_in(given, queries.arguments)
        with remedied(index, queries.arguments):
            gallery = stack.enter_context(contextlib.closing(Gallery(index, settings)))
        count = len(gallery.names)
        k = (STORED if out else PRINTED) if k is None else k
        k = count if k == "all" else min(k, count)
        weights = tuple(several(weights))
        reads = [index, *queries.lists, *weights, *places(gallery.pipeline.node), *run.reads, *([] if better is None else better.paths)]
        _tell(gallery, k, run.report)
        source, listing = _source(stack, queries, gallery, failures, run, weights)
        for option, path in spared_by:
            _spare(path, option, reads, listing)
        reranking = None
        if better is not None:
            stores = [] if listing is not None else queries.arguments
            reranking = stack.enter_context(Reranking(better, gallery, stores, run, weights))
        if out is None and not (reranking is not None and reranking.judges):
            _check_judged(gallery, wanted, run.report)
        answers = Answers(gallery, k, wanted, run.jobs, reranking, pictured)
        blocks = stack.enter_context(contextlib.closing(_answers(gallery, source, k, run, answers, out is not None)))
        if out is not None:
            inputs = [gallery.store.as_input(), *source.inputs()]
            inputs += [] if reranking is None else [entry for entry in reranking.recorded if entry not in inputs]
            output = Output(out, "ranking", _params(gallery, k, reranking), inputs, run)
            output.spare(reads, listing)
            _rank(output, gallery, source, blocks, k, failures, reranking)
            return len(failures.rows)
        for block in blocks:
            emit(gallery.names, block)
        return len(failures.rows)


def _source(stack, queries, gallery, failures, run, weights):
    """Where the queries come from, and the photos that are read, if any; stores can be read as long as the stack is there."""
    stores = [path for path in queries.arguments if path != "-" and is_hdf5(path)]
    if stores and (len(stores) < len(queries.arguments) or queries.lists):
        raise ImgretError("queries are either photos or stores, not both at once: search twice")
    if stores:
        opened = stack.enter_context(Stores())
        stores = [opened.add(path, ("features", "vectors", "words"), "search") for path in stores]
        tell_inputs(run.report, stores, "asks with")
        source = StoreQueries(stores, gallery, run.jobs)
        for store in stores:
            if text := gallery.asked_with_less(store):
                run.report.note(text)
        return source, None
    listing = queries.listed()
    tell_unread(listing, run.report)
    run.report.detail(f"asks with {counted(len(listing), 'photo')}, at most {run.jobs} described at once")
    return PhotoQueries(listing, gallery, failures, run, weights), listing


def _tell(gallery, k, report):
    tell_versions(report)
    tell_inputs(report, [gallery.store], "searches")
    settings = ", ".join(f"{name}={value}" for name, value in gallery.settings.to_json().items())
    index = gallery.index
    settings = f"; {settings}" if settings else ""
    report.detail(f"{index.name}, {index.metric}, {counted(index.size, 'row')}{settings}; {counted(k, 'rank')} for each query")


def _spare(path, option, reads, listing):
    """Refuse to write to what is read."""
    for each in reads:
        check_spared(path, option, each)
    if listing is not None and is_photo(path, listing):
        raise ImgretError(f"{option} {path} is a query photo: choose another {option}")


def _params(gallery, k, reranking):
    params = {"step": "search", "k": k, "settings": gallery.settings.to_json()}
    return params if reranking is None else params | {"rerank": reranking.to_json()}


def _check_judged(gallery, wanted, report):
    """Tell why nothing is judged, where that is so.

    Raises
    ------
    ImgretError
        If nothing but matches is wanted then, and the index could tell of them if it were made otherwise.
    """
    if why := gallery.unjudged():
        if wanted.matches_only and gallery.few:
            report.note(f"{why}; nothing is judged, and --matches-only leaves all of it out")
            return
        if wanted.matches_only:
            raise ImgretError(f"{why}; --matches-only needs that")
        (report.note if wanted.told else report.detail)(f"{why}; nothing is judged")


def _answers(gallery, source, k, run, answers, stored):
    """Yield `Block` after block; what can match nothing is told once, and who describes the queries otherwise."""
    size = max(1, min(BLOCK_QUERIES, BLOCK_RANKS // max(1, k)))
    run.report.zero(gallery.zero, len(gallery.names), f"vectors in {gallery.store.shown}", gallery.index.metric)
    if text := gallery.asked_by_another(source.made_by()):
        run.report.warn(text)
    count = zero = 0
    with contextlib.closing(source.blocks(size)) as blocks, _progress(run.report, len(source), stored) as progress:
        for asked in blocks:
            count, zero = count + len(asked.names), zero + asked.empty
            if stored:
                found = answers.all(asked)
            else:
                found = answers.of(asked.vectors, asked.digests, asked)
            yield Block(asked.names, asked.photo_names, asked.boxes, asked.paths, **vars(found), **vars(answers.counted))
            progress.reach(count)
    run.report.zero(zero, count, "queries", gallery.index.metric)


def _progress(report, count, stored):
    """A bar for many queries; none where the answers appear on the same terminal."""
    here = not stored and sys.stdout.isatty()
    return (Report(-1) if here or count <= BLOCK_QUERIES else report).progress(count, "query")


def _rank(output, gallery, source, blocks, k, failures, reranking):
    """Make a ranking store. One in which queries failed is made again: they may be sound by now."""
    if output.up_to_date(whole=lambda store: not store.sizes["F"]):
        return
    with output.being_made():
        answered = _store(output, gallery, blocks, k, failures, source.boxed, reranking)
        failed = f", {len(failures.rows)} failed" if failures.rows else ""
        output.run.report.note(f"{output.shown}: {counted(answered, 'query')}, {counted(k, 'rank')} each{failed}")


def _store(output, gallery, blocks, k, failures, boxed, reranking):
    """Write a ranking store; the number of queries is known when they have been answered, so its columns grow."""
    answered = 0
    facts = None if reranking is None else reranking.facts
    with output.create(gallery.pipeline.whole(), facts=facts) as writer:
        ids, scores = writer.column("ids", (k,), np.int32), writer.column("scores", (k,), np.float32)
        query_names, query_ids = writer.text("query_names"), writer.text("query_ids")
        boxes = writer.column("query_box", (4,), np.float32) if boxed else None
        looked = {}
        if facts:
            length = min(k, reranking.depth)
            looked = {path: writer.column(path, (length, *shape), np.float32) for path, shape in LOOKED.items()}
        for block in blocks:
            ids.append(block.ids)
            scores.append(block.scores)
            for path, column in looked.items():
                column.append(vars(block)[path][:, :length])
            query_names.append(block.photo_names)
            query_ids.append(block.names)
            if boxed:
                boxes.append(block.boxes)
            answered += len(block.names)
        if not answered:
            raise ImgretError("no query could be used")
        writer.texts("names", gallery.names)
        writer.photos = sameness_of(gallery.store)
        write_failed(writer, failures.rows)
    return answered
