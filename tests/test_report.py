"""What a step tells while it runs: the lines and bars of `Report`, and those of one step of several."""

import sys

import pytest

from imgret.runs import report as module
from imgret.runs.report import Report


class Terminal:
    """stderr as a terminal is."""

    def __init__(self):
        self.text = ""

    def write(self, text):
        self.text += text

    def flush(self):
        pass

    def isatty(self):
        return True


@pytest.fixture
def clock(monkeypatch):
    """`clock(seconds)`: so much time goes by."""
    now = [100.0]
    monkeypatch.setattr(module.time, "monotonic", lambda: now[0])

    def wait(seconds):
        now[0] += seconds

    return wait


def test_every_line_of_a_step_says_which(capfd):
    report = Report(1).step("encode", 2, 4)
    report.note("a")
    report.detail("b")
    report.warn("c")
    report.zero(2, 3, "vectors")
    assert capfd.readouterr().err.splitlines() == [
        "imgret: 2/4 encode: a",
        "imgret: 2/4 encode: b",
        "imgret: warning: 2/4 encode: c",
        "imgret: warning: 2/4 encode: 2 of 3 vectors are zero: they match nothing",
    ]
    quiet = Report(-1).step("index", 3, 4)
    quiet.note("a")
    quiet.detail("b")
    quiet.warn("c")
    assert capfd.readouterr().err == "imgret: warning: 3/4 index: c\n"


def test_lines_where_stderr_is_no_terminal(capfd, clock):
    with Report().step("extract", 1, 4).progress(1000, "photo", 100) as progress:
        clock(29)
        progress.update(50)
        assert capfd.readouterr().err == ""
        clock(1)
        progress.update(40)
        clock(1)
        progress.update(60)
        clock(29)
        progress.update(60, "so far")
    assert capfd.readouterr().err.splitlines() == [
        "imgret: 1/4 extract: 190 of 1000 photos, 3 a second, 4 min 30 s left",
        "imgret: 1/4 extract: 310 of 1000 photos, 3.5 a second, 3 min 17 s left, so far",
    ]
    with Report(-1).progress(2, "photo") as progress:
        clock(60)
        progress.update()
    assert capfd.readouterr().err == ""


def test_a_part_of_an_iteration_counts(capfd, clock):
    with Report().progress(0, "iteration") as progress:
        clock(60)
        progress.reach(0, 25, "start")
        clock(60)
        progress.reach(0.5, 25, "objective 3")
        clock(7200)
        progress.reach(2, 25)
    assert capfd.readouterr().err.splitlines() == [
        "imgret: 0 of 25 iterations, start",
        "imgret: 0.5 of 25 iterations, 4 min 0 s each, 1 h 38 min left, objective 3",
        "imgret: 2 of 25 iterations, 1 h 1 min each, 23 h 23 min left",
    ]
    with Report().progress(0, "iteration") as progress:  # taken up at a checkpoint
        progress.reach(20, 25)
        clock(60)
        progress.reach(22, 25)
    assert capfd.readouterr().err == "imgret: 22 of 25 iterations, 30 s each, 1 min 30 s left\n"


def test_a_bar_on_a_terminal(monkeypatch):
    """It has its total from the start, the step's name, and makes room for lines."""
    monkeypatch.setattr(sys, "stderr", terminal := Terminal())
    monkeypatch.setenv("COLUMNS", "100")
    report = Report().step("codebook", 1, 2)
    with report.progress(0, "iteration") as progress:
        assert terminal.text == ""
        progress.reach(0, 25, "start")
        progress._bar.mininterval = 0
        progress.reach(2.52, 25, "objective 3")
        report.note("a line")
        progress.reach(3, 25)
    shown = terminal.text.replace("\r", "\n")
    assert "1/2 codebook:   0%|" in shown
    assert "| 0/25 [" in shown
    assert "| 2.5/25 [" in shown
    assert ", objective 3]" in shown
    assert "\nimgret: 1/2 codebook: a line\n" in shown
    assert shown.index("a line") < shown.index("| 3/25 [")
