"""Lists made in bounded memory: entries are counted, put into files by ranges of words, and each range is sorted by itself.

A range's sorted entries are a run of whole lists: what a later update would merge with those that an index has.
"""

import contextlib
import dataclasses
import os

import numpy as np

from imgret.errors import ImgretError
from imgret.indexes.inverted.lists import starts_of

SHARE = 6  # of the memory allowed: what the entries of a range may take, unsorted; sorting takes them several times
MOST_RANGES = 1 << 12
CHANGED = "the words stores have changed while they were being read: run the same command again"
MOST_COUNTED = 1 << 22  # words of which each has a count


@dataclasses.dataclass
class Counts:
    """What there is, before anything is sorted.

    Attributes
    ----------
    words : ndarray, shape (P,), uint32
        Those that there are, ascending.
    entries, sizes, photos : ndarray, shape (P,), int64
        Of each: entries, bytes of their photo numbers, photos that have it.
    powers : ndarray, shape (P,), float64
        Σ tf² over the photos that have it: what the lp-norm idf is made of.
    lengths : ndarray, shape (N,), float32
        Of each photo, the sum of its weights.
    weights : dtype
        The smallest that holds all weights.
    """

    words: np.ndarray
    entries: np.ndarray
    sizes: np.ndarray
    photos: np.ndarray
    powers: np.ndarray
    lengths: np.ndarray
    weights: np.dtype

    @property
    def word_offsets(self):
        """Where the entries of each begin, and the last end: (P + 1,), int64."""
        return _offsets(self.entries)

    @property
    def byte_offsets(self):
        """Where the bytes of their photo numbers begin, and the last end: (P + 1,), int64."""
        return _offsets(self.sizes)


class Entries:
    """The entries of a source, a bounded block at a time.

    Parameters
    ----------
    source : object
        `photos`, `entries`: how many; `columns`: {name: (row shape, dtype)}; `blocks(names)` yields, photo after photo, how many
        entries each of some photos has, (n,) int64, and {name: ndarray} of them.
    words : int
        Word numbers are below this.
    together : bool
        Whether the entries of a photo that are of one word become one, their weights added.
    """

    def __init__(self, source, words, together):
        self.source, self.words, self.together = source, words, together

    def blocks(self, names):
        """Yield photo numbers (m,), int64, of the entries, and {name: ndarray (m, ...)} of them.

        Raises
        ------
        ImgretError
            For entries that are not in the order of their words, or of words that there are not.
        """
        first = 0
        for counts, columns in self.source.blocks(names):
            photos = np.repeat(np.arange(first, first + len(counts)), counts)
            first += len(counts)
            word = columns["word"]
            if len(word) and int(word.max()) >= self.words:
                raise ImgretError(f"a photo has the word {int(word.max())}, and the codebook has {self.words}: make the words store again")
            same = photos[1:] == photos[:-1]
            if (same & (word[1:] < word[:-1])).any():
                raise ImgretError("a photo's entries are not in the order of their words: make the words store again")
            if self.together:
                columns = {"weight": np.ones(len(word), np.float32)} | columns
                starts = starts_of(photos, word)
                sums = {"weight": np.add.reduceat(columns["weight"], starts, dtype=np.float64).astype(np.float32)}
                photos, columns = photos[starts], {name: sums[name] if name in sums else rows[starts] for name, rows in columns.items()}
            yield photos, columns

    def count(self, progress=None):
        """The `Counts` of all entries."""
        from imgret.indexes.inverted.packing import count

        present = None if self.words <= MOST_COUNTED else self._present()
        size = self.words if present is None else len(present)
        tally, powers = np.zeros((size, 4), np.int64), np.zeros(size)
        lengths, weights = np.zeros(self.source.photos), np.dtype(np.uint8)
        for photos, columns in self.blocks(("word", "weight") if "weight" in self.source.columns else ("word",)):
            word = columns["word"] if present is None else numbered(present, columns["word"])
            if len(word) and int(word.max()) >= size:
                raise ImgretError(CHANGED)
            weight = columns.get("weight", np.ones(len(word), np.float32))
            weights = max(weights, narrowest(weight), key=lambda dtype: dtype.itemsize)
            count(word, photos, weight, tally, powers)
            if len(word):
                first, last = photos[0], photos[-1] + 1
                lengths[first:last] += np.bincount(photos - first, weight, last - first)
            if progress is not None:
                progress(len(photos))
        there = np.flatnonzero(tally[:, 0])
        entries, sizes, having = tally[there, :3].T.copy()
        words = there if present is None else present[there]
        return Counts(words.astype(np.uint32), entries, sizes, having, powers[there], lengths.astype(np.float32), weights)

    def _present(self):
        """The words that there are, of so many that there is no room for a count of each: (P,), uint32, ascending."""
        found, pending = np.empty(0, np.uint32), []
        for _, columns in self.blocks(("word",)):
            pending.append(np.unique(columns["word"]))
            if sum(map(len, pending)) > MOST_COUNTED:
                found, pending = np.unique(np.concatenate([found, *pending])), []
        return np.unique(np.concatenate([found, *pending]))


def numbered(words, of):
    """Positions of words (m,) among those that there are, (P,), ascending, P > 0; P where one is not among them."""
    at = np.minimum(np.searchsorted(words, of), len(words) - 1)
    return np.where(words[at] == of, at, len(words))


