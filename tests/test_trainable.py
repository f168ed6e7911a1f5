"""A network with gradients: what learns and what stays, and the frozen layer whose maps are computed once."""

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from imgret.errors import ImgretError  # noqa: E402 - after what it needs
from imgret.networks.heads import HEADS  # noqa: E402
from imgret.networks.trainable import Trainable  # noqa: E402
from imgret.registry import load  # noqa: E402
from imgret.trainers.tuples import Contrastive  # noqa: E402

SMALL = "shufflenet_v2_x0_5"


def network(model=SMALL, **settings):
    """A network of random weights, as a training begins with it."""
    params = Contrastive.Params.parse((f"model={model}", "weights=random", "max_size=64"), **settings)
    made = Trainable(params, load(HEADS, params.pool, "head")(params.chosen), "cpu")
    made.begin(lambda head: np.random.default_rng(0).normal(size=(64, made.backbone.dims[0])).astype(np.float32))
    return made


def photos(count=3, height=64, width=64):
    """Random ones."""
    return list(np.random.default_rng(7).integers(0, 256, (count, height, width, 3), dtype=np.uint8))


def gradients(made, inputs):
    """Those of a sum of the vectors, weighted at random, by name."""
    vectors = made(inputs, learn=True)
    weights = torch.from_numpy(np.random.default_rng(3).normal(size=tuple(vectors.shape)).astype(np.float32))
    names = list(made.learning)
    return dict(zip(names, torch.autograd.grad((vectors * weights).sum(), [made.learning[name] for name in names]), strict=True))


@pytest.mark.parametrize(
    ("model", "layer"),
    [
        ("shufflenet_v2_x0_5", "maxpool"),
        ("shufflenet_v2_x0_5", "stage3.1"),
        ("shufflenet_v2_x0_5", "conv5"),
        ("mobilenet_v2", "features.3"),
        ("mobilenet_v2", "features.14.conv.1"),
        ("resnet18", "layer2"),
        ("squeezenet1_1", "features.6"),
    ],
)
def test_from_the_frozen_layer_on_it_is_the_whole_network(model, layer):
    whole, frozen = network(model), network(model, freeze=layer)
    for shape in ((2, 64, 64), (1, 96, 71)):
        given = photos(*shape)
        maps = frozen.maps(given)
        assert (maps.dtype, maps.ndim, len(maps)) == (np.float32, 4, shape[0])
        with torch.no_grad():
            np.testing.assert_allclose(frozen(list(maps)), whole(given), atol=1e-5)
    wanted, found = gradients(whole, given), gradients(frozen, list(maps))
    assert set(found) < set(wanted)
    for name, gradient in found.items():
        scale = float(wanted[name].abs().max())
        np.testing.assert_allclose(gradient, wanted[name], atol=2e-4 * max(scale, 1e-6), err_msg=name)


@pytest.mark.parametrize(
    ("model", "layer", "text"),
    [
        ("densenet121", "features.denseblock2.denselayer1.conv1", "looks at what is below it too: freeze another one"),
        ("densenet121", "features.denseblock2.denselayer3", "looks at what is below it too: freeze another one"),
        ("resnet18", "layer2.0.conv1", "looks at what is below it too: freeze another one"),
        ("resnet18", "fc", "gives no map: freeze another one"),
        ("resnet18", "layer9", "resnet18 has no layer 'layer9' to freeze: "),
    ],
)
def test_layers_that_cannot_be_frozen(model, layer, text):
    with pytest.raises(ImgretError) as caught:
        network(model, freeze=layer)
    assert text in str(caught.value)
    assert len(str(caught.value)) < 400


def test_only_what_the_vectors_depend_on_learns():
    names = set(network().learning)
    assert not any("fc" in name or "running" in name for name in names)
    assert "head.p" in names
    assert not any(name.startswith("backbone.stage2") for name in network(freeze="stage2").learning)
    above = set(network(freeze="stage3").learning)
    assert above == {name for name in names if name.startswith(("backbone.stage4", "backbone.conv5", "head."))}
    assert set(network("resnet18", layer=("layer2",)).learning) == {
        name for name in network("resnet18").learning if not name.startswith(("backbone.layer3", "backbone.layer4"))
    }


def test_the_head_alone_learns():
    made = network("squeezenet1_1", freeze="features")
    assert list(made.learning) == ["head.p"]
    gradient = gradients(made, list(made.maps(photos())))["head.p"]
    assert torch.isfinite(gradient).all()
    assert gradient.abs().sum() > 0
    assert network(learn_head=False).learning.keys().isdisjoint({"head.p"})
    assert not network("squeezenet1_1", freeze="features", learn_head=False).learning
    assert not network("squeezenet1_1", freeze="features", pool="avg").learning


def norms(made):
    """The names of the factors of batch norms that learn, and of their statistics."""
    layers = {name for name, module in made.model.named_modules() if isinstance(module, torch.nn.BatchNorm2d)}
    learning = {name for name in made.learning if name.removeprefix("backbone.").rpartition(".")[0] in layers}
    return learning, set(made.buffers)


def test_batch_norm():
    given = photos(4)
    frozen, affine, full = (network(batch_norm=how) for how in ("frozen", "affine", "full"))
    assert norms(frozen) == (set(), set())
    assert norms(affine)[0]
    assert norms(affine)[1] == set()
    assert norms(full)[0] == norms(affine)[0]
    assert any(name.endswith("running_mean") for name in full.buffers)
    for made in (frozen, affine, full):
        before = {name: tensor.clone() for name, tensor in made.model.named_buffers()}
        made(given, learn=True)
        changed = {name for name, tensor in made.model.named_buffers() if not torch.equal(tensor, before[name])}
        assert bool(changed) == (made is full)
        after = {name: tensor.clone() for name, tensor in made.model.named_buffers()}
        made(given)
        assert all(torch.equal(tensor, after[name]) for name, tensor in made.model.named_buffers())
    np.testing.assert_allclose(frozen(given), affine(given), rtol=0, atol=1e-6)  # what is frozen is part of the filters


def test_bfloat16_is_near():
    given = photos()
    one, other = network()(given), network(precision="bfloat16")(given)
    assert other.dtype == torch.float32
    cosines = (one * other).sum(dim=1)
    assert (cosines > 0.995).all()
    assert not torch.equal(one, other)
    made = network(precision="bfloat16", freeze="stage3")
    assert all(gradient.dtype == torch.float32 for gradient in gradients(made, list(made.maps(given))).values())


def test_vectors_of_signs_have_a_gradient_while_they_are_learned():
    made = network(embed=4, embed_as="hash")
    given = photos()
    assert (made(given).abs() == 0.5).all()
    soft = made(given, training=True)
    torch.testing.assert_close(soft, made(given, learn=True).detach())
    assert not soft.requires_grad
    assert not (soft.abs() == 0.5).all()


def test_what_it_keeps_is_what_it_learned():
    made = network(embed=4)
    arrays = made.arrays()
    assert {"head.embed.weight", "head.embed.bias"} <= set(arrays)
    assert "head.p" not in arrays  # a parameter says it
    assert made.head.trained().keys() == {"p"}
    assert {name for name in arrays if name.startswith("backbone.")} == {f"backbone.{name}" for name in made.model.state_dict()}
    assert all(array.flags.c_contiguous for array in arrays.values())
