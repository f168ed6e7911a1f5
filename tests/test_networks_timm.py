"""Networks of timm: what a layer gives, which names, weights and sizes are taken."""

import os
import sys

import pytest
from helpers import call, folder, refused

from imgret.errors import ImgretError, UsageError

torch = pytest.importorskip("torch")
timm = pytest.importorskip("timm")

from imgret.networks import backbones, fields, safetensors_files  # noqa: E402 - after what it needs
from imgret.networks.params import BackboneParams as Params  # noqa: E402
from imgret.pipeline import Pipeline  # noqa: E402
from imgret.store.reader import Store  # noqa: E402

pytestmark = pytest.mark.usefixtures("one_thread")


def network(name, wants="map", **params):
    return backbones.shared(Params(model=f"timm:{name}", **{"weights": "random"} | params), wants, "cpu", ())


def own(name, **options):
    """timm's model with the weights of seed 0, its normalisations as they are."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return timm.create_model(name, pretrained=False, **options).eval()


def photos(height=96, width=128, count=2):
    return torch.randn(count, 3, height, width, generator=torch.Generator().manual_seed(1))


def same(found, wanted, relative=1e-5):
    assert found.shape == wanted.shape
    assert wanted.abs().max() > 0
    assert (found - wanted).abs().max() <= relative * wanted.abs().max()


# model: the default layer, and its options at timm
MAPS = {
    "test_resnet": "layer4",
    "test_efficientnet": "bn2",
    "test_convnext": "norm_pre",
    "test_mambaout": "stages",
    "mobilenetv3_small_050": "blocks",
}


@pytest.mark.parametrize("name", MAPS)
def test_the_last_map_is_what_timm_calls_the_features(name):
    net = network(name)
    (found,) = net(photos())
    assert net.layers == (MAPS[name],)
    with torch.no_grad():
        wanted = own(name).forward_features(photos())
    same(found, wanted.permute(0, 3, 1, 2) if name == "test_mambaout" else wanted)
    assert net.dims == [found.shape[1]]
    assert not any(isinstance(module, torch.nn.BatchNorm2d) for module in net.model.modules())  # folded, activations and all


@pytest.mark.parametrize("name", [*MAPS, "test_vit3"])
def test_the_vector_is_what_the_classifier_takes(name):
    options = {"dynamic_img_size": True} if name == "test_vit3" else {}
    (found,) = network(name, "vector")(photos())
    model = own(name, **options)
    with torch.no_grad():
        same(found, model.forward_head(model.forward_features(photos()), pre_logits=True))


@pytest.mark.parametrize(("name", "before"), [("test_vit", 1), ("vit_small_patch14_reg4_dinov2", 5), ("swin_tiny_patch4_window7_224", 0)])
def test_tokens_are_a_map_of_patches(name, before):
    """Row by row, class token and registers left off; what fills no patch is left out."""
    net = network(name)
    patch = {"test_vit": 16, "vit_small_patch14_reg4_dinov2": 14}.get(name, 4)
    x = photos(6 * patch + 3, 8 * patch + 5, 1) if before else photos(96, 128, 1)
    (found,) = net(x)
    with torch.no_grad():
        model = own(name, **({"dynamic_img_size": True} if before else {"strict_img_size": False}))
        wanted = model.forward_features(x[:, :, : 6 * patch, : 8 * patch] if before else x)
    if not before:
        same(found, wanted.permute(0, 3, 1, 2))
        return
    assert net.layers == ("norm",)
    assert wanted.shape[1] == before + 48
    for row, column in ((0, 0), (0, 7), (3, 2), (5, 7)):
        same(found[:, :, row, column], wanted[:, before + 8 * row + column])
    (token,) = network(name, "vector", layer=("norm",))(x)
    same(token, wanted[:, 0])
    assert fields.receptive_field(net, "norm") == (patch, (patch - 1) / 2, patch)


def test_layers_in_between():
    layers = ("layer2", "layer4", "layer1.0.bn1")
    found = network("test_resnet", layer=layers)(photos())
    model, answers = own("test_resnet"), {}
    for name, module in model.named_modules():
        if name in layers:
            module.register_forward_hook(lambda _, __, output, name=name: answers.update({name: output.clone()}))
    with torch.no_grad():
        model(photos())
    for layer, each in zip(layers, found, strict=True):
        same(each, answers[layer])


def test_gates_do_not_widen_the_field_of_view():
    stride, _, size = fields.receptive_field(network("test_efficientnet"), "bn2")
    assert stride == 32
    assert 32 < size < 500


def test_class_activation_maps_where_the_classifier_takes_the_mean():
    net = network("test_resnet")
    weight, bias = net.classifier()
    model = own("test_resnet")
    assert torch.equal(weight, model.fc.weight)
    assert torch.equal(bias, model.fc.bias)
    net(photos())  # still answers
    with pytest.raises(UsageError, match="^cam needs a linear classifier over the mean of the last map, timm:test_convnext has another"):
        network("test_convnext").classifier()


@pytest.mark.parametrize("name", ["test_resnet", "test_vit", "test_efficientnet"])
def test_gradients(name):
    net = backbones.trainable(Params(model=f"timm:{name}", weights="random"), "map")
    (found,) = net(photos())
    same(found.detach(), network(name)(photos())[0])
    assert list(net.model.state_dict()) == list(own(name).state_dict())
    (found**2).mean().backward()
    assert all(value.grad is not None for value in [next(net.model.parameters())])
    assert not net.model.training


def test_one_size_of_photos_is_too_little_to_train_on():
    with pytest.raises(UsageError) as caught:
        backbones.trainable(Params(model="timm:test_vit_relpos", weights="random"), "map")
    assert str(caught.value) == (
        "timm:test_vit_relpos takes photos of 160 × 160 pixels and no others, and training shows it many shapes: choose another network"
    )


# names


@pytest.mark.parametrize(
    ("name", "close"),
    [("test_resnt", "did you mean test_resnet or "), ("resnet18.a1", "did you mean resnet18.a"), ("", "there is no network '' in timm")],
)
def test_unknown_names(name, close):
    with pytest.raises(UsageError) as caught:
        network(name)
    message = str(caught.value)
    assert close in message
    assert message.startswith(f"there is no network '{name}' in timm {timm.__version__}")
    assert message.endswith("; timm.list_models() and timm.list_pretrained() have all")


@pytest.mark.parametrize("name", ["hf-hub:timm/resnet18.a1_in1k", "hf_hub:timm/resnet18", "local-dir:/tmp", "../resnet18"])
def test_names_that_would_make_timm_fetch_something(name):
    with pytest.raises(UsageError, match="^there is no network "):
        network(name)


def test_layers_that_are_none():
    with pytest.raises(UsageError, match="^timm:test_resnet has no layer 'layer5': choose one of conv1, "):
        network("test_resnet", layer=("layer5",))
    with pytest.raises(UsageError, match="^the layer 'norm' of timm:pit_ti_224 gives neither a map nor a vector: choose one of "):
        network("pit_ti_224")


# weights


def test_weights_are_never_downloaded():
    with pytest.raises(UsageError) as caught:
        network("resnet18.a1_in1k", weights="imagenet")
    assert str(caught.value) == (
        "timm:resnet18.a1_in1k needs a file of weights, and a step downloads nothing: fetch model.safetensors from "
        "https://huggingface.co/timm/resnet18.a1_in1k and give it with --set weights=FILE"
    )
    with pytest.raises(UsageError) as caught:
        network("test_mambaout", weights="imagenet")
    assert str(caught.value) == (
        "timm:test_mambaout needs a file of weights, and a step downloads nothing: timm knows of none: "
        "give your own with --set weights=FILE"
    )


def saved(tmp_path, state, name):
    path = str(tmp_path / name)
    if name.endswith(".pth"):
        torch.save(state, path)
    else:
        safetensors_files.write(path, {key: value.detach().numpy() for key, value in state.items()}, {"format": "pt"})
    return path


@pytest.mark.parametrize("name", ["w.pth", "w.safetensors"])
def test_weights_of_a_file(name, tmp_path):
    torch.manual_seed(5)
    model = timm.create_model("test_vit", num_classes=7, dynamic_img_size=True).eval()
    path = saved(tmp_path, model.state_dict(), name)
    net = network("test_vit", weights=path)
    with torch.no_grad():
        wanted = model.forward_features(photos())
    same(net(photos())[0].flatten(2).transpose(1, 2), wanted[:, 1:])
    assert net.params.mean == (0.5, 0.5, 0.5)
    assert net.params.weights == path
    # without a classifier, as self-supervised weights come
    state = {name: value for name, value in model.state_dict().items() if not name.startswith("head.")}
    headless = network("test_vit", "vector", weights=saved(tmp_path, state, f"headless-{name}"))
    same(headless(photos())[0], wanted[:, 0])
    # of something else
    with pytest.raises(ImgretError, match="are not those of timm:test_resnet: .*; is `model` right"):
        network("test_resnet", weights=path)


def test_a_network_that_imgret_trained(tmp_path):
    """Its backbone is under names of its own, and what its head learned is handed on."""
    state = {f"backbone.{name}": value.detach().numpy() for name, value in own("test_resnet").state_dict().items()}
    head = {"head.p": torch.tensor([2.5]).numpy()}
    path = str(tmp_path / "net.safetensors")
    metadata = {"format": "imgret", "kind": "network", "schema_version": "1"}
    safetensors_files.write(path, state | head, metadata)
    net = network("test_resnet", weights=path)
    assert net.learned.keys() == {"p"}
    assert net.learned["p"].tolist() == [2.5]
    same(net(photos())[0], network("test_resnet")(photos())[0])
    safetensors_files.write(path, state | {"head.p": torch.tensor([float("nan")]).numpy()}, metadata)
    with pytest.raises(ImgretError, match=r"net\.safetensors: head\.p holds NaN, infinite values or no floating point$"):
        network("test_resnet", weights=path, seed=1)  # or the one before would be given


def test_the_digest_of_random_weights():
    first = network("test_resnet")
    assert network("test_resnet", digest=first.params.digest).params == first.params
    assert network("test_resnet", seed=1).params.digest != first.params.digest
    with pytest.raises(ImgretError, match="random weights with this seed are others here"):
        network("test_resnet", digest="0" * 64)


def test_without_timm(monkeypatch):
    monkeypatch.setitem(sys.modules, "timm", None)
    with pytest.raises(ImgretError, match=r"^model=timm:NAME needs timm: pip install 'imgret\[timm\]'$"):
        network("test_resnet", seed=77)


# through the tool


def extract(tmp_path, *settings, out="v.h5", jobs=1):
    if not os.path.exists(tmp_path / "photos"):
        folder(tmp_path / "photos", 6)
    settings = [word for each in settings for word in ("--set", each)]
    return call("extract", tmp_path / "photos", "-m", "cnn", "--device", "cpu", "-j", jobs, "-o", tmp_path / out, *settings)


def test_from_photos_to_a_search_by_photo(tmp_path):
    path = saved(tmp_path, own("test_resnet").state_dict(), "w.pth")
    result = extract(tmp_path, "model=timm:test_resnet", f"weights={path}", "max_size=96")
    assert result.code == 0, result.err
    with Store(tmp_path / "v.h5") as store:
        assert store.read("vectors").shape == (6, 96)
        assert store.generated_by["timm"] == timm.__version__
        node = Pipeline.load(store).node
    assert node["params"]["model"] == "timm:test_resnet"
    assert node["params"]["mean"] == [0.5, 0.5, 0.5]
    assert call("index", tmp_path / "v.h5", "-o", tmp_path / "i.h5").code == 0
    by_vector = call("search", tmp_path / "i.h5", tmp_path / "v.h5", "--format", "tsv")
    by_photo = call("search", tmp_path / "i.h5", tmp_path / "photos", "--format", "tsv")
    assert by_photo.code == 0, by_photo.err
    assert by_photo.lines == by_vector.lines
    # the same bytes by two processes
    assert extract(tmp_path, "model=timm:test_resnet", f"weights={path}", "max_size=96", out="two.h5", jobs=2).code == 0
    with Store(tmp_path / "v.h5") as one, Store(tmp_path / "two.h5") as two:
        assert (one.read("vectors") == two.read("vectors")).all()
    # another file under that name
    saved(tmp_path, own("test_resnet", num_classes=3).state_dict(), "w.pth")
    result = call("search", tmp_path / "i.h5", tmp_path / "photos")
    assert result.code == 1
    assert f"the weights {path} are another file (SHA-256 " in result.err


def test_a_network_that_takes_one_size(tmp_path):
    result = extract(tmp_path, "model=timm:test_vit_relpos", "weights=random", "pool=none")
    assert result.code == 0, result.err
    with Store(tmp_path / "v.h5") as store:
        params = Pipeline.load(store).node["params"]
        sizes = store.read("keypoints")[:, 2]
    assert (params["max_size"], params["resize"]) == (160, "square")
    assert len(sizes) == 6 * 100
    sentence = "timm:test_vit_relpos takes photos of 160 × 160 pixels and no others: "
    for setting in ("max_size=320", "resize=square", "scales=1,2"):
        refused(
            extract(tmp_path, "model=timm:test_vit_relpos", "weights=random", setting, out="n.h5"),
            2,
            sentence + "leave `max_size`, `resize` and `scales` out",
        )
    patches = ("model=timm:test_vit_relpos", "weights=random", "pool=patches")
    refused(extract(tmp_path, *patches, out="n.h5"), 2, sentence + "set patch_size=160")
    assert extract(tmp_path, *patches, "patch_size=160", "patches=64", out="p.h5").code == 0
