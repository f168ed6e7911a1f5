"""Database-side augmentation: against the slow way, in whatever company, and what becomes of it when photos change."""

import numpy as np
import pytest
from conftest import fill
from helpers import call, photo, refused
from killing import same

from imgret.encoders import dba
from imgret.encoders.dba import Dba, nearest, rounded
from imgret.store.reader import Store


class Gallery:
    """Vectors in memory, in blocks of so many."""

    def __init__(self, x, size=7):
        self.x, self.size = x, size

    def blocks(self):
        for start in range(0, len(self.x), self.size):
            yield start, self.x[start : start + self.size]

    def rows(self, places):
        return self.x[places]


def some(count=30, dim=16, seed=0):
    return np.random.default_rng(seed).standard_normal((count, dim)).astype(np.float32) + 0.5


def slow(x, k, alpha, background):
    """The sum of each vector and its neighbours', one after the other."""
    x = x.astype(np.float64) / np.linalg.norm(x, axis=1, keepdims=True)
    grid = np.rint(x * 2048) / 2048
    found = []
    for row, scores in enumerate(grid @ grid.T):
        order = [other for other in np.argsort(-scores, kind="stable") if other != row][: k + 1]
        floor = scores[order[-1]] if background else 0
        weights = np.maximum((scores[order[:k]] - floor) / (1 - floor), 0) ** alpha
        total = x[row] + weights @ x[order[:k]]
        found.append(total / np.linalg.norm(total))
    return np.array(found)


@pytest.mark.parametrize(("k", "alpha", "background"), [(3, 1.0, True), (5, 2.0, False), (28, 0.5, True)])
def test_against_the_slow_way(k, alpha, background):
    x = some()
    encoder = Dba(Dba.Params(k=k, alpha=alpha, background=background)).over([16])
    made = encoder.encode_among(np.arange(30), Gallery(x))
    assert made.dtype == np.float32
    np.testing.assert_allclose(made, slow(x, k, alpha, background), atol=1e-6)


def test_in_any_company(monkeypatch):
    """Bit for bit, however many are asked for, in whatever blocks the gallery comes, kept in memory or not."""
    x = np.concatenate([some(90, 64), some(20, 64)])  # some twice
    wanted = Dba(Dba.Params()).over([64]).encode_among(np.arange(110), Gallery(x, 110))
    monkeypatch.setattr(dba, "HELD", 0)
    monkeypatch.setattr(dba, "BYTES", 4096)
    for size, step in ((1, 50), (13, 1), (64, 31)):
        encoder = Dba(Dba.Params()).over([64])
        made = [encoder.encode_among(np.arange(start, min(start + step, 110)), Gallery(x, size)) for start in range(0, 110, step)]
        np.testing.assert_array_equal(np.concatenate(made), wanted)


def test_nearest_of_equal_ones_the_first():
    x = np.repeat(some(3), 4, axis=0)
    x /= np.linalg.norm(x, axis=1, keepdims=True)
    ids, cosines = nearest(x, np.arange(12), [(0, rounded(x[:5])), (5, rounded(x[5:]))], 3)
    assert ids[0].tolist() == [1, 2, 3]
    assert ids[2].tolist() == [0, 1, 3]
    np.testing.assert_allclose(cosines, 1, atol=1e-2)
    ids, cosines = nearest(x[:1], np.zeros(1, np.int64), [(0, rounded(x[:2]))], 3)
    assert ids.tolist() == [[1, -1, -1]]
    assert np.isnan(cosines[0, 1:]).all()


def test_few_photos_and_zero_vectors():
    """A photo alone stays; one without a vector, too."""
    alone = Dba(Dba.Params()).over([16]).encode_among(np.arange(1), Gallery(some(1)))
    np.testing.assert_allclose(alone, some(1) / np.linalg.norm(some(1)), atol=1e-6)
    x = some(12)
    x[4] = 0
    for background in (True, False):
        made = Dba(Dba.Params(background=background)).over([16]).encode_among(np.arange(12), Gallery(x))
        assert np.isfinite(made).all()
        assert not made[4].any()


