"""What is the same goes from the old file into the new one: the answer is what a run from scratch gives, whatever has happened between."""

import gc
import json
import os
import shutil
import signal
import sys

import h5py
import numpy as np
import pytest
from conftest import fill
from helpers import call, flip, names_in, photo, refused, resign
from killing import Watched, same, tidy

from imgret.encoders.project import Project
from imgret.errors import ImgretError
from imgret.extractors.sift import RootSift
from imgret.registry import load
from imgret.runs import workers
from imgret.runs.failures import MaxGone
from imgret.runs.kept import Kept, neighbours, positions
from imgret.store.parts import Plan
from imgret.store.text import Texts

AGAIN = "imgret: {}: its inputs have changed, making it again\n"
TAKEN = "imgret: {}: the photos have changed; what is still the same is taken over\n"
GONE = (
    "{} of {} {} in {} are gone or cannot be read ({}), more than --max-gone allows ({}), and it is left as it is: is a disk not "
    "mounted? If they are meant to go, give --max-gone 100%"
)


@pytest.fixture
def here(monkeypatch):
    """Parts are made in this process, which is fast; gives the names of the photos of all parts that are made."""
    made = []
    monkeypatch.setattr(workers, "run", inline(made))
    return made


def inline(made):
    """`imgret.runs.workers.run` without processes; adds the names of the photos of each part to `made`."""

    def run(worker, setup, tasks, jobs, done, on_end=None):
        component = None
        for task in json.loads(json.dumps(list(tasks))):
            component = component or load({"worker": worker}, "worker", "worker")(json.loads(json.dumps(setup)))
            plan = Plan(os.path.dirname(setup["plan_folder"]), 0)
            made.extend(plan.names[slice(*plan.range(task["part"]))])
            done(task, component.work(task, lambda item: None))

    return run


NAMES = ("features", "vlad", "projected", "joined")


def chain(stores, folder, only=4):
    """The commands that describe the photos in a folder and encode what comes of it, and the stores they make there."""
    f, v, p, c = (folder / f"{name}.h5" for name in NAMES)
    commands = (
        ("extract", folder / "photos", "-o", f, "--max-failed", "50%"),
        ("encode", f, "-c", stores.kmeans, "-o", v),
        ("encode", v, "-c", stores.pca, "-o", p),
        ("encode", v, p, "-m", "concat", "-o", c),
    )
    return [(*command, "-j", 1) for command in commands[:only]], [f, v, p, c][:only]


@pytest.fixture(scope="module")
def once(stores, tmp_path_factory):
    """A chain that was made once: to be copied."""
    folder = tmp_path_factory.mktemp("once")
    fill(folder / "photos", 20)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(workers, "run", inline([]))
        made(chain(stores, folder)[0])
        made([index_of(folder)])
    gc.collect()
    return folder


@pytest.fixture(scope="module")
def once_changed(once, stores, tmp_path_factory):
    """The same with two photos more in the features, and `wanted.h5`: what is to become of the vectors."""
    folder = tmp_path_factory.mktemp("changed") / "x"
    shutil.copytree(once, folder)
    add(folder / "photos")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(workers, "run", inline([]))
        made([chain(stores, folder)[0][0], ("encode", folder / "features.h5", "-c", stores.kmeans, "-o", folder / "wanted.h5", "-j", 1)])
    gc.collect()
    return folder


@pytest.fixture
def finished(once, stores, here, tmp_path):
    """A chain of outputs of 20 photos in a folder of its own: the folder, the commands that make them, and the outputs."""
    shutil.copytree(once, tmp_path / "x")
    return (tmp_path / "x", *chain(stores, tmp_path / "x"))


@pytest.fixture
def changed(once_changed, stores, here, tmp_path):
    """An encoding whose input has two photos more by now, and what is wanted of it: (command, output, wanted)."""
    folder = tmp_path / "x"
    shutil.copytree(once_changed, folder)
    return chain(stores, folder)[0][1], folder / "vlad.h5", folder / "wanted.h5"


