"""Rows to learn from: drawn uniformly over all stores, in bounded memory."""

import heapq
import itertools
import os

import numpy as np

from imgret.errors import ImgretError, UsageError, quoted
from imgret.inputs.features import FeatureReader
from imgret.inputs.photos import rising
from imgret.pipeline import Pipeline, differences, same_space

DEFAULT_MEMORY = "2G"
RUN_ROWS = 4096  # rows read at once while picking


def parse_bytes(text):
    """A size such as "2G", "500M" or "1048576" to bytes."""
    units = {"k": 1 << 10, "m": 1 << 20, "g": 1 << 30, "t": 1 << 40}
    number = text.strip().lower().removesuffix("b").removesuffix("i")
    factor = units.get(number[-1:], 1)
    number = number[:-1] if factor > 1 else number
    try:
        size = int(float(number) * factor)
    except (ValueError, OverflowError):
        size = 0
    if size < 1:
        raise UsageError(f"`--max-memory` must be a size such as 2G or 500M, got '{text}'")
    return size


def in_order(stores):
    """Stores whose photos are put together, in an order that does not depend on how they are given: by the name of the first photo.

    Parameters
    ----------
    stores : list of Store

    Returns
    -------
    list of Store
    """
    if len(stores) < 2:
        return list(stores)

    def key(store):
        return not len(store), store.texts("names", 0, 1)[0] if len(store) else b"", store.content

    return sorted(stores, key=key)


def check_one_space(stores):
    """Refuse stores whose rows do not mean the same.

    Raises
    ------
    ImgretError
        Naming two stores and how they differ.
    """
    for store in stores[1:]:
        if store.kind != stores[0].kind:
            raise ImgretError(f"{stores[0].shown} holds {stores[0].kind}, {store.shown} {store.kind}: give stores of one kind")
        first, second = Pipeline.load(stores[0]).node, Pipeline.load(store).node
        if not same_space(first, second):
            raise ImgretError(f"{stores[0].shown} and {store.shown} were made in different ways: {differences(first, second)}")


