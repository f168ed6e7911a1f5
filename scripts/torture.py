"""What is lost when commands are killed, and when single calls to the system fail?

1. Kills. Every step is killed (SIGKILL, SIGTERM, SIGUSR1, SIGINT; to the command, to all its processes, or SIGKILL to one worker) one to
   three times in a row, at moments drawn between its start and its end, and is then run to its end.
2. Faults. Every step is run with one call failing (a write, an fsync, a rename ...): the first, then the second, until there are none;
   `torture.c` does that in the command and its workers, to calls that concern the files read and written. Then it is run once more.

After each, the output is what it was before (nothing, or an older file under --overwrite) or the new one, whole. In the end it is the same
as that of an undisturbed run, and nothing else is left. A command ends with 0, with 1 and a sentence, or as its signal demands.

A signal that comes while Python itself is starting, before a line of imgret's has run, ends it by that signal: counted apart.
"""

import argparse
import collections
import concurrent.futures
import contextlib
import errno
import functools
import itertools
import os
import pathlib
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time

import numpy as np
from torture_steps import ROOT, STEPS, digest, environment, prepare

TIMEOUT, STOPPED = 120, 5  # seconds after which a command counts as hanging; that it may take to stop
KILLED = ("SIGKILL", "SIGTERM", "SIGUSR1", "SIGINT", "SIGKILL to a worker")
PASSED_OVER = "imgret: warning: "  # of a photo that could not be read: the next run reads it again
CALLS = {  # as in torture.c; what each fails with, 0: only half of it is done
    "open": errno.EIO,
    "read": errno.EIO,
    "write": errno.ENOSPC,
    "pwrite": errno.ENOSPC,
    "half a pwrite": 0,
    "fsync": errno.EIO,
    "close": errno.EDQUOT,
    "ftruncate": errno.ENOSPC,
    "mmap": errno.ENOMEM,
    "rename": errno.EIO,
    "link": errno.EIO,
    "unlink": errno.EIO,
    "mkdir": errno.ENOSPC,
    "opendir": errno.EIO,
}
CODES = {signal.SIGKILL: -9, signal.SIGTERM: 75, signal.SIGUSR1: 75, signal.SIGINT: 130}


class Trouble(Exception):  # noqa: N818 - what a trial has found, not an error of its own
    """What should not have happened."""


class Trial:
    """One step in a folder of its own, over and over until it has ended well."""

    def __init__(self, step, wanted, old, folder):
        self.step, self.folder, self.wanted = step, folder, wanted
        folder.mkdir()
        if old is not None:
            for path in step.outputs(folder):
                shutil.copyfile(old, path) if path.suffix == ".h5" else path.write_text("older\n")
        self.before = [digest(path) for path in step.outputs(folder)]
        self.more = () if old is None else ("--overwrite",)
        self.mark = f"TORTURE_FOLDER={folder}"

    def start(self, **more):
        """Start the command."""
        place = dict([self.mark.split("=", 1)])
        return subprocess.Popen(
            self.step.command(self.folder, *self.more),
            env=environment(**place, **more),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
        )

    def end(self, process):
        """Wait for its end; the code, and what it said."""
        try:
            _, err = process.communicate(timeout=TIMEOUT)
        except subprocess.TimeoutExpired:
            process.kill()
            process.communicate()
            raise Trouble("hangs") from None
        err = err.decode("utf-8", "replace")
        if "Traceback" in err:
            raise Trouble(f"traceback: {' / '.join(err[err.index('Traceback') :].splitlines())[-500:]}")
        return process.returncode, err

    def look(self):
        """Whether each output is what it was, or the new one."""
        for path, before, wanted in zip(self.step.outputs(self.folder), self.before, self.wanted, strict=True):
            try:
                found = digest(path)
            except OSError as error:
                raise Trouble(f"{path.name} is damaged: {error}") from None
            if found not in (before, wanted):
                raise Trouble(f"{path.name} is " + ("gone" if found is None else "neither the old nor the new one"))

    def finish(self):
        """Run it undisturbed; it must end as if nothing had happened."""
        code, err = self.end(self.start())
        if code:
            raise Trouble(f"run again, it ends with {code}: {last_line(err)}")
        self.check_whole()

    def check_made(self):
        """Everything is there."""
        for path, wanted in zip(self.step.outputs(self.folder), self.wanted, strict=True):
            if digest(path) != wanted:
                raise Trouble(f"{path.name} is not what an undisturbed run makes")

    def check_whole(self):
        """Everything is there, nothing else is, and nobody is at work."""
        self.check_made()
        for _ in range(100):
            if not self.processes():
                break
            time.sleep(0.05)
        else:
            raise Trouble("processes are left")
        left = sorted({*os.listdir(self.folder)} - {path.name for path in self.step.outputs(self.folder)})
        if left:
            raise Trouble(f"left over: {' '.join(left)}")

    def files(self):
        """All that is in its folder."""
        return sorted(self.folder.rglob("*"))

    def processes(self):
        """Its processes that live."""
        found = []
        for entry in filter(str.isdecimal, os.listdir("/proc")):
            with contextlib.suppress(OSError), open(f"/proc/{entry}/environ", "rb") as file:
                if self.mark.encode() in file.read().split(b"\0"):
                    found.append(int(entry))
        return found


