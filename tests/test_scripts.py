"""The demo's photos, and make rules made from configs."""

import csv
import fcntl
import hashlib
import importlib.util
import json
import os
import re
import shutil
import subprocess
import sys
import types
from pathlib import Path

import numpy as np
import pytest
from helpers import ROOT, call, folder

from imgret import config
from imgret.ready import is_ready

SCRIPTS = Path(ROOT) / "scripts"
RECIPE = "0123456789abcdef"  # what the folder of a recipe is called like
CONFIG = """
features = { run = "extract", method = "rootsift", set = { max-size = 200 } }
words = { run = "codebook", inputs = ["features"], method = "kmeans", size = 4 }
vlad = { run = "encode", inputs = ["features"], codebook = "words" }
index = { run = "index", inputs = ["vlad"], method = "flat" }
ranking = { run = "search", index = "index", queries = ["vlad"] }
scores = { run = "evaluate", inputs = ["ranking"], protocol = "groups" }
"""
needs_make = pytest.mark.skipif(shutil.which("make") is None, reason="make is not installed")


def script(name):
    spec = importlib.util.spec_from_file_location(name, SCRIPTS / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def demo_photos():
    pytest.importorskip("skimage")
    return script("demo_photos")


def test_the_demo_learns_and_scores_on_different_photographs(demo_photos):
    assert not set(demo_photos.LEARN) & {*demo_photos.SCORE, *demo_photos.PAIRS.values()}
    assert demo_photos.QUERY in demo_photos.SCORE
    for name in (*demo_photos.LEARN, *demo_photos.SCORE, *demo_photos.PAIRS.values()):
        pixels = demo_photos.load(name)
        assert pixels.ndim == 3
        assert max(pixels.shape) <= demo_photos.LONGEST


def test_demo_photos_are_made_once_and_the_same_each_time(demo_photos, tmp_path, monkeypatch):
    monkeypatch.setattr(demo_photos, "SCORE", ("coins", "motorcycle_left"))
    monkeypatch.setattr(demo_photos, "LEARN", ("moon",))
    monkeypatch.setattr(demo_photos, "COPIES", 2)
    assert demo_photos.make(tmp_path / "one")
    assert not demo_photos.make(tmp_path / "one")
    assert demo_photos.make(tmp_path / "two")
    names = sorted(os.listdir(tmp_path / "one" / "photos"))
    assert names == [f"coins-{n}.jpg" for n in range(3)] + [f"motorcycle_left-{n}.jpg" for n in (0, 1, 2, "view")]
    for name in [f"photos/{name}" for name in names] + ["groundtruth.csv", "query.jpg", "learn/moon.png"]:
        assert (tmp_path / "one" / name).read_bytes() == (tmp_path / "two" / name).read_bytes()
    with open(tmp_path / "one" / "groundtruth.csv", newline="") as file:
        rows = {row["image"]: row["group"] for row in csv.DictReader(file)}
    assert rows == {name: name.rpartition("-")[0] for name in names}
    os.unlink(tmp_path / "one" / "photos.json")  # stopped before the end
    (tmp_path / "one" / "photos" / "coins-0.jpg").write_bytes(b"half")
    assert demo_photos.make(tmp_path / "one")
    assert (tmp_path / "one" / "photos" / "coins-0.jpg").read_bytes() == (tmp_path / "two" / "photos" / "coins-0.jpg").read_bytes()


def test_a_changed_copy_is_a_photo_of_its_own(demo_photos):
    pixels = demo_photos.load("coins")
    copies = [demo_photos.change(pixels, np.random.default_rng(seed)) for seed in (1, 2)]
    for copy in copies:
        assert copy.dtype == np.uint8
        assert copy.shape[2] == 3
        assert 64 <= min(copy.shape[:2]) <= max(copy.shape[:2]) <= 400
        assert copy.std() > 5
    assert copies[0].shape != copies[1].shape or not np.array_equal(*copies)


def rules(*arguments):
    done = subprocess.run([sys.executable, SCRIPTS / "rules.py", *arguments], capture_output=True, text=True, check=False)
    return done.returncode, done.stdout, done.stderr


@pytest.fixture
def work(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "one.toml").write_text(CONFIG)
    return tmp_path


def made(text):
    """The outputs that rules make, by table."""
    return {line.partition(":")[0] for line in text.splitlines() if line.startswith("build/")}


def test_rules_follow_the_config(work):
    code, text, _ = rules("rules", "build", "--datasets", "a", "--configs", "one.toml", "--train", "t", "--extra", "x")
    assert code == 0
    outputs = sorted(path for path in made(text) if path.endswith((".h5", ".json")))
    assert [path.rpartition("-")[0] or path for path in outputs] == [
        "build/a/features",
        "build/a/index",
        "build/a/one/scores.json",
        "build/a/ranking",
        "build/a/vlad",
        "build/t/features",
        "build/t/words",
        "build/x/features",
        "build/x/vlad",
    ]
    by = {path.rpartition("-")[0]: path for path in outputs}
    assert f"{by['build/t/words']}: {by['build/t/features']}\n" in text  # learned on t alone
    assert f"{by['build/a/index']}: {by['build/a/vlad']} {by['build/x/vlad']}\n" in text  # x is in the gallery ...
    assert f"{by['build/a/ranking']}: {by['build/a/index']} {by['build/a/vlad']}\n" in text  # ... and does not ask
    assert f"{by['build/a/features']}: build/a/photos.seen\n" in text
    (stamps,) = (line.split()[:-1] for line in text.splitlines() if line.endswith(": imgret-see"))  # looked at each time
    assert sorted(stamp.removesuffix(":") for stamp in stamps) == ["build/a/photos.seen", "build/t/photos.seen", "build/x/photos.seen"]


def test_a_ranking_is_made_better(work):
    """What describes the gallery is given of all photos in it, what asks of the scored ones alone."""
    more = 'better = { run = "rerank", inputs = ["ranking"], features = ["features"], method = "spatial" }\n'
    (work / "two.toml").write_text(CONFIG.replace('inputs = ["ranking"]', 'inputs = ["better"]') + more)
    code, text, _ = rules("rules", "build", "--datasets", "a", "--configs", "two.toml", "--train", "t", "--extra", "x")
    assert code == 0
    (recipe,) = [line for line in text.splitlines() if "$(IMGRET) rerank" in line]
    given = re.sub(r"-[0-9a-f]{10}\.h5", ".h5", recipe).partition("$(IMGRET_FLAGS) ")[2].split()
    assert given == ["build/a/ranking.h5", "--features", "build/a/features.h5", "--features", "build/x/features.h5"]
    assert "--config two.toml:better" in recipe


TRAINED = """
net = { run = "train", method = "instance" }
gem = { run = "extract", method = "cnn", network = "net" }
index = { run = "index", inputs = ["gem"] }
ranking = { run = "search", index = "index", queries = ["gem"] }
scores = { run = "evaluate", inputs = ["ranking"], protocol = "groups" }
"""


def test_a_network_is_trained_on_the_photos_to_learn_from(work):
    (work / "net.toml").write_text(TRAINED)
    code, text, _ = rules("rules", "build", "--datasets", "a", "--configs", "net.toml", "--train", "t", "--extra", "x")
    assert code == 0
    text = re.sub(r"-[0-9a-f]{10}\.", ".", text)
    train, extract, extra = (line for line in text.splitlines() if "$(IMGRET) train" in line or "$(IMGRET) extract" in line)
    truth = "$(subst %,t,$(strip $(IMGRET_TRAIN_TRUTH)))"
    assert "build/t/net.safetensors: build/t/photos.seen $(wildcard " + truth + ")" in text
    assert train.endswith(f" $(subst %,t,$(strip $(IMGRET_PHOTOS))) $(if {truth},--truth {truth})")
    assert extract.endswith(" $(subst %,a,$(strip $(IMGRET_PHOTOS))) --set weights=build/t/net.safetensors")
    assert extra.endswith(" $(subst %,x,$(strip $(IMGRET_PHOTOS))) --set weights=build/t/net.safetensors")
    assert "build/a/gem.h5: build/a/photos.seen build/t/net.safetensors\n" in text
    assert "@ln -sfn ../../t/net.safetensors build/a/net/net.safetensors" in text


@pytest.mark.parametrize(
    ("train", "truth", "message"),
    [
        ((), "folders", "IMGRET_TRAIN_TRUTH says which photos of IMGRET_TRAIN match: set that too"),
        (("a",), "folders", "dataset a is trained on with its truth and scored too: a score counts on photos that training never saw"),
        (
            ("t", "u"),
            "%.csv",
            "IMGRET_TRAIN_TRUTH says which photos of one dataset match: name one in IMGRET_TRAIN, or say folders or names",
        ),
        (("t",), "%.csv", "there is no ground truth t.csv (IMGRET_TRAIN_TRUTH)"),
        (("t", "u"), "folders", None),
        ((), "", None),
    ],
)
def test_a_truth_to_train_by_is_checked(work, monkeypatch, train, truth, message):
    (work / "net.toml").write_text(TRAINED)
    monkeypatch.setenv("IMGRET_TRAIN_TRUTH", truth)
    code, _, err = rules("check", "--quick", "build", "--datasets", "a", "--configs", "net.toml", "--train", *train)
    assert (code, err) == ((0, "") if message is None else (1, f"rules.py: {message}\n"))


def test_configs_share_what_they_describe_alike(work):
    (work / "two.toml").write_text("# another\n" + CONFIG.replace('codebook = "words"', 'codebook = "words", set = { norm = ["l2"] }'))
    _, first, _ = rules("rules", "build", "--datasets", "a", "--configs", "one.toml")
    _, both, _ = rules("rules", "build", "--datasets", "a", "--configs", "one.toml", "two.toml")
    new = sorted(path.rpartition("-")[0] or path for path in made(both) - made(first))
    assert made(first) < made(both)
    assert new == ["build/a/index", "build/a/ranking", "build/a/two/scores.json", "build/a/vlad"]


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ('codebook = "words"', 'codebook = "wrods"', "`codebook` of the table 'vlad' names 'wrods', which is no table of this config"),
        ('inputs = ["features"], codebook = "words"', 'codebook = "words"', "the table 'vlad' needs `inputs`"),
        ('inputs = ["features"], m', 'inputs = ["vlad"], m', "the table 'words' is made from itself"),
        (
            "words = {",
            '"my words" = {',
            "the table 'my words': make cannot have ' ' in a path: call it otherwise, or use a link",
        ),
        (
            'protocol = "groups"',
            'protocol = "groups", truth = "my truth.csv"',
            "the truth 'my truth.csv': make cannot have ' ' in a path: call it otherwise, or use a link",
        ),
        (
            'protocol = "groups"',
            'protocol = "groups", k = 3',
            "unknown key 'k' in the table 'scores'; evaluate has: inputs, protocol, truth",
        ),
    ],
)
def test_configs_that_do_not_fit_together(work, old, new, message):
    assert old in CONFIG
    (work / "one.toml").write_text(CONFIG.replace(old, new))
    assert rules("rules", "build", "--datasets", "a", "--configs", "one.toml") == (1, "", f"rules.py: one.toml: {message}\n")


