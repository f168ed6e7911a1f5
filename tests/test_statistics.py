"""Bootstrap, randomisation test and other conventions, against slow loops and what is known of them."""

import itertools

import numpy as np
import pytest
import reference_evaluation as reference

from imgret.evaluation import conventions, measures, statistics
from imgret.evaluation.questions import Asked, Question
from imgret.formats.lists import RankedLists


def test_the_interval_is_seeded_and_holds_the_mean():
    values = np.random.default_rng(0).random(80)
    low, high = statistics.bootstrap_interval(values, 5000, 7)
    assert statistics.bootstrap_interval(values, 5000, 7) == (low, high)
    assert statistics.bootstrap_interval(values, 5000, 8) != (low, high)
    assert low < values.mean() < high
    # of a mean of many values the normal interval is nearly the same
    assert high - low == pytest.approx(2 * 1.96 * values.std() / np.sqrt(80), rel=0.06)


def test_the_interval_covers_as_often_as_it_says():
    rng = np.random.default_rng(1)
    inside = 0
    for trial in range(400):
        low, high = statistics.bootstrap_interval(rng.beta(2, 3, 60), 400, trial)
        inside += low <= 0.4 <= high
    assert 0.91 <= inside / 400 <= 0.97


def test_the_interval_does_not_depend_on_the_block(monkeypatch):
    values = np.random.default_rng(0).random(33)
    whole = statistics.bootstrap_interval(values, 1000, 0)
    monkeypatch.setattr(statistics, "_CELLS", 33 * 7)
    assert statistics.bootstrap_interval(values, 1000, 0) == whole


def slow_p(first, second):
    """Every exchange is looked at."""
    differences = [b - a for a, b in zip(first, second, strict=True)]
    seen = abs(sum(differences))
    sums = [
        abs(sum(sign * each for sign, each in zip(signs, differences, strict=True)))
        for signs in itertools.product((1, -1), repeat=len(first))
    ]
    return sum(total >= seen - 1e-12 for total in sums) / len(sums)


@pytest.mark.parametrize("seed", range(5))
def test_few_queries_are_tested_exactly(seed):
    rng = np.random.default_rng(seed)
    first, second = rng.random(9), rng.random(9)
    second[:2] = first[:2]
    found = statistics.compare(first, second, 1000, 0)
    assert found.p_value == pytest.approx(slow_p(first, second), abs=1e-12)
    assert found.difference == pytest.approx((second - first).mean())
    assert (found.better, found.worse, found.same) == ((second > first).sum(), (second < first).sum(), 2)


@pytest.mark.parametrize("differences", [[0.1] * 20 + [-0.1] * 20, [0.1, 0.2, -0.3] * 10, [0.7, 0.6, -0.5, 0.3, -0.6, -0.5]])
def test_differences_that_cancel_are_no_difference(differences):
    """Their sum is 0, but for rounding: no exchange can be smaller."""
    found = statistics.compare(np.zeros(len(differences)), np.array(differences), 2000, 0)
    assert found.p_value == 1.0


def test_many_queries_come_near_the_exact_test(monkeypatch):
    rng = np.random.default_rng(2)
    first = rng.random(14)
    second = first + rng.normal(0.03, 0.1, 14)
    exact = statistics.compare(first, second, 1000, 0).p_value
    monkeypatch.setattr(statistics, "_EXACT", 0)
    assert statistics.compare(first, second, 20_000, 0).p_value == pytest.approx(exact, abs=0.02)


def test_the_test_is_a_test():
    """Under the null hypothesis p is uniform; equal rankings give 1; a clear difference the smallest p there is."""
    rng = np.random.default_rng(3)
    values = [statistics.compare(*rng.random((2, 40)), 400, trial).p_value for trial in range(300)]
    assert 0.02 <= np.mean(np.array(values) <= 0.05) <= 0.09
    first = rng.random(40)
    assert statistics.compare(first, first, 100, 0).p_value == 1.0
    assert statistics.compare(first, first + 1, 999, 0).p_value == 0.001


def lists_of(rows, count):
    ids = np.array(rows, dtype=np.int32)
    names = [b"n%03d" % number for number in range(count)]
    return RankedLists("run", [b"q%d" % row for row in range(len(rows))], [b"q%d" % row for row in range(len(rows))], names, ids)


