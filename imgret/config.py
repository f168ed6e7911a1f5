"""Config files: a whole pipeline in TOML, a table per output."""

import tomllib

from imgret.errors import ImgretError, UsageError, why
from imgret.formats import files

LIMIT = 1 << 20  # bytes
MOST_DOTS = 200  # in a line: TOML's parser takes time and memory by the square of a key's parts
RUNS = ("extract", "codebook", "encode", "index", "search", "evaluate")


def read(path):
    """All tables of a config.

    Raises
    ------
    ImgretError
        If it cannot be read, or is too large to be one.
    UsageError
        If it is not TOML, or something in it is not a table with a known `run`.
    """
    listed = [line for _, line in files.lines(path, LIMIT, regular=False, refusal=lambda error: _unreadable(path, error))]
    if max((line.count(b".") for line in listed), default=0) > MOST_DOTS:
        raise UsageError(f"--config {path} is nested too deeply")
    try:
        tables = tomllib.loads(b"\n".join(listed).decode())
    except RecursionError:
        raise UsageError(f"--config {path} is nested too deeply") from None
    except ValueError as error:  # TOML's own errors, bytes that are not UTF-8, numbers of thousands of digits
        raise UsageError(f"--config {path} is not TOML: {error}") from None
    for name, table in tables.items():
        if not isinstance(table, dict) or table.get("run") not in RUNS:
            raise UsageError(f"--config {path}: '{name}' must be a table with `run` = one of {', '.join(RUNS)}")
    return tables


def read_table(text):
    """The table that "FILE:TABLE" names.

    Raises
    ------
    UsageError
        If there is no such table.
    """
    path, _, name = text.rpartition(":")
    if not path:
        raise UsageError(f"`--config` must be FILE:TABLE, got '{text}'")
    tables = read(path)
    if name not in tables:
        raise UsageError(f"--config {path}: there is no table '{name}'; it has: {', '.join(tables)}")
    return tables[name]


def _unreadable(path, error):
    return ImgretError(f"--config {path}: {why(error, 'there is no such file')}")
