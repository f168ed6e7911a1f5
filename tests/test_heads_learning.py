"""Heads that learn: the contract of every head that gives vectors, formulas against loops, what extraction asks of a network."""

import copy
import dataclasses
import types

import numpy as np
import pytest
import reference_pooling as reference
from helpers import call, encoded, refused, texture

torch = pytest.importorskip("torch")
pytest.importorskip("torchvision")

from imgret import registry  # noqa: E402 - after what it needs
from imgret.errors import ImgretError, UsageError  # noqa: E402
from imgret.extractors.cnn import POOLS, Cnn  # noqa: E402
from imgret.networks import backbones, pooling  # noqa: E402
from imgret.networks.backbones.base import Backbone  # noqa: E402
from imgret.networks.heads import attention, embedding, excitation, netvlad  # noqa: E402
from imgret.networks.heads.params import VectorParams  # noqa: E402

pytestmark = pytest.mark.usefixtures("one_thread")

CHANNELS, PHOTOS = 6, 12
VECTORS = [name for name, head in POOLS.items() if head.gives == "vectors"]
TRAINED = [name for name in VECTORS if POOLS[name].trained_as]
LAYERS = {"plain": {}, "linear": {"embed": 3}, "hash": {"embed": 4, "embed_as": "hash"}}
EVERY = pytest.mark.parametrize(("pool", "layer"), [(pool, layer) for pool in VECTORS for layer in LAYERS])


class Still(Backbone):
    """A network of one layer, beside which something may have been trained."""

    def __init__(self, params, wants="map", device="cpu", given=()):
        self.name, self.device, self.layers = params.model, torch.device(device), ("last",)
        self.params = dataclasses.replace(params, layer=self.layers, weights="net.pth", digest="0" * 64, mean=(0.5,) * 3, std=(1.0,) * 3)
        self.dims, self.maps, self.least, self.learned = [CHANNELS], [wants == "map"], 32, {}
        self._filter = torch.from_numpy(np.random.default_rng(3).normal(0, 1, (CHANNELS, 3, 8, 8)).astype(np.float32))

    def __call__(self, x):
        found = torch.nn.functional.conv2d(x, self._filter, stride=8).relu()
        return [found if self.maps[0] else found.mean(dim=(2, 3))]

    def classifier(self):
        return torch.from_numpy(np.random.default_rng(4).normal(0, 1, (5, CHANNELS)).astype(np.float32)), torch.zeros(5)


def params_of(pool, layer):
    """Parameters of a head, small."""
    small = {"netvlad": {"clusters": 3}, "attention": {"hidden": 5}, "se": {"reduction": 2}, "cam": {"classes": 2}, "rmac": {"levels": 2}}
    return POOLS[pool].Params(**small.get(pool, {}), **LAYERS[layer])


def outputs_of(pool, count=PHOTOS, seed=0, dtype=torch.float32):
    """What the layer gives a head: positive maps, or vectors."""
    rng = np.random.default_rng([seed, 1])
    shape = (count, CHANNELS) if POOLS[pool].wants == "vector" else (count, CHANNELS, 3, 4)
    scale = 1 + np.arange(CHANNELS).reshape(-1, *[1] * (len(shape) - 2))
    return torch.from_numpy(0.1 + scale * rng.gamma(1, 1, shape)).to(dtype)


def begun(pool, layer, seed=0, known=types.MappingProxyType({})):
    """A head with what training begins with."""
    backbone = Still(Cnn.Params(model="still"), POOLS[pool].wants)
    head = POOLS[pool](params_of(pool, layer))
    head.attach(backbone)
    outputs = outputs_of(pool, seed=seed)

    def sample(other):
        if other.gives == "features":
            return pooling.columns([outputs])[0].reshape(-1, CHANNELS).numpy()
        return other([outputs]).numpy()

    head.learned = head.start(backbone.dims, sample, known)
    return head


