"""Listing photos: folders, files and lists; links, loops and names of every sort."""

import io
import os

import numpy as np
import pytest
from helpers import SEARCHED, folder, photo

from imgret.errors import ImgretError, UsageError
from imgret.formats import files
from imgret.images import BadPhoto, read_file
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
    assert names("p") == [b"a.jpg", b"b.JPEG", b"e.gif", b"f.tif", b"g.TIFF", b"h.bmp", b"i.png", b"sub/deep/c.WebP"]


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
    assert refusal("empty") == f"there is no photo in what was given (folders are searched for {SEARCHED})"
    assert refusal() == f"there is no photo in what was given (folders are searched for {SEARCHED})"
    assert refusal("gone.jpg") == "gone.jpg: there is no such file or folder"
    assert refusal("/dev/null") == "/dev/null is neither a folder nor a regular file"
    touch(b"a.jpg")
    assert refusal("a.jpg/b.jpg") == "a.jpg/b.jpg: not a directory"
    assert refusal("n" * 300) == "n" * 300 + ": file name too long"


def unlistable(monkeypatch, *folders, after=0, error=None):
    """Let the listing of some folders fail after so many entries."""
    real, error = os.scandir, error or PermissionError(13, "Permission denied")

    class Listed:
        def __init__(self, path):
            self.real, self.left = real(path), after

        def __enter__(self):
            return self

        def __exit__(self, *_):
            self.real.close()

        def __iter__(self):
            return self

        def __next__(self):
            self.left -= 1
            if self.left < 0:
                raise error
            return next(self.real)

    monkeypatch.setattr(os, "scandir", lambda path: Listed(path) if os.fsencode(path).rstrip(b"/") in folders else real(path))


def test_a_folder_that_cannot_be_listed(here, monkeypatch):
    folder("p", 1)
    unlistable(monkeypatch, b"p")
    assert refusal("p") == "the folder p cannot be listed: permission denied"


def test_a_folder_that_cannot_be_listed_is_a_photo_that_failed_and_the_walk_goes_on(here, monkeypatch):
    touch(b"p/a/1.jpg", b"p/b/2.jpg", b"p/b/c/3.jpg", b"p/d/4.jpg", b"q/5.jpg", b"q/6.jpg")
    unlistable(monkeypatch, b"p/b", b"q")
    listing = list_photos(["p", "q"])
    assert listing.names == [b"a/1.jpg", b"b", b"d/4.jpg", b"q"]
    assert listing.sizes.tolist() == [0, -1, 0, -1]
    for path in (listing.paths[1], listing.paths[3]):
        with pytest.raises(BadPhoto) as caught:
            read_file(path)
        assert (caught.value.code, caught.value.reason) == ("unreadable", "the folder cannot be listed: Permission denied")
    assert names("p", "q", root=".") == [b"p/a/1.jpg", b"p/b", b"p/d/4.jpg", b"q"]


def test_what_was_listed_before_a_fault_stays(here, monkeypatch):
    touch(b"p/a/1.jpg", b"p/a/2.jpg", b"p/a/3.jpg")
    unlistable(monkeypatch, b"p/a", after=2, error=OSError(5, "Input/output error"))
    found = names("p")
    assert (found[0], len(found)) == (b"a", 3)


def test_folders_and_links_that_vanish_or_lead_nowhere_are_no_photos(here, monkeypatch):
    touch(b"p/a/1.jpg", b"p/b/2.jpg")
    os.symlink("gone", "p/link")
    os.symlink("loop", "p/loop")
    unlistable(monkeypatch, b"p/b", error=FileNotFoundError(2, "No such file or directory"))
    assert names("p") == [b"a/1.jpg"]


def test_a_link_that_cannot_be_followed_may_be_a_folder(here, monkeypatch):
    touch(b"p/a/1.jpg", b"away/2.jpg")
    os.symlink("../away", "p/link")
    real = os.stat

    def stat(path, **options):
        if path == b"p/link":
            raise OSError(116, "Stale file handle")
        return real(path, **options)

    monkeypatch.setattr(os, "stat", stat)
    assert names("p") == [b"a/1.jpg", b"link"]


