"""Files of every version of the layout stay readable, sound, searchable, and mean what they meant."""

import os
import shutil

import numpy as np
import pytest
from helpers import ROOT, call

from imgret.store import layout
from imgret.store.reader import Store

DATA = os.path.join(ROOT, "tests", "data")
VERSIONS = [1]  # each a folder that scripts/golden.py made when the version was new
KINDS = ("features", "codebook", "vectors", "index", "ranking")
EVERY = pytest.mark.parametrize("version", VERSIONS)


def golden(version, name):
    return os.path.join(DATA, f"schema-{version}", name)


def test_the_present_versions_have_golden_files():
    assert {version for kind, version in layout.SCHEMA_VERSIONS.items() if kind in KINDS} <= set(VERSIONS)
    assert sum(os.path.getsize(os.path.join(here, name)) for here, _, names in os.walk(DATA) for name in names) < 300_000


@EVERY
@pytest.mark.parametrize("kind", KINDS)
def test_sound(version, kind):
    result = call("info", golden(version, f"{kind}.h5"), "--check")
    assert (result.code, result.err) == (0, "")
    assert result.lines[1:3] == [f"kind            {kind}", f"schema_version  {version}"]
    assert result.lines[-1] == "check           sound"


@EVERY
def test_what_is_in_them(version):
    with Store(golden(version, "features.h5")) as store:
        assert list(store.texts("names")) == [b"0.png", b"1.png", b"2.png", b"3.png"]
        assert store.text_list("failed/code") == ["not-an-image"]
        assert list(store.texts("failed/names")) == [b"bad.jpg"]
        assert store.read("offsets")[0] == 0
        assert store.read("offsets")[-1] == store.sizes["T"] == 99
        assert store.read("image_size").tolist() == [[96, 96]] * 4
        assert store.attribute("keypoints", "columns") == "x y scale angle score"
        assert store.attribute("descriptors", "descriptor_type") == "uint8"
    with Store(golden(version, "vectors.h5")) as store:
        assert store.shape("vectors") == (4, 512)
        assert np.allclose(np.linalg.norm(store.read("vectors"), axis=1), 1, atol=1e-6)


@EVERY
def test_encoded_again_they_give_the_same_vectors(version, tmp_path):
    out = tmp_path / "v.h5"
    assert call("encode", golden(version, "features.h5"), "-c", golden(version, "codebook.h5"), "-o", out, "-j1").code == 0
    with Store(out) as store, Store(golden(version, "vectors.h5")) as old:
        assert np.allclose(store.read("vectors"), old.read("vectors"), atol=1e-6)
        assert (store.recipe, store.fingerprint) == (old.recipe, old.fingerprint)


@EVERY
def test_searchable(version, tmp_path):
    """By vectors, by features and by the photos themselves, in a place where nothing may be written."""
    with Store(golden(version, "ranking.h5")) as store:
        ids, scores = store.read("ids"), store.read("scores")
    assert (ids[:, 0] == np.arange(4)).all()
    wanted = [f"{query}.png\t{rank + 1}\t{ids[query, rank]}.png" for query in range(4) for rank in range(4)]
    photos = tmp_path / "photos"
    shutil.copytree(golden(version, "photos"), photos)
    os.remove(photos / "bad.jpg")
    for queries in (golden(version, "vectors.h5"), golden(version, "features.h5"), photos):
        result = call("search", golden(version, "index.h5"), queries, "-k", "all")
        assert (result.code, result.err) == (0, "")
        rows = [line.rpartition("\t") for line in result.lines[1:]]
        assert [row[0] for row in rows] == wanted
        assert np.allclose([float(row[2]) for row in rows], scores.ravel(), atol=1e-4)


@EVERY
def test_evaluable(version, tmp_path):
    truth = tmp_path / "truth.csv"
    truth.write_text("image,group\n0.png,a\n1.png,a\n2.png,b\n3.png,b\n")
    result = call("evaluate", golden(version, "ranking.h5"), "--protocol", "groups", "--truth", truth)
    assert (result.code, result.err) == (0, "")
    assert result.lines[1].startswith("map\t")
