"""Codebooks of many words: nearest words against slow loops, relocation, trees, what files may hold."""

import itertools

import numpy as np
import pytest
from helpers import call, refused

from imgret import registry
from imgret.codebooks import CODEBOOKS
from imgret.codebooks import nearness as nearness_module
from imgret.codebooks.akm import AKM
from imgret.codebooks.hkm import HKM
from imgret.codebooks.kmeans import KMeans
from imgret.codebooks.listed import list_count
from imgret.codebooks.nearness import Nearest, repeated
from imgret.codebooks.product import Product
from imgret.codebooks.scalar import Scalar
from imgret.components import VOCABULARIES
from imgret.errors import ImgretError, UsageError

DIMS = 10
SETTINGS = {
    "kmeans": {"size": 30, "iterations": 3, "pca": 0},
    "akm": {"size": 60, "iterations": 4, "assign": "ivf", "probes": 3},
    "hkm": {"branch": 4, "depth": 3, "iterations": 3},
    "product": {"size": 5, "iterations": 3},
    "scalar": {"bits": 5},
}
LISTED = [pytest.param("ivf", 7, id="all lists"), pytest.param("exact", 1, id="exact")]


def rows(count=3000, seed=0, spread=4.0):
    rng = np.random.default_rng(seed)
    return (rng.normal(1, spread, (20, DIMS))[rng.integers(0, 20, count)] + rng.normal(size=(count, DIMS))).astype(np.float32)


@pytest.fixture(scope="module")
def x():
    return rows()


@pytest.fixture(scope="module")
def fitted(x):
    """Of each method a codebook of `x`."""
    made = {}
    for name, settings in SETTINGS.items():
        kind = registry.load(CODEBOOKS, name, "codebook")
        made[name] = kind(kind.Params(**settings)).fit(x)
    return made


def by_hand(x, centroids, ma):
    """Nearest words of each row by looking at all, the lowest number of equals first, and their squared distances."""
    words, far = [], []
    for row in np.asarray(x, np.float64):
        squared = [np.float32(sum((a - b) ** 2 for a, b in zip(row, c, strict=True))) for c in np.asarray(centroids, np.float64)]
        order = sorted(range(len(squared)), key=lambda word: (squared[word], word))[:ma]
        words.append(order)
        far.append([squared[word] for word in order])
    return np.array(words), np.array(far, np.float32)


def refusal(call):
    with pytest.raises((ImgretError, UsageError)) as error:
        call()
    return str(error.value)


# The contract


def test_every_vocabulary_is_here():
    assert set(SETTINGS) == set(VOCABULARIES)


@pytest.mark.parametrize("name", SETTINGS)
def test_contract_of_words(name, fitted):
    codebook, z = fitted[name], rows(70, seed=5)
    assert isinstance(codebook.words, int)
    assert codebook.words >= 20
    one, far = codebook.nearest_words(z)
    assert (one.shape, one.dtype, far.shape, far.dtype) == ((70, 1), np.int64, (70, 1), np.float32)
    several, squared = codebook.nearest_words(z, 4)
    assert (several.shape, several.dtype, squared.dtype) == ((70, 4), np.int64, np.float32)
    assert ((several >= 0) & (several < codebook.words)).all()
    assert (np.diff(squared, axis=1) >= 0).all()
    assert all(len(set(found)) == 4 for found in several.tolist())
    assert codebook.nearest_words(z, 100_000)[0].shape[1] == codebook.words
    assert [part.shape for part in codebook.nearest_words(z[:0], 2)] == [(0, 2), (0, 2)]
    # a row's words are its own, whatever comes with it
    alone = [codebook.nearest_words(z[i : i + 1], 4)[0][0] for i in range(0, 70, 9)]
    assert np.array_equal(alone, several[::9])
    again = type(codebook).from_arrays(codebook.params, codebook.to_arrays())
    assert again.words == codebook.words
    assert all(np.array_equal(a, b) for a, b in zip(again.nearest_words(z, 4), (several, squared), strict=True))
    if codebook.has_centroids:
        points = codebook.centroids_of(several.ravel())
        assert points.dtype == np.float32
        assert np.allclose(((points - np.repeat(z, 4, axis=0)) ** 2).sum(axis=1), squared.ravel(), rtol=1e-5)
        if name not in ("akm", "hkm"):  # which look farther for several
            assert np.array_equal(one, several[:, :1])


