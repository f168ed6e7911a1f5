"""Poolings of a network's maps against slow loops, grids of regions against lists worked out by hand."""

import contextlib

import numpy as np
import pytest
import reference_pooling as reference
from helpers import texture

from imgret.images import Photo
from imgret.networks.regions import MOST, OVERLAP, patch_grid, rmac_regions

torch = pytest.importorskip("torch")
pytest.importorskip("torchvision")

from imgret.extractors.cnn import Cnn  # noqa: E402 - after what it needs
from imgret.networks import pooling  # noqa: E402

pytestmark = pytest.mark.usefixtures("one_thread")

BATCH, CHANNELS = 2, 6
SHAPES = [(1, 1), (1, 7), (7, 1), (5, 3), (6, 6), (4, 9)]
EVERY_MAP = pytest.mark.parametrize("shape", SHAPES)
EVERY_SIGN = pytest.mark.parametrize("signed", [False, True], ids=["rectified", "signed"])
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


def maps(shape, signed=False, channels=CHANNELS, seed=0):
    """Random maps (B, C, H, W): signed, or as behind a ReLU, with a channel that never fires and one that always does."""
    rng = np.random.default_rng([seed, *shape])
    values = rng.normal(0, 2, (BATCH, channels, *shape))
    if not signed:
        values = np.maximum(values, 0)
        values[:, 0] = 0
        values[:, 1] = 0.1 + rng.random((BATCH, *shape))
    return values.astype(np.float32)


def same(found, wanted, relative=1e-5):
    """Assert that two arrays are the same to what float32 gives."""
    found, wanted = np.asarray(found, np.float64), np.asarray(wanted, np.float64)
    assert found.shape == wanted.shape
    assert np.isfinite(found).all()
    assert np.abs(found - wanted).max() <= relative * max(1.0, np.abs(wanted).max())


def each(function, values, *arguments):
    """A reference, of every photo of a batch."""
    return np.array([function(feature.astype(np.float64), *arguments) for feature in values])


@EVERY_MAP
@EVERY_SIGN
def test_avg_is_the_loop(shape, signed):
    values = maps(shape, signed)
    same(pooling.avg(torch.from_numpy(values)), each(reference.avg, values))
    same(pooling.avg(torch.from_numpy(values), centre=True), each(reference.avg, values, True))


def test_centre_prior_weighs_the_middle_most_and_sides_alike():
    spots = np.zeros((1, 9, 5, 9), np.float32)
    for c, (y, x) in enumerate([(2, 4), (2, 3), (2, 5), (1, 4), (3, 4), (0, 0), (4, 8), (0, 8), (4, 0)]):
        spots[0, c, y, x] = 45
    middle, left, right, above, below, *corners = pooling.avg(torch.from_numpy(spots), centre=True)[0].tolist()
    assert middle == pytest.approx(1)
    # one cell off the middle of a map five high: sigma is 5/6 of a cell
    assert [left, right, above, below] == pytest.approx([np.exp(-1 / (2 * (5 / 6) ** 2))] * 4)
    assert corners == pytest.approx([corners[0]] * 4)
    assert 0 < corners[0] < 1e-5


@EVERY_MAP
@EVERY_SIGN
def test_max_is_the_loop(shape, signed):
    values = maps(shape, signed)
    same(pooling.largest(torch.from_numpy(values)), each(reference.largest, values), 0)


@EVERY_MAP
@EVERY_SIGN
@pytest.mark.parametrize("p", [1.0, 2.5, 3.0, 20.0])
def test_gem_is_the_loop(shape, signed, p):
    values = maps(shape, signed)
    same(pooling.gem(torch.from_numpy(values), p), each(reference.gem, values, p))


