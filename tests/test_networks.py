"""Networks of torchvision, cut open: what a layer gives, where its columns look, and which weights are taken."""

import dataclasses
import functools
import gc
import hashlib
import io
import json
import os
import pickle
import random
import struct
import threading
import types
import zipfile

import pytest
from helpers import encoded, texture

from imgret import registry
from imgret.errors import ImgretError, UsageError
from imgret.networks.composed import composed
from imgret.networks.heads import HEADS
from imgret.networks.heads.base import VectorHead, VectorParams
from imgret.networks.heads.local import LocalHead, LocalParams

torch = pytest.importorskip("torch")
torchvision = pytest.importorskip("torchvision")

from imgret.extractors.cnn import Cnn  # noqa: E402
from imgret.networks import backbones, fields, state_dicts, weights  # noqa: E402 - after what it needs
from imgret.networks.backbones import models  # noqa: E402
from imgret.networks.backbones.architectures import architecture_of  # noqa: E402
from imgret.networks.backbones.base import Backbone  # noqa: E402
from imgret.networks.backbones.network import Network  # noqa: E402
from imgret.networks.params import BackboneParams as Params  # noqa: E402

HEIGHT, WIDTH = 96, 64
# model: the default layer, its channels, the map's height and width for a photo of 96 x 64
DEFAULTS = {
    "alexnet": ("features.11", 256, 5, 3),
    "vgg11": ("features.19", 512, 6, 4),
    "resnet18": ("layer4", 512, 3, 2),
    "resnet50": ("layer4", 2048, 3, 2),
    "mobilenet_v2": ("features", 1280, 3, 2),
    "mobilenet_v3_small": ("features", 576, 3, 2),
    "squeezenet1_0": ("features", 512, 5, 3),
    "squeezenet1_1": ("features", 512, 5, 3),
    "efficientnet_b0": ("features", 1280, 3, 2),
    "convnext_tiny": ("features", 768, 3, 2),
    "vit_b_16": ("encoder.ln", 768, 6, 4),
    "swin_t": ("permute", 768, 3, 2),
    "densenet121": ("features", 1024, 3, 2),
    "regnet_y_400mf": ("trunk_output", 440, 3, 2),
    "shufflenet_v2_x0_5": ("conv5", 1024, 3, 2),
    "googlenet": ("inception5b", 1024, 3, 2),
}
# layers in between; alexnet's and vgg11's weights take long to draw
BETWEEN = {
    "resnet18": ("layer3", "conv1", "layer1.0.bn1"),
    "resnet50": ("layer2", "layer4.1"),
    "mobilenet_v2": ("features.3", "features.10"),
    "mobilenet_v3_small": ("features.2", "features.7"),
    "squeezenet1_0": ("features.1", "features.0", "features.5"),
    "squeezenet1_1": ("features.12", "features.3.squeeze"),
    "efficientnet_b0": ("features.2", "features.4"),
    "convnext_tiny": ("features.1", "features.2"),
    "swin_t": ("features.1", "features.3", "norm"),
    "densenet121": ("features.denseblock1", "features.transition2", "features.norm5"),
    "regnet_y_400mf": ("trunk_output.block2", "stem"),
    "shufflenet_v2_x0_5": ("stage2", "stage3"),
    "googlenet": ("inception3a", "inception4a"),
}
EVERY = pytest.mark.parametrize("name", DEFAULTS, indirect=True)
SMALL = "shufflenet_v2_x0_5"  # has everything: convolutions, normalisations with integers, a linear classifier


@pytest.fixture(autouse=True, scope="module")
def memory(one_thread):
    """The memory of networks is given back."""
    yield
    small.cache_clear()
    small_state.cache_clear()
    gc.collect()


@pytest.fixture(scope="module")
def name(request):
    """A model's name, its `Network` at the default layer, and torchvision's own model with the same weights."""
    net = Network(Params(model=request.param, weights="random"))
    yield types.SimpleNamespace(name=request.param, net=net, own=own_model(request.param, net))
    gc.collect()


def own_model(name, net=None, state=None):
    """A model that torchvision built, with the weights of a `Network`, or of a state_dict: all of it as torchvision has it."""
    options = {"aux_logits": False, "init_weights": False} if name == "googlenet" else {}
    if state is None and has_norms(name):  # which `Network` folds into the convolutions, or a position embedding that it resizes
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(net.params.seed)
            return torchvision.models.get_model(name, weights=None, **options).eval()
    if state is None:
        state = net.model.state_dict()
    if "fc.bias" in state:
        options["num_classes"] = len(state["fc.bias"])
    with torch.device("cpu" if name.startswith("regnet") else "meta"):  # it computes with tensors while it is built
        model = torchvision.models.get_model(name, weights=None, **options)
    model.load_state_dict({key: value.contiguous() for key, value in state.items()}, assign=True)
    return model.eval()


def has_norms(name):
    """Whether a model's own weights are not to be had from its `Network`."""
    return not name.startswith(("alexnet", "vgg11", "squeezenet", "convnext", "swin"))


def restless(model, seed=0):
    """A state_dict of a model with normalisations that do something: their statistics as if learned from photos."""
    generator, before, state = torch.Generator().manual_seed(seed), model.state_dict(), {}
    for name, value in before.items():
        normalises = f"{name.rpartition('.')[0]}.running_var" in before
        if normalises and name.endswith(("running_var", "weight")):
            value = 0.5 + torch.rand(value.shape, generator=generator)
        elif normalises and value.is_floating_point():
            value = 0.3 * torch.randn(value.shape, generator=generator)
        state[name] = value.detach().clone()
    return state


@functools.cache
def small(name, layer=(), wants="map", seed=0):
    """A `Network` of one of the quickly built models, made once."""
    return Network(Params(model=name, weights="random", layer=layer, seed=seed), wants)


def photos(count=2, height=HEIGHT, width=WIDTH, seed=0):
    """Normalised noise."""
    return torch.randn(count, 3, height, width, generator=torch.Generator().manual_seed(seed))


def own_outputs(model, x, layers):
    """What modules of a model give in a whole forward pass: copies of their first answers, taken before anything works on in place."""
    found, modules = {}, dict(model.named_modules())

    def keep(layer, output):
        if layer not in found:
            found[layer] = output.detach().clone()

    hooks = [modules[layer].register_forward_hook(lambda _, __, output, layer=layer: keep(layer, output)) for layer in layers]
    try:
        with torch.no_grad():
            model(x)
    finally:
        for hook in hooks:
            hook.remove()
    return [found[layer] for layer in layers]


def same(found, wanted, relative=1e-5):
    """Assert that two tensors are the same, to a share of the largest value."""
    assert found.shape == wanted.shape
    assert torch.isfinite(found).all()
    top = wanted.abs().max().item()
    assert top > 0
    assert (found - wanted).abs().max().item() <= relative * top


# what layers give


@EVERY
def test_default_layer(name):
    layer, channels, rows, columns = DEFAULTS[name.name]
    net = name.net
    assert net.layers == net.params.layer == (layer,)
    assert net.dims == [channels]
    assert net.maps == [True]
    assert 32 <= net.least <= 64
    (found,) = net(photos())
    assert found.shape == (2, channels, rows, columns)
    assert found.dtype == torch.float32
    assert found.std() > 0
    assert not found.requires_grad
    if name.name == "vit_b_16":
        return  # torchvision's own takes 224 x 224 only, see below
    (wanted,) = own_outputs(name.own, photos(), [layer])
    if name.name == "densenet121":
        wanted = wanted.relu()  # as the model does before it takes the mean
    same(found, wanted)


@EVERY
def test_a_photo_is_described_alike_in_any_batch(name):
    x = photos(3)
    (together,) = name.net(x)
    for number in range(3):
        (alone,) = name.net(x[number : number + 1])
        same(alone[0], together[number])
    (turned,) = name.net(x.flip(0))
    same(turned.flip(0), together)


@EVERY
def test_memory_layout_and_repetition_change_nothing(name):
    x = photos()
    (first,) = name.net(x)
    kept = x.clone()
    (second,) = name.net(x.contiguous(memory_format=torch.channels_last))
    (third,) = name.net(x)
    assert torch.equal(x, kept)
    same(second, first)
    assert torch.equal(third, first)