@EVERY
def test_vectors_of_unit_length(pool, layer):
    head = begun(pool, layer)
    for head.training in (False, True):
        found = head([outputs_of(pool, 5, seed=1)])
        assert found.shape == (5, head.dim([CHANNELS]))
        assert found.dtype == torch.float32
        assert (found.norm(dim=1) - 1).abs().max() < 1e-5
    assert head.dim([CHANNELS]) == (head.params.embed or head.width([CHANNELS]))
    if layer == "hash":
        head.training = False
        assert head([outputs_of(pool, 5, seed=1)]).abs().unique().tolist() == [0.5]


@EVERY
def test_what_starts_is_what_is_asked_for_later(pool, layer):
    head = begun(pool, layer)
    assert all(tensor.dtype == torch.float32 and torch.isfinite(tensor).all() for tensor in head.learned.values())
    kept = {name: tuple(tensor.shape) for name, tensor in head.learned.items() if name not in head.trained()}
    assert kept == head.shapes([CHANNELS])
    again = begun(pool, layer)
    assert all(torch.equal(tensor, again.learned[name]) for name, tensor in head.learned.items())


@EVERY
def test_saved_and_settled_it_gives_the_same(pool, layer):
    head = begun(pool, layer)
    rng = np.random.default_rng(2)
    for name, tensor in head.learned.items():  # as if it had been trained
        tensor += torch.from_numpy(np.asarray(rng.normal(0, 0.05, tensor.shape), np.float32))
        assert head.learned[name] is tensor
    said = head.trained()
    other = type(head)(dataclasses.replace(head.params, **said))
    backbone = Still(Cnn.Params(model="still"), head.wants)
    backbone.learned = {name: tensor.clone() for name, tensor in head.learned.items() if name not in said} | {"another": torch.ones(1)}
    other.settle(backbone)
    assert set(other.learned) == set(head.shapes([CHANNELS]))
    outputs = outputs_of(pool, 5, seed=1)
    assert (other([outputs]) - head([outputs])).abs().max() < 1e-6


@EVERY
def test_training_goes_on_with_what_was_trained(pool, layer):
    """What fits is kept and nothing is sampled for it; what is of another size or not all there is begun with anew."""
    head = begun(pool, layer)
    known = {name: tensor + 1 for name, tensor in head.learned.items() if name not in head.trained()}
    again = type(head)(head.params)
    again.attach(Still(Cnn.Params(model="still"), head.wants))
    found = again.start([CHANNELS], None, known | {"another.weight": torch.ones(3)})
    assert found.keys() == head.learned.keys()
    assert all(torch.equal(found[name], tensor) for name, tensor in known.items())
    for name, tensor in known.items():
        for odd in (known | {name: tensor[..., :-1]}, {other: known[other] for other in known if other != name}):
            fresh = begun(pool, layer, known=odd).learned
            assert {each: tensor.shape for each, tensor in fresh.items()} == {each: tensor.shape for each, tensor in head.learned.items()}
            assert not torch.equal(fresh[name], tensor)


@EVERY
def test_a_photo_does_not_see_its_batch(pool, layer):
    head, outputs = begun(pool, layer), outputs_of(pool, 4, seed=1)
    alone = torch.cat([head([outputs[number : number + 1]]) for number in range(4)])
    assert (head([outputs]) - alone).abs().max() < 1e-6


@EVERY
def test_gradients_are_those_of_finite_differences(pool, layer):
    """Of the maps and of all that is learned; in float64, away from kinks."""
    head = begun(pool, layer)
    head.training = True
    if pool == "cam":
        head._classifier = tuple(each.double() for each in head._classifier)
    names = list(head.learned)
    values = [head.learned[name].double().requires_grad_() for name in names]
    outputs = outputs_of(pool, 2, seed=1, dtype=torch.float64).requires_grad_()

    def vectors(outputs, *values):
        head.learned = dict(zip(names, values, strict=True))
        return head([outputs])

    assert torch.autograd.gradcheck(vectors, (outputs, *values), eps=1e-6, atol=1e-6, rtol=1e-4)


@EVERY
def test_all_that_is_learned_counts(pool, layer):
    head, outputs = begun(pool, layer), outputs_of(pool, 4, seed=1)
    head.training = True
    before = head([outputs])
    for name, tensor in list(head.learned.items()):
        noise = torch.from_numpy(np.asarray(np.random.default_rng(1).normal(0, 1, tensor.shape), np.float32))
        other = copy.copy(head)
        other.learned = head.learned | {name: tensor + noise}
        assert (other([outputs]) - before).abs().max() > 1e-5, name


