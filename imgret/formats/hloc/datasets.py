"""Datasets of a stranger's HDF5 file: of which type, all there, and packed so that what comes out is bounded."""

import itertools
import math
import zlib

import h5py
import numpy as np

FLOATS = ("float16", "float32", "float64")
INTEGERS = tuple(f"{sign}int{bits}" for sign in ("", "u") for bits in (8, 16, 32, 64))
MAX_CHUNK = 32 << 20  # bytes that a packed chunk may have unpacked
GROWTH, SPARE = 32, 16 << 20  # what is packed may unpack to so many times the file's size, and as many bytes more
SHUFFLE, FLETCHER, LZF = h5py.h5z.FILTER_SHUFFLE, h5py.h5z.FILTER_FLETCHER32, 32000
PACKED = {h5py.h5z.FILTER_DEFLATE: "gzip", LZF: "lzf"}
ELSEWHERE = "is compressed, virtual or outside the file: run h5repack -f NONE on it first"
LACKING = "is not all there: the file is damaged"


class Unfit(Exception):  # noqa: N818 - a finding about an image, recorded
    """What is wrong with an image in the file.

    Attributes
    ----------
    code : str
        `malformed`, `truncated`, `too-large` or `not-finite`.
    reason : str
        One sentence.
    """

    def __init__(self, code, reason):
        super().__init__(code, reason)
        self.code, self.reason = code, reason


class Budget:
    """How much the datasets of a file of this size can hold.

    Parameters
    ----------
    size : int
        Bytes.
    """

    def __init__(self, size):
        self._stored, self._unpacked = size, GROWTH * size + SPARE

    def check(self, name, dataset, types, words, shape):
        """Refuse a dataset that is not plain numbers, all in the file; nothing of it is read.

        Parameters
        ----------
        name : str
            For messages.
        dataset : h5py.h5d.DatasetID
        types : sequence of str
            Names of dtypes.
        words : str
            These in words.
        shape : str
            What its shape should be, with as many commas as there are axes.

        Returns
        -------
        tuple of int
            Its shape.

        Raises
        ------
        Unfit
        """
        found, dtype = dataset.shape, dtype_of(dataset)
        if found is None or len(found) != len(shape.split(",")):
            raise Unfit("malformed", f"{name} has the shape {found}, not {shape}")
        if dtype.name not in types:
            raise Unfit("malformed", f"{name} is of the type {dtype}, {words} are needed")
        plist, stored, size = dataset.get_create_plist(), dataset.get_storage_size(), math.prod(found) * dtype.itemsize
        layout = plist.get_layout()
        if plist.get_external_count() or layout not in (h5py.h5d.CONTIGUOUS, h5py.h5d.CHUNKED, h5py.h5d.COMPACT):
            raise Unfit("malformed", f"{name} {ELSEWHERE}")
        # two datasets may not claim the same bytes: small files cannot stand for huge ones
        if stored > self._stored:
            raise Unfit("truncated", f"{name} {LACKING}")
        self._stored -= stored
        if not plist.get_nfilters():
            if size > stored:
                raise Unfit("truncated", f"{name} {LACKING}")
            return found
        if not _known(plist):
            raise Unfit("malformed", f"{name} {ELSEWHERE}")
        chunk = math.prod(plist.get_chunk()) * dtype.itemsize
        if chunk > MAX_CHUNK or size > self._unpacked:
            raise Unfit("too-large", f"{name} unpacks to more than a file of this size can mean: run h5repack -f NONE on it first")
        if _count(found, plist.get_chunk()) > stored:
            raise Unfit("truncated", f"{name} {LACKING}")
        self._unpacked -= size
        return found


def dtype_of(dataset):
    """A dataset's dtype; `object` where HDF5 has a type that numpy has not."""
    try:
        return dataset.dtype
    except (TypeError, ValueError):
        return np.dtype(object)


def check_chunks(name, dataset):
    """Refuse packed chunks that are not there, or hold another number of bytes than they should: HDF5 would set aside whatever comes out.

    Raises
    ------
    Unfit
    """
    plist = dataset.get_create_plist()
    if not plist.get_nfilters():
        return
    chunk, filters = plist.get_chunk(), _filters(plist)
    size = math.prod(chunk) * dataset.dtype.itemsize
    for corner in itertools.product(*(range(0, side, step) for side, step in zip(dataset.shape, chunk, strict=True))):
        try:
            info = dataset.get_chunk_info_by_coord(corner)
            # a chunk that cannot be packed grows a little
            if info.byte_offset is None or info.size > size + size // 8 + 1024:
                raise Unfit("truncated", f"{name} {LACKING}")
            mask, packed = dataset.read_direct_chunk(corner)
        except (OSError, ValueError, RuntimeError, KeyError, MemoryError):
            raise Unfit("truncated", f"{name} {LACKING}") from None
        used = [code for number, code in enumerate(filters) if not mask >> number & 1]
        packed = packed[: len(packed) - 4] if FLETCHER in used else packed
        if h5py.h5z.FILTER_DEFLATE in used:
            found = _inflated(packed, size)
        elif LZF in used:
            found = _lzf_size(packed, size)
        else:
            found = len(packed)
        if found != size:
            raise Unfit("truncated" if found < size else "too-large", f"{name} does not unpack to what it should: the file is damaged")


def _filters(plist):
    return [plist.get_filter(number)[0] for number in range(plist.get_nfilters())]


def _known(plist):
    """Whether a dataset is packed once at most, by what comes with HDF5 and h5py: no plug-in is loaded."""
    order = [code for code in (SHUFFLE, *PACKED, FLETCHER) if code in _filters(plist)]
    return _filters(plist) == order and sum(code in PACKED for code in order) < 2


def _count(shape, chunk):
    return math.prod(-(-side // step) for side, step in zip(shape, chunk, strict=True))


def _inflated(packed, most):
    """How many bytes a zlib stream gives; `most` + 1 where it would be more, -1 where it is damaged."""
    stream = zlib.decompressobj()
    try:
        size = len(stream.decompress(packed, most + 1))
    except zlib.error:
        return -1
    return size if stream.eof or size > most else -1


def _lzf_size(packed, most):
    """The same of an LZF stream, by its tokens: runs of up to 32 bytes, and copies of up to 264."""
    at = size = 0
    while at < len(packed):
        token = packed[at]
        if token < 32:
            size, at = size + token + 1, at + token + 2
        else:
            long = token >> 5 == 7
            if at + 1 + long >= len(packed):
                return -1
            size += (token >> 5) + 2 + (packed[at + 1] if long else 0)
            at += 2 + long
        if size > most:
            return most + 1
    return size if at == len(packed) else -1