def test_a_codebook_of_the_package_is_no_file_to_be_made(work):
    from imgret import ready

    _, text, _ = rules("rules", "build", "--datasets", "a", "--configs", "rootsift-vlad64", "--train", "t")
    (rule,) = (part for part in text.split("\n\n") if part.startswith("build/a/vlad-"))
    features = next(path for path in made(text) if path.startswith("build/a/features-"))
    assert rule.splitlines()[0].partition(": ")[2].split() == [features, ready.path_of("ready:rootsift-vlad64")]
    assert rule.endswith(f"$(IMGRET_FLAGS) {features} -c ready:rootsift-vlad64")
    assert "$(IMGRET) encode --config rootsift-vlad64:vlad " in rule
    assert "about" not in text
    assert not any(path.startswith("build/t/") for path in made(text))  # there is nothing to learn


def test_extra_photos_need_something_to_learn_on(work):
    message = "rules.py: extra datasets need a dataset to learn codebooks on: set IMGRET_TRAIN\n"
    assert rules("rules", "build", "--datasets", "a", "--configs", "one.toml", "--extra", "x") == (1, "", message)


@needs_make
def test_make_runs_what_an_edit_changes_and_only_that(work):
    folder(work / "data" / "a", 4)
    folder(work / "data" / "t", 3)
    (work / "truth-a.csv").write_text("image,group\n0.png,x\n1.png,x\n2.png,y\n3.png,y\n")
    (work / "Makefile").write_text(
        "IMGRET_DATASETS := a   # what is scored\n"
        "IMGRET_CONFIGS := one.toml\n"
        "IMGRET_PHOTOS := data/%   # here\n"
        "IMGRET_TRUTH := truth-%.csv\n"
        "IMGRET_TRAIN := t\n"
        f"include {SCRIPTS}/pipeline.mk\n"
    )

    def make():
        done = subprocess.run(
            ["make", "--no-print-directory", "imgret", f"IMGRET={sys.executable} -m imgret", f"IMGRET_PYTHON={sys.executable}"],
            capture_output=True,
            text=True,
            check=False,
            env=os.environ | {"PYTHONPATH": ROOT, "MAKEFLAGS": ""},
        )
        assert done.returncode == 0, done.stderr
        ran = [line.partition(" -m imgret ")[2].split()[0] for line in done.stdout.splitlines() if " -m imgret " in line]
        return ran, done.stdout.splitlines()[-2:]

    everything = ["extract", "extract", "codebook", "encode", "index", "search", "evaluate"]
    ran, first = make()
    assert sorted(ran) == sorted(everything)
    assert first[0].split() == ["mAP", "a"]
    assert first[1].split()[0] == "one"
    assert make() == ([], first)
    assert os.path.samefile(work / "build/a/one/words.h5", next((work / "build/t").glob("words-*.h5")))

    (work / "one.toml").write_text("# a comment changes nothing\n" + CONFIG)
    shutil.copy(work / "data/a/0.png", work / "data/a/4.png")
    assert make()[0] == ["extract", "encode", "index", "search", "evaluate"]  # nothing new to learn from
    with open(work / "build/a/one/scores.json") as file:
        assert json.load(file)["runs"][0]["queries"] == 4


