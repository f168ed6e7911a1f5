"""Learned whitening against the enumeration of all pairs, on data where it helps, and on what it must refuse."""

import itertools
import json

import numpy as np
import pytest

from imgret.codebooks import lw as lw_module
from imgret.codebooks.lw import LW
from imgret.codebooks.pca import PCA
from imgret.encoders.project import Project
from imgret.errors import ImgretError, UsageError

D = 24


def build(**settings):
    return LW(LW.Params(**settings))


def unit(x):
    return (x / np.linalg.norm(x, axis=1, keepdims=True)).astype(np.float32)


def photos(objects, views, seed=0, dims=D):
    """Unit vectors of `views` photos of each object, and the groups: the views differ most where objects differ little."""
    rng = np.random.default_rng(seed)
    mixing = np.linalg.qr(np.random.default_rng(99).normal(size=(dims, dims)))[0]
    share = np.arange(1, dims + 1) / dims
    centres = rng.normal(size=(objects, dims)) * share
    noise = rng.normal(size=(objects, views, dims)) * share[::-1] * 1.5
    x = unit((centres[:, None] + noise).reshape(-1, dims) @ mixing + 3)
    return x, list(np.arange(objects * views).reshape(objects, views))


def learned(x, groups, size, regulariser):
    """(mean, components, eigenvalues), pair by pair in float64."""
    x = np.asarray(x, np.float64)
    pairs = [pair for group in groups for pair in itertools.combinations(group, 2)]
    differences = np.array([x[i] - x[j] for i, j in pairs])
    scatter = differences.T @ differences / len(pairs)
    scatter += regulariser * np.mean(np.diag(scatter)) * np.eye(x.shape[1])
    whitening = np.linalg.inv(np.linalg.cholesky(scatter))
    mean = x.mean(axis=0)
    values, vectors = np.linalg.eigh(np.cov(whitening @ (x - mean).T))
    components = (vectors[:, ::-1].T @ whitening)[:size]
    for component in components:
        if component[np.abs(component).argmax()] < 0:
            component *= -1
    return mean, components, values[::-1][:size]


