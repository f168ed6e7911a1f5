"""How fast are VLAD and Fisher encoding beside VLFeat and scikit-image, and do they agree?

One photo's descriptors at a time, one thread everywhere; the programs in turn, each ten photos in a row; medians. VLAD's times
include the assignment to words (VLFeat: `vl_kmeans_quantize`, then `vl_vlad_encode`). Descriptors: RootSIFT of
$IMGRET_TEST_DATA/vectors/sift5k.tsv, or made up without it; codebooks and the projection to 64 dimensions are learned,
roughly, on those that are not encoded. scikit-image reckons in the type of the mixture and descriptors that it is given: float64 is
what its own integer descriptors lead to, float32 is ours.
"""

import os
import pathlib
import platform
import statistics
import sys
import time
import types
import warnings

import numpy as np
import vlfeat
from skimage.feature import fisher_vector
from sklearn.mixture import GaussianMixture

from imgret import arrays, parallel
from imgret.encoders.fisher import Fisher
from imgret.encoders.vlad import Vlad
from imgret.features import LocalFeatures

T = 1500
ROUNDS = 15
ROW = 10  # photos in a row, as a step encodes them


def descriptors():
    """RootSIFT, (5000, 128), and what they are."""
    path = pathlib.Path(os.environ.get("IMGRET_TEST_DATA", ""), "vectors", "sift5k.tsv")
    if path.is_file():
        return arrays.rootsift(np.loadtxt(path, dtype=np.float32)[:, :128]), "sift5k.tsv, RootSIFT"
    rng = np.random.default_rng(0)
    centres = rng.gamma(0.6, size=(200, 128))
    made_up = centres[rng.integers(200, size=5000)] * rng.gamma(3, size=(5000, 128))
    return arrays.rootsift(made_up), "made up: no IMGRET_TEST_DATA"


def lloyd(x, size, iterations=5):
    centroids = x[np.random.default_rng(0).permutation(len(x))[:size]].copy()
    for _ in range(iterations):
        words = np.argmax(x @ centroids.T - 0.5 * (centroids * centroids).sum(axis=1), axis=1)
        for k in np.unique(words):
            centroids[k] = x[words == k].mean(axis=0)
    return centroids


def principal(x, dims):
    mean = x[T:].mean(axis=0)
    _, vectors = np.linalg.eigh(np.cov(x[T:], rowvar=False))
    return np.ascontiguousarray((x - mean) @ vectors[:, : -dims - 1 : -1], dtype=np.float32)


def mixture(x, size):
    gmm = GaussianMixture(size, covariance_type="diag", max_iter=8, reg_covar=1e-4, init_params="random_from_data", random_state=0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # eight iterations do not converge, and need not
        return gmm.fit(x)


def single(gmm):
    """The same mixture in float32."""
    copy = GaussianMixture(gmm.n_components, covariance_type="diag")
    for name in ("weights_", "means_", "covariances_", "precisions_cholesky_"):
        setattr(copy, name, getattr(gmm, name).astype(np.float32))
    return copy


def positive_sigma(vector, size):
    """scikit-image's vector without the weight part, the sigma part's sign turned, L2-normalised again."""
    vector = vector[size:].copy()
    vector[len(vector) // 2 :] *= -1
    return vector / np.linalg.norm(vector)


def measure(programs):
    """Median milliseconds a photo of each, taken in turn."""
    times = [[] for _ in programs]
    for turn in range(ROUNDS + 2):
        for program, taken in zip(programs, times, strict=True):
            start = time.perf_counter()
            for _ in range(ROW):
                program()
            if turn >= 2:
                taken.append(1e3 * (time.perf_counter() - start) / ROW)
    return [statistics.median(taken) for taken in times]


def report(title, results, peers, programs):
    ours, *theirs = measure(programs)
    for i, (peer, taken) in enumerate(zip(peers, theirs, strict=True)):
        difference = np.abs(results[0] - results[i + 1]).max()
        print(f"{title if i == 0 else '':<28}{ours:>8.2f}  {peer:<30}{taken:>8.2f}{taken / ours:>8.1f} x{difference:>12.1e}", flush=True)


def local(photo):
    """Descriptors as encoders take them."""
    return LocalFeatures(np.zeros((len(photo), 0), np.float32), photo, ())


def bench_vlad(x, size):
    centroids = lloyd(x[T:], size)
    photo = x[:T]
    encoder = Vlad(Vlad.Params(), types.SimpleNamespace(centroids_=centroids, dim_=x.shape[1], transform=lambda rows: rows))
    quantizer = vlfeat.Quantizer(centroids)

    features = local(photo)

    def ours():
        return encoder.encode(features)

    def theirs():
        return vlfeat.vlad(photo, quantizer.quantize(photo), centroids, vlfeat.VLAD_INTRA)

    report(f"VLAD {x.shape[1]}-d, K = {size}", [ours(), theirs()], ["VLFeat"], [ours, theirs])


def bench_fisher(x, size):
    gmm = mixture(x[T:].astype(np.float64), size)
    narrow = single(gmm)
    given = narrow.weights_, narrow.means_, narrow.covariances_
    # All programs are given the float32 values: what differs is the arithmetic.
    gmm.weights_, gmm.means_, gmm.covariances_ = (array.astype(np.float64) for array in given)
    gmm.precisions_cholesky_ = 1 / np.sqrt(gmm.covariances_)
    photo = x[:T]
    wide = photo.astype(np.float64)
    codebook = types.SimpleNamespace(weights_=given[0], means_=given[1], variances_=given[2], dim_=x.shape[1], transform=lambda rows: rows)
    encoder, features = Fisher(Fisher.Params(), codebook), local(photo)
    programs = [
        lambda: encoder.encode(features),
        lambda: vlfeat.fisher(photo, *given),
        lambda: fisher_vector(wide, gmm, improved=True),
        lambda: fisher_vector(photo, narrow, improved=True),
    ]
    results = [programs[0](), programs[1](), positive_sigma(programs[2](), size), positive_sigma(programs[3](), size)]
    report(f"Fisher {x.shape[1]}-d, K = {size}", results, ["VLFeat", "scikit-image, float64", "scikit-image, float32"], programs)
    print(f"{'':<38}{'VLFeat beside scikit-image, float64':<48}{np.abs(results[1] - results[2]).max():>12.1e}")


def main():
    if not vlfeat.available():
        sys.exit("VLFeat's libvl is not installed: apt install libvlfeat-dev")
    x, what = descriptors()
    vlfeat.set_threads(1)
    with parallel.one_thread():
        print(f"{T} descriptors a photo ({what}), one thread everywhere, median of {ROUNDS} turns, milliseconds a photo")
        print(f"numpy {np.__version__}, VLFeat {vlfeat.version()}, {platform.machine()}, {parallel.available_cpus()} CPUs\n")
        print(f"{'':<28}{'imgret':>8}  {'peer':<30}{'peer':>8}{'ratio':>10}{'max |diff|':>12}")
        for size in (64, 256):
            bench_vlad(x, size)
        short = principal(x, 64)
        for size in (64, 256):
            bench_fisher(short, size)


if __name__ == "__main__":
    main()
