"""The revisited ground truth: the authors' pickle read as data, and the protocol against their definition by slow loops."""

import collections
import contextlib
import json
import os
import pathlib
import pickle
import re
import sys
import tracemalloc

import numpy as np
import pytest
import reference_evaluation as reference
from helpers import call
from helpers import refused as refused_command

import imgret.formats.revisited
from imgret import registry
from imgret.errors import ImgretError
from imgret.evaluation import PROTOCOLS
from imgret.formats import unpickle
from imgret.formats.boxes import Box, read_boxes
from imgret.formats.groundtruth import read_oxford
from imgret.formats.lists import RankedLists
from imgret.formats.revisited import read_revisited

SETTINGS = {"easy": (("easy",), ("junk", "hard")), "medium": (("easy", "hard"), ("junk",)), "hard": (("hard",), ("junk", "easy"))}


def refused(sentence):
    return pytest.raises(ImgretError, match=f"^{re.escape(sentence)}$")


def truth_of(seed, photos=60, queries=6):
    """A random ground truth; the last query has no hard photo."""
    rng = np.random.default_rng(seed)
    gnd = []
    for query in range(queries):
        chosen = rng.permutation(photos)[:20].tolist()
        easy, hard, junk = chosen[:7], chosen[7:12], chosen[12:]
        gnd.append({"bbx": [1.5, 2, 30.25, 40], "easy": easy, "hard": [] if query == queries - 1 else hard, "junk": junk})
    return {"imlist": [f"im{n:03d}" for n in range(photos)], "qimlist": [f"q{n}" for n in range(queries)], "gnd": gnd}


def save(path, truth, **options):
    path.write_bytes(json.dumps(truth).encode() if path.suffix == ".json" else pickle.dumps(truth, **options))
    return path


def lists_of(truth, seed, *, with_queries=False, length=None):
    """Random rankings of the gallery, some distractors and, if asked for, the query photos themselves."""
    rng = np.random.default_rng(seed)
    names = sorted(f"{name}.jpg".encode() for name in truth["imlist"])
    names += [b"zz%d.jpg" % number for number in range(15)]
    if with_queries:
        names += [f"{name}.jpg".encode() for name in truth["qimlist"]]
    names.sort()
    ids = np.array([rng.permutation(len(names)) for _ in truth["qimlist"]], dtype=np.int32)[:, :length]
    asking = [f"{name}.jpg".encode() for name in truth["qimlist"]]
    return RankedLists("run", asking, asking, names, ids)


def slow(truth, lists, query, setting):
    """(list without what is taken out, positives) by the authors' definition."""
    counting, removed = SETTINGS[setting]
    entry = truth["gnd"][query]
    positives = {truth["imlist"][photo] for level in counting for photo in entry[level]}
    junk = {truth["imlist"][photo] for level in removed for photo in entry[level]} | set(truth["qimlist"])
    ranked = [lists.names[photo].decode().removesuffix(".jpg") for photo in lists.ids[query]]
    return [name for name in ranked if name not in junk], positives


