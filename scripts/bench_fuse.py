"""How long does it take to put three rankings of a million photos together?

    python scripts/bench_fuse.py [--queries 70] [--photos 1000000] [--rankings 3]

Lists of all photos with random scores, as rerankers are given them; one thread, processor time, every method of `fuse` and `fuse-adaptive`.
Beside them what a script of a page does with NumPy: scores spread from 0 to 1, put where their photos are, multiplied, sorted. (ranx fuses
dictionaries of names: --peer ranx asks it, on a hundredth of the photos.)
"""

import argparse

import bench
import numpy as np

from imgret.rerankers.base import Known, Listed, Query
from imgret.rerankers.fuse import HOW, Fuse
from imgret.rerankers.fuse_adaptive import FuseAdaptive

FLOOR = 0.01


def main():
    """One table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--queries", type=int, default=70)
    parser.add_argument("--photos", type=int, default=1_000_000)
    parser.add_argument("--rankings", type=int, default=3)
    parser.add_argument("--peer", choices=("ranx",))
    given = parser.parse_args()
    print(bench.machine("numpy", "numba"), "\n")
    known = Known()
    known.size = given.photos
    query = made(given.photos, given.rankings)
    rerankers = {f"fuse how={how}": Fuse(Fuse.Params(how=how)) for how in HOW} | {"fuse-adaptive": FuseAdaptive(FuseAdaptive.Params())}
    for reranker in rerankers.values():
        reranker.begin(known)
    programs = {name: (lambda each=each: bench.call(lambda: each.rerank([query], known))) for name, each in rerankers.items()}
    programs["NumPy, product"] = lambda: bench.call(lambda: script(query, given.photos))
    for program in programs.values():
        program()  # compiled
    costs = bench.in_turn(programs, 5)
    wanted = script(query, given.photos)
    (found,) = rerankers["fuse how=product"].rerank([query], known)
    same = len(np.intersect1d(found.ids[:1000], wanted[:1000]))
    print(f"{given.rankings} rankings of {given.photos:,} photos; {same} of the first 1000 are those of the script\n")
    peer = costs["NumPy, product"].cpu
    rows = [[name, f"{cost.cpu * 1e3:.1f}", f"{cost.cpu * given.queries:.2f}", f"{peer / cost.cpu:.1f}"] for name, cost in costs.items()]
    bench.table(["", "ms a query", f"s for {given.queries}", "times as fast as NumPy"], rows)
    if given.peer:
        ranx(query, given.photos // 100)


def made(photos, rankings):
    """A query with lists of all photos."""
    rng = np.random.default_rng(0)
    scores = -np.sort(-rng.standard_normal((rankings, photos)).astype(np.float32), axis=1)
    return Query([Listed(rng.permutation(photos), row) for row in scores])


def script(query, photos):
    """The photos by the product of scores from 0 to 1."""
    product = np.ones(photos)
    for listed in query.lists:
        spread = (listed.scores - listed.scores.min()) / (listed.scores.max() - listed.scores.min())
        column = np.zeros(photos)
        column[listed.ids] = FLOOR + (1 - FLOOR) * spread
        product *= column
    return np.argsort(-product, kind="stable")


def ranx(query, photos):
    """What ranx takes for the first photos of one query."""
    import ranx as package

    def run(number, listed):
        rows = zip(listed.ids[:photos].tolist(), listed.scores[:photos].tolist(), strict=True)
        return package.Run({"q": {str(photo): score for photo, score in rows}}, name=str(number))

    runs = [run(number, listed) for number, listed in enumerate(query.lists)]
    package.fuse(runs, norm="min-max", method="sum")
    cost = bench.call(lambda: package.fuse(runs, norm="min-max", method="sum"))
    print(f"\nranx, sum of {photos:,} photos a ranking, one query: {cost.cpu * 1e3:.1f} ms")


if __name__ == "__main__":
    main()
