"""How scores are printed: as a table for eyes, for other programs, for a paper."""

import csv
import io

from imgret.cli import sheets
from imgret.errors import one_line
from imgret.evaluation.columns import columns
from imgret.evaluation.result import SCHEMA, SCHEMA_VERSION, dumps
from imgret.names import to_bytes, tsv_escape

COMPARED = ("first", "second", "setting", "measure", "queries", "difference", "p_value", "better", "worse", "same")
CONVENTIONS = ("ranking", "setting", "ap", "list", "queries", "map")  # a table of `--conventions`
# what LaTeX takes for something else than the sign itself; an opening bracket or star may follow the end of a row
LATEX = {"\\": r"\textbackslash{}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}", "<": r"\textless{}", ">": r"\textgreater{}"}
LATEX |= {"|": r"\textbar{}", "[": "{[}", "*": "{*}"} | {sign: f"\\{sign}" for sign in "&%$#_{}"}


def printed(evaluation, form):
    """An evaluation as text, without the last newline.

    Parameters
    ----------
    evaluation : imgret.evaluation.comparison.Evaluation
    form : str
        table, tsv, csv, latex or json.

    Returns
    -------
    str
    """
    return {"table": sheets.as_table, "tsv": as_tsv, "csv": as_csv, "latex": as_latex, "json": as_json}[form](evaluation)


def as_json(evaluation):
    """One object, whatever the number of rankings; docs/json.md has its fields."""
    runs, shown = [result.to_json() for result in evaluation.results], evaluation.shown
    if shown is not None:
        for run in runs:
            run |= {field: {name: run[field][name] for name in shown if name in run[field]} for field in ("measures", "intervals")}
    return dumps(
        {
            "schema": SCHEMA,
            "schema_version": SCHEMA_VERSION,
            "protocol": evaluation.protocol.name,
            "parameters": evaluation.protocol.params.to_json(),
            "conventions": evaluation.protocol.conventions,
            "runs": runs,
            "comparisons": evaluation.comparisons,
        }
    )


def _with_ends(found):
    """(name, values) of columns; an interval's ends are two more, `map.low` and `map.high`."""
    for column in found:
        yield column.name, column.values
        for end, side in enumerate(("low", "high") if column.intervals else ()):
            yield f"{column.name}.{side}", [None if ends is None else ends[end] for ends in column.intervals]


def _compared_by(evaluation):
    """Names of what is printed of a comparison."""
    adjusted = any("p_adjusted" in row for row in evaluation.comparisons)
    return (*COMPARED, "p_adjusted") if adjusted else COMPARED


def as_tsv(evaluation):
    """A line per measure; intervals as `map.low` and `map.high`; comparisons and conventions below, each with a header of its own."""
    results = evaluation.results
    lines = ["\t".join(["measure", *(tsv_escape(to_bytes(result.label)) for result in results)])]
    lines += ["\t".join([tsv_escape(to_bytes(name)), *_numbers(values)]) for name, values in _with_ends(columns(evaluation))]
    if evaluation.comparisons:
        names = _compared_by(evaluation)
        lines += ["", "\t".join(names)]
        lines += ["\t".join(tsv_escape(to_bytes(each)) for each in _numbers(map(row.get, names))) for row in evaluation.comparisons]
    if found := list(_conventions(evaluation)):
        lines += ["", "\t".join(CONVENTIONS)]
        lines += ["\t".join([tsv_escape(to_bytes(label)), *_numbers(row)]) for label, *row in found]
    return "\n".join(lines)


def _conventions(evaluation):
    """Yield what `--conventions` asks for: a ranking's label, and what else `CONVENTIONS` names."""
    for result in evaluation.results:
        yield from ((result.label, *(row[name] for name in CONVENTIONS[1:])) for row in result.compared)


def as_csv(evaluation):
    """RFC 4180: a header and a line per ranking; behind an empty line the same of the comparisons, where all pairs were asked for."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\r\n")
    found = list(_with_ends(columns(evaluation)))
    writer.writerow(["ranking", *(name for name, _ in found)])
    writer.writerows([result.label, *_numbers(values[place] for _, values in found)] for place, result in enumerate(evaluation.results))
    names = _compared_by(evaluation)
    if "p_adjusted" in names:
        text.write("\r\n")
        writer.writerow(names)
        writer.writerows(_numbers(map(row.get, names)) for row in evaluation.comparisons)
    if found := list(_conventions(evaluation)):
        text.write("\r\n")
        writer.writerow(CONVENTIONS)
        writer.writerows([label, *_numbers(row)] for label, *row in found)
    return text.getvalue().removesuffix("\n")


def _numbers(values):
    return [sheets.number(value, 6) for value in values]


def as_latex(evaluation):
    """A table of booktabs: a row per ranking, the best of a measure bold; below it one of all pairs, where they were asked for."""
    found = [column for column in columns(evaluation) if evaluation.shown is not None or not column.counted]
    cells = [sheets.cells(column) for column in found]
    if len(evaluation.results) > 1:
        cells = [row if column.counted else _bold(row, column.values) for column, row in zip(found, cells, strict=True)]
    rows = [[_latex(result.label), *row] for result, row in zip(evaluation.results, zip(*cells, strict=True), strict=True)]
    comments = [f"% {one_line(line)}" for line in sheets.legend(evaluation.protocol)]
    lines = [*comments, *_tabular("l" + "r" * len(found), ["", *(_latex(column.name) for column in found)], rows)]
    if "p_adjusted" in _compared_by(evaluation):
        rows = [[f"${cell}$" if cell[0] in "+-" else _latex(cell) for cell in row] for row in sheets.pairs(evaluation)]
        lines += ["", *_tabular("ll" + "r" * (len(rows[0]) - 2), rows[0], rows[1:])]
    if found := list(_conventions(evaluation)):
        rows = [[_latex(label), *map(_latex, _numbers(row))] for label, *row in found]
        lines += ["", *_tabular("llllrr", CONVENTIONS, rows)]
    return "\n".join(lines)


def _tabular(columns, head, rows):
    yield "\\begin{tabular}{" + columns + "}"
    yield "\\toprule"
    yield " & ".join(head) + r" \\"
    yield "\\midrule"
    yield from (" & ".join(row) + r" \\" for row in rows)
    yield "\\bottomrule"
    yield "\\end{tabular}"


def _bold(cells, values):
    """The cells of one measure, those of the best bold: of all that are the same as printed, since nobody can tell them apart there."""
    best = max(((value, cell) for value, cell in zip(values, cells, strict=True) if value is not None), default=(None, None))[1]
    return [f"\\textbf{{{cell}}}" if cell and cell == best else cell for cell in cells]


def _latex(text):
    return "".join(LATEX.get(sign, sign) for sign in one_line(text)).replace("--", "-{}-")
