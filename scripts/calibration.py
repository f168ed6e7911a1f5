"""How often `search` is right where it says "sure" or "likely", set by set and method by method.

Every query of a set is judged against every photo of a gallery: the set's own photos, alone and with the 500 distractors. What matches is
what shares a group; the query itself, and photos that only ask, do not count. Codebooks are learned on the distractors alone, projections
and quantisers also on crops of them, as by scripts/table.py, whose files are taken where they are. The sets in train/ are those that the
levels were chosen on; the four in photos/ only confirm them. `copies` are the distractors, made smaller, cut and recompressed: they ask
for what they are made of.

    IMGRET_TEST_DATA=/path/to/data python scripts/calibration.py
"""

import argparse
import csv
import io
import os
from pathlib import Path

import numpy as np
from PIL import Image
from table import CROPS_PER_PHOTO, SETS, TRAIN, Runner, changed, config

LEARNED_ON = ("tower_places", "street_gps", "classes49")
NEAR = 50  # metres within which places in train/ match
COPIES = "copies"
MOST_PHOTOS = 700  # of a set in train/, evenly spread over its names


def methods(data):
    """Name -> tables of a config."""
    weights = str(data / "weights" / "mobilenet_v2_imagenet.pth")
    network = {"model": "mobilenet_v2", "weights": weights}
    return {
        "vlad64": config("rootsift-vlad64"),
        "vlad256": config("rootsift-vlad256"),
        "fisher64": config("rootsift-fisher64"),
        "vlad-pca128": config("vlad-pca128"),
        "pq20": config("vlad-pca128-pq20"),
        "gem": changed(config("cnn-gem"), gem={"set": network}),
    }


