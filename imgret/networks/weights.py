"""A network's weights: finding the file, reading it without trusting it, fitting it to the network."""

import hashlib
import io
import json
import math
import os
import re
import stat
import struct
import warnings
import zipfile

from imgret.errors import ImgretError, why

MAX_BYTES = 8 << 30  # of a file, and of what it unpacks to
SHOWN = 3  # names of keys in a message
FOLDER = "IMGRET_WEIGHTS"  # the environment variable that names a folder of weights
DENSENET = re.compile(r"^(.*denselayer\d+\.(?:norm|relu|conv))\.([12]\.)")  # as old files spell it: norm.1 for norm1
DTYPES = ("float64", "float32", "float16", "bfloat16", "int64", "int32", "int16", "int8", "uint8", "bool")
SAFETENSORS = {"F64": "float64", "F32": "float32", "F16": "float16", "BF16": "bfloat16", "I64": "int64", "I32": "int32"}


def find(recorded, digest="", given=(), missing=""):
    """The bytes of a weights file.

    Parameters
    ----------
    recorded : str
        Its path, as asked for or as recorded; where there is no such file, one of that name in the folder $IMGRET_WEIGHTS.
    digest : str
        SHA-256 that it must have, hex; any, if empty.
    given : sequence of str
        Files to look at first; of these the one with the digest counts.
    missing : str
        What to say where there is none.

    Returns
    -------
    path : str
    data : bytes
    digest : str

    Raises
    ------
    ImgretError
    """
    others = []
    for path in given:
        data = _read(path, "--weights")
        found = hashlib.sha256(data).hexdigest()
        if not digest or found == digest:
            return path, data, found
        others.append(f"--weights {path} is another file (SHA-256 {found[:12]}) than the one that was used ({digest[:12]})")
    folder = os.environ.get(FOLDER)
    path = recorded
    if not os.path.exists(path) and folder and os.path.exists(os.path.join(folder, os.path.basename(path))):
        path = os.path.join(folder, os.path.basename(path))
    if not os.path.exists(path):
        remedy = f"give --weights, or name its folder in {FOLDER}" if digest else f"check the path, or name its folder in {FOLDER}"
        raise ImgretError(others[0] if others else missing or f"the weights {recorded}: there is no such file; {remedy}")
    data = _read(path, "the weights")
    found = hashlib.sha256(data).hexdigest()
    if digest and found != digest:
        used = f"the weights {path} are another file (SHA-256 {found[:12]}) than the one that was used ({digest[:12]})"
        raise ImgretError(others[0] if others else f"{used}: give it with --weights")
    return path, data, found


def _read(path, what):
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
        try:
            status = os.fstat(descriptor)
            if not stat.S_ISREG(status.st_mode):
                kind = "a folder" if stat.S_ISDIR(status.st_mode) else "not a regular file"
                raise ImgretError(f"{what} {path}: it is {kind}")
            if status.st_size > MAX_BYTES:
                raise ImgretError(f"{what} {path}: the file has {status.st_size} bytes, the limit is {MAX_BYTES}")
            with open(descriptor, "rb", closefd=False) as file:
                return file.read(MAX_BYTES + 1)
        finally:
            os.close(descriptor)
    except OSError as error:
        raise ImgretError(f"{what} {path}: {why(error).lower()}") from None


def load(path, data):
    """A state_dict: names to tensors.

    Parameters
    ----------
    path : str
        For messages; a name that ends in .safetensors is read as such.
    data : bytes

    Returns
    -------
    dict of str to torch.Tensor
        A prefix `module.` that all names have is taken off; a checkpoint's `state_dict` or `model` is taken out of it.

    Raises
    ------
    ImgretError
        For anything but tensors: code in a pickle is refused, and nothing of it run.
    """
    state = _safetensors(path, data) if path.endswith(".safetensors") else _pickled(path, data)
    for name in ("state_dict", "model"):
        if isinstance(state, dict) and isinstance(state.get(name), dict):
            state = state[name]

    if not isinstance(state, dict) or not state or not all(isinstance(name, str) for name in state):
        raise ImgretError(f"the weights {path} are no state_dict: save model.state_dict(), names to tensors")
    odd = [name for name, value in state.items() if not _plain(value)]
    if odd:
        raise ImgretError(f"the weights {path} hold something else than tensors ({_listed(odd)}): save model.state_dict() alone")
    if all(name.startswith("module.") for name in state):
        state = {name.removeprefix("module."): value for name, value in state.items()}
    return state


def _plain(value):
    """Whether it is a dense tensor whose numbers are all there: one may claim terabytes by strides of 0."""
    import torch

    if not isinstance(value, torch.Tensor) or value.layout != torch.strided or value.is_meta:
        return False
    if str(value.dtype).removeprefix("torch.") not in DTYPES:
        return False
    return value.numel() * value.element_size() <= value.untyped_storage().nbytes()


def _pickled(path, data):
    import torch

    if not data:
        raise ImgretError(f"the weights {path} cannot be read: the file is empty")
    try:
        if zipfile.is_zipfile(io.BytesIO(data)):
            entries = zipfile.ZipFile(io.BytesIO(data)).infolist()
            if sum(entry.file_size for entry in entries) > len(data):  # what torch.save writes is not compressed
                raise ImgretError(f"the weights {path} are compressed, or TorchScript: save model.state_dict() by torch.save")
    except (zipfile.BadZipFile, ValueError, OSError, NotImplementedError, UnicodeError):
        raise ImgretError(f"the weights {path} are damaged: copy the file again") from None
    if data[:2] not in (b"PK", b"\x80\x02"):  # what every file of torch.save begins with
        raise ImgretError(f"the weights {path} are no file that torch.save has written")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about how a file was pickled
            return torch.load(io.BytesIO(data), map_location="cpu", weights_only=True)
    except MemoryError:
        raise ImgretError(f"the weights {path} do not fit into memory") from None
    except Exception as error:  # noqa: BLE001 - torch raises anything over a damaged or hostile file
        text = " ".join(str(error).split())
        if "Unsupported" in text or "GLOBAL" in text or "Weights only load failed" in text:
            raise ImgretError(
                f"the weights {path} hold more than tensors (pickled code?); nothing of it was run: save model.state_dict()"
            ) from None
        raise ImgretError(f"the weights {path} cannot be read: {text[:120] or type(error).__name__}") from None


