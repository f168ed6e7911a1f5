"""Networks that imgret trained: what their files say of themselves, and how it becomes the default of what is not set."""

import dataclasses
import hashlib
import json
import os

import numpy as np

from imgret.errors import ImgretError, UsageError
from imgret.networks import safetensors_files

FORMAT, KIND, SCHEMA = "imgret", "network", 1
ENDING = ".safetensors"
BACKBONE, HEAD = "backbone.", "head."  # what names of tensors begin with


def metadata_of(path, header=None):
    """What a network file says of itself.

    Parameters
    ----------
    path : str
    header : imgret.networks.safetensors_files.Header, optional
        Of the file, where it has been read already.

    Returns
    -------
    dict of str to str, or None
        None where it is not of imgret.

    Raises
    ------
    ImgretError
        If it is damaged, or was made by a newer imgret.
    """
    found = (safetensors_files.read_header(path) if header is None else header).metadata
    if found.get("format") != FORMAT or found.get("kind") != KIND:
        return None
    version = found.get("schema_version", "")
    if not version.isdecimal() or len(version) > 6:
        raise ImgretError(f"{path} is damaged: it does not say which version of the format it has")
    if int(version) > SCHEMA:
        raise ImgretError(f"{path} has version {version} of the format of networks, this imgret reads {SCHEMA}: upgrade imgret")
    return found


def document(path, metadata, name, kind=dict):
    """One of the JSON texts of a network file's metadata, checked to be of a kind.

    Raises
    ------
    ImgretError
    """
    try:
        value = json.loads(metadata[name])
    except (KeyError, ValueError, RecursionError):
        value = None
    if not isinstance(value, kind):
        raise ImgretError(f"{path} is damaged: its {name} cannot be read; train it again, or copy the file again")
    return value


def described_by(path):
    """The parameters of `extract -m cnn` that a network was trained for; {} of any other file.

    Raises
    ------
    ImgretError
    """
    if not path.endswith(ENDING) or not os.path.isfile(path):
        return {}
    metadata = metadata_of(path)
    return {} if metadata is None else document(path, metadata, "extract")


class FromWeights:
    """Parameters whose defaults are what the weights were trained for, where `weights` names a network of imgret."""

    @classmethod
    def parse(cls, settings, **given):
        """Parameters from `NAME=VALUE` strings; see `imgret.registry.Params.parse`."""
        settings = (settings,) if isinstance(settings, str) else tuple(settings)
        texts = {name.strip().replace("-", "_"): value.strip() for name, _, value in (each.partition("=") for each in settings)}
        path = given.get("weights") or texts.get("weights", "")
        found = described_by(path)
        if found:
            fields = {each.name for each in dataclasses.fields(cls)}
            if "pool" in texts and texts["pool"] != found.get("pool"):  # another head: what belongs to the network and its photos stays
                found = {name: value for name, value in found.items() if name in cls.OF_NETWORK}
            unknown = sorted(set(found) - fields)
            if unknown:
                raise ImgretError(f"{path} was trained with `{unknown[0]}`, which this imgret does not know: upgrade imgret")
            values = {name: tuple(value) if isinstance(value, list) else value for name, value in found.items()}
            given = {name: value for name, value in values.items() if name not in texts} | {
                name: value for name, value in given.items() if value is not None
            }
            try:
                super().parse((), **values)  # what the file says has to be sound by itself
            except UsageError as error:
                raise ImgretError(f"{path} is damaged, it was trained with what cannot be: {error}") from None
        return super().parse(settings, **given)


def content_of(arrays):
    """The identity of a network file's tensors: SHA-256 over names, types, shapes and bytes, hex.

    Parameters
    ----------
    arrays : dict of str to ndarray
    """
    total = hashlib.sha256()
    for name in sorted(arrays):
        array = arrays[name]
        total.update(f"{name}\0{array.dtype.str}{tuple(map(int, array.shape))}\0".encode())
        total.update(np.ascontiguousarray(array).data if array.size else b"")
    return total.hexdigest()
