"""Identities: hashes of columns, of JSON and of arrays."""

import hashlib
import json

import numpy as np
import xxhash

from imgret.errors import ImgretError
from imgret.store.sameness import Sameness

JSON = ("params", "inputs", "pipeline", "info", "facts")  # the documents that have a checksum


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


def pipeline_hashes(node):
    """Yield the hash of every array that a pipeline's tree names.

    Raises
    ------
    ImgretError
        If the tree is not one.
    """
    if node is None:
        return
    if not isinstance(node, dict) or not isinstance(node.get("arrays", {}), dict) or not isinstance(node.get("inputs", []), list):
        raise ImgretError("its pipeline is not a tree of components")
    for digest in node.get("arrays", {}).values():
        if not isinstance(digest, str):
            raise ImgretError("its pipeline names an array by something else than its hash")
        yield digest
    for child in node.get("inputs", []):
        yield from pipeline_hashes(child)


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
    """Hash of photos' names and digests as they stream past: what a `fingerprint` is made of.

    Attributes
    ----------
    photos : imgret.store.sameness.Sameness
        Which photos they are, in whichever order.
    """

    def __init__(self):
        self._hash, self.photos = xxhash.xxh3_128(), Sameness()

    def update(self, names, digests):
        """Add photos: their names, and the SHA-256 of each, shape (n, 32), uint8."""
        for name, row in zip(names, digests, strict=True):
            digest = row.tobytes()
            self._hash.update(len(name).to_bytes(8, "little") + name + digest)
            self.photos.add(name, digest)

    def hexdigest(self, recipe):
        """The fingerprint of the photos added, under a recipe."""
        return xxhash.xxh3_128(bytes.fromhex(recipe) + self._hash.digest()).hexdigest()


def of_array(array):
    """`ColumnHash` of a whole array, hex."""
    column = ColumnHash()
    column.update(array)
    return column.hexdigest(array.dtype, array.shape)


def origin_of(arrays):
    """What a photo's `origin` is: XXH3-64 of the bytes of some arrays, one after the other."""
    digest = xxhash.xxh3_64()
    for array in arrays:
        digest.update(np.ascontiguousarray(array).data if array.size else b"")
    return digest.intdigest()


def of_columns(checksums):
    """`content`: one hash from those of the columns, hex."""
    return xxhash.xxh3_128(canonical(checksums).encode()).hexdigest()


def content_of(kind, checksums, array_hashes):
    """`content`: one hash over the columns that count, params, facts and the pipeline with its arrays.

    Parameters
    ----------
    kind : imgret.store.schema.Kind
    checksums : dict of str to str
        Of columns by path, of documents by "@" and name; what begins with "#" does not count: see `imgret.store.verifying`.
    array_hashes : iterable of str
    """
    unhashed = {column.path for column in kind.columns if not column.hashed} | {"@inputs", "@info"}
    counted = {path: digest for path, digest in checksums.items() if path not in unhashed and not path.startswith("#")}
    return of_columns({"kind": kind.name, "columns": counted, "arrays": sorted(set(array_hashes))})


def checksums_of_json(values):
    """Checksums of documents: "@" and name -> hex. `values` maps names of `JSON` to what they hold."""
    return {f"@{name}": of_json(without_places(value) if name == "pipeline" else value) for name, value in values.items()}
