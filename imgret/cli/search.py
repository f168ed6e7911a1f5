"""`imgret search`."""

import os

import click

from imgret.cli import options


class Ranks(click.ParamType):
    """A positive number, or "all"."""

    name = "N|all"

    def convert(self, value, param, ctx):
        """The number, or the word."""
        if value == "all" or isinstance(value, int) and value > 0:
            return value
        if isinstance(value, str) and value.isdecimal() and int(value) > 0:
            return int(value)
        self.fail(f"`-k` must be a positive integer or 'all', got '{value}'", param, ctx)


@click.command("search")
@click.argument("index", type=options.PATH)
@options.photos
@click.option("-o", "--out", type=options.PATH, help="A ranking store to make instead of printing.")
@click.option("-k", type=Ranks(), metavar="N|all", help="Ranks per query.  [default: 10 printed, 1000 stored]")
@options.settings
@click.option(
    "--format", "form", type=click.Choice(["table", "tsv", "jsonl", "trec"]), help="How to print.  [default: table; tsv when piped]"
)
@click.option("--json", "form", flag_value="jsonl", help="Short for --format jsonl.")
@options.html
@options.device
@click.option("--weights", multiple=True, type=options.PATH, help="A network's weights, where they are no longer at the recorded place.")
@options.jobs
@options.run
@click.pass_context
def command(ctx, index, photos, out, form, html, photo_roots, top, most, large, **given):
    """Rank an index's photos for each query.

    PHOTOS are the queries: photos, folders, - for a list on standard input, or features or vectors stores made as the index's own.
    """
    from imgret.cli.formats import printer
    from imgret.stages.search import search

    if "help" in given["settings"]:
        options.explain_search(index)
    if out and form:
        raise click.UsageError("--format is for what is printed; with -o the ranking is stored")
    photo_roots = options.check_html(html, photo_roots, top, most, [index], large)
    if out and html:
        raise click.UsageError("--html is for what is printed; with -o make the page of the ranking by `evaluate --html`")
    queries, emit, page = options.given_photos(photos, given), printer(form), None
    given = options.running(given)
    if html:
        from imgret.runs.page import SearchPage

        inputs = [index, *(path for path in photos if os.path.isfile(path)), *queries.lists]
        page = SearchPage(html, photo_roots, top, most, label=index, inputs=inputs, large=large, run=given["run"])
        printed = emit

        def emit(gallery, block):
            printed(gallery, block)
            page.add(gallery, block)

    failed = search(index, queries, out=out, emit=emit, spared_by=[("--html", html)] if html else (), **given)
    if page is not None:
        page.write()
    ctx.exit(1 if failed else 0)
