"""Steps that are killed, stopped, shared between processes, or asked again over photos that have changed: the answer is always the same."""

import contextlib
import glob
import os
import shutil
import signal
import sys

import numpy as np
import pytest
from conftest import fill
from helpers import call, flip, names_in, photo, refused
from killing import Watched, aged, same, tidy

from imgret.store.reader import Store
from imgret.store.temporaries import temporary_name

IN_VAIN = "\nimgret: stopped by {}\n"
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


def parts_of(out):
    """The finished parts of an output."""
    return glob.glob(f"{out}.parts/*/*/*/[0-9]*.h5")


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
def test_many_words_killed_at_random_events(stores, watched, out, tmp_path):
    arguments = ("codebook", stores.features, "-m", "akm", "--size", 30, "-o")
    assert call(*arguments, tmp_path / "wanted.h5", "-j", 1).code == 0
    killed = watched.until_done(np.random.default_rng(1), *arguments, out, "-j", 2, most=12, code=-signal.SIGKILL, often=True)
    assert killed
    same(out, tmp_path / "wanted.h5")
    tidy(out)


@linux
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGUSR1, signal.SIGINT])
def test_extract_stopped_by_a_signal(photos, stores, watched, out, number):
    code = 130 if number == signal.SIGINT else 75
    rng = np.random.default_rng(int(number))
    result = watched.run(*extract(photos, out), at=int(rng.integers(5, 24)), number=number)
    assert (result.code, result.out) == (code, b"")
    name = "Ctrl-C" if number == signal.SIGINT else number.name
    planned = glob.glob(f"{out}.parts/*/0001")  # the plan may come to be while the other thread is on its way out
    said = (
        {text.format(name) for text in (STOPPED, IN_VAIN)}
        if planned and not parts_of(out)
        else {(STOPPED if planned else IN_VAIN).format(name)}
    )
    assert result.err in said
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
def test_nothing_is_said_to_be_kept_where_nothing_is(stores, watched, out):
    arguments, _ = steps(stores, out)["index"]
    result = watched.run(*arguments, at=5, number=signal.SIGTERM)
    assert result.code == 75
    assert result.err.endswith(IN_VAIN.format("SIGTERM"))


@linux
def test_killed_at_any_time(photos, stores, watched, out):
    """Kills that no event announces, most of them in the middle of native code; whenever they come, the answer is the same."""
    rng = np.random.default_rng(5)
    for number in (signal.SIGKILL, signal.SIGTERM, signal.SIGKILL):
        process = watched.start(*extract(photos, out), fresh=True)
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
def test_sigterm_to_every_process_of_a_job(photos, stores, watched, out):
    """As batch systems send it: workers first, whatever they are about."""
    process = watched.start(*extract(photos, out), fresh=True)
    while process.poll() is None:
        workers = [pid for pid in watched.processes() if pid != process.pid]
        for pid in [*workers, process.pid] if len(workers) == 2 else ():
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGTERM)
    result = watched.end(process)
    assert (result.code, result.err) == (75, STOPPED.format("SIGTERM"))
    assert call(*extract(photos, out)).code == 0
    same(out, stores.features)
    tidy(out)


@linux
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGSEGV])
@pytest.mark.parametrize("at", [6, 14])
def test_one_worker_ends_and_nothing_is_lost(photos, stores, watched, out, number, at):
    """Whatever it was about: its part is made again, and no photo is blamed for what has passed."""
    result = watched.run(*extract(photos, out), at=at, who="worker", number=number)
    assert (result.code, result.err) == (0, f"imgret: {out}: 28 photos described\n")
    same(out, stores.features)
    tidy(out)


@linux
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGSEGV])
def test_photo_over_which_one_worker_ends(photos, stores, tmp_path, number):
    watched = Watched(tmp_path / "watch", photos)
    out = tmp_path / "made.h5"
    at = 1 + next(n for n, line in enumerate(events(watched, photos, tmp_path)) if line.endswith(".png"))
    result = watched.run("extract", photos, "-o", out, "-j", 1, at=at, who="worker", number=number)
    assert (result.code, result.err) == (0, f"imgret: {out}: 28 photos described\n")
    assert [line.endswith(".png") for line in logged(watched)][at - 1]
    same(out, stores.features)


