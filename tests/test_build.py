"""`imgret build`: every step of a config as it would run alone, in one folder that other commands take for its index."""

import dataclasses
import errno
import json
import os
import shlex
import shutil

import pytest
from helpers import call, misused, photo, refused

import imgret
from imgret import builds, config, ready
from imgret.errors import ImgretError, UsageError
from imgret.extractors import EXTRACTORS
from imgret.extractors.hsv_hist import HsvHist
from imgret.registry import load
from imgret.runs.enough import fewest
from imgret.runs.plan import Plan
from imgret.stages import build as stage
from imgret.store.reader import Store

SIFT = ", ".join(field.name for field in dataclasses.fields(load(EXTRACTORS, "rootsift", "extractor").Params))
SMALL = """
features = { run = "extract", set = { max_keypoints = 60 } }
words = { run = "codebook", inputs = ["features"], size = 4, set = { pca = 8, iterations = 3 } }
vlad = { run = "encode", inputs = ["features"], codebook = "words" }
index = { run = "index", inputs = ["vlad"] }
"""


def again(folder):
    """What is advised where a build lacks something."""
    return f"run `imgret build` with the same photos and -o {shlex.quote(folder)} again"


@pytest.fixture(scope="module")
def built(photos, tmp_path_factory):
    """A folder with a build of `photos` by the place to start, in `b`; not to be changed. `said`: what was told."""
    folder = tmp_path_factory.mktemp("built")
    result = call("build", photos, "-o", folder / "b", "-j2")
    assert (result.code, result.out) == (0, b"")
    (folder / "said").write_text(result.err.replace(f"{folder}/", ""))
    return folder


@pytest.fixture
def place(tmp_path, monkeypatch):
    """An empty current folder with three photos in `photos`."""
    monkeypatch.chdir(tmp_path)
    os.mkdir("photos")
    for seed in range(3):
        photo(f"photos/{seed}.png", seed)
    (tmp_path / "small.toml").write_text(SMALL)
    return tmp_path


def identity(path):
    """What a store is, wherever it was made."""
    with Store(path) as store:
        return store.recipe, store.content


def done(*arguments, **options):
    """The lines that a build tells."""
    result = call("build", *arguments, "-j1", **options)
    assert (result.code, result.out) == (0, b""), result.err
    return result.err.splitlines()


