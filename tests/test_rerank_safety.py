"""What is shipped as default loses nothing where there is nothing to be found, and finds more where there is: on real photos."""

import csv

import numpy as np
import pytest
from helpers import call
from reference_reranking import Asked, Vectors

from imgret.registry import load
from imgret.rerankers import RERANKERS
from imgret.store.reader import Store


@pytest.fixture(scope="module")
def gallery(data, tmp_path_factory):
    """Colour histograms of two sets of photos, together: vectors, and of each set the rows that ask and those they are to find."""
    out = tmp_path_factory.mktemp("colours") / "colours.h5"
    folders = [data / "photos" / name / "images" for name in ("scenes", "smvs_landmarks")]
    result = call("extract", *folders, "--root", data / "photos", "-m", "hsv-hist", "-o", out, "-j", 1)
    assert result.code == 0, result.err
    with Store(out) as store:
        row = {name.decode(): place for place, name in enumerate(store.texts("names"))}
        vectors = store.read("vectors")
    asked = {}
    for name in ("scenes", "smvs_landmarks"):
        with open(data / "photos" / name / "groundtruth.csv", encoding="utf-8") as file:
            photos = [(row[f"{name}/images/{each['image']}"], each["group"], each["role"]) for each in csv.DictReader(file)]
        asked[name] = [
            (photo, [other for other, same, found in photos if same == group and other != photo and "gallery" in found])
            for photo, group, role in photos
            if "query" in role
        ]
    return vectors, asked


def mean_precision(known, asked, method=None):
    """Mean average precision of what the index gives, or what a reranker makes of it."""
    queries = [Asked(known.search(known.vectors([photo]), known.size), known.vectors([photo])[0], photo) for photo, _ in asked]
    lists = [query.list for query in queries]
    if method:
        kind = load(RERANKERS, method, "reranker")
        reranker = kind(kind.Params())
        reranker.begin(known)
        lists = reranker.rerank(queries, known)
    found = []
    for listed, (photo, wanted) in zip(lists, asked, strict=True):
        ranks = np.flatnonzero(np.isin(listed.ids[listed.ids != photo], wanted)) + 1
        found.append((np.arange(1, len(ranks) + 1) / ranks).sum() / len(wanted))
    return np.mean(found)


@pytest.mark.parametrize("method", ["alpha-qe", "hello-neighbour", "k-reciprocal", "diffusion"])
def test_defaults_lose_nothing(gallery, method):
    vectors, asked = gallery
    known = Vectors(vectors, k=50)
    for name, most in (("scenes", 0.0005), ("smvs_landmarks", 0.002)):
        before = mean_precision(known, asked[name])
        assert mean_precision(known, asked[name], method) >= before - most, name
