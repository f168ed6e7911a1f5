"""The words of a pickle's program: what each of its bytes says, and what argument follows."""

import codecs
import pickletools
import struct


def _fixed(form):
    unpack, size = struct.Struct(form).unpack_from, struct.calcsize(form)

    def read(data, at):
        return unpack(data, at)[0], at + size

    return read


def _counted(form, convert):
    unpack, size = struct.Struct(form).unpack_from, struct.calcsize(form)

    def read(data, at):
        at += size
        end = at + unpack(data, at - size)[0]
        if not at <= end <= len(data):
            raise ValueError("it ends too early")
        return convert(data[at:end]), end

    return read


def _line(convert):
    def read(data, at):
        end = data.index(b"\n", at)
        return convert(data[at:end]), end + 1

    return read


def _two_lines(data, at):
    module, at = _line(bytes.decode)(data, at)
    name, at = _line(bytes.decode)(data, at)
    return (module, name), at


def _latin(raw):
    return raw.decode("latin1")


def _utf(raw):
    return raw.decode("utf-8", "surrogatepass")


def _long(raw):
    return int.from_bytes(raw, "little", signed=True)


def _whole(text):
    return {b"00": False, b"01": True}[text] if text in (b"00", b"01") else int(text.removesuffix(b"L"))


def _quoted(text):
    if len(text) < 2 or text[0] != text[-1] or text[:1] not in (b"'", b'"'):
        raise ValueError("a string without quotes")
    return _latin(codecs.escape_decode(text[1:-1])[0])


VALUES = {  # what has a value follow
    "INT": _line(_whole),
    "BININT": _fixed("<i"),
    "BININT1": _fixed("<B"),
    "BININT2": _fixed("<H"),
    "LONG": _line(_whole),
    "LONG1": _counted("<B", _long),
    "LONG4": _counted("<i", _long),
    "FLOAT": _line(float),
    "BINFLOAT": _fixed(">d"),
    "STRING": _line(_quoted),
    "BINSTRING": _counted("<i", _latin),
    "SHORT_BINSTRING": _counted("<B", _latin),
    "BINBYTES": _counted("<I", bytes),
    "SHORT_BINBYTES": _counted("<B", bytes),
    "BINBYTES8": _counted("<Q", bytes),
    "BYTEARRAY8": _counted("<Q", bytes),
    "UNICODE": _line(lambda text: text.decode("raw-unicode-escape")),
    "SHORT_BINUNICODE": _counted("<B", _utf),
    "BINUNICODE": _counted("<I", _utf),
    "BINUNICODE8": _counted("<Q", _utf),
}
ARGUMENTS = {  # what has something else follow
    "PROTO": _fixed("<B"),
    "FRAME": _fixed("<Q"),
    "GET": _line(int),
    "BINGET": _fixed("<B"),
    "LONG_BINGET": _fixed("<I"),
    "PUT": _line(int),
    "BINPUT": _fixed("<B"),
    "LONG_BINPUT": _fixed("<I"),
    "GLOBAL": _two_lines,
}
NAMES = {ord(code): opcode.name for code, opcode in pickletools.code2op.items()}
