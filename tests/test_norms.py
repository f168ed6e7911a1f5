"""Vectors of any length: normalised by all alike, scored within the bounds of a score, and told of where they are zero."""

import numpy as np
import pytest
from helpers import call, refused

import imgret
from imgret import arrays, words
from imgret.errors import ImgretError
from imgret.indexes import INDEXES
from imgret.registry import load
from imgret.store.reader import Store

SCALES = (1e-42, 1e-30, 1e-20, 1.0, 1e20, 5e37)
METHODS = [("flat", {}), ("hnsw", {}), ("ivf-flat", {"lists": 4}), ("pq", {"bytes": 4, "nbits": 4}), ("factory", {"factory": "SQ8"})]
METHODS += [("ivfpq", {"bytes": 4, "nbits": 4, "lists": 2}), ("factory", {"factory": "HNSW8,Flat"}), ("factory", {"factory": "SQ4"})]
EVERY = pytest.mark.parametrize(("method", "params"), METHODS, ids=["-".join([name, *map(str, p.values())]) for name, p in METHODS])


def matrix(count=300, dims=24, seed=0):
    return np.random.default_rng(seed).standard_normal((count, dims)).astype(np.float32)


def built(method, params, metric, x):
    kind = load(INDEXES, method, "index")
    index = kind(kind.Params(**params), metric)
    index.train(x)
    index.add(x)
    return index


def imported(tmp_path, x, name="v"):
    """A vectors store of some rows."""
    np.save(tmp_path / f"{name}.npy", x)
    (tmp_path / f"{name}.txt").write_text("".join(f"{row:05d}.jpg\n" for row in range(len(x))))
    assert call("import", tmp_path / f"{name}.npy", "--names", tmp_path / f"{name}.txt", "-o", tmp_path / f"{name}.h5").code == 0
    return tmp_path / f"{name}.h5"


@EVERY
def test_a_cosine_is_within_its_bounds_and_ranks_what_it_reports(method, params):
    x = matrix()
    x[:150] += 6 * x[0]  # many that are nearly alike
    x[10:20] = x[0]
    scores, rows = built(method, params, "cosine", x).search(np.concatenate([x, -x]), len(x))
    there = rows >= 0
    assert np.abs(scores[there]).max() <= 1
    for line, numbers in zip(scores, rows, strict=True):
        pairs = [pair for pair in zip(-line, numbers, strict=True) if pair[1] >= 0]
        assert pairs == sorted(pairs)


@EVERY
@pytest.mark.parametrize("scale", SCALES)
def test_a_cosine_does_not_depend_on_length(method, params, scale):
    x = matrix()
    scaled = (x * scale).astype(np.float32)
    index = built(method, params, "cosine", scaled)
    settings = index.SearchParams(**({"nprobe": 4} if method.startswith("ivf") else {}))
    scores, rows = index.search(scaled[:20], 10, settings)
    if scale > 1e-40:  # what has a digit or two is another vector
        expected, _ = built(method, params, "cosine", x).search(x[:20], 10, settings)
        np.testing.assert_allclose(scores, expected, atol=2e-3 if params else 1e-6)
    assert (rows[:, 0] == np.arange(20)).mean() > 0.8


@EVERY
@pytest.mark.parametrize("metric", ["l2", "ip"])
@pytest.mark.parametrize("scale", SCALES)
def test_other_scores_are_finite_or_refused(method, params, metric, scale):
    x = (matrix() * scale).astype(np.float32)
    if scale == 1:
        scores, rows = built(method, params, metric, x).search(x[:5], 10)
        assert np.isfinite(scores[rows >= 0]).all()
        return
    with pytest.raises(ImgretError, match=f"and by '{metric}' only scores of vectors from 9e-19 to 5e"):
        built(method, params, metric, x).search(x[:5], 10)


def test_one_query_is_refused_whatever_its_company():
    x = matrix()
    index = built("flat", {}, "ip", x)
    x[3] *= 1e-30
    with pytest.raises(ImgretError) as error:
        index.search(x[:5], 3)
    assert str(error.value) == (
        "the matrix of queries holds a vector of the length 5.04e-30, and by 'ip' only scores of vectors from 9e-19 to 5e+18 in length "
        "keep to float32: scale the vectors, or take --metric cosine"
    )
    assert built("flat", {}, "l2", matrix()).search(x[3:4], 3)[1].shape == (1, 3)


@pytest.mark.parametrize("scale", [1e-36, 1e-25, 1e20, 1e36])
def test_the_nearest_word_does_not_depend_on_length(scale):
    x, centroids = matrix(200, 8), matrix(20, 8, seed=1)
    expected = words.Vocabulary(centroids).nearest(x)
    scaled = words.Vocabulary(centroids * np.float32(scale))
    assert np.array_equal(scaled.nearest(x * np.float32(scale)), expected)


def test_a_row_far_beyond_the_words_is_refused():
    with pytest.raises(ImgretError, match="too large to be encoded in float32"):
        words.Vocabulary(matrix(20, 8)).nearest(np.full((1, 8), 3e38, np.float32))


@pytest.mark.parametrize("scale", [1e-43, 1e-39, 1e-20, 1e20, 3e38])
def test_rootsift_of_any_size(scale):
    x = (np.abs(matrix(20, 128)) / 8 * scale).astype(np.float32)
    wide = x.astype(np.float64)
    expected = np.sqrt(wide / wide.sum(axis=1, keepdims=True))
    np.testing.assert_allclose(arrays.rootsift(x), expected, rtol=1e-5)


