"""Logs of a training: what was killed goes on without a row too many or too few, and nothing of anybody else is touched."""

import re
import sys
import types

import pytest

from imgret.errors import ImgretError
from imgret.training.logs import Logs, explained

RECIPE = "0123456789abcdef" * 4
STEPS = [[1, 1, 0.5, 1e-05], [1, 2, 0.25, 3e-05], [2, 3, 0.125, 2e-05], [2, 4, 0.1, 1e-06]]
EPOCHS = [
    {"epoch": 0, "step": 0, "score": 0.5, "loss": None, "rate": None},
    {"epoch": 1, "step": 2, "score": 0.625, "loss": 0.375, "rate": 3e-05},
    {"epoch": 2, "step": 4, "score": None, "loss": 0.1125, "rate": 1e-06},
]
WHOLE = """kind,epoch,step,loss,rate,score,recipe
epoch,0,0,,,0.5,0123456789ab
step,1,1,0.5,1e-05,,0123456789ab
step,1,2,0.25,3e-05,,0123456789ab
epoch,1,2,0.375,3e-05,0.625,0123456789ab
step,2,3,0.125,2e-05,,0123456789ab
step,2,4,0.1,1e-06,,0123456789ab
epoch,2,4,0.1125,1e-06,,0123456789ab
"""
CALLS = [("epoch", EPOCHS[0]), *(("step", step) for step in STEPS[:2]), ("epoch", EPOCHS[1])]
CALLS += [*(("step", step) for step in STEPS[2:]), ("epoch", EPOCHS[2])]


def logs_of(path, folder=None, **options):
    return Logs(path and str(path), folder and str(folder), recipe=options.pop("recipe", RECIPE), **options)


def train(logs, calls=CALLS):
    for kind, value in calls:
        logs.step(*value) if kind == "step" else logs.epoch(value)
    return logs


def course(done):
    """What a checkpoint knows after so many of `CALLS`, of steps every second one."""
    calls = CALLS[:done]
    steps, epochs = ([value for kind, value in calls if kind == each] for each in ("step", "epoch"))
    total = len(steps)
    return types.SimpleNamespace(epochs=epochs, steps=steps[::2], total=total, epoch=len(epochs) if epochs else 0)


def test_a_csv_has_a_line_for_each_step_and_epoch(tmp_path):
    path = tmp_path / "log.csv"
    train(logs_of(path)).close()
    assert path.read_text() == WHOLE


@pytest.mark.parametrize("saved", range(1, len(CALLS) + 1))
@pytest.mark.parametrize("cut", [0, 9])
def test_a_csv_goes_on_where_the_checkpoint_is(tmp_path, saved, cut):
    """Killed at any row behind any checkpoint, in the middle of a row too: the same bytes."""
    path = tmp_path / "log.csv"
    for killed in range(saved, len(CALLS) + 1):
        path.unlink(missing_ok=True)
        train(logs_of(path), CALLS[:killed])  # never closed
        if killed > saved and cut:
            path.write_bytes(path.read_bytes()[:-cut])
        again = logs_of(path)
        again.resumed(course(saved))
        train(again, CALLS[saved:]).close()
        assert path.read_text() == WHOLE


def test_a_csv_that_is_gone_has_what_the_checkpoint_knows(tmp_path):
    path = tmp_path / "log.csv"
    logs = logs_of(path)
    logs.resumed(course(5))
    train(logs, CALLS[5:]).close()
    assert path.read_text() == WHOLE.replace("step,1,2,0.25,3e-05,,0123456789ab\n", "")
    path.unlink()
    logs = logs_of(path)
    logs.complete({"epochs": EPOCHS, "steps": STEPS})
    logs.close()
    assert path.read_text() == WHOLE


def test_a_complete_log_is_left_as_it_is(tmp_path):
    path = tmp_path / "log.csv"
    train(logs_of(path)).close()
    logs = logs_of(path)
    logs.complete({"epochs": EPOCHS, "steps": STEPS[::2]})
    logs.close()
    assert path.read_text() == WHOLE


@pytest.mark.parametrize("text", ["a,b\n1,2\n", WHOLE.replace("0123456789ab", "ffff"), WHOLE + "mine\n", "kind\n"])
def test_what_is_no_log_of_this_training_is_left_alone(tmp_path, text):
    path = tmp_path / "log.csv"
    path.write_text(text)
    said = f"{path} is there and holds something else: choose another --log, or give --overwrite to replace it"
    with pytest.raises(ImgretError, match=f"^{re.escape(said)}$"):
        logs_of(path)
    assert path.read_text() == text
    train(logs_of(path, overwrite=True)).close()
    assert path.read_text() == WHOLE


def test_places_that_are_no_file_or_folder_of_their_own_are_refused(tmp_path):
    (tmp_path / "a.csv").touch()
    runs, name = tmp_path / "runs", "imgret-0123456789ab"
    read = f"would lie in the folder {tmp_path}, which is read: choose another"
    for path, folder, inputs, said in [
        (tmp_path, None, (), f"--log '{tmp_path}' names a folder, a file is needed"),
        (tmp_path / "a.csv", None, [tmp_path], f"--log {tmp_path}/a.csv {read} --log"),
        (None, tmp_path / "a.csv", (), f"--tensorboard {tmp_path}/a.csv is a file, a folder is needed"),
        (None, runs, [tmp_path], f"--tensorboard {runs}/{name} {read} --tensorboard"),
    ]:
        with pytest.raises(ImgretError, match=f"^{re.escape(said)}$"):
            logs_of(path, folder, inputs=inputs)


def test_a_full_disk_is_told():
    said = "log.csv cannot be written: No space left on device; run the same command again, and training goes on"
    with pytest.raises(ImgretError, match=f"^{re.escape(said)}$"), explained("log.csv"), open("/dev/full", "wb") as file:
        file.write(b"x")


def test_tensorboard_that_is_not_installed_is_named(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", None)
    with pytest.raises(ImgretError, match=re.escape("--tensorboard needs TensorBoard: pip install 'imgret[train]'")):
        logs_of(None, tmp_path / "runs")


def scalars(folder):
    """What TensorBoard reads: by tag, steps and values."""
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    found = EventAccumulator(str(folder)).Reload()
    return {tag: [(event.step, pytest.approx(event.value)) for event in found.Scalars(tag)] for tag in found.Tags()["scalars"]}


def test_tensorboard_shows_no_step_twice(tmp_path):
    pytest.importorskip("tensorboard")
    whole = {
        "loss": [(step, loss) for _, step, loss, _ in STEPS],
        "rate": [(step, rate) for _, step, _, rate in STEPS],
        "epoch/loss": [(2, 0.375), (4, 0.1125)],
        "epoch/score": [(0, 0.5), (2, 0.625)],
    }
    folder = tmp_path / "runs"
    train(logs_of(None, folder), CALLS[:2]).close()  # killed before there is a checkpoint
    train(logs_of(None, folder), CALLS[:6]).close()
    again = logs_of(None, folder)
    again.resumed(course(4))
    train(again, CALLS[4:]).close()
    assert scalars(folder / "imgret-0123456789ab") == whole
    other = logs_of(None, folder, recipe="f" * 64)
    other.complete({"epochs": EPOCHS, "steps": STEPS})
    other.close()
    assert scalars(folder / "imgret-ffffffffffff") == whole
    files = sorted((folder / "imgret-ffffffffffff").iterdir())
    other = logs_of(None, folder, recipe="f" * 64)
    other.complete({"epochs": EPOCHS, "steps": STEPS})
    other.close()
    assert sorted((folder / "imgret-ffffffffffff").iterdir()) == files