@EVERY_MAP
def test_gem_between_mean_and_maximum(shape):
    values = torch.from_numpy(maps(shape)[:, 1:])
    same(pooling.gem(values, 1.0), values.clamp_min(1e-6).mean(dim=(2, 3)))
    at = [pooling.gem(values, p) for p in (1.0, 2.0, 4.0, 8.0, 16.0, 64.0)]
    for lower, higher in zip(at[:-1], at[1:], strict=True):
        assert (higher >= lower * (1 - 1e-5)).all()
    largest = pooling.largest(values).clamp_min(1e-6)
    assert (at[-1] <= largest * (1 + 1e-5)).all()
    assert (at[-1] >= largest * (shape[0] * shape[1]) ** (-1 / 64) * (1 - 1e-5)).all()  # the bound of power means


@pytest.mark.parametrize("top", [1e4, 1.0, 1e-4])
def test_gem_of_a_large_power_leaves_nothing(top):
    values = maps((5, 3))
    values *= top / values.max()
    found = pooling.gem(torch.from_numpy(values), 100.0)
    same(found / top, each(reference.gem, values, 100.0) / top)
    same(found / top, np.maximum(values.max(axis=(2, 3)), 1e-6) / top, 0.03)  # 15 places: 15^(1/100) at most


@EVERY_MAP
@EVERY_SIGN
def test_crow_is_the_loop(shape, signed):
    values = maps(shape, signed)
    same(pooling.crow(torch.from_numpy(values)), each(reference.crow, values))
    same(pooling.channel_weights(torch.from_numpy(values).clamp_min(0)), each(reference.channel_weights, values))


def test_crow_weighs_a_rare_channel_more():
    values = np.zeros((1, 3, 4, 4), np.float32)
    values[0, 0] = 1
    values[0, 1, 1, 1] = 1
    always, rare, never = pooling.channel_weights(torch.from_numpy(values))[0].tolist()
    share = 1 + 1 / 16
    assert [always, rare, never] == pytest.approx([np.log(share), np.log(16 * share), np.log(share / 1e-6)], rel=1e-4)


@EVERY_MAP
@EVERY_SIGN
@pytest.mark.parametrize("classes", [1, 3, 50])
def test_cam_is_the_loop(shape, signed, classes):
    values = maps(shape, signed)
    rng = np.random.default_rng(5)
    weight, bias = rng.normal(0, 1, (7, CHANNELS)).astype(np.float32), rng.normal(0, 1, 7).astype(np.float32)
    found = pooling.cam(torch.from_numpy(values), torch.from_numpy(weight), torch.from_numpy(bias), classes)
    same(found, each(reference.cam, values, weight, bias, classes))


def test_cam_takes_each_photos_own_classes():
    """Two photos of different classes, each as alone; the bias alone can choose the class."""
    values = np.zeros((2, 3, 2, 2), np.float32)
    values[0, 0, 0, 0] = values[1, 1, 1, 1] = 4
    values[:, 2] = [[0.5, 1], [1, 0.5]]
    weight, values = torch.eye(3), torch.from_numpy(values)
    both = pooling.cam(values, weight, torch.zeros(3), 1)
    same(both, torch.cat([pooling.cam(values[n : n + 1], weight, torch.zeros(3), 1) for n in range(2)]))
    assert both[0, 0] > 0
    assert both[0, 1] == 0
    assert both[1, 1] > 0
    third = pooling.cam(values, weight, torch.tensor([0.0, 0.0, 10.0]), 1)
    assert third[:, :2].eq(0).all()  # the third map is 0 in both corners that fire
    assert third[:, 2].gt(0).all()


@EVERY_MAP
@EVERY_SIGN
@pytest.mark.parametrize("how", ["max", "avg", "gem"])
def test_regions_are_pooled_one_by_one(shape, signed, how):
    values = maps(shape, signed)
    grid = rmac_regions(*shape, 3)
    found = pooling.regions(torch.from_numpy(values), grid, how, 3.0)
    assert found.shape == (BATCH, len(grid), CHANNELS)
    function = {"max": reference.largest, "avg": reference.avg, "gem": lambda part: reference.gem(part, 3.0)}[how]
    for number, region in enumerate(reference.rmac_regions(*shape, 3)):
        same(found[:, number], [function(reference.part(feature, region)) for feature in values])


