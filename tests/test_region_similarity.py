"""Vectors of a photo's regions, cut from its map, and rankings by them."""

import dataclasses
import itertools
import os

import numpy as np
import pytest
from helpers import call, encoded, refused, texture
from test_max_regions import Asked, Gallery

from imgret.errors import ImgretError
from imgret.features import LocalFeatures
from imgret.networks.regions import PARTS, corners, frame
from imgret.rerankers.base import Listed
from imgret.rerankers.region_similarity import RegionSimilarity
from imgret.store.reader import Store

torch = pytest.importorskip("torch")
torchvision = pytest.importorskip("torchvision")

from imgret.networks.heads.netvlad import NetVlad  # noqa: E402
from imgret.networks.heads.vectors import Gem  # noqa: E402

SIZE = (80, 60)
OTHERS = (
    "region-similarity takes the nine vectors that -m cnn --set regional=true gives of a photo, and {} has others: extract such; for a "
    "query that asks with a box, with --boxes, as --queries"
)


def described(seed, rows=9, columns=5):
    """The vectors of the regions of a made photo."""
    vectors = np.random.default_rng(seed).standard_normal((rows, columns))
    rectangles = corners(frame(SIZE))[:rows]
    table = np.column_stack([(rectangles[:, :2] + rectangles[:, 2:]) / 2, np.ones((rows, 2))]).astype(np.float32)
    units = (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)
    return LocalFeatures(table, units, ("x", "y", "size", "score"), SIZE)


NONE = described(0, rows=0)


def asked(features, count):
    return Asked([Listed(np.arange(count), np.linspace(1, 0.5, count).astype(np.float32))], features)


def reranked(query, photos, **settings):
    (found,) = RegionSimilarity(RegionSimilarity.Params(**settings)).rerank([asked(query, len(photos))], Gallery(photos))
    assert np.isfinite(found.scores).all()
    assert (np.diff(found.scores) <= 0).all()
    assert sorted(found.ids.tolist()) == list(range(len(photos)))
    return found


def best(similarities, pool, temperature):
    if pool == "max":
        return max(similarities)
    shares = [np.exp(each / temperature) for each in similarities]
    return sum(share * each for share, each in zip(shares, similarities, strict=True)) / sum(shares)


def by_hand(query, photo, regions, pool, temperature):
    """Every pair of regions, one after the other."""

    def likeness(one, other):
        return float(np.dot(one.astype(np.float64), other))

    asking = query.descriptors[:1] if regions == "whole" else query.descriptors
    forth = [best([likeness(one, other) for other in photo.descriptors], pool, temperature) for one in asking]
    if regions == "whole":
        return forth[0]
    back = [best([likeness(one, other) for one in asking], pool, temperature) for other in photo.descriptors]
    return (np.mean(forth) + np.mean(back)) / 2


@pytest.mark.parametrize(("regions", "pool", "weight"), list(itertools.product(("whole", "each"), ("max", "softmax"), (0.0, 0.3, 1.0))))
def test_every_pair_of_regions(monkeypatch, regions, pool, weight):
    monkeypatch.setattr("imgret.rerankers.region_similarity.TOGETHER", 500)  # two photos at once
    query, photos = described(1), [described(seed) for seed in range(2, 7)]
    found = reranked(query, photos, regions=regions, pool=pool, weight=weight, temperature=0.2)
    wanted = np.array([by_hand(query, photo, regions, pool, 0.2) for photo in photos])
    whole = np.array([query.descriptors[0] @ photo.descriptors[0] for photo in photos])
    scores = (1 - weight) * whole + weight * wanted
    assert found.ids.tolist() == np.argsort(-scores).tolist()
    assert found.scores == pytest.approx(2 + scores[found.ids], abs=1e-5)
    assert found.evidence == pytest.approx(wanted[found.ids], abs=1e-5)


def test_a_photo_is_most_like_itself_and_the_same_both_ways():
    one, other = described(1), described(2)
    found = reranked(one, [other, one])
    assert found.ids.tolist() == [1, 0]
    assert found.evidence[0] == pytest.approx(1)
    assert found.maps[0] == pytest.approx(np.eye(3))
    assert reranked(other, [one]).evidence == pytest.approx(found.evidence[1:])


