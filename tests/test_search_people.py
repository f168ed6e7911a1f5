"""`imgret search` as people and scripts use it: the photo that asks, judgements, what is left out, paths, and what to type next."""

import json
import os
import shutil
from pathlib import Path

import numpy as np
import pytest
from helpers import call, misused, refused, run
from PIL import Image

import imgret
from imgret import builds
from imgret.stages.search import BLOCK_QUERIES

ODD = (b"new\nline.png", b"a 'quoted' \"name\".png", b"\xff.png", b"tab\t.png")


def picture(path, seed, noise=0):
    """Coloured blocks: a photo of its own for each seed."""
    rng, extra = np.random.default_rng(seed), np.random.default_rng(1000 + noise)
    blocks = np.kron(rng.integers(0, 256, (6, 8, 3)), np.ones((5, 5, 1)))
    pixels = (blocks + noise * extra.normal(size=blocks.shape)).clip(0, 255).astype(np.uint8)
    Image.fromarray(pixels).save(os.fsencode(path), "PNG")


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A folder with eighty-one photos, as a build makes it of them: 00.png has a copy, and asks from elsewhere with a little noise.

    Queries are stores of it, of 00.png itself and of 05.png: nothing has to be described.
    """
    folder = tmp_path_factory.mktemp("people")
    (folder / "photos").mkdir()
    for seed in range(76):
        picture(folder / "photos" / f"{seed:02}.png", seed)
    for number, name in enumerate(ODD):
        picture(os.path.join(os.fsencode(folder / "photos"), name), 100 + number)
    shutil.copy(folder / "photos" / "00.png", folder / "photos" / "copy.png")
    picture(folder / "query.png", 0, noise=2)
    out = folder / "built"
    out.mkdir()
    for command in (
        ("extract", folder / "photos", "-m", "hsv-hist", "-o", out / "v.h5", "-j1", "-q"),
        ("extract", folder / "query.png", "--root", folder, "-m", "hsv-hist", "-o", folder / "q.h5", "-j1", "-q"),
        ("extract", folder / "photos" / "00.png", "--root", folder, "-m", "hsv-hist", "-o", folder / "own.h5", "-j1", "-q"),
        ("extract", folder / "photos" / "05.png", "--root", folder, "-m", "hsv-hist", "-o", folder / "five.h5", "-j1", "-q"),
        ("index", out / "v.h5", "-o", out / "i.h5", "-j1", "-q"),
    ):
        result = call(*command)
        assert result.code == 0, result.err
    build = builds.Build(str(out), "mine", str(out / "i.h5"), str(out / "v.h5"), roots=(str(folder / "photos"),))
    (out / builds.MANIFEST).write_bytes(build.manifest())
    return folder


@pytest.fixture
def here(made, monkeypatch):
    monkeypatch.chdir(made)
    return made


def test_a_table_judges_and_marks_the_photo_that_asks(here):
    result = call("search", "built", "own.h5", "-k", "3", "--format", "table")
    assert (result.code, result.err) == (0, "")
    first, *rows = result.lines
    assert first == "photos/00.png"
    assert rows[:2] == ["itself    1.00000            photos/00.png", "itself    1.00000            photos/copy.png"]
    assert [row[:6] for row in rows[2:]] == ["     1", "     2", "     3"]
    assert all(row[19:].startswith("no match  photos/") for row in rows[2:])
    rows = call("search", "built", "q.h5", "-k", "3", "--format", "table").lines[1:]
    assert [row[19:] for row in rows[:2]] == ["sure      photos/00.png", "sure      photos/copy.png"]
    assert rows[2][19:].startswith("no match")


def test_keep_self_ranks_it_like_any_other(here):
    rows = call("search", "built", "own.h5", "-k", "3", "--keep-self", "--format", "table").lines[1:]
    assert [row[:6].strip() for row in rows] == ["1", "2", "3"]
    assert [row[19:] for row in rows[:2]] == ["sure      photos/00.png", "sure      photos/copy.png"]


def test_k_ranks_besides_itself_however_often_it_is_there(here):
    for query in ("own.h5", "five.h5", "built/v.h5"):
        for answer in call("search", "built", query, "-k", "4", "--json").lines:
            results = json.loads(answer)["results"]
            assert [each["rank"] for each in results if each["judgement"] != "itself"] == [1, 2, 3, 4]
            assert [each["rank"] for each in results if each["judgement"] == "itself"] in ([0], [0, 0])
    assert len(json.loads(call("search", "built", "own.h5", "-k", "all", "--json").lines[0])["results"]) == 81


def test_forms_for_programs(here):
    lines = [line.split("\t") for line in call("search", "built", "own.h5", "-k", "1").lines]
    assert lines[0] == ["query", "rank", "name", "score", "judgement"]
    assert [(line[1], line[2], line[4]) for line in lines[1:3]] == [("0", "00.png", "itself"), ("0", "copy.png", "itself")]
    assert lines[3][1] == "1"
    assert lines[3][4] == "no match"
    (answer,) = map(json.loads, call("search", "built/i.h5", "q.h5", "-k", "1", "--json").lines)
    assert answer["results"][0].keys() == {"rank", "name", "score", "judgement"}
    (answer,) = map(json.loads, call("search", "built", "q.h5", "-k", "1", "--json").lines)
    assert answer["results"][0] | {"score": 0} == {"rank": 1, "name": "00.png", "score": 0, "judgement": "sure", "path": "photos/00.png"}
    trec = call("search", "built", "own.h5", "-k", "2", "--format", "trec").lines
    assert [line.split()[2:4] for line in trec] == [["00.png", "1"], ["copy.png", "2"]]


def test_matches_and_scores_only(here):
    assert call("search", "built", "q.h5", "--matches-only", "--format", "paths").out == b"photos/00.png\nphotos/copy.png\n"
    result = call("search", "built", "five.h5", "--matches-only", "--format", "paths")
    assert (result.code, result.out, result.err) == (0, b"", "")
    rows = call("search", "built", "five.h5", "--matches-only", "--format", "table").lines
    assert rows == ["photos/05.png", "itself    1.00000            photos/05.png"]
    scores = [each["score"] for each in json.loads(call("search", "built", "q.h5", "-k", "all", "--json").lines[0])["results"]]
    least = f"{scores[7]:.9g}"
    assert len(call("search", "built", "q.h5", "-k", "all", "--min-score", least, "--format", "paths").lines) in (7, 8)
    rows = call("search", "built", "five.h5", "--min-score", "1.5", "--format", "tsv")
    assert (rows.code, len(rows.lines)) == (0, 1)  # not even the photo that asks reaches it


@pytest.mark.parametrize("score", ["nan", "inf", "-inf", "much"])
def test_scores_that_nothing_can_be_compared_with(here, score):
    text = f"Invalid value for '--min-score': `--min-score` must be a number, got '{score}'"
    misused(call("search", "built", "q.h5", f"--min-score={score}"), text)


def test_paths_of_any_name_open_from_here(here, tmp_path, monkeypatch):
    for place in (here, here / "photos", tmp_path):
        monkeypatch.chdir(place)
        result = call("search", here / "built", here / "q.h5", "-k", "all", "--format", "paths0")
        paths = result.out.split(b"\0")
        assert paths.pop() == b""
        assert len(paths) == 81
        assert all(os.path.isfile(path) for path in paths)
        assert {os.path.basename(path) for path in paths} >= set(ODD)
    monkeypatch.chdir(here / "photos")
    assert call("search", "../built", "../q.h5", "-k", "1", "--format", "paths").out == b"00.png\n"
    result = run("search", here / "built", here / "q.h5", "-k", "all", "--format", "paths", cwd=here)
    assert b"photos/new\nline.png\n" in result.out
    table = call("search", here / "built", here / "q.h5", "-k", "all", "--format", "table").out
    assert b"new\\nline.png\n" in table


def test_a_photo_that_has_gone_keeps_its_name(here, tmp_path):
    shutil.copytree("built", tmp_path / "built")
    manifest = json.loads((tmp_path / "built" / builds.MANIFEST).read_text()) | {"roots": [str(tmp_path / "gone")]}
    (tmp_path / "built" / builds.MANIFEST).write_text(json.dumps(manifest))
    assert call("search", tmp_path / "built", "q.h5", "-k", "1", "--format", "paths").out == b"00.png\n"


def test_several_queries(here):
    result = call("search", "built", "photos/03.png", "query.png", "-k", "2", "--format", "table", "-j1")
    assert result.code == 0
    heads = [line for line in result.lines if not line.startswith(" ") and not line.startswith("itself")]
    assert len(heads) == 2


def test_what_is_printed_alone_is_refused_with_out(here, tmp_path):
    text = "--keep-self, --matches-only and --min-score are for what is printed; with -o all of the ranking is stored"
    for option in (("--keep-self",), ("--matches-only",), ("--min-score", "0")):
        misused(call("search", "built", "query.png", "-o", tmp_path / "r.h5", *option), text)
    assert call("search", "built", "photos/00.png", "-o", tmp_path / "r.h5", "-k", "2", "-q").code == 0
    assert [hit.name for hit in imgret.open(tmp_path / "r.h5")["photos/00.png"]] == ["00.png", "copy.png"]


def test_a_hit_says_what_it_is_worth(here):
    with imgret.open("built") as index:
        hits = index.search("query.png", k=3)
        assert [hit.match for hit in hits] == ["sure", "sure", "no match"]
        name, score = hits[0]
        assert (name, hits[0].score) == ("00.png", score)
        assert hits[0] == (name, score)
    assert imgret.Hit("a", 1.0).match is None


def test_the_page_has_judgements_and_not_the_photo_that_asks(here, tmp_path):
    page = tmp_path / "p.html"
    assert call("search", "built", "photos/00.png", "query.png", "-k", "2", "--html", page).code == 0
    text = page.read_text()
    data = json.loads(text.split('<script type="application/json" id="data">')[1].split("</script>")[0])
    (own,), (other,) = (query["runs"] for query in data["queries"])
    assert own["matches"] == ["no match", "no match"]
    assert other["matches"][:2] == ["sure", "sure"]
    assert len(own["top"]) == 2


def test_a_bar_for_many_queries_only(monkeypatch):
    from imgret.runs.report import Report
    from imgret.stages import search

    told = []
    monkeypatch.setattr(Report, "progress", lambda report, total, unit: told.append((report.verbosity, total, unit)))
    search._progress(Report(0), BLOCK_QUERIES, object())
    search._progress(Report(0), BLOCK_QUERIES + 1, object())
    search._progress(Report(0), 10**6, None)
    assert told == [(-1, BLOCK_QUERIES, "query"), (0, BLOCK_QUERIES + 1, "query"), (0, 10**6, "query")]


@pytest.mark.parametrize(
    ("index", "query", "text"),
    [
        (
            "photos",
            "query.png",
            "photos is a folder, and no index yet: `imgret build photos -o photos.imgret && imgret search photos.imgret query.png`",
        ),
        ("photos/", "-", "photos/ is a folder, and no index yet: `imgret build photos/ -o photos.imgret && imgret search photos.imgret -`"),
        (".", "a b.jpg", ". is a folder, and no index yet: `imgret build . -o photos.imgret && imgret search photos.imgret 'a b.jpg'`"),
        ("gone", "query.png", "gone: there is no such file or folder: `imgret build PHOTOS -o gone` makes an index of photos"),
        (
            "query.png",
            "x",
            "query.png is not an imgret file (not HDF5): the index comes first, then the photos: `imgret search INDEX query.png`",
        ),
        ("built/v.h5", "x", "built/v.h5 is a vectors store; search needs an index: `imgret index built/v.h5 -o index.h5`"),
    ],
)
def test_what_to_type_next(here, index, query, text):
    refused(call("search", index, query), 1, text)


def test_a_build_without_its_index(here, tmp_path):
    shutil.copytree("built", tmp_path / "built")
    Path(tmp_path, "built", "i.h5").unlink()
    shown = tmp_path / "built"
    refused(
        call("search", shown, "query.png"), 1, f"{shown} has lost its index: run `imgret build` with the same photos and -o {shown} again"
    )


def test_judgements_hold_on_real_photos(data, tmp_path):
    """Every fourth cover, with some distractors: what is called sure matches."""
    photos = Path(data) / "photos"
    covers = sorted((photos / "smvs_dvd" / "images").iterdir())[:60]
    others = sorted((photos / "distractors" / "images").iterdir())[:40]
    settings = ("-m", "rootsift", "--set", "max_size=320", "--set", "max_keypoints=500")
    listed = tmp_path / "list"
    listed.write_text("\n".join(map(str, [*covers, *others])))
    for command in (
        ("extract", "--list", listed, *settings, "-o", tmp_path / "f.h5"),
        ("codebook", tmp_path / "f.h5", "-m", "kmeans", "--size", "16", "--set", "pca=64", "-o", tmp_path / "w.h5"),
        ("encode", tmp_path / "f.h5", "-c", tmp_path / "w.h5", "-o", tmp_path / "v.h5"),
        ("index", tmp_path / "v.h5", "-o", tmp_path / "i.h5"),
    ):
        result = call(*command, "-q")
        assert result.code == 0, result.err
    right = wrong = 0
    for line in call("search", tmp_path / "i.h5", tmp_path / "v.h5", "-k", "all").lines[1:]:
        query, _, name, _, judgement = line.split("\t")
        if judgement in ("sure", "likely"):
            same = os.path.basename(query)[:6] == os.path.basename(name)[:6]
            right, wrong = right + same, wrong + (not same)
    assert wrong <= 0.1 * right
    assert right > 0
