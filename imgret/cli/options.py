"""Options that several steps share, each defined once."""

import functools

import click

from imgret.cli.defaults import config
from imgret.errors import UsageError


class _Path(click.Path):
    """A path, which no empty name is."""

    def convert(self, value, param, ctx):
        """The path as it is."""
        if value in ("", b""):
            self.fail("the name is empty: give that of a file or folder", param, ctx)
        return super().convert(value, param, ctx)


PATH = _Path(readable=False)  # whether it can be read is found out by reading: that is no error of usage


def out(what):
    """`-o/--out`."""
    return click.option("-o", "--out", type=PATH, callback=needed, help=f"The {what} to make.  [required]")


def needed(ctx, param, value):
    """A callback for what is required, except by `--set help`."""
    if value in (None, ()) and not ctx.resilient_parsing and "help" not in ctx.params.get("settings", ()):
        raise click.MissingParameter(ctx=ctx, param=param)
    return value


def method(table, default, help="How."):
    """`-m/--method` with the choices of a family's table."""
    return click.option("-m", "--method", type=click.Choice(list(table)), default=default, show_default=default is not None, help=help)


def settings(command):
    """`--set NAME=VALUE`: the method's own parameters; those of a config come first, the command line wins."""
    return click.option(
        "--set",
        "settings",
        multiple=True,
        metavar="NAME=VALUE",
        callback=_merge,
        help="A parameter of the method or index; may be given several times. `--set help` lists them.",
    )(command)


def _merge(ctx, _, values):
    given = {value.partition("=")[0].strip().replace("-", "_") for value in values}
    if "imgret.network" in ctx.meta and not given & {"weights", "help"}:
        raise UsageError(f"{ctx.meta['imgret.network']}: give the file that train made of it by --set weights=FILE")
    return tuple(value for value in ctx.meta.get("imgret.set", ()) if value.partition("=")[0] not in given) + tuple(values)


def photos(command):
    """The arguments and options that name photos."""
    decorators = (
        click.argument("photos", nargs=-1, type=PATH),
        click.option("--list", "lists", multiple=True, type=PATH, help="A file that lists photos, one per line."),
        click.option("-0", "--null", "nul", is_flag=True, help="Lists are NUL-terminated."),
        click.option("--root", type=PATH, help="Name photos relative to this folder."),
        click.option(
            "--exclude",
            multiple=True,
            metavar="GLOB",
            help="Leave out of folders what is called so: a name, or with a slash a path in the folder; repeatable.",
        ),
    )
    return functools.reduce(lambda wrapped, decorator: decorator(wrapped), reversed(decorators), command)


seed = click.option("--seed", type=click.IntRange(0), help="Where randomness comes from.")
shard = click.option("--shard", metavar="I/N", help="Make share I (from 0) of N and do not join.")
max_gone = click.option(
    "--max-gone",
    metavar="N|N%",
    help="Fail where more of the photos in the finished output are gone: a disk may not be mounted.  [default: 20%]",
)
max_memory = click.option("--max-memory", metavar="SIZE", default="2G", show_default=True, help="What the rows to learn from may take.")


def _jobs(ctx, param, value):
    if value is None and not ctx.resilient_parsing:
        from imgret.parallel import available_cpus

        return available_cpus()
    return value


jobs = click.option(
    "-j", "--jobs", type=click.IntRange(1), callback=_jobs, help="How many at once (default: the CPUs this process may use)."
)

device = click.option(
    "--device",
    callback=lambda _, __, value: _check_device(value),
    default="auto",
    show_default=True,
    metavar="auto|cpu|cuda[:N]|mps",
    help="Where a network runs.",
)


def _check_device(value):
    kind, _, number = value.partition(":")
    if kind not in ("auto", "cpu", "cuda", "mps") or (":" in value and not (kind == "cuda" and number.isdecimal() and len(number) < 4)):
        raise click.BadParameter(f"`--device` must be auto, cpu, cuda, cuda:N or mps, got '{value}'")
    return value


def html(command):
    """A page to look at results: `--html`, `--photos`, `--top`, `--most`, `--large`."""
    decorators = (
        click.option("--html", type=PATH, metavar="FILE", help="Write a page to look at: queries and their results."),
        click.option(
            "--photos",
            "photo_roots",
            multiple=True,
            type=PATH,
            metavar="ROOT",
            help="With --html: the folder that photos are named relative to; of several the first that has it.",
        ),
        click.option("--top", type=click.IntRange(1, 100), help="With --html: results per query.  [default: 10]"),
        click.option("--most", type=click.IntRange(1), help="With --html: queries on the page.  [default: 2000]"),
        click.option("--large", is_flag=True, help="With --html: thumbnails of 640 pixels, for a page that goes where the photos do not."),
    )
    return functools.reduce(lambda wrapped, decorator: decorator(wrapped), reversed(decorators), command)


