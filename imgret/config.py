"""Config files: a whole pipeline in TOML, a table per output. Some are part of the package, and known by name."""

import os
import tomllib

from imgret import ready
from imgret.errors import ImgretError, UsageError, quoted, why
from imgret.formats import files

LIMIT = 1 << 20  # bytes
MOST_DOTS = 200  # in a line: TOML's parser takes time and memory by the square of a key's parts
RUNS = ("train", "extract", "codebook", "encode", "index", "search", "rerank", "evaluate")
ABOUT = "about"  # the table that says what a config is good for
FOLDER = os.path.join(os.path.dirname(os.path.abspath(__file__)), "configs")  # a link to those on top of the source
DEFAULT = "rootsift-vlad64"  # the place to start: what the bare commands make
FILES = {  # the keys of a table that name other tables
    "train": (),
    "extract": ("codebook", "network"),
    "codebook": ("inputs", "codebook"),
    "encode": ("inputs", "codebook"),
    "index": ("inputs", "train", "codebook"),
    "search": ("index", "queries"),
    "rerank": ("inputs", "features", "words", "vectors", "index", "graph", "reference", "queries"),
    "evaluate": ("inputs",),
}
LEARNING = ("codebook", "train")  # what learns: its file is the same whatever photos are described by it
REQUIRED = {"codebook": ("inputs",), "encode": ("inputs",), "index": ("inputs",), "search": ("index", "queries")}
REQUIRED["rerank"] = ("inputs", "method")
REQUIRED["evaluate"] = ("inputs", "protocol")


def names():
    """The configs that are part of the package, the place to start first."""
    found = (name.removesuffix(".toml") for name in os.listdir(FOLDER) if name.endswith(".toml"))
    return sorted(found, key=lambda name: (name != DEFAULT, name))


def path_of(config):
    """The file that `--config` means: what has a slash in it, or ends in `.toml`, is a file; anything else is the name of a ready config.

    Raises
    ------
    UsageError
        If there is none of this name.
    """
    if "/" in config or config.endswith(".toml"):
        return config
    if config not in names():
        raise UsageError(
            f"there is no ready config '{quoted(config)}'; choose one of: {', '.join(names())}; "
            "a file of your own has a slash in its name, or ends in .toml"
        )
    return os.path.join(FOLDER, config + ".toml")


def built():
    """Those of them that `imgret build` makes: with one index, and no network to be trained."""
    every = {name: read(name) for name in names()}
    return [name for name, tables in every.items() if not networks(tables) and sum(t["run"] == "index" for t in tables.values()) == 1]


def about(config):
    """What a config says of itself: a dict, empty where it has no table `about`; see `read`."""
    return _parsed(config).get(ABOUT, {})


def read(path):
    """All tables of a config, less what it says of itself.

    Parameters
    ----------
    path : str
        A file, or the name of a ready config; see `path_of`.

    Raises
    ------
    ImgretError
        If it cannot be read, or is too large to be one.
    UsageError
        If it is not TOML, or something in it is not a table with a known `run`.
    """
    tables = _parsed(path)
    if not isinstance(tables.get(ABOUT, {}), dict) or "run" in tables.pop(ABOUT, {}):
        raise UsageError(f"--config {path}: '{ABOUT}' is kept for what a config is good for, and makes nothing: call the table otherwise")
    for name, table in tables.items():
        if not isinstance(table, dict) or table.get("run") not in RUNS:
            raise UsageError(f"--config {path}: '{name}' must be a table with `run` = one of {', '.join(RUNS)}")
    return tables


def _parsed(path):
    file = path_of(path)
    listed = [line for _, line in files.lines(file, LIMIT, regular=False, refusal=lambda error: _unreadable(path, error))]
    if max((line.count(b".") for line in listed), default=0) > MOST_DOTS:
        raise UsageError(f"--config {path} is nested too deeply")
    try:
        return tomllib.loads(b"\n".join(listed).decode())
    except RecursionError:
        raise UsageError(f"--config {path} is nested too deeply") from None
    except ValueError as error:  # TOML's own errors, bytes that are not UTF-8, numbers of thousands of digits
        raise UsageError(f"--config {path} is not TOML: {error}") from None


def check(path, tables):
    """Refuse a config whose tables do not fit together.

    Raises
    ------
    UsageError
    """
    for table, content in tables.items():
        run = content["run"]
        for key in REQUIRED.get(run, ()):
            if not content.get(key):
                raise UsageError(f"{path}: the table '{table}' needs `{key}`")
        for key in FILES[run]:
            value = content.get(key, [])
            if not all(isinstance(name, str) for name in (value if isinstance(value, list) else [value])):
                raise UsageError(f"{path}: `{key}` of the table '{table}' must name tables, got {quoted(repr(value))}")
            for name in named(content, key):
                if key == "codebook" and ready.is_ready(name):
                    ready.path_of(name)
                elif name not in tables:
                    raise UsageError(f"{path}: `{key}` of the table '{table}' names '{name}', which is no table of this config")
                elif key == "network" and tables[name]["run"] != "train":
                    raise UsageError(f"{path}: `{key}` of the table '{table}' names '{name}', which trains none")
    for table in tables:
        _check_ends(path, tables, table, ())


def _check_ends(path, tables, table, above):
    if table in above:
        raise UsageError(f"{path}: the table '{table}' is made from itself")
    for key in FILES[tables[table]["run"]]:
        for name in named(tables[table], key):
            if name in tables:
                _check_ends(path, tables, name, (*above, table))


def named(content, key):
    """What a key of a table names, as a list: tables, and of a codebook perhaps `ready:NAME`."""
    value = content.get(key, [])
    return [value] if isinstance(value, str) else value


def made_of(tables, table, key):
    """The tables that a key of a table names, as a list: their files come before its own."""
    return [name for name in named(tables[table], key) if name in tables]


def ready_of(content):
    """The codebooks of the package that a table names, as a list of `ready:NAME`."""
    return [name for name in named(content, "codebook") if ready.is_ready(name)]


def ending(content):
    """What the name of a table's file ends in."""
    return ".safetensors" if content["run"] == "train" else ".h5"


def networks(tables):
    """The tables that train a network."""
    return [name for name, table in tables.items() if table["run"] == "train"]


def learns(content, key):
    """Whether what a key names is learned from: made of the photos to learn from, where there are others than those to be found."""
    return content["run"] in LEARNING or key == "train"


def settings_of(content):
    """The parameters of a table's `set` as NAME=VALUE."""
    return [f"{name.replace('-', '_')}={_text(item)}" for name, item in content.get("set", {}).items()]


def _text(value):
    if isinstance(value, bool):
        return str(value).lower()
    return ",".join(map(_text, value)) if isinstance(value, list) else str(value)


def read_table(text):
    """The table that "FILE:TABLE" names.

    Raises
    ------
    UsageError
        If there is no such table.
    """
    path, _, name = text.rpartition(":")
    if not path:
        raise UsageError(f"`--config` must be FILE:TABLE, or NAME:TABLE of a ready config, got '{text}'")
    tables = read(path)
    if name not in tables:
        raise UsageError(f"--config {path}: there is no table '{name}'; it has: {', '.join(tables)}")
    return tables[name]


def _unreadable(path, error):
    return ImgretError(f"--config {path}: {why(error, 'there is no such file')}")
