"""`imgret evaluate`."""

import sys

import click

from imgret.cli import options
from imgret.evaluation import PROTOCOLS


@click.command("evaluate")
@click.argument("rankings", nargs=-1, required=True, type=click.Path())
@click.option("--protocol", type=click.Choice(list(PROTOCOLS)), required=True, help="The named set of conventions.")
@click.option("--truth", type=click.Path(), help="The ground truth: a CSV (groups) or a folder (oxford5k, paris6k).")
@click.option("--per-query", type=click.Path(), metavar="FILE", help="Write a line of JSON per query.")
@click.option("--format", "form", type=click.Choice(["table", "tsv", "json"]), help="How to print.  [default: table; tsv when piped]")
@click.option("--json", "form", flag_value="json", help="Short for --format json.")
@options.config
def command(rankings, protocol, truth, per_query, form):
    """Score rankings by a named protocol.

    RANKINGS are ranking stores, TREC run files, or folders of one list per query; each becomes a column.
    """
    from imgret.stages.evaluate import evaluate

    results = evaluate(rankings, protocol=protocol, truth=truth, per_query=per_query)
    form = form or ("table" if sys.stdout.isatty() else "tsv")
    for result in results:
        for warning in result.warnings:
            click.echo(f"imgret: warning: {result.label}: {warning}", err=True)
    click.echo({"table": _table, "tsv": _tsv, "json": _json}[form](results))


def _json(results):
    from imgret.evaluation.result import dumps

    if len(results) == 1:
        return dumps(results[0].to_json())
    first = results[0].to_json()
    shared = {name: first[name] for name in ("protocol", "conventions")}
    own = [{name: value for name, value in result.to_json().items() if name not in shared} for result in results]
    return dumps(shared | {"results": own})


def _columns(results):
    names = list(dict.fromkeys(name for result in results for name in result.measures))
    rows = [(name, [result.measures.get(name) for result in results]) for name in names]
    return [*rows, *((name, [getattr(result, name) for result in results]) for name in ("queries", "excluded", "skipped", "truncation"))]


def _tsv(results):
    lines = ["\t".join(["measure", *(result.label for result in results)])]
    return "\n".join(lines + ["\t".join([name, *(_number(value, 6) for value in values)]) for name, values in _columns(results)])


def _table(results):
    widths = [max(10, len(result.label)) for result in results]
    lines = [f"{'':12}" + "".join(f"  {result.label:>{width}}" for result, width in zip(results, widths, strict=True))]
    for name, values in _columns(results):
        lines.append(f"{name:12}" + "".join(f"  {_number(value, 4):>{width}}" for value, width in zip(values, widths, strict=True)))
    lines += ["", f"protocol {results[0].protocol}", *(f"  {name}: {text}" for name, text in results[0].conventions.items())]
    return "\n".join(lines)


def _number(value, digits):
    return "" if value is None else f"{value:.{digits}f}" if isinstance(value, float) else str(value)
