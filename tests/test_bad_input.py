"""Bad input: each sort with its exact sentence and exit code, and nothing damaged or partial left under the final name."""

import contextlib
import errno
import json
import os
import shutil
import subprocess
import sys

import h5py
import numpy as np
import pytest
from helpers import (
    SEARCHED,
    bmp_header,
    call,
    document,
    encoded,
    failures,
    folder,
    left_over,
    names_in,
    photo,
    png_header,
    refused,
    resign,
    run,
    say,
    stores,
    texture,
    tiff_header,
)

import imgret.runs.joining
import imgret.stages.import_
from imgret.errors import ImgretError
from imgret.stages.info import describe


@pytest.fixture
def here(tmp_path, monkeypatch):
    """An empty current folder."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


def write(path, data):
    with open(path, "wb") as file:
        file.write(data)
    return path


def copy(kind, path):
    """A copy of a good store, to be spoilt."""
    return shutil.copyfile(getattr(stores(), kind), path)


SITE = "sitecustomize.py"
CRASH = """
import imgret.images
real = imgret.images.decode
def decode(data, **options):
    if data.endswith(b"CRASH"):
        import os, signal
        {}
    return real(data, **options)
imgret.images.decode = decode
"""
DENIED = """
import os
real = os.open
def denied(path, *rest, **options):
    if os.fsencode(path).endswith(b"denied.jpg"):
        raise PermissionError(13, "Permission denied", path)
    return real(path, *rest, **options)
os.open = denied
"""


# photos


def test_every_sort_of_bad_photo_is_recorded_and_the_rest_described(here):
    folder("p", 2)
    jpeg, png, webp = (encoded(texture(5, channels=3), form) for form in ("JPEG", "PNG", "WEBP"))
    write("p/text.jpg", b"this is no image")
    write("p/empty.png", b"")
    write("p/cut.jpg", jpeg[: len(jpeg) // 2])
    write("p/cut.png", png[: len(png) // 2])
    write("p/cut.webp", webp[: len(webp) // 2])
    write("p/cut.tif", encoded(texture(5, channels=3), "TIFF")[:5000])
    write("p/zero.png", png_header(0, 0))
    for name, header in (("png", png_header), ("bmp", bmp_header), ("tif", tiff_header)):
        write(f"p/bomb.{name}", header(30_000, 30_000))
    write("p/blank.png", encoded(np.full((90, 90), 50, np.uint8)))
    os.symlink("/proc/self/mem", "p/eio.jpg")
    os.symlink("gone", "p/dangling.jpg")
    os.mkfifo("p/fifo.jpg")
    os.symlink("/dev/zero", "p/device.jpg")
    write("p/denied.jpg", jpeg)
    write(SITE, DENIED.encode())
    result = run("extract", "p", "-o", "f.h5", "--max-failed", "100%", "-j2", env={"PYTHONPATH": f"{here}:{os.getcwd()}:{ROOT}"})
    assert (result.code, result.out) == (0, b"")
    assert result.err == "imgret: f.h5: 2 photos described, 16 could not be used (imgret info --failed)\n"
    assert names_in("f.h5") == [b"0.png", b"1.png"]
    found = failures("f.h5")
    bomb = ("too-large", "its header claims 30000 × 30000 pixels, the limit is 268435456 in all: save it with fewer pixels")
    image = ("not-an-image", "it is not a JPEG, PNG, WebP, TIFF or BMP image")
    expected = {
        "text.jpg": image,
        "empty.png": ("not-an-image", "the file is empty"),
        "zero.png": image,
        "bomb.png": bomb,
        "bomb.bmp": bomb,
        "bomb.tif": bomb,
        "blank.png": ("no-descriptors", "no local feature was found in it"),
        "eio.jpg": ("unreadable", "it cannot be read: Input/output error"),
        "denied.jpg": ("unreadable", "it cannot be read: Permission denied"),
        "dangling.jpg": ("unreadable", "it cannot be read: No such file or directory"),
        "fifo.jpg": ("not-a-file", "it is not a regular file"),
        "device.jpg": ("not-a-file", "it is not a regular file"),
    }
    for name, what in expected.items():
        assert (name, found.pop(name)) == (name, what)
    assert set(found) == {"cut.jpg", "cut.png", "cut.webp", "cut.tif"}
    for name in ("cut.jpg", "cut.png", "cut.tif"):
        assert found[name][0] == "truncated"
        assert found[name][1].startswith("its pixels cannot be decoded (")
    assert found["cut.webp"][0] in ("truncated", "not-an-image")
    assert call("info", "f.h5", "--check").code == 0


ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))


UNLISTABLE = """
import os
real = os.scandir
def scandir(path="."):
    if os.fsencode(path).rstrip(b"/").endswith(b"closed") and os.path.exists("shut"):
        raise PermissionError(13, "Permission denied", path)
    return real(path)
