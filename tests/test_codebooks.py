"""The contract of every codebook, and each one against a slow reference."""

import dataclasses
import json

import numpy as np
import pytest
from reference_codebooks import em_step, kmeans_objective, lloyd_step, log_likelihood, pca

from imgret import registry
from imgret.codebooks import CODEBOOKS
from imgret.codebooks import pca as pca_module
from imgret.codebooks.gmm import GMM
from imgret.codebooks.kmeans import KMeans
from imgret.codebooks.local import FULL
from imgret.codebooks.passes import assign
from imgret.codebooks.pca import PCA
from imgret.errors import ImgretError, UsageError
from imgret.indexes import INDEXES

CASES = [
    ("kmeans", {"size": 12, "iterations": 6}),
    ("kmeans", {"size": 12, "iterations": 4, "init": "random", "pca": 5, "tolerance": 0.0}),
    ("akm", {"size": 40, "iterations": 5, "probes": 2, "assign": "ivf"}),
    ("hkm", {"branch": 3, "depth": 3, "iterations": 3}),
    ("product", {"size": 6, "iterations": 4}),
    ("scalar", {"bits": 6, "seed": 2}),
    ("gmm", {"size": 8, "iterations": 5, "start_iterations": 3}),
    ("gmm", {"size": 8, "iterations": 4, "start_iterations": 2, "pca": 5, "tolerance": 0.0}),
    ("pca", {"size": 6}),
    ("pca", {"size": 6, "whiten": True, "regulariser": 0.01}),
    ("pq", {"bytes": 2, "nbits": 4}),
    ("opq", {"bytes": 1, "nbits": 4}),
    ("ivfpq", {"bytes": 2, "nbits": 4, "lists": 6}),
    ("ivf-flat", {"lists": 6}),
]
QUANTISERS = {name: settings for name, settings in CASES if name in INDEXES}
OTHERWISE = ("lw", "words", "hamming")  # learned from groups of rows, or from photos: tests/test_lw.py, tests/test_visual_words.py
SAMPLED = [name for name in CODEBOOKS if name not in OTHERWISE]
SIZES = {"pca": 128, "akm": 65536, "product": 256, "hkm": None, "scalar": None}  # by default, where that is not 64
SMALL = {**QUANTISERS, "hkm": {"branch": 3, "depth": 2}, "scalar": {"bits": 4}}
HUGE = 1.0e18


def small(name, size=4):
    """Settings of a small codebook."""
    return SMALL.get(name, {"size": size})


def other(name, settings):
    """Settings by which what is learned has other shapes."""
    changed = {"hkm": {"branch": 4}, "scalar": {"bits": 5}, **dict.fromkeys(QUANTISERS, {"bytes": 3}), "ivfpq": {"lists": 5}}
    return {**settings, **({"lists": 5} if "lists" in settings else changed.get(name, {"size": 5}))}


def build(name, settings):
    component = registry.load(CODEBOOKS, name, "codebook")
    return component(component.Params(**settings))


def clusters(count=20_000, dims=16, seed=0):
    """More than two blocks, not a whole number of them."""
    rng = np.random.default_rng(seed)
    centres = rng.normal(3, 4, (15, dims))
    return (centres[rng.integers(0, 15, count)] + rng.normal(size=(count, dims))).astype(np.float32)


@pytest.fixture(scope="module")
def x():
    return clusters()


class Checkpoint:
    """Keeps every state; starts from one of them."""

    def __init__(self, state=None):
        self.state, self.states = state, []

    def load(self):
        return self.state

    def save(self, make_state):
        state = make_state()
        # What a store keeps: it has no truth values.
        assert all(isinstance(value, np.ndarray) and value.dtype.kind in "if" for value in state.values())
        self.states.append(state)


def same(a, b):
    return a.to_arrays().keys() == b.to_arrays().keys() and all(
        np.array_equal(value, b.to_arrays()[name]) for name, value in a.to_arrays().items()
    )


def finite(codebook):
    numbers = [*codebook.to_arrays().values(), *codebook.summary().values()]
    return all(np.isfinite(value).all() for value in numbers)


