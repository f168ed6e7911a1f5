"""imgret from Python: what docs/python.md shows, what comes back, and what is refused."""

import re
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from helpers import ROOT, call

import imgret
from imgret import api
from imgret.features import LocalFeatures

PAGE = Path(ROOT) / "imgret" / "docs" / "python.md"


def names_in_order(path):
    return [line.split("\t")[1] for line in call("search", path, "-k", "all").lines]


def test_the_page_does_what_it_shows(photos, tmp_path, monkeypatch, capfd):
    monkeypatch.chdir(tmp_path)
    shutil.copytree(photos, "photos")
    shutil.copy("photos/04.jpg", "photos/one.jpg")
    shutil.copy("photos/04.jpg", "query.jpg")
    Path("truth.csv").write_text("image,group\none.jpg,a\n04.jpg,a\n01.png,b\n02.png,b\n")
    code = "".join(re.findall(r"```python\n(.*?)```", PAGE.read_text(), re.DOTALL))
    assert len(code) > 500
    shown = {}
    exec(compile(code.replace("size=64", "size=6"), str(PAGE), "exec"), shown)
    printed, said = capfd.readouterr()
    assert said == ""
    assert [line.split()[1] for line in printed.splitlines()][:2] == ["04.jpg", "one.jpg"]
    assert [hits[0].name for hits in shown["several"]] == ["04.jpg", "04.jpg"]
    assert shown["matrix"].shape == (29, 6 * 128)
    assert shown["one"].shape == (6 * 128,)
    assert isinstance(shown["local"], LocalFeatures)
    assert shown["words"].shape == (6, 128)
    assert shown["first"].name == "04.jpg"
    assert 0 < shown["mean"] <= 1


def test_what_is_offered_is_there_and_loads_only_when_asked_for():
    assert tuple(api.__all__) == imgret.API
    assert all(getattr(imgret, name) is getattr(api, name) for name in imgret.API)
    assert set(imgret.API) <= set(dir(imgret))
    with pytest.raises(AttributeError, match=r"^module 'imgret' has no attribute 'nothing'$"):
        imgret.nothing  # noqa: B018
    code = "import sys, imgret\nassert not set(sys.modules) & {'numpy', 'h5py', 'click', 'imgret.api'}"
    subprocess.run([sys.executable, "-c", code], check=True, cwd=ROOT, timeout=60)


def test_features(stores):
    with imgret.open(stores.features) as features:
        assert (features.kind, len(features)) == ("features", 28)
        name = features.names[3]
        local = features[name]
        assert local.stored.shape == local.descriptors.shape == (len(local), 128)
        assert (local.stored.dtype, local.descriptors.dtype) == (np.uint8, np.float32)
        assert local.keypoints.shape == (len(local), 5)
        assert local.columns == ("x", "y", "scale", "angle", "score")
        assert (local.keypoints[:, :2] < local.image_size).all()
        assert np.array_equal(local.column("scale"), local.keypoints[:, 2])
        assert np.isnan(local.column("size")).all()
        with pytest.raises(KeyError):
            features["no photo"]


def test_a_photo_is_described_as_the_stores_own(stores, photos):
    with imgret.open(stores.projected) as vectors, imgret.open(stores.features) as features, imgret.open(stores.index) as index:
        name = vectors.names[5]
        path = photos / name
        described = vectors.describe(path)
        np.testing.assert_allclose(described, vectors[name], rtol=0, atol=1e-6)
        assert np.array_equal(described, vectors.describe(path.read_bytes()))
        assert np.array_equal(vectors.array[5], vectors[name])
        again = features.describe(str(path))
        assert np.array_equal(again.stored, features[name].stored)
        assert np.array_equal(again.keypoints, features[name].keypoints)
        assert index.search(path, k=3)[0].name == name


def test_an_index_answers_as_the_command_does(stores, photos):
    with imgret.open(stores.index) as index, imgret.open(stores.vlad) as vectors:
        lines = [line.split("\t") for line in call("search", stores.index, stores.vlad, "-k", 4, "--keep-self").lines[1:]]
        answers = index.search(vectors.array, k=4, jobs=2)
        assert [hit.name for hits in answers for hit in hits] == [line[2] for line in lines]
        assert [f"{hit.score:.7g}" for hits in answers for hit in hits] == [line[3] for line in lines]
        assert index.search(vectors.array[0], k=4) == answers[0]
        assert len(index.search(vectors.array[0], k=1000)) == len(index) == 28
        both = index.search([photos / name for name in index.names[:2]], k=2)
        assert [hits[0].name for hits in both] == index.names[:2]
        assert index.search([]) == []


def test_steps_take_any_kind_of_path(photos, tmp_path):
    at = {name: tmp_path / f"{name}.h5" for name in ("features", "boxes", "words", "vlad", "again", "index", "ranking")}
    (tmp_path / "boxes.csv").write_text("image,x1,y1,x2,y2\n01.png,0,0,60,60\n")
    (tmp_path / "truth.csv").write_text("image,group\n01.png,a\n02.png,a\n")
    imgret.extract(photos, at["features"])
    imgret.extract(photos, at["boxes"], boxes=tmp_path / "boxes.csv")
    imgret.codebook(at["features"], at["words"], size=4)
    imgret.encode(at["features"], at["words"], at["vlad"])
    imgret.export(at["vlad"], tmp_path / "vlad.fvecs", names=tmp_path / "names.txt")
    imgret.import_file(tmp_path / "vlad.fvecs", at["again"], names=tmp_path / "names.txt")
    imgret.index(at["vlad"], at["index"], train=at["vlad"])
    assert imgret.search(at["index"], at["boxes"], out=at["ranking"], weights=tmp_path / "none.pth") == 0
    files = {"--per-query": tmp_path / "each.tsv"}
    imgret.search(at["index"], photos, out=at["ranking"], run=imgret.Run(overwrite=True))
    assert imgret.evaluate(at["ranking"], protocol="groups", truth=tmp_path / "truth.csv", outputs=files).results
    assert files["--per-query"].exists()
    assert not list(tmp_path.glob("*.parts"))
    with imgret.open(at["again"]) as first, imgret.open(at["vlad"]) as second:
        assert np.array_equal(first.array, second.array)


