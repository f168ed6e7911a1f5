"""`imgret encode`."""

import click

from imgret.cli import completing, options
from imgret.encoders import ENCODERS


def _default(codebooks, settings):
    """What `--set help` is about where no method is named: the one that a codebook is for; of all where there is none."""
    if "help" not in settings or not codebooks:
        return None
    from imgret.stages.encode import default_method

    return default_method(codebooks[0])


@click.command("encode")
@click.argument("inputs", nargs=-1, type=options.PATH)
@options.out("vectors or words store")
@click.option(
    "-c",
    "--codebook",
    "codebooks",
    multiple=True,
    type=options.PATH,
    shell_complete=completing.codebooks,
    help="The codebook or projection; several where the method needs them.",
)
@options.method(ENCODERS, None, "How; the codebook decides without it.")
@options.settings
@options.max_gone
@options.jobs
@options.shard
@options.run
def command(inputs, codebooks, out, method, settings, **given):
    """Turn each photo's descriptors, its vector, or several vectors of it, into one vector, or descriptors into visual words.

    INPUTS are features stores (to a vector: vlad, fisher; to words: bow, hamming, smk, asmk) or vectors stores (project), or vectors
    stores of the same photos (concat).
    """
    options.explain(ENCODERS, "encoder", method or _default(codebooks, settings), settings)
    from imgret.stages.encode import encode

    encode(inputs, codebooks, out, method=method, settings=settings, **options.running(given))
