"""Inverted indexes as steps make and ask them: by photos, features and words; killed; put together; refused."""

import os
import shutil
import sys

import h5py
import numpy as np
import pytest
from conftest import ENTRIES
from helpers import call, flip, folder, refused, resign, same_answers, say
from killing import Watched, same, tidy

import imgret
from imgret.store.reader import Store

linux = pytest.mark.skipif(sys.platform != "linux", reason="processes are watched through /proc")
EVERY = pytest.mark.parametrize("name", ENTRIES)


def index_of(worded, name):
    return getattr(worded, f"{name}_index")


def answers(result):
    """query -> [(photo, score)] of what a search printed."""
    assert result.code == 0, result.err
    found = {}
    for line in result.lines[1:]:
        query, _, name, score, *_ = line.split("\t")
        found.setdefault(os.path.basename(query), []).append((name, float(score)))
    return found


@EVERY
def test_sound_and_finds_itself(worded, name):
    assert call("info", index_of(worded, name), "--check").lines[-1] == "check           sound"
    with Store(index_of(worded, name)) as store, Store(getattr(worded, name)) as words:
        assert store.facts["words"] == 24
        assert store.shape("structure/word_offsets")[0] == len(store.read("structure/words")) + 1
        assert store.info["entries"] == words.sizes["E"]
    result = call("search", index_of(worded, name), getattr(worded, name), "-k", 3, "--keep-self", "--format", "tsv")
    for query, found in answers(result).items():
        assert os.path.basename(found[0][0]) == query


@EVERY
def test_photos_features_and_words_find_the_same(worded, photos, name):
    """A photo that asks is described with as many words as are asked for; words that are stored have those that they were given."""
    one = ("--set", "ma=1", *(["--set", "asymmetric=false"] if name in ("smk", "asmk") else []), "-k", 6, "--keep-self")
    by_words = call("search", index_of(worded, name), getattr(worded, name), "-k", 6, "--keep-self")
    by_features = call("search", index_of(worded, name), worded.features, *one, "-j", 2)
    same_answers(by_words, by_features)
    chosen = [os.path.join(photos, each) for each in ("01.png", "05.png")]
    by_photos = answers(call("search", index_of(worded, name), *chosen, *one))
    for query, found in by_photos.items():
        wanted = answers(by_features)[query]
        assert [photo for photo, _ in found] == [photo for photo, _ in wanted]
        np.testing.assert_allclose([score for _, score in found], [score for _, score in wanted], atol=2e-6)


@EVERY
def test_several_words_for_each_descriptor(worded, name):
    """As the encoder gives them: what is printed is what Python is told of the same entries."""
    with imgret.open(worded.features) as features, imgret.open(index_of(worded, name)) as index:
        encoder = index._asking.component()
        assert encoder.params.ma == index._gallery.settings.ma == {"bow": 1, "hamming": 3}.get(name, 5)
        query = features.names[4]
        hits = index.search(encoder.encode(features[query]), k=5)
        assert index.search([encoder.encode(features[query])], k=5)[0] == hits
    found = answers(call("search", index_of(worded, name), worded.features, "-k", 5, "--keep-self"))[os.path.basename(query)]
    assert [photo for photo, _ in found] == [hit.name for hit in hits]
    np.testing.assert_allclose([score for _, score in found], [hit.score for hit in hits], rtol=1e-6)


def test_all_ranks_and_rankings(worded, tmp_path):
    out = tmp_path / "r.h5"
    assert call("search", worded.asmk_index, worded.features, "-k", "all", "-o", out).code == 0
    with Store(out) as store:
        assert store.shape("ids") == (28, 28)
        assert (np.sort(store.read("ids"), axis=1) == np.arange(28)).all()
        scores = store.read("scores")
        assert (np.diff(scores, axis=1) <= 0).all()
        assert store.params["settings"]["alpha"] == 3.0
    assert call("search", worded.asmk_index, worded.features, "-k", "all", "-o", out).err == f"imgret: {out} is up to date\n"


def test_a_dense_bag_of_words_is_the_same_bag(worded, tmp_path):
    """Cosines of vectors are the scores of the inverted index with the same weights."""
    vectors, index = tmp_path / "v.h5", tmp_path / "i.h5"
    for command in (
        ("encode", worded.features, "-c", worded.statistics, "--set", "dense=true", "-o", vectors),
        ("index", vectors, "-o", index),
    ):
        assert call(*command).code == 0
    dense = call("search", index, vectors, "-k", 8, "--keep-self", "--format", "tsv")
    sparse = call("search", worded.bow_index, worded.bow, "--set", "lp=false", "-k", 8, "--keep-self", "--format", "tsv")
    same_answers(dense, sparse)
    small, pca = tmp_path / "small.h5", tmp_path / "pca.h5"
    assert call("codebook", vectors, "-m", "pca", "--size", 8, "-o", pca).code == 0
    assert call("encode", vectors, "-c", pca, "-o", small).code == 0


