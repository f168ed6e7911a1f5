"""What goes wrong while a network is trained: one sentence, nothing lost, and never a damaged network."""

import errno
import json
import os
import shutil
import signal
import subprocess
import sys

import forking
import numpy as np
import pytest
from helpers import call, encoded, left_over, png_header, refused, texture
from killing import tidy
from pupils import NET, SHORT, Killed, checkpoint, kept, sets, trained

pytest.importorskip("torch")

from imgret.networks import safetensors_files  # noqa: E402 - after what it needs
from imgret.runs.networkfiles import NetworkFile  # noqa: E402
from imgret.training.keeping import Keeping  # noqa: E402
from imgret.training.steps import Steps  # noqa: E402


@pytest.fixture
def halted(pupils, tmp_path, monkeypatch):
    """The output of a training that was killed after two steps, with a checkpoint of them."""
    real = Steps.make

    def make(self, inputs, batch, step, share):
        if step == 2:
            raise Killed
        return real(self, inputs, batch, step, share)

    out = tmp_path / "net.safetensors"
    with monkeypatch.context() as patch:
        patch.setattr(Steps, "make", make)
        patch.setattr(Keeping, "due", lambda _: True)
        with pytest.raises(Killed):
            trained(pupils, out)
    return out


BAD = {
    "empty.jpg": b"",
    "text.png": b"this is no photo",
    "short.jpg": encoded(texture(1, 80, 64, channels=3), "JPEG")[:700],
    "huge.png": png_header(60_000, 60_000),
}


def test_bad_photos_are_recorded_and_left_out(pupils, tmp_path):
    photos = tmp_path / "photos"
    shutil.copytree(pupils / "photos", photos)
    shutil.copy(pupils / "groups.csv", tmp_path)
    for name, data in BAD.items():
        (photos / name).write_bytes(data)
    os.symlink(photos / "nowhere", photos / "link.png")
    os.mkfifo(photos / "pipe.png")
    few = trained(tmp_path, tmp_path / "net.safetensors")
    assert few.code == 1, few.err
    assert "--max-failed" in few.err
    done = trained(tmp_path, tmp_path / "net.safetensors", "--max-failed", 10)
    assert done.code == 0, done.err
    file = NetworkFile(str(tmp_path / "net.safetensors"))
    assert {each["name"] for each in file.failed} >= BAD.keys()
    listed = call("info", tmp_path / "net.safetensors", "--failed")
    assert all(name in listed.out.decode() for name in BAD)
    # those that are left are what training sees
    wanted = safetensors_files.read(str(pupils / "net.safetensors"))
    assert all(np.array_equal(array, wanted[name]) for name, array in safetensors_files.read(file.path).items())


@pytest.mark.parametrize("which", ["none", "one", "all bad"])
def test_too_few_photos(tmp_path, which):
    os.makedirs(tmp_path / "photos")
    if which == "one":
        (tmp_path / "photos" / "1.png").write_bytes(encoded(texture(1, 80, 64, channels=3)))
    if which == "all bad":
        (tmp_path / "photos" / "1.png").write_bytes(b"none")
    for method in ("instance", "contrastive"):
        done = call("train", tmp_path / "photos", "-o", tmp_path / "n.safetensors", "-m", method, *sets(NET), "--max-failed", "100%")
        assert done.code == 1, (method, done)
        assert done.err.splitlines()[-1].startswith("imgret: error: "), done.err
    assert left_over(tmp_path) == ["photos"]


def test_more_negatives_than_photos(pupils, tmp_path):
    done = trained(pupils, tmp_path / "n.safetensors", settings=(*NET, "negatives=900"))
    assert (done.code, done.err.splitlines()[-1]) == (
        1,
        "imgret: error: no photo to train on has 900 others that may be its negatives, no two of them of one group or place: set fewer "
        "`negatives`, or give more photos",
    )


