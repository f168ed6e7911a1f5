"""What may be said of a kind of store: the vocabulary of `imgret.store.layout`."""

import dataclasses
import functools


@dataclasses.dataclass(frozen=True)
class Column:
    """One dataset of a store, and all that readers check of it.

    The dtype "text" stands for two datasets: `path` holds the bytes of all values one after the other (uint8), `path_offsets` where each
    begins and where the last ends (int64, one more than there are values). A path that ends in "/" stands for any number of datasets
    in that group, freely named (see `layout.GROUP_NAME`), each of any shape of at least one axis.

    Parameters
    ----------
    path : str
    shape : tuple
        The axes: numbers, and names of `layout.AXES`; "N+1" is one more than N. Empty for a group.
    dtypes : tuple of str
    meaning : str
        For docs/format.md.
    hashed : bool
        Whether it is part of `content`.
    optional : str
        Of the columns with the same word here a store has all or none; a store has all columns without one.
    finite : bool
        Whether NaN and infinity are faults.
    counts : str
        The axis that its values are offsets into: they rise from 0 to its length.
    in_order : bool
        Whether its values, texts, are in byte order, each once.
    corners : bool
        Whether its rows are boxes x1, y1, x2, y2, with the corners in this order.
    stands_for : str
        The column of the present version that it is read as.
    """

    path: str
    shape: tuple
    dtypes: tuple
    meaning: str
    hashed: bool = True
    optional: str = ""
    finite: bool = True
    counts: str = ""
    in_order: bool = False
    corners: bool = False
    stands_for: str = ""

    @property
    def group(self):
        """Whether it stands for all columns of a group."""
        return self.path.endswith("/")

    @property
    def text(self):
        """Whether its values are texts."""
        return self.dtypes == ("text",)

    @functools.cached_property
    def datasets(self):
        """The columns that it is in a file: itself, or the bytes of its texts and their offsets."""
        if not self.text:
            return (self,)
        size = f"bytes of {self.path}"
        offsets = (f"{self.shape[0]}+1",)
        return (
            dataclasses.replace(self, shape=(size,), dtypes=("uint8",)),
            dataclasses.replace(self, path=f"{self.path}_offsets", shape=offsets, dtypes=("int64",), counts=size),
        )


@dataclasses.dataclass(frozen=True)
class Export:
    """What `imgret export` makes of a kind.

    Parameters
    ----------
    of : str
        "matrix" (the rows of the kind's), "arrays" (one of the pipeline's) or "ranking".
    formats : tuple of str
    options : tuple of str
        The options of the command that apply.
    """

    of: str
    formats: tuple
    options: tuple = ()


@dataclasses.dataclass(frozen=True)
class Kind:
    """A kind of store.

    Parameters
    ----------
    name : str
    noun, holds : str
        What a store of this kind is in messages, with the article, and what it holds.
    columns : tuple of Column
        In the present version.
    version : int
    older : dict of int to dict
        Versions that are still read: what was different then, as parameters of this class.
    facts_in_info : tuple of str
        What a version without `facts` has in `info`.
    documents_in_attributes : bool
        Whether a version has its JSON in attributes of the root, which are then in libhdf5's global heap, as all its texts.
    photos : bool
        Whether its rows are photos: it then has the columns `PHOTO` and `FAILED`, and a fingerprint.
    counted : dict of str to str
        What `info` counts besides photos and failed ones: the axis, and what it is called there.
    matrix : str
        The path of the column whose rows are learned from, encoded and exported; it also says what they are.
    export : Export, optional
    export_instead : str
        The kind to export where this one cannot be, which it is made from.
    """

    name: str
    noun: str
    holds: str
    columns: tuple
    version: int = 2
    older: dict = dataclasses.field(default_factory=lambda: {1: {"documents_in_attributes": True}})
    facts_in_info: tuple = ()
    documents_in_attributes: bool = False
    photos: bool = False
    counted: dict = dataclasses.field(default_factory=dict)
    matrix: str = ""
    export: Export | None = None
    export_instead: str = ""

    def at(self, version):
        """This kind as it was in a version."""
        return dataclasses.replace(self, version=version, older={}, **self.older[version]) if version in self.older else self

    @property
    def counts(self):
        """All that `info` counts, in its order: what each axis is called."""
        return ({"N": "photos"} if self.photos else {}) | self.counted | {"F": "failed"}

    @property
    def offsets(self):
        """The column that says which rows each photo has, or None where it has one in each column."""
        return next((column for column in self.columns if column.counts), None)
