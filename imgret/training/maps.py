"""What a training computes once and reads often, in files of its own: maps below a frozen layer, and vectors to mine among."""

import os
import zlib

import numpy as np

from imgret.errors import ImgretError
from imgret.store.writer import write_error

RECORD = np.dtype(
    [("photo", "<i8"), ("view", "<i8"), ("offset", "<i8"), ("shape", "<i4", 3), ("checksum", "<u4"), ("record", "<u4")]
)  # of a map in the index
TYPE = np.dtype("<f4")


class Maps:
    """The frozen layer's output of each (photo, view), which a run that was killed leaves to the next.

        maps-<key>.data      the maps, one after another, float32
        maps-<key>.index     a record for each: what it is of, where it is, its shape, and checksums of it and of the record

    Both only grow. A record is written after its map, and counts where its checksum and that of the map are right.

    Parameters
    ----------
    folder : str
        It exists.
    key : str
        Of the network, the photos and their views: the same key, the same maps.

    Raises
    ------
    ImgretError
        If the files cannot be read or written.
    """

    def __init__(self, folder, key):
        self._paths = [os.path.join(folder, f"maps-{key}.{ending}") for ending in ("data", "index")]
        self._data = self._index = None
        try:
            self._data, self._index = (os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666) for path in self._paths)
            self._known, self._end = self._found()
        except OSError as error:
            self.close()
            raise write_error(os.fsdecode(self._paths[0]), error) from None

    def close(self):
        """Close the files."""
        for descriptor in (self._data, self._index):
            if descriptor is not None:
                os.close(descriptor)
        self._data = self._index = None

    def _found(self):
        """Offset and shape of each whole map, and where the next one goes; what is behind the last whole record is cut off."""
        size, known, end = os.fstat(self._data).st_size, {}, 0
        whole = os.pread(self._index, os.fstat(self._index).st_size, 0)
        records = np.frombuffer(whole[: len(whole) // RECORD.itemsize * RECORD.itemsize], RECORD)
        for number, record in enumerate(records):
            shape, offset = tuple(map(int, record["shape"])), int(record["offset"])
            length = int(np.prod(shape)) * TYPE.itemsize
            sound = record["record"] == _checksum(record) and offset == end and offset + length <= size
            if not sound or zlib.crc32(os.pread(self._data, length, offset)) != record["checksum"]:
                records = records[:number]
                break
            known[int(record["photo"]), int(record["view"])], end = (offset, shape), end + length
        os.ftruncate(self._index, len(records) * RECORD.itemsize)
        os.ftruncate(self._data, end)
        return known, end

    def missing(self, pairs):
        """Those of some (photo, view) that are not there, in order."""
        return [pair for pair in pairs if pair not in self._known]

    def add(self, pairs, maps):
        """Keep the maps (C, h, w), float32, of some (photo, view).

        Raises
        ------
        ImgretError
            If there is no room.
        """
        records = np.zeros(len(pairs), RECORD)
        datas = [np.ascontiguousarray(each, TYPE).tobytes() for each in maps]
        offset = self._end
        for record, (photo, view), each, data in zip(records, pairs, maps, datas, strict=True):
            record["photo"], record["view"], record["offset"], record["shape"] = photo, view, offset, each.shape
            record["checksum"] = zlib.crc32(data)
            record["record"] = _checksum(record)
            offset += len(data)
        try:
            _write(self._data, b"".join(datas), self._end)
            _write(self._index, records.tobytes(), len(self._known) * RECORD.itemsize)
        except OSError as error:
            raise write_error(os.fsdecode(self._paths[0]), error) from None
        self._known |= {pair: (int(record["offset"]), each.shape) for pair, record, each in zip(pairs, records, maps, strict=True)}
        self._end = offset

    def get(self, pairs):
        """The maps of some (photo, view), ndarray (C, h, w) each."""
        found = []
        for pair in pairs:
            offset, shape = self._known[pair]
            data = os.pread(self._data, int(np.prod(shape)) * TYPE.itemsize, offset)
            found.append(np.frombuffer(data, TYPE).reshape(shape))
        return found


def _checksum(record):
    return zlib.crc32(record.tobytes()[: -RECORD["record"].itemsize])


def _write(descriptor, data, at):
    view = memoryview(data)
    while view:
        done = os.pwrite(descriptor, view, at)
        view, at = view[done:], at + done


class Vectors:
    """Vectors of photos in a file, begun anew.

    Parameters
    ----------
    folder, name : str
    count, dim : int
    dtype : numpy dtype
        float16 is enough to find negatives by; figures are made of float32.

    Raises
    ------
    ImgretError
        If it cannot be written.
    """

    def __init__(self, folder, name, count, dim, dtype=np.float16):
        self._path, self._shape, self._dtype = os.path.join(folder, f"{name}.vectors"), (count, dim), np.dtype(dtype)
        try:
            with open(self._path, "wb"):
                pass
        except OSError as error:
            raise write_error(os.fsdecode(self._path), error) from None

    def write(self, first, rows):
        """Write rows (n, dim) from row `first` on.

        Raises
        ------
        ImgretError
            If there is no room.
        """
        try:
            with open(self._path, "r+b") as file:
                _write(file.fileno(), np.ascontiguousarray(rows, self._dtype).tobytes(), first * self._shape[1] * self._dtype.itemsize)
        except OSError as error:
            raise write_error(os.fsdecode(self._path), error) from None

    def read(self, rows):
        """Some rows, ndarray (n, dim), float32; all of them must have been written."""
        try:
            return np.memmap(self._path, self._dtype, "r", shape=self._shape)[rows].astype(np.float32)
        except (OSError, ValueError):
            raise ImgretError(f"{os.fsdecode(self._path)} has gone while it was worked with: run the same command again") from None
