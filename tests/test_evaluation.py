"""imgret.evaluation against slow loops, the official program's numbers, and input by strangers."""

import dataclasses
import errno
import json
import os
import pathlib
import re

import numpy as np
import pytest
import reference_evaluation as reference

from imgret import registry
from imgret.errors import ImgretError, UsageError
from imgret.evaluation import PROTOCOLS, measures
from imgret.evaluation.asking import Asking
from imgret.evaluation.protocols.folders import folder_of
from imgret.evaluation.protocols.holidays import number_of as holidays_number
from imgret.evaluation.protocols.ukbench import number_of as ukbench_number
from imgret.evaluation.questions import Question
from imgret.evaluation.result import dumps
from imgret.formats import files, groundtruth
from imgret.formats.listfolder import read_folder
from imgret.formats.lists import RankedLists
from imgret.formats.trec import read_trec, trec_lines
from imgret.names import bare, shown, to_bytes, to_text, trec_escape, trec_unescape, tsv_escape

UGLY = [
    b"a b.jpg",
    b"tab\tnew\nline\r.jpg",
    b"100%.jpg",
    b"caf\xe9.jpg",
    "Zürich.jpg".encode(),
    b"back\\slash.jpg",
    b'q"uote,;.jpg',
    b"%41.jpg",
]
MEASURES = ["map", "p@1", "p@5", "p@10", "r@1", "r@10", "r@100", "mp@1", "mp@5", "mp@10"]


def protocol(name):
    return registry.load(PROTOCOLS, name, "protocol")()


def ranked(lists, gallery=None, queries=None, **options):
    """RankedLists of {query: [names]}."""
    names = sorted(set(gallery or []) | {name for row in lists.values() for name in row})
    where = {name: place for place, name in enumerate(names)}
    longest = max(map(len, lists.values()), default=0)
    ids = np.full((len(lists), longest), -1, dtype=np.int32)
    for place, row in zip(ids, lists.values(), strict=True):
        place[: len(row)] = [where[name] for name in row]
    photos = list(lists) if queries is None else queries
    return RankedLists("run", photos, list(lists), names, ids, **options)


def refused(sentence):
    return pytest.raises(ImgretError, match=f"^{re.escape(sentence)}$")


def write(path, data):
    path.write_bytes(data if isinstance(data, bytes) else data.encode())
    return path


@pytest.fixture
def data():
    folder = os.environ.get("IMGRET_TEST_DATA")
    if not folder:
        pytest.skip("IMGRET_TEST_DATA is unset")
    return pathlib.Path(folder)


# Measures


def packed(rows):
    offsets = np.concatenate([[0], np.cumsum([len(row) for row in rows])])
    return np.array([rank for row in rows for rank in row], dtype=np.int64), offsets


@pytest.mark.parametrize("seed", range(5))
def test_measures_against_loops(seed):
    rng = np.random.default_rng(seed)
    lists, sets = [], []
    for _ in range(40):
        size = int(rng.integers(0, 60))
        universe = list(range(80))
        rng.shuffle(universe)
        lists.append(universe[:size])  # truncated: some positives are not in the list
        sets.append(set(rng.choice(80, size=int(rng.integers(1, 20)), replace=False).tolist()))
    ranks, offsets = packed([[rank for rank, name in enumerate(row, 1) if name in good] for row, good in zip(lists, sets, strict=True)])
    positives = np.array([len(good) for good in sets])
    pairs = list(zip(lists, sets, strict=True))
    for ours, slow in [
        (measures.average_precision(ranks, offsets, positives), [reference.average_precision(*pair) for pair in pairs]),
        (measures.average_precision_trapezoid(ranks, offsets, positives), [reference.trapezoid(*pair) for pair in pairs]),
        (measures.ns_score(ranks, offsets), [reference.ns(*pair) for pair in pairs]),
        *(
            pair
            for k in (1, 3, 10, 100)
            for pair in [
                (measures.precision_at(ranks, offsets, k), [reference.precision_at(*pair, k) for pair in pairs]),
                (measures.recall_at(ranks, offsets, positives, k), [reference.recall_at(*pair, k) for pair in pairs]),
                (
                    measures.revisited_precision_at(ranks, offsets, positives, k),
                    [reference.revisited_precision_at(*pair, k) for pair in pairs],
                ),
            ]
        ),
    ]:
        assert ours.dtype == np.float64
        np.testing.assert_allclose(ours, slow, rtol=1e-12, atol=1e-15)


def test_measures_of_known_lists():
    ranks, offsets = packed([[1, 2, 3], [2, 4], []])
    positives = np.array([3, 4, 2])
    np.testing.assert_allclose(measures.average_precision(ranks, offsets, positives), [1, (1 / 2 + 2 / 4) / 4, 0])
    np.testing.assert_allclose(measures.average_precision_trapezoid(ranks, offsets, positives), [1, (0 + 1 / 2 + 1 / 3 + 1 / 2) / 8, 0])
    np.testing.assert_allclose(measures.revisited_precision_at(ranks, offsets, positives, 10), [1, 0.2, 0])
    np.testing.assert_allclose(measures.precision_at(ranks, offsets, 10), [0.3, 0.2, 0])


# The official program's numbers


@pytest.mark.parametrize(
    ("run", "mean"),
    [("result_resnet50_noval", 0.40533), ("result_sift_top2000_k20_bfcrosscheck", 0.24679), ("result-orb-knn-top100", 0.13317)],
)
def test_official_oxford_average_precision(data, run, mean):
    truth, folder = data / "oxford5k/groundtruth", data / "oxford5k/rankings" / run
    lists = protocol("oxford5k").read_folder(folder, truth)
    result = protocol("oxford5k").evaluate(lists, truth)
    official = {}
    for line in (folder / "AP.txt").read_text().splitlines():
        if line.startswith("./"):
            name, value = line.split()
            official[name.rpartition("/")[2]] = float(value)
    assert {record["query"]: record["ap"] for record in result.per_query} == pytest.approx(official, abs=1e-5)
    assert result.queries == 55
    assert result.measures["map"] == pytest.approx(mean, abs=1e-5)


