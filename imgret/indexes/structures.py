"""Which faiss structures are opened: those on a list, walked byte by byte before faiss sees them.

Of a file that may be a stranger's, faiss reads whatever is written there, among it inverted lists that lie in another file, whose path it
opens for writing. So what holds all it needs is listed here with its layout (faiss' impl/index_write.cpp, the same from 1.12 on), and
whatever is not listed, or not laid out so, never reaches faiss. Every count is bounded by the bytes that are left; vectors and codes are
stepped over.
"""

import struct
from typing import NamedTuple

import numpy as np

from imgret.errors import ImgretError
from imgret.indexes.base import damage, must
from imgret.indexes.walks import MOST_DIMENSIONS, TRANSFORMS, Walk, product_quantizer, scalar_quantizer, transform

DEEPEST = 10  # indexes within indexes
MOST_TRANSFORMS = 16


class _Head(NamedTuple):
    dim: int
    rows: int


def check(buffer, empty=False):
    """Refuse what is not on the list, before faiss opens anything.

    Parameters
    ----------
    buffer : ndarray, shape (bytes,), uint8
        What `faiss.serialize_index` gave, or a stranger's.
    empty : bool
        Whether it is one that is yet to be trained.

    Returns
    -------
    list of ndarray, shape (lists + 1,), int64
        Of each inverted file in it whose lists lie one after the other: the byte where each begins, and where the last one ends.

    Raises
    ------
    UnknownStructure
        If it holds a structure that is not listed.
    ImgretError
        If its bytes are not laid out as faiss writes them.
    """
    walk = Walk(buffer, empty)
    try:
        _index(walk)
    except (ValueError, struct.error):
        raise ImgretError(damage("faiss cannot read its structure")) from None
    if walk.at != len(walk.buffer):
        raise ImgretError(damage("its structure ends elsewhere than its bytes"))
    return walk.lists


def _index(walk, *kinds):
    walk.depth += 1
    must(walk.depth <= DEEPEST)
    head = INDEXES[walk.name(kinds or INDEXES)](walk)
    walk.depth -= 1
    return head


def _header(walk):
    dim, rows, _, _, trained, metric = walk.take("iqqq?i")
    must(0 < dim <= MOST_DIMENSIONS and rows >= 0 and (trained or walk.empty))
    must(metric in (0, 1))  # inner product, distance: others have one number more
    return _Head(dim, rows)


# Indexes


def _flat(walk):
    head = _header(walk)
    must(walk.vector(4) == head.rows * head.dim)
    return head


def _scalar(walk):
    head = _header(walk)
    size = scalar_quantizer(walk, head.dim)
    must(walk.vector(1) == head.rows * size)
    return head


def _product(walk):
    head = _header(walk)
    _, _, size = product_quantizer(walk, head.dim)
    must(walk.vector(1) == head.rows * size)
    walk.take("i?i")
    return head