def odd_maps():
    """Photos that a gradient might not come back from."""
    maps = outputs_of("gem", 9, seed=2)
    maps[0] = 0
    maps[1, :, 1:] = 0  # places where nothing fires
    maps[2, :3] = 0  # channels that never fire
    maps[3] = 0
    maps[3, 0, 0, 0] = 1
    maps[4] = maps[4, :1, :1, :1]  # all equal
    maps[5] *= 1e20  # squares leave float32
    maps[6] *= 1e-20
    maps[7] -= maps[7].mean()  # signed
    maps[8] *= 1e-42  # subnormal
    return maps


@EVERY
def test_gradients_are_finite_everywhere(pool, layer):
    head = begun(pool, layer)
    head.training = True
    outputs = odd_maps() if head.wants == "map" else odd_maps().amax(dim=(2, 3))
    outputs.requires_grad_()
    head.learned = {name: tensor.requires_grad_() for name, tensor in head.learned.items()}
    found = head([outputs])
    assert torch.isfinite(found).all()
    (found * torch.arange(1.0, 1 + found.shape[1])).sum().backward()
    for name, tensor in (head.learned | {"outputs": outputs}).items():
        assert tensor.grad is None or torch.isfinite(tensor.grad).all(), name
    assert outputs.grad[1].any()


@pytest.mark.parametrize("p", [1.0, 3.0, 30.0, 100.0])
@pytest.mark.parametrize("top", [1e4, 1.0, 1e-4])
def test_gem_of_a_learned_exponent(p, top):
    """The number's own result, and finite gradients at any exponent and size."""
    maps = (outputs_of("gem", 3) * top / 30).requires_grad_()
    exponent = torch.tensor(p, requires_grad=True)
    found = pooling.gem(maps, exponent)
    assert torch.allclose(found, pooling.gem(maps, p), rtol=2e-6, atol=0)
    found.sum().backward()
    assert torch.isfinite(exponent.grad)
    assert exponent.grad > 0 or p == 100  # means rise with their exponent
    assert torch.isfinite(maps.grad).all()


@pytest.mark.parametrize(("p", "counts_as"), [(0.3, 1.0), (-2.0, 1.0), (1000.0, 100.0)])
def test_an_exponent_that_leaves_its_range(p, counts_as):
    head = POOLS["gem"](POOLS["gem"].Params())
    head.learned = {"p": torch.tensor(p)}
    maps = outputs_of("gem", 3)
    outside = torch.tensor(p, requires_grad=True)
    pooling.gem(maps, outside).sum().backward()
    assert outside.grad > 0  # it can come back
    assert torch.allclose(pooling.gem(maps, torch.tensor(p)), pooling.gem(maps, counts_as), rtol=1e-6)
    assert head.trained() == {"p": counts_as}
    assert head.exponent == counts_as


def test_zero_rows_pass_no_gradient():
    rows = torch.tensor([[0.0, 0.0], [3.0, 4.0], [1e-30, 0.0]], requires_grad=True)
    pooling.l2(rows).sum().backward()
    assert rows.grad[[0, 2]].eq(0).all()
    assert torch.allclose(rows.grad[1], torch.tensor([16.0 - 12.0, 9.0 - 12.0]) / 125)


# the last linear layer


def reference_layer(vectors, weight, bias, how):
    found = np.array(
        [[sum(w * v for w, v in zip(row, vector, strict=True)) + b for row, b in zip(weight, bias, strict=True)] for vector in vectors]
    )
    return np.array([reference.unit(np.sign(row) if how == "hash" else row) for row in found])


