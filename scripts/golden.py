"""Make the golden files of a version of the layout: one small store of each kind that is of this version now.

    python scripts/golden.py tests/data/schema-2
    python scripts/golden.py tests/data/hnsw/shared.h5
    python scripts/golden.py tests/data/inverted/index.h5

They are made once and then stay as they are, readable for ever. Version 1 has every kind, made of four small synthetic photos; a later
one is made of the photos and files of version 1 beside it. A file is a graph of rows of which some are equal: `each.h5` was made when each
row had a node of its own.
"""

import os
import sys
import tempfile

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
    "codebook": ("codebook", "features.h5", "--size", "4", "--set", "pca=0"),
    "vectors": ("encode", "features.h5", "-c", "codebook.h5", "--set", "norm=intra,l2"),
    "words": ("encode", "features.h5", "-c", "codebook.h5", "-m", "asmk"),
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
    if version == 1 and not os.path.exists("photos"):
        make_photos()
    for kind, (name, *arguments) in STEPS.items():
        if layout.KINDS[kind].version == version and not os.path.exists(f"{kind}.h5"):
            step(name, *map(_found, arguments), "-o", f"{kind}.h5")


def _found(argument):
    """An input where it is: among the files of version 1."""
    earlier = f"../schema-1/{argument}"
    return earlier if os.path.exists(earlier) else argument


def make_graph(path):
    """An index of twelve rows, of which five are equal, and three others."""
    rows = np.eye(6, 4, dtype=np.float32) + np.arange(6, dtype=np.float32)[:, None]
    with tempfile.TemporaryDirectory() as folder:
        paths = {name: os.path.join(folder, name) for name in ("rows.npy", "names.txt", "vectors.h5")}
        np.save(paths["rows.npy"], rows[[0, 1, 2, 1, 3, 1, 4, 1, 5, 1, 5, 5]])
        with open(paths["names.txt"], "w", encoding="ascii") as file:
            file.write("".join(f"{row:02d}.png\n" for row in range(12)))
        step("import", paths["rows.npy"], "--names", paths["names.txt"], "-o", paths["vectors.h5"])
        os.makedirs(os.path.dirname(path), exist_ok=True)
        step("index", paths["vectors.h5"], "-o", path, "-m", "hnsw", "--set", "m=4", "--metric", "l2")


def make_inverted(path):
    """An inverted index of Hamming embedding with several words for each descriptor, and the entries that it is of, beside it."""
    os.makedirs(os.path.dirname(path), exist_ok=True)
    os.chdir(os.path.dirname(path))
    features, codebook = (f"../schema-1/{name}.h5" for name in ("features", "codebook"))
    step("codebook", features, "-m", "hamming", "-c", codebook, "--set", "bits=16", "-o", "thresholds.h5")
    step("encode", features, "-c", "thresholds.h5", "--set", "ma=2", "-o", "words.h5")
    os.remove("thresholds.h5")
    step("index", "words.h5", "-o", os.path.basename(path))


SPECIAL = {"hnsw": make_graph, "inverted": make_inverted}  # by the folder

if __name__ == "__main__":
    SPECIAL.get(os.path.basename(os.path.dirname(sys.argv[1])), make)(sys.argv[1])
