"""Write the generated parts of README.md, or with --check say whether they are fresh.

With --tour FOLDER the commands of the tour are run in FOLDER (what `make demo` made), and their output is put below each.

A part stands between `<!-- NAME -->` and `<!-- /NAME -->` on lines of their own: `commands` (every command's help), `methods` (every
method's parameters), `protocols`, `schema` (the JSON of `evaluate`), `format` (the stores' layout).
"""

import dataclasses
import importlib
import inspect
import os
import re
import sys

import click

from imgret.registry import kind_of, load
from imgret.store import layout

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
README = os.path.join(ROOT, "README.md")
WIDTH = 100
FAMILIES = {  # title, module, table, what it is called in messages
    "Extractors: `imgret extract -m`": ("imgret.extractors", "EXTRACTORS", "extractor"),
    "Codebooks: `imgret codebook -m`": ("imgret.codebooks", "CODEBOOKS", "codebook"),
    "Encoders: `imgret encode -m`": ("imgret.encoders", "ENCODERS", "encoder"),
    "Indexes: `imgret index -m`": ("imgret.indexes", "INDEXES", "index"),
}


def commands():
    """Every command's help, as a code block."""
    from imgret.cli.main import cli

    parts = []
    names = cli.context_settings["help_option_names"]
    top = click.Context(cli, info_name="imgret", terminal_width=WIDTH, color=False, help_option_names=names)
    for name in (None, *cli.list_commands(top)):
        command = cli.get_command(top, name) if name else cli
        context = click.Context(command, info_name=name, parent=top, terminal_width=WIDTH, color=False) if name else top
        parts.append(f"```\n$ imgret {f'{name} ' if name else ''}--help\n{command.get_help(context)}\n```")
    return "\n\n".join(parts)


def methods():
    """Every method of every family with its parameters."""
    parts = []
    for title, (module, table, family) in FAMILIES.items():
        names = getattr(importlib.import_module(module), table)
        parts.append(f"### {title}")
        for name in names:
            kind = load(names, name, family)
            parts.append(f"**`{name}`**: {inspect.getdoc(kind).splitlines()[0]}")
            parts.append(_parameters(kind.Params, "`--set`"))
            search = getattr(kind, "SearchParams", None)
            if search is not None:
                own = {field.name for field in dataclasses.fields(kind.Params)}
                parts.append(_parameters(search, "`search --set`", own))
    return "\n\n".join(part for part in parts if part)


def _parameters(params, title, without=()):
    rows = [field for field in dataclasses.fields(params) if field.name not in without]
    if not rows:
        return ""
    lines = [f"| {title} | default | values | |", "| --- | --- | --- | --- |"]
    for field in rows:
        lines.append(f"| `{field.name}` | {_shown(field.default)} | {_values(field)} | {_cell(field.metadata['help'])} |")
    return "\n".join(lines)


def _shown(value):
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, tuple):
        return ",".join(map(_shown, value))
    return f"{value:g}" if isinstance(value, float) else str(value)


def _values(field):
    element, many, optional = kind_of(field)
    rule = field.metadata
    text = {int: "integer", float: "number", str: "word", bool: "true, false"}[element]
    if rule["choices"] is not None:
        text = ", ".join(map(str, rule["choices"]))
    bounds = [f"{sign} {rule[name]}" for name, sign in (("minimum", "≥"), ("above", ">"), ("maximum", "≤")) if rule[name] is not None]
    text = " ".join([text, ", ".join(bounds)]).strip()
    return text + (", one or several" if many else "") + (" or none" if optional else "")


def protocols():
    """Every protocol with its conventions."""
    from imgret.evaluation import PROTOCOLS

    parts = []
    for name in PROTOCOLS:
        kind = load(PROTOCOLS, name, "protocol")
        summary, _, paragraph = inspect.getdoc(kind).partition("\n\n")
        lines = [f"**`{name}`**: {summary}"]
        if kind.takes_truth:
            lines[0] += f" `--truth`: {kind.truth_is}."
        lines += ["", " ".join(paragraph.partition("\n\n")[0].split()), ""]
        lines += [f"- {key}: {text}" for key, text in kind.conventions.items()]
        parts += ["\n".join(lines), _parameters(kind.Params, "`--set`")]
    return "\n\n".join(part for part in parts if part)


def schema():
    """The JSON of `evaluate`."""
    from imgret.evaluation.result import JSON

    return "\n".join(["| field | |", "| --- | --- |", *(f"| `{path}` | {_cell(text)} |" for path, text in JSON.items())])


