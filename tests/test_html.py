"""The report page without a browser: thumbnails and their cache, what is written, and what is refused."""

import base64
import errno
import hashlib
import importlib.resources
import io
import json
import os
import re
import shutil
import tomllib

import numpy as np
import pages
import pytest
from helpers import ROOT, encoded, photo, png_header, texture
from PIL import Image

from imgret import images
from imgret.errors import ImgretError, UsageError
from imgret.html import page, report, thumbnails
from imgret.html.evaluation import title_of
from imgret.html.links import link
from imgret.html.thumbnails import Thumbnails
from imgret.names import to_text


def counts(made):
    """What became of the photos."""
    return {name: getattr(made, name) for name in ("made", "reused", "missing", "outside", "bad") if getattr(made, name)}


def block(text, name):
    """A JSON block of a page."""
    return json.loads(re.search(rf'<script type="application/json" id="{name}">(.*?)</script>', text, re.DOTALL)[1])


def read(path):
    with open(path, encoding="utf-8") as file:
        return file.read()


def is_refused(text, function, *arguments, **options):
    with pytest.raises(ImgretError) as caught:
        function(*arguments, **options)
    assert (str(caught.value), caught.value.exit_code) == (text, 1)


# --- thumbnails


def test_thumbnails_are_small_upright_rgb_jpegs(tmp_path):
    photo(tmp_path / "wide.png", width=400, height=200)
    photo(tmp_path / "small.png", width=40, height=30)
    exif = Image.Exif()
    exif[images.ORIENTATION] = 6
    (tmp_path / "turned.jpg").write_bytes(encoded(texture(3, width=400, height=200, channels=3), "JPEG", exif=exif))
    made = Thumbnails([tmp_path])
    found = made.make(["wide.png", "small.png", "turned.jpg"])
    pictures = {name: Image.open(io.BytesIO(jpeg)) for name, (_, jpeg, _) in found.items()}
    assert {name: (picture.format, picture.mode, picture.size) for name, picture in pictures.items()} == {
        "wide.png": ("JPEG", "RGB", (160, 80)),
        "small.png": ("JPEG", "RGB", (40, 30)),
        "turned.jpg": ("JPEG", "RGB", (80, 160)),
    }
    assert [size for _, _, size in found.values()] == [(400, 200), (40, 30), (200, 400)]
    assert len({key for key, _, _ in found.values()}) == 3
    wanted = images.decode((tmp_path / "wide.png").read_bytes(), max_size=160, grey=False).pixels
    assert np.abs(np.asarray(pictures["wide.png"]).astype(int) - wanted).mean() < 4
    assert counts(made) == {"made": 3}
    assert made.shortfall() == ""


def test_the_edge_decides_the_size(tmp_path):
    photo(tmp_path / "a.png", width=400, height=200)
    small, large = (Thumbnails([tmp_path], edge=edge).make(["a.png"])["a.png"] for edge in (32, 320))
    assert [Image.open(io.BytesIO(jpeg)).size for _, jpeg, _ in (small, large)] == [(32, 16), (320, 160)]
    assert small[0] != large[0]


@pytest.mark.parametrize("edge", [15, 0, -1, 1025])
def test_an_edge_out_of_range_is_refused(tmp_path, edge):
    with pytest.raises(UsageError, match=rf"^the longest side of a thumbnail must be from 16 to 1024 pixels, got {edge}$"):
        Thumbnails([tmp_path], edge=edge)


def test_a_root_that_is_no_folder_is_refused(tmp_path):
    photo(tmp_path / "a.png")
    for root in (tmp_path / "none", tmp_path / "a.png"):
        is_refused(f"--photos {root}: there is no such folder", Thumbnails, [tmp_path, root])


def test_roots_are_tried_in_order(tmp_path):
    for name in ("first", "second"):
        (tmp_path / name).mkdir()
    for root, name, width in (("first", "a.png", 50), ("second", "a.png", 60), ("second", "b.png", 70), ("second", "c.png", 80)):
        photo(tmp_path / root / name, width=width)
    (tmp_path / "first" / "c.png").write_bytes(b"no photo")
    made = Thumbnails([tmp_path / "first", os.fsencode(tmp_path / "second")])
    found = made.make(["a.png", "b.png", "c.png", "d.png"])
    assert [thumbnail and thumbnail[2][0] for thumbnail in found.values()] == [50, 70, 80, None]
    assert counts(made) == {"made": 3, "missing": 1}


