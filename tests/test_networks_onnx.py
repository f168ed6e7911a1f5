"""ONNX models: maps, vectors and keypoints through onnxruntime; which files are refused."""

import os
import random
import sys

import numpy as np
import pytest
from helpers import call, encoded, folder, refused

from imgret.errors import ImgretError, UsageError

torch = pytest.importorskip("torch")
onnx = pytest.importorskip("onnx")
onnxruntime = pytest.importorskip("onnxruntime")

from onnx import TensorProto, helper, numpy_helper  # noqa: E402

from imgret.networks import backbones  # noqa: E402 - after what it needs
from imgret.networks.backbones.onnx import Onnx  # noqa: E402
from imgret.networks.params import BackboneParams as Params  # noqa: E402
from imgret.pipeline import Pipeline  # noqa: E402
from imgret.store.reader import Store  # noqa: E402

pytestmark = pytest.mark.usefixtures("one_thread")

FLOAT, DIM, LEVEL = TensorProto.FLOAT, 16, 0.3


def drawn(*shape, seed=0):
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


KERNEL, BIAS = drawn(DIM, 3, 4, 4), drawn(DIM, seed=1)
MATRIX = drawn(DIM, 5, seed=2)


def written(path, nodes, inputs, outputs, constants=(), domains=()):
    """A model's file."""
    initializers = [numpy_helper.from_array(value, name) for name, value in dict(constants).items()]
    graph = helper.make_graph(nodes, "g", inputs, outputs, initializers)
    opsets = [helper.make_opsetid("", 17), *(helper.make_opsetid(domain, 1) for domain in domains)]
    model = helper.make_model(graph, opset_imports=opsets, ir_version=9)
    onnx.save(model, str(path))
    return str(path)


def value(name, *shape, dtype=FLOAT):
    return helper.make_tensor_value_info(name, dtype, shape)


def network_of_maps(path, photo=("n", 3, "h", "w"), dtype=FLOAT):
    """Photos to a map of stride 4, and its mean in five dimensions."""
    kind = np.float16 if dtype == TensorProto.FLOAT16 else np.float32
    nodes = [
        helper.make_node("Conv", ["photos", "kernel", "bias"], ["raw"], strides=[4, 4]),
        helper.make_node("Relu", ["raw"], ["map"]),
        helper.make_node("GlobalAveragePool", ["map"], ["mean"]),
        helper.make_node("Flatten", ["mean"], ["flat"]),
        helper.make_node("MatMul", ["flat", "matrix"], ["global"]),
    ]
    outputs = [value("global", photo[0], 5, dtype=dtype), value("map", photo[0], DIM, "r", "c", dtype=dtype)]
    constants = {"kernel": KERNEL.astype(kind), "bias": BIAS.astype(kind), "matrix": MATRIX.astype(kind)}
    return written(path, nodes, [value("photos", *photo, dtype=dtype)], outputs, constants)


def torch_maps(x):
    """The same by torch."""
    maps = torch.nn.functional.conv2d(x, torch.from_numpy(KERNEL), torch.from_numpy(BIAS), stride=4).relu()
    return maps, maps.mean(dim=(2, 3)) @ torch.from_numpy(MATRIX)


SPOT, LOOK = drawn(1, 1, 3, 3, seed=3), drawn(DIM, 1, 5, 5, seed=4)
SPOT -= SPOT.mean()


