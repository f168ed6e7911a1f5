"""Copydays, places, pairs, TREC judgements and metric learning, against slow loops; what they say of input that is not so."""

import csv
import json
import math
import re

import numpy as np
import pytest
import reference_evaluation as reference
from helpers import call
from helpers import refused as refused_command

from imgret import registry
from imgret.errors import ImgretError
from imgret.evaluation import PROTOCOLS
from imgret.evaluation.judgements import qrels_lines
from imgret.evaluation.protocols.places import within
from imgret.formats.lists import RankedLists
from imgret.formats.places import position_of
from imgret.formats.trec import read_qrels, trec_lines


def protocol(name, *settings):
    kind = registry.load(PROTOCOLS, name, "protocol")
    return kind(kind.Params.parse(settings))


def ranked(lists, gallery=None, scores=None, **options):
    """RankedLists of {query: [names]}; scores go down from 1 unless they are given, {query: [scores]}."""
    names = sorted(set(gallery or []) | {name for row in lists.values() for name in row})
    where = {name: place for place, name in enumerate(names)}
    longest = max(map(len, lists.values()), default=0)
    ids = np.full((len(lists), longest), -1, dtype=np.int32)
    values = np.full(ids.shape, np.nan, dtype=np.float32)
    for number, (query, row) in enumerate(lists.items()):
        ids[number, : len(row)] = [where[name] for name in row]
        values[number, : len(row)] = scores[query] if scores else 1 / np.arange(1, len(row) + 1)
    return RankedLists("run", list(lists), list(lists), names, ids, values, **options)


def refused(sentence):
    return pytest.raises(ImgretError, match=f"^{re.escape(sentence)}$")


def write(path, text):
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


# Copydays


COPIES = [b"crops/50/200000.jpg", b"crops/50/200100.jpg", b"jpegqual/3/200000.jpg", b"strong/200001.jpg", b"strong/200102.jpg"]
ORIGINALS = [b"original/200000.jpg", b"original/200100.jpg", b"original/200200.jpg"]


def test_copydays_against_the_loop():
    rng = np.random.default_rng(0)
    gallery = ORIGINALS + COPIES + [b"distractors/a.jpg", b"distractors/b.jpg"]
    lists = {query: [gallery[place] for place in rng.permutation(len(gallery))] for query in COPIES + ORIGINALS[:1]}
    result = protocol("copydays").evaluate(ranked(lists))
    aps = {query: reference.trapezoid(lists[query], {b"original/" + query[-10:-6] + b"00.jpg"}, COPIES) for query in COPIES}
    assert result.measures["all.map"] == pytest.approx(np.mean(list(aps.values())), rel=1e-12)
    for setting in ("crops/50", "jpegqual/3", "strong"):
        mine = [ap for query, ap in aps.items() if query.startswith(setting.encode())]
        assert result.measures[f"{setting}.map"] == pytest.approx(np.mean(mine), rel=1e-12)
        assert result.settings[setting] == {"queries": len(mine), "excluded": 0}
    assert result.skipped == 1
    assert result.warnings == [
        "1 query of the ranking not a copy of Copydays: skipped",
        "5 gallery photos not an original but a copy: taken out of every list",
    ]


def test_a_folder_of_copies_may_be_called_all():
    result = protocol("copydays").evaluate(
        ranked({b"all/200000.jpg": [b"original/200000.jpg"], b"strong/200001.jpg": [b"original/200000.jpg"]})
    )
    assert {name: entry["queries"] for name, entry in result.settings.items()} == {"all": 2, "all/": 1, "strong": 1}


def test_copydays_with_one_manipulation_and_a_gallery_without_folders():
    lists = {b"200001.jpg": [b"200100.jpg", b"200000.jpg"], b"200301.jpg": [b"200000.jpg"]}
    result = protocol("copydays").evaluate(ranked(lists))
    assert result.measures["all.map"] == result.measures["copies.map"] == 0.25  # trapezoid at rank 2 of one positive
    assert result.settings == {"all": {"queries": 1, "excluded": 1}, "copies": {"queries": 1, "excluded": 1}}
    assert result.excluded == 1
    assert "1 query whose original is not in the gallery: excluded" in result.warnings


