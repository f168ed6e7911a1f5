"""Commands that are killed at a chosen event, and what they touched.

A `sitecustomize.py` put before all others on PYTHONPATH watches the command and its workers: every file below a folder that Python
opens, renames, makes or removes is an event. Events are counted over all processes of a command, so "kill it at event 17" needs no clock.
"""

import contextlib
import itertools
import os
import signal
import subprocess
import sys
import time

import forking
from helpers import ROOT, Result

HOOK = """
import os
import signal
import sys

EVENTS = ("open", "os.rename", "os.mkdir", "os.remove")
MAIN = int(os.environ.setdefault("WATCH_MAIN", str(os.getpid())))
AT = int(os.environ["WATCH_AT"])
NUMBER = int(os.environ["WATCH_SIGNAL"])
ITSELF = os.environ["WATCH_WHO"] == "worker"
BELOW = os.environ["WATCH_BELOW"]
NAMED = os.environ["WATCH_NAMED"]
FOLDER = os.environ["WATCH_FOLDER"]
busy = False


def append(name, text):
    descriptor = os.open(os.path.join(FOLDER, name), os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    os.write(descriptor, text)
    position = os.lseek(descriptor, 0, os.SEEK_CUR)
    os.close(descriptor)
    return position


def watch(event, arguments):
    global busy
    if busy or (event not in EVENTS and event != "import"):
        return
    path = arguments[0] if arguments else None
    if not isinstance(path, (str, bytes)):
        return
    path = os.fsdecode(path)
    busy = True
    try:
        if event == "import":
            if path in ("PIL.Image", "cv2"):
                append("log", f"import {path}\\n".encode())
            return
        if not path.startswith(BELOW):
            return
        append("log", f"{event} {path}\\n".encode("utf-8", "surrogateescape"))
        if ITSELF and os.getpid() == MAIN:
            return
        if append("count", b".") == AT or (NAMED and path.endswith(NAMED)):
            os.kill(os.getpid() if ITSELF else MAIN, NUMBER)
    finally:
        busy = False


sys.addaudithook(watch)
"""

PLAIN = "from imgret.__main__ import main; main()"
OFTEN = "import imgret.stages.codebook as c; c.CHECKPOINT_SECONDS = 0; from imgret.cli.main import main; main()"


