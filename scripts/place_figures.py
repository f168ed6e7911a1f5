"""What the ways to train for places are worth: scores before and after them, on photos that training never saw.

    place_figures.py EXPERIMENT [--seeds N] [--set NAME=VALUE]...

`netvlad`: NetVLAD of a middle layer, trained on the 500 distractors without labels; the four sets of photos/ judge by mean average
precision, as it is and PCA-whitened to 256. `attention`: a map of what counts over a network that stays as it is, trained with groups of
three of these sets and judged by the fourth. `tower`: the floors of train/tower_places, half of them drawn by the seed to train on, the
others judge by recall within 25 metres. `street`: the same of train/street_gps by squares of a kilometre; so few photos show no gain.
`train_figures.py left-out -m sare` has what is gained with GeM and R-MAC. On a free core, roughly: a quarter of an hour, half an hour, and
ten minutes for each seed of the last two. Needs IMGRET_TEST_DATA.
"""

import argparse
import csv
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
from train_figures import SETS, SMALL, imgret, left_out_photos, sets, trained, with_distractors

from imgret.evaluation import PROTOCOLS
from imgret.networks.safetensors_files import read, read_header, write
from imgret.registry import load
from imgret.store.reader import Store
from imgret.training.validation import Validation

HEAD = {"model": "mobilenet_v2", "layer": "features.13", "pool": "netvlad", "max_size": 320, "crop_size": 160}
HEAD |= {"freeze": "features.13", "rate": "2e-4"}  # only the head learns
WAYS = {
    "netvlad": ("netvlad", {}),
    "sare joint": ("sare", {"treatment": "joint"}),
    "sare independent": ("sare", {"treatment": "independent"}),
    "sfrs": ("sfrs", {"generations": 2}),
}
NOTHING = {"epochs": 1, "rate": "1e-12"}  # a training that changes nothing: the head as it begins
SHARP = 1000.0  # factor of an assignment's weights that leaves each column to one word
SHORT = 256  # dimensions after PCA


def learned(photos, out, method, settings, given, *truth):
    """The network that a training gives at its end."""
    words = [part for name, value in (dict(settings) | own(given)).items() for part in ("--set", f"{name}={value}")]
    imgret("train", *photos, "-m", method, "-o", out, *words, *truth, "--overwrite")
    return out


def own(given):
    """What was set on the command line."""
    return dict(setting.split("=", 1) for setting in given.settings)


class Four:
    """The four sets and the distractors, described together, judged each by itself."""

    def __init__(self, data, work):
        self._data, self._work, self._photos, self._of = data, work, work / "all", {}
        self._photos.mkdir()
        for name in (*SETS, "distractors"):
            for image in (data / "photos" / name / "images").iterdir():
                (self._photos / image.name).symlink_to(image)
                self._of[os.fsencode(image.name)] = name

    def row(self, name, **settings):
        """Print what `extract -m cnn` with some settings is worth, as it is and PCA-whitened on the distractors."""
        vectors, learns, words, short = (self._work / f"{part}.h5" for part in ("vectors", "learns", "pca", "short"))
        imgret("extract", self._photos, "-o", vectors, "-m", "cnn", "--overwrite", *sets(settings))
        imgret("extract", self._data / "photos/distractors/images", "-o", learns, "-m", "cnn", "--overwrite", *sets(settings))
        imgret("codebook", learns, "-o", words, "-m", "pca", "--size", SHORT, "--set", "whiten=true", "--overwrite")
        imgret("encode", vectors, "-c", words, "-o", short, "--overwrite")
        for what, store in (("", vectors), (f" to {SHORT}", short)):
            found = self._judged(store)
            text = "  ".join(f"{value:.4f}" for value in (*found, np.mean(found)))
            print(f"{name + what:32}  {text}", flush=True)

    def _judged(self, path):
        with Store(str(path)) as store:
            names, vectors = [bytes(name) for name in store.texts("names")], store.read("vectors")
        found = []
        for name in SETS:
            rows = [row for row, photo in enumerate(names) if self._of[photo] in (name, "distractors")]
            judge = load(PROTOCOLS, "groups", "protocol")()
            truth = str(self._data / "photos" / name / "groundtruth.csv")
            found.append(Validation(judge, [names[row] for row in rows], truth).score(vectors[rows])[0])
        return found


def sharpened(net, out):
    """The same network with an assignment to the nearest word alone: VLAD of the same words."""
    arrays, metadata = read(str(net)), read_header(str(net)).metadata
    for name in ("head.netvlad.weight", "head.netvlad.bias"):
        arrays[name] = arrays[name] * np.float32(SHARP)
    write(str(out), arrays, metadata)
    return out


