"""Names to tensors: read from a file that is not trusted, fitted to a network."""

import hashlib
import io
import warnings
import zipfile

from imgret.errors import ImgretError, listed
from imgret.networks import safetensors_files

SHOWN = 3  # names of keys in a message
DEEPEST = 3  # dicts within dicts, and parts of a prefix
# under what checkpoints have a network, of several that fit the first: what was trained before its moving average
WRAPPERS = ("state_dict", "model_state_dict", "model", "net", "network", "module", "backbone", "encoder", "teacher", "student")
DTYPES = ("float64", "float32", "float16", "bfloat16", "int64", "int32", "int16", "int8", "uint8", "bool")
# types of .safetensors files that can be used
SAFETENSORS = {
    **{"F64": "float64", "F32": "float32", "F16": "float16", "BF16": "bfloat16"},
    **{"I64": "int64", "I32": "int32", "I16": "int16", "I8": "int8", "U8": "uint8", "BOOL": "bool"},
}


def load(path, data, fitting=None):
    """A state_dict: names to tensors.

    Parameters
    ----------
    path : str
        For messages; a name that ends in .safetensors is read as such.
    data : bytes
    fitting : callable, optional
        How many of a state_dict's names a network has. A checkpoint may have several, in dicts within dicts, and all names of one may begin
        alike (`module.`, `model.backbone.`): what fits best is taken.

    Returns
    -------
    dict of str to torch.Tensor

    Raises
    ------
    ImgretError
        For anything but tensors: code in a pickle is refused, and nothing of it run.
    """
    return chosen(path, tensors(path, data) if path.endswith(".safetensors") else _pickled(path, data), fitting)


def chosen(path, state, fitting=None):
    """The state_dict in what a file holds; see `load`."""
    choices = [choice for found in _state_dicts(state) for choice in _without_prefixes(found)]
    if not choices:
        raise _none_there(path, state)
    return choices[0] if fitting is None or len(choices) == 1 else max(choices, key=fitting)


def _state_dicts(value, depth=0):
    """Yield every state_dict of a checkpoint; the usual wrappers come first."""
    if not isinstance(value, dict) or not value or not all(isinstance(name, str) for name in value):
        return
    tensors, dicts = (sum(map(test, value.values())) for test in (_plain, lambda inner: isinstance(inner, dict)))
    if tensors == len(value):
        yield value
    elif depth < DEEPEST and dicts >= tensors:  # else it is a state_dict with something else in it
        for name in sorted(value, key=lambda name: WRAPPERS.index(name) if name in WRAPPERS else len(WRAPPERS)):
            yield from _state_dicts(value[name], depth + 1)


def _without_prefixes(state):
    """Yield a state_dict as it is, and without the first parts that all its names have in common."""
    yield state
    parts = [name.split(".") for name in (min(state), max(state))]  # what these two share, all do
    for count in range(1, min(DEEPEST + 1, *map(len, parts))):
        if parts[0][:count] != parts[1][:count]:
            return
        start = len(".".join(parts[0][:count])) + 1
        yield {name[start:]: value for name, value in state.items()}


def _none_there(path, state):
    """What to say of a checkpoint without a state_dict."""
    for name in WRAPPERS:
        if isinstance(state, dict) and isinstance(state.get(name), dict):
            state = state[name]
    if not isinstance(state, dict) or not state or not all(isinstance(name, str) for name in state):
        return ImgretError(f"the weights {path} are no state_dict: save model.state_dict(), names to tensors")
    odd = [name for name, value in state.items() if not _plain(value)]
    return ImgretError(f"the weights {path} hold something else than tensors ({_listed(odd)}): save model.state_dict() alone")


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


def tensors(path, data):
    """The tensors of a .safetensors file, by the names it has for them.

    Raises
    ------
    ImgretError
    """
    import torch

    state = {}
    for name, (dtype, shape, content) in safetensors_files.entries(data, f"the weights {path} are").items():
        if dtype not in SAFETENSORS:
            raise ImgretError(f"the weights {path}: {name} is of the type {dtype}, which cannot be used: save it as float32")
        kind = getattr(torch, SAFETENSORS[dtype])
        flat = torch.frombuffer(content, dtype=torch.uint8 if dtype == "BOOL" else kind) if content else torch.empty(0, dtype=kind)
        state[name] = flat.to(kind).reshape(shape)
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


def _listed(names):
    return listed(names, SHOWN)


def _shape(tensor):
    return "×".join(map(str, tensor.shape)) or "a number"
