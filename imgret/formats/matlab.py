"""MATLAB's files, level 5: numbers, text, cells and structs, of a file that is not trusted; nothing in it is ever run."""

import dataclasses
import math
import zlib

import numpy as np

from imgret.errors import ImgretError
from imgret.formats.files import read_bytes

LIMIT = 1 << 28  # bytes of a file
UNPACKED = 1 << 29  # bytes of all that is compressed in it
DEEPEST = 16  # arrays within arrays
HEADER = 128  # bytes
MATRIX, COMPRESSED = 14, 15
CELL, STRUCT, CHAR = 1, 2, 4
NUMBERS = {6: "f8", 7: "f4", 8: "i1", 9: "u1", 10: "i2", 11: "u2", 12: "i4", 13: "u4", 14: "i8", 15: "u8"}  # by class of an array
STORED = {1: "i1", 2: "u1", 3: "i2", 4: "u2", 5: "i4", 6: "u4", 7: "f4", 9: "f8", 12: "i8", 13: "u8"}  # by type of an element
TEXT = {1: "latin-1", 2: "latin-1", 4: "utf-16", 16: "utf-8", 17: "utf-16", 18: "utf-32"}
REFUSED = {3: "an object", 5: "a sparse array", 16: "a function", 17: "an opaque object"}


@dataclasses.dataclass(frozen=True)
class _Element:
    """A piece of the file: its type, and its bytes."""

    kind: int
    data: memoryview


class Array:
    """An array of a file, whose content is read when it is asked for.

    Attributes
    ----------
    name : bytes
    kind : int
        MATLAB's class of it.
    shape : tuple of int
    """

    def __init__(self, file, data, depth):
        if depth > DEEPEST:
            raise file.damaged("arrays lie too deep in each other")
        self._file, self._depth = file, depth
        self._rest = file.elements(data)
        flags = self._numbers("flags")
        if len(flags) != 2:
            raise file.damaged("an array has no flags")
        self.kind, self._complex = int(flags[0]) & 0xFF, bool(int(flags[0]) & 0x800)
        self.shape = tuple(self._numbers("dimensions").tolist())
        if len(self.shape) < 2 or min(self.shape) < 0:
            raise file.damaged("an array has no dimensions")
        self.size = math.prod(self.shape)
        self.name = bytes(self._next("name").data)

    def _next(self, what):
        found = next(self._rest, None)
        if found is None:
            raise self._file.damaged(f"an array ends before its {what}")
        return found

    def _numbers(self, what):
        return self._file.numbers(self._next(what))

    def _wanted(self, kinds, what):
        if self.kind not in kinds:
            raise self._file.error(f"holds {REFUSED.get(self.kind, 'something else')} where {what} must be")

    def values(self):
        """Its numbers, ndarray of `shape`, float64.

        Raises
        ------
        ImgretError
            If it holds something else.
        """
        self._wanted(NUMBERS, "numbers")
        if self._complex:
            raise self._file.error("holds complex numbers where plain ones must be")
        found = self._numbers("numbers")
        if len(found) != self.size:
            raise self._file.damaged("an array does not hold as many numbers as it says")
        return found.astype(np.float64).reshape(self.shape, order="F")

    def text(self):
        """Its text, one line, bytes in UTF-8."""
        self._wanted((CHAR,), "text")
        if self.size == 0:
            return b""
        found = self._next("text")
        try:
            encoding = TEXT[found.kind]
            order = {"utf-16": self._file.order, "utf-32": self._file.order}.get(encoding, "")
            found = bytes(found.data).decode(encoding + {"<": "-le", ">": "-be", "": ""}[order]).encode()
        except (KeyError, UnicodeError):
            raise self._file.damaged("a text cannot be read") from None
        if len(self.shape) != 2 or self.shape[0] != 1:
            raise self._file.error("holds a text of several lines where one must be")
        return found

    def cells(self):
        """Yield the arrays in its cells, column after column."""
        self._wanted((CELL,), "cells")
        for _ in range(self.size):
            yield self._array()

    def fields(self):
        """The arrays of the fields of a struct, by name: dict of bytes to Array.

        Raises
        ------
        ImgretError
            If it holds something else, or several structs.
        """
        self._wanted((STRUCT,), "a struct")
        if self.size != 1:
            raise self._file.error(f"holds {self.size} structs where one must be")
        length = self._numbers("length of field names")
        names = bytes(self._next("field names").data)
        if len(length) != 1 or length[0] < 1 or len(names) % int(length[0]):
            raise self._file.damaged("the fields of a struct have no names")
        step = int(length[0])
        return {names[start : start + step].split(b"\0", 1)[0]: self._array() for start in range(0, len(names), step)}

    def _array(self):
        found = self._next("content")
        if found.kind != MATRIX:
            raise self._file.damaged("an array holds something that is no array")
        return Array(self._file, found.data, self._depth + 1)


