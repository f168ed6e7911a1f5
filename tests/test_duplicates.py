"""`imgret duplicates`: copies by digest, by vectors, by local features; groups, forms, what is refused."""

import csv
import io
import json
import os
import shutil
import types

import cv2
import numpy as np
import pytest
from helpers import call, encoded, misused, refused, resign, run, texture
from PIL import Image

from imgret import images
from imgret.duplicates import candidates, exact, geometry, grouping
from imgret.extractors.dense import DenseSift
from imgret.extractors.sift import RootSift, Sift

ODD = b'it\'s a "copy"\n\xff.png'  # quotes, a space, a newline, a byte that is no UTF-8


def picture(seed):
    """A picture of 360 x 270 pixels with some hundred keypoints."""
    pieces = [[texture(16 * seed + 4 * row + column, 90, 90) for column in range(4)] for row in range(3)]
    return np.block(pieces)


def changed(picture):
    """Copies of a picture: by name, with the kind that each is, and what it takes to see it."""
    image = Image.fromarray(picture)
    half = [side // 2 for side in image.size]
    return {
        "b-resized.png": ("resized", image.resize(half, Image.Resampling.LANCZOS)),
        "b-cropped.png": ("cropped", image.crop((30, 20, 330, 250))),
        "b-turned.png": ("rotated", image.transpose(Image.Transpose.ROTATE_90)),
        "b-mirrored.png": ("mirrored", image.transpose(Image.Transpose.FLIP_LEFT_RIGHT)),
        "b-both.png": ("mirrored+resized", image.transpose(Image.Transpose.FLIP_LEFT_RIGHT).resize(half, Image.Resampling.LANCZOS)),
    }


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """Twelve photos, copies of one of them, features and vectors of them all."""
    here = tmp_path_factory.mktemp("copies")
    folder = here / "photos"
    folder.mkdir()
    for seed in range(12):
        (folder / f"a{seed:02d}.png").write_bytes(encoded(picture(seed)))
    for name, (_, copy) in changed(picture(3)).items():
        (folder / name).write_bytes(encoded(copy))
    (folder / "b-edited.jpg").write_bytes(encoded(picture(3), "JPEG", quality=60))
    y, x = np.mgrid[:270, :360].astype(np.float32)
    again = cv2.remap(picture(5), x + 5 * ((x - 180) / 180) ** 2, y + 5 * ((y - 135) / 135) * (x - 180) / 180, cv2.INTER_CUBIC)
    (folder / "a05-again.png").write_bytes(encoded(again))
    for name in (b"b-same.png", ODD):
        shutil.copy(folder / "a03.png", os.path.join(os.fsencode(folder), name))
    os.utime(os.path.join(os.fsencode(folder), ODD), ns=(10**18, 10**18))  # the oldest
    found = types.SimpleNamespace(photos=folder, features=here / "f.h5", vectors=here / "v.h5", index=here / "i.h5", folder=here)
    for command in (
        ("extract", folder, "-o", found.features),
        ("codebook", found.features, "--size", 8, "-o", here / "c.h5"),
        ("encode", found.features, "-c", here / "c.h5", "-o", found.vectors),
        ("index", found.vectors, "-m", "flat", "-o", found.index),
    ):
        assert call(*command, "-q", "-j", 1).code == 0
    return found


@pytest.fixture(scope="module")
def told(made):
    """The answer with features, as JSON."""
    result = call("duplicates", made.vectors, "--features", made.features, "--photos", made.photos, "--json", "-j", 1)
    assert (result.code, result.err) == (0, "imgret: 8 copies of 1 photo among 21: 0.2 MB\n")
    return json.loads(result.out)


# the algorithms


@pytest.mark.parametrize("extractor", [Sift(Sift.Params()), RootSift(RootSift.Params(upright=True))])
def test_descriptors_of_a_mirror_image_are_those_of_the_photo_in_another_order(extractor):
    pixels = picture(1)
    photo, mirrored = (extractor.extract(images.Photo(each, (360, 270))) for each in (pixels, np.ascontiguousarray(pixels[:, ::-1])))
    x, y, scale = photo.keypoints[:, :3].T
    angle = np.nan_to_num(180 - photo.keypoints[:, 3]) % 360
    there = np.nan_to_num(mirrored.keypoints[:, 3])
    cosines = []
    for place, descriptor in zip(np.stack([359 - x, y, scale, angle]).T, extractor.mirrored(photo.stored), strict=True):
        off = np.abs(mirrored.keypoints[:, :3] - place[:3]).sum(axis=1) + np.abs((there - place[3] + 180) % 360 - 180) / 10
        if off.min() < 0.5:
            pair = np.stack([descriptor, mirrored.stored[off.argmin()]]).astype(float)
            cosines.append(pair[0] @ pair[1] / np.linalg.norm(pair[0]) / np.linalg.norm(pair[1]))
    assert len(cosines) > 0.6 * len(photo) > 100
    assert np.median(cosines) > 0.999


def test_mirroring_twice_gives_the_descriptors_back():
    stored = np.random.default_rng(0).integers(0, 256, (5, 128)).astype(np.uint8)
    for extractor in (Sift(Sift.Params()), DenseSift(DenseSift.Params())):
        assert np.array_equal(extractor.mirrored(extractor.mirrored(stored)), stored)
        assert not np.array_equal(extractor.mirrored(stored), stored)


def test_equal_digests_are_found_among_those_that_begin_alike():
    digests = np.random.default_rng(0).integers(1, 256, (10, 32)).astype(np.uint8)
    digests[7] = digests[4] = digests[2]
    digests[5, :8] = digests[2, :8]
    digests[8] = digests[9] = 0  # of what was imported nothing is known
    asked = []

    def whole(rows):
        asked.extend(rows.tolist())
        return digests[rows]

    assert exact.copies(digests[:, :8].copy().view(np.uint64)[:, 0], whole).tolist() == [0, 1, 2, 3, 2, 5, 6, 2, 8, 9]
    assert asked == [2, 4, 5, 7, 8, 9]


@pytest.mark.parametrize("jobs", [1, 2])
def test_the_nearest_are_those_of_the_whole_matrix(monkeypatch, jobs):
    monkeypatch.setattr(candidates, "OUTER", 4 * 8 * 150)
    monkeypatch.setattr(candidates, "INNER", 4 * 8 * 70)
    x = np.random.default_rng(0).normal(size=(400, 8)).astype(np.float32)
    x /= np.linalg.norm(x, axis=1)[:, None]
    x[30] = x[2]
    skipped = np.arange(400) == 77
    whole = x @ x.T
    np.fill_diagonal(whole, -9)
    whole[:, skipped] = -9
    scores, rows = candidates.nearest(lambda start, stop: x[start:stop], 400, k=5, skipped=skipped, jobs=jobs)
    wanted = np.argsort(-whole, axis=1, kind="stable")[:, :5]
    assert np.array_equal(rows[~skipped], wanted[~skipped])
    assert np.allclose(scores[~skipped], np.take_along_axis(whole, wanted, 1)[~skipped], atol=1e-6)
    assert (rows[77] == -1).all()
    first, second, score = candidates.pairs(scores, rows, 0, 1)
    assert len({tuple(sorted(pair)) for pair in zip(first.tolist(), second.tolist(), strict=True)}) == len(first)
    assert np.allclose(score, whole[first, second], atol=1e-6)


def test_chance_lets_few_random_pairs_through():
    x = np.random.default_rng(0).normal(size=(2000, 64)).astype(np.float32)
    x /= np.linalg.norm(x, axis=1)[:, None]
    chance = candidates.Chance.learned(lambda start, stop: x[start:stop], len(x))
    first, second = np.triu_indices(len(x), 1)
    standing = chance.standing(first, second, (x @ x.T)[first, second])
    assert 20 < (standing >= chance.reached(100)).sum() < 400
    assert standing.max() < chance.reached(0.01)


def test_the_largest_is_kept_then_the_larger_file_the_oldest_the_first_name():
    sizes = np.array([[10, 10], [20, 20], [10, 40], [20, 20], [20, 20], [20, 20]])
    order = grouping.preference(sizes, np.array([9, 5, 6, 6, 5, 5]), np.array([0, 3, 1, 2, 2, 2]))
    assert order.tolist() == [2, 3, 4, 5, 1, 0]


def test_a_group_is_what_matches_the_photo_that_is_kept():
    first, second = np.array([0, 1, 2, 4]), np.array([1, 2, 3, 5])  # a chain 0 1 2 3, and a pair
    assert grouping.kept_ones(np.array([1, 3, 5, 4, 2, 0]), 6, first, second).tolist() == [1, 1, 1, 3, 5, 5]
    joins = {(0, 0, 1), (0, 1, 2), (4, 4, 5)}
    kept = grouping.kept_ones(np.arange(6), 6, first, second, lambda keep, member, other, pair: (keep, member, other) in joins)
    assert kept.tolist() == [0, 0, 0, 3, 4, 4]


def places(xy, seed=0, size=(640, 480), turn=0.0, scale=1.0):
    rng = np.random.default_rng(seed)
    descriptors = rng.normal(size=(len(xy), 32)).astype(np.float32)
    return geometry.Places(
        xy, np.full(len(xy), 2.0 * scale), np.full(len(xy), 30.0 + turn), descriptors / np.linalg.norm(descriptors, axis=1)[:, None], size
    )


def test_a_similarity_is_told_from_a_bent_scene():
    rng = np.random.default_rng(1)
    xy = rng.uniform(0, 1, (120, 2)) * (640, 480)
    matrix = cv2.getRotationMatrix2D((100, 50), -20, 0.7)
    first, there = places(xy), geometry.moved(matrix, xy)
    fit = geometry.fitted(first, places(there + rng.normal(size=there.shape) * 0.2, turn=20, scale=0.7))
    assert fit.copy
    assert np.allclose(fit.matrix, matrix, atol=0.3)
    assert np.allclose(geometry.scale_and_turn(fit.matrix), (0.7, 20), atol=0.2)
    bent = there + 4 * np.stack([((xy[:, 0] - 320) / 320) ** 2, np.zeros(len(xy))], axis=1)
    fit = geometry.fitted(first, places(bent, turn=20, scale=0.7))
    assert not fit.copy
    assert fit.warp > 1
    assert geometry.fitted(first, places(xy, seed=5)) is None  # no descriptors in common


def test_what_was_done_is_read_off_the_map():
    size, kept = (300, 200), (600, 400)
    assert geometry.changes(np.array([[2.0, 0, 0.5], [0, 2, 0.5]]), size, kept) == ["resized"]
    assert geometry.changes(np.array([[1.0, 0, 20], [0, 1, 30]]), size, kept) == ["cropped"]
    assert geometry.changes(np.eye(2, 3), kept, kept) == []
    assert geometry.changes(geometry.mirror(kept), kept, kept) == ["mirrored"]
    assert geometry.changes(np.array([[0.0, 1, 0], [-1, 0, 399]]), (400, 600), kept) == ["rotated"]


# the command


def test_every_kind_of_copy_is_found_in_one_group(made, told):
    (group,) = told["groups"]
    assert told["photos"] == 21
    assert os.fsencode(group["keep"]["name"]) == ODD  # as large as others, and the oldest
    kinds = {photo["name"]: photo["kind"] for photo in group["copies"]}
    wanted = {name: kind for name, (kind, _) in changed(picture(3)).items()}
    assert kinds == wanted | {"a03.png": "exact", "b-same.png": "exact", "b-edited.jpg": "edited"}
    assert [photo["kind"] for photo in group["copies"][:2]] == ["exact", "exact"]
    scale = {photo["name"]: photo["map"][0][0] for photo in group["copies"]}
    assert abs(scale["b-resized.png"] - 2) < 0.02
    assert all(os.path.isfile(photo["path"]) for photo in group["copies"])


def test_the_same_view_taken_again_is_told_where_it_is_asked_for(made):
    more = ("--features", made.features, "--format", "jsonl", "-q")
    groups = [json.loads(line) for line in call("duplicates", made.vectors, *more, "--burst").lines]
    (first, again), _ = ((group["keep"], *group["copies"]) if group["keep"]["name"].startswith("a05") else (0, 0) for group in groups)
    assert {first["name"], again["name"]} == {"a05.png", "a05-again.png"}
    assert again["kind"] == "burst"


def test_the_answer_is_the_same_for_any_jobs_and_by_the_index(made, told):
    more = ("--features", made.features, "--photos", made.photos, "--json", "-q")
    assert json.loads(call("duplicates", made.vectors, *more, "-j", 3).out) == told
    by_index = json.loads(call("duplicates", made.index, *more, "--by", "index").out)
    (group,), (same,) = by_index["groups"], told["groups"]
    assert [(photo["name"], photo["kind"]) for photo in group["copies"]] == [(photo["name"], photo["kind"]) for photo in same["copies"]]
    assert np.allclose([photo["score"] for photo in group["copies"]], [photo["score"] for photo in same["copies"]], atol=2e-6)


def test_the_forms_say_the_same(made):
    ask = ("duplicates", made.features, "--exact")
    rows = list(csv.reader(io.StringIO(call(*ask).out.decode("utf-8", "surrogateescape")), delimiter="\t"))
    assert rows[0] == ["group", "role", "width", "height", "bytes", "modified", "kind", "score", "path"]
    size = str(os.path.getsize(made.photos / "a03.png"))
    assert rows[1] == ["1", "keep", "360", "270", size, "2001-09-09 01:46:40", "keep", "1", 'it\'s a "copy"\\n\udcff.png']
    assert [row[-1] for row in rows[2:]] == ["a03.png", "b-same.png"]
    table = call(*ask, "--format", "table").lines
    assert table[0].split()[:5] == ["1", "keep", "360x270", size, "2001-09-09"]
    (line,) = call(*ask, "--format", "jsonl").lines
    assert json.loads(line)["copies"][1]["name"] == "b-same.png"
    assert call(*ask, "--format", "paths").out == b"a03.png\nb-same.png\n"
    assert call(*ask, "--format", "paths0").out == b"a03.png\0b-same.png\0"


def test_paths_leave_out_what_is_in_doubt(made, tmp_path):
    photos, store = tmp_path / "photos", tmp_path / "f.h5"
    photos.mkdir()
    for name in ("a.png", "b.png", "c\nd.png", "e.png"):
        shutil.copy2(made.photos / "a03.png", photos / name)
    os.symlink("a.png", photos / "f.png")
    assert call("extract", photos, "-m", "hsv-hist", "-o", store, "-q").code == 0
    ask = ("duplicates", store, "--exact", "--photos", photos, "--format")
    (photos / "b.png").touch()
    result = call(*ask, "paths")
    assert (result.code, result.out) == (0, os.fsencode(photos / "e.png") + b"\n")
    left = [line.removeprefix("imgret: warning: 1 copy is left out: ") for line in result.err.splitlines()]
    assert sorted(left) == [
        "a newline is in the name; take --format paths0",
        "the copy has changed since",
        "they lead to the very file that is to be kept",
    ]
    assert call(*ask, "paths0").out == os.fsencode(photos) + b"/c\nd.png\0" + os.fsencode(photos / "e.png") + b"\0"
    (photos / "a.png").unlink()
    result = call(*ask, "paths0", "-q")
    assert (result.out, result.err) == (b"", "imgret: warning: 4 copies are left out: the photo to keep is no longer there\n")


def test_vectors_without_photos_have_no_exact_copies(tmp_path):
    np.save(tmp_path / "x.npy", np.eye(3, dtype=np.float32)[[0, 0, 1]])
    (tmp_path / "names").write_text("a\nb\nc\n")
    assert call("import", tmp_path / "x.npy", "--names", tmp_path / "names", "-o", tmp_path / "v.h5", "-q").code == 0
    result = call("duplicates", tmp_path / "v.h5", "--exact", "--format", "table")
    assert (result.code, result.out) == (0, b"")
    assert result.err.splitlines() == [
        "imgret: 3 of 3 vectors came without their photos' digests: which of these are exact copies is not known",
        "imgret: 0 copies of 0 photos among 3: 0.0 MB",
    ]
    result = call("duplicates", tmp_path / "v.h5", "-q")
    assert result.err == (
        "imgret: warning: 3 photos are too few to tell by their vectors which are copies (50 at least): only exact copies are told; "
        "give --min-score, or --features\n"
    )
    rows = call("duplicates", tmp_path / "v.h5", "--min-score", "0.9").lines
    assert [row.split("\t")[-3:] for row in rows[1:]] == [["keep", "1", "a"], ["similar", "1", "b"]]


def test_a_page_holds_the_groups(made, tmp_path):
    page = tmp_path / "copies.html"
    ask = ("duplicates", made.vectors, "--features", made.features, "--photos", made.photos, "--html", page, "-q")
    assert call(*ask).code == 0
    text = page.read_text("utf-8")
    assert text.startswith("<!doctype html><!-- imgret report")
    data = json.loads(text.split('id="data">')[1].split("</script>")[0])
    assert data["note"] == "8 copies of 1 photo among 21"
    assert [member["kind"] for member in data["groups"][0]][:2] == ["keep", "exact"]
    assert len(json.loads(text.split('id="thumbnails">')[1].split("</script>")[0])) == 9
    assert call(*ask).code == 0  # a page is replaced


def test_what_is_wrong_is_refused(made, tmp_path):
    folder = os.fspath(made.photos)
    refused(
        call("duplicates", folder),
        1,
        f"{folder} is a folder, and no index yet: `imgret build {folder} -o {folder}.imgret && imgret duplicates {folder}.imgret`",
    )
    refused(
        call("duplicates", made.features),
        1,
        f"{made.features} holds features, which say nothing of copies but exact ones: encode it first, or give --exact",
    )
    words = made.folder / "c.h5"
    refused(call("duplicates", words), 1, f"{words} is a codebook; duplicates needs features or vectors or an index")
    text = "--exact needs nothing but digests: leave --min-score, --features, --burst and --by out"
    refused(call("duplicates", made.vectors, "--exact", "--burst"), 2, text)
    text = f"--by index needs an index, which {made.vectors} is not: give one, or a build's folder"
    refused(call("duplicates", made.vectors, "--by", "index"), 1, text)
    text = "--burst needs features that are found again, such as SIFT: give --features"
    refused(call("duplicates", made.vectors, "--burst"), 1, text)
    text = "--html needs --photos ROOT: the folder that the photos were extracted from"
    refused(call("duplicates", made.vectors, "--html", tmp_path / "p.html"), 2, text)
    misused(call("duplicates", made.vectors, "--most", 3), "--most is for --html")
    text = "Invalid value for '--min-score': `--min-score` must be a number from -1 to 1 or 'auto', got '2'"
    misused(call("duplicates", made.vectors, "--min-score", 2), text)
    assert call("duplicates", made.vectors, "--min-score", "auto", "-q").code == 0


def test_an_index_whose_vectors_are_gone_says_so(made, tmp_path):
    index, vectors = tmp_path / "i.h5", tmp_path / "v.h5"
    shutil.copy(made.vectors, vectors)
    assert call("index", vectors, "-m", "flat", "-o", index, "-q").code == 0
    assert call("duplicates", index, "-q").code == 0
    vectors.unlink()
    text = (
        f"{index} was made of {vectors}, which is no longer there or is another one by now: name the vectors in its place, or give --exact"
    )
    refused(call("duplicates", index), 1, text)
    assert call("duplicates", index, "--exact", "-q").lines[-1].endswith("b-same.png")


def test_rows_of_boxes_are_no_photos(made, tmp_path):
    (tmp_path / "boxes.csv").write_text("image,x1,y1,x2,y2\na00.png,0,0,200,200\n")
    store = tmp_path / "f.h5"
    made_boxes = call("extract", made.photos, "--boxes", tmp_path / "boxes.csv", "-m", "hsv-hist", "-o", store, "-q")
    assert made_boxes.code == 0, made_boxes.err
    refused(call("duplicates", store, "--exact"), 1, f"{store} has a row per box, not per photo: extract the photos without --boxes")


def test_features_that_lie_are_no_traceback(made, tmp_path):
    """Offsets, keypoints that are no numbers, sizes of nothing: signed by somebody who means harm."""
    import h5py

    for column, value in (("offsets", -1), ("keypoints", np.nan), ("image_size", 0), ("file_mtime_ns", 2**62)):
        store = tmp_path / f"{column}.h5"
        shutil.copy(made.features, store)
        with h5py.File(store, "r+") as file:
            file[column][1:-1] = value
        resign(store)
        result = call("duplicates", made.vectors, "--features", store, "-q")
        assert result.code in (0, 1), column
    result = call("duplicates", store, "--exact", "-q")
    assert result.lines[2].split("\t")[5] == "2116-02-20 23:53:38"


def test_a_closed_reader_is_no_error(made):
    assert run("duplicates", made.features, "--exact", "--format", "paths0", "-q").out == b"a03.png\0b-same.png\0"