def test_a_region_that_was_planted_is_found_and_framed():
    query, photo = described(1), described(2)
    photo.stored[7] = query.stored[0]  # the quarter at the bottom left
    found = reranked(query, [described(3), photo], regions="whole")
    assert found.ids.tolist() == [1, 0]
    assert found.evidence[0] == pytest.approx(1)
    places = found.maps[0] @ np.array([[-0.5, SIZE[0] - 0.5], [-0.5, SIZE[1] - 0.5], [1, 1]])
    assert places[:2].T.reshape(4) == pytest.approx([-0.5, SIZE[1] / 2 - 0.5, SIZE[0] / 2 - 0.5, SIZE[1] - 0.5], abs=1e-4)


def test_the_rest_stays_below_in_its_order():
    photos = [described(1), NONE, described(2), described(3), described(4)]
    found = reranked(described(3), photos, depth=4)
    assert found.ids[0] == 3
    assert found.ids[3:].tolist() == [1, 4]
    assert np.isnan(found.evidence[3:]).all()
    assert np.isnan(found.maps[3:]).all()
    nothing = reranked(NONE, photos)
    assert nothing.ids.tolist() == [0, 1, 2, 3, 4]
    assert np.isnan(nothing.evidence).all()
    equal = reranked(described(1), [described(2)] * 4)
    assert equal.ids.tolist() == [0, 1, 2, 3]


def test_what_are_no_regions_is_refused():
    good = described(1)
    moved = LocalFeatures(good.keypoints[::-1], good.stored, good.columns, SIZE)
    odd = LocalFeatures(good.keypoints, np.where(np.arange(9)[:, None] == 4, np.nan, good.stored), good.columns, SIZE)
    lost = LocalFeatures(good.keypoints * np.nan, good.stored, good.columns, SIZE)
    for features in (described(1, rows=8), described(1, rows=1), moved, odd, lost):
        with pytest.raises(ImgretError) as error:
            reranked(good, [features])
        assert str(error.value) == OTHERS.format("a photo")
        with pytest.raises(ImgretError) as error:
            reranked(features, [good])
        assert str(error.value) == OTHERS.format("the query")
    with pytest.raises(ImgretError) as error:
        reranked(good, [described(1, columns=6)])
    assert str(error.value) == (
        "region-similarity: vectors of the query have 5 columns and those of a photo 6: give stores that were extracted with the same "
        "network and pool"
    )


@dataclasses.dataclass
class Shown:
    """Views of photos, as a `Forward` gives them."""

    outputs: list
    params: Gem.Params

    def views(self, photos):
        for output in self.outputs:
            yield [output], (1.0, 1.0)


def test_regions_are_cut_from_the_map_and_mirrored_back():
    maps = torch.rand(2, 6, 5, 7, generator=torch.Generator().manual_seed(0))
    for head in (Gem(Gem.Params(flip=True)), NetVlad(NetVlad.Params(clusters=3, flip=True))):
        if isinstance(head, NetVlad):
            head.learned = head.begin([6], lambda _: np.random.default_rng(1).random((40, 6), np.float32))
        found = head.describe_parts([], Shown([maps, maps.flip(3)], head.params))
        for number, (top, left, bottom, right) in enumerate(PARTS):
            rows, columns = slice((0, 2)[top], (0, 2, 5)[bottom]), slice((0, 3)[left], (0, 3, 7)[right])
            assert torch.allclose(found[:, number], head([maps[:, :, rows, columns]]), atol=1e-6)
        assert torch.allclose(head.regional([maps]), found, atol=1e-6)


@pytest.fixture(scope="module")
def here(tmp_path_factory):
    """A folder with photos, and the weights of a small network."""
    path = tmp_path_factory.mktemp("regional")
    os.mkdir(path / "photos")
    for number in range(6):
        with open(path / "photos" / f"{number}.png", "wb") as file:
            file.write(encoded(texture(number, channels=3, width=120 - 10 * (number % 2), height=90)))
    (path / "boxes.csv").write_text("image,x1,y1,x2,y2\n0.png,20,10,100,70\n1.png,10,20,90,80\n")
    torch.manual_seed(1)
    torch.save(torchvision.models.squeezenet1_1(weights=None).state_dict(), path / "weights.pth")
    return path


