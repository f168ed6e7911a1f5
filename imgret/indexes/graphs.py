"""Graphs of rows that faiss holds: equal rows are in a graph once."""

from imgret.errors import ImgretError
from imgret.indexes.base import damage, taken
from imgret.indexes.copies import NAMES, Copies, Shared
from imgret.indexes.faissed import Faissed


class Graph(Faissed):
    """Base of what may be a graph of rows, each a node that stands for all rows that equal it (`imgret.indexes.copies`).

    Where all rows are different, the structure is faiss' alone, as it was before there were shared nodes; such a file may also hold equal
    rows, each with a node of its own.
    """

    _copies = None  # while it is filled; None where its structure is no graph
    _opened = None  # of a file

    @property
    def size(self):
        """Rows added."""
        shared = self._opened or self._copies
        return super().size + (0 if shared is None else shared.count - shared.nodes)

    def kept(self, start, stop):
        """See `Index.kept`: of equal rows the node that stands for them."""
        self._complete()
        if self._copies is None:
            return super().kept(start, stop)
        return self._core.reconstruct_batch(self._copies.nodes_of(start, stop))

    def _graph(self):
        """Whether its structure is a graph of rows."""
        raise NotImplementedError(type(self).__name__)  # every one knows its own

    def _build(self):
        self._copies = Copies() if self._graph() else None

    def _different(self, x, values=None):
        """Those of some rows that equal none before them, told apart by their `values`: by themselves, if not given."""
        if self._copies is None:
            return x
        new = self._copies.added(x + 0.0 if values is None else values)  # a zero with a sign is a zero
        return x if len(new) == len(x) else x[new]

    @property
    def _shared(self):
        return self._opened if self._copies is None else self._copies.shared()

    def save(self, column):
        """Write the structure as faiss serialises it, and which rows the nodes stand for, where some stand for several."""
        super().save(column)
        for name, array in () if self._shared is None else self._shared.arrays().items():
            column(name, array.shape[1:], array.dtype, len(array)).append(array)

    @classmethod
    def opened(cls, params, metric, arrays, facts, size, codebooks=()):
        """Open what `arrays` gave, without copying it; see `Held.opened`."""
        if not any(name in arrays for name in NAMES):
            return super().opened(params, metric, arrays, facts, size, codebooks)
        faiss, *columns = taken(arrays, ("faiss", *NAMES))
        shared = Shared(*columns)
        if shared.count != size:
            raise ImgretError(damage(f"{shared.count} rows where there should be {size}"))
        index = super().opened(params, metric, {"faiss": faiss}, facts, shared.nodes, codebooks)
        if not index._graph():
            raise ImgretError(damage("its rows share nodes of a graph that it has not"))
        index._opened = shared
        return index

    def _answered(self, xq, k, settings):
        if self._shared is None:
            return super()._answered(xq, k, settings)
        return self._shared.rows(super()._answered(xq, min(k, self._nodes), settings), k)
