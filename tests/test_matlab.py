"""MATLAB's files: what SciPy writes is read as it is, and what nobody writes is refused with a sentence."""

import contextlib
import struct
import zlib

import numpy as np
import pytest

from imgret.errors import ImgretError
from imgret.formats import matlab
from imgret.formats.dbstruct import is_matlab, read_dbstruct
from imgret.formats.matlab import Matlab

NAMES = ["000/a b.jpg", "000/ü.jpg", "001/c.jpg"]
EAST, NORTH = [585000.25, 585010.0, 586000.0], [4476000.5, 4476000.0, 4477000.0]


def cells(names):
    found = np.empty((len(names), 1), dtype=object)
    found[:, 0] = names
    return found


def made(path, drop=(), compressed=True, **fields):
    """A `dbStruct` as the authors' files have it."""
    io = pytest.importorskip("scipy.io")
    whole = {
        "whichSet": "train",
        "dbImageFns": cells(NAMES),
        "utmDb": np.array([EAST, NORTH]),
        "qImageFns": cells(["query/q.jpg"]),
        "utmQ": np.array([[585001.0], [4476001.0]]),
        "numImages": 3.0,
        "posDistThr": 25.0,
    }
    whole |= fields
    io.savemat(
        path, {"other": 1, "dbStruct": {name: value for name, value in whole.items() if name not in drop}}, do_compression=compressed
    )
    return path


@pytest.mark.parametrize("compressed", [True, False])
def test_a_struct_of_photos(tmp_path, compressed):
    found = read_dbstruct(made(tmp_path / "a.mat", compressed=compressed))
    assert found.names == [*(name.encode() for name in NAMES), b"query/q.jpg"]
    assert found.positions.tolist() == [*map(list, zip(EAST, NORTH, strict=True)), [585001.0, 4476001.0]]
    assert (found.asks.tolist(), found.stamps) == ([False, False, False, True], None)
    assert is_matlab(tmp_path / "a.mat")


def test_other_shapes_and_types(tmp_path):
    whole = np.array([[1, 2], [3, 4], [5, 6]], dtype=np.int32)
    found = read_dbstruct(made(tmp_path / "a.mat", utmDb=whole, dbTimeStamp=np.array([200.0, 201, 200]), qTimeStamp=np.array([[7.0]])))
    assert found.positions[:3].tolist() == whole.tolist()
    assert found.stamps == [200, 201, 200, 7]
    square = np.array([[1.0, 2], [3, 4]])  # of two photos: east and north are its rows
    found = read_dbstruct(made(tmp_path / "b.mat", dbImageFns=cells(NAMES[:2]), utmDb=square))
    assert found.positions[:2].tolist() == [[1, 3], [2, 4]]


@pytest.mark.parametrize(
    ("fields", "text"),
    [
        ({"drop": ("utmDb",)}, "dbStruct has no utmDb, which says where gallery photos were taken"),
        ({"drop": ("qImageFns",)}, "dbStruct has no qImageFns, which says where queries were taken"),
        ({"utmDb": np.zeros((2, 2))}, "utmDb is 2×2, for 3 gallery photos it must be 2×3"),
        ({"utmDb": np.array([EAST, [1, np.nan, 2]])}, "utmDb has no metres for photo 2 of the gallery photos"),
        ({"utmQ": np.array([[np.inf], [0.0]])}, "utmQ has no metres for photo 1 of the queries"),
        ({"dbTimeStamp": np.zeros(2)}, "dbTimeStamp has 2 times for 3 gallery photos"),
        ({"dbImageFns": cells([NAMES[0], NAMES[1], NAMES[0]])}, "'000/a b.jpg' is listed twice: a photo asks, or is asked for, once"),
        ({"qImageFns": cells([""])}, "a photo has no name"),
    ],
)
def test_a_struct_that_says_too_little(tmp_path, fields, text):
    path = made(tmp_path / "a.mat", **fields)
    with pytest.raises(ImgretError) as caught:
        read_dbstruct(path)
    assert str(caught.value) == f"{path}: {text}"


@pytest.mark.parametrize(
    ("fields", "text"),
    [
        ({"utmDb": "text"}, "holds something else where numbers must be"),
        ({"dbImageFns": 3.0}, "holds something else where cells must be"),
        ({"dbImageFns": cells([1.0, "a", "b"])}, "holds something else where text must be"),
        ({"utmDb": np.zeros((2, 3)) + 1j}, "holds complex numbers where plain ones must be"),
    ],
)
def test_what_is_of_another_kind(tmp_path, fields, text):
    path = made(tmp_path / "a.mat", **fields)
    with pytest.raises(ImgretError) as caught:
        read_dbstruct(path)
    assert str(caught.value) == f"{path} {text}"


def test_a_file_of_none(tmp_path):
    io, path = pytest.importorskip("scipy.io"), tmp_path / "a.mat"
    io.savemat(path, {"x": 1})
    with pytest.raises(ImgretError, match=r"a\.mat has no struct dbStruct$"):
        read_dbstruct(path)
    io.savemat(path, {"dbStruct": np.array([(1,), (2,)], dtype=[("a", "f8")])})
    with pytest.raises(ImgretError, match=r"a\.mat holds 2 structs where one must be$"):
        read_dbstruct(path)
    (tmp_path / "b.mat").write_bytes(b"MATLAB 7.3 MAT-file" + bytes(600))
    with pytest.raises(ImgretError, match=r"b\.mat is a MATLAB file of version 7\.3: load it there, and save it again with -v7$"):
        Matlab(tmp_path / "b.mat")
    (tmp_path / "c.mat").write_bytes(b"image,east,north\n")
    with pytest.raises(ImgretError, match=r"c\.mat is no MATLAB file of level 5, as save -v7 writes them$"):
        Matlab(tmp_path / "c.mat")
    assert not is_matlab(tmp_path / "c.mat")
    assert not is_matlab(tmp_path / "none.mat")


