"""All photos are looked at before training begins: what each is, and whether it can be read. What was found is kept.

    looked-<key>.jsonl      a line for some photos: a checksum, and of each its name, size, time, digest, and what is wrong with it

Lines are only ever added. One that is not whole is passed over, so that a run that was killed looks again at a few photos only.
"""

import contextlib
import dataclasses
import json
import os
import zlib

import numpy as np

from imgret import images
from imgret.errors import ImgretError, why
from imgret.runs import workers
from imgret.runs.failures import Failure
from imgret.store.hashing import of_json
from imgret.store.writer import write_error
from imgret.training.reading import Reading

WORKER = "imgret.training.looking:Looker"
TASK_PHOTOS = 16  # that a process is given at once
VERSION = 1  # raised where what is in a line comes to mean something else


@dataclasses.dataclass(frozen=True)
class Looked:
    """Photos that can be trained on, in byte order of their names, and those that cannot.

    Attributes
    ----------
    names, paths : list of bytes
    digests : ndarray, shape (N, 32), uint8
        SHA-256 of their files.
    sizes, mtimes : ndarray, shape (N,), int64
        Of their files: bytes, and nanoseconds.
    failed : list of (bytes, str, str)
        Name, code and reason of each photo that cannot be used.
    """

    names: list
    paths: list
    digests: np.ndarray
    sizes: np.ndarray
    mtimes: np.ndarray
    failed: list

    def __len__(self):
        return len(self.names)

    def joined(self, other):
        """These photos, then those of another: in two orders, one after the other."""
        arrays = (np.concatenate([getattr(self, name), getattr(other, name)]) for name in ("digests", "sizes", "mtimes"))
        return Looked(self.names + other.names, self.paths + other.paths, *arrays, self.failed + other.failed)