def test_oxford_against_the_loop_on_the_real_ground_truth(data):
    truth = data / "oxford5k/groundtruth"
    names = (data / "oxford5k/names.txt").read_bytes().split()
    rng = np.random.default_rng(1)
    queries = groundtruth.read_oxford(truth)
    lists = {query.photo: [names[place] for place in rng.permutation(len(names))[:3000]] for query in queries}
    renamed = {b"jpg/" + query + b".jpg": [b"jpg/" + name + b".jpg" for name in row] for query, row in lists.items()}
    result = protocol("oxford5k").evaluate(ranked(renamed, gallery=[b"jpg/" + name + b".jpg" for name in names]), truth)
    for query, record in zip(queries, result.per_query, strict=True):
        assert record["query"] == to_text(query.label)
        assert record["ap"] == pytest.approx(reference.trapezoid(lists[query.photo], query.positives, query.junk), rel=1e-12)
        kept = reference.closed_up(lists[query.photo], query.junk)
        assert record["first_hit"] == reference.first_hit(kept, query.positives)
        assert record["positives"] == len(query.positives)


# groups


def csv_of(truth):
    return "image,group,role\n" + "".join(
        f"{name.decode()},{';'.join(sorted(belongs))},{role}\n" for name, (belongs, role) in truth.items()
    )


@pytest.mark.parametrize("seed", range(6))
def test_groups_against_the_loop(tmp_path, seed):
    rng = np.random.default_rng(seed)
    roles = ["query", "gallery", "query+gallery", "distractor"]
    truth = {}
    for photo in range(60):
        belongs = {f"g{group}" for group in rng.choice(8, size=int(rng.integers(0, 3)), replace=False)}
        truth[b"p%02d.jpg" % photo] = (belongs, roles[rng.choice(4, p=[0.3, 0.3, 0.3, 0.1] if seed % 2 else [0.7, 0.1, 0.1, 0.1])])
    pool = [name for name in truth if rng.random() < 0.9] + [b"unlisted%d.jpg" % photo for photo in range(10)]
    lists = {}
    for query in [*truth, b"stranger.jpg"]:
        lists[query] = [pool[place] for place in rng.permutation(len(pool))[: int(rng.integers(0, len(pool) + 1))]]
    result = protocol("groups").evaluate(ranked(lists, gallery=pool), write(tmp_path / "truth.csv", csv_of(truth)))
    slow, skipped, excluded = [], 0, 0
    for query, row in lists.items():
        answer = reference.groups(truth, query, row)
        if answer is None:
            skipped += 1
        elif not answer[1]:
            excluded += 1
        else:
            kept, positives = answer
            slow.append(
                {
                    "query": query.decode(),
                    "ap": pytest.approx(reference.average_precision(kept, positives), rel=1e-12),
                    "positives": len(positives),
                    "found": sum(name in positives for name in kept),
                    "first_hit": reference.first_hit(kept, positives),
                }
            )
    assert result.per_query == slow
    assert (result.queries, result.skipped, result.excluded) == (len(slow), skipped, excluded)
    assert result.truncation == max(len(lists[to_bytes(record["query"])]) for record in slow)
    answers = [reference.groups(truth, query, lists[query]) for query in (to_bytes(record["query"]) for record in slow)]
    for k in (1, 5, 10):
        assert result.measures[f"p@{k}"] == pytest.approx(np.mean([reference.precision_at(*answer, k) for answer in answers]))
        assert result.measures[f"mp@{k}"] == pytest.approx(np.mean([reference.revisited_precision_at(*answer, k) for answer in answers]))
    for k in (1, 10, 100):
        assert result.measures[f"r@{k}"] == pytest.approx(np.mean([reference.recall_at(*answer, k) for answer in answers]))
    assert result.measures["map"] == pytest.approx(np.mean([record["ap"] for record in result.per_query]))


def test_groups_without_roles_leaves_the_query_out(tmp_path):
    truth = write(tmp_path / "truth.csv", "image,group\na1,a\na2,a\nb1,b\n")
    result = protocol("groups").evaluate(ranked({b"a1": [b"a1", b"b1", b"a2"], b"b1": [b"b1", b"a1", b"a2"]}), truth)
    assert result.per_query == [{"query": "a1", "ap": 0.5, "positives": 1, "found": 1, "first_hit": 2}]
    assert (result.excluded, result.skipped) == (1, 0)
    assert result.warnings == [
        "1 query without positives in the ground truth: excluded",
        "1 query of the ground truth without a list in the ranking: left out of the means",
    ]


def test_groups_warns_of_what_the_lists_cannot_show(tmp_path):
    truth = write(tmp_path / "truth.csv", "image,group\n" + "".join(f"a{number},a\n" for number in range(5)))
    lists = {b"a0": [b"a1", b"x"], b"a1": [b"a0", b"a2"], b"stranger": [b"a0", b"x"]}
    result = protocol("groups").evaluate(ranked(lists, gallery=[b"a3"]), truth)
    assert [record["found"] for record in result.per_query] == [1, 2]
    assert result.warnings == [
        "1 query of the ranking not in the ground truth: skipped",
        "3 queries of the ground truth without a list in the ranking: left out of the means",
        "1 positive photo of the ground truth nowhere in the ranking (for example 'a4'): counted as never found",
        "5 positives of 2 queries not in the list, which ends at rank 2: counted as never found;"
        " a longer list (search -k) may score higher",
        "2 lists shorter than the query has positives: average precision 1 cannot be reached",
    ]


def test_a_whole_list_is_not_called_short(tmp_path):
    truth = write(tmp_path / "truth.csv", "image,group,role\nq,a,query\na1,a,gallery\nb1,b,gallery\nq2,b,gallery\n")
    result = protocol("groups").evaluate(ranked({b"q": [b"b1", b"a1"]}), truth)
    assert result.warnings == []
    assert result.measures["map"] == 0.5


