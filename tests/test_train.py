"""The step `train`: from photos to a network file, the same whatever happens on the way, and what is refused."""

import json
import os
import re
import shutil

import numpy as np
import pytest
from helpers import call, encoded, refused, run, texture
from pupils import EACH, GROUPS, NET, SHORT, TUPLES, Killed, checkpoint, dying, kept, sets, trained

pytest.importorskip("torch")

from imgret.networks import safetensors_files  # noqa: E402 - after what it needs
from imgret.runs.networkfiles import NetworkFile  # noqa: E402
from imgret.store.reader import Store  # noqa: E402
from imgret.training.steps import Steps  # noqa: E402


def test_a_network_says_how_it_was_made(pupils):
    file = NetworkFile(str(pupils / "net.safetensors"))
    assert (file.params["method"], file.params["truth"], file.params["params"]["epochs"]) == ("contrastive", "groups", 2)
    assert [entry["kind"] for entry in file.inputs] == ["photos", "truth"]
    assert not list(file.problems())
    history = file.history
    assert [entry["epoch"] for entry in history["epochs"]] == [0, 1, 2]
    scores = [entry["score"] for entry in history["epochs"]]
    assert history["best"] == int(np.argmax(scores))
    assert (history["measure"], history["validation"]["held_out"], history["validation"]["queries"]) == ("map", True, 6)
    steps = -(-((GROUPS - 2) * EACH + 1) // 2)  # each photo of the six other groups asks once an epoch, and the one of none; two in a batch
    assert [step[:2] for step in history["steps"]] == [[1 + number // steps, number + 1] for number in range(2 * steps)]
    example = history["examples"][0]
    group = example["query"].split("-")[0]
    assert [name.split("-")[0] for name in example["positives"]] == [group]
    assert group not in {name.split("-")[0] for name in example["negatives"]}
    assert not os.path.exists(pupils / "net.safetensors.parts")


def test_what_is_there_is_up_to_date_and_other_parameters_are_refused(pupils):
    before = (pupils / "net.safetensors").read_bytes()
    again = trained(pupils, pupils / "net.safetensors")
    assert (again.code, again.err) == (0, f"imgret: {pupils}/net.safetensors is up to date\n")
    other = trained(pupils, pupils / "net.safetensors", settings=(*SHORT, "margin=0.5"))
    refused(
        other,
        1,
        f"{pupils}/net.safetensors was made with other parameters (margin: 0.7 there, 0.5 here): choose another -o, or give --overwrite to "
        "replace it",
    )
    assert (pupils / "net.safetensors").read_bytes() == before


def test_extract_describes_as_training_did(pupils, tmp_path):
    import torch

    from imgret.networks import views
    from imgret.networks.heads import HEADS
    from imgret.networks.trainable import Trainable
    from imgret.registry import load
    from imgret.trainers.tuples import Contrastive

    net = pupils / "net.safetensors"
    done = call("extract", pupils / "photos", "-o", tmp_path / "v.h5", "-m", "cnn", "--set", f"weights={net}")
    assert done.code == 0, done.err
    params = Contrastive.Params.parse((f"weights={net}",))
    assert (params.model, params.max_size, params.pool) == ("shufflenet_v2_x0_5", 64, "gem")
    network = Trainable(params, load(HEADS, "gem", "head")(params.chosen), "cpu")
    network.adopt({})
    with Store(str(tmp_path / "v.h5")) as store:
        rows, names = store.read("vectors"), [os.fsdecode(name) for name in store.texts("names")]
    for name, row in zip(names, rows, strict=True):
        photo = views.read((pupils / "photos" / name).read_bytes(), network.params, network.least)
        np.testing.assert_allclose(network([photo.pixels])[0].numpy(), row, atol=1e-5)
    assert torch.isfinite(network([photo.pixels])).all()


def test_jobs_and_the_place_change_nothing(pupils, tmp_path):
    done = trained(pupils, tmp_path / "other.safetensors", jobs=2)
    assert done.code == 0, done.err
    assert (tmp_path / "other.safetensors").read_bytes() == (pupils / "net.safetensors").read_bytes()


@pytest.mark.parametrize("method", ["contrastive", "instance"])
def test_killed_anywhere_it_ends_with_the_same_bytes(pupils, tmp_path, monkeypatch, method):
    """A checkpoint after each step, and a death after so many: each time a new run goes on."""
    settings = SHORT if method == "contrastive" else (*NET, "photos=6", "queue=8", "epochs=2", "rate=1e-3", "holdout=0.3")
    options = ["--truth", pupils / "groups.csv"] if method == "contrastive" else []
    command = ["train", pupils / "photos", "-m", method, *options, *sets(settings), "-j", 1, "--last", tmp_path / "last.safetensors"]
    whole = call(*command, "-o", tmp_path / "whole.safetensors")
    assert whole.code == 0, whole.err
    last = (tmp_path / "last.safetensors").read_bytes()
    done, made = dying(monkeypatch, (1, 0, 4, 2, 100), command, tmp_path / "killed.safetensors")
    assert done.code == 0, done.err
    assert made == list(range(made[-1] + 1))  # none twice, none left out
    assert (tmp_path / "killed.safetensors").read_bytes() == (tmp_path / "whole.safetensors").read_bytes()
    assert (tmp_path / "last.safetensors").read_bytes() == last


def test_a_signal_ends_it_and_the_same_command_goes_on(pupils, tmp_path):
    """SIGTERM in the middle: 75, within seconds, and nothing is lost."""
    import signal
    import subprocess
    import sys
    import time

    out = tmp_path / "net.safetensors"
    command = [sys.executable, "-m", "imgret", "train", pupils / "photos", "-o", out, "-m", "contrastive", "--truth", pupils / "groups.csv"]
    command += [*sets((*TUPLES, "epochs=400", "rate=1e-3")), "-j", "2"]
    process = subprocess.Popen(list(map(os.fspath, command)), stderr=subprocess.PIPE)
    try:
        while not any(file == "checkpoint.safetensors" for _, _, files in os.walk(f"{out}.parts") for file in files):
            assert process.poll() is None, process.stderr.read()
            time.sleep(0.05)
        process.send_signal(signal.SIGTERM)
        _, err = process.communicate(timeout=120)
    finally:
        process.kill()
    assert process.returncode == 75, err
    assert err.decode().endswith("imgret: stopped by SIGTERM; what is finished is kept: run the same command again\n")
    assert not out.exists()


def test_a_damaged_checkpoint_is_no_checkpoint(pupils, tmp_path, monkeypatch):
    out = tmp_path / "net.safetensors"
    real = Steps.make

    def make(self, inputs, batch, step, share):
        if step == 2:
            raise Killed
        return real(self, inputs, batch, step, share)

    with monkeypatch.context() as context:
        context.setattr(Steps, "make", make)
        with pytest.raises(Killed):
            trained(pupils, out)
    path = checkpoint(out)
    data = open(path, "rb").read()
    with open(path, "wb") as file:
        file.write(data[: len(data) // 2])
    assert trained(pupils, out).code == 0
    assert out.read_bytes() == (pupils / "net.safetensors").read_bytes()


def test_a_loss_that_is_not_finite_stops_it(pupils, tmp_path):
    out = tmp_path / "net.safetensors"
    wild = ("rate=1e3", "optimiser=sgd", "head_rate=1e6", "schedule=constant", "epochs=30")
    done = trained(pupils, out, settings=(*TUPLES, *wild))
    assert done.code == 1
    assert re.search(r"imgret: error: .*(the loss of step \d+ is nan|not finite after \d+ steps): set a smaller `rate`", done.err), done.err
    assert done.err.endswith("; the last checkpoint is kept\n")
    assert not out.exists()
    assert all(np.isfinite(array).all() for array in kept(out).values())


def test_photos_to_validate_by_are_none_of_those_to_train_on(pupils, tmp_path):
    shutil.copytree(pupils / "photos", tmp_path / "photos")
    for path in sorted((tmp_path / "photos").iterdir())[:-3]:
        path.unlink()
    done = trained(pupils, tmp_path / "net.safetensors", "--validate", tmp_path / "photos")
    refused_with = "3 photos to validate by are among those to train on, for example '7-1.png'"
    assert (done.code, refused_with in done.err) == (1, True), done.err
    for number, path in enumerate(sorted((tmp_path / "photos").iterdir())):
        path.write_bytes(encoded(texture(200 + number, 80, 64, channels=3)))
    done = trained(pupils, tmp_path / "net.safetensors", "--validate", tmp_path / "photos")
    assert (done.code, "1 group to validate by is among those to train on, for example 'g7'" in done.err) == (1, True), done.err


def test_a_validation_is_a_protocol(pupils, tmp_path):
    os.makedirs(tmp_path / "other")
    for number in range(6):
        (tmp_path / "other" / f"n{number}.png").write_bytes(encoded(texture(300 + number // 2, 80, 64, channels=3) // (1 + number % 2)))
    (tmp_path / "other.csv").write_text("image,group\n" + "".join(f"n{number}.png,h{number // 2}\n" for number in range(6)))
    out = tmp_path / "net.safetensors"
    done = trained(pupils, out, "--validate", tmp_path / "other", "--validate-truth", tmp_path / "other.csv")
    assert done.code == 0, done.err
    file = NetworkFile(str(out))
    assert file.params["validation"] == {"protocol": "groups", "truth": "groups"}
    assert (file.history["protocol"], file.history["validation"]["held_out"]) == ("groups", False)
    best = file.history["epochs"][file.history["best"]]["score"]
    steps = [
        ["extract", tmp_path / "other", "-o", tmp_path / "v.h5", "-m", "cnn", "--set", f"weights={out}"],
        ["index", tmp_path / "v.h5", "-o", tmp_path / "i.h5", "-m", "flat"],
        ["search", tmp_path / "i.h5", tmp_path / "v.h5", "-k", 10, "-o", tmp_path / "r.h5"],
    ]
    assert [call(*step).code for step in steps] == [0, 0, 0]
    scores = call("evaluate", tmp_path / "r.h5", "--protocol", "groups", "--truth", tmp_path / "other.csv", "--json", "--resamples", 0)
    assert json.loads(scores.out)["runs"][0]["measures"]["map"] == pytest.approx(best, abs=1e-9), scores.out


@pytest.mark.parametrize(
    ("lines", "text"),
    [
        (["0-0.png,a", "0-1.png,a"], "all photos to train on are of one group"),
        (["0-0.png,a", "1-1.png,b"], "no photo to train on matches another one: groups of one photo teach nothing"),
        (["x.png,a", "y.png,a"], "no photo to train on is named by"),
    ],
)
def test_what_teaches_nothing_is_refused(pupils, tmp_path, lines, text):
    (tmp_path / "groups.csv").write_text("image,group\n" + "\n".join(lines) + "\n")
    photos = ["0-0.png", "0-1.png"] if "one group" in text else []
    given = [pupils / "photos" / name for name in photos] or [pupils / "photos"]
    options = ["--root", pupils / "photos", "-m", "contrastive", "--truth", tmp_path / "groups.csv", *sets(SHORT)]
    done = call("train", *given, "-o", tmp_path / "net.safetensors", *options)
    assert (done.code, text in done.err) == (1, True), done.err
    assert not (tmp_path / "net.safetensors").exists()


def test_options_that_mean_nothing_are_misuse(pupils, tmp_path):
    out = tmp_path / "net.safetensors"
    refused(
        call("train", pupils / "photos", "-o", out, "-m", "contrastive", "--validate-truth", pupils / "groups.csv"),
        2,
        "--validate-truth is about the photos of --validate: give those too",
    )
    refused(
        call("train", pupils / "photos", "-o", out, "-m", "instance", "--truth", pupils / "groups.csv"),
        2,
        "-m instance learns from photos alone: leave --truth out",
    )
    refused(
        call("train", pupils / "photos", "-o", out, "-m", "contrastive", "--set", "scales=1,2"),
        2,
        "training looks at photos at one scale: set `scales` and `flip` where photos are described",
    )
    refused(
        call("train", pupils / "photos", "-o", out, "-m", "triplet", "--set", "levels=4"),
        2,
        "`levels` has no effect with pool=gem: leave it out",
    )


def test_a_newer_network_asks_for_a_newer_imgret(pupils, tmp_path):
    header = safetensors_files.read_header(str(pupils / "net.safetensors"))
    arrays = safetensors_files.read(str(pupils / "net.safetensors"))
    path = tmp_path / "newer.safetensors"
    safetensors_files.write(str(path), arrays, header.metadata | {"schema_version": "2"})
    done = call("extract", pupils / "photos", "-o", tmp_path / "v.h5", "-m", "cnn", "--set", f"weights={path}")
    refused(done, 1, f"{path} has version 2 of the format of networks, this imgret reads 1: upgrade imgret")


def test_help_lists_the_parameters_of_a_method():
    done = run("train", "-m", "contrastive", "--set", "help")
    assert done.code == 0
    for name in (b"epochs", b"margin", b"freeze", b"crop_size", b"pool", b"max_size"):
        assert name in done.out
