"""Whose a folder of parts is: what is not one's own is never removed, and what was half removed is made again."""

import contextlib
import glob
import os
import pathlib
import shutil
import subprocess
import sys
import tempfile
import time

import pytest
from commands import MADE, given, words
from helpers import ROOT, call, stores
from killing import aged, same

from imgret.store.claims import Claim, abandoned, claimed, sweep_claims
from imgret.store.erasing import foreign, remove

HOLD = "import sys; from imgret.store.claims import *; c = Claim(sys.argv[1]); c.plan(3); print(flush=True); sys.stdin.read()"


@pytest.fixture
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    os.mkdir("out")
    given()
    return tmp_path


@contextlib.contextmanager
def elsewhere(folder, *prefix):
    """Another process, which has a claim on a folder, and lives."""
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "env": dict(os.environ, PYTHONPATH=ROOT)}
    with subprocess.Popen([*prefix, sys.executable, "-c", HOLD, folder], **pipes) as process:
        assert process.stdout.readline() == b"\n"
        yield process
        process.stdin.close()


def test_a_claim_lasts_as_long_as_its_process(tmp_path):
    with elsewhere(tmp_path) as process:
        assert claimed(tmp_path)
        assert claimed(tmp_path, 3)
        assert not claimed(tmp_path, 2)
        sweep_claims(tmp_path)
        assert not abandoned(tmp_path)
        process.kill()
        process.wait()
        assert not claimed(tmp_path)
        assert abandoned(tmp_path)
        sweep_claims(tmp_path)
    assert os.listdir(tmp_path) == []


def test_ones_own_claim(tmp_path):
    mine, other = Claim(tmp_path), Claim(tmp_path)
    assert claimed(tmp_path, but=mine)
    other.release()
    assert not claimed(tmp_path, but=mine)
    assert claimed(tmp_path, 7)  # it has not said yet which plan
    mine.release()
    assert os.listdir(tmp_path) == []
    with pytest.raises(FileNotFoundError):
        Claim(tmp_path / "gone")


def test_a_claim_in_another_container(tmp_path):
    """Whose processes are not to be seen here: the lock is."""
    unshare = ["unshare", "--pid", "--uts", "--fork", "--kill-child"]
    if shutil.which("unshare") is None or subprocess.run([*unshare, "true"], capture_output=True, check=False).returncode:
        pytest.skip("no namespaces may be made here")
    with elsewhere(tmp_path, *unshare) as process:
        aged(tmp_path, 5)
        assert claimed(tmp_path)
        process.kill()
        process.wait()
        for _ in range(600):  # the child ends a moment later
            if not claimed(tmp_path):
                return
            time.sleep(0.05)
        raise AssertionError("it is still claimed")


def test_claims_where_there_are_no_locks(tmp_path, monkeypatch):
    """They are judged by their processes; what cannot be is left for a day."""
    import fcntl

    def none(*_):
        raise OSError(38, "Function not implemented")

    monkeypatch.setattr(fcntl, "flock", none)
    mine = Claim(tmp_path)
    assert claimed(tmp_path)
    mine.release()
    (tmp_path / "own-0123456789abcdef-12-34-01234567.h5").touch()
    assert claimed(tmp_path)
    aged(tmp_path, 2)
    assert not claimed(tmp_path)


def test_only_what_imgret_makes_is_removed(tmp_path):
    top = tmp_path / "0123456789abcdef"
    for name in ("0001/plan.h5", "0001/fedcba9876543210/000001.h5", "checkpoint.h5", "0002/fedcba9876543210/notes.txt"):
        (top / name).parent.mkdir(parents=True, exist_ok=True)
        (top / name).touch()
    (tmp_path / "kept").mkdir()
    (tmp_path / "kept" / "000001.h5").touch()
    (top / "0003").symlink_to(tmp_path / "kept")
    assert foreign(top)
    assert not foreign(top / "0001")
    remove(top)
    assert sorted(str(path.relative_to(top)) for path in top.rglob("*.*")) == ["0002/fedcba9876543210/notes.txt"]
    assert os.listdir(tmp_path / "kept") == ["000001.h5"]


# commands


def files(folder):
    return sorted(os.path.join(top, name) for top, _, names in os.walk(folder) for name in names)


@pytest.mark.parametrize("command", ["extract", "encode", "index", "export"])
def test_a_users_files_among_the_parts_stay(here, command):
    out = pathlib.Path("out", next(iter(MADE[command][1].values())))
    parts = f"{out}.parts"
    for name in ("notes.txt", "0123456789abcdef/notes.txt", "mine/0001/plan.h5", "0001/plan.h5"):
        pathlib.Path(parts, name).parent.mkdir(parents=True, exist_ok=True)
        pathlib.Path(parts, name).write_text("mine")
    if command in ("extract", "encode"):
        assert call(*words(command, "out"), "--shard", "0/1").code == 0
        for folder in glob.glob(f"{parts}/*/0001/plan.h5"):
            if "mine" not in folder:
                pathlib.Path(folder).with_name("notes.txt").write_text("mine")
    aged(parts, 5)
    mine = [path for path in files(parts) if pathlib.Path(path).read_bytes() == b"mine"]
    for _ in range(2):
        assert call(*words(command, "out")).code == 0
        assert files(parts) == mine


