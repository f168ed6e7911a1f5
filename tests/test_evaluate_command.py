"""`imgret evaluate`: what it prints and writes, one ranking or several, and what it refuses."""

import csv
import io
import json
import pathlib
import sys
import types

import numpy as np
import pytest
from helpers import call, refused, run

TRUTH = "image,group\n" + "".join(f"{group}{number}.jpg,{group}\n" for group in "abcdef" for number in range(3))
NAMES = [line.split(",")[0] for line in TRUTH.splitlines()[1:]]


@pytest.fixture
def here(tmp_path, monkeypatch):
    """Two TREC runs over eighteen photos and their ground truth."""
    monkeypatch.chdir(tmp_path)
    pathlib.Path("truth.csv").write_text(TRUTH)
    for name, seed, good in (("first.txt", 0, 0.3), ("second.txt", 1, 0.6)):
        rng = np.random.default_rng(seed)
        lines = []
        for query in NAMES:
            scores = {photo: rng.random() + good * (photo[0] == query[0]) for photo in NAMES}
            for rank, (photo, score) in enumerate(sorted(scores.items(), key=lambda pair: -pair[1]), 1):
                lines.append(f"{query} Q0 {photo} {rank} {score:.6f} run\n")
        pathlib.Path(name).write_text("".join(lines))
    return tmp_path


def evaluate(*arguments, rankings=("first.txt", "second.txt")):
    result = call("evaluate", *rankings, "--protocol", "groups", "--truth", "truth.csv", *arguments)
    assert result.code == 0, result.err
    return result


def test_json_has_one_shape(here):
    for rankings in (("first.txt",), ("first.txt", "second.txt")):
        answer = json.loads(evaluate("--json", rankings=rankings).out)
        assert list(answer) == ["schema", "schema_version", "protocol", "parameters", "conventions", "runs", "comparisons"]
        assert (answer["schema"], answer["schema_version"], answer["protocol"]) == ("imgret-evaluation", 1, "groups")
        assert [run["label"] for run in answer["runs"]] == list(rankings)
        for each in answer["runs"]:
            fields = "label queries measures settings truncation excluded skipped absent warnings intervals compared"
            assert list(each) == fields.split()
            low, high = each["intervals"]["map"]
            assert low < each["measures"]["map"] < high
        assert len(answer["comparisons"]) == len(rankings) - 1


def paths(value, prefix=""):
    """Every path of a JSON value, with [] for elements; objects whose names are data are said by {}."""
    if isinstance(value, dict):
        free = prefix in ("parameters", "conventions") or prefix.endswith(("measures", "settings", "intervals"))
        for name, item in value.items():
            yield from paths(item, prefix + "{}" if free else f"{prefix}.{name}".lstrip("."))
    elif isinstance(value, list):
        for item in value:
            yield from paths(item, prefix + "[]")
    else:
        yield prefix


def test_the_schema_is_what_is_printed(here):
    """Two rankings, several settings and other conventions: together they have every field, and no other."""
    from imgret.evaluation.result import JSON

    found = set(paths(json.loads(evaluate("--json", "--conventions", "--all-pairs").out)))
    names = {name: number for number, name in enumerate(NAMES)}
    gnd = [{"easy": [names[n] for n in NAMES if n[0] == q[0] and n != q][:1], "hard": [], "junk": [names[q]]} for q in NAMES]
    gnd[0]["hard"] = [len(NAMES)]
    pathlib.Path("gnd.json").write_text(json.dumps({"imlist": [*NAMES, "absent.jpg"], "qimlist": [f"q{n}" for n in NAMES], "gnd": gnd}))
    text = pathlib.Path("first.txt").read_text()
    pathlib.Path("asked.txt").write_text("".join(f"q{line}\n" for line in text.splitlines()))
    pathlib.Path("places.txt").write_text("@0@0@1@T@q Q0 @0@20@1@T@a 1 2 x\n")
    found |= set(paths(json.loads(call("evaluate", "asked.txt", "--protocol", "roxford5k", "--truth", "gnd.json", "--json").out)))
    found |= set(paths(json.loads(call("evaluate", "places.txt", "--protocol", "places", "--json").out)))
    assert {path.replace("parameters{}[]", "parameters{}") for path in found} == set(JSON)


def test_two_rankings_are_compared(here):
    answer = json.loads(evaluate("--json").out)
    (row,) = answer["comparisons"]
    first, second = (each["measures"]["map"] for each in answer["runs"])
    assert row["difference"] == pytest.approx(second - first)
    assert (row["first"], row["second"], row["setting"], row["measure"], row["queries"]) == ("first.txt", "second.txt", "", "map", 18)
    assert row["better"] + row["worse"] + row["same"] == 18
    assert 0 < row["p_value"] < 0.05
    gains = [query["second"] - query["first"] for query in row["gained"]]
    assert gains == sorted(gains, reverse=True)
    assert len(gains) == 5
    losses = [query["second"] - query["first"] for query in row["lost"]]
    assert losses == sorted(losses)
    table = evaluate("--format", "table").lines
    assert "second.txt against first.txt, map of 18 queries that both answer" in table
    assert any(line.startswith("  gained  ") and row["gained"][0]["query"] in line for line in table)