def test_one_photo_may_ask_several_times(tmp_path):
    truth = write(tmp_path / "truth.csv", "image,group,role\nq.jpg,a;b,query\na.jpg,a,gallery\nb.jpg,b,gallery\n")
    lists = ranked({b"q#1": [b"a.jpg", b"b.jpg"], b"q#2": [b"q.jpg", b"c.jpg", b"a.jpg"]}, queries=[b"q.jpg", b"q.jpg"])
    result = protocol("groups").evaluate(lists, truth)
    assert result.per_query == [
        {"query": "q.jpg", "id": "q#1", "ap": 1.0, "positives": 2, "found": 2, "first_hit": 1},
        {"query": "q.jpg", "id": "q#2", "ap": 0.25, "positives": 2, "found": 1, "first_hit": 2},
    ]


def test_groups_keeps_ugly_names(tmp_path):
    rows = b"".join(b'"' + name.replace(b'"', b'""') + b'",g\r\n' for name in UGLY)
    truth = write(tmp_path / "truth.csv", b"\xef\xbb\xbfimage,group\r\n" + rows)
    assert groundtruth.read_groups(truth).names == UGLY
    result = protocol("groups").evaluate(ranked({name: [other for other in UGLY if other != name] for name in UGLY}), truth)
    assert result.measures["map"] == 1
    lines = [dumps(record) for record in result.per_query]
    assert [to_bytes(json.loads(line)["query"]) for line in lines] == UGLY
    assert all(line.isascii() and "\n" not in line for line in lines)


def test_json_is_stable_and_plain(tmp_path):
    truth = write(tmp_path / "truth.csv", "image,group\na1,a\na2,a\n")
    result = protocol("groups").evaluate(ranked({b"a1": [b"a2"], b"a2": []}), truth)
    answer = json.loads(dumps(result.to_json()))
    fields = [
        "label",
        "queries",
        "measures",
        "settings",
        "truncation",
        "excluded",
        "skipped",
        "absent",
        "warnings",
        "intervals",
        "compared",
    ]
    assert list(answer) == fields
    assert answer["queries"] == 2
    assert list(answer["measures"]) == MEASURES
    assert answer["measures"]["map"] == 0.5
    assert result.per_query[1]["first_hit"] is None
    assert json.loads([dumps(record) for record in result.per_query][1])["first_hit"] is None


# The other protocols


def test_folders(tmp_path):
    lists = {
        b"cat/1.jpg": [b"cat/1.jpg", b"dog/1.jpg", b"cat/deep/2.jpg"],
        b"dog/1.jpg": [b"dog/1.jpg", b"cat/1.jpg"],
        b"loose.jpg": [b"cat/1.jpg"],
        b"cat/new.jpg": [b"cat/deep/2.jpg", b"cat/1.jpg"],
    }
    result = protocol("folders").evaluate(ranked(lists))
    assert [(record["query"], record["ap"], record["positives"]) for record in result.per_query] == [
        ("cat/1.jpg", 0.5, 1),
        ("cat/new.jpg", 1.0, 2),
    ]
    assert (result.skipped, result.excluded) == (1, 1)
    assert [folder_of(name) for name in (b"a/b/c", b"/a/b", b"a", b"")] == [b"a", b"a", b"", b""]
    partial = dataclasses.replace(ranked({b"cat/1.jpg": [b"cat/2.jpg"]}), whole_gallery=False)
    assert protocol("folders").evaluate(partial).warnings == [
        "the positives are counted from the names that occur in the lists, and some photos may occur in none:"
        " give the gallery's names with --truth"
    ]
    gallery = write(tmp_path / "names.txt", "cat/1.jpg\ncat/2.jpg\ncat/3.jpg\n")
    assert protocol("folders").evaluate(partial, gallery).per_query[0]["positives"] == 2
    with refused(f"run and {tmp_path}/other.txt share no photo: the names of the gallery that was searched are needed"):
        protocol("folders").evaluate(partial, write(tmp_path / "other.txt", "x/y.jpg\n"))
    with refused("no query of run can be evaluated by protocol folders: 1 may not ask, 1 have no positive"):
        protocol("folders").evaluate(ranked({b"x": [b"a/1"], b"a/1": [b"a/1"]}))