@pytest.mark.parametrize("name", ["akm", "product"])
def test_more_words_than_rows(name, x):
    kind = registry.load(CODEBOOKS, name, "codebook")
    said = refusal(lambda: kind(kind.Params(size=40)).fit(x[:39]))
    assert said == "40 visual words were asked for (`size`), but only 39 rows were sampled: ask for fewer, or give more photos"


@pytest.mark.parametrize(
    ("name", "options", "told"),
    [
        ("akm", ("--size", "30"), ["relocated words", "empty words 0", "single words", "differs from exact 0"]),
        ("hkm", ("--set", "branch=3", "--set", "depth=2"), ["words 9", "single words", "differs from exact"]),
        ("product", ("--size", "3"), ["words 9", "mean squared distance"]),
        ("scalar", ("--set", "bits=6"), ["words 64", "used words"]),
    ],
)
def test_the_step_tells_what_words_are_like(name, options, told, stores, tmp_path):
    out = tmp_path / "words.h5"
    result = call("codebook", stores.features, "-m", name, *options, "-o", out)
    assert result.code == 0, result.err
    assert all(text in result.err for text in told), result.err
    assert call("info", out, "--check").code == 0


def test_a_tree_takes_no_size(stores, tmp_path):
    result = call("codebook", stores.features, "-m", "hkm", "--size", "9", "-o", tmp_path / "words.h5")
    refused(result, 2, "this method takes no `size`; it has: branch, depth, iterations, seed, assign, beam")


# All words


@pytest.mark.parametrize("ma", [1, 3])
@pytest.mark.parametrize("scale", [1.0, 1e-17, 1e16])
def test_nearest_of_all_is_the_loop(ma, scale, monkeypatch):
    monkeypatch.setattr(nearness_module, "TILE", (16, 9))  # several tiles each way
    centroids, z = rows(31) * np.float32(scale), rows(40, seed=2) * np.float32(scale)
    found, squared = Nearest(centroids).find(z, ma)
    words, far = by_hand(z, centroids, ma)
    assert np.array_equal(found, words)
    assert np.allclose(squared, far, rtol=1e-5, atol=0)


def test_words_far_from_the_origin_keep_their_digits():
    centroids, z = rows(50, spread=0.2) + np.float32(5000), rows(60, seed=2, spread=0.2) + np.float32(5000)
    assert np.array_equal(Nearest(centroids).find(z)[0], by_hand(z, centroids, 1)[0])


def test_of_equal_words_the_first():
    centroids = rows(12)
    centroids[[3, 7, 11]] = centroids[[1, 1, 2]]
    centroids[5] = 0
    centroids[6] = -0.0
    near = Nearest(centroids)
    assert np.flatnonzero(repeated(centroids)).tolist() == [3, 6, 7, 11]
    assert near.distinct == 8
    found, _ = near.find(centroids, 20)
    assert found.shape == (12, 8)
    assert found[:, 0].tolist() == [0, 1, 2, 1, 4, 5, 5, 1, 8, 9, 10, 2]


def test_words_of_one_key_are_compared(monkeypatch):
    centroids = rows(4)
    monkeypatch.setattr(np, "unique", lambda keys, **_: (keys[:1], np.zeros(1, int), np.zeros(len(keys), int)))
    assert not repeated(centroids).any()


@pytest.mark.parametrize("name", [name for name in SETTINGS if name != "scalar"])
def test_rows_too_long_for_float32(name, fitted):
    z = np.full((2, DIMS), 3e38, np.float32)
    z[0] = 0
    assert refusal(lambda: fitted[name].nearest_words(z)) == (
        "the descriptors are too large to be encoded in float32: scale them, and train the codebook on them again"
    )


# Lists


