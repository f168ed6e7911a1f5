"""What was counted of photos and where they show what the query does: read, printed, exported, and drawn on pages."""

import json
import re
import shutil

import numpy as np
import pages
import pytest
from helpers import call, resign, say
from PIL import Image

from imgret.cli.formats import printer
from imgret.errors import ImgretError
from imgret.evidence import Counted, cell, counted, said
from imgret.formats.lists import RankedLists
from imgret.html import page as page_module
from imgret.html import search as search_module
from imgret.html.contract import Answer
from imgret.html.drawing import MATCHES, area, outline, points
from imgret.html.search import Gathering
from imgret.inputs.rankings import read_ranking
from imgret.stages.search import Block

h5py = pytest.importorskip("h5py")
NAN, INF, BIG = float("nan"), float("inf"), float(np.finfo(np.float32).max)


@pytest.mark.parametrize(
    ("value", "counts", "number", "text", "field"),
    [
        (23.0, "inliers", 23, "23 inliers", "23"),
        (1.0, "inliers", 1, "1 inlier", "1"),
        (1.0, "", 1, "1 evidence", "1"),
        (0.0, "inliers", 0, "0 inliers", "0"),
        (-0.0, "s", 0, "0 s", "-0"),
        (0.123456789, "parts", 0.123457, "0.123457 parts", "0.123456789"),
        (NAN, "inliers", None, "", ""),
        (INF, "inliers", None, "", ""),
        (-INF, "inliers", None, "", ""),
        (BIG, "inliers", 3.40282e38, "3.40282e+38 inliers", "3.40282347e+38"),
    ],
)
def test_what_was_counted_in_words(value, counts, number, text, field):
    assert (counted(value), said(value, counts), cell(value)) == (number, text, field)


@pytest.mark.parametrize(
    ("facts", "wanted"),
    [
        ({"counts": "inliers", "enough": 6}, Counted("inliers", 6.0)),
        ({}, Counted("", INF)),
        ({"counts": ["inliers"], "enough": "6"}, Counted("", INF)),
        ({"counts": None, "enough": 10**400}, Counted("", INF)),
        ({"counts": "s", "enough": NAN}, Counted("s", INF)),
        ({"counts": "s" * 61, "enough": 0.5}, Counted("", 0.5)),
    ],
)
def test_facts_may_be_anything(facts, wanted):
    assert Counted.of(facts) == wanted
    assert Counted.of(wanted.to_json()) == wanted


# --- drawing


IDENTITY = np.eye(3)
SHIFTED = np.array([[1, 0, 30], [0, 1, -20], [0, 0, 1]])
TURNED = np.array([[0, -1, 100], [1, 0, 0], [0, 0, 1]])
TILTED = np.array([[1, 0.2, 5], [0.1, 0.9, 3], [1e-3, 2e-3, 1]])


def moved(homography, place):
    x, y, w = homography @ np.array([*place, 1.0])
    return [round(x / w, 1), round(y / w, 1)]


@pytest.mark.parametrize("homography", [IDENTITY, TURNED, TILTED, -TILTED, 1e30 * TILTED, 1e-30 * TILTED])
def test_a_box_inside_has_its_four_corners(homography):
    x1, y1, x2, y2 = box = [10, 20, 60, 40]
    wanted = sum((moved(homography, place) for place in ((x1, y1), (x2, y1), (x2, y2), (x1, y2))), [])
    assert outline(homography, box, (100, 80)) == pytest.approx(wanted)


def mask(homography, box, size):
    """Which pixels of a photo the box lies over, by taking each back: the slow way."""
    x, y = np.meshgrid(np.arange(size[0]) + 0.5, np.arange(size[1]) + 0.5)
    back = np.linalg.inv(homography) @ np.stack([x.ravel(), y.ravel(), np.ones(x.size)])
    u, v = back[:2] / back[2]
    return ((box[0] < u) & (u < box[2]) & (box[1] < v) & (v < box[3])).reshape(size[1], size[0])