def test_names_are_looked_for_as_in_a_mapping(stores):
    with imgret.open(stores.vlad) as vectors, imgret.open(stores.ranking) as ranking:
        assert list(vectors) == vectors.names
        assert list(ranking) == ranking.queries
        assert vectors.names[0] in vectors
        assert ranking.queries[0] in ranking
        for other in ("no photo", 0, None, b"00.png", "\ud800"):
            assert other not in vectors
            assert other not in ranking
    with pytest.raises(imgret.ImgretError, match=r"is closed: open it again to read it$"):
        vectors.array  # noqa: B018


@pytest.mark.parametrize(
    "given", [{"jobs": 0}, {"jobs": 2.5}, {"jobs": None}, {"shard": (2, 2)}, {"shard": (0, -1)}, {"shard": "0/2"}, {"device": "tpu"}]
)
def test_how_to_run_is_checked(given):
    with pytest.raises(imgret.api.UsageError, match="must be"):
        imgret.Run(**given)


def test_features_outlive_their_store(stores):
    with imgret.open(stores.features) as features:
        local = features[features.names[0]]
    assert len(local.keypoints) == len(local.descriptors) == len(local)


def test_rankings(stores, tmp_path):
    ranking = imgret.open(stores.ranking)
    lines = call("export", stores.ranking, "-o", tmp_path / "run.trec")
    assert lines.code == 0
    again = imgret.open(str(tmp_path / "run.trec"))
    assert ranking.queries == again.queries
    for query in ranking.queries[:3]:
        assert [hit.name for hit in ranking[query]] == [hit.name for hit in again[query]]
        assert ranking[query][0].name == query
    assert len(ranking) == 28


@pytest.mark.parametrize(
    ("what", "text"),
    [
        (lambda here: imgret.open(here / "none.h5"), "{here}/none.h5: there is no such file"),
        (lambda here: imgret.open(here / "text.h5"), "{here}/text.h5 is not an imgret file (not HDF5)"),
        (lambda here: imgret.open(here / "index.h5", settings=["ef=3"]), "this method has no parameter `ef`; it has none"),
        (
            lambda here: imgret.open(here / "index.h5").describe(here / "none.jpg"),
            "{here}/none.jpg: it cannot be read: No such file or directory",
        ),
        (lambda here: imgret.open(here / "vlad.h5", settings=["ef=3"]), "{here}/vlad.h5 is a vectors store: `settings` are for an index"),
        (
            lambda here: imgret.search(here / "index.h5", here / "vlad.h5"),
            "name a ranking store to make (out), or what takes the answers (emit)",
        ),
        (lambda here: imgret.open(here / "index.h5").search(np.zeros(768), k=0), "`k` must be a positive integer, got 0"),
        (lambda here: imgret.open(here / "index.h5").search(np.zeros(768), jobs=0), "`jobs` must be a positive integer, got 0"),
        (lambda here: imgret.evaluate([], protocol="groups", truth="t.csv"), "give at least one ranking"),
        (
            lambda here: imgret.open(here / "index.h5").describe(b"no photo"),
            "the photo: it is not a JPEG, PNG, WebP, TIFF or BMP image",
        ),
        (lambda here: imgret.open(here / "index.h5").search(np.zeros(3)), "the matrix of queries has 3 columns, 768 are needed"),
    ],
)
def test_refusals(stores, tmp_path, what, text):
    shutil.copy(stores.index, tmp_path / "index.h5")
    shutil.copy(stores.vlad, tmp_path / "vlad.h5")
    (tmp_path / "text.h5").write_text("no store")
    with pytest.raises(imgret.ImgretError) as caught:
        what(tmp_path)
    assert str(caught.value) == text.format(here=tmp_path)


class Interrupted(imgret.Report):
    """Ctrl-C, as soon as a part is finished."""

    def progress(self, total, unit, start=0):
        progress = super().progress(total, unit, start)

        def update(n=1, message=""):
            self.handler = signal.getsignal(signal.SIGINT)
            raise KeyboardInterrupt

        progress.update = update
        return progress


def test_ctrl_c_is_the_programs_own_and_what_is_finished_is_kept(photos, tmp_path):
    out, report = tmp_path / "f.h5", Interrupted(-1)
    with pytest.raises(KeyboardInterrupt):
        imgret.extract(photos, out, run=imgret.Run(report=report))
    assert report.handler is signal.getsignal(signal.SIGINT)  # whatever that is: a program in the background may have it ignored
    assert not out.exists()
    result = call("extract", photos, "-o", out, "-v")
    assert result.code == 0
    assert "parts are there already" in result.err
    assert not (tmp_path / "f.h5.parts").exists()