def last_line(text):
    """The last line of what a command said."""
    return text.strip().splitlines()[-1] if text.strip() else "(nothing)"


def kill(trial, rng, seconds, count):
    """Kill it at one to three moments, then finish it; counts what came of each."""
    for _ in range(rng.randint(1, 3)):
        number, moment = rng.choice(list(CODES)), rng.uniform(0, seconds)
        whom = rng.choice(("command", "all", "worker") if trial.step.workers else ("command",))
        number = signal.SIGKILL if whom == "worker" else number
        files = trial.files()
        process = trial.start()
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(moment)
        others = [] if whom == "command" else [pid for pid in trial.processes() if pid != process.pid]
        hit = {"command": [process.pid], "worker": others[:1], "all": [*others, process.pid]}[whom]
        for pid in hit if process.poll() is None else ():
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, number)
        begin = time.monotonic()
        code, err = trial.end(process)
        took = time.monotonic() - begin
        trial.look()
        if code == 0:
            count["too late" if whom != "worker" or not hit else "SIGKILL to a worker"] += 1
        elif whom != "worker" and code == -number and number != signal.SIGKILL:
            if trial.files() != files:
                raise Trouble(f"{number.name} itself ended it, with work begun")
            count["while Python starts"] += 1
        elif whom == "worker" or code != CODES[number]:
            raise Trouble(f"{number.name} to the {whom}: it ended with {code}: {last_line(err)}")
        elif took > STOPPED and number != signal.SIGKILL:
            raise Trouble(f"{number.name}: it took {took:.0f} s to stop")
        else:
            count[number.name] += 1
    trial.finish()


def fail(trial, faults, call, at, count):
    """Let one call fail, then finish it."""
    code, err = trial.end(trial.start(**faults.environment(call, at)))
    if code not in (0, 1):
        raise Trouble(f"it ended with {code}: {last_line(err)}")
    if PASSED_OVER not in err:
        if code and not last_line(err).startswith("imgret: error: "):
            raise Trouble(f"it says no sentence: {last_line(err)}")
        trial.look() if code else trial.check_made()
    count["1, with a sentence" if code else "0"] += 1
    try:
        trial.check_whole()
    except Trouble:  # what could not be removed goes with the next run
        trial.finish()


class Faults:
    """The library that lets calls fail, and the file it counts them in."""

    def __init__(self, folder):
        self.folder, self.library = folder, folder / "torture.so"
        subprocess.run(["cc", "-shared", "-fPIC", "-O1", "-o", self.library, ROOT / "scripts" / "torture.c", "-ldl"], check=True)

    def environment(self, call, at):
        """Of a command whose `at`-th call fails."""
        with tempfile.NamedTemporaryFile(dir=self.folder, prefix="counts-", delete=False) as counts:
            counts.write(bytes(8 * len(CALLS)))
        return {
            "LD_PRELOAD": str(self.library),
            "TORTURE_COUNTS": counts.name,
            "TORTURE_BELOW": str(self.folder),
            "TORTURE_CALL": str(list(CALLS).index(call)),
            "TORTURE_AT": str(at),
            "TORTURE_ERRNO": str(CALLS[call]),
        }

    def calls(self, trial):
        """How often an undisturbed run makes each call."""
        preloaded = self.environment("open", 0)
        trial.end(trial.start(**preloaded))
        return dict(zip(CALLS, np.fromfile(preloaded["TORTURE_COUNTS"], np.uint64).tolist(), strict=True))


