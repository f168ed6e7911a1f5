"""`imgret export`."""

import click

from imgret.cli import options


@click.command("export")
@click.argument("store", type=options.PATH)
@options.out("file")
@click.option(
    "--format",
    "form",
    type=click.Choice(["npy", "fvecs", "bvecs", "ivecs", "npz", "trec", "tsv", "hloc", "pairs"]),
    help="What to write.  [default: by the ending of -o]",
)
@click.option(
    "-k", type=click.IntRange(1), metavar="N", help="Of a ranking: so many ranks of each list; of pairs, beside the photo itself."
)
@click.option("--names", type=options.PATH, help="Also list the names here, one per line, in the order of the rows.")
@click.option("--queries", type=options.PATH, help="The same for a ranking's queries; --names has its gallery.")
@click.option("-0", "--null", "nul", is_flag=True, help="NUL-terminate these lists.")
@click.option("--offsets", type=options.PATH, help="Of features: also write where each photo's descriptors begin (.npy).")
@click.option("--keypoints", type=options.PATH, help="Of features: also write the keypoints (.npy).")
@click.option("--decoded", is_flag=True, help="Descriptors as encoders take them (RootSIFT, say), not as stored.")
@click.option("--array", metavar="NAME", help="Which array of a codebook.  [default: centroids]")
@options.made(options.FILES)
def command(store, out, **given):
    """Write what is in a store as a file of another program.

    Vectors and descriptors as .npy, .fvecs or .bvecs, a ranking as a TREC run (.trec, .run, .txt), .tsv or .ivecs, a codebook's arrays
    as .npy or .fvecs, words as a sparse matrix (.npz, for SciPy) or lines of photo, word and weight (.txt). By
    --format alone: hloc (vectors, as its global descriptors) and pairs (a ranking, for COLMAP and hloc).
    """
    from imgret.stages.export import export

    export(store, out, **options.running(given))