def test_what_is_excluded(here):
    touch(
        *(b"p/" + name for name in (b"a.jpg", b"@eaDir/a.jpg", b"x/@eaDir/b.jpg", b"x/b.jpg", b"x/y/b.jpg")),
        *(b"p/" + name for name in (b"x/y/c.JPG", b"lost+found/d.jpg")),
        "p/é.jpg".encode(),
    )
    everything = names("p")
    for patterns, gone in (
        (["@eaDir"], {b"@eaDir/a.jpg", b"x/@eaDir/b.jpg"}),
        (["@eaDir/"], {b"@eaDir/a.jpg", b"x/@eaDir/b.jpg"}),
        (["/@eaDir"], {b"@eaDir/a.jpg"}),
        (["x/@eaDir"], {b"x/@eaDir/b.jpg"}),
        (["@eaDir", "lost+found"], {b"@eaDir/a.jpg", b"x/@eaDir/b.jpg", b"lost+found/d.jpg"}),
        (["b.jpg"], {b"x/@eaDir/b.jpg", b"x/b.jpg", b"x/y/b.jpg"}),
        (["*/b.jpg"], {b"x/b.jpg"}),
        (["**/b.jpg"], {b"x/@eaDir/b.jpg", b"x/b.jpg", b"x/y/b.jpg"}),
        (["x/**"], {b"x/@eaDir/b.jpg", b"x/b.jpg", b"x/y/b.jpg", b"x/y/c.JPG"}),
        (["x/**/*.jpg"], {b"x/@eaDir/b.jpg", b"x/b.jpg", b"x/y/b.jpg"}),
        (["x/y"], {b"x/y/b.jpg", b"x/y/c.JPG"}),
        (["y/b.jpg"], set()),
        (["[ab].jp?"], {b"a.jpg", b"@eaDir/a.jpg", b"x/@eaDir/b.jpg", b"x/b.jpg", b"x/y/b.jpg"}),
        (["*.JPG"], {b"x/y/c.JPG"}),
        ([b"?.jpg"], {name for name in everything if name.endswith(b".jpg")}),
        (["p"], set()),
    ):
        left = everything if not gone else [name for name in everything if name not in gone]
        if left:
            assert names("p", exclude=patterns) == left, patterns
    assert names("p/a.jpg", exclude=["a.jpg"]) == [b"p/a.jpg"]  # named itself
    assert names("-", stdin=io.BytesIO(b"p/a.jpg\n"), exclude=["a.jpg"]) == [b"p/a.jpg"]
    assert refusal("p", exclude=["p/..", "*"]).endswith(f"{SEARCHED}; what --exclude names is left out)")
    for pattern in ("", "/", "./"):
        with pytest.raises(UsageError, match=f"^`--exclude` must be a pattern of a name or a path, got '{pattern}'$"):
            list_photos(["p"], exclude=[pattern])


def test_a_folder_that_is_excluded_is_not_looked_into(here, monkeypatch):
    touch(b"p/a.jpg", b"p/lost+found/b.jpg")
    unlistable(monkeypatch, b"p/lost+found")
    assert names("p", exclude=["lost+found"]) == [b"a.jpg"]


MARKED = {
    "UTF-8": lambda text: b"\xef\xbb\xbf" + text,
    "UTF-16": lambda text: text.decode().encode("utf-16"),
    "UTF-16, big-endian": lambda text: b"\xfe\xff" + text.decode().encode("utf-16-be"),
    "UTF-32": lambda text: text.decode().encode("utf-32"),
    "CR LF": lambda text: text.replace(b"\n", b"\r\n"),
    "CR": lambda text: text.replace(b"\n", b"\r"),
    "no last newline": lambda text: text.rstrip(b"\n"),
    "all of it": lambda text: b"\xef\xbb\xbf" + text.replace(b"\n", b"\r\n").rstrip(b"\r\n"),
}


@pytest.mark.parametrize("form", MARKED)
def test_lists_in_every_form(here, form):
    touch("ä.jpg".encode(), b"b.jpg", b"c.jpg")
    text = "ä.jpg\nb.jpg\nc.jpg\n".encode()
    marked = MARKED[form](text)
    with open("list", "wb") as file:
        file.write(marked)
    for listing in (
        list_photos([], ["list"]),
        list_photos(["-"], stdin=io.BytesIO(marked)),
        list_photos([], ["/dev/fd/" + str(piped(marked))]),
    ):
        assert listing.names == [b"b.jpg", b"c.jpg", "ä.jpg".encode()]
        assert listing.sizes.tolist() == [0, 0, 0]
    if form.startswith("UTF"):
        with open("list", "wb") as file:
            file.write(MARKED[form](text.replace(b"\n", b"\0")))
        assert list_photos([], ["list"], nul=True).sizes.tolist() == [0, 0, 0]


def piped(data):
    """What to read from a pipe that holds this; it stays open until the test's process ends."""
    reader, writer = os.pipe()
    os.write(writer, data)
    os.close(writer)
    return reader


def test_a_carriage_return_within_a_name_stays(here):
    touch(b"a\rb.jpg", b"c.jpg")
    with open("list", "wb") as file:
        file.write(b"a\rb.jpg\nc.jpg\n")
    assert list_photos([], ["list"]).sizes.tolist() == [0, 0]


def test_lists_are_bounded(here, monkeypatch):
    assert refusal(lists=["/dev/zero"]).startswith("/dev/zero:1: the line is longer than 1 MiB")
    with open("list", "wb") as file:
        file.write(b"\xff\xfea")
    assert refusal(lists=["list"]) == (
        "list cannot be read: its byte order mark says UTF-16-LE, and it is none (truncated data); save it as UTF-8"
    )
    monkeypatch.setattr(files.lines, "__defaults__", (1 << 20,))
    assert refusal("-", stdin=io.BytesIO(b"a.jpg\n" * (1 << 18))) == "standard input is larger than 1 MiB: this is no such file"
