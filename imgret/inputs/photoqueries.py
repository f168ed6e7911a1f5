"""Queries that are photos: described by processes of their own, as a stranger's photo may be the end of the one that decodes it."""

import base64
import contextlib
import os

import numpy as np

from imgret import images
from imgret.describer import Describer, Describers
from imgret.errors import changed
from imgret.inputs.queries import Queries, describing, no_boxes, together
from imgret.pipeline import Pipeline
from imgret.runs import workers
from imgret.store.hashing import of_json
from imgret.store.reader import Store
from imgret.store.versions import own

WORKER = "imgret.inputs.photoqueries:QueryWorker"
TASK_PHOTOS = 8  # at most, that a process is given at once


class PhotoQueries:
    """Queries that are photos: described as the index's own photos were, by processes that may end over one of them and be replaced.

    Parameters
    ----------
    listing : imgret.found.Listing
    gallery : imgret.inputs.gallery.Gallery
    failures : imgret.inputs.queries.Failures
    run : imgret.runs.run.Run
    weights : tuple of str
        Files to look for networks' weights in, before the recorded places.
    """

    boxed = False

    def __init__(self, listing, gallery, failures, run, weights=()):
        self._listing, self._failures, self._jobs = listing, failures, min(run.jobs, max(1, len(listing.paths)))
        self._one_process = any(extractor.one_process for extractor in Describer(gallery.pipeline).extractors())
        self._setup = {
            "index": os.fsdecode(gallery.store.path),
            "content": gallery.store.content,
            "asked": gallery.asked,
            "device": run.device,
            "weights": list(weights),
            "jobs": self._jobs,
            "threads": self._jobs if self._one_process else 1,
        }

    def __len__(self):
        return len(self._listing.paths)

    def inputs(self):
        """How they are recorded: by name, size and time."""
        return [entry_of(self._listing)]

    def made_by(self):
        """The `generated_by` of whatever describes them."""
        return own()

    def blocks(self, size):
        """Yield `Queries` of at most `size`; photos that cannot be used are left out.

        Raises
        ------
        ImgretError
            Also if the index's photos cannot be described here.
        """
        names, paths, kept = self._listing.names, self._listing.paths, []
        for row, (vector, bad, file) in enumerate(self._described()):
            if bad is not None:
                self._failures.add(names[row], paths[row], bad, file)
            else:
                kept.append((names[row], paths[row], vector, np.frombuffer(file.digest, np.uint8)))
            if kept and (len(kept) == size or row == len(paths) - 1):
                asked, places, vectors, digests = map(list, zip(*kept, strict=True))
                yield Queries(asked, asked, no_boxes(len(asked)), places, together(vectors), np.stack(digests))
                kept = []

    def _described(self):
        """Yield (vector, `BadPhoto`, `File` less its data) of each photo, in order; None for what there is not."""
        paths = [os.fsdecode(path) for path in self._listing.paths]
        length = max(1, min(TASK_PHOTOS, len(paths) // self._jobs))
        if self._one_process:
            length = TASK_PHOTOS * self._jobs
        tasks = ({"paths": paths[start : start + length]} for start in range(0, len(paths), length))
        with contextlib.closing(workers.in_order(WORKER, self._setup, tasks, 1 if self._one_process else self._jobs)) as answers:
            for answer in answers:
                yield from map(_unpacked, answer)


class QueryWorker:
    """Describes query photos; lives in a worker process."""

    def __init__(self, setup):
        self._threads, self._jobs = setup["threads"], setup["jobs"]
        with Store(setup["index"]) as store:
            if store.content != setup["content"]:
                raise changed(store.shown)
            self._describers = Describers(Pipeline.load(store).asking(setup["asked"]), setup["device"], tuple(setup["weights"]))
            self._describers.settle()

    def work(self, task, starting):
        """Describe some photos; see `imgret.runs.workers.run`."""
        crashed = dict(task.get("crashed", ()))
        careful = self._threads == 1 or task.get("careful")

        def answer(describer, item):
            if careful:
                starting(None if item in crashed else item)
            return _packed(*_photo(describer, os.fsencode(task["paths"][item]), crashed.get(item)))

        threads = 1 if careful else self._threads
        with describing(self._jobs):
            found = list(self._describers.map(answer, range(len(task["paths"])), threads))
        starting(None)
        return found


def entry_of(listing):
    """How photos that ask are recorded: by name, size and time."""
    rows = [[os.fsdecode(name), *map(int, row)] for name, *row in zip(listing.names, listing.sizes, listing.mtimes, strict=True)]
    return {"path": "photos", "kind": "photos", "content": of_json(rows)}


def _photo(describer, path, crashed):
    """A photo's vector, or what is wrong with it, and what was read."""
    file = None
    try:
        if crashed is not None:  # it is not touched again
            raise images.BadPhoto("crashed", crashed)
        file = images.read_file(path)
        return describer.photo(file), None, file
    except images.BadPhoto as bad:
        return None, bad, file


def _packed(vector, bad, file):
    """An answer as JSON."""
    return {
        "vector": {path: _text(column) for path, column in vector.items()} if isinstance(vector, dict) else _text(vector),
        "bad": None if bad is None else [bad.code, bad.reason],
        "file": None if file is None else [file.digest.hex(), file.size, file.mtime_ns],
    }


def _text(array):
    """An array as JSON."""
    if array is None:
        return None
    return [array.dtype.str, list(array.shape), base64.b64encode(np.ascontiguousarray(array).data).decode()]


def _array(text):
    return None if text is None else np.frombuffer(base64.b64decode(text[2]), text[0]).reshape(text[1])


def _unpacked(answer):
    vector, bad, file = answer["vector"], answer["bad"], answer["file"]
    return (
        {path: _array(column) for path, column in vector.items()} if isinstance(vector, dict) else _array(vector),
        None if bad is None else images.BadPhoto(*bad),
        None if file is None else images.File(b"", bytes.fromhex(file[0]), *file[1:]),
    )