def index_of(folder):
    return ("index", folder / "vlad.h5", "-m", "flat", "-o", folder / "index.h5", "-j", 1)


def scratch(stores, folder, only=4):
    """What a chain from scratch makes of the photos in a folder."""
    os.makedirs(folder / "scratch", exist_ok=True)
    commands, outs = chain(stores, folder, only)
    places = {out: folder / "scratch" / out.name for out in outs}
    for out in places.values():
        out.unlink(missing_ok=True)
    made([tuple(places.get(word, word) for word in command) for command in commands])
    return list(places.values())


def made(commands):
    for command in commands:
        result = call(*command)
        assert result.code == 0, result.err


def add(folder):
    photo(folder / "00a.png", 100)  # before all others
    photo(folder / "more" / "new.png", 101)


def remove(folder):
    os.unlink(folder / "more" / "09.png")
    os.unlink(folder / "01.png")


def alter(folder):
    photo(folder / "05.png", 102)
    os.utime(folder / "more" / "06.png", ns=(1, 1))  # its bytes are the same


def rename(folder):
    os.rename(folder / "07.png", folder / "zz.png")


def fail(folder):
    (folder / "10.png").write_bytes(b"no photo")
    (folder / "aa.png").write_bytes(b"neither")


def everything(folder):
    for change in (add, remove, alter, rename, fail):
        change(folder)


# of each change: what extract reads or describes, what encode makes of features
CHANGES = {
    add: ({b"00a.png", b"more/new.png"}, {b"00a.png", b"more/new.png"}),
    remove: (set(), set()),
    alter: ({b"05.png", b"more/06.png"}, {b"05.png"}),
    rename: ({b"zz.png"}, {b"zz.png"}),
    fail: ({b"10.png", b"aa.png"}, set()),
}


@pytest.mark.parametrize("change", CHANGES, ids=lambda change: change.__name__)
def test_one_change_makes_what_is_new_alone(finished, here, change):
    folder, commands, outs = finished
    change(folder / "photos")
    for command, out, names in zip(commands, outs, CHANGES[change], strict=False):
        here.clear()
        made([command])
        assert set(here) == names
        tidy(out)


def test_all_changes_through_all_steps(finished, stores, here):
    folder, commands, outs = finished
    everything(folder / "photos")
    made(commands)
    assert len(here) == 7 + 4 + 4 + 6  # what failed is joined anew
    for out, other in zip(outs, scratch(stores, folder), strict=True):
        same(out, other)
    photo(folder / "photos" / "10.png", 103)  # it is a photo again
    here.clear()
    made(commands[:2])
    assert here == [b"10.png", b"10.png"]


def test_several_inputs_and_one_more(stores, here, tmp_path):
    """Of stores whose photos follow each other by turns, and in any order."""
    folders = [tmp_path / name for name in "abc"]
    for number, folder in enumerate(folders):
        folder.mkdir()
        for seed in range(4):
            photo(folder / f"{seed}-{number}.png", 10 * number + seed)
        assert call("extract", folder, "-o", f"{folder}.h5", "-j", 1).code == 0
    a, b, c = (f"{folder}.h5" for folder in folders)
    out, scratch, more = tmp_path / "out.h5", tmp_path / "scratch.h5", ("-c", stores.kmeans, "-j", 1)
    assert call("encode", a, b, *more, "-o", out).code == 0
    here.clear()
    assert call("encode", c, b, a, *more, "-o", out).err.startswith(AGAIN.format(out))
    assert here == [b"0-2.png", b"1-2.png", b"2-2.png", b"3-2.png"]
    assert call("encode", a, b, c, *more, "-o", scratch).code == 0
    same(out, scratch)


