"""What training is worth: scores before and after it, on photos and groups that training never saw, beside those that it saw.

    train_figures.py EXPERIMENT [--seeds N] [-m METHOD] [--set NAME=VALUE]...

`classes`: half of the classes of train/classes49, drawn by the seed, to train on, the others to judge. `places`: the same of the places of
train/tower_places, with the truth, and with photos that `rerank -m spatial` has verified in its place. `views`: the 500 distractors without
labels; all sets of photos/ judge, with GeM and with R-MAC. `left-out`: three of these sets and the distractors; the fourth judges.
Needs IMGRET_TEST_DATA.
"""

import argparse
import csv
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np

from imgret.evaluation import PROTOCOLS
from imgret.registry import load
from imgret.runs.networkfiles import NetworkFile
from imgret.store.reader import Store
from imgret.training.validation import Validation

FIGURES = ("first.right", "map")  # recall at 1, with its threshold beside it
START = {"model": "mobilenet_v2", "pool": "gem", "max_size": "224", "crop_size": "160"}
DESCRIBES = ("model", "pool", "p", "max_size", "resize")  # of these, what extract is told of the start too


def imgret(*words):
    """Run a command quietly; its answer is not looked at."""
    subprocess.run([sys.executable, "-m", "imgret", *map(str, words), "-q"], check=True)


def sets(settings):
    """As options."""
    return [part for name, value in settings.items() for part in ("--set", f"{name}={value}")]


class Half:
    """Photos of some classes, as links in a folder, and their truth."""

    def __init__(self, folder, images, rows):
        self.photos, self.truth = folder / "photos", folder / "groups.csv"
        self.photos.mkdir(parents=True)
        for name, _ in rows:
            (self.photos / name).symlink_to(images / name)
        with open(self.truth, "w", newline="") as file:
            csv.writer(file).writerows([("image", "group"), *rows])

    def figures(self, **settings):
        """What `extract -m cnn` with some settings is worth: a dict, by the protocol `groups`."""
        out = self.photos.parent / "vectors.h5"
        imgret("extract", self.photos, "-o", out, "-m", "cnn", "--overwrite", *sets(settings))
        with Store(str(out)) as store:
            names, vectors = store.texts("names"), store.read("vectors")
        return Validation(load(PROTOCOLS, "groups", "protocol")(), names, str(self.truth)).score(vectors)[1]


