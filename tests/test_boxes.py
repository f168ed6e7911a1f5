"""Queries that ask with a region: boxes read, matched with photos, described, searched with and scored."""

import csv
import json
import os
import re
import shutil
import signal

import h5py
import numpy as np
import pytest
from helpers import call, encoded, failures, photo, refused, texture
from killing import Watched, same, tidy
from PIL import Image

from imgret import registry
from imgret.errors import ImgretError
from imgret.evaluation import PROTOCOLS
from imgret.extractors import EXTRACTORS
from imgret.formats.boxes import Box, PhotoFinder, read_boxes
from imgret.formats.lists import RankedLists
from imgret.images import ORIENTATION, BadPhoto, Fractions, clip_box, cropped, decode
from imgret.stages.info import check, describe
from imgret.store.reader import Store

HEADER = "image,x1,y1,x2,y2"


@pytest.fixture
def here(tmp_path, monkeypatch):
    """An empty current folder."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def five(here):
    """Five photos, and boxes of three of them: one has two."""
    os.mkdir("photos")
    for number, name in enumerate("abcde"):
        photo(f"photos/{name}.png", number)
    return write("boxes.csv", HEADER, "a.png,10,20,90,100", "c.png,0,0,100,80", "c.png,60,30,150,110", "d,-20,10,70,400.5")


def write(path, *lines):
    with open(path, "wb") as file:
        file.write(b"".join((line if isinstance(line, bytes) else line.encode()) + b"\n" for line in lines))
    return path


def extract(out, *more, boxes="boxes.csv", photos="photos"):
    return call("extract", photos, "--boxes", boxes, "-o", out, "-j1", *more)


def done(result):
    assert result.code == 0, result.err
    return result


def refusal(function, *arguments):
    with pytest.raises(ImgretError) as caught:
        function(*arguments)
    assert caught.value.exit_code == 1
    return str(caught.value)


# reading boxes


def test_csv_without_ids_numbers_the_boxes_of_one_photo(here):
    write("b.csv", HEADER, "one.jpg,1,2,3,4", "two.jpg,0,0,5.5,6", "", "x/one.jpg,1,1,1,1", "two.jpg,-1,0,1e3,7")
    assert read_boxes("b.csv") == [
        Box(b"one.jpg", b"one.jpg", (1, 2, 3, 4)),
        Box(b"two.jpg#1", b"two.jpg", (0, 0, 5.5, 6)),
        Box(b"x/one.jpg", b"x/one.jpg", (1, 1, 1, 1)),
        Box(b"two.jpg#2", b"two.jpg", (-1, 0, 1000, 7)),
    ]


def test_csv_with_ids_in_any_order_of_columns_and_any_spelling(here):
    data = b'\xef\xbb\xbf Y1,id,X2,image,x1,y2\r\n2,first,3,"a,""b""\xff.jpg",1,4\r\n 5 ,second,9,c.jpg,6,8'
    with open("b.csv", "wb") as file:
        file.write(data)
    assert read_boxes("b.csv") == [Box(b"first", b'a,"b"\xff.jpg', (1, 2, 3, 4)), Box(b"second", b"c.jpg", (6, 5, 9, 8))]


CSV_ERRORS = {
    "empty": ((), "b.csv is empty: boxes must be a CSV with the header image,x1,y1,x2,y2"),
    "no box": ((HEADER, ""), "b.csv lists no box: one line per box is expected below the header"),
    "header": (
        ("image,x,y,w,h", "a,1,2,3,4"),
        "b.csv:1: the first line must be the header image,x1,y1,x2,y2 or image,x1,y1,x2,y2,id, got 'image,x,y,w,h'",
    ),
    "no header": (
        ("a,1,2,3,4",),
        "b.csv:1: the first line must be the header image,x1,y1,x2,y2 or image,x1,y1,x2,y2,id, got 'a,1,2,3,4'",
    ),
    "fields": ((HEADER, "a,1,2,3,4", "b,1,2,3"), "b.csv:3: 5 fields are expected (image,x1,y1,x2,y2), this line has 4"),
    "no number": ((HEADER, "a,1,2,3,4", "", "b,1,two,3,4"), "b.csv:4: y1 must be a number, got 'two'"),
    "empty number": ((HEADER, "a,1,2,,4"), "b.csv:2: x2 must be a number, got ''"),
    "nan": ((HEADER, "a,nan,2,3,4"), "b.csv:2: x1 must be a number, got 'nan'"),
    "infinite": ((HEADER, "a,1,2,3,1e999"), "b.csv:2: y2 must be a number, got '1e999'"),
    "x": ((HEADER, "a,5,2,3,4"), "b.csv:2: x1 must not be larger than x2, got 5 and 3"),
    "y": ((HEADER, "a,5,2.5,6,-4"), "b.csv:2: y1 must not be larger than y2, got 2.5 and -4"),
    "no name": ((HEADER, ",1,2,3,4"), "b.csv:2: the image has no name"),
    "no id": ((HEADER + ",id", "a,1,2,3,4,"), "b.csv:2: the id is empty: give every box one, or leave the column out"),
    "id twice": (
        (HEADER + ",id", "a,1,2,3,4,q", "b,1,2,3,4,r", "c,1,2,3,4,q"),
        "b.csv:4: the id 'q' is there again, first in line 2: one box per id",
    ),
    "id made twice": (
        (HEADER, "a#1,1,2,3,4", "a,1,2,3,4", "a,5,6,7,8"),
        "b.csv:3: the id 'a#1' is there again, first in line 2: one box per id",
    ),
    "NUL": ((HEADER, b"a\0,1,2,3,4"), "b.csv:2: a NUL byte: a CSV in UTF-8 is needed"),
    "quote": ((HEADER, '"a"b,1,2,3,4'), "b.csv:2: malformed CSV (',' expected after '\"')"),
}


@pytest.mark.parametrize("case", CSV_ERRORS)
def test_malformed_csv(here, case):
    lines, text = CSV_ERRORS[case]
    write("b.csv", *lines)
    os.mkdir("photos")
    photo("photos/a.png")
    refused(extract("f.h5", boxes="b.csv"), 1, text)
    assert sorted(os.listdir()) == ["b.csv", "photos"]


def test_boxes_that_are_not_there(here):
    photo("a.png")
    text = "none.csv cannot be read: No such file or directory"
    refused(call("extract", "a.png", "--boxes", "none.csv", "-o", "f.h5"), 1, text)
    os.mkdir("empty")
    text = "empty holds no *_query.txt: the folder of the Oxford or Paris text ground truth is needed"
    refused(call("extract", "a.png", "--boxes", "empty", "-o", "f.h5"), 1, text)


def test_an_output_that_is_the_boxes(five):
    refused(extract(five), 1, "boxes.csv is both an input and the output: choose another -o")


def oxford(path, queries):
    """An Oxford-style ground truth: {label: (photo, box, positives)}."""
    os.makedirs(path)
    for label, (name, box, positives) in queries.items():
        write(f"{path}/{label}_query.txt", f"oxc1_{name} {' '.join(map(str, box))}")
        write(f"{path}/{label}_good.txt", *positives)
        write(f"{path}/{label}_ok.txt")
        write(f"{path}/{label}_junk.txt")
    return path


def revisited(path, queries, gallery=("a",)):
    """A revisited ground truth in JSON: {photo: box or None}."""
    entries = [{"easy": [0], "hard": [], "junk": []} | ({} if box is None else {"bbx": box}) for box in queries.values()]
    with open(path, "w") as file:
        json.dump({"imlist": list(gallery), "qimlist": list(queries), "gnd": entries}, file)
    return path


def test_ground_truths_of_oxford_and_the_revisited_ones(here):
    oxford("gt", {"b_1": ("photo_7", (1, 2, 3.5, 4), ()), "a_1": ("photo_7", (0, 0, 1, 1), ())})
    assert read_boxes("gt") == [Box(b"a_1", b"photo_7", (0, 0, 1, 1)), Box(b"b_1", b"photo_7", (1, 2, 3.5, 4))]
    revisited("gt.json", {"photo_7": [1, 2, 3.5, 4], "x": [0, 0, 1, 1]})
    assert read_boxes("gt.json") == [Box(b"photo_7", b"photo_7", (1, 2, 3.5, 4)), Box(b"x", b"x", (0, 0, 1, 1))]
    revisited("GT.JSON", {"photo_7": [1, 2, 3.5, 4], "x": None})
    assert refusal(read_boxes, "GT.JSON") == "GT.JSON: the query 'x' has no box: --boxes needs one of each"


def test_the_official_ground_truths(data):
    boxes = read_boxes(data / "oxford5k" / "groundtruth")
    assert len(boxes) == 55
    assert boxes[0] == Box(b"all_souls_1", b"all_souls_000013", (136.5, 34.1, 648.5, 955.7))
    again = read_boxes(data / "oxford5k" / "gnd_roxford5k.pkl")
    assert len(again) == 70
    assert again[0].photo == again[0].query_id == b"all_souls_000013"
    assert np.allclose(again[0].corners, boxes[0].corners)


# which photo a box is of


@pytest.mark.parametrize(
    ("known", "name", "found"),
    [
        (["a.jpg", "b.jpg"], "a.jpg", "a.jpg"),
        (["a.jpg", "a"], "a", "a"),
        (["a.jpg"], "a", "a.jpg"),
        (["a"], "a.jpg", "a"),
        (["a.jpg"], "oxc1_a", "a.jpg"),
        (["oxc1_a.jpg"], "a", "oxc1_a.jpg"),
        (["a.jpg"], "a.png", None),
        (["x/a.jpg", "x/b.jpg"], "a", "x/a.jpg"),
        (["a.jpg"], "x/y/a.jpg", "a.jpg"),
        (["y/x/a.jpg", "z/a.jpg"], "x/a", "y/x/a.jpg"),
        (["y/x/a.jpg", "z/a.png"], "x/a", "y/x/a.jpg"),
        (["y/a.jpg"], "x/a.jpg", None),
        (["xx/a.jpg"], "x/a.jpg", None),
        (["x/a.jpg", "y/a.jpg"], "y/a", "y/a.jpg"),
        (["x/a.jpg", "y/a.png"], "a.png", "y/a.png"),
        ([], "a", None),
    ],
)
def test_photos_are_found_by_other_spellings(known, name, found):
    assert PhotoFinder(map(str.encode, known))(name.encode()) == (None if found is None else found.encode())


@pytest.mark.parametrize(
    ("photos", "text"),
    [
        (("a.jpg", "a.png"), "boxes.csv: the name 'a' fits several photos ('a.jpg', 'a.png'): write it with its extension"),
        (("x/a.jpg", "y/a.png"), "boxes.csv: the name 'a' fits several photos ('a.jpg', 'a.png'): write it with its extension"),
        (("x/a.jpg", "y/a.jpg"), "boxes.csv: the name 'a' fits several photos ('x/a.jpg', 'y/a.jpg'): write it with its folder"),
    ],
)
def test_names_that_fit_several_photos(here, photos, text):
    for name in photos:
        os.makedirs(os.path.dirname(f"photos/{name}"), exist_ok=True)
        photo(f"photos/{name}")
    write("boxes.csv", HEADER, "a,1,2,3,4")
    refused(extract("f.h5"), 1, text)


def test_what_is_left_over_on_either_side_is_told(five):
    write(five, HEADER, "a,1,2,90,80", "zz,1,2,3,4", "y,1,2,3,4", "y,1,2,3,5")
    result = done(extract("f.h5"))
    assert result.err.splitlines() == [
        "imgret: warning: 3 of 4 boxes in boxes.csv are left out: their photos are not among those given (for example 'y')",
        "imgret: 4 of 5 photos have no box and are left out",
        "imgret: f.h5: 1 box described",
    ]
    write(five, HEADER, "zz,1,2,3,4")
    text = (
        "boxes.csv has no box of any photo given: its boxes are of 'zz', the photos given are 'a.png' and the like; are these the right"
        " photos?"
    )
    refused(extract("g.h5"), 1, text)
    assert not os.path.exists("g.h5")


# the region itself


def test_boxes_are_clipped_to_the_photo():
    assert clip_box((1.5, 2, 30, 40), (100, 80)) == (1.5, 2, 30, 40)
    assert clip_box((-5, -1e300, 1e300, 80.5), (100, 80)) == (0, 0, 100, 80)
    assert clip_box((-5, -5, 0, 0), (100, 80)) == (0, 0, 0, 0)
    assert clip_box((99.5, 79, 200, 200), (100, 80)) == (99.5, 79, 100, 80)
    assert clip_box((0.1, 0.2, 0.3, 0.4), (1, 1)) == tuple(map(float, np.float32([0.1, 0.2, 0.3, 0.4])))


@pytest.mark.parametrize("box", [(100, 0, 120, 10), (0, 80, 10, 90), (-9, 0, -0.5, 10), (0, -9, 10, -1)])
def test_boxes_outside_the_photo(box):
    with pytest.raises(BadPhoto) as caught:
        clip_box(box, (100, 80))
    shown = " ".join(f"{corner:g}" for corner in box)
    assert (caught.value.code, caught.value.reason) == ("box-outside", f"the box {shown} lies outside its 100 × 80 pixels")


def test_crops_are_those_of_pillow():
    rng = np.random.default_rng(0)
    pixels = rng.integers(0, 256, (37, 53, 3), dtype=np.uint8)
    image = Image.fromarray(pixels)
    for _ in range(300):
        x, y = (np.sort(rng.integers(0, 2 * side + 1, 2) / 2) for side in (53, 37))  # halves, which round to the even number
        box = (x[0], y[0], x[1], y[1])
        if round(x[0]) < round(x[1]) and round(y[0]) < round(y[1]):
            assert np.array_equal(cropped(pixels, clip_box(box, (53, 37))), np.asarray(image.crop(box)))


@pytest.mark.parametrize(
    ("box", "rows", "columns"),
    [
        ((3, 4, 3, 4), (4, 5), (3, 4)),
        ((0, 0, 0.2, 9), (0, 9), (0, 1)),
        ((52.9, 36.6, 90, 90), (36, 37), (52, 53)),
        ((-9, -9, 0, 0), (0, 1), (0, 1)),
    ],
)
def test_a_crop_has_a_pixel_at_least(box, rows, columns):
    pixels = np.arange(37 * 53).reshape(37, 53)
    assert np.array_equal(cropped(pixels, clip_box(box, (53, 37))), pixels[slice(*rows), slice(*columns)])


@pytest.mark.parametrize("orientation", range(1, 9))
def test_boxes_are_those_of_the_upright_photo(orientation):
    exif = Image.Exif()
    exif[ORIENTATION] = orientation
    data = encoded(texture(1, 90, 60), exif=exif)
    whole = decode(data)
    part = decode(data, box=(5, 10, 50, 42), crop=True)
    assert np.array_equal(part.pixels, whole.pixels[10:42, 5:50])
    assert (part.size, part.box) == (whole.size, (5, 10, 50, 42))
    kept = decode(data, box=(5, 10, 50, 42))
    assert np.array_equal(kept.pixels, whole.pixels)
    assert (kept.size, kept.box) == (whole.size, (5, 10, 50, 42))


def test_crops_are_reduced_not_photos():
    """A box of 100 pixels in a photo of 800 stays as it is where 100 are the most."""
    data = encoded(texture(1, 800, 600))
    part = decode(data, max_size=100, box=(300, 200, 400, 290), crop=True)
    assert np.array_equal(part.pixels, decode(data).pixels[200:290, 300:400])
    assert decode(data, max_size=50, box=(300, 200, 400, 290), crop=True).pixels.shape == (45, 50)


# extractors


NETWORK = {"model": "squeezenet1_1", "max_size": 96, "weights": "random"}
LOCAL = {
    "sift": ("sift", {"max_size": 200}),
    "sift at full size": ("sift", {"max_size": 0, "upright": True}),
    "rootsift": ("rootsift", {"max_size": 200}),
    "dense-sift": ("dense-sift", {"max_size": 200}),
    "columns": ("cnn", NETWORK | {"pool": "none"}),
    "columns at two scales": ("cnn", NETWORK | {"pool": "none", "scales": (1.0, 0.7)}),
    "regions": ("cnn", NETWORK | {"pool": "regions"}),
    "patches": ("cnn", NETWORK | {"pool": "patches", "patches": (32,)}),
}
WHOLE = {
    "hsv-hist": {},
    "hog": {},
    "lbp": {},
    "gist": {},
    "color-moments": {},
    "cnn": NETWORK | {"pool": "gem"},
    "cnn square": NETWORK | {"pool": "gem", "resize": "square"},
}


def made(name, **params):
    name = name.split()[0]
    if name == "cnn":
        pytest.importorskip("torchvision")
    if name == "lbp":
        pytest.importorskip("skimage")
    kind = registry.load(EXTRACTORS, name, "extractor")
    extractor = kind(kind.Params(**params))
    extractor.settle("cpu")
    return extractor


@pytest.mark.parametrize("name", LOCAL)
def test_local_features_are_those_of_the_whole_photo_that_lie_in_the_box(name):
    method, params = LOCAL[name]
    data, box = encoded(texture(3, 320, 240, channels=3)), (41, 30.25, 222, 170)
    extractor = made(method, **params | ({} if method == "dense-sift" else {"max_keypoints": 0}))
    whole, part = (extractor.describe([extractor.read(data, region)])[0] for region in (None, box))
    rows = []
    for row, (x, y) in enumerate(whole.keypoints[:, :2].tolist()):
        if 41 <= x <= 222 and 30.25 <= y <= 170:
            rows.append(row)
    assert 2 <= len(rows) < len(whole.keypoints)
    assert part.keypoints.tobytes() == whole.keypoints[rows].tobytes()
    assert part.descriptors.tobytes() == whole.descriptors[rows].tobytes()
    if method == "dense-sift":
        return
    most = len(rows) // 2
    extractor = made(method, **params | {"max_keypoints": most})
    best = extractor.describe([extractor.read(data, box)])[0]
    strength = whole.keypoints[rows, -1]
    strongest = [rows[place] for place in sorted(sorted(range(len(rows)), key=lambda place: (-strength[place], place))[:most])]
    assert best.keypoints.tobytes() == whole.keypoints[strongest].tobytes()
    assert best.descriptors.tobytes() == whole.descriptors[strongest].tobytes()


@pytest.mark.parametrize("name", LOCAL)
def test_a_border_belongs_to_the_box(name):
    method, params = LOCAL[name]
    data = encoded(texture(3, 320, 240, channels=3))
    extractor = made(method, **params)
    whole = extractor.describe([extractor.read(data)])[0].keypoints
    inside = whole[((whole[:, :2] >= 0) & (whole[:, :2] <= [320, 240])).all(axis=1)]
    x, y = inside[len(inside) // 2, :2].tolist()
    part = extractor.describe([extractor.read(data, (x, y, x, y))])[0].keypoints
    assert len(part)
    assert (part[:, :2] == [x, y]).all()


@pytest.mark.parametrize("name", WHOLE)
def test_a_vector_is_that_of_the_photo_of_the_box_alone(name):
    pixels = texture(3, 320, 240, channels=3)
    extractor = made(name, **WHOLE[name])
    inside = extractor.read(encoded(pixels), (41, 30.5, 222, 170))  # half to even: 30
    alone = extractor.read(encoded(pixels[30:170, 41:222]))
    assert inside.size == (320, 240)
    vector, wanted, whole = (extractor.describe([photo])[0] for photo in (inside, alone, extractor.read(encoded(pixels))))
    assert vector.tobytes() == wanted.tobytes()
    assert not np.allclose(vector, whole)


# stores


def test_a_store_has_a_row_per_box(five):
    result = done(extract("f.h5", "--set", "max_keypoints=0"))
    assert result.err.splitlines() == ["imgret: 2 of 5 photos have no box and are left out", "imgret: f.h5: 4 boxes described"]
    done(call("extract", "photos", "-o", "whole.h5", "-j1", "--set", "max_keypoints=0"))
    with Store("f.h5") as store, Store("whole.h5") as whole:
        assert list(store.texts("names")) == [b"a.png", b"c.png#1", b"c.png#2", b"d"]
        assert list(store.texts("photo_names")) == list(store.photo_names()) == [b"a.png", b"c.png", b"c.png", b"d.png"]
        assert store.read("box").tolist() == [[10, 20, 90, 100], [0, 0, 100, 80], [60, 30, 150, 110], [0, 10, 70, 120]]
        assert store.read("box").dtype == np.float32
        assert store.read("image_size").tolist() == [[160, 120]] * 4
        names = list(whole.texts("names"))
        rows = [names.index(name) for name in store.photo_names()]
        for column in ("digest", "file_size", "file_mtime_ns"):
            assert np.array_equal(store.read(column), whole.read(column)[rows])
        offsets = store.read("offsets")
        for row, (first, last) in enumerate(zip(offsets, offsets[1:], strict=False)):
            low, high = store.read("box")[row].reshape(2, 2)
            begin, end = whole.read("offsets")[rows[row] : rows[row] + 2]
            points = whole.read("keypoints", begin, end)
            wanted = points[((points[:, :2] >= low) & (points[:, :2] <= high)).all(axis=1)]
            assert len(wanted) > 3
            assert store.read("keypoints", first, last).tobytes() == wanted.tobytes()
        assert store.schema_version == 2
        assert not whole.has("box")
        assert list(whole.photo_names()) == names
    assert check("f.h5") == []
    facts = describe("f.h5")
    assert facts["columns"]["box"] == {"shape": [4, 4], "dtype": "float32"}
    assert facts["columns"]["photo_names_offsets"] == {"shape": [5], "dtype": "int64"}
    assert [(entry["path"], entry["kind"]) for entry in facts["inputs"]] == [("boxes.csv", "boxes")]
    assert facts["params"]["rows"] == "boxes"
    assert facts["pipeline"] == describe("whole.h5")["pipeline"]


def test_a_box_that_cannot_be_used_is_a_row_of_its_own(five):
    Image.new("L", (160, 120), 90).save("photos/flat.png")
    write(five, HEADER + ",id", "a,10,20,90,100,good", "a,500,20,900,100,far", "flat,0,0,90,90,empty")
    result = done(extract("f.h5", "--max-failed", "2"))
    assert result.err.splitlines()[-1] == "imgret: f.h5: 1 box described, 2 could not be used (imgret info --failed)"
    assert failures("f.h5") == {
        "empty": ("no-descriptors", "no local feature was found in it"),
        "far": ("box-outside", "the box 500 20 900 100 lies outside its 160 × 120 pixels"),
    }
    assert extract("f.h5", "--max-failed", "2").err.splitlines()[-1] == "imgret: f.h5 is up to date (3 boxes)"
    text = (
        "2 boxes could not be used so far, more than --max-failed allows of 3 (0): empty (no-descriptors), far (box-outside); "
        "the finished parts are kept: give --max-failed N or N%, a larger one, to go on without them"
    )
    refused(extract("g.h5", "-q", "--max-failed", "0"), 1, text)
    write(five, HEADER + ",id", "a,500,20,900,100,far")
    refused(extract("h.h5", "-q", "--max-failed", "100%"), 1, "no box could be used: far (box-outside)")


def many(count=28):
    """Photos, and boxes of most of them, in four parts."""
    rng, lines = np.random.default_rng(5), []
    os.makedirs("photos/more")
    for number in range(count):
        name = f"{'more/' if number % 3 == 0 else ''}{number:02d}.png"
        photo(f"photos/{name}", number)
        for _ in range(number % 3):
            x, y = rng.integers(0, 60, 2)
            lines.append(f"{name},{x},{y},{x + 70},{y + 60}")
    return write("boxes.csv", HEADER, *lines)


def test_jobs_shards_and_resumption_do_not_change_a_byte(here):
    many()
    done(extract("f.h5"))
    with Store("f.h5") as store:
        assert len(store) == 27
    done(extract("two.h5", "-j2"))
    same("two.h5", "f.h5")
    for share in ("1/2", "0/2"):
        done(extract("shards.h5", "--shard", share))
    assert extract("shards.h5").err.splitlines()[1:] == [
        "imgret: 4 of 4 parts are there already",
        "imgret: shards.h5: 27 boxes described",
    ]
    same("shards.h5", "f.h5")
    os.mkdir("out")
    watched = Watched(here / "watch", here / "out")
    out = here / "out" / "f.h5"
    arguments = ("extract", here / "photos", "--boxes", "boxes.csv", "-o", out, "-j", 2)
    killed = watched.until_done(np.random.default_rng(0), *arguments, most=20, code=-signal.SIGKILL)
    assert killed
    same(out, "f.h5")
    tidy(out)


def test_what_is_still_the_same_is_taken_over(here):
    many()
    watched = Watched(here / "watch", here / "photos")
    arguments = ("extract", here / "photos", "--boxes", "boxes.csv", "-o", "f.h5", "-j1")
    assert watched.run(*arguments).code == 0
    assert len(watched.opened(here / "photos")) == 18
    assert watched.run(*arguments).err.splitlines()[-1] == "imgret: f.h5 is up to date (27 boxes)"
    photo("photos/04.png", 100)
    os.utime("photos/05.png", ns=(1, 1))
    assert watched.run(*arguments).err.splitlines()[1:] == [
        "imgret: f.h5: the photos have changed; what is still the same is taken over",
        "imgret: f.h5: 27 boxes described",
    ]
    assert watched.opened(here / "photos") == ["04.png", "05.png"]
    done(extract("fresh.h5"))
    same("f.h5", "fresh.h5")
    # one box moves: the recipe is another, and nothing is taken over
    with open("boxes.csv", "a") as file:
        file.write("more/00,0,0,50,50\n")
    result = watched.run(*arguments)
    assert result.err.splitlines()[1:] == ["imgret: f.h5: its inputs have changed, making it again", "imgret: f.h5: 28 boxes described"]
    assert len(watched.opened(here / "photos")) == 19


def test_the_same_boxes_from_another_file_are_up_to_date(five):
    done(extract("f.h5"))
    write(
        "again.csv",
        "id," + HEADER,
        "d,d,-20.0,10,70,400.5",
        "c.png#2,c.png,60,30,150,110",
        "c.png#1,c.png,0,0,1e2,80",
        "a.png,a.png,10,20,90,100",
    )
    assert extract("f.h5", boxes="again.csv").err.splitlines()[-1] == "imgret: f.h5 is up to date (4 boxes)"


def test_photos_under_other_names_are_written_anew(five):
    """Same files, same sizes and times, other names: of neither the finished file nor of parts may the old ones stay."""
    done(extract("f.h5"))
    result = done(extract("f.h5", photos="."))
    assert result.err.splitlines()[1:] == [
        "imgret: f.h5: the photos have changed; what is still the same is taken over",
        "imgret: f.h5: 4 boxes described",
    ]
    with Store("f.h5") as store:
        assert list(store.photo_names()) == [b"photos/a.png", b"photos/c.png", b"photos/c.png", b"photos/d.png"]
    done(extract("g.h5", "--shard", "0/1"))
    result = done(extract("g.h5", photos="."))
    assert result.err.splitlines()[1:] == [
        "imgret: 1 of 1 parts are there already",
        "imgret: warning: part 0 is damaged; making it again",
        "imgret: g.h5: 4 boxes described",
    ]
    same("g.h5", "f.h5")


def test_photos_are_not_replaced_by_boxes_nor_the_other_way_round(five):
    done(call("extract", "photos", "-o", "f.h5", "-j1"))
    text = "f.h5 was made with other parameters (rows: {} there, {} here): choose another -o, or give --overwrite to replace it"
    refused(extract("f.h5"), 1, text.format("not set", "boxes"))
    assert done(extract("f.h5", "--overwrite")).err.splitlines()[1:] == [
        "imgret: f.h5: its inputs have changed, making it again",
        "imgret: f.h5: 4 boxes described",
    ]
    refused(call("extract", "photos", "-o", "f.h5", "-j1"), 1, text.format("boxes", "not set"))


def test_boxes_and_photos_in_every_step(five):
    """encode and index put rows of boxes and whole photos together; concat joins two kinds of vectors of the same boxes."""
    done(extract("f.h5"))
    done(call("extract", "photos", "-o", "whole.h5", "-j1"))
    done(call("codebook", "whole.h5", "--size", 4, "-o", "words.h5", "-j1"))
    write("more.csv", HEADER + ",id", "e,20,20,140,100,zz", "a,0,0,80,80,aa")
    done(extract("more.h5", boxes="more.csv"))
    done(call("encode", "f.h5", "more.h5", "-c", "words.h5", "-o", "v.h5", "-j1"))
    with Store("v.h5") as store, Store("f.h5") as first, Store("more.h5") as second:
        assert list(store.texts("names")) == [b"a.png", b"aa", b"c.png#1", b"c.png#2", b"d", b"zz"]
        assert list(store.photo_names()) == [b"a.png", b"a.png", b"c.png", b"c.png", b"d.png", b"e.png"]
        wanted = np.concatenate([first.read("box"), second.read("box")])[[0, 4, 1, 2, 3, 5]]
        assert store.read("box").tobytes() == wanted.tobytes()
    write("other.csv", HEADER + ",id", "e,20,20,140,100,zz")
    done(extract("other.h5", boxes="other.csv"))
    done(call("encode", "whole.h5", "other.h5", "-c", "words.h5", "-o", "mixed.h5", "-j1"))
    done(call("index", "mixed.h5", "-o", "mixed.index.h5", "-j1"))
    for path in ("mixed.h5", "mixed.index.h5"):
        with Store(path) as store:
            assert list(store.texts("names")) == [b"a.png", b"b.png", b"c.png", b"d.png", b"e.png", b"zz"]
            assert list(store.photo_names()) == [b"a.png", b"b.png", b"c.png", b"d.png", b"e.png", b"e.png"]
            assert store.read("box").tolist() == [[0, 0, 160, 120]] * 5 + [[20, 20, 140, 100]]
        assert check(path) == []


def test_concat_of_boxes(five):
    for method in ("hog", "hsv-hist"):
        done(extract(f"{method}.h5", "-m", method))
    done(call("encode", "hog.h5", "hsv-hist.h5", "-m", "concat", "-o", "both.h5", "-j1"))
    with Store("both.h5") as store, Store("hog.h5") as first:
        assert list(store.photo_names()) == list(first.photo_names()) == [b"a.png", b"c.png", b"c.png", b"d.png"]
        assert store.read("box").tobytes() == first.read("box").tobytes()
    write("moved.csv", HEADER, "a.png,10,20,90,100", "c.png,0,0,100,80", "c.png,60,30,150,111", "d,-20,10,70,400.5")
    done(extract("moved.h5", "-m", "hsv-hist", boxes="moved.csv"))
    text = "1 box differs between hog.h5 and moved.h5 (the first is that of 'c.png#2'): extract both with the same --boxes"
    refused(call("encode", "hog.h5", "moved.h5", "-m", "concat", "-o", "x.h5", "-j1"), 1, text)
    write("named.csv", HEADER, "a.png,10,20,90,100")
    done(extract("one.h5", "-m", "hog", boxes="named.csv"))
    done(call("extract", "photos/a.png", "--root", "photos", "-m", "hsv-hist", "-o", "plain.h5", "-j1"))
    text = "1 box differs between one.h5 and plain.h5 (the first is that of 'a.png'): extract both with the same --boxes"
    refused(call("encode", "one.h5", "plain.h5", "-m", "concat", "-o", "x.h5", "-j1"), 1, text)


@pytest.mark.parametrize(
    ("change", "text"),
    [
        (lambda file: file.pop("box"), "it has no column 'box'"),
        (lambda file: file.pop("photo_names"), "it has no column 'photo_names'"),
        (lambda file: file.pop("photo_names_offsets"), "it has no column 'photo_names_offsets'"),
        (lambda file: put(file, "box", np.zeros((4, 3), np.float32)), "'box' has 3 rows or columns, 4 are expected"),
        (lambda file: put(file, "box", np.zeros((3, 4), np.float32)), "'box' has 3 rows or columns, 4 are expected"),
        (lambda file: put(file, "box", np.zeros((4, 4))), "'box' is of type float64, not float32"),
        (
            lambda file: put(file, "photo_names_offsets", np.zeros(4, np.int64)),
            "'photo_names_offsets' has 4 rows or columns, 5 are expected",
        ),
    ],
)
def test_damaged_columns_are_refused(five, change, text):
    done(extract("f.h5"))
    with h5py.File("f.h5", "r+", locking=False) as file:
        change(file)
    refused(call("info", "f.h5"), 1, f"f.h5 is damaged: {text}")


def put(file, name, values):
    del file[name]
    file[name] = values


def test_a_changed_box_is_found(five):
    done(extract("f.h5"))
    with h5py.File("f.h5", "r+", locking=False) as file:
        file["box"][2, 3] = np.nan
    assert check("f.h5") == ["'box' holds NaN or infinite values", "'box' does not match its checksum"]
    with h5py.File("f.h5", "r+", locking=False) as file:
        file["box"][2] = [60, 30, 59, 110]
    text = "'box' holds boxes whose corners are not in order: x1, y1, x2, y2"
    assert check("f.h5") == [text, "'box' does not match its checksum"]


# searched with, and scored


def test_search_tells_queries_by_their_ids(five):
    write(five, HEADER + ",id", "a,10,20,90,100,second", "a,60,30,150,110,first", "d,0,0,120,90,third")
    done(call("extract", "photos", "-m", "hog", "-o", "v.h5", "-j1"))
    done(call("index", "v.h5", "-o", "i.h5", "-j1"))
    done(extract("q.h5", "-m", "hog"))
    printed = done(call("search", "i.h5", "q.h5", "-k", 2, "--keep-self", "--format", "tsv"))
    assert [line.split("\t")[0] for line in printed.lines[1:]] == ["first", "first", "second", "second", "third", "third"]
    trec = done(call("search", "i.h5", "q.h5", "-k", 1, "--format", "trec"))
    assert [line.split()[0] for line in trec.lines] == ["first", "second", "third"]
    lines = done(call("search", "i.h5", "q.h5", "-k", 1, "--json")).lines
    assert [json.loads(line)["query"] for line in lines] == ["first", "second", "third"]
    done(call("search", "i.h5", "q.h5", "-o", "r.h5"))
    with Store("r.h5") as store:
        assert list(store.texts("query_ids")) == [b"first", b"second", b"third"]
        assert list(store.texts("query_names")) == [b"a.png", b"a.png", b"d.png"]
    # a photo that asks with all of it is its own id, as ever
    done(call("search", "i.h5", "photos/a.png", "-o", "p.h5"))
    with Store("p.h5") as store:
        assert list(store.texts("query_ids")) == list(store.texts("query_names")) == [b"photos/a.png"]


def test_a_box_asks_as_the_photo_of_it_does(five):
    write(five, HEADER, "c,40,20,150,110")
    Image.open("photos/c.png").crop((40, 20, 150, 110)).save("c.png")
    done(call("extract", "photos", "-m", "hog", "-o", "v.h5", "-j1"))
    done(call("index", "v.h5", "-o", "i.h5", "-j1"))
    done(extract("q.h5", "-m", "hog"))
    boxed, alone = (
        done(call("search", "i.h5", query, "-k", "all", "--keep-self", "--format", "tsv")).lines[1:] for query in ("q.h5", "c.png")
    )
    assert len(boxed) == 5
    assert [line.split("\t")[1:4] for line in boxed] == [line.split("\t")[1:4] for line in alone]


def test_oxford_protocol_end_to_end(data, here):
    """Photos of landmarks asked for by boxes, in a ground truth as Oxford's; VLAD's queries are local features in the box, encoded."""
    images, groups = data / "photos" / "smvs_landmarks" / "images", {}
    with open(data / "photos" / "smvs_landmarks" / "groundtruth.csv", newline="") as file:
        for row in csv.DictReader(file):
            groups.setdefault(row["group"], {})[row["role"]] = os.path.splitext(row["image"])[0]
    groups = dict(sorted(groups.items())[:16])
    truth = {}
    for number, (group, photos) in enumerate(groups.items()):
        size = Image.open(images / f"{photos['query']}.jpg").size
        left, top, width, height = size[0] * 0.1, size[1] * 0.05 + number, size[0] * 0.75, size[1] * 0.8
        for part, shift in ((1, 0), (2, 0.1 * size[0])):  # the query stays in its list: its photo is a positive too
            box = [round(value, 1) for value in (left + shift, top, left + shift + width, top + height)]
            truth[f"{group}_{part}"] = (photos["query"], box, [photos["query"], photos["gallery"]])
    oxford("gt", truth)
    os.mkdir("photos")
    for photos in groups.values():
        for name in photos.values():
            shutil.copy(images / f"{name}.jpg", "photos")
    done(call("extract", "photos", "-o", "f.h5", "-j2"))
    done(call("codebook", "f.h5", "--size", 16, "-o", "words.h5"))
    done(call("encode", "f.h5", "-c", "words.h5", "-o", "v.h5"))
    done(call("index", "v.h5", "-o", "i.h5"))
    result = done(call("extract", "photos", "--boxes", "gt", "-o", "q.h5", "-j2"))
    assert result.err.splitlines() == ["imgret: 16 of 32 photos have no box and are left out", "imgret: q.h5: 32 boxes described"]
    done(call("encode", "q.h5", "-c", "words.h5", "-o", "qv.h5"))
    done(call("search", "i.h5", "qv.h5", "-o", "r.h5"))
    done(call("search", "i.h5", "q.h5", "-o", "r2.h5"))
    same_lists("r.h5", "r2.h5")
    result = done(call("evaluate", "r.h5", "--protocol", "oxford5k", "--truth", "gt", "--per-query", "lines.jsonl"))
    answer = dict(line.split("\t")[:2] for line in result.lines)
    assert answer["queries"] == "32"
    with open("lines.jsonl") as file:
        lines = {record["query"]: record for record in map(json.loads, file)}
    assert sorted(lines) == sorted(truth)
    mean = 0
    with Store("r.h5") as store:
        assert list(store.texts("query_ids")) == sorted(label.encode() for label in truth)
        names = list(store.texts("names"))
        for label, photo_name, ids in zip(store.text_list("query_ids"), store.text_list("query_names"), store.read("ids"), strict=True):
            query, _, positives = truth[label]
            assert photo_name == query + ".jpg"
            ranks = sorted(list(ids).index(names.index(f"{name}.jpg".encode())) + 1 for name in positives)
            # the official program's trapezoids, for two positives of which nothing is junk
            recall, precision, ap = 0, 1, 0
            for hit, rank in enumerate(ranks, 1):
                for at in range(ranks[hit - 2] + 1 if hit > 1 else 1, rank + 1):
                    now_recall, now_precision = (hit if at == rank else hit - 1) / 2, (hit if at == rank else hit - 1) / at
                    ap += (now_recall - recall) * (precision + now_precision) / 2
                    recall, precision = now_recall, now_precision
            assert lines[label]["ap"] == pytest.approx(ap, abs=1e-9)
            mean += ap / 32
    assert float(answer["map"]) == pytest.approx(mean, abs=1e-6)
    assert mean > 0.5  # each query finds at least its own photo, nearly always first


def same_lists(first, second):
    with Store(first) as a, Store(second) as b:
        assert np.array_equal(a.read("ids"), b.read("ids"))
        assert np.allclose(a.read("scores"), b.read("scores"), atol=2e-6)
        for name in ("query_ids", "query_names"):
            assert a.texts(name) == b.texts(name)


def test_help_says_what_boxes_are():
    text = re.sub(r"\s+", " ", done(call("extract", "--help")).out.decode())
    assert "--boxes PATH Describe regions of photos, a row each, to ask with." in text


def test_a_box_that_failed_is_looked_at_again_where_its_photo_is_another(here):
    """Two photos of one name, size and time: the box lies outside the first."""
    for folder, size in (("one", (20, 40)), ("two", (40, 20))):
        os.mkdir(folder)
        for name in "xy":
            Image.fromarray(texture(0, *size)).save(f"{folder}/{name}.bmp")
            os.utime(f"{folder}/{name}.bmp", ns=(10**18, 10**18))
    assert os.path.getsize("one/x.bmp") == os.path.getsize("two/x.bmp")
    write("boxes.csv", HEADER, "x.bmp,30,0,39,15", "y.bmp,0,0,15,15")
    options = ("-m", "hsv-hist", "--max-failed", "1")
    done(extract("v.h5", *options, photos="one"))
    assert {name: code for name, (code, _) in failures("v.h5").items()} == {"x.bmp": "box-outside"}
    assert done(extract("v.h5", *options, photos="one")).err.splitlines()[-1] == "imgret: v.h5 is up to date (2 boxes)"
    done(extract("v.h5", *options, photos="two"))
    done(extract("fresh.h5", *options, photos="two"))
    assert failures("v.h5") == failures("fresh.h5") == {}


# units


def test_boxes_that_can_only_be_fractions_are_told_of(five):
    write("f.csv", HEADER, "a.png,0.1,0,0.5,1", "b.png,0,0.25,1,0.75")
    said = extract("f.h5", boxes="f.csv").err.splitlines()
    warning = "all boxes in f.csv lie within 0 and 1, and are taken for pixels: if they are fractions, give --box-units fraction"
    assert said[0] == f"imgret: warning: {warning}"
    assert "fraction" not in done(extract("p.h5")).err
    assert "box_units" not in describe("p.h5")["params"]


@pytest.mark.parametrize("method", ["rootsift", "hog"])
def test_fractions_are_what_the_same_pixels_are(five, method):
    """Of photos of two sizes, one of them on its side."""
    photo("photos/b.png", 7, width=200, height=80)
    Image.open("photos/c.png").save("photos/c.jpg", exif=sideways(), quality=95)
    write("p.csv", HEADER, "a.png,40,0,120,90", "b.png,50,0,150,60", "c.jpg,30,0,90,120")
    write("f.csv", HEADER, "a.png,0.25,0,0.75,0.75", "b.png,0.25,0,0.75,0.75", "c.jpg,0.25,0,0.75,0.75")
    done(extract("p.h5", "-m", method, boxes="p.csv"))
    assert "warning" not in done(extract("f.h5", "-m", method, "--box-units", "fraction", boxes="f.csv")).err
    with Store("p.h5") as pixels, Store("f.h5") as fractions:
        for name in pixels.column_names():
            assert np.array_equal(pixels.read(name), fractions.read(name)), name
    assert describe("f.h5")["params"]["box_units"] == "fraction"
    assert "is up to date" in done(extract("f.h5", "-m", method, "--box-units", "fraction", boxes="f.csv")).err
    text = "f.h5 was made with other parameters (box_units: fraction there, "
    result = extract("f.h5", "-m", method, boxes="f.csv")
    assert (result.code, result.err.splitlines()[-1][: len(text) + 15]) == (1, f"imgret: error: {text}")


def sideways():
    """EXIF that turns a photo by a quarter."""
    exif = Image.Exif()
    exif[ORIENTATION] = 6
    return exif


def test_units_that_cannot_be_right(five):
    text = (
        "boxes.csv: the box 'a.png' has a corner at 100, while fractions are from 0 to 1: leave --box-units out where boxes are in pixels"
    )
    refused(extract("f.h5", "--box-units", "fraction"), 1, text)
    refused(call("extract", "photos", "-o", "f.h5", "--box-units", "fraction"), 2, "--box-units is for --boxes")
    assert clip_box(Fractions((0, 0.5, 1.5, 1)), (100, 80)) == (0, 40, 100, 80)


def test_a_ground_truth_of_fractions_is_told_of(tmp_path):
    truth = {"imlist": ["a", "b"], "qimlist": ["q"], "gnd": [{"bbx": [0.1, 0, 0.9, 1], "easy": [0], "hard": [], "junk": []}]}
    path = tmp_path / "t.json"
    path.write_text(json.dumps(truth))
    lists = RankedLists("run", [b"q"], [b"q"], [b"a", b"b"], np.array([[0, 1]]))
    said = registry.load(PROTOCOLS, "roxford5k", "protocol")().evaluate(lists, path).warnings
    assert any(text.startswith("all boxes of the ground truth lie within 0 and 1: are they fractions?") for text in said)
