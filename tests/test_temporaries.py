"""Temporary files: kept as long as anybody may be writing them, on whatever machine and in whatever container; swept afterwards."""

import contextlib
import os
import shutil
import socket
import subprocess
import sys

import pytest
from helpers import ROOT
from killing import Watched, aged, same, tidy

from imgret.store import temporaries
from imgret.store.temporaries import quiet, sweep, sweep_of, temporary_name

NODE = "a-node-of-a-cluster-with-a-long-name-"  # names of machines begin alike
ELSEWHERE = ["unshare", "--pid", "--uts", "--fork", "--kill-child"]

linux = pytest.mark.skipif(sys.platform != "linux", reason="processes are known through /proc")


@pytest.fixture
def elsewhere():
    """`elsewhere(node, *command)`: the command that runs it as on another machine of a cluster."""
    if shutil.which("unshare") is None or subprocess.run([*ELSEWHERE, "true"], capture_output=True, check=False).returncode:
        pytest.skip("no namespaces may be made here")
    # process numbers begin anew: some are passed by, so that machines have different ones
    start = 'hostname "$1" && for i in $(seq $2); do /bin/true; done && shift 2 && "$@"; exit $?'
    return lambda node, *command: [*ELSEWHERE, "sh", "-c", start, "sh", NODE + node, str(10 * ord(node) % 97), *map(str, command)]


def python(code):
    return [sys.executable, "-c", "import sys; from imgret.store.temporaries import *; " + code]


HOLD = "open(temporary_name(sys.argv[1]), 'x').close(); print(flush=True); sys.stdin.read()"
SWEEP = "sweep(sys.argv[1]); print(quiet(sys.argv[1]))"


@contextlib.contextmanager
def writing(command, folder):
    """A process that has a temporary file in a folder, and lives."""
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "env": dict(os.environ, PYTHONPATH=ROOT)}
    with subprocess.Popen([*command, folder], **pipes) as process:
        assert process.stdout.readline() == b"\n"
        yield process
        process.stdin.close()


def swept(command, folder):
    """Sweep from another process; what it thinks of the folder then."""
    done = subprocess.run([*command, folder], env=dict(os.environ, PYTHONPATH=ROOT), capture_output=True, check=True)
    return done.stdout == b"True\n"


def made(path):
    open(path, "x").close()
    return path


def test_of_processes_here(tmp_path):
    mine = aged(made(temporary_name(tmp_path)), 5)
    with writing(python(HOLD), tmp_path) as process:
        (other,) = [path for path in tmp_path.iterdir() if str(path) != mine]
        aged(other, 5)
        aged(tmp_path, 5)
        sweep(tmp_path)
        sweep_of(tmp_path, {os.getpid() + 1})
        assert len(os.listdir(tmp_path)) == 2
        assert not quiet(tmp_path)
        process.kill()
        os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)  # it has ended; nobody has asked how
        sweep(tmp_path)
    assert os.listdir(tmp_path) == [os.path.basename(mine)]


@linux
def test_a_number_that_another_process_has_now(tmp_path):
    mine = temporary_name(tmp_path)
    _, machine, pid, start, _ = os.path.basename(mine).split("-")
    made(mine)
    made(tmp_path / f"tmp-{machine}-{pid}-{int(start) - 1}-01234567.h5")
    sweep(tmp_path)
    assert os.listdir(tmp_path) == [os.path.basename(mine)]


@linux
def test_of_those_that_were_ended(tmp_path):
    mine = made(temporary_name(tmp_path))
    with writing(python(HOLD), tmp_path) as process:
        pass
    foreign = made(tmp_path / f"tmp-0123456789abcdef-{process.pid}-1-01234567.h5")
    sweep_of(tmp_path, {process.pid, os.getpid()})
    assert {str(path) for path in tmp_path.iterdir()} == {mine, str(foreign)}


