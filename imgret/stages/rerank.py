"""rerank: rankings, and what their photos are known by, to a better ranking."""

import dataclasses
import os

import numpy as np

from imgret.errors import ImgretError, UsageError, changed, counted
from imgret.evidence import Counted
from imgret.inputs.photoqueries import entry_of
from imgret.inputs.reranked import reranked
from imgret.inputs.reranking import Opened
from imgret.inputs.roles import DESCRIBING, Given, check_roles, in_builds
from imgret.listing import Given as Photos
from imgret.listing import tell_unread
from imgret.paths import plain, several
from imgret.registry import load
from imgret.rerankers import RERANKERS
from imgret.runs.details import tell_inputs, tell_versions
from imgret.runs.output import Output
from imgret.runs.partworker import PartWorker
from imgret.runs.ranks import RankParts, write_part
from imgret.runs.run import Run
from imgret.store.photos import write_failed
from imgret.store.reader import is_hdf5

WORKER = "imgret.stages.rerank:RerankWorker"


def rerank(rankings, out, *, method, settings=(), queries=(), roles=None, run=Run()):
    """Make one better ranking of one, or of several of the same photos.

    Parameters
    ----------
    rankings : str or sequence of str
        Ranking stores, or TREC runs.
    out : str
        The ranking store to make.
    method : str
        A name of `RERANKERS`.
    settings : sequence of str
        NAME=VALUE.
    queries : imgret.listing.Given or sequence of str
        What the queries are described by: stores, or photos, folders of photos. Without any they are photos of the gallery.
    roles : dict of str to (str or sequence of str), optional
        What the gallery's photos are known by, by role (`imgret.rerankers.ROLES`).
    run : imgret.runs.run.Run

    Raises
    ------
    ImgretError
    """
    rankings, queries = several(rankings), Photos.of(queries)
    roles = {role: found for role, paths in (roles or {}).items() if (found := several(paths))}
    kind = load(RERANKERS, method, "reranker")
    reranker = kind(kind.Params.parse(settings))
    if not rankings:
        raise UsageError("give at least one ranking")
    check_roles(kind, roles, len(rankings))
    reranker.check(len(rankings))
    roles = in_builds(roles)
    tell_versions(run.report)
    given, listing = _given(rankings, roles, queries, run)
    with Opened(given) as opened:
        _check_verified(reranker, opened.rankings[0])
        _tell(opened, run.report)
        params = {"step": "rerank", "method": kind.name, "version": kind.version, "params": reranker.params.to_json()}
        output = Output(out, "ranking", params, [*opened.entries, *([] if listing is None else [entry_of(listing)])], run)
        output.spare(given.paths, listing)
        if output.up_to_date():
            return
        opened.known.check_queries([role for role in DESCRIBING if role in _needed(kind)], opened.queries)
        _tell_silent(opened, run.report)
        reranker.begin(opened.known)
        setup = {"given": dataclasses.asdict(given), "method": kind.name, "reranker": reranker.params.to_json()}
        setup["contents"] = [entry["content"] for entry in opened.entries]
        joined = output.made(lambda parts: _make(output, parts, setup, opened, _counted(kind, reranker, opened)))
        if joined:
            run.report.note(f"{output.shown}: {counted(len(opened.queries), 'query')} ({kind.name})")


def _tell(opened, report):
    """Say more, where that is asked for."""
    for ranking in opened.rankings:
        report.detail(f"reads {ranking.shown}: {counted(len(ranking), 'query')}, {counted(len(ranking.names), 'photo')}")
    tell_inputs(report, opened.known.stores)


def _check_verified(reranker, ranking):
    """Refuse to tell verified photos from others where nothing says which are."""
    if reranker.params.to_json().get("verified") and not np.isfinite(ranking.counted.enough):
        raise ImgretError(
            f"{ranking.shown} has no evidence of which photos match, and `verified` asks for it: rerank it before (-m spatial), or --set "
            "verified=false"
        )


def _needed(kind):
    return {role for taken in kind.takes for role in taken.roles}


def _given(rankings, roles, queries, run):
    """The `Given`, and the listing of the query photos, if any."""
    stores = [path for path in queries.arguments if path != "-" and is_hdf5(path)]
    if stores and (len(stores) < len(queries.arguments) or queries.lists):
        raise ImgretError("--queries are either photos or stores, not both at once")
    listing = None
    if queries and not stores:
        listing = queries.listed()
        tell_unread(listing, run.report)
    photos = {} if listing is None else dict(zip(map(os.fsdecode, listing.names), map(os.fsdecode, listing.paths), strict=True))
    return Given(
        list(map(plain, rankings)), {role: list(map(plain, paths)) for role, paths in roles.items()}, stores, photos, run.device
    ), listing


def _tell_silent(opened, report):
    for ranking, count in zip(opened.rankings, opened.silent(), strict=True):
        if count:
            verb = "is one query that it has" if count == 1 else f"are {count} queries that it has"
            report.note(f"{ranking.shown} is silent where there {verb} no list for: the others decide")


def _counted(kind, reranker, opened):
    """What the evidence of the output is."""
    if kind.counts:
        return Counted(kind.counts, reranker.enough)
    return next((each.counted for each in opened.rankings if each.counted.counts), Counted())


def _make(output, parts, setup, opened, evidence):
    """Make the parts, and join them; whether they were."""
    step = RankParts(output, parts, WORKER, setup, len(opened.queries))
    step.make()
    if output.run.shard is not None:
        output.run.report.note(step.shard_done())
        return False
    output.give_way()
    facts = evidence.to_json() if evidence.counts else None
    with output.create(None, {"asked": opened.asked} if opened.asked else None, facts) as writer:
        writer.texts("query_names", [photo for _, photo in opened.queries])
        writer.texts("query_ids", [query for query, _ in opened.queries])
        step.join(writer)
        if opened.boxed:
            writer.array("query_box", np.stack([query.box for query in opened.described(0, len(opened.queries))]).astype(np.float32))
        writer.texts("names", opened.names)
        writer.photos = opened.sameness
        write_failed(writer, [])
    return True


class RerankWorker(PartWorker):
    """Makes parts of a ranking; lives in a worker process."""

    def __init__(self, setup):
        super().__init__(setup)
        self._opened = Opened(Given(**setup["given"]))  # until the process ends
        for entry, content in zip(self._opened.entries, setup["contents"], strict=True):
            if entry["content"] != content:
                raise changed(entry["path"])
        kind = load(RERANKERS, setup["method"], "reranker")
        self._reranker = kind(kind.Params.from_json(setup["reranker"]))
        self._reranker.begin(self._opened.known)

    def make(self, task, starting):
        """Make one part; no query fails."""
        queries = self._opened.described(*self.plan.range(task["part"]))
        write_part(self.plan, task["part"], reranked(self._reranker, queries, self._opened.known), self.setup)
        return 0