def test_boxes(stores, here, tmp_path):
    fill(tmp_path / "photos", 6)
    boxes = tmp_path / "boxes.csv"

    def write(rows):
        boxes.write_text("image,x1,y1,x2,y2,id\n" + "".join(f"{row}\n" for row in rows))

    rows = ["01.png,5,5,120,100,a", "02.png,10,5,150,110,b", "02.png,0,0,90,90,c", "05.png,3,3,140,110,d"]
    write(rows)
    extract = ("extract", tmp_path / "photos", "--boxes", boxes, "-j", 1, "-o")
    encode = ("-c", stores.kmeans, "-j", 1, "-o")
    features, out, scratch = tmp_path / "f.h5", tmp_path / "v.h5", tmp_path / "scratch.h5"
    made([(*extract, features), ("encode", features, *encode, out)])
    write([*rows[:3], "05.png,3,3,100,110,d", "05.png,0,0,99,99,e"])  # d is another box, e is new
    here.clear()
    made([(*extract, features), ("encode", features, *encode, out), ("encode", features, *encode, scratch)])
    assert here[5:7] == [b"d", b"e"]
    same(out, scratch)
    photo(tmp_path / "photos" / "02.png", 77)
    here.clear()
    made([(*extract, features), ("encode", features, *encode, out), ("encode", features, *encode, scratch, "--overwrite")])
    assert here[:4] == [b"b", b"c", b"b", b"c"]
    fresh = tmp_path / "fresh.h5"
    made([("encode", features, *encode, fresh)])
    same(out, fresh)


# what photos were described by


def test_photos_described_otherwise_are_encoded_again(finished, stores, here, monkeypatch):
    """As by another version of a library: names, bytes and parameters are the same, the descriptors are not."""
    folder, commands, (features, vlad, *_) = finished
    features.unlink()

    def otherwise(self, photos, describe=RootSift.describe):
        for described in describe(self, photos):
            described.stored[0] = described.stored[0, ::-1].copy()
            yield described

    monkeypatch.setattr(RootSift, "describe", otherwise)
    made(commands[:2])
    assert len(here) == 40
    same(vlad, scratch(stores, folder, only=2)[1])


def test_files_that_do_not_tell_by_what_photos_were_described(finished, stores, here):
    """Of an older imgret: extract finds out, and encode makes everything once more."""
    folder, commands, (features, vlad, *_) = finished
    for path in (features, vlad):
        with h5py.File(path, "r+") as file:
            del file["origin"]
        resign(path)
    add(folder / "photos")
    made(commands[:2])
    assert here[:2] == [b"00a.png", b"more/new.png"]
    assert len(here) == 2 + 22
    for out, other in zip((features, vlad), scratch(stores, folder, only=2), strict=True):
        same(out, other)


def test_a_projected_row_depends_on_no_other():
    rng = np.random.default_rng(0)
    codebook = type("Fitted", (), {"dim_": 70, "components_": rng.standard_normal((20, 70)).astype(np.float32)})()
    codebook.project = lambda x: x @ codebook.components_.T
    encoder, rows = Project(Project.Params(), codebook), rng.standard_normal((300, 70)).astype(np.float32)
    whole = encoder.encode_rows(rows)
    assert np.allclose(whole, encoder.encode_block(rows), atol=1e-6)
    for count in (1, 3, 8, 13):
        picked = rng.permutation(300)[:count]
        assert np.array_equal(encoder.encode_rows(rows[picked]), whole[picked])


# shards, kills, damage, files that change meanwhile


@pytest.mark.parametrize("meanwhile", ["", "gone", "damaged"])
def test_shards_and_the_old_file_meanwhile(changed, here, meanwhile):
    command, out, wanted = changed
    assert call(*command, "--shard", "0/2").code == 0
    if meanwhile == "gone":
        out.unlink()
    elif meanwhile == "damaged":
        flip(out, "vectors", 768 * 4 * 3)
    assert call(*command, "--shard", "1/2").code == 0
    assert here == [b"00a.png", b"more/new.png"]
    result = call(*command)
    assert result.code == 0
    assert len(here) == (24 if meanwhile else 2)
    text = f"imgret: warning: {out} is damaged ('vectors' does not match its checksum): every photo is encoded again\n"
    assert (text in result.err) == (meanwhile == "damaged")
    same(out, wanted)
    tidy(out)