def test_all_configs_that_do_not_fit_are_told_of(work):
    (work / "one.toml").write_text(CONFIG.replace('codebook = "words"', 'codebook = "wrods"'))
    (work / "two.toml").write_text(CONFIG.replace('inputs = ["features"], codebook', "codebook"))
    code, _, err = rules("rules", "build", "--datasets", "a", "--configs", "one.toml", "two.toml", "three.toml")
    assert (code, err.splitlines()) == (
        1,
        [
            "rules.py: one.toml: `codebook` of the table 'vlad' names 'wrods', which is no table of this config",
            "rules.py: two.toml: the table 'vlad' needs `inputs`",
            "rules.py: --config three.toml: there is no such file",
        ],
    )


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (("my build", "--datasets", "a", "--configs", "one.toml"), "IMGRET_BUILD 'my build': make cannot have ' '"),
        (("build", "--datasets", "a:b", "--configs", "one.toml"), "dataset 'a:b': make cannot have ':'"),
        (("build", "--datasets", "a", "--configs", "it's.toml"), "config 'it's.toml': make cannot have \"'\""),
    ],
)
def test_names_that_make_cannot_have(work, arguments, text):
    assert rules("rules", *arguments) == (1, "", f"rules.py: {text} in a path: call it otherwise, or use a link\n")


