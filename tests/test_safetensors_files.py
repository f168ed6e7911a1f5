"""Files of the safetensors format: read without trust, written the same every time."""

import json
import os
import struct
import subprocess
import sys

import numpy as np
import pytest
from helpers import ROOT

from imgret.errors import ImgretError
from imgret.networks import safetensors_files

safetensors = pytest.importorskip("safetensors")

ARRAYS = {
    "b.weight": np.arange(6, dtype=np.float32).reshape(2, 3),
    "a": np.array(7, dtype=np.int64),
    "half": np.array([1.5, -2], dtype=np.float16),
    "none": np.zeros((0, 4), dtype=np.float32),
    "bytes": np.array([True, False, True]),
    "seen": np.arange(4, dtype=np.uint64)[::2],
}
METADATA = {"format": "imgret", "what": 'ein Bäcker, "quoted"', "a": ""}


def with_header(header, body=b""):
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + body


def test_what_is_written_is_read(tmp_path):
    path = str(tmp_path / "a.safetensors")
    safetensors_files.write(path, ARRAYS, METADATA)
    header = safetensors_files.read_header(path)
    assert header.metadata == METADATA
    assert {name: (dtype, shape) for name, (dtype, shape, _) in header.tensors.items()} == {
        **{"b.weight": ("F32", (2, 3)), "a": ("I64", ()), "half": ("F16", (2,))},
        **{"none": ("F32", (0, 4)), "bytes": ("BOOL", (3,)), "seen": ("U64", (2,))},
    }
    found = safetensors_files.read(path)
    assert found.keys() == ARRAYS.keys()
    for name, array in ARRAYS.items():
        assert found[name].dtype == array.dtype
        assert np.array_equal(found[name], array)
        first, last = header.tensors[name][2]
        assert last - first == array.nbytes
    with safetensors.safe_open(path, "numpy") as file:  # the library's own reader
        assert file.metadata() == METADATA
        assert np.array_equal(file.get_tensor("b.weight"), ARRAYS["b.weight"])
    assert (os.path.getsize(path) - sum(array.nbytes for array in ARRAYS.values())) % 8 == 0


def test_the_same_bytes_in_another_process_and_order(tmp_path):
    paths = [str(tmp_path / name) for name in ("a", "b")]
    safetensors_files.write(paths[0], ARRAYS, METADATA)
    program = (
        "from tests.test_safetensors_files import *\n"
        f"safetensors_files.write({paths[1]!r}, dict(reversed(ARRAYS.items())), dict(reversed(METADATA.items())))"
    )
    subprocess.run([sys.executable, "-c", program], cwd=ROOT, check=True, env=os.environ | {"PYTHONPATH": f"{ROOT}:{ROOT}/tests"})
    first, second = (open(path, "rb").read() for path in paths)
    assert first == second


def test_a_header_is_read_without_torch_or_the_library(tmp_path):
    path = str(tmp_path / "a.safetensors")
    safetensors_files.write(path, ARRAYS, METADATA)
    program = (
        "import sys\nfrom imgret.networks import safetensors_files\n"
        f"print(safetensors_files.read_header({path!r}).metadata['format'], 'torch' in sys.modules, 'safetensors' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, check=True, capture_output=True, text=True)
    assert done.stdout.split() == ["imgret", "False", "False"]


def test_bfloat16_is_read_as_float32(tmp_path):
    path = tmp_path / "a.safetensors"
    path.write_bytes(with_header({"a": {"dtype": "BF16", "shape": [2], "data_offsets": [0, 4]}}, struct.pack("<HH", 0x3FC0, 0xC000)))
    assert safetensors_files.read(str(path))["a"].tolist() == [1.5, -2.0]


def test_a_type_that_is_not_read(tmp_path):
    path = tmp_path / "a.safetensors"
    path.write_bytes(with_header({"a": {"dtype": "F8_E4M3", "shape": [2], "data_offsets": [0, 2]}}, b"\0\0"))
    with pytest.raises(ImgretError, match="a.safetensors: a is of the type F8_E4M3, which this imgret does not read: upgrade imgret$"):
        safetensors_files.read(str(path))


BAD = {
    "empty": b"",
    "no header": struct.pack("<Q", 0),
    "a header past the end": struct.pack("<Q", 100) + b"{}",
    "a huge header": struct.pack("<Q", (16 << 20) + 1) + b" " * 100,
    "no JSON": with_header(b"{'a': 1}"),
    "deep JSON": with_header(b"[" * 100_000),
    "a list": with_header([1]),
    "metadata that are no text": with_header({"__metadata__": {"a": 1}}),
    "metadata that are a list": with_header({"__metadata__": ["a"]}),
    "one name twice": with_header(b'{"__metadata__": {}, "a": {"dtype": "U8", "shape": [0], "data_offsets": [0, 0]}, "a": {}}'),
    "bytes that nothing names": with_header({"__metadata__": {"a": "b"}}, b"\0"),
    "a gap": with_header({"a": {"dtype": "U8", "shape": [1], "data_offsets": [1, 2]}}, b"\0\0"),
    "an overlap": with_header(
        {name: {"dtype": "U8", "shape": [2], "data_offsets": [at, at + 2]} for at, name in enumerate("ab")}, b"\0" * 3
    ),
    "a shape that is not its bytes": with_header({"a": {"dtype": "F32", "shape": [2], "data_offsets": [0, 4]}}, b"\0" * 4),
    "a shape of terabytes": with_header({"a": {"dtype": "F8_E4M3", "shape": [1 << 39, 0], "data_offsets": [0, 4]}}, b"\0" * 5),
    "cut": with_header({"a": {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}}, b"\0" * 7),
    "truths for numbers": with_header({"a": {"dtype": "U8", "shape": [True], "data_offsets": [0, 1]}}, b"\0"),
}


@pytest.mark.parametrize("kind", BAD)
@pytest.mark.parametrize("way", ["read_header", "read"])
def test_damaged_files(kind, way, tmp_path):
    path = tmp_path / "a.safetensors"
    path.write_bytes(BAD[kind])
    with pytest.raises(ImgretError) as caught:
        getattr(safetensors_files, way)(str(path))
    assert str(caught.value) == f"{path} is no sound .safetensors file: copy the file again"


def test_what_is_no_file(tmp_path):
    with pytest.raises(ImgretError, match="gone: no such file or directory$"):
        safetensors_files.read_header(str(tmp_path / "gone"))
    os.mkfifo(tmp_path / "pipe")
    for path in (str(tmp_path), str(tmp_path / "pipe"), "/dev/zero"):
        with pytest.raises(ImgretError) as caught:
            safetensors_files.read(path)
        assert str(caught.value) == f"{path} is not a regular file"


def test_without_the_library(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "safetensors", None)
    for work in (lambda path: safetensors_files.write(path, {}, {}), lambda path: safetensors_files.entries(b"", path)):
        with pytest.raises(ImgretError, match=r"^files of the safetensors format need their library: pip install 'imgret\[cnn\]'$"):
            work(str(tmp_path / "a"))


def test_a_full_disk_is_an_oserror():
    if not os.path.exists("/dev/full"):
        pytest.skip("no /dev/full")
    with pytest.raises(OSError, match="No space left"):
        safetensors_files.write("/dev/full", ARRAYS, METADATA)
