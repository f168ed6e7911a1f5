"""Listing photos: folders, files and lists; links, loops and names of every sort."""

import io
import os

import numpy as np
import pytest
from helpers import folder, photo

from imgret.errors import ImgretError
from imgret.listing import list_photos

NASTY = [
    b"with space.png",
    b" leading.png",
    b"new\nline.png",
    b"carriage\rreturn.png",
    b"tab\there.png",
    b"quote'\"`$(x).png",
    b"back\\slash\\n.png",
    b"percent%20.png",
    b"-dash.png",
    b"--list.png",
    "ünï-日本.png".encode(),
    b"latin\xe9\xff.png",
    b"bell\x07\x1b[31m.png",
    b"semi;colon,comma.png",
    b"n" * 246 + b".png",
]


def names(*arguments, **options):
    return list_photos(arguments, **options).names


def refusal(*arguments, **options):
    with pytest.raises(ImgretError) as caught:
        list_photos(arguments, **options)
    assert caught.value.exit_code == 1
    return str(caught.value)


@pytest.fixture
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


def touch(*paths):
    for path in paths:
        os.makedirs(os.path.dirname(path) or b".", exist_ok=True)
        with open(path, "wb"):
            pass


def test_folders_are_walked_for_known_extensions(here):
    touch(
        *(b"p/" + name for name in (b"a.jpg", b"b.JPEG", b"sub/deep/c.WebP", b"d.txt", b"e.gif", b"f.tif", b"g.TIFF", b"h.bmp", b"i.png"))
    )
    assert names("p") == [b"a.jpg", b"b.JPEG", b"f.tif", b"g.TIFF", b"h.bmp", b"i.png", b"sub/deep/c.WebP"]


def test_hidden_files_and_folders_are_skipped(here):
    touch(b"p/a.jpg", b"p/.b.jpg", b"p/.git/c.jpg", b"p/._a.jpg")
    assert names("p") == [b"a.jpg"]
    assert names("p/.b.jpg") == [b"p/.b.jpg"]  # asked for by name


def test_names_are_in_byte_order_whatever_the_order_of_folders(here):
    touch(b"p/a/b.jpg", b"p/a-b.jpg", b"p/a.jpg", b"p/B.jpg", "p/é.jpg".encode(), b"p/z.jpg")
    assert names("p") == [b"B.jpg", b"a-b.jpg", b"a.jpg", b"a/b.jpg", b"z.jpg", "é.jpg".encode()]


def test_every_name_the_file_system_allows(here):
    touch(*(b"p/" + name for name in NASTY))
    listing = list_photos(["p"])
    assert listing.names == sorted(NASTY)
    assert listing.paths == [b"p/" + name for name in sorted(NASTY)]


def test_sizes_and_times(here):
    photo("a.png")
    os.utime("a.png", ns=(5, 1234567890123456789))
    listing = list_photos(["a.png"])
    assert listing.sizes.tolist() == [os.stat("a.png").st_size]
    assert listing.mtimes.tolist() == [1234567890123456789]
    assert listing.sizes.dtype == listing.mtimes.dtype == np.int64
    assert len(listing) == 1


def test_loops_of_links_end_and_linked_folders_are_walked(here):
    touch(b"p/a.jpg", b"elsewhere/b.jpg")
    os.symlink("..", "p/up")
    os.symlink("p", "p/self")
    os.symlink(here / "elsewhere", "p/linked")
    os.symlink("loop.jpg", "p/loop.jpg")
    assert names("p")[:1] == [b"a.jpg"]
    assert b"linked/b.jpg" in names("p") or b"up/elsewhere/b.jpg" in names("p")
    assert b"loop.jpg" in names("p")
    assert len([name for name in names("p") if name.endswith(b"b.jpg")]) == 1


def test_dangling_links_pipes_and_folders_called_x_jpg(here):
    touch(b"p/a.jpg", b"p/folder.jpg/inside.png")
    os.symlink("gone", "p/dangling.jpg")
    os.mkfifo("p/fifo.jpg")
    listing = list_photos(["p"])
    assert listing.names == [b"a.jpg", b"dangling.jpg", b"fifo.jpg", b"folder.jpg/inside.png"]
    assert listing.sizes.tolist() == [0, -1, 0, 0]