def check_html(html, roots, top, most, asked, large=False):
    """Refuse `--photos`, `--top`, `--most` and `--large` without `--html`, and `--html` without `--photos`.

    Unless what is `asked` (an index, or rankings) is of a build, which knows where its photos are.

    Returns
    -------
    tuple of str
        Folders that photos are named relative to.
    """
    if html and not roots:
        from imgret.inputs.rankings import photo_roots

        roots = photo_roots(asked)
    if html and not roots:
        raise click.UsageError("--html needs --photos ROOT: the folder that the photos were extracted from")
    for option, given in (("--photos", roots), ("--top", top), ("--most", most), ("--large", large)):
        if given and not html:
            raise click.UsageError(f"{option} is for --html")
    return roots


def overwrite(what):
    """`--overwrite`."""
    return click.option("--overwrite", is_flag=True, help=f"Replace {what}.")


verbose = click.option("-v", "--verbose", count=True, help="Say more.")
quiet = click.option("-q", "--quiet", is_flag=True, help="Say nothing but warnings and errors.")
STORE, FILES = "an output that was made with other parameters", "files that hold something else"  # what is replaced


def made(what):
    """What every command that makes files takes: `--overwrite`, `-v`, `-q`."""
    return lambda command: overwrite(what)(verbose(quiet(command)))


def run(command):
    """What every step of a pipeline takes: the same, and `--config`."""
    return made(STORE)(config(command))


def report(verbose, quiet):
    """The `Report` that `-v` and `-q` ask for."""
    from imgret.runs.report import Report

    return Report(-1 if quiet else verbose)


def running(given):
    """A command's options as its stage takes them: `--jobs`, `--shard`, `--overwrite`, `--device`, `-v` and `-q` as one `run`.

    Raises
    ------
    UsageError
        For a shard that is none.
    """
    from imgret.runs.run import Run, parse_shard

    given = dict(given)
    how = {name: given.pop(name) for name in ("jobs", "shard", "overwrite", "device") if name in given}
    if "shard" in how:
        how["shard"] = parse_shard(how["shard"]) if how["shard"] else None
    how["reads"] = click.get_current_context().meta.get("imgret.reads", ())
    how["report"] = report(given.pop("verbose", 0), given.pop("quiet"))
    _tell_cost(how["report"])
    return given | {"run": Run(**how)}


def _tell_cost(told):
    """At the end of the command."""
    if told.verbosity < 1:
        return
    import time

    from imgret.runs.details import tell_cost

    began = time.monotonic()
    click.get_current_context().call_on_close(lambda: tell_cost(told, time.monotonic() - began))


def given_photos(arguments, given):
    """The photos that a command names, taken out of its options `given`, as stages take them."""
    from imgret.listing import Given

    return Given(arguments, given.pop("lists"), given.pop("root"), given.pop("nul"), given.pop("exclude"))


def explain(table, family, method, settings, searched=False):
    """Answer `--set help`: print the method's parameters, and where it is `searched` those of its search, and end.

    Without a `method`, those of all.
    """
    if "help" not in settings:
        return
    from imgret.registry import load

    for name in [method] if method else table:
        if not method:
            click.echo(click.style(name, bold=True))
        kind = load(table, name, family)
        _list_params(kind.Params)
        if searched:
            _list_searches(kind, " (search --set)")
    raise click.exceptions.Exit(0)


def explain_search(index, reranker=None):
    """The same for `search`: an index's own search-time parameters; without one, those of all indexes; then those of a `reranker`."""
    from imgret.builds import index_of
    from imgret.indexes import INDEXES
    from imgret.inputs.gallery import Gallery
    from imgret.registry import load

    if index is None:
        for name in INDEXES:
            click.echo(click.style(name, bold=True))
            _list_searches(load(INDEXES, name, "index"))
    else:
        gallery = Gallery(index_of(index))
        gallery.close()
        _list_params(type(gallery.settings))
    if reranker is not None:
        from imgret.rerankers import RERANKERS

        _list_params(load(RERANKERS, reranker, "reranker").Params, f" (of {reranker})")
    raise click.exceptions.Exit(0)


def _list_searches(kind, title=""):
    for encoder, params in kind.searches().items():
        _list_params(params, title + (f" (of {encoder})" if encoder else ""))


def _list_params(params, title=""):
    import dataclasses

    if not dataclasses.fields(params):
        click.echo(f"no parameters{title}")
    for field in dataclasses.fields(params):
        default = ",".join(map(str, field.default)) if isinstance(field.default, tuple) else field.default
        click.echo(f"{field.name}={default}{title}\n    {field.metadata['help']}")
