"""Pickles from strangers, as data: plain containers, numbers, text and NumPy arrays of numbers. Nothing in them is ever called."""

import io
import pickle
import pickletools

import numpy as np

from imgret.errors import ImgretError
from imgret.formats import files

LIMIT = 64 << 20  # bytes of a file
_CONTAINERS = frozenset("EMPTY_LIST LIST EMPTY_TUPLE TUPLE TUPLE1 TUPLE2 TUPLE3 EMPTY_DICT DICT EMPTY_SET FROZENSET REDUCE".split())
_MOST = 1 << 21  # containers: an empty one takes fifty times its byte in the file
_SPARE = 1024  # numbers of the memo that may be left out
_KINDS = {"b1", "i1", "i2", "i4", "i8", "u1", "u2", "u4", "u8", "f2", "f4", "f8"}

# What a pickle machine may be told. Left out: all that makes an object of a class's own (NEWOBJ, INST, OBJ), persistent ids, extension
# codes, buffers out of band. GLOBAL, REDUCE and BUILD are what arrays are made of.
_OPCODES = frozenset(
    "PROTO FRAME STOP MARK POP POP_MARK DUP NONE NEWTRUE NEWFALSE INT BININT BININT1 BININT2 LONG LONG1 LONG4 FLOAT BINFLOAT"
    " STRING BINSTRING SHORT_BINSTRING BINBYTES SHORT_BINBYTES BINBYTES8 BYTEARRAY8 UNICODE SHORT_BINUNICODE BINUNICODE BINUNICODE8"
    " EMPTY_LIST APPEND APPENDS LIST EMPTY_TUPLE TUPLE TUPLE1 TUPLE2 TUPLE3 EMPTY_DICT DICT SETITEM SETITEMS EMPTY_SET ADDITEMS FROZENSET"
    " GET BINGET LONG_BINGET PUT BINPUT LONG_BINPUT MEMOIZE GLOBAL STACK_GLOBAL REDUCE BUILD".split()
)
_NUMPY = ("numpy.core.multiarray", "numpy._core.multiarray", "numpy._core.numeric", "numpy.core.numeric", "numpy")


def load(path):
    """What a pickle holds: dicts, lists, tuples, sets, str, bytes, numbers, None; arrays as `ndarray`.

    Parameters
    ----------
    path : str or path-like

    Returns
    -------
    object

    Raises
    ------
    ImgretError
        If the file asks for anything but data, is damaged, or is no pickle. Nothing has then been run.
    """
    data = files.read_bytes(path, LIMIT)
    try:
        _check(data)
        return _Unpickler(io.BytesIO(data), encoding="latin1").load()
    except _Forbidden as forbidden:
        what = f"it is a pickle that asks for {forbidden}; only plain data and NumPy arrays are read"
        raise ImgretError(f"{path} is refused: {what}") from None
    except RecursionError:
        raise ImgretError(f"{path} is refused: it is nested too deeply") from None
    except Exception as error:  # noqa: BLE001 - a machine run by a stranger's program raises anything
        reason = " ".join(str(error).split())[:100] or type(error).__name__
        raise ImgretError(f"{path} is not a pickle that can be read ({reason})") from None


class _Forbidden(Exception):  # noqa: N818 - a finding about a file
    pass


def _check(data):
    """Refuse what no plain data needs, before the machine runs."""
    stored = containers = 0
    for opcode, argument, _ in pickletools.genops(data):
        name = opcode.name
        if name not in _OPCODES:
            raise _Forbidden(f"an object ({name})")
        containers += name in _CONTAINERS
        if containers > _MOST:
            raise _Forbidden(f"more than {_MOST} containers")
        if name in ("PUT", "BINPUT", "LONG_BINPUT"):
            # the machine makes room for as many as the largest number says
            if not 0 <= int(argument) <= stored + _SPARE:
                raise _Forbidden(f"memory it does not use ({name} {argument})")
            stored = max(stored, int(argument))
        elif name == "MEMOIZE":
            stored += 1
        elif name == "GLOBAL":
            _stand_in(*str(argument).split(" ", 1))


class _Array:
    """Stands for an array in the making: what NumPy's own pickles say of one, checked before anything is allocated."""

    def __init__(self, *_):
        self.array = None

    def __setstate__(self, state):
        version, shape, dtype, fortran, raw = state
        if not isinstance(dtype, _Dtype) or not isinstance(raw, bytes | bytearray | str):
            raise _Forbidden("an array of objects")
        raw = raw.encode("latin1") if isinstance(raw, str) else raw
        array = np.frombuffer(raw, dtype.dtype())
        if not isinstance(shape, tuple) or not all(type(side) is int and 0 <= side <= max(1, len(array)) for side in shape):
            raise ValueError("an array's shape is not its content's")
        self.array = array.reshape(shape, order="F" if fortran else "C")


class _Dtype:
    """Stands for a dtype: only numbers of fixed size."""

    def __init__(self, kind, *_):
        self.kind, self.order = kind, "<"

    def __setstate__(self, state):
        self.order = state[1]

    def dtype(self):
        kind = self.kind.decode("latin1") if isinstance(self.kind, bytes) else self.kind
        if kind not in _KINDS or self.order not in ("<", ">", "=", "|"):
            raise _Forbidden(f"an array of {str(kind)[:20]!r}")
        return np.dtype(kind).newbyteorder(self.order)


class _Scalar:
    """Stands for a NumPy number."""

    def __init__(self, dtype, raw):
        raw = raw.encode("latin1") if isinstance(raw, str) else raw
        self.array = np.frombuffer(raw, dtype.dtype())[0]


def _frombuffer(raw, dtype, shape, order):
    made = _Array()
    made.__setstate__((1, shape, dtype, order == "F", bytes(raw)))
    return made


def _encode(text, encoding="latin1"):
    """What protocol 2 has for bytes."""
    if encoding not in ("latin1", "latin-1"):
        raise _Forbidden("an encoding")
    return text.encode("latin1")


def _empty(*given):
    """What protocol 2 has for no bytes."""
    if given:
        raise _Forbidden("a call of bytes")
    return b""


def _stand_in(module, name):
    """What stands for a global of NumPy's pickles."""
    if module in _NUMPY:
        known = {"_reconstruct": _Array, "scalar": _Scalar, "ndarray": _Array, "dtype": _Dtype, "_frombuffer": _frombuffer}
        if name in known:
            return known[name]
    if (module, name) == ("_codecs", "encode"):
        return _encode
    if module in ("__builtin__", "builtins") and name == "bytes":
        return _empty
    raise _Forbidden(f"{module[:60]}.{name[:60]}")


class _Unpickler(pickle.Unpickler):
    def find_class(self, module, name):
        return _stand_in(module, name)


def plain(value):
    """An array or NumPy number of a pickle as Python has it; anything else as it is."""
    return value.array.tolist() if isinstance(value, _Array | _Scalar) else value
