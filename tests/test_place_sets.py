"""Places as sets have them: who asks and who answers, traversals, `.mat` files, MSLS, folders in names; for training and evaluation."""

import os
import shlex

import numpy as np
import pytest
from helpers import call, photo
from test_matlab import cells, made
from test_protocols import protocol, ranked
from test_scripts import script
from test_truths import matching, said, written

from imgret.evaluation.protocols.places import DEGREES, ZONES
from imgret.inputs.truths import truth_of
from imgret.relations import Placed
from imgret.trainers.base import Task, Trainer
from imgret.training.heldout import HeldOut

ROLES = """image,east,north,role,traversal
q1,1000,0,query,
q2,5000,0,query,
g1,1004,0,gallery,
g2,1008,0,gallery,
g3,1020,0,gallery,
g4,1400,0,gallery,
b,1000,3,query+gallery,
d,1002,0,distractor,
"""
ROLE_NAMES = [b"b", b"d", b"g1", b"g2", b"g3", b"g4", b"q1", b"q2"]


@pytest.mark.parametrize("seed", range(3))
def test_roles_and_traversals_by_definition(seed):
    """Against what they mean, photo by photo."""
    rng = np.random.default_rng(seed)
    count = 40
    apart = np.abs(np.subtract.outer(*[rng.random(count) * 30] * 2))
    asks, answers = rng.random((2, count)) < 0.6
    tours = rng.integers(-1, 3, count)
    near, around = ([np.flatnonzero(row < far) for row in apart] for far in (2, 3))
    relations = Placed(near, around, np.arange(count), asks, answers, tours)
    alike = (tours[:, None] == tours) & (tours >= 0)
    for one in range(count):
        others = [other for other in range(count) if apart[one, other] < 2 and other != one]
        assert relations.positives(one).tolist() == [other for other in others if answers[other] and not alike[one, other]]
        assert relations.ignored(one).tolist() == [other for other in others if alike[one, other]]
        assert relations.never(one).tolist() == np.flatnonzero(apart[one] < 3).tolist()
    anchors = [one for one in range(count) if asks[one] and len(relations.positives(one))]
    assert relations.anchors().tolist() == relations.askers().tolist() == anchors
    assert relations.answers().tolist() == np.flatnonzero(answers).tolist()


def test_roles_of_a_table(tmp_path):
    relations, _, notes = truth_of(written(tmp_path, ROLES)).relations(ROLE_NAMES)
    assert notes == ["1 photo that asks has no photo that answers within 10 m: left out"]
    assert relations.anchors().tolist() == [0, 6]
    assert relations.positives(6).tolist() == [0, 2, 3]  # the distractor is near, and matches nothing
    assert relations.positives(0).tolist() == [2, 3]
    assert relations.never(6).tolist() == [0, 1, 2, 3, 4, 6]
    assert relations.answers().tolist() == [0, 1, 2, 3, 4, 5]


def test_without_roles_everything_asks(tmp_path):
    text = "image,east,north\na,0,0\nb,5,0\nc,500,0\n"
    relations = truth_of(written(tmp_path, text)).relations([b"a", b"b", b"c"])[0]
    assert relations.askers().tolist() == relations.answers().tolist() == [0, 1, 2]
    assert (relations.anchors().tolist(), relations.ignored(0).tolist()) == ([0, 1], [])


def test_traversals_of_a_table(tmp_path):
    text = "image,east,north,traversal\na,0,0,one\nb,5,0,one\nc,6,0,two\nd,9,0,\ne,900,0,one\n"
    relations = truth_of(written(tmp_path, text)).relations([b"a", b"b", b"c", b"d", b"e"])[0]
    assert matching(relations) == [[2, 3], [2, 3], [0, 1, 3], [0, 1, 2], []]
    assert relations.ignored(0).tolist() == [1]
    assert relations.never(0).tolist() == [0, 1, 2, 3]  # of its traversal, but far: a negative


@pytest.mark.parametrize(
    ("role", "end"),
    [
        ("query", "has the role gallery in {}, so that none answers: give the photos of the database too"),
        ("gallery", "has the role query in {}, so that none asks: give the photos of queries too"),
    ],
)
def test_a_side_without_photos(tmp_path, role, end):
    path = written(tmp_path, f"image,east,north,role\na,1,0,{role}\nb,2,0,{role}\n")
    assert said(truth_of(path).relations, [b"a", b"b"]) == "no photo to train on " + end.format(path)
    side = {"query": "no gallery photo of run has the role gallery in its ground truth: nothing can match; search among those"}
    side["gallery"] = "no query of run has the role query in its ground truth: nothing can be asked; ask with those that have"
    assert said(protocol("places").evaluate, ranked({b"a": [b"b"]}), path) == side[role]