@pytest.mark.parametrize(("assign", "probes"), LISTED)
@pytest.mark.parametrize("ma", [1, 4])
def test_lists_that_are_all_looked_into_are_all_words(assign, probes, ma, fitted):
    arrays, z = fitted["akm"].to_arrays(), rows(50, seed=3)
    assert len(arrays["lists"]) == list_count(60) == 7
    codebook = AKM.from_arrays(AKM.Params(size=60, assign=assign, probes=probes), arrays)
    found, squared = codebook.nearest_words(z, ma)
    words, far = by_hand(z, arrays["centroids"], ma)
    assert np.array_equal(found, words)
    assert np.allclose(squared, far, rtol=1e-5)


def test_lists_are_those_of_their_words(fitted):
    arrays = fitted["akm"].to_arrays()
    of = np.repeat(np.arange(7), np.diff(arrays["list_offsets"]))
    for number in range(7):
        if (of == number).any():
            assert np.allclose(arrays["lists"][number], arrays["centroids"][of == number].mean(axis=0), atol=1e-4)


def test_only_the_nearest_lists_are_looked_into(fitted):
    arrays, z = fitted["akm"].to_arrays(), rows(50, seed=3)
    codebook = AKM.from_arrays(AKM.Params(size=60, assign="ivf", probes=2), arrays)
    of = np.repeat(np.arange(7), np.diff(arrays["list_offsets"]))
    near, _ = by_hand(z, arrays["lists"], 2)
    for row, lists, found in zip(z, near, codebook.nearest_words(z)[0][:, 0].tolist(), strict=True):
        mine = np.flatnonzero(np.isin(of, lists))
        assert found == mine[by_hand(row[None], arrays["centroids"][mine], 1)[0][0, 0]]


def test_rows_whose_lists_hold_too_few_look_at_all(fitted):
    arrays, z = fitted["akm"].to_arrays(), rows(20, seed=3)
    codebook = AKM.from_arrays(AKM.Params(size=60, assign="ivf", probes=1), arrays)
    most = int(np.diff(arrays["list_offsets"]).max()) + 1
    assert np.array_equal(codebook.nearest_words(z, most)[0], by_hand(z, arrays["centroids"], most)[0])


def test_offsets_from_strangers(fitted):
    arrays = fitted["akm"].to_arrays()
    for change in ({0: 1}, {-1: 59}, {-1: 61}, {3: -5}, {3: 1 << 40}):
        offsets = arrays["list_offsets"].copy()
        for place, value in change.items():
            offsets[place] = value
        said = refusal(lambda offsets=offsets: AKM.from_arrays(fitted["akm"].params, {**arrays, "list_offsets": offsets}))
        assert said == "the codebook's `list_offsets` must rise from 0 to 60: train it again"
    # one list may hold all
    offsets = np.array([0] + [60] * 7)
    codebook = AKM.from_arrays(fitted["akm"].params, {**arrays, "list_offsets": offsets})
    assert np.array_equal(codebook.nearest_words(rows(9))[0], by_hand(rows(9), arrays["centroids"], 1)[0])


def test_words_of_one_row_move():
    rng = np.random.default_rng(3)
    x = np.concatenate([rng.normal(size=(1500, DIMS)), rng.normal(0, 60, (25, DIMS))]).astype(np.float32)  # 25 lie apart
    settled = KMeans(KMeans.Params(size=60, pca=0, init="random")).fit(x)
    alone = np.bincount(settled.nearest_words(x)[0][:, 0], minlength=60) == 1
    assert alone.sum() >= 3
    codebook = AKM(AKM.Params(size=60)).fit(x)
    summary = codebook.summary()
    assert summary["relocated_words"] >= 3
    counts = np.bincount(codebook.nearest_words(x)[0][:, 0], minlength=60)
    assert summary["single_words"] == np.count_nonzero(counts == 1) < alone.sum() / 2
    assert summary["empty_words"] == np.count_nonzero(counts == 0) == 0


def test_fewer_different_rows_than_words():
    x = np.ascontiguousarray(rows(6)[np.random.default_rng(1).integers(0, 6, 500)])
    for codebook in (AKM(AKM.Params(size=30)), HKM(HKM.Params(branch=4, depth=2)), Product(Product.Params(size=8))):
        summary = codebook.fit(x).summary()
        assert np.isfinite(codebook.nearest_words(x, 3)[1]).all()
        assert summary.get("mean_squared_distance", 0) < 1e-9