class Watched:
    """Runs `imgret` under watch.

    Parameters
    ----------
    folder : pathlib.Path
        Where the hook and its logs are kept.
    below : pathlib.Path
        Events are what happens to files below it.
    """

    def __init__(self, folder, below):
        self.folder, self.below = folder, below
        folder.mkdir(exist_ok=True)
        (folder / "sitecustomize.py").write_text(HOOK)

    def start(self, *arguments, at=0, number=signal.SIGKILL, who="command", named="", often=False, fresh=False, prefix=()):
        """Start a command; `at` is the event at which `who` ("command" or the "worker" at it) gets the signal, 0 for never.

        `named`: the end of a path whose event is one to kill at too. `often`: a codebook is checkpointed after every iteration.
        `fresh`: Python itself is started, as for a user, and each worker's. `prefix`: words of a command that runs the command.
        """
        for log in ("log", "count"):
            (self.folder / log).write_bytes(b"")
        watch = {"AT": at, "SIGNAL": int(number), "WHO": who, "BELOW": self.below, "NAMED": named, "FOLDER": self.folder}
        environment = {name: value for name, value in os.environ.items() if name != "WATCH_MAIN"}
        environment |= {f"WATCH_{name}": str(value) for name, value in watch.items()}
        environment["PYTHONPATH"] = os.pathsep.join((str(self.folder), ROOT))
        streams = {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
        words = list(map(str, arguments))
        if sys.platform == "linux" and not fresh and not prefix:
            name = forking.named(self.folder)
            return forking.Forked(forking.kept, OFTEN if often else PLAIN, words, name=name, env=environment, **streams)
        program = ["-c", OFTEN] if often else ["-m", "imgret"]
        return subprocess.Popen([*prefix, sys.executable, *program, *words], env=environment, **streams)

    def run(self, *arguments, **options):
        """Run a command to its end; returns a `Result`. No process of it is left afterwards."""
        return self.end(self.start(*arguments, **options))

    def end(self, process):
        """Wait for a command that was started."""
        out, err = process.communicate(timeout=120)
        err = err.decode("utf-8", "surrogateescape")
        assert "Traceback" not in err, err
        self.wait_until_alone()
        return Result(process.returncode, out, err)

    def until_done(self, rng, *arguments, most, code, **options):
        """Run a command again and again, each time killed at a random event, until it ends; returns how often it was killed.

        `most` bounds the number of the first event; the bound rises, so there is an end.
        """
        for killed in itertools.count():
            result = self.run(*arguments, at=int(rng.integers(1, most)), **options)
            if result.code == 0:
                return killed
            assert result.code == code, result.err
            most = most * 3 // 2

    def events(self):
        """How many events the last command had."""
        return os.path.getsize(self.folder / "count")

    def opened(self, folder):
        """Names, relative to `folder`, of the files below it that the last command opened, in byte order."""
        start = f"open {folder}{os.sep}".encode()
        lines = (self.folder / "log").read_bytes().split(b"\n")
        return sorted({os.fsdecode(line.removeprefix(start)) for line in lines if line.startswith(start) and not line.endswith(b"/")})

    def imported(self):
        """Which of PIL.Image and cv2 the last command or its workers imported."""
        return {line.split()[1].decode() for line in (self.folder / "log").read_bytes().split(b"\n") if line.startswith(b"import ")}

    def wait_until_alone(self):
        """Wait until no process of any command started here is left: a generous while, then it is an error."""
        for _ in range(600):
            left = self.processes()
            if not left:
                return
            time.sleep(0.05)
        raise AssertionError(f"processes are left: {left}")

    def processes(self):
        """Ids of processes that were started here and still live."""
        mark, name = f"WATCH_FOLDER={self.folder}".encode(), f"({forking.named(self.folder)})"
        found = []
        for entry in filter(str.isdecimal, os.listdir("/proc")):
            with contextlib.suppress(OSError):
                _, called, state = open(f"/proc/{entry}/stat").read().split()[:3]
                if (called == name and state != "Z") or mark in open(f"/proc/{entry}/environ", "rb").read().split(b"\0"):
                    found.append(int(entry))
        return found


def same(first, second):
    """Assert that two stores hold the same, byte for byte, whatever their histories."""
    import h5py

    def datasets(file):
        found = {}
        file.visititems(lambda name, item: found.update({name: item}) if isinstance(item, h5py.Dataset) else None)
        return found

    with h5py.File(first, "r", locking=False) as a, h5py.File(second, "r", locking=False) as b:
        one, other = datasets(a), datasets(b)
        assert sorted(one) == sorted(other)
        for name in one.keys() - {f"meta/{name}" for name in ("inputs", "checksums", "generated_by")}:
            assert (one[name].dtype, one[name].shape) == (other[name].dtype, other[name].shape), name
            assert one[name][()].tobytes() == other[name][()].tobytes(), name
        for name in ("format", "kind", "schema_version", "recipe", "content", "fingerprint"):
            assert a.attrs[name] == b.attrs[name], name


def tidy(out):
    """Assert that nothing but an output is left of making it."""
    left = [name for name in os.listdir(out.parent) if name.startswith(out.name) or name.startswith("tmp-")]
    assert left == [out.name]


def aged(path, days):
    """Let a file, or a folder and all in it, be some days old."""
    then = time.time() - days * 24 * 3600
    for top, folders, names in os.walk(path):
        for name in (*folders, *names):
            os.utime(os.path.join(top, name), (then, then))
    os.utime(path, (then, then))
    return path
