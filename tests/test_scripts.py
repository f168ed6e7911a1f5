"""The demo's photos, and make rules made from configs."""

import csv
import hashlib
import importlib.util
import json
import os
import shutil
import subprocess
import sys
import tomllib
import types
from pathlib import Path

import numpy as np
import pytest
from helpers import ROOT, call, folder

SCRIPTS = Path(ROOT) / "scripts"
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
    outputs = sorted(made(text))
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
    assert f"{by['build/a/features']}: IMGRET_FORCE\n" in text


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
    assert make() == (["extract", "extract"], first)  # only imgret can tell whether a folder has changed
    assert os.path.samefile(work / "build/a/one/words.h5", next((work / "build/t").glob("words-*.h5")))

    edited = "# a comment changes nothing" + CONFIG.replace('method = "flat"', 'method = "hnsw"')
    (work / "one.toml").write_text(edited)
    assert make()[0] == ["extract", "extract", "index", "search", "evaluate"]
    (work / "one.toml").write_text(CONFIG)
    assert make() == (["extract", "extract", "evaluate"], first)  # back again: only the scores' own name has to be served

    shutil.copy(work / "data/a/0.png", work / "data/a/4.png")
    assert sorted(make()[0]) == sorted(name for name in everything if name != "codebook")  # nothing new to learn from
    with open(work / "build/a/one/scores.json") as file:
        assert json.load(file)["runs"][0]["queries"] == 4


def test_shipped_configs_are_whole_pipelines_that_imgret_accepts(tmp_path, monkeypatch):
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    configs = sorted((Path(ROOT) / "configs").glob("*.toml"))
    assert configs
    for path in configs:
        assert path.read_text().startswith("# ")
        for table, content in tomllib.loads(path.read_text()).items():
            # every key is known and every value fits: what is refused is the missing file, after that
            if content["run"] == "extract":
                result = call("extract", "--config", f"{path}:{table}", "-o", tmp_path / "x.h5", tmp_path / "none")
                missing = "scripts/fetch_weights.py resnet50" if content["method"] == "cnn" else "none"
                assert (result.code, missing in result.err) == (1, True), result.err
            elif content["run"] in ("codebook", "index"):
                result = call(content["run"], "--config", f"{path}:{table}", "-o", tmp_path / "x.h5", tmp_path / "none.h5")
                assert (result.code, "none.h5" in result.err) == (1, True), result.err
            elif content["run"] == "encode":
                missing = tmp_path / "none.h5"
                learned = ["-c", missing] if "codebook" in content else []
                result = call("encode", "--config", f"{path}:{table}", "-o", tmp_path / "x.h5", *learned, missing, missing)
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