@EVERY
def test_parameters_say_what_was_found(name):
    params = name.net.params
    assert params.weights == "random"
    assert len(params.digest) == 64
    assert params.mean == (0.485, 0.456, 0.406)
    assert params.std == (0.229, 0.224, 0.225)
    assert not any(value.requires_grad for value in name.net.model.parameters())
    assert not name.net.model.training
    assert Params.from_json(params.to_json() | {"weights": "random"}) == params


@pytest.mark.parametrize("model", BETWEEN)
def test_layers_in_between(model, tmp_path):
    """Several at once, in the order they were asked for; those that a later one overwrites in place are as they were."""
    layers = (DEFAULTS[model][0], *BETWEEN[model])
    options = {"init_weights": False} if model == "googlenet" else {}
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(3)
        own = torchvision.models.get_model(model, weights=None, **options)
    own.load_state_dict(restless(own))
    if model == "googlenet":
        own.transform_input = True  # as a file's weights have it
    net = Network(Params(model=model, weights=written(tmp_path, saved(own.state_dict())), layer=layers))
    found = net(photos())
    wanted = own_outputs(own.eval(), photos(), layers)
    for layer, given, own in zip(layers, found, wanted, strict=True):
        if model == "swin_t" and layer != "permute":
            own = own.permute(0, 3, 1, 2)
        if model == "densenet121" and layer == "features":
            own = own.relu()
        same(given, own)
    assert net.dims == [own.shape[1] for own in found]
    # between calls nothing is overwritten either
    kept = [output.clone() for output in found]
    net(photos(seed=9))
    assert all(torch.equal(*both) for both in zip(found, kept, strict=True))


def test_an_in_place_relu_does_not_change_the_layer_before():
    net = small("squeezenet1_1", ("features.0", "features.1"))
    assert net.model.features[1].inplace
    before, after = net(photos())
    conv = net.model.features[0]
    same(before, torch.nn.functional.conv2d(photos(), conv.weight, conv.bias, stride=2))
    assert (before < 0).any()
    assert torch.equal(after, before.relu())


@pytest.mark.parametrize("layers", [("layer1.0.relu",), ("layer1.0.relu", "layer2")])
def test_a_module_that_is_used_twice_is_refused(layers):
    """A residual block has one ReLU for two places: which is meant is not said."""
    with pytest.raises(UsageError, match="^the layer 'layer1.0.relu' of resnet18 is used 2 times: name the module around it$"):
        Network(Params(model="resnet18", weights="random", layer=layers))


@pytest.mark.parametrize("layer", ["features.0.0", "features.0", "features.1.0.attn", "features.2"])
def test_every_map_of_swin_has_its_channels_first(layer):
    net = small("swin_t", (layer,))
    (own,) = own_outputs(own_model("swin_t", net), photos(), [layer])
    channels = 192 if layer == "features.2" else 96
    own = own if own.shape[1] == channels else own.permute(0, 3, 1, 2)
    assert net.dims == [channels]
    same(net(photos())[0], own)


def test_a_map_of_convnext_with_its_channels_last_is_no_map_of_rows():
    """Within a block the channels are last; taken as they are, the rows would be the channels. Refused would be right as well."""
    try:
        net = small("convnext_tiny", ("features.1.0.block.3",))
    except UsageError as refused:
        assert "features.1.0.block.3" in str(refused)  # noqa: PT017 - one of two right answers
        return
    assert net.dims == [384]
    (own,) = own_outputs(own_model("convnext_tiny", net), photos(), net.layers)
    same(net(photos())[0], own.permute(0, 3, 1, 2))


def test_fully_connected_layers_of_alexnet():
    net = Network(Params(model="alexnet", weights="random", layer=("fc6", "fc7", "fc8")), "vector")
    fc6, fc7, fc8 = net(photos())
    model = own_model("alexnet", net)
    with torch.no_grad():
        x = model.avgpool(model.features(photos())).flatten(1)
        same(fc6, torch.nn.functional.linear(x, model.classifier[1].weight, model.classifier[1].bias))
        same(fc7, model.classifier[4](fc6.relu()))
        same(fc8, model.classifier[6](fc7.relu()))
        same(fc8, model(photos()))
    assert net.dims == [4096, 4096, 1000]
    assert net.maps == [False] * 3


@pytest.mark.parametrize("model", ["resnet18", "mobilenet_v2", "googlenet", "densenet121", "shufflenet_v2_x0_5", "regnet_y_400mf"])
def test_avgpool_is_the_penultimate_vector(model):
    """What the classifier takes: with it, torchvision's own scores come out."""
    net = small(model, ("avgpool",), "vector")
    (found,) = net(photos())
    own = own_model(model, net)
    with torch.no_grad():
        head = own.fc if hasattr(own, "fc") else own.classifier
        same(head(found), own(photos()))
    (feature,) = small(model)(photos())
    same(found, feature.mean(dim=(2, 3)))
    assert small(model, (), "vector").layers == ("avgpool",)


def test_a_default_vector_of_squeezenet():
    net = small("squeezenet1_1", (), "vector")
    assert net.layers == ("classifier.3",)
    with torch.no_grad():
        same(net(photos())[0], own_model("squeezenet1_1", net)(photos()))


# transformers


@pytest.mark.parametrize("name", ["vit_b_16"], indirect=True)
def test_vit_at_its_own_size_is_torchvisions(name):
    """The encoder's tokens, after other sizes went through; then as the map of patches, row by row."""
    name.net(photos())
    x = photos(2, 224, 224)
    (found,) = name.net(x)
    (tokens,) = own_outputs(name.own, x, ["encoder"])
    assert tokens.shape == (2, 197, 768)
    assert found.shape == (2, 768, 14, 14)
    for row, column in ((0, 0), (0, 13), (5, 2), (13, 13)):
        same(found[:, :, row, column], tokens[:, 1 + 14 * row + column])


@pytest.mark.parametrize("name", ["vit_b_16"], indirect=True)
def test_vit_takes_other_shapes(name):
    """The position embedding is resized to the grid of patches (bicubic, the class token's left alone); the rest is torchvision's."""
    own = name.own
    place = own.encoder.pos_embedding.detach()
    for height, width in ((64, 96), (96, 64), (32, 160), (70, 100)):
        x = photos(1, height, width)
        rows, columns = height // 16, width // 16
        (found,) = name.net(x)
        assert found.shape == (1, 768, rows, columns)
        grid = torch.nn.functional.interpolate(
            place[:, 1:].reshape(1, 14, 14, 768).permute(0, 3, 1, 2), size=(rows, columns), mode="bicubic", align_corners=False
        )
        with torch.no_grad():
            patches = own.conv_proj(x).flatten(2).transpose(1, 2) + grid.flatten(2).transpose(1, 2)
            tokens = torch.cat([own.class_token + place[:, :1], patches], dim=1)
            tokens = own.encoder.ln(own.encoder.layers(tokens))
        same(found, tokens[:, 1:].transpose(1, 2).reshape(1, 768, rows, columns))


def test_vit_gives_its_class_token_and_layers_in_between():
    net = Network(Params(model="vit_b_16", weights="random", layer=("encoder.ln", "encoder.layers.encoder_layer_3", "avgpool")), "vector")
    x = photos(1, 224, 224)
    found = net(x)
    last, between = own_outputs(own_model("vit_b_16", net), x, ["encoder.ln", "encoder.layers.encoder_layer_3"])
    same(found[0], last[:, 0])
    same(found[1], between[:, 0])
    same(found[2], last[:, 0])  # what the classifier takes
    assert net.dims == [768] * 3
    assert net.default_layer() == "encoder.ln"


# refusals


def test_unknown_model():
    with pytest.raises(UsageError) as refusal:
        Network(Params(model="resnet19", weights="random"))
    message = str(refusal.value)
    assert "'resnet19'" in message
    for model in DEFAULTS:
        assert model in message
    assert "fasterrcnn" not in message


@pytest.mark.parametrize("layer", ["layer5", "layer4.2", "", "fc6", "layer4.conv1", "LAYER4", " layer4"])
def test_unknown_layer(layer):
    with pytest.raises(UsageError) as refusal:
        Network(Params(model="resnet18", weights="random", layer=(layer,)))
    message = str(refusal.value)
    assert f"no layer '{layer}'" in message
    for other in ("conv1", "layer1", "layer4.1", "avgpool", "fc"):
        assert f" {other}," in message


