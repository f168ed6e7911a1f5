"""Files of other programs: what import takes, what export writes, and that the one gives back what the other got."""

import os
import struct
import tracemalloc
import zlib

import h5py
import numpy as np
import pytest
from helpers import call, failures, left_over, names_in, refused, stores

import imgret.formats.hloc
import imgret.stages.export
import imgret.stages.import_
import imgret.store.parts
from imgret.store.reader import Store


@pytest.fixture
def here(tmp_path, monkeypatch):
    """An empty current folder."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


def done(*arguments):
    """Run a command that must do its work; what it said."""
    result = call(*arguments)
    assert (result.code, result.out) == (0, b""), result.err
    return result.err


def write(path, data):
    with open(path, "wb") as file:
        file.write(data)


def read(path):
    with open(path, "rb") as file:
        return file.read()


def column(path, name):
    with Store(path) as store:
        return store.read(name)


def content(path):
    with Store(path) as store:
        return store.content


def pack(rows, sign):
    """Rows as TEXMEX describes them: each its length, an int32, then its values; little-endian."""
    return b"".join(struct.pack(f"<i{len(row)}{sign}", len(row), *row) for row in rows)


def matches_columns(path, other, *columns):
    return all(np.array_equal(column(path, name), column(other, name)) for name in columns)


# .fvecs, .bvecs, .npy


def test_the_conventions_of_texmex(here):
    """Byte for byte as the format is described, in and out, without imgret's own writer or reader as the judge."""
    rows = [[0, 255, 7], [1, 2, 3], [9, 8, 200]]
    write("v.bvecs", pack(rows, "B"))
    write("v.fvecs", pack(rows, "f"))
    np.save("v.npy", np.array(rows, np.float32))
    write("n.txt", b"a\nb\nc\n")
    for ending in ("bvecs", "fvecs", "npy"):
        done("import", f"v.{ending}", "--names", "n.txt", "-o", f"{ending}.h5")
        assert np.array_equal(column(f"{ending}.h5", "vectors"), np.array(rows, np.float32))
        for other in ("bvecs", "fvecs", "npy"):
            done("export", f"{ending}.h5", "-o", f"out-{ending}.{other}", "--names", f"out-{ending}-{other}.txt")
            assert read(f"out-{ending}.{other}") == read(f"v.{other}")
            assert read(f"out-{ending}-{other}.txt") == b"a\nb\nc\n"
    assert len({content(f"{ending}.h5") for ending in ("bvecs", "fvecs", "npy")}) == 1


@pytest.mark.parametrize("ending", ["fvecs", "npy"])
def test_vectors_come_back_bit_for_bit(here, monkeypatch, ending):
    monkeypatch.setattr(imgret.stages.export, "block_rows", lambda _: 2)  # several blocks
    monkeypatch.setattr(imgret.stages.import_, "block_rows", lambda _: 2)
    good = stores()
    said = done("export", good.vectors, "-o", f"v.{ending}", "--names", "n.txt")
    assert said == f"imgret: v.{ending}: 6 vectors of 512 dimensions\n"
    done("import", f"v.{ending}", "--names", "n.txt", "-o", "back.h5")
    assert column("back.h5", "vectors").tobytes() == column(good.vectors, "vectors").tobytes()
    assert names_in("back.h5") == names_in(good.vectors)
    assert done("export", "back.h5", "-o", f"v.{ending}") == f"imgret: v.{ending} is up to date\n"


def test_float16_vectors_lose_nothing(here):
    good = stores()
    done("encode", good.features, "-c", good.words, "-o", "half.h5", "--set", "dtype=float16", "-j1")
    assert column("half.h5", "vectors").dtype == np.float16
    done("export", "half.h5", "-o", "v.npy", "--names", "n.txt")
    assert np.load("v.npy").dtype == np.float32
    done("import", "v.npy", "--names", "n.txt", "-o", "back.h5")
    assert np.array_equal(column("back.h5", "vectors"), column("half.h5", "vectors"))


def test_names_of_every_sort(here):
    np.save("v.npy", np.eye(4, dtype=np.float32))
    listed = [b"new\nline.jpg", b"caf\xe9.jpg", b" space ", b"z\r"]
    write("n.txt", b"\0".join(listed))
    done("import", "v.npy", "--names", "n.txt", "-0", "-o", "v.h5")
    text = "v.h5: the name 'new\\x0aline.jpg' cannot stand on a line of its own: give -0 for a NUL-terminated list"
    refused(call("export", "v.h5", "-o", "w.npy", "--names", "w.txt"), 1, text)
    assert not os.path.exists("w.npy")
    assert not os.path.exists("w.npy.parts")
    done("export", "v.h5", "-o", "w.npy", "--names", "w.txt", "-0")
    assert read("w.txt") == b"".join(name + b"\0" for name in sorted(listed))
    done("import", "w.npy", "--names", "w.txt", "-0", "-o", "back.h5")
    assert content("back.h5") == content("v.h5")


def test_what_bvecs_cannot_hold(here):
    write("n.txt", b"a\nb\nc\n")
    for bad, shown in ((0.5, "0.5"), (256, "256"), (-1, "-1")):
        np.save("v.npy", np.array([[0, 255], [1, 2], [3, bad]], np.float32))
        done("import", "v.npy", "--names", "n.txt", "-o", "v.h5")
        text = f"v.h5: row 3 holds {shown}, .bvecs takes whole numbers from 0 to 255: choose .fvecs or .npy"
        refused(call("export", "v.h5", "-o", "v.bvecs", "--names", "out.txt"), 1, text)
        assert left_over(".") == ["n.txt", "v.h5", "v.npy"]  # names alone are not left either