def narrowest(weight):
    """The smallest dtype that holds weights (m,), float32, as they are; `ImgretError` for such as are no weights."""
    if not (np.isfinite(weight).all() and (weight >= 0).all()):
        raise ImgretError("an entry has a weight that is negative or no number: make the words store again")
    if not (weight == np.rint(weight)).all() or weight.max(initial=0) >= 1 << 16:
        return np.dtype(np.float32)
    return np.dtype(np.uint8 if weight.max(initial=0) < 1 << 8 else np.uint16)


class Ranges:
    """Entries by ranges of words: in memory where they are few, in a file for each range elsewhere.

    Parameters
    ----------
    counts : Counts
    row : dtype
        Of an entry: `word`, `photo`, and what it carries.
    folder : str
    max_memory : int
        Bytes. One word's entries are a range at the least, whatever they take.
    """

    def __init__(self, counts, row, folder, max_memory):
        self._counts, self.row = counts, row
        most = max(1, max_memory // (SHARE * row.itemsize), -(-int(counts.entries.sum()) // MOST_RANGES))
        self.edges = _cut(counts.entries, most)  # positions in `words`
        self._inside = len(self.edges) <= 2
        self._held = []
        self._paths = [] if self._inside else [os.path.join(folder, f"{number:04d}.entries") for number in range(len(self.edges) - 1)]
        self._first = counts.words[self.edges[1:-1]]  # of each range but the first
        self._files = [open(path, "xb", buffering=0) for path in self._paths]

    def add(self, photos, columns):
        """Take in entries, in the order of photos."""
        rows = np.empty(len(photos), self.row)
        rows["photo"] = photos
        for name in self.row.names:
            if name != "photo":
                rows[name] = columns[name]
        if self._inside:
            self._held.append(rows)
            return
        of = np.searchsorted(self._first, rows["word"], side="right").astype(np.uint16)  # which numpy sorts by radix
        rows = rows[np.argsort(of, kind="stable")]
        ends = np.cumsum(np.bincount(of, minlength=len(self._files)))
        for file, start, end in zip(self._files, [0, *ends[:-1]], ends, strict=True):
            file.write(rows[start:end])

    def runs(self):
        """Yield the lists of range after range, as `Lists` takes them: {name: ndarray}. A range's file is removed when it is read."""
        for file in self._files:
            file.close()
        for number, (first, last) in enumerate(zip(self.edges, self.edges[1:], strict=False)):
            if self._inside:
                rows = np.concatenate(self._held) if self._held else np.empty(0, self.row)
                self._held = []
            else:
                rows = np.fromfile(self._paths[number], self.row)
                os.unlink(self._paths[number])
            yield self._sorted(rows, slice(first, last))

    def close(self):
        """Remove what is left of the files."""
        for file, path in zip(self._files, self._paths, strict=True):
            file.close()
            if os.path.exists(path):
                os.unlink(path)

    def _sorted(self, rows, of):
        from imgret.indexes.inverted.packing import order, pack, put_rows

        counts = self._counts
        words, word_offsets, byte_offsets = counts.words[of], _offsets(counts.entries[of]), _offsets(counts.sizes[of])
        number, numbers = rows["word"], words.astype(np.int64)
        if len(words) and numbers[-1] - numbers[0] >= MOST_COUNTED:
            number, numbers = numbered(words, number), np.arange(len(words))
        first = int(numbers[0]) if len(words) else 0
        known = np.full(int(numbers[-1]) - first + 1 if len(words) else 0, -1)
        known[numbers - first] = np.arange(len(words))
        places = np.empty(len(rows), np.int64)
        if not order(number, first, known, word_offsets, places):
            raise ImgretError(CHANGED)
        data, columns = rows.view(np.uint8).reshape(len(rows), self.row.itemsize), {}
        for name in self.row.names[1:]:
            kind, start = self.row.fields[name]
            columns[name] = np.empty((len(rows), *kind.shape), kind.base)
            put_rows(data, start, kind.itemsize, places, columns[name].reshape(-1).view(np.uint8).reshape(len(rows), kind.itemsize))
        photo = np.empty(byte_offsets[-1], np.uint8)
        pack(columns.pop("photo"), word_offsets[1:], photo)
        return {"words": words, "word_offsets": word_offsets, "byte_offsets": byte_offsets, "photo": photo} | columns


def _offsets(lengths):
    return np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)


def _cut(entries, most):
    """Ranges of consecutive words of at most so many entries, or of one word: their edges."""
    edges, ends, start = [0], np.cumsum(entries), 0
    while edges[-1] < len(entries):
        edges.append(max(edges[-1] + 1, int(np.searchsorted(ends, start + most, side="right"))))
        start = ends[edges[-1] - 1]
    return edges if len(edges) > 1 else [0, 0]


def row_of(columns, carried):
    """The dtype of an entry of a words store, its geometry in two bytes."""
    kinds = {"weight": np.dtype(np.float32), "geometry": np.dtype((np.uint8, (2,)))}
    fields = [(name, kinds.get(name) or np.dtype((columns[name][1], columns[name][0]))) for name in carried]
    return np.dtype([("word", np.uint32), ("photo", np.uint32), *fields])


@contextlib.contextmanager
def closed_on_error(ranges):
    """Remove the files of `Ranges` if what follows fails."""
    try:
        yield
    except BaseException:
        ranges.close()
        raise


class Rows:
    """A column in memory."""

    def __init__(self, shape, dtype):
        self._blocks = [np.empty((0, *shape), dtype)]

    def append(self, block):
        """Add rows."""
        self._blocks.append(block)

    def array(self):
        """All of them."""
        return np.concatenate(self._blocks)