def test_what_differs_from_exact_is_told(fitted, x):
    codebook = fitted["akm"]
    words, _ = by_hand(x[::30], codebook.centroids_, 1)
    assert np.mean(codebook.nearest_words(x[::30])[0] != words) == pytest.approx(codebook.summary()["differs_from_exact"], abs=0.04)
    narrow = AKM(AKM.Params(size=60, iterations=4, assign="ivf", probes=1)).fit(x).summary()["differs_from_exact"]
    assert codebook.summary()["differs_from_exact"] < narrow
    assert AKM(AKM.Params(size=60, iterations=4)).fit(x).summary()["differs_from_exact"] == 0  # so few are looked at all


# Trees


def down(row, tree, beam):
    """The leaves that a row comes to, nearest first, by the arrays of a tree."""
    points, children = tree["points"].astype(np.float64), tree["children"]
    kept = [0]
    while kept[0] < len(children) - 1:
        below = [child for node in kept for child in range(children[node], children[node + 1])]
        below.sort(key=lambda child: ((points[child] - row) ** 2).sum())
        kept = [child + 1 for child in below[:beam]]
    return [node - (len(children) - 1) for node in kept]


@pytest.mark.parametrize("beam", [1, 3])
def test_the_way_down_is_the_loop(beam, fitted):
    tree, z = fitted["hkm"].to_arrays(), rows(60, seed=4)
    codebook = HKM.from_arrays(HKM.Params(branch=4, depth=3, beam=beam), tree)
    for ma in (1, 3):
        expected = [down(row, tree, max(beam, ma))[:ma] for row in z.astype(np.float64)]
        assert codebook.nearest_words(z, ma)[0].tolist() == expected


def test_a_beam_as_wide_as_the_tree_is_exact(fitted):
    tree, z = fitted["hkm"].to_arrays(), rows(60, seed=4)
    for settings in ({"beam": 64}, {"assign": "exact"}):
        codebook = HKM.from_arrays(HKM.Params(branch=4, depth=3, **settings), tree)
        assert np.array_equal(codebook.nearest_words(z, 2)[0], by_hand(z, codebook.centroids_, 2)[0])


def test_nodes_above_words(fitted):
    codebook = fitted["hkm"]
    children, words = codebook.children_, codebook.words
    way = codebook.ancestors_of(np.arange(words))
    assert (way.shape, way.dtype) == ((words, 3), np.int64)
    assert np.array_equal(way[:, -1], np.arange(words))
    assert sorted(set(way.ravel().tolist())) == list(range(codebook.nodes))
    inner = len(children) - 2
    for word, nodes in enumerate(way.tolist()):
        place = inner + word  # in points
        for node in nodes[::-1]:
            assert node == (place - inner if place >= inner else place + words)
            place = next(above for above in range(len(children) - 1) if children[above] <= place < children[above + 1]) - 1
        assert place == -1  # the root
    assert KMeans.nodes is None


def test_a_tree_of_few_rows_stays_small():
    x = rows(30)
    codebook = HKM(HKM.Params(branch=4, depth=4, iterations=5)).fit(x)
    assert codebook.words <= 7  # of four rows each, on average
    assert codebook.ancestors_of([0]).shape == (1, 4)
    assert codebook.summary()["largest_word"] >= 4
    single = HKM(HKM.Params(branch=2, depth=2)).fit(x[:4])
    assert single.words == 1
    assert np.allclose(single.centroids_, x[:4].mean(axis=0), atol=1e-5)
    assert single.ancestors_of([0]).tolist() == [[1, 0]]


def test_children_from_strangers(fitted):
    codebook = fitted["hkm"]
    arrays = codebook.to_arrays()
    tree = "the codebook's `children` must be those of a tree whose leaves are on one level: train it again"
    fit = "the codebook's `children` do not fit its `points`, `branch` and `depth`: train it again"

    def said(children, **params):
        params = HKM.Params(**{**SETTINGS["hkm"], **params})
        return refusal(lambda: HKM.from_arrays(params, {**arrays, "children": np.asarray(children, np.int64)}))

    good = arrays["children"]
    for place, value in ((0, 1), (2, 0), (2, -3), (1, 1 << 60), (3, good[4])):
        bad = good.copy()
        bad[place] = value
        assert said(bad) == tree
    assert said([0]) == tree
    assert said([0, 2, 3]) == tree  # one leaf is a level above the other
    assert said([*good[:-1], good[-1] + 1]) == fit
    assert said(good, depth=2) == fit
    assert said(good, branch=3) == fit