def events(watched, photos, folder):
    """What an extraction by one worker does to files below the photos, in order."""
    assert watched.run("extract", photos, "-o", folder / "before.h5", "-j", 1).code == 0
    return logged(watched)


def logged(watched):
    return [line for line in (watched.folder / "log").read_text().splitlines() if not line.startswith("import ")]


@linux
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGSEGV])
def test_photo_that_ends_every_worker_is_recorded(photos, stores, tmp_path, number):
    watched = Watched(tmp_path / "watch", photos)
    out = tmp_path / "made.h5"
    result = watched.run(*extract(photos, out), who="worker", number=number, named="/07.png")
    assert (result.code, result.err) == (0, f"imgret: {out}: 27 photos described, 1 could not be used (imgret info --failed)\n")
    assert len([line for line in logged(watched) if line.endswith("/07.png")]) == 3
    result = call("info", out, "--failed", "--json")
    assert b'"code": "crashed"' in result.out
    assert number.name.encode() in result.out
    assert b'"name": "07.png"' in result.out
    assert names_in(out) == [name for name in names_in(stores.features) if name != b"07.png"]


@linux
def test_worker_that_tells_of_no_photo_is_killed_once(stores, watched, out):
    arguments, wanted = steps(stores, out)["vlad"]
    result = watched.run(*arguments, at=14, who="worker")
    assert (result.code, result.err) == (0, f"imgret: {out}: 28 vectors of 768 dimensions (vlad)\n")
    same(out, wanted)
    tidy(out)


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
    from imgret.runs.parts import Step

    out = tmp_path / "made.h5"
    monkeypatch.setattr(Step, "join", lambda step, *_, **__: (shutil.rmtree(f"{out}.parts"), step.plan.finished()))
    text = f"the folder of parts of {out} has gone while it was being worked on: run the same command again"
    refused(call(*extract(photos, out)), 1, text)
    assert not out.exists()


# photos that come and go


@pytest.fixture
def place(tmp_path):
    """A folder of photos that may be changed, and commands under watch; events are what happens to photos, too."""
    (tmp_path / "work").mkdir()
    fill(tmp_path / "work" / "photos", 20)
    watched = Watched(tmp_path / "watch", tmp_path / "work")
    watched.photos, watched.out = watched.below / "photos", watched.below / "made.h5"
    return watched


def change(folder):
    """Add, change, touch, rename and delete photos; returns the names that have to be read again."""
    photo(folder / "more" / "new.png", 100)
    photo(folder / "00.jpg", 101)  # before all others
    photo(folder / "05.png", 102)
    os.utime(folder / "more" / "06.png", ns=(1, 1))
    os.rename(folder / "07.png", folder / "renamed.png")
    os.unlink(folder / "more" / "09.png")
    return ["00.jpg", "05.png", "more/06.png", "more/new.png", "renamed.png"]


def scratch(place):
    """What a run from scratch makes of the photos as they are."""
    fresh = place.folder / "fresh.h5"
    fresh.unlink(missing_ok=True)
    assert call(*extract(place.photos, fresh)).code == 0
    return fresh


TAKEN_OVER = "imgret: {}: the photos have changed; what is still the same is taken over\n"


@linux
def test_photos_change_between_runs(place):
    assert place.run(*extract(place.photos, place.out)).code == 0
    assert len(place.opened(place.photos)) == 20
    read = change(place.photos)
    result = place.run(*extract(place.photos, place.out))
    assert (result.code, result.err) == (0, TAKEN_OVER.format(place.out) + f"imgret: {place.out}: 21 photos described\n")
    assert place.opened(place.photos) == read
    same(place.out, scratch(place))
    tidy(place.out)


@linux
@pytest.mark.parametrize("at", [39, 47])
def test_photos_change_between_a_killed_run_and_the_next(place, at):
    assert place.run(*extract(place.photos, place.out), at=at).code == -signal.SIGKILL
    finished = [path for path in glob.glob(f"{place.out}.parts/*/0001/*/*.h5") if "tmp-" not in path]
    taken = [os.fsdecode(name) for path in finished for name in names_in(path)]
    assert taken
    changed = {"00.jpg", "05.png", "more/06.png", "more/new.png", "renamed.png"}
    change(place.photos)
    assert place.run(*extract(place.photos, place.out), at=at - 20).code == -signal.SIGKILL
    change_again = place.photos / "08.jpg"
    os.utime(change_again, ns=(2, 2))
    assert place.run(*extract(place.photos, place.out)).code == 0
    assert set(place.opened(place.photos)) <= {name for name in names(place) if name not in taken or name in changed | {"08.jpg"}}
    same(place.out, scratch(place))
    tidy(place.out)


