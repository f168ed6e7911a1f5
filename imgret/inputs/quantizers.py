"""Where an index has its quantiser from: learned from rows, kept from the finished index in its place, or given as a codebook."""

import contextlib
import dataclasses

import numpy as np

from imgret.errors import ImgretError
from imgret.indexes.base import Index
from imgret.indexes.copies import Known
from imgret.inputs.chances import PHOTOS, TAILS
from imgret.inputs.gallery import Gallery
from imgret.inputs.samples import draw
from imgret.pipeline import same_space
from imgret.quantizers.base import Quantizer
from imgret.runs.details import amount
from imgret.store.reader import Store
from imgret.store.versions import own

MOST_NEW = 0.5  # the share of the photos that may have come since a quantiser was learned: above, they may be twice as many as then
READ_ROWS = 1 << 18
HASHES = "vector_hash"
MADE_BY = ("imgret", "numpy")  # beside faiss: whose versions decide about codes and chance scores


@dataclasses.dataclass(frozen=True)
class Before:
    """What of a finished index is the same in another one that its quantiser fills, row by row.

    Attributes
    ----------
    hashes : ndarray, shape (N,), uint64
    index : imgret.indexes.base.Index
    chances : ndarray, shape (N, 2), float32, or None
        The photos' tails.
    references : ndarray, shape (m,), int64
        Photos whose scores these are of.
    """

    hashes: np.ndarray
    index: Index
    chances: np.ndarray | None
    references: np.ndarray

    @classmethod
    def of(cls, gallery):
        """That of an open index, whose structure has been verified; None where it says nothing of the kind, or other
        versions made it, which may round otherwise."""
        store = gallery.store
        if gallery.index.codes() is None or not store.has(HASHES) or not _by_the_same(store.generated_by):
            return None
        judged = (store.read(TAILS), store.read(PHOTOS)) if store.has(TAILS) else (None, np.empty(0, np.int64))
        return cls(store.read(HASHES), gallery.index, *judged)

    def tails(self, built, references):
        """The tails (N, 2) of an index that has been filled, and the rows that they are yet to be found for; None, None where the
        references, rows of it, are others than they were, or most rows are new.

        Of the references themselves, and of copies of them, they depend on more than the row.
        """
        hashes = built.hashes
        if hashes is None or self.chances is None or not np.array_equal(self.hashes[self.references], hashes[references]):
            return None, None
        rows = Known(self.hashes).find(hashes)
        new = np.flatnonzero((rows < 0) | np.isin(hashes, hashes[references]))
        return (None, None) if 2 * len(new) > len(rows) else (self.chances[np.maximum(rows, 0)], new)