@pytest.mark.parametrize("with_queries", [False, True])
@pytest.mark.parametrize("length", [None, 30])
@pytest.mark.parametrize("suffix", [".pkl", ".json"])
def test_against_the_loop(tmp_path, with_queries, length, suffix):
    truth = truth_of(1)
    lists = lists_of(truth, 2, with_queries=with_queries, length=length)
    result = registry.load(PROTOCOLS, "roxford5k", "protocol")().evaluate(lists, save(tmp_path / f"gnd{suffix}", truth))
    for setting in SETTINGS:
        asking = [query for query in range(6) if setting != "hard" or query != 5]
        answers = [slow(truth, lists, query, setting) for query in asking]
        records = [record for record in result.per_query if record["setting"] == setting]
        assert [record["query"] for record in records] == [f"q{query}" for query in asking]
        aps = [reference.trapezoid(ranked, positives) for ranked, positives in answers]
        assert [record["ap"] for record in records] == pytest.approx(aps, rel=1e-12)
        assert [record["first_hit"] for record in records] == [reference.first_hit(*answer) for answer in answers]
        assert result.measures[f"{setting}.map"] == pytest.approx(np.mean(aps), rel=1e-12)
        for k in (1, 5, 10):
            expected = np.mean([reference.revisited_precision_at(*answer, k) for answer in answers])
            assert result.measures[f"{setting}.mp@{k}"] == pytest.approx(expected, rel=1e-12)
    assert result.settings == {
        "easy": {"queries": 6, "excluded": 0},
        "medium": {"queries": 6, "excluded": 0},
        "hard": {"queries": 5, "excluded": 1},
    }
    noted = "6 query photos in the gallery: taken out of every list, as the official gallery has none"
    assert (noted in result.warnings) is with_queries


def test_queries_and_photos_that_are_not_there(tmp_path):
    truth = truth_of(3)
    path = save(tmp_path / "gnd.pkl", truth)
    names = [b"im000.jpg", b"im001.jpg"]
    result = registry.load(PROTOCOLS, "rparis6k", "protocol")().evaluate(
        RankedLists("run", [b"q0.jpg", b"other"], [b"q0.jpg", b"other"], names, np.array([[0, 1], [1, 0]])), path
    )
    assert result.skipped == 1
    assert "1 query of the ranking not in the ground truth: skipped" in result.warnings
    assert "5 queries of the ground truth without a list in the ranking: left out of the means" in result.warnings
    wanted = {truth["imlist"][photo] for level in ("easy", "hard") for photo in truth["gnd"][0][level]} - {"im000", "im001"}
    assert result.absent == sorted(wanted)
    for queries, photos, sentence in (
        ([b"x"], names, f"run and {path} share no query: the ranking asks with 'x', the ground truth with 'q0'"),
        (
            [b"q0"],
            [b"y"],
            f"run and {path} share no photo: the ranking has 'y', the ground truth 'im000'; is this the ranking of another collection?",
        ),
    ):
        with refused(sentence):
            registry.load(PROTOCOLS, "roxford5k", "protocol")().evaluate(
                RankedLists("run", queries, queries, photos, np.array([[0]])), path
            )
    with refused(f"run has two gallery photos that {path} calls 'im000': 'a/im000.jpg' and 'b/im000.png'; keep one"):
        registry.load(PROTOCOLS, "roxford5k", "protocol")().evaluate(
            RankedLists("run", [b"q0"], [b"q0"], [b"a/im000.jpg", b"b/im000.png"], np.array([[0]])), path
        )


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_every_pickle_of_arrays_is_read(tmp_path, protocol):
    truth = truth_of(4)
    for entry in truth["gnd"]:
        entry["bbx"] = np.array(entry["bbx"], dtype=np.float32)
        entry["easy"] = np.array(entry["easy"], dtype=np.uint16)
        entry["hard"] = np.array(entry["hard"], dtype=">i4")
    truth["imlist"] = tuple(truth["imlist"])
    read = read_revisited(save(tmp_path / "gnd.pkl", truth, protocol=protocol))
    for query, entry in zip(read.queries, truth["gnd"], strict=True):
        assert query.box == tuple(entry["bbx"].tolist())
        for level in ("easy", "hard", "junk"):
            assert getattr(query, level).tolist() == list(entry[level])


