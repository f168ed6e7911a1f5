"""Make the golden files of the present schema: one small store of each kind, from four small synthetic photos.

    python scripts/golden.py tests/data/schema-1

They are made once for each version of the layout and then stay as they are, readable for ever: a new version gets a new folder.
"""

import os
import sys

import numpy as np
from PIL import Image

from imgret.cli.main import main

PHOTOS = 4
SIDE = 96


def photo(seed):
    """Overlapping discs in shades of grey: shape (96, 96), uint8."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:SIDE, :SIDE]
    picture = np.full((SIDE, SIDE), 128.0)
    for _ in range(25):
        cx, cy, radius = rng.uniform(0, SIDE), rng.uniform(0, SIDE), rng.uniform(3, 14)
        picture[(x - cx) ** 2 + (y - cy) ** 2 < radius**2] = rng.uniform(0, 255)
    return picture.astype(np.uint8)


def step(*arguments):
    """Run one step; ends this program where it fails."""
    try:
        main(list(arguments))
    except SystemExit as end:
        if end.code:
            raise


def make(folder):
    """Photos, then a store of each kind."""
    os.makedirs(os.path.join(folder, "photos"))
    os.chdir(folder)
    for seed in range(PHOTOS):
        Image.fromarray(photo(seed)).save(f"photos/{seed}.png")
    with open("photos/bad.jpg", "wb") as file:
        file.write(b"not a photo")
    step("extract", "photos", "-o", "features.h5", "--max-failed", "1", "--set", "max_keypoints=40", "--set", "contrast_threshold=0.01")
    step("codebook", "features.h5", "-o", "codebook.h5", "--size", "4")
    step("encode", "features.h5", "-c", "codebook.h5", "-o", "vectors.h5")
    step("index", "vectors.h5", "-o", "index.h5")
    step("search", "index.h5", "vectors.h5", "-o", "ranking.h5")


if __name__ == "__main__":
    make(sys.argv[1])
