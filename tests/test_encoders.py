"""Encoders against slow loops, VLFeat and scikit-image; what must hold for any photo; every refusal's exact words."""

import importlib.util
import itertools
import pathlib
from types import SimpleNamespace

import numpy as np
import pytest
import reference_encoders as reference

from imgret import registry
from imgret.codebooks import CODEBOOKS
from imgret.encoders import ENCODERS
from imgret.encoders.bow import Bow
from imgret.encoders.fisher import GRADIENTS, Fisher
from imgret.encoders.project import Project
from imgret.encoders.vlad import Vlad
from imgret.errors import ImgretError, UsageError
from imgret.features import LocalFeatures
from imgret.parallel import one_thread
from imgret.store import layout
from imgret.words import Vocabulary

DIMS = 12


@pytest.fixture(autouse=True, scope="module")
def _one_thread():
    with one_thread():
        yield


def load_vlfeat():
    path = pathlib.Path(__file__).parent.parent / "scripts" / "vlfeat.py"
    spec = importlib.util.spec_from_file_location("vlfeat", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


vlfeat = load_vlfeat()
needs_vlfeat = pytest.mark.skipif(not vlfeat.available(), reason="libvl is not installed")


def identity(x):
    return x


def words(centroids, transform=identity, dim=None):
    centroids = np.asarray(centroids, np.float32)
    return SimpleNamespace(centroids_=centroids, transform=transform, dim_=dim or centroids.shape[1])


def mixture(weights, means, variances, transform=identity, dim=None):
    weights, means, variances = (np.asarray(array, np.float32) for array in (weights, means, variances))
    return SimpleNamespace(weights_=weights, means_=means, variances_=variances, transform=transform, dim_=dim or means.shape[1])


def random_words(seed=0, size=8, dims=DIMS):
    return words(np.random.default_rng(seed).random((size, dims)))


def random_mixture(seed=0, size=5, dims=DIMS, offset=0.0):
    rng = np.random.default_rng(seed)
    return mixture(rng.dirichlet(np.full(size, 5)), offset + rng.random((size, dims)), rng.uniform(0.02, 0.1, (size, dims)))


def descriptors(seed, count, dims=DIMS):
    return np.random.default_rng(1000 + seed).random((count, dims), dtype=np.float32)


def local(x):
    """Descriptors that are where nobody knows."""
    return LocalFeatures(np.zeros((len(x), 0), np.float32), x, ())


def encode(encoder, codebook, x, **params):
    return encoder(encoder.Params(**params), codebook).encode(local(x))


def chains():
    """Every chain of distinct steps in which residual comes first and l2 last."""
    for steps in itertools.chain.from_iterable(itertools.permutations(("intra", "power"), n) for n in range(3)):
        for first in ((), ("residual",)):
            yield (*first, *steps, "l2")


# What the formulas give


@pytest.mark.parametrize("norm", list(chains()), ids=",".join)
@pytest.mark.parametrize("power", [0.5, 0.3])
def test_vlad_equals_the_loop(norm, power):
    if power != 0.5 and "power" not in norm:
        return
    codebook = random_words()
    for seed, count in enumerate((1, 2, 7, 90)):
        x = descriptors(seed, count)
        expected = reference.vlad(x, codebook.centroids_, norm, power)
        np.testing.assert_allclose(encode(Vlad, codebook, x, norm=norm, power=power), expected, rtol=0, atol=1e-5)


@pytest.mark.parametrize("gradients", [g for n in (1, 2, 3) for g in itertools.combinations(GRADIENTS, n)], ids=",".join)
@pytest.mark.parametrize("power", [0.5, 1.0, 0.3])
def test_fisher_equals_the_loop(gradients, power):
    codebook = random_mixture()
    for seed, count in enumerate((1, 2, 40)):
        x = descriptors(seed, count)
        expected = reference.fisher(x, codebook.weights_, codebook.means_, codebook.variances_, gradients, power)
        np.testing.assert_allclose(encode(Fisher, codebook, x, gradients=gradients, power=power), expected, rtol=0, atol=1e-5)


@pytest.mark.parametrize("power", [1.0, 0.5])
def test_fisher_far_from_the_origin(power):
    """The offset costs float32 digits when the mixture is stored, not when it is used."""
    codebook = random_mixture(offset=50)
    x = descriptors(0, 30) + np.float32(50)
    expected = reference.fisher(x, codebook.weights_, codebook.means_, codebook.variances_, power=power)
    np.testing.assert_allclose(encode(Fisher, codebook, x, power=power), expected, rtol=0, atol=1e-5)


def test_fisher_of_wide_and_narrow_components():
    """Densities that differ by hundreds of orders of magnitude, as a mixture of 64 dimensions has them."""
    rng = np.random.default_rng(0)
    size, dims = 24, 64
    variances = 10 ** rng.uniform(-2, 0, (size, 1)) * rng.uniform(0.5, 2, (size, dims)) * 0.01
    codebook = mixture(rng.dirichlet(np.full(size, 5)), 0.1 * rng.standard_normal((size, dims)), variances)
    drawn = rng.integers(size, size=60)
    x = (codebook.means_[drawn] + np.sqrt(codebook.variances_[drawn]) * rng.standard_normal((60, dims))).astype(np.float32)
    for power in (1.0, 0.5):
        expected = reference.fisher(x, codebook.weights_, codebook.means_, codebook.variances_, GRADIENTS, power)
        np.testing.assert_allclose(encode(Fisher, codebook, x, gradients=GRADIENTS, power=power), expected, rtol=0, atol=1e-5)


@pytest.mark.parametrize("away", [3.0, 30.0, 3000.0])
def test_fisher_of_descriptors_that_fit_no_component(away):
    codebook = random_mixture()
    x = descriptors(0, 9)
    x[::2] += np.float32(away)
    expected = reference.fisher(x, codebook.weights_, codebook.means_, codebook.variances_, GRADIENTS)
    np.testing.assert_allclose(encode(Fisher, codebook, x, gradients=GRADIENTS), expected, rtol=0, atol=1e-5)


def test_fisher_component_without_weight_has_no_gradient():
    codebook = random_mixture(size=3)
    part = mixture(codebook.weights_[:2], codebook.means_[:2], codebook.variances_[:2])
    codebook.weights_[2] = 0
    vector = encode(Fisher, codebook, descriptors(0, 20), gradients=GRADIENTS)
    assert vector[2] == 0
    blocks = vector[3:].reshape(2, 3, DIMS)
    assert (blocks[:, 2] == 0).all()
    others = np.concatenate([vector[:2], blocks[:, :2].ravel()])
    np.testing.assert_allclose(others, encode(Fisher, part, descriptors(0, 20), gradients=GRADIENTS), rtol=0, atol=1e-5)


def test_vlad_of_many_words(monkeypatch):
    """More words and rows than fit a block, equal words in different blocks among them: the first one takes the descriptor."""
    codebook = random_words(size=100)
    codebook.centroids_[70:] = codebook.centroids_[:30]
    x = descriptors(0, 300)
    whole = encode(Vlad, codebook, x, norm=("intra", "l2"))
    np.testing.assert_allclose(whole, reference.vlad(x, codebook.centroids_, ("intra", "l2")), rtol=0, atol=1e-5)
    assert (whole.reshape(100, DIMS)[70:] == 0).all()
    monkeypatch.setattr(Vocabulary, "WORDS", 32)
    monkeypatch.setattr(Vocabulary, "SCORES", 32 * 64)
    np.testing.assert_allclose(encode(Vlad, codebook, x, norm=("intra", "l2")), whole, rtol=0, atol=1e-6)


def test_vlad_of_65536_and_of_more_words():
    rng = np.random.default_rng(0)
    for size in (65536, 65600):
        codebook = words(rng.random((size, 4), dtype=np.float32))
        x = codebook.centroids_[[size - 1, 0, 40000]] + np.float32(1e-4)
        vector = encode(Vlad, codebook, x).reshape(size, 4)
        nearest = [int(((codebook.centroids_.astype(float) - row) ** 2).sum(axis=1).argmin()) for row in x]
        assert sorted(set(nearest)) == np.flatnonzero(vector.any(axis=1)).tolist()


@pytest.mark.parametrize("encoder", [Vlad, Fisher])
def test_local_projection_comes_first(encoder):
    matrix = np.random.default_rng(3).random((20, DIMS), dtype=np.float32)
    make = {Vlad: random_words, Fisher: random_mixture}[encoder]
    plain, projecting = make(), make()
    projecting.dim_, projecting.transform = 20, lambda x: x @ matrix / 5
    x = descriptors(0, 30, 20)
    np.testing.assert_array_equal(encode(encoder, projecting, x), encode(encoder, plain, x @ matrix / 5))


# Against other programs


@needs_vlfeat
@pytest.mark.parametrize(
    ("norm", "flags"),
    [
        ("l2", 0),
        ("intra,l2", vlfeat.VLAD_INTRA),
        ("power,l2", vlfeat.VLAD_SSR),
        ("power,intra,l2", vlfeat.VLAD_SSR | vlfeat.VLAD_INTRA),
    ],
)
def test_vlad_equals_vlfeat(norm, flags):
    codebook = random_words(size=20, dims=32)
    quantizer = vlfeat.Quantizer(codebook.centroids_)
    for seed, count in enumerate((1, 50, 700)):
        x = descriptors(seed, count, 32)
        theirs = vlfeat.vlad(x, quantizer.quantize(x), codebook.centroids_, flags)
        np.testing.assert_allclose(encode(Vlad, codebook, x, norm=tuple(norm.split(","))), theirs, rtol=0, atol=1e-5)


@needs_vlfeat
@pytest.mark.parametrize(("power", "flags"), [(1.0, vlfeat.FISHER_L2), (0.5, vlfeat.FISHER_IMPROVED)])
def test_fisher_equals_vlfeat_signs_included(power, flags):
    codebook = random_mixture(size=8)
    for seed, count in enumerate((60, 700)):
        x = descriptors(seed, count)
        theirs = vlfeat.fisher(x, codebook.weights_, codebook.means_, codebook.variances_, flags)
        # VLFeat drops posteriors below 1e-6, and the square root magnifies that where a gradient is nearly zero: 1e-5 holds before it.
        atol = 1e-5 if power == 1 else 1e-4
        np.testing.assert_allclose(encode(Fisher, codebook, x, power=power), theirs, rtol=0, atol=atol)


@pytest.mark.parametrize("power", [1.0, 0.5])
def test_fisher_equals_scikit_image_but_for_the_sign_of_sigma(power):
    feature = pytest.importorskip("skimage.feature")
    gaussian_mixture = pytest.importorskip("sklearn.mixture").GaussianMixture
    codebook = random_mixture(size=8)
    gmm = gaussian_mixture(8, covariance_type="diag")
    gmm.weights_, gmm.means_, gmm.covariances_ = (
        np.asarray(array, np.float64) for array in (codebook.weights_, codebook.means_, codebook.variances_)
    )
    gmm.precisions_cholesky_ = 1 / np.sqrt(gmm.covariances_)
    x = descriptors(0, 500)
    theirs = feature.fisher_vector(x.astype(np.float64), gmm, improved=True, alpha=power)
    theirs[8 + 8 * DIMS :] *= -1
    np.testing.assert_allclose(encode(Fisher, codebook, x, gradients=GRADIENTS, power=power), theirs, rtol=0, atol=1e-5)


# What holds for any photo

LOCAL = [(Vlad, random_words()), (Fisher, random_mixture())]


@pytest.mark.parametrize(("encoder", "codebook"), LOCAL)
@pytest.mark.parametrize("dtype", ["float32", "float16"])
def test_type_length_norm(encoder, codebook, dtype):
    made = encoder(encoder.Params(dtype=dtype), codebook)
    for seed, count in enumerate((1, 3, 200)):
        vector = made.encode(local(descriptors(seed, count)))
        assert vector.dtype == dtype
        assert vector.shape == (made.dim,)
        assert np.linalg.norm(vector.astype(np.float64)) == pytest.approx(1, abs=1e-6 if dtype == "float32" else 1e-3)


@pytest.mark.parametrize("gradients", [("weight",), ("mean",), GRADIENTS])
def test_fisher_length(gradients):
    made = Fisher(Fisher.Params(gradients=gradients), random_mixture())
    assert (
        made.encode(local(descriptors(0, 4))).shape
        == (made.dim,)
        == ({"weight": 5, "mean": 60}.get(gradients[0] if len(gradients) == 1 else "", 125),)
    )


@pytest.mark.parametrize(("encoder", "codebook"), LOCAL)
def test_same_bits_whatever_came_before_and_wherever_it_lies(encoder, codebook):
    made = encoder(encoder.Params(), codebook)
    x = descriptors(0, 150)
    expected = made.encode(local(x)).tobytes()
    made.encode(local(descriptors(1, 33)))
    assert made.encode(local(x)).tobytes() == expected
    assert encoder(encoder.Params(), codebook).encode(local(x)).tobytes() == expected
    for offset in (1, 3, 8):
        room = np.empty(x.size + offset, np.float32)
        moved = room[offset:].reshape(x.shape)
        moved[:] = x
        assert made.encode(local(moved)).tobytes() == expected
    assert made.encode(local(np.asfortranarray(x))).tobytes() == expected
    assert made.encode(local(np.repeat(x, 2, axis=0)[::2])).tobytes() == expected


@pytest.mark.parametrize(("encoder", "codebook"), LOCAL)
def test_input_is_left_alone(encoder, codebook):
    x = descriptors(0, 20)
    kept = x.copy()
    encode(encoder, codebook, x)
    np.testing.assert_array_equal(x, kept)


@pytest.mark.parametrize(("encoder", "codebook"), LOCAL)
def test_order_of_descriptors_does_not_matter(encoder, codebook):
    x = descriptors(0, 400)
    for seed in range(5):
        shuffled = x[np.random.default_rng(seed).permutation(len(x))]
        np.testing.assert_allclose(encode(encoder, codebook, shuffled), encode(encoder, codebook, x), rtol=0, atol=1e-6)


@pytest.mark.parametrize("norm", list(chains()), ids=",".join)
@pytest.mark.parametrize("dtype", ["float32", "float16"])
def test_vlad_is_finite_where_residuals_vanish(norm, dtype):
    codebook = random_words()
    only_words = codebook.centroids_[[0, 3, 3, 3, 3, 3, 5]]
    assert not encode(Vlad, codebook, only_words, norm=norm, dtype=dtype).any()
    mixed = np.concatenate([only_words, descriptors(0, 1)])
    vector = encode(Vlad, codebook, mixed, norm=norm, dtype=dtype)
    assert np.isfinite(vector).all()
    assert np.linalg.norm(vector.astype(np.float64)) == pytest.approx(1, abs=1e-3)


@pytest.mark.parametrize(("encoder", "codebook"), LOCAL)
@pytest.mark.parametrize("dtype", ["float32", "float16"])
def test_zero_descriptors_are_finite(encoder, codebook, dtype):
    for count in (1, 5):
        vector = encode(encoder, codebook, np.zeros((count, DIMS), np.float32), dtype=dtype)
        assert np.isfinite(vector).all()
        assert np.linalg.norm(vector.astype(np.float64)) == pytest.approx(1, abs=1e-3)


def test_descriptors_on_the_means_are_finite():
    codebook = random_mixture()
    for dtype in ("float32", "float16"):
        assert np.isfinite(encode(Fisher, codebook, codebook.means_, dtype=dtype)).all()
    single = mixture([1.0], codebook.means_[:1], codebook.variances_[:1])
    assert not encode(Fisher, single, codebook.means_[:1], gradients=("weight", "mean")).any()


@pytest.mark.parametrize("scale", [1e-30, 1e-15, 1e15, 1e30])
@pytest.mark.parametrize("norm", list(chains()), ids=",".join)
def test_vlad_over_the_whole_float32_range(norm, scale):
    """Squares overflow or vanish in float32 here; the vector does not."""
    codebook = words([[0.0] * DIMS])
    x = descriptors(0, 20) * np.float32(scale)
    np.testing.assert_allclose(
        encode(Vlad, codebook, x, norm=norm), encode(Vlad, codebook, descriptors(0, 20), norm=norm), rtol=0, atol=1e-5
    )


@pytest.mark.parametrize("norm", list(chains()), ids=",".join)
def test_residuals_that_cancel_give_zero_not_a_blown_up_rounding_error(norm):
    rng = np.random.default_rng(0)
    x = rng.random((6, DIMS), dtype=np.float32)
    far = 10 + rng.random((4, DIMS), dtype=np.float32)
    codebook = words([x.mean(axis=0), np.full(DIMS, 10.0)])
    vector = encode(Vlad, codebook, np.concatenate([x, far]), norm=norm)
    if "residual" not in norm:
        assert not vector[:DIMS].any()
    twins = np.concatenate([x, 2 * codebook.centroids_[0] - x])
    assert np.abs(encode(Vlad, codebook, np.concatenate([twins, far]), norm=norm)[:DIMS]).max() == 0


def test_float16_keeps_what_it_can():
    codebook = random_words()
    for norm in chains():
        single = encode(Vlad, codebook, descriptors(0, 30), norm=norm)
        np.testing.assert_allclose(encode(Vlad, codebook, descriptors(0, 30), norm=norm, dtype="float16"), single, rtol=1e-3, atol=1e-7)


@pytest.mark.parametrize("seed", range(30))
def test_random_shapes_and_scales_are_finite(seed):
    rng = np.random.default_rng(seed)
    count, size, dims = (int(n) for n in (rng.integers(1, 60), rng.integers(1, 40), rng.integers(1, 20)))
    scale = np.float32(10.0 ** rng.integers(-6, 7))
    x = scale * rng.standard_normal((count, dims), dtype=np.float32)
    x[rng.random(count) < 0.2] = 0
    norm = list(chains())[seed % len(list(chains()))]
    dtype = ("float32", "float16")[seed % 2]
    codebook = words(scale * rng.standard_normal((size, dims), dtype=np.float32))
    model = mixture(rng.dirichlet(np.ones(size)), codebook.centroids_, (scale * rng.uniform(0.1, 1, (size, dims))) ** 2)
    for vector in (encode(Vlad, codebook, x, norm=norm, dtype=dtype), encode(Fisher, model, x, gradients=GRADIENTS, dtype=dtype)):
        assert np.isfinite(vector).all()
        assert np.linalg.norm(vector.astype(np.float64)) == pytest.approx(1, abs=2e-3)


# Projection


def projection(dims=6, columns=DIMS, seed=0):
    rng = np.random.default_rng(seed)
    components, mean = rng.standard_normal((dims, columns), dtype=np.float32), rng.random(columns, dtype=np.float32)
    return SimpleNamespace(components_=components, mean_=mean, dim_=columns, project=lambda x: (x - mean) @ components.T)


@pytest.mark.parametrize("dtype", ["float32", "float16"])
def test_projection(dtype):
    codebook = projection()
    made = Project(Project.Params(dtype=dtype), codebook)
    x = descriptors(0, 50)
    y = made.encode_block(x)
    assert y.dtype == dtype
    assert y.shape == (50, made.dim) == (50, 6)
    expected = np.array([c @ (row - codebook.mean_) for row in x.astype(np.float64) for c in codebook.components_]).reshape(50, 6)
    expected /= np.linalg.norm(expected, axis=1, keepdims=True)
    np.testing.assert_allclose(y, expected, rtol=0, atol=1e-6 if dtype == "float32" else 1e-3)


def test_projection_does_not_depend_on_the_batch():
    made = Project(Project.Params(), projection())
    x = descriptors(0, 40)
    np.testing.assert_allclose(
        np.concatenate([made.encode_block(x[i : i + 7]) for i in range(0, 40, 7)]), made.encode_block(x), rtol=0, atol=1e-6
    )


def test_projection_to_zero_stays_zero_and_empty_stays_empty():
    codebook = projection()
    made = Project(Project.Params(), codebook)
    assert not made.encode_block(codebook.mean_[None]).any()
    assert made.encode_block(np.empty((0, DIMS), np.float32)).shape == (0, 6)
    assert made.encode_block(descriptors(0, 3).astype(np.float16)).dtype == np.float32


def test_projection_leaves_the_codebook_s_arrays_alone():
    x = descriptors(0, 5)
    kept = x.copy()
    Project(Project.Params(), SimpleNamespace(components_=np.eye(DIMS), dim_=DIMS, project=identity)).encode_block(x)
    np.testing.assert_array_equal(x, kept)


# Contract and parameters


@pytest.mark.parametrize("name", ENCODERS)
def test_contract(name):
    encoder = registry.load(ENCODERS, name, "encoder")
    assert encoder.name == name
    assert encoder.version == 1
    assert encoder.takes in ("features", "vectors")
    assert "References" in encoder.__doc__
    assert encoder.gives in layout.KINDS
    assert all(method in CODEBOOKS for need in encoder.needs for method in need.methods)
    least, most = encoder.branches
    assert 1 <= least
    assert most is None or least <= most
    made = encoder.encode if encoder.takes == "features" else encoder.encode_block
    assert made.__qualname__.startswith(encoder.__name__)
    params = encoder.Params()
    assert encoder.Params.from_json(params.to_json()) == params
    if encoder.gives == "words" and encoder is not Bow:
        return  # what else is kept of an entry is its own business
    assert "dtype" not in params.space()
    with pytest.raises(UsageError, match="^`dtype` must be one of float32, float16, got 'float64'$"):
        encoder.Params(dtype="float64")


def test_defaults():
    assert Vlad.Params() == Vlad.Params(norm=("residual", "intra", "power", "l2"), power=0.5, dtype="float32")
    assert Fisher.Params() == Fisher.Params(gradients=("mean", "sigma"), power=0.5, dtype="float32")


def test_what_means_the_same_is_recorded_the_same():
    assert Vlad.Params.parse(["norm=residual,ssr"]) == Vlad.Params(norm=("residual", "power", "l2"))
    assert Vlad.Params(norm=("residual", "intra", "power")) == Vlad.Params()
    assert Vlad.Params(norm=()).norm == ("l2",)
    assert Fisher.Params(gradients=("sigma", "weight")).gradients == ("weight", "sigma")


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (["norm=zscore"], "`norm` must be one of residual, intra, power, ssr, l2, got 'zscore'"),
        (["norm=intra,residual"], "`norm` takes residual as its first step only: it acts on residuals before they are summed"),
        (["norm=l2,intra"], "`norm` takes l2 as its last step only"),
        (["norm=l2,l2"], "`norm` takes l2 as its last step only"),
        (["norm=intra,intra"], "`norm` has the step intra twice"),
        (["norm=ssr,power"], "`norm` has the step power twice"),
        (
            ["norm=ssr", "power=0.3"],
            "`norm` says ssr, which is power with the exponent 0.5, but `power` is 0.3: write power instead of ssr",
        ),
        (["norm=intra", "power=0.3"], "`power` has no effect: `norm` has no step power"),
        (["norm=power", "power=0"], "`power` must be a number of at most 1.0 above 0.0, got 0.0"),
        (["norm=power", "power=1.5"], "`power` must be a number of at most 1.0 above 0.0, got 1.5"),
    ],
)
def test_vlad_parameters_refused(settings, message):
    with pytest.raises(UsageError) as error:
        Vlad.Params.parse(settings)
    assert str(error.value) == message


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (["gradients=mu"], "`gradients` must be one of weight, mean, sigma, got 'mu'"),
        (["gradients="], "`gradients` must name one or more of weight, mean, sigma"),
        (["gradients=mean,mean"], "`gradients` names one twice"),
        (["power=0"], "`power` must be a number of at most 1.0 above 0.0, got 0.0"),
    ],
)
def test_fisher_parameters_refused(settings, message):
    with pytest.raises(UsageError) as error:
        Fisher.Params.parse(settings)
    assert str(error.value) == message