class Sets(Runner):
    """The files of all sets, in train/ too, and copies of the distractors."""

    def __init__(self, data, work, crops):
        super().__init__(data / "photos", work, crops)
        self.train, self.copies = data / "train", work / COPIES
        make_copies(self.photos / TRAIN / "images", self.copies)

    def listed(self, dataset):
        """The photos of a set, as arguments of `extract`."""
        if dataset == COPIES:
            return [self.copies]
        if dataset not in LEARNED_ON:
            return super().listed(dataset)
        photos = sorted((self.train / dataset / "images").iterdir())
        return photos[:: -(-len(photos) // MOST_PHOTOS)]

    def index(self, tables, datasets):
        """An index of several sets, by the table's method."""
        name = next(name for name, table in tables.items() if table["run"] == "index")
        return self.output(tables, name, datasets[0], others=tuple(datasets[1:]))


def make_copies(photos, folder):
    """A copy of every distractor: half to all of its size, up to a tenth of each side cut off, JPEG quality 40 to 90."""
    folder.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(0)
    for path in sorted(photos.iterdir()):
        cut, scale, quality = rng.uniform(0, 0.1, 2), rng.uniform(0.5, 1), int(rng.integers(40, 91))
        out = folder / path.name
        if out.exists():
            continue
        with Image.open(path) as image:
            image = image.convert("RGB")
        image = image.crop((int(cut[0] * image.width), int(cut[1] * image.height), image.width, image.height))
        image = image.resize((int(scale * image.width), int(scale * image.height)), Image.Resampling.LANCZOS)
        held = io.BytesIO()
        image.save(held, "JPEG", quality=quality)
        out.write_bytes(held.getvalue())


class Truth:
    """What matches in a set: groups, or places near each other."""

    def __init__(self, data, dataset):
        folder = data / ("train" if dataset in LEARNED_ON else "photos") / dataset
        path = folder / "groundtruth.csv"
        with open(path if path.exists() else folder / "places.csv", newline="", encoding="utf-8") as file:
            rows = {row["image"]: row for row in csv.DictReader(file)}
        self.groups = {name: set(filter(None, row["group"].split(";"))) for name, row in rows.items() if "group" in row}
        self.roles = {name: row.get("role", "query+gallery") for name, row in rows.items()}
        self.places = {name: np.array([float(row["utm_east"]), float(row["utm_north"])]) for name, row in rows.items() if "utm_east" in row}

    def asks(self, name):
        """Whether a photo is a query."""
        return "query" in self.roles.get(name, "")

    def counts(self, name):
        """Whether a photo of the gallery is judged."""
        return self.roles.get(name, "distractor") != "query"

    def match(self, first, second):
        """Whether two photos match."""
        if self.places:
            known = first in self.places and second in self.places
            return bool(known and np.linalg.norm(self.places[first] - self.places[second]) < NEAR)
        return bool(self.groups.get(first, set()) & self.groups.get(second, set()))


class CopiesTruth:
    """A copy matches the photo of its name."""

    asks = counts = staticmethod(lambda name: True)
    match = staticmethod(lambda first, second: first == second)


def judged(index, queries, truth):
    """Level, E and whether it matches, of every pair that counts: three arrays."""
    from imgret.inputs.gallery import Gallery
    from imgret.store.reader import Store

    gallery, found = Gallery(os.fspath(index)), []
    names = [os.path.basename(os.fsdecode(name)) for name in gallery.names]
    with Store(os.fspath(queries)) as store:
        asking = [os.path.basename(os.fsdecode(name)) for name in store.texts("names")]
        rows = [row for row, name in enumerate(asking) if truth.asks(name)]
        for start in range(0, len(rows), 64):
            some = rows[start : start + 64]
            vectors = store.read("vectors")[some].astype(np.float32)
            scores, ids = gallery.search(vectors, len(names))
            levels, expected = gallery.chance.judge(gallery.chance.of_queries(vectors), scores, ids)
            for row, best, level, e in zip(some, ids, levels, expected, strict=True):
                own = truth is not CopiesTruth and asking[row]
                keep = [i for i, photo in enumerate(best) if photo >= 0 and names[photo] != own and truth.counts(names[photo])]
                match = [truth.match(asking[row], names[best[i]]) for i in keep]
                found.append(np.stack([level[keep], e[keep], match]))
    gallery.close()
    return np.concatenate(found, axis=1), len(rows)


def line(cells):
    """A row of the table."""
    print("| " + " | ".join(map(str, cells)) + " |", flush=True)


def row(found, queries):
    """Pairs that match; of each level: how many pairs, which part of them matches, and which part of what matches they are."""
    level, _, match = found
    cells = [queries, int(match.sum())]
    for which in (2, 1):
        called = level == which
        right = int(match[called].sum())
        cells += [int(called.sum()), f"{right / called.sum():.3f}" if called.any() else "–", f"{right / max(1, match.sum()):.3f}"]
    return cells


def main():
    """Print the table in Markdown."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--work", type=Path, default=Path("demo/table"), help="where files are kept: those of scripts/table.py are taken")
    parser.add_argument("--crops", type=int, default=CROPS_PER_PHOTO, help="per distractor, to learn projections and quantisers on")
    parser.add_argument("--sets", help="only these, with commas between them")
    parser.add_argument("--methods", help="only these")
    parser.add_argument("--dump", type=Path, help="keep levels, E and matches of all pairs here, as .npy")
    arguments = parser.parse_args()
    if not os.environ.get("IMGRET_TEST_DATA"):
        raise SystemExit("set IMGRET_TEST_DATA to the folder with photos/ and train/")
    data = Path(os.environ["IMGRET_TEST_DATA"])
    arguments.work.mkdir(parents=True, exist_ok=True)
    runner = Sets(data, arguments.work, arguments.crops)
    wanted = arguments.sets.split(",") if arguments.sets else [*LEARNED_ON, COPIES, *SETS]
    line(["set", "distractors", "method", "queries", "matching", "sure", "right", "of all", "likely", "right", "of all"])
    line(["---"] * 11)
    for method, tables in methods(data).items():
        if arguments.methods and method not in arguments.methods.split(","):
            continue
        vectors = tables[next(table for table in tables.values() if table["run"] == "index")["inputs"][0]]
        vectors = next(name for name, table in tables.items() if table is vectors)
        for dataset in wanted:
            galleries = ([TRAIN],) if dataset == COPIES else ([dataset], [dataset, TRAIN])
            truth = CopiesTruth if dataset == COPIES else Truth(data, dataset)
            for gallery in galleries:
                found, queries = judged(runner.index(tables, gallery), runner.output(tables, vectors, dataset), truth)
                line([dataset, "with" if TRAIN in gallery else "", method, *row(found, queries)])
                if arguments.dump:
                    np.save(arguments.dump / f"{method}-{'-'.join([dataset, *gallery[1:]])}.npy", found)


if __name__ == "__main__":
    main()
