"""Which photos match, as any form of truth says it, and what is said of a truth that says nothing."""

import os

import numpy as np
import pytest
from helpers import call, photo

from imgret.errors import ImgretError, UsageError
from imgret.inputs.truths import HEADERS, Truth, check_apart, check_use, truth_of
from imgret.relations import NO_CLASS

NAMES = [b"a1.png", b"a2.png", b"b1.png", b"b2.png", b"c.png"]


def written(folder, text, name="truth.csv"):
    """The path of a file with this text."""
    path = folder / name
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return str(path)


def matching(relations):
    """Photos that match each."""
    return [relations.positives(photo).tolist() for photo in range(relations.count)]


def said(call, *arguments):
    """The sentence that a call is refused with."""
    with pytest.raises(ImgretError) as caught:
        call(*arguments)
    return str(caught.value)


def test_without_a_truth_a_photo_matches_its_own_views():
    truth = truth_of(None)
    relations, groups, notes = truth.relations(NAMES)
    assert (truth, truth.protocol, truth.entry()) == (Truth(), None, [])
    assert (matching(relations), groups, notes) == ([[]] * 5, [()] * 5, [])
    assert relations.anchors().tolist() == [0, 1, 2, 3, 4]


def test_groups(tmp_path):
    path = written(tmp_path, "image,group,role\na1.png,A,query\na2.png,A;B,gallery\nb1.png,B,distractor\nb2.png,,gallery\nz.png,A,query\n")
    truth = truth_of(path)
    assert (truth.form, truth.protocol) == ("groups", "groups")
    (entry,) = truth.entry()
    assert (entry["path"], entry["kind"], len(entry["content"])) == (path, "truth", 64)
    relations, groups, notes = truth.relations(NAMES)
    assert matching(relations) == [[1], [0, 2], [1], [], []]
    assert groups == [(b"A",), (b"A", b"B"), (b"B",), (), ()]
    assert relations.classes is None  # one photo is of two
    assert notes == [
        f"{path} does not name 1 photo to train on: it is in no group, and matches nothing",
        f"1 photo of {path} is not among those to train on",
    ]
    path = written(tmp_path, "image,group\na1.png,A\na2.png,A\ny.png,B\nz.png,B\n")
    relations, _, notes = truth_of(path).relations(NAMES)
    assert relations.classes.tolist() == [0, 0, NO_CLASS, NO_CLASS, NO_CLASS]
    assert notes == [
        f"{path} does not name 3 photos to train on: they are in no group, and match nothing",
        f"2 photos of {path} are not among those to train on",
    ]


@pytest.mark.parametrize(
    ("header", "form"),
    [
        ("image,group", "groups"),
        ("\ufeffimage,group", "groups"),
        ('"image","group"', "groups"),
        ("group,role,image", "groups"),
        ("query,reference", "pairs"),
        ("query_id,reference_id", "pairs"),
        ("reference,query", "pairs"),
        ("image,east,north", "places"),
        ("image,utm_east,utm_north,zone", "places"),
        ("zone,north,east,image", "places"),
    ],
)
def test_a_header_says_which_form_it_is(tmp_path, header, form):
    for end in ("\n", "\r\n"):
        assert truth_of(written(tmp_path, header + end)) == Truth(form, str(tmp_path / "truth.csv"))


def test_text_of_another_encoding(tmp_path):
    path = written(tmp_path, "image,group\r\na1.png,A\r\na2.png,A\r\n".encode("utf-16"))
    assert matching(truth_of(path).relations(NAMES)[0])[:2] == [[1], [0]]


@pytest.mark.parametrize("text", ["", "\n", "photo,label\n", "image\n", "a1.png,A\n", "image;group\n", "\0\0\0"])
def test_another_header_is_refused(tmp_path, text):
    path = written(tmp_path, text)
    assert said(truth_of, path) == f"--truth {path}: the first line must be the header {HEADERS}"


