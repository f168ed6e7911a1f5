"""What a reranker makes of lists: of rankings, or of what an index has just answered."""

import contextlib
import dataclasses
import os

import numpy as np

from imgret import builds
from imgret.errors import ImgretError, UsageError, quoted
from imgret.evidence import Counted
from imgret.inputs.gallery import Gallery as OpenIndex
from imgret.inputs.known import KnownStores, Searched, StoredQuery
from imgret.inputs.nextstep import index_in, remedied
from imgret.inputs.photoqueries import PhotoDescriber
from imgret.inputs.roles import DESCRIBING, Given, check_roles, in_builds, of_build
from imgret.inputs.stores import Stores
from imgret.parallel import ordered_map
from imgret.pipeline import Pipeline, same_space
from imgret.registry import load
from imgret.rerankers import RERANKERS
from imgret.rerankers.base import Listed
from imgret.store.photos import sameness_of

LOOKED = 1000  # ranks that are asked for where a method does not say how many it looks at


def reranked(reranker, queries, known):
    """The lists that a reranker gives, with what was known of photos before, where it counts nothing itself."""
    lists = reranker.rerank(queries, known)
    return [_carried(query, each) if each.evidence is None else each for query, each in zip(queries, lists, strict=True)]


def _carried(query, given):
    """A list with the evidence of the first ranking that has any, photo by photo."""
    source = next((each for each in query.lists if each.evidence is not None), None)
    if source is None or not len(source):
        return given
    order = np.argsort(source.ids)
    place = np.minimum(np.searchsorted(source.ids, given.ids, sorter=order), len(order) - 1)
    there = order[place]
    same = source.ids[there] == given.ids
    evidence = np.where(same, source.evidence[there], np.float32(np.nan))
    maps = None if source.maps is None else np.where(same[:, None, None], source.maps[there], np.float32(np.nan))
    return Listed(given.ids, given.scores, evidence, maps, source.enough)


@dataclasses.dataclass(frozen=True)
class Better:
    """How the answers of an index are made better.

    Attributes
    ----------
    method : str
        A name of `RERANKERS`.
    settings : tuple of str
        NAME=VALUE.
    roles : dict of str to list of str
        What the gallery's photos are known by.
    """

    method: str
    settings: tuple = ()
    roles: dict = dataclasses.field(default_factory=dict)

    @property
    def paths(self):
        """All that is read."""
        return [path for paths in self.roles.values() for path in paths]

    @classmethod
    def found(cls, method, settings, roles, index):
        """With the features of a build, where its folder is what is searched, and none are given."""
        takes = {role for taken in load(RERANKERS, method, "reranker").takes for role in taken.roles}
        for role in ("features", "vectors") if builds.is_build(index) and not any(roles.values()) else ():
            path = of_build(index, role)
            if role in takes and path is not None and os.path.isfile(path):
                roles = roles | {role: [path]}
                break
        return cls(method, tuple(settings), in_builds({role: paths for role, paths in roles.items() if paths}))

    def reranker(self):
        """The reranker.

        Raises
        ------
        UsageError
            For what it does not take, or lacks.
        """
        kind = load(RERANKERS, self.method, "reranker")
        if kind.rankings[0] > 1:
            raise UsageError(f"-m {self.method} puts rankings together, and a search makes one: store them, and use imgret rerank")
        check_roles(kind, self.roles | {"index": ["INDEX"] if takes_index(kind) else []}, 1)
        params = kind.Params.parse(self.settings)
        if params.to_json().get("verified"):
            raise UsageError(
                f"--rerank {self.method} takes verified photos, and a search has none yet: store the ranking (-o), then imgret rerank "
                f"-m spatial, then -m {self.method}; or --set verified=false"
            )
        return kind(params)


def divided(index, method, settings):
    """Settings NAME=VALUE of a search that is made better: those of the index, and those of the method.

    What both have is the index's; METHOD.NAME=VALUE is the method's.

    Parameters
    ----------
    index : str
        The index, or the folder of a build.
    method : str
    settings : sequence of str
    """
    own = {field.name: None for field in dataclasses.fields(load(RERANKERS, method, "reranker").Params)}
    path = index_in(index)
    with remedied(path), contextlib.closing(OpenIndex(path)) as gallery:
        its = {field.name: None for field in dataclasses.fields(gallery.settings)}
    first, second = [], []
    for setting in settings:
        named = setting.partition("=")[0].strip().replace("-", "_")
        if setting.startswith(f"{method}."):
            second.append(setting.removeprefix(f"{method}."))
        elif named not in own | its:
            raise UsageError(
                f"neither {method} nor this index has a parameter `{quoted(named)}`; {method} has: {', '.join(own) or 'none'}; the index: "
                f"{', '.join(its) or 'none'}"
            )
        else:
            (second if named in own and named not in its else first).append(setting)
    return tuple(first), tuple(second)