def test_every_bad_photo_is_none_and_counted(tmp_path):
    (tmp_path / "text.jpg").write_text("no photo")
    (tmp_path / "empty.jpg").write_bytes(b"")
    (tmp_path / "cut.jpg").write_bytes(encoded(texture(1), "JPEG")[:600])
    (tmp_path / "bomb.png").write_bytes(png_header(60000, 60000))
    (tmp_path / "folder.jpg").mkdir()
    os.mkfifo(tmp_path / "pipe.jpg")
    names = sorted(os.listdir(tmp_path))
    made = Thumbnails([tmp_path])
    assert made.make([*names, "none.jpg", "none/none.jpg"]) == dict.fromkeys([*names, "none.jpg", "none/none.jpg"])
    assert counts(made) == {"bad": 6, "missing": 2}
    assert made.shortfall() == "8 photos are shown without a thumbnail: 2 not found below --photos, 6 cannot be decoded"


def test_no_name_reaches_outside_its_root(tmp_path):
    root = tmp_path / "root"
    (root / "more").mkdir(parents=True)
    photo(tmp_path / "secret.png")
    photo(root / "a.png")
    (root / "link.png").symlink_to(tmp_path / "secret.png")
    inside = ["a.png", "./a.png", "more/../a.png", "more/.././/a.png", "link.png"]
    outside = [
        str(root / "a.png"),
        "//" + str(root / "a.png"),
        "../secret.png",
        "more/../../secret.png",
        "..",
        ".",
        "",
        "more/..",
        "a.png\0",
    ]
    made = Thumbnails([root])
    found = made.make(inside + outside)
    assert [name for name, thumbnail in found.items() if thumbnail] == inside
    assert counts(made) == {"made": 5, "outside": 9}
    assert made.shortfall() == "9 photos are shown without a thumbnail: 9 named outside --photos"


@pytest.mark.parametrize(("name", "wanted"), [(b"..a/b", b"..a/b"), (b"a/./b/", b"a/b"), (b"...", b"..."), (b"a/../..", None)])
def test_names_are_normalised(name, wanted):
    assert thumbnails.inside(name) == wanted


def test_names_that_are_not_utf8_are_found(tmp_path):
    name = b"caf\xe9 \n<b>.png"
    photo(os.path.join(os.fsencode(tmp_path), name))
    assert Thumbnails([tmp_path]).make([to_text(name)])[to_text(name)] is not None


def test_jobs_repetitions_and_progress_change_nothing(tmp_path):
    names = pages.names(9)
    for number, name in enumerate(names[:-1]):
        photo(tmp_path / name, number)
    told = []
    made = Thumbnails([tmp_path], jobs=3)
    found = made.make([*names, *names], told.append)
    assert found == Thumbnails([tmp_path]).make(names)
    assert list(found) == names
    assert told == [1] * 9
    assert counts(made) == {"made": 8, "missing": 1}


# --- links to the photos themselves


@pytest.mark.parametrize(
    ("photo", "wanted"),
    [
        (b"/home/anna/a.jpg", "./a.jpg"),
        (b"/home/anna/pics/a b.PNG", "./pics/a%20b.PNG"),
        (b"/home/anna/javascript:alert(1)//.jpg", None),
        (b"/home/anna/javascript:alert(1).jpg", "./javascript%3Aalert%281%29.jpg"),
        (b"/home/anna/caf\xe9 \n\"'<>#?%2e%2f&\\.jpg", "./caf%E9%20%0A%22%27%3C%3E%23%3F%252e%252f%26%5C.jpg"),
        (b"/home/bob/a.jpg", "../bob/a.jpg"),
        (b"/home/anna/../../home/bob/a.jpg", "../bob/a.jpg"),
        (b"/data/a.jpg", None),  # nothing in common
        (b"/home/anna/a.html", None),
        (b"/home/anna/a.svg", None),
        (b"/home/anna/a.jpg/", "./a.jpg"),
    ],
)
def test_a_link_leads_to_a_photo_and_nowhere_else(photo, wanted):
    assert link("/home/anna/report.html", photo) == wanted