def test_without_validation_the_last_weights_are_kept(pupils, tmp_path):
    done = trained(pupils, tmp_path / "n.safetensors", "--last", tmp_path / "last.safetensors", settings=(*NET, "holdout=0", "epochs=1"))
    assert done.code == 0, done.err
    history = NetworkFile(str(tmp_path / "n.safetensors")).history
    assert (history["best"], history["validation"], [each["score"] for each in history["epochs"]]) == (1, None, [None, None])
    assert (tmp_path / "n.safetensors").read_bytes() == (tmp_path / "last.safetensors").read_bytes()


def test_a_photo_that_goes_between_two_runs(pupils, halted, tmp_path):
    shutil.copytree(pupils, tmp_path / "copy", ignore=shutil.ignore_patterns("*.safetensors"))
    first = trained(tmp_path / "copy", tmp_path / "n.safetensors")
    assert first.code == 0, first.err
    os.unlink(tmp_path / "copy" / "photos" / "0-0.png")
    again = trained(tmp_path / "copy", tmp_path / "n.safetensors")
    assert again.code == 0, again.err
    assert "its inputs have changed, making it again" in again.err
    assert not any("0-0.png" in json.dumps(example) for example in NetworkFile(str(tmp_path / "n.safetensors")).history["examples"])


def test_an_output_that_is_read(pupils, tmp_path):
    shutil.copytree(pupils / "photos", tmp_path / "photos")
    shutil.copy(pupils / "groups.csv", tmp_path)
    for path in (tmp_path / "photos" / "0-0.png", tmp_path / "groups.csv"):
        before = path.read_bytes()
        refused(trained(tmp_path, path), 2, f"-o {path} must end in .safetensors: by that it is known as a network")
        assert path.read_bytes() == before
    shutil.copy(pupils / "net.safetensors", tmp_path / "init.safetensors")
    done = trained(tmp_path, tmp_path / "init.safetensors", "--init", tmp_path / "init.safetensors", settings=("epochs=1",))
    refused(done, 1, f"{tmp_path}/init.safetensors is both the weights to start from and the output: choose another -o")
    assert (tmp_path / "init.safetensors").read_bytes() == (pupils / "net.safetensors").read_bytes()


def test_a_full_disk_keeps_the_checkpoint_before(pupils, halted, monkeypatch):
    before, real = open(checkpoint(halted), "rb").read(), safetensors_files.write

    def write(path, arrays, metadata):
        real(path, arrays, metadata)
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patch:
        patch.setattr(safetensors_files, "write", write)
        done = trained(pupils, halted)
    path = checkpoint(halted)
    assert (done.code, done.err.splitlines()[-1]) == (
        1,
        f"imgret: error: {path} cannot be written: No space left on device; what was there before is untouched",
    )
    assert open(path, "rb").read() == before
    assert not [name for _, _, names in os.walk(f"{halted}.parts") for name in names if name.startswith("tmp-")]
    assert trained(pupils, halted).code == 0
    assert halted.read_bytes() == (pupils / "net.safetensors").read_bytes()
    tidy(halted)


def test_a_full_disk_at_the_end(pupils, tmp_path, monkeypatch):
    out, real = tmp_path / "net.safetensors", safetensors_files.write

    def write(path, arrays, metadata):
        real(path, arrays, metadata)
        if "kind" in metadata:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patch:
        patch.setattr(safetensors_files, "write", write)
        done = trained(pupils, out)
    assert done.code == 1, done.err
    assert (
        done.err.splitlines()[-1] == f"imgret: error: {out} cannot be written: No space left on device; what was there before is untouched"
    )
    assert not out.exists()
    assert trained(pupils, out).code == 0
    assert out.read_bytes() == (pupils / "net.safetensors").read_bytes()
    tidy(out)


def forged(out, change):
    """Write a checkpoint again, changed by `change(arrays, state)`, as if it had been written so."""
    from imgret.training.keeping import _content

    path = checkpoint(out)
    arrays, metadata = safetensors_files.read(path), safetensors_files.read_header(path).metadata
    state = json.loads(metadata["state"])
    state = change(arrays, state) or state
    text = json.dumps(state)
    safetensors_files.write(path, arrays, metadata | {"state": text, "content": _content(arrays, text)})
    return path


def without(prefix):
    """Take arrays out."""

    def change(arrays, state):
        for name in [name for name in arrays if name.startswith(prefix)]:
            del arrays[name]

    return change