def test_what_a_damaged_file_made_necessary_is_gone_on_with(changed, here, monkeypatch):
    """A run that makes everything again, as the old file is damaged, and is stopped: the next one does not begin anew."""
    command, out, wanted = changed
    flip(out, "vectors", 768 * 4 * 3)
    with monkeypatch.context() as patch:
        run = workers.run

        def stopped(worker, setup, tasks, jobs, done, on_end=None):
            tasks = list(tasks)
            run(worker, setup, tasks[:2], jobs, done)
            if len(tasks) > 2:
                raise ImgretError("enough")

        patch.setattr(workers, "run", stopped)
        assert call(*command).err.endswith("imgret: error: enough\n")
    assert "imgret: 2 of 3 parts are there already\n" in call(*command).err
    assert len(here) == 2 + 22
    same(out, wanted)
    tidy(out)


@pytest.mark.parametrize("column", ["digest", "names"])
def test_damage_where_it_is_looked_for(changed, here, column):
    command, out, wanted = changed
    flip(out, column)
    text = f"imgret: warning: {out} is damaged ('{column}' does not match its checksum): every photo is encoded again\n"
    assert text in call(*command).err
    same(out, wanted)


def test_a_touched_photo_is_not_taken_from_a_damaged_row(finished, stores):
    folder, commands, (features, *_) = finished
    flip(features, "keypoints", 8)
    for name in os.listdir(folder / "photos" / "more"):
        os.utime(folder / "photos" / "more" / name, ns=(1, 1))
    assert "is damaged ('keypoints' does not match its checksum): every photo is described again\n" in call(*commands[0]).err
    same(features, scratch(stores, folder, only=1)[0])


def test_what_is_not_finite_is_damage_too(changed):
    """Whatever its checksum says."""
    command, out, wanted = changed
    gc.collect()
    with h5py.File(out, "r+") as file:
        file["vectors"][3, 5] = np.nan
    resign(out)
    text = f"imgret: warning: {out} is damaged ('vectors' holds NaN or infinite values): every photo is encoded again\n"
    assert text in call(*command).err
    same(out, wanted)


def test_another_file_comes_in_place_of_the_old_one(changed, here, monkeypatch):
    """It is not replaced, and nothing of it gets into what is made."""
    command, out, wanted = changed
    other, run = out.parent / "other.h5", workers.run
    shutil.copy(out, other)
    with h5py.File(other, "r+") as file:
        file["vectors"][...] = 0
    resign(other)

    def replaced(*arguments, **named):
        run(*arguments, **named)
        os.replace(other, out)

    with monkeypatch.context() as patch:
        patch.setattr(workers, "run", replaced)
        assert "was put there, or changed, while this command ran" in call(*command).err
    out.unlink()
    assert call(*command).code == 0
    same(out, wanted)


@pytest.mark.skipif(sys.platform != "linux", reason="processes are watched through /proc")
def test_killed_at_random_events(once_changed, stores, tmp_path):
    shutil.copytree(once_changed, tmp_path / "x")
    watched = Watched(tmp_path / "watch", tmp_path / "x")
    command = chain(stores, tmp_path / "x")[0][1]
    assert watched.until_done(np.random.default_rng(2), *command, most=8, code=-signal.SIGKILL)
    same(tmp_path / "x" / "vlad.h5", tmp_path / "x" / "wanted.h5")
    tidy(tmp_path / "x" / "vlad.h5")


# photos that are gone


def half(folder, lose):
    """Lose half of 20 photos; gives the first names, as a message has them."""
    lost = sorted(os.listdir(folder / "more")) + ["01.png", "02.png", "04.jpg"]
    for name in lost:
        lose(folder / name if (folder / name).exists() else folder / "more" / name)
    return "'01.png', '02.png', '04.jpg', 'more/00.jpg', 'more/03.png', ..."


