"""Steps that are killed, stopped, shared between processes, or asked again over photos that have changed: the answer is always the same."""

import glob
import os
import shutil
import signal
import sys

import numpy as np
import pytest
from conftest import fill
from killing import Watched, same, tidy

from helpers import call, names_in, photo, refused
from imgret.store.reader import Store

STOPPED = "\nimgret: stopped by {}; what is finished is kept: run the same command again\n"

linux = pytest.mark.skipif(sys.platform != "linux", reason="processes are watched through /proc")


@pytest.fixture
def watched(tmp_path):
    """Commands under watch; events are what happens to files of the output's folder, tmp_path / "out"."""
    os.mkdir(tmp_path / "out")
    return Watched(tmp_path / "watch", tmp_path / "out")


@pytest.fixture
def out(watched):
    """Where the output goes."""
    return watched.below / "made.h5"


def extract(photos, out, *more):
    """The arguments of an extraction with two workers."""
    return ("extract", photos, "-o", out, "-j", 2, *more)


def steps(stores, out):
    """Arguments of every step that takes long, after extract, and the store it should make."""
    return {
        "kmeans": (("codebook", stores.features, "-m", "kmeans", "--size", 6, "-o", out), stores.kmeans),
        "gmm": (("codebook", stores.features, "-m", "gmm", "--size", 4, "--set", "pca=16", "-o", out), stores.gmm),
        "pca": (("codebook", stores.vlad, "-m", "pca", "--size", 12, "-o", out), stores.pca),
        "vlad": (("encode", stores.features, "-c", stores.kmeans, "-o", out, "-j", 2), stores.vlad),
        "fisher": (("encode", stores.features, "-c", stores.gmm, "-o", out, "-j", 2), stores.fisher),
        "index": (("index", stores.vlad, "-m", "flat", "-o", out), stores.index),
    }


STEPS = ("kmeans", "gmm", "pca", "vlad", "index")


# killed


@linux
@pytest.mark.parametrize("seed", range(2))
def test_extract_killed_at_random_events(photos, stores, watched, out, seed):
    killed = watched.until_done(np.random.default_rng(seed), *extract(photos, out), most=24, code=-signal.SIGKILL)
    assert killed
    same(out, stores.features)
    tidy(out)


@linux
@pytest.mark.parametrize("step", STEPS)
def test_step_killed_at_random_events(stores, watched, out, step):
    arguments, wanted = steps(stores, out)[step]
    rng = np.random.default_rng(STEPS.index(step))
    killed = watched.until_done(rng, *arguments, most=12, code=-signal.SIGKILL, often=True)
    assert killed
    same(out, wanted)
    tidy(out)


@linux
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGUSR1, signal.SIGINT])
def test_extract_stopped_by_a_signal(photos, stores, watched, out, number):
    code = 130 if number == signal.SIGINT else 75
    rng = np.random.default_rng(int(number))
    result = watched.run(*extract(photos, out), at=int(rng.integers(5, 24)), number=number)
    assert (result.code, result.out) == (code, b"")
    assert result.err == STOPPED.format("Ctrl-C" if number == signal.SIGINT else number.name)
    assert not out.exists()
    assert watched.run(*extract(photos, out)).code == 0
    same(out, stores.features)
    tidy(out)


@linux
@pytest.mark.parametrize("step", ["kmeans", "fisher"])
def test_step_stopped_by_sigterm_again_and_again(stores, watched, out, step):
    arguments, wanted = steps(stores, out)[step]
    killed = watched.until_done(np.random.default_rng(3), *arguments, most=12, code=75, number=signal.SIGTERM, often=True)
    assert killed
    same(out, wanted)
    tidy(out)


@linux
def test_killed_at_any_time(photos, stores, watched, out):
    """Kills that no event announces, most of them in the middle of native code; whenever they come, the answer is the same."""
    rng = np.random.default_rng(5)
    for number in (signal.SIGKILL, signal.SIGTERM, signal.SIGKILL):
        process = watched.start(*extract(photos, out))
        try:
            process.wait(float(rng.uniform(0.2, 1.5)))
        except Exception:  # noqa: BLE001 - TimeoutExpired: it is still at work
            process.send_signal(number)
        # SIGTERM may come while Python itself is starting, before anything can be done about it
        assert watched.end(process).code in (0, -signal.SIGKILL, 75, -signal.SIGTERM)
    assert watched.run(*extract(photos, out)).code == 0
    same(out, stores.features)
    tidy(out)


@linux
def test_killed_worker(photos, stores, watched, out):
    result = watched.run(*extract(photos, out), at=14, who="worker")
    refused(result, 1, "a worker process was killed (out of memory?): run the same command again, with fewer --jobs")
    assert not glob.glob(f"{out}.parts/*/*/*/tmp-*")
    assert watched.run(*extract(photos, out)).code == 0
    same(out, stores.features)
    tidy(out)


