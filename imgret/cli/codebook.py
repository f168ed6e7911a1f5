"""`imgret codebook`."""

import click

from imgret.cli import completing, options
from imgret.codebooks import CODEBOOKS, DEFAULT


@click.command("codebook")
@click.argument("inputs", nargs=-1, type=options.PATH)
@options.out("codebook")
@options.method(CODEBOOKS, DEFAULT)
@click.option(
    "-c",
    "--codebook",
    type=options.PATH,
    shell_complete=completing.codebooks,
    help="The visual words that words and hamming learn about.",
)
@options.settings
@click.option("--size", type=int, help="Visual words, Gaussians, or dimensions to keep.")
@options.seed
@click.option("--sample", type=click.IntRange(1), help="Rows to draw, uniformly over all inputs.  [default: 1000000]")
@click.option("--pairs", type=options.PATH, metavar="CSV", help="Photos that match (image,group), for lw.")
@options.max_memory
@options.jobs
@options.run
def command(inputs, out, method, settings, **given):
    """Learn a codebook or a projection from a sample of rows.

    INPUTS are features or vectors stores. What words are like (words, hamming) is learned from whole photos, with the words that -c names;
    they travel along: imgret encode then needs this codebook alone.
    """
    options.explain(CODEBOOKS, "codebook", method, settings)
    from imgret.stages.codebook import codebook

    codebook(inputs, out, method=method, settings=settings, **options.running(given))
