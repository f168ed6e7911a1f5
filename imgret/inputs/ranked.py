"""Rankings that are to be made better: read a few queries at a time where they are stores, checked, and whole where they are TREC runs."""

import functools
import hashlib

import numpy as np

from imgret.errors import ImgretError
from imgret.evidence import Counted
from imgret.inputs.queries import no_boxes
from imgret.inputs.rankings import boxes_of, is_store, read_ranking
from imgret.names import shown
from imgret.rerankers.base import Listed
from imgret.store.sameness import Sameness
from imgret.store.text import Texts

EMPTY = Listed(np.zeros(0, np.int64), np.zeros(0, np.float32))
KINDS = ("ranking",)


class Ranked:
    """A ranking.

    Parameters
    ----------
    path : str
        A ranking store, or a TREC run.
    stores : imgret.inputs.stores.Stores
        Where it is held open.
    wanted_by : str
        For messages.

    Attributes
    ----------
    shown : str
    query_names, query_ids : Texts
    names : Texts
        Of the photos that were searched, in byte order.
    sameness : imgret.store.sameness.Sameness or None
        Which photos were searched; None where that is not known.
    whole : bool
        Whether `names` are all photos that were searched, and not only those in the lists.
    store : InputStore or None
    counted : Counted
        What its evidence is.

    Raises
    ------
    ImgretError
        Whatever is called, for what cannot be used.
    """

    def __init__(self, path, stores, wanted_by="rerank"):
        self.path, self.whole, self.counted, self._lists = path, is_store(path), Counted(), None
        if self.whole:
            self.store = store = stores.add(path, KINDS, wanted_by)
            self.shown, self.entry = store.shown, store.as_input()
            self.query_names, self.query_ids, self.names = map(store.texts, ("query_names", "query_ids", "names"))
            self.sameness = Sameness.parse(store.photos)
            if store.has("evidence"):
                self.counted = Counted.of(store.facts)
            if store.sizes["N"] > np.iinfo(np.int32).max or not _rises(self.names):
                raise ImgretError(f"{self.shown} is damaged: 'names' are not in byte order, each once")
        else:
            self._read(path, wanted_by)
        if not len(self.query_ids):
            raise ImgretError(f"{self.shown} holds no query: there is nothing to rerank")
        self.rows = {name: row for row, name in enumerate(self.query_ids)}
        if len(self.rows) < len(self.query_ids):
            raise ImgretError(f"{self.shown} is damaged: a query is there twice")

    def _read(self, path, wanted_by):
        """A TREC run, its photos in byte order."""
        lists = read_ranking(path, wanted_by)
        self.store, self.shown, self.sameness = None, lists.label, None
        with open(path, "rb") as file:
            self.entry = {"path": self.shown, "kind": "TREC run", "content": hashlib.file_digest(file, "sha256").hexdigest()}
        self.query_names, self.query_ids, names = map(Texts.of, (lists.query_names, lists.query_ids, lists.names))
        order = names.order()
        place = np.append(np.argsort(order), -1)  # the last one stands for -1
        self.names, self._lists = names.taken(order), (place[lists.ids], lists.scores)

    def __len__(self):
        return len(self.query_ids)

    @property
    def asked(self):
        """Which indexes were asked for it, and how: search-time parameters by the index's `content`."""
        params = {} if self.store is None else self.store.params
        if params.get("step") != "search":
            known = None if self.store is None else self.store.info.get("asked")
            return known if isinstance(known, dict) else {}
        indexes = [entry.get("content") for entry in self.store.inputs if isinstance(entry, dict) and entry.get("kind") == "index"]
        return {indexes[0]: params.get("settings")} if indexes else {}

    @property
    def best(self):
        """The highest score of all: that of a first rank."""
        first = self.store.read("scores")[:, :1] if self._lists is None else self._lists[1][:, :1]
        return float(first.max(initial=-np.inf, where=np.isfinite(first)))

    @functools.cached_property
    def _boxes(self):
        return None if self.store is None else boxes_of(self.store)

    @property
    def boxed(self):
        """Whether it is known which boxes the queries asked with, if any."""
        return self._boxes is not None

    def boxes(self, start, stop):
        """The boxes that some queries asked with, (n, 4), float32; NaN where they asked with all of their photos."""
        return self._boxes[start:stop] if self.boxed else no_boxes(stop - start)

    def lists(self, start, stop, place=None):
        """The lists of some queries.

        Parameters
        ----------
        start, stop : int
        place : ndarray, shape (N,), int64, optional
            What the positions of photos stand for.

        Returns
        -------
        list of Listed
        """
        read = self._column if self._lists is None else lambda path, *rows: self._lists[path == "scores"][slice(*rows)]
        ids, scores = read("ids", start, stop), read("scores", start, stop)
        looked = self.store is not None and self.store.has("evidence")
        evidence = read("evidence", start, stop) if looked else [None] * len(ids)
        maps = read("maps", start, stop) if looked and self.store.has("maps") else [None] * len(ids)
        return [self._listed(start + row, place, *of) for row, of in enumerate(zip(ids, scores, evidence, maps, strict=True))]

    def _column(self, path, start, stop):
        return self.store.read(path, start, stop)

    def _listed(self, row, place, ids, scores, evidence, maps):
        count = int(np.count_nonzero(ids >= 0))
        ids, scores = ids[:count].astype(np.int64), scores[:count].astype(np.float32, copy=False)
        if count and (ids.min() < 0 or ids.max() >= len(self.names)):
            raise self._damaged(row, "a photo that is none of its own")
        if not np.isfinite(scores).all():
            raise self._damaged(row, "a score that is no finite number")
        if len(np.unique(ids)) < count:
            raise self._damaged(row, "a photo twice")
        if evidence is not None:
            evidence = _as_long(np.asarray(evidence, np.float32), count)
            evidence = np.where(np.isfinite(evidence), evidence, np.float32(np.nan))
        if maps is not None:
            maps = _as_long(np.asarray(maps, np.float32), count)
            maps = np.where(np.isfinite(maps).all(axis=(1, 2), keepdims=True), maps, np.float32(np.nan))
        return Listed(ids if place is None else place[ids], scores, evidence, maps, self.counted.enough)

    def _damaged(self, row, what):
        return ImgretError(f"{self.shown}: the list of query {shown(self.query_ids[row])} holds {what}: make the ranking again")


def _rises(names):
    last = None
    for name in names:
        if last is not None and name <= last:
            return False
        last = name
    return True


def _as_long(values, count):
    """The first `count` of some values; NaN behind them where there are fewer."""
    values = values[:count]
    return np.concatenate([values, np.full((count - len(values), *values.shape[1:]), np.nan, np.float32)])
