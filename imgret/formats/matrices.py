"""Matrices in files of other programs: `.npy`, and `.fvecs`, `.bvecs`, `.ivecs` of TEXMEX, BIGANN and faiss.

Each row of the latter is its length, an int32, then that many float32, uint8 or int32; little-endian, all rows alike.
"""

import io
import os

import numpy as np

from imgret.errors import ImgretError

ELEMENTS = {"fvecs": "<f4", "bvecs": "u1", "ivecs": "<i4"}
BLOCK_BYTES = 16 << 20  # of rows held at once
MAX_DIM = 1 << 24


def block_rows(row_bytes):
    """Rows that make up a block."""
    return max(1, min(4096, BLOCK_BYTES // max(1, row_bytes)))


def open_matrix(path, form):
    """A matrix in a file, as a read-only map: nothing is read until it is touched.

    Parameters
    ----------
    path : str
    form : {"fvecs", "bvecs", "ivecs", "npy"}

    Returns
    -------
    ndarray, shape (N, D)
        Neither N nor D is 0.

    Raises
    ------
    ImgretError
    """
    if not os.path.isfile(path):
        raise ImgretError(f"{path}: there is no such file")
    matrix = _open_npy(path) if form == "npy" else _open_vecs(path, form)
    if not matrix.size:
        raise ImgretError(f"{path} holds no vectors")
    return matrix


def _open_npy(path):
    try:
        matrix = np.load(path, mmap_mode="r", allow_pickle=False)
    except Exception as error:  # noqa: BLE001 - a header by a stranger is parsed
        raise ImgretError(f"{path} is not a .npy file of plain numbers ({' '.join(str(error).split())[:100]})") from None
    if not isinstance(matrix, np.ndarray):
        raise ImgretError(f"{path} is an archive of arrays, not a .npy file")
    if matrix.ndim != 2 or matrix.dtype.kind not in "fiu":
        raise ImgretError(f"{path} must hold a matrix of numbers, it has {matrix.ndim} axes of {matrix.dtype}")
    return matrix


def _open_vecs(path, form):
    size = os.path.getsize(path)
    head = np.fromfile(path, dtype="<i4", count=1)
    dim = int(head[0]) if len(head) else 0
    if dim > MAX_DIM:
        raise ImgretError(f"{path} is not a .{form} file: its first row would have {dim} dimensions")
    if dim < 1 or size % (4 + dim * np.dtype(ELEMENTS[form]).itemsize):
        raise ImgretError(f"{path} is not a .{form} file: {size} bytes are not whole rows of {dim} dimensions")
    table = np.memmap(path, dtype=[("dim", "<i4"), ("row", ELEMENTS[form], (dim,))], mode="r")
    step = block_rows(table.itemsize)
    for start in range(0, len(table), step):
        wrong = np.flatnonzero(table["dim"][start : start + step] != dim)
        if len(wrong):
            raise ImgretError(f"{path} is not a .{form} file: row {start + int(wrong[0]) + 1} has another dimension than the first")
    return table["row"]


def encode_rows(block, form):
    """Rows (n, D) as the bytes that they take in a file; of `.npy` without its header.

    Raises
    ------
    ValueError
        For a value that is no whole number from 0 to 255, in `.bvecs`: (row, value).
    """
    if form == "npy":
        return np.ascontiguousarray(block, dtype=block.dtype.newbyteorder("<")).tobytes()
    if form == "bvecs" and block.dtype != np.uint8:
        wrong = ~((block >= 0) & (block <= 255) & (block == np.floor(block)))
        if wrong.any():
            row, column = np.argwhere(wrong)[0]
            raise ValueError(int(row), float(block[row, column]))
    table = np.empty(len(block), dtype=[("dim", "<i4"), ("row", ELEMENTS[form], (block.shape[1],))])
    table["dim"], table["row"] = block.shape[1], block
    return table.tobytes()


def npy_header(shape, dtype):
    """The bytes with which a `.npy` file of this shape and dtype begins."""
    file = io.BytesIO()
    little = np.dtype(dtype).newbyteorder("<")
    np.lib.format.write_array_header_1_0(
        file, {"shape": tuple(map(int, shape)), "fortran_order": False, "descr": np.lib.format.dtype_to_descr(little)}
    )
    return file.getvalue()
