"""Extractors of local features by OpenCV: the contract of every one, and what is particular to SIFT and dense SIFT."""

import dataclasses

import cv2
import numpy as np
import pytest
from helpers import encoded, texture
from PIL import Image

from imgret import registry
from imgret.errors import ImgretError, UsageError
from imgret.extractors import EXTRACTORS
from imgret.extractors.base import KEYPOINT_COLUMNS, to_full_size
from imgret.extractors.dense import DenseSift
from imgret.extractors.sift import RootSift, Sift
from imgret.images import ORIENTATION, Photo, decode, upright

PHOTO = decode(encoded(texture(4, 240, 180)))
EVERY = pytest.mark.parametrize("name", ["sift", "rootsift", "dense-sift"])


def made(name, **params):
    kind = registry.load(EXTRACTORS, name, "extractor")
    return kind(kind.Params(**params))


def sift(**params):
    return Sift(Sift.Params(**params)).extract(PHOTO)


def opencv():
    """All keypoints and descriptors that OpenCV finds, as floats."""
    return opencv_detector().detectAndCompute(PHOTO.pixels, None)


def opencv_detector():
    return cv2.SIFT_create(contrastThreshold=Sift.Params().contrast_threshold, enable_precise_upscale=True)


@EVERY
def test_contract_of_what_comes_out(name):
    extractor = made(name)
    features = extractor.extract(PHOTO)
    count = len(features.stored)
    assert count > 50
    assert features.keypoints.shape == (count, len(extractor.keypoint_columns))
    assert features.keypoints.dtype == np.float32
    assert features.stored.shape == (count, extractor.dim)
    assert features.stored.dtype == np.dtype(extractor.dtype)
    decoded = features.descriptors
    assert decoded.dtype == np.float32
    assert decoded.shape == features.stored.shape
    assert np.isfinite(decoded).all()
    x, y, scale = features.keypoints[:, :3].T
    assert (x >= -0.5).all()
    assert (x <= 239.5).all()
    assert (y >= -0.5).all()
    assert (y <= 179.5).all()
    assert (scale > 0).all()


@EVERY
def test_contract_of_the_class(name):
    extractor = made(name)
    assert extractor.name == name
    assert isinstance(extractor.version, int)
    assert extractor.descriptor_type in ("float", "uint8", "binary")
    assert extractor.grey in (True, False)
    assert extractor.max_size == extractor.params.max_size
    assert type(extractor).__doc__
    assert "References" in type(extractor).__doc__
    assert type(extractor).extract.__doc__
    assert type(extractor).decode.__doc__
    assert extractor.Params.__doc__
    assert dataclasses.is_dataclass(extractor.Params)
    for field in dataclasses.fields(extractor.Params):
        assert field.metadata["help"]
        assert field.metadata["role"] in (registry.SPACE, registry.SAMPLING)
    with pytest.raises(dataclasses.FrozenInstanceError):
        extractor.params.max_size = 3


@EVERY
def test_parameters_survive_json(name):
    params = made(name).params
    assert type(params).from_json(params.to_json()) == params


@EVERY
def test_deterministic_and_without_memory(name):
    extractor, other = made(name), made(name)
    first = extractor.extract(PHOTO)
    other.extract(decode(encoded(texture(9))))
    second = other.extract(PHOTO)
    assert first.keypoints.tobytes() == second.keypoints.tobytes()
    assert first.stored.tobytes() == second.stored.tobytes()


@EVERY
@pytest.mark.parametrize("shape", [(100, 100), (1, 1), (1, 500), (500, 1), (2, 2), (3, 3), (2, 700), (8, 8)])
def test_a_blank_photo_has_no_descriptors(name, shape):
    extractor = made(name)
    features = extractor.extract(Photo(np.full(shape, 77, np.uint8), shape[::-1]))
    assert features.keypoints.shape == (0, 5)
    assert features.keypoints.dtype == np.float32
    assert features.stored.shape == (0, extractor.dim)
    assert features.stored.dtype == np.dtype(extractor.dtype)
    assert features.descriptors.shape == (0, extractor.dim)