def names(place):
    """Names of the photos that are there now."""
    return [os.path.relpath(os.path.join(top, name), place.photos) for top, _, found in os.walk(place.photos) for name in found]


@linux
def test_photos_change_while_shards_are_made(place):
    """The plan of the first shard holds for the others; the join, a run of its own, makes up for what has changed since."""
    assert call(*extract(place.photos, place.out, "--shard", "0/2")).code == 0
    change(place.photos)
    assert call(*extract(place.photos, place.out, "--shard", "1/2", "--max-failed", "50%")).code == 0
    result = place.run(*extract(place.photos, place.out))
    assert result.code == 0
    # more/06.png belonged to the second shard, which saw its new time
    assert place.opened(place.photos) == ["00.jpg", "05.png", "more/new.png", "renamed.png"]
    same(place.out, scratch(place))
    tidy(place.out)


@linux
def test_run_that_is_up_to_date_opens_no_photo(place, stores):
    assert place.run(*extract(place.photos, place.out)).code == 0
    before = place.out.stat().st_mtime_ns
    result = place.run(*extract(place.photos, place.out))
    assert (result.code, result.err) == (0, f"imgret: {place.out} is up to date (20 photos)\n")
    assert place.opened(place.photos) == []
    assert place.out.stat().st_mtime_ns == before
    # size and time are what it goes by: a photo that was changed and has kept both goes unnoticed
    status = (place.photos / "05.png").stat()
    (place.photos / "05.png").write_bytes(bytes(status.st_size))
    os.utime(place.photos / "05.png", ns=(status.st_mtime_ns, status.st_mtime_ns))
    assert call(*extract(place.photos, place.out)).err == result.err


@linux
def test_touched_photo_is_recognised_by_its_digest(place, stores):
    vlad, arguments = place.below / "vlad.h5", ("encode", place.out, "-c", place.below / "words.h5", "-o", place.below / "vlad.h5")
    assert call(*extract(place.photos, place.out)).code == 0
    assert call("codebook", place.out, "-m", "kmeans", "--size", 4, "-o", place.below / "words.h5").code == 0
    assert call(*arguments).code == 0
    with Store(place.out) as store:
        content = store.content
    os.utime(place.photos / "05.png", ns=(1, 1))
    result = place.run(*extract(place.photos, place.out), fresh=True)
    assert (result.code, result.err) == (0, TAKEN_OVER.format(place.out) + f"imgret: {place.out}: 20 photos described\n")
    assert place.opened(place.photos) == ["05.png"]
    assert "PIL.Image" not in place.imported()  # its bytes were hashed; nothing was decoded
    with Store(place.out) as store:
        assert store.content == content
    os.utime(vlad, ns=(1, 1))
    assert call(*arguments).err == f"imgret: {vlad} is up to date\n"
    assert vlad.stat().st_mtime_ns >= place.out.stat().st_mtime_ns  # older than its input: freshened, for make
    before = vlad.stat().st_mtime_ns
    assert call(*arguments).err == f"imgret: {vlad} is up to date\n"
    assert vlad.stat().st_mtime_ns == before


def test_failed_photos_are_taken_over_and_tried_again_as_they_should(place):
    (place.photos / "bad.png").write_bytes(b"no image")
    arguments = extract(place.photos, place.out, "--max-failed", 2)
    assert call(*arguments).code == 0
    assert place.run(*arguments).err == f"imgret: {place.out} is up to date (21 photos)\n"
    photo(place.photos / "new.png", 100)
    assert place.run(*arguments).code == 0
    assert place.opened(place.photos) == ["new.png"]
    photo(place.photos / "bad.png", 101)
    assert place.run(*arguments).code == 0
    assert place.opened(place.photos) == ["bad.png"]
    same(place.out, scratch(place))


