"""SARE: its value and gradients against closed forms written as loops, by finite differences, and in the corners."""

import itertools
import math

import pytest

from imgret.errors import UsageError
from imgret.losses.infonce import InfoNCE
from imgret.losses.sare import SARE

torch = pytest.importorskip("torch")

KERNELS = ("gaussian", "cauchy", "exponential")
TREATMENTS = ("joint", "independent")
EVERY = pytest.mark.parametrize(("kernel", "treatment"), list(itertools.product(KERNELS, TREATMENTS)))


def made(kernel="gaussian", treatment="joint", temperature=0.07):
    return SARE(SARE.Params(kernel=kernel, treatment=treatment, temperature=temperature))


def unit(*shape, seed=0, dtype=torch.float64):
    vectors = torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    return torch.nn.functional.normalize(vectors, dim=-1).to(dtype)


def weight(kernel, distance, double):
    """The kernel, and its negative logarithm's slope over the distance, of distances that are divided."""
    squared = distance**2 / double
    if kernel == "gaussian":
        return math.exp(-squared), 2 * distance / double
    if kernel == "cauchy":
        return 1 / (1 + squared), 2 * distance / double / (1 + squared)
    return math.exp(-math.sqrt(squared)), 1 / math.sqrt(double)


def against(query, match, negatives, kernel, double):
    """One softmax: its loss and the gradients of all vectors, as the paper's table has them: (1 - P) along what leads to the match, P of
    each negative along what leads away from it, each times the slope of its kernel."""
    others = [match, *negatives]
    distances = [math.dist(query, other) for other in others]
    found = [weight(kernel, distance, double) for distance in distances]
    total = sum(kernel_value for kernel_value, _ in found)
    gradients = [[0.0] * len(query) for _ in range(1 + len(others))]
    for number, (other, distance, (value, slope)) in enumerate(zip(others, distances, found, strict=True)):
        pull = ((number == 0) - value / total) * slope
        for axis in range(len(query)):
            along = pull * (other[axis] - query[axis]) / distance
            gradients[1 + number][axis] += along
            gradients[0][axis] -= along
    return -math.log(found[0][0] / total), gradients


def slow(tuples, kernel, treatment, temperature):
    """The mean loss of tuples and its gradients."""
    losses, gradients = 0, torch.zeros_like(tuples)
    for row, (query, match, *negatives) in enumerate(tuples.tolist()):
        groups = [list(range(len(negatives)))] if treatment == "joint" else [[number] for number in range(len(negatives))]
        for group in groups:
            loss, found = against(query, match, [negatives[number] for number in group], kernel, 2 * temperature)
            share = len(tuples) * len(groups)
            losses += loss / share
            gradients[row, [0, 1, *(2 + number for number in group)]] += torch.tensor(found, dtype=tuples.dtype) / share
    return losses, gradients


@EVERY
@pytest.mark.parametrize("temperature", [0.07, 0.5, 3.0])
def test_closed_forms(kernel, treatment, temperature):
    vectors = unit(4, 5, 6).requires_grad_()
    loss, gradients = slow(vectors.detach(), kernel, treatment, temperature)
    found = made(kernel, treatment, temperature)(vectors)
    found.backward()
    assert found.item() == pytest.approx(loss, rel=1e-12)
    assert torch.allclose(vectors.grad, gradients, rtol=1e-10, atol=1e-13)


def test_the_papers_gradients():
    """Of one negative, without a temperature: with c the chance of the match, 2 (1 - c) (p - q), 2 (1 - c) (q - n) and their like."""
    vectors = unit(1, 3, 4).requires_grad_()
    query, match, negative = vectors.detach()[0]
    near, far = ((query - other).norm() for other in (match, negative))
    terms = {
        "gaussian": ((-near.square()).exp(), (-far.square()).exp(), 2 * (match - query), 2 * (query - negative)),
        "cauchy": (
            1 / (1 + near.square()),
            1 / (1 + far.square()),
            2 * (match - query) / (1 + near.square()),
            2 * (query - negative) / (1 + far.square()),
        ),
        "exponential": ((-near).exp(), (-far).exp(), (match - query) / near, (query - negative) / far),
    }
    for kernel, (of_match, of_negative, toward, away) in terms.items():
        chance = of_match / (of_match + of_negative)
        (found,) = torch.autograd.grad(made(kernel, temperature=0.5)(vectors), vectors)
        wanted = (1 - chance) * torch.stack([-toward - away, toward, away])
        assert torch.allclose(found[0], wanted, rtol=1e-12, atol=1e-15)