def test_the_list_of_layers_has_fc6_where_there_is_one():
    for model, has in (("alexnet", True), ("squeezenet1_1", False)):
        with torch.device("meta"):
            net = Network.__new__(Network)
            net.architecture, net.model = architecture_of(model), torchvision.models.get_model(model, weights=None)
        assert ("fc6, fc7, fc8" in net.valid()) is has


def test_a_layer_that_gives_no_single_tensor_is_refused():
    with pytest.raises(UsageError, match=r"self_attention' of vit_b_16 gives no single tensor: choose one of conv_proj, encoder, "):
        Network(Params(model="vit_b_16", weights="random", layer=("encoder.layers.encoder_layer_0.self_attention",)))


def test_a_module_that_is_never_called_is_refused():
    """An empty sequence beside the residual branch."""
    with pytest.raises(UsageError, match="takes no part in what shufflenet_v2_x0_5 computes: choose one of "):
        Network(Params(model=SMALL, weights="random", layer=("stage2.0.branch1", "stage2.1.branch1")))


@pytest.fixture(scope="module")
def googlenet_with_aux(tmp_path_factory):
    """A file of weights of GoogLeNet with its auxiliary classifiers, as torchvision's own has them."""
    path = str(tmp_path_factory.mktemp("googlenet") / "g.pth")
    torch.save(torchvision.models.googlenet(weights=None, aux_logits=True, init_weights=False).state_dict(), path)
    return path


def test_a_layer_that_takes_no_part_is_refused(googlenet_with_aux):
    for layer in (("aux1",), ("aux1", "inception5b"), ("inception5b", "aux2.conv")):
        with pytest.raises(UsageError) as refusal:
            Network(Params(model="googlenet", weights=googlenet_with_aux, layer=layer))
        message = str(refusal.value)
        assert message.startswith(f"a layer of {','.join(layer)} takes no part in what googlenet computes: choose one of ")
        assert "inception5b" in message


def test_googlenet_of_a_file_transforms_its_input(googlenet_with_aux):
    """As torchvision's does with its ImageNet weights: from torch's normalisation to the one it was trained with."""
    (found,) = Network(Params(model="googlenet", weights=googlenet_with_aux))(photos())
    own = torchvision.models.googlenet(weights=None, aux_logits=True, init_weights=False, transform_input=True).eval()
    own.load_state_dict(torch.load(googlenet_with_aux))
    same(found, own_outputs(own, photos(), ["inception5b"])[0])


# random weights


def test_seeds():
    first, other = small("squeezenet1_1"), small("squeezenet1_1", seed=1)
    state = torch.get_rng_state()
    again = Network(Params(model="squeezenet1_1", weights="random"))
    assert torch.equal(torch.get_rng_state(), state)
    assert again.params.digest == first.params.digest
    assert again.params.digest != other.params.digest
    for key, value in first.model.state_dict().items():
        assert torch.equal(again.model.state_dict()[key], value)
    torch.manual_seed(0)
    own = torchvision.models.squeezenet1_1(weights=None)
    assert torch.equal(own.features[0].weight, first.model.features[0].weight)
    assert not torch.equal(own.features[0].weight, other.model.features[0].weight)
    torch.set_rng_state(state)


def test_the_digest_of_random_weights_is_checked():
    digest = small("squeezenet1_1").params.digest
    assert Network(Params(model="squeezenet1_1", weights="random", digest=digest)).params.digest == digest
    with pytest.raises(ImgretError, match=rf"are others here \(SHA-256 {digest[:12]}\) than those that were used \(000000000000\)"):
        Network(Params(model="squeezenet1_1", weights="random", digest="0" * 64))
    with pytest.raises(ImgretError, match=f"SHA-256 {small('squeezenet1_1', seed=1).params.digest[:12]}"):
        Network(Params(model="squeezenet1_1", weights="random", seed=1, digest=digest))


def test_the_digest_is_of_the_weights_not_of_the_arithmetic():
    net = Network(Params(model="squeezenet1_1", weights="random", precision="bfloat16"))
    assert net.params.digest == small("squeezenet1_1").params.digest
    (found,) = net(photos())
    (wanted,) = small("squeezenet1_1")(photos())
    assert found.dtype == torch.float32
    same(found, wanted, 0.05)
    assert not torch.equal(found, wanted)


# with gradients


@pytest.mark.parametrize("model", ["resnet18", "densenet121", "vit_b_16", "googlenet"])
def test_a_network_with_gradients(model):
    """The same numbers as without, under the names that torchvision's own parameters have, and a gradient for all below the layer."""
    params = Params(model=model, weights="random", layer=("encoder.layers.encoder_layer_1",) if model == "vit_b_16" else ())
    net = backbones.trainable(params, "map")
    x = photos(1, 64, 96)
    (found,) = net(x)
    same(found.detach(), small(model, params.layer)(x)[0])
    assert net.params == small(model, params.layer).params
    own = models.bare(model).state_dict()
    assert {name: value.shape for name, value in net.model.state_dict().items()} == {name: value.shape for name, value in own.items()}
    assert {value.dtype for value in net.model.parameters()} == {torch.float32}
    assert not net.model.training
    (found**2).mean().backward()
    below = {name for name, value in net.model.named_parameters() if value.grad is not None and value.grad.abs().max() > 0}
    first = {"vit_b_16": "encoder.pos_embedding", "densenet121": "features.conv0.weight", "googlenet": "conv1.conv.weight"}
    assert first.get(model, "conv1.weight") in below
    with torch.no_grad():
        assert not net(x)[0].requires_grad
    state = {name: value.clone() for name, value in net.model.state_dict().items()}
    net(photos(1, 96, 64))  # another shape leaves the parameters what they are
    assert all(torch.equal(value, state[name]) for name, value in net.model.state_dict().items())


# threads