def network_of_keypoints(path, photo=(1, 1, "h", "w"), form="rows", names=("keypoints", "descriptors", "keypoint_scores"), level=LEVEL):
    """Pixels where a filter of a grey photo answers above a level, described by other filters, as SuperPoint's exports are."""
    constants = {"spot": SPOT, "look": LOOK, "level": np.float32(level), "back": np.array([1, 0]), "first": np.array([0])}
    nodes = [
        helper.make_node("Conv", ["photo", "spot"], ["answers"], pads=[1] * 4),
        helper.make_node("Squeeze", ["answers", "both"], ["scoremap"]),
        helper.make_node("Greater", ["scoremap", "level"], ["above"]),
        helper.make_node("NonZero", ["above"], ["columns"]),
        helper.make_node("Transpose", ["columns"], ["places"], perm=[1, 0]),
        helper.make_node("Gather", ["places", "back"], ["xy"], axis=1),
        helper.make_node("Conv", ["photo", "look"], ["looks"], pads=[2] * 4),
        helper.make_node("Squeeze", ["looks", "first"], ["chw"]),
        helper.make_node("Transpose", ["chw"], ["hwc"], perm=[1, 2, 0]),
        helper.make_node("GatherND", ["scoremap", "places"], ["s"]),
        helper.make_node("GatherND", ["hwc", "places"], ["d"]),
        helper.make_node("Unsqueeze", ["xy", "first"], [names[0]]),
        helper.make_node("Unsqueeze", ["s", "first"], [names[2]]),
    ]
    constants["both"] = np.array([0, 1])
    if form == "rows":
        nodes.append(helper.make_node("Unsqueeze", ["d", "first"], [names[1]]))
        shape = (1, "n", DIM)
    else:
        nodes.append(helper.make_node("Transpose", ["d"], ["t"], perm=[1, 0]))
        nodes.append(helper.make_node("Unsqueeze", ["t", "first"], [names[1]]))
        shape = (1, DIM, "n")
    outputs = [value(names[2], 1, "n"), value(names[1], *shape), value(names[0], 1, "n", 2, dtype=TensorProto.INT64)]
    return written(path, nodes, [value("photo", *photo)], outputs, constants)


def slow_keypoints(grey, level=LEVEL):
    """The same by loops over a grey photo (H, W): x, y, score and descriptor of each, in the order of rows."""
    grey, found = grey.astype(np.float64), []
    near, wide = np.pad(grey, 1), np.pad(grey, 2)
    for y in range(grey.shape[0]):
        for x in range(grey.shape[1]):
            score = (near[y : y + 3, x : x + 3] * SPOT[0, 0]).sum()
            if score > level:
                found.append((x, y, score, [(wide[y : y + 5, x : x + 5] * each[0]).sum() for each in LOOK]))
    return found


def network(path, wants="map", device="cpu", **params):
    return Onnx(Params(**{"model": "onnx", "weights": str(path)} | params), wants, device)


def photos(count=2, height=64, width=96):
    return torch.rand(count, 3, height, width, generator=torch.Generator().manual_seed(1))


def same(found, wanted, relative=1e-5):
    assert found.shape == wanted.shape
    assert (found - wanted).abs().max() <= relative * wanted.abs().max()


# what comes out


@pytest.mark.parametrize("photo", [("n", 3, "h", "w"), (1, 3, "h", "w"), ("n", "c", "h", "w")])
def test_maps_and_vectors_are_torchs(photo, tmp_path):
    path = network_of_maps(tmp_path / "a.onnx", photo)
    maps, means = torch_maps(photos())
    for wants, layers, wanted in (("map", ("map",), [maps]), ("vector", ("global",), [means]), ("map", ("map", "global"), [maps, means])):
        net = network(path, wants, layer=layers if len(layers) > 1 else ())
        assert net.layers == net.params.layer == layers
        for found, each in zip(net(photos()), wanted, strict=True):
            same(found, each)
        assert net.dims == [each.shape[1] for each in wanted]
        assert net.maps == [each.ndim == 4 for each in wanted]
        assert net.least == 32
        assert net.size is None
        assert len(net.params.digest) == 64


def test_a_fixed_size_and_half_precision(tmp_path):
    path = network_of_maps(tmp_path / "a.onnx", (1, 3, 64, 96), TensorProto.FLOAT16)
    net = network(path)
    assert net.size == (64, 96)
    assert net.least == 64
    same(net(photos())[0], torch_maps(photos())[0], 5e-3)


def test_channels_that_come_last(tmp_path):
    nodes = [helper.make_node("Transpose", ["photos"], ["map"], perm=[0, 3, 1, 2])]
    path = written(tmp_path / "a.onnx", nodes, [value("photos", 1, "h", "w", 3)], [value("map", 1, 3, "h", "w")])
    assert torch.equal(network(path)(photos())[0], photos())


@pytest.mark.parametrize(("channels", "weights"), [("rgb", (0.299, 0.587, 0.114)), ("bgr", (0.114, 0.587, 0.299))])
def test_a_grey_photo_where_the_model_takes_one_channel(channels, weights, tmp_path):
    nodes = [helper.make_node("Identity", ["photos"], ["map"])]
    path = written(tmp_path / "a.onnx", nodes, [value("photos", 1, 1, "h", "w")], [value("map", 1, 1, "h", "w")])
    net = network(path, channels=channels)
    same(net(photos())[0], (photos() * torch.tensor(weights).reshape(1, 3, 1, 1)).sum(dim=1, keepdim=True))
    assert net.params.mean == (0.0,) * 3
    assert net.params.std == (1.0,) * 3


