"""Learn the codebooks that are part of the package, on photographs that anybody may use.

    python scripts/ready_codebooks.py imgret/codebooks/ready

The photographs are those of scikit-image, scikit-learn and Matplotlib that show what people take photos of, and whose licence allows it.
Each is taken whole and in seeded crops at other sizes, more of those that have few keypoints, so that no texture outweighs the rest.
"""

import importlib.util
import os
import sys
import tempfile

import numpy as np

from imgret.cli.main import main as imgret

PHOTOGRAPHS = {  # name -> (package, what its documentation says)
    "astronaut": ("skimage", "NASA, public domain"),
    "brick": ("skimage", "CC0Textures, CC0"),
    "camera": ("skimage", "Lav Varshney, CC0"),
    "chelsea": ("skimage", "Stéfan van der Walt, CC0"),
    "china": ("sklearn", "danielbuechele, CC BY 2.0"),
    "coffee": ("skimage", "Rachel Michetti, CC0"),
    "coins": ("skimage", "Brooklyn Museum, no known copyright restrictions"),
    "flower": ("sklearn", "vultilion, CC BY 2.0"),
    "grace_hopper": ("matplotlib", "US Navy, public domain"),
    "grass": ("skimage", "linolafett, CC0"),
    "gravel": ("skimage", "CC0Textures, CC0"),
    "rocket": ("skimage", "SpaceX, public domain"),
}
FOLDERS = {"skimage": "data", "sklearn": "datasets/images", "matplotlib": "mpl-data/sample_data"}
ROWS = 12_000  # descriptors of each photograph, about
VIEWS = 40  # of each photograph, at most
SIDE, SCALE = (0.3, 0.8), (0.5, 2.0)  # of a crop: its share of each side, how it is resized


def views(name, number):
    """The photograph, and seeded crops of it at other sizes, until there are descriptors enough: uint8 (h, w, 3)."""
    import cv2

    pixels, rng = photograph(name), np.random.default_rng([0, number])
    sift, view, count = cv2.SIFT_create(contrastThreshold=0.03), pixels, 0
    for _ in range(VIEWS):
        yield view
        count += min(2000, len(sift.detect(cv2.cvtColor(view, cv2.COLOR_RGB2GRAY), None)))
        if count >= ROWS:
            break
        (height, width), share, scale = pixels.shape[:2], rng.uniform(*SIDE), np.exp(rng.uniform(*np.log(SCALE)))
        tall, wide = round(height * share), round(width * share)
        top, left = rng.integers(0, height - tall + 1), rng.integers(0, width - wide + 1)
        size, how = (round(wide * scale), round(tall * scale)), cv2.INTER_AREA if scale < 1 else cv2.INTER_CUBIC
        view = cv2.resize(pixels[top : top + tall, left : left + wide], size, interpolation=how)


def photograph(name):
    """A photograph as (H, W, 3) uint8, RGB."""
    from PIL import Image

    package = PHOTOGRAPHS[name][0]
    folder = os.path.join(os.path.dirname(importlib.util.find_spec(package).origin), FOLDERS[package])
    path = next(path for ending in ("png", "jpg") if os.path.exists(path := os.path.join(folder, f"{name}.{ending}")))
    with Image.open(path) as image:
        return np.asarray(image.convert("RGB"))


def step(*arguments):
    """Run one step; ends this program where it fails."""
    try:
        imgret(list(arguments))
    except SystemExit as end:
        if end.code:
            raise


def learn(folder):
    """Write `rootsift-vlad64.h5` into a folder."""
    from PIL import Image

    folder = os.path.abspath(folder)
    with tempfile.TemporaryDirectory() as work:
        os.chdir(work)  # what a store records of its inputs is then no place of this machine
        os.mkdir("photos")
        for number, name in enumerate(PHOTOGRAPHS):
            for view, pixels in enumerate(views(name, number)):
                Image.fromarray(pixels).save(f"photos/{name}-{view}.png")
        step("extract", "photos", "-o", "features.h5")
        step("codebook", "features.h5", "-o", "rootsift-vlad64.h5")
        with open("rootsift-vlad64.h5", "rb") as made, open(os.path.join(folder, "rootsift-vlad64.h5"), "wb") as file:
            file.write(made.read())


if __name__ == "__main__":
    learn(sys.argv[1])
