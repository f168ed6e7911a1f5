"""Files of the safetensors format: what is in them, read without trusting them."""

import dataclasses
import json
import os
import struct

from imgret.errors import ImgretError

MOST_HEADER = 100 << 20


@dataclasses.dataclass(frozen=True)
class Header:
    metadata: dict
    tensors: dict


def read_header(path):
    with open(path, "rb") as file:
        size = os.fstat(file.fileno()).st_size
        head = file.read(8)
        length = struct.unpack("<Q", head)[0] if len(head) == 8 else 0
        if not 2 <= length <= min(size - 8, MOST_HEADER):
            raise ImgretError(f"{path} is no sound .safetensors file: copy the file again")
        found = json.loads(file.read(length))
    metadata = found.pop("__metadata__", {})
    return Header(metadata, {name: (e["dtype"], tuple(e["shape"]), tuple(e["data_offsets"])) for name, e in found.items()})


def write(path, arrays, metadata):
    from safetensors.numpy import save_file

    save_file(arrays, path, metadata)


def read(path):
    from safetensors.numpy import load_file

    return load_file(path)