def test_each_file_is_what_the_bare_commands_make(built, photos, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    made = (("extract", photos, "-o", "features.h5"), ("encode", "features.h5", "-o", "vlad.h5"), ("index", "vlad.h5", "-o", "index.h5"))
    assert [call(*arguments).code for arguments in made] == [0, 0, 0]
    for name in ("features", "vlad", "index"):
        assert identity(f"{name}.h5") == identity(built / "b" / f"{name}.h5")
    assert sorted(os.listdir(built / "b")) == ["features.h5", "imgret.json", "index.h5", "vlad.h5"]
    assert (built / "said").read_text().splitlines() == [
        "imgret: 1/3 extract: b/features.h5: 28 photos described",
        "imgret: 2/3 encode: b/vlad.h5: 28 vectors of 8192 dimensions (vlad)",
        "imgret: 3/3 index: flat: 28 vectors of 8192 dimensions as they are, 32768 bytes per photo",
        f"imgret: 3/3 index: b/index.h5: 28 photos, {os.path.getsize(built / 'b' / 'index.h5') / 1e6:.3g} MB",
        "imgret: b is ready: imgret search b PHOTO",
    ]


def test_again_there_is_nothing_to_do(built, photos, tmp_path):
    shutil.copytree(built / "b", tmp_path / "b")
    manifest = os.stat(tmp_path / "b" / "imgret.json")
    assert done(photos, "-o", tmp_path / "b") == [
        f"imgret: 1/3 extract: {tmp_path}/b/features.h5 is up to date (28 photos)",
        f"imgret: 2/3 encode: {tmp_path}/b/vlad.h5 is up to date",
        f"imgret: 3/3 index: {tmp_path}/b/index.h5 is up to date",
        f"imgret: {tmp_path}/b is ready: imgret search {tmp_path}/b PHOTO",
    ]
    assert os.stat(tmp_path / "b" / "imgret.json").st_mtime_ns == manifest.st_mtime_ns
    assert done(photos, "-o", tmp_path / "b", "-q") == []
    os.remove(tmp_path / "b" / "imgret.json")  # stopped before the last of all
    os.remove(tmp_path / "b" / "index.h5")
    told = done(photos, "-o", tmp_path / "b")
    assert [line for line in told if "up to date" in line] == [
        f"imgret: 1/3 extract: {tmp_path}/b/features.h5 is up to date (28 photos)",
        f"imgret: 2/3 encode: {tmp_path}/b/vlad.h5 is up to date",
    ]
    assert builds.is_build(tmp_path / "b")


def test_what_the_folder_is_taken_for(built, photos, tmp_path, monkeypatch):
    monkeypatch.chdir(built)
    some = photos / "01.png"
    whole, alone = (call("search", index, some, "-k", "3") for index in ("b", "b/index.h5"))
    assert (whole.code, whole.err, whole.out) == (0, "", alone.out)
    assert whole.lines[1].startswith(f"{some}\t0\t01.png\t")
    lines = call("info", "b").lines
    assert lines[:4] == ["build           b", "config          rootsift-vlad64", f"photos in       {photos}", "files"]
    assert [line.split()[0] for line in lines[4:8]] == ["features.h5", "imgret.json", "index.h5", "vlad.h5"]
    assert lines[8:10] == ["path            b/index.h5", "kind            index"]
    assert call("info", "b", "--check").lines[-1] == "check           sound"
    facts = json.loads(call("info", "b", "--json").out)
    assert facts["build"]["config"] == "rootsift-vlad64"
    assert facts["kind"] == "index"
    with imgret.open("b") as index:
        assert index.kind == "index"
        assert index.search(some, 1)[0].name == "01.png"
    assert call("export", "b", "-o", tmp_path / "v.npy").code == 0
    assert call("export", "b/vlad.h5", "-o", tmp_path / "w.npy").code == 0
    assert (tmp_path / "v.npy").read_bytes() == (tmp_path / "w.npy").read_bytes()
    assert call("search", "b", "--set", "help").lines == ["no parameters"]


def test_pages_find_the_photos(built, photos, tmp_path, monkeypatch):
    monkeypatch.chdir(built)
    assert call("search", "b", photos / "01.png", "--html", tmp_path / "s.html").code == 0
    assert b"data:image/" in (tmp_path / "s.html").read_bytes()
    (tmp_path / "truth.csv").write_text("image,group\n01.png,a\n02.png,a\n")
    assert call("search", "b", "b/vlad.h5", "-o", tmp_path / "r.h5").code == 0
    scored = call("evaluate", tmp_path / "r.h5", "--protocol", "groups", "--truth", tmp_path / "truth.csv", "--html", tmp_path / "e.html")
    assert scored.code == 0, scored.err
    assert b"data:image/" in (tmp_path / "e.html").read_bytes()
    text = "--html needs --photos ROOT: the folder that the photos were extracted from"
    shutil.copy("b/index.h5", tmp_path / "alone.h5")
    misused(call("search", tmp_path / "alone.h5", photos / "01.png", "--html", tmp_path / "x.html"), text)


def test_a_photo_more(place, monkeypatch):
    done("photos", "-o", "b", "--config", "small.toml")
    words = identity("b/words.h5")
    photo("photos/more.png", 9)
    told = done("photos", "-o", "b", "--config", "small.toml")
    assert told[0] == "imgret: 1/4 extract: b/features.h5: the photos have changed; what is still the same is taken over"
    assert "imgret: 2/4 codebook: b/words.h5 stays as it was learned" in told
    assert identity("b/words.h5") == words
    with imgret.open("b") as index:
        assert len(index) == 4
    monkeypatch.setattr(stage, "GROWTH", 1)
    photo("photos/yet.png", 10)
    told = done("photos", "-o", "b", "--config", "small.toml")
    (line,) = [line for line in told if "learning it again" in line]
    assert line.startswith("imgret: 2/4 codebook: b/words.h5 was learned from ")
    assert identity("b/words.h5") != words


def test_words_of_other_photos(place):
    os.mkdir("others")
    photo("others/a.png", 20)
    told = done("photos", "-o", "b", "--config", "./small.toml", "--learn", "others")
    assert list(dict.fromkeys(line.split(": ")[1] for line in told)) == [
        "1/5 extract, features",
        "2/5 extract, learn-features",
        "3/5 codebook",
        "4/5 encode",
        "5/5 index",
        "b is ready",
    ]
    with Store("b/words.h5") as store:
        assert [entry["path"] for entry in store.inputs] == ["b/learn-features.h5"]
    made = identity("b/index.h5")
    told = done("photos", "-o", "b", "--config", "small.toml")  # without them: what was learned stays
    assert "imgret: 2/5 extract, learn-features: b/learn-features.h5 stays: no photos to learn from are given" in told
    assert identity("b/index.h5") == made
    os.remove("b/learn-features.h5")
    without = call("build", "photos", "-o", "b", "--config", "small.toml", "-q")
    text = "b was learned from other photos, and b/learn-features.h5 is gone: give them by --learn again"
    refused(without, 1, text)
    text = "--config rootsift-vlad64 learns nothing: leave --learn out, or choose another (`imgret build --config help`)"
    refused(call("build", "photos", "-o", "c", "--learn", "others"), 2, text)


def test_what_is_learned_from_is_looked_for_first(place):
    os.mkdir("empty")
    refused(
        call("build", "photos", "-o", "b", "--config", "small.toml", "--learn", "no"), 1, "--learn: no: there is no such file or folder"
    )
    result = call("build", "photos", "-o", "b", "--config", "small.toml", "--learn", "empty")
    assert result.err.startswith("imgret: error: --learn: there is no photo in what was given (")
    assert not os.path.exists("b")


NEED = {"vlad-pca128": 128, "vlad-pca128-pq20": 256, "cnn-rmac-pca256": 256, "cnn-rootsift-pca256": 256}


def test_too_few_photos_to_learn_from_are_told_before_any_work(place):
    os.mkdir("others")
    photo("others/a.png", 20)
    remedy = "name a folder of more by --learn FOLDER, or take --config rootsift-vlad64, which learns nothing"
    start = "build", "photos", "-o", "b", "--config"
    text = f"--config vlad-pca128:projection needs at least 128 photos to learn from, and 3 were given: {remedy}"
    refused(call(*start, "vlad-pca128"), 1, text)
    text = f"--config vlad-pca128-pq20:index needs at least 256 photos to learn from, and --learn names 1: {remedy}"
    refused(call(*start, "vlad-pca128-pq20", "--learn", "others"), 1, text)
    quantised = SMALL.replace('inputs = ["vlad"] }', 'inputs = ["vlad"], method = "pq", set = { nbits = 4 } }')
    (place / "pq.toml").write_text(quantised)
    refused(call(*start, "pq.toml"), 1, f"--config pq.toml:index needs at least 16 photos to learn from, and 3 were given: {remedy}")
    assert not os.path.exists("b")


@pytest.mark.parametrize("name", config.built())
def test_a_ready_config_says_how_many_photos_it_needs(name):
    plan = Plan(name, "b", False)
    needs = [need for need in config.about(name).get("needs", []) if need.endswith(" photos to learn from")]
    assert needs == ([f"{NEED[name]} photos to learn from"] if name in NEED else [])
    assert max(fewest(plan, step) for step in plan.steps if plan.title(step) != "codebook, words") >= NEED.get(name, 1)


def test_an_error_names_its_step(place):
    (place / "many.toml").write_text(SMALL.replace("size = 4", "size = 5000"))
    result = call("build", "photos", "-o", "b", "--config", "many.toml", "-q")
    assert result.err.startswith("imgret: error: 2/4 codebook: 5000 visual words were asked for (`size`), but only ")
    assert result.err.endswith(" rows were sampled: ask for fewer, or give more photos\n")


def test_another_config_is_refused(place):
    done("photos", "-o", "b", "--config", "small.toml")
    there = f"{place}/small.toml"
    text = f"b was built by {there}, not by vlad-pca128: choose another -o, or give --overwrite to make it anew"
    refused(call("build", "photos", "-o", "b", "--config", "vlad-pca128"), 1, text)
    ranking = 'ranking = { run = "search", index = "index", queries = ["vlad"] }'
    (place / "small.toml").write_text(SMALL.replace("size = 4", "size = 3") + ranking)
    what = f"by {there} as it was then, and its table 'words' is another now"
    text = f"b was built {what}: choose another -o, or give --overwrite to make it anew"
    refused(call("build", "photos", "-o", "b/", "--config", "small.toml"), 1, text)
    done("photos", "-o", "b", "--config", "small.toml", "--overwrite")
    with imgret.open("b/words.h5") as words:
        assert words.pipeline.node["params"]["size"] == 3
    (place / "small.toml").write_text(SMALL.replace("size = 4", "size = 3"))  # a search or evaluation more or less is no other build
    assert "imgret: 4/4 index: b/index.h5 is up to date" in done("photos", "-o", "b", "--config", "small.toml")


def test_where_a_build_may_be(place):
    text = "photos is the folder of the photos: choose another -o, beside it or in it"
    refused(call("build", "photos", "-o", "photos/"), 1, text)
    refused(call("build", "photos", "-o", "small.toml"), 1, "-o small.toml is a file, and a build is a folder: choose another -o")
    refused(call("build", "photos", "-o", "no/b"), 1, f"no/b: the folder {place}/no does not exist: create it first")
    refused(call("build", "photos", "-o", "."), 1, ". is there and holds something else: choose a folder of its own for -o")
    assert sorted(os.listdir(".")) == ["photos", "small.toml"]
    done("photos", "-o", "photos/b", "--config", "small.toml")  # within it is a place: nothing there is a photo
    assert "imgret: 4/4 index: photos/b/index.h5 is up to date" in done("photos", "-o", "photos/b", "--config", "small.toml")


def test_a_list_on_standard_input_serves_several_steps(place):
    two = SMALL.replace('inputs = ["vlad"] }', 'inputs = ["both"] }') + 'colours = { run = "extract", method = "hsv-hist" }\n'
    two += 'both = { run = "encode", inputs = ["vlad", "colours"], method = "concat" }'
    (place / "two.toml").write_text(two)
    names = b"photos/0.png\0photos/2.png\0"
    told = done("-", "-0", "-o", "b", "--config", "two.toml", stdin=names)
    assert "imgret: 1/6 extract, features: b/features.h5: 2 photos described" in told
    assert "imgret: 4/6 extract, colours: b/colours.h5: 2 photos described" in told
    assert builds.read("b").roots == (str(place),)
    assert builds.read("b").features == "b/features.h5"
    assert builds.read("b").vectors == "b/both.h5"


def test_photos_are_found_whatever_they_are_called(place):
    for name in (b'it\'s "q".png', b"line\nbreak.png", b"\xff.png"):
        photo(os.path.join(b"photos", name), 5)
    os.rename("photos", "Anna's pics")
    done("Anna's pics", "-o", "Anna's build", "--config", "small.toml")
    made = builds.read("Anna's build")
    os.chdir("/")
    for name in (b'it\'s "q".png', b"line\nbreak.png", b"\xff.png", b"0.png"):
        assert made.path_of(name) == os.path.join(os.fsencode(place), b"Anna's pics", name)
    assert made.path_of(b"gone.png") is None


def test_roots(place):
    def roots(*arguments):
        done(*arguments, "-o", "b", "--config", "small.toml", "-q")
        return builds.read("b").roots

    os.mkdir("list")
    photo("list/9.png", 9)
    (place / "names").write_text("list/9.png\n")
    assert roots("photos", "--list", "names") == (f"{place}/photos", str(place))
    assert roots("photos", "list/9.png", "--root", ".") == (str(place),)


def test_what_is_missing_is_told_before_any_work(place, monkeypatch):
    def settle(self, device="auto", weights=()):
        raise ImgretError("the library is gone: install it")

    monkeypatch.setattr(HsvHist, "settle", settle)
    for table in (
        'net = { run = "extract", method = "hsv-hist" }\n',
        'net = { run = "extract", method = "gone" }\n',
        'net = { run = "extract", method = "rootsift", set = { gone = 1 } }\n',
    ):
        both = 'both = { run = "encode", inputs = ["vlad", "net"], method = "concat" }'
        (place / "two.toml").write_text(SMALL.replace('["vlad"] }', '["both"] }') + table + both)
        result = call("build", "photos", "-o", "b", "--config", "two.toml")
        assert result.code in (1, 2)
        assert "gone" in result.err
        assert len(result.err.splitlines()) == 1
        assert not os.path.exists("b")


@pytest.mark.parametrize(
    ("text", "code", "message"),
    [
        ('f = { run = "extract" }', 2, "a build makes one index, and this config has none: choose another config"),
        ('f = { run = "extract", method = "hsv-hist" }\na = { run = "index", inputs = ["f"] }\nb = { run = "index", inputs = ["f"] }',
         2, "a build makes one index, and this config has 2 (a, b): choose another config"),
        ('i = { run = "index", inputs = ["f"] }', 2, "`inputs` of the table 'i' names 'f', which is no table of this config"),
        ('i = { run = "index", inputs = 5 }', 2, "`inputs` of the table 'i' must name tables, got 5"),
        (
            'n = { run = "train" }\nv = { run = "extract", network = "n" }\ni = { run = "index", inputs = ["v"] }',
            2,
            "a build trains no network, and 'n' is one: make it by `imgret train PHOTOS --config c.toml:n -o net.safetensors`, and build "
            'with a config whose `extract` says set = { weights = "net.safetensors" }',
        ),
        ('f = { run = "extract", network = "f" }', 2, "`network` of the table 'f' names 'f', which trains none"),
        ('i = { run = "index" }', 2, "the table 'i' needs `inputs`"),
        ('about = { run = "index" }', 2, "'about' is kept for what a config is good for, and makes nothing: call the table otherwise"),
        ('v = { run = "encode", inputs = ["v"] }\ni = { run = "index", inputs = ["v"] }', 2, "the table 'v' is made from itself"),
    ],
)  # fmt: skip
def test_configs_that_make_no_build(place, text, code, message):
    (place / "c.toml").write_text(text)
    refused(call("build", "photos", "-o", "b", "--config", "c.toml"), code, f"--config c.toml: {message}")


@pytest.mark.parametrize(
    ("table", "message"),
    [
        (
            'f = { run = "extract", jobs = 2 }',
            "f: unknown key 'jobs'; in a build `extract` has: max-failed, max-gone, method, set, truncated",
        ),
        ('f = { run = "extract", set = { max_size = "x" } }', "f: `max_size` must be an integer, got 'x'"),
        ('f = { run = "extract", set = { keypoints = 3 } }', "f: this method has no parameter `keypoints`; it has: " + SIFT),
        ('f = { run = "extract", set = 3 }', "f: `set` must be a table of parameters"),
        ('f = { run = "codebook", inputs = ["i"], size = "many" }', None),
        ('"../f" = { run = "extract" }', "../f: a build has a file of each table's name, and this is none: call it otherwise"),
    ],
)
def test_tables_that_no_build_takes(place, table, message):
    name = "../f" if "../f" in table else "f"
    message = message and message.format("max-failed, max-gone, method, set, truncated")
    if message is None:
        table, message = SMALL.replace("size = 4", 'size = "many"'), "words: `size` must be an integer, got 'many'"
    else:
        table += f'\nv = {{ run = "encode", inputs = ["{name}"] }}\nindex = {{ run = "index", inputs = ["v"] }}'
    (place / "c.toml").write_text(table)
    refused(call("build", "photos", "-o", "b", "--config", "c.toml"), 2, f"--config c.toml:{message}")


def test_nothing_given(place):
    refused(call("build", "-o", "b"), 2, "give at least one photo, a folder, '-' or --list")
    text = (
        f"there is no ready config 'mine'; choose one of: {', '.join(config.names())}; a file of your own has a slash in its name, "
        "or ends in .toml"
    )
    refused(call("build", "photos", "-o", "b", "--config", "mine"), 2, text)


# ready configs


def test_ready_configs_are_listed():
    result = call("build", "--config", "help")
    assert (result.code, result.err) == (0, "")
    assert [line.partition(":")[0] for line in result.lines[::2]] == config.built()
    two, trained = {"asmk-rmac-spatial-qe", "fused-adaptive"}, {"deep-feature-learning", "trained-gem"}  # indexes; networks
    assert {*config.names()} - {*config.built()} == two | trained
    for name in config.names():
        assert name not in config.built() or Plan(name, "b", False).steps
        said = config.about(name)
        assert set(said) <= {"what", "map", "measured", "bytes", "seconds", "needs"}
        assert {"what", "bytes"} <= set(said)


def test_a_table_of_a_ready_config(place):
    assert call("extract", "--config", "rootsift-vlad64:features", "photos", "-o", "f.h5").code == 0
    assert call("encode", "--config", "rootsift-vlad64:vlad", "f.h5", "-o", "v.h5").code == 0
    text = "--config rootsift-vlad64: there is no table 'words'; it has: features, vlad, index, ranking, scores"
    refused(call("codebook", "--config", "rootsift-vlad64:words", "f.h5", "-o", "w.h5"), 2, text)


# ready codebooks


def test_ready_words(place):
    assert call("extract", "photos", "-o", "f.h5").code == 0
    assert call("encode", "f.h5", "-o", "bare.h5").code == 0
    assert call("encode", "f.h5", "-c", ready.WORDS, "-o", "named.h5").code == 0
    shutil.copy(ready.path_of(ready.WORDS), "copy.h5")
    assert call("encode", "f.h5", "-c", "copy.h5", "-o", "copied.h5").code == 0
    assert identity("bare.h5") == identity("named.h5") == identity("copied.h5")
    with Store("bare.h5") as store:
        assert [entry["path"] for entry in store.inputs] == ["f.h5", ready.WORDS]
    assert "imgret: bare.h5 is up to date" in call("encode", "f.h5", "-o", "bare.h5").err
    lines = call("info", ready.WORDS, "--check").lines
    assert lines[1] == "kind            codebook"
    assert lines[-1] == "check           sound"
    with imgret.open(ready.WORDS) as words:
        assert words.kind == "codebook"
    assert os.path.getsize(ready.path_of(ready.WORDS)) < 110_000


def test_ready_words_refused(place):
    assert call("extract", "photos", "-o", "up.h5", "--set", "upright=true").code == 0
    text = (
        f"{ready.WORDS} was learned in another space than up.h5 is in (rootsift with upright false and true): "
        "learn words of these photos by `imgret codebook up.h5 -o words.h5`, and give them with -c words.h5"
    )
    refused(call("encode", "up.h5", "-o", "v.h5"), 1, text)
    refused(call("encode", "up.h5", "-c", ready.WORDS, "-o", "v.h5"), 1, text)
    assert call("extract", "photos", "-o", "hsv.h5", "-m", "hsv-hist").code == 0
    text = "hsv.h5 holds vectors: give a codebook (-c), or a method that needs none (-m concat)"
    refused(call("encode", "hsv.h5", "-o", "v.h5"), 1, text)
    text = "there is no ready codebook 'mine'; choose one of: ready:rootsift-vlad64"
    refused(call("encode", "up.h5", "-c", "ready:mine", "-o", "v.h5"), 2, text)
    refused(call("info", "ready:mine"), 2, text)
    (place / "c.toml").write_text(SMALL.replace('codebook = "words"', 'codebook = "ready:mine"'))
    refused(call("build", "photos", "-o", "b", "--config", "c.toml"), 2, text)


# what a folder says


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"tables": [1]}, "`tables` are not those of a config"),
        ({"tables": {"f": 1}}, "`tables` are not those of a config"),
        ({"index": "../index.h5"}, "`index` is no file of its folder"),
        ({"roots": ["relative"]}, "`roots` is no list of folders"),
    ],
)
def test_a_manifest_is_checked(built, tmp_path, change, reason):
    said = json.loads((built / "b" / "imgret.json").read_text())
    (tmp_path / "imgret.json").write_text(json.dumps(said | change))
    text = f"{tmp_path}/imgret.json is damaged ({reason}): run `imgret build` with the same photos and -o {tmp_path} again"
    refused(call("search", tmp_path, "q.png"), 1, text)
    refused(call("info", tmp_path), 1, text)


