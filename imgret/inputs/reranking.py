"""Rankings, and all that a reranker is given with them, opened: what does not fit the others is refused."""

import contextlib

import numpy as np

from imgret.errors import ImgretError
from imgret.inputs.gallery import Gallery as OpenIndex
from imgret.inputs.known import KnownStores, Searched, StoredQuery, by_row
from imgret.inputs.ranked import EMPTY, Ranked
from imgret.inputs.stores import Stores
from imgret.names import shown
from imgret.store.photos import sameness_of
from imgret.store.sameness import Sameness
from imgret.store.text import Texts


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
        whole = None if first.whole else self._whole(stores)
        self.names = _names(self.rankings, first) if whole is None else whole.names
        self._places = [None if each.names == self.names else self._place(each) for each in self.rankings]
        self._first = first
        asked = {query: photo for each in reversed(self.rankings) for query, photo in zip(each.query_ids, each.query_names, strict=True)}
        ordered = dict.fromkeys(query for each in self.rankings for query in each.query_ids)
        self.queries = [(query, asked[query]) for query in ordered]
        sameness = (first if whole is None else whole).sameness if first.whole or whole is not None else None
        searched = Searched(self.names, sameness, first.shown, lambda: self.rankings[0].best, self.asked)
        self.known = KnownStores(given, searched, stores, self)
        self.entries = [each.entry for each in self.rankings] + self.known.recorded

    def _whole(self, stores):
        """Of TREC runs, which tell of few photos: what knows all that were searched, if it is given; None where nothing does."""
        for path in self.given.roles.get("graph", ())[:1]:
            return self._holding(Ranked(path, stores, "--graph"))
        for path in self.given.roles.get("index", ())[:1]:
            with contextlib.closing(OpenIndex(path)) as index:
                return self._holding(Searched(index.names, sameness_of(index.store), index.store.shown))
        return None

    def _holding(self, whole):
        """The same, if it has the photos of all rankings."""
        missing = next((name for each in self.rankings for name in each.names if whole.names.find(name) < 0), None)
        if missing is not None:
            raise ImgretError(f"{self.rankings[0].shown} ranks {shown(missing)}, which {whole.shown} does not hold: give what was searched")
        return whole

    def _place(self, ranking):
        """What the positions of a ranking's photos are among all."""
        return np.fromiter((self.names.find(name) for name in ranking.names), np.int64, len(ranking.names))

    @property
    def sameness(self):
        """Which photos were searched."""
        if self.known.sameness is not None and not self._first.whole:
            return self.known.sameness
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
            lists.append(by_row(rows, lambda first, last, each=each, place=place: each.lists(first, last, place), EMPTY))
            found = by_row(rows, each.boxes, None)
            boxes = {query: box for query, box in enumerate(found) if box is not None} | boxes
        return [
            StoredQuery(self.known, *self.queries[start + number], [column[number] for column in lists], boxes[number])
            for number in range(stop - start)
        ]


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
