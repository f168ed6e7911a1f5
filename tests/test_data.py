"""Real data, from the folder that IMGRET_TEST_DATA names: the command line as a user has it, end to end."""

import json
import os

import pytest
from helpers import call, same_answers

DATA = os.environ.get("IMGRET_TEST_DATA", "")
pytestmark = pytest.mark.skipif(not os.path.isdir(DATA), reason="IMGRET_TEST_DATA is not set")


def data(*parts):
    return os.path.join(DATA, *parts)


def done(*arguments):
    result = call(*arguments)
    assert result.code == 0, result.err
    return result


@pytest.fixture(scope="module")
def oxford(tmp_path_factory):
    """The vectors of Oxford5k as a store."""
    where = tmp_path_factory.mktemp("oxford")
    done("import", data("oxford5k", "features_128.fvecs"), "--names", data("oxford5k", "names.txt"), "-o", where / "vectors.h5")
    return where


@pytest.mark.parametrize(("metric", "expected"), [("cosine", 0.4029), ("l2", 0.3986)])
def test_oxford5k_from_vectors_to_map(oxford, metric, expected):
    index, ranking = oxford / f"{metric}.h5", oxford / f"{metric}-ranking.h5"
    done("index", oxford / "vectors.h5", "-o", index, "--metric", metric, "-q")
    queries = queries_of(oxford)
    done("search", index, queries, "-o", ranking, "-k", "all", "-q")
    result = done("evaluate", ranking, "--protocol", "oxford5k", "--truth", data("oxford5k", "groundtruth"), "--json")
    (scores,) = json.loads(result.out)["runs"]
    assert scores["queries"] == 55
    assert round(scores["measures"]["map"], 4) == expected


def queries_of(oxford):
    """The query photos' vectors alone."""
    import numpy as np

    path = oxford / "queries.h5"
    if not path.exists():
        names = [line.strip() for line in open(data("oxford5k", "names.txt"), encoding="utf-8")]
        asked = set()
        for entry in os.listdir(data("oxford5k", "groundtruth")):
            if entry.endswith("_query.txt"):
                with open(data("oxford5k", "groundtruth", entry), encoding="utf-8") as file:
                    asked.add(file.read().split()[0].removeprefix("oxc1_"))
        rows = np.fromfile(data("oxford5k", "features_128.fvecs"), np.float32).reshape(len(names), 129)[:, 1:]
        chosen = [row for row, name in enumerate(names) if os.path.splitext(name.removeprefix("oxc1_"))[0] in asked]
        assert len(chosen) == len(asked) == 55
        np.save(oxford / "queries.npy", rows[chosen])
        (oxford / "queries.txt").write_text("\n".join(names[row] for row in chosen), encoding="utf-8")
        done("import", oxford / "queries.npy", "--names", oxford / "queries.txt", "-o", path)
    return path


def test_photos_of_a_real_set_find_their_own_kind(tmp_path):
    """DVD covers, a few of them: extraction, codebook, vectors, index, and a photo as a query, whole and by its store."""
    images = data("photos", "smvs_dvd", "images")
    names = sorted(os.listdir(images))[:40]
    listed = tmp_path / "list"
    listed.write_text("\n".join(os.path.join(images, name) for name in names))
    path = {kind: tmp_path / f"{kind}.h5" for kind in ("features", "words", "vectors", "index")}
    done("extract", "--list", listed, "--root", images, "-o", path["features"], "--set", "max_size=400", "-j2", "-q")
    done("codebook", path["features"], "-o", path["words"], "--size", "16", "--sample", "20000", "-q")
    done("encode", path["features"], "-c", path["words"], "-o", path["vectors"], "-q")
    done("index", path["vectors"], "-o", path["index"], "-q")
    from_store = done("search", path["index"], path["vectors"], "-k", "5", "--keep-self")
    same_answers(done("search", path["index"], "--list", listed, "--root", images, "-k", "5", "--keep-self"), from_store)
    first = [line.split("\t") for line in from_store.lines[1:] if line.split("\t")[1] == "1"]
    assert all(row[0] == row[2] for row in first)
    assert len(first) == 40
    for store in path.values():
        assert done("info", store, "--check").lines[-1] == "check           sound"
