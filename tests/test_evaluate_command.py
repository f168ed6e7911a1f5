"""`imgret evaluate`: what it prints and writes, one ranking or several, and what it refuses."""

import json
import pathlib
import sys

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

    found = set(paths(json.loads(evaluate("--json", "--conventions").out)))
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
