"""What a reranker works from, opened: rankings, what describes their photos and queries, an index, graphs."""

import contextlib
import dataclasses
import functools
import os

import numpy as np

from imgret import builds
from imgret.errors import ImgretError, UsageError, counted
from imgret.inputs.described import Asking, Gallery
from imgret.inputs.gallery import Gallery as OpenIndex
from imgret.inputs.ranked import EMPTY, Ranked
from imgret.inputs.stores import Stores
from imgret.names import shown
from imgret.pipeline import Pipeline, differences, same_space
from imgret.rerankers import ROLES
from imgret.rerankers.base import Known, Listed, Query
from imgret.runs.kept import positions
from imgret.store.photos import sameness_of
from imgret.store.sameness import Sameness
from imgret.store.text import Texts

DESCRIBING = ("features", "words", "vectors")  # roles that stores of this kind have
SEVERAL = (*DESCRIBING, "graph", "reference")
QUERIES = ("features", "vectors", "words")


@dataclasses.dataclass(frozen=True)
class Given:
    """What a reranker is given, by paths: JSON for worker processes.

    Attributes
    ----------
    rankings : list of str
    roles : dict of str to list of str
        Of `ROLES`: those that are given.
    queries : list of str
        Stores that describe the queries.
    photos : dict of str to str
        Paths of query photos by their names, as `os.fsdecode` gives them.
    device : str
    """

    rankings: list
    roles: dict
    queries: list = dataclasses.field(default_factory=list)
    photos: dict = dataclasses.field(default_factory=dict)
    device: str = "auto"

    @property
    def paths(self):
        """All that is read."""
        return [*self.rankings, *(path for paths in self.roles.values() for path in paths), *self.queries]


def check_roles(kind, given, rankings):
    """Refuse what a reranker does not take, and what it lacks.

    Parameters
    ----------
    kind : type
        The `Reranker`.
    given : dict of str to list
        By role.
    rankings : int

    Raises
    ------
    UsageError
    """
    least, most = kind.rankings
    if rankings < least:
        raise UsageError(f"-m {kind.name} puts rankings together: give at least {least}")
    if most is not None and rankings > most:
        raise UsageError(
            f"-m {kind.name} takes {counted(most, 'ranking')}, and {rankings} are given: rerank each, or put them together (-m fuse)"
        )
    known = {role for taken in kind.takes for role in taken.roles}
    for role in ROLES:
        if given.get(role) and role not in known:
            raise UsageError(f"-m {kind.name} takes no --{role}: leave it out")
    if len(given.get("index", ())) > 1:
        raise UsageError("--index is given twice: one index is asked again, give the one that was searched")
    for taken in kind.takes:
        there = [role for role in taken.roles if given.get(role)]
        options = " or ".join(f"--{role}" for role in taken.roles)
        if not there and not taken.optional:
            raise UsageError(f"-m {kind.name} needs {options} {taken.why}")
        if len(there) > 1:
            raise UsageError(f"-m {kind.name} takes {options}, not both: leave one out")


def of_build(path, role):
    """The file of a build that has a role, None where it has none; of what is no build, itself.

    Raises
    ------
    ImgretError
        For another folder.
    """
    if builds.is_build(path):
        build = builds.read(path)
        return {"index": build.index, "features": build.features, "vectors": build.vectors}.get(role)
    if os.path.isdir(path):
        raise ImgretError(f"--{role} {os.fsdecode(path)} is a folder: give a store, or the folder of a build")
    return path


def in_builds(roles):
    """Paths by role, with the files of builds where their folders are given.

    Raises
    ------
    ImgretError
    """
    found = {role: [of_build(path, role) for path in paths] for role, paths in roles.items()}
    for role, paths in found.items():
        for path, given in zip(paths, roles[role], strict=True):
            if path is None:
                raise ImgretError(f"--{role}: the build {os.fsdecode(given)} has no {role}: give a store")
    return found


