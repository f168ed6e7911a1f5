"""Normalisation over the whole float32 range, against float64."""

import numpy as np
import pytest

from imgret import arrays
from imgret.errors import ImgretError

SCALES = [1e-38, 1e-30, 1e-20, 1e-15, 1e-8, 1.0, 1e8, 1e15, 1e18, 1e20, 1e30, 1e37]


def matrix(count=40, dims=130, seed=0):
    return np.random.default_rng(seed).standard_normal((count, dims), np.float32)


def exact(x):
    wide = x.astype(np.float64)
    return np.sqrt((wide * wide).sum(axis=1))


@pytest.mark.parametrize("pairwise", [False, True])
@pytest.mark.parametrize("scale", SCALES)
def test_rows_of_any_size(scale, pairwise):
    x = matrix() * np.float32(scale)
    before = x.copy()
    norms, unit = arrays.row_norms(x, pairwise), arrays.unit_rows(x, pairwise)
    assert norms.dtype == np.float64
    assert unit.dtype == np.float32
    np.testing.assert_allclose(norms, exact(x), rtol=1e-6)
    np.testing.assert_allclose(unit, x / exact(x)[:, None], rtol=1e-6)
    assert np.array_equal(x, before)
    assert arrays.unit_rows(x, pairwise, out=x) is x
    assert np.array_equal(x, unit)


@pytest.mark.parametrize("pairwise", [False, True])
def test_a_row_does_not_depend_on_the_others(pairwise):
    x = np.concatenate([matrix() * np.float32(scale) for scale in SCALES] + [np.zeros((2, 130), np.float32)])
    together = arrays.unit_rows(x, pairwise)
    for row, unit in zip(x, together, strict=True):
        assert np.array_equal(arrays.unit_rows(row[None], pairwise)[0], unit)


@pytest.mark.parametrize("pairwise", [False, True])
def test_the_ends_of_float32(pairwise):
    most, least = np.finfo(np.float32).max, np.finfo(np.float32).smallest_subnormal
    for value in (most, -most, least, -least):
        for dims in (1, 4, 1000):
            x = np.zeros((3, dims), np.float32)
            x[1] = value
            unit = arrays.unit_rows(x, pairwise)
            assert not unit[[0, 2]].any()
            np.testing.assert_allclose(unit[1], np.sign(value) / np.sqrt(dims), rtol=1e-6)
            np.testing.assert_allclose(arrays.unit(x, "float32"), unit, rtol=1e-6)


@pytest.mark.parametrize("pairwise", [False, True])
@pytest.mark.parametrize("dims", [1, 3, 8, 127, 4096])
def test_ordinary_rows_are_divided_in_float32(dims, pairwise):
    """To the last digit: what is stored was made so."""
    x = matrix(dims=dims)
    x[::5] = 0
    squares = np.sum(np.square(x), axis=1) if pairwise else np.einsum("ij,ij->i", x, x)
    norms = np.sqrt(squares)
    assert norms.dtype == np.float32
    assert np.array_equal(arrays.unit_rows(x, pairwise), x / np.where(norms > 0, norms, 1)[:, None])


def test_no_rows():
    empty = np.zeros((0, 5), np.float32)
    for pairwise in (False, True):
        assert arrays.row_norms(empty, pairwise).shape == (0,)
        assert arrays.unit_rows(empty, pairwise).shape == (0, 5)


def test_a_whole_matrix_as_one_vector():
    x = matrix()
    for scale in SCALES:
        unit = arrays.unit(x * np.float32(scale), "float32")
        np.testing.assert_allclose(unit, x / np.linalg.norm(x.astype(np.float64)), rtol=1e-6, atol=1e-8)
    assert arrays.unit(x, "float16").dtype == np.float16
    assert not arrays.unit(np.zeros((2, 3), np.float32), "float32").any()
    x[3, 3] = np.inf
    with pytest.raises(ImgretError) as error:
        arrays.unit(x, "float32")
    assert str(error.value) == ("the descriptors are too large to be encoded in float32: scale them, and train the codebook on them again")