class Matlab:
    """A file.

    Parameters
    ----------
    path : str or path-like

    Raises
    ------
    ImgretError
        If it is none of level 5 (`save -v7` writes such), or is larger than 256 MiB.
    """

    def __init__(self, path):
        self.path, self._left = path, UNPACKED
        data = read_bytes(path, LIMIT)
        if data.startswith(b"MATLAB 7.3") or data.startswith(b"\x89HDF"):
            raise ImgretError(f"{path} is a MATLAB file of version 7.3: load it there, and save it again with -v7")
        order = {b"IM": "<", b"MI": ">"}.get(data[126:HEADER])
        if order is None:
            raise ImgretError(f"{path} is no MATLAB file of level 5, as save -v7 writes them")
        self.order, self._data = order, memoryview(data)[HEADER:]

    def error(self, text):
        """An `ImgretError` about this file."""
        return ImgretError(f"{self.path} {text}")

    def damaged(self, text):
        """The same, where it is not what any program writes."""
        return self.error(f"is damaged: {text}; copy it again")

    def arrays(self):
        """Yield its arrays."""
        for element in self.elements(self._data):
            if element.kind == COMPRESSED:
                element = next(self.elements(self._unpacked(element.data)), None)
            if element is not None and element.kind == MATRIX:
                yield Array(self, element.data, 0)

    def struct(self, name):
        """The fields of a struct by its name; see `Array.fields`.

        Raises
        ------
        ImgretError
            If it has no such struct.
        """
        for array in self.arrays():
            if array.name == name:
                return array.fields()
        raise self.error(f"has no struct {name.decode()}")

    def _unpacked(self, data):
        stream = zlib.decompressobj()
        try:
            found = stream.decompress(data, self._left)
        except zlib.error:
            raise self.damaged("what is compressed cannot be unpacked") from None
        self._left -= len(found)
        if stream.unconsumed_tail:
            raise self.error(f"unpacks to more than {UNPACKED >> 20} MiB: save it with fewer variables")
        return memoryview(found)

    def elements(self, data):
        """Yield the elements in some bytes."""
        place = 0
        while place < len(data):
            if len(data) - place < 8:
                raise self.damaged("it ends within an element")
            kind, length = (int(each) for each in np.frombuffer(data[place : place + 8], self.order + "u4"))
            start = place + 8
            if kind >> 16:  # a short one, in four of the eight bytes
                kind, length, start = kind & 0xFFFF, kind >> 16, place + 4
                if length > 4:
                    raise self.damaged("a short element is too long")
                place += 8
            else:  # those that are compressed are not padded
                place = start + (length if kind == COMPRESSED else -(-length // 8) * 8)
            if start + length > len(data):
                raise self.damaged("an element is longer than the file")
            yield _Element(kind, data[start : start + length])

    def numbers(self, element):
        """The numbers of an element, ndarray in the type that they are stored in."""
        kind = STORED.get(element.kind)
        if kind is None or len(element.data) % int(kind[1]):
            raise self.damaged("numbers cannot be read")
        return np.frombuffer(element.data, self.order + kind)