def test_a_damaged_manifest_is_written_anew(place):
    done("photos", "-o", "a b", "--config", "small.toml")
    manifest = place / "a b" / "imgret.json"
    sound = manifest.read_bytes()
    for text in (b"{", b"[" * 100_000, b'{"version": ' + b"1" * 5000 + b"}", b"\xff"):
        manifest.write_bytes(text)
        refused(call("search", "a b", "q"), 1, f"a b/imgret.json is damaged (it is no JSON): {again('a b')}")
        warned, *told = done("photos", "-o", "a b", "--config", "small.toml")
        said = "a b/imgret.json is damaged (it is no JSON), and is written anew: what the stores say is gone on from"
        assert warned == f"imgret: warning: {said}"
        assert [line for line in told if "up to date" in line][-1] == "imgret: 4/4 index: a b/index.h5 is up to date"
        assert manifest.read_bytes() == sound


def test_a_damaged_manifest_and_words_of_other_photos(place):
    os.mkdir("others")
    photo("others/a.png", 20)
    done("photos", "-o", "b", "--config", "small.toml", "--learn", "others")
    made = identity("b/index.h5")
    with open("b/imgret.json", "wb") as file:
        file.truncate(builds.LIMIT + 1)
    refused(call("search", "b", "q"), 1, f"b/imgret.json is damaged (it is larger than 16 MiB): {again('b')}")
    done("photos", "-o", "b", "--config", "small.toml")
    assert builds.read("b").learned
    assert identity("b/index.h5") == made


