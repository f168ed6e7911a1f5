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
    """Say what a store, or a network, is, how it was made, and whether it is sound."""
    from imgret.cli import facts as told
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
            cells = [told.escaped(photo[name]) for name in ("name", "code", "reason")]
            if sys.stdout.isatty():
                cells = map(one_line, cells)
            click.echo("\t".join(cells), color=True)  # bytes as they are
    else:
        click.echo("\n".join(map(one_line, told.lines(facts, info.counted(facts["kind"])))), color=True)
    ctx.exit(1 if facts.get("problems") else 0)