def test_what_is_seen_of_photos_changes_with_them_alone(work):
    folder(work / "data", 2)
    (work / "two.toml").write_text(CONFIG.replace("set =", 'exclude = ["1.png"], set =', 1))
    asked = {
        "all": ("-", "data"),
        "one": ("-", "data", "--exclude", "1.png"),
        "table": ("two.toml:features", "data"),
        "boxes": ("-", "data", "--boxes", "x.csv"),  # only imgret understands that
    }
    words = [word for name, photos in asked.items() for word in ("--", f"build/{name}", *photos)]

    def seen(*python):
        command = [sys.executable, *python, SCRIPTS / "rules.py", "photos", *words]
        done = subprocess.run(command, capture_output=True, check=True)
        assert (done.stdout, done.stderr) == (b"", b"")
        return {name: ((work / "build" / name).read_text(), (work / "build" / name).stat().st_mtime_ns) for name in asked}

    first = seen()
    assert [text.partition(" ")[0] for text, _ in first.values()] == ["2", "1", "1", "not"]
    assert first["one"][0] == first["table"][0]
    (work / "data" / "notes.txt").write_text("no photo")
    os.utime(work / "data" / "1.png", ns=(1, 1))
    second = seen()
    assert [second[name] == first[name] for name in asked] == [False, True, True, False]  # what stays is not written again
    third = seen("-S")  # a Python without imgret's libraries sees nothing
    assert all(text.startswith("not looked at: ") for text, _ in third.values())
    shutil.rmtree(work / "data")
    assert rules("photos", *words) == (0, "", "")  # `extract` will say why
    assert not (work / "build" / "all").exists()


