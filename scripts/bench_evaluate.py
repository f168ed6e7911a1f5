"""How long scoring takes, beside the usual per-query NumPy loop.

Two cases: 70 queries × 1,000,000 ranked photos (the revisited protocol with a million distractors, easy, medium and hard), and
500 queries × 10,000 (groups, with the bootstrap). The peer is what most evaluation scripts do: for each query and setting `np.isin` over the
whole list, then a Python loop over the ranks found. Both start from arrays in memory and end with the means; imgret also checks the lists
(ids in range, no photo twice, scores that descend). One thread each.
"""

import argparse
import functools
import os
import pathlib
import pickle
import resource
import tempfile

os.environ.setdefault("OMP_NUM_THREADS", "1")

import bench
import numpy as np

from imgret import registry
from imgret.evaluation import PROTOCOLS
from imgret.evaluation.lists import RankedLists
from imgret.evaluation.statistics import bootstrap_interval

LEVELS = (("easy",), ("junk", "hard")), (("easy", "hard"), ("junk",)), (("hard",), ("junk", "easy"))


def revisited(folder, queries, photos, seed):
    """Random lists over a gallery of `photos`, and a revisited ground truth of its first 5000: (lists, path, labels)."""
    rng = np.random.default_rng(seed)
    ids = np.empty((queries, photos), np.int32)
    for row in ids:
        row[:] = rng.permutation(photos)
    scores = np.broadcast_to(np.linspace(1, 0, photos, dtype=np.float32), ids.shape)
    names = [b"photo_%07d.jpg" % photo for photo in range(photos)]
    gnd = []
    for _ in range(queries):
        chosen = rng.choice(5000, 150, replace=False).tolist()
        gnd.append({"easy": chosen[:50], "hard": chosen[50:100], "junk": chosen[100:]})
    asking = [f"query_{query:03d}" for query in range(queries)]
    truth = {"imlist": [name[:-4].decode() for name in names[:5000]], "qimlist": asking, "gnd": gnd}
    path = pathlib.Path(folder) / "gnd.pkl"
    path.write_bytes(pickle.dumps(truth, protocol=3))
    return ([name.encode() for name in asking], names, ids, scores), path, gnd


def groups(folder, queries, photos, seed):
    """Random lists and a CSV of groups of ten: (lists, path, labels)."""
    rng = np.random.default_rng(seed)
    ids = np.empty((queries, photos), np.int32)
    for row in ids:
        row[:] = rng.permutation(photos)
    scores = np.broadcast_to(np.linspace(1, 0, photos, dtype=np.float32), ids.shape)
    names = [b"photo_%07d.jpg" % photo for photo in range(photos)]
    path = pathlib.Path(folder) / "groups.csv"
    path.write_text("image,group\n" + "".join(f"{name.decode()},{photo // 10}\n" for photo, name in enumerate(names)))
    gnd = [{"easy": [photo for photo in range(query // 10 * 10, query // 10 * 10 + 10) if photo != query], "junk": [query]} for query in range(queries)]
    return (names[:queries], names, ids, scores), path, gnd


def usual(ids, gnd, levels):
    """Mean average precisions by the usual loop, one per setting."""
    means = []
    for counting, removed in levels:
        aps = []
        for row, entry in zip(ids, gnd, strict=True):
            positives = np.concatenate([entry[level] for level in counting])
            junk = np.concatenate([entry[level] for level in removed])
            ranks = np.arange(len(row))[np.isin(row, positives)]
            gone = np.arange(len(row))[np.isin(row, junk)]
            passed = 0
            closed = []
            for rank in ranks:
                while passed < len(gone) and gone[passed] < rank:
                    passed += 1
                closed.append(rank - passed)
            ap = 0.0
            for hit, rank in enumerate(closed):
                before = 1.0 if rank == 0 else hit / rank
                ap += (before + (hit + 1) / (rank + 1)) / 2 / len(positives)
            aps.append(ap)
        means.append(float(np.mean(aps)))
    return means


def usual_bootstrap(values, resamples, seed):
    """The interval by the usual loop."""
    rng = np.random.default_rng(seed)
    means = [np.mean(rng.choice(values, len(values))) for _ in range(resamples)]
    return np.quantile(means, [0.025, 0.975])


def ours(protocol, lists, path):
    """Measures by imgret, from arrays in memory."""
    asking, names, ids, scores = lists
    judge = registry.load(PROTOCOLS, protocol, "protocol")()
    return judge.judge(RankedLists("run", asking, asking, names, ids, scores), path)


def main():
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--resamples", type=int, default=10_000)
    given = parser.parse_args()
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        for title, make, size, protocol, levels in (
            ("70 x 1,000,000, roxford5k", revisited, (70, 1_000_000), "roxford5k", LEVELS),
            ("500 x 10,000, groups", groups, (500, 10_000), "groups", ((("easy",), ("junk",)),)),
        ):
            lists, path, gnd = make(folder, *size, seed=0)
            before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
            judged = ours(protocol, lists, path)
            judged.result()
            grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
            if protocol == "roxford5k":  # the same numbers first: groups computes another average precision
                theirs = usual(lists[2][:3], gnd[:3], levels)
                mine = [float(judged.values[setting][:3].mean()) for setting in ("easy", "medium", "hard")]
                assert np.allclose(theirs, mine, rtol=1e-9), (theirs, mine)
            programs = {
                "imgret": lambda lists=lists, path=path, protocol=protocol: bench.call(lambda: ours(protocol, lists, path).result()),
                "loop": lambda ids=lists[2], gnd=gnd, levels=levels: bench.call(functools.partial(usual, ids, gnd, levels)),
            }
            if protocol == "groups":
                values = judged.values[""]

                def both(lists=lists, path=path, protocol=protocol):
                    ours(protocol, lists, path).result()
                    bootstrap_interval(values, given.resamples, 0)

                def peer(ids=lists[2], gnd=gnd, levels=levels):
                    usual(ids, gnd, levels)
                    usual_bootstrap(values, given.resamples, 0)

                programs |= {"imgret, bootstrap": lambda both=both: bench.call(both), "loop, bootstrap": lambda peer=peer: bench.call(peer)}
            costs = bench.in_turn(programs, given.rounds)
            for kind in ("", ", bootstrap"):
                if "imgret" + kind in costs:
                    mine, theirs = costs["imgret" + kind].seconds, costs["loop" + kind].seconds
                    rows.append((title + kind, f"{mine:.3f} s", f"{theirs:.3f} s", f"{theirs / mine:.1f}x", f"{grown / 1024:.0f} MiB"))
    bench.table(("case", "imgret", "usual loop", "ratio", "memory beyond the lists"), rows)
    print(bench.machine() if hasattr(bench, "machine") else "")


if __name__ == "__main__":
    main()
