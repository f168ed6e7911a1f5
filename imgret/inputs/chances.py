"""What is known of an index's chance scores (`imgret.chance`): learned when it is made, and read from its file."""

import functools

import numpy as np

from imgret.chance import BLOCK_BYTES, BLOCK_ROWS, Chance, Directions, chosen
from imgret.errors import ImgretError
from imgret.parallel import ordered_map
from imgret.tails import crowding, tails

TAILS, PHOTOS, VECTORS, LENGTHS = "chance/tails", "chance/photos", "chance/vectors", "chance/lengths"
CROWDED = "chance/crowded"
META_ROWS = 1 << 16  # photos whose digests are read at once
MOST = 4096  # references that a file may have
SPAN = 1024  # rows of a column that are read at once where any of them is wanted


class Learned:
    """What was learned of an index's chance scores.

    Parameters
    ----------
    photos : ndarray, shape (m,), int64
        Positions of the references.
    kept : imgret.chance.Directions
        The references, as the index keeps them.
    tails : ndarray, shape (N, 2), float32
    crowded : tuple of float, or None
        See `imgret.tails.crowding`.
    """

    def __init__(self, photos, kept, tails, crowded):
        self.photos, self.kept, self.tails, self.crowded = photos, kept, tails, crowded

    def write(self, writer):
        """Write its columns to a store that is being made."""
        writer.array(TAILS, self.tails)
        writer.array(PHOTOS, self.photos)
        writer.array(VECTORS, self.kept.whole.astype(np.int16))
        writer.array(LENGTHS, self.kept.lengths)
        writer.array(CROWDED, np.array([] if self.crowded is None else [self.crowded], np.float32).reshape(-1, 2))


def learn(built, photos, jobs=1, before=None):
    """Learn chance scores from an index that has just been filled.

    Which photos are the references follows from the digests of all, and a photo's tail from its own row and theirs: not from `jobs`, from
    the order of anything, or from the other photos. So where the references stay, so do the tails of all photos that stay.

    Parameters
    ----------
    built : imgret.indexes.base.Index
    photos : imgret.inputs.photos.Photos
        Its rows.
    jobs : int
    before : imgret.inputs.quantizers.Before, optional
        A finished index of the same quantiser: tails are copied where references and photo are the same.

    Returns
    -------
    Learned or None
        None where the index cannot be asked for what it takes.
    """
    if not built.judged:
        return None
    references = chosen(_digests(photos))
    vectors = _each(functools.partial(photos.column, "vectors"), references).astype(np.float32, copy=False)
    asking, kept = Directions.of(built.as_asked(vectors)), Directions.of(_each(built.kept, references))
    crowded = crowding(built.scores_of(asking.products(kept), asking.lengths, kept.lengths).T)
    step = max(1, min(BLOCK_ROWS, BLOCK_BYTES // (4 * max(1, kept.whole.shape[1]))))

    def block(item):
        at, rows = item
        rows = Directions.of(rows)
        scores = built.scores_of(asking.products(rows), asking.lengths, rows.lengths).T
        nearest = np.minimum(np.searchsorted(references, at), len(references) - 1)
        return tails(scores, np.where(references[nearest] == at, nearest, -1), crowded)

    count = len(photos.names)
    found, new = (None, None) if before is None else before.tails(built, references)
    if found is not None:
        parts = (new[start : start + step] for start in range(0, len(new), step))
        blocks = ((rows, _each(built.kept, rows)) for rows in parts)
        found[new] = np.concatenate([np.empty((0, 2), np.float32), *ordered_map(block, blocks, jobs)])
        return Learned(references, kept, found, crowded)
    blocks = ((np.arange(start, min(start + step, count)), built.kept(start, min(start + step, count))) for start in range(0, count, step))
    return Learned(references, kept, np.concatenate(list(ordered_map(block, blocks, jobs))), crowded)


def _digests(photos):
    for start in range(0, len(photos.names), META_ROWS):
        stop = min(start + META_ROWS, len(photos.names))
        yield photos.names[start:stop], photos.column("digest", start, stop)


def _each(read, rows):
    """What `read(first, last)` gives of some rows (n,), one after another: they may lie far apart."""
    return np.concatenate([read(row, row + 1) for row in rows.tolist()])


class _Tails:
    """The tails of an index's photos, read where they are asked for."""

    def __init__(self, store):
        self._store = store

    def __len__(self):
        return len(self._store)

    def __getitem__(self, photos):
        return rows_of(self._store, TAILS, photos)


def known(store, index):
    """The `Chance` of an open index, None where its file has none.

    Parameters
    ----------
    store : imgret.store.reader.Store
    index : imgret.indexes.base.Index

    Raises
    ------
    ImgretError
        If what the file has cannot be right.
    """
    if not store.has(TAILS) or not index.judged or not len(store):
        return None
    if not 0 < store.sizes["M"] <= MOST or store.sizes["C"] != index.columns:
        raise ImgretError(
            f"{store.shown} is damaged: its references for chance scores are none of its photos: remove it, and make it again"
        )
    references = Directions(store.read(VECTORS).astype(np.float32), np.maximum(store.read(LENGTHS), 0))
    return Chance(index, references, _Tails(store), _crowded(store))


def _crowded(store):
    if store.sizes["W"] > 1:
        raise ImgretError(f"{store.shown} is damaged: it is crowded more than once: remove it, and make it again")
    said = store.read(CROWDED)
    if not len(said):
        return None
    if not (np.isfinite(said).all() and (said > 0).all()):
        raise ImgretError(f"{store.shown} is damaged: what it says of a crowded gallery cannot be: remove it, and make it again")
    return tuple(said[0].tolist())


def rows_of(store, path, wanted):
    """Rows of a column, in whatever order and shape they are `wanted`; neighbours are read together.

    Parameters
    ----------
    store : imgret.store.reader.Store
    path : str
    wanted : ndarray of int

    Returns
    -------
    ndarray, shape (*wanted.shape, ...)
    """
    rows, at = np.unique(wanted, return_inverse=True)
    found = np.empty((len(rows), *store.shape(path)[1:]), store.dtype(path))
    start = 0
    while start < len(rows):
        stop = int(np.searchsorted(rows, rows[start] + SPAN))
        found[start:stop] = store.read(path, int(rows[start]), int(rows[stop - 1]) + 1)[rows[start:stop] - rows[start]]
        start = stop
    return found[at.reshape(wanted.shape)]
