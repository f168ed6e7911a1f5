"""What a reranker is: what it takes, what it is told of each query, and what it gives."""

import dataclasses

import numpy as np

from imgret.components import Component


@dataclasses.dataclass(frozen=True)
class Taken:
    """Something that a reranker takes besides rankings.

    Attributes
    ----------
    roles : tuple of str
        Of `imgret.rerankers.ROLES`: one of them has to be given.
    why : str
        What it is for, in a few words ("to match").
    optional : bool
        Whether the reranker can do without.
    """

    roles: tuple
    why: str
    optional: bool = False


@dataclasses.dataclass(frozen=True)
class Listed:
    """The list that one ranking has for one query.

    Attributes
    ----------
    ids : ndarray, shape (k,), int64
        Positions of photos in the gallery, best first, each once; as many as the list has.
    scores : ndarray, shape (k,), float32
        Finite; higher is better.
    evidence : ndarray, shape (k,), float32, or None
        What an earlier step counted of each photo, NaN where it did not look. None where the ranking has none.
    maps : ndarray, shape (k, 3, 3), float32, or None
        Homographies that take places of the query photo to places of each photo, in pixels of the upright photos at full size; NaN where
        none is known.
    enough : float
        The evidence from which on a photo counts as verified.
    """

    ids: np.ndarray
    scores: np.ndarray
    evidence: np.ndarray | None = None
    maps: np.ndarray | None = None
    enough: float = np.inf

    def __len__(self):
        return len(self.ids)

    def taken(self, rows):
        """A list of some of its photos: an index of its rows."""
        evidence, maps = (None if each is None else each[rows] for each in (self.evidence, self.maps))
        return Listed(self.ids[rows], self.scores[rows], evidence, maps, self.enough)

    @property
    def verified(self):
        """Which photos are, (k,), bool."""
        return np.zeros(len(self), bool) if self.evidence is None else self.evidence >= self.enough


class Query:
    """One query: its lists, and what describes it, read when it is looked at.

    Attributes
    ----------
    name : bytes
        Its own.
    lists : list of Listed
        One for each ranking; an empty one where a ranking has not been asked this.
    itself : int
        The position in the gallery of the photo that asks, where it is there by its name; -1 elsewhere.
    box : ndarray, shape (4,), float32
        x1, y1, x2, y2 of the region that asks, in pixels of its photo; NaN where all of it does.
    """

    name, itself = b"", -1

    def __init__(self, lists, box=None):
        self.lists, self.box = lists, np.full(4, np.nan, np.float32) if box is None else box

    @property
    def list(self):
        """The list of the first ranking."""
        return self.lists[0]

    @property
    def features(self):
        """Its `imgret.features.LocalFeatures`, only those in its box. `ImgretError` where they are not given."""
        raise NotImplementedError(type(self).__name__)

    @property
    def entries(self):
        """Its visual words: dict of str to ndarray, shape (e, ...), by the paths of the columns of a words store, sorted by `word`."""
        raise NotImplementedError(type(self).__name__)

    @property
    def vector(self):
        """Its vector, (V,), float32, as those of the gallery are."""
        raise NotImplementedError(type(self).__name__)


class Known:
    """What is known of the gallery's photos, by their positions; read when it is asked for.

    Attributes
    ----------
    size : int
        Photos in the gallery.
    given : frozenset of str
        The roles that are given.
    best : float
        The highest score in the (first) ranking.
    graphs : int
        How many graphs are given.
    """

    size, given, best, graphs = 0, frozenset(), 0.0, 0

    def features(self, photo):
        """The `imgret.features.LocalFeatures` of a photo."""
        raise NotImplementedError(type(self).__name__)

    def entries(self, photo):
        """The visual words of a photo: see `Query.entries`."""
        raise NotImplementedError(type(self).__name__)

    def words(self):
        """The encoder that made the entries: an `imgret.encoders.entries.EntryEncoder`, with its codebooks."""
        raise NotImplementedError(type(self).__name__)

    def vectors(self, photos):
        """The vectors of some photos, in their order: (n, V), float32."""
        raise NotImplementedError(type(self).__name__)

    def search(self, asking, k):
        """Ask the whole index.

        Parameters
        ----------
        asking : ndarray, shape (Q, V), or list of dict of str to ndarray
            As the index takes it: vectors, or the entries of each query.
        k : int

        Returns
        -------
        list of Listed
        """
        raise NotImplementedError(type(self).__name__)

    @property
    def metric(self):
        """How the index compares: "cosine", "l2" or "ip"."""
        raise NotImplementedError(type(self).__name__)

    def graph(self, start, stop, number=0):
        """What some photos' own lists are, as the gallery was asked with itself.

        Parameters
        ----------
        start, stop : int
        number : int
            Of the graph, where several are given: one for each ranking, in their order.

        Returns
        -------
        ids : ndarray, shape (stop - start, k), int64
            The photo itself is left out; -1 where a list is shorter.
        scores : ndarray, shape (stop - start, k), float32
        """
        raise NotImplementedError(type(self).__name__)

    def references(self):
        """For each ranking, in their order, the scores of a ranking of queries that match nothing: list of ndarray, shape (Q, k)."""
        raise NotImplementedError(type(self).__name__)