@pytest.mark.parametrize(("form", "sign"), [("bvecs", "B"), ("ivecs", "i"), ("fvecs", "f")])
def test_vecs_that_are_none(here, form, sign):
    write("n.txt", b"a\nb\nc\n")
    whole = pack([[0, 1, 2], [1, 2, 0], [2, 1, 0]], sign)
    size, row = len(whole), len(whole) // 3
    for data, text in (
        (whole[:-1], f"{size - 1} bytes are not whole rows of 3 dimensions"),
        (b"", "0 bytes are not whole rows of 0 dimensions"),
        (struct.pack("<i", 0) + whole[4:], f"{size} bytes are not whole rows of 0 dimensions"),
        (struct.pack(">i", 3) + whole[4:], "its first row would have 50331648 dimensions"),
        (whole[:row] + struct.pack("<i", 2) + whole[row + 4 :], "row 2 has another dimension than the first"),
    ):
        write(f"v.{form}", data)
        refused(call("import", f"v.{form}", "--names", "n.txt", "-o", "v.h5"), 1, f"v.{form} is not a .{form} file: {text}")
    assert left_over(".") == ["n.txt", f"v.{form}"]


def test_misuse_is_told_before_any_file_is_looked_at():
    endings = ".fvecs, .bvecs, .npy, .ivecs, .h5, .hdf5"
    for arguments, text in (
        (["v.dat"], f"v.dat: its ending does not say what it is ({endings}): give --format"),
        (["v.npy"], "a .npy file holds no names: give --names, a list of one per row"),
        (["v.dat", "--format", "bvecs"], "a .bvecs file holds no names: give --names, a list of one per row"),
        (["v.ivecs"], "a .ivecs file holds no names: give --names, a list of one per gallery photo"),
        (["v.h5", "--names", "n"], "a feature file of hloc holds its own names: leave --names out"),
        (["v.npy", "--names", "n", "--queries", "q"], "--queries is for .ivecs: leave it out"),
        (["v.ivecs", "--names", "n", "--space", "s"], "--space is for vectors and features: leave it out"),
    ):
        refused(call("import", *arguments, "-o", "x.h5"), 2, text)
    endings = ".npy, .fvecs, .bvecs, .ivecs, .trec, .run, .txt, .tsv, .npz"
    refused(call("export", "v.h5", "-o", "v.dat"), 2, f"-o v.dat: its ending does not say what it is to be ({endings}): give --format")
    refused(call("export", "v.h5", "-o", "v.npy", "--names", "./v.npy"), 2, "-o and --names are both v.npy: give each a file of its own")


# features


def test_descriptors_with_names_offsets_and_keypoints(here, monkeypatch):
    monkeypatch.setattr(imgret.stages.export, "block_rows", lambda _: 100)
    good = stores()
    count = len(column(good.features, "descriptors"))
    said = done("export", good.features, "-o", "d.npy", "--names", "n.txt", "--offsets", "o.npy", "--keypoints", "k.npy")
    assert said == f"imgret: d.npy: {count} descriptors of 128 dimensions, of 6 photos\n"
    for path, name in (("d.npy", "descriptors"), ("o.npy", "offsets"), ("k.npy", "keypoints")):
        expected, got = column(good.features, name), np.load(path)
        assert got.dtype == expected.dtype
        assert got.tobytes() == expected.tobytes()
    assert read("n.txt").split(b"\n")[:-1] == names_in(good.features)
    stored = column(good.features, "descriptors")
    done("export", good.features, "-o", "d.bvecs")
    assert read("d.bvecs") == pack(stored.tolist(), "B")
    done("export", good.features, "-o", "d.fvecs")
    assert read("d.fvecs") == pack(stored.tolist(), "f")


def test_decoded_descriptors_are_what_encoders_take(here):
    good = stores()
    said = done("export", good.features, "-o", "d.npy", "--decoded")
    stored = column(good.features, "descriptors").astype(np.float64)
    assert "decoded descriptors" in said
    expected = np.sqrt(stored / stored.sum(axis=1, keepdims=True))  # RootSIFT
    got = np.load("d.npy")
    assert got.dtype == np.float32
    assert np.allclose(got, expected, atol=1e-6)


# codebooks


def test_arrays_of_a_codebook(here):
    good = stores()
    assert done("export", good.words, "-o", "w.npy") == "imgret: w.npy: centroids, 4 × 128\n"
    done("export", good.words, "-o", "w.fvecs")
    centroids = np.load("w.npy")
    assert centroids.shape == (4, 128)
    assert read("w.fvecs") == pack(centroids.tolist(), "f")
    text = f"{good.projection} has no array 'centroids': choose one with --array (components, eigenvalues, mean)"
    refused(call("export", good.projection, "-o", "p.npy"), 1, text)
    done("export", good.projection, "-o", "mean.npy", "--array", "mean")
    done("export", good.projection, "-o", "mean.fvecs", "--array", "mean")
    assert np.load("mean.npy").shape == (512,)
    assert read("mean.fvecs") == pack([np.load("mean.npy").tolist()], "f")


# rankings


def test_a_ranking_as_trec_and_tsv(here):
    good = stores()
    done("export", good.ranking, "-o", "r.trec", "--names", "n.txt", "--queries", "q.txt")
    names = names_in(good.ranking)
    ids, scores = column(good.ranking, "ids"), column(good.ranking, "scores")
    lines = [line.split() for line in read("r.trec").decode().splitlines()]
    expected = [
        [names[query].decode(), "Q0", names[photo].decode(), str(rank), f"{score:.9g}", "imgret"]
        for query in range(6)
        for rank, (photo, score) in enumerate(zip(ids[query], scores[query], strict=True), 1)
    ]
    assert lines == expected
    done("export", good.ranking, "-o", "r.tsv")
    rows = [line.split("\t") for line in read("r.tsv").decode().splitlines()]
    assert rows == [["query", "rank", "name", "score"], *([query, rank, name, score] for query, _, name, rank, score, _ in expected)]
    for ending in ("run", "txt"):
        done("export", good.ranking, "-o", f"r.{ending}")
        assert read(f"r.{ending}") == read("r.trec")
    assert read("n.txt") == read("q.txt") == b"".join(name + b"\n" for name in names)


def test_a_ranking_as_ivecs_and_back(here):
    good = stores()
    done("export", good.ranking, "-o", "r.ivecs", "--names", "n.txt", "--queries", "q.txt")
    ids = column(good.ranking, "ids")
    assert read("r.ivecs") == pack(ids.tolist(), "i")
    assert done("import", "r.ivecs", "--names", "n.txt", "--queries", "q.txt", "-o", "back.h5") == (
        "imgret: back.h5: 6 queries, 6 ranks each, 6 photos in the gallery\n"
    )
    assert np.array_equal(column("back.h5", "ids"), ids)
    assert np.array_equal(column("back.h5", "scores"), np.tile(-np.arange(1, 7, dtype=np.float32), (6, 1)))
    for prefix in ("", "query_"):
        assert names_in("back.h5", prefix) == names_in(good.ranking, prefix)
    assert call("info", "back.h5", "--check").code == 0
    done("export", "back.h5", "-o", "r.ivecs")  # up to date