def test_ukbench_ideal_random_and_without_the_query():
    names = [b"full/ukbench%05d.jpg" % number for number in range(40)]
    four = {name: names[place // 4 * 4 : place // 4 * 4 + 4] for place, name in enumerate(names)}
    ideal = {name: four[name] + [other for other in names if other not in four[name]] for name in names}
    result = protocol("ukbench").evaluate(ranked(ideal))
    assert result.measures["ns"] == 4.0
    assert result.measures["map"] == 1.0
    assert list(result.measures) == [*MEASURES, "ns"]
    assert result.warnings == []
    rng = np.random.default_rng(2)
    shuffled = {name: [names[place] for place in rng.permutation(40)] for name in names}
    result = protocol("ukbench").evaluate(ranked(shuffled))
    assert [record["ns"] for record in result.per_query] == [reference.ns(row, four[name]) for name, row in shuffled.items()]
    assert result.measures["map"] == pytest.approx(
        np.mean([reference.average_precision(row, four[name]) for name, row in shuffled.items()])
    )
    outside = protocol("ukbench").evaluate(ranked({b"ukbench00000.jpg": names[1:4]}))
    assert outside.measures["ns"] == 3
    assert outside.warnings[0] == "1 query not in the gallery: N-S counts the query itself, so these reach 3 at most"
    with refused(
        "run has two gallery photos of one number ('a/ukbench00001.jpg' and 'b/ukbench00001.jpg'): UKBench's numbers are distinct"
    ):
        protocol("ukbench").evaluate(ranked({b"a/ukbench00001.jpg": [b"a/ukbench00001.jpg", b"b/ukbench00001.jpg"]}))
    with refused("no query of run can be evaluated by protocol ukbench: 1 may not ask, 0 have no positive"):
        protocol("ukbench").evaluate(ranked({b"cat.jpg": [b"dog.jpg"]}))
    assert [ukbench_number(name) for name in (b"ukbench00012.jpg", b"7", b"x", b"9" * 5000)] == [12, 7, None, int("9" * 18)]


def holidays_sets(names):
    return {name: {other for other in names if other[:4] == name[:4] and other != name} for name in names if name.endswith(b"00.jpg")}


def test_holidays_ideal_random_and_adversarial(data, tmp_path):
    official = data / "holidays/holidays_images.dat"
    names = official.read_bytes().split()
    sets = holidays_sets(names)
    rng = np.random.default_rng(3)
    runs = {
        "ideal": {
            query: [query, *good, *(other for other in names[:50] if other not in good and other != query)] for query, good in sets.items()
        },
        "random": {query: [names[place] for place in rng.permutation(len(names))[:700]] for query in sets},
        "adversarial": {query: [other for other in names if other not in good] + sorted(good) for query, good in sets.items()},
    }
    for kind, lists in runs.items():
        for truth in (None, official):
            result = protocol("holidays").evaluate(ranked(lists, gallery=names), truth)
            slow = [reference.trapezoid(reference.closed_up(row, {query}), sets[query]) for query, row in lists.items()]
            assert [record["ap"] for record in result.per_query] == pytest.approx(slow, rel=1e-12)
            assert result.queries == 500
            assert kind != "ideal" or result.measures["map"] == 1.0
    result = protocol("holidays").evaluate(ranked({**runs["ideal"], b"100001.jpg": [], b"flickr.jpg": []}, gallery=names))
    assert result.skipped == 2
    with refused(f"run and {official} share no photo number: the official list of Holidays images is needed"):
        protocol("holidays").evaluate(ranked({b"999900.jpg": [b"999901.jpg"]}), official)


def test_holidays_names():
    assert [holidays_number(name) for name in (b"100000.jpg", b"jpg/100001", b"a100.jpg", b"12.jpg")] == [b"100000", b"100001", None, None]
    result = protocol("holidays").evaluate(ranked({b"100000.jpg": [b"100000.jpg", b"100101.jpg", b"100001.jpg"], b"100100.jpg": []}))
    assert [record["ap"] for record in result.per_query] == [0.25, 0.0]
    result = protocol("holidays").evaluate(ranked({b"100000.jpg": [b"100001.jpg"], b"100200.jpg": [b"cat.jpg"]}))
    assert result.excluded == 1
    assert result.warnings == ["1 query without another photo of the group: excluded"]
    with refused("run has two photos of one number ('100001.jpg' and 'a/100001.jpg'): Holidays' numbers are distinct"):
        protocol("holidays").evaluate(ranked({b"100000.jpg": [b"100001.jpg", b"a/100001.jpg"]}))


def oxford(folder, *, query=b"oxc1_q 0 0 10 10\n", good=b"g1\ng2\n", ok=b"o1\n", junk=b"j1\n"):
    folder.mkdir(exist_ok=True)
    for kind, content in {"query": query, "good": good, "ok": ok, "junk": junk}.items():
        write(folder / f"hall_1_{kind}.txt", content)
    return folder


def test_oxford_skips_junk_and_closes_up(tmp_path):
    truth = oxford(tmp_path / "gt", good=b"g1\r\ng1\r\n\r\ng2\r\n")
    row = [b"x/j1.jpg", b"g1.jpg", b"n1.jpg", b"oxc1_g2.jpg", b"o1.png"]
    expected = reference.trapezoid([b"g1", b"n1", b"g2", b"o1"], {b"g1", b"g2", b"o1"})
    for query in (b"hall_1", b"jpg/q.jpg", b"oxc1_q"):
        for name in ("oxford5k", "paris6k"):
            result = protocol(name).evaluate(ranked({query: row}), truth)
            assert result.protocol == name
            assert result.per_query[0]["ap"] == pytest.approx(expected, rel=1e-12)
            assert result.per_query[0]["first_hit"] == 1
    both = protocol("oxford5k").evaluate(ranked({b"q": row}), oxford(tmp_path / "both", junk=b"g1\nj1\n"))
    assert both.per_query[0]["ap"] == pytest.approx(reference.trapezoid([b"n1", b"g2", b"o1"], {b"g1", b"g2", b"o1"}))
    own = RankedLists("run", [b"q.jpg", b"q.jpg"], [b"other", b"hall_1"], [b"g1", b"n"], np.array([[1, -1], [0, 1]]))
    result = protocol("oxford5k").evaluate(own, truth)
    assert (result.per_query[0]["first_hit"], result.skipped) == (1, 1)


def test_oxford_refusals(tmp_path):
    truth = oxford(tmp_path / "gt")
    with refused("run has two gallery photos that " + f"{truth} calls 'g1': 'a/g1.jpg' and 'b/g1.jpg'; keep one"):
        protocol("oxford5k").evaluate(ranked({b"q": [b"b/g1.jpg", b"a/g1.jpg"]}), truth)
    with refused("run has two lists for query 'hall_1' ('a' and 'b'): keep one"):
        protocol("oxford5k").evaluate(ranked({b"a": [b"g1"], b"b": [b"g1"]}, queries=[b"q.jpg", b"q.jpg"]), truth)
    with refused(
        f"run and {truth} share no query: the ranking asks with 'cat.jpg', the ground truth with 'hall_1' (photo 'q');"
        " name queries by either"
    ):
        protocol("oxford5k").evaluate(ranked({b"cat.jpg": [b"g1"]}), truth)
    with refused(
        f"run and {truth} share no photo: the ranking has 'n1', the ground truth 'g1'; is this the ranking of another collection?"
    ):
        protocol("oxford5k").evaluate(ranked({b"q.jpg": [b"n1", b"n2"]}), truth)
    with refused("run holds only empty lists: there is nothing to evaluate"):
        protocol("oxford5k").evaluate(ranked({b"q.jpg": []}), truth)
    nothing = oxford(tmp_path / "nothing", good=b"", ok=b"")
    with refused("no query of run can be evaluated by protocol oxford5k: 0 may not ask, 1 have no positive"):
        protocol("oxford5k").evaluate(ranked({b"q.jpg": [b"j1"]}), nothing)


@pytest.mark.parametrize(
    ("kind", "content", "sentence"),
    [
        ("query", b"q 0 0 1\n", "hall_1_query.txt:1: one line of five fields is expected: photo x1 y1 x2 y2"),
        ("query", b"", "hall_1_query.txt:1: one line of five fields is expected: photo x1 y1 x2 y2"),
        ("query", b"\nq 0 0 one 1\n", "hall_1_query.txt:2: the box x1 y1 x2 y2 must be four numbers with x1 <= x2 and y1 <= y2"),
        ("query", b"q 5 0 1 1", "hall_1_query.txt:1: the box x1 y1 x2 y2 must be four numbers with x1 <= x2 and y1 <= y2"),
        ("query", b"q nan 0 1 1", "hall_1_query.txt:1: the box x1 y1 x2 y2 must be four numbers with x1 <= x2 and y1 <= y2"),
        ("ok", b"a\n\nb c\n", "hall_1_ok.txt:3: one photo name is expected, this line has 2 fields"),
        ("junk", None, "hall_1_junk.txt cannot be read: No such file or directory"),
    ],
)
def test_malformed_oxford(tmp_path, kind, content, sentence):
    folder = oxford(tmp_path / "gt")
    path = folder / f"hall_1_{kind}.txt"
    path.unlink()
    if content is not None:
        path.write_bytes(content)
    with refused(f"{folder}/{sentence}"):
        groundtruth.read_oxford(folder)


def _denied(path):
    raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))