def test_half_of_the_photos_gone(finished, here):
    folder, commands, outs = finished
    commands, outs = [*commands[:2], index_of(folder)], [*outs[:2], folder / "index.h5"]
    first = half(folder / "photos", os.unlink)
    notes = TAKEN.format(outs[0]), AGAIN.format(outs[1]), AGAIN.format(outs[2])
    for number, (command, out) in enumerate(zip(commands, outs, strict=True)):
        result, before = call(*command), out.read_bytes()
        assert (result.code, result.err) == (1, f"{notes[number]}imgret: error: {GONE.format(10, 20, 'photos', out, first, 4)}\n")
        assert call(*command, "--max-gone", "49%").code == call(*command, "--max-gone", 9).code == 1
        assert out.read_bytes() == before
        tidy(out)
        assert call(*command, "--max-gone", 10 if number else "100%").code == 0
        assert len(names_in(out)) == 10
    assert not here


def test_an_unplugged_disk(finished):
    """Names are listed, and nothing behind them can be read: known when it was tried, and all is kept."""
    folder, commands, (features, vlad, *_) = finished

    def lose(path):
        path.unlink()
        path.symlink_to("nowhere")

    first, before = half(folder / "photos", lose), features.read_bytes()
    assert call(*commands[0]).err.endswith(f"imgret: error: {GONE.format(10, 20, 'photos', features, first, 4)}\n")
    assert features.read_bytes() == before
    assert call(*commands[0], "--max-gone", "50%").code == 0
    assert len(names_in(features)) == 10
    assert call(*commands[1]).err.endswith(f"imgret: error: {GONE.format(10, 20, 'photos', vlad, first, 4)}\n")


def test_what_is_no_photo_any_more_is_not_gone(finished):
    folder, commands, (features, vlad, *_) = finished
    half(folder / "photos", lambda path: path.write_bytes(b"no photo"))
    made(commands[:2])
    assert len(names_in(features)) == len(names_in(vlad)) == 10
    assert len(names_in(vlad, "failed/")) == 10


def test_what_has_another_name_is_not_gone(finished):
    folder, commands, outs = finished
    os.rename(folder / "photos" / "more", folder / "photos" / "renamed")
    os.rename(folder / "photos", folder / "all")
    os.mkdir(folder / "photos")
    os.rename(folder / "all", folder / "photos" / "all")
    made([*commands[:2], index_of(folder)])
    assert all(name.startswith(b"all/") for name in names_in(folder / "index.h5"))


def test_how_many_may_be_gone():
    assert [MaxGone().allowed(photos) for photos in (1, 4, 10, 14, 15, 100)] == [2, 2, 2, 2, 3, 20]
    assert [MaxGone(text).allowed(100) for text in ("0", "0%", "1%", "50%", "7")] == [0, 0, 2, 50, 7]
    MaxGone().check("x.h5", 4, [b"a", b"b"])
    with pytest.raises(ImgretError) as caught:
        MaxGone("1").check("x.h5", 9, [b"a", b"b\n"])
    assert str(caught.value) == GONE.format(2, 9, "photos", "x.h5", r"'a', 'b\x0a'", 1)


def test_with_other_parameters_nothing_is_gone(finished):
    folder, commands, (features, *_) = finished
    half(folder / "photos", os.unlink)
    assert call(*commands[0], "--set", "max_keypoints=9", "--overwrite").code == 0
    assert len(names_in(features)) == 10


@pytest.mark.parametrize("step", ["extract", "encode", "index", "build"])
def test_max_gone_that_is_none(step, tmp_path):
    out = ("-o", tmp_path / "x", "-c", "w") if step == "encode" else ("-o", tmp_path / "x")
    refused(call(step, "p", *out, "--max-gone", "few"), 2, "`--max-gone` must be a whole number or a percentage, got 'few'")
    refused(call(step, "p", *out, "--max-gone", "101%"), 2, "`--max-gone` must be at most 100%, got '101%'")