def test_outlines_are_what_the_map_covers():
    rng = np.random.default_rng(3)
    kinds = {"nothing": 0, "cut": 0, "whole": 0}
    for _ in range(300):
        homography = np.eye(3) + rng.normal(0, [[0.5, 0.5, 40], [0.5, 0.5, 40], [1e-3, 1e-3, 0]])
        size, box = (90, 70), [5, 5, 60, 55]
        w = homography[2] @ np.array([[5, 60, 60, 5], [5, 5, 55, 55], [1, 1, 1, 1]])
        if w.min() <= 0:
            continue
        covered = mask(homography, box, size).mean() * 6300
        found = outline(homography, box, size)
        corners = [] if found is None else list(zip(found[::2], found[1::2], strict=True))
        assert all(0 <= x <= 90 and 0 <= y <= 70 for x, y in corners)
        assert area(corners) == pytest.approx(covered, abs=25)
        kinds["nothing" if found is None else "whole" if len(corners) == 4 else "cut"] += 1
    assert min(kinds.values()) > 10


def test_outlines_are_clipped_to_the_photo():
    assert outline(SHIFTED, [0, 0, 100, 80], (100, 80)) == [100, 0, 100, 60, 30, 60, 30, 0]
    assert outline(IDENTITY, [-50, -50, 500, 500], (100, 80)) == [100, 0, 100, 80, 0, 80, 0, 0]
    assert len(outline(np.array([[1, -1, 40], [1, 1, -60], [0, 0, 1]]), [0, 0, 100, 80], (100, 80))) == 2 * 5


@pytest.mark.parametrize(
    "homography",
    [
        np.full((3, 3), NAN),
        np.where(IDENTITY == 1, INF, 0),
        np.zeros((3, 3)),
        np.ones((3, 3)),  # singular: onto one place
        np.array([[1, 1, 0], [1, 1, 0], [0, 0, 1]]),  # onto a line
        np.array([[1, 0, 0], [0, 1e-9, 30], [0, 0, 1]]),  # next to a line
        np.array([[1e-4, 0, 50], [0, 1e-4, 50], [0, 0, 1]]),  # next to a point
        np.array([[1, 0, 1000], [0, 1, 0], [0, 0, 1]]),  # beside the photo
        np.array([[1, 0, 0], [0, 1, 0], [1, 0, -30]]),  # beyond the horizon
        np.array([[1, 0, 0], [0, 1, 0], [1, 0, -10]]),  # up to it
        np.full((3, 3), BIG),
        np.array([[BIG, 0, -BIG], [0, BIG, -BIG], [0, 0, 1e-38]]),
        np.array([[1, 0, 0], [0, 1, 0], [0, 0, 0]]),
    ],
)
def test_what_is_no_map_is_not_drawn(homography):
    assert outline(np.asarray(homography, np.float32), [10, 20, 60, 40], (100, 80)) is None


@pytest.mark.parametrize("box", [[NAN] * 4, [INF, 0, 5, 5], [5, 5, 5, 5], [5, 5, 5, 60]])
def test_what_is_no_box_is_not_drawn(box):
    assert outline(IDENTITY, box, (100, 80)) is None


def test_points():
    assert points(None) is None
    assert points(np.zeros((0, 4), np.float32)) is None
    assert points(np.array([[1.04, 2.06, 3, 4], [NAN, 0, 0, 0], [5, 6, 7, INF]], np.float32)) == [1.0, 2.1, 3.0, 4.0]
    many = points(np.arange(4000, dtype=np.float32).reshape(-1, 4))
    assert len(many) == 4 * MATCHES
    assert (many[0], many[-1]) == (0, 3999)


def block(text):
    return json.loads(re.search(r'<script type="application/json" id="data">(.*?)</script>', text)[1])


