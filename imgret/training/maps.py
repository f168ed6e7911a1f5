"""What a training computes once and reads often, in files of its own: maps below a frozen layer, and vectors to mine among."""

import contextlib
import fcntl
import os
import tempfile
import zlib

import numpy as np

from imgret.errors import ImgretError, why
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
        self._shown, self._files = os.path.join(os.fsdecode(folder), f"maps-{key}.data"), contextlib.ExitStack()
        try:
            self._data = self._opened(folder, f"maps-{key}.data")
            mine = _locked(self._data)
            if not mine:  # another run is at the same: each has its own
                self._data = _nameless(folder, self._files)
            self._index = self._opened(folder, f"maps-{key}.index") if mine else _nameless(folder, self._files)
            self._known, self._count, self._end = self._found()
        except OSError as error:
            self.close()
            raise write_error(self._shown, error) from None

    def _opened(self, folder, name):
        descriptor = os.open(os.path.join(os.fsdecode(folder), name), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
        self._files.callback(os.close, descriptor)
        return descriptor

    def close(self):
        """Close the files."""
        self._files.close()

    def _found(self):
        """Offset and shape of each whole map, how many there are, where the next one goes; what is behind the last whole one is cut off."""
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
        return known, len(records), end

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
            _write(self._index, records.tobytes(), self._count * RECORD.itemsize)
        except OSError as error:
            raise write_error(self._shown, error) from None
        self._known |= {pair: (int(record["offset"]), each.shape) for pair, record, each in zip(pairs, records, maps, strict=True)}
        self._count, self._end = self._count + len(records), offset

    def get(self, pairs):
        """The maps of some (photo, view), ndarray (C, h, w) each."""
        found = []
        for pair in pairs:
            offset, shape = self._known[pair]
            found.append(_read(self._data, np.empty(shape, TYPE), offset, self._shown))
        return found


def _checksum(record):
    return zlib.crc32(record.tobytes()[: -RECORD["record"].itemsize])


def _write(descriptor, data, at):
    view = memoryview(data)
    while view:
        done = os.pwrite(descriptor, view, at)
        view, at = view[done:], at + done


def _read(descriptor, array, at, shown):
    """Fill an array from byte `at` on: what is mapped instead counts as memory, and a disk that fails ends the process."""
    view = memoryview(array).cast("B")
    try:
        while view:
            done = os.preadv(descriptor, [view], at)
            if not done:
                raise OSError("it is shorter than it was")
            view, at = view[done:], at + done
    except OSError as error:
        raise ImgretError(f"{shown} cannot be read any more: {why(error)}; run the same command again") from None
    return array


def _locked(descriptor):
    """Take a file's lock, unless another process holds it."""
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:
        pass  # a file system without locks
    return True


def _nameless(folder, files):
    """The descriptor of a new file that goes with the process."""
    return files.enter_context(tempfile.TemporaryFile(dir=folder, buffering=0)).fileno()


class Vectors:
    """Vectors of photos in a file that has no name, and goes with the process.

    Parameters
    ----------
    folder, name : str
        Where it is, and what it is called in messages.
    count, dim : int
    dtype : numpy dtype
        float16 is enough to find negatives by; figures are made of float32.

    Raises
    ------
    ImgretError
        If it cannot be written.
    """

    def __init__(self, folder, name, count, dim, dtype=np.float16):
        self._shown = os.path.join(os.fsdecode(folder), f"{name}.vectors")
        self._dim, self._dtype = dim, np.dtype(dtype)
        try:
            self._file = tempfile.TemporaryFile(dir=folder, buffering=0)  # noqa: SIM115 - it is there as long as this is
        except OSError as error:
            raise write_error(self._shown, error) from None

    def write(self, first, rows):
        """Write rows (n, dim) from row `first` on.

        Raises
        ------
        ImgretError
            If there is no room.
        """
        try:
            _write(self._file.fileno(), np.ascontiguousarray(rows, self._dtype).tobytes(), first * self._dim * self._dtype.itemsize)
        except OSError as error:
            raise write_error(self._shown, error) from None

    def read(self, rows):
        """Some rows, ndarray (n, dim), float32, by their numbers; all of them must have been written.

        Raises
        ------
        ImgretError
            If they cannot be read.
        """
        rows = np.asarray(rows, np.int64)
        found = np.empty((len(rows), self._dim), self._dtype)
        ends = [*(np.flatnonzero(np.diff(rows) != 1) + 1).tolist(), len(rows)] if len(rows) else []
        for start, end in zip([0, *ends], ends, strict=False):  # neighbours are read at once
            _read(self._file.fileno(), found[start:end], int(rows[start]) * self._dim * self._dtype.itemsize, self._shown)
        return found.astype(np.float32)
