"""A new method is one file and one line: each is added to a copy of the package, and goes all the way from photos to scores."""

import json
import os
import shutil
import subprocess
import sys

import numpy as np
import pytest
from helpers import ROOT

from imgret.components import Component, Need
from imgret.store.reader import Store

EXTRACTOR = '''
"""Mean grey values around the points of a grid."""
import dataclasses
import numpy as np
from imgret import registry
from imgret.extractors.base import Extractor
from imgret.registry import SAMPLING, param


class Grid(Extractor):
    """Mean grey values."""

    name = "grid"
    dim = 16
    keypoint_columns = ("x", "y")

    @dataclasses.dataclass(frozen=True)
    class Params(registry.Params):
        max_size: int = param(64, "longest side", role=SAMPLING, minimum=8)

    def extract(self, photo):
        height, width = photo.pixels.shape
        places = [(y, x) for y in range(0, height - 8, 4) for x in range(0, width - 8, 4)]
        rows = [photo.pixels[y : y + 8, x : x + 8].reshape(4, 2, 4, 2).mean(axis=(1, 3)).ravel() for y, x in places]
        xy = np.array([(x + 3.5, y + 3.5) for y, x in places]).reshape(-1, 2)
        return self.local(xy, np.array(rows).reshape(-1, 16), photo)
'''

WITH_KEYPOINTS = '''
"""Where a photo's keypoints are, and how large."""
import dataclasses
import numpy as np
from imgret import registry
from imgret.encoders.base import Encoder
from imgret.registry import SAMPLING, param


class Spread(Encoder):
    """Mean place, as a share of the photo, and mean logarithm of the scale; no codebook."""

    name = "spread"
    dim = 3

    @dataclasses.dataclass(frozen=True)
    class Params(registry.Params):
        dtype: str = param("float32", "type", role=SAMPLING)

    def encode(self, features):
        share = features.keypoints[:, :2] / np.array(features.image_size, np.float32)
        assert features.descriptors.shape[0] == len(features) == len(features.column("scale"))
        vector = np.append(share.mean(axis=0), np.log(features.column("scale")).mean()).astype(np.float32)
        return vector / np.linalg.norm(vector)
'''

WITH_TWO = '''
"""Word counts beside the mean of projected descriptors."""
import dataclasses
import numpy as np
from imgret import registry
from imgret.components import Need
from imgret.encoders.base import Encoder
from imgret.registry import SAMPLING, param


class Both(Encoder):
    """Counts of words, and the mean in a projection."""

    name = "both"
    needs = (Need("projection", ("pca",), optional=True), Need("words", ("kmeans",)))

    @dataclasses.dataclass(frozen=True)
    class Params(registry.Params):
        dtype: str = param("float32", "type", role=SAMPLING)

    @property
    def dim(self):
        projection, words = self.codebooks
        return len(words.centroids_) + (0 if projection is None else len(projection.components_))

    def encode(self, features):
        projection, words = self.codebooks
        x = features.descriptors
        nearest = ((x[:, None] - words.centroids_) ** 2).sum(axis=2).argmin(axis=1)
        counts = np.bincount(nearest, minlength=len(words.centroids_)).astype(np.float32)
        vector = np.concatenate([counts / counts.sum(), [] if projection is None else projection.transform(x).mean(axis=0)])
        return (vector / np.linalg.norm(vector)).astype(self.params.dtype)
'''

OWN_COLUMNS = '''
"""Exact search in columns of its own."""
import dataclasses
import numpy as np
from imgret.components import Need
from imgret.indexes.base import Index, damage, taken
from imgret.errors import ImgretError


class Own(Index):
    """Vectors and their norms, as two columns; it is told of the words that its vectors were encoded with, where there are such."""

    name = "own"
    trains = False
    needs = (Need("words", ("kmeans",), optional=True),)

    def plan(self, dim, n_train, n):
        self._dim, self._rows = dim, []
        return f"{n} rows in two columns, of {0 if self.codebook is None else len(self.codebook.centroids_)} words"

    def add(self, x):
        self._rows.append(np.asarray(x, np.float32))

    @property
    def size(self):
        return sum(map(len, self._rows))

    def arrays(self):
        rows = np.concatenate(self._rows)
        return {"rows": rows, "norms": np.linalg.norm(rows, axis=1).astype(np.float64)}

    def facts(self):
        return {"dim": self._dim}

    @classmethod
    def opened(cls, params, metric, arrays, facts, size, codebooks=()):
        index = cls(params, metric, *codebooks)
        rows, index._norms = taken(arrays, ("rows", "norms"))
        if rows.shape != (size, facts["dim"]):
            raise ImgretError(damage("other rows than there should be"))
        index._dim, index._rows = facts["dim"], [rows]
        return index

    def search(self, xq, k, settings=None, jobs=1):
        xq = np.asarray(xq, np.float32)
        scores = xq @ self._rows[0].T / self._norms / np.linalg.norm(xq, axis=1)[:, None]
        order = np.argsort(-scores, axis=1, kind="stable")[:, :k]
        return np.take_along_axis(scores, order, 1).astype(np.float32), order
'''

