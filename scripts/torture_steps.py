"""What `torture.py` runs: every step on small inputs, and what it should make of them."""

import csv
import dataclasses
import hashlib
import json
import os
import pathlib
import subprocess
import sys
import tempfile

import h5py
import numpy as np
from PIL import Image

ROOT = pathlib.Path(__file__).resolve().parent.parent
PHOTOS = 18
# how many stores of the chain each takes: features, words, vlad, index, ranking
STEPS = {"extract": 0, "codebook": 1, "encode": 2, "pca": 3, "index": 3, "search": 4, "evaluate": 5, "import": 0, "export": 3}
# a codebook keeps its state after every iteration, so that there is something to lose
OFTEN = """
from imgret.runs import stopping
stopping.stand()
import imgret.stages.codebook as codebook
codebook.CHECKPOINT_SECONDS = 0
from imgret.__main__ import main
main()
"""


@dataclasses.dataclass(frozen=True)
class Step:
    """A command, and the name of what it makes; `beside` are more files, by option."""

    arguments: tuple
    out: str = "out.h5"
    option: str = "-o"
    beside: dict = dataclasses.field(default_factory=dict)
    workers: bool = False

    def outputs(self, folder):
        """Paths of all that it makes."""
        return [folder / name for name in (self.out, *self.beside.values())]

    def command(self, folder, *more):
        """The command line that makes it in a folder."""
        program = ["-c", OFTEN] if self.arguments[0] == "codebook" else ["-m", "imgret"]
        options = [self.option, folder / self.out, *(part for option, name in self.beside.items() for part in (option, folder / name))]
        return list(map(str, [sys.executable, *program, *self.arguments, *options, *more]))


def prepare(folder, wanted):
    """Small photos, and all that the wanted steps take, and old.h5, a store of another kind; returns these steps by name."""
    rng = np.random.default_rng(0)
    photos, truth = folder / "photos", folder / "truth.csv"
    photos.mkdir()
    names, coarse = [f"{number:02d}.png" for number in range(PHOTOS)], None
    for number, name in enumerate(names):
        coarse = rng.integers(0, 256, (12, 16), dtype=np.uint8) if number % 3 == 0 else np.roll(coarse, number, 1)
        Image.fromarray(coarse).resize((96, 72), Image.Resampling.BICUBIC).save(photos / name)
    with open(truth, "w", newline="", encoding="ascii") as file:
        csv.writer(file).writerows([("image", "group"), *((name, number // 3) for number, name in enumerate(names))])
    np.save(folder / "rows.npy", rng.normal(size=(PHOTOS, 8)).astype(np.float32))
    (folder / "names.txt").write_text("\n".join(names))
    made = {name: folder / f"{name}.h5" for name in ("features", "words", "vlad", "index", "ranking")}
    steps = {
        "extract": Step(("extract", photos, "-j2"), workers=True),
        "codebook": Step(("codebook", made["features"], "-m", "kmeans", "--size", "4")),
        "encode": Step(("encode", made["features"], "-c", made["words"], "-j2"), workers=True),
        "pca": Step(("codebook", made["vlad"], "-m", "pca", "--size", "4")),
        "index": Step(("index", made["vlad"], "-m", "hnsw")),
        "search": Step(("search", made["index"], photos, "-k", "3", "-j2")),
        "evaluate": Step(
            ("evaluate", made["ranking"], "--protocol", "groups", "--truth", truth, "--photos", photos),
            *("queries.tsv", "--per-query"),
            {"--curve": "curve.tsv", "--qrels": "qrels.txt", "--html": "page.html"},
        ),
        "import": Step(("import", folder / "rows.npy", "--names", folder / "names.txt")),
        "export": Step(("export", made["vlad"]), "out.npy"),
    }
    chain = (
        ("features", steps["extract"]),
        ("words", steps["codebook"]),
        ("vlad", steps["encode"]),
        ("index", steps["index"]),
        ("ranking", Step(("search", made["index"], made["vlad"], "-k", "5"))),
    )
    older = Step(("import", folder / "rows.npy", "--names", folder / "names.txt", "--space", "older"))
    for name, step in (("old", older), *chain[: max(STEPS[name] for name in wanted)]):
        with tempfile.TemporaryDirectory(dir=folder) as scratch:
            subprocess.run(step.command(pathlib.Path(scratch)), env=environment(), check=True, capture_output=True)
            os.rename(pathlib.Path(scratch, step.out), folder / f"{name}.h5")
    return {name: steps[name] for name in wanted}


def environment(**more):
    """Of a command: this source tree."""
    return dict(os.environ, PYTHONPATH=str(ROOT)) | more


def digest(path):
    """What an output holds, less when it was made; None if it is not there."""
    if not path.exists():
        return None
    if path.suffix != ".h5":
        return hashlib.sha256(path.read_bytes()).hexdigest()
    found = hashlib.sha256()

    def add(name, item):
        if name == "meta/checksums":  # with one of the attributes, of which one says when
            found.update(repr(sorted(pair for pair in json.loads(item[()].tobytes()).items() if pair[0] != "#")).encode())
        elif isinstance(item, h5py.Dataset):
            found.update(repr((name, item.dtype.str, item.shape)).encode() + np.asarray(item[()]).tobytes())

    with h5py.File(path, "r", locking=False) as file:
        file.visititems(add)
        found.update(repr([(name, str(file.attrs[name])) for name in sorted(file.attrs) if name != "created"]).encode())
    return found.hexdigest()
