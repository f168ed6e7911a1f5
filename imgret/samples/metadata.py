"""Photos without what is written about them: metadata that cannot be read never cost the pixels."""

import zlib

PNG, JPEG = b"\x89PNG\r\n\x1a\n", b"\xff\xd8"
PIXELS = (b"tRNS",)  # chunks that may be left out of a PNG, but change its pixels
TEXTS = (b"tEXt", b"zTXt", b"iTXt")
TURNING = (b"Raw profile type exif", b"XML:com.adobe.xmp")  # texts that may tell the orientation
MOST = 1 << 20  # bytes of one of those, uncompressed
COLOUR_SEGMENTS = {0xE0: b"JFIF\0", 0xEE: b"Adobe"}  # of a JPEG: without them its colours are guessed
SHORTEST = 12  # bytes of a sound one of those
EXIF = b"Exif\0\0"
START_OF_SCAN, STANDALONE = 0xDA, (0x01, *range(0xD0, 0xD8))


def without_metadata(data):
    """The bytes of a PNG, JPEG or WebP without what is not needed for its pixels, and is not sound; None where there is nothing of it."""
    if data[:8] == PNG:
        kept = _png(data)
    elif data[:2] == JPEG:
        kept = _jpeg(data)
    elif data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        kept = _webp(data)
    else:
        return None
    return b"".join(kept) if sum(map(len, kept)) < len(data) else None


def _png(data):
    view, position, kept = memoryview(data), 8, [data[:8]]
    while position + 12 <= len(data):
        end = position + 12 + int.from_bytes(data[position : position + 4], "big")
        name = data[position + 4 : position + 8]
        if name[0] & 0x20 == 0 or end > len(data) or _wanted(name, view[position + 8 : end - 4], data[end - 4 : end]):
            kept.append(view[position:end])
        position = end
    return [*kept, view[position:]]


def _wanted(name, body, checksum):
    """Whether a chunk that may be left out is sound, and changes what is seen."""
    turning = name == b"eXIf" or (name in TEXTS and bytes(body[:32]).split(b"\0")[0] in TURNING)
    if name not in PIXELS and not turning or zlib.crc32(body, zlib.crc32(name)) != int.from_bytes(checksum, "big"):
        return False
    return len(body) <= MOST and (name == b"tEXt" or name not in TEXTS or _inflates(name, bytes(body)))


def _inflates(name, body):
    """Whether a text that may be compressed is so, and not to more than is let pass."""
    _, _, rest = body.partition(b"\0")
    if name == b"iTXt":  # flag, method, language, translated keyword
        if rest[:1] == b"\0":
            return True
        rest = rest[2:].split(b"\0", 2)[-1]
    else:
        rest = rest[1:]
    try:
        inflating = zlib.decompressobj()
        inflating.decompress(rest, MOST)
    except zlib.error:
        return False
    return not inflating.unconsumed_tail


def _jpeg(data):
    """Segments up to the first scan, without those of applications; Exif stays where it is the first of its kind."""
    view, position, kept, exif = memoryview(data), 2, [data[:2]], True
    while position + 4 <= len(data) and data[position] == 0xFF and data[position + 1] != START_OF_SCAN:
        marker = data[position + 1]
        if marker == 0xFF:  # a filler
            position += 1
            continue
        end = position + 2 if marker in STANDALONE else position + 2 + int.from_bytes(data[position + 2 : position + 4], "big")
        if end > len(data):
            break
        body = data[position + 4 : min(end, position + 4 + SHORTEST)]
        told = not 0xE0 <= marker <= 0xEF and marker != 0xFE
        if marker == 0xE1 and body.startswith(EXIF) and exif:
            told, exif = True, False
        if told or (len(body) == SHORTEST and body.startswith(COLOUR_SEGMENTS.get(marker, b"\0none"))):
            kept.append(view[position:end])
        position = end
    return [*kept, view[position:]]


def _webp(data):
    """Chunks without ICCP and XMP."""
    view, position, kept = memoryview(data), 12, []
    while position + 8 <= len(data):
        size = int.from_bytes(data[position + 4 : position + 8], "little")
        end = position + 8 + size + size % 2
        if data[position : position + 4] not in (b"ICCP", b"XMP ", b"EXIF"):
            kept.append(view[position:end])
        position = end
    length = sum(map(len, kept)) + 4
    return [data[:4], length.to_bytes(4, "little"), data[8:12], *kept]
