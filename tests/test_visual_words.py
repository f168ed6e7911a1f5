"""Encoders that give visual words: entries against slow loops, what travels with a codebook, the store, its export."""

import os
import types

import numpy as np
import pytest
from helpers import call, flip, refused, resign

import imgret
from imgret import geometry
from imgret.arrays import random_rotation
from imgret.encoders.asmk import Asmk
from imgret.encoders.bow import Bow
from imgret.encoders.entries import stopped
from imgret.encoders.hamming import Hamming
from imgret.encoders.smk import Smk
from imgret.errors import ImgretError, UsageError
from imgret.features import LocalFeatures
from imgret.store.reader import Store

DIMS, WORDS = 16, 7
HOW = "hamming needs a hamming codebook (thresholds) too: give it with another -c (imgret codebook FEATURES -m hamming -c WORDS)"
KEYPOINTS = ("x", "y", "scale", "angle")


class Points:
    """Words that are points, found by looking at all of them."""

    name, has_centroids, nodes, dim_, words = "kmeans", True, None, DIMS, WORDS

    def __init__(self, seed=100):
        self.centroids_ = np.random.default_rng(seed).standard_normal((WORDS, DIMS)).astype(np.float32)

    def transform(self, x):
        return x

    def nearest_words(self, x, ma=1):
        squared = ((x[:, None].astype(np.float64) - self.centroids_) ** 2).sum(axis=2)
        found = np.argsort(squared, axis=1, kind="stable")[:, :ma]
        return found, np.take_along_axis(squared, found, axis=1).astype(np.float32)

    def centroids_of(self, words):
        return self.centroids_[words]


class Tree(Points):
    """The same, and two nodes above them: those of the even and of the odd."""

    name, nodes = "hkm", WORDS + 2

    def ancestors_of(self, words):
        return np.stack([words, WORDS + words % 2], axis=1)


class Bits(Points):
    name, has_centroids = "scalar", False


def statistics(words=WORDS, bits=8, seed=1):
    """What words are like, made up."""
    rng = np.random.default_rng(seed)
    found = {"photos_": rng.permutation(words), "idf_": rng.random(words), "spread_": np.full(words, DIMS * 1.5)}
    found |= {"projection_": random_rotation(bits, DIMS, seed), "thresholds_": rng.standard_normal((words, bits))}
    return types.SimpleNamespace(**{name: value.astype(np.float32) for name, value in found.items()})


def photo(seed, count=60, keypoints=True):
    rng = np.random.default_rng(seed)
    x = rng.standard_normal((count, DIMS)).astype(np.float32)
    places = np.stack(
        [rng.uniform(0, 900, count), rng.uniform(0, 600, count), rng.uniform(1, 40, count), rng.uniform(0, 360, count)], axis=1
    )
    columns = KEYPOINTS if keypoints else KEYPOINTS[:2]
    return LocalFeatures(places.astype(np.float32)[:, : len(columns)], x, columns, (900, 600))


def pairs(features, ma, codebook):
    """(word, descriptor, squared distance) of a photo, in the order of entries."""
    found, squared = codebook.nearest_words(features.descriptors, ma)
    rows = [(int(word), row, float(far)) for row in range(len(found)) for word, far in zip(found[row], squared[row], strict=True)]
    return sorted(rows, key=lambda entry: entry[:2] if ma == 1 else (entry[0],))


@pytest.mark.parametrize("soft", [0.0, 1.5])
@pytest.mark.parametrize("ma", [1, 3])
def test_bag_of_words(ma, soft):
    features, codebook = photo(0), Points()
    columns = Bow(Bow.Params(ma=ma, soft=soft), codebook).encode(features)
    weights = np.zeros(WORDS)
    for row in range(len(features)):
        mine = [(word, far) for word, other, far in pairs(features, ma, codebook) if other == row]
        shares = [np.exp(-far / (2 * soft**2)) if soft else 1.0 for _, far in mine]
        total = sum(shares) if soft else 1.0
        for (word, _), share in zip(mine, shares, strict=True):
            weights[word] += share / total
    assert columns["word"].tolist() == np.flatnonzero(weights).tolist()
    assert columns["word"].dtype == np.uint32
    np.testing.assert_allclose(columns["weight"], weights[weights > 0], rtol=1e-5)


