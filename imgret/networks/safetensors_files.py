"""Files of the safetensors format: a JSON header of names, types, shapes and offsets, then the numbers. What is read is not trusted.

The library reads and writes the numbers; what a file says of itself is read without it.
"""

import dataclasses
import json
import math
import os
import stat
import struct

import numpy as np

from imgret.errors import ImgretError, why

MOST_HEADER = 16 << 20  # bytes; a network of a thousand layers needs a hundredth of it
MOST = 8 << 30  # bytes of a file
LONGEST = 1 << 40  # of a shape's numbers
# type of a file -> numpy's; what numpy has not is read as another that holds it exactly
DTYPES = {
    **{"F64": "<f8", "F32": "<f4", "F16": "<f2", "BF16": "<u2"},
    **{"I64": "<i8", "I32": "<i4", "I16": "<i2", "I8": "<i1"},
    **{"U64": "<u8", "U32": "<u4", "U16": "<u2", "U8": "<u1", "BOOL": "?"},
}


@dataclasses.dataclass(frozen=True)
class Header:
    """What a file says of itself.

    Attributes
    ----------
    metadata : dict of str to str
    tensors : dict of str to (str, tuple of int, tuple of (int, int))
        By name the type ("F32"), the shape, and where its bytes are, counted from the end of the header.
    """

    metadata: dict
    tensors: dict


def read_header(path):
    """What a file says of itself; neither PyTorch nor the library is needed, and nothing but the header is read.

    Parameters
    ----------
    path : str

    Returns
    -------
    Header

    Raises
    ------
    ImgretError
        If the file cannot be read, or is damaged.
    """
    with _opened(path) as file:
        size = os.fstat(file.fileno()).st_size
        beginning, what = file.read(8), f"{path} is"
        return _header(beginning + file.read(_length(beginning, size, what)), size, what)


def read(path):
    """The arrays of a file, by name; bfloat16 as float32.

    Parameters
    ----------
    path : str

    Returns
    -------
    dict of str to ndarray

    Raises
    ------
    ImgretError
    """
    with _opened(path) as file:
        data = file.read(MOST + 1)
    found = {}
    for name, (dtype, shape, content) in entries(data, f"{path} is").items():
        if dtype not in DTYPES:
            raise ImgretError(f"{path}: {name} is of the type {dtype}, which this imgret does not read: upgrade imgret")
        flat = np.frombuffer(content, dtype=DTYPES[dtype])
        if dtype == "BF16":
            flat = (flat.astype(np.uint32) << 16).view(np.float32)
        found[name] = flat.reshape(shape)
    return found


def entries(data, what):
    """The tensors of a file's bytes.

    Parameters
    ----------
    data : bytes
    what : str
        What messages begin with: "w.safetensors is".

    Returns
    -------
    dict of str to (str, list of int, bytearray)
        By name the type, the shape and the bytes.

    Raises
    ------
    ImgretError
        For what is no sound file, by the library's rules and by ours.
    """
    safetensors = _library()
    _header(data[: 8 + _length(data[:8], len(data), what)], len(data), what)
    try:
        return {name: (entry["dtype"], entry["shape"], entry["data"]) for name, entry in safetensors.deserialize(data)}
    except safetensors.SafetensorError:
        raise _damaged(what) from None


def write(path, arrays, metadata):
    """Write a file: the same bytes for the same arrays and metadata. It is not synced.

    Parameters
    ----------
    path : str
    arrays : dict of str to ndarray
    metadata : dict of str to str

    Raises
    ------
    OSError
        If the disk is full, say.
    ImgretError
        If the library is not there.
    """
    _library()
    from safetensors.numpy import save

    data = save({name: np.ascontiguousarray(array).reshape(np.shape(array)) for name, array in arrays.items()})
    start = 8 + struct.unpack("<Q", data[:8])[0]
    # the library writes metadata in an order that differs from run to run
    header = {"__metadata__": dict(sorted(metadata.items()))} | json.loads(data[8:start])
    text = json.dumps(header, ensure_ascii=False, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    with open(path, "wb") as file:
        file.write(struct.pack("<Q", len(text)) + text)
        file.write(memoryview(data)[start:])


def _library():
    try:
        import safetensors
    except ImportError:
        raise ImgretError("files of the safetensors format need their library: pip install 'imgret[cnn]'") from None
    return safetensors


def _opened(path):
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    except OSError as error:
        raise ImgretError(f"{path}: {why(error).lower()}") from None
    status = os.fstat(descriptor)
    if not stat.S_ISREG(status.st_mode) or status.st_size > MOST:
        os.close(descriptor)
        raise ImgretError(f"{path} is {'too large' if stat.S_ISREG(status.st_mode) else 'not a regular file'}")
    return open(descriptor, "rb")


def _length(beginning, size, what):
    """Bytes of the header."""
    length = struct.unpack("<Q", beginning)[0] if len(beginning) == 8 else 0
    if not 2 <= length <= min(size - 8, MOST_HEADER):
        raise _damaged(what)
    return length


def _header(data, size, what):
    """The `Header` of a file of `size` bytes, of which `data` are the first."""
    try:
        found = json.loads(data[8:], object_pairs_hook=_once)
        metadata = found.pop("__metadata__", {})
        tensors = {name: (entry["dtype"], tuple(entry["shape"]), tuple(entry["data_offsets"])) for name, entry in found.items()}
        sound = all(isinstance(text, str) for text in metadata.values()) and _sound(tensors, size - len(data))
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        sound = False
    if not sound:
        raise _damaged(what)
    return Header(metadata, tensors)


def _once(pairs):
    found = dict(pairs)
    if len(found) < len(pairs):
        raise ValueError
    return found


def _sound(tensors, room):
    """Whether tensors lie one behind the other and fill the room, each as long as its shape and type say."""
    end = 0
    for dtype, shape, (first, last) in sorted(tensors.values(), key=lambda entry: entry[2]):
        if not isinstance(dtype, str) or not all(type(number) is int and 0 <= number < LONGEST for number in (first, last, *shape)):
            return False
        if first != end or last < first or (dtype in DTYPES and last - first != math.prod(shape) * np.dtype(DTYPES[dtype]).itemsize):
            return False
        end = last
    return end == room


def _damaged(what):
    return ImgretError(f"{what} no sound .safetensors file: copy the file again")
