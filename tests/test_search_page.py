"""`imgret search --html`: what the page holds, and what it must not."""

import base64
import io
import json
import os
import pathlib
import re

import numpy as np
import pytest
from helpers import call, refused, resign
from PIL import Image


@pytest.fixture
def here(tmp_path, monkeypatch):
    """Six photos below `photos`, one elsewhere, an index and a store of queries."""
    monkeypatch.chdir(tmp_path)
    rng = np.random.default_rng(0)
    pathlib.Path("photos").mkdir()
    pathlib.Path("secret").mkdir()
    for path in (*(f"photos/{number}.png" for number in range(6)), "secret/private.png", "2.png"):
        flat = np.broadcast_to(rng.integers(0, 256, 3), (40, 60, 3)) + rng.integers(-3, 4, (40, 60, 3))
        Image.fromarray(flat.clip(0, 255).astype(np.uint8)).save(path)
    for command in (
        ("extract", "photos", "-m", "hsv-hist", "-o", "v.h5"),
        ("index", "v.h5", "-o", "i.h5"),
    ):
        assert call(*command, "-q").code == 0
    return tmp_path


def page(path):
    """The data and the thumbnails of a page."""
    text = pathlib.Path(path).read_text()
    parts = (
        re.search(rf'<script type="application/json" id="{name}">(.*?)</script>', text, re.DOTALL)[1] for name in ("data", "thumbnails")
    )
    return [json.loads(part) for part in parts]


def pixels(entry):
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(entry[1]))))


def test_queries_that_are_photos(here):
    """A query photo with the name of another photo in the gallery has its own picture, and no path of this machine is on the page."""
    result = call("search", "i.h5", "2.png", "photos/3.png", "-k", "3", "--html", "s.html", "--photos", "photos")
    assert result.code == 0, result.err
    data, thumbnails = page("s.html")
    assert [query["name"] for query in data["queries"]] == ["2.png", "photos/3.png"]
    first = data["queries"][0]
    assert first["runs"][0]["settings"] == {}
    gallery = data["photos"].index("2.png")
    assert first["photo"] != gallery
    own, other = thumbnails[first["photo"]], thumbnails[gallery]
    assert np.abs(pixels(own).mean(axis=(0, 1)) - np.asarray(Image.open("2.png")).mean(axis=(0, 1))).max() < 4
    assert np.abs(pixels(own).mean(axis=(0, 1)) - pixels(other).mean(axis=(0, 1))).max() > 20
    assert str(here) not in pathlib.Path("s.html").read_text()


def test_a_store_of_queries_leads_nowhere_else(here):
    """Names of a stranger's store: below --photos, or a tile without a picture."""
    h5py = pytest.importorskip("h5py")
    pathlib.Path("b.csv").write_text("image,x1,y1,x2,y2,id\n1.png,5,5,30,30,ask\n")
    assert call("extract", "photos", "-m", "hsv-hist", "--boxes", "b.csv", "-o", "q.h5", "-q").code == 0
    result = call("search", "i.h5", "q.h5", "-k", "2", "--html", "s.html", "--photos", "photos")
    assert "without a thumbnail" not in result.err
    data, thumbnails = page("s.html")
    (query,) = data["queries"]
    assert (query["name"], query["box"], data["photos"][query["photo"]]) == ("ask", [5.0, 5.0, 30.0, 30.0], "1.png")
    assert thumbnails[query["photo"]] is not None
    for name in (b"../secret/private.png", os.fsencode(here / "secret/private.png")):
        with h5py.File("q.h5", "r+") as file:
            del file["photo_names"], file["photo_names_offsets"]
            file["photo_names"] = np.frombuffer(name, np.uint8)
            file["photo_names_offsets"] = np.array([0, len(name)])
        resign("q.h5")
        pathlib.Path("s.html").unlink()
        result = call("search", "i.h5", "q.h5", "-k", "2", "--html", "s.html", "--photos", "photos")
        assert result.code == 0, result.err
        assert "1 photo is shown without a thumbnail: 1 named outside --photos" in result.err
        data, thumbnails = page("s.html")
        assert thumbnails[data["queries"][0]["photo"]] is None