def test_maps_become_outlines_where_the_photos_are_known(tmp_path):
    """The box of the query, or else all of its photo, in each result that has a thumbnail."""
    top = [(1, 0.9), (2, 0.8), (3, 0.7), (0, 0.6), (1, 0.5)]
    answer = Answer(top, maps=[SHIFTED, SHIFTED, None, np.full((3, 3), NAN)], evidence=["23 inliers", None])
    queries = [
        pages.query("boxed", 0, answer, box=[10, 30, 20, 40]),
        pages.query("whole", 0, answer, None),
        pages.query("unknown", None, answer),
        pages.query("boxed unknown", 3, answer, box=[10, 30, 20, 40]),
    ]
    thumbnails = {f"{number}.png": ("0" * 32, b"jpeg", (100, 80)) for number in (0, 1)}
    contents = pages.contents(pages.names(4), [pages.run("a"), pages.run("b")], queries)
    held = block("".join(part.decode() for part in page_module.blocks(str(tmp_path / "r.html"), contents, thumbnails)))["queries"]
    moved = [40, 10, 50, 10, 50, 20, 40, 20]
    wanted = [[moved, None, None, None], [[100, 0, 100, 60, 30, 60, 30, 0], None, None, None], [], [moved, None, None, None]]
    assert [query["runs"][0]["outlines"] for query in held] == wanted
    assert held[1]["runs"][1] is None
    assert held[0]["runs"][0]["evidence"] == ["23 inliers", None]
    assert "maps" not in held[0]["runs"][0]


def found(count=3, **given):
    """A block of queries in a gallery of three photos: the second of them asks."""
    ids, scores = np.tile([1, 0, 2, -1], (count, 1)), np.tile(np.array([2, 1, 0.5, NAN], np.float32), (count, 1))
    itself = ids == 1
    names = [b"q%d" % number for number in range(count)]
    return Block(names, names, np.full((count, 4), NAN), None, scores, ids, None, itself, **given)


def test_a_page_of_a_search_has_what_was_counted_and_what_matches():
    matches = [[None, np.arange(8, dtype=np.float32).reshape(2, 4), np.zeros((0, 4), np.float32)], [], [None] * 4]
    evidence = np.tile(np.array([99, 23, 2, NAN], np.float32), (3, 1))
    maps = np.tile(SHIFTED.astype(np.float32), (3, 4, 1, 1))
    gathering = Gathering("i.h5", 10, 2)
    gathering.add([b"a", b"b", b"c"], found(evidence=evidence, counts="inliers", enough=6.0, maps=maps, matches=matches))
    page = gathering.page()
    first, second = (query.runs[0] for query in page.queries)
    assert [page.photos[photo] for photo, _ in first.top] == ["a", "c"]
    assert first.evidence == second.evidence == ["23 inliers", "2 inliers"]
    assert [each is None for each in first.maps] == [False, True]
    assert (first.points, second.points) == ([[0, 1, 2, 3, 4, 5, 6, 7], None], [])
    assert page.note == "the first 2 of 3 queries are shown"


def test_a_page_of_a_search_as_it_was():
    gathering = Gathering("i.h5", 10, 5)
    gathering.add([b"a", b"b", b"c"], found())
    answer = gathering.page().queries[0].runs[0]
    assert (answer.evidence, answer.maps, answer.points, gathering.page().note) == ([], [], [], None)


def test_a_page_holds_so_many_matches_and_no_more(monkeypatch):
    monkeypatch.setattr(search_module, "MATCHES", 25)
    gathering = Gathering("i.h5", 10, 5)
    for _ in range(2):
        gathering.add([b"a", b"b", b"c"], found(matches=[[None, np.zeros((10, 4))]] * 3))
    assert [bool(query.runs[0].points) for query in gathering.page().queries] == [True, True, False, False, False]
    assert gathering.page().note == "the first 5 of 6 queries are shown; what matches is shown of the first 2"


# --- ranked lists


