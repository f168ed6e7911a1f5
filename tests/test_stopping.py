"""Signals in the first and in the last moments of a command; in between, see `test_resume.py`."""

import contextlib
import os
import signal
import subprocess
import sys
import textwrap
import tomllib

import pytest
from helpers import ROOT

SAID = "\nimgret: stopped by {}\n"
PROGRAMS = (["-m", "imgret"], ["-c", "from imgret.__main__ import main; main()"])  # the second is what the installed command does
SIGNALS = ((signal.SIGTERM, 75), (signal.SIGUSR1, 75), (signal.SIGINT, 130))


LOADING = """
    def watch(event, arguments):
        if event == "import" and arguments[0] == "click":
            hit()
    sys.addaudithook(watch)
"""
ENDING = """
    import atexit
    atexit.register(hit)
    leave = os._exit
    os._exit = lambda code: (hit(), leave(code))
"""
HIT = "import os, sys\ndef hit():\n    os.kill(os.getpid(), {})\n"


def run(folder, hook, number, *arguments, stderr=subprocess.PIPE):
    """Run a command after a piece of code, in which `hit()` sends it the signal `number`."""
    (folder / "sitecustomize.py").write_text(HIT.format(int(number)) + textwrap.dedent(hook))
    environment = dict(os.environ, PYTHONPATH=os.pathsep.join((str(folder), ROOT)))
    command = [sys.executable, *arguments]
    return subprocess.run(command, env=environment, stdout=subprocess.PIPE, stderr=stderr, text=True, timeout=60, check=False)


@pytest.mark.parametrize(("number", "code"), SIGNALS)
@pytest.mark.parametrize("program", PROGRAMS)
def test_a_signal_before_anything_is_loaded(tmp_path, program, number, code):
    done = run(tmp_path, LOADING, number, *program, "--help")
    name = "Ctrl-C" if number == signal.SIGINT else number.name
    assert (done.returncode, done.stdout, done.stderr) == (code, "", SAID.format(name))


@pytest.mark.parametrize(("number", "code"), SIGNALS)
@pytest.mark.parametrize("program", PROGRAMS)
def test_a_signal_after_everything_is_done(tmp_path, program, number, code):
    """Whether it is still noticed is a matter of chance; it ends nothing in another way."""
    done = run(tmp_path, ENDING, number, *program, "--version")
    assert done.returncode in (0, code), done.stderr
    assert done.stdout.startswith("imgret, version")
    assert "Traceback" not in done.stderr


def test_a_reader_that_has_stopped_reading(tmp_path):
    """A full pipe holds up what the command would say, not its end."""
    reading, writing = os.pipe()
    try:
        os.set_blocking(writing, False)
        with contextlib.suppress(BlockingIOError):
            while os.write(writing, bytes(4096)):
                pass
        os.set_blocking(writing, True)
        done = run(tmp_path, LOADING, signal.SIGTERM, "-m", "imgret", "--help", stderr=writing)
    finally:
        os.close(reading)
        os.close(writing)
    assert (done.returncode, done.stdout) == (75, "")


def test_the_installed_command_is_the_guarded_one():
    with open(os.path.join(ROOT, "pyproject.toml"), "rb") as file:
        assert tomllib.load(file)["project"]["scripts"] == {"imgret": "imgret.__main__:main"}
