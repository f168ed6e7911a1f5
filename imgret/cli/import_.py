"""`imgret import`."""

import click

from imgret.cli import options


@click.command("import")
@click.argument("vectors", type=click.Path())
@options.out("vectors store")
@click.option("--names", required=True, type=click.Path(), help="A file that lists the rows' names, one per line.")
@click.option("-0", "--null", "nul", is_flag=True, help="The list is NUL-terminated.")
@click.option("--space", default="", help="What the vectors are, in a word; different spaces are never mixed.")
@options.run
def command(vectors, out, verbose, quiet, **run):
    """Make a vectors store of vectors from elsewhere: a .fvecs or .npy file and a list of names."""
    from imgret.stages.vectors import import_vectors

    import_vectors(vectors, out, report=options.report(verbose, quiet), **run)
