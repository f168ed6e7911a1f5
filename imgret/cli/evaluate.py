"""`imgret evaluate`."""

import sys

import click

from imgret.cli import options
from imgret.errors import one_line
from imgret.evaluation import PROTOCOLS

FORMS = ("table", "tsv", "csv", "latex", "json")


def _protocol(ctx, param, value):
    """Answer `--protocol help`."""
    if value != "help" or ctx.resilient_parsing:
        return value
    import dataclasses
    import inspect

    from imgret.registry import load

    for name in PROTOCOLS:
        kind = load(PROTOCOLS, name, "protocol")
        summary, _, paragraph = inspect.getdoc(kind).partition("\n\n")
        click.echo(click.style(name, bold=True) + f": {summary}")
        click.echo(click.wrap_text(paragraph.partition("\n\n")[0], 100, "  ", "  ", preserve_paragraphs=True))
        if kind.takes_truth:
            click.echo(f"  --truth: {kind.truth_is}")
        for convention, text in kind.conventions.items():
            click.echo(f"  {convention}: {text}")
        for field in dataclasses.fields(kind.Params):
            click.echo(f"  --set {field.name}=VALUE: {field.metadata['help']}")
        click.echo()
    raise click.exceptions.Exit(0)


@click.command("evaluate")
@click.argument("rankings", nargs=-1, metavar="RANKINGS...", callback=options.needed, type=options.PATH)
@click.option(
    "--protocol",
    type=click.Choice([*PROTOCOLS, "help"]),
    is_eager=True,
    callback=_protocol,
    help="The named set of conventions; help lists what each fixes.  [required]",
)
@click.option("--truth", type=options.PATH, help="The ground truth: a file or folder, as the protocol needs it.")
@options.settings
@click.option("--label", "labels", multiple=True, metavar="NAME", help="What a ranking is called, one for each in their order; repeatable.")
@click.option("--measures", metavar="NAMES", help="Print these figures only: map,r@1.")
@click.option("--conventions", is_flag=True, help="Also print mAP under all common conventions, side by side.")
@click.option("--normalize-names", is_flag=True, help="Match names that differ only in their Unicode form (NFC, NFD).")
@click.option("--resamples", type=click.IntRange(0, 1_000_000), default=10_000, show_default=True, help="Of bootstrap and test; 0: none.")
@click.option("--seed", type=click.IntRange(0), default=0, show_default=True, help="Where their randomness comes from.")
@click.option("--all-pairs", is_flag=True, help="Compare every pair of rankings, with p-values adjusted by Holm's method.")
@click.option("--per-query", type=options.PATH, metavar="FILE", help="Write a record per query: TSV (.tsv) or JSON lines.")
@click.option("--curve", type=options.PATH, metavar="FILE", help="Write the precision-recall curve: .tsv, .json, .png, .svg or .pdf.")
@click.option("--qrels", type=options.PATH, metavar="FILE", help="Write the ground truth as TREC judgements; -1 is taken out.")
@click.option("--trec-run", type=options.PATH, metavar="FILE", help="Write the lists without what is taken out, for trec_eval.")
@options.html
@options.overwrite(options.FILES)
@options.jobs
@click.option("--format", "form", type=click.Choice(FORMS), help="How to print.  [default: table; tsv when piped]")
@click.option("--json", "form", flag_value="json", help="Short for --format json.")
@options.verbose
@options.quiet
@options.config
@click.pass_context
def command(ctx, rankings, form, per_query, curve, qrels, trec_run, html, photo_roots, top, most, large, **given):
    """Score rankings by a named protocol.

    RANKINGS are ranking stores, TREC run files, or folders of one list per query; each becomes a column, or a row where there are more than
    three. Of several, each is compared with the first.
    """
    options.explain(PROTOCOLS, "protocol", given["protocol"], given["settings"])
    if given["protocol"] is None:
        raise click.MissingParameter(ctx=ctx, param=next(param for param in ctx.command.params if param.name == "protocol"))
    from imgret.cli import scores
    from imgret.stages.evaluate import evaluate

    photo_roots = options.check_html(html, photo_roots, top, most, rankings, large)
    outputs = {"--per-query": per_query, "--curve": curve, "--qrels": qrels, "--trec-run": trec_run, "--html": html}
    given, page = options.running(given), None
    if html:
        from imgret.runs.page import EvaluationPage

        page = EvaluationPage(html, photo_roots, top, most, large=large, run=given["run"])
    evaluation = evaluate(rankings, outputs=outputs, page=page, **given)
    for text in evaluation.warnings():
        click.echo(f"imgret: warning: {one_line(text)}", err=True)
    if page is not None:
        page.tell()
    form = form or ("table" if sys.stdout.isatty() else "tsv")
    click.echo(scores.printed(evaluation, form))
