"""An exported ONNX model, run by onnxruntime: maps, vectors, or keypoints with descriptors, from a file."""

import dataclasses
import os
import re

import numpy as np

from imgret.errors import ImgretError, UsageError, listed, quoted
from imgret.networks import weights as weights_of
from imgret.networks.backbones import onnx_files, probing
from imgret.networks.backbones.base import SIDES, Backbone, Keypoints
from imgret.networks.backbones.filling import MEAN, STD
from imgret.networks.params import LARGEST

FLOATS = {"tensor(float)": np.float32, "tensor(float16)": np.float16}  # types of input that are taken
GREY = (0.299, 0.587, 0.114)  # of red, green and blue in a grey photo
# what outputs of keypoints, their descriptors and scores are called; what fits several is the last of them (keypoint_scores)
CALLED = (r"k(ey_?)?p(oin)?ts?(?![a-z])", r"desc", r"score|logit|prob")
SHOWN = 12  # names in a message
RANK = {"map": 4, "vector": 2}


class Onnx(Backbone):
    """A model of a file; its outputs are its layers.

    It has one input: photos (N, C, H, W) or (N, H, W, C), float32 or float16, C 3 or 1 (grey); N, H and W fixed (N to 1) or not. Where
    nothing else is set, an input of three channels is normalised as torchvision's photos are, one of one channel, or of a model that gives
    keypoints, is between 0 and 1. Keypoints are (N, 2) or (1, N, 2), x and y in pixels of the input; descriptors have a row or a column
    for each; scores, which may be missing, a number. They are found by their names, or named by `layer` in this order.

    The file is run in one thread, and has to be complete in itself: see `imgret.networks.backbones.onnx_files`.

    Raises
    ------
    UsageError
        For outputs that there are not, and parameters that mean nothing here.
    ImgretError
        For a file that cannot be used.
    """

    dims = ()

    def __init__(self, params, wants="map", device="cpu", given=(), trainable=False):
        import torch

        if trainable:
            raise UsageError("an ONNX model cannot be trained: train the network it was exported from, of torchvision or timm")
        if params.weights in ("random", "imagenet"):
            raise UsageError(f"model={params.model} is a file: give it with --set weights=FILE.onnx")
        if params.precision != "float32":
            raise UsageError(f"`precision` has no effect on model={params.model}: leave it out")
        self.name, self.wants, self.device = params.model, wants, torch.device("cpu")
        path, data, digest = weights_of.find(params.weights, params.digest, given)
        self._path = path
        onnx_files.check(data, path)
        self._session, inputs, self._outputs = _session(data, path, device)
        self._take_input(inputs)
        self.layers = self._chosen(params.layer)
        plain = wants == "keypoints" or self._channels == 1
        mean, std = ((0.0,) * 3, (1.0,) * 3) if plain else (MEAN, STD)
        self.params = dataclasses.replace(
            params,
            layer=self.layers,
            weights=os.path.abspath(path),
            digest=digest,
            mean=tuple(value * params.range for value in mean) if params.mean is None else params.mean,
            std=tuple(value * params.range for value in std) if params.std is None else params.std,
        )
        self._backwards = params.channels == "bgr"
        self.locates = wants == "keypoints"
        self.least, outputs = self._smallest()
        if self.locates:
            self._know_descriptors(outputs)
        else:
            self.dims = [output.shape[1] for output in outputs]
            self.maps = [output.ndim == 4 for output in outputs]

    def __call__(self, x):
        """The layers' outputs; see `imgret.networks.backbones.base.Backbone`."""
        import torch

        parts = [[torch.from_numpy(np.atleast_1d(output)) for output in outputs] for outputs in self._run(x)]
        shaped = [[self._shaped(layer, output) for layer, output in zip(self.layers, part, strict=True)] for part in parts]
        lengths = {tuple(output.shape[1] for output in part) for part in shaped} | ({tuple(self.dims)} if self.dims else set())
        if len(lengths) > 1:
            raise RuntimeError(f"{','.join(self.layers)}: the number of channels depends on the photo")
        return [torch.cat(each) for each in zip(*shaped, strict=True)]

    def located(self, x):
        """Keypoints of photos; see `imgret.networks.backbones.base.Backbone`."""
        return [self._keypoints(*outputs) for part in x.split(1) for outputs in self._run(part)]

    def _take_input(self, inputs):
        """Find out what photos the input takes."""
        if len(inputs) != 1:
            names = listed(list(inputs), SHOWN)
            raise ImgretError(f"{self._path} takes {len(inputs)} inputs ({names}): a network that describes photos takes one, the photos")
        ((name, (kind, declared)),) = inputs.items()
        shape, known = declared, [isinstance(side, int) for side in declared]
        self._last = len(shape) == 4 and known[3] and shape[3] in (1, 3) and not (known[1] and shape[1] in (1, 3))
        if len(shape) == 4 and self._last:
            shape, known = [shape[at] for at in (0, 3, 1, 2)], [known[at] for at in (0, 3, 1, 2)]
        good = len(shape) == 4 and kind in FLOATS and (not known[1] or shape[1] in (1, 3))
        if (
            not good
            or (known[0] and shape[0] != 1)
            or known[2] != known[3]
            or not all(0 < shape[at] <= LARGEST for at in (2, 3) if known[at])
        ):
            raise ImgretError(
                f"{self._path} takes {kind} of {quoted('×'.join(map(str, declared))) or 'no shape'}: photos are float32 or float16, "
                f"N×C×H×W, with N 1 or any, C 3 or 1, H and W both given, up to {LARGEST}, or both any"
            )
        self._input, self._dtype, self._channels = name, FLOATS[kind], shape[1] if known[1] else 3
        self._single = known[0]
        self.size = (shape[2], shape[3]) if known[2] else None

    def _chosen(self, layers):
        """The outputs that are taken."""
        for layer in layers:
            if layer not in self._outputs:
                raise UsageError(f"{self.name} has no output '{layer}': choose one of {self._known()}")
        if self.wants == "keypoints":
            return self._called(layers)
        if layers:
            return layers
        fitting = [name for name, (_, shape) in self._outputs.items() if len(shape) == RANK[self.wants]]
        usable = [name for name, (_, shape) in self._outputs.items() if len(shape) in RANK.values()]
        return tuple([*fitting, *usable, *self._outputs][:1])

    def _called(self, layers):
        """The outputs of keypoints, descriptors and, where there are any, scores."""
        found = list(layers)
        if not found:
            named = {name: next((at for at in (2, 1, 0) if re.search(CALLED[at], name, re.IGNORECASE)), None) for name in self._outputs}
            found = [next((name for name in self._outputs if named[name] == at), None) for at in range(3)]
            found = found[:2] + [each for each in found[2:] if each]
        if len(found) not in (2, 3) or None in found or len(set(found)) < len(found):
            raise UsageError(
                f"which outputs of {self.name} are keypoints, descriptors and scores is not said by their names "
                f"({self._known()}): set layer=KEYPOINTS,DESCRIPTORS,SCORES"
            )
        return tuple(found)

    def _known(self):
        return listed(list(self._outputs), SHOWN)

    def _run(self, x):
        """Yield the outputs for photos (B, 3, H, W): all together, or one by one where the model takes one."""
        if self._channels == 1:
            weights = x.new_tensor(GREY[::-1] if self._backwards else GREY).reshape(1, 3, 1, 1)
            x = (x * weights).sum(dim=1, keepdim=True)
        array = x.permute(0, 2, 3, 1) if self._last else x
        array = np.ascontiguousarray(array.cpu().numpy(), dtype=self._dtype)
        for start in range(len(array)) if self._single else (0,):
            photos = array[start : start + 1] if self._single else array
            try:
                outputs = self._session.run(list(self.layers), {self._input: photos})
            except Exception as error:  # noqa: BLE001 - onnxruntime's errors have no class in common
                raise RuntimeError(probing.told(error)) from None
            yield [self._array(layer, output) for layer, output in zip(self.layers, outputs, strict=True)]

    def _array(self, layer, output):
        if not isinstance(output, np.ndarray) or output.dtype.kind not in "fiu":
            raise UsageError(f"the output '{quoted(layer)}' of {self.name} holds no numbers: choose one of {self._known()}")
        return output.astype(np.float32)

    def _shaped(self, layer, output):
        """An output as (B, C, H, W) or (B, C)."""
        if output.ndim == 4 and output.shape[2:] == (1, 1) and self.wants == "vector":
            output = output.flatten(1)
        if output.ndim not in (2, 4):
            raise UsageError(
                f"the output '{quoted(layer)}' of {self.name} is {'×'.join(map(str, output.shape))}, neither a map nor a vector: "
                f"choose one of {self._known()}"
            )
        return output

    def _smallest(self):
        """The side of the smallest photo it takes, and the outputs for one of a middle size: noise, so that there is something to find."""
        import torch

        problem, least, found = None, None, None
        sizes = [(side, side) for side in SIDES] if self.size is None else [self.size]
        for size in sizes:
            try:
                noise = torch.rand(1, 3, *size, generator=torch.Generator().manual_seed(0))
                found = next(iter(self._run(noise))) if self.locates else self(noise)
                least = least or min(size)
            except RuntimeError as error:  # too small for its strides
                problem = error
        if found is None:
            raise ImgretError(f"{self._path} cannot be run: {probing.told(problem)}")
        return least, found

    def _know_descriptors(self, outputs):
        """Find out how long a descriptor is, and whether it is a row: by the axis that is declared, or by how many keypoints there are."""
        descriptors = outputs[1]
        declared = [isinstance(side, int) for side in self._outputs[self.layers[1]][1][-2:]]
        count = outputs[0].size // 2
        self._rowwise = None
        if descriptors.ndim in (2, 3):
            if sum(declared) == 1:
                self._rowwise = declared[-1]
            elif count and count in descriptors.shape[-2:]:
                self._rowwise = descriptors.shape[-2] == count
        if self._rowwise is None:
            raise ImgretError(
                f"{self._path} does not say how long its descriptors ('{quoted(self.layers[1])}') are: export them with that axis fixed"
            )
        self.dims = [2, descriptors.shape[-1 if self._rowwise else -2], 1][: len(self.layers)]
        self.maps = [False] * len(self.layers)
        try:
            self._keypoints(*outputs)
        except RuntimeError as error:
            raise ImgretError(f"{self._path} gives no keypoints with descriptors: {error}") from None

    def _keypoints(self, places, descriptors, scores=None):
        """The outputs for one photo as `Keypoints`."""
        length = self.dims[1]
        places = _rows(places, 2)
        if not self._rowwise:
            descriptors = np.swapaxes(descriptors, -1, -2)
        descriptors = _rows(descriptors, length)
        scores = np.ones(len(places), dtype=np.float32) if scores is None else scores.reshape(-1)
        if not len(places) == len(descriptors) == len(scores):
            raise RuntimeError(f"{len(places)} keypoints, {len(descriptors)} descriptors and {len(scores)} scores")
        return Keypoints(places, descriptors, scores)