GOOD = {"label": "run", "query_names": [b"q", b"r"], "query_ids": [b"q", b"r"], "names": [b"a", b"b"], "ids": np.array([[0, 1], [1, 0]])}


@pytest.mark.parametrize(
    ("field", "values", "text"),
    [
        ("evidence", np.zeros(2), "evidence of shape (2,) and type float64"),
        ("evidence", np.zeros((2, 3), np.float32), "evidence of shape (2, 3) and type float32"),
        ("evidence", np.zeros((1, 2), np.float32), "evidence of shape (1, 2) and type float32"),
        ("evidence", np.zeros((2, 2), np.int32), "evidence of shape (2, 2) and type int32"),
        ("maps", np.zeros((2, 1, 3), np.float32), "maps of shape (2, 1, 3) and type float32"),
        ("maps", np.zeros((2, 1, 3, 4), np.float32), "maps of shape (2, 1, 3, 4) and type float32"),
    ],
)
def test_evidence_that_cannot_be_right(field, values, text):
    with pytest.raises(ImgretError, match=f"^{re.escape(f'run is damaged (ids of shape (2, 2), and {text}): make the ranking again')}$"):
        RankedLists(**GOOD, **{field: values})


def test_evidence_may_be_anything_and_of_less_than_all_ranks():
    lists = RankedLists(**GOOD, evidence=np.array([[NAN], [INF]]), counts="inliers", maps=np.full((2, 0, 3, 3), NAN))
    assert (lists.evidence.shape, lists.counts, lists.called("other").maps.shape) == ((2, 1), "inliers", (2, 0, 3, 3))