def test_no_manifest_but_something_of_its_name(place):
    os.mkdir("b")
    for make in (os.mkdir, os.mkfifo, lambda path: os.symlink("imgret.json", path)):
        make("b/imgret.json")
        (place / "b" / "features.h5").touch()
        text = f"b/imgret.json is no regular file: remove b/imgret.json, and {again('b')}"
        for arguments in (("search", "b", "q"), ("duplicates", "b"), ("build", "photos", "-o", "b", "--config", "small.toml")):
            refused(call(*arguments), 1, text)
        (os.rmdir if os.path.isdir("b/imgret.json") else os.remove)("b/imgret.json")


@pytest.mark.parametrize("name", ["vlad.h5", "imgret.json"])
def test_nothing_is_written_outside(place, name):
    done("photos", "-o", "b", "--config", "small.toml")
    os.rename(f"b/{name}", "outside")
    os.symlink("../outside", f"b/{name}")
    os.symlink("b", "link")
    kept = (place / "outside").read_bytes()
    photo("photos/more.png", 9)
    text = "is a link to outside link, where a build writes nothing: remove it, or choose another -o"
    refused(call("build", "photos", "-o", "link", "--config", "small.toml"), 1, f"link/{name} {text}")
    assert (place / "outside").read_bytes() == kept
    os.remove(f"b/{name}")
    done("photos", "-o", "link", "--config", "small.toml")


