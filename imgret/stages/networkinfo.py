"""What `info` says of .safetensors files: networks that imgret trained, and those of others."""

import json
import os

import numpy as np

from imgret.errors import ImgretError
from imgret.networks import safetensors_files, trained
from imgret.runs.history import failed_of, history_of
from imgret.runs.networkfiles import NetworkFile
from imgret.store.reader import is_hdf5

KIND, OTHERS = trained.KIND, "safetensors"  # what `kind` says of the two
PREFIX = 9  # bytes: how long the header is, and how it begins


def is_network(path):
    """Whether a file is to be read as .safetensors: its name or its first bytes say so."""
    if not os.path.isfile(path) or is_hdf5(path):
        return False
    try:
        with open(path, "rb") as file:
            start = file.read(PREFIX)
    except OSError:
        return False
    sound = len(start) == PREFIX and start[8:] == b"{" and int.from_bytes(start[:8], "little") < os.path.getsize(path)
    return sound or os.fsdecode(path).endswith(trained.ENDING)


def describe(path):
    """Everything about such a file, as JSON.

    Parameters
    ----------
    path : str

    Returns
    -------
    dict
        path, kind (`network`, or `safetensors` where imgret did not train it), file_size, and columns (shape and dtype of each tensor,
        as the format names them); of a network schema_version, generated_by, recipe, content, params, inputs, extract (what
        `extract -m cnn` takes from it), history and failed (a number); of another file its metadata.

    Raises
    ------
    ImgretError
        If it is damaged, or was made by a newer imgret.
    """
    header = safetensors_files.read_header(path)
    metadata = trained.metadata_of(path, header)
    facts = {"path": path, "kind": OTHERS if metadata is None else KIND, "file_size": os.path.getsize(path)}
    if metadata is None:
        facts["metadata"] = dict(header.metadata)
    else:
        file = NetworkFile(path)
        facts |= {"schema_version": int(metadata["schema_version"]), "generated_by": file.generated_by}
        facts |= {"recipe": file.recipe, "content": file.content, "params": file.params, "inputs": file.inputs}
        facts |= {"extract": file.extract, "history": file.history, "failed": len(failed_of(file))}
        history_of(file)
    facts["columns"] = {name: {"shape": list(shape), "dtype": dtype} for name, (dtype, shape, _) in header.tensors.items()}
    try:
        json.dumps(facts, allow_nan=False)
    except (ValueError, RecursionError):
        raise ImgretError(f"{path} is damaged: what it says of itself holds what is no JSON") from None
    return facts


def failed_photos(path):
    """Photos that could not be used: a list of dicts with name, code and reason; none of a file of others."""
    return [] if trained.metadata_of(path) is None else failed_of(NetworkFile(path))


def check(path):
    """Everything that is wrong with the tensors, one sentence each; an empty list where they are sound."""
    problems = [] if trained.metadata_of(path) is None else list(NetworkFile(path).problems())
    for name, array in safetensors_files.read(path).items():
        if np.issubdtype(array.dtype, np.inexact) and not np.isfinite(array).all():
            problems.append(f"{name} holds NaN or infinite values")
    return problems
