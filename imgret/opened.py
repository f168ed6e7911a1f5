"""What steps have made, open to Python: photos' features and vectors, codebooks, indexes, rankings."""

import functools
import os
import typing

import numpy as np

from imgret import images
from imgret.arrays import zero_rows
from imgret.chance import LEVELS
from imgret.describer import Describers
from imgret.errors import ImgretError, UsageError
from imgret.inputs.answers import Answers, Wanted
from imgret.inputs.entries import entries_of
from imgret.inputs.features import FeatureReader
from imgret.inputs.queries import describing, together
from imgret.names import to_bytes, to_text
from imgret.pipeline import Pipeline, libraries
from imgret.runs.report import Report
from imgret.runs.run import Run
from imgret.store.versions import asked_by_another, own


class _Pair(typing.NamedTuple):
    name: str
    score: float


class Hit(_Pair):
    """One photo of a ranked list: a tuple (name, score).

    Attributes
    ----------
    name : str
        As `info` and `search` show it; a byte that is not UTF-8 is a lone surrogate.
    score : float
        Higher is better.
    match : str or None
        What the score is worth, "sure", "likely" or "no match"; None where that is not known: of what is no answer of an index, and of one
        that judges nothing.
    evidence : float or None
        What was counted of it where a ranking was made better (inliers), None where nobody looked.
    """

    match = None
    evidence = None


class Opened:
    """A store, open: a context manager.

    Parameters
    ----------
    store : imgret.store.reader.Store

    Attributes
    ----------
    kind : str
    pipeline : imgret.pipeline.Pipeline
        The fitted components that made it.
    """

    def __init__(self, store):
        self._store, self.kind = store, store.kind

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def close(self):
        """Close the file."""
        self._store.close()

    @functools.cached_property
    def pipeline(self):
        """The fitted components that made it."""
        return Pipeline.load(self._store)


class Codebook(Opened):
    """A codebook: `codebook.fitted` is the component, with what it learned."""

    @functools.cached_property
    def fitted(self):
        """The fitted component: `centroids_`, `components_` ..., as its class says (`imgret.codebooks`)."""
        return self.pipeline.component()


class Described(Opened):
    """A store of photos that have been described; new ones can be described in the same way.

    Attributes
    ----------
    names : list of str
        The photos, in byte order.
    """

    def __len__(self):
        """Number of photos."""
        return len(self._store)

    @functools.cached_property
    def names(self):
        """The photos, in byte order: list of str."""
        return [to_text(name) for name in self._names]

    @functools.cached_property
    def _names(self):
        return self._store.texts("names")

    @property
    def _asking(self):
        """The pipeline by which new photos are described."""
        return self.pipeline

    @functools.cached_property
    def _describers(self):
        describers = Describers(self._asking)
        describers.settle()
        text = asked_by_another(own(), self._store.generated_by, libraries(self.pipeline.node), self._store.shown)
        if text:
            Report(-1).warn(text)
        return describers

    def describe(self, photo):
        """Describe a photo as this store's own were.

        Parameters
        ----------
        photo : str or PathLike or bytes
            A file, or the bytes of one.

        Returns
        -------
        ndarray, shape (V,), or imgret.features.LocalFeatures
            What the store holds of each photo.

        Raises
        ------
        ImgretError
            If the photo cannot be used, or the store's own did not begin as photos.
        """
        return self._described([photo])[0]

    def _described(self, photos, jobs=1):
        """What `describe` gives of several photos."""
        jobs = min(jobs, len(photos))
        with describing(jobs):
            return list(self._describers.map(_describe, photos, jobs))

    def __iter__(self):
        return iter(self.names)

    def __contains__(self, name):
        return self._position(name) >= 0

    def _position(self, name):
        try:
            return self._names.find(to_bytes(name)) if isinstance(name, str) else -1
        except UnicodeEncodeError:  # a surrogate that stands for no byte
            return -1

    def _row(self, name):
        row = self._position(name)
        if row < 0:
            raise KeyError(name)
        return row


def _describe(describer, photo):
    """What a describer makes of a photo, a file or the bytes of one."""
    shown = "the photo" if isinstance(photo, bytes) else os.fsdecode(photo)
    try:
        return describer.photo(images.file_of(photo) if isinstance(photo, bytes) else images.read_file(os.fsencode(photo)))
    except images.BadPhoto as bad:
        raise ImgretError(f"{shown}: {bad.reason}") from None


class Features(Described):
    """A features store: `features[name]` is a photo's `imgret.features.LocalFeatures`."""

    @functools.cached_property
    def _reader(self):
        return FeatureReader(self._store)

    def __getitem__(self, name):
        """A photo's features; KeyError where there is no such photo."""
        (features,) = self._reader.photos([self._row(name)])
        features.keypoints  # noqa: B018 - read now: the store may be closed before anybody looks at them
        return features


