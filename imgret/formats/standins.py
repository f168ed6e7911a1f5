"""What stands in a pickle that is read as data for the things it names: arrays, numbers, and Python's own containers."""

import re

import numpy as np

CELL, TEXT = 40, 80  # bytes that a number of an array, or a text, may take in a list
_KINDS = {"b1", "i1", "i2", "i4", "i8", "u1", "u2", "u4", "u8", "f2", "f4", "f8"}
_TEXTS = re.compile(r"[SU][1-9][0-9]{0,3}")
_NUMPY = ("numpy.core.multiarray", "numpy._core.multiarray", "numpy._core.numeric", "numpy.core.numeric", "numpy")
_BUILTINS = ("__builtin__", "builtins")
_TYPES = ("list", "dict", "int", "float", "str", "tuple")  # what a defaultdict makes


class Forbidden(Exception):  # noqa: N818 - a finding about a file
    """What no plain data needs."""


def check_keys(keys):
    """Refuse keys by which a dict or set could be made slow: the hashes of text are nobody's to choose, and small numbers are their own."""
    for key in keys:
        if not (isinstance(key, str | bytes) or key is None or (isinstance(key, int) and -(1 << 31) <= key < 1 << 32)):
            raise Forbidden("keys that are neither text nor whole numbers")


class Global:
    """Stands for something that a pickle names: `call(machine, *arguments)` is what comes of calling it."""

    def __init__(self, name, call):
        self.name, self.call = name, call


class Array:
    """Stands for an array: what NumPy's own pickles say of one, checked before anything is allocated.

    Attributes
    ----------
    values : ndarray
    """

    def __init__(self):
        self.values = np.zeros(0)

    def build(self, machine, state):
        """Take what the pickle says of it."""
        _, shape, dtype, fortran, raw = state
        if not isinstance(dtype, Dtype) or not isinstance(raw, bytes | bytearray | str):
            raise Forbidden("an array of objects")
        values = np.frombuffer(machine.latin(raw), dtype.dtype())
        machine.spend(len(values) * _cell(values.dtype))
        if not isinstance(shape, tuple) or not all(type(side) is int and 0 <= side <= max(1, len(values)) for side in shape):
            raise ValueError("an array's shape is not its content's")
        self.values = values.reshape(shape, order="F" if fortran else "C")


class Dtype:
    """Stands for a dtype: only numbers and text of fixed size."""

    def __init__(self, kind):
        self.kind, self.order = kind, "<"

    def build(self, machine, state):
        """Take the byte order."""
        self.order = state[1]

    def dtype(self):
        """NumPy's own."""
        kind = self.kind.decode("latin1") if isinstance(self.kind, bytes) else self.kind
        known = isinstance(kind, str) and (kind in _KINDS or _TEXTS.fullmatch(kind))
        if not known or self.order not in ("<", ">", "=", "|"):
            raise Forbidden(f"an array of {str(kind)[:20]!r}")
        return np.dtype(kind).newbyteorder(self.order)


def _cell(dtype):
    """Bytes that a value takes in a list; those of one byte are shared."""
    if dtype.kind in "SU":
        return TEXT + dtype.itemsize
    return 8 if dtype.itemsize == 1 else CELL


def _array_of(machine, raw, dtype, shape, order):
    made = Array()
    made.build(machine, (1, shape, dtype, order == "F", raw))
    return made


def _number(machine, dtype, raw):
    (number,) = np.frombuffer(machine.latin(raw), dtype.dtype()).tolist()
    return number


def _encode(machine, text, encoding="latin1"):
    """What protocol 2 has for bytes."""
    if encoding not in ("latin1", "latin-1") or not isinstance(text, str):
        raise Forbidden("an encoding")
    return machine.latin(text)


def _bytes(machine, *given):
    """What protocol 2 has for no bytes."""
    if given:
        raise Forbidden("a call of bytes")
    return b""


def _dict(machine, *given):
    """An `OrderedDict`, as Python 2 has it with its items, or a `defaultdict` with what it makes."""
    pairs = given[0] if given and isinstance(given[0], list | tuple) else ()
    return machine.filled({}, [part for key, value in pairs for part in (key, value)])


def _set(machine, items=()):
    check_keys(items)
    return set(items)


def named(module, name):
    """The `Global` of a name in a pickle of plain data or NumPy arrays.

    Raises
    ------
    Forbidden
        For any other.
    """
    if module in _NUMPY:
        known = {
            "_reconstruct": lambda machine, *_: Array(),
            "ndarray": lambda machine, *_: Array(),
            "scalar": _number,
            "dtype": lambda machine, kind, *_: Dtype(kind),
            "_frombuffer": _array_of,
        }
    elif module == "_codecs":
        known = {"encode": _encode}
    elif module == "collections":
        known = {"OrderedDict": _dict, "defaultdict": _dict}
    elif module in _BUILTINS:
        known = {"bytes": _bytes, "set": _set, "frozenset": _set} | dict.fromkeys(_TYPES, _type)
    else:
        known = {}
    if name not in known:
        raise Forbidden(f"{module[:60]}.{name[:60]}")
    return Global(name, known[name])


def _type(machine, *given):
    raise Forbidden("a call of a type")