TOO_LARGE = "the descriptors are too large to be encoded in float32: scale them, and train the codebook on them again"


@pytest.mark.parametrize(("encoder", "codebook"), LOCAL)
@pytest.mark.parametrize(
    ("x", "message"),
    [
        (np.zeros((3, 5)), "the descriptor matrix has 5 columns, 12 are needed"),
        (np.zeros(12), "the descriptor matrix must be a matrix of rows and columns, got 1 axes"),
        (np.full((2, DIMS), np.nan), "the descriptor matrix holds NaN or infinite values"),
        (np.full((30, DIMS), 3e38), TOO_LARGE),
    ],
)
def test_descriptors_refused(encoder, codebook, x, message):
    with pytest.raises(ImgretError) as error:
        encode(encoder, codebook, x.astype(np.float32))
    assert str(error.value) == message


@pytest.mark.parametrize(("encoder", "codebook", "noun"), [(*LOCAL[0], "VLAD"), (*LOCAL[1], "Fisher vector")])
def test_no_descriptors_refused(encoder, codebook, noun):
    with pytest.raises(ImgretError) as error:
        encode(encoder, codebook, np.empty((0, DIMS), np.float32))
    assert str(error.value) == f"a photo without descriptors has no {noun}: leave it out"


@pytest.mark.parametrize(
    ("x", "message"),
    [
        (np.zeros((3, 5)), "the matrix of vectors has 5 columns, 12 are needed"),
        (
            np.full((2, DIMS), 3e38),
            "the vectors are too large to be projected in float32: scale them, and train the codebook on them again",
        ),
    ],
)
def test_vectors_refused(x, message):
    codebook = projection()
    codebook.components_[:] = 10
    with pytest.raises(ImgretError) as error:
        Project(Project.Params(), codebook).encode_block(x.astype(np.float32))
    assert str(error.value) == message
