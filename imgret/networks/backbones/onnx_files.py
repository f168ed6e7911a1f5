"""ONNX files looked through before anything runs them: what leads out of the file is refused.

An ONNX file is a tree of protocol-buffer messages. Only the fields that can hold tensors and operators are followed; the numbers that stand
here are the fields' in onnx.proto.
"""

import dataclasses

from imgret.errors import ImgretError, quoted

MOST = (1 << 31) - 1  # bytes: what one message may have
DEEPEST = 32  # graphs within graphs
MOST_FIELDS = 20_000_000
# message -> field -> message
FOLLOWED = {
    "model": {7: "graph", 20: "training", 25: "function"},
    "training": {1: "graph", 2: "graph"},
    "graph": {1: "node", 5: "tensor", 15: "sparse"},
    "function": {7: "node", 11: "attribute"},
    "node": {5: "attribute"},
    "attribute": {5: "tensor", 6: "graph", 10: "tensor", 11: "graph", 22: "sparse", 23: "sparse"},
    "sparse": {1: "tensor", 2: "tensor"},
    "tensor": {},
}
EXTERNAL = {13, 14}  # of a tensor: where its numbers are elsewhere, and that they are
OPERATOR, NODE_DOMAIN, FUNCTION_DOMAIN = 4, 7, 10
BUILT_IN = {"", "ai.onnx", "ai.onnx.ml", "com.microsoft"}
COMPILED = "EPContext"  # an operator that is a compiled program, or the path of one
VARINT, FIXED64, BYTES, FIXED32 = 0, 1, 2, 5


class _Odd(Exception):  # noqa: N818 - told of as a file that is damaged
    pass


@dataclasses.dataclass
class _Seen:
    fields: int = 0
    elsewhere: bool = False
    operators: set = dataclasses.field(default_factory=set)
    functions: set = dataclasses.field(default_factory=set)


def check(data, path):
    """Refuse what is no ONNX model, and one that is not complete in itself.

    Parameters
    ----------
    data : bytes
    path : str
        For messages.

    Raises
    ------
    ImgretError
        For tensors that are kept in other files, operators that onnxruntime does not have itself, and damage.
    """
    if len(data) > MOST:
        raise ImgretError(f"the weights {path}: the file has {len(data)} bytes, the limit of ONNX is {MOST}")
    seen = _Seen()
    try:
        _follow(memoryview(data), "model", seen)
    except _Odd:
        raise ImgretError(f"the weights {path} are no sound ONNX model: copy the file again, or export it again") from None
    if seen.elsewhere:
        raise ImgretError(
            f"the weights {path} keep numbers in other files, which are not opened: save the model as one file "
            "(onnx.save with save_as_external_data=False)"
        )
    if not seen.operators:
        raise ImgretError(f"the weights {path} are no ONNX model: there is no operator in them")
    own = BUILT_IN | seen.functions
    odd = sorted(f"{domain}:{name}" for domain, name in seen.operators if domain not in own or name == COMPILED)
    if odd:
        raise ImgretError(f"the weights {path} need operators that are programs of their own ({quoted(odd[0])}): export without them")


def _follow(data, kind, seen, depth=0):
    """Walk through one message."""
    if depth > DEEPEST * 3:  # node, attribute and graph for each graph within another
        raise _Odd
    operator = domain = ""
    for field, wire, value in _fields(data, seen):
        inner = FOLLOWED[kind].get(field)
        if inner is not None:
            if wire != BYTES:
                raise _Odd
            _follow(value, inner, seen, depth + 1)
        elif kind == "tensor" and field in EXTERNAL:
            seen.elsewhere |= field == 13 or value != 0
        elif kind == "node" and wire == BYTES and field in (OPERATOR, NODE_DOMAIN):
            operator, domain = (_text(value), domain) if field == OPERATOR else (operator, _text(value))
        elif kind == "function" and wire == BYTES and field == FUNCTION_DOMAIN:
            seen.functions.add(_text(value))
    if kind == "node":
        seen.operators.add((domain, operator))


def _fields(data, seen):
    """Yield (field, wire type, value) of a message: a number, or its bytes."""
    at = 0
    while at < len(data):
        seen.fields += 1
        if seen.fields > MOST_FIELDS:
            raise _Odd
        key, at = _varint(data, at)
        field, wire = key >> 3, key & 7
        if wire == VARINT:
            value, at = _varint(data, at)
        elif wire in (BYTES, FIXED64, FIXED32):
            length, at = _varint(data, at) if wire == BYTES else ({FIXED64: 8, FIXED32: 4}[wire], at)
            if length > len(data) - at:
                raise _Odd
            value, at = data[at : at + length], at + length
        else:
            raise _Odd
        if not field:
            raise _Odd
        yield field, wire, value


def _varint(data, at):
    value = shift = 0
    while at < len(data) and shift < 70:
        byte = data[at]
        at += 1
        value |= (byte & 127) << shift
        if byte < 128:
            return value, at
        shift += 7
    raise _Odd


def _text(value):
    try:
        return bytes(value[:1000]).decode()
    except UnicodeDecodeError:
        raise _Odd from None
