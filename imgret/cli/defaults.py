"""`--config`: a step's defaults from a table of a config; the command line wins over them."""

import click

from imgret.cli import completing
from imgret.errors import UsageError


def config(command):
    """`--config FILE:TABLE` or `NAME:TABLE`."""
    return click.option(
        "--config",
        metavar="CONFIG:TABLE",
        is_eager=True,
        expose_value=False,
        callback=_config,
        shell_complete=completing.configs,
        help="Take defaults from a table of a config: a file, or a ready one by its name.",
    )(command)


def _config(ctx, _, value):
    if not value or ctx.resilient_parsing:
        return
    from imgret.config import FILES, path_of, read_table, settings_of
    from imgret.ready import is_ready

    table = read_table(value)
    ctx.meta["imgret.reads"] = (path_of(value.rpartition(":")[0]),)
    command = ctx.command.name
    if table.get("run", command) != command:
        raise UsageError(f"--config {value}: this table is for `{table['run']}`, not for `{command}`")
    references = ("run", *FILES.get(command, ()))  # what a config says about files: the command line names them
    options = {_key(param): param for param in ctx.command.params if isinstance(param, click.Option)}
    options = {key: param for key, param in options.items() if key not in ("set", "out", "config", "json", "per-query", *references)}
    values = {}
    for key, setting in table.items():
        if key == "set":
            if not isinstance(setting, dict):
                raise UsageError(f"--config {value}: `set` must be a table of parameters")
            ctx.meta["imgret.set"] = settings_of(table)
        elif key in references:
            if key == "codebook" and is_ready(setting):  # that is no file which the command line has to name
                values |= {"codebook": setting, "codebooks": [setting]}
            elif key == "network":
                ctx.meta["imgret.network"] = f"--config {value}: photos are described by the network '{setting}'"
        elif key.replace("_", "-") in options:
            param = options[key.replace("_", "-")]
            values[param.name] = _plain(f"--config {value}: `{key}`", setting, param)
        else:
            valid = sorted({*options, "set", *references})
            raise UsageError(f"--config {value}: unknown key '{key}'; `{command}` has: {', '.join(valid)}")
    ctx.default_map = values


def _plain(shown, value, param):
    """A setting of a config as click takes it from a command line: words, which it then checks."""
    if param.is_flag:
        if not isinstance(value, bool):
            raise UsageError(f"{shown} must be true or false, got {value!r}")
        return value
    if param.multiple and isinstance(value, list) and all(isinstance(item, str) for item in value):
        return value
    if param.multiple or isinstance(value, bool | list | dict):
        raise UsageError(f"{shown} must be {'a list of words' if param.multiple else 'a number or a word'}, got {value!r}")
    return str(value)


def _key(param):
    """An option as a config spells it: its longest name without dashes."""
    return max(param.opts, key=len).lstrip("-")