class Reranker(Component):
    """Base of all rerankers.

    Parameters
    ----------
    params : Params

    Attributes
    ----------
    takes : tuple of Taken
        Besides rankings.
    rankings : tuple of (int, int or None)
        How many rankings it takes, at least and at most.
    counts : str
        What `Listed.evidence` counts in what it gives ("inliers"); "" where it gives none of its own.
    worth : tuple of (float, float)
        The evidence that a photo which does not match reaches by chance in one search of ten, and in one of two hundred: what is likely,
        and sure, for a person.
    """

    takes = ()
    rankings = (1, 1)
    counts = ""
    worth = (np.inf, np.inf)

    @property
    def enough(self):
        """The evidence from which on a photo counts as verified, where it gives any of its own."""
        return np.inf

    def check(self, rankings):
        """Refuse parameters that do not fit so many rankings, before anything is opened: `UsageError`."""

    def begin(self, known):
        """Before any query, once in each process: what all queries have in common. `ImgretError` for what cannot be used."""

    def rerank(self, queries, known):
        """Better lists: those photos that were not looked at stay in their order below.

        What is given for a query does not depend on which others are asked at the same time.

        Parameters
        ----------
        queries : list of Query
            A few dozen.
        known : Known

        Returns
        -------
        list of Listed
            One for each query; the scores are in falling order. `evidence` and `maps` that are None are taken along from the first
            ranking by whoever calls this.
        """
        raise NotImplementedError(type(self).__name__)

    def matches(self, query, photo, known):
        """What of a query lies where in a photo, for a picture of it.

        Parameters
        ----------
        query : Query
        photo : int
            Position in the gallery.
        known : Known

        Returns
        -------
        ndarray, shape (n, 4), float32, or None
            x, y in the query photo and x, y in the photo of what agrees, in pixels of the upright photos; None where it matches nothing so.
        """
        return None


def below(scores, limit, best):
    """Scores of photos that go below those of others, in their order.

    Parameters
    ----------
    scores : ndarray, shape (n,), float32
    limit : float
        Positive: what they have to stay below.
    best : float
        The highest score in the ranking, of any query.

    Returns
    -------
    ndarray, shape (n,), float32
        The same where no score reaches the limit, so that nothing is said otherwise than before; else s / (1 + |s|), in (-1, 1), times the
        limit.
    """
    if best < limit:
        return scores
    wide = np.asarray(scores, np.float64)
    return (wide / (1 + np.abs(wide)) * limit).astype(np.float32)


def reordered(given, likeness, more, evidence, maps, best):
    """A list whose first photos are ranked anew, all others after them as they were.

    Parameters
    ----------
    given : Listed
    likeness : ndarray, shape (n,), float32
        Of its first n photos, at least -`more`: the higher, the earlier; where two are as high, as they were.
    more : float
        What their scores are higher by.
    evidence, maps : ndarray, shapes (k,), (k, 3, 3), float32
        Of all photos, as they are in `given`.
    best : float
        See `below`.

    Returns
    -------
    Listed
    """
    looked = len(likeness)
    order = np.concatenate([np.argsort(-likeness, kind="stable"), np.arange(looked, len(given))])
    scores = np.concatenate([more + likeness[order[:looked]], below(given.scores[looked:], 1.0, best)])
    return Listed(given.ids[order], scores.astype(np.float32), evidence[order], maps[order])
