"""`imgret extract`."""

import click

from imgret.cli import options
from imgret.extractors import DEFAULT, EXTRACTORS

BOXES = (
    "Describe regions of photos, a row each, to ask with. The folder of Oxford's or Paris's ground truth, its .pkl or .json, revisited or "
    "not, or a CSV with the header image,x1,y1,x2,y2 and perhaps id."
)
UNITS = "What the corners of boxes are: pixels, or fractions of the photo's width and height."
TRUNCATED = "Photos that lack their last bytes: describe what there is of them, here and in searches, or record them as failed."


@click.command("extract")
@options.photos
@options.out("features or vectors store")
@options.method(EXTRACTORS, DEFAULT)
@options.settings
@click.option("-c", "--codebook", type=options.PATH, help="A projection of regions, for cnn with pool=rmac.")
@click.option("--boxes", metavar="PATH", type=options.PATH, help=BOXES)
@click.option("--box-units", type=click.Choice(["pixels", "fraction"]), default="pixels", show_default=True, help=UNITS)
@options.device
@options.jobs
@options.shard
@click.option("--max-failed", metavar="N|N%", default="5%", show_default=True, help="Fail where more photos cannot be used.")
@options.max_gone
@click.option("--truncated", type=click.Choice(["accept", "refuse"]), default="refuse", show_default=True, help=TRUNCATED)
@options.run
def command(photos, out, method, settings, **given):
    """Describe photos by local features, or by one vector each.

    PHOTOS are folders (searched for known image extensions), files, or - for a list on standard input.
    """
    options.explain(EXTRACTORS, "extractor", method, settings)
    from imgret.stages.extract import extract

    photos = options.given_photos(photos, given)
    extract(photos, out, method=method, settings=settings, **options.running(given))