def test_what_is_no_build_yet(place, monkeypatch):
    os.makedirs("it's/features.h5.parts")
    os.mkdir("empty")
    its = "it's"
    for command in (("search",), ("duplicates",)):
        asked = ("q",) if command == ("search",) else ()
        refused(call(*command, "it's", *asked), 1, f"the build in it's is not finished: {again(its)}")
        refused(call(*command, "empty", *asked), 1, "there is nothing in empty: `imgret build PHOTOS -o empty` makes an index of photos")

    def denied(path):
        raise PermissionError(errno.EACCES, "Permission denied", path)

    monkeypatch.setattr(os, "listdir", denied)
    refused(call("search", "it's", "q"), 1, "it's: Permission denied")


def test_no_name_is_none(place):
    text = "the name is empty: give that of a file or folder"
    misused(call("build", "photos", "-o", ""), f"Invalid value for '-o' / '--out': {text}")
    misused(call("build", "", "-o", "b"), f"Invalid value for '[PHOTOS]...': {text}")
    misused(call("search", "b", ""), f"Invalid value for '[PHOTOS]...': {text}")
    misused(call("search", "b", "q", "--html", ""), f"Invalid value for '--html': {text}")
    with pytest.raises(UsageError, match="^-o is empty: name a folder to make$"):
        stage.build("photos", "")
    refused(call("build", "photos", "-o", "-"), 2, "-o - would be standard output, and a build is a folder: choose another -o")