def format_section():
    """The stores' layout."""
    axes = ", ".join(f"{axis} {meaning}" for axis, meaning in layout.AXES.items())
    lines = [f"Axes: {axes}.", "", "Root attributes, written last:", "", "| attribute | |", "| --- | --- |"]
    lines += [f"| `{name}` | {_cell(text)} |" for name, text in layout.ATTRIBUTES.items()]
    for kind in layout.KINDS.values():
        lines += ["", f"#### {kind.name}, version {kind.version}", ""]
        if not kind.columns:
            lines.append(f"No columns: the arrays of the fitted component are in the group `{layout.PIPELINE_GROUP}`.")
            continue
        lines += ["| column | shape | type | |", "| --- | --- | --- | --- |", *map(_column, kind.columns)]
        for version in kind.older:
            older = kind.at(version).columns
            new = " and ".join(f"`{_path(column)}`" for column in kind.columns if column not in older)
            lines += ["", f"Version {version}, which is still read, has in place of {new}:", "", "| column | shape | type | |"]
            lines += ["| --- | --- | --- | --- |", *(_column(column) for column in older if column not in kind.columns)]
    return "\n".join(lines)


def _column(column):
    shape, dtypes = " × ".join(map(str, column.shape)), " or ".join(column.dtypes)
    if column.group:
        shape, dtypes = "any", "numbers"
    return f"| `{_path(column)}` | {shape} | {dtypes} | {_cell(column.meaning)} |"


def _path(column):
    return f"{column.path}NAME" if column.group else column.path


def _cell(text):
    return text.replace("|", "\\|")


PARTS = {"commands": commands, "methods": methods, "protocols": protocols, "schema": schema, "format": format_section}


def fresh(text):
    """The README's text with all generated parts made anew.

    Raises
    ------
    ValueError
        If a part's marks are missing.
    """
    for name, make in PARTS.items():
        pattern = re.compile(rf"(?<=^<!-- {name} -->\n).*?(?=^<!-- /{name} -->$)", re.DOTALL | re.MULTILINE)
        if len(pattern.findall(text)) != 1:
            raise ValueError(f"README.md must have <!-- {name} --> and <!-- /{name} --> once, on lines of their own")
        made = "\n".join(line.rstrip() for line in make().splitlines())
        text = pattern.sub(lambda _, made=made: f"\n{made}\n\n", text)
    return text


def tour(text, folder):
    """The README's text with the output of the tour's commands, run in `folder`, below each."""
    pattern = re.compile(r"(?<=^<!-- tour -->\n).*?(?=^<!-- /tour -->$)", re.DOTALL | re.MULTILINE)
    lines, inside = [], False
    for line in pattern.search(text)[0].splitlines():
        if line.startswith("```"):
            inside = not inside
        if line.startswith("$ "):
            lines += [line, *_on_a_terminal(line[2:], folder)]
        elif not inside or line.startswith("```"):
            lines.append(line)
    return pattern.sub(lambda _: "\n".join(lines) + "\n", text)


def _on_a_terminal(command, folder):
    """The lines that a command prints on a terminal, once its progress bars are gone."""
    import pty
    import subprocess

    ours, theirs = pty.openpty()
    environment = dict(os.environ, COLUMNS=str(WIDTH), PATH=os.pathsep.join([os.path.dirname(sys.executable), os.environ["PATH"]]))
    process = subprocess.Popen(command, shell=True, cwd=folder, stdin=theirs, stdout=theirs, stderr=theirs, env=environment)
    os.close(theirs)
    output = b""
    while True:
        try:
            block = os.read(ours, 1 << 16)
        except OSError:  # the other end is closed
            break
        output += block
        if not block:
            break
    process.wait()
    os.close(ours)
    shown = [line.rstrip("\r").rpartition("\r")[2].rstrip() for line in output.decode("utf-8", "replace").split("\n")]
    return [line for line in shown if line]


def main(arguments):
    """The command line; returns the exit code."""
    with open(README, encoding="utf-8") as file:
        old = file.read()
    new = tour(old, arguments[1]) if arguments[:1] == ["--tour"] else old
    new = fresh(new)
    if arguments == ["--check"]:
        if old != new:
            sys.stderr.write("README.md is stale: run `make docs`\n")
        return int(old != new)
    if old != new:
        with open(README, "w", encoding="utf-8") as file:
            file.write(new)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