@pytest.fixture(scope="module")
def made(here):
    """Stores: vectors, their regions, a ranking; the same of boxes."""
    found = {}
    for name, *more in (
        ("vectors",),
        ("regions", "--set", "regional=true"),
        ("boxed", "--boxes", here / "boxes.csv"),
        ("boxed-regions", "--set", "regional=true", "--boxes", here / "boxes.csv"),
        ("columns", "--set", "pool=none"),
    ):
        found[name] = here / f"{name}.h5"
        small = ("--set", "model=squeezenet1_1", "--set", "max_size=96", "--set", f"weights={here / 'weights.pth'}", "-j1")
        result = call("extract", here / "photos", "-m", "cnn", *small, *more, "-o", found[name])
        assert result.code == 0, result.err
    for queries, ranking in (("vectors", "ranking"), ("boxed", "asked")):
        found[ranking] = here / f"{ranking}.h5"
        assert call("index", found["vectors"], "-o", here / "index.h5").code == 0
        assert call("search", here / "index.h5", found[queries], "-k", "all", "-o", found[ranking]).code == 0
    return found


def columns(path, *names):
    with Store(path) as store:
        return [store.read(name) for name in names]


@pytest.mark.parametrize(("whole", "regions"), [("vectors", "regions"), ("boxed", "boxed-regions")])
def test_the_first_region_is_the_whole_photo(made, whole, regions):
    (vectors,) = columns(made[whole], "vectors")
    descriptors, keypoints, offsets = columns(made[regions], "descriptors", "keypoints", "offsets")
    assert descriptors.dtype == np.float32
    assert offsets.tolist() == list(range(0, 9 * len(vectors) + 1, 9))
    assert descriptors[::9] == pytest.approx(vectors, abs=1e-6)
    assert np.linalg.norm(descriptors, axis=1) == pytest.approx(1, abs=1e-5)
    x, y, side, _ = keypoints[:9].T
    low, high = ((20, 10), (100, 70)) if regions == "boxed-regions" else ((-0.5, -0.5), (119.5, 89.5))
    width, height = high[0] - low[0], high[1] - low[1]
    assert (x - low[0]) / width == pytest.approx([1 / 2, 1 / 2, 1 / 2, 1 / 4, 3 / 4, 1 / 4, 3 / 4, 1 / 4, 3 / 4])
    assert (y - low[1]) / height == pytest.approx([1 / 2, 1 / 4, 3 / 4, 1 / 2, 1 / 2, 1 / 4, 1 / 4, 3 / 4, 3 / 4])
    assert side**2 / (width * height) == pytest.approx([1, *[1 / 2] * 4, *[1 / 4] * 4])


def test_a_ranking_by_regions(made, tmp_path):
    out = tmp_path / "out.h5"
    assert call("rerank", made["ranking"], "-m", "region-similarity", "--features", made["regions"], "-o", out).code == 0
    ids, evidence = columns(out, "ids", "evidence")
    assert ids.reshape(6, 6)[:, 0].tolist() == list(range(6))  # each photo is most like itself
    assert evidence.reshape(6, 6)[:, 0] == pytest.approx(1, abs=1e-5)


def test_a_box_asks_with_its_own_regions(made, tmp_path):
    words = ("rerank", made["asked"], "-m", "region-similarity", "--features", made["regions"], "-o")
    assert call(*words, tmp_path / "out.h5", "--queries", made["boxed-regions"]).code == 0
    refused(call(*words, tmp_path / "other.h5"), 1, OTHERS.format("the query"))


def test_a_box_of_one_place():
    query = described(1)
    query.keypoints[:, :2] = 7, 9
    found = RegionSimilarity(RegionSimilarity.Params()).rerank([asked(query, 1)], Gallery([query]))[0]
    assert found.evidence[0] == pytest.approx(1)
    assert found.maps[0] == pytest.approx(np.eye(3))


def test_other_features_are_refused(made, tmp_path):
    words = ("rerank", made["ranking"], "-m", "region-similarity", "-o", tmp_path / "out.h5", "--features")
    refused(call(*words, made["columns"]), 1, OTHERS.format("the query"))
    for pool in ("none", "fc"):
        refused(
            call("extract", "photos", "-m", "cnn", "--set", "regional=true", "--set", f"pool={pool}", "-o", tmp_path / "x.h5"),
            2,
            f"`regional` is for pools that make one vector of a map, and pool={pool} does not: leave it out",
        )
