"""Descriptors of a whole photo: the contract of each, and each against a slow one written from its definition."""

import cmath
import collections
import colorsys
import dataclasses
import math
import sys

import cv2
import numpy as np
import pytest
from helpers import call, encoded, failures, folder, texture

from imgret import registry
from imgret.errors import ImgretError, UsageError
from imgret.extractors import EXTRACTORS
from imgret.extractors.cells import slices, split, square, unit
from imgret.extractors.color_moments import ColorMoments
from imgret.extractors.gist import Gist
from imgret.extractors.hog import Hog
from imgret.extractors.hsv_hist import HsvHist
from imgret.extractors.lbp import Lbp
from imgret.images import BadPhoto, Photo

NAMES = ("hsv-hist", "color-moments", "lbp", "hog", "gist")
# beside the defaults: every parameter at another value
SETTINGS = [
    ("hsv-hist", []),
    ("hsv-hist", ["bins=12,1,3"]),
    ("color-moments", []),
    ("color-moments", ["grid=1", "color_space=hsv"]),
    ("lbp", []),
    ("lbp", ["points=12", "radius=2.5", "mapping=riu2", "grid=3"]),
    ("lbp", ["points=16", "radius=2", "grid=2"]),
    ("hog", []),
    ("hog", ["side=96", "cell=12", "orientations=8", "signed=yes"]),
    ("gist", []),
    ("gist", ["side=65", "orientations=8,8,4", "grid=3"]),
]
EVERY = pytest.mark.parametrize("name", NAMES)
EVERY_SETTING = pytest.mark.parametrize(("name", "settings"), SETTINGS)
DATA = encoded(texture(4, 240, 180, channels=3))


def made(name, *settings):
    if name == "lbp":
        pytest.importorskip("skimage")
    kind = registry.load(EXTRACTORS, name, "extractor")
    return kind(kind.Params.parse(settings))


def photo_of(pixels):
    pixels = np.ascontiguousarray(pixels, dtype=np.uint8)
    return Photo(pixels, (pixels.shape[1], pixels.shape[0]))


def noise(extractor, height, width, seed=0):
    """A photo of noise, grey or RGB as the extractor takes it."""
    return photo_of(np.random.default_rng(seed).integers(0, 256, (height, width) if extractor.grey else (height, width, 3)))


def flat(extractor, height, width, level=77):
    return photo_of(np.full((height, width) if extractor.grey else (height, width, 3), level))


@EVERY_SETTING
def test_contract_of_what_comes_out(name, settings):
    extractor = made(name, *settings)
    vector = extractor.extract(extractor.read(DATA))
    assert vector.shape == (extractor.dim,)
    assert vector.dtype == np.float32 == np.dtype(extractor.dtype)
    assert np.isfinite(vector).all()
    assert abs(np.linalg.norm(vector.astype(np.float64)) - 1) < 1e-6
    assert name == "color-moments" or (vector >= 0).all()
    assert list(extractor.columns()) == ["vectors"]


@EVERY
def test_contract_of_the_class(name):
    extractor = made(name)
    assert (extractor.name, extractor.gives, extractor.version) == (name, "vectors", 1)
    assert extractor.grey == (name in ("lbp", "hog", "gist"))
    assert extractor.max_size == getattr(extractor.params, "max_size", 0)
    assert type(extractor).__doc__.splitlines()[0].endswith(".")
    assert "References" in type(extractor).__doc__
    assert type(extractor).extract.__doc__
    for field in dataclasses.fields(extractor.Params):
        assert field.metadata["help"]
        assert (field.metadata["role"] == registry.SAMPLING) == (field.name == "max_size")
    assert extractor.settle() is None


@EVERY_SETTING
def test_parameters_survive_json(name, settings):
    params = made(name, *settings).params
    assert type(params).from_json(params.to_json()) == params