def test_bag_of_words_with_places_has_an_entry_for_each_descriptor():
    features, codebook = photo(0), Points()
    columns = Bow(Bow.Params(geometry=True), codebook).encode(features)
    wanted = pairs(features, 1, codebook)
    assert columns["word"].tolist() == [word for word, _, _ in wanted]
    np.testing.assert_array_equal(columns["geometry"], geometry.quantised(features)[[row for _, row, _ in wanted]])
    assert set(columns["weight"]) == {1.0}


def test_all_levels_of_a_tree_are_counted():
    features = photo(0)
    leaves, nodes = (Bow(Bow.Params(levels=levels), Tree()).encode(features) for levels in ("leaves", "all"))
    assert nodes["weight"].sum() == 2 * leaves["weight"].sum()
    odd = leaves["weight"][leaves["word"] % 2 == 1].sum()
    assert dict(zip(nodes["word"].tolist(), nodes["weight"].tolist(), strict=True))[WORDS + 1] == odd


@pytest.mark.parametrize(("tf", "function"), [("sqrt", np.sqrt), ("tf", np.asarray), ("binary", np.sign)])
def test_dense(tf, function):
    features, known = photo(0), statistics()
    sparse = Bow(Bow.Params(), Points()).encode(features)
    made = Bow(Bow.Params(dense=True, tf=tf), Points(), known)
    assert (made.gives, made.dim, made.columns()) == ("vectors", WORDS, {"vectors": ((WORDS,), "float32", {})})
    wanted = np.zeros(WORDS)
    wanted[sparse["word"]] = function(sparse["weight"]) * known.idf_[sparse["word"]]
    np.testing.assert_allclose(made.encode(features), wanted / np.linalg.norm(wanted), rtol=1e-6)


