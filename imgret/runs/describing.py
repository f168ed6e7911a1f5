"""The worker of `extract`: makes parts of a features or vectors store.

A photo of a part is taken over from where it was described before, or read, decoded and described.
"""

import collections
import concurrent.futures
import contextlib
import dataclasses
import os

import numpy as np

from imgret import images
from imgret.errors import ImgretError, quoted
from imgret.extractors import EXTRACTORS
from imgret.features import NO_DESCRIPTORS
from imgret.pipeline import Pipeline
from imgret.registry import load
from imgret.runs.partworker import PartWorker, append, columns_of
from imgret.runs.takeover import Sources
from imgret.store.parts import FolderVanished, Parts, Plan
from imgret.store.photos import BOXED, ORIGIN
from imgret.store.reader import Store


def projection_of(codebook, kind):
    """The pipeline of a projection, and how it is recorded as an input."""
    if codebook is None:
        return None, []
    with Store(codebook, ("codebook",), "--codebook") as words:
        learned = Pipeline.load(words)
        *_, left = kind.assigned([learned.node["component"]])
        if left is not None:
            raise ImgretError(
                f"{words.shown} is a {quoted(learned.node['component'])} codebook; extract -m {kind.name} "
                + (f"takes {kind.needs[0]}" if kind.needs else "takes none: it is for encode")
            )
        return learned, [words.as_input()]


class DescribeWorker(PartWorker):
    """Makes parts of a features or vectors store; lives in a worker process."""

    def __init__(self, setup):
        super().__init__(setup)
        import cv2

        cv2.setNumThreads(1)  # parallel over photos
        kind = load(EXTRACTORS, setup["method"], "extractor")
        learned, _ = projection_of(setup["codebook"], kind)
        self.extractor = kind(kind.Params.from_json(setup["extractor"]), None if learned is None else learned.component())
        self.extractor.read_as(setup["reading"])
        self.extractor.settle(setup["device"] or "auto")
        self.parts = Parts(setup["out"], setup["recipe"])
        self.sources = None

    def _older(self):
        for number in self.setup["older"]:
            with contextlib.suppress(FolderVanished, ImgretError):
                yield Plan(os.path.join(self.parts.folder, f"{number:04d}"), number)

    def make(self, task, starting):
        """Make one part; the number of its photos that failed."""
        if self.sources is None:
            out = self.setup["out"] if self.setup["take_over"] else None
            self.sources = Sources(out, self.setup["kind"], self.setup["recipe"], self._older(), self.extractor.columns())
        first, _ = self.plan.range(task["part"])

        def fill(photos):
            retry = False
            for entries in self._windows(task, first, starting):
                self._describe(entries)
                for entry in entries:
                    entry.append_to(photos)
                    self.copied += entry.source is not None
                    self.several += entry.photo is not None and entry.photo.several and entry.bad is None
                    retry |= entry.to_be_read_again
            starting(None)  # nor is the last photo to blame for what comes of writing the part
            return retry

        failed = self.write(task["part"], self.extractor.columns() | ORIGIN | (BOXED if "boxes" in task else {}), fill)
        self.sources.release()
        return failed

    def _windows(self, task, first, starting):
        """Yield the part's photos, read and decoded, as many at once as the extractor takes."""
        size, paths, crashed = self.extractor.window, task["paths"], dict(task.get("crashed", ()))
        boxes = map(images.Fractions, task["boxes"]) if task.get("fractions") else task.get("boxes")
        asked = list(zip(task["photos"], boxes, strict=True)) if "boxes" in task else [()] * len(paths)

        def read(item):
            return self._read(first + item, paths[item], crashed.get(item), *asked[item])

        windows = [range(start, min(start + size, len(paths))) for start in range(0, len(paths), size)]
        if self.setup["threads"] == 1 or task.get("careful"):
            for window in windows:
                entries = []
                for item in window:
                    starting(None if item in crashed else item)
                    entries.append(read(item))
                if size > 1:
                    starting(None)  # from here on no single photo is to blame
                yield entries
            return
        # a device is fed by threads, which decode the next photos while it describes these; what crashes then is looked for one by one
        with concurrent.futures.ThreadPoolExecutor(self.setup["threads"]) as pool:
            waiting = collections.deque()
            for window in windows:
                waiting.append([pool.submit(read, item) for item in window])
                if len(waiting) > 1:
                    yield [future.result() for future in waiting.popleft()]
            while waiting:
                yield [future.result() for future in waiting.popleft()]

    def _read(self, row, path, crashed, photo_name=None, box=None):
        """One photo, decoded, or failed, or found where it may be taken over from."""
        entry = Entry(self.plan.names[row], int(self.plan.sizes[row]), int(self.plan.mtimes[row]))
        entry.photo_name = photo_name if photo_name is None else os.fsencode(photo_name)
        try:
            if path is None:
                raise images.BadPhoto("unreadable", "it was listed, but has gone since")
            source = self.sources.find(entry.name, entry.size, entry.photo_name)
            # what failed does not say which photo a box was of: its bytes tell
            if source is not None and source.mtime == entry.mtime and not (source.prefix and entry.photo_name is not None):
                entry.source = source
                return entry
            if crashed is not None:  # it is not touched again
                raise images.BadPhoto("crashed", crashed)
            file = images.read_file(os.fsencode(path))
            entry.digest, entry.size, entry.mtime = file.digest, file.size, file.mtime_ns
            if source is not None and source.digest == file.digest:
                entry.source = source
                return entry
            entry.photo = self.extractor.read(file.data, box)
        except images.BadPhoto as bad:
            entry.bad = bad
        return entry

    def _describe(self, entries):
        new = [entry for entry in entries if entry.photo is not None]
        for entry, described in zip(new, self.extractor.describe([entry.photo for entry in new]) if new else (), strict=True):
            if isinstance(described, images.BadPhoto):
                entry.bad = described
            elif self.extractor.gives == "features" and not len(described):
                entry.bad = images.BadPhoto("no-descriptors", NO_DESCRIPTORS)
            else:
                entry.described = described


@dataclasses.dataclass
class Entry:
    """A photo, or a box of one, on its way into a part."""

    name: bytes
    size: int
    mtime: int
    digest: bytes = bytes(32)
    photo_name: bytes | None = None  # of a box
    photo: images.Photo | None = None
    source: object = None
    bad: images.BadPhoto | None = None
    described: object = None

    @property
    def to_be_read_again(self):
        """Whether the next run should try it again."""
        return self.bad is not None and images.to_be_tried_again(self.bad.code, self.bad.reason)

    def append_to(self, photos):
        """Write it to a part, by a `PhotoWriter`."""
        if self.source is not None:
            self.source.copy_to(photos, self.mtime)
        elif self.bad is not None:
            photos.fail(self.name, self.bad.code, self.bad.reason, self.digest, self.size, self.mtime)
        else:
            meta = {
                "image_size": np.array([self.photo.size]),
                "digest": np.frombuffer(self.digest, np.uint8)[None],
                "file_size": np.array([self.size]),
                "file_mtime_ns": np.array([self.mtime]),
            }
            if self.photo_name is not None:
                meta |= {"photo_names": [self.photo_name], "box": np.array([self.photo.box])}
            columns = columns_of(self.described)
            photos.photos([self.name], meta | {"origin": np.array([photos.origin(columns)], np.uint64)})
            append(photos, columns)
