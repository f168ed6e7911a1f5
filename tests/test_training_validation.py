"""Scores while a network is trained: those of the commands, and the threshold of first answers against a slow loop."""

import json
import re

import numpy as np
import pytest
from helpers import call

from imgret import registry
from imgret.errors import ImgretError
from imgret.evaluation import PROTOCOLS
from imgret.evaluation.threshold import best_threshold, first_answers
from imgret.relations import Grouped, Relations
from imgret.training import validation
from imgret.training.heldout import HeldOut
from imgret.training.validation import Validation

TRUTHS = {
    "groups": "image,group,role\n"
    + "".join(
        f"c{n // 4}/p{n % 4}@{n // 3 * 40}@7@32@.jpg,{n // 4},{('query', 'gallery', 'query+gallery', 'distractor')[n % 4]}\n"
        for n in range(36)
    ),
    "folders": None,
    "places": None,
    "pairs": "query,reference\n"
    + "".join(f"c{n}/p0@{n * 4 // 3 * 40}@7@32@,c{n}/p{1 + n % 2}@{(n * 4 + 1 + n % 2) // 3 * 40}@7@32@\n" for n in range(8)),
}


def judge(name, *settings):
    kind = registry.load(PROTOCOLS, name, "protocol")
    return kind(kind.Params.parse(settings))


def sample():
    """40 photos in ten folders, in no order, of which some are equal."""
    names = [f"c{n // 4}/p{n % 4}@{n // 3 * 40}@7@32@.jpg".encode() for n in range(40)]
    rng = np.random.default_rng(3)
    vectors = rng.standard_normal((10, 6)).repeat(4, axis=0) + rng.standard_normal((40, 6))
    vectors[[5, 9, 30]] = vectors[17]  # ties
    vectors[21] = 0
    order = rng.permutation(40)
    return [names[n] for n in order], vectors[order].astype(np.float32)


def by_commands(folder, names, vectors, protocol, truth, asking, searched):
    """The measures that `index -m flat`, `search` and `evaluate` give of photos, some of which ask others."""
    made = {}
    for what, some in (("queries", asking), ("gallery", searched)):
        np.save(folder / f"{what}.npy", vectors[[names.index(name) for name in some]])
        (folder / f"{what}.txt").write_bytes(b"".join(name + b"\n" for name in some))
        made[what] = folder / f"{what}.h5"
        assert call("import", folder / f"{what}.npy", "--names", folder / f"{what}.txt", "-o", made[what]).code == 0
    assert call("index", made["gallery"], "-m", "flat", "-o", folder / "i.h5").code == 0
    assert call("search", folder / "i.h5", made["queries"], "-o", folder / "r.h5").code == 0
    options = ("--truth", truth) if truth else ()
    done = call("evaluate", folder / "r.h5", "--protocol", protocol, *options, "--resamples", 0, "--json")
    assert done.code == 0, done.err
    return json.loads(done.out)["runs"][0]["measures"]


def written(folder, protocol):
    """The ground truth of a protocol; None where it is in the names."""
    if TRUTHS[protocol] is None:
        return None
    (folder / "truth.csv").write_text(TRUTHS[protocol])
    return folder / "truth.csv"


@pytest.mark.parametrize("protocol", TRUTHS)
def test_the_score_is_what_the_commands_print(tmp_path, protocol):
    names, vectors = sample()
    truth, asking, searched = written(tmp_path, protocol), names, names
    if protocol == "pairs":  # references do not ask, and what only asks is not searched
        asking = [name for name in names if b"/p0@" in name and name < b"c8"]
        searched = [name for name in names if name not in asking]
        assert judge(protocol).searched(names, truth) == (asking, searched)
    measures = by_commands(tmp_path, names, vectors, protocol, truth, asking, searched)
    held, threads = Validation(judge(protocol), names, truth), Validation(judge(protocol), names, truth, jobs=3)
    if truth:
        truth.unlink()  # it is read once
    value, figures = held.score(vectors)
    assert value == measures[held.measure]
    assert 0.05 < value < 1
    assert {name: figures[name] for name in measures} == measures
    assert threads.score(vectors) == (value, figures)
    assert (held.protocol, held.measure) == (protocol, {"places": "recall@1", "pairs": "uap"}.get(protocol, "map"))
    assert held.told == {"photos": 40, "queries": {"groups": 18, "pairs": 8}.get(protocol, 40), "held_out": False}
    assert held.pairs == [(photo, 0) for photo in range(40)]


def test_long_galleries_end_where_search_ends(tmp_path, monkeypatch):
    names, vectors = sample()
    assert Validation(judge("folders"), names).notes == []
    monkeypatch.setattr(validation, "RANKS", 7)
    held = Validation(judge("folders"), names)
    assert held.notes == ["lists of the validation photos end at rank 7, as those of search do: a positive beyond it counts as never found"]
    assert held.judged(vectors).lists.ids.shape == (40, 7)