@EVERY
def test_finite_differences(kernel, treatment):
    assert torch.autograd.gradcheck(made(kernel, treatment, 0.3), unit(2, 4, 5).requires_grad_())


@pytest.mark.parametrize("kernel", KERNELS)
def test_treatments(kernel):
    """One negative: the same; of several that are equal, the independent terms are the one."""
    one = unit(5, 3, 4)
    assert made(kernel)(one).item() == pytest.approx(made(kernel, "independent")(one).item(), rel=1e-12)
    several = torch.cat([one, one[:, 2:].expand(-1, 6, -1)], dim=1)
    assert made(kernel, "independent")(several).item() == pytest.approx(made(kernel)(one).item(), rel=1e-12)
    assert made(kernel)(several) > made(kernel)(one)


@EVERY
def test_invariances(kernel, treatment):
    """Tuples and negatives in any order, all vectors turned together."""
    vectors, loss = unit(4, 6, 5), made(kernel, treatment)
    found = loss(vectors).item()
    turn = torch.linalg.qr(unit(5, 5, seed=1)).Q
    for same in (vectors.flip(0), vectors[:, [0, 1, 5, 3, 2, 4]], vectors @ turn):
        assert loss(same).item() == pytest.approx(found, rel=1e-12)
    assert loss(vectors[:, [0, 2, 1, 3, 4, 5]]).item() != pytest.approx(found, rel=1e-3)


def test_gaussian_is_the_softmax_of_cosines():
    vectors = unit(1, 6, 5)
    cosines = (vectors[:, :1] * vectors[:, 1:]).sum(dim=2)
    wanted = torch.nn.functional.cross_entropy(cosines / 0.07, torch.zeros(1, dtype=int)).item()
    assert made()(vectors).item() == pytest.approx(wanted, rel=1e-12)
    labels = torch.tensor([0, 0, 1, 2, 3, 4])
    query = InfoNCE()(vectors[0, :1], labels[:1], vectors[0, 1:], labels[1:]).item()
    assert made()(vectors).item() == pytest.approx(query, rel=1e-12)


@EVERY
@pytest.mark.parametrize("temperature", [1e-3, 0.07, 10.0])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_range(kernel, treatment, temperature, dtype):
    """The worst and the best of tuples, distances of 0 and nearly 0: numbers, whose gradients are numbers."""
    query = unit(5, dtype=torch.float32)
    near = torch.nn.functional.normalize(query + 1e-6, dim=0)
    for row in ([query, -query, query], [query, query, -query], [query] * 4, [query, near, near], [query, near, query, -query]):
        vectors = torch.stack(row)[None].to(dtype).requires_grad_()
        found = made(kernel, treatment, temperature)(vectors)
        found.backward()
        assert found.dtype == torch.float32
        assert math.isfinite(found.item())
        assert found.item() >= 0
        assert vectors.grad.isfinite().all()
    if kernel == "gaussian":
        loss = made(kernel, treatment, temperature)(torch.stack([query, -query, query])[None])
        assert loss.item() == pytest.approx(2 / temperature + math.log1p(math.exp(-2 / temperature)), rel=1e-5)


@pytest.mark.parametrize(
    ("given", "text"),
    [
        ({"kernel": "laplace"}, "`kernel` must be one of gaussian, cauchy, exponential, got 'laplace'"),
        ({"treatment": "each"}, "`treatment` must be one of joint, independent, got 'each'"),
        ({"temperature": 0.0}, "`temperature` must be a number from 0.001 to 10.0, got 0.0"),
    ],
)
def test_refused(given, text):
    with pytest.raises(UsageError) as error:
        made(**given)
    assert str(error.value) == text