def mean_average_precision(x, views):
    """Every row a query for the others of its object, by inner product of the normalised rows."""
    x = unit(x)
    order = np.argsort(-(x @ x.T), axis=1, kind="stable")
    total = 0.0
    for query, ranked in enumerate(order):
        good = (ranked // views == query // views)[ranked != query]
        total += (np.cumsum(good) / np.arange(1, len(good) + 1))[good].mean()
    return total / len(x)


def same(a, b):
    return a.to_arrays().keys() == b.to_arrays().keys() and all(
        np.array_equal(value, b.to_arrays()[name]) for name, value in a.to_arrays().items()
    )


class Checkpoint:
    """Keeps every state; starts from one of them."""

    def __init__(self, state=None):
        self.state, self.states = state, []

    def load(self):
        return self.state

    def save(self, make_state):
        self.states.append(make_state())


@pytest.fixture
def small_blocks(monkeypatch):
    """Several panels, tasks and blocks; groups that reach over a block's end, and over several."""
    monkeypatch.setattr(lw_module, "BLOCK", 16)
    monkeypatch.setattr(lw_module, "PANEL", 10)
    monkeypatch.setattr(lw_module, "GROUP", 2)


def uneven(seed=3):
    """300 photos of objects whose variances stand well apart, groups of 2 to 60 of them that overlap, and photos in none."""
    rng = np.random.default_rng(seed)
    rows = rng.permutation(300)
    centres = rng.normal(size=(300, D)) * 2 * 0.75 ** np.arange(D)
    groups, start = [], 0
    while start < 280:
        size = int(rng.choice([2, 3, 4, 5, 9, 40, 60]))
        groups.append(rows[start : start + size])
        centres[groups[-1]] = centres[rows[start]]
        start += size
    groups += [group[1:4] for group in groups if len(group) > 4]
    return unit(centres + 0.3 * rng.normal(size=(300, D)) + 0.5), groups


# What it learns


@pytest.mark.parametrize("regulariser", [0.0, 1.0])
@pytest.mark.parametrize("blocks", ["large", "small"])
def test_is_the_enumeration_of_all_pairs(regulariser, blocks, request):
    if blocks == "small":
        request.getfixturevalue("small_blocks")
    x, groups = uneven()
    codebook = build(size=8, regulariser=regulariser).fit(x, groups)
    mean, components, values = learned(x, groups, 8, regulariser)
    assert codebook.dim_ == D
    assert np.allclose(codebook.mean_, mean, atol=1e-6)
    assert np.abs(codebook.components_ - components).max() <= 1e-5 * np.abs(components).max()
    assert np.allclose(codebook.eigenvalues_, values, rtol=1e-5)
    projected = codebook.project(x)
    assert np.abs(projected - (x - mean) @ components.T).max() <= 1e-5 * np.abs(projected).max()
    assert codebook.summary() == {
        "rows": 300,
        "groups": len(groups),
        "pairs": sum(len(group) * (len(group) - 1) // 2 for group in groups),
        "largest_eigenvalue": codebook.eigenvalues_[0],
        "smallest_eigenvalue": codebook.eigenvalues_[-1],
    }
    assert json.loads(json.dumps(codebook.summary())) == codebook.summary()


def test_whitens_the_differences_and_decorrelates_the_rows():
    x, groups = photos(200, 3)
    codebook = build(size=D, regulariser=0.0).fit(x, groups)
    y = codebook.transform(x).astype(np.float64)
    differences = np.array([y[i] - y[j] for group in groups for i, j in itertools.combinations(group, 2)])
    assert np.allclose(differences.T @ differences / len(differences), np.eye(D), atol=1e-4)
    assert np.allclose(np.cov(y.T), np.diag(codebook.eigenvalues_), atol=1e-4 * codebook.eigenvalues_[0])


def test_matching_photos_rank_higher_than_by_pca():
    x, groups = photos(300, 4)
    new, _ = photos(60, 4, seed=1)
    whitened = mean_average_precision(build(size=12).fit(x, groups).project(new), 4)
    for whiten in (False, True):
        assert whitened > 0.2 + mean_average_precision(PCA(PCA.Params(size=12, whiten=whiten)).fit(x).project(new), 4)


def test_few_pairs_need_a_regulariser():
    x, groups = photos(D, 2)
    new, _ = photos(60, 4, seed=1)
    some, little = (mean_average_precision(build(size=12, regulariser=share).fit(x, groups).project(new), 4) for share in (0.1, 1e-4))
    assert some > little + 0.05


def test_projects_through_the_encoder():
    x, groups = photos(50, 3)
    codebook = build(size=5).fit(x, groups)
    encoder = Project(Project.Params(), codebook)
    assert encoder.dim == 5
    assert codebook.default_encoder == encoder.name
    assert codebook.name in encoder.needs[0].methods
    assert np.allclose(encoder.encode_block(x), unit(codebook.project(x)), atol=1e-6)


def test_parameters():
    assert LW.needs_groups
    assert LW.version == 1
    assert LW.Params().to_json() == {"size": 128, "regulariser": 1.0}
    assert LW.Params().space() == LW.Params().to_json()
    with pytest.raises(UsageError, match=r"^`size` must be a positive integer, got 0$"):
        LW.Params(size=0)
    with pytest.raises(UsageError, match=r"^`regulariser` must be a number from 0.0 to 1000000.0, got -0.1$"):
        LW.Params(regulariser=-0.1)


# How it learns


def test_jobs_change_nothing(small_blocks):
    x, groups = uneven()
    before = x.copy()
    one, three = (build(size=6).fit(x, groups, jobs=jobs) for jobs in (1, 3))
    assert same(one, three)
    assert one.summary() == three.summary()
    assert np.array_equal(x, before)


def test_resumes_from_every_state(small_blocks):
    x, groups = uneven()
    whole, seen = Checkpoint(), []
    expected = build(size=6).fit(x, groups, checkpoint=whole, progress=lambda *state: seen.append(state))
    assert seen == [(done, len(seen) - 1, "inner products") for done in range(len(seen))]
    assert len(whole.states) == len(seen) - 1 > 50
    for number, state in enumerate(whole.states):
        rest = Checkpoint({name: np.atleast_1d(value) for name, value in state.items()})
        again = build(size=6).fit(x, groups, jobs=2, checkpoint=rest)
        assert same(again, expected)
        assert len(rest.states) == len(whole.states) - number - 1
    for state in ({}, {"surplus": np.zeros(3)}, {**whole.states[3], "scatter": np.zeros((2, 2))}):
        assert same(build(size=6).fit(x, groups, checkpoint=Checkpoint(state)), expected)


def test_order_and_kind_of_the_groups_do_not_matter():
    x, groups = photos(60, 3)
    expected = build(size=6).fit(x, groups)
    assert same(build(size=6).fit(x, [group.tolist() for group in groups]), expected)
    assert same(build(size=6).fit(x, [group.astype(np.uint8) for group in groups]), expected)
    other = build(size=6).fit(x, [group[::-1] for group in groups[::-1]])
    assert np.allclose(other.components_, expected.components_, atol=1e-5 * np.abs(expected.components_).max())


@pytest.mark.parametrize("scale", [1e16, 1e-15, 1e-30])
def test_extreme_scales_give_the_same_answer(scale):
    x, groups = photos(100, 3)
    plain, scaled = build(size=6).fit(x, groups), build(size=6).fit(x * np.float32(scale), groups)
    assert np.allclose(scaled.components_.astype(np.float64) * scale, plain.components_, atol=1e-4 * np.abs(plain.components_).max())
    assert np.allclose(scaled.eigenvalues_, plain.eigenvalues_, rtol=1e-4)


def test_directions_without_variance_are_projected_to_zero():
    x, groups = photos(100, 3)
    x[:, 3] = 0.1
    codebook = build(size=D).fit(x, groups)
    assert codebook.components_[:-1].any(axis=1).all()
    assert not codebook.components_[-1].any()
    assert not codebook.project(x + 1)[:, -1].any()
    again = LW.from_arrays(codebook.params, codebook.to_arrays())
    assert same(again, codebook)


# What it refuses


def refusal(x, groups, **settings):
    with pytest.raises(ImgretError) as error:
        build(**settings).fit(x, groups)
    return str(error.value)


@pytest.mark.parametrize("seed", range(10))
def test_too_few_pairs_without_a_regulariser(seed):
    x, groups = photos(40, 2, seed)
    for pairs, regulariser in ((1, 0.0), (D // 2, 0.0), (D - 1, 0.0), (5, 1e-12)):
        assert refusal(x, groups[:pairs], size=4, regulariser=regulariser) == (
            f"the {pairs} matching pairs do not differ in all of the 24 dimensions: "
            "give more pairs, raise `regulariser`, or reduce the dimensions first with `codebook -m pca`"
        )
    assert np.isfinite(build(size=4).fit(x, groups[:1]).components_).all()
    assert np.isfinite(build(size=4, regulariser=0.0).fit(x, groups).components_).all()


def test_rows_without_a_difference(small_blocks):
    text = "the rows that match are all equal: there is no difference to learn from"
    x, _ = photos(20, 3)
    x = np.repeat(x, 3, axis=0)
    x[60:] = x[60]
    groups = [[i, i + 1, i + 2] for i in range(0, 60, 3)] + [list(range(60, 180))]
    assert refusal(x, groups, size=4) == text
    assert refusal(np.full((50, 6), 0.1, np.float32), [[0, 1], [3, 4, 5]], size=4) == text


def test_bad_sizes():
    x, groups = photos(10, 3)
    assert (
        refusal(x, groups, size=64)
        == "64 dimensions were asked for (`size`), but only 30 rows were sampled: ask for fewer, or give more photos"
    )
    assert refusal(x, groups, size=25) == "25 dimensions were asked for (`size`), but the rows have 24 columns: ask for fewer"
    assert refusal(np.zeros((2, 8193), np.float32), [[0, 1]], size=2) == (
        "the rows have 8193 columns, more than the 8192 that whitening can be learned of: reduce them first with `codebook -m pca`"
    )


def test_bad_groups():
    x, _ = photos(10, 3)
    assert refusal(x, [], size=4) == "there are no matching pairs to learn from: give at least one group of two photos"
    for group in ([], [0.0, 1.0], [True, False], [[0, 1]], 3, ["a", "b"]):
        assert refusal(x, [[1, 2], group], size=4) == "a group of matching rows must be a list of row numbers"
    assert refusal(x, [[1, 2], [4]], size=4) == "a group of matching rows must have at least 2 rows"
    for group in ([0, 30], [-1, 3], np.array([2**64 - 1, 1], np.uint64)):
        assert refusal(x, [[1, 2], group], size=4) == "a group of matching rows must hold row numbers from 0 to 29"
    assert refusal(x, [[1, 2], [5, 3, 5]], size=4) == "a group of matching rows must not hold a row twice"


def test_bad_values():
    good, groups = photos(20, 3)
    for value in (np.nan, np.inf, -np.inf):
        x = good.copy()
        x[59, 7] = value
        assert refusal(x, groups, size=4) == "the sample holds NaN or infinite values"
    x = good.copy()
    x[3, 3] = -2e19
    assert refusal(x, groups, size=4) == "the sample holds values as large as 2e+19: scale them below 1e+18"
    for x in (good.astype(np.float64), good[:, ::2], good[0], good[:, :0], good.tolist()):
        assert refusal(x, groups, size=1) == "the sample must be a C-contiguous float32 matrix with at least one column"


def test_projections_that_float32_cannot_hold():
    x, groups = photos(20, 3)
    assert refusal(x * np.float32(1e-37), groups, size=4, regulariser=1e-6) == (
        "the rows differ too little for the projection to be held in float32: scale them"
    )


def test_a_large_regulariser_gives_pca():
    x, groups = photos(100, 3)
    codebook, pca = build(size=4, regulariser=1e6).fit(x, groups), PCA(PCA.Params(size=4)).fit(x)
    assert np.allclose(unit(codebook.components_), pca.components_, atol=1e-4)


def test_transform_checks_its_input():
    x, groups = photos(20, 3)
    codebook = build(size=4).fit(x, groups)
    assert codebook.transform(x[:0]).shape == (0, 4)
    assert codebook.transform(x[:3]).dtype == np.float32
    with pytest.raises(ImgretError, match=r"^the matrix to project has 5 columns, 24 are needed$"):
        codebook.transform(x[:, :5])
    x[1, 1] = np.nan
    with pytest.raises(ImgretError, match=r"^the matrix to project holds NaN or infinite values$"):
        codebook.project(x)


# Files


def test_round_trip():
    x, groups = photos(20, 3)
    codebook = build(size=4).fit(x, groups)
    again = LW.from_arrays(LW.Params.from_json(json.loads(json.dumps(codebook.params.to_json()))), codebook.to_arrays())
    assert same(again, codebook)
    assert all(array.flags.c_contiguous for array in codebook.to_arrays().values())
    assert again.dim_ == D
    assert again.summary() == {}
    assert np.array_equal(again.project(x), codebook.project(x))


def test_arrays_it_cannot_have_given():
    x, groups = photos(20, 3)
    codebook = build(size=4).fit(x, groups)
    arrays = codebook.to_arrays()

    def refused(bad, params=codebook.params):
        with pytest.raises(ImgretError, match=r": train it again$") as error:
            LW.from_arrays(params, bad)
        return str(error.value)

    refused({})
    refused({**arrays, "more": arrays["mean"]})
    for name, value in arrays.items():
        refused({key: other for key, other in arrays.items() if key != name})
        for bad in (value.astype(np.float16), value[:-1], value[None], np.full_like(value, np.nan), np.array([b"x"] * 3)):
            refused({**arrays, name: bad})
    for bad in (-arrays["components"], arrays["components"] * 0):
        assert refused({**arrays, "components": bad}) == (
            "the codebook's `components` must have a positive entry of largest magnitude: train it again"
        )
    for bad in (arrays["eigenvalues"][::-1].copy(), arrays["eigenvalues"] - 1e9):
        assert refused({**arrays, "eigenvalues": bad}) == "the codebook's `eigenvalues` must be descending and not negative: train it again"
    narrow = {**arrays, "components": arrays["components"][:, :3].copy(), "mean": arrays["mean"][:3]}
    assert refused(narrow) == "the codebook's `components` cannot have 3 columns: train it again"
    wide = {"mean": np.zeros(8193, np.float32), "components": np.ones((1, 8193), np.float32), "eigenvalues": np.ones(1)}
    assert refused(wide, LW.Params(size=1)) == "the codebook's `components` cannot have 8193 columns: train it again"