def test_what_is_no_file(tmp_path):
    path = tmp_path / "no.csv"
    end = f"it is a CSV with the header {HEADERS}, a ranking, or one of folders, names"
    assert said(truth_of, str(path)) == f"--truth {path}: there is no such file; {end}"
    assert said(truth_of, "folder", "--validate-truth") == f"--validate-truth folder: there is no such file; {end}"
    assert said(truth_of, str(tmp_path)) == f"--truth {tmp_path} is a folder: give a file, or the word folders where names say it"
    os.mkfifo(path)
    assert said(truth_of, str(path)) == f"--truth {path} is no regular file: it is read more than once, so give a file"
    folder = tmp_path / "folders"
    folder.mkdir()
    previous = os.getcwd()
    os.chdir(tmp_path)
    try:
        assert truth_of("folders") == Truth("folders")  # a folder of that name is no file to read
    finally:
        os.chdir(previous)
    if os.getuid():
        locked = written(tmp_path, "image,group\n", "locked.csv")
        os.chmod(locked, 0)
        assert said(truth_of, locked) == f"{locked} cannot be read: Permission denied"


def test_folders():
    truth = truth_of("folders")
    relations, groups, notes = truth.relations([b"x/1.png", b"x/2.png", b"y/1.png", b"y/z/1.png", b"top.png"])
    assert (truth.protocol, truth.entry(), notes) == ("folders", [], [])
    assert matching(relations)[:2] == [[1], [0]]
    assert (groups[0], groups[4]) == ((b"x",), ())
    assert relations.classes[4] == NO_CLASS
    assert said(truth.relations, NAMES) == (
        "no photo has a folder in its name, for example 'a1.png': give --truth a file, or the folder above"
    )


def test_pairs(tmp_path):
    path = written(tmp_path, "query,reference\na1.png,a2.png\nb1,b2\nz.png,c.png\nc.png,\n")
    truth = truth_of(path)
    relations, groups, notes = truth.relations(NAMES)
    assert (truth.protocol, groups, notes) == ("pairs", [()] * 5, [])
    assert matching(relations) == [[1], [0], [3], [2], []]
    # a short name that two photos have is of neither
    assert matching(truth.relations([b"p/b1.png", b"q/b1.png", b"b2.png", b"a1.png", b"a2.png"])[0]) == [[], [], [], [4], [3]]
    assert said(truth.relations, [b"u.png", b"v.png"]) == (
        f"no photo to train on matches another photo by {path}: it names 'a1.png', the photos are named as 'u.png'; give --root, or name "
        "the folder above"
    )


def test_places(tmp_path):
    lines = ["image,east,north,zone", "a1.png,1000,0,32", "a2.png,1008,0,32", "b1.png,1030,0,32", "b2.png,1000,0,33", "z.png,9,9,9"]
    truth = truth_of(written(tmp_path, "\n".join(lines)))
    relations, groups, notes = truth.relations(NAMES)
    assert (truth.protocol, groups, notes) == ("places", [()] * 5, ["1 photo without a position matches nothing"])
    assert matching(relations) == [[1], [0], [], [], []]
    assert [relations.never(photo).tolist() for photo in range(5)] == [[0, 1], [0, 1, 2], [1, 2], [3], [4]]
    assert relations.anchors().tolist() == [0, 1]
    clusters = relations.clusters
    assert clusters[0] == clusters[1]
    assert len({*clusters.tolist()}) == 4
    assert matching(truth.relations(NAMES, near=40.0, far=50.0)[0]) == [[1, 2], [0, 2], [0, 1], [], []]


def test_positions_in_names():
    names = [b"@0@0@.png", b"@5@0@.png", b"@5000@0@.png", b"x.png", b"y.png"]
    relations, _, notes = truth_of("names").relations(names)
    assert matching(relations) == [[1], [0], [], [], []]
    assert notes == ["2 photos without a position match nothing"]
    assert truth_of("names").relations(names[:2])[2] == ["all positions are within 180: are they degrees? Metres are needed"]
    assert said(truth_of("names").relations, NAMES) == (
        "no photo has a position in its name (@east@north@), for example 'a1.png': give --truth a CSV"
    )