def test_too_large_a_tree():
    assert refusal(lambda: HKM.Params(branch=4096, depth=3)) == (
        "`branch` 4096 and `depth` 3 make more than 16777216 words: take less of either"
    )


# Pairs


@pytest.mark.parametrize("ma", [1, 2, 6, 25])
def test_nearest_pairs_are_the_loop(ma, fitted):
    codebook, z = fitted["product"], rows(40, seed=6)
    centroids = codebook.centroids_of(np.arange(25))
    assert np.array_equal(centroids[7], np.concatenate([codebook.first_[1], codebook.second_[2]]))
    found, squared = codebook.nearest_words(z, ma)
    words, far = by_hand(z, centroids, ma)
    assert np.array_equal(found, words)
    assert np.allclose(squared, far, rtol=1e-5)


def test_halves_are_learned_as_kmeans_learns(x):
    odd = np.ascontiguousarray(x[:, :7])
    codebook = Product(Product.Params(size=5)).fit(odd)
    for name, half in (("first", odd[:, :4]), ("second", odd[:, 4:])):
        alone = KMeans(KMeans.Params(size=5, pca=0)).fit(np.ascontiguousarray(half))
        assert np.allclose(codebook.to_arrays()[name], alone.centroids_, atol=1e-4)


def test_halves_that_are_none(fitted, x):
    said = refusal(lambda: Product(Product.Params(size=2)).fit(np.ascontiguousarray(x[:, :1])))
    assert said == "a descriptor of one column has no halves: take another codebook"
    arrays = fitted["product"].to_arrays()
    for change in ({"first": arrays["first"][:, :3].copy()}, {"second": arrays["second"][:, :1].copy()}):
        said = refusal(lambda change=change: Product.from_arrays(fitted["product"].params, {**arrays, **change}))
        assert said == "the codebook's `first` and `second` must be halves of a descriptor: train it again"


# Bits


def test_bits_are_the_loop(fitted):
    codebook, z = fitted["scalar"], rows(30, seed=7)
    z[3, :6] = 1.0  # several values at the median
    for ma in (1, 5, 32):
        found, squared = codebook.nearest_words(z, ma)
        for row, words, far in zip(z, found.tolist(), squared, strict=True):
            above = [float(row[column]) - float(np.median(row)) for column in codebook.order_[:5]]
            own = sum(1 << bit for bit, value in enumerate(above) if value > 0)
            cost = {
                own ^ sum(1 << bit for bit in chosen): sum(above[bit] ** 2 for bit in chosen)
                for count in range(6)
                for chosen in itertools.combinations(range(5), count)
            }
            assert words[0] == own
            assert np.allclose(far, sorted(cost.values())[:ma], rtol=1e-4, atol=1e-9)
            assert np.allclose([cost[word] for word in words], far, rtol=1e-4, atol=1e-9)


def test_the_other_bits(fitted):
    codebook, z = fitted["scalar"], rows(9, seed=7)
    bits = np.unpackbits(codebook.signature_of(z), axis=1, bitorder="little")
    above = z > np.median(z, axis=1, keepdims=True)
    assert np.array_equal(bits[:, :5], above[:, codebook.order_[5:]])
    assert not bits[:, 5:].any()
    assert not codebook.has_centroids


def test_bits_that_there_are_not(x, fitted):
    assert refusal(lambda: Scalar(Scalar.Params(bits=11)).fit(x)) == (
        "words of 11 bits were asked for (`bits`), but the rows have 10 columns: ask for fewer"
    )
    for order in ([0, 1, 2, 3], [0, 1, 2, 3, 5], [0, 1, 2, 3, -1], [4, 4, 3, 2, 1, 0]):
        said = refusal(lambda order=order: Scalar.from_arrays(fitted["scalar"].params, {"order": np.array(order)}))
        assert said == "the codebook's `order` must name each of 5 columns or more once: train it again"