# The contract


@pytest.mark.parametrize("name", SAMPLED)
def test_is_described(name):
    component = registry.load(CODEBOOKS, name, "codebook")
    assert component.name == name
    assert component.version == 1
    assert component.default_encoder in ("vlad", "fisher", "project", "bow") or name in QUANTISERS
    assert component.__doc__
    params = component.Params()
    size = None if name in QUANTISERS else SIZES.get(name, 64)
    assert size is None or params.size == size
    assert params.seed == 0
    assert ("seed" in params.space()) == (name == "scalar")
    assert all(field.metadata["help"] for field in dataclasses.fields(params))
    if size:
        with pytest.raises(UsageError, match=r"^`size` must be (a positive integer|an integer from 1 to 4096), got 0$"):
            component.Params(size=0)


@pytest.mark.parametrize("name", SAMPLED)
def test_defaults_work(name):
    x = clusters(1000, 130)
    codebook = build(name, {"size": 500} if name == "akm" else {}).fit(x)
    assert codebook.dim_ == 130
    assert codebook.transform(x[:3]).shape == (3, {"pca": 128, "pq": 140, "opq": 140, "ivfpq": 140}.get(name, 130))
    assert codebook.transform(x[:3]).dtype == np.float32
    assert codebook.transform(x[:0]).shape[0] == 0
    assert json.loads(json.dumps(codebook.summary())) == codebook.summary()
    assert finite(codebook)


@pytest.mark.parametrize(("name", "settings"), CASES)
def test_jobs_change_nothing(name, settings, x):
    before = x.copy()
    one, two = (build(name, settings).fit(x, jobs=jobs) for jobs in (1, 2))
    assert same(one, two)
    assert one.summary() == two.summary()
    assert np.array_equal(x, before)