PROTOCOL = '''
"""Photos that share the first letter of their names."""
import numpy as np
from imgret.evaluation.asking import Asking
from imgret.evaluation.protocols.base import Protocol
from imgret.evaluation.questions import Question


class Letters(Protocol):
    """The first letter of a name is the group.

    For a test.
    """

    name = "letters"
    conventions = {key: "" for key in ("ap", "positives", "query", "crop", "junk", "truncation", "names", "measures")}

    def _read_folder(self, path, truth):
        raise NotImplementedError

    def ask(self, lists, truth):
        asking, positions = Asking(lists), lists.positions()
        for row, name in enumerate(lists.query_names):
            ids = np.array([photo for other, photo in positions.items() if other[:1] == name[:1] and other != name], dtype=np.int64)
            if len(ids):
                asking.add(Question(row, name, len(ids), ids, own=positions.get(name, -1)))
            else:
                asking.exclude()
        return asking.done()
'''

ADDED = {  # file -> (its text, table's file, line before which the table's own line comes, that line)
    "extractors/grid.py": (EXTRACTOR, "extractors/__init__.py", '    "sift":', '    "grid": "imgret.extractors.grid:Grid",\n'),
    "encoders/spread.py": (WITH_KEYPOINTS, "encoders/__init__.py", '    "vlad":', '    "spread": "imgret.encoders.spread:Spread",\n'),
    "encoders/both.py": (WITH_TWO, "encoders/__init__.py", '    "vlad":', '    "both": "imgret.encoders.both:Both",\n'),
    "evaluation/protocols/letters.py": (
        PROTOCOL,
        "evaluation/protocols/__init__.py",
        '    "groups":',
        '    "letters": "imgret.evaluation.protocols.letters:Letters",\n',
    ),
    "indexes/own.py": (OWN_COLUMNS, "indexes/__init__.py", '    "flat":', '    "own": "imgret.indexes.own:Own",\n'),
}


@pytest.fixture(scope="module")
def extended(tmp_path_factory):
    """A folder with a copy of the package to which the methods are added."""
    folder = tmp_path_factory.mktemp("extended")
    shutil.copytree(os.path.join(ROOT, "imgret"), folder / "imgret", ignore=shutil.ignore_patterns("__pycache__"))
    for file, (text, table, before, line) in ADDED.items():
        (folder / "imgret" / file).write_text(text)
        old = (folder / "imgret" / table).read_text()
        assert old.count(before) == 1
        (folder / "imgret" / table).write_text(old.replace(before, line + before))
    return folder


DRIVER = """
import contextlib, io, json, sys
from imgret.cli.main import main
for line in sys.stdin:
    out, err, code = io.StringIO(), io.StringIO(), None
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        try:
            main(json.loads(line))
        except SystemExit as end:
            code = end.code
    print(json.dumps([code, out.getvalue(), err.getvalue()]), flush=True)
"""


@pytest.fixture(scope="module")
def imgret(extended):
    """`imgret(*arguments)`: runs the extended package, in one process for all, and gives what it answers."""
    environment = dict(os.environ, PYTHONPATH=str(extended))
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    with subprocess.Popen([sys.executable, "-c", DRIVER], env=environment, cwd=extended, text=True, **pipes) as driver:

        def run(*arguments):
            driver.stdin.write(json.dumps(list(map(str, arguments))) + "\n")
            driver.stdin.flush()
            code, out, err = json.loads(driver.stdout.readline())
            assert code == 0, err
            return out

        yield run


@pytest.fixture(scope="module")
def features(imgret, extended, photos):
    """Features of the shared photos by the added extractor, and by SIFT."""
    imgret("extract", photos, "-o", "grid.h5", "-m", "grid", "-j", 2)
    imgret("extract", photos, "-o", "sift.h5", "-m", "sift", "-j", 2)
    return extended


def test_an_extractor(imgret, features):
    with Store(features / "grid.h5") as store:
        assert store.attribute("keypoints", "columns") == "x y"
        assert store.shape("descriptors")[1] == 16
    imgret("codebook", "grid.h5", "-o", "grid-words.h5", "--size", 4)
    imgret("encode", "grid.h5", "-c", "grid-words.h5", "-o", "grid-vlad.h5")
    assert imgret("extract", "-m", "grid", "--set", "help").startswith("max_size=64\n")