def takes_index(kind):
    """Whether a reranker asks the index again."""
    return any("index" in taken.roles for taken in kind.takes)


class Reranking(contextlib.ExitStack):
    """Makes the answers of an open index better: a context manager.

    Parameters
    ----------
    better : Better
    gallery : imgret.inputs.gallery.Gallery
        The index.
    queries : list of str
        Stores that ask; empty where photos do.
    run : imgret.runs.run.Run
    weights : tuple of str
        Files to look for networks' weights in, before the recorded places.

    Attributes
    ----------
    depth : int
        How many ranks it looks at.
    counted : imgret.evidence.Counted
        What its evidence is.
    recorded : list of dict
        How what it reads is recorded.

    Raises
    ------
    ImgretError
    """

    def __init__(self, better, gallery, queries, run, weights=()):
        super().__init__()
        self._reranker, self._gallery, self._run, self._weights = better.reranker(), gallery, run, weights
        self.counted = Counted(self._reranker.counts, self._reranker.enough)
        try:
            stores = self.enter_context(Stores())
            searched = Searched(gallery.names, sameness_of(gallery.store), gallery.store.shown, self._best)
            roles = better.roles | {"index": [gallery.store.shown] if takes_index(type(self._reranker)) else []}
            given = Given([], roles, list(queries), {}, run.device)
            self.known = KnownStores(given, searched, stores, self, gallery)
            self.recorded, self._describers = self.known.recorded, {}
            self._reranker.begin(self.known)
        except BaseException:
            self.close()
            raise

    @property
    def depth(self):
        """How many ranks it looks at."""
        params = self._reranker.params.to_json()
        return params.get("depth", LOOKED)

    @property
    def worth(self):
        """The evidence that is likely, and sure, to be of a match; see `imgret.rerankers.base.Reranker`."""
        return self._reranker.worth

    @property
    def judges(self):
        """Whether its evidence says what matches."""
        return bool(np.isfinite(self.worth[0]))

    def to_json(self):
        """What is done, as parameters of a ranking."""
        return {"method": self._reranker.name, "version": self._reranker.version, "params": self._reranker.params.to_json()}

    @property
    def facts(self):
        """What its evidence is, as the facts of a ranking; None where it gives none."""
        return self.counted.to_json() if self.counted.counts else None

    def _best(self):
        return {"cosine": 1.0, "l2": 0.0}.get(self._gallery.index.metric, np.inf) if self._gallery.index.takes == "vectors" else np.inf

    def lists(self, queries):
        """The better lists of some queries: list of Listed."""
        return list(ordered_map(lambda query: reranked(self._reranker, [query], self.known)[0], queries, self._run.jobs))

    def queries(self, asked, lists):
        """The queries of a block, with their lists; what describes photos is at hand.

        Parameters
        ----------
        asked : imgret.inputs.queries.Queries
        lists : list of Listed

        Returns
        -------
        list of AskedQuery
        """
        made = [
            AskedQuery(self.known, *of) for of in zip(asked.names, asked.photo_names, [[each] for each in lists], asked.boxes, strict=True)
        ]
        if asked.paths is None:
            return made
        for role in DESCRIBING:
            if role in self.known.given:
                for query, described in zip(made, self._described(role, asked), strict=True):
                    query.described[role] = described
        return made

    def _described(self, role, asked):
        """What describes photos that ask, as a role's stores describe theirs."""
        if role not in self._describers:
            store = self.known.stores_of(role)[0]
            same = same_space(Pipeline.load(store).node, self._gallery.pipeline.node)
            self._describers[role] = None if same else PhotoDescriber(store, self._run, self._weights)
        if self._describers[role] is None:  # the index's own: described already
            return asked.vectors
        found = []
        for path, (described, bad, _) in zip(asked.paths, self._describers[role].of(asked.paths), strict=True):
            if bad is not None:
                raise ImgretError(f"{path.decode('utf-8', 'backslashreplace')} cannot be used for --rerank: {bad.reason}")
            found.append(described)
        return found

    def matches(self, query, photo):
        """What of a query lies where in a photo: see `imgret.rerankers.base.Reranker.matches`."""
        return self._reranker.matches(query, photo, self.known)


class AskedQuery(StoredQuery):
    """A query that has just been asked.

    Attributes
    ----------
    described : dict of str to object
        By role: what describes it, where it is a photo.
    """

    def __init__(self, known, name, photo, lists, box):
        super().__init__(known, name, photo, lists, box)
        self.described = {}

    def _of(self, role):
        return self.described[role] if role in self.described else super()._of(role)
