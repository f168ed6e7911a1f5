"""Photos to test with, and ways to run the command: shared by the tests of photos, listing, bad input and the command line."""

import contextlib
import dataclasses
import fcntl
import functools
import io
import os
import shutil
import struct
import subprocess
import sys
import zlib
from pathlib import Path

import numpy as np
from PIL import Image

import imgret.cli.main
from imgret import endings

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
SHARED = "IMGRET_TEST_SHARED"  # names a folder of all processes of a test run

SEARCHED = " ".join(
    (".jpg .jpeg .jpe .jfif .mpo .png .webp .tif .tiff .bmp .gif", *(end.decode() for end in endings.OPTIONAL if endings.readable(end)))
)


@dataclasses.dataclass(frozen=True)
class Result:
    """How a command ended."""

    code: int
    out: bytes
    err: str

    @property
    def lines(self):
        """What it answered, line by line."""
        return self.out.decode("utf-8", "surrogateescape").splitlines()


def call(*arguments, stdin=b""):
    """Run `imgret` in this process: fast, and good for all that needs no process of its own."""
    out, err = io.BytesIO(), io.BytesIO()
    streams = (sys.stdin, sys.stdout, sys.stderr)
    sys.stdin = io.TextIOWrapper(io.BytesIO(stdin))
    sys.stdout, sys.stderr = io.TextIOWrapper(out), io.TextIOWrapper(err)
    code = None
    try:
        imgret.cli.main.main([os.fspath(argument) if not isinstance(argument, int) else str(argument) for argument in arguments])
    except SystemExit as end:
        code = end.code
    finally:
        for stream in (sys.stdout, sys.stderr):
            with contextlib.suppress(ValueError):
                stream.flush()
        answer = out.getvalue(), err.getvalue()  # before the wrappers go and close them
        sys.stdin, sys.stdout, sys.stderr = streams
    return _checked(code, *answer)


def run(*arguments, stdin=b"", env=None, cwd=None, timeout=120, **options):
    """Run `imgret` as a user does."""
    command = [sys.executable, "-m", "imgret", *map(_argument, arguments)]
    environment = dict(os.environ, PYTHONPATH=os.pathsep.join(filter(None, (ROOT, os.environ.get("PYTHONPATH")))))
    environment |= env or {}
    done = subprocess.run(command, input=stdin, capture_output=True, env=environment, cwd=cwd, timeout=timeout, check=False, **options)
    return _checked(done.returncode, done.stdout, done.stderr)


def _argument(argument):
    return argument if isinstance(argument, bytes) else str(argument)


def _checked(code, out, err):
    err = err.decode("utf-8", "surrogateescape")
    assert "Traceback" not in err, err
    return Result(code, out, err)


def refused(result, code, text):
    """Assert that a command was refused with just this sentence, and answered nothing."""
    got, wanted = (result.err, result.out, result.code), (f"imgret: error: {text}\n", b"", code)
    assert got == wanted, f"{got}\n{wanted}"


def misused(result, text):
    """Assert a usage error of click's: usage lines, then this sentence; exit code 2."""
    lines = result.err.splitlines()
    got, wanted = (lines[0][:14], lines[-1], result.out, result.code), ("Usage: imgret ", f"Error: {text}", b"", 2)
    assert got == wanted, f"{got}\n{wanted}"


def texture(seed=0, width=160, height=120, channels=None):
    """Smooth blobs and rectangles, uint8, shape (height, width) or (height, width, channels): enough for SIFT to hold on to."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:height, :width]
    shape = (height, width, channels or 1)
    picture = np.full(shape, 110.0)
    for _ in range(40):
        cx, cy, size = rng.uniform(0, width), rng.uniform(0, height), rng.uniform(2, 9)
        blob = np.exp(-((x - cx) ** 2 + (y - cy) ** 2) / (2 * size**2))
        picture += blob[:, :, None] * rng.uniform(-120, 120, shape[2])
    for _ in range(8):
        left, top = rng.integers(0, width - 8), rng.integers(0, height - 8)
        picture[top : top + rng.integers(6, 30), left : left + rng.integers(6, 30)] += rng.uniform(-60, 60, shape[2])
    picture = np.clip(picture, 0, 255).astype(np.uint8)
    return picture if channels else picture[:, :, 0]


def encoded(picture, form="PNG", **options):
    """A picture (array or PIL image) as the bytes of a file."""
    image = picture if isinstance(picture, Image.Image) else Image.fromarray(picture)
    file = io.BytesIO()
    image.save(file, form, **options)
    return file.getvalue()


def photo(path, seed=0, **size):
    """Write one textured photo; the ending decides the format."""
    form = {".jpg": "JPEG", ".png": "PNG", ".bmp": "BMP", ".tif": "TIFF", ".webp": "WEBP"}[os.path.splitext(os.fsdecode(path))[1]]
    with open(path, "wb") as file:
        file.write(encoded(texture(seed, **size), form))
    return path


def folder(path, count=3, **size):
    """A folder of `count` photos."""
    os.makedirs(path, exist_ok=True)
    for seed in range(count):
        photo(os.path.join(path, f"{seed}.png"), seed, **size)
    return path


def png_header(width, height, body=b""):
    """The bytes of a PNG that claims a size; its pixels are `body`, compressed."""

    def chunk(name, data):
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))

    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(body)) + chunk(b"IEND", b"")


def bmp_header(width, height):
    """The bytes of a 24-bit BMP that claims a size, without pixels."""
    return struct.pack("<2sIHHIIiiHHIIiiII", b"BM", 54, 0, 0, 54, 40, width, height, 1, 24, 0, 0, 0, 0, 0, 0)


def tiff_header(width, height):
    """The bytes of a greyscale TIFF that claims a size and has one byte of pixels."""
    entries = [(256, 4, width), (257, 4, height), (258, 3, 8), (259, 3, 1), (262, 3, 1), (273, 4, 8), (277, 3, 1), (278, 4, height)]
    entries.append((279, 4, 1))
    table = b"".join(struct.pack("<HHII", tag, kind, 1, value) for tag, kind, value in entries)
    return struct.pack("<2sHI", b"II", 42, 10) + b"\0\0" + struct.pack("<H", len(entries)) + table + struct.pack("<I", 0)


def webp_flat(width, height):
    """The bytes of a lossless WebP of one colour: 38, and whole, whatever its size."""
    data = bytearray(encoded(np.full((4, 4, 3), 99, np.uint8), "WEBP", lossless=True))
    (bits,) = struct.unpack_from("<I", data, 21)
    struct.pack_into("<I", data, 21, bits & 0xF0000000 | (height - 1) << 14 | (width - 1))
    return bytes(data)


def names_in(path, prefix=""):
    """The photos of a store: `names`, or `failed/names` with that prefix."""
    from imgret.store.reader import Store

    with Store(path) as store:
        return list(store.texts(prefix + "names"))


def failures(path):
    """The photos of a store that could not be used: name -> (code, reason)."""
    from imgret.stages.info import failed_photos

    return {entry["name"]: (entry["code"], entry["reason"]) for entry in failed_photos(path)}


def document(file, name):
    """The text of a store's JSON, of an `h5py.File`."""
    return file["meta"][name][()].tobytes().decode()