# --- what a ranking store has


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A folder of six photos in two groups, and rankings of them: `plain.h5` and `r.h5`, with evidence and a map to be drawn."""
    folder = tmp_path_factory.mktemp("made")
    (folder / "photos").mkdir()
    rng = np.random.default_rng(0)
    for number in range(6):
        flat = np.broadcast_to(rng.integers(0, 256, 3), (80, 100, 3)) + rng.integers(-3, 4, (80, 100, 3))
        Image.fromarray(flat.clip(0, 255).astype(np.uint8)).save(folder / "photos" / f"{number}.png")
    (folder / "truth.csv").write_text("image,group\n" + "".join(f"{number}.png,{number % 2}\n" for number in range(6)))
    vectors, index, ranking = (folder / name for name in ("v.h5", "i.h5", "plain.h5"))
    for command in (
        ("extract", folder / "photos", "-m", "hsv-hist", "-o", vectors),
        ("index", vectors, "-o", index),
        ("search", index, vectors, "-k", 4, "-o", ranking),
    ):
        assert call(*command, "-q").code == 0
    maps = np.full((6, 3, 3, 3), NAN, np.float32)
    maps[:, 0], maps[:, 1] = SHIFTED, np.full((3, 3), BIG)
    looked_at(shutil.copy(ranking, folder / "r.h5"), np.tile(np.array([23, NAN, INF], np.float32), (6, 1)), maps)
    return folder


@pytest.fixture
def ranked(made, tmp_path, monkeypatch):
    """A copy of it to work in."""
    shutil.copytree(made, tmp_path, dirs_exist_ok=True)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def looked_at(path, evidence, maps, counts="inliers", enough=6):
    """Give a ranking store evidence."""
    with h5py.File(path, "r+") as file:
        for name, values in (("evidence", evidence), ("maps", maps)):
            if values is not None:
                file.create_dataset(name, data=values)
        say(file, "facts", json.dumps({"counts": counts, "enough": enough}))
    resign(path)


def test_a_ranking_with_evidence_is_sound_and_read(ranked):
    assert call("info", "--check", "r.h5").out.split()[-2:] == [b"check", b"sound"]
    lines = [line.split() for line in call("info", "r.h5").out.decode().splitlines()]
    assert ["counts:", '"inliers"'] in lines
    assert ["evidence", "float32", "6", "×", "3"] in lines
    lists = read_ranking("r.h5", evidence=True)
    assert (lists.evidence.shape, lists.maps.shape, lists.counts) == ((6, 3), (6, 3, 3, 3), "inliers")
    assert (read_ranking("r.h5").evidence, read_ranking("r.h5").counts, read_ranking("plain.h5", evidence=True).maps) == (None, "", None)


def test_evaluate_shows_what_was_counted(ranked):
    """In its page alone: the figures, and a page without maps, are what they were."""
    start, files = ("evaluate", "--protocol", "groups", "--truth", "truth.csv", "--resamples", 0), ("--photos", "photos", "--html")
    plain, evident = (call(*start, path, "--label", "run", *files, f"{path}.html") for path in ("plain.h5", "r.h5"))
    assert (plain.code, plain.out) == (0, evident.out)
    before, after = (block((ranked / f"{path}.html").read_text())["queries"] for path in ("plain.h5", "r.h5"))
    for query in range(6):
        [answer] = after[query]["runs"]
        assert answer["evidence"] == ["23 inliers", None, None]
        assert answer["outlines"] == [[100, 0, 100, 60, 30, 60, 30, 0], None, None]
        assert before[query]["runs"][0] == answer | {"evidence": [], "outlines": []}


@pytest.mark.parametrize(("enough", "drawn"), [(23, True), (24, False), (None, True), ("24", True)])
def test_what_is_not_verified_has_no_box(ranked, enough, drawn):
    looked_at("r.h5", None, None, enough=enough)
    assert call("evaluate", "--protocol", "groups", "--truth", "truth.csv", "r.h5", "--html", "p.html", "--photos", "photos").code == 0
    assert bool(block((ranked / "p.html").read_text())["queries"][0]["runs"][0]["outlines"]) == drawn


def test_a_box_that_is_none_breaks_no_page(ranked):
    with h5py.File("r.h5", "r+") as file:
        file.create_dataset("query_box", data=np.tile(np.array([0, 0, INF, BIG], np.float32), (6, 1)))
    resign("r.h5")
    assert call("evaluate", "--protocol", "groups", "--truth", "truth.csv", "r.h5", "--html", "p.html", "--photos", "photos").code == 0
    query = block((ranked / "p.html").read_text())["queries"][0]
    assert (query["box"], query["runs"][0]["outlines"][0]) == (None, [100, 0, 100, 60, 30, 60, 30, 0])


def test_counts_that_are_no_text_are_unknown(ranked):
    looked_at("plain.h5", np.ones((6, 2), np.float32), None, counts=["<script>"])
    assert call("evaluate", "--protocol", "groups", "--truth", "truth.csv", "plain.h5", "--html", "p.html", "--photos", "photos").code == 0
    assert block((ranked / "p.html").read_text())["queries"][0]["runs"][0]["evidence"] == ["1 evidence"] * 2


def test_export_of_evidence(ranked):
    for path in ("plain.h5", "r.h5"):
        for form in ("tsv", "trec"):
            assert call("export", path, "-o", f"{path}.{form}", "-q").code == 0
    assert (ranked / "plain.h5.trec").read_bytes() == (ranked / "r.h5.trec").read_bytes()
    plain, evident = ([line.split("\t") for line in (ranked / f"{path}.tsv").read_text().splitlines()] for path in ("plain.h5", "r.h5"))
    assert [line[:-1] for line in evident] == plain
    assert [line[-1] for line in evident[:5]] == ["evidence", "23", "", "", ""]
    assert call("export", "r.h5", "-o", "one.tsv", "-k", 1, "-q").code == 0
    assert [line.split("\t")[-1] for line in (ranked / "one.tsv").read_text().splitlines()] == ["evidence", *["23"] * 6]


def test_evidence_of_the_wrong_shape_is_refused(ranked):
    with h5py.File("r.h5", "r+") as file:
        del file["evidence"]
        file.create_dataset("evidence", data=np.zeros((6, 5), np.float32))
        del file["maps"]
    resign("r.h5")
    result = call("evaluate", "--protocol", "groups", "--truth", "truth.csv", "r.h5", "--html", "p.html", "--photos", "photos")
    text = "r.h5 is damaged (ids of shape (6, 4), and evidence of shape (6, 5) and type float32): make the ranking again"
    assert (result.code, result.err.splitlines()[-1]) == (1, f"imgret: error: {text}")


# --- what is printed


GALLERY = [b"a.jpg", b"b.jpg", b"c.jpg"]


def answers(evidence, levels=None):
    rows = np.array([[0, 1, 2], [2, 0, -1]])
    scores = np.array([[3, 0.5, 0.25], [1, 0.5, NAN]], np.float32)
    looked_at = {} if evidence is None else {"evidence": np.array(evidence, np.float32), "counts": "inliers"}
    return Block([b"q", b"r"], [b"q", b"r"], np.full((2, 4), NAN), None, scores, rows, levels, **looked_at)


EVIDENCE = [[120, 1, NAN], [0.5, NAN, NAN]]


@pytest.mark.parametrize(
    ("form", "evidence", "wanted"),
    [
        ("tsv", None, "query\trank\tname\tscore\tjudgement\nq\t1\ta.jpg\t3\t\nq\t2\tb.jpg\t0.5\t\nq\t3\tc.jpg\t0.25\t\n"),
        (
            "tsv",
            EVIDENCE,
            "query\trank\tname\tscore\tjudgement\tevidence\nq\t1\ta.jpg\t3\t\t120\nq\t2\tb.jpg\t0.5\t\t1\nq\t3\tc.jpg\t0.25\t\t\n"
            "r\t1\tc.jpg\t1\t\t0.5\nr\t2\ta.jpg\t0.5\t\t\n",
        ),
        ("table", None, "q\n     1    3.00000  a.jpg\n     2    0.50000  b.jpg\n     3    0.25000  c.jpg\n"),
        (
            "table",
            EVIDENCE,
            "q\n     1    3.00000  120 inliers  a.jpg\n     2    0.50000     1 inlier  b.jpg\n     3    0.25000               c.jpg\n"
            "r\n     1    1.00000  0.5 inliers  c.jpg\n     2    0.50000               a.jpg\n",
        ),
        ("table", [[NAN] * 3] * 2, "q\n     1    3.00000  a.jpg\n"),
        ("paths", EVIDENCE, "a.jpg\nb.jpg\nc.jpg\nc.jpg\na.jpg\n"),
    ],
)
def test_printing(capfd, form, evidence, wanted):
    printer(form)(GALLERY, answers(evidence))
    assert capfd.readouterr().out.startswith(wanted)


def test_json_says_what_was_counted(capfd):
    emit = printer("jsonl")
    for evidence in (None, EVIDENCE):
        emit(GALLERY, answers(evidence))
    results = [json.loads(line)["results"] for line in capfd.readouterr().out.splitlines()]
    assert results[0][0] == {"rank": 1, "name": "a.jpg", "score": 3.0, "judgement": None}
    assert [[result["evidence"] for result in each] for each in results[2:]] == [
        [{"inliers": 120}, {"inliers": 1}, None],
        [{"inliers": 0.5}, None],
    ]


def test_what_was_found_by_asking_again_is_not_judged(capfd):
    emit = printer("jsonl")
    emit(GALLERY, answers(EVIDENCE, np.array([[2, -1, 0], [1, -1, -1]], np.int8)))
    results = [json.loads(line)["results"] for line in capfd.readouterr().out.splitlines()]
    assert [[result["judgement"] for result in each] for each in results] == [["sure", None, "no match"], ["likely", None]]


def test_every_block_has_the_header_of_the_first(capfd):
    emit = printer("tsv")
    for _ in range(2):
        emit(GALLERY, answers(EVIDENCE))
    assert capfd.readouterr().out.count("evidence") == 1
