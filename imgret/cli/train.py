"""`imgret train`."""

import click

from imgret.cli import options
from imgret.trainers import TRAINERS

TRUTH = (
    "Which photos match: a CSV of groups (image,group), pairs (query,reference) or places (image,east,north), the .mat file or folder of a set of places, a "
    "ranking with evidence (imgret rerank -m spatial), or the word folders (of names) or names (positions in them). Without it, only a photo's own views do."
)


@click.command("train")
@options.photos
@options.out("network (.safetensors)")
@options.method(TRAINERS, None, "How.  [required]")
@click.option("--truth", type=options.PATH, help=TRUTH)
@click.option("--init", type=options.PATH, help="Weights, or a network of this command, to start from: short for --set weights=FILE.")
@click.option("--freeze", metavar="LAYER", help="Leave the network as it is up to here, and compute its maps once: --set freeze=LAYER.")
@click.option("--epochs", type=int, help="Times that all photos are gone through: --set epochs=N.")
@options.settings
@options.seed
@click.option("--validate", multiple=True, type=options.PATH, help="Photos to score by, that training does not see; repeatable.")
@click.option("--validate-truth", type=options.PATH, help="Which of those match.  [default: --truth]")
@click.option("--validate-protocol", "protocol", metavar="NAME", help="What evaluates them.  [default: what reads their truth]")
@click.option("--last", type=options.PATH, help="Write the network as it was at the end here; -o is the best.")
@click.option("--html", type=options.PATH, help="Write a page with curves and examples.")
@click.option("--log", type=options.PATH, metavar="CSV", help="Write a line for each step and epoch.")
@click.option("--tensorboard", type=options.PATH, metavar="FOLDER", help="Write the same for TensorBoard.")
@options.device
@options.jobs
@click.option("--max-failed", metavar="N|N%", default="5%", show_default=True, help="Fail where more photos cannot be used.")
@options.run
def command(photos, out, method, settings, **given):
    """Train a network so that photos which match come near each other.

    PHOTOS are folders (searched for known image extensions), files, or - for a list on standard input. The network is then a method's
    weights as any other: imgret extract -m cnn --set weights=NET; `imgret help training` says what each method is for.
    """
    options.explain(TRAINERS, "way to train", method, settings)
    if method is None:
        raise click.UsageError("Missing option '-m' / '--method'.")
    from imgret.stages.train import train

    photos = options.given_photos(photos, given)
    shorts = {"weights": given.pop("init"), "freeze": given.pop("freeze"), "epochs": given.pop("epochs"), "seed": given.pop("seed")}
    outputs = {f"--{name}": given.pop(name) for name in ("html", "log", "tensorboard")}
    train(photos, out, method=method, settings=settings, given=shorts, outputs=outputs, **options.running(given))
