"""search: queries against an index, ranked."""

import contextlib
import dataclasses
import os
import threading

import numpy as np

from imgret import images
from imgret.describer import Describer
from imgret.errors import ImgretError, UsageError
from imgret.indexes import INDEXES
from imgret.inputs.features import FeatureReader
from imgret.listing import list_photos
from imgret.parallel import ordered_map
from imgret.pipeline import Pipeline, differences
from imgret.registry import load
from imgret.runs import stopping
from imgret.runs.output import Output, input_of
from imgret.runs.run import Run
from imgret.store.hashing import of_json
from imgret.store.reader import Store, is_hdf5

BLOCK_QUERIES = 64
BLOCK_RANKS = 1 << 24  # ranks held in memory at once
PRINTED, STORED = 10, 1000  # default k


@dataclasses.dataclass(frozen=True)
class Block:
    """Answers to a few queries.

    Attributes
    ----------
    names : list of bytes
        The queries' own: a photo's, or the id of a box.
    photo_names : list of bytes
        The names of the photos that ask.
    boxes : ndarray, shape (Q, 4), float32
        x1, y1, x2, y2 of the box that each asks with, in pixels of its photo; NaN where it asks with all of it.
    paths : list of bytes, or None
        Where the photos that ask are, where they were given as photos.
    scores : ndarray, shape (Q, k), float32
    ids : ndarray, shape (Q, k), int64
        Positions in the gallery's names; -1 where there are no more.
    """

    names: list
    photo_names: list
    boxes: np.ndarray
    paths: list | None
    scores: np.ndarray
    ids: np.ndarray


class Gallery:
    """An open index, ready to be asked.

    Parameters
    ----------
    path : str
    settings : sequence of str
        Search-time parameters, NAME=VALUE.

    Attributes
    ----------
    names : Texts
    """

    def __init__(self, path, settings=()):
        self.store = Store(path, ("index",), "search")
        try:
            params = self.store.params
            if str(params.get("method")) not in INDEXES:
                raise ImgretError(f"{self.store.shown}: this imgret has no index '{params.get('method')}': upgrade imgret")
            kind = load(INDEXES, str(params["method"]), "index")
            self.settings = kind.SearchParams.parse(settings)
            made_with = kind.Params.from_json(params.get("params"))
            self.pipeline = Pipeline.load(self.store)
            structure, facts = {"faiss": self.store.map("index")}, {"dim": self.store.info.get("dim")}
            codebooks = self.pipeline.codebooks_for(kind)
            self.index = kind.opened(made_with, params.get("metric"), structure, facts, self.store.sizes["R"], codebooks)
            self.names = self.store.texts("names")
            self.rows = self.store.read("rows")
            if len(self.rows) and (self.rows.min() < 0 or self.rows.max() >= len(self.names)):
                raise ImgretError(f"{self.store.shown} is damaged: 'rows' point outside its photos")
        except ImgretError:
            self.store.close()
            raise

    def search(self, vectors, k, jobs=1):
        """The k best photos for each row of `vectors` (Q, V): scores and ids, each (Q, k)."""
        scores, rows = self.index.search(vectors, k, self.settings, jobs=jobs)
        return scores, np.where(rows >= 0, self.rows[np.maximum(rows, 0)], -1)


class Failures:
    """Query photos that could not be used."""

    def __init__(self, report):
        self._report, self.rows = report, []

    def add(self, name, path, bad, file=None):
        """One more."""
        self._report.warn(f"{os.fsdecode(path)}: {bad.reason}")
        self.rows.append((name, bad.code, bad.reason, file))


