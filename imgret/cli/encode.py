"""`imgret encode`."""

import click

from imgret.cli import options
from imgret.encoders import ENCODERS


@click.command("encode")
@click.argument("inputs", nargs=-1, type=options.PATH)
@options.out("vectors store")
@click.option(
    "-c",
    "--codebook",
    "codebooks",
    multiple=True,
    type=options.PATH,
    help="The codebook or projection; several where the method needs them.",
)
@options.method(ENCODERS, None, "How; the codebook decides without it.")
@options.settings
@options.jobs
@options.shard
@options.run
def command(inputs, codebooks, out, method, settings, **given):
    """Turn each photo's descriptors, its vector, or several vectors of it, into one vector.

    INPUTS are features stores (vlad, fisher) or vectors stores (project), or vectors stores of the same photos (concat).
    """
    if "help" in settings and method is None:
        raise click.UsageError("--set help needs -m")
    options.explain(ENCODERS, "encoder", method, settings)
    from imgret.stages.encode import encode

    encode(inputs, codebooks, out, method=method, settings=settings, **options.running(given))
