"""Reading stores. A file may come from a stranger: everything is checked before it is believed, and nothing is allocated on its word."""

import contextlib
import os

import numpy as np

from imgret.errors import ImgretError, quoted
from imgret.store import layout
from imgret.store.binding import Columns
from imgret.store.check import metadata_problems, problems
from imgret.store.hashing import of_array
from imgret.store.metadata import Metadata
from imgret.store.opening import FAULTS, Datasets, close_file, open_file, reason
from imgret.store.rows import Rows
from imgret.store.verifying import REMEDY, Verifier

SIGNATURE = b"\x89HDF\r\n\x1a\n"


def _beginnings():
    """What there is at the root of a store, or of one that is being written: attributes come last."""
    kinds = [kind.at(version) for kind in layout.ALL_KINDS.values() for version in (*kind.older, kind.version)]
    paths = [dataset.path for kind in kinds for column in kind.columns for dataset in column.datasets]
    return {layout.PIPELINE_GROUP, layout.META_GROUP, layout.BLOCKS_GROUP, *(path.partition("/")[0] for path in paths)}


BEGINNINGS = _beginnings()


class Store(Rows):
    """An open store, read-only.

    Parameters
    ----------
    path : str or bytes or PathLike
    kinds : tuple of str, optional
        The kinds that will do.
    wanted_by : str
        The step that asks, for the message ("encode").
    damaged : bool
        Also open a file whose attributes do not match their checksums: to look at it, not to use it.
    verified : dict, optional
        `verified` of the same store, which was open before.

    Attributes
    ----------
    kind : str
    recipe, content, fingerprint : str
        The identities, hex; `fingerprint` is empty for kinds that hold no photos.
    photos : str
        Which photos it is about, see `imgret.store.sameness`; empty where an older imgret made it, and of kinds that are about none.
    params, inputs, info, pipeline : JSON values
    facts : dict
        What reading the columns takes besides, as JSON.
    recorded : dict
        The JSON as it is in the file: what has a checksum.
    layout : imgret.store.schema.Kind
        The kind, as it was in the file's version.
    sizes : dict of str to int
        The length of each axis of the layout (N, T, D, ...).
    verified : dict
        What has been verified.

    Raises
    ------
    ImgretError
        If there is no such file, or it is not a complete imgret file of one of these kinds that this imgret can read, and whenever what is
        read of it does not match its checksum.
    """

    def __init__(self, path, kinds=None, wanted_by="this step", damaged=False, verified=None):
        self.path = os.fspath(path)
        self.shown = os.fsdecode(self.path)
        self._file = open_file(self.path, self.shown)
        try:
            self._members = Datasets(self._file, self.path, self.shown)
            self._said = Metadata(self._file, self._members, self.path, self.shown)
            self._read_metadata(kinds, wanted_by)
            bound = Columns(self.layout, self._members, self.checksums, self.shown)
            self._datasets, self._columns, self._extents, self.sizes = bound.datasets, bound.columns, bound.extents, bound.sizes
            self._maps, self._verifier = {}, Verifier(self._members, self.checksums, self.shown, {} if verified is None else verified)
            self.verified = self._verifier.columns
            if not damaged:
                self._check_metadata()
        except ImgretError:
            self.close()
            raise
        except FAULTS as error:
            self.close()
            raise ImgretError(f"{self.shown} is damaged: {reason(error)}") from None

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def close(self):
        """Close the file."""
        close_file(self._file)

    def _read_metadata(self, kinds, wanted_by):
        said = self._said
        self._read_kind(kinds, wanted_by)
        self.created, self.fingerprint, self.photos = said.text("created"), said.text("fingerprint"), said.text("photos")
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

    def _check_metadata(self):
        for problem in metadata_problems(self):
            raise ImgretError(f"{self.shown} is damaged: {problem}: {REMEDY}")

    def identity(self):
        """What it says of itself that has no checksum of its own, as JSON."""
        said = {"kind": self.kind, "schema_version": self.schema_version, "created": self.created, "generated_by": self.generated_by}
        return said | {"recipe": self.recipe, "fingerprint": self.fingerprint} | ({"photos": self.photos} if self.photos else {})

    def as_input(self):
        """How it is recorded as an input of what is made from it."""
        return {"path": self.shown, "kind": self.kind, "content": self.content}

    def __len__(self):
        """Number of photos."""
        return self.sizes.get("N", 0)

    def attribute(self, path, name):
        """A text attribute of a column, '' where it is missing."""
        try:
            said = self._said.column_text(path, name)
        except FAULTS as error:
            raise ImgretError(f"{self.shown} is damaged: '{path}' cannot be read ({reason(error)})") from None
        return self._verifier.attribute(path, name, said)

    def pipeline_array(self, digest):
        """An array of the pipeline by its hash, verified against it."""
        if not isinstance(digest, str) or not digest.isalnum():
            raise ImgretError(f"{self.shown} is damaged: its pipeline names an array '{quoted(digest)}'")
        try:
            array = np.asarray(self._members.open(f"{layout.PIPELINE_GROUP}/{digest}")[()])
        except FAULTS as error:
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
