"""Before make starts: what is missing, and what is seen of the photos. See rules.py."""

import argparse
import concurrent.futures
import contextlib
import glob
import hashlib
import json
import os
import secrets
import shlex
import subprocess
import sys

from imgret import config, ready
from imgret.errors import ImgretError, one_line

LISTING = {"list": list, "exclude": list, "root": str, "null": bool}  # what a table may say about which photos
WORDS = ("folders", "names")  # that stand for a truth without a file
MANY = 8  # steps that take a while to be asked
MISSING = "what-is-not-there.h5"  # no input of any step: each is asked for what it says before it looks for that


def told(sentences):
    """Say what is wrong, on stderr, a line each; the exit code."""
    code = 0
    for text in sentences:
        sys.stderr.write(f"rules.py: {text}\n")
        code = 1
    return code


def problems(made, environment, quick=False):
    """What make would fail over, before anything is started.

    Parameters
    ----------
    made : rules.Rules
    environment : dict of str to str
        IMGRET, IMGRET_FLAGS, IMGRET_PHOTOS, IMGRET_TRUTH and IMGRET_TRAIN_TRUTH, as make exports them.
    quick : bool
        Look at files only; otherwise imgret is run, and each step whose output is missing is asked.

    Yields
    ------
    str
        A sentence each.
    """
    for dataset in dict.fromkeys([*made.datasets, *made.train, *made.extra]):
        given = _parsed(_words(environment.get("IMGRET_PHOTOS", ""), dataset))
        for path in [] if given is None else [*given.photos, *given.list]:
            if path != "-" and not os.path.exists(path) and not glob.glob(path):
                yield f"dataset {dataset}: there is no {one_line(path)} (IMGRET_PHOTOS)"
    for path in dict.fromkeys(truths(made, environment).values()):
        if path and not os.path.exists(path):
            yield f"there is no ground truth {one_line(path)} (IMGRET_TRUTH, or `truth` of a config)"
    yield from _training(made, environment)
    if quick:
        return
    command = environment.get("IMGRET", "imgret")
    done = _run(f"{command} --version")
    if done.returncode:
        yield f"IMGRET: `{command} --version` fails{_last(done)}: set IMGRET to the command, as in IMGRET := .venv/bin/imgret"
    else:
        yield from _refusals(made, environment, command)


def _training(made, environment):
    """What is wrong with the truth that networks are trained by."""
    truth = environment.get("IMGRET_TRAIN_TRUTH", "").strip()
    if not truth or not any(content["run"] == "train" and "truth" not in content for _, _, content in made.tables.values()):
        return
    if not made.train:
        yield "IMGRET_TRAIN_TRUTH says which photos of IMGRET_TRAIN match: set that too"
    elif both := sorted(set(made.train) & set(made.datasets)):
        yield f"dataset {both[0]} is trained on with its truth and scored too: a score counts on photos that training never saw"
    elif len(made.train) > 1 and truth not in WORDS:
        yield "IMGRET_TRAIN_TRUTH says which photos of one dataset match: name one in IMGRET_TRAIN, or say folders or names"
    elif truth not in WORDS and not os.path.exists(path := truth.replace("%", made.train[0])):
        yield f"there is no ground truth {one_line(path)} (IMGRET_TRAIN_TRUTH)"


def truths(made, environment):
    """Scores file -> its ground truth, empty where there is none."""
    whole, found = environment.get("IMGRET_TRUTH", "").strip(), {}
    for out, (dataset, _) in made.scores.items():
        found[out] = str(made.tables[out][2].get("truth", whole.replace("%", dataset)))
    return found


def _words(text, dataset):
    try:
        return shlex.split(text.replace("%", dataset))
    except ValueError:  # a quote without its other half: the shell will say so
        return []