def test_the_seed_decides(here):
    first = evaluate("--json").out
    assert evaluate("--json").out == first
    assert evaluate("--json", "--seed", "1").out != first
    answer = json.loads(evaluate("--json", "--resamples", "0").out)
    assert answer["comparisons"] == []
    assert answer["runs"][0]["intervals"] == {}


def test_tsv(here):
    lines = [line.split("\t") for line in evaluate("--conventions").lines]
    assert lines[0] == ["measure", "first.txt", "second.txt"]
    assert [line[0] for line in lines[1:4]] == ["map", "map.low", "map.high"]
    assert ["first", "second", "setting", "measure", "queries", "difference", "p_value", "better", "worse", "same"] in lines
    start = lines.index(["ranking", "setting", "ap", "list", "queries", "map"])
    assert len(lines) - start - 1 == 2 * 7 * 3


def test_other_conventions_hold_the_protocols_own(here):
    answer = json.loads(evaluate("--json", "--conventions").out)
    for each in answer["runs"]:
        (own,) = [row for row in each["compared"] if row["own"]]
        assert (own["ap"], own["list"]) == ("finite sum", "query out")
        assert own["map"] == pytest.approx(each["measures"]["map"], rel=1e-12)
    table = evaluate("--format", "table", "--conventions", rankings=("first.txt",)).lines
    assert "first.txt: mean average precision under other conventions" in table
    assert "  *: the protocol's own" in table


def test_per_query_files(here):
    evaluate("--per-query", "p.jsonl", "--per-query", "p.jsonl")
    records = [json.loads(line) for line in pathlib.Path("p.jsonl").read_text().splitlines()]
    assert len(records) == 36
    assert list(records[0]) == ["run", "query", "ap", "positives", "found", "first_hit"]
    assert records[18]["difference"] == pytest.approx(records[18]["ap"] - records[0]["ap"])
    evaluate("--per-query", "p.tsv")
    rows = [line.split("\t") for line in pathlib.Path("p.tsv").read_text().splitlines()]
    assert rows[0] == ["run", "query", "ap", "positives", "found", "first_hit", "difference"]
    assert [float(row[2]) for row in rows[1:]] == [record["ap"] for record in records]
    assert rows[1][6] == ""
    evaluate("--per-query", "one.tsv", rankings=("first.txt",))
    assert pathlib.Path("one.tsv").read_text().startswith("query\tap\tpositives\tfound\tfirst_hit\n")


def test_curves(here):
    evaluate("--curve", "c.tsv")
    rows = [line.split("\t") for line in pathlib.Path("c.tsv").read_text().splitlines()]
    assert rows[0] == ["recall", "first.txt", "second.txt"]
    assert len(rows) == 102
    for column in (1, 2):
        values = [float(row[column]) for row in rows[1:]]
        assert values == sorted(values, reverse=True)
    evaluate("--curve", "c.json")
    curves = json.loads(pathlib.Path("c.json").read_text())
    assert len(curves["recall"]) == len(curves["curves"][1]["precision"]) == 101
    assert [curve["run"] for curve in curves["curves"]] == ["first.txt", "second.txt"]


@pytest.mark.parametrize(("suffix", "magic"), [("png", b"\x89PNG"), ("svg", b"<?xml"), ("pdf", b"%PDF")])
def test_pictures_of_the_curve(here, suffix, magic):
    pytest.importorskip("matplotlib")
    pathlib.Path("first.txt").rename("a $x^2$ <b>.txt")
    for _ in range(2):  # its own is replaced
        evaluate("--curve", f"c.{suffix}", rankings=("a $x^2$ <b>.txt", "second.txt"))
        data = pathlib.Path(f"c.{suffix}").read_bytes()
        assert data.startswith(magic)
        assert len(data) > 5000