def test_arrays_in_every_shape(tmp_path):
    values = {"c": np.arange(6, dtype=np.int64).reshape(2, 3), "f": np.asfortranarray(np.arange(6.0).reshape(2, 3)), "n": np.float32(2.5)}
    loaded = unpickle.load(save(tmp_path / "x.pkl", values))
    assert [unpickle.plain(loaded[name]) for name in "cfn"] == [values[name].tolist() for name in "cfn"]


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_numbers_of_numpy_and_dicts_of_every_kind(tmp_path, protocol):
    truth = truth_of(6)
    for entry in truth["gnd"]:
        entry["bbx"] = list(np.array(entry["bbx"], dtype=np.float32))
        entry["easy"] = list(np.array(entry["easy"], dtype=np.int64))
        entry["hard"] = tuple(np.array(entry["hard"], dtype=np.uint16))
    truth["gnd"] = [collections.OrderedDict(entry) for entry in truth["gnd"][:3]] + truth["gnd"][3:]
    lists = collections.defaultdict(list)
    lists.update(truth["gnd"][3])
    truth["gnd"][3], truth["imlist"] = lists, np.array(truth["imlist"])
    whole = collections.OrderedDict(truth)
    for data in (pickle.dumps(whole, protocol=protocol), pickle.dumps(whole, protocol=protocol).replace(b"numpy.core", b"numpy._core")):
        if protocol > 3 and b"numpy._core" in data:
            continue  # its length comes before a name there
        path = tmp_path / "gnd.pkl"
        path.write_bytes(data)
        read = read_revisited(path)
        assert read.gallery == [f"im{number:03d}".encode() for number in range(60)]
        for query, entry in zip(read.queries, truth["gnd"], strict=True):
            assert query.box == (1.5, 2, 30.25, 40)
            assert [getattr(query, level).tolist() for level in ("easy", "hard", "junk")] == [
                list(map(int, entry[level])) for level in ("easy", "hard", "junk")
            ]


def test_an_ordered_dict_of_python_2(tmp_path):
    """It has its items as an argument; its text is not Unicode."""
    items = rb"(lp1|(lp2|S'b\xe9'|aI1|aa(lp3|S'a'|aI2|aa".replace(b"|", b"\n")
    (tmp_path / "x.pkl").write_bytes(b"ccollections\nOrderedDict\np0\n(" + items + b"tR.")
    assert unpickle.load(tmp_path / "x.pkl") == {"b\xe9": 1, "a": 2}


def reduced(count):
    """A pickle of a list of so many copies of a text of 100 kB, by calls that look harmless."""
    text = b"X" + (100_000).to_bytes(4, "little") + b"a" * 100_000
    return b"\x80\x02c_codecs\nencode\nq\x00" + text + b"q\x01](" + b"h\x00h\x01\x85R" * count + b"e."


GROWS = {
    "calls": (reduced(20_000), "more memory than a file of its size can need"),
    "the memo": (
        b"\x80\x02]" + b"".join(b"r" + (2000 * n).to_bytes(4, "little") for n in range(1, 100_000)) + b".",
        "memory it does not use (LONG_BINPUT 2000)",
    ),
    "the memo, in steps": (
        b"\x80\x02]" + b"".join(b"r" + (1020 * n).to_bytes(4, "little") for n in range(1, 100_000)) + b".",
        "more memory than a file of its size can need",
    ),
    "sets": (b"\x80\x04(" + b"\x8f" * 600_000 + b"l.", "more memory than a file of its size can need"),
    "lists": (b"\x80\x04(" + b"]" * 5000 + b"l.", "more than 4096 containers"),
    "nested": (b"\x80\x04" + b"](" * 5000 + b".", "more than 4096 containers"),
    "steps": (b"\x80\x04N" + b"20" * (1 << 17) + b".", "more than 131072 steps"),
    "whole numbers of one hash": (
        b"\x80\x02}(" + b"".join(b"\x8a\x0c" + (n * sys.hash_info.modulus).to_bytes(12, "little") + b"N" for n in range(1, 999)) + b"u.",
        "keys that are neither text nor whole numbers",
    ),
    "tuples": (b"\x80\x02}K\x01\x85Ns.", "keys that are neither text nor whole numbers"),
    "members of a set": (b"\x80\x04\x8f(K\x01\x85\x90.", "keys that are neither text nor whole numbers"),
}