def look(listing, folder, setup, run, limit=None):
    """Look at every photo that has not been looked at as it is.

    Parameters
    ----------
    listing : imgret.found.Listing
    folder : str
        Where what was found is kept; it exists.
    setup : dict
        What makes a `Reading`.
    run : imgret.runs.run.Run
    limit : imgret.runs.failures.MaxFailed, optional
        How many may fail.

    Returns
    -------
    Looked

    Raises
    ------
    ImgretError
        If too many photos fail, or what was found cannot be written.
    """
    log, found = _Log(folder, setup), _Found(listing)
    for row in log.rows():
        found.put_known(row)
    todo = np.flatnonzero(~found.known)
    if limit is not None:
        limit.check_so_far(found.failures(), len(found.failed), len(listing))
    with log, run.report.progress(len(listing), "photo", len(listing) - len(todo)) as progress:

        def done(task, result):
            rows = [[os.fsdecode(listing.names[number]), *row] for number, row in zip(task["photos"], result, strict=True)]
            log.add(rows)
            for number, row in zip(task["photos"], rows, strict=True):
                found.put(number, row)
            progress.update(len(rows))
            if limit is not None:
                limit.check_so_far(found.failures(), len(found.failed), len(listing))

        jobs = max(1, min(run.jobs, -(-len(todo) // TASK_PHOTOS)))
        workers.run(WORKER, setup, _tasks(listing, todo), jobs, done)
    if limit is not None:
        limit.check(found.failures(), len(listing) - len(found.failed), len(found.failed))
    return found.looked()


def _tasks(listing, todo):
    for start in range(0, len(todo), TASK_PHOTOS):
        photos = todo[start : start + TASK_PHOTOS].tolist()
        facts = [(int(listing.sizes[number]), int(listing.mtimes[number])) for number in photos]
        yield {"photos": photos, "facts": facts, "paths": [os.fsdecode(listing.paths[number]) for number in photos]}


class Looker:
    """Looks at photos; lives in a worker process."""

    def __init__(self, setup):
        import cv2

        cv2.setNumThreads(1)  # parallel over photos
        self._reading = Reading(**setup)

    def work(self, task, starting):
        """Of each photo its size, time, digest, and what is wrong with it: a code and a reason, or None; see `imgret.runs.workers.run`."""
        crashed, found = dict(task.get("crashed", ())), []
        for item, path in enumerate(task["paths"]):
            starting(None if item in crashed else item)
            found.append(self._looked(path, task["facts"][item], crashed.get(item)))
        return found

    def _looked(self, path, facts, crashed):
        facts, digest = tuple(facts), bytes(32).hex()
        try:
            if crashed is not None:  # it is not touched again
                raise images.BadPhoto("crashed", crashed)
            file = images.read_file(os.fsencode(path))
            facts, digest = (file.size, file.mtime_ns), file.digest.hex()
            self._reading.read(file.data)
        except images.BadPhoto as bad:
            return [*facts, digest, bad.code, bad.reason]
        return [*facts, digest, None, None]


class _Found:
    """What is known of the photos of a listing."""

    def __init__(self, listing):
        self._listing = listing
        self.known, self.failed = np.zeros(len(listing), bool), {}
        self._digests, self._facts = np.zeros((len(listing), 32), np.uint8), np.zeros((2, len(listing)), np.int64)

    def put_known(self, row):
        """Take what was found before, where the photo is as it was and nothing else may come of it now."""
        name, size, mtime, _, code, reason = row
        number = self._listing.names.find(os.fsencode(name))
        as_it_was = number >= 0 and (size, mtime) == (self._listing.sizes[number], self._listing.mtimes[number])
        if as_it_was and not (code is not None and images.to_be_tried_again(code, reason)):
            self.put(number, row)

    def put(self, number, row):
        """Take what was found."""
        _, size, mtime, digest, code, reason = row
        self.known[number], self._facts[:, number] = True, (size, mtime)
        self._digests[number] = np.frombuffer(bytes.fromhex(digest), np.uint8)
        self.failed.pop(number, None)
        if code is not None:
            self.failed[number] = code, reason

    def failures(self):
        """Yield a `Failure` for each photo that cannot be used, in order."""
        for number, (code, reason) in sorted(self.failed.items()):
            yield Failure(self._listing.names[number], code, reason, *self._facts[:, number].tolist(), self._digests[number].tobytes())

    def looked(self):
        """All of it."""
        good = np.delete(np.arange(len(self._listing)), sorted(self.failed))
        listed = ([values[number] for number in good] for values in (self._listing.names, self._listing.paths))
        failed = [(each.name, each.code, each.reason) for each in self.failures()]
        return Looked(*listed, self._digests[good], *self._facts[:, good], failed)


class _Log:
    """What was found, in a file to which lines are added; a context manager, inside which it is open."""

    def __init__(self, folder, setup):
        key = of_json({"reading": setup, "version": VERSION})[:16]
        self._path, self._file = os.path.join(folder, f"looked-{key}.jsonl"), None

    def rows(self):
        """Yield what whole lines say."""
        try:
            with open(self._path, "rb") as file:
                for line in file:
                    yield from _parsed(line)
        except FileNotFoundError:
            return
        except OSError as error:
            raise ImgretError(f"{os.fsdecode(self._path)} cannot be read: {why(error)}") from None

    def __enter__(self):
        with self._explained():
            self._file = os.open(self._path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o666)
        return self

    def __exit__(self, *_):
        os.close(self._file)

    def add(self, rows):
        """Add a line for some photos."""
        text = json.dumps(rows).encode()
        line = b"\n%08x %s\n" % (zlib.crc32(text), text)  # what a killed run has begun ends here
        with self._explained():
            while line:
                line = line[os.write(self._file, line) :]

    @contextlib.contextmanager
    def _explained(self):
        try:
            yield
        except OSError as error:
            raise write_error(os.fsdecode(self._path), error) from None


def _parsed(line):
    """What a line says of photos; nothing where it is not whole."""
    checksum, _, text = line.rstrip(b"\n").partition(b" ")
    return json.loads(text) if checksum == b"%08x" % zlib.crc32(text) else ()