@EVERY_MAP
@EVERY_SIGN
@pytest.mark.parametrize("levels", [1, 3])
def test_rmac_is_the_loop(shape, signed, levels):
    values = maps(shape, signed)
    grid = reference.rmac_regions(*shape, levels)
    same(pooling.rmac(torch.from_numpy(values), grid), each(reference.rmac, values, grid))


@EVERY_MAP
@EVERY_SIGN
def test_rmac_with_a_projection_of_regions_is_the_loop(shape, signed):
    values = maps(shape, signed)
    rng = np.random.default_rng(8)
    matrix, mean = rng.normal(0, 1, (4, CHANNELS)), rng.normal(0, 0.1, CHANNELS)
    seen = []

    def project(rows):
        assert rows.dtype == np.float32
        assert rows.flags.c_contiguous
        seen.append(len(rows))
        return ((rows - mean) @ matrix.T).astype(np.float32)

    grid = reference.rmac_regions(*shape, 3)
    found = pooling.rmac(torch.from_numpy(values), grid, project)
    assert sum(seen) == BATCH * len(grid)
    same(found, each(reference.rmac, values, grid, lambda v: matrix @ (v - mean)))


@EVERY_MAP
@EVERY_SIGN
def test_columns_of_one_map_are_the_loop(shape, signed):
    values = maps(shape, signed)
    descriptors, strengths = pooling.columns([torch.from_numpy(values)])
    for number, feature in enumerate(values):
        wanted, norms = reference.columns([feature.astype(np.float64)])
        same(descriptors[number], wanted)
        same(strengths[number], norms)


@EVERY_MAP
@EVERY_SIGN
@pytest.mark.parametrize("other", [(1, 1), (2, 2), (2, 5), (3, 2), "same"])
def test_columns_of_several_maps_are_the_loop(shape, signed, other):
    """Two maps, the finer one first and last; another bilinear resizing than torch's."""
    first, second = maps(shape, signed), maps(shape if other == "same" else other, signed, channels=3, seed=1)
    for both in ([first, second], [second, first]):
        descriptors, strengths = pooling.columns([torch.from_numpy(values) for values in both])
        for number in range(BATCH):
            wanted, norms = reference.columns([values[number].astype(np.float64) for values in both])
            same(descriptors[number], wanted)
            same(strengths[number], norms)
    assert descriptors.shape == (BATCH, max(shape[0] * shape[1], second.shape[2] * second.shape[3]), CHANNELS + 3)


@EVERY_MAP
def test_nothing_fires(shape):
    """Zero maps give zeros, or where a logarithm or a floor is in it, finite values."""
    zero = torch.zeros(BATCH, CHANNELS, *shape)
    grid = rmac_regions(*shape, 3)
    for found in (
        pooling.avg(zero),
        pooling.avg(zero, centre=True),
        pooling.largest(zero),
        pooling.crow(zero),
        pooling.cam(zero, torch.ones(4, CHANNELS), torch.arange(4.0), 2),
        pooling.rmac(zero, grid),
        pooling.regions(zero, grid, "max", 3.0),
        pooling.regions(zero, grid, "avg", 3.0),
        *pooling.columns([zero, zero[:, :2, :1]]),
        pooling.l2(zero),
    ):
        assert found.eq(0).all()
    for p in (1.0, 3.0, 100.0):
        same(pooling.gem(zero, p), np.full((BATCH, CHANNELS), 1e-6), 1e-9)
    assert torch.isfinite(pooling.channel_weights(zero)).all()


def test_l2_of_small_and_large_rows():
    rows = torch.tensor([[3.0, 4.0], [3e-15, 4e-15], [3e15, -4e15], [0.0, 0.0]])
    same(pooling.l2(rows), [[0.6, 0.8], [0.6, 0.8], [0.6, -0.8], [0, 0]])
    same(pooling.l2(rows[None])[0], pooling.l2(rows))


