"""What `info` prints, line by line."""

import json
import os

from imgret.errors import quoted

COMMON = ("path", "kind", "schema_version", "file_size", "created")
IDENTITIES = ("recipe", "content", "fingerprint")
MOST_EPOCHS = 40  # lines of a table


def lines(facts, counted):
    """Yield the lines on a file.

    Parameters
    ----------
    facts : dict
        See `imgret.stages.info.describe`; with `failed_photos` and `problems` where these were asked for.
    counted : sequence of str
        What is counted in a store of its kind.
    """
    if "build" in facts:
        yield from _build(facts["build"])
    for name in (*COMMON, *counted, *IDENTITIES):
        if name in facts:
            yield f"{name:15} {facts[name]}"
    if "generated_by" in facts:
        yield f"{'generated_by':15} " + ", ".join(f"{name} {_several(version)}" for name, version in facts["generated_by"].items())
    yield from _metadata(facts)
    if "params" in facts:
        yield from _made(facts)
    if "history" in facts:
        yield from _trained(facts)
    yield "columns"
    for name, column in facts["columns"].items():
        yield f"  {name:24} {column['dtype']:8} {' × '.join(map(str, column['shape']))}"
    if "failed_photos" in facts:
        yield "failed photos"
        for photo in facts["failed_photos"]:
            yield f"  {escaped(photo['name'])}: {photo['code']}, {photo['reason']}"
    if "problems" in facts:
        yield "check           " + ("sound" if not facts["problems"] else f"{len(facts['problems'])} problems")
        yield from (f"  {problem}" for problem in facts["problems"])


def escaped(text):
    """A photo's name as TSV has it."""
    from imgret.names import tsv_escape

    return tsv_escape(os.fsencode(text))


def _build(build):
    yield f"{'build':15} {build['folder']}"
    yield f"{'config':15} {build['config']}"
    yield from (f"{'photos in':15} {root}" for root in build["roots"])
    if build["strange"]:
        yield f"{'warning':15} {build['strange']}"
    yield "files"
    yield from (f"  {name:24} {size}" for name, size in build["files"].items())


def _made(facts):
    yield "params"
    yield from _nested(facts["params"], 1)
    yield "inputs"
    for entry in facts["inputs"]:
        yield f"  {entry.get('path')} ({entry.get('kind')}, content {str(entry.get('content'))[:16]})"
    if "pipeline" in facts:
        yield "pipeline"
        yield from _tree(facts["pipeline"], 1)
    for name in ("info", "facts", "extract"):
        if facts.get(name):
            yield name
            yield from _nested(facts[name], 1)


def _metadata(facts):
    if facts.get("metadata"):
        yield "metadata"
        yield from (f"  {quoted(name)}: {quoted(text)}" for name, text in facts["metadata"].items())


def _trained(facts):
    """How a network was trained."""
    from imgret.runs.history import History

    history = History.of(facts["history"])
    yield f"{'validation':15} {history.sentence()}"
    if history.first_answers():
        yield f"{'first answers':15} {history.first_answers()}"
    yield f"{'failed':15} {facts['failed']}"
    yield "epochs"
    yield f"  {'':6} {history.measure or 'score':>10} {'loss':>10} {'rate':>10}"
    shown = _spread(history)
    for entry in shown:
        cells = [f"{'-' if value is None else format(value, '.4g'):>10}" for value in (entry.score, entry.loss, entry.rate)]
        said = "  the start" * (entry.epoch == 0) + "  best: these are its weights" * (entry.epoch == history.best)
        yield f"  {entry.epoch:<6} {' '.join(cells)}{said}"
    if len(shown) < len(history.epochs):
        yield f"  {len(shown)} of {len(history.epochs)} epochs are shown; --json has all"


def _spread(history):
    """Its epochs, of many some: evenly spread, the first, the last and the best among them."""
    epochs = history.epochs
    if len(epochs) <= MOST_EPOCHS:
        return epochs
    kept = {round(place * (len(epochs) - 1) / (MOST_EPOCHS - 1)) for place in range(MOST_EPOCHS)}
    return [entry for place, entry in enumerate(epochs) if place in kept or entry.epoch == history.best]


def _several(version):
    return " and ".join(map(str, version)) if isinstance(version, list) else version


def _tree(node, depth):
    if not isinstance(node, dict):
        return
    settings = " ".join(f"{name}={value}" for name, value in node.get("params", {}).items())
    yield "  " * depth + f"{node.get('family')} {node.get('component')} v{node.get('version')} {settings}".rstrip()
    for child in node.get("inputs", []):
        yield from _tree(child, depth + 1)


def _nested(value, depth):
    for name, item in value.items():
        if isinstance(item, dict):
            yield "  " * depth + str(name)
            yield from _nested(item, depth + 1)
        else:
            yield "  " * depth + f"{name}: {json.dumps(item)}"
