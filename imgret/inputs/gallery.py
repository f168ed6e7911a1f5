"""An index in a file, open and ready to be asked."""

import collections.abc
import functools

import numpy as np

from imgret.errors import ImgretError, quoted
from imgret.indexes import INDEXES
from imgret.inputs.chances import known
from imgret.inputs.makers import Maker
from imgret.pipeline import Pipeline, libraries
from imgret.registry import load
from imgret.store.reader import Store
from imgret.store.versions import asked_by_another


class _Mapped(collections.abc.Mapping):
    """The columns of a group, each mapped when it is asked for: a stranger's file may have thousands that no index knows.

    The first block of each is verified then, whatever else is used by `verify`.
    """

    def __init__(self, store, paths):
        self._store, self._paths, self._pending = store, paths, set()

    def __getitem__(self, name):
        array = self._store.map(self._paths[name])
        if array.size:
            self._pending.add(name)
            self._verify(name, [(0, 1)])
        return array

    def verify(self, visited):
        """Verify what `Index.visited` gave, of what an index has been opened with; `visited` is called only if anything is left."""
        ranges = visited() if self._pending else {}
        for name in list(self._pending) if ranges is None else self._pending & ranges.keys():
            self._verify(name, None if ranges is None else ranges[name])

    def _verify(self, name, ranges):
        if self._store.verify(self._paths[name], ranges):
            self._pending.discard(name)

    def __iter__(self):
        return iter(self._paths)

    def __len__(self):
        return len(self._paths)


class Gallery:
    """An open index: the photos that are searched.

    Parameters
    ----------
    path : str
    settings : sequence of str
        Search-time parameters, NAME=VALUE.

    Attributes
    ----------
    store : imgret.store.reader.Store
    index : imgret.indexes.base.Index
    settings : Params
        Search-time parameters.
    names : imgret.store.text.Texts
        Of the photos, in byte order.
    pipeline : imgret.pipeline.Pipeline
        How they were described.
    zero : int
        Photos whose vectors are all zero, as far as the file says so.

    Raises
    ------
    UsageError
        For a search-time parameter that the index has not.
    ImgretError
        If the file is no sound index.
    """

    def __init__(self, path, settings=()):
        self.store = Store(path, ("index",), "search")
        try:
            self._open(settings)
        except ImgretError:
            self.store.close()
            raise

    def _open(self, settings):
        store, params = self.store, self.store.params
        if str(params.get("method")) not in INDEXES:
            raise ImgretError(f"{store.shown}: this imgret has no index '{quoted(params.get('method'))}': upgrade imgret")
        kind = load(INDEXES, str(params["method"]), "index")
        made_with = kind.Params.from_json(params.get("params"))
        self.pipeline = Pipeline.load(store)
        self.settings = kind.search_params(self.pipeline.node["component"]).parse(settings)
        self._given = {setting.partition("=")[0].strip() for setting in settings}
        zero = store.info.get("zero", 0)
        self.zero = zero if isinstance(zero, int) else 0
        self._structure = structure = _Mapped(store, store.group("structure"))
        made_by = Maker(self.pipeline, store.facts, store.shown) if kind.takes == "words" else self.pipeline.codebooks_for(kind)
        self.index = kind.opened(made_with, params.get("metric", "cosine"), structure, store.facts, store.sizes["R"], made_by)
        self.asked = self.index.asked(self.settings)
        self.names, self._rows = store.texts("names"), store.read("rows")
        if len(self._rows) and (self._rows.min() < 0 or self._rows.max() >= len(self.names)):
            raise ImgretError(f"{store.shown} is damaged: 'rows' point outside its photos")

    def check_encoded(self, shown):
        """Refuse settings of how queries are encoded, where those of a store have been.

        Raises
        ------
        ImgretError
        """
        for name in sorted(self._given.intersection(self.index.encoding)):
            raise ImgretError(
                f"{shown} holds words already, and `{name}` says how descriptors get theirs: ask with features, or leave it out"
            )

    def asked_with_less(self, store):
        """What to say of words that ask where photos and features would ask with more, '' elsewhere."""
        more, given = self.asked.get("ma", 0), store.pipeline["params"].get("ma", 0) if store.kind == "words" else 0
        if not 0 < given < more:
            return ""
        return (
            f"{store.shown} has {given} of the {more} words for each descriptor that photos and features ask with: these may find more, or "
            f"words that were encoded with --set ma={more}"
        )

    @property
    def asking(self):
        """The pipeline by which queries are described: with more words for each descriptor, where that is asked for."""
        return self.pipeline.asking(self.asked)

    @functools.cached_property
    def chance(self):
        """The `imgret.chance.Chance` that judges what is found; None where an older imgret made the file, or its method has none."""
        return known(self.store, self.index)

    @property
    def few(self):
        """Whether nothing is judged because there are too few photos: nothing is at fault."""
        return self.index.judged and self.chance is not None and not self.chance.knows

    def unjudged(self):
        """Why what is found is not judged, '' where it is."""
        shown = self.store.shown
        if self.index.takes != "vectors":
            return f"scores of an '{self.index.name}' index are sums over visual words, and not judged"
        if not self.index.judged:
            return f"{shown} was made with --factory: what its structure keeps of a photo is not known"
        if self.chance is None:
            return f"{shown} was made before imgret judged scores: run its `imgret index` once more, with --overwrite"
        if self.few:
            return f"{shown} holds too few photos to tell a match from chance"
        return ""

    def learned(self):
        """The quantiser that the index was filled by, verified; see `imgret.indexes.base.Index.learned`."""
        self._structure.verify(lambda: None)
        return self.index.learned()

    def close(self):
        """Close the file: what is mapped stays."""
        self.store.close()

    def asked_by_another(self, made_by):
        """What to say where queries are described by other versions of libraries than the photos were, '' elsewhere.

        Parameters
        ----------
        made_by : dict
            The queries' `generated_by`.
        """
        return asked_by_another(made_by, self.store.generated_by, libraries(self.pipeline.node), self.store.shown)

    def search(self, vectors, k, jobs=1):
        """The best photos for some queries.

        Parameters
        ----------
        vectors : array_like, shape (Q, V), or list of dict of str to ndarray
            What describes them, as the index takes it.
        k : int
        jobs : int
            Threads; the result does not depend on it.

        Returns
        -------
        scores : ndarray, shape (Q, k), float32
            Best first; NaN where there are no more.
        ids : ndarray, shape (Q, k), int64
            Positions in `names`; -1 where there are no more.

        Raises
        ------
        ImgretError
        """
        self._structure.verify(lambda: self.index.visited(vectors, self.settings))
        scores, rows = self.index.search(vectors, k, self.settings, jobs=jobs)
        return scores, np.where(rows >= 0, self._rows[np.maximum(rows, 0)], -1)