@pytest.mark.parametrize("how", ["linear", "hash"])
def test_the_last_layer_is_the_loop(how):
    rng = np.random.default_rng(0)
    vectors, weight, bias = (rng.normal(0, 1, shape).astype(np.float32) for shape in ((5, 7), (3, 7), 3))
    vectors[2] = 0
    learned = {"embed.weight": torch.from_numpy(weight), "embed.bias": torch.from_numpy(bias)}
    found = embedding.applied(torch.from_numpy(vectors), learned, how, False).numpy()
    wanted = reference_layer(vectors.astype(float), weight, bias, how)
    wanted[2] = 0  # nothing fires: no vector
    assert np.abs(found - wanted).max() < 1e-6
    vectors[2] = np.nan
    assert (
        np.isnan(embedding.applied(torch.from_numpy(vectors), learned, how, False).numpy()).any(axis=1).tolist()
        == [False] * 2 + [True] + [False] * 2
    )


def skewed(count, columns, seed=0):
    """Rows of unit length with a mean and a spectrum that falls."""
    rng = np.random.default_rng(seed)
    rows = 1 + rng.normal(0, 1, (count, columns)) * np.geomspace(2, 0.1, columns) @ np.linalg.qr(rng.normal(0, 1, (columns, columns)))[0]
    return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)


def layer_of(x, size, shrink=None, how="linear"):
    found = embedding.start(x, VectorParams(embed=size, shrink=shrink, embed_as=how))
    return found["embed.weight"].numpy().astype(float), found["embed.bias"].numpy().astype(float)


@pytest.mark.parametrize("count", [200, 12], ids=["covariance", "gram"])
@pytest.mark.parametrize("shrink", [0.0, 0.3, 1.0, None])
def test_the_layer_starts_from_shrunk_whitening(count, shrink):
    x = skewed(count, 20)
    weight, bias = layer_of(x, 5, shrink)
    outputs = x.astype(float) @ weight.T + bias
    assert np.abs(outputs.mean(axis=0)).max() < 1e-5
    values = np.linalg.eigvalsh(np.cov(x.T.astype(float), bias=True))[::-1]
    amount = reference.shrinkage(x.astype(float)) if shrink is None else shrink
    spread = (1 - amount) * values[:5] + amount * values.mean()
    assert np.cov(outputs.T, bias=True) == pytest.approx(np.diag(values[:5] / spread / (1 / spread).mean()), rel=1e-3, abs=1e-7)
    assert np.square(weight).sum(axis=1).mean() == pytest.approx(1)
    biggest = weight[np.arange(5), np.abs(weight).argmax(axis=1)]
    assert (biggest > 0).all()


def test_fewer_rows_are_shrunk_more():
    amounts = []
    for count in (10, 50, 500):
        x = skewed(count, 20).astype(np.float32)
        _, values, _, squares = embedding._principal(x, 5)
        amounts.append(embedding._shrinkage(values, squares, x.shape))
        assert amounts[-1] == pytest.approx(reference.shrinkage(x.astype(float)))
    assert 1 > amounts[0] > amounts[1] > amounts[2] > 0


def test_signs_lose_less_than_by_a_random_turn():
    x = skewed(100, 20)
    outputs, turned = (x @ weight.T + bias for weight, bias in (layer_of(x, 6), layer_of(x, 6, how="hash")))
    assert np.abs((outputs**2).sum(axis=1) - (turned**2).sum(axis=1)).max() < 1e-6  # it is a rotation

    def loss(y):
        return np.square(y / np.sqrt(np.square(outputs).mean()) - np.sign(y)).sum()

    rng = np.random.default_rng(1)
    random = [np.linalg.qr(rng.normal(0, 1, (6, 6)))[0] for _ in range(10)]
    assert loss(turned) < min(loss(outputs), *(loss(outputs @ turn) for turn in random))


@pytest.mark.parametrize(("count", "most"), [(5, 4), (40, 10)])
def test_a_layer_of_more_dimensions_than_there_are(count, most):
    told = f"the vectors of the {count} photos that the layer starts from span {most} dimensions: set it to at most {most}, or train on"
    with pytest.raises(ImgretError, match=f"^`embed` is 11, but {told} more photos$"):
        layer_of(skewed(count, 10), 11)
    assert layer_of(skewed(count, 10), most)[0].shape == (most, 10)
    with pytest.raises(ImgretError, match=r"of the 1 photo that the layer starts from span 0 dimensions: set it to at most 0, or"):
        layer_of(skewed(1, 10), 2)


# NetVLAD, attention


