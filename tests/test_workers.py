"""Worker processes that crash, are killed or run out of memory: what is tried again, with what beside it, and who is blamed."""

import json
import os

import pytest

from imgret.errors import ImgretError
from imgret.runs import workers

WORKER = """
import json
import os
import time


class Worker:
    def __init__(self, setup):
        self.setup = setup

    def work(self, task, starting):
        self.log("begin", task)
        for item in range(4):
            if item in dict(task.get("crashed", ())):
                continue
            starting(item if self.setup["tells"] else None)
            for number, which, times, how in self.setup["bad"]:
                if [number, which] == [task["number"], item] and self.tried(number, item) <= times:
                    if how == "memory":
                        raise MemoryError
                    if how == "exit":
                        os._exit(7)
                    os.kill(os.getpid(), how)
            time.sleep(0.01)
        self.log("end", task)
        return task["number"]

    def tried(self, number, item):
        with open(f"{self.setup['folder']}/{number}-{item}", "a") as file:
            file.write(".")
            return file.tell()

    def log(self, what, task):
        with open(f"{self.setup['folder']}/log", "a") as file:
            file.write(json.dumps([what, task["number"], bool(task.get("careful")), os.getpid()]) + "\\n")
"""
KILL, SEGV = 9, 11
EACH_TRY = "each of 3 tries, the last 2 with nothing else at work, ended the process that decodes and describes it: "


@pytest.fixture
def run(tmp_path, monkeypatch):
    """`run(bad)`: eight tasks of four items by three workers; `bad` lists (task, item, how often it ends the worker, how)."""
    (tmp_path / "some_worker.py").write_text(WORKER)
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join((str(tmp_path), os.environ.get("PYTHONPATH", ""))))

    def run(*bad, tells=True, jobs=3):
        ended, finished = [], {}

        def done(task, result):
            assert result == task["number"] not in finished
            finished[result] = task

        setup = {"folder": str(tmp_path), "bad": bad, "tells": tells}
        tasks = ({"number": number} for number in range(8))
        workers.run("some_worker:Worker", setup, tasks, jobs, done, ended.extend)
        assert sorted(finished) == list(range(8))
        log = [json.loads(line) for line in (tmp_path / "log").read_text().splitlines()]
        return {number: task["crashed"] for number, task in finished.items() if task.get("crashed")}, log, ended

    return run


def test_without_an_accident(run):
    blamed, log, ended = run()
    assert (blamed, ended) == ({}, [])
    assert len({pid for *_, pid in log}) == 3
    assert not any(careful for _, _, careful, _ in log)


@pytest.mark.parametrize("how", [KILL, SEGV, "memory"])
@pytest.mark.parametrize("times", [1, 2])
def test_what_passes_is_blamed_on_nobody(run, how, times):
    blamed, log, ended = run((2, 1, times, how))
    assert blamed == {}
    assert len(ended) == times
    assert [entry[2] for entry in log if entry[:2] == ["begin", 2]] == [False, True, True][: times + 1]


@pytest.mark.parametrize(("how", "named"), [(KILL, "SIGKILL (out of memory?)"), (SEGV, "SIGSEGV"), ("memory", "out of memory")])
def test_what_ends_three_workers_is_blamed_by_name(run, how, named):
    blamed, log, ended = run((2, 1, 99, how))
    assert blamed == {2: [[1, EACH_TRY + named]]}
    assert len([entry for entry in log if entry[:2] == ["begin", 2]]) == 4
    assert len(ended) == 3


def test_several_of_a_task_and_of_several_ends(run):
    blamed, _, ended = run((2, 1, 99, SEGV), (2, 2, 1, KILL), (2, 3, 99, KILL), (5, 0, 1, KILL), (5, 0, 99, SEGV))
    assert blamed == {
        2: [[1, EACH_TRY + "SIGSEGV"], [3, EACH_TRY + "SIGKILL (out of memory?)"]],
        5: [[0, EACH_TRY + "SIGKILL (out of memory?), SIGSEGV"]],
    }
    assert len(ended) == 3 + 1 + 3 + 3


@pytest.mark.parametrize("bad", [[(1, 2, 99, KILL)], [(0, 1, 1, KILL), (1, 1, 1, KILL), (2, 1, 2, KILL)]])
def test_it_is_tried_again_with_nothing_else_at_work(run, bad):
    """As where memory runs out under several at once: the others end what they are about, and wait."""
    _, log, _ = run(*bad)
    ends = {(number, pid): at for at, (what, number, _, pid) in enumerate(log) if what == "end"}
    tries = 0
    for at, (what, number, careful, pid) in enumerate(log):
        if what == "begin" and careful:
            tries += 1
            assert ends.get((number, pid), at + 1) == at + 1  # nothing begins or ends meanwhile
            assert all(ends.get((other, its), 0) < at for before, other, _, its in log[:at] if before == "begin")
    assert tries == sum(min(times, 3) for _, _, times, _ in bad)


@pytest.mark.parametrize("how", [KILL, SEGV, "memory"])
def test_where_no_item_was_told_it_is_tried_once_more(run, how):
    blamed, log, _ = run((3, 1, 1, how), tells=False)
    assert blamed == {}
    assert [entry[2] for entry in log if entry[:2] == ["begin", 3]] == [False, True]


@pytest.mark.parametrize(
    ("how", "text"),
    [
        (KILL, "a worker process was killed (out of memory?): run the same command again, with fewer --jobs"),
        ("memory", "a worker ran out of memory: run the same command again, with fewer --jobs"),
        (SEGV, "a worker process ended unexpectedly (exit -11): run the same command again"),
    ],
)
def test_where_nothing_can_be_blamed_the_step_fails(run, how, text):
    with pytest.raises(ImgretError) as caught:
        run((3, 1, 2, how), tells=False)
    assert str(caught.value) == text


def test_an_exit_is_no_crash(run):
    with pytest.raises(ImgretError) as caught:
        run((3, 1, 1, "exit"))
    assert str(caught.value) == "a worker process ended unexpectedly (exit 7): run the same command again"


def test_none_is_started_once_the_step_is_stopped():
    pool = workers._Pool("some_worker:Worker", {}, lambda pids: None)
    pool.end()
    with pytest.raises(ImgretError, match="stopped"):
        list(pool.run(iter([{"number": 0}]), 1))
    assert pool.processes == []