@pytest.mark.parametrize("kind", GROWS)
def test_small_pickles_do_not_stand_for_much(tmp_path, monkeypatch, kind):
    data, asks = GROWS[kind]
    if kind != "sets":
        monkeypatch.setattr(unpickle, "_STEPS", 1 << 17)
        monkeypatch.setattr(unpickle, "_CONTAINERS", 1 << 12)
    path = tmp_path / "x.pkl"
    path.write_bytes(data)
    tracemalloc.start()
    try:
        with refused(f"{path} is refused: it is a pickle that asks for {asks}; only plain data and NumPy arrays are read"):
            unpickle.load(path)
        assert tracemalloc.get_traced_memory()[1] < 64 * len(data) + (48 << 20)
    finally:
        tracemalloc.stop()


def test_deep_nesting_is_read_or_refused(tmp_path):
    path = tmp_path / "x.pkl"
    for data in (b"\x80\x04" + b"]" * 200_000 + b"a" * 199_999 + b".", b"\x80\x04N" + b"\x85" * 200_000 + b"."):
        path.write_bytes(data)
        with refused(f"{path} is not a revisited ground truth: `imlist`, `qimlist` and `gnd` are expected"):
            read_revisited(path)
    path = tmp_path / "x.json"
    path.write_text("[" * 200_000)
    with pytest.raises(ImgretError, match="is not JSON that can be read"):
        read_revisited(path)
    path.write_text("[" + "{}," * (1 << 21) + "0]")
    with refused(f"{path} holds more than 2097152 lists and objects: this cannot be right"):
        read_revisited(path)


def test_lists_that_queries_share_are_no_way_to_grow(tmp_path, monkeypatch):
    monkeypatch.setattr(imgret.formats.revisited, "LABELS", 1000)
    shared = list(range(900))
    truth = {"imlist": [f"a{n}" for n in range(900)], "qimlist": [f"q{n}" for n in range(90)]}
    truth["gnd"] = [{"easy": shared, "hard": [], "junk": []}] * 90
    path = save(tmp_path / "gnd.pkl", truth)
    with refused(f"{path} names more than {4 * path.stat().st_size} photos in `gnd`: this cannot be right"):
        read_revisited(path)


class Runs:
    """What a stranger's pickle may ask for."""

    def __init__(self, function, *arguments):
        self.call = function, arguments

    def __reduce__(self):
        return self.call


def _fake_array(shape, dtype="i8", raw=b""):
    """A pickle of an array whose shape is not its content's."""
    data = pickle.dumps(np.zeros(1, dtype), protocol=2)
    return data.replace(b"K\x01\x85", b"".join((b"(", *(pickle.dumps(side, protocol=2)[2:-1] for side in shape), b"t")), 1)


FORBIDDEN = {
    "a call": (Runs(os.system, "touch was-run"), "posix.system"),
    "eval": (Runs(eval, "open('was-run', 'w')"), "builtins.eval"),
    "a class": (pathlib.PurePosixPath("x"), "pathlib.PurePosixPath"),
    "an array of objects": (np.array(["a", None], dtype=object), "an array of objects"),
    "dates": (np.array(["2020-01-01"], dtype="datetime64[D]"), "an array of 'M8'"),
    "fields": (np.zeros(1, dtype=[("a", "i4")]), "an array of 'V4'"),
    "bytes of": (Runs(bytes, 1 << 40), "a call of bytes"),
}


@pytest.mark.parametrize("kind", FORBIDDEN)
@pytest.mark.parametrize("protocol", [2, 4])
def test_nothing_in_a_pickle_is_run(tmp_path, monkeypatch, kind, protocol):
    monkeypatch.chdir(tmp_path)
    value, asks = FORBIDDEN[kind]
    pathlib.Path("x.pkl").write_bytes(pickle.dumps({"gnd": value}, protocol=protocol))
    with pytest.raises(ImgretError) as error:
        unpickle.load("x.pkl")
    expected = asks.replace("builtins", "__builtin__") if protocol == 2 else asks
    assert str(error.value) == f"x.pkl is refused: it is a pickle that asks for {expected}; only plain data and NumPy arrays are read"
    assert not pathlib.Path("was-run").exists()


