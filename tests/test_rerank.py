"""The step `rerank`: what fits together, what is refused, parts, shards, kills, and evidence that is taken along."""

import os
import shutil
import signal
import sys

import h5py
import numpy as np
import pytest
from helpers import call, misused, refused, resign
from killing import Watched, same, tidy
from PIL import Image

import imgret
from imgret.inputs.ranked import EMPTY, Ranked
from imgret.inputs.reranked import reranked
from imgret.inputs.stores import Stores
from imgret.rerankers.base import Listed, Query, Reranker, below
from imgret.store.reader import Store
from imgret.store.sameness import Sameness

linux = pytest.mark.skipif(sys.platform != "linux", reason="processes are watched through /proc")
SPATIAL = ("-m", "spatial", "--set", "depth=4")


@pytest.fixture(scope="module")
def better(stores, tmp_path_factory):
    """A ranking with evidence."""
    out = tmp_path_factory.mktemp("better") / "better.h5"
    result = call("rerank", stores.ranking, *SPATIAL, "--features", stores.features, "-o", out, "-j", 2)
    assert result.code == 0, result.err
    return out


def test_sound_and_up_to_date(stores, better):
    assert call("info", better, "--check").lines[-1] == "check           sound"
    with Store(better) as store, Store(stores.ranking) as before:
        assert store.facts == {"counts": "inliers", "enough": 6.0}
        assert store.shape("evidence") == (28, 4)
        assert store.shape("maps") == (28, 4, 3, 3)
        assert store.photos == before.photos
        for path in ("names", "query_names", "query_ids"):
            assert list(store.texts(path)) == list(before.texts(path))
        assert np.array_equal(np.sort(store.read("ids")), np.sort(before.read("ids")))
        assert np.array_equal(store.read("ids")[:, 4:], before.read("ids")[:, 4:])  # what was not looked at
        assert (np.diff(store.read("scores"), axis=1) <= 0).all()
    again = call("rerank", stores.ranking, *SPATIAL, "--features", stores.features, "-o", better)
    assert (again.code, again.err) == (0, f"imgret: {better} is up to date\n")


@pytest.mark.parametrize("how", [("-j", 1), ("-j", 3)])
def test_same_for_any_jobs(stores, better, tmp_path, how):
    out = tmp_path / "o.h5"
    assert call("rerank", stores.ranking, *SPATIAL, "--features", stores.features, "-o", out, *how).code == 0
    same(out, better)


def test_same_in_shards(stores, better, tmp_path):
    out = tmp_path / "o.h5"
    command = ("rerank", stores.ranking, *SPATIAL, "--features", stores.features, "-o", out, "-j", 1)
    one = call(*command, "--shard", "1/2")
    assert one.err == "imgret: shard 1/2 is done; 2 of 4 parts are missing; the same command without --shard joins them\n"
    assert call(*command, "--shard", "0/2").code == 0
    assert "4 of 4 parts are there already" in call(*command).err
    same(out, better)
    tidy(out)


@linux
def test_same_when_killed(stores, better, tmp_path):
    os.mkdir(tmp_path / "out")
    watched, out = Watched(tmp_path / "watch", tmp_path / "out"), tmp_path / "out" / "o.h5"
    arguments = ("rerank", stores.ranking, *SPATIAL, "--features", stores.features, "-o", out, "-j", 2)
    assert watched.until_done(np.random.default_rng(3), *arguments, most=6, code=-signal.SIGKILL, often=True)
    same(out, better)
    tidy(out)


