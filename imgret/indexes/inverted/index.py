"""An index over words: inverted lists, scored as the encoder that made the entries has it."""

import contextlib
import functools

import numpy as np

from imgret import registry
from imgret.errors import ImgretError, UsageError, quoted
from imgret.indexes import keys
from imgret.indexes.base import Index, damage
from imgret.indexes.inverted import SCORERS
from imgret.indexes.inverted.building import Entries, Ranges, Rows, closed_on_error, row_of
from imgret.indexes.inverted.geometry import quantised
from imgret.indexes.inverted.lists import Lists
from imgret.indexes.inverted.scorer import Query
from imgret.indexes.inverted.weighting import Idf, inverse
from imgret.parallel import ordered_map

DEFAULT_MEMORY = 1 << 31
LEAST = 1e-30  # no norm is so short
ENTRIES = ("words", "word_offsets", "byte_offsets", "photo")
OF_WORDS, OF_PHOTOS = ("idf", "lp_idf"), ("norms", "lengths")


class Inverted(Index):
    """Inverted file: for every word the photos that have it.

    Exact: all photos that share a word with the query are scored, one score for all entries; one that shares none scores 0. Higher is
    better; where scores may be negative, such a photo comes before those. Of equal scores the lower row comes first.

    Parameters
    ----------
    params : Params
    metric : str
        "cosine": what photos are compared by is the scorer's.
    encoder : imgret.encoders.base.Encoder
        It made the entries. `name`, `words` (how many there are), `statistics` (None, or what has `idf_` and `lp_idf_`) and, where there
        are signatures, `bits` are read.

    References
    ----------
    J. Sivic & A. Zisserman, "Video Google: a text retrieval approach to object matching in videos", ICCV 2003.
    J. Zobel & A. Moffat, "Inverted files for text search engines", ACM Computing Surveys 2006: gaps between the numbers of a list.
    """

    name = "inverted"
    takes = "words"
    encoding = ("ma", "asymmetric")
    trains = False

    def __init__(self, params, metric="cosine", encoder=None):
        super().__init__(params, metric)
        if metric != "cosine":
            raise UsageError(f"'{self.name}' has one way to compare photos, its encoder's: leave --metric out")
        self.encoder = encoder
        self.scorer = registry.load(SCORERS, encoder.name, "scorer")(encoder)
        self.size = 0
        self._counts = self._ranges = None  # of what has been filled
        self._lists = self._arrays = self._norm = None  # of what has been opened
        self._norms, self._stopped = {}, {}

    @classmethod
    def search_params(cls, encoder):
        """The class of the search-time parameters for entries of an encoder, by its name."""
        return registry.load(SCORERS, encoder, "scorer").SearchParams

    @classmethod
    def searches(cls):
        """Those of each encoder; see `Index.searches`."""
        return {encoder: cls.search_params(encoder) for encoder in SCORERS}

    # Building

    def fill(self, source, folder, max_memory=DEFAULT_MEMORY, progress=None):
        """Take in all entries of all photos, in two passes.

        Parameters
        ----------
        source : object
            See `imgret.indexes.inverted.building.Entries`.
        folder : str
            For files that are gone when `save` has ended, where the entries do not fit.
        max_memory : int
            Bytes that they may take, about; one word's entries are sorted at once, whatever they take.
        progress : callable, optional
            `progress(n)`: so many photos more have been read, of twice as many as there are.

        Raises
        ------
        ImgretError
            For entries that are not as an encoder makes them.
        """
        if source.photos > keys.MOST_ROWS:
            raise ImgretError(f"an index holds at most {keys.MOST_ROWS} photos, got {source.photos}")
        scorer, self.size = self.scorer, source.photos
        carried = [name for name in ("signature", "weight", *scorer.optional) if name in source.columns]
        entries = Entries(source, self.encoder.words, scorer.together)
        self._counts = entries.count(progress)
        self._norm = self._identity(scorer.SearchParams(), Idf(self.encoder.statistics, self._counts.words, self.size, {}))
        if scorer.together and "weight" not in carried:
            carried.append("weight")
        self._ranges = Ranges(self._counts, row_of(source.columns, carried), folder, max_memory)
        names = [name for name in ("word", *carried) if name in source.columns]
        with closed_on_error(self._ranges):
            for photos, columns in entries.blocks(names):
                if "geometry" in columns:
                    columns = columns | {"geometry": quantised(columns["geometry"])}
                self._ranges.add(photos, columns)
                if progress is not None:
                    progress(int(photos[-1] - photos[0]) + 1 if len(photos) else 0)

    def save(self, column):
        """Sort what has been taken in, range of words after range, and write it; see `Index.save`. Once only."""
        counts, total = self._counts, int(self._counts.entries.sum())
        entries = {name: column(name, shape, dtype, total) for name, (shape, dtype) in self._carried().items()}
        entries["photo"] = column("photo", (), np.dtype(np.uint8), int(counts.sizes.sum()))
        settings, sums, first = self.scorer.SearchParams(), np.zeros(self.size), 0
        of_gallery = {"idf": inverse(self.size, counts.photos), "lp_idf": inverse(self.size, counts.powers)}
        idf = Idf(self.encoder.statistics, counts.words, self.size, dict(enumerate(of_gallery.values())))
        of_lists = idf.of_lists(settings)
        with contextlib.closing(self._ranges) as ranges:
            for run in ranges.runs():
                run = run | ({"weight": run["weight"].astype(counts.weights)} if "weight" in run else {})
                lists = Lists(run, self.size)
                self.scorer.add_self(lists, of_lists[first : first + len(lists.words)], settings, sums)
                first += len(lists.words)
                for name, into in entries.items():
                    into.append(run[name])
        small = {"words": counts.words, "word_offsets": counts.word_offsets, "byte_offsets": counts.byte_offsets} | of_gallery
        small |= {"norms": np.sqrt(sums).astype(np.float32)} | ({"lengths": counts.lengths} if self.scorer.lengths else {})
        for name, array in small.items():
            column(name, array.shape[1:], array.dtype, len(array)).append(array)

    def arrays(self):
        """The columns, in memory; see `Index.arrays`."""
        made = {}
        self.save(lambda name, shape, dtype, length: made.setdefault(name, Rows(shape, dtype)))
        return {name: rows.array() for name, rows in made.items()}

    def facts(self):
        """What its norms were made with, how many words the encoder has, and bits in a signature."""
        return {"norms": self._norm, "words": self.encoder.words, "bits": self.encoder.bits}

    def _carried(self):
        """Of each entry: {name: (row shape, dtype)}."""
        row = self._ranges.row
        carried = {name: (row[name].shape, row[name].base) for name in row.names if name not in ("word", "photo")}
        return carried | ({"weight": ((), self._counts.weights)} if "weight" in carried else {})

    # Searching

    @classmethod
    def opened(cls, params, metric, arrays, facts, size, encoder):
        """Open what `arrays` gave; see `Index.opened`. Nothing is read but the ends of the columns."""
        try:
            index = cls(params, metric, encoder)
        except UsageError as error:
            raise ImgretError(damage(str(error))) from None
        expected = {*ENTRIES, *OF_WORDS, "norms", *(("lengths",) if index.scorer.lengths else ())}
        missing = sorted(expected - set(arrays))
        if missing:
            raise ImgretError(damage(f"it has no '{missing[0]}'"))
        index.size, index._norm = size, facts.get("norms")
        names = expected | ({"signature", "weight", "geometry"} & set(arrays))
        index._arrays = {name: np.asarray(arrays[name]) for name in names}
        index._lists = Lists(index._arrays, size)
        index.scorer.check(index._lists)
        for name in set(OF_WORDS + OF_PHOTOS) & expected:
            array, count = index._arrays[name], len(index._lists.words) if name in OF_WORDS else size
            if array.shape != (count,) or array.dtype != np.float32:
                raise ImgretError(damage(f"'{name}' is not a number for each"))
        return index

    def asked(self, settings):
        """How many words a descriptor gets, and what else the scorer wants; see `Index.asked`."""
        return self.scorer.asked(settings)

    def visited(self, queries, settings=None):
        """Its words' lists, and a number for each photo; all there is where norms must be made anew. See `Index.visited`."""
        settings, lists = settings or self.scorer.SearchParams(), self._lists
        identity = self._identity(settings, self._idf)
        if identity is not None and identity != self._norm and _key(identity) not in self._norms:
            return None
        at = [self._query(query, settings).at for query in queries]
        at = np.unique(np.concatenate([np.empty(0, np.int64), *at]))
        at = at[at >= 0]
        entries, taken = lists.ranges(at)
        offsets = np.stack([at, at + 2], axis=1)
        ranges = {name: [[0, len(array)]] for name, array in self._arrays.items()}
        for name, rows in (("photo", taken), ("signature", entries), ("weight", entries), ("geometry", entries)):
            if name in ranges:
                ranges[name] = rows
        if not settings.stop:
            ranges |= {"word_offsets": offsets, "byte_offsets": offsets}
        return {name: np.asarray(rows, np.int64).reshape(-1, 2) for name, rows in ranges.items()}

    def search(self, queries, k, settings=None, jobs=1):
        """The best photos for each query.

        Parameters
        ----------
        queries : sequence of dict of str to ndarray
            Of each query's entries: `word` (n,); `signature`, `weight`, `geometry` as a words store has them, where the scorer takes them
            (`asmk` and `smk` take float `signature` (n, bits) for an index of bits, too);
            `descriptor` (n,) integer, those of one descriptor alike, for a scorer that tells them apart.
        k, settings, jobs : see `Index.search`

        Returns
        -------
        scores, rows : see `Index.search`

        Raises
        ------
        ImgretError, UsageError
            If a query's entries do not fit those of the index; if `k` is not a positive integer.
        """
        if not isinstance(k, int | np.integer) or k < 1:
            raise UsageError(f"`k` must be a positive integer, got {quoted(repr(k))}")
        settings = settings or self.scorer.SearchParams()
        norms, most = self._norms_of(settings), min(int(k), self.size)
        scores, rows = np.full((len(queries), k), np.nan, np.float32), np.full((len(queries), k), -1, np.int64)
        answer = functools.partial(self._answer, settings=settings, norms=norms, k=most)
        for number, found in enumerate(ordered_map(answer, queries, jobs)):
            scores[number, :most], rows[number, :most] = keys.unpack(found)
        return scores, rows

    def _answer(self, query, settings, norms, k):
        """Keys (k,) of the best photos for one query."""
        from imgret.indexes.inverted.ranking import best, divided

        query, scores = self._query(query, settings), np.zeros(self.size, np.float32)
        self.scorer.score(self._lists, query, settings, scores, self._array("lengths"))
        own = 1.0 if norms is None else np.sqrt(self.scorer.asked_as_one(query, settings))
        divided(scores, np.ones_like(scores) if norms is None else norms, np.float32(1 / own if own > 0 else 0))
        if 4 * k >= self.size:
            return np.sort(keys.pack(scores, np.arange(self.size)))[:k]
        found = np.full(k, keys.MISSING)
        best(scores.view(np.uint32), found)
        return np.sort(found)

    def _query(self, columns, settings):
        """A query's entries, in the order of their words, and where their lists are."""
        order = np.argsort(columns["word"], kind="stable")
        columns = {name: np.asarray(column)[order] for name, column in columns.items()}
        words, lists = columns["word"].astype(np.int64), self._lists
        if len(words) and (words[0] < 0 or words[-1] >= self.encoder.words):
            raise ImgretError(f"a query has the word {words[-1]}, and the index's codebook has {self.encoder.words}: encode it with that")
        if "signature" in self.scorer.carries:
            given = columns.get("signature", np.empty(0))
            wide = lists.signature.shape[1] if given.dtype == np.uint8 or lists.floats else self.encoder.bits
            right = given.dtype != np.uint8 if lists.floats else given.dtype == np.uint8 or self.scorer.numbers
            if given.shape != (len(words), wide) or not right or given.dtype.kind not in "uf":
                raise ImgretError("a query's signatures are not like those of the index: encode them alike")
        at = lists.find(words)
        idf = self._idf.of(settings, words, at)
        if settings.stop:
            at = np.where(np.isin(at, self._stop(settings.stop)), -1, at)
        return Query(words, at, idf, columns)

    def _stop(self, share):
        """Where the longest lists are, so many per mille of all words."""
        if share not in self._stopped:
            lengths = np.diff(self._lists.word_offsets)
            self._stopped[share] = np.argsort(-lengths, kind="stable")[: int(self.encoder.words * share / 1000)]
        return self._stopped[share]

    @functools.cached_property
    def _idf(self):
        return Idf(self.encoder.statistics, self._lists.words, self.size, dict(enumerate(self._arrays[name] for name in OF_WORDS)))

    def _array(self, name):
        """A number for each photo, aligned in memory: kept when it has been read once. None where there is no such column."""
        if name not in self._arrays:
            return None
        if name not in self._norms:
            self._norms[name] = array = np.array(self._arrays[name])
            if not (np.isfinite(array).all() and ((array == 0) | (array > LEAST)).all()):
                raise ImgretError(damage(f"its {name} are none"))
        return self._norms[name]

    def _identity(self, settings, idf):
        """What photos' norms depend on, as JSON; None where scores are not divided by any."""
        of_scorer = self.scorer.norm(settings)
        return None if of_scorer is None else of_scorer | {"idf": idf.source(settings), "lp": settings.lp}

    def _norms_of(self, settings):
        """The photos' norms (N,), float32: as they are kept where they are for these settings, else made in one pass, once."""
        identity = self._identity(settings, self._idf)
        if identity is None:
            return None
        if identity == self._norm:
            return self._array("norms")
        key = _key(identity)
        if key not in self._norms:
            sums = np.zeros(self.size)
            self.scorer.add_self(self._lists, self._idf.of_lists(settings), settings, sums)
            self._norms[key] = np.sqrt(sums).astype(np.float32)
        return self._norms[key]


def _key(identity):
    return tuple(sorted(identity.items()))
