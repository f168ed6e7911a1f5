"""Equal rows, of which a graph has one: what stands for them in it, and which rows each stands for.

A graph of neighbours cannot hold many equal rows. Each is the others' nearest neighbour, so their links lead to one another and nowhere
else, and whatever lies behind them cannot be reached any more. In lists that are looked at row by row they do no harm.
"""

import numpy as np
import xxhash

from imgret.errors import ImgretError
from imgret.indexes import keys
from imgret.indexes.base import damage

NAMES = ("members", "starts")


class Copies:
    """Which rows are equal, as they come.

    Attributes
    ----------
    count, nodes : int
        Rows so far, and how many are different.
    """

    def __init__(self):
        self.count = self.nodes = 0
        self._of_row = []  # blocks of the node of each row
        # of the nodes, by the first half of their hash: that half, the other half, and which node it is
        self._known = np.empty(0, np.uint64), np.empty(0, np.uint64), np.empty(0, np.int64)
        self._packed = None

    def added(self, values):
        """The rows that equal none before them, ascending.

        Parameters
        ----------
        values : ndarray, shape (n, ...)
            One row's bytes each; equal where, and only where, the rows are.
        """
        first, second = _hashes(values)
        _, leader, inverse = np.unique(first, return_index=True, return_inverse=True)
        own = np.arange(len(first))
        leader = leader[inverse]
        leader = np.where(second == second[leader], leader, own)  # half a hash in common is nothing in common
        node = self._found(first, second)
        new = np.flatnonzero((node < 0) & (leader == own))
        node[new] = self.nodes + np.arange(len(new))
        node = np.where(node < 0, node[leader], node)
        order = np.argsort(first[new], kind="stable")
        there = np.searchsorted(self._known[0], first[new][order])
        fresh = first[new][order], second[new][order], node[new][order]
        self._known = tuple(np.insert(old, there, add) for old, add in zip(self._known, fresh, strict=True))
        self._of_row.append(node.astype(np.uint32))
        self.count, self.nodes, self._packed = self.count + len(node), self.nodes + len(new), None
        return new

    def _found(self, first, second):
        """The node of each hash, -1 where there is none."""
        known, others, nodes = self._known
        if not len(known):
            return np.full(len(first), -1)
        at = np.minimum(np.searchsorted(known, first), len(known) - 1)
        return np.where((known[at] == first) & (others[at] == second), nodes[at], -1)

    def nodes_of(self, start, stop):
        """The nodes of the rows `start` to `stop`: (n,), int64."""
        if len(self._of_row) > 1:
            self._of_row = [np.concatenate(self._of_row)]
        return self._of_row[0][start:stop].astype(np.int64)

    def shared(self):
        """The `Shared` of the rows so far; None where all are different."""
        if self.count == self.nodes:
            return None
        if self._packed is None:
            of_row = np.concatenate(self._of_row)
            starts = np.zeros(self.nodes + 1, np.int64)
            np.cumsum(np.bincount(of_row, minlength=self.nodes), out=starts[1:])
            self._packed = Shared(np.argsort(of_row, kind="stable").astype(np.uint32), starts)
        return self._packed


class Shared:
    """Which rows each node of a graph stands for.

    Parameters
    ----------
    members : ndarray, shape (N,), uint32
        The rows, node after node, ascending within a node.
    starts : ndarray, shape (nodes + 1,), int64
        Where those of each node begin, and where the last ones end.

    Attributes
    ----------
    count, nodes : int
        Rows, and how many are different.

    Raises
    ------
    ImgretError
        If they cannot be that. They may be a stranger's memory maps: of what lies between the ends nothing is read here.
    """

    def __init__(self, members, starts):
        good = members.ndim == starts.ndim == 1 and members.dtype == np.uint32 and starts.dtype == np.int64 and len(starts) > 0
        if not good or starts[0] != 0 or starts[-1] != len(members) or len(starts) > len(members) + 1:
            raise ImgretError(damage("its rows are not shared out among the nodes of its graph"))
        self.members, self.starts = members, starts
        self.count, self.nodes = len(members), len(starts) - 1

    def arrays(self):
        """The columns of a file, by name."""
        return dict(zip(NAMES, (self.members, self.starts), strict=True))

    def rows(self, found, k):
        """The best rows, given the best nodes.

        Parameters
        ----------
        found : ndarray, shape (Q, n), uint64
            Keys of nodes, ascending; n is at least the lesser of k and the number of nodes, less what was not found.
        k : int

        Returns
        -------
        ndarray, shape (Q, k), uint64
            Keys of rows, ascending.

        Raises
        ------
        ImgretError
            If what is there cannot be right.
        """
        answer = np.full((len(found), k), keys.MISSING)
        for best, row in zip(answer, found, strict=True):
            scores, nodes = keys.unpack(row[row != keys.MISSING])
            if not len(nodes):
                continue
            if nodes.max() >= self.nodes:
                raise ImgretError(damage("row numbers that it does not have"))
            starts, ends = self.starts[nodes], self.starts[nodes + 1]
            if (starts < 0).any() or (ends <= starts).any() or (ends > self.count).any():
                raise ImgretError(damage("its rows are not shared out among the nodes of its graph"))
            counts = np.minimum(ends - starts, k)  # of equal scores the lowest rows come first
            enough = int(np.searchsorted(np.cumsum(counts), k))
            if enough < len(nodes):  # what is worse than the node that fills the list cannot come into it
                used = int(np.count_nonzero(scores >= scores[enough]))
                scores, starts, counts = scores[:used], starts[:used], counts[:used]
            ends = np.cumsum(counts)
            places = np.arange(ends[-1]) - np.repeat(ends - counts - starts, counts)
            members = self.members[places].astype(np.int64)
            if members.max() >= self.count:
                raise ImgretError(damage("row numbers that it does not have"))
            packed = np.sort(keys.pack(np.repeat(scores, counts), members))[:k]
            best[: len(packed)] = packed
        return answer


class Known:
    """Rows that are known by their hashes.

    Parameters
    ----------
    hashes : ndarray, shape (N,), uint64
    """

    def __init__(self, hashes):
        self._order = np.argsort(hashes, kind="stable")
        self._sorted = hashes[self._order]

    def find(self, hashes):
        """The first row of each hash, -1 where there is none: (n,), int64."""
        if not len(self._sorted):
            return np.full(len(hashes), -1)
        at = np.minimum(np.searchsorted(self._sorted, hashes), len(self._sorted) - 1)
        return np.where(self._sorted[at] == hashes, self._order[at], -1)


def hashes_of(x):
    """The first half of XXH3-128 of each row: (n,), uint64."""
    return _hashes(x)[0]


def _hashes(values):
    """XXH3-128 of each row, as two arrays (n,), uint64."""
    values = np.ascontiguousarray(values)
    width = values.nbytes // max(1, len(values))
    flat = memoryview(values.reshape(-1).view(np.uint8))
    digests = b"".join(xxhash.xxh3_128_digest(flat[start : start + width]) for start in range(0, len(values) * width, width))
    return np.frombuffer(digests, np.uint64).reshape(-1, 2).T.copy()