def test_several_stores_are_one_index(worded, photos, tmp_path):
    """Whichever way the photos are spread over stores, and in whatever order these are given."""
    names = sorted(os.listdir(photos))
    groups = ([each for each in names if each.endswith(".jpg")], [each for each in names if each.endswith(".png")], ["more"])
    words = []
    for number, group in enumerate(groups):
        features = tmp_path / f"f{number}.h5"
        command = ("extract", *(os.path.join(photos, each) for each in group), "--root", photos, "-o", features)
        assert call(*command).code == 0
        words.append(tmp_path / f"w{number}.h5")
        assert call("encode", features, "-c", worded.thresholds, "-o", words[-1]).code == 0
    assert call("index", *words[::-1], "-o", tmp_path / "i.h5").code == 0
    with Store(tmp_path / "i.h5") as store, Store(worded.hamming_index) as whole:
        for path in whole.group("structure").values():
            assert store.checksums[path] == whole.checksums[path]


@pytest.mark.parametrize("memory", ["1G", "10K"])
def test_words_without_end_are_counted_as_they_come(worded, monkeypatch, tmp_path, memory):
    """Where there are so many words that a count of each would not fit, as of pairs of words."""
    from imgret.indexes.inverted import building

    monkeypatch.setattr(building, "MOST_COUNTED", 4)
    for name in ("bow", "hamming"):
        out = tmp_path / f"{name}.h5"
        assert call("index", getattr(worded, name), "--max-memory", memory, "-o", out).code == 0
        same(out, index_of(worded, name))


@linux
@pytest.mark.parametrize("step", ["encode", "index", "thresholds"])
def test_killed_at_random_events(worded, tmp_path, step):
    arguments, wanted = {
        "encode": (("encode", worded.features, "-c", worded.thresholds, "-j", 2), worded.hamming),
        "index": (("index", worded.hamming, "--max-memory", "10K"), worded.hamming_index),
        "thresholds": (("codebook", worded.features, "-m", "hamming", "-c", worded.words), worded.thresholds),
    }[step]
    os.mkdir(tmp_path / "out")
    watched, out = Watched(tmp_path / "watch", tmp_path / "out"), tmp_path / "out" / "made.h5"
    assert watched.until_done(np.random.default_rng(1), *arguments, "-o", out, most=10, code=-9)
    same(out, wanted)
    tidy(out)


def test_made_by_shards(worded, tmp_path):
    out = tmp_path / "made.h5"
    for more in (("--shard", "1/2"), ("--shard", "0/2"), ()):
        assert call("encode", worded.features, "-c", worded.words, "-m", "asmk", "-o", out, *more).code == 0
    same(out, worded.asmk)


def test_equal_photos_rank_by_name(worded, photos, tmp_path):
    place = tmp_path / "photos"
    os.mkdir(place)
    for name in ("b.png", "c.png", "a.png"):
        shutil.copy(photos / "05.png", place / name)
    shutil.copy(photos / "07.png", place / "d.png")
    features, words, index = (tmp_path / f"{each}.h5" for each in ("f", "w", "i"))
    assert call("extract", place, "-o", features).code == 0
    assert call("encode", features, "-c", worded.thresholds, "-o", words).code == 0
    assert call("index", words, "-o", index).code == 0
    found = answers(call("search", index, photos / "05.png", "--keep-self"))["05.png"]
    assert [name for name, _ in found[:3]] == ["a.png", "b.png", "c.png"]
    assert len({score for _, score in found[:3]}) == 1


def test_a_photo_whose_words_are_not_there(worded, photos, tmp_path):
    """Of an index of which all words are stopped for the query, nothing is found, and all are listed in the order of their names."""
    found = answers(call("search", worded.bow_index, photos / "05.png", "--set", "stop=1000", "-k", 4, "--keep-self"))["05.png"]
    with Store(worded.bow_index) as store:
        wanted = [os.fsdecode(name) for name in store.texts("names", 0, 4)]
    assert found == [(name, 0.0) for name in wanted]


def test_photos_without_words(worded, tmp_path):
    """All words stopped: the store is sound, and so is an index of it."""
    words, index = tmp_path / "w.h5", tmp_path / "i.h5"
    assert call("encode", worded.features, "-c", worded.statistics, "--set", "stop=1000", "-o", words).code == 0
    assert call("index", words, "-o", index).code == 0
    assert call("info", index, "--check").lines[-1] == "check           sound"
    result = call("search", index, words, "-k", 2)
    assert result.code == 0
    assert "28 of 28 queries are zero: they match nothing" in result.err