def spread(tops, lefts, side):
    """Regions of one level, row by row."""
    return [(top, left, side) for top in tops for left in lefts]


# (height, width): the regions of each level, worked out by hand
BY_HAND = {
    # a square map: one region of all of it, then l x l
    (16, 16): [
        [(0, 0, 16)],
        [(0, 0, 10), (0, 6, 10), (6, 0, 10), (6, 6, 10)],
        spread([0, 4, 8], [0, 4, 8], 8),
        spread([0, 3, 6, 10], [0, 3, 6, 10], 6),
    ],
    # two regions 4 apart overlap by 2/3; three, 2 apart, by 5/6: two are nearer to 40 %
    (16, 12): [
        [(0, 0, 12), (4, 0, 12)],
        [(0, 0, 8), (0, 4, 8), (4, 0, 8), (4, 4, 8), (8, 0, 8), (8, 4, 8)],
        spread([0, 3, 6, 10], [0, 3, 6], 6),
        spread([0, 3, 6, 9, 12], [0, 2, 5, 8], 4),
    ],
    (12, 16): [
        [(0, 0, 12), (0, 4, 12)],
        [(0, 0, 8), (0, 4, 8), (0, 8, 8), (4, 0, 8), (4, 4, 8), (4, 8, 8)],
        spread([0, 3, 6], [0, 3, 6, 10], 6),
        spread([0, 2, 5, 8], [0, 3, 6, 9, 12], 4),
    ],
    # two regions do not overlap, three by 1/2, four by 2/3: three
    (16, 8): [
        [(0, 0, 8), (4, 0, 8), (8, 0, 8)],
        spread([0, 3, 7, 11], [0, 3], 5),
        spread([0, 3, 6, 9, 12], [0, 2, 4], 4),
        spread([0, 2, 5, 7, 10, 13], [0, 1, 3, 5], 3),
    ],
    # six regions, 23/5 apart, overlap by 34 %; seven, 23/6 apart, by 45 %: seven
    (7, 30): [
        [(0, 0, 7), (0, 3, 7), (0, 7, 7), (0, 11, 7), (0, 15, 7), (0, 19, 7), (0, 23, 7)],
        spread([0, 3], [0, 3, 7, 11, 14, 18, 22, 26], 4),
        spread([0, 2, 4], [0, 3, 6, 10, 13, 16, 20, 23, 27], 3),
        spread([0, 1, 3, 5], [0, 3, 6, 9, 12, 15, 18, 21, 24, 28], 2),
    ],
    # one cell: nothing smaller
    (1, 1): [[(0, 0, 1)], [], [], []],
    # three regions, 3/2 apart, overlap by 1/4, four by 1/2: four; two thirds of a cell at level 4 are left out
    (2, 5): [
        [(0, 0, 2), (0, 1, 2), (0, 2, 2), (0, 3, 2)],
        spread([0, 1], [0, 1, 2, 3, 4], 1),
        spread([0, 0, 1], [0, 0, 1, 2, 3, 4], 1),
        [],
    ],
    # a strip one cell high: regions are cells, as many as are ever taken
    (1, 20): [spread([0], [0, 3, 6, 9, 12, 15, 19], 1), [], [], []],
}


@pytest.mark.parametrize("levels", [1, 2, 3, 4])
@pytest.mark.parametrize("shape", BY_HAND)
def test_rmac_regions_by_hand(shape, levels):
    wanted = [region for level in BY_HAND[shape][:levels] for region in level]
    found = rmac_regions(*shape, levels)
    assert found.dtype == np.int64
    assert list(map(tuple, found.tolist())) == wanted
    assert reference.rmac_regions(*shape, levels) == wanted


