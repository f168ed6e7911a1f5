"""Make the golden files of a version of the layout: one small store of each kind that is of this version now.

    python scripts/golden.py tests/data/schema-2

They are made once and then stay as they are, readable for ever. Version 1 has every kind, made of four small synthetic photos; a later
one is made of the photos and files of version 1 beside it.
"""

import os
import sys

import numpy as np
from PIL import Image

from imgret.cli.main import main
from imgret.store import layout

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


STEPS = {
    "features": ("extract", "photos", "--max-failed", "1", "--set", "max_keypoints=40", "--set", "contrast_threshold=0.01"),
    "codebook": ("codebook", "features.h5", "--size", "4"),
    "vectors": ("encode", "features.h5", "-c", "codebook.h5"),
    "index": ("index", "vectors.h5"),
    "ranking": ("search", "index.h5", "vectors.h5"),
}


def make_photos():
    """The photos, in `photos`; one of them is none."""
    os.makedirs("photos")
    for seed in range(PHOTOS):
        Image.fromarray(photo(seed)).save(f"photos/{seed}.png")
    with open("photos/bad.jpg", "wb") as file:
        file.write(b"not a photo")


def make(folder):
    """The stores of the version that the folder is named after."""
    version = int(folder.rstrip("/").rpartition("-")[2])
    os.makedirs(folder, exist_ok=True)
    os.chdir(folder)
    if version == 1:
        make_photos()
    for kind, (name, *arguments) in STEPS.items():
        if layout.KINDS[kind].version == version and not os.path.exists(f"{kind}.h5"):
            step(name, *map(_found, arguments), "-o", f"{kind}.h5")


def _found(argument):
    """An input where it is: among the files of version 1."""
    earlier = f"../schema-1/{argument}"
    return earlier if os.path.exists(earlier) else argument


if __name__ == "__main__":
    make(sys.argv[1])