def test_a_damaged_part_is_made_again(stores, better, tmp_path):
    out = tmp_path / "o.h5"
    command = ("rerank", stores.ranking, *SPATIAL, "--features", stores.features, "-o", out, "-j", 1)
    for shard in ("0/2", "1/2"):
        assert call(*command, "--shard", shard).code == 0
    (part,) = [os.path.join(top, "000001.h5") for top, _, names in os.walk(f"{out}.parts") if "000001.h5" in names]
    with open(part, "r+b") as file:
        file.truncate(os.path.getsize(part) // 2)
    assert "part 1 is damaged; making it again" in call(*command).err
    same(out, better)


def test_photos_features_and_the_gallery_describe_queries_alike(stores, photos, better, tmp_path):
    """Here the queries are photos of the gallery: it is all the same."""
    for number, given in enumerate((stores.features, photos)):
        out = tmp_path / f"{number}.h5"
        command = ("rerank", stores.ranking, *SPATIAL, "--features", stores.features, "--queries", given, "-o", out)
        assert call(*command).code == 0
        answers(out, better)


def test_search_in_one_go(stores, photos, better, tmp_path):
    out = tmp_path / "o.h5"
    assert call("search", stores.index, stores.vlad, "-k", 5, "--rerank", "spatial", "--features", stores.features, "-o", out).code == 0
    with Store(out) as store:
        assert store.params["rerank"]["method"] == "spatial"
        assert store.params["rerank"]["params"]["depth"] == 100
        assert store.facts == {"counts": "inliers", "enough": 6.0}
        evidence, ids = store.read("evidence"), store.read("ids")
    itself = call("search", stores.index, photos / "01.png", "-k", 5, "--rerank", "spatial", "--features", stores.features, "--keep-self")
    assert itself.code == 0, itself.err
    with Store(stores.index) as index:
        row = list(index.texts("names")).index(b"01.png")
    assert ids[row, 0] == row
    assert evidence[row, 0] > 20
    assert itself.lines[1].split("\t")[2] == "01.png"
    named = ("--set", "spatial.depth=3", "--set", "enough=5", "--json")
    assert call("search", stores.index, photos / "01.png", "--rerank", "spatial", "--features", stores.features, *named).code == 0
    refused(call("search", stores.index, photos / "01.png", "--rerank", "spatial"), 2, "-m spatial needs --features or --words to match")
    misused(call("search", stores.index, photos / "01.png", "--features", stores.features), "--features is for --rerank")
    refused(
        call("search", stores.index, photos / "01.png", "--rerank", "fuse"),
        2,
        "-m fuse puts rankings together, and a search makes one: store them, and use imgret rerank",
    )


def test_evidence_is_taken_along(stores, better, tmp_path):
    out = tmp_path / "o.h5"
    assert call("rerank", better, stores.ranking, "-m", "fuse", "-o", out).code == 0
    with Store(out) as store, Store(better) as before:
        assert store.facts == before.facts
        for row in range(28):
            known = dict(zip(before.read("ids")[row], before.read("evidence")[row], strict=False))
            given = dict(zip(store.read("ids")[row], store.read("evidence")[row], strict=False))
            assert {photo: value for photo, value in given.items() if value == value} == {
                photo: value for photo, value in known.items() if value == value
            }


def test_evidence_follows_its_photo():
    class Turned(Reranker):
        name = "turned"

        def rerank(self, queries, known):
            return [Listed(query.list.ids[::-1], query.list.scores) for query in queries]

    nan = np.float32(np.nan)
    given = Listed(np.array([5, 2, 9]), np.float32([3, 2, 1]), np.float32([8, nan, 1]), np.stack([np.eye(3, dtype=np.float32)] * 3), 6)
    (found,) = reranked(Turned(Turned.Params()), [Query([given])], None)
    np.testing.assert_array_equal(found.evidence, np.float32([1, nan, 8]))
    assert found.verified.tolist() == [False, False, True]
    (found,) = reranked(Turned(Turned.Params()), [Query([EMPTY])], None)
    assert found.evidence is None
    assert not len(found)


def test_below():
    low = np.float32([0.9, 0.2, -3])
    assert below(low, 6, 0.95) is low
    cut = below(np.float32([40, 7, 0, -5]), 6, 40)
    assert (cut < 6).all()
    assert (np.diff(cut) < 0).all()


def answers(first, second):
    """Assert that two rankings hold the same, whatever they were made of."""
    with Store(first) as store, Store(second) as other:
        for path in ("ids", "scores", "evidence", "maps"):
            np.testing.assert_array_equal(store.read(path), other.read(path))


# what does not fit


def test_other_photos(stores, tmp_path):
    features, ranking = tmp_path / "f.h5", stores.ranking
    shutil.copy(stores.features, features)
    with h5py.File(features, "r+", locking=False) as file:
        file["digest"][3] = 7 + file["digest"][3]
        file.attrs.create("photos", np.bytes_(""))  # as older files have it: what they hold is looked at
    resign(features)
    out = ("-o", tmp_path / "o.h5")
    refused(
        call("rerank", ranking, *SPATIAL, "--features", features, *out),
        1,
        f"{features}: the photos are called as those that {ranking} ranks, and are others: they have changed since, so make the ranking "
        "again, or give stores of the photos that were searched",
    )


def test_a_store_that_lacks_photos(stores, photos, tmp_path):
    few = tmp_path / "few.h5"
    assert call("extract", photos / "more", "-o", few, "--root", photos).code == 0
    with Store(few) as store:
        missing = 28 - len(store)
    result = call("rerank", stores.ranking, *SPATIAL, "--features", few, "-o", tmp_path / "o.h5")
    refused(
        result,
        1,
        f"{few}: {missing} of the 28 photos that {stores.ranking} ranks are not there, for example '01.png': give stores of the photos "
        "that were searched",
    )
    assert not os.path.exists(tmp_path / "o.h5")


def test_several_stores_hold_them_together(stores, photos, better, tmp_path):
    first, second, out = (tmp_path / f"{name}.h5" for name in ("a", "b", "o"))
    assert call("extract", photos / "more", "-o", first, "--root", photos).code == 0
    assert call("extract", photos, "-o", second, "--exclude", "more").code == 0
    result = call("rerank", stores.ranking, *SPATIAL, "--features", first, "--features", second, "-o", out)
    assert result.code == 0, result.err
    answers(out, better)


def test_what_a_method_takes(stores, tmp_path):
    out = ("-o", tmp_path / "o.h5")
    ranking, features = stores.ranking, stores.features
    refused(call("rerank", ranking, "-m", "spatial", *out), 2, "-m spatial needs --features or --words to match")
    refused(call("rerank", ranking, "-m", "fuse", *out), 2, "-m fuse puts rankings together: give at least 2")
    refused(call("rerank", ranking, ranking, "-m", "fuse", "--words", features, *out), 2, "-m fuse takes no --words: leave it out")
    refused(
        call("rerank", ranking, ranking, *SPATIAL, "--features", features, *out),
        2,
        "-m spatial takes 1 ranking, and 2 are given: rerank each, or put them together (-m fuse)",
    )
    refused(
        call("rerank", ranking, *SPATIAL, "--features", stores.vlad, *out),
        1,
        f"{stores.vlad} is a vectors store; --features needs features",
    )
    refused(call("rerank", stores.vlad, ranking, "-m", "fuse", *out), 1, f"{stores.vlad} is a vectors store; rerank needs a ranking")
    refused(
        call("rerank", ranking, ranking, "-m", "fuse", "--set", "weights=1,2,3", *out),
        2,
        "`weights` has 3 values for 2 rankings: give one for each",
    )
    misused(call("rerank", ranking, *out), "Missing option '-m' / '--method'.")
    refused(
        call("rerank", ranking, ranking, "-m", "fuse", "-o", ranking), 1, f"{ranking} is both an input and the output: choose another -o"
    )


def test_a_query_that_is_nowhere(stores, photos, tmp_path):
    few = tmp_path / "few.h5"
    assert call("extract", photos / "more", "-o", few, "--root", photos).code == 0
    out = ("-o", tmp_path / "o.h5")
    text = "query '01.png' is not in --queries: give all photos, or stores, that the ranking was asked with"
    for given in (few, photos / "more"):
        refused(call("rerank", stores.ranking, *SPATIAL, "--features", stores.features, "--queries", given, *out), 1, text)
    with h5py.File(stores.ranking, "r", locking=False) as file:
        assert "query_names" in file
    run = tmp_path / "run.txt"
    run.write_text("other.png Q0 01.png 1 0.9 x\n")
    refused(
        call("rerank", run, *SPATIAL, "--features", stores.features, *out),
        1,
        "query 'other.png' is no photo of the gallery: give --queries, photos or a store that describe it",
    )


def test_trec_runs(stores, better, tmp_path):
    run, out, other = tmp_path / "run.txt", tmp_path / "o.h5", tmp_path / "p.h5"
    assert call("export", stores.ranking, "--format", "trec", "-o", run).code == 0
    assert call("rerank", run, *SPATIAL, "--features", stores.features, "-o", out).code == 0
    answers(out, better)
    assert call("rerank", stores.ranking, run, "-m", "fuse", "-o", other).code == 0
    run.write_text("01.png Q0 elsewhere.png 1 0.9 x\n")
    refused(
        call("rerank", stores.ranking, run, "-m", "fuse", "-o", tmp_path / "q.h5"),
        1,
        f"{run} ranks 'elsewhere.png', which is none of the photos that {stores.ranking} ranks",
    )


def test_silent_rankings(stores, tmp_path):
    run, out = tmp_path / "run.txt", tmp_path / "o.h5"
    run.write_text("01.png Q0 02.png 1 0.9 x\n")
    result = call("rerank", stores.ranking, run, "-m", "fuse", "-o", out)
    assert f"{run} is silent where there are 27 queries that it has no list for: the others decide" in result.err
    with Store(out) as store:
        assert store.sizes["Q"] == 28


@pytest.mark.parametrize(
    ("column", "value", "what"),
    [
        ("scores", np.nan, "a score that is no finite number"),
        ("scores", np.inf, "a score that is no finite number"),
        ("ids", 28, "a photo that is none of its own"),
        ("ids", -2, "a photo that is none of its own"),
        ("ids", None, "a photo twice"),
    ],
)
def test_hostile_rankings(stores, tmp_path, column, value, what):
    bad = tmp_path / "bad.h5"
    shutil.copy(stores.ranking, bad)
    with h5py.File(bad, "r+", locking=False) as file:
        file[column][2, 0] = file[column][2, 1] if value is None else value
        query = file["query_ids"][()].tobytes()
    resign(bad)
    result = call("rerank", bad, stores.ranking, "-m", "fuse", "-o", tmp_path / "o.h5")
    assert result.code == 1
    assert "Traceback" not in result.err
    assert query
    assert what in result.err or "damaged" in result.err


def test_rankings_of_other_photos(stores, tmp_path):
    other = tmp_path / "other.h5"
    shutil.copy(stores.ranking, other)
    with h5py.File(other, "r+", locking=False) as file:
        names = file["names"][()].tobytes().replace(b"26.png", b"zz.png")
        file["names"][()] = np.frombuffer(names, np.uint8)
    with Stores() as opened:
        assert Ranked(stores.ranking, opened).sameness.is_of(Sameness.parse(Store(stores.features).photos))
    resign(other)
    result = call("rerank", stores.ranking, other, "-m", "fuse", "-o", tmp_path / "o.h5")
    assert result.code == 1
    assert "Traceback" not in result.err


def test_sameness():
    def of(*photos, failed=()):
        found = Sameness()
        for name, digest in photos:
            found.add(name, digest)
        for name, digest in failed:
            found.fail(name, digest)
        return found

    a, b, c = (b"a", b"1" * 32), (b"b", b"2" * 32), (b"a", b"3" * 32)
    assert of(a, b).is_of(of(b, a))
    assert (of(a) + of(b)).is_of(of(a, b))
    assert not of(a).is_of(of(b))
    assert not of(a).is_of(of(c))
    assert not of(a, b).is_of(of(a))
    assert of((b"a", bytes(32))).is_of(of(c))
    assert Sameness.of_names([b"a"]).is_of(of(a))
    assert of(a, failed=[b]).is_of(of(b, failed=[a]))
    assert not of(a, failed=[b]).is_of(of(b, failed=[c]))
    for known in (of(a, failed=[b]), Sameness.of_names([b"a", b"b"])):
        again = Sameness.parse(str(known))
        assert str(again) == str(known)
        assert again.is_of(known)
    for text in ("", "xyz", "0" * 31, "-", "---", "-".join(["g" * 32] * 4), "-".join(["0" * 32] * 3)):
        assert Sameness.parse(text) is None


def test_photos_that_failed_somewhere(photos, tmp_path):
    """A photo without local features is ranked by what has a vector of it, and is left where it was by what has none."""
    folder = tmp_path / "photos"
    shutil.copytree(photos, folder)
    with Image.open(folder / "01.png") as image:
        Image.new("RGB", image.size).save(folder / "01.png")
    made = {
        name: tmp_path / f"{name}.h5" for name in ("features", "vlad", "index", "run", "hsv", "colours", "other", "fused", "better", "qe")
    }
    for command in (
        ("extract", folder, "-o", made["features"]),
        ("encode", made["features"], "-c", "ready:rootsift-vlad64", "-o", made["vlad"]),
        ("index", made["vlad"], "-o", made["index"]),
        ("search", made["index"], made["vlad"], "-k", "all", "-o", made["run"]),
        ("extract", folder, "-m", "hsv-hist", "-o", made["hsv"]),
        ("index", made["hsv"], "-o", made["colours"]),
        ("search", made["colours"], made["hsv"], "-k", "all", "-o", made["other"]),
        ("rerank", made["run"], made["other"], "-m", "fuse", "-o", made["fused"]),
        ("rerank", made["fused"], *SPATIAL, "--features", made["features"], "-o", made["better"]),
    ):
        result = call(*command)
        assert result.code == 0, result.err
    with Store(made["fused"]) as fused, Store(made["better"]) as better:
        names = list(fused.texts("names"))
        assert len(names) == 28
        assert fused.sizes["Q"] == 28
        row = list(fused.texts("query_ids")).index(b"01.png")
        assert np.array_equal(fused.read("ids")[row], better.read("ids")[row])
        assert not np.nan_to_num(better.read("evidence")[row]).any()
        assert fused.photos == better.photos


def test_from_python(stores, better, tmp_path):
    imgret.rerank(stores.ranking, tmp_path / "o.h5", method="spatial", settings=["depth=4"], roles={"features": stores.features})
    same(tmp_path / "o.h5", better)
    with imgret.open(better) as ranking:
        first, *_, last = ranking["01.png"]
        assert first.name == "01.png"
        assert first.evidence > 20
        assert last.evidence is None
    with pytest.raises(imgret.ImgretError, match="-m spatial needs --features or --words to match"):
        imgret.rerank(stores.ranking, tmp_path / "p.h5", method="spatial")


def test_a_build_says_how_to_verify(photos, tmp_path):
    """Its folder knows the features that verification takes."""
    out = tmp_path / "b"
    config = tmp_path / "c.toml"
    tables = ('features = { run = "extract" }', 'vlad = { run = "encode", inputs = ["features"], codebook = "ready:rootsift-vlad64" }')
    tables += ('index = { run = "index", inputs = ["vlad"] }', 'ranking = { run = "search", index = "index", queries = ["vlad"] }')
    tables += ('better = { run = "rerank", inputs = ["ranking"], features = ["features"], method = "spatial" }',)
    config.write_text("\n".join(tables))
    result = call("build", photos, "-o", out, "--config", config)
    assert result.code == 0, result.err
    assert result.err.splitlines()[-1] == f"imgret: {out} is ready: imgret search {out} PHOTO --rerank spatial"
    found = call("search", out, photos / "01.png", "--rerank", "spatial", "--keep-self", "-k", 1)
    assert found.lines[0].split("\t")[-1] == "evidence"
    assert int(found.lines[1].split("\t")[-1]) > 20


def test_config_tables(stores, tmp_path):
    config = tmp_path / "c.toml"
    config.write_text(
        'ranking = { run = "search", index = "i", queries = ["v"] }\nbetter = { run = "rerank", method = "spatial", set = { depth = 4 } }\n'
    )
    out = tmp_path / "o.h5"
    refused(
        call("rerank", stores.ranking, "--features", stores.features, "--config", f"{config}:ranking", "-o", out),
        2,
        f"--config {config}:ranking: this table is for `search`, not for `rerank`",
    )
    assert call("rerank", stores.ranking, "--features", stores.features, "--config", f"{config}:better", "-o", out).code == 0
    with Store(out) as store:
        assert store.params["params"]["depth"] == 4


def test_queries_with_boxes(stores, photos, tmp_path):
    """They ask with what lies in the box: of features that are given for whole photos, those in it."""
    boxes, asking, asked, run = (tmp_path / name for name in ("boxes.csv", "q.h5", "qv.h5", "run.h5"))
    boxes.write_text("image,x1,y1,x2,y2\n01.png,10,20,120,100\n02.png,0,0,100,110\n")
    for command in (
        ("extract", photos, "--boxes", boxes, "-o", asking),
        ("encode", asking, "-c", stores.kmeans, "-o", asked),
        ("search", stores.index, asked, "-k", 5, "-o", run),
        ("rerank", run, *SPATIAL, "--features", stores.features, "-o", tmp_path / "a.h5"),
        ("rerank", run, *SPATIAL, "--features", stores.features, "--queries", asking, "-o", tmp_path / "b.h5"),
    ):
        result = call(*command)
        assert result.code == 0, result.err
    with Store(tmp_path / "a.h5") as cut, Store(tmp_path / "b.h5") as own, Store(run) as before:
        np.testing.assert_array_equal(cut.read("query_box"), before.read("query_box"))
        for store in (cut, own):
            assert (store.read("evidence")[:, 0] > 6).all()
            assert list(store.texts("query_ids")) == list(before.texts("query_ids"))
    result = call("rerank", run, "-m", "alpha-qe", "--vectors", stores.vlad, "--index", stores.index, "-o", tmp_path / "c.h5")
    refused(
        result,
        1,
        f"query '01.png' asks with a box, and {stores.vlad} describes all of its photo: give --queries that were extracted with --boxes",
    )
    expanded = ("-m", "alpha-qe", "--vectors", stores.vlad, "--index", stores.index, "--queries", asked)
    assert call("rerank", run, *expanded, "-o", tmp_path / "c.h5").code == 0


def test_what_does_not_go_together(stores, worded, better, photos, tmp_path):
    out = ("-o", tmp_path / "o.h5")
    vectors, index = ("--vectors", stores.vlad), ("--index", stores.index)
    refused(
        call("rerank", better, "-m", "aqe", *vectors, *index, *index, *out),
        2,
        "--index is given twice: one index is asked again, give the one that was searched",
    )
    refused(
        call("rerank", better, "-m", "aqe", *vectors, "--index", worded.bow_index, *out),
        1,
        f"{worded.bow_index} is an index of words, and --vectors ask one of vectors: give the index that was made of them",
    )
    result = call("rerank", better, "-m", "aqe", "--vectors", stores.projected, *index, *out)
    assert result.code == 1
    assert f"{stores.projected} was not made as what is in {stores.index} was (project and vlad)" in result.err
    text = "has no evidence of which photos match, and `verified` asks for it: rerank it before (-m spatial), or --set verified=false"
    refused(call("rerank", stores.ranking, "-m", "aqe", *vectors, *index, *out), 1, f"{stores.ranking} {text}")
    refused(call("rerank", stores.ranking, better, "-m", "fuse", "--verified", *out), 1, f"{stores.ranking} {text}")
    folder = f"--features {photos} is a folder: give a store, or the folder of a build"
    refused(call("rerank", stores.ranking, *SPATIAL, "--features", photos, *out), 1, folder)
    refused(
        call("search", stores.index, photos / "01.png", "--rerank", "aqe", *vectors),
        2,
        "--rerank aqe takes verified photos, and a search has none yet: store the ranking (-o), then imgret rerank -m spatial, then -m "
        "aqe; or --set verified=false",
    )
    result = call("search", stores.index, photos / "01.png", "--rerank", "spatial", "--features", stores.features, "--set", "bogus=2")
    assert result.code == 2
    assert "neither spatial nor this index has a parameter `bogus`; spatial has: depth, ratio" in result.err
    assert result.err.rstrip().endswith("the index: none")