def test_the_page_is_none_of_what_is_read(here):
    for path, queries in (("i.h5", "v.h5"), ("v.h5", "v.h5")):
        before = pathlib.Path(path).read_bytes()
        start = ("search", "i.h5", queries, "--photos", "photos", "--overwrite", "--html")
        refused(call(*start, path), 1, f"{path} is both read and written: choose another --html")
        assert pathlib.Path(path).read_bytes() == before
    pathlib.Path("asking").mkdir()
    pathlib.Path("2.png").rename("asking/2.png")
    before = [pathlib.Path(path).read_bytes() for path in ("asking/2.png", "photos/2.png")]
    start = ("search", "i.h5", "photos/1.png", "asking", "--most", "1", "--photos", "photos", "--overwrite", "--html")
    for path, text in (
        ("asking/2.png", "is a query photo: choose another --html"),
        ("photos/2.png", "is no report and lies in photos, whose photos are read: choose another --html"),
    ):
        result = call(*start, path)
        assert (result.code, result.err.splitlines()[-1]) == (1, f"imgret: error: --html {path} {text}")
    assert before == [pathlib.Path(path).read_bytes() for path in ("asking/2.png", "photos/2.png")]


def test_more_queries_than_the_page_takes(here):
    result = call("search", "i.h5", "photos", "-k", "4", "--html", "s.html", "--photos", "photos", "--most", "2", "--top", "3")
    assert result.code == 0
    data, _ = page("s.html")
    assert len(data["queries"]) == 2
    assert [len(query["runs"][0]["top"]) for query in data["queries"]] == [3, 3]
    assert data["note"] == "the first 2 of 6 queries are shown"
    result = call("search", "i.h5", "photos", "-o", "r.h5", "--html", "s.html", "--photos", "photos")
    assert result.code == 2
    assert "--html is for what is printed; with -o make the page of the ranking by `evaluate --html`" in result.err


def test_a_verified_page_draws_what_matches_and_where(stores, photos, tmp_path, monkeypatch):
    """A part of a photo lies in it where it was cut out, and one that was turned lies in it turned; what matches lies there, too."""
    monkeypatch.chdir(tmp_path)
    whole = np.asarray(Image.open(photos / "01.png"))
    height, width = whole.shape[:2]
    Image.fromarray(whole[10:110, 30:150]).save("part.png")
    Image.fromarray(np.rot90(whole)).save("turned.png")
    command = ("search", stores.index, "part.png", "turned.png", "-k", "3", "--html", "s.html", "--photos", photos)
    result = call(*command, "--rerank", "spatial", "--features", stores.features)
    assert result.code == 0, result.err
    data, _ = page("s.html")
    corners = {"part.png": [30, 10, 150, 10, 150, 110, 30, 110], "turned.png": [width, 0, width, height, 0, height, 0, 0]}
    places = {"part.png": lambda x, y: (x + 30, y + 10), "turned.png": lambda x, y: (width - y, x)}
    for line, query in zip([line for line in result.lines if "\t1\t" in line], data["queries"], strict=True):
        (answer,) = query["runs"]
        assert data["photos"][answer["top"][0][0]] == "01.png"
        counted = int(line.split("\t")[-1])
        assert answer["evidence"][0] == f"{counted} inliers"
        drawn, wanted = (
            sorted(zip(flat[::2], flat[1::2], strict=True), key=sum) for flat in (answer["outlines"][0], corners[query["name"]])
        )
        assert np.abs(np.subtract(drawn, wanted)).max() < 3
        matches = np.reshape(answer["points"][0], (-1, 4))
        assert counted <= len(matches)
        there = np.array([places[query["name"]](x, y) for x, y in matches[:, :2]])
        assert np.linalg.norm(there - matches[:, 2:], axis=1).max() < 6
