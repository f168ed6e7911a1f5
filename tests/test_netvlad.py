"""NetVLAD's layer: its gradient, its range, words to which nothing belongs, and regions of one assignment."""

import itertools

import numpy as np
import pytest
import reference_pooling as reference

torch = pytest.importorskip("torch")

from imgret.networks.heads.base import VectorHead  # noqa: E402
from imgret.networks.heads.netvlad import NOISE, NetVlad, vlad  # noqa: E402
from imgret.networks.heads.residuals import residuals  # noqa: E402

ORDERS = (torch.contiguous_format, torch.channels_last)


def drawn(*shape, seed=0, scale=1.0, dtype=torch.float64):
    return (torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64) * scale).to(dtype)


def layer(size=4, channels=5, dtype=torch.float64, scale=2.0):
    return (
        drawn(size, channels, seed=1, scale=scale, dtype=dtype),
        drawn(size, seed=2, dtype=dtype),
        drawn(size, channels, seed=3, dtype=dtype),
    )


def plain(maps, weight, bias, centroids):
    """By differentiable operations, a residual for each column and word."""
    x = torch.nn.functional.normalize(maps.flatten(2), dim=1)
    share = (torch.einsum("kc,bcn->bkn", weight, x) + bias[:, None]).softmax(dim=1) * x.any(dim=1, keepdim=True)
    return (share[:, :, None] * (x[:, None] - centroids[None, :, :, None])).sum(dim=3)


@pytest.mark.parametrize("order", ORDERS)
def test_gradients(order):
    """Those of finite differences, and of the plain formula where a column is zero; of what is asked for only."""
    maps = drawn(2, 5, 2, 3).contiguous(memory_format=order).requires_grad_()
    leaves = [maps, *(each.requires_grad_() for each in layer())]
    assert torch.autograd.gradcheck(lambda *given: residuals(*given)[0], leaves)
    assert torch.autograd.gradcheck(vlad, leaves)
    with torch.no_grad():
        maps[0, :, 1, 1] = 0
    toward = drawn(2, 4, 5, seed=5)
    for chosen in itertools.chain([leaves], ([leaf] for leaf in leaves)):
        others = [leaf if any(leaf is each for each in chosen) else leaf.detach() for leaf in leaves]
        found, wanted = (torch.autograd.grad((way(*others) * toward).sum(), chosen) for way in (lambda *given: residuals(*given)[0], plain))
        assert all(torch.allclose(one, other, atol=1e-12) for one, other in zip(found, wanted, strict=True))


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize(("size", "height", "width"), [(4, 3, 2), (1, 2, 2), (3, 1, 1), (1, 1, 1)])
def test_is_the_loop(order, size, height, width):
    maps, learned = drawn(2, 5, height, width).contiguous(memory_format=order), layer(size)
    maps[1, :, -1, -1] = 0
    wanted = np.array([reference.netvlad(each.numpy(), *(tensor.numpy() for tensor in learned)) for each in maps])
    assert np.abs(vlad(maps, *learned).numpy() - wanted).max() < 1e-12
    single = [each.float() for each in (maps, *learned)]
    assert np.abs(vlad(*single).numpy() - wanted).max() < 1e-5
    with torch.inference_mode():
        assert torch.equal(vlad(*single), vlad(*single))
        # a photo's vector is the same whatever is beside it
        assert torch.equal(vlad(single[0][1:], *single[1:])[0], vlad(*single)[1])


@pytest.mark.parametrize("scale", [1e-30, 1e-12, 1e12, 1e30])
def test_range_of_maps(scale):
    learned, maps = layer(dtype=torch.float32), drawn(2, 5, 3, 2, dtype=torch.float32)
    assert torch.allclose(vlad(maps * scale, *learned), vlad(maps, *learned), atol=1e-5)
    leaf = (maps * scale).requires_grad_()
    vlad(leaf, *learned).sum().backward()
    assert leaf.grad.isfinite().all()


