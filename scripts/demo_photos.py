"""Photos for the demo without a download: scikit-image's bundled photographs, each turned into a group of changed copies."""

import csv
import hashlib
import json
import os
import shutil

import numpy as np

# What scikit-image's package itself holds, without its downloader. Codebooks are learned on one half and scored on the other.
LEARN = ("brick", "camera", "cell", "clock_motion", "coffee", "grass", "gravel", "ihc", "moon", "page")
SCORE = ("astronaut", "chelsea", "coins", "hubble_deep_field", "motorcycle_left", "retina", "rocket", "text")
PAIRS = {"motorcycle_left": "motorcycle_right"}  # a second photograph of the same thing, from another place
COPIES = 8
QUERY = "astronaut"
LONGEST = 640  # pixels


def make(folder, seed=0):
    """Write the demo's photos, unless they are there already.

        FOLDER/learn/           the photographs to learn from, unchanged
        FOLDER/photos/          the groups
        FOLDER/groundtruth.csv  image,group
        FOLDER/query.jpg        one more copy, of QUERY, that is not among the photos

    Parameters
    ----------
    folder : str
    seed : int

    Returns
    -------
    bool
        Whether anything was written.
    """
    with open(__file__, "rb") as file:
        identity = {"made_by": hashlib.sha256(file.read()).hexdigest(), "seed": seed}
    note = os.path.join(folder, "photos.json")
    if _read(note) == identity:
        return False
    shutil.rmtree(os.path.join(folder, "learn"), ignore_errors=True)
    shutil.rmtree(os.path.join(folder, "photos"), ignore_errors=True)
    for part in ("learn", "photos"):
        os.makedirs(os.path.join(folder, part))
    for name in LEARN:
        _save(os.path.join(folder, "learn", f"{name}.png"), load(name))
    rows = []
    for number, name in enumerate(SCORE):
        for file, pixels, quality in group(name, load(name), np.random.default_rng([seed, number])):
            _save(os.path.join(folder, "photos", file), pixels, quality)
            rows.append((file, name))
    with open(os.path.join(folder, "groundtruth.csv"), "w", newline="", encoding="ascii") as file:
        csv.writer(file, lineterminator="\n").writerows([("image", "group"), *rows])
    _save(os.path.join(folder, "query.jpg"), change(load(QUERY), np.random.default_rng([seed, len(SCORE)])), 60)
    with open(note, "w", encoding="ascii") as file:  # last: what is half made is made again
        json.dump(identity, file)
    return True


def load(name):
    """A bundled photograph as (H, W, 3) uint8, RGB, its longest side at most `LONGEST` pixels.

    Raises
    ------
    FileNotFoundError
        If this scikit-image does not hold it.
    """
    import cv2
    import skimage
    from PIL import Image

    for extension in (".png", ".jpg"):
        path = os.path.join(os.path.dirname(skimage.__file__), "data", name + extension)
        if os.path.exists(path):
            with Image.open(path) as image:
                pixels = np.asarray(image.convert("RGB"))
            height, width = pixels.shape[:2]
            scale = min(1, LONGEST / max(height, width))
            return cv2.resize(pixels, (round(width * scale), round(height * scale)), interpolation=cv2.INTER_AREA)
    raise FileNotFoundError(f"this scikit-image has no photograph '{name}'")


def group(name, pixels, rng):
    """Yield (file name, pixels, JPEG quality): the photograph, its second view where there is one, and changed copies."""
    yield f"{name}-0.jpg", pixels, 95
    if name in PAIRS:
        yield f"{name}-view.jpg", load(PAIRS[name]), 90
    for copy in range(1, COPIES + 1):
        yield f"{name}-{copy}.jpg", change(pixels, rng), int(rng.integers(25, 80))


def change(pixels, rng):
    """Another photo of the same thing: seen from elsewhere, in another light, by a worse camera.

    One projective map (a crop of 35 to 80 % of each side, a rotation of up to 45 degrees, a perspective, a scale) is followed by a
    change of exposure, contrast and colour, a blur and noise.
    """
    import cv2

    height, width = pixels.shape[:2]
    share = rng.uniform(0.35, 0.8)
    half = share * np.array([width, height]) / 2
    centre = np.array([rng.uniform(half[0], width - half[0]), rng.uniform(half[1], height - half[1])])
    angle = np.deg2rad(rng.uniform(-45, 45))
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    corners = np.array([[-1, -1], [1, -1], [1, 1], [-1, 1]]) * half
    corners = corners * rng.uniform(0.75, 1.0, size=(4, 2)) @ turn.T + centre
    longest = rng.uniform(220, 400)
    size = np.maximum(64, np.round(half / half.max() * longest)).astype(int)
    target = np.array([[0, 0], [size[0], 0], [size[0], size[1]], [0, size[1]]], np.float32)
    matrix = cv2.getPerspectiveTransform(corners.astype(np.float32), target)
    view = cv2.warpPerspective(pixels, matrix, tuple(size.tolist()), flags=cv2.INTER_AREA, borderMode=cv2.BORDER_REFLECT_101)
    light = (view / 255.0) ** rng.uniform(0.6, 1.7) * rng.uniform(0.6, 1.15) * rng.uniform(0.85, 1.15, size=3)
    light = cv2.GaussianBlur(light, (0, 0), rng.uniform(0.3, 1.8))
    light += rng.normal(scale=rng.uniform(0.005, 0.04), size=light.shape)
    return np.clip(np.round(light * 255), 0, 255).astype(np.uint8)


def _save(path, pixels, quality=95):
    from PIL import Image

    Image.fromarray(pixels).save(path, quality=quality)


def _read(path):
    try:
        with open(path, encoding="ascii") as file:
            return json.load(file)
    except (OSError, ValueError):
        return None
