"""import: vectors from elsewhere to a vectors store."""

import hashlib
import os

import numpy as np

from imgret.errors import ImgretError
from imgret.pipeline import IMPORTED, Pipeline
from imgret.stages.output import Output
from imgret.store.photos import PhotoWriter
from imgret.store.text import Texts

BLOCK_ROWS = 4096
MAX_NAMES_BYTES = 1 << 30


class Imported:
    """Stands for whatever made the vectors: it cannot describe a photo, and says so."""

    name, version = "imported", 1

    class Params:
        """What is known of the vectors' space."""

        def __init__(self, dim, space):
            self.dim, self.space = dim, space

        def to_json(self):
            """Plain values."""
            return {"dim": self.dim, "space": self.space}

        def places(self):
            """None: it needs no file."""
            return {}

    def __init__(self, dim, space):
        self.params = self.Params(dim, space)


def import_vectors(path, out, *, names, space="", nul=False, overwrite=False, report):
    """Make a vectors store of a `.fvecs` or `.npy` file.

    Parameters
    ----------
    path : str
        `.fvecs` (each row an int32 dimension, then that many float32) or `.npy` (a matrix of floats; pickled objects are refused).
    out : str
    names : str
        A list of names, one per row, in the rows' order (NUL-terminated with `nul`).
    space : str
        What the vectors are, in a word of the user's own: stores of different spaces are not mixed.
    overwrite, report : see `imgret.stages.extract.extract`

    Raises
    ------
    ImgretError
    """
    vectors = _open(path)
    listed = _names(names, nul)
    if len(listed) != len(vectors):
        raise ImgretError(f"{path} has {len(vectors)} rows, {names} has {len(listed)} names: give one name per row, in the same order")
    order = sorted(range(len(listed)), key=listed.__getitem__)
    for first, second in zip(order, order[1:], strict=False):
        if listed[first] == listed[second]:
            raise ImgretError(f"{names}: the name '{os.fsdecode(listed[first])}' is there twice, in lines {first + 1} and {second + 1}")
    source = Imported(int(vectors.shape[1]), space)
    made_of = [
        {"path": path, "kind": "vectors file", "content": _digest(path)},
        {"path": names, "kind": "names", "content": _digest(names)},
    ]
    output = Output(out, "vectors", {"step": "import", "params": source.params.to_json()}, made_of, overwrite)
    if output.up_to_date(report):
        return
    count, texts = len(listed), Texts.of(listed[row] for row in order)
    totals = {"N": count, "F": 0, "bytes of names": len(texts.flat)}
    totals |= {f"bytes of failed/{name}": 0 for name in ("names", "code", "reason")}
    with output.create(Pipeline.of(IMPORTED, source)) as writer:
        photos = PhotoWriter(writer, "vectors", {"vectors": ((vectors.shape[1],), np.float32, {})}, totals)
        empty = {"image_size": np.zeros((count, 2)), "digest": np.zeros((count, 32), np.uint8)}
        photos.photos(texts, empty | {"file_size": np.full(count, -1), "file_mtime_ns": np.full(count, -1)})
        for start in range(0, count, BLOCK_ROWS):
            with np.errstate(over="ignore"):  # what float32 cannot hold is refused below
                block = vectors[order[start : start + BLOCK_ROWS]].astype(np.float32)
            if not np.isfinite(block).all():
                bad = order[start + int(np.flatnonzero(~np.isfinite(block).all(axis=1))[0])]
                raise ImgretError(f"{path}: row {bad + 1} holds NaN or infinite values")
            photos.rows(vectors=block)
        writer.fingerprint = photos.fingerprint(output.recipe)
    report.note(f"{output.shown}: {count} vectors of {vectors.shape[1]} dimensions")


def _open(path):
    if not os.path.isfile(path):
        raise ImgretError(f"{path}: there is no such file")
    if path.endswith(".npy"):
        try:
            vectors = np.load(path, mmap_mode="r", allow_pickle=False)
        except Exception as error:  # noqa: BLE001 - a header by a stranger is parsed
            raise ImgretError(f"{path} is not a .npy file of plain numbers ({' '.join(str(error).split())[:100]})") from None
        if not isinstance(vectors, np.ndarray):
            raise ImgretError(f"{path} is an archive of arrays, not a .npy file")
        if vectors.ndim != 2 or vectors.dtype.kind not in "fiu":
            raise ImgretError(f"{path} must hold a matrix of numbers, it has {vectors.ndim} axes of {vectors.dtype}")
    elif path.endswith(".fvecs"):
        vectors = _open_fvecs(path)
    else:
        raise ImgretError(f"{path}: only .fvecs and .npy can be imported")
    if not vectors.size:
        raise ImgretError(f"{path} holds no vectors")
    return vectors


def _open_fvecs(path):
    size = os.path.getsize(path)
    head = np.fromfile(path, dtype="<i4", count=1)
    dim = int(head[0]) if len(head) else 0
    if dim < 1 or size % (4 * (dim + 1)):
        raise ImgretError(f"{path} is not a .fvecs file: {size} bytes are not whole rows of {dim} dimensions")
    table = np.memmap(path, dtype="<f4", mode="r").reshape(-1, dim + 1)
    wrong = np.flatnonzero(table.view("<i4")[:, 0] != dim)
    if len(wrong):
        raise ImgretError(f"{path} is not a .fvecs file: row {int(wrong[0]) + 1} has another dimension than the first")
    return table[:, 1:]


def _names(path, nul):
    try:
        with open(path, "rb") as file:
            data = file.read(MAX_NAMES_BYTES + 1)
    except OSError as error:
        raise ImgretError(f"--names {path}: {os.strerror(error.errno).lower()}") from None
    if len(data) > MAX_NAMES_BYTES:
        raise ImgretError(f"--names {path} has more than {MAX_NAMES_BYTES} bytes")
    parts = data.split(b"\0") if nul else [line.removesuffix(b"\r") for line in data.split(b"\n")]
    if parts and not parts[-1]:
        parts.pop()
    if b"" in parts:
        raise ImgretError(f"--names {path}, line {parts.index(b'') + 1}: the name is empty")
    return parts


def _digest(path):
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