def test_queries_are_as_they_were():
    x = some(5)
    made = Dba(Dba.Params()).over([16]).encode_block(x)
    np.testing.assert_allclose(made, x / np.linalg.norm(x, axis=1, keepdims=True), atol=1e-7)


@pytest.fixture(scope="module")
def augmented(stores, tmp_path_factory):
    folder = tmp_path_factory.mktemp("augmented")
    result = call("encode", stores.vlad, "-m", "dba", "-o", folder / "dba.h5", "-j", 1)
    assert result.code == 0, result.err
    assert call("index", folder / "dba.h5", "-o", folder / "index.h5", "-m", "flat").code == 0
    return folder


def test_the_step(stores, augmented):
    with Store(augmented / "dba.h5") as store, Store(stores.vlad) as before:
        x = before.read("vectors")
        np.testing.assert_allclose(store.read("vectors"), slow(x, 5, 1.5, True), atol=1e-4)  # some fall to the next step of the grid
        assert store.pipeline["component"] == "dba"
    assert call("info", augmented / "dba.h5", "--check").lines[-1] == "check           sound"


@pytest.mark.parametrize("how", [("-j", 3), ("--shard",)])
def test_same_for_any_jobs_and_shards(stores, augmented, tmp_path, how):
    out = tmp_path / "dba.h5"
    command = ("encode", stores.vlad, "-m", "dba", "-o", out)
    for shard in ("1/2", "0/2") if how == ("--shard",) else ():
        assert call(*command, "--shard", shard).code == 0
    assert call(*command, *(how if len(how) == 2 else ())).code == 0
    same(out, augmented / "dba.h5")


def test_photos_and_vectors_ask(stores, photos, augmented, tmp_path):
    """A photo, its features and its vector before ask alike; so does what it was augmented to, as itself."""
    index = augmented / "index.h5"
    answers = [
        call("search", index, given, "-k", 3, "-o", tmp_path / f"{name}.h5") for name, given in (("v", stores.vlad), ("f", stores.features))
    ]
    assert [answer.code for answer in answers] == [0, 0], answers[0].err
    with Store(tmp_path / "v.h5") as one, Store(tmp_path / "f.h5") as other:
        np.testing.assert_array_equal(one.read("ids"), other.read("ids"))
        np.testing.assert_array_equal(one.read("scores"), other.read("scores"))
    assert call("search", index, photos / "01.png", "-k", 3).code == 0
    assert call("search", index, augmented / "dba.h5", "-k", 3, "-o", tmp_path / "d.h5").code == 0
    with Store(tmp_path / "d.h5") as store:
        np.testing.assert_array_equal(store.read("ids")[:, 0], np.arange(28))


def test_nothing_is_taken_over_where_photos_have_changed(stores, tmp_path):
    """Neither by it, nor by what is made of it: a photo that is the same has other neighbours."""

    def make(folder):
        folder.mkdir(exist_ok=True)
        features, vlad, made, joined = (folder / f"{name}.h5" for name in ("features", "vlad", "dba", "joined"))
        for command in (
            ("extract", tmp_path / "photos", "-o", features),
            ("encode", features, "-c", stores.kmeans, "-o", vlad),
            ("encode", vlad, "-m", "dba", "-o", made),
            ("encode", made, vlad, "-m", "concat", "-o", joined),
        ):
            result = call(*command, "-j", 1)
            assert result.code == 0, result.err
        return made, joined

    fill(tmp_path / "photos", 10)
    before = make(tmp_path / "here")
    with Store(before[0]) as store:
        old = store.read("vectors")
    photo(tmp_path / "photos" / "zz.png", 4)  # as a photo that is there, so that it is a neighbour of that
    for made, wanted in zip(make(tmp_path / "here"), make(tmp_path / "scratch"), strict=True):
        same(made, wanted)
    with Store(before[0]) as store:
        assert not np.array_equal(store.read("vectors")[:10], old)


def test_what_it_refuses(stores, tmp_path):
    out = tmp_path / "o.h5"
    refused(call("encode", stores.vlad, "-m", "dba", "-c", stores.pca, "-o", out), 2, "-m dba takes no codebook: leave -c out")
    refused(call("encode", stores.features, "-m", "dba", "-o", out), 1, f"{stores.features} is a features store; encode needs vectors")
