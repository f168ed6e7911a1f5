"""How long does it take to find the words of one photo's descriptors, and how often is it the nearest word of all?

2000 descriptors, 65,536 words, one thread everywhere; the programs in turn, medians. `first` is the share of descriptors whose nearest word
is the nearest of all, `five` the share of their five nearest words that are found. Peers: faiss' exhaustive search, its HNSW and IVF
over the same words, VLFeat's forest of kd-trees over them; VLFeat's hierarchical k-means has words of its own, and has to do with bytes.
A tree's words are its own too: it is compared with its own leaves.

Words are learned of the features of LEARN and looked up for those of QUERY; without these, of SIFT vectors with noise.

--train    also say how long learning the words takes, on all cores
"""

import argparse
import os
import pathlib
import platform
import statistics
import time

import numpy as np
import vlfeat

T = 2000


def described(path):
    """All descriptors of a features store."""
    from imgret.inputs.samples import draw
    from imgret.inputs.stores import Stores

    with Stores() as opened:
        return draw([opened.add(path, ("features",), "codebook")], 1 << 24, 0, 1 << 34)[0]


def descriptors(learn, query):
    """Rows to learn from, rows to find words for, and what they are."""
    if learn:
        return described(learn), described(query or learn)[-T:], "RootSIFT of stores"
    from imgret.arrays import rootsift

    rng = np.random.default_rng(0)
    path = pathlib.Path(os.environ.get("IMGRET_TEST_DATA", ""), "vectors", "sift5k.tsv")
    base = np.loadtxt(path, dtype=np.float32)[:, :128] if path.is_file() else rng.gamma(0.5, 30, (5000, 128))
    x = base[rng.integers(0, len(base), 200_000 + T)] + rng.normal(0, 12, (200_000 + T, 128))
    x = rootsift(x.clip(0, 255))
    return x[T:], x[:T].copy(), "RootSIFT of SIFT vectors with noise"


def ours(x, size, depth):
    """Fitted codebooks, and seconds that they took."""
    from imgret.codebooks.akm import AKM
    from imgret.codebooks.hkm import HKM
    from imgret.parallel import available_cpus

    for codebook in (AKM(AKM.Params(size=size)), HKM(HKM.Params(depth=depth))):
        start = time.perf_counter()
        yield codebook.fit(x, jobs=available_cpus()), time.perf_counter() - start


def again(codebook, **changes):
    """A codebook with other parameters of how words are found."""
    params = codebook.Params.from_json({**codebook.params.to_json(), **changes})
    return type(codebook).from_arrays(params, codebook.to_arrays())


def programs(words, tree, x):
    """(name, finds `ma` nearest words, the words that it finds them among)."""
    import faiss

    centroids = words.centroids_
    flat, graph = faiss.IndexFlatL2(x.shape[1]), faiss.IndexHNSWFlat(x.shape[1], 16)
    lists = faiss.IndexIVFFlat(faiss.IndexFlatL2(x.shape[1]), x.shape[1], len(words.lists_))
    lists.train(centroids)
    for index in (flat, graph, lists):
        index.add(centroids)

    def searched(index, **settings):
        def find(ma):
            for name, value in settings.items():
                setattr(index.hnsw if name == "efSearch" else index, name, value)
            return index.search(x, ma)[1]

        return find

    def found(codebook):
        return lambda ma: codebook.nearest_words(x, ma)[0]

    yield "faiss flat", searched(flat), centroids
    yield "imgret exact", found(again(words, assign="exact")), centroids
    for probes in (16, 24, 32, 48):
        yield f"imgret akm, probes {probes}", found(again(words, assign="ivf", probes=probes)), centroids
    for probes in (16, 32):
        yield f"faiss ivf, nprobe {probes}", searched(lists, nprobe=probes), centroids
    for effort in (32, 64, 128):
        yield f"faiss hnsw 16, ef {effort}", searched(graph, efSearch=effort), centroids
    for beam in (1, 8, 32):
        yield f"imgret hkm, beam {beam}", found(again(tree, beam=beam)), tree.centroids_
    if vlfeat.available():
        for comparisons in (256, 1024):
            forest = vlfeat.Forest(centroids, 8, comparisons)
            yield f"vlfeat 8 kd-trees, {comparisons}", (lambda ma, forest=forest: forest.quantize(x, ma).astype(np.int64)), centroids


