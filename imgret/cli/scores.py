"""How scores are printed."""

from imgret.errors import one_line
from imgret.evaluation.result import SCHEMA, SCHEMA_VERSION, dumps, qualified
from imgret.names import shown, to_bytes, tsv_escape


def as_json(evaluation):
    """One object, whatever the number of rankings; docs/json.md has its fields."""
    return dumps(
        {
            "schema": SCHEMA,
            "schema_version": SCHEMA_VERSION,
            "protocol": evaluation.protocol.name,
            "parameters": evaluation.protocol.params.to_json(),
            "conventions": evaluation.protocol.conventions,
            "runs": [result.to_json() for result in evaluation.results],
            "comparisons": evaluation.comparisons,
        }
    )


def _columns(results):
    names = list(dict.fromkeys(name for result in results for name in result.measures))
    rows = [(name, [result.measures.get(name) for result in results]) for name in names]
    rows += [
        (f"{setting}.{what}", [result.settings.get(setting, {}).get(what) for result in results])
        for setting in dict.fromkeys(setting for result in results for setting in result.settings)
        for what in ("queries", "excluded")
    ]
    return [*rows, *((name, [getattr(result, name) for result in results]) for name in ("queries", "excluded", "skipped", "truncation"))]


def as_tsv(evaluation):
    """A line per measure; intervals as `map.low` and `map.high`; comparisons and conventions below, each with a header of its own."""
    results = evaluation.results
    lines = ["\t".join(["measure", *(tsv_escape(to_bytes(result.label)) for result in results)])]
    for name, values in _columns(results):
        lines.append("\t".join([name, *(_number(value, 6) for value in values)]))
        if any(name in result.intervals for result in results):
            for end, side in enumerate(("low", "high")):
                ends = [result.intervals[name][end] if name in result.intervals else None for result in results]
                lines.append("\t".join([f"{name}.{side}", *(_number(value, 6) for value in ends)]))
    if evaluation.comparisons:
        names = ("first", "second", "setting", "measure", "queries", "difference", "p_value", "better", "worse", "same")
        lines += ["", "\t".join(names)]
        lines += ["\t".join(tsv_escape(to_bytes(_number(row[name], 6))) for name in names) for row in evaluation.comparisons]
    if any(result.compared for result in results):
        lines += ["", "\t".join(("ranking", "setting", "ap", "list", "queries", "map"))]
        for result in results:
            label = tsv_escape(to_bytes(result.label))
            rows = [(row["setting"], row["ap"], row["list"], row["queries"], row["map"]) for row in result.compared]
            lines += ["\t".join([label, *(_number(value, 6) for value in row)]) for row in rows]
    return "\n".join(lines)


def as_table(evaluation):
    """For eyes: measures, comparisons, conventions."""
    results = evaluation.results
    labels = [one_line(result.label) for result in results]
    widths = [max(10, len(label)) for label in labels]
    first = max(12, *(len(name) + 5 for name, _ in _columns(results)))
    lines = [f"{'':{first}}" + "".join(f"  {label:>{width}}" for label, width in zip(labels, widths, strict=True))]
    for name, values in _columns(results):
        lines.append(_row(name, first, [_number(value, 4) for value in values], widths))
        if any(name in result.intervals for result in results):
            ends = [result.intervals.get(name) for result in results]
            lines.append(
                _row(f"  {name} 95%", first, ["" if pair is None else f"{_short(pair[0])}-{_short(pair[1])}" for pair in ends], widths)
            )
    for row in evaluation.comparisons:
        lines += ["", *_comparison(row)]
    for result in results:
        lines += _compared(result)
    if any(result.compared for result in results):
        lines += _legend()
    protocol = evaluation.protocol
    parameters = ", ".join(f"{name}={value}" for name, value in protocol.params.to_json().items())
    lines += ["", f"protocol {protocol.name}" + (f" ({parameters})" if parameters else "")]
    return "\n".join(map(one_line, [*lines, *(f"  {name}: {text}" for name, text in protocol.conventions.items())]))


def _row(name, first, cells, widths):
    return f"{name:{first}}" + "".join(f"  {cell:>{width}}" for cell, width in zip(cells, widths, strict=True))


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
            cells = "".join(f"{_number(values[name, way], 4) + ('*' if (name, way) == own else ' '):>13}" for way in LISTS)
            yield f"  {name:16}{cells}"


def _legend():
    from imgret.evaluation.conventions import FORMULAS, LISTS

    yield "  *: the protocol's own"
    yield from (f"  {name}: {text}" for name, text in LISTS.items())
    yield from (f"  {name}: {text}" for name, (text, _) in FORMULAS.items())


def _number(value, digits):
    return "" if value is None else f"{value:.{digits}f}" if isinstance(value, float) else str(value)