def halves(data, work, seeds):
    """Yield (seed, half to train on, half to judge by) of a set, whose groups are divided by the seed."""
    with open(data / "groundtruth.csv", newline="") as file:
        rows = [(row["image"], row["group"]) for row in csv.DictReader(file)]
    groups = sorted({group for _, group in rows})
    for seed in range(seeds):
        mine = set(np.random.default_rng(seed).permutation(groups)[: (len(groups) + 1) // 2].tolist())
        sides = {"learn": [row for row in rows if row[1] in mine], "judge": [row for row in rows if row[1] not in mine]}
        yield seed, *(Half(work / f"{side}-{seed}", data / "images", some) for side, some in sides.items())


def classes(data, work, weights, given):
    """Yield, for each seed, what was judged: {"unseen": (before, after), "seen": (before, after)}, each a dict of figures."""
    for seed, learned, judged in halves(data / "train" / "classes49", work, given.seeds):
        net = work / f"net-{seed}.safetensors"
        settings = START | {"weights": weights} | dict(setting.split("=", 1) for setting in given.settings)
        imgret("train", learned.photos, "--truth", learned.truth, "-m", given.method, "-o", net, "--seed", seed, *sets(settings))
        history = NetworkFile(str(net)).history
        seen = [
            {name.removeprefix("seen."): value for name, value in history["epochs"][epoch]["figures"].items() if name.startswith("seen.")}
            for epoch in (0, history["best"])
        ]
        before = judged.figures(weights=weights, **{name: settings[name] for name in DESCRIBES if name in settings})
        yield {"unseen": (before, judged.figures(weights=net)), "seen": tuple(seen)}


SETS = ("smvs_dvd", "smvs_landmarks", "mcv_paintings", "scenes")
SMALL = {"model": "mobilenet_v2", "max_size": 320, "crop_size": 160, "freeze": "features.13"}
POOLS = ("gem", "rmac")


def trained(photos, out, given, settings, *truth):
    """Train a network, as the experiment says, and otherwise as it is asked for."""
    settings = SMALL | settings | dict(setting.split("=", 1) for setting in given.settings)
    imgret("train", *photos, "-m", given.method, "-o", out, *sets(settings), *truth)
    return out


def places(data, work, weights, given):
    """Yield what was judged of unseen places, trained by the truth and by verified photos; see `classes`."""
    for seed, learned, judged in halves(data / "train" / "tower_places", work, given.seeds):
        settings = {"weights": weights, "seed": seed}
        before = judged.figures(weights=weights, model="mobilenet_v2", max_size=320, pool="gem")
        found = {}
        for side, truth in (("truth", learned.truth), ("pairs", verified(learned.photos, work / f"pairs-{seed}"))):
            net = trained([learned.photos], work / f"net-{side}-{seed}.safetensors", given, settings, "--truth", truth)
            found[side] = (before, judged.figures(weights=net))
        yield found


def verified(photos, work):
    """A ranking of photos among themselves, with the evidence of geometry."""
    work.mkdir()
    features, words, vectors, index, run, pairs = (work / f"{name}.h5" for name in ("f", "w", "v", "i", "r", "p"))
    imgret("extract", photos, "-o", features, "-m", "rootsift")
    imgret("codebook", features, "-o", words, "--size", 64)
    imgret("encode", features, "-c", words, "-o", vectors)
    imgret("index", vectors, "-o", index)
    imgret("search", index, vectors, "-k", 50, "-o", run)
    imgret("rerank", run, "-m", "spatial", "--features", features, "-o", pairs)
    return pairs


def with_distractors(data, work, name):
    """The photos of a set of photos/ beside the distractors, and its truth."""
    judged = Half(work / f"judge-{name}", data / "photos" / "distractors" / "images", [])
    for part in (name, "distractors"):
        for image in sorted((data / "photos" / part / "images").iterdir()):
            (judged.photos / image.name).symlink_to(image)
    judged.truth.write_bytes((data / "photos" / name / "groundtruth.csv").read_bytes())
    return judged


def compared(judged, weights, net):
    """What a trained network is worth beside what it was, by pool."""
    start = {"weights": weights, "model": "mobilenet_v2", "max_size": 320}
    return {pool: (judged.figures(**start, pool=pool), judged.figures(weights=net, pool=pool)) for pool in POOLS}


def views(data, work, weights, given):
    """Yield what is judged by each set, of a network that was trained on other photos without labels; see `classes`."""
    photos = data / "photos" / "distractors" / "images"
    net = trained([photos], work / "net.safetensors", given, {"weights": weights})
    for name in SETS:
        yield {f"{name} {pool}": pair for pool, pair in compared(with_distractors(data, work, name), weights, net).items()}


def left_out_photos(data, work, out):
    """Photos of all sets but one and the distractors, and the options that say their groups."""
    truth = work / f"without-{out}.csv"
    with open(truth, "w", newline="") as file:
        lines = csv.writer(file)
        lines.writerow(("image", "group"))
        for name in SETS:
            if name != out:
                with open(data / "photos" / name / "groundtruth.csv", newline="") as rows:
                    for row in csv.DictReader(rows):
                        groups = ";".join(f"{name}-{group}" for group in row["group"].split(";") if group)
                        lines.writerow((f"{name}/images/{row['image']}", groups))
    photos = [data / "photos" / name / "images" for name in (*SETS, "distractors") if name != out]
    return photos, ("--root", data / "photos", "--truth", truth)


def left_out(data, work, weights, given):
    """Yield what is judged by each set, of a network that was trained on the others; see `classes`."""
    for out in SETS:
        photos, truth = left_out_photos(data, work, out)
        net = trained(photos, work / f"net-{out}.safetensors", given, {"weights": weights, "pool": "gem"}, *truth)
        yield {f"{out} {pool}": pair for pool, pair in compared(with_distractors(data, work, out), weights, net).items()}


EXPERIMENTS = {"classes": classes, "places": places, "views": views, "left-out": left_out}


def show(results):
    """A line for each seed, and the mean gains."""
    print("      side                  R@1 before   after   gain   mAP before   after   gain   threshold")
    gains = {}
    for seed, sides in enumerate(results):
        for side, (before, after) in sides.items():
            cells = [(before[name], after[name], 100 * (after[name] - before[name])) for name in FIGURES]
            gains.setdefault(side, []).append([cell[2] for cell in cells])
            text = "   ".join(f"{one:10.4f}  {other:.4f}  {gain:+.2f}" for one, other, gain in cells)
            print(f"{seed:4d}  {side:20}  {text}   {after['first.threshold']:.4f}", flush=True)
    for side, each in gains.items():
        print(f"mean  {side:20}  R@1 {np.mean(each, axis=0)[0]:+.2f}, mAP {np.mean(each, axis=0)[1]:+.2f} points")


def main():
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("experiment", choices=EXPERIMENTS)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("-m", "--method", help="classification for classes, contrastive otherwise, if it is not given")
    parser.add_argument("--set", dest="settings", action="append", default=[], metavar="NAME=VALUE")
    given = parser.parse_args()
    given.method = given.method or ("classification" if given.experiment == "classes" else "contrastive")
    data = Path(os.environ["IMGRET_TEST_DATA"])
    with tempfile.TemporaryDirectory() as work:
        show(EXPERIMENTS[given.experiment](data, Path(work), data / "weights" / "mobilenet_v2_imagenet.pth", given))


if __name__ == "__main__":
    main()