@EVERY
@pytest.mark.parametrize("shape", [(2, 2), (2, 900), (700, 3), (5, 5), (16, 16), (17, 33)])
def test_small_and_narrow_photos(name, shape):
    noise = np.random.default_rng(0).integers(0, 256, shape).astype(np.uint8)
    features = made(name).extract(Photo(noise, shape[::-1]))
    assert len(features.keypoints) == len(features.stored)


@EVERY
@pytest.mark.parametrize("orientation", [1, 6, 8])
def test_keypoints_are_at_full_size_of_the_upright_photo(name, orientation):
    """A photo reduced to half its size has its keypoints where the same photo, unreduced, has them: within half a pixel."""
    small = texture(4, 240, 180)
    large = np.repeat(np.repeat(small, 2, axis=0), 2, axis=1)  # averaging areas of two by two gives `small` back
    exif = Image.Exif()
    exif[ORIENTATION] = orientation
    data = encoded(np.ascontiguousarray(upright(large, {6: 8, 8: 6}.get(orientation, 1))), exif=exif)
    extractor = made(name, max_size=240)
    photo = decode(data, max_size=extractor.max_size)
    assert photo.size == (480, 360)
    assert np.array_equal(photo.pixels, small)
    reduced, whole = extractor.extract(photo), extractor.extract(Photo(small, (240, 180)))
    assert np.abs(reduced.keypoints[:, :2] - (2 * whole.keypoints[:, :2] + 0.5)).max() < 1e-3
    assert np.allclose(reduced.keypoints[:, 2], 2 * whole.keypoints[:, 2])


def test_a_blob_is_found_where_it_is_at_full_size():
    y, x = np.mgrid[:600, :800]
    for cx, cy in ((301.0, 199.0), (520.5, 377.25)):
        blob = 20 + 200 * np.exp(-((x - cx) ** 2 + (y - cy) ** 2) / (2 * 12.0**2))
        for max_size in (0, 640, 500, 400):
            photo = decode(encoded(blob.round().astype(np.uint8)), max_size=max_size)
            keypoints = sift_of(photo)
            nearest = np.hypot(keypoints[:, 0] - cx, keypoints[:, 1] - cy).min()
            assert nearest < 0.5
            best = np.hypot(keypoints[:, 0] - cx, keypoints[:, 1] - cy).argmin()
            assert abs(keypoints[best, 2] / 12.0 - 1) < 0.35


def sift_of(photo):
    return Sift(Sift.Params()).extract(photo).keypoints


def test_to_full_size_keeps_corners():
    photo = Photo(np.zeros((50, 100), np.uint8), (400, 200))
    xy, factor = to_full_size(np.array([[-0.5, -0.5], [99.5, 49.5], [49.5, 24.5]]), photo)
    assert np.allclose(xy, [[-0.5, -0.5], [399.5, 199.5], [199.5, 99.5]])
    assert factor == 4


def test_sift_is_opencv_s_to_the_last_bit():
    keypoints, descriptors = opencv()
    features = sift(max_keypoints=0)
    assert len(features.keypoints) == len(keypoints)
    expected = {(p.pt[0], p.pt[1], p.size / 2, p.angle): d for p, d in zip(keypoints, descriptors, strict=True)}
    for row, descriptor in zip(features.keypoints.tolist(), features.stored, strict=True):
        assert np.array_equal(expected[tuple(row[:4])], descriptor.astype(np.float32))  # whole numbers below 256: uint8 loses nothing


def test_sift_is_in_order_of_response_then_place():
    keypoints = sift(max_keypoints=0).keypoints.astype(np.float64)
    rows = [(-score, y, x, scale, angle) for x, y, scale, angle, score in keypoints.tolist()]
    assert rows == sorted(rows)
    assert len({row[0] for row in rows}) < len(rows)  # several orientations of one keypoint tie