def test_a_link_is_for_what_is_near(tmp_path, monkeypatch):
    assert link("/a/b/c/d/e/r.html", "/a/b/x.jpg") == "../../../x.jpg"
    assert link("/a/b/c/d/e/r.html", "/a/x.jpg") is None
    assert link("/r.html", "/a/x.jpg") == "./a/x.jpg"
    monkeypatch.chdir(tmp_path)
    assert link("r.html", b"photos/x.tif") == "./photos/x.tif"


# --- thumbnails of an older report


@pytest.fixture
def old(tmp_path):
    """A report of three photos that are there and one that is not."""
    return pages.made(tmp_path, pages.contents([*pages.names(3), "none.png"], [], []))


def again(tmp_path, cache, edge=160):
    """Thumbnails once more; what became of them."""
    made = Thumbnails([tmp_path], cache=cache, edge=edge)
    found = made.make([*pages.names(3), "none.png"])
    assert found == Thumbnails([tmp_path], edge=edge).make(found)
    return counts(made)


def test_an_older_report_gives_its_thumbnails_back(tmp_path, old, monkeypatch):
    found = Thumbnails([tmp_path]).make(pages.names(3))
    monkeypatch.setattr(thumbnails, "decode", None)
    made = Thumbnails([tmp_path], cache=old)
    assert made.make(pages.names(3)) == found
    assert counts(made) == {"reused": 3}


def test_a_photo_that_has_changed_is_made_again(tmp_path, old):
    os.utime(tmp_path / "0.png", ns=(1, 1))
    status = os.stat(tmp_path / "1.png")
    photo(tmp_path / "1.png", 77)
    os.utime(tmp_path / "1.png", ns=(status.st_mtime_ns, status.st_mtime_ns))
    assert os.stat(tmp_path / "1.png").st_size != status.st_size
    assert again(tmp_path, old) == {"made": 2, "reused": 1, "missing": 1}


def test_another_edge_is_made_again(tmp_path, old):
    assert again(tmp_path, old, edge=100) == {"made": 3, "missing": 1}


def test_another_name_with_the_same_size_and_time_is_made_again(tmp_path, old):
    shutil.copy2(tmp_path / "0.png", tmp_path / "other.png")
    made = Thumbnails([tmp_path], cache=old)
    made.make(["other.png"])
    assert counts(made) == {"made": 1}


def test_no_cache_is_no_trouble(tmp_path, old):
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "foreign.html").write_text("<html>" + read(old))
    for cache in (None, tmp_path / "none.html", tmp_path, tmp_path / "pipe", tmp_path / "0.png", tmp_path / "foreign.html"):
        assert again(tmp_path, cache) == {"made": 3, "missing": 1}


def replaced(text, entries):
    """A page with other thumbnails."""
    return re.sub(r'(id="thumbnails">).*', lambda match: match[1] + entries + "</script>", text)


@pytest.mark.parametrize(
    "entries",
    [
        "",
        "[",
        "{}",
        "7",
        "null",
        '"text"',
        "[" * 100_000,
        "9" * 10_000,
        '[[], [null], [1, 2], "text", [["key"], "", 1, 1]]',
        '["\\udc80"]',
    ],
)
def test_a_damaged_cache_is_passed_over(tmp_path, old, entries):
    text = replaced(read(old), entries)
    with open(old, "w", encoding="utf-8") as file:
        file.write(text)
    assert again(tmp_path, old) == {"made": 3, "missing": 1}


def spoilt(change):
    """A function that changes each entry of a page's thumbnails."""

    def spoil(text):
        return replaced(text, json.dumps([entry and change(*entry) for entry in block(text, "thumbnails")], separators=(",", ":")))

    return spoil