def test_normalisation(tmp_path):
    path = network_of_maps(tmp_path / "a.onnx")
    assert network(path).params.mean == (0.485, 0.456, 0.406)
    assert network(path, range=255.0).params.std == tuple(255 * each for each in (0.229, 0.224, 0.225))
    assert network(path, mean=(0.5,) * 3).params.mean == (0.5,) * 3
    assert network(network_of_keypoints(tmp_path / "k.onnx"), "keypoints").params.std == (1.0,) * 3


@pytest.mark.parametrize("form", ["rows", "columns"])
def test_keypoints(form, tmp_path):
    net = network(network_of_keypoints(tmp_path / "a.onnx", form=form), "keypoints")
    assert net.layers == ("keypoints", "descriptors", "keypoint_scores")
    assert net.dims == [2, DIM, 1]
    x = photos(2, 40, 48)
    for found, photo in zip(net.located(x), x, strict=True):
        grey = (photo * torch.tensor((0.299, 0.587, 0.114)).reshape(3, 1, 1)).sum(dim=0).numpy()
        wanted = slow_keypoints(grey)
        assert 0 < len(wanted) < grey.size
        assert found.places.tolist() == [[x, y] for x, y, _, _ in wanted]
        assert np.abs(found.scores - [score for _, _, score, _ in wanted]).max() < 1e-5
        assert np.abs(found.descriptors - [each for *_, each in wanted]).max() < 1e-4
    (none,) = net.located(torch.zeros(1, 3, 40, 48))
    assert none.places.shape == (0, 2)
    assert none.descriptors.shape == (0, DIM)


def test_outputs_of_other_names(tmp_path):
    path = network_of_keypoints(tmp_path / "a.onnx", names=("a", "b", "c"))
    with pytest.raises(UsageError) as caught:
        network(path, "keypoints")
    assert str(caught.value) == (
        "which outputs of onnx are keypoints, descriptors and scores is not said by their names (c, b, a): "
        "set layer=KEYPOINTS,DESCRIPTORS,SCORES"
    )
    assert network(path, "keypoints", layer=("a", "b", "c")).dims == [2, DIM, 1]
    without = network(path, "keypoints", layer=("a", "b"))
    assert set(without.located(photos(1))[0].scores) == {1.0}
    with pytest.raises(UsageError, match="^onnx has no output 'd': choose one of c, b, a$"):
        network(path, "keypoints", layer=("a", "d"))


def keypoints_of(path, places, descriptors):
    """A model that gives these constants, whatever the photo; nothing declared of them."""
    nodes = [helper.make_node("Identity", ["p"], ["keypoints"]), helper.make_node("Identity", ["d"], ["descriptors"])]
    nodes.append(helper.make_node("Identity", ["photo"], ["map"]))
    outputs = [value(name, *"abc"[: array.ndim]) for name, array in (("keypoints", places), ("descriptors", descriptors))]
    outputs.append(value("map", 1, 3, "h", "w"))
    return written(path, nodes, [value("photo", 1, 3, "h", "w")], outputs, {"p": places, "d": descriptors})


@pytest.mark.parametrize("turned", [False, True])
def test_descriptors_whose_length_shows(turned, tmp_path):
    """As many rows, or columns, as there are keypoints."""
    places, descriptors = np.abs(drawn(1, 7, 2)), drawn(1, 7, 4)
    path = keypoints_of(tmp_path / "a.onnx", places, descriptors.swapaxes(1, 2) if turned else descriptors)
    (found,) = network(path, "keypoints").located(photos(1))
    assert np.array_equal(found.places, places[0])
    assert np.array_equal(found.descriptors, descriptors[0])


