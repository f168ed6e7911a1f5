"""Nearest words, sums per word and Lloyd's iterations against slow loops, in whatever tiles and blocks."""

import numpy as np
import pytest
from reference_codebooks import kmeans_objective, lloyd_step

from imgret import parallel, words


@pytest.fixture(autouse=True, scope="module")
def _one_thread():
    with parallel.one_thread():
        yield


def rows(count, dims=6, seed=0):
    return np.random.default_rng(seed).normal(1, 2, (count, dims)).astype(np.float32)


def whole_numbers(count, dims=3, seed=0):
    """Rows and products of which no digit is rounded, with many ties."""
    return np.random.default_rng(seed).integers(-2, 3, (count, dims)).astype(np.float32)


TILES = [None, (1, 1), (7, 3), (16, 100), (1000, 4), (1000, 1000)]


@pytest.mark.parametrize("tile", TILES)
def test_nearest_is_the_loop(tile):
    x, centroids = rows(60), rows(30, seed=1)
    found, scores = words.nearest(x, centroids, words.half_squares(centroids), tile)
    total, expected = kmeans_objective(x, centroids)
    assert found.tolist() == expected
    squared = (x.astype(np.float64) ** 2).sum(axis=1) - 2 * scores.astype(np.float64)
    assert squared.sum() == pytest.approx(total, rel=1e-5)


@pytest.mark.parametrize("tile", TILES)
def test_the_lowest_number_wins_a_tie(tile):
    x, centroids = whole_numbers(200), whole_numbers(90, seed=1)
    found, scores = words.nearest(x, centroids, words.half_squares(centroids), tile)
    assert found.tolist() == kmeans_objective(x, centroids)[1]
    assert scores.dtype == np.float32
    inner = words.nearest(x, centroids, tile=tile)[0]
    assert inner.tolist() == [(centroids @ row).tolist().index(max(centroids @ row)) for row in x]
    assert len(set(inner.tolist())) > 1


@pytest.mark.parametrize("tile", TILES)
def test_a_word_of_infinite_bias_never_wins(tile):
    x, centroids = whole_numbers(100), whole_numbers(20, seed=1)
    bias = words.half_squares(centroids)
    bias[::2] = np.inf
    found = words.nearest(x, centroids, bias, tile)[0]
    assert (found % 2 == 1).all()
    assert ((found - 1) // 2).tolist() == kmeans_objective(x, centroids[1::2])[1]


def test_nearest_of_no_rows():
    found, scores = words.nearest(rows(0), rows(4))
    assert found.shape == scores.shape == (0,)


def test_vocabulary_is_the_loop(monkeypatch):
    x, centroids = rows(300), rows(100, seed=1)
    centroids[70:] = centroids[:30]
    _, expected = kmeans_objective(x, centroids)
    vocabulary = words.Vocabulary(centroids)
    assert vocabulary.nearest(x).tolist() == expected
    assert np.allclose(vocabulary.lengths, np.linalg.norm(centroids, axis=1))
    monkeypatch.setattr(words.Vocabulary, "WORDS", 32)
    monkeypatch.setattr(words.Vocabulary, "SCORES", 32 * 64)
    assert words.Vocabulary(centroids).nearest(x).tolist() == expected


def test_vocabulary_far_from_the_origin():
    """|c|²/2 would round to more than what the words differ by."""
    x, centroids = rows(200), rows(20, seed=1)
    far = np.float32(2000)
    near = kmeans_objective(x + far, centroids + far)[1]
    assert words.Vocabulary(centroids + far).nearest(x + far).tolist() == near
    plain = words.nearest(x + far, centroids + far, words.half_squares(centroids + far))[0]
    assert (plain != near).any()


@pytest.mark.parametrize("most", [1, 5, 70_000])
def test_groups(most):
    found = np.random.default_rng(0).integers(0, most, 1000)
    groups = words.group(found)
    assert groups.order.tolist() == sorted(range(1000), key=lambda row: (found[row], row))
    assert groups.sorted.tolist() == sorted(found.tolist())
    assert groups.words.tolist() == sorted(set(found.tolist()))
    assert groups.counts.tolist() == [(found == word).sum() for word in groups.words]
    assert groups.starts.tolist() == [sorted(found.tolist()).index(word) for word in groups.words]


@pytest.mark.parametrize("how", words.HOW)
@pytest.mark.parametrize("most", [1, 3, 200, 70_000])
def test_sums_are_the_loop(how, most):
    z = rows(1000, 5)
    found = np.random.default_rng(0).integers(0, most, 1000)
    found[:300] = most - 1
    groups = words.group(found)
    sums = words.sums(z[groups.order] if how == "runs" else z, groups, how)
    assert sums.dtype == (np.float64 if how == "exact" else np.float32)
    for word, total in zip(groups.words, sums, strict=True):
        assert np.allclose(total, z[found == word].astype(np.float64).sum(axis=0), rtol=1e-4, atol=1e-3)
    one = words.group(found[:1])
    assert np.array_equal(words.sums(z[:1], one, how), z[:1])


@pytest.mark.parametrize("jobs", [1, 2])
def test_total_over_several_blocks(jobs):
    x = rows(2 * parallel.BLOCK + 5, 2)
    found = np.random.default_rng(0).integers(0, 7, len(x))
    found[found == 3] = 4

    def work(block):
        groups = words.group(found[block])
        return groups, words.sums(x[block], groups, "tiles")

    sums, counts = words.total(work, len(x), (7, 2), jobs)
    assert counts.tolist() == np.bincount(found, minlength=7).tolist()
    for word in range(7):
        assert np.allclose(sums[word], x[found == word].astype(np.float64).sum(axis=0), rtol=1e-4, atol=1e-2)


def look_at(x):
    def look(centroids):
        groups = words.group(words.nearest(x, centroids, words.half_squares(centroids))[0])
        return words.total(lambda block: (groups, words.sums(x, groups, "exact")), len(x), centroids.shape)

    return look


def test_lloyd_is_the_loop():
    x = rows(400)
    start = x[:9].copy()
    expected, done = start, []
    for _ in range(4):
        expected = lloyd_step(x, expected)
    words.lloyd(start, 4, look_at(x), lambda *_: 0, lambda moved: done.append(moved))
    assert np.allclose(start, expected, rtol=1e-4, atol=1e-4)
    assert done == [0, 0, 0, 0]


def test_lloyd_fills_empty_words_and_stops_when_told():
    x = rows(400)
    start = np.concatenate([x[:5], x[:2] + 1000])
    first, filled, moves = lloyd_step(x, start), [], []

    def fill(centroids, empty, counts):
        filled.append((empty.tolist(), counts[empty].tolist(), centroids.copy()))
        centroids[empty] = x[10 : 10 + len(empty)]
        return len(empty)

    def after(moved):
        moves.append(moved)
        return len(moves) == 3

    words.lloyd(start, 10, look_at(x), fill, after)
    assert filled[0][:2] == ([5, 6], [0, 0])
    assert np.allclose(filled[0][2], first, rtol=1e-4, atol=1e-4)
    assert moves == [2, 0, 0]
    assert np.abs(start).max() < 100


def test_no_iterations():
    start = rows(3)
    words.lloyd(start, 0, None, None, None)
    assert np.array_equal(start, rows(3))