def measure(finders, ma, turns):
    """Median seconds of each, and what it found."""
    times, found = [[] for _ in finders], [None] * len(finders)
    for turn in range(turns + 1):
        for number, find in enumerate(finders):
            start = time.perf_counter()
            found[number] = find(ma)
            if turn:
                times[number].append(time.perf_counter() - start)
    return [statistics.median(taken) for taken in times], found


def nearest_of_all(x, centroids):
    """The five nearest words of each row, by float64."""
    wide = centroids.astype(np.float64)
    half = 0.5 * np.einsum("ij,ij->i", wide, wide)
    return np.concatenate([np.argsort(half - x[i : i + 100] @ wide.T, axis=1, kind="stable")[:, :5] for i in range(0, len(x), 100)])


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("learn", nargs="?", help="features to learn words of")
    parser.add_argument("query", nargs="?", help="features to find the words of")
    parser.add_argument("--depth", type=int, default=4, help="of the tree of 16 branches: 16^depth words")
    parser.add_argument("--turns", type=int, default=5)
    parser.add_argument("--train", action="store_true")
    given = parser.parse_args()

    import faiss

    from imgret.parallel import one_thread

    faiss.omp_set_num_threads(1)
    if vlfeat.available():
        vlfeat.set_threads(1)
    rows, x, what = descriptors(given.learn, given.query)
    (words, words_took), (tree, tree_took) = ours(rows, 16**given.depth, given.depth)
    print(f"{len(x)} descriptors, {what}; {words.words} words, {tree.words} of the tree; median of {given.turns}, one thread")
    print(f"{platform.processor() or platform.machine()}, numpy {np.__version__}, faiss {faiss.__version__}", flush=True)
    if given.train:
        print(f"learned of {len(rows)} descriptors: akm in {words_took:.0f} s, {words.summary()}")
        print(f"hkm in {tree_took:.0f} s, {tree.summary()}")
    with one_thread():
        table(list(programs(words, tree, x)), x, given.turns)
        if vlfeat.available():
            theirs(rows, x, given)
        else:
            print("VLFeat is not installed (libvlfeat-dev): its rows are left out")


def table(rows, x, turns):
    names, finders, among = zip(*rows, strict=True)
    one, first = measure(finders, 1, turns)
    five, nearest = measure(finders, 5, turns)
    truth = {id(centroids): nearest_of_all(x, centroids) for centroids in {id(c): c for c in among}.values()}
    print(f"\n{'':<26}{'1 word, ms':>11}{'faiss flat is':>15}{'first':>8}{'5 words, ms':>13}{'five':>8}")
    for name, a, b, found, several, centroids in zip(names, one, five, first, nearest, among, strict=True):
        right = truth[id(centroids)]
        agree = np.mean(found[:, 0] == right[:, 0])
        shared = np.mean([len(set(mine) & set(all_)) / 5 for mine, all_ in zip(several.tolist(), right.tolist(), strict=True)])
        print(f"{name:<26}{1e3 * a:>11.1f}{one[0] / a:>13.1f} x{agree:>8.3f}{1e3 * b:>13.1f}{shared:>8.3f}", flush=True)


def theirs(rows, x, given):
    """VLFeat's hierarchical k-means: it takes bytes."""
    some = np.rint(255 * rows[:: max(1, len(rows) // 100_000)])
    tree = vlfeat.Tree(some, 16, given.depth)
    (taken,), _ = measure([lambda ma: tree.push(np.rint(255 * x))], 1, given.turns)
    print(f"{'vlfeat hkm':<26}{1e3 * taken:>11.1f}")


if __name__ == "__main__":
    main()
