"""The nearest photos that may be negatives, no two of them alike: exact, over vectors that are read block by block.

Products of blocks are made by BLAS, whose last bits depend on the shapes of blocks and on threads. So these only say what can be among
the nearest, and photos whose order they leave in doubt are compared once more, each pair by itself in float64: the answer depends on the
vectors alone.
"""

import numpy as np

QUERIES, POOL = 1024, 2048  # rows of a block
ENTRIES = 1 << 22  # of what is held for a block of queries: candidates, and photos that are no negatives
PAIRS = 1 << 13  # compared again at once
BYTES = 1 << 26  # of vectors that are held at once: fewer of each where they are long
FURTHER = 4  # how many times more candidates are looked at where those of before were too few
LAST = 4.0  # what the similarity of photos that come after all others is lowered by


class Nearest:
    """The search among the vectors of a pool.

    Parameters
    ----------
    vectors, pool, relations, count : see `imgret.miners.base.Miner.mine`
    """

    def __init__(self, vectors, pool, relations, count):
        self._vectors, self._pool, self._relations, self._count = vectors, pool, relations, count
        self._most = rows_at_once(vectors, pool)
        _, self._clusters, self._sizes = np.unique(relations.clusters[pool], return_inverse=True, return_counts=True)

    def of(self, queries, positives=None):
        """The nearest of each query.

        Parameters
        ----------
        queries : ndarray, shape (Q,), int64
        positives : ndarray, shape (Q,), int64, optional
            Photos as near as these, or nearer, come after all others.

        Returns
        -------
        ndarray, shape (Q, count), int64
            -1 where there are no more.
        """
        answer = np.full((len(queries), self._count), -1, dtype=np.int64)
        left, candidates = np.arange(len(queries)), 8 * self._count + 32
        while len(left) and len(self._pool):
            candidates = min(candidates, len(self._pool))
            again, start = [], 0
            while start < len(left):
                numbers, never = self._block(queries, left[start:], candidates)
                asked = _Asked(self, queries[numbers], None if positives is None else positives[numbers], never)
                answer[numbers], settled = asked.nearest(candidates)
                again.append(numbers[~settled])
                start += len(numbers)
            left, candidates = np.concatenate(again), candidates * FURTHER
        return answer

    def _block(self, queries, left, candidates):
        """The next of the queries that are left, and for each the photos that are no negatives: as many as memory is meant for."""
        never, held = [], 0
        for number in left[: min(QUERIES, self._most, max(1, ENTRIES // candidates))]:
            never.append(self._relations.never(int(queries[number])))
            held += len(never[-1])
            if held >= ENTRIES:
                break
        return left[: len(never)], never

    def rows(self, photos):
        """Vectors of photos in any order, float32."""
        ascending, places = np.unique(photos, return_inverse=True)
        return np.asarray(self._vectors(ascending), dtype=np.float32)[places]

    def blocks(self):
        """Where each block of the pool begins, and its vectors."""
        size = min(POOL, self._most)
        for start in range(0, len(self._pool), size):
            yield start, np.asarray(self._vectors(self._pool[start : start + size]), dtype=np.float32)

    def banned(self, never):
        """(query, place in the pool) of those that are no negatives, by place."""
        photos = np.concatenate(never)
        places = np.minimum(np.searchsorted(self._pool, photos), len(self._pool) - 1)
        there = self._pool[places] == photos
        queries, places = np.repeat(np.arange(len(never)), [len(each) for each in never])[there], places[there]
        order = np.argsort(places, kind="stable")
        return queries[order], places[order]

    def available(self, count, banned):
        """Of how many clusters each of `count` queries can have a negative."""
        clusters = len(self._sizes)
        keys, lost = np.unique(banned[0] * clusters + self._clusters[banned[1]], return_counts=True)
        whole = keys[lost == self._sizes[keys % clusters]] // clusters
        return clusters - np.bincount(whole, minlength=count)

    def chosen(self, queries, places, count):
        """The first photos of each query, at most one of a cluster: from pairs in order, by query."""
        _, first = np.unique(queries * len(self._sizes) + self._clusters[places], return_index=True)
        first.sort()
        queries, places = queries[first], places[first]
        ranks = np.arange(len(queries)) - np.searchsorted(queries, np.arange(count))[queries]
        kept = ranks < self._count
        answer = np.full((count, self._count), -1, dtype=np.int64)
        answer[queries[kept], ranks[kept]] = self._pool[places[kept]]
        return answer

    def products(self, vectors, queries, places):
        """Similarities of pairs of a query's vector and a photo of the pool, each by itself: float64."""
        found, order = np.empty(len(places)), np.argsort(places, kind="stable")
        size = min(PAIRS, self._most)
        for start in range(0, len(order), size):
            part = order[start : start + size]
            found[part] = _products(vectors[queries[part]], self.rows(self._pool[places[part]]))
        return found


class _Asked:
    """A block of queries."""

    def __init__(self, search, queries, positives, never):
        self._search, self._vectors = search, search.rows(queries)
        self._banned = search.banned(never)
        # of a product of unit vectors in float32, whatever the order of its sum
        self._slack = (self._vectors.shape[1] + 8) * 2.0**-23
        self._bounds = None if positives is None else _products(self._vectors, search.rows(positives))

    def nearest(self, candidates):
        """The nearest (Q, count), and whether these are right: (Q,) bool. More candidates are needed where they are not."""
        rough, places = self._candidates(candidates)
        count = len(rough)
        full = rough[:, -1] > -np.inf
        border = np.where(full & (candidates < len(self._search._pool)), rough[:, -1] + 2 * self._slack, -np.inf)
        queries, column = np.nonzero(rough > border[:, None])
        queries, places, similarities = self._ordered(queries, places[queries, column], rough[queries, column].astype(np.float64))
        sure = similarities > border[queries]  # no photo that is no candidate comes before these
        answer = self._search.chosen(queries[sure], places[sure], count)
        wanted = np.minimum(self._search.available(count, self._banned), answer.shape[1])
        return answer, (border == -np.inf) | ((answer >= 0).sum(axis=1) >= wanted)

    def _candidates(self, most):
        """The `most` nearest of each query by what BLAS says: similarities (Q, most), falling, -inf where there are no more, and places."""
        best = _Best(len(self._vectors), most)
        for start, block in self._search.blocks():
            similarities = self._vectors @ block.T
            if self._bounds is not None:  # those in doubt stay where they are until they are compared exactly
                beyond = similarities > (self._bounds + 2 * self._slack).astype(np.float32)[:, None]
                np.subtract(similarities, LAST, out=similarities, where=beyond)
            first, last = np.searchsorted(self._banned[1], (start, start + len(block)))
            similarities[self._banned[0][first:last], self._banned[1][first:last] - start] = -np.inf
            best.offer(similarities, start)
        return best.all()

    def _ordered(self, queries, places, similarities):
        """Pairs by query, nearest first, and by place where two are as near."""
        exact = np.zeros(len(queries), dtype=bool)
        while True:
            order = np.lexsort((places, -similarities, queries))
            queries, places, similarities, exact = queries[order], places[order], similarities[order], exact[order]
            close = (similarities[:-1] - similarities[1:] <= 2 * self._slack) & (queries[:-1] == queries[1:])
            doubtful = np.zeros(len(queries), dtype=bool)
            doubtful[:-1] |= close
            doubtful[1:] |= close
            if self._bounds is not None:
                doubtful |= np.abs(similarities - self._bounds[queries]) <= 4 * self._slack
            doubtful = np.flatnonzero(doubtful & ~exact)
            if not len(doubtful):
                return queries, places, similarities
            found = self._search.products(self._vectors, queries[doubtful], places[doubtful])
            if self._bounds is not None:
                found[found >= self._bounds[queries[doubtful]]] -= LAST
            similarities[doubtful], exact[doubtful] = found, True


class _Best:
    """The best so far for each of some queries; memory: some multiples of what is kept, and one block."""

    def __init__(self, queries, most):
        self._similarities = np.full((queries, most), -np.inf, dtype=np.float32)
        self._places = np.full((queries, most), -1, dtype=np.int64)
        self._waiting, self._count = [], 0

    def offer(self, similarities, start):
        """Similarities (Q, n) of the photos at places from `start` on."""
        queries, most = self._places.shape
        found = np.flatnonzero(similarities > self._similarities[:, -1:])
        if len(found) > queries * most and similarities.shape[1] > most:
            columns = np.argpartition(similarities, -most, axis=1)[:, -most:]
            found = (np.arange(queries)[:, None] * similarities.shape[1] + columns).ravel()
            found = found[similarities.ravel()[found] > -np.inf]
        of, columns = np.divmod(found, similarities.shape[1])
        self._waiting.append((of, columns + start, similarities.ravel()[found]))
        self._count += len(found)
        if self._count > queries * most:
            self._settle()

    def _settle(self):
        queries, most = self._places.shape
        kept, column = np.nonzero(self._places >= 0)
        self._waiting.append((kept, self._places[kept, column], self._similarities[kept, column]))
        of, places, similarities = (np.concatenate(each) for each in zip(*self._waiting, strict=True))
        order = np.lexsort((-similarities, of))
        of, places, similarities = of[order], places[order], similarities[order]
        rank = np.arange(len(of)) - np.searchsorted(of, np.arange(queries))[of]
        kept = rank < most
        self._places[of[kept], rank[kept]] = places[kept]
        self._similarities[of[kept], rank[kept]] = similarities[kept]
        self._waiting, self._count = [], 0

    def all(self):
        """Similarities (Q, most), falling, and places."""
        if self._count:
            self._settle()
        return self._similarities, self._places


def rows_at_once(vectors, photos):
    """How many vectors may be held at once, for a miner's `vectors` of some photos."""
    return max(1, BYTES // (4 * np.shape(vectors(photos[:1]))[1])) if len(photos) else 1


def likeness(vectors, query, photos):
    """Similarities of one photo to others (n,), ascending, each by itself: float64."""
    own, size = np.asarray(vectors(np.array([query])), dtype=np.float64), rows_at_once(vectors, photos)
    return np.concatenate([_products(own, np.asarray(vectors(rows))) for rows in np.split(photos, range(size, len(photos), size))])


def _products(one, other):
    """Products of rows, each in one order: float64."""
    return (one.astype(np.float64) * other).sum(axis=1)