@pytest.mark.parametrize(
    ("data", "sentence"),
    [
        (b"", "x.pkl is not a pickle that can be read (pickle exhausted before seeing STOP)"),
        (b"no pickle at all", None),
        (b"\x80\x04N", "x.pkl is not a pickle that can be read (pickle exhausted before seeing STOP)"),
        (
            b"\x80\x02]r\xff\xff\xff\x7f.",
            "x.pkl is refused: it is a pickle that asks for memory it does not use (LONG_BINPUT 2147483647);"
            " only plain data and NumPy arrays are read",
        ),
        (b"\x80\x05\x96" + (1 << 60).to_bytes(8, "little") + b".", None),
        (b"\x80\x04\x8e" + (1 << 60).to_bytes(8, "little") + b".", None),
        (
            b"\x80\x02cnumpy\nndarray\nq\x00)\x81.",
            "x.pkl is refused: it is a pickle that asks for an object (NEWOBJ); only plain data and NumPy arrays are read",
        ),
        (
            b"\x80\x02U\x01xQ.",
            "x.pkl is refused: it is a pickle that asks for an object (BINPERSID); only plain data and NumPy arrays are read",
        ),
        (_fake_array((1 << 40,)), "x.pkl is not a pickle that can be read (an array's shape is not its content's)"),
        (_fake_array((0, 1 << 40)), "x.pkl is not a pickle that can be read (an array's shape is not its content's)"),
    ],
)
def test_damaged_and_hostile_pickles(tmp_path, monkeypatch, data, sentence):
    monkeypatch.chdir(tmp_path)
    pathlib.Path("x.pkl").write_bytes(data)
    with pytest.raises(ImgretError) as error:
        unpickle.plain(unpickle.load("x.pkl"))
    if sentence is not None:
        assert str(error.value) == sentence
    assert str(error.value).startswith("x.pkl is ")


def test_random_bytes_in_a_pickle_are_one_sentence(tmp_path):
    good = pickle.dumps(truth_of(5) | {"a": np.arange(3)}, protocol=2)
    rng = np.random.default_rng(0)
    path = tmp_path / "x.pkl"
    for _ in range(300):
        data = bytearray(good)
        for place in rng.integers(0, len(data), rng.integers(1, 6)):
            data[place] = rng.integers(0, 256)
        path.write_bytes(data)
        with contextlib.suppress(ImgretError):  # anything else is a traceback
            read_revisited(path)