def test_ivecs_number_the_gallery_as_it_is_listed(here):
    """The store keeps names in byte order; shorter rows end with -1."""
    write("r.ivecs", pack([[2, 0, -1], [1, 2, 0], [-1, -1, -1]], "i"))
    write("n.txt", b"zebra\nape\nhorse\n")
    done("import", "r.ivecs", "--names", "n.txt", "-o", "r.h5")
    assert names_in("r.h5") == [b"ape", b"horse", b"zebra"]
    assert column("r.h5", "ids").tolist() == [[1, 2, -1], [0, 1, 2], [-1, -1, -1]]
    assert np.array_equal(column("r.h5", "scores"), np.array([[-1, -2, np.nan], [-1, -2, -3], [np.nan] * 3], np.float32), equal_nan=True)
    assert names_in("r.h5", "query_") == [b"query00000", b"query00001", b"query00002"]
    assert call("info", "r.h5", "--check").code == 0
    done("export", "r.h5", "-o", "r.tsv")
    assert read("r.tsv").decode().splitlines()[1:] == [
        "query00000\t1\thorse\t-1",
        "query00000\t2\tzebra\t-2",
        "query00001\t1\tape\t-1",
        "query00001\t2\thorse\t-2",
        "query00001\t3\tzebra\t-3",
    ]
    assert done("import", "r.ivecs", "--names", "n.txt", "-o", "r.h5") == "imgret: r.h5 is up to date\n"
    write("q.txt", b"a\nb\nc")
    assert "its inputs have changed" in done("import", "r.ivecs", "--names", "n.txt", "--queries", "q.txt", "-o", "r.h5")


def test_an_imported_ranking_is_evaluated(here):
    write("r.ivecs", pack([[1, 2, 0], [3, 0, 1]], "i"))
    write("n.txt", b"d\na1\nb\nc1\n")
    write("q.txt", b"a\nc\n")
    done("import", "r.ivecs", "--names", "n.txt", "--queries", "q.txt", "-o", "r.h5")
    write("t.csv", b"image,group,role\na,1,query\na1,1,gallery\nc,2,query\nc1,2,gallery\nd,3,distractor\nb,4,distractor\n")
    result = call("evaluate", "r.h5", "--protocol", "groups", "--truth", "t.csv", "--format", "tsv")
    assert result.code == 0, result.err
    assert "map\t1.000000" in [line.lower() for line in result.lines]


def test_rankings_that_cannot_be_right(here):
    write("n.txt", b"a\nb\nc\n")
    for rows, text in (
        (
            [[0, 1], [3, 0]],
            "r.ivecs: row 2 holds 3, while the gallery's 3 names have the numbers 0 to 2: list the whole gallery in --names, in its order",
        ),
        (
            [[0, -2]],
            "r.ivecs: row 1 holds -2, while the gallery's 3 names have the numbers 0 to 2: list the whole gallery in --names, in its order",
        ),
        ([[0, 1], [-1, 0]], "r.ivecs: row 2 goes on after the -1 that ends it"),
        ([[0, 1], [2, 2]], "r.ivecs: row 2 holds 2 twice"),
    ):
        write("r.ivecs", pack(rows, "i"))
        refused(call("import", "r.ivecs", "--names", "n.txt", "-o", "r.h5"), 1, text)
    write("r.ivecs", pack([[0], [1]], "i"))
    for queries, text in (
        (b"x\n", "r.ivecs has 2 rows, q.txt has 1 names: give one query per row, in the same order"),
        (b"x\nx\n", "q.txt: the name 'x' is there twice, in lines 1 and 2"),
        (b"x\n\ny\n", "--queries q.txt, line 2: the name is empty"),
    ):
        write("q.txt", queries)
        refused(call("import", "r.ivecs", "--names", "n.txt", "--queries", "q.txt", "-o", "r.h5"), 1, text)
    refused(
        call("import", "r.ivecs", "--names", "n.txt", "--queries", "gone", "-o", "r.h5"), 1, "--queries gone: no such file or directory"
    )
    write("n.txt", b"a\nb\na\n")
    refused(call("import", "r.ivecs", "--names", "n.txt", "-o", "r.h5"), 1, "n.txt: the name 'a' is there twice, in lines 1 and 3")
    assert left_over(".") == ["n.txt", "q.txt", "r.ivecs"]


# what export refuses, and what it leaves alone


def test_an_output_that_is_there(here):
    good = stores()
    write("v.npy", b"precious")
    text = "v.npy is there and holds something else: choose another -o, or give --overwrite to replace it"
    refused(call("export", good.vectors, "-o", "v.npy", "--names", "n.txt"), 1, text)
    assert read("v.npy") == b"precious"
    done("export", good.vectors, "-o", "v.npy", "--names", "n.txt", "--overwrite")
    whole = read("v.npy")
    os.utime("v.npy", ns=(0, 0))
    assert done("export", good.vectors, "-o", "v.npy", "--names", "n.txt") == "imgret: v.npy is up to date\n"
    assert os.stat("v.npy").st_mtime_ns > os.stat(good.vectors).st_mtime_ns  # for make
    for damaged in (whole[:-1], whole + b"\0", whole[:-1] + bytes([whole[-1] ^ 1])):
        write("v.npy", damaged)
        refused(call("export", good.vectors, "-o", "v.npy"), 1, text)
    write("n.txt", b"mine\n")
    write("v.npy", whole)
    text = "n.txt is there and holds something else: choose another --names, or give --overwrite to replace it"
    refused(call("export", good.vectors, "-o", "v.npy", "--names", "n.txt"), 1, text)
    assert read("n.txt") == b"mine\n"
    assert left_over(".") == ["n.txt", "v.npy"]