@pytest.mark.parametrize(
    ("places", "descriptors", "text"),
    [
        ((1, 0, 2), (1, 0, 4), "does not say how long its descriptors ('descriptors') are: export them with that axis fixed"),
        ((1, 7, 2), (1, 5, 4), "does not say how long its descriptors ('descriptors') are: export them with that axis fixed"),
        ((14,), (7,), "does not say how long its descriptors ('descriptors') are: export them with that axis fixed"),
        ((1, 2, 7), (1, 7, 4), "gives no keypoints with descriptors: an output is 1×2×7, rows of 2 are needed"),
        ((14,), (7, 4), "gives no keypoints with descriptors: an output is 14, rows of 2 are needed"),
        ((1, 3, 2), (2, 3, 4), "gives no keypoints with descriptors: 3 keypoints, 6 descriptors and 3 scores"),
    ],
)
def test_outputs_that_are_no_keypoints(places, descriptors, text, tmp_path):
    path = keypoints_of(tmp_path / "a.onnx", drawn(*places), drawn(*descriptors))
    with pytest.raises(ImgretError) as caught:
        network(path, "keypoints")
    assert str(caught.value) == f"{path} {text}"


# refusals


def test_settings_that_mean_nothing(tmp_path):
    path = network_of_maps(tmp_path / "a.onnx")
    for weights in ("random", "imagenet"):
        with pytest.raises(UsageError, match="^model=onnx:mine is a file: give it with --set weights=FILE.onnx$"):
            network(weights, model="onnx:mine")
    with pytest.raises(UsageError, match="^`precision` has no effect on model=onnx: leave it out$"):
        network(path, precision="bfloat16")
    with pytest.raises(
        UsageError, match="^an ONNX model cannot be trained: train the network it was exported from, of torchvision or timm$"
    ):
        backbones.trainable(Params(model="onnx", weights=path), "map")
    with pytest.raises(UsageError, match="^cam needs a linear classifier"):
        network(path).classifier()


def test_devices(tmp_path):
    path = network_of_maps(tmp_path / "a.onnx")
    assert backbones.device_of("auto", "onnx:mine") == "cpu"
    for device in ("mps", "cuda:0"):
        if "CUDAExecutionProvider" not in onnxruntime.get_available_providers() or device == "mps":
            with pytest.raises(ImgretError, match=f"^--device {device}: this onnxruntime runs on cpu only; give --device cpu$"):
                network(path, device=device)


INPUTS = {
    "two": [value("photos", 1, 3, "h", "w"), value("mask", 1, 3, "h", "w")],
    "flat": [value("photos", 1, 3)],
    "seven channels": [value("photos", 1, 7, "h", "w")],
    "a batch of four": [value("photos", 4, 3, "h", "w")],
    "one side": [value("photos", 1, 3, 64, "w")],
    "a photo of terabytes": [value("photos", 1, 3, 1 << 20, 1 << 20)],
    "integers": [value("photos", 1, 3, "h", "w", dtype=TensorProto.INT64)],
}


@pytest.mark.parametrize("kind", INPUTS)
def test_inputs_that_are_no_photos(kind, tmp_path):
    first = INPUTS[kind][0].type.tensor_type.elem_type
    nodes = [helper.make_node("Identity", ["photos"], ["map"])]
    if kind == "two":
        nodes = [helper.make_node("Add", ["photos", "mask"], ["map"])]
    path = written(tmp_path / "a.onnx", nodes, INPUTS[kind], [value("map", "a", "b", "c", "d", dtype=first)])
    with pytest.raises(ImgretError) as caught:
        network(path)
    if kind == "two":
        assert str(caught.value) == f"{path} takes 2 inputs (photos, mask): a network that describes photos takes one, the photos"
    else:
        assert str(caught.value).startswith(f"{path} takes tensor(")
        assert str(caught.value).endswith(
            ": photos are float32 or float16, N×C×H×W, with N 1 or any, C 3 or 1, H and W both given, up to 8192, or both any"
        )


def test_outputs_that_are_neither_map_nor_vector(tmp_path):
    nodes = [helper.make_node("Shape", ["photos"], ["shape"]), helper.make_node("ReduceMax", ["photos"], ["most"], keepdims=0)]
    outputs = [value("shape", 4, dtype=TensorProto.INT64), value("most")]
    path = written(tmp_path / "a.onnx", nodes, [value("photos", 1, 3, "h", "w")], outputs)
    with pytest.raises(UsageError, match="^the output 'shape' of onnx is 4, neither a map nor a vector: choose one of shape, most$"):
        network(path)
    with pytest.raises(UsageError, match="^the output 'most' of onnx is "):
        network(path, layer=("most",))