@pytest.mark.parametrize(
    "spoil",
    [
        spoilt(lambda key, jpeg, width, height: [key, "!" + jpeg[1:], width, height]),
        spoilt(lambda key, jpeg, width, height: [key, jpeg[:-3], width, height]),
        spoilt(lambda key, jpeg, width, height: [key, base64.b64encode(b"GIF89a").decode(), width, height]),
        spoilt(lambda key, jpeg, width, height: [key, "", width, height]),
        spoilt(lambda key, jpeg, width, height: [key, None, width, height]),
        spoilt(lambda key, jpeg, width, height: [key, [jpeg], width, height]),
        spoilt(lambda key, jpeg, width, height: [key, jpeg, width]),
        spoilt(lambda key, jpeg, width, height: [key, jpeg, width, height, 1]),
        spoilt(lambda key, jpeg, width, height: [key, jpeg, str(width), height]),
        spoilt(lambda key, jpeg, width, height: [key, jpeg, True, height]),
        spoilt(lambda key, jpeg, width, height: [key, jpeg, 0, height]),
        spoilt(lambda key, jpeg, width, height: [key, jpeg, width, 1e9]),
        spoilt(lambda key, jpeg, width, height: [key, jpeg + "A" * (3 << 20), width, height]),
        spoilt(lambda key, jpeg, width, height: ["x" + key, jpeg, width, height]),
        spoilt(lambda key, *_: [key]),
        spoilt(lambda key, jpeg, width, height: [key, base64.b64encode(b"\xff\xd8\xff no more than this").decode(), width, height]),
        spoilt(lambda key, jpeg, width, height: [key, jpeg, height * 7, width]),
        lambda text: text[: text.index('id="thumbnails"') + 500],
    ],
)
def test_a_thumbnail_that_is_none_is_made_again(tmp_path, old, spoil):
    text = spoil(read(old))
    with open(old, "w", encoding="utf-8") as file:
        file.write(text)
    assert again(tmp_path, old) == {"made": 3, "missing": 1}


def test_the_line_written_is_the_line_read_back(tmp_path, old):
    """A guard for the tests above: a page rewritten by `replaced` still is a cache."""
    text = spoilt(lambda *entry: list(entry))(read(old))
    with open(old, "w", encoding="utf-8") as file:
        file.write(text)
    assert again(tmp_path, old) == {"reused": 3, "missing": 1}


def test_a_cache_of_any_size_is_not_read(tmp_path, old, monkeypatch):
    monkeypatch.setattr(report, "MAX_BYTES", os.path.getsize(old) - 1)
    assert again(tmp_path, old) == {"made": 3, "missing": 1}


# --- the page


def test_the_page_holds_the_data_and_the_thumbnails(tmp_path):
    contents = pages.one_run()
    path = pages.made(tmp_path, contents)
    text = read(path)
    held = block(text, "data")
    run = held.pop("runs")[0]
    assert run.pop("summary") == [["map", 0.5, False], ["queries", 5, True]]
    assert run == {"label": "rootsift", "warnings": ["the lists are short"], "curves": {"": [1 - i / 200 for i in range(101)]}}
    queries = held.pop("queries")
    assert [query["name"] for query in queries] == ["bridge_10", "tower", "abbey", "bridge_2", "crop"]
    assert queries[0] == {
        "name": "bridge_10",
        "photo": 0,
        "box": [10, 10, 60, 60],
        "runs": [
            {
                "top": [[0, 0.9], [1, 0.8], [2, 0.7]],
                "settings": {"": {"ap": 0.75, "positives": 2, "found": 1, "first_hit": 1, "marks": "qhm"}},
                "matches": [],
                "evidence": [],
                "points": [],
                "outlines": [],
            }
        ],
    }
    assert (queries[3]["runs"][0]["settings"], queries[3]["box"], queries[4]["photo"]) == ({}, None, None)
    assert held == {
        "title": "a report",
        "protocol": "groups",
        "conventions": {"ap": "finite sum", "query": "taken out"},
        "note": "A note.",
        "measure": "AP",
        "settings": [""],
        "comparison": [],
        "photos": pages.names(6),
        "links": [],
    }
    found = Thumbnails([tmp_path]).make(contents.photos)
    wanted = [[key, base64.b64encode(jpeg).decode(), *size] for key, jpeg, size in found.values()]
    assert block(text, "thumbnails") == wanted
    assert text.startswith("<!doctype html><!-- imgret report")
    assert "{{" not in text.replace(held["title"], "")