def test_an_unknown_role(tmp_path):
    path = written(tmp_path, "image,east,north,role\na,1,0,asker\n")
    assert said(truth_of(path).relations, [b"a"]) == (
        f"{path}:2: there is no role 'asker'; a role is query, gallery, query+gallery or distractor"
    )


def test_coordinates_that_are_missing(tmp_path):
    path = written(tmp_path, "image,east,north\na,,\nb,1,2\n")
    assert said(truth_of(path).relations, [b"a", b"b"]) == f"{path}:2: east must be a number of metres, got ''"


def test_degrees_and_mixed_zones(tmp_path):
    path = written(tmp_path, "image,east,north,zone\na,13.1,52.5,33\nb,13.2,52.5,\n")
    assert truth_of(path).relations([b"a", b"b"])[2] == [DEGREES, ZONES]


def test_every_photo_a_positive_of_every_other(tmp_path):
    path = written(tmp_path, "image,east,north\na,24,0\nb,26,0\nc,28,0\n")
    trainer = Trainer(None)
    trainer.begin(Task(truth_of(path).relations([b"a", b"b", b"c"])[0], [b"a", b"b", b"c"], True, 0, 1))
    assert said(trainer.matched) == (
        "all photos to train on were taken within `far` metres of each other: there are no negatives; set `far` lower, or give photos of "
        "more places"
    )


FIELDS = "@{}@0@33@U@52.5@13.4@pano@tile@90@0@0@1.8@20200101@note@.jpg"


def test_folders_in_names_say_who_asks():
    names = [
        f"images/train/{side}/{FIELDS.format(east)}".encode() for side, east in (("database", 1000), ("database", 1004), ("queries", 1002))
    ]
    relations, _, notes = truth_of("names").relations(names)
    assert (relations.anchors().tolist(), relations.answers().tolist(), notes) == ([2], [0, 1], [])
    assert relations.positives(2).tolist() == [0, 1]
    # one side alone says nothing
    relations = truth_of("names").relations(names[:2])[0]
    assert relations.anchors().tolist() == relations.answers().tolist() == [0, 1]
    relations = truth_of("names").relations([b"my query/database/" + name.rpartition(b"/")[2] for name in names])[0]
    assert relations.anchors().tolist() == [0, 1, 2]


def test_evaluation_by_roles(tmp_path):
    path = written(tmp_path, ROLES)
    lists = ranked({b"q1": [b"q2", b"d", b"g1", b"g4"], b"q2": [b"g1"], b"g1": [b"g2"]})
    result = protocol("places", "radius=10", "at=1,2").evaluate(lists, path)
    assert (result.measures["recall@1"], result.measures["recall@2"]) == (0.0, 0.5)  # q2 is taken out; the distractor is not
    assert "1 query of the ranking whose role in the ground truth is not query: skipped" in result.warnings


def test_evaluation_by_traversals(tmp_path):
    path = written(tmp_path, "image,east,north,traversal\na,0,0,one\nb,5,0,one\nc,6,0,two\nd,900,0,one\n")
    lists = ranked({b"a": [b"b", b"c", b"d"]})
    assert protocol("places").evaluate(lists, path).measures["recall@1"] == 1.0  # b is neither right nor wrong
    lists = ranked({b"a": [b"b", b"d", b"c"]})
    assert protocol("places").evaluate(lists, path).measures["recall@1"] == 0.0


def test_held_out_photos_by_roles(tmp_path):
    relations = truth_of(written(tmp_path, ROLES)).relations(ROLE_NAMES)[0]
    held = HeldOut(relations, np.arange(8), True)
    assert held.told["queries"] == 2
    angles = np.array([0.0, 1, 0.3, 2, 2, 2, 0.01, 0.02])  # q2 is the nearest of q1 and of b, and does not answer
    vectors = np.stack([np.cos(angles), np.sin(angles)], axis=1).astype(np.float32)
    assert held.score(vectors)[0] == 1.0


def pittsburgh(folder, **more):
    """A made set as Pittsburgh's files have it: queries and the database have photos of the same names, in folders of their own."""
    names, east = ["000/a b.jpg", "001/b.jpg"], np.array([[1000.0, 3000], [0, 0]])
    fields = {"dbImageFns": cells(names), "utmDb": east, "qImageFns": cells(names), "utmQ": east[:, ::-1] + 3} | more
    return str(made(folder / "pitts30k_train.mat", **fields))