@EVERY_SETTING
def test_deterministic_and_without_memory(name, settings):
    extractor, other = made(name, *settings), made(name, *settings)
    other.extract(noise(other, 50, 70))
    pixels = extractor.read(DATA).pixels
    before = pixels.copy()
    assert extractor.extract(photo_of(pixels)).tobytes() == other.extract(photo_of(pixels)).tobytes()
    assert np.array_equal(pixels, before)


@EVERY_SETTING
@pytest.mark.parametrize("shape", [(1, 1), (1, 2), (1, 400), (700, 1), (3, 2), (2, 3), (3, 3), (5, 90), (17, 16)])
def test_small_and_narrow_photos(name, settings, shape):
    extractor = made(name, *settings)
    photo = noise(extractor, *shape)
    if name == "lbp" and min(shape) <= 2 * math.ceil(extractor.params.radius) or name in ("hog", "gist") and shape == (1, 1):
        with pytest.raises(BadPhoto) as caught:
            extractor.extract(photo)
        assert caught.value.code == "no-descriptors"
    else:
        assert abs(np.linalg.norm(extractor.extract(photo).astype(np.float64)) - 1) < 1e-6


@pytest.mark.parametrize("shape", [(100, 100), (1, 1), (1, 500), (3, 2), (128, 128)])
@pytest.mark.parametrize("level", [0, 77, 119, 255])
@EVERY
def test_flat_photos(name, shape, level):
    extractor = made(name)
    reason = {"hsv-hist": None, "color-moments": "it is black" if level == 0 else None, "hog": "it has no gradients"}
    reason = reason.get(name, "all its pixels are the same")
    if reason is None:
        assert abs(np.linalg.norm(extractor.extract(flat(extractor, *shape, level))) - 1) < 1e-6
        return
    with pytest.raises(BadPhoto) as caught:
        extractor.extract(flat(extractor, *shape, level))
    assert (caught.value.code, caught.value.reason) == ("no-descriptors", reason)


@EVERY
def test_a_bad_photo_does_not_spoil_the_others(name):
    extractor = made(name)
    good = noise(extractor, 40, 40)
    first, bad, last = extractor.describe([good, flat(extractor, 40, 40, 0), good])
    assert np.array_equal(first, extractor.extract(good))
    assert np.array_equal(first, last)
    assert isinstance(bad, BadPhoto) == (name != "hsv-hist")


@EVERY
def test_from_photos_to_a_ranking(name, tmp_path):
    made(name)
    photos = folder(tmp_path / "photos", 3, channels=3)
    (tmp_path / "photos" / "black.png").write_bytes(encoded(np.zeros((40, 40), np.uint8)))
    vectors, index = tmp_path / "vectors.h5", tmp_path / "index.h5"
    for arguments in (
        ("extract", photos, "-m", name, "-o", vectors, "-j1", "--max-failed", "1"),
        ("info", "--check", vectors),
        ("index", vectors, "-o", index, "-j1"),
    ):
        result = call(*arguments)
        assert result.code == 0, result.err
    assert {key: code for key, (code, _) in failures(vectors).items()} == ({} if name == "hsv-hist" else {"black.png": "no-descriptors"})
    result = call("search", index, tmp_path / "photos" / "1.png", "-k", "1", "--format", "tsv", "--keep-self")
    assert result.code == 0, result.err
    assert result.lines[1].split("\t")[1:3] == ["1", "1.png"]
    assert abs(float(result.lines[1].split("\t")[3]) - 1) < 1e-5


@EVERY
def test_like_photos_are_nearer_than_others(name):
    extractor = made(name)
    first, darker, other = (extractor.extract(extractor.read(encoded(p))) for p in _three_photos())
    assert first @ darker > first @ other + 0.01


def _three_photos():
    first, other = texture(4, 240, 180, channels=3), texture(5, 240, 180, channels=3)
    return first, (first * 0.95).astype(np.uint8), other