@pytest.mark.parametrize(
    ("labels", "wanted"),
    [
        (["run.h5"], "groups: run.h5"),
        (["build/" * 20 + "run.h5"], "groups: " + "build/" * 20 + "run.h5"),
        (["before.h5", "after.h5"], "groups: before.h5, after.h5"),
        (["build/" * 5 + "before.h5", "build/" * 5 + "after.h5"], "2 runs by groups"),
    ],
)
def test_titles_fit(labels, wanted):
    assert title_of("groups", labels) == wanted


def test_a_page_of_nothing(tmp_path):
    path = tmp_path / "report.html"
    page.write(str(path), pages.contents([], [], []), {})
    assert block(read(path), "thumbnails") == []


def test_the_policy_names_what_is_there_and_nothing_else(tmp_path):
    text = read(pages.made(tmp_path, pages.one_run()))
    [policy] = re.findall(r'<meta http-equiv="Content-Security-Policy" content="([^"]*)">', text)

    def digest(part):
        return "'sha256-" + base64.b64encode(hashlib.sha256(part.encode()).digest()).decode() + "'"

    [style] = re.findall(r"<style>(.*?)</style>", text, re.DOTALL)
    [script] = re.findall(r"<script>(.*?)</script>", text, re.DOTALL)
    assert policy.split("; ") == [
        "default-src 'none'",
        "img-src data: 'self' file:",
        f"style-src {digest(style)}",
        f"script-src {digest(script)}",
        "base-uri 'none'",
        "form-action 'none'",
    ]


ASSETS = {"elements.js", "shell.html", *(f"{page}.{kind}" for page in ("page", "duplicates", "training") for kind in ("html", "css", "js"))}


def test_the_assets_ask_no_network_and_write_no_markup():
    folder = importlib.resources.files("imgret.html")
    texts = {name: folder.joinpath(name).read_text(encoding="utf-8") for name in ASSETS}
    for name, text in texts.items():
        assert not re.findall(r"https?:(?!//www\.w3\.org/2000/svg)|//cdn|@import|url\(|fetch\(|XMLHttp|WebSocket|import\(", text), name
    scripts, styles, shells = ([text for name, text in texts.items() if name.endswith(each)] for each in (".js", ".css", ".html"))
    assert not re.findall(r"innerHTML|outerHTML|insertAdjacent|document\.write|\beval\b|Function\(|DOMParser|</|<!--", "".join(scripts))
    assert not re.findall(r"</|<!--", "".join(styles))
    assert not re.findall(r"\son\w+=|\sstyle=", "".join(shells))


HOSTILE = [
    "<script>alert(1)</script>.jpg",
    "</script><img src=x onerror=alert(1)>.jpg",
    "<!--<script>",
    "{{thumbnails}} {{script}}",
    "quotes \" ' ` and & &lt; \\u003c",
    "line\nbreak\r\t\x00\x1b\u2028\u2029",
    to_text(b"caf\xe9 \xff\xfe.jpg"),
    "日本 👍 \u202egpj.exe",
]


def test_hostile_names_are_text(tmp_path):
    queries = [pages.query(name, number, pages.results([number])) for number, name in enumerate(HOSTILE)]
    everywhere = "".join(HOSTILE)
    runs = [pages.run(everywhere, [[everywhere, 0.5]], [everywhere], {everywhere: [0.5] * 101})]
    more = {"title": everywhere, "protocol": everywhere, "conventions": {everywhere: everywhere}, "note": everywhere}
    contents = pages.contents(HOSTILE, runs, queries, comparison=[everywhere], **more)
    path = tmp_path / "report.html"
    page.write(str(path), contents, {})
    text = read(path)
    held = block(text, "data")
    assert held["photos"] == HOSTILE
    assert (held["title"], held["conventions"]) == (everywhere, {everywhere: everywhere})
    assert [tag.lower() for tag in re.findall(r"<(?:!--|/?script)", text, re.IGNORECASE)] == ["<!--", *["<script", "</script"] * 3]
    line = next(line for line in text.splitlines() if 'id="data"' in line)
    assert not re.search(r"[<>&]|[^\x20-\x7e]", line.removeprefix('<script type="application/json" id="data">').removesuffix("</script>"))
    [title] = re.findall(r"<title>(.*?)</title>", text)
    assert "<" not in title
    assert "\\x00\\x1b" in title
    assert "caf\ufffd \ufffd\ufffd.jpg" in title


# --- what is refused, and what is left behind