def search(
    index,
    queries,
    *,
    out=None,
    k=None,
    settings=(),
    device="auto",
    weights=(),
    lists=(),
    root=None,
    nul=False,
    run=Run(),
    emit=None,
):
    """Rank an index's photos for each query.

    Parameters
    ----------
    index : str
        The index.
    queries : sequence of str
        Photos and folders ("-" for a list on standard input), or features or vectors stores.
    out : str, optional
        The ranking store to make.
    k : int or "all", optional
        Ranks per query: 10 printed and 1000 stored by default.
    settings : sequence of str
        Search-time parameters, NAME=VALUE.
    device : str
        Where networks run; see `imgret.stages.extract.extract`.
    weights : sequence of str
        Files to look for networks' weights in, before the recorded places.
    lists, root, nul : see `imgret.listing.list_photos`
    run : imgret.runs.run.Run
    emit : callable, optional
        `emit(gallery_names, Block)` for each block of queries, where nothing is stored.

    Returns
    -------
    int
        Number of query photos that could not be used.

    Raises
    ------
    ImgretError
    """
    run.in_one_piece("search")
    if not queries and not lists:
        raise UsageError("give at least one query: a photo, a folder, '-', --list, or a features or vectors store")
    gallery = Gallery(index, settings)
    count = len(gallery.names)
    k = (STORED if out else PRINTED) if k is None else k
    k = count if k == "all" else min(k, count)
    failures = Failures(run.report)
    with contextlib.ExitStack() as stack:
        stack.callback(gallery.store.close)
        stores = [path for path in queries if path != "-" and is_hdf5(path)]
        if stores and (len(stores) < len(queries) or lists):
            raise ImgretError("queries are either photos or stores, not both at once: search twice")
        if stores:
            source = StoreQueries([stack.enter_context(Store(path, ("features", "vectors"), "search")) for path in stores], gallery)
        else:
            source = PhotoQueries(list_photos(queries, lists, root=root, nul=nul), gallery, failures, run.jobs, device, tuple(weights))
        blocks = _answers(gallery, source, k, run.jobs)
        if out is None:
            with stopping.guard():
                for block in blocks:
                    emit(gallery.names, block)
            return len(failures.rows)
        params = {"step": "search", "k": k, "settings": gallery.settings.to_json()}
        output = Output(out, "ranking", params, [input_of(gallery.store), *source.inputs()], run)
        existing = output.existing()
        if existing is not None:
            failed_before = existing.sizes["F"]
            existing.close()
            if not failed_before and output.up_to_date():
                return 0
        with output.being_made():
            answered = _store(output, gallery, blocks, k, failures, source.boxed)
            failed = f", {len(failures.rows)} failed" if failures.rows else ""
            run.report.note(f"{output.shown}: {answered} queries, {k} ranks each{failed}")
        return len(failures.rows)


