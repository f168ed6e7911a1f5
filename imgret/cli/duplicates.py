"""`imgret duplicates`."""

import click

from imgret.cli import options


class Score(click.ParamType):
    """A cosine, or "auto" (None)."""

    name = "S|auto"

    def convert(self, value, param, ctx):
        """The number; None for auto."""
        if value is None or value == "auto":
            return None
        try:
            score = float(value)
        except ValueError:
            score = float("nan")
        if not -1 <= score <= 1:
            self.fail(f"`--min-score` must be a number from -1 to 1 or 'auto', got '{value}'", param, ctx)
        return score


@click.command("duplicates")
@click.argument("where", metavar="DIR|INDEX|VECTORS", type=options.PATH)
@click.option("--exact", is_flag=True, help="Only files of the same bytes; features will do, too.")
@click.option(
    "--min-score",
    type=Score(),
    metavar="S|auto",
    help="The least cosine of two copies' vectors.  [default: auto, by what chance gives]",
)
@click.option("--features", type=options.PATH, help="The photos' features, to verify what vectors propose; a build has its own.")
@click.option("--burst", is_flag=True, help="Also the same view, taken again by a camera that was hardly moved.")
@click.option(
    "--by", type=click.Choice(["vectors", "index"]), help="Where near photos are looked for: all vectors, or the index.  [default: vectors]"
)
@click.option(
    "--format",
    "form",
    type=click.Choice(["table", "tsv", "json", "jsonl", "paths", "paths0"]),
    help="How to print; paths are those of all copies but the one to keep, paths0 NUL-terminated.  [default: table; tsv when piped]",
)
@click.option("--json", "form", flag_value="json", help="Short for --format json.")
@click.option("--photos", "roots", multiple=True, type=options.PATH, metavar="ROOT", help="The folder that photos are named relative to.")
@click.option("--html", type=options.PATH, metavar="FILE", help="Write a page to look at: groups, sizes, dates, differences.")
@click.option("--most", type=click.IntRange(1), help="With --html: groups on the page.  [default: 500]")
@options.jobs
@options.made(options.FILES)
def command(where, form, html, most, **given):
    """Find photos that are copies of one another: in groups, the one to keep first.

    The largest is kept, then the oldest. Nothing is ever deleted: --format paths0 is for programs that may, as in
    `imgret duplicates DIR --format paths0 | xargs -0 mv -t elsewhere`. `imgret help copies` says what is found, and what is promised.
    """
    from imgret.cli.groups import print_groups
    from imgret.stages.duplicates import duplicates

    if most and not html:
        raise click.UsageError("--most is for --html")
    given = options.running(given)
    page = None
    if html:
        from imgret.inputs.owned import photo_roots
        from imgret.runs.duplicatespage import DuplicatesPage

        inputs = [where, *filter(None, [given["features"]])]
        page = DuplicatesPage(html, most, where, given["roots"] or photo_roots(where), inputs, given["run"])
    found = duplicates(where, spared_by=[("--html", html)] if html else (), **given)
    print_groups(found, form, given["run"].report)
    if page is not None:
        page.write(found)
