"""Identities: hashes of columns, of JSON and of arrays."""

import hashlib
import json

import numpy as np
import xxhash


def canonical(value):
    """JSON text that is the same for equal values: sorted keys, no spaces, ASCII."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False)


def of_json(value):
    """SHA-256 of a JSON value, hex."""
    return hashlib.sha256(canonical(value).encode()).hexdigest()


def without_places(node):
    """A pipeline's tree without `places`, which say where files were found: they are part of no identity."""
    if not isinstance(node, dict):
        return node
    inputs = {"inputs": [without_places(child) for child in node["inputs"]]} if isinstance(node.get("inputs"), list) else {}
    return {name: value for name, value in node.items() if name != "places"} | inputs


class ColumnHash:
    """XXH3-128 of a column as it streams past: its bytes, then its dtype and shape.

    XXH3 is not cryptographic; it finds bit rot and tells versions of a file apart at memory speed, so that hashing costs a writer
    nothing. Photos themselves are identified by SHA-256.
    """

    def __init__(self):
        self._hash = xxhash.xxh3_128()

    def update(self, block):
        """Add an array's bytes."""
        self._hash.update(np.ascontiguousarray(block).data if block.size else b"")

    def hexdigest(self, dtype, shape):
        """The hash of everything added, as a column of this dtype and shape."""
        self._hash.update(f"{np.dtype(dtype).str}{tuple(int(n) for n in shape)}".encode())
        return self._hash.hexdigest()


class PhotosHash:
    """Hash of photos' names and digests as they stream past: what a `fingerprint` is made of."""

    def __init__(self):
        self._hash = xxhash.xxh3_128()

    def update(self, names, digests):
        """Add photos: their names, and the SHA-256 of each, shape (n, 32), uint8."""
        for name, row in zip(names, digests, strict=True):
            self._hash.update(len(name).to_bytes(8, "little") + name + row.tobytes())

    def hexdigest(self, recipe):
        """The fingerprint of the photos added, under a recipe."""
        return xxhash.xxh3_128(bytes.fromhex(recipe) + self._hash.digest()).hexdigest()


def of_array(array):
    """`ColumnHash` of a whole array, hex."""
    column = ColumnHash()
    column.update(array)
    return column.hexdigest(array.dtype, array.shape)


def of_columns(checksums):
    """`content`: one hash from those of the columns, hex."""
    return xxhash.xxh3_128(canonical(checksums).encode()).hexdigest()
