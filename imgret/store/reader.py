"""Reading stores. A file may come from a stranger: everything is checked before it is believed, and nothing is allocated on its word."""

import contextlib
import os

import numpy as np

from imgret.errors import ImgretError, quoted
from imgret.store import layout
from imgret.store.binding import Columns
from imgret.store.check import problems
from imgret.store.hashing import of_array
from imgret.store.metadata import Metadata
from imgret.store.opening import Datasets, open_file, reason
from imgret.store.text import Texts

SIGNATURE = b"\x89HDF\r\n\x1a\n"
BLOCK_BYTES = 4 << 20  # how much is read at once


def _beginnings():
    """What there is at the root of a store, or of one that is being written: attributes come last."""
    kinds = [kind.at(version) for kind in layout.ALL_KINDS.values() for version in (*kind.older, kind.version)]
    paths = [dataset.path for kind in kinds for column in kind.columns for dataset in column.datasets]
    return {layout.PIPELINE_GROUP, layout.META_GROUP, *(path.partition("/")[0] for path in paths)}


BEGINNINGS = _beginnings()


class Store:
    """An open store, read-only.

    Parameters
    ----------
    path : str or bytes or PathLike
    kinds : tuple of str, optional
        The kinds that will do.
    wanted_by : str
        The step that asks, for the message ("encode").

    Attributes
    ----------
    kind : str
    recipe, content, fingerprint : str
        The identities, hex; `fingerprint` is empty for kinds that hold no photos.
    params, inputs, info, pipeline : JSON values
    facts : dict
        What reading the columns takes besides, as JSON.
    recorded : dict
        The JSON as it is in the file: what has a checksum.
    layout : imgret.store.schema.Kind
        The kind, as it was in the file's version.
    sizes : dict of str to int
        The length of each axis of the layout (N, T, D, ...).

    Raises
    ------
    ImgretError
        If there is no such file, or it is not a complete imgret file of one of these kinds that this imgret can read.
    """

    def __init__(self, path, kinds=None, wanted_by="this step"):
        self.path = os.fspath(path)
        self.shown = os.fsdecode(self.path)
        self._file = open_file(self.path, self.shown)
        self._members = Datasets(self._file, self.path, self.shown)
        self._said = Metadata(self._file, self._members, self.path, self.shown)
        try:
            self._read_metadata(kinds, wanted_by)
            bound = Columns(self.layout, self._members, self.checksums, self.shown)
            self._datasets, self._columns, self.sizes = bound.datasets, bound.columns, bound.sizes
        except ImgretError:
            self.close()
            raise
        except (OSError, KeyError, ValueError, TypeError, RuntimeError, RecursionError, MemoryError) as error:
            self.close()
            raise ImgretError(f"{self.shown} is damaged: {reason(error)}") from None

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def close(self):
        """Close the file."""
        self._file.close()

    def _read_metadata(self, kinds, wanted_by):
        said = self._said
        self._read_kind(kinds, wanted_by)
        self.created, self.fingerprint = said.text("created"), said.text("fingerprint")
        self.recipe, self.content = said.text("recipe"), said.text("content")
        self.params = said.json("params", self.layout, dict)
        self.inputs = said.json("inputs", self.layout, list)
        self.info = said.json("info", self.layout, dict)
        self.generated_by = said.json("generated_by", self.layout, dict)
        self.checksums = said.json("checksums", self.layout, dict)
        self.pipeline = said.json("pipeline", self.layout, dict, optional=True)
        facts = said.json("facts", self.layout, dict, optional=True)
        self.recorded = {"params": self.params, "inputs": self.inputs, "pipeline": self.pipeline, "info": self.info}
        if facts:
            self.recorded["facts"] = facts
        self.facts = facts or {name: self.info[name] for name in self.layout.facts_in_info if name in self.info}

    def _read_kind(self, kinds, wanted_by):
        if self._said.text("format") != layout.FORMAT:
            if not len(self._said) and set(self._file) <= BEGINNINGS:
                raise ImgretError(f"{self.shown} is not complete: it is being written, or its writer was stopped; run its command again")
            raise ImgretError(f"{self.shown} is not an imgret file")
        self.kind = self._said.text("kind")
        if self.kind not in layout.ALL_KINDS:
            raise ImgretError(f"{self.shown} is of the kind '{quoted(self.kind)}', which this imgret does not know: upgrade imgret")
        kind = layout.ALL_KINDS[self.kind]
        if kinds is not None and self.kind not in kinds:
            wanted = " or ".join(layout.ALL_KINDS[name].holds for name in kinds)
            raise ImgretError(f"{self.shown} is {kind.noun}; {wanted_by} needs {wanted}")
        self.schema_version = self._said.version()
        if self.schema_version > kind.version:
            raise ImgretError(
                f"{self.shown} has version {self.schema_version} of the {self.kind} layout, this imgret reads up to "
                f"{kind.version}: upgrade imgret"
            )
        self.layout = kind.at(self.schema_version)

    def as_input(self):
        """How it is recorded as an input of what is made from it."""
        return {"path": self.shown, "kind": self.kind, "content": self.content}

    def __len__(self):
        """Number of photos."""
        return self.sizes.get("N", 0)

    def column_names(self):
        """Paths of the columns, in the layout's order."""
        return list(self._datasets)

    def has(self, path):
        """Whether the store has this column."""
        return path in self._datasets

    def column(self, path):
        """What the layout says of a column: an `imgret.store.schema.Column`."""
        return self._columns[path]

    def group(self, name):
        """The columns under a group: what each is called there -> its path."""
        called = {path: column.stands_for or path for path, column in self._columns.items()}
        return {full.removeprefix(f"{name}/"): path for path, full in called.items() if full.startswith(f"{name}/")}

    def attribute(self, path, name):
        """A text attribute of a column, '' where it is missing."""
        return self._said.column_text(path, name)

    def shape(self, path):
        """Shape of a column."""
        return self._datasets[path].shape

    def dtype(self, path):
        """dtype of a column."""
        return self._datasets[path].dtype

    def read(self, path, start=0, stop=None):
        """Rows `start` to `stop` of a column, as a new array."""
        dataset = self._datasets[path]
        try:
            return dataset[start:stop]
        except (OSError, RuntimeError, ValueError) as error:
            if not self._file:
                raise ImgretError(f"{self.shown} is closed: open it again to read it") from None
            raise ImgretError(f"{self.shown} is damaged: '{path}' cannot be read ({reason(error)})") from None

    def blocks(self, path, block_bytes=BLOCK_BYTES):
        """Yield a column block by block, about `block_bytes` at a time."""
        dataset = self._datasets[path]
        width = max(1, dataset.dtype.itemsize * int(np.prod(dataset.shape[1:], dtype=np.int64)))
        step = max(1, block_bytes // width)
        for start in range(0, dataset.shape[0], step):
            yield self.read(path, start, min(start + step, dataset.shape[0]))

    def texts(self, path, start=0, stop=None):
        """Values `start` to `stop` of a text column, as `Texts`."""
        count = self._datasets[path + "_offsets"].shape[0] - 1
        start, stop, _ = slice(start, stop).indices(count)
        stop = max(start, stop)
        offsets = self.read(path + "_offsets", start, stop + 1)
        first, last = int(offsets[0]), int(offsets[-1])
        if first < 0 or last > self._datasets[path].shape[0] or np.any(offsets[1:] < offsets[:-1]):
            raise ImgretError(f"{self.shown} is damaged: the offsets of '{path}' do not rise")
        return Texts(self.read(path, first, last), offsets - first)

    def photo_names(self, start=0, stop=None):
        """The names of the photos that the rows `start` to `stop` stand for, as `Texts`: of a row per box, of the photo it is of."""
        return self.texts("photo_names" if self.has("photo_names") else "names", start, stop)

    def text_list(self, path):
        """A short text column as a list of str."""
        return [value.decode("utf-8", "replace") for value in self.texts(path)]

    def descriptor_range(self, start, stop):
        """Offsets of the photos `start` to `stop`: shape (stop - start + 1,), checked to rise within what they count."""
        column = self.layout.offsets
        offsets = self.read(column.path, start, stop + 1)
        if offsets[0] < 0 or offsets[-1] > self.sizes[column.counts] or np.any(offsets[1:] < offsets[:-1]):
            raise ImgretError(f"{self.shown} is damaged: '{column.path}' do not rise")
        return offsets

    def map(self, path):
        """A contiguous column as a read-only memory map: nothing is read until it is touched.

        A column under a group may be empty; it is no map then.

        Raises
        ------
        ImgretError
            If the column is not contiguous.
        """
        dataset = self._datasets[path]
        if not dataset.size and self._columns[path].group:
            return self.read(path)
        offset = dataset.id.get_offset()
        if offset is None or not dataset.size:
            raise ImgretError(f"{self.shown} is damaged: '{path}' is not contiguous")
        return np.memmap(self.path, mode="r", dtype=dataset.dtype, shape=dataset.shape, offset=offset)

    def pipeline_array(self, digest):
        """An array of the pipeline by its hash, verified against it."""
        if not isinstance(digest, str) or not digest.isalnum():
            raise ImgretError(f"{self.shown} is damaged: its pipeline names an array '{quoted(digest)}'")
        try:
            array = np.asarray(self._members.open(f"{layout.PIPELINE_GROUP}/{digest}")[()])
        except (OSError, KeyError, ValueError, TypeError, RuntimeError, MemoryError) as error:
            raise ImgretError(f"{self.shown} is damaged: an array of its pipeline cannot be read ({reason(error)})") from None
        if of_array(array) != digest:
            raise ImgretError(f"{self.shown} is damaged: an array of its pipeline does not match its hash")
        return array

    def problems(self):
        """Everything that `info --check` finds wrong; see `imgret.store.check.problems`."""
        return problems(self)


def is_hdf5(path):
    """Whether a path is a regular file that begins as HDF5 files do."""
    if not os.path.isfile(path):
        return False
    with contextlib.suppress(OSError), open(path, "rb") as file:
        return file.read(len(SIGNATURE)) == SIGNATURE
    return False