def test_the_photo_before_the_index(built, place):
    shown = shlex.quote(f"{built}/b")
    text = "photos/0.png is not an imgret file (not HDF5): the index comes first, then the photos"
    refused(call("search", "photos/0.png", built / "b"), 1, f"{text}: `imgret search {shown} photos/0.png`")


def test_photos_that_have_moved(place):
    done("photos", "-o", "b", "--config", "small.toml", "-q")
    os.rename("photos", "moved")
    text = f"the photos of b are no longer in {place}/photos: run `imgret build PLACE -o b` where they are now, or give --photos PLACE"
    refused(call("search", "b", "moved/0.png", "--html", "p.html"), 1, text)
    refused(call("duplicates", "b", "--html", "p.html"), 1, text)
    found = call("search", "b", "moved/0.png", "--format", "paths")
    assert (found.code, sorted(found.out.split())) == (0, [b"1.png", b"2.png"])
    said = "2 results are not where the build's photos were: their names are printed alone, for example"
    assert found.err == f"imgret: warning: {said} {found.lines[0]}\n"


def test_stores_of_a_build_that_are_damaged(built, tmp_path):
    shutil.copytree(built / "b", tmp_path / "b")
    folder, remedy = tmp_path / "b", again(f"{tmp_path}/b")
    os.remove(folder / "vlad.h5")
    refused(call("duplicates", folder), 1, f"{folder}/vlad.h5: there is no such file: {remedy}")
    os.truncate(folder / "index.h5", 5000)
    text = f"{folder}/index.h5 is damaged: it is shorter than it should be (truncated)"
    refused(call("search", folder, "q.png"), 1, f"{text}: remove {folder}/index.h5, and {remedy}")
    refused(call("info", folder), 1, f"{text}: remove {folder}/index.h5, and {remedy}")


