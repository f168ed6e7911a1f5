"""Queries and a gallery in memory, for the tests of rerankers; and what graphs of neighbours do, the slow and obvious way."""

import numpy as np

from imgret.rerankers.base import Known, Listed, Query


class Asked(Query):
    """A query and its vector."""

    def __init__(self, lists, vector=None, itself=-1, entries=None, box=None):
        super().__init__(lists, box)
        self._vector, self._entries, self.itself = vector, entries, itself

    vector = property(lambda self: self._vector)
    entries = property(lambda self: self._entries)


class Vectors(Known):
    """A gallery of vectors, and their graph: all that is known is computed here."""

    graphs = 1

    def __init__(self, vectors, metric="cosine", k=None):
        self._vectors, self._metric, self.size, self._k = vectors, metric, len(vectors), k or len(vectors)

    metric = property(lambda self: self._metric)

    def scores(self, asking):
        """Scores (Q, N) of all photos."""
        x, asking = self._vectors.astype(np.float64), np.asarray(asking, np.float64)
        if self.metric == "l2":
            return -np.square(asking[:, None] - x).sum(axis=2)
        if self.metric == "cosine":
            x, asking = (rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-30) for rows in (x, asking))
        return asking @ x.T

    def vectors(self, photos):
        return self._vectors[photos]

    def search(self, asking, k):
        scores = self.scores(asking)
        order = np.argsort(-scores, axis=1, kind="stable")[:, :k]
        return [Listed(ids, row[ids].astype(np.float32)) for ids, row in zip(order, scores, strict=True)]

    def graph(self, start, stop, number=0):
        found = [
            Listed(each.ids[each.ids != start + row], each.scores[each.ids != start + row])
            for row, each in enumerate(self.search(self._vectors[start:stop], self._k))
        ]
        width = max(map(len, found))
        ids, scores = np.full((len(found), width), -1), np.zeros((len(found), width), np.float32)
        for row, each in enumerate(found):
            ids[row, : len(each)], scores[row, : len(each)] = each.ids, each.scores
        return ids, scores


def some_vectors(seed=0, groups=6, each=5, dim=8, spread=0.6):
    """Vectors of a few groups of photos, (groups · each, dim), float32."""
    rng = np.random.default_rng(seed)
    return (np.repeat(rng.standard_normal((groups, dim)), each, axis=0) + spread * rng.standard_normal((groups * each, dim))).astype(
        np.float32
    )


def diffused(affinities, y, alpha, loop):
    """(1 − α) (I − α S)^-1 y in closed form.

    Parameters
    ----------
    affinities : ndarray, shape (N, N)
        0 where two photos are no neighbours, and on the diagonal.
    """
    a = affinities + loop * np.eye(len(affinities))
    degrees = a.sum(axis=1)
    root = np.diag(np.where(degrees > 0, 1 / np.sqrt(np.where(degrees > 0, degrees, 1)), 0))
    return (1 - alpha) * np.linalg.solve(np.eye(len(a)) - alpha * root @ a @ root, y)


def reciprocal(distances, k1, k2, lam):
    """Final distances (N, N) of Zhong et al. 2017, of photos to each other: the published program, N² all the way.

    Parameters
    ----------
    distances : ndarray, shape (N, N)
        2 − 2 cos.
    """
    count, order = len(distances), np.argsort(distances, axis=1, kind="stable")

    def mutual(photo, k):
        return [other for other in order[photo, : k + 1] if photo in order[other, : k + 1]]

    encodings = np.zeros((count, count))
    for photo in range(count):
        first = mutual(photo, k1)
        members = set(first)
        for other in first:
            more = mutual(other, round(k1 / 2))
            if len(set(more) & set(first)) > 2 / 3 * len(more):
                members |= set(more)
        members = sorted(members)
        weights = np.exp(-distances[photo, members])
        encodings[photo, members] = weights / weights.sum()
    encodings = np.array([encodings[order[photo, :k2]].mean(axis=0) for photo in range(count)])
    common = np.array([np.minimum(row, encodings).sum(axis=1) for row in encodings])
    return (1 - lam) * (1 - common / (2 - common)) + lam * distances / 2