def test_oxford_folder_refusals(tmp_path, monkeypatch):
    with refused(f"{tmp_path}/no is not a folder: the folder of the ground truth's text files (*_query.txt ...) is needed"):
        groundtruth.read_oxford(tmp_path / "no")
    with monkeypatch.context() as patch, refused(f"{tmp_path} cannot be read: Permission denied"):
        patch.setattr(os, "listdir", _denied)
        groundtruth.read_oxford(tmp_path)
    with refused(f"{tmp_path} holds no *_query.txt: the folder of the Oxford or Paris text ground truth is needed"):
        groundtruth.read_oxford(tmp_path)
    folder = oxford(tmp_path / "gt")
    monkeypatch.setattr(groundtruth, "OXFORD_LIMIT", 1 << 20)
    (folder / "hall_1_good.txt").write_bytes(b"a\n" * (1 << 19) + b"b")
    with refused(f"{folder}/hall_1_good.txt is larger than 1 MiB: this is no such file"):
        groundtruth.read_oxford(folder)
    (folder / "hall_1_good.txt").unlink()
    os.mkfifo(folder / "hall_1_good.txt")
    with refused(f"{folder}/hall_1_good.txt is not a regular file"):
        groundtruth.read_oxford(folder)
    monkeypatch.setattr(groundtruth, "OXFORD_QUERIES", 0)
    with refused(f"{folder} holds 1 queries: no more than 0 can be right"):
        groundtruth.read_oxford(folder)


def test_oxford_bytes_survive(tmp_path):
    (query,) = groundtruth.read_oxford(oxford(tmp_path / "gt", query=b"caf\xe9 1 2 3 4", good=b"\xff\n"))
    assert query == groundtruth.OxfordQuery(b"hall_1", b"caf\xe9", (1.0, 2.0, 3.0, 4.0), frozenset({b"\xff", b"o1"}), frozenset({b"j1"}))


# Malformed CSV


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        ("", " is empty: the ground truth must be a CSV with the header image,group,role"),
        ("\n\n", " is empty: the ground truth must be a CSV with the header image,group,role"),
        ("image,group,role\n", " lists no image: one line per image is expected below the header"),
        ("a.jpg,1\n", ":1: the first line must be the header image,group or image,group,role, got 'a.jpg,1'"),
        ("\nimage,group,rol\n", ":2: the first line must be the header image,group or image,group,role, got 'image,group,rol'"),
        ("image,group,role\na,1\n", ":2: 3 fields are expected (image,group,role), this line has 2"),
        ("image,group\r\na,1\r\n\r\nb,1,query\r\n", ":4: 2 fields are expected (image,group), this line has 3"),
        ("image,group\na,1\n,1\n", ":3: the image has no name"),
        (
            "image,group\na,1\nb,1\na,2\n",
            ":4: 'a' is listed again, first in line 2: one line per image, several groups as a;b",
        ),
        ("image,group,role\na,1,boss\n", ":2: there is no role 'boss'; a role is query, gallery, query+gallery or distractor"),
        ("image,group,role\na,1,\n", ":2: there is no role ''; a role is query, gallery, query+gallery or distractor"),
        ('image,group\na,1\n"b,1\nc,1\n', ":3: malformed CSV (unexpected end of data)"),
        ('image,group\n"a"x,1\n', ":2: malformed CSV (',' expected after '\"')"),
        ('image,group\n"a\nb",1\nc\n', ":4: 2 fields are expected (image,group), this line has 1"),
        (b"image,group\na,1\nb\0,1\n", ":3: a NUL byte: a CSV in UTF-8 is needed"),
        ("image,group\n" + "a" * 200_000 + ",1\n", ":2: malformed CSV (field larger than field limit (131072))"),
    ],
)
def test_malformed_csv(tmp_path, content, sentence):
    path = write(tmp_path / "truth.csv", content)
    with refused(f"{path}{sentence}"):
        groundtruth.read_groups(path)


def test_csv_forms(tmp_path):
    path = write(tmp_path / "truth.csv", "Role, group ,IMAGE\r\nquery, b ; a;;b ,q\r\n gallery+query ,,g\rdistractor,x,d")
    truth = groundtruth.read_groups(path)
    assert truth.names == [b"q", b"g", b"d"]
    assert truth.groups == [(b"b", b"a"), (), (b"x",)]
    assert truth.roles == [groundtruth.QUERY, groundtruth.QUERY | groundtruth.GALLERY, 0]


def test_real_ground_truths_are_read(data):
    for path in sorted(data.glob("photos/*/groundtruth.csv")):
        truth = groundtruth.read_groups(path)
        assert len(truth.names) == len(os.listdir(path.parent / "images"))


