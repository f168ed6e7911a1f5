"""Rankings made in parts, a few queries each: plan, parts, workers, join. See `imgret.store.parts`."""

import os

import numpy as np

from imgret.errors import ImgretError
from imgret.runs import workers
from imgret.runs.inparts import InParts
from imgret.store.plans import FolderVanished, publish_part
from imgret.store.reader import Store
from imgret.store.temporaries import sweep_of, temporary_name
from imgret.store.text import Texts
from imgret.store.writer import Writer

LOOKED = {"evidence": (), "maps": (3, 3)}  # the columns of the first ranks, and the shape of what each has


def numbered(count):
    """What stands for `count` queries in a plan: names in their order, and sizes and times, which say nothing."""
    zeros = np.zeros(count, np.int64)
    return Texts.of(b"%010d" % number for number in range(count)), zeros, zeros


class RankParts(InParts):
    """The parts of a ranking in the making.

    Parameters
    ----------
    output : imgret.runs.output.Output
    parts : imgret.store.parts.Parts
        Its own.
    worker : str
        See `imgret.runs.workers.run`; its tasks have the number of a `part`.
    setup : dict
    queries : int
    """

    def __init__(self, output, parts, worker, setup, queries):
        super().__init__(output, parts.plan(*numbered(queries), follow=output.run.shard is not None))
        self._worker, self._queries = worker, queries
        self._setup = setup | {"plan_folder": self.plan.folder, "shown": output.shown, "recipe": output.recipe, "params": output.params}

    def make(self):
        """Make the parts that are missing (of this shard)."""
        mine, todo = self.shares()

        def finished(task, result):
            if result.get("vanished"):
                raise FolderVanished
            self.output.give_way()
            progress.update(self.length(task["part"]))

        total, missing = sum(map(self.length, mine)), sum(map(self.length, todo))
        with self.run.report.progress(total, "query", total - missing) as progress:
            tasks = ({"part": part} for part in todo if not os.path.exists(self.plan.path(part)))
            jobs = min(self.run.jobs, max(1, len(todo)))
            workers.run(self._worker, self._setup, tasks, jobs, finished, lambda pids: sweep_of(self.plan.folder, pids))

    def join(self, writer):
        """Write the ranks of all parts to a store in the making.

        Raises
        ------
        ImgretError
        """
        ranks, looked = self.sound(self._extents, self.plan.path, self.make)
        columns = {"ids": writer.column("ids", (ranks,), np.int32, self._queries)}
        columns["scores"] = writer.column("scores", (ranks,), np.float32, self._queries)
        for path, length in looked.items():
            columns[path] = writer.column(path, (length, *LOOKED[path]), np.float32, self._queries)
        for part in range(len(self.plan)):
            with self._opened(part) as store:
                for path, column in columns.items():
                    width = looked.get(path, ranks)
                    missing = np.full((self.length(part), 0, *LOOKED.get(path, ())), 0, np.float32)
                    column.append(widened(store.read(path) if store.has(path) else missing, width))

    def _opened(self, part):
        if not os.path.isdir(self.plan.folder):
            raise FolderVanished
        return Store(self.plan.path(part), ("ranks",))

    def _extents(self):
        """How many ranks the longest lists have, and how many were looked at, by path; and what is wrong with parts."""
        ranks, looked, bad = 0, {}, {}
        for part in range(len(self.plan)):
            try:
                with self._opened(part) as store:
                    problem = self._problem(store, part)
                    ranks = max(ranks, store.sizes["k"])
                    for path in filter(store.has, LOOKED):
                        looked[path] = max(looked.get(path, 0), store.shape(path)[1])
            except ImgretError as error:
                problem = str(error)
            if problem:
                bad[part] = problem
        longest = max(looked.values(), default=0)  # one axis
        return (ranks, dict.fromkeys(looked, longest)), bad

    def _problem(self, store, part):
        """What is wrong with a part, '' if nothing."""
        if store.info.get("plan") != self.plan.identity:
            return "it is of another run"
        if store.sizes["Q"] != self.length(part):
            return "it holds other queries"
        return next(store.problems(), "")


def widened(ranks, width):
    """Rows of ranks (n, k, ...), with -1, or NaN, behind those that are shorter than `width`."""
    filled = np.full((len(ranks), width, *ranks.shape[2:]), -1 if ranks.dtype.kind == "i" else np.nan, ranks.dtype)
    filled[:, : ranks.shape[1]] = ranks
    return filled


def matrices(lists):
    """What some lists are as the columns of a store.

    Parameters
    ----------
    lists : list of imgret.rerankers.base.Listed

    Returns
    -------
    dict of str to ndarray
        `ids`, `scores`, and `evidence` and `maps` of as many ranks as anybody looked at, where any list has them.
    """
    longest = max(map(len, lists), default=0)
    columns = {"ids": np.full((len(lists), longest), -1, np.int32), "scores": np.full((len(lists), longest), np.nan, np.float32)}
    for row, each in enumerate(lists):
        columns["ids"][row, : len(each)], columns["scores"][row, : len(each)] = each.ids, each.scores
    if any(each.evidence is not None for each in lists):
        known = [np.zeros(0, bool) if each.evidence is None else np.isfinite(each.evidence) for each in lists]
        looked = max((int(np.flatnonzero(each)[-1]) + 1 for each in known if each.any()), default=0)
        for path, shape in LOOKED.items():
            if path == "maps" and all(each.maps is None for each in lists):
                continue
            columns[path] = np.full((len(lists), looked, *shape), np.nan, np.float32)
            for row, each in enumerate(lists):
                values = each.evidence if path == "evidence" else each.maps
                if values is not None:
                    columns[path][row, : len(values[:looked])] = values[:looked]
    return columns


def write_part(plan, part, lists, setup):
    """Write a part and publish it.

    Parameters
    ----------
    plan : imgret.store.plans.Plan
    part : int
    lists : list of imgret.rerankers.base.Listed
    setup : dict
        What the worker was given.
    """
    with Writer(temporary_name(plan.folder), setup["shown"]) as writer:
        for path, column in matrices(lists).items():
            writer.array(path, column)
        publish_part(writer, plan, part, "ranks", recipe=setup["recipe"], params=setup["params"], retry=False)
