"""Queries that are photos: described by processes of their own, as a stranger's photo may be the end of the one that decodes it."""

import base64
import contextlib
import os

import numpy as np

from imgret import images
from imgret.describer import Describer, Describers
from imgret.errors import changed
from imgret.features import LocalFeatures
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
        self._listing, self._failures = listing, failures
        self._described = PhotoDescriber(gallery.store, run, weights, gallery.asked)

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
        for row, (vector, bad, file) in enumerate(self._described.of(paths)):
            if bad is not None:
                self._failures.add(names[row], paths[row], bad, file)
            else:
                kept.append((names[row], paths[row], vector, np.frombuffer(file.digest, np.uint8)))
            if kept and (len(kept) == size or row == len(paths) - 1):
                asked, places, vectors, digests = map(list, zip(*kept, strict=True))
                yield Queries(asked, asked, no_boxes(len(asked)), places, together(vectors), np.stack(digests))
                kept = []


class PhotoDescriber:
    """Describes photos as those of a store are, in processes of their own.

    Parameters
    ----------
    store : Store
        Features, vectors, words or an index.
    run : imgret.runs.run.Run
    weights : tuple of str
        Files to look for networks' weights in, before the recorded places.
    asked : dict
        What its encoder is told of queries; see `imgret.indexes.base.Index.asked`.

    Raises
    ------
    ImgretError
        If no photo can be described so.
    """

    def __init__(self, store, run, weights=(), asked=None):
        pipeline = Pipeline.load(store)
        extractors, self._jobs = Describer(pipeline).extractors(), run.jobs
        self._one_process, self._decode = any(extractor.one_process for extractor in extractors), None
        if store.kind == "features":
            self._decode = extractors[0].decode
        self._setup = {"store": os.fsdecode(store.path), "content": store.content, "asked": asked or {}}
        self._setup |= {"device": run.device, "weights": list(weights)}

    def of(self, paths):
        """Yield (what describes it, `BadPhoto`, `File` less its data) of each photo, in order; None for what there is not."""
        paths = [os.fsdecode(path) for path in paths]
        jobs = min(self._jobs, max(1, len(paths)))
        length = TASK_PHOTOS * jobs if self._one_process else max(1, min(TASK_PHOTOS, len(paths) // jobs))
        setup = self._setup | {"jobs": jobs, "threads": jobs if self._one_process else 1}
        tasks = ({"paths": paths[start : start + length]} for start in range(0, len(paths), length))
        with contextlib.closing(workers.in_order(WORKER, setup, tasks, 1 if self._one_process else jobs)) as answers:
            for answer in answers:
                yield from (_unpacked(each, self._decode) for each in answer)


class QueryWorker:
    """Describes query photos; lives in a worker process."""

    def __init__(self, setup):
        self._threads, self._jobs = setup["threads"], setup["jobs"]
        with Store(setup["store"]) as store:
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
    size = columns = None
    if isinstance(vector, LocalFeatures):
        size, columns = vector.image_size, list(vector.columns)
        vector = {"keypoints": vector.keypoints, "stored": vector.stored}
    return {
        "columns": columns,
        "size": size,
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


def _unpacked(answer, decode=None):
    vector, bad, file, columns = answer["vector"], answer["bad"], answer["file"], answer["columns"]
    vector = {path: _array(column) for path, column in vector.items()} if isinstance(vector, dict) else _array(vector)
    if columns is not None:
        vector = LocalFeatures(vector["keypoints"], vector["stored"], columns, tuple(answer["size"]), decode)
    return (
        vector,
        None if bad is None else images.BadPhoto(*bad),
        None if file is None else images.File(b"", bytes.fromhex(file[0]), *file[1:]),
    )
