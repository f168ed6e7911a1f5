"""What the benchmarks share: programs in turn, medians, tables, and a line that says what it ran on."""

import contextlib
import dataclasses
import importlib.metadata
import os
import pathlib
import platform
import statistics
import subprocess
import sys
import time

from imgret.parallel import available_cpus


@dataclasses.dataclass(frozen=True)
class Cost:
    """What one run took: seconds by the clock, and of processor time in the process and all that it started."""

    seconds: float
    cpu: float


def run(command, **environment):
    """The `Cost` of a command, from its start to its end; its output is thrown away unless it fails."""
    start = time.perf_counter()
    process = subprocess.Popen(
        list(map(str, command)), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, env=dict(os.environ, **environment)
    )
    output = process.stdout.read()
    _, status, usage = os.wait4(process.pid, 0)
    seconds = time.perf_counter() - start
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        sys.exit(f"{' '.join(map(str, command))}\nended with {process.returncode}:\n{output.decode(errors='replace')}")
    return Cost(seconds, usage.ru_utime + usage.ru_stime)


def call(function):
    """The `Cost` of a call in this process."""
    cpu, start = time.process_time(), time.perf_counter()
    function()
    return Cost(time.perf_counter() - start, time.process_time() - cpu)


def in_turn(programs, rounds):
    """Medians of `rounds` runs of each program, run in turn so that they meet the same weather.

    Parameters
    ----------
    programs : dict of str to callable
        Each gives a `Cost`.
    rounds : int

    Returns
    -------
    dict of str to Cost
    """
    costs = {name: [] for name in programs}
    for _ in range(rounds):
        for name, program in programs.items():
            costs[name].append(program())
    return {
        name: Cost(*(statistics.median(values) for values in zip(*map(dataclasses.astuple, taken), strict=True)))
        for name, taken in costs.items()
    }


def table(header, rows):
    """Print rows of text below a header: the first column to the left, the others to the right."""
    rows = [header, *rows]
    widths = [max(len(row[column]) for row in rows) for column in range(len(header))]
    for row in rows:
        print(
            "  ".join(
                cell.rjust(width) if column else cell.ljust(width) for column, (cell, width) in enumerate(zip(row, widths, strict=True))
            )
        )
    print(flush=True)


def verdict(ratio, bar):
    """A ratio beside its bar, as text."""
    return f"{ratio:.2f} (bar {bar:g}: {'met' if ratio >= bar else 'MISSED'})"


def link_photos(folder, count, distinct=None):
    """Make `folder` and fill it with links to `count` photos of $IMGRET_TEST_DATA; returns it.

    They are taken evenly from all sets, at most `distinct` (default: all there are) of them, again and again under other names.
    """
    found = sorted(pathlib.Path(os.environ.get("IMGRET_TEST_DATA", "nowhere"), "photos").glob("*/images/*"))
    if not found:
        sys.exit("there are no photos: set IMGRET_TEST_DATA to the folder that holds photos/SET/images/")
    kept = min(count, distinct or count, len(found))
    folder.mkdir()
    for number in range(count):
        photo = found[number % kept * len(found) // kept]
        (folder / f"{number:06d}-{photo.parent.parent.name}-{photo.name}").symlink_to(photo)
    return folder


def machine(*packages):
    """One line: processor, CPUs this process may use, versions of Python and of those packages that are installed."""
    known = [_processor(), f"{available_cpus()} CPUs", f"Python {platform.python_version()}"]
    for name in packages:
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            known.append(f"{name} {importlib.metadata.version(name)}")
    return ", ".join(known)


def _processor():
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as file:
            return next(line.partition(":")[2].strip() for line in file if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()