def test_a_picture_without_matplotlib(here, monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    text = "a picture of the curve needs matplotlib: pip install 'imgret[report]', or give a .tsv or .json file"
    refused(call("evaluate", "first.txt", "--protocol", "groups", "--truth", "truth.csv", "--curve", "c.png"), 1, text)


def test_judgements(here):
    evaluate("--qrels", "q.qrels", rankings=("first.txt",))
    again = call("evaluate", "first.txt", "--protocol", "qrels", "--truth", "q.qrels", "--json")
    own = json.loads(evaluate("--json", rankings=("first.txt",)).out)
    assert json.loads(again.out)["runs"][0]["measures"]["map"] == pytest.approx(own["runs"][0]["measures"]["map"], rel=1e-12)


FILES = ("--per-query", "--curve", "--qrels", "--trec-run", "--html")


def more(option):
    return ("--photos", "photos") if option == "--html" else ()


@pytest.mark.parametrize("option", FILES)
def test_files_that_hold_something_else_are_not_replaced(here, option):
    path = pathlib.Path("mine.tsv")
    pathlib.Path("photos").mkdir()
    start = ("evaluate", "first.txt", "--protocol", "groups", "--truth", "truth.csv", option)
    for content in ("my notes\n", "query\tmy notes\n", "q1 0 a 1\n", "recall\tof my shop\n", ""):
        path.write_text(content)
        text = f"{path} is there and holds something else: choose another {option}, or give --overwrite to replace it"
        if option == "--html":
            text = f"--html {path} is not an imgret report and would be replaced: choose another --html, or give --overwrite"
        result = call(*start, path, *more(option))
        assert (result.code, result.err.splitlines()[-1]) == (1, f"imgret: error: {text}")
        assert path.read_text() == content
    evaluate(option, path, *more(option), "--overwrite", rankings=("first.txt",))
    written = path.read_text()
    assert written != content
    before = path.stat().st_mtime_ns
    evaluate(option, path, *more(option), rankings=("first.txt",))  # the same again
    assert path.read_text() == written
    assert option == "--html" or path.stat().st_mtime_ns == before
    assert sorted(entry.name for entry in pathlib.Path().iterdir()) == ["first.txt", "mine.tsv", "photos", "second.txt", "truth.csv"]


@pytest.mark.parametrize("option", FILES)
def test_what_is_read_is_never_written(here, option):
    pathlib.Path("photos").mkdir()
    pathlib.Path("lists").mkdir()
    pathlib.Path("lists/a0.jpg.txt").write_text("a1.jpg\n")
    pathlib.Path("first.txt").rename("run.tsv")
    pathlib.Path("truth.csv").rename("truth.tsv")
    pathlib.Path("link.tsv").hardlink_to("run.tsv")
    before = {name: pathlib.Path(name).read_bytes() for name in ("run.tsv", "truth.tsv", "lists/a0.jpg.txt")}
    for ranking, path, text in (
        ("run.tsv", "run.tsv", "run.tsv is both read and written: choose another {}"),
        ("run.tsv", "link.tsv", "link.tsv is both read and written: choose another {}"),
        ("run.tsv", "truth.tsv", "truth.tsv is both read and written: choose another {}"),
        ("lists", "lists/new.tsv", "{} lists/new.tsv would lie in the folder lists, which is read: choose another {}"),
    ):
        start = ("evaluate", ranking, "--protocol", "groups", "--truth", "truth.tsv", "--overwrite")
        refused(call(*start, option, path, *more(option)), 1, text.format(*[option] * 2))
    assert before == {name: pathlib.Path(name).read_bytes() for name in before}


def test_two_files_are_two(here):
    start = ("evaluate", "first.txt", "--protocol", "groups", "--truth", "truth.csv")
    refused(
        call(*start, "--per-query", "x.tsv", "--curve", "./x.tsv"), 2, "--per-query and --curve are both x.tsv: give each a file of its own"
    )
    pathlib.Path("b.tsv").write_text("mine")
    result = call(*start, "--per-query", "a.tsv", "--curve", "b.tsv")
    assert result.code == 1
    assert not pathlib.Path("a.tsv").exists()  # none before all may be written


def test_judgements_of_several_settings_are_files_of_their_own(here):
    gnd = [{"easy": [0], "hard": [1], "junk": [2]}]
    pathlib.Path("gnd.json").write_text(json.dumps({"imlist": ["a", "b", "c", "gone"], "qimlist": ["q"], "gnd": gnd}))
    pathlib.Path("run.txt").write_text("q Q0 c 1 3 x\nq Q0 b 2 2 x\nq Q0 a 3 1 x\n")
    pathlib.Path("t.hard.qrels").write_text("my thesis")
    start = ("evaluate", "run.txt", "--protocol", "roxford5k", "--truth", "gnd.json", "--qrels", "t.qrels")
    result = call(*start)
    assert (result.code, pathlib.Path("t.hard.qrels").read_text()) == (1, "my thesis")
    assert not pathlib.Path("t.easy.qrels").exists()
    assert call(*start, "--overwrite").code == 0
    assert sorted(pathlib.Path("t.easy.qrels").read_text().splitlines()) == ["q 0 a 1", "q 0 b -1", "q 0 c -1"]
    assert sorted(pathlib.Path("t.hard.qrels").read_text().splitlines()) == ["q 0 a -1", "q 0 b 1", "q 0 c -1"]


def test_files_of_settings_do_not_meet_others(here):
    gnd = [{"easy": [0], "hard": [1], "junk": [2]}]
    pathlib.Path("gnd.json").write_text(json.dumps({"imlist": ["a", "b", "c"], "qimlist": ["q"], "gnd": gnd}))
    pathlib.Path("run.txt").write_text("q Q0 c 1 3 x\nq Q0 b 2 2 x\nq Q0 a 3 1 x\n")
    start = ("evaluate", "run.txt", "--protocol", "roxford5k", "--truth", "gnd.json", "--qrels", "t.tsv")
    text = "--per-query and --qrels (easy) are both t.easy.tsv: give each a file of its own"
    refused_after_warnings(call(*start, "--per-query", "t.easy.tsv"), 2, text)
    text = "--qrels (hard) and --html are both t.hard.tsv: give each a file of its own"
    refused_after_warnings(call(*start, "--html", "t.hard.tsv", "--photos", "."), 2, text)
    assert not list(pathlib.Path().glob("t.*"))


def refused_after_warnings(result, code, text):
    assert (result.code, result.out, result.err.splitlines()[-1]) == (code, b"", f"imgret: error: {text}")


def test_two_questions_may_share_a_list(here):
    """Oxford asks twice with one photo; runs are named by photos. Everything is told apart by the question."""
    pathlib.Path("gt").mkdir()
    for label, good in (("a_1", "p\n"), ("a_2", "r\ns\n"), ("b_1", "r\n")):
        for kind, text in (("query", f"oxc1_{label[0]} 0 0 1 1\n"), ("good", good), ("ok", ""), ("junk", "")):
            pathlib.Path(f"gt/{label}_{kind}.txt").write_text(text)
    for name, first, second in (("one.txt", "p r s", "r p s"), ("two.txt", "r s p", "p r s")):
        lines = [f"{query} Q0 {photo} 1 {9 - n} x\n" for query, row in (("a", first), ("b", second)) for n, photo in enumerate(row.split())]
        pathlib.Path(name).write_text("".join(lines))
    start = ("evaluate", "one.txt", "two.txt", "--protocol", "oxford5k", "--truth", "gt")
    result = call(
        *start, "--json", "--per-query", "p.jsonl", "--qrels", "t.qrels", "--trec-run", "t.run", "--html", "r.html", "--photos", "."
    )
    assert result.code == 0, result.err
    answer = json.loads(result.out)
    first, second = (run["measures"]["map"] for run in answer["runs"])
    assert [run["queries"] for run in answer["runs"]] == [3, 3]
    (row,) = answer["comparisons"]
    assert row["queries"] == 3
    assert row["difference"] == pytest.approx(second - first)
    assert {entry["query"] for entry in (*row["gained"], *row["lost"])} == {"a_1", "a_2", "b_1"}
    assert {line.split()[0] for line in pathlib.Path("t.run").read_text().splitlines()} == {"a_1", "a_2", "b_1"}
    again = json.loads(call("evaluate", "t.run", "--protocol", "qrels", "--truth", "t.qrels", "--json", "--conventions").out)["runs"][0]
    trapezoids = next(row["map"] for row in again["compared"] if (row["ap"], row["list"]) == ("trapezoids", "query in"))
    assert trapezoids == pytest.approx(first)
    import re

    data = json.loads(re.search('id="data">(.*?)</script>', pathlib.Path("r.html").read_text())[1])
    records = [json.loads(line) for line in pathlib.Path("p.jsonl").read_text().splitlines()][:3]
    assert [query["name"] for query in data["queries"]] == ["a_1", "a_2", "b_1"]
    assert [query["runs"][0]["settings"][""]["ap"] for query in data["queries"]] == [record["ap"] for record in records]
    assert [query["runs"][0]["settings"][""]["marks"] for query in data["queries"]] == ["hmm", "mhh", "hmm"]


def test_a_ranking_with_two_lists_of_one_query_is_refused(here):
    from imgret.errors import ImgretError
    from imgret.formats.lists import RankedLists

    with pytest.raises(ImgretError, match=r"^run is damaged \(two lists of query 'q'\): make the ranking again$"):
        RankedLists("run", [b"q", b"q"], [b"q", b"q"], [b"a"], np.array([[0], [0]]))


def test_trec_eval_computes_the_same_of_what_is_written(here):
    """Junk, the query photo, photos that no list holds, scores that tie: of the closed-up run nothing of it is left to convention."""
    pytrec_eval = pytest.importorskip("pytrec_eval")
    lines = []
    for line in pathlib.Path("first.txt").read_text().splitlines():
        topic, _, name, rank, score, tag = line.split()
        if not (topic[0] == "a" and name == "a2.jpg"):
            lines.append(f"{topic} Q0 {name} {rank} {float(score):.1f} {tag}\n")
    pathlib.Path("tied.txt").write_text("".join(lines))
    roles = TRUTH.replace("image,group", "image,group,role").splitlines()
    roles = [roles[0], *(f"{line},{'query' if line.startswith('b1') else 'query+gallery'}" for line in roles[1:]), "z.jpg,c,gallery"]
    pathlib.Path("truth.csv").write_text("\n".join(roles))
    answer = json.loads(evaluate("--json", "--qrels", "t.qrels", "--trec-run", "t.run", rankings=("tied.txt",)).out)
    qrels, ranked = {}, {}
    for line in pathlib.Path("t.qrels").read_text().splitlines():
        topic, _, name, relevance = line.split()
        qrels.setdefault(topic, {})[name] = int(relevance)
    for line in pathlib.Path("t.run").read_text().splitlines():
        topic, _, name, _, score, _ = line.split()
        ranked.setdefault(topic, {})[name] = float(score)
    theirs = pytrec_eval.RelevanceEvaluator(qrels, {"map"}).evaluate(ranked)
    assert np.mean([values["map"] for values in theirs.values()]) == pytest.approx(answer["runs"][0]["measures"]["map"], rel=1e-9)
    again = json.loads(call("evaluate", "t.run", "--protocol", "qrels", "--truth", "t.qrels", "--json").out)
    assert again["runs"][0]["measures"]["map"] == pytest.approx(answer["runs"][0]["measures"]["map"], rel=1e-12)


def test_a_byte_order_mark_is_no_part_of_a_name(here):
    for path in ("first.txt", "truth.csv"):
        pathlib.Path("bom-" + path).write_bytes(b"\xef\xbb\xbf" + pathlib.Path(path).read_bytes())
    result = call("evaluate", "bom-first.txt", "--protocol", "groups", "--truth", "bom-truth.csv", "--json")
    own = json.loads(evaluate("--json", rankings=("first.txt",)).out)
    assert json.loads(result.out)["runs"][0]["measures"] == own["runs"][0]["measures"]


def test_names_do_not_reach_the_terminal_raw(here):
    ugly = "a\x1b]0;pwn\x07\tb.txt"
    pathlib.Path("first.txt").rename(ugly)
    table = evaluate("--format", "table", rankings=(ugly, "second.txt"))
    assert b"\x1b" not in table.out + table.err.encode()
    header = evaluate(rankings=(ugly, "second.txt")).lines[0]
    assert header.split("\t") == ["measure", "a\x1b]0;pwn\x07\\tb.txt", "second.txt"]


def test_usage(here):
    start = ("evaluate", "first.txt", "--protocol", "groups", "--truth", "truth.csv")
    refused(call(*start, "--curve", "c.doc"), 2, "`--curve` must end in one of .tsv, .json, .png, .svg, .pdf, got 'c.doc'")
    refused(call(*start, "--set", "radius=3"), 2, "this method has no parameter `radius`; it has none")
    for arguments, text in (
        (("--html", "x.html"), "--html needs --photos ROOT: the folder that the photos were extracted from"),
        (("--photos", "."), "--photos is for --html"),
        (("--top", "3"), "--top is for --html"),
        (("--most", "3"), "--most is for --html"),
    ):
        result = call(*start, *arguments)
        assert result.code == 2
        assert text in result.err


def test_protocols_are_listed_with_all_they_fix(here):
    from imgret.evaluation import PROTOCOLS

    result = call("evaluate", "--protocol", "help")
    assert result.code == 0
    text = result.out.decode()
    for name in PROTOCOLS:
        assert f"\n{name}: " in "\n" + text
    assert text.count("\n  truncation: ") == len(PROTOCOLS)


def test_ranks_that_contradict_the_scores(here):
    lines = pathlib.Path("first.txt").read_text().splitlines(keepends=True)
    swapped = [lines[0].replace(" 1 ", " 2 ", 1), lines[1].replace(" 2 ", " 1 ", 1), *lines[2:]]
    pathlib.Path("swapped.txt").write_text("".join(swapped))
    result = evaluate("--json", rankings=("swapped.txt",))
    assert "swapped.txt: 1 list whose ranks contradict its scores: the scores decide, as in trec_eval" in result.err
    assert (
        json.loads(result.out)["runs"][0]["measures"] == json.loads(evaluate("--json", rankings=("first.txt",)).out)["runs"][0]["measures"]
    )
    pathlib.Path("swapped.txt").write_text("q Q0 a one 0.5 x\n")
    text = "swapped.txt:1: the rank (fourth field) must be a whole number, got 'one'"
    refused(call("evaluate", "swapped.txt", "--protocol", "groups", "--truth", "truth.csv"), 1, text)


def test_a_page_of_hostile_names(here):
    ugly = ["<script>alert(1)</script>.jpg", "a&b'\".jpg", "../../etc/passwd.jpg", "/etc/hostname.jpg"]
    pathlib.Path("t.csv").write_text("image,group\n" + "".join('"' + name.replace('"', '""') + '",g\n' for name in ugly))
    import urllib.parse

    encoded = [urllib.parse.quote(name, safe="/<>()&'\".") for name in ugly]
    pathlib.Path("r.txt").write_text("".join(f"{query} Q0 {name} 1 {-n} x\n" for query in encoded for n, name in enumerate(encoded)))
    result = call("evaluate", "r.txt", "--protocol", "groups", "--truth", "t.csv", "--html", "r.html", "--photos", ".")
    assert result.code == 0, result.err
    told = "4 photos are shown without a thumbnail: 2 not found below --photos, 2 named outside --photos"
    assert f"imgret: warning: {told}" in result.err
    page = pathlib.Path("r.html").read_text()
    assert "<script>alert" not in page
    assert "alert(1)" in page


def test_many_queries_are_a_sample(here):
    result = evaluate("--html", "r.html", "--photos", ".", "--most", "7", "--top", "3", rankings=("first.txt",))
    assert "imgret: r.html: 7 queries, " in result.err
    assert (
        "7 of 18 queries are shown, evenly spread from the worst to the best; the figures are of all" in pathlib.Path("r.html").read_text()
    )


def test_evaluate_loads_no_network(here):
    code = "import sys, imgret.cli.main as m\ntry:\n m.main(sys.argv[1:])\nexcept SystemExit:\n pass\n"
    code += "assert not {'torch', 'faiss', 'cv2'} & set(sys.modules)"
    import subprocess

    done = subprocess.run(
        [sys.executable, "-c", code, "evaluate", "first.txt", "--protocol", "groups", "--truth", "truth.csv"],
        capture_output=True,
        check=False,
    )
    assert (done.returncode, done.stdout[:4]) == (0, b"meas"), done.stderr
    assert run("evaluate", "first.txt", "--protocol", "groups", "--truth", "truth.csv").out == done.stdout


def test_a_picture_is_drawn_by_no_settings_of_the_current_folder(here):
    """Matplotlib would take them, and they can start programs."""
    pytest.importorskip("matplotlib")
    result = run("evaluate", "first.txt", "--protocol", "groups", "--truth", "truth.csv", "--curve", "before.png")
    assert result.code == 0, result.err
    pathlib.Path("matplotlibrc").write_bytes(b"text.usetex: True\nfigure.facecolor red\n\xff")
    result = run("evaluate", "first.txt", "--protocol", "groups", "--truth", "truth.csv", "--curve", "after.png")
    assert result.code == 0, result.err
    assert pathlib.Path("after.png").read_bytes() == pathlib.Path("before.png").read_bytes()


# many rankings, for a paper


@pytest.fixture
def five(here):
    """Names of five runs: ever better, and the last the same as the one before it."""
    for number in range(5):
        rng = np.random.default_rng(min(number, 3))
        lines = []
        for query in NAMES:
            scores = {photo: rng.random() + 0.2 * min(number, 3) * (photo[0] == query[0]) for photo in NAMES}
            best = sorted(scores.items(), key=lambda pair: -pair[1])[: 18 if number > 1 else 9]
            lines += [f"{query} Q0 {photo} {rank} {score:.6f} run\n" for rank, (photo, score) in enumerate(best, 1)]
        pathlib.Path(f"run{number}.txt").write_text("".join(lines))
    return tuple(f"run{number}.txt" for number in range(5))


def test_more_than_three_rankings_have_a_row_each(five):
    answer = json.loads(evaluate("--json", rankings=five).out)
    lines = evaluate("--format", "table", rankings=five).lines
    head = ["map", "map 95%", "p@1", "p@5", "p@10", "r@1", "r@10", "r@100", "mp@1", "mp@5", "mp@10", "truncation"]
    assert lines[0].split() == " ".join(head).split()
    for line, each in zip(lines[1:6], answer["runs"], strict=True):
        assert line.split()[:2] == [each["label"], f"{each['measures']['map']:.4f}"]
        assert line.split()[-1] == str(each["truncation"])
    assert lines[6] == "each: queries 18, excluded 0, skipped 0"  # what is the same of all is told once
    assert lines[8] == "map of the queries that both answer, second less first: p by the randomisation test"
    assert lines[9].split() == "first second queries difference 95% from to p better worse same".split()
    assert [line.split()[:2] for line in lines[10:14]] == [["run0.txt", name] for name in five[1:]]
    assert lines[15] == "protocol groups"
    assert sum(line.startswith("  ap: ") for line in lines) == 1
    assert evaluate(rankings=five).lines[0].split("\t") == ["measure", *five]  # TSV stays what it is


def test_a_warning_comes_once(five):
    cut = "not in the list, which ends at rank 9: counted as never found; a longer list (search -k) may score higher"
    err = evaluate(rankings=five).err
    assert err.count(cut) == 1
    assert err.startswith("imgret: warning: run0.txt: ")
    assert err.endswith(f"{cut} (so it is, with other numbers, of 1 other ranking)\n")
    roles = (f"{line},{'gallery' if line[0] == 'a' else 'query+gallery'}\n" for line in TRUTH.splitlines()[1:])
    pathlib.Path("asks.csv").write_text("image,group,role\n" + "".join(roles))
    asks = call("evaluate", *five[2:], "--protocol", "groups", "--truth", "asks.csv")
    assert asks.err == "imgret: warning: all 3 rankings: 3 queries of the ranking whose role in the ground truth is not query: skipped\n"
    asks = call("evaluate", *five[3:], "--protocol", "groups", "--truth", "asks.csv")
    assert asks.err == "imgret: warning: both rankings: 3 queries of the ranking whose role in the ground truth is not query: skipped\n"
    from imgret.evaluation.comparison import Evaluation

    of = [types.SimpleNamespace(label=f"r{n}", warnings=["so", "1 list"] if n == 5 else ["so"] if n else []) for n in range(6)]
    assert Evaluation(None, [], of, [], ["n"]).warnings() == ["r1, r2, r3 and 2 more: so", "r5: 1 list", "n"]


def test_labels_name_the_rankings_everywhere(here):
    result = evaluate("--label", "old", "--label", "new one", "--json", "--per-query", "p.jsonl", "--curve", "c.tsv")
    answer = json.loads(result.out)
    assert [each["label"] for each in answer["runs"]] == ["old", "new one"]
    assert (answer["comparisons"][0]["first"], answer["comparisons"][0]["second"]) == ("old", "new one")
    assert {json.loads(line)["run"] for line in pathlib.Path("p.jsonl").read_text().splitlines()} == {"old", "new one"}
    assert pathlib.Path("c.tsv").read_text().startswith("recall\told\tnew one\n")
    assert answer["runs"][0]["measures"] == json.loads(evaluate("--json").out)["runs"][0]["measures"]


def test_labels_that_do_not_fit(here):
    start = ("evaluate", "first.txt", "second.txt", "--protocol", "groups", "--truth", "truth.csv")
    text = "give a --label for each ranking, in their order: there are 2 rankings and 1 label"
    refused(call(*start, "--label", "a"), 2, text)
    refused(call(*start, "--label", "a", "--label", "a"), 2, "two rankings have the --label 'a': give each its own")
    refused(call(*start, "--label", "a", "--label", ""), 2, "a --label must not be empty")
    pathlib.Path("second.txt").write_text("x Q0 y 1 1 x\n")  # what is refused is named by its file
    assert "imgret: error: second.txt and truth.csv share no " in call(*start, "--label", "a", "--label", "b").err


def test_measures_are_chosen(here):
    shown = ("--measures", "r@1, map,queries,map")
    assert [line.split("\t")[0] for line in evaluate(*shown).lines[:5]] == ["measure", "r@1", "map", "map.low", "map.high"]
    answer, whole = (json.loads(evaluate("--json", *of).out) for of in (shown, ()))
    for each, full in zip(answer["runs"], whole["runs"], strict=True):
        assert list(each) == list(full)
        assert list(each["measures"].items()) == [(name, full["measures"][name]) for name in ("r@1", "map")]
        assert each["intervals"] == full["intervals"]
    assert [line.split()[0] for line in evaluate("--format", "table", *shown).lines[1:5]] == ["r@1", "map", "map", "queries"]
    assert evaluate("--format", "csv", *shown).lines[0] == "ranking,r@1,map,map.low,map.high,queries"
    start = ("evaluate", "gone.txt", "--protocol", "groups", "--truth", "truth.csv", "--measures")
    valid = "map, p@1, p@5, p@10, r@1, r@10, r@100, mp@1, mp@5, mp@10, queries, excluded, skipped, truncation"
    for given, name in (("map,uap", "uap"), ("", ""), ("map,", ""), ("MAP", "MAP")):
        refused(call(*start, given), 2, f"--measures: protocol groups has no '{name}'; it has: {valid}")
    start = ("evaluate", "first.txt", *start[2:])
    refused_after_warnings(call(*start, "medium.map"), 2, "--measures: protocol groups has no 'medium.map'; it has no settings")


def test_measures_of_several_settings(here):
    gnd = [{"easy": [0], "hard": [1], "junk": [2]}]
    pathlib.Path("gnd.json").write_text(json.dumps({"imlist": ["a", "b", "c"], "qimlist": ["q"], "gnd": gnd}))
    pathlib.Path("run.txt").write_text("q Q0 c 1 3 x\nq Q0 b 2 2 x\nq Q0 a 3 1 x\n")
    start = ("evaluate", "run.txt", "--protocol", "roxford5k", "--truth", "gnd.json", "--measures")
    names = [line.split("\t")[0] for line in call(*start, "hard.map,mp@1,easy.queries,queries").lines[1:]]
    assert names == ["hard.map", "hard.map.low", "hard.map.high", "easy.mp@1", "medium.mp@1", "hard.mp@1", "easy.queries", "queries"]
    text = "--measures: protocol roxford5k has no '{}'; its settings are: easy, medium, hard"
    for name in ("soft.map", "easy.skipped"):
        refused_after_warnings(call(*start, name), 2, text.format(name))


def test_every_protocol_tells_its_figures(here):
    from imgret.evaluation import PROTOCOLS
    from imgret.registry import load

    pathlib.Path("pairs.csv").write_text("query,reference\na0.jpg,a1.jpg\n")
    figures = json.loads(call("evaluate", "first.txt", "--protocol", "pairs", "--truth", "pairs.csv", "--json").out)["runs"][0]["measures"]
    assert tuple(figures) == load(PROTOCOLS, "pairs", "protocol")().figures
    assert all(load(PROTOCOLS, name, "protocol")().figures for name in PROTOCOLS)
    assert load(PROTOCOLS, "places", "protocol")().figures[0] == "recall@1"


def test_all_pairs_are_tested(five):
    from imgret.evaluation.statistics import holm

    answer = json.loads(evaluate("--json", "--all-pairs", rankings=five).out)
    rows = answer["comparisons"]
    assert [(row["first"], row["second"]) for row in rows] == [(a, b) for n, a in enumerate(five) for b in five[n + 1 :]]
    assert [row["p_adjusted"] for row in rows] == holm([row["p_value"] for row in rows])
    assert rows[-1]["p_adjusted"] == 1.0  # the two that are the same
    alone = json.loads(evaluate("--json", rankings=five).out)["comparisons"]
    assert alone == [{name: value for name, value in row.items() if name != "p_adjusted"} for row in rows[:4]]
    lines = evaluate("--format", "table", "--all-pairs", rankings=five[:2]).lines
    text = "map of the queries that both answer, second less first: p by the randomisation test, and adjusted by Holm's method over "
    text += "1 comparison"
    assert text in lines
    assert lines[lines.index(text) + 1].split() == "first second queries difference 95% from to p p (Holm) better worse same".split()
    tsv = [line.split("\t") for line in evaluate("--all-pairs", rankings=five).lines]
    head = next(place for place, row in enumerate(tsv) if row[0] == "first")
    assert tsv[head][-2:] == ["same", "p_adjusted"]
    assert [float(row[-1]) for row in tsv[head + 1 :]] == [pytest.approx(row["p_adjusted"], abs=1e-6) for row in rows]


def test_rankings_without_a_common_query_are_not_compared(here):
    lines = pathlib.Path("first.txt").read_text().splitlines(keepends=True)
    for name, groups in (("abc.txt", "abc"), ("def.txt", "def")):
        pathlib.Path(name).write_text("".join(line for line in lines if line[0] in groups))
    result = evaluate("--json", "--all-pairs", rankings=("abc.txt", "first.txt", "def.txt"))
    text = "imgret: warning: abc.txt and def.txt answer no query in common: they are not compared"
    assert result.err.splitlines()[-1] == text
    rows = json.loads(result.out)["comparisons"]
    assert [(row["first"], row["second"], row["p_adjusted"]) for row in rows] == [
        ("abc.txt", "first.txt", 1.0),
        ("first.txt", "def.txt", 1.0),
    ]
    for form in ("table", "tsv", "csv", "latex"):
        assert evaluate("--format", form, "--all-pairs", rankings=("abc.txt", "def.txt")).err.splitlines()[-1] == text


def test_all_pairs_that_cannot_be_tested(here):
    start = ("evaluate", "first.txt", "--protocol", "groups", "--truth", "truth.csv", "--all-pairs")
    refused(call(*start), 2, "--all-pairs compares rankings: give at least two")
    refused(call(*start, "second.txt", "--resamples", "0"), 2, "--all-pairs tests by resampling: give --resamples of at least 1")
    text = "what protocol pairs reports is no mean over queries, and is not tested: leave --all-pairs out"
    refused(call("evaluate", "a", "b", "--protocol", "pairs", "--truth", "truth.csv", "--all-pairs"), 2, text)


def test_csv_is_that_of_rfc_4180(here):
    labels = ('a,"b"', "two\nlines")
    result = evaluate("--format", "csv", "--all-pairs", "--measures", "map,queries", "--label", labels[0], "--label", labels[1])
    assert result.out.startswith(b'ranking,map,map.low,map.high,queries\r\n"a,""b""",0.')
    assert result.out.endswith(b"\r\n")
    first, second = result.out.decode().split("\r\n\r\n")
    rows, pairs = (list(csv.reader(io.StringIO(text, newline=""))) for text in (first, second))
    assert [row[0] for row in rows] == ["ranking", *labels]
    assert {len(row) for row in rows} == {5}
    assert [row[:2] for row in pairs] == [["first", "second"], list(labels)]
    assert b"first,second" not in evaluate("--format", "csv").out


def test_latex_is_a_table_of_booktabs(five):
    labels = ("50% & $x_1$ #{a}", "[b] ~ --^", "\\c*", "d", "e")
    given = [word for label in labels for word in ("--label", label)]
    lines = evaluate("--format", "latex", "--measures", "map,r@100,queries", *given, rankings=five).lines
    comments = [line for line in lines if line.startswith("% ")]
    assert comments[0] == "% protocol groups"
    table = lines[len(comments) :]
    assert table[:4] == ["\\begin{tabular}{lrrr}", "\\toprule", " & map & r@100 & queries \\\\", "\\midrule"]
    assert table[-2:] == ["\\bottomrule", "\\end{tabular}"]
    cells = [line.removesuffix(" \\\\").split(" & ") for line in table[5:-2]]
    assert table[4].startswith("50\\% \\& \\$x\\_1\\$ \\#\\{a\\} & 0.")
    assert [row[0] for row in cells] == ["{[}b] \\textasciitilde{} -{}-\\textasciicircum{}", "\\textbackslash{}c{*}", "d", "e"]
    assert [row[2] for row in cells[1:]] == ["\\textbf{1.0000}"] * 3  # all that are best
    assert [row[1].startswith("\\textbf") for row in cells] == [False, False, True, True]
    assert {row[3] for row in cells} == {"18"}
    alone = evaluate("--format", "latex", rankings=five[:1]).lines
    assert not any("textbf" in line for line in alone)
    assert alone[-5].count("&") == 10  # all measures and no count
    pairs = evaluate("--format", "latex", "--all-pairs", rankings=five[:2]).lines
    start = pairs.index("\\end{tabular}") + 2
    assert pairs[start] == "\\begin{tabular}{llrrrrrrrrr}"
    assert pairs[start + 4].startswith("run0.txt & run1.txt & 18 & $")


def test_a_picture_tells_eight_curves_apart(five):
    pytest.importorskip("matplotlib")
    from imgret.evaluation.curves import COLOURS, DASHES

    assert len({*COLOURS}) == len({*map(str, DASHES)}) == 8
    err = evaluate("--curve", "c.svg", rankings=(*five, *five[:4])).err
    assert "imgret: warning: the picture of the curves shows the first 8 of 9 rankings: a .tsv or .json file has all\n" in err
    picture = pathlib.Path("c.svg").read_text()
    assert all(f"stroke: {colour}" in picture for colour in COLOURS if colour != "#000000")
    assert picture.count("stroke-dasharray") >= 2 * 7  # each in the panel and in the legend
    assert "the first 8" not in evaluate("--curve", "c.tsv", rankings=(*five, *five[:4])).err


def test_a_panel_for_each_of_several_settings(here):
    pytest.importorskip("matplotlib")
    gnd = [{"easy": [0], "hard": [1], "junk": [2]}]
    pathlib.Path("gnd.json").write_text(json.dumps({"imlist": ["a", "b", "c"], "qimlist": ["q"], "gnd": gnd}))
    pathlib.Path("one.txt").write_text("q Q0 c 1 3 x\nq Q0 b 2 2 x\nq Q0 a 3 1 x\n")
    pathlib.Path("two.txt").write_text("q Q0 b 1 3 x\nq Q0 a 2 2 x\nq Q0 c 3 1 x\n")
    start = ("--protocol", "roxford5k", "--truth", "gnd.json", "--overwrite", "--curve", "c.svg")
    for rankings, panels in ((("one.txt",), 1), (("one.txt", "two.txt"), 3)):
        assert call("evaluate", *rankings, *start).code == 0
        assert pathlib.Path("c.svg").read_text().count('id="legend_') == panels