def test_groups_refusals(tmp_path):
    truth = write(tmp_path / "truth.csv", "image,group,role\na.jpg,1,query\nb.jpg,1,gallery\n")
    remedy = "write the names in the ground truth as the ranking has them, or give extract and search another --root"
    groups = protocol("groups")
    with refused(f"run and {truth} share no photo: the ranking has 'images/b.jpg', the ground truth 'b.jpg'; {remedy}"):
        groups.evaluate(ranked({b"a.jpg": [b"images/b.jpg"]}), truth)
    with refused(f"run and {truth} share no query: the ranking asks with 'q/a.jpg', the ground truth with 'a.jpg'; {remedy}"):
        groups.evaluate(ranked({b"q/a.jpg": [b"b.jpg"]}), truth)
    with refused("no query of run can be evaluated by protocol groups: 1 may not ask, 0 have no positive"):
        groups.evaluate(ranked({b"b.jpg": [b"b.jpg"]}), truth)
    with refused("run holds only empty lists: there is nothing to evaluate"):
        groups.evaluate(ranked({b"a.jpg": []}), truth)
    with refused("run lists 'b.jpg' twice for query 'a.jpg': make the ranking again"):
        groups.evaluate(ranked({b"a.jpg": [b"b.jpg", b"b.jpg"]}), truth)
    with refused("run is damaged (two gallery photos named 'b.jpg'): make the ranking again"):
        groups.evaluate(RankedLists("run", [b"a.jpg"], [b"a.jpg"], [b"b.jpg", b"b.jpg"], np.array([[0, 1]])), truth)
    silent = write(tmp_path / "silent.csv", "image,group,role\na.jpg,1,gallery\nb.jpg,1,gallery\n")
    with refused(f"{silent} has no photo with the role query: nothing can be asked"):
        groups.evaluate(ranked({b"a.jpg": [b"b.jpg"]}), silent)
    bare_queries = write(tmp_path / "queries.csv", "image,group,role\na.jpg,1,query\nb.jpg,1,distractor\n")
    with refused(f"{bare_queries} has no photo with the role gallery: nothing can match"):
        groups.evaluate(ranked({b"a.jpg": [b"b.jpg"]}), bare_queries)


def test_truth_given_or_not():
    with pytest.raises(UsageError, match=r"^protocol groups needs --truth PATH: a CSV with the header image,group or image,group,role$"):
        protocol("groups").evaluate(ranked({b"a": [b"b"]}))
    with pytest.raises(
        UsageError, match=r"^protocol oxford5k needs --truth PATH: the folder of the text ground truth \(\*_query\.txt, .*\)$"
    ):
        protocol("oxford5k").check_truth(None)
    with pytest.raises(UsageError, match=r"^protocol ukbench takes no --truth: the four photos whose numbers give the same number // 4"):
        protocol("ukbench").evaluate(ranked({b"a": [b"b"]}), "x.csv")


@pytest.mark.parametrize("name", PROTOCOLS)
def test_every_protocol_says_what_it_fixes(name):
    one = protocol(name)
    assert one.name == name
    assert list(one.conventions) == ["ap", "positives", "query", "crop", "junk", "truncation", "names", "measures"]
    assert one.__doc__
    assert one.truth_is or not one.takes_truth
    assert one.takes_truth >= one.needs_truth
    assert set(one.recorded) <= set(one.reported)
    for measure in one.reported:  # of a query with its only positive at rank 1
        assert measures.named(measure, np.array([1]), np.array([0, 1]), np.array([1])).shape == (1,)


def test_what_is_not_asked_is_counted_and_said_in_one_order():
    asking = Asking(
        ranked({b"q": [b"a", b"b"], b"r": [b"a"], b"s": [b"a"]}),
        skips=("unknown", "silent"),
        excludes="without a match",
        settings=("easy", "all"),
        whole="all",
    )
    assert asking.done().warnings == []
    asking.note(2, "photo", "of no use")
    asking.note(0, "photo", "never mentioned")
    asking.remark("A remark.")
    asking.absent.update([b"z", b"y"])
    asking.answered([0, 0], 3, "unknown")
    asking.skip("silent")
    asking.take_out([1], "photo", "taken out")
    asking.exclude("easy", "all")
    asking.exclude("easy")
    question = Question(0, b"q", 1, np.array([0]))
    asking.add(question, "all", "hard")
    asking.count_pairs(7)
    asked = asking.done()
    assert asked.settings == {"easy": [], "all": [question], "hard": [question]}
    assert asked.excluded == {"easy": 2, "all": 1, "hard": 0}
    assert (asked.left_out, asked.skipped, asked.absent, asked.junk.tolist(), asked.pairs) == (1, 3, [b"y", b"z"], [1], 7)
    assert asked.warnings == [
        "2 queries of the ranking unknown: skipped",
        "1 query of the ranking silent: skipped",
        "1 query without a match: excluded",
        "1 photo taken out",
        "1 query of the ground truth without a list in the ranking: left out of the means",
        "2 positive photos of the ground truth nowhere in the ranking (for example 'y'): counted as never found",
        "2 photos of no use",
        "A remark.",
    ]


def test_no_such_file(tmp_path):
    for read in (groundtruth.read_groups, groundtruth.read_names, read_trec):
        with refused(f"{tmp_path}/no cannot be read: No such file or directory"):
            read(tmp_path / "no")
        with refused(f"{tmp_path} is a folder, a file is needed"):
            read(tmp_path)
    with refused(f"{tmp_path}/empty lists no photo: one name per line is expected"):
        groundtruth.read_names(write(tmp_path / "empty", "\n"))
    with refused(f"{tmp_path}/twice:3: 'a' is listed again, first in line 1"):
        groundtruth.read_names(write(tmp_path / "twice", "a\r\nb\r\na\r\n"))
    with refused("'a\\x00b' cannot be read: a path holds no NUL"):
        groundtruth.read_names("a\0b")