def _parsed(words, settings=None):
    """Photos as `extract` takes them; None where something else is given, which only `extract` understands."""
    parser = argparse.ArgumentParser(add_help=False, exit_on_error=False, allow_abbrev=False)
    parser.add_argument("photos", nargs="*")
    parser.add_argument("--list", action="append", default=[])
    parser.add_argument("--exclude", action="append", default=[])
    parser.add_argument("--root")
    parser.add_argument("-0", "--null", action="store_true")
    try:
        given, unknown = parser.parse_known_args(words)
    except (argparse.ArgumentError, SystemExit):
        return None
    for key, value in (settings or {}).items():
        if not isinstance(value, LISTING[key]):
            return None
        setattr(given, key, getattr(given, key) or value)
    return None if unknown or "-" in given.photos else given


def _refusals(made, environment, command):
    """What each step whose output is missing says of its settings, its libraries and its weights: it is run on a file that is not there."""
    asked, missing = {}, f"{made.build}/{MISSING}"
    for out, (path, table, content) in made.tables.items():
        if os.path.exists(out):
            continue
        if content["run"] == "evaluate":
            truth = truths(made, environment)[out]
            words = ["--protocol", str(content["protocol"]), *(["--truth", truth] if truth else [])]
        else:
            words = ["--config", f"{path}:{table}", "-o", f"{missing}.out{config.ending(content)}"]
            words += [word for _ in config.named(content, "network") for word in ("--set", f"weights={missing}")]
            words += [word for name in config.named(content, "codebook") for word in ("-c", name if ready.is_ready(name) else missing)]
        words += [missing] * (2 if content["run"] == "search" else 1)
        flags = "" if content["run"] == "evaluate" else environment.get("IMGRET_FLAGS", "")
        key = json.dumps({name: value for name, value in content.items() if name not in config.FILES[content["run"]]}, default=str)
        asked.setdefault(key, (f"{path}:{table}", f"{command} {content['run']} {flags} {shlex.join(words)}"))
    if len(asked) > MANY:
        sys.stderr.write(f"rules.py: asking {len(asked)} steps what they need\n")
    with concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as pool:
        for (where, _), done in zip(asked.values(), pool.map(_run, (line for _, line in asked.values())), strict=True):
            if done.returncode != 1 or MISSING not in done.stderr:
                yield f"{where}{_last(done)}"


def _run(line):
    return subprocess.run(line, shell=True, capture_output=True, text=True, errors="backslashreplace", check=False)


def _last(done):
    """The last thing that a command said, behind a colon."""
    lines = done.stderr.strip().splitlines() or [f"exit code {done.returncode}"]
    return ": " + one_line(lines[-1]).removeprefix("imgret: error: ").removeprefix("Error: ")


def see_photos(words):
    """Write stamps anew where photos have other names, sizes or times than when a stamp was written; the exit code.

    Without imgret's libraries nothing can be seen, and a stamp is new each time: `extract` looks. Where there is no photo to be seen a
    stamp is removed, and `extract` says why.

    Parameters
    ----------
    words : list of str
        For each stamp "--", its path, the table that says which photos, or "-", and photos as `extract` takes them.
    """
    places = [place for place, word in enumerate(words) if word == "--"]
    for first, last in zip(places, [*places[1:], len(words)], strict=True):
        stamp, table, *photos = words[first + 1 : last]
        settings = {} if table == "-" else config.read_table(table)
        given = _parsed(photos, {key: settings[key] for key in LISTING if key in settings})
        try:
            seen = None if given is None else _seen(given)
        except ImportError:
            seen = None
        except ImgretError:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(stamp)
            continue
        write_if_changed(stamp, f"{seen or 'not looked at: ' + secrets.token_hex(8)}\n")
    return 0


def _seen(given):
    from imgret.listing import list_photos

    listing = list_photos(given.photos, given.list, root=given.root, nul=given.null, exclude=given.exclude)
    digest = hashlib.sha256()
    for name in listing.names:
        digest.update(name + b"\0")
    for column in (listing.sizes, listing.mtimes):
        digest.update(column.tobytes())
    return f"{len(listing)} photos, {digest.hexdigest()}"


def write_if_changed(path, text):
    """Write a file where it does not hold this already."""
    os.makedirs(os.path.dirname(path), exist_ok=True)
    try:
        with open(path, encoding="utf-8") as file:
            if file.read() == text:
                return
    except FileNotFoundError:
        pass
    with open(path, "w", encoding="utf-8") as file:
        file.write(text)