def test_netvlad_is_the_loop():
    rng = np.random.default_rng(6)
    maps = np.maximum(rng.normal(0, 1, (2, CHANNELS, 3, 4)), 0).astype(np.float32)
    maps[0, :, 1, 1] = 0
    weight, bias, centroids = rng.normal(0, 2, (4, CHANNELS)), rng.normal(0, 1, 4), rng.normal(0, 0.4, (4, CHANNELS))
    found = netvlad.vlad(*(torch.from_numpy(each.astype(np.float32)) for each in (maps, weight, bias, centroids)))
    for number in range(2):
        wanted = reference.netvlad(maps[number].astype(float), weight, bias, centroids)
        assert np.abs(found[number].numpy() - wanted).max() < 1e-5
    assert (
        netvlad.vlad(torch.zeros(1, CHANNELS, 2, 2), *(torch.from_numpy(each.astype(np.float32)) for each in (weight, bias, centroids)))
        .eq(0)
        .all()
    )


def test_netvlad_starts_as_a_soft_vlad():
    """Words are those of k-means; the nearest has on geometric average 100 times the share of the second; w·x + b is -α |x - c|² but for
    what is the same for all words."""
    rng = np.random.default_rng(7)
    spots = np.eye(5, 8) + 0.01
    columns = np.repeat(spots, 30, axis=0) + rng.normal(0, 0.03, (150, 8))
    columns = (columns / np.linalg.norm(columns, axis=1, keepdims=True)).astype(np.float32)
    weight, bias, centroids = netvlad.beginning(columns, 3)
    distances = np.square(columns[:, None].astype(float) - centroids).sum(axis=2)
    for k in range(3):
        assert centroids[k] == pytest.approx(columns[distances.argmin(axis=1) == k].mean(axis=0), abs=1e-5)
    scores = columns @ weight.T + bias
    nearest = np.sort(scores, axis=1)
    assert (nearest[:, -1] - nearest[:, -2]).mean() == pytest.approx(np.log(100), rel=1e-4)
    assert (scores.argmax(axis=1) == distances.argmin(axis=1)).all()
    ratio = np.ptp(scores, axis=1) / np.ptp(distances, axis=1)
    assert ratio == pytest.approx(np.full(150, ratio[0]), rel=1e-3)
    assert all(np.isfinite(each).all() for each in netvlad.beginning(columns, 1))
    with pytest.raises(ImgretError, match="^netvlad starts from 5 words, and the photos give 4 columns: set fewer `clusters`$"):
        netvlad.beginning(columns[:4], 5)


def test_attention_is_the_loop():
    rng = np.random.default_rng(8)
    head = begun("attention", "plain")
    layers = [rng.normal(0, 1, head.learned[name].shape) for name in attention.NAMES]
    head.learned |= {name: torch.from_numpy(each.astype(np.float32)) for name, each in zip(attention.NAMES, layers, strict=True)}
    maps = outputs_of("attention", 3).numpy()
    found = head.pool(torch.from_numpy(maps)).numpy()
    for number in range(3):
        wanted = reference.gem(reference.attended(maps[number].astype(float), layers), 3.0)
        assert found[number] == pytest.approx(wanted, rel=1e-4)


def test_attention_starts_as_gem():
    head = POOLS["attention"](POOLS["attention"].Params())
    head.learned = head.start([CHANNELS], None, {})
    maps = outputs_of("gem", 20)
    weights = attention.weights(maps, *(head.learned[name] for name in attention.NAMES))
    assert (weights - 1).abs().max() < 0.05
    assert (head([maps]) - POOLS["gem"](POOLS["gem"].Params())([maps])).abs().max() < 3e-3
    other = attention.weights(maps * 1000, *(head.learned[name] for name in attention.NAMES))
    assert torch.allclose(weights, other, atol=1e-5)  # contrast counts for nothing