def external(tmp_path, location):
    """A model whose weights are elsewhere."""
    path = tmp_path / "e.onnx"
    network_of_maps(path)
    model = onnx.load(str(path))
    tensor = model.graph.initializer[0]
    tensor.ClearField("raw_data")
    tensor.data_location = TensorProto.EXTERNAL
    for key, text in (("location", location), ("offset", "0"), ("length", str(KERNEL.nbytes))):
        entry = tensor.external_data.add()
        entry.key, entry.value = key, text
    path.write_bytes(model.SerializeToString())
    return str(path)


@pytest.mark.parametrize("location", ["e.bin", "../e.bin", "/etc/passwd", "*/_ORT_MEM_ADDR_/*"])
def test_numbers_in_other_files_are_not_opened(location, tmp_path, monkeypatch):
    (tmp_path / "e.bin").write_bytes(KERNEL.tobytes())
    monkeypatch.chdir(tmp_path)
    path = external(tmp_path, location)
    with pytest.raises(ImgretError) as caught:
        network(path)
    assert str(caught.value) == (
        f"the weights {path} keep numbers in other files, which are not opened: save the model as one file "
        "(onnx.save with save_as_external_data=False)"
    )


def test_numbers_elsewhere_within_a_branch(tmp_path):
    """In a constant of a graph that is an operator's attribute."""
    tensor = numpy_helper.from_array(BIAS, "c")
    tensor.ClearField("raw_data")
    tensor.data_location = TensorProto.EXTERNAL
    branch = helper.make_graph([helper.make_node("Constant", [], ["y"], value=tensor)], "b", [], [value("y", DIM)])
    nodes = [helper.make_node("If", ["condition"], ["map"], then_branch=branch, else_branch=branch)]
    constants = {"condition": np.array(True)}
    path = written(tmp_path / "a.onnx", nodes, [value("photos", 1, 3, "h", "w")], [value("map", "a", "b", "c", "d")], constants)
    with pytest.raises(ImgretError, match="keep numbers in other files"):
        network(path)


def test_operators_of_ones_own(tmp_path):
    for domain, name in (("mine.ops", "Run"), ("com.microsoft", "EPContext")):
        nodes = [helper.make_node(name, ["photos"], ["map"], domain=domain)]
        path = written(tmp_path / "a.onnx", nodes, [value("photos", 1, 3, "h", "w")], [value("map", 1, 3, "h", "w")], (), (domain,))
        with pytest.raises(ImgretError) as caught:
            network(path)
        assert str(caught.value) == (
            f"the weights {path} need operators that are programs of their own ({domain}:{name}): export without them"
        )


def test_an_operator_that_onnxruntime_has_not(tmp_path):
    nodes = [helper.make_node("NoSuchThing", ["photos"], ["map"])]
    path = written(tmp_path / "a.onnx", nodes, [value("photos", 1, 3, "h", "w")], [value("map", 1, 3, "h", "w")])
    with pytest.raises(
        ImgretError, match=rf"^the weights .* cannot be run by onnxruntime {onnxruntime.__version__}: .*NoSuchThing"
    ) as caught:
        network(path)
    assert "\n" not in str(caught.value)