def reshaped(prefix):
    """Give arrays other shapes."""

    def change(arrays, state):
        for name in [name for name in arrays if name.startswith(prefix)]:
            arrays[name] = np.zeros((2, 3), arrays[name].dtype)

    return change


CHANGES = {
    "no weights": without("weights."),
    "half a plan": without("plan.views"),
    "other weights": reshaped("weights.backbone"),
    "other head": reshaped("weights.head"),
    "other statistics of the optimiser": reshaped("optimiser.exp_avg"),
    "other plan": reshaped("plan."),
    "photos that are not there": lambda arrays, state: arrays["plan.photos"].fill(10**6),
    "photos below the first": lambda arrays, state: arrays["plan.photos"].fill(-5),
    "a list": lambda arrays, state: [1, 2],
    "no course": lambda arrays, state: {"described": {}},
    "other course": lambda arrays, state: state | {"course": {"epoch": 1}},
    "a far course": lambda arrays, state: state | {"course": state["course"] | {"step": 10**9}},
    "a course of words": lambda arrays, state: state | {"course": state["course"] | {"epoch": "one"}},
}


@pytest.mark.parametrize("change", CHANGES)
def test_a_forged_checkpoint_is_refused(pupils, halted, change):
    path = forged(halted, CHANGES[change])
    done = trained(pupils, halted)
    refusal = f"imgret: error: {path} is no checkpoint of this training: remove it, and run the same command again"
    assert (done.code, done.err.splitlines()[-1]) == (1, refusal)
    os.unlink(path)
    if change == "no weights":
        assert trained(pupils, halted).code == 0
        assert halted.read_bytes() == (pupils / "net.safetensors").read_bytes()


@pytest.mark.parametrize("garbage", ["flipped", "text", "empty", "folder", "other state"])
def test_a_damaged_checkpoint_is_none(pupils, halted, garbage):
    path = checkpoint(halted)
    data = bytearray(open(path, "rb").read())
    if garbage == "folder":
        os.unlink(path)
        os.mkdir(path)
        done = trained(pupils, halted)
        assert done.code == 1, done.err
        assert done.err.splitlines()[-1].startswith(f"imgret: error: {path} cannot be written: ")
        return
    if garbage == "flipped":
        data[-1000] ^= 1
    elif garbage == "other state":
        data = data.replace(b"total", b"totem", 1)
    with open(path, "wb") as file:
        file.write({"text": b"x" * 100, "empty": b""}.get(garbage, data))
    done = trained(pupils, halted)
    assert done.code == 0, done.err
    assert "goes on from the checkpoint" not in done.err
    assert halted.read_bytes() == (pupils / "net.safetensors").read_bytes()


@pytest.mark.parametrize(
    "change",
    ["shapes", "no head tensor", "extract is a list", "unknown name", "wrong type", "no such model", "deep", "number", "nan"],
)
def test_a_hostile_network_to_start_from(pupils, tmp_path, change):
    made, path = str(pupils / "net.safetensors"), str(tmp_path / "hostile.safetensors")
    arrays, metadata = safetensors_files.read(made), dict(safetensors_files.read_header(made).metadata)
    extract = json.loads(metadata["extract"])
    if change == "shapes":
        arrays = {name: np.zeros((2, 2), np.float32) for name in arrays}
    elif change == "no head tensor":
        extract |= {"embed": 8}
    elif change == "nan":
        arrays = {name: np.full_like(array, np.nan) if array.dtype.kind == "f" else array for name, array in arrays.items()}
    else:
        extract = {
            "extract is a list": [extract],
            "unknown name": extract | {"nonsense": 1},
            "wrong type": extract | {"max_size": {"a": [1]}},
            "no such model": extract | {"model": "../../etc"},
            "deep": extract | {"mean": [[[1]]]},
            "number": extract | {"p": 1e400},
        }[change]
    safetensors_files.write(path, arrays, metadata | {"extract": json.dumps(extract)})
    options = sets(("tuples=2", "negatives=2", "epochs=1"))
    commands = [
        ("train", pupils / "photos", "-o", tmp_path / "n.safetensors", "-m", "contrastive", "--init", path, *options),
        ("extract", pupils / "photos", "-o", tmp_path / "v.h5", "-m", "cnn", "--set", f"weights={path}"),
    ]
    for command in commands:
        done = call(*command, "--truth", pupils / "groups.csv") if command[0] == "train" else call(*command)
        if change == "no head tensor" and command[0] == "train" and done.code == 0:
            continue  # a last layer of its own is begun
        assert done.code in (1, 2), (command, done)
        assert done.err.splitlines()[-1].startswith(("imgret: error: ", "Error: ")), done.err
        assert len(done.err.splitlines()[-1]) < 1500, done.err  # networks are listed