def _answers(gallery, source, k, jobs):
    size = max(1, min(BLOCK_QUERIES, BLOCK_RANKS // max(1, k)))
    for names, photo_names, boxes, paths, vectors in source.blocks(size):
        yield Block(names, photo_names, boxes, paths, *gallery.search(vectors, k, jobs))


class StoreQueries:
    """Queries that have been described already.

    Raises
    ------
    ImgretError
        If a store was not made as the index's photos were.
    """

    def __init__(self, stores, gallery):
        self.stores, self._describer, self._positions = stores, Describer(gallery.pipeline), []
        self.boxed = any(store.has("box") for store in stores)
        for store in stores:
            node = Pipeline.load(store).node
            position = self._describer.position_of(node)
            if position < 0:
                nearest = self._describer.nodes[0 if store.kind == "features" else -1]
                raise ImgretError(
                    f"{store.shown} was not made as the photos in {gallery.store.shown} were ({differences(node, nearest)}): "
                    "give photos, or a store made in the same way"
                )
            self._positions.append(position)

    def inputs(self):
        """How they are recorded."""
        return [input_of(store) for store in self.stores]

    def blocks(self, size):
        """Yield (names, photo names, boxes, None, vectors) of at most `size` queries."""
        for store, position in zip(self.stores, self._positions, strict=True):
            for start in range(0, len(store), size):
                stop = min(start + size, len(store))
                names, photo_names = store.texts("names", start, stop), store.photo_names(start, stop)
                boxes = store.read("box", start, stop) if store.has("box") else _no_boxes(stop - start)
                yield list(names), list(photo_names), boxes, None, self._vectors(store, position, start, stop)

    def _vectors(self, store, position, start, stop):
        if store.kind == "vectors":
            return self._describer.vectors(store.read("vectors", start, stop).astype(np.float32), position)
        return np.stack([self._describer.features(features) for features in FeatureReader(store).photos(range(start, stop))])


class PhotoQueries:
    """Queries that are photos: described as the index's own photos were."""

    boxed = False

    def __init__(self, listing, gallery, failures, jobs, device, weights):
        self._listing, self._failures, self._jobs = listing, failures, jobs
        self._how = (gallery.pipeline, device, weights)
        self._local = threading.local()
        Describer(*self._how).settle()  # refused here rather than photo by photo

    def inputs(self):
        """How they are recorded: by name, size and time."""
        listing = self._listing
        rows = [[os.fsdecode(name), *map(int, row)] for name, *row in zip(listing.names, listing.sizes, listing.mtimes, strict=True)]
        return [{"path": "photos", "kind": "photos", "content": of_json(rows)}]

    def blocks(self, size):
        """Yield (names, photo names, boxes, paths, vectors) of at most `size` queries; photos that cannot be used are left out."""
        pairs = list(zip(self._listing.names, self._listing.paths, strict=True))
        jobs = min(self._jobs, len(pairs))
        if jobs > 1:
            import cv2

            cv2.setNumThreads(1)  # parallel over photos
        for start in range(0, len(pairs), size):
            block = pairs[start : start + size]
            described = []
            for (name, path), (vector, bad, file) in zip(block, ordered_map(self._describe, block, jobs), strict=True):
                if bad is not None:
                    self._failures.add(name, path, bad, file)
                else:
                    described.append((name, path, vector))
            if described:
                names, paths, vectors = map(list, zip(*described, strict=True))
                yield names, names, _no_boxes(len(names)), paths, np.stack(vectors)

    def _describe(self, pair):
        if not hasattr(self._local, "describer"):
            self._local.describer = Describer(*self._how)  # OpenCV's detectors are not made for several threads
        file = None
        try:
            file = images.read_file(pair[1])
            return self._local.describer.photo(file), None, file
        except images.BadPhoto as bad:
            return None, bad, file


def _no_boxes(count):
    return np.full((count, 4), np.nan, np.float32)


def _store(output, gallery, blocks, k, failures, boxed):
    """Write a ranking store; the number of queries is known when they have been answered, so its columns grow."""
    answered = 0
    with output.create(gallery.pipeline) as writer:
        ids, scores = writer.column("ids", (k,), np.int32), writer.column("scores", (k,), np.float32)
        query_names, query_ids = writer.text("query_names"), writer.text("query_ids")
        boxes = writer.column("query_box", (4,), np.float32) if boxed else None
        for block in blocks:
            ids.append(block.ids)
            scores.append(block.scores)
            query_names.append(block.photo_names)
            query_ids.append(block.names)
            if boxed:
                boxes.append(block.boxes)
            answered += len(block.names)
        if not answered:
            raise ImgretError("no query could be used")
        writer.texts("names", gallery.names)
        _write_failed(writer, failures.rows)
    return answered


def _write_failed(writer, rows):
    writer.texts("failed/names", [name for name, *_ in rows])
    writer.texts("failed/code", [code.encode() for _, code, *_ in rows])
    writer.texts("failed/reason", [reason.encode("utf-8", "replace") for _, _, reason, _ in rows])
    files = [file for *_, file in rows]
    digests = b"".join(file.digest if file else bytes(32) for file in files)
    writer.array("failed/digest", np.frombuffer(digests, np.uint8).reshape(-1, 32))
    writer.array("failed/file_size", np.array([file.size if file else -1 for file in files], np.int64))
    writer.array("failed/file_mtime_ns", np.array([file.mtime_ns if file else -1 for file in files], np.int64))