def draw(stores, count, seed, max_memory):
    """Draw rows without replacement, each as likely as any other.

    They are drawn from all photos in byte order of their names, and come in this order: in what order the stores are given, and how the
    photos are spread over them, makes no difference.

    Parameters
    ----------
    stores : list of Store
        Features (rows are descriptors, decoded) or vectors, as `in_order` has them: where several have a photo of one name, the first
        comes first.
    count : int
        How many to draw; all where there are not more.
    seed : int
    max_memory : int
        Bytes the sample may take.

    Returns
    -------
    rows : ndarray, shape (n, D), float32
    info : dict
        What was drawn, for the record.
    """
    path = stores[0].layout.matrix
    lengths = [store.shape(path)[0] for store in stores]
    columns = stores[0].shape(path)[1]
    for store in stores:
        if store.shape(path)[1] != columns:
            raise ImgretError(f"{stores[0].shown} has {columns} columns, {store.shown} {store.shape(path)[1]}: give stores of one space")
    total = sum(lengths)
    bound = max(1, max_memory // (4 * max(1, columns)))
    n = min(count, total, bound)
    rng = np.random.default_rng([seed, 0x73616D70])
    picked = np.arange(total) if n == total else np.sort(rng.choice(total, n, replace=False, shuffle=False))
    which, rows = _places(stores, picked)
    sample = _sound(stores, which, rows, columns)
    each = zip(stores, lengths, np.bincount(which, minlength=len(stores)).tolist(), strict=True)
    drawn = [{"path": store.shown, "rows": length, "drawn": count} for store, length, count in each]
    info = {"asked": count, "rows": total, "drawn": n, "limited_by_memory": bool(n == bound < min(count, total)), "stores": drawn}
    return sample, info


def draw_photos(stores, count, seed, max_memory):
    """Draw whole photos without replacement, each as likely as any other, until they have so many descriptors.

    Parameters
    ----------
    stores, seed, max_memory : see `draw`
    count : int
        Descriptors that the photos may have; all photos where there are not more.

    Returns
    -------
    rows : ndarray, shape (n, D), float32
        The descriptors of the photos, in byte order of their names.
    counts : ndarray, shape (N,), int64
        How many of them each photo has.
    info : dict
        What was drawn, for the record.
    """
    path = stores[0].layout.matrix
    columns = stores[0].shape(path)[1]
    which = _which(stores)
    lengths = np.empty(len(which), np.int64)
    for number, store in enumerate(stores):
        lengths[which == number] = np.diff(store.descriptor_range(0, len(store)))
    bound = max(1, max_memory // (4 * max(1, columns)))
    order = np.random.default_rng([seed, 0x70686F74]).permutation(len(lengths))
    ends = np.cumsum(lengths[order])
    photos = np.sort(order[: max(1, int(np.searchsorted(ends, min(count, bound), side="right")))])
    starts = np.cumsum(lengths) - lengths
    counts = lengths[photos]
    picked = np.repeat(starts[photos] - np.cumsum(counts) + counts, counts) + np.arange(counts.sum())
    sample = _sound(stores, *_places(stores, picked), columns)
    drawn = [
        {"path": store.shown, "photos": len(store), "drawn": int(np.count_nonzero(which[photos] == number))}
        for number, store in enumerate(stores)
    ]
    limited = bool(len(photos) < len(lengths) and bound < count)
    return sample, counts, {"asked": count, "photos": len(photos), "drawn": len(sample), "limited_by_memory": limited, "stores": drawn}


def matching(stores, truth, shown, max_memory):
    """The vectors of photos that match others.

    Parameters
    ----------
    stores : list of Store
        Vectors.
    truth : imgret.formats.groundtruth.GroupTruth
        Photos of one group match, whatever their role.
    shown : str
        Where it came from, for messages.
    max_memory : int
        Bytes that the vectors may take.

    Returns
    -------
    rows : ndarray, shape (n, D), float32
    groups : list of ndarray
        Rows that match, two or more in each.
    info : dict
        What was taken, for the record.

    Raises
    ------
    ImgretError
        For photos that are in no store, for none that match, for more than fit into memory.
    """
    found = _find(stores, truth, shown)
    members = {}
    for name, groups in zip(truth.names, truth.groups, strict=True):
        for group in groups if name in found else ():
            members.setdefault(group, []).append(name)
    members = [names for names in members.values() if len(names) > 1]
    if not members:
        raise ImgretError(f"{shown}: no two photos share a group, so there is nothing that matches")
    chosen = sorted({name for names in members for name in names})
    columns = stores[0].shape("vectors")[1]
    if 4 * columns * len(chosen) > max_memory:
        raise ImgretError(f"the {len(chosen)} photos in {shown} that match do not fit into --max-memory: give more, or fewer pairs")
    which, rows = np.array([found[name] for name in chosen], dtype=np.int64).T
    rows = _read(stores, which, rows, columns)
    position = {name: number for number, name in enumerate(chosen)}
    groups = [np.array([position[name] for name in names]) for names in members]
    pairs = sum(len(group) * (len(group) - 1) // 2 for group in groups)
    return rows, groups, {"drawn": len(rows), "groups": len(groups), "pairs": pairs}


def _find(stores, truth, shown):
    """Where the photos that have a group are: name -> (store's number, row); without those that failed."""
    wanted = {name for name, groups in zip(truth.names, truth.groups, strict=True) if groups}
    found, known = {}, set()
    for which, store in enumerate(stores):
        known.update(store.texts("failed/names"))
        for row, name in enumerate(store.texts("names")):
            if name in wanted and name in found:
                raise ImgretError(f"the photo '{quoted(os.fsdecode(name))}' is in two of the stores: give it once")
            if name in wanted:
                found[name] = (which, row)
    missing = sorted(wanted - found.keys() - known)
    if missing:
        first = ", ".join(f"'{quoted(os.fsdecode(name))}'" for name in missing[:3])
        raise ImgretError(
            f"{shown} names {len(missing)} photos that are not in {', '.join(store.shown for store in stores)} ({first}): "
            "names must be as `imgret info` and `search` show them, relative to the folder that was extracted"
        )
    return found


def _which(stores):
    """The number of the store that each photo is in, in the order of their names: (N,), int32."""
    streams = [zip(rising(store, "names"), itertools.repeat(number)) for number, store in enumerate(stores)]
    return np.fromiter((number for _, number in heapq.merge(*streams)), np.int32, count=sum(map(len, stores)))


def _places(stores, picked):
    """Where rows are, counted over the photos of all stores in the order of their names: (store's number, row there), two arrays (n,).

    `picked` is ascending. What is kept of the photos is where one store's end and another's begin.
    """
    if len(stores) == 1:
        return np.zeros(len(picked), np.int64), picked
    which = _which(stores)
    starts = np.flatnonzero(np.diff(which, prepend=-1))
    which, counts = which[starts], np.diff(starts, append=len(which))
    first, lengths = np.empty(len(starts), np.int64), np.empty(len(starts), np.int64)
    for number, store in enumerate(stores):
        mine = np.flatnonzero(which == number)
        last = np.cumsum(counts[mine])
        ends = np.stack([last - counts[mine], last])
        if store.layout.offsets is not None:
            ends = store.descriptor_range(0, len(store))[ends]
        first[mine], lengths[mine] = ends[0], ends[1] - ends[0]
    last = np.cumsum(lengths)
    run = np.searchsorted(last, picked, side="right")
    return which[run], picked - (last - lengths - first)[run]


def _sound(stores, which, rows, columns):
    """What `_read` gives, refused where it is not finite."""
    sample = _read(stores, which, rows, columns)
    if not np.isfinite(sample).all():
        raise ImgretError(f"the rows of {', '.join(store.shown for store in stores)} hold NaN or infinite values")
    return sample


def _read(stores, which, rows, columns):
    """Rows of several stores, of each in ascending order: (n, columns), float32."""
    sample = np.empty((len(rows), columns), np.float32)
    for number, store in enumerate(stores):
        mine, done = np.flatnonzero(which == number), 0
        for block in _gather(store, rows[mine]):
            sample[mine[done : done + len(block)]] = block
            done += len(block)
    return sample


def _gather(store, rows):
    """Yield the given vectors or decoded descriptors (ascending), float32, reading whole runs of neighbours where they are dense."""
    reader = FeatureReader(store) if store.kind == "features" else None
    position = 0
    while position < len(rows):
        first = int(rows[position])
        end = int(np.searchsorted(rows, first + RUN_ROWS))
        chosen = rows[position:end]
        if reader is None:
            yield store.read("vectors", first, int(chosen[-1]) + 1)[chosen - first].astype(np.float32)
        else:
            yield reader.sample(first, int(chosen[-1]) + 1, chosen - first).descriptors
        position = end