class Opened(contextlib.ExitStack):
    """All that a reranker is given, open: a context manager.

    Parameters
    ----------
    given : Given

    Attributes
    ----------
    rankings : list of Ranked
    names : Texts
        Of the gallery's photos, in byte order.
    queries : list of (bytes, bytes)
        Each query's own name, and that of its photo: those of the first ranking, then what others ask besides.
    known : KnownStores
    entries : list of dict
        How all that is read is recorded.

    Raises
    ------
    ImgretError
        If anything does not fit the others.
    """

    def __init__(self, given):
        super().__init__()
        self.given = given
        try:
            self._open()
        except BaseException:
            self.close()
            raise

    def _open(self):
        given = self.given
        stores = self.enter_context(Stores())
        self.rankings = [Ranked(path, stores) for path in given.rankings]
        first = next((each for each in self.rankings if each.whole), self.rankings[0])
        for each in self.rankings:
            _check_same(each, first)
        self.names = _names(self.rankings, first)
        self._places = [None if each.names == self.names else self._place(each) for each in self.rankings]
        self._first = first
        asked = {query: photo for each in reversed(self.rankings) for query, photo in zip(each.query_ids, each.query_names, strict=True)}
        ordered = dict.fromkeys(query for each in self.rankings for query in each.query_ids)
        self.queries = [(query, asked[query]) for query in ordered]
        searched = Searched(self.names, first.sameness if first.whole else None, first.shown, lambda: self.rankings[0].best, self.asked)
        self.known = KnownStores(given, searched, stores, self)
        self.entries = [each.entry for each in self.rankings] + self.known.recorded

    def _place(self, ranking):
        """What the positions of a ranking's photos are among all."""
        return np.fromiter((self.names.find(name) for name in ranking.names), np.int64, len(ranking.names))

    def close(self):
        """Close all."""
        super().close()

    @property
    def first(self):
        """The ranking that says which photos were searched."""
        return self._first

    @property
    def sameness(self):
        """Which photos were searched."""
        whole = [each for each in self.rankings if each.sameness is not None]
        same = next((each.sameness for each in whole if each.names == self.names), None)
        if same is not None:
            return same
        named = Sameness.of_names(self.names)
        return Sameness(named.described, whole[0].sameness.all) if whole else named

    @property
    def boxed(self):
        """Whether it is known which boxes the queries asked with, if any."""
        return any(each.boxed for each in self.rankings)

    @property
    def asked(self):
        """Which indexes were asked for the rankings, and how; see `Ranked.asked`."""
        return {index: settings for each in reversed(self.rankings) for index, settings in each.asked.items()}

    def silent(self):
        """Of each ranking, how many queries it has not been asked."""
        return [sum(query not in each.rows for query, _ in self.queries) for each in self.rankings]

    def described(self, start, stop):
        """The `Query` of some queries, with their lists."""
        lists, boxes = [], {}
        for each, place in zip(self.rankings, self._places, strict=True):
            rows = [each.rows.get(query, -1) for query, _ in self.queries[start:stop]]
            lists.append(_by_row(rows, lambda first, last, each=each, place=place: each.lists(first, last, place), EMPTY))
            found = _by_row(rows, each.boxes, None)
            boxes = {query: box for query, box in enumerate(found) if box is not None} | boxes
        return [
            StoredQuery(self.known, *self.queries[start + number], [column[number] for column in lists], boxes[number])
            for number in range(stop - start)
        ]


def _by_row(rows, read, missing):
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


def _names(rankings, first):
    """The names of the gallery's photos: what rankings hold together, as a photo may have failed in one of them; of TREC runs what they add
    up to where no ranking knows them all."""
    several = [each.names for each in rankings if each.whole or not first.whole]
    if all(names == first.names for names in several):
        return first.names
    return Texts.of(sorted({name for names in several for name in names}))


def _check_same(ranking, first):
    """Refuse rankings of other photos."""
    if ranking is first or not first.whole:
        return
    if ranking.whole:
        known = None not in (ranking.sameness, first.sameness)
        if ranking.sameness.is_of(first.sameness) if known else ranking.names == first.names:
            return
        raise ImgretError(
            f"{ranking.shown} ranks other photos than {first.shown} ({len(ranking.names)} and {len(first.names)}, or others of the same "
            "names): rankings that are put together have to be of the same photos"
        )
    missing = next((name for name in ranking.names if first.names.find(name) < 0), None)
    if missing is not None:
        raise ImgretError(f"{ranking.shown} ranks {shown(missing)}, which is none of the photos that {first.shown} ranks")


def _given(settings):
    """Search-time parameters that a store recorded, as NAME=VALUE."""
    return [f"{name}={','.join(map(str, value)) if isinstance(value, list) else str(value)}" for name, value in settings.items()]


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
    best : callable
        Gives the highest score of all that is to be reranked.
    asked : dict
        How indexes were asked: search-time parameters, as JSON, by the index's `content`.
    """

    names: Texts
    sameness: object
    shown: str
    best: object
    asked: dict = dataclasses.field(default_factory=dict)


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
            self._asking[role] = Asking(gallery, self.names, pipeline, *how)
        return self._asking[role]

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
        for role in roles:
            if role in self._galleries:
                asking = self.asking(role)
                for query, photo in queries:
                    asking.find(query, photo)

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
        lists = _by_row(rows[start:stop].tolist(), lambda first, last: ranked.lists(first, last, places), EMPTY)
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