# Lists that cannot be right


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"query_ids": [b"q"]}, "2 queries, 1 query ids, and ids of shape (2, 2) and type int64"),
        (
            {"ids": np.array([0, 1])},
            "2 queries, 2 query ids, and ids of shape (2,) and type int64",
        ),
        (
            {"ids": np.zeros((2, 2))},
            "2 queries, 2 query ids, and ids of shape (2, 2) and type float64",
        ),
        ({"ids": np.array([[0, 1], [0, 2]])}, "ids from 0 to 2, while there are 2 names"),
        ({"ids": np.array([[0, 1], [0, -2]])}, "ids from -2 to 1, while there are 2 names"),
        ({"ids": np.array([[0, 1], [-1, 0]])}, "a gap in the list of query 'r'"),
        (
            {"scores": np.zeros((2, 3), np.float32)},
            "ids of shape (2, 2), and scores of shape (2, 3) and type float32",
        ),
        (
            {"scores": np.array([[1, 0], [np.nan, 0]], np.float32)},
            "NaN among the scores of query 'r'",
        ),
        (
            {"scores": np.array([[1, 0], [0, 1]], np.float32)},
            "scores of query 'r' that do not descend",
        ),
    ],
)
def test_lists_that_cannot_be_right(changes, sentence):
    good = {
        "label": "run",
        "query_names": [b"q", b"r"],
        "query_ids": [b"q", b"r"],
        "names": [b"a", b"b"],
        "ids": np.array([[0, 1], [1, 0]]),
    }
    RankedLists(**good)
    with refused(f"run is damaged ({sentence}): make the ranking again"):
        RankedLists(**(good | changes))


def test_a_ranking_without_queries():
    with refused("run holds no query: there is nothing to evaluate"):
        RankedLists("run", [], [], [b"a"], np.empty((0, 0), np.int32))


def test_missing_ends_of_lists_are_fine():
    lists = RankedLists("run", [b"q"], [b"q"], [b"a"], np.array([[0, -1]]), np.array([[0.5, np.nan]], np.float32))
    assert lists.lengths.tolist() == [1]


# Names


def test_names_survive_every_spelling():
    for name in [*UGLY, bytes(range(1, 256))]:
        assert to_bytes(to_text(name)) == name
        field = trec_escape(name)
        assert field.isascii()
        assert len(field.split()) == 1
        assert trec_unescape(field.encode()) == name
        line = tsv_escape(name).encode("utf-8", "surrogateescape")
        assert not set(line) & set(b"\t\n\r")
        unescaped = re.sub(rb"\\(.)", lambda match: {b"t": b"\t", b"n": b"\n", b"r": b"\r", b"\\": b"\\"}[match[1]], line)
        assert unescaped == name
    assert trec_escape(b"plain-name_1.jpg") == "plain-name_1.jpg"
    assert trec_unescape(b"100%.jpg") == b"100%.jpg"
    assert tsv_escape(b"a\tb\\c\n") == "a\\tb\\\\c\\n"
    assert shown(b"a\nb\xff\x1b[31m" + b"c" * 200) == "'a\\x0ab\\xff\\x1b[31m" + "c" * (120 - 18) + "...'"
    assert [bare(name) for name in (b"oxc1_a.jpg", b"x.y/oxc1_a", b"a.b.jpeg", b"v1.25")] == [b"a", b"x.y/a", b"a.b", b"v1.25"]


# TREC


def test_trec_round_trip(tmp_path):
    rng = np.random.default_rng(4)
    names = sorted(UGLY)
    ids = np.array([rng.permutation(len(names)) for _ in UGLY])
    scores = -np.sort(-rng.random(ids.shape).astype(np.float32), axis=1)
    scores[0] = 0.5  # ties break by name
    ids[0] = np.arange(len(names))
    ids[1, 3:] = -1
    lists = RankedLists("run", UGLY, UGLY, names, ids, scores)
    path = write(tmp_path / "run.trec", "\n".join(trec_lines(lists, "my run")) + "\n")
    again = read_trec(path)
    assert again.label == str(tmp_path / "run.trec")
    assert not again.whole_gallery
    assert again.query_names == UGLY
    for query in range(len(UGLY)):
        length = lists.lengths[query]
        assert again.lengths[query] == length
        assert [again.names[photo] for photo in again.ids[query, :length]] == [names[photo] for photo in ids[query, :length]]
        np.testing.assert_array_equal(again.scores[query, :length], scores[query, :length])


def test_trec_lines_of_every_kind():
    lists = RankedLists("run", [b"q", b"q"], [b"q 1", b"q 2"], [b"a", b"b"], np.array([[1, 0], [0, -1]]))
    assert list(trec_lines(lists, "")) == ["q%201 Q0 b 1 2 imgret", "q%201 Q0 a 2 1 imgret", "q%202 Q0 a 1 1 imgret"]


def test_trec_order_is_the_scores(tmp_path):
    content = "q Q0 b 1 1e-3 t\nr Q0 a 1 7 t\r\nq Q0 c 9 2.5 t\n\n  \nq Q0 a 3 .001 t\nr\tQ0\tb\t1\t8\tt\nq Q0 d 1 -inf t"
    lists = read_trec(write(tmp_path / "run", content))
    assert lists.query_names == [b"q", b"r"]
    assert [[lists.names[photo] for photo in row if photo >= 0] for row in lists.ids] == [[b"c", b"a", b"b", b"d"], [b"b", b"a"]]
    assert np.isnan(lists.scores[1, 2:]).all()


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        ("", " is empty: it holds no ranked list"),
        ("\n \n", " is empty: it holds no ranked list"),
        ("q Q0 a 1 1 t\n\nq Q0 b 2 t\n", ":3: a line of a TREC run has six fields (query Q0 name rank score tag), this one has 5"),
        ("q Q0 a b.jpg 1 1 t\n", ":1: a line of a TREC run has six fields (query Q0 name rank score tag), this one has 7"),
        ("q Q0 a 1 1 t\nq Q0 b 2 high t\n", ":2: the score (fifth field) must be a number, got 'high'"),
        ("q Q0 a 1 1 t\n\nq Q0 b 2 NaN t\n", ":3: the score (fifth field) is NaN: a list cannot be ordered by it"),
        ("q Q0 a 1 3 t\n\nr Q0 a 1 2 t\nq Q0 %61 2 1 t\n", ":4: 'a' is listed twice for one query, first in line 1"),
        ("x" * (1 << 21), ":1: the line is longer than 1 MiB: this is no text file of one record per line"),
    ],
)
def test_malformed_trec(tmp_path, content, sentence):
    path = write(tmp_path / "run.trec", content)
    with refused(f"{path}{sentence}"):
        read_trec(path)


