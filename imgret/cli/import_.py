"""`imgret import`."""

import click

from imgret.cli import options


@click.command("import")
@click.argument("file", type=options.PATH)
@options.out("store")
@click.option("--names", type=options.PATH, help="A file that lists names, one per line: the rows', or of .ivecs the gallery's.")
@click.option("--queries", type=options.PATH, help="The same for the rows of .ivecs.  [default: query00000 ...]")
@click.option("-0", "--null", "nul", is_flag=True, help="These lists are NUL-terminated.")
@click.option("--space", default="", help="What the vectors or features are, in a word; different spaces are never mixed.")
@click.option(
    "--format", "form", type=click.Choice(["fvecs", "bvecs", "npy", "ivecs", "hloc"]), help="What FILE is.  [default: by its ending]"
)
@options.made(options.STORE)
def command(file, out, **given):
    """Make a store of a file of another program.

    FILE is a matrix of vectors (.fvecs, .bvecs, .npy; one row each), local features or global descriptors as the hloc toolbox writes them
    (.h5), or nearest neighbours (.ivecs: rows of positions in the gallery, from 0).
    """
    from imgret.stages.import_ import import_file

    import_file(file, out, **options.running(given))