def test_an_encoder_that_looks_at_keypoints_and_needs_no_codebook(imgret, features, photos):
    imgret("encode", "sift.h5", "-m", "spread", "-o", "spread.h5")
    imgret("index", "spread.h5", "-o", "spread-index.h5", "--metric", "l2")
    with Store(features / "spread.h5") as store:
        assert store.shape("vectors")[1] == 3
        name = os.fsdecode(store.texts("names")[0])
    stored, fresh = imgret("search", "spread-index.h5", "sift.h5", "-k", 3), imgret("search", "spread-index.h5", photos / name, "-k", 3)
    assert fresh.splitlines()[1].split("\t")[2] == name  # the photo's own keypoints reach the encoder when it asks
    assert [line.split("\t", 1)[1] for line in fresh.splitlines()[1:]] == [
        line.split("\t", 1)[1] for line in stored.splitlines()[1 : len(fresh.splitlines())]
    ]


def test_an_encoder_with_two_codebooks(imgret, features, photos):
    imgret("codebook", "sift.h5", "-o", "words.h5", "--size", 5)
    imgret("codebook", "sift.h5", "-o", "projection.h5", "-m", "pca", "--size", 7)
    for order in (("words.h5", "projection.h5"), ("projection.h5", "words.h5")):
        out = f"both-{order[0]}"
        imgret("encode", "sift.h5", "-m", "both", "-c", order[0], "-c", order[1], "-o", out, "-j", 1)
    with Store(features / "both-words.h5") as first, Store(features / "both-projection.h5") as second:
        assert first.shape("vectors")[1] == 12
        assert np.array_equal(first.read("vectors"), second.read("vectors"))
        assert first.content == second.content
        name = os.fsdecode(first.texts("names")[0])
    imgret("encode", "sift.h5", "-m", "both", "-c", "words.h5", "-o", "one.h5", "-j", 1)  # the other one is optional
    with Store(features / "one.h5") as store:
        assert store.shape("vectors")[1] == 5
    imgret("index", "one.h5", "-o", "one-index.h5")
    assert imgret("search", "one-index.h5", photos / name, "-k", 1).splitlines()[1].split("\t")[2] == name
    imgret("index", "both-words.h5", "-o", "both-index.h5")
    assert imgret("search", "both-index.h5", photos / name, "-k", 1).splitlines()[1].split("\t")[2] == name


def test_codebooks_find_their_places_in_any_order():
    class Two(Component):
        needs = (Need("either", ("kmeans", "pca")), Need("words", ("kmeans",)), Need("more", ("gmm",), optional=True))

    assert Two.assigned(["kmeans", "pca"]) == ([1, 0, None], None, None)
    assert Two.assigned(["pca", "kmeans"]) == ([0, 1, None], None, None)
    assert Two.assigned(["gmm", "kmeans", "kmeans"]) == ([1, 2, 0], None, None)
    assert Two.assigned(["kmeans"])[1] == Two.needs[1]
    assert Two.assigned(["kmeans", "pca", "lw"])[2] == 2


def test_an_index_of_columns_of_its_own(imgret, features):
    imgret("encode", "sift.h5", "-m", "spread", "-o", "spread2.h5")
    imgret("index", "spread2.h5", "-m", "own", "-o", "own.h5")
    imgret("index", "spread2.h5", "-m", "flat", "-o", "flat.h5")
    with Store(features / "own.h5") as store:
        assert {"structure/rows", "structure/norms"} <= set(store.column_names())
    assert "check           sound" in imgret("info", "own.h5", "--check")
    own, flat = (imgret("search", index, "spread2.h5", "-k", 1) for index in ("own.h5", "flat.h5"))
    assert [line.split("\t")[0] for line in own.splitlines()] == [line.split("\t")[0] for line in flat.splitlines()]


def test_an_index_that_is_made_with_a_codebook(imgret, features):
    imgret("codebook", "sift.h5", "-o", "five.h5", "--size", 5)
    imgret("encode", "sift.h5", "-c", "five.h5", "-o", "vlad.h5", "-j", 1)
    imgret("index", "vlad.h5", "-m", "own", "-o", "told.h5")
    with Store(features / "told.h5") as store:
        assert store.info["layout"] == "28 rows in two columns, of 5 words"
    assert imgret("search", "told.h5", "vlad.h5", "-k", 1, "--keep-self").count("\n") == 29


def test_a_protocol(imgret, features):
    imgret("encode", "sift.h5", "-m", "spread", "-o", "spread3.h5")
    imgret("index", "spread3.h5", "-o", "spread3-index.h5")
    imgret("search", "spread3-index.h5", "spread3.h5", "-o", "run.h5")
    answer = imgret("evaluate", "run.h5", "--protocol", "letters").splitlines()
    assert answer[1].startswith("map\t")
    assert 0 < float(answer[1].split("\t")[1]) <= 1
    assert "letters: The first letter of a name is the group." in imgret("evaluate", "x", "--protocol", "help")