def _product_fast(walk):
    head = _header(walk)
    parts, bits, _ = product_quantizer(walk, head.dim)
    _, block, _, rows, wide = walk.take("iiiQQ")
    must(bits == 4 and wide == parts + parts % 2 and block > 0 and block % 32 == 0)
    must(rows == -(-head.rows // block) * block and walk.vector(1) == rows * wide // 2)
    return head


def _hashes(walk):
    head = _header(walk)
    bits, rotated, shifted = walk.take("i??")
    shifts = walk.vector(4)
    (size,) = walk.take("i")
    shape = transform(walk, "rrot", exact=rotated)
    must(bits > 0 and size == -(-bits // 8) and shape == (head.dim, bits) and (rotated or bits <= head.dim))
    must((walk.empty or shifts == bits or not shifted) and walk.vector(1) == head.rows * size)
    return head


def _graph(*storage):
    def walked(walk):
        head = _header(walk)
        walk.vector(8)
        walk.vector(4)
        must(walk.vector(4) == head.rows and walk.vector(8) == head.rows + 1)
        walk.vector(4)
        walk.take("5i")
        must(_index(walk, *storage) == head)
        return head

    return walked


def _transformed(walk):
    head = _header(walk)
    (count,) = walk.take("i")
    must(1 <= count <= MOST_TRANSFORMS)
    dim = head.dim
    for _ in range(count):
        before, (taken, dim) = dim, transform(walk, *TRANSFORMS, exact=not walk.empty)
        must(taken == before)
    must(_index(walk) == (dim, head.rows))
    return head


def _refined(walk):
    head = _header(walk)
    must(_index(walk) == head and _index(walk) == head)
    walk.take("f")
    return head


# Inverted files


def _inverted(walk):
    head = _header(walk)
    lists, _ = walk.take("QQ")
    coarse = _index(walk)
    must(coarse.dim == head.dim and lists > 0 and (walk.empty or coarse.rows == lists))
    (map_kind,) = walk.take("b")
    must(map_kind == 0 and walk.vector(8) == 0)
    return head, lists


def _inverted_flat(walk):
    head, lists = _inverted(walk)
    _lists(walk, head, lists, 4 * head.dim)
    return head


def _inverted_scalar(walk):
    head, lists = _inverted(walk)
    size = scalar_quantizer(walk, head.dim)
    must(walk.take("Q?")[0] == size)
    _lists(walk, head, lists, size)
    return head


def _inverted_product(walk):
    head, lists = _inverted(walk)
    _, stored = walk.take("?Q")
    _, _, size = product_quantizer(walk, head.dim)
    must(stored == size)
    _lists(walk, head, lists, size)
    return head


def _inverted_fast(walk):
    head, lists = _inverted(walk)
    _, _, block, wide, _, _ = walk.take("?QiQiQ")
    parts, bits, _ = product_quantizer(walk, head.dim)
    must(bits == 4 and wide == parts + parts % 2 and block > 0 and block % 32 == 0)
    walk.name(("ilbl",))
    counted, _, each, size = walk.take("QQQQ")
    must(counted == lists and each == block and size == block * wide // 2)
    rows = 0
    for _ in range(lists):
        ids = walk.vector(8)
        must(walk.vector(1) == -(-ids // block) * size)
        rows += ids
    must(rows == head.rows)
    return head


def _lists(walk, head, lists, size):
    """Lists in memory: their lengths, then codes and row numbers of each."""
    walk.name(("ilar",))
    must(walk.take("QQ") == (lists, size))
    layout = walk.name(("full", "sprs"))
    lengths = walk.numbers("<u8")
    if layout == "full":
        must(len(lengths) == lists)
    else:  # list, length: a list given twice would be read once
        must(len(lengths) % 2 == 0)
        where, lengths = lengths[::2], lengths[1::2]
        must(len(where) <= lists)
        must(not len(where) or (where[-1] < lists and (where[1:] > where[:-1]).all()))
        given, lengths = lengths, np.zeros(0 if walk.empty else lists, "<u8")
        lengths[where] = given
    must(lengths.sum(dtype=np.float64) < 2**62)  # no more than that wraps round
    must(int(lengths.sum()) == head.rows)
    walk.lists.append(walk.at + np.concatenate([[0], lengths.cumsum()]).astype(np.int64) * (size + 8))
    walk.skip(head.rows, size + 8)


INDEXES = {
    "IxFI": _flat,
    "IxF2": _flat,
    "IxFl": _flat,
    "IxSQ": _scalar,
    "IxPq": _product,
    "IPfs": _product_fast,
    "IxHe": _hashes,
    "IHNf": _graph("IxFI", "IxF2", "IxFl"),
    "IHNp": _graph("IxPq"),
    "IHNs": _graph("IxSQ"),
    "IxPT": _transformed,
    "IxRF": _refined,
    "IwFl": _inverted_flat,
    "IwSq": _inverted_scalar,
    "IwPQ": _inverted_product,
    "IwPf": _inverted_fast,
}