class Torture:
    """All trials, several at a time, and what came of them."""

    def __init__(self, folder, arguments):
        self.folder, self.jobs, self.until = folder, arguments.jobs, time.monotonic() + 60 * arguments.minutes
        self.rng, self.number = random.Random(arguments.seed), itertools.count()
        self.steps, self.old = prepare(folder, arguments.steps), folder / "old.h5"
        self.wanted, self.seconds = {}, {}
        for name, step in self.steps.items():
            trial, begin = Trial(step, [None] * len(step.outputs(folder)), None, folder / f"undisturbed-{name}"), time.monotonic()
            trial.end(trial.start())
            self.seconds[name] = time.monotonic() - begin
            self.wanted[name] = [digest(path) for path in step.outputs(trial.folder)]
        self.troubles, self.left_out = [], 0

    def trial(self, name, older):
        """A fresh folder for a step, with or without older files in it."""
        return Trial(self.steps[name], self.wanted[name], self.old if older else None, self.folder / f"trial-{next(self.number)}")

    def all(self, tasks):
        """Do tasks, each `(what, name, older, work)`; `work(trial)`."""

        def one(task):
            what, name, older, work = task
            if time.monotonic() > self.until:
                self.left_out += 1
                return
            trial = self.trial(name, older)
            try:
                work(trial)
                shutil.rmtree(trial.folder)
            except Trouble as trouble:
                self.troubles.append(f"{name}, {what}{', an older file there' if older else ''}: {trouble}")
                print(f"{self.troubles[-1]} ({trial.folder})", file=sys.stderr, flush=True)

        with concurrent.futures.ThreadPoolExecutor(self.jobs) as pool:
            for future in [pool.submit(one, task) for task in tasks]:
                future.result()

    def kills(self, most):
        """Kill steps until it has been done often enough; prints a table."""
        counts = {name: collections.Counter() for name in self.steps}
        while not self.left_out and sum(sum(count[column] for column in KILLED) for count in counts.values()) < most:
            tasks = []
            for name in self.steps:
                for older in (False, True):
                    work = functools.partial(kill, rng=random.Random(self.rng.random()), seconds=self.seconds[name], count=counts[name])
                    tasks.append(("killed", name, older, work))
            self.all(tasks)
        show("step", counts, [*KILLED, "while Python starts", "too late"])

    def faults(self, most):
        """Let every call fail, or `most` of each kind, spread evenly; prints two tables."""
        faults = Faults(self.folder)
        tried, counts, tasks = {}, {name: collections.Counter() for name in self.steps}, []
        for name in self.steps:
            trial = self.trial(name, False)
            calls = faults.calls(trial)
            tried[name] = {call: (min(number, most), number) for call, number in calls.items()}
            for call, (some, number) in tried[name].items():
                for at in (1 + index * number // some for index in range(some)):
                    work = functools.partial(fail, faults=faults, call=call, at=at, count=counts[name])
                    tasks.append((f"{call} {at} of {number}", name, at % 2 == 0, work))
        self.rng.shuffle(tasks)
        self.all(tasks)
        made = [call for call in CALLS if any(calls[call][1] for calls in tried.values())]
        rows = []
        for name, calls in tried.items():
            rows.append([name, *("{} of {}".format(*calls[call]) if calls[call][1] else "" for call in made)])
        markdown(["step", *made], rows)
        show("step", counts, ["0", "1, with a sentence"])


def show(title, counts, columns):
    """Print a table of counts, with sums."""
    total = {column: sum(row.get(column, 0) for row in counts.values()) for column in columns}
    rows = [[name, *(row.get(column, 0) for column in columns), sum(row.values())] for name, row in (counts | {"all": total}).items()]
    markdown([title, *columns, "all"], rows)


def markdown(header, rows):
    """Print a table in Markdown."""
    print(f"| {' | '.join(header)} |\n| --- |" + " ---: |" * (len(header) - 1))
    for row in rows:
        print(f"| {' | '.join(map(str, row))} |")
    print(flush=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--kills", type=int, default=500, help="how many, about (default: %(default)s)")
    parser.add_argument("--faults", type=int, default=20, help="of each call of each step, spread evenly (default: %(default)s)")
    parser.add_argument("--minutes", type=float, default=60, help="what is not begun by then is left out (default: %(default)s)")
    parser.add_argument("--steps", nargs="+", default=STEPS, choices=STEPS, metavar="STEP", help="default: all")
    parser.add_argument("--jobs", type=int, default=2, help="commands at once (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    begin = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="torture-") as folder:
        torture = Torture(pathlib.Path(folder), arguments)
        if arguments.kills:
            torture.kills(arguments.kills)
        if arguments.faults and shutil.which("cc"):
            torture.faults(arguments.faults)
        elif arguments.faults:
            print("no fault was tried: that takes a C compiler, `cc`\n")
    print(f"Seed {arguments.seed}, {(time.monotonic() - begin) / 60:.0f} minutes. Lost, damaged or left behind: {len(torture.troubles)}")
    for trouble in torture.troubles:
        print(f"* {trouble}")
    if torture.left_out:
        print(f"{torture.left_out} trials were left out: --minutes was over")
    sys.exit(bool(torture.troubles))


if __name__ == "__main__":
    main()
