"""Photos on their way to a training: looked at once, loaded and augmented alike for any number of processes, their maps kept."""

import contextlib
import dataclasses
import errno
import os
import shutil
import signal
import subprocess
import sys
import textwrap
import time

import numpy as np
import pytest
from helpers import ROOT, encoded, photo, texture
from test_disk import Failing

from imgret import images, listing
from imgret.errors import ImgretError, UsageError
from imgret.networks import views
from imgret.runs import workers
from imgret.runs.failures import MaxFailed
from imgret.runs.run import Run
from imgret.training import ahead, looking
from imgret.training.augment import Augment, Params, other_hue, seen_from
from imgret.training.loader import Loader
from imgret.training.looking import look
from imgret.training.maps import Maps, Vectors
from imgret.training.reading import Reading

READING = Reading(96, least=32)
FULL = "cannot be written: No space left on device; what was there before is untouched"


def looked_at(folder, place, jobs=1, limit=None):
    found = listing.Given((str(folder),)).listed()
    return look(found, str(place), dataclasses.asdict(READING), Run(jobs=jobs), limit)


@pytest.fixture
def looked(photos, tmp_path):
    return looked_at(photos, tmp_path)


def loaded(looked, lists, jobs=1, params=None, seed=7):
    with contextlib.closing(Loader(looked, READING, params or Params(crop_size=40), seed, jobs)) as loader:
        return list(loader.load(lists))


# looking


BAD = {
    "empty.jpg": (b"", "not-an-image"),
    "text.jpg": (b"no photo", "not-an-image"),
    "short.png": (encoded(texture(1))[:900], "truncated"),
    "bomb.png": (encoded(np.zeros((1, 1), np.uint8)).replace(b"\0\0\0\1\0\0\0\1", b"\0\1\0\0\0\1\0\0", 1), "not-an-image"),
}


def test_bad_photos_are_told_and_left_out(tmp_path):
    for name, (data, _) in BAD.items():
        (tmp_path / name).write_bytes(data)
    photo(tmp_path / "good.png")
    os.mkfifo(tmp_path / "pipe.jpg")
    found = looked_at(tmp_path, tmp_path, jobs=2)
    assert found.names == [b"good.png"]
    assert [path.endswith(b"/good.png") for path in found.paths] == [True]
    file = images.read_file(tmp_path / "good.png")
    assert (found.digests[0].tobytes(), int(found.sizes[0]), int(found.mtimes[0])) == (file.digest, file.size, file.mtime_ns)
    failed = {name.decode(): code for name, code, _ in found.failed}
    assert failed.pop("pipe.jpg", "not-a-file") == "not-a-file"
    assert {name: failed[name] for name in ("empty.jpg", "text.jpg", "short.png")} == {
        "empty.jpg": "not-an-image",
        "text.jpg": "not-an-image",
        "short.png": "truncated",
    }
    assert "bomb.png" in failed
    assert found.failed == sorted(found.failed)
    with pytest.raises(ImgretError, match=r"^4 of [56] photos could not be used|^\d photos could not be used so far"):
        looked_at(tmp_path, tmp_path, limit=MaxFailed("1"))


@pytest.fixture
def read_again(monkeypatch):
    """Photos that are looked at, as they are: in this process."""
    seen = []

    def run(worker, setup, tasks, jobs, done):
        looker = looking.Looker(setup)
        for task in tasks:
            seen.extend(map(os.path.basename, task["paths"]))
            done(task, looker.work(task, lambda item: None))

    monkeypatch.setattr(workers, "run", run)
    return seen


def test_only_what_has_changed_is_looked_at_again(tmp_path, read_again):
    (tmp_path / "p").mkdir()
    for number in range(3):
        photo(tmp_path / "p" / f"{number}.png", number)
    first = looked_at(tmp_path / "p", tmp_path)
    assert read_again == ["0.png", "1.png", "2.png"]
    again = looked_at(tmp_path / "p", tmp_path)
    assert len(read_again) == 3
    assert (again.names, again.digests.tolist()) == (first.names, first.digests.tolist())
    photo(tmp_path / "p" / "1.png", 9)
    (tmp_path / "p" / "2.png").write_bytes(b"")
    changed = looked_at(tmp_path / "p", tmp_path)
    assert read_again[3:] == ["1.png", "2.png"]
    assert changed.digests[0].tolist() == first.digests[0].tolist() != changed.digests[1].tolist()
    assert [name for name, *_ in changed.failed] == [b"2.png"]