# photos that fail


NEW = "imgret: warning: {}: {} could not be used, and had not failed before: {}; imgret info --failed tells why\n"


def test_quiet_runs_tell_of_what_failed_once(here, tmp_path):
    fill(tmp_path / "photos", 9)
    out = tmp_path / "out.h5"
    command = ("extract", tmp_path / "photos", "-o", out, "--max-failed", "90%", "-j", 1, "-q")
    (tmp_path / "photos" / "bad.png").write_bytes(b"no photo")
    (tmp_path / "photos" / "link.png").symlink_to("nowhere")
    wanted = NEW.format(out, "2 photos", "bad.png (not-an-image), link.png (unreadable)")
    assert call(*command).err == wanted
    assert call(*command).err == ""
    photo(tmp_path / "photos" / "new.png", 50)
    assert call(*command).err == ""
    os.utime(tmp_path / "photos" / "bad.png", ns=(1, 1))  # the same bytes
    assert call(*command).err == ""
    (tmp_path / "photos" / "bad.png").write_bytes(b"no photo either")
    assert call(*command).err == NEW.format(out, "1 photo", "bad.png (not-an-image)")
    for number in range(7):
        (tmp_path / "photos" / f"bad{number}.png").write_bytes(b"no photo")
    shown = ", ".join(f"bad{number}.png (not-an-image)" for number in range(5))
    assert call(*command).err == NEW.format(out, "7 photos", f"{shown}, ...")
    assert call(*command[:-1]).err == f"imgret: {out} is up to date (19 photos)\n"


def test_what_had_failed_counts_for_max_failed(here, tmp_path):
    fill(tmp_path / "photos", 9)
    out = tmp_path / "out.h5"
    command = ("extract", tmp_path / "photos", "-o", out, "-j", 1)
    for number in range(3):
        (tmp_path / "photos" / f"bad{number}.png").write_bytes(b"no photo")
    assert call(*command, "--max-failed", "3").code == 0
    photo(tmp_path / "photos" / "new.png", 50)
    failed = ", ".join(f"bad{number}.png (not-an-image)" for number in range(3))
    text = f"3 photos could not be used so far, more than --max-failed allows of 13 (2): {failed}; the finished parts are kept"
    text += ": give --max-failed N or N%, a larger one, to go on without them"
    assert call(*command, "--max-failed", 2).err == f"{TAKEN.format(out)}imgret: error: {text}\n"
    os.unlink(tmp_path / "photos" / "new.png")
    photo(tmp_path / "photos" / "a.png", 51)
    os.unlink(tmp_path / "photos" / "01.png")
    (tmp_path / "photos" / "zz.png").write_bytes(b"no photo")
    assert call(*command, "--max-failed", "4").code == 0
    assert names_in(out, "failed/") == [b"bad0.png", b"bad1.png", b"bad2.png", b"zz.png"]


# pieces


def test_positions_and_neighbours():
    names, among = Texts.of([b"a", b"c", b"d", b"x"]), Texts.of([b"", b"a", b"b", b"d"])
    assert positions(names, among).tolist() == [1, -1, 3, -1]
    assert positions(among, names).tolist() == [-1, 0, -1, 2]
    assert positions(names, Texts.of([])).tolist() == [-1] * 4
    assert list(neighbours(np.array([3, 4, 5, 7, 8]), np.array([0, 1, 3, 4, 5]))) == [(0, 2), (2, 3), (3, 5)]
    assert list(neighbours(np.zeros(0, int))) == []
    assert list(neighbours(np.arange(2500))) == [(0, 1024), (1024, 2048), (2048, 2500)]
    assert Kept(at=np.array([1, 2]), failed_at=np.array([4])).made(6).tolist() == [0, 3, 5]
    assert Kept().made(6) is None
