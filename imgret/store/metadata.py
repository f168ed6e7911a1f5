"""What a file says of itself beside its columns: short texts in attributes, and JSON, which may pass the 64 KB of an attribute, in
datasets. A stranger may have written it.

Nothing is read out of libhdf5's global heap here, where older versions kept all of it: see `imgret.store.older`.
"""

import json

import h5py
import numpy as np

from imgret.errors import ImgretError
from imgret.store import layout, older

MAX_DEPTH = 200  # of the JSON
MAX_TEXT = 1 << 16  # bytes of an attribute


class Metadata:
    """The metadata of an open file.

    Parameters
    ----------
    file : h5py.File
    members : imgret.store.opening.Datasets
        Of this file.
    path : str or bytes
        Where it is.
    shown : str
        What it is called in messages.
    """

    def __init__(self, file, members, path, shown):
        self._root, self._members, self._path, self._shown = file.attrs, members, path, shown
        self._older = None

    def __len__(self):
        """How many attributes the file has."""
        return len(self._root)

    def text(self, name):
        """A text of the file, '' where there is none."""
        if not in_heap(self._root, name):
            return fixed_text(self._root, name)
        if self._older is None:
            self._older = older.texts(self._path, "", [*layout.ATTRIBUTES, *layout.DOCUMENTS], self._shown)
        return self._older.get(name, "")

    def column_text(self, path, name):
        """A text of a column, '' where there is none."""
        attributes = self._members.open(path).attrs
        if not in_heap(attributes, name):
            return fixed_text(attributes, name)
        return older.texts(self._path, path, [name], self._shown).get(name, "")

    def version(self):
        """`schema_version`.

        Raises
        ------
        ImgretError
            If there is none.
        """
        value = _scalar(self._root, "schema_version", h5py.h5t.TypeIntegerID)
        if not isinstance(value, (int, np.integer)) or value < 1:
            raise ImgretError(f"{self._shown} is damaged: it has no 'schema_version'")
        return int(value)

    def json(self, name, kind, wanted, optional=False):
        """A JSON value of the type `wanted`, of a file of this kind; with `optional` None where there is none.

        Parameters
        ----------
        name : str
        kind : imgret.store.schema.Kind
            In the file's version.
        wanted : type
        optional : bool

        Raises
        ------
        ImgretError
            If it is no such JSON, or nested too deep.
        """
        try:
            text = self.text(name) if kind.documents_in_attributes else self._document(name)
            value = json.loads(text or "null", parse_constant=_refuse_constant, parse_float=_finite)
            _check_depth(value)
        except (ValueError, RecursionError):
            raise ImgretError(f"{self._shown} is damaged: its '{name}' is not JSON") from None
        if value is None and optional:
            return None
        if not isinstance(value, wanted):
            raise ImgretError(f"{self._shown} is damaged: its '{name}' holds another type than it should")
        return value

    def _document(self, name):
        path = f"{layout.META_GROUP}/{name}"
        if path not in self._members:
            return ""
        dataset = self._members.open(path)
        if dataset.dtype != np.uint8 or len(dataset.shape) != 1:
            raise ImgretError(f"{self._shown} is damaged: '{path}' is no text")
        return dataset[()].tobytes().decode()


def in_heap(attributes, name):
    """Whether a text is in libhdf5's global heap; its type says so, which is read elsewhere."""
    if name not in attributes:
        return False
    kind = attributes.get_id(name).get_type()
    return isinstance(kind, h5py.h5t.TypeStringID) and kind.is_variable_str()


def fixed_text(attributes, name):
    """A text attribute of fixed length, '' where there is none."""
    value = _scalar(attributes, name, h5py.h5t.TypeStringID)
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else ""


def _scalar(attributes, name, wanted):
    """One value, or None where there is none of this HDF5 type: reading another one may crash the library."""
    if name not in attributes:
        return None
    attribute = attributes.get_id(name)
    fits = isinstance(attribute.get_type(), wanted) and attribute.shape == () and attribute.get_storage_size() <= MAX_TEXT
    return attributes[name] if fits else None


def _refuse_constant(text):
    raise ValueError(text)


def _finite(text):
    value = float(text)
    if not np.isfinite(value):
        raise ValueError(text)
    return value


def _check_depth(value):
    """Refuse JSON that is nested so deep that walking it would end in a RecursionError."""
    level, depth = [value], 0
    while level:
        depth += 1
        if depth > MAX_DEPTH:
            raise ValueError("nested too deep")
        children = (list(item.values()) if isinstance(item, dict) else item for item in level if isinstance(item, (dict, list)))
        level = [child for group in children for child in group]
