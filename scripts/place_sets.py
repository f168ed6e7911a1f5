"""Which file of a set of places goes where: checks that, writes lists of its photos, and prints the commands, one after another.

python scripts/place_sets.py SET ROOT [--to WORK] [--weights FILE]

pitts30k, pitts250k   ROOT/000/*.jpg, ROOT/queries_real/000/*.jpg (or images/, queries/), ROOT/datasets/pitts30k_{train,val,test}.mat
tokyo247              ROOT/images/*/*.png (or without images/), ROOT/247query_v3/*.jpg (or query/), ROOT/datasets/tokyo247.mat
tokyotm               ROOT/images/..., ROOT/datasets/tokyoTM_{train,val}.mat
msls                  ROOT/train_val/CITY/{query,database}/images/KEY.jpg, and beside images postprocessed.csv, seq_info.csv, raw.csv
benchmark             ROOT/images/{train,val,test}/{database,queries}/@east@north@zone@...@.jpg (visual geo-localisation benchmark)

Nothing is downloaded. A split whose files are not there is left out. Train on the one called train; others are evaluated.
"""

import argparse
import os
import shlex
import sys

from imgret.endings import picture, readable
from imgret.errors import ImgretError
from imgret.formats.groundtruth import GALLERY, QUERY
from imgret.formats.places import in_names
from imgret.formats.placesets import read_places

SPLITS = ("train", "val", "test")
FILES = {  # of each set, its splits and what says where photos were taken, below its folder
    "pitts30k": {split: f"datasets/pitts30k_{split}.mat" for split in SPLITS},
    "pitts250k": {split: f"datasets/pitts250k_{split}.mat" for split in SPLITS},
    "tokyo247": {"test": "datasets/tokyo247.mat"},
    "tokyotm": {split: f"datasets/tokyoTM_{split}.mat" for split in SPLITS[:2]},
    "msls": {"train": "train_val", "cph": "train_val/cph", "sf": "train_val/sf"},
    "benchmark": {split: f"images/{split}" for split in SPLITS},
}
JUDGES = ("train_val/cph/", "train_val/sf/")  # cities of MSLS that are not trained on


def photos_below(root):
    """Names of all photos below a folder, as `imgret extract --root` has them: sorted list of bytes."""
    found = []
    for here, _, files in os.walk(root):
        found += [os.fsencode(os.path.relpath(os.path.join(here, file), root)) for file in files if readable(picture(os.fsencode(file)))]
    return sorted(found)


def sides_of(kind, split, place, root, names):
    """Photos of the database, and queries, of a split: two lists of bytes."""
    if kind == "benchmark":
        names = [name for name in names if name.startswith(os.fsencode(place) + b"/")]
        found = in_names(names).of(names)
    else:
        found = read_places(os.path.join(root, place)).of(names)
        if kind == "msls" and split == "train":
            names = [name for name in names if not name.startswith(tuple(map(os.fsencode, JUDGES)))]
    return tuple([name for name in names if name in found and found[name].role & role] for role in (GALLERY, QUERY))


def commands_of(kind, split, truth, lists, given):
    """The commands of a split: list of lists of words."""
    root, work = given.root, given.to
    said = [] if kind == "benchmark" else ["--truth", truth]
    if split == "train":
        return [
            ["imgret", "train", "--list", lists["database"], "--list", lists["queries"], "--root", root]
            + ["--truth", "names" if kind == "benchmark" else truth, "-m", "sfrs", "-o", os.path.join(work, "net.safetensors")]
            + ["--init", given.weights, "--set", "model=vgg16"]
        ]
    path = {name: os.path.join(work, f"{split}.{name}.h5") for name in ("database", "queries", "index", "ranking")}
    network = os.path.join(work, "net.safetensors")
    extract = [
        ["imgret", "extract", "--list", lists[side], "--root", root, "-o", path[side], "-m", "cnn", "--set", f"weights={network}"]
        for side in ("database", "queries")
    ]
    return [
        *extract,
        ["imgret", "index", path["database"], "-o", path["index"], "-m", "flat"],
        ["imgret", "search", path["index"], path["queries"], "-k", "100", "-o", path["ranking"]],
        ["imgret", "evaluate", path["ranking"], "--protocol", "places", *said],
    ]


def main(arguments=None):
    """The command line; returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("set", choices=tuple(FILES))
    parser.add_argument("root", metavar="ROOT", help="the folder of the set")
    parser.add_argument("--to", default=".", metavar="WORK", help="where lists are written and commands write  [here]")
    parser.add_argument("--weights", default="vgg16.pth", metavar="FILE", help="what training starts from  [vgg16.pth]")
    given = parser.parse_args(arguments)
    there = {split: place for split, place in FILES[given.set].items() if os.path.exists(os.path.join(given.root, place))}
    if not there:
        missing = ", ".join(FILES[given.set].values())
        print(f"place_sets.py: {given.root} has none of {missing}: see place_sets.py --help for what lies where", file=sys.stderr)
        return 1
    os.makedirs(given.to, exist_ok=True)
    names = photos_below(given.root)
    try:
        for split, place in there.items():
            sides = dict(zip(("database", "queries"), sides_of(given.set, split, place, given.root, names), strict=True))
            if not any(sides.values()) and len(there) > 1:
                continue
            lists = {side: os.path.join(given.to, f"{split}.{side}.txt") for side in sides}
            for side, some in sides.items():
                if not some:
                    raise ImgretError(f"{given.root} has no photo of the {side} of {place}: see place_sets.py --help for what lies where")
                with open(lists[side], "wb") as file:
                    file.writelines(os.path.join(os.fsencode(given.root), name) + b"\n" for name in some)
            print(f"# {split}: {len(sides['database'])} photos of the database, {len(sides['queries'])} queries")
            for words in commands_of(given.set, split, os.path.join(given.root, place), lists, given):
                print(shlex.join(words))
    except ImgretError as error:
        print(f"place_sets.py: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
