"""`imgret info`."""

import json
import sys

import click

from imgret.cli import options
from imgret.errors import one_line


@click.command("info")
@click.argument("file", type=options.PATH)
@click.option("--check", is_flag=True, help="Verify structure, offsets, finiteness and every hash.")
@click.option("--failed", is_flag=True, help="List the photos that could not be used, and why.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
@click.pass_context
def command(ctx, file, check, failed, as_json):
    """Say what a store is, how it was made, and whether it is sound."""
    from imgret.stages import info

    facts = info.describe(file, damaged=check)
    if check:
        facts["problems"] = info.check(file)
    if failed:
        facts["failed_photos"] = info.failed_photos(file, damaged=check)
    if as_json:
        click.echo(json.dumps(facts))
    elif failed and not check:
        for photo in facts["failed_photos"]:
            cells = [_escaped(photo[name]) for name in ("name", "code", "reason")]
            if sys.stdout.isatty():
                cells = map(one_line, cells)
            click.echo("\t".join(cells), color=True)  # bytes as they are
    else:
        click.echo("\n".join(map(one_line, _lines(facts, info.counted(facts["kind"])))), color=True)
    ctx.exit(1 if facts.get("problems") else 0)


def _escaped(text):
    import os

    from imgret.names import tsv_escape

    return tsv_escape(os.fsencode(text))


def _lines(facts, counted):
    if "build" in facts:
        yield f"{'build':15} {facts['build']['folder']}"
        yield f"{'config':15} {facts['build']['config']}"
        yield from (f"{'photos in':15} {root}" for root in facts["build"]["roots"])
        if facts["build"]["strange"]:
            yield f"{'warning':15} {facts['build']['strange']}"
        yield "files"
        yield from (f"  {name:24} {size}" for name, size in facts["build"]["files"].items())
    for name in ("path", "kind", "schema_version", "file_size", "created", *counted, "recipe", "content", "fingerprint"):
        if name in facts:
            yield f"{name:15} {facts[name]}"
    yield f"{'generated_by':15} " + ", ".join(f"{name} {_several(version)}" for name, version in facts["generated_by"].items())
    yield "params"
    yield from _nested(facts["params"], 1)
    yield "inputs"
    for entry in facts["inputs"]:
        yield f"  {entry.get('path')} ({entry.get('kind')}, content {str(entry.get('content'))[:16]})"
    yield "pipeline"
    yield from _tree(facts["pipeline"], 1)
    for name in ("info", "facts"):
        if facts.get(name):
            yield name
            yield from _nested(facts[name], 1)
    yield "columns"
    for name, column in facts["columns"].items():
        yield f"  {name:24} {column['dtype']:8} {' × '.join(map(str, column['shape']))}"
    if "failed_photos" in facts:
        yield "failed photos"
        for photo in facts["failed_photos"]:
            yield f"  {_escaped(photo['name'])}: {photo['code']}, {photo['reason']}"
    if "problems" in facts:
        yield "check           " + ("sound" if not facts["problems"] else f"{len(facts['problems'])} problems")
        yield from (f"  {problem}" for problem in facts["problems"])


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
