"""A serialised faiss structure, walked byte by byte: its numbers, quantisers and transforms (see `imgret.indexes.structures`)."""

import struct

import numpy as np

from imgret.errors import ImgretError
from imgret.indexes.base import must

MOST_DIMENSIONS = 1 << 20  # faiss' own limit
SQ_BITS = {0: 8, 1: 4, 2: 8, 3: 4, 4: 16, 5: 8, 6: 6, 7: 16, 8: 8}  # by the number of the quantiser's type
SQ_RANGES = {0: "each", 1: "each", 2: "one", 3: "one", 6: "each"}  # others learn nothing


class UnknownStructure(ImgretError):
    """Of what no file is opened.

    Parameters
    ----------
    what : str
        Its name.
    at : int
        The byte where it begins.
    """

    def __init__(self, what, at):
        super().__init__(
            f"the index holds a structure that is not opened from a file ({what}, at byte {at}): make it again from its vectors"
        )
        self.what = what


class Walk:
    """A place in a buffer, which moves on; what does not fit in raises ValueError or `struct.error`.

    Parameters
    ----------
    buffer : ndarray, shape (bytes,), uint8
    empty : bool
        Whether what should be learnt may be missing.

    Attributes
    ----------
    lists : list of ndarray, shape (lists + 1,), int64
        Of each inverted file in it: the byte where each list begins, and where the last one ends.
    """

    def __init__(self, buffer, empty):
        self.buffer, self.empty = memoryview(buffer).cast("B"), empty
        self.at, self.depth, self.lists = 0, 0, []

    def take(self, layout):
        """Numbers of a `struct` layout, little-endian and packed."""
        layout = struct.Struct("<" + layout)
        self.at, start = self.at + layout.size, self.at
        return layout.unpack_from(self.buffer, start)

    def name(self, table):
        """The four letters that begin a structure.

        Raises
        ------
        UnknownStructure
            If they are not in `table`.
        """
        (letters,) = self.take("4s")
        name = letters.decode("latin-1")
        if name not in table:
            raise UnknownStructure(name if name.isascii() and name.isprintable() else letters.hex(), self.at - 4)
        return name

    def skip(self, count, width):
        """Step over items of so many bytes."""
        must(0 <= count <= (len(self.buffer) - self.at) // width)
        self.at += count * width

    def vector(self, width):
        """Step over a counted vector; return its count."""
        (count,) = self.take("Q")
        self.skip(count, width)
        return count

    def numbers(self, kind):
        """A counted vector of integers, as a view."""
        count = self.vector(np.dtype(kind).itemsize)
        return np.frombuffer(self.buffer, kind, count, self.at - count * np.dtype(kind).itemsize)


# Quantisers


def scalar_quantizer(walk, dim):
    """Bytes of a code."""
    kind, _, _, own_dim, size = walk.take("iifQQ")
    if kind not in SQ_BITS:
        raise UnknownStructure(f"scalar quantiser {kind}", walk.at - struct.calcsize("<iifQQ"))
    learned = walk.vector(4)
    must(own_dim == dim and size == -(-dim * SQ_BITS[kind] // 8))
    must(walk.empty or learned == {"each": 2 * dim, "one": 2}.get(SQ_RANGES.get(kind), 0))
    return size


def product_quantizer(walk, dim):
    """Parts, bits of each, bytes of a code."""
    own_dim, parts, bits = walk.take("QQQ")
    must(own_dim == dim and 0 < parts <= dim and dim % parts == 0 and 0 < bits <= 24)
    must(walk.vector(4) == dim << bits)
    return parts, bits, -(-parts * bits // 8)


# Transforms: what a body returns says whether what it has learnt fits (columns taken, columns given)


def transform(walk, *kinds, exact):
    """Columns taken, columns given; `exact` where what has been learnt must fit them."""
    body = TRANSFORMS[walk.name(kinds)](walk)
    taken, given, _ = walk.take("ii?")
    must(0 < taken <= MOST_DIMENSIONS and 0 < given <= MOST_DIMENSIONS)
    must(not exact or body(taken, given))
    return taken, given


def _linear(walk):
    (biased,) = walk.take("?")
    weights, biases = walk.vector(4), walk.vector(4)
    return lambda taken, given: weights == taken * given and (not biased or biases == given)


def _principal(walk):
    walk.take("ff?i")
    for _ in range(3):
        walk.vector(4)
    return _linear(walk)


def _quantizing(walk):
    walk.take("ii")
    return _linear(walk)


def _iterative(walk):
    means = walk.vector(4)
    walk.take("?")
    transform(walk, "Viqm", exact=False)  # kept for the record
    shape = transform(walk, "LTra", exact=not walk.empty)
    return lambda taken, given: means == taken and shape == (taken, given)


def _padded(walk):
    places = walk.numbers("<i4")
    return lambda taken, given: len(places) == given and places.max() < taken


def _hadamard(walk):
    walk.take("I")
    return lambda taken, given: given == 1 << (taken - 1).bit_length()


def _normalized(walk):
    walk.take("f")
    return lambda taken, given: taken == given


def _centered(walk):
    means = walk.vector(4)
    return lambda taken, given: means == taken == given


TRANSFORMS = {
    "LTra": _linear,
    "rrot": _linear,
    "Pcam": _principal,
    "Viqt": _iterative,
    "Viqm": _quantizing,
    "RmDT": _padded,
    "HRot": _hadamard,
    "VNrm": _normalized,
    "VCnt": _centered,
}