os.scandir = scandir
"""


def test_a_folder_that_cannot_be_listed_is_tried_again(here):
    folder("p", 2)
    folder("p/closed", 1)
    write(SITE, UNLISTABLE.encode())
    write("shut", b"")

    def extract():
        return run("extract", "p", "-o", "f.h5", "--max-failed", "1", "-j1", env={"PYTHONPATH": f"{here}:{ROOT}"})

    assert extract().err == "imgret: f.h5: 2 photos described, 1 could not be used (imgret info --failed)\n"
    assert failures("f.h5") == {"closed": ("unreadable", "the folder cannot be listed: Permission denied")}
    assert extract().err == "imgret: f.h5 is up to date (3 photos)\n"
    os.unlink("shut")
    assert extract().err.endswith("imgret: f.h5: 3 photos described\n")
    assert (names_in("f.h5"), failures("f.h5")) == ([b"0.png", b"1.png", b"closed/0.png"], {})


def test_excluded_photos_are_neither_described_nor_asked_with(here):
    folder("p", 2)
    folder("p/@eaDir", 2)
    assert call("extract", "p", "--exclude", "@eaDir", "-o", "f.h5", "-j1").code == 0
    assert names_in("f.h5") == [b"0.png", b"1.png"]
    result = call("search", stores().index, "p", "--exclude", "@eaDir", "--exclude", "1.*", "-k", "1", "--keep-self")
    assert [line.split("\t")[0] for line in result.lines[1:]] == ["0.png"]
    before = describe("f.h5")
    os.rename("p/@eaDir", "p/.hidden")
    assert call("extract", "p", "-o", "f.h5", "-j1").err == "imgret: f.h5 is up to date (2 photos)\n"
    assert describe("f.h5")["recipe"] == before["recipe"]


def test_bombs_take_no_memory(here):
    """Sixteen headers that claim 900 million pixels each: no process grows by as much as one of them would need."""
    os.mkdir("p")
    photo("p/good.png")
    for number in range(16):
        write(f"p/{number}.png", png_header(30_000, 30_000, b"\0" * 1000))
    command = [sys.executable, "-m", "imgret", "extract", "p", "-o", "f.h5", "-j1", "--max-failed", "16", "-q"]
    # started by a small process: what this one takes up would count for its children
    measure = "import resource, subprocess, sys; code = subprocess.run(sys.argv[1:]).returncode"
    measure += "; print(code, resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)"
    done = subprocess.run(
        [sys.executable, "-c", measure, *command], env=dict(os.environ, PYTHONPATH=ROOT), capture_output=True, text=True, check=True
    )
    code, peak = map(int, done.stdout.split())
    assert code == 0, done.stderr
    assert peak < 500_000  # KB, of the largest process, workers included
    assert {code for code, _ in failures("f.h5").values()} == {"too-large"}


EACH_TRY = "each of 3 tries, the last 2 with nothing else at work, ended the process that decodes and describes it: "


@pytest.mark.parametrize(
    ("end", "named"),
    [
        ("os.kill(os.getpid(), signal.SIGSEGV)", "SIGSEGV"),
        ("os.kill(os.getpid(), signal.SIGKILL)", "SIGKILL (out of memory?)"),
        ("raise MemoryError", "out of memory"),
    ],
)
def test_a_photo_that_ends_its_worker(here, end, named):
    folder("p", 4)
    write("p/bad.png", encoded(texture(6)) + b"CRASH")
    write(SITE, CRASH.format(end).encode())
    env = {"PYTHONPATH": f"{here}:{ROOT}"}
    result = run("extract", "p", "-o", "f.h5", "--max-failed", "1", "-j1", env=env)
    assert (result.err, result.code) == ("imgret: f.h5: 4 photos described, 1 could not be used (imgret info --failed)\n", 0)
    assert failures("f.h5") == {"bad.png": ("crashed", EACH_TRY + named)}
    call("codebook", "f.h5", "--size", 2, "-o", "c.h5")
    call("encode", "f.h5", "-c", "c.h5", "-o", "v.h5")
    call("index", "v.h5", "-o", "i.h5")
    result = run("search", "i.h5", "p", "-o", "r.h5", "-j2", env=env)  # as a query it is blamed likewise, and the others are answered
    assert (f"imgret: warning: p/bad.png: {EACH_TRY}{named}" in result.err, result.code) == (True, 1)
    assert failures("r.h5") == {"bad.png": ("crashed", EACH_TRY + named)}
    os.remove(SITE)
    os.utime("p/bad.png", ns=(1, 1))
    assert call("extract", "p", "-o", "f.h5", "-j1").code == 0
    assert failures("f.h5") == {}


def test_a_photo_that_could_not_be_read_is_tried_again(here):
    folder("p", 3)
    os.symlink(here / "later", "p/x.png")
    assert call("extract", "p", "-o", "f.h5", "--max-failed", "1", "-j1").code == 0
    assert failures("f.h5") == {"x.png": ("unreadable", "it cannot be read: No such file or directory")}
    photo("later.png", 9)
    os.rename("later.png", "later")
    result = call("extract", "p", "-o", "f.h5", "-j1")
    assert result.code == 0
    assert result.err.splitlines()[-1] == "imgret: f.h5: 4 photos described"
    assert failures("f.h5") == {}


def test_more_failures_than_allowed(here):
    folder("p", 8)
    for number in range(3):
        write(f"p/bad{number}.jpg", b"x")
    listed = "bad0.jpg (not-an-image), bad1.jpg (not-an-image), bad2.jpg (not-an-image)"
    for out, allowed, number in (("f.h5", ["--max-failed", "2"], 2), ("g.h5", ["--max-failed", "20%"], 2), ("h.h5", [], 2)):
        result = call("extract", "p", "-o", out, "-j1", *allowed)
        refused_by_last_line(
            result,
            f"3 photos could not be used so far, more than --max-failed allows of 11 ({number}): {listed}; the finished parts are kept: "
            "give --max-failed N or N%, a larger one, to go on without them",
        )
        assert left_over(".") == ["p"]
    result = call("extract", "p", "-o", "f.h5", "-j1", "--max-failed", "3")
    assert result.code == 0
    assert "parts are there already" in result.err  # what was finished is not made again
    assert len(names_in("f.h5")) == 8
    assert len(failures("f.h5")) == 3
    assert left_over(".") == ["f.h5", "p"]


def test_a_few_failures_are_no_end(here):
    """Of ten photos one may be no photo: a percentage above 0 lets two fail in any case."""
    folder("p", 3)
    for number in range(2):
        write(f"p/bad{number}.jpg", b"x")
    for allowed in ("0", "0%", "1"):
        result = call("extract", "p", "-o", "f.h5", "-j1", "--max-failed", allowed)
        assert "more than --max-failed allows" in result.err.splitlines()[-1]
        assert result.code == 1
    assert call("extract", "p", "-o", "f.h5", "-j1").code == 0
    assert len(failures("f.h5")) == 2


def refused_by_last_line(result, text):
    assert result.err.splitlines()[-1] == f"imgret: error: {text}"
    assert (result.out, result.code) == (b"", 1)


def test_too_many_failures_among_finished_parts(here):
    """Every part is there; the limit was lowered since."""
    folder("p", 8)
    write("p/bad.jpg", b"x")
    assert call("extract", "p", "-o", "f.h5", "-j1", "--shard", "0/1", "--max-failed", "1").code == 0
    result = call("extract", "p", "-o", "f.h5", "-j1", "--max-failed", "0")
    refused_by_last_line(
        result,
        "1 of 9 photos could not be used, more than --max-failed allows (0): bad.jpg (not-an-image); the finished parts are kept: "
        "give --max-failed N or N%, a larger one, to go on without them",
    )
    assert call("extract", "p", "-o", "f.h5", "-j1", "--max-failed", "1").code == 0


def test_not_one_good_photo(here):
    os.mkdir("p")
    for number in range(7):
        write(f"p/{number}.jpg", b"x")
    listed = ", ".join(f"{number}.jpg (not-an-image)" for number in range(5))
    refused(call("extract", "p", "-o", "f.h5", "-j1", "--max-failed", "100%"), 1, f"no photo could be used: {listed}, ...")
    assert left_over(".") == ["p"]


def test_an_early_end_keeps_parts(here):
    folder("p", 0)
    for number in range(40):
        write(f"p/{number:02}.jpg", b"x")
    result = call("extract", "p", "-o", "f.h5", "-j1", "--max-failed", "3")
    listed = ", ".join(f"{number:02}.jpg (not-an-image)" for number in range(5))
    assert result.code == 1
    assert "photos could not be used so far, more than --max-failed allows of 40 (3): " in result.err
    assert result.err.count("not-an-image") == 5
    assert len(listed) > 0
    made = [name for _, _, names in os.walk("f.h5.parts") for name in names if name[0].isdigit()]
    assert made == [made[0]]  # one part of eight was enough to know


NO_PHOTO = f"there is no photo in what was given (folders are searched for {SEARCHED})"


def test_photos_that_are_not_there(here):
    os.mkdir("empty")
    folder("one", 1)
    folder("two", 2)
    os.mkfifo("fifo.jpg")
    for arguments, code, text in (
        (["empty"], 1, NO_PHOTO),
        (["gone"], 1, "gone: there is no such file or folder"),
        (["fifo.jpg"], 1, "fifo.jpg is neither a folder nor a regular file"),
        (["--list", "gone"], 1, "--list gone: there is no such file or folder"),
        (["one", "--root", "two"], 1, f"one/0.png is not below --root {here}/two"),
        (["one", "--root", "gone"], 1, f"--root {here}/gone: there is no such folder"),
        ([], 2, "give at least one photo, a folder, '-' or --list"),
        (
            ["one", "two"],
            1,
            "two photos would be called '0.png': one/0.png and two/0.png; "
            "give --root with a folder above both, so that their names tell them apart",
        ),
    ):
        refused(call("extract", *arguments, "-o", "f.h5"), code, text)
    refused(call("extract", "-", "-o", "f.h5", stdin=b"\n\n"), 1, NO_PHOTO)
    assert not os.path.exists("f.h5")
    assert not os.path.exists("f.h5.parts")
    assert call("extract", "one", "two", "--root", ".", "-o", "f.h5", "-j1").code == 0
    assert names_in("f.h5") == [b"one/0.png", b"two/0.png", b"two/1.png"]


# stores

STEPS = {
    "codebook": (["codebook", "{}", "-o", "out.h5"], "features or vectors"),
    "encode": (["encode", "{}", "-c", "@words", "-o", "out.h5"], "features or vectors"),
    "--codebook": (["encode", "@features", "-c", "{}", "-o", "out.h5"], "a codebook"),
    "index": (["index", "{}", "-o", "out.h5"], "vectors"),
    "--train": (["index", "@vectors", "--train", "{}", "-o", "out.h5"], "vectors"),
    "search": (["search", "{}", "@vectors"], "an index"),
    "queries": (["search", "@index", "{}"], "features or vectors or words"),
    "evaluate": (["evaluate", "{}", "--protocol", "ukbench"], "a ranking"),
    "info": (["info", "{}"], ""),
}
KINDS = {
    "features": "a features store",
    "words": "a codebook",
    "vectors": "a vectors store",
    "index": "an index",
    "ranking": "a ranking",
}


# what `search` says to type where a store is no index
NEXT = {
    "features": ": `imgret encode wrong.h5 -c WORDS -o vectors.h5 && imgret index vectors.h5 -o index.h5`",
    "words": ": `imgret encode FEATURES -c wrong.h5 -o vectors.h5 && imgret index vectors.h5 -o index.h5`",
    "vectors": ": `imgret index wrong.h5 -o index.h5`",
    "ranking": ": `imgret info wrong.h5` tells what it was asked of",
}


def step(name, path):
    """Run a step with `path` as the store in question and good ones beside it."""
    good = {"@" + kind: made for kind, made in vars(stores()).items()}
    return call(*(path if argument == "{}" else good.get(argument, argument) for argument in STEPS[name][0]))


@pytest.mark.parametrize("name", STEPS)
def test_a_store_of_the_wrong_kind(here, name):
    wanted = STEPS[name][1]
    for kind, article in KINDS.items():
        if name == "info" or article.split()[1] in wanted:
            continue
        path = copy(kind, "wrong.h5")
        step_name = {"queries": "search"}.get(name, name)
        refused(step(name, path), 1, f"wrong.h5 is {article}; {step_name} needs {wanted}{NEXT[kind] if name == 'search' else ''}")
    assert left_over(".") in ([], ["wrong.h5"])


@pytest.mark.parametrize("name", STEPS)
def test_a_store_that_is_missing_foreign_truncated_or_newer(here, name):
    kind = {"codebook": "vectors", "--codebook": "words", "search": "index", "evaluate": "ranking", "encode": "features"}.get(
        name, "vectors"
    )
    if name not in ("evaluate", "queries", "search"):  # those say "file or folder"
        refused(step(name, "gone.h5"), 1, "gone.h5: there is no such file")
    with h5py.File("foreign.h5", "w") as file:
        file["x"] = 1
    refused(step(name, "foreign.h5"), 1, "foreign.h5 is not an imgret file")
    data = open(getattr(stores(), kind), "rb").read()
    write("cut.h5", data[: len(data) * 2 // 3])
    refused(step(name, "cut.h5"), 1, "cut.h5 is damaged: it is shorter than it should be (truncated)")
    path = copy(kind, "newer.h5")
    with h5py.File(path, "r+") as file:
        file.attrs["schema_version"] = 99
        kind = file.attrs["kind"].decode()
    newest = {"index": 3}.get(kind, 2)
    text = f"newer.h5 has version 99 of the {kind} layout, this imgret reads up to {newest}: upgrade imgret"
    refused(step(name, path), 1, text)
    with h5py.File(path, "r+") as file:
        file.attrs["kind"] = "hologram"
    refused(step(name, path), 1, "newer.h5 is of the kind 'hologram', which this imgret does not know: upgrade imgret")
    if name != "queries":  # what is not HDF5 is a photo there
        write("text.h5", b"hello")
        refused(step(name, "text.h5"), 1, "text.h5 is not an imgret file (not HDF5)")
        write("empty.h5", b"")
        refused(step(name, "empty.h5"), 1, "empty.h5 is not an imgret file (not HDF5)")
        os.mkdir("folder.h5")
        if name not in ("evaluate", "search"):  # to which a folder may be a build
            refused(step(name, "folder.h5"), 1, "folder.h5 is not a regular file")
        os.mkfifo("fifo.h5")
        if name != "evaluate":
            refused(step(name, "fifo.h5"), 1, "fifo.h5 is not a regular file")
    assert not os.path.exists("out.h5")


def test_a_store_that_is_being_written(here):
    from imgret.store.writer import Writer

    with Writer("half.h5") as writer:
        writer.texts("names", [b"a"])
        writer._file.flush()
        text = "half.h5 is not complete: it is being written, or its writer was stopped; run its command again"
        refused(call("info", "half.h5"), 1, text)


def spoil(kind, change, sign=False):
    path = copy(kind, "bad.h5")
    with h5py.File(path, "r+") as file:
        change(file)
    if sign:  # as far as it can be opened
        with contextlib.suppress(ImgretError):
            resign(path)
    return path


def replace(file, name, data):
    del file[name]
    file[name] = data


@pytest.mark.parametrize(
    ("change", "text"),
    [
        (lambda f: f.attrs.pop("schema_version"), "it has no 'schema_version'"),
        (lambda f: say(f, "params", "{"), "its 'params' is not JSON"),
        (lambda f: say(f, "params", "NaN"), "its 'params' is not JSON"),
        (lambda f: say(f, "params", "[" * 100_000), "its 'params' is not JSON"),
        (lambda f: say(f, "inputs", "{}"), "its 'inputs' holds another type than it should"),
        (lambda f: f.pop("digest"), "it has no column 'digest'"),
        (lambda f: f.move("vectors", "elsewhere") or f.create_group("vectors"), "'vectors' is no dataset"),
        (lambda f: f.move("vectors", "v") or f.__setitem__("vectors", h5py.SoftLink("/v")), "it has no column 'vectors'"),
        (lambda f: replace(f, "vectors", np.zeros((6, 3))), "'vectors' is of type float64, not float32 or float16"),
        (lambda f: replace(f, "vectors", np.zeros(6, np.float32)), "'vectors' has 1 axes, not 2"),
        (lambda f: replace(f, "digest", np.zeros((7, 32), np.uint8)), "'digest' has 7 rows or columns, 6 are expected"),
        (lambda f: replace(f, "digest", np.zeros((6, 31), np.uint8)), "'digest' has 31 rows or columns, 32 are expected"),
        (lambda f: say(f, "pipeline", '{"family": 3}'), "its pipeline is not a tree of components"),
    ],
)
def test_a_damaged_store(here, change, text):
    refused(call("index", spoil("vectors", change, sign=True), "-o", "out.h5"), 1, f"bad.h5 is damaged: {text}")
    assert left_over(".") == ["bad.h5"]


def test_columns_that_imgret_does_not_write(here):
    def compressed(file):
        data = file["vectors"][()]
        del file["vectors"]
        file.create_dataset("vectors", data=data, compression="gzip")

    text = "bad.h5: 'vectors' is compressed, virtual or outside the file; imgret does not write such columns"
    refused(call("info", spoil("vectors", compressed)), 1, text)


def test_a_column_that_is_larger_than_its_file(here):
    def huge(file):
        del file["vectors"]
        file.create_dataset("vectors", (6, 1 << 40), np.float32)

    refused(call("index", spoil("vectors", huge), "-o", "out.h5"), 1, "bad.h5 is damaged: 'vectors' is not all there")


def test_bit_rot_is_found(here):
    def rot(file):
        file["vectors"][2, 1] += 0.5

    result = call("info", spoil("vectors", rot), "--check")
    assert result.code == 1
    assert result.lines[-2:] == ["check           1 problems", "  'vectors' does not match its checksum"]


def test_random_damage_is_an_error_or_harmless_but_never_a_traceback(here):
    rng = np.random.default_rng(3)
    for kind in ("features", "words", "vectors", "ranking"):
        sound = open(getattr(stores(), kind), "rb").read()
        for _ in range(40):
            data = bytearray(sound)
            for position in rng.integers(0, min(len(data), 6000), 3):
                data[position] = rng.integers(256)
            write("bad.h5", bytes(data))
            result = call("info", "bad.h5", "--check")
            assert result.code in (0, 1)
            assert result.code == 0 or result.out or result.err.startswith("imgret: error: bad.h5")


def test_stores_by_a_newer_imgret(here):
    def unknown(file):
        say(file, "pipeline", document(file, "pipeline").replace('"rootsift"', '"supersift"'))

    def method(file):
        say(file, "params", document(file, "params").replace('"flat"', '"quantum"'))

    def version(file):
        say(file, "pipeline", document(file, "pipeline").replace('"version":1', '"version":7'))

    text = "this imgret has no extractor 'supersift': upgrade imgret"
    refused(call("encode", spoil("features", unknown, sign=True), "-c", stores().words, "-o", "out.h5"), 1, text)
    refused(call("codebook", spoil("features", unknown, sign=True), "-o", "out.h5", "--size", "2"), 1, text)
    refused(call("search", spoil("index", unknown, sign=True), stores().photos), 1, text)
    text = "bad.h5: this imgret has no index 'quantum': upgrade imgret"
    refused(call("search", spoil("index", method, sign=True), stores().photos), 1, text)
    text = "the extractor 'rootsift' in the file is of the newer version 7: upgrade imgret"
    refused(call("codebook", spoil("features", version, sign=True), "-o", "out.h5", "--size", "2"), 1, text)


LONG = "x" * 1_000_000
CODEBOOK = ["codebook", "bad.h5", "-o", "out.h5", "--size", "2"]
ENCODE = ["encode", "@features", "-c", "bad.h5", "-o", "out.h5"]
ESCAPE = "\x1b]0;title\x07\x9b31m\u202e"


@pytest.mark.parametrize(
    ("kind", "arguments", "change"),
    [
        ("vectors", ["info", "bad.h5"], lambda file: file.attrs.create("kind", LONG[:60_000])),
        ("vectors", ["info", "bad.h5"], lambda file: file["meta"].create_group(LONG[:60_000]) and say(file, "params", "[]")),
        ("index", ["search", "bad.h5", "@vectors"], lambda file: reworded(file, "params", lambda tree: tree.update(method=LONG))),
        ("index", ["search", "bad.h5", "@vectors"], lambda file: reworded(file, "params", lambda tree: tree.update(metric=LONG))),
        ("index", ["search", "bad.h5", "@vectors"], lambda file: reworded(file, "params", lambda tree: tree["params"].update({LONG: 1}))),
        ("index", ["export", "bad.h5", "-o", "o.npy"], lambda file: reworded(file, "inputs", lambda tree: tree[0].update(path=LONG))),
        ("features", CODEBOOK, lambda file: reworded(file, "pipeline", lambda tree: tree.update(component=LONG))),
        ("features", CODEBOOK, lambda file: reworded(file, "pipeline", lambda tree: tree.update(family=LONG))),
        ("features", CODEBOOK, lambda file: reworded(file, "pipeline", lambda tree: tree["params"].update(max_size=LONG))),
        ("features", CODEBOOK, lambda file: reworded(file, "pipeline", lambda tree: tree["params"].update({ESCAPE: ESCAPE}))),
        ("features", CODEBOOK, lambda file: reworded(file, "pipeline", lambda tree: tree.update(arrays={"a": LONG}))),
        ("words", ENCODE, lambda file: reworded(file, "pipeline", lambda tree: tree.update(component=LONG))),
        ("words", ENCODE, lambda file: reworded(file, "pipeline", lambda tree: tree["arrays"].update({LONG: tree["arrays"]["centroids"]}))),
    ],
)
def test_what_is_quoted_from_a_store_is_cut(here, kind, arguments, change):
    spoil(kind, change)
    result = call(*(getattr(stores(), argument[1:]) if argument[0] == "@" else argument for argument in arguments))
    assert (result.code, result.out) == (1, b"")
    assert 20 < len(result.err) < 700
    assert result.err.count("\n") == 1
    assert not set(result.err) & set("\x1b\x07\x9b\u202e")


def reworded(file, name, change):
    """Let a store say what `change` makes of what it says."""
    tree = json.loads(document(file, name))
    change(tree)
    say(file, name, json.dumps(tree))


def test_what_people_read_of_a_store_has_no_control_characters(here):
    """Names, attributes, JSON: in `info`, in tables; what programs read stays as it is."""

    def hostile(file):
        file.attrs.create("created", ESCAPE)
        for name in ("params", "info"):
            reworded(file, name, lambda tree: tree.update({ESCAPE: {ESCAPE: [ESCAPE]}}))
        reworded(file, "inputs", lambda tree: tree.append({"path": ESCAPE, "kind": ESCAPE, "content": ESCAPE}))
        reworded(file, "generated_by", lambda tree: tree.update({ESCAPE: ESCAPE}))
        reworded(file, "pipeline", lambda tree: tree.update(component=ESCAPE, params={ESCAPE: ESCAPE}))
        names = file["names"][()]
        names[:1] = 27
        file["names"][...] = names

    spoil("index", hostile)
    result = call("info", "bad.h5", "--check", "--failed")
    assert result.code == 1
    text = result.out.decode("utf-8", "surrogateescape")
    assert "\\x1b]0;title" in text
    assert not set(text) & set("\x1b\x07\x9b\u202e\udc9b")
    resign("bad.h5")
    assert ESCAPE in json.loads(call("info", "bad.h5", "--json").out)["params"]

    spoil("index", lambda file: file["names"].__setitem__(slice(0, 1), 27), sign=True)
    table = call("search", "bad.h5", stores().vectors, "--format", "table").out
    assert b"\\x1b.png" in table
    assert b"\x1b" not in table
    assert b"\x1b.png" in call("search", "bad.h5", stores().vectors, "--format", "tsv").out


# steps that do not fit together


def test_a_codebook_of_another_space(here):
    good = stores()
    made = {"upright": ["-m", "rootsift", "--set", "upright=true"], "sift": ["-m", "sift"], "dense": ["-m", "dense-sift"]}
    for name, arguments in made.items():
        assert call("extract", good.photos, "-o", f"{name}.h5", "-j1", "-q", *arguments).code == 0
    for name, why in (
        ("upright", "rootsift with upright false and true"),
        ("sift", "rootsift and sift"),
        ("dense", "rootsift and dense-sift"),
    ):
        text = f"{good.words} was learned in another space than {name}.h5 is in ({why}): learn it on features made in the same way"
        refused(call("encode", f"{name}.h5", "-c", good.words, "-o", "out.h5"), 1, text)
        text = f"{good.features} and {name}.h5 were made in different ways: {why}"
        refused(call("codebook", good.features, f"{name}.h5", "-o", "out.h5", "--size", "2"), 1, text)
    text = f"sift.h5 was not made as the photos in {good.index} were (sift and rootsift): give photos, or a store made in the same way"
    refused(call("search", good.index, "sift.h5"), 1, text)
    assert not os.path.exists("out.h5")


def test_stores_that_do_not_go_together(here):
    good = stores()
    small = "small.h5"
    assert call("encode", good.vectors, "-c", good.projection, "-o", small, "-q", "-j1").code == 0
    for arguments, text in (
        (
            ["encode", good.vectors, "-c", good.words],
            f"{good.vectors} holds vectors; vlad with {good.words} needs features",
        ),
        (
            ["encode", good.features, "-c", good.projection],
            f"{good.features} holds features; project with {good.projection} needs vectors",
        ),
        (
            ["encode", small, "-c", good.projection],
            f"{good.projection} was fitted on 512 columns, small.h5 has 4: learn it on vectors made in the same way",
        ),
        (
            ["encode", good.features, "-c", good.words, "-m", "fisher"],
            f"{good.words} is a kmeans codebook; fisher needs gmm: leave -m out, and the codebook decides",
        ),
        (
            ["encode", good.features, good.features, "-c", good.words],
            f"the photo '0.png' is in {good.features} and in {good.features}: give it once",
        ),
        (
            ["codebook", good.features, good.vectors],
            f"{good.features} holds features, {good.vectors} vectors: give stores of one kind",
        ),
        (["index", good.vectors, small], f"{good.vectors} and small.h5 were made in different ways: vlad and project"),
        (["index", small, "--train", good.vectors], f"small.h5 and {good.vectors} were made in different ways: project and vlad"),
    ):
        refused(call(*arguments, "-o", "out.h5", "-j1"), 1, text)
    text = "queries are either photos or stores, not both at once: search twice"
    refused(call("search", good.index, good.vectors, good.photos), 1, text)
    assert left_over(".") == [small]


def test_too_few_rows_for_a_codebook(here):
    good = stores()
    result = call("codebook", good.vectors, "-o", "out.h5", "--size", "64", "-j1")
    assert (result.code, result.out) == (1, b"")
    assert result.err.startswith("imgret: error: ")
    assert "64" in result.err
    assert "6" in result.err.replace("64", "")
    assert result.err.count("\n") == 1
    assert left_over(".") == []


# outputs


def commands(out):
    good = stores()
    return (
        ["extract", good.photos, "-o", out, "-j1"],
        ["codebook", good.features, "-o", out, "--size", "2", "-j1"],
        ["encode", good.features, "-c", good.words, "-o", out, "-j1"],
        ["index", good.vectors, "-o", out, "-j1"],
        ["search", good.index, good.vectors, "-o", out, "-j1"],
        ["import", "v.npy", "--names", "n.txt", "-o", out],
    )


def importable():
    np.save("v.npy", np.eye(3, dtype=np.float32))
    write("n.txt", b"a\nb\nc\n")


def test_an_output_folder_that_is_missing(here):
    importable()
    for arguments in commands("gone/out.h5"):
        result = call(*arguments)
        assert result.err.splitlines()[-1] == f"imgret: error: gone/out.h5: the folder {here}/gone does not exist: create it first"
        assert (result.code, result.out) == (1, b"")
    assert not os.path.exists("gone")


def test_an_output_that_is_a_folder(here):
    importable()
    os.mkdir("folder")
    for name in ("folder", "folder/", "new/"):
        for arguments in commands(name):
            refused(call(*arguments, "--overwrite"), 1, f"-o '{name}' names a folder, a file is needed")
    assert left_over(".") == ["folder", "n.txt", "v.npy"]
    assert os.listdir("folder") == []


def test_an_output_that_is_something_else(here):
    importable()
    write("notes.txt", b"precious")
    for arguments in commands("notes.txt"):
        text = "notes.txt is not an imgret file (not HDF5); imgret replaces no file that is not its own: choose another -o, or remove it"
        refused(call(*arguments), 1, text)
        refused(call(*arguments, "--overwrite"), 1, text)
        assert open("notes.txt", "rb").read() == b"precious"


def test_an_output_that_was_made_otherwise(here):
    good = stores()
    copy("features", "f.h5")
    before = open("f.h5", "rb").read()
    settings = ["--set", "max_keypoints=5"]
    text = "f.h5 was made with other parameters (max_keypoints: 2000 there, 5 here): choose another -o, or give --overwrite to replace it"
    refused(call("extract", good.photos, "-o", "f.h5", *settings), 1, text)
    text = (
        "f.h5 was made with other parameters (it is of the kind features, this makes vectors): "
        "choose another -o, or give --overwrite to replace it"
    )
    refused(
        call("encode", good.features, "-c", good.words, "-o", "f.h5"),
        1,
        "f.h5 was made with other parameters "
        "(it is of the kind features, this makes vectors): choose another -o, or give --overwrite to replace it",
    )
    assert open("f.h5", "rb").read() == before
    assert left_over(".") == ["f.h5"]
    assert call("extract", good.photos, "-o", "f.h5", "-j1", "--overwrite", *settings).code == 0
    assert call("info", "f.h5", "--check").code == 0


def test_an_output_that_is_an_input(here):
    importable()
    for kind in ("features", "words", "vectors", "index"):
        copy(kind, f"{kind}.h5")
    folder("p", 2)
    os.symlink("vectors.h5", "link.h5")
    os.link("n.txt", "hard.txt")
    for arguments, out in (
        (["codebook", "features.h5"], "features.h5"),
        (["encode", "features.h5", "-c", "words.h5"], "words.h5"),
        (["encode", "features.h5", "-c", "words.h5"], "./features.h5"),
        (["index", "vectors.h5"], "link.h5"),
        (["search", "index.h5", "vectors.h5"], "vectors.h5"),
        (["search", "index.h5", "vectors.h5"], "index.h5"),
        (["import", "v.npy", "--names", "n.txt"], "v.npy"),
        (["import", "v.npy", "--names", "n.txt"], "hard.txt"),
    ):
        refused(call(*arguments, "-o", out, "--overwrite"), 1, f"{out} is both an input and the output: choose another -o")
    text = "p/1.png is not an imgret file (not HDF5); imgret replaces no file that is not its own: choose another -o, or remove it"
    refused(call("extract", "p", "-o", "p/1.png", "--overwrite"), 1, text)
    assert open("p/1.png", "rb").read().startswith(b"\x89PNG")


@pytest.mark.parametrize("number", [errno.EACCES, errno.EROFS, errno.ENOSPC])
def test_an_output_folder_that_cannot_be_written_to(here, monkeypatch, number):
    """Injected, because root may write anywhere."""
    importable()
    wanted = commands("out.h5")

    def makedirs(path, *rest, **options):
        raise OSError(number, os.strerror(number), path)

    monkeypatch.setattr(os, "makedirs", makedirs)
    for arguments in wanted:
        result = call(*arguments)
        assert result.err.splitlines()[-1] == f"imgret: error: out.h5 cannot be written: {os.strerror(number)} ({here})"
        assert (result.code, result.out) == (1, b"")
    assert left_over(".") == ["n.txt", "v.npy"]


# vectors from elsewhere


def imported(vectors="v.npy", names="n.txt", *more):
    return call("import", vectors, "--names", names, "-o", "out.h5", *more)


def fvecs(rows, dim=None):
    rows = np.asarray(rows, np.float32)
    head = np.full((len(rows), 1), rows.shape[1] if dim is None else dim, np.int32)
    return np.hstack([head.view(np.float32), rows]).tobytes()


def test_import_refuses(here):
    importable()
    good = np.eye(3, dtype=np.float32)
    np.save("object.npy", np.array([[1, "x"]], dtype=object), allow_pickle=True)
    np.save("flat.npy", np.ones(3))
    np.save("words.npy", np.array([["a", "b"]]))
    np.save("none.npy", np.ones((0, 3)))
    np.save("nan.npy", np.array([[1, 2], [np.nan, 1], [3, 4]]))
    np.save("large.npy", np.array([[1, 2], [3, 1], [1e300, 4]]))
    np.savez("zip.npz", good)
    os.rename("zip.npz", "zip.npy")
    write("text.npy", b"hello there")
    write("empty.npy", b"")
    whole = open("v.npy", "rb").read()
    write("cut.npy", whole[:-7])
    write("huge.npy", whole.replace(b"(3, 3), }", b"(9000000000000, 9), }")[: len(whole)])
    write("odd.fvecs", fvecs(good)[:-3])
    write("empty.fvecs", b"")
    write("minus.fvecs", fvecs(good, -3))
    ragged = bytearray(fvecs(good))
    ragged[16:20] = (7).to_bytes(4, "little")
    write("ragged.fvecs", ragged)
    write("nan.fvecs", fvecs([[1, 2], [np.inf, 3], [1, 1]]))
    for path, text in (
        ("gone.npy", "gone.npy: there is no such file"),
        ("flat.npy", "flat.npy must hold a matrix of numbers, it has 1 axes of float64"),
        ("words.npy", "words.npy must hold a matrix of numbers, it has 2 axes of <U1"),
        ("none.npy", "none.npy holds no vectors"),
        ("zip.npy", "zip.npy is an archive of arrays, not a .npy file"),
        ("nan.npy", "nan.npy: row 2 holds NaN, or values that float32 cannot hold"),
        ("large.npy", "large.npy: row 3 holds NaN, or values that float32 cannot hold"),
        ("nan.fvecs", "nan.fvecs: row 2 holds NaN, or values that float32 cannot hold"),
        ("odd.fvecs", "odd.fvecs is not a .fvecs file: 45 bytes are not whole rows of 3 dimensions"),
        ("empty.fvecs", "empty.fvecs is not a .fvecs file: 0 bytes are not whole rows of 0 dimensions"),
        ("minus.fvecs", "minus.fvecs is not a .fvecs file: 48 bytes are not whole rows of -3 dimensions"),
        ("ragged.fvecs", "ragged.fvecs is not a .fvecs file: row 2 has another dimension than the first"),
    ):
        refused(imported(path), 1, text)
    for path in ("object.npy", "text.npy", "empty.npy", "cut.npy", "huge.npy"):
        result = imported(path)
        assert result.err.startswith(f"imgret: error: {path} is not a .npy file of plain numbers (")
        assert (result.code, result.out, result.err.count("\n")) == (1, b"", 1)
    for names, text in (
        (b"a\nb\n", "v.npy has 3 rows, names has 2 names: give one name per row, in the same order"),
        (b"a\n\nb\nc\n", "--names names, line 2: the name is empty"),
        (b"a\nb\na\n", "names: the name 'a' is there twice, in lines 1 and 3"),
        (b"", "v.npy has 3 rows, names has 0 names: give one name per row, in the same order"),
    ):
        write("names", names)
        refused(imported(names="names"), 1, text)
    refused(imported(names="gone"), 1, "--names gone: no such file or directory")
    assert not os.path.exists("out.h5")
    assert not [name for _, _, names in os.walk("out.h5.parts") for name in names]


def test_import_takes_what_is_sound(here):
    rows = np.random.default_rng(0).normal(size=(5, 7))
    write("n.txt", b"e\r\nd\r\nc\r\nb\r\na")
    write("v.fvecs", fvecs(rows))
    np.save("f.npy", np.asfortranarray(rows))
    np.save("b.npy", rows.astype(">f4"))
    np.save("i.npy", (rows * 100).astype(np.int16))
    write("z.txt", b"e\0new\nline\0c\0b\0a\0")
    from imgret.store.reader import Store

    for path, scale in (("v.fvecs", 1), ("f.npy", 1), ("b.npy", 1), ("i.npy", 100)):
        assert call("import", path, "--names", "n.txt", "-o", path + ".h5").code == 0
        with Store(path + ".h5") as store:
            assert list(store.texts("names")) == [b"a", b"b", b"c", b"d", b"e"]
            expected = (rows[::-1] * scale).astype(np.int16) if scale > 1 else rows[::-1]
            assert np.array_equal(store.read("vectors"), expected.astype(np.float32))
    assert call("import", "f.npy", "--names", "z.txt", "-0", "-o", "z.h5").code == 0
    assert names_in("z.h5") == [b"a", b"b", b"c", b"e", b"new\nline"]
    assert call("info", "z.h5", "--check").code == 0


def test_imported_vectors_of_two_spaces_are_not_mixed(here):
    importable()
    write("m.txt", b"x\ny\nz")
    for name, space in (("n", "netvlad"), ("m", "gem")):
        assert call("import", "v.npy", "--names", f"{name}.txt", "--space", space, "-o", f"{name}.h5").code == 0
    text = "n.h5 and m.h5 were made in different ways: imported with space netvlad and gem"
    refused(call("index", "n.h5", "m.h5", "-o", "i.h5"), 1, text)


def test_imported_vectors_describe_no_photo(here):
    importable()
    assert imported().code == 0
    assert call("index", "out.h5", "-o", "i.h5").code == 0
    text = "these vectors came from elsewhere, so no photo can be described like them: give a vectors store as the query"
    refused(call("search", "i.h5", stores().photos), 1, text)
    assert call("search", "i.h5", "out.h5", "-k", "1").lines[1:] == ["a\t1\ta\t1\t", "b\t1\tb\t1\t", "c\t1\tc\t1\t"]
    text = f"{stores().vectors} was not made as the photos in i.h5 were (vlad and imported): give photos, or a store made in the same way"
    refused(call("search", "i.h5", stores().vectors), 1, text)


# queries and ground truth


def test_queries_that_cannot_be_used_are_reported_and_the_others_answered(here):
    good = stores()
    folder("q", 2)
    write("q/bad.jpg", b"x")
    os.symlink("gone", "q/dangling.jpg")
    result = call("search", good.index, "q", "-k", "1", "--keep-self")
    assert result.code == 1
    assert [line.split("\t")[0] for line in result.lines[1:]] == ["0.png", "1.png"]
    assert result.err.splitlines() == [
        "imgret: warning: q/bad.jpg: it is not a JPEG, PNG, WebP, TIFF or BMP image",
        "imgret: warning: q/dangling.jpg: it cannot be read: No such file or directory",
    ]
    result = call("search", good.index, "q", "-o", "r.h5")
    assert (result.code, result.out) == (1, b"")
    assert set(failures("r.h5")) == {"bad.jpg", "dangling.jpg"}
    result = call("search", good.index, "q/bad.jpg", "-o", "none.h5")
    assert result.err.splitlines()[-1] == "imgret: error: no query could be used"
    assert result.code == 1
    assert not os.path.exists("none.h5")
    assert call("search", good.index, "q/bad.jpg").out == b""


def test_rankings_and_ground_truths(here):
    good = stores()
    importable()
    for name, text in (
        ("other.csv", "image,group\nx.jpg,a\ny.jpg,a\n"),
        ("role.csv", "image,group,role\n0.png,a,query\n1.png,a,teacher\n"),
        ("header.csv", "photo,label\n0.png,a\n"),
        ("fields.csv", "image,group\n0.png,a\n1.png\n"),
        ("twice.csv", "image,group\n0.png,a\n\n0.png,a\n"),
        ("quote.csv", 'image,group\n"0.png,a\n'),
        ("empty.csv", ""),
    ):
        write(name, text.encode())
    roles = "a role is query, gallery, query+gallery or distractor"
    for truth, text in (
        ("gone.csv", "gone.csv cannot be read: No such file or directory"),
        ("role.csv", f"role.csv:3: there is no role 'teacher'; {roles}"),
        ("header.csv", "header.csv:1: the first line must be the header image,group or image,group,role, got 'photo,label'"),
        ("fields.csv", "fields.csv:3: 2 fields are expected (image,group), this line has 1"),
        ("twice.csv", "twice.csv:4: '0.png' is listed again, first in line 2: one line per image, several groups as a;b"),
        ("quote.csv", "quote.csv:2: malformed CSV (unexpected end of data)"),
        ("empty.csv", "empty.csv is empty: the ground truth must be a CSV with the header image,group,role"),
    ):
        refused(call("evaluate", good.ranking, "--protocol", "groups", "--truth", truth), 1, text)
    result = call("evaluate", good.ranking, "--protocol", "groups", "--truth", "other.csv")
    assert (result.code, result.out) == (1, b"")
    assert result.err.startswith("imgret: error: ")
    assert "other.csv" in result.err
    assert result.err.count("\n") == 1
    refused(call("evaluate", "gone", "--protocol", "ukbench"), 1, "gone: there is no such file or folder")
    write("run.txt", b"0.png Q0 1.png 1 0.5\n")
    text = "run.txt:1: a line of a TREC run has six fields (query Q0 name rank score tag), this one has 5"
    refused(call("evaluate", "run.txt", "--protocol", "folders"), 1, text)
    os.mkfifo("pipe")
    with subprocess.Popen(["sh", "-c", "cat run.txt > pipe"]):
        refused(call("evaluate", "pipe", "--protocol", "folders"), 1, text.replace("run.txt", "pipe"))
    os.mkdir("d")
    write("truth.csv", b"image,group\n0.png,a\n1.png,a\n")
    for path, text in (
        ("gone/q.jsonl", f"gone/q.jsonl: the folder {here}/gone does not exist: create it first"),
        ("d", "--per-query 'd' names a folder, a file is needed"),
    ):
        result = call("evaluate", good.ranking, "--protocol", "groups", "--truth", "truth.csv", "--per-query", path)
        assert result.err.splitlines()[-1] == f"imgret: error: {text}"
        assert (result.code, result.out) == (1, b"")


# what only a damaged or a strange file, or a failing machine, brings about


def test_values_that_are_not_finite(here):
    good = stores()

    def nan(file):
        file["vectors"][2, 1] = np.nan

    path = spoil("vectors", nan, sign=True)
    text = "the rows of bad.h5 hold NaN or infinite values"
    refused(call("codebook", path, "-o", "out.h5", "-m", "pca", "--size", "2"), 1, text)
    result = call("index", path, "-o", "out.h5")
    assert result.err.splitlines()[-1] == f"imgret: error: {text}"
    for arguments in (["encode", path, "-c", good.projection, "-o", "out.h5", "-j1"], ["search", good.index, path]):
        result = call(*arguments)
        assert (result.code, result.out) == (1, b"")
        assert "NaN" in result.err
        assert result.err.count("\n") == 1
    assert "  'vectors' holds NaN or infinite values" in call("info", path, "--check").lines
    assert not os.path.exists("out.h5")


def test_a_fit_that_learns_nonsense(here, monkeypatch):
    from imgret.codebooks.pca import PCA

    real = PCA.to_arrays
    monkeypatch.setattr(PCA, "to_arrays", lambda self: real(self) | {"mean": np.full(512, np.nan, np.float32)})
    text = "pca learned values that are not finite (mean): are the inputs sound?"
    refused(call("codebook", stores().vectors, "-o", "out.h5", "-m", "pca", "--size", "2", "-j1"), 1, text)
    assert not os.path.exists("out.h5")


def test_pipelines_that_do_not_hold(here):
    def none(file):
        say(file, "pipeline", "null")

    def older(file):
        say(file, "pipeline", document(file, "pipeline").replace('"version":1', '"version":0'))

    def lone(file):
        tree = json.loads(document(file, "pipeline"))
        tree["inputs"] = tree["inputs"][:1]
        say(file, "pipeline", json.dumps(tree))

    def parameter(file):
        say(file, "pipeline", document(file, "pipeline").replace('"max_size":1024', '"max_size":-4'))

    def unknown(file):
        say(file, "pipeline", document(file, "pipeline").replace('"max_size":1024', '"maximum":4'))

    def array(file):
        tree = json.loads(document(file, "pipeline"))
        tree["arrays"] = {"centroids": "../names"}
        say(file, "pipeline", json.dumps(tree))

    def other(file):
        for name, data in file["pipeline"].items():
            file["pipeline"][name][()] = data[()] + 1

    good = stores()
    photos = good.photos
    for kind, change, arguments, text in (
        ("vectors", none, ["index", "bad.h5", "-o", "out.h5"], "bad.h5 does not say how it was made"),
        (
            "features",
            older,
            ["codebook", "bad.h5", "-o", "out.h5", "--size", "2"],
            "the extractor 'rootsift' in the file is of the older version 0: make the file again",
        ),
        ("index", lone, ["search", "bad.h5", photos], "the encoder 'vlad' in the file has no codebook that fits: the file is damaged"),
        (
            "features",
            parameter,
            ["codebook", "bad.h5", "-o", "out.h5", "--size", "2"],
            "the file records a parameter that cannot be right: `max_size` must be an integer of at least 0, got -4",
        ),
        (
            "features",
            unknown,
            ["codebook", "bad.h5", "-o", "out.h5", "--size", "2"],
            "the file has parameters that this imgret does not know (['maximum']): upgrade imgret",
        ),
        (
            "words",
            array,
            ["encode", good.features, "-c", "bad.h5", "-o", "out.h5"],
            "bad.h5 is damaged: its pipeline names an array '../names'",
        ),
        (
            "words",
            other,
            ["encode", good.features, "-c", "bad.h5", "-o", "out.h5"],
            "bad.h5 is damaged: an array of its pipeline does not match its hash",
        ),
    ):
        spoil(kind, change, sign=change is not other)
        refused(call(*arguments, "-j1"), 1, text)
    assert left_over(".") == ["bad.h5"]


def test_an_index_whose_rows_point_nowhere(here):
    def rows(file):
        file["rows"][3] = 99

    refused(call("search", spoil("index", rows, sign=True), stores().photos), 1, "bad.h5 is damaged: 'rows' point outside its photos")


def test_features_alone_make_no_vector():
    from imgret.describer import Describer
    from imgret.errors import ImgretError
    from imgret.features import LocalFeatures
    from imgret.pipeline import Pipeline
    from imgret.store.reader import Store

    with Store(stores().features) as store:
        describer = Describer(Pipeline.load(store))
    with pytest.raises(ImgretError, match=r"^this pipeline ends with local features: encode them first$"):
        describer.features(LocalFeatures(np.zeros((3, 5), np.float32), np.zeros((3, 128), np.uint8), ()))


def test_a_list_of_names_without_end(here, monkeypatch):
    importable()
    monkeypatch.setattr(imgret.formats.files, "NAMES_LIMIT", 4)
    refused(imported(), 1, "--names n.txt has more than 4 bytes")


WORKER_ENDS = """
import os
import imgret.{0} as m
real = m.{1}
def ends(*arguments, **options):
    {2}