@pytest.mark.parametrize("ma", [1, 2])
def test_hamming(ma):
    features, codebook, known = photo(0), Points(), statistics(bits=12)
    columns = Hamming(Hamming.Params(ma=ma), codebook, known).encode(features)
    entries = list(zip(columns["word"].tolist(), columns["signature"], columns["geometry"], strict=True))
    wanted = pairs(features, ma, codebook)
    assert [word for word, _, _ in entries] == [word for word, _, _ in wanted]
    for (word, row, _), (_, signature, place) in zip(wanted, entries, strict=True):
        bits = [float(p @ features.descriptors[row]) > t for p, t in zip(known.projection_, known.thresholds_[word], strict=True)]
        assert [bool(signature[bit // 8] >> bit % 8 & 1) for bit in range(12)] == bits
        assert np.array_equal(place, geometry.quantised(features)[row])
    assert ("descriptor" in columns) == (ma > 1)


def residual(features, row, word, codebook):
    return features.descriptors[row].astype(np.float64) - codebook.centroids_[word]


@pytest.mark.parametrize("bits", [0, 5])
@pytest.mark.parametrize("dtype", ["binary", "float16"])
@pytest.mark.parametrize("kind", [Smk, Asmk])
def test_match_kernels(kind, dtype, bits):
    features, codebook = photo(0), Points()
    columns = kind(kind.Params(dtype=dtype, bits=bits, ma=2), codebook).encode(features)
    wanted = pairs(features, 2, codebook)
    rows = [residual(features, row, word, codebook) for word, row, _ in wanted]
    words = [word for word, _, _ in wanted]
    if kind is Asmk:
        present = sorted(set(words))
        rows = [sum(each for each, word in zip(rows, words, strict=True) if word == one) for one in present]
        words = present
    turn = random_rotation(bits, DIMS, 0).astype(np.float64) if bits else np.eye(DIMS)
    rows = [turn @ row for row in rows]
    assert columns["word"].tolist() == words
    if dtype == "binary":
        found = np.unpackbits(columns["signature"], axis=1, bitorder="little")[:, : len(turn)]
        assert np.array_equal(found, np.array(rows) > 0)
    else:
        np.testing.assert_allclose(columns["signature"], [row / np.linalg.norm(row) for row in rows], atol=1e-3)


@pytest.mark.parametrize("kind", [Bow, Hamming, Smk, Asmk])
def test_far_descriptors_and_stop_words_are_left_out(kind):
    codebook, known, features = Points(), statistics(), photo(0)
    whole = kind(kind.Params(), codebook, known).encode(features)
    stop = np.argmax(known.photos_)
    fewer = kind(kind.Params(stop=1000 / WORDS + 0.01), codebook, known).encode(features)
    assert stop in whole["word"]
    assert sorted(set(whole["word"].tolist()) - set(fewer["word"].tolist())) == [stop]
    near = kind(kind.Params(far=0.9), codebook, known).encode(features)
    squared = codebook.nearest_words(features.descriptors)[1]
    kept = np.count_nonzero(squared <= 0.81 * DIMS * 1.5)
    assert 0 < kept < len(features)
    if kind in (Hamming, Smk):
        assert len(near["word"]) == kept
    none = kind(kind.Params(stop=1000.0), codebook, known).encode(features)
    assert all(len(column) == 0 for column in none.values())
    assert {path: (column.shape[1:], column.dtype) for path, column in none.items()} == {
        path: (shape, np.dtype(dtype)) for path, (shape, dtype, _) in kind(kind.Params(), codebook, known).columns().items()
    }


def test_stop_words_are_those_that_most_photos_have():
    assert stopped(np.array([3, 9, 9, 1]), 500).tolist() == [False, True, True, False]
    assert stopped(np.array([3, 9, 9, 1]), 250).tolist() == [False, True, False, False]


def test_geometry_comes_back():
    features = photo(3)
    kept = geometry.quantised(features)
    assert kept.dtype == np.uint16
    np.testing.assert_allclose(kept[:, :2], features.keypoints[:, :2], atol=0.5)
    np.testing.assert_allclose(geometry.scales(kept), features.column("scale"), rtol=0.002)
    turned = (geometry.angles(kept) - features.column("angle") + 180) % 360 - 180
    assert np.abs(turned).max() < 0.01


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (
            lambda: Asmk(Asmk.Params(), Bits()),
            "asmk needs words that are points, and those of a scalar codebook are none: take bow or hamming",
        ),
        (
            lambda: Bow(Bow.Params(far=2.0), Points()),
            "`far` needs to know how words are spread: learn that with imgret codebook -m words, and give it with another -c",
        ),
        (
            lambda: Bow(Bow.Params(levels="all"), Points()),
            "`levels` is for a vocabulary tree (hkm), and these are the words of a kmeans codebook: leave it out",
        ),
        (
            lambda: Bow(Bow.Params(levels="all"), Tree(), statistics()),
            "the statistics are of 7 words, and bow has 9: learn them with the same levels",
        ),
        (
            lambda: Asmk(Asmk.Params(bits=17), Points()),
            "`bits` of a residual of 16 dimensions must be at most as many, got 17: ask for fewer",
        ),
        (
            lambda: Hamming(Hamming.Params(), Points(), statistics()).encode(photo(0, keypoints=False)),
            "the local features have no scale, and so no geometry to be kept: leave it out with --set geometry=false",
        ),
        (lambda: Bow(Bow.Params(), Points()).encode(photo(0, 0)), "a photo without descriptors has no words: leave it out"),
    ],
)
def test_refused(make, message):
    with pytest.raises(ImgretError) as error:
        make()
    assert str(error.value) == message


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (["dense=true", "geometry=true"], "a dense vector has no geometry: leave one of `dense` and `geometry` out"),
        (["tf=binary"], "`tf` and `dtype` are of dense vectors: give dense=true, or give tf to imgret search"),
    ],
)
def test_settings_refused(settings, message):
    with pytest.raises(UsageError) as error:
        Bow.Params.parse(settings)
    assert str(error.value) == message