def test_a_table_that_lists_photos_its_own_way_is_looked_at_for_itself(work):
    (work / "boxes.csv").write_text("image,x1,y1,x2,y2\n")
    (work / "two.toml").write_text(CONFIG.replace("set =", 'exclude = ["x"], boxes = "boxes.csv", set =', 1))
    _, text, _ = rules("rules", "build", "--datasets", "a", "--configs", "one.toml", "two.toml")
    (stamps,) = (line.split()[:-1] for line in text.splitlines() if line.endswith(": imgret-see"))
    own = stamps[1].removesuffix(":")
    assert (stamps[0], own.startswith("build/a/photos-")) == ("build/a/photos.seen", True)
    assert f": {own} boxes.csv\n" in text
    photos = "$(subst %,a,$(strip $(IMGRET_PHOTOS)))"
    look = f"\t  -- build/a/photos.seen - {photos} \\\n\t  -- {own} two.toml:features {photos}\n"
    assert f"\nimgret-see:\n\t+@$(IMGRET_PYTHON) $(IMGRET_RULES) photos \\\n{look}" in text


STANDS_IN = r"""#!/bin/sh
# makes what imgret would make, by name; fails where $FAIL is a part of the command line
echo "$*" >> calls
case "$*" in
  *--version*) exit 0;;
  *what-is-not-there*) echo "imgret: error: what-is-not-there.h5: there is no such file or folder" >&2; exit 1;;
esac
if [ -n "$FAIL" ] && [ "${*#*$FAIL}" != "$*" ]; then echo "imgret: error: failed" >&2; exit 1; fi
[ "$1" = evaluate ] && echo '{"runs": [{"measures": {"map": 0.25}}]}'
while [ $# -gt 1 ]; do [ "$1" = -o ] && printf '\211HDF\r\n\032\n' > "$2"; shift; done
exit 0
"""


def standing_in(work):
    """Two datasets, two configs, and a stand-in for imgret; a function that runs make there."""
    for name in ("a", "b"):
        folder(work / "my data" / name, 1)
        (work / f"truth-{name}.csv").touch()
    (work / "one.toml").write_text(CONFIG)
    (work / "two.toml").write_text(CONFIG.replace('"flat"', '"hnsw"'))
    (work / "imgret").write_text(STANDS_IN)
    (work / "imgret").chmod(0o755)
    (work / "Makefile").write_text(
        "IMGRET_DATASETS := a b\n"
        "IMGRET_CONFIGS := one.toml two.toml\n"
        'IMGRET_PHOTOS := "my data/%"\n'
        "IMGRET_TRUTH := truth-%.csv\n"
        "IMGRET := ./imgret\n"
        f"include {SCRIPTS}/pipeline.mk\n"
    )
    return making(work)


def making(work):
    """A function that runs make: exit code, what imgret was run for, lines of standard output and of standard error."""

    def make(*arguments, fail=""):
        (work / "calls").write_text("")
        command = ["make", "--no-print-directory", f"IMGRET_PYTHON={sys.executable}", *arguments]
        environment = os.environ | {"PYTHONPATH": ROOT, "MAKEFLAGS": "", "FAIL": fail}
        done = subprocess.run(command, cwd=work, capture_output=True, text=True, check=False, env=environment)
        calls = [line for line in (work / "calls").read_text().splitlines() if "what-is-not-there" not in line and line != "--version"]
        return done.returncode, [line.split()[0] for line in calls], done.stdout.splitlines(), done.stderr.splitlines()

    return make


@pytest.fixture(scope="module")
def all_made(tmp_path_factory):
    """A folder in which make has made everything, and what it said before and then."""
    work = tmp_path_factory.mktemp("made")
    make = standing_in(work)
    return work, [make("-n", "imgret"), sorted(found(work / "build")), make("imgret")]


@pytest.fixture
def made_by_make(all_made, tmp_path):
    """A copy of it: the folder, and a function that runs make there."""
    shutil.copytree(all_made[0], tmp_path / "made", symlinks=True)
    return tmp_path / "made", making(tmp_path / "made")


def found(top):
    """Every file below a folder, with what it holds and when it was written."""
    return {path: (path.read_bytes(), path.lstat().st_mtime_ns) for path in sorted(top.rglob("*")) if path.is_file()}


def run_of(lines):
    """The steps among the commands that `make -n` prints."""
    return [line.partition("/imgret ")[2].split()[0] for line in lines if "/imgret " in line]