def write(path, **options):
    page.write(str(path), pages.one_run(), {}, **options)


def test_only_a_report_is_replaced_unasked(tmp_path):
    path = tmp_path / "report.html"
    write(path)
    write(path)  # one of ours
    before = read(path)
    for foreign in (b"", b"<!doctype html><!-- imgret", b"<html>", b" " + before.encode()):
        path.write_bytes(foreign)
        wanted = f"--html {path} is not an imgret report and would be replaced: choose another --html, or give --overwrite"
        is_refused(wanted, write, path)
        is_refused(wanted, page.check, str(path))
        assert path.read_bytes() == foreign
        page.check(str(path), overwrite=True)
        write(path, overwrite=True)
        assert read(path) == before
    assert os.listdir(tmp_path) == ["report.html"]


@pytest.mark.parametrize("overwrite", [False, True])
def test_what_is_no_file_is_never_replaced(tmp_path, overwrite):
    os.mkfifo(tmp_path / "pipe")
    for name in ("", "/"):
        path = f"{tmp_path}{name}"
        is_refused(f"--html '{path}' names a folder, a file is needed", write, path, overwrite=overwrite)
    for path in (tmp_path / "pipe", "/dev/null", "/dev/stdout", "/proc/self/fd/1"):
        is_refused(f"--html {path} is not a regular file: choose another --html", write, path, overwrite=overwrite)
    path = tmp_path / "none" / "report.html"
    is_refused(f"--html {path}: there is no folder {tmp_path / 'none'}", write, path, overwrite=overwrite)
    assert os.listdir(tmp_path) == ["pipe"]


def test_a_report_in_the_current_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write("report.html")
    assert os.listdir() == ["report.html"]


def test_an_error_of_the_disk_leaves_the_old_report(tmp_path, monkeypatch):
    path = tmp_path / "report.html"
    write(path)
    before = read(path)

    def full(*_):
        raise OSError(errno.ENOSPC, "full")

    monkeypatch.setattr(os, "replace", full)
    is_refused(f"{path} cannot be written: No space left on device; what was there before is untouched", write, path)
    assert read(path) == before
    assert os.listdir(tmp_path) == ["report.html"]


def test_a_report_that_cannot_be_read_is_not_replaced(tmp_path, monkeypatch):
    path = tmp_path / "report.html"
    write(path)

    def denied(*_):
        raise PermissionError(errno.EACCES, "denied")

    monkeypatch.setattr(report, "open", denied, raising=False)
    is_refused(f"--html {path} cannot be read: Permission denied", write, path)


def test_a_page_too_large_for_browsers_is_refused(tmp_path, monkeypatch):
    path = tmp_path / "report.html"
    monkeypatch.setattr(page, "MAX_BYTES", 1 << 20)
    write(path)
    before = read(path)
    contents = pages.contents(["a.png"], [], [])
    wanted = f"--html {path}: the page would have more than 1 MB, too much for a browser: show fewer queries or results (--most, --top)"
    is_refused(wanted, page.write, str(path), contents, {"a.png": ("key", b"\xff\xd8\xff" + bytes(1 << 20), (1, 1))})
    assert read(path) == before
    assert os.listdir(tmp_path) == ["report.html"]


def test_the_assets_are_installed_with_the_package():
    with open(os.path.join(ROOT, "pyproject.toml"), "rb") as file:
        patterns = tomllib.load(file)["tool"]["setuptools"]["package-data"]["imgret.html"]
    held = {name for name in os.listdir(os.path.join(ROOT, "imgret", "html")) if not name.endswith((".py", "__"))}
    assert {name for name in held if "*" + os.path.splitext(name)[1] in patterns} == held == ASSETS


def test_real_photos(tmp_path, data):
    root = data / "photos" / "scenes" / "images"
    names = sorted(os.listdir(root))[:12]
    path = tmp_path / "report.html"
    for wanted in ({"made": 12}, {"reused": 12}):
        made = Thumbnails([root], cache=path, jobs=2)
        page.write(str(path), pages.contents(names, [], []), made.make(names))
        assert counts(made) == wanted
        assert all(max(Image.open(io.BytesIO(base64.b64decode(entry[1]))).size) == 160 for entry in block(read(path), "thumbnails"))
