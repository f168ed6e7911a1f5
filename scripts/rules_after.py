"""After make has ended: the scores that there are, and outputs that nothing names any more. See rules.py."""

import contextlib
import fcntl
import glob
import json
import os
import re
import sys

import rules_before

from imgret.store import erasing

NETWORK = ".safetensors"
MOST_HEADER = 100 << 20  # bytes of what a network's file begins with
OUTPUT = re.compile(r"[^/]+-[0-9a-f]{10}\.(h5|safetensors)")
RECIPE = re.compile(r"[0-9a-f]{16}(-?[0-9a-f]+)?(\.\d+)?")  # a folder of parts, in that of an output
SIGNATURE = b"\x89HDF\r\n\x1a\n"


def show(made, environment, code):
    """Print mAP per config (rows) and dataset (columns), - where it was not made, and on stderr what was not; the exit code.

    Parameters
    ----------
    made : rules.Rules
    environment : dict of str to str
        IMGRET_TRUTH, as make exports it.
    code : int
        What make ended with: where that is 0, scores that are there are of now.
    """
    wrong = _not_made(made, environment, code)
    columns = list(dict.fromkeys(dataset for dataset, _ in made.scores.values()))
    rows = {}
    for out, (dataset, name) in made.scores.items():
        values = ["-"] if out in wrong else _means(out)
        rows.setdefault(name, {}).setdefault(dataset, []).extend(values)
    width = max(map(len, [*rows, "mAP"]))
    cells = {name: ["/".join(found.get(dataset, ["-"])) for dataset in columns] for name, found in rows.items()}
    widths = [max(10, *map(len, column)) for column in zip(columns, *cells.values(), strict=True)]
    for name, line in {"mAP": columns, **cells}.items():
        print(f"{name:{width}}", *(f"{cell:>{wide}}" for cell, wide in zip(line, widths, strict=True)))
    sys.stdout.flush()
    first = [out for out in wrong if not any(needed in wrong for needed in made.needs.get(out, ()))]
    rules_before.told(_sentence(made, out, wrong) for out in first)
    return 1 if wrong or code else 0


def _means(path):
    with open(path, encoding="utf-8") as file:
        return ["-" if (value := run["measures"].get("map")) is None else f"{value:.4f}" for run in json.load(file)["runs"]]


def _not_made(made, environment, code):
    """Outputs that are not there, or, where make failed, older than what they are made from: in the order in which they are made."""
    truths, wrong = rules_before.truths(made, environment), {}
    for out in made.needs:  # what an output is made from comes before it
        needed = [truths.get(out, "") if each.startswith("$(wildcard") else each for each in made.needs[out]]
        if not os.path.exists(out) or any(each in wrong for each in needed) or (code and _older(made, out, needed)):
            wrong[out] = True
    return wrong


def _older(made, out, needed):
    """Whether an output is older than what it is made from, or nothing could be seen of its photos."""
    when = os.stat(out).st_mtime_ns
    return any(os.stat(each).st_mtime_ns > when if os.path.exists(each) else each in made.seen for each in needed)


def _sentence(made, out, wrong):
    waiting = [f"{name} on {dataset}" for scores, (dataset, name) in made.scores.items() if scores in wrong and _leads(made, out, scores)]
    path, table, content = made.tables[out]
    return f"{out} was not made ({content['run']}, {path}:{table}): no scores of {', '.join(waiting)}"


def _leads(made, out, scores):
    return out == scores or any(_leads(made, out, each) for each in made.needs.get(scores, ()))


def clean(made, dry=False, told=True):
    """Remove outputs that no config names any more, their parts, and links to them; the exit code.

    Only what is called BUILD/DATASET/TABLE-HASH.h5, of a dataset that is still made, and is an HDF5 file, or .safetensors and a network of
    imgret; the folder of its parts where no process is at work there; and links in BUILD/DATASET/CONFIG that lead to such a name and to no
    file.

    Parameters
    ----------
    made : rules.Rules
    dry : bool
        Remove nothing.
    told : bool
        Print what is, or would be, removed; otherwise the exit code is 1 where there is anything, for `make -q`.
    """
    old = [path for dataset in dict.fromkeys([*made.datasets, *made.train, *made.extra]) for path in _old(made, dataset)]
    busy = [path for path in old if path.endswith(".parts") and _at_work(path)]
    old = [path for path in old if path not in busy]
    old += [path for path in _links(made) if _target(path) in old or not os.path.exists(path)]
    for path in old if told else ():
        if not dry:
            _remove(path)
        left = " as far as imgret has made it" if not dry and os.path.lexists(path) else ""
        print(f"{'would remove' if dry else 'removed'} {path}{left}")
    rules_before.told(f"{path} stays: a process is at work there" for path in busy)
    return int(bool(old)) if not told else 0


def _old(made, dataset):
    """Files and folders of parts that rules.py has named once, and does not now."""
    folder = f"{glob.escape(made.build)}/{glob.escape(dataset)}"
    for path in sorted(path for ending in (".h5", NETWORK) for path in glob.glob(f"{folder}/*-*{ending}*")):
        name = path.removesuffix(".parts")
        if name in made.rules or not OUTPUT.fullmatch(os.path.basename(name)):
            continue
        if path != name and os.path.isdir(path) and not os.path.islink(path):
            yield path
        elif path == name and os.path.isfile(path) and not os.path.islink(path) and _is_made(path):
            yield path


def _is_made(path):
    with contextlib.suppress(OSError, ValueError, LookupError, TypeError, RecursionError), open(path, "rb") as file:
        if not path.endswith(NETWORK):
            return file.read(len(SIGNATURE)) == SIGNATURE
        length = int.from_bytes(file.read(8), "little")
        return length < MOST_HEADER and json.loads(file.read(length))["__metadata__"]["format"] == "imgret"
    return False


def _at_work(parts):
    """Whether a process holds a lock on its claim there."""
    for claim in glob.glob(f"{glob.escape(parts)}/*/own-*"):
        with contextlib.suppress(FileNotFoundError), open(claim, "rb") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:
                return True
    return False


def _links(made):
    """Links with plain names that rules.py has made: they lead to what is called as an output."""
    for path in sorted(path for ending in (".h5", NETWORK) for path in glob.glob(f"{glob.escape(made.build)}/*/*/*{ending}")):
        if os.path.islink(path) and OUTPUT.fullmatch(os.path.basename(os.readlink(path))):
            yield path


def _target(link):
    return os.path.normpath(os.path.join(os.path.dirname(link), os.readlink(link)))


def _remove(path):
    """Remove an output or a link, or of a folder of parts what imgret has made in it."""
    for recipe in os.listdir(path) if path.endswith(".parts") else ():
        if RECIPE.fullmatch(recipe):
            erasing.remove(os.path.join(path, recipe))
    with contextlib.suppress(OSError):  # what somebody else has put there stays, and so does its folder
        (os.rmdir if path.endswith(".parts") else os.unlink)(path)
