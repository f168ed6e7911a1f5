"""Photos that were described by other versions of libraries: all of them are kept, and told of."""

import json
import os
import shutil

import h5py
import numpy as np
import pytest
from helpers import call, photo, resign, say

import imgret
from imgret.store.reader import Store
from imgret.store.versions import MadeBy, mixed, others, own, together

OPENCV = next(name for name in own() if name.startswith("opencv"))
OLD = own() | {OPENCV: "4.12.0.88", "numpy": "1.0"}
MIXED = f"opencv {' and '.join(sorted(('4.12.0.88', own()[OPENCV])))}"


def aged(path, generated_by=OLD):
    """Let a store have been made by other versions."""
    with h5py.File(path, "r+") as file:
        say(file, "generated_by", json.dumps(generated_by))
    resign(path)


def made_by(path):
    with Store(path) as store:
        return store.generated_by


@pytest.fixture
def here(tmp_path):
    """A folder of four photos, and `features.h5` of them, described by an older OpenCV."""
    os.mkdir(tmp_path / "photos")
    for number in range(4):
        photo(tmp_path / "photos" / f"{number}.png", number)
    assert call("extract", tmp_path / "photos", "-o", tmp_path / "features.h5", "-j", 1).code == 0
    aged(tmp_path / "features.h5")
    return tmp_path


def test_what_is_taken_over_keeps_who_described_it(here):
    extract = ("extract", here / "photos", "-o", here / "features.h5", "-j", 1)
    os.unlink(here / "photos" / "0.png")
    result = call(*extract)
    assert result.code == 0
    assert "warning" not in result.err  # nothing was described by another
    assert made_by(here / "features.h5") == own() | {OPENCV: "4.12.0.88", "numpy": sorted(["1.0", own()["numpy"]])}
    photo(here / "photos" / "9.png", 9)
    result = call(*extract)
    text = f"its photos were described by {MIXED}: remove what was extracted, and extract again, to have one"
    assert result.err.count(f"imgret: warning: {here / 'features.h5'}: {text}\n") == 1
    assert made_by(here / "features.h5")[OPENCV] == sorted(["4.12.0.88", own()[OPENCV]])
    assert f"{OPENCV} {MIXED.removeprefix('opencv ')}, " in call("info", here / "features.h5").out.decode()
    assert "up to date" in call(*extract).err
    assert "check           sound" in call("info", "--check", here / "features.h5").lines


def test_who_described_photos_goes_with_them(here):
    assert call("codebook", here / "features.h5", "--size", 4, "-o", here / "words.h5").code == 0
    photo(here / "other.png", 7)
    assert call("extract", here / "other.png", "-o", here / "other.h5", "-j", 1).code == 0
    encode = ("encode", "-c", here / "words.h5", "-j", 1, "-o")
    result = call(*encode, here / "old.h5", here / "features.h5")
    assert (result.code, made_by(here / "old.h5")[OPENCV]) == (0, "4.12.0.88")
    assert "warning" not in result.err
    result = call(*encode, here / "both.h5", here / "features.h5", here / "other.h5")
    assert f"both.h5: its photos were described by {MIXED}: " in result.err
    result = call("index", here / "both.h5", "-o", here / "both-index.h5")
    assert f"both-index.h5: its photos were described by {MIXED}: " in result.err
    assert call("index", here / "old.h5", "-o", here / "index.h5").code == 0
    assert made_by(here / "index.h5")[OPENCV] == "4.12.0.88"


def test_an_index_that_others_ask(here, capsys):
    assert call("codebook", here / "features.h5", "--size", 4, "-o", here / "words.h5").code == 0
    assert call("encode", here / "features.h5", "-c", here / "words.h5", "-o", here / "v.h5").code == 0
    assert call("index", here / "v.h5", "-o", here / "index.h5").code == 0
    asked, index = here / "photos" / "1.png", here / "index.h5"
    text = (
        f"the photos in {index} were described by opencv 4.12.0.88, the queries are by opencv {own()[OPENCV]}: scores may differ a little"
    )
    assert call("search", index, asked).err == f"imgret: warning: {text}\n"
    assert call("search", index, here / "v.h5").err == ""
    shutil.copy(here / "v.h5", here / "new.h5")
    aged(here / "new.h5", own())
    assert call("search", index, here / "new.h5", "-o", here / "run.h5").err.startswith(f"imgret: warning: {text}\n")
    with imgret.open(index) as opened:
        assert opened.search(np.ones(4 * 128, np.float32), k=1)
        assert capsys.readouterr().err == ""
        for _ in range(2):
            opened.search(asked)
        assert capsys.readouterr().err == f"imgret: warning: {text}\n"


def test_a_part_that_another_version_made(here, monkeypatch):
    """An interrupted extraction that goes on after an upgrade."""
    extract = ("extract", here / "photos", "-o", here / "f.h5", "-j", 1)
    for number in range(4, 12):
        photo(here / "photos" / f"{number:02d}.png", number)
    assert call(*extract, "--shard", "0/2").code == 0
    (part,) = (here / "f.h5.parts").glob("*/*/*/0*.h5")
    aged(part)
    assert f"f.h5: its photos were described by {MIXED}: " in call(*extract).err
    assert made_by(here / "f.h5")[OPENCV] == sorted(["4.12.0.88", own()[OPENCV]])


def test_versions_together():
    a, b = {"numpy": "1", "opencv-python": "4"}, {"numpy": ["1", "2"], "opencv-contrib-python": "5", "pillow": 7}
    assert together([a, b]) == {"numpy": ["1", "2"], "opencv-python": "4", "opencv-contrib-python": "5"}
    assert mixed([a, b], ("opencv", "pillow")) == {"opencv": ["4", "5"]}
    assert mixed([a, a], ("opencv", "numpy")) == {}
    assert mixed([together([a, {"opencv-python": "6"}])], ("opencv",)) == {"opencv": ["4", "6"]}
    assert others(a, b, ("opencv", "numpy", "pillow")) == {"opencv": (["4"], ["5"])}
    assert others(a, together([a, b]), ("opencv",)) == {}
    assert MadeBy().generated_by == own()
