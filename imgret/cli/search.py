"""`imgret search`."""

import math
import os
import sys

import click

from imgret.cli import options
from imgret.cli.rerank import roles
from imgret.rerankers import RERANKERS, ROLES


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


class Score(click.ParamType):
    """A number that scores can be compared with."""

    name = "S"

    def convert(self, value, param, ctx):
        """The number."""
        try:
            score = float(value)
        except ValueError:
            score = math.nan
        if not math.isfinite(score):
            self.fail(f"`--min-score` must be a number, got '{value}'", param, ctx)
        return score


@click.command("search")
@click.argument("index", type=options.PATH, required=False, callback=options.needed, metavar="INDEX")
@options.photos
@click.option("-o", "--out", type=options.PATH, help="A ranking store to make instead of printing.")
@click.option("-k", type=Ranks(), metavar="N|all", help="Ranks per query.  [default: 10 printed, 1000 stored]")
@click.option("--matches-only", is_flag=True, help="Print only what is sure or likely to match.")
@click.option("--min-score", type=Score(), metavar="S", help="Print nothing with a lower score.")
@click.option("--keep-self", is_flag=True, help="Rank the photo that asks like any other, where it is in the index.")
@click.option(
    "--rerank",
    "reranker",
    type=click.Choice(list(RERANKERS)),
    help="Make the answers better before they are given: what `imgret rerank` does, in one go.",
)
@roles("index", "reference")
@options.settings
@click.option(
    "--format",
    "form",
    type=click.Choice(["table", "tsv", "jsonl", "trec", "paths", "paths0"]),
    help="How to print; paths: of the results alone, paths0: each ended by NUL.  [default: table; tsv when piped]",
)
@click.option("--json", "form", flag_value="jsonl", help="Short for --format jsonl.")
@options.html
@options.device
@click.option("--weights", multiple=True, type=options.PATH, help="A network's weights, where they are no longer at the recorded place.")
@options.jobs
@options.run
@click.pass_context
def command(ctx, index, photos, out, form, html, photo_roots, top, most, large, keep_self, min_score, matches_only, reranker, **given):
    """Rank an index's photos for each query.

    INDEX is an index, or the folder that `imgret build` made. PHOTOS are the queries: photos, folders, - for a list on standard input, or
    features, vectors or words stores made as the index's own.

    What is printed is judged: "sure" is what one photo in two hundred searches reaches by chance, "likely" one in ten,
    and "no match" what photos that do not match reach as well (`imgret help search`). A photo that is in the index itself is marked
    "itself", and takes no rank.
    """
    from imgret.cli.formats import Lost, printer
    from imgret.inputs.answers import Wanted
    from imgret.stages.search import search

    if "help" in given["settings"]:
        options.explain_search(index, reranker)
    _check(out, form, html, keep_self or matches_only or min_score is not None)
    better = _better(reranker, index, given)
    photo_roots = options.check_html(html, photo_roots, top, most, [index], large)
    queries, lost, page = options.given_photos(photos, given), Lost(), None
    pictured = 0
    given = options.running(given)
    emit = printer(form, _build(index, given["run"].report), lost)
    wanted = Wanted(keep_self or form == "trec", min_score, matches_only, told=form == "table" or not form and sys.stdout.isatty())
    if html:
        from imgret.runs.page import TOP, SearchPage

        pictured = top or TOP

        inputs = [index, *(path for path in photos if os.path.isfile(path)), *queries.lists]
        page = SearchPage(html, photo_roots, top, most, label=index, inputs=inputs, large=large, run=given["run"])
        printed = emit

        def emit(gallery, block):
            printed(gallery, block)
            page.add(gallery, block)

    spared = [("--html", html)] if html else ()
    failed = search(index, queries, out=out, emit=emit, wanted=wanted, better=better, pictured=pictured, spared_by=spared, **given)
    lost.tell(given["run"].report)
    if page is not None:
        page.write()
    ctx.exit(1 if failed else 0)


def _better(method, index, given):
    """How answers are made better, taken out of a command's options: a `Better`; None where that is not asked for."""
    known = {role: list(given.pop(role)) for role in ROLES if role in given}
    if method is None:
        role = next((role for role in ROLES if known.get(role)), None)
        if role:
            raise click.UsageError(f"--{role} is for --rerank")
        return None
    from imgret.inputs.reranked import Better, divided

    given["settings"], own = divided(index, method, given["settings"])
    return Better.found(method, own, known, index)


def _check(out, form, html, chosen):
    """Refuse with `-o` what is for printing."""
    if out and form:
        raise click.UsageError("--format is for what is printed; with -o the ranking is stored")
    if out and chosen:
        raise click.UsageError("--keep-self, --matches-only and --min-score are for what is printed; with -o all of the ranking is stored")
    if out and html:
        raise click.UsageError("--html is for what is printed; with -o make the page of the ranking by `evaluate --html`")


def _build(index, report):
    """The build whose folder is searched, if it is one that knows where its photos are."""
    from imgret import builds

    if not builds.is_build(index):
        return None
    from imgret.inputs.owned import strange

    build = builds.read(index)
    if text := strange(build):
        report.warn(text)
        return None
    return build
