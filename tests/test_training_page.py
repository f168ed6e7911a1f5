"""The page of a training: what it holds, what it shows in a browser, and what it is never written over."""

import json
import os
import re
import types

import pytest
from helpers import folder as photos_in
from trained import DOCUMENTS, HISTORY, network

from imgret.errors import ImgretError
from imgret.html.training import training_page
from imgret.runs.history import History
from imgret.runs.networkfiles import NetworkFile
from imgret.runs.run import Run
from imgret.runs.trainingpage import TrainingPage
from imgret.stages.trainfiles import SideFiles

NAMES = ("a/0.png", "a/1.png", "b/2.png", "b/3.png")


def made(path, history=HISTORY, **changed):
    """A page of a network with this history, written beside it; four photos of its examples are there."""
    root = path / "photos"
    if not root.exists():
        photos_in(root, 4)
    network(path / "net.safetensors", history=json.dumps(history), **changed)
    page = TrainingPage(str(path / "page.html"), [str(root)], [], Run())
    files = sorted(os.listdir(root))
    page.write(NetworkFile(str(path / "net.safetensors")), {name.encode(): root / file for name, file in zip(NAMES, files, strict=True)})
    return path / "page.html"


def held(path, what="data"):
    """What a page holds, as its script reads it."""
    return json.loads(re.search(f'<script type="application/json" id="{what}">(.*)</script>', path.read_text()).group(1))


def contents(history=HISTORY, **changed):
    """The page of a history, without a file."""
    names = {"shown": "x/net.safetensors", "recipe": "12", "content": "34"}
    file = type("File", (), DOCUMENTS | names | changed)
    return training_page(file, History.of(history), [])


def test_a_page_holds_what_the_network_says(tmp_path):
    data = held(made(tmp_path))
    assert (data["title"], data["measure"], data["best"]) == ("net.safetensors: contrastive", "map", 2)
    assert data["note"] == (
        "map by protocol groups on 120 photos, 60 of which ask, held out of the training; "
        "the weights are those of epoch 2: map 0.6725, 0.6410 at the start"
    )
    assert (data["epochs"], data["steps"], data["warnings"]) == (HISTORY["epochs"], HISTORY["steps"], [])
    assert data["photos"] == list(NAMES)
    assert data["examples"] == [[epoch, 0, [1], [2, 3]] for epoch in (1, 2, 3)]
    assert data["failed"] == [["c/bad.png", "truncated", "the file ends early"]]
    facts = {heading: dict(rows) for heading, rows in data["facts"]}
    assert facts["method and recipe"] == {
        "step": "train",
        "method": "contrastive",
        "version": "1",
        "epochs": "3",
        "rate": "3e-05",
        "truth": "groups",
    }
    assert facts["what extract takes from it"]["p"] == "2.75"
    assert facts["inputs"]["t.csv"] == "truth, content " + "cd" * 32
    assert len([thumbnail for thumbnail in held(tmp_path / "page.html", "thumbnails") if thumbnail]) == 4


def test_a_page_is_the_same_when_it_is_made_again(tmp_path):
    path = made(tmp_path)
    before, status = path.read_bytes(), path.stat()
    assert made(tmp_path) == path
    assert (path.read_bytes(), path.stat().st_mtime_ns) == (before, status.st_mtime_ns)


def test_a_photo_that_nobody_knows_is_shown_by_its_name(tmp_path):
    history = HISTORY | {"examples": [{"epoch": 1, "query": "gone.png", "positives": ["a/1.png"], "negatives": []}]}
    assert [bool(thumbnail) for thumbnail in held(made(tmp_path, history), "thumbnails")] == [False, True]


def test_of_many_epochs_the_examples_of_some_are_shown():
    entry = HISTORY["examples"][0]
    history = HISTORY | {"best": 34, "examples": [entry | {"epoch": epoch} for epoch in range(1, 101)]}
    epochs = [example[0] for example in contents(history).examples]
    assert len(epochs) == 13
    assert {1, 34, 100} <= set(epochs)
    many = HISTORY | {"examples": [entry | {"negatives": [f"{number}.png" for number in range(50)]}]}
    assert len(contents(many).examples[0][3]) == 8


def test_warnings_of_trainings_that_gained_nothing():
    assert contents(HISTORY | {"best": 0}).warnings == ["no epoch is better than the start: the weights are those that training began with"]
    unscored = [entry | {"score": None, "figures": {}} for entry in HISTORY["epochs"]]
    nothing = contents(HISTORY | {"measure": None, "protocol": None, "validation": None, "epochs": unscored, "best": 3})
    assert nothing.note == "nothing was scored"
    assert nothing.warnings == [
        "nothing was scored: the weights are those of the last epoch, whether they are better than the start or not"
    ]
    assert contents(params={"method": 3}).title == "net.safetensors"


def test_a_page_is_written_over_no_file_of_others(tmp_path):
    path = tmp_path / "page.html"
    path.write_text("mine")
    said = f"--html {path} is not an imgret report and would be replaced: choose another --html, or give --overwrite"
    with pytest.raises(ImgretError, match=f"^{re.escape(said)}$"):
        made(tmp_path)
    assert path.read_text() == "mine"
    with pytest.raises(ImgretError, match="which is read"):
        TrainingPage(str(tmp_path / "photos" / "x.html"), [], [str(tmp_path / "photos")], Run())


def test_a_network_whose_history_is_none_is_refused(tmp_path):
    with pytest.raises(ImgretError, match="is damaged: its history cannot be read"):
        made(tmp_path, {})
    with pytest.raises(ImgretError, match="is damaged: its failed cannot be read"):
        made(tmp_path, failed="[1]")


