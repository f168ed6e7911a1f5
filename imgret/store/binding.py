"""A store's columns, found in an open file and measured: what does not fit the layout, or another column, is refused before it is used."""

import h5py
import numpy as np

from imgret.errors import ImgretError
from imgret.store import layout


class Columns:
    """The columns of an open file.

    Parameters
    ----------
    kind : imgret.store.schema.Kind
        In the file's version.
    members : imgret.store.opening.Datasets
    named : iterable of str
        Columns under groups that should be there.
    shown : str
        What the file is called in messages.

    Attributes
    ----------
    datasets : dict of str to h5py.Dataset
        By path, in the layout's order.
    columns : dict of str to imgret.store.schema.Column
        What the layout says of each.
    extents : dict of str to (tuple of int, dtype)
        Shape and dtype of each: asking libhdf5 again takes as long as reading a few rows.
    sizes : dict of str to int
        The length of each axis of the layout.

    Raises
    ------
    ImgretError
        If a column is missing, of another type, or does not fit the others.
    """

    def __init__(self, kind, members, named, shown):
        self.datasets, self.columns, self.extents, self.sizes = {}, {}, {}, {}
        self._members, self._named, self._shown = members, named, shown
        there = {column.optional for column in kind.columns if column.optional and column.path in members}
        for column in kind.columns:
            if column.group:
                for path in self._under(column.path):
                    self._bind(path, column)
            elif not column.optional or column.optional in there:
                for dataset in column.datasets:
                    self._bind(dataset.path, dataset)
        for path, column in self.columns.items():
            if column.counts:
                self._check_ends(path, self.sizes[column.counts])

    def _under(self, group):
        """Paths of the columns under a group: those that are there, and those that should be."""
        paths = {group + name for name in self._members.names(group.rstrip("/"))}
        paths |= {path for path in self._named if path.startswith(group)}
        for path in sorted(paths):
            if not layout.GROUP_NAME.fullmatch(path.removeprefix(group)):
                raise ImgretError(f"{self._shown} is damaged: no column can be called {path[:80]!r}")
        return sorted(paths)

    def _bind(self, path, column):
        dataset = self._members.open(path)
        dtype, lengths = dataset.dtype, dataset.shape
        if dtype.name not in column.dtypes or dtype.byteorder == ">":
            raise ImgretError(f"{self._shown} is damaged: '{path}' is of type {dtype}, not {' or '.join(column.dtypes)}")
        if column.group and not lengths:
            raise ImgretError(f"{self._shown} is damaged: '{path}' has no axes")
        if not column.group:
            self._measure(path, column.shape, lengths)
        self.datasets[path], self.columns[path], self.extents[path] = dataset, column, (lengths, dtype)

    def _measure(self, path, shape, lengths):
        if len(lengths) != len(shape):
            raise ImgretError(f"{self._shown} is damaged: '{path}' has {len(lengths)} axes, not {len(shape)}")
        for axis, length in zip(shape, lengths, strict=True):
            if isinstance(axis, int):
                expected = axis
            elif axis.endswith("+1"):
                expected = self.sizes.setdefault(axis[:-2], length - 1) + 1
            else:
                expected = self.sizes.setdefault(axis, length)
            if length != expected or (not isinstance(axis, int) and axis.endswith("+1") and length < 1):
                raise ImgretError(f"{self._shown} is damaged: '{path}' has {length} rows or columns, {expected} are expected")

    def _check_ends(self, path, total):
        """Refuse offsets that do not begin at 0 and end where what they count does; whether they rise is seen where they are read."""
        dataset = self.datasets[path]
        space, ends = dataset.id.get_space(), np.empty(2, np.int64)
        space.select_elements([(0,), (dataset.shape[0] - 1,)])
        dataset.id.read(h5py.h5s.create_simple((2,)), space, ends)
        if ends.tolist() != [0, total]:
            raise ImgretError(f"{self._shown} is damaged: '{path}' runs from {ends[0]} to {ends[1]}, from 0 to {total} is expected")