def _safetensors(path, data):
    """A .safetensors file: eight bytes of header length, a JSON header of dtypes, shapes and offsets, the tensors' bytes."""
    import torch

    damaged = ImgretError(f"the weights {path} are no sound .safetensors file: copy the file again")
    length = struct.unpack("<Q", data[:8])[0] if len(data) >= 8 else 0
    if not 2 <= length <= min(len(data) - 8, 100 << 20):
        raise damaged
    body, entries = memoryview(data)[8 + length :], []
    try:
        for name, entry in json.loads(data[8 : 8 + length]).items():
            if name == "__metadata__":
                continue
            first, last = entry["data_offsets"]
            shape, dtype = entry["shape"], getattr(torch, SAFETENSORS[entry["dtype"]])
            if not isinstance(shape, list) or not all(isinstance(n, int) and 0 <= n < 1 << 40 for n in (first, last, *shape)):
                raise damaged
            if last > len(body):
                raise damaged
            if last - first != math.prod(shape) * dtype.itemsize:
                raise damaged
            entries.append((first, last, name, shape, dtype))
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        raise damaged from None
    entries.sort(key=lambda entry: entry[:2])
    # what several names share would be copied for each of them
    if any(later[0] < entry[1] for entry, later in zip(entries, entries[1:], strict=False)):
        raise damaged
    state = {}
    for first, last, name, shape, dtype in entries:
        flat = torch.frombuffer(bytearray(body[first:last]), dtype=dtype) if last > first else torch.empty(0, dtype=dtype)
        state[name] = flat.reshape(shape)
    return state


def fit(state, model, name, path):
    """Give a model its weights, as float32.

    Parameters
    ----------
    state : dict of str to torch.Tensor
    model : torch.nn.Module
        It may be on the meta device.
    name, path : str
        The network's name and the file's, for messages.

    Raises
    ------
    ImgretError
        For missing and unexpected names, shapes that differ, values that are not finite.
    """
    import torch

    if name.startswith("densenet"):
        state = {DENSENET.sub(r"\1\2", key): value for key, value in state.items()}
    wanted = model.state_dict()
    missing = [key for key in wanted if key not in state and not key.endswith("num_batches_tracked")]
    unexpected = [key for key in state if key not in wanted]
    if missing or unexpected:
        words = [f"{len(missing)} missing ({_listed(missing)})"] if missing else []
        words += [f"{len(unexpected)} unexpected ({_listed(unexpected)})"] if unexpected else []
        raise ImgretError(f"the weights {path} are not those of {name}: {', '.join(words)}; is `model` right?")
    for key, value in wanted.items():
        if key in state and state[key].shape != value.shape:
            raise ImgretError(
                f"the weights {path} are not those of {name}: {key} is {_shape(state[key])}, {_shape(value)} is needed; is `model` right?"
            )
    kept = {}
    for key, value in wanted.items():
        tensor = state.get(key)
        if tensor is None or key.endswith("num_batches_tracked"):  # a count of the training, which `half` makes a float
            kept[key] = torch.zeros(value.shape, dtype=value.dtype)
            continue
        if value.dtype.is_floating_point != tensor.dtype.is_floating_point:
            raise ImgretError(f"the weights {path}: {key} is {str(tensor.dtype).removeprefix('torch.')}, floating point is needed")
        kept[key] = tensor.to(torch.float32 if value.dtype.is_floating_point else value.dtype)
        if not torch.isfinite(kept[key]).all():
            raise ImgretError(f"the weights {path}: {key} holds NaN or infinite values")
    model.load_state_dict(kept, assign=True)


def digest_of(state):
    """SHA-256 over names and values, for weights that came from no file, hex."""
    total = hashlib.sha256()
    for name, value in sorted(state.items()):
        total.update(name.encode() + b"\0" + value.detach().cpu().contiguous().numpy().tobytes())
    return total.hexdigest()


def imagenet(model):
    """torchvision's default ImageNet weights of a network: the file that belongs into its cache, mean and std.

    Returns
    -------
    path : str
    mean, std : tuple of float
    missing : str
        What to say where the file is not there: a step never downloads.

    Raises
    ------
    ImgretError
        If it has none.
    """
    import torch
    import torchvision

    choices = list(torchvision.models.get_model_weights(model))
    if not choices:
        raise ImgretError(f"torchvision has no ImageNet weights for {model}: give a file with --set weights=FILE")
    best = torchvision.models.get_model_weights(model).DEFAULT
    transforms = best.transforms()
    mean, std = tuple(map(float, transforms.mean)), tuple(map(float, transforms.std))
    file = os.path.basename(best.url)
    path = os.path.join(torch.hub.get_dir(), "checkpoints", file)
    missing = (
        f"the ImageNet weights of {model} are not here, and a step downloads nothing: put {file} ({best.url}) into "
        f"{os.path.dirname(path)}, or run scripts/fetch_weights.py {model} where there is a network"
    )
    return path, mean, std, missing


def _listed(names):
    return ", ".join(name[:80] for name in names[:SHOWN]) + (", ..." if len(names) > SHOWN else "")


def _shape(tensor):
    return "×".join(map(str, tensor.shape)) or "a number"