BAD = {
    "no dict": ([], "{} is not a revisited ground truth: `imlist`, `qimlist` and `gnd` are expected"),
    "no gnd": ({"imlist": ["a"], "qimlist": ["q"]}, "{} is not a revisited ground truth: `imlist`, `qimlist` and `gnd` are expected"),
    "no names": ({"imlist": [], "qimlist": ["q"], "gnd": []}, "{}: `imlist` must be a list of photo names"),
    "a number": ({"imlist": ["a", 3], "qimlist": ["q"], "gnd": []}, "{}: `imlist` must be a list of photo names, entry 1 (from 0) is none"),
    "twice": ({"imlist": ["a", "a"], "qimlist": ["q"], "gnd": []}, "{}: `imlist` lists 'a' twice, as entries 0 and 1 (from 0)"),
    "count": ({"imlist": ["a"], "qimlist": ["q"], "gnd": []}, "{}: `gnd` must have one entry for each of the 1 queries in `qimlist`"),
    "levels": (
        {"imlist": ["a"], "qimlist": ["q"], "gnd": [{"easy": []}]},
        "{}: `gnd`, entry 0 (query 'q'): `easy`, `hard` and `junk` are expected",
    ),
    "range": (
        {"imlist": ["a"], "qimlist": ["q"], "gnd": [{"easy": [1], "hard": [], "junk": []}]},
        "{}: `gnd`, entry 0 (query 'q'): `easy` must be a list of positions in `imlist`, from 0 to 0",
    ),
    "text": (
        {"imlist": ["a"], "qimlist": ["q"], "gnd": [{"easy": ["a"], "hard": [], "junk": []}]},
        "{}: `gnd`, entry 0 (query 'q'): `easy` must be a list of positions in `imlist`, from 0 to 0",
    ),
    "both": (
        {"imlist": ["a"], "qimlist": ["q"], "gnd": [{"easy": [0], "hard": [0], "junk": []}]},
        "{}: `gnd`, entry 0 (query 'q'): a photo is listed twice in `easy`, `hard` and `junk`",
    ),
    "box": (
        {"imlist": ["a"], "qimlist": ["q"], "gnd": [{"bbx": [5, 0, 1, 1], "easy": [0], "hard": [], "junk": []}]},
        "{}: `gnd`, entry 0 (query 'q'): `bbx` must be x1, y1, x2, y2 with x1 <= x2 and y1 <= y2",
    ),
}


@pytest.mark.parametrize("kind", BAD)
@pytest.mark.parametrize("suffix", [".pkl", ".json"])
def test_ground_truths_that_are_not_so(tmp_path, kind, suffix):
    truth, sentence = BAD[kind]
    path = save(tmp_path / f"gnd{suffix}", truth)
    with refused(sentence.format(path)):
        read_revisited(path)


def old_truth_of(seed):
    """The same as it was before it was revisited; the first query has no junk."""
    truth = truth_of(seed)
    for number, entry in enumerate(truth["gnd"]):
        entry["ok"] = entry.pop("easy") + entry.pop("hard")
        if not number:
            del entry["junk"]
    return truth


def test_which_ground_truth_it_is(tmp_path):
    old, new = save(tmp_path / "old.pkl", old_truth_of(7)), save(tmp_path / "new.pkl", truth_of(7))
    with refused(
        f"{old}: `gnd`, entry 0 (query 'q0'): `easy`, `hard` and `junk` are expected; with `ok` this is the ground truth of Oxford5k or "
        "Paris6k before it was revisited: --protocol oxford5k or paris6k"
    ):
        read_revisited(old)
    with refused(
        f"{new}: `gnd`, entry 0 (query 'q0'): `ok` and `junk` are expected; with `easy` and `hard` this is the revisited ground truth: "
        "--protocol roxford5k or rparis6k"
    ):
        read_oxford(new)
    for path in (old, new, save(tmp_path / "old.json", old_truth_of(7))):
        assert read_boxes(path) == [Box(b"q%d" % number, b"q%d" % number, (1.5, 2, 30.25, 40)) for number in range(6)]


@pytest.mark.parametrize("suffix", [".pkl", ".json"])
def test_oxford_by_positions_is_oxford_by_files(data, tmp_path, suffix):
    """The text files of Oxford5k as cnnimageretrieval-pytorch packs them give what they give themselves."""
    folder, names = data / "oxford5k/groundtruth", (data / "oxford5k/names.txt").read_text().split()
    where, queries = {name.removesuffix(".jpg"): number for number, name in enumerate(names)}, read_oxford(folder)
    truth = {"imlist": list(where), "qimlist": [query.photo.decode() for query in queries], "gnd": []}
    for query in queries:
        ok, junk = (sorted(where[name.decode()] for name in some) for some in (query.positives, query.junk))
        truth["gnd"].append({"bbx": list(query.box), "ok": ok, "junk": junk})
    path, rng = save(tmp_path / f"gnd_oxford5k{suffix}", truth), np.random.default_rng(0)
    asking, sorted_names = [query.photo + b".jpg" for query in queries], sorted(name.encode() for name in names)
    lists = RankedLists("run", asking, asking, sorted_names, np.array([rng.permutation(len(names)) for _ in queries]))
    by_files, by_positions = (registry.load(PROTOCOLS, "oxford5k", "protocol")().evaluate(lists, truth) for truth in (folder, path))
    assert by_files.measures == by_positions.measures
    assert sorted(record["ap"] for record in by_files.per_query) == sorted(record["ap"] for record in by_positions.per_query)