@pytest.mark.parametrize("count", [1, 2, 7, 50, 100_000])
def test_max_keypoints_is_a_cut_of_all(count):
    features, every = sift(max_keypoints=count), sift(max_keypoints=0)
    assert len(features.keypoints) == min(count, len(every.keypoints))
    assert np.array_equal(features.keypoints, every.keypoints[:count])
    assert np.array_equal(features.stored, every.descriptors[:count])


def test_upright_has_one_keypoint_per_place_and_no_angle():
    features = sift(upright=True, max_keypoints=0)
    places = {tuple(row[:3]) for row in features.keypoints.tolist()}
    assert len(places) == len(features.keypoints)
    assert places == {tuple(row[:3]) for row in sift(max_keypoints=0).keypoints.tolist()}
    assert np.isnan(features.keypoints[:, 3]).all()
    assert len(sift(upright=True, max_keypoints=9).keypoints) == 9
    assert np.array_equal(sift(upright=True, max_keypoints=9).descriptors, features.stored[:9])


def test_upright_descriptors_are_those_at_angle_zero():
    keypoints, _ = opencv()
    for point in keypoints:
        point.angle = 0.0
    keypoints, descriptors = opencv_detector().compute(PHOTO.pixels, keypoints)
    expected = {(*p.pt, p.size / 2): d for p, d in zip(keypoints, descriptors, strict=True)}
    features = sift(upright=True, max_keypoints=0)
    for row, descriptor in zip(features.keypoints.tolist(), features.stored, strict=True):
        assert np.array_equal(expected[tuple(row[:3])], descriptor.astype(np.float32))


def test_thresholds_reach_opencv():
    assert len(sift(contrast_threshold=0.08).keypoints) < len(sift().keypoints)
    assert len(sift(edge_threshold=2.0).keypoints) < len(sift().keypoints)
    assert len(sift(max_keypoints=0, octave_layers=5).keypoints) != len(sift(max_keypoints=0).keypoints)
    assert not np.array_equal(sift(sigma=2.0).keypoints[:5], sift().keypoints[:5])


def test_rootsift_is_applied_on_reading():
    stored = sift().stored
    extractor = RootSift(RootSift.Params())
    assert np.array_equal(extractor.extract(PHOTO).stored, stored)
    decoded = extractor.extract(PHOTO).descriptors
    for row, descriptor in zip(decoded, stored.astype(np.float64), strict=True):
        assert np.allclose(row, np.sqrt(descriptor / descriptor.sum()), atol=1e-6)
    assert np.allclose(np.linalg.norm(decoded, axis=1), 1, atol=1e-6)
    assert np.array_equal(Sift(Sift.Params()).decode(stored), stored.astype(np.float32))
    assert (extractor.decode(np.zeros((2, 128), np.uint8)) == 0).all()


def dense(photo=PHOTO, **params):
    return DenseSift(DenseSift.Params(**params)).extract(photo)


def test_dense_grid_is_regular_inside_and_centred():
    noise = np.random.default_rng(1).integers(0, 256, (180, 240)).astype(np.uint8)
    features = dense(Photo(noise, (240, 180)), bins=(4.0,), step=8)
    x, y = np.unique(features.keypoints[:, 0]), np.unique(features.keypoints[:, 1])
    assert set(np.diff(x)) == {8}
    assert set(np.diff(y)) == {8}
    for places, length in ((x, 240), (y, 180)):
        assert places[0] >= 10  # two and a half bins of four pixels
        assert places[-1] <= length - 1 - 10
        assert abs(places[0] - (length - 1 - places[-1])) <= 1
        assert places[0] - 8 < 10
    assert len(features.keypoints) == len(x) * len(y)