@pytest.mark.parametrize(
    ("name", "settings", "message"),
    [
        ("hsv-hist", ["bins=8,4"], "`bins` must hold three values (hue, saturation, value), got 2"),
        ("hsv-hist", ["bins=8,4,0"], "`bins` must be an integer from 1 to 32, got 0"),
        ("hsv-hist", ["bins=33,4,4"], "`bins` must be an integer from 1 to 32, got 33"),
        ("hsv-hist", ["max_size=-1"], "`max_size` must be an integer from 0 to 16384, got -1"),
        ("color-moments", ["grid=0"], "`grid` must be an integer from 1 to 16, got 0"),
        ("color-moments", ["color_space=rgb"], "`color_space` must be one of lab, hsv, got 'rgb'"),
        ("lbp", ["points=25"], "`points` must be an integer from 4 to 24, got 25"),
        ("lbp", ["radius=0.5"], "`radius` must be a number from 1 to 32, got 0.5"),
        ("lbp", ["radius=nan"], "`radius` must be a number from 1 to 32, got nan"),
        ("lbp", ["mapping=ri"], "`mapping` must be one of u2, riu2, got 'ri'"),
        ("lbp", ["grid=17"], "`grid` must be an integer from 1 to 16, got 17"),
        ("hog", ["side=100"], "`side` must be a multiple of `cell` and hold at least two, got 100 and 16"),
        ("hog", ["side=16"], "`side` must be a multiple of `cell` and hold at least two, got 16 and 16"),
        ("hog", ["side=257"], "`side` must be an integer from 16 to 256, got 257"),
        ("hog", ["cell=2"], "`cell` must be an integer from 4 to 128, got 2"),
        ("hog", ["orientations=1"], "`orientations` must be an integer from 2 to 36, got 1"),
        ("gist", ["orientations="], "`orientations` must hold one to six values, got 0"),
        ("gist", ["orientations=1,1,1,1,1,1,1"], "`orientations` must hold one to six values, got 7"),
        ("gist", ["orientations=8,17"], "`orientations` must be an integer from 1 to 16, got 17"),
        ("gist", ["side=16"], "`side` must be an integer from 32 to 256, got 16"),
        ("gist", ["grid=0"], "`grid` must be an integer from 1 to 16, got 0"),
    ],
)
def test_parameters_out_of_range(name, settings, message):
    with pytest.raises(UsageError) as caught:
        registry.load(EXTRACTORS, name, "extractor").Params.parse(settings)
    assert str(caught.value) == message


@EVERY
def test_no_parameters_ask_for_huge_vectors(name):
    kind = registry.load(EXTRACTORS, name, "extractor")
    largest = {
        "hsv-hist": ["bins=32,32,32"],
        "color-moments": ["grid=16"],
        "lbp": ["points=24", "grid=16"],
        "hog": ["side=256", "cell=4", "orientations=36"],
        "gist": ["orientations=16,16,16,16,16,16", "grid=16"],
    }
    assert kind(kind.Params.parse(largest[name])).dim < 1_000_000


# cells


@pytest.mark.parametrize("length", [1, 2, 5, 16, 31])
@pytest.mark.parametrize("count", [1, 2, 3, 7, 16])
def test_slices_are_runs_of_nearly_the_same_length(length, count):
    runs = [range(length)[run] for run in slices(length, count)]
    assert len(runs) == count
    assert all(runs)
    assert {pixel for run in runs for pixel in run} == set(range(length))
    if length >= count:
        assert [pixel for run in runs for pixel in run] == list(range(length))
        assert max(map(len, runs)) - min(map(len, runs)) <= 1


def test_cells_are_in_order():
    pixels = np.arange(4 * 6).reshape(4, 6)
    assert [cell.tolist() for cell in split(pixels, 2)] == [
        [[0, 1, 2], [6, 7, 8]],
        [[3, 4, 5], [9, 10, 11]],
        [[12, 13, 14], [18, 19, 20]],
        [[15, 16, 17], [21, 22, 23]],
    ]