@pytest.mark.parametrize("alpha", [1e2, 1e4, 1e8, 1e20])
def test_range_of_the_softmax(alpha):
    """Logits of any size: each column with its nearest word, numbers, and gradients that are numbers."""
    maps, (_, _, centroids) = drawn(2, 5, 3, 2, dtype=torch.float32), layer(dtype=torch.float32)
    leaves = [each.requires_grad_() for each in (maps, 2 * alpha * centroids, -alpha * centroids.square().sum(dim=1), centroids.clone())]
    found = vlad(*leaves)
    found.sum().backward()
    assert found.isfinite().all()
    assert all(leaf.grad.isfinite().all() for leaf in leaves)
    if alpha >= 1e4:
        x = torch.nn.functional.normalize(maps.detach().flatten(2), dim=1).transpose(1, 2)
        nearest = torch.cdist(x, centroids.detach()[None]).argmin(dim=2)
        hard = torch.nn.functional.one_hot(nearest, 4).float()
        wanted = torch.nn.functional.normalize(hard.transpose(1, 2) @ x - hard.sum(dim=1)[:, :, None] * centroids.detach(), dim=2)
        assert torch.allclose(found.detach(), wanted.flatten(1), atol=1e-4)


def test_words_that_die():
    """One to which nothing belongs is 0; one to which next to nothing belongs counts; neither gives NaN, in gradients either."""
    maps, (weight, bias, centroids) = drawn(2, 5, 3, 2, dtype=torch.float32), layer(dtype=torch.float32)
    bias = bias.clone()
    bias[1], bias[2] = -1e4, -60
    leaves = [each.requires_grad_() for each in (maps, weight, bias, centroids)]
    found = vlad(*leaves).unflatten(1, (4, 5))
    assert found[:, 1].eq(0).all()
    assert torch.allclose(found[:, [0, 2, 3]].norm(dim=2), torch.ones(2, 3))
    wanted = vlad(*(leaf.detach().double() for leaf in leaves)).unflatten(1, (4, 5))
    assert torch.allclose(found[:, 2].double(), wanted[:, 2], atol=1e-4)
    found.sum().backward()
    assert all(leaf.grad.isfinite().all() for leaf in leaves)


@pytest.mark.parametrize("count", [1, 30, 1200])
def test_columns_that_are_where_a_word_is(count):
    """What rounding leaves of their difference is not made a vector of length 1."""
    column = torch.nn.functional.normalize(drawn(96, dtype=torch.float32), dim=0)
    centroids = drawn(8, 96, seed=1, scale=0.1, dtype=torch.float32)
    centroids[3] = column
    maps = (3 * column)[None, :, None, None].repeat(1, 1, count, 1).requires_grad_()
    found = vlad(maps, 20 * centroids, -10 * centroids.square().sum(dim=1), centroids).unflatten(1, (8, 96))
    assert found[0, 3].norm() < 0.05
    assert torch.allclose(found[0, [0, 1, 2, 4, 5, 6, 7]].norm(dim=1), torch.ones(7))
    found[0, 3].sum().backward()
    assert maps.grad.eq(0).all()
    away = centroids.detach().clone()
    away[3, 0] += 3 * NOISE  # a difference that is none of rounding counts
    found = vlad(maps.detach(), 20 * centroids, -10 * centroids.square().sum(dim=1), away).unflatten(1, (8, 96))
    assert found[0, 3].norm() == pytest.approx(1, abs=1e-5)


@pytest.mark.parametrize("embed", [0, 7])
@pytest.mark.parametrize(("height", "width"), [(1, 1), (1, 5), (2, 1), (3, 2), (7, 8)])
def test_regions_of_one_assignment(embed, height, width):
    """As nine crops have it, gradients too."""
    head = NetVlad(NetVlad.Params(clusters=4, embed=embed))
    weight, bias, centroids = layer()
    head.learned = {"netvlad.weight": weight, "netvlad.bias": bias, "netvlad.centroids": centroids}
    head.learned |= {"embed.weight": drawn(7, 20, seed=8), "embed.bias": drawn(7, seed=9)}
    maps = drawn(3, 5, height, width).requires_grad_()
    found, wanted = head.regional([maps]), VectorHead.regional(head, [maps])
    assert found.shape == (3, 9, embed or 20)
    assert torch.allclose(found, wanted, atol=1e-12)
    toward = drawn(*found.shape, seed=6)
    found, wanted = (torch.autograd.grad((each * toward).sum(), maps)[0] for each in (found, wanted))
    assert torch.allclose(found, wanted, atol=1e-10)