def test_malformed_json_has_its_line(tmp_path):
    path = tmp_path / "gnd.json"
    path.write_text('{"imlist": [\n"a",\n}')
    with refused(_json_error(path)):
        read_revisited(path)
    path.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ImgretError, match="is not JSON that can be read"):
        read_revisited(path)


def _json_error(path):
    """The sentence, whatever this Python's parser calls the fault."""
    with pytest.raises(json.JSONDecodeError) as error:
        json.loads(path.read_text())
    return f"{path}:3: malformed JSON ({error.value.msg})"


@pytest.fixture(scope="module")
def oxford(tmp_path_factory):
    """A ranking of the real descriptors of Oxford5k for the 70 queries, and the authors' ground truth."""
    folder = os.environ.get("IMGRET_TEST_DATA")
    if not folder:
        pytest.skip("IMGRET_TEST_DATA is unset")
    data, where = pathlib.Path(folder, "oxford5k"), tmp_path_factory.mktemp("roxford")
    truth = data / "gnd_roxford5k.pkl"
    names = (data / "names.txt").read_text().split()
    rows = np.fromfile(data / "features_128.fvecs", np.float32).reshape(len(names), 129)[:, 1:]
    asking = [query.name.decode() for query in read_revisited(truth).queries]
    np.save(where / "queries.npy", rows[[names.index(name) for name in asking]])
    (where / "queries.txt").write_text("\n".join(asking))
    for command in (
        ("import", data / "features_128.fvecs", "--names", data / "names.txt", "-o", where / "vectors.h5"),
        ("import", where / "queries.npy", "--names", where / "queries.txt", "-o", where / "queries.h5"),
        ("index", where / "vectors.h5", "-o", where / "index.h5"),
        ("search", where / "index.h5", where / "queries.h5", "-k", "all", "-o", where / "ranking.h5"),
    ):
        result = call(*command, "-q")
        assert result.code == 0, result.err
    return where / "ranking.h5", truth


def test_real_descriptors_give_the_recorded_figures(oxford):
    """No official figure exists for these vectors: these were computed here once, and by the loop of test_against_the_loop."""
    ranking, truth = oxford
    result = call("evaluate", ranking, "--protocol", "roxford5k", "--truth", truth, "--json")
    (run,) = json.loads(result.out)["runs"]
    assert not any("box" in text for text in run["warnings"])  # who knows what these vectors describe
    assert {name: round(run["measures"][name], 4) for name in ("easy.map", "medium.map", "hard.map", "easy.mp@10", "hard.mp@5")} == {
        "easy.map": 0.2889,
        "medium.map": 0.2113,
        "hard.map": 0.0460,
        "easy.mp@10": 0.3794,
        "hard.mp@5": 0.0819,
    }
    assert run["settings"] == {
        "easy": {"queries": 68, "excluded": 2},
        "medium": {"queries": 70, "excluded": 0},
        "hard": {"queries": 70, "excluded": 0},
    }


def test_a_hostile_ground_truth_on_the_command_line(oxford, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    pathlib.Path("gnd.pkl").write_bytes(pickle.dumps(Runs(os.system, "touch was-run")))
    sentence = "gnd.pkl is refused: it is a pickle that asks for posix.system; only plain data and NumPy arrays are read"
    refused_command(call("evaluate", oxford[0], "--protocol", "roxford5k", "--truth", "gnd.pkl"), 1, sentence)
    assert not pathlib.Path("was-run").exists()