def test_stores_of_another_build(place):
    (place / "hsv.toml").write_text('v = { run = "extract", method = "hsv-hist" }\nindex = { run = "index", inputs = ["v"] }')
    os.mkdir("more")
    for seed in range(3):
        photo(f"more/{seed}.png", 30 + seed)
    for folder, out in (("photos", "b"), ("more", "c")):
        done(folder, "-o", out, "--config", "hsv.toml", "-q")
    for name in ("index", "v"):
        shutil.copytree("b", f"with-{name}")
        shutil.copy(f"c/{name}.h5", f"with-{name}/{name}.h5")
        what = f"with-{name}/{name}.h5 is not the one that its build made, so that where its photos are is not known"
        text = f"{what}: {again(f'with-{name}')}"
        found = call("search", f"with-{name}", "photos/0.png", "-k1", "--format", "paths", "--keep-self")
        assert (found.code, found.err) == (0, f"imgret: warning: {text}\n")
        assert found.out in (b"0.png\n", b"1.png\n", b"2.png\n")
        assert f"imgret: warning: {text}\n" in call("duplicates", f"with-{name}").err
        assert f"warning         {text}" in call("info", f"with-{name}").lines
        refused(call("search", f"with-{name}", "photos/0.png", "--html", "p.html"), 1, text)
        done("photos", "-o", f"with-{name}", "--config", "hsv.toml", "-q")
        assert call("search", f"with-{name}", "photos/0.png", "-k1").err == ""


@pytest.mark.parametrize("steps", [1, 2, 3, 4])
def test_a_stopped_build_is_no_other(place, monkeypatch, steps):
    done("photos", "-o", "b", "--config", "small.toml", "-q")
    photo("photos/more.png", 9)
    renew, taken = stage._renew, []

    def stopped(plan, step, run):  # after the step, and before the manifest knows
        taken.append(step)
        if len(taken) == steps:
            raise ImgretError("stopped")
        renew(plan, step, run)

    monkeypatch.setattr(stage, "_renew", stopped)
    assert call("build", "photos", "-o", "b", "--config", "small.toml", "-q").code == 1
    found = call("search", "b", "photos/0.png", "-k1", "--format", "paths", "--keep-self")
    assert (found.code, found.out, found.err) == (0, b"photos/0.png\n", "")