class Vectors(Described):
    """A vectors store: `vectors[name]` is a photo's vector, `vectors.array` all of them."""

    @property
    def array(self):
        """All vectors, in the order of `names`: ndarray, shape (N, V), as stored; read anew each time."""
        return self._store.read("vectors")

    def __getitem__(self, name):
        """A photo's vector, shape (V,), as stored; KeyError where there is no such photo."""
        row = self._row(name)
        return self._store.read("vectors", row, row + 1)[0]


class Words(Described):
    """A words store: `words[name]` is a photo's visual words, a dict of columns."""

    def __getitem__(self, name):
        """A photo's visual words and what is kept beside them: dict of str to ndarray, shape (e, ...); KeyError where there is no photo."""
        row = self._row(name)
        return entries_of(self._store, range(row, row + 1), self._encoder)[0]

    @functools.cached_property
    def _encoder(self):
        return self.pipeline.component()


class Index(Described):
    """An index: `search` it.

    Parameters
    ----------
    gallery : imgret.inputs.gallery.Gallery
    """

    def __init__(self, gallery):
        super().__init__(gallery.store)
        self._gallery, self.pipeline = gallery, gallery.pipeline

    @property
    def _asking(self):
        return self._gallery.asking

    def search(self, query, k=10, jobs=1):
        """The best photos for a query, or for each of several.

        Parameters
        ----------
        query : str or PathLike or bytes or array_like
            A photo (a file, or the bytes of one), its vector (V,), vectors (Q, V), its visual words (what `Words` has of a photo), or a
            list of photos or of words.
        k : int
            Photos wanted; all, where there are not more.
        jobs : int
            Threads; the result does not depend on it.

        Returns
        -------
        list of Hit
            Best first; of several queries, a list of such lists.

        Raises
        ------
        UsageError
            For a `k` or `jobs` that is no positive integer.
        ImgretError
        """
        if not isinstance(k, int) or k < 1:
            raise UsageError(f"`k` must be a positive integer, got {k!r}")
        run = Run(jobs=jobs)
        single = isinstance(query, str | bytes | os.PathLike)
        photos = single or (isinstance(query, list | tuple) and all(isinstance(each, str | bytes | os.PathLike) for each in query))
        if photos and not query:
            return []
        if photos:
            vectors = together(self._described([query] if single else query, jobs))
        elif self._gallery.index.takes == "words":
            single = isinstance(query, dict)
            vectors = [query] if single else list(query)
            if not all(isinstance(each, dict) and "word" in each for each in vectors):
                raise ImgretError("an inverted index is asked with photos, or with visual words: what a words store has of a photo")
        else:
            vectors = np.asarray(query)
            single, vectors = vectors.ndim == 1, np.atleast_2d(vectors)
        found = Answers(self._gallery, min(k, len(self)), Wanted(keep_self=True), jobs).of(vectors)
        answers = [self._hits(found, row) for row in range(len(vectors))]
        if not isinstance(vectors, list):
            run.report.zero(zero_rows(vectors), len(vectors), "queries", self._gallery.index.metric)
        return answers[0] if single else answers

    def _hits(self, found, row):
        scores, ids = found.scores[row].tolist(), found.ids[row].tolist()
        hits = [Hit(to_text(self._names[photo]), score) for photo, score in zip(ids, scores, strict=True) if photo >= 0]
        if found.levels is not None:
            for hit, level in zip(hits, found.levels[row].tolist(), strict=False):
                hit.match = LEVELS[level]
        return hits


class Ranking:
    """A ranking: `ranking[query]` is a list of `Hit`.

    Parameters
    ----------
    lists : imgret.formats.lists.RankedLists

    Attributes
    ----------
    lists : imgret.formats.lists.RankedLists
        The same as arrays, as protocols take it.
    queries : list of str
        The queries' own names.
    """

    kind = "ranking"

    def __init__(self, lists):
        self.lists, self.queries = lists, [to_text(name) for name in lists.query_ids]
        self._rows = {name: row for row, name in enumerate(self.queries)}

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def close(self):
        """Nothing is left open: all of it has been read."""

    def __len__(self):
        """Number of queries."""
        return len(self.queries)

    def __iter__(self):
        return iter(self.queries)

    def __contains__(self, query):
        return query in self._rows

    def __getitem__(self, query):
        """A query's list of `Hit`, best first; KeyError where there is no such query."""
        lists, row = self.lists, self._rows[query]
        ids = lists.ids[row, : lists.lengths[row]].tolist()
        scores = [float("nan")] * len(ids) if lists.scores is None else lists.scores[row, : len(ids)].tolist()
        hits = [Hit(to_text(lists.names[photo]), score) for photo, score in zip(ids, scores, strict=True)]
        looked = [] if lists.evidence is None else lists.evidence[row, : len(hits)].tolist()
        for hit, evidence in zip(hits, looked, strict=False):
            hit.evidence = None if evidence != evidence else evidence
        return hits
