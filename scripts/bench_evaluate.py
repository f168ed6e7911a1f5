"""How long scoring takes, beside the usual per-query NumPy loop.

Two cases: 70 queries × 1,000,000 ranked photos (the revisited protocol with a million distractors: easy, medium and hard), and
500 queries × 10,000 (groups of ten, with the bootstrap):

imgret   all that `evaluate` does once the file is read: the ground truth, its names in the gallery, and checks of the lists (ids in
         range, no photo twice, scores that descend)
alone    imgret with names and ground truth looked up beforehand, as the peers have them; it still looks for photos listed twice
rows     for each query and setting `np.isin` over the whole list, then a Python loop over the ranks found; lists lie row by row
columns  the same on `ranks[:, query]`, int64, as `np.argsort(-scores, axis=0)` gives them and the usual scripts keep them
names    a list of names per query, walked with a set of positives and one of junk (only the second case: it takes minutes)

One thread each.
"""

import argparse
import os
import pathlib
import pickle
import tempfile
import tracemalloc

os.environ.setdefault("OMP_NUM_THREADS", "1")

import bench
import numpy as np

from imgret import registry
from imgret.evaluation import PROTOCOLS
from imgret.evaluation.statistics import bootstrap_interval
from imgret.formats.lists import RankedLists

REVISITED = (("easy",), ("junk", "hard")), (("easy", "hard"), ("junk",)), (("hard",), ("junk", "easy"))
GROUPS = ((("easy",), ("junk",)),)