# made by hand

HEAD = b"MATLAB 5.0 MAT-file".ljust(124) + b"\x00\x01IM"


def element(kind, data, order="<"):
    return struct.pack(order + "II", kind, len(data)) + data + bytes(-len(data) % 8)


def array(kind, content, shape=(1, 1), name=b"x", order="<"):
    flags = struct.pack(order + "II", kind, 0)
    dims = struct.pack(order + f"{len(shape)}i", *shape)
    return element(14, element(6, flags, order) + element(5, dims, order) + element(1, name, order) + content, order)


def test_the_other_order_of_bytes(tmp_path):
    head = b"MATLAB 5.0 MAT-file".ljust(124) + b"\x01\x00MI"
    numbers = element(9, struct.pack(">2d", 1.5, -2), ">")
    text = element(17, "ß1".encode("utf-16-be"), ">")
    (tmp_path / "a.mat").write_bytes(head + array(6, numbers, (1, 2), order=">") + array(4, text, (1, 2), order=">"))
    numbers, text = Matlab(tmp_path / "a.mat").arrays()
    assert numbers.values().tolist() == [[1.5, -2]]
    assert text.text() == "ß1".encode()


def nested(depth):
    found = array(6, element(9, bytes(8)))
    for _ in range(depth):
        found = array(1, found)
    return found


HOSTILE = {
    "a length beyond the end": (struct.pack("<II", 14, 1 << 31), "is damaged: an element is longer than the file; copy it again"),
    "half an element": (b"\x0e\0\0", "is damaged: it ends within an element; copy it again"),
    "a short one that is long": (struct.pack("<II", (9 << 16) | 1, 0), "is damaged: a short element is too long; copy it again"),
    "no zlib": (element(15, b"nonsense"), "is damaged: what is compressed cannot be unpacked; copy it again"),
    "an empty array": (element(14, b""), "is damaged: an array ends before its flags; copy it again"),
    "one dimension": (array(6, b"", (3,)), "is damaged: an array has no dimensions; copy it again"),
    "negative": (array(6, b"", (-1, 3)), "is damaged: an array has no dimensions; copy it again"),
    "more than there is": (
        array(6, element(9, bytes(8)), (1 << 30, 1 << 30)),
        "is damaged: an array does not hold as many numbers as it says; copy it again",
    ),
    "cells beyond the end": (array(1, b"", (1 << 30, 1 << 30)), "is damaged: an array ends before its content; copy it again"),
    "deep": (nested(40), "is damaged: arrays lie too deep in each other; copy it again"),
    "no text": (array(4, element(16, b"\xff\xfe"), (1, 2)), "is damaged: a text cannot be read; copy it again"),
    "an object": (array(3, b""), "holds an object where numbers must be"),
    "a sparse array": (array(5, b""), "holds a sparse array where numbers must be"),
    "a function": (array(16, b""), "holds a function where numbers must be"),
    "fields without names": (
        array(2, element(5, struct.pack("<i", 0)) + element(1, b"")),
        "is damaged: the fields of a struct have no names; copy it again",
    ),
}


def visit(array):
    """Read all that is in an array, as what it is."""
    if array.kind == matlab.CELL:
        for cell in array.cells():
            visit(cell)
    elif array.kind == matlab.STRUCT:
        for field in array.fields().values():
            visit(field)
    elif array.kind == matlab.CHAR:
        array.text()
    else:
        array.values()


def visit_all(path):
    for found in Matlab(path).arrays():
        visit(found)


@pytest.mark.parametrize("name", HOSTILE)
def test_what_nobody_writes(tmp_path, name):
    data, text = HOSTILE[name]
    path = tmp_path / "a.mat"
    path.write_bytes(HEAD + data)
    with pytest.raises(ImgretError) as caught:
        visit_all(path)
    assert str(caught.value) == f"{path} {text}"


def test_a_bomb_is_not_unpacked(tmp_path, monkeypatch):
    monkeypatch.setattr(matlab, "UNPACKED", 1 << 20)
    path = tmp_path / "a.mat"
    path.write_bytes(HEAD + element(15, zlib.compress(bytes(1 << 22))))
    with pytest.raises(ImgretError, match=r"a\.mat unpacks to more than 1 MiB: save it with fewer variables$"):
        list(Matlab(path).arrays())


def test_any_damage_is_one_sentence(tmp_path):
    """Bytes changed and cut anywhere: it is read, or refused."""
    whole = made(tmp_path / "a.mat", compressed=False).read_bytes()
    rng, path = np.random.default_rng(0), tmp_path / "b.mat"
    for _ in range(400):
        data = bytearray(whole)
        for place in rng.integers(100, len(data), rng.integers(1, 4)).tolist():
            data[place] = int(rng.integers(256))
        path.write_bytes(data[: int(rng.integers(len(data) // 2, len(data) + 1))] if rng.random() < 0.3 else data)
        with contextlib.suppress(ImgretError):
            read_dbstruct(path)
