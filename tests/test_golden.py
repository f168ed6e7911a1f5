"""Files of every version of the layout stay readable, sound, searchable, and mean what they meant."""

import os
import shutil

import numpy as np
import pytest
from helpers import ROOT, call

import imgret
from imgret.store import layout
from imgret.store.reader import Store

DATA = os.path.join(ROOT, "tests", "data")
# of each kind the versions there have been, each in a folder that scripts/golden.py made when the version was new
VERSIONS = {"features": (1, 2), "codebook": (1, 2), "vectors": (1, 2), "index": (1, 2, 3), "ranking": (1, 2), "words": (1,)}
# of a graph of rows, some of which are equal: one where each has a node of its own, as it was, and one where they share them
GRAPHS = ("each", "shared")
# entries of Hamming embedding with all that they may have, and the inverted index of them
INVERTED = tuple(os.path.join(DATA, "inverted", f"{name}.h5") for name in ("words", "index"))
EVERY = pytest.mark.parametrize(("kind", "version"), [(kind, version) for kind, versions in VERSIONS.items() for version in versions])


def every(kind):
    """Every version of a kind."""
    return pytest.mark.parametrize("version", VERSIONS[kind])


def golden(version, name):
    return os.path.join(DATA, f"schema-{version}", name)


def graph(nodes):
    return os.path.join(DATA, "hnsw", f"{nodes}.h5")


def test_every_version_has_golden_files():
    assert {kind: max(versions) for kind, versions in VERSIONS.items()} == {name: kind.version for name, kind in layout.KINDS.items()}
    files = [os.path.join(here, name) for here, _, names in os.walk(DATA) for name in names]
    wanted = {golden(version, f"{kind}.h5") for kind, versions in VERSIONS.items() for version in versions}
    assert {path for path in files if path.endswith(".h5")} == wanted | {graph(nodes) for nodes in GRAPHS} | set(INVERTED)
    assert sum(map(os.path.getsize, files)) < 400_000


@EVERY
def test_sound(kind, version):
    result = call("info", golden(version, f"{kind}.h5"), "--check")
    assert (result.code, result.err) == (0, "")
    assert result.lines[1:3] == [f"kind            {kind}", f"schema_version  {version}"]
    assert result.lines[-1] == "check           sound"


@every("features")
def test_what_is_in_features(version):
    with Store(golden(version, "features.h5")) as store:
        assert list(store.texts("names")) == [b"0.png", b"1.png", b"2.png", b"3.png"]
        assert store.text_list("failed/code") == ["not-an-image"]
        assert list(store.texts("failed/names")) == [b"bad.jpg"]
        assert store.read("offsets")[0] == 0
        assert store.read("offsets")[-1] == store.sizes["T"] == 99
        assert store.read("image_size").tolist() == [[96, 96]] * 4
        assert store.attribute("keypoints", "columns") == "x y scale angle score"
        assert store.attribute("descriptors", "descriptor_type") == "uint8"


@every("vectors")
def test_what_is_in_vectors(version):
    with Store(golden(version, "vectors.h5")) as store:
        assert store.shape("vectors") == (4, 512)
        assert np.allclose(np.linalg.norm(store.read("vectors"), axis=1), 1, atol=1e-6)


@every("index")
def test_what_is_in_an_index(version):
    """Where the structure is and what is known of it reads the same in every version, and what it holds is the same."""
    with Store(golden(version, "index.h5")) as store, Store(golden(1, "index.h5")) as first:
        assert store.group("structure") == {"faiss": "index" if version == 1 else "structure/faiss"}
        assert store.facts == first.facts == {"dim": 512}
        assert ("facts" in store.recorded) == (version > 1)
        (structure,), (wanted,) = store.group("structure").values(), first.group("structure").values()
        assert np.array_equal(store.map(structure), first.read(wanted))
        assert store.read("rows").tolist() == [0, 1, 2, 3]
        assert list(store.texts("names")) == [b"0.png", b"1.png", b"2.png", b"3.png"]
        assert store.text_list("failed/code") == ["not-an-image"]
        assert (store.recipe, store.fingerprint) == (first.recipe, first.fingerprint)


def test_encoded_again_they_give_the_same_vectors(tmp_path):
    out = tmp_path / "v.h5"
    assert call("encode", golden(1, "features.h5"), "-c", golden(1, "codebook.h5"), "-o", out, "--set", "norm=intra,l2", "-j1").code == 0
    with Store(out) as store, Store(golden(1, "vectors.h5")) as old:
        assert np.allclose(store.read("vectors"), old.read("vectors"), atol=1e-6)
        assert (store.recipe, store.fingerprint) == (old.recipe, old.fingerprint)