def test_trec_in_many_blocks(tmp_path, monkeypatch):
    content = "".join(f"q{query} Q0 p{photo}.jpg 1 {photo} t\n" for photo in range(50) for query in range(7))
    path = write(tmp_path / "run.trec", content)
    whole = read_trec(path)
    monkeypatch.setattr(files, "BLOCK", 37)
    pieces = read_trec(path)
    assert pieces.names == whole.names
    np.testing.assert_array_equal(pieces.ids, whole.ids)
    assert [whole.names[photo] for photo in whole.ids[6]] == [b"p%d.jpg" % photo for photo in reversed(range(50))]
    write(path, content + "q0 Q0 x 1 t\n")
    with refused(f"{path}:351: a line of a TREC run has six fields (query Q0 name rank score tag), this one has 5"):
        read_trec(path)


def test_very_uneven_lists_do_not_fill_the_memory(tmp_path, monkeypatch):
    monkeypatch.setattr("imgret.formats.lists._SPARE_CELLS", 10)
    content = "".join(f"q Q0 p{photo} 1 {photo} t\n" for photo in range(20)) + "".join(f"r{query} Q0 p1 1 1 t\n" for query in range(20))
    path = write(tmp_path / "run.trec", content)
    with refused(f"{path} has 21 lists of very different lengths (the longest: 20): cut or split it"):
        read_trec(path)


# Folders of lists


def test_folder_reads_the_queries_files_only(tmp_path):
    write(tmp_path / "q1_top.txt", "a.jpg\r\noxc1_b\n\n")
    write(tmp_path / "oxc1_q2.jpg.txt", "c.gif\nz")
    write(tmp_path / "AP.txt", "q1 0.5\nq1 0.5\n")
    write(tmp_path / "q3.dat", "a")
    lists = read_folder(tmp_path, [b"q1", b"q2.jpg", b"q4"], known=[b"a", b"b.jpg", b"c.png", b"c.gif"])
    assert lists.query_names == [b"q1", b"q2.jpg"]
    assert [[lists.names[photo] for photo in row] for row in lists.ids] == [[b"a", b"b.jpg"], [b"c.gif", b"z"]]
    assert lists.scores is None
    assert not lists.whole_gallery
    assert read_folder(tmp_path, lambda name: name == b"q1").names == [b"a.jpg", b"oxc1_b"]


def test_folder_refusals(tmp_path):
    with refused(f"{tmp_path}/no is not a folder of ranked lists"):
        read_folder(tmp_path / "no", [b"q"])
    nothing = f"{tmp_path} holds no list of a query: files named QUERY.txt or QUERY_top.txt are needed, for example 'q.txt'"
    with refused(nothing):
        read_folder(tmp_path, [b"q"])
    other = write(tmp_path / "other_top.txt", "a\n")
    with refused(nothing + "; there is 'other_top.txt'"):
        read_folder(tmp_path, [b"q"])
    other.unlink()
    path = write(tmp_path / "q.txt", "a\n\nb\n")
    with refused(nothing.replace("'q.txt'", "'r.txt'; there is 'q.txt'")):
        read_folder(tmp_path, [b"r"])
    with refused(f"{path}:2: the line is empty, a photo name is expected"):
        read_folder(tmp_path, [b"q"])
    write(path, "a\nb\na.jpg\n")
    assert len(read_folder(tmp_path, [b"q"]).names) == 3
    with refused(f"{path}:3: 'a' is listed twice for one query, first in line 1"):
        read_folder(tmp_path, [b"q"], known=[b"a"])
    with refused("the name 'a' fits several photos ('a.jpg', 'a.png'): write it with its extension"):
        read_folder(tmp_path, [b"q"], known=[b"a.jpg", b"a.png"])
    write(tmp_path / "q_top.txt", "a")
    with refused(f"{tmp_path} has two lists for query 'q': q.txt and q_top.txt; keep one"):
        read_folder(tmp_path, [b"q"])
    path.rename(tmp_path / "q.jpg.txt")
    with refused(f"{tmp_path} has two lists for query 'q': q.jpg.txt and q_top.txt; keep one"):
        read_folder(tmp_path, [b"q"])


def test_an_empty_list_finds_nothing(tmp_path):
    (tmp_path / "lists").mkdir()
    write(tmp_path / "lists/a1.txt", "a2\n")
    write(tmp_path / "lists/a2_top.txt", "")
    truth = write(tmp_path / "truth.csv", "image,group\na1.jpg,a\na2.jpg,a\n")
    lists = protocol("groups").read_folder(tmp_path / "lists", truth)
    result = protocol("groups").evaluate(lists, truth)
    assert [(record["query"], record["ap"]) for record in result.per_query] == [("a1.jpg", 1.0), ("a2.jpg", 0.0)]


def test_folders_of_lists_for_protocols_without_truth(tmp_path):
    for name, lines in {"100000": "100001.jpg", "100001": "100000.jpg", "AP": "x x"}.items():
        write(tmp_path / f"{name}_top.txt", lines)
    assert protocol("holidays").evaluate(protocol("holidays").read_folder(tmp_path)).per_query[0]["query"] == "100000"
    assert protocol("ukbench").read_folder(tmp_path).query_names == [b"100000", b"100001"]
    (tmp_path / "cat").mkdir()
    write(tmp_path / "cat/1.jpg.txt", "cat/1.jpg\ncat/2.jpg\n")
    assert protocol("folders").evaluate(protocol("folders").read_folder(tmp_path)).measures["map"] == 1
