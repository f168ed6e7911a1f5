"""What is known of the photos that were searched, and of a query: read from stores when a reranker looks at it."""

import contextlib
import dataclasses
import functools

import numpy as np

from imgret.errors import ImgretError
from imgret.inputs.described import Asking, Gallery
from imgret.inputs.gallery import Gallery as OpenIndex
from imgret.inputs.ranked import EMPTY, Ranked
from imgret.inputs.roles import DESCRIBING
from imgret.names import shown
from imgret.pipeline import Pipeline, differences, same_space
from imgret.rerankers.base import Known, Listed, Query
from imgret.runs.kept import positions
from imgret.store.photos import sameness_of
from imgret.store.text import Texts

QUERIES = ("features", "vectors", "words")


@dataclasses.dataclass(frozen=True)
class Searched:
    """The photos that were searched.

    Attributes
    ----------
    names : Texts
        In byte order.
    sameness : imgret.store.sameness.Sameness or None
        Which photos they are; None where that is not known.
    shown : str
        What says so, for messages.
    best : callable, optional
        Gives the highest score of all that is to be reranked.
    asked : dict
        How indexes were asked: search-time parameters, as JSON, by the index's `content`.
    """

    names: Texts
    sameness: object
    shown: str
    best: object = None
    asked: dict = dataclasses.field(default_factory=dict)


class StoredQuery(Query):
    """A query of rankings; what describes it is read when it is looked at."""

    def __init__(self, known, name, photo, lists, box):
        super().__init__(lists, box)
        self.name, self._known, self._photo = name, known, photo
        self.itself = known.names.find(photo)

    def _of(self, role):
        return self._known.asking(role).of(self.name, self._photo, self.box)

    @functools.cached_property
    def features(self):
        """See `Query`."""
        return self._of("features")

    @functools.cached_property
    def entries(self):
        """See `Query`."""
        return self._of("words")

    @functools.cached_property
    def vector(self):
        """See `Query`."""
        return self._of("vectors")