def netvlad(data, work, weights, given):
    """Rows of the four sets; see above."""
    four, photos = Four(data, work), [data / "photos/distractors/images"]
    print(f"{'':32}  {'  '.join(name[-6:] for name in (*SETS, 'mean'))}")
    settings = HEAD | {"weights": weights, "holdout": 0}
    begun = learned(photos, work / "begun.safetensors", "sare", settings | NOTHING, argparse.Namespace(settings=[]))
    four.row("VLAD of the same words", weights=sharpened(begun, work / "hard.safetensors"))
    four.row("netvlad as it begins", weights=begun)
    for name, (method, more) in WAYS.items():
        four.row(name, weights=learned(photos, work / "net.safetensors", method, settings | more, given))


def attention(data, work, weights, given):
    """What a map of what counts gains on the set left out, over GeM."""
    settings = {"weights": weights, "freeze": "features.18", "layer": "features.18", "pool": "attention"}
    given.method, gains = "sare", []
    for name in SETS:
        photos, truth = left_out_photos(data, work, name)
        net = trained(photos, work / f"net-{name}.safetensors", given, settings, *truth)
        judged = with_distractors(data, work, name)
        before = judged.figures(weights=weights, model="mobilenet_v2", max_size=SMALL["max_size"], pool="gem")["map"]
        after = judged.figures(weights=net)["map"]
        gains.append(100 * (after - before))
        print(f"{name:32}  mAP {before:.4f}  {after:.4f}  {gains[-1]:+.2f}", flush=True)
    print(f"{'mean':32}  {np.mean(gains):+.2f} points")


class Side:
    """Photos of a half of the regions, as links in a folder, and their positions."""

    def __init__(self, folder, images, rows):
        self.photos, self.truth = folder / "photos", folder / "places.csv"
        self.photos.mkdir(parents=True)
        for name, *_ in rows:
            (self.photos / name).symlink_to(images / name)
        with open(self.truth, "w", newline="") as file:
            csv.writer(file).writerows([("image", "east", "north"), *rows])

    def row(self, name, **settings):
        """Print recall within 25 metres, the interval of the first beside it."""
        vectors, index, run = (self.photos.parent / f"{part}.h5" for part in ("vectors", "index", "run"))
        imgret("extract", self.photos, "-o", vectors, "-m", "cnn", "--overwrite", *sets(settings))
        imgret("index", vectors, "-o", index, "--overwrite")
        imgret("search", index, vectors, "-k", 100, "-o", run, "--overwrite")
        words = ["evaluate", run, "--protocol", "places", "--truth", self.truth, "--set", "at=1,5,10", "--json", "-q"]
        answer = subprocess.run([sys.executable, "-m", "imgret", *map(str, words)], check=True, capture_output=True, text=True)
        told = json.loads(answer.stdout)["runs"][0]
        low, high = told["intervals"]["recall@1"]
        text = "  ".join(f"{told['measures'][f'recall@{k}']:.4f}" for k in (1, 5, 10))
        print(f"{name:32}  {text}  ({low:.4f} to {high:.4f})", flush=True)


def of_places(images, truth, region):
    """An experiment by photos with positions: regions, of which `region` tells that of a row, are halved by the seed."""
    with open(truth, newline="") as file:
        rows = [(row["image"], row["utm_east"], row["utm_north"]) for row in csv.DictReader(file)]
    regions = sorted({region(row) for row in rows})

    def judged(data, work, weights, given):
        settings = HEAD | {"weights": weights, "epochs": 2}
        for seed in range(given.seeds):
            mine = {regions[place] for place in np.random.default_rng(seed).permutation(len(regions))[: (len(regions) + 1) // 2]}
            one = Side(work / f"learn-{seed}", images, [row for row in rows if region(row) in mine])
            other = Side(work / f"judge-{seed}", images, [row for row in rows if region(row) not in mine])
            print(f"seed {seed}                               R@1     R@5     R@10")
            other.row("start, GeM", weights=weights, model="mobilenet_v2", max_size=320, pool="gem")
            truth = ("--truth", one.truth, "--seed", seed)
            for name, (method, more) in {"netvlad as it begins": ("sare", NOTHING), **WAYS}.items():
                extra = argparse.Namespace(settings=[]) if more is NOTHING else given
                net = learned([one.photos], work / "net.safetensors", method, settings | {"holdout": 0} | more, extra, *truth)
                other.row(name, weights=net)

    return judged


def experiments(data):
    """By name."""
    tower, street = data / "train/tower_places", data / "train/street_gps"
    return {
        "netvlad": netvlad,
        "attention": attention,
        "tower": of_places(tower / "images", tower / "places.csv", lambda row: row[0].split("_")[0]),
        "street": of_places(street / "images", street / "places.csv", lambda row: tuple(float(each) // 1000 for each in row[1:])),
    }


def main():
    """The command line."""
    data = Path(os.environ["IMGRET_TEST_DATA"])
    known = experiments(data)
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("experiment", choices=known)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--set", dest="settings", action="append", default=[], metavar="NAME=VALUE")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as work:
        known[given.experiment](data, Path(work), data / "weights" / "mobilenet_v2_imagenet.pth", given)


if __name__ == "__main__":
    main()