def test_outputs_that_are_no_files(here):
    good = stores()
    os.mkdir("folder.npy")
    os.symlink(good.vectors, "link.npy")
    os.symlink("gone/far", "dangling.npy")
    os.symlink("round.npy", "round.npy")
    os.mkfifo("pipe.npy")
    for out, text in (
        ("folder.npy", "-o 'folder.npy' names a folder, a file is needed"),
        ("link.npy", "link.npy is both read and written: choose another -o"),
        ("dangling.npy", "-o dangling.npy is not a regular file: choose another -o"),
        ("round.npy", "-o round.npy is not a regular file: choose another -o"),
        ("pipe.npy", "-o pipe.npy is not a regular file: choose another -o"),
        ("gone/v.npy", f"gone/v.npy: the folder {here}/gone does not exist: create it first"),
    ):
        refused(call("export", good.vectors, "-o", out, "--overwrite"), 1, text)
    refused(call("export", "gone.h5", "-o", "v.npy"), 1, "gone.h5: there is no such file")


def test_what_a_store_does_not_give(here):
    good = stores()
    index = f"{good.index} is an index: export the vectors store that it was made from ({good.vectors})"
    refused(call("export", good.index, "-o", "x.npy"), 1, index)
    for store, held, formats, form in (
        (good.vectors, "vectors", "npy, fvecs, bvecs, hloc", "trec"),
        (good.vectors, "vectors", "npy, fvecs, bvecs, hloc", "ivecs"),
        (good.words, "a codebook", "npy, fvecs, bvecs", "tsv"),
        (good.ranking, "a ranking", "trec, tsv, ivecs, pairs", "npy"),
    ):
        text = f"{store} holds {held}, which can be exported as {formats}, not as {form}: choose another -o"
        refused(call("export", store, "-o", f"x.{form}"), 1, text)
        refused(call("export", store, "-o", "x", "--format", form), 1, text)
    for store, held, more, kinds in (
        (good.vectors, "vectors", ["--offsets", "o.npy"], "features"),
        (good.vectors, "vectors", ["--keypoints", "k.npy"], "features"),
        (good.vectors, "vectors", ["--decoded"], "features"),
        (good.features, "features", ["--queries", "q"], "ranking"),
        (good.features, "features", ["--array", "a"], "codebook"),
        (good.words, "a codebook", ["--names", "n"], "features, vectors, words and ranking"),
    ):
        refused(call("export", store, "-o", "x.npy", *more), 1, f"{more[0]} is for {kinds}; {store} holds {held}: leave it out")
    assert left_over(".") == []