def started(pupils, out, *settings, jobs=1):
    """The same command as `trained` gives, in a process of its own."""
    command = ["train", pupils / "photos", "-o", out, "-m", "contrastive", "--truth", pupils / "groups.csv", *sets(settings), "-j", jobs]
    return begun("from imgret.__main__ import main; main()", command)


def begun(code, command):
    """A process of its own, with PyTorch loaded where that can be."""
    streams, words = {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}, list(map(str, command))
    if sys.platform == "linux":
        return forking.Forked(forking.kept, code, words, torch=True, env=dict(os.environ), **streams)
    return subprocess.Popen([sys.executable, "-c", code, *words], **streams)


def test_two_runs_on_one_output(pupils, tmp_path):
    out = tmp_path / "net.safetensors"
    processes = [started(pupils, out, *SHORT) for _ in range(2)]
    said = [process.communicate(timeout=300)[1].decode() for process in processes]
    assert [process.returncode for process in processes] == [0, 0], said
    assert out.read_bytes() == (pupils / "net.safetensors").read_bytes()
    tidy(out)


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 75)])
@pytest.mark.parametrize("phase", ["photo", "map below", "photo looked through", "photo to validate"])
def test_a_signal_in_any_phase(pupils, tmp_path, monkeypatch, number, code, phase):
    """The command leaves at once, and the same one goes on from there."""

    if phase != "photo looked through" and number == signal.SIGINT:
        pytest.skip("one phase is enough")
    out = tmp_path / "net.safetensors"
    hook = (
        "import os, imgret.runs.report as r\nreal = r.Report.progress\n"
        f"def progress(self, total, unit, *rest):\n    if unit.startswith({phase!r}):\n"
        f"        import time; os.kill(os.getpid(), {int(number)}); time.sleep(900)\n    return real(self, total, unit, *rest)\n"
        "r.Report.progress = progress\nfrom imgret.__main__ import main; main()"
    )
    command = ["train", pupils / "photos", "-o", out, "-m", "contrastive", "--truth", pupils / "groups.csv"]
    command += [*sets((*SHORT, "freeze=stage3")), "-j", 1]
    process = begun(hook, command)
    try:
        _, err = process.communicate(timeout=300)  # it would sleep for longer
    finally:
        process.kill()
    assert process.returncode == code, err
    name = "Ctrl-C" if number == signal.SIGINT else "SIGTERM"
    assert f"imgret: stopped by {name}" in err.decode()
    assert not out.exists()
    assert not [name for _, _, names in os.walk(f"{out}.parts") for name in names if name.startswith(("tmp-", "own-"))]


def test_weights_that_are_not_finite_make_no_checkpoint(pupils, tmp_path, monkeypatch):
    """A gradient without a value comes with a loss that has one."""
    import torch

    out, real = tmp_path / "net.safetensors", Steps.make

    def make(self, inputs, batch, step, share):
        found = real(self, inputs, batch, step, share)
        if step == 3:
            with torch.no_grad():
                next(iter(self.named.values())).fill_(torch.nan)
        return found

    monkeypatch.setattr(Steps, "make", make)
    monkeypatch.setattr(Keeping, "due", lambda _: True)
    done = trained(pupils, out)
    assert done.code == 1
    assert done.err.endswith(" is not finite after 4 steps: set a smaller `rate`; the last checkpoint is kept\n"), done.err
    assert all(np.isfinite(array).all() for array in kept(out).values())
