"""`imgret build`."""

import click

from imgret.cli import completing, options


def _config(ctx, _, value):
    """Answer `--config help`: list the ready configs."""
    if value != "help" or ctx.resilient_parsing:
        return value
    from imgret.config import about, built

    for name in built():
        click.echo(f"{click.style(name, bold=True)}: {about(name)['what']}")
        click.echo(f"    {_facts(about(name))}")
    raise click.exceptions.Exit(0)


def _facts(said):
    """What a ready config says of itself, in a line."""
    facts = [f"mAP {said['map']:.3f}{f' ({where})' if (where := said.get('measured')) else ''}"] if "map" in said else []
    facts += [f"{said['bytes']} bytes per photo"] + ([f"{said['seconds']} s per photo"] if "seconds" in said else [])
    return "; ".join(facts + [f"needs {need}" for need in said.get("needs", [])])


@click.command("build")
@options.photos
@click.option("-o", "--out", type=options.PATH, required=True, help="The folder to make: the index, and all that it is made of.")
@click.option(
    "--config",
    default="rootsift-vlad64",
    show_default=True,
    metavar="NAME|FILE",
    is_eager=True,
    callback=_config,
    shell_complete=completing.configs,
    help="A ready config, or a file of your own (with a slash in its name, or ending in .toml); help lists them.",
)
@click.option("--learn", multiple=True, type=options.PATH, metavar="PHOTOS", help="Learn codebooks on these photos; repeatable.")
@options.device
@options.jobs
@click.option("--max-failed", metavar="N|N%", help="Fail where more photos cannot be used.  [default: 5%]")
@options.max_gone
@click.option("--max-memory", metavar="SIZE", help="What the rows to learn from may take.  [default: 2G]")
@options.made("a build by another config, and what was made with other parameters")
def command(photos, **given):
    """Make an index of photos by all the steps of a config, in one folder; run again, it makes only what is new.

    PHOTOS are folders (searched for known image extensions), files, or - for a list on standard input. The folder is what other commands
    take where an index is wanted: `imgret build photos -o photos.imgret`, then `imgret search photos.imgret query.jpg`.
    """
    from imgret.stages.build import build

    photos = options.given_photos(photos, given)
    build(photos, **options.running(given))
