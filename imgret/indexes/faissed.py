"""Searches of what faiss holds: ties break by row, whatever faiss makes of them."""

import numpy as np

from imgret.errors import ImgretError, UsageError
from imgret.indexes import keys
from imgret.indexes.base import damage
from imgret.indexes.held import Held
from imgret.indexes.pairs import pair_scores, rotate
from imgret.metrics import check_lengths, norms_of
from imgret.parallel import ordered_map

FETCH_BYTES = 1 << 26  # decoded candidates held at once by a thread


class Faissed(Held):
    """Base of the indexes that faiss holds.

    Where vectors are stored as codes, a score is that of the decoded vector, and identical codes have identical scores.
    """

    def search(self, xq, k, settings=None, jobs=1):
        """The best rows for each query; see `Index.search`."""
        if k < 1:
            raise UsageError(f"`k` must be a positive integer, got {k}")
        settings = settings or self.SearchParams()
        if self._outer is None:
            raise ImgretError(f"the index '{self.name}' is empty: add vectors first")
        xq = self._prepared(xq, "the matrix of queries")
        check_lengths(norms_of(xq, self.metric), self.metric, "the matrix of queries", small="any" if self.metric == "ip" else "never")
        self._complete()
        found = min(k, self.size)
        scores, rows = np.full((len(xq), k), np.nan, np.float32), np.full((len(xq), k), -1, np.int64)
        if not found or not len(xq):
            return scores, rows
        self._begin(len(xq), settings)
        step = self._queries_at_once(len(xq), found, jobs)
        starts = range(0, len(xq), step)

        def answer(start):
            with np.errstate(all="ignore"):  # a damaged structure may hold any number
                return self._answered(xq[start : start + step], found, settings)

        try:
            for start, block in zip(starts, ordered_map(answer, starts, min(jobs, len(starts))), strict=True):
                scores[start : start + step, :found], rows[start : start + step, :found] = keys.unpack(block)
        except RuntimeError:  # what faiss raises
            raise ImgretError(damage("faiss cannot search its structure")) from None
        if rows.max() >= self.size:
            raise ImgretError(damage("row numbers that it does not have"))
        return scores, rows

    def _begin(self, count, settings):
        """Whatever the threads of a search share."""

    def _queries_at_once(self, count, k, jobs):
        # So few that faiss does not use BLAS, whose rounding would let other queries of the block decide which list is probed.
        return max(1, min(16, 120_000 // self._core.d))

    def _answered(self, xq, k, settings):
        """Keys (Q, k) of the rows that are the answer of a block of queries."""
        return self._answer(xq, k, settings)

    @property
    def _nodes(self):
        """What faiss holds: rows, or what stands for several that are equal."""
        return self._outer.ntotal

    def _answer(self, xq, k, settings):
        """Keys (Q, k) of the best of what faiss holds, for a block of queries.

        faiss cuts ties at k as they come, and its scores may differ in the last bit for equal rows. So more than k are fetched and
        scored again, one by one, until what was left out is worse than the k-th by more than rounding can explain.
        """
        if self._matrix is not None:
            xq = rotate(xq, self._matrix)
        limit = self._limit(settings)
        answer = np.full((len(xq), k), keys.MISSING)
        if not limit:
            return answer
        fetch = min(limit, k + max(16, k // 8))
        asking = np.arange(len(xq))
        while len(asking):
            if self._scans(fetch):
                for one in asking:
                    answer[one] = np.sort(keys.pack(self._scan(xq[one]), np.arange(self._nodes)))[:k]
                break
            cut = max(1, FETCH_BYTES // (4 * fetch * xq.shape[1]))
            left = []
            for start in range(0, len(asking), cut):
                some = asking[start : start + cut]
                scores, rows, edge = self._fetch(xq[some], fetch, settings)
                best = np.sort(keys.pack(scores, rows), axis=1)[:, :k]
                answer[some, : best.shape[1]] = best
                whole = (rows < 0).any(axis=1) | (fetch == limit)
                left.append(some[~(whole | (keys.scores_of(best[:, -1]) > edge))])
            asking = np.concatenate(left)
            fetch = min(limit, 4 * fetch)
        return answer

    def _limit(self, settings):
        """The most that a search can return."""
        return self._nodes

    def _scans(self, fetch):
        """Whether so many rows are better had by `_scan`."""
        return False

    def _scan(self, query):
        """Scores (N,) of all rows for one query."""
        raise NotImplementedError(type(self).__name__)  # only where `_scans` may be true

    def _fetch(self, xq, fetch, settings):
        """Candidates of some queries: scores (Q, fetch), rows (Q, fetch; -1 is missing), and a bound (Q,) on what was left out."""
        rough, rows, vectors = self._core.search_and_reconstruct(xq, fetch, params=self._faiss_settings(settings, fetch))
        count = rows.size
        vectors = vectors.reshape(count, -1)
        exact = pair_scores(self._similarity, xq, np.repeat(np.arange(len(xq)), fetch), vectors, np.arange(count)).reshape(rows.shape)
        if self.metric == "cosine" and self._similarity:
            reach = 1.001
        elif self._similarity:
            reach = np.sqrt(np.nanmax(np.einsum("cd,cd->c", vectors, vectors), initial=0))
        else:  # |x| <= |q| + |x - q|
            reach = np.linalg.norm(xq, axis=1) + np.sqrt(np.where(rows >= 0, rough, 0).max(axis=1))
        return self._final(exact), rows, self._edge(xq, rough, reach)

    def _faiss_settings(self, settings, fetch):
        """Search-time parameters as faiss takes them."""
        return None

    def _final(self, scores):
        """Scores to rank by and to report, from those that faiss' metric gives."""
        if self.metric != "cosine":
            return scores
        return np.clip(scores if self._similarity else 1 + scores / 2, -1, 1)

    def scores_of(self, products, asked, kept):
        """See `Index.scores_of`."""
        return self._final(products if self._similarity else 2 * products - np.square(asked)[:, None] - np.square(kept))

    def _edge(self, xq, rough, reach):
        """A bound (Q,) on the scores of what is not among faiss' answers `rough` (Q, n).

        Two ways to sum D products in float32 differ by at most 2 D u |q||x|, u = 2^-24 (Higham, "Accuracy and Stability of Numerical
        Algorithms", section 3.1); `reach` bounds |x|. For distances, 2 (|q|² + |x|²) takes the place of |q||x|.
        """
        last = rough[:, -1] if self._similarity else -rough[:, -1]
        edge = self._final(last.astype(np.float64) + self._slack(xq, reach))
        return edge + 2.0**-22 if self.metric == "cosine" and not self._similarity else edge  # the rounding of 1 - d²/2

    def _slack(self, xq, reach):
        norm = np.sqrt(np.einsum("qd,qd->q", xq, xq, dtype=np.float64))
        size = norm * reach if self._similarity else 2 * (norm**2 + np.square(reach))
        return xq.shape[1] * 2.0**-22 * size
