"""How fast is imgret's k-means beside faiss.Kmeans, and is its objective as good?

Same points (200,000 x 128: real SIFT vectors drawn with noise where IMGRET_TEST_DATA is set, otherwise clusters at random), the
same starting words, the same number of Lloyd iterations without early stop, one and two threads. faiss would train on a subsample:
it is told to use every point. The two take turns; medians are compared. A second table has the objectives from each one's own start.
"""

import argparse
import os
import pathlib
import platform
import statistics
import time

import numpy as np


def points(count, seed):
    rng = np.random.default_rng(seed)
    folder = os.environ.get("IMGRET_TEST_DATA")
    if folder and (file := pathlib.Path(folder, "vectors", "sift5k.tsv")).exists():
        base, what = np.loadtxt(file, dtype=np.float32)[:, :128], "SIFT vectors with noise"
    else:
        base, what = rng.gamma(0.5, 30, (5000, 128)).clip(0, 255), "synthetic clusters"
    x = base[rng.integers(0, len(base), count)] + rng.normal(0, 12, (count, 128))
    return np.ascontiguousarray(x.clip(0, 255), dtype=np.float32), what


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=200_000)
    parser.add_argument("--words", type=int, default=256)
    parser.add_argument("--iterations", type=int, default=10)
    parser.add_argument("--turns", type=int, default=3)
    given = parser.parse_args()

    import faiss
    from threadpoolctl import threadpool_limits

    from imgret.codebooks.kmeans import KMeans
    from imgret.codebooks.passes import assign
    from imgret.parallel import available_cpus

    x, what = points(given.rows, 0)
    cpus = available_cpus()
    print(f"{given.rows} x {x.shape[1]} {what}, {given.words} words, {given.iterations} iterations, median of {given.turns} turns")
    print(f"{platform.processor() or platform.machine()}, {cpus} CPUs, numpy {np.__version__}, faiss {faiss.__version__}")

    def settings(seed, iterations, init):
        return KMeans.Params(size=given.words, iterations=iterations, tolerance=0.0, init=init, seed=seed)

    def ours(jobs, seed, init):
        return KMeans(settings(seed, given.iterations, init)).fit(x, jobs=jobs).centroids_

    def theirs(threads, seed, start=None):
        with threadpool_limits(threads):
            faiss.omp_set_num_threads(threads)
            peer = faiss.Kmeans(x.shape[1], given.words, niter=given.iterations, seed=seed + 1, max_points_per_centroid=len(x))
            peer.train(x, init_centroids=start)
        return peer.centroids

    def objective(centroids):
        return float(assign(x, centroids)[1].sum(dtype=np.float64))

    start = KMeans(settings(0, 0, "random")).fit(x).centroids_
    print(
        f"\n{'threads':>7} {'imgret s':>9} {'faiss s':>9} {'speed ratio':>11} {'imgret objective':>17} {'faiss objective':>16} {'ratio':>8}"
    )
    for threads in [count for count in (1, 2) if count <= cpus]:
        times, last = {"ours": [], "theirs": []}, {}
        for _ in range(given.turns):
            for name, run in (("ours", lambda n=threads: ours(n, 0, "random")), ("theirs", lambda n=threads: theirs(n, 0, start))):
                began = time.perf_counter()
                last[name] = run()
                times[name].append(time.perf_counter() - began)
        a, b = statistics.median(times["ours"]), statistics.median(times["theirs"])
        costs = objective(last["ours"]), objective(last["theirs"])
        print(f"{threads:7} {a:9.2f} {b:9.2f} {b / a:11.2f} {costs[0]:17.6e} {costs[1]:16.6e} {costs[0] / costs[1]:8.5f}")

    print(f"\n{'seed':>4} {'k-means++ objective':>20} {'faiss objective':>16} {'ratio':>8}   (each from its own start)")
    for seed in (1, 2, 3):
        costs = objective(ours(cpus, seed, "k-means++")), objective(theirs(cpus, seed))
        print(f"{seed:4} {costs[0]:20.6e} {costs[1]:16.6e} {costs[0] / costs[1]:8.5f}")


if __name__ == "__main__":
    main()
