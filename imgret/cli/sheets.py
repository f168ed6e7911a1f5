"""Scores as tables for eyes: a row per measure, or of many rankings a row each; comparisons in full, or of many a row each."""

from imgret.errors import counted, one_line
from imgret.evaluation.columns import columns
from imgret.evaluation.result import qualified
from imgret.names import shown, to_bytes

BESIDE = 3  # rankings beside each other; of more, each has a row


def as_table(evaluation):
    """Measures, comparisons, conventions."""
    many = len(evaluation.results) > BESIDE
    lines = list(_rankings_as_rows(evaluation) if many else _measures_as_rows(evaluation))
    if evaluation.comparisons and (many or "p_adjusted" in evaluation.comparisons[0]):
        lines += ["", _tested(evaluation), *_grid(pairs(evaluation), left=2)]
    else:
        for row in evaluation.comparisons:
            lines += ["", *_comparison(row)]
    for result in evaluation.results:
        lines += _compared(result)
    if any(result.compared for result in evaluation.results):
        lines += _conventions()
    return "\n".join(map(one_line, [*lines, "", *legend(evaluation.protocol)]))


def legend(protocol):
    """What the figures are: the protocol, its parameters, and what it fixes."""
    parameters = ", ".join(f"{name}={value}" for name, value in protocol.params.to_json().items())
    yield f"protocol {protocol.name}" + (f" ({parameters})" if parameters else "")
    yield from (f"  {name}: {text}" for name, text in protocol.conventions.items())


def number(value, digits):
    """A figure as it is printed; nothing where there is none."""
    return "" if value is None else f"{value:.{digits}f}" if isinstance(value, float) else str(value)


def cells(column):
    """A `imgret.evaluation.columns.Column` as it is printed, a cell per ranking."""
    return [number(value, 4) for value in column.values]


def _ends(column):
    return ["" if ends is None else f"{_short(ends[0])}-{_short(ends[1])}" for ends in column.intervals]


def _measures_as_rows(evaluation):
    found = columns(evaluation)
    labels = [one_line(result.label) for result in evaluation.results]
    widths = [max(10, len(label)) for label in labels]
    first = max(12, *(len(column.name) + 5 for column in found))
    yield _row("", first, labels, widths)
    for column in found:
        yield _row(column.name, first, cells(column), widths)
        if column.intervals:
            yield _row(f"  {column.name} 95%", first, _ends(column), widths)


def _row(name, first, cells, widths):
    return f"{name:{first}}" + "".join(f"  {cell:>{width}}" for cell, width in zip(cells, widths, strict=True))


def _rankings_as_rows(evaluation):
    """Counts that are the same of all rankings are told once, below, unless they were asked for."""
    found = columns(evaluation)
    alike = [] if evaluation.shown else [column for column in found if column.counted and len(set(column.values)) == 1]
    grid = [["", *(result.label for result in evaluation.results)]]
    for column in found:
        if column not in alike:
            grid.append([column.name, *cells(column)])
            if column.intervals:
                grid.append([f"{column.name} 95%", *_ends(column)])
    yield from _grid(list(zip(*grid, strict=True)), left=1)
    if alike:
        yield "each: " + ", ".join(f"{column.name} {column.values[0]}" for column in alike)


def _grid(rows, left):
    """Lines of a table, the first `left` columns to the left."""
    rows = [[one_line(cell) for cell in row] for row in rows]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        parts = [f"{cell:{'<' if place < left else '>'}{widths[place]}}" for place, cell in enumerate(row)]
        yield "  ".join(parts).rstrip()


def pairs(evaluation):
    """Comparisons as a table, cells of text: its header, and a row each."""
    rows = evaluation.comparisons
    several, adjusted = any(row["setting"] for row in rows), "p_adjusted" in rows[0]
    head = ["first", "second"] + ["setting"] * several + ["queries", "difference", "95% from", "to", "p"] + ["p (Holm)"] * adjusted
    found = [[*head, "better", "worse", "same"]]
    for row in rows:
        low, high = row["interval"]
        cells = [row["first"], row["second"]] + [row["setting"]] * several
        cells += [str(row["queries"]), *(f"{value:+.4f}" for value in (row["difference"], low, high)), f"{row['p_value']:.2g}"]
        cells += [f"{row['p_adjusted']:.2g}"] if adjusted else []
        found.append(cells + [str(row[name]) for name in ("better", "worse", "same")])
    return found


def _tested(evaluation):
    """What a table of comparisons is about."""
    rows = evaluation.comparisons
    what = f"{rows[0]['measure']} of the queries that both answer, second less first: p by the randomisation test"
    adjusted = f", and adjusted by Holm's method over {counted(len(rows), 'comparison')}" if "p_adjusted" in rows[0] else ""
    return what + adjusted


def _short(value):
    """.8123"""
    return f"{value:.4f}".replace("0.", ".", 1) if 0 <= value < 1 else f"{value:.4f}"


def _comparison(row):
    low, high = row["interval"]
    name = qualified(row["setting"], row["measure"])
    yield f"{one_line(row['second'])} against {one_line(row['first'])}, {name} of {row['queries']} queries that both answer"
    yield f"  difference {row['difference']:+.4f} (95% {low:+.4f} to {high:+.4f}), randomisation test p = {row['p_value']:.2g}"
    yield f"  better on {row['better']}, worse on {row['worse']}, the same on {row['same']}"
    for side in ("gained", "lost"):
        for query in row[side]:
            yield f"  {side:6}  {query['first']:.4f} -> {query['second']:.4f}  {shown(to_bytes(query['query']))}"


def _compared(result):
    if not result.compared:
        return
    from imgret.evaluation.conventions import FORMULAS, LISTS

    own = next(((row["ap"], row["list"]) for row in result.compared if row["own"]), None)
    for setting in dict.fromkeys(row["setting"] for row in result.compared):
        values = {(row["ap"], row["list"]): row["map"] for row in result.compared if row["setting"] == setting}
        yield ""
        yield one_line(f"{result.label} {setting}".rstrip()) + ": mean average precision under other conventions"
        yield f"  {'':16}" + "".join(f"{way:>13}" for way in LISTS)
        for name in FORMULAS:
            ways = "".join(f"{number(values[name, way], 4) + ('*' if (name, way) == own else ' '):>13}" for way in LISTS)
            yield f"  {name:16}{ways}"


def _conventions():
    from imgret.evaluation.conventions import FORMULAS, LISTS

    yield "  *: the protocol's own"
    yield from (f"  {name}: {text}" for name, text in LISTS.items())
    yield from (f"  {name}: {text}" for name, (text, _) in FORMULAS.items())