@pytest.mark.parametrize("model", ["squeezenet1_1", "resnet18", "vit_b_16"])
def test_threads_share_a_network(model):
    """Photos of other shapes at the same time: each thread gets the answers to its own."""
    layers = ("encoder.layers.encoder_layer_1",) if model == "vit_b_16" else (DEFAULTS[model][0], BETWEEN[model][0])
    net = small(model, layers)
    jobs = [photos(1, 64, 96, 1), photos(1, 96, 64, 2), photos(2, 64, 64, 3)]
    wanted = [net(x) for x in jobs]
    start, wrong = threading.Barrier(len(jobs)), []

    def work(number):
        try:
            start.wait()
            for _ in range(8):
                found = net(jobs[number])
                for given, own in zip(found, wanted[number], strict=True):
                    same(given, own)
        except BaseException as error:  # noqa: BLE001 - told of in the thread that runs the test
            wrong.append(repr(error))

    threads = [threading.Thread(target=work, args=(number,)) for number in range(len(jobs))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []


def test_shared_networks_are_one():
    params = Params(model="squeezenet1_1", weights="random", seed=5)
    first = backbones.shared(params, "map", "cpu", ())
    assert backbones.shared(dataclasses.replace(params), "map", "cpu", ()) is first
    assert backbones.shared(dataclasses.replace(params, seed=6), "map", "cpu", ()) is not first


# receptive fields

# kernel, stride, padding of everything between the photo and the layer; of parallel ways the widest
CHAINS = {
    "alexnet": [(11, 4, 2), (3, 2, 0), (5, 1, 2), (3, 2, 0), (3, 1, 1), (3, 1, 1), (3, 1, 1)],
    "vgg11": [
        *((3, 1, 1), (2, 2, 0)),
        *((3, 1, 1), (2, 2, 0)),
        *((3, 1, 1), (3, 1, 1), (2, 2, 0)),
        *((3, 1, 1), (3, 1, 1), (2, 2, 0)),
        *((3, 1, 1), (3, 1, 1)),
    ],
    "resnet18": [(7, 2, 3), (3, 2, 1), *[(3, 1, 1)] * 4, *([(3, 2, 1)] + [(3, 1, 1)] * 3) * 3],
    "squeezenet1_0": [(7, 2, 0), (3, 2, 0), *[(3, 1, 1)] * 3, (3, 2, 0), *[(3, 1, 1)] * 4, (3, 2, 0), (3, 1, 1)],
    "squeezenet1_1": [(3, 2, 0), (3, 2, 0), *[(3, 1, 1)] * 2, (3, 2, 0), *[(3, 1, 1)] * 2, (3, 2, 0), *[(3, 1, 1)] * 4],
    "mobilenet_v2": [
        (3, 2, 1),
        *[
            (3, stride, 1)
            for times, stride in ((1, 1), (2, 2), (3, 2), (4, 2), (3, 1), (3, 2), (1, 1))
            for stride in [stride] + [1] * (times - 1)
        ],
    ],
    "densenet121": [
        *((7, 2, 3), (3, 2, 1)),
        *[(3, 1, 1)] * 6,
        (2, 2, 0),
        *[(3, 1, 1)] * 12,
        (2, 2, 0),
        *[(3, 1, 1)] * 24,
        (2, 2, 0),
        *[(3, 1, 1)] * 16,
    ],
}
KNOWN = {"alexnet": (16, 163), "resnet18": (32, 435), "mobilenet_v2": (32, 491), "densenet121": (32, 2071)}  # stride, size: published


def chained(chain):
    """Stride, centre of the first field and size, by the usual recurrence."""
    size, jump, first = 1, 1, 0.0
    for kernel, stride, padding in chain:
        size += (kernel - 1) * jump
        first += ((kernel - 1) / 2 - padding) * jump
        jump *= stride
    return jump, first, size


def blank(name, layer):
    """As much of a `Network` as a field takes, without drawing weights."""
    return types.SimpleNamespace(
        name=name, layers=(layer,), attends=False, least=64, blank=lambda: models.bare(name).to_empty(device="cpu").eval()
    )


@pytest.mark.parametrize("model", [model for model in CHAINS if model not in ("alexnet", "vgg11")])  # those: below
def test_receptive_field_is_the_recurrences(model, monkeypatch):
    if model == "densenet121":
        monkeypatch.setattr(fields, "SHORTEST", 2304)  # more than its field: at once, and not after strips that are too short
    stride, first, size = fields.receptive_field(blank(model, DEFAULTS[model][0]), DEFAULTS[model][0])
    assert (stride, first, size) == chained(CHAINS[model])
    if model in KNOWN:
        assert (stride, size) == KNOWN[model]


@pytest.mark.parametrize("shortest", [64, 128, 512])
def test_a_field_that_is_longer_than_the_strip_is_found_in_a_longer_one(shortest, monkeypatch):
    monkeypatch.setattr(fields, "SHORTEST", shortest)
    assert fields.receptive_field(blank("squeezenet1_1", "features"), "features") == chained(CHAINS["squeezenet1_1"])


def test_receptive_field_of_early_layers():
    for model, layer, length in (("squeezenet1_1", "features.0", 1), ("squeezenet1_1", "features.2", 2), ("resnet18", "layer1", 6)):
        assert fields.receptive_field(blank(model, layer), layer) == chained(CHAINS[model][:length])


def test_a_transformers_columns_stand_for_patches():
    net = small("vit_b_16", ("encoder.layers.encoder_layer_1",))
    assert fields.receptive_field(net, net.layers[0]) == (16.0, 7.5, 16.0)


@pytest.mark.parametrize("model", ["squeezenet1_0", "squeezenet1_1", "resnet18", "mobilenet_v2", "densenet_block"])
def test_only_pixels_of_the_field_reach_a_column(model):
    """The middle column, of the network itself: nothing outside its field changes it, what is inside does."""
    layer = ("features.denseblock1",) if model == "densenet_block" else ()
    net = small("densenet121" if layer else model, layer)
    stride, first, size = fields.receptive_field(net, net.layers[0])
    x = photos(1, max(192, int(size * 1.5) // 32 * 32), 64)
    (before,) = net(x)
    middle = before.shape[2] // 2
    low, high = (round(first + middle * stride + sign * (size - 1) / 2) for sign in (-1, 1))
    assert 8 < low < high < x.shape[2] - 8
    outside = x.clone()
    outside[:, :, :low] += 50
    outside[:, :, high + 1 :] -= 50
    (after,) = net(outside)
    assert torch.equal(after[:, :, middle], before[:, :, middle])
    assert not torch.equal(after[:, :, 0], before[:, :, 0])
    for rows in (
        slice(low, low + int(stride) + 1),
        slice(high - int(stride), high + 1),
        slice(low + int(size) // 2, low + int(size) // 2 + 1),
    ):
        inside = x.clone()
        inside[:, :, rows] += 1e3 * torch.randn(inside[:, :, rows].shape, generator=torch.Generator().manual_seed(1))
        (after,) = net(inside)
        assert not torch.equal(after[:, :, middle], before[:, :, middle])


@pytest.mark.parametrize("name", ["alexnet", "vgg11"], indirect=True)
def test_only_pixels_of_the_field_reach_a_column_of_a_plain_network(name):
    stride, first, size = chained(CHAINS[name.name])
    assert fields.receptive_field(name.net, name.net.layers[0]) == (stride, first, size)
    assert KNOWN.get(name.name, (stride, size)) == (stride, size)
    x = photos(1, 288, 64)
    (before,) = name.net(x)
    middle = before.shape[2] // 2
    low, high = (int(first + middle * stride + sign * (size - 1) / 2) for sign in (-1, 1))
    assert 0 < low < high < x.shape[2] - 1
    outside = x.clone()
    outside[:, :, :low] += 50
    outside[:, :, high + 1 :] -= 50
    (after,) = name.net(outside)
    assert torch.equal(after[:, :, middle], before[:, :, middle])
    for row in (low, high):  # the very edge
        inside = x.clone()
        inside[:, :, row] = 1e5 * torch.randn(inside[:, :, row].shape, generator=torch.Generator().manual_seed(1))
        (after,) = name.net(inside)
        assert not torch.equal(after[:, :, middle], before[:, :, middle])


# weights


@functools.cache
def small_state():
    """The weights of `SMALL`, drawn with another seed than 0."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(7)
        return restless(torchvision.models.get_model(SMALL, weights=None))


def saved(value, **options):
    """The bytes that torch.save writes."""
    file = io.BytesIO()
    torch.save(value, file, **options)
    return file.getvalue()


DTYPES = {torch.float32: "F32", torch.float16: "F16", torch.bfloat16: "BF16", torch.float64: "F64", torch.int64: "I64"}


def safetensors(state, metadata=None):
    """The bytes of a .safetensors file."""
    header, body = {} if metadata is None else {"__metadata__": metadata}, b""
    for name, value in state.items():
        data = value.contiguous().flatten().view(torch.uint8).numpy().tobytes() if value.ndim else value.numpy().tobytes()
        header[name] = {"dtype": DTYPES[value.dtype], "shape": list(value.shape), "data_offsets": [len(body), len(body) + len(data)]}
        body += data
    return with_header(header, body)


def with_header(header, body=b"\0" * 64):
    """A .safetensors file of any header: a value for JSON, or bytes."""
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + body


def entry(dtype="F32", shape=(2,), data_offsets=(0, 8)):
    """A header's entry; sound, if nothing is given."""
    return {"dtype": dtype, "shape": list(shape) if isinstance(shape, tuple) else shape, "data_offsets": list(data_offsets)}


def written(folder, data, name="w.pth"):
    """A weights file of these bytes; its path."""
    path = str(folder / name)
    with open(path, "wb") as file:
        file.write(data)
    return path


def loaded(path, model=SMALL, **options):
    """A network with weights of a file."""
    given, wants = options.pop("given", ()), options.pop("wants", "map")
    return Network(Params(model=model, weights=path, **options), wants, given=given)


def refusal(path, model=SMALL, **options):
    """The sentence with which a weights file is refused."""
    with pytest.raises(ImgretError) as caught:
        loaded(path, model, **options)
    message = str(caught.value)
    assert message.count("\n") == 0
    return message


def holds(net, state):
    """Assert that a network has these weights, as float32: its classifier's as they are, the others by what comes out."""
    state = {name: value.float() if value.is_floating_point() else value for name, value in state.items()}
    (found,) = net(photos())
    same(found, own_output(net.name, state, net.layers))
    for name in ("fc.weight", "fc.bias"):
        if name in state:
            assert torch.equal(net.model.get_parameter(name), state[name])
            assert net.model.get_parameter(name).dtype == torch.float32


def own_output(name, state, layers):
    """What torchvision's model with these weights gives at the layer."""
    (wanted,) = own_outputs(own_model(name, state=state), photos(), layers)
    return wanted.relu() if name == "densenet121" else wanted


def test_a_state_dict(tmp_path):
    data = saved(small_state())
    path = written(tmp_path, data)
    net = loaded(path)
    holds(net, small_state())
    assert net.params.weights == path
    assert net.params.digest == hashlib.sha256(data).hexdigest()
    with pytest.raises(AssertionError):
        holds(net, floats(floats(small_state(), torch.float16), torch.float32))  # so it would notice


def test_a_relative_path_is_recorded_in_full(tmp_path, monkeypatch):
    written(tmp_path, saved(small_state()))
    monkeypatch.chdir(tmp_path)
    assert loaded("w.pth").params.weights == str(tmp_path / "w.pth")


def floats(state, dtype):
    """The same weights in another floating point."""
    return {name: value.to(dtype) if value.is_floating_point() else value for name, value in state.items()}


FORMS = {
    "legacy": lambda state: saved(state, _use_new_zipfile_serialization=False),
    "state_dict": lambda state: saved({"state_dict": state, "epoch": 3, "best": 0.5}),
    "model": lambda state: saved({"model": state}),
    "module.": lambda state: saved({f"module.{name}": value for name, value in state.items()}),
    "both": lambda state: saved({"state_dict": {f"module.{name}": value for name, value in state.items()}}),
    "any prefix": lambda state: saved(prefixed(state, "model.encoder.")),
    "three prefixes": lambda state: saved({"state_dict": prefixed(state, "module.model.backbone.")}),
    "wrapped twice": lambda state: saved({"epoch": 1, "checkpoint": {"model_state_dict": prefixed(state, "module."), "lr": 0.1}}),
    "beside an optimizer": lambda state: saved(
        {"optimizer": {"state": {0: {"exp_avg": torch.ones(3)}}}, "scaler": {"scale": torch.ones(1)}, "net": state}
    ),
    "with its average": lambda state: saved({"state_dict_ema": {name: value * 0 for name, value in state.items()}, "state_dict": state}),
    "an average alone": lambda state: saved({"ema": prefixed(state, "module."), "epoch": 3}),
    "teacher and student": lambda state: saved(
        {"student": {name: value * 0 for name, value in state.items()}, "teacher": prefixed(state, "backbone.")}
    ),
    "parameters": lambda state: saved(
        {name: torch.nn.Parameter(value) if value.is_floating_point() else value for name, value in state.items()}
    ),
    "other order": lambda state: saved(dict(reversed(state.items()))),
    "strided": lambda state: saved({name: value.t() if value.ndim == 2 else value for name, value in transposed(state).items()}),
    "older": lambda state: saved({name: value for name, value in state.items() if not name.endswith("num_batches_tracked")}),
}


def prefixed(state, prefix):
    """The same weights under longer names."""
    return {prefix + name: value for name, value in state.items()}


def transposed(state):
    """Matrices turned over in memory."""
    return {name: value.t().contiguous() if value.ndim == 2 else value for name, value in state.items()}


@pytest.mark.parametrize("form", FORMS)
def test_forms_of_a_state_dict(form, tmp_path):
    holds(loaded(written(tmp_path, FORMS[form](small_state()))), small_state())


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
@pytest.mark.parametrize("form", ["pth", "legacy", "safetensors"])
def test_other_floating_points(dtype, form, tmp_path):
    state = floats(small_state(), dtype)
    data = {"pth": saved, "legacy": FORMS["legacy"], "safetensors": safetensors}[form](state)
    holds(loaded(written(tmp_path, data, "w.safetensors" if form == "safetensors" else "w.pth")), state)


def test_a_checkpoint_that_is_half_throughout(tmp_path):
    """{name: value.half()}: the batches that were counted are no whole numbers then, and mean nothing."""
    state = small_state()
    holds(loaded(written(tmp_path, saved({name: value.half() for name, value in state.items()}))), floats(state, torch.float16))


def test_safetensors(tmp_path):
    for metadata in (None, {"format": "pt"}):
        data = safetensors(small_state(), metadata)
        net = loaded(written(tmp_path, data, "w.safetensors"))
        holds(net, small_state())
        assert net.params.digest == hashlib.sha256(data).hexdigest()
    prefixed = {f"module.{name}": value for name, value in small_state().items()}
    holds(loaded(written(tmp_path, safetensors(prefixed), "w.safetensors")), small_state())


def test_safetensors_with_spaces_behind_the_header():
    """As its own writer pads them."""
    state = state_dicts.load("w.safetensors", with_header(json.dumps({"a": entry()}).encode() + b"   ", struct.pack("<ff", 1.5, -2)))
    assert state["a"].tolist() == [1.5, -2]


@pytest.mark.parametrize(("model", "classes"), [("resnet18", 10), (SMALL, 3), (SMALL, 2000), ("squeezenet1_1", 7)])
def test_another_number_of_classes(model, classes, tmp_path):
    own = torchvision.models.get_model(model, weights=None, num_classes=classes)
    vector = loaded(
        written(tmp_path, saved(own.state_dict())), model, wants="vector", layer=("classifier.3" if model == "squeezenet1_1" else "fc",)
    )
    with torch.no_grad():
        same(vector(photos())[0], own.eval()(photos()))
    assert vector.dims == [classes]


def test_densenet_as_old_files_spell_it(tmp_path):
    state = restless(torchvision.models.densenet121(weights=None))
    old = {}
    for name, value in state.items():
        parts = name.split(".")
        if "denselayer" in name and parts[-2][:-1] in ("norm", "conv"):
            parts[-2] = f"{parts[-2][:-1]}.{parts[-2][-1]}"
        old[".".join(parts)] = value
    assert len(set(old) - set(state)) > 100
    holds(loaded(written(tmp_path, saved(old)), "densenet121"), state)


def test_missing_and_unexpected_names(tmp_path):
    state = small_state()
    names = list(state)
    fewer = {name: value for name, value in state.items() if name not in names[:5]}
    path = written(tmp_path, saved(fewer))
    message = refusal(path)
    floating = [name for name in names[:5] if not name.endswith("num_batches_tracked")]
    assert f"the weights {path} are not those of {SMALL}: {len(floating)} missing ({', '.join(floating[:3])}" in message
    assert " unexpected " not in message
    assert "is `model` right?" in message
    message = refusal(written(tmp_path, saved(state | {f"extra.{n}": torch.zeros(1) for n in range(5)})))
    assert "5 unexpected (extra.0, extra.1, extra.2, ...)" in message
    assert " missing " not in message
    message = refusal(
        written(tmp_path, saved({name: value for name, value in state.items() if name != "fc.bias"} | {"head": torch.ones(1)}))
    )
    assert "1 missing (fc.bias), 1 unexpected (head)" in message


def test_weights_under_names_that_do_not_begin_alike(tmp_path):
    """What is there and what is wanted is said."""
    state = {(f"a.{name}" if number else f"b.{name}"): value for number, (name, value) in enumerate(small_state().items())}
    message = refusal(written(tmp_path, saved({"state_dict": state})))
    assert "missing (conv1.0.weight, conv1.1.weight, conv1.1.bias, ...)" in message
    assert "unexpected (b.conv1.0.weight, a.conv1.1.weight, a.conv1.1.bias, ...); is `model` right?" in message


def test_another_architecture(tmp_path):
    path = written(tmp_path, saved(small_state()))
    message = refusal(path, "squeezenet1_1")
    assert f"the weights {path} are not those of squeezenet1_1" in message
    assert "missing (features.0.weight, features.0.bias, features.3.squeeze.weight, ...)" in message
    assert "unexpected (conv1.0.weight, " in message
    # of the same names, other shapes
    message = refusal(path, "shufflenet_v2_x1_0")
    assert "are not those of shufflenet_v2_x1_0: stage2.0.branch1.2.weight is 24×24×1×1, 58×24×1×1 is needed; is `model` right?" in message


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
@pytest.mark.parametrize("form", ["w.pth", "w.safetensors"])
def test_values_that_are_not_finite(value, form, tmp_path):
    state = {name: tensor.clone() for name, tensor in small_state().items()}
    state["stage3.0.branch2.0.weight"][3, 2] = value
    data = saved(state) if form == "w.pth" else safetensors(state)
    assert refusal(written(tmp_path, data, form)).endswith("w" + form[1:] + ": stage3.0.branch2.0.weight holds NaN or infinite values")


@pytest.mark.parametrize("dtype", [torch.int64, torch.uint8, torch.bool])
def test_integers_where_floats_are_needed(dtype, tmp_path):
    state = small_state() | {"fc.bias": torch.ones(1000, dtype=dtype)}
    assert f"fc.bias is {str(dtype)[6:]}, floating point is needed" in refusal(written(tmp_path, saved(state)))


@pytest.mark.filterwarnings("ignore:Validating sparse")
def test_other_things_than_tensors(tmp_path):
    state = small_state()
    for value in (3, "text", None, [1.0], {"a": torch.ones(1)}, torch.ones(1000).to_sparse(), torch.ones(1000, dtype=torch.complex64)):
        message = refusal(written(tmp_path, saved(state | {"fc.bias": value})))
        assert "hold something else than tensors (fc.bias): save model.state_dict() alone" in message
    for value in ([1, 2], torch.ones(3), 3, None, {}, {1: torch.ones(1)}, {"state_dict": {}}):
        assert "are no state_dict: save model.state_dict(), names to tensors" in refusal(written(tmp_path, saved(value)))


class Bomb:
    """Pickled code that would create a file."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return open, (self.path, "w")


class Shell(Bomb):
    """The same by the shell."""

    def __reduce__(self):
        return os.system, (f"echo > '{self.path}'",)


class Built(Bomb):
    """The same by a line of Python."""

    def __reduce__(self):
        return eval, (f"open({self.path!r}, 'w')",)


@pytest.mark.filterwarnings("ignore:Detected pickle protocol")
@pytest.mark.parametrize("kind", [Bomb, Shell, Built])
@pytest.mark.parametrize("form", ["zip", "legacy", "pickle0", "pickle2", "pickle5", "whole", "safetensors"])
def test_pickled_code_is_refused_and_not_run(kind, form, tmp_path):
    bait = str(tmp_path / "created")
    value = small_state() | {"fc.bias": kind(bait)}
    if form == "zip":
        data = saved(value)
    elif form == "legacy":
        data = saved(value, _use_new_zipfile_serialization=False)
    elif form == "whole":
        data = saved(kind(bait))
    else:
        data = pickle.dumps({"a": kind(bait)}, protocol=int(form[-1]) if form[-1].isdigit() else 2)
    path = written(tmp_path, data, "w.safetensors" if form == "safetensors" else "w.pth")
    message = refusal(path)
    assert path in message
    if form == "safetensors":
        assert "no sound .safetensors file" in message
    elif form in ("pickle0", "pickle5"):  # torch.save writes no such protocols
        assert "are no file that torch.save has written" in message
    else:
        assert "hold more than tensors (pickled code?); nothing of it was run" in message
    assert not os.path.exists(bait)


def test_the_bait_of_the_last_test_works(tmp_path):
    """Else it would show nothing."""
    for number, kind in enumerate((Bomb, Shell, Built)):
        bait = str(tmp_path / str(number))
        opened = pickle.loads(pickle.dumps(kind(bait)))
        if hasattr(opened, "close"):
            opened.close()
        assert os.path.exists(bait)


def test_a_whole_model_is_refused(tmp_path):
    """torch.save(model): classes by name, not tensors."""
    message = refusal(written(tmp_path, saved(torchvision.models.get_model(SMALL, weights=None))))
    assert "hold more than tensors (pickled code?); nothing of it was run: save model.state_dict()" in message


def cut(data, share):
    """A file that was not copied to its end."""
    return data[: int(len(data) * share)]


def squeezed(data):
    """The same zip, compressed."""
    file = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(data)) as old, zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as new:
        for each in old.infolist():
            new.writestr(each.filename, old.read(each))
    return file.getvalue()


def on_many_disks(data):
    """The same zip, said to span several disks."""
    at = data.rindex(b"PK\x06\x07")
    return data[: at + 16] + struct.pack("<I", 7) + data[at + 20 :]


def zip_of(names):
    """A zip that torch.save did not write."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as new:
        for each in names:
            new.writestr(each, b"x")
    return file.getvalue()


DAMAGED = {
    "empty": lambda: b"",
    "one byte": lambda: b"\x80",
    "zeros": lambda: bytes(1000),
    "random": lambda: random.Random(0).randbytes(5000),
    "text": lambda: b"hello world\n",
    "a web page": lambda: b"<!DOCTYPE html><html>404</html>",
    "a pickled list": lambda: pickle.dumps([1, 2, 3]),
    "a pickled dict": lambda: pickle.dumps({"a": [1.5]}),
    "zip cut at the end": lambda: cut(saved(small_state()), 0.999),
    "zip cut in the middle": lambda: cut(saved(small_state()), 0.5),
    "zip cut at the start": lambda: cut(saved(small_state()), 0.0001),
    "legacy cut at the end": lambda: cut(FORMS["legacy"](small_state()), 0.999),
    "legacy cut in the middle": lambda: cut(FORMS["legacy"](small_state()), 0.5),
    "legacy cut at the start": lambda: cut(FORMS["legacy"](small_state()), 0.0001),
    "compressed": lambda: squeezed(saved(small_state())),
    "a zip of photos": lambda: zip_of(["a.png", "b.png"]),
    "an empty zip": lambda: zip_of([]),
    "on many disks": lambda: on_many_disks(saved({"a": torch.ones(3)})),
}


@pytest.mark.filterwarnings("ignore:Detected pickle protocol")
@pytest.mark.parametrize("kind", DAMAGED)
def test_damaged_files(kind, tmp_path):
    path = written(tmp_path, DAMAGED[kind]())
    message = refusal(path)
    assert path in message
    assert len(message) < 400
    assert not message.endswith((": ", ":")), "the message breaks off"


def test_a_compressed_zip_is_refused_before_it_is_unpacked(tmp_path):
    data = squeezed(saved({"a": torch.zeros(1 << 22)}))
    assert len(data) < 1 << 18
    assert "are compressed, or TorchScript: save model.state_dict() by torch.save" in refusal(written(tmp_path, data))


HOSTILE = {
    "empty": b"",
    "seven bytes": b"\2\0\0\0\0\0\0",
    "no header": struct.pack("<Q", 0),
    "a huge length": struct.pack("<Q", 1 << 63) + b"{}" + bytes(64),
    "the largest length": b"\xff" * 8 + b"{}" + bytes(64),
    "a length past the end": struct.pack("<Q", 100) + b"{}",
    "no JSON": with_header(b"{'a': 1}"),
    "half a JSON": with_header(b'{"a": {"dtype": "F32"'),
    "no UTF-8": with_header(b'{"\xff\xfe": 1}'),
    "a deep JSON": with_header(b"[" * 100_000),
    "a list": with_header([1, 2]),
    "a number": with_header(3),
    "null": with_header(b"null"),
    "an entry that is a string": with_header({"a": "x"}),
    "an entry that is a list": with_header({"a": [0, 8]}),
    "an empty entry": with_header({"a": {}}),
    "no dtype": with_header({"a": {"shape": [2], "data_offsets": [0, 8]}}),
    "no shape": with_header({"a": {"dtype": "F32", "data_offsets": [0, 8]}}),
    "no offsets": with_header({"a": {"dtype": "F32", "shape": [2]}}),
    "an unknown dtype": with_header({"a": entry("F33")}),
    "a dtype of torch, not of the format": with_header({"a": entry("float32")}),
    "an attribute of torch": with_header({"a": entry("load")}),
    "a dtype that is a list": with_header({"a": entry(["F32"])}),
    "a dtype that is null": with_header({"a": entry(None)}),
    "negative offsets": with_header({"a": entry(data_offsets=(-8, 0))}),
    "offsets the wrong way round": with_header({"a": entry(data_offsets=(8, 0))}),
    "a negative shape and offsets the wrong way round": with_header({"a": entry(shape=(-2,), data_offsets=(8, 0))}),
    "offsets past the end": with_header({"a": entry(data_offsets=(60, 68))}),
    "one offset": with_header({"a": entry(data_offsets=(0,))}),
    "three offsets": with_header({"a": entry(data_offsets=(0, 8, 16))}),
    "offsets that are fractions": with_header({"a": entry(data_offsets=(0.0, 8.0))}),
    "offsets that are strings": with_header({"a": entry(data_offsets=("0", "8"))}),
    "offsets too large": with_header({"a": entry(shape=(1 << 70,), data_offsets=(0, 1 << 72))}),
    "a number of 5000 digits": with_header(b'{"a": {"dtype": "F32", "shape": [' + b"9" * 5000 + b'], "data_offsets": [0, 8]}}'),
    "too few bytes": with_header({"a": entry(shape=(3,))}),
    "too many bytes": with_header({"a": entry(shape=(1,))}),
    "bytes of another dtype": with_header({"a": entry("F64")}),
    "negative shapes": with_header({"a": entry(shape=(-1, -2))}),
    "a huge shape": with_header({"a": entry(shape=(1 << 40, 1 << 40))}),
    "a shape whose product goes round": with_header({"a": entry(shape=(1 << 32, 1 << 32, 2))}),
    "a huge shape of nothing": with_header({"a": entry(shape=(0, 10**30), data_offsets=(0, 0))}),
    "a shape that is a number": with_header({"a": entry(shape=2)}),
    "a shape of fractions": with_header({"a": entry(shape=(2.0,))}),
    "a shape that is null": with_header({"a": entry(shape=None)}),
    "a shape that is text": with_header({"a": entry(shape="", data_offsets=(0, 4))}),
    "one tensor within another": with_header({"a": entry(shape=(4,), data_offsets=(0, 16)), "b": entry(data_offsets=(4, 12))}),
    "tensors that overlap": with_header({"a": entry(data_offsets=(0, 8)), "b": entry(data_offsets=(4, 12))}),
    "the same bytes twice": with_header({"a": entry(), "b": entry()}),
}


@pytest.mark.parametrize("kind", HOSTILE)
def test_hostile_safetensors(kind):
    with pytest.raises(ImgretError, match=r"^the weights w\.safetensors are no sound \.safetensors file: copy the file again$"):
        state_dicts.load("w.safetensors", HOSTILE[kind])


def test_safetensors_of_nothing_are_no_state_dict():
    for header in ({}, {"__metadata__": {"format": "pt"}}):
        with pytest.raises(ImgretError, match="are no state_dict"):
            state_dicts.load("w.safetensors", with_header(header, b""))


def test_a_cut_safetensors_file(tmp_path):
    data = safetensors(small_state())
    for share in (0.0001, 0.5, 0.9999):
        assert "no sound .safetensors file" in refusal(written(tmp_path, cut(data, share), "w.safetensors"))


@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.parametrize("form", ["zip", "legacy", "safetensors"])
def test_files_with_some_bytes_changed(form):
    """What comes is the model's weights, or a refusal; nothing else is raised."""
    model = torch.nn.Sequential(torch.nn.Conv2d(3, 2, 3), torch.nn.BatchNorm2d(2))
    data = {"zip": saved, "legacy": FORMS["legacy"], "safetensors": safetensors}[form](model.state_dict())
    rng, taken, refused = random.Random(3), 0, 0
    for _ in range(300):
        other = bytearray(data)
        for _ in range(rng.choice((1, 1, 2, 5))):
            at = rng.choice((rng.randrange(len(other)), rng.randrange(400), len(other) - 1 - rng.randrange(400)))
            other[at] = rng.randrange(256)
        try:
            state_dicts.fit(state_dicts.load(f"w.{form}", bytes(other)), model, "x", "w")
            taken += 1
        except ImgretError:
            refused += 1
    assert taken > 0
    assert refused > 0
    assert all(torch.isfinite(value).all() for value in model.state_dict().values())


def test_a_tensor_that_claims_more_than_the_file_has(tmp_path):
    """Strides of 0: one number that would be petabytes as the classifier of 2^42 classes, more than any address space."""
    wide = {"fc.weight": torch.zeros(1).as_strided((1 << 42, 1024), (0, 0)), "fc.bias": torch.zeros(1).as_strided((1 << 42,), (0,))}
    assert "w.pth" in refusal(written(tmp_path, saved(small_state() | wide)))


def test_tensors_without_values(tmp_path):
    """Saved from the meta device."""
    state = {name: value.to("meta") for name, value in small_state().items()}
    assert "w.pth" in refusal(written(tmp_path, saved(state)))


def test_whole_numbers_that_are_no_places(tmp_path):
    """Swin looks its position biases up by an index that the file holds."""
    state = dict(small("swin_t", ("features.0",)).model.state_dict())
    name = next(name for name in state if name.endswith("relative_position_index"))
    state[name] = torch.full_like(state[name], 10**6)
    assert "w.pth" in refusal(written(tmp_path, saved(state)), "swin_t")


# finding a file


@pytest.fixture
def no_folder(monkeypatch):
    """No folder of weights is named."""
    monkeypatch.delenv(weights.FOLDER, raising=False)


@pytest.mark.usefixtures("no_folder")
def test_no_such_file(tmp_path):
    path = str(tmp_path / "gone.pth")
    assert refusal(path) == f"the weights {path}: there is no such file; check the path, or name its folder in IMGRET_WEIGHTS"
    assert "give --weights, or name its folder in IMGRET_WEIGHTS" in refusal(path, digest="0" * 64)


def test_what_is_no_file(tmp_path):
    pipe = str(tmp_path / "pipe")
    os.mkfifo(pipe)
    assert refusal(pipe) == f"the weights {pipe}: it is not a regular file"
    assert refusal("/dev/zero") == "the weights /dev/zero: it is not a regular file"
    assert refusal(str(tmp_path)) == f"the weights {tmp_path}: it is a folder"
    assert refusal(written(tmp_path, saved(small_state())), given=(pipe,)) == f"--weights {pipe}: it is not a regular file"


def test_directories_leave_nothing_open(tmp_path):
    before = len(os.listdir("/proc/self/fd")) if os.path.isdir("/proc/self/fd") else None
    if before is None:
        pytest.skip("no /proc")
    for _ in range(20):
        with pytest.raises(ImgretError):
            weights.find(str(tmp_path))
    gc.collect()
    assert len(os.listdir("/proc/self/fd")) < before + 10


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read anything")
def test_a_file_that_may_not_be_read(tmp_path):
    path = written(tmp_path, b"x")
    os.chmod(path, 0)
    assert refusal(path) == f"the weights {path}: permission denied"


def test_files_past_the_limit_are_not_read(tmp_path, monkeypatch):
    path = written(tmp_path, saved(small_state()))
    monkeypatch.setattr(weights, "MAX_BYTES", 1000)
    assert refusal(path) == f"the weights {path}: the file has {os.path.getsize(path)} bytes, the limit is 1000"


def test_the_folder_of_weights(tmp_path, monkeypatch):
    folder = tmp_path / "shelf"
    folder.mkdir()
    path = written(folder, saved(small_state()), "kept.pth")
    monkeypatch.setenv(weights.FOLDER, str(folder))
    for asked in ("kept.pth", "/another/machine/kept.pth"):
        net = loaded(asked)
        assert net.params.weights == path
        holds(net, small_state())
    assert "there is no such file" in refusal("other.pth")
    # a file that is where it was recorded goes before the folder's
    here = written(tmp_path, safetensors(small_state()), "kept.pth")
    assert weights.find(here)[0] == here
    monkeypatch.setenv(weights.FOLDER, "")
    assert "there is no such file" in refusal("/another/machine/kept.pth")


def test_another_file_than_the_one_that_was_used(tmp_path):
    data = saved(small_state())
    path, digest = written(tmp_path, data), hashlib.sha256(data).hexdigest()
    assert loaded(path, digest=digest).params.digest == digest
    wrong = "ab" * 32
    assert refusal(path, digest=wrong) == (
        f"the weights {path} are another file (SHA-256 {digest[:12]}) than the one that was used ({wrong[:12]}): give it with --weights"
    )


def test_files_that_are_given(tmp_path):
    first, second = saved(small_state()), saved({name: value + 1 for name, value in small_state().items()})
    here, there = written(tmp_path, first, "a.pth"), written(tmp_path, second, "b.pth")
    digest, other = (hashlib.sha256(data).hexdigest() for data in (first, second))
    gone = str(tmp_path / "gone.pth")
    # of those given, the one with the digest; without a digest, the first
    assert weights.find(gone, digest, (there, here)) == (here, first, digest)
    assert weights.find(gone, other, (there, here)) == (there, second, other)
    assert weights.find(gone, "", (there, here)) == (there, second, other)
    # none of them: then the one recorded
    assert weights.find(here, digest, (there,)) == (here, first, digest)
    wanted = f"--weights {there} is another file \\(SHA-256 {other[:12]}\\) than the one that was used \\({digest[:12]}\\)"
    for recorded in (gone, there):
        with pytest.raises(ImgretError, match=wanted):
            weights.find(recorded, digest, (there,))
    net = loaded(gone, digest=digest, given=(here,))
    holds(net, small_state())
    assert net.params.weights == here


# ImageNet weights


@pytest.fixture
def cache(tmp_path, monkeypatch, no_folder):
    """An empty cache of torch's; the folder where a file of weights belongs."""
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    return tmp_path / "torch" / "hub" / "checkpoints"


def imagenet_file(model):
    """The file of a model's best ImageNet weights."""
    return os.path.basename(torchvision.models.get_model_weights(model).DEFAULT.url)


@pytest.mark.parametrize("model", [SMALL, "resnet50", "vit_b_16"])
def test_imagenet_weights_that_are_not_there(model, cache):
    message = refusal("imagenet", model)
    assert imagenet_file(model) in message
    assert str(cache) in message
    assert f"scripts/fetch_weights.py {model}" in message
    assert "https://download.pytorch.org/models/" in message
    assert not cache.exists()


def test_imagenet_weights_from_the_cache(cache):
    cache.mkdir(parents=True)
    data = saved(small_state())
    written(cache, data, imagenet_file(SMALL))
    net = loaded("imagenet")
    holds(net, small_state())
    transforms = torchvision.models.get_model_weights(SMALL).DEFAULT.transforms()
    assert net.params.weights == "imagenet"
    assert net.params.digest == hashlib.sha256(data).hexdigest()
    assert net.params.mean == tuple(transforms.mean)
    assert net.params.std == tuple(transforms.std)
    caffe = loaded("imagenet", range=255.0, mean=(1.0, 2.0, 3.0)).params
    assert caffe.mean == (1.0, 2.0, 3.0)
    assert caffe.std == tuple(255 * value for value in transforms.std)
    # the settled parameters find the same again, and notice another file
    assert Network(net.params).params == net.params
    written(cache, saved({name: value + 1 for name, value in small_state().items()}), imagenet_file(SMALL))
    with pytest.raises(ImgretError, match="are another file"):
        Network(net.params)


@pytest.mark.usefixtures("cache")
def test_imagenet_weights_from_the_folder(tmp_path, monkeypatch):
    written(tmp_path, saved(small_state()), imagenet_file(SMALL))
    monkeypatch.setenv(weights.FOLDER, str(tmp_path))
    net = loaded("imagenet")
    holds(net, small_state())
    assert net.params.weights == "imagenet"


@pytest.mark.usefixtures("cache")
def test_imagenet_weights_that_are_given(tmp_path):
    """--weights counts before the cache, and where that is empty."""
    path = written(tmp_path, saved(small_state()), "mine.pth")
    net = loaded("imagenet", given=(path,))
    holds(net, small_state())
    assert net.params.digest == hashlib.sha256(saved(small_state())).hexdigest()


def test_every_default_of_imagenet_fits_its_network():
    """Their own sizes: the largest transformer's default was trained on larger photos, and has more places than the plain network."""
    best = torchvision.models.get_model_weights("vit_h_14").DEFAULT
    assert best.meta["min_size"] == (518, 518)
    with torch.device("meta"):
        state = torchvision.models.vit_h_14(weights=None, image_size=518).state_dict()
    model = models.empty("vit_h_14", state)
    assert {name: value.shape for name, value in model.state_dict().items()} == {name: value.shape for name, value in state.items()}


# parameters in parts


@dataclasses.dataclass(frozen=True)
class Shared(registry.Params):
    """What counts whatever is chosen."""

    kind: str = registry.param("round", "which", choices=("round", "square"))
    place: str = registry.param("here", "where it is", role=registry.PLACE)
    many: int = registry.param(1, "how many", role=registry.SAMPLING)


@dataclasses.dataclass(frozen=True)
class Round(registry.Params):
    """What a circle has."""

    radius: float = registry.param(1.0, "half the width", above=0)
    fine: int = registry.param(8, "steps", role=registry.SAMPLING)


@dataclasses.dataclass(frozen=True)
class Square(registry.Params):
    """What a square has: its `fine` changes what comes out."""

    fine: int = registry.param(8, "steps")
    side: int = registry.param(2, "width", minimum=1)

    def __post_init__(self):
        super().__post_init__()
        if self.side % 2:
            raise UsageError("`side` must be even")


def test_parameters_in_parts():
    kind = composed((Shared,), "kind", {"round": Round, "square": Square}, order=("side", "kind"))
    assert [field.name for field in dataclasses.fields(kind)] == ["side", "kind", "place", "many", "radius", "fine"]
    params = kind.parse(["radius=2", "side=3"])  # no square, so its own rules do not count
    assert params.chosen == Round(radius=2.0)
    assert params.part(Shared) == Shared()
    assert params.to_json() == {"kind": "round", "many": 1, "radius": 2.0, "fine": 8}
    assert params.space() == {"kind": "round", "radius": 2.0}
    assert params.places() == {"place": "here"}
    assert params.idle() == ["side"]
    square = kind.from_json({"kind": "square", "place": "there"})
    assert square.space() == {"kind": "square", "fine": 8, "side": 2}
    assert square == dataclasses.replace(params, kind="square", radius=1.0, side=2, place="there")
    assert square.idle() == []
    with pytest.raises(UsageError, match="^`side` must be even$"):
        kind(kind="square", side=3)
    with pytest.raises(UsageError, match="^`side` must be a positive integer, got 0$"):
        kind(side=0)
    with pytest.raises(ImgretError, match=r"parameters that this imgret does not know \(\['colour'\]\)"):
        kind.from_json({"colour": "red"})


def test_parts_that_disagree_on_a_parameter():
    @dataclasses.dataclass(frozen=True)
    class Coarse(registry.Params):
        fine: int = registry.param(2, "steps")

    with pytest.raises(TypeError, match="Coarse has another `fine` than a part before it"):
        composed((Shared,), "kind", {"round": Round, "square": Coarse})


# heads


@pytest.mark.parametrize("pool", HEADS)
def test_heads_say_what_they_are(pool):
    head = registry.load(HEADS, pool, "head")
    assert issubclass(head, LocalHead if head.gives == "features" else VectorHead)
    assert issubclass(head.Params, LocalParams if head.gives == "features" else VectorParams)
    assert head.wants in ("map", "vector", "keypoints")
    assert head.learned_on in ("", *HEADS)
    assert head.__doc__


def test_a_backbone_says_what_it_has_not():
    """One of another library: no classifier to weigh by, no copy to look through; its stride is measured."""

    class Other(Backbone):
        name, layers, device = "other", ("a", "b"), "cpu"

        def __call__(self, x):
            return [x[:, :, ::8, ::8], x[:, :, ::16, ::16]]

    other = Other()
    assert other.stride("b") == 16
    assert fields.receptive_field(other, "b") == (16.0, 7.5, 16.0)
    with pytest.raises(UsageError, match="^cam needs a linear classifier over the mean of the last map, other has another: choose another"):
        other.classifier()


class Edges(Backbone):
    """A network from elsewhere: horizontal and vertical differences."""

    def __init__(self, params, wants, device, given):
        self.name, self.device, self.layers = params.model, torch.device(device), ("edges",)
        self.params = dataclasses.replace(params, layer=self.layers, weights="none", digest="0" * 64, mean=(0.5,) * 3, std=(1.0,) * 3)
        self.dims, self.maps, self.least = [2], [True], 32

    def __call__(self, x):
        grey = x.mean(dim=1, keepdim=True)
        return [torch.cat([grey.diff(dim=3)[:, :, 1:].abs(), grey.diff(dim=2)[:, :, :, 1:].abs()], dim=1)]


@pytest.mark.parametrize("pool", ["gem", "rmac", "none"])
def test_a_backbone_from_elsewhere_is_a_file_and_a_line(monkeypatch, pool):
    monkeypatch.setitem(backbones.BACKBONES, "plain", "test_networks:Edges")
    extractor = Cnn(Cnn.Params(model="plain:edges", pool=pool, max_size=64))
    extractor.settle("cpu")
    assert extractor.params.model == "plain:edges"
    (described,) = extractor.describe([extractor.read(encoded(texture(1)))])
    assert (described.stored if pool == "none" else described).shape[-1] == 2
