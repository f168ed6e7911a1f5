"""What `info --check` finds wrong with a store: offsets, finiteness, order, hashes. Each finding is one sentence."""

import numpy as np

from imgret.errors import ImgretError
from imgret.store.blocks import BlockHashes, dataset_of
from imgret.store.hashing import JSON, ColumnHash, checksums_of_json, content_of, of_json, pipeline_hashes

NAMES = 4096  # compared at once


def problems(store):
    """Yield everything that is wrong with an open `Store`.

    Raises
    ------
    ImgretError
        If it is so damaged that it cannot be looked through.
    """
    for path in store.column_names():
        yield from _column_problems(store, path)
    yield from metadata_problems(store)
    yield from _array_problems(store)
    for column in store.layout.columns:
        if column.in_order and store.has(column.path):
            yield from _order_problems(store, column.path)


def _column_problems(store, path):
    column, digest, hashes = store.column(path), ColumnHash(), BlockHashes(store.shape(path)[1:], store.dtype(path))
    finite, last, rising, ordered = True, None, True, True
    try:
        for block in store.blocks(path, verified=False):
            digest.update(block)
            hashes.update(block)
            if column.finite and block.dtype.kind == "f":
                finite = finite and bool(np.isfinite(block).all())
            if column.corners:
                ordered = ordered and not np.any(block[:, :2] > block[:, 2:])
            if column.counts:
                rising = rising and bool(np.all(block[1:] >= block[:-1])) and (last is None or block[0] >= last)
                last = block[-1]
    except ImgretError as error:
        yield str(error)
        return
    if not finite:
        yield f"'{path}' holds NaN or infinite values"
    if not ordered:
        yield f"'{path}' holds boxes whose corners are not in order: x1, y1, x2, y2"
    if column.counts:
        total = store.sizes[column.counts]
        if not rising or last != total or store.read(path, 0, 1, verified=False)[0] != 0:
            yield f"'{path}' does not rise from 0 to {total}"
    if store.checksums.get(path) != digest.hexdigest(store.dtype(path), store.shape(path)):
        yield f"'{path}' does not match its checksum"
    else:
        yield from _block_problems(store, path, hashes.digests())


def _block_problems(store, path, found):
    """What is wrong with the checksums of the blocks of a column that is sound."""
    try:
        blocks = store.block_digests(path)
    except ImgretError as error:
        yield str(error)
        return
    if blocks is not None and not np.array_equal(blocks, found):
        yield f"'{dataset_of(path)}' does not match '{path}'"


def metadata_problems(store):
    """Yield what is wrong with what an open `Store` says of itself: the part that takes no time."""
    found = checksums_of_json(store.recorded)
    for name in JSON:
        if store.checksums.get(f"@{name}") != found.get(f"@{name}"):
            yield f"its '{name}' does not match its checksum"
    if "#" in store.checksums and store.checksums["#"] != of_json(store.identity()):
        yield "what it says of itself does not match its checksum"
    try:
        arrays = list(pipeline_hashes(store.pipeline))
    except ImgretError as error:
        yield str(error)
        return
    if content_of(store.layout, store.checksums, arrays) != store.content:
        yield "`content` does not match the columns' checksums"


def _array_problems(store):
    try:
        arrays = list(pipeline_hashes(store.pipeline))
    except ImgretError:
        return  # told already
    for digest in arrays:
        try:
            store.pipeline_array(digest)
        except ImgretError as error:
            yield str(error)


def _order_problems(store, path):
    previous = None
    for start in range(0, store.shape(f"{path}_offsets")[0] - 1, NAMES):
        for name in store.texts(path, start, start + NAMES, verified=False):
            if previous is not None and name <= previous:
                yield f"'{path}' are not in byte order, each once"
                return
            previous = name