def test_what_cannot_be_asked_is_refused_before_there_is_a_vector(tmp_path):
    names, _ = sample()
    pairs = tmp_path / "pairs.csv"
    pairs.write_text("query,reference\nx,y\n")
    text = f"none of 40 validation photos asks by {pairs}: give photos that it names"
    with pytest.raises(ImgretError, match=f"^{re.escape(text)}$"):
        Validation(judge("pairs"), names, pairs)
    pairs.write_text("query,reference\na,y\nb,y\n")
    text = f"none of 2 validation photos is searched by {pairs}: give photos that it names"
    with pytest.raises(ImgretError, match=f"^{re.escape(text)}$"):
        Validation(judge("pairs"), [b"a.jpg", b"b.jpg"], pairs)
    text = "no query of the validation photos can be evaluated by protocol folders: 1 may not ask, 2 have no positive"
    with pytest.raises(ImgretError, match=f"^{re.escape(text)}$"):
        Validation(judge("folders"), [b"a/1", b"b/2", b"c"])


def test_vectors_that_are_not_finite_are_refused():
    names, vectors = sample()
    vectors[3, 2] = np.nan
    with pytest.raises(ImgretError, match="^the matrix of vectors holds NaN or infinite values$"):
        Validation(judge("folders"), names).score(vectors)


def slow_threshold(scores, right):
    """Every threshold there can be, lowest first: the first that is better than all before."""
    best = None
    for threshold in sorted(set(scores)):
        counting = [score >= threshold for score in scores]
        among_right = [counts for counts, is_right in zip(counting, right, strict=True) if is_right]
        among_wrong = [not counts for counts, is_right in zip(counting, right, strict=True) if not is_right]
        parts = [sum(part) / len(part) for part in (among_right, among_wrong) if part]
        balanced = sum(parts) / len(parts)
        if best is None or balanced > best[1] + 1e-12:
            best = threshold, balanced, sum(counting) / len(scores), sum(among_right) / max(1, sum(counting))
    return sum(right) / len(right), *best


@pytest.mark.parametrize("seed", range(40))
def test_the_threshold_is_that_of_a_slow_loop(seed):
    rng = np.random.default_rng(seed)
    count = int(rng.integers(1, 30))
    right = rng.random(count) < rng.choice([0.2, 0.6, 1.0])
    right[rng.integers(count)] = True
    scores = np.round(rng.random(count) + 0.3 * right, int(rng.choice([1, 6]))).astype(np.float32)
    found = best_threshold(scores, right)
    slow = slow_threshold(scores.astype(float).tolist(), right.tolist())
    assert (found.right, found.threshold, found.balanced, found.answered, found.precision) == pytest.approx(slow, rel=1e-12)


def test_where_nothing_is_right_there_is_no_threshold():
    found = best_threshold([0.5, -np.inf], [False, False])
    assert (found.right, found.threshold, found.balanced, found.answered, found.precision) == (0.0, None, None, 0.0, None)
    assert best_threshold([0.5, 0.7, -np.inf], [True, True, False]).threshold == pytest.approx(0.5)


def test_first_answers_pass_over_the_query_and_junk(tmp_path):
    names, vectors = sample()
    held = Validation(judge("groups"), names, written(tmp_path, "groups"))
    judged = held.judged(vectors)
    scores, right = first_answers(judged)
    unit = vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-30)
    for question, score, is_right in zip(judged.asked.settings[""], scores, right, strict=True):
        query = names.index(question.name)
        # photos p0 of a listed class are queries only: never an answer
        others = [n for n, name in enumerate(names) if n != query and not (b"/p0@" in name and name < b"c9")]
        best = max(float(unit[n] @ unit[query]) for n in others)
        firsts = [names[n] for n in others if float(unit[n] @ unit[query]) > best - 1e-6]
        assert score == pytest.approx(best, abs=1e-5)
        first = min(firsts)
        assert is_right == (first[:2] == question.name[:2] and b"/p3@" not in first and first < b"c9")
    value, figures = held.score(vectors)
    assert figures["first.right"] == pytest.approx(right.mean())
    assert figures["first.right"] == figures["p@1"]


@pytest.mark.parametrize("labelled", [True, False])
def test_held_out_photos_tell_what_first_answers_are_worth(labelled):
    names, vectors = sample()
    vectors /= np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-30)
    groups = [int(name[1:].partition(b"/")[0]) for name in names]
    relations = Grouped([(group,) for group in groups]) if labelled else Relations(len(names))
    photos = np.flatnonzero(np.array(groups) < 6)
    held = HeldOut(relations, photos, labelled)
    rows = vectors[[photo for photo, _ in held.pairs]]
    value, figures = held.score(rows if labelled else np.concatenate([vectors, vectors[photos][:, ::-1]]).astype(np.float32))
    assert figures["map"] == value
    assert figures["first.right"] == pytest.approx(figures["recall@1"])
    assert 0 < figures["first.answered"] <= 1