@every("index")
def test_searchable(version, tmp_path):
    """By vectors, by features and by the photos themselves, in a place where nothing may be written."""
    with Store(golden(1, "ranking.h5")) as store:
        ids, scores = store.read("ids"), store.read("scores")
    assert (ids[:, 0] == np.arange(4)).all()
    wanted = [f"{query}.png\t{rank + 1}\t{ids[query, rank]}.png" for query in range(4) for rank in range(4)]
    photos = tmp_path / "photos"
    shutil.copytree(golden(1, "photos"), photos)
    os.remove(photos / "bad.jpg")
    for queries in (golden(1, "vectors.h5"), golden(1, "features.h5"), photos):
        result = call("search", golden(version, "index.h5"), queries, "-k", "all", "--keep-self")
        assert (result.code, result.err) == (0, "")
        rows = [line.split("\t") for line in result.lines[1:]]
        assert ["\t".join(row[:3]) for row in rows] == wanted
        assert np.allclose([float(row[3]) for row in rows], scores.ravel(), atol=1e-4)


@every("ranking")
def test_evaluable(version, tmp_path):
    truth = tmp_path / "truth.csv"
    truth.write_text("image,group\n0.png,a\n1.png,a\n2.png,b\n3.png,b\n")
    result = call("evaluate", golden(version, "ranking.h5"), "--protocol", "groups", "--truth", truth)
    assert (result.code, result.err) == (0, "")
    assert result.lines[1].startswith("map\t")


@pytest.mark.parametrize("nodes", GRAPHS)
def test_graphs_with_equal_rows(nodes):
    """Both find the same: all rows that are equal, in their order."""
    assert call("info", graph(nodes), "--check").lines[-1] == "check           sound"
    with Store(graph(nodes)) as store:
        structure = store.group("structure")
        assert sorted(structure) == (["faiss"] if nodes == "each" else ["faiss", "members", "starts"])
        if nodes == "shared":
            assert store.read("structure/members").tolist() == [0, 1, 3, 5, 7, 9, 2, 4, 6, 8, 10, 11]
            assert store.read("structure/starts").tolist() == [0, 1, 6, 7, 8, 9, 12]
    with imgret.open(graph(nodes)) as index:
        hits = index.search(np.array([[1, 2, 1, 1]], np.float32), 7)[0]
    assert [(hit.name, hit.score) for hit in hits][:5] == [(f"{row:02d}.png", 0.0) for row in (1, 3, 5, 7, 9)]
    assert [hit.name for hit in hits[5:]] == ["00.png", "02.png"]
    assert len({hit.score for hit in hits[5:]} - {0.0}) >= 1


@every("words")
def test_what_is_in_words(version):
    with Store(golden(version, "words.h5")) as store:
        assert list(store.texts("names")) == [b"0.png", b"1.png", b"2.png", b"3.png"]
        assert store.read("offsets").tolist() == [0, 4, 8, 11, 15]
        assert store.read("word").tolist() == [0, 1, 2, 3, 0, 1, 2, 3, 0, 2, 3, 0, 1, 2, 3]
        assert store.shape("signature") == (15, 16)


def test_encoded_again_they_give_the_same_words(tmp_path):
    out = tmp_path / "w.h5"
    assert call("encode", golden(1, "features.h5"), "-c", golden(1, "codebook.h5"), "-m", "asmk", "-o", out, "-j1").code == 0
    with Store(out) as store, Store(golden(1, "words.h5")) as old:
        assert np.array_equal(store.read("word"), old.read("word"))
        assert np.mean(np.unpackbits(store.read("signature")) != np.unpackbits(old.read("signature"))) < 0.01
        assert (store.recipe, store.fingerprint) == (old.recipe, old.fingerprint)


def test_an_inverted_index_stays_searchable(tmp_path):
    words, index = INVERTED
    for path in INVERTED:
        assert call("info", path, "--check").lines[-1] == "check           sound"
    with Store(words) as store:
        assert [path for path in store.column_names() if path in ("word", "signature", "geometry", "descriptor")] == [
            "word", "signature", "geometry", "descriptor"
        ]  # fmt: skip
    for queries in (words, golden(1, "features.h5"), os.path.join(golden(1, "photos"), "2.png")):
        result = call("search", index, queries, "-k", 4, "--keep-self")
        less = f"imgret: {words} has 2 of the 3 words for each descriptor that photos and features ask with: these may find more, or words "
        assert (result.code, result.err) == (0, less + "that were encoded with --set ma=3\n" if queries == words else "")
        best = [line.split("\t") for line in result.lines[1::4]]
        assert [row[0].rpartition("/")[2] for row in best] == [row[2] for row in best]
    again = tmp_path / "i.h5"
    assert call("index", words, "-o", again).code == 0
    with Store(again) as store, Store(index) as old:
        assert {path: store.checksums[path] for path in store.group("structure").values()} == {
            path: old.checksums[path] for path in old.group("structure").values()
        }