def test_rmac_regions_of_every_small_map():
    """Within the map, its whole length, turned by 90 degrees the same, and what the loop gives (but where two numbers are as near)."""
    for height in range(1, 25):
        for width in range(1, 25):
            found = rmac_regions(height, width, 4)
            top, left, side = found.T
            assert (side >= 1).all()
            assert (top >= 0).all()
            assert (left >= 0).all()
            assert (top + side).max() == height
            assert (left + side).max() == width
            assert not found[0, :2].any()
            assert side[0] == min(height, width)
            turned = rmac_regions(width, height, 4)
            assert sorted(found[:, [1, 0, 2]].tolist()) == sorted(turned.tolist())
            shares = sorted(reference.overlaps(height, width).values())
            if height == width or shares[0] != shares[1]:
                assert list(map(tuple, found.tolist())) == reference.rmac_regions(height, width, 4)


def test_rmac_regions_overlap_as_near_as_can_be_to_two_fifths():
    for long in range(17, 57):  # beyond, seven are not enough
        lefts = rmac_regions(16, long, 1)[:, 1]
        exact = (16 - (long - 16) / (len(lefts) - 1)) / 16
        others = [(16 - (long - 16) / (n - 1)) / 16 for n in range(2, MOST + 2)]
        assert abs(exact - OVERLAP) == min(abs(other - OVERLAP) for other in others)
        assert np.abs(np.diff(lefts) - (long - 16) / (len(lefts) - 1)).max() < 1