def test_damaged_files(tmp_path):
    good = open(network_of_maps(tmp_path / "a.onnx"), "rb").read()
    rng, run, sentences = random.Random(2), 0, []
    for data in (
        b"",
        b"\0" * 100,
        b"hello",
        rng.randbytes(1000),
        good[: len(good) // 2],
        good[:-1],
        b"PK\3\4" + good,
        b"\x7a\xff\xff\xff\xff\x0f",
    ):
        (tmp_path / "b.onnx").write_bytes(data)
        with pytest.raises(ImgretError, match=r"^the weights .*b\.onnx (are no|cannot be run)"):
            network(tmp_path / "b.onnx")
    for _ in range(150):
        data = bytearray(good)
        for _ in range(rng.choice((1, 2, 5))):
            data[rng.choice((rng.randrange(len(data)), rng.randrange(200), len(data) - 1 - rng.randrange(200)))] = rng.randrange(256)
        (tmp_path / "b.onnx").write_bytes(data)
        try:
            network(tmp_path / "b.onnx")
            run += 1
        except ImgretError as error:
            sentences.append(str(error))
    assert run > 0
    assert len(sentences) > 0
    assert not any("\n" in sentence for sentence in sentences)


def test_names_that_are_no_text(tmp_path, capfd):
    """onnxruntime's own package raises over them, and would say so on standard output."""
    data = open(network_of_maps(tmp_path / "a.onnx"), "rb").read()
    (tmp_path / "b.onnx").write_bytes(data.replace(b"global", b"glob\xffl"))
    with pytest.raises(ImgretError, match="cannot be run by onnxruntime"):
        network(tmp_path / "b.onnx")
    assert capfd.readouterr() == ("", "")


def test_a_deep_file_of_graphs_in_graphs(tmp_path):
    data = b""
    for number in range(100_000):  # 2 GB at most would fit millions
        field = (0x32, 0x2A, 0x0A)[number % 3]  # attribute's graph, node's attribute, graph's node
        if len(data) > 1 << 14:
            break
        length, size = len(data), b""
        while length > 127:
            size, length = size + bytes([length & 127 | 128]), length >> 7
        data = bytes([field]) + size + bytes([length]) + data
    (tmp_path / "a.onnx").write_bytes(b"\x3a" + data)
    with pytest.raises(ImgretError, match="are no sound ONNX model"):
        network(tmp_path / "a.onnx")


def test_files_that_are_too_large(tmp_path, monkeypatch):
    from imgret.networks.backbones import onnx_files

    path = network_of_maps(tmp_path / "a.onnx")
    monkeypatch.setattr(onnx_files, "MOST", 1000)
    with pytest.raises(ImgretError) as caught:
        network(path)
    assert str(caught.value) == f"the weights {path}: the file has {os.path.getsize(path)} bytes, the limit of ONNX is 1000"


def test_without_onnxruntime(tmp_path, monkeypatch):
    path = network_of_maps(tmp_path / "a.onnx")
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(ImgretError, match=r"^model=onnx needs onnxruntime: pip install 'imgret\[onnx\]'$"):
        network(path)


def test_the_onnx_package_is_not_needed(tmp_path, monkeypatch):
    path = network_of_maps(tmp_path / "a.onnx")
    monkeypatch.setitem(sys.modules, "onnx", None)
    assert network(path).dims == [DIM]


# through the tool


def extract(tmp_path, *settings, out="v.h5", jobs=1):
    if not os.path.exists(tmp_path / "photos"):
        folder(tmp_path / "photos", 6)
    settings = [word for each in settings for word in ("--set", each)]
    return call("extract", tmp_path / "photos", "-m", "cnn", "-j", jobs, "-o", tmp_path / out, *settings)


@pytest.mark.parametrize(("settings", "width"), [(("pool=fc",), 5), (("pool=gem", "flip=true", "scales=1,0.7"), DIM)])
def test_from_photos_to_a_search_by_photo(settings, width, tmp_path):
    path = network_of_maps(tmp_path / "a.onnx")
    result = extract(tmp_path, "model=onnx", f"weights={path}", "max_size=96", *settings)
    assert result.code == 0, result.err
    with Store(tmp_path / "v.h5") as store:
        found = store.read("vectors")
        assert found.shape == (6, width)
        assert np.abs(np.linalg.norm(found, axis=1) - 1).max() < 1e-5
        assert store.generated_by["onnxruntime"] == onnxruntime.__version__
        params = Pipeline.load(store).node["params"]
    assert params["layer"] == (["global"] if width == 5 else ["map"])
    assert call("index", tmp_path / "v.h5", "-o", tmp_path / "i.h5").code == 0
    by_vector = call("search", tmp_path / "i.h5", tmp_path / "v.h5", "--format", "tsv")
    by_photo = call("search", tmp_path / "i.h5", tmp_path / "photos", "--format", "tsv")
    assert by_photo.code == 0, by_photo.err
    assert [line.split("\t")[:3] for line in by_photo.lines] == [line.split("\t")[:3] for line in by_vector.lines]


def test_keypoints_from_photos_to_words(tmp_path):
    """In pixels of the whole photo, the strongest first, none where there is nothing; the same by two processes."""
    path = network_of_keypoints(tmp_path / "a.onnx")
    settings = ("model=onnx", f"weights={path}", "pool=keypoints", "max_size=80", "max_keypoints=50")
    result = extract(tmp_path, *settings)
    assert result.code == 0, result.err
    assert extract(tmp_path, *settings, out="two.h5", jobs=2).code == 0
    with Store(tmp_path / "v.h5") as one, Store(tmp_path / "two.h5") as two:
        for column in ("keypoints", "descriptors", "offsets", "image_size"):
            assert np.array_equal(one.read(column), two.read(column))
        keypoints, offsets = one.read("keypoints"), one.read("offsets")
        assert one.attribute("keypoints", "columns") == "x y size score"
        norms = np.linalg.norm(one.read("descriptors").astype(np.float32), axis=1)
    assert (np.diff(offsets) == 50).all()
    assert np.abs(norms - 1).max() < 2e-3
    assert keypoints[:, 0].max() > 100  # photos of 160 x 120, looked at in 80 x 60
    assert set(keypoints[:, 2]) == {16.0}
    for first, last in zip(offsets, offsets[1:], strict=False):
        assert (np.diff(keypoints[first:last, 3]) <= 0).all()
    assert call("codebook", tmp_path / "v.h5", "--size", 4, "-o", tmp_path / "c.h5").code == 0
    assert call("encode", tmp_path / "v.h5", "-c", tmp_path / "c.h5", "-o", tmp_path / "e.h5").code == 0
    assert call("index", tmp_path / "e.h5", "-o", tmp_path / "i.h5").code == 0
    result = call("search", tmp_path / "i.h5", tmp_path / "photos", "-k", 1, "--format", "tsv")
    assert result.code == 0, result.err
    first = [line.split("\t") for line in result.lines[1:] if line.split("\t")[1] == "0"]
    assert len(first) == 6
    assert all(query == name and float(score) > 0.999 for query, _, name, score, *_ in first)


def test_photos_without_keypoints(tmp_path):
    path = network_of_keypoints(tmp_path / "a.onnx")
    folder(tmp_path / "photos", 6)
    (tmp_path / "photos" / "black.png").write_bytes(encoded(np.zeros((60, 80, 3), dtype=np.uint8)))
    result = extract(tmp_path, "model=onnx", f"weights={path}", "pool=keypoints")
    assert result.code == 0, result.err
    assert "1 could not be used" in result.err
    with Store(tmp_path / "v.h5") as store:
        assert len(store.read("offsets")) == 7


def test_a_model_of_one_size(tmp_path):
    """Photos are resized to it, and keypoints are in pixels of the photo again, along both sides."""
    path = network_of_keypoints(tmp_path / "a.onnx", (1, 1, 64, 40))
    result = extract(tmp_path, "model=onnx", f"weights={path}", "pool=keypoints")
    assert result.code == 0, result.err
    with Store(tmp_path / "v.h5") as store:
        params = Pipeline.load(store).node["params"]
        keypoints = store.read("keypoints")
    assert (params["max_size"], params["resize"]) == (64, "square")
    assert keypoints[:, 0].max() > 150  # 160 x 120
    assert 100 < keypoints[:, 1].max() < 120
    assert np.allclose((keypoints[:, 0] + 0.5) / 4 % 1, 0.5)
    refused(
        extract(tmp_path, "model=onnx", f"weights={path}", "pool=keypoints", "max_size=100", out="n.h5"),
        2,
        "onnx takes photos of 40 × 64 pixels and no others: leave `max_size`, `resize` and `scales` out",
    )


def test_a_pool_that_does_not_suit(tmp_path):
    path, points = network_of_maps(tmp_path / "a.onnx"), network_of_keypoints(tmp_path / "k.onnx")
    refused(
        extract(tmp_path, "model=onnx", f"weights={path}", "layer=global"),
        1,
        "the layer 'global' of onnx gives a vector, not a map: choose pool=fc, or another layer",
    )
    refused(
        extract(tmp_path, "model=squeezenet1_1", "weights=random", "pool=keypoints"),
        2,
        "pool=keypoints is for an ONNX model that gives keypoints, squeezenet1_1 gives maps: choose another pool",
    )
    result = extract(tmp_path, "model=onnx", f"weights={points}", "layer=keypoints")
    assert result.code == 2
    assert "×2, neither a map nor a vector: choose one of keypoint_scores, descriptors, keypoints" in result.err
    result = extract(tmp_path, "model=onnx", f"weights={points}", "pool=fc")
    assert result.code == 1
    assert "keypoint_scores: the number of channels depends on the photo" in result.err