def test_a_photo_that_may_be_read_the_next_time_is_looked_at_again(tmp_path, read_again, monkeypatch):
    (tmp_path / "p").mkdir()
    photo(tmp_path / "p" / "0.png")
    with monkeypatch.context() as patch:
        Failing(patch, "open", 1, path="0.png", number=errno.EIO)
        assert looked_at(tmp_path / "p", tmp_path).failed == [(b"0.png", "unreadable", "it cannot be read: Input/output error")]
    assert looked_at(tmp_path / "p", tmp_path).names == [b"0.png"]
    assert len(read_again) == 2


def test_a_line_that_is_not_whole_is_passed_over(photos, tmp_path, read_again):
    """At whatever byte a run was killed, the next one looks at no more than what that line was about, and finds the same."""
    whole = looked_at(photos, tmp_path)
    (log,) = tmp_path.glob("looked-*.jsonl")
    data, count = log.read_bytes(), len(read_again)
    for length in (0, 1, 9, len(data) // 3, len(data) // 2, len(data) - 2, len(data) - 1):
        log.write_bytes(data[:length])
        del read_again[:]
        again = looked_at(photos, tmp_path)
        assert len(read_again) <= count
        assert (again.names, again.digests.tolist()) == (whole.names, whole.digests.tolist())
        del read_again[:]
        looked_at(photos, tmp_path)
        assert read_again == []


@pytest.mark.parametrize("name", ["open", "write"])
def test_disk_full_while_looking(photos, tmp_path, monkeypatch, read_again, name):
    Failing(monkeypatch, name, 1, path=".jsonl")
    with pytest.raises(ImgretError) as caught:
        looked_at(photos, tmp_path)
    assert str(caught.value).startswith(f"{tmp_path}/looked-")
    assert str(caught.value).endswith(FULL)


def test_photos_of_two_looks_are_put_one_after_the_other(looked):
    both = looked.joined(looked)
    assert both.names == looked.names * 2
    assert len(both.digests) == len(both.sizes) == 2 * len(looked)


# augmenting


@pytest.mark.parametrize(
    ("settings", "text"),
    [
        ({"crop_scale": (0.5,)}, "`crop_scale` must be two numbers, got 1"),
        ({"jitter": (0.5, 0.1)}, "`jitter` must be three numbers, got 2"),
        ({"crop_scale": (0.9, 0.5)}, "`crop_scale` must be the least and the most, got 0.9 and 0.5"),
        ({"crop_scale": (0.0, 0.5)}, "`crop_scale` must be a number of at most 1 above 0, got 0.0"),
        ({"mirror": 1.5}, "`mirror` must be a number from 0 to 1, got 1.5"),
        ({"augment": "none", "grey": 0.5}, "`grey` has no effect with augment=none: leave it out"),
        ({"augment": "some"}, "`augment` must be one of none, light, strong, got 'some'"),
    ],
)
def test_parameters_that_are_refused(settings, text):
    with pytest.raises(UsageError) as caught:
        Params(**settings)
    assert str(caught.value) == text


@pytest.mark.parametrize("kind", ["light", "strong"])
def test_a_view_depends_on_seed_number_and_name_only(kind):
    pixels, make = texture(3, channels=3), Augment(Params(augment=kind), 64)
    first = make.view(pixels, 1, (7, b"a"))
    assert (first.shape, first.dtype, first.flags.c_contiguous) == ((64, 64, 3), np.uint8, True)
    others = [make.view(pixels, *which) for which in ((2, (7, b"a")), (1, (8, b"a")), (1, (7, b"b")))]
    assert not any(np.array_equal(first, other) for other in others)
    assert np.array_equal(first, Augment(Params(augment=kind), 64).view(pixels, 1, (7, b"a")))


def test_views_leave_the_random_state_and_threads_of_torch_alone():
    import torch

    threads, state = torch.get_num_threads(), torch.get_rng_state()
    torch.set_num_threads(2)
    try:
        two = Augment(Params(augment="strong"), 300).view(texture(3, 400, 300, 3), 1, (0, b"a"))
        assert torch.get_num_threads() == 2
        torch.set_num_threads(1)
        assert np.array_equal(two, Augment(Params(augment="strong"), 300).view(texture(3, 400, 300, 3), 1, (0, b"a")))
    finally:
        torch.set_num_threads(threads)
    assert torch.equal(torch.get_rng_state(), state)


def test_what_is_switched_off_leaves_the_photo_as_it_is():
    pixels = texture(3, 80, 80, 3)
    plain = {"augment": "light", "crop_scale": (1.0, 1.0), "crop_ratio": (1.0, 1.0), "jitter": (0.0, 0.0, 0.0)}
    make = Augment(Params(crop_size=80, **plain), 64)
    assert np.array_equal(make.view(pixels, 5, (0, b"a")), pixels)
    for settings, wanted in (
        ({"mirror": 1.0}, pixels[:, ::-1]),
        ({"grey": 1.0}, None),
        ({"turn": 20.0}, None),
        ({"slant": 0.3}, None),
        ({"hue": 0.3}, None),
    ):
        view = Augment(Params(crop_size=80, **plain | settings), 64).view(pixels, 5, (0, b"a"))
        assert np.array_equal(view, wanted) if wanted is not None else not np.array_equal(view, pixels), settings
        assert "grey" not in settings or np.array_equal(view[..., 0], view[..., 2])


def test_what_is_cut_out_lies_in_the_photo_and_is_as_large_as_asked_for():
    make = Augment(Params(crop_scale=(0.2, 0.6)), 64)
    rng = np.random.default_rng(0)
    for _ in range(300):
        height, width = rng.integers(1, 300, 2)
        drawn = dict(zip(("area", "ratio", "x", "y"), rng.random(4), strict=True))
        top, left, high, wide = make._box(int(height), int(width), drawn)
        assert 0 <= top <= top + high <= height
        assert 0 <= left <= left + wide <= width
        assert high >= 1 <= wide
        if min(height, width) > 30 and high < height and wide < width:
            assert 0.17 < high * wide / (height * width) < 0.65
            assert 0.7 < wide / high < 1.4


def test_turned_and_slanted_corners_stay_inside():
    make, rng = Augment(Params(augment="strong", turn=45.0, slant=0.5), 64), np.random.default_rng(0)
    for _ in range(100):
        corners = make._corners({"turn": rng.random(), **{f"slant{n}": rng.random() for n in range(8)}})
        assert 0 <= np.min(corners) <= np.max(corners) <= 63


def test_what_opencv_does_for_torchvision_is_the_same():
    import torch
    from torchvision.transforms.v2 import functional

    pixels = texture(3, 120, 120, 3)
    x = torch.from_numpy(pixels).permute(2, 0, 1)
    corners = [[10, 4], [112, 0], [119, 100], [3, 119]]
    whole = [[0, 0], [119, 0], [119, 119], [0, 119]]
    wanted = functional.perspective(x, corners, whole).permute(1, 2, 0).numpy()
    assert np.abs(seen_from(pixels, corners)[2:-2, 2:-2].astype(int) - wanted[2:-2, 2:-2]).mean() < 0.7
    for share in (-0.5, -0.07, 0.0, 0.02, 0.3):
        wanted = functional.adjust_hue(x, share).permute(1, 2, 0).numpy()
        assert np.abs(other_hue(pixels, share).astype(int) - wanted).mean() < 2.0


@pytest.mark.parametrize("size", [(1, 1), (3, 200), (200, 2)])
def test_the_smallest_photos_have_views(size):
    for kind in ("light", "strong"):
        assert Augment(Params(augment=kind), 48).view(np.full((*size, 3), 9, np.uint8), 1, (0, b"a")).shape == (48, 48, 3)


# loading


LISTS = [[(0, 0), (5, 1), (5, 2), (3, 1)], [], [(number, number % 3) for number in range(20)], [(5, 1)], [(2, 0), (2, 0)]]


def test_the_first_view_is_what_extract_is_shown(looked):
    for number, (pixels,) in enumerate(loaded(looked, [[(number, 0)] for number in range(len(looked))])):
        with open(looked.paths[number], "rb") as file:
            assert np.array_equal(pixels, views.read(file.read(), READING, READING.least).pixels)
    assert np.array_equal(loaded(looked, [[(4, 3)]], params=Params(augment="none"))[0][0], loaded(looked, [[(4, 0)]])[0][0])


def test_the_same_views_for_any_number_of_processes_and_any_order(looked):
    params = Params(augment="strong", crop_size=40)
    one = loaded(looked, LISTS, 1, params)
    assert [len(views) for views in one] == [len(pairs) for pairs in LISTS]
    for jobs, lists in ((3, LISTS), (1, LISTS[::-1])):
        other = loaded(looked, lists, jobs, params)
        for wanted, made in zip(one, other if lists is LISTS else other[::-1], strict=True):
            assert all(np.array_equal(a, b) and a.dtype == np.uint8 for a, b in zip(wanted, made, strict=True))
    assert np.array_equal(one[0][1], one[3][0])
    assert not np.array_equal(one[0][1], one[0][2])


def test_lists_that_are_left_or_run_beside_each_other(looked, monkeypatch):
    """With hardly any room: nothing waits for ever, nothing is mixed up."""
    monkeypatch.setattr(ahead, "MOST_BYTES", 1)
    lists = [[(first + number, 0) for number in range(25)] for first in (0, 1, 2)]
    wanted = loaded(looked, lists)
    with contextlib.closing(Loader(looked, READING, Params(crop_size=40), 7, 2)) as loader:
        left = loader.load(lists)
        next(left)
        left.close()
        one, other = loader.load(lists), loader.load(lists)
        for expected in wanted:
            for views in (next(one), next(other)):
                assert all(np.array_equal(a, b) for a, b in zip(expected, views, strict=True))


def test_lists_are_taken_only_so_far_ahead(looked):
    taken = []

    def lists():
        for number in range(20):
            taken.append(number)
            yield [(number, 0)]

    with contextlib.closing(Loader(looked, READING, Params(), 7, 2)) as loader:
        for number, _ in enumerate(loader.load(lists())):
            assert len(taken) <= number + 2 + ahead.AHEAD


@pytest.mark.parametrize("jobs", [1, 2])
@pytest.mark.parametrize("how", ["gone", "changed", "broken"])
def test_a_photo_that_fails_now(photos, tmp_path, jobs, how):
    shutil.copytree(photos, tmp_path / "p")
    looked = looked_at(tmp_path / "p", tmp_path)
    path = os.fsdecode(looked.paths[3])
    if how == "gone":
        os.unlink(path)
    else:
        with open(path, "wb") as file:
            file.write(encoded(texture(99)) if how == "changed" else b"")
    reason = "it cannot be read: No such file or directory" if how == "gone" else "its file has changed"
    with pytest.raises(ImgretError) as caught:
        loaded(looked, [[(2, 0)], [(3, 0)]], jobs)
    text = f"'{os.fsdecode(looked.names[3])}' could be used when training began, and no longer can ({reason}): run the same command again"
    assert str(caught.value) == text


@pytest.mark.parametrize(
    ("number", "text"),
    [
        (signal.SIGKILL, "a worker process was killed (out of memory?): run the same command again, with fewer --jobs"),
        (signal.SIGSEGV, "a worker process ended unexpectedly (exit -11): run the same command again"),
    ],
)
def test_a_worker_that_ends(looked, number, text):
    loader = Loader(looked, READING, Params(), 7, 3)
    try:
        iterator = loader.load([[(photo, 0) for photo in range(8)]] * 40)
        next(iterator)
        os.kill(next(iter(loader._pool._given)).process.pid, number)
        with pytest.raises(ImgretError) as caught:
            list(iterator)
        assert str(caught.value) == text
    finally:
        loader.close()
    loader.close()


def test_it_ends_with_its_workers(looked):
    loader = Loader(looked, READING, Params(), 7, 3)
    next(loader.load([[(0, 0)]] * 9))
    pids = [process.process.pid for process in loader._pool._given]
    assert len(pids) == 2
    loader.close()
    assert not any(os.path.exists(f"/proc/{pid}") for pid in pids)


SCRIPT = """
import os, sys, time
import numpy as np
from imgret.training.augment import Params
from imgret.training.loader import Loader
from imgret.training.looking import Looked
from imgret.training.reading import Reading
from imgret import images
paths = [os.fsencode(path) for path in sys.argv[2:]]
digests = np.array([np.frombuffer(images.read_file(path).digest, np.uint8) for path in paths])
looked = Looked(paths, paths, digests, None, None, [])
loader = Loader(looked, Reading(64), Params(), 0, 3)
for views in loader.load([[(0, 0), (1, 0)]] * 3):
    assert len(views) == 2
if sys.argv[1] == "killed":
    print(*(process.process.pid for process in loader._pool._given), flush=True)
    time.sleep(60)
loader.close()
print("done")
"""


def _script(looked, tmp_path, how, as_file=False):
    """A script of a user's without any guard, in a folder with modules that are none."""
    (tmp_path / "random.py").write_text("raise SystemExit('imported from the current folder')")
    (tmp_path / "script").mkdir()
    (tmp_path / "script" / "mine.py").write_text(textwrap.dedent(SCRIPT))
    words = [tmp_path / "script" / "mine.py"] if as_file else ["-P", "-c", SCRIPT]
    environment = dict(os.environ, PYTHONPATH=ROOT)
    arguments = [sys.executable, *words, how, *map(os.fsdecode, looked.paths[:2])]
    return subprocess.Popen(arguments, env=environment, cwd=tmp_path, stdout=subprocess.PIPE, text=True)


@pytest.mark.parametrize("as_file", [True, False])
def test_scripts_need_no_guard_and_nothing_comes_from_the_current_folder(looked, tmp_path, as_file):
    process = _script(looked, tmp_path, "whole", as_file)
    out, _ = process.communicate(timeout=60)
    assert (process.returncode, out) == (0, "done\n")


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere they end with their input")
def test_workers_end_with_their_parent(looked, tmp_path):
    process = _script(looked, tmp_path, "killed")
    pids = process.stdout.readline().split()
    process.kill()
    process.communicate()
    assert len(pids) == 2
    for _ in range(200):
        if not any(os.path.exists(f"/proc/{pid}") for pid in pids):
            return
        time.sleep(0.05)
    raise AssertionError("workers are left")


# what is kept


def some_maps(count, seed=0):
    rng = np.random.default_rng(seed)
    pairs = [(number // 2, number % 2) for number in range(count)]
    return pairs, [rng.normal(size=(3, *rng.integers(1, 6, 2))).astype(np.float32) for _ in pairs]


def test_maps_are_there_again(tmp_path):
    pairs, maps = some_maps(9)
    with contextlib.closing(Maps(tmp_path, "k")) as kept:
        assert kept.missing(pairs) == pairs
        kept.add(pairs[:4], maps[:4])
        kept.add(pairs[4:6], maps[4:6])
        assert kept.missing(pairs[::-1]) == pairs[:5:-1]
    with contextlib.closing(Maps(tmp_path, "k")) as kept:
        kept.add(pairs[6:], maps[6:])
        assert kept.missing(pairs) == []
        for pair, found in zip(pairs[::-1], kept.get(pairs[::-1]), strict=True):
            assert np.array_equal(found, maps[pairs.index(pair)])
            assert found.dtype == np.float32


def test_maps_of_a_run_that_was_killed_anywhere(tmp_path):
    """Whatever was written of both files, and in whatever order it reached the disk: what is found is right, and can be added to."""
    pairs, maps = some_maps(5)
    with contextlib.closing(Maps(tmp_path, "k")) as kept:
        kept.add(pairs, maps)
    data, index = ((tmp_path / f"maps-k.{ending}").read_bytes() for ending in ("data", "index"))
    found = set()
    for most in (*range(0, len(data), 9), len(data)):
        for records in (0, 30, len(index) // 2, len(index) - 1, len(index)):
            for filled in (b"", bytes(len(data) - most)):  # a file may be as long as it should be, and hold nothing yet
                (tmp_path / "maps-k.data").write_bytes(data[:most] + filled)
                (tmp_path / "maps-k.index").write_bytes(index[:records])
                with contextlib.closing(Maps(tmp_path, "k")) as kept:
                    missing = kept.missing(pairs)
                    found.add(len(missing))
                    kept.add(missing, [maps[pairs.index(pair)] for pair in missing])
                    assert all(np.array_equal(one, other) for one, other in zip(kept.get(pairs), maps, strict=True))
                assert (tmp_path / "maps-k.data").read_bytes() == data
                assert (tmp_path / "maps-k.index").read_bytes() == index
    assert found == {0, 1, 2, 3, 4, 5}


def test_maps_of_two_runs_at_once(tmp_path):
    pairs, maps = some_maps(4)
    with contextlib.closing(Maps(tmp_path, "k")) as one, contextlib.closing(Maps(tmp_path, "k")) as other:
        one.add(pairs[:2], maps[:2])
        other.add(pairs[2:], maps[2:])
        assert other.missing(pairs) == pairs[:2]
        assert np.array_equal(one.get(pairs[:1])[0], maps[0])
        assert np.array_equal(other.get(pairs[2:3])[0], maps[2])
    with contextlib.closing(Maps(tmp_path, "k")) as kept:
        assert kept.missing(pairs) == pairs[2:]
    assert sorted(os.listdir(tmp_path)) == ["maps-k.data", "maps-k.index"]


def test_disk_full_while_maps_are_written(tmp_path, monkeypatch):
    pairs, maps = some_maps(6)
    with contextlib.closing(Maps(tmp_path, "k")) as kept:
        kept.add(pairs[:2], maps[:2])
        for at in (1, 2):
            with monkeypatch.context() as patch:
                Failing(patch, "pwrite", at)
                with pytest.raises(ImgretError) as caught:
                    kept.add(pairs[2:], maps[2:])
            assert str(caught.value) == f"{tmp_path}/maps-k.data {FULL}"
        assert kept.missing(pairs) == pairs[2:]
        kept.add(pairs[2:], maps[2:])
    with contextlib.closing(Maps(tmp_path, "k")) as kept:
        assert all(np.array_equal(one, other) for one, other in zip(kept.get(pairs), maps, strict=True))
        os.truncate(tmp_path / "maps-k.data", 8)
        with pytest.raises(ImgretError) as caught:
            kept.get(pairs)
    assert str(caught.value) == f"{tmp_path}/maps-k.data cannot be read any more: it is shorter than it was; run the same command again"
    with pytest.raises(ImgretError, match=r"maps-k\.data cannot be written: No such file or directory"):
        Maps(tmp_path / "none", "k")


def test_vectors_are_as_they_were_written(tmp_path, monkeypatch):
    rows = np.random.default_rng(0).normal(size=(50, 7)).astype(np.float32)
    for dtype in (np.float16, np.float32):
        vectors = Vectors(tmp_path, "mined", 50, 7, dtype)
        vectors.write(30, rows[30:])
        vectors.write(0, rows[:30])
        for asked in (np.arange(50), np.array([3, 4, 5, 9, 10, 49, 0]), np.array([], int)):
            found = vectors.read(asked)
            assert found.dtype == np.float32
            assert np.array_equal(found, rows[asked].astype(dtype).astype(np.float32))
    assert os.listdir(tmp_path) == []
    Failing(monkeypatch, "pwrite", 1)
    with pytest.raises(ImgretError) as caught:
        vectors.write(0, rows)
    assert str(caught.value) == f"{tmp_path}/mined.vectors {FULL}"
