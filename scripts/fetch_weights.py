"""Fetch torchvision's ImageNet weights, where there is a network: on the login node, before jobs run. Steps themselves never download.

python scripts/fetch_weights.py resnet50 vgg16            into torchvision's cache, where weights=imagenet looks
python scripts/fetch_weights.py --to /data/weights vgg16  into a folder: IMGRET_WEIGHTS=/data/weights imgret extract ...
"""

import argparse
import os
import sys

import torch
import torchvision


def fetch(model, folder):
    """Download a network's default weights into a folder, unless they are there; torchvision's hash in the name is checked. The path."""
    weights = torchvision.models.get_model_weights(model).DEFAULT
    path = os.path.join(folder, os.path.basename(weights.url))
    if os.path.exists(path):
        return path
    os.makedirs(folder, exist_ok=True)
    # the name ends in the first digits of the file's SHA-256
    prefix = os.path.splitext(os.path.basename(weights.url))[0].rpartition("-")[2]
    torch.hub.download_url_to_file(weights.url, path, prefix, progress=sys.stderr.isatty())
    return path


def main(arguments=None):
    """The command line; returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("models", nargs="+", metavar="MODEL", help="networks of torchvision, by name")
    parser.add_argument("--to", metavar="FOLDER", help="instead of torchvision's cache")
    given = parser.parse_args(arguments)
    folder = given.to or os.path.join(torch.hub.get_dir(), "checkpoints")
    known = torchvision.models.list_models(module=torchvision.models)
    for model in given.models:
        if model not in known:
            print(f"fetch_weights.py: torchvision {torchvision.__version__} has no network '{model}'", file=sys.stderr)
            return 2
    for model in given.models:
        try:
            print(fetch(model, folder))
        except (OSError, RuntimeError) as error:  # no network, a wrong hash, no room
            print(f"fetch_weights.py: the weights of {model} could not be fetched: {error}", file=sys.stderr)
            return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
