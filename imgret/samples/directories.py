"""The directories of a TIFF, and which of its pictures is the photo: nothing of it is believed before it is seen to lie in the file."""

import dataclasses
import struct

import numpy as np

TYPES = {1: "u1", 2: "u1", 3: "u2", 4: "u4", 6: "i1", 7: "u1", 8: "i2", 9: "i4", 11: "f4", 12: "f8", 13: "u4", 16: "u8", 17: "i8", 18: "u8"}
SUBFILE, OLD_SUBFILE, WIDTH, LENGTH, SUB_DIRECTORIES, ORIENTATION = 254, 255, 256, 257, 330, 274
REDUCED, MASK = 1, 4  # bits of `SUBFILE`
OLD_REDUCED = 2  # a value of `OLD_SUBFILE`
MOST = 1000  # directories that are looked at
MOST_ENTRIES = 4096
MOST_VALUES = 4096


@dataclasses.dataclass(frozen=True)
class Directory:
    """One picture of a TIFF, as its tags describe it.

    Attributes
    ----------
    data : bytes
        The file.
    order : str
        "<" or ">".
    entries : dict of int to (str, int, int)
        Type, count and place of each tag's values.
    place : int
        Where it is.
    following : int
        Where the next one is; 0 of the last.
    """

    data: bytes
    order: str
    entries: dict
    place: int
    following: int

    def values(self, tag):
        """A tag's values as an array; empty where it has none."""
        if tag not in self.entries:
            return np.zeros(0, np.int64)
        kind, count, place = self.entries[tag]
        return np.frombuffer(self.data, self.order + kind, count, place)

    def some(self, tag):
        """A tag's values as a list of numbers, the first of them where there are more than anything needs."""
        return self.values(tag)[:MOST_VALUES].tolist()

    def get(self, tag, otherwise=None):
        """A tag's first value as a number."""
        values = self.values(tag)
        return values[0].item() if len(values) else otherwise

    @property
    def whole(self):
        """Whether it is the picture itself, and neither a smaller copy of another nor a mask."""
        return not int(self.get(SUBFILE, 0)) & (REDUCED | MASK) and self.get(OLD_SUBFILE, 0) != OLD_REDUCED

    @property
    def pixels(self):
        """How many pixels it claims."""
        return int(self.get(WIDTH, 0)) * int(self.get(LENGTH, 0))


@dataclasses.dataclass(frozen=True)
class Tiff:
    """The header of a TIFF or BigTIFF."""

    data: bytes
    order: str
    big: bool

    @classmethod
    def of(cls, data):
        """The header of a file; None of what is no TIFF."""
        order = {b"II": "<", b"MM": ">"}.get(bytes(data[:2]))
        if order is None or len(data) < 16 or bytes(data[2:4]) not in (b"*\0", b"\0*", b"+\0", b"\0+"):
            return None
        return cls(data, order, b"+" in data[2:4])

    @property
    def pointer(self):
        """Where the header says where the first directory is, and in which type."""
        return (8, self.order + "Q") if self.big else (4, self.order + "I")

    @property
    def first(self):
        """Where the first directory is."""
        place, kind = self.pointer
        return struct.unpack_from(kind, self.data, place)[0]

    def beginning_at(self, place):
        """The file with another picture as its first."""
        changed = bytearray(self.data)
        where, kind = self.pointer
        struct.pack_into(kind, changed, where, place)
        return bytes(changed)

    def directory(self, place):
        """The directory at a place; None where there is none."""
        counts, entry, pointer = ("Q", "HHQ", "Q") if self.big else ("H", "HHI", "I")
        head, length, value = struct.calcsize(self.order + counts), 20 if self.big else 12, struct.calcsize(pointer)
        if not 8 <= place <= len(self.data) - head:
            return None
        (count,) = struct.unpack_from(self.order + counts, self.data, place)
        end = place + head + count * length
        if not 0 < count <= MOST_ENTRIES or end > len(self.data):
            return None
        entries = {}
        for start in range(place + head, end, length):
            tag, kind, values = struct.unpack_from(self.order + entry, self.data, start)
            if kind not in TYPES:
                continue
            size, at = values * int(TYPES[kind][1:]), start + length - value
            if size > value:
                (at,) = struct.unpack_from(self.order + pointer, self.data, at)
            if values and at + size <= len(self.data):
                entries[tag] = (TYPES[kind], values, at)
        following = struct.unpack_from(self.order + pointer, self.data, end)[0] if end + value <= len(self.data) else 0
        return Directory(self.data, self.order, entries, place, following)

    def directories(self):
        """Yield every directory: one after the other, those below one behind it."""
        waiting, seen = [self.first], set()
        while waiting and len(seen) < MOST:
            place = waiting.pop()
            found = None if place in seen else self.directory(place)
            if found is None:
                continue
            seen.add(place)
            yield found
            below = found.values(SUB_DIRECTORIES)
            waiting += [found.following, *(int(each) for each in below[:MOST][::-1] if below.dtype.kind == "u")]

    def photo(self):
        """The directory of the photo: the first, unless that is a smaller copy or a mask and another is not; None without any.

        Where all are smaller copies, the largest is taken.
        """
        first = self.directory(self.first)
        if first is None or first.whole:
            return first
        found = list(self.directories())
        return next((each for each in found if each.whole and each.pixels), max(found, key=lambda each: each.pixels))