@pytest.mark.parametrize("reduction", [1, 2, 16])
def test_squeeze_and_excitation_is_the_loop(reduction):
    rng = np.random.default_rng(9)
    head = POOLS["se"](POOLS["se"].Params(reduction=reduction))
    layers = [rng.normal(0, 1, shape) for shape in head.own_shapes([CHANNELS]).values()]
    head.learned = {name: torch.from_numpy(each.astype(np.float32)) for name, each in zip(excitation.NAMES, layers, strict=True)}
    maps = outputs_of("se", 3).numpy()
    found = head.pool(torch.from_numpy(maps)).numpy()
    for number in range(3):
        wanted = reference.gem(reference.excited(maps[number].astype(float), layers), 3.0)
        assert found[number] == pytest.approx(wanted, rel=1e-4)


def test_squeeze_and_excitation_starts_as_gem():
    head = POOLS["se"](POOLS["se"].Params())
    head.learned = head.start([CHANNELS], None, {})
    maps = outputs_of("gem", 20)
    weights = excitation.weights(maps, *(head.learned[name] for name in excitation.NAMES))
    assert (weights - 1).abs().max() < 0.05
    assert (head([maps]) - POOLS["gem"](POOLS["gem"].Params())([maps])).abs().max() < 0.02
    other = excitation.weights(maps * 1000, *(head.learned[name] for name in excitation.NAMES))
    assert torch.allclose(weights, other, atol=1e-5)  # contrast counts for nothing


@pytest.mark.parametrize("pool", ["attention", "se"])
def test_gradients_of_weighted_means(pool):
    head = begun(pool, "plain")
    names, leaves = zip(*((name, tensor.double() + 0.1) for name, tensor in head.learned.items()), strict=True)

    def pooled(maps, *given):
        head.learned = dict(zip(names, given, strict=True))
        return head.pool(maps)

    leaves = [outputs_of(pool, 2, dtype=torch.float64), *leaves]
    assert torch.autograd.gradcheck(pooled, [leaf.requires_grad_() for leaf in leaves], atol=1e-6)


# what extraction asks of a network


class Trained(Still):
    """One of which `learned` was trained beside it."""

    beside = {}

    def __init__(self, *arguments):
        super().__init__(*arguments)
        self.learned = self.beside


@pytest.fixture
def network(monkeypatch):
    """`network(learned)`: from now on the network `still:net` has that beside it."""

    def have(learned):
        backbones.shared.cache_clear()
        monkeypatch.setattr(Trained, "beside", learned)

    monkeypatch.setitem(backbones.BACKBONES, "still", "test_heads_learning:Trained")
    have({})
    yield have
    backbones.shared.cache_clear()


@pytest.mark.parametrize("views", [{}, {"scales": (1.0, 0.5), "flip": True}], ids=["one view", "four views"])
@EVERY
def test_extraction_gives_what_training_did(network, pool, layer, views):
    head = begun(pool, layer)
    network({name: tensor for name, tensor in head.learned.items() if name not in head.trained()})
    settings = {field.name: getattr(head.params, field.name) for field in dataclasses.fields(head.params)} | views
    extractor = Cnn(Cnn.Params(model="still:net", pool=pool, max_size=64, **settings))
    extractor.settle("cpu")
    photos = [extractor.read(encoded(texture(number, channels=3, width=64, height=48))) for number in range(3)]
    found = np.stack(extractor.describe(photos))
    assert found.shape == (3, extractor.dim)
    assert np.abs(np.linalg.norm(found, axis=1) - 1).max() < 1e-5
    if layer == "hash":
        assert np.unique(np.abs(found)).tolist() == [0.5]  # signs, of all views together
    if not views:
        assert np.abs(found - head(extractor._forward.outputs(photos)).numpy()).max() < 1e-5


def refusal(pool="gem", **settings):
    extractor = Cnn(Cnn.Params(model="still:net", pool=pool, **settings))
    with pytest.raises(ImgretError) as error:
        extractor.settle("cpu")
    return str(error.value)


def test_a_network_that_was_not_trained_for_it(network):
    told = "the weights net.pth have no trained {0} head: train one by `imgret train --set pool={1}`, or choose another pool"
    assert refusal("netvlad") == told.format("NetVLAD", "netvlad")
    assert refusal("attention") == told.format("attention", "attention")
    assert refusal("se") == told.format("squeeze-and-excitation", "se")
    assert TRAINED == ["netvlad", "attention", "se"]
    layer = "the weights net.pth have no trained layer of 16 dimensions: train one by `imgret train --set embed=16`, or leave `embed` out"
    assert refusal(embed=16) == layer
    assert refusal("rmac", embed=16, embed_as="hash") == layer


