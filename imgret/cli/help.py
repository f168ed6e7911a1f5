"""`imgret help`: the pages of `imgret/docs`, which are package data."""

import re
import shutil
import signal
import sys

import click

from imgret.cli import COMMANDS
from imgret.errors import UsageError


def _topics(_, __, incomplete):
    """What a shell offers where TAB is pressed."""
    texts = read()
    found = dict.fromkeys([*texts, *COMMANDS, *(name for text in texts.values() for name in sections(text))])
    return [name for name in found if name.startswith(incomplete)]


@click.command("help")
@click.argument("topic", required=False, shell_complete=_topics)
@click.pass_context
def command(ctx, topic):
    """Show a page of the documentation; without TOPIC, list the pages.

    TOPIC is a page, or the name of a command, a method or a protocol.
    """
    texts = read()
    if topic is None:
        width = max(map(len, texts))
        click.echo("\n".join(f"{name:{width}}  {title(text)}" for name, text in texts.items()))
        click.echo("imgret: `imgret help TOPIC` shows one; a command, a method or a protocol is a topic too", err=True)
    elif topic in texts:
        _show(_without_notes(texts[topic]))
    elif topic in COMMANDS:
        step = ctx.parent.command.get_command(ctx.parent, topic)
        _show(click.Context(step, info_name=topic, parent=ctx.parent).get_help())
    else:
        _show(_section(topic, texts))


def read():
    """Name -> text of every page, by name."""
    import importlib.resources

    folder = importlib.resources.files("imgret").joinpath("docs")
    names = sorted(page.name for page in folder.iterdir() if page.name.endswith(".md"))
    return {name.removesuffix(".md"): folder.joinpath(name).read_text(encoding="utf-8") for name in names}


def title(text):
    """What a page is about: its first line."""
    return text.partition("\n")[0].removeprefix("# ")


def sections(text):
    """Name -> text of every section of a page whose heading is a name in backticks: a method's, a protocol's; one after the other where a
    codebook and an index have one name."""
    found = {}
    for heading in re.finditer(r"^(#+) `([^`]+)`$", text, re.MULTILINE):
        end = re.compile(rf"^#{{1,{len(heading[1])}}} ", re.MULTILINE).search(text, heading.end())
        found[heading[2]] = found.get(heading[2], "") + text[heading.start() : end.start() if end else None]
    return found


def _section(topic, texts):
    named = {page: parts for page, text in texts.items() if (parts := sections(text))}
    for parts in named.values():
        if topic in parts:
            return parts[topic]
    lists = {"pages": texts, "commands": COMMANDS, **named}
    raise UsageError(f"there is no help on '{topic}'; " + "; ".join(f"{what}: {', '.join(names)}" for what, names in lists.items()))


def _without_notes(text):
    return re.sub(r"^<!--.*-->\n\n?", "", text, flags=re.MULTILINE)


def _show(text):
    """On a terminal by the pager, unless the text fits; elsewhere as it is."""
    text = text.rstrip("\n")
    if not sys.stdout.isatty() or text.count("\n") + 1 < shutil.get_terminal_size().lines:
        click.echo(text)
        return
    # Ctrl-C is the pager's while it runs: if imgret left before it, both it and the shell would read the keyboard
    handler = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        click.echo_via_pager(text)
    finally:
        signal.signal(signal.SIGINT, handler)