m.{1} = ends
"""
KILLED = "a worker process was killed (out of memory?): run the same command again, with fewer --jobs"
SHORT = "a worker ran out of memory: run the same command again, with fewer --jobs"


@pytest.mark.parametrize(
    ("where", "what", "text"),
    [
        (("images", "read_file"), "os._exit(3)", "a worker process ended unexpectedly (exit 3): run the same command again"),
        # over no photo
        (("runs.partworker", "publish_part"), "os.kill(os.getpid(), 9)", KILLED),
        (("runs.partworker", "publish_part"), "raise MemoryError", SHORT),
        (
            ("runs.partworker", "publish_part"),
            "os.kill(os.getpid(), 11)",
            "a worker process ended unexpectedly (exit -11): run the same command again",
        ),
    ],
)
def test_a_worker_that_ends(here, where, what, text):
    folder("p", 2)
    write(SITE, WORKER_ENDS.format(*where, what).encode())
    refused(run("extract", "p", "-o", "f.h5", "-j1", env={"PYTHONPATH": f"{here}:{ROOT}"}), 1, text)
    assert left_over(".") == ["p", SITE]
    assert not [name for _, _, names in os.walk("f.h5.parts") for name in names if name.startswith("tmp-")]
    os.remove(SITE)
    assert call("extract", "p", "-o", "f.h5", "-j1").code == 0


def test_a_part_that_stays_damaged(here, monkeypatch):
    folder("p", 2)
    monkeypatch.setattr(imgret.runs.joining.FinishedParts, "_problem", lambda self, store, part: "a bit fell over")
    result = call("extract", "p", "-o", "f.h5", "-j1")
    assert result.err.splitlines() == [
        "imgret: warning: part 0 is damaged; making it again",
        "imgret: warning: part 0 is damaged; making it again",
        "imgret: error: part 0 stays damaged after making it again (a bit fell over): is the disk sound?",
    ]
    assert result.code == 1
    assert not os.path.exists("f.h5")
