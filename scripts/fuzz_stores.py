"""What do stores that were spoiled at random do to whoever reads them?

    python scripts/fuzz_stores.py [--mutants 100] [--seed 0] [--jobs 2] [--only features] [--verbose]

Makes a small store of every kind (and takes the older versions of tests/data), spoils copies of it in two ways (see `fuzz_mutants.py`) and
lets `info --check` and some of the steps that read it work on each, within 1 GiB more than the libraries take. Prints a table:

    refused    at least one reader ended with a sentence, the others answered as they do of the sound file
    the same   every reader answered as of the sound file
    other      a file that was signed again is another sound file: the answers are its own
    --check    a reader gave another answer, and only `info --check` finds that the file is damaged
    wrong      a reader gave another answer, and nothing finds anything

and what must not be: tracebacks, crashes, hangs (a reader that takes a minute), and more than 1 GiB. Exit code 1 if there are any.
"""

import argparse
import collections
import contextlib
import json
import os
import selectors
import signal
import subprocess
import sys
import tempfile
import time

from fuzz_reading import ROOT, SCRIPTS, SUBJECTS, make_apart

HANG = 60  # seconds
OUTCOMES = ("refused", "the same", "other", "--check", "wrong", "traceback", "crash", "hang", "1 GiB")
NEVER = OUTCOMES[5:]


class Worker:
    """A process that judges mutants, started anew when it has ended."""

    def __init__(self, folder, seed, readers):
        self._command = [sys.executable, "-P", os.path.join(SCRIPTS, "fuzz_reading.py"), folder, str(seed), str(readers)]
        self._process, self.task, self.since = None, None, 0.0

    def give(self, task, selector):
        """Have it judge one more."""
        if self._process is None:
            path = os.pathsep.join(filter(None, (ROOT, SCRIPTS, os.environ.get("PYTHONPATH"))))
            environment = os.environ | {"PYTHONPATH": path, "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
            pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.DEVNULL}
            self._process = subprocess.Popen(self._command, env=environment, start_new_session=True, text=True, **pipes)
            selector.register(self._process.stdout, selectors.EVENT_READ, self)
        self.task, self.since = task, time.monotonic()
        with contextlib.suppress(BrokenPipeError):
            self._process.stdin.write(json.dumps(task) + "\n")
            self._process.stdin.flush()

    def heard(self, selector):
        """Its answer; of one that has ended, that it crashed."""
        line = self._process.stdout.readline()
        return json.loads(line) if line else self.end(selector, "crash")

    def end(self, selector, outcome=""):
        """End it, and all that it started."""
        if self._process is None:
            return None
        selector.unregister(self._process.stdout)
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.communicate()
        code, self._process = self._process.returncode, None
        return [outcome, f"exit {code}"]


def run_all(folder, seed, readers, tasks, jobs):
    """Yield (subject, number, answer) of each task, in the order in which they end."""
    workers, waiting = [Worker(folder, seed, readers) for _ in range(jobs)], collections.deque(tasks)
    with selectors.DefaultSelector() as selector:
        for worker in workers[: len(waiting)]:
            worker.give(waiting.popleft(), selector)
        while any(worker.task for worker in workers):
            ready = [key.data for key, _ in selector.select(1)]
            for worker in [worker for worker in workers if worker.task]:
                late = time.monotonic() - worker.since > HANG
                if worker in ready or late:
                    answer = worker.heard(selector) if worker in ready else worker.end(selector, "hang")
                    yield (*worker.task, answer)
                    worker.task = None
                    if waiting:
                        worker.give(waiting.popleft(), selector)
        for worker in workers:
            worker.end(selector)


def fuzz(folder, mutants, seed=0, jobs=2, only=None, readers=2, tell=None):
    """Judge `mutants` of each subject; a `Counter` of outcomes for each (subject, way of spoiling)."""
    subjects = [subject for subject in SUBJECTS if only in (None, subject)]
    sound = {subject: answer for subject, _, answer in run_all(folder, seed, readers, [(subject, -1) for subject in subjects], jobs)}
    for subject, answers in sound.items():
        for line, answer in answers.items() if isinstance(answers, dict) else [("?", {"code": 1, "err": answers, "trace": ""})]:
            if answer["code"] or answer["trace"]:
                raise SystemExit(f"{subject}, though sound: `{line}`: {answer['err']}{answer['trace']}")
    with open(os.path.join(folder, "sound.json"), "w", encoding="ascii") as file:
        json.dump(sound, file)
    found = collections.defaultdict(collections.Counter)
    for subject, number, (outcome, detail) in run_all(folder, seed, readers, [(s, n) for n in range(mutants) for s in subjects], jobs):
        found[subject, ("structure", "bytes")[number % 2]][outcome] += 1
        if tell is not None:
            tell(subject, number, outcome, detail)
    return found


def table(found):
    """The counts as a markdown table."""
    yield "| store | spoiled by | mutants | " + " | ".join(OUTCOMES) + " |"
    yield "| --- " * 2 + "| ---: " * (1 + len(OUTCOMES)) + "|"
    for way in ("structure", "bytes"):
        rows = {subject: counts for (subject, which), counts in found.items() if which == way}
        rows["all"] = sum(rows.values(), collections.Counter())
        for subject, counts in rows.items():
            yield f"| {subject} | {way} | {counts.total()} | " + " | ".join(str(counts[outcome]) for outcome in OUTCOMES) + " |"


def main():
    """Print the table; exit code 1 where anything happened that must not."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--mutants", type=int, default=100, help="of each store, half of them by structure and half by bytes")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--only", help="one of the stores")
    parser.add_argument("--verbose", action="store_true", help="tell of everything but what was refused or the same")
    parser.add_argument("--readers", type=int, default=2, help="how many of the steps that read it work on each")
    given = parser.parse_args()

    def tell(subject, number, outcome, detail):
        if outcome not in ("refused", "the same", "other") and given.verbose:
            print(f"{subject} {number}: {outcome}: {detail}", flush=True)

    with tempfile.TemporaryDirectory() as folder:
        make_apart(folder)
        found = fuzz(folder, given.mutants, given.seed, given.jobs, given.only, given.readers, tell)
    print(*table(found), sep="\n")
    sys.exit(int(any(counts[outcome] for counts in found.values() for outcome in NEVER)))


if __name__ == "__main__":
    main()
