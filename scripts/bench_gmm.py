"""How fast is one EM iteration of imgret's diagonal Gaussian mixture beside scikit-learn's, and beside its two matrix products alone?

200,000 x 64 points, 256 Gaussians, one and two threads. scikit-learn runs `_e_step` and `_m_step` of `GaussianMixture("diag")` on the
same float32 points from the same mixture; the products are those of [z^2, z] with the coefficients and with the posteriors, over the
same blocks. The three take turns; medians are compared. A second table has the mean log-likelihood after some
iterations from the same start, and the memory that a fit takes beyond its sample, for two sample sizes.
"""

import argparse
import platform
import statistics
import subprocess
import sys
import time
import warnings

import numpy as np

PEAK = """
import sys
import numpy as np
from imgret.codebooks.gmm import GMM
def peak():  # (ru_maxrss would start at the parent's)
    status = open("/proc/self/status").read()
    return int(status.split("VmHWM:")[1].split()[0]) / 1024
count, dims, size, jobs = map(int, sys.argv[1:])
x = np.random.default_rng(0).standard_normal((count, dims), dtype=np.float32)
settings = {"size": size, "seed": 0}
GMM(GMM.Params(iterations=1, start_iterations=1, **settings)).fit(x[: 2 * size].copy(), jobs=jobs)  # libraries are loaded now
before = peak()
GMM(GMM.Params(iterations=2, start_iterations=2, tolerance=0.0, **settings)).fit(x, jobs=jobs)
print(x.nbytes / 2**20, peak() - before)
"""


def points(count, dims, seed):
    """Clusters of unequal size, spread and offset."""
    rng = np.random.default_rng(seed)
    centres = rng.normal(0, 2, (400, dims)) + rng.normal(0, 3, dims)
    spread = rng.uniform(0.5, 1.5, (400, dims))
    which = rng.choice(400, count, p=rng.dirichlet(np.ones(400)))
    return (centres[which] + spread[which] * rng.normal(size=(count, dims))).astype(np.float32)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=200_000)
    parser.add_argument("--dims", type=int, default=64)
    parser.add_argument("--gaussians", type=int, default=256)
    parser.add_argument("--turns", type=int, default=3)
    parser.add_argument("--iterations", type=int, default=5, help="EM iterations before log-likelihoods are compared")
    given = parser.parse_args()

    import sklearn
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.mixture import GaussianMixture
    from threadpoolctl import threadpool_limits

    from imgret.codebooks.gmm import GMM
    from imgret.codebooks.mixture import Mixture, Scaler
    from imgret.parallel import available_cpus, blocks, ordered_map

    warnings.simplefilter("ignore", ConvergenceWarning)
    x = points(given.rows, given.dims, 0)
    cpus = available_cpus()
    print(f"{given.rows} x {given.dims} points, {given.gaussians} Gaussians, median of {given.turns} turns")
    print(f"{platform.processor() or platform.machine()}, {cpus} CPUs, numpy {np.__version__}, scikit-learn {sklearn.__version__}")

    def fit(iterations):
        params = GMM.Params(size=given.gaussians, iterations=iterations, tolerance=0.0, start_iterations=5)
        return GMM(params).fit(x, jobs=cpus)

    start = fit(0)
    weights = start.weights_.astype(np.float64) / start.weights_.sum(dtype=np.float64)

    def peer(iterations):
        model = GaussianMixture(
            given.gaussians,
            covariance_type="diag",
            max_iter=iterations,
            tol=0.0,
            weights_init=weights,
            means_init=start.means_,
            precisions_init=1 / start.variances_,
        )
        return model.fit(x)

    theirs = peer(1)  # sets up what _e_step needs
    scaler = Scaler(x, cpus)
    mixture = Mixture(
        weights, (start.means_ - scaler.mean) / scaler.spread, np.maximum(start.variances_ / scaler.spread**2, start.params.variance_floor)
    )

    def our_iteration(jobs):
        _, *sums = mixture.expect(x, scaler, jobs)
        mixture.maximize(*sums, start.params.variance_floor)

    def their_iteration(threads):
        with threadpool_limits(threads):
            _, responsibilities = theirs._e_step(x)
            theirs._m_step(x, responsibilities)

    features = np.concatenate([x * x, x], axis=1)
    coefficients = np.ones((2 * given.dims, given.gaussians), np.float32)
    posteriors = np.full((8192, given.gaussians), 1 / given.gaussians, np.float32)

    def products(threads):
        def work(block):
            f = features[block]
            f @ coefficients
            posteriors[: len(f)].T @ f

        for _ in ordered_map(work, blocks(len(x)), threads):
            pass

    print(f"\n{'threads':>7} {'imgret s':>9} {'sklearn s':>10} {'products s':>11} {'sklearn/imgret':>15} {'imgret/products':>16}")
    for threads in [count for count in (1, 2) if count <= cpus]:
        times = {our_iteration: [], their_iteration: [], products: []}
        for _ in range(given.turns):
            for run, seconds in times.items():
                began = time.perf_counter()
                run(threads)
                seconds.append(time.perf_counter() - began)
        ours, sklearns, alone = (statistics.median(seconds) for seconds in times.values())
        print(f"{threads:7} {ours:9.3f} {sklearns:10.3f} {alone:11.3f} {sklearns / ours:15.2f} {ours / alone:16.2f}")

    print(f"\nmean log-likelihood of a row after {given.iterations} iterations from the same start (judged by scikit-learn)")
    ours, model = fit(given.iterations), peer(given.iterations)
    theirs_score = model.score(x)
    model.weights_ = ours.weights_.astype(np.float64)
    model.means_, model.precisions_cholesky_ = ours.means_, 1 / np.sqrt(ours.variances_)
    print(f"imgret {model.score(x):.5f} (says {ours.summary()['log_likelihood']:.5f})   scikit-learn {theirs_score:.5f}")

    print(f"\n{'sample MB':>9} {'a fit takes beyond it, MB':>26}   ({cpus} jobs)")
    for rows in (given.rows, 4 * given.rows):
        command = [sys.executable, "-c", PEAK, *map(str, (rows, given.dims, given.gaussians, cpus))]
        sample, beyond = map(float, subprocess.run(command, check=True, capture_output=True, text=True).stdout.split())
        print(f"{sample:9.0f} {beyond:26.1f}")


if __name__ == "__main__":
    main()