OF_ONE = ["extract", "codebook", "encode", "index", "search", "evaluate", "index", "search", "evaluate"]


@needs_make
def test_make_says_truly_what_it_would_do(all_made, made_by_make):
    asked, written, done = all_made[1]
    assert (asked[:2], sorted(run_of(asked[2]))) == ((0, []), sorted(OF_ONE * 2))
    assert {path.suffix for path in written} == {".mk", ".tables", ".seen"}  # that is all that is written
    assert (done[0], sorted(done[1])) == (0, sorted(OF_ONE * 2))
    assert done[2][-3:] == ["mAP          a          b", "one     0.2500     0.2500", "two     0.2500     0.2500"]

    work, make = made_by_make
    before = found(work / "build")
    assert make("-q", "imgret")[:2] == (0, [])
    assert run_of(make("-n", "imgret")[2]) == []
    after = found(work / "build")
    assert [path.name for path in after if after[path] != before[path]] == ["rules.mk"]
    shutil.copy(work / "my data/b/0.png", work / "my data/b/1.png")
    assert make("-q", "imgret")[:2] == (1, [])
    assert sorted(run_of(make("-n", "imgret")[2])) == sorted(OF_ONE)
    assert sorted(make("imgret")[1]) == sorted(OF_ONE)
    os.utime(work / "truth-a.csv")
    assert make("-q", "build/b/one/scores.json")[0] == 0  # scores by their own names, too
    assert make("build/a/one/scores.json")[1] == ["evaluate"]
    (work / "one.toml").write_text(CONFIG.replace('"flat"', '"pq"'))
    assert sorted(make("imgret")[1]) == ["evaluate"] * 3 + ["index"] * 2 + ["search"] * 2  # two's scores on a, by the truth's new time
    (work / "one.toml").write_text(CONFIG)
    assert make("imgret")[1] == ["evaluate"] * 2  # back again: only the scores' own names have to be served


@needs_make
def test_make_goes_on_and_prints_what_there_is(made_by_make):
    work, make = made_by_make
    (work / "my data/b/0.png").touch()
    code, ran, out, err = make("imgret", fail="build/b/index-")
    assert (code, ran.count("index")) == (2, 2)  # the second one is tried too
    assert out[-3:] == ["mAP          a          b", "one     0.2500          -", "two     0.2500          -"]  # not those of before
    told = sorted(line for line in err if line.startswith("rules.py: "))
    indexes = sorted(path.relative_to(work) for path in (work / "build/b").glob("index-*.h5"))
    for line, index in zip(told, indexes, strict=True):
        assert line.startswith(f"rules.py: {index} was not made (index, ")
        assert line.endswith(("one.toml:index): no scores of one on b", "two.toml:index): no scores of two on b"))
    assert make("-q", "imgret")[0] == 1
    code, ran, out, _ = make("imgret")
    assert (code, sorted(ran), out[-1]) == (0, ["evaluate", "evaluate", "index", "index", "search", "search"], "two     0.2500     0.2500")
    (work / "my data/b/0.png").unlink()  # no photo is left
    code, ran, out, err = make("imgret", fail="build/b/features-")
    assert (code, ran, out[-1]) == (2, ["extract"], "two     0.2500          -")
    (features,) = (work / "build/b").glob("features-*.h5")
    text = f"rules.py: {features.relative_to(work)} was not made (extract, one.toml:features): no scores of one on b, two on b"
    assert [line for line in err if line.startswith("rules.py: ")] == [text]


@needs_make
def test_make_looks_before_it_starts(work):
    make = standing_in(work)
    (work / "truth-b.csv").unlink()
    shutil.rmtree(work / "my data/b")
    sentences = [
        "rules.py: dataset b: there is no my data/b (IMGRET_PHOTOS)",
        "rules.py: there is no ground truth truth-b.csv (IMGRET_TRUTH, or `truth` of a config)",
    ]
    code, ran, _, err = make("imgret")
    assert (code, ran, err[:2]) == (2, [], sentences)
    assert re.match(r"make(\[\d+\])?: \*\*\* ", err[2])
    assert make("-n", "imgret")[3][:2] == sentences
    code, ran, _, err = make("imgret", "IMGRET_DATASETS=a", "IMGRET=./gone")
    text = "rules.py: IMGRET: `./gone --version` fails: "
    assert (code, ran, err[0].startswith(text)) == (2, [], True)
    assert err[0].endswith(": set IMGRET to the command, as in IMGRET := .venv/bin/imgret")
    assert not list((work / "build").glob("*/*.h5"))
    assert make("imgret", "IMGRET_DATASETS=a")[0] == 0