def test_files_are_named_as_written_normalised(here):
    touch(b"p/a.jpg", b"b.dat")
    assert names("./p//a.jpg", "p/../b.dat") == [b"b.dat", b"p/a.jpg"]
    assert names(os.fspath(here / "b.dat")) == [os.fsencode(here / "b.dat")]


def test_root_names_everything_relative_to_it(here):
    touch(b"one/a.jpg", b"two/a.jpg", b"three/c.jpg")
    assert names("one", "two", "three/c.jpg", root=".") == [b"one/a.jpg", b"three/c.jpg", b"two/a.jpg"]
    assert names(here / "one", root=here) == [b"one/a.jpg"]
    assert refusal("one", "two", root="one") == f"two/a.jpg is not below --root {here}/one"
    assert refusal("one", root="gone") == f"--root {here}/gone: there is no such folder"


def test_two_photos_of_one_name_are_refused(here):
    touch(b"one/a.jpg", b"two/a.jpg")
    assert refusal("one", "two") == (
        "two photos would be called 'a.jpg': one/a.jpg and two/a.jpg; "
        "give --root with a folder above both, so that their names tell them apart"
    )
    assert names("one", "one/../one") == [b"a.jpg"]  # the same photo twice is one photo


def test_lists_by_line_and_by_nul(here):
    touch(b"p/a.jpg", b"p/new\nline.jpg")
    with open("lines", "wb") as file:
        file.write(b"p/a.jpg\r\n\r\n./gone.jpg\n")
    listing = list_photos([], ["lines"])
    assert listing.names == [b"gone.jpg", b"p/a.jpg"]
    assert listing.sizes.tolist() == [-1, 0]  # one missing photo in a long list is recorded, not fatal
    with open("nuls", "wb") as file:
        file.write(b"p/a.jpg\0p/new\nline.jpg\0")
    assert names(lists=["nuls"], nul=True) == [b"p/a.jpg", b"p/new\nline.jpg"]
    assert refusal(lists=["nuls"]) == "nuls, line 1: a name cannot hold a NUL; is the list NUL-terminated? Then say -0"
    assert refusal(lists=["gone"]) == "--list gone: there is no such file or folder"
    assert refusal(lists=["p"]) == "--list p: is a directory"


def test_a_list_on_standard_input(here):
    touch(b"a.jpg")
    assert names("-", stdin=io.BytesIO(b"a.jpg\n")) == [b"a.jpg"]
    assert names("-", stdin=io.BytesIO(b"a.jpg\0"), nul=True) == [b"a.jpg"]
    message = refusal("-", stdin=io.BytesIO(b"ok.jpg\na\0b\n"))
    assert message == "standard input, line 2: a name cannot hold a NUL; is the list NUL-terminated? Then say -0"


def test_nothing_to_do(here):
    os.mkdir("empty")
    ends = ".jpg .jpeg .jpe .jfif .png .webp .tif .tiff .bmp"
    assert refusal("empty") == f"there is no photo in what was given (folders are searched for {ends})"
    assert refusal() == f"there is no photo in what was given (folders are searched for {ends})"
    assert refusal("gone.jpg") == "gone.jpg: there is no such file or folder"
    assert refusal("/dev/null") == "/dev/null is neither a folder nor a regular file"
    touch(b"a.jpg")
    assert refusal("a.jpg/b.jpg") == "a.jpg/b.jpg: not a directory"
    assert refusal("n" * 300) == "n" * 300 + ": file name too long"


def test_a_folder_that_cannot_be_listed(here, monkeypatch):
    folder("p", 1)
    real = os.scandir

    def scandir(path):
        if path == b"p":
            raise PermissionError(13, "Permission denied")
        return real(path)

    monkeypatch.setattr(os, "scandir", scandir)
    assert refusal("p") == "the folder p cannot be listed: permission denied"