@pytest.mark.parametrize(
    "name", ["tmp-0123456789abcdef-1234567-5-01234567.h5", "tmp-{}-99999999-01234567.h5", "tmp-host-99999999-01234567.h5"]
)
def test_what_cannot_be_judged_is_left_for_a_day(tmp_path, name):
    """Also what an older imgret left, which cut names of machines short."""
    path = made(tmp_path / name.format(socket.gethostname()[:32]))
    for folder in (tmp_path, tmp_path / "folder"):
        sweep(folder)
    assert path.exists()
    assert not quiet(tmp_path)
    aged(tmp_path, 0.9)
    sweep(tmp_path)
    assert path.exists()
    aged(tmp_path, 1.1)
    assert quiet(tmp_path)
    sweep(tmp_path)
    assert not path.exists()


@linux
def test_of_a_process_that_is_hidden(tmp_path, monkeypatch):
    """As `hidepid` hides other users' processes: that one of this number is there is all that can be found out."""
    real = temporaries._start

    def start(process):
        if process == "self":
            return real(process)
        raise FileNotFoundError

    monkeypatch.setattr(temporaries, "_start", start)
    with writing(python(HOLD), tmp_path):
        sweep(tmp_path)
        assert len(os.listdir(tmp_path)) == 1
    sweep(tmp_path)
    assert os.listdir(tmp_path) == []


def test_nothing_else_is_swept(tmp_path):
    for name in ("tmp-mine.h5", "tmp-host-1-0123.h5", "000001.h5", "tmp-host-1-01234567.txt"):
        aged(made(tmp_path / name), 5)
    sweep(tmp_path)
    assert len(os.listdir(tmp_path)) == 4


def test_quiet_looks_at_all_that_is_in_a_folder(tmp_path):
    deep = tmp_path / "one" / "two"
    deep.mkdir(parents=True)
    made(deep / "plan.h5")
    assert not quiet(tmp_path)
    for path in (deep, tmp_path / "one", tmp_path):
        assert not quiet(tmp_path)
        aged(path, 2)
    assert quiet(tmp_path)
    made(temporary_name(deep))
    for path in (deep, tmp_path / "one", tmp_path):
        aged(path, 2)
    assert not quiet(tmp_path)
    assert not quiet(tmp_path / "gone")


def test_of_machines_whose_names_begin_alike(tmp_path, elsewhere):
    with writing(elsewhere("a", *python(HOLD)), tmp_path), writing(elsewhere("b", *python(HOLD)), tmp_path):
        assert not swept(elsewhere("c", *python(SWEEP)), tmp_path)
        sweep(tmp_path)
        assert len(os.listdir(tmp_path)) == 2
    assert not swept(elsewhere("a", *python(SWEEP)), tmp_path)  # as after a boot: the same name, other processes
    assert len(os.listdir(tmp_path)) == 2


def test_of_processes_of_one_container(tmp_path, elsewhere):
    """Here /proc shows the processes outside: what is alive is not to be told, what is not is."""
    code = """
import os, subprocess, time
from imgret.store.temporaries import *
child = subprocess.Popen(sys.argv[2:] + [sys.argv[1]], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
child.stdout.readline()
sweep(sys.argv[1])
assert len(os.listdir(sys.argv[1])) == 1
child.kill()
child.wait()
sweep(sys.argv[1])
assert not os.listdir(sys.argv[1])
"""
    command = elsewhere("a", sys.executable, "-c", "import sys" + code, tmp_path, *python(HOLD))
    done = subprocess.run(command, env=dict(os.environ, PYTHONPATH=ROOT), capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_extractions_on_machines_whose_names_begin_alike(photos, stores, tmp_path, elsewhere):
    (tmp_path / "out").mkdir()
    watched, out = Watched(tmp_path / "watch", tmp_path / "out"), tmp_path / "out" / "made.h5"
    started = [watched.start("extract", photos, "-o", out, "-j", 2, prefix=elsewhere(node)) for node in "abc"]
    for process in started:
        result = watched.end(process)
        assert result.code == 0, result.err
    same(out, stores.features)
    tidy(out)
