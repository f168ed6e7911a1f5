"""The samples of a TIFF as they are stored: of any type, depth, order of bytes and layout, a block at a time."""

import io
import itertools
import struct

import numpy as np

from imgret.samples import layouts

BATCH = 1 << 22  # bytes of blocks that are decompressed at once
REVERSED = bytes(int(f"{value:08b}"[::-1], 2) for value in range(256))


class Damaged(Exception):  # noqa: N818 - it is a finding about a photo
    """Samples that are not there or cannot be decompressed."""


def samples_of(layout, lenient=False):
    """The samples of a picture.

    Parameters
    ----------
    layout : imgret.samples.layouts.Layout
        One without a `problem`.
    lenient : bool
        What is missing becomes 0; otherwise it is `Damaged`.

    Returns
    -------
    ndarray, shape (H, W, C)
        Of `layout.kept`.

    Raises
    ------
    Damaged
    """
    kept = layout.kept
    across, down = _grid(layout)
    if across * down * (layout.samples if layout.separate else 1) > len(_offsets(layout)) and not lenient:
        raise Damaged("the places of some of its samples are not told")
    whole = np.zeros((layout.height, layout.width, len(kept)), layout.dtype)
    some = False
    for first, count, planes, place in _batches(layout):
        stored = _stored(layout, first, count, place, lenient)
        if stored is None:
            continue
        some = True
        for number in range(count):
            top, left = _corner(layout, first + number)
            block = _block(layout, stored[number])
            part = whole[top : top + block.shape[0], left : left + block.shape[1]]
            part[..., planes] = block[: part.shape[0], : part.shape[1], kept if not layout.separate else slice(None)]
    if not some:
        raise Damaged("none of its samples are there")
    return whole


def _offsets(layout):
    return layout.directory.values(layouts.TILES if layout.tiled else layouts.STRIPS)


