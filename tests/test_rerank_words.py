"""Query expansion of visual words: means by hand, signatures that are alike, places that are taken back, and the command."""

import types

import numpy as np
import pytest
from helpers import call, refused

from imgret.rerankers.base import Known, Listed, Query
from imgret.rerankers.words_qe import WordsQe, within
from imgret.store.reader import Store


class Asking(Query):
    """A query with these entries."""

    name, entries = b"q", None

    def __init__(self, listed, entries, box=None):
        super().__init__([listed], box)
        self.entries = entries


class Entries(Known):
    """Photos with these entries; what is asked is kept."""

    def __init__(self, photos, name, bits):
        self.photos, self.size, self.encoder, self.asked = photos, len(photos), types.SimpleNamespace(name=name, bits=bits), []

    def entries(self, photo):
        return self.photos[photo]

    def words(self):
        return self.encoder

    def search(self, asking, k):
        self.asked += asking
        ids = np.arange(self.size)[::-1][:k]
        return [Listed(ids, np.linspace(1, 0, len(ids), dtype=np.float32)) for _ in asking]


def expanded(known, entries, evidence, maps=None, box=None, **params):
    """What the index was asked with, and the list that was given."""
    reranker = WordsQe(WordsQe.Params(**params))
    reranker.begin(known)
    count = len(evidence)
    listed = Listed(np.arange(count), np.linspace(1, 0.5, count, dtype=np.float32), np.float32(evidence), maps, 6.0)
    (found,) = reranker.rerank([Asking(listed, entries, box)], known)
    return (known.asked[0] if known.asked else None), found


def bag(**counts):
    words = sorted(counts)
    return {"word": np.array([int(word[1:]) for word in words], np.uint32), "weight": np.float32([counts[word] for word in words])}


def test_bags_are_averaged():
    known = Entries([bag(w1=4, w7=2), bag(w2=9), bag(w1=1, w3=3)], "bow", 0)
    asked, found = expanded(known, bag(w1=1, w2=3), [9, 2, 7])
    assert asked["word"].tolist() == [1, 2, 3, 7]
    np.testing.assert_allclose(asked["weight"], [(1 + 4 + 1) / 3, 1, 1, 2 / 3])
    assert found.ids.tolist() == [0, 2, 1]  # what is verified stays in front
    assert (np.diff(found.scores) <= 0).all()


def test_nothing_verified_stays_as_it_was():
    known = Entries([bag(w1=4), bag(w2=9)], "bow", 0)
    asked, found = expanded(known, bag(w1=1), [5, np.nan])
    assert asked is None
    assert found.ids.tolist() == [0, 1]


@pytest.mark.parametrize("numbers", [True, False])
def test_residuals_are_averaged(numbers):
    """Photos have signs; the query has numbers, or signs."""
    rng = np.random.default_rng(0)
    signs = rng.integers(0, 2, (3, 16)).astype(np.uint8)
    photo = {"word": np.array([2, 5], np.uint32), "signature": np.packbits(signs[:2], axis=1, bitorder="little")}
    own = rng.normal(size=(1, 16)).astype(np.float32)
    own /= np.linalg.norm(own)
    given = own.astype(np.float16) if numbers else np.packbits(own > 0, axis=1, bitorder="little")
    asked, _ = expanded(Entries([photo], "asmk", 16), {"word": np.array([5], np.uint32), "signature": given}, [10])
    mine = given.astype(np.float64)[0] if numbers else np.where(own[0] > 0, 1, -1) / 4
    theirs = np.where(signs[:2] > 0, 1, -1) / 4
    mean = np.stack([theirs[0], mine + theirs[1]]) / 2
    np.testing.assert_allclose(asked["weight"], np.linalg.norm(mean, axis=1), rtol=1e-5)
    assert asked["signature"].dtype == given.dtype
    if numbers:
        np.testing.assert_allclose(asked["signature"], mean / np.linalg.norm(mean, axis=1, keepdims=True), atol=1e-3)
    else:
        assert np.array_equal(asked["signature"], np.packbits(mean > 0, axis=1, bitorder="little"))


