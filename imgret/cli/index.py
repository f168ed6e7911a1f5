"""`imgret index`."""

import click

from imgret.cli import options
from imgret.errors import UsageError
from imgret.indexes import DEFAULT, INDEXES

METHODS = [name for name in INDEXES if name != "factory"]


def _one(ctx, param, values):
    """The only value of an option that other steps take several of; None without any."""
    if len(values) > 1:
        raise click.BadParameter("an index is filled by one codebook: give it once", ctx, param)
    return values[0] if values else None


@click.command("index")
@click.argument("inputs", nargs=-1, type=options.PATH)
@options.out("index")
@options.method(METHODS, None, f"How.  [default: what the codebook is for, or {DEFAULT}]")
@click.option(
    "-c",
    "--codebook",
    type=options.PATH,
    multiple=True,
    callback=_one,
    help="What `imgret codebook -m` pq, opq, ivfpq or ivf-flat has learned.",
)
@options.settings
@click.option("--factory", metavar="STRING", help="Any faiss index factory string, instead of a method.")
@click.option("--metric", type=click.Choice(["cosine", "l2", "ip"]), help="How vectors compare.  [default: the codebook's, or cosine]")
@click.option("--train", multiple=True, type=options.PATH, help="A vectors store to learn from instead of the inputs.")
@options.seed
@options.max_memory
@options.max_gone
@options.jobs
@options.run
def command(inputs, out, method, settings, factory, **given):
    """Make vectors, or visual words, searchable.

    INPUTS are vectors stores, or words stores. The index is built in memory, where it takes about as much as its file will (inverted files
    of vectors 1.4 times), beside 100 MB; learning, where a method does, comes before that and takes up to 2.5 times the vectors to learn
    from (--max-memory). Words make an inverted file: what --max-memory does not hold is sorted on the disk.

    Where an index is made again as photos have come and gone, what it has learned is kept, until more than half of the photos are new.
    """
    options.explain(INDEXES, "index", method, settings, searched=True)
    from imgret.stages.index import index

    if factory is not None:
        if given["codebook"] is not None:
            raise UsageError("--factory takes no codebook: leave -c out")
        method, settings = "factory", (*settings, f"factory={factory}")
    index(inputs, out, method=method, settings=settings, **options.running(given))
