"""Outputs that are symbolic links: what they point at is written, by every command."""

import os
import shutil

import pytest
from commands import MADE, words, workplace
from helpers import call, left_over, stores
from killing import same


@pytest.fixture
def here(tmp_path, monkeypatch):
    """A folder with `there`, where links lead, and a few things to read."""
    return workplace(tmp_path, monkeypatch, "there", "plain")


def written(command, folder):
    """Run a command that writes into a folder; nothing else is left there."""
    result = call(*words(command, folder))
    assert result.code == 0, result.err
    return result


def alike(first, second):
    if first.endswith(".h5"):
        same(first, second)
    elif not first.endswith(".html"):  # it tells of the time and the command
        assert open(first, "rb").read() == open(second, "rb").read()


@pytest.mark.parametrize("command", MADE)
def test_what_a_link_points_at_is_written(here, command):
    files = MADE[command][1].values()
    written(command, "plain")
    os.mkdir("links")
    for name in files:
        os.symlink(f"../there/{name}.real", f"links/{name}")  # to nothing, yet
    for _ in range(2):  # the second time it is there, and up to date
        written(command, "links")
        for name in files:
            assert os.readlink(f"links/{name}") == f"../there/{name}.real"
            alike(f"plain/{name}", f"there/{name}.real")
            assert not os.path.islink(f"there/{name}.real")
        assert sorted(os.listdir("there")) == sorted(f"{name}.real" for name in files)
        assert sorted(os.listdir("links")) == sorted(files)


def test_parts_are_beside_what_is_pointed_at(here):
    """However it is named, the parts are the same."""
    os.symlink("there/f.h5", "link.h5")
    os.symlink("link.h5", "again.h5")
    arguments = ("extract", stores().photos, "-j1", "-o")
    assert call(*arguments, "again.h5", "--shard", "0/1").code == 0
    assert os.listdir("there") == ["f.h5.parts"]
    result = call(*arguments, "there/f.h5")
    assert result.err == "imgret: 1 of 1 parts are there already\nimgret: there/f.h5: 6 photos described\n"
    assert call(*arguments, "link.h5").err == "imgret: link.h5 is up to date (6 photos)\n"
    other = call(*arguments, "link.h5", "--set", "max_keypoints=9")
    assert (other.code, "link.h5 was made with other parameters" in other.err) == (1, True)
    assert call(*arguments, "link.h5", "--set", "max_keypoints=9", "--overwrite").err == "imgret: link.h5: 6 photos described\n"
    assert os.listdir("there") == ["f.h5"]
    assert [name for name in left_over(".") if os.path.islink(name)] == ["again.h5", "link.h5"]


def test_links_to_where_no_file_can_be(here):
    """Refused, and left as they are."""
    for name, to in (("far.h5", "gone/f.h5"), ("round.h5", "round.h5"), ("null.h5", "/dev/null")):
        os.symlink(to, name)
        result = call("index", stores().vectors, "-o", name)
        assert (result.code, result.err) == (1, f"imgret: error: -o {name} is not a regular file: choose another -o\n")
        assert os.readlink(name) == to
    os.symlink("there", "folder.h5")
    assert call("index", stores().vectors, "-o", "folder.h5").err == "imgret: error: -o 'folder.h5' names a folder, a file is needed\n"


def test_a_link_to_what_is_read_is_refused(here):
    shutil.copy(stores().vectors, "there/v.h5")
    os.symlink("there/v.h5", "link.h5")
    result = call("index", "there/v.h5", "-o", "link.h5", "--overwrite")
    assert result.err == "imgret: error: link.h5 is both an input and the output: choose another -o\n"
    same("there/v.h5", stores().vectors)