# Stores


@pytest.mark.parametrize("name", ["bow", "hamming", "smk", "asmk"])
def test_stores_are_sound_and_open_to_python(worded, name):
    path = getattr(worded, name)
    result = call("info", path, "--check")
    assert result.lines[-1] == "check           sound"
    with imgret.open(path) as words, Store(path) as store, imgret.open(worded.features) as features:
        assert words.kind == "words"
        first = words[words.names[0]]
        assert len(first["word"]) == store.read("offsets", 1, 2)[0]
        assert (np.diff(first["word"].astype(np.int64)) >= (1 if name in ("bow", "asmk") else 0)).all()
        if name in ("hamming", "smk"):
            assert len(first["word"]) == len(features[words.names[0]])


def test_what_words_are_like(worded):
    with (
        imgret.open(worded.words) as words,
        imgret.open(worded.statistics) as learned,
        imgret.open(worded.features) as features,
    ):
        found = [words.fitted.nearest_words(words.fitted.transform(features[name].descriptors)) for name in features.names]
        known, size = learned.fitted, words.fitted.words
        photos = np.sum([np.bincount(np.unique(each), minlength=size) for each, _ in found], axis=0)
        assert known.photos_.tolist() == photos.tolist()
        assert known.counts_.tolist() == np.sum([np.bincount(each[:, 0], minlength=size) for each, _ in found], axis=0).tolist()
        np.testing.assert_allclose(known.idf_, np.log(len(found) / np.maximum(photos, 1)), rtol=1e-6)
        bursts = np.zeros(size)
        for each, _ in found:
            bursts += np.bincount(each[:, 0], minlength=size) ** 2.0
        np.testing.assert_allclose(known.lp_idf_, np.maximum(np.log(len(found) / bursts), 0), atol=1e-5)
        far = [squared[each[:, 0] == 3, 0] for each, squared in found]
        np.testing.assert_allclose(known.spread_[3], np.concatenate(far).mean(), rtol=1e-4)


def test_thresholds_are_medians_of_each_word(worded):
    with (
        imgret.open(worded.words) as words,
        imgret.open(worded.thresholds) as learned,
        imgret.open(worded.features) as features,
    ):
        x = np.concatenate([words.fitted.transform(features[name].descriptors) for name in features.names])
        found, known = words.fitted.nearest_words(x)[0][:, 0], learned.fitted
        np.testing.assert_allclose(known.projection_ @ known.projection_.T, np.eye(64), atol=1e-5)
        for word in range(words.fitted.words):
            mine = x[found == word]
            wanted = np.median(mine @ known.projection_.T, axis=0) if len(mine) >= 8 else known.projection_ @ words.fitted.centroids_[word]
            np.testing.assert_allclose(known.thresholds_[word], wanted, atol=1e-5)


def test_words_travel_with_what_was_learned_about_them(worded, tmp_path):
    both = call(
        "encode",
        worded.features,
        "-c",
        worded.words,
        "-c",
        worded.thresholds,
        "-m",
        "hamming",
        "-o",
        tmp_path / "both.h5",
    )
    assert both.code == 0, both.err
    with Store(tmp_path / "both.h5") as first, Store(worded.hamming) as second:
        assert first.checksums["signature"] == second.checksums["signature"]
        assert first.pipeline == second.pipeline
    other = tmp_path / "other.h5"
    assert call("codebook", worded.features, "--size", 5, "--set", "pca=0", "-o", other).code == 0
    result = call("encode", worded.features, "-c", other, "-c", worded.thresholds, "-m", "hamming", "-o", tmp_path / "x.h5")
    refused(result, 1, f"{worded.thresholds} was learned with other words than {other}: leave -c {other} out")