def test_square_averages_areas_and_enlarges():
    pixels = np.random.default_rng(0).integers(0, 256, (64, 96)).astype(np.uint8)
    means = pixels.reshape(32, 2, 32, 3).mean(axis=(1, 3))
    assert np.abs(square(pixels, 32) - means).max() <= 0.5 + 1e-6
    assert np.array_equal(square(pixels[:32, :32], 32), pixels[:32, :32])
    narrow = square(np.array([[0, 200]], np.uint8), 32)  # wide enough in neither direction
    assert narrow.shape == (32, 32)
    assert (narrow == narrow[0]).all()
    assert (np.diff(narrow[0].astype(int)) >= 0).all()
    assert (narrow[0, 0], narrow[0, -1]) == (0, 200)


def test_unit_refuses_what_has_no_direction():
    assert np.allclose(unit([3, 4], "zero"), [0.6, 0.8])
    for bad in ([0.0, 0.0], [np.nan, 1.0]):
        with pytest.raises(BadPhoto):
            unit(bad, "zero")


# hsv-hist


@pytest.mark.parametrize("bins", [(8, 4, 4), (5, 3, 2), (1, 1, 32)])
def test_hsv_hist_is_a_count_of_colours(bins):
    """Against Python's own HSV; pixels too near to the edge of a bin for 256 levels are left out."""

    def bin_of(levels):
        return tuple(level * count // 256 for level, count in zip(levels, bins, strict=True))

    kept, counts = [], collections.Counter()
    for pixel in np.random.default_rng(3).integers(0, 256, (6000, 3)).tolist():
        hue, saturation, value = colorsys.rgb_to_hsv(*(channel / 255 for channel in pixel))
        levels = (hue * 256, saturation * 255, value * 255)
        near = {bin_of([math.floor(min(max(level + shift, 0), 255)) for level in levels]) for shift in (-1.5, 0, 1.5)}
        if len(near) == 1 and levels[0] < 254:
            kept.append(pixel)
            counts[near.pop()] += 1
    count = len(kept) // 40 * 40
    for pixel in kept[count:]:  # back to a rectangle
        hue, saturation, value = colorsys.rgb_to_hsv(*(channel / 255 for channel in pixel))
        counts[bin_of([math.floor(hue * 256), math.floor(saturation * 255), math.floor(value * 255)])] -= 1
    assert count > 1000
    expected = np.zeros(bins)
    for place, number in counts.items():
        expected[place] = math.sqrt(number / count)
    extractor = made("hsv-hist", "bins=" + ",".join(map(str, bins)))
    vector = extractor.extract(photo_of(np.reshape(kept[:count], (40, -1, 3))))
    assert np.allclose(vector, expected.ravel(), atol=1e-6)


def test_hsv_hist_product_is_the_bhattacharyya_coefficient():
    def colours(red, blue):
        return photo_of([[(255, 0, 0)] * red + [(0, 0, 255)] * blue])

    extractor = made("hsv-hist")
    first, second = extractor.extract(colours(1, 3)), extractor.extract(colours(4, 1))
    assert np.isclose(first @ second, math.sqrt(1 / 4 * 4 / 5) + math.sqrt(3 / 4 * 1 / 5))


# color-moments


def moments(values):
    """Mean, standard deviation and cube root of the third central moment, term by term."""
    count = len(values)
    mean = math.fsum(values) / count
    third = math.fsum((value - mean) ** 3 for value in values) / count
    return [mean, math.sqrt(math.fsum((value - mean) ** 2 for value in values) / count), math.copysign(abs(third) ** (1 / 3), third)]


def hsv_of(pixels):
    return [colorsys.rgb_to_hsv(*(channel / 255 for channel in pixel)) for pixel in pixels.tolist()]


def lab_of(pixels):
    """CIE L*a*b* of sRGB under D65, from its definition; L* in units of 100, a* and b* of 255."""

    def linear(v):
        return v / 12.92 if v <= 0.04045 else ((v + 0.055) / 1.055) ** 2.4

    def f(t):
        return t ** (1 / 3) if t > (6 / 29) ** 3 else t * (29 / 6) ** 2 / 3 + 4 / 29

    found = []
    for pixel in pixels.tolist():
        r, g, b = (linear(channel / 255) for channel in pixel)
        x = f((0.412453 * r + 0.357580 * g + 0.180423 * b) / 0.950456)
        y = f(0.212671 * r + 0.715160 * g + 0.072169 * b)
        z = f((0.019334 * r + 0.119193 * g + 0.950227 * b) / 1.088754)
        found.append(((116 * y - 16) / 100, 500 * (x - y) / 255, 200 * (y - z) / 255))
    return found


def cells_of_four(pixels):
    return [pixels[top : top + 20, left : left + 30].reshape(-1, 3) for top in (0, 20) for left in (0, 30)]


def skewed_photo():
    pixels = texture(2, 60, 40, channels=3)
    pixels[:20] //= 3
    return pixels


@pytest.mark.parametrize("space", ["lab", "hsv"])
def test_color_moments_are_those_of_each_cell(space):
    pixels = skewed_photo()
    converted = cv2.cvtColor(pixels, cv2.COLOR_RGB2LAB if space == "lab" else cv2.COLOR_RGB2HSV_FULL).astype(float)
    if space == "lab":
        converted[:, :, 1:] -= 128
    expected = np.array([moments(list(channel)) for cell in cells_of_four(converted) for channel in cell.T]).ravel()
    vector = made("color-moments", "grid=2", f"color_space={space}").extract(photo_of(pixels))
    assert np.allclose(vector, expected / np.linalg.norm(expected), atol=1e-6)


@pytest.mark.parametrize(("space", "convert"), [("lab", lab_of), ("hsv", hsv_of)])
def test_color_moments_are_in_their_colour_space(space, convert):
    """Against colours in float64: what 256 levels cost is little, most where a cube root is taken of next to nothing."""
    pixels = skewed_photo()
    expected = np.array([moments(channel) for cell in cells_of_four(pixels) for channel in zip(*convert(cell), strict=True)])
    expected /= np.linalg.norm(expected)
    vector = made("color-moments", "grid=2", f"color_space={space}").extract(photo_of(pixels)).reshape(-1, 3)
    assert np.abs(vector - expected)[:, :2].max() < 2e-3
    assert np.abs(vector - expected)[:, 2].max() < 1e-2


def test_color_moments_of_black_and_white():
    """A quarter of the pixels white: mean 1/4, variance 3/16, third moment 3/32; colour 0."""
    pixels = np.zeros((20, 30, 3))
    pixels[::2, ::2] = 255
    expected = np.zeros((9, 3))
    expected[0::3] = 0.25, math.sqrt(3 / 16), (3 / 32) ** (1 / 3)
    vector = made("color-moments", "grid=1").extract(photo_of(pixels))
    assert np.allclose(vector, (expected[:3] / np.linalg.norm(expected[:3])).ravel(), atol=1e-6)
    white = made("color-moments", "grid=1").extract(photo_of(255 - pixels))
    assert vector[2] > 0 > white[2]
    assert np.isclose(abs(vector[2] / vector[1]), abs(white[2] / white[1]))


# lbp


def patterns(pixels, points, radius):
    """For each pixel whose circle fits: the bits along it, counterclockwise from the right."""
    margin, (height, width) = math.ceil(radius), pixels.shape
    found = {}
    for row in range(margin, height - margin):
        for column in range(margin, width - margin):
            bits = []
            for point in range(points):
                y = row - round(radius * math.sin(2 * math.pi * point / points), 5)
                x = column + round(radius * math.cos(2 * math.pi * point / points), 5)
                top, left = math.floor(y), math.floor(x)
                down, right = y - top, x - left
                value = 0.0
                for yy, xx, weight in (
                    (top, left, (1 - down) * (1 - right)),
                    (top, left + 1, (1 - down) * right),
                    (top + 1, left, down * (1 - right)),
                    (top + 1, left + 1, down * right),
                ):
                    value += weight * pixels[yy, xx] if weight else 0.0
                bits.append(int(value - pixels[row, column] >= -1e-9))
            found[row - margin, column - margin] = tuple(bits)
    return found


def naive_cells(pixels, points, radius, grid):
    """Share of each uniform pattern, by its bits (None for all others), in each cell."""
    found = patterns(pixels, points, radius)
    height, width = (1 + max(place[axis] for place in found) for axis in (0, 1))
    cells = [collections.Counter() for _ in range(grid * grid)]
    for (row, column), bits in found.items():
        changes = sum(a != b for a, b in zip(bits, bits[1:] + bits[:1], strict=True))
        inside = [next(i for i in range(grid) if n * i // grid <= at < n * (i + 1) // grid) for at, n in ((row, height), (column, width))]
        cells[inside[0] * grid + inside[1]][bits if changes <= 2 else None] += 1
    return [{key: count / cell.total() for key, count in cell.items()} for cell in cells]


@pytest.mark.parametrize(("points", "radius", "grid"), [(8, 1.0, 1), (8, 1.0, 3), (12, 2.5, 2), (16, 2.0, 1)])
def test_lbp_is_the_share_of_each_pattern(points, radius, grid):
    pixels = texture(6, 45, 38)
    cells = naive_cells(pixels, points, radius, grid)
    settings = (f"points={points}", f"radius={radius}", f"grid={grid}")

    rotation_invariant = np.zeros((grid * grid, points + 2))
    for row, cell in zip(rotation_invariant, cells, strict=True):
        for bits, share in cell.items():
            row[points + 1 if bits is None else sum(bits)] += share
    vector = made("lbp", "mapping=riu2", *settings).extract(photo_of(pixels))
    assert np.allclose(vector, np.sqrt(rotation_invariant).ravel() / grid, atol=1e-6)

    # the order of the bins is the library's: all bins at once, each with its shares over the cells, must be the same set
    keys = sorted({key for cell in cells for key in cell if key is not None})
    expected = np.array([[cell.get(key, 0) for cell in cells] for key in [*keys, None]])
    histogram = (made("lbp", "mapping=u2", *settings).extract(photo_of(pixels)).reshape(grid * grid, -1).astype(np.float64) * grid) ** 2
    assert histogram.shape[1] == points * (points - 1) + 3
    filled = histogram.T[histogram.any(axis=0)].round(5)
    wanted = expected[expected.any(axis=1)].round(5)
    assert np.allclose(filled[np.lexsort(filled.T)], wanted[np.lexsort(wanted.T)], atol=2e-5)


def test_lbp_turned_photos():
    pixels = texture(6, 64, 64)
    for mapping, same in (("riu2", True), ("u2", False)):
        extractor = made("lbp", "grid=1", f"mapping={mapping}")
        first, turned = extractor.extract(photo_of(pixels)), extractor.extract(photo_of(np.rot90(pixels)))
        assert np.allclose(first, turned, atol=1e-6) == same


def test_lbp_does_not_see_brightness_and_contrast():
    pixels = texture(6, 64, 64) // 2
    extractor = made("lbp")
    assert np.allclose(extractor.extract(photo_of(pixels)), extractor.extract(photo_of(pixels * 2 + 1)), atol=1e-6)


def test_lbp_of_a_photo_as_large_as_its_circle():
    extractor = made("lbp", "radius=2", "grid=4")
    vector = extractor.extract(noise(extractor, 5, 5))
    assert ((vector > 0).reshape(16, -1).sum(axis=1) == 1).all()  # one pixel, in every cell
    with pytest.raises(BadPhoto) as caught:
        extractor.extract(noise(extractor, 4, 50))
    assert caught.value.reason == "it is under 5 pixels wide or high, too small for the circle of its patterns"


def test_lbp_without_scikit_image(monkeypatch):
    extractor = Lbp(Lbp.Params())
    monkeypatch.setitem(sys.modules, "skimage.feature", None)
    for use in (extractor.settle, lambda: extractor.extract(noise(extractor, 9, 9))):
        with pytest.raises(ImgretError) as caught:
            use()
        assert str(caught.value) == "lbp needs scikit-image: pip install 'imgret[classic]'"
        assert caught.value.exit_code == 1


# hog


def naive_hog(pixels, cell, orientations, signed):
    """HOG pixel by pixel: each votes for two orientations in up to four cells of a block."""
    root = np.sqrt(pixels.astype(np.float64))
    side, turn = len(pixels), 2 * math.pi if signed else math.pi
    padded = np.pad(root, 1, mode="reflect")
    dx, dy = padded[1:-1, 2:] - padded[1:-1, :-2], padded[2:, 1:-1] - padded[:-2, 1:-1]
    blocks = []
    for left in range(0, side - cell, cell):
        for top in range(0, side - cell, cell):
            votes = np.zeros((2, 2, orientations))  # cell across, cell down
            for y in range(2 * cell):
                for x in range(2 * cell):
                    gx, gy = dx[top + y, left + x], dy[top + y, left + x]
                    weight = math.hypot(gx, gy) * math.exp(-((x - cell) ** 2 + (y - cell) ** 2) / (2 * (cell / 2) ** 2))
                    place = (math.atan2(gy, gx) % turn) / turn * orientations - 0.5
                    for orientation in (math.floor(place), math.floor(place) + 1):
                        for across in (0, 1):
                            for down in (0, 1):
                                near = max(0, 1 - abs((x + 0.5) / cell - 0.5 - across)) * max(0, 1 - abs((y + 0.5) / cell - 0.5 - down))
                                votes[across, down, orientation % orientations] += weight * near * (1 - abs(place - orientation))
            block = votes.ravel()
            block = np.minimum(block / (np.linalg.norm(block) + 0.1 * block.size), 0.2)  # OpenCV's own small numbers
            blocks.append(block / (np.linalg.norm(block) + 1e-3))
    found = np.concatenate(blocks)
    return found / np.linalg.norm(found)


@pytest.mark.parametrize(("cell", "orientations", "signed"), [(8, 9, False), (16, 6, True)])
def test_hog_is_a_vote_of_gradients(cell, orientations, signed):
    pixels = texture(8, 32, 32)
    settings = ("side=32", f"cell={cell}", f"orientations={orientations}", f"signed={signed}")
    vector = made("hog", *settings).extract(photo_of(pixels))
    assert np.abs(vector - naive_hog(pixels, cell, orientations, signed)).max() < 2e-3


@pytest.mark.parametrize("orientation", range(9))
def test_hog_of_a_ramp_has_one_orientation(orientation):
    angle = math.radians(20 * orientation + 10)  # the middle of its bin
    y, x = np.mgrid[:128, :128] - 63.5
    ramp = 120 + 1.2 * (x * math.cos(angle) + y * math.sin(angle))
    votes = made("hog").extract(photo_of(ramp.round())).reshape(-1, 9)
    assert (votes.argmax(axis=1) == orientation).all()


def test_hog_of_one_bright_corner():
    """Blocks go down before they go right."""
    pixels = np.full((128, 128), 50)
    pixels[100:120, 10:20] = 200
    blocks = np.linalg.norm(made("hog").extract(photo_of(pixels)).reshape(7, 7, 36), axis=2)
    assert set(zip(*np.nonzero(blocks), strict=True)) == {(0, 5), (0, 6), (1, 5), (1, 6)}


# gist


def fourier(size):
    """The matrix of a discrete Fourier transform."""
    return np.array([[cmath.exp(-2j * math.pi * j * k / size) for k in range(size)] for j in range(size)])


def mirrored(pixels, margin):
    """Continued on each side by its mirror image, the edge pixel twice."""
    size = len(pixels)
    places = [min(max(i, -1 - i), 2 * size - 1 - i) if not 0 <= i < size else i for i in range(-margin, size + margin)]
    return np.array([[pixels[i, j] for j in places] for i in places])


def naive_gist(pixels, orientations, grid):
    """By Fourier matrices and formulas term by term, in float64."""
    side = len(pixels)
    x = mirrored(np.log(pixels + 1.0), 5)
    size = len(x)
    forward, back = fourier(size), fourier(size).conj() / size
    signed = [k if k < size / 2 else k - size for k in range(size)]
    low = np.array([[0.5 ** ((u * u + v * v) / 16) for u in signed] for v in signed])
    x = x - (back @ (forward @ x @ forward * low) @ back).real
    deviation = np.sqrt(np.abs(back @ (forward @ (x * x) @ forward * low) @ back))
    x = mirrored((x / (0.2 + deviation))[5:-5, 5:-5], side // 4)
    size = len(x)
    forward, back = fourier(size), fourier(size).conj() / size
    spectrum = forward @ x @ forward
    signed = [k if k < size / 2 else k - size for k in range(size)]
    found = []
    for scale, count in enumerate(orientations):
        for turn in range(count):
            transfer = np.zeros((size, size))
            for j, v in enumerate(signed):
                for k, u in enumerate(signed):
                    angle = math.atan2(v, u) + math.pi * turn / count
                    angle = math.atan2(math.sin(angle), math.cos(angle))
                    radius = math.hypot(u, v) / size * 1.85**scale / 0.3
                    transfer[j, k] = math.exp(-3.5 * (radius - 1) ** 2 - 2 * math.pi * (count * angle / 8) ** 2)
            answer = np.abs(back @ (spectrum * transfer) @ back)[side // 4 : side // 4 + side, side // 4 : side // 4 + side]
            for i in range(grid):
                for j in range(grid):
                    rows, columns = (slice(side * n // grid, side * (n + 1) // grid) for n in (i, j))
                    found.append(answer[rows, columns].mean())
    return np.array(found) / np.linalg.norm(found)


@pytest.mark.parametrize(("side", "orientations", "grid"), [(32, (4, 2), 4), (35, (3, 1, 2), 3)])
def test_gist_is_the_energy_of_gabor_filters(side, orientations, grid):
    pixels = texture(8, side, side)
    extractor = made("gist", f"side={side}", "orientations=" + ",".join(map(str, orientations)), f"grid={grid}")
    vector = extractor.extract(photo_of(pixels))
    assert np.abs(vector - naive_gist(pixels, orientations, grid)).max() < 1e-5


@pytest.mark.parametrize("scale", [0, 1, 2])
@pytest.mark.parametrize("turn", range(8))
def test_gist_of_a_grating_answers_at_its_scale_and_orientation(scale, turn):
    y, x = np.mgrid[:128, :128]
    angle = math.pi * turn / 8
    phase = 2 * math.pi * 0.3 / 1.85**scale * (x * math.cos(angle) - y * math.sin(angle))
    energy = made("gist").extract(photo_of((120 + 40 * np.cos(phase)).round())).reshape(4, 8, 16).sum(axis=2)
    assert np.unravel_index(energy.argmax(), energy.shape) == (scale, turn)


def test_gist_says_where():
    pixels = np.full((128, 128), 90)
    pixels[70:90, 100:120] = texture(1, 20, 20)
    energy = made("gist").extract(photo_of(pixels)).reshape(32, 4, 4)
    assert np.unravel_index(energy[:8].sum(axis=0).argmax(), (4, 4)) == (2, 3)


def test_gist_and_hog_do_not_depend_on_the_size_of_the_photo():
    small = texture(3, 128, 128)
    large = np.repeat(np.repeat(small, 2, axis=0), 3, axis=1)
    for name in ("gist", "hog"):
        extractor = made(name)
        assert np.array_equal(extractor.extract(photo_of(small)), extractor.extract(photo_of(large)))


def test_names_and_classes():
    kinds = (HsvHist, ColorMoments, Lbp, Hog, Gist)
    assert tuple(kind.name for kind in kinds) == NAMES
    assert all(registry.load(EXTRACTORS, kind.name, "extractor") is kind for kind in kinds)
    assert "not the authors' code" in " ".join(Gist.__doc__.split())