def _rows(array, length):
    """An output of one photo as rows of a length."""
    if array.size and (not array.ndim or array.shape[-1] != length):
        raise RuntimeError(f"an output is {'×'.join(map(str, array.shape))}, rows of {length} are needed")
    return np.ascontiguousarray(array).reshape(-1, length)


def _session(data, path, device):
    """A session of onnxruntime's over a file's bytes, in one thread; types and shapes of its inputs and outputs, by name."""
    try:
        import onnxruntime
    except ImportError:
        raise ImgretError("model=onnx needs onnxruntime: pip install 'imgret[onnx]'") from None
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.use_deterministic_compute = True
    options.enable_mem_pattern = False  # photos have many shapes
    options.add_session_config_entry("session.load_model_format", "ONNX")  # no other, which nothing has looked through
    options.log_severity_level = 4  # what is wrong is told once, by what is raised
    providers = ["CPUExecutionProvider"]
    kind, _, number = device.partition(":")
    if kind != "cpu":
        if kind != "cuda" or "CUDAExecutionProvider" not in onnxruntime.get_available_providers():
            raise ImgretError(f"--device {device}: this onnxruntime runs on cpu only; give --device cpu")
        providers.insert(0, ("CUDAExecutionProvider", {"device_id": int(number or 0)}))
    try:
        session = onnxruntime.InferenceSession(data, options, providers=providers, enable_fallback=0)
        inputs, outputs = (
            {each.name: (each.type, tuple(each.shape)) for each in entries} for entries in (session.get_inputs(), session.get_outputs())
        )
        return session, inputs, outputs
    except Exception as error:  # noqa: BLE001 - onnxruntime's errors have no class in common
        raise ImgretError(f"the weights {path} cannot be run by onnxruntime {onnxruntime.__version__}: {probing.told(error)}") from None