def say(file, name, text):
    """Let a store say something else, unsigned: put this text in place of its JSON."""
    file["meta"].pop(name, None)
    file["meta"][name] = np.frombuffer(text.encode(), np.uint8)


def left_over(path):
    """What lies in the folder of an output besides inputs: nothing may, after a refusal, under the final name."""
    return sorted(name for name in os.listdir(path) if not name.endswith(".parts"))


@dataclasses.dataclass(frozen=True)
class Stores:
    """A small store of each kind, made of six photos."""

    photos: str
    features: str
    words: str
    vectors: str
    projection: str
    index: str
    ranking: str


@contextlib.contextmanager
def once(name):
    """Make something in a folder that all processes of a test run share: gives the folder, and whether this one is the first there."""
    folder = Path(os.environ[SHARED], name)
    with open(f"{folder}.lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        made = Path(f"{folder}.made")
        if first := not made.exists():
            shutil.rmtree(folder, ignore_errors=True)
            folder.mkdir()
        yield folder, first
        made.touch()


@functools.cache
def stores():
    """`Stores`, made once; not to be written to."""
    kinds = ("features", "words", "vectors", "projection", "index", "ranking")
    with once("small") as (here, first):
        made = Stores(str(here / "photos"), **{kind: str(here / f"{kind}.h5") for kind in kinds})
        if first:
            _make(made)
    return made


def _make(made):
    folder(made.photos, 6)
    for arguments in (
        ("extract", made.photos, "-o", made.features, "-j2"),
        ("codebook", made.features, "-o", made.words, "--size", "4", "-j1"),
        ("encode", made.features, "-c", made.words, "-o", made.vectors, "-j1"),
        ("codebook", made.vectors, "-o", made.projection, "-m", "pca", "--size", "4", "-j1"),
        ("index", made.vectors, "-o", made.index, "-j1"),
        ("search", made.index, made.vectors, "-o", made.ranking, "-j1"),
    ):
        result = call(*arguments)
        assert result.code == 0, result.err


def same_answers(first, second):
    """Assert that two searches printed as TSV have the same ranks and, to what a batch may change, the same scores."""
    rows, others = ([line.split("\t") for line in result.lines] for result in (first, second))
    assert [row[:3] for row in rows] == [row[:3] for row in others]
    assert np.allclose([float(row[3]) for row in rows[1:]], [float(row[3]) for row in others[1:]], atol=2e-6)


def resign(path):
    """Give a store that was changed by hand the checksums that fit it, as somebody would who means harm."""
    import h5py

    from imgret.store.blocks import BlockHashes, checksum_of, dataset_of
    from imgret.store.hashing import canonical, checksums_of_json, content_of, of_array, of_json, pipeline_hashes
    from imgret.store.reader import Store

    with Store(path, damaged=True) as store:
        columns = {name: store.read(name, verified=False) for name in store.column_names()}
        hashes = {name: BlockHashes(column.shape[1:], column.dtype) for name, column in columns.items()}
        for name, column in columns.items():
            hashes[name].update(column)
        digests = {name: found for name, column in hashes.items() if len(found := column.digests()) > 1}
        checksums = {name: of_array(column) for name, column in columns.items()} | checksums_of_json(store.recorded)
        content = content_of(store.layout, checksums, list(pipeline_hashes(store.pipeline)))
        checksums |= {f"#{name}": checksum_of(found, columns[name].dtype, columns[name].shape) for name, found in digests.items()}
        checksums["#"] = of_json(store.identity())
    with h5py.File(path, "r+", locking=False) as file:
        file.pop("blocks", None)
        for name, found in digests.items():
            file[dataset_of(name)] = found
        file.attrs.create("content", np.bytes_(content))
        say(file, "checksums", canonical(checksums))


def flip(path, column, at=0):
    """Change one bit of a column where it lies in the file, in its byte `at`; of one in chunks, in its first."""
    import h5py

    with h5py.File(path, "r", locking=False) as file:
        dataset = file[column]
        offset = dataset.id.get_chunk_info(0).byte_offset if dataset.chunks else dataset.id.get_offset()
        offset += at % dataset.nbytes
    with open(path, "r+b") as file:
        file.seek(offset)
        byte = file.read(1)[0]
        file.seek(offset)
        file.write(bytes([byte ^ 1]))