def test_a_file_of_pittsburgh(tmp_path):
    path = pittsburgh(tmp_path)
    truth = truth_of(path)
    assert (truth.form, truth.protocol, len(truth.entry()[0]["content"])) == ("mat", "places", 64)
    names = [b"000/a b.jpg", b"001/b.jpg", b"queries_real/000/a b.jpg", b"queries_real/001/b.jpg"]
    relations, _, notes = truth.relations(names)
    assert (matching(relations), notes) == ([[], [], [1], [0]], [])
    assert (relations.anchors().tolist(), relations.answers().tolist()) == ([2, 3], [0, 1])
    other = [b"images/000/a b.png", b"images/001/b.png", b"query/000/a b.png", b"query/001/b.png"]  # as NetVLAD's program has them
    assert matching(truth.relations(other)[0]) == matching(relations)
    lists = ranked({names[2]: [names[1], names[0]], names[3]: [names[1], names[0]]})
    assert protocol("places").evaluate(lists, path).measures["recall@1"] == 0.5
    assert said(truth.relations, [b"else/x.jpg"]) == (
        f"no photo to train on has a position in {path}: it names '000/a b.jpg', the photos are named as 'else/x.jpg'; give --root, or "
        "name the folder above"
    )
    assert said(truth.relations, names[:2]) == (
        f"{path}: '000/a b.jpg' is in the database and a query, and at two places: keep the photos of both in folders of their own, and "
        "give --root the folder above"
    )


def test_times_are_traversals(tmp_path):
    path = pittsburgh(
        tmp_path, qImageFns=cells(["000/q.jpg"]), utmQ=np.array([[1001.0], [0]]), dbTimeStamp=np.array([201.0, 202]), qTimeStamp=201.0
    )
    names = [b"images/000/a b.jpg", b"images/001/b.jpg", b"images/000/q.jpg"]
    relations, _, notes = truth_of(path).relations(names)
    assert matching(relations) == [[], [], []]
    assert notes == ["1 photo that asks has no photo that answers within 10 m: left out"]


def city(folder, name, start=0):
    """A made city as MSLS has it."""
    table = ",key,easting,northing,unique_cluster,night,control_panel,view_direction\n"
    rows = {
        "database": [("d1", 0, "s1", False), ("d2", 8, "s2", False), ("d3", 300, "s2", False), ("d4", 4, "s1", True)],
        "query": [("q1", 2, "s1", False), ("q2", 900, "s3", False)],
    }
    for side, some in rows.items():
        here = folder / name / side
        os.makedirs(here / "images")
        lines = [f"{n},{name}{key},{start + east}.5,10.0,1,False,{panel},Forward\n" for n, (key, east, _, panel) in enumerate(some)]
        (here / "postprocessed.csv").write_text(table + "".join(lines))
        lines = [f"{n},{name}{key},{sequence},{n}\n" for n, (key, _, sequence, _) in enumerate(some)]
        (here / "seq_info.csv").write_text(",key,sequence_key,frame_number\n" + "".join(lines))
        lines = [f"{n},{name}{key},1.5,2.5,90.0,2018-01-01,False\n" for n, (key, *_) in enumerate(some)]
        (here / "raw.csv").write_text(",key,lon,lat,ca,captured_at,pano\n" + "".join(lines))


def test_cities_of_msls(tmp_path):
    folder = tmp_path / "my sets" / "train_val"
    city(folder, "cph")
    city(folder, "sf")
    truth = truth_of(str(folder))
    assert (truth.form, truth.protocol) == ("msls", "places")
    before = truth.entry()
    names = [
        f"{c}/{side}/images/{c}{key}.jpg" for c in ("cph", "sf") for side, key in (("database", "d1"), ("database", "d2"), ("query", "q1"))
    ]
    names = [name.encode() for name in names] + [b"cph/database/images/cphd4.jpg", b"cph/query/images/cphq2.jpg"]
    relations, _, notes = truth.relations(names)
    # d1 is of the query's own sequence; the other city has the same coordinates
    assert [relations.positives(photo).tolist() for photo in (2, 5)] == [[1], [4]]
    assert (relations.anchors().tolist(), relations.answers().tolist()) == ([2, 5], [0, 1, 3, 4])
    assert notes == [
        f"2 photos of {folder} are panoramas or show the car: left out",
        "1 photo that asks has no photo that answers within 10 m: left out",
        "1 photo without a position matches nothing",
    ]
    for given, start in ((folder / "cph", 4), (folder.parent, 0)):
        some = [name[start:] if start else b"train_val/" + name for name in names[:3]]
        assert truth_of(str(given)).relations(some)[0].positives(2).tolist() == [1]
    assert truth_of(str(folder / "cph")).relations(names[:3])[0].positives(2).tolist() == [1]  # named from the folder above
    assert protocol("places").evaluate(ranked({names[2]: [names[0], names[1]]}), str(folder)).measures["recall@1"] == 1.0
    (folder / "sf" / "query" / "seq_info.csv").write_text(",key,sequence_key,frame_number\n")
    assert truth.entry() != before