def test_each_step_is_asked_before_it_is_started(work):
    (work / "one.toml").write_text(
        """
        features = { run = "extract", method = "sift", set = { max-size = -1 } }
        index = { run = "index", inputs = ["features"], method = "flot" }
        """
    )
    folder(work / "data", 1)
    environment = os.environ | {"PYTHONPATH": ROOT, "IMGRET": f"{sys.executable} -m imgret", "IMGRET_PHOTOS": "data"}
    command = [sys.executable, SCRIPTS / "rules.py", "check", "build", "--datasets", "a", "--configs", "one.toml"]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    first, second = done.stderr.splitlines()
    assert first.startswith("rules.py: one.toml:features: `max_size` must be ")
    assert second.startswith("rules.py: one.toml:index: Invalid value for '-m' / '--method': 'flot' is not one of 'flat', ")
    assert (done.returncode, done.stdout) == (1, "")
    assert not list(work.rglob("*.h5*"))


@needs_make
def test_make_takes_no_paths_with_spaces(work):
    make = standing_in(work)
    text = "must be a path without spaces, as make takes no other: got 'my truth.csv'.  Stop."
    code, ran, _, err = make("imgret", "IMGRET_TRUTH=my truth.csv")
    assert (code, ran, err[-1].endswith(f"IMGRET_TRUTH {text}")) == (2, [], True)
    code, ran, _, err = make("imgret", "IMGRET_BUILD=my truth.csv")
    assert (code, ran, err[-1].endswith(f"IMGRET_BUILD {text}")) == (2, [], True)


@needs_make
def test_what_no_config_names_any_more_is_removed_and_nothing_else(made_by_make):
    work, make = made_by_make
    everything = found(work / "build")
    assert make("imgret-clean-old")[:3] == (0, [], [])
    old = sorted(path for path in (work / "build").glob("*/*-*.h5") if path.name[:5] in ("index", "ranki"))
    one = {path.resolve() for path in (work / "build").glob("*/one/*.h5")}
    old = [path for path in old if path not in one]
    assert len(old) == 4
    kept = [work / "build/a" / name for name in ("mine.h5", "vlad-0123456789.txt", "vlad-012345678.h5", "text-0123456789.h5")]
    kept += [work / "build/c/vlad-0123456789.h5", work / "build/vlad-0123456789.h5", work / "build/a/sub/vlad-0123456789.h5"]
    for path in kept:
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(old[0].read_bytes() if path.name != "text-0123456789.h5" else b"my notes")
    (work / "build/a/one/link.h5").symlink_to("../gone.h5")  # not one of make's
    (work / "elsewhere").mkdir()
    (work / "build/b/vlad-0123456789.h5").symlink_to("../../elsewhere")
    parts = [work / f"build/a/vlad-{n}123456789.h5.parts" for n in range(2)]
    for path in parts:
        (path / RECIPE).mkdir(parents=True)
        (path / RECIPE / "own-host-01234567.h5").touch()
    mine = work / "build/a/vlad-2123456789.h5.parts" / "mine.txt"
    mine.parent.mkdir()
    mine.touch()
    names = [str(path.relative_to(work)) for path in [*old, parts[0], mine.parent]]
    names += [f"build/{dataset}/two/{table}.h5" for dataset in "ab" for table in ("index", "ranking")]
    with open(parts[1] / RECIPE / "own-host-01234567.h5", "rb") as claim:
        fcntl.flock(claim, fcntl.LOCK_EX)
        only_one = "IMGRET_CONFIGS=one.toml"
        code, _, out, err = make("-n", "imgret-clean-old", only_one)
        busy = [f"rules.py: {parts[1].relative_to(work)} stays: a process is at work there"]
        assert (code, sorted(out[1:]), err) == (0, sorted(f"would remove {name}" for name in names), busy)
        assert make("-q", "imgret-clean-old", only_one)[0] == 1
        assert everything.items() <= found(work / "build").items() | {(work / "build/rules.mk", everything[work / "build/rules.mk"])}
        code, _, out, _ = make("imgret-clean-old", only_one)
        stays = str(mine.parent.relative_to(work))
        assert (code, sorted(out)) == (0, sorted(f"removed {name}{' as far as imgret has made it' * (name == stays)}" for name in names))
    names.remove(stays)
    assert all(path.exists() for path in [*kept, mine, parts[1], work / "build/b/vlad-0123456789.h5"])
    assert (work / "build/a/one/link.h5").is_symlink()
    assert not any(os.path.lexists(work / name) for name in names)
    assert sorted(make("imgret")[1]) == sorted(["index", "search", "evaluate"] * 2)  # what was kept is still good


