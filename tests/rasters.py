"""TIFFs and PNGs of any sample type and layout, written byte by byte: what libraries do not write, others do."""

import io
import struct
import zlib

import numpy as np
from helpers import encoded
from PIL import Image

COMPRESSIONS = {"none": 1, "lzw": 5, "deflate": 8, "packbits": 32773, "lzma": 34925, "zstd": 50000}
PILLOW = {"lzw": "tiff_lzw", "packbits": "packbits", "lzma": "lzma", "zstd": "zstd"}
KINDS = {1: "B", 2: "s", 3: "H", 4: "I", 11: "f", 12: "d", 16: "Q"}


def tiff(samples, photometric=1, *, bits=None, order="<", big=False, planar=1, tile=None, rows=None, compression="none", **more):
    """A TIFF of one picture.

    Parameters
    ----------
    samples : ndarray, shape (H, W) or (H, W, C)
    bits : int, optional
        Of a sample; below 8, or from 9 to 15, they are packed.
    tile : int, optional
        Side of a tile.
    rows : int, optional
        Of a strip.
    **more
        `predictor`, `fill_order`, and `tags`: {tag: (type, values)}.
    """
    return pages([picture(samples, photometric, bits, order, planar, tile, rows, compression, **more)], order, big)


def picture(samples, photometric=1, bits=None, order="<", planar=1, tile=None, rows=None, compression="none", **more):
    """One page of a TIFF, for `pages`: its tags and its blocks."""
    predictor, fill, tags = more.get("predictor", 1), more.get("fill_order", 1), dict(more.get("tags", {}))
    samples = samples[..., None] if samples.ndim == 2 else samples
    height, width, count = samples.shape
    bits = bits or 8 * samples.dtype.itemsize
    form = {"u": 1, "i": 2, "f": 3}[samples.dtype.kind]
    across, down = (tile, tile) if tile else (width, rows or height)
    blocks = []
    for part in [samples] if planar == 1 else [samples[..., at : at + 1] for at in range(count)]:
        for top in range(0, height, down):
            for left in range(0, width, across):
                block = part[top : top + down, left : left + across]
                if tile:
                    block = np.pad(block, [(0, down - block.shape[0]), (0, across - block.shape[1]), (0, 0)])
                raw = stored(block, bits, order, predictor)
                packed = compressed(raw, compression)
                blocks.append(packed if fill == 1 else bytes(int(f"{value:08b}"[::-1], 2) for value in packed))
    own = {
        256: (4, [width]),
        257: (4, [height]),
        258: (3, [bits] * count),
        259: (3, [COMPRESSIONS[compression]]),
        262: (3, [photometric]),
        266: (3, [fill]),
        277: (3, [count]),
        284: (3, [planar]),
        317: (3, [predictor]),
        339: (3, [form] * count),
    }
    own |= {322: (4, [tile]), 323: (4, [tile])} if tile else {278: (4, [down])}
    return own | tags, blocks, (324, 325) if tile else (273, 279)


def stored(block, bits, order, predictor):
    """The samples of a block as bytes."""
    block = block.reshape(len(block), -1, block.shape[2])
    if bits % 8:
        shifts = np.arange(bits)[::-1]
        return np.packbits((block.reshape(len(block), -1, 1) >> shifts & 1).astype(np.uint8).reshape(len(block), -1), axis=1).tobytes()
    size = block.dtype.itemsize
    if predictor == 2:
        whole = block.view(f"u{size}")
        block = np.concatenate([whole[:, :1], np.diff(whole, axis=1)], axis=1)
    if predictor == 3:
        planes = (
            block.astype(f">f{size}")
            .view(np.uint8)
            .reshape(len(block), -1, size)
            .transpose(0, 2, 1)
            .reshape(len(block), -1, block.shape[2])
        )
        return np.concatenate([planes[:, :1], np.diff(planes, axis=1)], axis=1).tobytes()
    return block.astype(block.dtype.newbyteorder(order)).tobytes()


def compressed(raw, method):
    if method == "none":
        return raw
    if method == "deflate":
        return zlib.compress(raw)
    data = encoded(Image.frombytes("L", (len(raw), 1), raw), "TIFF", compression=PILLOW[method])
    opened = Image.open(io.BytesIO(data))
    (start,), (length,) = opened.tag_v2[273], opened.tag_v2[279]
    return data[start : start + length]


def pages(pictures, order="<", big=False, below=()):
    """A file of several pages; those numbered in `below` are sub-directories of the first."""
    head = (
        struct.pack(order + "2sHHH", b"II" if order == "<" else b"MM", 43, 8, 0)
        if big
        else struct.pack(order + "2sH", b"II" if order == "<" else b"MM", 42)
    )
    pointer, wide = ("Q", 8) if big else ("I", 4)
    body, places = bytearray(head + bytes(wide)), []
    chain, previous = [], len(head)
    for number in sorted(range(len(pictures)), key=lambda number: number not in below):
        tags, blocks, (offsets, counts) = pictures[number]
        tags, starts = dict(tags), []
        for block in blocks:
            starts.append(len(body))
            body += block
        tags |= {offsets: (16 if big else 4, starts), counts: (4, [len(block) for block in blocks])}
        if number == 0 and below:
            tags[330] = (4, [places[at] for at in range(len(below))])
        entries = b""
        for tag, (kind, values) in sorted(tags.items()):
            packed = values if kind == 2 else struct.pack(f"{order}{len(values)}{KINDS[kind]}", *values)
            if len(packed) > wide:
                body += bytes(len(body) % 2)
                place, packed = len(body), packed
                body += packed
                packed = struct.pack(order + pointer, place)
            entries += struct.pack(order + "HH" + pointer, tag, kind, len(values)) + packed.ljust(wide, b"\0")
        body += bytes(len(body) % 2)
        place = len(body)
        body += struct.pack(order + ("Q" if big else "H"), len(tags)) + entries + bytes(wide)
        places.append(place)
        if number not in below:
            chain.append(place)
            struct.pack_into(order + pointer, body, previous, place)
            previous = len(body) - wide
    return bytes(body)


def chunk(name, body):
    """A chunk of a PNG."""
    return struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))


def png(samples, kind, bits=16, *, before=(), after=()):
    """A PNG of samples, shape (H, W, C), of a colour type; with chunks before and after its pixels."""
    height, width, _ = samples.shape
    raw = b"".join(b"\0" + stored(row[None], bits, ">", 1) for row in samples)
    header = struct.pack(">IIBBBBB", width, height, bits, kind, 0, 0, 0)
    middle = [*before, chunk(b"IDAT", zlib.compress(raw)), *after]
    return b"".join([b"\x89PNG\r\n\x1a\n", chunk(b"IHDR", header), *middle, chunk(b"IEND", b"")])