@linux
def test_photo_that_crashes_a_worker_is_recorded(photos, stores, tmp_path):
    watched = Watched(tmp_path / "watch", photos)
    out = tmp_path / "made.h5"
    result = watched.run(*extract(photos, out), who="worker", number=signal.SIGSEGV, named="/07.png")
    assert (result.code, result.err) == (0, f"imgret: {out}: 27 photos described, 1 could not be used (imgret info --failed)\n")
    result = call("info", out, "--failed", "--json")
    assert b'"code": "crashed"' in result.out
    assert b'"name": "07.png"' in result.out
    assert names_in(out) == [name for name in names_in(stores.features) if name != b"07.png"]


# several processes


def test_shards_then_join(photos, stores, tmp_path):
    out = tmp_path / "made.h5"
    first = call(*extract(photos, out, "--shard", "0/2"))
    wanted = "imgret: shard 0/2 is done; 2 of 4 parts are missing; the same command without --shard joins them\n"
    assert (first.code, first.err) == (0, wanted)
    assert not out.exists()
    assert call(*extract(photos, out, "--shard", "1/2")).code == 0
    joined = call(*extract(photos, out))
    assert joined.err == f"imgret: 4 of 4 parts are there already\nimgret: {out}: 28 photos described\n"
    same(out, stores.features)
    tidy(out)
    again = call(*extract(photos, out, "--shard", "0/2"))
    assert (again.code, again.err) == (0, f"imgret: {out} is up to date (28 photos)\n")


def test_one_job_and_shards_of_encode(stores, tmp_path):
    arguments = ("encode", stores.features, "-c", stores.kmeans, "-o")
    assert call(*arguments, tmp_path / "one.h5", "-j", 1).code == 0
    same(tmp_path / "one.h5", stores.vlad)
    out = tmp_path / "made.h5"
    for more in (("--shard", "2/3"), ("--shard", "0/3"), ()):
        assert call(*arguments, out, *more).code == 0
    same(out, stores.vlad)
    tidy(out)


@pytest.mark.parametrize("step", ["kmeans", "gmm"])
def test_one_job_and_two_learn_the_same(stores, tmp_path, step):
    arguments, wanted = steps(stores, tmp_path / "made.h5")[step]
    assert call(*arguments, "-j", 1).code == 0
    same(tmp_path / "made.h5", wanted)


@linux
def test_several_extractions_at_once(photos, stores, watched, out):
    more = ((), (), ("--shard", "1/3"))
    for process in [watched.start(*extract(photos, out, *extra)) for extra in more]:
        result = watched.end(process)
        assert result.code == 0, result.err
    same(out, stores.features)
    assert call(*extract(photos, out)).err == f"imgret: {out} is up to date (28 photos)\n"
    tidy(out)


@linux
@pytest.mark.parametrize("step", ["kmeans", "vlad", "index"])
def test_several_runs_of_a_step_at_once(stores, watched, out, step):
    arguments, wanted = steps(stores, out)[step]
    for process in [watched.start(*arguments, often=True) for _ in range(3)]:
        result = watched.end(process)
        assert result.code == 0, result.err
    same(out, wanted)
    assert call(*arguments).err == f"imgret: {out} is up to date\n"
    tidy(out)


@linux
def test_a_killed_shard_is_made_up_for(photos, stores, watched, out):
    assert watched.run(*extract(photos, out, "--shard", "0/2"), at=18).code == -signal.SIGKILL
    assert watched.run(*extract(photos, out, "--shard", "1/2")).code == 0
    assert watched.run(*extract(photos, out)).code == 0
    same(out, stores.features)
    tidy(out)


def test_finished_by_another_process_in_the_middle(stores, tmp_path, monkeypatch):
    """Whoever is overtaken at the worst moment, his checkpoint's folder gone, says so and is content."""
    from imgret.stages import codebook

    arguments, wanted = steps(stores, tmp_path / "made.h5")["kmeans"]
    real, calls = codebook.draw, []

    def overtaken(*given):
        if not calls:
            calls.append(1)
            assert call(*arguments).code == 0
        return real(*given)

    monkeypatch.setattr(codebook, "draw", overtaken)
    monkeypatch.setattr(codebook, "CHECKPOINT_SECONDS", 0)
    result = call(*arguments)
    assert (result.code, result.err) == (0, f"imgret: {tmp_path / 'made.h5'} was finished by another process\n")
    same(tmp_path / "made.h5", wanted)
    tidy(tmp_path / "made.h5")


def test_folder_of_parts_that_somebody_deleted(photos, tmp_path, monkeypatch):
    from imgret.stages.perphoto import Step

    out = tmp_path / "made.h5"
    monkeypatch.setattr(Step, "join", lambda step, *_, **__: (shutil.rmtree(f"{out}.parts"), step.plan.finished()))
    text = f"the folder of parts of {out} has gone while it was being worked on: run the same command again"
    refused(call(*extract(photos, out)), 1, text)
    assert not out.exists()