@pytest.mark.parametrize("removes_query", [True, False])
def test_other_conventions_against_loops(removes_query):
    rng = np.random.default_rng(4)
    lists = lists_of([rng.permutation(150)[:110] for _ in range(5)], 150)
    questions, sets = [], []
    for row in range(5):
        chosen = rng.permutation(150)
        positives, junk, own = chosen[: 4 + row], chosen[20:30], int(chosen[40])
        if row % 2:
            positives = np.append(positives, own)  # the ground truth counts the query itself
        itself = row % 2 == 1
        if row == 4:  # the gallery has it not, and the ground truth counts it
            positives, own, itself = np.append(positives, -9), -1, True
        questions.append(Question(row, b"q", len(positives), positives[positives >= 0], junk, own, itself=itself))
        sets.append((set(positives.tolist()), set(junk.tolist()), own if own >= 0 else -9))
    formula = measures.average_precision_trapezoid
    rows = conventions.side_by_side(lists, Asked({"": questions}, {"": 0}, 0), removes_query, formula)
    values = {(row["ap"], row["list"]): row["map"] for row in rows}
    assert [(row["ap"], row["list"]) for row in rows if row["own"]] == [("trapezoids", "query out" if removes_query else "query in")]

    def slow(compute, way):
        found = []
        for ranked, (positives, junk, own) in zip(lists.ids.tolist(), sets, strict=True):
            out = way == "query out" or (way == "junk wrong" and removes_query)
            positives = positives - {own} if out else positives | {own}
            closed = reference.closed_up(ranked, (set() if way == "junk wrong" else junk) | ({own} if out else set()))
            found.append(compute(closed, positives))
        return np.mean(found)

    def cut(ranked, positives):
        return reference.average_precision(ranked[:100], positives) * len(positives) / min(len(positives), 100)

    def of_found(ranked, positives):
        return reference.average_precision(ranked, positives & set(ranked)) if positives & set(ranked) else 0.0

    def area(ranked, positives):
        points = reference.interpolated(ranked, positives, len(positives) + 1)
        return np.mean(points[1:])

    loops = {
        "finite sum": reference.average_precision,
        "trapezoids": reference.trapezoid,
        "interpolated": area,
        "11 points": lambda ranked, positives: np.mean(reference.interpolated(ranked, positives, 11)),
        "of those found": of_found,
        "AP@100": cut,
        "MAP@R": reference.map_at_r,
    }
    assert set(values) == {(name, way) for name in loops for way in conventions.LISTS}
    for name, compute in loops.items():
        for way in conventions.LISTS:
            assert values[name, way] == pytest.approx(slow(compute, way), rel=1e-9), (name, way)


def test_conventions_without_a_positive_left():
    lists = lists_of([[0, 1], [1, 0]], 2)
    asked = Asked(
        {"": [Question(0, b"q", 1, np.array([0]), own=0, itself=True), Question(1, b"q", 1, np.array([0]))], "none": []},
        {"": 0, "none": 2},
        0,
    )
    rows = conventions.side_by_side(lists, asked, True, measures.average_precision)
    found = {(row["setting"], row["list"], row["queries"]) for row in rows}
    assert found == {("", "query out", 1), ("", "query in", 2), ("", "junk wrong", 1)} | {("none", way, 0) for way in conventions.LISTS}


@pytest.mark.parametrize("seed", range(3))
def test_interpolated_precision_against_the_loop(seed):
    rng = np.random.default_rng(seed)
    ranks, offsets, positives, rows = [], [0], [], []
    for _ in range(6):
        hits = np.sort(rng.choice(60, rng.integers(0, 12), replace=False))
        rows.append((["x" if place in hits else "-" for place in range(60)], len(hits) + int(rng.integers(0 if len(hits) else 1, 4))))
        ranks += (hits + 1).tolist()
        offsets.append(len(ranks))
        positives.append(rows[-1][1])
    for levels in (11, 101):
        found = measures.interpolated_precision(np.array(ranks, dtype=np.int64), np.array(offsets), np.array(positives), levels)
        for got, (row, count) in zip(found, rows, strict=True):
            ranked = [f"{place}" for place in range(60)]
            wanted = {f"{place}" for place, mark in enumerate(row) if mark == "x"} | {f"absent {n}" for n in range(count - row.count("x"))}
            assert got == pytest.approx(reference.interpolated(ranked, wanted, levels), abs=1e-11)


@pytest.mark.parametrize("count", [0, 1, 2, 5, 12])
def test_holms_method_against_the_procedure(count):
    """With ties, and with values whose multiple would pass 1."""
    rng = np.random.default_rng(count)
    for _ in range(20):
        p_values = (rng.integers(1, 40, count) / 40 * rng.choice([1.0, 0.1])).tolist()
        assert statistics.holm(p_values) == pytest.approx(reference.holm(p_values), abs=1e-12)


def test_holms_method_on_an_example():
    assert statistics.holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