@pytest.mark.parametrize("size", [(1, 1), (1, 50), (40, 40), (40, 41), (33, 100), (100, 33), (128, 300), (64, 65), (97, 251)])
@pytest.mark.parametrize("side", [1, 2, 7, 32, 64, 500])
def test_patch_grid_covers_the_photo(size, side):
    grid = patch_grid(*size, side)
    used = min(side, *size)
    covered = np.zeros(size, bool)
    for top, left, length in grid:
        assert length == used
        assert 0 <= top <= size[0] - used
        assert 0 <= left <= size[1] - used
        covered[top : top + length, left : left + length] = True
    assert covered.all()
    for axis in (0, 1):
        starts = np.unique(grid[:, axis])
        assert starts[0] == 0
        assert starts[-1] == size[axis] - used
        assert len(starts) == 1 or np.diff(starts).max() <= max(1, used // 2)
    assert len(np.unique(grid, axis=0)) == len(grid)
    assert grid.dtype == np.int64


def extractor(**params):
    """A small network with random weights, on the CPU."""
    made = Cnn(Cnn.Params(model="squeezenet1_1", weights="random", **params))
    made.settle(device="cpu")
    return made


def views_of(photo, scales, flip):
    """A photo as the network gets it: normalised, at every scale, and mirrored."""
    pixels = photo.pixels.astype(np.float32) / 255
    x = torch.from_numpy(((pixels - np.float32(MEAN)) / np.float32(STD)).transpose(2, 0, 1)[None].astype(np.float32))
    height, width = x.shape[2:]
    for scale in scales:
        view = x
        if scale != 1:
            size = (round(height * scale), round(width * scale))
            view = torch.nn.functional.interpolate(x, size=size, mode="bilinear", align_corners=False, antialias=True)
        yield view
        if flip:
            yield view.flip(3)


def outputs(made, photo, scales=(1.0,), flip=False):
    """Maps of each view, per layer, float64."""
    return [[output[0].numpy().astype(np.float64) for output in made._network(view)] for view in views_of(photo, scales, flip)]


PHOTO = Photo(texture(3, 112, 80, channels=3), (112, 80))
POOLS = {
    "avg": reference.avg,
    "max": reference.largest,
    "gem": lambda feature: reference.gem(feature, 3.0),
    "crow": reference.crow,
    "rmac": lambda feature: reference.rmac(feature, reference.rmac_regions(*feature.shape[1:], 3)),
}


@pytest.mark.parametrize("pool", POOLS)
@pytest.mark.parametrize(("scales", "flip"), [((1.0,), False), ((1.0, 0.75), False), ((1.0,), True), ((1.0, 1.5), True)])
@pytest.mark.parametrize("combine", ["sum", "gem"])
def test_a_photos_vector_is_the_views_pooled_and_combined(pool, scales, flip, combine):
    made = extractor(pool=pool, scales=scales, flip=flip, combine=combine)
    (found,) = made.describe([PHOTO])
    parts = [reference.unit(POOLS[pool](maps[0])) for maps in outputs(made, PHOTO, scales, flip)]
    same(found, reference.combined(parts, combine, 3.0))
    assert np.linalg.norm(found) == pytest.approx(1, abs=1e-5)


def test_signed_vectors_of_views_keep_their_signs():
    """A map before its ReLU, where cnnimageretrieval-pytorch would give NaN."""
    made = extractor(layer=("features.0",), pool="avg", scales=(1.0, 0.75), flip=True, combine="gem", p=2.5)
    (found,) = made.describe([PHOTO])
    parts = [reference.unit(reference.avg(maps[0])) for maps in outputs(made, PHOTO, (1.0, 0.75), True)]
    assert min(part.min() for part in parts) < 0
    same(found, reference.combined(parts, "gem", 2.5))


def test_several_layers_are_pooled_each_by_itself():
    made = extractor(layer=("features.12", "features.4"), pool="gem", p=2.0)
    (found,) = made.describe([PHOTO])
    ((late, early),) = outputs(made, PHOTO)
    assert len(late) > len(early)
    same(found, reference.unit(np.concatenate([reference.unit(reference.gem(late, 2.0)), reference.unit(reference.gem(early, 2.0))])))


def test_cam_of_a_network_is_the_loop():
    made = extractor(pool="cam", classes=5)
    (found,) = made.describe([PHOTO])
    ((feature,),) = outputs(made, PHOTO)
    classifier = made._network.model.classifier[1]
    weight, bias = classifier.weight.flatten(1).numpy(), classifier.bias.numpy()
    same(found, reference.unit(reference.cam(feature, weight, bias, 5)))


@pytest.mark.parametrize("layer", [("features.12",), ("features.12", "features.4")])
def test_local_features_are_the_columns(layer):
    made = extractor(pool="none", layer=layer)
    (found,) = made.describe([PHOTO])
    (features,) = outputs(made, PHOTO)
    wanted, strengths = reference.columns(features)
    assert (strengths > 0).all()
    same(found.descriptors.astype(np.float64), wanted, 1e-3)  # stored as float16
    same(found.keypoints[:, 3] / strengths.max(), strengths / strengths.max())
    rows, columns = max((feature.shape[1:] for feature in features), key=lambda shape: shape[0] * shape[1])
    x, y = found.keypoints[:, 0].reshape(rows, columns), found.keypoints[:, 1].reshape(rows, columns)
    assert np.ptp(x, axis=0).max() == np.ptp(y, axis=1).max() == 0  # row by row
    step = 16 if len(layer) == 1 else 4
    assert np.allclose(np.diff(x, axis=1), step)
    assert np.allclose(np.diff(y, axis=0), step)


def test_zero_maps_are_told_of():
    """A black photo under a network that nothing moves: its vector is zero, and so are all its columns."""
    made = extractor(pool="max")
    with silent(made._network.model):
        (vector,) = made.describe([PHOTO])
        assert vector.code == "no-descriptors"
    local = extractor(pool="none")
    with silent(local._network.model):
        (features,) = local.describe([PHOTO])
        assert features.descriptors.shape == (0, 512)
        assert features.keypoints.shape == (0, 4)


@contextlib.contextmanager
def silent(model):
    """All weights 0 for a while."""
    kept = {name: value.clone() for name, value in model.state_dict().items()}
    try:
        with torch.no_grad():
            for value in model.parameters():
                value.zero_()
        yield
    finally:
        model.load_state_dict(kept)