@pytest.mark.parametrize("command", ["extract", "index", "export"])
def test_a_file_where_the_folder_of_parts_should_be(here, command):
    out = next(iter(MADE[command][1].values()))
    pathlib.Path("out", f"{out}.parts").write_text("mine")
    result = call(*words(command, "out"))
    text = f"imgret: error: out/{out} cannot be written: out/{out}.parts is no folder ({here}/out)"
    assert (result.code, result.err.splitlines()[-1]) == (1, text)
    assert os.listdir("out") == [f"{out}.parts"]


@pytest.mark.parametrize("command", ["extract", "encode"])
def test_outputs_that_share_a_folder_for_their_parts(here, command):
    """One recipe, and yet two outputs: what one finishes takes nothing from the other."""
    os.mkdir("scratch")
    os.mkdir("more")
    name = MADE[command][1]["-o"]
    for folder in ("out", "more"):
        os.symlink("../scratch", f"{folder}/{name}.parts")
    for folder in ("out", "more"):
        assert call(*words(command, folder), "--shard", "0/1").code == 0
    aged("scratch", 5)
    before = files("scratch")
    for folder, left in (("out", len(before) // 2), ("more", 0)):
        result = call(*words(command, folder))
        assert (result.code, "1 of 1 parts are there already" in result.err) == (0, True)
        assert len(files("scratch")) == left
    same(f"out/{name}", f"more/{name}")
    assert os.path.islink(f"out/{name}.parts")


def spoil(how, parts):
    (folder,) = glob.glob(f"{parts}/*/0001")
    (plan,) = [entry.path for entry in os.scandir(folder) if entry.is_dir()]
    if how == "no plan":
        os.unlink(f"{folder}/plan.h5")
    elif how == "no part folder":
        shutil.rmtree(plan)
    elif how == "damaged plan":
        os.truncate(f"{folder}/plan.h5", 99)
    elif how == "folder for plan":
        os.unlink(f"{folder}/plan.h5")
        os.mkdir(f"{folder}/plan.h5")
    else:
        place = {"file for parts": plan, "file for plans": folder, "file for all": os.path.dirname(folder)}.get(how, f"{plan}/000000.h5")
        shutil.rmtree(place) if os.path.isdir(place) else os.unlink(place)
        os.mkdir(place) if how == "folder for part" else pathlib.Path(place).touch()


SPOILT = [
    "no plan",
    "no part folder",
    "damaged plan",
    "folder for plan",
    "file for parts",
    "file for plans",
    "file for all",
    "folder for part",
]


@pytest.mark.parametrize("how", SPOILT)
def test_what_was_half_removed_is_made_again(here, how):
    assert call(*words("encode", "out"), "--shard", "0/1").code == 0
    spoil(how, "out/v.h5.parts")
    result = call(*words("encode", "out"))
    assert result.code == 0, result.err
    same("out/v.h5", stores().vectors)
    assert all("file" in how and not os.path.getsize(path) for path in files("out") if path != "out/v.h5")  # nobody knows whose they are


@pytest.mark.parametrize("how", SPOILT[:2])
def test_what_somebody_removes_meanwhile_is_made_again(here, monkeypatch, how):
    from imgret.runs.parts import Step

    real, done = Step.join, []

    def join(step, *given, **more):
        if not done:
            done.append(spoil(how, "out/f.h5.parts"))
            if how == "no plan":
                shutil.rmtree("out/f.h5.parts")
        return real(step, *given, **more)

    monkeypatch.setattr(Step, "join", join)
    result = call(*words("extract", "out"))
    assert result.code == 0, result.err
    same("out/f.h5", stores().features)
    assert os.listdir("out") == ["f.h5"]


@pytest.mark.parametrize("command", ["codebook", "index", "search", "import"])
def test_a_step_that_fails_leaves_no_folder(here, monkeypatch, command):
    from imgret.runs.output import Output

    def fails(*_, **__):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Output, "finish", fails)
    assert call(*words(command, "out")).code == 1
    assert os.listdir("out") == []


@pytest.mark.parametrize("command", ["encode", "index", "export"])
def test_parts_on_another_file_system(here, command):
    """What is finished there comes to its place as a whole, all the same."""
    if not os.path.isdir("/dev/shm") or os.stat("/dev/shm").st_dev == os.stat(here).st_dev:
        pytest.skip("there is no other file system")
    out = next(iter(MADE[command][1].values()))
    with tempfile.TemporaryDirectory(dir="/dev/shm") as scratch:
        os.symlink(scratch, f"out/{out}.parts")
        for _ in range(2):
            assert call(*words(command, "out")).code == 0
            assert sorted(os.listdir("out")) == sorted([*MADE[command][1].values(), f"{out}.parts"])
            assert os.listdir(scratch) == []
            pathlib.Path("out", out).unlink()
        pathlib.Path("out", out).write_bytes(b"")
        assert call(*words(command, "out"), "--overwrite").code == 0
        assert os.path.getsize(f"out/{out}")
        assert os.listdir(scratch) == []