def test_a_city_that_lacks_something(tmp_path):
    city(tmp_path, "cph")
    path = tmp_path / "cph" / "query" / "postprocessed.csv"
    text = path.read_text()
    path.write_text(text.replace("2.5,10.0", "x,10.0"))
    assert said(truth_of(str(tmp_path)).relations, [b"a"]) == f"{path}:2: easting must be a number of metres, got 'x'"
    path.write_text(text + text.splitlines()[1] + "\n")
    assert said(truth_of(str(tmp_path)).relations, [b"a"]) == f"{path}:4: 'cphq1' is listed again: one line per photo"
    path.unlink()
    assert said(truth_of(str(tmp_path)).relations, [b"a"]) == (
        f"{tmp_path}/cph has no query/postprocessed.csv: a city of MSLS has a folder query and a folder database, each with one"
    )


def a_set(kind, root):
    """The folder of a made set, with photos; what each split has: (database, queries)."""
    places = [f"@{east}@0@33@U@.png" for east in (1000, 3000, 1003)]
    names = {
        "tokyo247": ["03814/a b.png", "03814/b.png", "247query_v3/00001.jpg"],
        "benchmark": [f"images/test/{side}/{name}" for side, name in zip(("database", "database", "queries"), places, strict=True)],
        "msls": [f"train_val/cph/{side}/images/cph{key}.jpg" for side, key in (("database", "d1"), ("database", "d2"), ("query", "q1"))],
    }[kind]
    if kind == "msls":
        city(root / "train_val", "cph")
    for number, name in enumerate(names):
        os.makedirs((root / name).parent, exist_ok=True)
        photo(root / name, number % 2, width=64, height=48)
    if kind == "tokyo247":
        os.makedirs(root / "datasets")
        fields = {"dbImageFns": cells(["03814/a b.jpg", "03814/b.jpg"]), "utmDb": np.array([[1000.0, 3000], [0, 0]])}
        made(root / "datasets" / "tokyo247.mat", **fields, qImageFns=cells(["00001.jpg"]), utmQ=np.array([[1003.0], [0]]))


@pytest.mark.parametrize(("kind", "split"), [("tokyo247", "test"), ("benchmark", "test"), ("msls", "cph")])
def test_the_script_says_which_commands(tmp_path, capsys, kind, split):
    """What it prints names photos as readers do: the commands run, with another way to describe photos in place of the network."""
    root = tmp_path / "a set"
    a_set(kind, root)
    if kind == "msls":
        (root / "train_val" / "cph" / "query" / "images" / "stranger.jpg").write_bytes(b"")
    assert script("place_sets").main([kind, str(root), "--to", str(tmp_path / "w")]) == 0
    lines = [shlex.split(line) for line in capsys.readouterr().out.splitlines() if not line.startswith("#")][-5:]
    assert [words[1] for words in lines] == ["extract", "extract", "index", "search", "evaluate"]
    for words in lines:
        if words[1] == "extract":
            words[words.index("cnn") :] = ["color-moments"]
        done = call(*words[1:])
        assert done.code == 0, done.err
    assert b"recall@1" in done.out
    assert "without a position" not in done.err


def test_the_script_on_what_is_no_set(tmp_path, capsys):
    assert script("place_sets").main(["tokyo247", str(tmp_path)]) == 1
    assert capsys.readouterr().err == (
        f"place_sets.py: {tmp_path} has none of datasets/tokyo247.mat: see place_sets.py --help for what lies where\n"
    )
    os.makedirs(tmp_path / "images" / "test")
    assert script("place_sets").main(["benchmark", str(tmp_path), "--to", str(tmp_path)]) == 1
    assert capsys.readouterr().err == (
        f"place_sets.py: {tmp_path} has no photo of the database of images/test: see place_sets.py --help for what lies where\n"
    )