def test_only_what_is_judged_is_called_a_match(worded, photos):
    result = call("search", worded.asmk_index, photos / "05.png", "--matches-only")
    refused(result, 1, "scores of an 'inverted' index are sums over visual words, and not judged; --matches-only needs that")


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["--metric", "l2"], 2, "-m inverted sums what visual words are worth: leave --metric out"),
        (["--train", "bow.h5"], 2, "-m inverted sums what visual words are worth: leave --train out"),
        (["-m", "inverted", "-c", "words.h5"], 2, "-m inverted takes no codebook: leave -c out"),
        (["-m", "flat"], 1, "bow.h5 is a words store; index needs vectors"),
        (["smk.h5"], 1, "bow.h5 and smk.h5 were made in different ways: bow and smk"),
    ],
)
def test_indexes_refused(worded, monkeypatch, tmp_path, arguments, code, message):
    monkeypatch.chdir(worded.folder)
    refused(call("index", "bow.h5", *arguments, "-o", tmp_path / "x.h5"), code, message)


def test_stores_that_keep_different_things_are_not_mixed(worded, tmp_path):
    features, words = tmp_path / "f.h5", tmp_path / "w.h5"
    assert call("extract", folder(tmp_path / "photos", 2), "-o", features).code == 0
    assert call("encode", features, "-c", worded.statistics, "--set", "geometry=true", "-o", words).code == 0
    result = call("index", worded.bow, words, "-o", tmp_path / "x.h5")
    kept = "word (uint32), weight (float32)"
    refused(result, 1, f"{words} keeps {kept}, geometry (uint16 × 4) of an entry, {worded.bow} {kept}: encode both with the same settings")


def test_entries_that_their_encoder_does_not_make(worded, tmp_path):
    path = tmp_path / "w.h5"
    shutil.copy(worded.asmk, path)
    with h5py.File(path, "r+", locking=False) as file:
        signature = file["signature"][:]
        del file["signature"]
        file["signature"] = np.concatenate([signature, signature], axis=1)
    resign(path)
    for command in (("index", path, "-o", tmp_path / "i.h5"), ("search", worded.asmk_index, path, "--set", "norm=none")):
        result = call(*command)
        assert (result.code, result.err.splitlines()[-1]) == (
            1,
            f"imgret: error: {path} is damaged: 'signature' is not what asmk makes: make it again",
        )


def test_exported_over_what_is_there(worded, tmp_path):
    """All of it is written, whatever it is compared with first."""
    out, again = tmp_path / "a.npz", tmp_path / "b.npz"
    for name in ("bow", "hamming"):
        assert call("export", getattr(worded, name), "-o", out, "--overwrite").code == 0
    assert call("export", worded.hamming, "-o", again).code == 0
    assert out.read_bytes() == again.read_bytes()


def test_words_of_other_codebooks_are_not_mixed(worded, tmp_path):
    other, words = tmp_path / "other.h5", tmp_path / "w.h5"
    assert call("codebook", worded.features, "--size", 23, "--set", "pca=0", "-o", other).code == 0
    assert call("encode", worded.features, "-c", other, "-m", "asmk", "-o", words).code == 0
    result = call("index", worded.asmk, words, "-o", tmp_path / "x.h5")
    refused(result, 1, f"{worded.asmk} and {words} were made in different ways: asmk with different codebooks")
    result = call("search", worded.asmk_index, words)
    refused(
        result,
        1,
        f"{words} was not made as the photos in {worded.asmk_index} were (asmk with different codebooks): give photos, or a store made in "
        "the same way",
    )


def test_words_that_have_been_assigned_stay(worded):
    result = call("search", worded.asmk_index, worded.asmk, "--set", "ma=3")
    refused(result, 1, f"{worded.asmk} holds words already, and `ma` says how descriptors get theirs: ask with features, or leave it out")


def test_an_index_that_does_not_say_its_words(worded, tmp_path):

    path = tmp_path / "i.h5"
    shutil.copy(worded.bow_index, path)
    with h5py.File(path, "r+", locking=False) as file:
        say(file, "facts", '{"norms":null,"words":-3,"bits":0}')
    resign(path)
    refused(call("search", path, worded.bow), 1, f"{path} is damaged: it does not say what its words are")


def test_rot_in_a_list_is_found_by_who_looks_into_it(worded, tmp_path):
    path = tmp_path / "i.h5"
    shutil.copy(worded.asmk_index, path)
    flip(path, "structure/signature", 5)
    result = call("search", path, worded.asmk)
    assert result.code == 1
    assert "'structure/signature' does not match its checksum" in result.err or "is damaged" in result.err