# --- with the other files of a training


def listing(root, names=NAMES):
    """Photos of a folder under these names, as a listing has them."""
    paths = [os.path.join(root, file) for file in sorted(os.listdir(root))]
    sizes = [os.path.getsize(path) for path in paths]
    return types.SimpleNamespace(names=[name.encode() for name in names], paths=list(map(os.fsencode, paths)), sizes=sizes)


def test_a_training_that_is_complete_gets_what_it_lacks(tmp_path):
    root, paths = tmp_path / "photos", {"--html": str(tmp_path / "x.html"), "--log": str(tmp_path / "x.csv"), "--tensorboard": None}
    photos_in(root, 4)
    file = NetworkFile(str(network(tmp_path / "net.safetensors")))
    for _ in range(2):
        files = SideFiles(paths, {"-o": file.path}, [str(root)], Run())
        files.spare(listing(root))
        assert len(files.begin(file.recipe)) == 1
        files.finish(file, [listing(root)])
        assert (tmp_path / "x.csv").read_text().count("\n") == 1 + len(HISTORY["steps"]) + len(HISTORY["epochs"])
        assert [bool(thumbnail) for thumbnail in held(tmp_path / "x.html", "thumbnails")] == [True] * 4
    assert SideFiles({"--log": None}, {}, [], Run()).begin("12") == []


def test_files_that_are_no_places_of_their_own_are_refused(tmp_path):
    root = tmp_path / "photos"
    photos_in(root, 4)
    photo = os.fspath(root / sorted(os.listdir(root))[0])
    net, csv = str(tmp_path / "net.safetensors"), str(tmp_path / "x.csv")
    for paths, reads, said in [
        ({"--log": net}, [], f"-o and --log are both {net}: give each a file of its own"),
        ({"--html": csv, "--log": csv}, [], f"--html and --log are both {csv}: give each a file of its own"),
        ({"--log": f"{tmp_path}/no/x.csv"}, [], f"{tmp_path}/no/x.csv: the folder {tmp_path}/no does not exist: create it first"),
        ({"--log": str(root)}, [], f"--log '{root}' names a folder, a file is needed"),
        ({"--log": photo}, [], f"--log {photo} is one of the photos, which are read: choose another --log"),
    ]:
        with pytest.raises(ImgretError, match=f"^{re.escape(said)}$"):
            SideFiles(paths, {"-o": net}, reads, Run(overwrite=True)).spare(listing(root))


# --- in a browser


def texts(tab, selector):
    return tab.locator(selector).all_inner_texts()


def test_what_a_browser_shows(show, tmp_path):
    tab = show(made(tmp_path))
    assert tab.title() == "net.safetensors: contrastive"
    assert texts(tab, ".chart h3") == ["map of the validation", "loss", "learning rate"]
    assert texts(tab, ".chart figcaption")[0] == "0.6410 at the start (dashed), 0.6725 after epoch 2, which was kept (ringed)."
    assert tab.locator(".chart svg[role=img][aria-label]").count() == 3
    assert tab.locator("circle.best").count() == 1
    # the ring is around the third point
    ring, point = tab.locator("circle.best"), tab.locator("circle.point").nth(2)
    assert [ring.get_attribute(name) for name in ("cx", "cy")] == [point.get_attribute(name) for name in ("cx", "cy")]
    assert texts(tab, "#epochs tr")[:2] == ["epoch\tmap\tloss\trate\tp@1", "0 (start)\t0.6410\t–\t–\t0.7000"]
    assert texts(tab, "#epochs tr.kept") == ["2 (kept)\t0.6725\t0.1500\t1.50e-5\t0.7400"]
    assert texts(tab, "#examples h3") == ["epoch 1", "epoch 2", "epoch 3"]
    assert texts(tab, "#examples ul >> nth=0 >> li p") == [
        "asks a/0.png",
        "matches a/1.png",
        "does not match b/2.png",
        "does not match b/3.png",
    ]
    assert tab.locator("#examples img").count() == 12
    tab.click(".failed summary")
    assert texts(tab, ".failed td") == ["c/bad.png", "truncated", "the file ends early"]


def test_what_a_stranger_wrote_is_text(show, tmp_path):
    evil = "</script><img src=x onerror=alert(1)>\u202e\udcff"
    example = {"epoch": 1, "query": evil, "positives": [evil], "negatives": []}
    history = HISTORY | {"measure": evil, "protocol": evil, "examples": [example]}
    tab = show(made(tmp_path, history, params=json.dumps({"method": evil, evil: [evil]}), failed="[]"))
    assert tab.locator("img").count() == 0
    assert texts(tab, "#examples li p") == ["asks </script><img src=x onerror=alert(1)>\\u202e\\xff"] + [
        "another view </script><img src=x onerror=alert(1)>\\u202e\\xff"
    ]


@pytest.mark.parametrize(
    "changed", [{"epochs": [], "steps": [], "examples": []}, {"epochs": HISTORY["epochs"][:1], "steps": HISTORY["steps"][:1]}]
)
def test_a_page_of_next_to_nothing(show, tmp_path, changed):
    tab = show(made(tmp_path, HISTORY | changed), color_scheme="dark", width=400)
    assert tab.locator(".chart").count() == (3 if changed["steps"] else 0)
    assert "NaN" not in tab.content().partition('id="data"')[0]
    assert tab.evaluate("document.documentElement.scrollWidth <= document.documentElement.clientWidth")