@pytest.mark.parametrize("odd", ["shape", "axes", "type", "nan"])
def test_odd_tensors_beside_a_network(network, odd):
    learned = {"embed.weight": torch.ones(16, CHANNELS), "embed.bias": torch.zeros(16)}
    learned |= {
        "shape": {"embed.weight": torch.ones(8, CHANNELS)},
        "axes": {"embed.bias": torch.tensor(1.0)},
        "type": {"embed.bias": torch.zeros(16, dtype=torch.int64)},
        "nan": {"embed.weight": torch.full((16, CHANNELS), torch.nan)},
    }[odd]
    network(learned)
    needed = "floats are needed: give the parameters that it was trained with"
    assert (
        refusal(embed=16)
        == "the weights net.pth: "
        + {
            "shape": f"head.embed.weight is 8×6 (float32), 16×6 {needed}",
            "axes": f"head.embed.bias is a number (float32), 16 {needed}",
            "type": f"head.embed.bias is 16 (int64), 16 {needed}",
            "nan": "head.embed.weight holds NaN or infinite values",
        }[odd]
    )


def test_halves_beside_a_network_are_floats(network):
    network({"embed.weight": torch.ones(2, CHANNELS, dtype=torch.float16), "embed.bias": torch.zeros(2, dtype=torch.bfloat16)})
    extractor = Cnn(Cnn.Params(model="still:net", embed=2))
    extractor.settle("cpu")
    assert {tensor.dtype for tensor in extractor._head.learned.values()} == {torch.float32}


def test_the_command_refuses_weights_without_a_head(photos, tmp_path):
    words = ("extract", photos, "-m", "cnn", "--set", "model=squeezenet1_1", "--set", "weights=random", "-j1", "-o", tmp_path / "out.h5")
    told = "the weights random have no trained layer of 256 dimensions: train one by `imgret train --set embed=256`, or leave `embed` out"
    refused(call(*words, "--set", "embed=256"), 1, told)
    told = "`embed_as` and `shrink` are about a last linear layer, and there is none: set `embed` to its dimensions"
    refused(call(*words, "--set", "embed_as=hash"), 2, told)
    refused(call(*words, "--set", "embed=8", "--set", "pool=none"), 2, "`embed` has no effect on local features (pool=none): leave it out")
    refused(call(*words, "--set", "pool=netvlad", "--set", "layer=features.7,features"), 2, "pool=netvlad takes one `layer`, got 2")


def test_what_was_recorded_before_stays_what_it_was():
    """A head without a last layer records nothing of it."""
    for pool in VECTORS:
        before = Cnn.Params(pool=pool)
        assert not {"embed", "embed_as", "shrink"} & {*before.to_json(), *before.space()}
        after = Cnn.Params(pool=pool, embed=8, embed_as="hash", shrink=0.1)
        assert after.to_json() == before.to_json() | {"embed": 8, "embed_as": "hash", "shrink": 0.1}
        assert after.space() == before.space() | {"embed": 8, "embed_as": "hash"}
        assert Cnn.Params.from_json(after.to_json()) == after
    assert "clusters" not in Cnn.Params().to_json()
    assert Cnn.Params(pool="netvlad").to_json()["clusters"] == 64


def test_newer_fields_are_recorded_where_they_differ():
    @dataclasses.dataclass(frozen=True)
    class Grown(registry.Params):
        old: int = registry.param(1, "as ever")
        new: int = registry.param(2, "since lately", newer=True)
        place: str = registry.param("here", "where", role=registry.PLACE, newer=True)

    assert (Grown().to_json(), Grown().space(), Grown().places()) == ({"old": 1}, {"old": 1}, {})
    assert Grown(new=3, place="there").to_json() == {"old": 1, "new": 3}
    assert Grown(place="there").places() == {"place": "there"}
    assert Grown.from_json({"old": 1}) == Grown()
    with pytest.raises(UsageError, match="^`new` must be an integer"):
        Grown(new="x")