def test_shipped_configs_are_whole_pipelines_that_imgret_accepts(tmp_path, monkeypatch):
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    configs = sorted((Path(ROOT) / "configs").glob("*.toml"))
    assert configs
    for path in configs:
        assert path.read_text().startswith("# ")
        for table, content in config.read(str(path)).items():
            # every key is known and every value fits: what is refused is the missing file, after that
            if content["run"] in ("extract", "train"):
                network = ["--set", f"weights={tmp_path}/none.safetensors"] if "network" in content else []
                out = tmp_path / f"x{config.ending(content)}"
                result = call(content["run"], "--config", f"{path}:{table}", "-o", out, *network, tmp_path / "none")
                untrained = content["method"] == "cnn" and not network
                missing = "scripts/fetch_weights.py resnet50" if untrained else "none"
                assert (result.code, missing in result.err) == (1, True), result.err
            elif content["run"] in ("codebook", "index"):
                learned = ["-c", tmp_path / "none.h5"] if "codebook" in content else []
                result = call(content["run"], "--config", f"{path}:{table}", "-o", tmp_path / "x.h5", *learned, tmp_path / "none.h5")
                assert (result.code, "none.h5" in result.err) == (1, True), result.err
            elif content["run"] == "encode":
                missing = tmp_path / "none.h5"
                learned = ["-c", missing] if "codebook" in content and not is_ready(content["codebook"]) else []
                result = call("encode", "--config", f"{path}:{table}", "-o", tmp_path / "x.h5", *learned, missing, missing)
                assert (result.code, "none.h5" in result.err) == (1, True), result.err
            elif content["run"] == "rerank":
                missing = tmp_path / "none.h5"
                known = [word for key in config.FILES["rerank"][1:] if key in content for word in (f"--{key}", missing)]
                rankings = [missing] * len(config.named(content, "inputs"))
                result = call("rerank", "--config", f"{path}:{table}", "-o", tmp_path / "x.h5", *rankings, *known)
                assert (result.code, "none.h5" in result.err) == (1, True), result.err
        code, text, err = rules("rules", str(tmp_path / "build"), "--datasets", "a", "--configs", str(path), "--train", "t")
        assert code == 0, err
        assert "/scores.json" in text


def test_fetch_weights_puts_the_file_where_it_is_looked_for(tmp_path, monkeypatch, capsys):
    """From a file:// address here: the name's last part is the beginning of the file's SHA-256, and is checked."""
    pytest.importorskip("torch")
    torchvision = pytest.importorskip("torchvision")
    fetch = script("fetch_weights")
    data = b"weights"
    good = f"small-{hashlib.sha256(data).hexdigest()[:8]}.pth"
    for name in (good, "small-00000000.pth"):
        (tmp_path / name).write_bytes(data)
    address = [f"file://{tmp_path}/{good}"]
    best = types.SimpleNamespace(DEFAULT=types.SimpleNamespace(url=address[0]))
    monkeypatch.setattr(torchvision.models, "get_model_weights", lambda model: best)
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    wanted = tmp_path / "torch" / "hub" / "checkpoints" / good
    for _ in range(2):  # the second time there is nothing to do
        assert fetch.main(["resnet18"]) == 0
        assert capsys.readouterr().out == f"{wanted}\n"
        assert wanted.read_bytes() == data
    assert fetch.main(["--to", str(tmp_path / "mine"), "resnet18"]) == 0
    assert (tmp_path / "mine" / good).read_bytes() == data
    best.DEFAULT.url = f"file://{tmp_path}/small-00000000.pth"
    assert fetch.main(["resnet18"]) == 1
    assert "fetch_weights.py: the weights of resnet18 could not be fetched: " in capsys.readouterr().err
    assert not (wanted.parent / "small-00000000.pth").exists()
    assert fetch.main(["resnet51"]) == 2
    assert "has no network 'resnet51'" in capsys.readouterr().err