def test_a_full_disk_leaves_what_was_there(here, monkeypatch):
    good = stores()
    write("v.npy", b"precious")

    def publish(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(imgret.store.parts, "publish", publish)
    text = "v.npy cannot be written: No space left on device; what was there before is untouched"
    refused(call("export", good.vectors, "-o", "v.npy", "--overwrite"), 1, text)
    assert read("v.npy") == b"precious"
    assert left_over(".") == ["v.npy"]


# feature files of hloc


def image(file, name, count=3, dim=4, dtype=np.float16, seed=0, **more):
    """A group as hloc's extract_features.py writes it (`as_half`); returns what is in it."""
    rng = np.random.default_rng([seed, count])
    values = {
        "keypoints": (rng.random((count, 2)) * 200).astype(dtype),
        "descriptors": rng.normal(size=(dim, count)).astype(dtype),
        "scores": rng.random(count).astype(dtype),
        "image_size": np.array([640, 480]),
    } | more
    values = {key: value for key, value in values.items() if value is not None}
    group = file.create_group(name)
    for key, value in values.items():
        group.create_dataset(key, data=value)
    if "keypoints" in values:
        group["keypoints"].attrs["uncertainty"] = 1.5
    return values


def hloc(path="f.h5"):
    return h5py.File(path, "w", libver="latest")  # as hloc opens it


def test_local_features_of_hloc(here):
    counts = {"query/z.jpg": 5, "db-2/b.jpg": 3, "db/a.jpg": 4, "db/night/c.jpg": 1, "top.jpg": 2}
    with hloc() as file:
        made = {name: image(file, name, count, seed=seed) for seed, (name, count) in enumerate(counts.items())}
        image(file, "db/none.jpg", 0)
    said = done("import", "f.h5", "-o", "s.h5", "--space", "superpoint")
    assert said == "imgret: s.h5: 15 descriptors of 5 images, 4 dimensions; 1 image without any\n"
    names = sorted(made)
    assert names_in("s.h5") == [name.encode() for name in names]
    assert failures("s.h5") == {"db/none.jpg": ("no-descriptors", "no local feature was found in it")}
    with Store("s.h5") as store:
        assert store.attribute("keypoints", "columns") == "x y score"
        assert store.attribute("descriptors", "descriptor_type") == "float"
        assert store.dtype("descriptors") == np.float16
        assert store.read("image_size").tolist() == [[640, 480]] * 5
        offsets = store.read("offsets")
        for number, name in enumerate(names):
            rows = slice(offsets[number], offsets[number + 1])
            # hloc keeps the centre of the top-left pixel at (0, 0), as imgret does: nothing is added
            assert np.array_equal(store.read("keypoints")[rows, :2], made[name]["keypoints"].astype(np.float32))
            assert np.array_equal(store.read("keypoints")[rows, 2], made[name]["scores"].astype(np.float32))
            assert np.array_equal(store.read("descriptors")[rows], made[name]["descriptors"].T)
    assert call("info", "s.h5", "--check").code == 0
    assert done("import", "f.h5", "-o", "s.h5", "--space", "superpoint") == "imgret: s.h5 is up to date\n"
    text = "s.h5 was made with other parameters (space: superpoint there, disk here): choose another -o, or give --overwrite to replace it"
    refused(call("import", "f.h5", "-o", "s.h5", "--space", "disk"), 1, text)


def test_features_of_hloc_in_bounded_blocks(here, monkeypatch):
    with hloc() as file:
        image(file, "a", 50)
        image(file, "b", 7)
    done("import", "f.h5", "-o", "whole.h5")
    monkeypatch.setattr(imgret.formats.hloc, "BLOCK_BYTES", 64)
    done("import", "f.h5", "-o", "blocks.h5")
    assert content("whole.h5") == content("blocks.h5")


def test_scales_and_orientations_become_keypoint_columns(here):
    with hloc() as file:
        made = image(file, "a", 3, scales=np.array([1, 2, 3], np.float16), oris=np.array([0, 90, 180], np.float16))
        image(file, "b", 2, scores=None)
    done("import", "f.h5", "-o", "s.h5")
    with Store("s.h5") as store:
        assert store.attribute("keypoints", "columns") == "x y scale angle score"
        keypoints = store.read("keypoints")
    assert np.array_equal(keypoints[:3, 2:], np.stack([[1, 2, 3], [0, 90, 180], made["scores"]], axis=1))
    assert np.isnan(keypoints[3:, 2:]).all()


@pytest.mark.parametrize(
    ("dtypes", "stored", "kind"),
    [
        (["float16", "float32"], "float32", "float"),
        (["float64"], "float32", "float"),
        (["uint8"], "uint8", "uint8"),
        (["uint8", "float16"], "float16", "float"),
        ([">f4"], "float32", "float"),
    ],
)
def test_types_of_descriptors(here, dtypes, stored, kind):
    expected = []
    with hloc() as file:
        for number, dtype in enumerate(dtypes):
            descriptors = np.arange(12).reshape(4, 3).astype(dtype) + number
            image(file, str(number), descriptors=descriptors)
            expected.append(descriptors.T)
    done("import", "f.h5", "-o", "s.h5")
    got = column("s.h5", "descriptors")
    assert got.dtype == stored
    assert np.array_equal(got, np.concatenate(expected))
    with Store("s.h5") as store:
        assert store.attribute("descriptors", "descriptor_type") == kind


def test_global_descriptors_of_hloc(here):
    rng = np.random.default_rng(0)
    rows = rng.normal(size=(3, 8)).astype(np.float16)
    with hloc() as file:
        for name, row in zip(("db/b", "db/a", "c"), rows, strict=True):
            group = file.create_group(name)
            group["global_descriptor"] = row
            group["image_size"] = np.array([640, 480])
    assert done("import", "f.h5", "-o", "v.h5", "--space", "netvlad") == "imgret: v.h5: 3 vectors, 8 dimensions\n"
    assert names_in("v.h5") == [b"c", b"db/a", b"db/b"]
    assert column("v.h5", "vectors").dtype == np.float32
    assert np.array_equal(column("v.h5", "vectors"), rows[::-1])
    done("index", "v.h5", "-o", "i.h5")
    assert call("search", "i.h5", "v.h5", "-k", "1").lines[1:] == ["c\t1\tc\t1\t", "db/a\t1\tdb/a\t1\t", "db/b\t1\tdb/b\t1\t"]
    text = "these vectors came from elsewhere, so no photo can be described like them: give a vectors store as the query"
    refused(call("search", "i.h5", stores().photos), 1, text)


def test_imported_features_through_every_step(here):
    """The descriptors of imgret's own features, by way of a file as hloc writes it, give the same vectors."""
    good = stores()
    with Store(good.features) as store, hloc() as file:
        offsets = store.read("offsets")
        for number, name in enumerate(store.texts("names")):
            rows = slice(offsets[number], offsets[number + 1])
            keypoints, descriptors = store.read("keypoints")[rows], store.read("descriptors")[rows]
            image(file, name.decode(), keypoints=keypoints[:, :2], descriptors=descriptors.T, scores=keypoints[:, 4])
    done("import", "f.h5", "-o", "f2.h5")
    done("extract", good.photos, "-o", "sift.h5", "-m", "sift", "-j1")  # decoded as it is stored, like what is imported
    assert matches_columns("f2.h5", "sift.h5", "offsets", "descriptors")
    for method, more in (("kmeans", ["--size", "4"]), ("gmm", ["--size", "2"])):
        for features in ("f2", "sift"):
            done("codebook", f"{features}.h5", "-m", method, "-o", f"{features}-{method}.h5", "-j1", *more)
            done("encode", f"{features}.h5", "-c", f"{features}-{method}.h5", "-o", f"{features}-{method}-v.h5", "-j1")
        assert matches_columns(f"f2-{method}-v.h5", f"sift-{method}-v.h5", "vectors")
    done("index", "f2-kmeans-v.h5", "-o", "i.h5")
    by_features = call("search", "i.h5", "f2.h5", "-k", "3")
    assert by_features.code == 0
    assert by_features.lines == call("search", "i.h5", "f2-kmeans-v.h5", "-k", "3").lines
    text = "these features came from elsewhere, so no photo can be described like them: give a features store as the query"
    refused(call("search", "i.h5", good.photos), 1, text)
    text = "sift.h5 was not made as the photos in i.h5 were (sift and imported-features): give photos, or a store made in the same way"
    refused(call("search", "i.h5", "sift.h5"), 1, text)
    text = (
        "f2-kmeans.h5 was learned in another space than sift.h5 is in (imported-features and sift): "
        "learn it on features made in the same way"
    )
    refused(call("encode", "sift.h5", "-c", "f2-kmeans.h5", "-o", "x.h5"), 1, text)
    assert call("info", "f2-kmeans-v.h5", "--check").code == 0


def bad_images():
    """(what is wrong: keyword arguments of `image`, the sentence about it)."""
    again = "if hloc was stopped while it wrote, let it extract this image again"
    values = np.ones((4, 3), np.float16)
    nan = values.copy()
    nan[2, 1] = np.nan
    return [
        ({"descriptors": None}, f"it has no descriptors; {again}"),
        ({"keypoints": None}, f"it has no keypoints; {again}"),
        ({"keypoints": np.ones((3, 4))}, "keypoints has the shape (3, 4), not (N, 2)"),
        ({"keypoints": np.ones(3)}, "keypoints has the shape (3,), not (N, 2)"),
        ({"keypoints": np.float32(3)}, "keypoints has the shape (), not (N, 2)"),
        ({"keypoints": h5py.Empty("f4")}, "keypoints has the shape None, not (N, 2)"),
        ({"keypoints": np.ones((3, 2), int)}, "keypoints is of the type int64, floats are needed"),
        ({"keypoints": np.array([["a", "b"]] * 3, dtype="S1")}, "keypoints is of the type |S1, floats are needed"),
        ({"descriptors": np.ones((4, 3), "c8")}, "descriptors is of the type complex64, uint8 or floats are needed"),
        ({"descriptors": np.ones((4, 3), "i2")}, "descriptors is of the type int16, uint8 or floats are needed"),
        ({"descriptors": values.T}, "it has 3 keypoints, and descriptors of the shape (3, 4), not (D, 3)"),
        ({"scores": np.ones(2)}, "it has 3 keypoints and 2 scores"),
        ({"dim": 5}, "its descriptors have 5 dimensions, those of 'good' 4; all need the same number, from 1 to 1048576"),
        ({"descriptors": nan}, "descriptors holds NaN or infinite values"),
        ({"keypoints": np.full((3, 2), np.inf)}, "keypoints holds NaN or infinite values"),
        ({"scores": np.array([1, np.nan, 2])}, "scores holds NaN or infinite values"),
        ({"descriptors": np.full((4, 3), 1e300)}, "descriptors holds NaN or infinite values"),
        ({"image_size": np.array([0, 4])}, "image_size is [0, 4], which is no width and height"),
        ({"image_size": np.array([1 << 40, 4])}, "image_size is [1099511627776, 4], which is no width and height"),
        ({"image_size": np.array([1, 2, 3])}, "image_size does not hold a width and a height"),
        ({"global_descriptor": np.ones(4)}, "it has local features and a global_descriptor: keep them in two files, as hloc does"),
        (
            {"global_descriptor": np.ones(4), "keypoints": None, "descriptors": None},
            "it has a global_descriptor, while 'good' has local features: give one sort",
        ),
    ]


@pytest.mark.parametrize(("change", "text"), bad_images())
def test_an_image_that_cannot_be_right_is_recorded_and_the_others_taken(here, change, text):
    with hloc("good.h5") as file:
        image(file, "good")
    with hloc() as file:
        image(file, "good")
        image(file, "a/bad.jpg", **change)  # folders are looked into last
    done("import", "good.h5", "-o", "wanted.h5")
    said = done("import", "f.h5", "-o", "s.h5")
    assert said.splitlines() == [
        "imgret: s.h5: 3 descriptors of 1 image, 4 dimensions",
        "imgret: warning: f.h5: 1 of 2 images could not be used (imgret info --failed), for example 'a/bad.jpg': " + text,
    ]
    code = "not-finite" if "NaN" in text else "truncated" if "hloc was stopped" in text else "malformed"
    assert failures("s.h5") == {"a/bad.jpg": (code, text)}
    assert names_in("s.h5") == [b"good"]
    assert matches_columns("s.h5", "wanted.h5", "offsets", "keypoints", "descriptors", "image_size")
    assert call("info", "s.h5", "--check").code == 0
    with hloc() as file:
        image(file, "a/bad.jpg", **change)
    if "dimensions" not in text and "give one sort" not in text:
        refused(call("import", "f.h5", "-o", "t.h5"), 1, f"f.h5, image 'a/bad.jpg': {text}")
        assert not os.path.exists("t.h5")


def test_many_bad_values_take_one_more_pass(here, monkeypatch):
    with hloc() as file:
        for number in range(20):
            image(file, f"{number:02d}.jpg", 2, scores=np.full(2, np.nan if number % 2 else 1, np.float16))
    passes = []
    real = imgret.stages.import_._copy_hloc
    monkeypatch.setattr(imgret.stages.import_, "_copy_hloc", lambda *given: passes.append(1) or real(*given))
    done("import", "f.h5", "-o", "s.h5")
    assert len(passes) == 2
    assert len(names_in("s.h5")) == len(failures("s.h5")) == 10


def test_the_most_common_sort_of_images_is_taken(here):
    with hloc() as file:
        file.create_group("a")["global_descriptor"] = np.ones(4, np.float32)
        image(file, "b", dim=5)
        image(file, "c/1")
        image(file, "c/2")
    done("import", "f.h5", "-o", "s.h5")
    assert names_in("s.h5") == [b"c/1", b"c/2"]
    assert set(failures("s.h5")) == {"a", "b"}


def test_files_that_are_not_hlocs(here):
    write("text.h5", b"hello there, this is no HDF5")
    with hloc("empty.h5"):
        pass
    with hloc("matches.h5") as file:
        file["a.jpg/b.jpg/matches0"] = np.zeros(3, int)
    with hloc("root.h5") as file:
        file["keypoints"] = np.zeros((3, 2))
    with hloc("flat.h5") as file:
        file["features"] = np.zeros((3, 8), np.float32)
        file["image_names"] = [b"a.jpg", b"b.jpg", b"c.jpg"]
    with hloc("hollow.h5") as file:
        file.create_group("b.jpg")
    with hloc("none.h5") as file:
        image(file, "a", 0)
    whole = read("none.h5")
    write("cut.h5", whole[:-100])
    no = "is not a feature file of hloc"
    expected = "a group for each image is expected, with keypoints and descriptors in it, or global_descriptor"
    for path, text in (
        ("gone.h5", "gone.h5: there is no such file"),
        ("text.h5", f"text.h5 {no} (not HDF5)"),
        ("empty.h5", f"empty.h5 {no}: it holds no image; {expected}"),
        ("matches.h5", "matches.h5, image 'a.jpg/b.jpg': it holds matches0, not keypoints or global_descriptor"),
        ("root.h5", f"root.h5 {no}: it has datasets at its top (keypoints), where {expected}"),
        ("flat.h5", f"flat.h5 {no}: it has datasets at its top (features, image_names), where {expected}"),
        (
            "hollow.h5",
            "hollow.h5, image 'b.jpg': it holds nothing; if hloc was stopped while it wrote, let it extract this image again",
        ),
        ("none.h5", "none.h5: no image in it has a descriptor"),
        (stores().features, f"{stores().features} is a store of imgret's own: the other steps take it as it is"),
    ):
        refused(call("import", path, "-o", "s.h5"), 1, text)
    result = call("import", "cut.h5", "-o", "s.h5")
    assert (result.code, result.out) == (1, b"")
    assert result.err.startswith("imgret: error: cut.h5 cannot be read: ")
    assert not os.path.exists("s.h5")


def test_links_are_not_followed_and_cycles_end(here):
    links = "it is a link to elsewhere, and links are not followed: copy the file with its links resolved"
    for name, link, text in (
        ("soft.jpg", h5py.SoftLink("/good"), links),
        ("ext.jpg", h5py.ExternalLink("/etc/passwd", "/"), links),
        ("root", None, "it is in the file under another name too: hloc writes no such file"),
    ):
        with hloc() as file:
            image(file, "good")
            file[name] = file["/"] if link is None else link
        done("import", "f.h5", "-o", "s.h5")
        assert (names_in("s.h5"), failures("s.h5")) == ([b"good"], {name: ("malformed", text)})
        os.unlink("s.h5")
    with hloc() as file:
        image(file, "/".join("d" * 70))
    refused(
        call("import", "f.h5", "-o", "s.h5"), 1, f"f.h5, image '{'/'.join('d' * 65)[:80]}': this is no path of an image, or a very long one"
    )


def test_small_files_do_not_stand_for_huge_ones(here):
    """Chunks that were never written, unknown compression, data outside the file, and datasets that share their bytes."""
    plain = "is compressed, virtual or outside the file: run h5repack -f NONE on it first"
    lacking = "is not all there: the file is damaged"
    many = 1 << 40
    write("data.bin", bytes(24))
    cases = (
        ("keypoints", lambda group: group.create_dataset("keypoints", (many, 2), "f4", chunks=(1024, 2)), lacking),
        ("keypoints", lambda group: group.create_dataset("keypoints", (many, 2), "f4"), lacking),
        ("descriptors", lambda group: group.create_dataset("descriptors", data=np.zeros((4, 3), "f4"), scaleoffset=2), plain),
        ("descriptors", lambda group: group.create_dataset("descriptors", (4, 3), h5py.vlen_dtype(np.float32)), None),
        ("scores", lambda group: group.create_dataset("scores", (3,), "f4", external=[("data.bin", 0, 24)]), plain),
    )
    for name, make, text in cases:
        with hloc() as file:
            image(file, "good", **{name: None})
            make(file["good"])
        text = text or "is of the type object, uint8 or floats are needed"
        refused(call("import", "f.h5", "-o", "s.h5"), 1, f"f.h5, image 'good': {name} {text}")
    with hloc() as file:
        shared = image(file, "0", 2000) and file["0"]
        for number in range(1, 100):
            group = file.create_group(str(number))
            for key in ("keypoints", "descriptors"):
                group[key] = shared[key]
    done("import", "f.h5", "-o", "s.h5")
    assert len(names_in("s.h5")) < 3
    assert {reason.partition(" ")[2] for _, reason in failures("s.h5").values()} == {lacking}


@pytest.mark.parametrize(
    "packing",
    [
        {"compression": "gzip"},
        {"compression": "lzf"},
        {"compression": "gzip", "compression_opts": 9, "shuffle": True},
        {"compression": "lzf", "shuffle": True, "fletcher32": True},
        {"shuffle": True},
        {"fletcher32": True},
    ],
)
def test_packed_images(here, packing):
    with hloc("plain.h5") as file:
        made = {name: image(file, name, 300, dim=32, seed=seed) for seed, name in enumerate(("a", "b/c", "d"))}
        made["d"]["scores"][:] = 0
        file["d/scores"][:] = 0
    with hloc() as file:
        for name, values in made.items():
            for key, value in values.items():
                chunks = (8, 100) if key == "descriptors" else (100, 2) if key == "keypoints" else True
                file.create_dataset(f"{name}/{key}", data=value, chunks=chunks, **packing)
    done("import", "plain.h5", "-o", "wanted.h5")
    done("import", "f.h5", "-o", "s.h5")
    assert content("s.h5") == content("wanted.h5")


def bombs():
    """What is wrong: a function that makes the descriptors of an image of 4 x 3, and the sentence."""
    too_much = "unpacks to more than a file of this size can mean: run h5repack -f NONE on it first"
    not_what = "does not unpack to what it should: the file is damaged"
    lacking = "is not all there: the file is damaged"

    def direct(data, **packing):
        def make(group):
            dataset = group.create_dataset("descriptors", (4, 3), "f4", chunks=(4, 3), **packing)
            dataset.id.write_direct_chunk((0, 0), data)

        return make

    def never_written(group):
        group.create_dataset("descriptors", (4, 3), "f4", chunks=(2, 3), compression="gzip")

    def whole(shape, chunks):
        def make(group):
            for name in ("keypoints", "scores"):
                del group[name]
            group["keypoints"] = np.zeros((shape[1], 2), np.float32)
            group.create_dataset("descriptors", shape, "f4", chunks=chunks, compression="gzip")

        return make

    gzip, lzf = {"compression": "gzip"}, {"compression": "lzf"}
    return {
        "a bomb of gzip": (direct(zlib.compress(bytes(1 << 18)), **gzip), "too-large", not_what),
        "a bomb of LZF": (direct(b"\x00\x00" + b"\xe0\xff\x00" * 300, **lzf), "too-large", not_what),
        "too little": (direct(zlib.compress(bytes(40)), **gzip), "truncated", not_what),
        "too little LZF": (direct(b"\x03abcd", **lzf), "truncated", not_what),
        "a cut stream": (direct(zlib.compress(np.random.default_rng(0).bytes(48))[:-9], **gzip), "truncated", not_what),
        "no stream": (direct(b"nonsense", **gzip), "truncated", not_what),
        "a huge chunk": (direct(bytes(9 << 20), **gzip), "truncated", lacking),
        "chunks that were never written": (never_written, "truncated", lacking),
        "a chunk of a gigabyte": (whole((1 << 10, 1 << 18), (1 << 10, 1 << 18)), "too-large", too_much),
        "terabytes": (whole((1 << 19, 1 << 20), (1 << 10, 1 << 10)), "too-large", too_much),
    }


@pytest.mark.parametrize("kind", bombs())
def test_packed_images_are_bounded(here, kind):
    make, code, text = bombs()[kind]
    with hloc() as file:
        image(file, "good")
        image(file, "bad.jpg", descriptors=None)
        make(file["bad.jpg"])
    tracemalloc.start()
    done("import", "f.h5", "-o", "s.h5")
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 30 << 20
    ((found, reason),) = failures("s.h5").values()
    assert (found, reason.partition(" ")[2]) == (code, text)
    assert names_in("s.h5") == [b"good"]


# what export writes for hloc and COLMAP


def test_global_descriptors_come_back(here):
    good = stores()
    said = done("export", good.vectors, "-o", "global-feats.h5", "--format", "hloc")
    assert said == "imgret: global-feats.h5: 6 vectors of 512 dimensions\n"
    with h5py.File("global-feats.h5", "r", libver="latest") as file, Store(good.vectors) as store:  # as hloc opens it
        names = []  # as its pairs_from_retrieval finds them
        file.visititems(lambda _, found: names.append(found.parent.name.strip("/")) if isinstance(found, h5py.Dataset) else None)
        assert sorted(set(names)) == [name.decode() for name in store.texts("names")]
        for name, row in zip(sorted(set(names)), store.read("vectors"), strict=True):
            assert np.array_equal(file[name]["global_descriptor"][()], row)
            assert file[name]["image_size"][()].tolist() == [160, 120]
    done("import", "global-feats.h5", "-o", "back.h5")
    assert matches_columns("back.h5", good.vectors, "vectors", "image_size")
    assert names_in("back.h5") == names_in(good.vectors)
    assert done("export", good.vectors, "-o", "global-feats.h5", "--format", "hloc") == "imgret: global-feats.h5 is up to date\n"
    assert left_over(".") == ["back.h5", "global-feats.h5"]


def test_names_that_are_no_groups(here):
    np.save("v.npy", np.eye(2, dtype=np.float32))
    for name in (b"/abs/a.jpg", b"a/global_descriptor", b"./a"):
        write("n.txt", name + b"\nb\n")
        done("import", "v.npy", "--names", "n.txt", "-o", "v.h5", "--overwrite")
        remedy = "name photos relative to a folder (extract --root)"
        text = f"the name '{name.decode()}' cannot be that of a group in a file of hloc: {remedy}"
        refused(call("export", "v.h5", "-o", "g.h5", "--format", "hloc"), 1, text)
    listed = [b"caf\xe9/\xff x.jpg", b"new\nline"]
    write("n.txt", b"\0".join(listed))
    done("import", "v.npy", "--names", "n.txt", "-0", "-o", "v.h5")
    done("export", "v.h5", "-o", "g.h5", "--format", "hloc")
    done("import", "g.h5", "-o", "back.h5")
    assert names_in("back.h5") == listed


def ranked(queries, gallery, rows):
    """A ranking store of these lists, by way of .ivecs."""
    k = max(map(len, rows))
    write("r.ivecs", pack([row + [-1] * (k - len(row)) for row in rows], "i"))
    write("q.txt", b"\0".join(queries))
    write("g.txt", b"\0".join(gallery))
    done("import", "r.ivecs", "--names", "g.txt", "--queries", "q.txt", "-0", "-o", "r.h5", "--overwrite")
    return "r.h5"


def test_pairs_without_the_photo_itself(here):
    store = ranked([b"a.jpg", b"caf\xe9.jpg", b"q"], [b"a.jpg", b"b.jpg", b"caf\xe9.jpg"], [[0, 2, 1], [1, 0, 2], [1]])
    done("export", store, "-o", "pairs.txt", "--format", "pairs")
    assert read("pairs.txt").splitlines() == [
        b"a.jpg caf\xe9.jpg",
        b"a.jpg b.jpg",
        b"caf\xe9.jpg b.jpg",
        b"caf\xe9.jpg a.jpg",
        b"q b.jpg",
    ]
    done("export", store, "-o", "pairs.txt", "--format", "pairs", "-k", "1", "--overwrite")
    assert read("pairs.txt").splitlines() == [b"a.jpg caf\xe9.jpg", b"caf\xe9.jpg b.jpg", b"q b.jpg"]
    done("export", store, "-o", "r.tsv", "-k", "1")
    assert len(read("r.tsv").splitlines()) == 4
    refused(
        call("export", stores().vectors, "-o", "v.npy", "-k", "1"), 1, f"-k is for ranking; {stores().vectors} holds vectors: leave it out"
    )


def test_a_photo_that_asks_with_several_boxes_has_each_pair_once(here):
    good = stores()
    write("b.csv", b"image,x1,y1,x2,y2\n0.png,0,0,100,100\n0.png,40,20,150,110\n")
    done("extract", good.photos, "--boxes", "b.csv", "-o", "q.h5", "-j1")
    done("search", good.index, "q.h5", "-o", "r.h5")
    done("export", "r.h5", "-o", "pairs.txt", "--format", "pairs")
    assert sorted(read("pairs.txt").splitlines()) == [b"0.png %d.png" % number for number in range(1, 6)]


@pytest.mark.parametrize(("name", "what"), [("a b", "holds white space, which ends a name"), ("#a", "begins with #, as a comment does")])
def test_names_that_pairs_cannot_hold(here, name, what):
    store = ranked([name.encode()], [b"b"], [[0]])
    refused(
        call("export", store, "-o", "p.txt", "--format", "pairs"), 1, f"r.h5: the name '{name}' {what} in a file of pairs: rename the photo"
    )
    assert not os.path.exists("p.txt")


def test_names_of_images_are_bytes(here):
    with hloc() as file:
        image(file, "plain.jpg")
        image(file, b"caf\xe9/\xff.jpg")
    done("import", "f.h5", "-o", "s.h5")
    assert names_in("s.h5") == [b"caf\xe9/\xff.jpg", b"plain.jpg"]


def test_real_vectors_there_and_back(data, here):
    """The 128-dimensional descriptors of Oxford5k."""
    folder = data / "oxford5k"
    done("import", folder / "features_128.fvecs", "--names", folder / "names.txt", "-o", "v.h5")
    done("export", "v.h5", "-o", "v.fvecs", "--names", "n.txt")
    names, listed = read(folder / "names.txt").split(), read("n.txt").split()
    row = 4 * 129
    original, got = read(folder / "features_128.fvecs"), read("v.fvecs")
    assert len(original) == len(got) == row * len(names)
    where = {name: number for number, name in enumerate(listed)}
    assert all(original[row * n : row * n + row] == got[row * where[name] : row * where[name] + row] for n, name in enumerate(names))