@pytest.mark.parametrize(("name", "settings"), CASES)
def test_resumes_from_every_state(name, settings, x):
    whole = Checkpoint()
    expected = build(name, settings).fit(x, checkpoint=whole)
    assert len(whole.states) >= 1
    step = -(-len(whole.states) // 12)
    for number, state in list(enumerate(whole.states))[::-step]:
        frozen = {key: value.copy() for key, value in state.items()}
        rest = Checkpoint(state)
        again = build(name, settings).fit(x, jobs=2, checkpoint=rest)
        assert same(again, expected)
        assert again.summary() == expected.summary()
        assert len(rest.states) <= len(whole.states) - number + 1
        assert all(np.array_equal(frozen[key], state[key]) for key in frozen)


@pytest.mark.parametrize(("name", "settings"), CASES)
def test_checkpoint_of_another_fit_is_passed_over(name, settings, x):
    kept = Checkpoint()
    build(name, settings).fit(x, checkpoint=kept)
    narrow = np.ascontiguousarray(x[:9000, :7])
    expected = build(name, other(name, settings)).fit(narrow)
    for state in (kept.states[0], kept.states[-1], {"surplus": np.zeros(3)}, {}):
        assert same(build(name, other(name, settings)).fit(narrow, checkpoint=Checkpoint(state)), expected)


@pytest.mark.parametrize(("name", "settings"), CASES)
def test_checkpoint_may_keep_scalars_as_arrays(name, settings, x):
    kept = Checkpoint()
    expected = build(name, settings).fit(x, checkpoint=kept)
    state = {key: np.atleast_1d(value) for key, value in kept.states[-1].items()}
    again = build(name, settings).fit(x, checkpoint=Checkpoint(state))
    assert same(again, expected)
    assert again.summary() == expected.summary()


@pytest.mark.parametrize(("name", "settings"), CASES)
def test_round_trip(name, settings, x):
    codebook = build(name, settings).fit(x)
    again = type(codebook).from_arrays(codebook.params, codebook.to_arrays())
    assert same(codebook, again)
    assert again.dim_ == codebook.dim_
    assert again.summary() == {}
    assert np.array_equal(codebook.transform(x[:50]), again.transform(x[:50]))


@pytest.mark.parametrize(("name", "settings"), CASES)
def test_progress_is_told(name, settings, x):
    told = []
    codebook = build(name, settings).fit(x, progress=lambda *report: told.append(report))
    done = [report[0] for report in told]
    assert done == sorted(done)
    assert all(isinstance(message, str) and 0 <= count <= total for count, total, message in told)
    assert done[0] == 0  # how much there is to do is known before any of it is done
    if name == "kmeans":
        whole = [count for count in done if isinstance(count, int)]
        assert whole == list(range(codebook.summary()["iterations"] + 1))
        assert len(done) > len(whole) or len(x) <= 8192


@pytest.mark.parametrize(("name", "settings"), CASES)
def test_arrays_from_strangers_are_refused(name, settings, x):
    codebook = build(name, settings).fit(x)
    arrays = codebook.to_arrays()
    for key, value in arrays.items():
        lacking = {other: array for other, array in arrays.items() if other != key}
        for bad in (
            lacking,
            {**arrays, "surplus": value},
            {**arrays, key: value.astype(np.int32)},
            {**arrays, key: value[:-1]},
            {**arrays, key: value[None]},
            {**arrays, key: np.full_like(value, np.nan if value.dtype.kind == "f" else -1)},
            {**arrays, key: np.array([b"x"] * 3)},
        ):
            with pytest.raises(ImgretError, match=r": train it again$"):
                type(codebook).from_arrays(codebook.params, bad)


def test_refusals_of_arrays_say_what_is_wrong(x):
    arrays = build("gmm", {"size": 2, "iterations": 1}).fit(x).to_arrays()
    params = GMM.Params(size=2)

    def refusal(**changes):
        with pytest.raises(ImgretError) as error:
            GMM.from_arrays(params, {**arrays, **changes})
        return str(error.value)

    with pytest.raises(ImgretError) as error:
        GMM.from_arrays(params, {"centroids": arrays["means"]})
    assert str(error.value) == "a codebook of this method holds weights, means, variances, not centroids: train it again"
    with pytest.raises(ImgretError) as error:
        GMM.from_arrays(params, {})
    assert str(error.value) == "a codebook of this method holds weights, means, variances, not nothing: train it again"
    assert refusal(weights=np.ones(3, np.float32)) == (
        "the codebook's `weights` must be float32 of shape (2), got float32 of shape (3): train it again"
    )
    assert refusal(means=np.ones((2, 0), np.float32)) == (
        "the codebook's `means` must be float32 of shape (2, any), got float32 of shape (2, 0): train it again"
    )
    assert refusal(means=arrays["means"] * np.float32(np.nan)) == "the codebook's `means` holds NaN or infinite values: train it again"
    assert refusal(variances=arrays["variances"] * 0) == "the codebook's `variances` must be positive: train it again"
    weights = "the codebook's `weights` must be positive and add up to 1: train it again"
    assert refusal(weights=np.ones(2, np.float32)) == weights
    assert refusal(weights=np.array([2, -1], np.float32)) == weights
    fitted = PCA(PCA.Params(size=3)).fit(x)
    for values in (fitted.eigenvalues_[::-1].copy(), fitted.eigenvalues_ - 1e9):
        with pytest.raises(ImgretError) as error:
            PCA.from_arrays(fitted.params, {**fitted.to_arrays(), "eigenvalues": values})
        assert str(error.value) == "the codebook's `eigenvalues` must be descending and not negative: train it again"


# Bad samples


@pytest.mark.parametrize(("name", "noun"), [("kmeans", "visual words"), ("gmm", "Gaussians"), ("pca", "dimensions")])
def test_too_few_rows(name, noun):
    for rows, sampled in ((40, "40 rows were sampled"), (1, "1 row was sampled")):
        with pytest.raises(ImgretError) as error:
            build(name, {"size": 64}).fit(np.full((rows, 200), np.nan, np.float32))
        assert str(error.value) == f"64 {noun} were asked for (`size`), but only {sampled}: ask for fewer, or give more photos"


def test_more_dimensions_than_there_are():
    x = clusters(30, 16)
    with pytest.raises(ImgretError) as error:
        build("pca", {"size": 20}).fit(x)
    assert str(error.value) == "20 dimensions were asked for (`size`), but the rows have 16 columns: ask for fewer"
    for name in ("kmeans", "gmm"):
        with pytest.raises(ImgretError) as error:
            build(name, {"size": 4, "pca": 17}).fit(x)
        assert str(error.value) == "a projection to 17 dimensions was asked for (`pca`), but the rows have 16 columns: ask for fewer"
        with pytest.raises(ImgretError) as error:
            build(name, {"size": 4, "pca": 12}).fit(x[:10])
        assert str(error.value) == (
            "a projection to 12 dimensions was asked for (`pca`), but only 10 rows were sampled: ask for fewer, or give more photos"
        )


@pytest.mark.parametrize("name", SAMPLED)
def test_values_that_cannot_be_used(name):
    good = clusters(50, 8)
    for value in (np.nan, np.inf, -np.inf):
        x = good.copy()
        x[49, 7] = value
        with pytest.raises(ImgretError, match=r"^the sample holds NaN or infinite values$"):
            build(name, small(name)).fit(x)
    x = good.copy()
    x[3, 3] = -2e19
    with pytest.raises(ImgretError, match=r"^the sample holds values as large as 2e\+19: scale them below 1e\+18$"):
        build(name, small(name)).fit(x)
    for x in (good.astype(np.float64), good[:, ::2], good[0], good[:, :0], good.tolist()):
        with pytest.raises(ImgretError, match=r"^the sample must be a C-contiguous float32 matrix with at least one column$"):
            build(name, small(name, 1)).fit(x)


@pytest.mark.parametrize(("name", "settings"), CASES)
@pytest.mark.parametrize("scale", [HUGE / 100, 1e-15, 1e-30])
def test_extreme_scales_give_the_same_answer(name, settings, scale):
    x = clusters(3000)
    scaled = x * np.float32(scale)
    plain, codebook = build(name, settings).fit(x), build(name, settings).fit(scaled)
    assert finite(codebook)
    assert np.isfinite(codebook.transform(scaled)).all()
    if scale > 1e-18 and name == "kmeans":
        assert np.allclose(codebook.centroids_ / np.float32(scale), plain.centroids_, rtol=1e-4, atol=1e-3)
    if scale > 1e-18 and name == "gmm":
        assert np.allclose(codebook.means_ / np.float32(scale), plain.means_, rtol=1e-3, atol=1e-2)
    if name == "pca":
        assert np.allclose(codebook.components_, plain.components_, atol=1e-4)


@pytest.mark.parametrize(("name", "settings"), CASES)
def test_constant_columns(name, settings):
    x = clusters(3000)
    x[:, 3] = 0.1
    x[:, 5] = HUGE / 1e14
    codebook = build(name, settings).fit(x)
    assert finite(codebook)
    assert np.isfinite(codebook.transform(x)).all()


@pytest.mark.parametrize("name", ["kmeans", "gmm"])
@pytest.mark.parametrize("value", [0.0, 0.1, -3e17])
def test_rows_that_are_all_equal(name, value):
    x = np.full((9000, 6), value, np.float32)
    codebook = build(name, {"size": 4, "pca": 0, "iterations": 3}).fit(x)
    assert finite(codebook)
    summary = codebook.summary()
    if name == "kmeans":
        assert np.array_equal(codebook.centroids_, x[:4])
        assert summary["objective"] == 0
        assert summary["empty_words"] == 3
    else:
        assert (codebook.variances_ > 0).all()
        assert np.array_equal(codebook.means_, x[:4])


def test_no_variance_to_project():
    text = "the 50 sampled rows are all equal: there is no variance to learn a projection from"
    x = np.full((50, 6), 0.1, np.float32)
    for name, settings in (
        ("pca", {"size": 4}),
        ("kmeans", {"size": 4, "pca": 2}),
        ("kmeans", {"size": 4}),
        ("gmm", {"size": 4, "pca": 2}),
    ):
        with pytest.raises(ImgretError) as error:
            build(name, {"size": 4} | settings).fit(x)
        assert str(error.value) == text


@pytest.mark.parametrize("init", ["k-means++", "random"])
def test_fewer_different_rows_than_words(init):
    different = clusters(10, 6)
    x = np.ascontiguousarray(different[np.random.default_rng(1).integers(0, 10, 9000)])
    codebook = build("kmeans", {"size": 25, "init": init, "iterations": 40}).fit(x)
    summary = codebook.summary()
    assert finite(codebook)
    assert summary["empty_words"] == 15
    assert summary["mean_squared_distance"] < 1e-9
    mixture = build("gmm", {"size": 25, "iterations": 10}).fit(x)
    assert finite(mixture)
    assert (mixture.variances_ > 0).all()
    assert (mixture.weights_ > 0).all()


# k-means


def test_assign_is_the_loop():
    x = clusters(300, 7)
    centroids = clusters(40, 7, seed=1)
    words, squared = assign(x, centroids)
    total, expected = kmeans_objective(x, centroids)
    assert words.tolist() == expected
    assert squared.sum(dtype=np.float64) == pytest.approx(total, rel=1e-5)


def test_assign_over_several_panels_of_words():
    x, centroids = clusters(1100, 6), clusters(4500, 6, seed=1)
    centroids[4000] = centroids[17]
    words, squared = assign(x, centroids)
    exact = ((x[:, None, :].astype(np.float64) - centroids) ** 2).sum(axis=2)
    assert np.allclose(squared, exact.min(axis=1), rtol=1e-3, atol=1e-3)
    assert np.allclose(exact[np.arange(len(x)), words], exact.min(axis=1), rtol=1e-3, atol=1e-3)
    assert 4000 not in words


def test_lloyd_is_the_loop():
    x = clusters(400, 6)
    settings = {"size": 9, "pca": 0, "init": "random", "tolerance": 0.0, "seed": 4}
    centroids = build("kmeans", {**settings, "iterations": 0}).fit(x).centroids_
    for iterations in (1, 2, 3):
        centroids = lloyd_step(x, centroids)
        codebook = build("kmeans", {**settings, "iterations": iterations}).fit(x)
        assert np.allclose(codebook.centroids_, centroids, rtol=1e-4, atol=1e-4)
    summary = codebook.summary()
    assert summary["objective"] == pytest.approx(kmeans_objective(x, codebook.centroids_)[0], rel=1e-5)
    assert summary["iterations"] == 3
    assert not summary["converged"]


def test_objective_falls_and_convergence_is_seen(x):
    costs = [build("kmeans", {"size": 30, "iterations": n, "tolerance": 0.0}).fit(x).summary()["objective"] for n in range(6)]
    assert all(after <= before for before, after in zip(costs, costs[1:], strict=False))
    summary = build("kmeans", {"size": 4, "iterations": 500, "tolerance": 1e-3}).fit(x).summary()
    assert summary["converged"]
    assert summary["iterations"] < 500


def test_plus_plus_starts_better_than_chance(x):
    def start(init, seed):
        return build("kmeans", {"size": 15, "iterations": 0, "init": init, "seed": seed}).fit(x).summary()["objective"]

    plus, chance = (np.mean([start(init, seed) for seed in range(5)]) for init in ("k-means++", "random"))
    assert plus < 0.7 * chance


def test_plus_plus_draws_by_squared_distance():
    # Three places; from the one at 0 the others are drawn as 1 : 9 (Arthur & Vassilvitskii 2007, section 2.2).
    x = np.repeat(np.float32([[0], [1], [3]]), [998, 1, 1], axis=0)
    second = []
    for seed in range(300):
        chosen = build("kmeans", {"size": 2, "pca": 0, "iterations": 0, "seed": seed}).fit(x).centroids_[:, 0].round(3).tolist()
        if chosen[0] == 0:
            second.append(chosen[1])
    assert set(second) == {1.0, 3.0}
    assert np.mean(np.array(second) == 3) == pytest.approx(0.9, abs=0.05)


def test_draws_of_one_batch_see_each_other():
    # The third and fourth words come from one batch: of four equal, far places they never take the same one.
    x = np.repeat(np.float32([[0, 0], [100, 0], [0, 100], [100, 100]]), 500, axis=0)
    for seed in range(50):
        codebook = build("kmeans", {"size": 4, "iterations": 0, "seed": seed}).fit(x)
        assert codebook.summary()["objective"] == 0


def test_empty_words_split_others():
    x = clusters(500, 4)
    far = np.concatenate([x, x[:1] + 1000, x[1:2] + 1000])
    state = {name: np.asarray(0) for name in ("iteration", "relocated", "finished")}
    state |= {"objective": np.asarray(np.inf), "centroids": np.zeros((5, 4), np.float32)}
    codebook = build("kmeans", {"size": 5, "iterations": 20}).fit(far, checkpoint=Checkpoint(state))
    assert codebook.summary()["relocated_words"] >= 4
    assert codebook.summary()["empty_words"] == 0
    assert codebook.centroids_.max() > 900


# Gaussian mixture


def test_em_is_the_loop():
    x = clusters(300, 5)
    settings = {"size": 4, "tolerance": 0.0, "variance_floor": 1e-6, "start_iterations": 3}
    start = build("gmm", {**settings, "iterations": 0}).fit(x)
    words = KMeans(KMeans.Params(size=4, iterations=3, pca=0)).fit(x)
    labels = assign(x, words.centroids_)[0]
    expected = (
        np.array([(labels == k).mean() for k in range(4)]),
        np.array([x[labels == k].mean(axis=0) for k in range(4)]),
        np.array([x[labels == k].var(axis=0) for k in range(4)]),
    )
    codebook = start
    for iterations in range(4):
        learned = codebook.weights_, codebook.means_, codebook.variances_
        for ours, theirs in zip(learned, expected, strict=True):
            assert np.allclose(ours, theirs, rtol=1e-3, atol=1e-4)
        assert codebook.summary()["log_likelihood"] == pytest.approx(log_likelihood(x, *learned), abs=1e-4)
        expected = em_step(x, *expected)
        codebook = build("gmm", {**settings, "iterations": iterations + 1}).fit(x)


def test_em_agrees_with_scikit_learn(x):
    mixture = pytest.importorskip("sklearn.mixture")
    settings = {"size": 12, "tolerance": 0.0, "start_iterations": 2}
    start = build("gmm", {**settings, "iterations": 0}).fit(x)
    weights = start.weights_.astype(np.float64)
    peer = mixture.GaussianMixture(
        12,
        covariance_type="diag",
        max_iter=5,
        tol=0,
        weights_init=weights / weights.sum(),
        means_init=start.means_,
        precisions_init=1 / start.variances_,
    )
    with pytest.warns(UserWarning, match="did not converge"):
        peer.fit(x.astype(np.float64))
    ours = build("gmm", {**settings, "iterations": 5}).fit(x)
    assert ours.summary()["log_likelihood"] >= peer.score(x.astype(np.float64)) - 1e-4
    assert np.allclose(ours.means_, peer.means_, atol=0.02)


def test_likelihood_rises_and_convergence_is_seen(x):
    told = []
    codebook = build("gmm", {"size": 15, "iterations": 300, "start_iterations": 1, "tolerance": 1e-3}).fit(
        x, progress=lambda done, total, message: told.append(message)
    )
    values = [float(message.split()[-1]) for message in told if message.startswith("log-likelihood")]
    assert all(after > before - 1e-4 for before, after in zip(values, values[1:], strict=False))
    assert codebook.summary()["converged"]
    assert codebook.summary()["iterations"] == len(values) < 300
    assert codebook.summary()["log_likelihood"] == pytest.approx(values[-1], abs=1e-3)


def test_variances_are_floored():
    x = clusters(4000, 4)
    x[:1000] = x[0]
    codebook = build("gmm", {"size": 8, "variance_floor": 0.01}).fit(x)
    floor = 0.01 * x.var(axis=0)
    assert (codebook.variances_ >= 0.999 * floor).all()
    assert codebook.summary()["floored_variances"] >= 4


def test_offset_costs_no_digits():
    x = clusters(3000, 4)
    far = x + np.float32(1000)
    near, moved = (build("gmm", {"size": 5, "iterations": 3}).fit(sample) for sample in (far - np.float32(1000), far))
    assert np.allclose(near.variances_, moved.variances_, rtol=2e-3)


# PCA


def wide(rows, columns, seed=0):
    """Rows with eigenvalues that fall by steps, so that components are well defined."""
    rng = np.random.default_rng(seed)
    rank = 12
    factors = rng.normal(size=(rows, rank)) * 0.7 ** np.arange(rank)
    basis = np.linalg.qr(rng.normal(size=(columns, rank)))[0]
    return (factors @ basis.T * 10 + rng.normal(size=columns) + rng.normal(0, 0.01, (rows, columns))).astype(np.float32)


@pytest.mark.parametrize(("rows", "columns"), [(3000, 40), (40, 3000), (9000, 20), (30, 9000), (50, 50), (600, 500), (500, 600)])
def test_pca_is_the_svd(rows, columns, monkeypatch):
    monkeypatch.setattr(pca_module, "DENSE", 300)  # the last two are decomposed iteratively
    x = wide(rows, columns)
    codebook = PCA(PCA.Params(size=8)).fit(x)
    mean, components, eigenvalues = pca(x, 8)
    assert np.allclose(codebook.mean_, mean, atol=1e-5)
    assert np.allclose(codebook.eigenvalues_, eigenvalues, rtol=1e-4)
    assert np.allclose(codebook.components_, components, atol=2e-4)
    assert np.allclose(codebook.project(x), (x - mean) @ components.T, atol=1e-2)
    total = np.var(x.astype(np.float64), axis=0, ddof=1).sum()
    assert codebook.summary()["total_variance"] == pytest.approx(total, rel=1e-4)
    assert codebook.summary()["explained_variance"] == pytest.approx(eigenvalues.sum() / total, rel=1e-4)


@pytest.mark.parametrize(("rows", "columns"), [(500, 300), (300, 500)])
def test_randomised_pca_is_the_svd(rows, columns, monkeypatch):
    monkeypatch.setattr(pca_module, "EXACT", 100)
    x = wide(rows, columns)
    kept = Checkpoint()
    codebook = PCA(PCA.Params(size=8)).fit(x, checkpoint=kept)
    _, components, eigenvalues = pca(x, 8)
    assert np.allclose(codebook.eigenvalues_, eigenvalues, rtol=1e-4)
    assert np.allclose(codebook.components_, components, atol=5e-4)
    assert same(codebook, PCA(PCA.Params(size=8)).fit(x, jobs=2))
    for state in kept.states:
        assert same(codebook, PCA(PCA.Params(size=8)).fit(x, checkpoint=Checkpoint(state)))


def test_randomised_pca_without_a_gap(monkeypatch):
    monkeypatch.setattr(pca_module, "EXACT", 100)
    x = np.random.default_rng(0).normal(size=(400, 300)).astype(np.float32)
    codebook = PCA(PCA.Params(size=20)).fit(x)
    assert np.allclose(codebook.eigenvalues_, pca(x, 20)[2], rtol=0.01)


def test_iterative_and_full_decomposition_agree(monkeypatch):
    x = np.random.default_rng(0).normal(size=(1300, 400)).astype(np.float32)
    full = PCA(PCA.Params(size=20)).fit(x)
    monkeypatch.setattr(pca_module, "DENSE", 100)
    iterative = PCA(PCA.Params(size=20)).fit(x)
    assert np.allclose(full.components_, iterative.components_, atol=1e-4)
    assert np.allclose(full.eigenvalues_, iterative.eigenvalues_, rtol=1e-6)


def test_several_panels_of_columns(monkeypatch):
    x = wide(20_000, 100)
    whole = PCA(PCA.Params(size=8)).fit(x)
    monkeypatch.setattr(pca_module, "PANEL", 30)
    monkeypatch.setattr(pca_module, "GROUP", 1)
    kept = Checkpoint()
    panels = PCA(PCA.Params(size=8)).fit(x, jobs=2, checkpoint=kept)
    assert np.allclose(whole.components_, panels.components_, atol=1e-4)
    assert len(kept.states) == 30
    assert same(panels, PCA(PCA.Params(size=8)).fit(x, checkpoint=Checkpoint(kept.states[13])))


def test_components_are_orthonormal_with_fixed_signs():
    for x, size in ((wide(3000, 40), 40), (wide(30, 500), 30), (np.repeat(wide(5, 60), 4, axis=0), 20)):
        codebook = PCA(PCA.Params(size=size)).fit(x)
        c = codebook.components_.astype(np.float64)
        assert np.allclose(c @ c.T, np.eye(size), atol=1e-5)
        assert (c[np.arange(size), np.abs(c).argmax(axis=1)] > 0).all()
        assert (np.diff(codebook.eigenvalues_) <= 0).all()
        assert (codebook.eigenvalues_ >= 0).all()


def test_whitening():
    x = wide(5000, 40)
    plain, whitened = (PCA(PCA.Params(size=8, whiten=whiten)).fit(x) for whiten in (False, True))
    assert np.allclose(plain.project(x).var(axis=0, ddof=1), plain.eigenvalues_, rtol=1e-3)
    assert np.allclose(whitened.project(x).var(axis=0, ddof=1), 1, rtol=1e-3)
    softened = PCA(PCA.Params(size=8, whiten=True, regulariser=0.5)).fit(x)
    values = plain.eigenvalues_
    assert np.allclose(softened.project(x), plain.project(x) / np.sqrt(values + 0.5 * values[0]), rtol=1e-3, atol=1e-4)


def test_whitening_of_directions_without_variance():
    x = np.repeat(wide(5, 60), 4, axis=0)
    codebook = PCA(PCA.Params(size=10, whiten=True)).fit(x)
    y = codebook.project(x)
    assert np.isfinite(y).all()
    assert np.abs(y[:, 4:]).max() == 0
    assert np.abs(y).max() < 10


def test_local_projection_is_the_pca(x):
    for name in ("kmeans", "gmm"):
        codebook = build(name, {"size": 4, "pca": 3, "iterations": 2}).fit(x)
        expected = PCA(PCA.Params(size=3)).fit(x)
        assert codebook.dim_ == 16
        assert np.array_equal(codebook.transform(x[:100]), expected.project(x[:100]))
        assert np.array_equal(build(name, {"size": 4, "pca": 0, "iterations": 0}).fit(x).transform(x[:9]), x[:9])


@pytest.mark.parametrize(("rows", "columns"), [(3000, 16), (9, 16)])
def test_projection_to_all_dimensions(x, rows, columns):
    """The default of k-means: a turn to the principal axes, or onto as many of them as there are rows; distances stay."""
    few = x[:rows]
    codebook = build("kmeans", {"size": 4, "iterations": 2}).fit(few)
    assert codebook.params.pca == FULL == -1
    assert codebook.centroids_.shape == (4, min(rows, columns))
    turned = codebook.transform(few)
    assert np.allclose(np.linalg.norm(turned[1:] - turned[0], axis=1), np.linalg.norm(few[1:] - few[0], axis=1), rtol=1e-4, atol=1e-3)
    again = type(codebook).from_arrays(codebook.params, codebook.to_arrays())
    assert again.dim_ == columns
    assert np.array_equal(again.transform(few), turned)


@pytest.mark.parametrize("name", SAMPLED)
def test_transform_checks_its_input(name, x):
    codebook = build(name, small(name)).fit(x)
    what = {"pca": "the matrix to project"} | dict.fromkeys(QUANTISERS, "the matrix to quantise")
    what = what.get(name, "the matrix of descriptors")
    with pytest.raises(ImgretError) as error:
        codebook.transform(x[:, :5])
    assert str(error.value) == f"{what} has 5 columns, 16 are needed"
