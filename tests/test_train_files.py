"""The files that `train` writes beside a network, by the command."""

import json

import pytest
from helpers import call, photo, refused

pytest.importorskip("torch")
SMALL = (
    "-m",
    "contrastive",
    "--set",
    "model=squeezenet1_1",
    "--set",
    "weights=random",
    "--set",
    "max_size=64",
    "--set",
    "holdout=0.25",
    "--epochs",
    1,
    "-j1",
)


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A network of random weights, trained for an epoch on photos of which one is none, with a page and a log."""
    folder = tmp_path_factory.mktemp("trained")
    for number in range(16):
        (folder / "photos" / str(number // 2)).mkdir(parents=True, exist_ok=True)
        photo(folder / "photos" / str(number // 2) / f"{number}.png", number // 2)
    (folder / "photos" / "0" / "bad.png").write_bytes(b"no photo")
    done = train(folder)
    assert done.code == 0, done.err
    return folder


def train(folder, *more):
    files = ("-o", folder / "net.safetensors", "--html", folder / "page.html", "--log", folder / "log.csv")
    return call("train", folder / "photos", "--truth", "folders", "--max-failed", "50%", *SMALL, *files, *more)


def test_a_network_comes_with_its_page_and_log(trained):
    facts = json.loads(call("info", trained / "net.safetensors", "--json", "--failed", "--check").out)
    assert facts["problems"] == []
    assert [(entry["name"], entry["code"]) for entry in facts["failed_photos"]] == [("0/bad.png", "not-an-image")]
    rows = [line.split(",") for line in (trained / "log.csv").read_text().splitlines()]
    steps = facts["history"]["steps"]
    assert [row[0] for row in rows] == ["kind", "epoch", *["step"] * len(steps), "epoch"]
    assert [[int(row[1]), int(row[2]), float(row[3]), float(row[4])] for row in rows if row[0] == "step"] == steps
    scores = [float(row[5]) for row in rows[1:] if row[0] == "epoch"]
    assert scores == [entry["score"] for entry in facts["history"]["epochs"]]
    assert {row[6] for row in rows[1:]} == {facts["recipe"][:12]}
    assert b"0/0.png" in (trained / "page.html").read_bytes()


def test_what_is_gone_comes_back_without_training(trained):
    page, log = trained / "page.html", trained / "log.csv"
    before = page.read_bytes(), log.read_bytes()
    page.unlink()
    log.unlink()
    done = train(trained)
    assert (done.code, "is up to date" in done.err) == (0, True)
    assert (page.read_bytes(), log.read_bytes()) == before


def test_a_log_of_another_training_is_refused_before_any_work(trained):
    said = f"{trained}/log.csv is there and holds something else: choose another --log, or give --overwrite to replace it"
    refused(train(trained, "--seed", 5, "-o", trained / "other.safetensors"), 1, said)
    assert not (trained / "other.safetensors").exists()