def test_descriptors_that_are_alike_are_one():
    """Of one word, to a quarter of the bits: the first that comes stands for those after it."""
    rows = [[0] * 8, [1] + [0] * 7, [1] * 8, [0] * 8]
    bits = np.packbits(np.array(rows, np.uint8), axis=1, bitorder="little")
    own = {"word": np.array([3], np.uint32), "signature": bits[:1], "descriptor": np.array([7], np.uint32)}
    photo = {"word": np.array([3, 3, 4], np.uint32), "signature": bits[1:]}
    asked, _ = expanded(Entries([photo], "hamming", 8), own, [10])
    assert asked["word"].tolist() == [3, 3, 4]
    assert asked["weight"].tolist() == [1, 0.5, 0.5]
    assert asked["descriptor"].tolist() == [7, 9, 10]
    assert asked["signature"][1:].tolist() == [[255], [0]]


def test_places_are_taken_back():
    """Twice as large, turned by 90 degrees and moved: what lies outside the query's region is left out."""
    matrix = np.array([[0, -2, 500], [2, 0, 10], [0, 0, 1]], np.float32)
    places = np.array([[500 - 2 * 30, 10 + 2 * 20, 2048, 16384 + 100], [900, 900, 0, 0]], np.uint16)
    entries = {"word": np.array([1, 2], np.uint32), "geometry": places}
    found = within(entries, matrix, (0, 0, 100, 100))
    assert found["word"].tolist() == [1]
    assert found["geometry"].tolist() == [[20, 30, 2048 - 256, 100]]
    for bad in (None, np.full((3, 3), np.nan, np.float32), np.zeros((3, 3), np.float32)):
        assert not len(within(entries, bad, (0, 0, 100, 100))["word"])


def test_only_what_lies_in_the_query_takes_part():
    own = {"word": np.array([1], np.uint32), "signature": np.zeros((1, 1), np.uint8), "geometry": np.array([[50, 50, 2048, 0]], np.uint16)}
    photo = {"word": np.array([1, 2], np.uint32), "signature": np.zeros((2, 1), np.uint8)}
    photo |= {"geometry": np.array([[50, 50, 2048, 0], [90, 90, 2048, 0]], np.uint16)}
    asked, _ = expanded(Entries([photo], "hamming", 8), own, [10], np.eye(3, dtype=np.float32)[None])
    assert asked["word"].tolist() == [1]
    box = np.float32([40, 40, 95, 95])
    asked, _ = expanded(Entries([photo], "hamming", 8), own, [10], np.eye(3, dtype=np.float32)[None], box)
    assert asked["word"].tolist() == [1, 2]
    assert asked["geometry"].tolist() == photo["geometry"].tolist()


@pytest.mark.parametrize("name", ["bow", "hamming", "smk", "asmk"])
def test_the_command(worded, tmp_path, name):
    index, entries = getattr(worded, f"{name}_index"), getattr(worded, name)
    run, verified, out = (tmp_path / f"{each}.h5" for each in ("run", "verified", "out"))
    settings = ("--set", "inter=true") if name == "hamming" else ()
    assert call("search", index, worded.features, "-k", 8, "-o", run, *settings).code == 0
    assert call("rerank", run, "-m", "spatial", "--set", "depth=4", "--features", worded.features, "-o", verified).code == 0
    given = ("--words", entries, "--index", index, "--queries", worded.features, "-o", out)
    result = call("rerank", verified, "-m", "words-qe", *given)
    assert result.code == 0, result.err
    with Store(out) as store, Store(verified) as before:
        assert np.array_equal(store.read("ids")[:, 0], before.read("ids")[:, 0])
        assert (np.diff(store.read("scores"), axis=1) <= 0).all()
        assert store.facts == before.facts
        assert list(store.info["asked"].values()) == list(before.info["asked"].values())
    refused(
        call("rerank", run, "-m", "words-qe", *given[:-1], tmp_path / "x.h5"),
        1,
        f"{run} has no evidence of which photos match, and `verified` asks for it: rerank it before (-m spatial), or --set verified=false",
    )