def _grid(layout):
    width, height = layout.block
    return -(-layout.width // width), -(-layout.height // height)


def _corner(layout, number):
    across, _ = _grid(layout)
    row, column = divmod(number, across)
    return row * layout.block[1], column * layout.block[0]


def _rows(layout, number):
    """The rows of pixels that a block holds: of strips, the last may be lower."""
    top, _ = _corner(layout, number)
    return layout.block[1] if layout.tiled else min(layout.block[1], layout.height - top)


def _batches(layout):
    """Yield (first block, how many, which samples, place of the first in the tables): of one plane and one height each."""
    across, down = _grid(layout)
    count, told = across * down, len(_offsets(layout))
    planes = [(slice(None), 0)] if not layout.separate else [([at], sample * count) for at, sample in enumerate(layout.kept)]
    most = 1 if layout.compression == layouts.UNCOMPRESSED else max(1, BATCH // max(1, layout.block_bytes))
    for which, offset in planes:
        full = count if layout.tiled or layout.height % layout.block[1] == 0 else count - across
        for start, end in ((0, full), (full, count)):
            for first in range(start, min(end, told - offset), most):
                yield first, min(most, end - first), which, offset + first


def _shape(layout, rows):
    """Rows of bytes that a block is, and bytes a row; those of subsampled pixels lie in rows of what they share."""
    across, down = layout.subsampling
    width = layout.block[0]
    if (across, down) != (1, 1):
        return -(-rows // down), -(-width // across) * (across * down + 2)
    return rows, -(-width * layout.bits * (1 if layout.separate else layout.samples) // 8)


def _stored(layout, first, count, place, lenient):
    """Blocks of one height, decompressed: uint8, shape (count, rows, bytes a row); None where nothing of them is there."""
    rows, width = _shape(layout, _rows(layout, first))
    blocks = [_bytes_of(layout, number) for number in range(place, place + count)]
    if layout.compression == layouts.UNCOMPRESSED:
        stored = np.frombuffer(blocks[0], np.uint8, min(len(blocks[0]), rows * width))
        if len(stored) < rows * width:
            if not lenient:
                raise Damaged("the file ends before its samples do")
            stored = np.concatenate([stored, np.zeros(rows * width - len(stored), np.uint8)])
        return stored.reshape(1, rows, width) if blocks[0] else None
    try:
        return _decompressed(blocks, layout.compression, rows, width).reshape(count, rows, width)
    except OSError as error:
        if not lenient:
            raise Damaged(str(error)) from None
    if count > 1:
        parts = [_stored(layout, first + number, 1, place + number, True) for number in range(count)]
        if all(part is None for part in parts):
            return None
        return np.concatenate([np.zeros((1, rows, width), np.uint8) if part is None else part for part in parts])
    return _begun(blocks, layout.compression, rows, width)


def _begun(blocks, compression, rows, width):
    """As many rows of a block as can be decompressed, the others 0: found by halving."""
    found, low, high = None, 0, rows
    while high - low > 1:
        middle = (low + high) // 2
        try:
            found, low = _decompressed(blocks, compression, middle, width), middle
        except OSError:
            high = middle
    return None if found is None else np.concatenate([found, np.zeros((rows - low, width), np.uint8)])[None]


def _bytes_of(layout, number):
    """A block as it lies in the file, its bits in the usual order."""
    directory = layout.directory
    offsets = _offsets(layout)
    if number >= len(offsets):
        return b""
    counts = directory.values(layouts.TILE_COUNTS if layout.tiled else layouts.STRIP_COUNTS)
    start = int(offsets[number])
    if layout.compression == layouts.UNCOMPRESSED:
        rows, width = _shape(layout, layout.block[1])
        length = rows * width
    elif number < len(counts):
        length = int(counts[number])
    else:
        length = len(directory.data)
    block = memoryview(directory.data)[start : start + length]
    return bytes(block).translate(REVERSED) if directory.get(layouts.FILL_ORDER, 1) == 2 else block


def _decompressed(blocks, compression, rows, width):
    """Undo the compression of blocks: they are given to Pillow as the strips of a grey picture of 8 bits."""
    from PIL import TiffImagePlugin

    count, offsets = len(blocks), list(itertools.accumulate((len(block) for block in blocks), initial=0))
    tables = 8 + 2 + 12 * 9 + 4
    start = tables + 8 * count if count > 1 else tables
    places, lengths = [start + offset for offset in offsets[:-1]], [len(block) for block in blocks]
    entries = [(256, width), (257, rows * count), (258, 8), (259, compression), (262, 1)]
    entries += [(273, places[0] if count == 1 else tables), (277, 1), (278, rows), (279, lengths[0] if count == 1 else tables + 4 * count)]
    head = [struct.pack("<2sHIH", b"II", 42, 8, len(entries))]
    head += [struct.pack("<HHII", tag, 4, count if tag in (273, 279) else 1, value) for tag, value in entries]
    head.append(struct.pack("<I", 0))
    if count > 1:
        head.append(struct.pack(f"<{2 * count}I", *places, *lengths))
    image = TiffImagePlugin.TiffImageFile(io.BytesIO(b"".join([*head, *blocks])))
    return np.asarray(image)


def _block(layout, stored):
    """The samples of a block, in this machine's order: shape (rows, width, samples)."""
    width = layout.block[0]
    if layout.subsampling != (1, 1):
        return _upsampled(layout, stored)
    per_pixel = 1 if layout.separate else layout.samples
    predictor = layout.directory.get(layouts.PREDICTOR, 1) if layout.compression != layouts.UNCOMPRESSED else 1
    if layout.bits % 8:
        return _unpacked(stored, layout.bits, width * per_pixel).reshape(len(stored), width, per_pixel)
    size = layout.bits // 8
    if predictor == 3:
        planes = np.cumsum(stored.reshape(len(stored), -1, per_pixel), axis=1, dtype=np.uint8).reshape(len(stored), size, -1)
        samples = np.ascontiguousarray(planes.transpose(0, 2, 1)).view(f">{layout.dtype.kind}{size}")
    else:
        samples = np.ascontiguousarray(stored).view(f"{layout.directory.order}u{size}")
    samples = samples.reshape(len(stored), width, per_pixel)
    if predictor == 2:
        samples = np.cumsum(samples, axis=1, dtype=f"u{size}")
    if predictor != 3:
        samples = samples.astype(f"u{size}", copy=False).view(layout.dtype)
    return samples


def _unpacked(stored, bits, count):
    """Samples of so many bits each, the first in the highest: uint16, shape (rows, count)."""
    found = np.zeros((len(stored), count), np.uint16)
    weights = (1 << np.arange(bits)[::-1]).astype(np.uint16)
    rows = max(1, BATCH // (count * bits))
    for first in range(0, len(stored), rows):
        part = np.unpackbits(stored[first : first + rows], axis=1, count=count * bits).reshape(-1, count, bits)
        found[first : first + rows] = part @ weights
    return found


def _upsampled(layout, stored):
    """YCbCr pixels that share their colour, each with its own."""
    across, down = layout.subsampling
    units = stored.reshape(len(stored), -1, across * down + 2)
    luma = units[..., :-2].reshape(len(stored), -1, down, across).swapaxes(1, 2).reshape(len(stored) * down, -1)
    colours = [units[..., at].repeat(down, axis=0).repeat(across, axis=1) for at in (-2, -1)]
    return np.stack([luma, *colours], axis=-1)