def test_networks_normalise_as_indexes_do():
    torch = pytest.importorskip("torch")
    from imgret.networks import pooling

    x = matrix(6, 40)
    x *= np.float32([1e-42, 1e-30, 1, 1e20, 5e37, 0])[:, None]
    np.testing.assert_allclose(pooling.l2(torch.from_numpy(x)).numpy(), arrays.unit_rows(x), rtol=2e-6, atol=1e-7)
    plain = torch.from_numpy(matrix(5, 40))
    assert torch.equal(pooling.l2(plain), plain / plain.norm(dim=-1, keepdim=True))
    np.testing.assert_allclose(pooling.lengths(torch.from_numpy(x)).numpy(), arrays.row_norms(x), rtol=1e-5)
    maps = torch.from_numpy(np.abs(matrix(2, 4 * 9)).reshape(2, 4, 3, 3))
    for scale in (1e-25, 1e20):
        np.testing.assert_allclose(pooling.l2(pooling.crow(maps * scale)), pooling.l2(pooling.crow(maps)), rtol=1e-5)


def test_views_are_combined_by_any_power():
    """Of unit vectors the hundredth powers are less than float32 has."""
    torch = pytest.importorskip("torch")
    from imgret.networks.heads import vectors

    head = vectors.Gem(vectors.Gem.Params(combine="gem", p=100.0))
    views = [torch.from_numpy(arrays.unit_rows(matrix(3, 200, seed))) for seed in (0, 1)]
    views[1][2] = views[0][2] = 0
    wide = [view.double().numpy() for view in views]
    expected = sum(np.sign(view) * np.abs(view) ** 100 for view in wide) / 2
    expected = np.sign(expected) * np.abs(expected) ** 0.01
    found = head._combined(views).numpy()
    np.testing.assert_allclose(found[:2], expected[:2] / np.linalg.norm(expected[:2], axis=1, keepdims=True), atol=2e-3)
    assert not found[2].any()


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
@pytest.mark.parametrize("scale", [1e-6, 1.0, 3000.0, 1e20, 1e-30])
def test_from_file_to_answer(tmp_path, dtype, scale):
    if dtype == np.float16 and not 1e-7 < scale < 1e4:
        pytest.skip("not a number of this type")
    vectors = imported(tmp_path, (matrix(30) * scale).astype(dtype))
    assert call("index", vectors, "-o", tmp_path / "i.h5").code == 0
    result = call("search", tmp_path / "i.h5", vectors, "-k", 1, "--format", "tsv")
    assert (result.code, result.err) == (0, "")
    assert [line.split("\t")[0] == line.split("\t")[2] and float(line.split("\t")[3]) > 0.9999 for line in result.lines[1:]] == [True] * 30


def test_huge_vectors_by_distance_are_refused(tmp_path):
    vectors = imported(tmp_path, matrix(30) * np.float32(1e20))
    refused(
        call("index", vectors, "-o", tmp_path / "i.h5", "--metric", "l2", "-q"),
        1,
        "the matrix of vectors holds a vector of the length 6.66e+20, and by 'l2' only scores of vectors from 9e-19 to 5e+18 in length "
        "keep to float32: scale the vectors, or take --metric cosine",
    )
    assert not (tmp_path / "i.h5").exists()


def test_zero_rows_are_told_of(tmp_path, capfd):
    x = matrix(40)
    x[[3, 7, 8]] = 0
    vectors, said = imported(tmp_path, x), "warning: 3 of 40 vectors are zero: they match nothing\n"
    result = call("index", vectors, "-o", tmp_path / "i.h5", "-q")
    assert (result.code, result.err) == (0, f"imgret: {said}")
    asked = call("search", tmp_path / "i.h5", vectors, "-k", 1)
    assert asked.err.splitlines() == [
        f"imgret: warning: 3 of 40 vectors in {tmp_path / 'i.h5'} are zero: they match nothing",
        "imgret: warning: 3 of 40 queries are zero: they match nothing",
    ]
    call("index", vectors, "-o", tmp_path / "l2.h5", "--metric", "l2", "-q")
    with imgret.open(tmp_path / "i.h5") as index:
        capfd.readouterr()
        index.search(x[:2])
        assert capfd.readouterr().err == ""
        index.search(x[3])
        assert capfd.readouterr().err == "imgret: warning: 1 of 1 queries is zero: it matches nothing\n"


def test_zero_vectors_that_are_made_are_told_of(tmp_path):
    """Photos whose descriptors all equal their words have a zero VLAD."""
    x = matrix(30)
    x[[4, 5]] = x[4]
    vectors = imported(tmp_path, x, "a")
    other = imported(tmp_path, np.zeros_like(x), "b")
    result = call("encode", vectors, other, "-m", "concat", "-o", tmp_path / "joined.h5", "-j1", "-q")
    assert (result.code, result.err) == (0, "")
    result = call("encode", other, other, "-m", "concat", "-o", tmp_path / "zero.h5", "-j1", "-q")
    assert result.err == "imgret: warning: 30 of 30 vectors are zero: they match nothing\n"
    with Store(tmp_path / "zero.h5") as store:
        assert not store.read("vectors").any()