def test_photos_are_drawn_whole(worded, tmp_path):
    result = call("codebook", worded.features, "-m", "words", "-c", worded.words, "--sample", 500, "-o", tmp_path / "s.h5")
    with imgret.open(tmp_path / "s.h5") as learned, imgret.open(worded.features) as features:
        counts = [len(features[name]) for name in features.names]
        assert 500 - max(counts) < learned.fitted.counts_.sum() <= 500, result.err


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["-m", "hamming"], 2, "-m hamming learns what words are like: give them with -c"),
        (["-m", "kmeans", "-c", "words.h5"], 2, "-m kmeans takes no codebook: leave -c out"),
        (
            ["-m", "hamming", "-c", "words.h5", "--set", "bits=200"],
            1,
            "`bits` of 128 dimensions must be at most as many, got 200: ask for fewer",
        ),
    ],
)
def test_codebooks_refused(worded, monkeypatch, tmp_path, arguments, code, message):
    monkeypatch.chdir(worded.folder)
    refused(call("codebook", worded.features, *arguments, "-o", tmp_path / "x.h5"), code, message)


def test_words_that_are_none_are_refused(worded, stores, tmp_path):
    result = call("codebook", worded.features, "-m", "words", "-c", stores.gmm, "-o", tmp_path / "x.h5")
    wanted = "words is learned with words (kmeans or akm or hkm or product or scalar): give those with -c"
    refused(result, 1, f"{stores.gmm} is a gmm codebook; {wanted}")
    result = call("encode", worded.features, "-c", worded.words, "-m", "hamming", "-o", tmp_path / "x.h5")
    refused(
        result,
        1,
        HOW,
    )


def test_exported_as_scipy_has_it(worded, tmp_path):
    sparse = pytest.importorskip("scipy.sparse")
    for name in ("bow", "hamming"):
        out = tmp_path / f"{name}.npz"
        result = call("export", getattr(worded, name), "-o", out)
        assert (result.code, "warning" in result.err) == (0, False)
        matrix = sparse.load_npz(out)
        with imgret.open(getattr(worded, name)) as words:
            assert matrix.shape == (len(words), 24)
            for row, photo in enumerate(words.names):
                entries = words[photo]
                tf = np.bincount(entries["word"], entries.get("weight"), minlength=24)
                np.testing.assert_array_equal(matrix[[row]].toarray()[0], tf)
    with np.load(out) as arrays, Store(worded.hamming) as store:
        np.testing.assert_array_equal(arrays["signature"], store.read("signature"))
        np.testing.assert_array_equal(arrays["geometry"], store.read("geometry"))


def test_exported_as_lines(worded, tmp_path):
    assert call("export", worded.bow, "-o", tmp_path / "bow.txt").code == 0
    with imgret.open(worded.bow) as words:
        wanted = [
            f"{name} {word} {weight:g}"
            for name in words.names
            for word, weight in zip(words[name]["word"].tolist(), words[name]["weight"].tolist(), strict=True)
        ]
    assert (tmp_path / "bow.txt").read_text().splitlines() == wanted


def test_words_beyond_the_codebook_are_damage(worded, tmp_path):
    path = tmp_path / "w.h5"
    path.write_bytes(worded.bow.read_bytes())
    flip(path, "word", 3)  # the highest byte of the first
    resign(path)
    with imgret.open(path) as words, pytest.raises(ImgretError) as error:
        words[words.names[0]]
    assert str(error.value).startswith(f"{path} is damaged: it has the word 167772")


def test_taken_over_photo_by_photo(worded, photos, tmp_path):
    """What one photo has does not change what is made of another."""
    features, words = tmp_path / "f.h5", tmp_path / "w.h5"
    for number in (3, 0):
        chosen = sorted(os.path.join(photos, name) for name in os.listdir(photos) if name.endswith("png"))[number:]
        assert call("extract", *chosen, "-o", features).code == 0
        assert call("encode", features, "-c", worded.thresholds, "-o", words).code == 0
    assert call("encode", features, "-c", worded.thresholds, "-o", tmp_path / "new.h5").code == 0
    with Store(words) as first, Store(tmp_path / "new.h5") as second:
        assert first.checksums["signature"] == second.checksums["signature"]
        assert first.checksums["offsets"] == second.checksums["offsets"]