class Case:
    """Random lists and a ground truth of one protocol.

    `labels` is what the peers take: per query, positions of its photos by level.
    """

    def __init__(self, folder, protocol, levels, queries, photos):
        rng = np.random.default_rng(0)
        self.title, self.protocol, self.levels = f"{queries} x {photos:,}, {protocol}", protocol, levels
        self.ids = np.empty((queries, photos), np.int32)
        for row in self.ids:
            row[:] = rng.permutation(photos)
        self.columns = np.ascontiguousarray(self.ids.T).astype(np.int64)
        self.scores = np.broadcast_to(np.linspace(1, 0, photos, dtype=np.float32), self.ids.shape)
        self.names = [b"photo_%07d.jpg" % photo for photo in range(photos)]
        self.truth = pathlib.Path(folder) / f"{protocol}.truth"
        (self._revisited if protocol == "roxford5k" else self._groups)(rng)

    def _revisited(self, rng):
        """150 labels of each query among 5000 photos."""
        self.labels = []
        for _ in self.ids:
            chosen = np.sort(rng.choice(5000, 150, replace=False)).tolist()
            self.labels.append({"easy": chosen[0::3], "hard": chosen[1::3], "junk": chosen[2::3]})
        asking = [f"query_{query:03d}" for query in range(len(self.ids))]
        self.asking = [name.encode() for name in asking]
        gallery = [name[:-4].decode() for name in self.names[:5000]]
        self.truth.write_bytes(pickle.dumps({"imlist": gallery, "qimlist": asking, "gnd": self.labels}, protocol=3))

    def _groups(self, _):
        self.asking = self.names[: len(self.ids)]
        self.truth.write_text("image,group\n" + "".join(f"{name.decode()},{photo // 10}\n" for photo, name in enumerate(self.names)))
        tens = [range(query // 10 * 10, query // 10 * 10 + 10) for query in range(len(self.ids))]
        self.labels = [{"easy": [photo for photo in ten if photo != query], "junk": [query]} for query, ten in enumerate(tens)]

    def imgret(self):
        """What imgret makes of it, from lists in memory to measures: a `Judged`."""
        lists = RankedLists("run", self.asking, self.asking, self.names, self.ids, self.scores)
        judged = registry.load(PROTOCOLS, self.protocol, "protocol")().judge(lists, self.truth)
        judged.result()
        return judged

    def from_positions(self):
        """A function that does what the peers do: names and ground truth are looked up beforehand."""
        judged = self.imgret()
        return lambda: judged.protocol.judged(judged.lists, judged.asked).result()

    def loop(self, list_of):
        """Mean average precisions (trapezoids) by the usual loop: one per setting. `list_of(query)` gives a list of positions."""
        means = []
        for counting, removed in self.levels:
            aps = []
            for query, labels in enumerate(self.labels):
                row = list_of(query)
                positives = np.concatenate([labels[level] for level in counting])
                ranks = np.flatnonzero(np.isin(row, positives))
                gone = np.flatnonzero(np.isin(row, np.concatenate([labels[level] for level in removed])))
                aps.append(_trapezoids(ranks - np.searchsorted(gone, ranks), len(positives)))
            means.append(float(np.mean(aps)))
        return means

    def by_names(self):
        """The same on lists of names, as programs without arrays do it."""
        lists = [[self.names[photo] for photo in row] for row in self.ids.tolist()]

        def walk():
            for counting, removed in self.levels:
                for row, labels in zip(lists, self.labels, strict=True):
                    positives = {self.names[photo] for level in counting for photo in labels[level]}
                    junk = {self.names[photo] for level in removed for photo in labels[level]}
                    ranks, rank = [], 0
                    for name in row:
                        if name in junk:
                            continue
                        if name in positives:
                            ranks.append(rank)
                        rank += 1
                    _trapezoids(ranks, len(positives))

        return walk


def _trapezoids(ranks, positives):
    area = 0.0
    for hit, rank in enumerate(ranks):
        before = 1.0 if rank == 0 else hit / rank
        area += (before + (hit + 1) / (rank + 1)) / 2
    return area / positives


def usual_bootstrap(values, resamples):
    """The interval by the usual loop."""
    rng = np.random.default_rng(0)
    means = [np.mean(rng.choice(values, len(values))) for _ in range(resamples)]
    return np.quantile(means, [0.025, 0.975])


def grown(function):
    """MiB that a call takes at its peak, beyond what was there before."""
    tracemalloc.start()
    function()
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    return peak / (1 << 20)


def timed(case, rounds, resamples):
    """Rows of the table for one case."""
    judged = case.imgret()
    if case.protocol == "roxford5k":  # the same numbers first; groups computes another average precision
        mine = [judged.values[setting].mean() for setting in ("easy", "medium", "hard")]
        assert np.allclose(case.loop(lambda query: case.ids[query]), mine, rtol=1e-9)
    alone = case.from_positions()
    programs = {
        "imgret": lambda: bench.call(case.imgret),
        "alone": lambda: bench.call(alone),
        "rows": lambda: bench.call(lambda: case.loop(lambda query: case.ids[query])),
        "columns": lambda: bench.call(lambda: case.loop(lambda query: case.columns[:, query])),
    }
    if case.protocol == "groups":
        walk, values = case.by_names(), judged.values[""]
        programs |= {
            "names": lambda: bench.call(walk),
            "bootstrap": lambda: bench.call(lambda: bootstrap_interval(values, resamples, 0)),
            "bootstrap loop": lambda: bench.call(lambda: usual_bootstrap(values, resamples)),
        }
    costs = bench.in_turn(programs, rounds)
    mine, alone_took = costs["imgret"].seconds, costs["alone"].seconds
    yield case.title, "imgret", f"{mine:.3f} s", "", "", f"{grown(case.imgret):.0f} MiB"
    yield case.title, "alone", f"{alone_took:.3f} s", "", "", ""
    for name in ("rows", "columns", "names"):
        if name in costs:
            took = costs[name].seconds
            yield case.title, name, f"{took:.3f} s", f"{took / mine:.1f}x", f"{took / alone_took:.1f}x", ""
    if "bootstrap" in costs:
        mine, theirs = costs["bootstrap"].seconds, costs["bootstrap loop"].seconds
        title = f"bootstrap, {resamples:,} resamples of {len(values)}"
        yield title, "imgret", f"{mine:.3f} s", "", "", ""
        yield title, "loop", f"{theirs:.3f} s", f"{theirs / mine:.1f}x", "", ""


def main():
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--resamples", type=int, default=10_000)
    given = parser.parse_args()
    rows = []
    for arguments in (("roxford5k", REVISITED, 70, 1_000_000), ("groups", GROUPS, 500, 10_000)):
        with tempfile.TemporaryDirectory() as folder:
            rows += timed(Case(folder, *arguments), given.rounds, given.resamples)
    bench.table(("case", "program", "time", "beside imgret", "beside alone", "memory beyond the lists"), rows)
    print(bench.machine("numpy"))


if __name__ == "__main__":
    main()