def test_copydays_refusals():
    with refused(
        "run has no original of Copydays in its gallery (a number of six digits that ends in 00, in a folder `original` or in none): "
        "index the originals"
    ):
        protocol("copydays").evaluate(ranked({b"strong/200001.jpg": [b"x.jpg", b"crops/10/200000.jpg"]}))
    with refused("run has two originals of one number ('a/original/200000.jpg' and 'original/200000.png'): Copydays' numbers are distinct"):
        protocol("copydays").evaluate(ranked({b"strong/200001.jpg": [b"original/200000.png", b"a/original/200000.jpg"]}))
    with refused("no query of run can be evaluated by protocol copydays: 1 may not ask, 0 have no positive"):
        protocol("copydays").evaluate(ranked({b"original/200000.jpg": [b"original/200000.jpg"]}))


# Places


@pytest.mark.parametrize("radius", [25, 7.5])
def test_places_against_the_loop(tmp_path, radius):
    rng = np.random.default_rng(1)
    positions = {b"db/@%.1f@%.1f@17@T@%d.jpg" % (*rng.uniform(-100, 100, 2), number): None for number in range(120)}
    for name in positions:
        positions[name] = tuple(map(float, name.split(b"@")[1:3]))
    gallery, asking = list(positions)[:100], list(positions)[100:]
    lists = {query: [gallery[place] for place in rng.permutation(100)[:20]] for query in asking}
    lists[gallery[0]] = [gallery[0], *gallery[1:12]]  # the query itself is no answer
    result = protocol("places", f"radius={radius}", "at=1,5,10").evaluate(ranked(lists, gallery))
    near = {
        query: {name for name in gallery if name != query and math.dist(positions[query], positions[name]) <= radius} for query in lists
    }
    for k in (1, 5, 10):
        hits = [any(name in near[query] for name in [n for n in row if n != query][:k]) for query, row in lists.items()]
        assert result.measures[f"recall@{k}"] == np.mean(hits)
    assert [record["positives"] for record in result.per_query] == [len(near[query]) for query in lists]
    assert list(result.measures) == ["recall@1", "recall@5", "recall@10"]
    assert "ap" not in result.per_query[0]
    lonely = sum(not each for each in near.values())
    assert any(text.startswith(f"{lonely} quer") for text in result.warnings if "count as not recalled" in text) is bool(lonely)

    truth = tmp_path / "utm.csv"
    with open(truth, "w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["north", "image", "east"])
        writer.writerows([north, f"p{number}", east] for number, (east, north) in enumerate(positions.values()))
    renamed = {name: b"p%d" % number for number, name in enumerate(positions)}
    lists = {renamed[query]: [renamed[name] for name in row] for query, row in lists.items()}
    again = protocol("places", f"radius={radius}", "at=1,5,10").evaluate(ranked(lists, [renamed[name] for name in gallery]), truth)
    assert again.measures == result.measures


def test_places_by_the_grid_at_its_edges():
    """Points on cell borders, negative ones, and far ones in UTM metres; zones never match."""
    points = np.array([[0, 0], [25, 0], [25.0001, 0], [-25, 0], [0, -25], [18, 18], [17.6, 17.6]], dtype=float)
    for shift in (0, 500_000.5, -4_477_123.25):
        same = np.zeros(len(points), dtype=int)
        found = within(points + shift, same, points[:1] + shift, same[:1], 25.0)
        assert found[0].tolist() == [0, 1, 3, 4, 6]
    assert within(points, same, points[:1], same[:1] + 1, 25.0)[0].tolist() == []
    assert within(points[:0], same[:0], points[:1], same[:1], 25.0)[0].tolist() == []


def test_positions_in_names():
    assert position_of(b"db/@0584123.45@4477123.10@17@T@.jpg") == (584123.45, 4477123.1, b"17")
    assert position_of(b"@1@2@.jpg") == (1.0, 2.0, b"")
    for name in (b"@nan@2@17@", b"@1e300@2@17@", b"x@1@", b"@a@b@17@T", b"plain.jpg"):
        assert position_of(name) is None


def test_positions_that_cannot_be_metres_are_told_of(tmp_path):
    truth = write(tmp_path / "t.csv", "image,east,north,zone\nq,48.1,11.5,\na,48.2,11.6,17\n")
    warnings = protocol("places").evaluate(ranked({b"q": [b"a"]}), truth).warnings
    assert "all positions are within 180: are they degrees? Metres are needed" in warnings
    assert "some positions have a zone and others have none: these never match each other" in warnings


def test_places_refusals(tmp_path):
    lists = ranked({b"q": [b"a", b"b"]})
    with refused("no gallery photo of run has a position in the names (@east@north@), for example 'a'; give a CSV with --truth"):
        protocol("places").evaluate(lists)
    truth = write(tmp_path / "t.csv", "image,east,north\na,1,2\n")
    with refused(f"no query of run has a position in {truth}, for example 'q'; write the names as the ranking has them"):
        protocol("places").evaluate(lists, truth)
    for text, sentence in {
        "": "{} is empty: the ground truth must be a CSV with the header image,east,north (and, if need be, zone, role, traversal)",
        "image,x,y\n": "{}:1: the first line must be the header image,east,north (and, if need be, zone, role, traversal), got 'image,x,y'",
        "image,east,north\n": "{} lists no image: one line per image is expected below the header",
        "image,east,north\na,1\n": "{}:2: 3 fields are expected (image,east,north), this line has 2",
        "image,east,north\na,1,2\n\na,1,2\n": "{}:4: 'a' is listed again: one line per image",
        "image,east,north\na,1,nan\n": "{}:2: north must be a number of metres, got 'nan'",
        "image,east,north\na,x,2\n": "{}:2: east must be a number of metres, got 'x'",
    }.items():
        write(truth, text)
        with refused(sentence.format(truth)):
            protocol("places").evaluate(lists, truth)


def test_places_on_the_command_line(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write(tmp_path / "run.txt", "@0@0@1@T@q Q0 @0@20@1@T@a 1 2 x\n@0@0@1@T@q Q0 @0@40@1@T@b 2 1 x\n")
    result = call("evaluate", "run.txt", "--protocol", "places", "--set", "radius=10", "--json")
    answer = json.loads(result.out)
    assert answer["parameters"] == {"radius": 10.0, "at": [1, 5, 10, 20, 100]}
    assert answer["runs"][0]["measures"]["recall@100"] == 0.0
    assert answer["runs"][0]["intervals"] == {"recall@1": [0.0, 0.0]}
    refused_command(
        call("evaluate", "run.txt", "--protocol", "places", "--set", "radius=0"),
        2,
        "`radius` must be a number from 0.001 to 1000000.0, got 0.0",
    )


# Pairs


@pytest.mark.parametrize("seed", range(4))
def test_micro_average_precision_against_the_loop(tmp_path, seed):
    rng = np.random.default_rng(seed)
    gallery = [b"r%d.jpg" % number for number in range(8)]
    lists, scores = {}, {}
    for number in range(6):
        query = b"q%d.jpg" % number
        lists[query] = [gallery[place] for place in rng.permutation(8)[: rng.integers(1, 8)]]
        scores[query] = np.sort(rng.integers(0, 6, len(lists[query])) / 4)[::-1]  # many ties
    truth = {(f"q{query}", f"r{photo}") for query, photo in zip(rng.integers(0, 7, 9), rng.integers(0, 9, 9), strict=True)}
    path = write(tmp_path / "t.csv", "query_id,reference_id\nq77,\n" + "".join(f"{query},{photo}\n" for query, photo in sorted(truth)))
    result = protocol("pairs").evaluate(ranked(lists, gallery, scores), path)
    pairs = [
        (score, (query[:-4].decode(), name[:-4].decode()) in truth)
        for query, row in lists.items()
        for name, score in zip(row, scores[query], strict=True)
    ]
    assert result.measures["uap"] == pytest.approx(reference.micro_average_precision(pairs, len(truth)), rel=1e-12)
    best = 0.0
    for threshold in {score for score, _ in pairs}:
        taken = [true for score, true in pairs if score >= threshold]
        if sum(taken) >= 0.9 * len(taken):
            best = max(best, sum(taken) / len(truth))
    assert result.measures["recall@p90"] == pytest.approx(best)
    assert result.queries == 6
    assert sorted(result.absent) == sorted({photo for _, photo in truth if photo == "r8"})
    assert any("their pairs count as never found" in text for text in result.warnings) is any(query == "q6" for query, _ in truth)


def test_pairs_leave_the_query_out_and_are_no_mean(tmp_path):
    path = write(tmp_path / "t.csv", "query,reference\na,b\n")
    result = protocol("pairs").evaluate(ranked({b"a": [b"a", b"b"], b"c": [b"c", b"b"]}), path)
    assert result.measures["uap"] == 0.5  # a-b and c-b at one score
    assert [record["ap"] for record in result.per_query] == [None, None]
    assert [record["positives"] for record in result.per_query] == [1, 0]


def test_pairs_refusals(tmp_path):
    path = write(tmp_path / "t.csv", "query,reference\na,b\n")
    lists = RankedLists("run", [b"a"], [b"a"], [b"b"], np.array([[0]]))
    with refused("run: µAP ranks the pairs of all queries by score, and it has none: give a ranking store or a TREC run"):
        protocol("pairs").evaluate(lists, path)
    with refused(f"run and {path} share no query: the ranking asks with 'x', the ground truth with 'a'"):
        protocol("pairs").evaluate(ranked({b"x": [b"b"]}), path)
    write(path, "query,reference\na,a\n")
    with refused(f"{path}: 'a' is paired with itself: a query photo is taken out of its own list"):
        protocol("pairs").evaluate(ranked({b"a": [b"b"]}), path)
    write(path, "query,reference\na,b\n")
    with refused("run has two lists for query 'a': keep one"):
        protocol("pairs").evaluate(ranked({b"a.jpg": [b"b"], b"x/a.png": [b"b"]}), path)
    for text, sentence in {
        "query,reference\na,b\na,b\n": "{}:3: the pair 'a', 'b' is listed twice",
        "query,reference\n,b\n": "{}:2: the query has no name",
        "query,reference\na,\n": "{} lists no pair: one line per pair is expected below the header",
        "query,reference\na,b\na,\n": "{}:3: 'a' is listed with a reference and without one: keep one",
        "query,reference\na,\na,b\n": "{}:3: 'a' is listed with a reference and without one: keep one",
        "query,ref\n": "{}:1: the first line must be the header query,reference, got 'query,ref'",
        "query,reference\na.jpg,b\na.png,b\n": "{}: two queries are called 'a' without folder and extension",
    }.items():
        write(path, text)
        with refused(sentence.format(path)):
            protocol("pairs").evaluate(ranked({b"a": [b"b"]}), path)
    (tmp_path / "lists").mkdir()
    write(tmp_path / "lists" / "a.txt", "b\n")
    write(path, "query,reference\na,b\n")
    with pytest.raises(ImgretError, match="text lists have none"):
        protocol("pairs").read_folder(tmp_path / "lists", path)


# TREC judgements


def judgements(tmp_path, seed, *, junk=False):
    """Random lists and judgements: (lists, path, {topic: {name: relevance}})."""
    rng = np.random.default_rng(seed)
    gallery = [b"d%d" % number for number in range(40)]
    lists = {b"t%d" % number: [gallery[place] for place in rng.permutation(40)[:25]] for number in range(8)}
    judged = {}
    for topic in list(lists)[:7] + [b"unasked"]:
        grades = rng.choice([-1, 0, 1, 2] if junk else [0, 1, 2], 15)
        judged[topic] = {gallery[place]: int(grade) for place, grade in zip(rng.permutation(40)[:15], grades, strict=True)}
    lines = [f"{topic.decode()} 0 {name.decode()} {grade}" for topic, names in judged.items() for name, grade in names.items()]
    rng.shuffle(lines)
    return lists, write(tmp_path / "t.qrels", "\n".join(lines) + "\n"), judged


def test_trec_evals_measures_agree(tmp_path):
    """On runs without junk, through trec_eval itself."""
    pytrec_eval = pytest.importorskip("pytrec_eval")
    lists, path, judged = judgements(tmp_path, 0)
    result = protocol("qrels").evaluate(ranked(lists), path)
    names = {"map", "P.1,5,10", "recall.1,10,100", "Rprec", "recip_rank"}
    plain = {topic.decode(): {name.decode(): max(0, grade) for name, grade in names.items()} for topic, names in judged.items()}
    run = {topic.decode(): {name.decode(): -float(place) for place, name in enumerate(row)} for topic, row in lists.items()}
    theirs = pytrec_eval.RelevanceEvaluator(plain, names).evaluate(run)
    ours = {"map": "map", "r-precision": "Rprec", "mrr": "recip_rank"}
    ours |= {f"p@{k}": f"P_{k}" for k in (1, 5, 10)} | {f"r@{k}": f"recall_{k}" for k in (1, 10, 100)}
    assert len(theirs) == result.queries == 7
    for mine, other in ours.items():
        assert result.measures[mine] == pytest.approx(np.mean([values[other] for values in theirs.values()]), abs=1e-9)
    assert [record["ap"] for record in result.per_query] == pytest.approx([theirs[record["query"]]["map"] for record in result.per_query])


def test_our_own_runs_and_judgements_in_trec_eval(tmp_path):
    """What imgret writes, another program reads: groups, the query photo out of its list, as a run and judgements."""
    pytrec_eval = pytest.importorskip("pytrec_eval")
    rng = np.random.default_rng(3)
    names = [b"a photo %d.jpg" % number for number in range(12)]
    truth = write(tmp_path / "t.csv", b"image,group\n" + b"".join(b"%b,%d\n" % (name, number // 3) for number, name in enumerate(names)))
    lists = {query: [names[place] for place in rng.permutation(12) if names[place] != query] for query in names}
    judged = protocol("groups").judge(ranked(lists), truth)
    run, qrels = {}, {}
    for line in trec_lines(judged.lists, "imgret"):
        topic, _, name, _, score, _ = line.split()
        run.setdefault(topic, {})[name] = float(score)
    for line in qrels_lines(judged, ""):
        topic, _, name, relevance = line.split()
        qrels.setdefault(topic, {})[name] = int(relevance)
    theirs = pytrec_eval.RelevanceEvaluator(qrels, {"map"}).evaluate(run)
    assert judged.result().measures["map"] == pytest.approx(np.mean([values["map"] for values in theirs.values()]), abs=1e-9)


def test_judgements_below_zero_are_taken_out(tmp_path):
    lists, path, judged = judgements(tmp_path, 1, junk=True)
    result = protocol("qrels").evaluate(ranked(lists), path)
    slow = []
    for topic, names in judged.items():
        positives = {name for name, grade in names.items() if grade > 0}
        if topic in lists and positives:
            closed = reference.closed_up(lists[topic], {name for name, grade in names.items() if grade < 0})
            slow.append(reference.average_precision(closed, positives))
    assert sorted(record["ap"] for record in result.per_query) == pytest.approx(sorted(slow), rel=1e-12)
    assert "1 query of the ground truth without a list in the ranking: left out of the means" in result.warnings


def test_judgements_come_back(tmp_path):
    lists, path, judged = judgements(tmp_path, 2, junk=True)
    first = protocol("qrels").judge(ranked(lists), path)
    again = write(tmp_path / "again.qrels", "".join(line + "\n" for line in qrels_lines(first, "")))
    known = {topic: {name: (grade > 0) - (grade < 0) for name, grade in names.items() if grade} for topic, names in judged.items()}
    gallery = set(first.lists.names)
    asked = [first.lists.query_ids[question.row] for question in first.asked.settings[""]]
    expected = {topic: {name: grade for name, grade in known[topic].items() if name in gallery} for topic in asked}
    assert read_qrels(again) == expected


def test_qrels_refusals(tmp_path):
    path = tmp_path / "t.qrels"
    for text, sentence in {
        "": "{} is empty: it holds no judgement",
        "t 0 d\n": "{}:1: a line of judgements has four fields (topic iteration name relevance), this one has 3",
        "t 0 d 1\n\nt 0 d x\n": "{}:3: the relevance (fourth field) must be a whole number, got 'x'",
        "t 0 d 1\nt 0 d 0\n": "{}:2: 'd' is judged twice for topic 't'",
    }.items():
        write(path, text)
        with refused(sentence.format(path)):
            protocol("qrels").evaluate(ranked({b"t": [b"d"]}), path)
    write(path, "x 0 d 1\n")
    with refused(f"run and {path} share no query: the ranking asks with 't', the judgements with 'x'"):
        protocol("qrels").evaluate(ranked({b"t": [b"d"]}), path)


# Metric learning


def test_folders_measure_what_metric_learning_measures():
    rng = np.random.default_rng(5)
    names = [b"%d/%d.jpg" % (number % 5, number) for number in range(30)]
    lists = {query: [names[place] for place in rng.permutation(30)] for query in names}
    result = protocol("folders").evaluate(ranked(lists))
    values = {"r-precision": [], "map@r": [], "recall@1": [], "recall@4": []}
    for query, row in lists.items():
        positives = {name for name in names if name.split(b"/")[0] == query.split(b"/")[0] and name != query}
        closed = reference.closed_up(row, {query})
        values["r-precision"].append(reference.recall_at(closed, positives, len(positives)))
        values["map@r"].append(reference.map_at_r(closed, positives))
        for k in (1, 4):
            values[f"recall@{k}"].append(any(name in positives for name in closed[:k]))
    for name, each in values.items():
        assert result.measures[name] == pytest.approx(np.mean(each), rel=1e-12)