def test_dense_scales_are_in_order_with_the_sigma_of_their_bins():
    features = dense(bins=(4.0, 6.0, 8.0))
    scales = features.keypoints[:, 2]
    assert np.allclose(np.unique(scales), [4 / 3, 6 / 3, 8 / 3])
    assert (np.diff(scales) >= 0).all()
    for scale in np.unique(scales):
        rows = features.keypoints[scales == scale][:, [1, 0]].tolist()
        assert rows == sorted(rows)
    assert np.isnan(features.keypoints[:, 3]).all()
    assert (features.keypoints[:, 4] == 0).all()


def test_dense_descriptor_of_a_horizontal_ramp_points_along_x():
    ramp = np.tile(np.arange(120, dtype=np.uint8), (100, 1))
    features = dense(Photo(ramp, (120, 100)), bins=(6.0,))
    histogram = features.stored.reshape(-1, 16, 8)
    assert (histogram.argmax(axis=2)[histogram.any(axis=2)] == 0).all()


def test_dense_leaves_out_flat_areas():
    half = np.full((200, 200), 90, np.uint8)
    half[:, 120:] = texture(3, 80, 200)
    features = dense(Photo(half, (200, 200)), bins=(4.0, 8.0))
    for size in (4.0, 8.0):
        x = features.keypoints[np.isclose(features.keypoints[:, 2], size / 3), 0]
        assert x.min() >= 119 - 2.5 * size - 1
        assert len(x) > 20


def test_dense_takes_large_bins_and_leaves_out_what_does_not_fit():
    assert len(dense(bins=(60.0,)).keypoints) == 0
    features = dense(bins=(4.0, 30.0))
    assert (features.keypoints[:, 2] > 9).any()


def test_dense_rootsift_is_a_choice():
    stored = dense().descriptors
    plain, root = DenseSift(DenseSift.Params(rootsift=False)), DenseSift(DenseSift.Params())
    assert np.array_equal(plain.decode(stored), stored.astype(np.float32))
    assert np.allclose(np.linalg.norm(root.decode(stored), axis=1), 1, atol=1e-6)
    assert plain.params.space() != root.params.space()


def test_what_is_space_and_what_is_sampling():
    assert set(Sift.Params().space()) == {"sigma", "octave_layers", "upright"}
    assert set(DenseSift.Params().space()) == {"rootsift"}


@pytest.mark.parametrize(
    ("kind", "settings", "message"),
    [
        (Sift, ["max_size=-1"], "`max_size` must be an integer of at least 0, got -1"),
        (Sift, ["max_keypoints=many"], "`max_keypoints` must be an integer, got 'many'"),
        (Sift, ["sigma=0"], "`sigma` must be a number from 0.1 to 32.0, got 0.0"),
        (Sift, ["sigma=nan"], "`sigma` must be a number from 0.1 to 32.0, got nan"),
        (Sift, ["octave_layers=17"], "`octave_layers` must be an integer from 1 to 16, got 17"),
        (Sift, ["upright=perhaps"], "`upright` must be true or false, got 'perhaps'"),
        (DenseSift, ["step=0"], "`step` must be a positive integer, got 0"),
        (DenseSift, ["bins=4,x"], "`bins` must be a number, got 'x'"),
        (DenseSift, ["bins=0.5"], "`bins` must be a number of at least 1, got 0.5"),
        (DenseSift, ["bins="], "`bins` must hold at least one value"),
    ],
)
def test_parameters_out_of_range(kind, settings, message):
    with pytest.raises(UsageError) as caught:
        kind.Params.parse(settings)
    assert (str(caught.value), caught.value.exit_code) == (message, 2)


def test_an_extractor_that_is_not_there():
    with pytest.raises(UsageError) as caught:
        registry.load(EXTRACTORS, "surf", "extractor")
    assert str(caught.value) == f"there is no extractor 'surf'; choose one of: {', '.join(EXTRACTORS)}"
    assert issubclass(UsageError, ImgretError)
    assert KEYPOINT_COLUMNS == ("x", "y", "scale", "angle", "score")