def test_places_of_other_photos(tmp_path):
    path = written(tmp_path, "image,east,north\nq.png,1,2\n")
    assert said(truth_of(path).relations, NAMES) == (
        f"no photo to train on has a position in {path}: it names 'q.png', the photos are named as 'a1.png'; give --root, or name the "
        "folder above"
    )


def test_groups_of_other_photos(tmp_path):
    path = written(tmp_path, "image,group\nsub/a1.png,A\n")
    assert said(truth_of(path).relations, NAMES) == (
        f"no photo to train on is named by {path}: it names 'sub/a1.png', the photos are named as 'a1.png'; give --root, or name the "
        "folder above"
    )


@pytest.fixture(scope="module")
def rankings(tmp_path_factory):
    """Stores of rankings of five photos, two of which show one thing: searched, and verified."""
    folder = tmp_path_factory.mktemp("rankings")
    os.makedirs(folder / "p")
    for number in range(4):
        photo(folder / "p" / f"{number}.png", number, width=200, height=160)
    (folder / "p" / "same.jpg").write_bytes(photo_as_jpeg(folder / "p" / "0.png"))
    steps = [
        ("extract", folder / "p", "-o", folder / "s.h5", "-m", "sift"),
        ("codebook", folder / "s.h5", "-o", folder / "k.h5", "-m", "kmeans", "--size", 16),
        ("encode", folder / "s.h5", "-c", folder / "k.h5", "-o", folder / "v.h5", "-m", "vlad"),
        ("index", folder / "v.h5", "-o", folder / "i.h5", "-m", "flat"),
        ("search", folder / "i.h5", folder / "v.h5", "-k", 5, "-o", folder / "searched.h5"),
        ("rerank", folder / "searched.h5", "-m", "spatial", "--features", folder / "s.h5", "-o", folder / "verified.h5"),
    ]
    for step in steps:
        done = call(*step)
        assert done.code == 0, (step, done.err)
    return folder


def photo_as_jpeg(path):
    """The bytes of another file of the same photo."""
    from helpers import encoded
    from PIL import Image

    return encoded(Image.open(path), "JPEG", quality=80)


def test_verified_rankings_are_pairs(rankings):
    truth = truth_of(str(rankings / "verified.h5"))
    assert (truth.form, truth.protocol) == ("matches", None)
    (entry,) = truth.entry()
    assert (entry["path"], entry["kind"]) == (str(rankings / "verified.h5"), "ranking")
    relations, groups, notes = truth.relations([b"0.png", b"1.png", b"2.png", b"3.png", b"same.jpg"])
    assert (matching(relations), groups, notes) == ([[4], [], [], [], [0]], [()] * 5, [])
    assert said(check_use, truth) == "no protocol evaluates by a ranking: give --validate-truth a CSV, folders or names"
    assert "no photo to train on matches another photo by" in said(truth.relations, [b"x.png", b"y.png"])


def test_other_stores_are_no_truth(rankings):
    path = rankings / "searched.h5"
    assert said(truth_of(str(path)).relations, NAMES) == (
        f"{path} has no evidence of which photos match: make it by `imgret rerank -m spatial`, and give that"
    )
    assert str(rankings / "v.h5") in said(truth_of(str(rankings / "v.h5")).relations, NAMES)


def test_what_no_protocol_reads():
    with pytest.raises(UsageError, match="no protocol evaluates by nothing: give --validate-truth a CSV, folders or names"):
        check_use(Truth())


def test_sides_share_nothing():
    digests = np.arange(4 * 32, dtype=np.uint8).reshape(4, 32)
    training = (digests[:2], [b"a", b"b"], [(b"A",), (b"B",)])
    check_apart(training, (digests[2:], [b"a", b"d"], [(), (b"C",)]))
    assert said(check_apart, training, (digests[1:3], [b"e", b"f"], [(), ()])) == (
        "1 photo to validate by is among those to train on, for example 'e': a score counts on photos that training never saw; leave them "
        "out of one of both"
    )
    assert said(check_apart, training, (digests[2:], [b"e", b"f"], [(b"B", b"C"), (b"A",)])) == (
        "2 groups to validate by are among those to train on, for example 'A': a score counts on groups that training never saw; leave "
        "them out of one of both, or name them differently"
    )
