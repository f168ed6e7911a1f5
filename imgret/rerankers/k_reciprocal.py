"""k-reciprocal encoding: photos resemble each other as far as they share neighbours that have each other."""

import dataclasses

import numpy as np

from imgret.registry import Params, param
from imgret.rerankers.base import Listed, Reranker, Taken
from imgret.rerankers.neighbours import Neighbours

ROWS = 4096  # photos encoded at once


class KReciprocal(Reranker):
    """Re-ranking with k-reciprocal encoding, sparse.

    A photo is encoded as its k1-reciprocal neighbours, those that have it among their k1 nearest as it has them, and itself; two encodings
    are compared by their Jaccard similarity J = Σ min / Σ max. Photos of the list are ranked by (1 − λ) J + λ s, s being what the list
    says of them, as a similarity (see `imgret.rerankers.neighbours.Neighbours`).

    As published (Zhong et al. 2017; `background=false k1=20 k2=6 lam=0.3`) neighbours weigh exp(−(2 − 2s)), reciprocal neighbours of
    neighbours are added where more than two thirds of them are there (equation 5), and encodings are the means of those of the k2 nearest
    (equation 11): a gain for queries with a dozen matches or more, and a loss of up to twenty points for those with one or two. Here
    neighbours weigh what exceeds the background, which leaves nothing to what is only a neighbour of a neighbour, and k2 is 1.

    Deviations: what a photo weighs in the encoding of another in whose list it is not, nor the other way round, is the last of that list;
    s is the cosine itself, which the published program divides by the largest distance of the list. The query's list and the graph have to
    be of the same index. A query that is no photo of the gallery counts in the encodings of those that would have it.

    Memory: the encodings, some k1 k2 numbers a photo at most; they are made once in each process.

    Parameters
    ----------
    params : Params

    References
    ----------
    Z. Zhong, L. Zheng, D. Cao & S. Li, "Re-ranking person re-identification with k-reciprocal encoding", CVPR 2017.
    """

    name = "k-reciprocal"
    takes = (Taken(("graph",), "to know each photo's neighbours"),)

    @dataclasses.dataclass(frozen=True)
    class Params(Params):
        k1: int = param(10, "neighbours of which those count that are reciprocal", minimum=1)
        k2: int = param(1, "nearest photos whose encodings are averaged, itself among them", minimum=1)
        lam: float = param(0.5, "share of the score before", minimum=0.0, maximum=1.0)
        background: bool = param(True, "neighbours weigh what exceeds the similarity to the k1-th; false: as published")

    def begin(self, known):
        """Encode the gallery."""
        from imgret.rerankers.encodings import turned

        params = self.params
        self._near = near = Neighbours(known, params.k1, params.background, not params.background)
        self._k1 = min(params.k1, near.ids.shape[1])
        self._half = 0 if params.background else min(round(params.k1 / 2), near.ids.shape[1])
        self._weights = near.affinities if params.background else _weights(near.affinities)
        self._dense = np.zeros(known.size, np.float32)  # zeros, before and after each use
        self._own, self._sums = self._encoded(known.size)
        self._encodings = self._own if params.k2 == 1 else self._averaged(known.size)
        starts, columns, values = map(np.empty_like, self._encodings)
        starts[:] = 0
        self._turned = starts, columns, values
        turned(*self._encodings, *self._turned)

    def _encoded(self, size):
        """All encodings, row after row (starts, columns, values), and what these were divided by."""
        from imgret.rerankers.encodings import encode

        def make(start, columns, values, counts):
            encode(self._near.ids, self._weights, self._k1, self._half, start, columns, values, counts)

        starts, columns, values = _packed(size, 1 + self._k1 * (self._half + 1), make)
        sums = np.add.reduceat(values, starts[:-1], dtype=np.float64).astype(np.float32)
        return (starts, columns, values / np.repeat(sums, np.diff(starts))), sums

    def _averaged(self, size):
        """The means of the encodings of the k2 nearest."""
        from imgret.rerankers.encodings import average

        k2 = min(self.params.k2, self._near.ids.shape[1] + 1)

        def make(start, columns, values, counts):
            average(*self._own, self._near.ids, k2, start, self._dense, columns, values, counts)

        return _packed(size, k2 * int(np.diff(self._own[0]).max()), make)

    def rerank(self, queries, known):
        """See `Reranker.rerank`."""
        return [self._ranked(query) if len(query.list) else query.list for query in queries]

    def _ranked(self, query):
        listed, params = query.list, self.params
        similar = self._near.of_query(query, params.k1)
        width = self._near.ids.shape[1]
        others = np.flatnonzero(listed.ids[: width + 1] != query.itself)[:width]
        links = self._links(query, similar, others[: self._k1])
        columns, values = self._encoding(query, similar, others, links)
        common = self._common(columns, values)
        if query.itself < 0:
            self._count_in(listed.ids[others[: self._k1]], links, columns, values, common)
        shares = common[listed.ids]
        scores = (1 - params.lam) * (shares / (2 - shares)) + params.lam * similar
        order = np.argsort(-scores, kind="stable")
        return Listed(listed.ids[order], scores[order].astype(np.float32))

    def _common(self, columns, values):
        """Of a query's encoding and each photo's the sum of the smaller weights, (N,)."""
        from imgret.rerankers.encodings import shared

        common = np.zeros(len(self._sums), np.float32)
        shared(*self._turned, columns, values, common)
        return common

    def _count_in(self, ids, links, columns, values, common):
        """The same for those photos that would have the query among their neighbours, if it were a photo of the gallery."""
        from imgret.rerankers.encodings import scaled

        mine, own = np.zeros(len(common), np.float32), float(values[columns < 0].sum())
        mine[columns[columns >= 0]] = values[columns >= 0]
        for rank in np.flatnonzero(links):
            photo, link = ids[rank], links[rank]
            whole = self._sums[photo] + link
            common[photo] = scaled(*self._encodings, photo, self._sums[photo] / whole, mine) + min(own, link / whole)

    def _links(self, query, similar, ranks):
        """What those at some ranks weigh as reciprocal neighbours, (n,), float32; 0 where they are none."""
        theirs = self._near.of_photos(query.list.ids[ranks], query.list.scores[ranks])
        if self.params.background:
            return np.maximum(np.minimum(similar[ranks], theirs), 0)
        return np.where(theirs >= 0, _weights(np.maximum(similar[ranks], 0)), np.float32(0))

    def _encoding(self, query, similar, others, links):
        """The query's encoding: photos, -1 being itself where it is none of the gallery, and weights.

        Parameters
        ----------
        query : Query
        similar : ndarray, shape (len(list),), float32
        others : ndarray, shape (w,), int64
            Ranks of its neighbours.
        links : ndarray, shape (k1,), float32
            Of the first of them.
        """
        from imgret.rerankers.encodings import gather

        near, longest = query.list.ids[others].astype(np.int32), 1 + len(links) * (self._half + 1)
        strengths = links if self.params.background else _weights(np.maximum(similar[others], 0))
        columns, values = np.empty(longest, np.int32), np.empty(longest, np.float32)
        count = gather(self._near.ids, self._weights, query.itself, near, strengths, links > 0, self._half, columns, values)
        columns, values = columns[:count], values[:count] / values[:count].sum()
        return (columns, values) if self.params.k2 == 1 else self._mean(columns, values, near[: self.params.k2 - 1])

    def _mean(self, columns, values, photos):
        """The mean of an encoding and those of some photos."""
        from imgret.rerankers.encodings import with_others

        starts = self._own[0]
        most = len(columns) + int((starts[photos + 1] - starts[photos]).sum())
        into, shares = np.empty(most, np.int32), np.empty(most, np.float32)
        count = with_others(*self._own, photos, columns, values, self._dense, into, shares)
        return into[:count], shares[:count]


def _weights(similarities):
    """exp(−d) of d = 2 − 2 s, the squared distance of vectors of unit length."""
    return np.exp(2 * similarities - 2).astype(np.float32)


def _packed(size, width, make):
    """Sparse rows of `size` photos, each at most so wide, one after the other: starts (N + 1,), columns int32, values float32.

    `make(start, columns (n, width), values (n, width), counts (n,))` fills some.
    """
    starts, kept = np.zeros(size + 1, np.int64), []
    for start in range(0, size, ROWS):
        count = min(ROWS, size - start)
        columns, values = np.empty((count, width), np.int32), np.empty((count, width), np.float32)
        counts = np.zeros(count, np.int64)
        make(start, columns, values, counts)
        there = np.arange(width) < counts[:, None]
        kept.append((columns[there], values[there]))
        starts[start + 1 : start + count + 1] = counts
    return np.cumsum(starts), *map(np.concatenate, zip(*kept, strict=True))
