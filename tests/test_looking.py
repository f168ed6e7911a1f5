"""Shards of one output: one of them looks for the photos, the others follow its plan, as long as it is not an abandoned one."""

import fcntl
import os
import shutil

import pytest
from helpers import call, names_in, photo

from imgret import listing
from imgret.runs import looking
from imgret.store.parts import TRAINING, Parts
from imgret.store.reader import Store

FOLLOWS = "imgret: {}: {} photos, as another shard has found them: what has come since waits for the same command without --shard"


@pytest.fixture
def place(photos, tmp_path):
    """A folder of nine photos, of two parts, and an output beside it."""
    for name in names_in_order(photos)[:9]:
        os.makedirs((tmp_path / "p" / name).parent, exist_ok=True)
        shutil.copy2(photos / name, tmp_path / "p" / name)
    return tmp_path


@pytest.fixture
def walks(monkeypatch):
    """The folders that are walked, as they are."""
    walked = []
    walk = listing._walk
    monkeypatch.setattr(listing, "_walk", lambda found, top, *rest: [walked.append(top), walk(found, top, *rest)])
    return walked


def names_in_order(folder):
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*.*"))


def shard(place, number, *more, folder="p"):
    result = call("extract", place / folder, "-o", place / "f.h5", "-j1", "--shard", f"{number}/2", *more)
    assert result.code == 0, result.err
    return result.err.splitlines()


def test_a_shard_follows_the_plan_of_another_without_looking_for_photos(place, walks):
    assert shard(place, 0)[-1].startswith("imgret: shard 0/2 is done; 1 of 2 parts are missing")
    photo(place / "p" / "zz.png")
    lines = shard(place, 1)
    assert len(walks) == 1
    assert lines[0] == FOLLOWS.format(place / "f.h5", 9)
    assert lines[-1].startswith("imgret: shard 1/2 is done; 0 of 2 parts are missing")
    result = call("extract", place / "p", "-o", place / "f.h5", "-j1")
    assert (result.code, len(walks)) == (0, 2)
    assert names_in(place / "f.h5")[-1] == b"zz.png"
    assert not os.path.exists(place / "f.h5.parts")


def test_who_asks_for_other_photos_looks_for_them(place, walks):
    shard(place, 0)
    lines = shard(place, 1, "--exclude", "00*")
    assert len(walks) == 2
    assert not any("as another shard" in line for line in lines)


def test_lists_are_told_apart_by_size_and_time_and_standard_input_not_at_all(place):
    (place / "list").write_text("a.png\n")
    given = listing.Given(lists=(str(place / "list"),))
    before = given.identity()
    assert before == given.identity()
    (place / "list").write_text("b.png\nc.png\n")
    assert given.identity() != before
    assert listing.Given(("-",)).identity() is None
    os.mkfifo(place / "pipe")
    assert listing.Given(lists=(str(place / "pipe"),)).identity() is None


def test_an_abandoned_plan_is_not_followed(place, walks):
    """Nobody has been at it for a day: photos are looked for, and where they are others, there is a new plan."""
    shard(place, 0)
    for top, folders, files in os.walk(place / "f.h5.parts"):
        for name in (*folders, *files):
            os.utime(os.path.join(top, name), (1, 1))
    photo(place / "p" / "aa.png")
    lines = shard(place, 1)
    assert len(walks) == 2
    assert lines[-1].startswith("imgret: shard 1/2 is done; 1 of 2 parts are missing")
    shard(place, 0)
    assert len(walks) == 2


def test_a_plan_that_is_in_the_finished_file_is_not_followed(place, walks):
    shard(place, 0)
    kept = shutil.copytree(place / "f.h5.parts", place / "kept")
    assert call("extract", place / "p", "-o", place / "f.h5", "-j1").code == 0
    shutil.copytree(kept, place / "f.h5.parts")
    del walks[:]
    assert shard(place, 1) == [f"imgret: {place / 'f.h5'} is up to date (9 photos)"]
    photo(place / "p" / "aa.png")
    shard(place, 1)
    assert len(walks) == 2


@pytest.mark.parametrize("plan", [True, False])
def test_a_shard_waits_while_another_looks(place, walks, monkeypatch, plan):
    """What it finds when the other has ended: a plan, or none, as of a process that was killed."""
    shard(place, 0)
    away, (folder,) = place / "away", os.listdir(place / "f.h5.parts")
    os.rename(place / "f.h5.parts", away)
    made, waits = place / "f.h5.parts" / folder, []
    os.makedirs(made)
    with open(made / "looking.h5", "wb") as other:
        fcntl.flock(other, fcntl.LOCK_EX)

        def ended(seconds):
            waits.append(seconds)
            if plan:
                shutil.copytree(away / folder / "0001", made / "0001")
            other.close()

        monkeypatch.setattr(looking.time, "sleep", ended)
        del walks[:]
        lines = shard(place, 1)
    assert (len(waits), len(walks)) == (1, 0 if plan else 1)
    assert (lines[0] == FOLLOWS.format(place / "f.h5", 9)) == plan


def test_who_has_halted_while_looking_is_not_waited_for_for_ever(place, monkeypatch):
    monkeypatch.setattr(looking, "SECONDS", 0)
    shard(place, 0)
    (folder,) = (place / "f.h5.parts").iterdir()
    shutil.rmtree(folder / "0001")
    with open(folder / "looking.h5", "wb") as other:
        fcntl.flock(other, fcntl.LOCK_EX)
        shard(place, 1)
    assert call("extract", place / "p", "-o", place / "f.h5", "-j1").code == 0
    assert not os.path.exists(place / "f.h5.parts")


def test_who_is_ended_while_looking_leaves_nothing_that_stays(place):
    assert call("extract", place / "p", "-o", place / "f.h5", "-j1").code == 0
    asked = listing.Given((str(place / "p"),)).listed()
    shard(place, 0)  # up to date: it has looked
    assert not os.path.exists(place / "f.h5.parts")
    with Store(place / "f.h5") as store:
        recipe = store.recipe
    parts = Parts(str(place / "f.h5"), recipe)
    os.makedirs(parts.folder)
    (place / "f.h5.parts" / os.path.basename(parts.folder) / "looking.h5").touch()
    parts.clear_plans_of(asked.names, asked.sizes, asked.mtimes)
    assert not os.path.exists(place / "f.h5.parts")


def test_two_that_end_at_one_moment_leave_nothing(tmp_path):
    """Each of them sees the other's claim while it clears."""
    parts = [Parts(str(tmp_path / "f.h5"), "ab" * 16) for _ in range(2)]
    for each in parts:
        each.prepare()
    os.makedirs(os.path.join(parts[0].folder, TRAINING))
    for each in parts:
        each.clear()
    assert os.path.isdir(parts[0].folder)
    for each in parts:
        each.leave()
    assert os.listdir(tmp_path) == []