@dataclasses.dataclass(frozen=True)
class Learning:
    """Learned from a sample of stores, as an index does by itself.

    Attributes
    ----------
    stores : list of Store
        Vectors.
    memory : int
        Bytes that the sample may take.
    """

    stores: list
    memory: int
    before = None

    def prepare(self, built, dim, count):
        """Plan an index of so many rows, before any work; the plan in a line."""
        rows = sum(store.sizes["N"] for store in self.stores)
        return built.plan(dim, min(rows, self.memory // (4 * max(1, dim))), count)

    def teach(self, built, run):
        """Make an index ready for rows; what is recorded of that."""
        if not built.trains:
            return {"train": None}
        count = sum(store.sizes["N"] for store in self.stores)
        sample, drawn = draw(self.stores, count, built.params.seed if built.seeded else 0, self.memory)
        run.report.detail(f"{built.name} learns from {len(sample)} vectors, {amount(sample.nbytes)}, on {run.jobs} threads")
        with run.report.progress(0, "step") as progress:
            built.train(sample, jobs=run.jobs, progress=progress.reach)
        return {"train": drawn}


@dataclasses.dataclass(frozen=True)
class Learned:
    """Learned before.

    Attributes
    ----------
    quantizer : imgret.quantizers.base.Quantizer
    record : dict
        What is recorded of it.
    before : Before, optional
        What may be copied.
    """

    quantizer: Quantizer
    record: dict
    before: Before | None = None

    def prepare(self, built, dim, count):
        """See `Learning.prepare`."""
        return built.fill_by(self.quantizer, count)

    def teach(self, built, run):
        """See `Learning.teach`."""
        if self.before is not None:
            built.copy_from(self.before.hashes, self.before.index)
        return self.record


def kept(output, kind, node, photos):
    """The quantiser of the finished index in an output's place, if an index of photos that have come and gone should keep it.

    Parameters
    ----------
    output : imgret.runs.output.Output
    kind : type
        The index's class.
    node : dict
        The pipeline of the vectors.
    photos : imgret.inputs.photos.Photos
        That it is to hold.

    Returns
    -------
    Learned or None
        None where it is to be learned anew, which is said where there is one.
    """
    if kind.quantizer is None or not _is_index(output.path):
        return None
    try:
        with contextlib.closing(Gallery(output.path)) as gallery:
            return _kept(output, gallery, node, photos)
    except ImgretError as error:
        return _anew(output, str(error))


def _by_the_same(generated_by):
    return all(generated_by.get(name) == version for name, version in own().items() if name in MADE_BY or name.startswith("faiss"))


def _is_index(path):
    with contextlib.suppress(ImgretError), Store(path, ("index",)):
        return True
    return False


def _kept(output, gallery, node, photos):
    store, count = gallery.store, len(photos.names)
    if store.params != output.params:
        return _anew(output, "the index there has other parameters")
    if _teachers(store.inputs) != _teachers(output.inputs):
        return _anew(output, "the one there was learned from other vectors")
    if not same_space(store.pipeline, node):
        return _anew(output, "the photos are described otherwise than those that it was learned from")
    before = _recorded(store)
    record = before | {"since": before["since"] + count - _known(photos.stores, store), "kept": before["kept"] + 1}
    if record["since"] > MOST_NEW * count:
        return _anew(output, f"{record['since']} of {count} photos are not known to have been there when it was learned, more than half")
    quantizer = gallery.learned()
    output.run.report.note(
        f"{output.shown}: its quantiser, learned on {record['learned_on']} photos, is kept: {record['since']} of {count} have come since"
    )
    return Learned(quantizer, {"train": store.info.get("train"), "quantizer": record}, Before.of(gallery))


def _anew(output, why):
    output.run.report.note(f"{output.shown}: its quantiser is learned anew ({why})")


def _teachers(inputs):
    """What an index is learned from, by its recorded inputs: None for the photos that it holds."""
    entries = [(entry.get("role") or entry.get("kind"), str(entry.get("content"))) for entry in inputs]
    others = sorted(entry for entry in entries if entry[0] != "vectors")
    own = sorted(content for kind, content in entries if kind == "vectors")
    return None if not others or others == [("train", content) for content in own] else others


def _recorded(store):
    """How a finished index came to its quantiser: of how many photos it was learned, how many have come since, how often it was kept."""
    said = store.info.get("quantizer")
    said = said if isinstance(said, dict) else {}
    first = {"learned_on": len(store), "since": 0, "kept": 0}
    return {name: said[name] if isinstance(said.get(name), int) else value for name, value in first.items()}


def _known(stores, before):
    """How many photos of some stores another store has, by their bytes."""
    there = _digests(before)
    return sum(int(np.isin(_digests(store), there).sum()) for store in stores)


def _digests(store):
    """The first 8 bytes of each photo's digest: (N,), uint64; without those that have none, as they were imported."""
    starts = range(0, len(store), READ_ROWS)
    blocks = (store.read("digest", start, start + READ_ROWS)[:, :8] for start in starts)
    digests = np.concatenate([np.empty((0, 8), np.uint8), *blocks]).view(np.uint64).ravel()
    return digests[digests != 0]