class KnownStores(Known):
    """What is known of the photos that were searched.

    Parameters
    ----------
    given : Given
    searched : Searched
    stores : imgret.inputs.stores.Stores
        Where stores are held open.
    stack : contextlib.ExitStack
        Closes what is opened besides.
    index : imgret.inputs.gallery.Gallery, optional
        The index, where it is open already.

    Attributes
    ----------
    names : Texts
    recorded : list of dict
        How all that is read is recorded.

    Raises
    ------
    ImgretError
        If anything does not fit the others.
    """

    def __init__(self, given, searched, stores, stack, index=None):
        self.names, self._searched, self._given = searched.names, searched, given
        self.size, self.given = len(self.names), frozenset(role for role, paths in given.roles.items() if paths)
        self._asking, self.recorded, self._galleries = {}, [], {}
        for role in DESCRIBING:
            found = [self._note(stores.add(path, (role,), f"--{role}")) for path in given.roles.get(role, ())]
            if found:
                self._check_alike(found)
                self._galleries[role] = Gallery(found, self.names, searched.sameness, searched.shown)
        self._index, self._found = index, None
        if index is None and given.roles.get("index"):
            self._index = self._opened_index(stack, given.roles["index"][0])
        if self._index is not None:
            self._check_index()
        self._graphs = [self._graph(path, stores) for path in given.roles.get("graph", ())]
        self.graphs = len(self._graphs)
        self._references = [self._reference(path, stores) for path in given.roles.get("reference", ())]
        self._queries = [self._note(stores.add(path, QUERIES, "--queries")) for path in given.queries]

    def _note(self, store):
        self.recorded.append(store.as_input())
        return store

    def _check_alike(self, found):
        first, *others = [(store, Pipeline.load(store).node) for store in found]
        for store, node in others:
            if not same_space(node, first[1]):
                raise ImgretError(
                    f"{store.shown} was not made as {first[0].shown} was ({differences(node, first[1])}): give stores made in the same way"
                )

    def _opened_index(self, stack, path):
        with contextlib.closing(OpenIndex(path)) as gallery:
            settings = self._searched.asked.get(gallery.store.content)
        gallery = OpenIndex(path, _given(settings if isinstance(settings, dict) else {}))  # asked as it was
        stack.callback(gallery.close)
        self.recorded.append(gallery.store.as_input())
        if not self._same(sameness_of(gallery.store), gallery.names):
            raise ImgretError(
                f"{gallery.store.shown} holds other photos than {self._searched.shown} ranks: give the index that was searched, as --index"
            )
        self._found = self._places(gallery.names, gallery.store.shown)
        return gallery

    def _check_index(self):
        """Refuse an index of something else than what is averaged to ask it."""
        shown_as, takes = self._index.store.shown, self._index.index.takes
        for role in ("words", "vectors"):
            if role not in self._galleries:
                continue
            if role != takes:
                raise ImgretError(
                    f"{shown_as} is an index of {takes}, and --{role} ask one of {role}: give the index that was made of them"
                )
            store = self._galleries[role].stores[0]
            node, own = Pipeline.load(store).node, self._index.pipeline.node
            if not same_space(node, own):
                raise ImgretError(
                    f"{store.shown} was not made as what is in {shown_as} was ({differences(node, own)}): give the index that was made of "
                    f"these {role}"
                )

    def _places(self, names, shown_as):
        """Where the photos of something are among all, (n,), int64; None where they are the same."""
        if names == self.names:
            return None
        places = positions(names, self.names)
        if (places < 0).any():
            raise ImgretError(
                f"{shown_as} is damaged: it holds {shown(names[int((places < 0).argmax())])}, which {self._searched.shown} does not rank"
            )
        return places

    def _same(self, sameness, names):
        if self._searched.sameness is None or sameness is None:
            return names == self.names
        return sameness.is_of(self._searched.sameness)  # whichever of the photos could be used

    def _graph(self, path, stores):
        graph = Ranked(path, stores, "--graph")
        self.recorded.append(graph.entry)
        if not self._same(graph.sameness, graph.names):
            raise ImgretError(f"{graph.shown} ranks other photos than {self._searched.shown}: search the same index with its own vectors")
        places = self._places(graph.names, graph.shown)
        missing = [name for name in graph.names if name not in graph.rows]
        if missing:
            raise ImgretError(
                f"{graph.shown} has no list for {len(missing)} of the {self.size} photos, for example {shown(missing[0])}: "
                "`imgret search INDEX VECTORS -k 50 -o GRAPH` asks with all of them"
            )
        return graph, np.fromiter((graph.rows.get(name, -1) for name in self.names), np.int64, self.size), places

    def _reference(self, path, stores):
        reference = Ranked(path, stores, "--reference")
        self.recorded.append(reference.entry)
        return reference

    @functools.cached_property
    def best(self):
        """See `Known`."""
        return self._searched.best()

    def asking(self, role):
        """What describes the queries as the photos of a role are: an `Asking`."""
        if role not in self._asking:
            gallery = self._galleries.get(role)
            if gallery is None:
                raise ImgretError(f"--{role} is needed to describe the queries: give it")
            pipeline = Pipeline.load(gallery.stores[0])
            if self._index is not None and role == self._index.index.takes:
                pipeline = self._index.asking
            how = self._queries, self._given.photos, self._given.device
            self._asking[role] = Asking(gallery, pipeline, *how)
        return self._asking[role]

    @property
    def sameness(self):
        """Which photos were searched, as far as it is known."""
        return self._searched.sameness

    @property
    def stores(self):
        """All stores that describe the photos that were searched, and the index."""
        found = [store for gallery in self._galleries.values() for store in gallery.stores]
        return found + ([] if self._index is None else [self._index.store])

    def stores_of(self, role):
        """The stores of a role."""
        return self._galleries[role].stores

    def check_queries(self, roles, queries):
        """Refuse queries that are not described, before any work."""
        asking = [self.asking(role) for role in roles if role in self._galleries]
        for each in asking:
            for query, photo in queries:
                each.find(query, photo)
        idle = next((store for store in self._queries if not any(each.fits(store) for each in asking)), None)
        if idle is not None:
            raise ImgretError(f"{idle.shown} describes no query as this method asks for it: leave it out of --queries, or give another")

    def features(self, photo):
        """See `Known`."""
        return self._galleries["features"].of(photo)

    def entries(self, photo):
        """See `Known`."""
        return self._galleries["words"].of(photo)

    def words(self):
        """See `Known`."""
        return Pipeline.load(self._galleries["words"].stores[0]).component()

    def vectors(self, photos):
        """See `Known`."""
        return self._galleries["vectors"].matrix(photos)

    def search(self, asking, k):
        """See `Known`."""
        scores, ids = self._index.search(asking, min(k, len(self._index.names)))
        if self._found is not None:
            ids = np.where(ids >= 0, self._found[ids], -1)
        counts = (ids >= 0).sum(axis=1)
        return [Listed(row[:count], of[:count]) for row, of, count in zip(ids, scores, counts, strict=True)]

    @property
    def metric(self):
        """See `Known`."""
        return self._index.index.metric

    def graph(self, start, stop, number=0):
        """See `Known`."""
        ranked, rows, places = self._graphs[number]
        lists = by_row(rows[start:stop].tolist(), lambda first, last: ranked.lists(first, last, places), EMPTY)
        most = max((len(each) for each in lists), default=0)
        ids, scores = np.full((stop - start, most), -1, np.int64), np.zeros((stop - start, most), np.float32)
        for row, each in enumerate(lists):
            kept = each.ids != start + row
            ids[row, : kept.sum()], scores[row, : kept.sum()] = each.ids[kept], each.scores[kept]
        return ids, scores

    def references(self):
        """See `Known`."""
        return [self._scores(each) for each in self._references]

    def _scores(self, ranked):
        """The scores of lists, as far as the shortest has any; of a photo that asked and was searched, without itself."""
        lists = [
            each.scores[each.ids != ranked.names.find(photo)]
            for each, photo in zip(ranked.lists(0, len(ranked)), ranked.query_names, strict=True)
        ]
        most = min(map(len, lists))
        return np.stack([scores[:most] for scores in lists])


def by_row(rows, read, missing):
    """What `read(first, last)` gives of rows, those that follow each other together; `missing` where a row is -1."""
    found, number = [], 0
    while number < len(rows):
        end = number + 1
        if rows[number] < 0:
            found.append(missing)
        else:
            while end < len(rows) and rows[end] == rows[end - 1] + 1:
                end += 1
            found.extend(read(rows[number], rows[number] + end - number))
        number = end
    return found


def _given(settings):
    """Search-time parameters that a store recorded, as NAME=VALUE."""
    return [f"{name}={','.join(map(str, value)) if isinstance(value, list) else str(value)}" for name, value in settings.items()]