def test_damaged_file_is_not_taken_over_from(place):
    assert call(*extract(place.photos, place.out)).code == 0
    flip(place.out, "descriptors")
    photo(place.photos / "new.png", 100)
    result = call(*extract(place.photos, place.out))
    warning = f"imgret: warning: {place.out} is damaged ('descriptors' does not match its checksum): every photo is described again\n"
    assert result.err == TAKEN_OVER.format(place.out) + warning + f"imgret: {place.out}: 21 photos described\n"
    same(place.out, scratch(place))


# damage and leftovers


@linux
@pytest.mark.parametrize("damage", ["cut", "flip", "empty", "plan", "cut plan"])
def test_damaged_parts_are_made_again(photos, stores, watched, out, damage):
    assert watched.run(*extract(photos, out, "--shard", "0/1")).code == 0  # everything but the join
    parts = sorted(glob.glob(f"{out}.parts/*/0001/*/*.h5"))
    assert len(parts) == 4
    (plan,) = glob.glob(f"{out}.parts/*/0001/plan.h5")
    if "plan" in damage:
        flip(plan, "names") if damage == "plan" else os.truncate(plan, 1000)
    for part in parts[:3] if "plan" not in damage else ():
        if damage == "flip":
            flip(part, "keypoints")
        else:
            os.truncate(part, os.path.getsize(part) // 2 if damage == "cut" else 0)
    result = call(*extract(photos, out))
    assert result.code == 0
    if "plan" not in damage:
        there = "imgret: 4 of 4 parts are there already\n"
        again = "".join(f"imgret: warning: part {number} is damaged; making it again\n" for number in range(3))
        assert result.err == f"{there}{again}imgret: 1 of 4 parts are there already\nimgret: {out}: 28 photos described\n"
    same(out, stores.features)
    tidy(out)


@linux
def test_damaged_checkpoint_is_passed_over(stores, watched, out):
    arguments, wanted = steps(stores, out)["kmeans"]
    assert watched.run(*arguments, at=24, often=True).code == -signal.SIGKILL
    (checkpoint,) = glob.glob(f"{out}.parts/*/checkpoint.h5")
    os.truncate(checkpoint, 500)
    assert call(*arguments).code == 0
    same(out, wanted)
    tidy(out)


def interrupted(watched, out, *arguments):
    """A command that is killed at its parts; gives its folder of them, and what is in there."""
    before = {*glob.glob(f"{out}.parts/*")}
    assert watched.run(*arguments, at=20, often=True).code == -signal.SIGKILL
    (folder,) = {*glob.glob(f"{out}.parts/*")} - before
    return folder, inside(folder)


def inside(folder):
    return sorted(os.path.join(top, name) for top, _, names in os.walk(folder) for name in names)


@linux
def test_leftovers_of_other_recipes_are_swept_after_a_day(photos, stores, watched, out):
    other, there = interrupted(watched, out, *extract(photos, out, "--set", "max_keypoints=9"))
    interrupted(watched, out, *extract(photos, out))
    assert call(*extract(photos, out)).code == 0
    same(out, stores.features)
    assert inside(f"{out}.parts") == there  # somebody may go on with it
    out.unlink()
    held = os.path.join(other, os.path.basename(temporary_name(other)))  # by this process
    open(held, "x").close()
    aged(other, 2)
    assert call(*extract(photos, out)).code == 0
    assert inside(f"{out}.parts") == sorted([*there, held])
    out.unlink()
    os.unlink(held)
    aged(other, 2)
    assert call(*extract(photos, out)).code == 0
    same(out, stores.features)
    tidy(out)


@linux
@pytest.mark.parametrize("step", ["extract", "kmeans", "vlad"])
def test_what_is_up_to_date_leaves_an_interrupted_overwrite_alone(photos, stores, watched, out, step):
    finished = {"extract": (extract(photos, out), None), **steps(stores, out)}[step][0]
    other = {"extract": ("--set", "max_keypoints=9"), "kmeans": ("--seed", 5), "vlad": ("--set", "norm=l2")}[step]
    assert call(*finished).code == 0
    folder, there = interrupted(watched, out, *finished, *other, "--overwrite")
    for days in (0, 5):
        aged(folder, days)
        assert " is up to date" in call(*finished).err
        assert inside(folder) == there
    result = call(*finished, *other, "--overwrite")
    assert result.code == 0
    assert step == "kmeans" or "parts are there already" in result.err
    tidy(out)


@linux
def test_what_is_up_to_date_leaves_work_on_other_photos_alone(photos, stores, watched, out, tmp_path):
    fill(tmp_path / "others" / "b", 9)
    assert call(*extract(photos, out)).code == 0
    more = extract(photos, out, tmp_path / "others")
    _, there = interrupted(watched, out, *more)
    assert call(*extract(photos, out)).err == f"imgret: {out} is up to date (28 photos)\n"
    assert inside(f"{out}.parts") == there
    assert call(*more).code == 0
    tidy(out)


@linux
@pytest.mark.parametrize("step", ["extract", "vlad"])
def test_what_is_up_to_date_removes_what_it_was_made_of(photos, stores, out, step):
    """As a process leaves it that is killed after it has published, while it removes its parts."""
    arguments = extract(photos, out) if step == "extract" else steps(stores, out)[step][0]
    assert call(*arguments, "--shard", "0/1").code == 0
    shutil.copytree(f"{out}.parts", out.parent / "copy")
    assert call(*arguments).code == 0
    os.rename(out.parent / "copy", f"{out}.parts")
    machine = os.path.basename(temporary_name("")).split("-")[1]
    os.mkdir(f"{out}.parts/tmp-{machine}-{os.getpid()}-1-01234567.h5")  # of another process of this one's number
    assert " is up to date" in call(*arguments).err
    tidy(out)


# the same command, other commands


def test_other_parameters_are_refused_and_overwrite_lifts_it(photos, stores, tmp_path):
    out = tmp_path / "made.h5"
    assert call(*extract(photos, out)).code == 0
    before = out.read_bytes()
    other = extract(photos, out, "--set", "max_keypoints=30")
    text = (
        f"{out} was made with other parameters (max_keypoints: 2000 there, 30 here): choose another -o, or give --overwrite to replace it"
    )
    refused(call(*other), 1, text)
    assert out.read_bytes() == before
    tidy(out)
    assert call(*other, "--overwrite").err == f"imgret: {out}: 28 photos described\n"
    with Store(out) as store:
        assert store.params["params"]["max_keypoints"] == 30
    assert call(*other).err == f"imgret: {out} is up to date (28 photos)\n"
    before = out.stat().st_mtime_ns
    assert call(*other, "--overwrite").err == f"imgret: {out} is up to date (28 photos)\n"
    assert out.stat().st_mtime_ns == before
    tidy(out)


def test_other_method_and_kind_are_refused(photos, stores, tmp_path):
    out = tmp_path / "made.h5"
    shutil.copy(stores.features, out)
    remedy = "choose another -o, or give --overwrite to replace it"
    text = f"{out} was made with other parameters (method: rootsift there, sift here): {remedy}"
    refused(call(*extract(photos, out, "-m", "sift")), 1, text)
    text = f"{out} was made with other parameters (it is of the kind features, this makes codebook): {remedy}"
    refused(call("codebook", stores.vlad, "-m", "pca", "--size", 4, "-o", out), 1, text)
    out.write_text("my notes")
    text = f"{out} is not an imgret file (not HDF5); imgret replaces no file that is not its own: choose another -o, or remove it"
    refused(call(*extract(photos, out)), 1, text)
    refused(call(*extract(photos, out, "--overwrite")), 1, text)
    assert out.read_text() == "my notes"
    out.write_bytes(stores.features.read_bytes()[:5000])
    assert call(*extract(photos, out)).code == 1
    assert call(*extract(photos, out, "--overwrite")).code == 0
    same(out, stores.features)


def test_changed_inputs_are_made_again_in_one_line(stores, tmp_path):
    features, out = tmp_path / "features.h5", tmp_path / "made.h5"
    fill(tmp_path / "photos", 9)
    arguments = ("encode", features, "-c", stores.kmeans, "-o", out)
    assert call(*extract(tmp_path / "photos", features)).code == 0
    assert call(*arguments).code == 0
    photo(tmp_path / "photos" / "new.png", 50)
    assert call(*extract(tmp_path / "photos", features)).code == 0
    again = f"imgret: {out}: its inputs have changed, making it again\nimgret: {out}: 10 vectors of 768 dimensions (vlad)\n"
    assert call(*arguments).err == again
    assert call(*arguments).err == f"imgret: {out} is up to date\n"
    assert len(names_in(out)) == 10
